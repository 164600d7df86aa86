"""European prices from a characteristic function: Heston, Bates, SVCJ and Kou.

A *characteristic* is φ(u) = E[exp(i·u·log(F_T/F₀))] for complex u, with φ(−i) = 1. Lewis (2001):

    C = F − √(F·K)/π · ∫₀^∞ Re[e^(i·u·log(F/K)) · φ(u − i/2)] / (u² + ¼) du

undiscounted; the put follows by parity. The integral runs over Gauss-Legendre panels up to where
the integrand is below 1e-17. A panel is halved until the last Legendre coefficients of the
integrand have died out on it, for every strike, so the error is that of rounding whatever the
model's own oscillation is. Divide by F for the coin price of an inverse option.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import log1p

from solvent.errors import check
from solvent.units import Float64

Complex128 = NDArray[np.complex128]
Characteristic = Callable[[Complex128, float], Complex128]
"""(u, years) → φ(u)."""

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(32)
_TIME_NODES, _TIME_WEIGHTS = np.polynomial.legendre.leggauss(64)
_LAST = np.arange(28, 32)
_LAST_COEFFICIENTS = (
    _WEIGHTS[:, None] * np.polynomial.legendre.legvander(_NODES, 31)[:, _LAST]
) * (_LAST + 0.5)
"""[node, degree]: values at the nodes times this are the Legendre coefficients of degree 28-31."""
_RESOLVED = 1e-11
"""Relative size of those coefficients at which a rule that is exact to degree 63 has converged."""
_NEGLIGIBLE = 1e-17
_FREQUENCIES = np.geomspace(16.0, 1e6, 500)
_FIRST_PANEL = 0.5
_PANELS_AT_ONCE = 64
_PANELS_MAX = 100_000


def transform_price(
    *,
    characteristic: Characteristic,
    forward: float,
    strike: ArrayLike,
    years: float,
    side: ArrayLike = 1.0,
    discount: float = 1.0,
) -> Float64:
    """Prices of options at the given strikes under one characteristic and expiry.

    >>> lewis = Heston(kappa=4.0, theta=0.25, sigma=1.0, rho=-0.5, v0=0.04)
    >>> import math
    >>> call = transform_price(characteristic=lewis, forward=100 * math.exp(-0.01), strike=100.0,
    ...                        years=1.0, discount=math.exp(-0.01))
    >>> round(float(call), 10)
    16.070154917
    """
    check(forward > 0.0 and years > 0.0, "forward and time are positive", forward, years)
    k = np.atleast_1d(np.asarray(strike, dtype=np.float64))
    check(bool(((k > 0.0) & np.isfinite(k)).all()), "strikes are positive")
    integral = _integral(characteristic, np.log(forward / k.ravel()), years).reshape(k.shape)
    call = forward - np.sqrt(forward * k) / np.pi * integral
    put = call - forward + k
    price = discount * np.where(np.asarray(side) > 0, call, put)
    return price.reshape(np.broadcast_shapes(np.shape(strike), np.shape(side)))


def _integral(characteristic: Characteristic, log_moneyness: Float64, years: float) -> Float64:
    """Lewis's integral by [strike], panels halved until they are resolved."""
    total, done = np.zeros_like(log_moneyness), 0
    start, end = _first_panels(_frequency_max(characteristic, years))
    while start.size:
        now = slice(-_PANELS_AT_ONCE, None)
        half, middle = 0.5 * (end[now] - start[now]), 0.5 * (end[now] + start[now])
        u = middle[:, None] + half[:, None] * _NODES
        phi = _integrand(characteristic, u.ravel(), years).reshape(u.shape)
        values = (np.exp(1j * log_moneyness[:, None, None] * u) * phi).real
        last = np.abs(values @ _LAST_COEFFICIENTS).max(axis=2)
        small = (last <= _RESOLVED * np.abs(values).max(axis=2)) | (last * half <= _NEGLIGIBLE)
        resolved = small.all(axis=0)
        total += (values[:, resolved] @ _WEIGHTS) @ half[resolved]
        done += half.size
        check(done <= _PANELS_MAX, "the characteristic is smooth", done)
        low, mid, high = start[now][~resolved], middle[~resolved], end[now][~resolved]
        rest = slice(None, -_PANELS_AT_ONCE)
        start = np.concatenate([start[rest], low, mid])
        end = np.concatenate([end[rest], mid, high])
    return total


def _integrand(characteristic: Characteristic, u: Float64, years: float) -> Complex128:
    values = characteristic(_complex(u - 0.5j), years) / (u * u + 0.25)
    check(bool(np.isfinite(values).all()), "the characteristic is finite")
    return values


def _first_panels(frequency_max: float) -> tuple[Float64, Float64]:
    """Panels that are narrow near 0, where 1/(u² + ¼) bends, and half as wide again each."""
    edges = [0.0, _FIRST_PANEL]
    while edges[-1] < frequency_max:
        edges.append(1.5 * edges[-1])
    return np.array(edges[:-1]), np.array(edges[1:])


def _frequency_max(characteristic: Characteristic, years: float) -> float:
    """Beyond the last frequency that counts; |φ| may rise again after it was small once."""
    counts = np.flatnonzero(np.abs(_integrand(characteristic, _FREQUENCIES, years)) > _NEGLIGIBLE)
    beyond = int(counts[-1]) + 1 if counts.size else 0
    check(beyond < _FREQUENCIES.size, "the characteristic decays: no law without a diffusion")
    return float(_FREQUENCIES[beyond])


@dataclass(frozen=True, slots=True, kw_only=True)
class Heston:
    """dv = κ(θ − v)dt + σ√v dW₂, dF/F = √v dW₁, corr ρ; per year."""

    kappa: float
    theta: float
    sigma: float
    rho: float
    v0: float

    def __call__(self, u: Complex128, years: float) -> Complex128:
        """φ(u), in the form whose logarithm stays on one branch (Albrecher et al. 2007)."""
        a, b = _heston_exponents(self, u, years)
        return np.exp(a + b * self.v0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Svcj:
    """Heston with simultaneous jumps in price and variance (Duffie, Pan, Singleton 2000).

    Jumps arrive `jumps_per_year`; variance jumps by Z ~ Exp(mean `variance_jump`), log price by
    N(`log_jump` + `jump_correlation`·Z, `log_jump_sd`²). Without variance jumps it is Bates (1996).
    """

    heston: Heston
    jumps_per_year: float
    log_jump: float
    log_jump_sd: float
    variance_jump: float = 0.0
    jump_correlation: float = 0.0

    def __call__(self, u: Complex128, years: float) -> Complex128:
        """φ(u); the jump part is integrated over time numerically (64 nodes)."""
        a, b = _heston_exponents(self.heston, u, years)
        times = 0.5 * years * (_TIME_NODES + 1.0)
        _, b_then = _heston_exponents(self.heston, u, times[:, None])  # [time, u]
        jumped = 0.5 * years * _TIME_WEIGHTS @ (self._jump_transform(u, b_then) - 1.0)
        drift = -1j * u * self.jumps_per_year * self._mean_jump() * years
        return np.exp(a + b * self.heston.v0 + self.jumps_per_year * jumped + drift)

    def _jump_transform(self, u: Complex128, b: Complex128) -> Complex128:
        price = np.exp(1j * u * self.log_jump - 0.5 * (u * self.log_jump_sd) ** 2)
        return price / (1.0 - self.variance_jump * (b + 1j * u * self.jump_correlation))

    def _mean_jump(self) -> float:
        return float(
            np.exp(self.log_jump + 0.5 * self.log_jump_sd**2)
            / (1.0 - self.variance_jump * self.jump_correlation)
            - 1.0
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Kou:
    """Diffusion σ with double-exponential jumps (Kou 2002): up with probability p, mean 1/η₁."""

    sigma: float
    jumps_per_year: float
    up_probability: float
    up_rate: float
    down_rate: float

    def __call__(self, u: Complex128, years: float) -> Complex128:
        """φ(u) = exp(T·ψ(u)); needs `up_rate` > 1."""
        check(self.up_rate > 1.0, "an upward jump has a mean", self.up_rate)
        p, e1, e2 = self.up_probability, self.up_rate, self.down_rate
        mean_jump = p * e1 / (e1 - 1.0) + (1.0 - p) * e2 / (e2 + 1.0) - 1.0
        jump = p * e1 / (e1 - 1j * u) + (1.0 - p) * e2 / (e2 + 1j * u) - 1.0 - 1j * u * mean_jump
        diffusion = -0.5 * self.sigma**2 * (u * u + 1j * u)
        return np.exp(years * (diffusion + self.jumps_per_year * jump))


def _heston_exponents(
    model: Heston, u: Complex128, years: float | Float64
) -> tuple[Complex128, Complex128]:
    """A and B of φ(u) = exp(A + B·v₀).

    With s = β + d and r = (β − d)/σ² these satisfy r·s = −(u² + iu). Of the two sums the one that
    does not cancel is computed and the other follows, so σ = 0 and κ < ρσ need no case of their
    own.
    """
    check(model.sigma >= 0.0 and model.kappa + model.sigma > 0.0, "the variance reverts or moves")
    sigma2 = model.sigma**2
    q = u * u + 1j * u
    beta = model.kappa - model.rho * model.sigma * 1j * u
    d = np.sqrt(beta * beta + sigma2 * q)
    reverts = beta.real >= 0.0
    r = np.where(
        reverts, -q / np.where(reverts, beta + d, 1.0), (beta - d) / (sigma2 if sigma2 else 1.0)
    )
    s = np.where(reverts, beta + d, -q / np.where(reverts, 1.0, r))
    decay = np.exp(-d * years)
    fall = r * (1.0 - decay)
    b = fall * s / (s - sigma2 * r * decay)
    y = 0.5 * fall / d
    z = sigma2 * y
    log_ratio = np.where(z == 0.0, y, y * log1p(z) / np.where(z == 0.0, 1.0, z))
    return _complex(model.kappa * model.theta * (r * years - 2.0 * log_ratio)), _complex(b)


def _complex(numbers: ArrayLike) -> Complex128:
    return np.asarray(numbers, dtype=np.complex128)
