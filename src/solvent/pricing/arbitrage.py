"""Butterfly arbitrage of many raw SVI smiles at once, and arbitrage between marks.

Durrleman's g must not be negative. It is looked at on `GRID_POINTS` places m + s·sinh(t), which
are as dense as the smile bends and reach to |k| = `GRID_REACH`, and more closely round the least
of them. Beyond that a wing is a line of slope c, for which g → (4 − c²)/16 > 0 where c < 2 (Lee),
and 1 where it is flat.
"""

from __future__ import annotations

import numpy as np

from solvent.elementary import normal_cdf
from solvent.market.surface import Smiles
from solvent.units import Float64

GRID_REACH = 100.0
GRID_POINTS = 801
_ZOOM_POINTS = 33
_ZOOMS = 2


def least_g(smiles: Smiles) -> Float64:
    """Smallest g of each slice; −1 where it is no smile or a wing is 2 or steeper.

    >>> vogt = Smiles(*(np.array([x]) for x in (-0.041, 0.1331, 0.306, 0.3586, 0.4153)))
    >>> round(float(least_g(vogt)[0]), 8)
    -0.03286357
    """
    rho = np.clip(np.abs(smiles.rho), 0.0, 1.0)
    bottom = smiles.a + smiles.b * smiles.sigma * np.sqrt(1.0 - rho * rho)
    smile = (smiles.b >= 0.0) & (np.abs(smiles.rho) < 1.0) & (smiles.sigma > 0.0)
    smile &= (bottom > 0.0) & (smiles.b * (1.0 + rho) < 2.0)
    found = np.full(len(smiles), -1.0)
    rows = np.flatnonzero(smile)
    if rows.size:
        found[rows] = _least(smiles.at(rows))
    return found


def _least(smiles: Smiles) -> Float64:
    t = np.broadcast_to(np.linspace(-1.0, 1.0, GRID_POINTS), (len(smiles), GRID_POINTS))
    every = np.arange(len(smiles))
    least = np.full(len(smiles), np.inf)
    for _ in range(_ZOOMS + 1):
        g = smiles.g(smiles.around(t, GRID_REACH))
        place = np.argmin(g, axis=1)
        least = np.minimum(least, g[every, place])
        low = t[every, np.maximum(place - 1, 0)][:, None]
        high = t[every, np.minimum(place + 1, t.shape[1] - 1)][:, None]
        t = low + (high - low) * np.linspace(0.0, 1.0, _ZOOM_POINTS)
    return least


def out_of_the_money(k: Float64, w: Float64) -> Float64:
    """Price of the out-of-the-money option with F = 1 and no discount: a put where k < 0.

    >>> round(float(out_of_the_money(np.array(0.0), np.array(0.04))), 9)
    0.079655675
    """
    side = np.where(k < 0.0, -1.0, 1.0)
    v = np.sqrt(w)
    d1 = -k / v + 0.5 * v
    value = side * (normal_cdf(side * d1) - np.exp(k) * normal_cdf(side * (d1 - v)))
    return np.asarray(np.maximum(value, 0.0))


def call(k: Float64, w: Float64) -> Float64:
    """Call price with F = 1 and no discount."""
    return np.asarray(out_of_the_money(k, w) + np.maximum(1.0 - np.exp(k), 0.0))


def butterflies(k: Float64, w: Float64, vol_error: float, years: float) -> int:
    """How many neighbouring triples of one expiry's volatilities make a call price concave.

    `k` rises strictly. An error of `vol_error` in each volatility is forgiven: marks are rounded.

    >>> k = np.array([-0.1, 0.0, 0.1])
    >>> butterflies(k, np.array([0.04, 0.04, 0.04]), 1e-4, 0.25)
    0
    >>> butterflies(k, np.array([0.04, 0.09, 0.04]), 1e-4, 0.25)
    1
    """
    if k.size < 3:
        return 0
    strike, price = np.exp(k), call(k, w)
    vega = _vega(k, w) * np.sqrt(years)
    far, near = strike[2:] - strike[1:-1], strike[1:-1] - strike[:-2]
    left, right = far / (far + near), near / (far + near)
    gain = price[1:-1] - left * price[:-2] - right * price[2:]
    forgiven = vol_error * (vega[1:-1] + left * vega[:-2] + right * vega[2:])
    return int((gain > forgiven + 1e-12).sum())


def calendars(
    near: tuple[Float64, Float64, float], far: tuple[Float64, Float64, float], vol_error: float
) -> int:
    """At how many of the nearer expiry's strikes the farther one has less total variance.

    Each is (k, w, years), k rising; the farther one's w is drawn as lines between its strikes.
    An error of `vol_error` in each volatility is forgiven.

    >>> k = np.array([-0.1, 0.0, 0.1])
    >>> calendars((k, np.full(3, 0.04), 0.1), (k, np.array([0.05, 0.03, 0.05]), 0.2), 1e-4)
    1
    """
    k, w, years = near
    inside = (k >= far[0].min(initial=np.inf)) & (k <= far[0].max(initial=-np.inf))
    if not inside.any():
        return 0
    other = np.interp(k[inside], far[0], far[1])
    forgiven = 2.0 * vol_error * (np.sqrt(w[inside] * years) + np.sqrt(other * far[2]))
    return int((w[inside] - other > forgiven).sum())


def _vega(k: Float64, w: Float64) -> Float64:
    """Derivative of the price with F = 1 by √w: n(d₁)."""
    v = np.sqrt(w)
    return np.asarray(np.exp(-0.5 * (-k / v + 0.5 * v) ** 2) / np.sqrt(2.0 * np.pi))
