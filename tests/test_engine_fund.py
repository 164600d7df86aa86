"""How much the insurance fund has had of late, and how it sells what it took over."""

from __future__ import annotations

from typing import Any

import pytest

from solvent.account.ledger import GENERAL, INSURANCE, node
from solvent.engine.fund import HOURS_MAX, fund_high, note_highs
from solvent.engine.image import image, restore, state_hash
from solvent.engine.state import State
from solvent.errors import Reject
from solvent.messages import commands as c
from solvent.messages.events import FeePaid, OrderEnded, OrderReduced, PositionChanged, Traded
from solvent.messages.fields import Phase, Side
from tests.venues import BTC, DOLLAR, FUT, LIN, T0, USDC, Venue, book_venue, new_venue, own

HOUR = 3_600_000
START = T0 - T0 % HOUR


def put(venue: Venue, amount: int) -> None:
    """The fund's balance from now on."""
    which = node(INSURANCE, GENERAL, USDC)
    venue.state.ledger.pay(which, 0, amount - venue.state.ledger.balance(which))
    venue.state.ledger.take_posted()


def seen(venue: Venue) -> list[tuple[int, int]]:
    first = START // HOUR
    return [(hour - first, most) for hour, most in venue.state.fund_highs[USDC]]


def test_highs_by_the_hour() -> None:
    venue = new_venue()
    venue.quote()
    assert venue.state.fund_highs == {}
    for hours, amount in ((1, 50), (1.2, 80), (1.4, 30), (3, 40), (9, 10)):
        venue.time_ms = START + int(hours * HOUR)
        put(venue, amount)
        venue.quote()
    # Eight hours by default, in whole ones.
    assert seen(venue) == [(1, 80), (3, 40), (9, 10)]
    assert fund_high(venue.state, USDC) == 80
    venue.time_ms = START + 10 * HOUR
    venue.do(c.Heartbeat)
    assert fund_high(venue.state, USDC) == 40
    put(venue, 60 * DOLLAR)
    assert fund_high(venue.state, USDC) == 60 * DOLLAR
    venue.quote()
    assert seen(venue) == [(3, 40), (9, 10), (10, 60 * DOLLAR)]


def test_the_window_is_the_rulebooks_and_has_an_end() -> None:
    venue = new_venue()
    venue.adopt(f"[liquidation.fund]\nwindow_ms = {10**12}")
    put(venue, 7)
    for hour in (1, 2, HOURS_MAX + 1):
        venue.time_ms = START + hour * HOUR
        note_highs(venue.state)
        venue.do(c.Heartbeat)
    note_highs(venue.state)
    assert seen(venue) == [(2, 7), (HOURS_MAX + 1, 7)]


def test_a_venue_without_a_rulebook_has_the_default() -> None:
    assert fund_high(State(), 0) == 0


# ── what it sells ────────────────────────────────────────────────────────────────────────────────

STEP = 10_000
RULE = f"[liquidation.fund.disposal]\nevery_ms = {STEP}"
FEES = """
[[engine.fees]]
component = "between"
rate = 0.001
receiver = "maker"
[[engine.fees]]
component = "maker"
rate = 0.0005
payer = "maker"
"""


def holding(engine: str = RULE, lots: int = 100, cash: int = 50) -> Venue:
    """The fund has some dollars, and has bought lots at the mark, or (negative) sold them."""
    venue = book_venue(engine)
    put(venue, cash * DOLLAR)
    sides = ("insurance", "bob") if lots > 0 else ("bob", "insurance")
    venue.trade(*sides, abs(lots), 50_000)
    return venue


def selling(**changes: Any) -> dict[str, Any]:
    told = {"account": "insurance", "symbol": LIN, "side": Side.SELL, "lots": 80,
            "price_ticks": 49_500, "fee_ppm": 0}  # fmt: skip
    return {**told, **changes}


def test_it_takes_what_rests_and_goes() -> None:
    """60 lots at a dime below the mark cost 6 dollars; it pays no fee, whoever rests pays its own
    (a twentieth of a percent of 60 · 49.90 dollars)."""
    venue = holding(f"{FEES}\n{RULE}")
    paid = venue.held("insurance")
    venue.order("alice", "a", 60, 49_900)
    venue.order("carol", "low", 60, 49_400)
    events = venue.do(c.LiquidateInBook, key="sale", **selling())
    assert [one for one in events if isinstance(one, Traded)] == [
        Traded(0, 49_900, 60, 16, "a", 5, "sale", "sell")
    ]
    assert [one for one in events if isinstance(one, FeePaid)] == [FeePaid(16, "maker", 1_497_000)]
    assert events[-1] == OrderEnded(5, "sale", -20, "immediate")
    assert venue.position("insurance", LIN)[0] == 40  # type: ignore[index]
    assert paid - venue.held("insurance") == 6 * DOLLAR
    assert venue.state.disposals == {0: T0}


def test_it_buys_back_what_it_is_short_of() -> None:
    venue = holding(lots=-100)
    venue.order("alice", "a", -100, 50_100)
    buying = selling(side=Side.BUY, lots=100, price_ticks=50_100)
    venue.do(c.LiquidateInBook, **buying)
    assert venue.position("insurance", LIN) is None
    assert venue.held("insurance") == 40 * DOLLAR


def test_what_it_may_not() -> None:
    venue = holding()
    held = "account insurance: expected at least {} lots of {} to {}, found {}"
    for changes, found in (
        ({"side": Side.BUY, "lots": 1}, (1, LIN, "buy", 100)),
        ({"lots": 101}, (101, LIN, "sell", 100)),
        ({"symbol": FUT, "lots": 1}, (1, FUT, "sell", 0)),
    ):  # fmt: skip
        venue.refuse(Reject.POSITION_NOT_HELD, held.format(*found), c.LiquidateInBook,
                     **selling(**changes))  # fmt: skip
    terms = "account insurance: expected no fee and no hedge, found {} ppm and {}"
    told: tuple[tuple[dict[str, Any], int, bool], ...] = (
        ({"fee_ppm": 1}, 1, False), ({"hedge": True}, 0, True),
    )  # fmt: skip
    for more, fee, hedge in told:
        venue.refuse(Reject.ORDER_TERMS_INVALID, terms.format(fee, hedge), c.LiquidateInBook,
                     **selling(**more))  # fmt: skip
    assert venue.tell(c.LiquidateInBook, **selling(symbol="none")).code == Reject.INSTRUMENT_UNKNOWN
    venue.do(c.SetPhase, symbol=LIN, phase=Phase.AUCTION)
    assert venue.tell(c.LiquidateInBook, **selling()).code == Reject.ORDER_NOT_FOR_AUCTION
    venue.do(c.SetPhase, symbol=LIN, phase=Phase.HALTED)
    assert venue.tell(c.LiquidateInBook, **selling()).code == Reject.INSTRUMENT_HALTED
    assert venue.state.disposals == {}
    bare = holding("")
    bare.refuse(
        Reject.ACCOUNT_NOT_FOR_THIS,
        "account insurance: expected a venue's rulebook with `liquidation.fund.disposal`",
        c.LiquidateInBook, **selling(),
    )  # fmt: skip


def test_never_beyond_the_band() -> None:
    venue = holding(f"price_band = 0.01\n{RULE}")
    found = venue.tell(c.LiquidateInBook, **selling(price_ticks=49_499)).code
    assert found == Reject.PRICE_OUT_OF_BAND
    venue.do(c.LiquidateInBook, **selling(price_ticks=49_500))


def test_a_step_waits_for_the_last_one_in_the_same_contract() -> None:
    """Whatever that one filled; and it is remembered over a restart."""
    venue = holding()
    venue.trade("insurance", "bob", 5, 50_000, symbol=FUT)
    assert venue.do(c.LiquidateInBook, key="none", **selling()) == (
        OrderEnded(5, "none", -80, "immediate"),
    )
    venue.time_ms += STEP - 1
    venue.do(c.LiquidateInBook, **selling(symbol=FUT, lots=1))
    again = Venue(restore(image(venue.state)), venue.time_ms)
    assert again.state.disposals == {0: T0, 2: T0 + STEP - 1}
    assert state_hash(again.state) == state_hash(venue.state)
    for one in (venue, again):
        one.refuse(
            Reject.COOLDOWN,
            f"account insurance, {LIN}: expected a time from {T0 + STEP}, found {T0 + STEP - 1}",
            c.LiquidateInBook, **selling(),
        )  # fmt: skip
        one.time_ms += 1
        one.do(c.LiquidateInBook, **selling())
    assert state_hash(again.state) == state_hash(venue.state)


def test_what_it_cannot_pay_it_does_not_sell() -> None:
    """A lot at 49.50 loses half a dollar of 5: the first order takes 10 lots, the second none."""
    venue = holding(cash=5)
    venue.order("alice", "a", 10, 49_500)
    venue.order("carol", "b", 10, 49_500)
    events = venue.do(c.LiquidateInBook, key="sale", **selling())
    assert [one.lots for one in events if isinstance(one, Traded)] == [10]
    assert events[-1] == OrderEnded(5, "sale", -70, "margin")
    assert (venue.held("insurance"), venue.position("insurance", LIN)[0]) == (0, 90)  # type: ignore[index]
    assert list(venue.state.orders_of(venue.account("carol").number)) == ["b"]


def test_who_rests_there_is_margined() -> None:
    venue = holding()
    venue.order("alice", "a", 30, 49_900)
    venue.order("carol", "b", 30, 49_800)
    own(venue, "alice", 0)
    own(venue, "alice", 0, BTC)
    events = venue.do(c.LiquidateInBook, key="sale", **selling())
    assert events[0] == OrderReduced(16, "a", 0, 0, "margin")
    assert [one.account for one in events if isinstance(one, PositionChanged)] == [5, 18]
    assert events[-1] == OrderEnded(5, "sale", -50, "immediate")


@pytest.mark.parametrize(("rule", "noted"), [(RULE, {0: T0}), ("", {})])
def test_what_it_takes_over_waits_as_well(rule: str, noted: dict[int, int]) -> None:
    """From when it first takes some; more of it changes nothing, and another's taking does not."""
    venue = book_venue(rule)
    put(venue, 1_000 * DOLLAR)
    venue.trade("alice", "bob", 20, 50_000)
    venue.wind_up("alice")
    venue.adopt(f'{rule}\n[liquidation.reduce]\ntarget = "flat"')
    taking = {"account": "alice", "symbol": LIN, "lots": 10, "price_ticks": 50_000}
    venue.do(c.TakeOver, **taking)
    assert venue.state.disposals == noted
    venue.time_ms += 5
    venue.do(c.TakeOver, **taking)
    assert venue.state.disposals == noted
