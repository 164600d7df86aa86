"""Trades and resting orders, to the unit; every refusal in its words and its order."""

from __future__ import annotations

from typing import Any

import pytest

from solvent.account.ledger import node
from solvent.engine import margin_of_orders
from solvent.engine.dealing import VALUE_MAX, leg
from solvent.engine.open_orders import Asked
from solvent.errors import Refused, Reject
from solvent.limits import LOTS_MAX
from solvent.messages import commands as c
from solvent.messages.events import OrderReduced, OrderRested, PositionChanged, Posted
from solvent.messages.fields import MarginMode, Phase, Side
from solvent.orders import refusals
from tests.venues import (
    BTC,
    CALL,
    COIN,
    DOLLAR,
    EXPIRY,
    FUT,
    INV,
    LIN,
    PUT,
    QUANTO,
    SPREAD,
    T0,
    Venue,
    listing,
    new_venue,
)

ALL = 10_000 * DOLLAR
A, B = node(16, 0, 0), node(17, 0, 0)


@pytest.fixture
def venue() -> Venue:
    return new_venue()


def order(**changes: Any) -> dict[str, Any]:
    told = {"account": "alice", "order": "o", "symbol": LIN, "side": Side.BUY, "lots": 10,
            "price_ticks": 50_000}  # fmt: skip
    return {**told, **changes}


def deal(**changes: Any) -> dict[str, Any]:
    told = {"buyer": "alice", "seller": "bob", "symbol": LIN, "lots": 10, "price_ticks": 50_000,
            "aggressor": None}  # fmt: skip
    return {**told, **changes}


# ── gains and premiums ───────────────────────────────────────────────────────────────────────────


def test_opening_moves_no_money(venue: Venue) -> None:
    found = venue.tell(c.Trade, **deal())
    assert found.events == (
        PositionChanged(16, 0, 10, 5_000_000, 5_000_000, 0),
        PositionChanged(17, 0, -10, -5_000_000, -5_000_000, 0),
    )
    assert venue.position("alice", LIN) == (10, 5_000_000, 5_000_000, 0)
    assert venue.contract(LIN).basis_total == 0
    assert venue.account("alice").positions == {0: venue.contract(LIN).holders[16]}


def test_closing_pays_the_gain(venue: Venue) -> None:
    venue.trade("alice", "bob", 10, 50_000)
    found = venue.tell(c.Trade, **deal(buyer="bob", seller="alice", price_ticks=51_000, lots=4))
    # Four lots of a thousandth, a thousand dollars up: 4 dollars, from who loses first.
    clearing = node(1, 16, 0)
    assert found.events == (
        PositionChanged(17, 0, -6, -3_000_000, -3_000_000, -4_000_000),
        PositionChanged(16, 0, 6, 3_000_000, 3_000_000, 4_000_000),
        Posted(((B, clearing, 4_000_000), (clearing, A, 4_000_000))),
    )
    assert (venue.held("alice"), venue.held("bob")) == (ALL + 4_000_000, ALL - 4_000_000)
    assert venue.position("alice", LIN) == (6, 3_000_000, 3_000_000, 4_000_000)
    venue.trade("bob", "alice", 6, 50_000)
    assert venue.position("alice", LIN) is None
    assert venue.account("alice").positions is None
    assert venue.contract(LIN).holders == {}


def test_who_loses_pays_first_on_either_side(venue: Venue) -> None:
    venue.trade("alice", "bob", 10, 50_000)
    found = venue.tell(c.Trade, **deal(buyer="bob", seller="alice", price_ticks=49_000, lots=4))
    clearing = node(1, 16, 0)
    assert found.events[-1] == Posted(((A, clearing, 4_000_000), (clearing, B, 4_000_000)))


def test_an_inverse_gain_is_in_coin(venue: Venue) -> None:
    # 1,000 dollars from 50,000 to 40,000: 0.02 coin become 0.025.
    venue.trade("alice", "bob", 100, 100_000, symbol=INV)
    venue.trade("bob", "alice", 100, 80_000, symbol=INV)
    assert venue.held("alice", BTC) == COIN - 5_000_000
    assert venue.held("bob", BTC) == COIN + 5_000_000


def test_a_quanto_gain_is_in_coin_at_a_fixed_rate(venue: Venue) -> None:
    # Three ether, 100 dollars up, at a millionth of a coin a dollar.
    venue.trade("alice", "bob", 3, 40_000, symbol=QUANTO)
    venue.trade("bob", "alice", 3, 42_000, symbol=QUANTO)
    assert venue.held("alice", BTC) == COIN + 300_000
    assert venue.held("bob", BTC) == COIN - 300_000


def test_an_options_premium_is_paid_at_once(venue: Venue) -> None:
    found = venue.tell(c.Trade, **deal(symbol=CALL, lots=3, price_ticks=1_000))
    # Three lots of a hundredth at 1,000 dollars.
    assert found.events == (
        PositionChanged(16, 3, 3, 30_000, 0, 0),
        PositionChanged(17, 3, -3, -30_000, 0, 0),
        Posted(((A, B, 30_000_000),)),
    )
    venue.trade("bob", "alice", 1, 1_500, symbol=CALL)
    assert venue.held("alice") == ALL - 30_000_000 + 15_000_000
    assert venue.position("alice", CALL) == (2, 20_000, 0, 5_000_000)
    venue.trade("alice", "bob", 2, 200, symbol=PUT)
    assert venue.held("alice", BTC) == COIN - 2 * 2_000_000


@pytest.mark.parametrize(
    ("rounding", "alice", "bob", "left"),
    [("against_account", -1, 0, 1), ("toward_zero", 0, 0, 0), ("half_even", -1, 1, 0)],
)
def test_a_gain_is_rounded_once_as_the_venue_says(
    rounding: str, alice: int, bob: int, left: int
) -> None:
    venue = new_venue(f'money_rounding = "{rounding}"')
    venue.trade("alice", "bob", 2, 50_000, symbol=FUT)
    venue.trade("alice", "bob", 1, 50_001, symbol=FUT)
    # Entry 1,500,010 for three: two close at 1,000,007, a gain of 7 tenths of a micro for bob.
    venue.trade("bob", "alice", 2, 50_000, symbol=FUT)
    assert venue.position("alice", FUT) == (1, 500_003, 500_003, alice)
    assert venue.position("bob", FUT) == (-1, -500_003, -500_003, bob)
    assert (venue.held("alice"), venue.held("bob")) == (ALL + alice, ALL + bob)
    assert (venue.held("rounding"), venue.clearing(FUT)) == (left, 0)


@pytest.mark.parametrize(
    ("rounding", "bob", "left"), [("against_account", 0, 0), ("half_even", 1, -1)]
)
def test_clearing_owes_what_is_at_stake_and_no_more(rounding: str, bob: int, left: int) -> None:
    venue = new_venue(f'money_rounding = "{rounding}"')
    venue.trade("alice", "bob", 2, 50_000, symbol=FUT)
    venue.trade("alice", "bob", 1, 50_001, symbol=FUT)
    venue.trade("bob", "carol", 2, 50_000, symbol=FUT)
    # Stakes are 1,500,010 - 500,003 - 1,000,000: 0.7 micro, owed as 0.
    assert venue.contract(FUT).basis_total == 7
    assert (venue.held("bob"), venue.held("rounding"), venue.clearing(FUT)) == (ALL + bob, left, 0)
    # Bob's last lot goes at 1,000 dollars more: he owes 0.001 dollars less 3 tenths of a micro.
    venue.trade("bob", "carol", 1, 51_000, symbol=FUT)
    assert venue.contract(FUT).basis_total == 1_500_010 - 1_510_000
    assert venue.clearing(FUT) == 999
    assert venue.held("bob") == ALL + bob - 1_000
    assert venue.held("rounding") == left + 1


def test_at_mark_a_closed_gain_waits() -> None:
    venue = new_venue('realise = "at_mark"')
    venue.trade("alice", "bob", 10, 50_000)
    venue.trade("bob", "alice", 10, 51_000)
    assert (venue.held("alice"), venue.held("bob")) == (ALL, ALL)
    assert venue.position("alice", LIN) == (0, 0, -100_000, 10_000_000)
    assert venue.position("bob", LIN) == (0, 0, 100_000, -10_000_000)
    assert venue.account("alice").positions is not None


def test_average_prices_in_whole_points() -> None:
    venue = new_venue('entry_price = "whole_points"')
    venue.trade("alice", "bob", 2, 50_000)
    venue.trade("alice", "bob", 1, 50_001)
    # 1,500,010 for three are 500,003 each.
    assert venue.position("alice", LIN) == (3, 1_500_009, 1_500_010, 0)
    assert venue.position("bob", LIN) == (-3, -1_500_009, -1_500_010, 0)
    # Gains by the average and by what was paid differ, and each is rounded.
    venue.trade("bob", "alice", 3, 50_001)
    assert venue.held("alice") == ALL + 20 * 100
    assert venue.held("bob") == ALL - 20 * 100


# ── refusals of a trade, in order ────────────────────────────────────────────────────────────────


def test_trades_are_refused_by_contract_accounts_orders_limits(venue: Venue) -> None:
    for name in ("zero", "sum"):
        venue.open(name)
    told = deal(symbol="XYZ", buyer="zoe", seller="yan", buy_order="x", sell_order="y",
                lots=LOTS_MAX)  # fmt: skip
    steps = [
        (Reject.INSTRUMENT_UNKNOWN, "instrument 'XYZ': expected one that is listed",
         {"symbol": LIN}),
        (Reject.ACCOUNT_UNKNOWN, "account 'zoe': expected one that is open", {"buyer": "zero"}),
        (Reject.ACCOUNT_UNKNOWN, "account 'yan': expected one that is open", {"seller": "zero"}),
        (Reject.ACCOUNTS_THE_SAME, "account zero: expected another one on each side",
         {"seller": "sum"}),
        (Reject.ORDER_UNKNOWN, "order 'x' of account zero: expected a resting one",
         {"buy_order": None}),
        (Reject.ORDER_UNKNOWN, "order 'y' of account sum: expected a resting one",
         {"sell_order": None, "lots": LOTS_MAX, "price_ticks": 2**53}),
        (Reject.AMOUNT_TOO_LARGE,
         (f"account zero, {LIN}: expected values below {VALUE_MAX}, found "
         f"({LOTS_MAX * 2**53 * 10}, {LOTS_MAX * 2**53 * 10}, 0, 0, 0)"),
         {"lots": 10, "price_ticks": 50_000}),
        (Reject.MARGIN_INSUFFICIENT,
         ("account zero: expected equity of at least its initial margin by tenth, 50000000 micro, "
         "found 0"), {"buyer": "alice"}),
        (Reject.MARGIN_INSUFFICIENT,
         ("account sum: expected equity of at least its initial margin by tenth, 50000000 micro, "
         "found 0"), {"seller": "bob"}),
    ]  # fmt: skip
    for code, detail, change in steps:
        venue.refuse(code, detail, c.Trade, **told)
        told.update(change)  # type: ignore[call-overload]
    venue.do(c.Trade, **told)


def test_a_contract_that_is_halted_expired_or_over(venue: Venue) -> None:
    venue.do(c.SetPhase, symbol=FUT, phase=Phase.HALTED)
    venue.time_ms = EXPIRY - 1
    halted = f"instrument {FUT}: expected trading, found it halted"
    told = deal(symbol=FUT)
    resting = order(symbol=FUT)
    venue.refuse(Reject.INSTRUMENT_HALTED, halted, c.Trade, **told)
    venue.refuse(Reject.INSTRUMENT_HALTED, halted, c.PlaceOrder, **resting)
    venue.do(c.SetPhase, symbol=FUT, phase=Phase.AUCTION)
    venue.publish()
    venue.trade("alice", "bob", 1, 50_000, symbol=FUT)
    venue.time_ms = EXPIRY
    expired = f"instrument {FUT}: expected a time before {EXPIRY}, found {EXPIRY}"
    venue.refuse(Reject.INSTRUMENT_EXPIRED, expired, c.Trade, **told)
    venue.refuse(Reject.INSTRUMENT_EXPIRED, expired, c.PlaceOrder, **resting)
    venue.do(c.SetPhase, symbol=FUT, phase=Phase.HALTED)
    venue.refuse(Reject.INSTRUMENT_HALTED, halted, c.Trade, **told)
    venue.do(c.SettleExpiry, symbol=FUT)
    over = f"instrument {FUT}: expected one that is traded, found expired"
    venue.refuse(Reject.INSTRUMENT_CLOSED, over, c.Trade, **told)
    venue.refuse(Reject.INSTRUMENT_CLOSED, over, c.PlaceOrder, **resting)


def test_positions_and_values_have_limits_on_either_side(venue: Venue) -> None:
    """Worked out by hand, as no venue has the margin for it."""
    contract, alice, bob = venue.contract(FUT), venue.account("alice"), venue.account("bob")
    told: dict[str, Any] = {"points": 1, "premium": 0}
    for sign in (1, -1):
        one = leg(venue.state, contract, alice, lots=sign * LOTS_MAX, **told)
        assert one.change.lots == sign * LOTS_MAX
        with pytest.raises(Refused) as fault:
            leg(venue.state, contract, bob, lots=sign * (LOTS_MAX + 1), **told)
        assert fault.value.code == Reject.POSITION_TOO_LARGE
        assert fault.value.detail == (
            f"account bob, {FUT}: expected at most {LOTS_MAX} lots, found {sign * (LOTS_MAX + 1)}"
        )
    assert VALUE_MAX == 2**60
    for sign in (1, -1):
        most: dict[str, Any] = {"points": 2**60 - 1, "premium": 0}
        assert leg(venue.state, contract, alice, lots=sign, **most).change.lots == sign
        with pytest.raises(Refused) as fault:
            leg(venue.state, contract, bob, lots=sign, points=2**60, premium=0)
        assert fault.value.code == Reject.AMOUNT_TOO_LARGE
        assert fault.value.detail == (
            f"account bob, {FUT}: expected values below {2**60}, found "
            f"({sign * 2**60}, {sign * 2**60}, 0, 0, 0)"
        )
    with pytest.raises(Refused) as fault:
        leg(venue.state, contract, bob, lots=1, points=1, premium=2**60)
    assert fault.value.detail.endswith(f"found (1, 1, 0, 0, {2**60})")


def test_a_leg_knows_how_it_changes_a_position(venue: Venue) -> None:
    contract, alice = venue.contract(LIN), venue.account("alice")
    cases = [
        # held, traded: reduces, opened
        (0, 5, False, 5), (5, 5, False, 5), (5, -2, True, 0), (5, -5, True, 0), (5, -9, False, 4),
        (5, -11, False, 6), (-5, 5, True, 0), (-5, 2, True, 0), (-5, 10, False, 5),
        (-5, -1, False, 1), (5, -8, False, 3),
    ]  # fmt: skip
    for held, lots, reduces, opened in cases:
        one = leg(venue.state, contract, alice, lots=lots, points=10, premium=0,
                  held=(held, held * 10, held * 10))  # fmt: skip
        assert (one.before_lots, one.before_basis) == (held, held * 10)
        assert (one.reduces, one.opened_lots) == (reduces, opened)


# ── margin ───────────────────────────────────────────────────────────────────────────────────────


def test_margin_to_the_last_micro(venue: Venue) -> None:
    # 5 dollars of margin a lot: 60,000 dollars bear 12,000 lots.
    venue.open("dave", usdc=60_000)
    venue.trade("dave", "insurance", 12_000, 50_000)
    venue.refuse(
        Reject.MARGIN_INSUFFICIENT,
        "account dave: expected equity of at least its initial margin by tenth, 60005000000 "
        "micro, found 60000000000",
        c.Trade, **deal(buyer="dave", seller="insurance", lots=1),
    )  # fmt: skip
    # What is worse than the mark is lost at once: a tick of a lot is a thousandth of a dollar.
    venue.do(c.Deposit, account="dave", asset="USDC", amount=5_000_000)
    worse = deal(buyer="dave", seller="insurance", lots=1, price_ticks=50_001)
    assert venue.tell(c.Trade, **worse).code == Reject.MARGIN_INSUFFICIENT
    venue.trade("dave", "insurance", 1, 50_000)


def short_of_margin(venue: Venue) -> None:
    """Alice holds 2,000 lots and has 4,000 dollars, where 10,000 are asked."""
    venue.trade("alice", "bob", 2_000, 50_000)
    venue.do(c.Transfer, source="alice", target="bob", asset="BTC", amount=COIN)
    venue.quote(LIN=470_000)
    venue.adopt(house_of(venue))
    venue.state.ledger.move(A, B, 6_000 * DOLLAR)
    venue.state.ledger.take_posted()


def house_of(venue: Venue) -> str:
    return f'reducing = "{venue.state.house.reducing}"'


@pytest.mark.parametrize("reducing", ["position", "margin", "none"])
def test_what_is_let_through_below_initial_margin(reducing: str) -> None:
    venue = new_venue(f'reducing = "{reducing}"')
    short_of_margin(venue)
    sell = deal(buyer="bob", seller="alice", lots=1)
    lacks = (
        "account alice: expected equity of at least its initial margin by tenth, {} micro, found "
        "4000000000"
    )
    if reducing == "none":
        venue.refuse(Reject.MARGIN_INSUFFICIENT, lacks.format(9_995_000_000), c.Trade, **sell)
    else:
        venue.do(c.Trade, **sell)
    held = 2_000 if reducing == "none" else 1_999
    # To buy more is never let through, nor to turn the position round.
    venue.refuse(
        Reject.MARGIN_INSUFFICIENT, lacks.format((held + 1) * 5_000_000),
        c.Trade, **deal(lots=1),
    )  # fmt: skip
    flip = {**sell, "lots": held + 801}
    if reducing != "margin":
        venue.refuse(Reject.MARGIN_INSUFFICIENT, lacks.format(4_005_000_000), c.Trade, **flip)
    # All of it is a reduction too.
    if reducing != "none":
        venue.do(c.Trade, **{**sell, "lots": held})
        assert venue.position("alice", LIN) is None


@pytest.mark.parametrize(
    ("reducing", "done"), [("position", True), ("margin", True), ("none", False)]
)
def test_reducing_where_nothing_is_known(reducing: str, done: bool) -> None:
    venue = new_venue(f'reducing = "{reducing}"')
    venue.trade("alice", "bob", 10, 50_000)
    venue.time_ms = T0 + 60_001
    unknown = "account {}: expected known risk, found none by tenth"
    both = deal(buyer="bob", seller="alice", lots=10)
    if done:
        venue.do(c.Trade, **both)
    else:
        venue.refuse(Reject.RISK_UNKNOWN, unknown.format("bob"), c.Trade, **both)
    venue.refuse(Reject.RISK_UNKNOWN, unknown.format("alice"), c.Trade, **deal())
    # The seller is looked at after the buyer, who only reduces.
    if not done:
        return
    venue.time_ms = T0 + 60_001
    venue.publish()
    venue.trade("alice", "bob", 10, 50_000)
    venue.time_ms += 60_001
    told = deal(buyer="bob", seller="carol", lots=5)
    venue.refuse(Reject.RISK_UNKNOWN, unknown.format("carol"), c.Trade, **told)


def test_a_trade_that_raises_no_margin_by_margin() -> None:
    venue = new_venue('reducing = "margin"')
    short_of_margin(venue)
    # A flip to as many short lots leaves the margin as it is; one more raises it.
    told = deal(buyer="bob", seller="alice", lots=4_001)
    assert venue.tell(c.Trade, **told).code == Reject.MARGIN_INSUFFICIENT
    venue.do(c.Trade, **{**told, "lots": 4_000})
    assert venue.position("alice", LIN) == (-2_000, -1_000_000_000, -1_000_000_000, 0)


def test_contracts_of_which_nothing_is_known(venue: Venue) -> None:
    venue.refuse(
        Reject.RISK_UNKNOWN, "account alice: expected known risk, found none by tenth",
        c.Trade, **deal(symbol=SPREAD, price_ticks=3_000),
    )  # fmt: skip
    venue.do(c.ListInstrument, **fields(listing("NEW")))
    venue.refuse(
        Reject.RISK_UNKNOWN, "account alice: expected known risk, found none by tenth",
        c.Trade, **deal(symbol="NEW"),
    )  # fmt: skip


def fields(command: Any) -> dict[str, Any]:
    return {
        name: getattr(command, name)
        for name in command.__struct_fields__
        if name not in ("key", "actor")
    }


# ── statuses ─────────────────────────────────────────────────────────────────────────────────────


def test_a_frozen_account_may_only_reduce(venue: Venue) -> None:
    venue.trade("alice", "bob", 10, 50_000)
    venue.do(c.FreezeAccount, account="alice", reason="")
    frozen = "account alice: expected an active one, found frozen"
    venue.refuse(Reject.ACCOUNT_FROZEN, frozen, c.Trade, **deal(lots=1))
    sell = deal(buyer="bob", seller="alice")
    venue.refuse(Reject.ACCOUNT_FROZEN, frozen, c.Trade, **{**sell, "lots": 11})
    venue.refuse(Reject.ACCOUNT_FROZEN, frozen, c.PlaceOrder, **order())
    venue.refuse(Reject.ACCOUNT_FROZEN, frozen, c.PlaceOrder, **order(side=Side.SELL, lots=11))
    venue.do(c.PlaceOrder, **order(side=Side.SELL))
    venue.do(c.Trade, **{**sell, "lots": 9})
    venue.do(c.Trade, **{**sell, "lots": 1})


def test_an_account_under_liquidation_trades_and_orders_nothing(venue: Venue) -> None:
    venue.trade("alice", "bob", 10, 50_000)
    venue.wind_up("alice")
    status = "account alice: expected an active one, found under liquidation"
    code = Reject.ACCOUNT_IN_LIQUIDATION
    venue.refuse(code, status, c.Trade, **deal(buyer="bob", seller="alice", lots=1))
    venue.refuse(code, status, c.PlaceOrder, **order(side=Side.SELL))
    venue.refuse(code, status, c.PlaceOrder, **order())


# ── the insurance fund as a trader ───────────────────────────────────────────────────────────────


def test_the_fund_needs_no_margin_but_must_pay(venue: Venue) -> None:
    venue.trade("insurance", "bob", 1, 50_000)
    told = deal(buyer="bob", seller="insurance", lots=1, price_ticks=49_999)
    venue.refuse(
        Reject.FUND_INSUFFICIENT, f"insurance fund: expected 1000 for {LIN}, found 0",
        c.Trade, **told,
    )  # fmt: skip
    venue.do(c.Deposit, account="insurance", asset="USDC", amount=999)
    venue.refuse(
        Reject.FUND_INSUFFICIENT, f"insurance fund: expected 1000 for {LIN}, found 999",
        c.Trade, **told,
    )  # fmt: skip
    venue.do(c.Deposit, account="insurance", asset="USDC", amount=1)
    venue.do(c.Trade, **told)
    assert venue.held("insurance") == 0
    told = deal(buyer="insurance", seller="bob", symbol=CALL, lots=1, price_ticks=1)
    venue.refuse(
        Reject.FUND_INSUFFICIENT, f"insurance fund: expected 10000 for {CALL}, found 0",
        c.Trade, **told,
    )  # fmt: skip


# ── orders ───────────────────────────────────────────────────────────────────────────────────────


def test_an_order_rests_and_goes(venue: Venue) -> None:
    found = venue.tell(c.PlaceOrder, **order(side=Side.SELL))
    desk = venue.state.desk
    assert found.events == (OrderRested(16, "o", 0, -10, 50_000, -10),)
    assert desk.order_count(0) == 1
    venue.do(c.PlaceOrder, **order(order="p"))
    assert desk.order_count(0) == 2
    orders = venue.state.orders_of(16)
    assert [(name, o.instrument, o.lots, o.price_ticks) for name, o in orders.items()] == [
        ("o", 0, -10, 50_000), ("p", 0, 10, 50_000)
    ]  # fmt: skip
    assert venue.do(c.CancelOrder, account="alice", order="o") == (gone(16, "o"),)
    assert desk.order_count(0) == 1
    assert venue.do(c.CancelOrder, account="alice", order="p") == (gone(16, "p"),)
    assert dict(venue.state.orders_of(16)) == {}
    assert desk.order_count(0) == 0


def gone(account: int, name: str) -> OrderReduced:
    return OrderReduced(account, name, 0, 0, "cancelled")


def filled(account: int, name: str, left: int) -> OrderReduced:
    return OrderReduced(account, name, left, left, "filled")


def test_an_order_is_filled_in_parts(venue: Venue) -> None:
    venue.do(c.PlaceOrder, **order())
    venue.do(c.PlaceOrder, **order(account="bob", order="s", side=Side.SELL, lots=4))
    events = venue.trade("alice", "bob", 4, 50_000, buy_order="o", sell_order="s")
    assert events[2:] == (filled(16, "o", 6), filled(17, "s", 0))
    assert dict(venue.state.orders_of(17)) == {}
    events = venue.trade("alice", "bob", 6, 49_999, buy_order="o")
    assert events[2:] == (filled(16, "o", 0),)
    assert venue.state.desk.order_count(0) == 0
    venue.do(c.PlaceOrder, **order(side=Side.SELL))
    events = venue.trade("bob", "alice", 3, 50_001, sell_order="o")
    assert events[2:] == (filled(16, "o", -7),)


@pytest.mark.parametrize(
    ("side", "changes"),
    [
        (Side.BUY, {"symbol": FUT}), (Side.BUY, {"lots": 11}), (Side.BUY, {"price_ticks": 50_001}),
        (Side.SELL, {"symbol": FUT}), (Side.SELL, {"lots": 11}),
        (Side.SELL, {"price_ticks": 49_999}),
    ],
)  # fmt: skip
def test_an_order_fills_such_a_trade_alone(side: Side, changes: dict[str, Any]) -> None:
    venue = new_venue()
    venue.do(c.PlaceOrder, **order(side=side))
    bought = side is Side.BUY
    named = {"buy_order": "o"} if bought else {"sell_order": "o", "buyer": "bob", "seller": "alice"}
    told = deal(**named)
    wrong = {**told, **changes}
    lots = 10 if bought else -10
    venue.refuse(
        Reject.ORDER_MISMATCHED,
        f"order o of account alice: expected one to {side.value} at least {wrong['lots']} lots of "
        f"{wrong['symbol']} at {wrong['price_ticks']} ticks, found {lots} at 50000",
        c.Trade, **wrong,
    )  # fmt: skip
    # An order of the other side is none either.
    other = {"sell_order": "o", "buyer": "bob", "seller": "alice"} if bought else {"buy_order": "o"}
    assert venue.tell(c.Trade, **deal(**other)).code == Reject.ORDER_MISMATCHED
    venue.do(c.Trade, **told)


def test_orders_are_margined_beside_all_else(venue: Venue) -> None:
    venue.open("dave", usdc=100)
    # 20 lots need 100 dollars, whether held or ordered.
    venue.trade("dave", "bob", 5, 50_000)
    venue.do(c.PlaceOrder, **order(account="dave", lots=14))
    lacks = (
        "account dave: expected equity of at least its initial margin by tenth, 105000000 micro, "
        "found 100000000"
    )
    venue.refuse(
        Reject.MARGIN_INSUFFICIENT, lacks, c.PlaceOrder, **order(account="dave", order="p", lots=2)
    )
    venue.do(c.PlaceOrder, **order(account="dave", order="p", lots=1))
    venue.refuse(Reject.MARGIN_INSUFFICIENT, lacks, c.Trade, **deal(buyer="dave", lots=1))


def test_orders_are_refused_by_contract_account_name_status(venue: Venue) -> None:
    venue.do(c.PlaceOrder, **order())
    told = order(symbol="XYZ", account="zoe")
    venue.refuse(
        Reject.INSTRUMENT_UNKNOWN, "instrument 'XYZ': expected one that is listed",
        c.PlaceOrder, **told,
    )  # fmt: skip
    told["symbol"] = LIN
    venue.refuse(
        Reject.ACCOUNT_UNKNOWN, "account 'zoe': expected one that is open", c.PlaceOrder, **told
    )
    told["account"] = "insurance"
    venue.refuse(
        Reject.ACCOUNT_NOT_FOR_THIS, "account insurance: expected a user's, found the venue's own",
        c.PlaceOrder, **told,
    )  # fmt: skip
    venue.do(c.FreezeAccount, account="alice", reason="")
    venue.refuse(
        Reject.ORDER_DUPLICATED,
        "order 'o' of account 16: expected a name that is free, found an order of that name at "
        "rest",
        c.PlaceOrder, **order(),
    )  # fmt: skip
    venue.refuse(
        Reject.ACCOUNT_UNKNOWN, "account 'zoe': expected one that is open",
        c.CancelOrder, account="zoe", order="o",
    )  # fmt: skip
    venue.refuse(
        Reject.ORDER_UNKNOWN, "order 'q' of account 16: expected one that rests or waits",
        c.CancelOrder, account="alice", order="q",
    )  # fmt: skip
    venue.refuse(
        Reject.ORDER_UNKNOWN, "order 'o' of account 17: expected one that rests or waits",
        c.CancelOrder, account="bob", order="o",
    )  # fmt: skip
    venue.do(c.CancelOrder, account="alice", order="o")


def test_orders_have_limits(venue: Venue, monkeypatch: pytest.MonkeyPatch) -> None:
    assert refusals.ORDERS_MAX == 10_000
    monkeypatch.setattr(refusals, "ORDERS_MAX", 2)
    venue.do(c.PlaceOrder, **order(order="1"))
    venue.do(c.PlaceOrder, **order(order="2", side=Side.SELL))
    venue.refuse(
        Reject.CAPACITY_REACHED,
        "order '3' of account 16: expected fewer than 2 others, found 2",
        c.PlaceOrder, **order(order="3"),
    )  # fmt: skip
    venue.do(c.CancelOrder, account="alice", order="2")
    venue.refuse(
        Reject.POSITION_TOO_LARGE,
        f"order '3' of account 16: expected at most {LOTS_MAX} lots with all others that rest, "
        f"found {LOTS_MAX + 1}",
        c.PlaceOrder, **order(order="3", lots=LOTS_MAX - 9, side=Side.SELL),
    )  # fmt: skip
    # As many as that are too many to be worth a known number.
    told = order(order="3", lots=LOTS_MAX - 10, side=Side.SELL)
    assert venue.tell(c.PlaceOrder, **told).code == Reject.RISK_UNKNOWN


def test_an_order_that_only_reduces_is_let_through(venue: Venue) -> None:
    venue.trade("alice", "bob", 10, 50_000)
    venue.trade("alice", "bob", 1, 50_000, symbol=FUT)
    venue.time_ms = T0 + 60_001
    unknown = "account alice: expected known risk, found none by tenth"
    venue.refuse(Reject.RISK_UNKNOWN, unknown, c.PlaceOrder, **order(lots=1))
    venue.refuse(Reject.RISK_UNKNOWN, unknown, c.PlaceOrder, **order(side=Side.SELL, lots=11))
    venue.do(c.PlaceOrder, **order(side=Side.SELL, lots=6))
    # What is ordered on the same side of the same contract counts; elsewhere it does not.
    venue.refuse(
        Reject.RISK_UNKNOWN, unknown, c.PlaceOrder, **order(order="p", side=Side.SELL, lots=5)
    )
    venue.do(c.PlaceOrder, **order(order="f", side=Side.SELL, symbol=FUT, lots=1))
    venue.do(c.PlaceOrder, **order(order="p", side=Side.SELL, lots=4))
    venue.refuse(
        Reject.RISK_UNKNOWN, unknown, c.PlaceOrder, **order(order="q", side=Side.SELL, lots=1)
    )
    venue.do(c.PlaceOrder, **order(account="bob", lots=10))
    # Nothing held in it, nothing to reduce.
    venue.refuse(
        Reject.RISK_UNKNOWN, unknown.replace("alice", "carol"),
        c.PlaceOrder, **order(account="carol", side=Side.SELL, lots=1),
    )  # fmt: skip


@pytest.mark.parametrize("reducing", ["margin", "none"])
def test_elsewhere_a_reducing_order_is_margined(reducing: str) -> None:
    venue = new_venue(f'reducing = "{reducing}"')
    venue.trade("alice", "bob", 10, 50_000)
    venue.time_ms = T0 + 60_001
    unknown = "account alice: expected known risk, found none by tenth"
    # What makes the position smaller does not raise margin either, whatever the market: as a trade
    # it would be let through too.
    if reducing == "margin":
        venue.do(c.PlaceOrder, **order(side=Side.SELL, lots=9))
        venue.do(c.PlaceOrder, **order(order="p", side=Side.SELL, lots=1))
    more = order(order="q", side=Side.SELL, lots=1 if reducing == "none" else 2)
    venue.refuse(Reject.RISK_UNKNOWN, unknown, c.PlaceOrder, **more)
    venue.refuse(Reject.RISK_UNKNOWN, unknown, c.PlaceOrder, **{**more, "lots": 11})


# ── isolated positions ───────────────────────────────────────────────────────────────────────────


def isolate(venue: Venue, name: str, leverage: str = "5", symbol: str = LIN) -> None:
    venue.do(c.SetMarginMode, account=name, symbol=symbol, mode=MarginMode.ISOLATED,
             leverage=leverage)  # fmt: skip


def test_an_isolated_position_takes_its_margin_along(venue: Venue) -> None:
    isolate(venue, "alice")
    # Ten lots are 500 dollars: a fifth of it is 100.
    venue.trade("alice", "bob", 10, 50_000)
    assert (venue.held("alice"), venue.margin("alice", LIN)) == (ALL - 100_000_000, 100_000_000)
    # Four close at 52,000: 8 dollars of gain go to the margin, of which four tenths come back.
    venue.trade("bob", "alice", 4, 52_000)
    assert venue.margin("alice", LIN) == 108_000_000 - 43_200_000
    assert venue.held("alice") == ALL - 100_000_000 + 43_200_000
    # Two more at 40,000 for what is opened by the average price of all: 380 / 8 each, a fifth.
    venue.trade("alice", "bob", 2, 40_000)
    assert venue.margin("alice", LIN) == 64_800_000 + 19_000_000
    # All of it goes, and all of it comes back.
    venue.trade("bob", "alice", 8, 47_500)
    assert (venue.held("alice"), venue.margin("alice", LIN)) == (ALL + 8_000_000, 0)


def test_a_share_of_the_margin_is_rounded_down_and_what_is_needed_up(venue: Venue) -> None:
    isolate(venue, "alice", "7")
    venue.trade("alice", "bob", 3, 50_000)
    # 150 dollars over 7 are 21.428571 4...
    assert venue.margin("alice", LIN) == 21_428_572
    venue.trade("bob", "alice", 1, 50_000)
    assert venue.margin("alice", LIN) == 21_428_572 - 7_142_857


def test_a_flip_frees_all_margin_and_takes_that_of_the_rest(venue: Venue) -> None:
    isolate(venue, "alice")
    venue.trade("alice", "bob", 10, 50_000)
    venue.trade("bob", "alice", 15, 51_000)
    # Five lots short at 51,000 need 51 dollars; ten gained 10.
    assert venue.margin("alice", LIN) == 51_000_000
    assert venue.held("alice") == ALL + 10_000_000 - 51_000_000
    # A flip to more lots than were held.
    venue.trade("alice", "bob", 20, 51_000)
    assert venue.margin("alice", LIN) == 153_000_000
    assert venue.held("alice") == ALL + 10_000_000 - 153_000_000
    assert venue.position("alice", LIN) == (15, 7_650_000, 7_650_000, 10_000_000)


def test_a_flip_to_as_many_lots(venue: Venue) -> None:
    isolate(venue, "alice")
    venue.trade("alice", "bob", 10, 50_000)
    venue.trade("bob", "alice", 20, 50_000)
    assert venue.margin("alice", LIN) == 100_000_000
    assert venue.position("alice", LIN) == (-10, -5_000_000, -5_000_000, 0)


def test_an_isolated_loss_is_paid_by_its_own_margin(venue: Venue) -> None:
    isolate(venue, "alice")
    venue.trade("alice", "bob", 10, 50_000)
    # Ten lots lose 100 dollars at 40,000.
    told = deal(buyer="bob", seller="alice", price_ticks=39_999)
    venue.refuse(
        Reject.ISOLATED_MARGIN_INSUFFICIENT,
        f"account alice, {LIN}: expected a margin of 100010000 to pay its loss, found 100000000",
        c.Trade, **told,
    )  # fmt: skip
    venue.do(c.Trade, **{**told, "price_ticks": 40_000})
    assert (venue.held("alice"), venue.margin("alice", LIN)) == (ALL - 100_000_000, 0)


def test_the_margin_comes_from_money_that_is_there(venue: Venue) -> None:
    isolate(venue, "alice", "1")
    # 200 lots cost 10,000 dollars, which is all there is; coin does not count.
    venue.refuse(
        Reject.BALANCE_INSUFFICIENT,
        f"account alice, {LIN}: expected 10050000000 for its margin and fees, found {ALL}",
        c.Trade, **deal(lots=201),
    )  # fmt: skip
    venue.trade("alice", "bob", 200, 50_000)
    assert (venue.held("alice"), venue.margin("alice", LIN)) == (0, ALL)


def test_the_pools_margin_must_be_enough(venue: Venue) -> None:
    isolate(venue, "alice", "10")
    # A tenth of the entry value is a tenth of what the index says where they are the same.
    venue.trade("alice", "bob", 10, 50_000)
    assert venue.margin("alice", LIN) == 50_000_000
    # Below the index there is less margin, and a gain that has not been paid.
    venue.trade("alice", "bob", 10, 49_000)
    assert venue.margin("alice", LIN) == 99_500_000
    # Above it the loss is there at once: a third of it would have to come from elsewhere.
    found = venue.tell(c.Trade, **deal(price_ticks=55_000, lots=10))
    assert found.code == Reject.MARGIN_INSUFFICIENT


def test_what_an_order_reduces_to_the_last_lot(venue: Venue) -> None:
    alice = venue.account("alice")

    def reduces(lots: int) -> bool:
        asked = Asked(0, lots, 50_000)
        return margin_of_orders._only_reduces(venue.state, alice, None, asked)

    assert not reduces(1)
    venue.trade("alice", "bob", 2, 50_000)
    assert [reduces(lots) for lots in (-1, -2, -3, 1, 2)] == [True, True, False, False, False]
    venue.do(c.PlaceOrder, **order(order="a", side=Side.SELL, lots=1))
    venue.do(c.PlaceOrder, **order(order="b", side=Side.BUY, lots=1))
    assert [reduces(lots) for lots in (-1, -2)] == [True, False]
    venue.trade("bob", "alice", 2, 50_000)
    assert not reduces(-1)
