"""Steps of the pass by rows as LLVM IR, so that what belongs together stays in registers.

A row leaves vectors, not numbers: of its scenario sums the least in each lane. Eight rows' lanes
then come to eight losses, and these to requirements, by some sixty vector operations for all eight,
which one row after another would need several times. Eight accounts are told in the same way.

What is written for good (an account's figures) may go past the caches, as nobody reads it before
the pass is over, and the caches then keep risk rows and sums.

All numbers are integers below 2^53, or 64-bit integers: no order of operations changes a bit.
Importing this module imports numba.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from solvent.risk.compiled import LANES, _emit_loop, _prefetch, _smaller, _spread, _store
from solvent.solvency.compiled import NEAR
from solvent.solvency.rows import MARK

_STREAM_AHEAD = 1_024
"""Positions by which a pass asks for its own book; beyond the end it asks in vain."""
_FIGURES = 4
"""What a row adds to an account: its mark, initial and maintenance requirement, and its reach."""
_LINE = 64
_BYTE, _INT32, _INT64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)
_VECTOR = ir.VectorType(ir.DoubleType(), LANES)
_WHOLE, _BYTES = ir.VectorType(_INT64, LANES), ir.VectorType(_BYTE, LANES)
_FOUR, _TABLE = ir.VectorType(_INT64, _FIGURES), ir.VectorType(_INT64, LANES * _FIGURES)


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def row_lanes(
    _context: Any, matrix: Any, index: Any, lots: Any, _begin: Any, _end: Any, least: Any,
    lesser: Any, added: Any, _place: Any, width: Any, narrow: Any,
) -> Any:  # fmt: skip
    """A row's Σ lots · matrix[index] over positions [begin, end), in registers throughout.

    least[8·place:] takes of each lane the least of the first `width` vectors, lesser[8·place:] that
    of the first `narrow` where these are fewer, added[8·place:] the last vector: the sums of the
    additive columns. Rows of the matrix are width + 1 vectors.
    """
    wide, few = width.literal_value, narrow.literal_value
    signature = types.void(
        matrix, index, lots, types.int64, types.int64, least, lesser, added, types.int64, width,
        narrow,
    )  # fmt: skip
    kinds = (matrix, index, lots, least, lesser, added)

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        m, i, q, first, last, *outs, place, _, _ = arguments
        rows, at, weights, low, lower, more = _data(context, builder, kinds, (m, i, q, *outs))
        shape = context.make_array(matrix)(context, builder, m).shape
        stride = cgutils.unpack_tuple(builder, shape)[1]
        ahead = builder.add(first, _number(_STREAM_AHEAD))
        for stream in (at, weights):
            _prefetch(builder, builder.gep(stream, [ahead]), 2)
        sums = _emit_loop(
            builder, wide + 1, rows, stride, _number(0), at, weights, first, last, None
        )
        start = builder.mul(place, _number(LANES))
        _store(builder, more, start, sums[wide])
        _store(builder, low, start, _least_lanes(builder, sums[:wide]))
        if few != wide:
            _store(builder, lower, start, _least_lanes(builder, sums[:few]))
        return context.get_dummy_value()

    return signature, generate


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def eight_rows(
    _context: Any, least: Any, lesser: Any, added: Any, gross: Any, shares: Any, parts: Any,
    same: Any,
) -> Any:  # fmt: skip
    """parts[k] = mark, initial and maintenance requirement, 0 of the rows k that `row_lanes` left.

    A requirement is ⌈loss·r⌉ + ⌈gross/2⌉. The share r = over/under in its lowest terms is told by
    shares[·] = r as a float, −½/under, and the loss from which on this is not exact: then
    ⌈loss·r⌉ = ⌈loss·r − ½/under⌉ computed in floats, since a quotient of whole numbers that is not
    whole is at least 1/under above one, and the float is off by at most 3/8/under while
    loss·over < 2^50: by loss·r·2^−53 for each of r, the product and the difference.

    Bit k of what is returned tells that a loss of row k is beyond that, and its parts are wrong.
    `same` is 1 where maintenance reads all scenarios, and `lesser` nothing.
    """
    alike = bool(same.literal_value)
    kinds = (least, lesser, added, gross, shares, parts)
    signature = types.int64(*kinds, same)

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        b = builder
        wide, few, sums, lots, share, out = _data(context, b, kinds, arguments[:6])
        losses = [_losses(b, wide)]
        losses.append(losses[0] if alike else _losses(b, few))
        whole = b.fptosi(_read(b, lots, _number(0)), _WHOLE)
        hidden = b.ashr(b.add(whole, _whole(1)), _whole(1))
        mark = ir.Constant(_VECTOR, ir.Undefined)
        for row in range(LANES):
            one = b.load(b.gep(sums, [_number(row * LANES + MARK)]))
            mark = b.insert_element(mark, one, ir.Constant(_INT32, row))
        told, far = [b.fptosi(mark, _WHOLE)], ir.Constant(ir.VectorType(ir.IntType(1), LANES), None)
        for n, loss in enumerate(losses):
            ratio, back, top = (
                _spread(b, b.load(b.gep(share, [_number(3 * n + k)]))) for k in range(3)
            )
            part = _ceil(b, _multiply_add(b, loss, ratio, back))
            told.append(b.add(b.fptosi(part, _WHOLE), hidden))
            far = b.or_(far, b.fcmp_ordered(">=", loss, top))
        _write(b, out, _number(0), _woven(b, [*told, _whole(0)]))
        return b.zext(b.bitcast(far, ir.IntType(LANES)), _INT64)

    return signature, generate


@intrinsic  # type: ignore[untyped-decorator]
def eight_accounts(
    _context: Any, sums: Any, _place: Any, cash: Any, equity: Any, initial: Any, maintenance: Any,
    figures_ms: Any, state: Any, close: Any, unknown: Any, _account: Any, _at_ms: Any,
) -> Any:  # fmt: skip
    """Figures of accounts account … account + 7 from sums[place:], which are set to 0.

    As `compiled.class_of` has it of accounts that are known. Figures of 8 bytes go past the caches:
    `account` is a multiple of 8, and their columns begin on cache lines.
    """
    kinds = (sums, cash, equity, initial, maintenance, figures_ms, state, close, unknown)
    signature = types.void(sums, types.int64, *kinds[1:], types.int64, types.int64)

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        b = builder
        table, place, *columns, account, at_ms = arguments
        ours, *theirs = _data(context, b, kinds, (table, *columns))
        first = b.mul(place, _number(_FIGURES))
        mark, needed, least = _unwoven(b, _read(b, ours, first, _TABLE))
        _write(b, ours, first, ir.Constant(_TABLE, None))
        owned = b.add(_read(b, theirs[0], account, _WHOLE), mark)
        now = _spread_whole(b, at_ms)
        for column, told in zip(theirs[1:5], (owned, needed, least, now), strict=True):
            _write(b, column, account, told, straight=True)
        for column, told in zip(theirs[5:7], _class_of(b, owned, needed, least), strict=True):
            _write(b, column, account, told)
        _write(b, theirs[7], account, ir.Constant(_BYTES, None))
        return context.get_dummy_value()

    return signature, generate


@intrinsic  # type: ignore[untyped-decorator]
def will_add(_context: Any, table: Any, _place: Any) -> Any:
    """Ask for table[place] to be written soon, so that the line is there by then."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        (data,) = _data(context, builder, (table,), arguments[:1])
        first = builder.mul(arguments[1], _number(_FIGURES))
        _prefetch(builder, builder.gep(data, [first]), 3, writing=1)
        return context.get_dummy_value()

    return types.void(table, types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def add_row(_context: Any, table: Any, _place: Any, parts: Any, _row: Any) -> Any:
    """table[place] += parts[row], four whole numbers at once; both are [any, 4] of int64."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        into, place, of, row = arguments
        ours, theirs = _data(context, builder, (table, parts), (into, of))
        cell, other = (builder.mul(one, _number(_FIGURES)) for one in (place, row))
        more = _read(builder, theirs, other, _FOUR)
        _write(builder, ours, cell, builder.add(_read(builder, ours, cell, _FOUR), more))
        return context.get_dummy_value()

    return types.void(table, types.int64, parts, types.int64), generate


# ── what they are made of ────────────────────────────────────────────────────────────────────


def _least_lanes(b: Any, found: list[Any]) -> Any:
    """Of each lane the least of some vectors."""
    while len(found) > 1:
        pairs = zip(found[::2], found[1::2], strict=False)
        found = [_smaller(b, one, other) for one, other in pairs] + found[len(found) & ~1 :]
    return found[0]


def _losses(b: Any, lanes: Any) -> Any:
    """[row] max(0, −least) of eight rows' lanes, which lie one after the other.

    Two rows are laid into one vector by their even and their odd lanes, the least of which holds
    both; then two such vectors, and two of those: seven minima for all eight rows.
    """
    found = [_read(b, lanes, _number(row * LANES)) for row in range(LANES)]
    for half in (1, 2, 4):
        found = [
            _smaller(b, _halves(b, one, other, half, 0), _halves(b, one, other, half, half))
            for one, other in zip(found[::2], found[1::2], strict=True)
        ]
    loss = b.fsub(_floats(0.0), found[0])
    return b.select(b.fcmp_ordered(">", loss, _floats(0.0)), loss, _floats(0.0))


def _halves(b: Any, one: Any, other: Any, half: int, shift: int) -> Any:
    """Of every 2·half lanes the `half` from `shift` on: one's, then other's, by turns."""
    lanes = []
    for start in range(0, LANES, 2 * half):
        lanes += [start + shift + k for k in range(half)]
        lanes += [LANES + start + shift + k for k in range(half)]
    return _shuffled(b, one, other, lanes)


def _woven(b: Any, columns: list[Any]) -> Any:
    """Four columns of eight as eight rows of four."""
    low, high = (_shuffled(b, columns[k], columns[k + 1], list(range(2 * LANES))) for k in (0, 2))
    lanes = [column * LANES + row for row in range(LANES) for column in range(_FIGURES)]
    return _shuffled(b, low, high, lanes)


def _unwoven(b: Any, table: Any) -> list[Any]:
    """The first three columns of eight rows of four."""
    return [
        _shuffled(b, table, table, [row * _FIGURES + column for row in range(LANES)])
        for column in range(_FIGURES - 1)
    ]


def _class_of(b: Any, owned: Any, needed: Any, least: Any) -> tuple[Any, Any]:
    """States and closeness, a byte each."""

    def less(one: Any, other: Any) -> Any:
        return b.icmp_signed("<", one, other)

    room = b.sub(owned, least)
    near, nearer = (less(b.mul(room, _whole(share)), owned) for share in NEAR)
    under, called = less(room, _whole(0)), less(owned, needed)
    level = b.add(b.zext(near, _BYTES), b.zext(nearer, _BYTES))
    state = b.select(called, _bytes(2), b.zext(b.or_(near, nearer), _BYTES))
    return b.select(under, _bytes(3), state), b.select(under, _bytes(2), level)


def _ceil(b: Any, vector: Any) -> Any:
    kind = ir.FunctionType(_VECTOR, [_VECTOR])
    return b.call(
        cgutils.get_or_insert_function(b.module, kind, f"llvm.ceil.v{LANES}f64"), [vector]
    )


def _multiply_add(b: Any, one: Any, other: Any, more: Any) -> Any:
    kind = ir.FunctionType(_VECTOR, [_VECTOR] * 3)
    name = f"llvm.fmuladd.v{LANES}f64"
    return b.call(cgutils.get_or_insert_function(b.module, kind, name), [one, other, more])


def _data(context: Any, b: Any, kinds: Any, values: Any) -> list[Any]:
    pairs = zip(kinds, values, strict=True)
    return [context.make_array(kind)(context, b, value).data for kind, value in pairs]


def _read(b: Any, data: Any, start: Any, kind: Any = _VECTOR) -> Any:
    return b.load(b.bitcast(b.gep(data, [start]), kind.as_pointer()), align=8)


def _write(b: Any, data: Any, start: Any, vector: Any, *, straight: bool = False) -> None:
    align = 1 if vector.type == _BYTES else 8
    cell = b.bitcast(b.gep(data, [start]), vector.type.as_pointer())
    stored = b.store(vector, cell, align=_LINE if straight else align)
    if straight:
        stored.set_metadata("nontemporal", b.module.add_metadata([ir.Constant(_INT32, 1)]))


def _shuffled(b: Any, one: Any, other: Any, lanes: list[int]) -> Any:
    return b.shuffle_vector(one, other, ir.Constant(ir.VectorType(_INT32, len(lanes)), lanes))


def _spread_whole(b: Any, number: Any) -> Any:
    one = b.insert_element(ir.Constant(_WHOLE, ir.Undefined), number, ir.Constant(_INT32, 0))
    return _shuffled(b, one, one, [0] * LANES)


def _number(value: int) -> Any:
    return ir.Constant(_INT64, value)


def _floats(value: float) -> Any:
    return ir.Constant(_VECTOR, [value] * LANES)


def _whole(value: int) -> Any:
    return ir.Constant(_WHOLE, [value] * LANES)


def _bytes(value: int) -> Any:
    return ir.Constant(_BYTES, [value] * LANES)
