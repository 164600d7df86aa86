"""A report of figures, each with its numbers beside it, as one HTML file that needs no network."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any, Final, Literal

from solvent.errors import BadInput, MissingExtra, Problem, Reject, check

COLOURS: Final = ("#33658a", "#c0392b", "#2e8b57", "#b8860b", "#6c4a8b", "#5f7484", "#d1673b")
_STYLE: Final = """
body{font:15px/1.5 system-ui,sans-serif;color:#1d2a33;max-width:1100px;margin:2rem auto;
padding:0 1rem}
table{border-collapse:collapse;margin:.6rem 0;font-variant-numeric:tabular-nums;font-size:14px}
td,th{padding:.15rem .7rem;text-align:right;border-bottom:1px solid #e4e9ec}
td:first-child,th:first-child{text-align:left}
p.note{color:#5f7484}
div.rows{overflow-x:auto;max-height:24rem;overflow-y:auto}
@media print{div.rows{max-height:none;overflow:visible}section{break-inside:avoid}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One line, set of points or set of bars; `x` are numbers, times as ISO text, or names.

    least, most: of bars, how far each reaches over several runs; nothing where there is one.
    """

    name: str
    x: Sequence[Any]
    y: Sequence[float]
    least: Sequence[float] = ()
    most: Sequence[float] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A figure (none without series, or a heat map of `matrix`), and the table that is its data."""

    title: str
    note: str = ""
    kind: Literal["lines", "points", "bars", "heat"] = "lines"
    series: tuple[Series, ...] = ()
    matrix: tuple[tuple[float, ...], ...] = ()
    names: tuple[str, ...] = ()
    x_title: str = ""
    y_title: str = ""
    percent: bool = False
    x_percent: bool = False
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[Any, ...], ...] = field(default=())


def write_page(path: Path, *, title: str, notes: Iterable[str], blocks: Sequence[Block]) -> None:
    """Write the report. Raises MissingExtra without plotly (`solvent[plot]`)."""
    try:
        from plotly import graph_objects
    except ImportError as fault:
        raise MissingExtra(feature="a report with plots", extra="plot") from fault
    body, first = [], True
    for block in blocks:
        body.append(f"<section><h2>{escape(block.title)}</h2>")
        if block.note:
            body.append(f'<p class="note">{escape(block.note)}</p>')
        if block.series or block.matrix:
            figure = _figure(block, graph_objects)
            body.append(str(figure.to_html(
                full_html=False, include_plotlyjs=first,
                config={"displayModeBar": False, "responsive": True},
            )))  # fmt: skip
            first = False
        body.append(table(block.columns, block.rows))
        body.append("</section>")
    intro = "".join(f"<p>{escape(one)}</p>" for one in notes)
    text = (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style>"
        f"<h1>{escape(title)}</h1>{intro}{''.join(body)}</html>"
    )
    write_whole(path, text)


def write_whole(path: Path, text: str) -> None:
    """Write a file so that it is there whole or as it was. Raises BadInput where it cannot be."""
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(text, "utf-8")
        os.replace(part, path)
    except OSError as fault:
        with suppress(OSError):
            part.unlink()
        found = f"{type(fault).__name__}: {fault.strerror or fault}"
        raise BadInput(
            Problem(code=Reject.TARGET_UNWRITABLE, source=str(path), found=found,
                    expected="a place where a file can be written")
        ) from fault  # fmt: skip


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """An HTML table; empty without columns.

    >>> table(("a",), [(0.5,)])
    '<div class="rows"><table><tr><th>a</th></tr><tr><td>0.5</td></tr></table></div>'
    """
    if not columns:
        return ""
    head = "".join(f"<th>{escape(one)}</th>" for one in columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(shown(one))}</td>" for one in row) + "</tr>" for row in rows
    )
    return f'<div class="rows"><table><tr>{head}</tr>{body}</table></div>'


def shown(value: Any) -> str:
    """A value as a reader wants it: four significant digits, thousands apart.

    >>> shown(1234567.8), shown(0.012345), shown(None), shown("x")
    ('1,234,568', '0.01235', '–', 'x')
    """
    if value is None:
        return "–"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int) or abs(value) >= 10_000:
        return f"{value:,.0f}"
    return f"{value:,.4g}"


def _figure(block: Block, graphs: Any) -> Any:
    figure = graphs.Figure()
    if block.matrix:
        check(len(block.names) == len(block.matrix), "a name for each row", block.names)
        figure.add_heatmap(
            z=[list(row) for row in block.matrix], x=list(block.names), y=list(block.names),
            colorscale="Blues", texttemplate="%{z:.3f}",
        )  # fmt: skip
    for one, colour in zip(block.series, _coloured(block.series), strict=True):
        mode = "markers" if block.kind == "points" else "lines"
        if block.kind == "bars":
            figure.add_bar(x=list(one.x), y=list(one.y), name=one.name, marker={"color": colour},
                           error_y=_reach(one))  # fmt: skip
        else:
            figure.add_scatter(
                x=list(one.x), y=list(one.y), name=one.name, mode=mode,
                line={"color": colour, "width": 2}, marker={"color": colour, "size": 8},
            )  # fmt: skip
    figure.update_layout(
        template="plotly_white", height=340, margin={"l": 70, "r": 20, "t": 20, "b": 50},
        xaxis_title=block.x_title, yaxis_title=block.y_title, barmode="group",
        legend={"orientation": "h", "x": 1, "xanchor": "right", "y": 1.12},
    )  # fmt: skip
    if block.x_percent:
        figure.update_xaxes(tickformat=".3~%")
    if block.percent:
        figure.update_yaxes(tickformat=".1%")
    return figure


def _reach(one: Series) -> dict[str, Any] | None:
    if not one.most:
        return None
    return {
        "type": "data", "symmetric": False, "thickness": 1, "color": "#1d2a33",
        "array": [most - y for y, most in zip(one.y, one.most, strict=True)],
        "arrayminus": [y - least for y, least in zip(one.y, one.least, strict=True)],
    }  # fmt: skip


def _coloured(series: Sequence[Series]) -> list[str]:
    return [COLOURS[place % len(COLOURS)] for place in range(len(series))]
