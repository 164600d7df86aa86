"""ECharts options from view-models: one look for all, numbers with units, no animation.

Keys that begin with a colon are JavaScript, which NiceGUI evaluates in the browser: formatters of
axes and tooltips. Nothing that a user typed ever enters them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

from solvent.dashboard.gaps import Rung
from solvent.dashboard.theme import Palette, mixed
from solvent.dashboard.venue_view import STATES, HeatMap, Point
from solvent.units import MICRO as MICRO_DOLLARS

_SHORT: Final = (
    "(v)=>{const a=Math.abs(v);const s=a>=1e12?[1e12,'T']:a>=1e9?[1e9,'B']:a>=1e6?[1e6,'M']:"
    "a>=1e4?[1e3,'k']:[1,''];return (v/s[0]).toLocaleString('en-US',{maximumFractionDigits:"
    "s[0]==1?0:2})+s[1]}"
)
_DOLLARS: Final = f"(v)=>'$'+({_SHORT})(v)"
_WHOLE: Final = "(v)=>Math.round(v).toLocaleString('en-US')"
_PERCENT: Final = "(v)=>v.toLocaleString('en-US',{maximumFractionDigits:1})+' %'"
Options = dict[str, Any]


def _base(colours: Palette, *, legend: bool = False, left: int = 8, right: int = 14) -> Options:
    return {
        "animation": False,
        "textStyle": {"fontFamily": "Inter, Roboto, Arial, sans-serif", "color": colours.muted},
        "grid": {"left": left, "right": right, "top": 30 if legend else 12, "bottom": 4,
                 "containLabel": True},
        "tooltip": {
            "trigger": "axis", "backgroundColor": colours.surface, "borderColor": colours.line,
            "textStyle": {"color": colours.ink, "fontSize": 12}, "confine": True,
        },
        "legend": {
            "show": legend, "type": "scroll", "pageIconColor": colours.accent,
            "pageTextStyle": {"color": colours.muted}, "top": 0, "left": 0, "itemWidth": 14,
            "itemHeight": 3, "icon": "rect",
            "textStyle": {"color": colours.muted, "fontSize": 12},
        },
        "aria": {"enabled": True},
    }  # fmt: skip


def _time_axis(colours: Palette) -> Options:
    return {
        "type": "time", "splitNumber": 4, "axisLine": {"lineStyle": {"color": colours.line}},
        "axisTick": {"show": False}, "splitLine": {"show": False},
        "axisLabel": {"color": colours.muted, "fontSize": 11, "hideOverlap": True},
    }  # fmt: skip


def _value_axis(colours: Palette, form: str, **more: Any) -> Options:
    return {
        "type": "value", "scale": True, "splitNumber": 4, "axisTick": {"show": False},
        "axisLabel": {"color": colours.muted, "fontSize": 11, ":formatter": form},
        "splitLine": {"lineStyle": {"color": colours.grid}}, "axisLine": {"show": False},
        **more,
    }  # fmt: skip


def _line(name: str, data: Any, colour: str, **more: Any) -> Options:
    return {
        "type": "line", "name": name, "data": data, "showSymbol": False, "symbolSize": 5,
        "lineStyle": {"width": 1.7, "color": colour}, "itemStyle": {"color": colour}, **more,
    }  # fmt: skip


def price_chart(history: Sequence[Point], colours: Palette) -> Options:
    """Prices as percent of where they began, and volatility of the first underlying at the
    right."""
    options = _base(colours, legend=True)
    names = list(history[-1].prices) if history else []
    first = {name: next((p.prices[name] for p in history if name in p.prices), 0.0)
             for name in names}  # fmt: skip
    tints = (colours.accent, colours.second, colours.unknown, colours.muted)
    series = [
        _line(
            f"{name} price",
            [[p.time_ms, round(100.0 * (p.prices[name] / first[name] - 1.0), 3)]
             for p in history if name in p.prices and first[name]],
            tints[place % len(tints)],
        )
        for place, name in enumerate(names)
    ]  # fmt: skip
    vol = next((name for name in names if any(name in p.vols for p in history)), None)
    if vol is not None:
        points = [[p.time_ms, round(100.0 * p.vols[vol], 2)] for p in history if vol in p.vols]
        series.append(
            _line(f"{vol} volatility, right", points, colours.muted, yAxisIndex=1,
                  lineStyle={"width": 1.3, "type": "dashed", "color": colours.muted})
        )  # fmt: skip
    options |= {
        "xAxis": _time_axis(colours),
        "yAxis": [
            _value_axis(colours, "(v)=>(v>0?'+':'')+v+' %'"),
            _value_axis(colours, _PERCENT, splitLine={"show": False}),
        ],
        "series": series,
    }
    return options


def states_chart(history: Sequence[Point], colours: Palette) -> Options:
    """Accounts that are not healthy, stacked by state."""
    options = _base(colours, legend=True)
    series = []
    for place, state in enumerate(STATES):
        if place == 0 or not any(p.counts[place] for p in history):
            continue
        colour = getattr(colours, state.name.lower())
        data = [[p.time_ms, p.counts[place]] for p in history]
        series.append(
            _line(state.name.lower(), data, colour, stack="states",
                  areaStyle={"color": colour, "opacity": 0.28})
        )  # fmt: skip
    options |= {
        "xAxis": _time_axis(colours),
        "yAxis": _value_axis(colours, _WHOLE, min=0, scale=False, minInterval=1),
        "series": series,
    }
    # An empty chart says nothing: this one says why it is empty.
    options["title"] = {
        "show": not series, "text": "Everybody is healthy.", "left": "center", "top": "middle",
        "textStyle": {"color": colours.muted, "fontSize": 13, "fontWeight": "normal"},
    }  # fmt: skip
    return options


def money_chart(history: Sequence[Point], colours: Palette) -> Options:
    """What all must post, and at the right what they own."""
    options = _base(colours, legend=True)
    lines = (
        ("initial margin", "initial_micro", colours.call, "solid", 0),
        ("maintenance margin", "maintenance_micro", colours.liquidate, "dashed", 0),
        ("equity, right", "equity_micro", colours.accent, "solid", 1),
    )
    options |= {
        "xAxis": _time_axis(colours),
        "yAxis": [
            _value_axis(colours, _DOLLARS),
            _value_axis(colours, _DOLLARS, splitLine={"show": False}),
        ],
        "series": [
            _line(name, [[p.time_ms, getattr(p, part) / MICRO_DOLLARS] for p in history], colour,
                  yAxisIndex=axis, lineStyle={"width": 1.7, "color": colour, "type": style})
            for name, part, colour, style, axis in lines
        ],
    }  # fmt: skip
    return options


def fund_chart(history: Sequence[Point], colours: Palette) -> Options:
    """The insurance fund, and accounts that were liquidated since the pages began, at the right."""
    options = _base(colours, legend=True)
    options |= {
        "xAxis": _time_axis(colours),
        "yAxis": [
            _value_axis(colours, _DOLLARS, scale=False),
            _value_axis(
                colours, _WHOLE, splitLine={"show": False}, min=0, scale=False, minInterval=1,
                **{":max": "(v)=>v.max<4?4:null"},
            ),
        ],
        "series": [
            _line("insurance fund",
                  [[p.time_ms, p.fund_micro / MICRO_DOLLARS] for p in history], colours.second,
                  areaStyle={"color": colours.second, "opacity": 0.14}),
            _line("liquidated, right", [[p.time_ms, p.liquidated] for p in history],
                  colours.liquidate, yAxisIndex=1, step="end"),
        ],
    }  # fmt: skip
    return options


def staircase_chart(ladder: Sequence[Rung], colours: Palette) -> Options:
    """How many accounts are below maintenance at each move of all prices, and what they hold."""
    options = _base(colours, legend=True)
    options |= {
        "xAxis": {
            **_value_axis(colours, "(v)=>(v>0?'+':'')+v+' %'"), "splitLine": {"show": False},
            "min": -50, "max": 50, "axisLine": {"onZero": False, "show": False},
            "axisTick": {"show": False},
        },
        "yAxis": [
            _value_axis(colours, _WHOLE, min=0, scale=False, minInterval=1),
            _value_axis(colours, _DOLLARS, min=0, scale=False, splitLine={"show": False}),
        ],
        "series": [
            _line("accounts", [[100 * one.gap, one.fallen] for one in ladder], colours.liquidate,
                  step="middle", areaStyle={"color": colours.liquidate, "opacity": 0.16}),
            _line("what they hold, right",
                  [[100 * one.gap, one.notional_dollars] for one in ladder], colours.accent,
                  yAxisIndex=1, step="middle"),
        ],
    }  # fmt: skip
    return options


def heat_chart(heat: HeatMap, colours: Palette) -> Options:
    """Dollars that would be liquidated, by time and price; the price that was as a line. Colours go
    by the root of dollars: beside one large account all others would be as good as nothing."""
    options = _base(colours)
    levels = [(low + high) / 2 for low, high in zip(heat.edges, heat.edges[1:], strict=False)]
    times = [str(place) for place in range(len(heat.columns))]
    cells = [
        [place, level, round(math.sqrt(amount))]
        for place, (_, _, amounts) in enumerate(heat.columns)
        for level, amount in enumerate(amounts)
        if amount > 0
    ]
    step = heat.edges[1] - heat.edges[0]
    most = max((cell[2] for cell in cells), default=1) or 1
    path = [
        [place, (price - heat.edges[0]) / step - 0.5]
        for place, (_, price, _) in enumerate(heat.columns)
    ]
    ramp = [mixed(colours.surface, colours.liquidate, share) for share in (0.08, 0.4, 0.75, 1.0)]
    options |= {
        "tooltip": {"show": False},
        "grid": {"left": 8, "right": 12, "top": 8, "bottom": 4, "containLabel": True},
        "xAxis": [
            {"type": "category", "data": times, "axisLabel": {"show": False},
             "axisTick": {"show": False}, "axisLine": {"lineStyle": {"color": colours.line}}},
            {"type": "value", "show": False, "min": -0.5, "max": max(len(times) - 0.5, 0.5)},
        ],
        "yAxis": [
            {"type": "category", "data": [f"{level:,.0f}" for level in levels],
             "axisLabel": {"color": colours.muted, "fontSize": 11, "interval": 6},
             "axisTick": {"show": False}, "axisLine": {"show": False}},
            {"type": "value", "show": False, "min": -0.5, "max": len(levels) - 0.5},
        ],
        "visualMap": {"show": False, "min": 0, "max": most, "seriesIndex": 0,
                      "inRange": {"color": ramp}},
        "series": [
            {"type": "heatmap", "data": cells, "progressive": 0, "itemStyle": {"borderWidth": 0},
             "emphasis": {"disabled": True}},
            _line("price", path, colours.accent, xAxisIndex=1, yAxisIndex=1,
                  lineStyle={"width": 2.2, "color": colours.accent}),
        ],
    }  # fmt: skip
    return options


def margin_chart(points: Sequence[Any], colours: Palette) -> Options:
    """An account's equity and margins over time."""
    options = _base(colours, legend=True)
    lines = (
        ("equity", "equity_micro", colours.accent, "solid"),
        ("initial margin", "initial_micro", colours.call, "solid"),
        ("maintenance margin", "maintenance_micro", colours.liquidate, "dashed"),
    )
    options |= {
        "xAxis": _time_axis(colours),
        "yAxis": _value_axis(colours, _DOLLARS),
        "series": [
            _line(name,
                  [[p.time_ms, getattr(p, part) / MICRO_DOLLARS if p.known else None]
                   for p in points],
                  colour, lineStyle={"width": 1.7, "color": colour, "type": kind})
            for name, part, colour, kind in lines
        ],
    }  # fmt: skip
    return options


def smile_chart(curves: Sequence[Any], colours: Palette) -> Options:
    """Fitted volatility by strike over forward, with the quotes as points, an expiry a colour."""
    options = _base(colours, legend=True)
    count = max(len(curves) - 1, 1)
    series = []
    for place, curve in enumerate(curves):
        colour = mixed(colours.accent, colours.call, place / count)
        series.append(_line(curve.name, [[x, y] for x, y in curve.fitted], colour))
        series.append(
            {"type": "scatter", "name": curve.name, "data": [[x, y] for x, y in curve.quoted],
             "symbolSize": 4.5, "itemStyle": {"color": colour, "opacity": 0.75}}
        )  # fmt: skip
    options |= {
        "xAxis": {**_value_axis(colours, _PERCENT), "splitLine": {"show": False}},
        "yAxis": _value_axis(colours, _PERCENT),
        "series": series,
    }
    options["tooltip"] = {**options["tooltip"], "trigger": "item"}
    return options


def residual_chart(curves: Sequence[Any], colours: Palette) -> Options:
    """Quoted less fitted volatility in points, by strike over forward."""
    options = _base(colours, legend=True)
    count = max(len(curves) - 1, 1)
    reach = max([0.05, *(1.15 * abs(y) for curve in curves for _, y in curve.residual)])
    options |= {
        "xAxis": {**_value_axis(colours, _PERCENT), "splitLine": {"show": False}},
        "yAxis": _value_axis(colours, "(v)=>v.toFixed(2)+' pt'", min=-reach, max=reach),
        "series": [
            {"type": "scatter", "name": curve.name, "data": [[x, y] for x, y in curve.residual],
             "symbolSize": 5,
             "itemStyle": {"color": mixed(colours.accent, colours.call, place / count)}}
            for place, curve in enumerate(curves)
        ],
    }  # fmt: skip
    options["tooltip"] = {**options["tooltip"], "trigger": "item"}
    return options


def latency_chart(times_ms: Sequence[float], colours: Palette) -> Options:
    """The last ticks, milliseconds from durable to figures of everybody."""
    options = _base(colours)
    options |= {
        "xAxis": {"type": "category", "show": False,
                  "data": [str(one) for one in range(len(times_ms))]},
        "yAxis": _value_axis(colours, "(v)=>v+' ms'", min=0, scale=False),
        "series": [
            {"type": "bar", "name": "tick to figures", "data": [round(one, 1) for one in times_ms],
             "itemStyle": {"color": colours.accent}, "barCategoryGap": "20%"}
        ],
    }  # fmt: skip
    return options
