"""Threads that are kept from pass to pass, each on a processor of its own.

A system may put two threads on one processor and leave another idle for longer than a pass takes.
So each is pinned, where the system can and enough processors are allowed to the caller, whose own
thread is never moved: there is nothing to restore.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from solvent.risk.crew import Parts, Work, share_by

_LOCK = threading.Lock()
_CREWS: dict[tuple[int, int], Sequence[ThreadPoolExecutor]] = {}
"""By process, as threads do not survive a fork, and place: a pool of one thread each."""


def spread_threads() -> None:
    """Share passes out among kept, pinned threads from now on."""
    share_by(kept_threads)


def kept_threads(work: Work, parts: Parts) -> None:
    """Do each part on the thread of its place; raise what any of them raised when all are done."""
    allowed = _allowed()
    apart = len(allowed) >= len(parts)

    def at_place(place: int, start: int, stop: int) -> None:
        _pin([allowed[place]] if apart else allowed)
        work(start, stop)

    waiting = [
        one.submit(at_place, place, *part)
        for place, (one, part) in enumerate(zip(_crew(len(parts)), parts, strict=True))
    ]
    failed = [failure for done in waiting if (failure := done.exception()) is not None]
    if failed:
        raise failed[0]


def _crew(size: int) -> Sequence[ThreadPoolExecutor]:
    with _LOCK:
        key = os.getpid(), size
        if key not in _CREWS:
            _CREWS[key] = [ThreadPoolExecutor(1, "crew") for _ in range(size)]
        return _CREWS[key]


def _allowed() -> list[int]:
    """Processors that this thread may use; none where the system does not tell."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def _pin(processors: Sequence[int]) -> None:
    """Keep this thread on some processors."""
    if not processors:
        return
    # A processor may have been taken away meanwhile: then the thread stays where it is.
    try:
        os.sched_setaffinity(0, processors)
    except OSError:
        return
