"""Stages that not every venue has: auctions, backstops with margin, hedges, ranks and allocations
of deleveraging, funds of one contract, members, other collateral, coin-margined contracts."""

from __future__ import annotations

import pytest

from solvent.account.ledger import FUND, INSURANCE, margin_slot, node
from solvent.engine.standing import standing, view
from solvent.liquidation.adl import Quality
from solvent.messages import commands as c
from solvent.messages.fields import AccountKind, CoverFrom, MarginMode
from solvent.tending.deleveraging import judged, queue
from solvent.tending.plans import Plan
from solvent.tending.prices import at_bankruptcy, at_mark, brings, limit_ticks
from tests.tended import Tended, bid, tended
from tests.venues import COIN, DOLLAR, HIGH, INV, LIN, QUANTO, USDC, book_venue, own

AUCTION = "[liquidation.auction]\nfast_ms = 20000\nslow_ms = 20000\n"


# ── auctions ─────────────────────────────────────────────────────────────────────────────────────


def test_an_auction_begins_waits_and_ends_when_the_account_is_well() -> None:
    engine = tended('["auction", "socialise"]', AUCTION)
    done = engine.tend()
    assert engine.kinds() == ["BeginLiquidation", "StartAuction"]
    assert [one.open for one in done.open] == ["its auction waits for bids"]
    assert engine.tend().nothing
    own(engine.venue, "dave", 5_000 * DOLLAR)
    engine.tend()
    assert engine.kinds()[2:] == ["EndAuction", "EndLiquidation"]


def test_a_bid_takes_a_share_of_the_account() -> None:
    engine = tended('["auction", "socialise"]', AUCTION)
    engine.tend()
    engine.venue.time_ms += 10_000
    engine.venue.do(c.Heartbeat)
    found = engine.venue.tell(
        c.BidInAuction, account="dave", bidder="carol", share_ppb=500_000_000, pay_max=10**9
    )
    assert found.code == 0, found.events
    lots = engine.venue.position("carol", LIN)
    assert lots is not None
    assert lots[0] >= 1
    engine.tend()
    assert engine.venue.account("dave").status in ("open", "liquidation")


def test_a_price_that_came_to_nothing_gets_money_on_top() -> None:
    engine = tended('["auction", "socialise"]', AUCTION)
    engine.tend()
    engine.venue.time_ms += 40_000
    engine.venue.do(c.Heartbeat)
    engine.venue.publish()
    engine.tend()
    assert "StartAuction" in engine.kinds()[2:] or "EndAuction" in engine.kinds()[2:]
    assert engine.tend().nothing


# ── backstops ────────────────────────────────────────────────────────────────────────────────────


def test_a_backstop_takes_positions_with_their_margin() -> None:
    more = "[liquidation.backstop]\nbelow = 1.0\nwith_margin = true"
    engine = tended('["backstop", "adl"]', more)
    venue = engine.venue
    venue.open("vault", usdc=5_000, kind=AccountKind.BACKSTOP)
    venue.do(c.SetBackstop, account="vault", cap_micro=50_000 * DOLLAR)
    engine.tend()
    assert engine.sent(c.TakeOver)[0]["price_ticks"] == 50_000
    assert [(one["amount"], one["to"]) for one in engine.sent(c.Confiscate)] == [
        (400 * DOLLAR, "vault")
    ]
    assert venue.held("vault") == 5_400 * DOLLAR
    assert venue.held("dave") == 0


def test_a_backstop_does_not_come_before_its_time() -> None:
    more = "[liquidation.backstop]\nbelow = 0.5\nwith_margin = true"
    engine = tended('["backstop"]', more)
    engine.venue.open("vault", usdc=5_000, kind=AccountKind.BACKSTOP)
    engine.venue.do(c.SetBackstop, account="vault", cap_micro=50_000 * DOLLAR)
    done = engine.tend()
    assert [one.open for one in done.open] == ["nobody takes what is left"]
    own(engine.venue, "dave", 249 * DOLLAR)
    engine.tend()
    assert "TakeOver" in engine.kinds()


# ── deleveraging ─────────────────────────────────────────────────────────────────────────────────


def against(more: str = "", money: int = -100) -> Tended:
    """Dave owes 100 dollars; bob, carol and alice hold the other side, gaining differently."""
    engine = tended('["adl", "socialise"]', f"[liquidation.adl]\n{more}", lots=300, money=2_000)
    venue = engine.venue
    for name, lots, ticks in (("carol", 100, 50_000), ("alice", 50, 50_000)):
        venue.trade("bob", name, lots, ticks)
    own(venue, "dave", money * DOLLAR)
    venue.quote(index=49_000, LIN=490_000)
    venue.publish(index=49_000, LIN=490_000)
    own(venue, "dave", (300 + money) * DOLLAR)
    return engine


@pytest.mark.parametrize("rank", ["bitmex", "binance", "bybit", "okx", "hyperliquid", "random"])
def test_every_rank_closes_all_of_it_in_order(rank: str) -> None:
    engine = against(f'rank = "{rank}"')
    venue = engine.venue
    closing = engine.state.rules["tenth"].closing
    line = queue(engine.state, venue.contract(LIN), longs=False, closing=closing)
    assert sorted(one.account for one in line) == ["alice", "bob", "carol"]
    assert [one.rank for one in line] == [1, 2, 3]
    engine.tend()
    told = [one["counterparty"] for one in engine.sent(c.Deleverage)]
    assert told == [one.account for one in line][: len(told)]
    assert sum(one["lots"] for one in engine.sent(c.Deleverage)) == 300
    assert venue.position("dave", LIN) is None


@pytest.mark.parametrize("allocate", ["pro_rata", "risk_aware"])
def test_allocations_take_a_part_of_everyone(allocate: str) -> None:
    engine = against(f'allocate = "{allocate}"')
    venue = engine.venue
    venue.trade("erin" if venue.open("erin", usdc=5_000) < 0 else "carol", "bob", 10, 49_000)
    plans: list[Plan] = []
    engine.tend(watch=plans.extend)
    (plan,) = [one for one in plans if one.stage == "adl"]
    names = {one["counterparty"] for one in engine.sent(c.Deleverage)}
    assert names == {"bob", "carol", "alice"}
    assert sum(one["lots"] for one in engine.sent(c.Deleverage)) == 300
    assert plan.rule.startswith("auto-deleveraging by binance")


def test_how_well_it_was_spread() -> None:
    engine = against()
    seen: list[Quality | None] = []

    def watch(plans: list[Plan]) -> None:
        seen.extend(judged(engine.state, plan) for plan in plans if plan.stage == "adl")

    engine.tend(watch=watch)
    (found,) = seen
    assert found is not None
    # The debt was 100 dollars at the mark; whole ticks take less than a tick a lot beyond it.
    assert 0 <= found.seized - 100 * DOLLAR < 300 * 1_000
    assert found.worst_share >= found.fairest_share
    assert found.regret >= 0


def test_deleveraging_at_the_mark() -> None:
    engine = against('price = "mark"', money=100)
    engine.tend()
    assert {one["price_ticks"] for one in engine.sent(c.Deleverage)} == {49_000}
    # What is left at the mark is dave's.
    assert engine.venue.held("dave") == 100 * DOLLAR
    assert engine.sent(c.Confiscate) == []
    # Where that would leave a debt it is the bankruptcy price.
    poor = against('price = "mark"')
    poor.tend()
    assert {one["price_ticks"] for one in poor.sent(c.Deleverage)} == {49_334}
    assert poor.venue.held("dave") == 0


# ── funds ────────────────────────────────────────────────────────────────────────────────────────


def test_a_fund_that_was_drawn_down_takes_no_more_losses() -> None:
    more = "[liquidation.fund]\ndrawdown = 0.3"
    engine = tended('["fund", "adl"]', more, money=-100, fund=10_000)
    venue = engine.venue
    venue.quote()
    venue.do(c.FundMarket, symbol=LIN, amount=4_000 * DOLLAR)
    engine.tend()
    assert "TakeOver" not in engine.kinds()
    assert "Deleverage" in engine.kinds()


def test_a_cap_on_what_the_fund_may_lose() -> None:
    more = "[liquidation.fund]\ncap = 50.0"
    engine = tended('["fund", "adl"]', more, money=-100, fund=10_000)
    engine.tend()
    # 200 lots lose 100 dollars against the mark: half of them are 50.
    assert engine.sent(c.TakeOver)[0]["lots"] == 100
    assert sum(one["lots"] for one in engine.sent(c.Deleverage)) == 100


def test_a_members_client_is_paid_for_by_the_member_first() -> None:
    engine = tended('["book"]', money=1_000, lots=1)
    venue = engine.venue
    venue.open("client", usdc=2_000, parent="member")
    venue.trade("client", "bob", 200, 50_000)
    venue.do(c.ContributeFund, account="member", asset="USDC", amount=60 * DOLLAR)
    venue.do(c.Deposit, account="insurance", asset="USDC", amount=500 * DOLLAR)
    own(venue, "client", 400 * DOLLAR)
    bid(engine, "b", 1_000, 47_500)
    venue.quote(index=47_500, LIN=475_000)
    venue.publish(index=47_500, LIN=475_000)
    engine.tend()
    covers = engine.sent(c.CoverDebt)
    assert [(one["source"], one["amount"]) for one in covers] == [
        (CoverFrom.MEMBER, 60 * DOLLAR), (CoverFrom.INSURANCE, 40 * DOLLAR)
    ]  # fmt: skip
    assert venue.held("member", USDC, FUND) == 0


def test_a_contract_pays_for_itself_first() -> None:
    """An isolated position whose margin is a debt: its contract's own fund, then the shared one."""
    engine = tended('["book"]', '[liquidation.fund]\nscope = "market"', money=1_000, lots=1)
    venue = engine.venue
    venue.do(c.SetMarginMode, account="carol", symbol=LIN, mode=MarginMode.ISOLATED, leverage="10")
    venue.trade("carol", "bob", 100, 50_000)
    venue.do(c.Deposit, account="insurance", asset="USDC", amount=300 * DOLLAR)
    venue.do(c.FundMarket, symbol=LIN, amount=30 * DOLLAR)
    bid(engine, "b", 1_000, 44_000, who="alice")
    venue.quote(index=44_000, LIN=440_000)
    venue.publish(index=44_000, LIN=440_000)
    engine.tend()
    covers = engine.sent(c.CoverDebt)
    assert [(one["source"], one["amount"], one["symbol"]) for one in covers] == [
        (CoverFrom.MARKET, 30 * DOLLAR, LIN), (CoverFrom.INSURANCE, 70 * DOLLAR, LIN)
    ]  # fmt: skip
    market = node(INSURANCE, margin_slot(venue.contract(LIN).number), USDC)
    assert engine.state.ledger.balance(market) == 0


def test_a_coin_pays_what_is_owed_in_dollars() -> None:
    """Dave's position is closed at a loss beyond his dollars; a coin that he has pays that."""
    engine = tended('["book", "socialise"]', '[liquidation.reduce]\nway = "whole"', money=400)
    venue = engine.venue
    bid(engine, "b", 1_000, 48_000)
    venue.do(c.Deposit, account="insurance", asset="USDC", amount=900 * DOLLAR)
    own(venue, "dave", -100 * DOLLAR)
    own(venue, "dave", COIN // 100, asset=1)
    venue.quote(index=48_000, LIN=480_000)
    venue.publish(index=48_000, LIN=480_000)
    engine.tend()
    (step,) = engine.sent(c.ConvertCollateral)
    assert (step["asset"], step["into"]) == ("BTC", "USDC")
    assert step["into_amount"] == 480 * DOLLAR
    assert step["amount"] == COIN // 100
    # 500 dollars were owed: the fund, which bought the coin, pays the other 20.
    assert [one["amount"] for one in engine.sent(c.CoverDebt)] == [20 * DOLLAR]
    assert venue.held("dave") == 0


def test_a_fee_goes_to_the_fund() -> None:
    engine = tended(more="[liquidation.reduce]\nfee = 0.01")
    bid(engine, "b", 1_000, 50_000)
    engine.tend()
    (step,) = engine.sent(c.LiquidateInBook)
    # 0.50 of each lot's 50 dollars are the fee, 2.50 are freed: 50 lots and not 49.
    assert (step["fee_ppm"], step["lots"]) == (10_000, 50)
    assert engine.venue.held("insurance") == 25 * DOLLAR


# ── prices ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("symbol", "lots"), [(INV, 1_000), (INV, -1_000), (QUANTO, 5), (QUANTO, -5)]
)
def test_bankruptcy_prices_of_coin_margined_contracts(symbol: str, lots: int) -> None:
    """What is left at the price is nothing, or less than the next tick would take."""
    venue = book_venue("[liquidation]\n")
    venue.open("erin", btc=COIN)
    contract = venue.contract(symbol)
    ticks = (contract.mark_points or 0) // contract.deal.points_per_tick
    pair = ("erin", "bob") if lots > 0 else ("bob", "erin")
    venue.trade(*pair, abs(lots), ticks, symbol=symbol)
    seen = view(venue.state, venue.account("erin"))
    at = at_mark(venue.state, seen, contract)
    for money in (COIN // 500, -COIN // 500, 12_345):
        (one,) = at_bankruptcy(venue.state, seen, [(1, money)])
        left = money + one.brings
        worse = one.ticks - 1 if one.long else one.ticks + 1
        assert left >= 0
        assert money + brings(venue.state, seen, contract, worse) < 0
        assert one.below_mark == at.brings - one.brings


def test_a_limit_stays_inside_the_band() -> None:
    venue = book_venue("price_band = 0.01\n[liquidation]\n")
    contract = venue.contract(LIN)
    venue.quote()
    assert limit_ticks(venue.state, contract, 0.05, buys=True) == 50_500
    assert limit_ticks(venue.state, contract, 0.05, buys=False) == 49_500
    assert limit_ticks(venue.state, contract, 0.001, buys=False) == 49_950


# ── option books ─────────────────────────────────────────────────────────────────────────────────

HEDGE = """
[liquidation]
stages = ["book", "fund"]

[liquidation.reduce]
way = "hedge"
"""


def test_deltas_are_hedged_first() -> None:
    """Erin is short calls under Deribit's portfolio margin, and nobody rests in the calls: buying
    the perpetual improves her worst scenario, and it is the first that is done."""
    venue = book_venue("", scans=True, more=True)
    engine = Tended(venue)
    venue.do(c.AdoptRulebook, name="deribit-pm", day="2026-06-01", venue=False,
             toml=hedging())  # fmt: skip
    venue.publish("deribit-pm")
    venue.open("erin", usdc=30_000, rulebook="deribit-pm")
    venue.trade("bob", "erin", 100, 400, symbol=HIGH)
    found = standing(venue.state, view(venue.state, venue.account("erin")))
    own(venue, "erin", venue.held("erin") - (found.equity_micro - found.maintenance_micro) - DOLLAR)
    venue.order("carol", "offer", -400, 50_010)
    engine.tend()
    steps = engine.sent(c.LiquidateInBook)
    assert steps
    assert (steps[0]["symbol"], steps[0]["side"], steps[0]["hedge"]) == (LIN, "buy", True)
    after = standing(venue.state, view(venue.state, venue.account("erin")))
    assert not after.liquidate
    assert venue.account("erin").status == "open"


def hedging() -> str:
    """Deribit's rulebook with other stages."""
    from solvent.feeds.library import rulebook_source

    text = rulebook_source("deribit-pm")
    start = text.find("\n[liquidation")
    if start >= 0:
        tail = text[start + 1 :]
        others = [
            f"[{part}" for part in tail.split("\n[")[1:] if not part.startswith("liquidation")
        ]
        text = text[:start] + "\n" + "\n".join(others)
    return text + HEDGE


# ── tiers ────────────────────────────────────────────────────────────────────────────────────────

LADDER = """
[tables.ladder]
by    = "instrument"
about = "maintenance rate by value"

[[tables.ladder.rows]]
keys      = ["BTC_USDC-PERPETUAL"]
effective = 2020-01-01
source    = "these tests"
values    = { above = [0, 1000, 3000, 6000], maintenance = [0.05, 0.05, 0.05, 0.05] }
"""


@pytest.mark.parametrize(("first", "down", "lots"), [(2, 1, 80), (3, 2, 140), (5, 1, 200)])
def test_a_position_steps_down_its_tiers(first: int, down: int, lots: int) -> None:
    """10,000 dollars are in the fourth tier, above 6,000: one down leaves 6,000, two 3,000; where
    tiers count from the fifth on, all of it goes."""
    more = f'[liquidation.reduce]\nway = "tiers"\ntiers_from = {first}\ntiers_down = {down}\n'
    more += LADDER.replace("BTC_USDC-PERPETUAL", LIN)
    engine = tended(more=more, money=100)
    bid(engine, "b", 5_000, 50_000)
    engine.tend()
    assert engine.sent(c.LiquidateInBook)[0]["lots"] == lots
