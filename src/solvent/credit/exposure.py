"""Exposure to a counterparty over time: expected, potential, with and without netting and margin.

A value is what a netting set is worth to the counterparty, in dollars, its own money included; what
it owes is an exposure, max(0, −value). Axes are [time, path]; the first time is now.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from solvent.credit.csa import Terms
from solvent.errors import check
from solvent.units import MICRO, Float64


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Exposure by horizon; dollars, all [time].

    Attributes:
        years: horizons, the first is 0. expected: EE. potential: PFE, the quantile asked for.
        effective: EE that never falls (Basel CRE53.11). epe, effective_epe: averages over time.
        peak: the largest PFE.
    """

    years: Float64
    expected: Float64
    potential: Float64
    effective: Float64
    epe: float
    effective_epe: float

    @property
    def peak(self) -> float:
        """The largest potential exposure."""
        return float(self.potential.max())


def owed(values: Float64) -> Float64:
    """Exposure of one netting set: what it is worth less than nothing.

    >>> owed(np.array([3.0, -2.0])).tolist()
    [0.0, 2.0]
    """
    return np.maximum(-values, 0.0)


def closed_out(values: Float64, money: Float64, *, netting: bool) -> Float64:
    """Exposure of one agreement at a close-out.

    Args:
        values: [part, time, path] of parts that stand alone without netting: (account, underlying).
        money: [time, path] what the counterparty has paid in, in all; a debt is negative.

    With netting all parts are one; without it a part that is owed to the counterparty pays nothing
    for another that it owes. Money counts against either: it is security.

    >>> values = np.array([[[5.0]], [[-8.0]]])
    >>> [float(closed_out(values, np.array([[1.0]]), netting=one)[0, 0]) for one in (True, False)]
    [2.0, 7.0]
    """
    claims = -values.sum(axis=0) if netting else owed(values).sum(axis=0)
    return np.asarray(np.maximum(claims - money, 0.0))


def margined(values: Float64, terms: Terms, *, lag: int) -> Float64:
    """Exposure where variation is called: what a value of `lag` times ago was secured for has been
    posted, what has happened since is open (the margin period of risk).

    >>> terms = Terms(threshold=0, independent=0, minimum_transfer=0, rounding=1)
    >>> margined(np.array([[-1.0], [-4.0], [-5.0]]), terms, lag=1).ravel().tolist()
    [1.0, 3.0, 1.0]
    """
    check(lag >= 0, "a lag is not negative", lag)
    exposure = -values
    before = np.roll(exposure, lag, axis=0)
    before[:lag] = 0.0
    threshold, independent, least = (
        amount / MICRO for amount in (terms.threshold, terms.independent, terms.minimum_transfer)
    )
    wanted = np.maximum(before + independent - threshold, 0.0)
    posted = np.where(wanted >= least, wanted, 0.0)
    posted[:lag] = 0.0
    return np.asarray(np.maximum(exposure - posted, 0.0))


def profile(exposure: Float64, years: Float64, *, quantile: float) -> Profile:
    """Expected and potential exposure; the quantile is the least exposure that at least so many of
    the paths stay at or below.

    >>> paths = np.array([[0.0, 0.0, 0.0, 0.0], [1.0, 2.0, 3.0, 4.0], [0.0, 0.0, 0.0, 2.0]])
    >>> found = profile(paths, np.array([0.0, 1.0, 2.0]), quantile=0.75)
    >>> found.expected.tolist(), found.potential.tolist(), found.effective.tolist(), found.epe
    ([0.0, 2.5, 0.5], [0.0, 3.0, 0.0], [0.0, 2.5, 2.5], 1.375)
    """
    check(exposure.shape[0] == len(years), "a row a horizon", exposure.shape)
    check(0.0 < quantile < 1.0, "a quantile", quantile)
    check(bool(np.isfinite(exposure).all()), "exposures are numbers")
    expected = exposure.mean(axis=1)
    potential = np.quantile(exposure, quantile, axis=1, method="inverted_cdf")
    effective = np.maximum.accumulate(expected)
    return Profile(
        years=years, expected=expected, potential=potential, effective=effective,
        epe=over_time(expected, years), effective_epe=over_time(effective, years),
    )  # fmt: skip


def over_time(amounts: Float64, years: Float64) -> float:
    """Average over time, straight between horizons; of one moment alone, the amount there."""
    if len(years) == 1 or years[-1] == years[0]:
        return float(amounts[0])
    area = float(np.sum((amounts[1:] + amounts[:-1]) * 0.5 * np.diff(years)))
    return area / float(years[-1] - years[0])
