"""Scenario vectors that are kept: every row's sums, changed by what changes and by nothing else.

A trade adds `lots · row`, a changed risk row adds `lots · (new − old)` to every holder. All are
integers below 2^53, so after any number of updates the vectors are what a recomputation from
nothing gives, to the bit. A risk row that did not change after quantising stops there.

They cost `columns` × 8 bytes a row and pay where few rows of the market change at a time; where a
price moves all of an underlying's rows, safe bands pay more and nothing is kept (lean).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from solvent.errors import check
from solvent.solvency.holdings import Holdings
from solvent.solvency.rows import aligned, changed_of
from solvent.units import Float64

Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]

_ROOM = 64


class Vectors:
    """`sums` [row, column] of holdings under `matrix` [instrument, column], kept incrementally."""

    def __init__(self, held: Holdings, matrix: Float64) -> None:
        from solvent.solvency import compiled

        self.sums = aligned(held.rows + _ROOM, matrix.shape[1])
        compiled.fill(held.store, held.rows, matrix, self.sums)

    def traded(
        self, held: Holdings, matrix: Float64, *, account: Int32, instrument: Int32, lots: Float64
    ) -> None:
        """Follow trades that `held` has done already, at the matrix of now."""
        from solvent.solvency import compiled

        if held.rows > len(self.sums):
            wide = aligned(held.rows + held.rows // 8 + _ROOM, self.sums.shape[1])
            wide[: len(self.sums)] = self.sums
            self.sums = wide
        compiled.add_trades(held.store, account, instrument, lots, matrix, self.sums)

    def moved(
        self,
        held: Holdings,
        which: Int64,
        before: Float64,
        after: Float64,
        marked: NDArray[np.bool_],
    ) -> Int32:
        """Follow rows of some instruments from `before` to `after`: the accounts that it touched.

        `marked` [account] is set for each of them; whoever gave it clears it.
        """
        from solvent.solvency import compiled

        changed = np.flatnonzero(changed_of(before, after))
        touched = np.empty(held.accounts, np.int32)
        found = compiled.add_changed(
            held.store, which[changed], before[changed], after[changed], self.sums, marked, touched
        )
        return touched[:found]

    def check_fresh(self, held: Holdings, matrix: Float64) -> None:
        """Equal to a recomputation from nothing, to the bit."""
        fresh = Vectors(held, matrix).sums[: held.rows]
        mine = self.sums[: held.rows] + 0.0
        check(
            bool((mine.view(np.int64) == (fresh + 0.0).view(np.int64)).all()), "vectors are fresh"
        )

    @property
    def nbytes(self) -> int:
        """Memory, room included."""
        return self.sums.nbytes
