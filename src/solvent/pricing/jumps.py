"""Merton's (1976) jump-diffusion as a Poisson mixture of Black-Scholes prices."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from solvent.errors import check
from solvent.pricing.black import black76
from solvent.units import Float64


def merton(
    *,
    forward: ArrayLike,
    strike: ArrayLike,
    years: float,
    vol: float,
    side: ArrayLike,
    jumps_per_year: float,
    log_jump: float,
    log_jump_sd: float,
    discount: float = 1.0,
) -> Float64:
    """Price when jumps of log size N(`log_jump`, `log_jump_sd`²) add to a diffusion of `vol`.

    Given n jumps the forward is F·e^(−λkT)·(1 + k)^n and the variance σ²T + n·sd², with
    1 + k = e^(log_jump + sd²/2); the price is the mean over n ~ Poisson(λT).

    >>> price = merton(forward=100.0, strike=100.0, years=0.5, vol=0.2, side=1.0,
    ...                jumps_per_year=1.0, log_jump=-0.1, log_jump_sd=0.15)
    >>> round(float(price), 6)
    7.160435
    """
    check(years >= 0.0 and jumps_per_year >= 0.0, "time and intensity are not negative")
    log_mean = log_jump + 0.5 * log_jump_sd**2
    jumps, weight = _poisson(jumps_per_year * years, grown=math.exp(log_mean))
    drift = -jumps_per_year * years * math.expm1(log_mean)
    f, k, w = (np.asarray(x, dtype=np.float64) for x in (forward, strike, side))
    by_jumps = (-1,) + (1,) * len(np.broadcast_shapes(f.shape, k.shape, w.shape))
    # The variance over T is passed as σ for one year, so that T = 0 needs no division.
    prices = black76(
        forward=f * np.exp(drift + jumps * log_mean).reshape(by_jumps),
        strike=k,
        years=1.0,
        vol=np.sqrt(vol * vol * years + jumps * log_jump_sd**2).reshape(by_jumps),
        side=w,
        discount=discount,
    )
    return np.asarray(np.tensordot(weight, prices, axes=1))


def _poisson(mean: float, *, grown: float) -> tuple[Float64, Float64]:
    """Numbers of jumps that count, and their probabilities.

    A call weighs n jumps by their growth (1 + k)^n too, which makes them Poisson with the mean
    times 1 + k: both laws are covered to ten standard deviations. Only ratios of neighbours are
    used, so no probability underflows where many jumps are expected.
    """
    if mean == 0.0:
        return np.zeros(1), np.ones(1)
    low, high = mean * min(1.0, grown), mean * max(1.0, grown)
    first = max(0.0, math.floor(low - 10.0 * math.sqrt(low) - 20.0))
    jumps = np.arange(first, math.ceil(high + 10.0 * math.sqrt(high) + 20.0) + 1.0)
    log_weight = np.concatenate([[0.0], np.cumsum(np.log(mean / jumps[1:]))])
    weight = np.exp(log_weight - log_weight.max())
    return jumps, weight / weight.sum()
