"""Markets that may come, and what instruments would be worth in them: paths for exposure.

A path is prices and volatilities of all underlyings at some horizons; where it comes from (a draw,
history, scenarios told) is the caller's. Instruments are revalued by the one kernel of `pricing`;
what has expired is settled at its own expiry, which is a horizon too, and stays what it paid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from solvent.elementary import exp
from solvent.errors import check
from solvent.instruments import Universe
from solvent.market import Snapshot
from solvent.pricing.black import value_cells
from solvent.pricing.grid import grid
from solvent.units import DOLLARS, YEAR_MS, Float64


@dataclass(frozen=True, slots=True, kw_only=True)
class Paths:
    """Markets by horizon.

    Attributes:
        years: [time] from now, rising, the first 0.
        price: [time, path, underlying] price over today's. vol: the same of implied volatilities.
    """

    years: Float64
    price: Float64
    vol: Float64

    def __post_init__(self) -> None:
        check(self.price.shape == self.vol.shape, "a volatility a price", self.vol.shape)
        check(self.price.shape[0] == len(self.years), "a row a horizon", self.price.shape)
        check(self.years[0] == 0.0 and bool((np.diff(self.years) > 0).all()), "horizons rise")
        check(bool((self.price > 0.0).all() and (self.vol >= 0.0).all()), "prices above nothing")


def horizons(snapshot: Snapshot, days: Sequence[float]) -> Float64:
    """Years from now of days asked for, and of every expiry before the last of them."""
    check(len(days) > 0 and min(days) > 0.0, "a horizon is after now", days)
    asked = np.asarray(sorted(days)) / 365.0
    expiry_ms = np.unique(snapshot.universe.expiry_ms)
    expiries = (expiry_ms[expiry_ms > snapshot.as_of_ms] - snapshot.as_of_ms) / YEAR_MS
    return np.unique(np.concatenate([[0.0], asked, expiries[expiries <= asked[-1]]]))


def lognormal(
    *, years: Float64, normals: Float64, sigma: Float64, correlation: Float64, vol_of_vol: float,
    skew: float,
) -> Paths:  # fmt: skip
    """Prices without drift, ln S ~ N(−σ²t/2, σ²t), correlated; volatilities that move against them.

    Args:
        normals: [time − 1, path, 2 · underlying] standard normal draws: prices, then volatilities.
        sigma: [underlying] per √year. correlation: [underlying, underlying].
        vol_of_vol: per √year. skew: correlation of a price's and its volatility's moves, −1 … 1.
    """
    count = len(sigma)
    step = np.diff(years)
    check(normals.shape == (len(step), normals.shape[1], 2 * count), "two draws a price and step")
    check(-1.0 <= skew <= 1.0, "a correlation", skew)
    root = np.linalg.cholesky(correlation)
    shocks = normals[:, :, :count] @ root.T
    own = normals[:, :, count:]
    vols = skew * shocks + np.sqrt(1.0 - skew * skew) * own
    scale = np.sqrt(step)[:, None, None]
    price = np.cumsum(sigma * shocks * scale - 0.5 * sigma**2 * step[:, None, None], axis=0)
    vol = np.cumsum(vol_of_vol * vols * scale - 0.5 * vol_of_vol**2 * step[:, None, None], axis=0)
    now = np.zeros((1, *price.shape[1:]))
    return Paths(
        years=years, price=np.exp(np.concatenate([now, price])),
        vol=np.exp(np.concatenate([now, vol])),
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Revalued:
    """What a market's instruments would be worth.

    Attributes:
        worth: [instrument, time, path] per lot in settlement units. dollars: asset → [time, path]
            per unit, of every asset that has a price.
    """

    universe: Universe
    worth: Float64
    dollars: dict[str, Float64]


def revalue(snapshot: Snapshot, paths: Paths) -> Revalued:
    """Every instrument on every path. What the market has no usable numbers for is refused: a
    portfolio that holds it has no exposure that could be told.

    Memory is instruments × horizons × paths: restrict the market to what is held first
    (`market.moved.restricted`).
    """
    universe = snapshot.universe
    check(bool(snapshot.usable.all()), "every instrument has usable numbers")
    lots = universe.lot_size * universe.quanto_rate
    years = snapshot.years
    dated = universe.expiry_ms > 0
    worth = np.empty((len(universe), *paths.price.shape[:2]))
    for place, at in enumerate(paths.years):
        left = np.maximum(years - at, 0.0)
        worth[:, place] = _at(snapshot, paths, place, left) * lots[:, None]
        if place:
            # Expired before: what it paid stays. The horizon of its expiry settles it.
            gone = dated & (years <= paths.years[place - 1])
            worth[gone, place] = worth[gone, place - 1]
    return Revalued(universe=universe, worth=worth, dollars=_dollars(snapshot, paths))


def _at(snapshot: Snapshot, paths: Paths, place: int, left: Float64) -> Float64:
    """[instrument, path] worth per unit of size with so many years left."""
    universe, terms = snapshot.universe, snapshot.universe.terms
    of = terms.instrument
    price, vol = paths.price[place], paths.vol[place]
    total_vol = snapshot.vol[:, None] * vol.T[universe.underlying] * np.sqrt(left)[:, None]
    growth = np.ascontiguousarray(price.T)
    # A forward's premium over spot runs off with its time; a perpetual has none.
    basis = np.where(universe.expiry_ms > 0, _basis(snapshot, left), 1.0)
    cells = grid(
        forward=(snapshot.forward * basis)[of], strike=terms.strike, asset=terms.asset,
        cash=terms.cash, side=terms.side, scale=exp(-snapshot.rate * left)[of],
        inverse=universe.inverse[of], total_vol=np.ascontiguousarray(total_vol[of]),
        curve=universe.underlying[of].astype(np.int32), growth=growth,
        vol_state=np.arange(growth.shape[1], dtype=np.int32),
    )  # fmt: skip
    values = value_cells(cells)
    if len(values) == len(universe):
        return values
    return np.add.reduceat(values, terms.first[:-1], axis=0)


def _basis(snapshot: Snapshot, left: Float64) -> Float64:
    """[instrument] forward later over forward now, at an unchanged index: (I/F)^(1 − left/T)."""
    years = snapshot.years
    index = snapshot.index_by_instrument
    known = (index > 0.0) & (years > 0.0)
    ratio = np.where(known, index / np.where(snapshot.forward > 0.0, snapshot.forward, 1.0), 1.0)
    gone = np.where(known, 1.0 - left / np.where(years > 0.0, years, 1.0), 0.0)
    return np.asarray(ratio**gone)


def _dollars(snapshot: Snapshot, paths: Paths) -> dict[str, Float64]:
    names = snapshot.universe.underlyings
    found = {name: np.ones(paths.price.shape[:2]) for name in DOLLARS}
    for code, name in enumerate(names):
        price = snapshot.price_of(name)
        check(price is not None, "an underlying has a price", name)
        found[name] = (price or 0.0) * paths.price[:, :, code]
    return found


# ── what accounts would be worth ─────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class Portfolio:
    """What one account holds.

    Attributes:
        row: [position] instrument. lots: signed. entry: worth per lot in settlement units that
            counts as paid: of a future its entry, of an option 0.
        money: asset → units that it owns, a debt negative.
    """

    row: NDArray[np.int64]
    lots: Float64
    entry: Float64
    money: dict[str, float]


def values(revalued: Revalued, held: Portfolio) -> tuple[Float64, Float64]:
    """([underlying, time, path] dollars of an account's positions, [time, path] of its money).

    Money in a coin follows the coin's price.
    """
    universe = revalued.universe
    shape = revalued.worth.shape[1:]
    by_underlying = np.zeros((len(universe.underlyings), *shape))
    for row, lots, entry in zip(held.row, held.lots, held.entry, strict=True):
        asset = universe.settlements[universe.settlement[row]]
        gain = lots * (revalued.worth[row] - entry)
        by_underlying[universe.underlying[row]] += gain * revalued.dollars[asset]
    money = np.zeros(shape)
    for asset, amount in held.money.items():
        check(asset in revalued.dollars, "money has a price", asset)
        money += amount * revalued.dollars[asset]
    return by_underlying, money
