"""Stylised facts of returns: fat tails, clusters of volatility, and no memory of direction.

The same numbers are computed of what is simulated without leverage and of what the data shows, so
that they stand side by side.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from solvent.errors import SolventError
from solvent.units import Float64

LAGS: Final = (1, 2, 4, 8, 16, 32, 96)
RETURNS_LEAST: Final = 250
_TAIL: Final = 0.02
"""Share of the largest returns that the tail's exponent is taken from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Facts of a series of log returns of one length.

    Attributes:
        count, deviation: of returns. kurtosis: beyond a normal law's; 0 is a normal law.
        tail: Hill's exponent of the largest 2 % of |r|; 3 is the "inverse cubic law", a normal law
            has none. linear: autocorrelation of r at lag 1 and 2. size: of |r| at `LAGS`.
        band: two standard errors of an autocorrelation of independent returns, 2 / √count.
    """

    count: int
    deviation: float
    kurtosis: float
    tail: float
    linear: tuple[float, float]
    size: tuple[float, ...]
    band: float

    def to_dict(self) -> dict[str, Any]:
        """As a document."""
        return asdict(self)


def facts_of(returns: Float64) -> Facts:
    """Facts of log returns, in order. Raises SolventError for fewer than 250, or constant ones.

    >>> rng = np.random.Generator(np.random.PCG64(1))
    >>> normal = facts_of(rng.normal(size=20_000))
    >>> abs(normal.kurtosis) < 0.1, abs(normal.size[0]) < normal.band
    (True, True)
    """
    count = len(returns)
    if count < RETURNS_LEAST:
        raise SolventError(f"facts of returns: expected at least {RETURNS_LEAST}, found {count}")
    if not bool(np.isfinite(returns).all()):
        raise SolventError("facts of returns: expected finite returns, found some that are not")
    centred = returns - returns.mean()
    deviation = float(centred.std())
    if deviation <= 0.0:
        raise SolventError("facts of returns: expected prices that move, found constant ones")
    size = np.abs(returns)
    largest = np.sort(size)[::-1][: max(10, round(_TAIL * count))]
    largest = largest[largest > 0.0]
    tail = 1.0 / float(np.log(largest[:-1] / largest[-1]).mean())
    return Facts(
        count=count, deviation=deviation,
        kurtosis=float((centred**4).mean()) / deviation**4 - 3.0, tail=tail,
        linear=(autocorrelation(returns, 1), autocorrelation(returns, 2)),
        size=tuple(autocorrelation(size, lag) for lag in LAGS if lag < count // 2),
        band=2.0 / count**0.5,
    )  # fmt: skip


def autocorrelation(values: Float64, lag: int) -> float:
    """Correlation of a series with itself so many places later.

    >>> round(autocorrelation(np.array([1.0, -1.0] * 50), 1), 2)
    -0.99
    """
    centred = values - values.mean()
    return float((centred[lag:] * centred[:-lag]).sum() / (centred * centred).sum())
