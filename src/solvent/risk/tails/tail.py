"""A tail as data: its kind, what each scenario weighs, and how many scenarios it can reach."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Final

import numpy as np

from solvent.errors import check
from solvent.instruments import frozen
from solvent.risk.tails.beta import beta_cdf
from solvent.units import Float64

KINDS: Final = ("expected_shortfall", "value_at_risk", "harrell_davis")
PARTS: Final = 1 << 48
"""Parts that a set of unequal weights is told in: a weight is rounded to 2^-48."""
WEIGHT_MIN: Final = 2.0**-53
"""Order statistics that together weigh less are left out of a Harrell-Davis estimate."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tail:
    """A reduction at a level over a set of scenarios.

    Attributes:
        kind: one of `KINDS`. level: α.
        parts: [scenario] what it weighs, whole. mass: T, the parts beyond the level.
        alike: whether all weigh the same.
        reach: how many of the least totals decide it at most.
        shape: parameters of the Beta law that weighs order statistics from the least on.
    """

    kind: str
    level: float
    parts: Float64
    mass: float
    alike: bool
    reach: int
    shape: tuple[float, float] = (1.0, 1.0)

    def __len__(self) -> int:
        return len(self.parts)


def tail_of(kind: str, level: float, weight: Float64) -> Tail:
    """The tail of a set whose scenarios have these probabilities.

    >>> one = tail_of("value_at_risk", 0.99, np.full(750, 1 / 750))
    >>> one.mass, one.reach
    (7.5, 8)
    """
    check(kind in KINDS, "a reduction", kind)
    check(0.5 <= level < 1.0, "a level from a half up to 1", level)
    parts = parts_of(weight)
    whole = sum(int(one) for one in parts)
    beyond = 1 - Fraction(repr(level))
    mass = float(beyond * whole)
    shape = (1.0, 1.0)
    need = mass
    if kind == "harrell_davis":
        squares = sum(int(one) ** 2 for one in parts)
        effective = float(Fraction(whole * whole, squares))
        shape = (float(beyond) * (effective + 1.0), (1.0 - float(beyond)) * (effective + 1.0))
        need = _reached(*shape) * whole
    return Tail(
        kind=kind,
        level=level,
        parts=frozen(parts),
        mass=mass,
        alike=bool((parts == parts[0]).all()),
        reach=_reach(parts, need),
        shape=shape,
    )


def parts_of(weight: Float64) -> Float64:
    """Probabilities as whole parts of 2^48, over what all have in common: alike, 1 each.

    >>> parts_of(np.array([0.25, 0.25, 0.5])).tolist()
    [1.0, 1.0, 2.0]
    """
    check(bool((weight >= 0.0).all()) and float(weight.sum()) > 0.0, "weights of 0 or more")
    told = np.rint(weight / weight.sum() * PARTS).astype(np.int64)
    common = math.gcd(*told.tolist())
    return np.asarray(told // common, dtype=np.float64)


def _reach(parts: Float64, need: float) -> int:
    """Fewest scenarios that surely hold more than `need` parts: the lightest ones first."""
    held = np.cumsum(np.sort(parts))
    return min(len(parts), int(np.searchsorted(held, need, side="right")) + 1)


@lru_cache(maxsize=64)
def _reached(a: float, b: float) -> float:
    """The share of a set beyond which a Beta law has less than `WEIGHT_MIN` left."""
    low, high = a / (a + b), 1.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        left = 1.0 - float(beta_cdf(np.array([middle]), a, b)[0])
        low, high = (middle, high) if left >= WEIGHT_MIN else (low, middle)
    return high
