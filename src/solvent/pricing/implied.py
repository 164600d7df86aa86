"""Implied volatility, robust into the wings.

An in-the-money price is turned out of the money by parity; its normalised time value
`b = p/√(F·K)` with `x = −|log(F/K)|` satisfies

    b(v) = e^(x/2)·N(x/v + v/2) − e^(−x/2)·N(x/v − v/2),      b′(v) = n(√(x²/v² + v²/4))

Newton's method on log b, which is close to linear in 1/v² where prices are tiny, inside a bracket
that only shrinks: a step that leaves it is replaced by a bisection. Far wings are written with
erfcx, so that nothing cancels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import erfcx, ndtr

from solvent.elementary import log
from solvent.limits import VOL_MAX
from solvent.pricing.black import floats_alike
from solvent.units import Float64

_ITERATIONS_MAX = 100
_CONVERGED = 1e-10
"""Newton doubles the digits: a step of this relative size was the last one that counts."""
_TOTAL_VOL_MAX = 40.0
_LOST_DIGITS = 4e-16
"""What rounding leaves of a time value that is a difference, as a part of F or K."""
_SQRT_2 = 1.4142135623730951


def implied_vol(
    *,
    price: ArrayLike,
    forward: ArrayLike,
    strike: ArrayLike,
    years: ArrayLike,
    side: ArrayLike,
    discount: ArrayLike = 1.0,
) -> Float64:
    """σ that makes Black-76 give `price`; NaN where no σ in (0, `limits.VOL_MAX`] does.

    A price at its intrinsic value has σ = 0. Below it, at or above its upper bound (F for a call,
    K for a put), with T ≤ 0 or with a non-finite input there is none.

    >>> from solvent.pricing.black import black76
    >>> price = black76(forward=50_000.0, strike=90_000.0, years=0.1, vol=0.7, side=1.0)
    >>> round(float(implied_vol(price=price, forward=50_000.0, strike=90_000.0, years=0.1,
    ...                         side=1.0)), 12)
    0.7
    """
    p, f, k, t, w, d = floats_alike(price, forward, strike, years, side, discount)
    with np.errstate(all="ignore"):
        positive = (f > 0) & (k > 0) & (t > 0) & (d > 0) & (np.abs(w) == 1.0)
        valid = positive & np.isfinite(p) & np.isfinite(f * k) & np.isfinite(t) & np.isfinite(d)
        f, k, t, d, w = (np.where(valid, x, 1.0) for x in (f, k, t, d, w))
        undiscounted = np.where(valid, p, 0.0) / d
        intrinsic = np.maximum(w * (f - k), 0.0)
        time_value = undiscounted - intrinsic
        # Out of the money there is nothing to cancel, and a price of any size has its own vol.
        lost = np.abs(time_value) < _LOST_DIGITS * np.maximum(f, k)
        lost &= (intrinsic > 0.0) | (time_value < 0.0)
        time_value = np.where(lost, 0.0, time_value)
        x = -np.abs(log(f / k))
        b = time_value / np.sqrt(f * k)
        solvable = valid & (b > 0) & (b < np.exp(0.5 * x))
        total_vol = _solve(
            np.where(solvable, b, 0.1).ravel(), np.where(solvable, x, 0.0).ravel()
        ).reshape(b.shape)
        vol = total_vol / np.sqrt(t)
    vol = np.where(solvable & (vol <= VOL_MAX), vol, np.nan)
    return np.where(valid & (time_value == 0.0), 0.0, vol)


def _solve(b: Float64, x: Float64) -> Float64:
    target = np.log(b)
    low, high = np.zeros_like(b), np.full_like(b, _TOTAL_VOL_MAX)
    v = _first_guess(b, x)
    active = np.arange(b.size)
    for _ in range(_ITERATIONS_MAX):
        va, xa = v[active], x[active]
        value = _normalised(va, xa)
        miss = np.log(value) - target[active]
        above = miss > 0.0
        high[active] = np.where(above, va, high[active])
        low[active] = np.where(above, low[active], va)
        slope = np.exp(-0.5 * ((xa / va) ** 2 + 0.25 * va * va)) / np.sqrt(2 * np.pi) / value
        step = va - miss / slope
        inside = (step >= low[active]) & (step <= high[active])
        nxt = np.where(inside, step, 0.5 * (low[active] + high[active]))
        v[active] = nxt
        moving = np.abs(nxt - va) > _CONVERGED * va
        active = active[moving]
        if active.size == 0:
            break
    return v


def _first_guess(b: Float64, x: Float64) -> Float64:
    """The larger of two asymptotes: b ≈ v/√(2π) at the money, log b ≈ −x²/(2v²) in the wings."""
    near = b * np.sqrt(2 * np.pi)
    far = np.abs(x) / np.sqrt(np.maximum(-2.0 * np.log(np.minimum(b, 0.9)), 0.1))
    return np.asarray(np.clip(np.maximum(near, far), 1e-8, _TOTAL_VOL_MAX / 2))


def _normalised(v: Float64, x: Float64) -> Float64:
    d1, d2 = x / v + 0.5 * v, x / v - 0.5 * v
    scale = 0.5 * np.exp(-0.5 * ((x / v) ** 2 + 0.25 * v * v))
    wing = scale * (erfcx(-np.minimum(d1, 0.0) / _SQRT_2) - erfcx(-d2 / _SQRT_2))
    centre = np.exp(0.5 * x) * ndtr(d1) - np.exp(-0.5 * x) * ndtr(d2)
    return np.asarray(np.maximum(np.where(d1 <= 0.0, wing, centre), 1e-305))
