"""Implied-variance smiles: raw SVI, its jump-wings form, SSVI, and what arbitrage forbids.

Raw SVI (Gatheral 2004) gives total variance w = σ²T in k = log(K/F):

    w(k) = a + b·(ρ·(k − m) + √((k − m)² + s²))

A smile has no butterfly arbitrage where g(k) = (1 − k·w′/2w)² − (w′²/4)(1/w + ¼) + w″/2 ≥ 0 and
its wings are no steeper than 2 (Lee). SSVI (Gatheral, Jacquier 2014) is a surface of them:

    w(k, θ) = θ/2·(1 + ρφk + √((φk + ρ)² + 1 − ρ²)),   φ = φ(θ)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import least_squares

from solvent.errors import check
from solvent.units import Float64

CHECK_RANGE = 3.0
"""Log-moneyness up to which butterfly arbitrage is looked for, either side."""
_CHECK_POINTS = 2_401


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

        −1 when total variance itself is not positive or a wing is steeper than 2.
        """
        if self.b * (1.0 + abs(self.rho)) > 2.0:
            return -1.0
        k = np.linspace(-CHECK_RANGE, CHECK_RANGE, _CHECK_POINTS)
        if float(np.min(self.w(k))) <= 0.0:
            return -1.0
        return float(np.min(self.g(k)))

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
        v_min=(raw.a + raw.b * raw.sigma * float(np.sqrt(1.0 - raw.rho**2))) / years,
        years=years,
    )


def from_jump_wings(wings: JumpWings) -> RawSvi:
    """Raw parameters of jump-wings ones (Gatheral, Jacquier 2014, lemma 3.2)."""
    w0 = wings.v * wings.years
    root_w0 = float(np.sqrt(w0))
    b = 0.5 * root_w0 * (wings.c + wings.p)
    rho = 1.0 - wings.p * root_w0 / b
    beta = rho - 2.0 * wings.psi * root_w0 / b
    check(abs(beta) <= 1.0, "the skew fits between the wings", beta)
    spread = (wings.v - wings.v_min) * wings.years
    if abs(beta) < 1e-12:
        sigma = spread / b / (1.0 - float(np.sqrt(1.0 - rho**2)))
        return RawSvi(a=w0 - b * sigma, b=b, rho=rho, m=0.0, sigma=sigma)
    alpha = float(np.sign(beta) * np.sqrt(1.0 / beta**2 - 1.0))
    m = spread / (
        b * (-rho + np.sign(alpha) * np.sqrt(1.0 + alpha**2) - alpha * np.sqrt(1.0 - rho**2))
    )
    sigma = float(alpha * m)
    a = wings.v_min * wings.years - b * sigma * float(np.sqrt(1.0 - rho**2))
    return RawSvi(a=float(a), b=b, rho=rho, m=float(m), sigma=sigma)


def without_butterfly(wings: JumpWings) -> JumpWings:
    """The nearest smile on the SSVI branch: keeps v, ψ and p, free of butterfly arbitrage.

    c′ = p + 2ψ and ṽ′ = v·4pc′/(p + c′)² (Gatheral, Jacquier 2014, section 5.1).
    """
    c = wings.p + 2.0 * wings.psi
    check(c > 0.0, "the call wing rises", c)
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
        limit = np.inf if self.rho == 0 else (1.0 + np.sqrt(1.0 - self.rho**2)) / self.rho**2
        return bool(0.0 <= growth <= limit)

    def _phi(self, theta: Float64) -> Float64:
        return np.asarray(self.eta * theta ** (-self.gamma))


def calendar(near: RawSvi, far: RawSvi) -> float:
    """Smallest w_far − w_near over |k| ≤ `CHECK_RANGE`: negative means calendar arbitrage."""
    k = np.linspace(-CHECK_RANGE, CHECK_RANGE, _CHECK_POINTS)
    return float(np.min(far.w(k) - near.w(k)))


def fit_svi(*, k: Float64, total_variance: Float64, weight: Float64 | None = None) -> RawSvi:
    """Raw SVI that fits the points best in weighted least squares, free of butterfly arbitrage.

    For given (m, s) the rest is linear (Zeliade 2009), so two numbers are searched for, from
    several starts. If the best fit can be arbitraged it is moved to the SSVI branch of its own
    at-the-money value, skew and put wing. Needs five points or more.

    >>> true = RawSvi(a=0.01, b=0.1, rho=-0.3, m=0.05, sigma=0.2)
    >>> k = np.linspace(-0.6, 0.6, 13)
    >>> found = fit_svi(k=k, total_variance=true.w(k))
    >>> bool(np.max(np.abs(found.w(k) - true.w(k))) < 1e-9)
    True
    """
    check(k.size >= 5, "a smile needs five points", k.size)
    weights = np.ones_like(k) if weight is None else np.sqrt(weight / np.max(weight))
    span = max(0.1, float(np.ptp(k)))

    def residual(x: Float64) -> Float64:
        smile = _linear_part(k, total_variance, weights, m=float(x[0]), s=float(np.exp(x[1])))
        return np.asarray((smile.w(k) - total_variance) * weights)

    bounds = ([float(k.min()) - span, np.log(1e-3)], [float(k.max()) + span, np.log(5.0)])
    starts = [
        (0.0, np.log(0.5 * span)),
        (0.0, np.log(0.1 * span)),
        (0.3 * span, np.log(0.3 * span)),
    ]
    fits = [
        least_squares(residual, start, bounds=bounds, xtol=1e-14, ftol=1e-14, gtol=1e-14)
        for start in starts
    ]
    best = min(fits, key=lambda fit: float(fit.cost))
    smile = _linear_part(k, total_variance, weights, m=float(best.x[0]), s=float(np.exp(best.x[1])))
    return smile if smile.butterfly() >= 0.0 else _repaired(smile)


def _linear_part(k: Float64, w: Float64, weights: Float64, *, m: float, s: float) -> RawSvi:
    """Best a, b, ρ for fixed m, s, inside |ρ| < 1 and Lee's bound."""
    y = k - m
    z = np.hypot(y, s)
    design = np.column_stack([np.ones_like(k), y, z]) * weights[:, None]
    (a, d, c), *_ = np.linalg.lstsq(design, w * weights, rcond=None)
    b = float(np.clip(c, 1e-8, 1.9))
    rho = float(np.clip(d / b, -0.999, 0.999))
    b = min(b, 2.0 / (1.0 + abs(rho)) * 0.999)
    if b != c or rho * b != d:
        a = np.average(w - b * (rho * y + z), weights=weights**2)
    return RawSvi(a=float(max(a, -b * s * np.sqrt(1.0 - rho**2))), b=b, rho=rho, m=m, sigma=s)


def _repaired(smile: RawSvi) -> RawSvi:
    wings = to_jump_wings(smile, 1.0)
    if wings.p + 2.0 * wings.psi <= 0.0:
        flattest = JumpWings(
            v=wings.v, psi=-0.49 * wings.p, p=wings.p, c=wings.c, v_min=wings.v_min, years=1.0
        )
        wings = flattest
    return from_jump_wings(without_butterfly(wings))
