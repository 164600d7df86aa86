"""What may be among the least totals of a set: how tails begin, are narrowed and put in order.

Here a bound is one that a set's tail surely does not pass; with each look at what a set holds it
falls (`narrowed`), and after a few tiles hardly anything is below it. `listing` takes the tiles.

All that is decided is which totals can be left out. The rest is ordered by (total, place), and a
sum of whole numbers is one whatever its order: no block, tile or thread changes a bit. Importing
this module imports numba.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from solvent.limits import EXACT_MAX
from solvent.risk.compiled import _first_at, accumulate, least_of
from solvent.risk.tails.tiles import LANES, TILE

WIDTH = TILE // LANES
SLACK = 8
"""What may be held beyond the least `reach`: so a bound need not be found to its last bit."""
_RANGE = float(EXACT_MAX)
_DOUBLE, _INT32, _INT64 = ir.DoubleType(), ir.IntType(32), ir.IntType(64)
_MASK, _BITS = ir.VectorType(ir.IntType(1), LANES), ir.IntType(LANES)
_VECTOR, _PLACES = ir.VectorType(_DOUBLE, LANES), ir.VectorType(_INT32, LANES)


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def keep(
    _context: Any, sums: Any, _column: Any, _columns: Any, _bound: Any, values: Any, places: Any,
    _at: Any, placed: Any,
) -> Any:  # fmt: skip
    """Write those of sums[:64] that are below a bound to values[at:], and where `placed` is 1 their
    scenarios to places[at:]; the end of what is written.

    Scenarios from `columns` on are padding. Eight cells beyond the end may be written to.
    """
    with_places = bool(placed.literal_value)
    signature = types.int64(
        sums, types.int64, types.int64, types.float64, values, places, types.int64, placed
    )
    array_types = (sums, values, places)

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        s, column, columns, bound, v, p, at, *_ = arguments
        data, target, where = (
            context.make_array(kind)(context, builder, value).data
            for kind, value in zip(array_types, (s, v, p), strict=True)
        )
        low = _spread(builder, bound, _VECTOR)
        sums = [_load(builder, data, vector) for vector in range(WIDTH)]
        before = builder.block
        some = builder.function.append_basic_block("some_kept")
        after = builder.function.append_basic_block("kept")
        builder.cbranch(_any_below(builder, sums, low), some, after)
        builder.position_at_end(some)
        numbers = _places(builder, builder.trunc(column, _INT32))
        ends = _spread(builder, builder.trunc(columns, _INT32), _PLACES)
        end = at
        for vector, one in enumerate(sums):
            place = builder.add(numbers, ir.Constant(_PLACES, [vector * LANES] * LANES))
            inside = builder.icmp_signed("<", place, ends)
            mask = builder.and_(builder.fcmp_ordered("<", one, low), inside)
            _write(builder, _squeezed(builder, one, mask, "f64"), target, end)
            if with_places:
                _write(builder, _squeezed(builder, place, mask, "i32"), where, end)
            end = builder.add(end, _count(builder, mask))
        builder.branch(after)
        builder.position_at_end(after)
        found = builder.phi(_INT64)
        found.add_incoming(at, before)
        found.add_incoming(end, some)
        return found

    return signature, generate


def _load(b: Any, data: Any, vector: int) -> Any:
    cell = b.gep(data, [ir.Constant(_INT64, vector * LANES)])
    return b.load(b.bitcast(cell, _VECTOR.as_pointer()), align=8)


def _write(b: Any, vector: Any, data: Any, at: Any) -> None:
    b.store(vector, b.bitcast(b.gep(data, [at]), vector.type.as_pointer()), align=4)


def _spread(b: Any, number: Any, kind: Any) -> Any:
    one = b.insert_element(ir.Constant(kind, ir.Undefined), number, ir.Constant(_INT32, 0))
    return b.shuffle_vector(one, one, ir.Constant(_PLACES, [0] * LANES))


def _places(b: Any, first: Any) -> Any:
    return b.add(_spread(b, first, _PLACES), ir.Constant(_PLACES, list(range(LANES))))


def _any_below(b: Any, sums: list[Any], bound: Any) -> Any:
    """Whether any lane of any vector is below the bound; a NaN is not."""
    below = [b.fcmp_ordered("<", one, bound) for one in sums]
    while len(below) > 1:
        below = [b.or_(one, other) for one, other in zip(below[::2], below[1::2], strict=True)]
    return b.icmp_signed("!=", b.bitcast(below[0], _BITS), ir.Constant(_BITS, 0))


def _squeezed(b: Any, vector: Any, mask: Any, name: str) -> Any:
    """The lanes of a mask, moved together to the front."""
    kind = ir.FunctionType(vector.type, [vector.type, _MASK, vector.type])
    called = f"llvm.experimental.vector.compress.v{LANES}{name}"
    squeeze = cgutils.get_or_insert_function(b.module, kind, called)
    return b.call(squeeze, [vector, mask, ir.Constant(vector.type, ir.Undefined)])


def _count(b: Any, mask: Any) -> Any:
    kind = ir.FunctionType(_BITS, [_BITS])
    ones = cgutils.get_or_insert_function(b.module, kind, f"llvm.ctpop.i{LANES}")
    return b.zext(b.call(ones, [b.bitcast(mask, _BITS)]), _INT64)


@njit(nogil=True, cache=True)
def _mapped(  # type: ignore[no-untyped-def]
    matrix, column, row, stop, row_first, row_node, index, lots, dead, loss, gain, cap, plain,
    sums, total,
):  # fmt: skip
    """Totals of one tile of a set whose rows are [row, stop), as `risk.compiled.scan` has them.

    Whether one of them is no number. (A set of one plain row is summed where it is met: a call has
    to hand over a hundred numbers.)
    """
    total[:] = 0.0
    broken = False
    for one in range(row, stop):
        accumulate(matrix, 0, index, lots, row_first[one], row_first[one + 1], sums, WIDTH)
        node = row_node[one]
        if plain[node]:
            for s in range(TILE):
                total[s] += sums[s]
        else:
            d, el, g, c = dead[node], loss[node], gain[node], cap[node]
            for s in range(TILE):
                x, zone = sums[s], d[column + s]
                up = x - zone if x > zone else 0.0
                down = x + zone if x < -zone else 0.0
                up *= g[column + s]
                up = up if up < c[column + s] else c[column + s]
                total[s] += up + down * el[column + s]
    for s in range(TILE):
        broken |= total[s] != total[s]
    return broken


@njit(nogil=True, cache=True)
def begin(  # type: ignore[no-untyped-def]
    tiles, count, columns, set_first, row_first, row_node, index, lots, maps, reach,
    bound, held, values, places, least, worst, placed, start, stop,
):  # fmt: skip
    """The first `count` tiles of sets [start, stop): what is held of them, and the first bound."""
    plain, dead, loss, gain, cap = maps
    sums, total = np.empty(TILE), np.empty(TILE)
    room = count * TILE + TILE
    mine, where = np.empty(room), np.empty(room, np.int32)
    for one in range(start, stop):
        here, end = one - start, 0
        least[here] = np.inf
        for tile in range(count):
            row = set_first[one]
            if set_first[one + 1] - row == 1 and plain[row_node[row]]:
                first, last = row_first[row], row_first[row + 1]
                accumulate(tiles[tile], 0, index, lots, first, last, total, WIDTH)
            elif _mapped(
                tiles[tile], tile * TILE, row, set_first[one + 1], row_first, row_node, index, lots,
                dead, loss, gain, cap, plain, sums, total,
            ):  # fmt: skip
                worst[here] = -1
            low = least_of(total, WIDTH)
            if low < least[here]:
                least[here] = low
                if worst[here] >= 0:
                    worst[here] = tile * TILE + _first_at(total, low, WIDTH)
            end = keep(total, tile * TILE, columns, np.inf, mine, where, end, 1)
        bound[here], held[here] = narrowed(mine, where, end, reach, placed)
        for i in range(held[here]):
            values[here, i] = mine[i]
        if placed:
            for i in range(held[here]):
                places[here, i] = where[i]


@njit(nogil=True, cache=True)
def narrowed(values, places, count, reach, placed):  # type: ignore[no-untyped-def]
    """Drop what is not among the least `reach`; the bound of later ones and the new count.

    Order stays, so that of equal totals the first scenarios are held. Without `reach` totals there
    is no bound. Sixty-four cells beyond the count may be read, and eight written to.
    """
    if count <= reach + SLACK:
        high = -np.inf
        for i in range(count):
            high = max(high, values[i])
        return (high if count >= reach else np.inf), count
    vectors = (count + LANES - 1) // LANES
    for i in range(count, vectors * LANES):
        values[i] = np.inf
    low, high = least_greatest(values, vectors, (reach + LANES - 1) // LANES)
    passed, share = count, 0.25
    if up_to(values, vectors, low) >= reach:
        high = low
    # `passed` are up to high, never fewer than `reach`; fewer are up to low, unless they are one.
    while passed > reach + SLACK:
        middle = low + (high - low) * share
        if not low < middle < high:
            break
        share, found = 0.5, up_to(values, vectors, middle)
        if found >= reach:
            high, passed = middle, found
        else:
            low = middle
    if passed <= reach + SLACK and not placed:
        kept, above = 0, np.nextafter(high, np.inf)
        for i in range(0, count, TILE):
            kept = keep(values[i:], i, count, above, values, places, kept, 0)
        return high, kept
    return high, _taken(values, places, count, reach, high)


@njit(nogil=True, cache=True)
def _taken(values, places, count, reach, high):  # type: ignore[no-untyped-def]
    """Hold what is up to `high`: of those that are equal to it the first, up to `reach` in all,
    where there are many."""
    below, same = 0, 0
    for i in range(count):
        below += values[i] < high
        same += values[i] == high
    kept, equal = 0, same if below + same <= reach + SLACK else reach - below
    for i in range(count):
        is_same = values[i] == high
        take = values[i] < high or (is_same and equal > 0)
        equal -= is_same
        values[kept], places[kept] = values[i], places[i]
        kept += take
    return kept


@intrinsic  # type: ignore[untyped-decorator]
def least_greatest(_context: Any, values: Any, _vectors: Any, _few: Any) -> Any:
    """The least of so many vectors of values, and the greatest of the first few of them."""
    pair = types.UniTuple(types.float64, 2)

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        data = context.make_array(values)(context, builder, arguments[0]).data
        ends = []
        for sign, count in (("<", arguments[1]), (">", arguments[2])):
            far = ir.Constant(_VECTOR, [math.inf if sign == "<" else -math.inf] * LANES)

            def further(one: Any, held: Any, sign: str = sign) -> Any:
                return builder.select(builder.fcmp_ordered(sign, one, held), one, held)

            found = _over(builder, data, count, far, further)
            for shift in (4, 2, 1):
                moved = [(lane + shift) % LANES for lane in range(LANES)]
                turned = builder.shuffle_vector(found, found, ir.Constant(_PLACES, moved))
                found = further(turned, found)
            ends.append(builder.extract_element(found, ir.Constant(_INT32, 0)))
        return context.make_tuple(builder, pair, ends)

    return pair(values, types.int64, types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def up_to(_context: Any, values: Any, _vectors: Any, _bound: Any) -> Any:
    """How many of so many vectors of values are not above a bound."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        data = context.make_array(values)(context, builder, arguments[0]).data
        counts = ir.VectorType(_INT64, LANES)
        bound = _spread(builder, arguments[2], _VECTOR)

        def counted(one: Any, held: Any) -> Any:
            below = builder.fcmp_ordered("<=", one, bound)
            return builder.add(held, builder.zext(below, counts))

        nothing = ir.Constant(counts, [0] * LANES)
        found = _over(builder, data, arguments[1], nothing, counted)
        kind = ir.FunctionType(_INT64, [counts])
        total = cgutils.get_or_insert_function(
            builder.module, kind, f"llvm.vector.reduce.add.v{LANES}i64"
        )
        return builder.call(total, [found])

    return types.int64(values, types.int64, types.float64), generate


def _over(b: Any, data: Any, count: Any, first: Any, step: Callable[[Any, Any], Any]) -> Any:
    """A loop over so many vectors: what `step(vector, held)` comes to."""
    before = b.block
    head = b.function.append_basic_block("vectors")
    body = b.function.append_basic_block("vector")
    after = b.function.append_basic_block("done")
    b.branch(head)
    b.position_at_end(head)
    n, held = b.phi(_INT64), b.phi(first.type)
    n.add_incoming(ir.Constant(_INT64, 0), before)
    held.add_incoming(first, before)
    b.cbranch(b.icmp_signed("<", n, count), body, after)
    b.position_at_end(body)
    cell = b.gep(data, [b.mul(n, ir.Constant(_INT64, LANES))])
    more = step(b.load(b.bitcast(cell, _VECTOR.as_pointer()), align=8), held)
    held.add_incoming(more, body)
    n.add_incoming(b.add(n, ir.Constant(_INT64, 1)), body)
    b.branch(head)
    b.position_at_end(after)
    return held


@njit(nogil=True, cache=True)
def mean_of_least(values, held, mass, out):  # type: ignore[no-untyped-def]
    """(Σ of the ⌊mass⌋ least + the rest of mass × the next) ÷ mass of each row, where it is exact.

    Elsewhere (totals that are no integers, or sums that could pass 2^53) NaN: `ordered` does those.
    """
    whole = int(mass)
    part = mass - whole
    for here in range(len(held)):
        count, row = held[here], values[here]
        rest, reach = True, _RANGE / (whole + 1)
        for i in range(count):
            rest &= (row[i] == np.rint(row[i])) & (abs(row[i]) < reach)
        out[here] = np.nan
        if not rest:
            continue
        total, beyond = 0.0, 0.0
        for i in range(count):
            one, rank = row[i], 0
            for j in range(count):
                rank += row[j] < one
            for j in range(i):
                rank += row[j] == one
            total += one if rank < whole else 0.0
            beyond = one if rank == whole else beyond
        out[here] = (total + part * beyond) / mass if part > 0.0 else total / mass


@njit(nogil=True, cache=True)
def ordered(values, places, held):  # type: ignore[no-untyped-def]
    """Put what each row holds in order, by (total, place)."""
    for here in range(len(held)):
        row, where, count = values[here], places[here], held[here]
        for i in range(1, count):
            one, place, j = row[i], where[i], i - 1
            while j >= 0 and (row[j] > one or (row[j] == one and where[j] > place)):
                row[j + 1], where[j + 1] = row[j], where[j]
                j -= 1
            row[j + 1], where[j + 1] = one, place
