"""What others can give up: as much as they can pay for, and the rest is a loss for all."""

from __future__ import annotations

import pytest

from solvent.messages import commands as c
from solvent.tending.able import able, costs
from tests.tended import Tended, tended
from tests.venues import BTC, DOLLAR, LIN, own


def with_bob(dollars: int, *, stages: str = '["adl", "socialise"]', more: str = "") -> Tended:
    """Dave owes 600 dollars: three dollars a lot. Bob, short the same 200 lots, has so much."""
    engine = tended(stages, more)
    own(engine.venue, "dave", -600 * DOLLAR)
    own(engine.venue, "bob", dollars * DOLLAR)
    own(engine.venue, "bob", 0, BTC)
    return engine


@pytest.mark.parametrize(
    ("dollars", "lots"), [(2_000, 200), (600, 200), (599, 198), (550, 100), (500, 0), (499, 0)]
)
def test_as_many_lots_as_leave_maintenance_margin(dollars: int, lots: int) -> None:
    """With n lots given up 3n dollars are lost, and 2.50 less a lot are maintenance."""
    venue = with_bob(dollars).venue
    contract, bob = venue.contract(LIN), venue.account("bob").number
    assert able(venue.state, contract, [bob], 53_000) == [lots]
    assert able(venue.state, contract, [bob], 50_000) == [200]
    assert costs(contract, -200, 50_001)
    assert not costs(contract, -200, 50_000)


def test_who_comes_after_enough_was_found_is_not_looked_at() -> None:
    venue = with_bob(2_000).venue
    bob = venue.account("bob").number
    assert able(venue.state, venue.contract(LIN), [bob] * 40, 53_000, wanted=1) == (
        [200] * 32 + [0] * 8
    )


def test_what_nobody_can_give_up_ends_at_the_mark_and_is_shared() -> None:
    engine = with_bob(550, more='socialise = "cash"')
    engine.tend()
    given = [(one["lots"], one["price_ticks"]) for one in engine.sent(c.Deleverage)]
    assert given == [(100, 53_000), (100, 50_000)]
    (shared,) = engine.sent(c.SocialiseLoss)
    assert sum(one["amount"] if isinstance(one, dict) else one.amount
               for one in shared["shares"]) == 300 * DOLLAR  # fmt: skip
    assert engine.venue.account("dave").status == "open"
    assert engine.tend().nothing


def test_without_sharing_it_waits_for_somebody_who_can() -> None:
    engine = with_bob(550, stages='["adl"]')
    done = engine.tend()
    assert [one.open for one in done.open] == ["nobody takes what is left"]
    position = engine.venue.position("dave", LIN)
    assert position is not None
    assert position[0] == 100
