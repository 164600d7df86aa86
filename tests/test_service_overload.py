"""More is asked than can be answered: what is taken is answered in time, what is not is told when to
come again, what makes risk smaller keeps moving, and memory stays flat."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from bench import service as bench
from solvent.service.asks import Asks, Patience
from solvent.service.lanes import Overloaded
from solvent.service.limits import InFlight
from tests.services import CALL, PERPETUAL, Served, made

PORTFOLIO = {
    "positions": [{"symbol": CALL, "lots": 3}, {"symbol": PERPETUAL, "lots": -2}],
    "balances": {"USDC": "25000"},
}  # fmt: skip
PLACES = 8


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    home = tmp_path_factory.mktemp("overload")
    with Served(made(home), in_flight_max=16, ask_s=0.001) as found:
        yield found


class Door:
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
        door = Door()
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
        door = Door()
        method, _, where = path.partition(" ")
        assert await door.takes("POST", "/v1/transfers", {}) == 6
        assert await door.takes(method, where, {}) == 2
        door.gate.set()

    asyncio.run(live())


def test_a_what_if_that_would_wait_too_long_is_refused_before_it_is_read() -> None:
    async def live() -> None:
        wait_s = 3.2
        door = Door(wait_s=lambda: wait_s, patience_s=0.02)
        found = await door.http.post("/v1/whatif", json=PORTFOLIO)
        assert (found.status_code, found.headers["retry-after"]) == (503, "4")
        assert found.json()["retry_after_ms"] == 3_200
        assert await door.takes("POST", "/v1/margin", PORTFOLIO) == 4
        door.gate.set()
        await asyncio.sleep(0.01)
        wait_s = 0.0
        assert (await door.http.post("/v1/whatif", json=PORTFOLIO)).status_code == 204

    asyncio.run(live())


def test_a_slow_question_is_given_up_and_lets_the_thread_go() -> None:
    async def live() -> None:
        asks = Asks(most=2, seconds=0.05)
        steps = 0

        def endless(patience: Patience) -> None:
            nonlocal steps
            while True:
                patience()
                steps += 1
                time.sleep(0.001)

        begun_s = time.perf_counter()
        found = await asyncio.gather(*(asks.run(endless) for _ in range(3)), return_exceptions=True)
        assert all(isinstance(one, Overloaded) for one in found)
        assert "wait already" in str(found[2])
        assert time.perf_counter() - begun_s < 2.0
        assert await asks.run(lambda patience: 7, seconds=5.0) == 7
        assert steps > 0
        assert asks.waiting == 0
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


def test_a_flood_is_refused_in_words_and_deposits_go_on(served: Served) -> None:
    port = int(served.url.rpartition(":")[2])
    body = json.dumps({"portfolio": PORTFOLIO}).encode()
    opened = {"do": "open_account", "key": "bench", "actor": "bench", "account": "bench",
              "kind": "user", "rulebook": "deribit-pm"}  # fmt: skip
    with served.http() as http:
        assert http.post("/v1/commands", json=opened).status_code == 200
    flood, kept = asyncio.run(
        bench.overload(
            port, lambda number: bench.request("POST", "/v1/whatif", body), a_second=50_000,
            seconds=1.0, connections=64,
        )
    )  # fmt: skip
    assert set(flood.statuses) == {"200", "503"}
    assert (flood.untold, kept.untold) == (0, 0)
    assert set(kept.statuses) == {"201"}
    assert kept.statuses["201"] >= 3


@pytest.mark.soak
def test_ten_times_as_much_as_can_be_answered(tmp_path: Any) -> None:
    """`OVERLOAD_S` seconds of it, in two processes: p99 of what is taken, memory, deposits."""
    seconds = float(os.environ.get("OVERLOAD_S", "600"))

    async def live(server: bench.Server) -> tuple[list[bench.Load], list[float]]:
        port = server.port
        account = {"do": "open_account", "key": "bench", "actor": "bench", "account": "bench",
                   "kind": "user", "rulebook": "deribit-pm"}  # fmt: skip
        await bench.once(port, "POST", "/v1/commands", json.dumps(account).encode())
        ask = bench.what_ifs(await bench.symbols(port))
        await bench.offered(port, "warm up", 200, 5.0, ask)
        most = await bench.offered(port, "as fast as it goes", 20_000, 5.0, ask, sent=True)
        can = most.answered_a_second
        rated = await bench.offered(port, "rated", 0.6 * can, 10.0, ask, sent=True)
        loads, memory = [rated], [server.rss_mb()]
        for _ in range(4):
            loads += await bench.overload(port, ask, a_second=10 * can, seconds=seconds / 4)
            memory.append(server.rss_mb())
        return loads, memory

    with bench.Server(str(tmp_path)) as server:
        (rated, *loads), memory = asyncio.run(live(server))
    print(rated, *loads, memory, sep="\n")
    floods, kept = loads[::2], loads[1::2]
    for flood, relief in zip(floods, kept, strict=True):
        assert set(flood.statuses) <= {"200", "503"}, flood
        assert flood.untold == 0
        assert flood.p99_ms <= 2 * max(rated.p99_ms, bench.P99_MS), (rated, flood)
        assert set(relief.statuses) == {"201"}, relief
    assert memory[-1] < 1.05 * memory[1], memory
