"""What a contract is, apart from any venue's name for it: the identity behind every symbol."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import IntEnum, StrEnum
from typing import Final

from solvent.errors import check
from solvent.units import TimeMs

EXPIRY_HOUR_UTC: Final = 8
"""Deribit, Derive, OKX, Bybit and Binance all settle at 08:00 UTC."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MONTHS: Final = (
    "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC",
)  # fmt: skip


class Kind(IntEnum):
    """What sort of contract. The order is the order of a universe's rows within one expiry."""

    SPOT = 0
    PERPETUAL = 1
    FUTURE = 2
    OPTION = 3
    STRUCTURE = 4
    """A sum of terms that no single option covers: a spread, a straddle, a digital."""


class OptionType(StrEnum):
    """Which way an option pays."""

    CALL = "C"
    PUT = "P"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """Identity of a contract: two symbols of two notations that mean it compare equal.

    `inverse` is not stored: a contract is inverse exactly when it settles in its base coin.
    """

    base: str
    quote: str
    settlement: str
    kind: Kind
    expiry_ms: TimeMs | None = None
    strike: Decimal | None = None
    option_type: OptionType | None = None

    def __post_init__(self) -> None:
        check(
            (self.kind >= Kind.FUTURE) == (self.expiry_ms is not None),
            "a dated contract, and nothing else, has an expiry",
            self,
        )
        check(
            (self.kind is Kind.OPTION)
            == (self.strike is not None)
            == (self.option_type is not None),
            "an option, and nothing else, has a strike and a type",
            self,
        )

    @property
    def inverse(self) -> bool:
        """Whether the contract settles in its own base coin."""
        return self.settlement == self.base and self.kind is not Kind.SPOT


def expiry_at(*, year: int, month: int, day: int) -> TimeMs:
    """Time of expiry on a date: 08:00 UTC. Raises ValueError for a date that does not exist, and
    for a year that two digits cannot tell.

    >>> expiry_at(year=2025, month=6, day=27)
    1751011200000
    """
    if not 2000 <= year < 2100:
        raise ValueError(f"year {year} is outside 2000 to 2099")
    moment = datetime(year, month, day, EXPIRY_HOUR_UTC, tzinfo=UTC)
    return TimeMs(round((moment - _EPOCH).total_seconds()) * 1_000)


def expiry_of_day(text: str) -> TimeMs:
    """Expiry from a Deribit date such as `27JUN25` or `7FEB26`.

    >>> expiry_of_day("27JUN25") == expiry_at(year=2025, month=6, day=27)
    True
    """
    day, month, year = text[:-5], text[-5:-2], text[-2:]
    if month not in _MONTHS:
        raise ValueError(f"no month {month!r}")
    return expiry_at(year=2000 + int(year), month=_MONTHS.index(month) + 1, day=int(day))


def moment_of(expiry_ms: int) -> datetime:
    """Milliseconds since 1970 as a UTC moment."""
    return _EPOCH + timedelta(milliseconds=expiry_ms)


def day_of_expiry(expiry_ms: int) -> str:
    """A Deribit date from an expiry: the inverse of `expiry_of_day`.

    >>> day_of_expiry(expiry_of_day("7FEB26"))
    '7FEB26'
    """
    moment = moment_of(expiry_ms)
    return f"{moment.day}{_MONTHS[moment.month - 1]}{moment.year % 100:02d}"


def plain(number: Decimal) -> str:
    """A decimal without exponent and without trailing zeros.

    >>> plain(Decimal("60000.0")), plain(Decimal("0.6250"))
    ('60000', '0.625')
    """
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
