"""Accounts that cannot pay: every step of winding them up, to the unit and in its words."""

from __future__ import annotations

from typing import Any

import pytest

from solvent.account.ledger import FUND, GENERAL, node
from solvent.engine.image import image, restore
from solvent.errors import Reject
from solvent.messages import commands as c
from solvent.messages.events import (
    FeePaid,
    LiquidationBegun,
    OrderReduced,
    PositionChanged,
    Posted,
    StatusChanged,
)
from solvent.messages.fields import Command, CoverFrom, MarginMode, OpeningPosition, Share, Side
from tests.venues import BTC, CALL, COIN, DOLLAR, FUT, INV, LIN, T0, USDC, Venue, new_venue, own

ALL = 10_000 * DOLLAR
UNKNOWN = "account 'zoe': expected one that is open"


@pytest.fixture
def venue() -> Venue:
    """Dave holds 200 lots from 50,000 dollars: 10,000, of which he has 400; 500 are maintenance."""
    venue = new_venue()
    venue.open("dave", usdc=1_000)
    venue.trade("dave", "bob", 200, 50_000)
    own(venue, "dave", 400 * DOLLAR)
    return venue


def taken(venue: Venue) -> Venue:
    venue.do(c.BeginLiquidation, account="dave")
    return venue


def sale(**changes: Any) -> dict[str, Any]:
    told = {"account": "dave", "counterparty": "carol", "symbol": LIN, "lots": 50,
            "price_ticks": 49_000}  # fmt: skip
    return {**told, **changes}


# ── beginning ────────────────────────────────────────────────────────────────────────────────────


def test_it_begins_below_maintenance(venue: Venue) -> None:
    own(venue, "dave", 500 * DOLLAR)
    venue.refuse(
        Reject.ACCOUNT_NOT_LIQUIDATABLE,
        "account dave: expected equity below its maintenance margin, 500000000 micro, found "
        "500000000",
        c.BeginLiquidation, account="dave",
    )  # fmt: skip
    own(venue, "dave", 500 * DOLLAR - 1)
    told = {"account": "dave", "side": Side.SELL, "price_ticks": 1}
    venue.do(c.PlaceOrder, order="a", symbol=LIN, lots=3, **told)
    venue.do(c.PlaceOrder, order="b", symbol=LIN, lots=2, **told)
    events = venue.do(c.BeginLiquidation, account="dave")
    assert events == (
        OrderReduced(20, "a", 0, 0, "liquidation"), OrderReduced(20, "b", 0, 0, "liquidation"),
        # Orders in a contract are exposure: 205 lots, under tenth.
        LiquidationBegun(20, 499_999_999, 512_500_000),
    )  # fmt: skip
    assert venue.account("dave").status == "liquidation"
    assert dict(venue.state.orders_of(20)) == {}
    assert venue.state.desk.order_count(0) == 0
    venue.refuse(
        Reject.ACCOUNT_IN_LIQUIDATION,
        "account dave: expected an active one, found under liquidation",
        c.BeginLiquidation, account="dave",
    )  # fmt: skip


def test_it_does_not_begin_where_nothing_is_known(venue: Venue) -> None:
    venue.refuse(Reject.ACCOUNT_UNKNOWN, UNKNOWN, c.BeginLiquidation, account="zoe")
    venue.time_ms = T0 + 60_001
    venue.refuse(
        Reject.RISK_UNKNOWN, "account dave: expected known risk, found none by tenth",
        c.BeginLiquidation, account="dave",
    )  # fmt: skip
    venue.time_ms = T0 + 60_001
    venue.publish()
    venue.do(c.FreezeAccount, account="dave", reason="")
    taken(venue)
    assert venue.account("dave").frozen


def test_buy_orders_go_too(venue: Venue) -> None:
    own(venue, "dave", 2_000 * DOLLAR)
    venue.do(c.PlaceOrder, account="dave", order="a", symbol=FUT, side=Side.BUY, lots=3,
             price_ticks=1)  # fmt: skip
    own(venue, "dave", 0)
    gone = venue.do(c.BeginLiquidation, account="dave")[0]
    assert gone == OrderReduced(20, "a", 0, 0, "liquidation")


# ── against another account ──────────────────────────────────────────────────────────────────────


def test_a_position_is_reduced_against_another(venue: Venue) -> None:
    taken(venue)
    found = venue.tell(c.Liquidate, **sale(fee_ppm=5_000))
    # 50 lots from 50,000 to 49,000 lose 50 dollars; of 2,450 dollars 12.25 are the fee.
    assert found.events[:3] == (
        PositionChanged(20, 0, 150, 75_000_000, 75_000_000, -50_000_000),
        PositionChanged(18, 0, 50, 24_500_000, 24_500_000, 0),
        FeePaid(20, "liquidation", 12_250_000),
    )
    assert isinstance(found.events[3], Posted)
    venue.sound()
    assert venue.held("dave") == 400 * DOLLAR - 62_250_000
    assert venue.held("insurance") == 12_250_000
    # All the rest, at a loss that is a debt; no fee is taken of a debt.
    events = venue.do(c.Liquidate, **sale(lots=150, price_ticks=45_000, fee_ppm=5_000))
    assert events[-1] == FeePaid(20, "liquidation", 0)
    assert venue.held("dave") == 337_750_000 - 750 * DOLLAR


def test_a_fee_is_rounded_up_and_cut_to_what_is_there(venue: Venue) -> None:
    taken(venue)
    events = venue.do(c.Liquidate, **sale(lots=1, price_ticks=50_001, fee_ppm=1))
    # A ppm of 50.001 dollars is 50.001 micro.
    assert events[-1] == FeePaid(20, "liquidation", 51)
    own(venue, "dave", 7)
    events = venue.do(c.Liquidate, **sale(lots=1, price_ticks=50_000, fee_ppm=1_000_000))
    assert events[-1] == FeePaid(20, "liquidation", 7)
    assert (venue.held("dave"), venue.held("insurance")) == (0, 58)


def test_who_takes_it_must_have_the_margin(venue: Venue) -> None:
    venue.open("erin", usdc=100)
    taken(venue)
    told = sale(counterparty="erin", lots=21, price_ticks=50_000, fee_ppm=0)
    venue.refuse(
        Reject.MARGIN_INSUFFICIENT,
        "account erin: expected equity of at least its initial margin by tenth, 105000000 micro, "
        "found 100000000",
        c.Liquidate, **told,
    )  # fmt: skip
    venue.do(c.Liquidate, **{**told, "lots": 20})
    venue.do(c.FreezeAccount, account="carol", reason="")
    venue.refuse(
        Reject.ACCOUNT_FROZEN, "account carol: expected an active one, found frozen",
        c.Liquidate, **sale(fee_ppm=0),
    )  # fmt: skip


def test_an_isolated_counterparty_brings_its_margin(venue: Venue) -> None:
    venue.do(c.SetMarginMode, account="carol", symbol=LIN, mode=MarginMode.ISOLATED, leverage="5")
    taken(venue)
    venue.do(c.Liquidate, **sale(price_ticks=50_000, fee_ppm=0))
    assert venue.margin("carol", LIN) == 500 * DOLLAR
    assert venue.held("carol") == ALL - 500 * DOLLAR


@pytest.mark.parametrize("kind", [c.Liquidate, c.TakeOver, c.Deleverage])
def test_closing_is_refused_by_account_contract_lots(venue: Venue, kind: type[Command]) -> None:
    told = sale(account="zoe", symbol="XYZ", lots=201)
    if kind is c.Liquidate:
        told["fee_ppm"] = 0
    if kind is c.TakeOver:
        del told["counterparty"]
    else:
        venue.refuse(Reject.ACCOUNT_UNKNOWN, UNKNOWN, kind, **{**told, "counterparty": "zoe"})
    venue.refuse(Reject.ACCOUNT_UNKNOWN, UNKNOWN, kind, **told)
    told["account"] = "dave"
    for status in ("open", "frozen"):
        venue.account("dave").status = status
        venue.refuse(
            Reject.ACCOUNT_NOT_IN_LIQUIDATION,
            f"account dave: expected one under liquidation, found {status}", kind, **told,
        )  # fmt: skip
    taken(venue)
    venue.refuse(
        Reject.INSTRUMENT_UNKNOWN, "instrument 'XYZ': expected one that is listed", kind, **told
    )
    told["symbol"] = LIN
    if kind is not c.TakeOver:
        venue.refuse(
            Reject.ACCOUNTS_THE_SAME, "account dave: expected another one on each side",
            kind, **{**told, "counterparty": "dave"},
        )  # fmt: skip
    venue.refuse(
        Reject.POSITION_NOT_HELD,
        f"account dave: expected at least 201 lots of {LIN}, found 200", kind, **told,
    )  # fmt: skip
    venue.refuse(
        Reject.POSITION_NOT_HELD, f"account dave: expected at least 1 lots of {FUT}, found 0",
        kind, **{**told, "symbol": FUT, "lots": 1},
    )  # fmt: skip


# ── the insurance fund ───────────────────────────────────────────────────────────────────────────


def test_the_fund_takes_a_position_over(venue: Venue) -> None:
    taken(venue)
    del (told := sale(lots=200, price_ticks=48_000))["counterparty"]
    events = venue.do(c.TakeOver, **told)
    assert events == (
        PositionChanged(20, 0, 0, 0, 0, -400_000_000),
        PositionChanged(5, 0, 200, 96_000_000, 96_000_000, 0),
    )
    assert venue.held("dave") == 0
    assert venue.position("insurance", LIN) == (200, 96_000_000, 96_000_000, 0)


def test_the_fund_pays_for_what_it_takes() -> None:
    venue = new_venue()
    venue.open("dave", usdc=10_000)
    hold(venue, CALL, dave=3, bob=-3)
    own(venue, "dave", -100 * DOLLAR)
    taken(venue)
    told = {"account": "dave", "symbol": CALL, "lots": 3, "price_ticks": 500}
    # Three hundredths of a call at 500 dollars.
    venue.refuse(
        Reject.FUND_INSUFFICIENT, f"insurance fund: expected 15000000 for {CALL}, found 0",
        c.TakeOver, **told,
    )  # fmt: skip
    venue.do(c.Deposit, account="insurance", asset="USDC", amount=15 * DOLLAR)
    venue.do(c.TakeOver, **told)
    assert (venue.held("insurance"), venue.held("dave")) == (0, -85 * DOLLAR)


def hold(venue: Venue, symbol: str, **lots: int) -> None:
    positions = tuple(OpeningPosition(name, symbol, n, 1_000) for name, n in lots.items())
    venue.do(c.ImportBooks, balances=(), positions=positions)


def test_a_short_option_is_bought_back() -> None:
    venue = new_venue()
    venue.open("dave", usdc=10_000)
    hold(venue, CALL, dave=-3, bob=3)
    own(venue, "dave", 20 * DOLLAR)
    taken(venue)
    told = {"account": "dave", "counterparty": "carol", "symbol": CALL, "price_ticks": 1_000}
    events = venue.do(c.Liquidate, lots=2, fee_ppm=0, **told)
    # Two lots entered at 100 dollars a call go for 1,000: 9 dollars each are lost.
    assert events[0] == PositionChanged(20, 3, -1, -1_000, 0, -18_000_000)
    assert (venue.held("dave"), venue.held("carol")) == (0, ALL + 20 * DOLLAR)
    venue.do(c.Deleverage, lots=1, **{**told, "counterparty": "bob"})
    assert (venue.held("dave"), venue.held("bob")) == (-10 * DOLLAR, ALL + 10 * DOLLAR)


# ── deleveraging ─────────────────────────────────────────────────────────────────────────────────


def test_the_other_side_gives_its_position_up(venue: Venue) -> None:
    taken(venue)
    told = sale(counterparty="bob", lots=200, price_ticks=48_000)
    venue.time_ms = T0 + 60_001
    venue.refuse(
        Reject.RISK_UNKNOWN, "account dave: expected known risk, found none by tenth",
        c.Deleverage, **told,
    )  # fmt: skip
    venue.publish()
    events = venue.do(c.Deleverage, **told)
    assert events == (
        PositionChanged(20, 0, 0, 0, 0, -400_000_000),
        PositionChanged(17, 0, 0, 0, 0, 400_000_000),
    )
    assert (venue.held("dave"), venue.held("bob")) == (0, ALL + 400 * DOLLAR)


def test_who_loses_pays_first(venue: Venue) -> None:
    taken(venue)
    found = venue.tell(c.Deleverage, **sale(counterparty="bob", lots=1, price_ticks=51_000))
    clearing = node(1, 16, 0)
    assert found.events[-1] == Posted((
        (17 << 30, clearing, 1_000_000), (clearing, 20 << 30, 1_000_000)
    ))  # fmt: skip


def test_only_what_becomes_smaller_is_deleveraged(venue: Venue) -> None:
    venue.trade("bob", "carol", 150, 50_000)
    taken(venue)
    detail = f"account {{}}: expected at least 50 lots of {LIN} on the other side, found {{}}"
    venue.refuse(
        Reject.POSITION_NOT_HELD, detail.format("alice", 0),
        c.Deleverage, **sale(counterparty="alice"),
    )  # fmt: skip
    venue.do(c.Deleverage, **sale(counterparty="bob", lots=10))
    venue.refuse(
        Reject.POSITION_NOT_HELD, detail.format("bob", -40), c.Deleverage,
        **sale(counterparty="bob"),
    )  # fmt: skip
    venue.do(c.Deleverage, **sale(counterparty="bob", lots=40))
    venue.do(c.Deleverage, **sale())


def test_the_fund_can_be_deleveraged(venue: Venue) -> None:
    venue.trade("bob", "insurance", 10, 50_000)
    taken(venue)
    told = sale(counterparty="insurance", lots=10, price_ticks=50_001)
    venue.refuse(
        Reject.FUND_INSUFFICIENT, f"insurance fund: expected 10000 for {LIN}, found 0",
        c.Deleverage, **told,
    )  # fmt: skip
    venue.do(c.Deleverage, **{**told, "price_ticks": 50_000})


def test_an_isolated_other_side_gets_its_margin_back(venue: Venue) -> None:
    venue.do(c.SetMarginMode, account="carol", symbol=LIN, mode=MarginMode.ISOLATED, leverage="5")
    venue.trade("bob", "carol", 50, 50_000)
    taken(venue)
    venue.do(c.Deleverage, **sale(price_ticks=49_000, lots=25))
    # 500 dollars and a gain of 25: half goes back.
    assert venue.margin("carol", LIN) == 262_500_000
    assert venue.held("carol") == ALL - 500 * DOLLAR + 262_500_000


# ── money ────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_left_is_confiscated(venue: Venue) -> None:
    taken(venue)
    told = {"account": "dave", "asset": "USDC"}
    venue.refuse(
        Reject.BALANCE_INSUFFICIENT,
        "account dave: expected 400000001 of USDC, found 400000000",
        c.Confiscate, amount=400 * DOLLAR + 1, **told,
    )  # fmt: skip
    assert venue.do(c.Confiscate, amount=400 * DOLLAR, **told) == ()
    assert (venue.held("dave"), venue.held("insurance")) == (0, 400 * DOLLAR)


def test_the_margin_of_a_contract_is_confiscated_by_itself(venue: Venue) -> None:
    taken(venue)
    venue.state.ledger.move(0, node(20, 16, 0), 9)
    venue.state.ledger.take_posted()
    told = {"account": "dave", "asset": "USDC", "symbol": LIN}
    venue.refuse(
        Reject.BALANCE_INSUFFICIENT, "account dave: expected 10 of USDC, found 9",
        c.Confiscate, amount=10, **told,
    )  # fmt: skip
    venue.do(c.Confiscate, amount=9, **told)
    assert (venue.margin("dave", LIN), venue.held("dave")) == (0, 400 * DOLLAR)
    for symbol, code, detail in (
        ("XYZ", Reject.INSTRUMENT_UNKNOWN, "instrument 'XYZ': expected one that is listed"),
        (INV, Reject.INSTRUMENT_NOT_FOR_THIS,
         f"instrument {INV}: expected one that settles in USDC"),
    ):  # fmt: skip
        for kind, more in ((c.Confiscate, {}), (c.CoverDebt, {"source": CoverFrom.VENUE})):
            venue.refuse(code, detail, kind, amount=1, **{**told, "symbol": symbol}, **more)


@pytest.mark.parametrize("kind", [c.Confiscate, c.CoverDebt, c.SocialiseLoss])
def test_money_is_refused_by_account_asset(venue: Venue, kind: type[Command]) -> None:
    told: dict[str, Any] = {"account": "dave", "asset": "XYZ", "amount": 2**61}
    if kind is c.CoverDebt:
        told["source"] = CoverFrom.INSURANCE
    if kind is c.SocialiseLoss:
        del told["amount"]
        told["shares"] = (Share("zoe", 1),)
    venue.refuse(
        Reject.ACCOUNT_NOT_IN_LIQUIDATION,
        "account dave: expected one under liquidation, found open", kind, **told,
    )  # fmt: skip
    taken(venue)
    venue.refuse(Reject.ASSET_UNKNOWN, "asset 'XYZ': expected one that is listed", kind, **told)


@pytest.mark.parametrize("source", list(CoverFrom))
def test_a_fund_pays_a_debt(venue: Venue, source: CoverFrom) -> None:
    taken(venue)
    own(venue, "dave", -100)
    told: dict[str, Any] = {"account": "dave", "asset": "USDC", "source": source}
    if source is CoverFrom.MEMBER:
        venue.refuse(
            Reject.ACCOUNT_UNKNOWN, "account '': expected one that is open",
            c.CoverDebt, amount=1, **told,
        )  # fmt: skip
        venue.refuse(
            Reject.ACCOUNT_NOT_A_MEMBER, "account alice: expected a member, found user",
            c.CoverDebt, amount=1, member="alice", **told,
        )  # fmt: skip
        told["member"] = "member"
        venue.do(c.ContributeFund, account="member", asset="USDC", amount=60)
    elif source is CoverFrom.MARKET:
        told["market"] = LIN
        venue.do(c.Deposit, account="insurance", asset="USDC", amount=60)
        venue.do(c.FundMarket, symbol=LIN, amount=60)
    else:
        venue.do(c.Deposit, account=source.value, asset="USDC", amount=60)
    venue.refuse(
        Reject.DEBT_EXCEEDED,
        "account dave: expected a debt of 101 of USDC or more, found 100",
        c.CoverDebt, amount=101, **told,
    )  # fmt: skip
    venue.refuse(
        Reject.FUND_INSUFFICIENT, f"{source.value} fund: expected 61 of USDC, found 60",
        c.CoverDebt, amount=61, **told,
    )  # fmt: skip
    venue.do(c.CoverDebt, amount=60, **told)
    assert venue.held("dave") == -40
    slot = FUND if source is CoverFrom.MEMBER else GENERAL
    if source is not CoverFrom.MARKET:
        assert venue.held(source.value, USDC, slot) == 0
    assert venue.margin("insurance", LIN) == 0
    own(venue, "dave", 5)
    venue.refuse(
        Reject.DEBT_EXCEEDED, "account dave: expected a debt of 1 of USDC or more, found 0",
        c.CoverDebt, amount=1, **told,
    )  # fmt: skip


def test_a_debt_of_a_contracts_margin(venue: Venue) -> None:
    taken(venue)
    venue.state.ledger.move(node(20, 16, 0), 0, 9)
    venue.state.ledger.take_posted()
    venue.do(c.Deposit, account="insurance", asset="USDC", amount=60)
    told = {"account": "dave", "asset": "USDC", "source": CoverFrom.INSURANCE, "symbol": LIN}
    venue.refuse(
        Reject.DEBT_EXCEEDED, "account dave: expected a debt of 10 of USDC or more, found 9",
        c.CoverDebt, amount=10, **told,
    )  # fmt: skip
    venue.do(c.CoverDebt, amount=9, **told)
    assert venue.margin("dave", LIN) == 0


def test_winners_make_a_loss_good(venue: Venue) -> None:
    taken(venue)
    own(venue, "dave", -100)
    own(venue, "carol", 50)
    told = {"account": "dave", "asset": "USDC"}
    venue.refuse(
        Reject.DEBT_EXCEEDED,
        "account dave: expected a debt of 101 of USDC or more, found 100",
        c.SocialiseLoss, shares=(Share("zoe", 50), Share("bob", 51)), **told,
    )  # fmt: skip
    steps = [
        (Reject.ACCOUNT_UNKNOWN, UNKNOWN, (Share("bob", 1), Share("zoe", 50))),
        (Reject.ACCOUNTS_THE_SAME, "account dave: expected others to share a loss",
         (Share("dave", 1),)),
        (Reject.SHARES_EXCEED_BALANCE, "account carol: expected 51 of USDC, found 50",
         (Share("carol", 20), Share("bob", 1), Share("carol", 31))),
    ]  # fmt: skip
    for code, detail, shares in steps:
        venue.refuse(code, detail, c.SocialiseLoss, shares=shares, **told)
    shares = (Share("carol", 20), Share("bob", 50), Share("carol", 30))
    found = venue.tell(c.SocialiseLoss, shares=shares, **told)
    assert found.events == (Posted(((18 << 30, 20 << 30, 50), (17 << 30, 20 << 30, 50))),)
    assert (venue.held("dave"), venue.held("carol"), venue.held("bob")) == (0, 0, ALL - 50)
    assert venue.do(c.SocialiseLoss, shares=(), **told) == ()


def test_what_was_given_is_remembered_while_anything_is_held(venue: Venue) -> None:
    taken(venue)
    venue.trade("bob", "carol", 5, 50_000)
    venue.trade("bob", "carol", 5, 50_000, symbol=FUT)
    told = {"account": "dave", "asset": "USDC"}
    for debt in (100, 11):
        own(venue, "dave", -debt)
        shares = (Share("alice", 4), Share("bob", debt - 5), Share("carol", 1))
        venue.do(c.SocialiseLoss, shares=shares, **told)
    alice, bob, carol = (venue.account(name) for name in ("alice", "bob", "carol"))
    assert (alice.given, bob.given, carol.given) == (None, {0: 101}, {0: 2})
    again = restore(image(venue.state))
    assert [again.account(one.number).given for one in (alice, bob, carol)] == [
        None, {0: 101}, {0: 2}
    ]  # fmt: skip
    venue.trade("carol", "bob", 5, 50_000)
    assert (bob.given, carol.given) == ({0: 101}, {0: 2})
    venue.trade("carol", "bob", 5, 50_000, symbol=FUT)
    assert (bob.given, carol.given, carol.positions) == ({0: 101}, None, None)


# ── ending ───────────────────────────────────────────────────────────────────────────────────────


def test_it_ends_at_maintenance(venue: Venue) -> None:
    venue.refuse(
        Reject.ACCOUNT_NOT_IN_LIQUIDATION,
        "account dave: expected one under liquidation, found open",
        c.EndLiquidation, account="dave",
    )  # fmt: skip
    taken(venue)
    own(venue, "dave", 500 * DOLLAR - 1)
    venue.refuse(
        Reject.ACCOUNT_STILL_LIQUIDATABLE,
        "account dave: expected equity of at least its maintenance margin, 500000000 micro, found "
        "499999999",
        c.EndLiquidation, account="dave",
    )  # fmt: skip
    own(venue, "dave", 500 * DOLLAR)
    venue.time_ms = T0 + 60_001
    venue.refuse(
        Reject.RISK_UNKNOWN, "account dave: expected known risk, found none by tenth",
        c.EndLiquidation, account="dave",
    )  # fmt: skip
    venue.publish()
    assert venue.do(c.EndLiquidation, account="dave") == (StatusChanged(20, "open"),)
    assert venue.account("dave").status == "open"


def test_a_freeze_comes_back_after_it(venue: Venue) -> None:
    taken(venue)
    venue.do(c.FreezeAccount, account="dave", reason="")
    own(venue, "dave", 500 * DOLLAR)
    assert venue.do(c.EndLiquidation, account="dave") == (StatusChanged(20, "frozen"),)


def test_who_holds_nothing_must_owe_nothing(venue: Venue) -> None:
    taken(venue)
    venue.do(c.Deleverage, **sale(counterparty="bob", lots=200, price_ticks=48_000))
    own(venue, "dave", 7)
    own(venue, "dave", -1, BTC)
    # Nothing is required, and a nano of bitcoin is worth fifty micro.
    venue.refuse(
        Reject.ACCOUNT_STILL_LIQUIDATABLE,
        "account dave: expected equity of at least its maintenance margin, 0 micro, found -43",
        c.EndLiquidation, account="dave",
    )  # fmt: skip
    own(venue, "dave", 50)
    venue.refuse(
        Reject.ACCOUNT_STILL_LIQUIDATABLE, "account dave: expected no debt, found 1 of BTC",
        c.EndLiquidation, account="dave",
    )  # fmt: skip
    own(venue, "dave", 0, BTC)
    venue.time_ms = T0 + 60_001
    venue.do(c.EndLiquidation, account="dave")


def test_a_debt_beside_a_position_that_is_safe(venue: Venue) -> None:
    taken(venue)
    own(venue, "dave", -5)
    own(venue, "dave", COIN, BTC)
    venue.do(c.EndLiquidation, account="dave")
    assert venue.held("dave") == -5


def test_what_a_position_leaves_behind_is_the_accounts(venue: Venue) -> None:
    venue.do(c.SetMarginMode, account="carol", symbol=LIN, mode=MarginMode.ISOLATED, leverage="10")
    venue.do(c.SetMarginMode, account="carol", symbol=FUT, mode=MarginMode.ISOLATED, leverage="5")
    venue.trade("carol", "bob", 100, 50_000)
    venue.trade("carol", "bob", 100, 50_000, symbol=FUT)
    assert (venue.margin("carol", LIN), venue.margin("carol", FUT)) == (500 * DOLLAR, 1_000_000)
    venue.wind_up("carol", to_the_end=True)
    carol = sale(account="carol", counterparty="bob", lots=100)
    venue.do(c.Deleverage, **carol)
    # A hundred dollars of five hundred are lost; while it lasts, the rest stays where it is.
    assert venue.margin("carol", LIN) == 400 * DOLLAR
    venue.do(c.EndLiquidation, account="carol")
    assert (venue.margin("carol", LIN), venue.margin("carol", FUT)) == (0, 1_000_000)
    assert venue.held("carol") == ALL - 100 * DOLLAR - 1_000_000


def test_a_debt_of_a_position_that_is_gone(venue: Venue) -> None:
    venue.do(c.SetMarginMode, account="carol", symbol=LIN, mode=MarginMode.ISOLATED, leverage="10")
    venue.trade("carol", "bob", 100, 50_000)
    venue.wind_up("carol", to_the_end=True)
    venue.do(c.Deleverage, **sale(account="carol", counterparty="bob", lots=100,
                                  price_ticks=40_000))  # fmt: skip
    assert venue.margin("carol", LIN) == -500 * DOLLAR
    venue.refuse(
        Reject.ACCOUNT_STILL_LIQUIDATABLE,
        f"account carol, {LIN}: expected no debt, found 500000000",
        c.EndLiquidation, account="carol",
    )  # fmt: skip
    venue.do(c.Deposit, account="insurance", asset="USDC", amount=500 * DOLLAR)
    venue.do(c.CoverDebt, account="carol", asset="USDC", amount=500 * DOLLAR, symbol=LIN,
             source=CoverFrom.INSURANCE)  # fmt: skip
    venue.do(c.EndLiquidation, account="carol")


def test_a_single_lot_is_closed(venue: Venue) -> None:
    venue.wind_up("dave", to_the_end=True)
    venue.do(c.Deleverage, **sale(counterparty="bob", lots=199))
    venue.do(c.Liquidate, **sale(lots=1, fee_ppm=0))
    assert venue.position("dave", LIN) is None
    assert venue.position("carol", LIN) == (1, 490_000, 490_000, 0)


def test_what_closing_rounds_is_swept_up() -> None:
    venue = new_venue()
    venue.trade("carol", "bob", 2, 50_000, symbol=FUT)
    venue.trade("carol", "bob", 1, 50_001, symbol=FUT)
    venue.wind_up("carol", to_the_end=True)
    venue.do(c.Deleverage, account="carol", counterparty="bob", symbol=FUT, lots=2,
             price_ticks=50_000)  # fmt: skip
    # 0.7 micro are lost, and 0.7 won: one comes in, nothing goes out.
    assert (venue.held("carol"), venue.held("bob")) == (ALL - 1, ALL)
    assert (venue.held("rounding"), venue.clearing(FUT)) == (1, 0)
