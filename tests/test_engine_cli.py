"""The engine's command line as a user meets it: exit codes, one JSON document, errors in a line."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from solvent.cli import main
from solvent.feeds.histories import write_history
from solvent.feeds.write import write_market
from solvent.host import Engine
from solvent.market import Snapshot
from solvent.messages.commands import Heartbeat
from tests.conftest import ROOT
from tests.past import past

COMMANDS = ROOT / "examples" / "commands.jsonl"
MOMENT = 1_782_813_600_000
"""The generated market's, and of the examples."""


class Done(NamedTuple):
    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out, parse_constant=pytest.fail)


Run = Callable[..., Done]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["solvent", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as left:
            code = int(left.code or 0)
        seen = capsys.readouterr()
        return Done(code, seen.out, seen.err)

    return call


@pytest.fixture(scope="session")
def market_file(tmp_path_factory: pytest.TempPathFactory, snapshot: Snapshot) -> Path:
    path = tmp_path_factory.mktemp("market") / "market.csv"
    write_market(snapshot, path)
    return path


@pytest.fixture
def venue(run: Run, market_file: Path, tmp_path: Path) -> Path:
    """A venue on which the examples have been applied."""
    where = tmp_path / "venue"
    assert run("init", where, "--market", market_file).code == 0
    assert run("apply", where, COMMANDS).code == 0
    return where


def lines(path: Path, *told: object) -> Path:
    path.write_text("".join(f"{json.dumps(one)}\n" for one in told), "utf-8")
    return path


def deposit(key: str, **more: object) -> dict[str, object]:
    return {"do": "deposit", "key": key, "actor": "t", "account": "alice", "asset": "USDC",
            "amount": 5, "time_ms": MOMENT + 20_000, **more}  # fmt: skip


def test_init_makes_a_working_venue(run: Run, market_file: Path, tmp_path: Path) -> None:
    where = tmp_path / "venue"
    mine = tmp_path / "mine.toml"
    from solvent.feeds.library import rulebook_source

    mine.write_text(rulebook_source("deribit-sm"), "utf-8")
    made = run("init", where, "--market", market_file, "--rulebook", "deribit-pm",
               "--rulebook", f"own={mine}", "--json").json()  # fmt: skip
    assert made["rulebooks"] == ["deribit-pm", "own"]
    assert made["instruments"] > 100
    assert MOMENT - 5_000 <= made["as_of_ms"] <= MOMENT
    with Engine.open(where) as engine:
        assert engine.state.venue_rulebook == "deribit-pm"
        assert all(rules.arrays is not None for rules in engine.state.rules.values())
        assert engine.hash() == made["state_hash"]
    again = run("init", where)
    assert (again.code, again.err.count("\n")) == (2, 1)
    assert "expected no journal" in again.err


def test_init_says_what_to_do_next(run: Run, tmp_path: Path) -> None:
    made = run("init", tmp_path / "venue", "--generate", "--seed", 2)
    assert made.code == 0, made.err
    for word in ("instruments are listed", "solvent apply", "solvent publish", "solvent audit"):
        assert word in made.out
    empty = run("init", tmp_path / "empty")
    assert "It is empty" in empty.out
    assert run("init", tmp_path / "x", "--generate", "--market", "m.csv").code == 2


def test_init_makes_nothing_that_is_not_whole(run: Run, tmp_path: Path) -> None:
    where = tmp_path / "venue"
    for wrong in (("--rulebook", "nope"), ("--market", tmp_path / "none.csv"),
                  ("--rulebook", "bad name=deribit-pm")):  # fmt: skip
        done = run("init", where, *wrong)
        assert (done.code, done.err.count("\n")) == (2, 1), done.err
        assert not where.exists()
    assert run("init", "mysql://x/y").code == 2


def test_apply_answers(run: Run, market_file: Path, tmp_path: Path) -> None:
    where = tmp_path / "venue"
    run("init", where, "--market", market_file)
    first = run("apply", where, COMMANDS, "--json").json()
    assert (first["accepted"], first["rejected"], first["repeated"]) == (12, 1, 1)
    assert first["by_code"] == {"MARGIN_INSUFFICIENT": {"request_withdrawal": 1}}
    assert first["by_type"]["trade"] == {"accepted": 3}
    refused = next(one for one in first["answers"] if one["result"] == "rejected")
    assert refused["events"][0]["event"] == "rejected"
    repeated = first["answers"][-1]
    assert repeated["result"] == "repeated"
    paid = next(one for one in first["answers"] if one["key"] == "pay-alice")
    assert (repeated["sequence"], repeated["events"]) == (paid["sequence"], paid["events"])
    # All of it again, in other batches: nothing new happens.
    again = run("apply", where, COMMANDS, "--batch", 3, "--json").json()
    assert (again["accepted"], again["rejected"], again["repeated"]) == (0, 0, 14)
    assert again["state_hash"] == first["state_hash"]
    text = run("apply", where, COMMANDS)
    assert "0 accepted, 0 rejected, 14 repeated, 0 malformed" in text.out


def test_malformed_lines_do_not_stop_the_others(run: Run, venue: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_bytes(
        b"\n".join(
            (
                json.dumps(deposit("good")).encode(), b"", b"{not json", b"[1]", b"\xff\xfe",
                json.dumps(deposit("x", amount=1.5)).encode(),
                json.dumps(deposit("y", time_ms=-1)).encode(),
                json.dumps({"do": "dance", "key": "1", "actor": "a"}).encode(),
                json.dumps(deposit("last")).encode(),
            )
        )
    )  # fmt: skip
    done = run("apply", venue, bad, "--json")
    assert done.code == 1
    document = done.json()
    assert document["accepted"] == 2
    told = {one["line"]: one for one in document["malformed"]}
    assert sorted(told) == [3, 4, 5, 6, 7, 8]
    assert (told[6]["field"], told[6]["expected"], told[6]["found"]) == ("amount", "`int`",
                                                                         "`float`")  # fmt: skip
    assert told[7]["code"] == "TIME_INVALID"
    assert told[8]["code"] == "COMMAND_MALFORMED"
    text = run("apply", venue, bad)
    assert text.code == 1
    assert f"malformed: {bad} (line 6), field 'amount'" in text.err.replace(", row", "")
    strict = run("apply", venue, lines(tmp_path / "s.jsonl", deposit("new"), {"do": "x"}),
                 "--strict")  # fmt: skip
    assert strict.code == 2
    assert strict.err.splitlines()[-1].endswith("nothing was applied")
    with Engine.open(venue) as engine:
        assert engine.state.log.sequence == document["sequence"]


def test_apply_from_stdin_stops_when_told(
    run: Run, venue: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = [deposit("1"), deposit("2", account="nobody"), deposit("3")]
    text = "".join(f"{json.dumps(one)}\n" for one in told).encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
    done = run("apply", venue, "-", "--stop-on-reject", "--json")
    assert done.code == 1
    assert [one["result"] for one in done.json()["answers"]] == ["accepted", "rejected"]
    assert done.json()["stopped_at"] == "-, line 2"


def test_time_can_be_held(run: Run, venue: Path, tmp_path: Path) -> None:
    """Arrays of a market that is past are too old for a trade now, and good for one then."""
    trade = {"do": "trade", "key": "late", "actor": "m", "buyer": "bob", "seller": "alice",
             "symbol": "ETH_USDC-PERPETUAL", "lots": 1, "price_ticks": 37_000,
             "aggressor": None}  # fmt: skip
    held = run("apply", venue, lines(tmp_path / "1.jsonl", trade), "--hold-time", "--json").json()
    assert held["accepted"] == 1
    later = {**trade, "key": "later", "time_ms": MOMENT + 90_000}
    done = run("apply", venue, lines(tmp_path / "2.jsonl", later))
    assert "RISK_UNKNOWN" in done.out
    assert "--hold-time" in done.err


def test_publish_makes_it_known_again(run: Run, venue: Path, tmp_path: Path) -> None:
    from datetime import timedelta

    from solvent.feeds.synthetic_market import DEFAULT_MOMENT, generate_market

    later = generate_market(
        seed=12, expiries=6, strikes=12, moment=DEFAULT_MOMENT + timedelta(minutes=5)
    )
    write_market(later, tmp_path / "later.csv")
    done = run("publish", venue, "--market", tmp_path / "later.csv", "--json")
    assert done.code == 0, done.err
    as_of_ms = done.json()["as_of_ms"]
    assert 0 <= MOMENT + 300_000 - as_of_ms < 5_000
    state = run("state", venue, "--json").json()
    assert state["rulebooks"][0]["arrays_as_of_ms"] == as_of_ms
    assert state["standings"] == {"healthy": 2}
    assert run("publish", venue, "--market", tmp_path / "none.csv").code == 2


def test_state_of_an_account(run: Run, venue: Path) -> None:
    alice = run("state", venue, "--account", "alice", "--json").json()
    assert alice["status"] == "open"
    stands = alice["standing"]
    assert stands["status"] == "healthy"
    assert stands["available"] == pytest.approx(stands["equity"] - stands["initial"], abs=1e-5)
    assert stands["health"] == pytest.approx(stands["equity"] - stands["maintenance"], abs=1e-5)
    perpetual = next(one for one in alice["positions"] if "PERPETUAL" in one["instrument"])
    assert (perpetual["lots"], perpetual["entry_price"]) == (6_000, 64_435.0)
    assert perpetual["realised"] == 6.0
    expected = (perpetual["mark"] - 64_435.0) * 0.6
    assert perpetual["unrealised"] == pytest.approx(expected, abs=1e-5)
    assert alice["orders"][0]["price"] == 1_900.0
    # 20,000 in, 990 of premium and 1,000 out, 6 gained.
    assert alice["balances"] == [
        {"slot": "general", "instrument": None, "asset": "USDC", "amount": 18_016.0,
         "units": 18_016_000_000},
    ]  # fmt: skip
    bob = run("state", venue, "--account", "bob", "--json").json()
    assert bob["pending"] == [
        {"reference": "chain-1", "asset": "BTC", "units": 250_000_000, "amount": 0.25,
         "direction": "in"},
    ]  # fmt: skip
    text = run("state", venue, "--account", "alice").out
    for word in ("healthy", "BTC_USDC-PERPETUAL", "entry price", "64,435", "o-1"):
        assert word in text
    insurance = run("state", venue, "--account", "insurance", "--json").json()
    assert insurance["standing"]["status"] == "none"
    nobody = run("state", venue, "--account", "nobody")
    assert (nobody.code, nobody.err.count("\n")) == (2, 1)
    assert "--account" in nobody.err


def test_entry_price_of_an_inverse_future(run: Run, venue: Path, tmp_path: Path) -> None:
    told = [
        deposit("coin", asset="BTC", amount=10**9),
        {"do": "trade", "key": "inverse", "actor": "m", "buyer": "alice", "seller": "bob",
         "symbol": "BTC-PERPETUAL", "lots": 100, "price_ticks": 120_000, "aggressor": None,
         "time_ms": MOMENT + 21_000},
    ]  # fmt: skip
    assert run("apply", venue, lines(tmp_path / "i.jsonl", *told), "--json").json()["accepted"] == 2
    alice = run("state", venue, "--account", "alice", "--json").json()
    held = next(one for one in alice["positions"] if one["instrument"] == "BTC-PERPETUAL")
    assert held["entry_price"] == pytest.approx(60_000, rel=1e-9)
    gain = 1_000 * (1 / 60_000 - 1 / held["mark"])
    assert held["unrealised"] == pytest.approx(gain, abs=1e-9)


def test_state_of_the_venue_and_audit(run: Run, venue: Path) -> None:
    document = run("state", venue, "--json").json()
    assert document["accounts"] == {"open": 2}
    assert document["positions"] == 4
    assert {one["asset"]: one["insurance"] for one in document["money"]}["USDC"] == 1_000_000
    assert "standing: 2 healthy" in run("state", venue).out
    audit = run("audit", venue, "--json")
    assert audit.code == 0
    assert audit.json()["violations"] == []
    assert {one["sum"] for one in audit.json()["assets"]} == {0}
    assert "0 violations" in run("audit", venue).out


def test_audit_finds_what_does_not_hold(
    run: Run, venue: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import solvent.host

    honest = solvent.recovery.recovered

    def wrong(*arguments: Any, **more: Any) -> Any:
        state = honest(*arguments, **more)
        which = next(iter(state.ledger.balances))
        state.ledger.balances[which] += 1
        return state

    monkeypatch.setattr(solvent.recovery, "recovered", wrong)
    done = run("audit", venue)
    assert done.code == 1
    assert "violated" in done.out
    assert "expected a sum of 0, found 1" in done.out


def test_journal_ls(run: Run, venue: Path) -> None:
    def rows(*filters: object) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = run("journal", "ls", venue, "--json", *filters).json()["rows"]
        return found

    trades = rows("--kind", "trade")
    assert [one["key"] for one in trades] == ["t-1", "t-2", "t-3"]
    assert trades[0]["time"] == "2026-06-30 10:00:06.000"
    assert [one["result"] for one in rows("--rejected")] == ["MARGIN_INSUFFICIENT"]
    mine = [one["kind"] for one in rows("--account", "alice")]
    assert (mine[0], len(mine), mine.count("trade")) == ("open_account", 9, 3)
    # Its money left by a command that does not name it.
    assert "confirm_withdrawal" in mine
    assert [one["key"] for one in rows("--account", "insurance")] == ["fund"]
    first = trades[0]["sequence"]
    assert [one["key"] for one in rows("--from", first, "--to", first + 1)] == ["t-1", "t-2"]
    span = rows("--from", "2026-06-30T10:00:06", "--to", "2026-06-30T12:00:07+02:00")
    assert [one["key"] for one in span] == ["t-1", "t-2"]
    assert rows("--account", "nobody") == []
    assert len(rows("--limit", 3)) == 3
    assert len(rows("--limit", 0)) > 400
    assert "the first 50" in run("journal", "ls", venue).out
    assert run("journal", "ls", venue, "--from", "soon").code == 2


def test_journal_show(run: Run, venue: Path) -> None:
    (withdrawn,) = run("journal", "ls", venue, "--kind", "confirm_withdrawal", "--json").json()[
        "rows"
    ]
    shown = run("journal", "show", venue, withdrawn["sequence"], "--json").json()
    moves = [one for event in shown["events"] for one in event.get("moves", ())]
    assert moves == [
        {"from": "alice outgoing USDC", "to": "external general USDC", "amount": 1_000_000_000}
    ]
    trade = run("journal", "ls", venue, "--kind", "trade", "--json").json()["rows"][0]
    text = run("journal", "show", venue, trade["sequence"]).out
    assert "position_changed: account alice, instrument BTC_USDC-PERPETUAL, lots 10,000" in text
    refused = run("journal", "ls", venue, "--rejected", "--json").json()["rows"][0]
    assert "code MARGIN_INSUFFICIENT" in run("journal", "show", venue, refused["sequence"]).out
    arrays = run("journal", "ls", venue, "--kind", "publish_arrays", "--json").json()["rows"][0]
    told = run("journal", "show", venue, arrays["sequence"], "--json").json()["command"]["arrays"]
    assert told.endswith(" bytes")
    beyond = run("journal", "show", venue, 10**6)
    assert (beyond.code, beyond.err.count("\n")) == (2, 1)


def test_journal_verify_out_and_in(run: Run, venue: Path, tmp_path: Path) -> None:
    whole = run("journal", "verify", venue, "--json").json()
    assert whole["rows"] > 400
    assert whole["chain"] in run("journal", "verify", venue).out
    file = tmp_path / "rows.parquet"
    assert run("journal", "export", venue, file, "--json").json()["rows"] == whole["rows"]
    assert "written" in run("journal", "export", venue, file).out
    copy = tmp_path / "copy"
    assert run("journal", "import", file, copy, "--json").json()["chain"] == whole["chain"]
    assert whole["chain"] in run("journal", "import", file, tmp_path / "copy2").out
    assert run("state", copy, "--json").json() == run("state", venue, "--json").json()
    damaged = bytearray(file.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    file.write_bytes(damaged)
    bad = run("journal", "import", file, tmp_path / "bad")
    assert (bad.code, bad.err.count("\n")) == (2, 1)
    assert not (tmp_path / "bad").exists()


def test_replay(run: Run, venue: Path, tmp_path: Path) -> None:
    same = run("replay", venue, "--json").json()
    assert same["same"]
    assert same["state_hash"] == run("state", venue, "--json").json()["state_hash"]
    assert "came out as recorded" in run("replay", venue).out
    report = tmp_path / "report.html"
    other = run("replay", venue, "--rulebook", "deribit-sm", "--out", report)
    assert other.code == 0, other.err
    for word in ("below maintenance", "as recorded", "only deribit-sm", "nobody began", "written"):
        assert word in other.out
    assert report.stat().st_size > 100_000
    document = run("replay", venue, "--rulebook", "deribit-pm", "--json").json()
    assert document["identical"]
    assert "no difference" in run("replay", venue, "--rulebook", "deribit-pm").out
    assert run("replay", venue, "--rulebook", "nope").code == 2


def test_a_rulebook_that_learns_is_published_and_replayed(
    run: Run, market_file: Path, snapshot: Snapshot, tmp_path: Path
) -> None:
    where, told = tmp_path / "learned", tmp_path / "past.csv"
    write_history(past(snapshot), told)
    market = ("--market", market_file, "--history", told)
    made = run("init", where, *market, "--rulebook", "fhs")
    assert made.code == 0, made.err
    again = run("publish", where, *market, "--json")
    assert again.code == 0, again.err
    assert again.json()["rulebooks"] == ["fhs"]
    assert run("apply", where, COMMANDS).code in (0, 1)
    # An engine and a replay need no history: the scenarios are in the published arrays.
    assert run("replay", where, "--json").json()["same"]
    missing = run("publish", where, "--market", market_file)
    assert (missing.code, missing.err.count("\n")) == (2, 1)
    assert "--history FILE" in missing.err


def test_a_history_under_a_rulebook_that_learns(
    run: Run, venue: Path, snapshot: Snapshot, tmp_path: Path
) -> None:
    told = tmp_path / "past.csv"
    write_history(past(snapshot), told)
    found = run("replay", venue, "--rulebook", "fhs", "--history", told, "--json")
    assert found.code == 0, found.err
    moments = found.json()["moments"]
    recorded, other = moments["end"]
    assert 0 < other["initial_micro"] != recorded["initial_micro"]
    missing = run("replay", venue, "--rulebook", "fhs")
    assert missing.code == 2
    assert "--history FILE" in missing.err


def test_replay_tells_where_it_diverged(run: Run, venue: Path, tmp_path: Path) -> None:
    from tests.test_counterfactual import forged

    at = forged(venue, tmp_path / "forged")
    done = run("replay", tmp_path / "forged")
    assert done.code == 1
    assert f"diverged: command {at} (deposit)" in done.err
    told = run("replay", tmp_path / "forged", "--json")
    assert (told.code, told.json()["sequence"]) == (1, at)


def test_generate_history(run: Run, tmp_path: Path) -> None:
    where = tmp_path / "crash"
    made = run("generate", "history", where, "--accounts", 4, "--seed", 7)
    assert made.code == 0, made.err
    assert "the index fell to 55 %" in made.out
    assert run("journal", "ls", where, "--kind", "publish_arrays", "--limit", 0, "--json").json()[
        "rows"
    ][-1]["result"] == "accepted"  # fmt: skip
    assert run("generate", "history").code == 2
    assert run("generate", "market").code == 2


def test_what_is_not_there_is_one_line(run: Run, tmp_path: Path) -> None:
    nothing = tmp_path / "nothing"
    for words in (("state",), ("audit",), ("replay",), ("journal", "ls"), ("journal", "verify"),
                  ("apply",)):  # fmt: skip
        more = (COMMANDS,) if words == ("apply",) else ()
        done = run(*words, nothing, *more)
        assert (done.code, done.err.count("\n")) == (2, 1), (words, done.err)
        assert "nothing" in done.err


def test_a_second_writer_is_refused_and_readers_are_not(run: Run, venue: Path) -> None:
    with Engine.open(venue) as engine:
        engine.submit(Heartbeat(key="beat", actor="test"))
        busy = run("apply", venue, COMMANDS)
        assert (busy.code, busy.err.count("\n")) == (2, 1)
        sequence = engine.state.log.sequence
        assert run("state", venue, "--json").json()["commands"] == sequence
        assert run("audit", venue).code == 0


def test_as_a_process(market_file: Path, tmp_path: Path) -> None:
    """Once as it is installed, pipes and all."""
    command = [sys.executable, "-c", "from solvent.cli import main; main()"]
    where = str(tmp_path / "venue")
    subprocess.run([*command, "init", where, "--market", str(market_file)], check=True,
                   capture_output=True)  # fmt: skip
    done = subprocess.run(
        [*command, "apply", where, "-", "--json"], input=COMMANDS.read_bytes(), check=True,
        capture_output=True,
    )  # fmt: skip
    assert json.loads(done.stdout)["accepted"] == 12
    assert done.stderr == b""
