"""European prices from a characteristic function: Heston, Bates, SVCJ and Kou.

A *characteristic* is φ(u) = E[exp(i·u·log(F_T/F₀))] for complex u, with φ(−i) = 1. Lewis (2001):

    C = F − √(F·K)/π · ∫₀^∞ Re[e^(i·u·log(F/K)) · φ(u − i/2)] / (u² + ¼) du

undiscounted; the put follows by parity. The integral runs over Gauss-Legendre panels up to where
the integrand is below 1e-17, so its error is that of rounding. Divide by F for the coin price of
an inverse option.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from solvent.errors import check
from solvent.units import Float64

Complex128 = NDArray[np.complex128]
Characteristic = Callable[[Complex128, float], Complex128]
"""(u, years) → φ(u)."""

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(32)
_TIME_NODES, _TIME_WEIGHTS = np.polynomial.legendre.leggauss(64)
_NEGLIGIBLE = 1e-17
_FREQUENCY_MAX = 1e6
_PHASE_PER_PANEL = 8.0
_FIRST_PANEL = 0.5


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
    check(bool((k > 0.0).all()), "strikes are positive")
    log_moneyness = np.log(forward / k)
    phase = max(1e-9, float(np.max(np.abs(log_moneyness))))
    total = np.zeros_like(k)
    for start, end in _panels(_frequency_max(characteristic, years), _PHASE_PER_PANEL / phase):
        u = 0.5 * (start + end) + 0.5 * (end - start) * _NODES
        weight = 0.5 * (end - start) * _WEIGHTS / (u * u + 0.25)
        phi = characteristic(u - 0.5j, years)
        total += (np.exp(1j * np.outer(log_moneyness, u)) * phi).real @ weight
    call = forward - np.sqrt(forward * k) / np.pi * total
    put = call - forward + k
    price = discount * np.where(np.asarray(side) > 0, call, put)
    return price.reshape(np.broadcast_shapes(np.shape(strike), np.shape(side)))


def _panels(frequency_max: float, width_max: float) -> Iterator[tuple[float, float]]:
    """Panels that are narrow near 0, where 1/(u² + ¼) bends, and no wider than the phase allows."""
    start = 0.0
    while start < frequency_max:
        end = start + min(width_max, max(_FIRST_PANEL, 0.5 * start))
        yield start, end
        start = end


def _frequency_max(characteristic: Characteristic, years: float) -> float:
    u = 16.0
    while u < _FREQUENCY_MAX:
        size = abs(characteristic(np.array([u - 0.5j]), years)[0]) / (u * u + 0.25)
        if size < _NEGLIGIBLE:
            break
        u *= 1.25
    return u


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
        jumped = np.zeros_like(u)
        for time, weight in zip(times, 0.5 * years * _TIME_WEIGHTS, strict=True):
            _, b_then = _heston_exponents(self.heston, u, float(time))
            jumped = jumped + weight * (self._jump_transform(u, b_then) - 1.0)
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


def _heston_exponents(model: Heston, u: Complex128, years: float) -> tuple[Complex128, Complex128]:
    """A and B of φ(u) = exp(A + B·v₀)."""
    sigma2 = model.sigma**2
    beta = model.kappa - model.rho * model.sigma * 1j * u
    d = np.sqrt(beta * beta + sigma2 * (u * u + 1j * u))
    g = (beta - d) / (beta + d)
    decay = np.exp(-d * years)
    b = (beta - d) / sigma2 * (1.0 - decay) / (1.0 - g * decay)
    a = (
        model.kappa
        * model.theta
        / sigma2
        * ((beta - d) * years - 2.0 * np.log((1.0 - g * decay) / (1.0 - g)))
    )
    return a, b
