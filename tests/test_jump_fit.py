"""Jumps fitted to histories and surfaces, told apart without a law, and their tails."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from solvent.errors import BadInput
from solvent.pricing.jump_after import ModelResponse
from solvent.pricing.jump_fit import FitNote, fit_kou, fit_merton
from solvent.pricing.jump_laws import KouLaw, MertonLaw
from solvent.pricing.jump_surface import (
    KINDS,
    SurfaceNote,
    VolPoints,
    fit_surface_model,
    fixed_price,
    model_vols,
)
from solvent.pricing.jump_tails import TailNote, fit_tails
from solvent.pricing.jump_tests import find_jumps
from solvent.pricing.jumps import merton
from solvent.pricing.transforms import Heston, Svcj, transform_price
from solvent.units import Float64

DAY = 1 / 365


def kou_returns(law: KouLaw, count: int, seed: int) -> Float64:
    rng = np.random.Generator(np.random.PCG64(seed))
    returns = rng.normal(law.drift * DAY, law.vol * math.sqrt(DAY), count)
    for day, jumps in enumerate(rng.poisson(law.jumps_per_year * DAY, count)):
        up = rng.random(jumps) < law.up_probability
        size = rng.exponential(1.0, jumps)
        returns[day] += np.where(up, size / law.up_rate, -size / law.down_rate).sum()
    return np.asarray(returns)


KOU = KouLaw(drift=0.3, vol=0.5, jumps_per_year=40.0, up_probability=0.4, up_rate=18.0,
             down_rate=14.0)  # fmt: skip


@pytest.fixture(scope="module")
def returns() -> Float64:
    return kou_returns(KOU, 2_000, seed=3)


@settings(max_examples=15)
@given(st.floats(0.2, 1.5), st.floats(0.0, 300.0), st.floats(-0.1, 0.1), st.floats(0.01, 0.2))
def test_mertons_density_is_one(vol: float, rate: float, mean: float, sd: float) -> None:
    law = MertonLaw(drift=0.1, vol=vol, jumps_per_year=rate, log_jump=mean, log_jump_sd=sd)
    x = np.linspace(-3.0, 3.0, 12_001)
    density = np.exp(law.log_density(x, DAY))
    assert np.trapezoid(density, x) == pytest.approx(1.0, abs=1e-6)
    variance = np.trapezoid(density * x * x, x) - np.trapezoid(density * x, x) ** 2
    assert variance == pytest.approx(law.variance_per_year * DAY, rel=1e-5)


@settings(max_examples=15)
@given(st.floats(0.2, 1.5), st.floats(0.0, 300.0), st.floats(0.05, 0.95), st.floats(6.0, 60.0))
def test_kous_density_is_one(vol: float, rate: float, p: float, eta: float) -> None:
    law = KouLaw(drift=0.1, vol=vol, jumps_per_year=rate, up_probability=p, up_rate=eta,
                 down_rate=0.8 * eta)  # fmt: skip
    x = np.linspace(-6.0, 6.0, 24_001)
    density = np.exp(law.log_density(x, DAY))
    assert np.trapezoid(density, x) == pytest.approx(1.0, abs=1e-5)
    variance = np.trapezoid(density * x * x, x) - np.trapezoid(density * x, x) ** 2
    assert variance == pytest.approx(law.variance_per_year * DAY, rel=1e-3)


def test_kous_density_of_one_jump_is_that_of_a_normal_and_an_exponential() -> None:
    """Where jumps are rare and large the tail is one jump: λt·p·η₁·e^(−η₁x + η₁²s²/2)."""
    law = KouLaw(drift=0.0, vol=0.2, jumps_per_year=1.0, up_probability=1.0, up_rate=10.0,
                 down_rate=10.0)  # fmt: skip
    s2 = 0.2**2 * DAY
    expected = math.log(DAY) - DAY + math.log(10.0) - 10.0 * 0.5 + 0.5 * 100.0 * s2
    assert float(law.log_density(0.5, DAY)) == pytest.approx(expected, abs=0.02)


def test_a_law_is_found_again(returns: Float64) -> None:
    fit = fit_kou(returns, years_per_return=DAY)
    assert isinstance(fit.law, KouLaw)
    for name in ("vol", "jumps_per_year", "up_rate", "down_rate", "up_probability"):
        found, error = getattr(fit.law, name), fit.error[name]
        assert abs(found - getattr(KOU, name)) < 3.5 * error, name
    assert fit.p_value < 1e-6
    assert fit.log_likelihood >= float(KOU.log_density(returns, DAY).sum())
    assert not set(fit.notes) & {FitNote.NO_JUMPS, FitNote.NO_ERRORS}
    assert fit.bic < fit_merton(returns, years_per_return=DAY).bic


def test_merton_is_found_again() -> None:
    rng = np.random.Generator(np.random.PCG64(7))
    count = 3_000
    jumps = rng.poisson(20.0 * DAY, count)
    r = rng.normal(0.0, 0.6 * math.sqrt(DAY), count)
    r += rng.normal(-0.05, 1.0, count) * 0.0 + rng.normal(size=count) * 0.12 * np.sqrt(jumps)
    r += -0.05 * jumps
    fit = fit_merton(r, years_per_return=DAY)
    assert isinstance(fit.law, MertonLaw)
    for name, true in (("vol", 0.6), ("jumps_per_year", 20.0), ("log_jump", -0.05),
                       ("log_jump_sd", 0.12)):  # fmt: skip
        assert abs(getattr(fit.law, name) - true) < 3.5 * fit.error[name], name


def test_the_unit_of_time_does_not_matter(returns: Float64) -> None:
    fit = fit_merton(returns[:900], years_per_return=DAY)
    slow = fit_merton(returns[:900], years_per_return=7 * DAY)
    assert slow.law.jumps_per_year == pytest.approx(fit.law.jumps_per_year / 7, rel=1e-3)
    assert slow.law.vol == pytest.approx(fit.law.vol / math.sqrt(7), rel=1e-3)


def test_without_jumps_the_law_is_a_diffusion_and_says_so() -> None:
    rng = np.random.Generator(np.random.PCG64(1))
    r = rng.normal(0.001, 0.03, 1_000)
    fit = fit_merton(r, years_per_return=DAY)
    assert fit.notes == (FitNote.NO_JUMPS,)
    assert fit.law.jumps_per_year == 0.0
    assert fit.law.vol == pytest.approx(r.std() / math.sqrt(DAY))
    assert fit.jump_share == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (np.zeros(500), "hardly differ"),
        (np.tile([0.01, -0.01], 250), "hardly differ"),
        (np.random.Generator(np.random.PCG64(1)).normal(size=100), "at least 250"),
        (np.array([np.nan] + [0.01] * 400), "1 of 401 that are none"),
    ],
)
def test_what_is_no_history_is_refused(told: Float64, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        fit_kou(told, years_per_return=DAY)


def test_one_outlier_is_named() -> None:
    rng = np.random.Generator(np.random.PCG64(2))
    r = rng.normal(0.0, 0.02, 800)
    r[400] = -1.2
    notes = fit_merton(r, years_per_return=DAY).notes
    assert {FitNote.OUTLIERS, FitNote.ONE_RETURN} <= set(notes)


def test_jumps_are_found_without_a_law() -> None:
    rng = np.random.Generator(np.random.PCG64(4))
    r = rng.normal(0.0, 0.01, 1_500)
    assert len(find_jumps(r)) <= 1
    at = [200, 700, 1_200]
    r[at] += [-0.2, 0.15, -0.1]
    found = find_jumps(r)
    assert set(at) <= set(found.at.tolist())
    assert len(found) <= 4
    plain = 0.01**2 * len(r)
    assert found.variance_share == pytest.approx(1.0 - plain / float((r * r).sum()), abs=0.08)
    with pytest.raises(BadInput, match="constant"):
        find_jumps(np.zeros(500))


def test_no_jump_is_seen_before_it_comes() -> None:
    rng = np.random.Generator(np.random.PCG64(5))
    r = rng.normal(0.0, 0.01, 400)
    later = r.copy()
    later[300:] *= 7.0
    first, second = find_jumps(r), find_jumps(later)
    assert (first.local_vol[:301] == second.local_vol[:301]).all()


def test_tails_of_exponential_moves() -> None:
    rng = np.random.Generator(np.random.PCG64(6))
    moves = np.concatenate([-0.15 - rng.exponential(0.1, 400), 0.15 + rng.exponential(0.05, 400)])
    falls, rises = fit_tails(moves, np.arange(800), down=-0.15, up=0.15)
    assert abs(falls.mean_excess - 0.1) < 3.5 * falls.error
    assert abs(rises.mean_excess - 0.05) < 3.5 * rises.error
    assert falls.notes == () == rises.notes
    share = float((moves[:400] >= falls.beyond(0.9)).mean())
    assert share == pytest.approx(0.9, abs=0.05)


def test_tails_say_what_they_rest_on() -> None:
    falls, rises = fit_tails([-0.3, -0.25, 0.01], [1, 1, 2], down=-0.2, up=0.2)
    assert falls.days == 1  # two windows of one day are one crash
    assert falls.mean_excess == pytest.approx(0.1)
    assert falls.notes == (TailNote.FEW,)
    assert rises.notes == (TailNote.NONE_SEEN,)
    assert rises.mean_excess == falls.mean_excess
    heavy = -0.1 - 0.05 * (np.random.Generator(np.random.PCG64(8)).random(300) ** -0.8 - 1.0)
    assert TailNote.HEAVIER in fit_tails(heavy, np.arange(300), down=-0.1, up=0.1)[0].notes
    with pytest.raises(BadInput, match="beyond the edge"):
        fit_tails([0.0, 0.1], [1, 2], down=-0.2, up=0.2)


# ── surfaces ─────────────────────────────────────────────────────────────────────────────────────

TRUE = {
    "merton": (0.4, 3.0, -0.1, 0.15),
    "kou": (0.4, 10.0, 0.4, 0.07, 0.1),
    "svcj": (5.0, 0.3, 1.2, -0.3, 0.25, 2.0, -0.05, 0.12, 0.1),
}


def surface_of(kind: str, noise: float = 0.0) -> VolPoints:
    law = KINDS[kind].make(np.array(TRUE[kind]))
    rng = np.random.Generator(np.random.PCG64(9))
    years, k, vol = [], [], []
    for t in (7 * DAY, 30 * DAY, 120 * DAY):
        places = np.linspace(-1.6, 1.6, 9) * 0.6 * math.sqrt(t)
        years.append(np.full(9, t))
        k.append(places)
        vol.append(model_vols(law, places, t) + noise * rng.normal(size=9))
    return VolPoints(years=np.concatenate(years), k=np.concatenate(k), vol=np.concatenate(vol))


def test_nodes_that_are_fixed_price_as_the_adaptive_integral() -> None:
    for kind, parameters in TRUE.items():
        law = KINDS[kind].make(np.array(parameters))
        for t in (3 * DAY, 30 * DAY, 1.0):
            k = np.linspace(-2.0, 2.0, 9) * 0.5 * math.sqrt(t)
            exact = transform_price(
                characteristic=law, forward=1.0, strike=np.exp(k), years=t, side=1.0
            )
            assert fixed_price(law, k, t) == pytest.approx(exact, abs=2e-7), (kind, t)


def test_mertons_characteristic_is_its_mixture() -> None:
    law = KINDS["merton"].make(np.array(TRUE["merton"]))
    k = np.array([-0.2, 0.0, 0.3])
    mixed = merton(forward=1.0, strike=np.exp(k), years=0.25, vol=0.4, side=1.0,
                   jumps_per_year=3.0, log_jump=-0.1, log_jump_sd=0.15)  # fmt: skip
    found = transform_price(characteristic=law, forward=1.0, strike=np.exp(k), years=0.25)
    assert found == pytest.approx(mixed, abs=1e-10)


@pytest.mark.parametrize("kind", ["merton", "kou"])
def test_a_model_reproduces_its_own_surface(kind: str) -> None:
    fit = fit_surface_model(surface_of(kind), kind=kind)
    assert fit.rmse < 2e-3
    assert SurfaceNote.POOR not in fit.notes


def test_noise_is_what_is_left() -> None:
    fit = fit_surface_model(surface_of("merton", noise=0.01), kind="merton")
    assert 0.004 < fit.rmse < 0.016
    assert [count for _, count, _ in fit.by_expiry()] == [9, 9, 9]


@pytest.mark.soak
def test_svcj_fits_a_surface_that_merton_cannot() -> None:
    points = surface_of("svcj")
    fit = fit_surface_model(points, kind="svcj", evaluations=15)
    assert fit.rmse < 0.01
    assert fit.rmse < 0.5 * fit_surface_model(points, kind="merton").rmse


def test_a_surface_needs_points() -> None:
    few = VolPoints(years=np.full(5, 0.1), k=np.linspace(-0.1, 0.1, 5), vol=np.full(5, 0.5))
    with pytest.raises(BadInput, match="at least 12"):
        fit_surface_model(few, kind="kou")
    with pytest.raises(BadInput, match="one of merton, kou, svcj"):
        fit_surface_model(few, kind="sabr")


# ── after a jump ─────────────────────────────────────────────────────────────────────────────────


def model_after(variance_jump: float) -> Svcj:
    return Svcj(
        heston=Heston(kappa=6.0, theta=0.3, sigma=1.0, rho=0.0, v0=0.3), jumps_per_year=1.0,
        log_jump=-0.05, log_jump_sd=0.1, variance_jump=variance_jump,
    )  # fmt: skip


def test_a_variance_jump_lifts_volatility_and_short_terms_most() -> None:
    level, _, term = ModelResponse(model=model_after(0.5)).shifts([-0.3, 0.0, 0.3])
    assert level[0] > 0.15
    assert level[2] > 0.15
    assert term[0] < 0.0
    assert level[1] == term[1] == 0.0
    more, _, _ = ModelResponse(model=model_after(1.0)).shifts([-0.3])
    assert more[0] > level[0]


def test_the_shift_is_that_of_the_models_own_volatilities() -> None:
    """At 30 days, at the money: the volatility after a jump over that before, at one strike."""
    response = ModelResponse(model=model_after(0.5))
    for move in (-0.1, 0.1):
        ratio = math.log(float(response.vols(0.0, 30 * DAY, jumped=move)[0]
                               / response.vols(0.0, 30 * DAY)[0]))  # fmt: skip
        level, _, _ = response.shifts([move])
        assert level[0] == pytest.approx(ratio, abs=0.06)


def test_normal_tail_beyond() -> None:
    law = MertonLaw(drift=0.0, vol=0.5, jumps_per_year=5.0, log_jump=0.0, log_jump_sd=0.1)
    far = law.beyond(-0.1, 0.9)
    assert norm.cdf(far / 0.1) == pytest.approx(0.1 * norm.cdf(-1.0))
    assert law.beyond(0.1, 0.9) == pytest.approx(-far)
