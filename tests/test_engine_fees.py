"""Fees of a trade: who pays whom, on what, and which way it is rounded."""

from __future__ import annotations

from typing import Any

import pytest

from solvent.engine.bargain import deal_in
from solvent.errors import Reject
from solvent.messages import commands as c
from solvent.messages.events import FeePaid
from solvent.messages.fields import MarginMode, Phase, Side
from tests.venues import (
    BTC,
    CALL,
    COIN,
    DOLLAR,
    FUT,
    INV,
    LIN,
    PUT,
    Venue,
    listing,
    new_venue,
    trade_of,
)

ALL = 10_000 * DOLLAR


def venue_with(*fees: str) -> Venue:
    return new_venue("\n".join(f"[[engine.fees]]\n{fee}" for fee in fees))


def paid(venue: Venue, aggressor: Side | None = Side.BUY, **changes: Any) -> list[tuple[Any, ...]]:
    """What a trade of ten lots (500 dollars) is charged: account, component, amount."""
    told = {"buyer": "alice", "seller": "bob", "lots": 10, "ticks": 50_000, **changes}
    events = venue.trade(told.pop("buyer"), told.pop("seller"), told.pop("lots"),
                         told.pop("ticks"), aggressor=aggressor, **told)  # fmt: skip
    return [(one.account, one.component, one.amount) for one in events if isinstance(one, FeePaid)]


@pytest.mark.parametrize(
    ("payer", "aggressor", "payers"),
    [
        ("taker", Side.BUY, [16]), ("taker", Side.SELL, [17]), ("taker", None, []),
        ("maker", Side.BUY, [17]), ("maker", Side.SELL, [16]), ("maker", None, [16, 17]),
        ("both", Side.BUY, [16, 17]), ("both", Side.SELL, [16, 17]), ("both", None, [16, 17]),
    ],
)  # fmt: skip
def test_who_pays(payer: str, aggressor: Side | None, payers: list[int]) -> None:
    venue = venue_with(f'component = "x"\nrate = 0.001\npayer = "{payer}"')
    assert paid(venue, aggressor) == [(number, "x", 500_000) for number in payers]
    assert venue.held("fees") == 500_000 * len(payers)
    for name, number in (("alice", 16), ("bob", 17)):
        assert venue.held(name) == ALL - 500_000 * (number in payers)


@pytest.mark.parametrize("receiver", ["venue", "insurance", "liquidity", "maker"])
def test_who_receives(receiver: str) -> None:
    venue = venue_with(f'component = "x"\nrate = 0.001\nreceiver = "{receiver}"')
    assert paid(venue, Side.SELL) == [(17, "x", 500_000)]
    name = {"venue": "fees", "maker": "alice"}.get(receiver, receiver)
    assert venue.held(name) == 500_000 + (ALL if receiver == "maker" else 0)
    assert venue.held("bob") == ALL - 500_000


def test_a_fee_is_rounded_up_and_a_rebate_down() -> None:
    venue = venue_with(
        'component = "fee"\nrate = 0.0000003\npayer = "taker"',
        'component = "rebate"\nrate = -0.0000002\npayer = "maker"',
    )
    # Seven micro lots are 0.35 dollars: 0.105 and 0.07 of a micro.
    assert paid(venue, symbol=FUT, lots=7) == [(16, "fee", 1)]
    # 300 are 15 dollars: 4.5 and exactly 3.
    assert paid(venue, symbol=FUT, lots=300) == [(16, "fee", 5), (17, "rebate", -3)]
    # 340 are 17 dollars: 5.1 and 3.4.
    assert paid(venue, symbol=FUT, lots=340) == [(16, "fee", 6), (17, "rebate", -3)]
    assert venue.held("fees") == 1 + 5 - 3 + 6 - 3
    assert venue.held("bob") == ALL + 6


def test_a_rebate_is_cut_to_what_the_fees_hold_after_what_is_charged() -> None:
    venue = venue_with(
        'component = "rebate"\nrate = -0.003\npayer = "maker"',
        'component = "fee"\nrate = 0.001\npayer = "taker"',
    )
    assert paid(venue) == [(16, "fee", 500_000), (17, "rebate", -500_000)]
    assert (venue.held("fees"), venue.held("bob")) == (0, ALL + 500_000)
    assert paid(venue, None) == [(16, "rebate", 0), (17, "rebate", 0)]
    # Rebates count for the margin in full, before they are cut.
    assert venue.held("alice") == ALL - 500_000


def test_components_are_charged_in_order() -> None:
    venue = venue_with(
        'component = "b"\nrate = 0.002', 'component = "a"\nrate = 0.001\nreceiver = "maker"',
        'component = "zero"',
    )  # fmt: skip
    assert paid(venue) == [(16, "b", 1_000_000), (16, "a", 500_000)]
    assert (venue.held("alice"), venue.held("bob")) == (ALL - 1_500_000, ALL + 500_000)


def test_a_contracts_own_rate_takes_the_place_of_the_rulebooks() -> None:
    venue = venue_with('component = "x"\nrate = 0.001', 'component = "y"\nrate = 0.001')
    told = listing("OWN", parameters={"x_fee": "0.01", "y_fee": "0"})
    assert venue.send(told).code == 0
    venue.account("alice").positions = None
    # Nothing is known of it, so the fund trades it with itself: both sides of it make.
    venue.do(c.Deposit, account="insurance", asset="USDC", amount=10 * DOLLAR)
    contract = venue.contract("OWN")
    from solvent.engine.fees import charges

    found = charges(venue.state, contract, lots=10, points=500_000, aggressor=Side.SELL)
    assert [(one.component, one.side, one.amount) for one in found] == [("x", 1, 5_000_000)]


def test_only_some_kinds_are_charged() -> None:
    venue = venue_with('component = "x"\nrate = 0.001\nkinds = ["perpetual", "option"]')
    assert paid(venue) == [(16, "x", 500_000)]
    assert paid(venue, symbol=FUT) == []
    assert paid(venue, symbol=CALL, lots=1, ticks=1_000) == [(16, "x", 10_000)]


def test_fees_are_in_what_the_contract_settles_in() -> None:
    venue = venue_with('component = "x"\nrate = 0.001\nreceiver = "maker"')
    # A hundred lots are 1,000 dollars: 0.02 coin.
    assert paid(venue, symbol=INV, lots=100, ticks=100_000) == [(16, "x", 20_000)]
    assert (venue.held("alice", BTC), venue.held("bob", BTC)) == (COIN - 20_000, COIN + 20_000)


@pytest.mark.parametrize(
    ("symbol", "lots", "ticks", "value_fee", "notional_fee", "capped"),
    [
        # Of a linear future both are the same, and no cap applies.
        (LIN, 10, 50_000, 500_000, 500_000, 500_000),
        # 2 lots of a hundredth at 1,000 dollars, of 50,000: an eighth of 20 dollars caps nothing...
        (CALL, 2, 1_000, 20_000, 1_000_000, 1_000_000),
        # ... but at 30 dollars it is 0.075 dollars.
        (CALL, 2, 30, 600, 1_000_000, 75_000),
        (PUT, 2, 200, 4_000, 200_000, 200_000),
        # At a tick of 0.0001 coin an eighth of it is 2,500 nano.
        (PUT, 2, 1, 20, 200_000, 2_500),
    ],
)
def test_of_value_or_of_notional(
    symbol: str, lots: int, ticks: int, value_fee: int, notional_fee: int, capped: int
) -> None:
    for text, amount in (
        ('of = "value"', value_fee),
        ('of = "notional"', notional_fee),
        ('of = "notional"\npremium_cap = 0.125', capped),
    ):
        venue = venue_with(f'component = "x"\nrate = 0.001\n{text}')
        assert paid(venue, symbol=symbol, lots=lots, ticks=ticks) == [(16, "x", amount)]


def test_without_an_index_there_is_no_notional() -> None:
    venue = venue_with('component = "x"\nrate = 0.001\nof = "notional"')
    venue.state.underlyings.clear()
    assert paid(venue, symbol=CALL, lots=2, ticks=1_000) == []


@pytest.mark.parametrize(
    ("auction", "aggressor", "charged"),
    [
        ("whole", Side.BUY, [(16, "x", 500_001)]),
        ("skipped", Side.BUY, []),
        ("split", Side.BUY, [(16, "x", 250_001), (17, "x", 250_001)]),
        ("split", None, [(16, "x", 250_001), (17, "x", 250_001)]),
    ],
)
def test_in_an_auction(
    auction: str, aggressor: Side | None, charged: list[tuple[int, str, int]]
) -> None:
    venue = venue_with(f'component = "x"\nrate = 0.001000001\nauction = "{auction}"')
    # 500,000.5 micro are 500,001, and half of that 250,001.
    outside = [(16, "x", 500_001)] if aggressor else []
    assert paid(venue, aggressor) == outside
    venue.do(c.SetPhase, symbol=LIN, phase=Phase.AUCTION)
    assert paid(venue, aggressor) == charged


def test_fees_count_in_the_margin() -> None:
    venue = venue_with('component = "x"\nrate = 0.01\nreceiver = "maker"')
    venue.open("dave", usdc=50)
    # Ten lots need 50 dollars, and 5 more for the fee.
    told = {"buyer": "dave", "seller": "bob", "symbol": LIN, "lots": 10, "price_ticks": 50_000,
            "aggressor": Side.BUY}  # fmt: skip
    venue.refuse(
        Reject.MARGIN_INSUFFICIENT,
        "account dave: expected equity of at least its initial margin by tenth, 50000000 micro, "
        "found 45000000",
        c.Trade, **told,
    )  # fmt: skip
    venue.do(c.Deposit, account="dave", asset="USDC", amount=5 * DOLLAR)
    venue.do(c.Trade, **told)
    # Who makes has it at once.
    venue.open("erin", usdc=45)
    venue.do(c.Trade, **{**told, "buyer": "bob", "seller": "erin"})
    assert venue.held("erin") == 50 * DOLLAR


def test_an_isolated_position_pays_fees_from_the_account() -> None:
    venue = venue_with('component = "x"\nrate = 0.001')
    venue.do(c.SetMarginMode, account="alice", symbol=LIN, mode=MarginMode.ISOLATED, leverage="1")
    told = {"buyer": "alice", "seller": "bob", "symbol": LIN, "lots": 200, "price_ticks": 50_000,
            "aggressor": Side.BUY}  # fmt: skip
    venue.refuse(
        Reject.BALANCE_INSUFFICIENT,
        f"account alice, {LIN}: expected 10010000000 for its margin and fees, found {ALL}",
        c.Trade, **told,
    )  # fmt: skip
    venue.do(c.Trade, **{**told, "lots": 199})
    assert venue.held("alice") == ALL - 9_950 * DOLLAR - 9_950_000
    assert venue.margin("alice", LIN) == 9_950 * DOLLAR


def test_the_fund_pays_fees_of_what_it_trades() -> None:
    venue = venue_with('component = "x"\nrate = 0.001\npayer = "both"')
    venue.do(c.Deposit, account="insurance", asset="USDC", amount=499_999)
    told = {"buyer": "insurance", "seller": "bob", "symbol": LIN, "lots": 10,
            "price_ticks": 50_000, "aggressor": None}  # fmt: skip
    venue.refuse(
        Reject.FUND_INSUFFICIENT, f"insurance fund: expected 500000 for {LIN}, found 499999",
        c.Trade, **told,
    )  # fmt: skip
    venue.do(c.Deposit, account="insurance", asset="USDC", amount=1)
    venue.do(c.Trade, **told)
    assert (venue.held("insurance"), venue.held("fees")) == (0, 1_000_000)


def test_a_cap_may_stand_beside_the_value() -> None:
    venue = venue_with('component = "x"\nrate = 0.5\nof = "value"\npremium_cap = 0.125')
    # Half of 20 dollars is more than an eighth; a future has no premium.
    assert paid(venue, symbol=CALL, lots=2, ticks=1_000) == [(16, "x", 2_500_000)]
    assert paid(venue, lots=1) == [(16, "x", 25_000_000)]


def test_a_component_that_is_not_charged_stops_no_other() -> None:
    venue = venue_with(
        'component = "no"\nrate = 0.001\nkinds = ["future"]', 'component = "zero"\nrate = 0',
        'component = "yes"\nrate = 0.001', 'component = "skip"\nrate = 0.001\nauction = "skipped"',
        'component = "last"\nrate = 0.002',
    )  # fmt: skip
    assert paid(venue) == [(16, "yes", 500_000), (16, "skip", 500_000), (16, "last", 1_000_000)]
    venue.do(c.SetPhase, symbol=LIN, phase=Phase.AUCTION)
    assert paid(venue) == [(16, "yes", 500_000), (16, "last", 1_000_000)]


def test_what_rounds_to_nothing_is_not_charged() -> None:
    venue = venue_with('component = "rebate"\nrate = -0.0000001', 'component = "x"\nrate = 0.001')
    # One micro lot is 0.05 dollars: a rebate of 0.005 micro is none.
    assert paid(venue, symbol=FUT, lots=1) == [(16, "x", 50)]


def test_a_notional_fee_of_what_does_not_divide() -> None:
    venue = venue_with('component = "x"\nrate = 0.00001\nof = "notional"')
    # Seven micro lots at 50,001 are 350,007 micro: 3.50007.
    assert paid(venue, symbol=FUT, lots=7, ticks=50_001) == [(16, "x", 4)]
    venue = venue_with('component = "x"\nrate = 1\npremium_cap = 0.00001')
    assert paid(venue, symbol=FUT, lots=7, ticks=50_001) == [(16, "x", 350_007)]


def test_what_one_side_pays_the_other_adds_up() -> None:
    venue = venue_with(
        'component = "a"\nrate = 0.001\nreceiver = "maker"', 'component = "b"\nrate = 0.01',
        'component = "c"\nrate = 0.003\nreceiver = "maker"',
        'component = "d"\nrate = 0.002\npayer = "both"', 'component = "e"\nrate = -0.001',
    )  # fmt: skip
    told = trade_of(venue, "alice", "bob", 10, aggressor=Side.BUY)
    legs = deal_in(venue.state, told).legs
    # Of 500 dollars: 0.1, 1, 0.3 and 0.2 per cent are paid, 0.1 come back; and 0.4 go to bob, who
    # pays 0.2.
    assert [leg.fees for leg in legs] == [-7_500_000, 1_000_000]
    venue.trade("alice", "bob", 10, 50_000, aggressor=Side.BUY)
    assert (venue.held("alice"), venue.held("bob")) == (ALL - 7_500_000, ALL + 1_000_000)


def test_the_fund_has_what_it_pays_before_what_it_gets() -> None:
    venue = venue_with(
        'component = "fee"\nrate = 0.001\npayer = "both"', 'component = "back"\nrate = -0.001',
        'component = "theirs"\nrate = 0.001\nreceiver = "maker"',
    )  # fmt: skip
    told = {"buyer": "insurance", "seller": "bob", "symbol": LIN, "lots": 10,
            "price_ticks": 50_000}  # fmt: skip
    # As taker it pays two halves of a dollar, and may get one back: it must have the dollar.
    venue.do(c.Deposit, account="insurance", asset="USDC", amount=999_999)
    venue.refuse(
        Reject.FUND_INSUFFICIENT, f"insurance fund: expected 1000000 for {LIN}, found 999999",
        c.Trade, **told, aggressor=Side.BUY,
    )  # fmt: skip
    venue.do(c.Deposit, account="insurance", asset="USDC", amount=1)
    venue.do(c.Trade, **told, aggressor=Side.BUY)
    assert venue.held("insurance") == 500_000
    # As maker it pays one half, whatever the taker pays it.
    venue.do(c.Trade, **told, aggressor=Side.SELL)
    assert venue.held("insurance") == 500_000
