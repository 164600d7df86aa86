"""Sums over groups of numbers between lines."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import scipy.sparse as sparse

from solvent.solvency.between import Between
from solvent.units import Float64

DUST: Final = 1e-13
"""A share of the terms of a sum that its rounding can be: of some nine hundred terms."""


def members(groups: Any, count: int) -> sparse.csr_matrix:
    """[group, row] 1 where a row lies in a group."""
    rows = len(groups)
    return sparse.csr_matrix((np.ones(rows), (groups, np.arange(rows))), (count, rows))


def times(shares: sparse.csr_matrix, lines: Float64) -> Float64:
    """Sums along the rows of lines [side, end, row, …].

    >>> times(members([0, 0], 1), np.array([[[1.0, 2.0]]])).tolist()
    [[[3.0]]]
    """
    rows = np.moveaxis(lines, 2, 0)
    wide = rows.reshape(rows.shape[0], int(np.prod(rows.shape[1:])))
    found = np.asarray(shares @ wide)
    return np.moveaxis(found.reshape(shares.shape[0], *rows.shape[1:]), 0, 2)


def added(shares: sparse.csr_matrix, value: Between) -> Between:
    """Lines added up along rows; `shares` are not negative."""
    sizes = np.maximum(np.abs(value.low), np.abs(value.high)).max(axis=(0, 1))[None, None]
    dust = DUST * times(shares, sizes)
    return Between(times(shares, value.low) - dust, times(shares, value.high) + dust)


def weighed(amount: Float64, lines: Between, *, index: Any, owner: Any, count: int) -> Between:
    """[group] Σ amount · lines[index]: longs on the line below and shorts on the one above."""
    held = np.flatnonzero(amount)
    size, at, owner = amount[held], np.asarray(index)[held], np.asarray(owner)[held]
    rows, short = lines.low.shape[2], size < 0.0
    wide = np.broadcast_shapes(lines.low.shape, lines.high.shape)
    both = np.concatenate([np.broadcast_to(lines.low, wide), np.broadcast_to(lines.high, wide)], 2)
    low, high = (
        times(sparse.csr_matrix((size, (owner, at + rows * above)), (count, 2 * rows)), both)
        for above in (short, ~short)
    )
    most = np.maximum(np.abs(lines.low), np.abs(lines.high)).max(axis=(0, 1))[None, None]
    gross = sparse.csr_matrix((np.abs(size), (owner, at)), (count, rows))
    dust = DUST * times(gross, most)
    return Between(low - dust, high + dust)
