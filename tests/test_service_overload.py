"""More is asked than can be answered: what is taken is answered in time, what is refused is told
when to come again, what makes risk smaller keeps moving, and memory stays flat."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from bench import service as bench
from bench.offering import Load, run

from solvent import publishing
from solvent.messages import commands as c
from solvent.service import limits
from solvent.service import whatifs as whatifs_module
from solvent.service.asks import Asks, Patience
from solvent.service.door import A_SECOND, Pace
from solvent.service.lanes import Lane, Lanes, Overloaded, Ticket
from solvent.service.limits import Admission, InFlight
from solvent.service.portfolios import PortfolioTold
from solvent.service.published import Board
from solvent.service.whatifs import WhatIfs, WhatIfTold
from tests import engines
from tests.services import CALL, PERPETUAL, Served, made

PORTFOLIO = {
    "positions": [{"symbol": CALL, "lots": 3}, {"symbol": PERPETUAL, "lots": -2}],
    "balances": {"USDC": "25000"},
}  # fmt: skip
PLACES = 8
RELIEF_MS = 500.0
"""In so long what makes risk smaller is done, with its sync, while what-ifs flood in."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    home = tmp_path_factory.mktemp("overload")
    told = {"in_flight_max": 64, "ask_s": 0.001, "patience_ms": 60_000, "what_if_patience_ms": 0.5}
    with Served(made(home), **told) as found:
        yield found


class Held:
    """`InFlight` before an application that answers nothing until it is told to."""

    def __init__(self, **told: Any) -> None:
        self.gate = asyncio.Event()
        self.bodies: list[bytes] = []
        self.app = InFlight(self._slow, most=PLACES, **told)
        self.http = httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app), base_url="http://127.0.0.1"
        )

    async def _slow(self, scope: Any, receive: Any, send: Any) -> None:
        del scope
        await self.gate.wait()
        self.bodies.append((await receive())["body"])
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def takes(self, method: str, path: str, body: Any = None) -> int:
        """How many of many at once are let in."""
        before = self.app.now
        content = None if body is None else json.dumps(body)
        asked = [
            asyncio.create_task(self.http.request(method, path, content=content))
            for _ in range(PLACES)
        ]
        await asyncio.sleep(0.01)
        refused = [await one for one in asked if one.done()]
        assert {one.status_code for one in refused} <= {503}
        assert all(int(one.headers["retry-after"]) >= 1 for one in refused)
        assert self.app.now - before == PLACES - len(refused)
        return PLACES - len(refused)


def test_places_are_kept_for_what_makes_risk_smaller() -> None:
    async def live() -> None:
        door = Held()
        order = {"symbol": PERPETUAL, "side": "buy", "lots": 1}
        assert await door.takes("POST", "/v1/margin", PORTFOLIO) == 4
        assert await door.takes("GET", "/v1/accounts/a") == 0
        assert await door.takes("POST", "/v1/accounts/a/orders", order) == 2
        assert await door.takes("POST", "/v1/transfers", {}) == 0
        assert await door.takes("POST", "/v1/accounts/a/orders", order | {"reduce_only": True}) == 2
        assert await door.takes("DELETE", "/v1/accounts/a/orders/o") == 0
        door.gate.set()
        await asyncio.sleep(0.01)
        assert door.app.now == 0
        assert json.loads(door.bodies[-1])["reduce_only"] is True

    asyncio.run(live())


@pytest.mark.parametrize("path", ["DELETE /v1/accounts/a/orders", "POST /v1/accounts/a/deposits"])
def test_cancellations_and_deposits_may_take_the_last_place(path: str) -> None:
    async def live() -> None:
        door = Held()
        method, _, where = path.partition(" ")
        assert await door.takes("POST", "/v1/transfers", {}) == 6
        assert await door.takes(method, where, {}) == 2
        door.gate.set()

    asyncio.run(live())


def test_a_what_if_that_would_wait_too_long_is_refused_before_it_is_read() -> None:
    async def live() -> None:
        wait_s = 3.2
        door = Held(admission=Admission(lambda _: wait_s, patience_s=0.02))
        found = await door.http.post("/v1/whatif", json=PORTFOLIO)
        assert (found.status_code, found.headers["retry-after"]) == (503, "4")
        assert found.json()["retry_after_ms"] == 3_200
        assert await door.takes("POST", "/v1/margin", PORTFOLIO) == 4
        door.gate.set()
        await asyncio.sleep(0.01)
        wait_s = 0.0
        assert (await door.http.post("/v1/whatif", json=PORTFOLIO)).status_code == 204

    asyncio.run(live())


def test_a_proxy_s_path_does_not_hide_what_is_asked() -> None:
    async def live() -> None:
        door = Held(admission=Admission(lambda _: 3.2, patience_s=0.02))
        way = httpx.ASGITransport(door.app, root_path="/venue")
        async with httpx.AsyncClient(transport=way, base_url="http://127.0.0.1/venue") as http:
            assert (await http.post("/v1/whatif", json=PORTFOLIO)).status_code == 503
            door.gate.set()
            assert (await http.post("/v1/margin", json=PORTFOLIO)).status_code == 204
            door.app.now = PLACES
            assert (await http.get("/health/live")).status_code == 204
            assert (await http.get("/v1/fund")).status_code == 503

    asyncio.run(live())


def test_those_who_come_together_are_counted_before_they_wait() -> None:
    async def live() -> None:
        admission = Admission(lambda coming: 0.001 * coming, patience_s=0.003)
        taken = 0
        while admission.beyond_ms() is None:
            admission.let_in(asyncio.get_running_loop())
            taken += 1
        assert (taken, admission.beyond_ms()) == (4, 4)
        await asyncio.sleep(0)
        assert admission.coming == 0

    asyncio.run(live())


def test_in_a_flood_nobody_waits_as_long_as_in_a_burst() -> None:
    wait_s = 0.008
    admission = Admission(lambda _: wait_s, patience_s=0.01)
    assert {admission.beyond_ms() for _ in range(1_000)} == {None}
    wait_s = 0.02
    assert {admission.beyond_ms() for _ in range(1_000)} == {20}
    wait_s = 0.008
    assert admission.beyond_ms() == 8
    wait_s = 0.004
    assert {admission.beyond_ms() for _ in range(1_000)} == {None}
    wait_s = 0.008
    assert admission.beyond_ms() is None


def test_one_slow_sync_does_not_close_the_lane_of_relief() -> None:
    def ticket(number: int) -> Ticket:
        told = c.Deposit(key=f"d{number}", actor="a", account="a", asset="USDC", amount=1)
        return Ticket([told], Lane.RELIEF, [None], 0.0, lambda *_: None, lambda: False)

    lanes = Lanes(room=1_000, patience_s=0.5)
    for _ in range(100):
        lanes.done(1, 0.005)
    lanes.done(1, 1.0)
    for number in range(100):
        lanes.put(ticket(number))
    assert lanes.waiting[Lane.RELIEF] == 100


# ── at the door ──────────────────────────────────────────────────────────────────────────────────


@contextmanager
def busy(served: Served, wait_s: float = 3.2) -> Iterator[None]:
    """While every what-if would wait for so long."""
    admission = served.app.state.admission
    before = admission._wait_s
    admission._wait_s = lambda _: wait_s
    try:
        yield
    finally:
        admission._wait_s = before


def spoken(served: Served, *parts: bytes, answers: int) -> list[tuple[int, bytes]]:
    """What is told over one connection in parts, and the answers: status, head and body."""
    port = int(served.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), 30.0) as line, line.makefile("rb") as file:
        for part in parts:
            line.sendall(part)
            # A part is read by itself, not with the next.
            time.sleep(0.01)
        found = []
        for _ in range(answers):
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += file.readline()
            (length,) = (int(one[15:]) for one in head.split(b"\r\n")
                         if one.startswith(b"content-length:"))  # fmt: skip
            found.append((int(head[9:12]), head + file.read(length)))
        if b"\r\nconnection: close" in found[-1][1]:
            assert file.read() == b""
        return found


ASKED = bench.request("POST", "/v1/whatif", json.dumps({"portfolio": PORTFOLIO}).encode())
LISTED = bench.request("GET", "/v1/rulebooks")


@pytest.mark.parametrize(
    ("parts", "statuses"),
    [
        ([ASKED], [503]),
        ([ASKED[:90], ASKED[90:200], ASKED[200:], LISTED], [503, 200]),
        ([ASKED + ASKED + LISTED], [503, 503, 200]),
        ([LISTED + ASKED], [200, 503]),
        ([ASKED.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)], [503]),
        ([ASKED.replace(b"HTTP/1.1", b"HTTP/1.0", 1)], [503]),
        ([ASKED.replace(b"/v1/whatif", b"/v1/whatif?", 1), LISTED], [503, 200]),
    ],
)
def test_a_refusal_at_the_door_is_http(
    served: Served, parts: list[bytes], statuses: list[int]
) -> None:
    with busy(served):
        found = spoken(served, *parts, answers=len(statuses))
    assert [status for status, _ in found] == statuses
    for status, text in found:
        if status == 503:
            head, _, body = text.partition(b"\r\n\r\n")
            assert b"\r\nretry-after: 4" in head
            assert json.loads(body)["retry_after_ms"] == 3_200
            assert json.loads(body)["code"] == "OVERLOADED"
    closes = b"HTTP/1.0" in parts[0] or b"Connection: close" in parts[0]
    assert (b"\r\nconnection: close" in found[-1][1]) == closes


def test_what_is_refused_at_the_door_is_counted_and_the_rest_is_answered(served: Served) -> None:
    admission = served.app.state.admission
    before = admission.refused
    with served.http() as http:
        with busy(served):
            told = [http.post("/v1/whatif", json={"portfolio": PORTFOLIO}) for _ in range(3)]
            others = http.post("/v1/whatif", content=b"{" + b" " * 70_000)
            assert http.get("/v1/instruments").status_code == 200
        assert http.post("/v1/whatif", json={"portfolio": PORTFOLIO}).status_code == 200
    assert {one.status_code for one in (*told, others)} == {503}
    assert len({one.headers["solvent-request-id"] for one in told}) == 3
    assert "solvent-request-id" not in others.headers, "large bodies are the application's matter"
    assert admission.refused - before == 4


class Clock:
    """A loop that goes on when it is told to."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.later: list[tuple[float, Callable[..., None], Sequence[Any]]] = []

    def time(self) -> float:
        return self.now_s

    def call_later(self, after_s: float, call: Callable[..., None], *told: Any) -> object:
        self.later.append((self.now_s + after_s, call, told))
        return object()

    def go_on(self) -> None:
        """To what is next."""
        self.now_s, call, told = self.later.pop(0)
        call(*told)


class Refused:
    """Somebody at the door, who is told that their turn has come."""

    def __init__(self, number: int, loop: Clock, told: list[int]) -> None:
        self.number, self.loop, self._told = number, loop, told

    def tell(self) -> None:
        self._told.append(self.number)


def test_refusals_have_a_pace_and_an_order() -> None:
    clock, pace = Clock(), Pace()
    told: list[int] = []

    for number in range(A_SECOND):
        pace.take(Refused(number, clock, told))  # type: ignore[arg-type]
    assert 0 < len(told) < A_SECOND / 100
    while clock.later:
        clock.go_on()
    assert told == list(range(A_SECOND))
    assert 0.9 < clock.now_s <= 1.1


def test_who_has_gone_keeps_nobody_waiting() -> None:
    clock, pace = Clock(), Pace()
    told: list[int] = []

    many = [Refused(number, clock, told) for number in range(A_SECOND)]
    for one in many:
        pace.take(one)  # type: ignore[arg-type]
    at_once = len(told)
    for one in many[:-1]:
        pace.leave(one)  # type: ignore[arg-type]
    clock.go_on()
    assert told[at_once:] == [A_SECOND - 1]
    assert not clock.later


def test_a_body_that_does_not_come_is_waited_for_no_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nor one that comes by the byte; a whole one may be thought about as long as it takes."""
    monkeypatch.setattr(limits, "BODY_S", 0.05)
    sent: list[Any] = []

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        await asyncio.sleep(0.1)
        assert (await receive())["type"] == "http.disconnect"
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def asked(parts: list[tuple[float, dict[str, Any]]]) -> int:
        coming = iter(parts)

        async def receive() -> Any:
            after_s, message = next(coming, (3_600.0, {}))
            await asyncio.sleep(after_s)
            return message

        async def send(message: Any) -> None:
            sent.append(message)

        bodies = limits.Bodies(app, most=1_000, bulk_most=1_000, depth=9, bulk=())
        scope = {"type": "http", "method": "POST", "path": "/v1/whatif", "headers": []}
        sent.clear()
        await bodies(scope, receive, send)
        return int(sent[0]["status"])

    part = {"type": "http.request", "body": b" ", "more_body": True}
    last = {"type": "http.request", "body": b"{}", "more_body": False}
    gone = {"type": "http.disconnect"}
    assert asyncio.run(asked([])) == 408
    assert asyncio.run(asked([(0.01, part)] * 50)) == 408
    assert asyncio.run(asked([(0.0, part), (0.0, last), (0.2, gone)])) == 200


# ── on the loop or beside it ──────────────────────────────────────────────────────────────────────


def test_what_takes_long_is_answered_by_a_thread(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    whatifs = served.app.state.whatifs
    bodies = [{"portfolio": PORTFOLIO | {"balances": {"USDC": str(n)}}} for n in range(4)]
    with served.http() as http:
        here = [http.post("/v1/whatif", json=one).json() for one in bodies]
        before = whatifs.apart
        monkeypatch.setattr(whatifs_module, "HERE_S", -1.0)
        apart = [http.post("/v1/whatif", json=one).json() for one in bodies]
    assert whatifs.apart - before == len(bodies)
    assert apart == here
    assert here[0]["before"]["equity"] != here[1]["before"]["equity"]


def test_standings_of_what_ifs_are_not_kept(tmp_path: Path) -> None:
    name = "hyperliquid"
    engines.found(tmp_path / "venue")
    with engines.opened(tmp_path / "venue") as engine:
        market, actor = engines.market(), engines.ACTOR
        told = [
            publishing.adoption(
                name, day="2026-01-01", key="formulas", actor=actor, venue=False
            ),
            publishing.arrays(market, name, name=name, key="their arrays", actor=actor),
        ]  # fmt: skip
        assert all(one.accepted for one in engine.submit_all(told))
        board = Board()
        board(engine, [])

    async def live() -> list[Any]:
        whatifs = WhatIfs(board, wait_s=0.001)
        held = {"positions": [{"symbol": PERPETUAL, "lots": -2}], "balances": {"USDC": "25000"}}
        portfolio = msgspec.convert(held, PortfolioTold)
        wanted = WhatIfTold(portfolio=portfolio, rulebook=name)
        found = await asyncio.gather(*(whatifs.ask(wanted) for _ in range(100)))
        whatifs.stop()
        assert whatifs.asked == 100
        assert whatifs.batches < 100
        return found

    answers = asyncio.run(live())
    assert answers == [answers[0]] * 100
    assert answers[0].before.initial > 0
    assert len(board.now.rules[name].found) == 0


# ── slow questions ───────────────────────────────────────────────────────────────────────────────


def test_a_slow_question_is_given_up_and_lets_the_thread_go() -> None:
    async def live() -> None:
        asks = Asks(most=2, seconds=0.5)
        steps = 0

        def endless(patience: Patience) -> None:
            nonlocal steps
            while True:
                patience()
                steps += 1
                time.sleep(0.001)

        found = await asyncio.gather(*(asks.run(endless) for _ in range(3)), return_exceptions=True)
        assert all(isinstance(one, Overloaded) for one in found)
        assert "wait already" in str(found[2])
        while asks.waiting:
            await asyncio.sleep(0.001)
        assert await asks.run(lambda _: 7, seconds=5.0) == 7
        assert steps > 0
        asks.stop()

    asyncio.run(live())


@pytest.mark.parametrize("path", ["margin", "liquidation", "compare"])
def test_slow_routes_say_when_they_give_up(served: Served, path: str) -> None:
    body: dict[str, Any] = {"portfolio": PORTFOLIO}
    if path == "compare":
        body["rulebooks"] = ["deribit-pm", "okx-pm"]
    with served.http() as http:
        found = http.post(f"/v1/{path}", json=body)
    assert (found.status_code, found.json()["code"]) == (503, "OVERLOADED")
    assert int(found.headers["retry-after"]) >= 1
    assert "no answer within 0.001 s" in found.json()["detail"]


# ── a flood ──────────────────────────────────────────────────────────────────────────────────────


def test_a_flood_is_refused_in_words_and_relief_goes_on(served: Served) -> None:
    port = int(served.url.rpartition(":")[2])

    async def live() -> tuple[Load, list[Load]]:
        price = await bench.prepared(port)
        return await bench.overload(
            port, price, lambda _: ASKED, a_second=50_000, seconds=1.0, connections=64
        )

    flood, kept = asyncio.run(live())
    assert set(flood.statuses) == {"200", "503"}
    assert flood.untold == 0
    assert [one.statuses for one in kept] == [{"201": 20}, {"200": 5}, {"201": 5}]


@pytest.mark.soak
def test_ten_times_as_much_as_can_be_answered(tmp_path: Path) -> None:
    """`OVERLOAD_S` seconds of it, in two processes: p99 of what is taken, memory, relief. Alone on
    the machine (`make soak` sees to that): what it asserts are times, as ratios to what could be
    answered just before, since a machine is not as fast in one minute as in another."""
    seconds = float(os.environ.get("OVERLOAD_S", "600"))
    parts = 4

    async def live(server: bench.Server) -> None:
        port = server.port
        price = await bench.prepared(port)
        ask = bench.what_ifs(await bench.symbols(port))
        await bench.offered(port, "warm up", 500, 5.0, ask)
        for _ in range(parts):
            most = await bench.capacity(port, ask, seconds=10.0)
            flood, relief = await bench.overload(
                port, price, ask, a_second=10 * most.answered_a_second, seconds=seconds / parts
            )
            memory.append(server.rss_mb())
            found.append((most, flood, relief))

    memory: list[float] = []
    found: list[tuple[Load, Load, list[Load]]] = []
    with bench.Server(str(tmp_path)) as server:
        run(live(server))
    told = "\n".join(map(str, (*found, memory)))
    Path(os.environ.get("OVERLOAD_TOLD", os.devnull)).write_text(told, "utf-8")
    for most, flood, relief in found:
        assert set(flood.statuses) == {"200", "503"}, flood
        assert flood.untold == 0
        assert flood.answered_a_second > most.answered_a_second / 2, (most, flood)
        assert flood.p99_ms <= 2 * max(most.p99_ms, bench.P99_MS), (most, flood)
        for one in relief:
            assert set(one.statuses) <= {"200", "201"}, one
            assert one.p99_ms < RELIEF_MS, one
    assert memory[-1] < 1.05 * memory[0], memory
