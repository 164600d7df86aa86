"""Orders as the engine takes them: refusals in their order, fills with money, stops, auctions."""

from __future__ import annotations

from typing import Any

import pytest

from solvent.engine import ordering
from solvent.errors import Reject
from solvent.messages import commands as c
from solvent.messages.events import (
    Event,
    FeePaid,
    OrderEnded,
    OrderReduced,
    OrderRested,
    PositionChanged,
    StopCancelled,
    Traded,
)
from solvent.messages.fields import (
    ComboLeg,
    Phase,
    SelfTrade,
    Side,
    StopAt,
    TimeInForce,
    Trigger,
)
from tests.venues import (
    BTC,
    CALL,
    COIN,
    DOLLAR,
    EXPIRY,
    FAR,
    FUT,
    HIGH,
    INV,
    LIN,
    NEAR,
    PUT,
    QUANTO,
    T0,
    Venue,
    book_venue,
    listing,
    new_venue,
    order_of,
)

ALL = 10_000 * DOLLAR
ALICE, BOB, CAROL = 16, 17, 18
GTC, GTD, IOC, FOK = TimeInForce
UNKNOWN = "account 'zoe': expected one that is open"


@pytest.fixture
def venue() -> Venue:
    return book_venue()


def rested(account: int, name: str, lots: int, ticks: int, *, number: int = 0) -> OrderRested:
    return OrderRested(account, name, number, lots, ticks, lots)


def reduced(account: int, name: str, left: int, why: str = "filled") -> OrderReduced:
    return OrderReduced(account, name, left, left, why)


def traded(
    ticks: int, lots: int, buy: tuple[int, str], sell: tuple[int, str], by: str = ""
) -> Traded:
    return Traded(0, ticks, lots, *buy, *sell, by)


def books(events: tuple[Event, ...]) -> tuple[Event, ...]:
    """Events but for positions."""
    return tuple(one for one in events if not isinstance(one, PositionChanged))


# ── trading with money ───────────────────────────────────────────────────────────────────────────

FEES = """
[[engine.fees]]
component = "taker"
rate = 0.0005
[[engine.fees]]
component = "maker"
rate = -0.0001
payer = "maker"
"""


def test_two_orders_meet_at_the_price_of_the_one_that_rests() -> None:
    venue = book_venue(FEES)
    assert venue.order("bob", "s", -10, 50_010) == (rested(BOB, "s", -10, 50_010),)
    assert venue.order("alice", "b", 4, 50_020) == (
        PositionChanged(ALICE, 0, 4, 2_000_400, 2_000_400, 0),
        PositionChanged(BOB, 0, -4, -2_000_400, -2_000_400, 0),
        # Four lots at 50,010 are 200.04 dollars: a two-thousandth is paid, a ten-thousandth got.
        FeePaid(ALICE, "taker", 100_020),
        FeePaid(BOB, "maker", -20_004),
        traded(50_010, 4, (ALICE, "b"), (BOB, "s"), "buy"),
        reduced(BOB, "s", -6),
        OrderEnded(ALICE, "b", 0, "filled"),
    )
    assert (venue.held("alice"), venue.held("bob")) == (ALL - 100_020, ALL + 20_004)
    assert venue.held("fees") == 80_016
    assert venue.position("alice", LIN) == (4, 2_000_400, 2_000_400, 0)
    assert venue.state.desk.last(0) == 50_010
    assert venue.state.desk.depth(0) == ([], [(50_010, 6, 1)])
    assert venue.state.open.sides == {BOB: {0: (0, 0, -6, -3_000_600)}}


def test_an_order_trades_through_levels_and_rests_with_what_is_left(venue: Venue) -> None:
    for name, ticks in (("a", 50_001), ("b", 50_000), ("c", 50_003)):
        venue.order("bob", name, -2, ticks)
    events = venue.order("alice", "o", 7, 50_002)
    assert books(events) == (
        traded(50_000, 2, (ALICE, "o"), (BOB, "b"), "buy"), reduced(BOB, "b", 0),
        traded(50_001, 2, (ALICE, "o"), (BOB, "a"), "buy"), reduced(BOB, "a", 0),
        rested(ALICE, "o", 3, 50_002),
    )  # fmt: skip
    assert venue.position("alice", LIN) == (4, 2_000_020, 2_000_020, 0)
    assert list(venue.state.orders_of(ALICE)) == ["o"]
    assert venue.state.orders_of(ALICE)["o"].filled == 4
    assert venue.state.open.sides[ALICE] == {0: (3, 1_500_060, 0, 0)}
    # A sale meets it, and takes what is left of it and no more.
    assert books(venue.order("carol", "s", -5, None)) == (
        traded(50_002, 3, (ALICE, "o"), (CAROL, "s"), "sell"), reduced(ALICE, "o", 0),
        OrderEnded(CAROL, "s", -2, "immediate"),
    )  # fmt: skip
    assert venue.state.open.sides == {BOB: {0: (0, 0, -2, -1_000_060)}}


def test_gains_and_premiums_are_paid_at_the_fill(venue: Venue) -> None:
    venue.order("bob", "s", -2, 50_000)
    venue.order("alice", "b", 2, 50_000)
    venue.order("alice", "t", -2, 51_000)
    venue.order("bob", "c", 2, 51_000)
    # Two lots and a thousand dollars each way.
    assert (venue.held("alice"), venue.held("bob")) == (ALL + 2 * DOLLAR, ALL - 2 * DOLLAR)
    assert venue.position("alice", LIN) is None
    venue.order("bob", "s", -3, 900, symbol=CALL)
    venue.order("alice", "b", 3, 1_000, symbol=CALL)
    assert venue.held("alice") == ALL + 2 * DOLLAR - 27 * DOLLAR
    venue.order("carol", "p", 5, 200, symbol=PUT)
    venue.order("alice", "p", -5, None, symbol=PUT)
    # A tenth of a put at 0.02 each.
    assert (venue.held("carol", BTC), venue.held("alice", BTC)) == (COIN - 10**7, COIN + 10**7)


def test_who_sells_what_rests_pays_as_taker() -> None:
    venue = book_venue(FEES)
    venue.order("alice", "b", 4, 50_000)
    events = venue.order("bob", "s", -4, 49_000)
    assert [one for one in events if isinstance(one, FeePaid)] == [
        FeePaid(BOB, "taker", 100_000), FeePaid(ALICE, "maker", -20_000),
    ]  # fmt: skip
    assert traded(50_000, 4, (ALICE, "b"), (BOB, "s"), "sell") in events


def test_an_order_of_ones_own_is_never_met(venue: Venue) -> None:
    venue.order("alice", "s", -3, 50_000)
    assert venue.order("alice", "b", 2, 50_000) == (OrderEnded(ALICE, "b", 2, "self_trade"),)
    events = venue.order("alice", "b", 2, 50_000, self_trade=SelfTrade.DECREMENT)
    assert events == (
        reduced(ALICE, "s", -1, "self_trade"), OrderEnded(ALICE, "b", 0, "self_trade")
    )  # fmt: skip
    assert venue.order("alice", "b", 2, 50_000, self_trade=SelfTrade.BOTH) == (
        reduced(ALICE, "s", 0, "self_trade"), OrderEnded(ALICE, "b", 2, "self_trade")
    )  # fmt: skip
    assert venue.position("alice", LIN) is None
    assert venue.state.open.sides == {}


def test_where_trades_are_made_elsewhere_orders_only_rest() -> None:
    venue = new_venue()
    venue.order("bob", "s", -10, 50_000)
    assert venue.order("alice", "b", 4, 50_010) == (rested(ALICE, "b", 4, 50_010),)
    venue.refuse(
        Reject.ORDER_TERMS_INVALID,
        "order 'm' of account 16: expected an order that only rests in instrument 0, found other "
        "terms",
        c.PlaceOrder, **order_of("alice", "m", 1, None),
    )  # fmt: skip
    # A trade may name what it fills; the venue's rules may change, and what rests stays.
    venue.trade("alice", "bob", 4, 50_005, buy_order="b", sell_order="s")
    assert venue.state.open.sides == {BOB: {0: (0, 0, -6, -3_000_000)}}
    venue.adopt('matching = "book"')
    events = venue.order("alice", "m", 1, None)
    assert traded(50_000, 1, (ALICE, "m"), (BOB, "s"), "buy") in events


def test_an_iceberg_shows_a_part_and_trades_with_all(venue: Venue) -> None:
    ice = venue.order("bob", "i", -10, 50_000, display_lots=3)
    assert ice == (OrderRested(BOB, "i", 0, -10, 50_000, -3),)
    assert venue.state.desk.depth(0) == ([], [(50_000, 3, 1)])
    assert venue.state.open.sides == {BOB: {0: (0, 0, -10, -5_000_000)}}
    events = books(venue.order("alice", "b", 4, 50_000))
    assert events == (
        traded(50_000, 3, (ALICE, "b"), (BOB, "i"), "buy"),
        OrderReduced(BOB, "i", -7, -3, "filled"),
        traded(50_000, 1, (ALICE, "b"), (BOB, "i"), "buy"),
        OrderReduced(BOB, "i", -6, -2, "filled"),
        OrderEnded(ALICE, "b", 0, "filled"),
    )  # fmt: skip


# ── refusals ─────────────────────────────────────────────────────────────────────────────────────


def test_orders_are_refused_by_instrument_account_desk_status_margin(venue: Venue) -> None:
    """Each fault hides those after it; the last of all that is wrong is margin."""
    told = order_of("zoe", "o", 10**9, 1, symbol="XYZ")
    venue.refuse(
        Reject.INSTRUMENT_UNKNOWN, "instrument 'XYZ': expected one that is listed",
        c.PlaceOrder, **told,
    )  # fmt: skip
    venue.do(c.DelistInstrument, symbol=QUANTO)
    venue.refuse(
        Reject.INSTRUMENT_CLOSED,
        f"instrument {QUANTO}: expected one that is traded, found delisted",
        c.PlaceOrder, **{**told, "symbol": QUANTO},
    )  # fmt: skip
    venue.do(c.SetPhase, symbol=LIN, phase=Phase.HALTED)
    told["symbol"] = LIN
    venue.refuse(
        Reject.INSTRUMENT_HALTED, f"instrument {LIN}: expected trading, found it halted",
        c.PlaceOrder, **told,
    )  # fmt: skip
    venue.do(c.SetPhase, symbol=LIN, phase=Phase.CONTINUOUS)
    venue.refuse(Reject.ACCOUNT_UNKNOWN, UNKNOWN, c.PlaceOrder, **told)
    told["account"] = "fees"
    venue.refuse(
        Reject.ACCOUNT_NOT_FOR_THIS, "account fees: expected a user's, found the venue's own",
        c.PlaceOrder, **told,
    )  # fmt: skip
    venue.open("dave")
    venue.do(c.CloseAccount, account="dave")
    told["account"] = "dave"
    venue.refuse(
        Reject.ACCOUNT_CLOSED, "account dave: expected an open one, found closed",
        c.PlaceOrder, **told,
    )  # fmt: skip
    told["account"] = "alice"
    venue.do(c.FreezeAccount, account="alice", reason="")
    venue.refuse(
        Reject.PROTECTION_UNKNOWN,
        "order 'o' of account 16: expected a group that is protected, found 'g'",
        c.PlaceOrder, **told, group="g",
    )  # fmt: skip
    venue.time_ms = T0 + 60_001
    frozen = "account alice: expected an active one, found frozen"
    venue.refuse(Reject.ACCOUNT_FROZEN, frozen, c.PlaceOrder, **told)
    venue.wind_up("alice")
    venue.refuse(
        Reject.ACCOUNT_IN_LIQUIDATION,
        "account alice: expected an active one, found under liquidation",
        c.PlaceOrder, **told,
    )  # fmt: skip
    venue.account("alice").status = "open"
    venue.refuse(
        Reject.RISK_UNKNOWN, "account alice: expected known risk, found none by tenth",
        c.PlaceOrder, **told,
    )  # fmt: skip
    venue.publish()
    venue.refuse(
        Reject.MARGIN_INSUFFICIENT,
        "account alice: expected equity of at least its initial margin by tenth, 5000000000000000 "
        "micro, found 60000000000",
        c.PlaceOrder, **told,
    )  # fmt: skip


def test_an_expired_contract_takes_no_orders(venue: Venue) -> None:
    venue.time_ms = EXPIRY - 1
    venue.publish()
    venue.order("alice", "o", 1, 50_000, symbol=FUT)
    venue.time_ms = EXPIRY
    over = f"instrument {FUT}: expected a time before {EXPIRY}, found {EXPIRY}"
    venue.refuse(
        Reject.INSTRUMENT_EXPIRED, over, c.PlaceOrder, **order_of("bob", "s", -1, 1, symbol=FUT)
    )
    ended = (
        f"order 'o' of account 16: expected a time before the end of instrument 2 at {EXPIRY}, "
        f"found {EXPIRY}"
    )
    venue.refuse(Reject.INSTRUMENT_EXPIRED, ended, c.AmendOrder, account="alice", order="o", lots=2)
    assert venue.do(c.CancelOrder, account="alice", order="o") == (
        reduced(ALICE, "o", 0, "cancelled"),
    )


NAMED = "order 'o' of account 16: expected "


@pytest.mark.parametrize(
    ("changes", "code", "detail"),
    [
        ({"lots": 7}, Reject.ORDER_DUPLICATED,
         "a name that is free, found an order of that name at rest"),
        ({"order": "w"}, Reject.ORDER_DUPLICATED,
         "a name that is free, found an order of that name waiting for its trigger"),
        ({"order": "n", "price_ticks": None, "time_in_force": GTC}, Reject.ORDER_TERMS_INVALID,
         "ioc or fok without a price, found gtc"),
        ({"order": "n", "time_in_force": GTD, "expire_ms": T0}, Reject.ORDER_EXPIRED,
         f"a time of expiry after {T0}, found {T0}"),
        ({"order": "n", "price_ticks": 0}, Reject.PRICE_NOT_POSITIVE,
         "a price above zero, found 0"),
        ({"order": "n", "price_ticks": 50_001}, Reject.PRICE_OFF_STEP,
         "a multiple of 5 ticks, found 50001"),
        ({"order": "n", "lots": 3}, Reject.LOTS_OFF_STEP, "a multiple of 2 lots, found 3"),
        ({"order": "n", "lots": 2}, Reject.ORDER_TOO_SMALL, "at least 4 lots, found 2"),
        ({"order": "n", "lots": 42}, Reject.ORDER_TOO_LARGE, "at most 40 lots, found 42"),
        ({"order": "n", "price_ticks": 55_005}, Reject.PRICE_OUT_OF_BAND,
         "at most 55000 ticks, found 55005"),
        ({"order": "n", "side": Side.SELL, "price_ticks": 44_995}, Reject.PRICE_OUT_OF_BAND,
         "at least 45000 ticks, found 44995"),
        ({"order": "n", "group": "x"}, Reject.PROTECTION_UNKNOWN,
         "a group that is protected, found 'x'"),
        ({"order": "n", "reduce_only": True}, Reject.REDUCE_ONLY_INCREASES,
         "a position the other way to reduce, found 0 lots"),
        ({"order": "n", "stop": StopAt(Trigger.MARK, 500_000, False)},
         Reject.STOP_TRIGGERS_AT_ONCE,
         "a trigger that the mark has not reached, found 500000"),
        ({"order": "n", "price_ticks": 50_100, "post_only": True}, Reject.POST_ONLY_CROSSES,
         "a price that meets no order, found 50100"),
        ({"order": "n", "price_ticks": 50_100, "lots": 12, "time_in_force": FOK},
         Reject.ORDER_UNFILLABLE, "12 lots within its price, found fewer"),
    ],
)  # fmt: skip
def test_what_the_desk_refuses_changes_nothing(
    changes: dict[str, Any], code: Reject, detail: str
) -> None:
    venue = stepped()
    venue.order("alice", "o", 4, 50_000, symbol=NEAR)
    venue.order("bob", "s", -10, 50_100, symbol=NEAR)
    venue.order("alice", "w", 4, 50_000, symbol=NEAR, stop=StopAt(Trigger.MARK, 400_000, False))
    told = {**order_of("alice", "o", 4, 50_000, symbol=NEAR), **changes}
    venue.refuse(
        code, f"order {told['order']!r} of account 16: expected {detail}", c.PlaceOrder, **told
    )


def stepped() -> Venue:
    """A venue whose contract `NEAR` has numbers of its own for its book, and a mark of 50,000."""
    venue = book_venue("price_band = 0.5")
    parameters = {"price_step": "5", "lots_step": "2", "lots_min": "4", "lots_max": "40",
                  "price_band": "0.1", "taker_fee": "0.25"}  # fmt: skip
    for one in (listing(NEAR, parameters=parameters), listing(FAR), listing(HIGH)):
        assert venue.send(one).code == 0
    venue.quote(NEAR=500_000)
    venue.publish()
    return venue


def test_a_book_takes_what_its_listing_or_the_venue_says() -> None:
    venue = stepped()
    new = venue.state.desk.books[7]
    assert ordering.book_terms(venue.state, venue.contract(NEAR)) == new.terms
    terms = new.terms
    assert (terms.price_step, terms.lots_step, terms.lots_min, terms.lots_max) == (5, 2, 4, 40)
    assert (terms.band_ppm, terms.matching, terms.signed) == (100_000, True, False)
    assert (terms.expiry_ms, terms.points_per_tick) == (EXPIRY, 10)
    plain = venue.state.desk.books[0].terms
    assert (plain.price_step, plain.lots_step, plain.lots_min) == (1, 1, 1)
    assert plain.lots_max == 2**40
    assert (plain.band_ppm, plain.expiry_ms) == (500_000, None)
    far = "order 'o' of account 16: expected at most 75000 ticks, found 75001"
    venue.refuse(Reject.PRICE_OUT_OF_BAND, far, c.PlaceOrder, **order_of("alice", "o", 1, 75_001))
    venue.order("alice", "o", 1, 75_000)
    # A band moves with its mark, and goes when the venue's rules have none; its own stays.
    venue.quote(LIN=600_000, NEAR=500_000)
    venue.order("alice", "p", 1, 90_000)
    venue.adopt('matching = "book"')
    venue.order("alice", "q", 1, 95_000)
    bands = [venue.state.desk.books[number].terms.band_ppm for number in (0, 7)]
    assert bands == [None, 100_000]
    venue.adopt("price_band = 0.25")
    bands = [venue.state.desk.books[number].terms.band_ppm for number in (0, 7)]
    assert bands == [250_000, 100_000]
    assert not venue.state.desk.books[7].terms.matching


@pytest.mark.parametrize(
    ("name", "number", "expected"),
    [
        ("price_step", "0", "a price_step that is a whole number from 1 to 1099511627776, found 0"),
        ("lots_step", "0.5",
         "a lots_step that is a whole number from 1 to 1099511627776, found 1/2"),
        ("lots_min", "-1", "a lots_min that is a whole number from 1 to 1099511627776, found -1"),
        ("lots_max", "1099511627777",
         "a lots_max that is a whole number from 1 to 1099511627776, found 1099511627777"),
        ("price_band", "0", "a price_band between 0 and 1, found 0"),
        ("price_band", "1", "a price_band between 0 and 1, found 1"),
        ("lots_max", "4", "a lots_min that is at most lots_max"),
    ],
)  # fmt: skip
def test_a_listings_numbers_for_its_book_must_make_sense(
    venue: Venue, name: str, number: str, expected: str
) -> None:
    told = listing("NEW", key="bad", parameters={"lots_min": "5", name: number})
    fields = {one: getattr(told, one) for one in told.__struct_fields__}
    venue.refuse(
        Reject.INSTRUMENT_TERMS_INVALID, f"instrument NEW: expected {expected}",
        c.ListInstrument, **fields,
    )  # fmt: skip
    good = {"lots_min": "5", "lots_max": "5", "price_band": "0.999999", "price_step": "1"}
    assert venue.send(listing("NEW", parameters=good)).code == 0


def test_amendments_are_refused_by_account_and_desk(venue: Venue) -> None:
    venue.order("bob", "s", -10, 50_000)
    venue.order("alice", "x", 4, 50_000)
    venue.order("bob", "w", 1, 50_000, stop=StopAt(Trigger.MARK, 400_000, False))
    venue.refuse(Reject.ACCOUNT_UNKNOWN, UNKNOWN, c.AmendOrder, account="zoe", order="s", lots=1)
    bob = "of account 17: expected"
    for changes, code, detail in (
        ({"order": "q"}, Reject.ORDER_UNKNOWN, f"order 'q' {bob} one that rests or waits"),
        ({"order": "w", "lots": 2}, Reject.ORDER_WAITING,
         f"order 'w' {bob} one that rests, found it waiting for its trigger"),
        ({}, Reject.ORDER_TERMS_INVALID,
         f"order 's' {bob} new lots or a new price, found neither"),
        ({"lots": 4}, Reject.AMEND_BELOW_FILLED,
         f"order 's' {bob} more than the 4 lots that are filled, found 4"),
        ({"price_ticks": 0}, Reject.PRICE_NOT_POSITIVE,
         f"order 's' {bob} a price above zero, found 0"),
    ):  # fmt: skip
        venue.refuse(code, detail, c.AmendOrder, **{"account": "bob", "order": "s", **changes})
    venue.do(c.SetPhase, symbol=LIN, phase=Phase.HALTED)
    venue.refuse(
        Reject.INSTRUMENT_HALTED, f"order 's' {bob} instrument 0 to trade, found it halted",
        c.AmendOrder, account="bob", order="s", lots=9,
    )  # fmt: skip
    # What is halted may be taken back.
    assert venue.do(c.CancelOrder, account="bob", order="s") == (reduced(BOB, "s", 0, "cancelled"),)
    assert venue.do(c.CancelOrder, account="bob", order="w") == (
        StopCancelled(BOB, "w", "cancelled"),
    )


# ── changing and taking back ─────────────────────────────────────────────────────────────────────


def test_an_order_keeps_its_place_where_it_only_shrinks(venue: Venue) -> None:
    for name in ("a", "b"):
        venue.order("bob", name, -5, 50_000)
    assert venue.do(c.AmendOrder, account="bob", order="a", lots=3) == (
        reduced(BOB, "a", -3, "amended"),
    )
    assert venue.state.open.sides == {BOB: {0: (0, 0, -8, -4_000_000)}}
    events = books(venue.order("alice", "x", 1, 50_000))
    assert events[0] == traded(50_000, 1, (ALICE, "x"), (BOB, "a"), "buy")
    # More lots, or another price, and it stands at the back; what was filled is counted.
    assert venue.do(c.AmendOrder, account="bob", order="a", lots=7) == (
        reduced(BOB, "a", 0, "amended"), rested(BOB, "a", -6, 50_000),
    )  # fmt: skip
    events = books(venue.order("alice", "y", 1, 50_000))
    assert events[0] == traded(50_000, 1, (ALICE, "y"), (BOB, "b"), "buy")
    venue.order("carol", "c", 2, 49_990)
    events = venue.do(c.AmendOrder, account="bob", order="a", price_ticks=49_990)
    assert books(events) == (
        reduced(BOB, "a", 0, "amended"),
        traded(49_990, 2, (CAROL, "c"), (BOB, "a"), "sell"), reduced(CAROL, "c", 0),
        rested(BOB, "a", -4, 49_990),
    )  # fmt: skip
    assert venue.state.open.sides == {BOB: {0: (0, 0, -8, -4 * 499_900 - 4 * 500_000)}}


def test_a_session_that_ends_takes_its_orders_along(venue: Venue) -> None:
    venue.order("alice", "a", 1, 49_000, session="one")
    venue.order("alice", "b", 1, 49_000, session="two")
    venue.order("bob", "c", 1, 49_000, session="one")
    venue.order("alice", "w", 1, 49_000, session="one", stop=StopAt(Trigger.MARK, 1, False))
    assert venue.do(c.Disconnect, account="alice", session="one") == (
        reduced(ALICE, "a", 0, "disconnected"), StopCancelled(ALICE, "w", "disconnected"),
    )  # fmt: skip
    assert venue.do(c.Disconnect, account="alice", session="none") == ()
    assert list(venue.state.orders_of(BOB)) == ["c"]
    venue.refuse(Reject.ACCOUNT_UNKNOWN, UNKNOWN, c.Disconnect, account="zoe", session="one")


def crowded() -> Venue:
    """Orders of two people in four books, one of them a combination's."""
    venue = book_venue(more=True)
    venue.do(c.SetProtection, account="alice", group="g", window_ms=1, frozen_ms=0, lots=9)
    legs = (ComboLeg(FAR, 1), ComboLeg(NEAR, -1))
    venue.do(c.ListCombo, symbol="ROLL", legs=legs, tick_size="0.5")
    venue.order("alice", "lin-b", 1, 49_000, group="g")
    venue.order("alice", "lin-s", -1, 51_000)
    venue.order("bob", "lin-b", 1, 49_000)
    venue.order("bob", "eth", -1, 50_000, symbol=QUANTO)
    venue.order("alice", "roll", 1, -3, symbol="ROLL")
    venue.order("alice", "stop", -1, 49_000, group="g", stop=StopAt(Trigger.MARK, 1, False))
    return venue


@pytest.mark.parametrize(
    ("told", "gone"),
    [
        ({"account": "alice"}, "alice lin-b, alice lin-s, alice roll, alice stop"),
        ({"account": "carol"}, ""),
        ({"symbol": LIN}, "alice lin-b, alice lin-s, bob lin-b, alice stop"),
        ({"symbol": "ROLL"}, "alice roll"),
        ({"symbol": INV}, ""),
        ({"underlying": "BTC"}, "alice lin-b, alice lin-s, bob lin-b, alice roll, alice stop"),
        ({"underlying": "ETH"}, "bob eth"),
        ({"underlying": "DOGE"}, ""),
        ({"underlying": "BTC", "symbol": QUANTO}, ""),
        ({"underlying": "ETH", "symbol": QUANTO}, "bob eth"),
        ({"side": Side.BUY}, "alice lin-b, bob lin-b, alice roll"),
        ({"side": Side.SELL, "account": "alice"}, "alice lin-s, alice stop"),
        ({"group": "g"}, "alice lin-b, alice stop"),
        ({"group": "h"}, ""),
        ({"account": "alice", "symbol": LIN, "underlying": "BTC", "side": Side.BUY, "group": "g"},
         "alice lin-b"),
    ],
)  # fmt: skip
def test_all_orders_go_that_fit(told: dict[str, Any], gone: str) -> None:
    venue = crowded()
    before = {
        (number, name): order.stop is not None
        for table in (venue.state.desk.orders, venue.state.desk.stops)
        for number, mine in table.items()
        for name, order in mine.items()
    }
    events = venue.do(c.CancelOrders, **told)
    names = [tuple(one.split()) for one in gone.split(", ") if one]
    people = {"alice": ALICE, "bob": BOB}
    assert events == tuple(
        StopCancelled(people[who], name, "cancelled")
        if before[people[who], name]
        else reduced(people[who], name, 0, "cancelled")
        for who, name in names
    )
    left = {
        (number, name)
        for table in (venue.state.desk.orders, venue.state.desk.stops)
        for number, mine in table.items()
        for name in mine
    }
    assert left == set(before) - {(people[who], name) for who, name in names}


def test_what_goes_must_be_told(venue: Venue) -> None:
    venue.refuse(
        Reject.ORDER_TERMS_INVALID,
        "orders: expected an account, symbol, underlying, side or group whose orders go",
        c.CancelOrders,
    )  # fmt: skip
    told = {"account": "zoe", "symbol": "XYZ"}
    venue.refuse(Reject.ACCOUNT_UNKNOWN, UNKNOWN, c.CancelOrders, **told)
    venue.refuse(
        Reject.INSTRUMENT_UNKNOWN, "instrument 'XYZ': expected one that is listed",
        c.CancelOrders, symbol="XYZ",
    )  # fmt: skip
    # A contract that is over has none.
    venue.do(c.DelistInstrument, symbol=QUANTO)
    assert venue.do(c.CancelOrders, symbol=QUANTO) == ()
    assert venue.do(c.CancelOrders, underlying="ETH") == ()


def test_an_account_with_a_stop_is_not_empty(venue: Venue) -> None:
    venue.open("dave")
    venue.order("dave", "w", 1, 1, stop=StopAt(Trigger.MARK, 1, False))
    venue.refuse(
        Reject.ACCOUNT_NOT_EMPTY,
        "account dave: expected it empty, found positions, orders or subaccounts",
        c.CloseAccount, account="dave",
    )  # fmt: skip
    venue.do(c.CancelOrder, account="dave", order="w")
    venue.do(c.CloseAccount, account="dave")
