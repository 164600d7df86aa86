"""Raw SVI smiles fitted to many expiries at once, free of butterfly arbitrage.

Everything is an array whose first axis is the slice: one expiry of one underlying. Strikes are
padded with weight 0, so a chain, or fifty chains, are one call. Two stages:

1. Quasi-explicit (Zeliade 2009): for each of some (m, s) the rest of the smile is a linear least
   squares problem with linear constraints. The best of the places is the start.
2. Levenberg and Marquardt in (log least variance, its place, log curvature there, log s,
   arctanh ρ), all slices side by side. What Durrleman's g, a wing of 2 and the smiles of the
   neighbouring expiries lack is added to the errors.

What is left of butterfly arbitrage is then taken away by moving toward the best SSVI slice, which
has none for any k. Calendar arbitrage that is left is `Surface`'s to take away.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from solvent.errors import check
from solvent.market.surface import Smiles
from solvent.pricing.arbitrage import GRID_REACH, least_g
from solvent.units import Float64

STRIKES_MIN = 5
"""Fewer strikes do not tell five numbers."""
_G_MIN = 1e-4
"""Times the penalty: what g is aimed at, a little above 0."""
_WING_MAX = 1.99
_X_MAX = 12.0
_PENALTY_POINTS = 96
_PENALTIES = (3.0, 30.0, 100.0)
_CALENDAR_WEIGHT = 0.3
_CALENDAR_ROUNDS = 3
_CALENDAR_POINTS = 48
_REACH = 3.0
_D1_BAND = 1.6448536269514722
"""N(d₁) from 5 to 95 %."""
_BEYOND, _WEIGHT_MIN = 0.15, 1e-3
_EVEN_ROUNDS, _EVEN_WEIGHT, _EVEN_MIN, _ERROR_MIN = 2, 0.2, 0.3, 1e-4
"""Rounds toward least absolute errors: whose median tells the scale, and the least part of it."""
_ITERATIONS_MAX = 40
_TOUCH_UP = 10
"""Iterations where a search goes on from a place that was nearly right."""
_CONVERGED = 1e-6
_STEP = 1e-7
_DAMPING_MAX = 1e8
_COARSE_PLACES = np.linspace(-0.5, 1.5, 9)
_COARSE_WIDTHS = np.geomspace(0.02, 2.0, 6)
_PARTS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.4, 0.7, 1.0)

Residuals = Callable[[Float64, NDArray[np.intp]], Float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Points:
    """What is to be fitted; axes [slice, strike]. Padding has weight 0, k = 0 and w = 1.

    Attributes:
        k: log(K/F). w: total variance σ²T, above 0.
        weight: of the squared error of σ; only ratios within a slice matter.
        book: slices of one book are neighbours in time where they follow each other.
    """

    k: Float64
    w: Float64
    weight: Float64
    book: NDArray[np.int64]
    strikes_min: int = STRIKES_MIN

    def __post_init__(self) -> None:
        """Hold the axes and signs together."""
        check(self.k.shape == self.w.shape == self.weight.shape, "one shape", self.k.shape)
        check(self.book.shape == self.k.shape[:1], "a book a slice", self.book.shape)
        finite = np.isfinite(self.k) & np.isfinite(self.w) & np.isfinite(self.weight)
        check(bool(finite.all()), "points are finite")
        check(bool((self.w > 0.0).all() and (self.weight >= 0.0).all()), "w > 0 and weights ≥ 0")
        count = int((self.weight > 0.0).sum(axis=1).min(initial=STRIKES_MIN))
        check(count >= self.strikes_min, "a smile has its strikes", count)


def band_weight(k: Float64, w: Float64) -> Float64:
    """1 where |delta| is 5 … 95 %; beyond that 0.15, falling as vega does, to 0.001.

    >>> band_weight(np.array([0.0, 0.5]), np.array([0.04, 0.04])).round(4).tolist()
    [1.0, 0.0326]
    """
    d1 = 0.5 * np.sqrt(w) - k / np.sqrt(w)
    beyond = _BEYOND * np.exp(-0.5 * np.maximum(d1 * d1 - _D1_BAND**2, 0.0))
    return np.where(np.abs(d1) <= _D1_BAND, 1.0, np.maximum(beyond, _WEIGHT_MIN))


def fit_smiles(points: Points) -> Smiles:
    """A smile for each slice: g ≥ 0 for all k, wings below 2, near the points.

    Errors are those of σ, relative. Least squares first; then each point counts less the larger
    its error, so that the sum comes near one of absolute errors and a wrong point bends little.

    >>> k = np.linspace(-0.6, 0.6, 13)[None, :]
    >>> true = Smiles(*(np.array([x]) for x in (0.01, 0.1, -0.3, 0.05, 0.2)))
    >>> found = fit_smiles(Points(k=k, w=true.w(k), weight=np.ones_like(k), book=np.array([0])))
    >>> bool(np.max(np.abs(found.w(k) / true.w(k) - 1.0)) < 1e-6)
    True
    """
    check(points.strikes_min >= STRIKES_MIN, "a smile needs five strikes", points.strikes_min)
    search = _Search.of(points)
    x = search.parameters(_coarse(points, search.share))
    every = np.arange(len(points.k))
    x = levenberg(search.residuals(_PENALTIES[0]), x, every)
    for _ in range(_EVEN_ROUNDS):
        search.even(search.smiles(x, every))
        x = levenberg(search.residuals(_PENALTIES[0]), x, every, iterations=_TOUCH_UP)
    x = _sounder(search, x, every)
    for _ in range(_CALENDAR_ROUNDS):
        crossing = search.bind(search.smiles(x, every))
        if not crossing.size:
            break
        x = levenberg(search.residuals(_PENALTIES[0]), x, crossing, iterations=_TOUCH_UP)
        x = _sounder(search, x, crossing)
    return _sound(points, search.smiles(x, every), search.share)


def _sounder(search: _Search, x: Float64, rows: NDArray[np.intp]) -> Float64:
    """Search again, with what g lacks weighing more, where it is still below zero."""
    for penalty in _PENALTIES[1:]:
        rows = rows[least_g(search.smiles(x, rows)) < 0.0]
        if not rows.size:
            break
        x = levenberg(search.residuals(penalty), x, rows, iterations=2 * _TOUCH_UP)
    return x


@dataclass(slots=True)
class _Search:
    """What the errors are made of. `floor` and `roof` are neighbours' variances on `grid`."""

    points: Points
    share: Float64
    """Root of each point's part in the mean squared relative error of w."""
    unit: Float64
    """Root of a slice's typical total variance: its own yardstick for k; [slice]."""
    grid: Float64
    floor: Float64
    roof: Float64

    @classmethod
    def of(cls, points: Points) -> _Search:
        weight = points.weight * points.w
        share = np.sqrt(weight / weight.sum(axis=1, keepdims=True))
        masked = np.where(points.weight > 0.0, points.w, np.nan)
        unit = np.sqrt(np.nanmedian(masked, axis=1))
        reach = np.arcsinh(_REACH / unit)[:, None]
        grid = unit[:, None] * np.sinh(reach * np.linspace(-1.0, 1.0, _CALENDAR_POINTS))
        none = np.full(grid.shape, np.inf)
        return cls(points, share, unit, grid, floor=-none, roof=none)

    def parameters(self, smiles: Smiles) -> Float64:
        """Smiles as places of the search, [slice, 5]."""
        rho = np.clip(smiles.rho, -0.95, 0.95)
        root, unit = np.sqrt(1.0 - rho * rho), self.unit
        least = smiles.a + smiles.b * smiles.sigma * root
        return np.column_stack(
            [
                np.log(np.maximum(least, 1e-3 * unit * unit) / unit**2),
                (smiles.m - rho * smiles.sigma / root) / unit,
                np.log(np.maximum(smiles.b, 1e-6 * unit) * root**3 / smiles.sigma),
                np.log(smiles.sigma / unit),
                np.arctanh(rho),
            ]
        )

    def smiles(self, x: Float64, rows: NDArray[np.intp]) -> Smiles:
        """Smiles of rows at places x[rows]."""
        return self._at(x[rows], self.unit[rows])

    @staticmethod
    def _at(x: Float64, unit: Float64) -> Smiles:
        level, place, curve, width, tilt = np.clip(x, -_X_MAX, _X_MAX).T
        rho = np.tanh(tilt)
        root = 1.0 / np.cosh(tilt)
        s = unit * np.exp(width)
        b = np.exp(curve) * s / root**3
        a = unit * unit * np.exp(level) - b * s * root
        return Smiles(a, b, rho, unit * place + rho * s / root, s)

    def residuals(self, penalty: float) -> Residuals:
        """Errors of rows at places x, [row, error]."""
        t = np.linspace(-1.0, 1.0, _PENALTY_POINTS)

        def errors(x: Float64, rows: NDArray[np.intp]) -> Float64:
            smiles, p = self._at(x, self.unit[rows]), self.points
            misfit = (smiles.w(p.k[rows]) / p.w[rows] - 1.0) * self.share[rows]
            lack = np.maximum(penalty * _G_MIN - smiles.g(smiles.around(t, GRID_REACH)), 0.0)
            lack = lack / (1.0 + lack) * (penalty / _PENALTY_POINTS**0.5)
            wing = smiles.b * (1.0 + np.abs(smiles.rho))
            steep = penalty * np.maximum(wing - _WING_MAX, 0.0)[:, None]
            parts = [misfit, lack, steep]
            floor, roof = self.floor[rows], self.roof[rows]
            if np.isfinite(floor).any() or np.isfinite(roof).any():
                w = smiles.w(self.grid[rows])
                short = np.maximum(floor / w - 1.0, 0.0) + np.maximum(w / roof - 1.0, 0.0)
                parts.append(np.log1p(short) * (_CALENDAR_WEIGHT / _CALENDAR_POINTS**0.5))
            return np.concatenate(parts, axis=1)

        return errors

    def even(self, smiles: Smiles) -> None:
        """Let points count less the larger their errors are to their slice's typical one."""
        points = self.points
        error = np.abs(np.sqrt(smiles.w(points.k) / points.w) - 1.0)
        most = points.weight.max(axis=1, keepdims=True)
        counting = np.where(points.weight >= _EVEN_WEIGHT * most, error, np.nan)
        typical = np.maximum(np.nanmedian(counting, axis=1, keepdims=True), _ERROR_MIN)
        weight = points.weight * points.w / np.maximum(error / typical, _EVEN_MIN)
        self.share = np.sqrt(weight / weight.sum(axis=1, keepdims=True))

    def bind(self, smiles: Smiles) -> NDArray[np.intp]:
        """Set floors and roofs where neighbours cross; the slices that must move.

        A wing beyond a slice's own strikes is a guess and gives way; among them the quotes decide.
        """
        points, book = self.points, self.points.book
        near = np.flatnonzero(book[1:] == book[:-1])
        far = near + 1
        self.floor[:], self.roof[:] = -np.inf, np.inf
        moved = np.zeros(len(book), dtype=bool)
        told = points.weight > 0.0
        low = np.where(told, points.k, np.inf).min(axis=1)[:, None]
        high = np.where(told, points.k, -np.inf).max(axis=1)[:, None]
        for mine, other, bound in ((near, far, self.roof), (far, near, self.floor)):
            k = self.grid[mine]
            my_w, other_w = smiles.at(mine).w(k), smiles.at(other).w(k)
            guess = (k < low[mine]) | (k > high[mine])
            both = guess & ((k < low[other]) | (k > high[other]))
            wrong = (my_w > other_w) if bound is self.roof else (my_w < other_w)
            crossed = (wrong & guess).any(axis=1)
            limit = np.where(both, 0.5 * (my_w + other_w), other_w)
            bound[mine[crossed]] = np.where(guess, limit, bound[mine])[crossed]
            moved[mine[crossed]] = True
        return np.flatnonzero(moved)


def levenberg(
    residuals: Residuals, x: Float64, rows: NDArray[np.intp], *, iterations: int = _ITERATIONS_MAX
) -> Float64:
    """Least squares by Levenberg and Marquardt on rows side by side, from x[rows]: x with the best.

    `residuals(x[rows], rows)` gives errors as [row, error]. A row stops when its steps no longer
    help; numbers of x stay within ±12.
    """
    x = x.copy()
    errors = residuals(x[rows], rows)
    cost = np.einsum("se,se->s", errors, errors)
    damping = np.full(rows.size, 1e-3)
    active = np.arange(rows.size)
    for _ in range(iterations):
        here, mine = rows[active], errors[active]
        place = x[here]
        slope = np.stack(
            [(residuals(place + _STEP * unit, here) - mine) / _STEP for unit in np.eye(x.shape[1])],
            axis=2,
        )
        normal = np.einsum("sei,sej->sij", slope, slope)
        scale = np.einsum("sii->si", normal)
        scale = np.maximum(scale, 1e-12 * scale.max(axis=1, keepdims=True) + 1e-30)
        normal += (damping[active, None] * scale)[:, :, None] * np.eye(x.shape[1])
        ahead = np.linalg.solve(normal, np.einsum("sei,se->si", slope, mine)[:, :, None])[:, :, 0]
        trial = np.clip(place - np.clip(ahead, -2.0, 2.0), -_X_MAX, _X_MAX)
        there = residuals(trial, here)
        reached = np.einsum("se,se->s", there, there)
        better = reached < cost[active]
        gain = cost[active] - reached
        taken = active[better]
        x[rows[taken]], errors[taken] = trial[better], there[better]
        damping[active] = np.where(better, damping[active] * 0.2, damping[active] * 5.0)
        settled = better & (gain <= _CONVERGED * cost[active])
        cost[taken] = reached[better]
        active = active[~(settled | (damping[active] > _DAMPING_MAX) | (cost[active] < 1e-26))]
        if not active.size:
            break
    return x


def _coarse(points: Points, share: Float64) -> Smiles:
    """The best smile for some (m, s) of each slice."""
    told = points.weight > 0.0
    low = np.where(told, points.k, np.inf).min(axis=1)
    span = np.where(told, points.k, -np.inf).max(axis=1) - low
    span = np.maximum(span, 1e-6)
    places, widths = (x.ravel() for x in np.meshgrid(_COARSE_PLACES, _COARSE_WIDTHS))
    m = low[:, None] + span[:, None] * places
    s = span[:, None] * widths
    smile, cost = _linear_part(points, share, m, s)
    best = np.arange(len(cost)), np.argmin(cost, axis=1)
    a, b, rho = (column[best] for column in smile)
    return Smiles(a, b, rho, m[best], s[best])


def _linear_part(
    points: Points, share: Float64, m: Float64, s: Float64
) -> tuple[tuple[Float64, Float64, Float64], Float64]:
    """Best (a, b, ρ) for each (m, s) with b ≥ 0 and |ρ| ≤ 1, and its cost; axes [slice, place].

    Inside the cone by the three normal equations; where their answer lies outside, on the better
    of its two faces, or flat.
    """
    y = (points.k[:, None, :] - m[:, :, None]) / s[:, :, None]
    z = y * y / (1.0 + np.hypot(1.0, y))  # √(1 + y²) − 1
    root = (share / points.w)[:, None, :]
    columns = np.stack(np.broadcast_arrays(root, y * root, z * root), axis=3)
    target = np.broadcast_to(share[:, None, :], y.shape)
    level, tilt, bend = np.moveaxis(_solve(columns, target), 2, 0)
    cost = _cost(columns, (level, tilt, bend), target)
    outside = bend < np.abs(tilt)
    cost[outside] = np.inf
    for sign in (-1.0, 1.0):
        face = np.stack([columns[..., 0], columns[..., 2] + sign * columns[..., 1]], axis=3)
        base, slope = np.moveaxis(_solve(face, target), 2, 0)
        flat = slope < 0.0
        mean = (face[..., 0] * target).sum(axis=2) / (face[..., 0] ** 2).sum(axis=2)
        base, slope = np.where(flat, mean, base), np.maximum(slope, 0.0)
        on_face = _cost(columns, (base, sign * slope, slope), target)
        take = outside & (on_face < cost)
        cost = np.where(take, on_face, cost)
        level, bend = np.where(take, base, level), np.where(take, slope, bend)
        tilt = np.where(take, sign * slope, tilt)
    rho = np.divide(tilt, bend, out=np.zeros_like(tilt), where=bend > 0.0)
    return (level - bend, bend / s, rho), cost


def _solve(columns: Float64, target: Float64) -> Float64:
    """Normal equations over the third axis, a trifle ridged so that they always have an answer."""
    normal = np.einsum("spki,spkj->spij", columns, columns)
    size = normal.shape[-1]
    ridge = 1e-12 * np.einsum("spii->sp", normal)[:, :, None, None] + 1e-300
    right = np.einsum("spki,spk->spi", columns, target)
    return np.asarray(np.linalg.solve(normal + ridge * np.eye(size), right[..., None])[..., 0])


def _cost(columns: Float64, numbers: tuple[Float64, Float64, Float64], target: Float64) -> Float64:
    error = np.einsum("spki,spi->spk", columns, np.stack(numbers, axis=2)) - target
    return np.asarray(np.einsum("spk,spk->sp", error, error))


def _sound(points: Points, smiles: Smiles, share: Float64) -> Smiles:
    """Smiles with g ≥ 0: where it is not, the first such on the way to the best SSVI slice."""
    rows = np.flatnonzero(least_g(smiles) < 0.0)
    if not rows.size:
        return smiles
    anchor = _ssvi_slices(points, share, rows)
    best = smiles.at(rows)
    waiting = np.ones(rows.size, dtype=bool)
    for part in _PARTS:
        mixed = smiles.at(rows).toward(anchor, part)
        take = waiting & ((least_g(mixed) >= 0.0) | (part == 1.0))
        best = best.replaced(np.flatnonzero(take), mixed.at(np.flatnonzero(take)))
        waiting &= ~take
    return smiles.replaced(rows, best)


def _ssvi_slices(points: Points, share: Float64, rows: NDArray[np.intp]) -> Smiles:
    """Best slices with θφ(1 + |ρ|) < 4 and θφ²(1 + |ρ|) ≤ 4: sound for all k."""
    k, w, share = points.k[rows], points.w[rows], share[rows]
    distance = np.where(points.weight[rows] > 0.0, np.abs(k), np.inf)
    money = w[np.arange(rows.size), np.argmin(distance, axis=1)]

    def smiles(x: Float64, mine: NDArray[np.intp]) -> Smiles:
        level, skew, part = np.clip(x, -_X_MAX, _X_MAX).T
        theta, rho = money[mine] * np.exp(level), 0.999 * np.tanh(skew)
        tilt = theta * (1.0 + np.abs(rho))
        phi = 0.999 / (1.0 + np.exp(-part)) * np.minimum(4.0 / tilt, 2.0 / np.sqrt(tilt))
        root = np.sqrt(1.0 - rho * rho)
        return Smiles(0.5 * theta * root**2, 0.5 * theta * phi, rho, -rho / phi, root / phi)

    def errors(x: Float64, mine: NDArray[np.intp]) -> Float64:
        return np.asarray((smiles(x, mine).w(k[mine]) / w[mine] - 1.0) * share[mine])

    every = np.arange(rows.size)
    start = np.tile([0.0, 0.0, -1.0], (rows.size, 1))
    return smiles(levenberg(errors, start, every), every)
