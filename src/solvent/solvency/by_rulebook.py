"""The watch under a rulebook as it is written: every account through `margining.assess`.

A rulebook's own requirement (caps, tiers, charges on deltas, dampened gains, its roundings) is not
a sum of pieces that are convex in the price. So nothing is bounded here: each change recomputes
every account, `unbounded` says why, and verdicts, counts, closeness and urgency are the same kinds
as those of `watch.Watch`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solvent.errors import check
from solvent.margining.assess import Assessed, assess
from solvent.margining.compile import AnyPlan
from solvent.margining.levels.book import Balances, LevelsPlan, Orders
from solvent.margining.levels.modes import Modes
from solvent.risk import Book
from solvent.solvency.classes import Figures
from solvent.solvency.holdings import Holdings
from solvent.solvency.watch import Tick

Int32 = NDArray[np.int32]


class RulebookWatch:
    """Verdicts of a book under a compiled rulebook, kept up to date by full recomputation.

    Attributes:
        figures: equity, requirements and states; counts by underlying are of what nets to a
            position. unbounded: why no account can be proved safe between two prices.
    """

    def __init__(
        self, plan: AnyPlan, book: Book, balances: Balances, *, orders: Orders | None = None,
        modes: Modes | None = None, inputs: Mapping[str, Any] | None = None, threads: int = 1,
    ) -> None:  # fmt: skip
        self.threads = threads
        self._told = orders, modes, inputs
        self._take(plan, book, balances)

    def market(self, plan: AnyPlan) -> Tick:
        """The same rulebook compiled on a newer market, or another rulebook."""
        check(plan.arrays.as_of_ms >= self.plan.arrays.as_of_ms, "time goes forward")
        same = plan.arrays.universe.symbols == self.plan.arrays.universe.symbols
        check(same, "instruments keep their rows")
        self._take(plan, self.book, self.balances)
        everyone = self.figures.accounts
        return Tick(
            touching=everyone, skipped=0, recomputed=everyone,
            rows_changed=len(plan.arrays.universe),
        )  # fmt: skip

    def positions(self, book: Book, balances: Balances) -> None:
        """Other positions and balances of the same accounts."""
        check(len(book) == len(self.book), "accounts stay", len(book))
        self._take(self.plan, book, balances)

    def _take(self, plan: AnyPlan, book: Book, balances: Balances) -> None:
        orders, modes, inputs = self._told
        found = assess(
            plan, book, balances=balances, orders=orders, modes=modes, inputs=inputs,
            threads=self.threads,
        )  # fmt: skip
        self.plan, self.book, self.balances = plan, book, balances
        self.unbounded = why_unbounded(plan)
        self.figures = told_by(found, plan, book)


def told_by(found: Assessed, plan: AnyPlan, book: Book) -> Figures:
    """Figures and states of what a rulebook's own arithmetic says, in millionths of a dollar.

    `call` and `liquidate` are the rulebook's conditions, which may differ from comparing totals.
    """
    universe = plan.arrays.universe
    held = Holdings.of(
        first=book.first, instrument=book.instrument, lots=book.lots, node_of=universe.underlying
    )
    figures = Figures(accounts=len(book), nodes=max(held.nodes, 1))
    figures.tell(
        held, equity=found.equity_micro, initial=found.initial_micro,
        maintenance=found.maintenance_micro, unknown=~found.known, call=found.call,
        liquidate=found.liquidate, at_ms=int(plan.arrays.as_of_ms),
    )  # fmt: skip
    return figures


def why_unbounded(plan: AnyPlan) -> str:
    """Why a rulebook's accounts are recomputed at every tick, in words."""
    name = plan.rulebook.name
    if isinstance(plan, LevelsPlan):
        return f"{name}: formulas at levels (tiers, caps, signs) need not be convex in the price"
    parts = [f"scan {one.name} maps its sums" for one in plan.scans if not one.node_map.plain.all()]
    parts += [f"charge {one.name} is no sum over lots" for one in plan.charges]
    parts += [
        f"sum {one.name} follows the market" for one in plan.sums if one.node == plan.top.name
    ]
    return f"{name}: {'; '.join(parts) or 'its roundings are of whole sums'}"
