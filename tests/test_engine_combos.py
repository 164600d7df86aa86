"""Combinations: what may be combined, what a price means for each leg, and how they settle."""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from solvent.engine import combos
from solvent.engine.combos import split
from solvent.engine.floor import Floor
from solvent.engine.margined import _by_leg
from solvent.engine.open_orders import Asked, Sides, with_order
from solvent.engine.standing import reordered, standing, view
from solvent.engine.state import Combo, Standing
from solvent.errors import Reject
from solvent.limits import COMBO_FIRST, LOTS_MAX
from solvent.messages import commands as c
from solvent.messages.events import (
    Delisted,
    Event,
    FeePaid,
    Numbered,
    OrderEnded,
    OrderReduced,
    OrderRested,
    PositionChanged,
    Traded,
)
from solvent.messages.fields import ComboLeg, MarginMode, OpeningPosition, Phase, Side
from solvent.orders.order import Order, Verdict
from tests.venues import (
    CALL,
    DOLLAR,
    EXPIRY,
    FAR,
    FUT,
    HIGH,
    INV,
    LATER,
    LIN,
    NANO,
    NEAR,
    PUT,
    QUANTO,
    Venue,
    book_venue,
    listing,
    new_venue,
    order_of,
)

ALICE, BOB, CAROL, DAVE = 16, 17, 18, 20
ALL = 10_000 * DOLLAR
ROLL = ((FAR, 1), (NEAR, -1))
RISE = ((CALL, 1), (HIGH, -1))
RATIO = ((CALL, 1), (HIGH, -2))


@pytest.fixture
def venue() -> Venue:
    return combined()


def combined(engine: str = "", **options: Any) -> Venue:
    """A calendar, a call spread and a ratio spread, each with a book."""
    venue = book_venue(engine, more=True, **options)
    combine(venue, "ROLL", *ROLL, tick="0.5")
    combine(venue, "RISE", *RISE)
    combine(venue, "RATIO", *RATIO)
    return venue


def told(symbol: str, *legs: tuple[str, int], tick: str = "1") -> dict[str, Any]:
    pairs = tuple(ComboLeg(*leg) for leg in legs)
    return {"symbol": symbol, "legs": pairs, "tick_size": tick}


def combine(
    venue: Venue, symbol: str, *legs: tuple[str, int], tick: str = "1"
) -> tuple[Event, ...]:
    return venue.do(c.ListCombo, **told(symbol, *legs, tick=tick))


def combo_of(venue: Venue, symbol: str) -> Combo:
    return venue.state.combos[venue.state.contract_numbers[symbol] - COMBO_FIRST]


def stands(venue: Venue, name: str) -> Standing:
    return standing(venue.state, view(venue.state, venue.account(name)))


# ── listing ──────────────────────────────────────────────────────────────────────────────────────


def test_a_combination_gets_a_number_and_a_book_of_its_own() -> None:
    venue = book_venue("price_band = 0.1", more=True)
    assert combine(venue, "ROLL", *ROLL, tick="0.5") == (Numbered("instrument", "ROLL", 1_048_576),)
    assert combine(venue, "RISE", *RISE) == (Numbered("instrument", "RISE", 1_048_577),)
    roll = combo_of(venue, "ROLL")
    assert (roll.number, roll.tick) == (COMBO_FIRST, Fraction(1, 2))
    assert [(leg.listing.symbol, ratio) for leg, ratio in roll.legs] == [(FAR, 1), (NEAR, -1)]
    terms = venue.state.desk.books[COMBO_FIRST].terms
    # Until the first of its legs ends; at any price, also below zero.
    assert (terms.expiry_ms, terms.signed, terms.matching) == (EXPIRY, True, True)
    assert terms.band_ppm is None
    assert combine(venue, "LONG", (FAR, 1), (LIN, -1), tick="0.5")
    assert venue.state.desk.books[COMBO_FIRST + 2].terms.expiry_ms == LATER
    venue.adopt("")
    assert not venue.state.desk.books[COMBO_FIRST].terms.matching
    assert not new_venue(more=True).state.combos


@pytest.mark.parametrize(
    ("legs", "tick", "expected"),
    [
        (((FAR, 1), (NEAR, -1), (FAR, 2)), "1", "each leg once"),
        (((FAR, 1), (NEAR, 0)), "1",
         "lots of each leg without a common factor, none of them 0, found [1, 0]"),
        (((FAR, 2), (NEAR, -4)), "1",
         "lots of each leg without a common factor, none of them 0, found [2, -4]"),
        (((LIN, 1), (CALL, 1)), "1",
         "legs that are all options or none, of one lot size and one settlement"),
        (((LIN, 1), (FUT, -1)), "1",
         "legs that are all options or none, of one lot size and one settlement"),
        (((CALL, 1), (PUT, -1)), "1",
         "legs that are all options or none, of one lot size and one settlement"),
        (((FAR, 2), (NEAR, -3)), "1", "a leg of one lot"),
        (((FAR, 1), (NEAR, -1)), "0",
         "ticks that are multiples of 0.5, the finest leg of one lot"),
        (((FAR, 1), (NEAR, -1)), "0.25",
         "ticks that are multiples of 0.5, the finest leg of one lot"),
        (((FAR, 2), (NEAR, -1)), "1",
         "ticks that are multiples of 1, the finest leg of one lot"),
    ],
)  # fmt: skip
def test_legs_must_go_together(
    venue: Venue, legs: tuple[tuple[str, int], ...], tick: str, expected: str
) -> None:
    venue.refuse(
        Reject.INSTRUMENT_TERMS_INVALID, f"instrument NEW: expected {expected}",
        c.ListCombo, **told("NEW", *legs, tick=tick),
    )  # fmt: skip


def test_combinations_are_refused_by_name_legs_room_terms(
    venue: Venue, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ROLL", LIN):
        venue.refuse(
            Reject.NAME_TAKEN, f"instrument {name!r}: expected a new name",
            c.ListCombo, **told(name, ("XYZ", 0), (FAR, 0)),
        )  # fmt: skip
    venue.refuse(
        Reject.INSTRUMENT_UNKNOWN, "instrument 'XYZ': expected one that is listed",
        c.ListCombo, **told("NEW", ("XYZ", 0), (FAR, 0)),
    )  # fmt: skip
    venue.refuse(
        Reject.INSTRUMENT_NOT_FOR_THIS,
        "instrument ROLL: expected a contract, found a combination of them",
        c.ListCombo, **told("NEW", ("ROLL", 0), (FAR, 0)),
    )  # fmt: skip
    venue.do(c.DelistInstrument, symbol=QUANTO)
    venue.refuse(
        Reject.INSTRUMENT_CLOSED,
        f"instrument {QUANTO}: expected one that is traded, found delisted",
        c.ListCombo, **told("NEW", (QUANTO, 0), (FAR, 0)),
    )  # fmt: skip
    monkeypatch.setattr(combos, "LISTED_MAX", 3)
    venue.refuse(
        Reject.CAPACITY_REACHED, "expected at most 3 combinations",
        c.ListCombo, **told("NEW", (LIN, 0), (FAR, 0)),
    )  # fmt: skip
    monkeypatch.setattr(combos, "LISTED_MAX", 4)
    combine(venue, "NEW", (LIN, 1), (FAR, -1), tick="0.5")
    # A contract cannot have its name either.
    fields = {name: getattr(listing("NEW"), name) for name in listing("NEW").__struct_fields__}
    taken = "instrument 'NEW': expected a new name"
    venue.refuse(Reject.NAME_TAKEN, taken, c.ListInstrument, **{**fields, "key": "n"})


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (c.Trade, {"buyer": "alice", "seller": "bob", "lots": 1, "price_ticks": 1,
                   "aggressor": None}),
        (c.SetPhase, {"phase": Phase.HALTED}),
        (c.SetLeverage, {"account": "alice", "leverage": "5"}),
        (c.SettleVariation, {}),
    ],
)  # fmt: skip
def test_what_is_for_contracts_is_not_for_combinations(
    venue: Venue, kind: Any, fields: dict[str, Any]
) -> None:
    venue.refuse(
        Reject.INSTRUMENT_NOT_FOR_THIS,
        "instrument ROLL: expected a contract, found a combination of them",
        kind, symbol="ROLL", **fields,
    )  # fmt: skip


# ── prices of legs ───────────────────────────────────────────────────────────────────────────────


def test_legs_begin_at_their_marks_and_the_finest_takes_the_rest(venue: Venue) -> None:
    # FAR is 100,800 ticks of half a dollar, NEAR 50,100 of one: 300 dollars are 600 ticks.
    roll = combo_of(venue, "ROLL")
    assert split(roll, 600) == [100_800, 50_100]
    assert split(roll, 601) == [100_801, 50_100]
    assert split(roll, -7) == [100_193, 50_100]
    rise, ratio = combo_of(venue, "RISE"), combo_of(venue, "RATIO")
    # Calls at 1,000 and 400.
    assert split(rise, 600) == [1_000, 400]
    assert split(rise, 650) == [1_050, 400]
    assert split(rise, -500) == [1, 501]
    assert split(rise, -399) == [1, 400]
    assert split(ratio, 200) == [1_000, 400]
    assert split(ratio, -799) == [1, 400]
    # Two of the other leg cannot take what is left.
    assert split(ratio, -800) is None
    venue.contract(HIGH).mark_points = None
    assert split(rise, 600) is None


def test_marks_between_ticks_are_rounded_and_none_is_below_one(venue: Venue) -> None:
    rise = combo_of(venue, "RISE")
    venue.contract(CALL).mark_points, venue.contract(HIGH).mark_points = 10_006, 4
    assert split(rise, 1_000) == [1_001, 1]
    venue.contract(HIGH).mark_points = 0
    assert split(rise, 1_000) == [1_001, 1]


@given(
    price=st.integers(-200_000, 200_000), which=st.sampled_from(["ROLL", "RISE", "RATIO"]),
    marks=st.tuples(st.integers(0, 2_000_000), st.integers(0, 2_000_000)),
)  # fmt: skip
def test_prices_of_legs_add_up_exactly(price: int, which: str, marks: tuple[int, int]) -> None:
    combo = combo_of(shared(), which)
    for (leg, _), points in zip(combo.legs, marks, strict=True):
        leg.mark_points = points
    found = split(combo, price)
    if found is None:
        # Only where a leg would have to be free, and the other cannot make up for it.
        assert which == "RATIO"
        assert price + 2 * max(1, round(Fraction(marks[1], 10))) < 1
        return
    assert min(found) >= 1
    assert price * combo.tick == sum(
        ratio * ticks * leg.deal.point * leg.deal.points_per_tick
        for (leg, ratio), ticks in zip(combo.legs, found, strict=True)
    )


@cache
def shared() -> Venue:
    """A venue for many examples; only marks of it are changed."""
    return combined()


# ── trading ──────────────────────────────────────────────────────────────────────────────────────


def test_a_calendar_trades_as_one_and_settles_as_its_legs(venue: Venue) -> None:
    assert venue.order("bob", "s", -10, 600, symbol="ROLL") == (
        OrderRested(BOB, "s", COMBO_FIRST, -10, 600, -10),
    )
    events = venue.order("alice", "b", 4, 610, symbol="ROLL")
    far = 4 * 1_008_000
    near = 4 * 501_000
    assert events == (
        PositionChanged(ALICE, 8, 4, far, far, 0), PositionChanged(BOB, 8, -4, -far, -far, 0),
        # Who buys the combination sells its second leg.
        PositionChanged(BOB, 7, 4, near, near, 0), PositionChanged(ALICE, 7, -4, -near, -near, 0),
        Traded(COMBO_FIRST, 600, 4, ALICE, "b", BOB, "s", "buy"),
        OrderReduced(BOB, "s", -6, -6, "filled"), OrderEnded(ALICE, "b", 0, "filled"),
    )  # fmt: skip
    assert venue.state.open.sides == {BOB: {COMBO_FIRST: (0, 0, -6, -3_600)}}
    assert venue.state.desk.last(COMBO_FIRST) == 600
    assert venue.state.desk.last(8) is None
    venue.do(c.CancelOrder, account="bob", order="s")
    # A dollar more: four thousandths of it each.
    venue.order("alice", "t", -4, 602, symbol="ROLL")
    venue.order("bob", "c", 4, 602, symbol="ROLL")
    assert (venue.held("alice"), venue.held("bob")) == (ALL + 4_000, ALL - 4_000)
    assert venue.account("alice").positions is None
    assert venue.state.open.sides == {}


def test_a_spread_of_options_costs_the_difference(venue: Venue) -> None:
    venue.order("bob", "s", -3, 650, symbol="RISE")
    venue.order("alice", "b", 3, None, symbol="RISE")
    # Three hundredths of 650 dollars: premiums of 31.50 and 12.
    assert (venue.held("alice"), venue.held("bob")) == (ALL - 19_500_000, ALL + 19_500_000)
    assert venue.position("alice", CALL) == (3, 31_500, 0, 0)
    assert venue.position("alice", HIGH) == (-3, -12_000, 0, 0)
    # For nothing, and below: who buys is paid.
    venue.order("bob", "z", -1, 0, symbol="RISE")
    venue.order("alice", "z", 1, 0, symbol="RISE")
    assert venue.held("alice") == ALL - 19_500_000
    venue.order("bob", "n", -2, -100, symbol="RISE")
    venue.order("alice", "n", 2, -100, symbol="RISE")
    assert venue.held("alice") == ALL - 17_500_000


def test_a_ratio_trades_more_lots_of_one_leg(venue: Venue) -> None:
    venue.order("bob", "s", -3, 200, symbol="RATIO")
    venue.order("alice", "b", 3, 200, symbol="RATIO")
    assert venue.held("alice") == ALL - 6 * DOLLAR
    assert [venue.position("alice", one) for one in (CALL, HIGH)] == [
        (3, 30_000, 0, 0), (-6, -24_000, 0, 0)
    ]  # fmt: skip


def test_each_leg_costs_its_fees() -> None:
    """Who takes the combination takes in all of its legs."""
    rules = '[[engine.fees]]\ncomponent = "taker"\nrate = 0.001'
    venue = combined(rules)
    venue.order("bob", "s", -2, 600, symbol="RISE")
    events = venue.order("alice", "b", 2, 600, symbol="RISE")
    paid = [one for one in events if isinstance(one, FeePaid)]
    # Premiums of 20 and 8 dollars.
    assert paid == [FeePaid(ALICE, "taker", 20_000), FeePaid(ALICE, "taker", 8_000)]
    venue.order("bob", "c", 2, 600, symbol="RISE")
    events = venue.order("carol", "d", -2, 600, symbol="RISE")
    paid = [one for one in events if isinstance(one, FeePaid)]
    assert paid == [FeePaid(CAROL, "taker", 20_000), FeePaid(CAROL, "taker", 8_000)]


def test_isolated_legs_bring_their_own_margins(venue: Venue) -> None:
    for symbol in (NEAR, FAR):
        venue.do(c.SetMarginMode, account="alice", symbol=symbol, mode=MarginMode.ISOLATED,
                 leverage="5")  # fmt: skip
    venue.order("bob", "s", -10, 600, symbol="ROLL")
    venue.order("alice", "b", 10, 600, symbol="ROLL")
    # A fifth of 504 dollars and of 501.
    assert venue.margin("alice", FAR) == 100_800_000
    assert venue.margin("alice", NEAR) == 100_200_000
    assert venue.held("alice") == ALL - 201 * DOLLAR


def test_nobody_holds_a_combination(venue: Venue) -> None:
    venue.order("bob", "s", -2, 600, symbol="ROLL")
    venue.order("alice", "b", 2, 600, symbol="ROLL")
    assert Floor(venue.state, []).held(ALICE, COMBO_FIRST) == 0
    venue.refuse(
        Reject.REDUCE_ONLY_INCREASES,
        "order 'r' of account 16: expected a position the other way to reduce, found 0 lots",
        c.PlaceOrder, **order_of("alice", "r", -2, 600, symbol="ROLL", reduce_only=True),
    )  # fmt: skip


def test_a_price_that_no_legs_add_up_to_is_not_traded(venue: Venue) -> None:
    venue.order("bob", "s", -1, -801, symbol="RATIO")
    assert venue.order("alice", "b", 1, -801, symbol="RATIO") == (
        OrderEnded(ALICE, "b", 1, "margin"),
    )
    assert list(venue.state.orders_of(BOB)) == ["s"]


def test_who_is_refused_in_a_leg_is_refused_in_the_whole(venue: Venue) -> None:
    """A leg's seller is the combination's buyer where the leg is sold."""
    venue.do(c.ImportBooks, balances=(), positions=(
        OpeningPosition("alice", NEAR, -LOTS_MAX, 1),
        OpeningPosition("bob", NEAR, LOTS_MAX, 1),
        OpeningPosition("carol", FAR, LOTS_MAX, 1),
        OpeningPosition("member", FAR, -LOTS_MAX, 1),
    ))  # fmt: skip
    venue.open("dave", usdc=1_000)
    floor = Floor(venue.state, [])

    def verdict(buyer: int, seller: int) -> Verdict:
        return floor.fill(
            Order(buyer, "b", COMBO_FIRST, 1, 600), Order(seller, "s", COMBO_FIRST, -1, 600),
            lots=1, price_ticks=600, aggressor=Side.BUY, events=[],
        )  # fmt: skip

    assert verdict(ALICE, DAVE) is Verdict.BUYER
    assert verdict(DAVE, BOB) is Verdict.SELLER
    assert verdict(CAROL, DAVE) is Verdict.BUYER
    assert verdict(DAVE, 19) is Verdict.SELLER


# ── margin ───────────────────────────────────────────────────────────────────────────────────────


def test_formulas_take_an_order_as_one_for_each_leg(venue: Venue) -> None:
    venue.open("dave", usdc=50)
    # A tenth of a hundred dollars a lot, at the index.
    venue.refuse(
        Reject.MARGIN_INSUFFICIENT,
        "account dave: expected equity of at least its initial margin by tenth, 60000000 micro, "
        "found 50000000",
        c.PlaceOrder, **order_of("dave", "o", 6, 600, symbol="ROLL"),
    )  # fmt: skip
    venue.order("dave", "o", 5, 600, symbol="ROLL")
    assert stands(venue, "dave").initial_micro == 50 * DOLLAR
    asked = venue.state.open.asked[DAVE, "o"]
    assert list(_by_leg(venue.state, [asked, Asked(0, 1, 7)])) == [
        Asked(8, 5, 100_800), Asked(7, -5, 50_100), Asked(0, 1, 7)
    ]  # fmt: skip
    venue.contract(NEAR).mark_points = None
    venue.contract(FAR).mark_points = 9
    assert list(_by_leg(venue.state, [asked])) == [Asked(8, 5, 1), Asked(7, -5, 1)]


def test_scans_take_an_order_as_filled_in_every_leg() -> None:
    venue = combined(scans=True)
    venue.open("dave", usdc=1_000, rulebook="deribit-pm")
    state = venue.state

    def filled(**lots: int) -> Standing:
        seen = view(state, venue.account("dave"))
        seen.sides = {}
        for name, held in lots.items():
            contract = venue.contract(globals()[name])
            basis = 0 if contract.deal.up_front else held * (contract.mark_points or 0)
            seen.positions[contract.number] = (held, basis)
        return standing(state, seen)

    venue.order("dave", "o", 20, 600, symbol="ROLL")
    assert stands(venue, "dave").initial_micro == filled(FAR=20, NEAR=-20).initial_micro > 0
    # Two dollars above its marks, twenty thousandths of it each, are lost at the fill.
    venue.do(c.AmendOrder, account="dave", order="o", price_ticks=604)
    assert stands(venue, "dave").initial_micro == (
        filled(FAR=20, NEAR=-20).initial_micro + 40_000
    )  # fmt: skip
    # Bids of two prices: at their average, rounded up: 602.
    venue.order("dave", "p", 20, 599, symbol="ROLL")
    assert state.open.sides[DAVE] == {COMBO_FIRST: (40, 40 * 601 + 20, 0, 0)}
    assert stands(venue, "dave").initial_micro == (
        filled(FAR=40, NEAR=-40).initial_micro + 40_000
    )  # fmt: skip
    # Offers are filled by themselves: four of a leg need less.
    venue.order("dave", "q", -4, 100_800, symbol=FAR)
    assert stands(venue, "dave").initial_micro == filled(FAR=40, NEAR=-40).initial_micro + 40_000
    venue.do(c.CancelOrders, account="dave")
    # A spread is bought for 600; premiums are paid, what it is worth remains.
    venue.order("dave", "r", 3, 610, symbol="RISE")
    rise = filled(CALL=3, HIGH=-3)
    assert rise.equity_micro == 1_018 * DOLLAR
    assert stands(venue, "dave").initial_micro == rise.initial_micro + 300_000
    venue.do(c.CancelOrder, account="dave", order="r")
    venue.order("dave", "s", -3, 589, symbol="RISE")
    sold = filled(CALL=-3, HIGH=3)
    assert stands(venue, "dave").initial_micro == sold.initial_micro + 330_000


def test_offers_are_rounded_down_and_what_cannot_be_split_is_at_the_marks() -> None:
    venue = combined(scans=True)
    venue.open("dave", usdc=1_000, rulebook="deribit-pm")
    state = venue.state
    seen = view(state, venue.account("dave"))

    def initial(*asked: tuple[int, int]) -> int:
        sides: dict[int, Sides] = {}
        for lots, ticks in asked:
            order = Asked(COMBO_FIRST, lots, ticks)
            sides = with_order(sides, state.value_of, None, order)
        changed = reordered(state, seen, None, None)
        changed.sides = sides
        return standing(state, changed).initial_micro

    assert initial((-1, 598), (-1, 597)) == initial((-2, 597))
    assert initial((1, 602), (1, 603)) == initial((2, 603))
    ratio = Asked(COMBO_FIRST + 2, 1, -900)
    fair = Asked(COMBO_FIRST + 2, 1, 200)
    two = [standing(state, reordered(state, seen, None, one)) for one in (ratio, fair)]
    assert two[0] == two[1]
    assert two[0].known


def test_a_combination_of_what_is_not_known_is_not_known() -> None:
    venue = combined(scans=True)
    venue.open("dave", usdc=1_000, rulebook="deribit-pm")
    combine(venue, "ODD", (CALL, 1), ("BTC-CS", -1))
    venue.refuse(
        Reject.RISK_UNKNOWN, "account dave: expected known risk, found none by deribit-pm",
        c.PlaceOrder, **order_of("dave", "o", 1, 1, symbol="ODD"),
    )  # fmt: skip


def test_no_bound_is_kept_of_a_combination() -> None:
    venue = combined(scans=True)
    venue.open("dave", usdc=1_000, rulebook="deribit-pm")
    venue.order("dave", "l", 1, 50_000)
    assert set(venue.state.slack) == {DAVE}
    venue.order("dave", "o", 1, 600, symbol="ROLL")
    assert set(venue.state.slack) == set()
    venue.order("dave", "m", 1, 50_000)
    assert set(venue.state.slack) == {DAVE}
    venue.do(c.CancelOrder, account="dave", order="o")
    assert set(venue.state.slack) == set()


# ── the end of it ────────────────────────────────────────────────────────────────────────────────


def test_when_a_leg_ends_so_does_the_combination(venue: Venue) -> None:
    venue.order("alice", "o", 1, 500, symbol="ROLL")
    venue.order("alice", "p", 1, 50_000, symbol=NEAR)
    venue.order("bob", "q", -1, 700, symbol="ROLL")
    venue.order("bob", "r", -1, 900, symbol="RISE")
    venue.time_ms = EXPIRY
    over = f"instrument {NEAR}: expected a time before {EXPIRY}, found {EXPIRY}"
    told = order_of("carol", "c", 1, 1, symbol="ROLL")
    venue.refuse(Reject.INSTRUMENT_EXPIRED, over, c.PlaceOrder, **told)
    events = venue.do(c.SettleExpiry, symbol=NEAR, price_nano=50_000 * NANO)
    assert events[:3] == (
        OrderReduced(ALICE, "p", 0, 0, "closed"), OrderReduced(ALICE, "o", 0, 0, "closed"),
        OrderReduced(BOB, "q", 0, 0, "closed"),
    )  # fmt: skip
    assert COMBO_FIRST not in venue.state.desk.books
    assert list(venue.state.orders_of(BOB)) == ["r"]
    gone = f"instrument {NEAR}: expected one that is traded, found expired"
    venue.refuse(Reject.INSTRUMENT_CLOSED, gone, c.PlaceOrder, **told)
    assert venue.do(c.CancelOrders, symbol="ROLL") == ()
    venue.adopt('matching = "book"\nprice_band = 0.5')
    assert COMBO_FIRST not in venue.state.desk.books


def test_a_leg_that_is_delisted_takes_it_along(venue: Venue) -> None:
    venue.order("alice", "o", 1, 500, symbol="ROLL")
    assert venue.do(c.DelistInstrument, symbol=FAR) == (
        OrderReduced(ALICE, "o", 0, 0, "closed"), Delisted(8)
    )  # fmt: skip
    assert COMBO_FIRST not in venue.state.desk.books
    # It has gone already when its other leg goes.
    assert venue.do(c.DelistInstrument, symbol=NEAR) == (Delisted(7),)


def test_a_combination_is_delisted_by_itself(venue: Venue) -> None:
    venue.order("alice", "o", 1, 500, symbol="ROLL")
    held = "instrument ROLL: expected no position and no order, found 0 and 1"
    venue.refuse(Reject.INSTRUMENT_HELD, held, c.DelistInstrument, symbol="ROLL")
    venue.do(c.CancelOrder, account="alice", order="o")
    assert venue.do(c.DelistInstrument, symbol="ROLL") == (Delisted(COMBO_FIRST),)
    closed = "instrument ROLL: expected one that is traded, found delisted"
    told = order_of("alice", "o", 1, 500, symbol="ROLL")
    venue.refuse(Reject.INSTRUMENT_CLOSED, closed, c.PlaceOrder, **told)
    venue.refuse(Reject.INSTRUMENT_CLOSED, closed, c.DelistInstrument, symbol="ROLL")
    venue.order("alice", "o", 1, 50_000, symbol=FAR)


def test_while_a_leg_is_halted_nothing_of_it_trades(venue: Venue) -> None:
    venue.order("alice", "a", 1, 590, symbol="ROLL")
    venue.order("bob", "b", -1, 600, symbol="ROLL")
    venue.do(c.SetPhase, symbol=NEAR, phase=Phase.HALTED)
    halted = f"instrument {NEAR}: expected trading, found it halted"
    venue.refuse(
        Reject.INSTRUMENT_HALTED, halted,
        c.PlaceOrder, **order_of("alice", "c", 1, 600, symbol="ROLL"),
    )  # fmt: skip
    # Nor does one that rests come to meet another.
    for name, order, ticks in (("alice", "a", 600), ("bob", "b", 590)):
        venue.refuse(
            Reject.INSTRUMENT_HALTED, halted,
            c.AmendOrder, account=name, order=order, price_ticks=ticks,
        )  # fmt: skip
    venue.do(c.CancelOrder, account="alice", order="a")
    venue.do(c.SetPhase, symbol=NEAR, phase=Phase.CONTINUOUS)
    venue.do(c.AmendOrder, account="bob", order="b", price_ticks=590)
    assert [one.price_ticks for one in venue.state.orders_of(BOB).values()] == [590]
    assert venue.contract(INV).phase is Phase.CONTINUOUS
