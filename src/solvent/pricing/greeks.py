"""Sensitivities of a term `D·(asset·F·N(side·d₁) − cash·N(side·d₂))`, one formula for all payoffs.

With v = σ√T, a = asset·side·F·n(d₁) and e = (asset − cash/K)·side·F·n(d₁), which is a minus
cash·side·n(d₂) since F·n(d₁) = K·n(d₂):

    V_F  = asset·N(side·d₁) + e/(F·v)
    V_FF = (a − e·d₁/v)/(F²·v)
    V_σ  = (a·v − e·d₁)/σ
    V_σσ = (a·d₁·d₂·v − e·(d₁²·d₂ − d₁ − d₂))/σ²
    V_Fσ = (e·(d₁·d₂ − 1)/v − a·d₂)/(F·σ)
    V_T  = (a·v − e·d₁)/(2T)

For a vanilla e = 0 exactly, so the textbook forms follow without a difference that loses digits.
At σ√T = 0 value and delta are limits (half way at the strike itself); the others are a spike at
the strike, and are given as 0 but for what rates do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from solvent.coefficients import SIGMA_MAX, TOTAL_VOL_MIN
from solvent.elementary import exp, normal_cdf, normal_density
from solvent.errors import check
from solvent.pricing.black import floats_alike
from solvent.pricing.grid import log_moneyness
from solvent.units import Float64

VOL_POINT = 0.01
DAYS_PER_YEAR = 365.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Greeks:
    """Value and derivatives, per unit: with respect to the forward, σ in 1.00, time in years.

    `theta` is the change of value as a year of calendar time passes with the forward held;
    `rho` is for a rate in 1.00 with the forward held, −T·V. Per vol point multiply `vega` by
    `VOL_POINT`, per day divide `theta` by `DAYS_PER_YEAR`.
    """

    value: Float64
    delta: Float64
    gamma: Float64
    vega: Float64
    theta: Float64
    rho: Float64
    vanna: Float64
    volga: Float64
    forward: Float64

    @property
    def premium_adjusted_delta(self) -> Float64:
        """Delta in coin of an option whose premium is paid in coin: V_F − V/F.

        It is the hedge ratio of an inverse option (F·d(V/F)/dF); Deribit's *net transaction
        delta*.
        """
        return self.delta - self.value / self.forward


def greeks(
    *,
    forward: ArrayLike,
    strike: ArrayLike,
    years: ArrayLike,
    vol: ArrayLike,
    side: ArrayLike,
    asset: ArrayLike | None = None,
    cash: ArrayLike | None = None,
    rate: ArrayLike = 0.0,
) -> Greeks:
    """Greeks of vanilla options, or of any term when `asset` and `cash` are given.

    >>> g = greeks(forward=20_000.0, strike=20_000.0, years=0.25, vol=0.8, side=1.0)
    >>> round(float(g.delta), 6), round(float(g.premium_adjusted_delta), 6)
    (0.57926, 0.42074)
    """
    side = np.asarray(side, dtype=np.float64)
    strike = np.asarray(strike, dtype=np.float64)
    asset = side if asset is None else asset
    cash = side * strike if cash is None else cash
    f, k, t, sigma, w, a0, c0, r = floats_alike(
        forward, strike, years, vol, side, asset, cash, rate
    )
    _check_inputs(f, k, t, sigma, w, a0, c0, r)
    v = sigma * np.sqrt(t)
    flat = v <= TOTAL_VOL_MIN
    d1, d2 = _d1_d2(f, k, np.where(flat, TOTAL_VOL_MIN, v))
    v, sigma, t_safe = (np.where(flat, 1.0, x) for x in (v, sigma, t))
    n1, n2 = normal_cdf(w * d1), normal_cdf(w * d2)
    bump = np.where(flat, 0.0, w * f * normal_density(d1))
    a = a0 * bump
    e = np.where(k > 0.0, a0 - c0 / np.where(k > 0.0, k, 1.0), 0.0) * bump
    value = a0 * f * n1 - c0 * n2
    spread = a * v - e * d1
    discount = exp(-r * t)
    return Greeks(
        value=discount * value,
        delta=discount * (a0 * n1 + e / (f * v)),
        gamma=discount * (a - e * d1 / v) / (f * f * v),
        vega=discount * spread / sigma,
        theta=discount * (r * value - spread / (2.0 * t_safe)),
        rho=-t * discount * value,
        vanna=discount * (e * (d1 * d2 - 1.0) / v - a * d2) / (f * sigma),
        volga=discount * (a * d1 * d2 * v - e * (d1 * d1 * d2 - d1 - d2)) / (sigma * sigma),
        forward=f,
    )


def _check_inputs(f: Float64, k: Float64, t: Float64, sigma: Float64, *others: Float64) -> None:
    for numbers in (f, k, t, sigma, *others):
        check(bool(np.isfinite(numbers).all()), "what has greeks is finite")
    check(bool((f > 0.0).all()), "forwards are positive")
    check(bool((k >= 0.0).all()), "strikes are not negative")
    check(bool((t >= 0.0).all()) and bool((sigma >= 0.0).all()), "times and vols are not negative")


@dataclass(frozen=True, slots=True, kw_only=True)
class SpotGreeks:
    """Black-Scholes-Merton derivatives, spot held: theta per year, vega and rhos per 1.00."""

    value: Float64
    delta: Float64
    gamma: Float64
    vega: Float64
    theta: Float64
    rho: Float64
    dividend_rho: Float64
    elasticity: Float64


def spot_greeks(
    *,
    spot: ArrayLike,
    strike: ArrayLike,
    years: ArrayLike,
    vol: ArrayLike,
    side: ArrayLike,
    rate: ArrayLike = 0.0,
    dividend: ArrayLike = 0.0,
) -> SpotGreeks:
    """Greeks in the spot, by the chain rule from those in the forward F = S·e^((r − q)T).

    >>> g = spot_greeks(spot=105.0, strike=100.0, years=0.5, vol=0.36, side=1.0, rate=0.1,
    ...                 dividend=0.1)
    >>> round(float(g.delta), 4)
    0.5946
    """
    s, t = np.asarray(spot, dtype=np.float64), np.asarray(years, dtype=np.float64)
    r, q = np.asarray(rate, dtype=np.float64), np.asarray(dividend, dtype=np.float64)
    carry = exp((r - q) * t)
    f = s * carry
    g = greeks(forward=f, strike=strike, years=t, vol=vol, side=side, rate=r)
    delta = g.delta * carry
    return SpotGreeks(
        value=g.value,
        delta=delta,
        gamma=g.gamma * carry * carry,
        vega=g.vega,
        theta=g.theta - (r - q) * f * g.delta,
        rho=g.rho + t * f * g.delta,
        dividend_rho=-t * f * g.delta,
        elasticity=delta * s / np.where(g.value == 0.0, np.inf, g.value),
    )


def _d1_d2(f: Float64, k: Float64, v: Float64) -> tuple[Float64, Float64]:
    middle = log_moneyness(f, k) / v
    d1 = np.clip(middle + 0.5 * v, -SIGMA_MAX, SIGMA_MAX)
    d2 = np.clip(middle - 0.5 * v, -SIGMA_MAX, SIGMA_MAX)
    return d1, d2
