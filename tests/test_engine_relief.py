"""Margin of orders: what goes when it is short, where contracts have their own, and the sums."""

from __future__ import annotations

import pytest

from solvent.engine import margin_of_orders
from solvent.engine.apply import apply_all
from solvent.engine.floor import Floor
from solvent.engine.image import books_hash, image, restore, state_hash
from solvent.engine.margin_of_orders import Relief, relief_plan
from solvent.engine.open_orders import NONE, Asked, OpenOrders, Sides, with_order
from solvent.engine.standing import View, standing
from solvent.engine.state import Standing, State
from solvent.errors import Reject
from solvent.messages import commands as c
from solvent.messages.codec import encode_command
from solvent.messages.events import (
    Event,
    MarketPublished,
    OrderEnded,
    OrderReduced,
    OrderRested,
    ProtectionTripped,
    Rejected,
)
from solvent.messages.fields import (
    ComboLeg,
    Command,
    MarginMode,
    MarkPrice,
    Side,
    StopAt,
    TimeInForce,
    Trigger,
)
from tests.test_engine_contract_rules import by_contract, money
from tests.test_engine_order_margin import CAROL, DAVE, FIRED, gone, stands
from tests.venues import (
    BOOK,
    DAY,
    DOLLAR,
    FAR,
    FUT,
    LIN,
    NEAR,
    T0,
    TENTH,
    Venue,
    arrays,
    book_venue,
    engine_text,
    order_of,
)


@pytest.fixture
def venue() -> Venue:
    """Dave has 50 dollars, the margin of ten lots of `LIN`."""
    venue = book_venue()
    venue.open("dave", usdc=50)
    return venue


# ── relief ───────────────────────────────────────────────────────────────────────────────────────


def crowded(engine: str = "", lots: tuple[int, ...] = (1, 3, 2, 3)) -> Venue:
    """Dave has orders of these lots, and just the margin that they need."""
    venue = book_venue(engine)
    venue.open("dave", usdc=5 * sum(lots))
    for number, size in enumerate(lots):
        venue.order("dave", f"o{number}", size, 40_000)
    return venue


def test_what_frees_most_goes_first_until_it_is_enough() -> None:
    venue = crowded()
    dave = venue.account("dave")
    venue.refuse(
        Reject.ACCOUNT_NOT_SHORT_OF_MARGIN,
        "account dave: expected equity below its initial margin, 45000000 micro, found 45000000",
        c.RelieveMargin, account="dave",
    )  # fmt: skip
    venue.publish(index=75_000)
    # Nine lots need 67.50 of 45; six are right.
    before = state_hash(venue.state)
    plan = relief_plan(venue.state, dave)
    assert plan == Relief(
        "dave",
        Standing(45 * DOLLAR, 67_500_000, 33_750_000, True, True, False),
        Standing(45 * DOLLAR, 45 * DOLLAR, 22_500_000, True, False, False),
        (("o1", 0),),
    )
    assert state_hash(venue.state) == before
    venue.publish(index=100_000)
    # Six need 60, four 40, and a loss of what is lacking is told after each.
    assert relief_plan(venue.state, dave).orders == (("o1", -15 * DOLLAR), ("o3", 15 * DOLLAR))
    assert venue.do(c.RelieveMargin, account="dave") == (
        gone(DAVE, "o1", "relief"), gone(DAVE, "o3", "relief")
    )  # fmt: skip
    assert not stands(venue, "dave").call
    assert list(venue.state.orders_of(DAVE)) == ["o0", "o2"]


def test_or_all_go() -> None:
    venue = crowded('relief = "all"')
    venue.order("dave", "w", 1, 40_000, stop=FIRED)
    venue.publish(index=75_000)
    plan = relief_plan(venue.state, venue.account("dave"))
    assert plan.orders == (
        ("o1", 0), ("o3", 22_500_000), ("o2", 37_500_000), ("o0", 45 * DOLLAR)
    )  # fmt: skip
    assert (plan.after.initial_micro, plan.after.call) == (0, False)
    events = venue.do(c.RelieveMargin, account="dave")
    assert [one.order for one in events if isinstance(one, OrderReduced)] == [
        "o1", "o3", "o2", "o0"
    ]  # fmt: skip
    assert venue.state.open.sides == {}
    # Stops that wait need no margin, and stay.
    assert list(venue.state.desk.stops[DAVE]) == ["w"]


KEPT = """
closing = "where(buy, max(-sign(contract.held), 0), max(sign(contract.held), 0)) * size"
kept    = "where(closing > 0, closing <= abs(contract.held), 0)"
near    = "abs(price - mark) < 1000"
"""


def by_column(column: str) -> Venue:
    """Which orders stay is told by a column: those that can only close what is held, one by one.
    Dave holds ten lots, and has 100 dollars where 120 are needed."""
    venue = book_venue(more=True)
    legs = (ComboLeg(FAR, 1), ComboLeg(NEAR, -1))
    venue.do(c.ListCombo, symbol="ROLL", legs=legs, tick_size="0.5")
    toml = TENTH.replace("[at.order]\n", f"[at.order]\n{KEPT}")
    toml = toml.replace("[at.contract]\n", '[at.contract]\nheld = "position.sum(size)"\n')
    toml = engine_text(toml, f'{BOOK}\nkept_orders = "{column}"')
    venue.do(c.AdoptRulebook, name="tenth", toml=toml, day=DAY, venue=True)
    venue.publish()
    venue.open("dave", usdc=100)
    venue.trade("dave", "bob", 10, 50_000)
    for name, symbol, lots, ticks in (
        ("sale", LIN, -4, 51_000), ("bid", LIN, 1, 49_000), ("fut", FUT, -1_000, 51_000),
        ("roll", "ROLL", 1, 600),
    ):  # fmt: skip
        venue.order("dave", name, lots, ticks, symbol=symbol)
    venue.publish(index=70_000)
    # Fifteen lots, a thousandth of a bitcoin, and two legs of a lot, at 70,000.
    assert stands(venue, "dave").initial_micro == 126 * DOLLAR
    return venue


def test_a_column_may_say_which_orders_stay() -> None:
    venue = by_column("kept")
    plan = relief_plan(venue.state, venue.account("dave"))
    # What is not for closing goes, whatever it frees and whether that is enough.
    assert plan.orders == (("bid", -19 * DOLLAR), ("fut", -12 * DOLLAR), ("roll", 2 * DOLLAR))
    assert (plan.after.initial_micro, plan.after.call) == (98 * DOLLAR, False)
    venue.do(c.RelieveMargin, account="dave")
    assert list(venue.state.orders_of(DAVE)) == ["sale"]


def test_a_column_that_knows_too_little_takes_nothing_back() -> None:
    venue = by_column("near")
    before = books_hash(venue.state)
    found = venue.tell(c.RelieveMargin, account="dave")
    assert found.code == Reject.RISK_UNKNOWN
    (refused,) = found.events
    assert isinstance(refused, Rejected)
    assert refused.detail.startswith("column order.near: ")
    assert "mark" in refused.detail
    assert books_hash(venue.state) == before


def test_many_orders_go_several_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    assert margin_of_orders.ROUNDS_MAX == 64
    monkeypatch.setattr(margin_of_orders, "ROUNDS_MAX", 2)
    venue = crowded(lots=(1, 1, 5, 1, 4))
    venue.publish(index=55_000)
    # Three of five at a time, of equals those that came first; one would have been enough.
    plan = relief_plan(venue.state, venue.account("dave"))
    assert plan.orders == (("o2", 21_500_000), ("o4", 43_500_000), ("o0", 49 * DOLLAR))


def test_orders_alone_may_not_be_enough(venue: Venue) -> None:
    venue.trade("dave", "bob", 8, 50_000)
    venue.order("dave", "o", 2, 40_000)
    venue.publish(index=65_000)
    plan = relief_plan(venue.state, venue.account("dave"))
    assert (plan.orders, plan.after.call) == ((("o", -2 * DOLLAR),), True)
    venue.do(c.RelieveMargin, account="dave")
    # There is nothing more to take back, and that is no refusal.
    assert venue.do(c.RelieveMargin, account="dave") == ()


def test_relief_is_refused_by_account_venue_and_standing(venue: Venue) -> None:
    venue.refuse(
        Reject.ACCOUNT_UNKNOWN, "account 'zoe': expected one that is open",
        c.RelieveMargin, account="zoe",
    )  # fmt: skip
    venue.time_ms = T0 + 60_001
    venue.refuse(
        Reject.RISK_UNKNOWN, "account dave: expected known risk, found none by tenth",
        c.RelieveMargin, account="dave",
    )  # fmt: skip
    by_contract(BOOK).refuse(
        Reject.ACCOUNT_NOT_FOR_THIS,
        "account dave: expected a venue that margins accounts as a whole",
        c.RelieveMargin, account="dave",
    )  # fmt: skip


# ── where each contract has its own margin ───────────────────────────────────────────────────────


def test_orders_that_meet_fill_each_contracts_margin() -> None:
    venue = by_contract(BOOK)
    short = (
        f"account dave, {LIN}: expected the margin that the contract needs, found 0 in its margin, "
        "0 for its orders and 100000000 in general, in smallest units of USDC"
    )
    venue.refuse(
        Reject.MARGIN_INSUFFICIENT, short, c.PlaceOrder, **order_of("dave", "o", 21, 50_000)
    )
    venue.order("dave", "o", 8, 50_000)
    assert money(venue, "dave") == (4_000, 0, 6_000)
    venue.do(c.AmendOrder, account="dave", order="o", lots=20)
    assert money(venue, "dave") == (10_000, 0, 0)
    moved = venue.tell(c.AmendOrder, account="dave", order="o", lots=21)
    assert moved.code == Reject.MARGIN_INSUFFICIENT
    venue.order("bob", "s", -12, 50_000)
    assert money(venue, "dave") == (10_000, 0, 0)
    assert money(venue, "bob") == (6_000, 0, 994_000)
    venue.order("dave", "r", -12, 50_100)
    venue.do(c.CancelOrder, account="dave", order="o")
    venue.order("bob", "b", 12, 50_100)
    assert money(venue, "bob") == (0, 0, 999_880)
    assert money(venue, "dave") == (0, 0, 10_120)


def test_an_isolated_order_has_its_own_reserve() -> None:
    venue = by_contract(BOOK)
    venue.do(c.SetMarginMode, account="dave", symbol=LIN, mode=MarginMode.ISOLATED,
             margin_factor="0.2")  # fmt: skip
    venue.order("dave", "o", 5, 50_000)
    assert money(venue, "dave") == (0, 5_000, 5_000)
    venue.do(c.AmendOrder, account="dave", order="o", price_ticks=40_000)
    assert money(venue, "dave") == (0, 4_000, 6_000)
    venue.do(c.AmendOrder, account="dave", order="o", lots=2)
    assert money(venue, "dave") == (0, 1_600, 8_400)
    venue.order("bob", "s", -1, 40_000)
    assert money(venue, "dave") == (800, 800, 8_400)
    venue.time_ms += 1
    venue.do(c.CancelOrders, symbol=LIN)
    assert money(venue, "dave") == (800, 0, 9_200)


def test_reserves_come_back_however_an_order_goes() -> None:
    """Also where others trade after it went, in the same command."""
    venue = by_contract(BOOK)
    venue.do(c.SetMarginMode, account="carol", symbol=FUT, mode=MarginMode.ISOLATED,
             margin_factor="0.2")  # fmt: skip
    venue.do(c.SetProtection, account="carol", group="g", window_ms=1, frozen_ms=0, lots=2)
    venue.order("carol", "a", 3, 50_000, group="g")
    venue.order("carol", "f", 1_000, 50_000, symbol=FUT, group="g")
    venue.order("bob", "b", 3, 49_999)
    assert (venue.reserved("carol", FUT), venue.margin("carol", LIN)) == (10 * DOLLAR, 15 * DOLLAR)
    events = venue.order("alice", "s", -6, 49_999)
    assert ProtectionTripped(CAROL, "g", 0) in events
    assert venue.position("bob", LIN) == (3, 1_499_970, 1_499_970, 0)
    assert venue.reserved("carol", FUT) == 0
    for after, ends in ((5, c.Heartbeat), (9, c.PublishMarket)):
        venue.order("carol", "d", 1_000, 50_000, symbol=FUT, time_in_force=TimeInForce.GTD,
                    expire_ms=T0 + after)  # fmt: skip
        assert venue.reserved("carol", FUT) == 10 * DOLLAR
        venue.time_ms = T0 + after
        venue.do(ends, **({} if ends is c.Heartbeat else {"index": (), "marks": ()}))
        assert venue.reserved("carol", FUT) == 0


def test_what_comes_and_goes_between_two_looks_is_levelled_once() -> None:
    venue = by_contract(BOOK)
    events: list[Event] = [OrderRested(DAVE, "x", 0, 5, 50_000, 5), gone(DAVE, "x", "cancelled")]
    venue.state.open.begin()
    Floor(venue.state, events).close(events)
    assert (venue.state.open.sides, venue.state.ledger.take_posted()) == ({}, ())


def test_a_combination_is_not_for_contracts_by_themselves() -> None:
    venue = book_venue(more=True)
    legs = (ComboLeg(FAR, 1), ComboLeg(NEAR, -1))
    venue.do(c.ListCombo, symbol="ROLL", legs=legs, tick_size="0.5")
    venue.order("alice", "w", 1, 600, symbol="ROLL", stop=StopAt(Trigger.LAST, 1, True))
    ruled = by_contract(BOOK).state.rules["tenth"].toml
    venue.do(c.AdoptRulebook, name="tenth", toml=ruled, day="2026-06-01", venue=True)
    wrong = (
        "instrument ROLL: expected a contract where each is margined by itself, found a "
        "combination of them"
    )
    venue.refuse(
        Reject.INSTRUMENT_NOT_FOR_THIS, wrong,
        c.PlaceOrder, **order_of("alice", "o", 1, 600, symbol="ROLL"),
    )  # fmt: skip
    venue.refuse(
        Reject.INSTRUMENT_NOT_FOR_THIS, wrong, c.ReportBlock, account="alice", counterparty="bob",
        side=Side.BUY, symbol="ROLL", lots=1, price_ticks=600, reference="r",
    )  # fmt: skip
    venue.refuse(
        Reject.INSTRUMENT_TERMS_INVALID,
        "instrument C: expected no combinations where contracts are margined by themselves",
        c.ListCombo, symbol="C", legs=legs, tick_size="0.5",
    )  # fmt: skip
    venue.do(c.CancelOrder, account="alice", order="w")


# ── the sums ─────────────────────────────────────────────────────────────────────────────────────


def value(instrument: int, lots: int, price_ticks: int) -> int:
    return (instrument + 1) * lots * price_ticks


def test_sums_follow_the_events() -> None:
    sums = OpenOrders(value)
    events: list[Event] = [
        OrderRested(1, "a", 0, 5, 10, 5), OrderRested(1, "b", 0, -2, 12, -2),
        OrderRested(1, "c", 7, 3, 1, 3), OrderRested(2, "a", 0, 1, 9, 1),
    ]  # fmt: skip
    sums.begin()
    sums.take(events)
    assert sums.sides == {1: {0: (5, 50, -2, -24), 7: (3, 24, 0, 0)}, 2: {0: (1, 9, 0, 0)}}
    assert sums.moved[:2] == [(1, 0, 5, 50, True), (1, 0, -2, -24, False)]
    # Nothing is counted twice; other events are none of orders.
    sums.take(events)
    events += [MarketPublished(0, 0), OrderReduced(1, "a", 2, 1, "filled"), gone(2, "a", "expired")]
    sums.moved.clear()
    sums.take(events)
    assert sums.sides == {1: {0: (2, 20, -2, -24), 7: (3, 24, 0, 0)}}
    assert sums.asked[1, "a"] == Asked(0, 2, 10)
    assert sums.moved == [(1, 0, -3, -30, True), (2, 0, -1, -9, True)]
    # A new command has its own events.
    sums.begin()
    sums.take([gone(1, "a", "cancelled"), gone(1, "b", "cancelled"), gone(1, "c", "cancelled")])
    assert (sums.sides, sums.asked) == ({}, {})
    sums.put(3, "x", Asked(0, 0, 5))
    assert (sums.sides, sums.asked) == ({}, {})


def test_an_amended_order_moves_the_sums_by_the_difference() -> None:
    sums = OpenOrders(value)
    sums.begin()
    events: list[Event] = [OrderRested(1, "a", 0, 5, 10, 5)]
    sums.take(events)
    events += [OrderReduced(1, "a", 4, 4, "amended")]
    sums.take(events)
    assert sums.sides == {1: {0: (4, 40, 0, 0)}}
    # Taken out and put in anew at once, or with trades in between.
    for between, left in (([], 6), ([MarketPublished(0, 0)], 3)):
        sums.moved.clear()
        before = sums.asked[1, "a"]
        events += [gone(1, "a", "amended"), *between, OrderRested(1, "a", 0, left, 11, left)]
        sums.take(events)
        assert sums.asked == {(1, "a"): Asked(0, left, 11)}
        assert sums.sides == {1: {0: (left, 11 * left, 0, 0)}}
        moved = [tuple(sum(one[n] for one in sums.moved) for n in (2, 3))]
        assert moved == [(left - before.lots, 11 * left - before.lots * before.price_ticks)]
    assert len(sums.moved) == 2


def test_sums_if_an_order_were_another() -> None:
    mine = {0: Sides(5, 50, -2, -24)}
    assert with_order(mine, value, None, None) == mine
    assert with_order(mine, value, None, Asked(0, -1, 12)) == {0: (5, 50, -3, -36)}
    assert with_order(mine, value, Asked(0, 5, 10), Asked(0, 4, 11)) == {0: (4, 44, -2, -24)}
    assert with_order(mine, value, Asked(0, 5, 10), Asked(0, 0, 10)) == {0: (0, 0, -2, -24)}
    assert with_order({0: Sides(5, 50, 0, 0)}, value, Asked(0, 5, 10), None) == {}
    assert with_order({}, value, None, Asked(3, 1, 1)) == {3: (1, 4, 0, 0)}
    assert mine == {0: (5, 50, -2, -24)}
    assert Sides(0, 0, 0, 0) == NONE


# ── history again ────────────────────────────────────────────────────────────────────────────────


def test_what_went_for_margin_goes_again_when_history_is_replayed() -> None:
    """Margin is worked out anew where the record tells of it, and nowhere else."""
    venue = book_venue()
    venue.open("dave", usdc=50)
    first = venue.state
    again = restore(image(first))
    commands: list[Command] = [
        c.PlaceOrder(key="0", actor="op", **order_of("dave", "m", 10, 50_000)),
        c.PlaceOrder(key="1", actor="op", **order_of("bob", "b", 4, 49_990)),
        c.PlaceOrder(key="2", actor="op", **order_of("dave", "w", 11, 50_000, stop=FIRED)),
        c.PublishMarket(key="3", actor="op", index=(), marks=(MarkPrice(LIN, 510_000, 0),)),
        c.PlaceOrder(key="4", actor="op", **order_of("dave", "x", 11, 50_000)),
        arrays("tenth", key="5", index=60_000),
        c.PlaceOrder(key="6", actor="op", **order_of("alice", "s", -12, 49_980)),
        c.CancelOrders(key="7", actor="op", side=Side.SELL),
    ]
    bodies = [encode_command(command) for command in commands]
    times = [T0] * len(commands)
    done = apply_all(first, commands, times, bodies)
    assert [one.code for one in done] == [0, 0, 0, 0, Reject.MARGIN_INSUFFICIENT, 0, 0, 0]
    assert OrderEnded(DAVE, "w", 11, "margin") in done[3].events
    assert done[6].events[0] == gone(DAVE, "m", "margin")
    records = [one.stored for one in done]
    seen = []

    def counted(state: State, one: View) -> Standing:
        seen.append(one.account.name)
        return standing(state, one)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("solvent.engine.margin_of_orders.standing", counted)
        replayed = apply_all(again, commands, times, bodies, records=records)
    assert [one.chain for one in replayed] == [one.chain for one in done]
    assert state_hash(again) == state_hash(first)
    # For the stop that was refused, and for the order that met one which went.
    assert seen == ["dave", "alice"]
