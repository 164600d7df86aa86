"""Every refusal of an order and of a change: its code, its words, and which comes first."""

from __future__ import annotations

from typing import Any

import pytest

from solvent.errors import Reject
from solvent.limits import LOTS_MAX
from solvent.messages.events import StopTriggered
from solvent.messages.fields import Phase, SelfTrade, StopAt, TimeInForce, Trigger
from solvent.orders.order import BookTerms, Order, Why
from solvent.orders.refusals import ORDERS_MAX
from tests.test_orders_desk import FOK, GTD, IOC, RISES, Table

GTC = TimeInForce.GTC
A = "order 'a' of account 7: expected "


@pytest.fixture
def table() -> Table:
    return Table()


# ── an order ─────────────────────────────────────────────────────────────────────────────────────


def test_an_instrument_that_is_not_there(table: Table) -> None:
    detail = "instrument 2: expected one with a book"
    table.refuse(Reject.INSTRUMENT_UNKNOWN, detail, 7, "a", 0, on=2)


def test_an_instrument_that_is_halted(table: Table) -> None:
    table.place(7, "a", 1, 99)
    table.phase(Phase.HALTED)
    detail = A + "instrument 1 to trade, found it halted"
    table.refuse(Reject.INSTRUMENT_HALTED, detail, 7, "a", 0)
    table.refuse_amend(Reject.INSTRUMENT_HALTED, detail, 7, "a", lots=0)


def test_an_instrument_that_has_ended() -> None:
    table = Table(expiry_ms=1_001)
    table.place(7, "a", 1, 99)
    table.time_ms = 1_001
    detail = A + "a time before the end of instrument 1 at 1001, found 1001"
    table.refuse(Reject.INSTRUMENT_EXPIRED, detail, 7, "a", 0)
    table.refuse_amend(Reject.INSTRUMENT_EXPIRED, detail, 7, "a", lots=0)


def test_a_name_that_is_taken(table: Table) -> None:
    table.place(7, "a", 1, 99)
    table.place(7, "s", 1, stop=RISES)
    table.place(8, "b", 1, 99)
    detail = A + "a name that is free, found an order of that name at rest"
    table.refuse(Reject.ORDER_DUPLICATED, detail, 7, "a", 0)
    detail = ("order 's' of account 7: expected a name that is free, found an order of that name "
              "waiting for its trigger")  # fmt: skip
    table.refuse(Reject.ORDER_DUPLICATED, detail, 7, "s", 0)
    table.place(7, "b", 1, 99)


@pytest.mark.parametrize(
    ("lots", "price", "more", "detail"),
    [
        (5, None, {"time_in_force": GTC}, "ioc or fok without a price, found gtc"),
        (5, None, {"time_in_force": GTD, "expire_ms": 2_000},
         "ioc or fok without a price, found gtd"),
        (5, None, {"post_only": True}, "an order that may rest, if it is post-only, found ioc"),
        (5, None, {"display": 5},
         "an order that may rest, if it displays only a part, found ioc"),
        (5, 99, {"time_in_force": IOC, "post_only": True},
         "an order that may rest, if it is post-only, found ioc"),
        (5, 99, {"time_in_force": FOK, "display": 5},
         "an order that may rest, if it displays only a part, found fok"),
        (5, 99, {"time_in_force": GTD}, "a time of expiry with gtd and with no other, found 0"),
        (5, 99, {"expire_ms": 2_000}, "a time of expiry with gtd and with no other, found 2000"),
        (5, 99, {"expire_ms": 900}, "a time of expiry with gtd and with no other, found 900"),
        (5, 99, {"time_in_force": IOC, "expire_ms": 2_000},
         "a time of expiry with gtd and with no other, found 2000"),
        (10, 99, {"display": 15}, "a multiple of 5 lots to display, 10 at most, found 15"),
        (-10, 99, {"display": 15}, "a multiple of 5 lots to display, 10 at most, found 15"),
        (10, 99, {"display": 6}, "a multiple of 5 lots to display, 10 at most, found 6"),
        (5_005, 99, {"display": 5}, "at most 1000 times what it displays, found 5005"),
        (0, 99, {}, "some lots, found 0"),
        (0, None, {}, "some lots, found 0"),
    ],
)  # fmt: skip
def test_terms_that_do_not_go_together(
    lots: int, price: int | None, more: dict[str, Any], detail: str
) -> None:
    # Every later check would refuse it too.
    table = Table(lots_step=5, lots_min=1_000, price_step=2)
    table.refuse(Reject.ORDER_TERMS_INVALID, A + detail, 7, "a", lots, price, **more)


@pytest.mark.parametrize(
    "more",
    [{"time_in_force": IOC}, {"time_in_force": FOK}, {"post_only": True}, {"display": 1},
     {"stop": RISES}],
)  # fmt: skip
def test_a_book_that_is_not_matched_takes_what_only_rests(more: dict[str, Any]) -> None:
    table = Table(matching=False)
    detail = A + "an order that only rests in instrument 1, found other terms"
    table.refuse(Reject.ORDER_TERMS_INVALID, detail, 7, "a", 1, 99, **more)
    table.place(7, "a", 1, 99, time_in_force=GTD, expire_ms=2_000)
    table.money.lots[7, 1] = -1
    table.place(7, "b", 1, 99, reduce_only=True)


def test_an_order_that_expires_at_once(table: Table) -> None:
    detail = A + "a time of expiry after 1000, found 1000"
    table.refuse(Reject.ORDER_EXPIRED, detail, 7, "a", 5, -99, time_in_force=GTD, expire_ms=1_000)
    table.place(7, "a", 5, 99, time_in_force=GTD, expire_ms=1_001)


def test_prices_off_their_step() -> None:
    table = Table(price_step=5, lots_step=5)
    for price in (0, -5, -3):
        detail = A + f"a price above zero, found {price}"
        table.refuse(Reject.PRICE_NOT_POSITIVE, detail, 7, "a", 1, price)
    detail = A + "a multiple of 5 ticks, found 7"
    table.refuse(Reject.PRICE_OFF_STEP, detail, 7, "a", 1, 7)
    signed = Table(price_step=5, signed=True)
    detail = A + "a multiple of 5 ticks, found -7"
    signed.refuse(Reject.PRICE_OFF_STEP, detail, 7, "a", 1, -7)
    signed.place(7, "a", 1, -5)


@pytest.mark.parametrize(
    ("code", "expected", "lots"),
    [
        (Reject.LOTS_OFF_STEP, "a multiple of 5 lots", 12),
        (Reject.LOTS_OFF_STEP, "a multiple of 5 lots", 3),
        (Reject.LOTS_OFF_STEP, "a multiple of 5 lots", 101),
        (Reject.ORDER_TOO_SMALL, "at least 10 lots", 5),
        (Reject.ORDER_TOO_LARGE, "at most 100 lots", 105),
    ],
)
def test_lots_off_their_bounds(code: Reject, expected: str, lots: int) -> None:
    table = Table(lots_step=5, lots_min=10, lots_max=100)
    for signed in (lots, -lots):
        table.refuse(code, A + f"{expected}, found {lots}", 7, "a", signed, 99)
    table.phase(Phase.AUCTION)
    table.refuse(code, A + f"{expected}, found {lots}", 7, "a", lots)
    table.place(7, "a", 10, 99)
    table.place(7, "b", 100, 99)


def test_an_auction_takes_what_may_rest(table: Table) -> None:
    table.desk.observe(1, mark_points=100)
    table.phase(Phase.AUCTION)
    for price, told in ((None, IOC), (99, IOC), (99, FOK)):
        detail = A + f"an order that may rest, in an auction, found {told.value}"
        table.refuse(Reject.ORDER_NOT_FOR_AUCTION, detail, 7, "a", 5, price, time_in_force=told)
    table.place(7, "a", 5, 99, time_in_force=GTD, expire_ms=2_000)
    table.place(7, "b", 5, stop=RISES)
    table.place(7, "c", 5, 99, post_only=True, display=2)


def test_a_band_about_the_mark() -> None:
    # 10 points a tick, 5 %: from 95.05 up to 104.95 ticks for a mark of 999 points.
    table = Table(band_ppm=50_000, points_per_tick=10)
    table.place(7, "far", 1, 500)  # no mark yet
    table.cancel(7, "far")
    table.desk.observe(1, mark_points=999)
    detail = A + "at most 104 ticks, found 105"
    table.refuse(Reject.PRICE_OUT_OF_BAND, detail, 7, "a", 1, 105)
    table.refuse(Reject.PRICE_OUT_OF_BAND, detail, 7, "a", 1, 105, stop=RISES)
    detail = A + "at least 95 ticks, found 94"
    table.refuse(Reject.PRICE_OUT_OF_BAND, detail, 7, "a", -1, 94)
    table.place(7, "b", 1, 1)
    table.place(7, "c", -1, 500)
    table.place(7, "d", -1, 104)
    table.place(8, "e", 2, 104)
    table.place(7, "f", -1, 95)
    table.desk.observe(1, index_nano=5)  # no new mark: the same band
    table.refuse(Reject.PRICE_OUT_OF_BAND, detail, 7, "a", -1, 94)


def test_the_edges_of_a_band_are_inside() -> None:
    table = Table(band_ppm=50_000, points_per_tick=10)
    table.desk.observe(1, mark_points=1_000)
    table.refuse(Reject.PRICE_OUT_OF_BAND, A + "at most 105 ticks, found 106", 7, "a", 1, 106)
    table.refuse(Reject.PRICE_OUT_OF_BAND, A + "at least 95 ticks, found 94", 7, "a", -1, 94)
    table.place(7, "a", 1, 105)
    table.cancel(7, "a")
    table.place(7, "a", -1, 95)


def test_other_terms_are_of_what_comes_and_not_of_what_rests() -> None:
    table = Table(band_ppm=0)
    table.desk.observe(1, mark_points=100)
    table.place(7, "b", 3, 100)
    stop = StopAt(Trigger.LAST, 1_000, True)
    table.place(7, "s", 1, 100, stop=stop)
    table.place(8, "t", -1, 100)
    for terms in (
        BookTerms(lots_step=2), BookTerms(lots_step=2, signed=True, band_ppm=0),
        BookTerms(lots_step=2, band_ppm=10_000, points_per_tick=10),
    ):  # fmt: skip
        table.desk.set_terms(1, terms)
        table.terms[1] = terms
        detail = A + "a multiple of 2 lots, found 1"
        table.refuse(Reject.LOTS_OFF_STEP, detail, 7, "a", 1, 100)
        if terms.points_per_tick == 1:
            table.place(9, "far", 2, 90)
            table.cancel(9, "far")
            assert table.settle() == []
    detail = A + "at most 10 ticks, found 90"
    table.refuse(Reject.PRICE_OUT_OF_BAND, detail, 7, "a", 2, 90)
    assert table.settle()[0] == StopTriggered(7, "s")
    assert table.shown() == "100:3 | "


def test_a_band_comes_before_the_group(table: Table) -> None:
    table = Table(band_ppm=0)
    table.desk.observe(1, mark_points=100)
    detail = A + "at most 100 ticks, found 101"
    table.refuse(Reject.PRICE_OUT_OF_BAND, detail, 7, "a", 1, 101, group="mm")


def test_a_group_is_set_and_not_frozen(table: Table) -> None:
    detail = A + "a group that is protected, found 'mm'"
    table.refuse(Reject.PROTECTION_UNKNOWN, detail, 7, "a", 1, 99, group="mm")
    table.protect(8, "mm", lots=1)
    table.refuse(Reject.PROTECTION_UNKNOWN, detail, 7, "a", 1, 99, group="mm", stop=RISES)


def test_no_more_than_so_many_orders(table: Table) -> None:
    desk = table.desk
    for number in range(ORDERS_MAX):
        order = Order(7, f"o{number}", 1, 1, 99, stop=RISES if number % 2 else None)
        desk.enter(order, time_ms=1, gate=table.money, events=[])
    detail = A + "fewer than 10000 others, found 10000"
    table.refuse(
        Reject.CAPACITY_REACHED, detail, 7, "a", LOTS_MAX, 99, stop=RISES, reduce_only=True
    )
    table.refuse(Reject.CAPACITY_REACHED, detail, 7, "a", LOTS_MAX, 99, reduce_only=True)
    desk.cancel(7, "o1", why=Why.CANCELLED, time_ms=1, events=[])
    desk.accept(Order(7, "a", 1, 1, 99), time_ms=1, gate=table.money)


def test_no_more_than_so_many_lots(table: Table) -> None:
    table.open(2)
    table.place(7, "x", LOTS_MAX - 10, 99)
    table.place(7, "y", -4, 199, on=2)
    table.place(7, "z", 100, stop=RISES)
    table.place(8, "a", 100, 99)
    detail = A + f"at most {LOTS_MAX} lots with all others that rest, found {LOTS_MAX + 1}"
    for lots in (7, -7):
        table.refuse(Reject.POSITION_TOO_LARGE, detail, 7, "a", lots, 99, reduce_only=True)
    table.place(7, "s", 7, stop=RISES)
    table.place(7, "a", 6, 99)
    table.cancel(7, "x")
    table.place(7, "b", LOTS_MAX - 10, 99)


def test_reduce_only_needs_something_to_reduce(table: Table) -> None:
    for held, lots in ((0, 1), (0, -1), (5, 1), (-5, -1)):
        table.money.lots[7, 1] = held
        detail = A + f"a position the other way to reduce, found {held} lots"
        code = Reject.REDUCE_ONLY_INCREASES
        table.refuse(code, detail, 7, "a", lots, 99, reduce_only=True)
        table.refuse(code, detail, 7, "a", lots, reduce_only=True, stop=RISES)
    table.money.lots[7, 1] = 5
    table.place(7, "a", -100, 99, reduce_only=True)


@pytest.mark.parametrize("trigger", list(Trigger))
@pytest.mark.parametrize("rises", [True, False])
def test_a_stop_that_would_be_set_off_at_once(trigger: Trigger, rises: bool) -> None:
    table = Table(points_per_tick=10)
    far = {Trigger.MARK: 500, Trigger.INDEX: 600, Trigger.LAST: 700}[trigger]
    table.place(7, "early", 1, stop=StopAt(trigger, far, rises))  # no price is known yet
    table.cancel(7, "early")
    table.desk.observe(1, mark_points=500, index_nano=600)
    table.place(8, "m", 1, 70)
    table.place(9, "t", -1, 70)
    detail = A + f"a trigger that the {trigger.value} has not reached, found {far}"
    table.refuse(Reject.STOP_TRIGGERS_AT_ONCE, detail, 7, "a", 1, stop=StopAt(trigger, far, rises))
    beyond = far + 1 if rises else far - 1
    table.place(7, "a", 1, stop=StopAt(trigger, beyond, rises))
    within = far - 1 if rises else far + 1
    detail = A + f"a trigger that the {trigger.value} has not reached, found {within}"
    table.cancel(7, "a")
    table.refuse(
        Reject.STOP_TRIGGERS_AT_ONCE, detail, 7, "a", 1, stop=StopAt(trigger, within, rises)
    )


def test_a_stop_may_cross_when_it_is_placed(table: Table) -> None:
    table.place(8, "m", -1, 100)
    table.place(7, "a", 1, 100, post_only=True, stop=RISES)
    table.place(7, "b", 9, 100, time_in_force=FOK, stop=RISES)


def test_post_only_never_takes(table: Table) -> None:
    table.place(8, "m", -1, 100)
    table.place(8, "n", 1, 90)
    detail = A + "a price that meets no order, found 100"
    table.refuse(Reject.POST_ONLY_CROSSES, detail, 7, "a", 1, 100, post_only=True)
    detail = A + "a price that meets no order, found 90"
    table.refuse(Reject.POST_ONLY_CROSSES, detail, 7, "a", -1, 90, post_only=True)
    table.place(7, "a", 1, 99, post_only=True)
    table.place(7, "b", -1, 100, post_only=True)


def test_post_only_does_not_cross_what_has_expired(table: Table) -> None:
    table.place(8, "m", -1, 100, time_in_force=GTD, expire_ms=1_500)
    table.place(8, "n", -1, 101)
    table.time_ms = 1_500
    detail = A + "a price that meets no order, found 101"
    table.refuse(Reject.POST_ONLY_CROSSES, detail, 7, "a", 1, 101, post_only=True)
    table.place(7, "a", 1, 100, post_only=True)


def test_post_only_may_cross_in_an_auction(table: Table) -> None:
    table.phase(Phase.AUCTION)
    table.place(8, "m", -1, 100)
    table.place(7, "a", 1, 100, post_only=True)


# ── fill or kill ─────────────────────────────────────────────────────────────────────────────────


def unfillable(table: Table, lots: int, price: int | None, **more: Any) -> None:
    detail = A + f"{abs(lots)} lots within its price, found fewer"
    table.refuse(Reject.ORDER_UNFILLABLE, detail, 7, "a", lots, price, time_in_force=FOK, **more)


def fillable(table: Table, lots: int, price: int | None, **more: Any) -> None:
    order = Order(7, "a", 1, lots, price, time_in_force=FOK, **more)
    table.desk.accept(order, time_ms=table.time_ms, gate=table.money)


def test_fill_or_kill_counts_all_lots_within_its_price(table: Table) -> None:
    unfillable(table, 1, 100)
    table.place(8, "m", -5, 100)
    table.place(9, "n", -10, 101, display=1)
    fillable(table, 5, 100)
    unfillable(table, 6, 100)
    fillable(table, 15, 101)
    unfillable(table, 16, 101)
    fillable(table, 15, None)
    unfillable(table, 16, None)
    table.place(8, "b", 5, 99)
    fillable(table, -5, 99)
    unfillable(table, -1, 100)


def test_fill_or_kill_goes_no_further_than_the_band() -> None:
    table = Table(band_ppm=50_000)
    table.desk.observe(1, mark_points=100)
    table.place(8, "m", -5, 105)
    table.place(8, "n", -5, 106)
    fillable(table, 5, None)
    unfillable(table, 6, None)


def test_fill_or_kill_does_not_count_what_has_expired(table: Table) -> None:
    table.place(8, "m", -5, 100, time_in_force=GTD, expire_ms=1_500)
    table.place(8, "n", -5, 100)
    fillable(table, 10, 100)
    table.time_ms = 1_500
    fillable(table, 5, 100)
    unfillable(table, 6, 100)


def test_fill_or_kill_does_not_count_its_own(table: Table) -> None:
    table.place(8, "m", -5, 100)
    table.place(7, "own", -5, 100)
    table.place(8, "n", -5, 101)
    for mode in (SelfTrade.NEWEST, SelfTrade.BOTH, SelfTrade.DECREMENT):
        fillable(table, 5, 101, self_trade=mode)
        unfillable(table, 6, 101, self_trade=mode)
    fillable(table, 10, 101, self_trade=SelfTrade.OLDEST)
    unfillable(table, 11, 101, self_trade=SelfTrade.OLDEST)


def test_fill_or_kill_counts_reduce_only_for_what_it_may_reduce(table: Table) -> None:
    table.money.lots |= {(8, 1): 7, (9, 1): 3}
    table.place(8, "m", -5, 100, reduce_only=True)
    table.place(9, "n", -5, 100, reduce_only=True)
    table.place(8, "o", -5, 101, reduce_only=True)
    fillable(table, 8, 100)
    unfillable(table, 9, 100)
    fillable(table, 10, 101)  # 5 and 2 of account 8, 3 of account 9
    unfillable(table, 11, 101)
    table.money.lots[8, 1] = -7
    unfillable(table, 4, 101)


def test_fill_or_kill_that_only_reduces_is_for_all_its_lots(table: Table) -> None:
    table.place(8, "m", -9, 100)
    table.money.lots[7, 1] = -5
    fillable(table, 5, 100, reduce_only=True)
    unfillable(table, 6, 100, reduce_only=True)


# ── a change ─────────────────────────────────────────────────────────────────────────────────────


def test_a_change_of_what_does_not_rest(table: Table) -> None:
    detail = A + "one that rests or waits"
    table.refuse_amend(Reject.ORDER_UNKNOWN, detail, 7, "a", lots=5)
    table.place(7, "a", 5, 99, time_in_force=GTD, expire_ms=2_000)
    table.place(7, "s", 5, stop=RISES, price=99, time_in_force=GTD, expire_ms=2_000)
    told = "order 's' of account 7: expected one that rests, found it waiting for its trigger"
    table.refuse_amend(Reject.ORDER_WAITING, told, 7, "s")
    table.time_ms = 2_000
    table.refuse_amend(Reject.ORDER_UNKNOWN, detail, 7, "a", lots=5)
    table.refuse_amend(Reject.ORDER_UNKNOWN, detail.replace("'a'", "'s'"), 7, "s", lots=5)


def test_a_change_of_nothing(table: Table) -> None:
    table.place(7, "a", 5, 99)
    detail = A + "new lots or a new price, found neither"
    table.refuse_amend(Reject.ORDER_TERMS_INVALID, detail, 7, "a")


def test_a_change_to_fewer_lots_than_are_filled(table: Table) -> None:
    table.place(7, "a", 5, 99)
    table.place(8, "t", -3, 99)
    for lots in (3, 2):
        detail = A + f"more than the 3 lots that are filled, found {lots}"
        table.refuse_amend(Reject.AMEND_BELOW_FILLED, detail, 7, "a", lots=lots, price=-1)
    table.amend(7, "a", lots=4)


def test_a_change_that_would_show_itself_in_too_many_parts(table: Table) -> None:
    table.place(7, "a", 1_000, 99, display=1)
    detail = A + "at most 1000 times what it displays, found 1001"
    table.refuse_amend(Reject.ORDER_TERMS_INVALID, detail, 7, "a", lots=1_001, price=None)
    table.place(8, "t", -3, 99)
    table.amend(7, "a", lots=1_003)


def test_a_change_off_its_steps() -> None:
    table = Table(price_step=5, lots_step=5, lots_min=10, lots_max=100)
    table.place(7, "a", 20, 100)
    for code, detail, lots, price in (
        (Reject.PRICE_NOT_POSITIVE, "a price above zero, found 0", 12, 0),
        (Reject.PRICE_OFF_STEP, "a multiple of 5 ticks, found 101", 12, 101),
        (Reject.LOTS_OFF_STEP, "a multiple of 5 lots, found 12", 12, 105),
        (Reject.ORDER_TOO_SMALL, "at least 10 lots, found 5", 5, None),
        (Reject.ORDER_TOO_LARGE, "at most 100 lots, found 105", 105, None),
    ):
        table.refuse_amend(code, A + detail, 7, "a", lots=lots, price=price)


def test_the_bounds_of_lots_are_of_all_lots() -> None:
    table = Table(lots_step=5, lots_min=10, lots_max=20)
    table.place(7, "a", 20, 100)
    table.place(8, "b", -15, 100)
    table.amend(7, "a", price=99)  # 5 lots are left: not looked at
    table.amend(7, "a", lots=20)
    detail = A + "at most 20 lots, found 25"
    table.refuse_amend(Reject.ORDER_TOO_LARGE, detail, 7, "a", lots=25)


def test_a_change_beyond_the_band() -> None:
    table = Table(band_ppm=0)
    table.place(7, "a", 5, 99)
    table.place(7, "b", -5, 101)
    table.desk.observe(1, mark_points=90)
    at_most = A + "at most 90 ticks, found 99"
    table.refuse_amend(Reject.PRICE_OUT_OF_BAND, at_most, 7, "a", lots=6)
    table.refuse_amend(Reject.PRICE_OUT_OF_BAND, at_most, 7, "a", lots=6, price=99)
    table.refuse_amend(
        Reject.PRICE_OUT_OF_BAND, A + "at most 90 ticks, found 91", 7, "a", lots=4, price=91
    )
    table.amend(7, "a", lots=4)
    table.amend(7, "a", lots=4, price=99)
    table.amend(7, "a", price=90, lots=9)
    table.desk.observe(1, mark_points=110)
    detail = "order 'b' of account 7: expected at least 110 ticks, found 109"
    table.refuse_amend(Reject.PRICE_OUT_OF_BAND, detail, 7, "b", price=109)
    table.amend(7, "b", price=110)


def test_a_change_while_the_group_is_frozen(table: Table) -> None:
    # Its orders went when it tripped, so none is left to change; one is put here by hand.
    table.protect(7, "mm", lots=1)
    table.place(7, "a", 5, 99, group="mm")
    table.desk.groups[7, "mm"].trip(1_000)
    detail = A + "group 'mm' to quote, found it frozen until it is reset"
    table.refuse_amend(Reject.PROTECTION_TRIPPED, detail, 7, "a", lots=4)
    table.protect(7, "mm", lots=1)
    table.amend(7, "a", lots=4)


def test_a_change_to_too_many_lots(table: Table) -> None:
    table.place(7, "x", LOTS_MAX - 10, 99)
    table.place(7, "a", -4, 101)
    detail = A + f"at most {LOTS_MAX} lots with all others that rest, found {LOTS_MAX + 1}"
    table.refuse_amend(Reject.POSITION_TOO_LARGE, detail, 7, "a", lots=11)
    table.amend(7, "a", lots=10)


def test_a_change_that_grows_what_only_reduces(table: Table) -> None:
    table.money.lots[7, 1] = -5
    table.place(7, "a", 5, 99, reduce_only=True)
    table.amend(7, "a", lots=8)
    table.money.lots[7, 1] = 0
    detail = A + "a position the other way to reduce, found 0 lots"
    table.refuse_amend(Reject.REDUCE_ONLY_INCREASES, detail, 7, "a", lots=9)
    table.amend(7, "a", lots=7)
    table.amend(7, "a", price=98)


def test_a_change_of_post_only_that_would_take(table: Table) -> None:
    table.place(8, "m", -5, 100)
    table.place(7, "a", 5, 99, post_only=True)
    detail = A + "a price that meets no order, found 100"
    table.refuse_amend(Reject.POST_ONLY_CROSSES, detail, 7, "a", price=100)
    table.amend(7, "a", price=98)
    table.phase(Phase.AUCTION)
    table.amend(7, "a", price=100)


def test_what_a_change_would_make_of_an_order(table: Table) -> None:
    table.protect(7, "mm", lots=100)
    table.place(
        7, "a", -9, 101, time_in_force=GTD, expire_ms=5_000, display=2, post_only=True,
        self_trade=SelfTrade.BOTH, group="mm", session="x",
    )  # fmt: skip
    table.place(8, "t", 3, 101)
    order = table.desk.orders[7]["a"]
    found = table.desk.accept_amend(
        7, "a", lots=20, price_ticks=102, time_ms=1_000, gate=table.money
    )
    assert found is not order
    told = {slot: getattr(found, slot) for slot in Order.__slots__ if slot != "level"}
    kept = {slot: getattr(order, slot) for slot in Order.__slots__ if slot != "level"}
    assert told == kept | {"lots": -17, "price_ticks": 102, "shown": 0}
    assert (found.filled, found.rank) == (3, 2)
