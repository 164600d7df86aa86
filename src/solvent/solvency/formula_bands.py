"""Which accounts of a rulebook of formulas have one verdict at every price of a width.

Formulas are evaluated as `levels` does it, over numbers between lines. What an account's lines do
not settle is not proved: a branch that may be taken either way holds both, a tier that may be left
holds the next. Operations without bounds make the rulebook unbounded, and are told.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from solvent.expressions import Node
from solvent.limits import MONEY_MAX
from solvent.margining.levels.book import Balances, LevelsPlan, Orders, Work
from solvent.margining.levels.columns import MARKET, Columns
from solvent.margining.levels.held import accepted, dollars_of, settled
from solvent.margining.levels.modes import held_apart
from solvent.risk import Book
from solvent.solvency.between import Between, Unbounded, apply
from solvent.solvency.books import Books
from solvent.solvency.formula_lines import FormulaLines, Moving
from solvent.solvency.steady import SHARES, Guard, surely
from solvent.solvency.tubes import Drift, Tubes
from solvent.units import MICRO, Float64, quanta_per_unit

Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]

BLOCK: Final = 2_048
"""Accounts whose lines are computed at a time."""
DOLLARS_MAX: Final = MONEY_MAX / MICRO / 16
_PER_LOT_MAX: Final = 2.0**33
"""Dollars of one lot from which on `levels.columns` knows no sum."""
NOBODY: Final = " "
"""The name of an account that holds nothing of each asset, so that assets keep their codes."""


@dataclass(frozen=True, slots=True)
class View:
    """What sources are read from: the market's columns of one plan."""

    market: Columns
    asset_price: Float64

    def per_unit(self, node: Node) -> Float64:
        """A number of every instrument per unit of size; NaN beyond what sums take exactly."""
        lot = self.market.rows("instrument").told["lot_size"]
        value = np.asarray(self.market.evaluate(node, "instrument"))
        wide = value if value.ndim > 1 else np.broadcast_to(value, lot.shape)[:, None]
        told = np.where(np.abs(wide * lot[:, None]) < _PER_LOT_MAX, wide, np.nan)
        return told if value.ndim > 1 else told[:, 0]

    def scenario(self, path: str) -> Float64:
        """A scenario set's field."""
        name, field = path.split(".")
        return self.market.scenarios[name][field]


class FormulaBands:
    """Proofs for accounts of one rulebook, from one base.

    Attributes:
        tubes: the lines that proofs start from. unbounded: what has no bounds, or nothing.
        assets: those that accounts may hold here.
    """

    def __init__(
        self, plan: LevelsPlan, *, assets: tuple[str, ...], inputs: Mapping[str, Any], drift: Drift
    ) -> None:
        self.plan, self.assets = plan, tuple(sorted(set(assets)))
        self.inputs = {path: told for path, told in inputs.items() if path.split(".")[0] in MARKET}
        names = plan.arrays.universe.underlyings
        extra = len({one for one in self.assets if one not in names})
        place = [names.index(one) if one in names else len(names) for one in self.assets]
        self.tubes = Tubes(
            plan, self._view, assets=np.array(place, dtype=np.int64),
            underlyings=len(names) + extra, drift=drift,
        )  # fmt: skip
        numbers = {
            name: frozenset(one.numbers) for name, one in plan.rulebook.text.scenarios.items()
        }
        self._moving = [Moving(plan.form, numbers, entries=told) for told in (False, True)]
        self.unbounded = self._without_bounds()

    def proved(self, books: Books, width: int, guard: Guard) -> Bool:
        """[account] whether its verdict is one and the same on every market inside a width."""
        found = np.zeros(len(books), dtype=bool)
        if self.unbounded or not set(books.balances.asset) <= set(self.assets):
            return found
        for start in range(0, len(books), BLOCK):
            who = np.arange(start, min(start + BLOCK, len(books)))
            found[who] = self._block(books.of(who), width, guard)
        return found

    def _without_bounds(self) -> str:
        try:
            self._block(Books(book=_empty(), balances=Balances.none()), 0, Guard())
        except Unbounded as fault:
            return f"{self.plan.rulebook.name}: {fault}"
        return ""

    def _view(self, plan: Any) -> View:
        nobody, balances = _with_nobody(Books(book=_empty(), balances=Balances.none()), self.assets)
        work = Work(plan, nobody, balances, Orders.none(), np.zeros(0, np.int64), self.inputs)
        price = np.array([dollars_of(plan.arrays, one) for one in self.assets])
        return View(work.market, price)

    def _block(self, books: Books, width: int, guard: Guard) -> Bool:
        fit = self._fit(books)
        counted = self._counted(books)
        book, balances = _with_nobody(counted, self.assets)
        inputs: Mapping[str, Any] = books.inputs or {}
        orders, pools = books.orders or Orders.none(), None
        book, balances = settled(book, balances, self.plan.arrays)
        if books.modes is not None:
            apart = held_apart(books.modes, book, orders, self.plan)
            orders, pools, inputs = apart.orders, apart.pools, {**apart.inputs, **inputs}
        pools = np.zeros(book.positions, np.int64) if pools is None else pools
        work = Work(self.plan, book, balances, orders, pools, inputs)
        columns = work.columns(0, len(book))
        unknown = np.where(book.lots != 0.0, 1.0 - book.entry_lots / book.lots, 0.0)
        moving = self._moving[bool((unknown != 0.0).any())]
        alone = self._alone(columns, len(book))
        lines = FormulaLines(columns, self.tubes, width, moving, alone, unknown)
        room = np.append(self._room(books), 0.0)
        return np.asarray(fit & self._one_verdict(lines, room, guard)[:-1])

    def _one_verdict(self, lines: FormulaLines, room: Float64, guard: Guard) -> Bool:
        answer, form = self.plan.rulebook.text.answer, self.plan.form
        level = answer.level
        of = lines.columns.rows(level).codes["account"]
        names = answer.equity, answer.initial, answer.maintenance
        equity, initial, maintenance = (lines.column(level, name) for name in names)
        falls = lines.evaluate(form.liquidate.root, level)
        rows = len(of)

        def each(holds: Bool) -> Bool:
            """[account] whether it holds in each of its rows."""
            return np.asarray(np.bincount(of, weights=~holds, minlength=len(room)) == 0)

        def total(one: Between) -> tuple[Float64, Float64]:
            ends = (np.broadcast_to(end, (rows,)) for end in (one.least(), one.most()))
            low, high = (
                np.bincount(of, weights=end, minlength=len(room)).astype(np.float64) for end in ends
            )
            return low, high

        def decided(condition: Between) -> Bool:
            """A row in which it surely holds decides; so does that it holds in none."""
            low, high = (np.broadcast_to(end, (rows,)) for end in
                         (condition.least(), condition.most()))  # fmt: skip
            some = np.bincount(of, weights=low > 0.0, minlength=len(room)) > 0
            return np.asarray((some | each(high == 0.0)) & each(~np.isnan(low + high)))

        proved = decided(falls)
        for amount in (equity, initial, maintenance):
            low, high = total(amount)
            proved &= (low > -DOLLARS_MAX) & (high < DOLLARS_MAX)
        if guard.calls:
            spare = apply("-", [equity, initial])
            called = apply("<", [spare.wider(room[of]), Between.exactly(0.0)])
            proved &= decided(called)
        if guard.warnings:
            for mine, theirs in ((1.0, 1.0), *SHARES):
                parts = [apply("*", [Between.exactly(share), amount])
                         for share, amount in ((mine, equity), (theirs, maintenance))]  # fmt: skip
                proved &= surely(*total(apply("-", parts)), 20.0 * room)
        return proved

    def _fit(self, books: Books) -> Bool:
        """Accounts for which nothing speaks against a proof: nothing that nets to nothing, no debt
        in what does not count, no price of their own."""
        book, told = books.book, books.balances
        gone = book.lots == 0.0
        counts = np.bincount(book.account, weights=gone, minlength=len(book)).astype(np.float64)
        prices = {one: dollars_of(self.plan.arrays, one) for one in set(told.asset)}
        usual = np.array([prices[one] for one in told.asset])
        own = (told.price != usual) & ~(np.isnan(told.price) & np.isnan(usual))
        taken = self._taken(books)
        strange = own | ~np.isfinite(told.amount) | (~taken & (told.amount < 0.0))
        counts += np.bincount(told.account, weights=strange, minlength=len(book))
        return np.asarray((counts == 0) & (self._room(books) < 1e-9 * DOLLARS_MAX))

    def _taken(self, books: Books) -> Bool:
        told = books.balances
        takes = accepted(self.plan, dict.fromkeys(told.asset), books.inputs or {})
        return np.array([takes[one] for one in told.asset], dtype=bool) & np.isfinite(told.price)

    def _counted(self, books: Books) -> Books:
        """Balances that count."""
        told, taken = books.balances, self._taken(books) & np.isfinite(books.balances.amount)
        if taken.all():
            return books
        return Books(
            book=books.book,
            balances=Balances(
                account=told.account[taken],
                asset=[told.asset[row] for row in np.flatnonzero(taken).tolist()],
                amount=told.amount[taken], price=told.price[taken],
            ),
        )  # fmt: skip

    def _alone(self, columns: Columns, accounts: int) -> Bool:
        """[account] whether all that moves in it is of one underlying."""
        first, last = np.full(accounts, np.iinfo(np.int64).max), np.full(accounts, -1)
        many = len(self.plan.arrays.universe.underlyings)
        for level in ("position", "order", "asset"):
            codes = columns.rows(level).codes
            moves = codes["underlying"] < many
            np.minimum.at(first, codes["account"][moves], codes["underlying"][moves])
            np.maximum.at(last, codes["account"][moves], codes["underlying"][moves])
        return np.asarray(first >= last)

    def _room(self, books: Books) -> Float64:
        """[account] dollars that rounding can be, in any of its sums."""
        arrays, book = self.plan.arrays, books.book
        universe = arrays.universe
        price = np.array([arrays.price_of(one) for one in universe.settlements])
        quanta = np.array([quanta_per_unit(one) for one in universe.settlements])
        of = universe.settlement[book.instrument]
        marks = np.abs(arrays.units["worth"]) + np.abs(arrays.units["value"])
        units = marks * price[universe.settlement] + np.abs(arrays.units["notional"])
        gross = np.abs(book.lots) * units[book.instrument]
        gross += np.abs(book.entry_value) / quanta[of] * price[of]
        total = np.bincount(book.account, weights=gross, minlength=len(book)).astype(np.float64)
        told = books.balances
        worth = np.nan_to_num(np.abs(told.amount * told.price))
        total += np.bincount(told.account, weights=worth, minlength=len(book))
        return np.asarray(1e-9 * total + 1e-4)


def _empty() -> Book:
    none = np.zeros(0)
    return Book(
        accounts=[], first=np.zeros(1, np.int64), instrument=np.zeros(0, np.int32), lots=none,
        entry_lots=none, entry_value=none,
    )  # fmt: skip


def _with_nobody(books: Books, assets: tuple[str, ...]) -> tuple[Book, Balances]:
    """One account more, last, that holds nothing of each asset."""
    book, told = books.book, books.balances
    more = np.full(len(assets), len(book), dtype=np.int64)
    wider = Book(
        accounts=[*book.accounts, NOBODY], first=np.append(book.first, book.first[-1]),
        instrument=book.instrument, lots=book.lots, entry_lots=book.entry_lots,
        entry_value=book.entry_value,
    )  # fmt: skip
    balances = Balances(
        account=np.concatenate([told.account, more]), asset=[*told.asset, *assets],
        amount=np.concatenate([told.amount, np.zeros(len(assets))]),
        price=np.concatenate([told.price, np.ones(len(assets))]),
    )  # fmt: skip
    return wider, balances
