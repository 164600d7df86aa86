"""Smiles: what forbids arbitrage is found, and what is fitted never breaks it."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from mpmath import mp, mpf

from solvent.errors import InvariantBroken
from solvent.feeds.market import read_market
from solvent.instruments import Kind
from solvent.market import Snapshot
from solvent.pricing.svi import (
    CHECK_RANGE,
    JumpWings,
    RawSvi,
    Ssvi,
    calendar,
    fit_svi,
    from_jump_wings,
    to_jump_wings,
    without_butterfly,
)
from solvent.units import Float64
from tests.conftest import need_shared

VOGT = RawSvi(a=-0.041, b=0.1331, rho=0.306, m=0.3586, sigma=0.4153)
"""Axel Vogt's smile, the standard one with butterfly arbitrage."""


@st.composite
def smiles(draw: st.DrawFn) -> RawSvi:
    """Variance above 0 and wings below 2; butterfly arbitrage or none."""
    rho = draw(st.floats(-0.95, 0.95))
    sigma = math.exp(draw(st.floats(-7.0, 0.5)))
    b = draw(st.floats(0.01, 0.99)) * 2.0 / (1.0 + abs(rho))
    least = math.exp(draw(st.floats(-9.0, 0.5)))
    a = least - b * sigma * math.sqrt(1.0 - rho * rho)
    return RawSvi(a=a, b=b, rho=rho, m=draw(st.floats(-0.5, 0.5)), sigma=sigma)


@st.composite
def surfaces(draw: st.DrawFn) -> Ssvi:
    rho, eta, gamma = (draw(st.floats(*ends)) for ends in ((-0.9, 0.9), (0.1, 3.0), (0.0, 1.0)))
    return Ssvi(rho=rho, eta=eta, gamma=gamma)


# Forms of one smile.


@given(smiles())
def test_jump_wings_and_back(raw: RawSvi) -> None:
    """As exact as the least variance tells itself from the one at the money."""
    wings = to_jump_wings(raw, 0.4)
    fall = (wings.v - wings.v_min) * 0.4
    bound = 1e-12 * (abs(raw.a) + raw.b + 1.0) / max(fall, 1e-300)
    assume(bound < 1e-4)
    back = from_jump_wings(wings)
    k = np.linspace(-1.0, 1.0, 21)
    assert back.w(k) == pytest.approx(raw.w(k), rel=bound)
    assert (back.rho, back.b) == pytest.approx((raw.rho, raw.b), rel=1e-11, abs=1e-11)
    again = to_jump_wings(back, 0.4)
    for name, number in asdict(wings).items():
        assert getattr(again, name) == pytest.approx(number, rel=bound, abs=bound), name


@pytest.mark.parametrize("psi", [0.3, -0.3])
def test_wings_that_are_no_smile_are_refused(psi: float) -> None:
    sound = JumpWings(v=0.3, psi=psi, p=1.0, c=1.1, v_min=0.2, years=0.5)
    assert from_jump_wings(sound).least() == pytest.approx(0.2 * 0.5)
    for change in ({"psi": 0.0, "v_min": 0.3}, {"psi": 9.0}, {"p": 0.0, "c": 0.0}, {"p": -0.1}):
        with pytest.raises(InvariantBroken):
            from_jump_wings(replace(sound, **change))


@given(surfaces(), st.floats(1e-4, 4.0))
def test_ssvi_smile_is_its_raw_form(surface: Ssvi, theta: float) -> None:
    k = np.linspace(-2.0, 2.0, 21)
    raw = surface.smile(theta)
    assert raw.w(k) == pytest.approx(surface.w(k, theta), rel=1e-12)
    assert float(raw.w(0.0)) == pytest.approx(theta, rel=1e-12)
    assert raw.vol(k, 0.25) == pytest.approx(2.0 * np.sqrt(raw.w(k)), rel=1e-14)


# Butterfly arbitrage.


def exact_density(smile: RawSvi, k: float) -> float:
    """d²C/dK² of Black-76 on the smile at F = 1, K = e^k."""
    a, b, rho, m, sigma = (mpf(x) for x in asdict(smile).values())

    def call(strike: Any) -> Any:
        x = mp.log(strike) - m
        v = mp.sqrt(a + b * (rho * x + mp.sqrt(x * x + sigma * sigma)))
        d1 = -mp.log(strike) / v + v / 2
        return mp.ncdf(d1) - strike * mp.ncdf(d1 - v)

    with mp.workdps(30):
        return float(mp.diff(call, mp.exp(mpf(k)), 2))


@settings(max_examples=60)
@given(smiles(), st.floats(-2.5, 2.5))
def test_g_is_the_density(smile: RawSvi, deviations: float) -> None:
    """p(K)·K = g·n(d₂)/√w: a negative g is a negative density, and nothing else is."""
    k = deviations * math.sqrt(float(smile.w(0.0)))
    w = float(smile.w(k))
    d2 = -k / math.sqrt(w) - 0.5 * math.sqrt(w)
    size = math.exp(-0.5 * d2 * d2) / math.sqrt(2.0 * math.pi * w)
    assume(abs(d2) < 8.0)
    density = exact_density(smile, k) * math.exp(k) / size
    assert density == pytest.approx(float(smile.g(k)), rel=1e-9, abs=1e-9 * (1.0 + 1.0 / w))


@given(smiles(), st.floats(-1.0, 1.0))
def test_butterfly_finds_the_least_g(smile: RawSvi, place: float) -> None:
    """Also where it is negative on a stretch far narrower than the range."""
    reach = math.asinh(CHECK_RANGE / smile.sigma)
    k = float(np.clip(smile.m + smile.sigma * math.sinh(place * reach), -CHECK_RANGE, CHECK_RANGE))
    assert smile.butterfly() <= float(smile.g(k)) + 1e-9


def test_known_smiles_are_judged() -> None:
    assert VOGT.butterfly() == pytest.approx(-0.0329, abs=1e-4)
    assert from_jump_wings(without_butterfly(to_jump_wings(VOGT, 1.0))).butterfly() > 0.0
    flat = RawSvi(a=0.04, b=0.0, rho=0.0, m=0.0, sigma=0.1)
    assert flat.butterfly() == 1.0
    for change in (
        {"a": 0.0}, {"a": -0.01}, {"b": 2.01}, {"b": -0.01}, {"b": 1.2, "rho": 0.7}, {"rho": -1.1},
        {"sigma": 0.0},
    ):  # fmt: skip
        assert replace(flat, **change).butterfly() == -1.0
    kink = RawSvi(a=1e-4, b=0.02, rho=0.0, m=0.03, sigma=2e-4)  # a day's smile, bent within 0.001
    assert kink.butterfly() < 0.0


@given(surfaces(), st.floats(1e-4, 4.0))
def test_sound_slices_pass(surface: Ssvi, theta: float) -> None:
    assume(surface.free_of_butterfly(theta))
    assert surface.smile(theta).butterfly() >= -1e-12


@given(smiles())
def test_a_repaired_smile_is_sound(raw: RawSvi) -> None:
    wings = to_jump_wings(raw, 0.4)
    c = wings.p + 2.0 * wings.psi
    steepest = max(wings.p, c)
    branch = c > 0.0 and steepest * math.sqrt(wings.v * 0.4) < 2.0 and (wings.p + c) * steepest <= 2
    if not branch:
        with pytest.raises(InvariantBroken):
            without_butterfly(wings)
        return
    sound = without_butterfly(wings)
    assert (sound.v, sound.psi, sound.p) == (wings.v, wings.psi, wings.p)
    assume(sound.v - sound.v_min > 1e-6 * sound.v)  # else the wings do not tell the smile
    assert from_jump_wings(sound).butterfly() >= -1e-9


# Calendar arbitrage.


@given(surfaces(), st.floats(1e-3, 2.0), st.floats(1.01, 3.0))
def test_growing_slices_do_not_cross(surface: Ssvi, theta: float, growth: float) -> None:
    thetas = [theta, theta * growth]
    assert not surface.free_of_calendar(thetas[::-1])
    assume(surface.free_of_calendar(thetas))
    near, far = (surface.smile(one) for one in thetas)
    assert calendar(near, far) >= -1e-14
    assert calendar(far, near) < 0.0


@given(smiles(), smiles(), st.floats(-CHECK_RANGE, CHECK_RANGE))
def test_calendar_finds_the_least_difference(near: RawSvi, far: RawSvi, k: float) -> None:
    least = calendar(near, far)
    assert least <= float(far.w(k) - near.w(k)) + 1e-6
    assert least <= float(far.w(near.m) - near.w(near.m)) + 1e-6
    assert calendar(near, near) == 0.0


# Fits.


def vega_cost(smile: RawSvi, k: Float64, w: Float64) -> float:
    """What `fit_svi` makes least by default, in its own words written anew."""
    d1 = 0.5 * np.sqrt(w) - k / np.sqrt(w)
    vega = np.exp(-0.5 * d1 * d1)
    weight = np.maximum(vega / vega.max(), 0.01) / (4.0 * w)
    return float(np.sqrt(np.sum(weight * (smile.w(k) - w) ** 2) / np.sum(weight * 4.0 * w)))


@st.composite
def chains(draw: st.DrawFn, *, noise_max: float) -> tuple[RawSvi, Float64, Float64]:
    """A sound slice, strikes on both sides or on one, and noisy variances there."""
    theta = math.exp(draw(st.floats(math.log(1e-4), math.log(2.0))))
    surface = Ssvi(rho=draw(st.floats(-0.8, 0.8)), eta=draw(st.floats(0.3, 1.0)), gamma=0.5)
    truth = surface.smile(theta)
    low, width = draw(st.floats(-4.0, 3.0)), draw(st.floats(1.0, 6.0))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count = draw(st.integers(5, 40))
    k = np.sort(random.uniform(low, low + width, count)) * math.sqrt(theta)
    noise = draw(st.floats(0.0, noise_max))
    return truth, k, truth.w(k) * np.exp(2.0 * noise * random.normal(size=count))


@settings(max_examples=120)
@given(chains(noise_max=0.3))
def test_a_fit_is_never_arbitrageable(chain: tuple[RawSvi, Float64, Float64]) -> None:
    _, k, w = chain
    found = fit_svi(k=k, total_variance=w)
    assert found.butterfly() >= 0.0
    everywhere = np.concatenate([np.linspace(-3.0, 3.0, 6_001), np.linspace(-0.1, 0.1, 6_001)])
    assert float(found.w(everywhere).min()) > 0.0
    assert float(found.g(everywhere).min()) >= -1e-9


@settings(max_examples=120)
@given(chains(noise_max=0.05))
def test_a_fit_is_as_good_as_the_truth(chain: tuple[RawSvi, Float64, Float64]) -> None:
    truth, k, w = chain
    found = fit_svi(k=k, total_variance=w)
    assert vega_cost(found, k, w) <= 1.02 * vega_cost(truth, k, w) + 5e-4


@given(st.floats(1e-4, 3.0), st.integers(5, 12))
def test_flat_variances_give_a_flat_smile(w: float, count: int) -> None:
    found = fit_svi(k=np.linspace(-0.3, 0.2, count), total_variance=np.full(count, w))
    assert found.w(np.linspace(-0.5, 0.5, 11)) == pytest.approx(w, rel=1e-6)


def test_weights_say_which_points_count() -> None:
    smile = Ssvi(rho=-0.3, eta=0.8, gamma=0.5).smile(0.04)
    k = np.linspace(-0.5, 0.5, 11)
    w = smile.w(k)
    w[3] *= 1.5
    found = fit_svi(k=k, total_variance=w, weight=np.where(np.arange(11) == 3, 0.0, 1.0))
    assert found.w(k) == pytest.approx(smile.w(k), rel=1e-6)
    assert float(fit_svi(k=k, total_variance=w).w(k[3])) > float(smile.w(k[3])) * 1.02


K = np.linspace(-0.2, 0.2, 5)
W = 0.04 + 0.1 * K * K


@pytest.mark.parametrize(
    "change",
    [
        {"k": K[:4], "total_variance": W[:4]},
        {"k": np.zeros(5)},
        {"k": K * math.nan},
        {"total_variance": W * math.inf},
        {"total_variance": W - W[0]},
        {"total_variance": W[:4]},
        {"weight": -W},
        {"weight": W * math.nan},
        {"weight": np.array([1.0, 1.0, 1.0, 1.0, 0.0])},
    ],
)
def test_points_that_make_no_smile_are_refused(change: dict[str, Float64]) -> None:
    sound: dict[str, Any] = {"k": K, "total_variance": W, "weight": np.ones(5)}
    assert fit_svi(**sound).butterfly() >= 0.0
    for given_weight in (True, False):
        points = {name: sound[name] for name in sound if given_weight or name != "weight"}
        if given_weight or "weight" not in change:
            with pytest.raises(InvariantBroken):
                fit_svi(**points | change)


# Real chains.


def expiries(market: Snapshot) -> list[tuple[Float64, Float64, float]]:
    """(k, vol, years) of the out-of-the-money marks of each expiry with five or more."""
    universe = market.universe
    k = np.log(np.where(universe.strike > 0.0, universe.strike, 1.0) / market.forward)
    out = (universe.kind == Kind.OPTION) & market.usable & (universe.is_call == (k >= 0.0))
    found = []
    for curve in np.unique(market.curve[out]):
        rows = np.flatnonzero(out & (market.curve == curve))
        if rows.size >= 5:
            found.append((k[rows], market.vol[rows], float(market.years[rows[0]])))
    return found


def test_real_smiles_fit_to_a_fraction_of_a_vol_point() -> None:
    """Errors weighted by vega; the marks of the last two days have shapes that SVI has not."""
    chains = sorted(need_shared("data", "deribit_chains").glob("deribit_options_snapshot_*"))
    errors, long_errors = [], []
    for path in chains[:: len(chains) // 4]:
        for k, vol, years in expiries(read_market([path], skip_bad=True).snapshot):
            smile = fit_svi(k=k, total_variance=vol * vol * years)
            assert smile.butterfly() >= 0.0
            vega = np.exp(-0.5 * (0.5 * vol * math.sqrt(years) - k / vol / math.sqrt(years)) ** 2)
            squares = (smile.vol(k, years) - vol) ** 2
            errors.append(math.sqrt(float(np.average(squares, weights=vega))))
            long_errors += errors[-1:] * (years > 3.0 / 365.0)
    assert len(errors) > 80
    assert np.median(errors) < 0.003
    assert max(long_errors) < 0.04
