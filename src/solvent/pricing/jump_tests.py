"""Jumps told apart from diffusion without a law: bipower variation, and Lee and Mykland's test."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from solvent.errors import BadInput, Problem, Reject
from solvent.units import Float64

_MEAN_ABS: Final = math.sqrt(2.0 / math.pi)
"""E|Z| of a standard normal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JumpsFound:
    """Returns that a diffusion of the local volatility does not explain.

    Attributes:
        at: [jump] row of the return. size: [jump] its log return. statistic: [jump] in local
            standard deviations. local_vol: [return] spread of one return just before it.
        variance_share: part of the realised variance beyond bipower variation, at least 0.
        threshold: in local standard deviations.
    """

    at: NDArray[np.int64]
    size: Float64
    statistic: Float64
    local_vol: Float64
    variance_share: float
    threshold: float

    def __len__(self) -> int:
        return len(self.at)


def bipower_variance(returns: ArrayLike) -> float:
    """Variance of one return that jumps hardly enter: π/2 times the mean of |rᵢ|·|rᵢ₋₁|.

    Source: Barndorff-Nielsen and Shephard (2004).

    >>> round(bipower_variance([0.01, -0.01, 0.01, -0.01]), 8)
    0.00015708
    """
    r = np.abs(np.asarray(returns, dtype=np.float64))
    return float((r[1:] * r[:-1]).mean() / _MEAN_ABS**2)


def find_jumps(returns: ArrayLike, *, window: int = 60, level: float = 0.01) -> JumpsFound:
    """Lee and Mykland's (2008) test: |r| over the root of the bipower variance of the `window`
    returns before it, against the law of the largest of n normals.

    `level` is the chance to find any jump in a history without one. The first `window` returns are
    not tested. Raises BadInput for fewer than two windows, and for a constant history.
    """
    r = np.asarray(returns, dtype=np.float64)
    if len(r) < 2 * window or window < 10 or not np.isfinite(r).all():
        raise BadInput(_problem(f"at least {2 * window} numbers", f"{len(r)}"))
    pairs = np.abs(r[1:]) * np.abs(r[:-1])
    running = np.concatenate([[0.0], np.cumsum(pairs)])
    local = np.zeros(len(r))
    # Of return i: the window − 1 pairs among the returns i − window … i − 1.
    after = np.arange(window, len(r))
    sums = running[after - 1] - running[after - window]
    local[window:] = np.sqrt(np.maximum(sums, 0.0) / (window - 1)) / _MEAN_ABS
    if not (local[window:] > 0.0).any():
        raise BadInput(_problem("returns that differ", "a constant history"))
    statistic = np.divide(np.abs(r), local, out=np.zeros(len(r)), where=local > 0.0)
    threshold = _threshold(len(after), level)
    at = np.flatnonzero(statistic > threshold).astype(np.int64)
    realised = float((r * r).mean())
    share = max(0.0, 1.0 - bipower_variance(r) / realised)
    return JumpsFound(
        at=at, size=r[at], statistic=statistic[at], local_vol=local, variance_share=share,
        threshold=threshold,
    )  # fmt: skip


def _threshold(count: int, level: float) -> float:
    """That the largest |normal| of `count` passes with probability `level` (Gumbel's limit)."""
    root = math.sqrt(2.0 * math.log(count))
    centre = root - (math.log(math.pi) + math.log(math.log(count))) / (2.0 * root)
    return centre - math.log(-math.log1p(-level)) / root


def _problem(expected: str, found: str) -> Problem:
    return Problem(code=Reject.INPUT_INVALID, source="returns", expected=expected, found=found)
