"""`solvent liquidations` and `solvent adl`: the page's session, documents, and errors."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.test_engine_cli import Done, Run, run

__all__ = ["run"]

PAGE = ROOT / "docs" / "liquidation.md"


@pytest.fixture(scope="module")
def crash(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A venue that went through a crash, at its own time."""
    from solvent.host import Engine
    from solvent.sim.crash import rehearse

    folder = tmp_path_factory.mktemp("crash") / "venue"
    with Engine.create(folder) as engine:
        rehearse(engine, accounts=12, seed=7)
        engine.snapshot()
    return folder


def test_the_session_of_the_page(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command prints what the page says."""
    monkeypatch.chdir(tmp_path)
    seen = []
    for block in re.findall(r"```console\n(.*?)```", PAGE.read_text("utf-8"), flags=re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, *printed = part.rstrip("\n").split("\n")
            words = command.split()
            if words[0] == "export":
                monkeypatch.setenv(*words[1].split("=", 1))
                continue
            assert words.pop(0) == "solvent"
            done: Done = run(*words)
            assert done.code == 0, done.err
            if printed != ["…"]:
                assert [line.rstrip() for line in done.out.splitlines()] == printed, command
            seen.append(words[0])
    assert seen == ["generate", *["liquidations"] * 5, "adl"]


def document(run: Run, *words: object) -> Any:
    done = run(*words, "--json")
    assert done.code == 0, done.err
    return json.loads(done.out)


def test_what_happened_as_a_document(run: Run, crash: Path) -> None:
    steps = document(run, "liquidations", crash)["steps"]
    assert {"begin", "fund", "end"} <= {one["stage"] for one in steps}
    taken = [one for one in steps if one["stage"] == "fund" and not one["rejected"]]
    assert taken
    for one in taken:
        assert one["who"] == "insurance"
        assert abs(one["after"]) < abs(one["before"])
        assert float(one["price"]) > 0 <= float(one["mark"])


def test_a_statement_adds_up(run: Run, crash: Path) -> None:
    steps = document(run, "liquidations", crash)["steps"]
    name = next(one["account"] for one in steps if one["stage"] == "begin")
    told = document(run, "liquidations", crash, "--account", name)
    gains = sum(float(one["gain"]) for one in told["positions"])
    money = sum(float(one["dollars"]) for one in told["balances"])
    assert money + gains - float(told["haircuts"]) == pytest.approx(float(told["equity"]), abs=1e-5)
    assert float(told["equity"]) < float(told["maintenance"])
    begun = next(one for one in told["steps"] if one["stage"] == "begin")
    assert begun["equity_micro"] / 1e6 == pytest.approx(float(told["equity"]), abs=1e-5)
    assert begun["maintenance_micro"] / 1e6 == pytest.approx(float(told["maintenance"]), abs=1e-5)
    assert re.fullmatch(r"[0-9a-f]{64}", told["arrays"]["sha256"])
    done = run("liquidations", crash, "--account", name)
    assert done.code == 0
    assert f"short by {float(told['short']):,.2f}" in done.out


def test_plans_as_a_document(run: Run, crash: Path) -> None:
    (plan,) = document(run, "liquidations", crash, "--plan")["plans"]
    assert plan["stage"] == "call"
    assert plan["steps"] == [
        {"why": plan["steps"][0]["why"], "do": "review_margin", "account": plan["account"]}
    ]


def test_a_queue(run: Run, crash: Path) -> None:
    told = document(run, "adl", crash, "BTC_USDC-PERPETUAL")
    for side in ("long", "short"):
        line = told["queues"][side]
        assert [one["rank"] for one in line] == list(range(1, len(line) + 1))
        scores = [one["score"] for one in line]
        assert scores == sorted(scores, reverse=True)
        lights = [one["indicator"] for one in line]
        assert lights == sorted(lights, reverse=True)
        assert set(lights) <= {1, 2, 3, 4, 5}
    whose = told["queues"]["short"][0]["account"]
    alone = document(run, "adl", crash, "BTC_USDC-PERPETUAL", "--account", whose)["queues"]
    assert [one["account"] for one in alone["short"]] == [whose]
    assert alone["long"] == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("liquidations", "--account", "nobody"), "expected one of this venue"),
        (("adl", "NOTHING"), "expected one that is listed"),
    ],
)
def test_errors_are_one_line(run: Run, crash: Path, words: tuple[str, ...], said: str) -> None:
    done = run(words[0], crash, *words[1:])
    assert done.code == 2
    assert said in done.err
    assert done.err.count("\n") == 1


def test_one_thing_at_a_time(run: Run, crash: Path) -> None:
    assert run("liquidations", crash, "--plan", "--do").code == 2
