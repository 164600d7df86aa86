"""`solvent calibrate` as a user meets it."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from solvent.cli import app
from solvent.errors import BadInput
from solvent.feeds.write import write_market
from solvent.margining.fragments import merged
from solvent.margining.rulebook import check_rulebook
from solvent.market import Snapshot
from solvent.units import DAY_MS
from tests.test_gap import made_up

HOUR_MS = DAY_MS // 24


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["calibrate", *map(str, arguments)])


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four-hourly bars of three years, with a jump now and then."""
    rng = np.random.Generator(np.random.PCG64(1))
    r = rng.normal(0.0, 0.01, 6 * 1_100)
    r[::150] += rng.choice([-1.0, 1.0], len(r[::150])) * rng.exponential(0.08, len(r[::150]))
    close = 30_000.0 * np.exp(np.cumsum(r))
    path = tmp_path_factory.mktemp("bars") / "BTC_USD_4h.csv"
    rows = ["timestamp,open,high,low,close,volume"]
    for place, price in enumerate(close.tolist()):
        time_ms = 1_600_000_000_000 // DAY_MS * DAY_MS + place * 4 * HOUR_MS
        rows.append(f"{time_ms},{price},{price * 1.004},{price * 0.996},{price},{100 + place % 7}")
    path.write_text("\n".join(rows) + "\n", "utf-8")
    return path


def document(done: Result) -> dict[str, Any]:
    assert done.exit_code == 0, done.output
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def test_jumps_as_a_table_and_as_json(bars: Path) -> None:
    shown = run("jumps", bars, "--law", "merton")
    assert shown.exit_code == 0, shown.output
    for words in ("merton law of", "standard error", "bipower", "probability"):
        assert words in shown.stdout
    told = document(run("jumps", bars, "--law", "merton", "--json", "--days", 2))["coins"]["BTC"]
    assert told["parameters"]["jumps_per_year"] > 0.0
    assert 0.0 < told["jump_share"] < 1.0
    assert sum(row["probability"] for row in told["scenarios"]) == pytest.approx(1.0)
    assert told["scenarios"][0]["move"] == 0.0
    assert all(row["level"] == 0.0 for row in told["scenarios"])


def test_volatility_after_a_jump_is_a_switch(bars: Path, tmp_path: Path) -> None:
    assert "needs a history with surfaces" in run("jumps", bars, "--after", "measured").output
    assert "needs --surface" in run("jumps", bars, "--after", "model").output
    rng = np.random.Generator(np.random.PCG64(2))
    falls = np.where(np.arange(400) % 20 == 0, -0.2, 0.0) + rng.normal(0.0, 0.01, 400)
    price = 30_000.0 * np.exp(np.cumsum(falls))
    level = np.cumsum(np.where(falls < -0.1, -2.0 * falls, 0.0)) % 3.0 - 2.0
    rows = ["time,name,price,level,skew,term,curve,basis"]
    for day, (one, shift) in enumerate(zip(price.tolist(), level.tolist(), strict=True)):
        rows.append(f"{1_600_000_000_000 + day * DAY_MS},BTC,{one},{shift},0,0,0,0")
    history = tmp_path / "history.csv"
    history.write_text("\n".join(rows) + "\n", "utf-8")
    told = document(run("jumps", history, "--after", "measured", "--law", "merton", "--json"))
    falls_told = [row for row in told["coins"]["BTC"]["scenarios"] if row["move"] < -0.1]
    assert falls_told
    assert all(row["level"] > 0.05 for row in falls_told)


def test_a_chain_beside_the_history(bars: Path, snapshot: Snapshot, tmp_path: Path) -> None:
    chain = tmp_path / "chain.csv"
    write_market(snapshot, chain)
    found = document(run("jumps", bars, "--law", "merton", "--surface", chain, "--model", "merton",
                         "--json"))["surface"]  # fmt: skip
    assert set(found) == {"BTC"}  # no history of ETH was told
    assert 0.0 < found["BTC"]["rmse"] < 0.2
    assert found["BTC"]["expiries"]


def test_haircuts_and_liquidity_are_parts_of_a_rulebook(bars: Path, tmp_path: Path) -> None:
    cuts, costs = tmp_path / "cuts.toml", tmp_path / "costs.toml"
    found = document(run("haircuts", bars, "--toml", cuts, "--json"))["BTC"]
    assert found["5.3.4_days_tested"] > 700
    assert 0.0 < found["now"] <= found["highest"]
    told = document(run("liquidity", bars, "--coin", "BTC", "--toml", costs, "--json"))["BTC"]
    assert told["volume"] == pytest.approx(6 * 103.0, rel=0.01)
    assert len(told["notes"]) == 2
    base = {
        "schema": 1, "name": "x", "title": "t", "venue": "v", "sources": ["s"],
        "nodes": {"currency": {"by": ["underlying"]}, "expiry": {"by": ["underlying", "expiry"]}},
        "requirement": {"node": "currency", "initial": "liquidity", "maintenance": "0"},
    }  # fmt: skip
    parts = [tomllib.loads(path.read_text("utf-8")) for path in (cuts, costs)]
    text = check_rulebook(merged(base, *parts), source="a test")
    assert len(text.collateral) == found["rows"]
    for name in ("haircuts", "liquidity"):
        options = ["--coin", "BTC"]
        assert "BTC" in run(name, bars, *options).stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("liquidity",), "--coin"),
        (("haircuts", "--amount", "5"), "--volume"),
        (("jumps", "--hours", "0"), "--hours"),
    ],
)
def test_what_is_missing_is_named(bars: Path, arguments: tuple[str, ...], words: str) -> None:
    done = run(arguments[0], bars, *arguments[1:])
    assert done.exit_code == 2
    assert words in done.output


def test_the_gap_is_set_judged_and_written(tmp_path: Path) -> None:
    history = made_up(290, 25, crash=-0.4, later=-0.3)
    prices, toml, page = (tmp_path / name for name in ("BTC.csv", "gap.toml", "gap.html"))
    rows = [f"{t},BTC,{p}" for t, p in zip(history.time_ms, history.price, strict=True)]
    prices.write_text("\n".join(["time,name,price", *rows]) + "\n", "utf-8")
    done = run("gap", prices, "--toml", toml, "--share", 0.9, "--wings", "--html", page)
    assert done.exit_code in (0, 1), done.output
    assert ("met." in done.stdout) == (done.exit_code == 0)
    parts = tomllib.loads(toml.read_text("utf-8"))
    assert parts["parameters"]["gap_forgiven"] == 1.0
    assert "share 0.9," in parts["tables"]["gap"]["rows"][0]["source"]
    assert "Does the gap charge cover?" in page.read_text("utf-8")


def test_a_short_history_is_refused(bars: Path, tmp_path: Path) -> None:
    short = tmp_path / "BTC_short.csv"
    short.write_text("\n".join(bars.read_text("utf-8").splitlines()[:200]) + "\n", "utf-8")
    for name in ("jumps", "haircuts", "gap"):
        done = run(name, short)
        assert isinstance(done.exception, BadInput), (name, done.output)
    other = tmp_path / "DOGE_4h.csv"
    other.write_text(bars.read_text("utf-8"), "utf-8")
    done = run("gap", other)
    assert done.exit_code == 2
    assert "expected prices of BTC or ETH" in done.output
