"""Where a price makes an account's condition fail: liquidation and bankruptcy prices.

The condition is the whole account's, so tiers and every other position are in it. It is a function
of one price (or of one factor on many prices): positive while it holds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from scipy.optimize import brentq

STEPS = 48
"""Places on either side at which the condition is looked at before a root is bracketed."""
_FALL, _RISE = 1e-3, 1e3


class Reach(StrEnum):
    """What a search found on one side of the price."""

    PRICE = "price"
    NONE = "none"
    """No price on this side makes the condition fail."""
    ALREADY = "already"
    """It does not hold at the price of now."""
    UNKNOWN = "unknown"
    """Something that it needs is not known, now or before it fails."""


@dataclass(frozen=True, slots=True)
class Boundary:
    """The nearest price on one side at which the condition fails."""

    reach: Reach
    price: float | None = None
    distance: float | None = None
    """(price − now) / now."""

    @property
    def move(self) -> float | None:
        """The relative move that makes it fail: 0 where it fails now, None where none is known."""
        return 0.0 if self.reach is Reach.ALREADY else self.distance


def boundary(condition: Callable[[float], float], now: float, *, below: bool) -> Boundary:
    """The nearest root of a condition below or above `now`; NaN is a condition that is not known.

    >>> boundary(lambda price: 20.0 + (price - 100.0) - 0.005 * price, 100.0, below=True).price
    80.4020100502...
    >>> boundary(lambda price: 1.0, 100.0, below=False).reach.value
    'none'
    """
    first = condition(now)
    if math.isnan(first) or first < 0.0:
        return Boundary(Reach.UNKNOWN if math.isnan(first) else Reach.ALREADY)
    near = now
    for step in range(1, STEPS + 1):
        # Even steps at first, where most roots lie; then by factors, to all that a price can do.
        share = step / STEPS
        far = now * (max(1.0 - share, _FALL) if below else _RISE**share**2)
        there = condition(far)
        if math.isnan(there):
            return Boundary(Reach.UNKNOWN)
        if there < 0.0:
            low, high = sorted((near, far))
            root = float(brentq(condition, low, high, xtol=1e-12 * now, rtol=1e-14))
            return Boundary(Reach.PRICE, root, root / now - 1.0)
        near = far
    return Boundary(Reach.NONE)
