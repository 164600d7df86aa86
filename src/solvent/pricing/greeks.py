"""Sensitivities of a term `D·(asset·F·N(side·d₁) − cash·N(side·d₂))`, one formula for all payoffs.

With a = asset·side·F·n(d₁), b = cash·side·n(d₂) and v = σ√T (for a vanilla a = b, and the textbook
forms follow):

    V_F  = asset·N(side·d₁) + (a − b)/(F·v)
    V_FF = (a·(1 − d₁/v) + b·(1 + d₂/v)) / (F²·v)
    V_σ  = (b·d₁ − a·d₂)/σ
    V_σσ = (b·(d₂·d₁² − d₁ − d₂) − a·(d₁·d₂² − d₁ − d₂))/σ²
    V_Fσ = (a·(d₁·d₂/v − d₂ − 1/v) − b·(d₁·d₂ − 1)/v)/(F·σ)
    V_T  = (b·d₁ − a·d₂)/(2T)

At σ√T = 0 the second-order ones are a spike at the strike; they are given as 0 there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from solvent.pricing.black import floats_alike
from solvent.pricing.coefficients import LOG_MONEYNESS_MAX, SIGMA_MAX
from solvent.pricing.elementary import exp, log, normal_cdf, normal_density
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
    v = sigma * np.sqrt(t)
    flat = v <= 0.0
    v, sigma_safe, t_safe = (
        np.where(flat, 1.0, v),
        np.where(flat, 1.0, sigma),
        np.where(flat, 1.0, t),
    )
    d1, d2 = _d1_d2(f, k, np.where(flat, 1e-12, v))
    n1, n2 = normal_cdf(w * d1), normal_cdf(w * d2)
    a = np.where(flat, 0.0, a0 * w * f * normal_density(d1))
    b = np.where(flat, 0.0, c0 * w * normal_density(d2))
    value = a0 * f * n1 - c0 * n2
    decay = (b * d1 - a * d2) / (2.0 * t_safe)
    discount = exp(-r * t)
    return Greeks(
        value=discount * value,
        delta=discount * (a0 * n1 + (a - b) / (f * v)),
        gamma=discount * (a * (1.0 - d1 / v) + b * (1.0 + d2 / v)) / (f * f * v),
        vega=discount * (b * d1 - a * d2) / sigma_safe,
        theta=discount * (r * value - decay),
        rho=-t * discount * value,
        vanna=discount
        * (a * (d1 * d2 / v - d2 - 1.0 / v) - b * (d1 * d2 - 1.0) / v)
        / (f * sigma_safe),
        volga=discount
        * (b * (d2 * d1 * d1 - d1 - d2) - a * (d1 * d2 * d2 - d1 - d2))
        / (sigma_safe * sigma_safe),
        forward=f,
    )


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
    struck = k > 0.0
    log_moneyness = np.where(struck, log(f) - log(np.where(struck, k, 1.0)), LOG_MONEYNESS_MAX)
    middle = log_moneyness / v
    d1 = np.clip(middle + 0.5 * v, -SIGMA_MAX, SIGMA_MAX)
    d2 = np.clip(middle - 0.5 * v, -SIGMA_MAX, SIGMA_MAX)
    return d1, d2
