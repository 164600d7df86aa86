"""Models that jump (Merton, Kou, SVCJ) fitted to a surface of option volatilities.

The error of a point is (model price − Black price of its volatility) / vega: to first order the
error in volatility. All expiries are fitted at once, by bounded least squares from several starts.
During the search Lewis's integral runs over fixed nodes; the quality that is told is that of the
adaptive integral, inverted to volatilities.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import least_squares

from solvent.errors import BadInput, Problem, Reject, check
from solvent.pricing.black import black76
from solvent.pricing.implied import implied_vol
from solvent.pricing.transforms import (
    Characteristic,
    Complex128,
    Heston,
    Kou,
    Svcj,
    transform_price,
)
from solvent.units import Float64

POINTS_MIN: Final = 12
"""A model of up to nine parameters needs this many volatilities."""
_REACH: Final = 2.5
"""Points further from the forward than so many standard deviations tell of ticks, not of laws."""
_DAYS_MIN: Final = 2.0
_PER_EXPIRY: Final = 15
_EXPIRIES: Final = 8
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(160)
_POOR: Final = 0.05
_FREQUENCIES: Final = np.geomspace(8.0, 1e5, 120)


class SurfaceNote(StrEnum):
    """What is to be known about a fit to a surface."""

    AT_BOUND = "a parameter lies at its bound"
    POOR = "the typical error is above five points of volatility"
    NOT_CONVERGED = "the best start used up its evaluations: the fit may still improve"
    STARTS_DISAGREE = "starts of about the same quality ended at other parameters"
    THINNED = "expiries or strikes were left out to keep the search short; quality is over all"


@dataclass(frozen=True, slots=True, kw_only=True)
class VolPoints:
    """Volatilities to fit; axis: point. `k` is ln(strike/forward)."""

    years: Float64
    k: Float64
    vol: Float64

    def __len__(self) -> int:
        return len(self.k)


@dataclass(frozen=True, slots=True, kw_only=True)
class SurfaceModel:
    """A fitted model and its quality, in volatility (0.01 is a point).

    `error` is by point of `points`: model − told, NaN where the model's price has no volatility.
    """

    kind: str
    parameters: dict[str, float]
    characteristic: Characteristic
    points: VolPoints
    error: Float64
    notes: tuple[SurfaceNote, ...]

    @property
    def rmse(self) -> float:
        """Root mean square error in volatility."""
        return float(np.sqrt(np.nanmean(self.error**2)))

    @property
    def median(self) -> float:
        """Median absolute error in volatility."""
        return float(np.nanmedian(np.abs(self.error)))

    def by_expiry(self) -> list[tuple[float, int, float]]:
        """(years, points, root mean square error) of each expiry."""
        told = []
        for years in np.unique(self.points.years).tolist():
            mine = self.error[self.points.years == years]
            told.append((years, len(mine), float(np.sqrt(np.nanmean(mine**2)))))
        return told


@dataclass(frozen=True, slots=True)
class _Kind:
    names: tuple[str, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    starts: tuple[tuple[float, ...], ...]
    make: Callable[[Any], Characteristic]


@dataclass(frozen=True, slots=True)
class MertonCharacteristic:
    """φ(u) of Merton's law: exp(T·(−σ²(u² + iu)/2 + λ(e^(iuμ − u²δ²/2) − 1 − iu·k̄)))."""

    vol: float
    jumps_per_year: float
    log_jump: float
    log_jump_sd: float

    def __call__(self, u: Complex128, years: float) -> Complex128:
        """φ(u) over `years`."""
        jump = np.exp(1j * u * self.log_jump - 0.5 * (u * self.log_jump_sd) ** 2) - 1.0
        mean = np.expm1(self.log_jump + 0.5 * self.log_jump_sd**2)
        diffusion = -0.5 * self.vol**2 * (u * u + 1j * u)
        return np.asarray(
            np.exp(years * (diffusion + self.jumps_per_year * (jump - 1j * u * mean)))
        )


def _merton(x: Any) -> Characteristic:
    return MertonCharacteristic(float(x[0]), float(x[1]), float(x[2]), float(x[3]))


def _kou(x: Any) -> Characteristic:
    return Kou(
        sigma=float(x[0]), jumps_per_year=float(x[1]), up_probability=float(x[2]),
        up_rate=1.0 / float(x[3]), down_rate=1.0 / float(x[4]),
    )  # fmt: skip


def _svcj(x: Any) -> Characteristic:
    kappa, theta, sigma, rho, v0, rate, mean, sd, variance = (float(one) for one in x)
    heston = Heston(kappa=kappa, theta=theta, sigma=sigma, rho=rho, v0=v0)
    return Svcj(
        heston=heston, jumps_per_year=rate, log_jump=mean, log_jump_sd=sd, variance_jump=variance
    )


KINDS: Final = {
    "merton": _Kind(
        ("vol", "jumps_per_year", "log_jump", "log_jump_sd"),
        (0.05, 0.0, -1.0, 0.01), (3.0, 100.0, 1.0, 1.0),
        ((0.4, 2.0, -0.1, 0.15), (0.5, 0.5, -0.2, 0.3), (0.3, 20.0, -0.02, 0.08)),
        _merton,
    ),
    "kou": _Kind(
        ("vol", "jumps_per_year", "up_probability", "up_mean", "down_mean"),
        (0.05, 0.0, 0.0, 0.005, 0.005), (3.0, 200.0, 1.0, 0.9, 1.0),
        ((0.4, 5.0, 0.4, 0.1, 0.12), (0.35, 40.0, 0.4, 0.04, 0.05), (0.5, 1.0, 0.3, 0.2, 0.25)),
        _kou,
    ),
    "svcj": _Kind(
        ("kappa", "theta", "sigma", "rho", "v0", "jumps_per_year", "log_jump", "log_jump_sd",
         "variance_jump"),
        (0.05, 0.01, 0.05, -0.98, 0.005, 0.0, -0.8, 0.01, 0.0),
        (40.0, 4.0, 8.0, 0.98, 6.0, 60.0, 0.8, 0.8, 3.0),
        (
            (4.0, 0.25, 1.5, -0.2, 0.2, 1.0, -0.1, 0.15, 0.1),
            (8.0, 0.35, 2.5, -0.1, 0.3, 4.0, -0.03, 0.1, 0.05),
        ),
        _svcj,
    ),
}  # fmt: skip


def fit_surface_model(points: VolPoints, *, kind: str, evaluations: int = 60) -> SurfaceModel:
    """Fit a model (`merton`, `kou` or `svcj`) to volatilities of any number of expiries.

    Points without a positive volatility, with less than two days to go or beyond 2.5 standard
    deviations are not fitted. Raises BadInput for a model that there is not, and for fewer than
    twelve points.
    """
    if kind not in KINDS:
        raise BadInput(_problem("model", f"one of {', '.join(KINDS)}", kind))
    held = _fitted_to(points)
    if len(held) < POINTS_MIN:
        raise BadInput(_problem("surface", f"at least {POINTS_MIN} volatilities", f"{len(held)}"))
    model = KINDS[kind]
    thin = _thinned(held)
    search = _Search(model, thin)
    ends = [
        least_squares(
            search, np.array(start), bounds=(model.low, model.high), x_scale="jac",
            max_nfev=evaluations, loss="soft_l1", f_scale=0.02,
        )
        for start in model.starts
    ]  # fmt: skip
    best = min(ends, key=lambda end: float(end.cost))
    characteristic = model.make(best.x)
    error = _vol_errors(characteristic, held)
    notes = _notes(model, ends, best, error)
    if len(thin) < len(held):
        notes.append(SurfaceNote.THINNED)
    return SurfaceModel(
        kind=kind, parameters=dict(zip(model.names, best.x.tolist(), strict=True)),
        characteristic=characteristic, points=held, error=error, notes=tuple(notes),
    )  # fmt: skip


def _notes(model: _Kind, ends: list[Any], best: Any, error: Float64) -> list[SurfaceNote]:
    notes: list[SurfaceNote] = []
    width = np.array(model.high) - np.array(model.low)
    if bool((np.abs(best.active_mask) > 0).any()):
        notes.append(SurfaceNote.AT_BOUND)
    if best.status == 0:
        notes.append(SurfaceNote.NOT_CONVERGED)
    alike = [end for end in ends if end.cost <= 1.05 * best.cost]
    if any(float((np.abs(end.x - best.x) / width).max()) > 0.1 for end in alike):
        notes.append(SurfaceNote.STARTS_DISAGREE)
    if float(np.sqrt(np.nanmean(error**2))) > _POOR:
        notes.append(SurfaceNote.POOR)
    return notes


def _fitted_to(points: VolPoints) -> VolPoints:
    with np.errstate(invalid="ignore", divide="ignore"):
        deviations = np.abs(points.k) / (points.vol * np.sqrt(points.years))
        held = (
            np.isfinite(points.k) & (points.vol > 0.0) & (points.years * 365.0 >= _DAYS_MIN)
            & (deviations <= _REACH)
        )  # fmt: skip
    return _taken(points, np.flatnonzero(held))


def _taken(points: VolPoints, rows: Any) -> VolPoints:
    return VolPoints(years=points.years[rows], k=points.k[rows], vol=points.vol[rows])


def _thinned(points: VolPoints) -> VolPoints:
    """At most eight expiries and fifteen strikes of each, evenly over what there is."""
    expiries = np.unique(points.years)
    chosen = expiries[np.unique(np.linspace(0, len(expiries) - 1, _EXPIRIES).round().astype(int))]
    rows: list[int] = []
    for years in chosen.tolist():
        mine = np.flatnonzero(points.years == years)
        mine = mine[np.argsort(points.k[mine])]
        at = np.unique(np.linspace(0, len(mine) - 1, _PER_EXPIRY).round().astype(int))
        rows += mine[at].tolist()
    return _taken(points, np.array(rows, dtype=np.intp))


class _Search:
    """Errors in volatility, to first order, of a model at its parameters."""

    def __init__(self, model: _Kind, points: VolPoints) -> None:
        self.model, self.points = model, points
        side = np.where(points.k >= 0.0, 1.0, -1.0)
        strike = np.exp(points.k)
        self.target = black76(
            forward=1.0, strike=strike, years=points.years, vol=points.vol, side=side
        )
        v = points.vol * np.sqrt(points.years)
        d1 = 0.5 * v - points.k / v
        self.vega = np.exp(-0.5 * d1 * d1) * np.sqrt(points.years / (2.0 * np.pi))
        self.slices = [
            (years, np.flatnonzero(points.years == years))
            for years in np.unique(points.years).tolist()
        ]

    def __call__(self, x: Any) -> Float64:
        characteristic = self.model.make(x)
        error = np.empty(len(self.points))
        for years, rows in self.slices:
            k = self.points.k[rows]
            with np.errstate(all="ignore"):
                call = fixed_price(characteristic, k, years)
            price = np.where(k >= 0.0, call, call - 1.0 + np.exp(k))
            error[rows] = (price - self.target[rows]) / self.vega[rows]
        return np.clip(np.nan_to_num(error, nan=5.0, posinf=5.0, neginf=-5.0), -5.0, 5.0)


def fixed_price(characteristic: Characteristic, k: ArrayLike, years: float) -> Float64:
    """Calls on a forward of 1 by Lewis's integral over 160 fixed nodes, up to where |φ| < 1e-10.

    >>> lewis = Heston(kappa=4.0, theta=0.25, sigma=1.0, rho=-0.5, v0=0.04)
    >>> round(float(fixed_price(lewis, 0.0, 1.0)[0]), 6)
    0.168449
    >>> exact = transform_price(characteristic=lewis, forward=1.0, strike=1.0, years=1.0)
    >>> round(float(exact), 6)
    0.168449
    """
    x = -np.atleast_1d(np.asarray(k, dtype=np.float64))
    size = np.abs(characteristic((_FREQUENCIES - 0.5j).astype(np.complex128), years))
    small = np.flatnonzero(~(size / (_FREQUENCIES**2 + 0.25) > 1e-10))
    end = float(_FREQUENCIES[small[0]]) if small.size else float(_FREQUENCIES[-1])
    u = 0.5 * end * (_NODES + 1.0)
    phi = characteristic((u - 0.5j).astype(np.complex128), years) / (u * u + 0.25)
    integral = 0.5 * end * ((np.exp(1j * np.outer(x, u)) * phi).real @ _WEIGHTS)
    return np.asarray(1.0 - np.exp(-0.5 * x) / np.pi * integral)


def model_vols(characteristic: Characteristic, k: ArrayLike, years: float) -> Float64:
    """Black volatilities of a model at one expiry, by the adaptive integral; NaN where none."""
    x = np.atleast_1d(np.asarray(k, dtype=np.float64))
    side = np.where(x >= 0.0, 1.0, -1.0)
    price = transform_price(
        characteristic=characteristic, forward=1.0, strike=np.exp(x), years=years, side=side
    )
    return implied_vol(price=price, forward=1.0, strike=np.exp(x), years=years, side=side)


def _vol_errors(characteristic: Characteristic, points: VolPoints) -> Float64:
    error = np.empty(len(points))
    for years in np.unique(points.years).tolist():
        rows = np.flatnonzero(points.years == years)
        error[rows] = model_vols(characteristic, points.k[rows], years) - points.vol[rows]
    check(bool(np.isfinite(error).any()), "a fitted model has volatilities")
    return error


def _problem(source: str, expected: str, found: str) -> Problem:
    return Problem(code=Reject.INPUT_INVALID, source=source, expected=expected, found=found)
