"""Merton's (1976) jump-diffusion as a Poisson mixture of Black-Scholes prices."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from solvent.errors import check
from solvent.pricing.black import black76
from solvent.units import Float64

_NEGLIGIBLE = 1e-18


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
    expected_jumps = jumps_per_year * years
    log_mean = log_jump + 0.5 * log_jump_sd**2
    drift = -expected_jumps * math.expm1(log_mean)
    f = np.asarray(forward, dtype=np.float64)
    total = np.zeros(np.broadcast_shapes(f.shape, np.shape(strike), np.shape(side)))
    weight, n = math.exp(-expected_jumps), 0
    while n <= expected_jumps or weight > _NEGLIGIBLE:
        # The variance over T is passed as σ for one year, so that T = 0 needs no division.
        total_vol = math.sqrt(vol * vol * years + n * log_jump_sd**2)
        total = total + weight * black76(
            forward=f * math.exp(drift + n * log_mean),
            strike=strike,
            years=1.0,
            vol=total_vol,
            side=side,
            discount=discount,
        )
        n += 1
        weight *= expected_jumps / n
    return total
