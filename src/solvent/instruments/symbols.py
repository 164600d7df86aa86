"""Symbols to contracts and back, in three notations: Deribit's, ccxt's and Derive's.

| notation | perpetual | future | option | spot |
|---|---|---|---|---|
| Deribit | `BTC-PERPETUAL` | `BTC-27JUN25` | `XRP_USDC-27JUN25-0d625-C` | `BTC_USDC` |
| ccxt | `BTC/USDT:USDT` | `BTC/USD:BTC-250627` | `BTC/USD:BTC-250627-60000-C` | `BTC/USDT` |
| Derive | `ETH-PERP` | | `ETH-20250627-2400_5-C` | `ETH-USDC` |

A Deribit name without a currency after an underscore settles in its base coin (inverse, against
USD). Every expiry is at 08:00 UTC. Deribit's combos (`BTC-CS-27JUN25-60000_70000`) are orders for
several instruments at once, not instruments: they are of no notation here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from typing import Final

from solvent.instruments.contract import (
    Contract,
    Kind,
    OptionType,
    day_of_expiry,
    expiry_at,
    expiry_of_day,
    moment_of,
    plain,
)
from solvent.limits import STRIKE_MAX
from solvent.units import TimeMs

_CODE: Final = r"[A-Z0-9]{1,15}"
_DERIBIT: Final = re.compile(
    rf"(?P<base>{_CODE})(?:_(?P<quote>{_CODE}))?"
    r"(?:-(?:(?P<perpetual>PERPETUAL)|(?P<day>\d{1,2}[A-Z]{3}\d{2})"
    r"(?:-(?P<strike>\d+(?:d\d+)?)-(?P<type>[CP]))?))?",
    re.ASCII,
)
_CCXT: Final = re.compile(
    rf"(?P<base>{_CODE})/(?P<quote>{_CODE})(?::(?P<settlement>{_CODE})"
    r"(?:-(?P<day>\d{6})(?:-(?P<strike>\d+(?:\.\d+)?)-(?P<type>[CP]))?)?)?",
    re.ASCII,
)
_DERIVE: Final = re.compile(
    rf"(?P<base>{_CODE})-(?:(?P<perpetual>PERP)|(?P<spot>USDC)"
    r"|(?P<day>\d{8})-(?P<strike>\d+(?:_\d+)?)-(?P<type>[CP]))",
    re.ASCII,
)


def parse_symbol(text: str) -> Contract:
    """Contract of a symbol in any known notation. Raises ValueError, naming the symbol.

    >>> parse_symbol("BTC-27JUN25-60000-C") == parse_symbol("BTC/USD:BTC-250627-60000-C")
    True
    >>> parse_symbol("XRP_USDC-30JUN23-0d625-C").strike
    Decimal('0.625')
    >>> parse_symbol("ETH-PERP").settlement
    'USDC'
    """
    for pattern, contract in _notations():
        if found := pattern.fullmatch(text):
            try:
                result = contract(found)
                if result.base == result.quote:
                    raise ValueError("a coin against itself")
            except ValueError as fault:
                raise ValueError(f"symbol {text!r}: {fault}") from fault
            return result
    raise ValueError(f"symbol {text!r} is of no known notation")


def _notations() -> tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], Contract]], ...]:
    return (_CCXT, _from_ccxt), (_DERIVE, _from_derive), (_DERIBIT, _from_deribit)


def deribit_symbol(contract: Contract) -> str:
    """A contract in Deribit's notation. Raises ValueError for what Deribit has no name for: another
    quote than dollars with a coin's settlement, another settlement than coin and quote.

    >>> deribit_symbol(parse_symbol("XRP/USDC:USDC-230630-0.625-C"))
    'XRP_USDC-30JUN23-0d625-C'
    """
    if contract.settlement != contract.quote and (contract.quote != "USD" or not contract.inverse):
        raise ValueError(f"Deribit has no name for {ccxt_symbol(contract)}")
    root = contract.base if contract.inverse else f"{contract.base}_{contract.quote}"
    if contract.kind is Kind.SPOT:
        return root
    if contract.kind is Kind.PERPETUAL:
        return f"{root}-PERPETUAL"
    return root + _dated_tail(contract, day=day_of_expiry(_expiry(contract)), point="d")


def ccxt_symbol(contract: Contract) -> str:
    """A contract in ccxt's unified notation.

    >>> ccxt_symbol(parse_symbol("BTC-27JUN25-60000-C"))
    'BTC/USD:BTC-250627-60000-C'
    """
    pair = f"{contract.base}/{contract.quote}"
    if contract.kind is Kind.SPOT:
        return pair
    settled = f"{pair}:{contract.settlement}"
    if contract.kind is Kind.PERPETUAL:
        return settled
    return settled + _dated_tail(contract, day=f"{moment_of(_expiry(contract)):%y%m%d}", point=".")


def derive_symbol(contract: Contract) -> str:
    """A contract in Derive's notation. Raises ValueError for what Derive has no name for.

    >>> derive_symbol(parse_symbol("ETH_USDC-14SEP24-2400d5-C"))
    'ETH-20240914-2400_5-C'
    """
    told = contract.kind in (Kind.SPOT, Kind.PERPETUAL, Kind.OPTION)
    if not told or (contract.quote, contract.settlement) != ("USDC", "USDC"):
        raise ValueError(f"Derive has no name for {ccxt_symbol(contract)}")
    if contract.kind is Kind.SPOT:
        return f"{contract.base}-USDC"
    if contract.kind is Kind.PERPETUAL:
        return f"{contract.base}-PERP"
    return contract.base + _dated_tail(
        contract, day=f"{moment_of(_expiry(contract)):%Y%m%d}", point="_"
    )


def listed_symbol(contract: Contract) -> str:
    """Deribit's name of a contract where Deribit has one, else ccxt's.

    >>> listed_symbol(parse_symbol("BTC/USD:BTC")), listed_symbol(parse_symbol("BTC/USD:USDT"))
    ('BTC-PERPETUAL', 'BTC/USD:USDT')
    """
    try:
        return deribit_symbol(contract)
    except ValueError:
        return ccxt_symbol(contract)


def _from_deribit(found: re.Match[str]) -> Contract:
    base, quote = found["base"], found["quote"]
    settlement = quote or base
    if found["perpetual"]:
        return Contract(base=base, quote=quote or "USD", settlement=settlement, kind=Kind.PERPETUAL)
    if not found["day"]:
        if not quote:
            raise ValueError("a coin alone is no instrument")
        return Contract(base=base, quote=quote, settlement=quote, kind=Kind.SPOT)
    return _dated(
        found,
        base=base,
        quote=quote or "USD",
        settlement=settlement,
        expiry_ms=expiry_of_day(found["day"]),
        point="d",
    )


def _from_ccxt(found: re.Match[str]) -> Contract:
    base, quote, settlement, day = found["base"], found["quote"], found["settlement"], found["day"]
    if not settlement:
        return Contract(base=base, quote=quote, settlement=quote, kind=Kind.SPOT)
    if not day:
        return Contract(base=base, quote=quote, settlement=settlement, kind=Kind.PERPETUAL)
    expiry_ms = expiry_at(year=2000 + int(day[:2]), month=int(day[2:4]), day=int(day[4:]))
    return _dated(
        found, base=base, quote=quote, settlement=settlement, expiry_ms=expiry_ms, point="."
    )


def _from_derive(found: re.Match[str]) -> Contract:
    base, day = found["base"], found["day"]
    if found["perpetual"] or found["spot"]:
        kind = Kind.PERPETUAL if found["perpetual"] else Kind.SPOT
        return Contract(base=base, quote="USDC", settlement="USDC", kind=kind)
    expiry_ms = expiry_at(year=int(day[:4]), month=int(day[4:6]), day=int(day[6:]))
    return _dated(found, base=base, quote="USDC", settlement="USDC", expiry_ms=expiry_ms, point="_")


def _dated(
    found: re.Match[str], *, base: str, quote: str, settlement: str, expiry_ms: TimeMs, point: str
) -> Contract:
    dated = partial(Contract, base=base, quote=quote, settlement=settlement, expiry_ms=expiry_ms)
    if not found["strike"]:
        return dated(kind=Kind.FUTURE)
    strike = Decimal(found["strike"].replace(point, "."))
    if not 0 < strike <= Decimal(STRIKE_MAX):
        raise ValueError(f"strike {plain(strike)} is outside 0 to {STRIKE_MAX:.0e}")
    return dated(kind=Kind.OPTION, strike=strike, option_type=OptionType(found["type"]))


def _dated_tail(contract: Contract, *, day: str, point: str) -> str:
    if contract.kind is Kind.STRUCTURE:
        raise ValueError("a structure has no name of a contract")
    if contract.strike is None or contract.option_type is None:
        return f"-{day}"
    return f"-{day}-{plain(contract.strike).replace('.', point)}-{contract.option_type}"


def _expiry(contract: Contract) -> TimeMs:
    if contract.expiry_ms is None:
        raise ValueError(f"{contract} has no expiry")
    return contract.expiry_ms
