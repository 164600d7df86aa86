"""The study of two crashes: its runs, what is kept of them, and what it shows."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from solvent.errors import SolventError
from solvent.lab import study_runs
from solvent.lab.page import Series
from solvent.lab.study import LATE, Published, reaches, study
from solvent.lab.study_report import figures, told, write_study
from solvent.lab.study_runs import Task, ask, code_digest, code_files, keep, kept_in
from solvent.lab.svg import bars_svg
from solvent.sim.cascade_paths import Bars
from solvent.sim.cascade_prices import Prices, made_up
from solvent.sim.lateness import ON_TIME, Lateness
from solvent.sim.regimes import STUDIED
from tests.test_engine_cli import Run, run

__all__ = ["run"]
TWO = STUDIED[1:4:2]
"""Binance's and Hyperliquid's rules, all cross."""


def barred(moments: int = 6) -> Prices:
    """Made-up prices of which bars are known: as wide as they moved, and a little more."""
    prices = made_up(seed=1).shortened(moments)
    pairs = {
        coin: list(itertools.pairwise(path)) for coin, path in prices.price.items()
    }  # fmt: skip
    return replace(prices, bars=Bars(
        begin_ms=prices.times_ms[:-1], span_ms=900_000,
        low={coin: tuple(0.995 * min(two) for two in found) for coin, found in pairs.items()},
        high={coin: tuple(1.005 * max(two) for two in found) for coin, found in pairs.items()},
        moved={coin: tuple(b / a - 1 for a, b in found) for coin, found in pairs.items()},
    ))  # fmt: skip


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    folder = tmp_path_factory.mktemp("study")
    found = study(
        [barred(8)], accounts=40, runs=2, seeds=2, regimes=TWO, folder=folder, processes=1,
        latenesses=(LATE[0], LATE[1]),
    )  # fmt: skip
    return found, folder


def test_what_is_kept_is_used_again(small: tuple[dict[str, Any], Path]) -> None:
    first, folder = small
    before = {one.name: one.stat().st_mtime_ns for one in (folder / "kept").iterdir()}
    asked: list[tuple[int, int]] = []
    again = study(
        [barred(8)], accounts=40, runs=2, seeds=2, regimes=TWO, folder=folder, processes=1,
        latenesses=(LATE[0], LATE[1]), done=lambda *two: asked.append(two),
    )  # fmt: skip
    assert again == first
    assert asked == []
    assert {one.name: one.stat().st_mtime_ns for one in (folder / "kept").iterdir()} == before
    # Two latenesses and two seeds of two rulebooks, and two runs of each in a market of its own.
    assert len(before) == 2 * 2 * 2 + 2 * 2


def test_what_is_kept_of_other_things_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A price, a setting, or a line of code that is other: another name."""
    prices = made_up(seed=1).shortened(2)
    first = Task(regime=TWO[0], accounts=10, seed=1, prices=prices)
    keep(tmp_path, first.name, {"violations": [], "seed": 99})
    assert set(kept_in(tmp_path)) == {first.name}
    coin = next(iter(prices.price))
    moved = tuple(one * (1 + 1e-12) for one in prices.price[coin])
    others = [
        replace(first, prices=replace(prices, price={**prices.price, coin: moved})),
        replace(first, prices=replace(prices, times_ms=(1, 2))),
        replace(first, prices=replace(prices, bars=barred(2).bars)),
        replace(first, regime=TWO[1]), replace(first, accounts=11), replace(first, seed=2),
        replace(first, regime=replace(TWO[0], rulebook="okx-pm")),
        replace(first, lateness=Lateness(waves_ms=(0, 1))),
    ]  # fmt: skip
    names = [one.name for one in others]
    assert first.name not in names
    assert len(set(names)) == len(names)
    assert replace(first, prices=made_up(seed=1).shortened(2)).name == first.name
    monkeypatch.setattr(study_runs, "code_digest", lambda: "other code")
    assert first.name not in (*names, *kept_in(tmp_path))
    found = study([prices], accounts=10, runs=0, regimes=TWO[:1], folder=tmp_path, processes=1)
    ((one,),) = [late["runs"] for late in found["crashes"][0]["regimes"][0]["late"]]
    assert one["seed"] == 1
    assert len(kept_in(tmp_path)) == 2


def test_the_digest_covers_what_a_run_comes_through() -> None:
    """Every module of Solvent that both kinds of run import."""
    text = """if True:
        import json, sys
        from solvent.lab.study import _settings
        from solvent.lab.study_runs import Task, ask
        from solvent.sim.cascade_prices import made_up
        from solvent.sim.regimes import STUDIED
        import solvent
        ask(Task(regime=STUDIED[3], accounts=6, seed=1, prices=made_up(seed=1).shortened(2)))
        settings = _settings(STUDIED[1], 6).but(steps=4, shock__at=0, shock__over=2)
        ask(Task(regime=STUDIED[1], accounts=6, seed=1, settings=settings))
        told = {n: m.__file__ for n, m in sys.modules.items() if n.startswith("solvent")}
        print(json.dumps(told))
    """
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    root = Path(study_runs.__file__).parents[1]
    loaded = {Path(path).relative_to(root).as_posix() for path in json.loads(done.stdout).values()}
    # What tells and shows: it takes part in no run.
    shows = {"lab/__init__.py", "lab/study.py", "lab/wording.py"}
    assert loaded - shows <= set(code_files())
    assert "rulebooks/hyperliquid.toml" in code_files()
    assert code_digest() == code_digest()


def test_spreads_and_shares_add_up(small: tuple[dict[str, Any], Path]) -> None:
    document = json.loads(json.dumps(small[0], allow_nan=False))
    (crash,) = document["crashes"]
    assert [one["name"] for one in crash["regimes"]] == ["cross", "hyperliquid"]
    for regime in crash["regimes"]:
        assert [one["mark_ms"] for one in regime["late"]] == [0, 3_000]
        for late in regime["late"]:
            assert [one["seed"] for one in late["runs"]] == [1, 2]
            shares = []
            for one in late["runs"]:
                assert one["violations"] == []
                assert one["cumulative"][-1] == pytest.approx(one["liquidated"])
                assert sum(one["value"].values()) == pytest.approx(one["liquidated"])
                assert sum(one["refused"].values()) <= sum(one["sent"].values())
                assert one["sent"]["place_order"] > 0
                shares.append(one["liquidated"] / one["open_interest"])
                for judged in one["judged"]:
                    assert min(judged.values()) >= 0
            found = late["spread"]["liquidated"]
            assert (found["least"], found["most"]) == (min(shares), max(shares))
            assert found["median"] == pytest.approx(sum(shares) / 2)
            assert late["cumulative"][-1] == pytest.approx(found["median"])
    for one in document["own"]:
        values = [each["overshoot"] for each in one["runs"]]
        assert len(values) == 2
        assert one["spread"]["overshoot"]["most"] == max(values)
        assert all(0 <= each["refused"] < 1 for each in one["runs"])


def test_it_is_shown(small: tuple[dict[str, Any], Path], tmp_path: Path) -> None:
    document = small[0]
    blocks = {one.title.partition(": ")[2] or one.title: one for one in figures(document)}
    late = blocks["what late marks do"]
    assert len(late.rows) == 2 * 2 * len(LATE[0].waves_ms)
    refused = blocks["What was refused"]
    assert len(refused.rows) == 2 * 2
    assert all(row[3] == 2 and row[4] >= row[5] for row in refused.rows)
    beside = blocks["Beside what was published of 10 October 2025"]
    assert beside.rows[0][0] == "published: Hyperliquid"
    assert "74.9" in beside.rows[0]
    written = write_study(document, tmp_path)
    pictures = [one for one in written if one.suffix == ".svg"]
    assert len(pictures) == sum(bool(one.series) for one in figures(document))
    for one in pictures:
        assert ElementTree.fromstring(one.read_text("utf-8")).tag.endswith("svg")
    assert "What was refused" in written[0].read_text("utf-8")


def test_a_spread_in_words() -> None:
    assert told(None) is None
    assert told(reaches([{"a": 0.1}, {"a": 0.3}, {"a": None}])["a"], 100) == "20 (10 to 30)"
    assert told(reaches([{"a": -0.012345}])["a"], 100) == "-1.23"
    assert reaches([]) == {}
    shares = Published().shares()
    assert shares["beyond"] == pytest.approx(shares["given"] - shares["gaps"], abs=2e-5)


def test_bars_show_how_far_they_reach() -> None:
    series = Series(name="s", x=["p", "q"], y=[2.0, 4.0], least=[1.0, 3.0], most=[5.0, 4.0])
    root = ElementTree.fromstring(bars_svg([series], title="T"))
    dark = [one for one in root.iter()
            if one.tag.endswith("line") and one.attrib["stroke"] == "#1d2a33"]  # fmt: skip
    spans = [float(one.attrib["y1"]) - float(one.attrib["y2"]) for one in dark]
    assert spans[0] == pytest.approx(4 * spans[1], abs=0.3)
    bars = [one for one in root.iter() if one.tag.endswith("rect")][-2:]
    tall = float(bars[0].attrib["height"])
    assert spans[0] == pytest.approx(2 * tall, abs=0.3)


def test_what_cannot_be_studied_is_refused() -> None:
    for wrong in ({"seeds": 0}, {"regimes": ()}, {"latenesses": ()}):
        with pytest.raises(SolventError, match="found none"):
            study([made_up(seed=1)], accounts=1, runs=0, **wrong)
    with pytest.raises(SolventError, match="found none"):
        study([], accounts=1, runs=0)
    with pytest.raises(SolventError, match="from 0 ms on"):
        Lateness(mark_ms=-1)


def test_a_run_is_told_with_what_was_refused() -> None:
    name, found = ask(Task(regime=TWO[0], accounts=12, seed=4,
                           prices=made_up(seed=2).shortened(4)))  # fmt: skip
    assert name.startswith("made-up-cross-12-4-")
    assert set(found["sent"]) <= {"place_order", "cancel_orders", "deposit", "trade"}
    assert all(key.partition(": ")[0] in found["sent"] for key in found["refused"])
    assert found["judged"][0]["wave_ms"] == ON_TIME.waves_ms[0] == 0


def test_the_study_by_command(run: Run, tmp_path: Path) -> None:
    words = ("demo", "crash", "--study", "--accounts", 12, "--seeds", 2, "--runs", 0, "--crash",
             "made-up", "--moments", 3, "--out", tmp_path)  # fmt: skip
    code, printed, err = run(*words, "--json")
    assert (code, err) == (0, "")
    document = json.loads(printed)
    assert (document["seeds"], len(document["crashes"][0]["regimes"])) == (2, 5)
    code, printed, _ = run(*words)
    assert code == 0
    assert "What was refused" in printed
    assert run("demo", "crash", "--seeds", 2)[0] == 2
    assert run("demo", "--seeds", 2)[0] == 2
