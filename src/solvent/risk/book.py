"""Positions of many accounts: whole lots in compressed rows, canonical in order and netted.

An account's positions in one instrument are one row. The order is account, then instrument, so
that a book's arrays depend on what is held and not on how it was told.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from solvent.errors import check
from solvent.instruments import Universe, frozen
from solvent.limits import LOTS_MAX, POSITIONS_MAX
from solvent.units import Float64, quanta_per_unit, quantise

Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Book:
    """Accounts × positions.

    Attributes:
        accounts: names, in the order of first appearance.
        first: [account + 1]; `first[a]:first[a + 1]` are the positions of account a.
        instrument: [position] row in the universe, ascending within an account; in hedge mode
            the short and then the long of one instrument.
        lots: [position] whole lots, long positive: integers inside float64.
        entry_lots: [position] the part of `lots` whose entry price is known.
        entry_value: [position] its cost, in quanta of the settlement asset, half-even for each
            row that was told.
    """

    accounts: Sequence[str]
    first: Int64
    instrument: Int32
    lots: Float64
    entry_lots: Float64
    entry_value: Float64

    def __len__(self) -> int:
        return len(self.accounts)

    @property
    def positions(self) -> int:
        """How many positions all accounts hold."""
        return len(self.instrument)

    @property
    def account(self) -> Int32:
        """[position] → account."""
        return np.repeat(np.arange(len(self), dtype=np.int32), np.diff(self.first))

    def __repr__(self) -> str:
        return f"Book({len(self):,} accounts, {self.positions:,} positions)"


def book(
    *,
    accounts: Sequence[str],
    account: Int32,
    instrument: Int32,
    lots: Float64,
    universe: Universe,
    entry_price: Float64 | None = None,
    apart: NDArray[np.bool_] | None = None,
) -> Book:
    """Net and sort rows (one a position told) into a book.

    `apart` rows are of hedge mode: long and short of an instrument are netted each for itself.
    `entry_price` is in the instrument's quoting unit, NaN where it is not known. Rows that net to
    nothing vanish, unless they leave a realised difference of entry values.

    >>> from solvent.instruments import Universe
    >>> b = book(accounts=["a"], account=np.zeros(3, np.int32), lots=np.array([3.0, -1.0, 2.0]),
    ...          instrument=np.array([1, 0, 1], np.int32), universe=Universe([]))
    >>> b.instrument.tolist(), b.lots.tolist()
    ([0, 1], [-1.0, 5.0])
    """
    check(len(lots) <= POSITIONS_MAX, "positions within their limit", len(lots))
    check(bool((lots == np.rint(lots)).all()), "positions are whole lots")
    check(bool((np.abs(lots) <= LOTS_MAX).all()), "a position within its limit")
    known = np.zeros(len(lots), dtype=bool) if entry_price is None else np.isfinite(entry_price)
    value = np.zeros(len(lots))
    if entry_price is not None and known.any():
        value[known] = entry_quanta(universe, instrument[known], lots[known], entry_price[known])
    leg = np.zeros(len(lots)) if apart is None else np.where(apart, np.sign(lots), 0.0)
    order = np.lexsort((leg, instrument, account))
    account, instrument, lots, leg = account[order], instrument[order], lots[order], leg[order]
    new = np.ones(len(lots), dtype=bool)
    same = (account[1:] == account[:-1]) & (instrument[1:] == instrument[:-1])
    new[1:] = ~(same & (leg[1:] == leg[:-1]))
    starts = np.flatnonzero(new)

    def net(column: Float64) -> Float64:
        return np.add.reduceat(column, starts) if len(starts) else np.zeros(0)

    netted, entry_lots, entry_value = (
        net(lots),
        net((lots * 0.0 + known[order]) * lots),
        net(value[order]),
    )
    held = (netted != 0) | (entry_value != 0)
    account_held = account[starts][held]
    first = np.searchsorted(account_held, np.arange(len(accounts) + 1)).astype(np.int64)
    return Book(
        accounts=accounts,
        first=frozen(first),
        instrument=frozen(instrument[starts][held].astype(np.int32)),
        lots=frozen(netted[held]),
        entry_lots=frozen(entry_lots[held]),
        entry_value=frozen(entry_value[held]),
    )


def entry_quanta(universe: Universe, instrument: Int32, lots: Float64, price: Float64) -> Float64:
    """What positions cost at a price, in whole quanta of their settlement asset."""
    return quantise(entry_cost(universe, instrument, lots, price), quanta_per_unit=1.0)


def entry_cost(universe: Universe, instrument: Int32, lots: Float64, price: Float64) -> Float64:
    """The same before rounding.

    Per unit of size a linear future costs its price, an inverse one −1/price coin, an option its
    quoted premium.
    """
    inverse_future = universe.inverse[instrument] & ~universe.is_option[instrument]
    unit = np.where(inverse_future, -1.0 / price, price)
    quanta = np.array([quanta_per_unit(asset) for asset in universe.settlements])
    per_lot = unit * universe.lot_size[instrument] * universe.quanto_rate[instrument]
    return np.asarray(lots * per_lot * quanta[universe.settlement[instrument]])
