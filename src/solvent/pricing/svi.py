"""Implied-variance smiles: raw SVI, its jump-wings form, SSVI, and what arbitrage forbids.

Raw SVI (Gatheral 2004) gives total variance w = σ²T in k = log(K/F):

    w(k) = a + b·(ρ·(k − m) + √((k − m)² + s²))

A smile has no butterfly arbitrage where g(k) = (1 − k·w′/2w)² − (w′²/4)(1/w + ¼) + w″/2 ≥ 0 and
its wings are no steeper than 2 (Lee). SSVI (Gatheral, Jacquier 2014) is a surface of them:

    w(k, θ) = θ/2·(1 + ρφk + √((φk + ρ)² + 1 − ρ²)),   φ = φ(θ)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import least_squares

from solvent.errors import check
from solvent.units import Float64

CHECK_RANGE = 3.0
"""Log-moneyness up to which arbitrage is looked for, either side; 8 standard deviations if more."""
_CHECK_DEVIATIONS = 8.0
_CHECK_POINTS = 1_201
_ZOOM_POINTS = 65
_PENALTY_POINTS = 100
_G_MIN = 1e-3
_WING_MAX = 1.99
"""What a penalised fit aims at, a little inside g ≥ 0 and a wing of 2."""
_X_MAX = 12.0
_CLOSE = 1.04
"""A sum of squares this many times the least one is not worth a second search."""
_COARSE_PLACES = np.linspace(-0.5, 1.5, 13)
_COARSE_WIDTHS = np.geomspace(0.02, 2.0, 7)


@dataclass(frozen=True, slots=True, kw_only=True)
class RawSvi:
    """One expiry's smile; `w` is total variance. Pure numbers."""

    a: float
    b: float
    rho: float
    m: float
    sigma: float

    def w(self, k: ArrayLike) -> Float64:
        """Total variance at log-moneyness k.

        >>> vogt = RawSvi(a=-0.041, b=0.1331, rho=0.306, m=0.3586, sigma=0.4153)
        >>> round(float(vogt.w(0.0)), 12)
        0.017426252555
        """
        x = np.asarray(k, dtype=np.float64) - self.m
        return self.a + self.b * (self.rho * x + np.sqrt(x * x + self.sigma**2))

    def slope(self, k: ArrayLike) -> Float64:
        """dw/dk."""
        x = np.asarray(k, dtype=np.float64) - self.m
        return self.b * (self.rho + x / np.sqrt(x * x + self.sigma**2))

    def curvature(self, k: ArrayLike) -> Float64:
        """d²w/dk²."""
        x = np.asarray(k, dtype=np.float64) - self.m
        return np.asarray(self.b * self.sigma**2 / (x * x + self.sigma**2) ** 1.5)

    def g(self, k: ArrayLike) -> Float64:
        """Durrleman's function, the sign of the density: negative means butterfly arbitrage.

        >>> vogt = RawSvi(a=-0.041, b=0.1331, rho=0.306, m=0.3586, sigma=0.4153)
        >>> round(float(vogt.g(0.9)), 10)
        -0.0326851307
        """
        k = np.asarray(k, dtype=np.float64)
        w, slope = self.w(k), self.slope(k)
        return np.asarray(
            (1.0 - 0.5 * k * slope / w) ** 2
            - 0.25 * slope * slope * (1.0 / w + 0.25)
            + 0.5 * self.curvature(k)
        )

    def butterfly(self) -> float:
        """Smallest g over |k| ≤ `CHECK_RANGE`: negative when the smile can be arbitraged.

        −1 when total variance itself is not positive, a wing is steeper than 2, or the parameters
        make no smile (b < 0, |ρ| > 1, s ≤ 0).

        >>> vogt = RawSvi(a=-0.041, b=0.1331, rho=0.306, m=0.3586, sigma=0.4153)
        >>> round(vogt.butterfly(), 10)
        -0.0328635735
        """
        if self.b < 0.0 or abs(self.rho) > 1.0 or self.sigma <= 0.0:
            return -1.0
        if self.b * (1.0 + abs(self.rho)) > 2.0 or self.least() <= 0.0:
            return -1.0
        return _least(self.g, _points(self))

    def least(self) -> float:
        """Least total variance: a + b·s·√(1 − ρ²)."""
        return self.a + self.b * self.sigma * float(np.sqrt(1.0 - self.rho**2))

    def vol(self, k: ArrayLike, years: float) -> Float64:
        """Implied volatility at log-moneyness k."""
        return np.sqrt(np.maximum(self.w(k), 0.0) / years)


@dataclass(frozen=True, slots=True, kw_only=True)
class JumpWings:
    """SVI by what traders see: ATM variance, ATM skew, put and call wings, least variance."""

    v: float
    psi: float
    p: float
    c: float
    v_min: float
    years: float


def to_jump_wings(raw: RawSvi, years: float) -> JumpWings:
    """Jump-wings parameters of a raw smile (Gatheral, Jacquier 2014, eq. 3.5)."""
    root = float(np.hypot(raw.m, raw.sigma))
    w0 = float(raw.w(0.0))
    check(w0 > 0.0, "at-the-money variance is positive", w0)
    scale = 1.0 / np.sqrt(w0)
    return JumpWings(
        v=w0 / years,
        psi=float(0.5 * scale * raw.b * (raw.rho - raw.m / root)),
        p=float(scale * raw.b * (1.0 - raw.rho)),
        c=float(scale * raw.b * (1.0 + raw.rho)),
        v_min=raw.least() / years,
        years=years,
    )


def from_jump_wings(wings: JumpWings) -> RawSvi:
    """Raw parameters of jump-wings ones.

    With m = R·sin β, s = R·cos β and ρ = sin α the least variance lies b·R·(1 − cos(α − β)) below
    the one at the money, and ψ gives sin β: Gatheral and Jacquier's lemma 3.2 without its cases.
    Where both are one to a part in 1e12 (ψ = 0) the wings do not tell R, and there is no answer.
    """
    check(wings.v > 0.0 and wings.p >= 0.0 and wings.c >= 0.0, "the smile is a smile", wings)
    w0 = wings.v * wings.years
    root_w0 = float(np.sqrt(w0))
    b = 0.5 * root_w0 * (wings.c + wings.p)
    check(b > 0.0, "a wing rises", b)
    rho = (wings.c - wings.p) / (wings.c + wings.p)
    sine = rho - 2.0 * wings.psi * root_w0 / b
    check(abs(sine) <= 1.0, "the skew fits between the wings", sine)
    turn = float(np.sin(0.5 * (np.arcsin(rho) - np.arcsin(sine)))) ** 2
    fall = (wings.v - wings.v_min) * wings.years
    check(fall > 1e-12 * w0 and turn > 0.0, "the least variance is below the money's", fall)
    radius = fall / (2.0 * b * turn)
    sigma = radius * float(np.sqrt(1.0 - sine * sine))
    a = wings.v_min * wings.years - b * sigma * float(np.sqrt(1.0 - rho**2))
    return RawSvi(a=a, b=b, rho=rho, m=radius * sine, sigma=sigma)


def without_butterfly(wings: JumpWings) -> JumpWings:
    """The smile on the SSVI branch with the same v, ψ and p, free of butterfly arbitrage.

    c′ = p + 2ψ and ṽ′ = v·4pc′/(p + c′)² (Gatheral, Jacquier 2014, section 5.1). Raises
    InvariantBroken where p is so steep that this branch can be arbitraged too.
    """
    c = wings.p + 2.0 * wings.psi
    check(c > 0.0, "the call wing rises", c)
    steepest = max(wings.p, c)
    sound = np.sqrt(wings.v * wings.years) * steepest < 2.0 and (wings.p + c) * steepest <= 2.0
    check(bool(sound), "the branch is free of arbitrage", wings.p, c)
    v_min = wings.v * 4.0 * wings.p * c / (wings.p + c) ** 2
    return JumpWings(v=wings.v, psi=wings.psi, p=wings.p, c=c, v_min=v_min, years=wings.years)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ssvi:
    """A surface with the power law φ(θ) = η·θ^(−γ): θ is at-the-money total variance."""

    rho: float
    eta: float
    gamma: float

    def w(self, k: ArrayLike, theta: ArrayLike) -> Float64:
        """Total variance at log-moneyness k where at-the-money variance is θ."""
        k, theta = np.asarray(k, dtype=np.float64), np.asarray(theta, dtype=np.float64)
        x = self._phi(theta) * k
        return np.asarray(
            0.5 * theta * (1.0 + self.rho * x + np.sqrt((x + self.rho) ** 2 + 1.0 - self.rho**2))
        )

    def smile(self, theta: float) -> RawSvi:
        """The raw SVI smile at one θ."""
        phi = float(self._phi(np.asarray(theta)))
        root = float(np.sqrt(1.0 - self.rho**2))
        return RawSvi(
            a=0.5 * theta * (1.0 - self.rho**2),
            b=0.5 * theta * phi,
            rho=self.rho,
            m=-self.rho / phi,
            sigma=root / phi,
        )

    def free_of_butterfly(self, theta: float) -> bool:
        """The sufficient condition θφ(1 + |ρ|) < 4 and θφ²(1 + |ρ|) ≤ 4.

        >>> Ssvi(rho=-0.3, eta=0.8, gamma=0.5).free_of_butterfly(0.04)
        True
        """
        phi = float(self._phi(np.asarray(theta)))
        tilt = 1.0 + abs(self.rho)
        return theta * phi * tilt < 4.0 and theta * phi * phi * tilt <= 4.0

    def free_of_calendar(self, thetas: ArrayLike) -> bool:
        """0 ≤ d(θφ)/dθ ≤ φ(1 + √(1 − ρ²))/ρ², with θ not falling in time."""
        theta = np.asarray(thetas, dtype=np.float64)
        if bool((np.diff(theta) < 0).any()):
            return False
        growth = 1.0 - self.gamma
        return bool(growth >= 0.0 and growth * self.rho**2 <= 1.0 + np.sqrt(1.0 - self.rho**2))

    def _phi(self, theta: Float64) -> Float64:
        return np.asarray(self.eta * theta ** (-self.gamma))


def calendar(near: RawSvi, far: RawSvi) -> float:
    """Smallest w_far − w_near over |k| ≤ `CHECK_RANGE`: negative means calendar arbitrage.

    >>> near = Ssvi(rho=-0.3, eta=0.8, gamma=0.5).smile(0.04)
    >>> far = Ssvi(rho=-0.3, eta=0.8, gamma=0.5).smile(0.05)
    >>> calendar(near, far) > 0.0 > calendar(far, near)
    True
    """
    k = np.sort(np.concatenate([_points(near), _points(far)]))
    return _least(lambda k: far.w(k) - near.w(k), k)


def _points(smile: RawSvi, count: int = _CHECK_POINTS) -> Float64:
    """Log-moneynesses as dense as the smile bends: m + s·sinh(t), t in even steps."""
    reach = max(CHECK_RANGE, _CHECK_DEVIATIONS * max(0.0, float(smile.w(0.0))) ** 0.5)
    s = max(smile.sigma, 1e-9)
    low, high = np.arcsinh((-reach - smile.m) / s), np.arcsinh((reach - smile.m) / s)
    return np.asarray(smile.m + s * np.sinh(np.linspace(low, high, count)))


def _least(curve: Callable[[Float64], Float64], k: Float64) -> float:
    """Least value of a curve on points, looked at more closely round the least of them."""
    least = np.inf
    for _ in range(3):
        values = curve(k)
        place = int(np.argmin(values))
        least = min(least, float(values[place]))
        k = np.linspace(k[max(0, place - 1)], k[min(k.size - 1, place + 1)], _ZOOM_POINTS)
    return least


@dataclass(frozen=True, slots=True)
class _Smile:
    """Points to be fitted; `weight` is the root of each one's."""

    k: Float64
    w: Float64
    weight: Float64

    def misfit(self, smile: RawSvi) -> Float64:
        return (smile.w(self.k) - self.w) * self.weight

    def cost(self, smile: RawSvi) -> float:
        return float(np.sum(self.misfit(smile) ** 2))


def fit_svi(*, k: Float64, total_variance: Float64, weight: Float64 | None = None) -> RawSvi:
    """Raw SVI that fits the points best in weighted least squares, free of butterfly arbitrage.

    `weight` multiplies squared errors of total variance. By default each point's squared error of
    volatility counts with its vega, and with 1 % of the greatest vega at least. Five strikes are
    needed.

    For given (m, s) the rest is linear with linear constraints (Zeliade 2009), so two numbers are
    searched for. Where the best fit can be arbitraged, the least squares are penalised by how far
    g falls below zero, and what is left of that is taken away by moving toward a sound smile of
    the search, or toward the best SSVI slice where it had none.

    >>> true = RawSvi(a=0.01, b=0.1, rho=-0.3, m=0.05, sigma=0.2)
    >>> k = np.linspace(-0.6, 0.6, 13)
    >>> found = fit_svi(k=k, total_variance=true.w(k))
    >>> bool(np.max(np.abs(found.w(k) - true.w(k))) < 1e-9)
    True
    """
    check(k.shape == total_variance.shape == (k.size,), "one variance a strike", k.shape)
    check(bool(np.isfinite(k).all() and np.isfinite(total_variance).all()), "a smile is finite")
    check(bool((total_variance > 0.0).all()), "total variance is positive")
    weight = _vega_weight(k, total_variance) if weight is None else weight
    check(weight.shape == k.shape, "one weight a strike", weight.shape)
    check(bool((weight >= 0.0).all() and np.isfinite(weight).all()), "weights are not negative")
    count = np.unique(k[weight > 0.0]).size
    check(count >= 5, "a smile needs five strikes", count)
    points = _Smile(k, total_variance, np.sqrt(weight / np.max(weight)))
    coarse = _coarse(points)
    sound = next((smile for smile in coarse if smile.butterfly() >= 0.0), None)
    best = _closest(points, sound or coarse[0])
    if best.butterfly() >= 0.0:
        return best
    return _closest_sound(points, free=best, sound=sound or _ssvi_slice(points))


def _vega_weight(k: Float64, w: Float64) -> Float64:
    """n(d₁)/4w: a squared error of w becomes one of √w, times vega or 1 % of the greatest."""
    log_vega = -0.5 * (0.5 * np.sqrt(w) - k / np.sqrt(w)) ** 2
    return np.asarray(np.maximum(np.exp(log_vega - np.max(log_vega)), 1e-2) / (4.0 * w))


def _coarse(points: _Smile) -> list[RawSvi]:
    """The best smile for each of some (m, s), best first."""
    low, span = float(np.min(points.k)), float(np.ptp(points.k))
    found = [
        _linear_part(points, m=low + span * float(m), s=span * float(s))
        for m in _COARSE_PLACES
        for s in _COARSE_WIDTHS
    ]
    return sorted(found, key=points.cost)


def _closest(points: _Smile, start: RawSvi) -> RawSvi:
    """Best smile from a start, sound or not: least squares over (m, log s)."""
    low, span = float(np.min(points.k)), float(np.ptp(points.k))

    def smile(x: Float64) -> RawSvi:
        m, log_s = float(np.clip(x[0], -4.0, 5.0)), float(np.clip(x[1], -6.0, 3.0))
        return _linear_part(points, m=low + span * m, s=span * float(np.exp(log_s)))

    found = least_squares(
        lambda x: points.misfit(smile(x)),
        ((start.m - low) / span, np.log(start.sigma / span)),
        method="lm", xtol=1e-12, ftol=1e-12, max_nfev=100,
    )  # fmt: skip
    return smile(found.x)


def _linear_part(points: _Smile, *, m: float, s: float) -> RawSvi:
    """Best a, b, ρ for fixed m, s with b ≥ 0 and |ρ| ≤ 1: inside, on one of two faces, or flat."""
    y = (points.k - m) / s
    z = y * y / (1.0 + np.hypot(1.0, y))  # √(1 + y²) − 1
    target = points.w * points.weight

    def solve(*columns: Float64) -> Float64:
        design = np.column_stack([np.ones_like(y), *columns]) * points.weight[:, None]
        return np.asarray(np.linalg.lstsq(design, target, rcond=None)[0])

    level, tilt, bend = solve(y, z).tolist()
    if bend < abs(tilt):
        faces = []
        for sign in (-1.0, 1.0):
            face, slope = solve(z + sign * y).tolist()
            face = face if slope > 0.0 else float(np.average(points.w, weights=points.weight**2))
            slope = max(0.0, slope)
            error = (face + slope * (z + sign * y) - points.w) * points.weight
            faces.append((float(error @ error), face, sign * slope, slope))
        _, level, tilt, bend = min(faces)
    rho = tilt / bend if bend > 0.0 else 0.0
    return RawSvi(a=level - bend, b=bend / s, rho=rho, m=m, sigma=s)


def _closest_sound(points: _Smile, *, free: RawSvi, sound: RawSvi) -> RawSvi:
    """Best smile without butterfly arbitrage that is found from either start.

    The second search is spared where the first came close to what no smile can be better than.
    """
    found = [sound]
    for start in (sound, free):
        smile = start
        for penalty in (1.0, 10.0, 100.0):
            smile = _penalised(points, smile, penalty=penalty)
            if smile.butterfly() >= 0.0:
                break
        found.append(_toward(sound, smile))
        if points.cost(found[-1]) <= _CLOSE * points.cost(free):
            break
    return min(found, key=points.cost)


def _toward(sound: RawSvi, smile: RawSvi) -> RawSvi:
    """The first smile without arbitrage on the way from one to a sound one."""
    for part in (0.0, 0.003, 0.01, 0.03, 0.1, 0.2, 0.4, 0.7):
        mixed = RawSvi(
            **{
                name: (1.0 - part) * getattr(smile, name) + part * getattr(sound, name)
                for name in RawSvi.__slots__
            }
        )
        if mixed.butterfly() >= 0.0:
            return mixed
    return sound


def _penalised(points: _Smile, start: RawSvi, *, penalty: float) -> RawSvi:
    """Least squares with what g lacks to `_G_MIN` as further errors.

    Searched in the logs of the least variance, of the curvature there and of s, in its place and
    in arctanh ρ: all but s are known well from the points even when the smile is nearly a parabola.
    """
    unit = float(np.sqrt(np.median(points.w)))
    size = float(np.linalg.norm(points.w * points.weight))

    def smile(x: Float64) -> RawSvi:
        level, place, curve, width, tilt = np.clip(x, -_X_MAX, _X_MAX).tolist()
        rho = float(np.tanh(tilt))
        root = float(np.sqrt(1.0 - rho * rho))
        s = unit * float(np.exp(width))
        b = float(np.exp(curve)) * s / root**3
        return RawSvi(
            a=unit * unit * float(np.exp(level)) - b * s * root,
            b=b,
            rho=rho,
            m=unit * place + rho * s / root,
            sigma=s,
        )

    def errors(x: Float64) -> Float64:
        one = smile(x)
        lack = np.maximum(_G_MIN - one.g(_points(one, _PENALTY_POINTS)), 0.0)
        lack = lack / (1.0 + lack) / np.sqrt(_PENALTY_POINTS)
        steep = max(0.0, one.b * (1.0 + abs(one.rho)) - _WING_MAX)
        return np.concatenate([points.misfit(one) / size, penalty * lack, [penalty * steep]])

    rho = float(np.clip(start.rho, -0.95, 0.95))
    root = float(np.sqrt(1.0 - rho * rho))
    first = (
        np.log(max(start.a + start.b * start.sigma * root, 1e-3 * unit * unit) / unit**2),
        (start.m - rho * start.sigma / root) / unit,
        np.log(max(start.b, 1e-6 * unit) * root**3 / start.sigma),
        np.log(start.sigma / unit),
        np.arctanh(rho),
    )
    found = least_squares(errors, first, method="lm", xtol=1e-8, ftol=1e-8, max_nfev=40)
    return smile(found.x)


def _ssvi_slice(points: _Smile) -> RawSvi:
    """Best slice with θφ(1 + |ρ|) < 4 and θφ²(1 + |ρ|) ≤ 4: sound for all k."""
    at_the_money = float(points.w[np.argmin(np.abs(points.k))])

    def smile(x: Float64) -> RawSvi:
        level, skew, part = np.clip(x, -_X_MAX, _X_MAX).tolist()
        theta, rho = at_the_money * float(np.exp(level)), 0.999 * float(np.tanh(skew))
        tilt = theta * (1.0 + abs(rho))
        phi = 0.999 / (1.0 + float(np.exp(-part))) * min(4.0 / tilt, 2.0 / float(np.sqrt(tilt)))
        root = float(np.sqrt(1.0 - rho * rho))
        b = 0.5 * theta * phi
        return RawSvi(a=0.5 * theta * root**2, b=b, rho=rho, m=-rho / phi, sigma=root / phi)

    found = least_squares(
        lambda x: points.misfit(smile(x)), (0.0, 0.0, -1.0), method="lm", xtol=1e-8, ftol=1e-8,
        max_nfev=40,
    )  # fmt: skip
    return smile(found.x)
