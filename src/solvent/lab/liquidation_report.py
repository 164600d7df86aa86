"""Crashes under several regimes as one HTML file that needs no network to open: the staircase of
liquidations, what the insurance fund went through, and who paid what."""

from __future__ import annotations

from datetime import UTC, datetime
from html import escape
from itertools import accumulate
from pathlib import Path
from typing import Any

from solvent.errors import MissingExtra

_COLOURS = {
    "book": "#7fb2d9", "trade": "#8d99ae", "auction": "#b9a1d6", "backstop": "#e3b54b",
    "fund": "#e08a3c", "adl": "#b3362b",
}  # fmt: skip
_LABELS = {
    "book": "into the book", "trade": "against an account", "auction": "auctions",
    "backstop": "backstop", "fund": "insurance fund", "adl": "auto-deleveraging",
}  # fmt: skip
_REGIMES = ("#33658a", "#2e7d5b", "#7d5ba6", "#a97908")
_INK, _GRID = "#1d2a33", "#e4e9ec"


def write_liquidation_report(document: dict[str, Any], path: Path) -> None:
    """Write what `sim.cascade_story.document` tells.

    Raises MissingExtra without plotly (`solvent[plot]`).
    """
    try:
        from plotly import graph_objects
        from plotly.subplots import make_subplots
    except ImportError as fault:
        raise MissingExtra(feature="a report with plots", extra="plot") from fault
    parts: list[str] = []
    for crash in document["crashes"]:
        figures = [
            _staircase(crash, document["stages"], graph_objects, make_subplots),
            _funds(crash, graph_objects),
        ]
        plots = [_html(figure, library=not parts and not place)
                 for place, figure in enumerate(figures)]  # fmt: skip
        parts.append(_section(crash, plots))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_page(document, "".join(parts)), "utf-8")


def _html(figure: Any, *, library: bool) -> str:
    config = {"displayModeBar": False, "responsive": True}
    found = figure.to_html(full_html=False, include_plotlyjs=library, config=config)
    return f'<section class="plot">{found}</section>'


# ── pictures ─────────────────────────────────────────────────────────────────────────────────────


def _staircase(crash: dict[str, Any], stages: list[str], go: Any, make_subplots: Any) -> Any:
    """A column a regime: the price falls above, what has been liquidated climbs below, by stage."""
    regimes = crash["regimes"]
    times = [_moment(one) for one in crash["times_ms"]]
    titles = [f"{one['title']} · {one['rulebook']}" for one in regimes]
    figure = make_subplots(
        rows=2, cols=len(regimes), shared_xaxes=True, shared_yaxes=True, row_heights=[0.34, 0.66],
        vertical_spacing=0.04, horizontal_spacing=0.025,
        subplot_titles=[f"<b>{title}</b>" for title in titles],
    )  # fmt: skip
    for column, regime in enumerate(regimes, 1):
        figure.add_trace(
            go.Scatter(x=times, y=crash["price"], mode="lines", line={"color": _INK, "width": 1.6},
                       showlegend=False, name=crash["coin"]),
            row=1, col=column,
        )  # fmt: skip
        for stage in stages:
            reduced = regime["moments"]["reduced"].get(stage, [0.0] * len(times))
            figure.add_trace(
                go.Scatter(
                    x=times, y=list(accumulate(reduced)), mode="lines", name=_LABELS[stage],
                    line={"color": _COLOURS[stage], "width": 0.6, "shape": "hv"},
                    fillcolor=_COLOURS[stage], stackgroup="liquidated", legendgroup=stage,
                    showlegend=column == 1,
                ),
                row=2, col=column,
            )  # fmt: skip
        total = sum(sum(one) for one in regime["moments"]["reduced"].values())
        figure.add_annotation(
            x=times[-1], y=total, xref=f"x{_axis(column + len(regimes))}",
            yref=f"y{_axis(column + len(regimes))}", xanchor="right", yanchor="bottom",
            showarrow=False, font={"size": 12, "color": _INK},
            text=f"{_short(total)}, {100 * total / regime['open_interest']:.0f} % of open interest",
        )  # fmt: skip
    figure.update_layout(
        template="plotly_white", height=560, hovermode="x unified",
        font={"family": "system-ui, sans-serif", "color": _INK, "size": 12},
        margin={"l": 70, "r": 20, "t": 92, "b": 40},
        title={"text": f"{crash['title']}: the price falls, the stairs of liquidation rise",
               "x": 0.01, "y": 0.97, "font": {"size": 16}},
        legend={"orientation": "h", "x": 0, "y": 1.16, "traceorder": "normal"},
    )  # fmt: skip
    figure.update_yaxes(gridcolor=_GRID)
    figure.update_xaxes(gridcolor=_GRID, tickformat="%H:%M\n%d %b")
    figure.update_yaxes(title_text=f"{crash['coin']}, USD", row=1, col=1)
    figure.update_yaxes(title_text="liquidated so far, USD", row=2, col=1, rangemode="tozero")
    return figure


def _axis(number: int) -> str:
    return "" if number == 1 else str(number)


def _funds(crash: dict[str, Any], go: Any) -> Any:
    """What the insurance fund is worth, as a share of what it was, under each regime."""
    times = [_moment(one) for one in crash["times_ms"]]
    figure = go.Figure()
    for regime, colour in zip(crash["regimes"], _REGIMES, strict=False):
        first = regime["fund_first"] or 1.0
        figure.add_trace(
            go.Scatter(x=times, y=[100 * one / first for one in regime["moments"]["fund"]],
                       name=regime["title"], mode="lines",
                       line={"color": colour, "width": 2, "shape": "hv"})
        )  # fmt: skip
    figure.add_hline(y=0, line={"color": "#b3362b", "width": 1, "dash": "dot"})
    figure.update_layout(
        template="plotly_white", height=270, hovermode="x unified",
        font={"family": "system-ui, sans-serif", "color": _INK, "size": 12},
        margin={"l": 70, "r": 20, "t": 46, "b": 40},
        title={"text": "The insurance fund, positions at the marks: % of its beginning", "x": 0.01,
               "font": {"size": 15}},
        legend={"orientation": "h", "x": 1, "xanchor": "right", "y": 1.2},
        yaxis={"gridcolor": _GRID, "ticksuffix": " %"},
        xaxis={"gridcolor": _GRID, "tickformat": "%H:%M\n%d %b"},
    )  # fmt: skip
    return figure


def _moment(time_ms: int) -> datetime:
    return datetime.fromtimestamp(time_ms / 1_000, UTC)


# ── the page ─────────────────────────────────────────────────────────────────────────────────────


def _page(document: dict[str, Any], sections: str) -> str:
    runs = [one for crash in document["crashes"] for one in crash["regimes"]]
    broken = sum(len(one["violations"]) for one in runs)
    audits = sum(one["audits"] for one in runs)
    facts = {
        "accounts in each": f"{document['accounts']:,}",
        "crashes × regimes": f"{len(document['crashes'])} × "
        f"{max(len(one['regimes']) for one in document['crashes'])}",
        "commands": f"{sum(one['commands'] for one in runs):,}",
        "audits of the books": f"{audits:,}",
        "violations": f"{broken:,}",
    }
    cells = "".join(
        f"<div><b>{value}</b><span>{name}</span></div>" for name, value in facts.items()
    )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Solvent: crashes under several regimes</title><style>{_STYLE}</style></head><body>
<header><h1>One crash, several ways to margin it</h1>
<p>The same accounts with the same positions under each regime, with the same money, or what the
regime asks before it lets them open where that is more. Calls, cancellations, liquidations, the
insurance fund, auto-deleveraging: all by the engine, as commands that replay to the byte (seed
{document["seed"]}).</p></header>
<div class="facts">{cells}</div>{sections}
<h2>How to read it</h2><ul class="notes">
<li>An account is liquidated where its equity is known to be below its maintenance margin, in the
order of its rulebook's stages; what no stage takes goes to the next.</li>
<li>“Lost against the mark” is what liquidated accounts got less than the mark; below zero they got
more, which is what somebody else gave up.</li>
<li>The fund and the traders who are deleveraged take positions at the price at which the account
has nothing left: what they are worse off by against the mark is the account's shortfall.</li>
<li>Fairness regret: how much less the trader who gave up most of its equity would have, had the
same sum been shared as evenly as equity allows.</li>
<li>Prices are real where it says so; accounts, dealers and their quotes are made up from the seed.
Between two published prices a straight line is taken; quotes thin out with the last move.</li>
</ul></body></html>
"""


def _section(crash: dict[str, Any], plots: list[str]) -> str:
    coins = ", ".join(
        f"{coin} {100 * (one['low'] / one['first'] - 1):.0f} %"
        for coin, one in crash["coins"].items()
    )
    stages = "".join(
        f"<h3>{escape(one['title'])} · <code>{escape(one['rulebook'])}</code></h3>{_stages(one)}"
        for one in crash["regimes"]
    )
    return f"""<h2>{escape(crash["title"])}</h2>
<p class="w">{escape(crash["source"])}; at the lowest {escape(coins)}.</p>
{plots[0]}{_side_by_side(crash)}{plots[1]}{stages}"""


_ROWS = (
    ("money at the opening, USD", "money", "{:,.0f}"),
    ("open interest at the opening, USD", "open_interest", "{:,.0f}"),
    ("accounts liquidated", "liquidated", "{:,}"), ("margin calls and warnings", "called", "{:,}"),
    ("times orders were taken back", "cancelled", "{:,}"),
    ("traders deleveraged", "deleveraged", "{:,}"),
    ("given up by them, USD", "adl_given_up", "{:,.0f}"),
    ("overshoot of it, USD", "adl_overshoot", "{:,.0f}"),
    ("fairness regret, USD", "adl_regret", "{:,.0f}"),
    ("liquidation fees to the fund, USD", "fees", "{:,.0f}"),
    ("fund at the beginning, USD", "fund_first", "{:,.0f}"),
    ("fund at its lowest, USD", "fund_low", "{:,.0f}"),
    ("fund at the end, USD", "fund_last", "{:,.0f}"),
    ("paid by funds for debts, USD", "covered", "{:,.0f}"),
    ("shared by winners, USD", "shared", "{:,.0f}"),
    ("paid by nobody, USD", "uncovered", "{:,.0f}"),
)  # fmt: skip


def _side_by_side(crash: dict[str, Any]) -> str:
    heads = ["", *(one["title"] for one in crash["regimes"])]
    rows = []
    for label, key, form in _ROWS:
        values = [_value(one, key) for one in crash["regimes"]]
        rows.append([label, *(form.format(one) for one in values)])
    return _table(heads, rows)


def _value(regime: dict[str, Any], key: str) -> float:
    if key == "shared":
        return float(regime["paid"].get("all winners", 0.0))
    if key == "covered":
        return float(sum(regime["paid"].values()) - regime["paid"].get("all winners", 0.0))
    return float(regime[key]) if isinstance(regime[key], float) else int(regime[key])


def _stages(regime: dict[str, Any]) -> str:
    rows = [
        [_LABELS[one["stage"]], one["to"], f"{one['accounts']:,}", f"{one['steps']:,}",
         f"{one['value']:,.0f}", f"{one['lost']:,.0f}", f"{one['fees']:,.0f}"]
        for one in regime["stages"]
    ]  # fmt: skip
    for who, amount in regime["paid"].items():
        rows.append(["debts", who, "", "", f"{amount:,.0f}", "", ""])
    heads = ["stage", "to whom", "accounts", "steps", "value, USD", "lost against the mark, USD",
             "fees, USD"]  # fmt: skip
    return _table(heads, rows, words=2)


def _table(heads: list[str], rows: list[list[str]], *, words: int = 1) -> str:
    def cells(tag: str, row: list[str]) -> str:
        kinds = ["" if place < words else ' class="n"' for place in range(len(row))]
        return "".join(
            f"<{tag}{kind}>{escape(cell)}</{tag}>" for kind, cell in zip(kinds, row, strict=True)
        )

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f"<table><thead><tr>{cells('th', heads)}</tr></thead><tbody>{body}</tbody></table>"


def _short(dollars: float) -> str:
    for size, unit in ((1e9, "bn"), (1e6, "m"), (1e3, "k")):
        if abs(dollars) >= size:
            return f"${dollars / size:,.1f} {unit}"
    return f"${dollars:,.0f}"


_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;color:#1d2a33;max-width:1240px;margin:0 auto;padding:24px}
header p,p.w{color:#5f7484}h1{font-size:27px;margin-bottom:4px}h2{font-size:21px;margin-top:40px}
h3{font-size:15px;margin:22px 0 4px}
.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px}
.facts div{border:1px solid #e4e9ec;border-radius:8px;padding:10px 14px}
.facts b{display:block;font-size:19px}.facts span{color:#5f7484;font-size:13px}
.notes{color:#5f7484;font-size:13px}.plot{margin:14px 0}
table{border-collapse:collapse;width:100%;font-size:13px;font-variant-numeric:tabular-nums}
th,td{padding:4px 8px;border-bottom:1px solid #e4e9ec;text-align:left}.n{text-align:right}
"""
