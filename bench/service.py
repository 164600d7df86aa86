"""The service under load from a second process on loopback: what-ifs, orders, overload.

Run: `python -m bench.service`. The load comes at a rate, not after the last answer: a latency is
counted from when a request was due, so that what waits in line is in it. Requests go over
connections that stay open; each has one request at a time. The server is a process of its own on a
generated venue, and shares the machine's processors with this one.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from bench.limits import machine
from bench.offering import Body, Load, Offer, run

RESULTS = Path(__file__).parent / "results"
WHAT_IFS_A_SECOND = 2_000
P99_MS = 20.0
_POSITIONS = 20
_CAN = 48
_CANCELS_A_SECOND = 5
_HELD = "BTC_USDC-PERPETUAL"
_READY_S = 90.0


class Server:
    """`solvent serve` on a generated venue, in a process of its own; a context manager."""

    def __init__(self, home: str, **settings: str) -> None:
        self._home, self._settings = home, settings
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]

    def __enter__(self) -> Server:
        program = "from solvent.cli import main; main()"
        told = {f"SOLVENT_{name.upper()}": value for name, value in self._settings.items()}
        self._process = subprocess.Popen(
            [sys.executable, "-c", program, "serve", f"{self._home}/venue", "--generate",
             "--port", str(self.port), "--no-dashboard", "--json"],
            env={**os.environ, "SOLVENT_LOG_LEVEL": "warning", **told},
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        asyncio.run(self._ready())
        return self

    async def _ready(self) -> None:
        until_s = time.monotonic() + _READY_S
        while time.monotonic() < until_s and self._process.poll() is None:
            try:
                status, _ = await once(self.port, "GET", "/health/ready")
            except OSError:
                status = 0
            if status == 200:
                return
            await asyncio.sleep(0.1)
        raise TimeoutError("the server did not come up")

    def __exit__(self, *fault: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(30)

    def rss_mb(self) -> float:
        """What the process holds in memory now."""
        text = Path(f"/proc/{self._process.pid}/status").read_text("utf-8")
        line = next(one for one in text.splitlines() if one.startswith("VmRSS"))
        return int(line.split()[1]) / 1_024

    def cpu_s(self) -> float:
        """Seconds of a processor that the process has used."""
        fields = (
            Path(f"/proc/{self._process.pid}/stat").read_text("utf-8").rsplit(")", 1)[1].split()
        )
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# ── asking ───────────────────────────────────────────────────────────────────────────────────────


def request(method: str, path: str, body: bytes = b"") -> bytes:
    """A request's bytes."""
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    if body:
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return f"{head}\r\n".encode() + body


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    status, _, body = await _whole(reader)
    return status, body


async def _whole(reader: asyncio.StreamReader) -> tuple[int, bytes, bytes]:
    """Status, head in small letters, body."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = 0
    head = head.lower()
    for line in head.split(b"\r\n"):
        if line.startswith(b"content-length:"):
            length = int(line[15:])
    return int(head[9:12]), head, await reader.readexactly(length) if length else b""


async def once(port: int, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
    """One request over a connection of its own: status and body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request(method, path, body))
    found = await _answer(reader)
    writer.close()
    return found


async def offered(
    port: int, name: str, a_second: float, seconds: float, draw: Body, *, connections: int = 64,
    sent: bool = False,
) -> Load:  # fmt: skip
    """Requests that come at a rate, over so many connections. `sent`: latencies count from when a
    request was sent, as this process cannot send more than the server takes."""
    return await Offer(
        port, name, a_second, seconds, draw, connections=connections, sent=sent
    ).run()


# ── what is asked ────────────────────────────────────────────────────────────────────────────────


async def symbols(port: int) -> list[dict[str, Any]]:
    """Contracts of the venue."""
    found: list[dict[str, Any]] = []
    cursor = ""
    while True:
        _, body = await once(port, "GET", f"/v1/instruments?limit=1000{cursor}")
        page = json.loads(body)
        found += page["rows"]
        if page["next"] is None:
            return [one for one in found if one["mark"] is not None]
        cursor = f"&cursor={page['next']}"


def what_ifs(contracts: list[dict[str, Any]], *, kinds: int = 4_096, seed: int = 1) -> Body:
    """Portfolios of twenty positions with a trade more, drawn once."""
    draw = random.Random(seed)
    bodies = []
    for _ in range(kinds):
        held = draw.sample(contracts, _POSITIONS)
        document = {
            "portfolio": {
                "positions": [
                    {"symbol": one["symbol"], "lots": draw.choice((-1, 1)) * draw.randint(1, 50)}
                    for one in held
                ],
                "balances": {"USDC": "1000000", "BTC": "10"},
            },
            "changes": {"add": [{"symbol": draw.choice(held)["symbol"], "lots": 5}]},
        }
        bodies.append(request("POST", "/v1/whatif", json.dumps(document).encode()))
    return lambda number: bodies[number % kinds]


def deposits() -> Body:
    """Money for one account, a key each."""

    def draw(number: int) -> bytes:
        body = json.dumps(
            {"do": "deposit", "key": f"b{number}-{time.time_ns()}", "actor": "bench",
             "account": "bench", "asset": "USDC", "amount": 1}
        )  # fmt: skip
        return request("POST", "/v1/commands", body.encode())

    return draw


# ── what makes risk smaller, under a flood ───────────────────────────────────────────────────────


async def prepared(port: int) -> int:
    """The account `bench`, with money and a position; the price of its contract. Done once."""
    rows = {one["symbol"]: one for one in await symbols(port)}
    price = round(float(rows[_HELD]["mark"]))
    for name in ("bench", "maker"):
        account = {"do": "open_account", "key": name, "actor": "bench", "account": name,
                   "kind": "user", "rulebook": "deribit-pm"}  # fmt: skip
        await done(port, "/v1/commands", account)
        await done(port, f"/v1/accounts/{name}/deposits", {"asset": "USDC", "amount": "10000000"})
    for name, side in (("maker", "sell"), ("bench", "buy")):
        await done(port, f"/v1/accounts/{name}/orders", _order(side, "1", price, order="first"))
    return price


def _order(side: str, size: str, price: int, **more: Any) -> dict[str, Any]:
    return {"symbol": _HELD, "side": side, "size": size, "price": str(price), **more}


async def done(port: int, path: str, document: dict[str, Any]) -> None:
    """A request that must be done."""
    status, body = await once(port, "POST", path, json.dumps(document).encode())
    if status not in (200, 201):
        raise ValueError(f"{path}: expected it to be done, found {status}: {body!r}")


def deposited() -> Body:
    """A dollar, a key each."""
    body = json.dumps({"asset": "USDC", "amount": "1"}).encode()
    return lambda _: request("POST", "/v1/accounts/bench/deposits", body)


def reducing(price: int) -> Body:
    """A reduce-only sale that nobody takes."""
    told = _order("sell", "0.001", price, reduce_only=True, time_in_force="ioc")
    body = json.dumps(told).encode()
    return lambda _: request("POST", "/v1/accounts/bench/orders", body)


async def resting(port: int, price: int, count: int) -> Body:
    """Orders that rest far from the market are placed; and what takes them back, one by one."""
    run_name = f"{time.time_ns()}"

    def place(number: int) -> bytes:
        told = _order("buy", "0.001", price * 9 // 10, order=f"{run_name}-{number}")
        return request("POST", "/v1/accounts/bench/orders", json.dumps(told).encode())

    placed = await offered(port, "orders placed", 200, count / 200, place, connections=4)
    if placed.statuses != {"201": count}:
        raise ValueError(f"expected {count} orders to be placed, found {placed.statuses}")
    return lambda number: request("DELETE", f"/v1/accounts/bench/orders/{run_name}-{number}")


async def overload(
    port: int, price: int, ask: Body, *, a_second: float, seconds: float, connections: int = 256
) -> tuple[Load, list[Load]]:
    """Many times as many what-ifs as can be answered; and meanwhile a few requests a second that
    make risk smaller. `price` is what `prepared` has found."""
    cancel = await resting(port, price, int(_CANCELS_A_SECOND * seconds))
    flood, *kept = await asyncio.gather(
        offered(port, "what-ifs, overload", a_second, seconds, ask, connections=connections,
                sent=True),
        offered(port, "deposits under overload", 20, seconds, deposited(), connections=8),
        offered(port, "cancellations under overload", _CANCELS_A_SECOND, seconds, cancel,
                connections=8),
        offered(port, "reduce-only orders under overload", 5, seconds, reducing(price),
                connections=8),
    )  # fmt: skip
    return flood, kept


async def measured(server: Server, *, seconds: float) -> list[Load]:
    """Every load in turn."""
    port = server.port
    price = await prepared(port)
    ask = what_ifs(await symbols(port))
    await offered(port, "warm up", 500, 3.0, ask)
    loads = []
    what = f"what-ifs, {_POSITIONS} positions and a trade"
    asked: list[tuple[str, int, Body]] = [
        (what, a_second, ask) for a_second in (250, 500, 1_000, 1_500, WHAT_IFS_A_SECOND, 3_000)
    ]
    for name, a_second, draw in (*asked, ("deposits, durable", 1_000, deposits())):
        before_s = server.cpu_s()
        load = await offered(port, name, a_second, seconds, draw)
        used_us = 1e6 * (server.cpu_s() - before_s) / max(1, sum(load.statuses.values()))
        loads.append(replace(load, server_us=round(used_us)))
    most = await capacity(port, ask, seconds=seconds)
    loads.append(most)
    flood, kept = await overload(
        port, price, ask, a_second=10 * most.answered_a_second, seconds=2 * seconds
    )
    return [*loads, flood, *kept]


async def capacity(port: int, ask: Body, *, seconds: float) -> Load:
    """As many as are answered where each of `_CAN` connections asks again at once."""
    return await offered(
        port, "what-ifs, as fast as they are answered", 20_000, seconds, ask, connections=_CAN,
        sent=True,
    )  # fmt: skip


def main(seconds: float = 5.0) -> None:
    """Measure, print, write."""
    before = "/".join(f"{one:.1f}" for one in os.getloadavg())
    with tempfile.TemporaryDirectory() as home, Server(home) as server:
        before_s = server.cpu_s()
        loads = run(measured(server, seconds=seconds))
        used = {"rss_mb": round(server.rss_mb(), 1), "cpu_s": round(server.cpu_s() - before_s, 1)}
    document = {
        "machine": machine(),
        "load": before,
        "server": used,
        "loads": [asdict(one) for one in loads],
    }
    text = _markdown(document)
    print(text)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "service.json").write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    (RESULTS / "service.md").write_text(text, "utf-8")


def _markdown(document: dict[str, Any]) -> str:
    lines = [
        "# Measurements of the service", "",
        "Written by `python -m bench.service`: a second process on loopback offers a rate, and",
        "latencies count from when a request was due; where more is offered than the connections",
        "hold, from when it was sent. The server and the load share the machine.",
        f"Load of the machine before: {document['load']}.",
        "", f"machine: {document['machine']}", "",
        "| load | offered/s | sent/s | answered/s | p50 ms | p99 ms | max ms | server µs | told |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---|",
    ]  # fmt: skip
    for one in document["loads"]:
        statuses = ", ".join(f"{count:,} × {status}" for status, count in one["statuses"].items())
        lines.append(
            f"| {one['name']} | {one['offered_a_second']:,} | {one['sent_a_second']:,} | "
            f"{one['answered_a_second']:,} | {one['p50_ms']} | {one['p99_ms']} | {one['max_ms']} | "
            f"{one['server_us']:,.0f} | {statuses} |"
        )
    goal = [
        one for one in document["loads"]
        if one["offered_a_second"] == WHAT_IFS_A_SECOND and one["name"].startswith("what-ifs")
    ]  # fmt: skip
    met = bool(goal) and goal[0]["p99_ms"] < P99_MS and set(goal[0]["statuses"]) == {"200"}
    lines += ["", f"- goal {WHAT_IFS_A_SECOND:,} what-ifs a second with p99 < {P99_MS:g} ms: "
              + ("met" if met else "missed")]  # fmt: skip
    by_name = {one["name"].partition(",")[2]: one for one in document["loads"]}
    most, flood = by_name[" as fast as they are answered"], by_name[" overload"]
    lines.append(
        f"- overload: p99 of what is answered {flood['p99_ms'] / most['p99_ms']:.2f} times that at "
        f"capacity; {flood['untold']} refusals do not say when to come again"
    )
    used = document["server"]
    lines += [f"- server: {used['cpu_s']} s of a processor, {used['rss_mb']} MB at the end", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
