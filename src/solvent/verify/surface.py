"""Slow twins of the volatility surface: one smile at a time, and arbitrage found in prices.

Nothing is shared with the fast code: smiles are searched for with scipy from many starts, and
arbitrage is looked for in call prices on a dense grid of strikes instead of in Durrleman's g.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares
from scipy.special import erfcx, ndtr

from solvent.errors import check
from solvent.units import Float64

Variance = Callable[[Float64], Float64]
"""Total variance at log(K/F)."""
REACH = 6.0
POINTS = 6_001
_DEVIATIONS = 12.0
_LOST = 1e-11
"""What rounding leaves of a price, as a part of it."""
_PRICE_MIN = 1e-250


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundSmile:
    """Raw SVI numbers and the mean absolute error of σ, weighted, that they leave."""

    numbers: tuple[float, float, float, float, float]
    error: float

    def w(self, k: Float64) -> Float64:
        """Total variance."""
        a, b, rho, m, s = self.numbers
        return np.asarray(a + b * (rho * (k - m) + np.sqrt((k - m) ** 2 + s * s)))


def closest_smile(k: Float64, vol: Float64, weight: Float64, years: float) -> FoundSmile:
    """The raw SVI smile that is nearest to volatilities by least absolute errors, arbitrage or not.

    No smile without arbitrage can be nearer, but for what the search misses.
    """
    check(k.size >= 5, "five strikes", k.size)
    w, share = vol * vol * years, weight / weight.sum()
    level, span = float(np.median(w)), float(np.ptp(k))

    def error(x: Float64) -> Float64:
        return np.asarray((np.sqrt(_svi(x, k) / years) - vol) * share)

    best: tuple[float, Float64] = (np.inf, np.zeros(5))
    low = [-10.0 * level, 0.0, -0.9999, k.min() - 2.0 * span, 1e-4 * span]
    high = [3.0 * level + 10.0 * float(w.max()), 4.0, 0.9999, k.max() + 2.0 * span, 10.0 * span]
    for width in (0.1, 0.5):
        for place in (0.35, 0.6):
            m, s = float(k.min()) + place * span, width * span
            slope = max(1e-6, float(np.ptp(w)) / span)
            start = np.clip([0.8 * float(w.min()), slope, -0.1, m, s], low, high)
            found = least_squares(
                error, start, bounds=(low, high), loss="soft_l1", f_scale=1e-6,
                x_scale=[level, slope, 1.0, span, span], max_nfev=200,
            )  # fmt: skip
            absolute = float(np.abs(error(found.x)).sum())
            if absolute < best[0]:
                best = absolute, found.x
    a, b, rho, m, s = best[1].tolist()
    return FoundSmile(numbers=(a, b, rho, m, s), error=best[0])


def _svi(x: Float64, k: Float64) -> Float64:
    a, b, rho, m, s = x
    return np.asarray(np.maximum(a + b * (rho * (k - m) + np.sqrt((k - m) ** 2 + s * s)), 1e-12))


def least_butterfly(variance: Variance, points: int = POINTS) -> float:
    """Worst convexity of the call price in strike over a dense grid; below 0 is arbitrage.

    It is the price of a butterfly of three neighbouring strikes, as a part of the middle option's
    price; what rounding may have done is given back. Strikes from e^−6 to e^6 times the forward,
    and densely within 12 standard deviations.

    >>> least_butterfly(lambda k: np.full(k.shape, 0.04)) >= 0.0
    True
    >>> vogt = FoundSmile(numbers=(-0.041, 0.1331, 0.306, 0.3586, 0.4153), error=0.0)
    >>> least_butterfly(vogt.w) < 0.0
    True
    """
    least = np.inf
    for k in _grids(variance, points):
        price, strike = _out_of_the_money(k, variance(k)), np.exp(k)
        for side in (k <= 0.0, k >= 0.0):
            if side.sum() >= 3:
                least = min(least, _convexity(strike[side], price[side]))
    # Across the forward, where puts turn into calls.
    k = np.linspace(-1e-3, 1e-3, 5)
    strike = np.exp(k)
    call = _out_of_the_money(k, variance(k)) + np.maximum(1.0 - strike, 0.0)
    return min(least, _convexity(strike, call))


def least_calendar(near: Variance, far: Variance, points: int = POINTS) -> float:
    """Least of far − near prices over a dense grid, as a part of the nearer; below 0 is arbitrage.

    >>> flat = lambda w: lambda k: np.full(k.shape, w)
    >>> least_calendar(flat(0.04), flat(0.05)) >= 0.0 > least_calendar(flat(0.05), flat(0.04))
    True
    """
    least = np.inf
    for k in [*_grids(near, points), *_grids(far, points)]:
        first, second = _out_of_the_money(k, near(k)), _out_of_the_money(k, far(k))
        told = first > _PRICE_MIN
        gain = second[told] / first[told] - 1.0 + _LOST
        least = min(least, float(gain.min(initial=np.inf)))
    return least


def wing_slopes(variance: Variance, at: float = 1e6) -> tuple[float, float]:
    """−dw/dk far to the left and dw/dk far to the right: Lee's bound is 2."""
    left, right = (variance(np.array([sign * at, sign * 2.0 * at])) for sign in (-1.0, 1.0))
    return float((left[1] - left[0]) / at), float((right[1] - right[0]) / at)


def _grids(variance: Variance, points: int) -> tuple[Float64, Float64]:
    """Log-moneyness over all of the reach, and densely round the forward."""
    deviation = float(np.sqrt(variance(np.zeros(1))[0]))
    near = min(REACH, _DEVIATIONS * deviation)
    return np.linspace(-REACH, REACH, points), np.linspace(-near, near, points)


def _convexity(strike: Float64, price: Float64) -> float:
    left, right = strike[1:-1] - strike[:-2], strike[2:] - strike[1:-1]
    wings = (right * price[:-2] + left * price[2:]) / (left + right)
    told = price[1:-1] > _PRICE_MIN
    lost = _LOST * (wings + price[1:-1])[told]
    gain = (wings - price[1:-1])[told] + lost
    return float((gain / price[1:-1][told]).min(initial=np.inf))


def _out_of_the_money(k: Float64, w: Float64) -> Float64:
    """Put where k < 0, call elsewhere; F = 1. In the wings with erfcx, so that nothing cancels."""
    v = np.sqrt(w)
    x = -np.abs(k)
    # A put at k is worth e^k calls at −k.
    scale = np.where(k < 0.0, np.exp(k), 1.0)
    d1, d2 = x / v + 0.5 * v, x / v - 0.5 * v
    with np.errstate(over="ignore", under="ignore"):
        wing = 0.5 * np.exp(-0.5 * d1 * d1) * (erfcx(-d1 / 2**0.5) - erfcx(-d2 / 2**0.5))
        centre = ndtr(d1) - np.exp(-x) * ndtr(d2)
        return np.asarray(scale * np.where(d1 < 0.0, wing, centre))
