"""How much the insurance fund has had of late."""

from __future__ import annotations

from solvent.account.ledger import GENERAL, INSURANCE, node
from solvent.engine.fund import HOURS_MAX, fund_high, note_highs
from solvent.engine.state import State
from solvent.messages import commands as c
from tests.venues import DOLLAR, T0, USDC, Venue, new_venue

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
