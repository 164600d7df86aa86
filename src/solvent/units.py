"""Integer money, lots, ticks and time; and the one border between floats and integers.

Ledger money is `int` in an asset's own smallest unit, quantities are `int` lots, prices `int`
ticks, times `int` milliseconds since 1970 UTC. Risk is integer too, held inside float64: whole
*quanta* of a numeraire. Floats become integers only here, and the call names the rounding.
"""

from __future__ import annotations

import math
from decimal import (
    ROUND_CEILING,
    ROUND_DOWN,
    ROUND_FLOOR,
    ROUND_HALF_EVEN,
    ROUND_UP,
    Context,
    Decimal,
)
from enum import StrEnum
from typing import Final, NewType

import numpy as np
from numpy.typing import NDArray

from solvent.errors import check
from solvent.limits import EXACT_MAX, MONEY_MAX

Micro = NewType("Micro", int)
"""Money in millionths of a dollar (USDC's six decimals)."""
Lots = NewType("Lots", int)
"""Signed position in smallest tradable quantities."""
Ticks = NewType("Ticks", int)
"""Price in smallest price steps."""
TimeMs = NewType("TimeMs", int)
"""Milliseconds since 1970-01-01 00:00 UTC."""

Float64 = NDArray[np.float64]

MICRO: Final = 1_000_000
MINUTE_MS: Final = 60_000
DAY_MS: Final = 86_400_000
YEAR_MS: Final = 365 * DAY_MS
"""A year is 365 days of 86,400 s: it fits Deribit's marks (median error 1e-6 coin), 365.25 does
not."""

ASSET_DECIMALS: Final = {"USD": 6, "USDC": 6, "USDT": 6, "EURR": 6, "DAI": 6}
"""Decimals of the smallest unit of an asset; a coin has `COIN_DECIMALS`."""
DOLLARS: Final = frozenset({"USD", "USDC", "USDT", "DAI"})
"""Assets that count as a dollar where neither a market nor a rulebook says otherwise."""
COIN_DECIMALS: Final = 9


class Rounding(StrEnum):
    """The named roundings. Which side each favours is told at the call."""

    HALF_EVEN = "half_even"
    UP = "up"
    """Away from zero."""
    DOWN = "down"
    """Toward zero."""
    CEILING = "ceiling"
    FLOOR = "floor"


_DECIMAL_MODE: Final = {
    Rounding.HALF_EVEN: ROUND_HALF_EVEN,
    Rounding.UP: ROUND_UP,
    Rounding.DOWN: ROUND_DOWN,
    Rounding.CEILING: ROUND_CEILING,
    Rounding.FLOOR: ROUND_FLOOR,
}
_ALL_DIGITS: Final = Context(prec=400)
"""Every float64 fits, to 18 decimals and more."""


def asset_decimals(asset: str) -> int:
    """Decimals of an asset's smallest unit.

    >>> asset_decimals("USDC"), asset_decimals("BTC")
    (6, 9)
    """
    return ASSET_DECIMALS.get(asset, COIN_DECIMALS)


def quanta_per_unit(asset: str) -> float:
    """Quanta in one unit of a numeraire: 1e6 for a dollar, 1e9 for a coin."""
    return float(10 ** asset_decimals(asset))


def div_up(numerator: int, denominator: int) -> int:
    """Quotient rounded to +infinity: against the payer of a positive amount.

    >>> div_up(7, 2), div_up(-7, 2), div_up(6, 2)
    (4, -3, 3)
    """
    check(denominator > 0, "divide by a positive", denominator)
    return -(-numerator // denominator)


def div_down(numerator: int, denominator: int) -> int:
    """Quotient rounded to -infinity: in favour of the payer of a positive amount.

    >>> div_down(7, 2), div_down(-7, 2)
    (3, -4)
    """
    check(denominator > 0, "divide by a positive", denominator)
    return numerator // denominator


def div_half_even(numerator: int, denominator: int) -> int:
    """Quotient rounded to the nearest, ties to even: in nobody's favour.

    >>> [div_half_even(n, 2) for n in (1, 3, 5, -1, -3)]
    [0, 2, 2, 0, -2]
    """
    check(denominator > 0, "divide by a positive", denominator)
    quotient, remainder = divmod(numerator, denominator)
    twice = 2 * remainder
    if twice > denominator or (twice == denominator and quotient % 2 == 1):
        quotient += 1
    return quotient


def div_toward_zero(numerator: int, denominator: int) -> int:
    """Quotient truncated, as a contract language's integer division does.

    >>> div_toward_zero(7, 2), div_toward_zero(-7, 2)
    (3, -3)
    """
    check(denominator > 0, "divide by a positive", denominator)
    quotient = abs(numerator) // denominator
    return quotient if numerator >= 0 else -quotient


def round_decimals(amount: float, *, decimals: int, rounding: Rounding) -> float:
    """One float at so many decimals, rounded on the shortest digits that it prints as.

    >>> round_decimals(0.15246412672881357, decimals=9, rounding=Rounding.HALF_EVEN)
    0.152464127
    """
    check(math.isfinite(amount), "amount finite", amount)
    step = Decimal(1).scaleb(-decimals)
    digits = Decimal(repr(float(amount)))
    return float(digits.quantize(step, _DECIMAL_MODE[rounding], _ALL_DIGITS)) + 0.0


def quantise(
    amounts: Float64, *, quanta_per_unit: float | Float64, out: Float64 | None = None
) -> Float64:
    """Amounts in a numeraire to whole quanta, half-even: float64 that holds integers.

    Written to `out` where one is given; `quanta_per_unit` may be an array that broadcasts.

    The rounding hides at most half a quantum per cell; `margin` adds that bound to the
    requirement. Negative zero does not survive: equal integers have equal bits.

    >>> quantise(np.array([0.0000014, -2.5]), quanta_per_unit=1e6).tolist()
    [1.0, -2500000.0]
    """
    with np.errstate(over="ignore"):
        quanta: Float64 = np.multiply(amounts, quanta_per_unit, out=out, dtype=np.float64)
    np.rint(quanta, out=quanta)
    quanta += 0.0
    # A NaN is below nothing, so it is refused here as well.
    reach = max(float(quanta.max(initial=0.0)), -float(quanta.min(initial=0.0)))
    check(reach < EXACT_MAX, "amounts are finite and inside the exact range", reach)
    return quanta


def requirement_up(quanta: Float64) -> NDArray[np.int64]:
    """Requirements to whole units, rounded up (against the account), never negative.

    >>> requirement_up(np.array([1.2, -3.0, 5.0])).tolist()
    [2, 0, 5]
    """
    check(bool(np.isfinite(quanta).all()), "requirement finite")
    up = np.maximum(np.ceil(quanta), 0.0)
    check(bool((up < MONEY_MAX).all()), "requirement fits int64")
    return up.astype(np.int64)


def value_down(quanta: Float64) -> NDArray[np.int64]:
    """Values that count for the account to whole units, rounded down (against the account).

    >>> value_down(np.array([1.8, -3.2])).tolist()
    [1, -4]
    """
    check(bool(np.isfinite(quanta).all()), "value finite")
    down = np.floor(quanta)
    check(bool((np.abs(down) < MONEY_MAX).all()), "value fits int64")
    return down.astype(np.int64)


def value_up(quanta: Float64) -> NDArray[np.int64]:
    """Amounts that count against the account, of either sign, to whole units, rounded up.

    >>> value_up(np.array([1.2, -3.8])).tolist()
    [2, -3]
    """
    return -value_down(-quanta)
