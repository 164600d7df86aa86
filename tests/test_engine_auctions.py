"""Dutch auctions of accounts, to the unit: what a bidder pays, gets and needs; and porting."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import pytest

from solvent.engine.auctions import terms_of
from solvent.engine.image import image, restore, state_hash
from solvent.engine.state import Mode
from solvent.errors import Reject
from solvent.liquidation import auction as pure
from solvent.margining.closing import AuctionText
from solvent.messages import commands as c
from solvent.messages.events import (
    AuctionBid,
    AuctionEnded,
    AuctionStarted,
    Ported,
    PositionChanged,
)
from solvent.messages.fields import AccountKind, MarginMode, OpeningPosition, Phase, Share, Side
from tests.venues import BOOK, BTC, CALL, DOLLAR, FUT, INV, LIN, T0, USDC, Venue, new_venue, own

PPB = 10**9
MANY = 10**15
TERMS = """
[liquidation.auction]
start = 0.9
cut = 0.8
fast_ms = 10000
slow_ms = 40000
insolvent_ms = 20000
buffer = 0.1
fee = 0.02
"""


@pytest.fixture
def venue() -> Venue:
    """Dave holds 200 lots from 50,000 dollars: 10,000, of which he has 400; 500 are maintenance."""
    venue = new_venue()
    venue.adopt(f"{BOOK}\nage_ms_max = 100000{TERMS}")
    venue.open("dave", usdc=1_000)
    venue.trade("dave", "bob", 200, 50_000)
    own(venue, "dave", 400 * DOLLAR)
    return venue


def begun(venue: Venue) -> Venue:
    venue.do(c.BeginLiquidation, account="dave")
    return venue


def started(venue: Venue) -> tuple[Any, ...]:
    begun(venue)
    return venue.do(c.StartAuction, account="dave")


def bid(share_ppb: int = PPB, **changes: Any) -> dict[str, Any]:
    return {
        "account": "dave",
        "bidder": "carol",
        "share_ppb": share_ppb,
        "pay_max": MANY,
        **changes,
    }


# ── one that is worth something ──────────────────────────────────────────────────────────────────


def test_it_starts_with_a_fee_of_what_is_for_sale(venue: Venue) -> None:
    # mm = -100, mtm = 400; B = -100 - 50. At no discount 150/(150 + 400) are for sale.
    share = Fraction(150, 550)
    fee = math.ceil(share * 400 * DOLLAR / 50)
    assert started(venue) == (AuctionStarted(20, True, int(share * PPB), fee),)
    assert venue.held("insurance") == fee
    assert venue.held("dave") == 400 * DOLLAR - fee


def test_a_bid_takes_a_share_of_everything(venue: Venue) -> None:
    own(venue, "dave", 333, BTC)
    started(venue)
    own(venue, "dave", 400 * DOLLAR)
    own(venue, "dave", 333, BTC)
    before = venue.held("carol"), venue.held("carol", BTC)
    events = venue.do(c.BidInAuction, **bid(100_000_001))
    # At the index 333 nano of bitcoin are 16,650 micro.
    mtm = 400 * DOLLAR + 16_650
    share = Fraction(100_000_001, PPB)
    price = math.ceil(share * mtm * Fraction(9, 10))
    assert events[-1] == AuctionBid(20, 18, 100_000_001, price, USDC)
    # A tenth of 200 lots and a little more: 21, at the mark, which gains nobody anything.
    assert events[:2] == (
        PositionChanged(20, 0, 179, 89_500_000, 89_500_000, 0),
        PositionChanged(18, 0, 21, 10_500_000, 10_500_000, 0),
    )
    due = math.floor(share * 400 * DOLLAR) - price
    coins = math.floor(share * 333)
    assert (venue.held("carol"), venue.held("carol", BTC)) == (before[0] + due, before[1] + coins)
    assert (venue.held("dave"), venue.held("dave", BTC)) == (400 * DOLLAR - due, 333 - coins)
    offer = venue.state.auctions[20]
    assert (offer.reserved, offer.sold_ppb) == (price, 100_000_001)


def test_the_most_brings_the_buffer_back(venue: Venue) -> None:
    started(venue)
    own(venue, "dave", 400 * DOLLAR)
    venue.time_ms += 5_000
    events = venue.do(c.BidInAuction, **bid())
    assert events[-1] == AuctionEnded(20, "sold")
    sold = events[-2]
    assert isinstance(sold, AuctionBid)
    # d = 0.85: B/(B - mtm·d) = 150/(150 + 340).
    assert sold.share_ppb == math.ceil(Fraction(150, 490) * PPB)
    assert venue.state.auctions == {}
    lots = venue.position("dave", LIN)[0]  # type: ignore[index]
    assert lots == 200 - math.ceil(200 * Fraction(150, 490))
    maintenance = lots * 50 * DOLLAR // 20
    buffered = venue.held("dave") - maintenance - maintenance // 10
    # A lot more than what was meant frees 2.75 dollars at most.
    assert 0 <= buffered < 2_750_000
    venue.do(c.EndLiquidation, account="dave")


def test_a_bid_never_pays_more_than_it_says(venue: Venue) -> None:
    started(venue)
    own(venue, "dave", 400 * DOLLAR)
    price = math.ceil(Fraction(1, 10) * 360 * DOLLAR)
    venue.refuse(
        Reject.PRICE_EXCEEDED,
        f"account dave: expected a price of at most {price - 1}, found {price}",
        c.BidInAuction, **bid(PPB // 10, pay_max=price - 1),
    )  # fmt: skip
    venue.do(c.BidInAuction, **bid(PPB // 10, pay_max=price))


def test_a_bidder_is_margined(venue: Venue) -> None:
    started(venue)
    own(venue, "carol", 50 * DOLLAR)
    own(venue, "carol", 0, BTC)
    assert venue.tell(c.BidInAuction, **bid(PPB // 10)).code == Reject.MARGIN_INSUFFICIENT
    own(venue, "carol", 100 * DOLLAR)
    venue.do(c.BidInAuction, **bid(PPB // 10))
    venue.do(c.FreezeAccount, account="carol", reason="")
    assert venue.tell(c.BidInAuction, **bid(1)).code == Reject.ACCOUNT_FROZEN


def test_options_go_with_their_value() -> None:
    venue = new_venue()
    venue.adopt(f"{BOOK}{TERMS}")
    venue.open("dave", usdc=1_000)
    venue.do(c.ImportBooks, balances=(), positions=(
        OpeningPosition("dave", LIN, 200, 500_000), OpeningPosition("bob", LIN, -200, 500_000),
        OpeningPosition("dave", CALL, 4, 10_000), OpeningPosition("bob", CALL, -4, 10_000),
        OpeningPosition("dave", FUT, -30, 500_001), OpeningPosition("bob", FUT, 30, 500_001),
    ))  # fmt: skip
    own(venue, "dave", 300 * DOLLAR)
    started(venue)
    before = {name: venue.held(name) for name in ("dave", "carol")}
    events = venue.do(c.BidInAuction, **bid(PPB // 4))
    paid = events[-1].paid  # type: ignore[attr-defined]
    assert venue.position("carol", CALL)[0] == 1  # type: ignore[index]
    assert venue.position("carol", FUT)[0] == -8  # type: ignore[index]
    # Four calls are worth 40 dollars, thirty futures have gained 0.3 micro: the share of that and
    # of all cash changes hands with one call, paid at its mark.
    money = Fraction(before["dave"]) + 40 * DOLLAR + Fraction(3, 10)
    due = math.floor(money / 4) - paid
    assert venue.held("carol") == before["carol"] - 10 * DOLLAR + due


def test_what_has_been_closed_since_the_mark_is_money() -> None:
    """Where gains are paid at the mark, a position without lots may still have some to come."""
    venue = new_venue()
    venue.adopt(f'{BOOK}\nrealise = "at_mark"\nlosses = "collect"{TERMS}')
    venue.open("dave", usdc=2_000)
    venue.trade("dave", "bob", 200, 50_000)
    venue.trade("dave", "bob", 1_000, 50_000, symbol=FUT)
    venue.trade("bob", "dave", 1_000, 50_100, symbol=FUT)
    assert venue.position("dave", FUT)[0] == 0  # type: ignore[index]
    own(venue, "dave", 400 * DOLLAR)
    started(venue)
    own(venue, "dave", 400 * DOLLAR)
    before = venue.held("carol")
    events = venue.do(c.BidInAuction, **bid(PPB // 10))
    paid = events[-1].paid  # type: ignore[attr-defined]
    # A thousand lots have gained 0.1 dollars, to be paid at the next mark: a tenth is the bidder's.
    assert venue.held("carol") == before + 40 * DOLLAR + 10_000 - paid
    assert venue.position("carol", FUT) is None


# ── one that is not ──────────────────────────────────────────────────────────────────────────────


def test_the_fund_pays_bidders_first(venue: Venue) -> None:
    own(venue, "dave", -100 * DOLLAR)
    assert started(venue) == (AuctionStarted(20, False, PPB, 0),)
    venue.do(c.Deposit, account="insurance", asset="USDC", amount=30 * DOLLAR)
    venue.time_ms += 10_000
    before = venue.held("carol")
    # From -100 to -600 within 20 seconds: -350 now, half of which is 175.
    events = venue.do(c.BidInAuction, **bid(PPB // 2, pay_max=0))
    assert events[-1] == AuctionBid(20, 18, PPB // 2, -175 * DOLLAR, USDC)
    assert venue.held("insurance") == 0
    # Half of the debt is the bidder's, 30 dollars came from the fund, the rest is owed for.
    assert venue.held("carol") == before - 50 * DOLLAR + 175 * DOLLAR
    assert venue.held("dave") == -50 * DOLLAR - 145 * DOLLAR
    events = venue.do(c.BidInAuction, **bid(bidder="alice"))
    assert events[-1] == AuctionEnded(20, "sold")
    assert venue.position("dave", LIN) is None
    debt = -venue.held("dave")
    assert debt > 0
    shares = (Share("bob", debt),)
    venue.do(c.SocialiseLoss, account="dave", asset="USDC", shares=shares)
    venue.do(c.EndLiquidation, account="dave")


def test_nothing_is_given_away_of_one_that_is_well(venue: Venue) -> None:
    own(venue, "dave", -100 * DOLLAR)
    started(venue)
    own(venue, "dave", 500 * DOLLAR)
    venue.refuse(
        Reject.TARGET_REACHED,
        "account dave: expected equity below its maintenance margin",
        c.BidInAuction, **bid(),
    )  # fmt: skip
    assert venue.do(c.EndAuction, account="dave") == (AuctionEnded(20, "well"),)


def test_what_nobody_takes_for_nothing_is_sold_with_money_on_top(venue: Venue) -> None:
    started(venue)
    venue.do(c.BidInAuction, **bid(PPB // 100))
    reserved = venue.state.auctions[20].reserved
    assert reserved > 0
    detail = (
        "account dave: auction: expected a solvent one whose price is 0, of an account below its "
        "margin, found a maintenance margin of "
    )
    found = venue.tell(c.StartAuction, account="dave")
    assert found.code == Reject.AUCTION_RUNNING
    assert found.events[0].detail.startswith(detail)  # type: ignore[attr-defined]
    venue.time_ms += 50_000
    assert venue.tell(c.BidInAuction, **bid()).code == Reject.ACCOUNT_STILL_LIQUIDATABLE
    assert venue.do(c.StartAuction, account="dave") == (AuctionStarted(20, False, PPB, 0),)
    offer = venue.state.auctions[20]
    assert (offer.begun_ms, offer.solvent, offer.reserved) == (T0 + 50_000, False, reserved)


# ── around it ────────────────────────────────────────────────────────────────────────────────────


def test_nothing_else_reduces_it_meanwhile(venue: Venue) -> None:
    started(venue)
    detail = "account dave: expected no auction, found one that has begun"
    told = {"account": "dave", "symbol": LIN, "lots": 1, "price_ticks": 50_000}
    money = {"account": "dave", "asset": "USDC", "amount": 1}
    for kind, fields in (
        (c.TakeOver, told), (c.Deleverage, {**told, "counterparty": "bob"}),
        (c.Liquidate, {**told, "counterparty": "carol", "fee_ppm": 0}),
        (c.LiquidateInBook, {**told, "side": Side.SELL, "fee_ppm": 0}),
        (c.Confiscate, money), (c.ConvertCollateral, {**money, "into": "BTC", "into_amount": 1}),
        (c.EndLiquidation, {"account": "dave"}),
    ):  # fmt: skip
        venue.refuse(Reject.AUCTION_RUNNING, detail, kind, **fields)


def test_it_ends_when_it_is_over(venue: Venue) -> None:
    begun(venue)
    none = "account dave: expected an auction, found none"
    venue.refuse(Reject.AUCTION_UNKNOWN, none, c.EndAuction, account="dave")
    venue.refuse(Reject.AUCTION_UNKNOWN, none, c.BidInAuction, **bid())
    venue.do(c.StartAuction, account="dave")
    venue.refuse(
        Reject.AUCTION_NOT_OVER,
        "account dave: expected it well, or 50000 ms since the auction began, found 0",
        c.EndAuction, account="dave",
    )  # fmt: skip
    # A one-sided auction ends by time alone, also when nothing is known of prices any more.
    venue.time_ms += 100_001
    assert venue.tell(c.BidInAuction, **bid()).code == Reject.RISK_UNKNOWN
    assert venue.do(c.EndAuction, account="dave") == (AuctionEnded(20, "expired"),)
    venue.publish()
    venue.do(c.TakeOver, account="dave", symbol=LIN, lots=1, price_ticks=1)


def test_it_ends_where_there_are_no_positions_or_no_terms(venue: Venue) -> None:
    started(venue)
    venue.do(c.SetPhase, symbol=LIN, phase=Phase.HALTED)
    venue.do(c.SettleExpiry, symbol=LIN, price_nano=50_000 * 10**9)
    told = "account dave: expected positions that settle in one asset, found 0"
    venue.refuse(Reject.INSTRUMENT_NOT_FOR_THIS, told, c.StartAuction, account="dave")
    assert venue.do(c.EndAuction, account="dave") == (AuctionEnded(20, "well"),)
    venue.do(c.EndLiquidation, account="dave")


def test_only_under_a_rulebook_with_auctions(venue: Venue) -> None:
    started(venue)
    venue.adopt(BOOK)
    told = "account dave: expected a rulebook with auctions, found tenth"
    venue.refuse(Reject.ACCOUNT_NOT_FOR_THIS, told, c.StartAuction, account="dave")
    venue.refuse(Reject.ACCOUNT_NOT_FOR_THIS, told, c.BidInAuction, **bid())
    assert venue.do(c.EndAuction, account="dave") == (AuctionEnded(20, "well"),)


def test_what_stands_alone_is_not_sold_together(venue: Venue) -> None:
    started(venue)
    mode = {"symbol": LIN, "mode": MarginMode.ISOLATED, "leverage": "2"}
    venue.do(c.SetMarginMode, account="carol", **mode)
    told = f"account {{}}, {LIN}: expected a contract that is margined with all others"
    venue.refuse(Reject.MODE_REFUSED, told.format("carol"), c.BidInAuction, **bid())
    venue.account("dave").modes = {0: Mode(isolated=True, factor=Fraction(1, 2))}
    venue.refuse(Reject.MODE_REFUSED, told.format("dave"), c.StartAuction, account="dave")


def test_who_may_bid_for_what(venue: Venue) -> None:
    venue.do(c.ImportBooks, balances=(), positions=(
        OpeningPosition("dave", INV, 1, 1_000_000), OpeningPosition("bob", INV, -1, 1_000_000),
    ))  # fmt: skip
    begun(venue)
    told = "account dave: expected positions that settle in one asset, found 2"
    venue.refuse(Reject.INSTRUMENT_NOT_FOR_THIS, told, c.StartAuction, account="dave")
    venue.do(c.Deleverage, account="dave", counterparty="bob", symbol=INV, lots=1,
             price_ticks=100_000)  # fmt: skip
    venue.do(c.StartAuction, account="dave")
    code = venue.tell(c.BidInAuction, **bid(bidder="dave")).code
    assert code == Reject.ACCOUNT_IN_LIQUIDATION
    venue.contract(LIN).mark_points = None
    told = f"instrument {LIN}: expected a mark, found None"
    venue.refuse(Reject.MARK_MISSING, told, c.BidInAuction, **bid())


def test_a_restart_in_the_middle(venue: Venue) -> None:
    started(venue)
    venue.do(c.BidInAuction, **bid(PPB // 100))
    again = Venue(restore(image(venue.state)), venue.time_ms)
    assert again.state.auctions == venue.state.auctions
    for one in (venue, again):
        one.time_ms += 7
        one.do(c.BidInAuction, **bid())
    assert state_hash(again.state) == state_hash(venue.state)


def test_terms_are_those_of_the_rulebook() -> None:
    found = terms_of(AuctionText(fee=0.1, whole_below=2.5))
    assert found == pure.Terms(
        start=Fraction(98, 100), cut=Fraction(8, 10), fast_s=900_000, slow_s=43_200_000,
        insolvent_s=3_600_000, fee=Fraction(1, 10), buffer=Fraction(15, 100),
        whole_below=Fraction(2_500_000),
    )  # fmt: skip
    with pytest.raises(ValueError, match="the price falls from `start` to `cut`"):
        AuctionText(start=0.5, cut=0.6)


# ── porting ──────────────────────────────────────────────────────────────────────────────────────


def test_a_client_goes_to_another_member(venue: Venue) -> None:
    venue.open("eve", usdc=1_000, parent="member")
    venue.open("other", kind=AccountKind.MEMBER)
    venue.trade("eve", "bob", 10, 50_000)
    assert venue.account("member").subaccounts == 1
    move = {"account": "eve", "member": "other"}
    own(venue, "eve", 24 * DOLLAR)
    venue.refuse(
        Reject.MARGIN_INSUFFICIENT,
        "account eve: expected equity of at least its maintenance margin, 25000000 micro, found "
        "24000000",
        c.PortAccount, **move,
    )  # fmt: skip
    own(venue, "eve", 25 * DOLLAR)
    # The old member cannot pay, which is no hindrance.
    venue.trade("member", "bob", 100, 50_000)
    own(venue, "member", 0)
    venue.do(c.BeginLiquidation, account="member")
    assert venue.do(c.PortAccount, **move) == (Ported(21, 22),)
    counts = [venue.account(name).subaccounts for name in ("member", "other")]
    assert (venue.account("eve").parent, counts) == (22, [0, 1])
    assert venue.held("eve") == 25 * DOLLAR
    assert venue.tell(c.PortAccount, account="eve", member="member").code == (
        Reject.ACCOUNT_IN_LIQUIDATION
    )


def test_who_is_ported_where(venue: Venue) -> None:
    venue.open("eve", parent="member")
    venue.open("sub", parent="alice")
    venue.open("other", kind=AccountKind.MEMBER)
    no = Reject.ACCOUNT_NOT_A_MEMBER
    steps = [
        (no, "account bob: expected a member, found user", "eve", "bob"),
        (no, "account alice: expected a member, found user", "sub", "other"),
        (no, "account bob: expected a member's client, found nobody's", "bob", "other"),
        (Reject.ACCOUNTS_THE_SAME,
         "account eve: expected another member than member, whose it is", "eve", "member"),
    ]  # fmt: skip
    for code, detail, account, member in steps:
        venue.refuse(code, detail, c.PortAccount, account=account, member=member)
    venue.do(c.PortAccount, account="eve", member="other")
    venue.wind_up("eve")
    found = venue.tell(c.PortAccount, account="eve", member="member")
    assert found.code == Reject.ACCOUNT_IN_LIQUIDATION
