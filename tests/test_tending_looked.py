"""What a look remembers is what it would find anew; an isolated debt is shared by who gained."""

from __future__ import annotations

from pathlib import Path

import pytest

from solvent.engine.standing import standings, view
from solvent.engine.state import State
from solvent.host import Engine
from solvent.messages import commands as c
from solvent.messages.fields import MarginMode
from solvent.sim.cascade import REGIMES, crash
from solvent.sim.cascade_prices import made_up
from solvent.tending import closings, deleveraging, looked, pools, taking_over, tender
from solvent.tending.looked import Looked
from solvent.tending.pools import seen_at_risk, with_risk
from tests.tended import bid, tended
from tests.venues import DOLLAR, LIN


@pytest.mark.parametrize("regime", range(len(REGIMES)))
def test_what_is_remembered_is_what_is_found_anew(
    regime: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Standings at every look, queues and fewest lots at every use, against the books as they
    are, with nothing remembered by the engine either."""
    seen = {"standings": 0, "lines": 0, "enough": 0}
    kept_standings, kept_line = Looked.standings, Looked.line

    def forget(state: State) -> None:
        for rules in state.rules.values():
            rules.found.clear()

    def checked_standings(look: Looked):  # type: ignore[no-untyped-def]
        found = kept_standings(look)
        state = look._state
        forget(state)
        views = list(with_risk(state))
        anew = standings(state, [view for _, view in views])
        assert [(one.number, stands) for one, stands in found.values()] == [
            (account.number, stands) for (account, _), stands in zip(views, anew, strict=True)
        ]
        seen["standings"] += 1
        return found

    def checked_line(look: Looked, contract, *, longs, closing):  # type: ignore[no-untyped-def]
        line = kept_line(look, contract, longs=longs, closing=closing)
        forget(look._state)
        anew = deleveraging.queue(look._state, contract, longs=longs, closing=closing)
        assert [(one.number, -one.behind) for one in line.order] == [
            (one.number, one.score) for one in anew
        ]
        seen["lines"] += 1
        return line

    def checked_enough(state, pool, closing, one, look=None):  # type: ignore[no-untyped-def]
        found = closings.enough(state, pool, closing, one, look)
        forget(state)
        assert found == closings.enough(state, pool, closing, one)
        seen["enough"] += one.bounded
        return found

    monkeypatch.setattr(Looked, "standings", checked_standings)
    monkeypatch.setattr(Looked, "line", checked_line)
    monkeypatch.setattr(deleveraging, "enough", checked_enough)
    monkeypatch.setattr(taking_over, "enough", checked_enough)
    prices = made_up(seed=1).shortened(14)
    with Engine.create(tmp_path / "v") as engine:
        crash(engine, prices, REGIMES[regime], accounts=60, seed=3)
    assert seen["standings"] > 14
    assert seen["lines"] > 0 or seen["enough"] > 0


def test_an_isolated_debt_is_shared_by_who_has_gained() -> None:
    """Of 100 dollars that a margin owes the fund pays 30, and bob, who has gained, the rest; what
    the account has elsewhere stays its own."""
    engine = tended('["book", "socialise"]', money=1_000, lots=1)
    venue = engine.venue
    venue.do(c.SetMarginMode, account="carol", symbol=LIN, mode=MarginMode.ISOLATED, leverage="10")
    venue.trade("carol", "bob", 100, 50_000)
    venue.do(c.Deposit, account="insurance", asset="USDC", amount=30 * DOLLAR)
    general = venue.held("carol")
    bid(engine, "b", 1_000, 44_000, who="alice")
    venue.quote(index=44_000, LIN=440_000)
    venue.publish(index=44_000, LIN=440_000)
    engine.tend()
    assert [one["amount"] for one in engine.sent(c.CoverDebt)] == [30 * DOLLAR]
    (told,) = engine.sent(c.SocialiseLoss)
    assert told["symbol"] == LIN
    assert [(one.account, one.amount) for one in told["shares"]] == [("bob", 70 * DOLLAR)]
    assert venue.margin("carol", LIN) == 0
    assert venue.held("carol") == general
    assert venue.account("carol").status == "open"


@pytest.mark.parametrize("regime", range(len(REGIMES)))
def test_a_watch_that_is_read_changes_nothing_that_is_done(regime: int, tmp_path: Path) -> None:
    """A whole crash, command for command, while fewer accounts are asked."""
    prices = made_up(seed=2).shortened(14)
    asked = dict.fromkeys((False, True), 0)
    hashes = []
    for read in asked:
        with Engine.create(tmp_path / str(read)) as engine, pytest.MonkeyPatch.context() as patch:

            def counted(state: State, accounts):  # type: ignore[no-untyped-def]
                found = list(seen_at_risk(state, accounts))
                asked[read] += len(found)  # noqa: B023
                return found

            patch.setattr(looked, "seen_at_risk", counted)
            patch.setattr(pools, "seen_at_risk", counted)
            crash(
                engine, prices, REGIMES[regime], accounts=80, seed=4,
                verdicts=engine.watch() if read else None,
            )  # fmt: skip
            hashes.append(engine.hash())
    assert hashes[0] == hashes[1]
    assert 0 < asked[True] < asked[False]


def test_who_is_near_is_never_left_out(tmp_path: Path) -> None:
    """Of each account that a watch lets a look leave out, the look would say nothing."""
    prices = made_up(seed=5).shortened(14)
    left_out = 0
    kept = looked._near

    def checked(state: State, verdicts):  # type: ignore[no-untyped-def]
        nonlocal left_out
        near = {account.number for account in kept(state, verdicts)}
        far = [one for one, _ in with_risk(state) if one.number not in near]
        found = standings(state, [view(state, one) for one in far])
        for account, standing in zip(far, found, strict=True):
            assert not standing.call
            assert not standing.liquidate
            assert not tender._call_changes(state, account, standing)
        left_out += len(far)
        return kept(state, verdicts)

    with Engine.create(tmp_path / "v") as engine, pytest.MonkeyPatch.context() as patch:
        patch.setattr(looked, "_near", checked)
        crash(engine, prices, REGIMES[1], accounts=60, seed=6, verdicts=engine.watch())
    assert left_out > 100
