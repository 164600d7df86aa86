"""Variance recursions that scale scenarios to today's volatility."""

from __future__ import annotations

from collections.abc import Sequence

from solvent.errors import check


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
