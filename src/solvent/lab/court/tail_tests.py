"""Is an expected shortfall deep enough? Acerbi and Szekely's tests, against simulated laws.

`pnl` is a gain, VaR and ES are positive losses, α is the tail, such as 0.025. Under a right model
both statistics have mean 0; below 0 the shortfall is too small. They have no law of their own, so
their critical values are drawn, with a seed, from a law of gains: normal or Student's t.

Source: Acerbi and Szekely, "Backtesting expected shortfall", Risk (December 2014).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri, stdtrit

from solvent.errors import BadInput, Problem, Reject
from solvent.lab.court.statistics import Test
from solvent.units import Float64

_DRAWN_AT_ONCE: Final = 4_000_000


def z1(pnl: ArrayLike, var: ArrayLike, es: ArrayLike) -> float | None:
    """Mean of pnl/ES over the breaches (pnl < −VaR), plus 1: how deep. None without a breach.

    >>> round(z1([-3.0, 1.0, -2.5], 2.0, 2.5), 10)
    -0.1
    """
    gains, told, short = _same(pnl, var, es)
    beyond = gains + told < 0.0
    if not beyond.any():
        return None
    return math.fsum((gains[beyond] / short[beyond]).tolist()) / int(beyond.sum()) + 1.0


def z2(pnl: ArrayLike, var: ArrayLike, es: ArrayLike, *, alpha: float) -> float | None:
    """Σ pnl/ES over the breaches, by what α expects, plus 1: how deep and how often.

    None without observations.

    >>> round(z2([-3.0, 1.0, -2.5], 2.0, 2.5, alpha=0.5), 10)
    -0.4666666667
    """
    gains, told, short = _same(pnl, var, es)
    if len(gains) == 0:
        return None
    beyond = gains + told < 0.0
    depth = math.fsum((gains[beyond] / short[beyond]).tolist())
    return depth / (len(gains) * alpha) + 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Law:
    """A symmetric law of gains: normal, or Student's t with `freedom` above 2.

    >>> law = Law(freedom=3.0)
    >>> round(law.var(0.025), 6), round(law.es(0.025), 6)
    (3.182446, 5.039583)
    """

    freedom: float | None = None

    def __post_init__(self) -> None:
        if self.freedom is not None and not self.freedom > 2.0:
            raise _bad("more than 2 degrees of freedom", str(self.freedom))

    def quantile(self, p: Float64) -> Float64:
        """Where the law's probability below is p."""
        at = ndtri(p) if self.freedom is None else stdtrit(self.freedom, p)
        return np.asarray(at, dtype=np.float64)

    def var(self, alpha: float) -> float:
        """Value at risk, a positive loss."""
        return -float(self.quantile(np.array([alpha]))[0])

    def es(self, alpha: float) -> float:
        """Expected shortfall, a positive loss: φ(v)/α, and t's likeness of it."""
        v = self.var(alpha)
        if self.freedom is None:
            return math.exp(-0.5 * v * v) / math.sqrt(2.0 * math.pi) / alpha
        nu = self.freedom
        log_peak = math.lgamma((nu + 1) / 2) - math.lgamma(nu / 2) - 0.5 * math.log(nu * math.pi)
        density = math.exp(log_peak - (nu + 1) / 2 * math.log1p(v * v / nu))
        return density * (nu + v * v) / (nu - 1.0) / alpha


def simulated_z2(
    *, observations: int, alpha: float, law: Law | None = None, draws: int = 100_000, seed: int = 1
) -> Float64:
    """Values of Z2 under a right model, ascending: [draw].

    Only breaches count, so only these are drawn: their number is binomial, each one's depth the law
    below its quantile α.
    """
    law = law or Law()
    if not (observations > 0 and 0.0 < alpha < 1.0 and draws > 0):
        raise _bad("observations, draws and a tail", str((observations, draws, alpha)))
    rng = np.random.default_rng(seed)
    depth = alpha * observations * law.es(alpha)
    found = np.empty(draws)
    step = max(1, int(_DRAWN_AT_ONCE / max(1.0, 2.0 * alpha * observations)))
    for begin in range(0, draws, step):
        block = found[begin : begin + step]
        counts = rng.binomial(observations, alpha, size=len(block))
        gains = law.quantile(alpha * (1.0 - rng.random(int(counts.sum()))))
        ends = np.concatenate([[0], np.cumsum(counts)])
        running = np.concatenate([[0.0], np.cumsum(gains)])
        block[:] = (running[ends[1:]] - running[ends[:-1]]) / depth + 1.0
    found.sort()
    return found


def critical_z2(
    *,
    observations: int,
    alpha: float,
    level: float = 0.05,
    law: Law | None = None,
    draws: int = 100_000,
    seed: int = 1,
) -> float:
    """Below this Z2 rejects the model at a level: its simulated quantile.

    >>> round(critical_z2(observations=250, alpha=0.025), 1)
    -0.7
    """
    drawn = simulated_z2(observations=observations, alpha=alpha, law=law, draws=draws, seed=seed)
    return float(drawn[max(0, math.ceil(level * draws) - 1)])


def acerbi_szekely(
    pnl: ArrayLike,
    var: ArrayLike,
    es: ArrayLike,
    *,
    alpha: float,
    law: Law | None = None,
    draws: int = 100_000,
    seed: int = 1,
) -> Test:
    """Z2 with its simulated p-value: the share of right models that look as shallow or worse."""
    name = "Acerbi-Szekely Z2"
    found = z2(pnl, var, es, alpha=alpha)
    if found is None:
        return Test(name=name, why="no observation")
    count = len(np.atleast_1d(np.asarray(pnl)))
    drawn = simulated_z2(observations=count, alpha=alpha, law=law, draws=draws, seed=seed)
    below = int(np.searchsorted(drawn, found, side="right"))
    return Test(name=name, statistic=found, p_value=(below + 1) / (draws + 1))


def _same(pnl: ArrayLike, var: ArrayLike, es: ArrayLike) -> tuple[Float64, Float64, Float64]:
    gains, told, short = np.broadcast_arrays(
        *(np.atleast_1d(np.asarray(one, dtype=np.float64)) for one in (pnl, var, es))
    )
    if not (np.isfinite(gains).all() and np.isfinite(told).all() and np.isfinite(short).all()):
        raise _bad("finite gains, VaR and ES", "one that is not")
    if bool((short <= 0.0).any()):
        raise _bad("an ES above 0", str(float(short.min())))
    return gains, told, short


def _bad(expected: str, found: str) -> BadInput:
    return BadInput(
        Problem(code=Reject.INPUT_INVALID, source="backtest", expected=expected, found=found)
    )
