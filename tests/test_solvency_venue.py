"""Following an engine's events gives the verdicts that asking everybody gives, at every step."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from solvent import publishing
from solvent.account.ledger import FIRST_ACCOUNT
from solvent.engine.apply import apply
from solvent.engine.standing import standings, view
from solvent.engine.state import CLOSED, Standing, State
from solvent.host import Engine
from solvent.journal import create
from solvent.market.moved import moved
from solvent.messages.codec import Sealed
from solvent.sim.history import run
from solvent.solvency.classes import State as Class
from solvent.solvency.venue import VenueWatch, verdict
from solvent.units import TimeMs
from tests.engines import ACCOUNTS, ACTOR, RULEBOOK, batch, founding, market, opened


def asked_of_all(state: State) -> dict[int, Standing]:
    accounts = [
        one for one in state.accounts[FIRST_ACCOUNT:]
        if one is not None and one.status != CLOSED and one.rulebook in state.rules
    ]  # fmt: skip
    found = standings(state, [view(state, one) for one in accounts])
    return {one.number: standing for one, standing in zip(accounts, found, strict=True)}


def check(watch: VenueWatch, state: State) -> None:
    """Every verdict is what the engine says; its money too, where it was asked at this moment."""
    found = asked_of_all(state)
    assert watch.verdicts.keys() == found.keys()
    for account, seen in watch.verdicts.items():
        wanted = verdict(found[account], as_of_ms=0)
        assert (seen.state, seen.close) == (wanted.state, wanted.close), account
    for state_ in Class:
        mine = [seen.standing for seen in watch.verdicts.values() if seen.state is state_]
        total = watch.total(state_)
        assert total.accounts == watch.count(state_) == len(mine)
        assert total.equity == sum(one.equity_micro for one in mine)
        assert total.shortfall == sum(max(-one.equity_micro, 0) for one in mine)


@pytest.mark.parametrize("seed", [1, 2, 3, 4, 5, 6, 8, 11])
def test_following_equals_asking_everybody(seed: int) -> None:
    history = run(seed, 900, keep=True).history
    state = State()
    watch = VenueWatch(state)
    classes = set()
    for number, (command, time_ms) in enumerate(history):
        one = apply(state, Sealed(state.log.sequence + 1, time_ms, command))
        watch.follow(state, one.events if one.chain else ())
        if number % 7 == 0 or number > 880:
            check(watch, state)
        classes |= {seen.state for seen in watch.verdicts.values()}
    assert len(watch.verdicts) > 3
    # Far fewer were asked than everybody after every command.
    assert watch.asked < 0.7 * len(history) * len(watch.verdicts)
    assert len(classes) > 1
    fallen = watch.fallen()
    assert all(watch.verdicts[one].state is Class.LIQUIDATE for one in fallen)
    assert watch.urgent()[: len(fallen)] == fallen
    assert sum(watch.count(one) for one in Class) == len(watch.verdicts)


def test_classes_of_standings() -> None:
    def of(equity: int, initial: int, maintenance: int, **flags: bool) -> tuple[Class, int]:
        told = {"known": True, "call": False, "liquidate": False} | flags
        seen = verdict(Standing(equity, initial, maintenance, **told), as_of_ms=1)
        return seen.state, seen.close

    assert of(100, 60, 50) == (Class.HEALTHY, 0)
    assert of(100, 90, 80) == (Class.HEALTHY, 0)
    assert of(100, 90, 81) == (Class.WARNING, 1)
    assert of(100, 95, 91) == (Class.WARNING, 2)
    assert of(100, 110, 81, call=True) == (Class.CALL, 1)
    assert of(100, 130, 120, call=True, liquidate=True) == (Class.LIQUIDATE, 2)
    assert of(0, 0, 0, known=False) == (Class.UNKNOWN, 0)
    assert of(0, 0, 0) == (Class.HEALTHY, 0)


def test_an_engine_keeps_its_watches_up(tmp_path: Path) -> None:
    create(tmp_path / "venue")
    with opened(tmp_path / "venue") as engine:
        watch = engine.watch()
        assert watch.verdicts == {}
        engine.submit_all(founding())
        check(watch, engine.state)
        assert watch.count(Class.HEALTHY) == ACCOUNTS
        asked = watch.asked
        answer = engine.submit(
            {"do": "deposit", "key": "d", "actor": "bank", "account": "u3", "asset": "USDC",
             "amount": 5}
        )  # fmt: skip
        assert answer.accepted
        assert watch.asked == asked + 1
        watch.close()
        engine.submit({"do": "deposit", "key": "e", "actor": "bank", "account": "u4",
                       "asset": "USDC", "amount": 5})  # fmt: skip
        assert watch.asked == asked + 1


def published(engine: Engine, draw: random.Random, size: float, time_ms: int) -> None:
    """Prices that moved by up to a share, and their arrays."""
    names = market().universe.underlyings
    factor = {name: 1.0 + draw.uniform(-size, size) for name in names}
    now = replace(moved(market(), factor), as_of_ms=TimeMs(time_ms))
    told = [
        publishing.market(now, key=f"market {time_ms}", actor=ACTOR),
        publishing.arrays(now, RULEBOOK, name=RULEBOOK, key=f"arrays {time_ms}", actor=ACTOR),
    ]
    answers = engine.submit_all(told, times_ms=[time_ms] * len(told))
    assert all(one.accepted for one in answers)


def test_newer_arrays_ask_only_whom_they_may_have_changed(tmp_path: Path) -> None:
    create(tmp_path / "venue")
    draw = random.Random(3)
    with opened(tmp_path / "venue") as engine:
        engine.submit_all(founding())
        engine.submit_all(batch(engine.state, draw, 60))
        watch, everybody = engine.watch(), VenueWatch(engine.state, slice_=0)
        time_ms, skipped = engine.state.log.time_ms, 0
        for step in range(24):
            time_ms += draw.choice((1, 500, 4_000))
            size = draw.choice((0.001, 0.001, 0.004, 0.02, 0.3))
            before = watch.skipped
            published(engine, draw, size, time_ms)
            check(watch, engine.state)
            skipped += watch.skipped - before
            if step % 4 == 3:
                engine.submit_all(batch(engine.state, draw, 3), times_ms=[time_ms] * 3)
                check(watch, engine.state)
        assert skipped > 24
        assert not watch.unbounded()
        assert not everybody.skipped
        late = [one for one, seen in watch.verdicts.items() if seen.as_of_ms < time_ms]
        assert watch.refresh(engine.state, late) == len(late)
        found = asked_of_all(engine.state)
        assert all(watch.verdicts[one].standing == found[one] for one in late)
