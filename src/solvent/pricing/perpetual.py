"""Fair values of perpetual futures without arbitrage (Ackerer, Hugonnier, Jermann 2024).

A long pays funding κ·(f − x) + ι·x in the time that κ and ι refer to, f the perpetual's price and
x the spot; with constant rates f is a constant multiple of x. In continuous time, for a linear one
and an inverse one, with r the `rate` and q the `dividend`:

    f/x = (κ − ι)/(κ − (r − q))        f/x = (κ + r − q)/(κ − ι)

`rate` is the quote currency's, `dividend` the base coin's, per year,
continuous. `premium` is κ and `interest` is ι: per period when funding is discrete, per year when
it is continuous (`period_years = 0`).
"""

from __future__ import annotations

from enum import StrEnum

from solvent.elementary import exp
from solvent.errors import check


class FundingSpot(StrEnum):
    """Which spot price the funding of a period refers to."""

    PREVIOUS = "previous"
    CURRENT = "current"


def perpetual_price(
    *,
    spot: float,
    rate: float,
    dividend: float,
    premium: float,
    interest: float,
    inverse: bool,
    period_years: float = 0.0,
    funding_spot: FundingSpot = FundingSpot.PREVIOUS,
) -> float:
    """Fair perpetual price, linear or inverse, in the quote currency.

    Raises InvariantBroken where funding does not outweigh carry, so that no price holds.

    >>> perpetual_price(spot=10_000.0, rate=0.04, dividend=0.02, premium=0.2, interest=0.005,
    ...                 inverse=True)
    11282.051282051281
    """
    pull = premium - interest
    if period_years == 0.0:
        paid, carry = 1.0, rate - dividend
    else:
        grown_rate = float(exp(rate * period_years))
        grown_dividend = float(exp(dividend * period_years))
        carry = grown_rate - grown_dividend
        on_dividend = (funding_spot is FundingSpot.PREVIOUS) != inverse
        paid = grown_dividend if on_dividend else grown_rate
    owed, earned = premium * paid, pull * paid
    above, below = (owed + carry, earned) if inverse else (earned, owed - carry)
    check(above > 0.0 and below > 0.0, "funding pulls the price to spot", above, below)
    return spot * above / below
