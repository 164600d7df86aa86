"""The plain order desk by examples worked out by hand: it is what the fast one is held against."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from solvent.errors import Refused, Reject
from solvent.limits import LOTS_MAX
from solvent.verify.orders import PlainDesk
from solvent.verify.orders_terms import (
    PlainBook,
    PlainOrder,
    PlainStop,
    PlainTerms,
    Row,
    auction_price,
)

XBT, ETH = 1, 2
ANN, BOB, CAT = 11, 12, 13
NOW = 1_000


class Gate:
    """Positions; accounts in `poor` can bear nothing; a lot of XBT hedges 3, of ETH −2."""

    def __init__(self) -> None:
        self.positions: dict[tuple[int, int], int] = {}
        self.poor: set[int] = set()

    def held(self, account: int, instrument: int) -> int:
        return self.positions.get((account, instrument), 0)

    def delta_nano(self, instrument: int) -> int:
        return 3 if instrument == XBT else -2

    def admit(self, order: PlainOrder) -> bool:
        return order.account not in self.poor

    def fill(
        self, buy: PlainOrder, sell: PlainOrder, *, lots: int, price_ticks: int,
        aggressor: str | None, events: list[Row],
    ) -> str:  # fmt: skip
        if buy.account in self.poor:
            return "buyer"
        if sell.account in self.poor:
            return "seller"
        for one, signed in ((buy, lots), (sell, -lots)):
            key = (one.account, one.instrument)
            self.positions[key] = self.positions.get(key, 0) + signed
        events.append(["asked", price_ticks, aggressor])
        return "done"


class Venue:
    """A desk with a gate; what came of the last act is in `said`."""

    def __init__(self, **terms: Any) -> None:
        self.desk = PlainDesk()
        self.gate = Gate()
        self.desk.open_book(XBT, PlainTerms(**terms))
        self.desk.open_book(ETH, PlainTerms())
        self.said: list[Row] = []
        self.now = NOW

    def place(self, account: int, name: str, lots: int, price: int | None, **told: Any) -> None:
        """A name may say what the order is; market orders are `ioc` where nothing is told."""
        if price is None:
            told.setdefault("time_in_force", "ioc")
        told.setdefault("instrument", XBT)
        order = PlainOrder(account=account, name=name, lots=lots, price_ticks=price, **told)
        self.desk.accept(order, time_ms=self.now, gate=self.gate)
        self.said = []
        self.desk.enter(order, time_ms=self.now, gate=self.gate, events=self.said)

    def amend(self, account: int, name: str, lots: int | None, price: int | None) -> None:
        told: dict[str, Any] = {"lots": lots, "price_ticks": price}
        told.update(time_ms=self.now, gate=self.gate)
        self.desk.accept_amend(account, name, **told)
        self.said = []
        self.desk.amend(account, name, **told, events=self.said)

    def phase(self, phase: str) -> None:
        self.said = []
        told: dict[str, Any] = {"time_ms": self.now, "gate": self.gate, "events": self.said}
        self.desk.set_phase(XBT, phase, **told)

    def settle(self, **prices: int) -> None:
        self.desk.observe(XBT, **prices)
        self.said = []
        self.desk.settle_stops(time_ms=self.now, gate=self.gate, events=self.said)

    def protect(self, account: int = ANN, **told: Any) -> None:
        terms = {"window_ms": 100, "frozen_ms": 50, "lots": None, "delta_nano": None} | told
        self.desk.set_protection(account, "g", **terms)

    def trades(self) -> list[tuple[int, int, str, str]]:
        """Price, lots and the names of both orders."""
        return [(r[2], r[3], r[5], r[7]) for r in self.said if r[0] == "traded"]

    def book(self) -> list[tuple[str, int, int]]:
        """What rests: name, lots, lots shown."""
        return [(one.name, one.lots, one.shown) for one in self.desk.resting]


def refused(code: Reject, act: Callable[[], object]) -> None:
    with pytest.raises(Refused) as found:
        act()
    assert found.value.code is code


# ── matching ─────────────────────────────────────────────────────────────────────────────────────


def test_price_then_time() -> None:
    venue = Venue()
    venue.place(ANN, "first", 2, 10)
    venue.place(BOB, "second", 2, 10)
    venue.place(BOB, "best", 1, 11)
    assert venue.desk.best(XBT) == (11, None)
    assert venue.desk.depth(XBT) == ([(11, 1, 1), (10, 4, 2)], [])
    assert venue.desk.impact(XBT, "sell", 4) == (4, 41, 10)
    venue.place(CAT, "sale", -4, 10)
    assert venue.said == [
        ["asked", 11, "sell"],
        ["traded", XBT, 11, 1, BOB, "best", CAT, "sale", "sell"],
        ["order_reduced", BOB, "best", 0, 0, "filled"],
        ["asked", 10, "sell"],
        ["traded", XBT, 10, 2, ANN, "first", CAT, "sale", "sell"],
        ["order_reduced", ANN, "first", 0, 0, "filled"],
        ["asked", 10, "sell"],
        ["traded", XBT, 10, 1, BOB, "second", CAT, "sale", "sell"],
        ["order_reduced", BOB, "second", 1, 1, "filled"],
        ["order_ended", CAT, "sale", 0, "filled"],
    ]
    assert venue.desk.last(XBT) == 10
    assert venue.gate.held(CAT, XBT) == -4
    assert venue.desk.rank == 3


def test_what_is_left_rests_or_ends() -> None:
    venue = Venue()
    venue.place(ANN, "ask", -2, 10)
    venue.place(BOB, "bid", 5, 10)
    assert venue.said[-1] == ["order_rested", BOB, "bid", XBT, 3, 10, 3]
    venue.place(CAT, "ioc", -5, 10, time_in_force="ioc")
    assert venue.said[-1] == ["order_ended", CAT, "ioc", -2, "immediate"]
    venue.place(CAT, "market", 5, None)
    assert venue.said == [["order_ended", CAT, "market", 5, "immediate"]]


def test_an_iceberg_goes_to_the_back_with_each_part() -> None:
    venue = Venue()
    venue.place(ANN, "ice", -5, 10, display=2)
    assert venue.said == [["order_rested", ANN, "ice", XBT, -5, 10, -2]]
    venue.place(BOB, "behind", -1, 10)
    venue.place(CAT, "buy", 4, 10)
    assert venue.trades() == [
        (10, 2, "buy", "ice"),
        (10, 1, "buy", "behind"),
        (10, 1, "buy", "ice"),
    ]
    reduced = [row for row in venue.said if row[0] == "order_reduced" and row[2] == "ice"]
    assert reduced == [
        ["order_reduced", ANN, "ice", -3, -2, "filled"],
        ["order_reduced", ANN, "ice", -2, -1, "filled"],
    ]
    assert venue.desk.resting[0].rank == venue.desk.rank == 3
    assert venue.desk.depth(XBT, 1) == ([], [(10, 1, 1)])
    assert venue.desk.impact(XBT, "buy", 9) == (2, 20, 10)


@pytest.mark.parametrize(
    ("mode", "said", "left"),
    [
        ("newest", [["order_ended", ANN, "new", 3, "self_trade"]], [("own", -2, 2)]),
        (
            "oldest",
            [
                ["order_reduced", ANN, "own", 0, 0, "self_trade"],
                ["order_rested", ANN, "new", XBT, 3, 10, 3],
            ],
            [("new", 3, 3)],
        ),
        (
            "both",
            [
                ["order_reduced", ANN, "own", 0, 0, "self_trade"],
                ["order_ended", ANN, "new", 3, "self_trade"],
            ],
            [],
        ),
        (
            "decrement",
            [
                ["order_reduced", ANN, "own", 0, 0, "self_trade"],
                ["order_rested", ANN, "new", XBT, 1, 10, 1],
            ],
            [("new", 1, 1)],
        ),
    ],
)
def test_nobody_trades_with_himself(mode: str, said: list[Row], left: list[Any]) -> None:
    venue = Venue()
    venue.place(ANN, "own", -2, 10)
    venue.place(ANN, "new", 3, 10, self_trade=mode)
    assert venue.said == said
    assert venue.book() == left
    assert all(one.filled == 0 for one in venue.desk.resting)


def test_a_decrement_may_leave_nothing_of_the_new_one() -> None:
    venue = Venue()
    venue.place(ANN, "own", -3, 10)
    venue.place(ANN, "new", 2, 10, self_trade="decrement")
    assert venue.said == [
        ["order_reduced", ANN, "own", -1, -1, "self_trade"],
        ["order_ended", ANN, "new", 0, "self_trade"],
    ]


def test_reduce_only_makes_nothing_larger() -> None:
    venue = Venue()
    venue.gate.positions = {(ANN, XBT): 2, (BOB, XBT): -1}
    venue.place(ANN, "close", -5, 10, reduce_only=True)
    venue.place(CAT, "buy", 4, 10)
    assert venue.trades() == [(10, 2, "buy", "close")]
    assert venue.said[-2:] == [
        ["order_reduced", ANN, "close", 0, 0, "reduce_only"],
        ["order_rested", CAT, "buy", XBT, 2, 10, 2],
    ]
    venue.gate.positions[BOB, XBT] = 1
    venue.place(BOB, "close", -2, 10, reduce_only=True)
    assert venue.said[-1] == ["order_ended", BOB, "close", -1, "reduce_only"]
    assert venue.gate.held(BOB, XBT) == 0


def test_who_cannot_bear_a_fill_has_no_order() -> None:
    venue = Venue()
    venue.place(ANN, "poor", -1, 10)
    venue.place(BOB, "rich", -1, 10)
    venue.gate.poor = {ANN}
    venue.place(CAT, "buy", 2, 10)
    assert venue.said[0] == ["order_reduced", ANN, "poor", 0, 0, "margin"]
    assert venue.trades() == [(10, 1, "buy", "rich")]
    venue.gate.poor = {BOB}
    venue.place(BOB, "sale", -1, 10)
    assert venue.said == [["order_ended", BOB, "sale", -1, "margin"]]
    assert venue.book() == [("buy", 1, 1)]


def test_a_market_order_ends_at_the_band() -> None:
    venue = Venue(band_ppm=100_000, points_per_tick=10)
    venue.desk.observe(XBT, mark_points=1_003)
    for price in (110, 111):
        ask = PlainOrder(account=ANN, name=str(price), instrument=XBT, lots=-1, price_ticks=price)
        venue.desk.enter(ask, time_ms=NOW, gate=venue.gate, events=[])
    venue.place(BOB, "market", 2, None)
    assert venue.trades() == [(110, 1, "market", "110")]
    assert venue.said[-1] == ["order_ended", BOB, "market", 1, "immediate"]
    refused(Reject.PRICE_OUT_OF_BAND, lambda: venue.place(BOB, "high", 1, 111))
    refused(Reject.PRICE_OUT_OF_BAND, lambda: venue.place(BOB, "low", -1, 90))
    venue.place(BOB, "edge", -1, 91)


def test_fill_or_kill_counts_what_it_could_have() -> None:
    venue = Venue()
    venue.gate.positions = {(BOB, XBT): 2}
    venue.place(BOB, "a", -2, 10, reduce_only=True)
    venue.place(BOB, "b", -2, 10, reduce_only=True)
    venue.place(CAT, "own", -4, 11)
    venue.place(ANN, "c", -2, 12)

    def fill_or_kill(lots: int, price: int | None, mode: str = "newest") -> None:
        venue.place(CAT, "fok", lots, price, time_in_force="fok", self_trade=mode)

    refused(Reject.ORDER_UNFILLABLE, lambda: fill_or_kill(3, 10))
    for mode in ("newest", "both", "decrement"):
        refused(Reject.ORDER_UNFILLABLE, lambda mode=mode: fill_or_kill(3, None, mode))  # type: ignore[misc]
    refused(Reject.ORDER_UNFILLABLE, lambda: fill_or_kill(5, None, "oldest"))
    fill_or_kill(4, 12, "oldest")
    assert venue.trades() == [(10, 2, "fok", "a"), (12, 2, "fok", "c")]
    assert venue.said[-1] == ["order_ended", CAT, "fok", 0, "filled"]


def test_where_nothing_matches_books_are_crossed() -> None:
    venue = Venue(matching=False)
    venue.place(ANN, "bid", 1, 12)
    venue.place(BOB, "ask", -1, 10)
    assert venue.said == [["order_rested", BOB, "ask", XBT, -1, 10, -1]]
    venue.phase("continuous")
    assert venue.said == []
    for told in ({"post_only": True}, {"display": 1}, {"time_in_force": "ioc"}):
        refused(
            Reject.ORDER_TERMS_INVALID,
            lambda told=told: venue.place(ANN, "x", 1, 5, **told),  # type: ignore[misc]
        )


# ── amendments, and what is taken back ───────────────────────────────────────────────────────────


def test_an_amendment_keeps_its_place_where_only_lots_go() -> None:
    venue = Venue()
    venue.place(ANN, "ice", -6, 10, display=4)
    venue.place(BOB, "b", -1, 10)
    venue.place(CAT, "buy", 1, 10)
    assert venue.book()[0] == ("ice", -5, 3)
    refused(Reject.AMEND_BELOW_FILLED, lambda: venue.amend(ANN, "ice", 1, None))
    venue.amend(ANN, "ice", 3, None)
    assert venue.said == [["order_reduced", ANN, "ice", -2, -2, "amended"]]
    assert venue.desk.resting[0].rank == 1
    venue.amend(ANN, "ice", 4, 10)
    assert venue.said == [
        ["order_reduced", ANN, "ice", 0, 0, "amended"],
        ["order_rested", ANN, "ice", XBT, -3, 10, -3],
    ]
    assert [one.name for one in venue.desk.resting] == ["b", "ice"]
    assert venue.desk.resting[1].filled == 1


def test_an_amended_order_trades_as_a_new_one() -> None:
    venue = Venue()
    venue.place(ANN, "bid", 2, 9)
    venue.place(BOB, "ask", -1, 10)
    venue.amend(ANN, "bid", None, 10)
    assert venue.said[0] == ["order_reduced", ANN, "bid", 0, 0, "amended"]
    assert venue.trades() == [(10, 1, "bid", "ask")]
    assert venue.said[-1] == ["order_rested", ANN, "bid", XBT, 1, 10, 1]
    assert venue.desk.resting[0].filled == 1


def test_what_is_taken_off_is_seen_first() -> None:
    venue = Venue()
    venue.place(ANN, "ice", 7, 10, display=3)
    for lots, left, shown in ((2, 5, 1), (1, 4, 3), (4, 0, 0)):
        said: list[Row] = []
        venue.desk.take_off(ANN, "ice", lots, why="liquidation", events=said)
        assert said == [["order_reduced", ANN, "ice", left, shown, "liquidation"]]
        assert all(one.rank == 1 for one in venue.desk.resting)
    assert venue.desk.orders == {}


def test_cancelling_all_that_fit() -> None:
    venue = Venue()
    stop = PlainStop("mark", 50, rises=True)
    venue.protect()
    venue.place(ANN, "stop", 1, 10, stop=stop, group="g")
    venue.place(ANN, "b", 1, 10, group="g")
    venue.place(ANN, "a", -1, 20, session="s")
    venue.place(ANN, "eth", 1, 10, instrument=ETH)
    venue.place(BOB, "other", 1, 10)
    venue.amend(ANN, "b", None, 11)

    def cancel(**told: Any) -> list[str]:
        said: list[Row] = []
        count = venue.desk.cancel_where(**told, why="cancelled", events=said)
        assert count == len(said)
        return [row[2] for row in said]

    assert cancel(account=BOB, side="sell") == []
    assert cancel(session="s") == ["a"]
    assert cancel(account=ANN, instruments=[XBT], side="buy") == ["b", "stop"]
    assert cancel(group="g") == []
    assert cancel() == ["eth", "other"]


def test_dates() -> None:
    venue = Venue()
    told: dict[str, Any] = {"time_in_force": "gtd"}
    venue.place(ANN, "late", 1, 10, expire_ms=NOW + 9, **told)
    venue.place(ANN, "b", 1, 10, expire_ms=NOW + 5, **told)
    venue.place(ANN, "a", 1, 10, expire_ms=NOW + 5, stop=PlainStop("mark", 9, rises=True), **told)
    venue.now += 9
    refused(Reject.ORDER_UNKNOWN, lambda: venue.amend(ANN, "b", 2, None))
    venue.place(BOB, "post", -1, 10, post_only=True)
    assert venue.said == [
        ["order_reduced", ANN, "b", 0, 0, "expired"],
        ["stop_cancelled", ANN, "a", "expired"],
        ["order_reduced", ANN, "late", 0, 0, "expired"],
        ["order_rested", BOB, "post", XBT, -1, 10, -1],
    ]


def test_a_closed_book() -> None:
    venue = Venue()
    venue.place(ANN, "a", 1, 10)
    venue.place(ANN, "b", 1, 10, instrument=ETH)
    said: list[Row] = []
    venue.desk.close_book(XBT, events=said)
    assert said == [["order_reduced", ANN, "a", 0, 0, "closed"]]
    refused(Reject.INSTRUMENT_UNKNOWN, lambda: venue.place(ANN, "a", 1, 10))
    assert list(venue.desk.orders[ANN]) == ["b"]


# ── protection ───────────────────────────────────────────────────────────────────────────────────


def test_too_many_lots_trip_a_group() -> None:
    venue = Venue()
    venue.protect(lots=3)
    venue.place(ANN, "a", -2, 10, group="g")
    venue.place(ANN, "b", -9, 11, group="g")
    venue.place(ANN, "eth", 1, 10, instrument=ETH, group="g")
    venue.place(ANN, "free", -1, 12)
    venue.place(BOB, "buy", 2, 10)
    assert venue.book()[0] == ("b", -9, 9)
    venue.now += 99
    venue.place(BOB, "more", 5, 12)
    assert venue.said[2:] == [
        ["order_reduced", ANN, "b", -4, -4, "filled"],
        ["protection_tripped", ANN, "g", NOW + 149],
        ["order_reduced", ANN, "b", 0, 0, "protection"],
        ["order_reduced", ANN, "eth", 0, 0, "protection"],
        ["order_ended", BOB, "more", 0, "filled"],
    ]
    venue.now += 49
    refused(Reject.PROTECTION_TRIPPED, lambda: venue.place(ANN, "a", -2, 10, group="g"))
    venue.now += 1
    venue.place(ANN, "a", -2, 10, group="g")
    refused(Reject.PROTECTION_UNKNOWN, lambda: venue.place(ANN, "c", -2, 10, group="h"))


def test_old_fills_are_forgotten() -> None:
    venue = Venue()
    venue.protect(lots=3)
    venue.place(ANN, "a", -9, 10, group="g")
    venue.place(BOB, "one", 3, 10)
    venue.now += 100
    venue.place(BOB, "two", 3, 10)
    assert venue.book() == [("a", -3, 3)]


def test_delta_one_way_trips_a_group_until_reset() -> None:
    venue = Venue()
    venue.protect(delta_nano=9, frozen_ms=0)
    venue.place(ANN, "a", 9, 10, group="g")
    venue.place(BOB, "three", -3, 10)
    venue.place(BOB, "eth", -3, 7, instrument=ETH)
    venue.place(ANN, "less", 3, 7, instrument=ETH, group="g")
    venue.place(BOB, "five", -5, 10)
    assert [row for row in venue.said if row[0] == "protection_tripped"] == [
        ["protection_tripped", ANN, "g", 0]
    ]
    venue.now += 10**9
    refused(Reject.PROTECTION_TRIPPED, lambda: venue.place(ANN, "b", 1, 10, group="g"))
    venue.desk.reset_protection(ANN, "g")
    venue.place(ANN, "b", 1, 10, group="g")
    refused(Reject.PROTECTION_UNKNOWN, lambda: venue.desk.reset_protection(BOB, "g"))


def test_a_trip_ends_the_order_that_came() -> None:
    venue = Venue()
    venue.protect(lots=1)
    venue.place(BOB, "a", -2, 10)
    venue.place(BOB, "b", -2, 10)
    venue.place(ANN, "buy", 4, 10, group="g")
    assert venue.said[-2:] == [
        ["protection_tripped", ANN, "g", NOW + 50],
        ["order_ended", ANN, "buy", 2, "protection"],
    ]


# ── stops ────────────────────────────────────────────────────────────────────────────────────────


def test_stops_set_each_other_off() -> None:
    venue = Venue(points_per_tick=10)
    for price in (10, 11, 12):
        venue.place(ANN, f"ask{price}", -1, price)
    venue.place(BOB, "second", 1, None, stop=PlainStop("last", 110, rises=True))
    venue.place(CAT, "first", 1, 11, stop=PlainStop("last", 100, rises=True))
    venue.place(CAT, "never", 1, 11, stop=PlainStop("last", 99, rises=False))
    assert venue.said == [["stop_placed", CAT, "never", XBT]]
    venue.place(BOB, "buy", 1, 10)
    assert venue.trades() == [
        (10, 1, "buy", "ask10"), (11, 1, "first", "ask11"), (12, 1, "second", "ask12"),
    ]  # fmt: skip
    assert [row for row in venue.said if row[0] == "stop_triggered"] == [
        ["stop_triggered", CAT, "first"],
        ["stop_triggered", BOB, "second"],
    ]
    assert list(venue.desk.stops) == [CAT]
    refused(Reject.ORDER_WAITING, lambda: venue.amend(CAT, "never", 2, None))
    refused(
        Reject.STOP_TRIGGERS_AT_ONCE,
        lambda: venue.place(CAT, "now", 1, 11, stop=PlainStop("last", 120, rises=False)),
    )


def test_stops_by_mark_and_index_in_rank_order() -> None:
    venue = Venue()
    venue.place(ANN, "b", 1, 5, stop=PlainStop("mark", 20, rises=False))
    venue.place(ANN, "a", 1, 5, stop=PlainStop("index", 7, rises=True))
    venue.place(ANN, "c", 1, 5, stop=PlainStop("mark", 19, rises=False))
    venue.settle(mark_points=20, index_nano=7)
    assert [row[2] for row in venue.said if row[0] == "stop_triggered"] == ["b", "a"]
    assert [one.name for one in venue.desk.resting] == ["b", "a"]


def test_what_a_triggered_stop_may_not_do() -> None:
    venue = Venue()
    venue.protect()
    venue.gate.positions[BOB, XBT] = 1
    at = PlainStop("mark", 20, rises=True)
    venue.place(BOB, "reduces", -1, 9, stop=at, reduce_only=True)
    venue.place(BOB, "posts", -1, 9, stop=at, post_only=True)
    venue.place(BOB, "kills", -2, 9, stop=at, time_in_force="fok")
    venue.place(BOB, "group", -2, 30, stop=at, instrument=XBT)
    venue.place(ANN, "poor", -2, 30, stop=at)
    venue.place(ANN, "bid", 1, 9)
    venue.place(BOB, "dated", -2, 30, stop=at, time_in_force="gtd", expire_ms=NOW + 1)
    venue.gate.positions[BOB, XBT] = 0
    venue.gate.poor = {ANN}
    venue.now += 1
    venue.settle(mark_points=20)
    assert [row[2:] for row in venue.said if row[0] == "order_ended"] == [
        ["reduces", -1, "reduce_only"], ["posts", -1, "immediate"], ["kills", -2, "immediate"],
        ["poor", -2, "margin"], ["dated", -2, "expired"],
    ]  # fmt: skip


def test_stops_wait_while_trading_is_not_continuous() -> None:
    venue = Venue()
    venue.place(ANN, "stop", 1, 9, stop=PlainStop("mark", 20, rises=True))
    venue.phase("auction")
    venue.settle(mark_points=30)
    assert venue.said == []
    venue.phase("halted")
    refused(Reject.INSTRUMENT_HALTED, lambda: venue.place(ANN, "new", 1, 9))
    venue.phase("continuous")
    assert [row[0] for row in venue.said] == ["stop_triggered", "order_rested"]


# ── auctions ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("orders", "mark", "last", "found"),
    [
        ([(1, 9), (-1, 10)], None, None, None),
        # 10: 3 against 4; 11: 3 against 5.
        ([(3, 11), (-4, 10), (-1, 11)], None, None, (10, 3)),
        # Both 3, and demand is larger by 1 at each: the highest.
        ([(4, 12), (-3, 10)], None, None, (12, 3)),
        ([(3, 12), (-4, 10)], None, None, (10, 3)),
        # Balanced at both: nearest the mark, the last trade, or the lowest.
        ([(3, 12), (-3, 10)], 119, 10, (12, 3)),
        ([(3, 12), (-3, 10)], 110, 12, (10, 3)),
        ([(3, 12), (-3, 10)], None, 12, (12, 3)),
        ([(3, 12), (-3, 10)], None, None, (10, 3)),
        # 10: 5 against 3; 12: 3 against 5: one each way.
        ([(3, 12), (2, 10), (-3, 10), (-2, 12)], 112, None, (12, 3)),
    ],
)
def test_the_price_of_an_auction(
    orders: list[tuple[int, int]], mark: int | None, last: int | None, found: Any
) -> None:
    book = PlainBook(PlainTerms(points_per_tick=10), mark_points=mark, last_ticks=last)
    here = [
        PlainOrder(account=ANN, name="", instrument=XBT, lots=lots, price_ticks=price)
        for lots, price in orders
    ]
    assert auction_price(here, book) == found


def test_an_auction() -> None:
    venue = Venue()
    venue.phase("auction")
    refused(
        Reject.ORDER_NOT_FOR_AUCTION,
        lambda: venue.place(ANN, "ioc", 1, 9, time_in_force="ioc"),
    )
    venue.place(ANN, "ice", 5, 11, display=2)
    venue.place(BOB, "bid", 2, 12)
    venue.place(CAT, "own", -1, 9)
    venue.place(CAT, "ask", -3, 10)
    venue.place(CAT, "both", 1, 13)
    assert venue.desk.uncrossing(XBT) == (11, 4)
    venue.phase("continuous")
    assert venue.said == [
        ["order_reduced", CAT, "both", 0, 0, "self_trade"],
        ["asked", 11, None],
        ["traded", XBT, 11, 1, BOB, "bid", CAT, "own", ""],
        ["order_reduced", BOB, "bid", 1, 1, "filled"],
        ["order_reduced", CAT, "own", 0, 0, "filled"],
        ["asked", 11, None],
        ["traded", XBT, 11, 1, BOB, "bid", CAT, "ask", ""],
        ["order_reduced", BOB, "bid", 0, 0, "filled"],
        ["order_reduced", CAT, "ask", -2, -2, "filled"],
        ["asked", 11, None],
        ["traded", XBT, 11, 2, ANN, "ice", CAT, "ask", ""],
        ["order_reduced", ANN, "ice", 3, 2, "filled"],
        ["order_reduced", CAT, "ask", 0, 0, "filled"],
        ["uncrossed", XBT, 11, 4],
    ]
    assert venue.desk.rank == 5
    assert venue.desk.last(XBT) == 11


def test_an_auction_without_some_of_its_orders() -> None:
    venue = Venue()
    venue.phase("auction")
    venue.gate.positions[ANN, XBT] = -1
    venue.place(ANN, "closes", 2, 12, reduce_only=True)
    venue.place(BOB, "bid", 2, 11)
    venue.place(CAT, "ask", -2, 10)
    venue.gate.positions[ANN, XBT] = 0
    venue.gate.poor = {CAT}
    venue.phase("continuous")
    assert venue.said == [
        ["order_reduced", ANN, "closes", 0, 0, "reduce_only"],
        ["order_reduced", CAT, "ask", 0, 0, "margin"],
    ]


# ── refusals ─────────────────────────────────────────────────────────────────────────────────────

MARK_STOP = PlainStop("mark", 1, rises=True)


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (Reject.INSTRUMENT_UNKNOWN, {"instrument": 9}),
        (Reject.INSTRUMENT_EXPIRED, {"instrument": 3}),
        (Reject.ORDER_DUPLICATED, {"name": "there"}),
        (Reject.ORDER_TERMS_INVALID, {"price": None, "time_in_force": "gtc"}),
        (Reject.ORDER_TERMS_INVALID, {"price": None, "time_in_force": "ioc", "display": 10}),
        (Reject.ORDER_TERMS_INVALID, {"post_only": True, "time_in_force": "fok"}),
        (Reject.ORDER_TERMS_INVALID, {"display": 10, "time_in_force": "ioc"}),
        (Reject.ORDER_TERMS_INVALID, {"time_in_force": "gtd"}),
        (Reject.ORDER_TERMS_INVALID, {"expire_ms": NOW + 1}),
        (Reject.ORDER_TERMS_INVALID, {"display": 30}),
        (Reject.ORDER_TERMS_INVALID, {"display": 5}),
        (Reject.ORDER_TERMS_INVALID, {"lots": 0}),
        (Reject.ORDER_EXPIRED, {"time_in_force": "gtd", "expire_ms": NOW}),
        (Reject.PRICE_NOT_POSITIVE, {"price": 0}),
        (Reject.PRICE_OFF_STEP, {"price": 7}),
        (Reject.LOTS_OFF_STEP, {"lots": -15}),
        (Reject.ORDER_TOO_SMALL, {"lots": 10}),
        (Reject.ORDER_TOO_LARGE, {"lots": 510}),
        (Reject.PRICE_OUT_OF_BAND, {"price": 115, "stop": MARK_STOP}),
        (Reject.PRICE_OUT_OF_BAND, {"price": 85, "lots": -20}),
        (Reject.PROTECTION_UNKNOWN, {"group": "g"}),
        (Reject.REDUCE_ONLY_INCREASES, {"reduce_only": True, "stop": MARK_STOP}),
        (Reject.STOP_TRIGGERS_AT_ONCE, {"stop": MARK_STOP}),
        (Reject.POST_ONLY_CROSSES, {"price": 110, "post_only": True}),
        (Reject.ORDER_UNFILLABLE, {"price": 110, "lots": 40, "time_in_force": "fok"}),
    ],
)  # fmt: skip
def test_refusals(code: Reject, told: dict[str, Any]) -> None:
    venue = Venue(price_step=5, lots_step=10, lots_min=20, lots_max=500, band_ppm=100_000)
    venue.desk.open_book(3, PlainTerms(expiry_ms=NOW))
    venue.desk.observe(XBT, mark_points=100)
    venue.place(ANN, "there", -20, 110)
    before = venue.book()
    asked: dict[str, Any] = {"name": "new", "lots": 20, "price": 100} | told
    refused(code, lambda: venue.place(ANN, **asked))
    assert venue.book() == before


def test_as_many_orders_and_lots_as_an_account_may_have() -> None:
    venue = Venue()
    venue.desk = PlainDesk(orders_max=2)
    venue.desk.open_book(XBT, PlainTerms())
    venue.place(ANN, "a", LOTS_MAX - 1, 1)
    refused(Reject.POSITION_TOO_LARGE, lambda: venue.place(ANN, "b", 2, 1))
    venue.place(ANN, "b", 2, 1, stop=MARK_STOP)
    refused(Reject.CAPACITY_REACHED, lambda: venue.place(ANN, "c", 1, 1))
    venue.place(BOB, "c", 1, 1)


def test_refusals_of_amendments() -> None:
    venue = Venue(price_step=5, lots_step=10, lots_min=20, lots_max=500, band_ppm=100_000)
    venue.desk.observe(XBT, mark_points=100)
    venue.gate.positions[ANN, XBT] = -20
    venue.place(ANN, "a", 40, 95, reduce_only=True, post_only=True)
    venue.place(BOB, "ask", -20, 105)
    venue.gate.positions[ANN, XBT] = 0
    for lots, price, code in (
        (None, None, Reject.ORDER_TERMS_INVALID),
        (None, -5, Reject.PRICE_NOT_POSITIVE),
        (None, 96, Reject.PRICE_OFF_STEP),
        (25, None, Reject.LOTS_OFF_STEP),
        (10, None, Reject.ORDER_TOO_SMALL),
        (510, None, Reject.ORDER_TOO_LARGE),
        (None, 115, Reject.PRICE_OUT_OF_BAND),
        (50, None, Reject.REDUCE_ONLY_INCREASES),
        (None, 105, Reject.POST_ONLY_CROSSES),
    ):
        refused(code, lambda lots=lots, price=price: venue.amend(ANN, "a", lots, price))  # type: ignore[misc]
    refused(Reject.ORDER_UNKNOWN, lambda: venue.amend(BOB, "a", 20, None))
    venue.phase("halted")
    refused(Reject.INSTRUMENT_HALTED, lambda: venue.amend(ANN, "a", 20, None))
    said: list[Row] = []
    venue.desk.cancel(ANN, "a", why="relief", time_ms=NOW, events=said)
    assert said == [["order_reduced", ANN, "a", 0, 0, "relief"]]
