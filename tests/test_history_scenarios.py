"""History into joint shocks: no look-ahead, one date as a slice, and known cases."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solvent.errors import BadInput, RulebookError
from solvent.scenarios.anti_procyclical import Chain, Floor, Speed
from solvent.scenarios.history import HistorySpec, Panel, Proxy, Series, Window, joint_shocks
from solvent.scenarios.history.build import joint_shocks_anew
from solvent.scenarios.volatility import Garch, fit_garch, garch11
from solvent.units import DAY_MS, Float64
from tests.history_made import START_MS, codes, garch_returns, made, same

SMALL: dict[str, Any] = {"lookback_days": 90, "min_observations": 20, "burn_in_days": 10}
SPECS = (
    HistorySpec(**SMALL),
    HistorySpec(**SMALL, filter="none", mpor_hours=72, returns="relative"),
    HistorySpec(**SMALL, step_hours=12, mpor_hours=24, every_hours=24, phase_hours=8),
    HistorySpec(**SMALL, correlation=True, centred=True, mirrored=True, weights="time"),
    HistorySpec(**SMALL, scaled=True, mpor_hours=48, weights="both", ratio_max=1.5, ratio_min=0.8),
    HistorySpec(**SMALL, surfaces=True, basis=True, correlation=True),
    HistorySpec(**SMALL, surfaces=True, sticky="moneyness", surface_missing="drop"),
    HistorySpec(**SMALL, tools=Chain((Floor(), Speed(up=0.1, down=0.02)))),
    HistorySpec(**{**SMALL, "lookback_days": 1}, stressed_days=60, filter="none"),
    HistorySpec(**SMALL, outliers="drop", outlier_deviations=3.0),
    HistorySpec(**SMALL, windows=(Window(start_ms=START_MS, end_ms=START_MS + 50 * DAY_MS),)),
    HistorySpec(
        **SMALL,
        underlyings=("BTC", "ETH", "NEW"),
        proxies=(
            Proxy(name="ETH", factors=("BTC",), overlap_min=20),
            Proxy(name="NEW", factors=("BTC",), beta=(1.5,), residual_ratio=0.5),
        ),
    ),
)


def damaged(seed: int, *, spec: HistorySpec) -> Series:
    """History with a late coin, holes, repeated and turned rows."""
    rng = np.random.default_rng(seed)
    series = made(220, seed=seed, step_hours=spec.step_hours, surfaces=spec.surfaces)
    price = series.price.copy()
    price[rng.random(price.shape) < 0.03] = np.nan
    if spec.proxies:
        price[:120, 1] = np.nan
    series = replace(series, price=price)
    order = np.arange(len(series))
    turned = rng.integers(0, len(series) - 1, 4)
    order[turned], order[turned + 1] = order[turned + 1], order[turned]
    return series.rows(np.concatenate([order, order[-3:]]))


@settings(max_examples=40)
@given(st.sampled_from(SPECS), st.integers(0, 50), st.integers(-60, 0), st.floats(0.1, 10.0))
def test_nothing_after_the_date_is_looked_at(
    spec: HistorySpec, seed: int, back: int, factor: float
) -> None:
    series = damaged(seed, spec=spec)
    as_of = int(series.time_ms.max()) + back * DAY_MS + 5_000
    later = series.time_ms > as_of
    wild = series.price * np.where(later, factor, 1.0)[:, None]
    wild[later & (np.arange(len(later)) % 3 == 0)] = np.nan
    changed = replace(series, price=wild)
    told = joint_shocks(spec, series, as_of_ms=as_of)
    assert same(told, joint_shocks(spec, changed, as_of_ms=as_of))
    assert same(told, Panel.of(spec, series).at(as_of)), "a slice is the set of the date"
    assert same(told, Panel.of(spec, changed).at(as_of))
    assert int(told.shocks.time_ms.max()) <= as_of


def test_the_panel_of_garch_is_a_slice_too() -> None:
    spec = HistorySpec(filter="garch", lookback_days=60, min_observations=20, refit_days=40)
    series = made(420, seed=3)
    panel = Panel.of(spec, series)
    for day in (300, 341, 415):
        as_of = int(series.time_ms[day])
        assert same(panel.at(as_of), joint_shocks(spec, series, as_of_ms=as_of))


def twin(price: Float64, *, decay: float, burn: int, lookback: int, span: int) -> list[float]:
    """Moves of a filtered set, one coin, from the formula: r·σ_now/σ_then, one number at a time."""
    logs = [math.log(one) for one in price]
    returns = [0.0, *(b - a for a, b in pairwise(logs))]
    sigma: dict[int, float] = {burn: sum(r * r for r in returns[1 : burn + 1]) / burn}
    for day in range(burn + 1, len(logs)):
        sigma[day] = decay * sigma[day - 1] + (1.0 - decay) * returns[day] ** 2
    last = len(logs) - 1
    moves = []
    for end in range(last - lookback + 1, last + 1):
        then = sigma[end - span]
        moves.append(math.exp((logs[end] - logs[end - span]) * math.sqrt(sigma[last] / then)) - 1.0)
    return moves


@settings(max_examples=20)
@given(st.integers(0, 1_000), st.sampled_from([0.9, 0.97, 0.99]), st.integers(1, 3))
def test_the_builder_is_its_readable_twin(seed: int, decay: float, span: int) -> None:
    series = made(160, seed=seed, names=("BTC",))
    spec = HistorySpec(
        lookback_days=100, decay=decay, mpor_hours=24.0 * span, burn_in_days=20, min_observations=5
    )
    built = joint_shocks(spec, series, as_of_ms=int(series.time_ms[-1]))
    expected = twin(series.price[:, 0], decay=decay, burn=20, lookback=100, span=span)
    np.testing.assert_allclose(built.shocks.move[0], expected, rtol=1e-10)
    assert built.shocks.weight.tolist() == [0.01] * 100


def test_a_set_by_hand() -> None:
    """Prices 100, 110, 99, 99: unfiltered daily returns +10 %, −10 %, 0."""
    series = Series(
        names=("BTC",),
        time_ms=START_MS + np.arange(4) * DAY_MS,
        price=np.array([[100.0], [110.0], [99.0], [99.0]]),
    )
    plain = HistorySpec(filter="none", lookback_days=3, min_observations=1)
    end = int(series.time_ms[-1])
    built = joint_shocks(plain, series, as_of_ms=end)
    np.testing.assert_allclose(built.shocks.move, [[0.1, -0.1, 0.0]], atol=1e-15)
    assert built.shocks.time_ms.tolist() == series.time_ms[1:].tolist()
    assert built.shocks.name == "hs-3d-24h"
    # λ = ½ from 0.01 (the first return's square): then 0.5·0.01 + 0.5·0.01 … in relative returns.
    half = replace(plain, filter="ewma", decay=0.5, burn_in_days=1, returns="relative")
    built = joint_shocks(half, series, as_of_ms=end)
    # σ² after each day: 0.01, 0.01, 0.005; windows that begin on days 1 and 2.
    np.testing.assert_allclose(built.shocks.move, [[-0.1 * math.sqrt(0.5), 0.0]], atol=1e-15)
    assert built.volatility == {"BTC": pytest.approx(math.sqrt(0.005))}
    assert "no-volatility" in codes(built)


@given(st.integers(0, 500), st.floats(1e-3, 1e3))
@settings(max_examples=15)
def test_units_of_prices_do_not_matter(seed: int, factor: float) -> None:
    series = made(150, seed=seed)
    spec = HistorySpec(**SMALL)
    as_of = int(series.time_ms[-1])
    one = joint_shocks(spec, series, as_of_ms=as_of).shocks
    two = joint_shocks(spec, replace(series, price=series.price * factor), as_of_ms=as_of).shocks
    np.testing.assert_allclose(one.move, two.move, atol=1e-12)


@given(st.integers(0, 500), st.booleans())
@settings(max_examples=15)
def test_the_order_of_coins_does_not_matter(seed: int, correlation: bool) -> None:
    names = ("BTC", "ETH", "SOL")
    series = made(150, seed=seed, names=names)
    spec = HistorySpec(**SMALL, correlation=correlation)
    turned = replace(spec, underlyings=("SOL", "BTC", "ETH"))
    as_of = int(series.time_ms[-1])
    one = joint_shocks(spec, series, as_of_ms=as_of).shocks
    two = joint_shocks(turned, series, as_of_ms=as_of).shocks
    assert two.underlyings == turned.underlyings
    np.testing.assert_allclose(one.move[[2, 0, 1]], two.move, atol=1e-10)


def test_every_step_or_side_by_side() -> None:
    series = made(130, step_hours=6)
    spec = HistorySpec(**SMALL, step_hours=6, mpor_hours=48)
    as_of = int(series.time_ms[-1])
    each = joint_shocks(spec, series, as_of_ms=as_of)
    apart = joint_shocks(replace(spec, every_hours=48), series, as_of_ms=as_of)
    assert len(each.shocks) == 360
    assert len(apart.shocks) == 45
    assert spec.overlapping
    assert "overlapping" in codes(each)
    assert "overlapping" not in codes(apart)
    assert np.array_equal(apart.shocks.move, each.shocks.move[:, 7::8])
    assert int(apart.shocks.time_ms[-1]) == as_of, "the newest window is always there"


def test_scaling_by_the_root_of_time() -> None:
    series = made(130)
    day = HistorySpec(**SMALL, filter="none")
    as_of = int(series.time_ms[-1])
    one = joint_shocks(day, series, as_of_ms=as_of).shocks
    four = joint_shocks(replace(day, mpor_hours=96, scaled=True), series, as_of_ms=as_of).shocks
    np.testing.assert_allclose(np.log1p(four.move), 2.0 * np.log1p(one.move), atol=1e-12)


def test_bounds_of_the_ratio() -> None:
    price = made(150, names=("BTC",)).price.copy()
    price[-5:] *= np.array([[1.4], [0.7], [1.4], [0.7], [1.4]])
    series = replace(made(150, names=("BTC",)), price=price)
    spec = HistorySpec(**SMALL)
    as_of = int(series.time_ms[-1])
    free = joint_shocks(spec, series, as_of_ms=as_of)
    capped = joint_shocks(replace(spec, ratio_max=1.5), series, as_of_ms=as_of)
    plain = joint_shocks(replace(spec, filter="none"), series, as_of_ms=as_of)
    wide = np.abs(np.log1p(free.shocks.move)) > np.abs(np.log1p(capped.shocks.move)) + 1e-12
    assert wide.any()
    assert "ratio-bounded" in codes(capped)
    bound = 1.5 * np.abs(np.log1p(plain.shocks.move))
    assert (np.abs(np.log1p(capped.shocks.move)) <= bound + 1e-12).all()


def test_weights() -> None:
    series = made(200, names=("BTC",))
    as_of = int(series.time_ms[-1])
    spec = HistorySpec(**SMALL, weights="time", half_life_days=30)
    weight = joint_shocks(spec, series, as_of_ms=as_of).shocks.weight
    np.testing.assert_allclose(weight[30:] / weight[:-30], 2.0)
    by_vol = joint_shocks(replace(spec, weights="volatility"), series, as_of_ms=as_of)
    assert abs(by_vol.shocks.weight.sum() - 1.0) < 1e-12
    both = joint_shocks(replace(spec, weights="both"), series, as_of_ms=as_of)
    product = weight * by_vol.shocks.weight
    np.testing.assert_allclose(both.shocks.weight, product / product.sum())
    assert "weighted" in codes(both)


def test_a_filter_takes_volatility_out_of_a_history() -> None:
    """Of GARCH returns, σ-scaled windows have one variance; the plain ones have waves."""
    returns = garch_returns(1_500, seed=4)
    price = np.exp(np.cumsum(returns))[:, None]
    series = Series(names=("BTC",), time_ms=START_MS + np.arange(1_500) * DAY_MS, price=price)
    as_of = int(series.time_ms[-1])
    base = HistorySpec(lookback_days=750, decay=0.95, refit_days=100)
    shocks = np.random.default_rng(4).standard_normal(2_000)[1_250:]
    for kind, within in (("ewma", 0.2), ("garch", 0.05)):
        built = joint_shocks(replace(base, filter=kind), series, as_of_ms=as_of)  # type: ignore[arg-type]
        z = np.log1p(built.shocks.move[0]) / built.volatility["BTC"]
        # What is left is the shocks that the returns were made of.
        assert abs(float((z**2).mean() - (shocks**2).mean())) < within, kind
        assert np.corrcoef(z, shocks)[0, 1] > 0.97, kind
        size = z**2 - (z**2).mean()
        plain = returns[-750:] ** 2 - (returns[-750:] ** 2).mean()
        left = [float((one[1:] * one[:-1]).mean() / (one**2).mean()) for one in (size, plain)]
        assert left[0] < 0.5 * left[1], f"{kind}: waves are gone"
        assert "garch-fallback" not in codes(built)


def test_a_garch_fit_finds_what_made_the_returns() -> None:
    fit = fit_garch(garch_returns(4_000, seed=1))
    assert isinstance(fit, Garch)
    assert abs(fit.persistence - 0.98) < 0.02
    assert abs(fit.alpha - 0.1) < 0.04


def test_where_there_is_no_fit_variance_is_ewma_and_that_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    series = made(420, names=("BTC",))
    as_of = int(series.time_ms[-1])
    spec = HistorySpec(lookback_days=100, min_observations=50, filter="garch")
    ewma = joint_shocks(replace(spec, filter="ewma"), series, as_of_ms=as_of)
    monkeypatch.setitem(sys.modules, "arch.univariate", None)
    # Nothing is kept of a process that lacks a package for a moment.
    built = joint_shocks_anew(spec, series, as_of_ms=as_of)
    assert np.array_equal(built.shocks.move, ewma.shocks.move)
    (note,) = [one for one in built.notes if one.code == "garch-fallback"]
    assert "arch is not installed" in note.text
    assert note.subject == "BTC"
    assert note.count == 101


def test_an_explosive_history_has_no_stable_fit() -> None:
    integrated, variance = [], 1.0
    for shock in np.random.default_rng(0).standard_normal(800):
        integrated.append(shock * variance**0.5)
        variance = 0.02 + 0.3 * integrated[-1] ** 2 + 0.72 * variance
    assert "unstable" in str(fit_garch(np.array(integrated)))
    growing = np.array(integrated) * np.exp(np.arange(800) / 60.0)
    assert isinstance(fit_garch(growing), str)
    assert garch11([0.1], omega=0.0, alpha=0.1, beta=0.9, first=1.0) == [0.9 + 0.1 * 0.1 * 0.1]


def test_tools_steady_todays_volatility() -> None:
    series = made(300, names=("BTC",))
    as_of = int(series.time_ms[-1])
    spec = HistorySpec(**SMALL, decay=0.9)
    raw = joint_shocks(spec, series, as_of_ms=as_of)
    floor = 2.0 * raw.volatility["BTC"]
    built = joint_shocks(replace(spec, tools=Chain((Floor(at=floor),))), series, as_of_ms=as_of)
    assert built.volatility == {"BTC": pytest.approx(floor)}
    assert built.volatility_raw == raw.volatility
    np.testing.assert_allclose(np.log1p(built.shocks.move), 2.0 * np.log1p(raw.shocks.move))
    assert "tools" in codes(built)


def test_correlation_of_the_set_is_todays() -> None:
    """The last days move together; the history before did not."""
    rng = np.random.default_rng(5)
    apart = rng.standard_normal((400, 2))
    together = rng.standard_normal((60, 1)) + 0.1 * rng.standard_normal((60, 2))
    price = np.exp(np.cumsum(0.03 * np.concatenate([apart, together]), axis=0))
    series = Series(names=("A", "B"), time_ms=START_MS + np.arange(460) * DAY_MS, price=price)
    spec = HistorySpec(lookback_days=300, correlation_decay=0.94)
    as_of = int(series.time_ms[-1])

    def correlation(built_spec: HistorySpec) -> float:
        logs = np.log1p(joint_shocks(built_spec, series, as_of_ms=as_of).shocks.move)
        moments = logs @ logs.T
        return float(moments[0, 1] / math.sqrt(moments[0, 0] * moments[1, 1]))

    assert correlation(spec) < 0.4
    steps = np.diff(np.log(price), axis=0)
    assert correlation(replace(spec, correlation=True)) > 0.9 > np.corrcoef(steps.T)[0, 1]


def test_a_coin_that_repeats_another_is_repaired_by_name() -> None:
    series = made(200)
    price = series.price.copy()
    price[:, 1] = 2.0 * price[:, 0]
    spec = HistorySpec(**SMALL, correlation=True)
    as_of = int(series.time_ms[-1])
    built = joint_shocks(spec, replace(series, price=price), as_of_ms=as_of)
    assert "correlation-repaired" in codes(built)
    np.testing.assert_allclose(built.shocks.move[0], built.shocks.move[1], atol=1e-9)


def test_a_proxy_by_regression() -> None:
    """Half of the coin's history is not there; where it is, nothing changes."""
    series = made(400, names=("BTC", "SOL"), common=0.95)
    price = series.price.copy()
    price[:250, 1] = np.nan
    short = replace(series, price=price)
    as_of = int(series.time_ms[-1])
    proxy = Proxy(name="SOL", factors=("BTC",))
    spec = HistorySpec(lookback_days=300, proxies=(proxy,))
    built = joint_shocks(spec, short, as_of_ms=as_of)
    assert len(built.shocks) == 300
    (note,) = [one for one in built.notes if one.code == "proxy"]
    assert note.subject == "SOL"
    assert 150 < note.count < 200
    own = 300 - note.count
    without = joint_shocks(replace(spec, proxies=(), min_observations=50), short, as_of_ms=as_of)
    assert len(without.shocks) == own
    assert np.array_equal(built.shocks.move[:, -own:], without.shocks.move)
    logs = np.log1p(built.shocks.move[:, :-own])
    assert np.corrcoef(logs)[0, 1] > 0.75
    assert same(built, joint_shocks(spec, short, as_of_ms=as_of)), "the same residuals again"
    other = joint_shocks(replace(spec, seed=9), short, as_of_ms=as_of)
    assert not np.array_equal(built.shocks.move[1], other.shocks.move[1])
    bare = replace(spec, proxies=(replace(proxy, residual="none"),))
    alone = np.log1p(joint_shocks(bare, short, as_of_ms=as_of).shocks.move[:, :-own])
    assert np.corrcoef(alone)[0, 1] > 0.999999
    scaled = replace(spec, proxies=(replace(proxy, residual="scaled"),))
    spread = np.log1p(joint_shocks(scaled, short, as_of_ms=as_of).shocks.move[1, :-own])
    assert spread.std() > alone[1].std()


def test_a_proxy_as_told() -> None:
    series = made(200, names=("BTC", "ETH"))
    spec = HistorySpec(
        **SMALL,
        underlyings=("BTC", "DOGE"),
        proxies=(Proxy(name="DOGE", factors=("BTC", "ETH"), beta=(1.0, 0.5), residual="none"),),
    )
    as_of = int(series.time_ms[-1])
    built = joint_shocks(spec, series, as_of_ms=as_of)
    both = joint_shocks(HistorySpec(**SMALL), series, as_of_ms=as_of)
    expected = np.array([1.0, 0.5]) @ np.log1p(both.shocks.move)
    np.testing.assert_allclose(np.log1p(built.shocks.move[1]), expected, atol=1e-12)
    assert "proxy-told" in codes(built)
    alone = joint_shocks(replace(spec, underlyings=("BTC",)), series, as_of_ms=as_of)
    assert np.array_equal(alone.shocks.move[0], built.shocks.move[0]), "who is not asked for"
    assert "proxy-told" not in codes(alone)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"lookback_days": 750, "min_observations": 250}, "expected 250 windows"),
        ({"underlyings": ("BTC", "DOGE")}, "field 'DOGE'"),
        ({"burn_in_days": 400}, "to start its volatility"),
        ({"proxies": (Proxy(name="DOGE", factors=("BTC",)),)}, "field 'DOGE'"),
        ({"proxies": (Proxy(name="DOGE", factors=("XRP",), beta=(1.0,)),)}, "field 'XRP'"),
    ],
)
def test_what_a_history_cannot_carry(change: dict[str, Any], words: str) -> None:
    series = made(150)
    spec = HistorySpec(**{**SMALL, **change})
    with pytest.raises(BadInput, match=words):
        joint_shocks(spec, series, as_of_ms=int(series.time_ms[-1]))


def test_constant_stale_and_missing_histories_are_refused() -> None:
    series = made(150)
    end = int(series.time_ms[-1])
    flat = series.price.copy()
    flat[:, 1] = 5.0
    for filtered in ("none", "ewma"):
        spec = HistorySpec(**SMALL, filter=filtered, underlyings=("BTC", "ETH"))
        with pytest.raises(BadInput, match=r"'ETH'.*price that moves"):
            joint_shocks(spec, replace(series, price=flat), as_of_ms=end)
    spec = HistorySpec(**SMALL)
    with pytest.raises(BadInput, match="expected a price within 24 h"):
        joint_shocks(spec, series, as_of_ms=end + 3 * DAY_MS)
    with pytest.raises(BadInput, match="expected a price or more"):
        joint_shocks(spec, series, as_of_ms=START_MS - 1)
    with pytest.raises(BadInput, match="history up to"):
        Panel.of(spec, series).at(end + 3 * DAY_MS)
    with pytest.raises(BadInput, match="history before"):
        Panel.of(spec, series).at(START_MS - 1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"mpor_hours": 25.0},
        {"decay": 1.0},
        {"decay": math.nan},
        {"filter": "arma"},
        {"step_hours": 0.0},
        {"every_hours": 0.0},
        {"ratio_max": 0.5},
        {"lookback_days": math.inf},
        {"step_hours": 1.0, "lookback_days": 3_000},
        {"filter": "none", "tools": Chain((Floor(),))},
        {"stressed_days": 30, "windows": (Window(start_ms=0, end_ms=1),)},
        {"underlyings": ("BTC", "BTC")},
        {"min_observations": 0},
        {
            "proxies": (
                Proxy(name="A", factors=("B",)),
                Proxy(name="B", factors=("C",)),
            )
        },
    ],
)
def test_a_spec_that_says_nothing_computable(wrong: dict[str, Any]) -> None:
    with pytest.raises(RulebookError, match="history"):
        HistorySpec(**wrong)


def test_a_proxy_that_says_nothing_computable() -> None:
    for wrong in ({"factors": ()}, {"factors": ("A",)}, {"factors": ("B",), "beta": (1.0, 2.0)},
                  {"factors": ("B",), "overlap_min": 3}, {"factors": ("B",), "residual": "x"},
                  {"factors": ("B",), "residual_ratio": -1.0}):  # fmt: skip
        with pytest.raises(RulebookError, match=r"history\.proxies"):
            Proxy(name="A", **wrong)
    with pytest.raises(RulebookError, match="start before its end"):
        Window(start_ms=5, end_ms=5)


def test_a_coin_that_nobody_listed_is_left_out_by_name() -> None:
    """A constant coin, one that ended, and one that just began; the others' set is as without."""
    series = made(150, names=("BTC", "USDC", "OLD", "NEW"))
    price = series.price.copy()
    price[:, 1], price[100:, 2], price[:135, 3] = 1.0, np.nan, np.nan
    series = replace(series, price=price)
    as_of = int(series.time_ms[-1])
    spec = HistorySpec(**SMALL, correlation=True)
    built = joint_shocks(spec, series, as_of_ms=as_of)
    assert built.shocks.underlyings == ("BTC",)
    left = {one.subject: one.text for one in built.notes if one.code == "coin-left-out"}
    assert set(left) == {"USDC", "OLD", "NEW"}
    assert "price that moves" in left["USDC"]
    assert "a price within 24 h" in left["OLD"]
    assert "20 windows of 24 h" in left["NEW"]
    alone = joint_shocks(replace(spec, underlyings=("BTC",)), series, as_of_ms=as_of)
    assert np.array_equal(alone.shocks.move, built.shocks.move)
    for coin in left:
        with pytest.raises(BadInput, match=coin):
            joint_shocks(replace(spec, underlyings=("BTC", coin)), series, as_of_ms=as_of)


def test_stressed_days_are_those_that_moved_most() -> None:
    series = made(300, names=("BTC",))
    price = series.price.copy()
    wild = 1.0 + 0.3 * (-1.0) ** np.arange(20)
    price[100:120, 0] *= wild
    series = replace(series, price=price)
    spec = HistorySpec(filter="none", stressed_days=25, min_observations=25)
    built = joint_shocks(spec, series, as_of_ms=int(series.time_ms[-1]))
    days = (built.shocks.time_ms - START_MS) // DAY_MS
    assert set(range(100, 121)) <= set(days.tolist())
    assert len(built.shocks) == 25
    assert "stressed-period" in codes(built)
    before = joint_shocks(spec, series, as_of_ms=int(series.time_ms[90]))
    assert int(before.shocks.time_ms.max()) <= int(series.time_ms[90])


def test_mirrored_and_centred() -> None:
    series = made(150)
    as_of = int(series.time_ms[-1])
    spec = HistorySpec(**SMALL, mirrored=True)
    shocks = joint_shocks(spec, series, as_of_ms=as_of).shocks
    logs = np.log1p(shocks.move)
    half = len(shocks) // 2
    np.testing.assert_allclose(logs[:, half:], -logs[:, :half], atol=1e-12)
    centred = joint_shocks(HistorySpec(**SMALL, centred=True), series, as_of_ms=as_of).shocks
    np.testing.assert_allclose(np.log1p(centred.move).mean(axis=1), 0.0, atol=1e-12)
