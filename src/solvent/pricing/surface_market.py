"""A fitted surface in a market: volatilities where none are told, bands of marks, moves.

When prices move, what stays?

| sticky | what stays | σ after a move of the forward to F′ |
|---|---|---|
| strike | each strike's volatility | σ(log K/F) |
| moneyness | the smile in log(K/F) | σ(log K/F′) |
| delta | the smile in delta | v·σ(log(K/F′)/v) when all volatilities are multiplied by v |

With v = 1 sticky delta is sticky moneyness, since a delta depends on K/F alone. The last two keep
the surface free of arbitrage while v = 1; sticky strike does so for small moves only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike

from solvent.errors import check
from solvent.instruments import Kind, Universe, frozen
from solvent.limits import VOL_MAX
from solvent.market.moved import moved
from solvent.market.snapshot import Flag, Snapshot
from solvent.market.surface import Rows, Surface
from solvent.pricing.black import black76
from solvent.units import Float64

BAND_ERRORS = 3.0
"""A band is so many of its slice's errors wide, either side."""
BAND_VOL_MIN = 0.02
"""And this much volatility at least."""


class Sticky(StrEnum):
    """What stays when the forward moves."""

    STRIKE = "strike"
    MONEYNESS = "moneyness"
    DELTA = "delta"


def vol_after(
    surface: Surface,
    rows: ArrayLike,
    *,
    strike: ArrayLike,
    move: ArrayLike = 1.0,
    vol_factor: ArrayLike = 1.0,
    sticky: Sticky = Sticky.MONEYNESS,
) -> Float64:
    """σ at strikes of slices after forwards are multiplied by `move`; NaN for UNKNOWN slices.

    >>> from solvent.market.surface import Smiles, flat_surface
    >>> skewed = Smiles(*(np.array([x]) for x in (0.01, 0.1, -0.5, 0.0, 0.1)))
    >>> surface = flat_surface(years=[0.25], smiles=skewed, forward=100.0)
    >>> [round(float(vol_after(surface, 0, strike=90.0, move=0.9, sticky=s)), 4) for s in Sticky]
    [0.3452, 0.2828, 0.2828]
    """
    row = np.asarray(rows, dtype=np.intp)
    price, factor, v = (np.asarray(x, dtype=np.float64) for x in (strike, move, vol_factor))
    check(bool((price > 0.0).all() and (factor > 0.0).all() and (v > 0.0).all()), "factors > 0")
    k = np.log(price / surface.forward[row])
    if sticky is not Sticky.STRIKE:
        k = k - np.log(factor)
    if sticky is Sticky.DELTA:
        k = k / v
    return np.asarray(v * surface.vol(row, k))


def slices_of(surface: Surface, universe: Universe) -> Rows:
    """The slice of each option; −1 for what is none, or where the slice is UNKNOWN or absent."""
    found = np.full(len(universe), -1, dtype=np.intp)
    at = {
        (surface.books[book], int(expiry)): row
        for row, (book, expiry) in enumerate(zip(surface.book, surface.expiry_ms, strict=True))
        if surface.known[row]
    }
    for row in np.flatnonzero(universe.kind == Kind.OPTION):
        book = (
            universe.underlyings[universe.underlying[row]],
            universe.settlements[universe.settlement[row]],
        )
        found[row] = at.get((book, int(universe.expiry_ms[row])), -1)
    return found


def fill(snapshot: Snapshot, surface: Surface) -> Snapshot:
    """The market with the surface's volatility for each option that has none of its own.

    Such a row is flagged VOL_FITTED instead of VOL_MISSING, and its mark MARK_DERIVED where the
    source gave none. An option whose expiry is UNKNOWN stays VOL_MISSING: it cannot be margined.
    """
    check(surface.as_of_ms == snapshot.as_of_ms, "one moment", surface.as_of_ms)
    universe = snapshot.universe
    rows = slices_of(surface, universe)
    blank = ((snapshot.flags & Flag.VOL_MISSING) != 0) & (rows >= 0)
    blank &= (snapshot.forward > 0.0) & (universe.strike > 0.0)
    if not blank.any():
        return snapshot
    mine = np.flatnonzero(blank)
    k = np.log(universe.strike[mine] / snapshot.forward[mine])
    vol, flags, mark = snapshot.vol.copy(), snapshot.flags.copy(), snapshot.mark.copy()
    vol[mine] = np.minimum(surface.vol(rows[mine], k), VOL_MAX)
    flags[mine] = (flags[mine] & ~np.uint16(Flag.VOL_MISSING)) | np.uint16(Flag.VOL_FITTED)
    silent = mine[(flags[mine] & np.uint16(Flag.MARK_DERIVED)) != 0]
    mark[silent] = model_price(snapshot, silent, vol[silent])
    return replace(snapshot, vol=frozen(vol), flags=frozen(flags), mark=frozen(mark))


@dataclass(frozen=True, slots=True, kw_only=True)
class Bands:
    """Between what prices an option's mark is believed; axis: instrument, 0 where none is known.

    In the instrument's unit: coin per coin for an inverse option.
    """

    low: Float64
    model: Float64
    high: Float64

    def outside(self, snapshot: Snapshot) -> Rows:
        """Options whose mark lies outside their band."""
        told = (snapshot.flags & Flag.MARK_DERIVED) == 0
        off = (snapshot.mark < self.low) | (snapshot.mark > self.high)
        return np.flatnonzero(off & told & (self.high > 0.0))


def mark_bands(snapshot: Snapshot, surface: Surface) -> Bands:
    """Model prices of options, and those at a volatility lower and higher by the band.

    The band is `BAND_ERRORS` times the slice's error of fit, and `BAND_VOL_MIN` at least; a tick
    of the price is added either side, since far from the money volatilities are all rounding.
    """
    universe = snapshot.universe
    rows = slices_of(surface, universe)
    mine = np.flatnonzero((rows >= 0) & (snapshot.forward > 0.0) & (universe.strike > 0.0))
    k = np.log(universe.strike[mine] / snapshot.forward[mine])
    vol = surface.vol(rows[mine], k)
    width = np.maximum(BAND_ERRORS * surface.error[rows[mine]], BAND_VOL_MIN)
    columns = []
    for side in (-1.0, 0.0, 1.0):
        prices = np.zeros(len(universe))
        value = model_price(snapshot, mine, np.clip(vol + side * width, 0.0, VOL_MAX))
        prices[mine] = np.maximum(value + side * universe.tick_size[mine], 0.0)
        columns.append(frozen(prices))
    low, model, high = columns
    return Bands(low=low, model=model, high=high)


def moved_with(
    snapshot: Snapshot,
    surface: Surface,
    factors: Mapping[str, float],
    *,
    vol_factor: float = 1.0,
    sticky: Sticky = Sticky.MONEYNESS,
) -> Snapshot:
    """`market.moved` with volatilities that move by the surface.

    Each option keeps how its own volatility relates to the surface's. One whose expiry is UNKNOWN
    loses its volatility, where that would have moved.
    """
    check(surface.as_of_ms == snapshot.as_of_ms, "one moment", surface.as_of_ms)
    after = moved(snapshot, factors)
    universe = snapshot.universe
    by_code = np.array([factors.get(name, 1.0) for name in universe.underlyings])
    move = by_code[universe.underlying]
    options = (universe.kind == Kind.OPTION) & (snapshot.vol > 0.0)
    options &= (move != 1.0) | (vol_factor != 1.0)
    rows = slices_of(surface, universe)
    told = np.flatnonzero(options & (rows >= 0) & (snapshot.forward > 0.0))
    lost = np.flatnonzero(options & (rows < 0))
    strike = universe.strike[told]
    before = surface.vol(rows[told], np.log(strike / surface.forward[rows[told]]))
    later = vol_after(
        surface, rows[told], strike=strike, move=move[told], vol_factor=vol_factor, sticky=sticky
    )
    vol, flags = after.vol.copy(), after.flags.copy()
    vol[told] = np.minimum(vol[told] * later / before, VOL_MAX)
    flags[told] |= np.uint16(Flag.MARK_DERIVED)
    if sticky is Sticky.STRIKE:
        vol[lost] = np.minimum(vol[lost] * vol_factor, VOL_MAX)
        flags[lost] |= np.uint16(Flag.MARK_DERIVED)
    else:
        vol[lost] = 0.0
        flags[lost] |= np.uint16(Flag.VOL_MISSING)
    return replace(after, vol=frozen(vol), flags=frozen(flags))


def model_price(snapshot: Snapshot, rows: Rows, vol: Float64) -> Float64:
    """Prices of options at volatilities (a year's, a fraction), in each one's own unit."""
    universe, forward, years = snapshot.universe, snapshot.forward[rows], snapshot.years[rows]
    value = black76(
        forward=forward,
        strike=universe.strike[rows],
        years=years,
        vol=vol,
        side=np.where(universe.is_call[rows], 1.0, -1.0),
        discount=np.exp(-snapshot.rate[rows] * years),
    )
    return np.where(universe.inverse[rows], value / forward, value)
