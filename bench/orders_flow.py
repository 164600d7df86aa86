"""Orders as a venue sees them, drawn beforehand: most are changed or taken back, few trade.

A quarter of the instruments sees half of what comes. Each book holds 20 to 100 orders about a price
that wanders. All that trades does so whole, on arrival; no order meets one of its own account. Lots
are taken off only from the last order at its price: so one who cannot amend comes to the same books
by a cancel and a new order. Whoever runs these operations trades the same lots.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Final, NamedTuple

from solvent.errors import check
from solvent.messages.events import Event
from solvent.messages.fields import Side
from solvent.orders.book import Ladder
from solvent.orders.desk import Desk
from solvent.orders.order import BookTerms, Order, Verdict, Why

PLACE: Final = 0
TAKE: Final = 1
AMEND: Final = 2
CANCEL: Final = 3
_PLACED: Final = 0.25
_TRADING: Final = 0.05
_CANCELLED: Final = 0.28
"""Of the rest, in a book that is as full as it should be: so it stays."""
_SHRUNK: Final = 1 / 3
"""Of changes, where it may be: lots are taken off; otherwise the price is another."""
_BOOK: Final = (20, 100)
_DEPTH_TICKS: Final = 6.0
"""How far from the best price orders come, on average."""
_TICKS_MIN: Final = 20
_MAKERS_MAX: Final = 3
"""Orders that one who trades meets at most."""


class Op(NamedTuple):
    """One thing that is asked.

    `lots` are signed: of a new order all, of a changed one those it has left. `total`: all lots
    that a change tells, None where it tells the price alone. `makers`: orders that are met, their
    price, and what is left of them.
    """

    kind: int
    account: int
    name: str
    instrument: int
    lots: int = 0
    price_ticks: int = 0
    total: int | None = None
    makers: tuple[tuple[str, int, int], ...] = ()


class Positions:
    """A gate that lets everything pass, and counts what everybody holds and how much was traded."""

    def __init__(self) -> None:
        self.lots: dict[tuple[int, int], int] = {}
        self.traded = 0

    def held(self, account: int, instrument: int) -> int:
        return self.lots.get((account, instrument), 0)

    def delta_nano(self, instrument: int) -> int:  # noqa: ARG002
        return 0

    def admit(self, order: Order) -> bool:  # noqa: ARG002
        return True

    def fill(
        self, buy: Order, sell: Order, *, lots: int, price_ticks: int,  # noqa: ARG002
        aggressor: Side | None, events: list[Event],  # noqa: ARG002
    ) -> Verdict:  # fmt: skip
        held = self.lots
        bought, sold = (buy.account, buy.instrument), (sell.account, sell.instrument)
        held[bought] = held.get(bought, 0) + lots
        held[sold] = held.get(sold, 0) - lots
        self.traded += lots
        return Verdict.DONE


class Solvent:
    """The order desk, asked as an engine asks it."""

    def __init__(self, instruments: int) -> None:
        self.desk = Desk()
        self.gate = Positions()
        for instrument in range(instruments):
            self.desk.open_book(instrument, BookTerms())

    def run(self, ops: Sequence[Op]) -> None:
        desk, gate = self.desk, self.gate
        for kind, account, name, instrument, lots, price_ticks, total, _ in ops:
            events: list[Event] = []
            if kind == AMEND:
                price = price_ticks if total is None else None
                desk.accept_amend(
                    account, name, lots=total, price_ticks=price, time_ms=1, gate=gate
                )
                desk.amend(account, name, lots=total, price_ticks=price, time_ms=1, gate=gate,
                           events=events)  # fmt: skip
            elif kind == CANCEL:
                desk.cancel(account, name, why=Why.CANCELLED, time_ms=1, events=events)
            else:
                order = Order(account, name, instrument, lots, price_ticks)
                desk.accept(order, time_ms=1, gate=gate)
                desk.enter(order, time_ms=1, gate=gate, events=events)

    @property
    def traded(self) -> int:
        return self.gate.traded


class Flow:
    """Draws operations, one batch after the other: each rests on all before it."""

    def __init__(
        self, mids: Sequence[int], *, accounts: int, seed: int,
        lots_max: Callable[[int], int] = lambda _: 50,
    ) -> None:  # fmt: skip
        check(min(mids) >= _TICKS_MIN, "there is room below every price", min(mids))
        self._chance = random.Random(seed)
        self._mids = list(mids)
        self._accounts = accounts
        self._lots_max = lots_max
        self._model = Solvent(len(mids))
        self._live: list[list[Order]] = [[] for _ in mids]
        self._targets = [self._chance.randint(*_BOOK) for _ in mids]
        self._named = 0

    def opening(self) -> list[Op]:
        """The orders that rest at first."""
        found = []
        for instrument, target in enumerate(self._targets):
            found += [self._place(instrument) for _ in range(target)]
        return found

    def draw(self, count: int) -> list[Op]:
        """So many operations."""
        return [self._next() for _ in range(count)]

    def resting(self) -> list[Order]:
        """All orders that rest now."""
        return [order for mine in self._live for order in mine if order.lots]

    def _next(self) -> Op:
        chance = self._chance
        instrument = int(len(self._mids) * chance.random() ** 2)
        mids = self._mids
        mids[instrument] = max(_TICKS_MIN, mids[instrument] + chance.choice((-1, 0, 0, 0, 0, 1)))
        what, live = chance.random(), self._live[instrument]
        if what < _PLACED or not live:
            return self._place(instrument)
        if what < _PLACED + _TRADING:
            return self._take(instrument)
        place = chance.randrange(len(live))
        order, last = live[place], live.pop()
        if place < len(live):
            live[place] = last
        if not order.lots:
            return self._next()  # it was filled
        if chance.random() < _CANCELLED * (len(live) + 1) / self._targets[instrument]:
            return self._done(Op(CANCEL, order.account, order.name, instrument))
        live.append(order)
        return self._amend(order)

    def _done(self, op: Op) -> Op:
        self._model.run([op])
        return op

    def _name(self) -> str:
        self._named += 1
        return f"{self._named}"

    def _lots(self, instrument: int) -> int:
        most = self._lots_max(instrument)
        return min(most, 1 + int(self._chance.expovariate(4 / most)))

    def _price(self, instrument: int, *, buys: bool) -> int:
        """A price near the middle that meets nobody."""
        bid, ask = self._model.desk.best(instrument)
        mid, away = self._mids[instrument], int(self._chance.expovariate(1 / _DEPTH_TICKS))
        if buys:
            return max(1, (mid if ask is None else min(mid, ask - 1)) - away)
        return (mid + 1 if bid is None else max(mid, bid) + 1) + away

    def _place(self, instrument: int) -> Op:
        chance = self._chance
        buys = chance.random() < 0.5
        lots, price = self._lots(instrument), self._price(instrument, buys=buys)
        account, name = chance.randrange(1, self._accounts + 1), self._name()
        op = self._done(
            Op(PLACE, account, name, instrument, lots if buys else -lots, price)
        )  # fmt: skip
        self._live[instrument].append(self._model.desk.orders[account][name])
        return op

    def _amend(self, order: Order) -> Op:
        chance, buys, left = self._chance, order.lots > 0, abs(order.lots)
        told = AMEND, order.account, order.name, order.instrument
        if left > 1 and order.after is None and chance.random() < _SHRUNK:
            left = chance.randrange(1, left)
            price, total = order.price_ticks or 0, order.filled + left
            return self._done(Op(*told, left if buys else -left, price, total))
        price = self._price(order.instrument, buys=buys)
        while price == order.price_ticks:
            price = self._price(order.instrument, buys=buys)
        return self._done(Op(*told, order.lots, price))

    def _take(self, instrument: int) -> Op:
        chance, book = self._chance, self._model.desk.books[instrument]
        buys = chance.random() < 0.5
        ladder: Ladder = book.asks if buys else book.bids
        met = list(islice(ladder, chance.randint(1, _MAKERS_MAX)))
        if not met:
            return self._place(instrument)
        theirs = {order.account for order in met}
        account = chance.randrange(1, self._accounts + 1)
        while account in theirs:
            account = chance.randrange(1, self._accounts + 1)
        behind = met[-1]
        left = chance.randrange(abs(behind.lots))
        lots = sum(abs(order.lots) for order in met) - left
        makers = [(order.name, order.price_ticks or 0, 0) for order in met[:-1]]
        makers.append((behind.name, behind.price_ticks or 0, -left if buys else left))
        return self._done(
            Op(TAKE, account, self._name(), instrument, lots if buys else -lots,
               behind.price_ticks or 0, makers=tuple(makers))
        )  # fmt: skip


def lots_traded(ops: Sequence[Op]) -> int:
    """Lots that operations trade: all that some take."""
    return sum(abs(op.lots) for op in ops if op.kind == TAKE)
