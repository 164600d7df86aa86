"""The verdict on every account: healthy, warning, call, liquidate, unknown; with totals.

equity = cash + Σ lots·mark. A requirement is the sum over netting nodes of the worst scenario's
loss times a ratio in millionths, rounded up, and half a quantum per lot held, rounded up: what
rounding the rows can hide. Whole quanta throughout; nodes do not offset each other.

| state | when |
|---|---|
| unknown | a position has no number, or sums may leave the exact range: frozen, never liquidated |
| liquidate | equity < maintenance |
| call | equity < initial margin |
| warning | (equity − maintenance) / equity is below 20 %; `close` is 2 where it is below 10 % |
| healthy | else |
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from solvent.errors import check
from solvent.risk.crew import share_out
from solvent.risk.product import in_parallel
from solvent.solvency.holdings import Holdings
from solvent.solvency.rows import LANES, Scenes, aligned
from solvent.units import Float64

Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]


MANY = 1 << 13
"""From so many accounts on a pass goes by rows; below, account by account costs less."""


class State(IntEnum):
    """Where an account stands; a larger one of the first four is more urgent."""

    HEALTHY = 0
    WARNING = 1
    CALL = 2
    LIQUIDATE = 3
    UNKNOWN = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratios:
    """Requirements as millionths of the worst loss: 1_000_000 is the loss itself."""

    initial_ppm: int
    maintenance_ppm: int

    def __post_init__(self) -> None:
        for ppm in (self.initial_ppm, self.maintenance_ppm):
            check(0 <= ppm <= 10_000_000, "a ratio from 0 to 10", ppm)
        check(self.maintenance_ppm <= self.initial_ppm, "initial margin is the larger one")


@dataclass(frozen=True, slots=True, kw_only=True)
class Total:
    """Accounts of one state and their money in quanta; unknown ones have no money."""

    accounts: int
    equity: int
    initial: int
    maintenance: int
    shortfall: int
    """Σ of what equity is below 0."""


class Figures:
    """Equity, requirements and state of every account, each with the time of its data.

    `rulebook` [account] is a code by which counts and totals are kept apart.
    """

    def __init__(self, *, accounts: int, nodes: int, rulebook: Int32 | None = None) -> None:
        # On cache lines, as a pass over everybody writes whole ones.
        self.equity, self.initial, self.maintenance = (_column(accounts) for _ in range(3))
        self.state = np.full(accounts, State.UNKNOWN, np.uint8)
        self.close = np.zeros(accounts, np.uint8)
        self.unknown = np.zeros(accounts, dtype=bool)
        self.figures_ms = _column(accounts)
        self.figures_ms[:] = -1
        self.rulebook = np.zeros(accounts, np.int32) if rulebook is None else rulebook
        check(len(self.rulebook) == accounts, "one rulebook an account", len(self.rulebook))
        books = int(self.rulebook.max(initial=0)) + 1
        self._counts = np.zeros((books, len(State)), np.int64)
        self._by_node = np.zeros((nodes, len(State)), np.int64)
        self._high, self._low = np.zeros((2, books, len(State), 4), np.int64)

    def leave(self, held: Holdings, who: Int32) -> None:
        """Take accounts out of the counts, before anything about them changes."""
        self._tally(held, who, -1)

    def enter(self, held: Holdings, who: Int32) -> None:
        """Count accounts again."""
        self._tally(held, who, 1)

    def judge(
        self, held: Holdings, matrix: Float64, scenes: Scenes, ratios: Ratios, cash: Int64,
        who: Int32, *, at_ms: int, kept: Float64 | None = None, largest: Float64 | None = None,
        threads: int = 1,
    ) -> None:  # fmt: skip
        """Compute figures and states of `who` from rows, or from vectors that are `kept`.

        `largest` [instrument] is given where a sum may leave the exact range. Counts are the
        caller's: `leave` before, `enter` after.
        """
        from solvent.solvency import compiled

        if kept is None and len(who) >= max(MANY, self.accounts // 8):
            from solvent.solvency.by_rows import compiled as by_rows

            if by_rows.ascends(who):
                self._judge_many(
                    held, matrix, scenes, ratios, cash, who, at_ms=at_ms, largest=largest,
                    threads=threads,
                )  # fmt: skip
                return
        kernel = compiled.judge(scenes.width, scenes.narrow)
        vectors = np.zeros((0, scenes.columns)) if kept is None else kept

        if largest is not None:
            compiled.beyond(held.store, largest, who, self.unknown)
        else:
            self.unknown[who] = False

        def work(start: int, stop: int) -> None:
            kernel(
                held.store, matrix, vectors, cash, (ratios.initial_ppm, ratios.maintenance_ppm),
                who, at_ms, self.equity, self.initial, self.maintenance, self.unknown, self.state,
                self.close, self.figures_ms, start, stop,
            )  # fmt: skip

        in_parallel(work, rows=len(who), positions=10 * len(who), threads=threads)

    def _judge_many(
        self, held: Holdings, matrix: Float64, scenes: Scenes, ratios: Ratios, cash: Int64,
        who: Int32, *, at_ms: int, largest: Float64 | None, threads: int,
    ) -> None:  # fmt: skip
        """The same for many accounts, in order: by rows, so that memory is read as it lies."""
        from solvent.solvency.by_rows import compiled as by_rows

        if len(who) == held.accounts:
            order = held.order()
        else:
            chosen = np.zeros(held.accounts, dtype=bool)
            chosen[who] = True
            order = held.order_of(chosen)
        columns = self.equity, self.initial, self.maintenance, self.figures_ms
        check(_on_lines(order.block, *columns), "blocks of figures begin on cache lines")
        kernel = by_rows.judge(scenes.width, scenes.narrow, largest is not None)
        blocks = len(order.edge) - 1
        seat = np.searchsorted(who, np.arange(blocks + 1, dtype=who.dtype) * order.block)
        most = np.zeros(held.nodes)
        if largest is not None:
            np.maximum.at(most, held.store.node_of, largest)
        known = np.zeros(0) if largest is None else largest

        def work(start: int, stop: int) -> None:
            kernel(
                held.store, matrix, order.rows, order.edge, who, seat, order.block, known, most,
                cash, (ratios.initial_ppm, ratios.maintenance_ppm), at_ms, self.equity,
                self.initial, self.maintenance, self.unknown, self.state, self.close,
                self.figures_ms, aligned(order.block + 1, 4).view(np.int64),
                aligned(3, LANES * LANES),
                start, stop,
            )  # fmt: skip

        share_out(work, _even_parts(order.edge, threads))

    def tell(
        self, held: Holdings, *, equity: Int64, initial: Int64, maintenance: Int64, unknown: Bool,
        call: Bool, liquidate: Bool, at_ms: int,
    ) -> None:  # fmt: skip
        """Take everybody's figures and conditions from elsewhere, and count them."""
        self.equity[:], self.initial[:], self.maintenance[:] = equity, initial, maintenance
        room = self.equity - self.maintenance
        # Compared by what is left, as equity times ten could leave int64.
        near = [room < 0, *(room < -(-self.equity // share) for share in (5, 10))]
        close = np.where(near[0], 2, near[1].astype(np.int64) + near[2])
        self.unknown[:] = unknown
        self.close[:] = np.where(unknown, 0, np.where(liquidate, 2, close))
        warned = np.where(self.close > 0, State.WARNING, State.HEALTHY)
        called = np.where(call, State.CALL, warned)
        fallen = np.where(liquidate, State.LIQUIDATE, called)
        self.state[:] = np.where(unknown, State.UNKNOWN, fallen)
        self.figures_ms[:] = at_ms
        self.enter(held, np.arange(len(self.state), dtype=np.int32))

    def count(self, state: State) -> int:
        """Accounts in a state."""
        return int(self._counts[:, state].sum())

    def total(self, state: State, *, rulebook: int | None = None) -> Total:
        """Counts and money of a state, of one rulebook or of all."""
        books = slice(None) if rulebook is None else slice(rulebook, rulebook + 1)
        high, low = self._high[books, state], self._low[books, state]
        money = [
            (int(h) << 32) + int(one)
            for h, one in zip(high.sum(axis=0), low.sum(axis=0), strict=True)
        ]
        accounts = int(self._counts[books, state].sum())
        return Total(
            accounts=accounts, equity=money[0], initial=money[1], maintenance=money[2],
            shortfall=money[3],
        )  # fmt: skip

    def at_node(self, node: int, state: State) -> int:
        """Accounts in a state that hold something at a node."""
        return int(self._by_node[node, state])

    def touching(self, node: int) -> int:
        """Accounts that hold something at a node."""
        return int(self._by_node[node].sum())

    @property
    def accounts(self) -> int:
        """How many accounts there are."""
        return len(self.state)

    @property
    def nbytes(self) -> int:
        """Memory of what is kept by account."""
        kept = (self.equity, self.initial, self.maintenance, self.state, self.close, self.unknown)
        return sum(column.nbytes for column in (*kept, self.figures_ms, self.rulebook))

    def urgent(self, limit: int) -> Int64:
        """The most urgent accounts that are not healthy, nearest to ruin first; unknown ones last.

        Liquidate before call before warning; within one, by (equity − maintenance) / equity, and
        who has no equity left first, by how much is missing.
        """
        found = np.flatnonzero(self.state != State.HEALTHY)
        state, equity = self.state[found].astype(np.int64), self.equity[found]
        room = (equity - self.maintenance[found]).astype(np.float64)
        left = equity > 0
        share = np.where(left, room / np.maximum(equity, 1), room)
        rank = np.where(state == State.UNKNOWN, -1, state)
        return found[np.lexsort((found, share, left, -rank))][:limit]

    def _tally(self, held: Holdings, who: Int32, sign: int) -> None:
        from solvent.solvency import compiled

        compiled.tally(
            held.store, who, sign, self.rulebook, self.state, self.equity, self.initial,
            self.maintenance, self._counts, self._by_node, self._high, self._low,
        )  # fmt: skip


def _column(count: int) -> Int64:
    """Whole numbers, all 0, that begin on a cache line."""
    return aligned(count).view(np.int64)


def _on_lines(block: int, *columns: Int64) -> bool:
    """Whether blocks of all columns begin on cache lines."""
    line = LANES * 8
    return block % LANES == 0 and not any(column.ctypes.data % line for column in columns)


def _even_parts(edge: Int64, threads: int) -> list[tuple[int, int]]:
    """Runs of blocks with about as many rows each; a block is never shared."""
    blocks = len(edge) - 1
    goals = edge[-1] * np.arange(1, threads) / threads
    inner = np.searchsorted((edge[:-1] + edge[1:]) / 2, goals).tolist() if threads > 1 else []
    cuts = [0, *inner, blocks]
    return [(start, stop) for start, stop in pairwise(cuts) if stop > start] or [(0, 0)]
