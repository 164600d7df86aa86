"""Risk arrays as bytes, exact to the bit, and back: what an engine journals and never prices again.

What follows from the rest by `+ − × ÷` and rounding alone is not inside: whole quanta, groups,
scales, times to expiry, and facts of the instruments, of which only symbols and identities are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final

import msgspec
import numpy as np

from solvent.errors import check
from solvent.frames import Once, Reader, opened, raw, sealed, told_once
from solvent.instruments import Universe
from solvent.instruments.universe import Known, universe_of
from solvent.limits import SCENARIOS_MAX, TIME_MS_MAX
from solvent.risk.arrays import (
    FACTS,
    UNITS,
    RiskArrays,
    columns_of,
    exact,
    fields_of,
    groups_of,
    scales_of,
)
from solvent.risk.product import quantised
from solvent.scenarios import Shocks
from solvent.units import Float64, TimeMs

_KIND: Final = b"RISK"
_VERSION: Final = 1


class _Shocks(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    set_names: list[str]
    vol_names: list[str]
    states: int
    growths: int
    move: bytes
    growth: bytes
    growth_row: bytes
    vol_state: bytes
    vol: Once
    years: Once
    known: bytes
    vol_known: Once
    numbers: list[tuple[str, list[tuple[str, bytes]]]]


class _Arrays(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    as_of_ms: int
    symbols: list[str]
    identities: bytes
    shocks: _Shocks
    index: bytes
    usable: bytes
    blocked: list[str]
    pnl_units: bytes
    model_units: bytes
    weight: Once
    units: list[bytes]
    facts: list[bytes]


def encode_arrays(arrays: RiskArrays) -> bytes:
    """Risk arrays as bytes: equal ones make equal bytes.

    They must be what `publish` makes: the parts that are not written follow from the others.
    """
    universe, usable = arrays.universe, arrays.usable
    check(
        tuple(sorted(arrays.blocked)) == tuple(np.flatnonzero(~usable).tolist()),
        "what is not usable has its reason",
    )
    check(arrays.units.keys() == set(UNITS), "units are those of `publish`", sorted(arrays.units))
    body = _Arrays(
        as_of_ms=int(arrays.as_of_ms),
        symbols=list(universe.symbols),
        identities=universe.identities,
        shocks=_written(arrays.shocks),
        index=raw(arrays.index),
        usable=raw(usable),
        blocked=[arrays.blocked[row] for row in sorted(arrays.blocked)],
        pnl_units=raw(arrays.pnl_units),
        model_units=raw(arrays.model_units),
        weight=told_once(arrays.weight),
        units=[raw(arrays.units[name]) for name in UNITS],
        facts=[raw(arrays.fields[name]) for name in FACTS],
    )
    return sealed(_KIND, _VERSION, body)


def _written(shocks: Shocks) -> _Shocks:
    return _Shocks(
        set_names=list(shocks.set_names),
        vol_names=list(shocks.vol_names),
        states=shocks.vol.shape[1],
        growths=len(shocks.growth),
        move=raw(shocks.move),
        growth=raw(shocks.growth),
        growth_row=raw(shocks.growth_row),
        vol_state=raw(shocks.vol_state),
        vol=told_once(shocks.vol),
        years=told_once(shocks.years),
        known=raw(shocks.known),
        vol_known=told_once(shocks.vol_known),
        numbers=[
            (name, [(number, raw(told)) for number, told in sorted(numbers.items())])
            for name, numbers in sorted(shocks.numbers.items())
        ],
    )


def decode_arrays(
    data: bytes,
    instruments: Known,
    *,
    source: str = "risk arrays",
    like: Universe | None = None,
) -> RiskArrays:
    """The risk arrays that were written, bit for bit; they are read-only.

    `instruments` tells what a symbol is; `like` is a universe that is probably the same one, which
    saves making it anew.

    Raises BadInput for bytes that are damaged or say what cannot be, and for an instrument that is
    not known or is not what it was.
    """
    told = opened(data, _KIND, _VERSION, _Arrays, source=source)
    read = Reader(source)
    read.refuse(0 <= told.as_of_ms <= TIME_MS_MAX, "as_of_ms", "a moment", f"{told.as_of_ms}")
    as_of_ms = TimeMs(told.as_of_ms)
    universe = universe_of(told.symbols, told.identities, instruments, source=source, like=like)
    count, groups = len(universe), groups_of(universe)
    # First of all, so that no other matrix can be much larger than these bytes are.
    pnl_units = read.floats("pnl_units", told.pnl_units, (count, len(told.shocks.set_names)))
    shocks = _shocks(told.shocks, universe, read)
    usable = read.truths("usable", told.usable, (count,))
    blocked = np.flatnonzero(~usable).tolist()
    read.refuse(len(told.blocked) == len(blocked), "blocked", "a reason for what is not usable")
    units = _named(read, "units", UNITS, told.units, count)
    facts = _named(read, "facts", FACTS, told.facts, count)
    scale = scales_of(universe)
    for name, amounts in (("pnl", pnl_units), *units.items()):
        inside = bool(exact(amounts, scale[name]).all())
        read.refuse(inside, name, "amounts inside the exact range", "others")
    index = read.floats("index", told.index, (len(universe.underlyings),))
    return RiskArrays(
        as_of_ms=as_of_ms,
        universe=universe,
        shocks=shocks,
        groups=groups,
        index=index,
        usable=usable,
        blocked=dict(zip(blocked, told.blocked, strict=True)),
        pnl=quantised(pnl_units, quanta_per_unit=scale["pnl"][:, None]),
        pnl_units=pnl_units,
        model_units=read.floats("model_units", told.model_units, (count,)),
        weight=read.once("weight", told.weight, (len(groups), len(shocks)), nan=True),
        columns=columns_of(units, scale),
        units=units,
        scale=scale,
        fields=fields_of(universe, as_of_ms, index=index, facts=facts, units=units),
    )


def _named(
    read: Reader, field: str, names: tuple[str, ...], told: list[bytes], rows: int
) -> Mapping[str, Float64]:
    read.refuse(len(told) == len(names), field, f"{len(names)} columns", f"{len(told)}")
    pairs = zip(names, told, strict=True)
    return {name: read.floats(f"{field}.{name}", column, (rows,)) for name, column in pairs}


def _shocks(told: _Shocks, universe: Universe, read: Reader) -> Shocks:
    scenarios, rows = len(told.set_names), len(universe)
    read.refuse(
        0 < scenarios <= SCENARIOS_MAX,
        "set_names",
        f"1 to {SCENARIOS_MAX} scenarios",
        f"{scenarios}",
    )
    read.refuse(len(told.vol_names) == scenarios, "vol_names", "one a scenario")
    read.refuse(0 < told.states <= scenarios, "states", "one a scenario at most")
    read.refuse(told.growths * scenarios * 8 == len(told.growth), "growths", "rows of `growth`")
    underlyings = (len(universe.underlyings),)
    return Shocks(
        set_names=tuple(told.set_names),
        vol_names=tuple(told.vol_names),
        move=read.floats("move", told.move, (*underlyings, scenarios)),
        growth=read.floats("growth", told.growth, (told.growths, scenarios)),
        growth_row=read.whole(
            "growth_row", told.growth_row, (rows,), kind="i4", low=0, high=told.growths - 1
        ),
        vol_state=read.whole(
            "vol_state", told.vol_state, (scenarios,), kind="i4", low=0, high=told.states - 1
        ),
        vol=read.once("vol", told.vol, (rows, told.states)),
        years=read.once("years", told.years, (rows, told.states)),
        known=read.truths("known", told.known, underlyings),
        vol_known=read.once("vol_known", told.vol_known, (rows, told.states), truths=True),
        numbers=_numbers(told, read),
    )


def _numbers(told: _Shocks, read: Reader) -> dict[str, dict[str, Float64]]:
    """What scenarios of each set carry besides; sets and names ascend."""
    sets = Counter(told.set_names)
    names = [name for name, _ in told.numbers]
    read.refuse(names == sorted(set(names)), "numbers", "sets once, in order")
    found: dict[str, dict[str, Float64]] = {}
    for name, numbers in told.numbers:
        inner = [number for number, _ in numbers]
        read.refuse(inner == sorted(set(inner)), f"numbers.{name}", "names once, in order")
        found[name] = {
            number: read.floats(f"numbers.{name}.{number}", column, (sets[name],))
            for number, column in numbers
        }
    return found
