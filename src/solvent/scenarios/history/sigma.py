"""Volatility of every factor at every point, as it was known then.

The variance at a point is that of the step after it, from returns up to it. Fits are made at fixed
counts of returns from a factor's beginning, on what came before; between fits only the recursion
runs. So a path up to a date is the same whether history ends there or goes on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from solvent.scenarios.history.grid import Bool, Grid
from solvent.scenarios.history.note import Mark
from solvent.scenarios.history.spec import HOUR_MS, HistorySpec, Tools
from solvent.scenarios.volatility import Garch, ewma, fit_garch, garch11, variance_ahead
from solvent.units import DAY_MS, Float64

FIT_MIN: Final = 250
"""Returns that a GARCH fit is made of at least; before there are so many, the variance is EWMA."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sigma:
    """Forecast variances.

    Attributes:
        variance: [point, factor] of the return over the next step; 0 where unknown.
        known: [point, factor]; known once, it stays known.
        then: [point, factor] deviation of the return over the next span of a scenario.
        current: [point, factor] deviation over the margin period; with tools, as of the last day's
            beginning and after them.
        daily_raw, daily: [point, factor] deviation over a day, before and after the tools.
    """

    variance: Float64
    known: Bool
    then: Float64
    current: Float64
    daily_raw: Float64
    daily: Float64
    marks: tuple[Mark, ...]


def volatilities(spec: HistorySpec, grid: Grid, *, since: int) -> Sigma:
    """Variances of a grid; of GARCH, from the point `since` on, as fits before it serve nobody."""
    shape = grid.value.shape
    known = np.zeros(shape, dtype=bool)
    variance, then, over, day = (np.zeros(shape) for _ in range(4))
    marks: list[Mark] = []
    spans = (spec.span_steps, round(spec.mpor_hours / spec.step_hours), _steps_a_day(spec))
    for column, kind in enumerate(grid.kinds):
        at = np.flatnonzero(grid.stepped[:, column])
        path = _Path.ewma(spec, grid.step[at, column])
        if kind == "price" and spec.filter == "garch":
            first = int(np.searchsorted(at, since))
            path, falls = _garch(spec, grid.step[at, column], path, first)
            marks += _fit_marks(falls, grid.coins[column], grid.time_ms[at])
        if not len(path.variance):
            continue
        from_point = at[path.begins :]
        run = _held(from_point, shape[0])
        known[:, column] = run >= 0
        parts = (path.variance, *(path.ahead(steps) for steps in spans))
        for whole, part in zip((variance, then, over, day), parts, strict=True):
            whole[:, column] = np.where(run >= 0, part[np.maximum(run, 0)], 0.0)
    daily_raw, today = np.sqrt(day), np.sqrt(over)
    daily = daily_raw
    if spec.tools is not None:
        daily, today, daily_raw = _through_tools(spec, grid, known, daily_raw, today)
    return Sigma(
        variance=variance, known=known, then=np.sqrt(then), current=today,
        daily_raw=daily_raw, daily=daily, marks=tuple(marks),
    )  # fmt: skip


def _steps_a_day(spec: HistorySpec) -> float:
    return 24.0 / spec.step_hours


def _held(points: NDArray[np.intp], count: int) -> NDArray[np.intp]:
    """[point] → the last of `points` at or before it; −1 before the first."""
    return np.searchsorted(points, np.arange(count), side="right") - 1


@dataclass(slots=True)
class _Path:
    """Variances of one factor's returns; index 0 is after the return number `begins`."""

    begins: int
    variance: Float64
    omega: Float64
    phi: Float64
    """Of the recursion that stands at each: 0 and 1 for EWMA."""

    @classmethod
    def ewma(cls, spec: HistorySpec, returns: Float64) -> _Path:
        """EWMA from the mean square of the burn-in; empty where history is shorter than that."""
        burn = max(1, round(spec.burn_in_days * _steps_a_day(spec)))
        if len(returns) < burn:
            nothing = np.zeros(0)
            return cls(burn, nothing, nothing, nothing)
        first = float(np.mean(returns[:burn] ** 2))
        decay = spec.decay ** (1.0 / _steps_a_day(spec))
        rest = ewma(returns[burn:].tolist(), decay=decay, first=first)
        path = np.array([first, *rest])
        return cls(burn - 1, path, np.zeros(len(path)), np.ones(len(path)))

    def ahead(self, steps: float) -> Float64:
        """Variance over the next `steps` after each."""
        return variance_ahead(self.variance, omega=self.omega, phi=self.phi, steps=steps)


_Fall = tuple[int, str]
"""A return's number and why the variance from there on is EWMA."""


def _garch(
    spec: HistorySpec, returns: Float64, ewma: _Path, since: int
) -> tuple[_Path, list[_Fall]]:
    """GARCH variances where there is a fit, EWMA where there is none; and where that was."""
    variance, omega, phi = (one.copy() for one in (ewma.variance, ewma.omega, ewma.phi))
    every = max(1, round(spec.refit_days * _steps_a_day(spec)))
    reach = max(FIT_MIN, round(spec.fit_days * _steps_a_day(spec)))
    begin = max(ewma.begins + 1, FIT_MIN)
    falls = [(number, "there is too little history for a fit")
             for number in range(ewma.begins, min(begin - 1, len(returns)))]  # fmt: skip
    for start in range(begin, len(returns) + 1, every):
        stop = min(start + every - 1, len(returns))
        if stop < since:
            continue
        sample = returns[max(0, start - reach) : start]
        fit = fit_garch(sample)
        here = slice(start - 1 - ewma.begins, stop - ewma.begins)
        if isinstance(fit, str):
            falls += [(number, fit) for number in range(start - 1, stop)]
            continue
        variance[here] = _run(fit, sample, returns[start:stop])
        omega[here], phi[here] = fit.omega, fit.persistence
    return _Path(ewma.begins, variance, omega, phi), falls


def _run(fit: Garch, sample: Float64, rest: Float64) -> Float64:
    """Variances after the last return of the sample and after each of the rest."""
    path = garch11(
        np.concatenate([sample, rest]).tolist(), omega=fit.omega, alpha=fit.alpha, beta=fit.beta,
        first=float(np.mean(sample * sample)),
    )  # fmt: skip
    return np.array(path[len(sample) - 1 :])


def _fit_marks(falls: list[_Fall], coin: str, times: NDArray[np.int64]) -> list[Mark]:
    reasons: dict[str, list[int]] = {}
    for number, why in falls:
        reasons.setdefault(why, []).append(int(times[number]))
    return [
        Mark(code="garch-fallback", subject=coin, time_ms=np.array(sorted(at), dtype=np.int64),
             text=f"points have an EWMA variance instead of GARCH: {why}")
        for why, at in reasons.items()
    ]  # fmt: skip


def _through_tools(
    spec: HistorySpec, grid: Grid, known: Bool, raw: Float64, today: Float64
) -> tuple[Float64, Float64, Float64]:
    """Daily deviations after the tools, and those of the margin period scaled alike.

    Once a day, at the spec's phase, a factor's volatility is told; it stands until the next day.
    Tools that hold a fixed number of their own mean a price's volatility and leave surfaces alone.
    """
    every = max(1, round(DAY_MS / grid.step_ms))
    offset = (grid.time_ms - round(spec.phase_hours * HOUR_MS)) % DAY_MS
    days = np.flatnonzero((offset < grid.step_ms) if every > 1 else np.ones(len(raw), dtype=bool))
    daily, period, before = raw.copy(), today.copy(), raw.copy()
    for column in range(raw.shape[1]):
        told = days[known[days, column] & (raw[days, column] > 0.0)]
        alone = _absolute(spec.tools) and grid.kinds[column] != "price"
        if not len(told) or spec.tools is None or alone:
            continue
        used = np.asarray(spec.tools.follow(raw[told, column].tolist()), dtype=np.float64)
        run = _held(told, len(raw))
        at, now = told[run[run >= 0]], run[run >= 0]
        points = np.flatnonzero(run >= 0)
        daily[points, column] = used[now]
        before[points, column] = raw[at, column]
        ratio = used / raw[told, column]
        period[points, column] = today[at, column] * ratio[now]
    return daily, period, before


def _absolute(tools: Tools | None) -> bool:
    """Whether any tool compares with a number of its own, such as a floor `at` 0.02."""
    return any(getattr(one, "at", None) is not None for one in getattr(tools, "tools", ()))
