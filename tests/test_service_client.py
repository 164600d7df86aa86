"""The client by the engine's names, over a real port; and what happens when the server dies."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

import solvent as sv
from solvent.client import AsyncClient, Client, ServiceError, Unavailable
from solvent.documents import account_document, venue_document
from solvent.errors import BadInput, Reject
from solvent.host import Engine
from solvent.journal import Journal
from solvent.messages import commands as c
from solvent.messages.codec import decode_command
from solvent.order_entry import OrderEntry
from solvent.recovery import recovered
from solvent.tending.entry import Tending
from tests.conftest import ROOT
from tests.engines import opened
from tests.services import PERPETUAL, Served, made


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(made(tmp_path_factory.mktemp("client"))) as found:
        yield found


@pytest.fixture
def client(served: Served) -> Iterator[Client]:
    with sv.connect(served.url) as found:
        yield found


def deposit(key: str) -> c.Deposit:
    return c.Deposit(key=key, actor="me", account="u3", asset="USDC", amount=1)


# ── the same names, the same answers ─────────────────────────────────────────────────────────────

_ELSEWHERE = {"combo", "protect", "state", "submit_all", "now_ms"}
"""Names of the engine that a client has not: what they do is told by a command."""


def test_a_client_has_the_engine_s_names() -> None:
    names = {
        name for kind in (OrderEntry, Tending) for name in vars(kind) if not name.startswith("_")
    }
    for kind in (Client, AsyncClient):
        assert names - _ELSEWHERE <= set(dir(kind))
        assert {"submit", "submit_all", "hash", "close"} <= set(dir(kind))
    public = {name for name in dir(Client) if not name.startswith("_")} - {"url"}
    assert {name for name in dir(AsyncClient) if not name.startswith("_")} - {"url"} == public


def test_orders_are_answered_as_by_an_embedded_engine(tmp_path: Path, client: Client) -> None:
    """The same requests to both, and equal answers but for the time."""
    asks: tuple[Callable[..., Any], ...]
    with opened(made(tmp_path)) as engine:
        asks = (
            lambda it, **more: it.place("u0", PERPETUAL, "buy", "0.01", "50000", order="a", **more),
            lambda it, **more: it.place("u0", PERPETUAL, "buy", "0.01", "50000", order="a", **more),
            lambda it, **more: it.place("u1", PERPETUAL, "sell", "0.02", "50000", order="b",
                                        **more),
            lambda it, **more: it.amend("u1", "b", price="50001", **more),
            lambda it, **more: it.cancel("u1", "b", **more),
            lambda it, **more: it.cancel("u1", "b", **more),
            lambda it, **more: it.place("u1", PERPETUAL, "buy", "50", order="c",
                                        order_type="market", **more),
        )  # fmt: skip
        for asked in asks:
            key = f"key-{random.random()}"
            mine = asked(engine, key=key, actor="operator")
            theirs = asked(client, key=key)
            if not isinstance(mine, tuple):
                mine_answer, their_answer = mine.answer, theirs.answer
                assert (mine.status, mine.filled, mine.average, mine.fills) == (
                    theirs.status, theirs.filled, theirs.average, theirs.fills,
                )  # fmt: skip
                assert (mine.order, mine.symbol, mine.side) == (
                    theirs.order, theirs.symbol, theirs.side,
                )  # fmt: skip
            else:
                mine_answer, their_answer = mine, theirs
            assert mine_answer.code == their_answer.code
            assert mine_answer.sequence == their_answer.sequence
            if not mine_answer.code:
                assert mine_answer.events == their_answer.events
        assert client.orders("u0") == engine.orders("u0")
        assert client.book(PERPETUAL, 20) == engine.book(PERPETUAL, 20)
        assert client.impact(PERPETUAL, "buy", "1") == engine.impact(PERPETUAL, "buy", "1")
        state = engine.state
        account = state.account(state.account_numbers["u0"])
        assert client.account("u0") == account_document(state, account)
        assert client.venue(hashed=True) == venue_document(state)
        assert client.hash() == engine.hash()
        assert client.plans() == []


def test_commands_as_they_are(client: Client) -> None:
    (first, second) = client.submit_all([deposit("one"), deposit("two")])
    assert second.sequence == first.sequence + 1
    assert client.submit(deposit("one")) == first
    refused = client.submit({"do": "close_account", "key": "x", "actor": "me", "account": "none"})
    assert Reject(refused.code) is Reject.ACCOUNT_UNKNOWN
    with pytest.raises(BadInput, match="amount"):
        client.submit({"do": "deposit", "key": "x", "actor": "me", "account": "u1",
                       "asset": "USDC", "amount": "1"})  # fmt: skip


def test_money_and_accounts(client: Client) -> None:
    assert client.open_account("yan", "deribit-pm").accepted
    assert client.deposit("yan", "USDC", Decimal("12.5")).accepted
    assert client.withdraw("yan", "USDC", "2.5", reference="yan-1").accepted
    assert client.account("yan").standing.equity == 10
    assert client.open_account("desk/yan", "deribit-pm").accepted
    assert client.deposit("desk/yan", "USDC", 7).accepted
    assert client.account("desk/yan").standing.equity == 7
    assert client.deposit("none", "USDC", 1).code == Reject.ACCOUNT_UNKNOWN
    with pytest.raises(BadInput, match="float"):
        client.deposit("yan", "USDC", 1.5)  # type: ignore[arg-type]


def test_what_ifs(client: Client) -> None:
    portfolio = {"positions": [{"symbol": PERPETUAL, "size": "0.1"}], "balances": {"USDC": "9000"}}
    found = client.whatif(
        portfolio=portfolio, changes={"add": [{"symbol": PERPETUAL, "size": "-0.1"}]}
    )
    assert found.after is not None
    assert found.before.initial is not None
    assert found.before.initial > 0
    assert found.after.initial == 0
    assert client.margin(portfolio=portfolio).standing == found.before


def test_the_journal_and_the_audit(client: Client) -> None:
    page = client.journal(after=40, limit=5)
    assert [one.sequence for one in page.rows] == [41, 42, 43, 44, 45]
    assert client.journal_row(41) == page.rows[0]
    assert client.audit().violations == []
    assert len(client.arrays("deribit-pm")) > 1_000


def test_the_same_to_be_awaited(served: Served) -> None:
    async def live() -> None:
        async with sv.connect_async(served.url) as client:
            placed = await client.place("u4", PERPETUAL, "buy", "0.01", "40000", order="late")
            assert placed.status == "resting"
            found = await asyncio.gather(*(client.submit(deposit(f"a{n}")) for n in range(20)))
            assert len({one.sequence for one in found}) == 20
            assert (await client.cancel("u4", "late")).accepted

    asyncio.run(live())


# ── again, and again ─────────────────────────────────────────────────────────────────────────────


def flaky(statuses: list[int | Exception], seen: list[httpx.Request]) -> httpx.MockTransport:
    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        what = statuses.pop(0)
        if isinstance(what, Exception):
            raise what
        done = {"sequence": 7, "repeated": False, "events": []}
        body = done if what == 200 else {"code": "OVERLOADED", "detail": "later"}
        return httpx.Response(what, json=body, headers={"retry-after": "0"})

    return httpx.MockTransport(answer)


def test_a_call_is_tried_again_with_the_same_key() -> None:
    seen: list[httpx.Request] = []
    transport = flaky([503, httpx.ConnectError("refused"), httpx.ReadError("lost"), 429, 200], seen)
    with Client("http://x", transport=transport) as client:
        assert client.deposit("a", "USDC", "1").sequence == 7
    assert len(seen) == 5
    assert len({one.headers["idempotency-key"] for one in seen}) == 1
    assert len({one.content for one in seen}) == 1


def test_what_never_answers_is_told() -> None:
    busy = Client("http://x", transport=flaky([503] * 5, []), tries=2)
    with busy as client, pytest.raises(Unavailable, match="503 OVERLOADED: later"):
        client.deposit("a", "USDC", "1")
    lost: list[int | Exception] = [httpx.ConnectError("refused")] * 2
    gone = Client("http://x", transport=flaky(lost, []), tries=2)
    with gone as client, pytest.raises(Unavailable, match="UNREACHABLE: http://x: refused"):
        client.account("a")


def test_what_may_have_been_done_and_has_no_key_is_not_sent_again() -> None:
    seen: list[httpx.Request] = []
    transport = flaky([httpx.ReadError("lost"), 200], seen)
    with Client("http://x", transport=transport) as client, pytest.raises(Unavailable):
        client.tend()
    assert len(seen) == 1


def test_an_answer_that_is_no_problem_document_is_told() -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(500, text="<html>"))
    broken = Client("http://x", transport=transport)
    with broken as client, pytest.raises(ServiceError, match="500 UNREADABLE: <html>"):
        client.account("a")


def test_who_asks_is_told() -> None:
    seen: list[httpx.Request] = []
    with Client("http://x", "secret", actor="me", transport=flaky([200], seen)) as client:
        client.deposit("a", "USDC", "1")
        assert "secret" not in repr(client)
    assert seen[0].headers["authorization"] == "Bearer secret"
    assert seen[0].headers["solvent-actor"] == "me"


# ── killed ───────────────────────────────────────────────────────────────────────────────────────


class Process:
    """`solvent serve` in a process of its own, to be killed."""

    def __init__(self, url: Path) -> None:
        program = "from solvent.cli import main; main()"
        self._process = subprocess.Popen(
            [sys.executable, "-c", program, "serve", str(url), "--port", "0", "--hold-time",
             "--no-tend", "--no-dashboard", "--json"],
            env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "SOLVENT_LOG_LEVEL": "critical"},
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._process.stdout is not None
        text = ""
        while not text.rstrip().endswith("}"):
            line = self._process.stdout.readline()
            assert line, "the server has ended"
            text += line
        self.url = json.loads(text)["url"]
        with httpx.Client(base_url=self.url) as http:
            until = time.monotonic() + 60
            while http.get("/health/ready").status_code != 200:
                assert time.monotonic() < until, "the venue did not get ready"
                time.sleep(0.02)

    def kill(self) -> None:
        """Kill it at once, as it is."""
        os.kill(self._process.pid, signal.SIGKILL)
        self._process.wait(30)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def stop(self) -> int:
        """Ask it to stop; its exit code."""
        self._process.terminate()
        code = self._process.wait(30)
        assert self._process.stdout is not None
        self._process.stdout.close()
        return code


def _load(name: str, url: str, over: threading.Event, acknowledged: dict[str, int]) -> None:
    with Client(url, tries=1, timeout_s=5.0) as client:
        for place in range(1_000_000):
            key = f"{name}.{place}"
            try:
                answer = client.submit(deposit(key))
            except ServiceError:
                if over.is_set():
                    return
                continue
            acknowledged[key] = answer.sequence


def _killed_under_load(tmp_path: Path, rounds: int, seconds: float) -> int:
    """What was acknowledged is there after each kill, once and as it was answered; how many."""
    url = made(tmp_path)
    acknowledged: dict[str, int] = {}
    for number in range(rounds):
        process = Process(url)
        over = threading.Event()

        told = (process.url, over, acknowledged)
        workers = [
            threading.Thread(target=_load, args=(f"{number}.{one}", *told)) for one in range(4)
        ]
        for one in workers:
            one.start()
        # At work for sure, however slow the machine is; then at any moment of it.
        enough, until = len(acknowledged) + 20, time.monotonic() + 60
        while len(acknowledged) < enough and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(seconds * random.random())
        over.set()
        process.kill()
        for one in workers:
            one.join(30)
        with Journal.open(url) as journal:
            rows = {decode_command(row.command).key: row.sequence for row in journal.read()}
            assert journal.verify().rows == len(rows)
        assert acknowledged.items() <= rows.items()
    return len(acknowledged)


def test_kill_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    assert _killed_under_load(tmp_path, rounds=1, seconds=0.4) >= 20


@pytest.mark.soak
def test_kill_after_kill_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    assert _killed_under_load(tmp_path, rounds=40, seconds=1.0) >= 800


def test_a_stop_is_orderly_and_a_client_goes_on_after_a_restart(tmp_path: Path) -> None:
    url = made(tmp_path)
    first = Process(url)
    with Client(first.url) as client:
        answer = client.submit(deposit("once"))
    assert first.stop() == 0
    second = Process(url)
    with Client(second.url) as client:
        assert client.submit(deposit("once")) == answer
    assert second.stop() == 0
    with Engine.open(url) as engine:
        assert engine.submit(deposit("once")).sequence == answer.sequence
        assert recovered(engine.journal).log.sequence == answer.sequence


def test_a_journal_that_is_in_use_is_told(tmp_path: Path) -> None:
    url = made(tmp_path)
    with opened(url):
        program = "from solvent.cli import main; main()"
        found: Any = subprocess.run(
            [sys.executable, "-c", program, "serve", str(url), "--port", "0", "--no-dashboard",
             "--json"],
            env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "SOLVENT_LOG_LEVEL": "critical"},
            timeout=60, check=False, capture_output=True, text=True,
        )  # fmt: skip
    assert found.returncode == 2
    assert found.stderr.splitlines()[-1].startswith("error: ")
