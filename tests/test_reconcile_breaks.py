"""Breaks as events, kept; and `solvent reconcile` as a user meets it."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from solvent.cli import main
from solvent.cli.reconcile import repeated, seconds
from solvent.errors import BadInput, SolventError
from solvent.feeds.write import write_market
from solvent.instruments.contract import moment_of
from solvent.market import Snapshot
from solvent.reconcile.breaks import Breaks, Happened, State
from solvent.reconcile.match import compare
from tests.conftest import ROOT
from tests.test_engine_cli import Run, run
from tests.test_reconcile import CASH, HELD, MARK, side

__all__ = ["run"]

BOTH = {CASH: 100, HELD: 7}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Breaks]:
    with Breaks(tmp_path / "breaks.db") as opened:
        yield opened


def told(store: Breaks, theirs: dict[Any, int], time_ms: int = 1, who: str = "them") -> list[Any]:
    report = compare(side(BOTH), side(theirs))
    return [(one.number, one.happened, one.state, one.difference)
            for one in store.record(report, party=who, time_ms=time_ms)]  # fmt: skip


# ── the life of a break ──────────────────────────────────────────────────────────────────────────


def test_a_break_is_found_once(store: Breaks) -> None:
    assert told(store, {**BOTH, CASH: 90}) == [(1, Happened.FOUND, State.OPEN, -10)]
    assert told(store, {**BOTH, CASH: 90}) == []
    assert told(store, {CASH: 90, HELD: 9}) == [(2, Happened.FOUND, State.OPEN, 2)]
    (first, second) = store.standing()
    assert (first.number, first.key, second.key) == (1, CASH, HELD)


def test_a_break_goes_when_both_sides_agree(store: Breaks) -> None:
    told(store, {**BOTH, CASH: 90})
    assert told(store, BOTH) == [(1, Happened.MATCHED, State.CLOSED, 0)]
    assert told(store, BOTH) == []
    assert store.standing() == []
    # The same difference again is the same break, opened again.
    assert told(store, {**BOTH, CASH: 90}) == [(1, Happened.REOPENED, State.OPEN, -10)]


def test_an_owner_stays_through_everything(store: Breaks) -> None:
    told(store, {**BOTH, CASH: 90})
    store.assign(1, " anna ", time_ms=2)
    assert told(store, {**BOTH, CASH: 80}) == [(1, Happened.CHANGED, State.ASSIGNED, -20)]
    store.explain(1, "on its way", time_ms=3)
    assert told(store, {**BOTH, CASH: 80}) == []
    assert told(store, {**BOTH, CASH: 70}) == [(1, Happened.REOPENED, State.ASSIGNED, -30)]
    store.end(1, "written off", time_ms=4)
    assert told(store, {**BOTH, CASH: 70}) == []
    assert store.standing() == []
    assert told(store, {**BOTH, CASH: 60}) == [(1, Happened.REOPENED, State.ASSIGNED, -40)]
    assert [one.happened for one in store.history(1)] == [
        "found", "assigned", "changed", "explained", "reopened", "closed", "reopened",
    ]  # fmt: skip
    assert {one.owner for one in store.history(1)[1:]} == {"anna"}


def test_a_statement_of_less_closes_nothing(store: Breaks) -> None:
    """Balances alone say nothing of positions; another party's nothing of these."""
    told(store, {CASH: 90, HELD: 9})
    assert told(store, {CASH: 90}) == []
    assert told(store, BOTH, who="others") == []
    assert len(store.standing()) == 2
    report = compare(side({CASH: 90}), side({CASH: 90}))
    store.record(report, party="them", time_ms=2)
    (left,) = store.standing()
    assert left.key == HELD


def test_what_is_gone_on_both_sides_is_closed(store: Breaks) -> None:
    other = CASH._replace(name="BTC")
    store.record(compare(side({CASH: 1, other: 5}), side({CASH: 1})), party="x", time_ms=1)
    made = store.record(compare(side({CASH: 1}), side({CASH: 1})), party="x", time_ms=2)
    assert [(one.key, one.state) for one in made] == [(other, State.CLOSED)]


def test_what_was_not_compared_stays(store: Breaks) -> None:
    """One account's run, a statement that leaves out an account, a mark that is not told."""
    other = CASH._replace(account="b")
    mine, theirs = {CASH: 100, other: 50, MARK: 9}, {CASH: 90, other: 40, MARK: 8}

    def left(ours: dict[Any, int], told_: dict[Any, int], *accounts: str) -> set[Any]:
        report = compare(side(ours), side(told_), accounts=frozenset(accounts))
        store.record(report, party="them", time_ms=2)
        return {one.key for one in store.standing()}

    assert left(mine, theirs) == {CASH, other, MARK}
    assert left(mine, theirs, "a") == {CASH, other, MARK}
    assert left({CASH: 100}, {CASH: 90}) == {CASH, other, MARK}
    assert left({CASH: 100}, {CASH: 90, MARK._replace(name="X"): 3}) >= {CASH, other, MARK}
    # Of an account of which both tell, what neither tells is nothing.
    more = other._replace(name="BTC")
    assert more in left({**mine, more: 5}, theirs)
    assert more not in left(mine, theirs)
    (last,) = (one for one in store.standing(closed=True) if one.key == more)
    assert (last.happened, last.note) == (Happened.GONE, "neither side tells of it any more")
    assert more in left({**mine, more: 5}, theirs)


def test_what_was_closed_by_hand_comes_back_after_a_match(store: Breaks) -> None:
    told(store, {**BOTH, CASH: 90})
    store.end(1, "written off", time_ms=2)
    assert told(store, BOTH) == [(1, Happened.MATCHED, State.CLOSED, 0)]
    assert told(store, BOTH) == []
    assert told(store, {**BOTH, CASH: 90}) == [(1, Happened.REOPENED, State.OPEN, -10)]


def test_acts_on_what_is_not_there_are_refused(store: Breaks) -> None:
    told(store, {**BOTH, CASH: 90})
    for number, owner in ((2, "anna"), (1, " "), (1, "x" * 501)):
        with pytest.raises(BadInput, match="expected"):
            store.assign(number, owner, time_ms=1)
    store.end(1, "done", time_ms=2)
    with pytest.raises(BadInput, match="not closed"):
        store.explain(1, "why", time_ms=3)
    assert len(store.history(1)) == 2


def test_breaks_outlive_the_process(tmp_path: Path) -> None:
    with Breaks(tmp_path / "b.db") as one:
        told(one, {CASH: 90, HELD: 9})
        one.assign(2, "anna", time_ms=2)
    with Breaks(tmp_path / "b.db") as other:
        assert [(one.number, one.owner) for one in other.standing()] == [(1, ""), (2, "anna")]


def test_a_reconciliation_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    """The second of three events fails: none of them is there afterwards, nor a number used up."""
    path = tmp_path / "b.db"
    with Breaks(path) as store:
        told(store, {**BOTH, CASH: 90})
        before = path.read_bytes()
        raw = sqlite3.connect(path)
        raw.execute(
            "CREATE TRIGGER stop BEFORE INSERT ON break_events WHEN NEW.name = 'X' "
            "BEGIN SELECT RAISE(ABORT, 'disk full'); END"
        )
        raw.close()
        bad = CASH._replace(name="X")
        report = compare(side(BOTH), side({CASH: 80, HELD: 9, bad: 1}))
        with pytest.raises(BadInput, match="disk full"):
            store.record(report, party="them", time_ms=2)
        assert [one.difference for one in store.standing()] == [-10]
        assert len(store.history(1)) == 1
    assert before


def test_a_store_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "b.db"
    path.write_bytes(b"nothing of the kind" * 100)
    with pytest.raises(BadInput, match="a store of breaks"):
        Breaks(path)
    raw = sqlite3.connect(tmp_path / "c.db")
    raw.execute("PRAGMA user_version = 9")
    raw.close()
    with pytest.raises(BadInput, match="version 9"):
        Breaks(tmp_path / "c.db")


# ── the command ──────────────────────────────────────────────────────────────────────────────────


NOW = 1_782_813_614_000
RIGHT = f"account,asset,balance,time\nalice,USDC,18016,{NOW}\nbob,USDC,50984,{NOW}\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, snapshot: Snapshot) -> Path:
    """The venue of the examples; Alice has 18,016 dollars and Bob 50,984."""
    folder = tmp_path_factory.mktemp("made")
    write_market(snapshot, folder / "market.csv")
    with pytest.MonkeyPatch.context() as patch:
        for arguments in (
            ("init", folder / "venue", "--market", folder / "market.csv"),
            ("apply", folder / "venue", ROOT / "examples" / "commands.jsonl"),
        ):
            patch.setattr(sys, "argv", ["solvent", *map(str, arguments)])
            with suppress(SystemExit):
                main()
    return folder / "venue"


@pytest.fixture
def venue(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "venue")


def test_a_venue_against_a_custodian(run: Run, venue: Path, tmp_path: Path) -> None:
    statement = tmp_path / "custodian.csv"
    statement.write_text(RIGHT, "utf-8")
    good = run("reconcile", venue, "--against", statement, "--json")
    assert good.code == 0, good.err
    assert good.json()["counts"]["matched"] == 2
    assert good.json()["breaks"] == []
    # Before the last trade, which brought Alice six dollars, and with the deposit of Bob missing.
    statement.write_text(
        f"account,asset,balance,time\nalice,USDC,18010,{NOW - 2_500}\n"
        f"bob,USDC,990,{NOW - 2_500}\n", "utf-8",
    )  # fmt: skip
    bad = run("reconcile", venue, "--against", statement, "--json")
    assert bad.code == 1
    alice, bob = bad.json()["lines"]
    assert (alice["status"], alice["ours"], alice["ours_then"]) == ("matched", "18016", "18010")
    assert alice["later_movements"] == 1
    assert (bob["status"], bob["difference"]) == ("different", "-50000")
    assert (bob["cause"], bob["evidence"][:7]) == ("missed payment", "payment")
    untimed = tmp_path / "untimed.csv"
    untimed.write_text("account,asset,balance\nalice,USDC,18010\nbob,USDC,50990\n", "utf-8")
    assert run("reconcile", venue, "--against", untimed).code == 1
    moment = f"{moment_of(NOW - 2_500):%Y-%m-%dT%H:%M:%S.%f}"
    assert run("reconcile", venue, "--against", untimed, "--as-of", moment).code == 0
    table = run("reconcile", venue, "--against", statement)
    assert "1 of them agree as of the statement's time" in table.out
    assert "missed payment" in table.out


def test_breaks_are_kept_beside_the_venue(run: Run, venue: Path, tmp_path: Path) -> None:
    held = tmp_path / "held.csv"
    text = (
        "account,instrument,size\nalice,BTC_USDC-PERPETUAL,0.6\nbob,BTC_USDC-PERPETUAL,{}\n"
        "alice,BTC_USDC-10JUL26-65000-C,0.5\nbob,BTC_USDC-10JUL26-65000-C,-0.5\n"
    )
    held.write_text(text.format("0.6"), "utf-8")
    found = run("reconcile", venue, "--against", held, "--with", "house", "--json")
    assert found.code == 1
    (kept,) = found.json()["breaks"]
    assert (kept["number"], kept["cause"], kept["state"]) == (1, "wrong sign", "open")
    assert run("reconcile", "assign", venue, 1, "anna").code == 0
    assert run("reconcile", "explain", venue, 1, "they are told").code == 0
    held.write_text(text.format("-1"), "utf-8")
    assert run("reconcile", venue, "--against", held, "--with", "house").code == 1
    (kept,) = run("reconcile", "breaks", venue, "--json").json()["breaks"]
    assert (kept["happened"], kept["state"], kept["owner"]) == ("reopened", "assigned", "anna")
    assert (kept["difference"], kept["cause"]) == ("-0.4", "missed fill")
    held.write_text(text.format("-0.6"), "utf-8")
    assert run("reconcile", venue, "--against", held, "--with", "house").code == 0
    assert run("reconcile", "breaks", venue, "--json").json()["breaks"] == []
    (ended,) = run("reconcile", "breaks", venue, "--all", "--json").json()["breaks"]
    assert ended["state"] == "closed"
    told_of = run("reconcile", "breaks", venue, "--history", 1, "--json").json()["breaks"]
    assert [one["happened"] for one in told_of] == [
        "found", "assigned", "explained", "reopened", "matched",
    ]  # fmt: skip
    assert run("reconcile", "close", venue, 1, "again").code == 2


def test_files_against_files(run: Run, tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours.csv", tmp_path / "theirs.csv"
    ours.write_text("account,asset,amount\na,USDC,1.000001\n", "utf-8")
    theirs.write_text("account,asset,amount\na,USDC,1\n", "utf-8")
    assert run("reconcile", ours, "--against", theirs, "--json").json()["breaks"] is None
    assert list(tmp_path.glob("*.db")) == []
    allowed = tmp_path / "t.toml"
    allowed.write_text("[balance]\nunits = 1\n", "utf-8")
    good = run("reconcile", ours, "--against", theirs, "--tolerances", allowed)
    assert (good.code, "1 matched" in good.out) == (0, True)
    kept = run("reconcile", ours, "--against", theirs, "--breaks", tmp_path / "kept.db")
    assert kept.code == 1
    assert len(run("reconcile", "breaks", tmp_path / "kept.db", "--json").json()["breaks"]) == 1


def test_files_against_a_venue(run: Run, tmp_path: Path) -> None:
    """Our own record of an account at a venue, held against the venue's API."""
    from tests.venue_server import CANARIES, key_file, serving

    ours = tmp_path / "ours.csv"
    ours.write_text("account,asset,amount\nme,USDT,23.72469206\n", "utf-8")
    held = tmp_path / "held.csv"
    held.write_text("account,instrument,size\nme,BTC/USDT:USDT,0.01\n", "utf-8")
    with serving("binance") as server:
        told = f"binance:{key_file(tmp_path / 'key.toml', server.url)}"
        done = run("reconcile", ours, held, "--from", told, "--account", "me", "--json")
    assert done.code == 1, done.err
    lines = {(one["kind"], one["name"]): one for one in done.json()["lines"]}
    assert lines["balance", "USDT"]["status"] == "matched"
    position = lines["position", "BTC_USDT-PERPETUAL"]
    assert (position["theirs"], position["cause"]) == ("0.001", "wrong contract size")
    assert not any(canary in done.out + done.err for canary in CANARIES)
    assert run("reconcile", ours, "--from", "okx", "--against", held).code == 2
    assert run("reconcile", ours).code == 2
    assert run("reconcile", ours, "--against", held, "--as-of", "noon").code == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("account,asset,balance\nzoe,USDC,1\n", "an account that we have"),
        ("account,asset,balance,time\nalice,USDC,1,2026-01-01\n", "within"),
        ("account,asset,balance\nalice,USDC,1\nalice,USDC,1\n", "row 2"),
        ("account,asset,balance\nalice,USDC,-nan\n", "row 1"),
        ("", "an empty file"),
    ],
)  # fmt: skip
def test_a_bad_statement_is_one_line_and_keeps_nothing(
    text: str, words: str, run: Run, venue: Path, tmp_path: Path
) -> None:
    statement = tmp_path / "bad.csv"
    statement.write_text(text, "utf-8")
    done = run("reconcile", venue, "--against", statement)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1), done.err
    assert words in done.err
    assert not (venue / "breaks.db").exists()


def test_looking_into_another_file_changes_nothing(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    raw = sqlite3.connect(path)
    raw.execute("CREATE TABLE things (x)")
    raw.close()
    before = path.read_bytes()
    for what in (("breaks",), ("assign", 1, "x"), ("explain", 1, "x"), ("close", 1, "x")):
        done = run("reconcile", what[0], path, *what[1:])
        assert (done.code, "a store of breaks, found things" in done.err) == (2, True), done.err
    with pytest.raises(BadInput, match="found things"):
        Breaks(path)
    assert path.read_bytes() == before
    with Breaks(tmp_path / "a %?#b.db") as made:
        told(made, {**BOTH, CASH: 90})
    with Breaks(tmp_path / "a %?#b.db", mode="ro") as seen:
        assert len(seen.standing()) == 1
        with pytest.raises(BadInput, match="readonly"):
            seen.assign(1, "anna", time_ms=3)


def test_looking_makes_nothing(run: Run, tmp_path: Path) -> None:
    for what in (("breaks",), ("assign", 1, "x"), ("close", 1, "x")):
        done = run("reconcile", what[0], tmp_path, *what[1:])
        assert (done.code, "no such file" in done.err) == (2, True)
    assert list(tmp_path.iterdir()) == []
    assert run("reconcile", tmp_path / "none", "--against", tmp_path / "none").code == 2


# ── on a schedule ────────────────────────────────────────────────────────────────────────────────


def test_spans() -> None:
    assert [seconds(told) for told in ("60s", "5m", "1h", "0.01s")] == [60, 300, 3_600, 0.01]
    for wrong in ("", "5", "s", "-1s", "0s", "nan s", "infm", "8000h"):
        with pytest.raises(Exception, match="expected a span"):
            seconds(wrong)


def test_a_turn_that_fails_does_not_end_the_rest(capsys: pytest.CaptureFixture[str]) -> None:
    turns = iter((SolventError("half written"), True, False))

    def turn() -> bool:
        one = next(turns)
        if isinstance(one, SolventError):
            raise one
        return one

    assert repeated(turn, 0.001, 3) is False
    assert "error: half written" in capsys.readouterr().err
    before = signal.getsignal(signal.SIGTERM)
    assert repeated(lambda: True, 0.001, 2) is True
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("which", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_between_turns(which: int) -> None:
    count = 0

    def turn() -> bool:
        nonlocal count
        count += 1
        if count == 2:
            os.kill(os.getpid(), which)
        return False

    assert repeated(turn, 0.001, 0) is False
    assert count == 2


@pytest.mark.soak
def test_the_schedule_as_a_process(tmp_path: Path) -> None:
    """A statement that changes meanwhile is seen; a signal ends it with what was found last."""
    ours, theirs = tmp_path / "ours.csv", tmp_path / "theirs.csv"
    for path in (ours, theirs):
        path.write_text("account,asset,amount\na,USDC,1\n", "utf-8")
    code = "from solvent.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "reconcile", str(ours), "--against", str(theirs),
         "--every", "0.05s"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert "1 matched" in process.stdout.readline()
    temporary = tmp_path / "new"
    temporary.write_text("account,asset,amount\na,USDC,2\n", "utf-8")
    temporary.replace(theirs)
    deadline = time.monotonic() + 60
    while "1 different" not in process.stdout.readline():
        assert time.monotonic() < deadline
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (1, ""), out
