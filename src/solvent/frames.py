"""Arrays as bytes that a journal keeps: sealed with a digest, exact to the bit, and read with care.

A frame is four letters that say what it holds, a version, a BLAKE2b digest and a body. Numbers are
raw little-endian. Nothing is allocated beyond what the bytes themselves hold, and whatever is wrong
with them is bad input that says what.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from hashlib import blake2b
from math import prod
from typing import Any, Final, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from solvent.errors import BadInput, Problem, Reject, check
from solvent.units import Float64

DIGEST_BYTES: Final = 16
_KIND_BYTES: Final = 4
_HEAD_BYTES: Final = _KIND_BYTES + 1 + DIGEST_BYTES
Once = tuple[bytes, bytes]
"""Distinct columns of a matrix, and which of them stands where."""
Body = TypeVar("Body", bound=msgspec.Struct)
_ENCODER: Final = msgspec.msgpack.Encoder()


def sealed(kind: bytes, version: int, body: msgspec.Struct) -> bytes:
    """A body as a frame: equal bodies make equal bytes."""
    check(len(kind) == _KIND_BYTES, "a kind has four letters", kind)
    packed = _ENCODER.encode(body)
    head = kind + bytes([version])
    return head + _digest(head, packed) + packed


def opened(data: bytes, kind: bytes, version: int, body: type[Body], *, source: str) -> Body:
    """The body of a frame. Raises BadInput for bytes that `sealed` did not make."""
    head, packed = data[: _KIND_BYTES + 1], data[_HEAD_BYTES:]
    if head != kind + bytes([version]):
        raise BadInput(
            malformed(source, "head", f"{kind.decode()} version {version}", repr(bytes(head)))
        )
    if data[_KIND_BYTES + 1 : _HEAD_BYTES] != _digest(head, packed):
        raise BadInput(malformed(source, "digest", "that of the bytes", "another"))
    try:
        found = msgspec.msgpack.decode(packed, type=body)
    except (ValueError, RecursionError) as fault:
        raise BadInput(malformed(source, "body", "the parts of a frame", str(fault))) from fault
    if _ENCODER.encode(found) != packed:
        raise BadInput(malformed(source, "body", "its shortest encoding", "a longer one"))
    return found


def _digest(head: bytes, packed: bytes) -> bytes:
    return blake2b(head + packed, digest_size=DIGEST_BYTES).digest()


def malformed(source: str, field: str, expected: str, found: str) -> Problem:
    """Bytes that are not what they should be."""
    return Problem(
        code=Reject.SOURCE_UNREADABLE, source=source, field=field, expected=expected, found=found
    )


class Reader:
    """Columns of a frame by name, each of a shape that is known before it is read."""

    def __init__(self, source: str) -> None:
        self.source = source

    def refuse(self, holds: bool, field: str, expected: str, found: str = "otherwise") -> None:
        """Raise BadInput unless it holds."""
        if not holds:
            raise BadInput(malformed(self.source, field, expected, found))

    def floats(
        self, field: str, data: bytes, shape: Sequence[int], *, nan: bool = False
    ) -> Float64:
        """float64, finite, or NaN where that is allowed."""
        column = self._column(field, data, np.dtype("<f8"), shape)
        good = np.isfinite(column) | np.isnan(column) if nan else np.isfinite(column)
        self.refuse(bool(good.all()), field, "finite numbers", "others")
        return column

    def whole(
        self, field: str, data: bytes, shape: Sequence[int], *, kind: str, low: int, high: int
    ) -> NDArray[Any]:
        """Whole numbers of a dtype such as "i4", from `low` to `high`."""
        column = self._column(field, data, np.dtype(f"<{kind}"), shape)
        inside = bool(((column >= low) & (column <= high)).all())
        self.refuse(inside, field, f"numbers from {low} to {high}", "others")
        return column

    def truths(self, field: str, data: bytes, shape: Sequence[int]) -> NDArray[np.bool_]:
        """Bytes 0 and 1."""
        column = self.whole(field, data, shape, kind="u1", low=0, high=1)
        return column.view(np.bool_)

    def once(
        self, field: str, told: Once, shape: tuple[int, int], *, nan: bool = False,
        truths: bool = False,
    ) -> NDArray[Any]:  # fmt: skip
        """A matrix whose equal columns were told once; the inverse of `told_once`."""
        rows, columns = shape
        distinct, place = told
        width = rows * (1 if truths else 8)
        parts = [distinct[at : at + width] for at in range(0, len(distinct), width)]
        count = len(parts)
        by_column = (
            self.truths(field, distinct, (count, rows))
            if truths
            else self.floats(field, distinct, (count, rows), nan=nan)
        )
        places = self.whole(field, place, (columns,), kind="u2", low=0, high=count - 1)
        appear = list(dict.fromkeys(places.tolist()))
        single = appear == list(range(count)) and len(set(parts)) == count
        self.refuse(single, field, "every distinct column once, in order of appearance", "others")
        return _readonly(np.ascontiguousarray(by_column[places].T))

    def _column(
        self, field: str, data: bytes, kind: np.dtype[Any], shape: Sequence[int]
    ) -> NDArray[Any]:
        expected = prod(shape) * kind.itemsize
        self.refuse(len(data) == expected, field, f"{expected} bytes", f"{len(data)}")
        native = kind.newbyteorder("=")
        return _readonly(np.frombuffer(data, dtype=kind).astype(native, copy=False).reshape(shape))


def raw(column: NDArray[Any]) -> bytes:
    """A column's numbers, little-endian, row by row."""
    if sys.byteorder == "big":
        column = column.byteswap()
    return column.tobytes()


def told_once(matrix: NDArray[Any]) -> Once:
    """The distinct columns of a matrix in order of first appearance, and which stands where."""
    places: dict[bytes, int] = {}
    columns = [raw(np.ascontiguousarray(column)) for column in matrix.T]
    at = [places.setdefault(column, len(places)) for column in columns]
    return b"".join(places), raw(np.array(at, dtype=np.uint16))


def _readonly(column: NDArray[Any]) -> NDArray[Any]:
    column.flags.writeable = False
    return column
