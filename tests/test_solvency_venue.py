"""Following an engine's events gives the verdicts that asking everybody gives, at every step."""

from __future__ import annotations

from pathlib import Path

import pytest

from solvent.account.ledger import FIRST_ACCOUNT
from solvent.engine.apply import apply
from solvent.engine.standing import standings, view
from solvent.engine.state import CLOSED, Standing, State
from solvent.journal import create
from solvent.messages.codec import Sealed
from solvent.sim.history import run
from solvent.solvency.classes import State as Class
from solvent.solvency.venue import VenueWatch, verdict
from tests.engines import ACCOUNTS, founding, opened


def asked_of_all(state: State) -> dict[int, Standing]:
    accounts = [
        one for one in state.accounts[FIRST_ACCOUNT:]
        if one is not None and one.status != CLOSED and one.rulebook in state.rules
    ]  # fmt: skip
    found = standings(state, [view(state, one) for one in accounts])
    return {one.number: standing for one, standing in zip(accounts, found, strict=True)}


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
            told = {account: seen.standing for account, seen in watch.verdicts.items()}
            assert told == asked_of_all(state), (seed, number, type(command))
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
        told = {account: seen.standing for account, seen in watch.verdicts.items()}
        assert told == asked_of_all(engine.state)
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
