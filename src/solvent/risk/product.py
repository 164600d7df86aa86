"""Positions × scenarios: the sums that margin rests on, exact whatever the order of adding.

Two ways, equal to the bit: numpy for small work, compiled kernels on several threads for large.
Both refuse, before they add, a book whose sums could leave the exact range of float64.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from solvent.errors import check
from solvent.instruments import frozen
from solvent.limits import EXACT_MAX
from solvent.risk.crew import share_out
from solvent.units import Float64, quantise

Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]

COMPILE_CELLS_MIN = 1 << 22
"""Below this many position × scenario cells numpy is done before numba is imported."""
POSITIONS_PER_THREAD_MIN = 1 << 17
_LANES = 8
_TILE = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeMap:
    """A piecewise-linear map of each scenario's sum at a node; axes [node, scenario].

    x is first moved toward zero by `dead`; then a loss is multiplied by `loss`, a gain by `gain`
    and limited to `cap`. `plain` nodes map x to itself.
    """

    plain: Bool
    dead: Float64
    loss: Float64
    gain: Float64
    cap: Float64

    def __call__(self, sums: Float64, node: Int32) -> Float64:
        """Map sums [row, scenario] of rows at the given nodes."""
        dead = self.dead[node]
        # A node of a coin without an index has no number; whoever holds it is UNKNOWN.
        with np.errstate(invalid="ignore"):
            up = np.where(sums > dead, sums - dead, 0.0) * self.gain[node]
            down = np.where(sums < -dead, sums + dead, 0.0) * self.loss[node]
            mapped = np.minimum(up, self.cap[node]) + down
        return np.where(self.plain[node][:, None], sums, mapped)

    def slope_max(self) -> Float64:
        """[node] the largest factor by which the map can magnify an error."""
        steepest = np.maximum(np.abs(self.loss), np.abs(self.gain)).max(axis=1, initial=0.0)
        return np.where(self.plain, 1.0, steepest)


def padded(matrix: Float64) -> Float64:
    """A copy whose rows fill whole vectors and start on a cache line.

    The extra columns repeat the first one, so that a minimum over all columns is the minimum over
    the real ones.
    """
    return frozen(_padded(matrix))


def quantised(amounts: Float64, *, quanta_per_unit: float | Float64) -> Float64:
    """`padded` whole quanta: `units.quantise`, in place, of rows already padded."""
    wide = _padded(amounts)
    return frozen(quantise(wide, quanta_per_unit=quanta_per_unit, out=wide))


def _padded(matrix: Float64) -> Float64:
    rows, columns = matrix.shape
    check(columns > 0, "a scenario to repeat")
    unit = _LANES if columns <= _TILE else _TILE
    width = -(-columns // unit) * unit
    raw = np.empty(rows * width + _LANES)
    offset = (-raw.ctypes.data // 8) % _LANES
    wide = raw[offset : offset + rows * width].reshape(rows, width)
    wide[:, :columns] = matrix
    wide[:, columns:] = matrix[:, :1]
    return wide


def check_exact(*, first: Int64, index: Int32, lots: Float64, largest: Float64) -> Int64:
    """Rows whose sums could leave the exact range, given each instrument's largest |cell|.

    Cheap when the whole book is far inside, which is the common case.
    """
    if len(lots) == 0:
        return np.zeros(0, dtype=np.int64)
    longest = int(np.diff(first).max(initial=0))
    crude = float(np.abs(lots).max()) * float(largest.max(initial=0.0)) * longest
    if crude < EXACT_MAX:
        return np.zeros(0, dtype=np.int64)
    reach = signed_sums(first=first, index=index, lots=lots, long_side=largest, short_side=-largest)
    # The bound is a sum of floats itself: its rounding is far below the room left unused.
    return np.flatnonzero(reach >= 0.99 * EXACT_MAX).astype(np.int64)


def row_sums(
    *, matrix: Float64, columns: int, first: Int64, index: Int32, lots: Float64, threads: int = 1
) -> Float64:
    """Σ lots·matrix[index] by [row, column]; `matrix` is `padded`, the result is not."""
    rows, width = len(first) - 1, matrix.shape[1]
    if _small(len(index) * width):
        return _reduce(matrix[index, :columns] * lots[:, None], first)
    from solvent.risk import compiled

    sums = np.empty((rows, width))
    for column, vectors in _tiles(width):
        work = partial(compiled.row_sums(vectors), matrix, column, first, index, lots, sums)
        in_parallel(work, rows=rows, positions=len(index), threads=threads)
    return sums[:, :columns]


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """What the totals of sets in every scenario are made of: `scan`'s arguments.

    `matrix` and the node map's columns are `padded`; `columns` of them are scenarios.
    """

    matrix: Float64
    columns: int
    set_first: Int64
    row_first: Int64
    row_node: Int32
    index: Int32
    lots: Float64
    node_map: NodeMap

    def part(self, start: int, stop: int) -> Totals:
        """Of sets [start, stop) alone."""
        rows = slice(int(self.set_first[start]), int(self.set_first[stop]))
        first = self.row_first[rows.start : rows.stop + 1]
        held = slice(int(first[0]), int(first[-1]))
        return replace(
            self,
            set_first=self.set_first[start : stop + 1] - rows.start,
            row_first=first - held.start,
            row_node=self.row_node[rows],
            index=self.index[held],
            lots=self.lots[held],
        )

    def of(self, sets: Int64) -> Totals:
        """Of some sets alone, in their order."""
        rows = _spans(self.set_first, sets)
        held = _spans(self.row_first, rows)
        counts = np.diff(self.row_first)[rows]
        return replace(
            self,
            set_first=_ends(np.diff(self.set_first)[sets]),
            row_first=_ends(counts),
            row_node=self.row_node[rows],
            index=self.index[held],
            lots=self.lots[held],
        )


def _ends(counts: Int64) -> Int64:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def _spans(first: Int64, rows: Int64) -> Int64:
    """Every place of [first[r], first[r + 1]) for each row, row after row."""
    counts = np.diff(first)[rows]
    start = np.repeat(first[rows] - _ends(counts)[:-1], counts)
    return np.arange(len(start), dtype=np.int64) + start


def totals_of(book: Totals) -> Float64:
    """[set, scenario] Σ over a set's rows of the mapped Σ lots·matrix[index], by numpy."""
    cells = book.matrix[book.index, : book.columns] * book.lots[:, None]
    sums = _reduce(cells, book.row_first)
    mapped = _columns(book.node_map, book.columns)(sums, book.row_node)
    return _in_order(mapped, book.set_first)


def worst_of(book: Totals, *, threads: int = 1) -> tuple[Float64, Int32]:
    """`scan` of what these totals are made of."""
    return scan(
        matrix=book.matrix, columns=book.columns, set_first=book.set_first,
        row_first=book.row_first, row_node=book.row_node, index=book.index, lots=book.lots,
        node_map=book.node_map, threads=threads,
    )  # fmt: skip


def scan(
    *,
    matrix: Float64,
    columns: int,
    set_first: Int64,
    row_first: Int64,
    row_node: Int32,
    index: Int32,
    lots: Float64,
    node_map: NodeMap,
    threads: int = 1,
) -> tuple[Float64, Int32]:
    """Least total of each set over scenarios, and the first scenario that gives it.

    A set's total in a scenario is the sum over its rows of the mapped Σ lots·matrix[index].
    `matrix` and the node map's columns are `padded`.
    """
    sets, width = len(set_first) - 1, matrix.shape[1]
    if _small(len(index) * width):
        total = totals_of(
            Totals(
                matrix=matrix, columns=columns, set_first=set_first, row_first=row_first,
                row_node=row_node, index=index, lots=lots, node_map=node_map,
            )
        )  # fmt: skip
        return total.min(axis=1) + 0.0, total.argmin(axis=1).astype(np.int32)
    from solvent.risk import compiled

    least, binding = np.full(sets, np.inf), np.zeros(sets, dtype=np.int32)
    maps = node_map.plain, node_map.dead, node_map.loss, node_map.gain, node_map.cap
    for column, vectors in _tiles(width):
        work = partial(
            compiled.scan(vectors), matrix, column, set_first, row_first, row_node, index, lots,
            *maps, least, binding,
        )  # fmt: skip
        in_parallel(work, rows=sets, positions=len(index), threads=threads)
    return least + 0.0, binding


def signed_sums(
    *,
    first: Int64,
    index: Int32,
    lots: Float64,
    long_side: Float64,
    short_side: Float64,
    threads: int = 1,
) -> Float64:
    """[row] Σ over longs of lots·long_side[index] + Σ over shorts of lots·short_side[index].

    Added one after the other, in the order of positions: sides need not be whole.
    """
    if _small(len(index)):
        per_lot = np.where(lots > 0.0, long_side[index], short_side[index])
        rows = len(first) - 1
        row = np.repeat(np.arange(rows), np.diff(first))
        with np.errstate(invalid="ignore"):  # as in NodeMap
            added = (lots * per_lot)[first[0] : first[-1]]
            # bincount adds in order, as the kernel does; reduceat adds in pairs.
            return np.bincount(row, weights=added, minlength=rows).astype(np.float64)
    from solvent.risk import compiled

    sums = np.empty(len(first) - 1)
    work = partial(compiled.signed_sums, first, index, lots, long_side, short_side, sums)
    in_parallel(work, rows=len(sums), positions=len(index), threads=threads)
    return sums


def carried(
    *,
    first: Int64,
    index: Int32,
    lots: Float64,
    entry_lots: Float64,
    entry_value: Float64,
    value: Float64,
    worth: Float64,
    group: Int32,
    groups: int,
    scale: Float64,
    threads: int = 1,
) -> tuple[Float64, Float64]:
    """Σ of values and of gains since entry by [account, group], in quanta.

    Each position is rounded once, half-even: `rint(lots·value·scale)` and
    `rint(entry_lots·worth·scale) − entry_value`. An instrument without `worth` has no gain.
    """
    accounts = len(first) - 1
    if _small(len(index)):
        owner = np.repeat(np.arange(accounts), np.diff(first))
        key, here = owner * groups + group[index], scale[index]
        known = worth[index] != 0.0
        gain = np.rint(entry_lots * worth[index] * here) - np.where(known, entry_value, 0.0)

        def total(column: Float64) -> Float64:
            # Whole quanta below 2^53: the order in which bincount adds changes nothing.
            sums = np.bincount(key, weights=column, minlength=accounts * groups)
            return sums.astype(np.float64).reshape(accounts, groups)

        return total(np.rint(lots * value[index] * here)), total(gain)
    from solvent.risk import compiled

    values, gains = np.zeros((accounts, groups)), np.zeros((accounts, groups))
    work = partial(
        compiled.carried, first, index, lots, entry_lots, entry_value, value, worth, group, scale,
        values, gains,
    )  # fmt: skip
    in_parallel(work, rows=accounts, positions=len(index), threads=threads)
    return values, gains


def is_small(cells: int) -> bool:
    """Whether numpy is done before numba would be there."""
    return _small(cells)


def _small(cells: int) -> bool:
    return cells < COMPILE_CELLS_MIN and "solvent.risk.compiled" not in sys.modules


def _reduce(cells: Float64, first: Int64) -> Float64:
    """Sums of integers over rows [first[r], first[r + 1]); an empty row sums to 0."""
    rows = len(first) - 1
    total = np.zeros((rows, cells.shape[1]))
    held = first[1:] > first[:-1]
    if held.any():
        # + 0.0: a sum of nothing but −0 is 0, as it is when it starts from 0.
        total[held] = np.add.reduceat(cells, first[:-1][held], axis=0) + 0.0
    return total


def _in_order(cells: Float64, first: Int64) -> Float64:
    """Sums over rows, added from the first to the last: mapped cells are no longer integers.

    numpy's own reduceat adds in another order.
    """
    total = np.zeros((len(first) - 1, cells.shape[1]))
    counts = np.diff(first)
    for place in range(int(counts.max(initial=0))):
        held = counts > place
        total[held] += cells[first[:-1][held] + place]
    return total


def _columns(node_map: NodeMap, columns: int) -> NodeMap:
    return NodeMap(
        plain=node_map.plain,
        dead=node_map.dead[:, :columns],
        loss=node_map.loss[:, :columns],
        gain=node_map.gain[:, :columns],
        cap=node_map.cap[:, :columns],
    )


def _tiles(width: int) -> list[tuple[int, int]]:
    """(first column, vectors) of each tile."""
    return [(column, min(_TILE, width - column) // _LANES) for column in range(0, width, _TILE)]


def in_parallel(
    work: Callable[[int, int], None], *, rows: int, positions: int, threads: int
) -> None:
    """Do `work(start, stop)` for all rows, on threads where there are positions enough for each.

    The parts write to places of their own, so the result does not depend on how many there are.
    """
    parts = max(1, min(threads, rows, positions // POSITIONS_PER_THREAD_MIN))
    edges = [rows * part // parts for part in range(parts + 1)]
    share_out(work, list(pairwise(edges)))
