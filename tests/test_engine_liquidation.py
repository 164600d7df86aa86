"""Reducing an account under liquidation: never further than its target, in the book, to backstop
accounts; and what happens where something is missing."""

from __future__ import annotations

from typing import Any

import pytest

from solvent.engine import closing_out
from solvent.engine.calls import cheapest
from solvent.engine.closing_out import foreseen_able
from solvent.engine.image import books_hash, image, restore, state_hash
from solvent.engine.standing import standing, view
from solvent.engine.state import CROSS, Standing
from solvent.engine.wound_up import notional_micro, pools_below, target_gap, target_reached
from solvent.errors import Reject
from solvent.margining.closing import ReduceText
from solvent.messages import commands as c
from solvent.messages.events import (
    BackstopSet,
    CallEnded,
    CollateralConverted,
    FeePaid,
    LiquidationBegun,
    MarginCalled,
    OrderEnded,
    OrderReduced,
    PositionChanged,
    Traded,
)
from solvent.messages.fields import (
    AccountKind,
    CoverFrom,
    MarginMode,
    OpeningPosition,
    Phase,
    Share,
    Side,
)
from tests.venues import (
    BOOK,
    BTC,
    CALL,
    COIN,
    DOLLAR,
    FUT,
    INV,
    LIN,
    NANO,
    SPREAD,
    T0,
    USDC,
    Venue,
    book_venue,
    new_venue,
    own,
)

ALL = 10_000 * DOLLAR
TARGET = (
    "account {}, {}: expected it short of its target ({}), found equity of {} micro and a "
    "maintenance margin of {}"
)


def failing(venue: Venue, *, money: int = 400, lots: int = 200) -> Venue:
    """Dave holds 200 lots from 50,000 dollars: 10,000, of which he has 400; 500 are maintenance."""
    venue.open("dave", usdc=1_000)
    venue.trade("dave", "bob", lots, 50_000)
    own(venue, "dave", money * DOLLAR)
    return venue


@pytest.fixture
def venue() -> Venue:
    """One in whose books orders meet."""
    return failing(book_venue())


def ruled(venue: Venue, liquidation: str, *, engine: str = BOOK) -> None:
    """Another `[liquidation]` part of the venue's rulebook."""
    venue.adopt(f"{engine}\n[liquidation]\n{liquidation}")


def begin(venue: Venue, name: str = "dave") -> None:
    venue.do(c.BeginLiquidation, account=name)


def in_book(**changes: Any) -> dict[str, Any]:
    told = {"account": "dave", "symbol": LIN, "side": Side.SELL, "lots": 50,
            "price_ticks": 49_000, "fee_ppm": 0}  # fmt: skip
    return {**told, **changes}


def taking(**changes: Any) -> dict[str, Any]:
    return {"account": "dave", "symbol": LIN, "lots": 50, "price_ticks": 49_500, **changes}


# ── no further than the target ───────────────────────────────────────────────────────────────────


def test_a_step_ends_at_the_target(venue: Venue) -> None:
    begin(venue)
    # At 50,000 dollars every lot frees 2.50 of maintenance: 40 lots are enough.
    venue.do(c.Deleverage, account="dave", counterparty="bob", symbol=LIN, lots=39,
             price_ticks=50_000)  # fmt: skip
    venue.do(c.Deleverage, account="dave", counterparty="bob", symbol=LIN, lots=1,
             price_ticks=50_000)  # fmt: skip
    detail = TARGET.format("dave", "cross", "maintenance", 400_000_000, 400_000_000)
    told = {"account": "dave", "symbol": LIN, "lots": 1, "price_ticks": 50_000}
    for kind, more in (
        (c.Deleverage, {"counterparty": "bob"}), (c.TakeOver, {}),
        (c.Liquidate, {"counterparty": "carol", "fee_ppm": 0}),
        (c.LiquidateInBook, {"side": Side.SELL, "fee_ppm": 0}),
    ):  # fmt: skip
        venue.refuse(Reject.TARGET_REACHED, detail, kind, **told, **more)
    venue.do(c.EndLiquidation, account="dave")
    assert venue.state.cases == {}


@pytest.mark.parametrize(
    ("rule", "reached"),
    [
        ('target = "maintenance"', 400), ('target = "initial"', 800),
        ('target = "buffer"\nbuffer = 0.5', 600), ('target = "flat"', None),
    ],
)  # fmt: skip
def test_targets(venue: Venue, rule: str, reached: int | None) -> None:
    ruled(venue, f"[liquidation.reduce]\n{rule}")
    begin(venue)
    told = {"account": "dave", "counterparty": "bob", "symbol": LIN, "price_ticks": 50_000}
    venue.do(c.Deleverage, lots=40, **told)
    # 160 lots are 8,000 dollars: 400 of maintenance and 800 of initial margin.
    own(venue, "dave", 100_000 * DOLLAR if reached is None else reached * DOLLAR)
    code = venue.tell(c.Deleverage, lots=1, **told).code
    assert code == (0 if reached is None else Reject.TARGET_REACHED)
    if reached is not None:
        own(venue, "dave", reached * DOLLAR - 1)
        venue.do(c.Deleverage, lots=1, **told)


def test_targets_are_reached_exactly() -> None:
    stands = Standing(999, 1_000, 900, True, True, False)
    assert not target_reached(stands, ReduceText(target="initial"))
    assert target_reached(stands._replace(equity_micro=1_000), ReduceText(target="initial"))
    buffer = ReduceText(target="buffer", buffer=0.1)
    assert target_reached(stands._replace(equity_micro=990), buffer)
    assert not target_reached(stands._replace(equity_micro=989), buffer)
    assert not target_reached(stands, ReduceText(target="flat"))
    assert not target_reached(stands._replace(liquidate=True), ReduceText())
    gap = stands.equity_micro - stands.maintenance_micro
    assert target_gap(stands, ReduceText(target="maintenance")) == gap


def test_old_marks_liquidate_nobody(venue: Venue) -> None:
    begin(venue)
    venue.do(c.Deposit, account="insurance", asset="USDC", amount=ALL)
    venue.time_ms = T0 + 60_001
    detail = "account dave: expected known risk, found none by tenth"
    told = {"account": "dave", "symbol": LIN, "lots": 1, "price_ticks": 50_000}
    for kind, more in (
        (c.Deleverage, {"counterparty": "bob"}), (c.TakeOver, {}),
        (c.Liquidate, {"counterparty": "carol", "fee_ppm": 0}),
        (c.LiquidateInBook, {"side": Side.SELL, "fee_ppm": 0}),
    ):  # fmt: skip
        venue.refuse(Reject.RISK_UNKNOWN, detail, kind, **told, **more)
    own(venue, "dave", -5)
    debt = {"account": "dave", "asset": "USDC"}
    venue.refuse(Reject.RISK_UNKNOWN, detail, c.CoverDebt, amount=1, source=CoverFrom.INSURANCE,
                 **debt)  # fmt: skip
    venue.refuse(Reject.RISK_UNKNOWN, detail, c.SocialiseLoss, shares=(Share("bob", 1),), **debt)
    venue.publish()
    venue.do(c.TakeOver, **told)


def test_a_debt_beside_a_position_that_is_well_is_its_owners(venue: Venue) -> None:
    begin(venue)
    own(venue, "dave", -5)
    own(venue, "dave", COIN, BTC)
    venue.do(c.Deposit, account="insurance", asset="USDC", amount=ALL)
    code = venue.tell(
        c.CoverDebt, account="dave", asset="USDC", amount=5, source=CoverFrom.INSURANCE
    ).code
    assert code == Reject.TARGET_REACHED


# ── pools ────────────────────────────────────────────────────────────────────────────────────────


def isolated() -> Venue:
    """Dave's perpetual, ten times levered and by itself, is under water; his inverse one is not."""
    venue = book_venue()
    venue.open("dave", usdc=2_000)
    venue.do(c.SetMarginMode, account="dave", symbol=LIN, mode=MarginMode.ISOLATED, leverage="10")
    venue.trade("dave", "bob", 100, 50_000)
    venue.trade("dave", "bob", 10, 50_000, symbol=FUT)
    venue.quote(LIN=474_000)
    venue.publish(LIN=474_000)
    # 500 dollars of margin, 260 lost; 250 are maintenance.
    return venue


def test_an_isolated_position_alone_is_wound_up() -> None:
    venue = isolated()
    dave = venue.account("dave")
    assert pools_below(venue.state, dave) == [0]
    begin(venue)
    assert venue.state.cases[20].pools == [0]
    well = TARGET.format("dave", "cross", "maintenance", 1_500_000_000, 25_000)
    sale = {"account": "dave", "counterparty": "bob", "symbol": FUT, "lots": 1}
    venue.refuse(Reject.TARGET_REACHED, well, c.Deleverage, price_ticks=50_000, **sale)
    detail = "account dave, cross: expected what was below its maintenance margin"
    venue.refuse(
        Reject.ACCOUNT_NOT_LIQUIDATABLE, detail, c.Confiscate, account="dave", asset="USDC",
        amount=1,
    )  # fmt: skip
    before = venue.held("dave")
    venue.order("carol", "bid", 100, 44_000)
    events = venue.do(c.LiquidateInBook, **in_book(lots=100, price_ticks=44_000, fee_ppm=1_000))
    # 600 dollars are lost of a margin of 500: none of it, nor the fee, is the account's.
    assert events[-1] == FeePaid(20, "liquidation", 0)
    assert (venue.margin("dave", LIN), venue.held("dave")) == (-100 * DOLLAR, before)
    venue.do(c.Deposit, account="insurance", asset="USDC", amount=30 * DOLLAR)
    debt = {"account": "dave", "asset": "USDC", "symbol": LIN}
    venue.do(c.CoverDebt, amount=30 * DOLLAR, source=CoverFrom.INSURANCE, **debt)
    venue.do(c.SocialiseLoss, shares=(Share("bob", 70 * DOLLAR),), **debt)
    venue.do(c.EndLiquidation, account="dave")
    assert (venue.margin("dave", LIN), venue.held("dave")) == (0, before)
    assert venue.position("dave", FUT) is not None


def test_what_is_left_of_an_isolated_margin_stays_until_the_end() -> None:
    venue = isolated()
    begin(venue)
    before = venue.held("dave")
    venue.order("carol", "bid", 100, 47_000)
    venue.do(c.LiquidateInBook, **in_book(lots=60, price_ticks=47_000, fee_ppm=1_000))
    # 180 dollars are lost and 2.82 the fee.
    assert (venue.margin("dave", LIN), venue.held("dave")) == (317_180_000, before)
    assert pools_below(venue.state, venue.account("dave")) == [CROSS]
    venue.do(c.EndLiquidation, account="dave")


def test_an_isolated_position_that_is_the_whole_open_interest() -> None:
    venue = book_venue()
    venue.open("dave", usdc=600)
    venue.do(c.SetMarginMode, account="dave", symbol=LIN, mode=MarginMode.ISOLATED, leverage="10")
    venue.trade("dave", "bob", 100, 50_000)
    venue.quote(LIN=440_000)
    venue.publish(LIN=440_000)
    begin(venue)
    venue.do(c.Deleverage, account="dave", counterparty="bob", symbol=LIN, lots=100,
             price_ticks=45_000)  # fmt: skip
    assert venue.contract(LIN).holders == {}
    assert (venue.margin("dave", LIN), venue.held("dave")) == (0, 100 * DOLLAR)
    venue.do(c.EndLiquidation, account="dave")


def test_everyone_on_one_side_leaves_only_the_fund(venue: Venue) -> None:
    venue.trade("bob", "insurance", 200, 50_000)
    begin(venue)
    assert [n for n, one in venue.contract(LIN).holders.items() if one.lots < 0] == [5]
    venue.do(c.Deposit, account="insurance", asset="USDC", amount=ALL)
    venue.do(c.Deleverage, account="dave", counterparty="insurance", symbol=LIN, lots=200,
             price_ticks=48_000)  # fmt: skip
    assert venue.contract(LIN).holders == {}


# ── in the book ──────────────────────────────────────────────────────────────────────────────────


def test_the_book_takes_what_it_has(venue: Venue) -> None:
    venue.order("alice", "a", 30, 49_900)
    venue.order("carol", "b", 30, 49_500)
    venue.order("carol", "c", 30, 48_000)
    begin(venue)
    events = venue.do(c.LiquidateInBook, key="sale", **in_book(lots=80, fee_ppm=1_000))
    assert [one for one in events if isinstance(one, Traded)] == [
        Traded(0, 49_900, 30, 16, "a", 20, "sale", "sell"),
        Traded(0, 49_500, 30, 18, "b", 20, "sale", "sell"),
    ]
    assert events[-2:] == (
        OrderEnded(20, "sale", -20, "immediate"),
        # A thousandth of 30 · 49.90 + 30 · 49.50 dollars.
        FeePaid(20, "liquidation", 2_982_000),
    )
    assert venue.position("dave", LIN)[0] == 140  # type: ignore[index]
    # Three dollars and fifteen were lost.
    assert venue.held("dave") == 400 * DOLLAR - 18 * DOLLAR - 2_982_000
    case = venue.state.cases[20]
    assert (case.steps, case.stepped_ms, case.stepped) == (1, T0, {0: T0})


def test_an_empty_book_changes_nothing(venue: Venue) -> None:
    begin(venue)
    events = venue.do(c.LiquidateInBook, key="sale", **in_book())
    assert events == (OrderEnded(20, "sale", -50, "immediate"),)
    assert venue.state.cases[20].steps == 0


def test_no_fees_of_the_trade_are_the_accounts() -> None:
    fees = """
[[engine.fees]]
component = "taker"
rate = 0.001
[[engine.fees]]
component = "between"
rate = 0.001
receiver = "maker"
[[engine.fees]]
component = "maker"
rate = 0.0005
payer = "maker"
"""
    venue = book_venue(fees)
    venue.open("dave", usdc=1_100)
    venue.trade("dave", "bob", 200, 50_000, aggressor=None)
    own(venue, "dave", 400 * DOLLAR)
    venue.order("alice", "a", 30, 50_000)
    begin(venue)
    before = venue.held("alice")
    events = venue.do(c.LiquidateInBook, **in_book(lots=30))
    assert [one for one in events if isinstance(one, FeePaid)] == [
        FeePaid(16, "maker", 750_000), FeePaid(20, "liquidation", 0)
    ]  # fmt: skip
    assert (venue.held("dave"), before - venue.held("alice")) == (400 * DOLLAR, 750_000)


def test_who_rests_there_is_margined(venue: Venue) -> None:
    venue.order("alice", "a", 30, 49_900)
    own(venue, "alice", 0)
    own(venue, "alice", 0, BTC)
    begin(venue)
    events = venue.do(c.LiquidateInBook, key="sale", **in_book())
    assert events[0] == OrderReduced(16, "a", 0, 0, "margin")
    assert events[-1] == OrderEnded(20, "sale", -50, "immediate")


def test_orders_are_refused_as_any(venue: Venue) -> None:
    begin(venue)
    held = "account dave: expected at least {} lots of {}, found {}"
    for changes, found in (
        ({"side": Side.BUY, "lots": 1}, (1, LIN, 200)), ({"lots": 201}, (201, LIN, 200)),
        ({"symbol": FUT, "lots": 1}, (1, FUT, 0)),
    ):  # fmt: skip
        venue.refuse(Reject.POSITION_NOT_HELD, held.format(*found), c.LiquidateInBook,
                     **in_book(**changes))  # fmt: skip
    venue.do(c.SetPhase, symbol=LIN, phase=Phase.HALTED)
    assert venue.tell(c.LiquidateInBook, **in_book()).code == Reject.INSTRUMENT_HALTED
    venue.do(c.SetPhase, symbol=LIN, phase=Phase.AUCTION)
    assert venue.tell(c.LiquidateInBook, **in_book()).code == Reject.ORDER_NOT_FOR_AUCTION
    venue.refuse(
        Reject.ACCOUNT_NOT_IN_LIQUIDATION,
        "account bob: expected one under liquidation, found open",
        c.LiquidateInBook, **in_book(account="bob"),
    )  # fmt: skip


def test_never_beyond_the_band() -> None:
    venue = failing(book_venue("price_band = 0.01"))
    begin(venue)
    assert venue.tell(c.LiquidateInBook, **in_book()).code == Reject.PRICE_OUT_OF_BAND
    venue.do(c.LiquidateInBook, **in_book(price_ticks=49_500))


def test_its_name_is_one_that_no_order_has(venue: Venue) -> None:
    """Only where contracts are ruled by themselves do orders stay; here one is put back."""
    begin(venue)
    dave = venue.account("dave")
    assert closing_out._free_name(venue.state, dave, "sale") == "sale"
    venue.state.desk.orders[20] = {"sale": None}  # type: ignore[dict-item]
    venue.state.desk.stops[20] = {"sale'": None}  # type: ignore[dict-item]
    assert closing_out._free_name(venue.state, dave, "sale") == "sale''"
    del venue.state.desk.orders[20], venue.state.desk.stops[20]


def test_a_cooldown_holds_for_the_market_alone(venue: Venue) -> None:
    ruled(venue, "[liquidation.reduce]\ncooldown_ms = 1000")
    venue.order("alice", "a", 100, 49_900)
    begin(venue)
    venue.do(c.LiquidateInBook, **in_book(lots=1))
    wait = f"account dave, {LIN}: expected a time from {T0 + 1_000}, found {T0 + 999}"
    venue.time_ms = T0 + 999
    venue.refuse(Reject.COOLDOWN, wait, c.LiquidateInBook, **in_book(lots=1))
    venue.refuse(
        Reject.COOLDOWN, wait, c.Liquidate, account="dave", counterparty="carol", symbol=LIN,
        lots=1, price_ticks=50_000, fee_ppm=0,
    )  # fmt: skip
    venue.do(c.Deleverage, account="dave", counterparty="bob", symbol=LIN, lots=1,
             price_ticks=50_000)  # fmt: skip
    venue.time_ms = T0 + 1_000
    venue.do(c.LiquidateInBook, **in_book(lots=1))


def test_a_hedge_must_help() -> None:
    """Short calls are hedged with the perpetual, which a rulebook of scans sees."""
    venue = book_venue(scans=True)
    venue.open("dave", usdc=3_000, rulebook="deribit-pm")
    venue.order("alice", "a", 1_000, 50_100)
    venue.order("alice", "b", -1_000, 50_200)
    positions = (("dave", -100), ("bob", 100))
    venue.do(c.ImportBooks, balances=(), positions=tuple(
        OpeningPosition(name, CALL, lots, 10_000) for name, lots in positions
    ))  # fmt: skip
    own(venue, "dave", 1_000 * DOLLAR)
    begin(venue)
    hedge = in_book(side=Side.BUY, lots=300, price_ticks=50_200, hedge=True)
    worse = venue.tell(c.LiquidateInBook, **{**hedge, "side": Side.SELL, "price_ticks": 50_100})
    assert worse.code == Reject.HEDGE_NOT_BETTER
    events = venue.do(c.LiquidateInBook, **hedge)
    assert PositionChanged(16, 0, -300, -150_600_000, -150_600_000, 0) in events
    assert venue.position("dave", LIN)[0] == 300  # type: ignore[index]


def test_no_hedge_where_contracts_stand_alone() -> None:
    venue = isolated()
    begin(venue)
    venue.refuse(
        Reject.MODE_REFUSED,
        f"account dave, {LIN}: expected a hedge where contracts are margined together",
        c.LiquidateInBook, **in_book(side=Side.BUY, lots=1, price_ticks=47_500, hedge=True),
    )  # fmt: skip


# ── backstop accounts ────────────────────────────────────────────────────────────────────────────


def backed(venue: Venue, *, cap: int = 5_000, usdc: int = 2_000) -> None:
    venue.open("backer", usdc=usdc, kind=AccountKind.BACKSTOP)
    events = venue.do(c.SetBackstop, account="backer", cap_micro=cap * DOLLAR)
    assert events == (BackstopSet(21, cap * DOLLAR),)


def test_a_backstop_takes_up_to_its_cap(venue: Venue) -> None:
    backed(venue)
    begin(venue)
    full = "account backer: expected a notional of at most 5000000000 micro, found 5050000000"
    venue.refuse(Reject.BACKSTOP_FULL, full, c.TakeOver, **taking(lots=101, by="backer"))
    low = {"price_ticks": 48_000}
    venue.do(c.TakeOver, **taking(lots=100, by="backer", **low))
    assert venue.state.cases[20].takers == [21]
    code = venue.tell(c.TakeOver, **taking(lots=1, by="backer", **low)).code
    assert code == Reject.BACKSTOP_FULL
    # What it has taken it may trade as anybody.
    venue.trade("bob", "backer", 10, 50_000)
    venue.do(c.TakeOver, **taking(lots=10, by="backer", **low))
    assert venue.state.cases[20].takers == [21]


def test_a_backstop_never_draws_on_others(venue: Venue) -> None:
    backed(venue, cap=10**6, usdc=100)
    venue.do(c.Deposit, account="insurance", asset="USDC", amount=ALL)
    begin(venue)
    # At the mark a lot needs 5 dollars.
    code = venue.tell(c.TakeOver, **taking(lots=21, price_ticks=50_000, by="backer")).code
    assert code == Reject.MARGIN_INSUFFICIENT
    venue.do(c.TakeOver, **taking(lots=20, price_ticks=50_000, by="backer"))
    assert venue.held("insurance") == ALL


def test_backstops_are_told_apart(venue: Venue) -> None:
    begin(venue)
    backed(venue)
    told = "account bob: expected a backstop account, found user"
    venue.refuse(Reject.ACCOUNT_NOT_A_BACKSTOP, told, c.TakeOver, **taking(by="bob"))
    venue.refuse(Reject.ACCOUNT_NOT_A_BACKSTOP, told, c.SetBackstop, account="bob", cap_micro=0)
    money = {"account": "dave", "asset": "USDC", "amount": 7}
    venue.refuse(
        Reject.ACCOUNT_NOT_A_BACKSTOP,
        "account backer: expected one that has taken positions of dave",
        c.Confiscate, to="backer", **money,
    )  # fmt: skip
    venue.do(c.TakeOver, **taking(by="backer"))
    before = venue.held("backer")
    venue.do(c.Confiscate, to="backer", **money)
    assert venue.held("backer") == before + 7
    venue.state.underlyings.clear()
    venue.contract(LIN).mark_points = None
    detail = f"instrument {LIN}: expected a mark and an index"
    venue.refuse(Reject.PRICES_INCOMPLETE, detail, c.TakeOver, **taking(by="backer"))
    venue.open("other", kind=AccountKind.BACKSTOP)
    venue.do(c.SetBackstop, account="other", cap_micro=0)
    venue.do(c.CloseAccount, account="other")
    assert list(venue.state.backstops) == [21]


def test_notional_of_an_option_is_its_underlyings() -> None:
    venue = book_venue()
    held = {venue.contract(CALL).number: 3, venue.contract(INV).number: -2}
    # 0.03 bitcoin are 1,500 dollars; two inverse lots 20 dollars at the mark, in coin at the index.
    assert notional_micro(venue.state, held) == 1_520 * DOLLAR
    assert notional_micro(venue.state, {}) == 0


# ── collateral, funds of a market ────────────────────────────────────────────────────────────────


DEAR = (
    "account dave: expected 1000000 of BTC to be worth 50000001 of USDC or more, found 1.000000 of "
    "that"
)


def swap(**changes: Any) -> dict[str, Any]:
    told = {"account": "dave", "asset": "BTC", "amount": 1_000_000, "into": "USDC",
            "into_amount": 50 * DOLLAR}  # fmt: skip
    return {**told, **changes}


def test_collateral_is_bought_at_the_index_or_below(venue: Venue) -> None:
    own(venue, "dave", 1_000_000, BTC)
    own(venue, "dave", 300 * DOLLAR)
    begin(venue)
    fund = "insurance fund: expected 50000000 of USDC, found 0"
    venue.refuse(Reject.FUND_INSUFFICIENT, fund, c.ConvertCollateral, **swap())
    venue.do(c.Deposit, account="insurance", asset="USDC", amount=ALL)
    steps = [
        (Reject.ASSETS_THE_SAME, "asset USDC: expected another one to pay with",
         swap(asset="USDC")),
        (Reject.BALANCE_INSUFFICIENT, "account dave: expected 1000001 of BTC, found 1000000",
         swap(amount=1_000_001)),
        (Reject.CONVERSION_TOO_DEAR,
         DEAR, swap(into_amount=50 * DOLLAR + 1)),
    ]  # fmt: skip
    for code, detail, told in steps:
        venue.refuse(code, detail, c.ConvertCollateral, **told)
    events = venue.do(c.ConvertCollateral, **swap())
    assert events == (CollateralConverted(20, BTC, 1_000_000, USDC, 50 * DOLLAR),)
    assert (venue.held("dave"), venue.held("dave", BTC)) == (350 * DOLLAR, 0)
    assert venue.held("insurance", BTC) == 1_000_000


def test_no_conversion_at_prices_that_are_old_or_missing(venue: Venue) -> None:
    own(venue, "dave", 1_000_000, BTC)
    own(venue, "dave", 300 * DOLLAR)
    begin(venue)
    venue.do(c.Deposit, account="insurance", asset="USDC", amount=ALL)
    venue.time_ms = T0 + 60_001
    venue.publish()
    venue.refuse(
        Reject.PRICES_INCOMPLETE,
        "asset BTC: expected an index of at most 60000 ms, found one of 60001 ms",
        c.ConvertCollateral, **swap(),
    )  # fmt: skip
    del venue.state.underlyings["BTC"]
    venue.refuse(
        Reject.PRICES_INCOMPLETE, "asset BTC: expected an index price", c.ConvertCollateral,
        **swap(),
    )  # fmt: skip


def test_who_holds_nothing_converts_for_a_debt_alone(venue: Venue) -> None:
    begin(venue)
    venue.do(c.Deposit, account="insurance", asset="USDC", amount=ALL)
    venue.do(c.TakeOver, **taking(lots=200, price_ticks=47_800))
    own(venue, "dave", 1_000_000, BTC)
    assert venue.held("dave") == -40 * DOLLAR
    code = venue.tell(c.ConvertCollateral, **swap()).code
    assert code == Reject.DEBT_EXCEEDED
    venue.do(c.ConvertCollateral, **swap(amount=800_000, into_amount=40 * DOLLAR))
    venue.do(c.EndLiquidation, account="dave")
    assert (venue.held("dave"), venue.held("dave", BTC)) == (0, 200_000)


def test_a_markets_fund_is_its_own(venue: Venue) -> None:
    venue.do(c.Deposit, account="insurance", asset="USDC", amount=100)
    venue.do(c.FundMarket, symbol=LIN, amount=60)
    assert (venue.held("insurance"), venue.margin("insurance", LIN)) == (40, 60)
    lacks = "insurance fund: expected {} of USDC, found {}"
    told = {"symbol": LIN}
    venue.refuse(Reject.FUND_INSUFFICIENT, lacks.format(41, 40), c.FundMarket, amount=41, **told)
    venue.refuse(Reject.FUND_INSUFFICIENT, lacks.format(61, 60), c.FundMarket, amount=61,
                 back=True, **told)  # fmt: skip
    venue.do(c.FundMarket, symbol=LIN, amount=20, back=True)
    begin(venue)
    own(venue, "dave", -100)
    debt = {"account": "dave", "asset": "USDC", "source": CoverFrom.MARKET}
    venue.refuse(
        Reject.INSTRUMENT_UNKNOWN, "instrument '': expected one that is listed", c.CoverDebt,
        amount=1, **debt,
    )  # fmt: skip
    venue.refuse(
        Reject.INSTRUMENT_NOT_FOR_THIS, f"instrument {INV}: expected one that settles in USDC",
        c.CoverDebt, amount=1, market=INV, **debt,
    )  # fmt: skip
    code = venue.tell(c.CoverDebt, amount=1, market=FUT, **debt).code
    assert code == Reject.FUND_INSUFFICIENT
    venue.do(c.CoverDebt, amount=40, market=LIN, **debt)
    assert (venue.held("dave"), venue.margin("insurance", LIN)) == (-60, 0)


def test_a_market_that_is_over_gives_its_fund_back() -> None:
    venue = book_venue()
    venue.do(c.Deposit, account="insurance", asset="USDC", amount=100)
    venue.do(c.FundMarket, symbol=LIN, amount=60)
    venue.do(c.DelistInstrument, symbol=LIN)
    gone = f"instrument {LIN}: expected one that is traded, found delisted"
    venue.refuse(Reject.INSTRUMENT_CLOSED, gone, c.FundMarket, symbol=LIN, amount=1)
    venue.do(c.FundMarket, symbol=LIN, amount=60, back=True)
    assert venue.held("insurance") == 100


# ── books that close ─────────────────────────────────────────────────────────────────────────────


def test_a_perpetual_is_settled_while_it_is_halted(venue: Venue) -> None:
    told = {"symbol": LIN, "price_nano": 40_000 * NANO}
    refused = (
        f"instrument {LIN}: expected one that expires, or is halted and a price for it, found a "
        "perpetual"
    )
    venue.refuse(Reject.INSTRUMENT_NOT_FOR_THIS, refused, c.SettleExpiry, **told)
    begin(venue)
    venue.do(c.SetPhase, symbol=LIN, phase=Phase.HALTED)
    venue.refuse(Reject.INSTRUMENT_NOT_FOR_THIS, refused, c.SettleExpiry, symbol=LIN)
    venue.do(c.SettleExpiry, **told)
    # Two thousand dollars are lost of four hundred: a debt that others make good, then the end.
    assert venue.held("dave") == -1_600 * DOLLAR
    assert venue.contract(LIN).settled
    venue.do(c.Deposit, account="insurance", asset="USDC", amount=600 * DOLLAR)
    debt = {"account": "dave", "asset": "USDC"}
    venue.do(c.CoverDebt, amount=600 * DOLLAR, source=CoverFrom.INSURANCE, **debt)
    venue.do(c.SocialiseLoss, shares=(Share("bob", 1_000 * DOLLAR),), **debt)
    venue.do(c.EndLiquidation, account="dave")
    assert venue.held("bob") == ALL + 1_000 * DOLLAR


def test_who_owes_after_an_ending_is_liquidated_without_positions(venue: Venue) -> None:
    venue.do(c.SetPhase, symbol=LIN, phase=Phase.HALTED)
    venue.do(c.SettleExpiry, symbol=LIN, price_nano=40_000 * NANO)
    events = venue.do(c.BeginLiquidation, account="dave")
    assert events == (LiquidationBegun(20, -1_600 * DOLLAR, 0),)
    shares = (Share("bob", 1_600 * DOLLAR),)
    venue.do(c.SocialiseLoss, account="dave", asset="USDC", shares=shares)
    venue.do(c.EndLiquidation, account="dave")


# ── an account under liquidation does something ──────────────────────────────────────────────────


def test_a_deposit_ends_it_and_nothing_else_is_allowed(venue: Venue) -> None:
    begin(venue)
    money = {"account": "dave", "asset": "USDC", "amount": 1}
    told = "account dave: expected an active one, found under liquidation"
    venue.refuse(Reject.ACCOUNT_IN_LIQUIDATION, told, c.RequestWithdrawal, reference="out", **money)
    code = venue.tell(
        c.PlaceOrder, account="dave", order="o", symbol=LIN, side=Side.SELL, lots=1,
        price_ticks=50_000,
    ).code  # fmt: skip
    assert code == Reject.ACCOUNT_IN_LIQUIDATION
    code = venue.tell(
        c.Trade, buyer="bob", seller="dave", symbol=LIN, lots=1, price_ticks=50_000, aggressor=None
    ).code
    assert code == Reject.ACCOUNT_IN_LIQUIDATION
    venue.refuse(Reject.ACCOUNT_IN_LIQUIDATION, told, c.BeginLiquidation, account="dave")
    venue.do(c.Deposit, account="dave", asset="USDC", amount=100 * DOLLAR)
    venue.do(c.EndLiquidation, account="dave")


def test_the_fund_does_not_take_what_it_owes_for(venue: Venue) -> None:
    """A lot is worth 50 dollars, and at 51,000 costs one more."""
    begin(venue)
    venue.trade("insurance", "bob", 10, 50_000, symbol=INV)
    venue.do(c.Deposit, account="insurance", asset="USDC", amount=50 * DOLLAR)
    detail = f"insurance fund: expected to owe nothing at the marks after {LIN}, found "
    venue.refuse(
        Reject.FUND_INSUFFICIENT,
        f"{detail}1000000",
        c.TakeOver,
        **taking(lots=51, price_ticks=51_000),
    )
    venue.do(c.TakeOver, **taking(lots=50, price_ticks=51_000))
    # A mark later it owes more than it has: no more, but for what it does not lose by.
    own(venue, "dave", 200 * DOLLAR)
    venue.quote(LIN=490_000)
    venue.refuse(
        Reject.FUND_INSUFFICIENT,
        f"{detail}51000000",
        c.TakeOver,
        **taking(lots=1, price_ticks=50_000),
    )
    venue.do(c.TakeOver, **taking(lots=1, price_ticks=49_000))


# ── calls ────────────────────────────────────────────────────────────────────────────────────────


def review(venue: Venue) -> tuple[Any, ...]:
    return venue.do(c.ReviewMargin, account="dave")


def test_warnings_and_calls(venue: Venue) -> None:
    """Of 10,000 dollars held 500 are maintenance: 625 is a fifth above, 555.56 a tenth."""
    own(venue, "dave", 700 * DOLLAR)
    assert review(venue) == ()
    own(venue, "dave", 625 * DOLLAR)
    assert review(venue) == (MarginCalled(20, 1, 0, "", 0, 0),)
    assert review(venue) == ()
    own(venue, "dave", 555 * DOLLAR)
    # 445 dollars are missing; a dollar is cut by nothing, nor is bitcoin, which comes later.
    called = MarginCalled(20, 2, 445 * DOLLAR, "USDC", 445 * DOLLAR, T0 + 3_600_000)
    assert review(venue) == (called,)
    assert review(venue) == ()
    own(venue, "dave", 550 * DOLLAR)
    venue.time_ms = T0 + 1
    assert review(venue) == (
        MarginCalled(20, 2, 450 * DOLLAR, "USDC", 450 * DOLLAR, T0 + 3_600_000),
    )
    venue.time_ms = T0 + 3_600_001
    venue.publish()
    assert review(venue) == (CallEnded(20, "unmet"),)
    assert review(venue) == ()
    assert venue.state.calls[20].overdue
    own(venue, "dave", 1_000 * DOLLAR)
    assert review(venue) == (CallEnded(20, "met"),)
    assert venue.state.calls == {}
    own(venue, "dave", 610 * DOLLAR)
    review(venue)
    own(venue, "dave", 900 * DOLLAR)
    assert review(venue) == (CallEnded(20, "lifted"),)


def test_the_pool_that_is_nearest_to_liquidation_is_called() -> None:
    """500 dollars of margin have lost 240, and 250 must be there. Of what dave holds together next
    to nothing is asked."""
    venue = isolated()
    venue.quote(LIN=476_000)
    venue.publish(LIN=476_000)
    until = T0 + 3_600_000
    # 260 are left, and it was opened with 500.
    asked = MarginCalled(20, 2, 240 * DOLLAR, "USDC", 240 * DOLLAR, until, 0)
    assert review(venue) == (asked,)
    assert review(venue) == ()
    assert venue.state.calls[20].pool == 0
    # Money that is not the position's does not meet it.
    venue.do(c.Deposit, account="dave", asset="USDC", amount=1_000 * DOLLAR)
    assert review(venue) == ()
    venue.do(c.AddIsolatedMargin, account="dave", symbol=LIN, amount=20 * DOLLAR)
    assert (review(venue), venue.state.calls[20].amount_micro) == ((), 220 * DOLLAR)
    venue.do(c.AddIsolatedMargin, account="dave", symbol=LIN, amount=10 * DOLLAR)
    # Of 290 dollars 40 are beyond what must be there: no longer a tenth, still a fifth.
    assert review(venue) == (CallEnded(20, "lifted"), MarginCalled(20, 1, 0, "", 0, 0, 0))
    # Together 25,000 micro must be there, and an eighth more is.
    own(venue, "dave", 28_500)
    assert review(venue) == (MarginCalled(20, 1, 0, "", 0, 0, -1),)
    venue.time_ms = T0 + 60_001
    venue.refuse(
        Reject.RISK_UNKNOWN, "account dave: expected known risk, found none by tenth",
        c.ReviewMargin, account="dave",
    )  # fmt: skip


def test_a_liquidation_ends_a_call(venue: Venue) -> None:
    own(venue, "dave", 510 * DOLLAR)
    review(venue)
    own(venue, "dave", 400 * DOLLAR)
    events = venue.do(c.BeginLiquidation, account="dave")
    assert events[-1] == CallEnded(20, "liquidated")
    venue.refuse(
        Reject.ACCOUNT_IN_LIQUIDATION,
        "account dave: expected an active one, found under liquidation",
        c.ReviewMargin, account="dave",
    )  # fmt: skip
    venue.do(c.TakeOver, account="dave", symbol=LIN, lots=200, price_ticks=50_000)
    venue.do(c.EndLiquidation, account="dave")
    assert review(venue) == ()


def test_a_review_needs_to_know(venue: Venue) -> None:
    venue.time_ms = T0 + 60_001
    venue.refuse(
        Reject.RISK_UNKNOWN, "account dave: expected known risk, found none by tenth",
        c.ReviewMargin, account="dave",
    )  # fmt: skip
    venue.do(c.ReviewMargin, account="carol")


def test_a_call_that_nothing_meets_names_no_asset(venue: Venue) -> None:
    own(venue, "dave", 510 * DOLLAR)
    venue.state.underlyings.clear()
    venue.state.assets[0] = ("GOLD", 6)
    venue.state.assets[1] = ("SILVER", 9)
    account = venue.account("dave")
    seen = view(venue.state, account)
    assert cheapest(venue.state, account, seen, standing(venue.state, seen), 5) is None


def test_an_asset_that_the_arrays_do_not_price_meets_no_call(venue: Venue) -> None:
    venue.do(c.ListAsset, asset="SOL", decimals=9)
    venue.quote()
    venue.state.underlyings["SOL"] = venue.state.underlyings["BTC"]
    own(venue, "dave", 510 * DOLLAR)
    (called,) = review(venue)
    assert called.asset == "USDC"


# ── it goes on after a restart ───────────────────────────────────────────────────────────────────


def test_a_restart_in_the_middle(venue: Venue) -> None:
    ruled(venue, "[liquidation.reduce]\ncooldown_ms = 1000")
    backed(venue)
    venue.do(c.Deposit, account="insurance", asset="USDC", amount=77)
    venue.quote()
    venue.order("alice", "a", 30, 49_900)
    venue.trade("carol", "bob", 1_000, 50_000)
    own(venue, "carol", 2_600 * DOLLAR)
    own(venue, "carol", 0, BTC)
    venue.do(c.ReviewMargin, account="carol")
    begin(venue)
    venue.do(c.LiquidateInBook, **in_book(lots=10))
    venue.do(c.TakeOver, **taking(lots=10, by="backer"))
    again = Venue(restore(image(venue.state)), venue.time_ms)
    assert state_hash(again.state) == state_hash(venue.state)
    assert (again.state.calls, again.state.backstops) == (venue.state.calls, venue.state.backstops)
    assert again.state.cases == venue.state.cases
    assert again.state.fund_highs == venue.state.fund_highs
    for one in (venue, again):
        assert one.tell(c.LiquidateInBook, **in_book(lots=10)).code == Reject.COOLDOWN
        one.time_ms += 1_000
        one.do(c.LiquidateInBook, **in_book(lots=10))
        one.do(c.Confiscate, account="dave", asset="USDC", amount=1, to="backer")
    assert state_hash(again.state) == state_hash(venue.state)


def test_a_contract_of_which_nothing_is_known(venue: Venue) -> None:
    """Under `tenth` nothing is known of a spread; who holds one is liquidated by nobody."""
    venue.do(c.ImportBooks, balances=(), positions=(
        OpeningPosition("dave", SPREAD, 1, 0), OpeningPosition("bob", SPREAD, -1, 0),
    ))  # fmt: skip
    assert venue.tell(c.BeginLiquidation, account="dave").code == Reject.RISK_UNKNOWN


def test_not_for_a_venue_without_books() -> None:
    venue = failing(new_venue())
    begin(venue)
    assert venue.tell(c.LiquidateInBook, **in_book()).code == Reject.ORDER_TERMS_INVALID


# ── who is deleveraged can pay for it ────────────────────────────────────────────────────────────


def test_what_is_worked_out_ahead_changes_nothing(venue: Venue) -> None:
    """Who gives up lots is assessed once: before, together with all others."""
    begin(venue)
    gives: dict[str, Any] = {
        "account": "dave", "counterparty": "bob", "symbol": LIN, "price_ticks": 49_000,
    }  # fmt: skip
    before = books_hash(venue.state)
    foreseen_able(venue.state, [c.Deleverage(key="-", actor="-", lots=30, **gives)])
    assert books_hash(venue.state) == before
    rules = venue.state.rules["tenth"]
    known = len(rules.found)
    venue.do(c.Deleverage, lots=30, **gives)
    # Nothing that was asked of bob is new.
    assert {key[0] for key in list(rules.found)[known:]} <= {venue.account("dave").number}


def test_nobody_is_deleveraged_below_maintenance(venue: Venue) -> None:
    begin(venue)
    own(venue, "bob", 600 * DOLLAR)
    own(venue, "bob", 0, BTC)
    told = {"account": "dave", "counterparty": "bob", "symbol": LIN}
    # Four dollars a lot: he has 200 left, and the other hundred lots need 250.
    venue.refuse(
        Reject.COUNTERPARTY_UNABLE,
        "account bob: expected equity of at least its maintenance margin after it, 250000000 "
        "micro, found 200000000",
        c.Deleverage, lots=100, price_ticks=54_000, **told,
    )  # fmt: skip
    venue.do(c.Deleverage, lots=1, price_ticks=54_000, **told)


def test_who_is_below_maintenance_may_still_be_relieved_at_the_mark(venue: Venue) -> None:
    begin(venue)
    own(venue, "bob", 300 * DOLLAR)
    own(venue, "bob", 0, BTC)
    told = {"account": "dave", "counterparty": "bob", "symbol": LIN, "lots": 1}
    assert venue.tell(c.Deleverage, price_ticks=50_001, **told).code == Reject.COUNTERPARTY_UNABLE
    venue.do(c.Deleverage, price_ticks=50_000, **told)
