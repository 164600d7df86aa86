"""What the books of a venue hold, and the few steps that change it.

`Books` has every order twice: by account and name, and in its book by price and rank. Both change
together and only here. Lots are signed, positive to buy; `shown` of an order is without sign, of an
event with it. Ranks count up by one over all books.

One side of a book (`Ladder`) sorts by keys: a bid's is its price, an ask's is minus its price. So
the best is the highest on either side; it stands last, where it is cheap to remove.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Collection, Iterator
from heapq import heapify, heappop, heappush
from typing import Final, cast

from solvent.errors import Refused, Reject
from solvent.messages.events import Event, OrderReduced, OrderRested, StopCancelled, StopPlaced
from solvent.messages.fields import Phase, Side, StopAt
from solvent.orders.order import BookTerms, Order, Why
from solvent.orders.protection import Protection
from solvent.orders.stops import References, Stops, holds

PPM: Final = 1_000_000
_EXPIRED: Final = str(Why.EXPIRED)
_BUY: Final = Side.BUY
_EXPIRIES_SPARE: Final = 1_024
"""Entries of orders that are long gone and yet wait for their time, at least."""
_FAR_TICKS: Final = 1 << 60
"""Beyond every price."""
NONE: Final[dict[str, Order]] = {}
"""The orders of an account that has none; never written to."""


class Level:
    """All orders at one price, by rank. Each knows those before and after it, so that any of them
    leaves at the same cost."""

    __slots__ = ("first", "key", "ladder", "latest")

    def __init__(self, key: int, ladder: Ladder, order: Order) -> None:
        self.key = key
        self.ladder = ladder
        self.first = self.latest = order

    def __iter__(self) -> Iterator[Order]:
        order: Order | None = self.first
        while order is not None:
            yield order
            order = order.after

    def requeue(self) -> None:
        """The first order goes behind all others."""
        order, latest = self.first, self.latest
        after = order.after
        if after is not None:
            self.first = after
            after.before = order.after = None
            order.before = latest
            latest.after = self.latest = order


class Ladder:
    """One side of a book: `keys` sorted, the best last; `levels` by key; `count` of its orders."""

    __slots__ = ("count", "keys", "levels")

    def __init__(self) -> None:
        self.keys: list[int] = []
        self.levels: dict[int, Level] = {}
        self.count = 0

    def front(self, floor: int) -> Order | None:
        """The first order at the best price, where that is at least a key."""
        keys = self.keys
        return self.levels[keys[-1]].first if keys and keys[-1] >= floor else None

    def __iter__(self) -> Iterator[Order]:
        """The best price first, at a price by rank."""
        return (order for key in reversed(self.keys) for order in self.levels[key])


class Book:
    """The book of one instrument.

    Attributes:
        mark_points, index_nano, last: reference prices, None where none is known.
        buy_max, sell_min: the band's edges in ticks; beyond every price where there is no band.
    """

    __slots__ = (
        "asks", "bids", "buy_max", "index_nano", "instrument", "last", "mark_points", "phase",
        "sell_min", "stops", "terms",
    )  # fmt: skip

    def __init__(self, instrument: int, terms: BookTerms) -> None:
        self.instrument = instrument
        self.terms = terms
        self.phase = Phase.CONTINUOUS
        self.mark_points: int | None = None
        self.index_nano: int | None = None
        self.last: int | None = None
        self.buy_max = _FAR_TICKS
        self.sell_min = -_FAR_TICKS
        self.bids = Ladder()
        self.asks = Ladder()
        self.stops = Stops()

    def take(self, terms: BookTerms) -> None:
        """Other terms are in force."""
        self.terms = terms
        self._set_band()

    def observe(self, mark_points: int | None, index_nano: int | None) -> None:
        """Learn reference prices; None leaves what was known."""
        if index_nano is not None:
            self.index_nano = index_nano
        if mark_points is not None:
            self.mark_points = mark_points
            self._set_band()

    def _set_band(self) -> None:
        terms, mark_points = self.terms, self.mark_points
        if mark_points is None or terms.band_ppm is None or terms.signed:
            self.buy_max, self.sell_min = _FAR_TICKS, -_FAR_TICKS
            return
        per_tick = PPM * terms.points_per_tick
        # Both inward: an edge is itself a price that is inside.
        self.buy_max = mark_points * (PPM + terms.band_ppm) // per_tick
        self.sell_min = -(-mark_points * (PPM - terms.band_ppm) // per_tick)

    @property
    def count(self) -> int:
        """Orders that rest and stops that wait."""
        return self.bids.count + self.asks.count + self.stops.count

    def references(self) -> References:
        """What stops look at."""
        last = None if self.last is None else self.last * self.terms.points_per_tick
        return self.mark_points, self.index_nano, last


class Books:
    """All books: what rests, what waits, in which order.

    Attributes:
        orders, stops: account → name → order, in the order of coming; no account without any.
        rank: the last that was given out. groups: protections by account and group.
        books: by instrument. resting_lots: account → sum of the lots, without sign, of `orders`.
        stirred: instruments where a price has set stops off since they were last looked at.
    """

    def __init__(self) -> None:
        self.orders: dict[int, dict[str, Order]] = {}
        self.stops: dict[int, dict[str, Order]] = {}
        self.rank = 0
        self.groups: dict[tuple[int, str], Protection] = {}
        self.books: dict[int, Book] = {}
        self.resting_lots: dict[int, int] = {}
        self.stirred: dict[int, None] = {}
        # Orders and stops that end by themselves, by time and rank. Those that have gone or have
        # taken another rank stay in until their time, or until they are too many.
        self._expiries: list[tuple[int, int, Order]] = []
        self._expiries_max = _EXPIRIES_SPARE

    @property
    def may_expire(self) -> bool:
        """Whether some order or stop may end by itself."""
        return bool(self._expiries)

    def book_of(self, instrument: int) -> Book:
        """The book of an instrument; refused where there is none."""
        book = self.books.get(instrument)
        if book is None:
            raise Refused(
                Reject.INSTRUMENT_UNKNOWN, f"instrument {instrument}: expected one with a book"
            )
        return book

    # ── orders that rest ─────────────────────────────────────────────────────────────────────────

    def rest(self, order: Order, events: list[Event]) -> None:
        """An order comes to rest, behind all others at its price."""
        account, name, lots = order.account, order.name, order.lots
        price = order.price_ticks or 0  # what rests has one
        book = self.books[order.instrument]
        display = order.display
        if lots > 0:
            ladder, key = book.bids, price
            size = signed = lots
            if 0 < display < lots:
                size = signed = display
        else:
            ladder, key = book.asks, -price
            size, signed = -lots, lots
            if 0 < display < size:
                size, signed = display, -display
        order.shown = size
        rank = order.rank = self.rank = self.rank + 1
        mine = self.orders.get(account)
        if mine is None:
            self.orders[account] = {name: order}
            self.resting_lots[account] = abs(lots)
        else:
            mine[name] = order
            self.resting_lots[account] += abs(lots)
        ladder.count += 1
        level = ladder.levels.get(key)
        if level is None:
            order.level = ladder.levels[key] = Level(key, ladder, order)
            keys = ladder.keys
            if keys and keys[-1] > key:
                insort(keys, key)
            else:
                keys.append(key)
        else:
            order.level = level
            latest = order.before = level.latest
            latest.after = level.latest = order
        if order.expire_ms:
            self._expect(order.expire_ms, rank, order)
        events.append(OrderRested(account, name, book.instrument, lots, price, signed))

    def withdraw(self, order: Order, why: str, events: list[Event]) -> None:
        """A resting order is over."""
        account, name = order.account, order.name
        mine = self.orders[account]
        del mine[name]
        if mine:
            self.resting_lots[account] -= abs(order.lots)
        else:
            del self.orders[account], self.resting_lots[account]
        level, before, after = order.level, order.before, order.after
        ladder = level.ladder
        ladder.count -= 1
        if before is not None:
            before.after = after
            order.before = None
            if after is not None:
                after.before = before
                order.after = None
            else:
                level.latest = before
        elif after is not None:
            level.first = after
            after.before = order.after = None
        else:
            key, keys = level.key, ladder.keys
            # Nothing may point in a circle: nobody looks for those.
            del ladder.levels[key], level.first, level.latest
            if keys[-1] == key:
                keys.pop()
            else:
                del keys[bisect_left(keys, key)]
        events.append(OrderReduced(account, name, 0, 0, why))

    def reduce(self, order: Order, lots: int, why: str, events: list[Event]) -> None:
        """Some of what the first order at a price shows is gone; when all of it is, a further part
        is shown, which goes behind all others at the price."""
        shown = order.shown - lots
        left = abs(order.lots) - lots
        if not shown and left:
            shown = min(order.display, left)
            order.rank = self.rank = self.rank + 1
            order.level.requeue()
            if order.expire_ms:
                self._expect(order.expire_ms, order.rank, order)
        self.trim(order, left, shown, why, events)

    def trim(self, order: Order, left: int, shown: int, why: str, events: list[Event]) -> None:
        """A resting order has so many lots left and shows so many, in its place; or it is over."""
        if not left:
            self.withdraw(order, why, events)
            order.lots = order.shown = 0
            return
        lots = order.lots
        order.shown = shown
        if lots > 0:
            self.resting_lots[order.account] -= lots - left
            order.lots = left
        else:
            self.resting_lots[order.account] += lots + left
            order.lots = left = -left
            shown = -shown
        events.append(OrderReduced(order.account, order.name, left, shown, why))

    # ── stops ────────────────────────────────────────────────────────────────────────────────────

    def wait(self, order: Order, events: list[Event]) -> None:
        """A stop begins to wait."""
        rank = order.rank = self.rank = self.rank + 1
        stop = cast(StopAt, order.stop)
        book = self.books[order.instrument]
        book.stops.add(order, stop)
        self.stops.setdefault(order.account, {})[order.name] = order
        if holds(stop, book.references()):
            self.stirred[order.instrument] = None
        if order.expire_ms:
            self._expect(order.expire_ms, rank, order)
        events.append(StopPlaced(order.account, order.name, order.instrument))

    def unwait(self, order: Order) -> None:
        """A stop leaves every index."""
        self.books[order.instrument].stops.remove(order, cast(StopAt, order.stop))
        mine = self.stops[order.account]
        del mine[order.name]
        if not mine:
            del self.stops[order.account]

    def withdraw_stop(self, order: Order, why: str, events: list[Event]) -> None:
        """A stop is over before its trigger."""
        self.unwait(order)
        events.append(StopCancelled(order.account, order.name, why))

    # ── many at once ─────────────────────────────────────────────────────────────────────────────

    def withdraw_where(
        self, account: int | None, instruments: Collection[int] | None, side: Side | None,
        group: str | None, session: str | None, why: str, events: list[Event],
    ) -> int:  # fmt: skip
        """Take back all that fit whatever is told, orders before stops, each by rank; how many."""
        wanted = None if instruments is None else dict.fromkeys(instruments)
        orders, stops = self._candidates(account, wanted)

        def fits(order: Order) -> bool:
            return (
                (account is None or order.account == account)
                and (wanted is None or order.instrument in wanted)
                and (side is None or (order.lots > 0) == (side is _BUY))
                and (group is None or order.group == group)
                and (session is None or order.session == session)
            )

        orders = sorted(filter(fits, orders), key=_rank)
        stops = sorted(filter(fits, stops), key=_rank)
        for order in orders:
            self.withdraw(order, why, events)
        for order in stops:
            self.withdraw_stop(order, why, events)
        return len(orders) + len(stops)

    def _candidates(
        self, account: int | None, wanted: dict[int, None] | None
    ) -> tuple[list[Order], list[Order]]:
        """Orders and stops of the account or of the instruments, whichever are fewer."""
        if account is not None:
            mine = self.orders.get(account, NONE)
            waiting = self.stops.get(account, NONE)
            if wanted is None or len(mine) + len(waiting) <= sum(
                self.books[number].count for number in wanted if number in self.books
            ):
                return list(mine.values()), list(waiting.values())
        numbers = self.books if wanted is None else wanted
        books = [self.books[number] for number in numbers if number in self.books]
        return (
            [order for book in books for ladder in (book.bids, book.asks) for order in ladder],
            [order for book in books for order in book.stops],
        )

    # ── expiry ───────────────────────────────────────────────────────────────────────────────────

    def withdraw_expired(self, time_ms: int, events: list[Event]) -> None:
        """Remove all whose time has come, by it and by rank."""
        expiries = self._expiries
        while expiries and expiries[0][0] <= time_ms:
            entry = heappop(expiries)
            order = entry[2]
            if self._current(entry):
                if order.stop is None:
                    self.withdraw(order, _EXPIRED, events)
                else:
                    self.withdraw_stop(order, _EXPIRED, events)

    def _expect(self, expire_ms: int, rank: int, order: Order) -> None:
        expiries = self._expiries
        heappush(expiries, (expire_ms, rank, order))
        if len(expiries) > self._expiries_max:
            expiries[:] = filter(self._current, expiries)
            heapify(expiries)
            self._expiries_max = 2 * len(expiries) + _EXPIRIES_SPARE

    def _current(self, entry: tuple[int, int, Order]) -> bool:
        """Whether an order is here still, with the rank of the entry."""
        _, rank, order = entry
        table = self.orders if order.stop is None else self.stops
        return order.rank == rank and table.get(order.account, NONE).get(order.name) is order


def live(order: Order, time_ms: int) -> bool:
    """Whether an order has not expired.

    >>> order = Order(1, "a", 7, 5, 100, expire_ms=2_000)
    >>> live(order, 1_999), live(order, 2_000)
    (True, False)
    """
    return not 0 < order.expire_ms <= time_ms


def _rank(order: Order) -> int:
    return order.rank
