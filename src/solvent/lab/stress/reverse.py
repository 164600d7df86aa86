"""Reverse stress: the smallest plausible move that breaks something.

A move x of prices (and surface levels) is as far as its Mahalanobis distance √(xᵀ Σ⁻¹ x) under the
covariance Σ of a history: a move of all coins together is nearer than one that parts them. Wanted
is the nearest x at which a goal fails: an account is liquidated, has less than nothing, loses more
than its margin, or shortfalls of all exceed the fund.

With x = L·u, Σ = L·Lᵀ, distance is |u|. Along rays from 0 the first failing radius is bracketed in
steps and found as a root of the goal's own number, by a full re-margin each time; the nearest rays
are refined (towards the gradient, then by probes about the ray). Where equity can be bounded over
boxes of moves (`bounds`) a branch and bound then goes over all moves, the nearest first: it either
finds a nearer one or proves that there is none nearer than it says.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import ndtri

from solvent.errors import BadInput, Problem, Reject, check
from solvent.lab.stress.bounds import Proof, prove, why_not
from solvent.lab.stress.closing import closing_costs, costs_told
from solvent.lab.stress.factors import Moves
from solvent.lab.stress.shock import Shock
from solvent.lab.stress.subject import Stand, Subject
from solvent.margining.liquidity import CoinLiquidity
from solvent.units import MICRO, Float64

REACH: Final = 12.0
"""How far is looked, in deviations."""
_STEP: Final = 0.5
_PROBES: Final = (0.4, 1e-3)
"""First and last angle of the probes about the best ray."""
_BACK: Final = (1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3)
"""How far back from a failing move it is looked for where its ray still holds."""
_NEARER: Final = 1e-3
_BEYOND: Final = 1e-9


class Goal(StrEnum):
    """What is to break."""

    LIQUIDATED = "liquidated"
    """An account falls below maintenance, by its rulebook's own condition."""
    INSOLVENT = "insolvent"
    """An account's equity falls below nothing."""
    MARGIN = "margin"
    """An account loses more than the initial margin that it must hold now."""
    FUND = "fund"
    """Shortfalls of all accounts exceed the fund."""


class Found(StrEnum):
    """How a search ended."""

    MOVE = "move"
    NONE = "none"
    """Nothing within reach."""
    ALREADY = "already"
    """It is broken now."""
    UNKNOWN = "unknown"
    """What it needs is not known now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ray:
    """One direction that was searched: `distance` is where the goal first fails, None where it
    does not within reach (or not nearer than what had been found)."""

    log_move: Float64
    distance: float | None


@dataclass(frozen=True, kw_only=True)
class Reversal:
    """The nearest move that breaks a goal.

    Attributes:
        moves: the coordinates and their covariance. log_move: [coordinate], None without a move.
        distance: Mahalanobis distance of it, in deviations. farther: how many windows of the
            history went as far or farther.
        proof: that there is none nearer, or why there is no proof. already: who fails now, so that
            it was left out. broken: who fails at the move. path: along the ray, share of the move →
            where those who break stand.
    """

    subject: Subject
    goal: Goal
    found: Found
    moves: Moves
    reach: float
    log_move: Float64 | None = None
    distance: float | None = None
    farther: int = 0
    proof: Proof
    already: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()
    rays: tuple[Ray, ...] = ()
    path: tuple[tuple[float, Stand], ...] = ()
    asked: int = 0
    notes: tuple[str, ...] = field(default=())

    @property
    def shock(self) -> Shock:
        """The move as a shock; none where nothing was found."""
        if self.log_move is None:
            return Shock(name=f"reverse-{self.goal}")
        return Shock(name=f"reverse-{self.goal}", moves=self.moves.moves(self.log_move))

    def to_dict(self) -> dict[str, Any]:
        """Everything as one document; dollars."""
        shock = self.shock
        return {
            "goal": str(self.goal), "found": str(self.found), "distance": self.distance,
            "moves": {
                name: {"spot": one.spot, "level": one.level, "vol_factor": math.exp(one.level)}
                for name, one in shock.moves.items()
            },
            "proved": self.proof.nearest, "complete": self.proof.complete,
            "unproved_because": self.proof.reason or None, "boxes": self.proof.boxes,
            "reach": self.reach, "windows": len(self.moves.windows),
            "windows_as_far": self.farther, "margins_computed": self.asked,
            "deviations": {
                str(one): float(sd)
                for one, sd in zip(self.moves.coordinates, self.moves.deviations, strict=True)
            },
            "broken": list(self.broken), "left_out": list(self.already),
            "fund": self.subject.fund_micro / MICRO,
            "path": [_point(share, stand) for share, stand in self.path],
            "rays": [
                {"log_move": one.log_move.tolist(), "distance": one.distance} for one in self.rays
            ],
            "notes": [*self.subject.notes, *self.moves.notes, *self.notes],
        }  # fmt: skip


def _point(share: float, stand: Stand) -> dict[str, Any]:
    return {
        "share": share, "equity": int(stand.equity_micro.sum()) / MICRO,
        "initial_margin": int(stand.initial_micro.sum()) / MICRO,
        "maintenance_margin": int(stand.maintenance_micro.sum()) / MICRO,
        "liquidated": int(stand.liquidate.sum()),
        "shortfall": int(stand.shortfall_micro.sum()) / MICRO,
    }  # fmt: skip


# ── the goal as a number ─────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Condition:
    """A goal of a subject as a number of dollars: positive while it holds, NaN where not known.

    `considered` are accounts that do not fail it now, `untold` those that somewhere on the way
    close at a cost that is not known, and why.
    """

    subject: Subject
    goal: Goal
    liquidity: Sequence[CoinLiquidity] | None = None
    untold: dict[str, str] = field(default_factory=dict)

    @cached_property
    def considered(self) -> NDArray[np.bool_]:
        """[account] those that hold now."""
        now = self.subject.now
        if self.goal is Goal.FUND:
            return now.known
        with np.errstate(invalid="ignore"):
            return np.asarray(now.known & ~(self._each(now, self.subject.market) < 0.0))

    @property
    def already(self) -> tuple[str, ...]:
        """Accounts that fail it now."""
        gone = self.subject.now.known & ~self.considered
        return tuple(self.subject.names[k] for k in np.flatnonzero(gone).tolist())

    def of(self, stand: Stand, market: Any) -> float:
        """The number of a stand: the least of all that are considered."""
        each = self._each(stand, market)
        if self.goal is Goal.FUND:
            return self.subject.fund_micro / MICRO - float(np.nansum(each))
        mine = each[self.considered & stand.known]
        return float(mine.min()) if mine.size else math.nan

    def broken(self, stand: Stand, market: Any) -> tuple[str, ...]:
        """Who fails on a stand: of the fund, who is short."""
        each = self._each(stand, market)
        if self.goal is Goal.FUND:
            fails = stand.known & (each > 0.0)
        else:
            fails = self.considered & stand.known & (each < 0.0)
        order = np.argsort(each[fails] * (-1.0 if self.goal is Goal.FUND else 1.0), kind="stable")
        names = np.array(self.subject.names, dtype=object)[fails]
        return tuple(names[order].tolist())

    def _each(self, stand: Stand, market: Any) -> Float64:
        """[account] dollars until it fails; for the fund what it would have to pay."""
        equity = stand.equity_micro.astype(np.float64)
        if self.liquidity is not None and self.goal is not Goal.LIQUIDATED:
            falls = stand.liquidate | (self.goal is Goal.MARGIN)
            equity = equity - np.where(falls, self._costs(stand, market, falls), 0)
        if self.goal is Goal.FUND:
            return np.where(stand.known, np.maximum(-equity, 0.0), 0.0) / MICRO
        if self.goal is Goal.INSOLVENT:
            return equity / MICRO
        if self.goal is Goal.MARGIN:
            now = self.subject.now
            return (equity - (now.equity_micro - now.initial_micro)) / MICRO
        health = (equity - stand.maintenance_micro) / MICRO
        # Where the rulebook liquidates by another rule, its verdict alone decides.
        agrees = stand.liquidate == (health < 0.0)
        return np.where(agrees, health, np.where(stand.liquidate, -1.0, 1.0))

    def _costs(self, stand: Stand, market: Any, falls: NDArray[np.bool_]) -> NDArray[np.int64]:
        """[account] costs of closing, known today; what is not on a moved market is nothing."""
        coins = self.liquidity or ()
        if market is self.subject.market:
            return closing_costs(self.subject, market, coins, known=stand.known)
        costs, reasons = costs_told(self.subject, market, coins)
        asked = [one for one in reasons if stand.known[one] and falls[one]]
        self.untold.update({self.subject.names[one]: reasons[one] for one in asked})
        return costs


# ── the search ───────────────────────────────────────────────────────────────────────────────────


def reverse(
    subject: Subject, moves: Moves, goal: Goal, *, reach: float = REACH, certify: bool = True,
    liquidity: Sequence[CoinLiquidity] | None = None,
    progress: Callable[[str], object] | None = None,
) -> Reversal:  # fmt: skip
    """Find the nearest move that breaks a goal.

    Underlyings of the subject that have no coordinate stand still; a note says so. With `liquidity`
    who is liquidated pays for being closed (a margin for being closed out), and nothing is proved.
    """
    if not (math.isfinite(reach) and 0.0 < reach <= 100.0):
        raise BadInput(
            Problem(code=Reject.INPUT_INVALID, source="reach", found=repr(reach),
                    expected="deviations above 0 and up to 100")
        )  # fmt: skip
    if not len(subject):
        raise BadInput(
            Problem(code=Reject.SOURCE_EMPTY, source="accounts", found="none",
                    expected="an account that holds something")
        )  # fmt: skip
    names = [one.underlying for one in moves.coordinates]
    check(set(names) <= set(subject.underlyings), "coordinates are of the subject's market", names)
    still = [name for name in subject.underlyings if name not in names]
    notes = [f"not in the history, stands still: {', '.join(still)}"] if still else []
    condition = Condition(subject, goal, liquidity)
    told: Mapping[str, Any] = {
        "subject": subject,
        "goal": goal,
        "moves": moves,
        "reach": reach,
        "notes": tuple(notes),
    }
    none = Proof(nearest=None, complete=False, reason="", boxes=0)
    if not condition.considered.any():
        word = Found.ALREADY if subject.now.known.any() else Found.UNKNOWN
        return Reversal(**told, found=word, proof=none, already=condition.already)
    search = _Search(condition, moves, reach, progress)
    if search.at(np.zeros(len(names))) < 0.0:
        return Reversal(**told, found=Found.ALREADY, proof=none, already=condition.already)
    reason = "costs of closing" if liquidity is not None else why_not(subject, str(goal))
    if not certify:
        reason = "not asked for"
    # Where all moves are gone through anyway, a few rays are enough to begin with.
    search.run(few=not reason)
    proof = Proof(nearest=None, complete=False, reason=reason, boxes=0)
    if not reason:
        proof = _proved(search, condition, progress)
    found = _told(search, condition, told, proof)
    notes += [f"{name} somewhere closes at a cost that is not known ({why}), and for nothing there"
              for name, why in condition.untold.items()]  # fmt: skip
    return replace(found, notes=tuple(notes))


def _proved(
    search: _Search, condition: Condition, progress: Callable[[str], object] | None
) -> Proof:
    if progress is not None:
        progress("proving that nothing is nearer")

    def fails(u: Float64) -> bool:
        return search.at(u) < 0.0

    goal, subject = condition.goal, condition.subject
    proof = prove(
        subject, search.moves, goal=str(goal), considered=condition.considered,
        reach=search.reach, best=search.best, fails=fails,
    )  # fmt: skip
    if proof.nearer is not None:
        search.take(proof.nearer)
        search.refine()
    return proof


def _told(search: _Search, condition: Condition, told: Mapping[str, Any], proof: Proof) -> Reversal:
    rays = tuple(search.rays)
    if search.direction is None:
        return Reversal(
            **told, found=Found.NONE, proof=proof, already=condition.already, rays=rays,
            asked=search.asked,
        )  # fmt: skip
    distance = search.failing()
    log_move = search.root @ (distance * search.direction)
    subject, moves = condition.subject, search.moves
    market = subject.shocked(Shock(moves=moves.moves(log_move)))
    broken = condition.broken(subject.on(market), market)
    who = subject.only(broken)
    path = [
        (share, who.at(Shock(moves=moves.moves(share * log_move))))
        for share in np.linspace(0.0, 1.25, 16).tolist()
    ]
    return Reversal(
        **told, found=Found.MOVE, proof=proof, log_move=log_move, distance=distance,
        farther=moves.farther(distance), already=condition.already, rays=rays, path=tuple(path),
        broken=broken, asked=search.asked,
    )  # fmt: skip


class _Search:
    """Rays from no move at all, in u: the nearest place where the condition fails.

    Attributes:
        direction: unit vector of the best ray, None without one. best: its distance.
    """

    def __init__(
        self, condition: Condition, moves: Moves, reach: float,
        progress: Callable[[str], object] | None,
    ) -> None:  # fmt: skip
        self.condition, self.moves, self.reach = condition, moves, reach
        self.root = moves.root()
        self.direction: Float64 | None = None
        self.best = reach
        self.rays: list[Ray] = []
        self.asked = 0
        self._progress = progress
        self._known: dict[bytes, float] = {}

    def at(self, u: Float64) -> float:
        """The condition's number at a move; what is not known there does not count as broken."""
        key = u.tobytes()
        if key not in self._known:
            subject = self.condition.subject
            market = subject.shocked(Shock(moves=self.moves.moves(self.root @ u)))
            value = self.condition.of(subject.on(market), market)
            self._known[key] = math.inf if math.isnan(value) else value
            self.asked += 1
        return self._known[key]

    def run(self, *, few: bool) -> None:
        """Search all rays, or a few, then refine."""
        rays = [(one, _STEP) for one in self._alone()]
        if not few:
            rays += [(one, 2.0 * _STEP) for one in self._between()]
        for number, (direction, step) in enumerate(rays, start=1):
            if self._progress is not None:
                self._progress(f"ray {number} of {len(rays)}")
            radius = self._first(direction, step)
            self.rays.append(Ray(log_move=self.root @ (direction * (radius or self.best)),
                                 distance=radius))  # fmt: skip
            if radius is not None:
                self.direction, self.best = direction, radius
        self.refine()

    def take(self, u: Float64) -> None:
        """A failing move that somebody else found: where its ray begins to fail is the best."""
        far = float(np.linalg.norm(u))
        direction, near = u / far, 0.0
        for share in _BACK:
            if self.at((1.0 - share) * u) >= 0.0:
                near = (1.0 - share) * far
                break
        self.direction, self.best = direction, self._root(direction, near, far)
        ray = Ray(log_move=self.root @ (direction * self.best), distance=self.best)
        self.rays.append(ray)

    def refine(self) -> None:
        """Turn the best ray while that brings it nearer: by the gradient, then by probes."""
        if self.direction is None or len(self.direction) == 1:
            return
        for _ in range(12):
            if not self._nearer(self._downhill()):
                break
        angle, last = _PROBES
        while angle > last:
            if not any(self._nearer(one) for one in self._about(angle)):
                angle /= 2.0

    def failing(self) -> float:
        """A distance just at or beyond the root at which the condition does fail."""
        assert self.direction is not None
        distance, beyond = self.best, _BEYOND
        while self.at(distance * self.direction) >= 0.0 and beyond < 1e-3:
            distance, beyond = self.best * (1.0 + beyond), beyond * 4.0
        return distance

    # ── rays ─────────────────────────────────────────────────────────────────────────────────────

    def _alone(self) -> Iterator[Float64]:
        """All prices together, and each coordinate alone, either way."""
        if len(self.root) == 1:
            yield from (np.array([-1.0]), np.array([1.0]))
            return
        prices = np.array([float(one.part == "spot") for one in self.moves.coordinates])
        for x in (prices * self.moves.deviations, *np.diag(self.moves.deviations)):
            u = np.linalg.solve(self.root, x)
            yield from (-u / np.linalg.norm(u), u / np.linalg.norm(u))

    def _between(self) -> Iterator[Float64]:
        """Each axis of u, and evenly spread rays."""
        count = len(self.root)
        if count == 2:
            for angle in np.arange(16) * (math.tau / 16) + 0.1:
                yield np.array([math.cos(angle), math.sin(angle)])
            return
        if count > 2:
            for axis in np.eye(count):
                yield from (-axis, axis)
            yield from spread_directions(count, 6 * count)

    def _first(self, direction: Float64, step: float = _STEP) -> float | None:
        """The first radius at which the condition fails, if that is nearer than the best."""
        near = 0.0
        steps = max(2, math.ceil(self.best / step))
        for place in range(1, steps + 1):
            far = self.best * (1.0 - _BEYOND) * place / steps
            if self.at(far * direction) < 0.0:
                return self._root(direction, near, far)
            near = far
        return None

    def _root(self, direction: Float64, near: float, far: float) -> float:
        def number(radius: float) -> float:
            # Nothing still holds (a fund of nothing until the first shortfall), but is no root:
            # the root is where it begins to fail.
            value = self.at(radius * direction)
            return value if value < 0.0 else min(max(value, 1e-9), 1e15)

        return float(brentq(number, near, far, xtol=1e-10, rtol=1e-12))

    def _nearer(self, direction: Float64) -> bool:
        """Whether a ray fails a little nearer than the best; it is then the best."""
        probe = self.best * (1.0 - _NEARER)
        if not self.at(probe * direction) < 0.0:
            return False
        low = 0.7 * probe if self.at(0.7 * probe * direction) >= 0.0 else 0.0
        self.direction, self.best = direction, self._root(direction, low, probe)
        return True

    def _downhill(self) -> Float64:
        """Where the condition's number falls fastest at the best move."""
        assert self.direction is not None
        u, h = self.best * self.direction, 1e-4 * self.best
        slope = np.array([self.at(u + h * e) - self.at(u - h * e) for e in np.eye(len(u))])
        size = float(np.linalg.norm(slope))
        return self.direction if not 0.0 < size < math.inf else -slope / size

    def _about(self, angle: float) -> Iterator[Float64]:
        """Rays so far about the best one, in every direction that is square to it."""
        assert self.direction is not None
        here = self.direction
        basis = np.linalg.qr(np.column_stack([here, np.eye(len(here))]))[0][:, 1 : len(here)]
        for turn in basis.T:
            for sign in (-1.0, 1.0):
                turned = math.cos(angle) * here + sign * math.sin(angle) * turn
                yield turned / np.linalg.norm(turned)


def spread_directions(dimensions: int, count: int) -> Iterator[Float64]:
    """Unit vectors spread evenly, the same on every machine: normal quantiles of an additive
    sequence of low discrepancy (powers of the generalised golden ratio).

    >>> vectors = list(spread_directions(3, 64))
    >>> bool(np.abs(np.mean(vectors, axis=0)).max() < 0.1)
    True
    """
    ratio = 2.0
    for _ in range(64):
        ratio = (1.0 + ratio) ** (1.0 / (dimensions + 1))
    steps = ratio ** -np.arange(1.0, dimensions + 1.0)
    for number in range(1, count + 1):
        share = np.clip((0.5 + number * steps) % 1.0, 1e-9, 1.0 - 1e-9)
        vector = ndtri(share)
        yield vector / np.linalg.norm(vector)
