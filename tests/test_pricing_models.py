"""Models beyond Black-76, each against another way to compute it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike
from scipy.integrate import quad, solve_ivp

from solvent.errors import InvariantBroken
from solvent.pricing import black76
from solvent.pricing.jumps import merton
from solvent.pricing.perpetual import FundingSpot, perpetual_price
from solvent.pricing.transforms import (
    Characteristic,
    Complex128,
    Heston,
    Kou,
    Svcj,
    transform_price,
)
from solvent.scenarios.volatility import ewma, garch11
from solvent.units import Float64

STRIKES = np.array([40.0, 80.0, 100.0, 125.0, 300.0])
NEAR = 1e-10
"""Absolute, of a forward of 100."""

HESTON = Heston(kappa=1.5, theta=0.5, sigma=1.2, rho=-0.4, v0=0.35)
BATES = Svcj(heston=HESTON, jumps_per_year=3.0, log_jump=-0.08, log_jump_sd=0.12)
SVCJ = replace(BATES, variance_jump=0.2, jump_correlation=-0.3)
KOU = Kou(sigma=0.5, jumps_per_year=20.0, up_probability=0.4, up_rate=12.0, down_rate=9.0)
MODELS: dict[str, Characteristic] = {
    "heston": HESTON, "bates": BATES, "svcj": SVCJ, "kou": KOU,
    "vol of vol beyond reversion": Heston(kappa=0.3, theta=0.4, sigma=3.0, rho=0.9, v0=0.6),
    "jumps of one size": replace(BATES, log_jump=0.7, log_jump_sd=0.0, jumps_per_year=10.0),
}  # fmt: skip


def price(model: Characteristic, *, years: float, strike: ArrayLike = STRIKES) -> Float64:
    return transform_price(characteristic=model, forward=100.0, strike=strike, years=years)


# Jumps.


def merton_characteristic(vol: float, rate: float, mean: float, sd: float) -> Characteristic:
    def characteristic(u: Complex128, years: float) -> Complex128:
        drift = math.expm1(mean + 0.5 * sd * sd)
        jump = np.exp(1j * u * mean - 0.5 * (u * sd) ** 2) - 1.0 - 1j * u * drift
        return np.asarray(np.exp(years * (rate * jump - 0.5 * vol * vol * (u * u + 1j * u))))

    return characteristic


@pytest.mark.parametrize(
    ("vol", "rate", "mean", "sd", "years"),
    [
        (0.6, 2.0, -0.1, 0.2, 0.25),
        (0.4, 3.0, -0.6, 0.0, 0.02),
        (0.5, 10.0, 1.0, 0.3, 1.0),  # jumps so large that a call is worth most after many of them
        (0.5, 1_500.0, 0.01, 0.02, 1.0),  # no jump at all has a probability of e^−1500
    ],
)
def test_merton_is_its_transform(
    vol: float, rate: float, mean: float, sd: float, years: float
) -> None:
    model = merton_characteristic(vol, rate, mean, sd)
    at = {"jumps_per_year": rate, "log_jump": mean, "log_jump_sd": sd}
    series = merton(forward=100.0, strike=STRIKES, years=years, vol=vol, side=1.0, **at)
    assert series == pytest.approx(price(model, years=years), abs=NEAR)
    puts = merton(forward=100.0, strike=STRIKES, years=years, vol=vol, side=-1.0, **at)
    assert series - puts == pytest.approx(100.0 - STRIKES, abs=NEAR)
    # A variance that does not move makes Bates's model Merton's.
    steady = Heston(kappa=1.0, theta=vol * vol, sigma=0.0, rho=-0.5, v0=vol * vol)
    assert price(Svcj(heston=steady, **at), years=years) == pytest.approx(series, abs=NEAR)


def test_merton_without_jumps_or_time() -> None:
    at: dict[str, Any] = {"forward": 100.0, "strike": STRIKES, "side": -1.0}
    none = merton(**at, years=0.5, vol=0.6, jumps_per_year=0.0, log_jump=-1.0, log_jump_sd=0.5)
    assert none == pytest.approx(black76(**at, years=0.5, vol=0.6), rel=1e-14)
    now = merton(**at, years=0.0, vol=0.6, jumps_per_year=5.0, log_jump=-1.0, log_jump_sd=0.5)
    assert now == pytest.approx(np.maximum(STRIKES - 100.0, 0.0), abs=2e-14)


# Transforms.


@pytest.mark.parametrize("years", [1.0 / 365.0, 0.25, 2.0])
def test_models_without_their_features_are_black76(years: float) -> None:
    at: dict[str, Any] = {"forward": 100.0, "strike": STRIKES, "years": years, "side": 1.0}
    assert price(replace(KOU, jumps_per_year=0.0), years=years) == pytest.approx(
        black76(**at, vol=0.5), abs=NEAR
    )
    mean = 0.5 + (0.35 - 0.5) * -math.expm1(-1.5 * years) / (1.5 * years)
    steady = black76(**at, vol=math.sqrt(mean))
    for sigma, bound in ((0.0, NEAR), (1e-6, 1e-8), (1e-3, 1e-2)):
        found = price(replace(HESTON, sigma=sigma, rho=0.0), years=years)
        assert found == pytest.approx(steady, abs=bound)


def bates_probability(one: Svcj, log_strike: float, years: float, *, shift: complex) -> float:
    """Gil-Pelaez by adaptive quadrature, on the hyperbolic form of Heston's characteristic."""
    h = one.heston
    model = merton_characteristic(0.0, one.jumps_per_year, one.log_jump, one.log_jump_sd)

    def characteristic(u: complex) -> complex:
        beta = h.kappa - 1j * h.rho * h.sigma * u
        d = np.sqrt(beta * beta + h.sigma**2 * (u * u + 1j * u))
        half, power = 0.5 * d * years, 2.0 * h.kappa * h.theta / h.sigma**2
        level = np.exp(0.5 * power * years * beta)
        bend = (np.cosh(half) + beta / d * np.sinh(half)) ** power
        start = np.exp(-(u * u + 1j * u) * h.v0 / (beta + d / np.tanh(half)))
        return complex(level / bend * start * model(np.array([u]), years)[0])

    def integrand(u: float) -> float:
        return float((np.exp(-1j * u * log_strike) * characteristic(u + shift) / (1j * u)).real)

    half_line, _ = quad(integrand, 1e-9, 250.0, limit=2_000, epsabs=1e-12)
    return 0.5 + float(half_line) / math.pi


@pytest.mark.parametrize("strike", [60.0, 100.0, 140.0])
def test_bates_is_its_probabilities(strike: float) -> None:
    above = [bates_probability(BATES, math.log(strike / 100.0), 0.25, shift=s) for s in (0.0, -1j)]
    call = 100.0 * above[1] - strike * above[0]
    assert float(price(BATES, years=0.25, strike=strike)) == pytest.approx(call, abs=1e-7)


@pytest.mark.parametrize("u", [0.5 + 0.0j, 2.0 - 0.5j, 20.0 - 0.5j])
def test_variance_jumps_solve_their_riccati_equations(u: complex) -> None:
    one, h = SVCJ, SVCJ.heston
    mean = math.exp(one.log_jump + 0.5 * one.log_jump_sd**2)
    mean = mean / (1.0 - one.variance_jump * one.jump_correlation) - 1.0

    def slope(_: float, ab: Complex128) -> list[complex]:
        b = ab[1]
        jump = np.exp(1j * u * one.log_jump - 0.5 * (u * one.log_jump_sd) ** 2)
        jump /= 1.0 - one.variance_jump * (b + 1j * u * one.jump_correlation)
        rise = h.kappa * h.theta * b + one.jumps_per_year * (jump - 1.0 - 1j * u * mean)
        fall = 0.5 * h.sigma**2 * b * b + (1j * u * h.rho * h.sigma - h.kappa) * b
        return [rise, fall - 0.5 * (u * u + 1j * u)]

    solved = solve_ivp(slope, (0.0, 0.7), [0j, 0j], method="DOP853", rtol=1e-12, atol=1e-14)
    a, b = solved.y[:, -1]
    assert one(np.array([u]), 0.7)[0] == pytest.approx(np.exp(a + b * h.v0), rel=1e-9)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("years", [1.0 / 365.0, 0.25, 2.0])
def test_characteristics_are_of_martingales(name: str, years: float) -> None:
    u = np.array([-1j, 0j, *np.linspace(0.1, 400.0, 50)])
    phi = MODELS[name](u, years)
    assert phi[:2] == pytest.approx([1.0, 1.0], abs=1e-13)
    assert np.abs(phi).max() <= 1.0 + 1e-13


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("years", [1.0 / 365.0, 0.25, 2.0])
def test_transform_prices_do_not_depend_on_the_batch(name: str, years: float) -> None:
    model = MODELS[name]
    together = price(model, years=years)
    alone = [float(price(model, years=years, strike=strike)) for strike in STRIKES]
    assert together == pytest.approx(alone, abs=NEAR)
    square = price(model, years=years, strike=STRIKES[:4].reshape(2, 2))
    assert square.ravel() == pytest.approx(alone[:4], abs=NEAR)
    puts = transform_price(
        characteristic=model, forward=100.0, strike=STRIKES, years=years, side=-1.0
    )
    assert together - puts == pytest.approx(100.0 - STRIKES, abs=NEAR)
    assert (together >= np.maximum(100.0 - STRIKES, 0.0) - NEAR).all()
    assert (np.diff(together) < NEAR).all()


def test_a_law_without_a_diffusion_is_refused() -> None:
    with pytest.raises(InvariantBroken, match="decays"):
        price(replace(KOU, sigma=0.0), years=0.5)


# Perpetuals.


@pytest.mark.parametrize("inverse", [False, True])
def test_perpetual_limits(inverse: bool) -> None:
    at: dict[str, Any] = {"spot": 60_000.0, "inverse": inverse}
    no_carry = perpetual_price(**at, rate=0.05, dividend=0.05, premium=0.2, interest=0.0)
    assert no_carry == 60_000.0
    rates: dict[str, Any] = {"rate": 0.06, "dividend": 0.01}
    pulled = perpetual_price(**at, **rates, premium=1e12, interest=0.0)
    assert pulled == pytest.approx(60_000.0, rel=1e-12)
    steady = perpetual_price(**at, **rates, premium=3.0, interest=0.02)
    assert steady > perpetual_price(**at, rate=0.0, dividend=0.0, premium=3.0, interest=0.02)
    for funding_spot in FundingSpot:
        often = perpetual_price(
            **at, **rates, premium=3.0 * 1e-6, interest=0.02 * 1e-6, period_years=1e-6,
            funding_spot=funding_spot,
        )  # fmt: skip
        assert often == pytest.approx(steady, rel=1e-6)


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize(
    ("rate", "premium", "interest"),
    [(0.1, 0.05, 0.06), (0.0, 0.0, 0.0), (0.0, -1.0, 0.0), (math.nan, 1.0, 0.0)],
)
def test_funding_that_does_not_pull_is_refused(
    inverse: bool, rate: float, premium: float, interest: float
) -> None:
    with pytest.raises(InvariantBroken, match="pulls"):
        perpetual_price(
            spot=100.0, rate=rate, dividend=0.0, premium=premium, interest=interest, inverse=inverse
        )


# Variance recursions.


def test_variance_recursions() -> None:
    long = garch11([0.02] * 500, omega=1e-5, alpha=0.1, beta=0.8, first=1.0)
    assert long[-1] == pytest.approx((1e-5 + 0.1 * 0.02**2) / (1.0 - 0.8))
    returns = [0.03, -0.01, 0.05]
    weights = [0.06 * 0.94**age for age in (2, 1, 0)]
    closed = 0.94**3 * 0.4 + sum(w * r * r for w, r in zip(weights, returns, strict=True))
    assert ewma(returns, decay=0.94, first=0.4)[-1] == pytest.approx(closed, rel=1e-14)
    assert garch11([], omega=0.0, alpha=0.0, beta=0.0, first=1.0) == []
    for bad in (0.0, 1.0, math.nan):
        with pytest.raises(InvariantBroken):
            ewma(returns, decay=bad, first=0.1)
    with pytest.raises(InvariantBroken):
        garch11(returns, omega=-1e-9, alpha=0.1, beta=0.8, first=0.1)
