"""The watch under a rulebook as it is written: verdicts of `margining.assess`, kept up by bands.

A newer market recomputes accounts that it takes out of their bands, and those that have none;
all others are proved to have the verdict that they had. Where a rulebook has no bounds, `unbounded`
names the clause and everybody is recomputed. Which verdicts are proved, `Guard` says: from calls on
by default; states short of that, and money, are those of `figures.figures_ms`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from solvent.errors import check
from solvent.margining.assess import Assessed, assess
from solvent.margining.compile import AnyPlan
from solvent.margining.levels.book import Balances, Orders
from solvent.margining.levels.modes import Modes
from solvent.risk import Book
from solvent.solvency.books import Books
from solvent.solvency.classes import Figures, State
from solvent.solvency.holdings import Holdings
from solvent.solvency.ladder import Rung
from solvent.solvency.rulebook_bands import NONE, RulebookBands
from solvent.solvency.steady import Guard
from solvent.solvency.tubes import same_rules
from solvent.solvency.watch import Sweep, Tick

Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]


CALLS: Final = Guard(state=State.CALL)
"""Calls and liquidations are proved."""
_BASES_MAX: Final = 3
"""Bases that are in use at once; a newer one waits until all have moved on from the oldest."""


class RulebookWatch:
    """Verdicts of a book under a compiled rulebook.

    Args:
        guard: which verdicts bands prove; None proves nothing, and recomputes everybody.
        age_ms: no figures are older while `upkeep(owed(…))` is called.

    Attributes:
        figures: equity, requirements and states; counts by underlying are of what nets to a
            position. plan: the market that they rest on. told: what accounts hold.
        width: [account] place of its band on the ladder of widths, −1 for none.
    """

    def __init__(
        self, plan: AnyPlan, book: Book, balances: Balances, *, orders: Orders | None = None,
        modes: Modes | None = None, inputs: Mapping[str, Any] | None = None, threads: int = 1,
        guard: Guard | None = CALLS, age_ms: int = 60_000,
    ) -> None:  # fmt: skip
        self.threads, self.guard, self.age_ms = threads, guard, age_ms
        self.plan = plan
        self._bases: dict[int, RulebookBands] = {}
        self._settled: Bool = np.zeros(len(book), dtype=bool)
        self._hold(Books(book=book, balances=balances, orders=orders, modes=modes, inputs=inputs))
        self.upkeep(len(book))

    @property
    def book(self) -> Book:
        """Positions."""
        return self.told.book

    @property
    def balances(self) -> Balances:
        """What is owned, at the market's prices."""
        return self.told.balances

    @property
    def nodes(self) -> int:
        """Underlyings that are counted."""
        return self._held.nodes

    @property
    def unbounded(self) -> str:
        """Why nobody can be proved safe between two prices; empty where accounts can."""
        if self.guard is None:
            return f"{self.plan.rulebook.name}: nothing is asked to be proved"
        return self._newest.unbounded

    @property
    def bounded(self) -> int:
        """Accounts that have a band."""
        return int((self.width > NONE).sum())

    def market(self, plan: AnyPlan) -> Tick:
        """The same rulebook compiled on a newer market, or another rulebook."""
        check(plan.arrays.as_of_ms >= self.plan.arrays.as_of_ms, "time goes forward")
        same = plan.arrays.universe.symbols == self.plan.arrays.universe.symbols
        check(same, "instruments keep their rows")
        changed = changed_rows(self.plan, plan)
        self.plan, self.told = plan, self._at(plan)
        safe = self._safe(plan)
        touching = self._touched(changed)
        skipped = safe & self._settled
        self._judge(np.flatnonzero(~skipped))
        self._settled = safe
        return Tick(
            touching=int(touching.sum()), skipped=int((touching & skipped).sum()),
            recomputed=int((~skipped).sum()), rows_changed=int(changed.sum()),
        )  # fmt: skip

    def positions(
        self, book: Book, balances: Balances, *, who: Int64 | None = None,
        orders: Orders | None = None, modes: Modes | None = None,
        inputs: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        """Other positions and balances of the same accounts; what is not told stays.

        `who` names the accounts that changed, and everybody where it is not told.
        """
        check(len(book) == len(self.book), "accounts stay", len(book))
        old = self.told
        told = Books(
            book=book, balances=balances, orders=old.orders if orders is None else orders,
            modes=old.modes if modes is None else modes,
            inputs=old.inputs if inputs is None else inputs,
        )  # fmt: skip
        assets = set(balances.asset)
        if (
            who is None
            or inputs is not None
            or not (self._bases and assets <= set(self._newest.assets))
        ):
            self._hold(told)
            self.upkeep(len(book))
            return
        self._change(told, np.asarray(who, dtype=np.int64))

    def upkeep(self, accounts: int) -> int:
        """Compute figures and bands of some accounts anew: those first whose base is not the
        newest, then those that have waited longest; how many. A worn base is replaced."""
        count = min(accounts, len(self.book))
        if self.guard is None or count == 0:
            self._judge(np.argsort(self.figures.figures_ms, kind="stable")[:count])
            return count
        if not self._bases or self._newest.worn(self.plan):
            self._begin()
        order = np.lexsort((self.figures.figures_ms, self._base == max(self._bases)))
        who = np.sort(order[:count])
        stale = who[self.figures.figures_ms[who] < self.plan.arrays.as_of_ms]
        self._judge(stale)
        self._prove(who)
        return count

    def owed(self, *, elapsed_ms: int) -> int:
        """How many accounts `upkeep` must take for nobody's figures to pass their age."""
        return -(-len(self.book) * elapsed_ms // self.age_ms)

    def sweep(self) -> Sweep:
        """Proof that every account is counted once, and how old the oldest figures are."""
        at_ms = self.figures.figures_ms
        now_ms = int(self.plan.arrays.as_of_ms)
        return Sweep(
            accounts=len(self.book), counted=sum(self.figures.count(one) for one in State),
            oldest_ms=int(at_ms.min(initial=now_ms)), now_ms=now_ms, age_ms=self.age_ms,
        )  # fmt: skip

    def rung(self, plan: AnyPlan, gap: float) -> Rung:
        """Who falls on another market, such as one whose prices gap. The watch is not changed.

        Accounts that are proved not to fall there are not looked at.
        """
        told = self._at(plan)
        standing = self.figures.state < State.LIQUIDATE
        who = np.flatnonzero(~(self._safe(plan) & self._settled & standing))
        found = self._assessed(plan, told.of(who))
        fallen, equity = found.liquidate, found.equity_micro
        return Rung(
            gap=gap, fallen=int(fallen.sum()), unknown=int((~found.known).sum()),
            shortfall=sum(np.maximum(-equity[fallen], 0).tolist()),
            missing=sum((found.maintenance_micro - equity)[fallen].tolist()),
            recomputed=len(who), as_of_ms=int(plan.arrays.as_of_ms),
        )  # fmt: skip

    @property
    def _newest(self) -> RulebookBands:
        return self._bases[max(self._bases)]

    # ── bases and bands ──────────────────────────────────────────────────────────────────────

    def _begin(self) -> None:
        """A new base, beside those that accounts have not moved on from; not too many of them."""
        used = {int(one) for one in np.unique(self._base[self.width > NONE])}
        if self._bases and not same_rules(self._bases[max(self._bases)].plan, self.plan):
            used = set()
            self.width[:] = NONE
        kept = {number: one for number, one in self._bases.items() if number in used}
        if len(kept) >= _BASES_MAX:
            return
        assert self.guard is not None
        made = RulebookBands(
            self.plan, assets=tuple(self.told.balances.asset), inputs=self.told.inputs,
            guard=self.guard,
        )  # fmt: skip
        self._bases = kept | {max(self._bases, default=-1) + 1: made}

    def _prove(self, who: Int64) -> None:
        number, some = max(self._bases), self.told.of(who)
        newest = self._bases[number]
        self.width[who], self._base[who] = newest.widest(some), number
        self._settled[who] = newest.safe(self.plan, some, self.width[who])

    def _safe(self, plan: AnyPlan) -> Bool:
        """[account] whether a market leaves it in its band."""
        safe = np.zeros(len(self.book), dtype=bool)
        for number, base in self._bases.items():
            mine = self._base == number
            if mine.any():
                safe |= mine & base.safe(plan, self.told, np.where(mine, self.width, NONE))
        return safe

    # ── figures ──────────────────────────────────────────────────────────────────────────────

    def _hold(self, told: Books) -> None:
        """Everybody from nothing."""
        self.told, self._own = told, self._priced_apart(told)
        accounts = len(told)
        self._held = _holdings(self.plan, told.book)
        self.figures = told_by(self._assessed(self.plan, told), self.plan, told.book, self._held)
        self.width = np.full(accounts, NONE, dtype=np.int8)
        self._base = np.full(accounts, -1, dtype=np.int64)
        self._settled = np.zeros(accounts, dtype=bool)
        self._bases = {}

    def _change(self, told: Books, who: Int64) -> None:
        """Some accounts hold something else."""
        accounts = who.astype(np.int32)
        self.figures.leave(self._held, accounts)
        self._own = self._priced_apart(told)
        self.told, self._held = told, _holdings(self.plan, told.book)
        self._write(who, self._assessed(self.plan, told.of(who)))
        self.figures.enter(self._held, accounts)
        if self.guard is not None:
            self._prove(who)

    def _priced_apart(self, told: Books) -> Bool:
        """[balance] whether it came with a price that is not the market's."""
        price, usual = told.balances.price, told.at(self.plan).balances.price
        return np.asarray((price != usual) & ~(np.isnan(price) & np.isnan(usual)))

    def _at(self, plan: AnyPlan) -> Books:
        """Balances at a market's prices, but for those that came with prices of their own."""
        now = self.told.at(plan)
        price = np.where(self._own, self.told.balances.price, now.balances.price)
        return replace(now, balances=replace(now.balances, price=price))

    def _assessed(self, plan: AnyPlan, told: Books) -> Assessed:
        return assess(
            plan, told.book, balances=told.balances, orders=told.orders, modes=told.modes,
            inputs=told.inputs, threads=self.threads,
        )  # fmt: skip

    def _judge(self, who: Int64) -> None:
        if len(who) == 0:
            return
        accounts = np.sort(who).astype(np.int32)
        self.figures.leave(self._held, accounts)
        self._write(np.sort(who), self._assessed(self.plan, self.told.of(np.sort(who))))
        self.figures.enter(self._held, accounts)

    def _write(self, who: Int64, found: Assessed) -> None:
        figures = self.figures
        figures.equity[who], figures.initial[who] = found.equity_micro, found.initial_micro
        figures.maintenance[who], figures.unknown[who] = found.maintenance_micro, ~found.known
        figures.state[who], figures.close[who] = states_of(found)
        figures.figures_ms[who] = int(self.plan.arrays.as_of_ms)

    def _touched(self, changed: Bool) -> Bool:
        """[account] whether it holds an instrument whose numbers changed."""
        book = self.book
        touched = np.zeros(len(book), dtype=bool)
        held = book.first[1:] > book.first[:-1]
        if held.any():
            of = changed[book.instrument]
            touched[held] = np.logical_or.reduceat(of, book.first[:-1][held])
        return touched


def changed_rows(was: AnyPlan, now: AnyPlan) -> Bool:
    """[instrument] whether any of its published numbers changed."""
    old, new = was.arrays, now.arrays
    if old.pnl.shape != new.pnl.shape:
        return np.ones(len(new.universe), dtype=bool)
    changed = (old.pnl != new.pnl).any(axis=1) | (old.usable != new.usable)
    for name, column in new.columns.items():
        changed |= old.columns[name] != column
    return np.asarray(changed)


def states_of(found: Assessed) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """[account] state and closeness, as `Figures.tell` has them."""
    room = found.equity_micro - found.maintenance_micro
    # Compared by what is left, as equity times ten could leave int64.
    near = [room < 0, *(room < -(-found.equity_micro // share) for share in (5, 10))]
    close = np.where(near[0], 2, near[1].astype(np.int64) + near[2])
    close = np.where(found.known, np.where(found.liquidate, 2, close), 0)
    state = np.where(close > 0, State.WARNING, State.HEALTHY)
    state = np.where(found.call, State.CALL, state)
    state = np.where(found.liquidate, State.LIQUIDATE, state)
    state = np.where(found.known, state, State.UNKNOWN)
    return state.astype(np.uint8), close.astype(np.uint8)


def _holdings(plan: AnyPlan, book: Book) -> Holdings:
    return Holdings.of(
        first=book.first, instrument=book.instrument, lots=book.lots,
        node_of=plan.arrays.universe.underlying,
    )  # fmt: skip


def told_by(found: Assessed, plan: AnyPlan, book: Book, held: Holdings | None = None) -> Figures:
    """Figures and states of what a rulebook's own arithmetic says, in millionths of a dollar.

    `call` and `liquidate` are the rulebook's conditions, which may differ from comparing totals.
    """
    held = _holdings(plan, book) if held is None else held
    figures = Figures(accounts=len(book), nodes=max(held.nodes, 1))
    figures.tell(
        held, equity=found.equity_micro, initial=found.initial_micro,
        maintenance=found.maintenance_micro, unknown=~found.known, call=found.call,
        liquidate=found.liquidate, at_ms=int(plan.arrays.as_of_ms),
    )  # fmt: skip
    return figures
