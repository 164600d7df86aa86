"""Scenarios told outright: joint shocks of several underlyings, from history or from a draw.

A grid moves every underlying by its own rule. Here scenario k is one day (or one draw) of the whole
market: what each price did, what each volatility surface did, what each basis did, together. The
numbers are data that whoever publishes a market brings along; a rulebook only names them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from solvent.errors import check
from solvent.limits import SCENARIOS_MAX
from solvent.units import Float64

MONEYNESS_MAX: Final = 3.0
"""Beyond three standard deviations a surface's skew is not extrapolated."""
TERM_DAYS: Final = 30.0
"""The maturity at which a surface's level is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JointShocks:
    """Joint shocks, one column a scenario.

    A volatility σ of moneyness x = ln(K/F)/(σ√T), clipped to ±3, at T days becomes
    σ · exp(level + skew·x + term·ln(T/30)), the logarithm clipped to ±2.

    Attributes:
        name: what the set is called, such as `fhs-750d-24h`.
        underlyings: names of the rows.
        move: [underlying, scenario] relative move of the price, above −1.
        level, skew, term: [underlying, scenario] shifts of the surface; 0 moves nothing.
        basis: [underlying, scenario] shift of the annualised log basis.
        weight: [scenario] probability; they sum to 1.
        time_ms: [scenario] end of the window that it was taken from; 0 for a draw.
    """

    name: str
    underlyings: tuple[str, ...]
    move: Float64
    level: Float64
    skew: Float64
    term: Float64
    basis: Float64
    weight: Float64
    time_ms: NDArray[np.int64]

    def __post_init__(self) -> None:
        shape = (len(self.underlyings), len(self))
        check(len(self) <= SCENARIOS_MAX, "scenarios within their limit", len(self))
        for part in (self.move, self.level, self.skew, self.term, self.basis):
            check(part.shape == shape, "a row an underlying, a column a scenario", part.shape)
            check(bool(np.isfinite(part).all()), "every shock is a number")
        check(bool((self.move > -1.0).all()), "a price stays above nothing")
        check(bool((self.weight >= 0.0).all()), "a probability is never negative")
        check(abs(float(self.weight.sum()) - 1.0) < 1e-9, "probabilities sum to 1")

    def __len__(self) -> int:
        return len(self.weight)
