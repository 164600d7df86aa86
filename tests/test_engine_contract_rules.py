"""Contracts ruled by themselves, under a rulebook of round numbers: a tenth is needed of what is
held and ordered, a twentieth at least; an isolated position has its factor of everything."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from solvent.engine import contract_rules
from solvent.engine.image import image, restore
from solvent.errors import Refused, Reject
from solvent.messages import commands as c
from solvent.messages.events import (
    FeePaid,
    ModeChanged,
    OrderReduced,
    OrderRested,
    Posted,
    VariationSettled,
)
from solvent.messages.fields import CoverFrom, MarginMode, MarkPrice, OpeningPosition, Phase, Side
from tests.venues import (
    COIN,
    DAY,
    DOLLAR,
    EXPIRY,
    FUT,
    INV,
    LIN,
    NANO,
    PUT,
    T0,
    TENTH,
    Venue,
    engine_text,
    listing,
    new_venue,
)

ALL = 10_000 * DOLLAR
ISOLATED = MarginMode.ISOLATED
INPUTS = {
    "contract": ("margin_factor", "margin_balance", "order_margin_balance"),
    "account": ("general_balance",),
    "order": ("filled", "fill_price", "aggressive", "trade"),
}
COLUMNS = """
value    = "position.sum(abs(size) * mark)"
entry    = "position.sum(abs(size) * entry_price)"
ordered  = "order.sum(size * price)"
needs    = "share * (value + ordered)"
isolated = "margin_factor > 0"

topped_up  = "max(needs - margin_balance, 0)"
filled_up  = "where(margin_balance < 0.5 * needs, needs - margin_balance, 0)"
given_back = "where(margin_balance > 2 * needs, margin_balance - needs, 0)"
distressed = "margin_balance + where(isolated, 0, account.general_balance) < low.share * value"

own            = "account.general_balance"
orders_need    = "order_margin - order_margin_balance"
order_accepted = "where(isolated, orders_need <= own, margin_balance + own >= needs)"
order_margin   = "margin_factor * ordered"
orders_stopped = "isolated and order_margin > 2 * order_margin_balance"

switched_margin = "margin_factor * where(entry > 0, entry, value)"
switched_orders = "margin_factor * ordered"
switch_needs    = "switched_margin + switched_orders - margin_balance - order_margin_balance"
switch_accepted = "margin_factor >= 0.1 and switch_needs <= own"

fills         = "order.sum(filled * fill_price)"
closes        = "value > 0 and order.any(filled > 0 and not buy)"
rested        = "order.sum(where(aggressive, 0, filled * fill_price))"
dearer        = "order.sum(filled * fill_price * where(buy, 1, 1.1))"
filled_margin = "where(closes, 0, margin_balance + margin_factor * dearer)"
filled_orders = "min(order_margin_balance - margin_factor * rested, margin_factor * ordered)"
fill_accepted = "fills < 2000"
"""
TABLE = """
[tables.low]
by    = "underlying"
about = "below which share of its value a contract is distressed"

[[tables.low.rows]]
keys      = ["*"]
effective = 2020-01-01
source    = "these tests"
values    = { share = 0.05 }
"""
HOOKS = """
[engine.contract]
top_up          = "topped_up"
fill_up         = "filled_up"
give_back       = "given_back"
distressed      = "distressed"
order_accepted  = "order_accepted"
order_margin    = "order_margin"
orders_stopped  = "orders_stopped"
switch_accepted = "switch_accepted"
switch_margin   = "switched_margin"
switch_orders   = "switched_orders"
fill_accepted   = "fill_accepted"
fill_margin     = "filled_margin"
fill_orders     = "filled_orders"
"""


def _inputs() -> str:
    parts = [
        f'[inputs.{level}.{name}]\nabout = "told"\ndefault = 0'
        for level, names in INPUTS.items()
        for name in names
    ]
    return "\n".join(parts)


@cache
def _image(engine: str) -> bytes:
    venue = new_venue()
    toml = TENTH.replace("[at.contract]\n", f"{_inputs()}\n[at.contract]\n{COLUMNS}\n")
    toml = toml.replace("[levels]", "[parameters]\nshare = 0.1\n\n[levels]") + TABLE
    toml = engine_text(toml, engine + HOOKS)
    venue.do(c.AdoptRulebook, name="tenth", toml=toml, day=DAY, venue=True)
    venue.open("dave", usdc=100)
    return image(venue.state)


def by_contract(engine: str = "") -> Venue:
    """The venue of other tests, and dave with 100 dollars, each contract with its own margin."""
    return Venue(restore(_image(engine)))


@pytest.fixture
def venue() -> Venue:
    return by_contract()


def money(venue: Venue, name: str, symbol: str = LIN) -> tuple[int, int, int]:
    """Margin, what is reserved for orders, and general, in cents of a dollar."""
    amounts = venue.margin(name, symbol), venue.reserved(name, symbol), venue.held(name)
    cents = tuple(amount / 10**4 for amount in amounts)
    assert all(amount % 10**4 == 0 for amount in amounts), amounts
    return cents  # type: ignore[return-value]


def deal(**changes: Any) -> dict[str, Any]:
    told = {"buyer": "dave", "seller": "bob", "symbol": LIN, "lots": 10, "price_ticks": 50_000,
            "aggressor": Side.BUY}  # fmt: skip
    return {**told, **changes}


def order(**changes: Any) -> dict[str, Any]:
    told = {"account": "dave", "order": "o", "symbol": LIN, "side": Side.BUY, "lots": 10,
            "price_ticks": 50_000}  # fmt: skip
    return {**told, **changes}


def mark(venue: Venue, points: int, symbol: str = LIN) -> None:
    venue.do(c.PublishMarket, index=(), marks=(MarkPrice(symbol, points, 0),))


def isolate(venue: Venue, name: str = "dave", factor: str = "0.2") -> tuple[Any, ...]:
    return venue.do(c.SetMarginMode, account=name, symbol=LIN, mode=ISOLATED, margin_factor=factor)


SHORT = (
    "account dave, " + LIN + ": expected the margin that the contract needs, found {} in its "
    "margin, {} for its orders and {} in general, in smallest units of USDC"
)

# ── cross ────────────────────────────────────────────────────────────────────────────────────────


def test_a_trade_fills_the_margin_up(venue: Venue) -> None:
    venue.trade("dave", "bob", 10, 50_000)
    assert money(venue, "dave") == (5_000, 0, 5_000)
    assert money(venue, "bob") == (5_000, 0, 995_000)
    # What reduces frees nothing before the next mark; what is gone frees all.
    venue.trade("bob", "dave", 4, 50_000)
    assert money(venue, "dave") == (5_000, 0, 5_000)
    venue.trade("bob", "dave", 6, 50_000)
    assert money(venue, "dave") == (0, 0, 10_000)


def test_a_trade_needs_its_margin(venue: Venue) -> None:
    venue.refuse(
        Reject.MARGIN_INSUFFICIENT, SHORT.format(0, 0, 100 * DOLLAR), c.Trade, **deal(lots=21)
    )
    venue.do(c.Trade, **deal(lots=20))
    assert money(venue, "dave") == (10_000, 0, 0)
    venue.refuse(
        Reject.MARGIN_INSUFFICIENT, SHORT.format(100 * DOLLAR, 0, 0), c.Trade, **deal(lots=1)
    )
    mark(venue, 600_000)
    venue.do(c.Trade, **deal(buyer="bob", seller="dave", lots=19))
    venue.refuse(
        Reject.MARGIN_INSUFFICIENT,
        SHORT.format(100 * DOLLAR, 0, 0), c.Trade, **deal(buyer="bob", seller="dave", lots=20),
    )  # fmt: skip


def test_without_a_mark_nothing_is_known(venue: Venue) -> None:
    venue.contract(LIN).mark_points = None
    found = venue.tell(c.Trade, **deal())
    assert found.code == Reject.RISK_UNKNOWN
    detail = found.events[0].detail  # type: ignore[attr-defined]
    assert detail.startswith("column contract.order_accepted: ")
    assert "mark" in detail


def test_orders_are_margined_with_what_is_held(venue: Venue) -> None:
    assert venue.do(c.PlaceOrder, **order()) == (OrderRested(20, "o", 0, 10, 50_000, 10),)
    assert money(venue, "dave") == (5_000, 0, 5_000)
    venue.refuse(
        Reject.MARGIN_INSUFFICIENT, SHORT.format(50 * DOLLAR, 0, 50 * DOLLAR),
        c.PlaceOrder, **order(order="p", lots=11),
    )  # fmt: skip
    venue.do(c.PlaceOrder, **order(order="p", lots=10))
    assert money(venue, "dave") == (10_000, 0, 0)
    # A resting order was admitted when it was placed, and is filled by what it brought.
    venue.do(c.Trade, **deal(buy_order="o"))
    assert money(venue, "dave") == (10_000, 0, 0)
    # What only reduces is let through.
    venue.do(c.PlaceOrder, **order(order="q", side=Side.SELL))
    venue.refuse(
        Reject.MARGIN_INSUFFICIENT, SHORT.format(100 * DOLLAR, 0, 0),
        c.PlaceOrder, **order(order="r", side=Side.SELL, lots=1),
    )  # fmt: skip
    venue.do(c.CancelOrder, account="dave", order="p")
    venue.do(c.CancelOrder, account="dave", order="q")
    assert money(venue, "dave") == (10_000, 0, 0)
    venue.do(c.Trade, **deal(buyer="bob", seller="dave"))
    assert money(venue, "dave") == (0, 0, 10_000)
    venue.do(c.PlaceOrder, **order())
    venue.do(c.CancelOrder, account="dave", order="o")
    assert money(venue, "dave") == (0, 0, 10_000)


def test_other_orders_stay_when_one_is_filled_in_part(venue: Venue) -> None:
    venue.do(c.PlaceOrder, **order(lots=6))
    venue.do(c.PlaceOrder, **order(order="p", symbol=FUT, lots=1))
    venue.do(c.Trade, **deal(buy_order="o", lots=2))
    # Two are held and four ordered still: 30 dollars, as before.
    assert venue.margin("dave", LIN) == 30 * DOLLAR
    venue.refuse(
        Reject.MARGIN_INSUFFICIENT, SHORT.format(30_000_000, 0, 69_995_000),
        c.Trade, **deal(lots=15),
    )  # fmt: skip
    venue.do(c.Trade, **deal(lots=13))
    assert venue.margin("dave", LIN) == 95 * DOLLAR


# ── mark to market ───────────────────────────────────────────────────────────────────────────────


def test_a_mark_fills_low_margins_and_frees_high_ones(venue: Venue) -> None:
    venue.do(c.Trade, **deal())
    # Ten lots lose 30 dollars: 20 stay, which is below half of 47, and 27 come.
    mark(venue, 470_000)
    venue.do(c.SettleVariation, symbol=LIN)
    assert money(venue, "dave") == (4_700, 0, 2_300)
    # Bob has 80 of 47, less than twice of it.
    assert money(venue, "bob") == (8_000, 0, 995_000)
    mark(venue, 400_000)
    venue.do(c.SettleVariation, symbol=LIN)
    # 70 more: 47 and 23 go, nothing is left; bob's 150 are more than 80, so 110 go back.
    assert money(venue, "dave") == (0, 0, 0)
    assert money(venue, "bob") == (4_000, 0, 995_000 + 11_000)


def test_in_an_auction_nothing_is_given_back_and_nobody_distressed(venue: Venue) -> None:
    venue.do(c.Trade, **deal())
    venue.do(c.SetPhase, symbol=LIN, phase=Phase.AUCTION)
    mark(venue, 430_000)
    venue.do(c.SettleVariation, symbol=LIN)
    assert money(venue, "bob") == (12_000, 0, 995_000)
    dave, contract = venue.account("dave"), venue.contract(LIN)
    venue.state.ledger.move(20 << 30, 0, venue.held("dave"))
    venue.state.ledger.take_posted()
    mark(venue, 100_000_000)
    assert not contract_rules.distressed(venue.state, dave, contract)
    venue.do(c.SetPhase, symbol=LIN, phase=Phase.CONTINUOUS)
    assert contract_rules.distressed(venue.state, dave, contract)


def test_what_is_not_known_moves_nothing(venue: Venue) -> None:
    venue.do(c.Trade, **deal())
    state, dave, contract = venue.state, venue.account("dave"), venue.contract(LIN)
    contract.mark_points = None
    contract_rules.fill_up(state, dave, contract)
    contract_rules.fill_or_give_back(state, dave, contract)
    venue.contract(LIN).mark_points = 500_000
    venue.do(c.SetMarginMode, account="dave", symbol=LIN, mode=ISOLATED, margin_factor="0.1")
    venue.do(c.PlaceOrder, **order(lots=5))
    assert money(venue, "dave") == (5_000, 2_500, 2_500)
    # Prices of orders are always known, so the size of a lot must be what is not.
    real = contract_rules.ContractSheet

    class Unknown(real):  # type: ignore[misc,valid-type]
        def _number(self, column: str) -> Any:
            raise Refused(Reject.RISK_UNKNOWN, column)

    contract_rules.ContractSheet = Unknown  # type: ignore[misc]
    try:
        contract_rules.reserve_orders(state, dave, contract)
        assert not contract_rules.must_stop_orders(state, dave, contract)
    finally:
        contract_rules.ContractSheet = real  # type: ignore[misc]
    assert money(venue, "dave") == (5_000, 2_500, 2_500)
    assert state.ledger.take_posted() == ()


def test_the_fund_has_no_margin(venue: Venue) -> None:
    venue.do(c.Deposit, account="insurance", asset="USDC", amount=10**4)
    venue.do(c.Trade, **deal(seller="insurance"))
    assert venue.margin("insurance", LIN) == 0
    mark(venue, 500_010)
    venue.do(c.SettleVariation, symbol=LIN)
    assert venue.held("insurance") == 0
    venue.refuse(
        Reject.FUND_INSUFFICIENT, f"insurance fund: expected 10000 for {LIN}, found 0",
        c.Trade, **deal(buyer="insurance", seller="bob", price_ticks=50_002),
    )  # fmt: skip


# ── statuses and money ───────────────────────────────────────────────────────────────────────────


def test_statuses_hold_here_too(venue: Venue) -> None:
    venue.do(c.Trade, **deal())
    venue.do(c.FreezeAccount, account="dave", reason="")
    frozen = "account dave: expected an active one, found frozen"
    venue.refuse(Reject.ACCOUNT_FROZEN, frozen, c.Trade, **deal(lots=1))
    venue.do(c.Trade, **deal(buyer="bob", seller="dave", lots=1))
    venue.wind_up("dave")
    venue.refuse(
        Reject.ACCOUNT_IN_LIQUIDATION,
        "account dave: expected an active one, found under liquidation",
        c.Trade, **deal(buyer="bob", seller="dave", lots=1),
    )  # fmt: skip


def test_what_is_in_general_is_free(venue: Venue) -> None:
    venue.do(c.Trade, **deal())
    venue.time_ms = T0 + 10**9
    venue.refuse(
        Reject.BALANCE_INSUFFICIENT, "account dave: expected 50000001 of USDC, found 50000000",
        c.Transfer, source="dave", target="bob", asset="USDC", amount=50 * DOLLAR + 1,
    )  # fmt: skip
    venue.do(c.Transfer, source="dave", target="bob", asset="USDC", amount=50 * DOLLAR)


FEE = '[[engine.fees]]\ncomponent = "x"\nrate = 0.1\nauction = "whole"\n'


def test_fees_are_taken_from_general_then_margin() -> None:
    venue = by_contract(FEE)
    # Ten lots cost 50 dollars; 20 lots a hundred, and then there is none for margin.
    venue.do(c.Trade, **deal())
    assert money(venue, "dave") == (5_000, 0, 0)
    venue.refuse(
        Reject.BALANCE_INSUFFICIENT,
        "account dave: expected 55000000 for fees, found 0 and a margin of 50000000",
        c.Trade, **deal(buyer="bob", seller="dave", lots=11, aggressor=Side.SELL),
    )  # fmt: skip
    events = venue.do(c.Trade, **deal(buyer="bob", seller="dave", lots=9, aggressor=Side.SELL))
    assert events[-1] == FeePaid(20, "x", 45 * DOLLAR)
    assert money(venue, "dave") == (500, 0, 0)
    venue.do(c.Trade, **deal(buyer="bob", seller="dave", lots=1, aggressor=Side.SELL))
    assert money(venue, "dave") == (0, 0, 0)


def test_in_an_auction_who_cannot_pay_a_fee_pays_what_there_is() -> None:
    venue = by_contract(FEE.replace('"whole"', '"split"'))
    venue.do(c.Trade, **deal(aggressor=None))
    venue.state.ledger.move(20 << 30, 0, 50 * DOLLAR)
    venue.state.ledger.take_posted()
    venue.do(c.SetPhase, symbol=LIN, phase=Phase.AUCTION)
    venue.do(c.Trade, **deal(buyer="bob", seller="dave", lots=9))
    assert money(venue, "dave") == (2_750, 0, 0)
    own = venue.state.account_numbers["dave"] << 30 | 16 << 8
    venue.state.ledger.move(own, 0, 26 * DOLLAR)
    venue.state.ledger.take_posted()
    # 2.50 dollars are due, and 1.50 there.
    events = venue.do(c.Trade, **deal(buyer="bob", seller="dave", lots=1))
    assert [one.amount for one in events if isinstance(one, FeePaid) and one.account == 20] == [
        1_500_000
    ]  # fmt: skip
    assert money(venue, "dave") == (0, 0, 0)


# ── isolated ─────────────────────────────────────────────────────────────────────────────────────


def test_switching_moves_what_is_needed(venue: Venue) -> None:
    venue.do(c.Trade, **deal(lots=4))
    venue.do(c.PlaceOrder, **order(lots=1))
    assert money(venue, "dave") == (2_500, 0, 7_500)
    # A fifth of 200 and of 50 dollars.
    assert isolate(venue) == (ModeChanged(20, 0, True, "1/5"),)
    assert money(venue, "dave") == (4_000, 1_000, 5_000)
    refused = (
        f"account dave, {LIN}: expected a margin factor above its risk factors, and the money "
        "that it asks for"
    )
    for factor in ("0.09", "0.41"):
        venue.refuse(
            Reject.MODE_REFUSED, refused,
            c.SetLeverage, account="dave", symbol=LIN, margin_factor=factor,
        )  # fmt: skip
    venue.do(c.SetLeverage, account="dave", symbol=LIN, margin_factor="0.4")
    assert money(venue, "dave") == (8_000, 2_000, 0)
    # Back in cross mode all of it is the contract's margin.
    venue.do(c.SetMarginMode, account="dave", symbol=LIN, mode=MarginMode.CROSS)
    assert money(venue, "dave") == (10_000, 0, 0)
    found = f"account dave, {LIN}: expected an isolated position whose margin may be changed"
    venue.refuse(
        Reject.MODE_UNSUPPORTED, found, c.AddIsolatedMargin, account="dave", symbol=LIN, amount=1
    )


def test_a_mode_is_chosen_before_anything_is_held(venue: Venue) -> None:
    isolate(venue)
    assert money(venue, "dave") == (0, 0, 10_000)
    found = f"account dave, {LIN}: expected an isolated position whose margin may be changed"
    venue.do(c.Trade, **deal(lots=4))
    venue.refuse(
        Reject.MODE_UNSUPPORTED, found, c.AddIsolatedMargin, account="dave", symbol=LIN, amount=1
    )


def test_isolated_orders_have_their_own_margin(venue: Venue) -> None:
    isolate(venue)
    venue.do(c.PlaceOrder, **order(lots=4))
    assert money(venue, "dave") == (0, 4_000, 6_000)
    venue.refuse(
        Reject.MARGIN_INSUFFICIENT, SHORT.format(0, 40 * DOLLAR, 60 * DOLLAR),
        c.PlaceOrder, **order(order="p", lots=7),
    )  # fmt: skip
    venue.do(c.PlaceOrder, **order(order="p", lots=6))
    assert money(venue, "dave") == (0, 10_000, 0)
    # What rested brings its own margin: of 4 lots at 50,000 all of theirs.
    venue.do(c.Trade, **deal(lots=4, buy_order="o", aggressor=Side.SELL))
    assert money(venue, "dave") == (4_000, 6_000, 0)
    venue.do(c.CancelOrder, account="dave", order="p")
    assert money(venue, "dave") == (4_000, 0, 6_000)
    # What fills no order takes it from general.
    venue.do(c.Trade, **deal(lots=2))
    assert money(venue, "dave") == (6_000, 0, 4_000)
    venue.refuse(
        Reject.MARGIN_INSUFFICIENT, SHORT.format(60 * DOLLAR, 0, 40 * DOLLAR),
        c.Trade, **deal(lots=5),
    )  # fmt: skip
    # The rulebook refuses fills of 2,000 dollars, whatever there is.
    venue.do(c.Deposit, account="dave", asset="USDC", amount=ALL)
    venue.refuse(
        Reject.MARGIN_INSUFFICIENT, SHORT.format(60 * DOLLAR, 0, ALL + 40 * DOLLAR),
        c.Trade, **deal(lots=40),
    )  # fmt: skip
    venue.do(c.Trade, **deal(buyer="bob", seller="dave", lots=6))
    assert venue.margin("dave", LIN) == 0


def test_what_rested_is_not_asked_again(venue: Venue) -> None:
    isolate(venue)
    venue.do(c.PlaceOrder, **order(lots=10, price_ticks=50_000))
    assert money(venue, "dave") == (0, 10_000, 0)
    # Four lots for 49,000 need 39.20; the six that are left keep 60.
    venue.do(c.Trade, **deal(lots=4, buy_order="o", price_ticks=49_000))
    assert money(venue, "dave") == (3_920, 6_000, 80)
    venue.do(c.Trade, **deal(lots=6, buy_order="o", price_ticks=49_000))
    assert money(venue, "dave") == (9_800, 0, 200)


def test_a_sale_above_its_limit_takes_what_there_is(venue: Venue) -> None:
    isolate(venue)
    venue.do(c.PlaceOrder, **order(lots=10, side=Side.SELL))
    sale = deal(buyer="bob", seller="dave", sell_order="o", price_ticks=55_000)
    # A fifth of 550 dollars, and a tenth more for who sells, are 121; 100 are reserved.
    venue.refuse(Reject.MARGIN_INSUFFICIENT, SHORT.format(0, 100 * DOLLAR, 0), c.Trade, **sale)
    venue.do(c.Deposit, account="dave", asset="USDC", amount=20_999_999)
    venue.refuse(
        Reject.MARGIN_INSUFFICIENT, SHORT.format(0, 100 * DOLLAR, 20_999_999), c.Trade, **sale
    )
    venue.do(c.Deposit, account="dave", asset="USDC", amount=1)
    venue.do(c.Trade, **sale)
    assert money(venue, "dave") == (12_100, 0, 0)


def test_orders_are_stopped_when_their_margin_is_gone(venue: Venue) -> None:
    isolate(venue)
    venue.do(c.Trade, **deal(lots=2))
    venue.do(c.PlaceOrder, **order(lots=1))
    venue.do(c.PlaceOrder, **order(order="f", symbol=FUT, lots=1))
    venue.state.ledger.move(venue.state.account_numbers["dave"] << 30 | 17 << 8, 0, 6 * DOLLAR)
    venue.state.ledger.take_posted()
    mark(venue, 500_010)
    events = venue.do(c.SettleVariation, symbol=LIN)
    assert OrderReduced(20, "o", 0, 0, "relief") in events
    assert list(venue.state.orders_of(20)) == ["f"]
    assert venue.reserved("dave", LIN) == 0
    assert isinstance(events[-1], VariationSettled)


def test_funding_and_expiry_level_margins(venue: Venue) -> None:
    venue.do(c.Trade, **deal())
    venue.time_ms = T0 + 1
    # A twentieth of 500 dollars is 25: 25 are left, half of 50, which is not below it.
    venue.do(c.PayFunding, symbol=LIN, until_ms=T0 + 1, rate="0.05")
    assert money(venue, "dave") == (2_500, 0, 5_000)
    venue.time_ms = T0 + 2
    venue.do(c.PayFunding, symbol=LIN, until_ms=T0 + 2, rate="0.01")
    assert money(venue, "dave") == (5_000, 0, 2_000)
    venue.do(c.Trade, **deal(symbol=FUT, lots=10_000, buyer="alice"))
    venue.do(c.PlaceOrder, **order(account="carol", symbol=FUT, lots=10_000))
    assert (venue.margin("alice", FUT), venue.margin("carol", FUT)) == (50 * DOLLAR, 50 * DOLLAR)
    venue.time_ms = EXPIRY
    venue.do(c.SettleExpiry, symbol=FUT, price_nano=51_000 * NANO)
    assert (venue.margin("alice", FUT), venue.held("alice")) == (0, ALL + 10 * DOLLAR)
    assert (venue.margin("carol", FUT), venue.held("carol")) == (0, ALL)


# ── liquidation ──────────────────────────────────────────────────────────────────────────────────


def test_a_contract_below_maintenance(venue: Venue) -> None:
    venue.do(c.Trade, **deal())
    healthy = "account dave: expected a contract below its maintenance margin"
    venue.refuse(Reject.ACCOUNT_NOT_LIQUIDATABLE, healthy, c.BeginLiquidation, account="dave")
    mark(venue, 410_000)
    venue.do(c.SettleVariation, symbol=LIN)
    # 10 dollars are left; a twentieth of 410 is 20.50.
    assert venue.held("dave") + venue.margin("dave", LIN) == 10 * DOLLAR
    venue.do(c.PlaceOrder, **order(lots=1, side=Side.SELL))
    events = venue.do(c.BeginLiquidation, account="dave")
    assert events[0] == OrderReduced(20, "o", 0, 0, "liquidation")
    venue.refuse(
        Reject.ACCOUNT_STILL_LIQUIDATABLE,
        "account dave: expected equity of at least its maintenance margin, 0 micro, found 0",
        c.EndLiquidation, account="dave",
    )  # fmt: skip
    told = {"account": "dave", "counterparty": "carol", "symbol": LIN, "price_ticks": 41_000}
    venue.do(c.Liquidate, lots=4, fee_ppm=0, **told)
    assert money(venue, "carol") == (1_640, 0, 998_360)
    assert venue.position("dave", LIN) == (6, 3_000_000, 2_460_000, -36_000_000)
    venue.do(c.FreezeAccount, account="alice", reason="")
    venue.refuse(
        Reject.ACCOUNT_FROZEN, "account alice: expected an active one, found frozen",
        c.Liquidate, lots=1, fee_ppm=0, **{**told, "counterparty": "alice"},
    )  # fmt: skip
    venue.open("poor", usdc=1)
    detail = SHORT.replace("dave", "poor").format(0, 0, DOLLAR)
    venue.refuse(
        Reject.MARGIN_INSUFFICIENT, detail,
        c.Liquidate, lots=1, fee_ppm=0, **{**told, "counterparty": "poor"},
    )  # fmt: skip
    venue.do(c.Liquidate, lots=1, fee_ppm=0, **{**told, "counterparty": "insurance"})
    venue.do(c.Deleverage, lots=1, **{**told, "counterparty": "bob"})
    # Four lots of 41 dollars need 8.20, and 10 are there.
    venue.do(c.EndLiquidation, account="dave")


def test_an_isolated_counterparty_brings_its_factor(venue: Venue) -> None:
    isolate(venue, "carol")
    venue.do(c.Trade, **deal())
    venue.wind_up("dave")
    venue.do(c.Liquidate, account="dave", counterparty="carol", symbol=LIN, lots=5,
             price_ticks=50_000, fee_ppm=0)  # fmt: skip
    assert venue.margin("carol", LIN) == 50 * DOLLAR


def test_orders_of_isolated_contracts_stay(venue: Venue) -> None:
    isolate(venue)
    venue.do(c.Trade, **deal(lots=4))
    venue.do(c.PlaceOrder, **order(lots=1))
    venue.do(c.PlaceOrder, **order(order="f", symbol=FUT, lots=100))
    mark(venue, 410_000)
    venue.do(c.SettleVariation, symbol=LIN)
    events = venue.do(c.BeginLiquidation, account="dave")
    assert events[0] == OrderReduced(20, "f", 0, 0, "liquidation")
    assert list(venue.state.orders_of(20)) == ["o"]
    told = {"account": "dave", "asset": "USDC", "amount": 4 * DOLLAR}
    venue.do(c.Confiscate, symbol=LIN, **told)
    venue.refuse(
        Reject.DEBT_EXCEEDED, "account dave: expected a debt of 4000000 of USDC or more, found 0",
        c.CoverDebt, source=CoverFrom.INSURANCE, symbol=LIN, **told,
    )  # fmt: skip


def test_when_it_ends_what_is_idle_is_free(venue: Venue) -> None:
    venue.do(c.Trade, **deal())
    venue.wind_up("dave")
    venue.do(c.Deleverage, account="dave", counterparty="bob", symbol=LIN, lots=10,
             price_ticks=50_000)  # fmt: skip
    assert money(venue, "dave")[0] == 5_000
    venue.do(c.EndLiquidation, account="dave")
    assert money(venue, "dave") == (0, 0, 10_000)


# ── what the formulas are told ───────────────────────────────────────────────────────────────────


def test_facts_of_a_contract(venue: Venue) -> None:
    venue.do(c.Deposit, account="insurance", asset="USDC", amount=1_500_000)
    contract = venue.contract(LIN)
    facts = {
        "contract_size": 1, "settlement_price": 1, "inverse": 0, "is_option": 0,
        "asset_decimals": 6, "auction": 0, "insurance_pool": 1.5, "previous_mark": 0,
        "settlement": "USDC", "mark": 50_000,
    }  # fmt: skip
    assert contract_rules.facts(venue.state, contract) == facts
    venue.do(c.SettleVariation, symbol=LIN)
    venue.do(c.SetPhase, symbol=LIN, phase=Phase.AUCTION)
    contract.mark_points = None
    del facts["mark"]
    facts |= {"auction": 1, "previous_mark": 50_000}
    assert contract_rules.facts(venue.state, contract) == facts
    put = contract_rules.facts(venue.state, venue.contract(PUT))
    assert (put["inverse"], put["is_option"], put["asset_decimals"]) == (1, 1, 9)
    assert (put["settlement"], put["insurance_pool"]) == ("BTC", 0)


def test_rows_of_orders(venue: Venue) -> None:
    venue.do(c.PlaceOrder, **order(lots=3))
    venue.do(c.PlaceOrder, **order(order="s", side=Side.SELL, lots=2, price_ticks=51_000))
    venue.do(c.PlaceOrder, **order(order="f", symbol=FUT, lots=1))
    dave, contract = venue.account("dave"), venue.contract(LIN)
    rows = contract_rules.order_rows(venue.state, dave, contract)
    assert [(float(r["size"]), r["price"], r["buy"]) for r in rows] == [
        (0.003, 50_000, 1), (0.002, 51_000, 0)
    ]  # fmt: skip
    first = venue.state.orders_of(20)["o"]
    assert len(contract_rules.order_rows(venue.state, dave, contract, but=(first,))) == 1
    assert contract_rules.order_rows(venue.state, venue.account("bob"), contract) == []


def test_only_where_contracts_are_ruled_there_are_hooks() -> None:
    with pytest.raises(LookupError) as fault:
        contract_rules.hooks(new_venue().state)
    assert fault.value.args == ("the venue's rulebook rules no contract by itself",)


def test_inverse_contracts_have_their_margin_in_coin(venue: Venue) -> None:
    positions = (OpeningPosition("alice", INV, 5, 1), OpeningPosition("bob", INV, -5, 1))
    venue.do(c.ImportBooks, balances=(), positions=positions)
    assert contract_rules.balances_of(venue.state, venue.account("alice"), venue.contract(INV)) == (
        0,
        0,
        COIN,
    )


def test_orders_alone_are_isolated(venue: Venue) -> None:
    venue.do(c.PlaceOrder, **order(lots=1))
    isolate(venue)
    assert money(venue, "dave") == (0, 1_000, 9_000)


def test_an_isolated_other_side_is_deleveraged(venue: Venue) -> None:
    isolate(venue, "carol")
    venue.do(c.Trade, **deal(seller="carol"))
    assert venue.margin("carol", LIN) == 110 * DOLLAR
    venue.wind_up("dave")
    venue.do(c.Deleverage, account="dave", counterparty="carol", symbol=LIN, lots=4,
             price_ticks=50_000)  # fmt: skip
    # The rulebook's columns say when margin moves, not a share of the position.
    assert venue.margin("carol", LIN) == 110 * DOLLAR


def test_orders_of_who_takes_a_position_over_count(venue: Venue) -> None:
    venue.open("erin", usdc=100)
    venue.do(c.PlaceOrder, **order(account="erin", lots=15))
    venue.do(c.Trade, **deal())
    venue.wind_up("dave")
    told = {"account": "dave", "counterparty": "erin", "symbol": LIN, "price_ticks": 50_000,
            "fee_ppm": 0}  # fmt: skip
    assert venue.tell(c.Liquidate, lots=6, **told).code == Reject.MARGIN_INSUFFICIENT
    venue.do(c.Liquidate, lots=5, **told)
    assert money(venue, "erin") == (10_000, 0, 0)


def test_what_a_fill_lacks_comes_from_what_other_orders_have(venue: Venue) -> None:
    isolate(venue)
    for name in ("o", "p"):
        venue.do(c.PlaceOrder, **order(order=name, lots=5, side=Side.SELL))
    sale = deal(buyer="bob", seller="dave", sell_order="o", lots=5)
    assert money(venue, "dave") == (0, 10_000, 0)
    # At 91,000 dollars 100.10 are needed, and 100 there.
    venue.refuse(
        Reject.MARGIN_INSUFFICIENT, SHORT.format(0, 100 * DOLLAR, 0),
        c.Trade, **{**sale, "price_ticks": 91_000},
    )  # fmt: skip
    venue.do(c.Trade, **sale)
    # 55 dollars, where its own reserve was 50.
    assert money(venue, "dave") == (5_500, 4_500, 0)


def test_a_fill_of_no_order_leaves_what_orders_have(venue: Venue) -> None:
    isolate(venue)
    venue.do(c.PlaceOrder, **order(lots=3))
    venue.do(c.Trade, **deal(lots=2))
    assert money(venue, "dave") == (2_000, 3_000, 5_000)
    # Nor does who closes take from them.
    venue.do(c.Trade, **deal(buyer="bob", seller="dave", lots=2))
    assert money(venue, "dave") == (0, 3_000, 7_000)


def test_orders_of_cross_contracts_are_not_stopped(venue: Venue) -> None:
    venue.do(c.Trade, **deal(lots=1))
    venue.do(c.PlaceOrder, **order(lots=3))
    mark(venue, 450_000)
    venue.do(c.SettleVariation, symbol=LIN)
    assert list(venue.state.orders_of(20)) == ["o"]
    assert venue.state.desk.order_count(0) == 1


def test_a_contracts_own_parameter_takes_the_place_of_the_rulebooks(venue: Venue) -> None:
    assert venue.send(listing("OWN", parameters={"share": "0.5"})).code == 0
    mark(venue, 500_000, "OWN")
    venue.do(c.Trade, **deal(symbol="OWN", lots=2))
    assert venue.margin("dave", "OWN") == 50 * DOLLAR


def test_idle_reserves_come_back(venue: Venue) -> None:
    isolate(venue)
    venue.do(c.PlaceOrder, **order(lots=3))
    venue.state.ledger.move(0, venue.state.account_numbers["dave"] << 30 | 17 << 8, DOLLAR)
    venue.state.ledger.take_posted()
    venue.do(c.CancelOrder, account="dave", order="o")
    assert money(venue, "dave") == (0, 0, 10_100)


def test_funding_may_stop_orders(venue: Venue) -> None:
    isolate(venue)
    venue.do(c.Trade, **deal(lots=2))
    venue.do(c.PlaceOrder, **order(lots=1))
    venue.state.ledger.move(venue.state.account_numbers["dave"] << 30 | 17 << 8, 0, 6 * DOLLAR)
    venue.state.ledger.take_posted()
    venue.time_ms = T0 + 1
    events = venue.do(c.PayFunding, symbol=LIN, until_ms=T0 + 1, rate="0.01")
    assert events[0] == OrderReduced(20, "o", 0, 0, "relief")
    assert venue.reserved("dave", LIN) == 0


def test_an_isolated_loss_leaves_general_alone(venue: Venue) -> None:
    isolate(venue)
    venue.do(c.Trade, **deal(lots=4))
    venue.do(c.Deposit, account="insurance", asset="USDC", amount=5 * DOLLAR)
    mark(venue, 380_000)
    events = venue.do(c.SettleVariation, symbol=LIN)
    # 48 dollars: 40 of margin, 5 of the fund.
    assert events[-1] == VariationSettled(0, 380_000, 45 * DOLLAR, 45 * DOLLAR, 3 * DOLLAR)
    assert money(venue, "dave") == (0, 0, 6_000)
    assert venue.held("insurance") == 0


def test_a_cross_loss_takes_general_before_the_fund() -> None:
    venue = by_contract('losses = "collect"')
    venue.do(c.Trade, **deal(lots=4))
    venue.do(c.Deposit, account="insurance", asset="USDC", amount=50 * DOLLAR)
    mark(venue, 200_000)
    # 120 dollars, of which 100 are dave's.
    venue.do(c.SettleVariation, symbol=LIN)
    assert money(venue, "dave") == (0, 0, 0)
    assert venue.held("insurance") == 30 * DOLLAR


def test_margins_are_levelled_beside_the_funds(venue: Venue) -> None:
    venue.do(c.Deposit, account="insurance", asset="USDC", amount=50 * DOLLAR)
    venue.do(c.Trade, **deal(buyer="insurance", seller="bob", lots=1))
    venue.do(c.Trade, **deal(lots=9))
    mark(venue, 460_000)
    venue.do(c.SettleVariation, symbol=LIN)
    # 45 dollars less 36 are 9, where 41.40 are needed.
    assert money(venue, "dave") == (4_140, 0, 2_260)


def test_what_comes_back_comes_first(venue: Venue) -> None:
    isolate(venue)
    venue.do(c.Trade, **deal(lots=4))
    own = venue.state.account_numbers["dave"] << 30
    margin, orders = own | 16 << 8, own | 17 << 8
    venue.state.ledger.move(0, orders, 30 * DOLLAR)
    venue.state.ledger.take_posted()
    found = venue.tell(c.SetLeverage, account="dave", symbol=LIN, margin_factor="0.5")
    assert found.events[-1] == Posted(((orders, own, 30 * DOLLAR), (own, margin, 60 * DOLLAR)))
    # So it is where a fill moves margin in and what was reserved out.
    contract_rules.move_margin(venue.state, venue.account("dave"), venue.contract(LIN), 5, -3)
    assert venue.state.ledger.take_posted() == ((orders, own, 3), (own, margin, 5))
    contract_rules.move_margin(venue.state, venue.account("dave"), venue.contract(LIN), -5, 3)
    assert venue.state.ledger.take_posted() == ((margin, own, 5), (own, orders, 3))
