"""More ways of winding accounts up, for the histories that touch every command."""

from __future__ import annotations

from solvent.engine.standing import standing, view
from solvent.errors import Reject
from solvent.messages import commands as c
from solvent.messages.fields import AccountKind, CoverFrom, Side
from solvent.units import MINUTE_MS
from tests.histories import PERPETUAL, History, balance

LOTS = 3_000


def wind_up(h: History) -> None:
    """Calls, a backstop account, the order book, conversions, funds of a market, auctions,
    porting."""
    h.must(c.OpenAccount, account="client", kind=AccountKind.USER, rulebook=h.rulebook,
           parent="member")  # fmt: skip
    h.open("other-member", kind=AccountKind.MEMBER, usdc=0)
    h.must(c.PortAccount, account="client", member="other-member")
    h.refused(Reject.ACCOUNTS_THE_SAME, c.PortAccount, account="client", member="other-member")
    h.open("backer", kind=AccountKind.BACKSTOP)
    h.must(c.SetBackstop, account="backer", cap_micro=10**12)
    _crash(h)
    _step_by_step(h)
    if not h.by_contract:
        _auctions(h)
        _well_again(h)


def _crash(h: History) -> None:
    """Two accounts that hold too much, and prices at half once more; one is called before."""
    h.publish(btc=1.0, later_ms=MINUTE_MS)
    h.arrays()
    h.must(c.SettleVariation, symbol=PERPETUAL)
    for name in ("edge", "brink"):
        h.open(name, usdc=0)
        h.must(c.Deposit, account=name, asset="USDC", amount=3_600_000_000)
        assert h.trade(name, "alice", PERPETUAL, LOTS).code == 0
    h.publish(btc=0.5, later_ms=MINUTE_MS)
    h.arrays(btc=0.5)
    if not h.by_contract:
        h.must(c.ReviewMargin, account="edge")
        h.must(c.ReviewMargin, account="alice")
    h.must(c.SettleVariation, symbol=PERPETUAL)
    for name in ("edge", "brink"):
        h.must(c.BeginLiquidation, account=name)


def _step_by_step(h: History) -> None:
    ticks = h.ticks(PERPETUAL)
    close = {"account": "edge", "symbol": PERPETUAL, "price_ticks": ticks}
    h.must(c.Liquidate, account="edge", counterparty="bob", symbol=PERPETUAL, lots=1,
           price_ticks=ticks - 1, fee_ppm=1_003)  # fmt: skip
    h.must(c.TakeOver, by="backer", lots=100, **close)
    h.refused(Reject.ACCOUNT_NOT_A_BACKSTOP, c.TakeOver, by="bob", lots=100, **close)
    if h.matches:
        h.time_ms += 1_000
        for name, lots, away in (("bob", 60, 0), ("carol", 70, -2)):
            h.rests(name, Side.BUY, lots, ticks + away)
        sale = {"account": "edge", "symbol": PERPETUAL, "side": Side.SELL, "fee_ppm": 1_003}
        h.must(c.LiquidateInBook, lots=100, price_ticks=ticks - 1, **sale)
        for _ in range(2):
            h.time_ms += 1_000
            h.must(c.LiquidateInBook, lots=100, price_ticks=ticks - 5, **sale)
        if not h.by_contract:
            h.time_ms += 1_000
            h.rests("carol", Side.BUY, 5, ticks - 2)
            h.must(c.LiquidateInBook, lots=3, price_ticks=ticks - 2, hedge=True, **sale)
            h.must(c.CancelOrders, account="carol")
    h.must(c.FundMarket, symbol=PERPETUAL, amount=10**6)
    own = -balance(h.state, "edge", "USDC")
    if own > 1_000:
        h.must(c.CoverDebt, account="edge", asset="USDC", amount=1_000, source=CoverFrom.MARKET,
               market=PERPETUAL)  # fmt: skip
    h.must(c.FundMarket, symbol=PERPETUAL, amount=900_000, back=True)
    if not h.by_contract:
        h.must(c.Deposit, account="edge", asset="BTC", amount=1_000)
        h.must(c.ConvertCollateral, account="edge", asset="BTC", amount=1_000, into="USDC",
               into_amount=1_001)  # fmt: skip
        h.must(c.Deposit, account="edge", asset="ETH", amount=77)
        h.must(c.Confiscate, account="edge", asset="ETH", amount=77, to="backer")


def _equity(h: History, name: str) -> tuple[int, int]:
    """Equity and maintenance margin, in millionths of a dollar."""
    account = h.state.account(h.state.account_numbers[name])
    found = standing(h.state, view(h.state, account))
    assert found.known
    return found.equity_micro, found.maintenance_micro


def _auctions(h: History) -> None:
    """Of one that is worth something, and of one that is not."""
    equity, maintenance = _equity(h, "brink")
    amount = maintenance // 2 - equity
    h.must(c.Deposit, account="brink", asset="USDC", amount=max(amount, 1))
    h.must(c.Deposit, account="brink", asset="ETH", amount=12_345)
    h.must(c.StartAuction, account="brink")
    bid = {"bidder": "bob", "pay_max": 10**12}
    h.refused(Reject.AUCTION_RUNNING, c.TakeOver, account="brink", symbol=PERPETUAL, lots=1,
              price_ticks=h.ticks(PERPETUAL))  # fmt: skip
    h.must(c.BidInAuction, account="brink", share_ppb=123_456_789, **bid)
    h.time_ms += MINUTE_MS
    h.must(c.BidInAuction, account="brink", share_ppb=100_000_000, **bid)
    h.time_ms += 14 * 60 * MINUTE_MS
    h.must(c.StartAuction, account="brink")
    h.refused(Reject.AUCTION_NOT_OVER, c.EndAuction, account="brink")
    h.time_ms += 60 * MINUTE_MS
    h.must(c.EndAuction, account="brink")
    h.must(c.StartAuction, account="edge")
    h.must(c.BidInAuction, account="edge", share_ppb=400_000_001, **bid)
    h.time_ms += 30 * MINUTE_MS
    h.must(c.BidInAuction, account="edge", share_ppb=1_000_000_000, **{**bid, "bidder": "carol"})
    h.refused(Reject.AUCTION_UNKNOWN, c.EndAuction, account="edge")


def _well_again(h: History) -> None:
    """With enough money."""
    equity, maintenance = _equity(h, "brink")
    h.must(c.Deposit, account="brink", asset="USDC", amount=10 * maintenance + abs(equity))
    h.refused(Reject.TARGET_REACHED, c.TakeOver, account="brink", symbol=PERPETUAL, lots=1,
              price_ticks=h.ticks(PERPETUAL))  # fmt: skip
    h.must(c.EndLiquidation, account="brink")
