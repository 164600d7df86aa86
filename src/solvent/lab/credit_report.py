"""A lender's run through a crash as one HTML file that needs no network to open."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

from solvent.errors import MissingExtra

_STATES = {
    "within": "#2e7d5b", "warning": "#8fae3b", "call": "#d9a21b", "cure": "#e08a3c",
    "default": "#c0392b", "closed": "#5f7484",
}  # fmt: skip
_INK, _GRID, _BLUE = "#1d2a33", "#e4e9ec", "#35617d"
_ROWS_SHOWN = 60


def write_credit_report(document: dict[str, Any], path: Path) -> None:
    """Write what `credit_run.report.document` tells.

    Raises MissingExtra without plotly (`solvent[plot]`).
    """
    try:
        from plotly import graph_objects
        from plotly.subplots import make_subplots
    except ImportError as fault:
        raise MissingExtra(feature="a report with plots", extra="plot") from fault
    figures = [
        _market(document, graph_objects, make_subplots),
        _map(document, graph_objects),
        _lines(document, graph_objects),
        _requirement(document, graph_objects),
        _costs(document, graph_objects),
        _profile(document, graph_objects),
    ]
    plots = "".join(
        _html(one, library=not place) for place, one in enumerate(figures) if one is not None
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_page(document, plots), "utf-8")


def _html(figure: Any, *, library: bool) -> str:
    config = {"displayModeBar": False, "responsive": True}
    found = figure.to_html(full_html=False, include_plotlyjs=library, config=config)
    return f'<section class="plot">{found}</section>'


def _layout(figure: Any, title: str, *, height: int = 360, **axes: Any) -> Any:
    figure.update_layout(
        title={"text": title, "x": 0.01, "font": {"size": 15}}, template="plotly_white",
        font={"family": "system-ui, sans-serif", "color": _INK, "size": 12}, height=height,
        margin={"l": 70, "r": 20, "t": 46, "b": 46}, **axes,
    )  # fmt: skip
    return figure


def _times(document: dict[str, Any]) -> list[str]:
    return [str(step["time"]) for step in document["steps"]]


# ── pictures ─────────────────────────────────────────────────────────────────────────────────────


def _market(document: dict[str, Any], go: Any, make_subplots: Any) -> Any:
    """Prices above; what was called and what was paid below."""
    steps, times = document["steps"], _times(document)
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, row_heights=[0.45, 0.55],
                           vertical_spacing=0.06)  # fmt: skip
    for coin in steps[0]["index"]:
        base = steps[0]["index"][coin]
        figure.add_trace(
            go.Scatter(x=times, y=[step["index"][coin] / base for step in steps], name=coin),
            row=1, col=1,
        )  # fmt: skip
    for name, colour in (("called", "#d9a21b"), ("paid", "#2e7d5b"), ("lost", "#c0392b")):
        figure.add_trace(
            go.Bar(x=times, y=[step[name] for step in steps], name=name,
                   marker={"color": colour}), row=2, col=1,
        )  # fmt: skip
    return _layout(figure, "Prices over the opening's; calls, payments, losses (USD)", height=460,
                   barmode="group")  # fmt: skip


def _map(document: dict[str, Any], go: Any) -> Any:
    """A row a counterparty, a column a market: its state."""
    names = list(_STATES)
    rows = document["counterparties"]
    z = [[names.index(state) for state in row["states"]] for row in rows]
    steps = len(names) - 1
    scale = []
    for place, name in enumerate(names):
        low, high = place / (steps + 1), (place + 1) / (steps + 1)
        scale += [[low, _STATES[name]], [high, _STATES[name]]]
    figure = go.Figure(
        go.Heatmap(
            x=_times(document), y=[f"{row['name']} {row['rating_before']}" for row in rows], z=z,
            zmin=-0.5, zmax=steps + 0.5, colorscale=scale, xgap=1, ygap=1,
            colorbar={"tickvals": list(range(len(names))), "ticktext": names},
        )
    )  # fmt: skip
    return _layout(figure, "Every counterparty's state at every market",
                   height=140 + 15 * len(rows), yaxis={"autorange": "reversed"})  # fmt: skip


def _lines(document: dict[str, Any], go: Any) -> Any:
    steps, times = document["steps"], _times(document)
    figure = go.Figure()
    for name, colour in (("line", _BLUE), ("drawn", "#e08a3c"), ("risk", "#c0392b")):
        figure.add_trace(go.Scatter(x=times, y=[step[name] for step in steps], name=name,
                                    line={"color": colour}))  # fmt: skip
    return _layout(figure, "Lines, what is drawn on them, and portfolio risk, USD",
                   yaxis={"rangemode": "tozero", "gridcolor": _GRID})  # fmt: skip


def _requirement(document: dict[str, Any], go: Any) -> Any:
    steps, times = document["steps"], _times(document)
    figure = go.Figure()
    for name, title, dash in (
        ("required", "lines cut by schedule", "solid"), ("required_abrupt", "cut at once", "dot"),
    ):  # fmt: skip
        figure.add_trace(go.Scatter(x=times, y=[step[name] for step in steps], name=title,
                                    line={"color": _INK, "dash": dash}))  # fmt: skip
    return _layout(figure, "What is to be posted, with and without notice of cuts, USD",
                   yaxis={"rangemode": "tozero", "gridcolor": _GRID})  # fmt: skip


def _costs(document: dict[str, Any], go: Any) -> Any | None:
    """Cost of the lines by counterparty at the opening: plain, and what correlation adds."""
    rows = []
    for row in document["counterparties"]:
        told = next(iter(row["exposure"].values()), None)
        if told is not None:
            rows.append((row["name"], told["cva"], told["cva_wrong_way"] - told["cva"]))
    if not rows:
        return None
    rows.sort(key=lambda one: -(one[1] + one[2]))
    names = [name for name, _, _ in rows]
    figure = go.Figure(
        [go.Bar(x=names, y=[plain for _, plain, _ in rows], name="CVA",
                marker={"color": _BLUE}),
         go.Bar(x=names, y=[more for _, _, more in rows], name="wrong-way",
                marker={"color": "#c0392b"})]
    )  # fmt: skip
    return _layout(figure, "Cost of the line at the opening, USD", barmode="stack")


def _profile(document: dict[str, Any], go: Any) -> Any | None:
    """Potential and expected exposure of the counterparty with the largest peak."""
    found = [
        (one["peak"], row["name"], one)
        for row in document["counterparties"]
        for one in list(row["exposure"].values())[:1]
        if one is not None
    ]
    if not found:
        return None
    _, name, one = max(found, key=lambda told: (told[0], told[1]))
    figure = go.Figure(
        [go.Scatter(x=one["days"], y=one["potential"], name="potential (PFE)",
                    line={"color": "#c0392b"}),
         go.Scatter(x=one["days"], y=one["expected"], name="expected (EE)",
                    line={"color": _BLUE})]
    )  # fmt: skip
    return _layout(figure, f"Exposure of {name} at the opening, the largest, USD",
                   xaxis={"title": "days"}, yaxis={"gridcolor": _GRID})  # fmt: skip


# ── the page ─────────────────────────────────────────────────────────────────────────────────────


def _short(dollars: float) -> str:
    for size, unit in ((1e9, "bn"), (1e6, "m"), (1e3, "k")):
        if abs(dollars) >= size:
            return f"{dollars / size:,.2f} {unit}"
    return f"{dollars:,.2f}"


def _page(document: dict[str, Any], plots: str) -> str:
    totals, rise = document["totals"], document["procyclicality"]
    first = next(iter(totals["cost"].values()), None)
    ratio = rise["scheduled"]["peak_to_trough"]
    facts = {
        "counterparties": f"{totals['counterparties']:,}",
        "calls": f"{totals['calls']:,}",
        "called, USD": _short(totals["called"]),
        "limits passed": f"{totals['limit_breaches']:,} by {totals['breached_by']:,}",
        "closed out": f"{len(totals['closed']):,}",
        "reduced": f"{len(totals['reduced']):,}",
        "credit loss, USD": _short(totals["lost"]),
        "peak utilisation": f"{totals['utilisation_peak']:.0%}",
        "cost with wrong-way, USD": "-" if first is None else _short(first["cva_wrong_way"]),
        "peak to trough": "-" if ratio is None else f"{ratio:.2f}",
    }
    shown = "".join(f"<div><b>{v}</b><span>{k}</span></div>" for k, v in facts.items())
    notes = "".join(f"<li>{escape(note)}</li>" for note in document["notes"])
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Solvent: {escape(document["member"])} and its counterparties</title>
<style>{_STYLE}</style></head><body>
<header><h1>{escape(document["member"])} and its counterparties</h1>
<p>{escape(document["from"])} to {escape(document["to"])} · rulebook
<code>{escape(document["rulebook"])}</code> · {escape(document["source"])}</p></header>
<div class="facts">{shown}</div><ul class="notes">{notes}</ul>
{plots}<h2>Counterparties</h2>{_table(document)}
</body></html>
"""


def _table(document: dict[str, Any]) -> str:
    heads = ("counterparty", "rating", "line before", "line now", "peak use", "calls", "called",
             "paid", "limits passed", "state", "cut", "loss")  # fmt: skip
    rows = []
    order = sorted(document["counterparties"], key=lambda one: (one["cut"] == "", one["name"]))
    for row in order[:_ROWS_SHOWN]:
        before, now = row["rating_before"], row["rating"]
        rating = before if before == now else f"{before} → {now}"
        limits = ", ".join(row["limits_passed"]) or "-"
        cells = [escape(row["name"]), escape(rating)]
        numbers = [_short(row["line_before"]), _short(row["line"]),
                   f"{row['utilisation_peak']:.0%}", str(row["calls"]), _short(row["called"]),
                   _short(row["paid"])]  # fmt: skip
        rest = [escape(limits), escape(row["state"]), escape(row["cut"] or "-")]
        rows.append(
            f'<tr class="{escape(row["state"])}">'
            + "".join(f"<td>{one}</td>" for one in cells)
            + "".join(f'<td class="n">{one}</td>' for one in numbers)
            + "".join(f"<td>{one}</td>" for one in rest)
            + f'<td class="n">{_short(row["lost"])}</td></tr>'
        )
    head = "".join(f"<th>{name}</th>" for name in heads)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;color:#1d2a33;max-width:1080px;margin:0 auto;padding:24px}
header p{color:#5f7484;margin-top:-8px}h1{font-size:26px}h2{font-size:19px;margin-top:36px}
.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px}
.facts div{border:1px solid #e4e9ec;border-radius:8px;padding:10px 14px}
.facts b{display:block;font-size:19px}.facts span{color:#5f7484;font-size:13px}
.notes{color:#5f7484;font-size:13px}.plot{margin:14px 0}
table{border-collapse:collapse;width:100%;font-size:13px}
th,td{padding:4px 8px;border-bottom:1px solid #e4e9ec;text-align:left}td.n{text-align:right}
tr.closed td:first-child,tr.default td:first-child{color:#c0392b;font-weight:600}
tr.call td:first-child,tr.cure td:first-child{color:#a97908;font-weight:600}
"""
