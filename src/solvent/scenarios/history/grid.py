"""History on a grid: prices, surfaces and bases at evenly spaced points, and what was repaired.

A grid's point is told by the last value at or before it, so nothing later than a point is in it.
Every repair is a mark with its time: how often it happened up to a date needs no later mark.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from solvent.scenarios.history.note import Mark, Times, mark_of, refused
from solvent.scenarios.history.series import Series, ordered
from solvent.scenarios.history.spec import HOUR_MS, HistorySpec
from solvent.units import DAY_MS, Float64

Bool = NDArray[np.bool_]
SHAPES: Final = ("level", "skew", "term")
"""What of a surface moves; its curve is held."""
POINTS_MAX: Final = 1 << 22
"""Points that a grid may have: 2 minutes apart over 15 years."""
_SIGMA_PER_MEDIAN: Final = 1.4826
"""Deviation of a normal law over the median of its size."""
_BLOCK_DAYS: Final = 30
_BLOCKS: Final = 3
"""Outliers are judged by the median size of returns of so many blocks before their own."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Grid:
    """Factors at evenly spaced points.

    Attributes:
        kinds, coins: [factor] what it is (`price`, `level`, `skew`, `term`, `basis`), and whose.
        time_ms: [point].
        value: [point, factor] log price, surface number or basis; 0 where unknown.
        known: [point, factor].
        step: [point, factor] return over the step that ends at the point; 0 where unknown.
        stepped: [point, factor] whether it is known.
        outlier: [point, factor] whether that return is one.
        curve: [point, coin of the series] curve of the surface; 0 where unknown.
    """

    kinds: tuple[str, ...]
    coins: tuple[str, ...]
    time_ms: Times
    step_ms: int
    value: Float64
    known: Bool
    step: Float64
    stepped: Bool
    outlier: Bool
    curve: Float64
    marks: tuple[Mark, ...]

    def column(self, kind: str, coin: str) -> int | None:
        """The factor of a coin; None where there is none."""
        pairs = list(zip(self.kinds, self.coins, strict=True))
        return pairs.index((kind, coin)) if (kind, coin) in pairs else None

    def index(self, time_ms: int) -> int:
        """The last point at or before a time; −1 where there is none."""
        return int(time_ms - int(self.time_ms[0])) // self.step_ms


def lay(spec: HistorySpec, series: Series, *, until_ms: int) -> Grid:
    """A series on the grid of a spec, up to a time. Raises BadInput where nothing is told."""
    if len(series) == 0:
        raise refused(series.source, "", expected="a price or more", found="none")
    series = ordered(series)
    columns, marks = _columns(spec, series), list(series.repairs)
    points = _points(spec, series, int(series.time_ms[0]), until_ms)
    shape = (len(points), len(columns))
    value, known = np.zeros(shape), np.zeros(shape, dtype=bool)
    for place, (kind, coin, told) in enumerate(columns):
        hours = spec.gap_hours_max if kind == "price" else spec.surface_gap_hours_max
        value[:, place], known[:, place], filled, lost = _at_points(
            points, series.time_ms, told, stands_ms=round(hours * HOUR_MS),
            step_ms=spec.step_ms,
        )  # fmt: skip
        if kind == "price":
            marks.append(mark_of("gap-filled", coin, "points stand at the price before", filled))
            marks.append(mark_of("gap", coin, "points have no price: the gap is too long", lost))
        elif kind == "level":
            marks.append(mark_of("surface-gap", coin, "points have no surface", lost))
    kinds = tuple(kind for kind, _, _ in columns)
    curves = [place for place, kind in enumerate(kinds) if kind == "curve"]
    kept = [place for place, kind in enumerate(kinds) if kind != "curve"]
    price = np.array([kind == "price" for kind in kinds])
    np.log(value, out=value, where=known & price)
    step, stepped = _steps(value, known, price if spec.returns == "relative" else ~price & price)
    outlier = np.zeros(shape, dtype=bool)
    for place in np.flatnonzero(price).tolist():
        outlier[:, place] = _outliers(spec, step[:, place], stepped[:, place])
        words = f"returns beyond {spec.outlier_deviations:g} robust deviations"
        words += ", kept" if spec.outliers == "keep" else ", left out"
        times = points[outlier[:, place]]
        marks.append(mark_of("outlier", columns[place][1], words, times))
    return Grid(
        kinds=tuple(kinds[place] for place in kept),
        coins=tuple(columns[place][1] for place in kept),
        time_ms=points, step_ms=spec.step_ms,
        value=value[:, kept], known=known[:, kept], step=step[:, kept], stepped=stepped[:, kept],
        outlier=outlier[:, kept],
        curve=value[:, curves],
        marks=tuple(one for one in marks if len(one.time_ms)),
    )  # fmt: skip


def _columns(spec: HistorySpec, series: Series) -> list[tuple[str, str, Float64]]:
    """Kind, coin and values of each factor: prices first, then what the spec asks for besides."""
    wanted = spec.underlyings or series.names
    told = {proxy.name for proxy in spec.stand_ins}
    unknown = [name for name in wanted if name not in series.names and name not in told]
    if unknown:
        raise refused(series.source, unknown[0], expected="prices, or a proxy in the rulebook",
                      found=f"prices of {', '.join(series.names)}")  # fmt: skip
    factors = {one for proxy in spec.stand_ins for one in proxy.factors}
    unknown = sorted(factors - set(series.names))
    if unknown:
        raise refused(series.source, unknown[0], expected="prices of a proxy's factors",
                      found=f"prices of {', '.join(series.names)}")  # fmt: skip
    names = [name for name in (*wanted, *sorted(factors - set(wanted))) if name in series.names]
    parts: list[tuple[str, Float64 | None]] = [("price", series.price)]
    if spec.surfaces:
        parts += [(name, getattr(series, name)) for name in (*SHAPES, "curve")]
    if spec.basis:
        parts.append(("basis", series.basis))
    return [
        (kind, name, part[:, series.names.index(name)])
        for kind, part in parts
        if part is not None
        for name in names
    ]


def _points(spec: HistorySpec, series: Series, first_ms: int, until_ms: int) -> Times:
    phase, step = round(spec.phase_hours * HOUR_MS), spec.step_ms
    start = -((phase - first_ms) // step) * step + phase
    count = (until_ms - start) // step + 1
    if count < 2:
        raise refused(series.source, "", expected="history over two steps or more",
                      found=f"{max(count, 0)} points of {spec.step_hours:g} h")  # fmt: skip
    if count > POINTS_MAX:
        raise refused(series.source, "", expected=f"at most {POINTS_MAX} points",
                      found=f"{count} of {spec.step_hours:g} h")  # fmt: skip
    return start + np.arange(count, dtype=np.int64) * step


def _at_points(
    points: Times, time_ms: Times, column: Float64, *, stands_ms: int, step_ms: int
) -> tuple[Float64, Bool, Times, Times]:
    """Values at points, whether known; the points filled from before, and those lost in a gap."""
    told = ~np.isnan(column)
    when, what = time_ms[told], column[told]
    if not len(when):
        nowhere = np.zeros(0, dtype=np.int64)
        return np.zeros(len(points)), np.zeros(len(points), dtype=bool), nowhere, nowhere
    place = np.searchsorted(when, points, side="right") - 1
    age = points - when[np.maximum(place, 0)]
    begun = place >= 0
    known = begun & ((age <= stands_ms) | (age < step_ms))
    value = np.where(known, what[np.maximum(place, 0)], 0.0)
    return value, known, points[known & (age >= step_ms)], points[begun & ~known]


def _steps(value: Float64, known: Bool, relative: Bool) -> tuple[Float64, Bool]:
    step, stepped = np.zeros_like(value), np.zeros_like(known)
    stepped[1:] = known[1:] & known[:-1]
    np.subtract(value[1:], value[:-1], out=step[1:], where=stepped[1:])
    if relative.any():
        step[:, relative] = np.expm1(step[:, relative])
    return step, stepped


def _outliers(spec: HistorySpec, step: Float64, stepped: Bool) -> Bool:
    """Returns beyond so many robust deviations of the three blocks of 30 days before their own."""
    flagged = np.zeros(len(step), dtype=bool)
    block = max(1, round(_BLOCK_DAYS * DAY_MS / spec.step_ms))
    size = np.abs(step)
    moved = stepped & (size > 0.0)
    for start in range(block, len(step), block):
        before = slice(max(0, start - _BLOCKS * block), start)
        sizes = size[before][moved[before]]
        if len(sizes) < 10:
            continue
        limit = spec.outlier_deviations * _SIGMA_PER_MEDIAN * float(np.median(sizes))
        flagged[start : start + block] = moved[start : start + block] & (
            size[start : start + block] > limit
        )
    return flagged
