"""Which windows of history become scenarios, and with which weights."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from solvent.scenarios.history.grid import Grid
from solvent.scenarios.history.spec import HistorySpec
from solvent.units import DAY_MS, Float64

Points = NDArray[np.intp]


def window_ends(spec: HistorySpec, grid: Grid, last: int) -> Points:
    """Points at which windows end, oldest first; the newest ends at `last` or where a period does.

    Counted back from `last`, so that the newest window is always there.
    """
    ends: Points = np.arange(last, spec.span_steps - 1, -spec.every_steps, dtype=np.intp)[::-1]
    if spec.windows:
        times = grid.time_ms[ends]
        inside = [(times > one.start_ms) & (times <= one.end_ms) for one in spec.windows]
        return np.asarray(ends[np.any(inside, axis=0)])
    until = stressed_until(spec, grid, last) if spec.stressed_days else last
    reach_ms = (spec.stressed_days or spec.lookback_days) * DAY_MS
    after = grid.time_ms[until] - reach_ms
    return np.asarray(ends[(grid.time_ms[ends] > after) & (ends <= until)])


def stressed_until(spec: HistorySpec, grid: Grid, last: int) -> int:
    """The last point of the stretch of `stressed_days` in which returns were largest.

    The largest mean over coins of r² / (mean of r² of all history up to `last`): each coin counts
    by its own measure. The first of equals.
    """
    prices = [place for place, kind in enumerate(grid.kinds) if kind == "price"]
    told = grid.stepped[: last + 1, prices]
    squares = grid.step[: last + 1, prices] ** 2
    mean = squares.sum(axis=0) / np.maximum(told.sum(axis=0), 1)
    scaled = np.divide(squares, mean, out=np.zeros_like(squares), where=mean > 0.0)
    size = scaled.sum(axis=1) / np.maximum(told.sum(axis=1), 1)
    reach = min(max(1, round(spec.stressed_days * DAY_MS / grid.step_ms)), last + 1)
    total = np.concatenate([[0.0], np.cumsum(size)])
    return reach - 1 + int(np.argmax(total[reach:] - total[:-reach]))


def weigh(spec: HistorySpec, *, age_ms: NDArray[np.int64], log_ratio: Float64) -> Float64:
    """Probabilities of windows, summing to 1; axis: window.

    Time: 2^(−age / half-life). Volatility: exp(−(d/h)²/2), d the mean over coins of
    ln(today's volatility / the window's own), h the bandwidth, relative to the nearest window.

    >>> spec = HistorySpec(weights="time", half_life_days=1)
    >>> weigh(spec, age_ms=np.array([86_400_000, 0]), log_ratio=np.zeros(2)).round(3)
    array([0.333, 0.667])
    """
    power = np.zeros(len(age_ms))
    if spec.weights in ("time", "both"):
        power -= np.log(2.0) * age_ms / (spec.half_life_days * DAY_MS)
    if spec.weights in ("volatility", "both"):
        power -= 0.5 * (log_ratio / spec.vol_bandwidth) ** 2
    weight = np.exp(power - power.max())
    return np.asarray(weight / weight.sum())
