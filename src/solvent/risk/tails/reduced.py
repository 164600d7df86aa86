"""From the least totals, in order, to a tail: what each rank counts for, added one by one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from solvent.risk.tails.beta import beta_cdf
from solvent.risk.tails.tail import Tail
from solvent.units import Float64

Int64 = NDArray[np.int64]


def reduced(tail: Tail, least: Float64, place: NDArray[np.integer]) -> tuple[Float64, Int64]:
    """The tail of the least totals [row, rank] of scenarios `place`, and the rank that stands for
    it. One addition after another, in the order of the ranks."""
    shares = weights(tail, place)
    total = np.zeros(len(least))
    for rank in range(least.shape[1]):
        total = total + shares[:, rank] * least[:, rank]
    at = np.zeros(len(least), dtype=np.int64)
    if tail.kind == "expected_shortfall":
        total = total / tail.mass
    elif tail.kind == "value_at_risk":
        at = shares.argmax(axis=1).astype(np.int64)
    return total + 0.0, at


def weights(tail: Tail, place: NDArray[np.integer]) -> Float64:
    """What each rank counts for; of an expected shortfall in parts, of the others in all 1."""
    parts = tail.parts[place]
    held = np.cumsum(parts, axis=1)
    before = held - parts
    if tail.kind == "expected_shortfall":
        return np.asarray(np.clip(tail.mass - before, 0.0, parts))
    if tail.kind == "value_at_risk":
        return np.asarray((before <= tail.mass) & (held > tail.mass), dtype=np.float64)
    whole = float(tail.parts.sum())
    if tail.alike:
        # Ranks weigh alike in every row.
        return np.broadcast_to(_steps(tail, held[:1] / whole), parts.shape)
    return _steps(tail, held / whole)


def _steps(tail: Tail, held: Float64) -> Float64:
    law = beta_cdf(held, *tail.shape)
    return np.asarray(np.diff(law, axis=1, prepend=0.0))
