"""Fair prices of perpetuals and futures: of an index, a basis, a book and trades.

All are exact fractions in the contract's quote currency; None is a price that is not known, and
whatever is made of one is not known either. `points_of` publishes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import Final

from solvent.errors import check
from solvent.limits import POINTS_MAX
from solvent.units import div_half_even

Price = Fraction | None
_HALF: Final = Fraction(1, 2)


class OptionMarks(StrEnum):
    """What is done with an option's mark that is told."""

    CLAMP = "clamp"
    """Beyond the surface's band it is held at the band's edge."""
    FLAG = "flag"
    """Beyond it the option cannot be margined."""
    TOLD = "told"
    """It counts as it is: nothing is fitted, nothing filled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkRule:
    """What is believed of the marks that a venue tells; shares in millionths of the index.

    Attributes:
        stale_ms: the oldest row that tells anything.
        perpetual_ppm: how far from the index a perpetual's mark may be.
        dated_ppm, yearly_ppm: how far a forward may be, and so much farther for each year to go.
        basis_ms: length of the average of mark minus index that stands in for a mark.
        options: what becomes of an option's mark that is beyond the band of the fitted surface.
    """

    stale_ms: int
    perpetual_ppm: int
    dated_ppm: int
    yearly_ppm: int
    basis_ms: int
    options: OptionMarks

    def __post_init__(self) -> None:
        shares = (self.perpetual_ppm, self.dated_ppm, self.yearly_ppm)
        check(self.stale_ms > 0 and self.basis_ms > 0, "times", self.stale_ms, self.basis_ms)
        check(min(shares) > 0 and max(shares[:2]) < 10**6, "bands are shares", shares)


def funded_price(index: Price, *, rate: Price, left_ms: int, interval_ms: int) -> Price:
    """The index with what is left of the funding: I·(1 + rate·left/interval).

    >>> str(funded_price(Fraction(10_000), rate=Fraction(3, 10_000), left_ms=4, interval_ms=8))
    '20003/2'
    """
    check(0 <= left_ms <= interval_ms and interval_ms > 0, "time to funding", left_ms, interval_ms)
    if index is None or rate is None:
        return None
    return index * (1 + rate * Fraction(left_ms, interval_ms))


def based_price(index: Price, basis: Price) -> Price:
    """The index and an average of how far the contract is from it: OKX, Deribit, Derive."""
    return None if index is None or basis is None else index + basis


def median_mark(prices: Sequence[Price]) -> Price:
    """The median of prices that are all known: Binance's and Bybit's of three, Hyperliquid's.

    >>> median_mark([Fraction(3), Fraction(1), Fraction(2)]), median_mark([Fraction(3), None])
    (Fraction(2, 1), None)
    """
    known = [price for price in prices if price is not None]
    if len(known) < len(prices) or not known:
        return None
    ordered, half = sorted(known), len(known) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) * _HALF


def weighted_median_mark(rows: Sequence[tuple[Price, int]]) -> Price:
    """The price at which half of the weight is passed, the mean of two where it is just reached.

    >>> weighted_median_mark([(Fraction(9), 1), (Fraction(5), 3), (Fraction(7), 1)])
    Fraction(5, 1)
    """
    known = sorted((price, weight) for price, weight in rows if price is not None and weight > 0)
    if len(known) < len(rows) or not known:
        return None
    total, passed = sum(weight for _, weight in known), 0
    for place, (price, weight) in enumerate(known):
        passed += weight
        if 2 * passed == total:
            return (price + known[place + 1][0]) * _HALF
        if 2 * passed > total:
            break
    return price


# ── a composite of many ──────────────────────────────────────────────────────────────────────────


def traded_price(
    trades: Iterable[tuple[int, Fraction, Fraction]], *, period: int, decay: Fraction, power: int
) -> int | None:
    """Vega's price of trades (age, price, size): each counts size·(1 − decay·(age/period)^power).

    In whole units, rounded down; None without a trade in the period.
    Source: vegaprotocol/vega, core/execution/common/mark_price.go.

    >>> traded_price([(4, Fraction(100), Fraction(1)), (0, Fraction(110), Fraction(1))],
    ...     period=4, decay=Fraction(1, 2), power=1)
    106
    """
    check(period > 0 and 0 <= decay <= 1 and power > 0, "weights decay", period, decay, power)
    value = weights = Fraction(0)
    for age, price, size in trades:
        if 0 <= age <= period:
            weight = size * (1 - decay * Fraction(age, period) ** power)
            value += price * weight
            weights += weight
    return math.floor(value / weights) if weights else None


def composite_mark(
    rows: Sequence[tuple[int | None, Fraction, int]], *, stale_ms: Sequence[int]
) -> int | None:
    """Vega's weighted mark of (price, weight, age): each price's share is rounded down by itself.

    One that is not known, or older than it may be, is left out with its weight; None where all are.

    >>> n = Fraction
    >>> composite_mark([(15_930, n(1), 0), (15_900, n(4), 0), (16_000, n(5), 0)], stale_ms=[9] * 3)
    15953
    """
    fresh = _fresh(rows, stale_ms)
    total = sum((weight for _, weight in fresh), Fraction(0))
    if total == 0:
        return None
    return sum(math.floor(price * weight / total) for price, weight in fresh)


def composite_median(
    rows: Sequence[tuple[int | None, Fraction, int]], *, stale_ms: Sequence[int]
) -> int | None:
    """Vega's median mark: the middle one, or the mean of the middle two, rounded down."""
    fresh = sorted(price for price, _ in _fresh(rows, stale_ms))
    if not fresh:
        return None
    half = len(fresh) // 2
    return fresh[half] if len(fresh) % 2 else (fresh[half - 1] + fresh[half]) // 2


def _fresh(
    rows: Sequence[tuple[int | None, Fraction, int]], stale_ms: Sequence[int]
) -> list[tuple[int, Fraction]]:
    return [
        (price, weight)
        for (price, weight, age), most in zip(rows, stale_ms, strict=True)
        if price is not None and age <= most
    ]


# ── bounds, and what is published ────────────────────────────────────────────────────────────────


def banded(price: Price, around: Price, *, band: Fraction) -> Price:
    """A price held within ± a share of another one, such as a mark's of its index.

    >>> str(banded(Fraction(110), Fraction(100), band=Fraction(1, 20)))
    '105'
    """
    check(band >= 0, "a band is not negative", band)
    if price is None or around is None:
        return None
    return min(max(price, around * (1 - band)), around * (1 + band))


def option_mark(
    surface: Price, *, low: Price, high: Price, bid: Price = None, ask: Price = None
) -> Price:
    """An option's mark: the middle of its quotes, held between two prices of the surface.

    `low` and `high` are its price at a lower and a higher volatility. Without two quotes that do
    not cross it is the surface's own; without that it is not known, whatever is quoted.

    >>> n = Fraction
    >>> [int(option_mark(n(100), low=n(95), high=n(105), bid=n(b), ask=n(b + 4)))
    ...     for b in (99, 110, 50)]
    [101, 105, 95]
    """
    if surface is None or low is None or high is None:
        return None
    check(0 <= low <= surface <= high, "a band is about the surface", low, surface, high)
    if bid is None or ask is None or bid > ask:
        return surface
    return min(max((bid + ask) * _HALF, low), high)


def points_of(price: Price, *, point: Fraction, least: int = 1) -> int | None:
    """A mark as it is published: whole points, half-even; None where it is not known or is none.

    >>> points_of(Fraction(10_005, 1_000), point=Fraction(1, 100))
    1000
    >>> points_of(None, point=Fraction(1, 100))
    """
    check(point > 0, "a point is a price", point)
    if price is None:
        return None
    units = price / point
    points = div_half_even(units.numerator, units.denominator)
    return points if least <= points <= POINTS_MAX else None
