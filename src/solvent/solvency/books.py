"""What accounts hold, owe and have ordered, and some of them apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solvent.margining.compile import AnyPlan
from solvent.margining.levels.book import Balances, Orders
from solvent.margining.levels.held import priced
from solvent.margining.levels.modes import Modes
from solvent.risk import Book

Int64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """Positions, balances, orders, modes and inputs, as `margining.assess` takes them."""

    book: Book
    balances: Balances
    orders: Orders | None = None
    modes: Modes | None = None
    inputs: Mapping[str, Any] | None = None

    def __len__(self) -> int:
        return len(self.book)

    def of(self, who: Int64) -> Books:
        """Some accounts alone, in their order; `who` rises."""
        book, names = self.book, [self.book.accounts[one] for one in who.tolist()]
        place = np.full(len(book), -1, dtype=np.int64)
        place[who] = np.arange(len(who))
        counts = np.diff(book.first)
        kept = np.repeat(place >= 0, counts)
        first = np.concatenate([[0], np.cumsum(counts[who])]).astype(np.int64)
        owed = place[self.balances.account] >= 0
        return Books(
            book=Book(
                accounts=names, first=first, instrument=book.instrument[kept],
                lots=book.lots[kept], entry_lots=book.entry_lots[kept],
                entry_value=book.entry_value[kept],
            ),
            balances=Balances(
                account=place[self.balances.account[owed]],
                asset=[self.balances.asset[row] for row in np.flatnonzero(owed).tolist()],
                amount=self.balances.amount[owed],
                price=self.balances.price[owed],
            ),
            orders=None if self.orders is None else _orders(self.orders, place),
            modes=None if self.modes is None else _modes(self.modes, set(names)),
            inputs=self.inputs and _inputs(self.inputs, set(book.accounts) - set(names)),
        )  # fmt: skip

    def at(self, plan: AnyPlan) -> Books:
        """The same with balances at a market's prices."""
        told = self.balances
        now = priced(plan.arrays, account=told.account, asset=told.asset, amount=told.amount)
        return replace(self, balances=now)


def _orders(orders: Orders, place: Int64) -> Orders:
    mine = place[orders.account] >= 0
    return Orders(
        account=place[orders.account[mine]], instrument=orders.instrument[mine],
        size=orders.size[mine], price=orders.price[mine], buy=orders.buy[mine],
        pool=None if orders.pool is None else orders.pool[mine],
    )  # fmt: skip


def _modes(modes: Modes, names: set[str]) -> Modes:
    return Modes(
        isolated=frozenset(pair for pair in modes.isolated if pair[0] in names),
        hedged=frozenset(pair for pair in modes.hedged if pair[0] in names),
        values={
            name: {pair: value for pair, value in told.items() if pair[0] in names}
            for name, told in modes.values.items()
        },
    )


def _inputs(inputs: Mapping[str, Any], others: set[str]) -> dict[str, Any]:
    """Inputs without what is told of other accounts."""

    def own(key: Any) -> bool:
        return (key[0] if isinstance(key, tuple) else key) not in others

    return {
        path: {key: x for key, x in told.items() if own(key)} if isinstance(told, Mapping) else told
        for path, told in inputs.items()
    }
