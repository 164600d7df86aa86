"""A shock: what one scenario does to a market and to what collateral is worth.

It is told by underlying in the coordinates of joint shocks (`scenarios.joint`): a relative move of
all prices, shifts of the surface for options that keep their strikes, a shift of the annualised
basis. Besides, hours pass, and assets are worth less as collateral than they say.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from solvent.elementary import exp
from solvent.errors import BadInput, Problem, Reject, check
from solvent.instruments import frozen
from solvent.limits import VOL_MAX
from solvent.market import Flag, Snapshot
from solvent.market.moved import moved
from solvent.scenarios.surfaces import shocked_vol
from solvent.units import YEAR_MS, TimeMs

EVERY: Final = "*"
"""Stands for every underlying that a shock does not name."""
HOUR_MS: Final = 3_600_000
MOVE_MIN, MOVE_MAX = -0.999, 100.0
LOG_MOVES: Final = (math.log1p(MOVE_MIN), math.log1p(MOVE_MAX))
"""The same in logs."""
SHIFT_MAX: Final = 3.0
"""Of a surface or a basis, in logs: a volatility times twenty."""
WORTH_MAX: Final = 10.0
"""Relative change of what an asset counts for as collateral."""
_LAST_MS: Final = 60_000
"""Time stops a minute before a contract that is held expires."""


def price_move(log_move: float) -> float:
    """The relative move of a price, from its log; beyond the limits it stops there.

    >>> price_move(math.log(1.25)).__round__(9), price_move(-50.0), price_move(1e6)
    (0.25, -0.999, 100.0)
    """
    inside = math.expm1(min(max(log_move, LOG_MOVES[0]), LOG_MOVES[1]))
    return min(max(inside, MOVE_MIN), MOVE_MAX)


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """What happens to one underlying.

    Attributes:
        spot: relative move of every price, above −1.
        level, skew, term: ln σ of an option moves by level + skew·x + term·ln(T/30 d).
        basis: shift of the annualised log basis of dated contracts.
    """

    spot: float = 0.0
    level: float = 0.0
    skew: float = 0.0
    term: float = 0.0
    basis: float = 0.0

    def __post_init__(self) -> None:
        check(MOVE_MIN <= self.spot <= MOVE_MAX, "a price stays above nothing", self.spot)
        shifts = (self.level, self.skew, self.term, self.basis)
        check(all(abs(one) <= SHIFT_MAX for one in shifts), "shifts within their limit", shifts)

    def scaled(self, share: float) -> Move:
        """A part of the way there, even in logs.

        >>> half = Move(spot=-0.19, level=0.2).scaled(0.5)
        >>> round(half.spot, 12), half.level
        (-0.1, 0.1)
        """
        return Move(
            spot=math.expm1(share * math.log1p(self.spot)), level=share * self.level,
            skew=share * self.skew, term=share * self.term, basis=share * self.basis,
        )  # fmt: skip


STILL: Final = Move()


@dataclass(frozen=True, slots=True, kw_only=True)
class Shock:
    """What happens to a market.

    Attributes:
        moves: underlying → its move; `*` for those that are not named, which else stand still.
        worth: asset → relative change of what a unit of it counts for as collateral, beyond what
            its own index does; a debt in it shrinks by as much.
        hours: time that passes.
    """

    name: str = ""
    moves: Mapping[str, Move] = field(default_factory=dict)
    worth: Mapping[str, float] = field(default_factory=dict)
    hours: float = 0.0

    def __post_init__(self) -> None:
        worth = self.worth.values()
        check(all(-1.0 <= one <= WORTH_MAX for one in worth), "worth", dict(self.worth))
        check(0.0 <= self.hours <= 24.0 * 365.0, "hours pass forwards", self.hours)

    def of(self, underlying: str) -> Move:
        """The move of an underlying."""
        return self.moves.get(underlying, self.moves.get(EVERY, STILL))

    def part(self, share: float) -> Shock:
        """A part of the way there, even in logs; of the time as much."""
        moves = {name: one.scaled(share) for name, one in self.moves.items()}
        worth = {
            name: math.expm1(share * math.log1p(one)) if one > -1.0 else max(share * one, -1.0)
            for name, one in self.worth.items()
        }
        return replace(self, hours=share * self.hours, moves=moves, worth=worth)

    def among(self, names: Sequence[str], *, source: str, strict: bool) -> tuple[str, ...]:
        """Underlyings that it names and a market has not; with `strict` they are bad input."""
        absent = tuple(name for name in self.moves if name != EVERY and name not in names)
        if absent and strict:
            raise BadInput(
                Problem(
                    code=Reject.SYMBOL_UNKNOWN, source=source, field="move.underlying",
                    expected=f"an underlying of the market ({', '.join(names)}), or *",
                    found=absent[0],
                )
            )  # fmt: skip
        return absent


def shocked(market: Snapshot, shock: Shock, *, hours: float | None = None) -> Snapshot:
    """The market after a shock. Marks of options on what moved are the model's.

    Prices and forwards go by 1 + spot; forwards of dated contracts besides by e^(basis·T), and
    their volatilities by the surface's shifts, both with the time to expiry of before. Then
    `hours` pass (the shock's own unless told).

    >>> from solvent.feeds.synthetic_market import generate_market
    >>> market = generate_market(seed=1, coins=("BTC",), expiries=1, strikes=2)
    >>> after = shocked(market, Shock(moves={"BTC": Move(spot=-0.25)}))
    >>> after.index / market.index
    array([0.75])
    """
    names = market.universe.underlyings
    moves = [shock.of(name) for name in names]
    factors = {n: 1.0 + one.spot for n, one in zip(names, moves, strict=True) if one.spot != 0.0}
    after = moved(market, factors) if factors else market
    if any(one.basis for one in moves):
        after = _with_basis(after, np.array([one.basis for one in moves]))
    if any(one.level or one.skew or one.term for one in moves):
        after = _with_surface(market, after, moves)
    passing = shock.hours if hours is None else hours
    return _later(after, round(passing * HOUR_MS)) if passing else after


def _with_basis(market: Snapshot, basis: np.ndarray) -> Snapshot:
    """Forwards of dated contracts times e^(basis·T), and what rests on them."""
    curves, universe = market.curves, market.universe
    years = np.maximum(curves.expiry_ms - market.as_of_ms, 0) / YEAR_MS
    by_curve = exp(basis[curves.underlying] * years)
    factor = np.append(by_curve, 1.0)[market.curve]
    option = universe.is_option
    flags = market.flags.copy()
    flags[option & (factor != 1.0)] |= np.uint16(Flag.MARK_DERIVED)
    priced = np.where(option, 1.0, factor)
    return replace(
        market,
        curves=replace(curves, forward=frozen(curves.forward * by_curve)),
        forward=frozen(market.forward * factor),
        mark_forward=frozen(market.mark_forward * factor),
        mark=frozen(market.mark * priced),
        bid=frozen(market.bid * priced),
        ask=frozen(market.ask * priced),
        flags=frozen(flags),
    )


def _with_surface(before: Snapshot, after: Snapshot, moves: Sequence[Move]) -> Snapshot:
    """`after` with the volatilities of `before` shifted at their strikes."""
    universe = before.universe
    shifts = [np.array([[getattr(one, part)] for one in moves]) for part in _SURFACE]
    shifting = np.array([bool(one.level or one.skew or one.term) for one in moves])
    live = universe.is_option & before.usable & shifting[universe.underlying]
    level, skew, term = shifts
    vol = shocked_vol(before, live, level=level, skew=skew, term=term)[:, 0]
    flags = after.flags.copy()
    flags[live] |= np.uint16(Flag.MARK_DERIVED)
    shown = np.where(live, np.minimum(vol, VOL_MAX), after.vol)
    return replace(after, vol=frozen(shown), flags=frozen(flags))


_SURFACE: Final = ("level", "skew", "term")


def _later(market: Snapshot, passing_ms: int) -> Snapshot:
    """The same prices and volatilities at a later moment; options are then worth the model's."""
    moment = TimeMs(int(market.as_of_ms) + passing_ms)
    expiry, option = market.universe.expiry_ms, market.universe.is_option
    flags = market.flags.copy()
    flags[option] |= np.uint16(Flag.MARK_DERIVED)
    flags[(expiry > 0) & (expiry <= moment)] |= np.uint16(Flag.EXPIRED)
    return replace(market, as_of_ms=moment, flags=frozen(flags))


def time_left(market: Snapshot, held: np.ndarray, hours: float) -> float:
    """Hours that may pass, at most as many as told, before a contract that is held expires.

    `held` are rows of the market. What expires pays and is no risk any more: a scenario that ran
    past it would have to settle it, so time stops a minute before, and whoever asks is told.
    """
    expiry = market.universe.expiry_ms[held]
    running = expiry[expiry > market.as_of_ms]
    if not running.size:
        return hours
    left_ms = max(int(running.min()) - int(market.as_of_ms) - _LAST_MS, 0)
    return min(hours, left_ms / HOUR_MS)
