"""Tails of every set of a book: numpy for small work, compiled for large, equal to the bit."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from solvent.risk.product import (
    Totals,
    is_small,
    totals_of,
)
from solvent.risk.tails.reduced import reduced, weights
from solvent.risk.tails.tail import Tail
from solvent.risk.tails.tiles import Tiles
from solvent.units import Float64

Int32 = NDArray[np.int32]
_CELLS: Final = 1 << 22
"""Totals that are held at once where they are held."""


def scan_tail(
    tail: Tail, book: Totals, *, tiles: Tiles | None = None, threads: int = 1
) -> tuple[Float64, Int32]:
    """The tail of each set's totals, and the scenario that stands for it: the worst one, or that
    of the value at risk. NaN where a total is no number.

    `tiles` are of the book's matrix, where a caller keeps them.
    """
    if is_small(len(book.index) * len(tail)):
        return _whole(tail, book)
    from solvent.risk.tails.large import scan_large

    return scan_large(tail, book, tiles=tiles, threads=threads)


def _whole(tail: Tail, book: Totals) -> tuple[Float64, Int32]:
    """Every total of some sets, ordered, a block of sets at a time."""
    sets = len(book.set_first) - 1
    value, place = np.empty(sets), np.empty(sets, dtype=np.int32)
    step = max(1, _CELLS // max(1, len(tail)))
    for start in range(0, sets, step):
        some = slice(start, min(start + step, sets))
        totals = totals_of(book.part(some.start, some.stop))
        value[some], place[some] = tails_of(tail, totals)
    return value, place


def tails_of(tail: Tail, totals: Float64) -> tuple[Float64, Int32]:
    """Tails of totals [row, scenario], and the scenario that stands for each."""
    order = np.argsort(totals, axis=1, kind="stable")[:, : tail.reach]
    least = np.take_along_axis(totals, order, axis=1)
    broken = np.isnan(totals).any(axis=1)
    value, at = reduced(tail, least, order)
    return np.where(broken, np.nan, value), np.asarray(
        np.take_along_axis(order, at[:, None], axis=1)[:, 0], dtype=np.int32
    )


def shares_of(tail: Tail, totals: Float64) -> Float64:
    """[scenario] what each scenario of one set counts for in its tail; they sum to 1."""
    order = np.argsort(totals, kind="stable")[: tail.reach]
    share = np.zeros(len(totals))
    weight = weights(tail, order[None, :])[0]
    share[order] = weight / tail.mass if tail.kind == "expected_shortfall" else weight
    return share
