"""Whole lots that lower a requirement: proposed by a program, tried out exactly, improved by steps.

Every number that is compared here is a requirement in millionths of a dollar as the rulebook gives
it for whole lots. Nothing is drawn by lot and no clock is read but the solver's own limit, so that
the same question has the same answer wherever the solver ends in time.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import product
from typing import Final

import numpy as np
from numpy.typing import NDArray

from solvent.lab.capital.program import Ending, Program, Solved
from solvent.lab.capital.remargin import Remargin
from solvent.lab.capital.scenario_part import Model, model_of
from solvent.lab.capital.trades import Tradable
from solvent.units import MICRO, Float64

Int64 = NDArray[np.int64]
_REACH: Final = 10.0
"""Where nothing else limits a trade: so many times the gross notional of the book."""
TINY_COST: Final = 1e-6
"""Of two trades that free the same, the cheaper one: dollars of margin per dollar of cost."""
_SIZES: Final = 14
_ALONE_AT_ONCE: Final = 64
_CANDIDATES: Final = 24
"""Of the instruments that free most alone, those that steps are tried in besides what is traded."""
_FEW: Final = 128
"""Instruments of a program in place of one over all that did not end in time."""
_PAIRS_MAX: Final = 6
_SWEEPS_MAX: Final = 40
_SLOW: Final = 1e-4
"""A sweep that gains less than this part of the requirement is slow."""
_SLOW_MAX: Final = 8
"""Slow sweeps after which steps are made smaller, or the search ends."""
_ATTEMPTS: Final = 3
"""Times that a model whose target misses is asked for more."""
ENUMERATED_MAX: Final = 4_096


@dataclass(frozen=True)
class Goal:
    """What is wanted: the most margin freed for `budget`, or `target` for the least cost.

    Millionths of a dollar. With both, the target must be reached within the budget.
    """

    budget: int | None = None
    target: int | None = None
    trades_max: int | None = None


@dataclass(frozen=True)
class Found:
    """Whole lots [trade], and what the rulebook asks for with them."""

    lots: Int64
    requirement: int
    cost: int
    how: str


@dataclass
class Search:
    """One account, instruments that may be traded, and a goal."""

    asked: Remargin
    trades: Tradable
    goal: Goal
    places: Int64 = field(init=False)
    before: int = field(init=False)
    most: Float64 = field(init=False)
    """[side, trade] lots that a side can use: its limit, the budget, or the book's own size."""

    def __post_init__(self) -> None:
        self.places = np.searchsorted(self.asked.rows, self.trades.row)
        self.before = int(self.asked.now().micro[0])
        told = np.stack([self.trades.buy_most, self.trades.sell_most]).astype(np.float64)
        cost = np.stack([self.trades.buy_micro, self.trades.sell_micro]).astype(np.float64)
        if self.goal.budget is not None:
            with np.errstate(divide="ignore"):
                told = np.minimum(told, np.where(cost > 0, self.goal.budget // cost, np.inf))
        notional = self.asked.plan.arrays.units["notional"][self.asked.rows]
        gross = float(np.abs(self.asked.lots * notional).sum())
        with np.errstate(divide="ignore", invalid="ignore"):
            reach = np.ceil(_REACH * gross / self.trades.notional) + 1.0
        self.most = np.minimum(told, np.where(np.isfinite(reach), reach, 1.0))

    # ── what the rulebook says ───────────────────────────────────────────────────────────────

    def requirements(self, lots: Float64) -> Float64:
        """[question] requirements with trades [question, trade]; infinite where not known."""
        held = np.tile(self.asked.lots, (len(lots), 1))
        held[:, self.places] += lots
        answers = self.asked.ask(held)
        return np.where(answers.known, answers.micro.astype(np.float64), np.inf)

    def found(self, lots: Float64, how: str) -> Found:
        """Trades with their exact requirement and cost."""
        whole = np.rint(lots)
        needed = self.requirements(whole[None, :])[0]
        needed = needed if np.isfinite(needed) else float(1 << 62)
        exact = whole.astype(np.int64)
        return Found(exact, int(needed), self.trades.cost_micro(exact), how)

    def allowed(self, lots: Float64) -> NDArray[np.bool_]:
        """[question] whether trades are within limits, budget and number."""
        good = ((lots <= self.most[0]) & (-lots <= self.most[1])).all(axis=1)
        if self.goal.budget is not None:
            good &= self.trades.costs_micro(lots) <= self.goal.budget
        if self.goal.trades_max is not None:
            good &= (lots != 0.0).sum(axis=1) <= self.goal.trades_max
        return np.asarray(good)

    def keys(self, needed: Float64, cost: Float64) -> Float64:
        """[question, 3] what is to be least, the first column first."""
        if self.goal.target is None:
            return np.column_stack([np.zeros(len(needed)), needed, cost])
        return np.column_stack([np.maximum(needed - self.goal.target, 0.0), cost, needed])

    def key(self, found: Found) -> tuple[float, ...]:
        """The same of one."""
        one = self.keys(np.array([float(found.requirement)]), np.array([float(found.cost)]))
        return tuple(one[0].tolist())

    # ── proposals ────────────────────────────────────────────────────────────────────────────

    def program(self, model: Model, target: float | None) -> tuple[Program, Int64]:
        """The program of a model, in dollars, and its columns of bought and of sold lots."""
        program, count = Program(), len(self.trades)
        whole = {"whole": True}
        buy = program.columns(count, upper=self.most[0], **whole)
        sell = program.columns(count, upper=self.most[1], **whole)
        net = program.columns(count, lower=-np.inf)
        for j in range(count):
            columns = np.array([net[j], buy[j], sell[j]])
            program.row(columns, [1.0, -1.0, 1.0], lower=0.0, upper=0.0)
        losses, factors = model.add_to(program, net)
        dollars = np.concatenate([self.trades.buy_micro, self.trades.sell_micro]) / MICRO
        sides = np.concatenate([buy, sell])
        if self.goal.budget is not None:
            program.row(sides, dollars, upper=self.goal.budget / MICRO)
        if self.goal.trades_max is not None:
            self._few(program, buy, sell)
        if target is None:
            program.price(losses, factors)
            program.price(sides, TINY_COST * dollars)
        else:
            program.row(losses, factors, upper=target - model.constant)
            program.price(sides, dollars)
        return program, sides

    def _few(self, program: Program, buy: Int64, sell: Int64) -> None:
        """No more than so many instruments."""
        assert self.goal.trades_max is not None
        used = program.columns(len(buy), upper=1.0, whole=True)
        for j in range(len(buy)):
            for side, most in ((buy, self.most[0]), (sell, self.most[1])):
                if most[j] > 0:
                    program.row(np.array([side[j], used[j]]), [1.0, -float(most[j])], upper=0.0)
        program.row(used, np.ones(len(used)), upper=float(self.goal.trades_max))

    def proposed(self, solved: Solved, sides: Int64) -> Float64:
        """Signed lots of a solution, not rounded."""
        count = len(self.trades)
        return np.asarray(solved.x[sides[:count]] - solved.x[sides[count:]])

    def singles(self) -> tuple[Found, Float64, NDArray[np.intp]]:
        """The best trade in one instrument, a good size of each, and instruments from the best."""
        count = len(self.trades)
        at, lots = self._sizes()
        nothing = self.found(np.zeros(count), "nothing")
        if len(at) == 0:
            return nothing, np.zeros(count), np.arange(count)
        key = self.keys(self.alone(at, lots), self._costs(at, lots))
        order = np.lexsort(key.T[::-1])
        ranked, first = np.unique(at[order], return_index=True)
        size = np.zeros(count)
        size[ranked] = lots[order[first]]
        rank = np.concatenate([ranked[np.argsort(first)], np.setdiff1d(np.arange(count), ranked)])
        best = nothing
        for j in rank[:4].tolist():
            start = np.zeros(count)
            start[j] = size[j]
            one = self.improved(self.found(start, "the best single trade"), np.array([j]), size)
            best = min(best, one, key=self.key)
        return best, size, rank

    def _sizes(self) -> tuple[NDArray[np.intp], Float64]:
        """[question] an instrument and signed lots of it, of every allowed instrument and side."""
        at: list[int] = []
        lots: list[float] = []
        for side, sign in ((0, 1.0), (1, -1.0)):
            for j in np.flatnonzero(self.most[side] >= 1.0).tolist():
                sizes = np.unique(np.rint(np.geomspace(1.0, self.most[side][j], _SIZES)))
                at += [j] * len(sizes)
                lots += (sign * sizes).tolist()
        where, size = np.array(at, dtype=np.intp), np.array(lots, dtype=np.float64)
        if self.goal.budget is None:
            return where, size
        paid = self._costs(where, size) <= self.goal.budget
        return where[paid], size[paid]

    def _costs(self, at: NDArray[np.intp], lots: Float64) -> Float64:
        """[question] what lots of one instrument cost."""
        trades = self.trades
        each = np.where(lots > 0.0, trades.buy_micro[at], trades.sell_micro[at])
        return np.asarray(np.abs(lots) * each)

    def alone(self, at: NDArray[np.intp], lots: Float64) -> Float64:
        """[question] requirements with lots of one instrument; infinite where not known."""
        needed = np.zeros(len(at))
        for first in range(0, len(self.trades), _ALONE_AT_ONCE):
            columns = np.arange(first, min(first + _ALONE_AT_ONCE, len(self.trades)))
            mine = np.flatnonzero((at >= first) & (at < first + _ALONE_AT_ONCE))
            if len(mine):
                asked = np.zeros((len(mine), len(columns)))
                asked[np.arange(len(mine)), at[mine] - first] = lots[mine]
                needed[mine] = self.narrowed(columns).requirements(asked)
        return needed

    def narrowed(self, columns: NDArray[np.intp]) -> Search:
        """The same with these trades alone, so that a question is as long as they are many."""
        held = np.flatnonzero(self.asked.lots)
        places = np.union1d(held, self.places[columns])
        return Search(self.asked.only(places), self.trades.only(columns), self.goal)

    # ── steps ────────────────────────────────────────────────────────────────────────────────

    def improved(self, start: Found, candidates: NDArray[np.intp], size: Float64) -> Found:
        """The start, bettered lot by lot: one instrument at a time, or one against another.

        Only candidates are traded, and what the start trades is among them.
        """
        few = self.narrowed(candidates)
        lots = np.zeros(len(self.trades))
        lots[candidates] = few._stepped(
            start.lots[candidates].astype(np.float64), size[candidates], self.key(start)
        )
        return self.found(lots, start.how)

    def _stepped(self, lots: Float64, size: Float64, key: tuple[float, ...]) -> Float64:
        """Steps begin at a quarter of what is traded and are made smaller wherever none helps."""
        step = np.maximum(1.0, np.floor(np.maximum(np.abs(lots), np.abs(size)) / 4.0))
        slow = 0
        for _ in range(_SWEEPS_MAX):
            tried = self._moves(lots, step)
            tried = tried[self.allowed(tried)]
            if len(tried):
                keys = self.keys(self.requirements(tried), self.trades.costs_micro(tried))
                best = int(np.lexsort(keys.T[::-1])[0])
                if tuple(keys[best].tolist()) < key:
                    gained = sum(key) - float(keys[best].sum())
                    slow += gained < _SLOW * self.before
                    lots, key = tried[best], tuple(keys[best].tolist())
                    if slow < _SLOW_MAX:
                        continue
            if bool((step == 1.0).all()):
                break
            slow = 0
            step = np.maximum(1.0, np.floor(step / 4.0))
        return lots

    def _moves(self, lots: Float64, step: Float64) -> Float64:
        """Trades a step away: more or less of one, one for another, one given up."""
        held = np.flatnonzero(lots)
        singles = np.concatenate([np.diag(step), -np.diag(step)])
        given_up = -np.diag(lots)[held]
        pairs = [singles, given_up]
        for i in held[:_PAIRS_MAX].tolist():
            less = np.zeros(len(lots))
            less[i] = -np.sign(lots[i]) * min(step[i], abs(lots[i]))
            pairs += [singles + less, singles - less]
        moved = lots + np.concatenate(pairs)
        return np.asarray(moved[(moved != lots).any(axis=1)])

    def enumerated(self, most: int = ENUMERATED_MAX) -> Found | None:
        """The best of every whole trade there is within the reach of the search (`most`), where
        there are few enough; else None. Instruments of which no lot can be traded are left out."""
        sides = np.floor(self.most).astype(np.int64).T.tolist()
        total = 1
        for buy, sell in sides:
            total *= buy + sell + 1
            if total > most:
                return None
        moving = [j for j, (buy, sell) in enumerate(sides) if buy + sell > 0]
        every = np.zeros((total, len(sides)))
        spans = [range(-sides[j][1], sides[j][0] + 1) for j in moving]
        every[:, moving] = np.array(list(product(*spans))).reshape(total, len(moving))
        every = every[self.allowed(every)]
        keys = self.keys(self.requirements(every), self.trades.costs_micro(every))
        how = f"every whole trade within {_REACH:g} times the book's notional was tried"
        return self.found(every[int(np.lexsort(keys.T[::-1])[0])], how)


@dataclass(frozen=True)
class Searched:
    """The best that was found, and what is known of better ones.

    Attributes:
        relaxed: the linear program of the model, over fractions of lots. whole: over whole lots.
        single: the best trade in one instrument. stepped: in how many instruments steps were tried.
    """

    best: Found
    single: Found
    model: Model
    relaxed: Solved | None
    whole: Solved | None
    stepped: int


def searched(search: Search, model: Model, *, seconds: float, enumerate_max: int) -> Searched:
    """Propose by the model, try out exactly, improve by steps."""
    single, size, rank = search.singles()
    every = search.enumerated(enumerate_max)
    relaxed, whole, starts = _by_model(search, model, seconds)
    if every is not None:
        return Searched(every, single, model, relaxed, whole, len(search.trades))
    if relaxed is not None and relaxed.ending is Ending.TIME_LIMIT:
        starts += _by_few(search, np.sort(rank[:_FEW]), seconds)
    nothing = search.found(np.zeros(len(search.trades)), "nothing")
    pool = sorted([*starts, single, nothing], key=search.key)
    best = pool[0]
    stepped: set[int] = set()
    for start in pool[:2]:
        used = np.flatnonzero(start.lots)
        candidates = np.unique(np.concatenate([used, rank[:_CANDIDATES]]))
        stepped.update(candidates.tolist())
        better = search.improved(start, candidates, size)
        if search.key(better) < search.key(start):
            better = replace(better, how=f"from {start.how}, bettered lot by lot")
        best = min(best, better, key=search.key)
    return Searched(best, single, model, relaxed, whole, len(stepped))


def _by_few(search: Search, columns: NDArray[np.intp], seconds: float) -> list[Found]:
    """Starts of a program over some instruments, where that over all of them is too slow. What it
    says is no bound of anything."""
    if len(columns) == len(search.trades):
        return []
    few = search.narrowed(columns)
    model = model_of(few.asked, few.places).right_at(few.before / MICRO)
    starts = []
    for one in _by_model(few, model, seconds)[2]:
        lots = np.zeros(len(search.trades), dtype=np.int64)
        lots[columns] = one.lots
        how = f"a program over the {len(columns)} instruments that free most alone"
        starts.append(Found(lots, one.requirement, one.cost, how))
    return starts


def _by_model(
    search: Search, model: Model, seconds: float
) -> tuple[Solved | None, Solved | None, list[Found]]:
    """Starts that the model proposes; where its target misses, it is asked for more."""
    if not model.blocks:
        return None, None, []
    starts: list[Found] = []
    goal = search.goal.target
    target = None if goal is None else goal / MICRO
    relaxed = whole = None
    for _ in range(_ATTEMPTS):
        program, sides = search.program(model, target)
        linear = program.solve(seconds=seconds)
        relaxed = relaxed or linear
        if linear.ending is not Ending.OPTIMAL:
            break
        start = program.rounded(linear.x, up=goal is not None)
        mixed = program.solve(whole=True, seconds=seconds / _ATTEMPTS, gap=1e-4, start=start)
        whole = whole or mixed
        fresh = _whole_lots(search, [one for one in (linear, mixed) if one.found], sides)
        starts += fresh
        if goal is None or target is None or any(one.requirement <= goal for one in fresh):
            break
        short = min((one.requirement for one in fresh), default=goal) - goal
        if short <= 0:
            break
        target -= short / MICRO
    return relaxed, whole, starts


def _whole_lots(search: Search, solutions: list[Solved], sides: Int64) -> list[Found]:
    """Solutions as whole lots, rounded every way, as far as they are allowed."""
    tried = []
    for solved in solutions:
        lots = search.proposed(solved, sides)
        tried += [np.trunc(lots), np.rint(lots), np.sign(lots) * np.ceil(np.abs(lots) - 1e-6)]
    return [search.found(one, "the program") for one in tried if search.allowed(one[None, :])[0]]
