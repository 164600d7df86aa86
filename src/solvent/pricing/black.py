"""European prices on a forward: Black-76, its inverse (coin) form, digitals, and spot forms.

Everything is broadcast like numpy's own functions and goes through the one kernel of the package.
`side` is +1 for a call (or *above*) and −1 for a put (or *below*). Prices are in the quote
currency unless a name says coin. σ is per √year, T in years; σ = 0, T = 0 and K = 0 give limits.
"""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import ArrayLike

from solvent.elementary import exp
from solvent.pricing import grid as readable
from solvent.pricing.grid import Grid
from solvent.units import Float64

COMPILE_CELLS_MIN = 1 << 21
"""Below this many cells numpy is done before numba is imported."""


def value_cells(cells: Grid) -> Float64:
    """Values by [term, scenario], compiled where that pays; the bits do not depend on the way."""
    terms, scenarios = cells.shape
    if terms * scenarios < COMPILE_CELLS_MIN and "solvent.pricing.compiled" not in sys.modules:
        return readable.value_cells(cells)
    from solvent.pricing import compiled

    return compiled.value_cells(cells)


def black76(
    *,
    forward: ArrayLike,
    strike: ArrayLike,
    years: ArrayLike,
    vol: ArrayLike,
    side: ArrayLike,
    discount: ArrayLike = 1.0,
) -> Float64:
    """Black (1976): D·side·(F·N(side·d₁) − K·N(side·d₂)).

    >>> price = black76(forward=100.0, strike=100.0, years=1.0, vol=0.2, side=1.0)
    >>> round(float(price), 9)
    7.965567455
    """
    side = np.asarray(side, dtype=np.float64)
    return _value(forward, strike, years, vol, side, asset=side, cash=None, scale=discount)


def inverse_black76(
    *, forward: ArrayLike, strike: ArrayLike, years: ArrayLike, vol: ArrayLike, side: ArrayLike
) -> Float64:
    """An option that pays in the base coin, in coin per coin: Black-76 divided by the forward.

    Put-call parity is C − P = 1 − K/F.

    >>> coin = inverse_black76(forward=50_000.0, strike=60_000.0, years=0.25, vol=0.6, side=1.0)
    >>> round(float(coin), 8)
    0.05440563
    """
    side = np.asarray(side, dtype=np.float64)
    return _value(forward, strike, years, vol, side, asset=side, cash=None, scale=1.0, inverse=True)


def digital(
    *,
    forward: ArrayLike,
    strike: ArrayLike,
    years: ArrayLike,
    vol: ArrayLike,
    side: ArrayLike,
    discount: ArrayLike = 1.0,
) -> Float64:
    """Pays 1 of the quote currency when the price ends beyond the strike: D·N(side·d₂).

    >>> round(float(digital(forward=100.0, strike=80.0, years=0.75, vol=0.35, side=-1.0)), 6)
    0.279399
    """
    return _value(forward, strike, years, vol, side, asset=0.0, cash=-1.0, scale=discount)


def asset_or_nothing(
    *,
    forward: ArrayLike,
    strike: ArrayLike,
    years: ArrayLike,
    vol: ArrayLike,
    side: ArrayLike,
    discount: ArrayLike = 1.0,
) -> Float64:
    """Pays the price itself when it ends beyond the strike: D·F·N(side·d₁).

    >>> price = asset_or_nothing(forward=70.0, strike=65.0, years=0.5, vol=0.27, side=1.0)
    >>> round(float(price), 6)
    47.99716
    """
    return _value(forward, strike, years, vol, side, asset=1.0, cash=0.0, scale=discount)


def black_scholes(
    *,
    spot: ArrayLike,
    strike: ArrayLike,
    years: ArrayLike,
    vol: ArrayLike,
    side: ArrayLike,
    rate: ArrayLike = 0.0,
    dividend: ArrayLike = 0.0,
) -> Float64:
    """Black-Scholes-Merton with continuous rates: Black-76 on F = S·e^((r − q)T).

    >>> price = black_scholes(spot=60.0, strike=65.0, years=0.25, vol=0.3, side=1.0, rate=0.08)
    >>> round(float(price), 4)
    2.1334
    """
    spot, years = np.asarray(spot, dtype=np.float64), np.asarray(years, dtype=np.float64)
    rate, dividend = np.asarray(rate, dtype=np.float64), np.asarray(dividend, dtype=np.float64)
    return black76(
        forward=spot * exp((rate - dividend) * years),
        strike=strike,
        years=years,
        vol=vol,
        side=side,
        discount=exp(-rate * years),
    )


def floats_alike(*numbers: ArrayLike) -> tuple[Float64, ...]:
    """The arguments as float64 arrays broadcast to one shape."""
    return np.broadcast_arrays(*(np.asarray(x, dtype=np.float64) for x in numbers))


def _value(
    forward: ArrayLike,
    strike: ArrayLike,
    years: ArrayLike,
    vol: ArrayLike,
    side: ArrayLike,
    *,
    asset: ArrayLike,
    cash: ArrayLike | None,
    scale: ArrayLike,
    inverse: bool = False,
) -> Float64:
    f, k, t, v, w, a, d = np.broadcast_arrays(
        *(
            np.asarray(x, dtype=np.float64)
            for x in (forward, strike, years, vol, side, asset, scale)
        )
    )
    with np.errstate(invalid="ignore", over="ignore"):
        total_vol = v * np.sqrt(t)  # what has no σ√T is NaN or infinite, and refused by `grid`
    c = w * k if cash is None else np.broadcast_to(np.asarray(cash, dtype=np.float64), f.shape)
    one_term_a_row = readable.grid(
        forward=f.ravel(),
        strike=k.ravel(),
        asset=a.ravel(),
        cash=c.ravel(),
        side=w.ravel(),
        scale=d.ravel(),
        inverse=np.full(f.size, inverse),
        total_vol=total_vol.reshape(-1, 1),
        curve=np.zeros(f.size, dtype=np.int32),
        growth=np.ones((1, 1)),
        vol_state=np.zeros(1, dtype=np.int32),
    )
    return value_cells(one_term_a_row).reshape(f.shape)
