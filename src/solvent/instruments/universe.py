"""All instruments of a market as a struct of arrays, in one canonical order.

Rows are sorted by underlying, settlement asset, expiry (perpetuals and spot first), kind, strike
and type. Everything that nets together therefore lies side by side, and a margin model's tree is a
list of boundaries. The order depends on the set of instruments alone, so two processes that hold
the same instruments number them alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from operator import is_not
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from solvent.errors import BadInput, Problem, Reject, check
from solvent.instruments.contract import Contract, Kind, OptionType
from solvent.instruments.identity import IDENTITY_BYTES, identity
from solvent.instruments.sheet import Instrument
from solvent.instruments.symbols import parse_symbol
from solvent.limits import INSTRUMENTS_MAX
from solvent.units import YEAR_MS, Float64

Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]
Known = Mapping[str, Instrument] | Callable[[str], Instrument | None]
"""What a symbol is, to whoever reads what was written of it."""
Array = TypeVar("Array", bound=NDArray[Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class TermTable:
    """The terms of every instrument, one row a term, rows of one instrument side by side.

    `first[i]:first[i + 1]` are the terms of instrument i.
    """

    instrument: Int32
    first: Int32
    asset: Float64
    cash: Float64
    side: Float64
    strike: Float64


class Universe:
    """Instruments as arrays. Columns are read-only; a change is a new universe.

    Attributes (axis: instrument):
        underlying, settlement: codes into `underlyings` and `settlements`.
        kind: `Kind`. is_call: for options. strike: quote currency, 0 without one.
        expiry_ms: milliseconds UTC, 0 without expiry.
        inverse: pays in base coin. lot_size, contract_size, tick_size: venue's own units.
        quanto_rate: settlement units per quote unit.
    """

    def __init__(self, instruments: Iterable[Instrument]) -> None:
        rows = sorted(instruments, key=_canonical_order)
        check(len(rows) <= INSTRUMENTS_MAX, "a universe within its limit", len(rows))
        self.instruments: tuple[Instrument, ...] = tuple(rows)
        self.symbols: tuple[str, ...] = tuple(row.symbol for row in rows)
        self._row_of_symbol = {symbol: row for row, symbol in enumerate(self.symbols)}
        check(len(self._row_of_symbol) == len(rows), "symbols are unique")
        contracts = [row.contract for row in rows]
        self.underlyings, self.underlying = _coded([c.base for c in contracts])
        self.settlements, self.settlement = _coded([c.settlement for c in contracts])
        self.kind = frozen(np.array([c.kind for c in contracts], dtype=np.int8))
        self.is_call = frozen(np.array([c.option_type is OptionType.CALL for c in contracts], bool))
        self.strike = _floats(float(c.strike or 0) for c in contracts)
        self.expiry_ms = frozen(np.array([c.expiry_ms or 0 for c in contracts], dtype=np.int64))
        self.inverse = frozen(np.array([row.inverse for row in rows], dtype=bool))
        self.quanto_rate = _floats(row.quanto_rate for row in rows)
        self.lot_size = _floats(float(row.specification.lot_size) for row in rows)
        self.contract_size = _floats(float(row.specification.contract_size) for row in rows)
        self.tick_size = _floats(float(row.specification.tick_size) for row in rows)

    def __len__(self) -> int:
        return len(self.symbols)

    def __repr__(self) -> str:
        return f"Universe({len(self)} instruments on {', '.join(self.underlyings) or 'nothing'})"

    def row(self, symbol: str) -> int | None:
        """Row of a symbol in any notation; None when the universe does not hold it."""
        found = self._row_of_symbol.get(symbol)
        if found is not None:
            return found
        try:
            contract = parse_symbol(symbol)
        except ValueError:
            return None
        return self._row_of_contract.get(contract)

    @property
    def is_option(self) -> Bool:
        """Rows whose worth depends on volatility."""
        return self.kind >= Kind.OPTION

    def years(self, at_ms: int) -> Float64:
        """Time to expiry from a moment by instrument; 0 without expiry and after it."""
        remaining = np.maximum(self.expiry_ms - at_ms, 0)
        return np.where(self.expiry_ms > 0, remaining / YEAR_MS, 0.0)

    @cached_property
    def identities(self) -> bytes:
        """`identity` of every instrument, one after the other."""
        return b"".join(identity(instrument) for instrument in self.instruments)

    @cached_property
    def _row_of_contract(self) -> dict[Contract, int]:
        listed = (
            r for r in enumerate(self.instruments) if r[1].contract.kind is not Kind.STRUCTURE
        )
        return {instrument.contract: row for row, instrument in listed}

    @cached_property
    def terms(self) -> TermTable:
        """Every term of every instrument as arrays."""
        counts = [len(instrument.terms) for instrument in self.instruments]
        first = np.concatenate(([0], np.cumsum(counts, dtype=np.int32))).astype(np.int32)
        flat = [term for instrument in self.instruments for term in instrument.terms]
        coefficients = np.array([term.coefficients for term in flat]).reshape(len(flat), 3)
        return TermTable(
            instrument=frozen(np.repeat(np.arange(len(counts), dtype=np.int32), counts)),
            first=frozen(first),
            asset=frozen(np.ascontiguousarray(coefficients[:, 0])),
            cash=frozen(np.ascontiguousarray(coefficients[:, 1])),
            side=frozen(np.ascontiguousarray(coefficients[:, 2])),
            strike=_floats(term.strike for term in flat),
        )


def universe_of(
    symbols: Sequence[str],
    identities: bytes,
    instruments: Known,
    *,
    source: str,
    like: Universe | None = None,
) -> Universe:
    """The universe of some symbols, with instruments that are what `identities` says.

    `like` is a universe that is probably the same one: it is taken as it is if its instruments are
    the very objects that `instruments` knows.

    Raises BadInput for a symbol that is not known, for terms that differ, and for symbols that are
    not in canonical order.
    """
    if not 0 < len(symbols) <= INSTRUMENTS_MAX:
        raise BadInput(
            Problem(
                code=Reject.SOURCE_UNREADABLE,
                source=source,
                field="symbol",
                expected=f"1 to {INSTRUMENTS_MAX} symbols",
                found=f"{len(symbols)}",
            )
        )
    find = instruments.get if isinstance(instruments, Mapping) else instruments
    known = [find(symbol) for symbol in symbols]
    found = [one for one in known if one is not None]
    if len(found) < len(known):
        missing = symbols[known.index(None)]
        raise BadInput(
            Problem(
                code=Reject.INSTRUMENT_NOT_IN_MARKET,
                source=source,
                field="symbol",
                expected=f"instrument {missing}, which the numbers are of",
                found="none of that symbol",
            )
        )
    ours = [instrument.symbol for instrument in found]
    same = like is not None and len(like) == len(found)
    if like is None or not same or any(map(is_not, found, like.instruments)):
        keys = [_canonical_order(instrument) for instrument in found]
        if not all(before < after for before, after in pairwise(keys)):
            raise BadInput(_disordered(source))
        like = Universe(found)
    if ours != list(symbols):
        raise BadInput(_disordered(source))
    if like.identities != identities:
        raise BadInput(_differs(like, identities, source))
    return like


def _disordered(source: str) -> Problem:
    return Problem(
        code=Reject.SOURCE_UNREADABLE,
        source=source,
        field="symbol",
        expected="every symbol once, in canonical order, as its instrument has it",
        found="others",
    )


def _differs(universe: Universe, identities: bytes, source: str) -> Problem:
    """The first instrument that is not what it was."""
    width = IDENTITY_BYTES
    told = [identities[at : at + width] for at in range(0, len(identities), width)]
    mine = [
        universe.identities[at : at + width] for at in range(0, len(universe.identities), width)
    ]
    row = next((n for n, pair in enumerate(zip(told, mine, strict=False)) if pair[0] != pair[1]), 0)
    return Problem(
        code=Reject.SOURCE_UNREADABLE,
        source=source,
        field="terms",
        expected=f"{universe.symbols[row] if mine else 'nothing'} as it was (identity "
        f"{told[row].hex() if told else 'none'})",
        found=f"identity {mine[row].hex() if mine else 'none'}: other terms or sizes",
    )


def _canonical_order(instrument: Instrument) -> tuple[object, ...]:
    contract = instrument.contract
    return (
        contract.base,
        contract.settlement,
        contract.expiry_ms or 0,
        contract.kind,
        contract.strike or 0,
        contract.option_type or "",
        instrument.symbol,
    )


def _coded(names: Sequence[str]) -> tuple[tuple[str, ...], Int32]:
    distinct = tuple(sorted(set(names)))
    code = {name: number for number, name in enumerate(distinct)}
    return distinct, frozen(np.array([code[name] for name in names], dtype=np.int32))


def _floats(numbers: Iterable[float]) -> Float64:
    return frozen(np.fromiter(numbers, dtype=np.float64))


def frozen(column: Array) -> Array:
    """The array, made read-only."""
    column.flags.writeable = False
    return column
