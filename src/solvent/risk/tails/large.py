"""Tails of large books: the compiled passes, a block of sets at a time on each thread."""

from __future__ import annotations

import math
from functools import partial
from statistics import NormalDist
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from solvent.risk.product import Totals, in_parallel
from solvent.risk.tails import compiled
from solvent.risk.tails.by_guess import compiled as by_guess
from solvent.risk.tails.compiled import SLACK
from solvent.risk.tails.reduced import reduced
from solvent.risk.tails.tail import Tail
from solvent.risk.tails.tiles import LANES, TILE, Tiles
from solvent.units import Float64

Int32 = NDArray[np.int32]

BLOCK: Final = 1 << 15
"""Sets that pass over a tile before the next: a tile is fetched once for them all."""
FIRST: Final = 2
"""Tiles that are taken together before there is a bound."""
GROWTH: Final = 4
"""After so many times as many tiles bounds are looked for again."""
GUESS_DEVIATIONS: Final = 4.0
GUESS_MORE: Final = 2
GUESS_WIDER: Final = 1.4
"""And so many times more, as a deviation of few totals is not the true one."""
GUESSED_FROM: Final = 8 * TILE
"""Scenarios from which on a bound is guessed once (`by_guess`) where all weigh alike."""
LISTED_PER_SET: Final = 96
"""Room in a list, beside that of one whole tile; a full list is merged early."""


def scan_large(
    tail: Tail, book: Totals, *, tiles: Tiles | None = None, threads: int = 1
) -> tuple[Float64, Int32]:
    """`scan_tail` by compiled passes."""
    sets = len(book.set_first) - 1
    value, place = np.empty(sets), np.empty(sets, dtype=np.int32)
    laid = (tiles or Tiles(book.matrix, book.columns)).array
    work = partial(_sets, tail, book, laid, _maps(book, laid), value, place)
    in_parallel(work, rows=sets, positions=len(book.index), threads=threads)
    return value, place


def _maps(book: Totals, laid: Float64) -> tuple[Any, ...]:
    """The node map's columns, as wide as the tiles."""
    one, width = book.node_map, len(laid) * TILE
    parts = []
    for column in (one.dead, one.loss, one.gain, one.cap):
        more = max(0, width - column.shape[1])
        parts.append(np.ascontiguousarray(np.pad(column, ((0, 0), (0, more)), mode="edge")))
    return (one.plain, *parts)


def _sets(
    tail: Tail, book: Totals, laid: Float64, maps: tuple[Any, ...], value: Float64, place: Int32,
    start: int, stop: int,
) -> None:  # fmt: skip
    room = _Room(tail, min(BLOCK, stop - start))
    for first in range(start, stop, BLOCK):
        last = min(first + BLOCK, stop)
        _Block(tail, book, laid, maps, room, (first, last), sure=False).into(
            value[first:last], place[first:last]
        )


class _Room:
    """Memory that every block writes to anew: asking for it each time would cost a third."""

    def __init__(self, tail: Tail, sets: int) -> None:
        self.mean = tail.kind == "expected_shortfall" and tail.alike
        self.bound, self.held = np.empty(sets), np.empty(sets, dtype=np.int64)
        self.values = np.empty((sets, tail.reach + SLACK))
        shape = (1, 1) if self.mean else self.values.shape
        self.places = np.empty(shape, dtype=np.int32)
        self.least, self.worst = np.empty(sets), np.empty(sets, dtype=np.int32)
        cells = sets * (TILE + LISTED_PER_SET) + TILE
        self.listed = np.empty(cells)
        self.where = np.empty(1 if self.mean else cells, dtype=np.int32)


class _Block:
    """Some sets on their way over the tiles."""

    def __init__(
        self, tail: Tail, book: Totals, laid: Float64, maps: tuple[Any, ...], room: _Room,
        span: tuple[int, int], *, sure: bool,
    ) -> None:  # fmt: skip
        self.whole, self.maps, self.room, self.sure = book, maps, room, sure
        self.tail, self.laid, self.columns, self.span = tail, laid, book.columns, span
        self.book = (
            book.set_first, book.row_first, book.row_node, book.index, book.lots, maps,
        )  # fmt: skip
        sets = span[1] - span[0]
        self.mean, self.listed, self.where = room.mean, room.listed, room.where
        self.bound, self.held, self.values = room.bound[:sets], room.held[:sets], room.values[:sets]
        self.places, self.least = room.places[:sets], room.least[:sets]
        self.worst = room.worst[:sets]
        self.worst[:] = 0

    def into(self, value: Float64, place: Int32) -> None:
        """Go over all tiles; the tails, and the scenarios that stand for them."""
        if self.mean and not self.sure and self.columns >= GUESSED_FROM:
            self._guessed(value, place)
            return
        done = min(FIRST, len(self.laid))
        compiled.begin(
            self.laid, done, self.columns, *self.book, self._rank(done), self.bound, self.held,
            self.values, self.places, self.least, self.worst, not self.mean, *self.span,
        )  # fmt: skip
        while done < len(self.laid):
            done = self._phase(done, min(GROWTH * done, len(self.laid)))
        broken, short = self.worst < 0, self.held < self.tail.reach
        if self.mean:
            compiled.mean_of_least(self.values, self.held, self.tail.mass, value)
            place[:] = self.worst
            rest = np.flatnonzero(np.isnan(value) & ~broken & ~short)
            value[rest], _ = self._reduced(rest)
        else:
            value[:], place[:] = self._reduced(np.arange(len(value)))
        again = np.flatnonzero(short & ~broken)
        if len(again) and not self.sure:
            self._again(again, value, place)
        value[broken], place[broken] = np.nan, 0

    def _guessed(self, value: Float64, place: Int32) -> None:
        """The same by a bound that is guessed from the first tiles; who has too few below it, or
        totals that are no integers, again without guesses."""
        begun = min(FIRST, len(self.laid))
        by_guess.begin(
            self.laid, begun, *self.book, self.tail.reach, self._deviations(), self.bound,
            self.held, self.values, self.least, self.worst, *self.span,
        )  # fmt: skip
        done, starts, counts = self._list(by_guess.tile, begun, len(self.laid))
        while done < len(self.laid):
            compiled.merge(
                self.listed, starts, counts, self.tail.reach, self.bound, self.held, self.values
            )
            done, starts, counts = self._list(by_guess.tile, done, len(self.laid))
        by_guess.finish(
            self.listed, starts, counts, self.tail.mass, self.bound, self.held, self.values, value
        )
        place[:] = self.worst
        broken = self.worst < 0
        again = np.flatnonzero(np.isnan(value) & ~broken)
        if len(again):
            self._again(again, value, place)
        value[broken], place[broken] = np.nan, 0

    def _deviations(self) -> float:
        """How far below the mean a bound is guessed: there would be that many below it by the
        normal law, of which a tail is hardly ever short."""
        reach = self.tail.reach
        wanted = reach + GUESS_DEVIATIONS * math.sqrt(reach) + GUESS_MORE
        return -NormalDist().inv_cdf(min(0.4, GUESS_WIDER * wanted / self.columns))

    def _again(self, rows: NDArray[np.int64], value: Float64, place: Int32) -> None:
        """Sets whose bound was guessed too low: more of their tail was seen early than late."""
        some = self.whole.of(rows + self.span[0])
        found, where = np.empty(len(rows)), np.empty(len(rows), dtype=np.int32)
        room = _Room(self.tail, len(rows))
        _Block(
            self.tail, some, self.laid, self.maps, room, (0, len(rows)), sure=True
        ).into(found, where)  # fmt: skip
        value[rows], place[rows] = found, where

    def _rank(self, tiles: int) -> int:
        """The rank whose total bounds what is kept after so many tiles.

        Of scenarios that come in no order the tail's end is hardly ever seen beyond this rank;
        where it is, `_again` looks at all that the tail can reach.
        """
        reach = self.tail.reach
        if self.sure or tiles >= len(self.laid) or not self.mean:
            return reach
        seen = reach * tiles * TILE / self.columns
        return min(reach, math.ceil(seen + GUESS_DEVIATIONS * math.sqrt(seen)) + GUESS_MORE)

    def _reduced(self, rows: NDArray[np.int64]) -> tuple[Float64, Int32]:
        reach = self.tail.reach
        if self.mean:
            # The sum itself decides alone: scenarios weigh alike.
            values, places = self.values[rows], np.zeros((len(rows), reach + SLACK), dtype=np.int32)
        else:
            values, places = self.values[rows], self.places[rows]
        compiled.ordered(values, places, self.held[rows])
        # What a broken row has not is read, and overwritten by its caller.
        places = np.clip(places[:, :reach], 0, len(self.tail) - 1)
        found, rank = reduced(self.tail, values[:, :reach], places)
        return found, np.take_along_axis(places, rank[:, None], axis=1)[:, 0]

    def _phase(self, first: int, last: int) -> int:
        """Tiles [first, last) under one bound, or as many as the list has room for."""
        take: Any = by_guess.tile if self.mean else compiled.placed_tile
        done, starts, counts = self._list(take, first, last)
        rank = self._rank(done)
        if self.mean:
            compiled.merge(self.listed, starts, counts, rank, self.bound, self.held, self.values)
        else:
            compiled.placed_merge(
                self.listed, self.where, starts, counts, rank, self.bound, self.held, self.values,
                self.places,
            )  # fmt: skip
        return done

    def _list(
        self, take: Any, first: int, last: int
    ) -> tuple[int, NDArray[np.int64], NDArray[np.uint8]]:
        """List what tiles [first, last) have below the bounds, or as many as there is room for:
        where that ends, where each tile's list begins, and how many each set has in it."""
        sets = len(self.bound)
        counts = np.empty((last - first, sets), dtype=np.uint8)
        starts, at = np.empty(last - first, dtype=np.int64), 0
        least = (self.least,) if self.mean else ()
        done = first
        while done < last and at + sets * TILE + LANES <= len(self.listed):
            starts[done - first] = at
            at = take(
                self.laid[done], done * TILE, self.columns, *self.book, self.bound, self.listed,
                self.where, at, counts[done - first], *least, self.worst, *self.span,
            )  # fmt: skip
            done += 1
        return done, starts[: done - first], counts[: done - first]
