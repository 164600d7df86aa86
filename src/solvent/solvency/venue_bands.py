"""Bands of an engine's accounts under one rulebook.

Accounts are proved a slice at a time; a slice keeps what its accounts held. Whoever changes is void
until a later slice proves it anew. Newer arrays leave most accounts in their bands: `outside` names
the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from solvent.engine.margined import margined
from solvent.engine.standing import View
from solvent.engine.state import Rules, State
from solvent.limits import COMBO_FIRST
from solvent.margining.compile import AnyPlan
from solvent.margining.levels.book import LevelsPlan
from solvent.solvency.books import Books
from solvent.solvency.rulebook_bands import NONE, RulebookBands, Widths
from solvent.solvency.steady import Guard

Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]

SLICES_MAX: Final = 64
"""Slices of a rulebook; then the smallest are let go, and their accounts proved anew."""
BASES_MAX: Final = 3
"""Bases in use at once; a newer one waits until accounts have moved on from the oldest."""


@dataclass(slots=True)
class _Slice:
    """Accounts that were proved together: numbers, what they held, and their bands.

    `settled` [place] says that the verdict that is kept is the one that the band proves.
    """

    base: RulebookBands
    numbers: Int64
    books: Books
    widths: Widths
    settled: Bool


class VenueBands:
    """Bands of the accounts of one rulebook; nothing is known of anybody at first."""

    def __init__(self, guard: Guard) -> None:
        self.guard = guard
        self.base: RulebookBands | None = None
        self._slices: list[_Slice] = []
        self._place: dict[int, tuple[_Slice, int]] = {}

    @property
    def unbounded(self) -> str:
        """Why nobody can be proved; empty where accounts can, or nobody has asked."""
        return "" if self.base is None else self.base.unbounded

    @property
    def bounded(self) -> int:
        """Accounts that have a band."""
        return sum(int((one.widths > NONE).sum()) for one in self._slices)

    def worn(self, plan: AnyPlan) -> bool:
        """Whether the base is one of other rules, or too far away."""
        return self.base is None or self.base.worn(plan)

    def void(self, number: int) -> None:
        """An account holds something else, or its verdict rests on something else."""
        found = self._place.pop(number, None)
        if found is not None:
            found[0].widths[found[1]] = NONE

    def outside(self, plan: AnyPlan, accounts: Iterable[int]) -> set[int]:
        """Those of the accounts that newer arrays take out of their bands, or that have none.

        The caller asks of all of them, so that their verdicts are those of the newer arrays.
        """
        left = set(accounts)
        for one in self._slices:
            safe = one.base.safe(plan, one.books, one.widths)
            left.difference_update(one.numbers[safe & one.settled].tolist())
            one.settled = safe
        return left

    def current(self, number: int) -> bool:
        """Whether an account was looked at from the newest base."""
        held = self._place.get(number)
        return held is not None and held[0].base is self.base

    def prove(
        self, state: State, rules: Rules, plan: AnyPlan, views: Sequence[View]
    ) -> None:  # fmt: skip
        """Bands of some accounts, whose verdicts rest on the arrays of now."""
        in_use = {id(one.base) for one in self._slices}
        if self.base is None or (self.base.worn(plan) and len(in_use) < BASES_MAX):
            assets = tuple(name for name, _ in state.assets)
            self.base = RulebookBands(plan, assets=assets, guard=self.guard)
        for seen in views:
            self.void(seen.account.number)
        formulas = isinstance(plan, LevelsPlan)
        fit = [seen for seen in views if _fits(seen, formulas=formulas)]
        if self.base.unbounded or not fit:
            return
        told = margined(state, rules, plan, fit, with_orders=formulas)
        books = Books(
            book=told.book, balances=told.balances, orders=told.orders, modes=told.modes,
            inputs=told.inputs,
        )  # fmt: skip
        widths = self.base.widest(books)
        widths[told.unlisted] = NONE
        made = _Slice(
            base=self.base, numbers=np.array([seen.account.number for seen in fit]), books=books,
            widths=widths, settled=self.base.safe(plan, books, widths),
        )  # fmt: skip
        self._place |= {int(number): (made, n) for n, number in enumerate(made.numbers)}
        self._slices = [one for one in self._slices if (one.widths > NONE).any()] + [made]
        if len(self._slices) > SLICES_MAX:
            self._thin()

    def _thin(self) -> None:
        """Let half of the slices go, those that prove fewest."""
        order = sorted(self._slices, key=lambda one: int((one.widths > NONE).sum()))
        for one in order[: len(order) // 2]:
            for number in one.numbers.tolist():
                if self._place.get(number, (None, 0))[0] is one:
                    del self._place[number]
        self._slices = order[len(order) // 2 :]


def _fits(seen: View, *, formulas: bool) -> bool:
    """Whether an account's standing is that of what it holds: orders under a rulebook of scans are
    taken as filled, and orders for combinations at their marks."""
    if not formulas:
        return not seen.sides
    return all(order.instrument < COMBO_FIRST for order in seen.orders)
