"""Safe price bands: between which prices each account provably cannot breach.

A row (an account at one underlying) is given a share of its account's slack and the widest segment,
down and up from a *base* price, on which its lines (`solvency.bounds`) lose no more than the share.
While every underlying stays on a row's segments the account's slack cannot fall below 0, whatever
the prices do on the way. A class of width is one byte, so a tick reads a byte a row to find whom it
must recompute.

Proof. slack = cash + Σ rows' slack, each row's at least a straight line between its base level and
its level at the segment's end, both bounded from below by its lines with every allowance in them.
So a row's slack is at least `level − share` on the segment, and Σ (level − share) + cash ≥ 0.
The proof needs all of an account's rows: when one leaves its segment, all of them are void.

What makes a band void does so explicitly:

| what | how |
|---|---|
| trade, cash | `void` or `refresh` the account |
| price beyond a segment | the row is `outside`: the account is void until `refresh` |
| vol, time, forward over price, funding beyond the allowance; what becomes unusable | its *epoch*
is void: every row of it is `outside` |
| contract, scenario or ratio that changes | a new `Bands` |

An epoch is one base of one underlying. `renew` makes a new one; rows of the old one stay proved by
it while it is not void, and are moved by `refresh` a slice at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from solvent.errors import check
from solvent.limits import EXACT_MAX
from solvent.risk.product import in_parallel
from solvent.solvency.bounds import Allowance, lines_of
from solvent.solvency.holdings import Holdings
from solvent.solvency.rows import Market, Scenes, Terms, aligned
from solvent.units import Float64

Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]

_EVERY = 255
"""More than any width: every row is outside."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """Which breach a band rules out: of `ppm` millionths of the worst of the first `scenarios`."""

    ppm: int
    scenarios: int


@dataclass(frozen=True, slots=True)
class _Base:
    """The market of an epoch, and what may have been paid per lot in all while it is in force."""

    market: Market
    paid_most: Float64


class Bands:
    """Bands of all rows of some holdings.

    Args:
        widths: ascending shares of the base price, at most 200.
    """

    def __init__(
        self, held: Holdings, terms: Terms, scenes: Scenes, market: Market, *, guard: Guard,
        widths: Sequence[float], allowance: Allowance,
    ) -> None:  # fmt: skip
        check(0 < len(widths) < 200, "some widths, few enough for a byte", len(widths))
        self.widths = np.array(widths, dtype=np.float64)
        ascending = bool((np.diff(self.widths) > 0.0).all())
        check(ascending and widths[0] > 0.0 and widths[-1] < 1.0, "widths ascend inside (0, 1)")
        self.terms, self.scenes, self.guard, self.allowance = terms, scenes, guard, allowance
        instruments, columns = len(terms), scenes.columns
        self.base = aligned(2 * instruments, columns)
        self.ends = aligned(len(self.widths), 2, 2 * instruments, columns)
        self.largest = np.full(instruments, np.inf)
        self.of_node = [np.flatnonzero(terms.node == node) for node in range(held.nodes)]
        self.epoch_of = np.zeros(held.nodes, np.uint8)
        self.bases: list[list[_Base | None]] = [[None, None] for _ in range(held.nodes)]
        self.paid = np.zeros(instruments)
        # What the price of now needs of a row in its underlying's current epoch, and which way.
        self.needed_now = np.ones(held.nodes, np.uint8)
        self.upward_now = np.zeros(held.nodes, dtype=bool)
        self.down, self.up, self.epoch = np.zeros((3, 0), np.uint8)
        self.row, self.place_of = np.zeros((2, 0), np.int32)
        self._rows = 0
        self._first, self._count, self._room = np.zeros((3, held.nodes), np.int64)
        self._arrange(held)
        for node in range(held.nodes):
            self.renew(held, node, market)

    def renew(self, held: Holdings, node: int, market: Market) -> None:
        """Take the market of now as the base of a new epoch of an underlying.

        Accounts with a row in the epoch before the last are void until they are refreshed.
        """
        which = self.of_node[node]
        made = lines_of(
            self.terms, market, self.scenes, which, ppm=self.guard.ppm, allowance=self.allowance,
            widths=self.widths, used=self.guard.scenarios,
        )  # fmt: skip
        both = (2 * which[:, None] + np.arange(2)).ravel()
        self.base[both], self.ends[:, :, both] = made.base, made.ends
        self.largest[which] = made.largest
        new = 1 - int(self.epoch_of[node])
        places = self._places(node)
        oldest = self.row[places][self.epoch[places] == new]
        self.void(held, np.unique(held.store.account[oldest]))
        self.epoch_of[node] = new
        self.bases[node][new] = _Base(market, self.paid[which] + made.paid)
        self.needed_now[node], self.upward_now[node] = 1, False

    def refresh(self, held: Holdings, cash: Int64, who: Int32, *, threads: int = 1) -> None:
        """Prove widths anew for every row of some accounts, in the current epochs.

        Raises InvariantBroken unless `follow` was called since rows were opened.
        """
        from solvent.solvency.bands import compiled

        check(held.rows == self._rows, "bands know every row", held.rows, self._rows)
        kernel = compiled.bound(self.scenes.width + 1)
        middle = len(self.widths) // 2

        def work(start: int, stop: int) -> None:
            kernel(
                held.store, self.base, self.ends, self.largest, cash, who, middle, held.nodes,
                self.place_of, self.epoch_of, self.needed_now, self.upward_now, self.down, self.up,
                self.epoch, start, stop,
            )  # fmt: skip

        in_parallel(work, rows=len(who), positions=10 * len(who), threads=threads)

    def void(self, held: Holdings, who: Int32) -> None:
        """Void every band of some accounts."""
        from solvent.solvency.bands import compiled

        compiled.void(held.store, who, self.place_of, self.down, self.up)

    def follow(self, held: Holdings) -> None:
        """Give rows that trades opened a place, with nothing proved."""
        new = np.arange(self._rows, held.rows, dtype=np.int32)
        if len(new) == 0:
            return
        node = held.store.node[new]
        more = np.bincount(node, minlength=held.nodes)
        if bool((self._count + more > self._room).any()):
            self._arrange(held)
            return
        if held.rows > len(self.place_of):
            wide = np.zeros(held.rows + held.rows // 4 + 64, np.int32)
            wide[: self._rows] = self.place_of[: self._rows]
            self.place_of = wide
        order = np.argsort(node, kind="stable")
        rank = np.arange(len(new)) - np.repeat(np.cumsum(more) - more, more)
        place = (self._first + self._count)[node[order]] + rank
        self.place_of[new[order]], self.row[place] = place, new[order]
        self.down[place] = self.up[place] = 0
        self.epoch[place] = self.epoch_of[node[order]]
        self._count, self._rows = self._count + more, held.rows

    def outside(self, held: Holdings, node: int, market: Market) -> Int32:
        """Rows at an underlying that are not proved safe at a market, which is the one of now.

        Whoever asks voids their accounts.
        """
        needed, upward = self._needed(node, market)
        current = int(self.epoch_of[node])
        self.needed_now[node], self.upward_now[node] = needed[current], upward[current]
        return self._unproved(held, node, needed, upward)

    def unproved(self, held: Holdings, node: int, market: Market) -> Int32:
        """The same at a market that is only thought of."""
        return self._unproved(held, node, *self._needed(node, market))

    def _unproved(
        self, held: Holdings, node: int, needed: NDArray[np.uint8], upward: NDArray[np.bool_]
    ) -> Int32:
        from solvent.solvency.bands import compiled

        places = self._places(node)
        found = np.empty(places.stop - places.start, np.int32)
        count = compiled.outside(
            held.store, self.row, self.down, self.up, self.epoch, needed, upward, places.start,
            places.stop, found,
        )  # fmt: skip
        return found[:count]

    def _needed(self, node: int, market: Market) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """[epoch] the class that a row must have reached to be safe at a market; and which way."""
        price = float(market.price[node])
        classes, upward = np.full(2, _EVERY, np.uint8), np.zeros(2, dtype=bool)
        for epoch, base in enumerate(self.bases[node]):
            if base is None or not self._covered(base, node, market, self.allowance):
                continue
            at = float(base.market.price[node])
            classes[epoch], upward[epoch] = self._class_of(price, at), price >= at
        return classes, upward

    def due(self, node: int, market: Market, *, share: float) -> bool:
        """Whether an epoch has used up a share of what it allows, or of its widest segment."""
        base = self.bases[node][int(self.epoch_of[node])]
        if base is None:
            return True
        at, a = float(base.market.price[node]), self.allowance
        if abs(float(market.price[node]) - at) > share * float(self.widths[-1]) * at:
            return True
        part = Allowance(vol=a.vol * share, time_ms=int(a.time_ms * share), basis=a.basis * share)
        return not self._covered(base, node, market, part)

    def pay(self, instrument: int, quanta: float) -> None:
        """Count that so many quanta were paid, either way, on every lot of an instrument."""
        self.paid[instrument] += abs(quanta)

    def _covered(self, base: _Base, node: int, market: Market, allowance: Allowance) -> bool:
        which = self.of_node[node]
        paid = bool((self.paid[which] <= base.paid_most).all())
        return paid and allowance.covers(self.terms, base.market, market, which)

    def stale(self, node: int, limit: int, start: int) -> tuple[Int32, int]:
        """Up to so many rows of an underlying that are not in its current epoch, from the place
        `start` on; and the place to go on at, −1 when none is left."""
        places = self._places(node)
        old = np.flatnonzero(self.epoch[places.start + start : places.stop] != self.epoch_of[node])[
            :limit
        ]
        rows = self.row[places.start + start + old]
        return rows, (start + int(old[-1]) + 1 if len(old) == limit else -1)

    @property
    def nbytes(self) -> int:
        """Memory of bands and lines."""
        kept = (self.base, self.ends, self.down, self.up, self.epoch, self.row, self.place_of)
        return sum(column.nbytes for column in kept)

    def _class_of(self, price: float, base: float) -> int:
        """The first width that reaches a price, from 1; `_EVERY` beyond the last.

        The comparison is rounded outward: a move that float64 cannot tell from a width is beyond
        it.
        """
        moved = abs(price - base) / base * (1.0 + 1e-12)
        width = int(np.searchsorted(self.widths, moved, side="left"))
        return width + 1 if width < len(self.widths) else _EVERY

    def _places(self, node: int) -> slice:
        start = int(self._first[node])
        return slice(start, start + int(self._count[node]))

    def _arrange(self, held: Holdings) -> None:
        """Lay out a run of places for every underlying, with room; what is proved stays proved."""
        rows, node = held.rows, held.store.node[: held.rows]
        count = np.bincount(node, minlength=held.nodes).astype(np.int64)
        room = count + count // 4 + 64
        first = np.cumsum(room) - room
        order = np.argsort(node, kind="stable").astype(np.int32)
        rank = np.arange(rows) - np.repeat(np.cumsum(count) - count, count)
        place = np.empty(rows, np.int32)
        place[order] = first[node[order]] + rank
        down, up, epoch = np.zeros((3, int(room.sum())), np.uint8)
        epoch[place] = self.epoch_of[node]
        seats, again = self.place_of[: self._rows], place[: self._rows]
        down[again], up[again] = self.down[seats], self.up[seats]
        epoch[again] = self.epoch[seats]
        self.row = np.full(len(down), -1, np.int32)
        self.row[place] = np.arange(rows, dtype=np.int32)
        self.down, self.up, self.epoch, self.place_of = down, up, epoch, place
        self._first, self._count, self._room, self._rows = first, count, room, rows


def check_lines_are_exact(bands: Bands) -> None:
    """Lines are whole quanta inside the exact range, so that sums of them are exact."""
    for lines in (bands.base, bands.ends):
        check(bool((lines == np.rint(lines)).all()), "lines are whole")
        check(float(np.abs(lines).max(initial=0.0)) < EXACT_MAX, "lines are inside the range")
