"""A margined book as one HTML file with plots that needs no network to open."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from solvent.errors import MissingExtra
from solvent.instruments.contract import moment_of
from solvent.margining.explain import AccountView, ScanView, SetView, standing_for
from solvent.margining.requirement import Standing
from solvent.units import MICRO

if TYPE_CHECKING:
    from solvent.answer import Margin

_COLOURS = {
    Standing.HEALTHY: "#2e7d5b",
    Standing.CALL: "#d9a21b",
    Standing.LIQUIDATE: "#c0392b",
    Standing.UNKNOWN: "#7d5ba6",
    Standing.UNFUNDED: "#5f7484",
}
_INK, _GRID = "#1d2a33", "#e4e9ec"
_ROWS_SHOWN, _DAYS_SHOWN = 25, 30


def write_report(answer: Margin, path: Path, *, account: str | None = None) -> None:
    """Write the report; `account` is explained in it (the largest margin's by default).

    Raises MissingExtra without plotly (`solvent[plot]`).
    """
    try:
        from plotly import graph_objects
    except ImportError as fault:
        raise MissingExtra(feature="a report with plots", extra="plot") from fault
    venue = [draw(answer, graph_objects) for draw in (_standings, _distribution, _charges)]
    view = answer.explain(account or _largest(answer)) if len(answer) else None
    explained: list[Any] = []
    for one in view.sets if view else ():
        explained += _scenarios(answer, one, graph_objects)
        explained.append(_shares(one, graph_objects))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_page(answer, view, venue, explained), "utf-8")


def _largest(answer: Margin) -> str:
    known = np.where(answer.unknown, -1, answer.initial_micro)
    return answer.book.accounts[int(np.argmax(known))]


def _layout(figure: Any, title: str, *, height: int = 360, **axes: Any) -> Any:
    figure.update_layout(
        title={"text": title, "x": 0.01, "font": {"size": 15}},
        template="plotly_white",
        font={"family": "system-ui, sans-serif", "color": _INK, "size": 12},
        height=height,
        margin={"l": 70, "r": 20, "t": 46, "b": 46},
        showlegend=False,
        **axes,
    )
    return figure


def _standings(answer: Margin, go: Any) -> Any:
    counts = answer.counts()
    names = [str(standing) for standing in Standing if str(standing) in counts]
    figure = go.Figure(
        go.Bar(
            x=[counts[name] for name in names],
            y=names,
            orientation="h",
            marker={"color": [_COLOURS[Standing(name)] for name in names]},
            text=[f"{counts[name]:,}" for name in names],
            textposition="auto",
        )
    )
    return _layout(
        figure, "Accounts by standing", height=240,
        xaxis={"type": "log", "title": "accounts (log)", "gridcolor": _GRID},
    )  # fmt: skip


def _distribution(answer: Margin, go: Any) -> Any:
    """Initial margin, and where collateral is known equity over it."""
    initial = answer.initial_micro / MICRO
    held = initial > 0
    equity = answer.equity_micro
    if equity is None:
        decades = np.log10(initial[held])
        figure = go.Figure(go.Histogram(x=decades, nbinsx=80, marker={"color": "#35617d"}))
        return _layout(
            figure, "Initial margin", xaxis={"title": "log₁₀ USD", "gridcolor": _GRID},
            yaxis={"title": "accounts"},
        )  # fmt: skip
    ratio = np.clip(equity[held] / MICRO / initial[held], -1.0, 10.0)
    counts, edges = np.histogram(ratio, bins=110, range=(-1.0, 10.0))
    middle = 0.5 * (edges[1:] + edges[:-1])
    colours = [_COLOURS[Standing.HEALTHY if x >= 1 else Standing.LIQUIDATE] for x in middle]
    figure = go.Figure(go.Bar(x=middle, y=counts, marker={"color": colours}))
    figure.add_vline(x=1.0, line={"color": _INK, "dash": "dot"})
    return _layout(
        figure, "Equity over initial margin (below 1: no new risk)",
        xaxis={"title": "equity / initial margin, clipped to −1 … 10", "gridcolor": _GRID},
        yaxis={"title": "accounts", "type": "log"}, bargap=0.05,
    )  # fmt: skip


def _charges(answer: Margin, go: Any) -> Any:
    frame = answer.to_polars()
    names = [name for name in _component_names(answer) if float(frame[name].sum() or 0.0) != 0.0]
    totals = [float(frame[name].sum()) for name in names]
    figure = go.Figure(
        go.Bar(
            x=totals, y=names, orientation="h", marker={"color": "#35617d"},
            text=[_short(total) for total in totals], textposition="auto",
        )
    )  # fmt: skip
    return _layout(
        figure, "What initial margins are made of, USD", height=120 + 40 * len(names),
        xaxis={"gridcolor": _GRID},
    )  # fmt: skip


def _component_names(answer: Margin) -> list[str]:
    plan = answer.plan
    names = [*(scan.name for scan in plan.scans), *(charge.name for charge in plan.charges)]
    return [*names, *plan.rulebook.text.inputs, "rounding"]


def _scenarios(answer: Margin, one: SetView, go: Any) -> list[Any]:
    """PnL by scenario of each scan: heat maps of a grid, dates and losses of joint shocks."""
    shocks = answer.plan.arrays.shocks
    figures: list[Any] = []
    for scan in one.scans:
        if scan.reduce == "worst" and not any(shocks.is_joint(int(s)) for s in scan.scenarios):
            figures += _heat_maps(answer, one, scan, go)
        else:
            figures.append(_tail(answer, one, scan, go))
    return figures


def _tail(answer: Margin, one: SetView, scan: ScanView, go: Any) -> Any:
    """The scenarios that count, the worst first: when each was, its loss, and what moved."""
    shocks, names = answer.plan.arrays.shocks, answer.plan.arrays.universe.underlyings
    places = scan.tail[:_DAYS_SHOWN].tolist()
    days, moved = [], []
    for rank, place in enumerate(places, 1):
        s = int(scan.scenarios[place])
        what = shocks.moment(s) if shocks.is_joint(s) else shocks.label(s, one.underlying)
        # Two scenarios may bear one name; a bar chart would lay them over each other.
        days.append(f"{rank}. {what}")
        moves = (f"{name} {shocks.move[code, s]:+.2%}" for code, name in enumerate(names))
        moved.append(", ".join(moves))
    figure = go.Figure(
        go.Bar(
            x=[float(scan.total[place]) for place in places], y=days, orientation="h",
            marker={
                "color": ["#c0392b" if scan.total[place] < 0 else "#2e7d5b" for place in places],
                "line": {
                    "color": "black",
                    "width": [3 * (int(scan.scenarios[p]) == scan.binding) for p in places],
                },
            },
            text=[f"{scan.total[p]:,.0f} · counts {scan.share[p]:.1%}" for p in places],
            textposition="auto", hovertext=moved, customdata=moved,
            hovertemplate="%{y}<br>%{x:,.0f} USD<br>%{customdata}<extra></extra>",
        )
    )  # fmt: skip
    of = f"{len(scan.tail):,} of {len(scan.scenarios):,} scenarios count"
    shown = f", the worst {len(places)} shown" if len(places) < len(scan.tail) else ""
    title = f"{one.node}: PnL of {scan.name}, {standing_for(scan)}: {of}{shown}"
    return _layout(
        figure, title, height=130 + 26 * len(places),
        xaxis={"title": "USD", "gridcolor": _GRID},
        yaxis={"automargin": True, "autorange": "reversed"},
    )  # fmt: skip


def _heat_maps(answer: Margin, one: SetView, scan: ScanView, go: Any) -> list[Any]:
    """PnL of each scenario set of a scan, the binding scenario boxed."""
    shocks = answer.plan.arrays.shocks
    figures = []
    names = [shocks.set_names[s] for s in scan.scenarios]
    reach = float(np.max(np.abs(scan.total))) or 1.0
    for name in dict.fromkeys(names):
        places = [i for i, other in enumerate(names) if other == name]
        numbers = [int(scan.scenarios[i]) for i in places]
        moves = [f"{shocks.move[one.underlying, s]:+.1%}" for s in numbers]
        vols = [f"vol {shocks.vol_names[s]}" for s in numbers]
        x, y = list(dict.fromkeys(moves)), list(dict.fromkeys(vols))
        z = np.full((len(y), len(x)), np.nan)
        for place, move, vol in zip(places, moves, vols, strict=True):
            z[y.index(vol), x.index(move)] = scan.total[place]
        figure = go.Figure(
            go.Heatmap(
                x=x, y=y, z=z, zmid=0.0, zmin=-reach, zmax=reach, colorscale="RdBu",
                texttemplate="%{z:,.0f}", colorbar={"title": "USD"},
            )
        )  # fmt: skip
        if scan.binding in numbers and float(scan.total.min()) < 0:
            _box(figure, x.index(moves[numbers.index(scan.binding)]),
                 y.index(vols[numbers.index(scan.binding)]))  # fmt: skip
        title = f"{one.node}: PnL of scenario set {name}, offsets applied, binding one boxed"
        figures.append(_layout(figure, title, height=150 + 60 * len(y)))
    return figures


def _box(figure: Any, x: int, y: int) -> None:
    line = {"color": "black", "width": 3}
    figure.add_shape(type="rect", x0=x - 0.5, x1=x + 0.5, y0=y - 0.5, y1=y + 0.5, line=line)


def _shares(one: SetView, go: Any) -> Any:
    rows = sorted(one.positions, key=lambda p: p.initial)
    figure = go.Figure(
        go.Bar(
            x=[p.initial for p in rows],
            y=[f"{p.symbol}  {p.size:+,g}" for p in rows],
            orientation="h",
            marker={"color": ["#c0392b" if p.initial > 0 else "#2e7d5b" for p in rows]},
        )
    )
    return _layout(
        figure, f"{one.node}: each position's share of initial margin, USD",
        height=140 + 26 * len(rows), xaxis={"gridcolor": _GRID},
        yaxis={"automargin": True},
    )  # fmt: skip


def _page(answer: Margin, view: AccountView | None, venue: list[Any], account: list[Any]) -> str:
    """`venue` and `account` are figures; the first one carries the plotting library."""
    plan, known = answer.plan, ~answer.unknown
    moment = f"{moment_of(plan.arrays.as_of_ms):%Y-%m-%d %H:%M:%S} UTC"
    facts = {
        "accounts": f"{len(answer):,}",
        "positions": f"{answer.book.positions:,}",
        "instruments": f"{len(plan.arrays.universe):,}",
        "scenarios": f"{plan.arrays.scenarios:,}",
        "initial margin, USD": _short(float(answer.initial_micro[known].sum()) / MICRO),
        "maintenance, USD": _short(float(answer.requirements.maintenance[known].sum()) / MICRO),
    }
    figures_html = "".join(f"<div><b>{v}</b><span>{k}</span></div>" for k, v in facts.items())
    explained = f"<h2>Account {escape(view.account)}</h2>" if view else ""
    if view and view.reason:
        explained += f"<p>{escape(view.status)}: {escape(view.reason)}</p>"
    notes = "".join(f"<li>{escape(note)}</li>" for note in plan.rulebook.applied)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Solvent: {escape(plan.rulebook.name)}</title><style>{_STYLE}</style></head><body>
<header><h1>{escape(plan.rulebook.text.title)}</h1><p>{moment} · rulebook
<code>{escape(plan.rulebook.name)}</code> <code>{plan.rulebook.digest[:12]}</code></p></header>
<div class="facts">{figures_html}</div><ul class="notes">{notes}</ul>
{_plots(venue, library=True)}<h2>Largest initial margins</h2>{_table(answer)}
{explained}{_plots(account, library=False)}
</body></html>
"""


def _plots(figures: list[Any], *, library: bool) -> str:
    return "".join(
        f'<section class="plot">{_plot(figure, library=library and not place)}</section>'
        for place, figure in enumerate(figures)
    )


def _plot(figure: Any, *, library: bool) -> str:
    config = {"displayModeBar": False, "responsive": True}
    return str(figure.to_html(full_html=False, include_plotlyjs=library, config=config))


def _short(dollars: float) -> str:
    """Dollars in three or four digits: 1.89 bn."""
    for size, unit in ((1e9, "bn"), (1e6, "m"), (1e3, "k")):
        if abs(dollars) >= size:
            return f"{dollars / size:,.2f} {unit}"
    return f"{dollars:,.2f}"


def _table(answer: Margin) -> str:
    frame = answer.to_polars().sort("initial_margin", descending=True, nulls_last=True)
    columns = ["account", "status", "equity", "initial_margin", "maintenance_margin",
               "worst_scenario"]  # fmt: skip
    head = "".join(f"<th>{name.replace('_', ' ')}</th>" for name in columns)
    rows = []
    for row in frame.head(_ROWS_SHOWN).iter_rows(named=True):
        cells = "".join(
            f'<td class="n">{row[name]:,.2f}</td>'
            if isinstance(row[name], float)
            else f"<td>{escape(str(row[name] if row[name] is not None else '-'))}</td>"
            for name in columns
        )
        rows.append(f'<tr class="{row["status"]}">{cells}</tr>')
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
tr.liquidate td:nth-child(2){color:#c0392b;font-weight:600}
tr.call td:nth-child(2){color:#a97908;font-weight:600}
tr.healthy td:nth-child(2){color:#2e7d5b}
"""
