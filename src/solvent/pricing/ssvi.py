"""One SSVI surface per book: three numbers for all expiries, free of arbitrage by construction.

    w(k, θ) = θ/2·(1 + ρφk + √((φk + ρ)² + 1 − ρ²)),   φ = η·θ^(−γ)

(Gatheral, Jacquier 2014). θ is at-the-money total variance, which must not fall in time. With
0 < γ < 1 there is no calendar arbitrage; η is held below min over θ of 4θ^(γ−1)/(1 + |ρ|) and
2θ^(γ−½)/√(1 + |ρ|), so there is no butterfly arbitrage at any expiry either.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from solvent.errors import check
from solvent.market.surface import Smiles
from solvent.pricing.svi import Ssvi
from solvent.pricing.svi_fit import levenberg
from solvent.units import Float64

_START = (0.0, 0.0, 0.0)
_INSIDE = 0.999
_THETA = (1e-8, 25.0)


def fit_ssvi(*, k: Float64, w: Float64, weight: Float64, theta: Float64) -> Ssvi:
    """The book's ρ, η, γ that fit all its points best; θ of each expiry is given.

    Axes [slice, strike] as in `Points`; θ by slice, not falling. Errors are of σ, times weight.

    >>> true = Ssvi(rho=-0.3, eta=0.8, gamma=0.4)
    >>> theta = np.array([0.01, 0.04, 0.09])
    >>> k = np.tile(np.linspace(-0.5, 0.5, 9), (3, 1))
    >>> w = true.w(k, theta[:, None])
    >>> found = fit_ssvi(k=k, w=w, weight=np.ones_like(k), theta=theta)
    >>> round(found.rho, 4), round(found.eta, 4), round(found.gamma, 4)
    (-0.3, 0.8, 0.4)
    """
    check(theta.shape == k.shape[:1] and bool((theta > 0.0).all()), "θ > 0 a slice", theta.shape)
    check(bool((np.diff(theta) >= 0.0).all()), "θ does not fall in time")
    share = weight * w
    share = np.sqrt(share / share.sum(axis=1, keepdims=True))

    def errors(x: Float64, rows: NDArray[np.intp]) -> Float64:
        made = [(_ssvi(one, theta).w(k, theta[:, None]) / w - 1.0) * share for one in x]
        return np.stack(made).reshape(len(rows), -1)

    x = levenberg(errors, np.array([_START]), np.array([0]))
    return _ssvi(x[0], theta)


def _ssvi(x: Float64, theta: Float64) -> Ssvi:
    """Three free numbers as a surface without arbitrage at any of the θ."""
    rho = _INSIDE * float(np.tanh(x[0]))
    gamma = 1.0 / (1.0 + float(np.exp(-x[1])))
    tilt = 1.0 + abs(rho)
    most = min(
        float(np.min(4.0 / tilt * theta ** (gamma - 1.0))),
        float(np.min(2.0 / tilt**0.5 * theta ** (gamma - 0.5))),
    )
    eta = _INSIDE * most / (1.0 + float(np.exp(-x[2])))
    return Ssvi(rho=rho, eta=eta, gamma=gamma)


def ssvi_smiles(ssvi: Ssvi, theta: Float64) -> Smiles:
    """The surface's smile at each θ as raw SVI, φ held where its slice has no arbitrage.

    >>> smiles = ssvi_smiles(Ssvi(rho=-0.3, eta=0.8, gamma=0.5), np.array([0.04]))
    >>> round(float(smiles.w(np.array([[0.0]]))[0, 0]), 12)
    0.04
    """
    tilt = 1.0 + abs(ssvi.rho)
    most = np.minimum(4.0 / (tilt * theta), 2.0 / np.sqrt(tilt * theta))
    phi = np.minimum(ssvi.eta * theta ** (-ssvi.gamma), _INSIDE * most)
    rho = np.full(theta.shape, ssvi.rho)
    root = np.sqrt(1.0 - rho * rho)
    return Smiles(0.5 * theta * root**2, 0.5 * theta * phi, rho, -rho / phi, root / phi)


def theta_of(ssvi: Ssvi, *, k: Float64, w: Float64, weight: Float64) -> float:
    """The θ at which the surface's smile fits a few points of one expiry best in σ.

    >>> true = Ssvi(rho=-0.3, eta=0.8, gamma=0.4)
    >>> k = np.array([0.1])
    >>> round(theta_of(true, k=k, w=true.w(k, 0.02), weight=np.ones(1)), 8)
    0.02
    """

    def misfit(log_theta: float) -> float:
        smile = ssvi_smiles(ssvi, np.array([np.exp(log_theta)]))
        return float(weight @ (np.sqrt(smile.w(k[None, :])[0]) - np.sqrt(w)) ** 2)

    low, high = np.log(_THETA)
    places = np.linspace(low, high, 65)
    best = int(np.argmin([misfit(float(place)) for place in places]))
    around = places[max(0, best - 1)], places[min(len(places) - 1, best + 1)]
    found = minimize_scalar(misfit, bounds=around, method="bounded", options={"xatol": 1e-12})
    return float(np.exp(found.x))
