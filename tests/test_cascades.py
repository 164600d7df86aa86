"""Cascades: the engine itself in a market of agents; reproducible, audited, and no free lunch."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from solvent.account.ledger import GENERAL, INSURANCE, node
from solvent.engine import slack, standing
from solvent.engine.state import State
from solvent.errors import BadInput, InvariantBroken, SolventError
from solvent.lab.cascades.facts import autocorrelation, facts_of
from solvent.lab.cascades.kept import Kept, read_runs
from solvent.lab.cascades.many import distribution, run_many
from solvent.lab.cascades.measured import measured, read_bars, side_by_side
from solvent.lab.cascades.people import holders_of, interest_of
from solvent.lab.cascades.prices import Quoted, rungs
from solvent.lab.cascades.run import Outcome, simulate
from solvent.lab.cascades.settings import (
    Agents,
    Settings,
    read_settings,
    settings_of,
)
from solvent.lab.cascades.venue import Venue
from solvent.messages import commands as c
from solvent.messages.fields import Command
from tests.conftest import SHARED
from tests.test_engine_slack import check_bounds

SMALL = Settings().but(accounts=60, steps=14, shock__at=1, shock__over=8, holders__leverage=8.0)
DATA = SHARED / "data" / "crypto_15m_2025" / "BTC_USD_15m.csv.gz"


@pytest.fixture(scope="module")
def crashed() -> Outcome:
    return simulate(SMALL, 3, paths=True)


# ── what is asked ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"coins": ["BTC", "FOO"]}, "unknown underlying FOO"),
        ({"coins": []}, "one or more"),
        ({"coins": ["BTC", "BTC"]}, "each once"),
        ({"shock": {"coin": "SOL"}}, "unknown underlying SOL"),
        ({"shock": {"venue": 1}}, "from 0 to 0"),
        ({"steps": 10}, "ends within 10 steps"),
        ({"steps": 100_000, "agents": {"ladder": 40}}, "at most 5,000,000 orders"),
        ({"agents": {"fast": 0.9}}, "below 1 together"),
        ({"accounts": 10**9}, "100000"),
        ({"holders": {"leverage": float("nan")}}, "nan"),
        ({"rules": {"family": "none"}}, "tiers"),
        ({"strange": 1}, "strange"),
    ],
)
def test_settings_that_cannot_be(told: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        settings_of(told, source="here")


def test_settings_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    path.write_text("accounts = 100\n[rules]\nfamily = 'tiers'\n", "utf-8")
    found = read_settings(path)
    assert (found.accounts, found.rules.family) == (100, "tiers")
    assert found.digest != Settings().digest == settings_of({}, source="").digest
    path.write_text("accounts = [", "utf-8")
    with pytest.raises(BadInput, match=r"s\.toml"):
        read_settings(path)
    with pytest.raises(BadInput):
        read_settings(tmp_path / "none.toml")


def test_rules_that_do_not_know_the_coins() -> None:
    with pytest.raises(SolventError, match="is not known"):
        simulate(SMALL.but(rules__rulebook="mango-v4"), 1)


# ── prices ───────────────────────────────────────────────────────────────────────────────────────


def test_impact_is_the_square_root_of_what_is_traded() -> None:
    one, agents = Quoted(reference=100.0, volume=1e8, past=0.0), Agents()
    once = one.impact(1e4, agents, 0.001, 60)
    assert one.impact(-4e4, agents, 0.001, 60) == pytest.approx(-2 * once)
    # What flows for a deviation moves the price by that deviation.
    flow = one.flow_for(3.0, agents, 60)
    assert one.impact(flow, agents, 0.001, 60) == pytest.approx(0.003)


def test_books_recover() -> None:
    one = Quoted(reference=100.0, volume=1e8, past=0.0)
    settings = Settings()
    one.traded(bought=0.0, sold=5e5, quoted=1e6, fair=100.0, volatility=0.001, settings=settings)
    assert one.bids < 0.6
    assert one.offers == 1.0
    assert one.reference < 100.0
    for _ in range(30):
        one.traded(bought=0.0, sold=0.0, quoted=1e6, fair=100.0, volatility=0.001,
                   settings=settings)  # fmt: skip
    assert one.bids > 0.97
    assert one.reference == pytest.approx(100.0, abs=0.01)


def test_makers_withdraw_with_volatility() -> None:
    one, agents = Quoted(reference=100.0, volume=1e8, past=0.0), Agents()
    assert one.depth(agents, 0.004, 0.001) == pytest.approx(one.depth(agents, 0.001, 0.001) / 4)
    assert sum(size for _, size in rungs(agents)) == pytest.approx((0.04 / 0.01) ** agents.shape)


def test_longs_are_the_open_interest() -> None:
    settings = Settings(accounts=200, venues=2)
    for held in holders_of(settings, 1):
        for coin in settings.coins:
            longs = sum(max(0.0, one.held.get(coin, 0.0)) for one in held)
            assert longs == pytest.approx(interest_of(settings, coin))
    assert sum(map(len, holders_of(settings, 1))) == 200


# ── runs ─────────────────────────────────────────────────────────────────────────────────────────


def test_the_same_seed_gives_the_same_hash(crashed: Outcome) -> None:
    assert simulate(SMALL, 3).hash == crashed.hash
    assert simulate(SMALL, 4).hash != crashed.hash
    assert crashed.taken_over > 0


def test_sparing_who_is_far_changes_nothing(crashed: Outcome) -> None:
    assert simulate(SMALL, 3, sparing=False).hash == crashed.hash


def test_remembered_standings_change_nothing(
    crashed: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standing, "_FEW", 0)
    assert simulate(SMALL, 3).hash == crashed.hash


def test_accounts_asked_alone_stand_as_in_a_crowd(
    crashed: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standing, "_ALONE_MAX", 0)
    monkeypatch.setattr(standing, "_alone", lambda *_: pytest.fail("everybody is asked in arrays"))
    assert simulate(SMALL, 3).hash == crashed.hash


def test_bounds_stay_true_while_accounts_are_wound_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is not named by a step keeps the bound of what it can spare, and still can."""
    seen: Counter[type] = Counter()
    forget = slack.forget

    def checked(state: State, command: Command) -> None:
        kept = len(state.slack)
        forget(state, command)
        if isinstance(command, c.EndLiquidation | c.TakeOver | c.Deleverage | c.Confiscate):
            seen[type(command)] += bool(kept and state.slack)
            check_bounds(state)

    monkeypatch.setattr(slack, "forget", checked)
    simulate(SMALL.but(holders__leverage=16.0, rules__fund=0.0005), 3)
    assert min(seen[c.EndLiquidation], seen[c.TakeOver], seen[c.Deleverage]) > 0


@pytest.mark.soak
@pytest.mark.parametrize(
    "changes",
    [
        {"rules__family": "tiers", "rules__pace": "slow"},
        {"rules__family": "dynamic", "rules__pace": "whole"},
        {"venues": 2, "coins": ("BTC",)},
        {"holders__coins_owned": 1.0, "rules__fund": 0.0},
    ],
    ids=str,
)
def test_other_worlds_are_sound_and_reproducible(changes: dict[str, Any]) -> None:
    settings = SMALL.but(**changes)
    one = simulate(settings, 5)
    assert one.hash == simulate(settings, 5, sparing=False).hash
    assert one.taken_over > 0
    assert all(value >= 0.0 for value in one.paid.values())


def test_books_that_do_not_add_up_stop_a_run() -> None:
    venue = Venue(SMALL, holders_of(SMALL, 1)[0], number=0)
    venue.open({coin: SMALL.market(coin).price for coin in SMALL.coins})
    venue.audit()
    venue.state.ledger.balances[node(INSURANCE, GENERAL, 0)] += 1
    with pytest.raises(InvariantBroken, match="books are sound"):
        venue.audit()


def test_overshoot_grows_with_leverage() -> None:
    base = Settings().but(accounts=80, steps=24, coins=("BTC",), shock__at=1)
    found = [simulate(base.but(holders__leverage=one), 2) for one in (0.0, 4.0, 12.0)]
    none, some, much = (one.overshoot for one in found)
    assert none < some < much
    assert found[0].liquidated() == 0.0 < found[1].liquidated() < found[2].liquidated()


def test_more_margin_less_liquidated() -> None:
    little, much = (simulate(SMALL.but(rules__margin=one), 3) for one in (0.02, 0.4))
    assert much.liquidated() < little.liquidated()
    assert much.margin > 3 * little.margin


def test_paths_are_told(crashed: Outcome) -> None:
    assert len(crashed.paths["price 0 BTC"]) == SMALL.steps
    done = crashed.paths["liquidated"]
    assert done == sorted(done)
    assert done[-1] == pytest.approx(crashed.liquidated())
    assert Outcome.of_dict(json.loads(json.dumps(crashed.to_dict()))) == crashed


# ── many ─────────────────────────────────────────────────────────────────────────────────────────

TINY = Settings().but(accounts=12, steps=4, coins=("BTC",), shock__at=0, shock__over=2)


def test_runs_go_on_where_they_were_stopped(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    whole = run_many(TINY, range(3), out=path, processes=1)
    text = path.read_text("utf-8")
    # Killed in the middle of a line.
    path.write_text(text[: len(text) - 40], "utf-8")
    assert set(read_runs(path)[1]) == {0, 1}
    seen: list[tuple[int, int]] = []
    again = run_many(TINY, range(3), out=path, processes=1, done=lambda *at: seen.append(at))
    assert again == whole
    assert seen == [(2, 3), (3, 3)]
    assert path.read_text("utf-8") == text


def test_files_of_something_else_are_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    Kept(path, TINY)
    before = path.read_bytes()
    with pytest.raises(BadInput, match="accounts is 12 there, 13 here"):
        run_many(TINY.but(accounts=13), [1], out=path, processes=1)
    assert path.read_bytes() == before
    path.write_text("hello\n", "utf-8")
    with pytest.raises(BadInput):
        read_runs(path)
    with pytest.raises(BadInput):
        read_runs(tmp_path / "none")


def test_distributions(crashed: Outcome) -> None:
    rows = {row["name"]: row for row in distribution([crashed, crashed])}
    assert rows["liquidated"]["mean"] == pytest.approx(crashed.liquidated() / crashed.interest)
    assert rows["overshoot"]["q99.9"] == rows["overshoot"]["most"] == crashed.overshoot


# ── stylised facts ───────────────────────────────────────────────────────────────────────────────


def test_facts_of_known_returns() -> None:
    rng = np.random.Generator(np.random.PCG64(5))
    normal = facts_of(rng.normal(size=10_000))
    assert abs(normal.kurtosis) < 0.2
    assert all(abs(one) < 2 * normal.band for one in (*normal.linear, *normal.size))
    size = np.exp(np.repeat(rng.normal(size=500), 20))
    wild = facts_of(size * rng.normal(size=10_000))
    assert wild.kurtosis > 3
    assert wild.size[0] > 10 * wild.band
    assert autocorrelation(np.tile([1.0, -1.0], 500), 2) == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("returns", [np.ones(300), np.ones(10), np.full(300, np.nan)])
def test_facts_of_nothing(returns: Any) -> None:
    with pytest.raises(SolventError):
        facts_of(returns)


def test_without_leverage_returns_have_the_facts() -> None:
    told = side_by_side([], seeds=[2], steps=400, settings=Settings(), processes=1)
    (memory,) = told["memory"].values()
    values = {row["title"]: float(row["values"][0].split()[0]) for row in told["rows"]}
    band = values["two errors of a memory"]
    assert values["kurtosis beyond normal"] > 1.0
    assert min(memory[:3]) > band
    assert abs(values["memory of direction, lag 1"]) < 2 * band


@pytest.mark.skipif(not DATA.is_file(), reason="reference data is not here")
def test_what_bars_show() -> None:
    found = measured(read_bars(DATA))
    assert found.bars == 28_778
    assert found.day_vol == pytest.approx(0.0229, abs=1e-4)
    # The square-root law, and a third of a far fall comes back.
    assert found.exponent == pytest.approx(0.496, abs=0.01)
    assert found.impact == pytest.approx(1.352, abs=0.01)
    assert found.back[1] == pytest.approx(0.34, abs=0.02)


def test_bars_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "BTC.csv"
    for text in ("", "open,high\n1,2\n", "open,high,low,close,volume\n1,2,0,1,5\n1,1,1,1,1\n"):
        path.write_text(text, "utf-8")
        with pytest.raises(BadInput, match=r"BTC\.csv"):
            read_bars(path)


@pytest.mark.soak
def test_a_thousand_runs(tmp_path: Path) -> None:
    """Of 2,000 accounts, kept and audited; how long it takes is the bench's to say."""
    found = run_many(Settings(), range(1_000), out=tmp_path / "runs.jsonl")
    assert len({one.hash for one in found}) == 1_000
    assert simulate(Settings(), 17).hash == found[17].hash


@pytest.mark.soak
@pytest.mark.skipif(not DATA.is_file(), reason="reference data is not here")
def test_facts_beside_the_data() -> None:
    told = side_by_side([DATA], seeds=range(6), settings=Settings())
    rows = {row["title"]: [float(one.split()[0]) for one in row["values"]] for row in told["rows"]}
    simulated, real = rows["kurtosis beyond normal"]
    assert simulated > 2
    assert 0.2 < simulated / real < 5
    for name in ("memory of size, lag 1", "memory of size, lag 4"):
        assert min(rows[name]) > rows["two errors of a memory"][0]
    assert max(map(abs, rows["memory of direction, lag 1"])) < 0.1
