"""A surface's volatility at any expiry, not only at those listed; without arbitrage in between.

At a listed expiry it is the surface's own. Elsewhere, with λ ≤ 1 and F(k) = λ²·w(k/λ) a slice's
smile drawn together,

- before the first expiry F of the first, λ² = t/t₁;
- between two the prices (1 − β)·C(w₁) + β·C(max(w₁, F₂)), where β = u^⅓ for the part u of the way
  and λ is such that at-the-money total variance is a line in t;
- beyond the last its price law times a further independent, discrete move of mean 1, whose
  variance goes on at the rate of that at the money.

None has arbitrage. λ ≤ 1 only raises Durrleman's g, and F rises with λ since k·w′ ≤ 2w wherever
g ≥ 0 (Fukasawa 2012). A mean of convex prices is convex, and rises in t as β, F₂ and C(F₂) − C(w₁)
do. The last is a martingale's next step. λ rises in t while at-the-money variance is at most
`_SCALED_MAX`; above that the mean is of C₁ and C₂ (Gatheral, Jacquier 2014, lemma 5.1). Where no
float64 price is left, so far in a wing, w is a line in t.
"""

from __future__ import annotations

import numpy as np
from numpy.polynomial.hermite_e import hermegauss
from numpy.typing import ArrayLike
from scipy.special import erf, erfinv

from solvent.errors import check
from solvent.market.surface import Rows, Surface
from solvent.pricing.arbitrage import out_of_the_money
from solvent.pricing.black import floats_alike
from solvent.pricing.implied import implied_vol
from solvent.units import Float64

_PRICE_MIN = 1e-280
_SAME = 1e-12
_EARLY = 1.0 / 3.0
_SCALED_MAX = 4.0
_NODES, _WEIGHTS = hermegauss(24)


def vol_at(surface: Surface, book: tuple[str, str], *, k: ArrayLike, years: ArrayLike) -> Float64:
    """σ per √year at k = log(K/F) and time to expiry; NaN where the book has no known slice.

    The forward of an expiry that is not listed is the caller's to know. Years are above 0.

    >>> from solvent.market.surface import Smiles, flat_surface
    >>> flat = Smiles(*(np.array(x) for x in
    ...     ([0.04, 0.08], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [1.0, 1.0])))
    >>> surface = flat_surface(years=[0.25, 0.5], smiles=flat)
    >>> vol_at(surface, ("BTC", "BTC"), k=0.1, years=[0.1, 0.25, 0.3, 0.5, 2.0]).round(3).tolist()
    [0.4, 0.4, 0.4, 0.4, 0.4]
    """
    places, times = floats_alike(k, years)
    check(bool((times > 0.0).all()), "expiry lies ahead")
    rows = surface.of(book)
    if not rows.size:
        return np.full(places.shape, np.nan)
    shape, places, times = places.shape, places.ravel(), times.ravel()
    listed = surface.years[rows]
    ahead = np.searchsorted(listed * (1.0 + _SAME), times)
    w = np.empty(places.shape)
    here = ahead < rows.size
    here[here] = np.abs(listed[ahead[here]] / times[here] - 1.0) <= _SAME
    before = (ahead == 0) & ~here
    beyond = ahead == rows.size
    between = ~(here | before | beyond)
    w[here] = surface.total_variance(rows[ahead[here]], places[here])
    scale = np.sqrt(times[before] / listed[0])
    w[before] = scale**2 * surface.total_variance(rows[0], places[before] / scale)
    w[between] = _between(surface, rows, ahead[between], places[between], times[between])
    w[beyond] = _beyond(surface, rows[-1], places[beyond], times[beyond])
    return np.asarray(np.sqrt(w / times)).reshape(shape)


def _between(surface: Surface, rows: Rows, ahead: Rows, k: Float64, years: Float64) -> Float64:
    """Total variance between two expiries, by a mean of prices."""
    near, far = rows[ahead - 1], rows[ahead]
    part = (years - surface.years[near]) / (surface.years[far] - surface.years[near])
    w_near, w_far = surface.total_variance(near, k), surface.total_variance(far, k)
    low, high = surface.total_variance(near, 0.0), surface.total_variance(far, 0.0)
    first, last = erf(np.sqrt(low / 8.0)), erf(np.sqrt(high / 8.0))  # prices at the money
    rise = erf(np.sqrt(((1.0 - part) * low + part * high) / 8.0)) - first
    beta = part**_EARLY
    scale = np.minimum(np.sqrt(8.0 / high) * erfinv(np.minimum(first + rise / beta, last)), 1.0)
    drawn = scale**2 * surface.total_variance(far, k / scale)
    plain = high > _SCALED_MAX
    beta[plain] = np.divide(rise, last - first, out=part.copy(), where=last - first > 1e-14)[plain]
    upper = np.maximum(w_near, np.where(plain, w_far, drawn))
    price = (1.0 - beta) * out_of_the_money(k, w_near) + beta * out_of_the_money(k, upper)
    return _variance(k, price, otherwise=(1.0 - part) * w_near + part * w_far)


def _beyond(surface: Surface, row: int, k: Float64, years: Float64) -> Float64:
    """Total variance after the last expiry: its price law times an independent move of mean 1."""
    listed = float(surface.years[row])
    rate = float(surface.total_variance(row, 0.0)) / listed
    further = rate * (years - listed)
    moves = np.sqrt(further)[:, None] * _NODES
    odds = _WEIGHTS / _WEIGHTS.sum()
    moves = moves - np.log(np.exp(moves) @ odds)[:, None]  # e^move has mean 1
    place = k[:, None] - moves
    w = surface.total_variance(row, place)
    # What is out of the money at k may be in it after a move.
    intrinsic = np.where(k[:, None] < 0.0, np.exp(place) - 1.0, 1.0 - np.exp(place))
    value = out_of_the_money(place, w) + np.where(
        (k[:, None] < 0.0) == (place < 0.0), 0.0, np.maximum(intrinsic, 0.0)
    )
    price = (np.exp(moves) * value) @ odds
    own = surface.total_variance(np.full(k.shape, row), k)
    return _variance(k, price, otherwise=own + further)


def _variance(k: Float64, price: Float64, *, otherwise: Float64) -> Float64:
    """Total variance that gives an out-of-the-money price."""
    told = price > _PRICE_MIN
    vol = implied_vol(
        price=price,
        forward=1.0,
        strike=np.exp(k),
        years=1.0,
        side=np.where(k < 0.0, -1.0, 1.0),
    )
    return np.where(told & (vol > 0.0), vol * vol, otherwise)
