"""Parts of one pass on several threads.

Which processors there are, and threads that are kept between passes, are the shell's: it may give a
way to share work out (`cli.processors` has one). Without it threads are started for each pass and
go where the system puts them. Parts write to places of their own, so no way changes a result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

Work = Callable[[int, int], None]
Parts = Sequence[tuple[int, int]]
Sharing = Callable[[Work, Parts], None]


def share_out(work: Work, parts: Parts) -> None:
    """Do `work(start, stop)` for every part at once, each on its own thread; one part on this one.

    An exception of any part is raised when all are done.
    """
    if len(parts) == 1:
        work(*parts[0])
        return
    _SHARING[0](work, parts)


def share_by(sharing: Sharing | None) -> None:
    """Share work out in this way from now on; None for threads of each pass's own."""
    _SHARING[0] = sharing or fresh_threads


def fresh_threads(work: Work, parts: Parts) -> None:
    """Threads that are started for these parts and end with them."""
    with ThreadPoolExecutor(len(parts)) as pool:
        for done in [pool.submit(work, start, stop) for start, stop in parts]:
            done.result()


_SHARING: list[Sharing] = [fresh_threads]
