"""Expected shortfalls whose bound is guessed from a set's first totals, and then never moved.

Of scenarios that weigh alike the tail is so many least totals. Where a few more than those are
below mean − z · deviation of the first tiles, one list is enough: no bound is looked for again, and
the tail is taken from the list at the end. Where fewer are, the guess was too low; that is seen,
and the set is done anew without guesses. So a guess decides what is looked at, never a bit of a
result: what is summed are whole numbers, whose sum is one in any order.

A tile's totals are compared while they are in registers. Importing this module imports numba.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from solvent.limits import EXACT_MAX
from solvent.risk.compiled import (
    _PREFETCH_AHEAD,
    _emit_loop,
    _first_at,
    _least,
    _prefetch,
    _row,
    accumulate,
    least_of,
)
from solvent.risk.tails.compiled import (
    WIDTH,
    _any_below,
    _count,
    _mapped,
    _spread,
    _squeezed,
    _write,
    keep,
    narrowed,
    up_to,
)
from solvent.risk.tails.tiles import LANES, TILE

TRIES_MAX: Final = 8
"""Guesses by how many are below; then by halves, which always ends."""
_RANGE: Final = float(EXACT_MAX)
_DOUBLE, _INT64, _BITS = ir.DoubleType(), ir.IntType(64), ir.IntType(LANES)
_VECTOR = ir.VectorType(_DOUBLE, LANES)


@intrinsic  # type: ignore[untyped-decorator]
def below(
    _context: Any, matrix: Any, index: Any, lots: Any, _begin: Any, _end: Any, _bound: Any,
    listed: Any, _at: Any,
) -> Any:  # fmt: skip
    """Write those of a tile's sums that are below a bound to listed[at:]: the end of what is
    written, the least sum (infinite where none is below), and its scenario in the tile.

    Eight cells beyond the end may be written to.
    """
    told = types.Tuple((types.int64, types.float64, types.int64))
    signature = told(
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
            ahead = builder.add(p, ir.Constant(_INT64, _PREFETCH_AHEAD))
            inside = builder.icmp_signed("<", ahead, positions)
            near = _row(builder, rows, stride, column, where, builder.select(inside, ahead, p))
            for line in range(WIDTH):
                _prefetch(builder, builder.gep(near, [ir.Constant(_INT64, line * LANES)]), 3)

        sums = _emit_loop(builder, WIDTH, rows, stride, column, where, weights, first, last, fetch)
        low = _spread(builder, bound, _VECTOR)
        before = builder.block
        some = builder.function.append_basic_block("some_below")
        after = builder.function.append_basic_block("compared")
        builder.cbranch(_any_below(builder, sums, low), some, after)
        builder.position_at_end(some)
        end = at
        for one in sums:
            mask = builder.fcmp_ordered("<", one, low)
            _write(builder, _squeezed(builder, one, mask, "f64"), target, end)
            end = builder.add(end, _count(builder, mask))
        least = _least(builder, sums)
        place = _first_of(builder, sums, least)
        wrote = builder.block
        builder.branch(after)
        builder.position_at_end(after)
        nothing = (at, ir.Constant(_DOUBLE, math.inf), ir.Constant(_INT64, 0))
        results = []
        for none, found in zip(nothing, (end, least, place), strict=True):
            result = builder.phi(found.type)
            result.add_incoming(none, before)
            result.add_incoming(found, wrote)
            results.append(result)
        return context.make_tuple(builder, told, results)

    return signature, generate


def _first_of(b: Any, sums: list[Any], least: Any) -> Any:
    """The first place in some vectors where a number is."""
    spread, found = _spread(b, least, _VECTOR), ir.Constant(_INT64, 0)
    for v, one in enumerate(sums):
        lanes = b.zext(b.bitcast(b.fcmp_ordered("==", one, spread), _BITS), _INT64)
        found = b.or_(found, b.shl(lanes, ir.Constant(_INT64, v * LANES)))
    return b.cttz(found, ir.Constant(ir.IntType(1), 0))


@njit(nogil=True, cache=True, fastmath={"reassoc"})
def _moments(total, count):  # type: ignore[no-untyped-def]
    """Sums of numbers and of their squares: of a guess, so that their order does not matter."""
    once, twice = 0.0, 0.0
    for i in range(count):
        once += total[i]
        twice += total[i] * total[i]
    return once, twice


@njit(nogil=True, cache=True)
def begin(  # type: ignore[no-untyped-def]
    tiles, count, set_first, row_first, row_node, index, lots, maps, reach, deviations,
    bound, held, values, least, worst, start, stop,
):  # fmt: skip
    """The first `count` whole tiles of sets [start, stop): the bound, and what is below it."""
    plain, dead, loss, gain, cap = maps
    cells = count * TILE
    sums, total = np.empty(TILE), np.empty(cells)
    mine, nowhere = np.empty(cells + TILE), np.empty(cells + TILE, np.int32)
    for one in range(start, stop):
        here, end = one - start, 0
        row, last = set_first[one], set_first[one + 1]
        least[here] = np.inf
        for t in range(count):
            part = total[t * TILE :]
            if last - row == 1 and plain[row_node[row]]:
                accumulate(
                    tiles[t], 0, index, lots, row_first[row], row_first[row + 1], part, WIDTH
                )
            elif _mapped(
                tiles[t], t * TILE, row, last, row_first, row_node, index, lots, dead, loss, gain,
                cap, plain, sums, part,
            ):  # fmt: skip
                worst[here] = -1
        once, twice = _moments(total, cells)
        mean = once / cells
        bound[here] = mean - deviations * np.sqrt(max(twice / cells - mean * mean, 0.0))
        for t in range(count):
            part = total[t * TILE :]
            low = least_of(part, WIDTH)
            if low < least[here]:
                least[here] = low
                if worst[here] >= 0:
                    worst[here] = t * TILE + _first_at(part, low, WIDTH)
            end = keep(part, t * TILE, cells, bound[here], mine, nowhere, end, 0, 0)
        if end > values.shape[1]:
            bound[here], end = narrowed(mine, nowhere, end, reach, False)
        held[here] = end
        for i in range(end):
            values[here, i] = mine[i]


@njit(nogil=True, cache=True)
def tile(  # type: ignore[no-untyped-def]
    matrix, column, columns, set_first, row_first, row_node, index, lots, maps,
    bound, listed, where, at, counts, least, worst, start, stop,
):  # fmt: skip
    """One tile of sets [start, stop): totals below their bounds, listed from `at` on; the end. Sets
    of one plain row are compared in registers."""
    plain, dead, loss, gain, cap = maps
    sums, total = np.empty(TILE), np.empty(TILE)
    whole = column + TILE <= columns
    for one in range(start, stop):
        here = one - start
        row, last = set_first[one], set_first[one + 1]
        alone = last - row == 1 and plain[row_node[row]]
        if alone and whole:
            end, low, place = below(
                matrix, index, lots, row_first[row], row_first[row + 1], bound[here], listed, at
            )
        else:
            if alone:
                accumulate(matrix, 0, index, lots, row_first[row], row_first[row + 1], total, WIDTH)
            elif _mapped(
                matrix, column, row, last, row_first, row_node, index, lots, dead, loss, gain, cap,
                plain, sums, total,
            ):  # fmt: skip
                worst[here] = -1
            end = keep(total, column, columns, bound[here], listed, where, at, 0, 1)
            low, place = np.inf, 0
            if end > at:
                low = least_of(total, WIDTH)
                place = _first_at(total, low, WIDTH)
        counts[here] = end - at
        at = end
        if low < least[here]:
            least[here] = low
            if worst[here] >= 0:
                worst[here] = column + place
    return at


@njit(nogil=True, cache=True)
def finish(listed, ends, counts, mass, bound, held, values, out):  # type: ignore[no-untyped-def]
    """(Σ of the ⌊mass⌋ least + the rest of mass × the next) ÷ mass of what each set holds and tiles
    listed of it: NaN where those are too few, or no whole numbers whose sums are exact.
    """
    tiles, sets = counts.shape
    ends, room = ends.copy(), values.shape[1] + tiles * TILE + TILE
    mine = np.empty(room)
    whole = int(mass)
    part = mass - whole
    need = whole + (1 if part > 0.0 else 0)
    for here in range(sets):
        end = held[here]
        for i in range(end):
            mine[i] = values[here, i]
        for t in range(tiles):
            more, at = np.int64(counts[t, here]), ends[t]
            # Mostly there are fewer than eight: as many are copied always, which takes no jump.
            for i in range(LANES):
                mine[end + i] = listed[at + i]
            for i in range(LANES, more):
                mine[end + i] = listed[at + i]
            end += more
            ends[t] = at + more
        out[here] = np.nan
        if end < need or not _exact(mine, end, _RANGE / (need + 1)):
            continue
        high = _bound_of(mine, end, need, bound[here])
        total, count = _sum_up_to(mine, end, high)
        if count == need and part == 0.0:
            out[here] = total / mass
            continue
        # Of more than are wanted the last are equal to the bound.
        last = _greatest(mine, end, high)
        total -= (count - need) * last
        out[here] = ((total - last) + part * last) / mass if part > 0.0 else total / mass


@njit(nogil=True, cache=True, fastmath={"reassoc"})
def _exact(mine, count, reach):  # type: ignore[no-untyped-def]
    """Whether all are whole numbers, none too large to be summed exactly."""
    bad = 0
    for i in range(count):
        bad += (mine[i] != np.rint(mine[i])) | (abs(mine[i]) >= reach)
    return bad == 0


@njit(nogil=True, cache=True)
def _bound_of(mine, count, need, high):  # type: ignore[no-untyped-def]
    """A number that `need` of some numbers do not pass, and others only if they are equal to it;
    none of them passes `high`.

    How many do not pass x falls about as exp(x / scale), with the mean distance to `high` as the
    scale: from each number that was tried the next one is foreseen by that, between those that are
    known to be too low and too high.
    """
    vectors = (count + LANES - 1) // LANES
    for i in range(count, vectors * LANES):
        mine[i] = np.inf
    scale = high - _sum_up_to(mine, count, high)[0] / count
    low, passed, tries = -np.inf, count, 0
    middle = high - scale * np.log(count / need)
    while passed > need:
        if not low < middle < high or tries >= TRIES_MAX:
            if low == -np.inf:
                low = -_greatest_of_negated(mine, count)
                if up_to(mine, vectors, low) >= need:
                    return low
            middle = low + (high - low) * 0.5
            if not low < middle < high:
                break
        tries += 1
        found = up_to(mine, vectors, middle)
        if found >= need:
            high, passed = middle, found
        else:
            low = middle
        middle += scale * np.log((need + 0.5) / (found + 0.5))
    return high


@njit(nogil=True, cache=True, fastmath={"reassoc", "nnan"})
def _greatest_of_negated(mine, count):  # type: ignore[no-untyped-def]
    greatest = -np.inf
    for i in range(count):
        greatest = max(greatest, -mine[i])
    return greatest


@njit(nogil=True, cache=True, fastmath={"reassoc"})
def _sum_up_to(mine, count, high):  # type: ignore[no-untyped-def]
    """The sum of those that are not above a number, and how many; whole numbers: in any order."""
    total, found = 0.0, 0.0
    for i in range(count):
        total += mine[i] if mine[i] <= high else 0.0
        found += 1.0 if mine[i] <= high else 0.0
    return total, found


@njit(nogil=True, cache=True, fastmath={"reassoc", "nnan"})
def _greatest(mine, count, high):  # type: ignore[no-untyped-def]
    """The greatest of those that are not above a number."""
    greatest = -np.inf
    for i in range(count):
        greatest = max(greatest, mine[i] if mine[i] <= high else -np.inf)
    return greatest
