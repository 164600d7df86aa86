"""Stops: which price sets them off, in which order, and what they come to then."""

from __future__ import annotations

from typing import Any

import pytest

from solvent.messages.events import (
    Event,
    OrderEnded,
    OrderRested,
    StopPlaced,
    StopTriggered,
    Traded,
)
from solvent.messages.fields import Phase, StopAt, Trigger
from solvent.orders.desk import Desk
from tests.test_orders_desk import FOK, GTD, IOC, Table, reduced

MARK, INDEX, LAST = Trigger.MARK, Trigger.INDEX, Trigger.LAST


@pytest.fixture
def table() -> Table:
    table = Table(points_per_tick=10)
    table.open(2, points_per_tick=10)
    table.place(1, "bid", 100, 90)
    table.place(1, "ask", -100, 110)
    return table


def triggered(events: list[Event]) -> str:
    return "".join(event.order for event in events if isinstance(event, StopTriggered))


def stop(table: Table, name: str, lots: int, at: int, *, by: Trigger = MARK, rises: bool = True,
         price: int | None = None, account: int = 7, **more: Any) -> list[Event]:  # fmt: skip
    return table.place(account, name, lots, price, stop=StopAt(by, at, rises), **more)


def trade(table: Table, price: int) -> list[Event]:
    """One lot trades at a price."""
    table.place(2, "m", 1, price)
    return table.place(3, "t", -1, price)


# ── what sets off ────────────────────────────────────────────────────────────────────────────────


def test_a_stop_waits_and_becomes_an_order(table: Table) -> None:
    assert stop(table, "s", 5, 1_000) == [StopPlaced(7, "s", 1)]
    order = table.desk.stops[7]["s"]
    assert (order.rank, order.shown) == (3, 0)
    assert table.settle(mark=999) == []
    assert table.settle(mark=1_000) == [
        StopTriggered(7, "s"), Traded(1, 110, 5, 7, "s", 1, "ask", "buy"),
        reduced(1, "ask", -95, why="filled"), OrderEnded(7, "s", 0, "filled"),
    ]  # fmt: skip
    assert order.stop is None
    assert table.desk.stops == {}


@pytest.mark.parametrize("rises", [True, False])
def test_by_mark_and_index_in_points(table: Table, rises: bool) -> None:
    sign = 1 if rises else -1
    stop(table, "m", 1, 1_000, by=MARK, rises=rises)
    stop(table, "i", 1, 5_000, by=INDEX, rises=rises)
    assert table.settle(mark=1_000 - sign, index=5_000 - sign) == []
    assert triggered(table.settle(index=5_000 + sign)) == "i"
    assert triggered(table.settle(mark=1_000)) == "m"


@pytest.mark.parametrize("rises", [True, False])
def test_by_the_last_price_in_points(table: Table, rises: bool) -> None:
    stop(table, "s", 1, 1_000, by=LAST, rises=rises)
    assert triggered(trade(table, 99 if rises else 101)) == ""
    assert triggered(trade(table, 100)) == "s"


def test_each_looks_at_its_own_price_in_its_own_book(table: Table) -> None:
    for by in Trigger:
        stop(table, f"{by.value}1", 1, 1_000, by=by, price=50)
        stop(table, f"{by.value}2", 1, 1_000, by=by, price=50, on=2)
    assert triggered(table.settle(mark=1_000)) == "mark1"
    assert triggered(table.settle(index=1_000, on=2)) == "index2"
    assert triggered(table.settle(mark=999, on=2)) == ""
    assert table.desk.order_count(2) == 3


def test_only_those_go_whose_price_is_reached(table: Table) -> None:
    for number, at in enumerate((1_030, 1_010, 1_020, 1_000, 1_010)):
        stop(table, f"{number}", 1, at)
        stop(table, f"{number}f", 1, 1_900 - at, rises=False)
    assert triggered(table.settle(mark=1_000)) == "3"
    assert triggered(table.settle(mark=1_010)) == "14"
    assert triggered(table.settle(mark=890)) == "1f3f4f"
    assert triggered(table.settle(mark=880)) == "2f"
    assert triggered(table.settle(mark=9_000)) == "02"


def test_they_go_by_rank_over_all_books(table: Table) -> None:
    stop(table, "a", 1, 1_010)
    stop(table, "b", 1, 1_000, on=2, account=8)
    stop(table, "c", 1, 1_000)
    stop(table, "d", 1, 1_020, on=2, by=INDEX)
    table.desk.observe(2, mark_points=1_000, index_nano=2_000)
    assert triggered(table.settle(mark=1_020)) == "abcd"


def test_one_stop_sets_off_another(table: Table) -> None:
    table.place(1, "m", -5, 101)
    table.place(1, "n", -5, 102)
    stop(table, "c", 5, 1_020, by=LAST)
    stop(table, "b", 4, 1_010, by=LAST)
    stop(table, "d", -1, 1_100, by=LAST, price=120)
    stop(table, "a", 5, 1_000)
    assert table.settle(mark=1_000) == [
        StopTriggered(7, "a"), Traded(1, 101, 5, 7, "a", 1, "m", "buy"),
        reduced(1, "m", why="filled"), OrderEnded(7, "a", 0, "filled"),
        StopTriggered(7, "b"), Traded(1, 102, 4, 7, "b", 1, "n", "buy"),
        reduced(1, "n", -1, why="filled"), OrderEnded(7, "b", 0, "filled"),
        StopTriggered(7, "c"), Traded(1, 102, 1, 7, "c", 1, "n", "buy"),
        reduced(1, "n", why="filled"), Traded(1, 110, 4, 7, "c", 1, "ask", "buy"),
        reduced(1, "ask", -96, why="filled"), OrderEnded(7, "c", 0, "filled"),
        StopTriggered(7, "d"), OrderRested(7, "d", 1, -1, 120, -1),
    ]  # fmt: skip


def test_a_price_that_has_moved_back_does_not_save_those_it_set_off(table: Table) -> None:
    table.place(1, "m", 1, 95)
    stop(table, "a", -1, 1_000, by=LAST)  # sells at 95: the last price falls back
    stop(table, "b", 1, 1_000, by=LAST)
    stop(table, "c", 1, 950, by=LAST, rises=False)
    # Once b has bought at 110 the last price is above c's again.
    assert triggered(trade(table, 100)) == "ab"


def test_a_change_of_an_order_may_set_off(table: Table) -> None:
    stop(table, "a", -1, 1_100, by=LAST)
    table.place(2, "m", 1, 95)
    assert triggered(table.amend(2, "m", price=110)) == "a"


def test_stops_wait_while_trade_is_not_continuous(table: Table) -> None:
    stop(table, "a", 1, 1_000)
    stop(table, "b", 1, 1_010)
    for phase in (Phase.AUCTION, Phase.HALTED):
        table.phase(phase)
        assert table.settle(mark=1_000) == []
    assert triggered(table.phase(Phase.CONTINUOUS)) == "a"


def test_a_stop_that_held_unseen_goes_when_it_is_next_looked(table: Table) -> None:
    # Nothing was known when it was accepted, and prices come before it is carried out.
    stop(table, "a", 1, 1_000)
    table.desk.observe(1, mark_points=1_000)
    again = Desk.restored(table.desk.image(), table.terms)
    for desk in (table.desk, again):
        events: list[Event] = []
        desk.settle_stops(time_ms=1_000, gate=table.money, events=events)
        assert triggered(events) == "a"
        events.clear()
        desk.settle_stops(time_ms=1_000, gate=table.money, events=events)
        assert events == []


# ── what it comes to ─────────────────────────────────────────────────────────────────────────────


def test_a_stop_with_a_price_may_rest(table: Table) -> None:
    stop(table, "a", 5, 1_000, price=105, display=2)
    assert table.settle(mark=1_000) == [
        StopTriggered(7, "a"), OrderRested(7, "a", 1, 5, 105, 2),
    ]  # fmt: skip
    assert table.desk.orders[7]["a"].rank == 4


def test_a_stop_that_has_expired_is_over(table: Table) -> None:
    stop(table, "a", 5, 1_000, price=105, time_in_force=GTD, expire_ms=2_000)
    table.time_ms = 2_000
    assert table.settle(mark=1_000) == [StopTriggered(7, "a"), OrderEnded(7, "a", 5, "expired")]


def test_a_stop_of_a_group_that_froze_is_over(table: Table) -> None:
    table.protect(7, "mm")
    stop(table, "a", -5, 1_000, group="mm")
    stop(table, "b", -5, 1_010, group="mm")
    table.desk.groups[7, "mm"].trip(1_000)
    assert table.settle(mark=1_000) == [
        StopTriggered(7, "a"), OrderEnded(7, "a", -5, "protection"),
    ]  # fmt: skip
    table.desk.reset_protection(7, "mm")
    assert table.settle(mark=1_010)[-1] == OrderEnded(7, "b", 0, "filled")


def test_a_stop_that_has_nothing_to_reduce_is_over(table: Table) -> None:
    table.money.lots[7, 1] = -5
    for name, at in (("a", 1_000), ("b", 1_010)):
        stop(table, name, 5, at, reduce_only=True)
    assert table.settle(mark=1_000)[-1] == OrderEnded(7, "a", 0, "filled")
    assert table.settle(mark=1_010) == [
        StopTriggered(7, "b"), OrderEnded(7, "b", 5, "reduce_only"),
    ]  # fmt: skip


def test_a_stop_that_must_not_take_is_over_if_it_would(table: Table) -> None:
    stop(table, "a", 5, 1_000, price=110, post_only=True)
    stop(table, "b", 5, 1_000, price=109, post_only=True)
    assert table.settle(mark=1_000) == [
        StopTriggered(7, "a"), OrderEnded(7, "a", 5, "immediate"),
        StopTriggered(7, "b"), OrderRested(7, "b", 1, 5, 109, 5),
    ]  # fmt: skip


def test_a_stop_that_cannot_be_filled_whole_is_over(table: Table) -> None:
    stop(table, "a", 101, 1_000, time_in_force=FOK)
    stop(table, "b", 100, 1_000, time_in_force=FOK)
    found = table.settle(mark=1_000)
    assert found[:3] == [
        StopTriggered(7, "a"), OrderEnded(7, "a", 101, "immediate"), StopTriggered(7, "b"),
    ]  # fmt: skip
    assert found[-1] == OrderEnded(7, "b", 0, "filled")


def test_a_stop_that_its_account_may_not_have_is_over(table: Table) -> None:
    stop(table, "a", 5, 1_000)
    table.money.strange = {7}
    assert table.settle(mark=1_000) == [StopTriggered(7, "a"), OrderEnded(7, "a", 5, "margin")]


def test_a_market_stop_that_finds_nothing_is_over(table: Table) -> None:
    table.cancel(1, "ask")
    stop(table, "a", 5, 1_000, time_in_force=IOC)
    assert table.settle(mark=1_000)[-1] == OrderEnded(7, "a", 5, "immediate")


def test_a_stop_that_went_meanwhile_is_skipped(table: Table) -> None:
    table.protect(7, "mm", lots=1)
    stop(table, "a", 5, 1_000, group="mm")
    stop(table, "b", 5, 1_000, group="mm")
    stop(table, "c", 5, 1_000)
    assert triggered(table.settle(mark=1_000)) == "ac"


def test_the_first_stop_may_end_what_the_second_needs(table: Table) -> None:
    # The second is looked at when its turn comes, after the trades of the first.
    stop(table, "a", 100, 1_000, time_in_force=FOK)
    stop(table, "b", 1, 1_000, time_in_force=FOK)
    assert table.settle(mark=1_000)[-1] == OrderEnded(7, "b", 1, "immediate")
