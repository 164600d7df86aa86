"""What stands in for history that is missing: other factors, and a residual drawn by a seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from solvent.scenarios.history.grid import Bool
from solvent.scenarios.history.spec import Residual
from solvent.units import Float64

_GOLDEN = 0x9E3779B97F4A7C15
_MIX_1, _MIX_2 = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_MASK = (1 << 64) - 1


def draws(times_ms: NDArray[np.int64], seed: int) -> Float64:
    """A number in [0, 1) for each time: the same time and seed draw the same, in any company.

    SplitMix64 (Steele, Lea, Flood 2014) of time + seed·golden ratio.

    >>> draws(np.array([0, 86_400_000]), 1).round(4)
    array([0.4315, 0.6946])
    """
    state = times_ms.astype(np.uint64) + np.uint64((seed + 1) * _GOLDEN & _MASK)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(_MIX_1)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(_MIX_2)
    state = state ^ (state >> np.uint64(31))
    return np.asarray((state >> np.uint64(11)).astype(np.float64) * 2.0**-53)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fit:
    """A regression and what it leaves.

    Attributes:
        coefficient: [regressor, target].
        explained: [target] share of the targets' mean square that the regressors explain.
        residual: [window that all targets have, target].
    """

    coefficient: Float64
    explained: Float64
    residual: Float64


def regress(regressor: Float64, target: Float64) -> Fit:
    """Least squares of targets on regressors, both [window, …], no intercept of its own.

    >>> fit = regress(np.array([[1.0], [2.0]]), np.array([[2.0], [4.0]]))
    >>> fit.coefficient.round(6).tolist(), fit.explained.round(6).tolist()
    ([[2.0]], [1.0])
    """
    coefficient: Float64 = np.asarray(
        np.linalg.lstsq(regressor, target, rcond=None)[0], dtype=np.float64
    )
    residual = target - regressor @ coefficient
    left, all_of_it = (residual**2).sum(axis=0), (target**2).sum(axis=0)
    share = np.divide(left, all_of_it, out=np.zeros_like(left), where=all_of_it > 0.0)
    return Fit(coefficient=coefficient, explained=1.0 - share, residual=residual)


def fill(
    target: Float64, known: Bool, regressor: Float64, drawn: Float64, *, residual: Residual
) -> Fit:
    """Write what stands in into the windows of `target` [window, target] that are not known.

    Each gets what the regressors say of it, and the residual of a window that is known: the one at
    the place that `drawn` [window, in 0 … 1) names, the same for all targets, so that what moved
    together still does. `scaled`: instead the regressors' part of that window, of the residual's
    size.
    """
    fit = regress(regressor[known], target[known])
    part = regressor @ fit.coefficient
    pool = fit.residual
    if residual == "scaled":
        size = np.sqrt((pool**2).mean(axis=0))
        theirs = part[known]
        own = np.sqrt((theirs**2).mean(axis=0))
        pool = theirs * np.divide(size, own, out=np.zeros_like(own), where=own > 0.0)
    elif residual == "none":
        pool = np.zeros_like(pool)
    chosen = (drawn[~known] * len(pool)).astype(np.intp)
    target[~known] = part[~known] + pool[chosen]
    return fit
