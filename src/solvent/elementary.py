"""exp, log and the normal law on arrays, from `+ − × ÷ √` and bit shifts alone.

Every step is an operation that IEEE 754 defines to the last bit, so these give the same bits on
every processor, with any vector width; a mathematics library does not. Arguments are float64
arrays (or scalars); NaN is not expected and not produced from finite input.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from solvent.coefficients import (
    EXP,
    INV_SQRT_2PI,
    LN2_HIGH,
    LN2_LOW,
    LOG,
    LOG2_E,
    MILLS_P,
    MILLS_Q,
    ROUND_TO_INTEGER,
    SIGMA_MAX,
    SQRT_HALF,
)
from solvent.units import Float64

_EXP_MIN = -708.0
_EXP_MAX = 709.0


def horner(coefficients: Sequence[float], x: Float64) -> Float64:
    """A polynomial, lowest coefficient first, by Horner's rule without fused operations."""
    total = np.full_like(x, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        total *= x
        total += coefficient
    return total


def exp(x: ArrayLike) -> Float64:
    """e^x within 1 unit in the last place; clamped to e^−708 … e^709.

    >>> float(exp(2.0))
    7.38905609893065
    """
    x = np.clip(np.asarray(x, dtype=np.float64), _EXP_MIN, _EXP_MAX)
    shifted = x * LOG2_E + ROUND_TO_INTEGER
    k = shifted - ROUND_TO_INTEGER
    r = (x - k * LN2_HIGH) - k * LN2_LOW
    mantissa = ((horner(EXP, r) * r) * r + r) + 1.0
    return _scale_by_power_of_two(mantissa, shifted)


def _scale_by_power_of_two(mantissa: Float64, shifted: Float64) -> Float64:
    exponent = np.asarray(shifted).view(np.int64) << 52
    return (np.asarray(mantissa).view(np.int64) + exponent).view(np.float64)


def log(x: ArrayLike) -> Float64:
    """Natural logarithm of positive finite numbers within 1 unit in the last place.

    >>> float(log(10.0))
    2.302585092994046
    """
    mantissa, exponent = np.frexp(np.asarray(x, dtype=np.float64))
    low = mantissa < SQRT_HALF
    m = np.where(low, 2.0 * mantissa, mantissa)
    e = exponent - low
    f = m - 1.0
    s = f / (2.0 + f)
    z = s * s
    half_square = 0.5 * f * f
    correction = s * (half_square + z * horner(LOG, z)) + e * LN2_LOW
    return np.asarray(e * LN2_HIGH - ((half_square - correction) - f))


def normal_density(x: ArrayLike) -> Float64:
    """Density of the standard normal law; 0 is reached as e^−707, not below.

    >>> float(normal_density(0.0))
    0.3989422804014327
    """
    x = np.clip(np.asarray(x, dtype=np.float64), -SIGMA_MAX, SIGMA_MAX)
    return exp(-0.5 * x * x) * INV_SQRT_2PI


def normal_cdf(x: ArrayLike) -> Float64:
    """Standard normal distribution function; relative error below 1e-15·(1 + x²).

    >>> float(normal_cdf(0.0)), float(normal_cdf(-10.0))
    (0.5, 7.61985302416052...e-24)
    """
    x = np.clip(np.asarray(x, dtype=np.float64), -SIGMA_MAX, SIGMA_MAX)
    z = np.abs(x)
    tail = normal_density(x) * horner(MILLS_P, z) / horner(MILLS_Q, z)
    return np.where(x > 0.0, 1.0 - tail, tail)
