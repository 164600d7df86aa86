"""The netting tree of a book as boundaries: which positions make a row, which rows make a set.

A *level* groups instruments by a code (one per underlying and settlement, say). Levels are given
from the finest to the coarsest; each groups the one before. In a universe's canonical order the
codes ascend, so rows are runs of neighbouring positions; where they do not, positions are sorted
once, here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from solvent.errors import check
from solvent.instruments import frozen
from solvent.risk.book import Book
from solvent.units import Float64

Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """Rows of one level: `first[r]:first[r + 1]` are positions, `node[r]` the instruments' code."""

    first: Int64
    node: Int32

    def __len__(self) -> int:
        return len(self.node)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """A book arranged along a tree.

    Attributes:
        account: [position]. instrument, lots: [position], grouped by every level.
        levels: from the finest to the coarsest.
        position: [position] → row of the book that it was.
        starts: (child, parent) level → where each parent's rows of the child begin.
    """

    accounts: int
    account: Int32
    instrument: Int32
    lots: Float64
    position: Int64
    levels: tuple[Level, ...]
    starts: Mapping[tuple[int, int], Int64]

    def parents(self, child: int, parent: int) -> Int64:
        """[row of parent + 1]: its rows of the child level are `[p]:[p + 1]`."""
        check((child, parent) in self.starts, "a parent is coarser", child, parent)
        return self.starts[child, parent]

    def account_of(self, level: int) -> Int32:
        """[row] → account, of one level."""
        return self.account[self.levels[level].first[:-1]]


def layout(book: Book, codes: Sequence[Int32]) -> Layout:
    """Arrange a book along levels, each given as a code per instrument, finest first.

    Raises InvariantBroken when a level does not nest in the next.
    """
    account, position = book.account, np.arange(book.positions, dtype=np.int64)
    instrument = book.instrument
    keys = [code[instrument] for code in codes]
    if not all(_ascends(account, key) for key in keys):
        position = np.lexsort((instrument, *keys, account)).astype(np.int64)
        account, instrument = account[position], instrument[position]
        keys = [key[position] for key in keys]
    levels: list[Level] = []
    change = np.ones(len(instrument), dtype=bool)
    change[1:] = account[1:] != account[:-1]
    for key in reversed(keys):
        change = change.copy()
        change[1:] |= key[1:] != key[:-1]
        first = np.append(np.flatnonzero(change), len(instrument)).astype(np.int64)
        levels.insert(0, Level(first=frozen(first), node=frozen(key[first[:-1]])))
    starts = {
        (low, high): frozen(np.searchsorted(levels[low].first, levels[high].first).astype(np.int64))
        for high in range(len(levels))
        for low in range(high + 1)
    }
    return Layout(
        accounts=len(book),
        account=frozen(account),
        instrument=frozen(np.ascontiguousarray(instrument)),
        lots=frozen(np.ascontiguousarray(book.lots[position])),
        position=frozen(position),
        levels=tuple(levels),
        starts=starts,
    )


def _ascends(account: Int32, key: Int32) -> bool:
    same = account[1:] == account[:-1]
    return bool((key[1:][same] >= key[:-1][same]).all())
