"""What tiles of scenarios list of sets: totals below a bound, and marks that say which they are.

A set's totals never stand side by side. Each tile of 64 scenarios is summed in registers and
compared there with what bounds the set's tail. What is below goes into one list, set after set, so
that all that is written and read again lies in order and the caches are left to the matrix; beside
it a mark of 64 bits has a one for each total that is listed: how many there are, and which. Now and
then (`merge`) a set's own are collected from the lists, and its bound falls.

Importing this module imports numba.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Final

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from solvent.risk.compiled import _emit_loop, _load, _prefetch, _row, accumulate
from solvent.risk.tails.compiled import (
    WIDTH,
    _mapped,
    _spread,
    _squeezed,
    _write,
    narrowed,
)
from solvent.risk.tails.tiles import LANES, TILE

_AHEAD: Final = 16
"""Positions by which a row of the matrix is asked for."""
_LINES_AHEAD: Final = 32
"""Totals by which a list is asked for where it is read again."""
_INT64, _BITS = ir.IntType(64), ir.IntType(LANES)
_VECTOR = ir.VectorType(ir.DoubleType(), LANES)
_FOUND = types.UniTuple(types.int64, 2)


@intrinsic  # type: ignore[untyped-decorator]
def below(
    _context: Any, matrix: Any, index: Any, lots: Any, _begin: Any, _end: Any, _bound: Any,
    listed: Any, _at: Any,
) -> Any:  # fmt: skip
    """Write those of a tile's sums that are below a bound to listed[at:]: the end of what is
    written, and the mark of which. Eight cells beyond the end may be written to."""
    signature = _FOUND(
        matrix, index, lots, types.int64, types.int64, types.float64, listed, types.int64
    )
    array_types = (matrix, index, lots, listed)

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        m, i, q, first, last, bound, out, at = arguments
        arrays = [
            context.make_array(kind)(context, builder, value)
            for kind, value in zip(array_types, (m, i, q, out), strict=True)
        ]
        rows, where, weights, target = (array.data for array in arrays)
        stride, column = ir.Constant(_INT64, TILE), ir.Constant(_INT64, 0)
        positions = cgutils.unpack_tuple(builder, arrays[1].shape)[0]

        def fetch(p: Any) -> None:
            ahead = builder.add(p, ir.Constant(_INT64, _AHEAD))
            inside = builder.icmp_signed("<", ahead, positions)
            near = _row(builder, rows, stride, column, where, builder.select(inside, ahead, p))
            for line in range(WIDTH):
                _prefetch(builder, builder.gep(near, [ir.Constant(_INT64, line * LANES)]), 3)

        sums = _emit_loop(builder, WIDTH, rows, stride, column, where, weights, first, last, fetch)
        return context.make_tuple(builder, _FOUND, _listed(builder, sums, bound, target, at))

    return signature, generate


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def list_below(_context: Any, sums: Any, _bound: Any, listed: Any, _at: Any, width: Any) -> Any:
    """`below` of sums[:8·width]."""
    vectors = width.literal_value
    signature = _FOUND(sums, types.float64, listed, types.int64, width)

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        s, bound, out, at, _ = arguments
        data = context.make_array(sums)(context, builder, s).data
        target = context.make_array(listed)(context, builder, out).data
        held = [_load(builder, data, v) for v in range(vectors)]
        return context.make_tuple(builder, _FOUND, _listed(builder, held, bound, target, at))

    return signature, generate


def _listed(b: Any, sums: list[Any], bound: Any, target: Any, at: Any) -> list[Any]:
    """The end of what is written of some vectors of sums, and the mark of what was.

    All are written, one over what the one before left beyond its end: a jump would be as often
    wrong as something is below a bound.
    """
    low = _spread(b, bound, _VECTOR)
    masks = [b.fcmp_ordered("<", one, low) for one in sums]
    mark = ir.Constant(_INT64, 0)
    for v, mask in enumerate(masks):
        bits = b.zext(b.bitcast(mask, _BITS), _INT64)
        mark = b.or_(mark, b.shl(bits, ir.Constant(_INT64, v * LANES)))
    for v, (one, mask) in enumerate(zip(sums, masks, strict=True)):
        before = b.and_(mark, ir.Constant(_INT64, (1 << (v * LANES)) - 1))
        _write(b, _squeezed(b, one, mask, "f64"), target, b.add(at, _ones(b, before)))
    return [b.add(at, _ones(b, mark)), mark]


def _ones(b: Any, bits: Any) -> Any:
    kind = ir.FunctionType(_INT64, [_INT64])
    return b.call(cgutils.get_or_insert_function(b.module, kind, "llvm.ctpop.i64"), [bits])


@intrinsic  # type: ignore[untyped-decorator]
def ones(_context: Any, _bits: Any) -> Any:
    """How many bits of a mark are one."""
    return types.int64(types.int64), lambda _c, builder, _s, given: _ones(builder, given[0])


@intrinsic  # type: ignore[untyped-decorator]
def lowest(_context: Any, _bits: Any) -> Any:
    """The place of the lowest one of a mark."""

    def generate(_context: Any, builder: Any, _signature: Any, given: Any) -> Any:
        return builder.cttz(given[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def copied(_context: Any, source: Any, _at: Any, target: Any, _to: Any) -> Any:
    """target[to:to + 8] = source[at:at + 8] at once; the source's next lines are asked for."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        cells = []
        for kind, array, place in ((source, *arguments[:2]), (target, *arguments[2:])):
            data = context.make_array(kind)(context, builder, array).data
            cells.append(builder.gep(data, [place]))
        pointers = [builder.bitcast(cell, _VECTOR.as_pointer()) for cell in cells]
        _prefetch(builder, builder.gep(cells[0], [ir.Constant(_INT64, _LINES_AHEAD)]), 3)
        builder.store(builder.load(pointers[0], align=8), pointers[1], align=8)
        return context.get_dummy_value()

    return types.void(source, types.int64, target, types.int64), generate


@njit(nogil=True, cache=True)
def spans_of(set_first, row_first, row_node, plain, spans, start, stop):  # type: ignore[no-untyped-def]
    """[set, 2] the positions of sets [start, stop) that are one plain row, from the first to
    before the last; of others the last is before the first."""
    for one in range(start, stop):
        row = set_first[one]
        alone = set_first[one + 1] - row == 1 and plain[row_node[row]]
        spans[one - start, 0] = row_first[row] if alone else 0
        spans[one - start, 1] = row_first[row + 1] if alone else -1


@njit(nogil=True, cache=True)
def tile(  # type: ignore[no-untyped-def]
    matrix, column, _columns, set_first, row_first, row_node, index, lots, maps,
    spans, bound, listed, at, marks, worst, start, stop,
):  # fmt: skip
    """One whole tile of sets [start, stop): totals below their bounds, listed from `at` on; the
    end. Sets of one plain row are compared in registers."""
    plain, dead, loss, gain, cap = maps
    sums, total = np.empty(TILE), np.empty(TILE)
    for one in range(start, stop):
        here = one - start
        first, last = spans[here, 0], spans[here, 1]
        if last >= first:
            at, marks[here] = below(matrix, index, lots, first, last, bound[here], listed, at)
            continue
        if _mapped(
            matrix, column, set_first[one], set_first[one + 1], row_first, row_node, index, lots,
            dead, loss, gain, cap, plain, sums, total,
        ):  # fmt: skip
            worst[here] = -1
        at, marks[here] = list_below(total, bound[here], listed, at, WIDTH)
    return at


@cache
def ragged(width: int) -> Callable[..., int]:
    """Kernel: `tile` of which 8·width columns are summed, and fewer than 64 count."""

    @njit(nogil=True, cache=True)
    def kernel(  # type: ignore[no-untyped-def]
        matrix, column, columns, set_first, row_first, row_node, index, lots, maps,
        spans, bound, listed, at, marks, worst, start, stop,
    ):  # fmt: skip
        plain, dead, loss, gain, cap = maps
        sums, total = np.empty(TILE), np.empty(TILE)
        for one in range(start, stop):
            here = one - start
            first, last = spans[here, 0], spans[here, 1]
            if last >= first:
                accumulate(matrix, 0, index, lots, first, last, total, width)
            elif _mapped(
                matrix, column, set_first[one], set_first[one + 1], row_first, row_node, index,
                lots, dead, loss, gain, cap, plain, sums, total,
            ):  # fmt: skip
                worst[here] = -1
            # What only fills up the tile's vectors is below no bound.
            total[columns - column :] = np.inf
            at, marks[here] = list_below(total, bound[here], listed, at, width)
        return at

    return kernel  # type: ignore[no-any-return]


@njit(nogil=True, cache=True)
def merge(  # type: ignore[no-untyped-def]
    listed, ends, marks, column, reach, bound, held, values, places, least, worst, placed,
):  # fmt: skip
    """What each set holds and tiles from `column` on listed of it, narrowed to what its tail may
    reach, with scenarios where `placed`; its worst scenario so far."""
    tiles, sets = marks.shape
    ends, room = ends.copy(), values.shape[1] + tiles * TILE + TILE
    mine, where = np.empty(room), np.empty(room, np.int32)
    for here in range(sets):
        before = held[here]
        end = gathered(listed, ends, marks, here, values, before, mine)
        if end == before:
            continue
        if placed:
            scenarios(marks, here, column, places, before, where)
        low, place = np.inf, 0
        for i in range(before, end):
            if mine[i] < low:
                low, place = mine[i], i
        if low < least[here]:
            least[here] = low
            if worst[here] >= 0:
                worst[here] = scenario(marks, here, place - before, column)
        high, end = narrowed(mine, where, end, reach, placed)
        # What was once left out is not there to be held by a wider bound.
        bound[here], held[here] = min(bound[here], high), end
        for i in range(end):
            values[here, i] = mine[i]
        if placed:
            for i in range(end):
                places[here, i] = where[i]


@njit(nogil=True, cache=True)
def gathered(listed, ends, marks, here, values, end, mine):  # type: ignore[no-untyped-def]
    """What one set holds and tiles listed of it, side by side; how many that is."""
    for i in range(end):
        mine[i] = values[here, i]
    for t in range(len(marks)):
        more, at = ones(marks[t, here]), ends[t]
        # Mostly there are fewer than eight: as many are copied always, which takes no jump.
        copied(listed, at, mine, end)
        for i in range(LANES, more, LANES):
            copied(listed, at + i, mine, end + i)
        end += more
        ends[t] = at + more
    return end


@njit(nogil=True, cache=True)
def scenario(marks, here, rank, column):  # type: ignore[no-untyped-def]
    """The scenario of the total that was listed `rank`-th of a set by tiles from `column` on."""
    for t in range(len(marks)):
        mark = marks[t, here]
        more = ones(mark)
        if rank < more:
            for _ in range(rank):
                mark &= mark - 1
            return column + t * TILE + lowest(mark)
        rank -= more
    return -1


@njit(nogil=True, cache=True)
def scenarios(marks, here, column, places, held, where):  # type: ignore[no-untyped-def]
    """The scenarios of what `gathered` sets side by side."""
    for i in range(held):
        where[i] = places[here, i]
    for t in range(len(marks)):
        mark, first = marks[t, here], column + t * TILE
        while mark != 0:
            where[held] = first + lowest(mark)
            mark &= mark - 1
            held += 1
