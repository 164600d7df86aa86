"""What rests and what waits on the plain desk, and all that can be seen of it.

An order is in `resting`, in the order in which they came to rest, or in `waiting` with its stop, or
nowhere. Enters: orders. Leaves: views, or rows of events where an order goes or gets smaller. Lots
of views are without sign, prices whole ticks.
"""

from __future__ import annotations

from solvent.errors import Refused, Reject
from solvent.verify.orders_terms import (
    ORDERS_MAX,
    PlainBook,
    PlainGate,
    PlainGroup,
    PlainOrder,
    Row,
    auction_price,
    worst_ticks,
)

Level = tuple[int, int, int]
"""Price, lots shown, orders."""


class PlainBooks:
    """All orders of a venue.

    Attributes:
        rank: the last place in time that was given out.
        groups: protected orders by account and name of the group.
    """

    def __init__(self, orders_max: int = ORDERS_MAX) -> None:
        self.orders_max = orders_max
        self.books: dict[int, PlainBook] = {}
        self.resting: list[PlainOrder] = []
        self.waiting: list[PlainOrder] = []
        self.groups: dict[tuple[int, str], PlainGroup] = {}
        self.rank = 0

    # ── what can be seen ─────────────────────────────────────────────────────────────────────

    @property
    def orders(self) -> dict[int, dict[str, PlainOrder]]:
        """What rests: by account and name."""
        return _by_name(self.resting)

    @property
    def stops(self) -> dict[int, dict[str, PlainOrder]]:
        """What waits for its trigger: by account and name."""
        return _by_name(self.waiting)

    def depth(self, instrument: int, levels: int | None = None) -> tuple[list[Level], list[Level]]:
        """What is shown of bids and of asks, best first."""
        here = self._in(instrument)
        bids = [one for one in here if one.buys]
        asks = [one for one in here if not one.buys]
        return (
            [_level(bids, price) for price in sorted({one.price for one in bids})[::-1]][:levels],
            [_level(asks, price) for price in sorted({one.price for one in asks})][:levels],
        )

    def best(self, instrument: int) -> tuple[int | None, int | None]:
        """The highest bid and the lowest ask."""
        here = self._in(instrument)
        return (
            max((one.price for one in here if one.buys), default=None),
            min((one.price for one in here if not one.buys), default=None),
        )

    def last(self, instrument: int) -> int | None:
        """The price of the last trade."""
        return self._book(instrument).last_ticks

    def uncrossing(self, instrument: int) -> tuple[int, int] | None:
        """What an auction would come to now: price and lots."""
        return auction_price(self._in(instrument), self._book(instrument))

    def impact(self, instrument: int, side: str, lots: int) -> tuple[int, int, int | None]:
        """What would be had from all that rests: lots, their worth in lots x ticks, worst price."""
        taker = PlainOrder(
            account=-1, name="", instrument=instrument, lots=lots if side == "buy" else -lots
        )
        left, worth, worst = lots, 0, None
        for one in self._queue(taker, None):
            if left == 0:
                break
            got = min(left, abs(one.lots))
            left, worth, worst = left - got, worth + got * one.price, one.price
        return lots - left, worth, worst

    # ── looking ──────────────────────────────────────────────────────────────────────────────

    def _book(self, instrument: int) -> PlainBook:
        if instrument not in self.books:
            raise Refused(Reject.INSTRUMENT_UNKNOWN, f"no book of instrument {instrument}")
        return self.books[instrument]

    def _find(self, account: int, name: str) -> PlainOrder | None:
        for one in self.resting + self.waiting:
            if one.account == account and one.name == name:
                return one
        return None

    def _known(self, account: int, name: str) -> PlainOrder:
        found = self._find(account, name)
        if found is None:
            raise Refused(Reject.ORDER_UNKNOWN, f"order {name!r} of account {account} is not there")
        return found

    def _in(self, instrument: int) -> list[PlainOrder]:
        """What rests of an instrument, by rank."""
        self._book(instrument)
        here = [one for one in self.resting if one.instrument == instrument]
        return sorted(here, key=lambda one: one.rank)

    def _queue(self, order: PlainOrder, limit_ticks: int | None) -> list[PlainOrder]:
        """Whom an order meets, one after the other, up to the worst price that it takes."""
        others = [one for one in self._in(order.instrument) if one.buys != order.buys]
        if order.buys:
            queue = sorted(others, key=lambda one: one.price)
            return [one for one in queue if limit_ticks is None or one.price <= limit_ticks]
        queue = sorted(others, key=lambda one: -one.price)
        return [one for one in queue if limit_ticks is None or one.price >= limit_ticks]

    def _crosses(self, order: PlainOrder, time_ms: int) -> bool:
        """Whether an order with a price would meet anybody."""
        queue = self._queue(order, worst_ticks(order, self._book(order.instrument)))
        return any(not one.over(time_ms) for one in queue)

    def _room(self, order: PlainOrder, gate: PlainGate) -> int:
        """Lots by which an order can make its account's position smaller."""
        held = gate.held(order.account, order.instrument)
        return abs(held) if held * order.lots < 0 else 0

    def _fillable(self, order: PlainOrder, time_ms: int, gate: PlainGate) -> bool:
        """Whether all of an order can be traded at once, as far as the book can tell."""
        wanted = abs(order.lots)
        if order.reduce_only and wanted > self._room(order, gate):
            return False
        rooms: dict[int, int] = {}
        found = 0
        for one in self._queue(order, worst_ticks(order, self._book(order.instrument))):
            if one.over(time_ms):
                continue
            if one.account == order.account:
                if order.self_trade == "oldest":
                    continue
                break
            lots = abs(one.lots)
            if one.reduce_only:
                room = rooms.get(one.account, self._room(one, gate))
                lots = min(lots, room)
                rooms[one.account] = room - lots
            found += lots
            if found >= wanted:
                return True
        return False

    # ── going, or getting smaller ────────────────────────────────────────────────────────────

    def _tell_left(self, order: PlainOrder, why: str, events: list[Row]) -> None:
        shown = order.shown if order.buys else -order.shown
        events.append(["order_reduced", order.account, order.name, order.lots, shown, why])

    def _remove(self, order: PlainOrder, why: str, events: list[Row]) -> None:
        """An order or a stop is gone."""
        if order.stop is not None:
            self.waiting.remove(order)
            events.append(["stop_cancelled", order.account, order.name, why])
        else:
            self.resting.remove(order)
            events.append(["order_reduced", order.account, order.name, 0, 0, why])

    def _reduce(self, order: PlainOrder, lots: int, why: str, events: list[Row]) -> None:
        """Shown lots go; where all have, hidden ones are shown at the end of the queue."""
        order.lose(lots)
        order.shown -= lots
        if order.lots == 0:
            self.resting.remove(order)
        elif order.shown == 0:
            self.rank += 1
            order.rank = self.rank
            order.show()
        self._tell_left(order, why, events)


def _by_name(orders: list[PlainOrder]) -> dict[int, dict[str, PlainOrder]]:
    found: dict[int, dict[str, PlainOrder]] = {}
    for one in orders:
        found.setdefault(one.account, {})[one.name] = one
    return found


def _level(orders: list[PlainOrder], price: int) -> Level:
    here = [one for one in orders if one.price == price]
    return price, sum(one.shown for one in here), len(here)
