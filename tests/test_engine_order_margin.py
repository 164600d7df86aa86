"""Margin of orders: what may rest, what may be filled, and what goes when margin is short."""

from __future__ import annotations

from typing import Any

import pytest

from solvent.engine.floor import Floor
from solvent.engine.image import state_hash
from solvent.engine.margin_of_orders import worst_price
from solvent.engine.standing import standing, view
from solvent.engine.state import Spared, Standing
from solvent.errors import Reject
from solvent.limits import LOTS_MAX
from solvent.messages import commands as c
from solvent.messages.events import (
    Event,
    MarketPublished,
    OrderEnded,
    OrderReduced,
    OrderRested,
    PositionChanged,
    StopTriggered,
    Traded,
)
from solvent.messages.fields import (
    MarkPrice,
    OpeningPosition,
    Phase,
    Side,
    StopAt,
    Trigger,
)
from solvent.orders.order import Order, Verdict
from tests.venues import (
    BOOK,
    CALL,
    DOLLAR,
    LIN,
    SPREAD,
    T0,
    Venue,
    book_venue,
    order_of,
)

ALICE, BOB, CAROL, DAVE = 16, 17, 18, 20
FIRED = StopAt(Trigger.MARK, 510_000, True)
"""Set off when the mark of `LIN` comes to 51,000."""


@pytest.fixture
def venue() -> Venue:
    """Dave has 50 dollars, the margin of ten lots of `LIN`."""
    venue = book_venue()
    venue.open("dave", usdc=50)
    return venue


def gone(account: int, name: str, why: str) -> OrderReduced:
    return OrderReduced(account, name, 0, 0, why)


def lacks(name: str, needs: int, has: int, rulebook: str = "tenth") -> str:
    return (
        f"account {name}: expected equity of at least its initial margin by {rulebook}, {needs} "
        f"micro, found {has}"
    )


def stands(venue: Venue, name: str) -> Standing:
    return standing(venue.state, view(venue.state, venue.account(name)))


def marked(venue: Venue, points: int, symbol: str = LIN) -> tuple[Event, ...]:
    return venue.do(c.PublishMarket, index=(), marks=(MarkPrice(symbol, points, 0),))


# ── may it rest ──────────────────────────────────────────────────────────────────────────────────


def test_an_order_is_margined_whole_before_it_trades(venue: Venue) -> None:
    venue.order("bob", "s", -20, 50_000)
    told = order_of("dave", "o", 11, 50_000)
    short = lacks("dave", 55 * DOLLAR, 50 * DOLLAR)
    venue.refuse(Reject.MARGIN_INSUFFICIENT, short, c.PlaceOrder, **told)
    venue.refuse(Reject.MARGIN_INSUFFICIENT, short, c.PlaceOrder, **{**told, "price_ticks": None})
    venue.order("dave", "o", 10, 50_000)
    assert venue.position("dave", LIN) == (10, 5_000_000, 5_000_000, 0)
    assert not stands(venue, "dave").call


def test_bids_and_offers_are_both_counted_by_formulas(venue: Venue) -> None:
    venue.order("dave", "b", 6, 49_000)
    short = lacks("dave", 55 * DOLLAR, 50 * DOLLAR)
    venue.refuse(
        Reject.MARGIN_INSUFFICIENT, short, c.PlaceOrder, **order_of("dave", "s", -5, 51_000)
    )
    venue.order("dave", "s", -4, 51_000)
    assert venue.state.open.sides[DAVE] == {0: (6, 2_940_000, -4, -2_040_000)}


def test_a_frozen_account_may_only_reduce(venue: Venue) -> None:
    venue.trade("dave", "bob", 4, 50_000)
    venue.do(c.FreezeAccount, account="dave", reason="")
    frozen = "account dave: expected an active one, found frozen"
    for told in (order_of("dave", "o", 1, 50_000), order_of("dave", "o", -5, 50_000)):
        venue.refuse(Reject.ACCOUNT_FROZEN, frozen, c.PlaceOrder, **told)
    venue.order("dave", "o", -3, 50_000)
    venue.refuse(Reject.ACCOUNT_FROZEN, frozen, c.PlaceOrder, **order_of("dave", "p", -2, 50_000))
    # What it has may shrink, and be moved, but not grow beyond the position.
    venue.do(c.AmendOrder, account="dave", order="o", lots=4, price_ticks=50_001)
    venue.refuse(Reject.ACCOUNT_FROZEN, frozen, c.AmendOrder, account="dave", order="o", lots=5)
    venue.do(c.AmendOrder, account="dave", order="o", lots=1)
    venue.order("bob", "b", 1, 50_001)
    assert venue.position("dave", LIN) == (3, 1_500_000, 1_500_000, 1_000)


def short_of_margin(engine: str = "") -> Venue:
    """Dave holds ten lots, and has 50 dollars where 60 are needed."""
    venue = book_venue(engine)
    venue.open("dave", usdc=50)
    venue.trade("dave", "bob", 10, 50_000)
    venue.publish(index=60_000)
    assert stands(venue, "dave")[:6] == (50 * DOLLAR, 60 * DOLLAR, 30 * DOLLAR, True, True, False)
    return venue


def test_below_margin_what_reduces_is_taken() -> None:
    venue = short_of_margin()
    venue.refuse(
        Reject.MARGIN_INSUFFICIENT, lacks("dave", 66 * DOLLAR, 50 * DOLLAR),
        c.PlaceOrder, **order_of("dave", "o", 1, 50_000),
    )  # fmt: skip
    venue.order("dave", "r", -6, 50_100, reduce_only=True)
    venue.order("dave", "s", -4, 50_100)
    venue.refuse(
        Reject.MARGIN_INSUFFICIENT, lacks("dave", 126 * DOLLAR, 50 * DOLLAR),
        c.PlaceOrder, **order_of("dave", "t", -1, 50_100),
    )  # fmt: skip
    # All of it can be sold, and then there is nothing to reduce.
    venue.order("bob", "b", 10, 50_100)
    assert venue.position("dave", LIN) is None
    assert venue.held("dave") == 51 * DOLLAR


def test_reduce_only_never_turns_a_position_round(venue: Venue) -> None:
    venue.trade("alice", "bob", 4, 50_000)
    venue.order("alice", "r", -7, 50_000, reduce_only=True)
    events = venue.order("bob", "b", 9, 50_000)
    assert [one for one in events if not isinstance(one, PositionChanged)] == [
        Traded(0, 50_000, 4, BOB, "b", ALICE, "r", "buy"),
        OrderReduced(ALICE, "r", -3, -3, "filled"), gone(ALICE, "r", "reduce_only"),
        OrderRested(BOB, "b", 0, 5, 50_000, 5),
    ]  # fmt: skip
    assert venue.position("alice", LIN) is None
    venue.refuse(
        Reject.REDUCE_ONLY_INCREASES,
        "order 'r' of account 16: expected a position the other way to reduce, found 0 lots",
        c.PlaceOrder, **order_of("alice", "r", -1, 50_000, reduce_only=True),
    )  # fmt: skip


@pytest.mark.parametrize("reducing", ["margin", "none"])
def test_elsewhere_what_reduces_needs_margin_too(reducing: str) -> None:
    """Under `tenth` an order is exposure whatever its side: it raises margin."""
    venue = short_of_margin(f'reducing = "{reducing}"')
    venue.refuse(
        Reject.MARGIN_INSUFFICIENT, lacks("dave", 66 * DOLLAR, 50 * DOLLAR),
        c.PlaceOrder, **order_of("dave", "s", -1, 50_100),
    )  # fmt: skip


def test_what_does_not_raise_margin_is_taken_where_the_rules_say_so() -> None:
    """Under scans an offer against what is held raises nothing."""
    venues = {rule: book_venue(f'reducing = "{rule}"', scans=True) for rule in ("margin", "none")}
    for venue in venues.values():
        venue.open("dave", usdc=1_000, rulebook="deribit-pm")
        venue.trade("dave", "bob", 100, 50_000)
        venue.do(c.Transfer, source="dave", target="bob", asset="USDC", amount=100 * DOLLAR)
        venue.publish("deribit-pm", LIN=490_000)
        found = stands(venue, "dave")
        assert found.call
        assert not found.liquidate
    rule = venues["margin"]
    rule.order("dave", "s", -200, 50_100)
    more = rule.tell(c.PlaceOrder, **order_of("dave", "t", -1, 50_100))
    assert more.code == Reject.MARGIN_INSUFFICIENT
    told = order_of("dave", "s", -1, 50_100)
    assert venues["none"].tell(c.PlaceOrder, **told).code == Reject.MARGIN_INSUFFICIENT


# ── orders under scans ───────────────────────────────────────────────────────────────────────────


def deribit(usdc: int = 1_000, **options: Any) -> Venue:
    """Dave is margined by Deribit's portfolio margin."""
    venue = book_venue(scans=True, **options)
    venue.open("dave", usdc=usdc, rulebook="deribit-pm")
    return venue


def with_held(venue: Venue, **positions: tuple[int, int]) -> Standing:
    """Dave with other positions: (lots, basis) by the contract's name here."""
    seen = view(venue.state, venue.account("dave"))
    seen.sides = {}
    for name, one in positions.items():
        seen.positions[venue.contract(globals()[name]).number] = one
    return standing(venue.state, seen)


def test_an_order_is_margined_as_filled_with_what_it_would_cost() -> None:
    venue = deribit()
    held = with_held(venue, LIN=(10, 5_000_000))
    assert 80 * DOLLAR < held.initial_micro < 90 * DOLLAR
    # At the mark it costs nothing, above it ten lots lose a dollar each hundredth of a bitcoin.
    venue.order("dave", "o", 10, 50_000)
    assert stands(venue, "dave").initial_micro == held.initial_micro
    venue.do(c.AmendOrder, account="dave", order="o", price_ticks=51_000)
    assert stands(venue, "dave").initial_micro == held.initial_micro + 10 * DOLLAR
    assert stands(venue, "dave").equity_micro == 1_000 * DOLLAR
    # Below the mark a fill would bring something, but has not yet.
    venue.do(c.AmendOrder, account="dave", order="o", price_ticks=49_000)
    assert stands(venue, "dave").initial_micro == held.initial_micro
    # The worse of all bids and all offers counts, not both.
    venue.order("dave", "s", -5, 50_000)
    assert stands(venue, "dave").initial_micro == held.initial_micro
    venue.order("dave", "t", -10, 50_000)
    sold = with_held(venue, LIN=(-15, -7_500_000))
    assert stands(venue, "dave").initial_micro == sold.initial_micro > held.initial_micro


def test_an_order_is_refused_at_the_unit() -> None:
    """The largest that the money bears rests; one lot more is refused with the numbers."""
    venue = deribit()
    lots = next(n for n in range(1, 1_000) if with_held(venue, LIN=(n, n * 510_000)).call)
    needs = with_held(venue, LIN=(lots, lots * 510_000))
    cost = 1_000 * DOLLAR - needs.equity_micro
    assert cost == lots * DOLLAR
    venue.refuse(
        Reject.MARGIN_INSUFFICIENT,
        lacks("dave", needs.initial_micro + cost, 1_000 * DOLLAR, "deribit-pm"),
        c.PlaceOrder, **order_of("dave", "o", lots, 51_000),
    )  # fmt: skip
    venue.order("dave", "o", lots - 1, 51_000)
    assert venue.state.slack[DAVE].base >= 0
    # Money that margin needs cannot leave; when the order has gone, it can.
    all_of_it = {"account": "dave", "asset": "USDC", "amount": 1_000 * DOLLAR}
    found = venue.tell(c.RequestWithdrawal, reference="r", **all_of_it)
    assert found.code == Reject.MARGIN_INSUFFICIENT
    venue.do(c.CancelOrder, account="dave", order="o")
    venue.do(c.RequestWithdrawal, reference="r", **all_of_it)


def test_premiums_of_bids_are_kept_ready() -> None:
    venue = deribit()
    plain = stands(venue, "dave")
    assert (plain.initial_micro, plain.equity_micro) == (0, 1_000 * DOLLAR)
    # Two lots of the call at 1,200 cost 24 dollars and are worth 20.
    venue.order("dave", "o", 2, 1_200, symbol=CALL)
    held = with_held(venue, CALL=(2, 0))
    assert held.equity_micro == 1_020 * DOLLAR
    assert stands(venue, "dave").initial_micro == held.initial_micro + 4 * DOLLAR
    venue.do(c.CancelOrder, account="dave", order="o")
    venue.order("dave", "s", -2, 1_200, symbol=CALL)
    sold = with_held(venue, CALL=(-2, 0))
    assert sold.equity_micro == 980 * DOLLAR
    assert stands(venue, "dave").initial_micro == sold.initial_micro


def test_an_order_in_what_is_not_known_is_not_known() -> None:
    venue = deribit()
    venue.refuse(
        Reject.RISK_UNKNOWN, "account dave: expected known risk, found none by deribit-pm",
        c.PlaceOrder, **order_of("dave", "o", 1, 3_000, symbol=SPREAD),
    )  # fmt: skip


# ── prices of orders without one ─────────────────────────────────────────────────────────────────


def test_the_worst_price_of_a_market_order() -> None:
    venue = book_venue()
    state = venue.state

    def price(lots: int, ticks: int | None = None, number: int = 0) -> int:
        return worst_price(state, Order(ALICE, "o", number, lots, ticks))

    assert price(5, 7) == 7
    # Nothing rests: the mark, if there is one.
    assert (price(5), price(-5)) == (50_000, 50_000)
    state.desk.books[0].mark_points = None
    assert price(5) == 1
    for ticks, lots in ((50_010, -2), (50_020, -2), (49_990, 2), (49_900, 2)):
        venue.order("bob", f"{ticks}", lots, ticks)
    # As far as what rests reaches, and no further.
    assert [price(lots) for lots in (2, 3, 9, -2, -3)] == [
        50_010, 50_020, 50_020, 49_990, 49_900
    ]  # fmt: skip
    venue.adopt(f"{BOOK}\nprice_band = 0.01")
    venue.quote()
    assert (price(2), price(-2)) == (50_500, 49_500)
    # A sale may not go to nothing.
    venue.quote(FUT=0)
    assert (price(2, number=2), price(-2, number=2)) == (0, 1)


def test_a_market_order_is_margined_at_its_worst_price() -> None:
    venue = deribit()
    for name, ticks in (("a", 50_000), ("b", 52_000)):
        venue.order("bob", name, -100, ticks)
    needs = with_held(venue, LIN=(101, 101 * 520_000))
    venue.refuse(
        Reject.MARGIN_INSUFFICIENT,
        lacks("dave", needs.initial_micro + 202 * DOLLAR, 1_000 * DOLLAR, "deribit-pm"),
        c.PlaceOrder, **order_of("dave", "o", 101, None),
    )  # fmt: skip
    venue.order("dave", "o", 100, None)
    assert venue.position("dave", LIN) == (100, 50_000_000, 50_000_000, 0)


# ── at the fill ──────────────────────────────────────────────────────────────────────────────────


def test_who_rests_and_cannot_bear_the_fill_any_more_goes(venue: Venue) -> None:
    venue.order("dave", "m", 10, 50_000)
    venue.order("bob", "b", 2, 49_999)
    venue.publish(index=60_000)
    events = venue.order("alice", "s", -3, 49_999)
    assert events == (
        gone(DAVE, "m", "margin"),
        PositionChanged(BOB, 0, 2, 999_980, 999_980, 0),
        PositionChanged(ALICE, 0, -2, -999_980, -999_980, 0),
        Traded(0, 49_999, 2, BOB, "b", ALICE, "s", "sell"), gone(BOB, "b", "filled"),
        OrderRested(ALICE, "s", 0, -1, 49_999, -1),
    )  # fmt: skip
    assert venue.position("dave", LIN) is None
    assert venue.state.open.sides == {ALICE: {0: (0, 0, -1, -499_990)}}


def test_who_sells_at_rest_goes_too(venue: Venue) -> None:
    venue.order("dave", "m", -10, 50_000)
    venue.publish(index=60_000)
    assert venue.order("alice", "b", 3, 50_000) == (
        gone(DAVE, "m", "margin"), OrderRested(ALICE, "b", 0, 3, 50_000, 3)
    )  # fmt: skip


def test_a_part_that_is_filled_counts_once(venue: Venue) -> None:
    """What is held and what is left of the order need what the order needed."""
    venue.order("dave", "m", 8, 50_000)
    for number, (lots, left) in enumerate(((4, 4), (2, 2), (1, 1))):
        venue.order("alice", f"s{number}", -lots, 50_000)
        assert venue.state.orders_of(DAVE)["m"].lots == left
        assert stands(venue, "dave").initial_micro == 40 * DOLLAR


def test_who_takes_and_cannot_bear_the_fill_ends(venue: Venue) -> None:
    venue.order("bob", "a", -3, 50_000)
    venue.order("bob", "b", -7, 50_900)
    events = venue.order("dave", "t", 10, 51_000)
    # Seven lots would lose 6.30 at once, of the 50 that ten need.
    assert events[-3:] == (
        Traded(0, 50_000, 3, DAVE, "t", BOB, "a", "buy"), gone(BOB, "a", "filled"),
        OrderEnded(DAVE, "t", 7, "margin"),
    )  # fmt: skip
    assert venue.position("dave", LIN) == (3, 1_500_000, 1_500_000, 0)
    venue.open("erin", usdc=50)
    venue.order("bob", "c", 10, 49_000)
    assert venue.order("erin", "u", -10, 48_000) == (OrderEnded(21, "u", -10, "margin"),)


def test_a_fee_may_be_what_is_too_much() -> None:
    venue = book_venue('[[engine.fees]]\ncomponent = "taker"\nrate = 0.0001')
    venue.open("dave", usdc=50)
    venue.order("bob", "a", -10, 50_000)
    assert venue.order("dave", "t", 10, 50_000) == (OrderEnded(DAVE, "t", 10, "margin"),)
    venue.do(c.Deposit, account="dave", asset="USDC", amount=50_000)
    venue.order("dave", "t", 10, 50_000)
    assert venue.held("dave") == 50 * DOLLAR


def test_a_frozen_account_is_filled_where_that_reduces(venue: Venue) -> None:
    venue.trade("carol", "bob", 2, 50_000)
    venue.order("alice", "a", -3, 50_000)
    venue.order("carol", "c", -3, 50_000)
    for name in ("alice", "carol"):
        venue.do(c.FreezeAccount, account=name, reason="")
    events = venue.order("bob", "b", 2, 50_000)
    assert [one for one in events if not isinstance(one, PositionChanged)] == [
        gone(ALICE, "a", "margin"),
        Traded(0, 50_000, 2, BOB, "b", CAROL, "c", "buy"),
        OrderReduced(CAROL, "c", -1, -1, "filled"), OrderEnded(BOB, "b", 0, "filled"),
    ]  # fmt: skip
    assert venue.order("bob", "b", 1, 50_000)[0] == gone(CAROL, "c", "margin")


def test_in_an_auction_too_who_cannot_bear_it_goes(venue: Venue) -> None:
    venue.order("dave", "m", 10, 50_000)
    venue.do(c.SetPhase, symbol=LIN, phase=Phase.AUCTION)
    venue.order("alice", "b", 4, 50_000)
    venue.order("bob", "s", -4, 50_000)
    venue.publish(index=60_000)
    events = venue.do(c.SetPhase, symbol=LIN, phase=Phase.CONTINUOUS)
    assert gone(DAVE, "m", "margin") in events
    assert venue.position("alice", LIN) == (4, 2_000_000, 2_000_000, 0)
    assert venue.position("dave", LIN) is None
    assert venue.state.open.sides == {}


def test_the_floor_says_who_is_refused(venue: Venue) -> None:
    """Whoever it is, nothing has been done then."""
    venue.do(c.ImportBooks, balances=(), positions=(
        OpeningPosition("alice", LIN, LOTS_MAX, 500_000),
        OpeningPosition("bob", LIN, -LOTS_MAX, 500_000),
    ))  # fmt: skip
    state, events = venue.state, list[Event]()
    floor = Floor(state, events)
    before = state_hash(state)

    def verdict(buyer: int, seller: int, number: int = 0) -> Verdict:
        return floor.fill(
            Order(buyer, "b", number, 1, 50_000), Order(seller, "s", number, -1, 50_000), lots=1,
            price_ticks=50_000, aggressor=Side.BUY, events=events,
        )  # fmt: skip

    assert verdict(ALICE, CAROL) is Verdict.BUYER
    assert verdict(CAROL, BOB) is Verdict.SELLER
    for name in ("carol", "dave"):
        venue.account(name).status = "frozen"
    assert verdict(CAROL, DAVE, number=2) is Verdict.BUYER
    venue.account("carol").status = "open"
    assert verdict(CAROL, DAVE, number=2) is Verdict.SELLER
    venue.account("dave").status = "open"
    assert (events, state_hash(state)) == ([], before)
    assert verdict(CAROL, DAVE, number=2) is Verdict.DONE
    assert [type(one) for one in events] == [PositionChanged, PositionChanged]
    assert [floor.held(number, 2) for number in (CAROL, DAVE, ALICE)] == [1, -1, 0]
    assert floor.held(ALICE, 0) == LOTS_MAX


# ── amendments ───────────────────────────────────────────────────────────────────────────────────


def test_an_amended_order_is_margined_in_place_of_what_it_was(venue: Venue) -> None:
    venue.order("dave", "o", 8, 49_000)
    told = {"account": "dave", "order": "o"}
    venue.refuse(
        Reject.MARGIN_INSUFFICIENT, lacks("dave", 55 * DOLLAR, 50 * DOLLAR),
        c.AmendOrder, **told, lots=11,
    )  # fmt: skip
    venue.do(c.AmendOrder, **told, lots=10)
    venue.order("alice", "s", -4, 49_000)
    # Four are held and six left: one more is too much, counted with those that are filled.
    venue.refuse(
        Reject.MARGIN_INSUFFICIENT, lacks("dave", 55 * DOLLAR, 54 * DOLLAR),
        c.AmendOrder, **told, lots=11,
    )  # fmt: skip
    venue.do(c.AmendOrder, **told, lots=9)
    assert venue.state.open.sides[DAVE] == {0: (5, 2_450_000, 0, 0)}


def test_what_shrinks_needs_no_margin(venue: Venue) -> None:
    venue.order("dave", "o", 10, 49_000)
    venue.publish(index=60_000)
    told = {"account": "dave", "order": "o"}
    short = lacks("dave", 60 * DOLLAR, 50 * DOLLAR)
    venue.refuse(Reject.MARGIN_INSUFFICIENT, short, c.AmendOrder, **told, price_ticks=49_001)
    venue.do(c.AmendOrder, **told, lots=9)
    venue.do(c.AmendOrder, **told, lots=9, price_ticks=49_000)
    venue.time_ms = T0 + 60_001
    unknown = "account dave: expected known risk, found none by tenth"
    for change in ({"lots": 10}, {"price_ticks": 49_001}, {"lots": 8, "price_ticks": 48_999}):
        venue.refuse(Reject.RISK_UNKNOWN, unknown, c.AmendOrder, **told, **change)
    venue.wind_up("dave")
    venue.do(c.AmendOrder, **told, lots=8)
    venue.refuse(
        Reject.ACCOUNT_IN_LIQUIDATION,
        "account dave: expected an active one, found under liquidation",
        c.AmendOrder, **told, lots=9,
    )  # fmt: skip


def test_an_amended_order_that_takes_may_end_for_margin(venue: Venue) -> None:
    venue.order("bob", "s", -10, 50_900)
    venue.order("dave", "o", 10, 49_000)
    events = venue.do(c.AmendOrder, account="dave", order="o", price_ticks=51_000)
    assert events == (gone(DAVE, "o", "amended"), OrderEnded(DAVE, "o", 10, "margin"))
    assert venue.state.open.sides == {BOB: {0: (0, 0, -10, -5_090_000)}}


# ── stops ────────────────────────────────────────────────────────────────────────────────────────


def test_a_stop_is_margined_when_it_is_set_off(venue: Venue) -> None:
    venue.order("dave", "a", 11, 50_000, stop=FIRED)
    venue.order("dave", "b", 7, 50_000, stop=FIRED)
    venue.order("dave", "c", 4, 50_000, stop=FIRED)
    assert stands(venue, "dave").initial_micro == 0
    # Eleven are too many; seven rest, and leave no room for four.
    assert marked(venue, 510_000) == (
        MarketPublished(0, 1),
        StopTriggered(DAVE, "a"), OrderEnded(DAVE, "a", 11, "margin"),
        StopTriggered(DAVE, "b"), OrderRested(DAVE, "b", 0, 7, 50_000, 7),
        StopTriggered(DAVE, "c"), OrderEnded(DAVE, "c", 4, "margin"),
    )  # fmt: skip


def test_a_stop_is_margined_beside_those_set_off_with_it() -> None:
    """Where a bound stands for margin it knows of orders that have come just now."""
    venue = deribit()
    venue.order("dave", "o", 1, 40_000)
    assert set(venue.state.slack) == {DAVE}
    for name in ("a", "b"):
        # A hundred lots need 850 dollars of a thousand.
        venue.order("dave", name, 60, 50_000, stop=FIRED)
    venue.state.slack[DAVE] = Spared(venue.state.slack[DAVE].base)
    events = marked(venue, 510_000)
    assert events[2:] == (
        OrderRested(DAVE, "a", 0, 60, 50_000, 60),
        StopTriggered(DAVE, "b"), OrderEnded(DAVE, "b", 60, "margin"),
    )  # fmt: skip


def test_a_frozen_account_may_place_what_only_reduces(venue: Venue) -> None:
    venue.trade("alice", "bob", 4, 50_000)
    venue.do(c.FreezeAccount, account="alice", reason="")
    frozen = "account alice: expected an active one, found frozen"
    stop = order_of("alice", "w", -4, 52_000, stop=FIRED)
    venue.refuse(Reject.ACCOUNT_FROZEN, frozen, c.PlaceOrder, **stop)
    venue.do(c.PlaceOrder, **stop, reduce_only=True)
    venue.wind_up("alice")
    venue.refuse(
        Reject.ACCOUNT_IN_LIQUIDATION,
        "account alice: expected an active one, found under liquidation",
        c.PlaceOrder, **{**stop, "order": "x", "reduce_only": True},
    )  # fmt: skip


def test_a_stop_of_a_frozen_account_may_reduce(venue: Venue) -> None:
    venue.trade("alice", "bob", 4, 50_000)
    venue.order("alice", "more", 1, 50_000, stop=FIRED)
    venue.order("alice", "less", -4, 52_000, stop=FIRED)
    venue.do(c.FreezeAccount, account="alice", reason="")
    assert marked(venue, 510_000)[1:] == (
        StopTriggered(ALICE, "more"), OrderEnded(ALICE, "more", 1, "margin"),
        StopTriggered(ALICE, "less"), OrderRested(ALICE, "less", 0, -4, 52_000, -4),
    )  # fmt: skip
