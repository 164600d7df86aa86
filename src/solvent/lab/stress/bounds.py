"""A proof that no move nearer than so far breaks a goal: equity bounded over boxes of moves.

At a fixed strike every future, call and put is worth a monotone function of its underlying's price
alone and of its surface's level alone, in dollars, linear or inverse. Over a box (prices and levels
between bounds) it is therefore worth its least at one of the box's corners. A book is bounded below
by the sum of its positions' least corners, and as it parts into its underlyings (collateral in
coins is one more linear position), corners of a grid per underlying bound every box of the whole
space. Equity that stays above a goal's threshold there proves the box; the others are halved, the
nearest first, down to cells of the grid.

What it needs: rulebooks of scans (their equity is what positions and collateral are worth, haircuts
taken), futures and vanilla options that settle in dollars or in their own coin, joint moves of
prices and levels. For goals that a requirement decides (`liquidated`) there is no such bound.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from solvent.instruments import Kind
from solvent.lab.stress.factors import Moves
from solvent.lab.stress.shock import SHIFT_MAX, price_move
from solvent.lab.stress.subject import Group, Subject
from solvent.limits import VOL_MAX
from solvent.margining.assess import assess
from solvent.margining.rulebook import Rulebook
from solvent.market import Snapshot
from solvent.market.moved import moved, restricted
from solvent.risk import Book, publish
from solvent.scenarios import JointShocks, ScenarioSet
from solvent.units import MICRO, Float64, quanta_per_unit

Bool = NDArray[np.bool_]
BOXES_MAX: Final = 60_000
ASKED_MAX: Final = 60
"""Exact margins that are computed at cells which are not proved."""
_CELLS: Final = {(1, False): 4_096, (1, True): 384, (2, False): 1_024, (2, True): 160}
"""Cells of a price by (underlyings, whether levels move); more underlyings: 128."""
_LEVEL_CELLS: Final = 32
_CHUNK: Final = 2_048
_SWEEPS: Final = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What was proved.

    Attributes:
        nearest: no move nearer than this breaks the goal; None without a proof. complete: that is
            as far as the nearest breaking move that is known, or the whole reach.
        reason: why there is no proof. boxes: that were looked at. nearer: a failing move (in u)
            nearer than the best known before.
    """

    nearest: float | None
    complete: bool
    reason: str
    boxes: int
    nearer: Float64 | None = None


def prove(
    subject: Subject, moves: Moves, *, goal: str, considered: Bool, reach: float, best: float,
    fails: Callable[[Float64], bool],
) -> Proof:  # fmt: skip
    """Branch and bound over all moves, the nearest first, up to `best`.

    `fails` is asked at cells that cannot be proved: one that fails becomes the best known.
    """
    reason = why_not(subject, goal)
    if reason:
        return Proof(nearest=None, complete=False, reason=reason, boxes=0)
    # No box farther than the best known move matters, so the grid ends there.
    reach = min(reach, best)
    tables = [_Table(group, subject.market, moves, reach) for group in subject.groups]
    if wild := next((one.wild for one in tables if one.wild), ""):
        return Proof(nearest=None, complete=False, reason=wild, boxes=0)
    goals = _Threshold(subject, goal, considered)
    return _Walk(tables, goals, moves, best, fails).run()


def why_not(subject: Subject, goal: str) -> str:
    """Why a goal of a subject cannot be proved; "" where it can."""
    if goal == "liquidated":
        return "a requirement decides it, and requirements are not bounded"
    universe = subject.market.universe
    for row in subject.held.tolist():
        kind = Kind(int(universe.kind[row]))
        if kind not in (Kind.FUTURE, Kind.PERPETUAL, Kind.OPTION):
            return f"{universe.symbols[row]} is neither a future nor a call or put"
        settled = universe.settlements[universe.settlement[row]]
        own = universe.underlyings[universe.underlying[row]]
        if settled != own and settled in universe.underlyings:
            return f"{universe.symbols[row]} settles in another coin"
    if not all(isinstance(one.rulebook, Rulebook) for one in subject.groups):
        return "its rulebook's formulas decide what equity is"
    if any(bool(one.unlisted.any()) for one in subject.groups):
        return "somebody holds what the market does not have"
    return ""


class _Threshold:
    """When a lower bound of equities proves a goal."""

    def __init__(self, subject: Subject, goal: str, considered: Bool) -> None:
        now = subject.now
        self.fund = subject.fund_micro / MICRO if goal == "fund" else None
        self.considered = considered
        least = np.zeros(len(now))
        if goal == "margin":
            least = (now.equity_micro - now.initial_micro) / MICRO
        self.least = least

    def proves(self, low: Float64) -> bool:
        if self.fund is not None:
            return float(np.maximum(-low[self.considered], 0.0).sum()) <= self.fund
        return bool((low >= self.least)[self.considered].all())


# ── what a group is worth on grids ───────────────────────────────────────────────────────────────


class _Table:
    """Equity of a group's accounts as a constant and, per underlying, sums over positions on a grid
    of (price, level)."""

    def __init__(self, group: Group, market: Snapshot, moves: Moves, reach: float) -> None:
        self.accounts = len(group.books.book)
        self.wild = ""
        names = list(dict.fromkeys(one.underlying for one in moves.coordinates))
        self.axes = [_axes(name, moves, reach, len(names)) for name in names]
        self.constant, slopes = _collateral(group, market)
        plan = group.plan(market)
        book, arrays = group.books.book, plan.arrays
        universe, row = arrays.universe, group.books.book.instrument
        option = universe.is_option[row]
        quanta = np.array([quanta_per_unit(one) for one in universe.settlements])
        entry = book.entry_value / quanta[universe.settlement[row]]
        gain = np.where(option, 0.0, book.entry_lots * arrays.units["worth"][row] - entry)
        price = np.array([arrays.price_of(one) for one in universe.settlements])
        dollars = price[universe.settlement[row]]
        # Of a market that has not moved marks are the source's, after any move the model's.
        apart = np.abs(arrays.units["value"] - arrays.model_units)[row] * option
        marks = np.abs(book.lots) * apart * dollars
        rounded = 2.0 / quanta[universe.settlement[row]] * dollars
        self.constant -= _sums(self.accounts, book.account, rounded) + 1e-4
        self.parts = []
        for place, name in enumerate(names):
            code = universe.underlyings.index(name)
            mine = universe.underlying[row] == code
            coin = mine & (universe.settlement[row] == _settlement(universe.settlements, name))
            cash = _sums(self.accounts, book.account, np.where(coin, gain * dollars, 0.0))
            slack = _sums(self.accounts, book.account, np.where(mine, marks, 0.0))
            part = _Part(group, market, name, self.axes[place], cash + slopes[code], slack)
            self.wild = self.wild or part.wild
            self.parts.append(part)
        # What stands still: gains in dollars, coins and positions of underlyings without an axis.
        moving = np.array([name in names for name in universe.underlyings])
        in_coin = (
            universe.settlement[row]
            == np.array([_settlement(universe.settlements, one) for one in universe.underlyings])[
                universe.underlying[row]
            ]
        )
        steady = np.where(in_coin & moving[universe.underlying[row]], 0.0, gain * dollars)
        idle = option & ~moving[universe.underlying[row]]
        steady += np.where(idle, book.lots * arrays.units["value"][row] * dollars, 0.0)
        self.constant += _sums(self.accounts, book.account, steady)
        for code, name in enumerate(universe.underlyings):
            if name not in names:
                self.constant += slopes[code]

    def low(self, boxes: Sequence[tuple[int, int, int, int]]) -> Float64:
        """[account] equity is never below this in a box, told by underlying as (price from, to,
        level from, to)."""
        found = self.constant.copy()
        for part, box in zip(self.parts, boxes, strict=True):
            found += part.low(box)
        return found


def _settlement(names: Sequence[str], asset: str) -> int:
    return names.index(asset) if asset in names else -1


def _sums(accounts: int, account: NDArray[np.int32], amounts: Float64) -> Float64:
    return np.bincount(account, weights=amounts, minlength=accounts).astype(np.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Axes:
    """The grid of an underlying: log moves of its price and shifts of its level, and which
    coordinates these are (−1 for a level that stands)."""

    spot: Float64
    level: Float64
    spot_at: int
    level_at: int


def _axes(name: str, moves: Moves, reach: float, count: int) -> _Axes:
    at = {(one.underlying, one.part): k for k, one in enumerate(moves.coordinates)}
    sd = moves.deviations
    spot_at, level_at = at[name, "spot"], at.get((name, "level"), -1)
    cells = _CELLS.get((count, level_at >= 0), 128)
    spot = np.linspace(-reach * sd[spot_at], reach * sd[spot_at], cells + 1)
    level = np.zeros(1)
    if level_at >= 0:
        level = np.linspace(-reach * sd[level_at], reach * sd[level_at], _LEVEL_CELLS + 1)
    return _Axes(spot=spot, level=level, spot_at=spot_at, level_at=level_at)


def _collateral(group: Group, market: Snapshot) -> tuple[Float64, list[Float64]]:
    """[account] dollars of collateral that never move, and by underlying those that move with it.

    It is linear in each price, so that two markets tell it.
    """
    book = group.books.book
    count = len(book)
    empty = Book(
        accounts=book.accounts, first=np.zeros(count + 1, dtype=np.int64),
        instrument=np.zeros(0, dtype=np.int32), lots=np.zeros(0), entry_lots=np.zeros(0),
        entry_value=np.zeros(0),
    )  # fmt: skip

    def held(there: Snapshot) -> Float64:
        found = assess(group.plan(there), empty, balances=group.books.balances)
        return np.asarray(found.equity_micro / MICRO)

    here = held(market)
    slopes = [held(moved(market, {name: 2.0})) - here for name in market.universe.underlyings]
    return here - np.sum(slopes, axis=0), slopes


class _Part:
    """One underlying of a group: what its positions are worth at the nodes of its grid."""

    def __init__(
        self, group: Group, market: Snapshot, name: str, axes: _Axes, coins: Float64,
        slack: Float64,
    ) -> None:  # fmt: skip
        self.axes, self.coins, self.slack = axes, coins, slack
        self.growth = np.array([1.0 + price_move(x) for x in axes.spot.tolist()])
        self._found: dict[tuple[int, int, int, int], Float64] = {}
        book = group.books.book
        universe = market.universe
        code = universe.underlyings.index(name)
        rows = np.flatnonzero(universe.underlying == code)
        self.wild = ""
        small = restricted(market, rows.tolist())
        peak = float(small.vol.max(initial=0.0)) * math.exp(min(float(axes.level[-1]), SHIFT_MAX))
        if peak > VOL_MAX:
            self.wild = f"volatilities of {name} beyond what can be priced"
        self.value = _values(group, small, name, axes, self.growth)
        at = np.full(len(universe), -1, dtype=np.int64)
        for place, symbol in enumerate(small.universe.symbols):
            whole = universe.row(symbol)
            assert whole is not None
            at[whole] = place
        mine = np.flatnonzero(universe.underlying[book.instrument] == code)
        column = at[book.instrument[mine]]
        shape = (len(book), len(small.universe))
        lots = book.lots[mine]
        owner = book.account[mine]
        self.long = csr_matrix((np.maximum(lots, 0.0), (owner, column)), shape=shape)
        self.short = csr_matrix((np.maximum(-lots, 0.0), (owner, column)), shape=shape)

    def low(self, box: tuple[int, int, int, int]) -> Float64:
        """[account] the least that its positions and coins come to in a box."""
        if box not in self._found:
            a, b, c, d = box
            width = len(self.axes.level)
            corners = self.value[:, [a * width + c, a * width + d, b * width + c, b * width + d]]
            ends = np.stack([self.coins * self.growth[a], self.coins * self.growth[b]])
            worth = self.long @ corners.min(axis=1) - self.short @ corners.max(axis=1)
            low = worth + ends.min(axis=0)
            spot, level = self.axes.spot, self.axes.level
            if spot[a] <= 0.0 <= spot[b] and level[c] <= 0.0 <= level[d]:
                low -= self.slack
            self._found[box] = low
        return self._found[box]


def _values(group: Group, market: Snapshot, name: str, axes: _Axes, growth: Float64) -> Float64:
    """[instrument, price × level] dollars per lot: of an option what it is worth, of a future what
    it gains from now on."""
    assert isinstance(group.rulebook, Rulebook)
    spot = np.repeat(growth - 1.0, len(axes.level))
    level = np.tile(np.clip(axes.level, -SHIFT_MAX, SHIFT_MAX), len(axes.spot))
    found = []
    for start in range(0, len(spot), _CHUNK):
        part = slice(start, start + _CHUNK)
        arrays = publish(
            market, sets=[_set(name, spot[part], level[part])], rules={},
            tables=group.rulebook.tables,
        )  # fmt: skip
        option = arrays.universe.is_option[:, None]
        base = np.where(option, arrays.model_units[:, None], 0.0)
        units = base + arrays.pnl_units[:, : arrays.scenarios]
        settled = arrays.universe.settlement == _settlement(arrays.universe.settlements, name)
        price = float(arrays.index[arrays.universe.underlyings.index(name)])
        factor = np.where(settled[:, None], price * (1.0 + spot[part]), 1.0)
        found.append(units * factor)
    return np.concatenate(found, axis=1)


def _set(name: str, spot: Float64, level: Float64) -> ScenarioSet:
    still = np.zeros((1, len(spot)))
    told = JointShocks(
        name="grid", underlyings=(name,), move=spot[None, :], level=level[None, :], skew=still,
        term=still, basis=still, weight=np.full(len(spot), 1.0 / len(spot)),
        time_ms=np.zeros(len(spot), dtype=np.int64),
    )  # fmt: skip
    return ScenarioSet(name="grid", joint="grid", told=told)


# ── the walk ─────────────────────────────────────────────────────────────────────────────────────

Box = tuple[tuple[int, int], ...]
"""From and to by axis, in cells; axes are prices and levels of the underlyings in turn."""


class _Walk:
    def __init__(
        self, tables: Sequence[_Table], goal: _Threshold, moves: Moves, best: float,
        fails: Callable[[Float64], bool],
    ) -> None:  # fmt: skip
        self.tables, self.goal, self.best, self.fails = tables, goal, best, fails
        self.root = moves.root()
        self.precision: Float64 = np.asarray(np.linalg.inv(moves.covariance), dtype=np.float64)
        self.sd = moves.deviations
        self.axes = tables[0].axes
        self.nearer: Float64 | None = None
        self.unproved = math.inf
        self.asked = 0

    def run(self) -> Proof:
        """Take boxes in the order of how near they come, until none is nearer than the best."""
        first: Box = tuple(
            pair for one in self.axes
            for pair in ((0, len(one.spot) - 1), (0, len(one.level) - 1))
        )  # fmt: skip
        heap: list[tuple[float, int, Box]] = [(0.0, 0, first)]
        taken, pushed = 0, 0
        while heap and taken < BOXES_MAX:
            distance, _, box = heap[0]
            if distance >= self.best or self.asked >= ASKED_MAX:
                break
            heapq.heappop(heap)
            taken += 1
            if self._safe(box):
                continue
            halves = self._halves(box)
            if not halves:
                self._ask(distance, box)
            for half in halves:
                pushed += 1
                heapq.heappush(heap, (self._distance(half)[0], pushed, half))
        frontier = heap[0][0] if heap else math.inf
        nearest = min(self.best, self.unproved, frontier)
        return Proof(
            nearest=nearest, complete=nearest >= self.best, reason="", boxes=taken,
            nearer=self.nearer,
        )  # fmt: skip

    def _safe(self, box: Box) -> bool:
        by_name = [(*box[k], *box[k + 1]) for k in range(0, len(box), 2)]
        low = np.concatenate([one.low(by_name) for one in self.tables])
        return self.goal.proves(low)

    def _ask(self, distance: float, box: Box) -> None:
        """A cell that is not proved: ask at its nearest move."""
        self.asked += 1
        _, x = self._distance(box)
        u: Float64 = np.asarray(np.linalg.solve(self.root, x), dtype=np.float64)
        if float(np.linalg.norm(u)) < self.best and self.fails(u):
            self.best, self.nearer = float(np.linalg.norm(u)), u
        else:
            self.unproved = min(self.unproved, distance)

    def _halves(self, box: Box) -> list[Box]:
        """The box cut across its widest side; nothing of a single cell."""
        widths = []
        for place, (low, high) in enumerate(box):
            axes = self.axes[place // 2]
            nodes, at = (axes.spot, axes.spot_at) if place % 2 == 0 else (axes.level, axes.level_at)
            wide = (nodes[high] - nodes[low]) / self.sd[at] if high - low > 1 else 0.0
            widths.append(float(wide))
        widest = int(np.argmax(widths))
        if widths[widest] == 0.0:
            return []
        low, high = box[widest]
        middle = (low + high) // 2
        return [
            (*box[:widest], part, *box[widest + 1 :]) for part in ((low, middle), (middle, high))
        ]

    def _distance(self, box: Box) -> tuple[float, Float64]:
        """A lower bound of the distance of all moves in a box, and its nearest move (nearly)."""
        count = len(self.sd)
        low, high = np.zeros(count), np.zeros(count)
        for place, (start, end) in enumerate(box):
            axes = self.axes[place // 2]
            nodes, at = (axes.spot, axes.spot_at) if place % 2 == 0 else (axes.level, axes.level_at)
            if at >= 0:
                low[at], high[at] = nodes[start], nodes[end]
        return nearest_in_box(self.precision, low, high)


def nearest_in_box(precision: Float64, low: Float64, high: Float64) -> tuple[float, Float64]:
    """min √(xᵀQx) for low ≤ x ≤ high, never above the true minimum, and where it (nearly) is.

    Coordinate descent finds x; since xᵀQx is convex, its tangent there bounds it over the box.

    >>> nearest_in_box(np.eye(2), np.array([1.0, -1.0]), np.array([3.0, 2.0]))
    (1.0, array([1., 0.]))
    """
    x = np.clip(np.zeros_like(low), low, high)
    for _ in range(_SWEEPS):
        before = x.copy()
        for k in range(len(x)):
            rest = float(precision[k] @ x) - precision[k, k] * x[k]
            x[k] = min(max(-rest / precision[k, k], low[k]), high[k])
        if bool((np.abs(x - before) <= 1e-12 * (np.abs(high) + np.abs(low))).all()):
            break
    slope = 2.0 * (precision @ x)
    value = float(x @ precision @ x)
    bound = value + float(np.minimum(slope * (low - x), slope * (high - x)).sum())
    return math.sqrt(max(bound, 0.0)), x + 0.0
