"""The engine: commands a second and where the time goes, against the machine's limits and the same
engine without its short cuts; a million accounts in memory, and how long they take to come back.

`python -m bench.engine` measures this alone and writes `bench/results/engine.{json,md}`. Everything
runs on one core but the restart, which may use all.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

from sqlalchemy import Connection, event
from sqlalchemy import Engine as Database

from bench.engine_scale import (
    MEMORY_GIB_MAX,
    RESTART_SECONDS_MAX,
    TAIL,
    TAILS,
    build,
    fresh,
)
from bench.engine_venue import deposits, found, mixed, trades
from bench.harness import one_core
from bench.limits import machine
from solvent.chains import ORIGIN, link
from solvent.engine.apply import apply_all
from solvent.host import Engine
from solvent.journal import Row
from solvent.messages.codec import encode_events, stored_command
from solvent.messages.fields import Command
from solvent.recovery import uncollected

RESULTS: Final = Path(__file__).parent / "results"
ACCOUNTS: Final = 20_000
BATCH: Final = 10_000
ROUNDS: Final = 7
ALONE: Final = 400
"""Commands of the ways that are too slow for a batch."""
GOAL: Final = 50_000
"""Deposits or trades a second on one core, journaling included."""
Draw = Callable[[Engine, random.Random, int, str], list[Command]]
KINDS: Final[Mapping[str, Draw]] = {
    "deposits": deposits, "trades": trades, "half trades, half deposits": mixed,
}  # fmt: skip


def main() -> None:
    """Measure, print, write."""
    tables = measure()
    document = {"machine": machine(), "load": os.getloadavg(), "tables": tables}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "engine.json").write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    text = _markdown(document)
    (RESULTS / "engine.md").write_text(text, "utf-8")
    print(text)
    missed = [f"{t['name']}: {g}" for t in tables for g, met in t["goals"].items() if not met]
    if missed:
        print("goals missed:", *missed, sep="\n  ", file=sys.stderr)


def measure() -> list[dict[str, Any]]:
    """Every table."""
    with one_core(), tempfile.TemporaryDirectory() as folder:
        tables = [_throughput(Path(folder), name, draw) for name, draw in KINDS.items()]
    with tempfile.TemporaryDirectory() as folder:
        for kind in TAILS:
            place = Path(folder) / kind
            digest = build(place, kind=kind)
            tables.append(_restart(place, kind, digest))
        tables.append(_memory(Path(folder) / next(iter(TAILS))))
    return tables


# ── commands a second ────────────────────────────────────────────────────────────────────────────


def _throughput(folder: Path, name: str, draw: Draw) -> dict[str, Any]:
    """Whole batches and, in turn with them, the same in steps and what the machine could do."""
    folder = folder / name
    engine = found(folder / "venue", accounts=ACCOUNTS)
    chance = random.Random(1)
    seconds: dict[str, list[float]] = {}

    def note(what: str, took: float) -> None:
        seconds.setdefault(what, []).append(took * 1e6)

    for turn in range(ROUNDS + 1):
        with uncollected():
            commands = draw(engine, chance, BATCH, f"w{turn}.")
            note("whole batch of 10,000", _timed(partial(engine.submit_all, commands)) / BATCH)
            commands = draw(engine, chance, BATCH, f"s{turn}.")
            steps, rows = in_steps(engine, commands)
            for step, took in steps.items():
                note(step, took / BATCH)
            for limit, took in limits_of(folder, rows).items():
                note(limit, took / BATCH)
            for way, alone in _without(engine, draw, chance, turn).items():
                note(way, alone / ALONE)
    engine.close()
    # The first turn warms up.
    micros = {what: statistics.median(took[1:]) for what, took in seconds.items()}
    whole = micros["whole batch of 10,000"]
    goals = {f">= {GOAL:,} a second": 1e6 / whole >= GOAL}
    rows_told = [
        {"way": what, "micros": took, "per_second": 1e6 / took, "ratio": took / whole}
        for what, took in micros.items()
    ]
    return {"name": f"{name}, one core, journaled", "rows": rows_told, "facts": {}, "goals": goals}


def _timed(act: Callable[[], object]) -> float:
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


def in_steps(engine: Engine, commands: Sequence[Command]) -> tuple[dict[str, float], list[Row]]:
    """What `submit_all` does, step by step, and the rows that came of it."""
    state, first = engine.state, engine.state.log.sequence
    times_ms = [state.log.time_ms] * len(commands)
    clock = [time.perf_counter()]
    bodies = [body for body in map(stored_command, commands) if isinstance(body, bytes)]
    clock.append(time.perf_counter())
    applied = apply_all(state, commands, times_ms, bodies)
    clock.append(time.perf_counter())
    rows = [
        Row(first + place, time_ms, one.kind, one.command, one.stored, one.chain)
        for place, (one, time_ms) in enumerate(zip(applied, times_ms, strict=True), 1)
    ]
    clock.append(time.perf_counter())
    with _commits() as begun:
        engine.journal.append(rows)
    clock.append(time.perf_counter())
    encode, apply, made, _ = (b - a for a, b in pairwise(clock))
    start = time.perf_counter()
    for one in applied:
        encode_events(one.events)
    events = time.perf_counter() - start
    start = time.perf_counter()
    chain = ORIGIN
    for row in rows:
        chain = link(chain, row.sequence, row.time_ms, row.command, row.events)
        hashlib.blake2b(row.command, digest_size=16).digest()
    hashes = time.perf_counter() - start
    return {
        "· encode and read back": encode,
        "· apply, of it events to bytes and hashes": apply,
        "· · events to bytes": events,
        "· · chain and request digests": hashes,
        "· rows": made,
        "· journal: insert": begun[-1] - clock[3],
        "· journal: commit with its sync, and witness": clock[4] - begun[-1],
    }, rows


@contextmanager
def _commits() -> Iterator[list[float]]:
    """When each commit began."""
    begun: list[float] = []

    def note(_: Connection) -> None:
        begun.append(time.perf_counter())

    event.listen(Database, "commit", note)
    try:
        yield begun
    finally:
        event.remove(Database, "commit", note)


def limits_of(folder: Path, rows: Sequence[Row]) -> dict[str, float]:
    """The same bytes as fast as the machine takes them."""
    content = b"".join(row.command + row.events + row.chain for row in rows)
    return {
        "limit: one write and sync of the bytes": _written(folder / "raw", content),
        "limit: one BLAKE2b over the bytes": _timed(lambda: hashlib.blake2b(content).digest()),
        "limit: the rows by executemany, one transaction": _inserted(folder / "bare.db", rows),
    }


def _written(path: Path, content: bytes) -> float:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        start = time.perf_counter()
        os.write(descriptor, content)
        os.fsync(descriptor)
        return time.perf_counter() - start
    finally:
        os.close(descriptor)


def _inserted(path: Path, rows: Sequence[Row]) -> float:
    connection = sqlite3.connect(path, isolation_level=None)
    for pragma in ("page_size=8192", "journal_mode=WAL", "synchronous=FULL",
                   "wal_autocheckpoint=0"):  # fmt: skip
        connection.execute(f"PRAGMA {pragma}")
    connection.execute(
        "CREATE TABLE IF NOT EXISTS rows (sequence INTEGER PRIMARY KEY, time_ms INTEGER, kind TEXT,"
        " command BLOB, events BLOB, chain BLOB)"
    )
    start = time.perf_counter()
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany("INSERT INTO rows VALUES (?, ?, ?, ?, ?, ?)", rows)
    connection.execute("COMMIT")
    took = time.perf_counter() - start
    connection.close()
    return took


def _without(engine: Engine, draw: Draw, chance: random.Random, turn: int) -> dict[str, float]:
    """The same engine without what makes it fast."""
    commands = draw(engine, chance, ALONE, f"a{turn}.")

    def one_by_one() -> None:
        for command in commands:
            engine.submit(command)

    ways = {"twin: a transaction for each command": _timed(one_by_one)}
    commands = draw(engine, chance, ALONE, f"m{turn}.")
    engine.state.slack.clear()
    with (
        patch("solvent.engine.slack.after", lambda *_: None),
        patch("solvent.engine.slack.warm", lambda *_: None),
        patch("solvent.engine.ahead.known", lambda *_: None),
    ):
        ways["twin: each margin check by itself"] = _timed(partial(engine.submit_all, commands))
    return ways


# ── a million accounts ───────────────────────────────────────────────────────────────────────────


def _restart(place: Path, kind: str, digest: str) -> dict[str, Any]:
    whole, steps = fresh("open", place), fresh("phases", place)
    rows = [{"way": "Engine.open", "seconds": whole["seconds"]}]
    rows += [{"way": f"· {step}", "seconds": took} for step, took in steps["seconds"].items()]
    return {
        "name": f"restart: 1 M accounts from a snapshot, and {TAIL:,} commands ({kind}) after it",
        "rows": rows,
        "facts": {
            "processor seconds of Engine.open": whole["cpu_seconds"],
            "GiB afterwards": whole["gib"],
            "GiB at most": whole["peak_gib"],
        },
        "goals": {
            f"<= {RESTART_SECONDS_MAX:.0f} s": whole["seconds"] <= RESTART_SECONDS_MAX,
            "the same state hash": whole["hash"] == steps["hash"] == digest,
        },
    }


def _memory(place: Path) -> dict[str, Any]:
    seen = fresh("memory", place)
    return {
        "name": "memory of 1 M accounts with a balance and two positions each",
        "rows": [],
        "facts": {
            "GiB resident": seen["gib"], "bytes an account": seen["bytes_per_account"],
            "bytes of a snapshot an account": seen["image_bytes"] / seen["accounts"],
        },
        "goals": {f"< {MEMORY_GIB_MAX:.0f} GiB": seen["gib"] < MEMORY_GIB_MAX},
    }  # fmt: skip


def _markdown(document: Mapping[str, Any]) -> str:
    lines = ["# Measurements of the engine", ""]
    lines.append(
        "Written by `python -m bench.engine`. Medians of turns in which all ways ran one after the "
        "other; ratios are to the whole batch. Steps with a dot are parts of it."
    )
    lines += ["", ", ".join(f"{k}: {v}" for k, v in document["machine"].items()), ""]
    for table in document["tables"]:
        lines += [f"## {table['name']}", ""]
        if table["rows"]:
            timed = "micros" in table["rows"][0]
            heads = ["way", "µs a command", "a second", "ratio"] if timed else ["way", "seconds"]
            lines += [f"| {' | '.join(heads)} |", f"|---|{'---:|' * (len(heads) - 1)}"]
        for row in table["rows"]:
            told = (
                f"{row['micros']:,.2f} | {row['per_second']:,.0f} | {row['ratio']:,.3f}"
                if "micros" in row
                else f"{row['seconds']:,.2f}"
            )
            lines.append(f"| {row['way']} | {told} |")
        lines += [""] * bool(table["rows"])
        lines += [f"- {fact}: {value:,.4g}" for fact, value in table["facts"].items()]
        lines += [f"- goal {goal}: {'met' if met else '**missed**'}"
                  for goal, met in table["goals"].items()]  # fmt: skip
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
