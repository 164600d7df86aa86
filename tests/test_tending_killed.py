"""Engines that are killed while accounts are wound up: the books hold, and the next goes on."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from pathlib import Path

import pytest

from solvent.engine.audit import audit
from tests.engines import Nursery, found, opened, storm
from tests.killing import Killing

LIQUIDATION = {
    "begin_liquidation", "liquidate_in_book", "take_over", "deleverage", "cover_debt", "confiscate",
    "review_margin", "relieve_margin", "end_liquidation",
}  # fmt: skip


@pytest.fixture(scope="module")
def venue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A journal that others begin as copies of."""
    place = tmp_path_factory.mktemp("venue") / "template"
    found(place)
    return place


def killed(venue: Path, place: Path, *, places: int, rounds: int) -> Counter[str]:
    """Which accepted commands the journals hold that killed engines left behind."""
    done: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    with Nursery(hash_seed=7) as nursery:
        for number in range(places):
            url = place / f"{number}"
            shutil.copytree(venue, url)
            killing = Killing(str(url), nursery, seed=number, storm=True)
            for _ in range(rounds):
                killing.round(work_seconds=0.06)
            if number == places - 1:
                killing.go_on(seen, "done unacknowledged", "not done")
            done += killing.finish().done
            seen += killing.seen
            goes_on(url)
    assert seen["working"] + seen["opening"] >= places * rounds
    return done


def goes_on(url: Path) -> None:
    """Whoever opens it next finishes what was begun, and then there is nothing left to do."""
    with opened(url) as engine:
        engine.tend()
        assert engine.tend().nothing
        assert all(plan.open for plan in engine.plans())
        storm(engine, random.Random(1))
        assert audit(engine.state).violations == ()


def test_killed_while_accounts_are_wound_up(venue: Path, tmp_path: Path) -> None:
    done = killed(venue, tmp_path, places=3, rounds=12)
    assert done["begin_liquidation"] > 10, done
    assert {"deleverage", "liquidate_in_book", "end_liquidation"} <= set(done), done


@pytest.mark.soak
def test_killed_many_times_while_accounts_are_wound_up(venue: Path, tmp_path: Path) -> None:
    done = killed(venue, tmp_path, places=20, rounds=25)
    assert set(done) >= LIQUIDATION, done
