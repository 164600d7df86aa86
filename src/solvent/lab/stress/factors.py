"""What a history says of joint moves: their covariance, its factors, and how large jumps are.

Coordinates are the log move of each underlying and, where the history tells surfaces, the shift of
each surface's level (ln σ of an option at its strike). Moves are taken over windows of so many
hours that end at every point of the history: they overlap, so they are fewer than they seem.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from solvent.errors import BadInput, Problem, Reject
from solvent.lab.stress.shock import LOG_MOVES, MOVE_MAX, MOVE_MIN, SHIFT_MAX, Move, price_move
from solvent.pricing.jump_fit import fit_kou
from solvent.scenarios.history import HistorySpec, Series, joint_shocks
from solvent.scenarios.jumps import STICKY, measure_co_jumps, measure_response
from solvent.units import DAY_MS, Float64

SPOT, LEVEL = "spot", "level"
_HOUR_MS: Final = 3_600_000
_WINDOWS_MIN: Final = 60
_WINDOWS_MAX: Final = 8_192
_EIGEN_MIN: Final = 1e-10
"""Of the largest: what moves less has no deviation to be told in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Coordinate:
    """One direction in which a market moves: the price or the surface's level of an underlying."""

    underlying: str
    part: Literal["spot", "level"]

    def __str__(self) -> str:
        return f"{self.underlying} {'spot' if self.part == SPOT else 'vol'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Moves:
    """Joint moves of a history and their covariance about zero.

    Attributes:
        coordinates: what the columns are. windows: [window, coordinate] logs.
        covariance: [coordinate, coordinate] about 0: a crash is not half excused by a trend.
        hours: length of a window. step_hours: from one to the next. notes: how they came to be.
    """

    coordinates: tuple[Coordinate, ...]
    windows: Float64
    covariance: Float64
    hours: float
    step_hours: float
    notes: tuple[str, ...]

    @property
    def deviations(self) -> Float64:
        """[coordinate] root mean square move."""
        return np.asarray(np.sqrt(np.diag(self.covariance)))

    def root(self) -> Float64:
        """L with L·Lᵀ the covariance: a move is L·u, its distance is |u|."""
        return np.asarray(np.linalg.cholesky(self.covariance))

    def distance(self, log_move: Float64) -> float:
        """Mahalanobis distance √(xᵀ Σ⁻¹ x) of a move.

        >>> moves = covariance_of([("BTC", "spot")], [[0.1], [-0.1]], hours=24.0)
        >>> moves.distance(np.array([-0.3])).__round__(9)
        3.0
        """
        return float(np.linalg.norm(np.linalg.solve(self.root(), log_move)))

    def farther(self, distance: float) -> int:
        """How many windows went as far or farther."""
        u = np.linalg.solve(self.root(), self.windows.T)
        return int((np.linalg.norm(u, axis=0) >= distance).sum())

    def beyond(self, log_move: Float64) -> list[str]:
        """Coordinates whose move is more than a shock may say, and that move.

        >>> moves = covariance_of([("BTC", "spot")], [[0.1], [-0.1]], hours=24.0)
        >>> moves.beyond(np.array([-0.3])), moves.beyond(np.array([5.0]))
        ([], ['BTC spot +5 in logs'])
        """
        found = []
        for one, x in zip(self.coordinates, log_move.tolist(), strict=True):
            low, high = LOG_MOVES if one.part == SPOT else (-SHIFT_MAX, SHIFT_MAX)
            if not low <= x <= high:
                found.append(f"{one} {x:+.3g} in logs")
        return found

    def moves(self, log_move: Float64) -> dict[str, Move]:
        """A move of the coordinates by underlying; what would leave the limits of a shock stops
        there (`beyond` tells whether anything does)."""
        told: dict[str, dict[str, float]] = {}
        for one, x in zip(self.coordinates, log_move.tolist(), strict=True):
            here = told.setdefault(one.underlying, {})
            if one.part == SPOT:
                here["spot"] = price_move(x)
            else:
                here["level"] = float(np.clip(x, -SHIFT_MAX, SHIFT_MAX))
        return {name: Move(**parts) for name, parts in told.items()}


def covariance_of(
    coordinates: Sequence[tuple[str, Literal["spot", "level"]]], windows: Sequence[Sequence[float]],
    *, hours: float, step_hours: float | None = None, notes: Sequence[str] = (),
) -> Moves:  # fmt: skip
    """Moves of windows that are told. Raises BadInput for coordinates that never move, or that are
    another one in other words."""
    x = np.asarray(windows, dtype=np.float64)
    covariance = x.T @ x / max(len(x), 1)
    values = np.linalg.eigvalsh(covariance)
    if not values[0] > _EIGEN_MIN * values[-1]:
        names = ", ".join(f"{name} {part}" for name, part in coordinates)
        raise _bad("history", "moves that differ from each other", f"moves of {names} that do not")
    told = tuple(Coordinate(underlying=name, part=part) for name, part in coordinates)
    return Moves(coordinates=told, windows=x, covariance=covariance, hours=hours,
                 step_hours=step_hours or hours, notes=tuple(notes))  # fmt: skip


def measured(
    history: Series, underlyings: Sequence[str], *, hours: float = 24.0, volatility: bool = False
) -> Moves:
    """Moves of underlyings over windows of a history; with `volatility` of their surfaces too.

    Raises BadInput for an underlying that the history does not tell, for volatility where it tells
    no surfaces, and for a history of fewer than sixty windows.
    """
    absent = [name for name in underlyings if name not in history.names]
    if absent:
        raise _bad(history.source, f"prices of {', '.join(underlyings)}", f"none of {absent[0]}")
    if volatility and not history.has_surfaces:
        raise _bad(history.source, "surfaces, for moves of volatility", "prices alone")
    times = np.unique(history.time_ms)
    if len(times) < _WINDOWS_MIN:
        raise _bad(history.source, f"at least {_WINDOWS_MIN} times", f"{len(times)}")
    step = _step_hours(times, hours)
    spec = HistorySpec(
        mpor_hours=hours, step_hours=step, lookback_days=_reach_days(times, step, hours),
        filter="none", surfaces=volatility, underlyings=tuple(underlyings),
        min_observations=_WINDOWS_MIN, gap_hours_max=max(24.0, 2.0 * step),
    )  # fmt: skip
    built = joint_shocks(spec, history, as_of_ms=int(times[-1]))
    shocks = built.shocks
    rows = [shocks.underlyings.index(name) for name in underlyings]
    columns = [np.log1p(shocks.move[row]) for row in rows]
    told: list[tuple[str, Literal["spot", "level"]]] = [(name, "spot") for name in underlyings]
    if volatility:
        columns += [shocks.level[row] for row in rows]
        told += [(name, "level") for name in underlyings]
    notes = (f"{len(shocks):,} windows of {hours:g} h, one every {step:g} h",
             *(str(one) for one in built.notes))  # fmt: skip
    return covariance_of(
        told, np.column_stack(columns).tolist(), hours=hours, step_hours=step, notes=notes
    )


def _step_hours(times: np.ndarray, hours: float) -> float:
    """The usual distance of two points in whole parts of the window, an hour at least, and so many
    that all of the history fits."""
    gap = float(np.median(np.diff(times))) / _HOUR_MS
    parts = max(1, int(hours / max(gap, min(1.0, hours))))
    span = (int(times[-1]) - int(times[0])) / _HOUR_MS
    while parts > 1 and span * parts / hours > _WINDOWS_MAX:
        parts -= 1
    return hours / parts


def _reach_days(times: np.ndarray, step: float, hours: float) -> float:
    """All of the history, or as much of it as there may be scenarios."""
    from solvent.limits import SCENARIOS_MAX

    whole = (int(times[-1]) - int(times[0])) / DAY_MS - hours / 24.0
    most = SCENARIOS_MAX * step / 24.0
    return max(min(whole, most) * 0.999, step / 24.0)


# ── scenarios of a history ───────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class FromHistory:
    """Moves that a history tells, and how."""

    moves: Mapping[str, Move]
    notes: tuple[str, ...]


def along_factor(
    history: Series, underlyings: Sequence[str], *, which: int | Literal["market"],
    deviations: float, hours: float,
) -> FromHistory:  # fmt: skip
    """So many deviations along a factor of all coordinates that the history tells.

    `market` is the mean of all log moves of prices; every coordinate goes with it by its
    regression (through 0). A number is a principal component of the coordinates over their own
    deviations, signed so that prices rise with it on average.
    """
    known = [name for name in underlyings if name in history.names]
    if not known:
        raise _bad(history.source, f"prices of one of {', '.join(underlyings)}", "none")
    moves = measured(history, known, hours=hours, volatility=history.has_surfaces)
    prices = np.array([one.part == SPOT for one in moves.coordinates], dtype=np.float64)
    if which == "market":
        mean = prices / prices.sum()
        variance = float(mean @ moves.covariance @ mean)
        log_move = deviations * (moves.covariance @ mean) / np.sqrt(variance)
        words = f"the market: one deviation is {np.sqrt(variance):.2%} in logs"
    else:
        log_move, share = _component(moves, which, prices, deviations)
        words = f"component {which}: {share:.1%} of the variance of what moves"
    if far := moves.beyond(log_move):
        limits = f"prices by {MOVE_MIN:.1%} to {MOVE_MAX:+.0%} and levels by {SHIFT_MAX:g} in logs"
        raise _bad("factor.deviations", f"so few that they move {limits} at most",
                   f"{deviations:g}: {', '.join(far)}")  # fmt: skip
    notes = [f"{words} over {hours:g} h", moves.notes[0]]
    left = [name for name in underlyings if name not in known]
    if left:
        notes.append(f"not in the history, stands still: {', '.join(left)}")
    return FromHistory(moves=moves.moves(log_move), notes=tuple(notes))


def _component(
    moves: Moves, which: int, prices: Float64, deviations: float
) -> tuple[Float64, float]:
    """A move along a principal component, and the share of the variance that it explains."""
    sd = moves.deviations
    if which > len(sd):
        raise _bad("factor.which", f"a component from 1 to {len(sd)}", str(which))
    values, vectors = np.linalg.eigh(moves.covariance / np.outer(sd, sd))
    vector = vectors[:, -which]
    if float(vector @ prices) < 0.0:
        vector = -vector
    share = float(values[-which] / values.sum())
    return deviations * np.sqrt(values[-which]) * vector * sd, share


def jump_of(
    history: Series, underlyings: Sequence[str], *, leader: str, share: float, down: bool,
    hours: float,
) -> FromHistory:  # fmt: skip
    """A jump of a leader that `share` of its jumps of that side stay within, and who jumps along.

    The law of jumps is Kou's, fitted to the history's returns over `hours`; others follow by their
    measured multiple of the leader's move on the days when both jumped. Surfaces move as they were
    measured to on large moves, and stand still (said in a note) where too few were seen.
    """
    if leader not in history.names:
        raise _bad("jump.leader", f"one of {', '.join(history.names)}", repr(leader))
    known = [leader, *(n for n in underlyings if n in history.names and n != leader)]
    moves = measured(history, known, hours=hours, volatility=history.has_surfaces)
    # Windows of which none overlaps with the one before.
    x = moves.windows[:: max(1, round(hours / moves.step_hours))]
    fit = fit_kou(x[:, 0], years_per_return=hours / 24.0 / 365.0)
    fallen = float(fit.law.size_cdf(0.0))
    goal = fallen * (1.0 - share) if down else fallen + (1.0 - fallen) * share
    size = float(fit.law.size_quantile(goal))
    side = "down" if down else "up"
    words = f"{fit.law.jumps_per_year:.1f} jumps of {leader} a year; {share:.1%} of those {side}"
    notes = [f"{words} stay within {np.expm1(size):+.1%}", *map(str, fit.notes), moves.notes[0]]
    multiple = np.ones(len(known))
    if len(known) > 1:
        together = measure_co_jumps(known, x[:, : len(known)])
        multiple = np.array([together.multiple[0, k] for k in range(len(known))])
        multiple[0] = 1.0
    found = {}
    for place, name in enumerate(known):
        log_move = float(size * multiple[place])
        level = _response(moves, place, len(known), log_move, name, notes)
        spot = price_move(log_move)
        if not LOG_MOVES[0] <= log_move <= LOG_MOVES[1]:
            notes.append(f"{name} would jump by {log_move:+.3g} in logs, and stops at {spot:+.1%}")
        found[name] = Move(spot=spot, level=level)
    return FromHistory(moves=found, notes=tuple(notes))


def _response(
    moves: Moves, place: int, count: int, log_move: float, name: str, notes: list[str]
) -> float:
    if moves.windows.shape[1] == count:
        if place == 0:
            notes.append("the history tells no surfaces: volatility stands still")
        return 0.0
    try:
        response = measure_response(moves.windows[:, place], level=moves.windows[:, count + place])
    except BadInput:
        notes.append(f"too few large moves of {name}: its volatility stands still")
        response = STICKY
    return float(response.shifts(np.array([log_move]))[0][0])


def _bad(source: str, expected: str, found: str) -> BadInput:
    return BadInput(
        Problem(code=Reject.INPUT_INVALID, source=source, expected=expected, found=found)
    )
