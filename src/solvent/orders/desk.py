"""The order desk: all books of a venue, over all instruments; it knows no money.

Instruments and accounts are numbers, an order is (account, name). Lots are signed in orders and
events, without sign where they are asked for; prices are whole ticks; times milliseconds, given. A
method that may be refused raises `Refused` before anything has changed. What happens is appended to
`events`, in its order. The gate knows positions and money, and is asked for every fill.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from solvent.errors import Refused, Reject, check
from solvent.messages.events import Event, StopTriggered
from solvent.messages.fields import Phase, Side, TimeInForce
from solvent.orders import auction, matching
from solvent.orders.book import NONE, Book, Books, Ladder, live
from solvent.orders.image import Rows, fill_in, rows_of
from solvent.orders.matching import IMMEDIATE, MARGIN, PROTECTION, REDUCE_ONLY, carry
from solvent.orders.order import BookTerms, Gate, Order, Why
from solvent.orders.protection import Protection
from solvent.orders.refusals import refuse_amend, refuse_new, unknown
from solvent.orders.stops import INDEX, MARK

_AMENDED: Final = str(Why.AMENDED)
_CLOSED: Final = str(Why.CLOSED)
_EXPIRED: Final = str(Why.EXPIRED)
_CONTINUOUS: Final = Phase.CONTINUOUS
_FOK: Final = TimeInForce.FOK


class Desk(Books):
    """What an engine asks of its books."""

    # ── an order ─────────────────────────────────────────────────────────────────────────────────

    accept = refuse_new
    accept_amend = refuse_amend

    def enter(self, order: Order, *, time_ms: int, gate: Gate, events: list[Event]) -> None:
        """Carry out an order that has been accepted: it trades, rests, is over, or waits."""
        if self._expiries:
            self.withdraw_expired(time_ms, events)
        if order.stop is not None:
            self.wait(order, events)
            return
        carry(self, order, time_ms, gate, events)
        if self.stirred:
            self.settle_stops(time_ms=time_ms, gate=gate, events=events)

    def amend(
        self, account: int, name: str, *, lots: int | None, price_ticks: int | None, time_ms: int,
        gate: Gate, events: list[Event],
    ) -> None:  # fmt: skip
        """Carry out a change that has been accepted.

        The order keeps its place if its price stays and its lots do not grow; otherwise it is taken
        out and comes in anew.
        """
        if self._expiries:
            self.withdraw_expired(time_ms, events)
        order = self.orders[account][name]
        before = order.lots
        left = abs(before) if lots is None else lots - order.filled
        if left <= abs(before) and (price_ticks is None or price_ticks == order.price_ticks):
            self.trim(order, left, min(order.shown, left), _AMENDED, events)
            return
        self.withdraw(order, _AMENDED, events)
        order.lots = left if before > 0 else -left
        if price_ticks is not None:
            order.price_ticks = price_ticks
        carry(self, order, time_ms, gate, events)
        if self.stirred:
            self.settle_stops(time_ms=time_ms, gate=gate, events=events)

    def cancel(
        self, account: int, name: str, *, why: Why,
        time_ms: int,  # noqa: ARG002  # what has expired can be cancelled until it is removed
        events: list[Event],
    ) -> None:  # fmt: skip
        """Take back an order that rests or a stop that waits."""
        order = self.orders.get(account, NONE).get(name)
        if order is not None:
            self.withdraw(order, str(why), events)
            return
        stop = self.stops.get(account, NONE).get(name)
        if stop is None:
            raise unknown(account, name)
        self.withdraw_stop(stop, str(why), events)

    def take_off(
        self, account: int, name: str, lots: int, *, why: Why, events: list[Event]
    ) -> None:
        """Lots of a resting order go because of what happened elsewhere: it keeps its place. What
        it shows goes first; when none of that is left, a further part is shown."""
        order = self.orders.get(account, NONE).get(name)
        if order is None:
            raise unknown(account, name)
        left = max(0, abs(order.lots) - lots)
        if why == Why.FILLED:
            order.filled += abs(order.lots) - left
        shown = order.shown - lots
        if shown <= 0:
            shown = min(order.display, left)
        self.trim(order, left, shown, str(why), events)

    # ── many orders ──────────────────────────────────────────────────────────────────────────────

    def cancel_where(
        self, *, account: int | None = None, instruments: Collection[int] | None = None,
        side: Side | None = None, group: str | None = None, session: str | None = None, why: Why,
        events: list[Event],
    ) -> int:  # fmt: skip
        """Take back all that fit everything told: orders by rank, then stops by rank; how many."""
        return self.withdraw_where(account, instruments, side, group, session, str(why), events)

    def expire(self, *, time_ms: int, events: list[Event]) -> None:
        """Remove all orders and stops whose time has come, by it and by rank."""
        self.withdraw_expired(time_ms, events)

    def settle_stops(self, *, time_ms: int, gate: Gate, events: list[Event]) -> None:
        """Trigger all stops that the prices set off, and those that their trades set off."""
        while self.stirred:
            books = [self.books[number] for number in self.stirred if number in self.books]
            self.stirred.clear()
            due = [
                order
                for book in books
                if book.phase is _CONTINUOUS and book.stops.count
                for order in book.stops.set_off(book.references())
            ]
            for order in sorted(due, key=lambda order: order.rank):
                if self.stops.get(order.account, NONE).get(order.name) is order:
                    self._trigger(order, time_ms, gate, events)

    def _trigger(self, order: Order, time_ms: int, gate: Gate, events: list[Event]) -> None:
        """A stop becomes an order, unless something has come to stand against it."""
        self.unwait(order)
        order.stop = None
        events.append(StopTriggered(order.account, order.name))
        book = self.books[order.instrument]
        why = ""
        if not live(order, time_ms):
            why = _EXPIRED
        elif order.group and self.groups[order.account, order.group].frozen(time_ms):
            why = PROTECTION
        elif order.reduce_only and not matching.room_of(gate, order):
            why = REDUCE_ONLY
        elif (order.post_only and matching.crosses(book, order, time_ms)) or (
            order.time_in_force is _FOK and not matching.fillable(book, order, time_ms, gate)
        ):
            why = IMMEDIATE
        elif not gate.admit(order):
            why = MARGIN
        if why:
            matching.end(order, why, events)
        else:
            carry(self, order, time_ms, gate, events)

    # ── protection ───────────────────────────────────────────────────────────────────────────────

    def set_protection(
        self, account: int, group: str, *, window_ms: int, frozen_ms: int, lots: int | None,
        delta_nano: int | None,
    ) -> None:  # fmt: skip
        """Protect a group from now on; what it was before counts no more."""
        self.groups[account, group] = Protection(
            window_ms=window_ms, frozen_ms=frozen_ms, lots=lots, delta_nano=delta_nano
        )

    def reset_protection(self, account: int, group: str) -> None:
        """Let a group quote again; its fills are forgotten."""
        protection = self.groups.get((account, group))
        if protection is None:
            raise Refused(
                Reject.PROTECTION_UNKNOWN,
                f"group {group!r} of account {account}: expected one that is protected",
            )
        protection.reset()

    # ── books ────────────────────────────────────────────────────────────────────────────────────

    def open_book(self, instrument: int, terms: BookTerms) -> None:
        """An instrument begins to trade, continuously."""
        check(instrument not in self.books, "a book is opened once", instrument)
        self.books[instrument] = Book(instrument, terms)

    def set_terms(self, instrument: int, terms: BookTerms) -> None:
        """What a book takes from now on; what rests stays."""
        self.book_of(instrument).take(terms)
        # Stops look at the last price in points: a tick may be other points now.
        self.stirred[instrument] = None

    def close_book(self, instrument: int, *, events: list[Event]) -> None:
        """An instrument is over: its orders and stops go, and so does its book."""
        self.book_of(instrument)
        self.withdraw_where(None, (instrument,), None, None, None, _CLOSED, events)
        del self.books[instrument]

    def phase(self, instrument: int) -> Phase:
        """How an instrument trades now."""
        return self.book_of(instrument).phase

    def set_phase(
        self, instrument: int, phase: Phase, *, time_ms: int, gate: Gate, events: list[Event]
    ) -> None:
        """An instrument trades in another way; what crosses when it becomes continuous trades at
        one price."""
        book = self.book_of(instrument)
        if phase is not _CONTINUOUS:
            book.phase = phase
            return
        self.withdraw_expired(time_ms, events)
        if book.terms.matching:
            auction.uncross(self, book, time_ms, gate, events)
        book.phase = phase
        self.stirred[instrument] = None
        self.settle_stops(time_ms=time_ms, gate=gate, events=events)

    def observe(
        self, instrument: int, *, mark_points: int | None = None, index_nano: int | None = None
    ) -> None:
        """The reference prices of an instrument now; None leaves what was known."""
        book = self.book_of(instrument)
        book.observe(mark_points, index_nano)
        stops = book.stops
        if stops.count and (
            (mark_points is not None and stops.reached(MARK, mark_points))
            or (index_nano is not None and stops.reached(INDEX, index_nano))
        ):
            self.stirred[instrument] = None

    # ── what there is ────────────────────────────────────────────────────────────────────────────

    def order_count(self, instrument: int) -> int:
        """Orders that rest and stops that wait in a book."""
        return self.book_of(instrument).count

    def depth(
        self, instrument: int, levels: int | None = None
    ) -> tuple[list[tuple[int, int, int]], list[tuple[int, int, int]]]:
        """Bids and asks, the best first: price in ticks, lots shown, orders."""
        book = self.book_of(instrument)
        return _levels(book.bids, 1, levels), _levels(book.asks, -1, levels)

    def best(self, instrument: int) -> tuple[int | None, int | None]:
        """The best bid and the best ask in ticks."""
        book = self.book_of(instrument)
        bids, asks = book.bids.keys, book.asks.keys
        return bids[-1] if bids else None, -asks[-1] if asks else None

    def last(self, instrument: int) -> int | None:
        """The price in ticks of the last trade."""
        return self.book_of(instrument).last

    def uncrossing(self, instrument: int) -> tuple[int, int] | None:
        """The price in ticks and the lots that an auction would come to now: `auction`."""
        return auction.uncrossing(self.book_of(instrument))

    def impact(self, instrument: int, side: Side, lots: int) -> tuple[int, int, int | None]:
        """What a taker of a side would get of all that rests, hidden lots too: lots, the sum of
        lots times ticks, and the worst price."""
        return matching.impact(self.book_of(instrument), side, lots)

    # ── the state ────────────────────────────────────────────────────────────────────────────────

    def image(self) -> Rows:
        """The whole state as plain rows; equal desks have equal ones."""
        return rows_of(self)

    @classmethod
    def restored(cls, rows: Rows, terms: Mapping[int, BookTerms]) -> Desk:
        """The desk that an image was taken of, with the terms of its instruments."""
        desk = cls()
        fill_in(desk, rows, terms)
        return desk


def _levels(ladder: Ladder, sign: int, most: int | None) -> list[tuple[int, int, int]]:
    keys = ladder.keys[::-1] if most is None else ladder.keys[: -most - 1 : -1]
    found = []
    for key in keys:
        shown = [order.shown for order in ladder.levels[key]]
        found.append((sign * key, sum(shown), len(shown)))
    return found
