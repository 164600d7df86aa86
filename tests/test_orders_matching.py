"""What meets what: price and time, one's own orders, hidden lots, what only reduces, who cannot
pay; and which changes of an order keep its place."""

from __future__ import annotations

from typing import Any

import pytest

from solvent.messages.events import Event, FeePaid, OrderEnded, OrderReduced, OrderRested, Traded
from solvent.messages.fields import Phase, SelfTrade, Side
from solvent.orders.order import Order
from tests.test_orders_desk import FOK, GTD, IOC, Table, reduced


@pytest.fixture
def table() -> Table:
    return Table()


def bought(price: int, lots: int, buyer: tuple[int, str], seller: tuple[int, str]) -> Traded:
    return Traded(1, price, lots, *buyer, *seller, "buy")


def sold(price: int, lots: int, buyer: tuple[int, str], seller: tuple[int, str]) -> Traded:
    return Traded(1, price, lots, *buyer, *seller, "sell")


def filled(account: int, name: str, lots: int = 0, shown: int | None = None) -> OrderReduced:
    return reduced(account, name, lots, shown, "filled")


# ── price and time ───────────────────────────────────────────────────────────────────────────────


def test_the_best_price_first_and_at_a_price_the_first_that_came(table: Table) -> None:
    table.place(1, "a", -3, 101)
    table.place(2, "b", -3, 100)
    table.place(3, "c", -3, 100)
    assert table.place(9, "t", 8, 101) == [
        bought(100, 3, (9, "t"), (2, "b")), filled(2, "b"),
        bought(100, 3, (9, "t"), (3, "c")), filled(3, "c"),
        bought(101, 2, (9, "t"), (1, "a")), filled(1, "a", -1),
        OrderEnded(9, "t", 0, "filled"),
    ]  # fmt: skip
    assert table.shown() == " | 101:1"
    assert table.desk.last(1) == 101
    assert table.desk.orders[1]["a"].filled == 2
    assert table.money.lots == {(9, 1): 8, (1, 1): -2, (2, 1): -3, (3, 1): -3}
    assert table.desk.rank == 3


def test_what_does_not_trade_rests_and_keeps_what_was_filled(table: Table) -> None:
    table.place(1, "a", 3, 100)
    table.place(1, "b", 3, 99)
    assert table.place(9, "t", -5, 100) == [
        sold(100, 3, (1, "a"), (9, "t")), filled(1, "a"),
        OrderRested(9, "t", 1, -2, 100, -2),
    ]  # fmt: skip
    order = table.desk.orders[9]["t"]
    assert (order.filled, order.rank) == (3, 3)
    assert table.shown() == "99:3 | 100:2"


def test_the_gate_speaks_before_the_trade_is_told(table: Table) -> None:
    table.money.fee = True
    table.place(1, "a", 3, 100)
    assert table.place(9, "t", -1, 100)[:2] == [
        FeePaid(1, "trade", 1), sold(100, 1, (1, "a"), (9, "t")),
    ]  # fmt: skip


@pytest.mark.parametrize("more", [{"time_in_force": IOC}, {}])
def test_what_may_not_wait_is_over(table: Table, more: dict[str, Any]) -> None:
    price = 100 if more else None
    assert table.place(9, "n", 5, price, **more) == [OrderEnded(9, "n", 5, "immediate")]
    table.place(1, "a", -3, 100)
    table.place(1, "b", -3, 101 if more else 900)
    if more:
        assert table.place(9, "t", 5, price, **more) == [
            bought(100, 3, (9, "t"), (1, "a")), filled(1, "a"),
            OrderEnded(9, "t", 2, "immediate"),
        ]  # fmt: skip
        assert table.place(9, "u", 5, price, **more) == [OrderEnded(9, "u", 5, "immediate")]
    else:
        assert table.place(9, "t", 5)[2] == bought(900, 2, (9, "t"), (1, "b"))
    assert table.desk.orders.keys() == {1}


def test_a_market_order_goes_no_further_than_the_band() -> None:
    table = Table(band_ppm=50_000, points_per_tick=10)
    for price in (95, 94, 104, 105):
        table.place(1, f"m{price}", 2 if price < 100 else -2, price)
    table.desk.observe(1, mark_points=999)  # 95.05 … 104.95 ticks, inward: 96 … 104
    assert table.place(9, "t", 5) == [
        bought(104, 2, (9, "t"), (1, "m104")), filled(1, "m104"),
        OrderEnded(9, "t", 3, "immediate"),
    ]  # fmt: skip
    table.desk.observe(1, mark_points=1_000)  # 95 … 105
    assert table.place(9, "u", -5) == [
        sold(95, 2, (1, "m95"), (9, "u")), filled(1, "m95"),
        OrderEnded(9, "u", -3, "immediate"),
    ]  # fmt: skip


def test_fill_or_kill_is_filled(table: Table) -> None:
    table.place(1, "a", -3, 100)
    table.place(2, "b", -3, 101)
    assert table.place(9, "t", 4, 101, time_in_force=FOK)[-1] == OrderEnded(9, "t", 0, "filled")


def test_fill_or_kill_that_is_kept_from_it_ends(table: Table) -> None:
    table.place(1, "a", -3, 100)
    table.place(2, "b", -3, 101)
    table.money.poor = {2}
    assert table.place(9, "t", 4, 101, time_in_force=FOK) == [
        bought(100, 3, (9, "t"), (1, "a")), filled(1, "a"), reduced(2, "b", why="margin"),
        OrderEnded(9, "t", 1, "immediate"),
    ]  # fmt: skip


def test_in_an_auction_orders_only_rest(table: Table) -> None:
    table.phase(Phase.AUCTION)
    table.place(1, "a", -3, 100)
    assert table.place(9, "t", 4, 101) == [OrderRested(9, "t", 1, 4, 101, 4)]
    assert table.shown() == "101:4 | 100:3"


# ── hidden lots ──────────────────────────────────────────────────────────────────────────────────


def test_an_iceberg_shows_a_part_and_goes_behind_for_the_next(table: Table) -> None:
    table.place(1, "ice", -10, 100, display=3)
    table.place(2, "b", -4, 100)
    assert table.shown() == " | 100:7"
    assert table.place(9, "t", 5, 100) == [
        bought(100, 3, (9, "t"), (1, "ice")), filled(1, "ice", -7, -3),
        bought(100, 2, (9, "t"), (2, "b")), filled(2, "b", -2),
        OrderEnded(9, "t", 0, "filled"),
    ]  # fmt: skip
    assert table.queue(100, bids=False) == ["b", "ice"]
    assert table.desk.orders[1]["ice"].rank == 3
    assert table.place(9, "u", 9, 100) == [
        bought(100, 2, (9, "u"), (2, "b")), filled(2, "b"),
        bought(100, 3, (9, "u"), (1, "ice")), filled(1, "ice", -4, -3),
        bought(100, 3, (9, "u"), (1, "ice")), filled(1, "ice", -1, -1),
        bought(100, 1, (9, "u"), (1, "ice")), filled(1, "ice"),
        OrderEnded(9, "u", 0, "filled"),
    ]  # fmt: skip
    assert table.desk.rank == 5


def test_a_part_that_is_partly_filled_keeps_its_place(table: Table) -> None:
    table.place(1, "ice", 10, 100, display=3)
    table.place(2, "b", 4, 100)
    assert table.place(9, "t", -2, 100)[1] == filled(1, "ice", 8, 1)
    assert table.queue(100, bids=True) == ["ice", "b"]
    assert table.shown() == "100:5 | "


def test_an_iceberg_that_expires_keeps_its_time_with_its_new_rank(table: Table) -> None:
    table.place(1, "ice", 10, 100, display=3, time_in_force=GTD, expire_ms=2_000)
    table.place(2, "b", 1, 100, time_in_force=GTD, expire_ms=2_000)
    table.place(9, "t", -3, 100)
    table.time_ms = 2_000
    assert table.expire() == [reduced(2, "b", why="expired"), reduced(1, "ice", why="expired")]


def test_what_rests_of_a_taker_shows_no_more_than_it_displays(table: Table) -> None:
    table.place(1, "a", -3, 100)
    assert table.place(9, "t", 10, 100, display=4)[-1] == OrderRested(9, "t", 1, 7, 100, 4)
    table.place(1, "b", -8, 101)
    assert table.place(9, "u", 10, 101, display=4)[-1] == OrderRested(9, "u", 1, 2, 101, 2)


# ── one's own ────────────────────────────────────────────────────────────────────────────────────


def own(table: Table) -> None:
    table.place(1, "a", -3, 100)
    table.place(9, "own", -4, 100)
    table.place(2, "b", -5, 100)


def test_newest_ends_the_order_that_comes(table: Table) -> None:
    own(table)
    assert table.place(9, "t", 10, 100) == [
        bought(100, 3, (9, "t"), (1, "a")), filled(1, "a"), OrderEnded(9, "t", 7, "self_trade"),
    ]  # fmt: skip
    assert table.queue(100, bids=False) == ["own", "b"]


def test_oldest_cancels_the_order_that_rests(table: Table) -> None:
    own(table)
    assert table.place(9, "t", 10, 100, self_trade=SelfTrade.OLDEST) == [
        bought(100, 3, (9, "t"), (1, "a")), filled(1, "a"), reduced(9, "own", why="self_trade"),
        bought(100, 5, (9, "t"), (2, "b")), filled(2, "b"), OrderRested(9, "t", 1, 2, 100, 2),
    ]  # fmt: skip


def test_both_go(table: Table) -> None:
    own(table)
    assert table.place(9, "t", 10, 100, self_trade=SelfTrade.BOTH)[2:] == [
        reduced(9, "own", why="self_trade"), OrderEnded(9, "t", 7, "self_trade"),
    ]  # fmt: skip
    assert table.queue(100, bids=False) == ["b"]


def test_decrement_takes_as_many_of_both(table: Table) -> None:
    own(table)
    assert table.place(9, "t", 10, 100, self_trade=SelfTrade.DECREMENT)[2:] == [
        reduced(9, "own", why="self_trade"), bought(100, 3, (9, "t"), (2, "b")),
        filled(2, "b", -2), OrderEnded(9, "t", 0, "filled"),
    ]  # fmt: skip


def test_decrement_that_leaves_nothing_of_the_order_that_comes(table: Table) -> None:
    table.place(9, "own", 10, 100, display=3)
    table.place(1, "b", 1, 100)
    assert table.place(9, "t", -5, 100, self_trade=SelfTrade.DECREMENT) == [
        reduced(9, "own", 7, 3, "self_trade"), sold(100, 1, (1, "b"), (9, "t")), filled(1, "b"),
        reduced(9, "own", 6, 2, "self_trade"), OrderEnded(9, "t", 0, "self_trade"),
    ]  # fmt: skip
    assert table.desk.orders[9]["own"].filled == 0
    assert table.place(9, "u", -7, 100, self_trade=SelfTrade.DECREMENT) == [
        reduced(9, "own", 4, 3, "self_trade"), reduced(9, "own", 1, 1, "self_trade"),
        reduced(9, "own", why="self_trade"), OrderRested(9, "u", 1, -1, 100, -1),
    ]  # fmt: skip
    assert table.desk.orders[9]["u"].filled == 0


# ── what only reduces ────────────────────────────────────────────────────────────────────────────


def test_a_maker_that_only_reduces_trades_what_it_may(table: Table) -> None:
    table.money.lots[1, 1] = 5
    table.place(1, "a", -3, 100, reduce_only=True)
    table.place(1, "b", -9, 100, reduce_only=True)
    table.place(1, "c", -9, 100, reduce_only=True)
    table.place(2, "d", -9, 100)
    assert table.place(9, "t", 10, 100) == [
        bought(100, 3, (9, "t"), (1, "a")), filled(1, "a"),
        bought(100, 2, (9, "t"), (1, "b")), filled(1, "b", -7),
        reduced(1, "b", why="reduce_only"), reduced(1, "c", why="reduce_only"),
        bought(100, 5, (9, "t"), (2, "d")), filled(2, "d", -4),
        OrderEnded(9, "t", 0, "filled"),
    ]  # fmt: skip
    assert table.money.held(1, 1) == 0


def test_an_order_that_only_reduces_trades_what_it_may(table: Table) -> None:
    table.place(1, "a", -3, 100)
    table.place(2, "b", -9, 100)
    table.money.lots[9, 1] = -5
    assert table.place(9, "t", 10, 100, reduce_only=True) == [
        bought(100, 3, (9, "t"), (1, "a")), filled(1, "a"),
        bought(100, 2, (9, "t"), (2, "b")), filled(2, "b", -7),
        OrderEnded(9, "t", 5, "reduce_only"),
    ]  # fmt: skip


def test_when_both_only_reduce_the_maker_is_looked_at_first(table: Table) -> None:
    table.money.lots |= {(1, 1): 2, (2, 1): 9, (9, 1): -3}
    table.place(1, "a", -5, 100, reduce_only=True)
    table.place(2, "b", -5, 100, reduce_only=True)
    assert table.place(9, "t", 10, 101, reduce_only=True) == [
        bought(100, 2, (9, "t"), (1, "a")), filled(1, "a", -3),
        reduced(1, "a", why="reduce_only"),
        bought(100, 1, (9, "t"), (2, "b")), filled(2, "b", -4),
        OrderEnded(9, "t", 7, "reduce_only"),
    ]  # fmt: skip


def test_what_reduces_rests_when_nothing_more_is_within_its_price(table: Table) -> None:
    table.place(1, "a", -3, 100)
    table.money.lots[9, 1] = -3
    assert table.place(9, "t", 10, 100, reduce_only=True)[-1] == OrderRested(9, "t", 1, 7, 100, 7)


def test_a_sale_that_only_reduces(table: Table) -> None:
    table.place(1, "a", 3, 100)
    table.money.lots[9, 1] = 2
    assert table.place(9, "t", -3, 100, reduce_only=True) == [
        sold(100, 2, (1, "a"), (9, "t")), filled(1, "a", 1),
        OrderEnded(9, "t", -1, "reduce_only"),
    ]  # fmt: skip


# ── who cannot pay ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("sign", [1, -1])
def test_a_maker_that_cannot_bear_it_goes(table: Table, sign: int) -> None:
    table.place(1, "a", -3 * sign, 100)
    table.place(2, "b", -3 * sign, 100)
    table.money.poor = {1}
    found = table.place(9, "t", 4 * sign, 100)
    assert found[0] == reduced(1, "a", why="margin")
    assert isinstance(found[1], Traded)
    assert found[2:] == [filled(2, "b"), OrderRested(9, "t", 1, sign, 100, sign)]


@pytest.mark.parametrize("sign", [1, -1])
def test_an_order_whose_account_cannot_bear_it_ends(table: Table, sign: int) -> None:
    table.place(1, "a", -3 * sign, 100)
    table.money.poor = {9}
    assert table.place(9, "t", 4 * sign, 100) == [OrderEnded(9, "t", 4 * sign, "margin")]
    assert table.queue(100, bids=sign < 0) == ["a"]


# ── a change ─────────────────────────────────────────────────────────────────────────────────────


def test_fewer_lots_keep_their_place(table: Table) -> None:
    table.place(1, "a", -5, 100)
    table.place(2, "b", -5, 100)
    assert table.amend(1, "a", lots=3) == [reduced(1, "a", -3, why="amended")]
    assert table.amend(1, "a", lots=3, price=100) == [reduced(1, "a", -3, why="amended")]
    assert table.amend(1, "a", price=100) == [reduced(1, "a", -3, why="amended")]
    assert table.queue(100, bids=False) == ["a", "b"]
    assert table.desk.rank == 2


def test_lots_that_are_filled_count_in_a_change(table: Table) -> None:
    table.place(1, "a", 5, 100)
    table.place(2, "t", -2, 100)
    assert table.amend(1, "a", lots=4) == [reduced(1, "a", 2, why="amended")]
    assert table.amend(1, "a", lots=6) == [
        reduced(1, "a", why="amended"), OrderRested(1, "a", 1, 4, 100, 4),
    ]  # fmt: skip
    assert table.desk.orders[1]["a"].filled == 2


@pytest.mark.parametrize("change", [{"lots": 6}, {"price": 99}, {"price": 101, "lots": 2}])
def test_more_lots_or_another_price_go_behind(table: Table, change: dict[str, int]) -> None:
    table.place(1, "a", 5, 100)
    price, lots = change.get("price", 100), change.get("lots", 5)
    table.place(2, "b", 5, price)
    assert table.amend(1, "a", **change) == [
        reduced(1, "a", why="amended"), OrderRested(1, "a", 1, lots, price, lots),
    ]  # fmt: skip
    assert table.queue(price, bids=True) == ["b", "a"]
    assert table.desk.rank == 3


def test_a_change_of_an_iceberg_hides_no_more_than_is_left(table: Table) -> None:
    table.place(1, "a", -10, 100, display=4)
    table.place(2, "t", 1, 100)
    assert table.amend(1, "a", lots=6) == [reduced(1, "a", -5, -3, "amended")]
    assert table.amend(1, "a", lots=3) == [reduced(1, "a", -2, -2, "amended")]
    assert table.amend(1, "a", lots=11)[1] == OrderRested(1, "a", 1, -10, 100, -4)
    assert table.amend(1, "a", lots=3, price=101)[1] == OrderRested(1, "a", 1, -2, 101, -2)


def test_a_change_may_take(table: Table) -> None:
    table.place(1, "a", -5, 101)
    table.place(9, "t", 9, 100)
    assert table.amend(9, "t", price=101) == [
        reduced(9, "t", why="amended"), bought(101, 5, (9, "t"), (1, "a")), filled(1, "a"),
        OrderRested(9, "t", 1, 4, 101, 4),
    ]  # fmt: skip
    table.place(1, "b", -9, 102)
    assert table.amend(9, "t", price=102) == [
        reduced(9, "t", why="amended"), bought(102, 4, (9, "t"), (1, "b")),
        filled(1, "b", -5), OrderEnded(9, "t", 0, "filled"),
    ]  # fmt: skip


def test_a_changed_order_may_end(table: Table) -> None:
    table.place(9, "own", -5, 101)
    table.place(9, "t", 9, 100)
    assert table.amend(9, "t", price=101) == [
        reduced(9, "t", why="amended"), OrderEnded(9, "t", 9, "self_trade"),
    ]  # fmt: skip


def test_an_account_keeps_its_orders_in_the_order_of_coming(table: Table) -> None:
    for name in "abc":
        table.place(1, name, 5, 100)
    table.place(2, "d", 5, 100)
    table.amend(1, "a", lots=4)
    assert list(table.desk.orders[1]) == ["a", "b", "c"]
    table.amend(1, "a", lots=5)
    assert list(table.desk.orders[1]) == ["b", "c", "a"]
    assert list(table.desk.orders) == [1, 2]
    table.cancel_where(account=1)
    table.place(1, "a", 5, 100)
    assert list(table.desk.orders) == [2, 1]


def test_a_thousand_at_one_price_go_in_their_order(table: Table) -> None:
    desk, events = table.desk, list[Event]()
    for number in range(1_000):
        desk.enter(Order(number, "a", 1, -1, 100), time_ms=1, gate=table.money, events=events)
    table.sound()
    found = table.place(5_000, "t", 1_000, 100)
    sellers = [event.seller for event in found if isinstance(event, Traded)]
    assert sellers == list(range(1_000))
    assert desk.impact(1, Side.BUY, 1) == (0, 0, None)
