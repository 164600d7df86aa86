"""Averages over time: exact where they are ratios, whole units where they are remembered.

A price holds from when it was told until the next one. Nothing is known before the first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from solvent.errors import check
from solvent.units import div_half_even

Number = int | Fraction


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeAverage:
    """A time-weighted average that grows: the integral of a price over the time that counted.

    >>> begun = TimeAverage().at(10, time_ms=0).at(40, time_ms=3)
    >>> begun.value(4), begun.paused(time_ms=4).value(100)
    (Fraction(35, 2), Fraction(35, 2))
    """

    price: Number | None = None
    since_ms: int = 0
    area: Number = 0
    span_ms: int = 0
    counts: bool = True

    def _until(self, time_ms: int) -> TimeAverage:
        check(time_ms >= self.since_ms, "time goes on", time_ms, self.since_ms)
        if self.price is None or not self.counts:
            return replace(self, since_ms=time_ms)
        more_ms = time_ms - self.since_ms
        return replace(
            self, since_ms=time_ms, area=self.area + self.price * more_ms,
            span_ms=self.span_ms + more_ms,
        )  # fmt: skip

    def at(self, price: Number, *, time_ms: int) -> TimeAverage:
        """Another price from now on."""
        return replace(self._until(time_ms), price=price)

    def paused(self, *, time_ms: int) -> TimeAverage:
        """Time does not count from now on, as in an auction."""
        return replace(self._until(time_ms), counts=False)

    def resumed(self, *, time_ms: int) -> TimeAverage:
        """Time counts again."""
        return replace(self._until(time_ms), counts=True)

    def value(self, time_ms: int) -> Fraction | None:
        """The average until now; None before any time has counted."""
        until = self._until(time_ms)
        return Fraction(until.area) / until.span_ms if until.span_ms else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ema:
    """An exponential average in whole units: each value counts dt/(τ + dt) of the way to it.

    That is the exponential average by backward steps: it needs no exponential, so it is the same on
    every machine, and is never beyond what was told. Rounded half-even at every step.

    >>> Ema().at(1_000, time_ms=0, tau_ms=30_000).at(2_000, time_ms=10_000, tau_ms=30_000).units
    1250
    """

    units: int | None = None
    time_ms: int = 0

    def at(self, value: int, *, time_ms: int, tau_ms: int) -> Ema:
        """Another value; the first is taken as it is."""
        check(tau_ms > 0, "an average has a length", tau_ms)
        if self.units is None:
            return Ema(units=value, time_ms=time_ms)
        check(time_ms >= self.time_ms, "time goes on", time_ms, self.time_ms)
        step_ms = time_ms - self.time_ms
        moved = div_half_even((value - self.units) * step_ms, tau_ms + step_ms)
        return Ema(units=self.units + moved, time_ms=time_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class MovingAverage:
    """The mean of the last values: `length` of them, or of as many as there are."""

    length: int
    values: tuple[Fraction, ...] = ()

    def at(self, value: Number) -> MovingAverage:
        """Another value; the oldest goes."""
        return replace(self, values=(*self.values, Fraction(value))[-self.length :])

    @property
    def value(self) -> Fraction | None:
        """The mean; None before the first value."""
        return mean(self.values) if self.values else None


def mean(values: Sequence[Fraction]) -> Fraction:
    """The plain mean.

    >>> mean([Fraction(1), Fraction(2)])
    Fraction(3, 2)
    """
    check(len(values) > 0, "a mean has values")
    return sum(values, Fraction(0)) / len(values)


def growing_mean(values: Sequence[Fraction]) -> Fraction:
    """The mean by weights 1, 2, …, n: what was seen last counts most.

    >>> growing_mean([Fraction(1), Fraction(4)])
    Fraction(3, 1)
    """
    check(len(values) > 0, "a mean has values")
    total = sum((place * value for place, value in enumerate(values, 1)), Fraction(0))
    return 2 * total / (len(values) * (len(values) + 1))


def settling_forward(
    *, spot: Fraction, difference: Fraction, seen: Fraction, now_s: int, expiry_s: int,
    window_s: int = 1_800,
) -> tuple[Fraction, Fraction]:  # fmt: skip
    """A forward while its settlement is being averaged: the part that is fixed, and the rest.

    `seen` is the integral of the spot price over the seconds of the window that are over. Before
    the window all of spot + difference is still to come; in it, seen/window is fixed and
    (spot + difference)·left/window is not. Their sum at expiry is the settlement price.
    Source: derivexyz/v2-core, LyraForwardFeed.sol.

    >>> fixed, rest = settling_forward(spot=Fraction(110), difference=Fraction(0),
    ...     seen=Fraction(90_000), now_s=900, expiry_s=1_800)
    >>> int(fixed), int(rest)
    (50, 55)
    """
    check(now_s <= expiry_s and window_s > 0, "before expiry", now_s, expiry_s)
    left_s = expiry_s - now_s
    forward = spot + difference
    if left_s >= window_s:
        return Fraction(0), forward
    return seen / window_s, forward * left_s / window_s


def averaged(rows: Iterable[tuple[int, Number]], *, until_ms: int) -> Fraction | None:
    """The time-weighted average of (from when, price) in order of time, until a time.

    >>> averaged([(0, 10), (3, 40)], until_ms=4)
    Fraction(35, 2)
    """
    average = TimeAverage()
    for time_ms, price in rows:
        average = average.at(price, time_ms=time_ms)
    return average.value(until_ms)
