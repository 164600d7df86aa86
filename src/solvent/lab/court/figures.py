"""The figures of a court's report: each with a title, a caption in words, and its numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from solvent.lab.court.result import CourtResult, Track
from solvent.units import DAY_MS, Float64

_INK, _GRID, _LOSS, _BREACH = "#1d2a33", "#e4e9ec", "#b9c4cb", "#c0392b"
_COLOURS: Final = ("#33658a", "#d9822b", "#2e7d5b", "#7d5ba6", "#8c564b", "#17808d", "#a97908",
                   "#5f7484", "#c2577f", "#4b5d16")  # fmt: skip
_POINTS = 700
"""Points a line at most; of each stretch that is left out the largest stands."""
_BOOKS_SHOWN = 8
_HOLE_DAYS = 30
_LINES_SHOWN = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A plot, what it shows in words, and its numbers as a table."""

    title: str
    caption: str
    plot: Any
    columns: tuple[str, ...]
    rows: Sequence[Sequence[object]]


def all_figures(
    result: CourtResult, document: Mapping[str, Any], go: Any
) -> dict[str, list[Figure]]:
    """Figures by the part of the report that they belong to."""
    names = [one["name"] for one in document["rulebooks"]]
    colour = {name: _COLOURS[at % len(_COLOURS)] for at, name in enumerate(names)}
    made: dict[str, list[Figure]] = {
        "coverage": [_coverage(document, go)] if document["rows"] else [],
        "time": _through_time(result, document, go, colour),
        "procyclicality": _procyclicality(document, go, colour),
        "cost": [_cost(document, go, colour)] if document["rows"] else [],
    }
    if document.get("impulse"):
        made["impulse"] = [_impulse(document["impulse"], go, colour)]
    if document.get("sensitivity"):
        made["sensitivity"] = [_sensitivity(document["sensitivity"], go)]
    return made


def _layout(figure: Any, *, height: int, **axes: Any) -> Any:
    figure.update_layout(
        template="plotly_white", height=height,
        font={"family": "system-ui, sans-serif", "color": _INK, "size": 12},
        margin={"l": 64, "r": 16, "t": 16, "b": 44},
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"}, **axes,
    )  # fmt: skip
    return figure


def _coverage(document: Mapping[str, Any], go: Any) -> Figure:
    """Coverage with its interval, a dot a rulebook and kind of book."""
    kinds = list(dict.fromkeys(row["kind"] for row in document["rows"]))
    names = list(dict.fromkeys(row["rulebook"] for row in document["rows"]))
    rows: list[Sequence[object]] = []
    z = np.full((len(names), len(kinds)), np.nan)
    text = [["" for _ in kinds] for _ in names]
    for r, name in enumerate(names):
        for k, kind in enumerate(kinds):
            mine = [one for one in document["rows"] if one["rulebook"] == name
                    and one["kind"] == kind]  # fmt: skip
            days, breaches = sum(one["days"] for one in mine), sum(one["breaches"] for one in mine)
            if days:
                share = 1.0 - breaches / days
                z[r, k] = 100.0 * min(max(share, 0.95), 1.0)
                text[r][k] = f"{100 * share:.2f} %<br>{breaches} of {days:,}"
                rows.append((name, kind, days, breaches, share))
    level = 100 * document["level"]
    middle = (level - 95.0) / 5.0
    plot = go.Figure(
        go.Heatmap(
            x=kinds, y=names, z=z, zmin=95.0, zmax=100.0, text=text, texttemplate="%{text}",
            colorscale=[[0.0, "#d6604d"], [max(middle - 0.1, 0.01), "#fbe3d6"],
                        [middle, "#f7f7f7"], [1.0, "#8fbfa6"]],
            colorbar={"title": "%"}, xgap=3, ygap=3,
        )
    )  # fmt: skip
    height = 130 + 44 * len(names)
    return Figure(
        title="Coverage by rulebook and sort of book",
        caption=f"Share of days on which the margin covered the loss; {level:g} % was promised. "
        "Red is too little, green more than promised. Coins and books of one sort are together.",
        plot=_layout(plot, height=height, yaxis={"autorange": "reversed", "automargin": True}),
        columns=("rulebook", "kind", "days", "breaches", "coverage"), rows=rows,
    )  # fmt: skip


def _through_time(
    result: CourtResult, document: Mapping[str, Any], go: Any, colour: Mapping[str, str]
) -> list[Figure]:
    """Margin rates and losses of the first book of each kind and coin."""
    chosen: dict[tuple[str, str], int] = {}
    for place, kind in enumerate(result.kinds):
        chosen.setdefault((kind, result.underlyings[place]), place)
    made = []
    for place in list(chosen.values())[:_BOOKS_SHOWN]:
        tracks = [result.track(r, place, which=document["margin"])
                  for r in range(len(result.rulebooks))]  # fmt: skip
        told = [one for one in tracks if len(one)]
        if told:
            made.append(_one_book(told, go, colour))
    return made


def _one_book(tracks: Sequence[Track], go: Any, colour: Mapping[str, str]) -> Figure:
    longest = max(tracks, key=len)
    loss = longest.loss_micro / np.maximum(longest.gross_micro, 1)
    kept = _thinned(np.maximum(loss, 0.0))
    rows: list[Sequence[object]] = []
    plot = go.Figure()
    plot.add_bar(
        x=_days(longest.time_ms[kept]), y=(100 * np.maximum(loss[kept], 0.0)).round(3),
        name="loss", marker={"color": _LOSS, "line": {"width": 0}},
    )  # fmt: skip
    rows += [("loss", *pair) for pair in
             zip(_days(longest.time_ms[kept]), loss[kept].tolist(), strict=True)]  # fmt: skip
    breaches = []
    for track in tracks[:_LINES_SHOWN]:
        at = _thinned(track.rate)
        days, rates = _with_holes(track.time_ms[at], (100 * track.rate[at]).round(3))
        plot.add_scatter(
            x=days, y=rates, mode="lines", connectgaps=False,
            name=track.rulebook, line={"color": colour[track.rulebook], "width": 1.5},
        )  # fmt: skip
        rows += [(track.rulebook, *pair) for pair in
                 zip(_days(track.time_ms[at]), track.rate[at].tolist(), strict=True)]  # fmt: skip
        hit = track.breach
        if hit.any():
            gone = track.loss_micro[hit] / np.maximum(track.gross_micro[hit], 1)
            plot.add_scatter(
                x=_days(track.time_ms[hit]), y=(100 * gone).round(3), mode="markers",
                marker={"color": colour[track.rulebook], "size": 7, "symbol": "x"},
                name=f"{track.rulebook}: breach", showlegend=False,
            )  # fmt: skip
        breaches.append(f"{track.rulebook} {int(hit.sum())}")
    top = 100 * max(float(one.rate.max()) for one in tracks)
    # Every breach is inside the plot; a covered loss may be cut.
    deepest = max((100 * float((one.loss_micro / np.maximum(one.gross_micro, 1))[one.breach].max())
                   for one in tracks if one.breach.any()), default=0.0)  # fmt: skip
    reach = max(top, deepest, 100 * float(np.quantile(np.maximum(loss, 0.0), 0.9995))) * 1.1
    first = tracks[0]
    return Figure(
        title=f"{first.portfolio}: margin and loss",
        caption="Margin (lines) and what the book then lost over the period of risk (grey), in per "
        "cent of its gross size. A cross is a breach, in the rulebook's colour. Breaches: "
        f"{', '.join(breaches)}.",
        plot=_layout(
            plot, height=380, barmode="overlay", bargap=0.0,
            yaxis={"title": "% of size", "range": [0, reach or 1.0], "gridcolor": _GRID},
        ),
        columns=("what", "day", "share of size"), rows=rows,
    )  # fmt: skip


def _thinned(values: Float64) -> NDArray[np.int64]:
    """Places of at most `_POINTS` values: of each stretch the largest."""
    if len(values) <= _POINTS:
        return np.arange(len(values))
    edges = np.linspace(0, len(values), _POINTS + 1).astype(int)
    return np.array(
        [low + int(np.argmax(values[low:high])) for low, high in pairwise(edges) if high > low]
    )  # fmt: skip


def _with_holes(times: NDArray[np.int64], values: Float64) -> tuple[list[str], list[float | None]]:
    """A line that is broken where a month or more is missing."""
    days, told = _days(times), [float(one) for one in values]
    broken: list[float | None] = list(told)
    for place in np.flatnonzero(np.diff(times) > _HOLE_DAYS * DAY_MS)[::-1].tolist():
        days.insert(place + 1, days[place])
        broken.insert(place + 1, None)
    return days, broken


def _days(times: NDArray[np.int64]) -> list[str]:
    return [f"{datetime.fromtimestamp(one / 1_000, UTC):%Y-%m-%d}" for one in times.tolist()]


_MEASURES: Final = ("peak to trough", "5-day rise", "30-day rise")


def _measure(run: Mapping[str, Any], label: str) -> float | None:
    seen = run["rises"].get(label.partition("-")[0]) if "rise" in label else run["peak_to_trough"]
    return None if seen is None else float(seen)


def _procyclicality(
    document: Mapping[str, Any], go: Any, colour: Mapping[str, str]
) -> list[Figure]:
    """The worst of each measure over a rulebook's books of each kind."""
    made = []
    for label in _MEASURES:
        plot, rows = go.Figure(), []
        for name in dict.fromkeys(row["rulebook"] for row in document["rows"]):
            worst: dict[str, float] = {}
            for row in document["rows"]:
                seen = _measure(row["procyclicality"], label)
                if row["rulebook"] == name and seen is not None:
                    worst[row["kind"]] = max(worst.get(row["kind"], 0.0), seen)
            if worst:
                plot.add_bar(
                    x=list(worst), y=[round(one, 4) for one in worst.values()], name=name,
                    marker={"color": colour[name]},
                )  # fmt: skip
                rows += [(name, kind, seen) for kind, seen in worst.items()]
        bound = next(
            (t["bound"] for listed in document["targets"].values() for t in listed
             if t["name"] == label), None,
        )  # fmt: skip
        if bound is not None:
            plot.add_hline(y=bound, line={"color": _INK, "dash": "dot", "width": 1})
        made.append(
            Figure(
                title=f"{label[0].upper()}{label[1:]} of the margin rate",
                caption="The worst book of each sort. 1 is a margin that never moves; tall bars "
                "ask for money when the market has just fallen."
                + (f" The dotted line is the target of {bound:g}." if bound is not None else ""),
                plot=_layout(plot, height=320, barmode="group",
                             yaxis={"type": "log", "title": "times", "gridcolor": _GRID}),
                columns=("rulebook", "kind", label), rows=rows,
            )
        )  # fmt: skip
    return made


def _cost(document: Mapping[str, Any], go: Any, colour: Mapping[str, str]) -> Figure:
    """Average margin by kind of book."""
    plot, rows = go.Figure(), []
    for name in dict.fromkeys(row["rulebook"] for row in document["rows"]):
        found: dict[str, list[float]] = {}
        for row in document["rows"]:
            if row["rulebook"] == name:
                found.setdefault(row["kind"], []).append(row["mean_rate"])
        mean = {kind: sum(listed) / len(listed) for kind, listed in found.items()}
        plot.add_bar(x=list(mean), y=[round(100 * one, 4) for one in mean.values()], name=name,
                     marker={"color": colour[name]})  # fmt: skip
        rows += [(name, kind, rate) for kind, rate in mean.items()]
    return Figure(
        title="Average margin",
        caption="Mean margin over gross size, by sort of book: what a member pays for the coverage "
        "above.",
        plot=_layout(plot, height=340, barmode="group",
                     yaxis={"title": "% of size", "gridcolor": _GRID}),
        columns=("rulebook", "kind", "mean margin"), rows=rows,
    )  # fmt: skip


def _impulse(document: Mapping[str, Any], go: Any, colour: Mapping[str, str]) -> Figure:
    """Margin rate over the rate before a step of volatility, by day."""
    plot, rows = go.Figure(), []
    for name, curve in document["curves"].items():
        days = [day - document["before"] for day in range(len(curve))]
        plot.add_scatter(x=days, y=[round(one, 4) for one in curve], mode="lines", name=name,
                         line={"color": colour.get(name, _INK), "width": 2})  # fmt: skip
        rows += [(name, day, rate) for day, rate in zip(days, curve, strict=True)]
    plot.add_vline(x=0, line={"color": _INK, "dash": "dot", "width": 1})
    return Figure(
        title=f"Answer to a volatility that jumps {document['step']:g} times, {document['book']}",
        caption="Margin over its level before the step; day 0 is the first that could know. A "
        "steep curve follows the market; a flat one does not see it, or had it in already.",
        plot=_layout(plot, height=340, xaxis={"title": "days after the step"},
                     yaxis={"title": "times", "gridcolor": _GRID}),
        columns=("rulebook", "day", "times"), rows=rows,
    )  # fmt: skip


def _sensitivity(listed: Sequence[Mapping[str, Any]], go: Any) -> Figure:
    """The strongest numbers of a rulebook."""
    told = [one for one in listed if one["change"] is not None]
    shown = [one for one in told if abs(one["change"]) > 1e-6][:20][::-1]
    plot = go.Figure(
        go.Bar(
            x=[round(100 * one["change"], 3) for one in shown],
            y=[one["path"] for one in shown], orientation="h", marker={"color": _COLOURS[0]},
        )
    )  # fmt: skip
    return Figure(
        title="Margin's change when one number grows by a tenth",
        caption="Total margin of all books over days spread through the history. What is not "
        "listed moves nothing here.",
        plot=_layout(plot, height=140 + 24 * len(shown), xaxis={"title": "%", "gridcolor": _GRID},
                     yaxis={"automargin": True}),
        columns=("number", "value", "change"),
        rows=[(one["path"], one["number"], one["change"]) for one in told],
    )  # fmt: skip
