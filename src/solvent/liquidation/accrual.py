"""What accrues while a debt is held: interest by utilisation. Funding is in `market.funding`.

Amounts are in dollars as exact fractions, rates per year; times whole seconds.
Source: derivexyz/v2-core, InterestRateModel.sol.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from solvent.errors import check
from solvent.rationals import RATIONALS

_YEAR_S: Final = 365 * 86_400


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
