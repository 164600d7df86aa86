"""The order desk once more, written to be read: one list of orders, looked through from end to end.

Shares no code with the desk that is used. Enters: orders as `PlainOrder`, and what is asked of
them; who knows money is the gate. Leaves: events as plain rows, appended to `events`, or `Refused`
before anything has changed. Lots are signed, positive to buy, prices whole ticks, times
milliseconds since 1970 UTC.

What is best, what is due, what is next is found anew each time: see `orders_books`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from solvent.errors import Refused, Reject
from solvent.limits import ICEBERG_PARTS_MAX, LOTS_MAX
from solvent.verify.orders_books import PlainBooks
from solvent.verify.orders_terms import (
    AUCTION,
    CONTINUOUS,
    PlainBook,
    PlainGate,
    PlainGroup,
    PlainOrder,
    PlainTerms,
    Row,
    holds,
    refuse_band,
    refuse_phase,
    refuse_steps,
    refuse_terms,
    worst_ticks,
)


class PlainDesk(PlainBooks):
    """All books of a venue, and all that can be asked of them."""

    # ── books ────────────────────────────────────────────────────────────────────────────────

    def open_book(self, instrument: int, terms: PlainTerms) -> None:
        """A book for an instrument, which trades continuously."""
        self.books[instrument] = PlainBook(terms)

    def close_book(self, instrument: int, *, events: list[Row]) -> None:
        """An instrument is over: its orders and stops go, and its book."""
        self._book(instrument)
        self.cancel_where(instruments=[instrument], why="closed", events=events)
        del self.books[instrument]

    def phase(self, instrument: int) -> str:
        """How an instrument trades."""
        return self._book(instrument).phase

    def set_phase(
        self, instrument: int, phase: str, *, time_ms: int, gate: PlainGate, events: list[Row]
    ) -> None:
        """Trade in another way. What is crossed trades before trading is continuous."""
        book = self._book(instrument)
        if phase == CONTINUOUS:
            self.expire(time_ms=time_ms, events=events)
            if book.terms.matching:
                while (found := self.uncrossing(instrument)) is not None:
                    self._uncross(instrument, found[0], time_ms, gate, events)
            book.phase = phase
            self.settle_stops(time_ms=time_ms, gate=gate, events=events)
        book.phase = phase

    def observe(
        self, instrument: int, *, mark_points: int | None = None, index_nano: int | None = None
    ) -> None:
        """The reference prices are these now; None leaves one as it was."""
        book = self._book(instrument)
        book.mark_points = book.mark_points if mark_points is None else mark_points
        book.index_nano = book.index_nano if index_nano is None else index_nano

    # ── new orders ───────────────────────────────────────────────────────────────────────────

    def accept(self, order: PlainOrder, *, time_ms: int, gate: PlainGate) -> None:
        """Refuse what cannot be done; nothing changes."""
        book = self._book(order.instrument)
        refuse_phase(order, book, time_ms)
        before = self._find(order.account, order.name)
        if before is not None and not before.over(time_ms):
            raise Refused(Reject.ORDER_DUPLICATED, f"{order.said()}: expected a new name")
        refuse_terms(order, book.terms, time_ms)
        refuse_steps(order, book.terms, price_ticks=order.price_ticks, lots=abs(order.lots))
        at_once = order.price_ticks is None or not order.may_wait
        if order.stop is None and book.phase == AUCTION and at_once:
            raise Refused(Reject.ORDER_NOT_FOR_AUCTION, f"{order.said()}: expected one that waits")
        refuse_band(order, book)
        self._refuse_group(order, time_ms)
        theirs = [one for one in self.resting if one.account == order.account]
        waiting = [one for one in self.waiting if one.account == order.account]
        if len(theirs) + len(waiting) >= self.orders_max:
            raise Refused(Reject.CAPACITY_REACHED, f"{order.said()}: one order too many")
        lots = sum(abs(one.lots) for one in theirs) + abs(order.lots)
        if order.stop is None and lots > LOTS_MAX:
            raise Refused(Reject.POSITION_TOO_LARGE, f"{order.said()}: {lots} lots in orders")
        if order.reduce_only and self._room(order, gate) == 0:
            raise Refused(Reject.REDUCE_ONLY_INCREASES, f"{order.said()}: nothing to reduce")
        if order.stop is not None:
            if holds(order.stop, book):
                raise Refused(Reject.STOP_TRIGGERS_AT_ONCE, f"{order.said()}: {order.stop}")
        elif book.matches:
            if order.post_only and self._crosses(order, time_ms):
                raise Refused(Reject.POST_ONLY_CROSSES, f"{order.said()}: it would trade")
            if order.time_in_force == "fok" and not self._fillable(order, time_ms, gate):
                raise Refused(Reject.ORDER_UNFILLABLE, f"{order.said()}: too few lots for it")

    def enter(self, order: PlainOrder, *, time_ms: int, gate: PlainGate, events: list[Row]) -> None:
        """Carry out what was accepted."""
        self.expire(time_ms=time_ms, events=events)
        if order.stop is not None:
            self.rank += 1
            order.rank = self.rank
            self.waiting.append(order)
            events.append(["stop_placed", order.account, order.name, order.instrument])
            return
        self._carry_out(order, time_ms, gate, events)
        self.settle_stops(time_ms=time_ms, gate=gate, events=events)

    # ── amendments ───────────────────────────────────────────────────────────────────────────

    def accept_amend(
        self, account: int, name: str, *, lots: int | None, price_ticks: int | None,
        time_ms: int, gate: PlainGate,
    ) -> PlainOrder:  # fmt: skip
        """What the order would be; or refuse it. Nothing changes. `lots` count the filled ones."""
        order = self._find(account, name)
        if order is None or order.over(time_ms):
            raise Refused(Reject.ORDER_UNKNOWN, f"order {name!r} of account {account} is not there")
        if order.stop is not None:
            raise Refused(Reject.ORDER_WAITING, f"{order.said()} waits for its trigger")
        book = self._book(order.instrument)
        refuse_phase(order, book, time_ms)
        if lots is None and price_ticks is None:
            raise Refused(Reject.ORDER_TERMS_INVALID, f"{order.said()}: expected lots or a price")
        if lots is not None and lots <= order.filled:
            raise Refused(Reject.AMEND_BELOW_FILLED, f"{order.said()}: filled {order.filled}")
        refuse_steps(order, book.terms, price_ticks=price_ticks, lots=lots)
        new = self._amended(order, lots, price_ticks)
        if lots is not None and new.parts > ICEBERG_PARTS_MAX:
            raise Refused(Reject.ORDER_TERMS_INVALID, f"{order.said()}: shown in too many parts")
        moves, grows = new.price_ticks != order.price_ticks, abs(new.lots) > abs(order.lots)
        if moves or grows:
            refuse_band(new, book)
        self._refuse_group(new, time_ms)
        others = [one for one in self.resting if one.account == account and one is not order]
        if sum(abs(one.lots) for one in others) + abs(new.lots) > LOTS_MAX:
            raise Refused(Reject.POSITION_TOO_LARGE, f"{order.said()}: too many lots in orders")
        if grows and order.reduce_only and self._room(order, gate) == 0:
            raise Refused(Reject.REDUCE_ONLY_INCREASES, f"{order.said()}: nothing to reduce")
        if moves and new.post_only and book.matches and self._crosses(new, time_ms):
            raise Refused(Reject.POST_ONLY_CROSSES, f"{order.said()}: it would trade")
        return new

    def amend(
        self, account: int, name: str, *, lots: int | None, price_ticks: int | None,
        time_ms: int, gate: PlainGate, events: list[Row],
    ) -> None:  # fmt: skip
        """Carry an accepted amendment out: in its place where only lots go, else as a new order."""
        self.expire(time_ms=time_ms, events=events)
        order = self._known(account, name)
        new = self._amended(order, lots, price_ticks)
        if new.price_ticks == order.price_ticks and abs(new.lots) <= abs(order.lots):
            order.lots = new.lots
            order.shown = min(order.shown, abs(new.lots))
            self._tell_left(order, "amended", events)
            return
        self._remove(order, "amended", events)
        self._carry_out(new, time_ms, gate, events)
        self.settle_stops(time_ms=time_ms, gate=gate, events=events)

    def _amended(self, order: PlainOrder, lots: int | None, price: int | None) -> PlainOrder:
        left = abs(order.lots) if lots is None else lots - order.filled
        return replace(
            order,
            lots=left if order.buys else -left,
            price_ticks=order.price_ticks if price is None else price,
        )

    # ── taking back ──────────────────────────────────────────────────────────────────────────

    def cancel(self, account: int, name: str, *, why: str, time_ms: int, events: list[Row]) -> None:
        """An order or a stop goes, also one whose date has come but that is still there."""
        del time_ms
        self._remove(self._known(account, name), why, events)

    def take_off(self, account: int, name: str, lots: int, *, why: str, events: list[Row]) -> None:
        """Some lots of a resting order go, the shown ones first; it keeps its place."""
        order = self._known(account, name)
        order.lose(lots)
        if why == "filled":
            order.filled += lots
        order.shown = max(0, order.shown - lots)
        if order.lots == 0:
            self.resting.remove(order)
        elif order.shown == 0:
            order.show()
        self._tell_left(order, why, events)

    def cancel_where(
        self, *, account: int | None = None, instruments: Collection[int] | None = None,
        side: str | None = None, group: str | None = None, session: str | None = None,
        why: str, events: list[Row],
    ) -> int:  # fmt: skip
        """All that fit everything that is told go, resting ones first, by rank; how many."""
        gone = [
            one
            for orders in (self.resting, self.waiting)
            for one in sorted(orders, key=lambda one: one.rank)
            if (account is None or one.account == account)
            and (instruments is None or one.instrument in instruments)
            and (side is None or one.side == side)
            and (group is None or one.group == group)
            and (session is None or one.session == session)
        ]
        for one in gone:
            self._remove(one, why, events)
        return len(gone)

    def expire(self, *, time_ms: int, events: list[Row]) -> None:
        """All whose date has come go."""
        gone = [one for one in self.resting + self.waiting if one.over(time_ms)]
        for one in sorted(gone, key=lambda one: (one.expire_ms, one.rank)):
            self._remove(one, "expired", events)

    # ── protection ───────────────────────────────────────────────────────────────────────────

    def set_protection(
        self, account: int, group: str, *, window_ms: int, frozen_ms: int,
        lots: int | None, delta_nano: int | None,
    ) -> None:  # fmt: skip
        """A group is protected from now on, as if it had never traded."""
        self.groups[account, group] = PlainGroup(
            window_ms=window_ms, frozen_ms=frozen_ms, lots=lots, delta_nano=delta_nano
        )

    def reset_protection(self, account: int, group: str) -> None:
        """A group may quote again; what was filled before counts no more."""
        if (account, group) not in self.groups:
            raise Refused(Reject.PROTECTION_UNKNOWN, f"group {group!r} of account {account}")
        known = self.groups[account, group]
        known.tripped, known.until_ms, known.notes = False, 0, []

    def _note(
        self, order: PlainOrder, bought: bool, lots: int, time_ms: int, gate: PlainGate,
        events: list[Row],
    ) -> bool:  # fmt: skip
        """A fill counts for the order's group; whether that was too much, and its orders went."""
        if not order.group:
            return False
        group = self.groups[order.account, order.group]
        delta = lots * gate.delta_nano(order.instrument)
        group.notes.append((time_ms, lots, delta if bought else -delta))
        group.notes = [note for note in group.notes if note[0] > time_ms - group.window_ms]
        filled = sum(note[1] for note in group.notes)
        one_way = abs(sum(note[2] for note in group.notes))
        if not (
            (group.lots is not None and filled > group.lots)
            or (group.delta_nano is not None and one_way > group.delta_nano)
        ):
            return False
        group.tripped = True
        group.until_ms = time_ms + group.frozen_ms if group.frozen_ms else 0
        group.notes = []
        events.append(["protection_tripped", order.account, order.group, group.until_ms])
        self.cancel_where(account=order.account, group=order.group, why="protection", events=events)
        return True

    # ── stops ────────────────────────────────────────────────────────────────────────────────

    def settle_stops(self, *, time_ms: int, gate: PlainGate, events: list[Row]) -> None:
        """Whatever waited for what is now so becomes an order, until nothing more does."""
        while True:
            due = [
                one
                for one in sorted(self.waiting, key=lambda one: one.rank)
                if self.books[one.instrument].phase == CONTINUOUS
                and one.stop is not None
                and holds(one.stop, self.books[one.instrument])
            ]
            if not due:
                return
            for order in due:
                if order not in self.waiting:
                    continue
                events.append(["stop_triggered", order.account, order.name])
                self.waiting.remove(order)
                order.stop = None
                why = self._stopped_by(order, time_ms, gate)
                if why:
                    events.append(["order_ended", order.account, order.name, order.lots, why])
                else:
                    self._carry_out(order, time_ms, gate, events)

    def _stopped_by(self, order: PlainOrder, time_ms: int, gate: PlainGate) -> str:
        """Why what was a stop cannot be an order; empty if it can."""
        if order.over(time_ms):
            return "expired"
        if order.group and self.groups[order.account, order.group].frozen(time_ms):
            return "protection"
        if order.reduce_only and self._room(order, gate) == 0:
            return "reduce_only"
        if order.post_only and self._crosses(order, time_ms):
            return "immediate"
        if order.time_in_force == "fok" and not self._fillable(order, time_ms, gate):
            return "immediate"
        return "" if gate.admit(order) else "margin"

    # ── matching ─────────────────────────────────────────────────────────────────────────────

    def _carry_out(
        self, order: PlainOrder, time_ms: int, gate: PlainGate, events: list[Row]
    ) -> None:
        """Trade what can be traded now; the rest comes to rest, or the order ends."""
        why = ""
        if self.books[order.instrument].matches:
            why = self._match(order, time_ms, gate, events)
            if not why and not order.may_wait:
                why = "immediate"
        if why:
            events.append(["order_ended", order.account, order.name, order.lots, why])
            return
        self.rank += 1
        order.rank = self.rank
        order.show()
        self.resting.append(order)
        shown = order.shown if order.buys else -order.shown
        events.append([
            "order_rested", order.account, order.name, order.instrument, order.lots,
            order.price_ticks, shown,
        ])  # fmt: skip

    def _match(self, order: PlainOrder, time_ms: int, gate: PlainGate, events: list[Row]) -> str:
        """Trade with the best order on the other side, again and again; why it ended, if it has."""
        limit = worst_ticks(order, self.books[order.instrument])
        while queue := self._queue(order, limit):
            maker = queue[0]
            if maker.account == order.account:
                why = self._meet_own(order, maker, events)
            elif maker.reduce_only and self._room(maker, gate) == 0:
                self._remove(maker, "reduce_only", events)
                why = ""
            elif order.reduce_only and self._room(order, gate) == 0:
                why = "reduce_only"
            else:
                why = self._fill(order, maker, time_ms, gate, events)
            if why:
                return why
        return ""

    def _meet_own(self, order: PlainOrder, maker: PlainOrder, events: list[Row]) -> str:
        """An account never trades with itself."""
        if order.self_trade == "newest":
            return "self_trade"
        if order.self_trade == "decrement":
            lots = min(abs(order.lots), maker.shown)
            self._reduce(maker, lots, "self_trade", events)
            order.lose(lots)
            return "self_trade" if order.lots == 0 else ""
        self._remove(maker, "self_trade", events)
        return "self_trade" if order.self_trade == "both" else ""

    def _fill(
        self, order: PlainOrder, maker: PlainOrder, time_ms: int, gate: PlainGate,
        events: list[Row],
    ) -> str:  # fmt: skip
        """Trade with one order, if both accounts can bear it."""
        lots = min(
            [abs(order.lots), maker.shown]
            + [self._room(one, gate) for one in (order, maker) if one.reduce_only]
        )
        bought, sold = order.buys, maker.buys
        buy, sell = (order, maker) if bought else (maker, order)
        done = self._trade(buy, sell, lots, maker.price, order.side, gate, events)
        if done != "done":
            failing = buy if done == "buyer" else sell
            if failing is order:
                return "margin"
            self._remove(failing, "margin", events)
            return ""
        order.lose(lots)
        self._reduce(maker, lots, "filled", events)
        self._note(maker, sold, lots, time_ms, gate, events)
        tripped = self._note(order, bought, lots, time_ms, gate, events)
        if order.lots == 0:
            return "filled"
        return "protection" if tripped else ""

    def _trade(
        self, buy: PlainOrder, sell: PlainOrder, lots: int, price_ticks: int,
        aggressor: str, gate: PlainGate, events: list[Row],
    ) -> str:  # fmt: skip
        """Two orders meet at a price: both are filled by so much, and are not yet made smaller."""
        done = gate.fill(
            buy, sell, lots=lots, price_ticks=price_ticks, aggressor=aggressor or None,
            events=events,
        )  # fmt: skip
        if done == "done":
            events.append([
                "traded", buy.instrument, price_ticks, lots, buy.account, buy.name, sell.account,
                sell.name, aggressor,
            ])  # fmt: skip
            self.books[buy.instrument].last_ticks = price_ticks
            buy.filled += lots
            sell.filled += lots
        return done

    def _uncross(
        self, instrument: int, price: int, time_ms: int, gate: PlainGate, events: list[Row]
    ) -> None:
        """Trade all that crosses at one price, best first."""
        volume = 0
        while True:
            here = self._in(instrument)
            bids = [one for one in here if one.buys and one.price >= price]
            asks = [one for one in here if not one.buys and one.price <= price]
            if not bids or not asks:
                break
            bid = max(bids, key=lambda one: one.price)
            ask = min(asks, key=lambda one: one.price)
            if bid.account == ask.account:
                self._remove(max(bid, ask, key=lambda one: one.rank), "self_trade", events)
                continue
            idle = [one for one in (bid, ask) if one.reduce_only and not self._room(one, gate)]
            if idle:
                self._remove(idle[0], "reduce_only", events)
                continue
            both = (bid, ask)
            lots = min(
                [abs(one.lots) for one in both]
                + [self._room(one, gate) for one in both if one.reduce_only]
            )
            done = self._trade(bid, ask, lots, price, "", gate, events)
            if done != "done":
                self._remove(bid if done == "buyer" else ask, "margin", events)
                continue
            volume += lots
            for one in both:
                one.lose(lots)
                one.show()
                if one.lots == 0:
                    self.resting.remove(one)
                self._tell_left(one, "filled", events)
            self._note(bid, True, lots, time_ms, gate, events)
            self._note(ask, False, lots, time_ms, gate, events)
        if volume:
            events.append(["uncrossed", instrument, price, volume])

    def _refuse_group(self, order: PlainOrder, time_ms: int) -> None:
        """Orders of a group that is not protected, or has had too many fills."""
        if not order.group:
            return
        if (order.account, order.group) not in self.groups:
            raise Refused(Reject.PROTECTION_UNKNOWN, f"{order.said()}: group {order.group!r}")
        if self.groups[order.account, order.group].frozen(time_ms):
            raise Refused(Reject.PROTECTION_TRIPPED, f"{order.said()}: group {order.group!r}")
