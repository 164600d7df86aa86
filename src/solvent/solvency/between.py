"""Numbers between two straight lines: what a formula can be while prices keep to a segment.

A market moves along two segments, from a base down to a price and up to another. On each a number
lies above a straight line and below another; four ends hold all of that. Every operation of the
rulebook language takes such numbers to such numbers, so that what comes out holds what the formula
would give at any price of either segment. A difference of two numbers that follow the same line is
exact: that is what a plain interval loses.

NaN is *may be not known*; it survives like NaN of `levels.arithmetic`. Float64 rounds to nearest
here: whoever decides on a result leaves room for that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any, Final

import numpy as np

from solvent import portable
from solvent.margining.levels.arithmetic import ELEMENTWISE, expected_shortfall
from solvent.units import Float64

_AXES: Final = 2
"""Axes before those of the number: side (down, up) and end (base, far)."""


class Unbounded(Exception):
    """An operation without bounds; says which."""


@dataclass(frozen=True, slots=True, eq=False)
class Between:
    """Ends of the line below and of the line above; axes [side, end, row] or one more.

    An axis of one stands for all: a number that no price moves is `[1, 1, …]`.
    """

    low: Float64
    high: Float64

    @classmethod
    def exactly(cls, number: Any) -> Between:
        """A number that no price moves.

        >>> Between.exactly(3.0).low.shape
        (1, 1)
        """
        held = np.asarray(number, dtype=np.float64)[None, None]
        return cls(held, held)

    @property
    def fixed(self) -> bool:
        """Whether it is the same everywhere, by its making."""
        return self.low is self.high and self.low.shape[:_AXES] == (1, 1)

    @property
    def dimensions(self) -> int:
        """Axes of the number itself: 0, rows, or rows and scenarios."""
        return self.low.ndim - _AXES

    def rows(self, index: Any) -> Between:
        """Rows of it."""
        if self.fixed:
            return Between.exactly(self.low[0, 0][index])
        return Between(self.low[:, :, index], self.high[:, :, index])

    def least(self) -> Float64:
        """The least that it can be."""
        return np.asarray(self.low.min(axis=(0, 1)))

    def most(self) -> Float64:
        """The most that it can be."""
        return np.asarray(self.high.max(axis=(0, 1)))

    def flat(self, where: Any = True) -> Between:
        """It without its slope, in the rows of `where`: what moves along may move elsewhere."""
        if self.fixed:
            return self
        low, high = self.least()[None, None], self.most()[None, None]
        if where is True:
            return Between(low, high)
        mask = np.asarray(where).reshape((1, 1, -1, *(1,) * (self.dimensions - 1)))
        return Between(np.where(mask, low, self.low), np.where(mask, high, self.high))

    def wider(self, by: Float64 | float) -> Between:
        """It, and as much more on either side."""
        return Between(self.low - by, self.high + by)


def apply(operation: str, parts: list[Between]) -> Between:
    """An elementwise operation of the rulebook language. Raises Unbounded for one without bounds.

    >>> price = Between(np.array([[100.0, 90.0]]), np.array([[100.0, 90.0]]))
    >>> apply("-", [price, price]).most().tolist()
    0.0
    """
    if any(part.dimensions == 2 for part in parts):
        parts = [_widened(part) for part in parts]
    if all(part.fixed for part in parts) and operation in ELEMENTWISE:
        known = ELEMENTWISE[operation](*(part.low[0, 0] for part in parts))
        return Between.exactly(np.asarray(known, dtype=np.float64))
    if operation not in _BOUNDED:
        raise Unbounded(operation)
    with np.errstate(all="ignore"):
        return _BOUNDED[operation](*parts)


def _widened(part: Between) -> Between:
    """One number a row beside one number a scenario."""
    if part.dimensions != 1:
        return part
    if part.fixed:
        return Between.exactly(part.low[0, 0][:, None])
    return Between(part.low[..., None], part.high[..., None])


def _sum(left: Between, right: Between) -> Between:
    return Between(left.low + right.low, left.high + right.high)


def _negative(one: Between) -> Between:
    return Between(-one.high, -one.low)


def _difference(left: Between, right: Between) -> Between:
    return Between(left.low - right.high, left.high - right.low)


def _product(left: Between, right: Between) -> Between:
    """Of two lines it is a parabola; its chord, less how far that can lie above it.

    The product of two numbers between lines is between the least and the most of four products.
    """
    if left.fixed or right.fixed:
        factor, other = (left.low, right) if left.fixed else (right.low, left)
        gains = factor >= 0.0
        low = np.where(gains, factor * other.low, factor * other.high)
        high = np.where(gains, factor * other.high, factor * other.low)
        return Between(low, high)
    chords, below, above = [], [], []
    for mine in (left.low, left.high):
        for theirs in (right.low, right.high):
            rise = (mine[:, -1:] - mine[:, :1]) * (theirs[:, -1:] - theirs[:, :1]) / 4.0
            chord = mine * theirs
            chords.append(chord)
            below.append(chord - np.maximum(rise, 0.0))
            above.append(chord + np.maximum(-rise, 0.0))
    return Between(reduce(np.minimum, below), reduce(np.maximum, above))


def _reciprocal(one: Between) -> Between:
    """Of numbers of one sign it is convex above 0 and concave below; else nothing is known."""
    least, most = one.least()[None, None], one.most()[None, None]
    positive, negative = least > 0.0, most < 0.0
    mirrored = negative & ~positive
    low, high = np.where(mirrored, -one.high, one.low), np.where(mirrored, -one.low, one.high)
    sure = positive | negative
    # 1/x over a line from a to b lies below its chord, by (1/√a − 1/√b)² at most.
    ends = 1.0 / np.where(sure, low, np.nan), 1.0 / np.where(sure, high, np.nan)
    first, last = np.sqrt(ends[1][:, :1]), np.sqrt(ends[1][:, -1:])
    below, above = ends[1] - (first - last) ** 2, ends[0]
    return Between(np.where(mirrored, -above, below), np.where(mirrored, -below, above))


def _quotient(left: Between, right: Between) -> Between:
    return _product(left, _reciprocal(right))


def _higher(one: Float64, other: Float64) -> Float64:
    """The one of two lines that lies higher in the middle; [side, end, …]."""
    middle = one[:, :1] + one[:, -1:] >= other[:, :1] + other[:, -1:]
    missing = np.isnan(one).any(axis=1, keepdims=True) | np.isnan(other).any(axis=1, keepdims=True)
    return np.where(missing, np.nan, np.where(middle, one, other))


def _larger(left: Between, right: Between) -> Between:
    """The larger of lines is convex: below it is either of them, above it its chord."""
    return Between(_higher(left.low, right.low), np.maximum(left.high, right.high))


def _maximum(*parts: Between) -> Between:
    return reduce(_larger, parts)


def _minimum(*parts: Between) -> Between:
    return _negative(reduce(_larger, [_negative(part) for part in parts]))


def _absolute(one: Between) -> Between:
    return _larger(one, _negative(one))


def _clip(one: Between, low: Between, high: Between) -> Between:
    return _minimum(_maximum(one, low), high)


def _truth(yes: Any, no: Any, unknown: Any) -> Between:
    """1 where it surely holds, 0 where it surely does not, between them else."""
    low = np.where(unknown, np.nan, np.where(yes, 1.0, 0.0))
    high = np.where(unknown, np.nan, np.where(no, 0.0, 1.0))
    return Between(low[None, None], high[None, None])


def _tiny(left: Between, right: Between) -> Float64:
    """What rounding can hide of a difference."""
    sizes = [np.maximum(np.abs(one.least()), np.abs(one.most())) for one in (left, right)]
    return np.asarray(1e-12 * (sizes[0] + sizes[1]))


def _less(left: Between, right: Between) -> Between:
    apart, room = _difference(right, left), _tiny(left, right)
    least, most = apart.least(), apart.most()
    return _truth(least > room, most <= -room, np.isnan(least + most))


def _equal(left: Between, right: Between) -> Between:
    apart, room = _difference(right, left), _tiny(left, right)
    least, most = apart.least(), apart.most()
    one = (least == 0.0) & (most == 0.0)
    return _truth(one, (least > room) | (most < -room), np.isnan(least + most))


def _not(one: Between) -> Between:
    held = holds(one)
    return Between(1.0 - held.high, 1.0 - held.low)


def holds(one: Between) -> Between:
    """Whether a number is other than 0."""
    least, most = one.least(), one.most()
    zero = (least == 0.0) & (most == 0.0)
    return _truth((least > 0.0) | (most < 0.0), zero, np.isnan(least + most))


def _and(left: Between, right: Between) -> Between:
    one, other = holds(left), holds(right)
    return Between(one.low * other.low, one.high * other.high)


def _or(left: Between, right: Between) -> Between:
    return _not(_and(_not(left), _not(right)))


def _where(condition: Between, yes: Between, no: Between) -> Between:
    """The branch that is surely taken; where none is, whatever holds both."""
    held = holds(condition)
    taken, left = held.low > 0.0, held.high == 0.0
    unknown = np.isnan(held.low)
    both_low = np.minimum(yes.low + 0.0 * no.low, no.low + 0.0 * yes.low)
    both_high = np.maximum(yes.high + 0.0 * no.high, no.high + 0.0 * yes.high)

    def chosen(one: Float64, other: Float64, both: Float64) -> Float64:
        found = np.where(taken, one, np.where(left, other, both))
        return np.where(unknown, np.nan, found)

    return Between(chosen(yes.low, no.low, both_low), chosen(yes.high, no.high, both_high))


def _given(condition: Between, value: Between) -> Between:
    return _where(condition, value, Between.exactly(np.nan))


def _rounding(below: float, above: float) -> Callable[..., Between]:
    """A rounding to whole units moves a number by no more than this many."""

    def rounded(one: Between, decimals: Between | None = None) -> Between:
        unit: Any = 1.0
        if decimals is not None:
            if not decimals.fixed:
                raise Unbounded("a rounding to decimals that move with prices")
            unit = portable.power(10.0, -decimals.low[0, 0])
        return Between(one.low - below * unit, one.high + above * unit)

    return rounded


def _rising(function: str) -> Callable[[Between], Between]:
    """A function that never falls, of all that the number can be."""

    def rising(one: Between) -> Between:
        found = [np.asarray(ELEMENTWISE[function](end)) for end in (one.least(), one.most())]
        # A hair for functions that rise only up to their own rounding.
        return Between(found[0][None, None], found[1][None, None]).wider(
            1e-13 * np.maximum(np.abs(found[0]), np.abs(found[1]))[None, None]
        )

    return rising


def _sign(one: Between) -> Between:
    return Between(np.sign(one.least())[None, None], np.sign(one.most())[None, None])


def _power(base: Between, exponent: Between) -> Between:
    """Of a base above 0: monotone in each, so that it is least and most at corners."""
    sure = base.least() > 0.0
    corners = [
        ELEMENTWISE["**"](np.where(sure, one, np.nan), other)
        for one in (base.least(), base.most())
        for other in (exponent.least(), exponent.most())
    ]
    low, high = reduce(np.minimum, corners), reduce(np.maximum, corners)
    return Between(low[None, None] * (1.0 - 1e-13), high[None, None] * (1.0 + 1e-13))


_BOUNDED: Final[Mapping[str, Callable[..., Between]]] = {
    "+": _sum, "-": _difference, "negative": _negative, "*": _product, "/": _quotient,
    "max": _maximum, "min": _minimum, "abs": _absolute, "clip": _clip,
    "<": _less, ">": lambda left, right: _less(right, left),
    "<=": lambda left, right: _not(_less(right, left)), ">=": lambda left, right: _not(
        _less(left, right)
    ),
    "==": _equal, "!=": lambda left, right: _not(_equal(left, right)),
    "and": _and, "or": _or, "not": _not, "where": _where, "given": _given, "sign": _sign,
    "floor": _rounding(1.0, 0.0), "ceil": _rounding(0.0, 1.0), "round": _rounding(0.5, 0.5),
    "round_half_up": _rounding(0.5, 0.5), "trunc": _rounding(1.0, 1.0),
    "sqrt": _rising("sqrt"), "exp": _rising("exp"), "log": _rising("log"),
    "normal": _rising("normal"), "normal_quantile": _rising("normal_quantile"), "**": _power,
}  # fmt: skip


# ── over scenarios ───────────────────────────────────────────────────────────────────────────


def worst(value: Between) -> Between:
    """The least of lines is concave: its chord lies below, and it is no more than at its most."""
    high = value.high.max(axis=1, keepdims=True)
    return Between(value.low.min(axis=-1), high.min(axis=-1))


def best(value: Between) -> Between:
    """The greatest of lines; the worst, turned over."""
    return _negative(worst(_negative(value)))


def average(value: Between) -> Between:
    """The mean of lines is a line."""
    return Between(value.low.mean(axis=-1), value.high.mean(axis=-1))


def shortfall(value: Between, level: Between) -> Between:
    """Expected shortfall: concave in its scenarios, and never falls with one of them."""
    if not level.fixed:
        raise Unbounded("expected_shortfall at a level that moves with prices")

    def over(lines: Float64) -> Float64:
        rows = lines.reshape(-1, lines.shape[-1])
        share = np.broadcast_to(level.low[0, 0], lines.shape[:-1]).reshape(-1)
        return np.asarray(expected_shortfall(rows, share).reshape(lines.shape[:-1]))

    return Between(over(value.low), over(value.high.max(axis=1, keepdims=True)))


REDUCED: Final[Mapping[str, Callable[..., Between]]] = {
    "worst": worst, "best": best, "average": average, "expected_shortfall": shortfall,
}  # fmt: skip
"""From [row, scenario] to [row]; others have no bounds."""
