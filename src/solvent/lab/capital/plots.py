"""Pictures of shares, hedges, margins and placings. Plotly is loaded when one is drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from solvent.errors import MissingExtra
from solvent.units import MICRO

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from solvent.lab.capital.allocation import Allocation
    from solvent.lab.capital.attribution import AccountShares, Attribution
    from solvent.lab.capital.efficiency import Efficiency
    from solvent.lab.capital.hedge import Hedge

_INK: Final = "#1d2a33"
_BEFORE, _AFTER, _TOTAL = "#9aa5b1", "#2b6cb0", "#c2571a"
_SHOWN: Final = 20
"""Positions with a bar of their own; the rest share one."""


def _figure() -> Any:
    try:
        from plotly import graph_objects
    except ImportError as fault:
        raise MissingExtra(feature="a plot", extra="plot") from fault
    return graph_objects


def _laid_out(figure: Any, title: str, y: str) -> Any:
    figure.update_layout(
        title={"text": title, "x": 0.01, "font": {"size": 15}}, template="plotly_white",
        font={"family": "system-ui, sans-serif", "color": _INK, "size": 12}, height=480,
        margin={"l": 80, "r": 20, "t": 50, "b": 60}, yaxis={"title": y},
        legend={"orientation": "h", "y": 1.08, "x": 0.5},
    )  # fmt: skip
    return figure


def shares_figure(told: Attribution, one: AccountShares) -> go.Figure:
    """A waterfall: the largest shares first, the rest in one, then the requirement."""
    ranked = sorted(one.positions, key=lambda position: -abs(position.share))
    bars = [(position.symbol, position.share) for position in ranked[:_SHOWN]]
    rest = sum(position.share for position in ranked[_SHOWN:])
    if rest:
        bars.append((f"{len(ranked) - _SHOWN} others", rest))
    if one.base:
        bars.append(("no position", one.base))
    plotly = _figure()
    figure = plotly.Figure(
        plotly.Waterfall(
            x=[*(name for name, _ in bars), "requirement"],
            y=[*(share / MICRO for _, share in bars), 0.0],
            measure=[*["relative"] * len(bars), "total"],
            increasing={"marker": {"color": _TOTAL}}, decreasing={"marker": {"color": _AFTER}},
            totals={"marker": {"color": _INK}}, connector={"line": {"color": "#d0d7de"}},
            hovertemplate="%{x}<br>%{delta:,.2f} USD<extra></extra>",
        )
    )  # fmt: skip
    title = f"{one.account} under {told.rulebook}: who causes {told.measure} margin"
    return _laid_out(figure, title, "USD")


def hedge_figure(told: Hedge) -> go.Figure:
    """PnL by scenario before and after; of a rulebook without scenarios, its requirement."""
    plotly = _figure()
    if told.profile:
        labels = list(told.profile)
        figure = plotly.Figure(
            [
                plotly.Bar(
                    x=labels, y=[told.profile[label][n] for label in labels], name=name,
                    marker={"color": colour},
                    hovertemplate="%{x}<br>%{y:,.0f} USD<extra></extra>",
                )
                for n, (name, colour) in enumerate((("before", _BEFORE), ("after", _AFTER)))
            ]
        )  # fmt: skip
        figure.update_xaxes(tickangle=-60, tickfont={"size": 9})
    else:
        figure = plotly.Figure(
            plotly.Bar(
                x=["before", "after"], y=[told.before / MICRO, told.after / MICRO],
                marker={"color": [_BEFORE, _AFTER]},
            )
        )  # fmt: skip
    title = (
        f"{told.account} under {told.rulebook}: {told.before / MICRO:,.0f} to "
        f"{told.after / MICRO:,.0f} USD for {told.cost / MICRO:,.0f}"
    )
    what = "PnL in the scenario, USD" if told.profile else "requirement, USD"
    return _laid_out(figure, title, what).update_layout(margin={"b": 150})


def efficiency_figure(told: Efficiency) -> go.Figure:
    """Margin over time where markets were told, else by account and rulebook."""
    plotly = _figure()
    figure = plotly.Figure()
    if told.over_time:
        for account in dict.fromkeys(row["account"] for row in told.over_time):
            mine = [row for row in told.over_time if row["account"] == account]
            for name, dash in (("initial", "solid"), ("equity", "dot")):
                values = [row[name] for row in mine]
                if any(value is not None for value in values):
                    figure.add_trace(
                        plotly.Scatter(
                            x=[row["time"] for row in mine], y=values, mode="lines+markers",
                            name=f"{account} {name}", line={"dash": dash},
                        )
                    )  # fmt: skip
        return _laid_out(figure, "Margin over time", "USD")
    for rulebook in dict.fromkeys(row["rulebook"] for row in told.rows):
        mine = [row for row in told.rows if row["rulebook"] == rulebook]
        figure.add_trace(
            plotly.Bar(
                x=[row["account"] for row in mine],
                y=[row["initial"] for row in mine],
                name=rulebook,
            )
        )
    return _laid_out(figure, "Initial margin by rulebook", "USD")


def allocation_figure(told: Allocation) -> go.Figure:
    """Requirements of venues, before and after."""
    plotly, names = _figure(), list(told.after)
    bars = [
        plotly.Bar(
            x=names, y=[told.after[name] / MICRO for name in names], name="after",
            marker={"color": _AFTER},
        )
    ]  # fmt: skip
    if told.before is not None:
        before = [told.before[name] / MICRO for name in names]
        bars.insert(0, plotly.Bar(x=names, y=before, name="before", marker={"color": _BEFORE}))
    return _laid_out(plotly.Figure(bars), "What each venue asks for", "USD")
