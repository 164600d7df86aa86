"""A history in two worlds as one HTML file with plots through time; it needs no network to open."""

from __future__ import annotations

from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any

from solvent.errors import MissingExtra
from solvent.units import MICRO

_COLOURS = ("#33658a", "#c0392b")
_PANELS = (
    ("accounts below initial margin", "called", 1),
    ("accounts below maintenance", "liquidatable", 1),
    ("initial margin asked, USD", "initial_micro", MICRO),
    ("maintenance margin, USD", "maintenance_micro", MICRO),
    ("shortfall: what accounts below zero owe, USD", "shortfall_micro", MICRO),
)
_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;color:#1d2a33;max-width:1100px;margin:2rem auto;
padding:0 1rem}
table{border-collapse:collapse;margin:1rem 0;font-variant-numeric:tabular-nums}
td,th{padding:.2rem .8rem;text-align:right;border-bottom:1px solid #e4e9ec}
td:first-child,th:first-child,td.w,th.w{text-align:left}
p.note{color:#5f7484}
"""
_ROWS_SHOWN = 50


def write_replay_report(document: dict[str, Any], path: Path) -> None:
    """Write what `counterfactual.Comparison.to_dict` tells.

    Raises MissingExtra without plotly (`solvent[plot]`).
    """
    try:
        from plotly import graph_objects
    except ImportError as fault:
        raise MissingExtra(feature="a report with plots", extra="plot") from fault
    figures = [_panel(document, graph_objects, *one) for one in _panels(document)]
    plots = "".join(
        str(
            figure.to_html(
                full_html=False, include_plotlyjs=place == 0,
                config={"displayModeBar": False, "responsive": True},
            )
        )
        for place, figure in enumerate(figures)
    )  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_page(document, plots), "utf-8")


def _panels(document: dict[str, Any]) -> list[tuple[str, str, int]]:
    """The index first, and what was not known only where there was any."""
    panels = [("index of the first underlying, USD", "index", 1), *_PANELS]
    if any(one["unknown"] for world in document["points"] for one in world):
        panels.append(("accounts whose risk is not known", "unknown", 1))
    return panels


def _panel(document: dict[str, Any], graphs: Any, title: str, name: str, scale: int) -> Any:
    figure = graphs.Figure()
    worlds = zip(("as recorded", document["rulebook"]), document["points"], _COLOURS, strict=True)
    for label, points, colour in worlds:
        figure.add_scatter(
            x=[datetime.fromtimestamp(one["time_ms"] / 1_000, UTC) for one in points],
            y=[one[name] / scale for one in points],
            name=label, mode="lines", line={"color": colour, "width": 2},
        )  # fmt: skip
    figure.update_layout(
        title={"text": title, "x": 0.01, "font": {"size": 15}}, template="plotly_white",
        height=280, margin={"l": 60, "r": 20, "t": 40, "b": 30},
        legend={"orientation": "h", "x": 1, "xanchor": "right", "y": 1.15},
    )  # fmt: skip
    return figure


def _page(document: dict[str, Any], plots: str) -> str:
    name = escape(document["rulebook"])
    begun, there = document["liquidations_begun"]
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Solvent: {name}</title><style>{_STYLE}</style></head><body>
<h1>The same history under {name}</h1>
<p>{document["commands"]:,} commands; all accounts assessed {len(document["points"][0])} times,
after each publication of risk arrays and at the end.</p>
{_accounts(document, name)}
<p class="note">The commands are the recorded ones. Of {begun:,} liquidations that were begun,
{there:,} began under {name}; where the account was healthy there they were refused, and nobody
began those that only the other rules would have needed.</p>
{plots}
<h2>Rejected commands</h2>{_rejections(document, name)}
<h2>Accounts that stood otherwise</h2>{_differing(document, name)}
</body></html>
"""


def _accounts(document: dict[str, Any], name: str) -> str:
    parts = ("recorded", "other", "both", "only_recorded", "only_other")
    rows = [
        (label, *(f"{document[what][part]:,}" for part in parts))
        for what, label in (("called", "below initial"), ("liquidatable", "below maintenance"))
    ]
    heads = ("accounts", "as recorded", name, "in both", "only recorded", f"only {name}")
    return _table(heads, rows)


def _rejections(document: dict[str, Any], name: str) -> str:
    parts = ("recorded", "other", "only_recorded", "only_other")
    rows = [
        (f"{row['kind']}: {row['code']}", *(f"{row[part]:,}" for part in parts))
        for row in document["rejections"]
    ]
    return _table(("command", "as recorded", name, "only recorded", f"only {name}"), rows)


def _differing(document: dict[str, Any], name: str) -> str:
    rows = [
        (
            escape(row["account"]), f"{row['recorded_initial']:,.2f}",
            f"{row['other_initial']:,.2f}",
            *(_time(row[f"{which}_{what}_ms"]) for what in ("called", "liquidatable")
              for which in ("recorded", "other")),
        )
        for row in document["accounts"][:_ROWS_SHOWN]
    ]  # fmt: skip
    heads = (
        "account", "initial recorded", f"initial {name}", "called recorded", f"called {name}",
        "liquidatable recorded", f"liquidatable {name}",
    )  # fmt: skip
    return f"<p>{min(_ROWS_SHOWN, len(rows))} of {document['accounts_differing']:,}</p>" + _table(
        heads, rows
    )


def _time(time_ms: int | None) -> str:
    if time_ms is None:
        return "never"
    return f"{datetime.fromtimestamp(time_ms / 1_000, UTC):%Y-%m-%d %H:%M:%S}"


def _table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    head = "".join(f"<th>{one}</th>" for one in heads)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"
