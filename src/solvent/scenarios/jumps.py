"""Jumps as scenarios: a deterministic set with probabilities, joint over coins, and named gaps.

A law of jumps (anything with `jumps_per_year` and `size_cdf`) gives the law of the sum of jumps in
a horizon, by the compound Poisson law itself on a fine grid. That is cut into bins of stated tail
probabilities, each told by its mean: the set keeps the law's probabilities, and for `worst` its
last bin stands for all that lies beyond. Where one coin jumps, others jump with it in the measured
share of cases, by the measured multiple. Nothing is drawn at random.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Protocol

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr

from solvent.errors import BadInput, Problem, Reject, check
from solvent.scenarios.joint import JointShocks
from solvent.units import Float64

TAILS: Final = (0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.001)
"""Bins end where these parts of a side's jumps lie beyond."""
_POINTS: Final = 1 << 15
_HALF: Final = 8.0
"""Log moves are told on a grid of −8 … 8: further is nowhere, and sums must not come round."""
_LARGE: Final = 3.0
_LEVEL_MAX: Final = 2.0
_EVENTS_MIN: Final = 5


class JumpLaw(Protocol):
    """What is asked of a law of jumps."""

    @property
    def jumps_per_year(self) -> float:
        """How many are expected."""
        ...

    def size_cdf(self, size: ArrayLike, /) -> Float64:
        """P(log jump ≤ size)."""
        ...


class Response(Protocol):
    """What a surface does after a move: measured, of a model, or nothing."""

    def shifts(self, log_move: ArrayLike, /) -> tuple[Float64, Float64, Float64]:
        """Level, skew and term of a surface after each log move, as joint shocks tell them."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class VolResponse:
    """What a surface does after a move: shifts per unit of |log move|, falls and rises apart.

    `level_down = 2` says that a fall of 10 % in logs multiplies volatility by e^0.2. `events` is
    how many moves it was measured on: 0 for one that is assumed, and `STICKY` moves nothing.
    """

    level_down: float = 0.0
    level_up: float = 0.0
    skew_down: float = 0.0
    skew_up: float = 0.0
    term_down: float = 0.0
    term_up: float = 0.0
    events: int = 0

    def shifts(self, log_move: ArrayLike) -> tuple[Float64, Float64, Float64]:
        """Level, skew and term of each log move; the level within ±2, as a surface's is.

        >>> level, _, _ = VolResponse(level_down=2.0, level_up=0.5).shifts([-0.1, 0.1])
        >>> level.tolist()
        [0.2, 0.05]
        """
        x = np.asarray(log_move, dtype=np.float64)
        down, up = np.maximum(-x, 0.0), np.maximum(x, 0.0)
        level = self.level_down * down + self.level_up * up
        return (
            np.clip(level, -_LEVEL_MAX, _LEVEL_MAX),
            self.skew_down * down + self.skew_up * up,
            self.term_down * down + self.term_up * up,
        )


STICKY: Final = VolResponse()
"""Every option keeps its volatility."""


def measure_response(
    log_moves: ArrayLike,
    *,
    level: ArrayLike,
    skew: ArrayLike | None = None,
    term: ArrayLike | None = None,
    large: float | None = None,
    quantile: float | None = None,
) -> VolResponse:
    """What surfaces did in the windows of large moves: least squares through the origin, by side;
    or, with `quantile`, the shift per unit of move that this share of the moves did not pass.

    `log_moves`, `level` (change of the logarithm of volatility), `skew`, `term` are by window;
    `large` is the smallest |move| that counts, three standard deviations unless told. A side with
    fewer than five such moves takes the other's; raises BadInput where both have fewer.

    >>> moves = [-0.2, -0.3, -0.2, -0.4, -0.2, 0.001]
    >>> found = measure_response(moves, level=[0.2, 0.3, 0.2, 0.4, 0.2, 0.0], large=0.1)
    >>> round(found.level_down, 6), round(found.level_up, 6), found.events
    (1.0, 1.0, 5)
    """
    x = np.asarray(log_moves, dtype=np.float64)
    parts = [np.zeros_like(x) if one is None else np.asarray(one) for one in (level, skew, term)]
    if not all(np.isfinite(one).all() for one in (x, *parts)):
        raise BadInput(_problem("moves", "numbers", "some that are none"))
    edge = _LARGE * float(x.std()) if large is None else large
    sides = [(x < 0.0) & (-x >= edge), (x > 0.0) & (x >= edge)]
    counts = [int(side.sum()) for side in sides]
    if max(counts, default=0) < _EVENTS_MIN or edge <= 0.0:
        found = f"{counts[0]} falls and {counts[1]} rises of {edge:.1%}"
        raise BadInput(_problem("moves", f"at least {_EVENTS_MIN} large ones of a side", found))
    told = []
    for one in parts:
        slopes: list[float | None] = [
            _slope(np.abs(x[side]), one[side], quantile) if count >= _EVENTS_MIN else None
            for side, count in zip(sides, counts, strict=True)
        ]
        told.append([a if a is not None else b or 0.0 for a, b in (slopes, slopes[::-1])])
    (level_down, level_up), (skew_down, skew_up), (term_down, term_up) = told
    return VolResponse(
        level_down=level_down, level_up=level_up, skew_down=skew_down, skew_up=skew_up,
        term_down=term_down, term_up=term_up,
        events=sum(count for count in counts if count >= _EVENTS_MIN),
    )  # fmt: skip


def _slope(x: Float64, y: Float64, quantile: float | None) -> float:
    return _through_origin(x, y) if quantile is None else float(np.quantile(y / x, quantile))


def _through_origin(x: Float64, y: Float64) -> float:
    return float(x @ y / (x @ x))


@dataclass(frozen=True, slots=True, kw_only=True)
class CoJumps:
    """How coins jump together; axes [leader, follower].

    Attributes:
        share: of the leader's large moves, those in which the follower's was large and of the same
            sign. multiple: the follower's log move over the leader's in those.
        events: [leader] large moves seen.
    """

    names: tuple[str, ...]
    share: Float64
    multiple: Float64
    events: tuple[int, ...]

    def __post_init__(self) -> None:
        shape = (len(self.names), len(self.names))
        check(self.share.shape == shape == self.multiple.shape, "a row a leader", shape)
        check(bool(((self.share >= 0.0) & (self.share <= 1.0)).all()), "shares")


def measure_co_jumps(
    names: Sequence[str], log_returns: ArrayLike, *, large: float = _LARGE
) -> CoJumps:
    """From joint log returns [time, name]: what is beyond `large` robust standard deviations.

    A pair of which the leader has fewer than five large moves is taken to jump together always and
    one for one, the careful reading; its `events` say so. Raises BadInput for returns that do not
    vary.

    >>> import numpy as np
    >>> quiet = np.tile([[0.01, 0.01], [-0.01, -0.01]], (50, 1))
    >>> falls = np.tile([[-0.2, -0.3]], (5, 1))
    >>> found = measure_co_jumps(("BTC", "ETH"), np.vstack([quiet, falls]))
    >>> float(found.share[0, 1]), round(float(found.multiple[0, 1]), 6)
    (1.0, 1.5)
    """
    r = np.asarray(log_returns, dtype=np.float64)
    check(r.ndim == 2 and r.shape[1] == len(names), "a column a name", r.shape)
    spread = 1.4826 * np.median(np.abs(r - np.median(r, axis=0)), axis=0)
    if not (np.isfinite(r).all() and bool((spread > 0.0).all())):
        raise BadInput(_problem("returns", "numbers that vary, of every name", "others"))
    big = np.abs(r) > large * spread
    count = len(names)
    share, multiple = np.ones((count, count)), np.ones((count, count))
    events = [int(big[:, k].sum()) for k in range(count)]
    for leader in range(count):
        if events[leader] < _EVENTS_MIN:
            continue
        mine = big[:, leader]
        for other in range(count):
            together = mine & big[:, other] & (r[:, leader] * r[:, other] > 0.0)
            share[leader, other] = together.sum() / mine.sum()
            if together.any():
                multiple[leader, other] = _through_origin(
                    np.abs(r[together, leader]), np.abs(r[together, other])
                )
    return CoJumps(names=tuple(names), share=share, multiple=multiple, events=tuple(events))


def horizon_masses(law: JumpLaw, *, days: float) -> tuple[Float64, Float64]:
    """Log moves (a grid) and the probability of each as the sum of all jumps in `days`.

    Compound Poisson: the transform of the sum is exp(Λ·(transform of one − 1)). What lies beyond
    the grid is put at its ends. The cell at 0 holds "no jump".

    >>> class Always:
    ...     jumps_per_year = 36.5
    ...     def size_cdf(self, size): return np.asarray(np.asarray(size) >= -0.1, dtype=float)
    >>> moves, mass = horizon_masses(Always(), days=1.0)
    >>> round(float(mass[np.abs(moves) < 1e-9].sum()), 6), round(math.exp(-0.1), 6)
    (0.904837, 0.904837)
    """
    step = 2.0 * _HALF / _POINTS
    grid = (np.arange(_POINTS) - _POINTS // 2) * step
    expected = law.jumps_per_year * days / 365.0
    edges = np.concatenate([[-np.inf], grid[1:] - 0.5 * step, [np.inf]])
    one = np.diff(np.asarray(law.size_cdf(edges), dtype=np.float64))
    transform = np.fft.rfft(np.fft.ifftshift(one))
    mass = np.fft.fftshift(np.fft.irfft(np.exp(expected * (transform - 1.0)), n=_POINTS))
    told: Float64 = np.maximum(np.asarray(mass, dtype=np.float64), 0.0)
    return np.asarray(grid, dtype=np.float64), told / float(told.sum())


@dataclass(frozen=True, slots=True, kw_only=True)
class Bins:
    """Moves of one coin's jumps in a horizon: mean log move and probability of each bin; what is
    left to 1 is no jump, or none to speak of."""

    log_move: Float64
    probability: Float64


def jump_bins(
    law: JumpLaw, *, days: float, tails: Sequence[float] = TAILS, least: float = 0.0
) -> Bins:
    """Cut the law of jumps in `days` at tail probabilities of each side, largest falls first.

    Jumps of a log size up to `least` count as none. A bin's move is its mean, so the set keeps
    the law's mean; its last bin holds all that lies beyond.
    """
    check(all(0.0 < t < 1.0 for t in tails), "tails are parts", tails)
    cuts = sorted(set(tails), reverse=True)
    grid, mass = horizon_masses(law, days=days)
    cell = grid[1] - grid[0]
    moves: list[float] = []
    weights: list[float] = []
    for sign in (-1.0, 1.0):
        mine = (sign * grid) > max(least, 0.5 * cell)
        x, w = np.abs(grid[mine]), mass[mine]
        order = np.argsort(x)
        x, w = x[order], w[order]
        total = float(w.sum())
        if total <= 0.0:
            continue
        beyond = 1.0 - (np.cumsum(w) - w) / total  # of this side, at or beyond each cell
        place = np.searchsorted(-np.array(cuts), -beyond, side="right")
        for bin_ in range(len(cuts) + 1):
            part = place == bin_
            weight = float(w[part].sum())
            if weight > 0.0:
                moves.append(sign * float(x[part] @ w[part]) / weight)
                weights.append(weight)
    order = np.argsort(moves)
    return Bins(log_move=np.array(moves)[order], probability=np.array(weights)[order])


def jump_shocks(
    laws: Mapping[str, JumpLaw],
    *,
    days: float,
    together: CoJumps | None = None,
    responses: Mapping[str, Response] | None = None,
    tails: Sequence[float] = TAILS,
    least: float = 0.0,
    name: str = "jumps",
) -> JointShocks:
    """The jumps of all coins in `days` as scenarios; the first is "no jump".

    A scenario has one leader. Each follower jumps with it in its measured share of cases (told as
    scenarios of their own: all followers that jump together in a share of cases, nested by share),
    by its measured multiple. A jump of several coins is told once by each that leads it, so a
    leader's probability is divided by how many coins are expected to jump in it: no jump counts
    twice. Without `together` every coin jumps alone. Volatility follows `responses`, sticky unless
    told.
    """
    names = tuple(laws)
    if not names:
        raise BadInput(_problem("laws", "at least one coin", "none"))
    moves: list[Float64] = [np.zeros(len(names))]
    weights: list[float] = [0.0]
    for leader, coin in enumerate(names):
        bins = jump_bins(laws[coin], days=days, tails=tails, least=least)
        for chance, followers in _companies(leader, names, together):
            for x, p in zip(bins.log_move, bins.probability, strict=True):
                weights.append(float(p) * chance / float((followers > 0.0).sum()))
                moves.append(x * followers)
    total = sum(weights)
    if total > 1.0:  # Many coins, each jumping often: at least one does for sure.
        weights = [one / total for one in weights]
    weights[0] = max(0.0, 1.0 - sum(weights[1:]))
    log_move = np.column_stack(moves)
    shifts = [
        (responses or {}).get(coin, STICKY).shifts(row)
        for coin, row in zip(names, log_move, strict=True)
    ]
    level, skew, term = (np.array([one[k] for one in shifts]) for k in range(3))
    return JointShocks(
        name=name, underlyings=names, move=np.expm1(log_move), level=level, skew=skew, term=term,
        basis=np.zeros_like(log_move), weight=np.array(weights) / sum(weights),
        time_ms=np.zeros(len(weights), dtype=np.int64),
    )  # fmt: skip


def _companies(
    leader: int, names: tuple[str, ...], together: CoJumps | None
) -> list[tuple[float, Float64]]:
    """(chance, [name] multiple of the leader's move): who jumps along, nested by share."""
    alone = np.zeros(len(names))
    alone[leader] = 1.0
    if together is None or len(names) == 1:
        return [(1.0, alone)]
    row = together.names.index(names[leader])
    columns = [together.names.index(name) for name in names]
    share = np.array([together.share[row, c] for c in columns])
    multiple = np.array([together.multiple[row, c] for c in columns])
    share[leader] = multiple[leader] = 1.0
    told: list[tuple[float, Float64]] = []
    levels = [*sorted(set(share.tolist()), reverse=True), 0.0]
    for high, low in pairwise(levels):
        told.append((high - low, np.where(share >= high, multiple, 0.0)))
    return [(chance, who) for chance, who in told if chance > 0.0]


def no_trading(
    laws: Mapping[str, JumpLaw],
    *,
    hours: float,
    margin_hours: float,
    share: float,
    vols: Mapping[str, float],
    together: CoJumps | None = None,
    responses: Mapping[str, Response] | None = None,
) -> JointShocks:
    """Nobody can trade for `hours`: the loss runs over them and the margin period besides.

    Two scenarios a leader, down and up: the move that a `share` of all moves of that time stay
    within, of its jumps and of a diffusion of `vols` (per √year) together.
    """
    check(0.5 < share < 1.0 and hours > 0.0, "a share above a half", share, hours)
    days = (hours + margin_hours) / 24.0
    ends: dict[str, tuple[float, float]] = {}
    for coin, law in laws.items():
        grid, mass = horizon_masses(law, days=days)
        spread = vols[coin] * math.sqrt(days / 365.0)
        ends[coin] = (
            _smoothed_quantile(grid, mass, spread, 1.0 - share),
            _smoothed_quantile(grid, mass, spread, share),
        )
    return _told_moves(f"no-trading-{hours:g}h", ends, together, responses)


def _smoothed_quantile(grid: Float64, mass: Float64, spread: float, p: float) -> float:
    """Of the sum of a law on a grid and a normal of that spread."""
    held = np.flatnonzero(mass > 1e-15)
    low, high = float(grid[0]), float(grid[-1])
    for _ in range(60):
        middle = 0.5 * (low + high)
        below = float(ndtr((middle - grid[held]) / spread) @ mass[held])
        low, high = (middle, high) if below < p else (low, middle)
    return 0.5 * (low + high)


def outage(
    underlyings: Sequence[str], *, moves: Mapping[str, float], basis: float, name: str = "outage"
) -> JointShocks:
    """A venue is down while others trade: prices move by ±`moves` (log) and its dated contracts
    part from them by ±`basis` (annualised log), in every combination."""
    names = tuple(underlyings)
    columns = [(s, b) for s in (-1.0, 1.0) for b in (-basis, 0.0, basis)]
    log_move = np.array([[s * moves[coin] for s, _ in columns] for coin in names])
    zero = np.zeros_like(log_move)
    return JointShocks(
        name=name, underlyings=names, move=np.expm1(log_move), level=zero, skew=zero, term=zero,
        basis=np.tile([b for _, b in columns], (len(names), 1)),
        weight=np.full(len(columns), 1.0 / len(columns)),
        time_ms=np.zeros(len(columns), dtype=np.int64),
    )  # fmt: skip


def depeg(
    underlyings: Sequence[str],
    *,
    coin: str,
    falls: Sequence[float],
    contagion: Mapping[str, float] | None = None,
) -> JointShocks:
    """A stablecoin falls by each of `falls` (0.1 is 10 %) below its peg.

    `contagion`: underlying → its log move per unit of the stablecoin's; 0 where none is told.
    """
    names = tuple(underlyings)
    check(coin in names, "the stablecoin is an underlying", coin, names)
    if not falls or not all(0.0 < fall < 1.0 for fall in falls):
        raise BadInput(_problem("falls", "parts of the peg between 0 and 1", f"{list(falls)}"))
    of = {**(contagion or {}), coin: 1.0}
    log_fall = np.log1p(-np.array(falls, dtype=np.float64))
    log_move = np.array([of.get(name, 0.0) * log_fall for name in names])
    zero = np.zeros_like(log_move)
    return JointShocks(
        name=f"depeg-{coin.lower()}", underlyings=names, move=np.expm1(log_move), level=zero,
        skew=zero, term=zero, basis=zero, weight=np.full(len(log_fall), 1.0 / len(log_fall)),
        time_ms=np.zeros(len(log_fall), dtype=np.int64),
    )  # fmt: skip


def _told_moves(
    name: str,
    ends: Mapping[str, tuple[float, float]],
    together: CoJumps | None,
    responses: Mapping[str, Response] | None,
) -> JointShocks:
    names = tuple(ends)
    columns: list[Float64] = []
    for leader, coin in enumerate(names):
        _, followers = _companies(leader, names, together)[-1]
        columns += [end * followers for end in ends[coin]]
    log_move = np.column_stack(columns)
    shifts = [
        (responses or {}).get(coin, STICKY).shifts(row)
        for coin, row in zip(names, log_move, strict=True)
    ]
    level, skew, term = (np.array([one[k] for one in shifts]) for k in range(3))
    return JointShocks(
        name=name, underlyings=names, move=np.expm1(log_move), level=level, skew=skew, term=term,
        basis=np.zeros_like(log_move), weight=np.full(len(columns), 1.0 / len(columns)),
        time_ms=np.zeros(len(columns), dtype=np.int64),
    )  # fmt: skip


def _problem(source: str, expected: str, found: str) -> Problem:
    return Problem(code=Reject.INPUT_INVALID, source=source, expected=expected, found=found)
