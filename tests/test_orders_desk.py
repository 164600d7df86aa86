"""Orders rest, are seen, and go: by name, in numbers, by their time, with their instrument.

Also what the other tests of orders play with: a table with a desk, and who holds what.
"""

from __future__ import annotations

from collections.abc import Collection
from itertools import pairwise
from typing import Any

import pytest

from solvent.errors import InvariantBroken, Refused, Reject
from solvent.messages.events import (
    Event,
    FeePaid,
    OrderEnded,
    OrderReduced,
    OrderRested,
    StopCancelled,
    Traded,
)
from solvent.messages.fields import Phase, Side, StopAt, TimeInForce, Trigger
from solvent.orders.desk import Desk
from solvent.orders.order import BookTerms, Order, Verdict, Why

IOC, FOK, GTD = TimeInForce.IOC, TimeInForce.FOK, TimeInForce.GTD
RISES = StopAt(Trigger.LAST, 200, True)
FALLS = StopAt(Trigger.LAST, 50, False)


class Money:
    """A gate: what each account holds, and who cannot bear a fill."""

    def __init__(self) -> None:
        self.lots: dict[tuple[int, int], int] = {}
        self.poor: set[int] = set()
        self.strange: set[int] = set()
        self.deltas: dict[int, int] = {}
        self.fee = False

    def held(self, account: int, instrument: int) -> int:
        return self.lots.get((account, instrument), 0)

    def delta_nano(self, instrument: int) -> int:
        return self.deltas.get(instrument, 10**9)

    def admit(self, order: Order) -> bool:
        return order.account not in self.strange

    def fill(
        self, buy: Order, sell: Order, *, lots: int, price_ticks: int, aggressor: Side | None,
        events: list[Event],
    ) -> Verdict:  # fmt: skip
        assert buy.instrument == sell.instrument
        assert 0 < lots <= min(buy.lots, -sell.lots)
        assert price_ticks is not None
        assert aggressor in (None, Side.BUY, Side.SELL)
        if buy.account in self.poor:
            return Verdict.BUYER
        if sell.account in self.poor:
            return Verdict.SELLER
        for order, change in ((buy, lots), (sell, -lots)):
            place = order.account, order.instrument
            self.lots[place] = self.lots.get(place, 0) + change
        if self.fee:
            events.append(FeePaid(buy.account, "trade", lots))
        return Verdict.DONE


class Table:
    """A desk with instrument 1 (and others as they are opened), at a time that a test sets."""

    def __init__(self, **terms: Any) -> None:
        self.desk = Desk()
        self.money = Money()
        self.time_ms = 1_000
        self.terms: dict[int, BookTerms] = {}
        self.open(1, **terms)

    def open(self, instrument: int, **terms: Any) -> None:
        self.terms[instrument] = BookTerms(**terms)
        self.desk.open_book(instrument, self.terms[instrument])

    def place(
        self, account: int, name: str, lots: int, price: int | None = None, *, on: int = 1,
        **more: Any,
    ) -> list[Event]:  # fmt: skip
        """A market order is immediate if nothing else is told."""
        if price is None:
            more.setdefault("time_in_force", IOC)
        order = Order(account, name, on, lots, price, **more)
        events: list[Event] = []
        before = self.desk.image()
        self.desk.accept(order, time_ms=self.time_ms, gate=self.money)
        assert self.desk.image() == before
        self.desk.enter(order, time_ms=self.time_ms, gate=self.money, events=events)
        self.sound()
        return events

    def refuse(
        self, code: Reject, detail: str, account: int, name: str, lots: int,
        price: int | None = None, *, on: int = 1, **more: Any,
    ) -> None:  # fmt: skip
        if price is None:
            more.setdefault("time_in_force", IOC)
        order = Order(account, name, on, lots, price, **more)
        before = self.desk.image()
        with pytest.raises(Refused) as refused:
            self.desk.accept(order, time_ms=self.time_ms, gate=self.money)
        assert (refused.value.code, refused.value.detail) == (code, detail)
        assert self.desk.image() == before

    def amend(
        self, account: int, name: str, *, lots: int | None = None, price: int | None = None
    ) -> list[Event]:
        events: list[Event] = []
        before = self.desk.image()
        self.desk.accept_amend(
            account, name, lots=lots, price_ticks=price, time_ms=self.time_ms, gate=self.money
        )
        assert self.desk.image() == before
        self.desk.amend(
            account, name, lots=lots, price_ticks=price, time_ms=self.time_ms, gate=self.money,
            events=events,
        )  # fmt: skip
        self.sound()
        return events

    def refuse_amend(
        self, code: Reject, detail: str, account: int, name: str, *, lots: int | None = None,
        price: int | None = None,
    ) -> None:  # fmt: skip
        before = self.desk.image()
        with pytest.raises(Refused) as refused:
            self.desk.accept_amend(
                account, name, lots=lots, price_ticks=price, time_ms=self.time_ms, gate=self.money
            )
        assert (refused.value.code, refused.value.detail) == (code, detail)
        assert self.desk.image() == before

    def cancel(self, account: int, name: str, why: Why = Why.CANCELLED) -> list[Event]:
        events: list[Event] = []
        self.desk.cancel(account, name, why=why, time_ms=self.time_ms, events=events)
        self.sound()
        return events

    def take_off(
        self, account: int, name: str, lots: int, why: Why = Why.LIQUIDATION
    ) -> list[Event]:
        events: list[Event] = []
        self.desk.take_off(account, name, lots, why=why, events=events)
        self.sound()
        return events

    def cancel_where(self, why: Why = Why.CANCELLED, **which: Any) -> list[Event]:
        events: list[Event] = []
        assert self.desk.cancel_where(why=why, events=events, **which) == len(events)
        self.sound()
        return events

    def phase(self, phase: Phase, on: int = 1) -> list[Event]:
        events: list[Event] = []
        self.desk.set_phase(on, phase, time_ms=self.time_ms, gate=self.money, events=events)
        assert self.desk.phase(on) is phase
        self.sound()
        return events

    def settle(
        self, *, mark: int | None = None, index: int | None = None, on: int = 1
    ) -> list[Event]:
        """Stops, after new prices."""
        self.desk.observe(on, mark_points=mark, index_nano=index)
        events: list[Event] = []
        self.desk.settle_stops(time_ms=self.time_ms, gate=self.money, events=events)
        self.sound()
        return events

    def expire(self) -> list[Event]:
        events: list[Event] = []
        self.desk.expire(time_ms=self.time_ms, events=events)
        self.sound()
        return events

    def protect(self, account: int, group: str, **limits: Any) -> None:
        told = {"window_ms": 100, "frozen_ms": 0, "lots": None, "delta_nano": None} | limits
        self.desk.set_protection(account, group, **told)

    def shown(self, on: int = 1) -> str:
        """Bids and asks as text, the best first: `99:5 98:2 | 101:7`."""
        bids, asks = self.desk.depth(on)
        sides = (" ".join(f"{p}:{lots}" for p, lots, _ in side) for side in (bids, asks))
        return " | ".join(sides)

    def queue(self, price: int, *, bids: bool, on: int = 1) -> list[str]:
        """Names at a price, the first that trades first."""
        orders = [order for mine in self.desk.orders.values() for order in mine.values()]
        here = [o for o in orders if o.instrument == on and o.price_ticks == price]
        return [o.name for o in sorted(here, key=lambda o: o.rank) if (o.lots > 0) == bids]

    def sound(self) -> None:
        """All that a desk keeps of the same orders agrees."""
        desk = self.desk
        sound(desk)
        again = Desk.restored(desk.image(), self.terms)
        sound(again)
        assert again.image() == desk.image()
        assert {i: desk.depth(i) for i in desk.books} == {i: again.depth(i) for i in again.books}


def sound(desk: Desk) -> None:
    """Orders by name, by price and by rank are the same orders, and sums are their sums."""
    assert all(desk.orders.values())
    assert all(desk.stops.values())
    seen: dict[int, Order] = {}
    for account, mine in desk.orders.items():
        assert desk.resting_lots[account] == sum(abs(order.lots) for order in mine.values())
        for name, order in mine.items():
            assert (order.account, order.name) == (account, name)
            assert order.lots != 0
            assert 0 < order.shown <= abs(order.lots)
            assert order.shown <= (order.display or order.shown)
            assert order.display or order.shown == abs(order.lots)
            assert order.stop is None
            assert seen.setdefault(order.rank, order) is order
    assert desk.resting_lots.keys() == desk.orders.keys()
    count = 0
    for number, book in desk.books.items():
        for ladder, sign in ((book.bids, 1), (book.asks, -1)):
            assert ladder.keys == sorted(ladder.levels)
            orders = list(ladder)
            assert ladder.count == len(orders)
            count += len(orders)
            for key, level in ladder.levels.items():
                chain = list(level)
                assert level.first is chain[0]
                assert level.latest is chain[-1]
                assert chain[0].before is chain[-1].after is None
                for one, next_one in pairwise(chain):
                    assert one.after is next_one
                    assert next_one.before is one
                    assert one.rank < next_one.rank
                for order in chain:
                    assert seen[order.rank] is order
                    assert (order.level, order.instrument) == (level, number)
                    assert order.price_ticks == sign * key
                    assert order.lots * sign > 0
        bid, ask = desk.best(number)
        if book.phase is Phase.CONTINUOUS and book.terms.matching:
            assert bid is None or ask is None or bid < ask
        waiting = list(book.stops)
        assert book.stops.count == len(waiting)
        for order in waiting:
            assert desk.stops[order.account][order.name] is order
            assert seen.setdefault(order.rank, order) is order
        count += len(waiting)
    assert count == len(seen)
    assert all(rank <= desk.rank for rank in seen)
    assert sum(map(len, desk.stops.values())) + sum(map(len, desk.orders.values())) == count


def reduced(account: int, name: str, lots: int = 0, shown: int | None = None,
            why: str = "cancelled") -> OrderReduced:  # fmt: skip
    return OrderReduced(account, name, lots, lots if shown is None else shown, why)


@pytest.fixture
def table() -> Table:
    return Table()


# ── rest ─────────────────────────────────────────────────────────────────────────────────────────


def test_orders_rest_by_price_and_time(table: Table) -> None:
    assert table.place(7, "a", 5, 99) == [OrderRested(7, "a", 1, 5, 99, 5)]
    assert table.place(8, "b", -4, 103, display=3) == [OrderRested(8, "b", 1, -4, 103, -3)]
    table.place(7, "c", 2, 98)
    table.place(9, "d", 1, 99)
    table.place(9, "e", -1, 102)
    assert table.desk.depth(1) == ([(99, 6, 2), (98, 2, 1)], [(102, 1, 1), (103, 3, 1)])
    assert table.desk.depth(1, 1) == ([(99, 6, 2)], [(102, 1, 1)])
    assert table.desk.depth(1, 0) == ([], [])
    assert table.desk.best(1) == (99, 102)
    assert table.queue(99, bids=True) == ["a", "d"]
    assert table.desk.rank == 5
    assert {a: list(mine) for a, mine in table.desk.orders.items()} == {
        7: ["a", "c"], 8: ["b"], 9: ["d", "e"],
    }  # fmt: skip
    assert table.desk.order_count(1) == 5


def test_an_empty_book(table: Table) -> None:
    assert table.desk.depth(1) == ([], [])
    assert table.desk.best(1) == (None, None)
    assert table.desk.last(1) is None
    assert table.desk.phase(1) is Phase.CONTINUOUS
    assert table.desk.uncrossing(1) is None
    assert table.desk.impact(1, Side.BUY, 5) == (0, 0, None)
    assert table.desk.order_count(1) == 0


def test_prices_of_a_signed_book_may_be_zero_or_below() -> None:
    table = Table(signed=True, band_ppm=10)
    table.desk.observe(1, mark_points=1_000)
    table.place(7, "a", 5, 0)
    table.place(7, "b", 5, -3)
    table.place(8, "c", -5, 2)
    assert table.shown() == "0:5 -3:5 | 2:5"
    assert table.place(9, "d", -7) == [
        Traded(1, 0, 5, 7, "a", 9, "d", "sell"), reduced(7, "a", why="filled"),
        Traded(1, -3, 2, 7, "b", 9, "d", "sell"), reduced(7, "b", 3, why="filled"),
        OrderEnded(9, "d", 0, "filled"),
    ]  # fmt: skip
    assert table.desk.last(1) == -3


def test_a_book_that_is_not_matched_here_may_cross() -> None:
    table = Table(matching=False)
    table.place(7, "a", 5, 100)
    assert table.place(8, "b", -5, 90) == [OrderRested(8, "b", 1, -5, 90, -5)]
    assert table.shown() == "100:5 | 90:5"
    assert table.phase(Phase.CONTINUOUS) == []
    assert table.shown() == "100:5 | 90:5"


# ── go ───────────────────────────────────────────────────────────────────────────────────────────


def test_an_order_is_cancelled_by_name(table: Table) -> None:
    for name, price in (("a", 99), ("b", 99), ("c", 99), ("d", 98), ("e", 97)):
        table.place(7, name, 5, price)
    for name, left in (
        ("b", "99:10 98:5 97:5"), ("c", "99:5 98:5 97:5"), ("d", "99:5 97:5"), ("a", "97:5"),
        ("e", ""),
    ):  # fmt: skip
        assert table.cancel(7, name) == [reduced(7, name)]
        assert table.shown() == f"{left} | "
    assert table.desk.orders == {}


def test_the_first_of_a_price_goes(table: Table) -> None:
    for name in "abc":
        table.place(7, name, 5, 99)
    table.cancel(7, "a")
    assert table.queue(99, bids=True) == ["b", "c"]
    assert table.place(8, "s", -6, 99)[0] == Traded(1, 99, 5, 7, "b", 8, "s", "sell")


def test_a_stop_is_cancelled_by_name(table: Table) -> None:
    table.place(7, "s", 5, stop=RISES)
    table.place(7, "t", -5, stop=FALLS)
    assert table.cancel(7, "s", Why.RELIEF) == [StopCancelled(7, "s", "relief")]
    assert list(table.desk.stops[7]) == ["t"]
    table.cancel(7, "t")
    assert table.desk.stops == {}


@pytest.mark.parametrize(("account", "name"), [(7, "b"), (8, "a")])
def test_what_is_not_there_is_not_cancelled(table: Table, account: int, name: str) -> None:
    table.place(7, "a", 5, 99)
    table.place(7, "s", 5, stop=RISES)
    for refused in (table.cancel, lambda a, n: table.take_off(a, n, 1)):
        with pytest.raises(Refused) as found:
            refused(account, name)
        assert found.value.code is Reject.ORDER_UNKNOWN
        assert found.value.detail == (
            f"order {name!r} of account {account}: expected one that rests or waits"
        )


def test_what_has_expired_can_be_cancelled_until_it_is_removed(table: Table) -> None:
    table.place(7, "a", 5, 99, time_in_force=GTD, expire_ms=2_000)
    table.time_ms = 2_000
    assert table.cancel(7, "a") == [reduced(7, "a")]
    assert table.expire() == []


def test_lots_are_taken_off_in_place(table: Table) -> None:
    table.place(7, "a", -5, 101)
    table.place(8, "b", -5, 101)
    assert table.take_off(7, "a", 2) == [reduced(7, "a", -3, why="liquidation")]
    assert table.queue(101, bids=False) == ["a", "b"]
    assert table.desk.orders[7]["a"].filled == 0
    assert table.take_off(7, "a", 9) == [reduced(7, "a", why="liquidation")]
    assert table.desk.orders.keys() == {8}


def test_hidden_lots_are_taken_off_last(table: Table) -> None:
    table.place(7, "a", 20, 99, display=4)
    table.place(8, "b", 5, 99)
    for lots, left, shown in ((3, 17, 1), (1, 16, 4), (6, 10, 4), (7, 3, 3), (1, 2, 2)):
        assert table.take_off(7, "a", lots) == [reduced(7, "a", left, shown, "liquidation")]
        assert table.queue(99, bids=True) == ["a", "b"]
    assert table.take_off(7, "a", 2) == [reduced(7, "a", why="liquidation")]


def test_lots_that_were_filled_elsewhere_count_as_filled(table: Table) -> None:
    table.place(7, "a", 5, 99)
    assert table.take_off(7, "a", 2, Why.FILLED) == [reduced(7, "a", 3, why="filled")]
    assert table.desk.orders[7]["a"].filled == 2


# ── many at once ─────────────────────────────────────────────────────────────────────────────────


def lively() -> Table:
    """Orders of two accounts in two instruments; ranks are in the order of the letters."""
    table = Table()
    table.open(2)
    table.place(7, "a", 5, 99, group="", session="x")
    table.place(8, "b", -5, 101)
    table.place(7, "c", -5, 105, on=2, session="y")
    table.place(8, "d", 5, 90, on=2, session="x")
    table.place(7, "e", 5, stop=RISES, session="x")
    table.place(7, "f", -5, stop=RISES, on=2)
    table.place(7, "g", 6, 98)
    table.place(8, "h", -5, stop=FALLS)
    return table


@pytest.mark.parametrize(
    ("which", "gone"),
    [
        ({}, "abcdgefh"),
        ({"account": 7}, "acgef"),
        ({"account": 9}, ""),
        ({"side": Side.BUY}, "adge"),
        ({"side": Side.SELL}, "bcfh"),
        ({"instruments": [2]}, "cdf"),
        ({"instruments": {2, 1, 5}}, "abcdgefh"),
        ({"instruments": (5, 5)}, ""),
        ({"instruments": (1, 1)}, "abgeh"),
        ({"instruments": (2,), "account": 7}, "cf"),
        ({"instruments": (1, 2), "account": 8}, "bdh"),
        ({"session": "x"}, "ade"),
        ({"session": "x", "account": 7, "instruments": (1,), "side": Side.BUY}, "ae"),
        ({"group": ""}, "abcdgefh"),
        ({"group": "mm"}, ""),
    ],
)
def test_all_that_fit_are_cancelled_by_rank_stops_last(which: Any, gone: str) -> None:
    table = lively()
    found = table.cancel_where(Why.DISCONNECTED, **which)
    assert "".join(event.order for event in found) == gone  # type: ignore[attr-defined]
    for event in found:
        assert isinstance(event, OrderReduced | StopCancelled)
        assert isinstance(event, StopCancelled) == (event.order in "efh")
        assert event.why == "disconnected"
    left = [name for table_ in (table.desk.orders, table.desk.stops)
            for mine in table_.values() for name in mine]  # fmt: skip
    assert sorted(left + list(gone)) == list("abcdefgh")


def test_a_group_is_cancelled(table: Table) -> None:
    table.protect(7, "mm")
    table.place(7, "a", 5, 99, group="mm")
    table.place(7, "b", 5, 98)
    table.place(8, "c", 5, 97)
    assert table.cancel_where(group="mm") == [reduced(7, "a")]


# ── time ─────────────────────────────────────────────────────────────────────────────────────────


def dated(table: Table, name: str, expire_ms: int, **more: Any) -> None:
    table.place(7, name, 5, 99, time_in_force=GTD, expire_ms=expire_ms, **more)


def test_orders_expire_by_time_and_rank(table: Table) -> None:
    dated(table, "a", 3_000)
    dated(table, "b", 2_000)
    dated(table, "c", 2_000, stop=RISES)
    dated(table, "d", 2_001)
    dated(table, "e", 2_000)
    table.place(7, "f", 1, 99)
    table.cancel(7, "e")
    table.time_ms = 1_999
    assert table.expire() == []
    table.time_ms = 2_001
    assert table.expire() == [
        reduced(7, "b", why="expired"), StopCancelled(7, "c", "expired"),
        reduced(7, "d", why="expired"),
    ]  # fmt: skip
    assert list(table.desk.orders[7]) == ["a", "f"]


def test_what_expires_goes_before_an_order_is_carried_out(table: Table) -> None:
    dated(table, "a", 2_000)
    dated(table, "b", 3_000)
    table.time_ms = 2_000
    # The name is free again as well.
    assert table.place(7, "a", 1, 98) == [
        reduced(7, "a", why="expired"), OrderRested(7, "a", 1, 1, 98, 1),
    ]  # fmt: skip
    table.time_ms = 3_000
    assert table.amend(7, "a", lots=1) == [
        reduced(7, "b", why="expired"), reduced(7, "a", 1, why="amended"),
    ]  # fmt: skip


def test_the_name_of_an_expired_stop_is_free(table: Table) -> None:
    dated(table, "a", 2_000, stop=RISES)
    table.time_ms = 2_000
    assert table.place(7, "a", 1, 98)[0] == StopCancelled(7, "a", "expired")


def test_a_name_that_came_again_does_not_expire_with_the_first(table: Table) -> None:
    dated(table, "a", 2_000)
    table.cancel(7, "a")
    table.place(7, "a", 1, 98)
    dated(table, "b", 2_000)
    table.cancel(7, "b")
    dated(table, "b", 4_000)
    table.time_ms = 3_000
    assert table.expire() == []


def test_orders_that_went_before_their_time_are_forgotten(table: Table) -> None:
    dated(table, "keep", 5_000)
    for number in range(2_500):
        dated(table, "a", 6_000 + number % 3)
        table.desk.cancel(7, "a", why=Why.CANCELLED, time_ms=1_000, events=[])
    assert len(table.desk._expiries) < 1_100
    table.time_ms = 9_000
    assert table.expire() == [reduced(7, "keep", why="expired")]


# ── what a taker would get ───────────────────────────────────────────────────────────────────────


def test_impact_counts_hidden_lots_and_changes_nothing(table: Table) -> None:
    table.place(7, "a", -5, 101)
    table.place(7, "b", -10, 102, display=1)
    table.place(7, "c", 4, 99, time_in_force=GTD, expire_ms=1_001)
    table.time_ms = 2_000
    before = table.desk.image()
    assert table.desk.impact(1, Side.BUY, 4) == (4, 404, 101)
    assert table.desk.impact(1, Side.BUY, 5) == (5, 505, 101)
    assert table.desk.impact(1, Side.BUY, 7) == (7, 505 + 204, 102)
    assert table.desk.impact(1, Side.BUY, 20) == (15, 505 + 1_020, 102)
    assert table.desk.impact(1, Side.SELL, 5) == (4, 396, 99)
    assert table.desk.impact(1, Side.SELL, 0) == (0, 0, None)
    assert table.desk.image() == before


# ── an instrument ────────────────────────────────────────────────────────────────────────────────


def test_a_closed_book_is_gone_with_all_in_it() -> None:
    table = lively()
    events: list[Event] = []
    table.desk.close_book(1, events=events)
    assert events == [
        reduced(7, "a", why="closed"), reduced(8, "b", why="closed"),
        reduced(7, "g", why="closed"), StopCancelled(7, "e", "closed"),
        StopCancelled(8, "h", "closed"),
    ]  # fmt: skip
    table.sound()
    detail = "instrument 1: expected one with a book"
    table.refuse(Reject.INSTRUMENT_UNKNOWN, detail, 7, "z", 1, 99)
    asked: Collection[Any] = (
        lambda: table.desk.close_book(1, events=[]), lambda: table.desk.phase(1),
        lambda: table.phase(Phase.AUCTION), lambda: table.settle(mark=1),
        lambda: table.desk.depth(1), lambda: table.desk.best(1), lambda: table.desk.last(1),
        lambda: table.desk.uncrossing(1), lambda: table.desk.impact(1, Side.BUY, 1),
        lambda: table.desk.order_count(1),
    )  # fmt: skip
    for ask in asked:
        with pytest.raises(Refused, match=detail) as found:
            ask()
        assert found.value.code is Reject.INSTRUMENT_UNKNOWN
    # Stops that had been stirred go unnoticed.
    table.desk.settle_stops(time_ms=1, gate=table.money, events=events)
    assert len(events) == 5


def test_a_book_is_opened_once(table: Table) -> None:
    with pytest.raises(InvariantBroken, match="opened once"):
        table.desk.open_book(1, BookTerms())
