"""Incidents of other venues, as tests: what happened there, and that today's rules survive it.

What is known of each is public: a chain that stood still for eight hours because a subaccount was
emptied one line before the insurance fund had paid into it; a vault that inherited a position it
could not bear, with its siblings' money behind it; a collateral that lost its peg on one venue's
own book alone; an index of which one constituent in seven was wrong.
"""

from __future__ import annotations

from statistics import median

import pytest

from solvent.engine.image import image, restore
from solvent.engine.standing import standing, view
from solvent.messages import commands as c
from solvent.messages.events import Posted
from solvent.messages.fields import AccountKind, MarginMode
from tests.tended import Tended, bid, tended
from tests.venues import COIN, DOLLAR, LIN, QUANTO, T0, USDC, Venue, book_venue, new_venue, own

FUND = 500


# ── dYdX, 10 October 2025 ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("shortfall", [0, 1, FUND * DOLLAR, FUND * DOLLAR + 1])
def test_dydx_a_whole_market_in_one_fill_never_empties_a_pool_before_it_is_paid(
    shortfall: int,
) -> None:
    """All of an isolated market is liquidated in one fill into the book, and lacks nothing, a
    unit, exactly what the fund holds, a unit more. Every pool is at or above zero after each single
    move (`Tended` looks at each), and all of the shortfall finds somebody who pays."""
    engine = tended('["book", "socialise"]', lots=200, money=1_000, fund=FUND)
    venue = engine.venue
    # At 47,500 the 200 lots have lost 500 dollars: what is left is minus the shortfall.
    own(venue, "dave", 500 * DOLLAR - shortfall)
    bid(engine, "all", 200, 47_500)
    venue.quote(index=47_500, LIN=475_000)
    venue.publish(index=47_500, LIN=475_000)
    engine.tend()
    (fill,) = engine.sent(c.LiquidateInBook)
    assert fill["lots"] == 200
    paid = sum(one["amount"] for one in engine.sent(c.CoverDebt))
    shared = sum(s.amount for one in engine.sent(c.SocialiseLoss) for s in one["shares"])
    assert paid == min(shortfall, FUND * DOLLAR)
    assert paid + shared == shortfall
    assert venue.held("dave") == 0
    assert venue.held("insurance") == FUND * DOLLAR - paid
    assert venue.account("dave").status == "open"
    assert any(isinstance(event, Posted) for _, _, events in engine.told for event in events)


def test_dydx_after_a_restart_nobody_is_liquidated_on_old_prices() -> None:
    """The chain came back with oracles that were hours old. Arrays older than they may be bring no
    plan and refuse whoever would begin without one; fresh ones decide."""
    engine = tended('["book", "fund", "adl"]', fund=FUND)
    stopped = image(engine.state)
    again = Tended(Venue(restore(stopped), T0 + 8 * 3_600_000))
    again.venue.do(c.Heartbeat)
    assert not again.plans()
    assert again.tend().nothing
    assert again.venue.tell(c.BeginLiquidation, account="dave").code == 643
    assert again.venue.account("dave").status == "open"
    # Prices that have recovered: he is well. Nobody was liquidated on the old ones.
    again.venue.quote(index=53_000, LIN=530_000)
    again.venue.publish(index=53_000, LIN=530_000)
    again.tend()
    assert again.kinds() == []
    again.venue.quote(index=50_000)
    again.venue.publish()
    again.tend()
    assert "TakeOver" in again.kinds()


# ── Hyperliquid, JELLY, 26 March 2025 ────────────────────────────────────────────────────────────

JELLY = """
[liquidation.backstop]
below = 1.0

[liquidation.adl]
rank = "hyperliquid"
"""


def jelly(cap: int, money: int) -> Tended:
    """A backstop with a cap of its own and a sibling vault with far more money."""
    engine = tended('["backstop", "adl"]', JELLY, money=400)
    venue = engine.venue
    venue.open("vault", usdc=money, kind=AccountKind.BACKSTOP)
    venue.open("sibling", usdc=1_000_000, kind=AccountKind.BACKSTOP)
    if cap:
        venue.do(c.SetBackstop, account="vault", cap_micro=cap * DOLLAR)
    return engine


def test_jelly_the_backstop_takes_what_it_can_bear() -> None:
    engine = jelly(cap=20_000, money=5_000)
    engine.tend()
    (step,) = engine.sent(c.TakeOver)
    assert (step["by"], step["lots"]) == ("vault", 200)
    assert engine.venue.position("dave", LIN) is None


@pytest.mark.parametrize(("cap", "money"), [(9_999, 5_000), (20_000, 100)])
def test_jelly_at_its_cap_or_without_margin_adl_comes_and_no_sibling_pays(
    cap: int, money: int
) -> None:
    """At its cap, or with too little money of its own, the vault takes nothing. Its siblings are
    never drawn on: who is on the other side is deleveraged at the bankruptcy price."""
    engine = jelly(cap=cap, money=money)
    engine.tend()
    assert engine.kinds() == ["BeginLiquidation", "Deleverage", "EndLiquidation"]
    assert engine.sent(c.Deleverage)[0]["counterparty"] == "bob"
    assert engine.venue.held("vault") == money * DOLLAR
    assert engine.venue.held("sibling") == 1_000_000 * DOLLAR


# ── Binance, 10 October 2025 ─────────────────────────────────────────────────────────────────────


def pledged(engine: str = "") -> Tended:
    """Erin has 1,050 dollars in bitcoin, which back 10,000 dollars of ether: 500 of maintenance
    margin."""
    venue = book_venue(engine)
    venue.open("erin", btc=COIN * 21 // 1_000)
    venue.trade("erin", "bob", 5, 40_000, symbol=QUANTO)
    return Tended(venue)


def test_binance_one_books_price_of_a_collateral_is_not_its_index() -> None:
    """The coin trades at a third less on this venue's own book, and nowhere else. Its index, by
    which it is valued, does not move: nobody is liquidated."""
    engine = pledged()
    venue = engine.venue
    spot = "BTC-PERPETUAL"
    venue.order("carol", "low", 100, 66_000, symbol=spot)
    venue.order("alice", "hit", -100, 66_000, symbol=spot)
    assert engine.state.desk.last(venue.contract(spot).number) == 66_000
    before = standing(engine.state, view(engine.state, venue.account("erin")))
    engine.tend()
    assert engine.kinds() == []
    assert standing(engine.state, view(engine.state, venue.account("erin"))) == before


def test_binance_a_real_depeg_reaches_those_who_have_pledged_it() -> None:
    """Where the index itself falls, so does what the coin counts for: that account is liquidated,
    and nobody else is."""
    engine = pledged()
    venue = engine.venue
    venue.quote(index=17_000)
    venue.publish(index=17_000)
    engine.tend()
    begun = [one["account"] for one in engine.sent(c.BeginLiquidation)]
    assert begun == ["erin"]


# ── Deribit, 31 October 2019 ─────────────────────────────────────────────────────────────────────

CLAMP = 0.005
"""How far an index may move from one price to the next by one constituent alone."""


def constituents(wrong: float) -> list[float]:
    """Seven of them, one of which reports a price that is not there."""
    return [49_990.0, 50_005.0, 50_010.0, 49_995.0, 50_000.0, 50_002.0, wrong]


def on_index(price: float) -> Tended:
    """Dave with 700 dollars in 200 lots when the index is published."""
    engine = tended('["book", "fund", "adl"]', money=700, fund=FUND)
    points = round(price) * 10
    engine.venue.quote(index=round(price), LIN=points)
    engine.venue.publish(index=round(price), LIN=points)
    engine.tend()
    return engine


def test_deribit_a_median_of_seven_does_not_follow_one() -> None:
    """A constituent fell by 90 %. The median moves less than the clamp: nobody is liquidated."""
    index = median(constituents(5_000.0))
    assert abs(index / 50_000.0 - 1) <= CLAMP
    assert on_index(index).kinds() == []


def test_deribit_a_mean_would_have_liquidated() -> None:
    """The mean of the same seven is 13 % lower: it would have taken dave's position."""
    told = constituents(5_000.0)
    mean = sum(told) / len(told)
    assert mean / 50_000.0 - 1 < -0.12
    assert "BeginLiquidation" in on_index(mean).kinds()


def test_an_isolated_position_that_is_the_whole_open_interest() -> None:
    """Nobody but its counterparty is there: it is closed against it, at the bankruptcy price."""
    engine = Tended(new_venue('[liquidation]\nstages = ["book", "fund", "adl"]'))
    venue = engine.venue
    venue.do(c.SetMarginMode, account="carol", symbol=LIN, mode=MarginMode.ISOLATED, leverage="10")
    venue.trade("carol", "bob", 100, 50_000)
    general = venue.held("carol", USDC)
    venue.quote(index=44_000, LIN=440_000)
    venue.publish(index=44_000, LIN=440_000)
    engine.tend()
    assert engine.sent(c.Deleverage)[0]["price_ticks"] == 45_000
    assert venue.contract(LIN).holders == {}
    assert (venue.margin("carol", LIN), venue.held("carol", USDC)) == (0, general)
