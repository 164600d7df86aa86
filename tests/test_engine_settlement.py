"""Variation, funding, expiry and interest: what losers pay, what winners get, what is left over."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from solvent.engine import settlement
from solvent.engine.settlement import check_money
from solvent.errors import Reject
from solvent.messages import commands as c
from solvent.messages.events import (
    ExpirySettled,
    FundingPaid,
    InterestAccrued,
    OrderReduced,
    PositionChanged,
    VariationSettled,
)
from solvent.messages.fields import (
    IndexPrice,
    MarginMode,
    MarkPrice,
    OpeningPosition,
    Phase,
    Share,
    Side,
)
from tests.venues import (
    BTC,
    CALL,
    COIN,
    DAY,
    DOLLAR,
    EXPIRY,
    FUT,
    INV,
    LIN,
    NANO,
    PUT,
    QUANTO,
    SPREAD,
    T0,
    TENTH,
    USDC,
    Venue,
    engine_text,
    listing,
    new_venue,
)

ALL = 10_000 * DOLLAR


@pytest.fixture
def venue() -> Venue:
    return new_venue()


def hold(venue: Venue, symbol: str, points: int, **lots: int) -> None:
    """Positions as if taken over from elsewhere, at a price in points."""
    positions = tuple(OpeningPosition(name, symbol, n, points) for name, n in lots.items())
    venue.do(c.ImportBooks, balances=(), positions=positions)


def leave(venue: Venue, name: str, amount: int) -> None:
    """Take all dollars but so many from an account."""
    venue.state.ledger.move(venue.state.account_numbers[name] << 30, 0, venue.held(name) - amount)
    venue.state.ledger.take_posted()


# ── variation ────────────────────────────────────────────────────────────────────────────────────


def test_variation_pays_up_to_the_mark(venue: Venue) -> None:
    hold(venue, LIN, 500_000, alice=10, bob=-6, carol=-4)
    venue.quote(LIN=510_000)
    events = venue.do(c.SettleVariation, symbol=LIN)
    # A thousand dollars on a hundredth of a coin.
    assert events == (
        PositionChanged(16, 0, 10, 5_000_000, 5_100_000, 0),
        PositionChanged(17, 0, -6, -3_000_000, -3_060_000, 0),
        PositionChanged(18, 0, -4, -2_000_000, -2_040_000, 0),
        VariationSettled(0, 510_000, 10_000_000, 10_000_000, 0),
    )
    assert [venue.held(name) - ALL for name in ("alice", "bob", "carol")] == [
        10_000_000, -6_000_000, -4_000_000
    ]  # fmt: skip
    assert venue.contract(LIN).settled_points == 510_000
    # At the same mark nothing more is due, and no position changes.
    assert venue.do(c.SettleVariation, symbol=LIN) == (VariationSettled(0, 510_000, 0, 0, 0),)
    # The entry stays: a close at the mark has gained all of it since, and brings nothing now.
    venue.trade("bob", "alice", 1, 51_000)
    assert venue.position("alice", LIN) == (9, 4_500_000, 4_590_000, 1_000_000)
    assert venue.held("alice") == ALL + 10_000_000


def test_variation_of_an_inverse_contract(venue: Venue) -> None:
    hold(venue, INV, 1_000_000, alice=100, bob=-100)
    venue.quote(INV=800_000)
    events = venue.do(c.SettleVariation, symbol=INV)
    assert events[-1] == VariationSettled(1, 800_000, 5_000_000, 5_000_000, 0)
    assert (venue.held("alice", BTC), venue.held("bob", BTC)) == (
        COIN - 5_000_000,
        COIN + 5_000_000,
    )


@pytest.mark.parametrize(
    ("rounding", "paid", "received", "left"),
    [("against_account", 2, 1, 1), ("toward_zero", 0, 0, 0), ("half_even", 0, 1, -1)],
)
def test_roundings_are_posted_either_way(
    rounding: str, paid: int, received: int, left: int
) -> None:
    venue = new_venue(f'money_rounding = "{rounding}"')
    hold(venue, FUT, 500_000, alice=2, bob=-1, carol=-1)
    # Four points: alice gains 0.8 micro, bob and carol lose 0.4 each.
    venue.quote(FUT=500_004)
    events = venue.do(c.SettleVariation, symbol=FUT)
    if rounding == "against_account":
        # The gain is 0 and the losses are 1 each.
        assert events[-1] == VariationSettled(2, 500_004, 2, 0, 0)
        assert venue.held("rounding") == 2
        return
    assert events[-1] == VariationSettled(2, 500_004, paid, received, 0)
    assert venue.held("rounding") == left


def test_what_is_at_stake_stays_in_clearing() -> None:
    venue = new_venue()
    hold(venue, FUT, 500_003, alice=3, bob=-3)
    venue.trade("bob", "carol", 1, 50_001, symbol=FUT)
    stake = venue.contract(FUT).basis_total
    assert stake == -7
    assert venue.clearing(FUT) == 1
    venue.quote(FUT=500_005)
    venue.do(c.SettleVariation, symbol=FUT)
    assert (venue.contract(FUT).basis_total, venue.clearing(FUT)) == (0, 0)


def test_variation_is_refused_by_contract_kind_mark(venue: Venue) -> None:
    venue.refuse(
        Reject.INSTRUMENT_UNKNOWN, "instrument 'XYZ': expected one that is listed",
        c.SettleVariation, symbol="XYZ",
    )  # fmt: skip
    for symbol in (CALL, SPREAD):
        venue.refuse(
            Reject.INSTRUMENT_NOT_FOR_THIS,
            f"instrument {symbol}: expected a future or a perpetual, found an option",
            c.SettleVariation, symbol=symbol,
        )  # fmt: skip
    venue.contract(LIN).mark_points = None
    venue.refuse(
        Reject.MARK_MISSING, f"instrument {LIN}: expected a mark, found None",
        c.SettleVariation, symbol=LIN,
    )  # fmt: skip
    venue.quote(LIN=0, INV=0)
    venue.refuse(
        Reject.MARK_MISSING, f"instrument {INV}: expected a mark, found 0",
        c.SettleVariation, symbol=INV,
    )  # fmt: skip
    assert venue.do(c.SettleVariation, symbol=LIN) == (VariationSettled(0, 0, 0, 0, 0),)


def test_payments_beyond_what_money_can_hold(venue: Venue) -> None:
    check_money("x", 2**60 - 1)
    hold(venue, LIN, 0, alice=2**31, bob=-(2**31))
    venue.quote(LIN=2**28)
    venue.refuse(
        Reject.AMOUNT_TOO_LARGE, f"{LIN}: expected payments below {2**60} in all, found {2**60}",
        c.SettleVariation, symbol=LIN,
    )  # fmt: skip
    # The values fit, the money (a hundred times as much, on both sides) does not.
    venue.quote(LIN=2**24)
    venue.refuse(
        Reject.AMOUNT_TOO_LARGE,
        f"{LIN}: expected payments below {2**60} in all, found {2**56 * 100}",
        c.SettleVariation, symbol=LIN,
    )  # fmt: skip


# ── who cannot pay ───────────────────────────────────────────────────────────────────────────────


def test_a_debt_is_owed(venue: Venue) -> None:
    hold(venue, LIN, 500_000, alice=10, bob=-10)
    leave(venue, "alice", 1_000_000)
    venue.quote(LIN=490_000)
    events = venue.do(c.SettleVariation, symbol=LIN)
    assert events[-1] == VariationSettled(0, 490_000, 10_000_000, 10_000_000, 0)
    assert venue.held("alice") == -9_000_000


def test_what_is_collected_is_shared() -> None:
    venue = new_venue('losses = "collect"')
    hold(venue, LIN, 500_000, alice=10, bob=-7, carol=-3)
    leave(venue, "alice", 4_000_000)
    venue.quote(LIN=490_000)
    # Alice owes 10 dollars and has 4; the fund has 1: 7 and 3 tenths of 5 go to the winners.
    venue.do(c.Deposit, account="insurance", asset="USDC", amount=1_000_001)
    events = venue.do(c.SettleVariation, symbol=LIN)
    assert events[-1] == VariationSettled(0, 490_000, 5_000_001, 5_000_001, 4_999_999)
    assert (venue.held("alice"), venue.held("insurance")) == (0, 0)
    # Of 5,000,001 bob's share is 3,500,000.7, down; carol, the last, has the rest.
    assert (venue.held("bob") - ALL, venue.held("carol") - ALL) == (3_500_000, 1_500_001)


def test_a_fund_that_is_enough_makes_it_good() -> None:
    venue = new_venue('losses = "collect"')
    hold(venue, LIN, 500_000, alice=10, bob=-10)
    leave(venue, "alice", -5)
    venue.quote(LIN=490_000)
    venue.do(c.Deposit, account="insurance", asset="USDC", amount=11_000_000)
    events = venue.do(c.SettleVariation, symbol=LIN)
    assert events[-1] == VariationSettled(0, 490_000, 10_000_000, 10_000_000, 0)
    # A debt of before is neither paid nor raised.
    assert (venue.held("alice"), venue.held("insurance")) == (-5, 1_000_000)


def test_nobody_pays_and_nobody_gets() -> None:
    venue = new_venue('losses = "collect"')
    hold(venue, LIN, 500_000, alice=10, bob=-10)
    leave(venue, "alice", 0)
    venue.quote(LIN=490_000)
    events = venue.do(c.SettleVariation, symbol=LIN)
    assert events[-1] == VariationSettled(0, 490_000, 0, 0, 10_000_000)


def test_the_fund_pays_for_itself_then_the_venue() -> None:
    venue = new_venue()
    hold(venue, LIN, 500_000, insurance=10, bob=-10)
    venue.do(c.Deposit, account="insurance", asset="USDC", amount=4_000_000)
    venue.do(c.Deposit, account="venue", asset="USDC", amount=5_000_000)
    venue.quote(LIN=490_000)
    events = venue.do(c.SettleVariation, symbol=LIN)
    assert events[-1] == VariationSettled(0, 490_000, 9_000_000, 9_000_000, 1_000_000)
    assert (venue.held("insurance"), venue.held("venue")) == (0, 0)
    assert venue.held("bob") == ALL + 9_000_000


def test_where_losses_are_collected_the_venue_does_not_pay() -> None:
    venue = new_venue('losses = "collect"')
    hold(venue, LIN, 500_000, insurance=10, bob=-10)
    venue.do(c.Deposit, account="insurance", asset="USDC", amount=4_000_000)
    venue.do(c.Deposit, account="venue", asset="USDC", amount=5_000_000)
    venue.quote(LIN=490_000)
    events = venue.do(c.SettleVariation, symbol=LIN)
    assert events[-1] == VariationSettled(0, 490_000, 4_000_000, 4_000_000, 6_000_000)
    assert venue.held("venue") == 5_000_000


def isolated(venue: Venue) -> None:
    """Alice holds ten lots with a margin of 100 dollars."""
    venue.do(c.SetMarginMode, account="alice", symbol=LIN, mode=MarginMode.ISOLATED, leverage="5")
    venue.trade("alice", "bob", 10, 50_000)


def test_an_isolated_position_pays_and_gets_by_itself(venue: Venue) -> None:
    isolated(venue)
    venue.quote(LIN=490_000)
    venue.do(c.SettleVariation, symbol=LIN)
    assert (venue.margin("alice", LIN), venue.held("alice")) == (90_000_000, ALL - 100_000_000)
    venue.quote(LIN=520_000)
    venue.do(c.SettleVariation, symbol=LIN)
    assert (venue.margin("alice", LIN), venue.held("alice")) == (120_000_000, ALL - 100_000_000)


def test_an_isolated_position_never_owes(venue: Venue) -> None:
    isolated(venue)
    venue.do(c.Deposit, account="insurance", asset="USDC", amount=30_000_000)
    venue.quote(LIN=350_000)
    # 150 dollars are lost: 100 are there, 30 are the fund's.
    events = venue.do(c.SettleVariation, symbol=LIN)
    assert events[-1] == VariationSettled(0, 350_000, 130_000_000, 130_000_000, 20_000_000)
    assert (venue.margin("alice", LIN), venue.held("alice")) == (0, ALL - 100_000_000)
    assert venue.held("insurance") == 0


# ── funding ──────────────────────────────────────────────────────────────────────────────────────


def test_longs_pay_shorts_a_share_of_the_mark(venue: Venue) -> None:
    hold(venue, LIN, 400_000, alice=10, bob=-7, carol=-3)
    venue.time_ms = T0 + 100
    events = venue.do(c.PayFunding, symbol=LIN, until_ms=T0 + 60, rate="0.001")
    # A thousandth of 50,000 dollars is 50 a coin: a hundredth of a coin pays 0.5.
    assert events == (FundingPaid(0, T0 + 60, "50", "", "", 500_000, 500_000),)
    assert [venue.held(name) - ALL for name in ("alice", "bob", "carol")] == [
        -500_000, 350_000, 150_000
    ]  # fmt: skip
    contract = venue.contract(LIN)
    assert (contract.funded_ms, contract.phase_ms, contract.auction_ms) == (T0 + 60, T0 + 100, 0)
    assert (contract.future.since_ms, contract.future.span_ms) == (T0 + 100, 0)
    assert (contract.spot.since_ms, contract.spot.span_ms) == (T0 + 100, 0)
    assert venue.position("alice", LIN) == (10, 4_000_000, 4_000_000, 0)
    # A negative rate turns it round; a lot pays 0.0000005 of a dollar, against either.
    events = venue.do(c.PayFunding, symbol=LIN, until_ms=T0 + 61, rate="-0.00000001")
    assert events == (FundingPaid(0, T0 + 61, "-1/2000", "", "", 6, 5),)
    assert [venue.held(name) - ALL for name in ("alice", "bob", "carol")] == [
        -500_000 + 5, 350_000 - 4, 150_000 - 2
    ]  # fmt: skip
    assert venue.held("rounding") == 1


def test_funding_leaves_what_is_at_stake(venue: Venue) -> None:
    hold(venue, LIN, 500_000, alice=10, bob=-10)
    venue.trade("bob", "carol", 10, 51_000)
    assert venue.clearing(LIN) == 10_000_000
    venue.time_ms = T0 + 1
    venue.do(c.PayFunding, symbol=LIN, until_ms=T0 + 1, rate="0.001")
    assert venue.clearing(LIN) == 10_000_000
    assert venue.held("carol") == ALL + 500_000
    assert venue.held("rounding") == 0


def test_funding_of_an_inverse_and_of_a_quanto_contract(venue: Venue) -> None:
    hold(venue, INV, 1_000_000, alice=100, bob=-100)
    hold(venue, QUANTO, 400_000, alice=3, bob=-3)
    venue.time_ms = T0 + 1
    # 1,000 dollars at a thousandth are a dollar: 0.00002 coin.
    events = venue.do(c.PayFunding, symbol=INV, until_ms=T0 + 1, rate="0.001")
    assert events == (FundingPaid(1, T0 + 1, "1/50000000", "", "", 20_000, 20_000),)
    # Three ether of 2,000 dollars at a thousandth are 6 dollars, at a millionth of a coin each.
    events = venue.do(c.PayFunding, symbol=QUANTO, until_ms=T0 + 1, rate="0.001")
    assert events == (FundingPaid(5, T0 + 1, "2", "", "", 6_000, 6_000),)
    assert venue.held("alice", BTC) == COIN - 26_000


def test_funding_is_refused_by_contract_kind_period_rate_mark(venue: Venue) -> None:
    venue.time_ms = T0 + 10
    told: dict[str, Any] = {"symbol": "XYZ", "until_ms": T0 + 11, "rate": "1.1"}
    steps = [
        (Reject.INSTRUMENT_UNKNOWN, "instrument 'XYZ': expected one that is listed",
         {"symbol": FUT}),
        (Reject.INSTRUMENT_NOT_FOR_THIS, f"instrument {FUT}: expected a perpetual, found a future",
         {"symbol": LIN}),
        (Reject.TIME_NOT_REACHED, f"{LIN}: expected a time up to {T0 + 10}, found {T0 + 11}",
         {"until_ms": T0}),
        (Reject.PERIOD_PAID, f"{LIN}: expected a time after {T0}, found {T0}",
         {"until_ms": T0 + 10}),
        (Reject.RATE_INVALID, f"instrument {LIN}: expected a rate from -1 to 1, found 11/10",
         {"rate": "-1.01"}),
        (Reject.RATE_INVALID, f"instrument {LIN}: expected a rate from -1 to 1, found -101/100",
         {"rate": None}),
        (Reject.RATE_INVALID,
         f"instrument {LIN}: expected a rate, as the venue's rulebook computes none",
         {"rate": "1"}),
    ]  # fmt: skip
    for code, detail, change in steps:
        venue.refuse(code, detail, c.PayFunding, **told)
        told.update(change)  # type: ignore[call-overload]
    for mark in (None, 0):
        venue.contract(LIN).mark_points = mark
        venue.refuse(
            Reject.MARK_MISSING, f"instrument {LIN}: expected a mark, found {mark}",
            c.PayFunding, **told,
        )  # fmt: skip
    venue.quote()
    venue.do(c.PayFunding, **told)
    venue.refuse(
        Reject.PERIOD_PAID, f"{LIN}: expected a time after {T0 + 10}, found {T0 + 10}",
        c.PayFunding, **told,
    )  # fmt: skip


def test_funding_beyond_money_is_refused(venue: Venue) -> None:
    hold(venue, LIN, 1, alice=2**40, bob=-(2**40))
    venue.time_ms = T0 + 1
    found = 2 * 2**40 * 50_000_000
    venue.refuse(
        Reject.AMOUNT_TOO_LARGE, f"{LIN}: expected payments below {2**60} in all, found {found}",
        c.PayFunding, symbol=LIN, until_ms=T0 + 1, rate="1",
    )  # fmt: skip


FUNDING = """
[engine.funding]
payment = "funding_payment"
"""
COLUMNS = """
[at.instrument]
funding_payment = "(future_twap - spot_twap) * (1 - auction_share) + own_number * funding_years"

[inputs.instrument.future_twap]
about = "average mark"
default = 0

[inputs.instrument.spot_twap]
about = "average index"
default = 0

[inputs.instrument.auction_share]
about = "share of the period in auctions"
default = 0

[inputs.instrument.funding_years]
about = "length of the period"
default = 0

[inputs.instrument.own_number]
about = "the contract's own"
"""


def computing() -> Venue:
    """A venue whose rulebook computes funding: the premium, and a number a year."""
    venue = new_venue()
    toml = engine_text(TENTH.replace("[answer]", f"{COLUMNS}\n[answer]"), FUNDING)
    venue.do(c.AdoptRulebook, name="tenth", toml=toml, day=DAY, venue=True)
    names = listing("OWN", parameters={"own_number": "31536000"})
    assert venue.send(names).code == 0
    hold(venue, "OWN", 500_000, alice=1_000, bob=-1_000)
    return venue


def tick(venue: Venue, after_ms: int, mark: int | None, index: int | None) -> None:
    venue.time_ms += after_ms
    venue.do(
        c.PublishMarket,
        index=() if index is None else (IndexPrice("BTC", index * NANO, 0),),
        marks=() if mark is None else (MarkPrice("OWN", mark, 0),),
    )


def test_funding_by_the_rulebook() -> None:
    venue = computing()
    tick(venue, 0, 510_000, 50_000)
    # 51,000 for 600 ms and 52,000 for 400, over an index of 50,000 then 50,500: 51,400 and 50,200.
    tick(venue, 600, 520_000, 50_500)
    venue.time_ms += 400
    events = venue.do(c.PayFunding, symbol="OWN", until_ms=venue.time_ms)
    # 1,200 dollars, and a second of 31,536,000 a year: one more, for one coin.
    assert events == (
        FundingPaid(7, venue.time_ms, "1201", "51400", "50200", 1_201_000_000, 1_201_000_000),
    )
    assert venue.held("alice") == ALL - 1_201_000_000


def test_time_in_auctions_counts_for_nothing() -> None:
    venue = computing()
    tick(venue, 0, 510_000, 50_000)
    venue.time_ms += 100
    venue.do(c.SetPhase, symbol="OWN", phase=Phase.AUCTION)
    tick(venue, 100, 600_000, 50_000)
    venue.time_ms += 50
    venue.do(c.SetPhase, symbol="OWN", phase=Phase.CONTINUOUS)
    venue.time_ms += 100
    venue.do(c.SetPhase, symbol="OWN", phase=Phase.AUCTION)
    venue.time_ms += 50
    # 51,000 for 100 ms, 60,000 for 100; half of the 400 ms were auctions.
    events = venue.do(c.PayFunding, symbol="OWN", until_ms=T0 + 400)
    payment = Fraction(5_500, 2) + Fraction(2, 5)
    money = payment.numerator * DOLLAR // payment.denominator
    assert events == (FundingPaid(7, T0 + 400, str(payment), "55500", "50000", money, money),)
    # The auction goes on, and counts in the next period from now.
    assert (venue.contract("OWN").auction_ms, venue.contract("OWN").phase_ms) == (0, T0 + 400)
    venue.time_ms += 30
    # A period that was one long auction costs nothing.
    events = venue.do(c.PayFunding, symbol="OWN", until_ms=T0 + 430)
    assert events == (FundingPaid(7, T0 + 430, "0", "", "", 0, 0),)
    venue.time_ms += 1
    venue.do(c.SetPhase, symbol="OWN", phase=Phase.CONTINUOUS)
    venue.time_ms += 3
    events = venue.do(c.PayFunding, symbol="OWN", until_ms=T0 + 434)
    # One of four ms was an auction.
    assert events[0].payment == str(Fraction(3 * 10_000, 4) + Fraction(4, 1_000))  # type: ignore[attr-defined]


@pytest.mark.parametrize(("mark", "index"), [(None, None), (None, 50_000), (510_000, None)])
def test_funding_needs_a_mark_and_an_index(mark: int | None, index: int | None) -> None:
    venue = computing()
    if index is None:
        venue.contract("OWN").spot.known = False
    tick(venue, 0, mark, index)
    venue.time_ms += 10
    venue.refuse(
        Reject.PRICES_INCOMPLETE,
        f"instrument OWN: expected marks and index prices since {T0}",
        c.PayFunding, symbol="OWN", until_ms=T0 + 10,
    )  # fmt: skip


def test_a_number_that_is_missing() -> None:
    venue = computing()
    venue.time_ms += 10
    found = venue.tell(c.PayFunding, symbol=LIN, until_ms=T0 + 10)
    assert found.code == Reject.PRICES_INCOMPLETE
    detail = found.events[0].detail  # type: ignore[attr-defined]
    assert detail.startswith(f"instrument {LIN}: ")
    assert "own_number" in detail
    venue.refuse(
        Reject.RATE_INVALID,
        f"instrument {INV}: expected a rate, as the venue's rulebook computes none",
        c.PayFunding, symbol=INV, until_ms=T0 + 10,
    )  # fmt: skip


# ── expiry ───────────────────────────────────────────────────────────────────────────────────────


def test_a_future_expires_at_a_price_that_is_told(venue: Venue) -> None:
    hold(venue, FUT, 500_000, alice=1_000_000, bob=-1_000_000)
    venue.do(c.PlaceOrder, account="carol", order="o", symbol=FUT, side=Side.BUY, lots=1,
             price_ticks=1)  # fmt: skip
    venue.do(c.PlaceOrder, account="carol", order="p", symbol=LIN, side=Side.BUY, lots=1,
             price_ticks=1)  # fmt: skip
    venue.time_ms = EXPIRY - 1
    venue.refuse(
        Reject.INSTRUMENT_NOT_EXPIRED,
        f"instrument {FUT}: expected a time from {EXPIRY}, found {EXPIRY - 1}",
        c.SettleExpiry, symbol=FUT, price_nano=0,
    )  # fmt: skip
    venue.time_ms = EXPIRY
    events = venue.do(c.SettleExpiry, symbol=FUT, price_nano=50_100 * NANO + NANO // 2)
    assert events == (
        PositionChanged(16, 2, 0, 0, 0, 100_500_000),
        PositionChanged(17, 2, 0, 0, 0, -100_500_000),
        OrderReduced(18, "o", 0, 0, "closed"),
        ExpirySettled(2, "100201/2", 100_500_000, 100_500_000),
    )
    assert (venue.held("alice"), venue.held("bob")) == (ALL + 100_500_000, ALL - 100_500_000)
    contract = venue.contract(FUT)
    assert (contract.settled, contract.holders) == ("expired", {})
    assert contract.number not in venue.state.desk.books
    assert contract.basis_total == 0
    assert list(venue.state.orders_of(18)) == ["p"]
    over = f"instrument {FUT}: expected one that is traded, found expired"
    venue.refuse(Reject.INSTRUMENT_CLOSED, over, c.SettleExpiry, symbol=FUT)


@pytest.mark.parametrize(
    ("symbol", "entry", "price", "asset", "each", "gain"),
    [
        # A hundredth of a call struck at 50,000, for which 10 dollars were paid elsewhere.
        (CALL, 10_000, 51_000, USDC, 10_000_000, 0),
        (CALL, 10_000, 50_000, USDC, 0, -10_000_000),
        (CALL, 0, 53_000, USDC, 30_000_000, 30_000_000),
        # A tenth of a put struck at 40,000: 8,000 dollars at 32,000 are a quarter coin.
        (PUT, 2_000, 32_000, BTC, 25_000_000, 23_000_000),
        (PUT, 2_000, 40_000, BTC, 0, -2_000_000),
        # A hundredth of what lies between 60,000 and 70,000.
        (SPREAD, 30_000, 64_000, USDC, 40_000_000, 10_000_000),
        (SPREAD, 30_000, 99_000, USDC, 100_000_000, 70_000_000),
    ],
)
def test_options_expire_at_what_they_are_worth(
    venue: Venue, symbol: str, entry: int, price: int, asset: int, each: int, gain: int
) -> None:
    hold(venue, symbol, entry, alice=2, bob=-2)
    alice, bob = venue.held("alice", asset), venue.held("bob", asset)
    venue.time_ms = EXPIRY
    events = venue.do(c.SettleExpiry, symbol=symbol, price_nano=price * NANO)
    assert events[0] == PositionChanged(16, venue.contract(symbol).number, 0, 0, 0, 2 * gain)
    assert events[-1] == ExpirySettled(
        venue.contract(symbol).number, str(price), 2 * each, 2 * each
    )
    assert venue.held("alice", asset) == alice + 2 * each
    assert venue.held("bob", asset) == bob - 2 * each


def test_a_linear_contract_may_settle_at_nothing_an_inverse_one_not(venue: Venue) -> None:
    hold(venue, FUT, 500_000, alice=10, bob=-10)
    venue.time_ms = EXPIRY
    venue.refuse(
        Reject.PRICE_NOT_POSITIVE, f"instrument {PUT}: expected a price above 0",
        c.SettleExpiry, symbol=PUT, price_nano=0,
    )  # fmt: skip
    venue.do(c.SettleExpiry, symbol=FUT, price_nano=0)
    assert venue.held("bob") == ALL + 500_000
    venue.do(c.SettleExpiry, symbol=PUT, price_nano=1)


def test_a_settlement_that_rounds(venue: Venue) -> None:
    hold(venue, FUT, 500_000, alice=1, bob=-1)
    venue.time_ms = EXPIRY
    # 0.3 micro of gain: nothing for the winner, one from the loser.
    events = venue.do(c.SettleExpiry, symbol=FUT, price_nano=50_000_300_000_000)
    assert events == (
        PositionChanged(16, 2, 0, 0, 0, 0),
        PositionChanged(17, 2, 0, 0, 0, -1),
        ExpirySettled(2, "500003/10", 1, 0),
    )
    assert (venue.held("rounding"), venue.clearing(FUT)) == (1, 0)


def test_expiry_is_refused_by_contract_kind_time(venue: Venue) -> None:
    venue.refuse(
        Reject.INSTRUMENT_UNKNOWN, "instrument 'XYZ': expected one that is listed",
        c.SettleExpiry, symbol="XYZ",
    )  # fmt: skip
    venue.refuse(
        Reject.INSTRUMENT_NOT_FOR_THIS,
        f"instrument {LIN}: expected one that expires, or is halted and a price for it, "
        "found a perpetual",
        c.SettleExpiry, symbol=LIN,
    )  # fmt: skip


def test_expiry_at_the_average_of_the_last_half_hour(venue: Venue) -> None:
    hold(venue, FUT, 500_000, alice=1_000_000, bob=-1_000_000)
    venue.time_ms = EXPIRY - 2_000_000
    venue.quote(index=60_000)
    venue.time_ms = EXPIRY - 1_200_000
    venue.quote(index=50_000)
    venue.time_ms = EXPIRY - 300_000
    venue.quote(index=40_000)
    venue.time_ms = EXPIRY + 5
    venue.quote(index=1)
    # Ten minutes at 60,000, fifteen at 50,000 and five at 40,000.
    price = Fraction(10 * 60_000 + 15 * 50_000 + 5 * 40_000, 30)
    events = venue.do(c.SettleExpiry, symbol=FUT)
    paid = 1_666_666_667
    assert events[-1] == ExpirySettled(2, str(price), paid, paid - 1)
    assert venue.held("alice") == ALL + paid - 1


def test_a_price_that_came_late_holds_for_the_time_it_held(venue: Venue) -> None:
    venue.state.underlyings.clear()
    venue.time_ms = EXPIRY
    missing = (
        f"instrument {FUT}: expected index prices of BTC from {EXPIRY - 1_800_000} to {EXPIRY}, "
        "found none"
    )
    venue.refuse(Reject.PRICES_INCOMPLETE, missing, c.SettleExpiry, symbol=FUT)
    venue.quote()
    venue.refuse(Reject.PRICES_INCOMPLETE, missing, c.SettleExpiry, symbol=FUT)
    venue.do(c.PublishMarket, index=(IndexPrice("BTC", 7 * NANO, 0),), marks=())
    venue.state.underlyings["BTC"].seen.clear()
    venue.state.underlyings["BTC"].seen.append((EXPIRY - 1, 7 * NANO))
    assert venue.do(c.SettleExpiry, symbol=FUT)[-1] == ExpirySettled(2, "7", 0, 0)


def test_without_a_window_there_is_no_average() -> None:
    venue = new_venue("settlement_window_ms = 0")
    venue.time_ms = EXPIRY
    found = venue.tell(c.SettleExpiry, symbol=FUT)
    assert found.code == Reject.PRICES_INCOMPLETE


def test_an_isolated_position_that_expires_gives_its_margin_back(venue: Venue) -> None:
    venue.do(c.SetMarginMode, account="alice", symbol=FUT, mode=MarginMode.ISOLATED, leverage="5")
    venue.trade("alice", "bob", 10_000, 50_000, symbol=FUT)
    assert venue.margin("alice", FUT) == 100_000_000
    venue.time_ms = EXPIRY
    venue.do(c.SettleExpiry, symbol=FUT, price_nano=51_000 * NANO)
    assert (venue.margin("alice", FUT), venue.held("alice")) == (0, ALL + 10_000_000)


def test_an_isolated_position_that_expires_owes_nothing(venue: Venue) -> None:
    venue.do(c.SetMarginMode, account="alice", symbol=FUT, mode=MarginMode.ISOLATED, leverage="5")
    venue.trade("alice", "bob", 10_000, 50_000, symbol=FUT)
    venue.do(c.Deposit, account="insurance", asset="USDC", amount=70_000_000)
    venue.time_ms = EXPIRY
    # 150 dollars are lost, of which 100 are there.
    venue.do(c.SettleExpiry, symbol=FUT, price_nano=35_000 * NANO)
    assert (venue.margin("alice", FUT), venue.held("alice")) == (0, ALL - 100_000_000)
    assert (venue.held("insurance"), venue.held("bob")) == (20_000_000, ALL + 150_000_000)


def test_the_fund_holds_to_the_end(venue: Venue) -> None:
    hold(venue, FUT, 500_000, insurance=10_000, bob=-10_000)
    venue.time_ms = EXPIRY
    venue.do(c.SettleExpiry, symbol=FUT, price_nano=51_000 * NANO)
    assert venue.held("insurance") == 10_000_000


# ── interest ─────────────────────────────────────────────────────────────────────────────────────


def test_debts_grow_and_the_venue_receives(venue: Venue) -> None:
    leave(venue, "alice", -1_001)
    leave(venue, "bob", -1)
    leave(venue, "carol", 0)
    venue.time_ms = T0 + 10
    # A hundredth of 1,001 is 10.01, up; and of 1 it is one.
    told = {"asset": "USDC", "until_ms": T0 + 10, "rate": "0.01"}
    assert venue.do(c.AccrueInterest, **told) == (InterestAccrued(0, T0 + 10, 12),)
    assert [venue.held(name) for name in ("alice", "bob", "carol", "venue")] == [-1_012, -2, 0, 12]
    assert venue.state.interest_ms == {0: T0 + 10}
    venue.refuse(
        Reject.PERIOD_PAID, f"USDC: expected a time after {T0 + 10}, found {T0 + 10}",
        c.AccrueInterest, **told,
    )  # fmt: skip
    assert venue.do(c.AccrueInterest, **{**told, "asset": "BTC"}) == (
        InterestAccrued(1, T0 + 10, 0),
    )
    assert venue.state.interest_ms == {0: T0 + 10, 1: T0 + 10}


def test_interest_is_refused_by_asset_rate_period(venue: Venue) -> None:
    told = {"asset": "XYZ", "until_ms": T0 + 1, "rate": "1.001"}
    venue.refuse(
        Reject.ASSET_UNKNOWN, "asset 'XYZ': expected one that is listed", c.AccrueInterest, **told
    )
    told["asset"] = "USDC"
    for rate in ("1.001", "-0.1"):
        told["rate"] = rate
        venue.refuse(
            Reject.RATE_INVALID, f"asset USDC: expected a rate from 0 to 1, found {rate}",
            c.AccrueInterest, **told,
        )  # fmt: skip
    told["rate"] = "1"
    venue.refuse(
        Reject.TIME_NOT_REACHED, f"USDC: expected a time up to {T0}, found {T0 + 1}",
        c.AccrueInterest, **told,
    )  # fmt: skip
    venue.time_ms = T0 + 1
    leave(venue, "alice", -7)
    assert venue.do(c.AccrueInterest, **told) == (InterestAccrued(0, T0 + 1, 7),)
    told["until_ms"] = T0
    venue.refuse(
        Reject.PERIOD_PAID, f"USDC: expected a time after {T0 + 1}, found {T0}",
        c.AccrueInterest, **told,
    )  # fmt: skip
    assert venue.do(c.AccrueInterest, asset="BTC", until_ms=1, rate="0") == (
        InterestAccrued(1, 1, 0),
    )
    venue.refuse(
        Reject.PERIOD_PAID, "BTC: expected a time after 1, found 1",
        c.AccrueInterest, asset="BTC", until_ms=1, rate="0",
    )  # fmt: skip


def test_interest_beyond_money_is_refused(venue: Venue) -> None:
    leave(venue, "alice", -(2**60))
    venue.time_ms = T0 + 1
    venue.refuse(
        Reject.AMOUNT_TOO_LARGE, f"USDC: expected payments below {2**60} in all, found {2**60}",
        c.AccrueInterest, asset="USDC", until_ms=T0 + 1, rate="1",
    )  # fmt: skip


def test_surplus_of_roundings_goes_to_winners() -> None:
    third = Fraction(1, 3)
    cases: list[tuple[list[tuple[int, Fraction]], list[int], list[int]]] = [
        # Seven in, 6.67 and 0.33 due, 6 and 0 after rounding: the one that is left goes to who got
        # nothing.
        ([(1, Fraction(-7)), (2, 20 * third), (3, third)], [-7, 6, 0], [-7, 6, 1]),
        # Two left for one who got nothing: the largest gain gets the other.
        ([(1, Fraction(-8)), (2, 10 * third), (3, 13 * third), (4, third)], [-8, 3, 3, 0],
         [-8, 3, 4, 1]),
        # One left for two who got nothing: the first of them.
        ([(1, Fraction(-1)), (2, third), (3, 2 * third)], [-1, 0, 0], [-1, 1, 0]),
        # The largest, though not the last nor the first by number.
        ([(1, Fraction(-9)), (5, 8 * third), (7, 14 * third), (6, 5 * third)], [-9, 2, 4, 1],
         [-9, 2, 6, 1]),
        # Nothing is left, or nobody gains.
        ([(1, Fraction(-3)), (2, Fraction(3))], [-3, 3], [-3, 3]),
        ([(1, -third), (2, Fraction(0))], [-1, 0], [-1, 0]),
        # More was paid out than came in: that is not the winners' loss.
        ([(1, Fraction(-3)), (2, Fraction(3))], [-2, 3], [-2, 3]),
        # Who is due nothing at all gets no unit.
        ([(1, Fraction(-1)), (2, Fraction(0)), (3, Fraction(1))], [-1, 0, 0], [-1, 0, 1]),
    ]  # fmt: skip
    for exact, rounded, expected in cases:
        holders = [holder for holder, _ in exact]
        amounts = list(zip(holders, rounded, strict=True))
        assert settlement._with_surplus(exact, amounts) == list(zip(holders, expected, strict=True))


def test_a_margin_that_owes_is_made_good_by_the_fund_as_far_as_it_can(venue: Venue) -> None:
    venue.do(c.SetMarginMode, account="carol", symbol=FUT, mode=MarginMode.ISOLATED, leverage="10")
    venue.trade("carol", "bob", 10_000, 50_000, symbol=FUT)
    venue.wind_up("carol", to_the_end=True)
    venue.do(c.Deleverage, account="carol", counterparty="bob", symbol=FUT, lots=9_999,
             price_ticks=40_000)  # fmt: skip
    # 50 dollars less 99.99.
    assert venue.margin("carol", FUT) == -49_990_000
    venue.do(c.Deposit, account="insurance", asset="USDC", amount=20_000_000)
    venue.time_ms = EXPIRY
    venue.do(c.SettleExpiry, symbol=FUT, price_nano=50_000 * NANO)
    assert (venue.margin("carol", FUT), venue.held("insurance")) == (-29_990_000, 0)
    assert venue.held("carol") == ALL - 50_000_000
    # What is left is a debt of the position, not of its owner; others may pay it.
    venue.refuse(
        Reject.ACCOUNT_STILL_LIQUIDATABLE,
        f"account carol, {FUT}: expected no debt, found 29990000",
        c.EndLiquidation, account="carol",
    )  # fmt: skip
    venue.do(c.SocialiseLoss, account="carol", asset="USDC", symbol=FUT,
             shares=(Share("bob", 29_990_000),))  # fmt: skip
    venue.do(c.EndLiquidation, account="carol")
    assert (venue.margin("carol", FUT), venue.held("carol")) == (0, ALL - 50_000_000)
    # A fund that has more pays no more than is owed.
    venue = new_venue()
    venue.do(c.SetMarginMode, account="carol", symbol=FUT, mode=MarginMode.ISOLATED, leverage="10")
    venue.trade("carol", "bob", 10_000, 50_000, symbol=FUT)
    venue.wind_up("carol", to_the_end=True)
    venue.do(c.Deleverage, account="carol", counterparty="bob", symbol=FUT, lots=9_999,
             price_ticks=40_000)  # fmt: skip
    venue.do(c.Deposit, account="insurance", asset="USDC", amount=60_000_000)
    venue.time_ms = EXPIRY
    venue.do(c.SettleExpiry, symbol=FUT, price_nano=50_000 * NANO)
    assert venue.held("insurance") == 10_010_000
    assert venue.held("carol") == ALL - 50_000_000


TABLES = """
[tables.scale]
by    = "underlying"
about = "a multiple by coin"

[[tables.scale.rows]]
keys      = ["BTC"]
effective = 2020-01-01
source    = "these tests"
values    = { coin = 3 }

[[tables.scale.rows]]
keys      = ["*"]
effective = 2020-01-01
source    = "these tests"
values    = { coin = 5 }

[tables.more]
by    = "instrument"
about = "dollars by contract"

[[tables.more.rows]]
keys      = ["OWN"]
effective = 2020-01-01
source    = "these tests"
values    = { dollars = 7 }

[[tables.more.rows]]
keys      = ["*"]
effective = 2020-01-01
source    = "these tests"
values    = { dollars = 9 }
"""


def test_funding_may_look_up_what_is_told_of_the_contract_and_its_coin() -> None:
    columns = COLUMNS.replace(
        '"(future_twap - spot_twap)', '"scale.coin * (future_twap - spot_twap) + more.dollars'
    ).replace("+ more.dollars *", "+ more.dollars + 0 *")
    toml = TENTH.replace("[answer]", f"{columns}\n[answer]") + TABLES
    venue = new_venue()
    venue.do(c.AdoptRulebook, name="tenth", toml=engine_text(toml, FUNDING), day=DAY, venue=True)
    assert venue.send(listing("OWN", parameters={"own_number": "0"})).code == 0
    hold(venue, "OWN", 500_000, alice=1_000, bob=-1_000)
    tick(venue, 0, 510_000, 50_000)
    venue.time_ms += 1_000
    events = venue.do(c.PayFunding, symbol="OWN", until_ms=venue.time_ms)
    # Three times a thousand dollars, and seven.
    assert events[0].payment == "3007"  # type: ignore[attr-defined]


def test_auctions_of_a_period_add_up() -> None:
    venue = computing()
    tick(venue, 0, 510_000, 50_000)
    for phase, after_ms in (
        (Phase.AUCTION, 100), (Phase.CONTINUOUS, 50), (Phase.AUCTION, 100), (Phase.CONTINUOUS, 30),
    ):  # fmt: skip
        venue.time_ms += after_ms
        venue.do(c.SetPhase, symbol="OWN", phase=phase)
    assert venue.contract("OWN").auction_ms == 80
    venue.time_ms += 40
    events = venue.do(c.PayFunding, symbol="OWN", until_ms=T0 + 320)
    # A quarter of 320 ms; and 0.32 for as many ms.
    assert events[0].payment == str(Fraction(750) + Fraction(32, 100))  # type: ignore[attr-defined]


def test_roundings_that_are_missing_are_the_rounding_accounts() -> None:
    venue = new_venue('money_rounding = "half_even"')
    hold(venue, FUT, 500_000, alice=116, bob=-53, carol=-63)
    venue.quote(FUT=500_001)
    # 5.3 and 6.3 come in as 5 and 6; 11.6 go out as 12.
    events = venue.do(c.SettleVariation, symbol=FUT)
    assert events[-1] == VariationSettled(2, 500_001, 11, 12, 0)
    assert venue.held("rounding") == -1
    assert venue.held("alice") == ALL + 12


def test_what_is_at_stake_is_not_shared_out() -> None:
    venue = new_venue('losses = "collect"')
    hold(venue, LIN, 500_000, alice=10, bob=-10)
    venue.trade("bob", "carol", 10, 51_000)
    assert venue.clearing(LIN) == 10_000_000
    leave(venue, "alice", 200_000)
    venue.time_ms = T0 + 1
    # Half a dollar is due, of which there are 20 cents.
    events = venue.do(c.PayFunding, symbol=LIN, until_ms=T0 + 1, rate="0.001")
    assert events == (FundingPaid(0, T0 + 1, "50", "", "", 200_000, 200_000),)
    assert venue.clearing(LIN) == 10_000_000


def test_of_winners_the_fund_comes_last() -> None:
    for first, second in (("insurance", "carol"), ("carol", "insurance")):
        venue = new_venue('losses = "collect"')
        hold(venue, LIN, 500_000, **{first: -3, "alice": 10, second: -7})
        leave(venue, "alice", 5_000_001)
        held = {name: venue.held(name) for name in ("insurance", "carol")}
        venue.quote(LIN=490_000)
        venue.do(c.SettleVariation, symbol=LIN)
        gains = {name: venue.held(name) - held[name] for name in held}
        # Three and seven tenths of 5,000,001: what the shares leave over is the fund's.
        small, large = 1_500_000, 3_500_000
        expected = {first: small, second: large}
        expected["insurance"] += 1
        assert gains == expected


@pytest.mark.parametrize(("sign", "basis", "owed"), [(1, 1, 0), (-1, -1, 1)])
def test_values_of_coin_that_do_not_net(venue: Venue, sign: int, basis: int, owed: int) -> None:
    hold(venue, INV, 1_000_000, alice=sign, bob=sign, carol=-2 * sign)
    venue.quote(INV=1_000_036)
    # A lot is 199,992,800.26 thousandths of a nano, two are 399,985,600.52: one is left.
    venue.do(c.SettleVariation, symbol=INV)
    assert venue.contract(INV).basis_total == basis
    assert venue.clearing(INV) == owed
