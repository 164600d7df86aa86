"""How positions are held: which stand alone, and what their holders chose for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solvent.errors import RulebookError
from solvent.margining.levels.book import LevelsPlan, Orders
from solvent.risk import Book

Int64 = NDArray[np.int64]
Pair = tuple[str, str]
"""Account and symbol."""
_ALONE = "isolated"
"""The input by which a rulebook knows an isolated pool, where it has one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Modes:
    """Pairs that are isolated or in hedge mode, and numbers by input name and pair.

    In hedge mode the long and the short of an instrument are held apart.
    """

    isolated: frozenset[Pair]
    hedged: frozenset[Pair]
    values: Mapping[str, Mapping[Pair, float]]

    @property
    def accounts(self) -> frozenset[str]:
        """Every account that is named."""
        told = (pair for one in self.values.values() for pair in one)
        pairs = {*self.isolated, *self.hedged, *told}
        return frozenset(account for account, _ in pairs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Apart:
    """Pools of positions and orders, and the inputs that modes bring."""

    pools: Int64
    orders: Orders
    inputs: Mapping[str, Mapping[Any, float]]


def held_apart(modes: Modes, book: Book, orders: Orders, plan: LevelsPlan) -> Apart:
    """Put isolated positions, and orders in their contracts, into pools of their own.

    Numbers go to the rulebook's inputs of their names, at the levels of pools and contracts that
    have them. Raises RulebookError for a rulebook that holds nothing apart, for an input that it
    does not have, and for an account that is not in the book.
    """
    text = plan.rulebook.text
    if modes.isolated and "isolated_pools" not in text.properties:
        raise RulebookError(f"{text.name} holds no position apart: every mode must be cross")
    strangers = modes.accounts - set(book.accounts)
    if strangers:
        raise RulebookError(f"modes of account {min(strangers)!r}, which holds nothing")
    symbols = plan.arrays.universe.symbols
    codes = {symbol: row for row, symbol in enumerate(symbols)}
    accounts = {name: code for code, name in enumerate(book.accounts)}
    isolated = np.array(
        [accounts[account] * len(symbols) + codes[symbol] for account, symbol in modes.isolated],
        dtype=np.int64,
    )

    def pool(account: NDArray[Any], instrument: NDArray[Any]) -> Int64:
        mine = account.astype(np.int64) * len(symbols) + instrument
        return np.where(np.isin(mine, isolated), 1 + instrument.astype(np.int64), 0)

    told: dict[str, Mapping[Any, float]] = dict(modes.values)
    alone = {_ALONE: dict.fromkeys(modes.isolated, 1.0)} if modes.isolated else {}
    inputs: dict[str, Mapping[Any, float]] = {}
    for name, values in {**told, **alone}.items():
        paths = [
            f"{level}.{name}"
            for level, columns in text.inputs.items()
            if name in columns and {"account", "pool"} <= plan.form.keys[level]
        ]
        if not paths and name != _ALONE:
            there = sorted({one for columns in text.inputs.values() for one in columns})
            raise RulebookError(f"{text.name} takes no {name} of a position; inputs are {there}")
        inputs |= dict.fromkeys(paths, values)
    return Apart(
        pools=pool(book.account, book.instrument),
        orders=replace(orders, pool=pool(orders.account, orders.instrument)),
        inputs=inputs,
    )
