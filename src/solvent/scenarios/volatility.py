"""Variance recursions that scale scenarios to today's volatility."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from solvent.errors import check
from solvent.units import Float64

_UNIT_ROOT: Final = 1e-6
"""A persistence so near to 1 has no long run that could be told."""


def garch11(
    returns: Sequence[float], *, omega: float, alpha: float, beta: float, first: float
) -> list[float]:
    """GARCH(1,1) variances after each return: σ² ← ω + α·r² + β·σ², from `first`.

    >>> [round(v, 6) for v in garch11([0.1, 0.1], omega=0.2, alpha=0.2, beta=0.3, first=0.01)]
    [0.205, 0.2635]
    """
    check(omega >= 0 and alpha >= 0 and beta >= 0, "a variance is never negative")
    variances, variance = [], first
    for r in returns:
        variance = omega + alpha * r * r + beta * variance
        variances.append(variance)
    return variances


def ewma(returns: Sequence[float], *, decay: float, first: float) -> list[float]:
    """Exponentially weighted variances: GARCH(1,1) without a long run.

    >>> [round(v, 6) for v in ewma([0.1, 0.0], decay=0.9, first=0.0)]
    [0.001, 0.0009]
    """
    check(0.0 < decay < 1.0, "a decay between 0 and 1", decay)
    return garch11(returns, omega=0.0, alpha=1.0 - decay, beta=decay, first=first)


@dataclass(frozen=True, slots=True, kw_only=True)
class Garch:
    """A fitted GARCH(1,1) of returns with no mean: σ² ← ω + α·r² + β·σ²."""

    omega: float
    alpha: float
    beta: float

    @property
    def persistence(self) -> float:
        """α + β: what of a variance's distance to its long run is left after a step."""
        return self.alpha + self.beta


def variance_ahead(variance: Float64, *, omega: Float64, phi: Float64, steps: float) -> Float64:
    """Variance of the sum of the next `steps` returns, from that of the next one.

    n·V + (σ² − V)·(1 − φⁿ)/(1 − φ), V = ω/(1 − φ) the long run, φ = α + β; n·σ² where φ = 1, as
    EWMA has it. One axis for all.

    >>> both = np.array([0.4, 0.6])
    >>> variance_ahead(both, omega=np.array([0.2, 0.0]), phi=np.array([0.5, 1.0]), steps=2)
    array([0.8, 1.2])
    """
    left = 1.0 - phi
    stable = left > 0.0
    long_run = np.divide(omega, left, out=np.zeros_like(left), where=stable)
    decayed = np.divide(1.0 - phi**steps, left, out=np.full_like(left, steps), where=stable)
    return np.asarray(steps * long_run + (variance - long_run) * decayed)


def fit_garch(returns: Float64) -> Garch | str:
    """GARCH(1,1) by quasi maximum likelihood of `arch`; or in words why there is none.

    A fit that is not there (`arch` is not installed, no convergence, α + β ≥ 1, no variance) is an
    answer and not an error: whoever asks falls back and says so.

    >>> fit_garch(np.zeros(300))
    'the returns have no variance'
    """
    scale = math.sqrt(float(np.mean(returns * returns)))
    if not 0.0 < scale < math.inf:
        return "the returns have no variance"
    try:
        from arch.univariate import GARCH, ZeroMean
    except ImportError:
        return "the package arch is not installed"
    model = ZeroMean(returns / scale, volatility=GARCH(p=1, q=1), rescale=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            fit = model.fit(disp="off", show_warning=False)
        except (ValueError, FloatingPointError, np.linalg.LinAlgError) as fault:
            return f"the fit failed: {fault}"
    omega, alpha, beta = (float(one) for one in np.asarray(fit.params))
    if fit.convergence_flag != 0 or not math.isfinite(omega + alpha + beta):
        return "the fit did not converge"
    if min(omega, alpha, beta) < 0.0 or alpha + beta >= 1.0 - _UNIT_ROOT:
        return "the fit is unstable: alpha + beta of 1 or more"
    return Garch(omega=omega * scale * scale, alpha=alpha, beta=beta)
