"""Safe bands for a rulebook as it is written: by how much prices may move until a verdict changes.

A band is a *width* of a ladder: while the market is inside the tubes of that width round its base,
for everything that an account holds, the account's verdict is what it was. Bands are of one base;
trades and other rules void them, prices and time do not: a market that comes back is inside again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from solvent.errors import RulebookError
from solvent.margining.compile import AnyPlan
from solvent.margining.levels.book import LevelsPlan
from solvent.solvency.books import Books
from solvent.solvency.formula_bands import FormulaBands
from solvent.solvency.scan_bands import ScanBands
from solvent.solvency.steady import Guard
from solvent.solvency.tubes import ALL, WIDTHS, Bits, Drift, same_rules

Bool = NDArray[np.bool_]
Widths = NDArray[np.int8]

NONE: Final = -1
"""The width of an account that is not proved at any."""
WORN: Final = 1
"""A base is worn when a price has moved by this place of the ladder, or half its time is over."""


class RulebookBands:
    """Bands of accounts under one rulebook, from one base.

    Attributes:
        plan: the base. unbounded: why nothing can be proved, or nothing. assets: those that
            accounts may hold here.
    """

    def __init__(
        self, plan: AnyPlan, *, assets: tuple[str, ...], inputs: Mapping[str, Any] | None = None,
        guard: Guard | None = None, drift: Drift | None = None,
    ) -> None:  # fmt: skip
        self.plan, self.guard, self.drift = plan, guard or Guard(), drift or Drift()
        told = dict(inputs or {})
        strange = [path for path, one in told.items()
                   if not isinstance(one, Mapping | int | float | np.number)]  # fmt: skip
        kind: Any = FormulaBands if isinstance(plan, LevelsPlan) else ScanBands
        self._proofs: FormulaBands | ScanBands | None = None
        self._seen: tuple[AnyPlan, dict[str, Bits]] | None = None
        try:
            self._proofs = kind(plan, assets=assets, inputs=told, drift=self.drift)
            self.unbounded = self._proofs.unbounded
        except RulebookError as fault:
            self.unbounded = f"{plan.rulebook.name}: no numbers at prices near these: {fault}"
        self.assets = tuple(sorted(set(assets)))
        if strange:
            self.unbounded = f"{plan.rulebook.name}: input {strange[0]} is told as an array"

    def widest(self, books: Books) -> Widths:
        """[account] place of the widest band found on the ladder, or NONE.

        The ladder is halved: what is proved is proved, should a wider one have held too.
        """
        low = np.full(len(books), NONE, dtype=np.int8)
        high = np.full(len(books), len(WIDTHS), dtype=np.int8)
        if self.unbounded:
            return low
        while (open_ := np.flatnonzero(high - low > 1)).size:
            middle = (low[open_].astype(np.int64) + high[open_] + 1) // 2
            for width in np.unique(middle).tolist():
                who = open_[middle == width]
                held = self._proved(books.of(who), width)
                low[who[held]] = width
                high[who[~held]] = width
            high = np.maximum(high, low + 1).astype(np.int8)
        return low

    def _proved(self, books: Books, width: int) -> Bool:
        self._seen = None
        if self._proofs is not None:
            try:
                return self._proofs.proved(books, width, self.guard)
            except RulebookError as fault:
                name = self.plan.rulebook.name
                self.unbounded = f"{name}: no numbers at prices near these: {fault}"
        return np.zeros(len(books), dtype=bool)

    def inside(self, plan: AnyPlan) -> dict[str, Bits]:
        """What newer market is inside which width's tubes: see `Tubes.inside`."""
        if self.unbounded or self._proofs is None:
            return {}
        if self._seen is None or self._seen[0] is not plan:
            self._seen = plan, self._proofs.tubes.inside(plan)
        return self._seen[1]

    def safe(self, plan: AnyPlan, books: Books, widths: Widths) -> Bool:
        """[account] whether a newer market leaves it in its band."""
        found = self.inside(plan)
        if not found or not bool((widths >= 0).any()):
            return np.zeros(len(books), dtype=bool)
        bits = np.full(len(books), ALL, dtype=np.uint16)
        book, balances = books.book, books.balances
        held = book.first[1:] > book.first[:-1]
        if held.any():
            of = found["instrument"][book.instrument]
            bits[held] &= np.bitwise_and.reduceat(of, book.first[:-1][held])
        if books.orders is not None:
            of = found["instrument"][books.orders.instrument]
            np.bitwise_and.at(bits, books.orders.account, of)
        place = {name: n for n, name in enumerate(self.assets)}
        strange = len(place)
        known = np.array([place.get(one, strange) for one in balances.asset], dtype=np.int64)
        of = np.append(found["asset"], np.zeros(1, np.uint16))[known]
        np.bitwise_and.at(bits, balances.account, of)
        wide = np.maximum(widths, 0).astype(np.uint16)
        return np.asarray((widths >= 0) & (bits >> wide & 1 > 0))

    def worn(self, plan: AnyPlan) -> bool:
        """Whether a newer market is so far from the base that another one would serve better."""
        if not same_rules(plan, self.plan):
            return True
        if self.unbounded:
            return False
        base, now = self.plan.arrays, plan.arrays
        if now.as_of_ms - base.as_of_ms > self.drift.time_ms // 2:
            return True
        if len(now.index) != len(base.index):
            return True
        with np.errstate(all="ignore"):
            moved = np.abs(now.index / base.index - 1.0)
        return bool((np.nan_to_num(moved) > WIDTHS[WORN]).any())
