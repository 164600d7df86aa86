"""The regularised incomplete beta function, from operations that have one value on any processor.

`risk.tails` weighs order statistics with it. A mathematics library gives other last bits on another
machine; here are `+ − × ÷` and `elementary` alone. Relative error below 1e-11 where the result is
not beyond 1e-12 of 0 (a test against scipy).
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from solvent.elementary import exp, log
from solvent.errors import check
from solvent.units import Float64

_HALF_LOG_2PI: Final = 0.9189385332046727
_STIRLING: Final = (1.0 / 12.0, -1.0 / 360.0, 1.0 / 1260.0, -1.0 / 1680.0, 1.0 / 1188.0)
_STIRLING_FROM: Final = 16.0
_STEPS_MAX: Final = 4_000
_TINY: Final = 1e-300


def log_gamma(x: float) -> float:
    """ln Γ(x) of x > 0: Stirling's series, reached by the recurrence.

    >>> round(log_gamma(5.0), 12), round(log_gamma(0.5), 12)
    (3.178053830348, 0.572364942925)
    """
    check(0.0 < x < math.inf, "a positive number", x)
    product = 1.0
    while x < _STIRLING_FROM:
        product *= x
        x += 1.0
    series, power = 0.0, 1.0 / x
    for term in _STIRLING:
        series += term * power
        power /= x * x
    return float((x - 0.5) * log(x) - x + _HALF_LOG_2PI + series - log(product))


def beta_cdf(x: Float64, a: float, b: float) -> Float64:
    """I_x(a, b) of x in [0, 1], by its continued fraction (modified Lentz).

    >>> [round(float(v), 12) for v in beta_cdf(np.array([0.0, 0.25, 0.5, 1.0]), 2.0, 2.0)]
    [0.0, 0.15625, 0.5, 1.0]
    """
    x = np.asarray(x, dtype=np.float64)
    turned = x > (a + 1.0) / (a + b + 2.0)
    near = np.where(turned, 1.0 - x, x)
    inside = (near > 0.0) & (near < 1.0)
    at = np.where(inside, near, 0.5)
    front = log_gamma(a + b) - log_gamma(a) - log_gamma(b)
    ends = [(a, b), (b, a)]
    found = np.empty((2, *x.shape))
    for place, (first, other) in enumerate(ends):
        mine = inside & (turned == bool(place))
        value = np.zeros(x.shape)
        if mine.any():
            some = at[mine]
            height = exp(front + first * log(some) + other * log(1.0 - some)) / first
            value[mine] = height * _fraction(some, first, other)
        found[place] = value
    value = np.where(turned, 1.0 - found[1], found[0])
    return np.asarray(np.clip(value, 0.0, 1.0))


def _fraction(x: Float64, a: float, b: float) -> Float64:
    """Each number stops by itself: what stands beside it changes none of its bits."""
    d = 1.0 - (a + b) * x / (a + 1.0)
    d = 1.0 / np.where(np.abs(d) < _TINY, _TINY, d)
    c, total = np.ones_like(x), d.copy()
    going = np.ones(x.shape, dtype=bool)
    for m in range(1, _STEPS_MAX):
        change = np.ones_like(x)
        even = m * (b - m) * x / ((a + 2 * m - 1.0) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1.0))
        for step in (even, odd):
            d = 1.0 + step * d
            d = 1.0 / np.where(np.abs(d) < _TINY, _TINY, d)
            c = 1.0 + step / c
            c = np.where(np.abs(c) < _TINY, _TINY, c)
            change = c * d
            total = np.where(going, total * change, total)
        going &= np.abs(change - 1.0) >= 1e-15
        if not going.any():
            return total
    check(False, "a continued fraction that ends", a, b)
    return total
