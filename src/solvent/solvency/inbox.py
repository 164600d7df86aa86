"""What waits to be taken by a watch, and how long it waited.

A mark supersedes an unprocessed older one of its underlying, since a price that is over tells
nothing; what moves positions or cash never is, and keeps its order, though many trades that wait
are taken as one. So the queue holds at most one
mark an underlying, however fast they come, and every trade. Marks that change volatilities or
forwards are merged into the newer one: its None columns keep what the older one told.

Clocks are the caller's: nanoseconds of one that does not go back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from solvent.errors import check
from solvent.solvency.latency import Latencies
from solvent.solvency.watch import Mark, Watch

Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]

AT_ONCE: Final = 32
"""Marks that are taken together: what a tick costs besides its accounts is then paid once."""
TRADES_AT_ONCE: Final = 4_096
"""Trades that are taken together, and after which marks have their turn: whoever is behind pays
what a call costs besides its trades less often, and marks do not wait for all trades that wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trades:
    """Trades in order, and what each moves in its account's cash; without lots, cash alone."""

    account: Int32
    instrument: Int32
    lots: NDArray[np.float64]
    cash: Int64


class Inbox:
    """A queue before a watch.

    Attributes:
        superseded: marks that a newer one replaced. taken: marks that were processed.
        latency: from a mark's arrival to its verdicts. A mark that superseded others counts from
            its own arrival: the older ones were never going to be a verdict.
    """

    def __init__(self) -> None:
        self._marks: dict[int, tuple[Mark, int]] = {}
        self._trades: deque[Trades] = deque()
        self.superseded = self.taken = self.trades_taken = 0
        self.latency = Latencies()

    def __len__(self) -> int:
        return len(self._marks) + len(self._trades)

    def mark(self, mark: Mark, *, arrived_ns: int) -> None:
        """Queue a mark in place of an older one of its underlying."""
        older = self._marks.pop(mark.node, None)
        if older is not None:
            self.superseded += 1
            mark = _merged(older[0], mark)
        self._marks[mark.node] = (mark, arrived_ns)

    def trades(self, trades: Trades) -> None:
        """Queue trades behind all that were queued before."""
        self._trades.append(trades)

    def take(self, watch: Watch, clock: Callable[[], int]) -> bool:
        """Process what is next: trades that waited longest, then marks that waited longest.

        These are all trades, but for a watch that is far behind. False when nothing waited.
        """
        busy = bool(self._trades)
        if busy:
            one = self._next_trades()
            watch.trade(
                account=one.account, instrument=one.instrument, lots=one.lots, cash=one.cash
            )
            self.trades_taken += len(one.lots)
        if not self._marks:
            return busy
        nodes = list(self._marks)[:AT_ONCE]
        waited = [self._marks.pop(node) for node in nodes]
        # Marks of different underlyings may arrive in another order than their times.
        late = max(watch.market.as_of_ms, *(mark.as_of_ms for mark, _ in waited))
        watch.ticks([replace(mark, as_of_ms=late) for mark, _ in waited])
        now = clock()
        for _, arrived_ns in waited:
            self.latency.record(now - arrived_ns)
        self.taken += len(waited)
        return True

    def _next_trades(self) -> Trades:
        """Trades from the front of the queue, in order; what was queued together stays together."""
        chosen = [self._trades.popleft()]
        count = len(chosen[0].lots)
        while self._trades and count + len(self._trades[0].lots) <= TRADES_AT_ONCE:
            chosen.append(self._trades.popleft())
            count += len(chosen[-1].lots)
        if len(chosen) == 1:
            return chosen[0]
        return Trades(
            account=np.concatenate([one.account for one in chosen]),
            instrument=np.concatenate([one.instrument for one in chosen]),
            lots=np.concatenate([one.lots for one in chosen]),
            cash=np.concatenate([one.cash for one in chosen]),
        )


def _merged(older: Mark, newer: Mark) -> Mark:
    check(newer.as_of_ms >= older.as_of_ms, "a newer mark is not older", newer.as_of_ms)
    return replace(
        newer,
        vol=older.vol if newer.vol is None else newer.vol,
        ratio=older.ratio if newer.ratio is None else newer.ratio,
        usable=older.usable if newer.usable is None else newer.usable,
    )
