"""A market maker's group of orders: what counts within its window, what goes when it trips."""

from __future__ import annotations

import pytest

from solvent.errors import Refused, Reject
from solvent.messages.events import (
    OrderEnded,
    OrderRested,
    ProtectionTripped,
    StopCancelled,
    Traded,
)
from solvent.messages.fields import SelfTrade
from tests.test_orders_desk import RISES, Table, reduced

NANO = 10**9
FROZEN = "order {!r} of account 7: expected group 'mm' to quote, found it frozen until {}"


@pytest.fixture
def table() -> Table:
    """Account 7 quotes in the group `mm` on instruments 1 and 2, and beside it."""
    table = Table()
    table.open(2)
    table.protect(7, "mm", lots=10)
    table.place(7, "far", 50, 90, on=2, group="mm")
    table.place(7, "a", 50, 100, group="mm")
    table.place(7, "b", -50, 110, group="mm")
    table.place(7, "alone", 1, 80)
    table.place(7, "s", 5, stop=RISES, group="mm")
    table.place(7, "t", 5, stop=RISES)
    table.protect(8, "mm", lots=1)
    table.place(8, "other", 1, 70, group="mm")
    return table


def test_more_lots_than_the_limit_trip(table: Table) -> None:
    assert len(table.place(9, "x", -10, 100)) == 3
    assert table.place(9, "y", 1, 110) == [
        Traded(1, 110, 1, 9, "y", 7, "b", "buy"),
        reduced(7, "b", -49, why="filled"),
        ProtectionTripped(7, "mm", 0),
        reduced(7, "far", why="protection"),
        reduced(7, "a", why="protection"),
        reduced(7, "b", why="protection"),
        StopCancelled(7, "s", "protection"),
        OrderEnded(9, "y", 0, "filled"),
    ]
    assert list(table.desk.orders[7]) == ["alone"]
    assert list(table.desk.stops[7]) == ["t"]
    detail = (
        "order 'z' of account 7: expected group 'mm' to quote, found it frozen until it is reset"
    )
    table.time_ms = 10**9
    table.refuse(Reject.PROTECTION_TRIPPED, detail, 7, "z", 1, 100, group="mm")
    table.place(7, "z", 1, 100)


def test_the_rest_of_a_taker_goes_on_past_a_maker_that_tripped(table: Table) -> None:
    table.place(8, "m", 5, 100)
    table.place(9, "x", -60, 100, self_trade=SelfTrade.OLDEST)
    assert table.shown() == "80:1 70:1 | 100:5"


def test_a_fill_counts_until_it_leaves_the_window(table: Table) -> None:
    table.place(9, "x", -10, 100)
    table.time_ms = 1_099
    assert not tripped(table, 0)
    table.time_ms = 1_100  # 100 ms later: no more
    table.place(9, "y", -10, 100)
    assert list(table.desk.groups[7, "mm"].notes) == [(1_100, 10, 10 * NANO)]
    table.place(9, "z", -1, 100)
    assert tripped(table, 0)


def tripped(table: Table, until_ms: int) -> bool:
    group = table.desk.groups[7, "mm"]
    assert group.until_ms == until_ms
    return group.frozen(table.time_ms)


def test_delta_counts_one_way() -> None:
    table = Table()
    table.open(2)
    table.money.deltas = {1: NANO, 2: -NANO // 2}
    table.protect(7, "mm", delta_nano=10 * NANO)
    table.place(7, "a", 50, 100, group="mm")
    table.place(7, "b", -50, 110, group="mm")
    table.place(7, "c", 50, 100, on=2, group="mm")
    table.place(9, "x", -10, 100)  # +10
    table.place(9, "y", -10, 100, on=2)  # +5
    table.place(9, "z", 5, 110)  # 0
    table.place(9, "v", -10, 100, on=2)  # −5
    table.place(9, "w", 5, 110)  # −10
    assert list(table.desk.groups[7, "mm"].notes) == [
        (1_000, 10, 10 * NANO), (1_000, 10, -5 * NANO), (1_000, 5, -5 * NANO),
        (1_000, 10, -5 * NANO), (1_000, 5, -5 * NANO),
    ]  # fmt: skip
    assert not tripped(table, 0)
    found = table.place(9, "u", 1, 110)
    assert found[2] == ProtectionTripped(7, "mm", 0)
    assert table.desk.groups[7, "mm"].notes == type(table.desk.groups[7, "mm"].notes)()


def test_a_group_may_quote_again_after_its_time() -> None:
    table = Table()
    table.protect(7, "mm", lots=1, frozen_ms=500)
    table.place(7, "a", 50, 100, group="mm")
    assert table.place(9, "x", -2, 100)[2] == ProtectionTripped(7, "mm", 1_500)
    table.time_ms = 1_499
    detail = FROZEN.format("b", 1_500)
    table.refuse(Reject.PROTECTION_TRIPPED, detail, 7, "b", 1, 100, group="mm")
    table.refuse(Reject.PROTECTION_TRIPPED, detail, 7, "b", 1, 100, group="mm", stop=RISES)
    table.time_ms = 1_500
    table.place(7, "b", 1, 100, group="mm")
    # What was filled before it tripped counts no more.
    assert len(table.place(9, "y", -1, 100)) == 3


def test_a_group_may_quote_again_once_it_is_reset_or_set() -> None:
    table = Table()
    table.protect(7, "mm", lots=1)
    for number, lift in enumerate(("reset", "set")):
        table.place(7, f"a{number}", 50, 100, group="mm")
        table.place(9, f"x{number}", -2, 100)
        assert tripped(table, 0)
        if lift == "reset":
            table.desk.reset_protection(7, "mm")
        else:
            table.protect(7, "mm", lots=20)
        assert not tripped(table, 0)
    table.place(7, "b", 50, 100, group="mm")
    assert len(table.place(9, "y", -20, 100)) == 3


def test_a_reset_forgets_what_was_filled(table: Table) -> None:
    table.place(9, "x", -10, 100)
    table.desk.reset_protection(7, "mm")
    assert len(table.place(9, "y", -10, 100)) == 3


def test_a_group_that_is_not_set_is_not_reset(table: Table) -> None:
    with pytest.raises(Refused) as found:
        table.desk.reset_protection(9, "mm")
    assert found.value.code is Reject.PROTECTION_UNKNOWN
    assert found.value.detail == "group 'mm' of account 9: expected one that is protected"


def test_a_taker_whose_group_trips_ends(table: Table) -> None:
    table.place(9, "m", -8, 105)
    table.place(9, "n", -8, 106)
    table.place(9, "o", -8, 107)
    table.desk.set_protection(7, "mm", window_ms=9, frozen_ms=7, lots=10, delta_nano=None)
    assert table.place(7, "x", 20, 107, group="mm") == [
        Traded(1, 105, 8, 7, "x", 9, "m", "buy"), reduced(9, "m", why="filled"),
        Traded(1, 106, 8, 7, "x", 9, "n", "buy"), reduced(9, "n", why="filled"),
        ProtectionTripped(7, "mm", 1_007),
        reduced(7, "far", why="protection"),
        reduced(7, "a", why="protection"),
        reduced(7, "b", why="protection"),
        StopCancelled(7, "s", "protection"),
        OrderEnded(7, "x", 4, "protection"),
    ]  # fmt: skip
    assert table.shown() == "80:1 70:1 | 107:8"


def test_a_taker_that_is_filled_when_its_group_trips_is_filled(table: Table) -> None:
    table.place(9, "m", -11, 105)
    found = table.place(7, "x", 11, 105, group="mm")
    assert found[2] == ProtectionTripped(7, "mm", 0)
    assert found[-1] == OrderEnded(7, "x", 0, "filled")


def test_the_makers_group_is_noted_before_the_takers() -> None:
    table = Table()
    for account in (7, 8):
        table.protect(account, "mm", lots=1)
    table.place(7, "a", 5, 100, group="mm")
    assert table.place(8, "b", -5, 100, group="mm") == [
        Traded(1, 100, 5, 7, "a", 8, "b", "sell"), reduced(7, "a", why="filled"),
        ProtectionTripped(7, "mm", 0), ProtectionTripped(8, "mm", 0),
        OrderEnded(8, "b", 0, "filled"),
    ]  # fmt: skip


def test_no_limit_never_trips() -> None:
    table = Table()
    table.protect(7, "mm")
    table.place(7, "a", 500, 100, group="mm")
    assert table.place(9, "x", -600, 100)[-1] == OrderRested(9, "x", 1, -100, 100, -100)
