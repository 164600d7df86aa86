"""Orders: operations a second of the books alone, and of the engine with margin and journal.

`python -m bench.orders` measures this alone and writes `bench/results/orders.{json,md}`. Everything
runs on one core. All do the same operations, drawn beforehand (`bench.orders_flow`): each begins
with the same orders at rest, and in its turn takes the next of them.
"""

from __future__ import annotations

import gc
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

from bench.engine import in_steps, limits_of
from bench.harness import one_core
from bench.limits import machine
from bench.orders_flow import Flow, Op, Solvent, lots_traded
from bench.orders_peers import Dictionary, Twin, Way, installed
from bench.orders_venue import ACCOUNTS, POSITIONS, Venue
from solvent.recovery import uncollected

RESULTS: Final = Path(__file__).parent / "results"
ROUNDS: Final = 9
INSTRUMENTS: Final = 500
TRADERS: Final = 1_000
TURN: Final = 20_000
"""Operations of those who are fast."""
TWIN: Final = "twin: one list of all orders"
TWIN_TURN: Final = 60
WARM: Final = 0.2
"""Of a turn, which is not timed."""
DESK_GOAL: Final = 100_000
ENGINE_GOAL: Final = 20_000
"""Operations a second on one core."""
BATCH: Final = 10_000
ALONE: Final = 200
DESK: Final = "solvent: order desk"
ENGINE: Final = "engine: two batches of 10,000 after a new market"
BATCHES: Final = ("· the first: margin of all accounts anew", "· the second")


def main() -> None:
    """Measure, print, write."""
    load = os.getloadavg()
    with one_core(), tempfile.TemporaryDirectory() as folder:
        tables = [_desk(), _engine(Path(folder))]
    document = {"machine": machine(), "load": [load, os.getloadavg()], "tables": tables}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "orders.json").write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    text = _markdown(document)
    (RESULTS / "orders.md").write_text(text, "utf-8")
    print(text)
    missed = [f"{t['name']}: {g}" for t in tables for g, met in t["goals"].items() if not met]
    if missed:
        print("goals missed:", *missed, sep="\n  ", file=sys.stderr)


# ── times ────────────────────────────────────────────────────────────────────────────────────────


class _Times:
    """Microseconds an operation, of each way turn by turn: by the clock, and of the processor."""

    def __init__(self) -> None:
        self._clock: dict[str, list[float]] = {}
        self._processor: dict[str, list[float]] = {}

    @contextmanager
    def turn(self, way: str, count: int) -> Iterator[None]:
        clock, processor = time.perf_counter(), time.process_time()
        yield
        self.note(way, (time.perf_counter() - clock) / count)
        took = (time.process_time() - processor) / count
        self._processor.setdefault(way, []).append(took * 1e6)

    def note(self, way: str, seconds: float) -> None:
        self._clock.setdefault(way, []).append(seconds * 1e6)

    def rows(self, base: str) -> list[dict[str, Any]]:
        """Medians, the base first; the first turn warms up."""
        whole = statistics.median(self._clock[base][1:])
        found = []
        for way in sorted(self._clock, key=lambda one: one != base):
            clock, processor = self._clock[way], self._processor.get(way)
            micros = statistics.median(clock[1:])
            cpu_micros = statistics.median(processor[1:]) if processor else None
            found.append(
                {"way": way, "micros": micros, "cpu_micros": cpu_micros, "per_second": 1e6 / micros,
                 "ratio": micros / whole}
            )  # fmt: skip
        return found


def _goal(row: Mapping[str, Any], per_second: int) -> dict[str, bool]:
    """By the processor's time: others may be at work on it."""
    return {f">= {per_second:,} a second of the processor": 1e6 / row["cpu_micros"] >= per_second}


# ── the books alone ──────────────────────────────────────────────────────────────────────────────


def _desk() -> dict[str, Any]:
    flow = Flow([10_000 + n for n in range(INSTRUMENTS)], accounts=TRADERS, seed=1)
    opening = flow.opening()
    ops = flow.draw(TURN * (ROUNDS + 1))
    peers = installed()
    ways: dict[str, tuple[Way, int]] = {
        DESK: (Solvent(INSTRUMENTS), TURN),
        TWIN: (Twin(INSTRUMENTS, opening), TWIN_TURN),
        "limit: orders in a dictionary, no books": (Dictionary(), TURN),
    }
    ways |= {name: (peer.make(INSTRUMENTS), peer.turn) for name, peer in peers.items()}
    for name, (way, _) in ways.items():
        if name != TWIN:
            way.run(opening)
    rows = _in_turn(ways, ops).rows(DESK)
    ratios = {row["way"]: row["ratio"] for row in rows}
    facts = {"orders at rest at first": float(len(opening)), "twin, to the desk": ratios[TWIN]}
    matching = [ratios[name] for name, peer in peers.items() if peer.matches]
    if matching:
        facts["the fastest peer that matches, to the desk"] = min(matching)
    what = "cancel or amend 70 %, place 25 %, trade 5 %"
    return {
        "name": f"the order desk alone: {what}, {INSTRUMENTS} books, one core",
        "rows": rows,
        "facts": facts,
        "goals": _goal(rows[0], DESK_GOAL),
    }


def _in_turn(ways: Mapping[str, tuple[Way, int]], ops: Sequence[Op]) -> _Times:
    """All ways, turn by turn; each takes the next of the operations."""
    times, done = _Times(), dict.fromkeys(ways, 0)
    gc.collect()
    for _ in range(ROUNDS + 1):
        for name, (way, count) in ways.items():
            mine = ops[done[name] : done[name] + count]
            done[name] += count
            first = int(count * WARM)
            with uncollected():
                way.run(mine[:first])
                with times.turn(name, count - first):
                    way.run(mine[first:])
    for name, (way, _) in ways.items():
        traded = lots_traded(ops[: done[name]])
        assert way.traded == traded, f"{name}: expected {traded} lots traded, found {way.traded}"
    return times


# ── the engine ───────────────────────────────────────────────────────────────────────────────────


def _engine(folder: Path) -> dict[str, Any]:
    """A second's work at the goal: two batches after a new market, when no account's margin is
    bounded yet. In turn with them a batch in steps, without bounds, and its books alone."""
    venue = Venue(folder / "venue")
    facts = {
        "accounts": float(ACCOUNTS),
        "positions of each": float(POSITIONS),
        "orders at rest at first": float(len(venue.opening)),
        "initial margin, share of equity, median": venue.margin_share(),
    }
    desk = Solvent(len(venue.contracts))
    desk.run(venue.opening)
    times, checks = _Times(), 0
    gc.collect()
    for _ in range(ROUNDS + 1):
        with uncollected():
            drawn = [venue.draw(BATCH) for _ in BATCHES]
            venue.forget_bounds()
            with times.turn(ENGINE, BATCH * len(BATCHES)):
                for name, (_, commands) in zip(BATCHES, drawn, strict=True):
                    with times.turn(name, BATCH):
                        answers = venue.engine.submit_all(commands)
                    assert all(answer.accepted for answer in answers)
            for ops, _ in drawn:
                with times.turn("its books alone", BATCH):
                    desk.run(ops)
            checks = _in_steps(folder, venue, desk, times)
            _without_bounds(venue, desk, times)
    facts["margin of one account worked out alone, times in 10,000"] = float(checks)
    rows = times.rows(ENGINE)
    return {
        "name": "the engine: the same mix under deribit-pm, matched and journaled, one core",
        "rows": rows,
        "facts": facts,
        "goals": _goal(rows[0], ENGINE_GOAL),
    }


def _in_steps(folder: Path, venue: Venue, desk: Solvent, times: _Times) -> int:
    """A batch step by step, and what the machine could do; how often margin was worked out."""
    ops, commands = venue.draw(BATCH)
    desk.run(ops)
    with (
        _counted("solvent.engine.margin_of_orders.standing") as orders,
        _counted("solvent.engine.trading.standing") as trades,
    ):
        steps, made = in_steps(venue.engine, commands)
    for way, took in {**steps, **limits_of(folder, made)}.items():
        times.note(way, took / BATCH)
    return len(orders) + len(trades)


def _without_bounds(venue: Venue, desk: Solvent, times: _Times) -> None:
    ops, commands = venue.draw(ALONE)
    desk.run(ops)
    venue.forget_bounds()
    with (
        patch("solvent.engine.slack.after", lambda *_: None),
        patch("solvent.engine.slack.warm", lambda *_: None),
        times.turn("twin: each margin check by itself", ALONE),
    ):
        venue.engine.submit_all(commands)


@contextmanager
def _counted(function: str) -> Iterator[list[None]]:
    """How often a function is called: as long as the list."""
    calls: list[None] = []
    module, name = function.rsplit(".", 1)
    was = getattr(import_module(module), name)

    def noted(*arguments: object) -> object:
        calls.append(None)
        return was(*arguments)

    with patch(function, noted):
        yield calls


def _markdown(document: Mapping[str, Any]) -> str:
    lines = ["# Measurements of orders", ""]
    lines.append(
        "Written by `python -m bench.orders`. Medians of turns in which all ways ran one after the "
        "other, each on the next of the same operations; ratios and what comes in a second are by "
        "the clock. Rows with a dot are parts of what stands above them; of steps the processor's "
        "own time is not known. What the peers are asked is told in `bench/orders_peers.py`: none "
        "of them knows accounts, asks about a fill or tells what it did in events to keep."
    )
    before, after = ("/".join(f"{one:.1f}" for one in load) for load in document["load"])
    lines += ["", ", ".join(f"{k}: {v}" for k, v in document["machine"].items())]
    lines[-1] += f", load before {before}, after {after}"
    lines.append("")
    for table in document["tables"]:
        lines += [f"## {table['name']}", "",
                  "| way | µs an operation | of the processor | a second | ratio |",
                  "|---|---:|---:|---:|---:|"]  # fmt: skip
        lines += [
            f"| {row['way']} | {row['micros']:,.2f} | {_told(row['cpu_micros'])} | "
            f"{row['per_second']:,.0f} | {row['ratio']:,.3f} |"
            for row in table["rows"]
        ]
        lines.append("")
        lines += [f"- {fact}: {value:,.4g}" for fact, value in table["facts"].items()]
        lines += [f"- goal {goal}: {'met' if met else '**missed**'}"
                  for goal, met in table["goals"].items()]  # fmt: skip
        lines.append("")
    return "\n".join(lines)


def _told(micros: float | None) -> str:
    return "" if micros is None else f"{micros:,.2f}"


if __name__ == "__main__":
    main()
