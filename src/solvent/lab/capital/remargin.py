"""One account margined again and again: its requirement at any positions, many at a time.

Everything but positions stays as it was told: collateral, open orders, pools, inputs. Questions are
accounts of one book, so thousands cost little more than one; each is margined by the very functions
that margin a venue. Lots may be fractions here (a path from nothing to the book is walked in
slices); whole lots give the bits that `solvent.margin` gives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from solvent.answer import HAIRCUT, Margin
from solvent.api import AnyMargin
from solvent.errors import check
from solvent.levels_answer import LevelsMargin
from solvent.margining.compile import AnyPlan
from solvent.margining.evaluate import arrange, requirements
from solvent.margining.levels.book import Balances, Orders, evaluate
from solvent.margining.plan import Plan
from solvent.risk import Book
from solvent.units import MICRO, Float64, value_up

Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]
Measure = Literal["initial", "maintenance"]
MEASURES: Final = ("initial", "maintenance")
_POSITIONS_AT_ONCE: Final = 1 << 18


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Answers; axis: question. `dollars` and `components` are not rounded, `micro` is.

    Attributes:
        micro: the requirement in millionths of a dollar, rounded up; of no meaning where not known.
        components: name → dollars.
        known: whether everything that the margin needs was there.
    """

    dollars: Float64
    micro: Int64
    components: Mapping[str, Float64]
    known: Bool


@dataclass(frozen=True)
class Remargin:
    """An account, and instruments that it holds or may hold; axis: instrument.

    Attributes:
        rows: rows of the universe, ascending; in hedge mode an instrument stands there twice.
        lots: what is held now. entry_lots, entry_value: as of a book.
        pools: 0 in the cross pool, else 1 + the instrument's row.
    """

    plan: AnyPlan
    name: str
    measure: Measure
    rows: Int32
    lots: Float64
    entry_lots: Float64
    entry_value: Float64
    pools: Int64
    balances: Balances | None
    orders: Orders
    inputs: Mapping[str, Any]
    haircut: int
    """Millionths of a dollar of collateral that the rulebook puts on initial margin."""

    def __len__(self) -> int:
        return len(self.rows)

    def only(self, places: NDArray[np.intp]) -> Remargin:
        """The same with some of its instruments alone, among them all that it holds."""
        kept = int(np.count_nonzero(self.lots[places]))
        check(kept == int(np.count_nonzero(self.lots)), "all that is held", kept)
        columns = {name: getattr(self, name)[places]
                   for name in ("rows", "lots", "entry_lots", "entry_value", "pools")}  # fmt: skip
        return replace(self, **columns)

    def ask(self, lots: Float64) -> Asked:
        """Requirements at positions [question, instrument]; those of 0 lots are not held."""
        check(lots.ndim == 2 and lots.shape[1] == len(self), "lots of every instrument", lots.shape)
        most = int(np.count_nonzero(lots, axis=1).max(initial=1))
        step = max(1, _POSITIONS_AT_ONCE // most)
        parts = [self._part(lots[at : at + step]) for at in range(0, max(1, len(lots)), step)]
        return Asked(
            dollars=np.concatenate([one.dollars for one in parts]),
            micro=np.concatenate([one.micro for one in parts]),
            components={
                name: np.concatenate([one.components[name] for one in parts])
                for name in parts[0].components
            },
            known=np.concatenate([one.known for one in parts]),
        )

    def now(self) -> Asked:
        """The requirement of what is held."""
        return self.ask(self.lots[None, :])

    def _part(self, lots: Float64) -> Asked:
        held = lots != 0.0
        which = np.nonzero(held)[1]
        with np.errstate(divide="ignore", invalid="ignore"):
            kept = np.where(self.lots != 0.0, np.clip(lots / self.lots, 0.0, 1.0), 0.0)[held]
        book = Book(
            accounts=[self.name] * len(lots),
            first=np.concatenate([[0], np.cumsum(held.sum(axis=1))]).astype(np.int64),
            instrument=self.rows[which],
            lots=lots[held].astype(np.float64),
            entry_lots=self.entry_lots[which] * kept,
            entry_value=self.entry_value[which] * kept,
        )
        if isinstance(self.plan, Plan):
            return self._by_scans(self.plan, book)
        return self._by_formulas(book, self.pools[which])

    def _by_scans(self, plan: Plan, book: Book) -> Asked:
        arranged = arrange(plan, book)
        node = arranged.levels[plan.levels.index(plan.top.name)].node
        told = {name: np.asarray(by_node)[node] for name, by_node in self.inputs.items()}
        needed = requirements(plan, book, arranged=arranged, inputs=told)
        sets, count = needed.sets, len(book)
        price = plan.top.price[sets.node]

        def total(column: Float64) -> Float64:
            amount = np.nan_to_num(column * price)
            return np.bincount(sets.account, weights=amount, minlength=count).astype(np.float64)

        known = needed.refused < 0
        known[list(needed.undefined)] = False
        cut = self.haircut if self.measure == "initial" else 0
        components = {name: total(sets.components[name]) for name in components_of(plan)}
        if cut:
            components[HAIRCUT] = np.full(count, cut / MICRO)
        return Asked(
            dollars=total(getattr(sets, self.measure)) + cut / MICRO,
            micro=getattr(needed, self.measure) + cut,
            components=components,
            known=known,
        )

    def _by_formulas(self, book: Book, pools: Int64) -> Asked:
        plan = self.plan
        assert not isinstance(plan, Plan)
        balances, orders, count = self.balances, self.orders, len(book)
        answer = evaluate(
            plan, book, pools=pools, inputs=self.inputs,
            balances=balances and Balances(
                account=np.repeat(np.arange(count), len(balances.asset)),
                asset=tuple(balances.asset) * count,
                amount=np.tile(balances.amount, count),
                price=np.tile(balances.price, count),
            ),
            orders=Orders(
                account=np.repeat(np.arange(count), len(orders.account)),
                instrument=np.tile(orders.instrument, count),
                size=np.tile(orders.size, count),
                price=np.tile(orders.price, count),
                buy=np.tile(orders.buy, count),
                pool=None if orders.pool is None else np.tile(orders.pool, count),
            ),
        )  # fmt: skip
        known = answer.known
        dollars = np.where(known, getattr(answer, self.measure), 0.0)
        return Asked(
            dollars=dollars,
            micro=value_up(dollars * MICRO),
            components={
                name: np.where(known, np.nan_to_num(amount), 0.0)
                for name, amount in answer.components.items()
            },
            known=known,
        )


def components_of(plan: Plan) -> list[str]:
    """Components of a requirement in its answer: scans, charges, sums that count, inputs."""
    used = plan.initial.outer.names | plan.maintenance.outer.names
    return list(
        dict.fromkeys(
            [
                *(one.name for one in plan.scans),
                *(one.name for one in plan.charges),
                *(one.name for one in plan.sums if one.name in used),
                *plan.rulebook.text.inputs,
                "rounding",
            ]
        )
    )


def remargin(
    answer: AnyMargin, account: int, measure: Measure = "initial", *, also: Sequence[int] = ()
) -> Remargin:
    """An account of a margined book, ready to be asked; `also` are rows of instruments besides."""
    book, plan = answer.book, answer.plan
    part = slice(int(book.first[account]), int(book.first[account + 1]))
    held = book.instrument[part]
    new = np.setdiff1d(np.array(also, dtype=np.int32), held)
    rows = np.concatenate([held, new]).astype(np.int32)
    order = np.argsort(rows, kind="stable")

    def wide(column: NDArray[Any]) -> NDArray[Any]:
        zeros = np.zeros(len(new), dtype=column.dtype)
        return np.asarray(np.concatenate([column[part], zeros])[order])

    pools = np.zeros(book.positions, dtype=np.int64)
    balances, orders, inputs, haircut = None, Orders.none(), {}, 0
    if isinstance(answer, LevelsMargin):
        pools = pools if answer.pools is None else answer.pools
        balances, orders = _own_balances(answer.balances, account), _own(answer.orders, account)
        inputs = _own_inputs(answer.inputs, book.accounts, account)
    else:
        inputs = _inputs_by_node(answer, account)
        if answer.funded is not None and answer.plan.rulebook.text.haircut_on == "initial":
            haircut = int(answer.funded.haircut[account])
    return Remargin(
        plan=plan, name=book.accounts[account], measure=measure, rows=rows[order],
        lots=wide(book.lots), entry_lots=wide(book.entry_lots),
        entry_value=wide(book.entry_value), pools=wide(pools), balances=balances, orders=orders,
        inputs=inputs, haircut=haircut,
    )  # fmt: skip


def _own_balances(balances: Balances | None, account: int) -> Balances | None:
    if balances is None:
        return None
    mine = np.flatnonzero(balances.account == account)
    return Balances(
        account=np.zeros(len(mine), dtype=np.int64),
        asset=tuple(balances.asset[int(row)] for row in mine),
        amount=balances.amount[mine],
        price=balances.price[mine],
    )


def _own(orders: Orders | None, account: int) -> Orders:
    if orders is None:
        return Orders.none()
    mine = orders.account == account
    return Orders(
        account=np.zeros(int(mine.sum()), dtype=np.int64), instrument=orders.instrument[mine],
        size=orders.size[mine], price=orders.price[mine], buy=orders.buy[mine],
        pool=None if orders.pool is None else orders.pool[mine],
    )  # fmt: skip


def _own_inputs(inputs: Mapping[str, Any], accounts: Sequence[str], mine: int) -> dict[str, Any]:
    """Inputs without those of other accounts: every question bears this account's name."""
    others, own = set(accounts) - {accounts[mine]}, {}
    for path, told in inputs.items():
        if isinstance(told, Mapping):
            told = {
                key: number
                for key, number in told.items()
                if (key[0] if isinstance(key, tuple) else key) not in others
            }
        own[path] = told
    return own


def _inputs_by_node(answer: Margin, account: int) -> dict[str, Float64]:
    """Input → amount at every node of the requirement: the account's own, else the default."""
    sets, found = answer.requirements.sets, {}
    mine = np.flatnonzero(sets.account == account)
    for name, text in answer.plan.rulebook.text.inputs.items():
        by_node = np.full(len(answer.plan.top), text.default)
        by_node[sets.node[mine]] = sets.components[name][mine]
        found[name] = by_node
    return found
