"""All instruments of a market as a struct of arrays, in one canonical order.

Rows are sorted by underlying, settlement asset, expiry (perpetuals and spot first), kind, strike
and type. Everything that nets together therefore lies side by side, and a margin model's tree is a
list of boundaries. The order depends on the set of instruments alone, so two processes that hold
the same instruments number them alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from solvent.errors import check
from solvent.instruments.contract import Contract, Kind, OptionType
from solvent.instruments.sheet import Instrument
from solvent.instruments.symbols import parse_symbol
from solvent.limits import INSTRUMENTS_MAX
from solvent.units import Float64

Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]
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
