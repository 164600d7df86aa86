"""Standings that are remembered are as worked out; to foresee reviews changes nothing."""

from __future__ import annotations

import pytest

from solvent.engine import standing as module
from solvent.engine.calls import foreseen
from solvent.engine.image import state_hash
from solvent.engine.standing import standing, standings, view
from solvent.messages import commands as c
from solvent.messages.events import MarginCalled
from tests.test_engine_liquidation import failing
from tests.venues import BTC, DOLLAR, Venue, book_venue, own


def called() -> Venue:
    """Dave has 540 dollars, of which 500 are maintenance: a call; carol is far away."""
    return failing(book_venue(), money=540)


def test_what_is_remembered_is_what_is_so(monkeypatch: pytest.MonkeyPatch) -> None:
    venue = called()
    seen = [view(venue.state, venue.account(name)) for name in ("alice", "bob", "carol", "dave")]
    rules = venue.state.rules["tenth"]
    rules.found.clear()
    first = standings(venue.state, seen)
    assert len(rules.found) == 4
    assert standings(venue.state, seen) == first
    # One more than may be kept: all go, and what came last stays.
    monkeypatch.setattr(module, "FOUND_MAX", 4)
    own(venue, "dave", 600 * DOLLAR)
    again = standing(venue.state, view(venue.state, venue.account("dave")))
    assert again.equity_micro == first[3].equity_micro + 60_000_000
    assert len(rules.found) == 1
    # More at once than may be kept are not kept.
    monkeypatch.setattr(module, "FOUND_MAX", 2)
    rules.found.clear()
    assert standings(venue.state, seen) == first
    assert not rules.found


def test_what_is_foreseen_of_calls_changes_nothing() -> None:
    asked, alone = called(), called()
    accounts = [asked.account(name) for name in ("carol", "dave")]
    before = state_hash(asked.state)
    foreseen(asked.state, accounts)
    assert state_hash(asked.state) == before
    told = [venue.do(c.ReviewMargin, account="dave") for venue in (asked, alone)]
    assert told[0] == told[1]
    assert isinstance(told[0][0], MarginCalled)
    assert told[0][0].call_micro == 460_000_000
    own(asked, "dave", 0, BTC)
    asked.state.rules["tenth"].arrays = None
    foreseen(asked.state, accounts)
    assert not standing(asked.state, view(asked.state, accounts[1])).known
