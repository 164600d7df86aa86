"""What lending to a counterparty costs: unilateral CVA, without and with wrong-way risk.

    CVA = LGD · Σᵢ D(tᵢ) · E[exposure in (tᵢ₋₁, tᵢ] · 1{default in it}]

Without dependence the expectation is EE times the probability. With it, paths at each horizon are
ranked by exposure, the rank is a normal score z, and the default's own normal goes with it:
P(default by t | z) = Φ((Φ⁻¹(PD(t)) + r·z) / √(1 − r²)), r = sign(ρ)·√|ρ| (the ordered-scenario
copula of García-Céspedes, de Juan Herrero, Rosen and Saunders 2010). The exposure of an interval
is the mean of its two ends.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from solvent.credit.quality import Quality
from solvent.errors import check
from solvent.units import Float64

_FAR = 38.0
"""Normal scores of probabilities 0 and 1, beyond which nothing is left."""


class Cost(NamedTuple):
    """Dollars: without dependence, and with the counterparty's own correlation."""

    plain: float
    wrong_way: float

    @property
    def ratio(self) -> float:
        """How much dependence multiplies the cost by; 1 where there is none to multiply."""
        return self.wrong_way / self.plain if self.plain > 0.0 else 1.0


def cva(
    exposure: Float64, years: Float64, quality: Quality, *, rate: float = 0.0
) -> Cost:  # fmt: skip
    """Cost of paths of exposure [time, path] at horizons [time], the first of them now.

    `rate` discounts, continuous per year. With correlation 0 both numbers are the same.

    >>> from fractions import Fraction
    >>> quality = Quality(rating="", horizons=(Fraction(1),), pd=(Fraction(1, 50),),
    ...     lgd=Fraction(3, 5), correlation=Fraction(0))
    >>> cost = cva(np.full((3, 8), 100.0), np.array([0.0, 0.5, 1.0]), quality)
    >>> round(cost.plain, 9), round(cost.wrong_way, 9)
    (1.2, 1.2)
    """
    check(exposure.ndim == 2 and exposure.shape[0] == len(years), "a row a horizon")
    check(bool((np.diff(years) > 0.0).all()) and years[0] >= 0.0, "horizons rise", years)
    pd = np.array([quality.default_within(float(one)) for one in years])
    between = 0.5 * (exposure[1:] + exposure[:-1])
    discount = np.exp(-rate * years[1:])
    lgd = float(quality.lgd)
    plain = lgd * float(np.sum(discount * between.mean(axis=1) * np.diff(pd)))
    rho = float(quality.correlation)
    if rho == 0.0:
        return Cost(plain, plain)
    chances = _chances(pd, math.copysign(math.sqrt(abs(rho)), rho), exposure.shape[1])
    ranked = np.sort(between, axis=1)
    joint = (ranked * np.diff(chances, axis=0)).mean(axis=1)
    return Cost(plain, lgd * float(np.sum(discount * joint)))


def _chances(pd: Float64, loading: float, paths: int) -> Float64:
    """[time, rank] probability of default by each horizon given an exposure's rank; their mean over
    ranks is the probability itself."""
    from scipy.special import ndtr, ndtri

    scores = ndtri((np.arange(paths) + 0.5) / paths)
    barrier = np.clip(ndtri(pd), -_FAR, _FAR)[:, None]
    chances = ndtr((barrier + loading * scores) / math.sqrt(1.0 - loading * loading))
    mean = chances.mean(axis=1, keepdims=True)
    return np.asarray(chances * np.where(mean > 0.0, pd[:, None] / np.where(mean > 0, mean, 1), 1))
