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
from solvent.risk.tails.listing import compiled as listing
from solvent.risk.tails.reduced import reduced
from solvent.risk.tails.tail import Tail
from solvent.risk.tails.tiles import LANES, TILE, Tiles
from solvent.units import Float64

Int32 = NDArray[np.int32]
Maps = tuple[Any, ...]
Sample = tuple[Float64, Maps, float, int]

BLOCK: Final = 1 << 16
"""Sets that pass over a tile before the next: a tile is fetched once for them all."""
HELD: Final = 1 << 24
"""Totals that all of them may hold at once."""
FIRST: Final = 2
"""Tiles that are taken together before there is a bound that is sure."""
SAMPLE: Final = 1
"""Tiles' worth of scenarios that a bound is guessed from."""
GROWTH: Final = 4
"""After so many times as many tiles bounds are looked for again."""
GUESS_DEVIATIONS: Final = 4.0
GUESS_MORE: Final = 2
GUESS_WIDER: Final = 1.8
"""And so many times more, as a deviation of few totals is not the true one."""
GUESSED_FROM: Final = 8 * TILE
"""Scenarios from which on a bound is guessed (`by_guess`)."""
GUESSED_UP_TO: Final = 0.3
"""Of more of all scenarios than this a list would be full at once."""
LISTED_PER_SET: Final = 160
"""Room in a list, beside that of one whole tile; a full list is merged early."""


def scan_large(
    tail: Tail, book: Totals, *, tiles: Tiles | None = None, threads: int = 1
) -> tuple[Float64, Int32]:
    """`scan_tail` by compiled passes."""
    sets = len(book.set_first) - 1
    value, place = np.empty(sets), np.empty(sets, dtype=np.int32)
    tiles = tiles or Tiles(book.matrix, book.columns)
    sample = _sample(tail, book, tiles) if _is_guessed(tail) else None
    laid = tiles.array
    work = partial(_sets, tail, book, laid, _maps(book, len(laid) * TILE), sample, value, place)
    in_parallel(work, rows=sets, positions=len(book.index), threads=threads)
    return value, place


def _maps(book: Totals, width: int) -> Maps:
    """The node map's columns, as wide as the tiles."""
    one = book.node_map
    parts = []
    for column in (one.dead, one.loss, one.gain, one.cap):
        more = max(0, width - column.shape[1])
        parts.append(np.ascontiguousarray(np.pad(column, ((0, 0), (0, more)), mode="edge")))
    return (one.plain, *parts)


def _is_guessed(tail: Tail) -> bool:
    """Whether bounds are guessed: where a tail is a small part of many scenarios."""
    few = tail.kind != "harrell_davis" and _guessed_share(tail) <= GUESSED_UP_TO
    return few and len(tail) >= GUESSED_FROM


def _guessed_share(tail: Tail) -> float:
    """The part of all scenarios that a guessed bound should have below it: hardly ever so few that
    they weigh less than the tail.

    With unequal weights as many scenarios are reckoned with as would say as much (Kish's).
    """
    whole = float(tail.parts.sum())
    many = whole * whole / float((tail.parts**2).sum())
    reach = tail.mass / whole * many + 1.0
    return GUESS_WIDER * (reach + GUESS_DEVIATIONS * math.sqrt(reach) + GUESS_MORE) / many


def _sample(tail: Tail, book: Totals, tiles: Tiles) -> Sample:
    """Scenarios that stand for all, as tiles, with their maps, and how many deviations below the
    mean a bound is guessed: there would be as many below it as are wanted by the normal law.

    They lie as far apart as their weights allow: a history has calm times and wild ones.
    """
    count = SAMPLE * TILE
    held = np.cumsum(tail.parts)
    chosen = np.searchsorted(held, (np.arange(count) + 0.5) / count * held[-1], side="right")
    plain, *maps = _maps(book, len(tail))
    some = (plain, *(np.ascontiguousarray(column[:, chosen]) for column in maps))
    share = min(0.4, max(1.0 / len(tail), _guessed_share(tail)))
    rank = math.ceil(share * count) + 1
    return tiles.sample(chosen), some, -NormalDist().inv_cdf(share), rank


def _sets(
    tail: Tail, book: Totals, laid: Float64, maps: Maps, sample: Sample | None, value: Float64,
    place: Int32, start: int, stop: int,
) -> None:  # fmt: skip
    block = max(1, min(BLOCK, HELD // (tail.reach + SLACK), stop - start))
    room = _Room(tail, book, len(laid), block)
    for first in range(start, stop, block):
        last = min(first + block, stop)
        _Block(tail, book, laid, maps, room, (first, last), sample).into(
            value[first:last], place[first:last]
        )


class _Room:
    """Memory that every block writes to anew: asking for it each time would cost a third."""

    def __init__(self, tail: Tail, book: Totals, tiles: int, sets: int) -> None:
        # A mean of the least totals in any order, as they are whole: mapped ones hardly ever are.
        whole = bool(book.node_map.plain[book.row_node].all())
        self.mean = tail.kind == "expected_shortfall" and tail.alike and whole
        self.bound, self.held = np.empty(sets), np.empty(sets, dtype=np.int64)
        self.values = np.empty((sets, tail.reach + SLACK))
        shape = (1, 1) if self.mean else self.values.shape
        self.places = np.empty(shape, dtype=np.int32)
        self.least, self.worst = np.empty(sets), np.empty(sets, dtype=np.int32)
        self.listed = np.empty(sets * (TILE + LISTED_PER_SET) + TILE)
        self.marks = np.empty((tiles, sets), dtype=np.int64)
        self.spans = np.empty((sets, 2), dtype=np.int64)


class _Block:
    """Some sets on their way over the tiles."""

    def __init__(
        self, tail: Tail, book: Totals, laid: Float64, maps: Maps, room: _Room,
        span: tuple[int, int], sample: Sample | None, *, sure: bool = False,
    ) -> None:  # fmt: skip
        self.whole, self.maps, self.room, self.sure, self.sample = book, maps, room, sure, sample
        self.tail, self.laid, self.columns, self.span = tail, laid, book.columns, span
        self.book = book.set_first, book.row_first, book.row_node, book.index, book.lots
        sets = span[1] - span[0]
        self.mean, self.listed = room.mean, room.listed
        self.bound, self.held, self.values = room.bound[:sets], room.held[:sets], room.values[:sets]
        self.places, self.least = room.places[:sets], room.least[:sets]
        self.worst = room.worst[:sets]
        self.marks = room.marks[:, :sets]
        self.worst[:] = 0
        self.spans = room.spans[:sets]
        listing.spans_of(*self.book[:3], maps[0], self.spans, *span)

    def into(self, value: Float64, place: Int32) -> None:
        """Go over all tiles; the tails, and the scenarios that stand for them."""
        if self.sample is not None:
            self._guessed(value, place, *self.sample)
            return
        done = min(FIRST, len(self.laid))
        compiled.begin(
            self.laid, done, self.columns, *self.book, self.maps, self._rank(done), self.bound,
            self.held, self.values, self.places, self.least, self.worst, not self.mean, *self.span,
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

    def _guessed(
        self, value: Float64, place: Int32, tiles: Float64, maps: Maps, deviations: float,
        rank: int,
    ) -> None:  # fmt: skip
        """The same by a bound that is guessed from some scenarios; who has too few below it, or
        a mean of totals that are no integers, again without guesses."""
        by_guess.guess(
            tiles, *self.book, maps, deviations, rank, self.spans, self.bound, *self.span
        )
        self.held[:], self.least[:] = 0, np.inf
        first = 0
        done, starts, marks = self._list(0, len(self.laid))
        while done < len(self.laid):
            self._merge(starts, marks, first, self.tail.reach)
            first = done
            done, starts, marks = self._list(first, len(self.laid))
        column, mass = first * TILE, self.tail.mass
        if self.mean:
            by_guess.finish(
                self.listed, starts, marks, column, mass, self.bound, self.held, self.values,
                self.worst, value,
            )  # fmt: skip
        else:
            is_mean = self.tail.kind == "expected_shortfall"
            by_guess.ranked(
                self.listed, starts, marks, column, self.tail.parts, mass, is_mean,
                self.bound, self.held, self.values, self.places, self.worst, value,
            )  # fmt: skip
        place[:] = self.worst
        broken = self.worst < 0
        again = np.flatnonzero(np.isnan(value) & ~broken)
        if len(again):
            self._again(again, value, place)
        value[broken], place[broken] = np.nan, 0

    def _again(self, rows: NDArray[np.int64], value: Float64, place: Int32) -> None:
        """Sets of whose tail too little was found: their bound was guessed too low."""
        some = self.whole.of(rows + self.span[0])
        found, where = np.empty(len(rows)), np.empty(len(rows), dtype=np.int32)
        room = _Room(self.tail, some, len(self.laid), len(rows))
        _Block(
            self.tail, some, self.laid, self.maps, room, (0, len(rows)), None, sure=True
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
        # What a broken row has not is read, and overwritten by its caller: no chance bits there.
        values[np.arange(values.shape[1]) >= self.held[rows, None]] = 0.0
        places = np.clip(places[:, :reach], 0, len(self.tail) - 1)
        found, rank = reduced(self.tail, values[:, :reach], places)
        return found, np.take_along_axis(places, rank[:, None], axis=1)[:, 0]

    def _phase(self, first: int, last: int) -> int:
        """Tiles [first, last) under one bound, or as many as the list has room for."""
        done, starts, marks = self._list(first, last)
        self._merge(starts, marks, first, self._rank(done))
        return done

    def _merge(
        self, starts: NDArray[np.int64], marks: NDArray[np.int64], first: int, rank: int
    ) -> None:  # fmt: skip
        listing.merge(
            self.listed, starts, marks, first * TILE, rank, self.bound, self.held, self.values,
            self.places, self.least, self.worst, not self.mean,
        )  # fmt: skip

    def _list(
        self, first: int, last: int
    ) -> tuple[int, NDArray[np.int64], NDArray[np.int64]]:  # fmt: skip
        """List what tiles [first, last) have below the bounds, or as many as there is room for:
        where that ends, where each tile's list begins, and the marks of which are listed."""
        sets, at, done = len(self.bound), 0, first
        starts, marks = np.empty(last - first, dtype=np.int64), self.marks[first:last]
        while done < last and at + sets * TILE + LANES <= len(self.listed):
            starts[done - first] = at
            vectors = -(-min(TILE, self.columns - done * TILE) // LANES)
            # One, two, four or eight: every width is a kernel that is compiled.
            whole = (done + 1) * TILE <= self.columns
            take = listing.tile if whole else listing.ragged(1 << (vectors - 1).bit_length())
            at = take(
                self.laid[done], done * TILE, self.columns, *self.book, self.maps, self.spans,
                self.bound, self.listed, at, marks[done - first], self.worst, *self.span,
            )  # fmt: skip
            done += 1
        return done, starts[: done - first], marks[: done - first]
