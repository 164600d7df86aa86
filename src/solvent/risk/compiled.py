"""The positions × scenarios product with every scenario's sum held in vector registers.

LLVM spills such sums when it vectorises a plain loop, which costs a factor of 3 to 4. So the inner
loop is written as LLVM IR: `width` vectors of 8 doubles are carried round the loop over a row's
positions, each fed by one multiply-add of the position's lots with the instrument's scenarios.
LLVM splits the vectors where a processor's registers are narrower.

All numbers are integers below 2^53, so neither the order of adding nor fused multiply-add can
change a bit. Importing this module imports numba.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 8
WIDTH_MAX = 8
_PREFETCH_AHEAD = 8
_DOUBLE, _INT32, _INT64 = ir.DoubleType(), ir.IntType(32), ir.IntType(64)
_VECTOR = ir.VectorType(_DOUBLE, LANES)


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def accumulate(
    _context: Any, matrix: Any, _column: Any, index: Any, lots: Any, _begin: Any, _end: Any,
    sums: Any, width: Any,
) -> Any:  # fmt: skip
    """sums[:8·width] = Σ over p in [begin, end) of lots[p] · matrix[index[p], column:]."""
    vectors = width.literal_value
    signature = types.void(
        matrix, types.int64, index, lots, types.int64, types.int64, sums, width
    )  # fmt: skip
    array_types = (matrix, index, lots, sums)

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        m, col, i, q, first, last, out, _ = arguments
        arrays = [
            context.make_array(kind)(context, builder, value)
            for kind, value in zip(array_types, (m, i, q, out), strict=True)
        ]
        rows, at, weights, target = (array.data for array in arrays)
        stride = cgutils.unpack_tuple(builder, arrays[0].shape)[1]
        positions = cgutils.unpack_tuple(builder, arrays[1].shape)[0]

        def fetch(p: Any) -> None:
            ahead = builder.add(p, ir.Constant(_INT64, _PREFETCH_AHEAD))
            inside = builder.icmp_signed("<", ahead, positions)
            next_row = _row(builder, rows, stride, col, at, builder.select(inside, ahead, p))
            for line in range(vectors):
                _prefetch(builder, builder.gep(next_row, [ir.Constant(_INT64, line * LANES)]), 3)

        sums = _emit_loop(builder, vectors, rows, stride, col, at, weights, first, last, fetch)
        for v, one in enumerate(sums):
            _store(builder, target, ir.Constant(_INT64, v * LANES), one)
        return context.get_dummy_value()

    return signature, generate


def _emit_loop(
    b: Any, vectors: int, rows: Any, stride: Any, column: Any, at: Any, weights: Any, first: Any,
    last: Any, fetch: Callable[[Any], None] | None,
) -> list[Any]:  # fmt: skip
    """The loop over positions [first, last): the vectors that it ends with, in registers."""
    function = b.function
    multiply_add = cgutils.get_or_insert_function(
        b.module, ir.FunctionType(_VECTOR, [_VECTOR] * 3), f"llvm.fmuladd.v{LANES}f64"
    )
    before = b.block
    head = function.append_basic_block("positions")
    body = function.append_basic_block("position")
    after = function.append_basic_block("summed")
    b.branch(head)

    b.position_at_end(head)
    p = b.phi(_INT64)
    sums = [b.phi(_VECTOR) for _ in range(vectors)]
    p.add_incoming(first, before)
    for one in sums:
        one.add_incoming(ir.Constant(_VECTOR, [0.0] * LANES), before)
    b.cbranch(b.icmp_signed("<", p, last), body, after)

    b.position_at_end(body)
    if fetch is not None:
        fetch(p)
    row = _row(b, rows, stride, column, at, p)
    spread = _spread(b, b.load(b.gep(weights, [p])))
    for v, one in enumerate(sums):
        one.add_incoming(b.call(multiply_add, [spread, _load(b, row, v), one]), body)
    p.add_incoming(b.add(p, ir.Constant(_INT64, 1)), body)
    b.branch(head)

    b.position_at_end(after)
    return sums


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def least_of(_context: Any, sums: Any, width: Any) -> Any:
    """The least of sums[:8·width]."""
    vectors = width.literal_value

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        data = context.make_array(sums)(context, builder, arguments[0]).data
        return _least(builder, [_load(builder, data, v) for v in range(vectors)])

    return types.float64(sums, width), generate


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def _first_at(_context: Any, sums: Any, _low: Any, width: Any) -> Any:
    """The first s with sums[s] == low; `low` is one of sums[:8·width]."""
    vectors = width.literal_value

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        data = context.make_array(sums)(context, builder, arguments[0]).data
        spread = _spread(builder, arguments[1])
        found = ir.Constant(_INT64, 0)
        for v in range(vectors):
            same = builder.fcmp_ordered("==", _load(builder, data, v), spread)
            lanes = builder.zext(builder.bitcast(same, ir.IntType(LANES)), _INT64)
            found = builder.or_(found, builder.shl(lanes, ir.Constant(_INT64, v * LANES)))
        return builder.cttz(found, ir.Constant(ir.IntType(1), 0))

    return types.int64(sums, types.float64, width), generate


def _least(b: Any, found: list[Any]) -> Any:
    """The least number in some vectors."""
    while len(found) > 1:
        pairs = zip(found[::2], found[1::2], strict=False)
        odd = found[-1:] if len(found) % 2 else []
        found = [_smaller(b, one, other) for one, other in pairs] + odd
    lanes = found[0]
    for shift in (4, 2, 1):
        moved = [(lane + shift) % LANES for lane in range(LANES)]
        mask = ir.Constant(ir.VectorType(_INT32, LANES), moved)
        lanes = _smaller(b, lanes, b.shuffle_vector(lanes, lanes, mask))
    return b.extract_element(lanes, ir.Constant(_INT32, 0))


def _prefetch(b: Any, cell: Any, nearness: int, *, writing: int = 0) -> None:
    """Ask for a cell's line: 3 into every cache, 2 into the second and beyond."""
    byte = ir.IntType(8).as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [byte, _INT32, _INT32, _INT32])
    prefetch = cgutils.get_or_insert_function(b.module, kind, "llvm.prefetch.p0")
    flags = [ir.Constant(_INT32, flag) for flag in (writing, nearness, 1)]
    b.call(prefetch, [b.bitcast(cell, byte), *flags])


def _store(b: Any, target: Any, start: Any, vector: Any) -> None:
    b.store(vector, b.bitcast(b.gep(target, [start]), _VECTOR.as_pointer()), align=8)


def _smaller(b: Any, one: Any, other: Any) -> Any:
    return b.select(b.fcmp_ordered("<", one, other), one, other)


def _load(b: Any, data: Any, v: int) -> Any:
    cell = b.gep(data, [ir.Constant(_INT64, v * LANES)])
    return b.load(b.bitcast(cell, _VECTOR.as_pointer()), align=8)


def _row(b: Any, rows: Any, stride: Any, column: Any, at: Any, p: Any) -> Any:
    """Where the row of position p begins, in one register: read as base and index, a multiply-add
    with memory costs a step more in the processor's front end."""
    instrument = b.zext(b.load(b.gep(at, [p])), _INT64)
    first = b.gep(rows, [b.add(b.mul(instrument, stride), column)])
    kept = ir.FunctionType(first.type, [first.type])
    return b.asm(kept, "", "=r,0", [first], side_effect=False)


def _spread(b: Any, number: Any) -> Any:
    one = b.insert_element(ir.Constant(_VECTOR, ir.Undefined), number, ir.Constant(_INT32, 0))
    zeros = ir.Constant(ir.VectorType(_INT32, LANES), [0] * LANES)
    return b.shuffle_vector(one, one, zeros)


@cache
def row_sums(width: int) -> Callable[..., None]:
    """Kernel: sums[row, column:] = Σ lots·matrix[index, column:], one tile, rows [start, stop)."""

    @njit(nogil=True, cache=True)
    def kernel(matrix, column, first, index, lots, sums, start, stop):  # type: ignore[no-untyped-def]
        for row in range(start, stop):
            accumulate(
                matrix, column, index, lots, first[row], first[row + 1],
                sums[row, column:], width,
            )  # fmt: skip

    return kernel  # type: ignore[no-any-return]


@cache
def scan(width: int) -> Callable[..., None]:
    """Kernel: `product.scan` on one tile of columns, sets [start, stop)."""
    columns = width * LANES

    @njit(nogil=True, cache=True)
    def kernel(  # type: ignore[no-untyped-def]
        matrix, column, set_first, row_first, row_node, index, lots,
        plain, dead, loss, gain, cap, least, binding, start, stop,
    ):  # fmt: skip
        sums, total = np.empty(columns), np.empty(columns)
        for one in range(start, stop):
            rows = set_first[one + 1] - set_first[one]
            if rows == 1 and plain[row_node[set_first[one]]]:
                row = set_first[one]
                accumulate(
                    matrix, column, index, lots, row_first[row], row_first[row + 1], total, width
                )
            else:
                total[:] = 0.0
                for row in range(set_first[one], set_first[one + 1]):
                    accumulate(
                        matrix, column, index, lots, row_first[row], row_first[row + 1], sums,
                        width,
                    )  # fmt: skip
                    node = row_node[row]
                    if plain[node]:
                        for s in range(columns):
                            total[s] += sums[s]
                    else:
                        d, el, g, c = dead[node], loss[node], gain[node], cap[node]
                        for s in range(columns):
                            x, zone = sums[s], d[column + s]
                            up = x - zone if x > zone else 0.0
                            down = x + zone if x < -zone else 0.0
                            up *= g[column + s]
                            up = up if up < c[column + s] else c[column + s]
                            total[s] += up + down * el[column + s]
            low = least_of(total, width)
            if low < least[one]:
                least[one] = low
                binding[one] = column + _first_at(total, low, width)

    return kernel  # type: ignore[no-any-return]


@njit(nogil=True, cache=True)
def signed_sums(first, index, lots, long_side, short_side, sums, start, stop):  # type: ignore[no-untyped-def]
    """Kernel: `product.signed_sums` on rows [start, stop)."""
    for row in range(start, stop):
        total = 0.0
        for p in range(first[row], first[row + 1]):
            q, i = lots[p], index[p]
            # Both sides are read, so that the choice is a select and not a jump.
            per_long, per_short = long_side[i], short_side[i]
            total += q * (per_long if q > 0.0 else per_short)
        sums[row] = total


@njit(nogil=True, cache=True)
def carried(  # type: ignore[no-untyped-def]
    first, index, lots, entry_lots, entry_value, value, worth, group, scale, values, gains,
    start, stop,
):  # fmt: skip
    """Kernel: `margining.equity.carried` on accounts [start, stop), by [account, group]."""
    for account in range(start, stop):
        for p in range(first[account], first[account + 1]):
            i = index[p]
            g = group[i]
            values[account, g] += np.rint(lots[p] * value[i] * scale[i])
            gains[account, g] += np.rint(entry_lots[p] * worth[i] * scale[i]) - entry_value[p] * (
                worth[i] != 0.0
            )
