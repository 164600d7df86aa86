"""A venue of a million accounts: what it weighs in memory, and how long its engine takes to start.

The journal is built once: accounts, then the books of "another system" (one balance and two
positions each), a snapshot, and a tail of commands after it. Then fresh processes open it.
"""

from __future__ import annotations

import json
import random
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from bench.engine_venue import ACTOR, RULEBOOK, deposits, found, mixed
from solvent.engine.follow import Gist, Place, follow
from solvent.engine.image import restore, state_hash
from solvent.host import Engine
from solvent.journal import Journal
from solvent.messages.commands import ImportBooks, OpenAccount
from solvent.messages.fields import AccountKind, Command, OpeningBalance, OpeningPosition
from solvent.recovery import parts_of, uncollected

ACCOUNTS: Final = 1_000_000
TAIL: Final = 1_000_000
CHUNK: Final = 10_000
FUNDED: Final = 100_000_000_000
"""A hundred thousand dollars, in USDC's smallest unit."""
RESTART_SECONDS_MAX: Final = 20.0
MEMORY_GIB_MAX: Final = 4.0
TAILS: Final[dict[str, Callable[[Engine, random.Random, int, str], list[Command]]]] = {
    "deposits": deposits, "mix": mixed,
}  # fmt: skip


def build(place: Path, *, accounts: int = ACCOUNTS, tail: int = TAIL, kind: str = "mix") -> str:
    """The journal; the state's hash at its end."""
    engine = found(place, accounts=0)
    for start in range(0, accounts, CHUNK):
        numbers = range(start, min(start + CHUNK, accounts))
        engine.submit_all(_opening(numbers))
        answer = engine.submit(_books(engine, numbers))
        assert answer.accepted, answer.events
    engine.snapshot()
    draw = random.Random(2)
    for start in range(0, tail, CHUNK):
        count = min(CHUNK, tail - start)
        engine.submit_all(TAILS[kind](engine, draw, count, f"t{start}."))
    digest = engine.hash()
    engine.close()
    return digest


def _opening(numbers: range) -> list[Command]:
    return [
        OpenAccount(
            key=f"o{n}", actor=ACTOR, account=f"u{n}", kind=AccountKind.USER, rulebook=RULEBOOK
        )
        for n in numbers
    ]


def _books(engine: Engine, numbers: range) -> Command:
    """A balance and two positions each: what one account is long, the next is short."""
    contracts = [one for one in engine.state.contracts if one.mark_points]
    positions = []
    for number in numbers:
        other = numbers.start + (number + 1 - numbers.start) % len(numbers)
        contract = contracts[number % len(contracts)]
        terms = contract.listing.symbol, contract.mark_points or 0
        positions.append(OpeningPosition(f"u{number}", terms[0], 1 + number % 7, terms[1]))
        positions.append(OpeningPosition(f"u{other}", terms[0], -1 - number % 7, terms[1]))
    return ImportBooks(
        key=f"i{numbers.start}", actor=ACTOR, positions=tuple(positions),
        balances=tuple(OpeningBalance(f"u{n}", "USDC", FUNDED) for n in numbers),
    )  # fmt: skip


# ── in fresh processes ───────────────────────────────────────────────────────────────────────────


def fresh(what: str, place: Path) -> dict[str, Any]:
    """What a new process measures: `open`, `phases` or `memory`."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.engine_scale", what, str(place)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def opening(place: Path) -> dict[str, Any]:
    """The whole of it, as a venue would."""
    start, cpu_start = time.perf_counter(), time.process_time()
    engine = Engine.open(place)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu_start
    found = {
        "seconds": seconds,
        "cpu_seconds": cpu,
        "hash": engine.hash(),
        "gib": _gib(),
        "peak_gib": _peak_gib(),
    }
    engine.close()
    return found


def memory(place: Path) -> dict[str, Any]:
    """The snapshot alone, restored: what the books themselves weigh."""
    bare = _gib()
    with Journal.open(place, read_only=True) as journal:
        kept = journal.latest_snapshot()
    assert kept is not None
    with uncollected():
        state = restore(kept.image)
    image_bytes = len(kept.image)
    del kept
    gib = _gib()
    accounts = len(state.accounts)
    return {
        "gib": gib, "accounts": accounts, "image_bytes": image_bytes,
        "bytes_per_account": (gib - bare) * 2**30 / accounts,
    }  # fmt: skip


def phases(place: Path) -> dict[str, Any]:
    """Each step by itself, one after the other in one process."""
    clock = _Clock()
    with Journal.open(place) as journal, uncollected():
        clock.lap("open the journal")
        kept = journal.latest_snapshot()
        assert kept is not None
        clock.lap("read and verify the snapshot")
        state = restore(kept.image)
        del kept
        clock.lap("restore")
        start = Place(state.log.sequence, state.log.time_ms, state.log.chain)
        rows = list(journal.read(after=start.sequence, verify=False))
        clock.lap("read the tail")
        parts = list(parts_of(rows, start))
        clock.lap("verify and sum up")
        for part in parts:
            assert isinstance(part, Gist)
            follow(state, part)
        clock.lap("take over")
    return {"seconds": clock.laps, "commands": len(rows), "hash": state_hash(state)}


class _Clock:
    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._at = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name], self._at = now - self._at, now


def _gib() -> float:
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * resource.getpagesize() / 2**30


def _peak_gib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    print(json.dumps({"open": opening, "phases": phases, "memory": memory}[sys.argv[1]](
        Path(sys.argv[2]))))  # fmt: skip
