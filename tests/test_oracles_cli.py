"""`solvent index`: quotes from a file, and the lines that cannot be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from solvent.errors import BadInput
from solvent.feeds.market_rules import index_rule
from solvent.feeds.oracle_quotes import indices, read_messages
from solvent.market.index import Reason
from solvent.market.oracles import Fault
from tests.oracled import T0, at
from tests.test_cli import run, run_json

SEVEN = tuple(index_rule("guarded").weights)


def write(path: Path, *, steps: int = 12, wrong_from: int = 99) -> Path:
    """Seven sources a second; one of them falls by a sixth, and tells NaN at the end."""
    rows = []
    for step in range(1, steps):
        for n, name in enumerate(SEVEN):
            price = 50_000.0 + n + step / 10
            price *= 0.84 if name == "kraken" and step >= wrong_from else 1.0
            rows.append({"source": name, "time_ms": at(step), "price": price})
    rows.append({"source": "kraken", "time_ms": at(steps), "price": float("nan")})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def test_an_index_is_told_with_what_was_held_against_each(tmp_path: Path) -> None:
    path = write(tmp_path / "quotes.jsonl", wrong_from=6)
    told = run_json("index", path)
    assert (told["rule"], told["underlying"], len(told["indices"])) == ("guarded", "BTC", 11)
    assert {one["reason"] for one in told["indices"]} == {"fine"}
    last = {row["source"]: row for row in told["indices"][-1]["sources"]}
    assert (last["kraken"]["fault"], last["kraken"]["trust_ppm"]) == ("not_a_price", 900_000)
    assert last["okx"]["agrees"]
    before = {row["source"]: row for row in told["indices"][-2]["sources"]}["kraken"]
    assert (before["leaping"], before["agrees"], before["off_ppm"]) == (True, False, -159_966)


def test_exit_code_1_where_it_is_unknown_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "quotes.jsonl"
    path.write_text(json.dumps({"source": "okx", "time_ms": T0, "price": 50_000.0}) + "\n")
    done = run("index", path)
    assert done.returncode == 1, done.stderr
    assert "quorum" in done.stdout


def test_steps_follow_what_was_heard_and_never_go_back(tmp_path: Path) -> None:
    path = tmp_path / "quotes.jsonl"
    rows = [(0, 0), (5_000, 4_000), (4_500, 4_400), (5_100, 5_050)]
    lines = [json.dumps({"source": "okx", "time_ms": T0 + told, "heard_ms": T0 + heard,
                         "price": 100.0 + heard}) for heard, told in rows]  # fmt: skip
    path.write_text("\n\n".join(lines), "utf-8")
    found = list(indices(index_rule("guarded"), read_messages(path), every_ms=1_000))
    assert [count for _, count in found] == [1, 0, 0, 0, 2, 1]
    assert [one.time_ms - T0 for one, _ in found] == [1_000, 2_000, 3_000, 4_000, 5_000, 5_100]
    assert {one.reason for one, _ in found} == {Reason.QUORUM}
    assert found[-1][0].sources[-1].fault is None
    assert found[-1][0].sources[0].fault is Fault.SILENT


GOOD = {"source": "okx", "time_ms": T0, "price": 1.0}


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "a quote a line"),
        ("{", "line 1.*a JSON object"),
        ("[1]", "a JSON object"),
        ("[" * 100_000, "a JSON object"),
        (json.dumps({**GOOD, "prise": 1}), "only ask, bid"),
        (json.dumps({**GOOD, "source": ""}), "'source'.*a name"),
        (json.dumps({**GOOD, "source": 7}), "'source'.*a name"),
        (json.dumps({**GOOD, "time_ms": None}), "'time_ms'.*a whole number"),
        (json.dumps({**GOOD, "time_ms": 1.5}), "'time_ms'.*a whole number"),
        (json.dumps({**GOOD, "time_ms": True}), "'time_ms'.*a whole number"),
        (json.dumps({**GOOD, "time_ms": 10**15}), "'time_ms'.*a whole number"),
        (json.dumps({**GOOD, "weight": -1}), "'weight'.*a whole number"),
        (json.dumps({**GOOD, "price": "1"}), "'price'.*a number"),
        (json.dumps({**GOOD, "bid": True}), "'bid'.*a number"),
        (json.dumps({**GOOD, "ask": 10**400}), "a number that a float can hold"),
        (json.dumps(GOOD) + "\n" + json.dumps({**GOOD, "ask": "x"}), "line 2"),
    ],
)
def test_a_line_that_cannot_be_is_named(tmp_path: Path, text: str, match: str) -> None:
    path = tmp_path / "quotes.jsonl"
    path.write_text(text, "utf-8")
    with pytest.raises(BadInput, match=match):
        read_messages(path)


def test_a_file_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="a readable file"):
        read_messages(tmp_path / "none.jsonl")
    path = tmp_path / "far.jsonl"
    rows = [GOOD, {**GOOD, "time_ms": T0 + 10**11}]
    path.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    with pytest.raises(BadInput, match="at most 10000000 steps"):
        list(indices(index_rule("guarded"), read_messages(path), every_ms=1))
