"""The tail of moves beyond a threshold: exponential, as Kou's jumps are, from what lay beyond it.

A law fitted to every return is fitted to ordinary days; what a gap charge needs is what happens
beyond the grid's edge. Of a threshold u the excesses |x| − u are exponential with the mean of those
seen (peaks over a threshold), one a day so that one crash counts once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import genpareto

from solvent.errors import BadInput, Problem, Reject, check
from solvent.units import Float64

_FEW: Final = 10
_HEAVY: Final = 3.84
"""95 % of χ² with one degree of freedom."""


class TailNote(StrEnum):
    """What is to be known about a tail."""

    FEW = "fewer than ten moves lie beyond: the mean excess is that of the other side, if larger"
    HEAVIER = "a generalised Pareto tail fits better: large moves are likelier than told"
    NONE_SEEN = "no move lay beyond: the tail is the other side's"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tail:
    """Moves of one side beyond `edge` (signed log move): exponential with `mean_excess`.

    `days` is how many days had one, `largest` the largest excess, `shape` that of a generalised
    Pareto law beside it (0 is exponential), `error` the standard error of the mean.
    """

    edge: float
    mean_excess: float
    days: int
    largest: float
    shape: float
    error: float
    notes: tuple[TailNote, ...]

    def beyond(self, share: float) -> float:
        """Signed log move that a share of the moves beyond the edge stay within.

        >>> tail = Tail(edge=-0.15, mean_excess=0.1, days=30, largest=0.4, shape=0.0, error=0.02,
        ...             notes=())
        >>> round(tail.beyond(0.99), 4)
        -0.6105
        """
        check(0.0 <= share < 1.0, "a share below 1", share)
        return self.edge + math.copysign(-math.log1p(-share) * self.mean_excess, self.edge)


def fit_tails(log_moves: ArrayLike, day: ArrayLike, *, down: float, up: float) -> tuple[Tail, Tail]:
    """Tails of both sides beyond `down` < 0 and `up` > 0; `day` tells which moves are of one day.

    A side that was seen fewer than ten times takes the other's mean where that is larger. Raises
    BadInput where neither side was seen, or for moves that are no numbers.

    >>> falls, rises = fit_tails([-0.3, -0.2, 0.0, 0.3], [1, 2, 3, 4], down=-0.1, up=0.2)
    >>> round(falls.mean_excess, 6), round(rises.mean_excess, 6), rises.days
    (0.15, 0.15, 1)
    """
    x, days = np.asarray(log_moves, dtype=np.float64), np.asarray(day)
    check(down < 0.0 < up and x.shape == days.shape, "edges on either side", down, up)
    if not np.isfinite(x).all():
        raise BadInput(_problem("numbers", "some that are none"))
    sides = (_excesses(-x, days, -down), _excesses(x, days, up))
    if not any(map(len, sides)):
        found = f"none beyond {down:.3f} or {up:.3f}"
        raise BadInput(_problem("moves beyond the edge on one side at least", found))
    return (
        _tail(down, sides[0], sides[1]),
        _tail(up, sides[1], sides[0]),
    )


def _excesses(x: Float64, day: NDArray[np.generic], edge: float) -> Float64:
    """The largest excess of every day that has one."""
    out = x > edge
    order = np.lexsort((-x[out], day[out]))
    first = np.unique(day[out][order], return_index=True)[1]
    return np.asarray(x[out][order][first] - edge)


def _tail(edge: float, mine: Float64, other: Float64) -> Tail:
    notes: list[TailNote] = []
    mean = float(mine.mean()) if len(mine) else 0.0
    if len(mine) < _FEW:
        notes.append(TailNote.FEW if len(mine) else TailNote.NONE_SEEN)
        mean = max(mean, float(other.mean()) if len(other) else mean)
    shape = 0.0
    if len(mine) >= _FEW:
        shape, _, scale = (float(one) for one in genpareto.fit(mine, floc=0.0))
        gain = float(genpareto.logpdf(mine, shape, 0.0, scale).sum())
        gain += len(mine) * (math.log(mean) + 1.0)
        if shape > 0.0 and 2.0 * gain > _HEAVY:
            notes.append(TailNote.HEAVIER)
    return Tail(
        edge=edge, mean_excess=mean, days=len(mine), largest=float(mine.max(initial=0.0)),
        shape=shape, error=mean / math.sqrt(max(1, len(mine))), notes=tuple(notes),
    )  # fmt: skip


def _problem(expected: str, found: str) -> Problem:
    return Problem(code=Reject.INPUT_INVALID, source="moves", expected=expected, found=found)
