"""How good a counterparty is: ratings, default probabilities by horizon, and what a default loses.

A rating stands for probabilities of default at some horizons (years); between them the hazard rate
is constant, beyond the last it stays what it was. Probabilities in a market's stress follow from
the correlation between the counterparty and the market by the one-factor Gaussian model
(Vasicek 2002; Basel CRE31): Φ((Φ⁻¹(p) + √ρ·Φ⁻¹(q)) / √(1 − ρ)).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from types import MappingProxyType
from typing import Final

from solvent.errors import BadInput, Problem, Reject, check

RATINGS: Final = ("AAA", "AA", "A", "BBB", "BB", "B", "CCC", "D")
"""From best to worst; `D` has defaulted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """A counterparty's default probabilities by horizon, and its loss given default.

    Attributes:
        rating: one of `RATINGS`, or `""` where probabilities are its own.
        horizons: years, rising. pd: cumulative probability of default by each, never falling.
        lgd: share of an exposure that is lost. correlation: asset correlation with the market that
            the exposure is to, −1 < ρ < 1; above 0 is wrong-way.
    """

    rating: str
    horizons: tuple[Fraction, ...]
    pd: tuple[Fraction, ...]
    lgd: Fraction
    correlation: Fraction

    def __post_init__(self) -> None:
        check(len(self.horizons) == len(self.pd) > 0, "a probability a horizon")
        check(all(0 < a < b for a, b in pairwise((Fraction(0), *self.horizons)) if a), "years rise")
        check(self.horizons[0] > 0, "a horizon is after now", self.horizons[0])
        check(all(a <= b for a, b in pairwise(self.pd)), "a probability never falls", self.pd)
        check(self.pd[0] >= 0 and self.pd[-1] <= 1, "a probability", self.pd)
        check(0 <= self.lgd <= 1, "a share is lost", self.lgd)
        check(-1 < self.correlation < 1, "a correlation", self.correlation)

    def default_within(self, years: float) -> float:
        """Probability of default within so many years; hazards are constant between horizons.

        >>> quality = Quality(rating="", horizons=(Fraction(1),), pd=(Fraction(1, 50),),
        ...     lgd=Fraction(3, 5), correlation=Fraction(0))
        >>> round(quality.default_within(0.5), 6), round(quality.default_within(2.0), 4)
        (0.010051, 0.0396)
        """
        check(years >= 0.0, "a horizon is not before now", years)
        before_years, before = 0.0, 0.0
        hazard = 0.0
        for horizon, pd in zip(self.horizons, self.pd, strict=True):
            reached = float(horizon)
            if pd >= 1:
                # Certain by then: uniform over the interval.
                if years >= reached:
                    return 1.0
                survive = math.exp(-before)
                share = (years - before_years) / (reached - before_years)
                return 1.0 - survive * (1.0 - share)
            total = -math.log1p(-float(pd))
            hazard = (total - before) / (reached - before_years)
            if years <= reached:
                return -math.expm1(-(before + hazard * (years - before_years)))
            before_years, before = reached, total
        return -math.expm1(-(before + hazard * (years - before_years)))

    def stressed_pd(self, *, confidence: Fraction = Fraction(999, 1000)) -> float:
        """Default probability within a year when the market does what happens once in 1/(1 − q).

        With wrong-way correlation it is larger than the plain one; with right-way correlation the
        plain one stands: no credit is given for it.

        >>> quality = Quality(rating="", horizons=(Fraction(1),), pd=(Fraction(1, 100),),
        ...     lgd=Fraction(3, 5), correlation=Fraction(1, 5))
        >>> round(quality.stressed_pd(), 6)
        0.145525
        """
        plain = self.default_within(1.0)
        return max(plain, conditional_pd(plain, max(float(self.correlation), 0.0), confidence))


def conditional_pd(pd: float, correlation: float, confidence: Fraction) -> float:
    """Vasicek's probability of default given the factor's quantile: Φ((Φ⁻¹(p)+√ρ·Φ⁻¹(q))/√(1−ρ)).

    >>> conditional_pd(0.01, 0.0, Fraction(999, 1000))
    0.01
    """
    if correlation == 0.0 or pd in (0.0, 1.0):
        return pd
    from scipy.special import ndtr, ndtri

    check(0.0 < correlation < 1.0, "a correlation above 0", correlation)
    top = ndtri(pd) + math.sqrt(correlation) * ndtri(float(confidence))
    return float(ndtr(top / math.sqrt(1.0 - correlation)))


# ── ratings ──────────────────────────────────────────────────────────────────────────────────────

_HORIZONS: Final = tuple(Fraction(one) for one in (1, 2, 3, 5))
_PD_PPM: Final[Mapping[str, tuple[int, ...]]] = MappingProxyType(
    {
        "AAA": (100, 300, 1_200, 3_200),
        "AA": (200, 600, 1_200, 3_300),
        "A": (500, 1_300, 2_200, 4_800),
        "BBB": (1_500, 4_200, 7_300, 14_500),
        "BB": (6_000, 18_500, 33_000, 63_000),
        "B": (31_000, 72_000, 108_000, 163_000),
        "CCC": (265_000, 365_000, 415_000, 470_000),
        "D": (1_000_000, 1_000_000, 1_000_000, 1_000_000),
    }
)
"""Cumulative probabilities of default in millionths after 1, 2, 3 and 5 years. Rounded from the
shape of agencies' long-run corporate tables: a starting point for who has no own estimates."""


def rated(
    rating: str, *, lgd: Fraction, correlation: Fraction = Fraction(0), source: str = "rating"
) -> Quality:
    """A quality by its rating. Raises BadInput for a rating that is not known.

    >>> str(rated("BBB", lgd=Fraction(3, 5)).pd[0])
    '3/2000'
    """
    if rating not in _PD_PPM:
        raise BadInput(
            Problem(
                code=Reject.INPUT_INVALID, source=source, field="rating",
                expected=f"one of {', '.join(RATINGS)}", found=repr(rating),
            )
        )  # fmt: skip
    pd = tuple(Fraction(one, 1_000_000) for one in _PD_PPM[rating])
    return Quality(
        rating=rating, horizons=_HORIZONS, pd=pd, lgd=lgd, correlation=correlation
    )  # fmt: skip


def worse(rating: str, notches: int = 1) -> str:
    """The rating so many notches down; it does not fall below `D`.

    >>> worse("A"), worse("CCC", 3)
    ('BBB', 'D')
    """
    return RATINGS[min(RATINGS.index(rating) + notches, len(RATINGS) - 1)]
