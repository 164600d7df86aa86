"""What is to be done now: stage by stage, the fewest lots, at which price, and what when nothing
can be done."""

from __future__ import annotations

import pytest

from solvent.engine.image import books_hash, image, restore
from solvent.engine.standing import standing, view
from solvent.messages import commands as c
from solvent.messages.events import MarginCalled
from solvent.messages.fields import CoverFrom, MarginMode
from solvent.tending.debts import gain_of
from tests.tended import Tended, bid, stages_of, tended
from tests.test_engine_contract_rules import by_contract, mark
from tests.venues import COIN, DOLLAR, LIN, T0, Venue, own


def equity(engine: Tended, name: str) -> tuple[int, int]:
    """Equity and maintenance margin in dollars, rounded down."""
    found = standing(engine.state, view(engine.state, engine.venue.account(name)))
    assert found.known
    return found.equity_micro // DOLLAR, found.maintenance_micro // DOLLAR


# ── into the book ────────────────────────────────────────────────────────────────────────────────


def test_the_fewest_lots_at_the_prices_that_rest() -> None:
    """400 of 500 dollars: at the mark 40 lots of 50 dollars free 100 of maintenance."""
    engine = tended()
    bid(engine, "b", 1_000, 50_000)
    plans = engine.plans()
    assert stages_of(plans) == [("dave", "begin")]
    done = engine.tend(actor="me")
    assert engine.kinds() == ["BeginLiquidation", "LiquidateInBook", "EndLiquidation"]
    (step,) = engine.sent(c.LiquidateInBook)
    assert (step["lots"], step["side"], step["price_ticks"]) == (40, "sell", 48_000)
    assert engine.venue.position("dave", LIN) == (160, 80_000_000, 80_000_000, 0)
    assert equity(engine, "dave") == (400, 400)
    assert (done.accepted, done.refused, done.open) == (4, 0, [])
    assert engine.venue.account("dave").status == "open"


def test_worse_prices_need_more_lots() -> None:
    """At 49,000 a lot loses a dollar and frees 2.50: 67 lots are enough, 66 are not."""
    engine = tended()
    bid(engine, "b", 1_000, 49_000)
    engine.tend()
    (step,) = engine.sent(c.LiquidateInBook)
    assert step["lots"] == 67
    assert equity(engine, "dave") == (333, 332)


def test_a_second_look_at_the_same_moment_does_nothing() -> None:
    engine = tended()
    bid(engine, "b", 1_000, 50_000)
    engine.tend()
    before = books_hash(engine.state)
    assert engine.plans() == []
    assert engine.tend().nothing
    assert books_hash(engine.state) == before


def test_it_goes_on_after_a_restart_in_the_middle() -> None:
    """Whatever was done already is seen in the books."""
    whole = tended(fund=1_000)
    bid(whole, "b", 30, 50_000)
    whole.tend()
    for stop in [0, *whole.batches]:
        part = tended(fund=1_000)
        bid(part, "b", 30, 50_000)
        for command, _, _ in whole.told[:stop]:
            part.venue.send(command)
        again = Tended(Venue(restore(image(part.state)), T0))
        again.tend()
        assert books_hash(again.state) == books_hash(whole.state), stop


def test_orders_go_before_positions_do() -> None:
    """600 dollars bear 200 lots, and no bids besides."""
    engine = tended(money=1_200)
    engine.venue.order("dave", "dip", 30, 40_000)
    own(engine.venue, "dave", 980 * DOLLAR)
    assert stages_of(engine.plans()) == [("dave", "cancel")]
    engine.tend()
    assert engine.kinds() == ["RelieveMargin"]
    assert dict(engine.state.orders_of(engine.venue.account("dave").number)) == {}


def test_warnings_come_once() -> None:
    engine = tended(money=600)
    assert stages_of(engine.plans()) == [("dave", "call")]
    engine.tend()
    assert engine.state.calls[engine.venue.account("dave").number].level == 1
    assert engine.plans() == []
    own(engine.venue, "dave", 540 * DOLLAR)
    engine.tend()
    assert engine.state.calls[engine.venue.account("dave").number].amount_micro == 460 * DOLLAR
    own(engine.venue, "dave", 5_000 * DOLLAR)
    engine.tend()
    assert engine.state.calls == {}
    assert engine.kinds(reviews=True) == ["ReviewMargin"] * 3


def test_a_share_of_the_book_and_then_the_next_stage() -> None:
    engine = tended(more="[liquidation.reduce]\nbook_share = 0.5", fund=1_000)
    bid(engine, "b", 20, 50_000)
    engine.tend()
    assert engine.sent(c.LiquidateInBook)[0]["lots"] == 10
    assert "TakeOver" in engine.kinds()


@pytest.mark.parametrize(
    ("more", "lots"),
    [
        ('way = "whole"', 200),
        ('way = "fraction"\nfraction = 0.2\ncooldown_ms = 30000', 40),
        ('way = "fraction"\nfraction = 0.25\nwhole_below = 20000.0', 200),
        ('way = "blocks"\nblock_share = 0.1\ncooldown_ms = 1000', 20),
        # No tiers in this rulebook: 80 lots free the 200 dollars that are short.
        ('way = "tiers"', 80),
    ],
)
def test_ways_of_reducing(more: str, lots: int) -> None:
    engine = tended(more=f"[liquidation.reduce]\n{more}", money=300)
    bid(engine, "b", 5_000, 50_000)
    engine.tend()
    assert engine.sent(c.LiquidateInBook)[0]["lots"] == lots


def test_a_cooldown_is_waited_for() -> None:
    more = (
        '[liquidation.reduce]\nway = "fraction"\nfraction = 0.1\ncooldown_ms = 30000\n'
        "then_whole = true"
    )
    engine = tended(more=more, money=300)
    bid(engine, "b", 5_000, 50_000)
    done = engine.tend()
    assert [one.open for one in done.open] == ["its cooldown"]
    assert [one["lots"] for one in engine.sent(c.LiquidateInBook)] == [20]
    engine.venue.time_ms += 30_000
    engine.tend()
    assert [one["lots"] for one in engine.sent(c.LiquidateInBook)] == [20, 180]
    assert engine.venue.account("dave").status == "open"


# ── the fund, deleveraging ───────────────────────────────────────────────────────────────────────


def test_the_fund_takes_over_at_the_bankruptcy_price() -> None:
    """400 dollars in 200 lots: nothing is left at 48,000, which the fund gains by."""
    engine = tended(fund=1_000)
    engine.tend()
    assert engine.kinds() == ["BeginLiquidation", "TakeOver", "EndLiquidation"]
    (step,) = engine.sent(c.TakeOver)
    assert (step["lots"], step["price_ticks"]) == (200, 48_000)
    assert engine.venue.held("dave") == 0


@pytest.mark.parametrize(("reserve", "lots"), [("0.01", 80), ("0.05", 80), ("0.1", 13)])
def test_no_more_than_the_fund_could_sell(reserve: str, lots: int) -> None:
    """At 5 % slippage 2.50 dollars a lot must be there, 2 are gained: 0.50 of 40 for 80 lots. A
    reserve of a tenth asks for 5.00: 3.00 a lot."""
    engine = tended(fund=40, more=f"[liquidation.fund]\nreserve = {reserve}")
    engine.tend()
    assert engine.sent(c.TakeOver)[0]["lots"] == lots
    assert engine.sent(c.Deleverage) == [
        {"account": "dave", "counterparty": "bob", "symbol": LIN, "lots": 200 - lots,
         "price_ticks": 48_000}
    ]  # fmt: skip


def test_deleveraging_where_the_fund_is_empty() -> None:
    """It owes 100 dollars beyond what it has: bob, who is short, buys at 50,500."""
    engine = tended(money=-100)
    engine.tend()
    assert engine.kinds() == ["BeginLiquidation", "Deleverage", "EndLiquidation"]
    assert engine.sent(c.Deleverage)[0]["price_ticks"] == 50_500
    assert engine.venue.held("dave") == 0
    assert engine.venue.position("bob", LIN) is None


def test_a_price_is_rounded_for_who_closes_and_the_rest_is_the_funds() -> None:
    """399.97 dollars in 200 lots of 0.001: 48,000.15, so 48,001; 0.17 dollars are left."""
    engine = tended()
    own(engine.venue, "dave", 399_970_000)
    engine.tend()
    assert engine.sent(c.Deleverage)[0]["price_ticks"] == 48_001
    assert engine.sent(c.Confiscate)[0]["amount"] == 170_000
    assert (engine.venue.held("dave"), engine.venue.held("insurance")) == (0, 170_000)


def test_nobody_is_on_the_other_side() -> None:
    """Bob cannot pay either: nobody can be deleveraged, and it is told."""
    engine = tended(money=-100)
    own(engine.venue, "bob", -100 * DOLLAR)
    own(engine.venue, "bob", 0, asset=1)
    done = engine.tend()
    assert "Deleverage" not in engine.kinds()
    assert ("dave", "nobody takes what is left") in [(one.account, one.open) for one in done.open]
    assert engine.tend().nothing


def test_stale_arrays_bring_no_plan() -> None:
    engine = tended(fund=1_000)
    engine.venue.time_ms = T0 + 60_001
    engine.venue.do(c.Heartbeat)
    assert engine.plans() == []
    assert engine.tend().nothing
    engine.venue.publish()
    engine.tend()
    assert engine.kinds() == ["BeginLiquidation", "TakeOver", "EndLiquidation"]


# ── isolated positions ───────────────────────────────────────────────────────────────────────────


def test_an_isolated_loss_stays_in_its_margin() -> None:
    engine = tended(lots=1, money=10_000)
    venue = engine.venue
    venue.do(c.SetMarginMode, account="carol", symbol=LIN, mode=MarginMode.ISOLATED, leverage="10")
    venue.trade("carol", "bob", 100, 50_000)
    assert venue.margin("carol", LIN) == 500 * DOLLAR
    venue.quote(index=47_600, LIN=476_000)
    venue.publish(index=47_600, LIN=476_000)
    general = venue.held("carol")
    engine.tend()
    # It has lost 240 of 500 dollars, and must have 238: it is called, for its own margin.
    assert engine.kinds() == []
    called = [event for _, _, events in engine.told for event in events]
    assert called[-1] == MarginCalled(
        venue.account("carol").number, 2, 216 * DOLLAR, "USDC", 216 * DOLLAR, T0 + 3_600_000, 0
    )
    assert engine.tend().nothing
    venue.quote(index=47_400, LIN=474_000)
    venue.publish(index=47_400, LIN=474_000)
    engine.tend()
    assert engine.kinds() == []
    venue.quote(index=46_000, LIN=460_000)
    venue.publish(index=46_000, LIN=460_000)
    engine.tend()
    assert [one["counterparty"] for one in engine.sent(c.Deleverage)] == ["bob"]
    assert engine.sent(c.Deleverage)[0]["price_ticks"] == 45_000
    assert venue.margin("carol", LIN) == 0
    assert venue.held("carol") == general


# ── debts ────────────────────────────────────────────────────────────────────────────────────────


def test_a_debt_is_paid_in_a_fixed_order() -> None:
    """Of 100 dollars the coin pays none, the fund 30, the venue 20, and who gained the rest."""
    engine = tended(stages='["book", "socialise"]', money=400)
    venue = engine.venue
    bid(engine, "b", 1_000, 47_500)
    venue.do(c.Deposit, account="insurance", asset="USDC", amount=30 * DOLLAR)
    venue.do(c.Deposit, account="venue", asset="USDC", amount=20 * DOLLAR)
    venue.quote(index=47_500, LIN=475_000)
    venue.publish(index=47_500, LIN=475_000)
    engine.tend()
    covers = engine.sent(c.CoverDebt)
    assert [(one["source"], one["amount"]) for one in covers] == [
        (CoverFrom.INSURANCE, 30 * DOLLAR), (CoverFrom.VENUE, 20 * DOLLAR)
    ]  # fmt: skip
    (shares,) = [one["shares"] for one in engine.sent(c.SocialiseLoss)]
    assert [(one.account, one.amount) for one in shares] == [("bob", 50 * DOLLAR)]
    assert venue.held("dave") == 0
    assert venue.account("dave").status == "open"


def test_gains_that_have_paid_once_do_not_pay_again() -> None:
    """Dave owes 600 dollars, of which bob, who has gained 500, pays that; 100 more only once he has
    gained it. It makes no difference who looks, and whether the venue has stopped between."""
    engine = tended(stages='["book", "socialise"]', money=-100)
    venue = engine.venue
    bid(engine, "b", 1_000, 47_500)

    def at(dollars: int) -> None:
        venue.quote(index=dollars, LIN=10 * dollars)
        venue.publish(index=dollars, LIN=10 * dollars)

    def shared() -> list[int]:
        told = [one["shares"] for one in engine.sent(c.SocialiseLoss)]
        assert {share.account for shares in told for share in shares} <= {"bob"}
        return [share.amount // DOLLAR for shares in told for share in shares]

    at(47_500)
    done = engine.tend()
    assert (shared(), [one.open for one in done.open]) == (
        [500], ["nobody pays 100,000,000 units of USDC"]
    )  # fmt: skip
    assert gain_of(venue.state, venue.account("bob"), 0) == 0
    assert engine.tend().nothing
    venue.state = restore(image(venue.state))
    assert engine.tend().nothing
    at(47_300)
    engine.tend()
    assert shared() == [500, 40]
    at(46_800)
    engine.tend()
    assert shared() == [500, 40, 60]
    assert gain_of(venue.state, venue.account("bob"), 0) == 40 * DOLLAR
    assert (venue.held("dave"), venue.account("dave").status) == (0, "open")


def test_other_assets_pay_first() -> None:
    """A coin that counts for nothing here still pays a debt, bought by the fund at the index."""
    engine = tended(stages='["book", "socialise"]', money=400)
    venue = engine.venue
    own(venue, "dave", COIN // 1_000, asset=1)
    bid(engine, "b", 1_000, 47_500)
    venue.do(c.Deposit, account="insurance", asset="USDC", amount=200 * DOLLAR)
    venue.quote(index=47_500, LIN=475_000)
    venue.publish(index=47_500, LIN=475_000)
    engine.tend()
    assert engine.kinds().index("LiquidateInBook") < len(engine.kinds())
    assert venue.held("dave") >= 0
    assert venue.account("dave").status == "open"


def test_what_nobody_pays_is_told() -> None:
    engine = tended(stages='["book"]', money=400)
    bid(engine, "b", 1_000, 47_500)
    engine.venue.quote(index=47_500, LIN=475_000)
    engine.venue.publish(index=47_500, LIN=475_000)
    done = engine.tend()
    assert [one.open for one in done.open] == ["nobody pays 100,000,000 units of USDC"]
    assert engine.venue.account("dave").status == "liquidation"
    assert engine.tend().nothing


# ── contracts ruled by themselves ────────────────────────────────────────────────────────────────


def test_a_contract_that_is_ruled_by_itself_is_closed_down() -> None:
    """Dave has 10 of 500 dollars left and must have 20.50: the fund takes all at the mark, and
    what is left."""
    venue = by_contract()
    venue.do(c.Deposit, account="insurance", asset="USDC", amount=100 * DOLLAR)
    venue.do(c.Trade, buyer="dave", seller="bob", symbol=LIN, lots=10, price_ticks=50_000,
             aggressor=None)  # fmt: skip
    engine = Tended(venue)
    assert engine.plans() == []
    mark(venue, 410_000)
    venue.do(c.SettleVariation, symbol=LIN)
    left = venue.held("dave") + venue.margin("dave", LIN)
    before = venue.held("insurance")
    engine.tend()
    kinds = engine.kinds()
    assert kinds[:2] == ["BeginLiquidation", "TakeOver"]
    assert kinds[-1] == "EndLiquidation"
    assert venue.position("dave", LIN) is None
    assert venue.held("dave") + venue.margin("dave", LIN) == 0
    assert venue.held("insurance") - before == left
    assert engine.tend().nothing
