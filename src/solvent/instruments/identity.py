"""A short digest of everything that an instrument is: equal instruments have equal ones."""

from __future__ import annotations

from decimal import Decimal
from hashlib import blake2b
from typing import Final

from solvent.instruments.contract import plain
from solvent.instruments.sheet import Instrument

IDENTITY_BYTES: Final = 8


def identity(instrument: Instrument) -> bytes:
    """BLAKE2b of symbol, contract, terms, sizes, `inverse` and `quanto_rate`, 8 bytes.

    Decimals count as numbers: a lot of 0.10 is a lot of 0.1.
    """
    contract, sizes = instrument.contract, instrument.specification
    told = (
        instrument.symbol,
        contract.base,
        contract.quote,
        contract.settlement,
        contract.kind.name,
        contract.expiry_ms,
        None if contract.strike is None else _plain(contract.strike),
        contract.option_type and contract.option_type.value,
        [(term.payoff.name, term.strike + 0.0, term.weight + 0.0) for term in instrument.terms],
        [_plain(size) for size in (sizes.lot_size, sizes.contract_size, sizes.tick_size)],
        instrument.inverse,
        instrument.quanto_rate,
    )
    return blake2b(repr(told).encode(), digest_size=IDENTITY_BYTES).digest()


def _plain(number: Decimal) -> str:
    return plain(number) if number else "0"
