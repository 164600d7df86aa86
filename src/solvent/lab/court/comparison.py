"""Which of two models is better: scores of their forecasts, and whether a difference is real.

A score is a loss: less is better, and its mean is least for the true quantile (and shortfall), so a
model cannot win by hedging its forecast. Forecasts are positive losses (VaR, ES), `loss` is what
came, positive for a loss.

Sources: Koenker and Bassett (1978) for the tick loss; Fissler and Ziegel (2016) and Patton, Ziegel
and Chen (2019) for the pair (VaR, ES); Diebold and Mariano (1995) with the small-sample correction
of Harvey, Leybourne and Newbold (1997).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtr

from solvent.errors import BadInput, Problem, Reject
from solvent.lab.court.statistics import Test
from solvent.units import Float64


def tick_loss(loss: ArrayLike, var: ArrayLike, *, p: float) -> Float64:
    """Quantile score of VaR at breach probability p: (1{loss > VaR} − p)·(loss − VaR) ≥ 0.

    >>> tick_loss([3.0, 1.0], [2.0, 2.0], p=0.25).tolist()
    [0.75, 0.25]
    """
    came, told = _pair(loss, var)
    _tail(p)
    return np.asarray(((came > told) - p) * (came - told))


def fissler_ziegel(loss: ArrayLike, var: ArrayLike, es: ArrayLike, *, p: float) -> Float64:
    """Score of the pair (VaR, ES), the one that scales: (loss − VaR)⁺/(p·ES) + VaR/ES + ln ES − 1.

    >>> fissler_ziegel([3.0, 1.0], 2.0, 2.5, p=0.25).round(6).tolist()
    [2.316291, 0.716291]
    """
    came, told = _pair(loss, var)
    _, short = _pair(loss, es)
    _tail(p)
    if not bool((short > 0.0).all()):
        raise _bad("an ES above 0", str(float(short.min())))
    if not bool((short >= told).all()):
        raise _bad("an ES that is at least the VaR", "a smaller one")
    return np.asarray(
        np.maximum(came - told, 0.0) / (p * short) + told / short + np.log(short) - 1.0
    )  # fmt: skip


def diebold_mariano(one: ArrayLike, other: ArrayLike, *, horizon: int = 1) -> Test:
    """Whether two models' scores differ in the mean, two-sided; below 0, the first is better.

    The difference's long-run variance takes in `horizon` − 1 autocovariances, as forecasts of
    overlapping periods are correlated, with Bartlett's weights, so it is never negative. The
    statistic is referred to Student's t.

    >>> test = diebold_mariano([1.0, 2.0, 1.0, 2.0], [2.0, 2.5, 2.0, 3.5])
    >>> round(test.statistic, 4), round(test.p_value, 4)
    (-4.899, 0.0163)
    """
    name = "Diebold-Mariano"
    first, second = _pair(one, other)
    gap, n = first - second, len(first)
    if horizon < 1:
        raise _bad("a horizon of 1 or more", str(horizon))
    if n < max(2, 2 * horizon):
        return Test(name=name, why=f"{n} observations are too few for a horizon of {horizon}")
    mean = math.fsum(gap.tolist()) / n
    about = gap - mean
    variance = float(about @ about) / n
    for lag in range(1, horizon):
        variance += 2.0 * (1.0 - lag / horizon) * float(about[lag:] @ about[:-lag]) / n
    if variance <= 1e-24 * max(1e-300, float(first @ first) / n):
        if mean == 0.0:
            return Test(name=name, statistic=0.0, p_value=1.0, freedom=n - 1)
        return Test(name=name, why="the difference does not vary")
    correction = (n + 1 - 2 * horizon + horizon * (horizon - 1) / n) / n
    statistic = mean / math.sqrt(variance / n) * math.sqrt(correction)
    p_value = 2.0 * float(stdtr(n - 1, -abs(statistic)))
    return Test(name=name, statistic=statistic, p_value=p_value, freedom=n - 1)


def _pair(one: ArrayLike, other: ArrayLike) -> tuple[Float64, Float64]:
    first, second = np.broadcast_arrays(
        np.atleast_1d(np.asarray(one, dtype=np.float64)), np.asarray(other, dtype=np.float64)
    )
    if not bool(np.isfinite(first).all() and np.isfinite(second).all()):
        raise _bad("finite numbers", "one that is not")
    return first, second


def _tail(p: float) -> None:
    if not 0.0 < p < 1.0:
        raise _bad("a probability between 0 and 1", str(p))


def _bad(expected: str, found: str) -> BadInput:
    return BadInput(
        Problem(code=Reject.INPUT_INVALID, source="comparison", expected=expected, found=found)
    )
