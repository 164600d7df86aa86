"""exp, log, powers and the normal law of any float64: the same bits on every processor.

`elementary` is good to a unit in the last place where prices are; here stand its edges as IEEE 754
has them: NaN stays NaN, an overflow is infinite, nothing warns. What a rulebook says is computed
with these, so that a history is judged alike wherever it is replayed.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from solvent import elementary
from solvent.coefficients import (
    INV_SQRT_2PI,
    MILLS_P,
    MILLS_Q,
    QUANTILE_CENTRE,
    QUANTILE_FAR,
    QUANTILE_TAIL,
)
from solvent.elementary import horner
from solvent.units import Float64

_CORE: Final = 700.0
"""Beyond it, either way, e^x is taken in two steps: e^(x ∓ 50) times e^±50."""
_STEP: Final = 50.0
_E_TO_STEP: Final = 5.184705528587072e21
_WHOLE_MAX: Final = 1_024.0
"""Largest whole exponent that is reached by multiplication."""
_ODD_MAX: Final = 2.0**53
"""No float64 from here on is odd."""
_NOTHING: Final = 40.0
"""Deviations beyond which a normal tail is 0 in float64."""


def exp(x: ArrayLike) -> Float64:
    """e^x: 0 far below, infinite far above.

    >>> exp([0.0, 2.0, 1e9, -1e9, float("nan")]).tolist()
    [1.0, 7.38905609893065, inf, 0.0, nan]
    """
    x = np.asarray(x, dtype=np.float64)
    missing = np.isnan(x)
    inner = np.clip(np.where(missing, 0.0, x), -1_000.0, 1_000.0)
    side = np.where(np.abs(inner) > _CORE, np.sign(inner), 0.0)
    value = elementary.exp(inner - side * _STEP)
    if side.any():
        with np.errstate(over="ignore", under="ignore"):
            far = np.where(side > 0.0, value * _E_TO_STEP, value / _E_TO_STEP)
        value = np.where(side == 0.0, value, far)
    return np.where(missing, np.nan, value)


def log(x: ArrayLike) -> Float64:
    """Natural logarithm: −∞ at 0, NaN below.

    >>> log([1.0, 0.0, -1.0, float("inf")]).tolist()
    [0.0, -inf, nan, inf]
    """
    x = np.asarray(x, dtype=np.float64)
    inside = (x > 0.0) & (x < np.inf)
    value = elementary.log(np.where(inside, x, 1.0))
    edge = np.where(x == 0.0, -np.inf, np.where(x == np.inf, np.inf, np.nan))
    return np.where(inside, value, edge)


def power(base: ArrayLike, exponent: ArrayLike) -> Float64:
    """base^exponent: the whole part by multiplication, a half by a root, the rest by exp and log.

    A NaN on either side is a NaN, also beside an exponent of 0 or a base of 1, where IEEE 754 makes
    it 1: what is not known stays so. A negative base has whole exponents only.

    >>> power([2.0, 9.0, 0.0, -8.0, -8.0], [-2.0, 1.5, 0.0, 3.0, 0.5]).tolist()
    [0.25, 27.0, 1.0, -512.0, nan]
    """
    base, exponent = np.asarray(base, dtype=np.float64), np.asarray(exponent, dtype=np.float64)
    missing = np.isnan(base) | np.isnan(exponent)
    size, exponent = np.where(missing, 1.0, np.abs(base)), np.where(missing, 1.0, exponent)
    steps = np.where(np.abs(exponent) <= _WHOLE_MAX, np.trunc(exponent), 0.0)
    value = _multiplied(size, steps) * _between(size, exponent - steps)
    whole = np.trunc(exponent) == exponent
    half = 0.5 * exponent
    odd = whole & (np.abs(exponent) < _ODD_MAX) & (np.trunc(half) != half)
    value = np.where(np.signbit(base) & odd, -value, value)
    impossible = (base < 0.0) & (base > -np.inf) & ~whole
    return np.where(missing | impossible, np.nan, value)


def _multiplied(base: Float64, exponent: Float64) -> Float64:
    """base^exponent of whole exponents, by squares."""
    left = np.abs(exponent).astype(np.int64)
    value, square = np.ones_like(base), base
    with np.errstate(all="ignore"):
        while left.any():
            value = np.where(left & 1, value * square, value)
            left, square = left >> 1, square * square
        return np.where(exponent < 0.0, 1.0 / value, value)


def _between(base: Float64, exponent: Float64) -> Float64:
    """base^exponent of what is left of exponents: below 1, or far beyond."""
    with np.errstate(all="ignore"):
        value = exp(exponent * log(base))
        root = np.sqrt(base)
        value = np.where(exponent == 0.5, root, np.where(exponent == -0.5, 1.0 / root, value))
    return np.where((exponent == 0.0) | (base == 1.0), 1.0, value)


def normal(x: ArrayLike) -> Float64:
    """Standard normal distribution function; relative error below 1e-15·(1 + x²).

    >>> normal([0.0, -1.0, -50.0, 50.0]).tolist()
    [0.5, 0.15865525393145707, 0.0, 1.0]
    """
    x = np.asarray(x, dtype=np.float64)
    z = np.minimum(np.where(np.isnan(x), 0.0, np.abs(x)), _NOTHING)
    with np.errstate(under="ignore"):
        tail = exp(-0.5 * z * z) * INV_SQRT_2PI * horner(MILLS_P, z) / horner(MILLS_Q, z)
    return np.where(np.isnan(x), np.nan, np.where(x > 0.0, 1.0 - tail, tail))


def normal_quantile(share: ArrayLike) -> Float64:
    """Inverse of the standard normal distribution function: ∓∞ at 0 and 1, NaN outside.

    >>> normal_quantile([0.5, 0.975, 0.0, 1.0, 1.5]).tolist()
    [0.0, 1.9599639845400536, -inf, inf, nan]
    """
    p = np.asarray(share, dtype=np.float64)
    inside = (p > 0.0) & (p < 1.0)
    p = np.where(inside, p, 0.5)
    from_half = p - 0.5
    near = 0.180625 - from_half * from_half
    centre = from_half * _ratio(QUANTILE_CENTRE, near)
    root = np.sqrt(-log(np.minimum(p, 1.0 - p)))
    tail = np.where(
        root <= 5.0, _ratio(QUANTILE_TAIL, root - 1.6), _ratio(QUANTILE_FAR, root - 5.0)
    )
    value = np.where(near >= 0.0, centre, np.copysign(tail, from_half))
    told = np.asarray(share, dtype=np.float64)
    edge = np.where(told == 0.0, -np.inf, np.where(told == 1.0, np.inf, np.nan))
    return np.where(inside, value, edge)


def _ratio(parts: tuple[tuple[float, ...], tuple[float, ...]], x: Float64) -> Float64:
    above, below = parts
    return horner(above, x) / horner(below, x)
