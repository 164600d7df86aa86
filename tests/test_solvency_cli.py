"""`solvent watch`, `solvent bench watch`, and the made-up venues behind them."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
from typer.testing import CliRunner

from solvent.cli import app
from solvent.sim.watched import Flood, Venue, false_negatives, flood, full_pass, ticks_within
from solvent.solvency.classes import State
from tests.test_solvency_vectors import told


def small(underlyings: int = 10) -> Venue:
    return Venue.make(accounts=1_500, instruments=200, underlyings=underlyings)


def test_watch_tells_states_ladder_exposure_and_sweep() -> None:
    arguments = ["watch", "--accounts", "800", "--ticks", "25", "--pause-ms", "0"]
    found = CliRunner().invoke(app, [*arguments, "--json"])
    assert found.exit_code == 0, found.output
    document = json.loads(found.stdout)
    assert sum(one["accounts"] for one in document["accounts"].values()) == 800
    fallen = {one["gap"]: one["fallen"] for one in document["ladder"]}
    assert fallen[-0.5] > fallen[-0.1]
    assert document["sweep"]["complete"]
    assert document["latency_ms"]["marks"] == 25
    shown = CliRunner().invoke(app, arguments)
    assert shown.exit_code == 0
    for word in ("healthy", "unknown", "gap ladder", "hedge that restores", "nobody left out"):
        assert word in shown.output


def test_a_book_of_ones_own_is_classified(tmp_path: Path) -> None:
    """States and rungs of files, under a rulebook, are those of the margin command."""
    chain, book, balances = (tmp_path / name for name in ("m.csv", "b.csv", "c.csv"))
    runner = CliRunner()
    assert runner.invoke(app, ["generate", "market", "--out", str(chain)]).exit_code == 0
    told = runner.invoke(
        app, ["generate", "book", "--market", str(chain), "--accounts", "150", "--out", str(book),
              "--collateral", str(balances)],
    )  # fmt: skip
    assert told.exit_code == 0, told.output
    files = ["--market", str(chain), "--positions", str(book), "--collateral", str(balances)]
    found = runner.invoke(app, ["watch", *files, "--json"])
    assert found.exit_code == 0, found.output
    document = json.loads(found.stdout)
    margined = json.loads(runner.invoke(app, ["margin", *files, "--json"]).stdout)["accounts"]
    fallen = [one for one in margined if one["status"] == "liquidate"]
    assert document["accounts"]["liquidate"]["accounts"] == len(fallen)
    now = next(one for one in document["ladder"] if one["gap"] == 0.0)
    assert now["fallen"] == len(fallen)
    assert document["ladder"][0]["fallen"] > now["fallen"]
    assert document["unbounded"] == ""
    assert document["accounts_with_a_band"] > 100
    assert now["skipped"] > 50
    assert document["ladder"][0]["skipped"] < now["skipped"]
    assert document["solvency_delta"]["BTC"]["accounts"] > 0
    fallen_here = document["underlyings"]["BTC"]["liquidate"]
    assert 0 < fallen_here <= len(fallen)
    shown = runner.invoke(app, ["watch", *files])
    assert shown.exit_code == 0
    assert "accounts with a band" in shown.output
    assert "solvency-delta" in shown.output
    told = runner.invoke(app, ["watch", *files, "--rulebook", "strategy-based"])
    assert told.exit_code == 0, told.output
    assert "all accounts are recomputed" in told.output
    assert runner.invoke(app, ["watch", "--market", str(chain)]).exit_code == 2


def test_bench_tells_what_was_touched_and_that_nothing_was_missed() -> None:
    for more in ([], ["--uniform"]):
        arguments = ["bench", "watch", "--accounts", "1500", "--ticks", "20", *more]
        found = CliRunner().invoke(app, [*arguments, "--instruments", "300", "--json"])
        assert found.exit_code == 0, found.output
        document = json.loads(found.stdout)
        assert document["false_negatives"] == 0
        assert document["skipped_share"] > 0.9
        assert 500 < document["touching"] < 800
        assert document["popularity"] == ("uniform" if more else "zipf")
    shown = CliRunner().invoke(app, ["bench", "watch", "--accounts", "300", "--ticks", "3"])
    assert shown.exit_code == 0
    assert "ratio_to_full" in shown.output


def test_false_negatives_are_seen() -> None:
    """The check itself: a watch whose states were tampered with is caught."""
    watch = small().watch()
    assert false_negatives(watch) == 0
    watch.cash[:3] -= 10**15
    assert false_negatives(watch) == 3
    assert false_negatives(watch, np.arange(1, 10)) == 2


def test_every_way_ends_alike() -> None:
    """The same ticks through bands, kept vectors and plain recomputation."""
    watches = [
        small().watch(bands=way == "bands", keep=way == "kept") for way in ("bands", "kept", "none")
    ]
    clock = itertools.count().__next__
    for watch in watches:
        ticks_within(watch, clock, reach=0.02, ticks=30)
        full_pass(watch, clock, rounds=1)
        watch.recompute(np.arange(1_500, dtype=np.int32))
    first = told(watches[0].figures)
    assert all(told(watch.figures) == first for watch in watches[1:])
    kept = watches[1].vectors
    assert kept is not None
    kept.check_fresh(watches[1].held, watches[1].matrix)


def test_a_flood_is_taken_whole() -> None:
    """No trade is lost, marks may be, and nobody's breach is missed; under a clock that runs."""
    watch = small(8).watch()
    now = itertools.count(0, 20_000_000)
    load = Flood(trades_per_second=4_000, marks_per_second=800, seconds=0.5, fall=0.2)
    found = flood(watch, load, now.__next__)
    assert found["trades"] == 2_000
    assert found["marks"] + found["superseded"] == 400
    assert found["superseded"] > 0
    assert false_negatives(watch) == 0
    assert sum(watch.figures.count(state) for state in State) == 1_500
    watch.held.check_links()
