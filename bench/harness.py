"""Interleaved timing: every candidate has its turn in each round, so that noise troubles all alike.

In its turn a candidate runs twice and the second run counts: each is measured with its own data in
the caches, not with what a slower one left there.
"""

from __future__ import annotations

import gc
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

ROUNDS = 11


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """Something to time. `share` is the part of the whole work that one call does."""

    run: Callable[[], object]
    share: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Seconds for the whole work."""

    median: float
    best: float
    rounds: int
    share: float


def interleave(candidates: Mapping[str, Candidate], *, rounds: int = ROUNDS) -> dict[str, Timing]:
    """Time every candidate in turn, `rounds` times.

    A candidate that does only a share of the work is scaled up linearly.
    """
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    gc.collect()
    gc.disable()
    try:
        for _ in range(rounds):
            for name, candidate in candidates.items():
                candidate.run()
                start = time.perf_counter()
                candidate.run()
                seconds[name].append((time.perf_counter() - start) / candidate.share)
    finally:
        gc.enable()
    return {
        name: Timing(
            median=statistics.median(times),
            best=min(times),
            rounds=rounds,
            share=candidates[name].share,
        )
        for name, times in seconds.items()
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """A candidate's rounds beside a limit's: one entry a round in each.

    Attributes:
        seconds: of a run. rates: the limit, as measured just before and just after it; the better
            one, which is to the candidate's disadvantage, and 0 where it was not measured.
    """

    seconds: tuple[float, ...]
    rates: tuple[float, ...]

    @property
    def median(self) -> float:
        """Seconds of the middle round."""
        return statistics.median(self.seconds)

    def shares(self, work: float) -> list[float]:
        """Of the limit, round by round and sorted: work a second over the rate beside it."""
        pairs = zip(self.seconds, self.rates, strict=True)
        return sorted(work / took / rate if rate else 0.0 for took, rate in pairs)


def beside(
    candidates: Mapping[str, Callable[[], object]], limit: Callable[[], float], *, rounds: int
) -> dict[str, Beside]:
    """Time every candidate in turn, between two measurements of a limit, `rounds` times.

    Where the clock wanders a limit of before is not the limit of the run: only ratios of neighbours
    are of the machine that both had. A candidate runs twice and the second run counts.
    """
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    rates: dict[str, list[float]] = {name: [] for name in candidates}
    gc.collect()
    gc.disable()
    try:
        before = limit()
        for _ in range(rounds):
            for name, run in candidates.items():
                run()
                start = time.perf_counter()
                run()
                seconds[name].append(time.perf_counter() - start)
                after = limit()
                rates[name].append(max(before, after))
                before = after
    finally:
        gc.enable()
    return {
        name: Beside(seconds=tuple(seconds[name]), rates=tuple(rates[name])) for name in candidates
    }


@contextmanager
def one_core() -> Iterator[None]:
    """Keep this process on one processor, where the system can."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)
