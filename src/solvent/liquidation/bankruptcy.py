"""The price at which nothing is left, and the prices that venues derive from it.

Lots are signed, prices ticks; `unit` is money per lot and tick of a linear contract, `face` money
times ticks per lot of an inverse one. A rounded price never leaves the account a debt.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

from solvent.errors import check


def linear_price(*, equity: int, lots: int, mark: Fraction | int, unit: Fraction) -> int | None:
    """Ticks at which closing `lots` leaves an equity of 0 or more: equity + lots·unit·(p − mark).

    Rounded up for a long and down for a short, in the account's favour. 0 where a long is worth
    more than nothing at any price; None where not even 0 saves a short.

    >>> linear_price(equity=1_000, lots=10, mark=500, unit=Fraction(3))
    467
    >>> linear_price(equity=1_000, lots=-10, mark=500, unit=Fraction(3))
    533
    """
    check(lots != 0 and unit > 0, "there is a position", lots, unit)
    price = mark - Fraction(equity) / (lots * unit)
    if lots > 0:
        return max(0, math.ceil(price))
    return math.floor(price) if price >= 0 else None


def inverse_price(*, equity: int, lots: int, mark: Fraction | int, face: Fraction) -> int | None:
    """The same for an inverse contract: equity + lots·face·(1/mark − 1/p), in its coin.

    None where no price saves a long, or where none takes all that a short has.

    >>> inverse_price(equity=100, lots=1, mark=500, face=Fraction(500_000))
    455
    >>> inverse_price(equity=100, lots=-1, mark=500, face=Fraction(500_000))
    555
    >>> inverse_price(equity=1_000, lots=-1, mark=500, face=Fraction(500_000)) is None
    True
    """
    check(lots != 0 and face > 0 and mark > 0, "there is a position", lots, face, mark)
    reciprocal = Fraction(1) / mark + Fraction(equity) / (lots * face)
    if reciprocal <= 0:
        return None
    price = 1 / reciprocal
    return math.ceil(price) if lots > 0 else math.floor(price)


def by_maintenance(equity: int, maintenance: Sequence[int | Fraction]) -> tuple[int, ...]:
    """An account's equity attributed to its positions by maintenance margin, each rounded down.

    Rounded down, a position's part is never more than it has: what is left over stays with the
    account. All 0 of maintenance margin: all to the first.

    >>> by_maintenance(100, [1, 2]), by_maintenance(-100, [1, 2])
    ((33, 66), (-34, -67))
    """
    check(all(one >= 0 for one in maintenance) and len(maintenance) > 0, "positions", maintenance)
    total = sum(map(Fraction, maintenance))
    if not total:
        return (equity, *(0 for _ in maintenance[1:]))
    return tuple(math.floor(equity * Fraction(one) / total) for one in maintenance)


# ── dYdX v4 ──────────────────────────────────────────────────────────────────────────────────────


def bankruptcy_quote(
    *, notional_delta: int, maintenance_delta: int, equity: int, maintenance: int
) -> int:
    """What the account receives for a part of a position at its bankruptcy price (below 0: pays).

    −ΔN − ⌊E·|ΔM| / M⌋: the part's share of equity by maintenance margin M is all that it costs.
    Rounded towards +∞, in the account's favour, so that the fund pays nothing at this price.
    Source: dYdX v4, x/clob/keeper/liquidations.go.

    >>> bankruptcy_quote(notional_delta=-5_000, maintenance_delta=-500, equity=499, maintenance=500)
    4501
    """
    check(maintenance > 0, "something is required", maintenance)
    return -notional_delta - equity * abs(maintenance_delta) // maintenance


def fillable_price(
    *,
    size: Fraction,
    notional: Fraction,
    position_maintenance: Fraction,
    equity: Fraction,
    maintenance: Fraction,
    adjustment: Fraction,
    spread: Fraction,
) -> Fraction:
    """The price at which dYdX puts a liquidation to the book; the nearer to bankruptcy the worse.

    (N − clamp(BA·(1 − E/M), 0, 1)·SMMR·MMR)/S, for a signed size S and its signed notional N.

    >>> one = Fraction(1)
    >>> fillable_price(size=one / 10, notional=one * 5_000, position_maintenance=one * 500,
    ...     equity=one * 499, maintenance=one * 500, adjustment=one, spread=one / 10)
    Fraction(49999, 1)
    """
    check(size != 0 and maintenance > 0, "a position that requires something", size, maintenance)
    depth = min(max(adjustment * (1 - equity / maintenance), Fraction(0)), Fraction(1))
    return (notional - depth * spread * position_maintenance) / size


def insurance_delta(
    *, received: Fraction | int, bankruptcy: Fraction | int, fee_max: Fraction
) -> Fraction:
    """What a fill brings dYdX's fund: all that it lacks, or what it is better by up to a fee.

    >>> str(insurance_delta(received=5_610, bankruptcy=5_100, fee_max=Fraction(25, 1_000)))
    '561/4'
    """
    delta = Fraction(received) - bankruptcy
    return delta if delta <= 0 else min(delta, fee_max * abs(Fraction(received)))


# ── a linear position with a maintenance rate (arXiv 2512.01112) ─────────────────────────────────


class Prices(NamedTuple):
    """Where a linear position is liquidated, and where it is bankrupt."""

    liquidation: Fraction
    bankruptcy: Fraction


def position_prices(
    *, side: int, size: Fraction, entry: Fraction, collateral: Fraction, rate: Fraction
) -> Prices:
    """p_b = max(0, p₀ − c/(b·q)); p_l = p_b/(1 − μ) of a long (b = 1), p_b/(1 + μ) of a short.

    >>> found = position_prices(side=-1, size=Fraction(4), entry=Fraction(1),
    ...     collateral=Fraction(8, 3), rate=Fraction(1, 10))
    >>> str(found.bankruptcy), str(found.liquidation)
    ('5/3', '50/33')
    """
    check(side in (1, -1) and size > 0 and 0 <= rate < 1, "a position", side, size, rate)
    bankruptcy = max(Fraction(0), entry - collateral / (side * size))
    return Prices(bankruptcy / (1 - side * rate), bankruptcy)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sale:
    """A position that is to be sold in part at a price that is not its mark.

    Attributes:
        side: 1 or −1. size: without sign. price: the mark. executed: what it is sold at.
        equity: below the maintenance margin rate·price·size, or nothing is sold. fee: of notional.
    """

    side: int
    size: Fraction
    price: Fraction
    executed: Fraction
    equity: Fraction
    rate: Fraction
    fee: Fraction

    def wanted(self) -> Fraction | None:
        """The part whose sale restores maintenance margin; it may be more than there is.

        Δq = (μ·p·q − e) / (b·(p_x − p) − φ·p + μ·p). None where a sale frees less than it costs.

        >>> Sale(side=1, size=Fraction(10), price=Fraction(100), executed=Fraction(99),
        ...     equity=Fraction(80), rate=Fraction(1, 10), fee=Fraction(0)).wanted()
        Fraction(20, 9)
        """
        check(self.side in (1, -1) and self.size >= 0, "a position", self.side, self.size)
        short = self.rate * self.price * self.size - self.equity
        if short <= 0:
            return Fraction(0)
        moved = self.side * (self.executed - self.price)
        freed = moved + (self.rate - self.fee) * self.price
        return short / freed if freed > 0 else None

    def part(self) -> Fraction:
        """What is sold: the wanted part, or all where that is not there or does not help."""
        wanted = self.wanted()
        return self.size if wanted is None else min(self.size, wanted)
