"""A crash under several regimes: real prices, books that stay sound, a report that adds up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from solvent.engine.image import state_hash
from solvent.errors import SolventError
from solvent.host import Engine
from solvent.sim.cascade import REGIMES, Crashed, crash
from solvent.sim.cascade_prices import made_up, real_crashes, refined
from solvent.sim.cascade_story import document
from solvent.tending.statement import state_before
from tests.conftest import SHARED
from tests.test_engine_cli import Run, run

__all__ = ["run"]


def crashed(folder: Path, regime: int, accounts: int = 80, moments: int = 14) -> Crashed:
    with Engine.create(folder / f"r{regime}") as engine:
        prices = made_up(seed=1).shortened(moments)
        return crash(engine, prices, REGIMES[regime], accounts=accounts, seed=3)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Crashed]:
    folder = tmp_path_factory.mktemp("cascade")
    return [crashed(folder, regime) for regime in range(len(REGIMES))]


def test_books_are_sound_and_accounts_are_liquidated(runs: list[Crashed]) -> None:
    for one in runs:
        assert one.violations == []
        assert one.audits == len(one.moments) == 14
        assert one.liquidated > 0
        assert one.uncovered == 0
        begun = [step for step in one.steps if step.stage == "begin"]
        # Nobody was liquidated who was well; of isolated positions one is short, not the account.
        assert one.regime.isolated or all(
            step.equity_micro < step.maintenance_micro for step in begun
        )


def test_regimes_have_the_same_positions(runs: list[Crashed]) -> None:
    assert len({one.open_interest_micro for one in runs}) == 1
    isolated, cross, portfolio = runs
    assert isolated.money_micro < portfolio.money_micro
    assert {one.regime.name for one in runs} == {"isolated", "cross", "portfolio"}
    assert cross.state_hash != isolated.state_hash


def test_what_is_told_adds_up(runs: list[Crashed]) -> None:
    told = document(runs, accounts=80, seed=3)
    (one,) = told["crashes"]
    for regime, run_of in zip(one["regimes"], runs, strict=True):
        by_stage = {row["stage"]: row["value"] for row in regime["stages"]}
        for stage, path in regime["moments"]["reduced"].items():
            assert sum(path) == pytest.approx(by_stage[stage])
        assert regime["adl_overshoot"] >= 0
        assert regime["adl_regret"] >= 0
        assert regime["liquidated"] == run_of.liquidated
    json.dumps(told, allow_nan=False)


def test_the_same_seed_gives_the_same_history(runs: list[Crashed], tmp_path: Path) -> None:
    assert crashed(tmp_path, 1).state_hash == runs[1].state_hash


def test_the_history_replays_from_nothing(tmp_path: Path) -> None:
    """What was tended is commands like all others."""
    made = crashed(tmp_path, 1, accounts=30, moments=6)
    with Engine.open(tmp_path / "r1") as engine:
        assert engine.hash() == made.state_hash
        again = state_before(engine.journal, engine.state.log.sequence + 1)
        assert state_hash(again) == made.state_hash


def test_a_journal_with_a_history_is_refused(tmp_path: Path) -> None:
    with Engine.create(tmp_path / "v") as engine:
        engine.submit({"do": "list_asset", "key": "1", "actor": "a", "asset": "USDC",
                       "decimals": 6})  # fmt: skip
        with pytest.raises(SolventError, match="empty journal"):
            crash(engine, made_up(seed=1), REGIMES[0], accounts=10)


def test_prices_are_refined() -> None:
    prices = made_up(seed=1)
    fine = refined(prices, most=0.01, least=0.002)
    assert len(fine.times_ms) > len(prices.times_ms)
    assert list(fine.times_ms) == sorted(fine.times_ms)
    assert min(fine.price["BTC"]) == pytest.approx(min(prices.price["BTC"]), rel=0.005)


@pytest.mark.skipif(not (SHARED / "data").is_dir(), reason="reference data is not here")
def test_real_crashes() -> None:
    march, october = real_crashes(SHARED / "data")
    assert (march.coins, october.coins) == (("BTC", "ETH"), ("BTC", "ETH", "SOL", "XRP", "DOGE"))
    assert min(march.price["BTC"]) / march.price["BTC"][0] < 0.6
    assert min(october.price["BTC"]) == pytest.approx(107_000, rel=0.02)
    assert real_crashes(Path("nowhere")) == []


def test_the_demo(run: Run, tmp_path: Path) -> None:
    report = tmp_path / "crash.html"
    words = (
        "demo",
        "crash",
        "--accounts",
        40,
        "--crash",
        "made-up",
        "--moments",
        6,
        "--out",
        report,
    )
    done = run(*words, "--json")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert told["crashes"][0]["name"] == "made-up"
    page = report.read_text("utf-8")
    assert "One crash, several ways to margin it" in page
    assert page.count('class="plot"') == 2
    kept = tmp_path / "kept"
    assert run(*words, "--journal", kept).code == 0
    assert sorted(one.name for one in kept.iterdir()) == [
        "made-up-cross", "made-up-isolated", "made-up-portfolio"
    ]  # fmt: skip
    assert run("liquidations", kept / "made-up-cross", "--limit", 1).code == 0
    assert run("demo", "crash", "--crash", "none").code == 2
    assert run("demo", "--moments", 5).code == 2
