"""The gap study as a document and as one HTML file that needs no network."""

from __future__ import annotations

from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from solvent.errors import MissingExtra
from solvent.lab.gap_study import BOOKS, FORMS, GRID, SPLIT_MS, TARGET, WITH_OPTIONS, GapStudy

_INK = "#1d2a33"


def gap_document(study: GapStudy) -> dict[str, Any]:
    """What `solvent calibrate gap --json` prints. Amounts are parts of spot, shares of 1."""
    options = WITH_OPTIONS
    return {
        "split": _day(SPLIT_MS),
        "grid": GRID,
        "windows": {name: list(counts) for name, counts in study.windows.items()},
        "spans": {name: list(days) for name, days in study.spans.items()},
        "tails": {name: _tails(study, name) for name in study.laws},
        "share": study.share,
        "gaps": {
            name: {side: [round(x, 4) for x in gap.moves(side)] for side in ("down", "up")}
            for name, gap in study.gaps.items()
        },
        "target": TARGET,
        "without": 0.0,
        "first": {"days": study.days(part="first"),
                  "strict": study.coverage("strict", part="first")},
        "second": {
            "days": study.days(),
            "strict": study.coverage("strict"),
            "strict_days_whole": study.days_whole("strict"),
            "option_days": study.days(books=options),
            "wings": study.coverage("wings", books=options),
            "wings_days_whole": study.days_whole("wings", books=options),
        },
        "met": study.coverage("strict") >= TARGET
        and study.coverage("wings", books=options) >= TARGET,
        "books": [_book(study, name, book) for name in study.gaps for book in BOOKS],
        "ladder": [
            {"share": one.share, "first": one.first, "strict": one.strict, "wings": one.wings,
             "charge_over_core": dict(one.charge)}
            for one in study.ladder
        ],
    }  # fmt: skip


def _tails(study: GapStudy, name: str) -> dict[str, Any]:
    law = study.laws[name]
    return {
        side: {
            "edge": round(float(np.expm1(tail.edge)), 6),
            "mean_excess": tail.mean_excess,
            "error": tail.error,
            "days": tail.days,
            "largest": tail.largest,
            "notes": [note.value for note in tail.notes],
        }
        for side, tail in (("down", law.down), ("up", law.up))
    } | {
        "vol_per_move": {"down": law.response.level_down, "up": law.response.level_up},
        "kou_notes": [note.value for note in law.kou.notes],
    }


def _book(study: GapStudy, coin: str, book: str) -> dict[str, Any]:
    days = next(one for one in study.second if (one.coin, one.book) == (coin, book))
    cost = study.costs[coin, book]
    beyond = float(days.beyond.sum())
    return {
        "coin": coin,
        "book": book,
        "jump_days": len(days),
        "loss_beyond": beyond,
        **{form: float(days.covered(form).sum()) / beyond if beyond else None for form in FORMS},
        "core": cost.core,
        **{f"{form}_charge": cost.charge[form] for form in FORMS},
        "worst": [
            {"begin": _day(int(days.begin_ms[k])), "move": float(days.move[k]),
             "loss_beyond": float(days.beyond[k]), "charge": float(days.charge["strict"][k])}
            for k in np.argsort(-days.beyond)[:3].tolist()
        ],
    }  # fmt: skip


def write_gap_html(study: GapStudy, path: Path) -> None:
    """Write the page. Raises MissingExtra without plotly (`solvent[plot]`)."""
    try:
        from plotly import graph_objects
    except ImportError as fault:
        raise MissingExtra(feature="a report with plots", extra="plot") from fault
    config = {"displayModeBar": False, "responsive": True}
    figures = [_scatter(study, graph_objects), _ladder(study, graph_objects)]
    plots = [
        figure.to_html(full_html=False, include_plotlyjs=not k, config=config)
        for k, figure in enumerate(figures)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_page(gap_document(study), plots), "utf-8")


def _layout(figure: Any, title: str, x: str, y: str) -> Any:
    figure.update_layout(
        title={"text": title, "x": 0.01, "font": {"size": 15}}, template="plotly_white",
        font={"family": "system-ui, sans-serif", "color": _INK, "size": 12}, height=460,
        margin={"l": 70, "r": 20, "t": 46, "b": 46},
        xaxis={"title": x, "tickformat": ".0%"}, yaxis={"title": y, "tickformat": ".0%"},
    )  # fmt: skip
    return figure


def _scatter(study: GapStudy, go: Any) -> Any:
    figure = go.Figure()
    for coin, colour in zip(study.gaps, ("#c2571a", "#2b6cb0"), strict=False):
        mine = [one for one in study.second if one.coin == coin]
        beyond = np.concatenate([one.beyond for one in mine])
        charge = np.concatenate([one.charge["strict"] for one in mine])
        label = [f"{one.book}, {_day(int(t))}" for one in mine for t in one.begin_ms]
        figure.add_trace(
            go.Scatter(
                x=beyond, y=charge, mode="markers", name=coin, text=label,
                marker={"color": colour, "size": 8, "opacity": 0.7},
                hovertemplate="%{text}<br>lost beyond %{x:.1%}, charge %{y:.1%}<extra></extra>",
            )
        )  # fmt: skip
    most = max((float(one.beyond.max(initial=0.0)) for one in study.second), default=0.0)
    figure.add_trace(
        go.Scatter(
            x=[0, most], y=[0, most], mode="lines", name="covered just so",
            line={"color": "#7b8794", "dash": "dot"},
        )
    )  # fmt: skip
    title = "Jump days of the second part: what was lost beyond the grid, and the charge"
    return _layout(figure, title, "loss beyond the grid, of spot", "gap charge, of spot")


def _ladder(study: GapStudy, go: Any) -> Any:
    figure = go.Figure()
    for name, values in (
        ("first part, strict", [one.first for one in study.ladder]),
        ("second part, strict", [one.strict for one in study.ladder]),
        ("second part, wings (books of options)", [one.wings for one in study.ladder]),
    ):
        text = [f"share {one.share:.1%}" for one in study.ladder]
        figure.add_trace(
            go.Scatter(
                x=[one.charge["strict"] for one in study.ladder],
                y=values,
                name=name,
                text=text,
                mode="lines+markers",
            )
        )
    title = "What less would have covered, and cost"
    return _layout(figure, title, "charge over the core at 60 % volatility", "covered")


def _page(document: dict[str, Any], plots: list[str]) -> str:
    second = document["second"]
    rows = "".join(
        f"<tr><td>{escape(one['coin'])}</td><td>{escape(one['book'])}</td>"
        f"<td>{one['jump_days']}</td><td>{_percent(one['strict'])}</td>"
        f"<td>{_percent(one['wings'])}</td><td>{one['core']:.1%}</td>"
        f"<td>{one['strict_charge']:.1%}</td><td>{one['wings_charge']:.1%}</td></tr>"
        for one in document["books"]
    )
    style = (
        f"body{{font-family:system-ui,sans-serif;color:{_INK};max-width:1000px;margin:2rem auto}}"
        "td,th{padding:2px 12px;text-align:right}td:nth-child(-n+2){text-align:left}"
    )
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'><title>Gap study</title>"
        f"<style>{style}</style></head><body><h1>Does the gap charge cover?</h1>"
        f"<p>Set on what lies before {document['split']}, judged on the rest: of what books lost "
        f"beyond the grid on {second['days']} jump days, <b>{second['strict']:.2%}</b> is covered "
        f"(strict), and on {second['option_days']} jump days of books of options "
        f"<b>{second['wings']:.2%}</b> (wings). Without the charge: 0 %. "
        f"Target {document['target']:.0%}.</p>"
        "<table><tr><th>coin</th><th>book</th><th>jump days</th><th>strict</th><th>wings</th>"
        "<th>grid</th><th>strict charge</th><th>wings charge</th></tr>"
        f"{rows}</table><p>Margins are means over the second part's days, of spot. Wings "
        "forgive what futures explain, so they cover nothing of a future's own gap. Jump days "
        "are counted by book and coin: the days themselves are far fewer, and coins fall together. "
        "Volatility is a proxy made of past returns, flat in strike.</p>"
        f"{''.join(plots)}</body></html>"
    )


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def _day(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, tz=UTC).date().isoformat()
