"""What accrues while a position or a debt is held: funding by a premium, interest by utilisation.

Amounts are in dollars as exact fractions, rates per hour or per year as said; times whole seconds.
Source: derivexyz/v2-core, PerpAsset.sol and InterestRateModel.sol.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from solvent.errors import check
from solvent.rationals import RATIONALS

_HOUR_S: Final = 3_600
_YEAR_S: Final = 365 * 86_400


def hourly_funding(
    *,
    index: Fraction,
    bid: Fraction,
    ask: Fraction,
    convergence_h: Fraction,
    static: Fraction,
    cap: Fraction,
) -> Fraction:
    """The rate by which a long pays in an hour: the premium of impact prices, by convergence.

    (max(bid − I, 0) − max(I − ask, 0))/I / convergence + static, within ± cap.

    >>> n = Fraction
    >>> str(hourly_funding(index=n(1500), bid=n(1506), ask=n(1506), convergence_h=n(8),
    ...     static=n(0), cap=n(75, 10_000)))
    '1/2000'
    """
    check(index > 0 and convergence_h > 0 and cap >= 0, "funding has a base", index, convergence_h)
    premium = (max(bid - index, Fraction(0)) - max(index - ask, Fraction(0))) / index
    return min(max(premium / convergence_h + static, -cap), cap)


def funding(*, size: Fraction, rate: Fraction, index: Fraction, seconds: int) -> Fraction:
    """What a position of a signed size receives in funding: −q·I·rate·hours.

    >>> int(funding(size=Fraction(-4), rate=Fraction(1, 2000), index=Fraction(1500), seconds=3600))
    3
    """
    check(seconds >= 0, "time goes on", seconds)
    return -size * index * rate * seconds / _HOUR_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Interest by utilisation: a line up to the optimum, a steeper one beyond. Per year."""

    least: Fraction
    slope: Fraction
    steep: Fraction
    optimum: Fraction

    def yearly(self, *, supply: Fraction, borrowed: Fraction) -> Fraction:
        """What borrowers pay on their debt; the least where nothing is supplied.

        >>> rates = Rates(least=Fraction(6, 100), slope=Fraction(1, 5), steep=Fraction(2, 5),
        ...     optimum=Fraction(3, 5))
        >>> [str(rates.yearly(supply=Fraction(10), borrowed=Fraction(b))) for b in (5, 8, 0)]
        ['4/25', '13/50', '3/50']
        """
        check(supply >= 0 and borrowed >= 0, "cash is not negative", supply, borrowed)
        used = min(Fraction(1), borrowed / supply) if supply else Fraction(0)
        low = min(used, self.optimum)
        return self.least + low * self.slope + (used - low) * self.steep


def interest(yearly: Fraction, seconds: int) -> Fraction:
    """What a debt of 1 grows by: exp(r·t) − 1, to the sixtieth digit.

    >>> round(float(interest(Fraction(16, 100), 604_800)), 15)
    0.003073205794799
    """
    check(seconds >= 0, "time goes on", seconds)
    grown: Fraction = RATIONALS.functions["exp"](yearly * seconds / _YEAR_S)
    return grown - 1
