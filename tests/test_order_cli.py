"""`solvent order` as a user meets it, and the session that docs/orders.md tells."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from solvent.cli.order_text import duration_ms, in_words, listed
from solvent.errors import Reject
from solvent.feeds.write import write_market
from solvent.host import Engine
from solvent.market import Snapshot
from solvent.market.moved import moved
from solvent.refusal_text import readable
from tests.conftest import ROOT
from tests.test_engine_cli import COMMANDS, MOMENT, Done, Run, run

__all__ = ["run"]

PERPETUAL, ETHER = "BTC_USDC-PERPETUAL", "ETH_USDC-PERPETUAL"
LAST = MOMENT + 13_000
"""The time of the last example."""
PAGE = ROOT / "docs" / "orders.md"


@pytest.fixture(scope="module")
def founded(tmp_path_factory: pytest.TempPathFactory, snapshot: Snapshot) -> Path:
    """A venue on which the examples have been applied."""
    from solvent.cli import app

    folder = tmp_path_factory.mktemp("orders")
    write_market(snapshot, folder / "market.csv")
    for words in (("init", folder / "venue", "--market", folder / "market.csv"),
                  ("apply", folder / "venue", COMMANDS)):  # fmt: skip
        with contextlib.redirect_stdout(io.StringIO()):
            app([str(word) for word in words], standalone_mode=False)
    with Engine.open(folder / "venue") as engine:
        engine.snapshot()
    return folder / "venue"


@pytest.fixture
def venue(founded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, at whose time everything happens."""
    monkeypatch.setenv("SOLVENT_HOLD_TIME", "1")
    return Path(shutil.copytree(founded, tmp_path / "venue"))


@pytest.fixture
def place(run: Run, venue: Path) -> Any:
    def call(account: str, side: str, size: str, *more: object, symbol: str = PERPETUAL) -> Done:
        return run("order", "place", venue, "--account", account, "--symbol", symbol, "--side",
                   side, "--size", size, *more)  # fmt: skip

    return call


def one_line(done: Done, code: int) -> str:
    """What a command that was not done says: one line on stderr, nothing on stdout."""
    assert (done.code, done.out, done.err.count("\n")) == (code, "", 1), done
    return done.err.strip()


# ── the page ─────────────────────────────────────────────────────────────────────────────────────


def blocks(language: str) -> list[str]:
    found: list[str] = re.findall(
        rf"```{language}\n(.*?)```", PAGE.read_text("utf-8"), flags=re.DOTALL
    )
    return found


def session() -> Iterator[tuple[str, list[str]]]:
    """Every command of the page, and what it printed."""
    for block in blocks("console"):
        told = block.replace("\\\n", "")
        for part in re.split(r"^\$ ", told, flags=re.MULTILINE)[1:]:
            command, *printed = part.rstrip("\n").split("\n")
            yield command, printed


def test_the_session_of_the_page(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command prints what the page says, and then its Python does."""
    (tmp_path / "examples").mkdir()
    shutil.copy(COMMANDS, tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    seen: list[str] = []
    for command, printed in session():
        words = command.split()
        if words[0] == "export":
            monkeypatch.setenv(*words[1].split("=", 1))
            continue
        assert words.pop(0) == "solvent"
        done = run(*words)
        kind = printed[0].split(":")[0] if printed else ""
        assert done.code == {"rejected": 1, "error": 2}.get(kind, 0), done.err
        if printed != ["…"]:
            got = [line.rstrip() for line in (done.out + done.err).splitlines()]
            assert got == printed, command
        seen.append(words[1] if words[0] == "order" else words[0])
        if words[0] in ("apply", "publish"):
            with Engine.open(words[1]) as engine:
                engine.snapshot()  # so that the others start sooner
    assert {"place", "amend", "protect", "relief", "cancel", "book", "ls"} <= set(seen)
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(blocks("python")[0], {})
    assert out.getvalue() == blocks("text")[0]


def test_the_readme_names_every_order_command() -> None:
    from solvent.cli.order import app

    text = (ROOT / "README.md").read_text("utf-8")
    names = {str(command.name) for command in app.registered_commands}
    assert names == {"place", "amend", "cancel", "ls", "book", "relief", "protect", "block",
                     "combo", "phase", "markout"}  # fmt: skip
    assert {name for name in names if f"solvent order {name}" not in text} == set()


def test_the_page_tells_every_option_of_an_order() -> None:
    from typer.main import get_command

    from solvent.cli.order import app
    from solvent.order_entry import OrderEntry, OrderType

    text = PAGE.read_text("utf-8")
    group: Any = get_command(app)
    options = {one.opts[0] for one in group.commands["place"].params if one.opts[0][0] == "-"}
    usual = {"--account", "--symbol", "--actor", "--json"}
    assert {one for one in options - usual if f"`{one}`" not in text} == set()
    for one in OrderType:
        assert f"`{one}`" in text
    public = {name for name in vars(OrderEntry) if not name.startswith("_")} - {"state", "submit"}
    assert {name for name in public if f"`{name}`" not in text} <= {
        "place", "orders", "impact", "cancel_all",
    }  # fmt: skip


# ── placing ──────────────────────────────────────────────────────────────────────────────────────


def test_place_as_a_document(place: Any, venue: Path) -> None:
    quote = place("bob", "sell", "0.3", "--price", "64500", "--order", "q", "--json").json()
    assert quote == {
        "accepted": True, "sequence": quote["sequence"], "repeated": False, "code": None,
        "detail": None, "account": "bob", "order": "q", "symbol": PERPETUAL, "side": "sell",
        "status": "resting", "why": None, "filled": "0", "left": "0.3", "average": None,
        "fills": [], "events": quote["events"],
    }  # fmt: skip
    assert [event["event"] for event in quote["events"]] == ["order_rested"]
    taken = place("alice", "buy", "0.1", "--type", "market", "--key", "k", "--json").json()
    assert taken["order"] == "k"
    assert (taken["status"], taken["filled"], taken["average"]) == ("filled", "0.1", "64500")
    assert taken["fills"] == [
        {"price": "64500", "size": "0.1", "role": "taker", "account": "bob", "order": "q"}
    ]
    again = place("alice", "buy", "0.1", "--type", "market", "--key", "k", "--json").json()
    assert again == {**taken, "repeated": True}
    refused = place("alice", "buy", "50", "--price", "64000", "--json")
    assert refused.code == 1
    assert (refused.json()["accepted"], refused.json()["code"]) == (False, "MARGIN_INSUFFICIENT")
    assert refused.json()["detail"].startswith("account alice: expected equity")
    with Engine.open(venue) as engine:
        assert engine.state.log.time_ms == LAST


def test_place_in_words(place: Any) -> None:
    def said(*told: object) -> list[str]:
        done: Done = place(*told)
        assert done.code == 0, done.err
        return done.out.splitlines()

    assert said("bob", "sell", "0.1", "--price", "64500", "--order", "q1") == [
        "q1 of bob: sell 0.1 BTC_USDC-PERPETUAL at 64,500 rests"
    ]
    assert said("bob", "sell", "1", "--price", "64501", "--order", "q2", "--display", "0.2") == [
        "q2 of bob: sell 1 BTC_USDC-PERPETUAL at 64,501 rests, 0.2 of it shown"
    ]
    assert said("alice", "buy", "0.2", "--price", "64501", "--order", "a1") == [
        "a1 of alice: bought 0.2 BTC_USDC-PERPETUAL at 64,500.5 on average"
    ]
    assert said("alice", "buy", "0.01", "--price", "64500", "--tif", "ioc", "--order", "a2") == [
        "a2 of alice: 0.01 BTC_USDC-PERPETUAL ended: immediate"
    ]
    assert said("alice", "sell", "0.01", "--type", "stop-limit", "--stop-price", "60000",
                "--stop-trigger", "last", "--price", "59000", "--order", "s1") == [
        "s1 of alice: sell 0.01 BTC_USDC-PERPETUAL at 59,000 waits for last ≤ 60,000"
    ]  # fmt: skip
    assert said("bob", "buy", "0.01", "--price", "64600", "--self-trade", "oldest",
                "--order", "b1") == [
        "b1 of bob: buy 0.01 BTC_USDC-PERPETUAL at 64,600 rests",
        "gone: q2 of bob (self_trade)",
    ]  # fmt: skip
    # The trade at 59,990 sets the stop off, which finds a bid.
    assert said("bob", "sell", "0.01", "--price", "59990", "--order", "b2", "--self-trade",
                "oldest")[1:] == ["gone: b1 of bob (self_trade)"]  # fmt: skip
    assert said("alice", "buy", "0.01", "--price", "59990", "--order", "a3") == [
        "a3 of alice: bought 0.01 BTC_USDC-PERPETUAL at 59,990",
        "triggered: s1 of alice",
    ]


def test_a_request_that_is_repeated(place: Any, run: Run, venue: Path) -> None:
    first = place("alice", "buy", "0.01", "--price", "60000", "--key", "k")
    assert first.out == "k of alice: buy 0.01 BTC_USDC-PERPETUAL at 60,000 rests\n"
    assert run("order", "cancel", venue, "--account", "alice", "--order", "k").code == 0
    again = place("alice", "buy", "0.01", "--price", "60000", "--key", "k")
    assert again.code == 0
    assert again.out.splitlines()[0] == "k of alice: 0.01 BTC_USDC-PERPETUAL resting"
    assert re.fullmatch(r"answered before, as command \d,?\d*", again.out.splitlines()[1])
    other = one_line(place("alice", "buy", "0.02", "--price", "60000", "--key", "k"), 1)
    assert re.fullmatch(
        r"rejected: key 'k' of alice: expected the request of command \d+, found another "
        r"\[KEY_REUSED\]", other,
    )  # fmt: skip


def test_what_is_no_order_is_an_error_and_no_command(place: Any, run: Run, venue: Path) -> None:
    before = run("state", venue, "--json").json()["commands"]
    for told, message in (
        (("0.00001", "--price", "64000"), "expected a multiple of 0.0001, found 0.00001"),
        (("0.1", "--price", "64000.1"), "expected a multiple of 0.5, found 64000.1"),
        (("0.1",), "expected a price, or the type market, found neither"),
        (("0.1", "--price", "x"), "field 'price': expected a decimal in text"),
        (("0.1", "--price", "1", "--tif", "day"), "field 'time_in_force': expected one of gtc"),
        (("0.1", "--type", "stop"), "field 'stop_price': expected one of a stop order, found none"),
    ):
        line = one_line(place("alice", "buy", *told), 2)
        assert line.startswith("error: order o")
        assert message in line
    assert "INSTRUMENT_UNKNOWN" in one_line(
        place("alice", "buy", "1", "--price", "1", symbol="BTC"), 2
    )
    for expire in ("soon", "2026-13-01"):
        done = place("alice", "buy", "0.1", "--price", "64000", "--expire", expire)
        assert (done.code, f"found {expire!r}" in done.err) == (2, True)
    assert run("state", venue, "--json").json()["commands"] == before


REFUSED: list[tuple[str, str, str, str, str]] = [
    ("buy", "1", "--price 64500 --post-only", "a price that meets no order, found 64,500",
     "POST_ONLY_CROSSES"),
    ("buy", "1", "--price -0.5", "a price above zero, found -0.5", "PRICE_NOT_POSITIVE"),
    ("buy", "0.1", "--type stop --stop-price 100",
     "a trigger that the mark has not reached, found 100", "STOP_TRIGGERS_AT_ONCE"),
    ("buy", "0.1", "--type stop --stop-price 100.25 --stop-trigger index",
     "a trigger that the index has not reached, found 100.25", "STOP_TRIGGERS_AT_ONCE"),
    ("buy", "1", "--price 60000 --expire 2026-06-30T10:00:13",
     "a time of expiry after 2026-06-30 10:00:13, found 2026-06-30 10:00:13", "ORDER_EXPIRED"),
    ("buy", "1", "--price 60000 --display 2",
     "a multiple of 0.0001 to display, 1 at most, found 2", "ORDER_TERMS_INVALID"),
    ("buy", "0.2", "--price 65000 --tif fok", "0.2 within its price, found fewer",
     "ORDER_UNFILLABLE"),
]  # fmt: skip


def test_refusals_in_words(place: Any, run: Run, venue: Path) -> None:
    place("bob", "sell", "0.1", "--price", "64500", "--order", "q")
    for side, size, words, expected, code in REFUSED:
        line = one_line(place("alice", side, size, *words.split(), "--order", "x"), 1)
        assert line == f"rejected: order 'x' of account alice: expected {expected} [{code}]"
    taken = one_line(place("bob", "sell", "0.1", "--price", "64000", "--order", "q"), 1)
    assert taken.endswith("a name that is free, found an order of that name at rest "
                          "[ORDER_DUPLICATED]")  # fmt: skip
    nobody = one_line(place("nobody", "buy", "1", "--price", "60000"), 1)
    assert nobody == "rejected: account 'nobody': expected one that is open [ACCOUNT_UNKNOWN]"
    run("order", "phase", venue, "halted", "--symbol", PERPETUAL)
    halted = one_line(place("alice", "buy", "1", "--price", "60000", "--order", "x"), 1)
    assert halted == (
        f"rejected: instrument {PERPETUAL}: expected trading, found it halted [INSTRUMENT_HALTED]"
    )


TOLD: list[tuple[Reject, str, str]] = [
    (Reject.LOTS_OFF_STEP, "a multiple of 5 lots, found 12", "a multiple of 0.0005, found 0.0012"),
    (Reject.PRICE_OUT_OF_BAND, "at most 132000 ticks, found 140001",
     "at most 66,000, found 70,000.5"),
    (Reject.AMEND_BELOW_FILLED, "more than the 500 lots that are filled, found 400",
     "more than the 0.05 that are filled, found 0.04"),
    (Reject.CAPACITY_REACHED, "fewer than 10000 others, found 10000",
     "fewer than 10000 others, found 10000"),
    (Reject.MARGIN_INSUFFICIENT, "equity of at least 1500000 micro, found -2500000",
     "equity of at least 1.50 USD, found -2.50"),
    (Reject.PROTECTION_TRIPPED, "group 'g' to quote, found it frozen until 1782813618250",
     "group 'g' to quote, found it frozen until 2026-06-30 10:00:18.250"),
    (Reject.BLOCK_MISMATCHED, "-1000 lots at 126300 ticks, found 2000 at 126301",
     "-0.1 at 63,150, found 0.2 at 63,150.5"),
]  # fmt: skip


def test_refusals_that_name_numbers(founded: Path) -> None:
    """Names and units come in where they are meant, and nowhere else."""
    with Engine.open(founded) as engine:
        state = engine.state
        number = state.account_numbers["alice"]
        instrument = state.contract_numbers[PERPETUAL]
        for code, detail, expected in TOLD:
            told = readable(state, f"account {number}: expected {detail}", code, PERPETUAL)
            assert told == f"account alice: expected {expected}"
        halted = f"expected instrument {instrument} to trade"
        assert readable(state, halted, Reject.INSTRUMENT_HALTED) == f"expected {PERPETUAL} to trade"
        unknown = "account 999999: expected instrument 999999, not 5 lots"
        assert readable(state, unknown, Reject.ORDER_TOO_SMALL) == unknown


def test_arrays_that_have_aged_are_named(
    place: Any, run: Run, venue: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SOLVENT_HOLD_TIME")
    done = place("alice", "buy", "0.1", "--price", "64000")
    assert done.code == 1
    refusal, note = done.err.splitlines()
    assert refusal.endswith("[RISK_UNKNOWN]")
    assert "--hold-time" in note
    line = one_line(run("order", "relief", venue, "--account", "alice"), 2)
    assert line == (
        "error: account alice: expected known risk, found none by deribit-pm [RISK_UNKNOWN]"
    )


# ── amending, cancelling, listing ────────────────────────────────────────────────────────────────


def test_amend_cancel_and_list(place: Any, run: Run, venue: Path) -> None:
    assert run("order", "cancel", venue, "--account", "alice", "--order", "o-1").out == (
        "1 taken back: o-1 of alice\n"
    )
    assert run("order", "ls", venue).out == "no orders\n"
    place("alice", "buy", "0.2", "--price", "60000", "--order", "a", "--session", "s")
    place("alice", "sell", "0.2", "--price", "70000", "--order", "b", "--reduce-only",
          "--expire", "2026-07-01")  # fmt: skip
    place("bob", "buy", "0.4", "--price", "1800", "--order", "c", symbol=ETHER)
    amended = run("order", "amend", venue, "--account", "alice", "--order", "a", "--price",
                  "61000", "--size", "0.1")  # fmt: skip
    assert amended.out == "a of alice: buy 0.1 BTC_USDC-PERPETUAL at 61,000 rests\n"
    document = run("order", "amend", venue, "--account", "alice", "--order", "a", "--size",
                   "0.05", "--json").json()  # fmt: skip
    assert (document["status"], document["left"]) == ("resting", "0.05")
    rows = [line.split() for line in run("order", "ls", venue).out.splitlines()]
    assert rows == [
        ["account", "order", "instrument", "side", "size", "price", "terms", "session"],
        ["alice", "b", PERPETUAL, "sell", "0.2", "70,000", "until", "2026-07-01", "00:00:00,",
         "reduce-only"],
        ["alice", "a", PERPETUAL, "buy", "0.05", "61,000", "s"],
        ["bob", "c", ETHER, "buy", "0.4", "1,800"],
    ]  # fmt: skip
    (one,) = run("order", "ls", venue, "--account", "bob", "--json").json()["orders"]
    assert (one["order"], one["size"], one["price"], one["lots"]) == ("c", "0.4", "1800", 400)
    assert run("order", "ls", venue, "--symbol", ETHER, "--json").json()["orders"] == [one]
    assert "ACCOUNT_UNKNOWN" in one_line(run("order", "ls", venue, "--account", "x"), 2)
    gone = run("order", "cancel", venue, "--account", "alice", "--session", "s", "--json").json()
    assert gone["gone"] == [{"account": "alice", "order": "a", "why": "disconnected"}]
    every = run("order", "cancel", venue, "--all", "--side", "sell", "--underlying", "BTC")
    assert every.out == "1 taken back: b of alice\n"
    assert run("order", "cancel", venue, "--all", "--account", "alice").out == "0 taken back\n"
    unknown = one_line(run("order", "cancel", venue, "--account", "alice", "--order", "a"), 1)
    assert unknown == (
        "rejected: order 'a' of account alice: expected one that rests or waits [ORDER_UNKNOWN]"
    )
    missing = run("order", "amend", venue, "--account", "bob", "--order", "z", "--size", "1")
    assert one_line(missing, 1).endswith("[ORDER_UNKNOWN]")


@pytest.mark.parametrize(
    "words",
    [
        (), ("--order", "a"), ("--account", "alice"), ("--account", "alice", "--all", "--order",
        "a"), ("--account", "alice", "--order", "a", "--symbol", "x"), ("--session", "s"),
    ],
)  # fmt: skip
def test_cancel_asks_for_one_thing(run: Run, founded: Path, words: tuple[str, ...]) -> None:
    done = run("order", "cancel", founded, *words)
    assert done.code == 2
    assert "expected" in done.err


def test_many_names_are_cut() -> None:
    assert listed([]) == ""
    assert listed(["a", "b"]) == "a, b"
    names = [f"q{place}" for place in range(1_100)]
    assert listed(names).endswith("q10, q11 and 1,088 more")


# ── protection, relief ───────────────────────────────────────────────────────────────────────────


def test_protect(place: Any, run: Run, venue: Path) -> None:
    words = ("order", "protect", venue, "--account", "bob", "--group", "mm")
    assert run(*words, "--window", "0.5s", "--lots", "1000", "--delta", "0.25").out == (
        "group mm of bob: more than 1,000 lots or a delta of 0.25 within 500ms stop it until it is "
        "reset\n"
    )
    place("bob", "sell", "0.2", "--price", "64500", "--order", "q", "--group", "mm")
    taken = place("alice", "buy", "0.15", "--price", "64500", "--order", "a")
    assert taken.out.splitlines() == [
        "a of alice: bought 0.15 BTC_USDC-PERPETUAL at 64,500",
        "protection tripped: group mm of bob, until it is reset",
        "gone: q of bob (protection)",
    ]
    assert run(*words, "--reset").out == "group mm of bob may quote again\n"
    assert one_line(run(*words), 1).endswith("expected a limit of lots or delta "
                                             "[ORDER_TERMS_INVALID]")  # fmt: skip
    other = run("order", "protect", venue, "--account", "bob", "--group", "x", "--reset")
    assert one_line(other, 1).endswith("[PROTECTION_UNKNOWN]")
    for window in ("5", "1d", "0.0005s", "-1s"):
        done = run(*words, "--window", window, "--lots", "1")
        assert (done.code, "--window" in done.err) == (2, True)


def test_durations() -> None:
    assert [duration_ms(text, "--x") for text in ("5ms", "2s", "1.5m", "1h")] == [
        5, 2_000, 90_000, 3_600_000,
    ]  # fmt: skip
    assert [in_words(ms) for ms in (5, 2_000, 90_000, 3_600_000)] == ["5ms", "2s", "90s", "1h"]


def test_relief_of_who_has_margin(run: Run, venue: Path) -> None:
    words = ("order", "relief", venue, "--account", "alice")
    assert run(*words).out == "alice has its initial margin: nothing would be taken back\n"
    assert run(*words, "--json").json() == {"account": "alice", "short": False, "orders": []}
    assert one_line(run(*words, "--do"), 1).endswith("[ACCOUNT_NOT_SHORT_OF_MARGIN]")
    nobody = one_line(run("order", "relief", venue, "--account", "nobody"), 2)
    assert nobody.endswith("account 'nobody': expected one that is open, found none "
                           "[ACCOUNT_UNKNOWN]")  # fmt: skip


def test_relief_as_a_document(
    place: Any, run: Run, venue: Path, snapshot: Snapshot, tmp_path: Path
) -> None:
    """Everything falls by a tenth: alice's position alone leaves her short."""
    place("bob", "sell", "0.6", "--price", "64400")
    place("alice", "buy", "0.6", "--price", "64400")
    place("alice", "buy", "0.05", "--price", "60000", "--order", "a")
    write_market(moved(snapshot, {"BTC": 0.9, "ETH": 0.9}), tmp_path / "fallen.csv")
    assert run("publish", venue, "--market", tmp_path / "fallen.csv").code == 0
    words = ("order", "relief", venue, "--account", "bob")
    assert run(*words).out.startswith("bob has its initial margin")
    place("alice", "sell", "0.1", "--price", "70000", "--order", "b")
    words = ("order", "relief", venue, "--account", "alice")
    found = run(*words, "--json").json()
    assert (found["short"], found["before"]["available"] < 0) == (True, True)
    assert found["before"]["available"] == pytest.approx(
        found["before"]["equity"] - found["before"]["initial"]
    )
    assert [step["order"] for step in found["orders"]][:1] == ["a"]
    assert found["orders"][0]["symbol"] == PERPETUAL
    assert (found["orders"][0]["size"], found["orders"][0]["price"]) == ("0.05", "60000")
    assert found["orders"][-1]["available"] == pytest.approx(found["after"]["available"])
    assert "that is not enough" in run(*words).out
    done = run(*words, "--do", "--json").json()
    assert [one["order"] for one in done["gone"]] == [step["order"] for step in found["orders"]]
    assert {one["why"] for one in done["gone"]} == {"relief"}
    none = run(*words).out.splitlines()
    assert none[0].endswith("USD; there are no orders to take back")
    assert none[1:] == ["that is not enough: the rest is of positions"]


# ── blocks, combinations, phases ─────────────────────────────────────────────────────────────────


def test_blocks(run: Run, venue: Path) -> None:
    def report(account: str, other: str, side: str, price: str) -> Done:
        return run("order", "block", venue, "--account", account, "--counterparty", other,
                   "--reference", "b", "--symbol", PERPETUAL, "--side", side, "--size", "0.1",
                   "--price", price)  # fmt: skip

    assert report("alice", "bob", "sell", "64000").out == (
        "block b: reported by alice, waits for bob\n"
    )
    wrong = one_line(report("bob", "alice", "buy", "64001"), 1)
    assert wrong.startswith("rejected: block b: expected the other side of account alice's -0.1 at")
    assert wrong.endswith("account bob's 0.1 at 64,001 [BLOCK_MISMATCHED]")
    assert report("bob", "alice", "buy", "64000").out == "block b: done\n"
    report("alice", "bob", "sell", "64000")
    words = ("order", "block", venue, "--account", "alice", "--reference", "b")
    assert run(*words, "--withdraw", "--json").json()["status"] == "withdrawn"
    assert one_line(run(*words, "--withdraw"), 1).endswith("[REFERENCE_UNKNOWN]")
    for more in ((), ("--withdraw", "--price", "1"), ("--price", "1")):
        done = run(*words, *more)
        assert (done.code, "or --withdraw alone" in done.err.replace("\n", " ")) == (2, True)


def test_combinations(place: Any, run: Run, venue: Path) -> None:
    """They have a book, and their orders are seen where accounts and journals are shown."""
    with Engine.open(venue) as engine:
        listed = engine.state.contract_numbers
        future = next(name for name in listed if re.fullmatch(r"BTC_USDC-\d+[A-Z]{3}26", name))
    made = run("order", "combo", venue, "--symbol", "ROLL", "--leg", f"{future}=1", "--leg",
               f"{PERPETUAL}=-1", "--tick-size", "0.5")  # fmt: skip
    assert made.out == f"ROLL is listed: a lot of it buys 1 {future}, sells 1 {PERPETUAL}\n"
    place("bob", "sell", "0.01", "--price", "-3.5", "--order", "c", symbol="ROLL")
    state = run("state", venue, "--account", "bob", "--json").json()
    assert state["orders"] == [
        {"order": "c", "instrument": "ROLL", "side": "sell", "lots": 100, "size": 0.01,
         "price": -3.5, "stop": None}
    ]  # fmt: skip
    assert "ROLL" in run("state", venue, "--account", "bob").out
    (row,) = run("journal", "ls", venue, "--account", "bob", "--json", "--kind",
                 "place_order").json()["rows"]  # fmt: skip
    shown = run("journal", "show", venue, row["sequence"], "--json").json()
    assert shown["events"][0]["instrument"] == "ROLL"
    assert run("order", "book", venue, "ROLL", "--json").json()["asks"] == [
        {"price": "-3.5", "size": "0.01", "orders": 1}
    ]
    same = ("--leg", f"{future}=1", "--leg", f"{future}=-1")
    for legs in (("--leg", future), ("--leg", "=1"), ("--leg", f"{future}=x"), same):
        done = run("order", "combo", venue, "--symbol", "X", *legs, "--tick-size", "1")
        assert (done.code, "--leg" in done.err) == (2, True)


def test_a_stop_is_seen_in_an_account(place: Any, run: Run, venue: Path) -> None:
    place("alice", "sell", "0.1", "--type", "stop", "--stop-price", "60000", "--order", "s")
    shown = run("state", venue, "--account", "alice", "--json").json()["orders"][-1]
    assert (shown["order"], shown["price"], shown["stop"]) == ("s", None, "mark ≤ 60,000")


def test_an_auction(place: Any, run: Run, venue: Path) -> None:
    def phase(name: str) -> Done:
        return run("order", "phase", venue, name, "--symbol", PERPETUAL)

    assert phase("auction").out == f"{PERPETUAL}: auction\n"
    place("alice", "buy", "0.1", "--price", "64200", "--order", "a")
    place("bob", "sell", "0.2", "--price", "64000", "--order", "b")
    book = run("order", "book", venue, PERPETUAL)
    assert "would uncross 0.1 at 64,000" in book.out
    assert "spread" not in book.out
    document = run("order", "book", venue, PERPETUAL, "--json").json()
    assert (document["phase"], document["uncrossing"]) == (
        "auction", {"price": "64000", "size": "0.1"},
    )  # fmt: skip
    assert phase("continuous").out == f"{PERPETUAL}: continuous\nuncrossed: 0.1 at 64,000\n"
    assert one_line(phase("open"), 2) == (
        f"error: {PERPETUAL}, field 'phase': expected one of continuous, auction, halted, found "
        "'open' [COMMAND_MALFORMED]"
    )


# ── looking at a book ────────────────────────────────────────────────────────────────────────────


def test_book(place: Any, run: Run, venue: Path) -> None:
    bare = run("order", "book", venue, PERPETUAL, "--size", "1")
    assert bare.out.splitlines()[2:] == [
        "no orders", "buying 1: nothing rests", "selling 1: nothing rests",
    ]  # fmt: skip
    place("bob", "sell", "0.2", "--price", "64500")
    place("bob", "sell", "0.3", "--price", "64600.5")
    place("alice", "buy", "0.1", "--price", "64400")
    shown = [line.split() for line in run("order", "book", venue, PERPETUAL, "--size",
                                          "0.4").out.splitlines()]  # fmt: skip
    assert shown[0] == [f"{PERPETUAL}:", "continuous"]
    assert shown[1][-2:] == ["spread", "100"]
    assert shown[2:] == [
        ["orders", "size", "bid", "ask", "size", "orders"],
        ["1", "0.1", "64,400", "64,500", "0.2", "1"],
        ["64,600.5", "0.3", "1"],
        ["buying", "0.4:", "64,550.25", "on", "average,", "64,600.5", "at", "worst"],
        [
            "selling",
            "0.4:",
            "64,400",
            "on",
            "average,",
            "64,400",
            "at",
            "worst,",
            "and",
            "only",
            "0.1",
            "rest",
        ],
    ]
    one = run("order", "book", venue, PERPETUAL, "--levels", "1", "--size", "0.4", "--json").json()
    assert one["asks"] == [{"price": "64500", "size": "0.2", "orders": 1}]
    assert one["impact"][0] == {
        "side": "buy", "size": "0.4", "filled": "0.4", "average": "64550.25", "worst": "64600.5",
    }  # fmt: skip
    assert (one["last"], one["band"], one["uncrossing"]) == (None, None, None)
    assert "INSTRUMENT_UNKNOWN" in one_line(run("order", "book", venue, "X"), 2)
    assert "ORDER_TOO_SMALL" in one_line(run("order", "book", venue, PERPETUAL, "--size", "0"), 2)


def test_a_live_book_ends_when_told(
    place: Any, run: Run, venue: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place("bob", "sell", "0.2", "--price", "64500")
    words = ("order", "book", venue, PERPETUAL, "--live")
    assert "64,500" in run(*words, "--every", "1ms", "--seconds", "0.01").out

    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", interrupted)
    done = run(*words)
    assert (done.code, done.err) == (0, "")


@pytest.fixture
def meanwhile(venue: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Somebody trades whenever a live view waits; then it is interrupted."""
    with Engine.open(venue) as engine:
        engine.place("bob", PERPETUAL, "sell", "0.2", "64500", time_ms=LAST)
        orders = [("alice", "buy", "0.05"), ("alice", "buy", "0.01"), ("bob", "sell", "0.03")]

        def trading(_: float) -> None:
            if not orders:
                raise KeyboardInterrupt
            account, side, size = orders.pop(0)
            engine.place(account, PERPETUAL, side, size, "64500", time_ms=LAST)
            engine.place(account, ETHER, side, "1", "1900", time_ms=LAST)

        monkeypatch.setattr(time, "sleep", trading)
        yield


@pytest.mark.usefixtures("meanwhile")
def test_a_live_book_is_drawn_anew(run: Run, venue: Path) -> None:
    done = run("order", "book", venue, PERPETUAL, "--live", "--size", "0.1")
    assert done.code == 0, done.err
    lines = [line.split() for line in done.out.splitlines()]
    assert ["64,500", "0.17", "2"] in lines
    assert lines[-3:] == [["taker", "size", "price"], ["buy", "0.01", "64,500"],
                          ["buy", "0.05", "64,500"]]  # fmt: skip


@pytest.mark.usefixtures("meanwhile")
def test_a_live_book_as_lines(run: Run, venue: Path) -> None:
    done = run("order", "book", venue, PERPETUAL, "--live", "--json")
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert [line["sequence"] for line in lines] == [1, 2, 3, 4]
    assert [line.get("levels") for line in lines[1:]] == [
        [["sell", "64500", "0.15"]], [["sell", "64500", "0.14"]], [["sell", "64500", "0.17"]],
    ]  # fmt: skip


def test_a_live_book_follows_another_process(venue: Path) -> None:
    """Its lines are a snapshot and every change after it, and make the same book."""
    command = [sys.executable, "-c", "from solvent.cli import main; main()", "order", "book",
               str(venue), PERPETUAL, "--live", "--json", "--every", "20ms"]  # fmt: skip
    with Engine.open(venue) as engine:
        engine.place("bob", PERPETUAL, "sell", "0.2", "64500", order="q", time_ms=LAST)
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watcher:
            assert watcher.stdout is not None
            start = json.loads(watcher.stdout.readline())
            assert start == {
                "snapshot": PERPETUAL, "sequence": 1, "bids": [], "asks": [["64500", "0.2"]],
            }  # fmt: skip
            engine.place("alice", PERPETUAL, "buy", "0.05", "64500", time_ms=LAST)
            engine.place("bob", ETHER, "sell", "1", "2500", time_ms=LAST)
            engine.place("alice", PERPETUAL, "buy", "0.1", "64400.5", time_ms=LAST)
            changes = [json.loads(watcher.stdout.readline()) for _ in range(2)]
            watcher.terminate()
    assert changes == [
        {"change": PERPETUAL, "sequence": 2, "levels": [["sell", "64500", "0.15"]],
         "trades": [["buy", "64500", "0.05"]]},
        {"change": PERPETUAL, "sequence": 3, "levels": [["buy", "64400.5", "0.1"]], "trades": []},
    ]  # fmt: skip


def test_a_live_book_shows_its_trades(venue: Path) -> None:
    """Drawn as for a terminal: the last trades, newest first, and the command it is after."""
    from rich.console import Console

    from solvent.cli.order_book import _drawn, _seen
    from solvent.market_feed import Print

    with Engine.open(venue) as engine:
        shown, impacts = _seen(engine.state, PERPETUAL, 5, None)
        trades = (Print(Decimal("64500"), Decimal("0.1"), "buy"),
                  Print(Decimal("64400"), Decimal("0.2"), ""))  # fmt: skip
        out = io.StringIO()
        Console(file=out, width=100).print(_drawn(shown, impacts, trades, live=True))
    lines = [line.split() for line in out.getvalue().splitlines()]
    assert lines[0][2] == "·"
    assert out.getvalue().splitlines()[0].endswith("at 2026-06-30 10:00:13")
    assert lines[-3:] == [["taker", "size", "price"], ["buy", "0.1", "64,500"],
                          ["auction", "0.2", "64,400"]]  # fmt: skip


def test_a_band_is_told(venue: Path) -> None:
    from rich.console import Console

    from solvent.cli.order_book import _drawn, _seen

    with Engine.open(venue) as engine:
        shown, _ = _seen(engine.state, PERPETUAL, 5, None)
    out = io.StringIO()
    banded = replace(shown, band=(Decimal(61_000), Decimal("67000.5")))
    Console(file=out, width=100).print(_drawn(banded, [], ()))
    assert out.getvalue().splitlines()[1].endswith("· band 61,000 to 67,000.5")


# ── what trades were worth later ─────────────────────────────────────────────────────────────────


def test_mark_outs(run: Run, venue: Path, tmp_path: Path) -> None:
    """The examples' trades had takers; nothing was marked after them."""
    found = run("order", "markout", venue, "--horizon", "1s", "--json").json()["rows"]
    assert [(row["symbol"], row["horizon_ms"]) for row in found] == [
        (PERPETUAL, 1_000), ("BTC_USDC-10JUL26-65000-C", 1_000),
    ]  # fmt: skip
    assert (found[0]["trades"], found[0]["size"], found[0]["move"]) == (1, "1", "0")
    shown = run("order", "markout", venue, "--symbol", PERPETUAL).out.splitlines()
    assert shown[0].split() == ["instrument", "after", "trades", "size", "mark", "moved"]
    assert [line.split()[1:] for line in shown[1:]] == [
        ["1s", "1", "1", "0"], ["10s", "0", "0", "-"], ["1m", "0", "0", "-"],
    ]  # fmt: skip
    assert run("init", tmp_path / "empty").code == 0
    assert run("order", "markout", tmp_path / "empty").out == "no trades with a taker\n"
    assert run("order", "markout", venue, "--horizon", "soon").code == 2
