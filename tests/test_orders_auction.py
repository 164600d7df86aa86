"""The price of an auction by hand: most lots, least left over, and what breaks ties; its fills."""

from __future__ import annotations

import random

import pytest

from solvent.messages.events import (
    OrderEnded,
    OrderRested,
    ProtectionTripped,
    StopTriggered,
    Traded,
    Uncrossed,
)
from solvent.messages.fields import Phase, SelfTrade, StopAt, Trigger
from tests.test_orders_desk import GTD, Table, reduced


def auction(*orders: tuple[int, int], mark: int | None = None, last: int | None = None,
            per_tick: int = 1) -> Table:  # fmt: skip
    """(lots, price) of account 1, 2, … in an auction."""
    table = Table(points_per_tick=per_tick)
    if last is not None:
        table.place(98, "m", 1, last)
        table.place(99, "t", -1, last)
    if mark is not None:
        table.desk.observe(1, mark_points=mark)
    table.phase(Phase.AUCTION)
    for number, (lots, price) in enumerate(orders, 1):
        table.place(number, "o", lots, price)
    return table


def met(lots: int, price: int, buyer: int, seller: int) -> Traded:
    return Traded(1, price, lots, buyer, "o", seller, "o", "")


def filled(account: int, lots: int = 0, shown: int | None = None) -> object:
    return reduced(account, "o", lots, shown, "filled")


# ── the price ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("orders", "found"),
    [
        # demand 5, supply 5 at 100 and at 101: nothing is left; no reference: the lowest
        (((5, 101), (-5, 100)), (100, 5)),
        # most lots: at 101 demand 5, supply 8; at 100 demand 9, supply 8 → 8
        (((5, 102), (4, 100), (-8, 100), (-2, 102)), (100, 8)),
        # 4 at either; at 100 7 − 4 is left, at 101 4 − 4
        (((4, 101), (3, 100), (-4, 99)), (101, 4)),
        # 99, 100, 101 leave 3 bids each: the highest
        (((7, 101), (-4, 99)), (101, 4)),
        # 99, 100, 101 leave 3 asks each: the lowest
        (((4, 101), (-7, 99)), (99, 4)),
        # prices in between count where an order has them: 100 leaves less
        (((7, 101), (-4, 99), (-2, 100)), (101, 6)),
        (((5, 100), (-5, 101)), None),
        (((5, 100),), None),
        (((-5, 100),), None),
        ((), None),
        # at one price
        (((3, 100), (-5, 100)), (100, 3)),
        # out of reach: they do not count
        (((3, 100), (-5, 100), (50, 90), (-50, 110)), (100, 3)),
    ],
)
def test_the_price_of_an_auction(
    orders: tuple[tuple[int, int], ...], found: tuple[int, int] | None
) -> None:
    assert auction(*orders).desk.uncrossing(1) == found


@pytest.mark.parametrize(
    ("mark", "last", "price"),
    [
        (None, None, 100), (None, 99, 100), (None, 103, 100), (None, 104, 106), (None, 200, 106),
        (1_030, None, 100), (1_031, None, 106), (1_031, 99, 106), (0, 200, 100),
    ],
)  # fmt: skip
def test_ties_go_to_the_price_nearest_the_reference(
    mark: int | None, last: int | None, price: int
) -> None:
    table = auction((5, 106), (-5, 100), mark=mark, last=last, per_tick=10)
    assert table.desk.uncrossing(1) == (price, 5)


@pytest.mark.parametrize(("mark", "price"), [(9, 97), (98, 98), (102, 101), (103, 104), (111, 104)])
def test_two_prices_with_bids_left_and_two_with_asks(mark: int, price: int) -> None:
    # 4 at each of four prices; at 97 and 98 two are left to buy, at 101 and 104 two to sell.
    orders = [(4, 104), (2, 98), (-4, 97), (-2, 101)]
    assert auction(*orders, mark=mark).desk.uncrossing(1) == (price, 4)


def test_a_tie_with_bids_left_at_one_price_and_asks_at_another() -> None:
    # At 100: demand 6, supply 4; at 101: demand 4, supply 6. 4 at either, 2 left.
    orders = ((4, 101), (2, 100), (-4, 100), (-2, 101))
    assert auction(*orders).desk.uncrossing(1) == (100, 4)
    assert auction(*orders, mark=100).desk.uncrossing(1) == (100, 4)
    assert auction(*orders, mark=101).desk.uncrossing(1) == (101, 4)
    assert auction(*orders, mark=1_005, per_tick=10).desk.uncrossing(1) == (100, 4)
    assert auction(*orders, mark=1_006, per_tick=10).desk.uncrossing(1) == (101, 4)
    assert auction(*orders, last=300).desk.uncrossing(1) == (101, 4)
    assert auction(*orders, last=3).desk.uncrossing(1) == (100, 4)
    assert auction(*orders, mark=0, last=300).desk.uncrossing(1) == (100, 4)


def by_formula(
    orders: list[tuple[int, int]], mark: int | None, last: int | None
) -> tuple[int, int] | None:
    """The same, in the words of the rule, over all prices of orders."""
    rows = []
    for price in sorted({price for _, price in orders}):
        demand = sum(lots for lots, at in orders if lots > 0 and at >= price)
        supply = -sum(lots for lots, at in orders if lots < 0 and at <= price)
        rows.append((min(demand, supply), abs(demand - supply), demand - supply, price))
    most = max((row[0] for row in rows), default=0)
    if not most:
        return None
    rows = [row for row in rows if row[0] == most]
    rows = [row for row in rows if row[1] == min(row[1] for row in rows)]
    if all(row[2] > 0 for row in rows):
        return rows[-1][3], most
    if all(row[2] < 0 for row in rows):
        return rows[0][3], most
    reference = mark if mark is not None else -(10**9) if last is None else last * 10
    return min((abs(row[3] * 10 - reference), row[3]) for row in rows)[1], most


def test_the_price_agrees_with_the_rule_in_words() -> None:
    draws = random.Random(1)
    crossed = 0
    for _ in range(500):
        orders = [(draws.choice((1, -1)) * draws.choice((1, 2, 3)), draws.randint(95, 105))
                  for _ in range(draws.randint(0, 12))]  # fmt: skip
        mark = draws.choice((None, draws.randint(940, 1_060)))
        last = draws.choice((None, draws.randint(94, 106)))
        found = auction(*orders, mark=mark, last=last, per_tick=10).desk.uncrossing(1)
        assert found == by_formula(orders, mark, last), (orders, mark, last)
        crossed += found is not None
    assert crossed > 300


def test_hidden_lots_count() -> None:
    table = auction((2, 101))
    table.place(9, "ice", -9, 100, display=1)
    table.place(8, "b", 3, 100)
    assert table.desk.uncrossing(1) == (100, 5)


# ── the fills ────────────────────────────────────────────────────────────────────────────────────


def test_all_trade_at_one_price_by_price_and_time() -> None:
    table = auction((3, 101), (4, 102), (-5, 99), (3, 101), (-3, 101), (-9, 103))
    assert table.desk.uncrossing(1) == (101, 8)
    assert table.phase(Phase.CONTINUOUS) == [
        met(4, 101, 2, 3), filled(2), filled(3, -1),
        met(1, 101, 1, 3), filled(1, 2), filled(3),
        met(2, 101, 1, 5), filled(1), filled(5, -1),
        met(1, 101, 4, 5), filled(4, 2), filled(5),
        Uncrossed(1, 101, 8),
    ]  # fmt: skip
    assert table.shown() == "101:2 | 103:9"
    assert table.desk.last(1) == 101
    assert table.desk.orders[4]["o"].filled == 1


def test_what_does_not_cross_does_not_trade() -> None:
    table = auction((3, 99), (-3, 100))
    assert table.phase(Phase.CONTINUOUS) == []


def test_an_iceberg_trades_with_all_its_lots_in_its_place() -> None:
    table = auction()
    table.place(1, "o", -10, 100, display=3)
    table.place(2, "o", -10, 100)
    table.place(3, "o", 8, 100)
    table.place(4, "o", 1, 100)
    assert table.phase(Phase.CONTINUOUS) == [
        met(8, 100, 3, 1), filled(3), filled(1, -2, -2),
        met(1, 100, 4, 1), filled(4), filled(1, -1, -1),
        Uncrossed(1, 100, 9),
    ]  # fmt: skip
    assert table.queue(100, bids=False) == ["o", "o"]
    assert table.desk.orders[1]["o"].rank < table.desk.orders[2]["o"].rank
    assert table.desk.rank == 4


def test_an_iceberg_shows_its_part_again_afterwards() -> None:
    table = auction((4, 100))
    table.place(2, "o", -10, 100, display=3)
    assert table.phase(Phase.CONTINUOUS)[2] == filled(2, -6, -3)


def test_of_ones_own_the_later_goes_whatever_was_told() -> None:
    table = auction((3, 100))
    table.place(1, "x", -5, 100, self_trade=SelfTrade.OLDEST)
    table.place(2, "o", -2, 100)
    table.place(2, "y", 9, 100)
    assert table.phase(Phase.CONTINUOUS) == [
        reduced(1, "x", why="self_trade"),
        met(2, 100, 1, 2), filled(1, 1), filled(2),
        Uncrossed(1, 100, 2),
    ]  # fmt: skip
    assert table.shown() == "100:10 | "


def test_what_is_left_after_cancellations_is_uncrossed_again() -> None:
    # First all at 100; as account 3 cannot pay, what is left meets at 98.
    table = auction((5, 100), (-2, 98), (-8, 99), (-1, 97))
    table.money.poor = {3}
    assert table.desk.uncrossing(1) == (99, 5)
    assert table.phase(Phase.CONTINUOUS) == [
        met(1, 99, 1, 4), filled(1, 4), filled(4),
        met(2, 99, 1, 2), filled(1, 2), filled(2),
        reduced(3, "o", why="margin"),
        Uncrossed(1, 99, 3),
    ]  # fmt: skip


def test_uncrossing_twice_at_two_prices() -> None:
    # At 101 both sides of account 1 stand first; without its ask the price is another.
    table = auction()
    table.place(1, "b", 5, 105)
    table.place(1, "s", -20, 101)
    table.place(2, "o", 9, 101)
    table.place(3, "o", -3, 103)
    assert table.desk.uncrossing(1) == (101, 14)
    assert table.phase(Phase.CONTINUOUS) == [
        reduced(1, "s", why="self_trade"),
        Traded(1, 105, 3, 1, "b", 3, "o", ""), reduced(1, "b", 2, why="filled"), filled(3),
        Uncrossed(1, 105, 3),
    ]  # fmt: skip


def test_who_only_reduces_trades_what_it_may() -> None:
    table = auction()
    table.money.lots |= {(1, 1): -2, (4, 1): 3, (2, 1): 9}
    table.place(1, "o", 5, 100, reduce_only=True)
    table.place(2, "o", 5, 100)
    table.place(3, "o", -4, 100)
    table.place(4, "o", -9, 100, reduce_only=True)
    table.place(5, "o", 9, 100)
    assert table.phase(Phase.CONTINUOUS) == [
        met(2, 100, 1, 3), filled(1, 3), filled(3, -2),
        reduced(1, "o", why="reduce_only"),
        met(2, 100, 2, 3), filled(2, 3), filled(3),
        met(3, 100, 2, 4), filled(2), filled(4, -6),
        reduced(4, "o", why="reduce_only"),
        Uncrossed(1, 100, 7),
    ]  # fmt: skip


def test_of_two_that_may_not_the_bid_goes_first() -> None:
    table = auction()
    table.money.lots |= {(1, 1): -1, (2, 1): 1}
    table.place(1, "o", 5, 100, reduce_only=True)
    table.place(2, "o", -5, 100, reduce_only=True)
    table.money.lots.clear()
    assert table.phase(Phase.CONTINUOUS) == [reduced(1, "o", why="reduce_only")]
    assert table.shown() == " | 100:5"


@pytest.mark.parametrize("poor", [1, 2])
def test_who_cannot_pay_goes(poor: int) -> None:
    table = auction((5, 100), (-5, 100))
    table.money.poor = {poor}
    assert table.phase(Phase.CONTINUOUS) == [reduced(poor, "o", why="margin")]


def test_protection_of_the_bid_and_then_of_the_ask() -> None:
    table = auction()
    for account in (1, 2):
        table.protect(account, "mm", lots=1)
        table.place(account, "o", 5 if account == 1 else -5, 100, group="mm")
        table.place(account, "x", 5 if account == 1 else -5, 100, group="mm")
    assert table.phase(Phase.CONTINUOUS) == [
        met(5, 100, 1, 2), filled(1), filled(2),
        ProtectionTripped(1, "mm", 0), reduced(1, "x", why="protection"),
        ProtectionTripped(2, "mm", 0), reduced(2, "x", why="protection"),
        Uncrossed(1, 100, 5),
    ]  # fmt: skip


def test_what_has_expired_does_not_take_part() -> None:
    table = auction((-5, 100))
    table.place(2, "o", 5, 100, time_in_force=GTD, expire_ms=2_000)
    table.time_ms = 2_000
    assert table.phase(Phase.CONTINUOUS) == [reduced(2, "o", why="expired")]


def test_a_halt_keeps_what_crosses_until_trade_goes_on() -> None:
    table = auction((5, 100), (-5, 100))
    assert table.phase(Phase.HALTED) == []
    assert table.desk.uncrossing(1) == (100, 5)
    assert table.phase(Phase.CONTINUOUS)[-1] == Uncrossed(1, 100, 5)
    assert table.phase(Phase.CONTINUOUS) == []


def test_stops_go_when_the_auction_is_over() -> None:
    table = auction((5, 100), (-6, 100))
    table.place(7, "s", 1, 100, stop=StopAt(Trigger.LAST, 100, False))
    assert table.phase(Phase.CONTINUOUS) == [
        met(5, 100, 1, 2), filled(1), filled(2, -1), Uncrossed(1, 100, 5),
        StopTriggered(7, "s"), Traded(1, 100, 1, 7, "s", 2, "o", "buy"), filled(2),
        OrderEnded(7, "s", 0, "filled"),
    ]  # fmt: skip


def test_orders_rest_behind_those_of_the_auction() -> None:
    table = auction((5, 100))
    table.phase(Phase.CONTINUOUS)
    assert table.place(2, "b", 1, 100) == [OrderRested(2, "b", 1, 1, 100, 1)]
    assert table.queue(100, bids=True) == ["o", "b"]
