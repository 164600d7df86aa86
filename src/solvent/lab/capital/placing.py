"""Lots moved between venues as long as that lowers what all of them ask for together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from itertools import product
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from solvent import api
from solvent.errors import BadInput
from solvent.lab.capital.faults import wrong
from solvent.lab.capital.remargin import Measure, Remargin, remargin
from solvent.market import Snapshot
from solvent.units import MICRO, Float64

Mode = Literal["cross", "isolated"]
MODES: Final = ("cross", "isolated")
Bool = NDArray[np.bool_]
Key = tuple[int, float, float]
UNPLACED: Final = ""
"""Where a position stands that stands at no venue yet."""
ENUMERATED_MAX: Final = 4_096
_ROUNDS_MAX: Final = 60
_STARTS_MAX: Final = 3
_PARTS: Final = (1.0, 0.5, 0.25, 0.1, 0.02)
_WORTH_IT: Final = 1e-5
"""A move that lowers the whole by less than this part of it is the last one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A venue, account or margin mode that positions may stand in. Dollars.

    Attributes:
        lists: patterns of the instruments that may stand there.
        margin_max: the most that it may ask for, None for no limit: what one is willing or able
            to post there.
    """

    name: str
    rulebook: api.RulebookLike
    mode: Mode = "cross"
    lists: tuple[str, ...] = ("*",)
    margin_max: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveRules:
    """What may be moved.

    Attributes:
        fixed: patterns of instruments that stay where they are.
        moved_max: dollars of notional that may be moved in all, None for no limit.
        move_bps: what moving costs, of the notional: the spread and fees of closing here and
            opening there. A move that frees less than it costs is not made.
    """

    fixed: tuple[str, ...] = ()
    moved_max: float | None = None
    move_bps: float = 0.0


@dataclass
class Books:
    """The book by instrument, and every venue ready to be asked; axes [venue, instrument]."""

    positions: Any
    market: Snapshot
    places: tuple[Place, ...]
    measure: Measure
    history: api.HistoryLike
    symbols: tuple[str, ...] = field(init=False)
    lots: Float64 = field(init=False)
    """[venue + 1, instrument] what stands where; the last row is what stands nowhere yet."""
    notional: Float64 = field(init=False)
    lot_size: Float64 = field(init=False)
    underlying: tuple[str, ...] = field(init=False)
    asked: tuple[Remargin, ...] = field(init=False)
    listed: Bool = field(init=False)

    def __post_init__(self) -> None:
        series = api.read_history(self.history)
        plans = [api.prepare(self.market, one.rulebook, history=series) for one in self.places]
        first = plans[0]
        told = api.margin(self.positions, first)
        book, universe = told.book, first.arrays.universe
        rows = np.unique(book.instrument)
        if len(rows) == 0:
            raise wrong("allocate", "positions", "a position or more", "none")
        names = [place.name for place in self.places]
        self.lots = np.zeros((len(names) + 1, len(rows)))
        for account, name in enumerate(book.accounts):
            part = slice(int(book.first[account]), int(book.first[account + 1]))
            at = names.index(name) if name in names else len(names)
            np.add.at(self.lots[at], np.searchsorted(rows, book.instrument[part]), book.lots[part])
        self.symbols = tuple(universe.symbols[int(row)] for row in rows)
        self.lot_size = universe.lot_size[rows]
        self.underlying = tuple(universe.underlyings[one] for one in universe.underlying[rows])
        self.notional = np.abs(first.arrays.units["notional"][rows])
        whole = [
            {"account": "book", "instrument": symbol, "size": float(size)}
            for symbol, size in zip(self.symbols, self.lot_size, strict=True)
        ]
        self.asked = tuple(remargin(api.margin(whole, plan), 0, self.measure) for plan in plans)
        self.listed = np.array([
            [any(fnmatchcase(name, pattern) for pattern in place.lists) for name in self.symbols]
            for place in self.places
        ])  # fmt: skip
        self._only_known()

    def _only_known(self) -> None:
        """A venue lists nothing that its rulebook cannot margin, in the direction that is held on
        the whole (bought, where that is nothing)."""
        both = np.sign(self.lots.sum(axis=0))
        probe = np.diag(np.where(both == 0.0, 1.0, both))
        for at, asked in enumerate(self.asked):
            self.listed[at] &= asked.ask(probe).known
        nowhere = np.flatnonzero(~self.listed.any(axis=0))
        if len(nowhere):
            told = "a venue that lists it and whose rulebook margins it, for every position"
            raise wrong("allocate", "places", told, self.symbols[int(nowhere[0])])

    def required(self, at: int, lots: Float64) -> Float64:
        """[question] what venue `at` asks for, millionths; infinite where it is not known."""
        asked = self.asked[at]
        if self.places[at].mode == "isolated":
            return self._apart(asked, lots)
        answers = asked.ask(lots)
        empty = ~lots.any(axis=1)
        needed = np.where(answers.known, answers.micro.astype(np.float64), np.inf)
        return np.where(empty, 0.0, needed)

    def _apart(self, asked: Remargin, lots: Float64) -> Float64:
        """The sum of what each position asks for alone; alike ones are asked once."""
        question, instrument = np.nonzero(lots)
        held = lots[question, instrument]
        pairs, place = np.unique(
            np.column_stack([instrument.astype(np.float64), held]), axis=0, return_inverse=True
        )
        alone = np.zeros((len(pairs), lots.shape[1]))
        alone[np.arange(len(pairs)), pairs[:, 0].astype(np.int64)] = pairs[:, 1]
        answers = asked.ask(alone)
        each = np.where(answers.known, answers.micro.astype(np.float64), np.inf)
        total = np.bincount(question, weights=each[place.ravel()], minlength=len(lots))
        return np.asarray(total, dtype=np.float64)


@dataclass
class Search:
    """Moves of lots between venues; a state is [venue, instrument]."""

    books: Books
    rules: MoveRules
    enumerate_max: int

    @cached_property
    def start(self) -> Float64:
        """What stands at venues now."""
        return np.asarray(self.books.lots[:-1])

    @cached_property
    def loose(self) -> Float64:
        """[instrument] what stands nowhere yet."""
        return np.asarray(self.books.lots[-1])

    @cached_property
    def free(self) -> Bool:
        """[instrument] whether what stands at a venue may move."""
        fixed = self.rules.fixed
        return np.array([
            not any(fnmatchcase(name, pattern) for pattern in fixed) for name in self.books.symbols
        ])  # fmt: skip

    def moved(self, state: Float64) -> float:
        """Dollars of notional that left a venue to get here."""
        left = np.abs(self.start - state).sum(axis=0) - np.abs(self.loose)
        return float((np.maximum(left, 0.0) / 2.0) @ self.books.notional)

    def cost(self, state: Float64) -> float:
        """Millionths of a dollar."""
        return float(np.ceil(self.moved(state) * self.rules.move_bps * 1e-4 * MICRO))

    def key(self, state: Float64, needed: Float64) -> Key:
        """(venues of which it is not known, what breaks a limit, requirement and cost): the least
        is the best. What is not known counts in the first alone, so that the rest stays finite."""
        unknown = int((~np.isfinite(needed)).sum())
        needed = np.where(np.isfinite(needed), needed, 0.0)
        over = 0.0
        for at, place in enumerate(self.books.places):
            if place.margin_max is not None:
                over += max(0.0, float(needed[at]) - place.margin_max * MICRO)
        if self.rules.moved_max is not None:
            over += max(0.0, self.moved(state) - self.rules.moved_max) * MICRO
        return unknown, over, float(needed.sum()) + self.cost(state)

    def needed(self, state: Float64) -> Float64:
        """[venue] requirements of a state."""
        return np.array([
            float(self.books.required(at, state[at : at + 1])[0]) for at in range(len(state))
        ])  # fmt: skip

    def best(self) -> tuple[Float64, str]:
        """The best state, and how it was found. Raises BadInput where a limit is broken or a
        venue's requirement is not known however the book is placed."""
        every = self._enumerated()
        starts = [*([every] if every is not None else []), *self._starts()]
        starts.sort(key=lambda state: self.key(state, self.needed(state)))
        ended = [self._descended(start) for start in starts[:_STARTS_MAX]]
        best = min(ended, key=lambda one: one[0])
        if best[0][0] or best[0][1] > 0.5:
            raise self._broken(best[1])
        how = "every whole placing was tried, then parts" if every is not None else "steps"
        return best[1], how

    def _broken(self, state: Float64) -> BadInput:
        needed = self.needed(state)
        for at, place in enumerate(self.books.places):
            if not np.isfinite(needed[at]):
                expected = "a venue whose rulebook margins what has to stand there"
                return wrong("allocate", f"places.{place.name}", expected, "a margin not known")
        for at, place in enumerate(self.books.places):
            if place.margin_max is not None and needed[at] > place.margin_max * MICRO:
                found = f"{needed[at] / MICRO:,.2f} dollars at least, however the book is placed"
                name = f"places.{place.name}.margin_max"
                return wrong(
                    "allocate", name, f"a requirement up to {place.margin_max:,.2f}", found
                )
        found = f"{self.moved(state):,.2f} dollars"
        return wrong(
            "allocate", "moved_max", f"moves up to {self.rules.moved_max:,.2f} dollars", found
        )

    def _starts(self) -> list[Float64]:
        """States to begin with: as it stands, and all at one venue."""
        count = len(self.books.places)
        found = [self._filled(self.start.copy(), at) for at in range(count)]
        for at in range(count):
            state = self.start.copy()
            for i in np.flatnonzero(self.free & self.books.listed[at]).tolist():
                total = state[:, i].sum()
                state[:, i] = 0.0
                state[at, i] = total
            found.append(self._filled(state, at))
        return found

    def _filled(self, state: Float64, at: int) -> Float64:
        """The state with what stands nowhere put at a venue, or the first that lists it."""
        for i in np.flatnonzero(self.loose).tolist():
            listed = self.books.listed[:, i]
            state[at if listed[at] else int(np.flatnonzero(listed)[0]), i] += self.loose[i]
        return state

    def _enumerated(self) -> Float64 | None:
        """The best placing of whole positions; None where there are too many."""
        whole = self.start.sum(axis=0) + self.loose
        movable = np.flatnonzero((self.free & (whole != 0.0)) | (self.loose != 0.0))
        ways = [np.flatnonzero(self.books.listed[:, i]).tolist() for i in movable.tolist()]
        total = 1
        for one in ways:
            total *= len(one)
        if total > self.enumerate_max:
            return None
        states = np.repeat(self.start[None], total, axis=0)
        for n, chosen in enumerate(product(*ways)):
            for i, at in zip(movable.tolist(), chosen, strict=True):
                if self.free[i]:
                    states[n, :, i] = 0.0
                    states[n, at, i] = whole[i]
                else:
                    states[n, at, i] += self.loose[i]
        needed = np.column_stack([
            self.books.required(at, states[:, at]) for at in range(states.shape[1])
        ])  # fmt: skip
        keys = [self.key(state, one) for state, one in zip(states, needed, strict=True)]
        return np.asarray(states[min(range(total), key=lambda n: keys[n])])

    def _descended(self, state: Float64) -> tuple[Key, Float64]:
        """The state after every move that helps."""
        needed = self.needed(state)
        key = self.key(state, needed)
        for _ in range(_ROUNDS_MAX):
            moves = self._moves(state)
            if len(moves) == 0:
                break
            best: tuple[Key, int] | None = None
            after = np.tile(needed, (len(moves), 1))
            for at in range(len(state)):
                touched = np.flatnonzero((moves[:, at] != state[at]).any(axis=1))
                if len(touched):
                    after[touched, at] = self.books.required(at, moves[touched, at])
            for n in range(len(moves)):
                one = self.key(moves[n], after[n])
                if one < (best[0] if best else key):
                    best = one, n
            if best is None:
                break
            enough = best[0][:2] == key[:2] and key[2] - best[0][2] < _WORTH_IT * key[2]
            key, n = best
            state, needed = moves[n], after[n]
            if enough:
                break
        return key, state

    def _moves(self, state: Float64) -> Float64:
        """States one move away: parts of a position, or all of an underlying, elsewhere."""
        found = []
        for i in np.flatnonzero(self.free | (self.loose != 0.0)).tolist():
            stays = np.zeros(len(state)) if self.free[i] else self.start[:, i]
            for v in np.flatnonzero(state[:, i] - stays).tolist():
                held = state[v, i] - stays[v]
                parts = {np.sign(held) * np.ceil(abs(held) * part) for part in _PARTS}
                for w in np.flatnonzero(self.books.listed[:, i]).tolist():
                    found += [
                        self._shift(state, [i], v, w, [lots])
                        for lots in sorted({*parts, np.sign(held)})
                        if w != v
                    ]
        return np.array([*found, *self._together(state)]).reshape(-1, *state.shape)

    def _together(self, state: Float64) -> list[Float64]:
        """Everything of an underlying that may go from one venue to another."""
        found = []
        names = np.array(self.books.underlying)
        for name in np.unique(names):
            for v, w in product(range(len(state)), repeat=2):
                mine = (names == name) & self.free & self.books.listed[w] & (state[v] != 0.0)
                chosen = np.flatnonzero(mine).tolist()
                if v != w and len(chosen) > 1:
                    found.append(self._shift(state, chosen, v, w, state[v, chosen].tolist()))
        return found

    def _shift(
        self, state: Float64, of: list[int], v: int, w: int, lots: Sequence[float]
    ) -> Float64:
        moved = state.copy()
        moved[v, of] -= lots
        moved[w, of] += lots
        return moved
