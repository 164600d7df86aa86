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
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from bench.limits import machine

RESULTS = Path(__file__).parent / "results"
WHAT_IFS_A_SECOND = 2_000
P99_MS = 20.0
_POSITIONS = 20
_READY_S = 90.0
Body = Callable[[int], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What came of a load. Latencies in milliseconds from when a request was due, of those that
    were answered with 2xx; `statuses` counts all."""

    name: str
    offered_a_second: float
    answered_a_second: float
    statuses: dict[str, int]
    p50_ms: float
    p99_ms: float
    max_ms: float
    seconds: float
    server_us: float = 0.0
    """The server's own time on a processor, for each request."""
    untold: int = 0
    """Refusals (429, 503) that do not say when to come again."""


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
    """Requests that come at a rate, over so many connections in turn. `sent`: latencies count from
    when a request was sent, as this process cannot send more than the server takes."""
    took: list[float] = []
    statuses: Counter[str] = Counter()
    untold = 0
    begun_s = time.perf_counter() + 0.2
    count = int(a_second * seconds)

    async def one(first: int) -> None:
        nonlocal untold
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for number in range(first, count, connections):
            due_s = begun_s + number / a_second
            wait_s = due_s - time.perf_counter()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            if sent:
                due_s = time.perf_counter()
                if due_s - begun_s > seconds:
                    break
            writer.write(draw(number))
            status, head, _ = await _whole(reader)
            untold += status in (429, 503) and b"\r\nretry-after:" not in head
            statuses[str(status)] += 1
            if 200 <= status < 300:
                took.append(1_000 * (time.perf_counter() - due_s))
        writer.close()

    await asyncio.gather(*(one(first) for first in range(connections)))
    spent_s = time.perf_counter() - begun_s
    took.sort()
    return Load(
        name=name, offered_a_second=a_second, answered_a_second=round(len(took) / spent_s, 1),
        statuses=dict(statuses), p50_ms=_at(took, 0.5), p99_ms=_at(took, 0.99),
        max_ms=_at(took, 1.0), seconds=round(spent_s, 2), untold=untold,
    )  # fmt: skip


def _at(took: list[float], part: float) -> float:
    """A quantile of latencies in order; 0 of none."""
    return round(took[min(len(took) - 1, int(part * len(took)))], 2) if took else 0.0


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


def what_ifs(contracts: list[dict[str, Any]], *, kinds: int = 256, seed: int = 1) -> Body:
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


def relief() -> Body:
    """Deposits, which have a lane of their own, a key each."""
    body = json.dumps({"asset": "USDC", "amount": "1"}).encode()
    return lambda number: request("POST", "/v1/accounts/bench/deposits", body)


async def overload(
    port: int, ask: Body, *, a_second: float, seconds: float, connections: int = 256
) -> tuple[Load, Load]:
    """Many times as many what-ifs as can be answered, and twenty deposits a second meanwhile."""
    flood, kept = await asyncio.gather(
        offered(port, "what-ifs, overload", a_second, seconds, ask, connections=connections,
                sent=True),
        offered(port, "deposits under overload", 20, seconds, relief(), connections=8, sent=True),
    )  # fmt: skip
    return flood, kept


async def measured(server: Server, *, seconds: float) -> list[Load]:
    """Every load in turn."""
    port = server.port
    account = {"do": "open_account", "key": "bench", "actor": "bench", "account": "bench",
               "kind": "user", "rulebook": "deribit-pm"}  # fmt: skip
    await once(port, "POST", "/v1/commands", json.dumps(account).encode())
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
    rated = max(one.answered_a_second for one in loads if one.name == what)
    loads += await overload(port, ask, a_second=10 * rated, seconds=2 * seconds)
    return loads


def main(seconds: float = 5.0) -> None:
    """Measure, print, write."""
    before = "/".join(f"{one:.1f}" for one in os.getloadavg())
    with tempfile.TemporaryDirectory() as home, Server(home) as server:
        before_s = server.cpu_s()
        loads = asyncio.run(measured(server, seconds=seconds))
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
        "latencies count from when a request was due. The server and the load share the machine.",
        f"Load of the machine before: {document['load']}.",
        "", f"machine: {document['machine']}", "",
        "| load | offered/s | answered/s | p50 ms | p99 ms | max ms | server µs | statuses |",
        "|---|---:|---:|---:|---:|---:|---:|---|",
    ]  # fmt: skip
    for one in document["loads"]:
        statuses = ", ".join(f"{count:,} × {status}" for status, count in one["statuses"].items())
        lines.append(
            f"| {one['name']} | {one['offered_a_second']:,} | {one['answered_a_second']:,} | "
            f"{one['p50_ms']} | {one['p99_ms']} | {one['max_ms']} | {one['server_us']:,.0f} | "
            f"{statuses} |"
        )
    goal = [
        one for one in document["loads"]
        if one["offered_a_second"] == WHAT_IFS_A_SECOND and one["name"].startswith("what-ifs")
    ]  # fmt: skip
    met = bool(goal) and goal[0]["p99_ms"] < P99_MS
    lines += ["", f"- goal {WHAT_IFS_A_SECOND:,} what-ifs a second with p99 < {P99_MS:g} ms: "
              + ("met" if met else "missed")]  # fmt: skip
    used = document["server"]
    lines += [f"- server: {used['cpu_s']} s of a processor, {used['rss_mb']} MB at the end", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
