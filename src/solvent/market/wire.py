"""A snapshot as bytes, exact to the bit, and back.

Instruments are not inside: their symbols and identities are. Whoever reads knows the instruments,
and is refused where one is not what it was.
"""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np

from solvent.frames import Reader, opened, raw, sealed
from solvent.instruments import Universe
from solvent.instruments.universe import Known, universe_of
from solvent.limits import TIME_MS_MAX
from solvent.market.snapshot import Curves, Flag, Snapshot
from solvent.units import TimeMs

_KIND: Final = b"MKTS"
_VERSION: Final = 1
_AGE_MS_MAX: Final = 2 * TIME_MS_MAX
_FLAGS: Final = int(sum(Flag))
_BY_INSTRUMENT: Final = ("forward", "mark_forward", "mark", "vol", "bid", "ask")


class _Curves(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    count: int
    underlying: bytes
    settlement: bytes
    expiry_ms: bytes
    forward: bytes
    rate: bytes
    by_parity: bytes


class _Market(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    as_of_ms: int
    symbols: list[str]
    identities: bytes
    index: bytes
    curves: _Curves
    curve: bytes
    columns: tuple[bytes, bytes, bytes, bytes, bytes, bytes]
    age_ms: bytes
    flags: bytes


def encode_snapshot(snapshot: Snapshot) -> bytes:
    """A snapshot as bytes: equal snapshots make equal ones."""
    universe, curves = snapshot.universe, snapshot.curves
    forward, mark_forward, mark, vol, bid, ask = (
        raw(getattr(snapshot, name)) for name in _BY_INSTRUMENT
    )
    body = _Market(
        as_of_ms=int(snapshot.as_of_ms),
        symbols=list(universe.symbols),
        identities=universe.identities,
        index=raw(snapshot.index),
        curves=_Curves(
            count=len(curves),
            underlying=raw(curves.underlying),
            settlement=raw(curves.settlement),
            expiry_ms=raw(curves.expiry_ms),
            forward=raw(curves.forward),
            rate=raw(curves.rate),
            by_parity=raw(curves.by_parity),
        ),
        curve=raw(snapshot.curve),
        columns=(forward, mark_forward, mark, vol, bid, ask),
        age_ms=raw(snapshot.age_ms),
        flags=raw(snapshot.flags),
    )
    return sealed(_KIND, _VERSION, body)


def decode_snapshot(
    data: bytes,
    instruments: Known,
    *,
    source: str = "snapshot",
    like: Universe | None = None,
) -> Snapshot:
    """The snapshot that was written, bit for bit; its arrays are read-only.

    `instruments` tells what a symbol is; `like` is a universe that is probably the same one, which
    saves making it anew.

    Raises BadInput for bytes that are damaged or say what cannot be, and for an instrument that is
    not known or is not what it was.
    """
    told = opened(data, _KIND, _VERSION, _Market, source=source)
    read = Reader(source)
    read.refuse(0 <= told.as_of_ms <= TIME_MS_MAX, "as_of_ms", "a moment", f"{told.as_of_ms}")
    universe = universe_of(told.symbols, told.identities, instruments, source=source, like=like)
    rows = (len(universe),)
    curves = _curves(told.curves, universe, read)
    columns = {
        name: read.floats(name, column, rows)
        for name, column in zip(_BY_INSTRUMENT, told.columns, strict=True)
    }
    ages = (-_AGE_MS_MAX, _AGE_MS_MAX)
    flags = read.whole("flags", told.flags, rows, kind="u2", low=0, high=_FLAGS)
    read.refuse(not (flags & np.uint16(0xFFFF ^ _FLAGS)).any(), "flags", "known flags", "others")
    return Snapshot(
        as_of_ms=TimeMs(told.as_of_ms),
        universe=universe,
        index=read.floats("index", told.index, (len(universe.underlyings),)),
        curves=curves,
        curve=read.whole("curve", told.curve, rows, kind="i4", low=-1, high=len(curves) - 1),
        age_ms=read.whole("age_ms", told.age_ms, rows, kind="i8", low=ages[0], high=ages[1]),
        flags=flags,
        **columns,
    )


def _curves(told: _Curves, universe: Universe, read: Reader) -> Curves:
    shape = (told.count,)
    read.refuse(0 <= told.count <= len(universe), "curves", "one an instrument at most")
    underlyings, settlements = len(universe.underlyings) - 1, len(universe.settlements) - 1
    return Curves(
        underlying=read.whole(
            "curves.underlying", told.underlying, shape, kind="i4", low=0, high=underlyings
        ),
        settlement=read.whole(
            "curves.settlement", told.settlement, shape, kind="i4", low=0, high=settlements
        ),
        expiry_ms=read.whole(
            "curves.expiry_ms", told.expiry_ms, shape, kind="i8", low=0, high=TIME_MS_MAX
        ),
        forward=read.floats("curves.forward", told.forward, shape),
        rate=read.floats("curves.rate", told.rate, shape),
        by_parity=read.truths("curves.by_parity", told.by_parity, shape),
    )
