"""What a lot gains or loses in every scenario, in whole quanta: the rows that accounts add up.

Everything is told in one numeraire (the venue's dollars at the index of the moment), inverse
contracts too: V coin are V·S dollars. With F = ratio·S the worth of a lot under a scenario that
moves the price by k is, with B the undiscounted Black value at F·(1 + k) and the scenario's vol,

    linear   size · B             inverse   size · B / (ratio · (1 + k))

and both are convex in S for options and straight for futures, at a given vol (an inverse one as
the perspective S·f(1/S) of a function that is convex in 1/S). `solvency.bounds` rests on that.

A row is padded scenario columns (PnL against the unmoved mark), then `ADDED` additive columns, the
first of which is the mark. Rounding is half-even, once a cell.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from solvent.elementary import normal_cdf
from solvent.errors import check
from solvent.instruments import Universe
from solvent.pricing.grid import Grid, grid
from solvent.units import MICRO, YEAR_MS, Float64

Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]

SCENARIOS_MAX: Final = 64
"""What vector registers hold at once; rulebooks with more are margined by `margining.assess`."""
LANES: Final = 8
ADDED: Final = LANES
MARK: Final = 0
DELTA: Final = 1
"""Dollars that a lot gains when the price rises by its whole, S·dV/dS."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a contract is; axis: instrument.

    Attributes:
        node: its netting node, which is its underlying.
        strike, asset, cash, side: B = asset·F·N(side·d₁) − cash·N(side·d₂); 0 a strike that a
            future has.
        inverse: pays coin. steady: collateral in coin, which no scenario moves.
        size: quanta of the numeraire a lot is worth per unit of B.
        expiry_ms: 0 for none.
    """

    node: Int32
    strike: Float64
    asset: Float64
    cash: Float64
    side: Float64
    inverse: Bool
    steady: Bool
    size: Float64
    expiry_ms: Int64

    def __len__(self) -> int:
        return len(self.node)

    @property
    def bounded(self) -> Bool:
        """[instrument] whether its worth is convex in the price, so that it can be bounded.

        A digital, or any payoff with a jump, is not.
        """
        option = self.strike > 0.0
        vanilla = (self.cash == self.asset * self.strike) & (self.asset * self.side > 0.0)
        return np.asarray(~option | vanilla)


def terms_of(universe: Universe) -> Terms:
    """The terms of a universe's instruments, in millionths of a dollar per lot.

    What has several terms, or pays by a foreign rate, is told as worth nothing: whoever reads
    these calls it unusable (see `single`).
    """
    table = universe.terms
    term = table.first[:-1]
    scale = np.where(single(universe), universe.lot_size * MICRO, 0.0)
    return Terms(
        node=universe.underlying, strike=table.strike[term], asset=table.asset[term],
        cash=table.cash[term], side=table.side[term], inverse=universe.inverse,
        steady=np.zeros(len(universe), dtype=bool), size=scale, expiry_ms=universe.expiry_ms,
    )  # fmt: skip


def single(universe: Universe) -> Bool:
    """[instrument] whether `Terms` can tell what it is: one term, paid at no foreign rate."""
    counts = np.diff(universe.terms.first)
    return np.asarray((counts == 1) & (universe.quanto_rate == 1.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """Prices at one moment. price: [node] dollars. ratio: [instrument] forward over price.

    vol: [instrument] per √year. usable: [instrument] whether its numbers can be used.
    """

    as_of_ms: int
    price: Float64
    ratio: Float64
    vol: Float64
    usable: Bool


@dataclass(frozen=True, kw_only=True)
class Scenes:
    """Scenarios of every underlying: a relative move and a factor on volatility; axis: scenario.

    Maintenance reads the first `maintenance` of them, initial margin all.
    """

    move: Float64
    vol_factor: Float64
    maintenance: int

    def __post_init__(self) -> None:
        count = len(self.move)
        check(1 <= count <= SCENARIOS_MAX, "scenarios fit the registers", count)
        check(1 <= self.maintenance <= count, "maintenance reads some of them", self.maintenance)
        whole = self.maintenance == count or self.maintenance % LANES == 0
        check(whole, "maintenance reads all scenarios or whole vectors", self.maintenance)
        check(bool((self.move > -1.0).all()), "a move leaves a price")
        check(bool((self.vol_factor >= 0.0).all()), "a factor on vol is not negative")

    def __len__(self) -> int:
        return len(self.move)

    @property
    def width(self) -> int:
        """Vectors that the scenarios fill."""
        return -(-len(self) // LANES)

    @property
    def narrow(self) -> int:
        """Vectors that maintenance reads: all, or those that its scenarios fill exactly."""
        return self.width if self.maintenance == len(self) else self.maintenance // LANES

    @property
    def columns(self) -> int:
        """Columns of a row, padding and additive ones included."""
        return self.width * LANES + ADDED

    @cached_property
    def vol_states(self) -> tuple[Float64, Int32]:
        """Distinct factors on volatility, and each scenario's, then that of no move."""
        factors, state = np.unique(np.append(self.vol_factor, 1.0), return_inverse=True)
        return factors, state.ravel().astype(np.int32)

    @cached_property
    def growth(self) -> Float64:
        """1 + move by scenario, and 1 for no move."""
        return np.append(1.0 + self.move, 1.0)


def cells_of(
    terms: Terms, market: Market, scenes: Scenes, which: Int64, *, shift: float = 0.0,
    years: Float64 | None = None, vol: Float64 | None = None,
) -> Grid:  # fmt: skip
    """The grid of some instruments: every scenario, then no move; prices shifted by a share."""
    ready = market.usable[which]
    forward = market.price[terms.node[which]] * market.ratio[which] * (1.0 + shift)
    vol = market.vol[which] if vol is None else vol
    years = years_of(terms, market.as_of_ms, which) if years is None else years
    factors, state = scenes.vol_states
    deviation = np.where(ready, vol, 0.0) * np.sqrt(years)
    size = len(which)
    return grid(
        forward=np.where(ready, forward, 1.0), strike=terms.strike[which],
        asset=terms.asset[which], cash=terms.cash[which], side=terms.side[which],
        scale=np.ones(size), inverse=np.zeros(size, dtype=bool),
        total_vol=deviation[:, None] * factors, curve=np.zeros(size, dtype=np.int32),
        growth=scenes.growth[None, :], vol_state=state,
    )  # fmt: skip


def years_of(terms: Terms, at_ms: int, which: Int64) -> Float64:
    """Time to expiry; 0 without one and after it."""
    left = np.maximum(terms.expiry_ms[which] - at_ms, 0) / YEAR_MS
    return np.where(terms.expiry_ms[which] > 0, left, 0.0)


def per_value(terms: Terms, market: Market, scenes: Scenes, which: Int64) -> Float64:
    """[instrument, scenario and no move] quanta of a lot per unit of B; one column where no
    contract is inverse."""
    size, inverse = terms.size[which, None], terms.inverse[which, None]
    if not inverse.any():
        return size
    safe = np.where(market.usable[which], market.ratio[which], 1.0)[:, None]
    return np.where(inverse, size / (safe * scenes.growth), size)


def aligned(*shape: int) -> Float64:
    """Zeros that start on a cache line: a vector load that crosses one costs two."""
    size = int(np.prod(shape))
    raw = np.zeros(size + LANES)
    offset = (-raw.ctypes.data // 8) % LANES
    return raw[offset : offset + size].reshape(shape)


def exact_rows(
    terms: Terms, market: Market, scenes: Scenes, which: Int64
) -> tuple[Float64, Float64]:
    """Rows of some instruments, and the largest number in each; infinite where one has none.

    An instrument that is not usable, or whose numbers leave the exact range, has a row of zeros.
    """
    from solvent.pricing import compiled as pricing
    from solvent.solvency import compiled

    cells = cells_of(terms, market, scenes, which)
    worth = pricing.value_cells(cells)
    unit = per_value(terms, market, scenes, which)
    rows, largest = aligned(len(which), scenes.columns), np.empty(len(which))
    compiled.quantised_rows(
        worth, unit, terms.steady[which], market.usable[which],
        _delta(terms, market, which, cells), scenes.width * LANES, rows, largest,
    )  # fmt: skip
    return rows, largest


def _delta(terms: Terms, market: Market, which: Int64, cells: Grid) -> Float64:
    """S·dV/dS at no move: the asset leg. That V coin are V·S dollars gives an inverse contract
    back what its division by S takes."""
    total = cells.total_vol[:, cells.vol_state[-1]]
    d1 = np.clip(cells.log_moneyness / total + 0.5 * total, -38.0, 38.0)
    leg = cells.asset * cells.forward * normal_cdf(cells.side * d1)
    ratio = np.where(market.usable[which], market.ratio[which], 1.0)
    return leg * np.where(terms.inverse[which], terms.size[which] / ratio, terms.size[which])


def changed_of(before: Float64, after: Float64) -> Bool:
    """[row] whether any of its whole numbers changed: recomputation stops where none did."""
    return np.asarray((before != after).any(axis=1))
