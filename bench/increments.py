"""Ten million ticks and trades of kept vectors, one after another, against a fresh recomputation.

A tick changes a risk row, a trade a position; each goes through the kernels of `solvency.vectors`
and `solvency.holdings` alone, before the next one, and every bit is compared at the end.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numba import njit

from solvent.solvency import compiled
from solvent.solvency.holdings import DONE, Holdings
from solvent.solvency.rows import aligned
from solvent.solvency.vectors import Vectors

EVENTS = 10_000_000
ACCOUNTS, INSTRUMENTS, NODES, COLUMNS, CHOICES = 2_000, 500, 5, 72, 12
_BATCH = 500_000
_STEPS = 256


def run(*, events: int = EVENTS, seed: int = 4) -> dict[str, float]:
    """Apply so many events and compare: InvariantBroken where a bit differs.

    An account opens and closes positions in a few instruments of its own; a row moves by whole
    quanta, and about every eighth tick changes nothing.
    """
    rng = np.random.default_rng(seed)
    node_of = np.sort(rng.integers(0, NODES, INSTRUMENTS)).astype(np.int32)
    held = Holdings.of(
        first=np.zeros(ACCOUNTS + 1, np.int64), instrument=np.zeros(0, np.int32), lots=np.zeros(0),
        node_of=node_of,
    )  # fmt: skip
    matrix = aligned(INSTRUMENTS, COLUMNS)
    matrix[:] = rng.integers(-(10**9), 10**9, matrix.shape)
    steps = rng.integers(-2_000, 2_001, (_STEPS, COLUMNS)).astype(np.float64)
    steps[rng.random(_STEPS) < 0.125] = 0.0
    vectors = Vectors(held, matrix)
    vectors.sums = aligned(ACCOUNTS * NODES, COLUMNS)
    own = rng.integers(0, INSTRUMENTS, (ACCOUNTS, CHOICES)).astype(np.int32)
    marked, touched = np.zeros(ACCOUNTS, dtype=bool), np.zeros(ACCOUNTS, np.int32)
    count = np.zeros(3, np.int64)
    seconds = 0.0
    for first in range(0, events, _BATCH):
        size = min(_BATCH, events - first)
        batch = _events(rng, size, own)
        start = time.perf_counter()
        at = 0
        while at < size:
            at, need = _apply(
                held.store, *batch, steps, matrix, vectors.sums, marked, touched, count, at
            )
            if need != DONE:
                held._make_room(need)
        seconds += time.perf_counter() - start
    vectors.check_fresh(held, matrix)
    held.check_links()
    return {
        "events": float(count[0] + count[1]), "ticks": float(count[0]), "trades": float(count[1]),
        "vectors changed": float(count[2]), "seconds": seconds,
        "million events a second": float(count[0] + count[1]) / seconds / 1e6,
        "positions": float(held.positions), "equal to the bit": 1.0,
    }  # fmt: skip


def _events(rng: np.random.Generator, size: int, own: Any) -> tuple[Any, ...]:
    """[event] whether it is a tick, account, instrument, lots, step."""
    tick = rng.random(size) < 0.5
    account = rng.integers(0, ACCOUNTS, size).astype(np.int32)
    instrument = own[account, rng.integers(0, CHOICES, size)]
    instrument[tick] = rng.integers(0, INSTRUMENTS, int(tick.sum()))
    lots = rng.integers(1, 100, size) * rng.choice([-1.0, 1.0], size)
    return tick, account, instrument, lots, rng.integers(0, _STEPS, size)


@njit(nogil=True, cache=True)
def _apply(  # type: ignore[no-untyped-def]
    s, tick, account, instrument, lots, step, steps, matrix, kept, marked, touched, count, start
):
    """Events from `start` on: (where it stopped, what it needs to go on)."""
    which, held = np.zeros(1, np.int64), np.zeros(1)
    before, after = np.zeros((2, 1, matrix.shape[1]))
    amount = np.zeros(1)
    for t in range(start, len(tick)):
        i = instrument[t]
        if tick[t]:
            which[0] = i
            moved = False
            for c in range(matrix.shape[1]):
                before[0, c] = matrix[i, c]
                after[0, c] = matrix[i, c] + steps[step[t], c]
                moved |= after[0, c] != before[0, c]
            count[0] += 1
            # What did not change after quantising stops here.
            if not moved:
                continue
            found = compiled.add_changed(s, which, before, after, kept, marked, touched)
            for k in range(found):
                marked[touched[k]] = False
            matrix[i] = after[0]
            count[2] += found
            continue
        amount[0] = _closing(s, account[t], i, lots[t])
        mine, what = account[t : t + 1], instrument[t : t + 1]
        done, need = compiled.trade(s, mine, what, amount, held, 0)
        if done == 0:
            return t, need
        compiled.add_trades(s, mine, what, amount, matrix, kept)
        count[1] += 1
        count[2] += 1
    return len(tick), DONE


@njit(nogil=True, cache=True)
def _closing(s, account, instrument, lots):  # type: ignore[no-untyped-def]
    """Lots that close what is held, where the account holds the instrument: at every third size."""
    row = compiled.find_row(s, account, s.node_of[instrument])
    if row >= 0 and lots % 3.0 == 0.0:
        for slot in range(s.first[row], s.first[row] + s.length[row]):
            if s.instrument[slot] == instrument:
                return -s.lots[slot]
    return lots
