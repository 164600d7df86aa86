"""Surfaces in scenarios: what a strike's volatility does, what stands in, and components."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solvent.errors import InvariantBroken
from solvent.feeds.histories import read_history
from solvent.scenarios.history import HistorySpec, Series, joint_shocks
from solvent.scenarios.history.dependence import regular, second_moments, transport
from solvent.scenarios.history.stand_in import draws
from solvent.scenarios.history.surface import Nodes, State, at_fixed_strike, components
from tests.conftest import need_shared
from tests.history_made import START_MS, codes, made

SMALL: dict[str, Any] = {"lookback_days": 90, "min_observations": 20, "burn_in_days": 10}
SPEC = HistorySpec(**SMALL, surfaces=True, filter="none")


def log_vol(state: State, x: float, days: float) -> float:
    """ln σ of the four numbers."""
    shape = state.level + (state.skew + state.curve * x) * x
    return shape + state.term * math.log(days / 30.0)


@given(
    level=st.floats(-0.3, 0.3),
    skew=st.floats(-0.05, 0.05),
    term=st.floats(-0.05, 0.05),
)
@settings(max_examples=30)
def test_without_a_move_of_the_price_shifts_are_as_told(
    level: float, skew: float, term: float
) -> None:
    """x is measured in the option's own vol: a rise of vol takes it nearer the money."""
    now = State(level=-0.7, skew=0.0, term=0.0, curve=0.0)
    told = at_fixed_strike(now, np.array([[level, 0.0, term]]), np.zeros(1))
    np.testing.assert_allclose(told, [[level, 0.0, term]], atol=1e-9)
    skewed = at_fixed_strike(now, np.array([[0.0, skew, 0.0]]), np.zeros(1))
    assert abs(skewed[0, 1] - skew) < 0.1 * abs(skew) + 1e-9
    assert abs(skewed[0, 0]) < 0.01


@given(st.floats(-0.15, 0.15), st.floats(-0.2, 0.2))
@settings(max_examples=30)
def test_vols_of_fixed_strikes(log_return: float, level: float) -> None:
    """Level, skew and term fit best what nine options' vols do, found by bisection."""
    now = State(level=-0.7, skew=-0.1, term=0.03, curve=0.06)
    then = replace(now, level=now.level + level)
    told = at_fixed_strike(now, np.array([[level, 0.0, 0.0]]), np.array([log_return]))[0]
    truths, design = [], []
    for days in (7.0, 30.0, 120.0):
        for x in (-1.0, 0.0, 1.0):
            root = np.sqrt(days / 365.0)
            distance = x * np.exp(log_vol(now, x, days)) * root - log_return
            low, high = -20.0, 20.0  # x′·σ′(x′)·√T rises in x′ there where it matters
            for _ in range(80):
                middle = 0.5 * (low + high)
                inside = np.clip(log_vol(then, middle, days), -3.0, 3.0)
                low, high = (
                    (middle, high) if middle * np.exp(inside) * root < distance else (low, middle)
                )
            moved = float(np.clip(low, -3.0, 3.0))
            truths.append(log_vol(then, moved, days) - log_vol(now, x, days))
            design.append([1.0, x, np.log(days / 30.0)])
    expected = np.linalg.lstsq(np.array(design), np.array(truths), rcond=None)[0]
    np.testing.assert_allclose(told, expected, atol=0.01)


def test_a_skewed_surface_moves_with_its_strikes() -> None:
    """With puts dearer, a fall makes the vol of the old money's strike that of a call: less."""
    now = State(level=-0.7, skew=-0.1, term=0.0, curve=0.0)
    fall = at_fixed_strike(now, np.zeros((1, 3)), np.array([-0.1]))[0]
    rise = at_fixed_strike(now, np.zeros((1, 3)), np.array([0.1]))[0]
    assert fall[0] < -0.01 < 0.01 < rise[0]
    assert fall[2] > 0.0 > rise[2], "near expiries the same move is more deviations"


def test_sets_with_surfaces() -> None:
    series = made(150, surfaces=True)
    as_of = int(series.time_ms[-1])
    built = joint_shocks(replace(SPEC, sticky="moneyness", basis=True), series, as_of_ms=as_of)
    assert series.level is not None
    assert series.basis is not None
    np.testing.assert_allclose(built.shocks.level.T, np.diff(series.level, axis=0)[-90:])
    np.testing.assert_allclose(built.shocks.basis.T, np.diff(series.basis, axis=0)[-90:])
    strike = joint_shocks(SPEC, series, as_of_ms=as_of)
    assert not np.allclose(strike.shocks.level, built.shocks.level)
    assert not strike.shocks.basis.any()
    off = joint_shocks(replace(SPEC, surfaces=False), series, as_of_ms=as_of)
    assert not off.shocks.level.any()
    assert np.array_equal(off.shocks.move, strike.shocks.move)


def late(series: Series, first: int, *, coin: int) -> Series:
    """A coin whose surface and basis are told from a row on."""
    parts = {}
    for name in ("level", "skew", "term", "curve", "basis"):
        part = getattr(series, name).copy()
        part[:first, coin] = np.nan
        parts[name] = part
    return replace(series, **parts)


def test_where_a_window_has_no_surface() -> None:
    series = late(made(300, surfaces=True), 180, coin=1)
    as_of = int(series.time_ms[-1])
    spec = HistorySpec(lookback_days=200, min_observations=50, surfaces=True, filter="none")
    regressed = joint_shocks(spec, series, as_of_ms=as_of)
    assert "surface-regressed" in codes(regressed)
    (note,) = [one for one in regressed.notes if one.code == "surface-regressed"]
    assert (note.subject, note.count) == ("ETH", 81)
    assert regressed.shocks.level[1, :81].std() > 0.3 * regressed.shocks.level[1, 81:].std()
    zero = joint_shocks(replace(spec, surface_missing="zero"), series, as_of_ms=as_of)
    assert not zero.shocks.level[1, :81].any()
    assert zero.shocks.level[1, 81:].any()
    assert np.array_equal(zero.shocks.level[:, 81:], regressed.shocks.level[:, 81:])
    dropped = joint_shocks(replace(spec, surface_missing="drop"), series, as_of_ms=as_of)
    assert len(dropped.shocks) == 119
    assert np.array_equal(dropped.shocks.level, regressed.shocks.level[:, 81:])
    few = joint_shocks(spec, series, as_of_ms=int(series.time_ms[200]))
    assert "surface-zero" in codes(few)
    assert not few.shocks.level[1, :100].any()


def test_a_coin_without_any_surface_or_a_stale_one() -> None:
    series = made(150, surfaces=True)
    never = late(series, 150, coin=1)
    as_of = int(series.time_ms[-1])
    built = joint_shocks(replace(SPEC, basis=True), never, as_of_ms=as_of)
    assert {"surface-none", "basis-zero"} <= codes(built)
    assert not built.shocks.level[1].any()
    assert built.shocks.level[0].any()
    parts = {name: getattr(series, name).copy() for name in ("level", "skew", "term", "curve")}
    for part in parts.values():
        part[140:, 0] = np.nan
    stale = joint_shocks(SPEC, replace(series, **parts), as_of_ms=as_of)
    assert "surface-stale" in codes(stale)
    assert not stale.shocks.level[0].any()
    bare = Series(names=series.names, time_ms=series.time_ms, price=series.price)
    assert "surface-none" in codes(joint_shocks(SPEC, bare, as_of_ms=as_of))


def test_components_of_made_changes() -> None:
    """A surface that moves by level alone has one component, and level explains it."""
    rng = np.random.default_rng(1)
    x, days = np.tile([-1.0, 0.0, 1.0], 2), np.repeat([7.0, 90.0], 3)
    level = np.cumsum(rng.standard_normal(200))
    nodes = Nodes(name="BTC", x=x, days=days, time_ms=START_MS + np.arange(200),
                  log_vol=np.repeat(level[:, None], 6, axis=1))  # fmt: skip
    found = components(nodes)
    assert found.share[0] == pytest.approx(1.0)
    assert found.kept_each == pytest.approx((1.0, 1.0, 1.0))
    skew = np.cumsum(rng.standard_normal(200))
    both = replace(nodes, log_vol=nodes.log_vol + skew[:, None] * x)
    found = components(both)
    assert found.share[:2].sum() == pytest.approx(1.0)
    assert found.kept_each[0] < 0.9
    assert found.kept_each[1] == pytest.approx(1.0)
    with pytest.raises(InvariantBroken):
        components(replace(nodes, log_vol=np.ones((200, 6))))


@given(st.integers(0, 1_000), st.integers(2, 6))
@settings(max_examples=25)
def test_transport_carries_one_correlation_to_the_other(seed: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    rows = [rng.standard_normal((40, size)) @ rng.standard_normal((size, size)) for _ in "ab"]
    weight = rng.random(40)
    one, two = (second_moments(each, weight)[1] for each in rows)
    one, two = regular(one)[0], regular(two)[0]
    carry = transport(one, two)
    np.testing.assert_allclose(carry, carry.T, atol=1e-8)
    np.testing.assert_allclose(carry @ one @ carry, two, atol=1e-5)
    np.testing.assert_allclose(transport(one, one), np.eye(size), atol=1e-5)
    order = rng.permutation(size)
    turned = transport(one[np.ix_(order, order)], two[np.ix_(order, order)])
    np.testing.assert_allclose(turned, carry[np.ix_(order, order)], atol=1e-4)


def test_draws_are_even_and_their_own() -> None:
    times = START_MS + np.arange(20_000) * 3_600_000
    drawn = draws(times, 0)
    assert 0.0 <= float(drawn.min()) <= float(drawn.max()) < 1.0
    assert abs(float(drawn.mean()) - 0.5) < 0.01
    counts, _ = np.histogram(drawn, bins=20, range=(0.0, 1.0))
    assert counts.min() > 850
    assert np.array_equal(draws(times[5:9], 0), drawn[5:9]), "whatever else is drawn"
    assert abs(np.corrcoef(draws(times, 1), drawn)[0, 1]) < 0.03


def test_fixed_strikes_come_near_the_next_days_volatilities() -> None:
    """On real surfaces: root mean square of what is missed in ln σ of 15 options, a day ahead."""
    series = read_history(need_shared("data", "deribit_vol_surface_history.csv.gz"))
    parts = [getattr(series, name)[::4, 0] for name in ("level", "skew", "term", "curve")]
    index = series.price[::4, 0]
    missed: dict[str, list[float]] = {"strike": [], "moneyness": [], "none": []}
    for row in range(len(index) - 1):
        now, then = (State(**dict(zip(("level", "skew", "term", "curve"),
                     (float(part[at]) for part in parts), strict=True)))
                     for at in (row, row + 1))  # fmt: skip
        log_return = math.log(index[row + 1] / index[row])
        shift = np.array([[then.level - now.level, then.skew - now.skew, then.term - now.term]])
        told = {
            "strike": at_fixed_strike(now, shift, np.array([log_return]))[0],
            "moneyness": shift[0],
            "none": np.zeros(3),
        }
        for days in (7.0, 30.0, 90.0):
            root = math.sqrt(days / 365.0)
            for x in (-1.3, -0.7, 0.0, 0.7, 1.3):
                distance, moved = x * math.exp(log_vol(now, x, days)) - log_return / root, x
                for _ in range(20):
                    there = distance * math.exp(-log_vol(then, moved, days))
                    moved = 0.5 * (moved + min(max(there, -5.0), 5.0))
                truth = log_vol(then, moved, days) - log_vol(now, x, days)
                for kind, (level, skew, term) in told.items():
                    close = level + skew * x + term * math.log(days / 30.0)
                    missed[kind].append(close - truth)
    size = {kind: math.sqrt(np.mean(np.square(one))) for kind, one in missed.items()}
    assert size["strike"] < 0.02 < 0.028 < size["moneyness"] < size["none"]
