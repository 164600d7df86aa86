"""Prices: as good as rounding allows, the same bits either way, limits where formulas end."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mpmath import mp, mpf
from numpy.typing import NDArray

from solvent import elementary
from solvent.errors import InvariantBroken
from solvent.pricing import (
    asset_or_nothing,
    black,
    black76,
    black_scholes,
    compiled,
    digital,
    inverse_black76,
)
from solvent.pricing import grid as readable
from solvent.pricing.grid import Grid, grid
from solvent.units import Float64
from solvent.verify.pricing import black76_exact

EPSILON = 2.0**-52
PRICES = 2_000
HOUR, DAY = 1.0 / 8_760.0, 1.0 / 365.0
NOTHING = 1e-280
"""Tails end at 37.6 deviations, where they are 1e-307 of what they multiply, not at 0."""


def generator(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def bits(array: Float64) -> NDArray[np.int64]:
    return np.ascontiguousarray(array).view(np.int64)


# The elementary functions, over their whole ranges.


def relative_errors(
    ours: Callable[[Float64], Float64], exact: Callable[[Any], Any], x: Float64
) -> Float64:
    with mp.workdps(40):
        truth = [exact(mpf(float(one))) for one in x]
        errors = [abs(mpf(float(y)) / t - 1) for y, t in zip(ours(x), truth, strict=True)]
    return np.array([float(error) for error in errors])


def test_exp_is_good_to_one_unit_in_the_last_place() -> None:
    random = generator(1)
    x = np.concatenate([random.uniform(-708.0, 709.0, 3_000), random.uniform(-1.0, 1.0, 1_000)])
    assert relative_errors(elementary.exp, mp.exp, x).max() < EPSILON
    assert elementary.exp([-1e9, 0.0, 1e9]).tolist() == [
        float(elementary.exp(-708.0)), 1.0, float(elementary.exp(709.0))
    ]  # fmt: skip


def test_log_is_good_to_one_unit_in_the_last_place() -> None:
    random = generator(2)
    near_one = 1.0 + np.ldexp(random.uniform(-1.0, 1.0, 1_000), -random.integers(1, 52, 1_000))
    x = np.concatenate(
        [np.exp(random.uniform(-744.0, 709.7, 3_000)), near_one[near_one != 1.0], [5e-324, 1.7e308]]
    )
    assert relative_errors(elementary.log, mp.log, x).max() < EPSILON
    assert float(elementary.log(1.0)) == 0.0


def test_normal_law_loses_digits_only_as_its_argument_does() -> None:
    """Relative error below 1e-15·(1 + x²): one rounding of x moves the density by that much."""
    random = generator(3)
    x = np.concatenate([random.uniform(-37.6, 37.6, 3_000), random.uniform(-3.0, 3.0, 2_000)])
    for ours, exact in ((elementary.normal_cdf, mp.ncdf), (elementary.normal_density, mp.npdf)):
        assert (relative_errors(ours, exact, x) / (1.0 + x * x)).max() < 5e-16
    beyond = elementary.normal_cdf([-1e300, -40.0, 40.0, 1e300])
    assert 0.0 < beyond[0] == beyond[1] < 1e-300
    assert beyond[2:].tolist() == [1.0, 1.0]


# The two ways to value a grid.


def random_grid(seed: int, *, terms: int, scenarios: int) -> Grid:
    """All payoffs, inverse and linear, with every edge that the kernel has mixed in."""
    random = generator(seed)
    forward = np.exp(random.uniform(-12.0, 14.0, terms))
    reach = random.choice([0.0, 0.3, 3.0, 25.0], terms)
    strike = forward * np.exp(random.normal(0.0, 1.0, terms) * reach)
    strike[random.random(terms) < 0.1] = 0.0
    side = random.choice([-1.0, 1.0], terms)
    vanilla = random.random(terms) < 0.6
    vol = np.exp(random.uniform(math.log(0.01), math.log(50.0), (terms, 7)))
    years = random.choice([0.0, HOUR, 0.1, 3.0, 50.0], (terms, 1))
    vol[random.random(vol.shape) < 0.1] = 0.0
    return grid(
        forward=forward,
        strike=strike,
        asset=np.where(vanilla, side, 0.0),
        cash=np.where(vanilla, side * strike, -1.0),
        side=side,
        scale=random.uniform(0.5, 1.5, terms),
        inverse=random.random(terms) < 0.5,
        total_vol=vol * np.sqrt(years),
        curve=random.integers(0, 3, terms).astype(np.int32),
        growth=np.exp(random.uniform(math.log(0.01), math.log(10.0), (3, scenarios))),
        vol_state=random.integers(0, 7, scenarios).astype(np.int32),
    )


@pytest.mark.parametrize("scenarios", [1, 2, 7, 8, 9, 33, 64, 130])
def test_compiled_equals_readable_to_the_bit(scenarios: int) -> None:
    for seed in range(4):
        cells = random_grid(100 * scenarios + seed, terms=601, scenarios=scenarios)
        slow, fast = readable.value_cells(cells), compiled.value_cells(cells)
        assert np.isfinite(slow).all()
        assert (bits(slow) == bits(fast)).all()
        assert (bits(black.value_cells(cells)) == bits(slow)).all()


def test_rows_do_not_depend_on_their_neighbours() -> None:
    cells = random_grid(5, terms=300, scenarios=130)
    whole = compiled.value_cells(cells)
    by_term = [name for name in Grid.__slots__ if len(getattr(cells, name)) == 300]
    for row in (0, 17, 299):
        alone = replace(cells, **{name: getattr(cells, name)[row : row + 1] for name in by_term})
        assert (bits(compiled.value_cells(alone)[0]) == bits(whole[row])).all()


# Prices against the formula in forty digits.


@pytest.mark.parametrize("scale", [1e-6, 1.0, 63_000.0])
def test_price_is_within_rounding_of_the_formula(scale: float) -> None:
    """5.1e-16 of the larger of F and K was the worst of 130,000."""
    random = generator(7)
    forward = scale * np.exp(random.normal(0.0, 1.0, PRICES))
    years = np.exp(random.uniform(math.log(HOUR), math.log(3.0), PRICES))
    vol = np.exp(random.uniform(math.log(0.01), math.log(5.0), PRICES))
    strike = forward * np.exp(random.normal(0.0, 2.0, PRICES) * vol * np.sqrt(years))
    side = random.choice([-1.0, 1.0], PRICES)
    terms = {"forward": forward, "strike": strike, "years": years, "vol": vol, "side": side}
    exact = np.array(
        [
            black76_exact(forward=f, strike=k, years=t, vol=v, side=int(w))
            for f, k, t, v, w in zip(forward, strike, years, vol, side, strict=True)
        ]
    )
    size = np.maximum(forward, strike)
    price = black76(**terms)
    assert np.max(np.abs(price - exact) / size) <= 1e-15
    assert np.min(price / size) >= -EPSILON
    assert np.max(np.abs(inverse_black76(**terms) - exact / forward) / (size / forward)) <= 1e-15


# Limits.


@pytest.mark.parametrize("side", [1.0, -1.0])
@pytest.mark.parametrize(("years", "vol"), [(0.0, 0.8), (0.5, 0.0), (0.0, 0.0), (1e-300, 1e-300)])
def test_no_variance_gives_intrinsic_value(years: float, vol: float, side: float) -> None:
    forward = np.array([63_000.0, 63_000.0, 1e-12, 1e12, 5e-300])
    strike = np.array([60_000.0, 70_000.0, 1e12, 1e-12, 1e3])
    flat = {"years": years, "vol": vol, "side": side}
    price = black76(forward=forward, strike=strike, **flat)
    assert price.tolist() == np.maximum(side * (forward - strike), 0.0).tolist()
    beyond = digital(forward=forward, strike=strike, **flat)
    assert (np.abs(beyond - (side * (forward - strike) > 0)) < NOTHING).all()
    at_the_money = black76(forward=forward, strike=forward, **flat)
    assert (np.abs(at_the_money) <= EPSILON * forward).all()
    assert digital(forward=7.0, strike=7.0, **flat) == pytest.approx(0.5, abs=EPSILON)


@pytest.mark.parametrize("years", [0.0, HOUR, 3.0, 50.0])
@pytest.mark.parametrize("vol", [0.0, 0.01, 5.0, 50.0])
def test_struck_at_zero_is_a_forward_or_cash(years: float, vol: float) -> None:
    at_zero = {"forward": 63_000.0, "strike": 0.0, "years": years, "vol": vol, "discount": 0.9}
    assert float(black76(**at_zero, side=1.0)) == 63_000.0 * 0.9
    assert abs(float(black76(**at_zero, side=-1.0))) < NOTHING
    assert float(digital(**at_zero, side=1.0)) == 0.9
    assert float(digital(**at_zero, side=-1.0)) == 0.0


def test_wings_and_vol_without_bound() -> None:
    wing = {"forward": 100.0, "years": DAY, "vol": 0.5}
    assert 0.0 <= float(black76(**wing, strike=1e6, side=1.0)) < NOTHING
    assert float(black76(**wing, strike=1e6, side=-1.0)) == 1e6 - 100.0
    boundless = {"forward": 100.0, "strike": 80.0, "years": 50.0, "vol": 50.0}
    assert float(black76(**boundless, side=1.0)) == 100.0
    assert float(black76(**boundless, side=-1.0)) == 80.0
    assert float(digital(**boundless, side=1.0)) < NOTHING


# What holds between prices.


@st.composite
def markets(draw: st.DrawFn) -> dict[str, float]:
    forward = math.exp(draw(st.floats(-7.0, 14.0)))
    years = math.exp(draw(st.floats(math.log(HOUR), math.log(3.0))))
    vol = math.exp(draw(st.floats(math.log(0.01), math.log(5.0))))
    deviations = draw(st.floats(-8.0, 8.0))
    strike = forward * math.exp(deviations * vol * math.sqrt(years))
    return {"forward": forward, "strike": strike, "years": years, "vol": vol}


@given(markets(), st.floats(0.3, 1.7))
def test_parities(market: dict[str, float], discount: float) -> None:
    f, k = market["forward"], market["strike"]
    near = 1e-15 * max(f, k)
    call, put = (float(black76(**market, side=side)) for side in (1.0, -1.0))
    above, below = (float(digital(**market, side=side)) for side in (1.0, -1.0))
    coin_call, coin_put = (float(inverse_black76(**market, side=side)) for side in (1.0, -1.0))
    assert abs(call - put - (f - k)) <= near
    assert abs(coin_call - coin_put - (1.0 - k / f)) <= near / f
    assert abs(above + below - 1.0) <= 4 * EPSILON
    assert abs(float(asset_or_nothing(**market, side=1.0)) - k * above - call) <= near
    assert float(black76(**market, side=1.0, discount=discount)) == call * discount
    assert max(f - k, 0.0) - near <= call <= f + near


@given(markets())
def test_monotone_and_convex_in_strike_monotone_in_vol(market: dict[str, float]) -> None:
    f, v = market["forward"], market["vol"] * math.sqrt(market["years"])
    strikes = f * np.exp(np.linspace(-8.0, 8.0, 60) * v)
    calls = black76(**market | {"strike": strikes}, side=1.0)
    slopes = np.diff(calls) / np.diff(strikes)
    noise = 2e-15 * np.maximum(f, strikes[1:]) / np.diff(strikes)
    assert (np.diff(calls) <= 1e-15 * np.maximum(f, strikes[1:])).all()
    assert (slopes >= -1.0 - noise).all()
    assert (np.diff(slopes) >= -noise[1:] - noise[:-1]).all()
    vols = market["vol"] * np.linspace(0.0, 2.0, 60)
    for side in (1.0, -1.0):
        by_vol = black76(**market | {"vol": vols}, side=side)
        assert (np.diff(by_vol) >= -1e-15 * max(f, market["strike"])).all()


@given(markets())
def test_call_spread_converges_to_digital(market: dict[str, float]) -> None:
    """The error of a central difference falls with the square of its width."""
    k, v = market["strike"], market["vol"] * math.sqrt(market["years"])
    above = float(digital(**market, side=1.0))
    for width in (1e-2 * min(v, 1.0), 1e-3 * min(v, 1.0)):
        low, high = (market | {"strike": k * (1.0 + bump)} for bump in (-width, width))
        spread = float(black76(**low, side=1.0)) - float(black76(**high, side=1.0))
        noise = 2e-15 * max(market["forward"], k) / (k * width)
        assert abs(spread / (2.0 * k * width) - above) <= (width / v) ** 2 + width**2 + noise


@given(markets(), st.floats(-0.2, 0.2), st.floats(-0.2, 0.2))
def test_spot_form_is_the_forward_form(
    market: dict[str, float], rate: float, dividend: float
) -> None:
    spot, years = market.pop("forward"), market["years"]
    forward = spot * math.exp((rate - dividend) * years)
    one = black_scholes(spot=spot, **market, side=1.0, rate=rate, dividend=dividend)
    other = black76(forward=forward, **market, side=1.0, discount=math.exp(-rate * years))
    assert abs(float(one - other)) <= 2e-15 * max(spot, forward, market["strike"])


def test_arguments_are_broadcast() -> None:
    price = black76(forward=100.0, strike=[[90.0], [110.0]], years=0.5, vol=[0.2, 0.3, 0.4], side=1)
    assert price.shape == (2, 3)
    assert price[1, 2] == black76(forward=100.0, strike=110.0, years=0.5, vol=0.4, side=1)
    assert black76(forward=[], strike=[], years=1.0, vol=0.5, side=1.0).shape == (0,)


# What is refused.

SOUND = {"forward": 100.0, "strike": 90.0, "years": 0.5, "vol": 0.4, "side": 1.0, "discount": 1.0}


@pytest.mark.parametrize("name", SOUND)
@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_refused(name: str, number: float) -> None:
    with pytest.raises(InvariantBroken, match="finite"):
        black76(**SOUND | {name: number})


@pytest.mark.parametrize(
    ("name", "number"),
    [("forward", 0.0), ("forward", -1.0), ("strike", -1.0), ("years", -0.1), ("vol", -0.1)],
)
def test_what_is_out_of_range_is_refused(name: str, number: float) -> None:
    with pytest.raises(InvariantBroken):
        black76(**SOUND | {name: number})


COLUMN = np.array([100.0, 90.0])
CELLS: dict[str, Any] = {
    "forward": COLUMN, "strike": COLUMN, "asset": COLUMN / COLUMN, "cash": COLUMN,
    "side": COLUMN / COLUMN, "scale": COLUMN / COLUMN, "inverse": COLUMN > 95.0,
    "total_vol": np.array([[0.1, 0.2], [0.3, 0.4]]), "curve": np.array([0, 1], dtype=np.int32),
    "growth": np.array([[1.0, 1.1, 0.9], [1.0, 1.2, 0.8]]),
    "vol_state": np.array([0, 1, 0], dtype=np.int32),
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("growth", np.array([[1.0, 0.0, 1.0], [1.0, 1.0, 1.0]])),
        ("growth", np.array([[1.0, math.nan, 1.0], [1.0, 1.0, 1.0]])),
        ("growth", np.ones((2, 2))),
        ("growth", np.ones((1, 3))),
        ("total_vol", np.array([[0.1, math.nan], [0.3, 0.4]])),
        ("total_vol", np.array([[0.1], [0.3]])),
        ("curve", np.array([0, 2], dtype=np.int32)),
        ("vol_state", np.array([0, -1, 0], dtype=np.int32)),
        ("cash", np.array([math.nan, 1.0])),
        ("strike", np.array([1.0])),
    ],
)
def test_a_grid_that_would_read_beside_its_arrays_is_refused(name: str, value: Float64) -> None:
    assert readable.value_cells(grid(**CELLS)).shape == (2, 3)
    with pytest.raises(InvariantBroken):
        grid(**CELLS | {name: value})
