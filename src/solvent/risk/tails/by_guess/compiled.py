"""Tails whose bound is guessed from a sample of a set's totals, and then hardly ever moved.

Where enough totals are below mean − z · deviation of the sample, one list is enough: no bound
is looked for again, and the tail is taken from the list at the end. Where there are too few, the
guess was too low; that is seen, and the set is done anew without guesses. So a guess decides what
is looked at, never a bit of a result. Of scenarios that weigh alike an expected shortfall is a sum
of whole numbers, which is one in any order (`finish`); the rest is summed in order (`ranked`).

Importing this module imports numba.
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
from solvent.risk.compiled import _first_at, _least, _load, accumulate
from solvent.risk.tails.compiled import SLACK, WIDTH, _mapped, _over, _spread, up_to
from solvent.risk.tails.listing.compiled import (
    gathered,
    scenario,
    scenarios,
)
from solvent.risk.tails.tiles import LANES, TILE

TRIES_MAX: Final = 8
"""Guesses by how many are below; then by halves, which always ends."""
FEW: Final = 16
"""Vectors that a list is looked over as, where it is no longer: one length, no wrong jump."""
_RANGE: Final = float(EXACT_MAX)
_INT32 = ir.IntType(32)
_VECTOR, _PLACES = ir.VectorType(ir.DoubleType(), LANES), ir.VectorType(_INT32, LANES)


@intrinsic  # type: ignore[untyped-decorator]
def moments(_context: Any, total: Any) -> Any:
    """The sum of total[:64] and that of its squares: of a guess, in any order."""
    pair = types.UniTuple(types.float64, 2)

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        data = context.make_array(total)(context, builder, arguments[0]).data
        once = [_load(builder, data, v) for v in range(WIDTH)]
        twice = [builder.fmul(one, one) for one in once]
        sums = [_total(builder, _joined(builder, some)) for some in (once, twice)]
        return context.make_tuple(builder, pair, sums)

    return pair(total), generate


def _joined(b: Any, vectors: list[Any]) -> Any:
    """The sum of some vectors, lane by lane."""
    while len(vectors) > 1:
        pairs = zip(vectors[::2], vectors[1::2], strict=True)
        vectors = [b.fadd(one, other) for one, other in pairs]
    return vectors[0]


def _total(b: Any, vector: Any) -> Any:
    """The sum of a vector's lanes."""
    for shift in (4, 2, 1):
        moved = [(lane + shift) % LANES for lane in range(LANES)]
        turned = b.shuffle_vector(vector, vector, ir.Constant(_PLACES, moved))
        vector = b.fadd(vector, turned)
    return b.extract_element(vector, ir.Constant(_INT32, 0))


@intrinsic  # type: ignore[untyped-decorator]
def least_below(_context: Any, values: Any, _vectors: Any, _high: Any) -> Any:
    """The least of so many vectors of values, and the sum of how far each is below `high`."""
    pair = types.UniTuple(types.float64, 2)

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        data = context.make_array(values)(context, builder, arguments[0]).data
        high = _spread(builder, arguments[2], _VECTOR)

        def lesser(one: Any, held: Any) -> Any:
            return builder.select(builder.fcmp_ordered("<", one, held), one, held)

        def farther(one: Any, held: Any) -> Any:
            return builder.fadd(held, builder.fsub(high, lesser(one, high)))

        far = ir.Constant(_VECTOR, [math.inf] * LANES)
        least = _least(builder, [_over(builder, data, arguments[1], far, lesser)])
        nothing = ir.Constant(_VECTOR, [0.0] * LANES)
        return context.make_tuple(
            builder,
            pair,
            [least, _total(builder, _over(builder, data, arguments[1], nothing, farther))],
        )

    return pair(values, types.int64, types.float64), generate


@intrinsic  # type: ignore[untyped-decorator]
def least_above(_context: Any, values: Any, _vectors: Any, _low: Any) -> Any:
    """The least of so many vectors of values that are above `low`."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        data = context.make_array(values)(context, builder, arguments[0]).data
        low = _spread(builder, arguments[2], _VECTOR)

        def lesser(one: Any, held: Any) -> Any:
            above = builder.fcmp_ordered(">", one, low)
            nearer = builder.and_(above, builder.fcmp_ordered("<", one, held))
            return builder.select(nearer, one, held)

        far = ir.Constant(_VECTOR, [math.inf] * LANES)
        return _least(builder, [_over(builder, data, arguments[1], far, lesser)])

    return types.float64(values, types.int64, types.float64), generate


@intrinsic  # type: ignore[untyped-decorator]
def sum_up_to(_context: Any, values: Any, _vectors: Any, _high: Any) -> Any:
    """The sum of those of so many vectors of values that are not above `high`, and that of their
    distances from whole numbers."""
    pair = types.UniTuple(types.float64, 2)

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        data = context.make_array(values)(context, builder, arguments[0]).data
        high = _spread(builder, arguments[2], _VECTOR)
        nothing = ir.Constant(_VECTOR, [0.0] * LANES)
        kind = ir.FunctionType(_VECTOR, [_VECTOR])
        rint = cgutils.get_or_insert_function(builder.module, kind, f"llvm.rint.v{LANES}f64")
        size = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fabs.v{LANES}f64")

        def taken(one: Any) -> Any:
            return builder.select(builder.fcmp_ordered("<=", one, high), one, nothing)

        def added(one: Any, held: Any) -> Any:
            return builder.fadd(held, taken(one))

        def apart(one: Any, held: Any) -> Any:
            some = taken(one)
            away = builder.fsub(some, builder.call(rint, [some]))
            return builder.fadd(held, builder.call(size, [away]))

        sums = [
            _total(builder, _over(builder, data, arguments[1], nothing, step))
            for step in (added, apart)
        ]
        return context.make_tuple(builder, pair, sums)

    return pair(values, types.int64, types.float64), generate


@njit(nogil=True, cache=True)
def guess(  # type: ignore[no-untyped-def]
    tiles, set_first, row_first, row_node, index, lots, maps, deviations, rank, spans, bound,
    start, stop,
):  # fmt: skip
    """mean − deviations · deviation of what sets [start, stop) come to in some tiles. Where none of
    that is below it, losses are shorter than gains: the next number after the `rank`-th least."""
    plain, dead, loss, gain, cap = maps
    cells = len(tiles) * TILE
    sums, total = np.empty(TILE), np.empty(cells)
    for one in range(start, stop):
        first, last = spans[one - start, 0], spans[one - start, 1]
        once, twice = 0.0, 0.0
        for t in range(len(tiles)):
            part = total[t * TILE :]
            if last >= first:
                accumulate(tiles[t], 0, index, lots, first, last, part, WIDTH)
            else:
                _mapped(
                    tiles[t], t * TILE, set_first[one], set_first[one + 1], row_first, row_node,
                    index, lots, dead, loss, gain, cap, plain, sums, part,
                )  # fmt: skip
            more, squares = moments(part)
            once += more
            twice += squares
        mean = once / cells
        low = mean - deviations * np.sqrt(max(twice / cells - mean * mean, 0.0))
        if up_to(total, cells // LANES, np.nextafter(low, -np.inf)) == 0:
            low = max(low, _after_rank(total, cells, rank))
        bound[one - start] = low


@njit(nogil=True, cache=True)
def _after_rank(total, cells, rank):  # type: ignore[no-untyped-def]
    """The next number after the `rank`-th least; none where many are equal to that, or so many
    are no numbers."""
    high, found = -np.inf, 0
    while found < rank and high < np.inf:
        high = least_above(total, cells // LANES, high)
        found = up_to(total, cells // LANES, high)
    return np.nextafter(high, np.inf) if rank <= found <= 4 * rank else -np.inf


@njit(nogil=True, cache=True)
def finish(  # type: ignore[no-untyped-def]
    listed, ends, marks, column, mass, bound, held, values, worst, out,
):  # fmt: skip
    """(Σ of the ⌊mass⌋ least + the rest of mass × the next) ÷ mass of what each set holds and tiles
    from `column` on listed of it: NaN where those are too few, or no whole numbers whose sums are
    exact. The worst scenario, where it was not held before.
    """
    tiles, sets = marks.shape
    ends, room = ends.copy(), values.shape[1] + tiles * TILE + FEW * LANES
    mine = np.empty(room)
    whole = int(mass)
    part = mass - whole
    need = whole + (1 if part > 0.0 else 0)
    steps = np.log((need + 0.5) / (np.arange(room) + 0.5))
    for here in range(sets):
        for i in range(FEW * LANES):
            mine[i] = np.inf
        end = gathered(listed, ends, marks, here, values, held[here], mine)
        out[here] = np.nan
        if end < need:
            continue
        vectors = max(FEW, (end + LANES - 1) // LANES)
        for i in range(LANES):
            mine[end + i] = np.inf
        least, beyond = least_below(mine, vectors, bound[here])
        place = _first(mine, least)
        if place >= held[here] and worst[here] >= 0:
            worst[here] = scenario(marks, here, place - held[here], column)
        high, passed = _bound_of(mine, vectors, end, need, least, bound[here], beyond / end, steps)
        total, apart = sum_up_to(mine, vectors, high)
        if apart > 0.0 or max(-least, abs(high)) >= _RANGE / (passed + 1):
            continue
        if passed == need and part == 0.0:
            out[here] = total / mass
            continue
        # Of more than are wanted the last are equal to the bound.
        last = _greatest(mine, end, high)
        total -= (passed - need) * last
        out[here] = ((total - last) + part * last) / mass if part > 0.0 else total / mass


@njit(nogil=True, cache=True)
def _first(mine, least):  # type: ignore[no-untyped-def]
    """The first place of the least of some numbers."""
    start, found = 0, _first_at(mine, least, WIDTH)
    while found == TILE:
        start += TILE
        found = _first_at(mine[start:], least, WIDTH)
    return start + found


@njit(nogil=True, cache=True)
def _bound_of(mine, vectors, count, need, least, high, scale, steps):  # type: ignore[no-untyped-def]
    """A number that `need` of some numbers do not pass, and others only if they are equal to it,
    and how many do not pass it; none of them passes `high`.

    How many do not pass x falls about as exp(x / scale), with the mean distance to `high` as the
    scale: from each number that was tried the next one is foreseen by that, between those that are
    known to be too low and too high. `steps` are log((need + ½) / (found + ½)).
    """
    low, passed, tries = least, count, 0
    middle = high + scale * steps[count]
    while passed > need:
        if not low < middle < high or tries >= TRIES_MAX:
            if low == least:
                found = up_to(mine, vectors, least)
                if found >= need:
                    return least, found
            middle = low + (high - low) * 0.5
            if not low < middle < high:
                break
        tries += 1
        found = up_to(mine, vectors, middle)
        if found >= need:
            high, passed = middle, found
        else:
            low = middle
        middle += scale * steps[found]
    return high, passed


@njit(nogil=True, cache=True, fastmath={"reassoc", "nnan"})
def _greatest(mine, count, high):  # type: ignore[no-untyped-def]
    """The greatest of those that are not above a number."""
    greatest = -np.inf
    for i in range(count):
        greatest = max(greatest, mine[i] if mine[i] <= high else -np.inf)
    return greatest


@njit(nogil=True, cache=True)
def ranked(  # type: ignore[no-untyped-def]
    listed, ends, marks, column, parts, mass, is_mean, bound, held, values, places, worst, out,
):  # fmt: skip
    """Expected shortfall, or value at risk, of what each set holds and tiles from `column` on
    listed of it, and the scenario that stands for it, as `tails.reduced` has them: NaN where what
    is below the bound weighs too little.
    """
    tiles, sets = marks.shape
    ends, room = ends.copy(), values.shape[1] + tiles * TILE + FEW * LANES
    mine, where = np.empty(room), np.empty(room, np.int32)
    near, there = np.empty(room), np.empty(room, np.int32)
    order, same = np.empty(room, np.int64), np.zeros(room, np.int64)
    wanted = room
    for here in range(sets):
        for i in range(FEW * LANES):
            mine[i] = np.inf
        end = gathered(listed, ends, marks, here, values, held[here], mine)
        scenarios(marks, here, column, places, held[here], where)
        for i in range(LANES):
            mine[end + i] = np.inf
        out[here] = np.nan
        # Mostly as many as of the set before are enough, and a few more.
        few = 0
        if wanted < end:
            vectors = max(FEW, (end + LANES - 1) // LANES)
            beyond = least_below(mine, vectors, bound[here])[1]
            high = bound[here] + beyond / end * np.log(wanted / end)
            few = _nearer(mine, where, end, parts, mass, high, near, there)
        if few > 0:
            mine, near, where, there, end = near, mine, there, where, few
        _put_in_order(mine, end, order, same)
        out[here], rank = _walk(mine, where, order, end, parts, mass, is_mean)
        wanted = rank + rank // 2 + SLACK
        if worst[here] >= 0 and not np.isnan(out[here]):
            worst[here] = where[order[0 if is_mean else rank]]


@njit(nogil=True, cache=True)
def _nearer(mine, where, count, parts, mass, high, near, there):  # type: ignore[no-untyped-def]
    """Take those of some numbers that are not above `high` elsewhere; how many: none where they do
    not weigh more than the tail."""
    kept, weight = 0, 0.0
    for i in range(count):
        near[kept], there[kept] = mine[i], where[i]
        low = mine[i] <= high
        weight += parts[where[i]] if low else 0.0
        kept += low
    for i in range(kept, max(FEW * LANES, kept + LANES)):
        near[i] = np.inf
    return kept if weight > mass else 0


@njit(nogil=True, cache=True)
def _walk(mine, where, order, count, parts, mass, is_mean):  # type: ignore[no-untyped-def]
    """The tail of some numbers in order, and its last rank; NaN where they weigh too little."""
    total, before = 0.0, 0.0
    for rank in range(count):
        i = order[rank]
        part = parts[where[i]]
        if is_mean:
            total += min(mass - before, part) * mine[i]
        before += part
        if before > mass or (is_mean and before == mass):
            return (total / mass if is_mean else mine[i]) + 0.0, rank
    return np.nan, 0


@njit(nogil=True, cache=True)
def _put_in_order(mine, count, order, same):  # type: ignore[no-untyped-def]
    """The places of some numbers from the least on, equal ones as they stand; `same` is zeros.

    Beyond them numbers are infinite as far as they are looked at.
    """
    vectors = (count + LANES - 1) // LANES
    for i in range(count - 1, -1, -1):
        up = up_to(mine, vectors, mine[i])
        same[up] += 1
        order[up - same[up]] = i
    for i in range(count + 1):
        same[i] = 0
