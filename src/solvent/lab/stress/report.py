"""Stress, reverse stress and ladders as one HTML file each, self-contained, data beside it.

The data is the same document as `--json` prints, at the report's path with `.json` in place of its
ending. Both are written whole or not at all.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, Final

from solvent.errors import BadInput, MissingExtra, Problem, Reject
from solvent.lab.page import write_whole
from solvent.lab.stress.ladders import UNITS

_INK, _GRID = "#1d2a33", "#e4e9ec"
_RED, _AMBER, _GREEN, _BLUE, _VIOLET = "#c0392b", "#d9a21b", "#2e7d5b", "#35617d", "#7d5ba6"
_CONFIG: Final = {"displayModeBar": False, "responsive": True}
Document = Mapping[str, Any]


def write_report(document: Document, path: Path) -> Path:
    """Write a document's report and its data beside it; where the data is.

    The document is `Stressed.to_dict()`, `Reversal.to_dict()`, or `{"ladders": rows, …}`. Raises
    MissingExtra without plotly (`solvent[plot]`), BadInput for a place that cannot be written.
    """
    try:
        from plotly import graph_objects
    except ImportError as fault:
        raise MissingExtra(feature="a report with plots", extra="plot") from fault
    if path.suffix == ".json":
        raise BadInput(
            Problem(code=Reject.TARGET_UNWRITABLE, source=str(path), found="a .json",
                    expected="a page such as report.html: the data goes beside it")
        )  # fmt: skip
    page = _pages(document, graph_objects)
    beside = path.with_suffix(".json")
    write_whole(beside, json.dumps(document, allow_nan=False, indent=1) + "\n")
    write_whole(path, page.replace("{data}", escape(beside.name)))
    return beside


def _pages(document: Document, go: Any) -> str:
    if "scenarios" in document:
        return _stress_page(document, go)
    if "goal" in document:
        return _reverse_page(document, go)
    return _ladder_page(document, go)


# ── scenarios ────────────────────────────────────────────────────────────────────────────────────


def _stress_page(document: Document, go: Any) -> str:
    rows = document["scenarios"]
    worst = max(rows, key=lambda row: (row["shortfall"], row["liquidated"]))
    facts = {
        "accounts": f"{document['accounts']:,}", "scenarios": f"{len(rows)}",
        "equity now, USD": short(document["now"]["equity"]),
        "fund, USD": short(document["fund"]),
        "worst shortfall, USD": short(worst["shortfall"]),
        "accounts liquidated in it": f"{worst['liquidated']:,}",
    }  # fmt: skip
    figures = [_shortfalls(rows, document["fund"], go), _changes(rows, go), _fallen(rows, go)]
    columns = {
        "title": "scenario", "hours": "hours", "change": "equity changes by",
        "liquidated": "liquidated", "called": "called", "unknown": "unknown",
        "shortfall": "shortfall", "closing_cost": "closing cost", "cover_1": "largest member",
        "cover_2": "two largest", "fund_after": "fund after",
    }  # fmt: skip
    if not any(row["closing_cost"] for row in rows):
        del columns["closing_cost"]
    parts = [_plots(figures), "<h2>Every scenario</h2>", _table(rows, columns),
             _specials(rows), _notes(rows)]  # fmt: skip
    said = (
        f"On the market of {escape(document['as_of'])} UTC. Everybody is margined anew on each "
        "shocked market; a shortfall is equity below nothing."
    )
    return _page("Stress", said, facts, "".join(parts), document["notes"])


def _shortfalls(rows: Sequence[Document], fund: float, go: Any) -> Any:
    figure = go.Figure(
        go.Bar(
            x=[row["shortfall"] for row in rows], y=[row["title"] for row in rows],
            orientation="h", marker={"color": _RED}, text=[short(row["shortfall"]) for row in rows],
            textposition="auto",
        )
    )  # fmt: skip
    if fund > 0.0:
        figure.add_vline(
            x=fund,
            line={"color": _INK, "dash": "dot"},
            annotation_text="fund",
            annotation_position="bottom right",
        )
    return _layout(figure, "What others would have to pay: shortfalls, USD", len(rows))


def _changes(rows: Sequence[Document], go: Any) -> Any:
    colours = [_RED if row["change"] < 0 else _GREEN for row in rows]
    figure = go.Figure(
        go.Bar(
            x=[row["change"] for row in rows], y=[row["title"] for row in rows], orientation="h",
            marker={"color": colours}, text=[short(row["change"]) for row in rows],
            textposition="auto",
        )
    )  # fmt: skip
    return _layout(figure, "Change of all equity, USD", len(rows))


def _fallen(rows: Sequence[Document], go: Any) -> Any:
    figure = go.Figure()
    for name, colour in (("liquidated", _RED), ("called", _AMBER), ("unknown", _VIOLET)):
        figure.add_trace(
            go.Bar(
                x=[row[name] for row in rows], y=[row["title"] for row in rows], name=name,
                orientation="h", marker={"color": colour},
            )
        )  # fmt: skip
    figure.update_layout(barmode="stack")
    made = _layout(figure, "Accounts that fall, are called, or are not known", len(rows))
    made.update_layout(
        showlegend=True,
        legend={"orientation": "h", "x": 1, "xanchor": "right", "y": 1, "yanchor": "bottom"},
    )
    return made


def _specials(rows: Sequence[Document]) -> str:
    told = ""
    outages = [{"title": row["title"], **row["outage"]} for row in rows if "outage" in row]
    if outages:
        told += "<h2>Without trading</h2>" + _table(
            outages,
            {"title": "scenario", "closed_out_with_trading": "closed out on the way, with trading",
             "shortfall_with_trading": "shortfall with trading",
             "shortfall_without": "without", "cost": "the outage costs", "spared": "spared"},
        )  # fmt: skip
    oracles = [{"title": row["title"], **row["oracle"]} for row in rows if "oracle" in row]
    for one in oracles:
        one["published"] = (
            f"{one['published_move']:+.2%}" if one["published_move"] is not None
            else f"none: {one['reason']}"
        )  # fmt: skip
        one["true"] = f"{one['true_move']:+.2%}"
    if oracles:
        told += "<h2>Failing sources</h2>" + _table(
            oracles,
            {"title": "scenario", "true": "the market moves by", "published": "published",
             "unknown_seconds": "seconds without an index",
             "wrongly_liquidated": "wrongly liquidated", "missed": "missed", "frozen": "frozen"},
        )  # fmt: skip
    return told


def _notes(rows: Sequence[Document]) -> str:
    lines = [
        f"<li>{escape(row['title'])}: {escape('; '.join(row['notes']))}</li>"
        for row in rows if row["notes"]
    ]  # fmt: skip
    return f"<h2>What had to be assumed</h2><ul class='notes'>{''.join(lines)}</ul>" * bool(lines)


# ── reverse ──────────────────────────────────────────────────────────────────────────────────────


def _reverse_page(document: Document, go: Any) -> str:
    facts = {
        "found": document["found"],
        "distance, deviations": _or_dash(document["distance"], ".3f"),
        "proved: none nearer than": _or_dash(document["proved"], ".3f"),
        "windows that went as far": f"{document['windows_as_far']:,} of {document['windows']:,}",
        "who fails": f"{len(document['broken']):,}",
    }
    rows = [
        {"name": name, "spot": f"{one['spot']:+.2%}", "vol": f"{one['vol_factor'] - 1.0:+.1%}"}
        for name, one in document["moves"].items()
    ]
    figures = []
    if document["path"]:
        figures.append(_path(document, go))
    if document["rays"] and len(document["rays"][0]["log_move"]) > 1:
        figures.append(_rays(document, go))
    body = ""
    if rows:
        words = {"name": "underlying", "spot": "price", "vol": "volatility"}
        body += "<h2>The nearest move</h2>" + _table(rows, words)
    if document["broken"]:
        who = ", ".join(document["broken"][:20]) + (" …" if len(document["broken"]) > 20 else "")
        body += f"<p>Fails there: {escape(who)}</p>"
    if document["unproved_because"]:
        body += f"<p>Not proved to be the nearest: {escape(document['unproved_because'])}.</p>"
    said = (
        f"The smallest plausible move that breaks the goal <b>{escape(document['goal'])}</b>; a "
        f"distance of 1 is one joint deviation of the history. Looked for up to "
        f"{document['reach']:g} deviations."
    )
    return _page("Reverse stress", said, facts, body + _plots(figures), document["notes"])


def _path(document: Document, go: Any) -> Any:
    path, distance = document["path"], document["distance"]
    x = [one["share"] * distance for one in path]
    figure = go.Figure()
    for name, colour in (("equity", _BLUE), ("initial_margin", _AMBER),
                         ("maintenance_margin", _RED), ("shortfall", _VIOLET)):  # fmt: skip
        figure.add_trace(
            go.Scatter(
                x=x, y=[one[name] for one in path], name=name.replace("_", " "), mode="lines",
                line={"color": colour},
            )
        )  # fmt: skip
    figure.add_vline(x=distance, line={"color": _INK, "dash": "dot"}, annotation_text="breaks")
    made = _layout(figure, "On the way to the move: who fails there, together, USD", 8)
    made.update_layout(
        showlegend=True, xaxis={"title": "deviations", "gridcolor": _GRID},
        legend={"orientation": "h", "y": -0.2},
    )  # fmt: skip
    return made


def _rays(document: Document, go: Any) -> Any:
    """The first two coordinates of every ray that was searched: where it breaks."""
    names = list(document["deviations"])[:2]
    reached = [one for one in document["rays"] if one["distance"] is not None]
    rest = [one for one in document["rays"] if one["distance"] is None]
    figure = go.Figure()
    for rows, label, colour in ((rest, "does not break so near", "#aab7bf"),
                                (reached, "breaks here", _AMBER)):  # fmt: skip
        figure.add_trace(
            go.Scatter(
                x=[math.expm1(one["log_move"][0]) for one in rows],
                y=[math.expm1(one["log_move"][1]) for one in rows], mode="markers", name=label,
                marker={"color": colour, "size": 8},
            )
        )  # fmt: skip
    moves = list(document["moves"].values())
    if moves:
        at = [moves[0]["spot"], moves[1]["spot"] if len(moves) > 1 else moves[0]["vol_factor"] - 1]
        figure.add_trace(
            go.Scatter(x=[at[0]], y=[at[1]], mode="markers", name="the nearest",
                       marker={"color": _RED, "size": 14, "symbol": "star"})
        )  # fmt: skip
    made = _layout(figure, "Rays that were searched, as moves of the first two coordinates", 12)
    made.update_layout(
        showlegend=True, legend={"orientation": "h", "y": -0.16},
        xaxis={"title": names[0], "tickformat": ".0%", "gridcolor": _GRID},
        yaxis={"title": names[1], "tickformat": ".0%", "gridcolor": _GRID},
    )  # fmt: skip
    return made


# ── ladders ──────────────────────────────────────────────────────────────────────────────────────


def _ladder_page(document: Document, go: Any) -> str:
    rows = document["ladders"]
    figures = []
    for kind in dict.fromkeys(row["ladder"] for row in rows):
        for of in dict.fromkeys(row["of"] for row in rows if row["ladder"] == kind):
            mine = [row for row in rows if (row["ladder"], row["of"]) == (kind, of)]
            figures.append(_climb(kind, of, mine, go))
    columns = {
        "ladder": "ladder", "of": "what moves", "step": "step", "equity": "equity",
        "initial_margin": "initial", "maintenance_margin": "maintenance", "called": "called",
        "liquidated": "liquidated", "unknown": "unknown", "shortfall": "shortfall", "note": "",
    }  # fmt: skip
    facts = {"rungs": f"{len(rows)}", "accounts": f"{document['accounts']:,}",
             "fund, USD": short(document["fund"])}  # fmt: skip
    said = (
        f"On the market of {escape(document['as_of'])} UTC. One thing moves in steps, everything "
        "else stands; each rung is a full re-margin."
    )
    body = _plots(figures) + "<h2>Every rung</h2>" + _table(rows, columns)
    return _page("Sensitivity ladders", said, facts, body, document["notes"])


def _climb(kind: str, of: str, rows: Sequence[Document], go: Any) -> Any:
    figure = go.Figure()
    x = [row["step"] for row in rows]
    for name, colour in (("equity", _BLUE), ("initial_margin", _AMBER),
                         ("maintenance_margin", _RED), ("shortfall", _VIOLET)):  # fmt: skip
        figure.add_trace(
            go.Scatter(
                x=x, y=[row[name] for row in rows], name=name.replace("_", " "),
                mode="lines+markers", line={"color": colour},
            )
        )  # fmt: skip
    made = _layout(figure, f"{kind}, {of}: USD", 8)
    percent = kind in ("spot", "vol", "collateral")
    made.update_layout(
        showlegend=True, legend={"orientation": "h", "y": -0.22},
        xaxis={"title": UNITS[kind], "gridcolor": _GRID, "tickformat": ".0%" if percent else ""},
    )  # fmt: skip
    return made


# ── pages ────────────────────────────────────────────────────────────────────────────────────────


def short(dollars: float) -> str:
    """Dollars in three or four digits.

    >>> short(1_890_000_000.0), short(-12_345.0), short(0.0)
    ('1.89 bn', '-12.35 k', '0.00')
    """
    for size, unit in ((1e9, "bn"), (1e6, "m"), (1e3, "k")):
        if abs(dollars) >= size:
            return f"{dollars / size:,.2f} {unit}"
    return f"{dollars:,.2f}"


def _or_dash(number: float | None, form: str) -> str:
    return "-" if number is None else format(number, form)


def _layout(figure: Any, title: str, rows: int) -> Any:
    figure.update_layout(
        title={"text": title, "x": 0.01, "font": {"size": 15}}, template="plotly_white",
        font={"family": "system-ui, sans-serif", "color": _INK, "size": 12},
        height=130 + 26 * max(rows, 4), margin={"l": 70, "r": 20, "t": 46, "b": 46},
        showlegend=False, xaxis={"gridcolor": _GRID},
        yaxis={"automargin": True, "autorange": "reversed"} if figure.data
        and getattr(figure.data[0], "orientation", None) == "h" else {"gridcolor": _GRID},
    )  # fmt: skip
    bars = [one for one in figure.data if getattr(one, "orientation", None) == "h"]
    if bars and not any(any(one.x) for one in bars):
        figure.update_xaxes(range=[0, 1])  # all are nothing: else the axis begins at -1
    return figure


def _plots(figures: Sequence[Any]) -> str:
    return "".join(
        "<section class='plot'>"
        + str(figure.to_html(full_html=False, include_plotlyjs=not place, config=_CONFIG))
        + "</section>"
        for place, figure in enumerate(figures)
    )


def _table(rows: Sequence[Document], columns: Mapping[str, str]) -> str:
    head = "".join(f"<th>{escape(words)}</th>" for words in columns.values())
    body = "".join(
        "<tr>" + "".join(_cell(row.get(name)) for name in columns) + "</tr>" for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return "<td>-</td>" if value is None else f"<td>{value}</td>"
    if isinstance(value, int):
        return f"<td class='n'>{value:,}</td>"
    if isinstance(value, float):
        return f"<td class='n'>{value:,.2f}</td>"
    return f"<td>{escape(str(value))}</td>"


def _page(title: str, said: str, facts: Mapping[str, str], body: str, notes: Sequence[str]) -> str:
    shown = "".join(
        f"<div><b>{escape(value)}</b><span>{escape(name)}</span></div>"
        for name, value in facts.items()
    )
    lines = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Solvent: {title}</title><style>{_STYLE}</style></head><body>
<header><h1>{title}</h1><p>{said}</p></header>
<div class="facts">{shown}</div><ul class="notes">{lines}</ul>
{body}
<footer>The data of this page: <a href="{{data}}">{{data}}</a>, beside it.</footer>
</body></html>
"""


_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;color:#1d2a33;max-width:1080px;margin:0 auto;padding:24px}
header p{color:#5f7484;margin-top:-8px}h1{font-size:26px}h2{font-size:19px;margin-top:36px}
.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px}
.facts div{border:1px solid #e4e9ec;border-radius:8px;padding:10px 14px}
.facts b{display:block;font-size:19px}.facts span{color:#5f7484;font-size:13px}
.notes{color:#5f7484;font-size:13px}.plot{margin:14px 0}
table{border-collapse:collapse;width:100%;font-size:13px;display:block;overflow-x:auto}
th,td{padding:4px 8px;border-bottom:1px solid #e4e9ec;text-align:left}td.n{text-align:right}
footer{margin-top:36px;color:#5f7484;font-size:13px}
"""
