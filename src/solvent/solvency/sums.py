"""Sums over groups of numbers between lines."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any, Final

import numpy as np
import scipy.sparse as sparse

from solvent.solvency.between import Between
from solvent.units import Float64

DUST: Final = 1e-13
"""A share of the terms of a sum that its rounding can be: of some nine hundred terms."""


def members(groups: Any, count: int) -> sparse.csc_matrix:
    """[group, row] 1 where a row lies in a group."""
    rows = len(groups)
    return sparse.csc_matrix((np.ones(rows), groups, np.arange(rows + 1)), (count, rows))


def times(shares: Any, *lines: Float64) -> list[Float64]:
    """Sums along the rows of lines [side, end, row, …], all of them in one product.

    >>> times(members([0, 0], 1), np.array([[[1.0, 2.0]]]))[0].tolist()
    [[[3.0]]]
    """
    first = [one.transpose(2, 0, 1, *range(3, one.ndim)) for one in lines]
    wide = [one.reshape(one.shape[0], prod(one.shape[1:])) for one in first]
    together = wide[0] if len(wide) == 1 else np.concatenate(wide, axis=1)
    found, sums, start = np.asarray(shares @ together), [], 0
    for one, flat in zip(first, wide, strict=True):
        part = found[:, start : start + flat.shape[1]].reshape(found.shape[0], *one.shape[1:])
        sums.append(part.transpose(1, 2, 0, *range(3, one.ndim)))
        start += flat.shape[1]
    return sums


def added(shares: Any, value: Between) -> Between:
    """Lines added up along rows; `shares` are not negative."""
    sizes = np.maximum(np.abs(value.low), np.abs(value.high)).max(axis=(0, 1))[None, None]
    low, high, gross = times(shares, value.low, value.high, sizes)
    return Between(low - DUST * gross, high + DUST * gross)


@dataclass(frozen=True, slots=True)
class Weights:
    """Signed amounts of rows, by group.

    Attributes:
        either: [group, then group again; row of the line below, then of that above] the amounts
            that make a sum's line below, then those that make the one above.
        gross: [group, row] their sizes.
    """

    either: sparse.csr_matrix
    gross: sparse.csr_matrix

    @classmethod
    def of(cls, amount: Float64, *, index: Any, owner: Any, count: int, rows: int) -> Weights:
        """Of amounts of `rows` rows, each at an index and of an owner."""
        held = np.flatnonzero(amount)
        size, at, owner = amount[held], np.asarray(index)[held], np.asarray(owner)[held]
        short = size < 0.0
        to = np.concatenate([owner, owner + count])
        of = np.concatenate([at + rows * short, at + rows * ~short])
        shape = (2 * count, 2 * rows)
        either = sparse.csr_matrix((np.concatenate([size, size]), (to, of)), shape)
        gross = sparse.csr_matrix((np.abs(size), (owner, at)), (count, rows))
        return cls(either, gross)

    def sum(self, lines: Between) -> Between:
        """[group] Σ amount · lines: longs on the line below and shorts on the one above."""
        wide = np.broadcast_shapes(lines.low.shape, lines.high.shape)
        ends = [np.broadcast_to(one, wide) for one in (lines.low, lines.high)]
        (either,) = times(self.either, np.concatenate(ends, axis=2))
        most = np.maximum(np.abs(lines.low), np.abs(lines.high)).max(axis=(0, 1))[None, None]
        dust = DUST * times(self.gross, most)[0]
        count = self.gross.shape[0]
        return Between(either[:, :, :count] - dust, either[:, :, count:] + dust)


def weighed(amount: Float64, lines: Between, *, index: Any, owner: Any, count: int) -> Between:
    """[group] Σ amount · lines[index]; see `Weights.sum`."""
    rows = lines.low.shape[2]
    return Weights.of(amount, index=index, owner=owner, count=count, rows=rows).sum(lines)
