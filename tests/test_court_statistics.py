"""The court's statistics: published numbers, definitions, and samples that say nothing."""

from __future__ import annotations

import json
import math
from fractions import Fraction
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, chi2

from solvent.conform.run import conform
from solvent.errors import BadInput, MissingExtra
from solvent.lab.court import comparison, series_models, statistics, tail_tests
from solvent.lab.court.procyclicality import (
    cost,
    impulse_response,
    procyclicality,
    step_returns,
)
from solvent.lab.court.series_models import MODELS, SeriesModel, series_margins, sp500_returns
from solvent.scenarios.anti_procyclical import Chain, Floor, Speed
from solvent.units import DAY_MS, Float64
from tests.conftest import need_shared

PROBABILITIES = st.sampled_from([0.005, 0.01, 0.05, 0.3])


def need_arch() -> None:
    if find_spec("arch") is None:
        pytest.skip("the S&P 500's history comes with the package arch")


# ── published numbers ────────────────────────────────────────────────────────────────────────────


def test_published_tests() -> None:
    found = conform([need_shared("vectors", "tradfi", "backtest_vectors.json")])
    assert (found.failed, found.unknown) == (0, 0), found.files[0].misses
    assert found.passed == 153


def test_table_of_models() -> None:
    need_arch()
    found = conform([need_shared("vectors", "tradfi", "procyclicality_sp500_table.json")])
    assert (found.failed, found.unknown) == (0, 0), found.files[0].misses
    assert found.passed == 14


def test_without_the_package_the_table_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    path = need_shared("vectors", "tradfi", "procyclicality_sp500_table.json")
    monkeypatch.setattr(series_models, "find_spec", lambda _: None)
    found = conform([path])
    assert (found.passed, found.failed, found.unknown) == (0, 0, 14)
    with pytest.raises(MissingExtra, match=r"solvent\[models\]"):
        sp500_returns()


def test_a_model_that_is_not_ours_is_unknown(tmp_path: Path) -> None:
    told = json.loads(
        need_shared("vectors", "tradfi", "procyclicality_sp500_table.json").read_text("utf-8")
    )
    told["rows"][0]["model"] = "another"
    told["rows"][1]["peak_to_trough"] += 0.002
    path = tmp_path / "tradfi" / "procyclicality_sp500_table.json"
    path.parent.mkdir()
    path.write_text(json.dumps(told), "utf-8")
    need_arch()
    found = conform([path])
    assert (found.passed, found.failed, found.unknown) == (12, 1, 1)
    assert "peak_to_trough" in found.files[0].misses[0]


def test_the_slow_model_with_tools_of_the_reference() -> None:
    """FHS .99, ten-year floor, +10 %/−1 % a day: coverage 99.53 %, 4.64, 1.10, 1.32, 2.35."""
    need_arch()
    returns, _ = sp500_returns()
    margins = series_margins(MODELS["FHS .99, 10y floor, speed +10%/-1%"], returns)[1000:-1]
    found = procyclicality(margins)
    assert found.peak_to_trough == pytest.approx(4.64, abs=0.005)
    assert [found.rises[days] for days in (1, 5, 30)] == pytest.approx(
        [1.10, 1.32, 2.35], abs=0.005
    )
    assert (returns[1000:] >= -margins).mean() == pytest.approx(0.9953, abs=5e-5)
    assert found.mean == pytest.approx(0.0368, abs=5e-5)


# ── how often ────────────────────────────────────────────────────────────────────────────────────


@settings(max_examples=60)
@given(st.integers(1, 400), st.data(), PROBABILITIES)
def test_kupiec_is_a_ratio_of_likelihoods(n: int, data: st.DataObject, p: float) -> None:
    x = data.draw(st.integers(0, n))
    found = statistics.kupiec(observations=n, breaches=x, p=p)
    ratio = -2.0 * (binom.logpmf(x, n, p) - binom.logpmf(x, n, x / n))
    assert found.statistic == pytest.approx(max(0.0, ratio), abs=1e-8)
    assert found.p_value == pytest.approx(chi2.sf(max(0.0, ratio), 1), abs=1e-8)


def test_samples_at_the_edge() -> None:
    nothing = statistics.kupiec(observations=0, breaches=0, p=0.01)
    assert (nothing.statistic, nothing.p_value, nothing.why) == (None, None, "no observation")
    assert nothing.rejected() is None
    all_of_them = statistics.kupiec(observations=10, breaches=10, p=0.01)
    assert all_of_them.statistic == pytest.approx(-20.0 * math.log(0.01))
    assert statistics.not_under_covered(observations=0, breaches=0, p=0.01).p_value is None
    assert statistics.not_under_covered(observations=9, breaches=0, p=0.01).p_value == 1.0
    for breaches in (-1, 11):
        with pytest.raises(BadInput, match="0 to 10 breaches"):
            statistics.kupiec(observations=10, breaches=breaches, p=0.01)
    for p in (0.0, 1.0, float("nan")):
        with pytest.raises(BadInput, match="a probability between 0 and 1"):
            statistics.kupiec(observations=10, breaches=1, p=p)
    with pytest.raises(BadInput, match="step 1 or later"):
        statistics.time_to_first(steps=0, p=0.01)


def test_first_breach_of_kupiec() -> None:
    """At 1 %, rejected where it comes within 6 steps or not before 439."""
    rejected = [n for n in range(1, 600) if statistics.time_to_first(steps=n, p=0.01).rejected()]
    assert rejected == [*range(1, 7), *range(439, 600)]


@settings(max_examples=40)
@given(st.integers(1, 300), st.data())
def test_interval_is_where_tails_hold_half_of_alpha(n: int, data: st.DataObject) -> None:
    breaches = data.draw(st.integers(0, n))
    found = statistics.coverage(observations=n, breaches=breaches)
    covered = n - breaches
    assert found.low <= (found.covered or 0.0) <= found.high
    if covered:
        assert binom.sf(covered - 1, n, found.low) == pytest.approx(0.025, rel=1e-6)
    else:
        assert found.low == 0.0
    if breaches:
        assert binom.cdf(covered, n, found.high) == pytest.approx(0.025, rel=1e-6)
    else:
        assert found.high == 1.0


def test_nothing_seen_covers_anything() -> None:
    found = statistics.coverage(observations=0, breaches=0)
    assert (found.covered, found.low, found.high) == (None, 0.0, 1.0)


@pytest.mark.parametrize("breaches", [0, 1, 4, 5, 9, 10, 30])
def test_basel_is_exact(breaches: int) -> None:
    p = Fraction(1, 100)
    exact = [math.comb(250, k) * p**k * (1 - p) ** (250 - k) for k in range(251)]
    zone = statistics.basel(observations=250, breaches=breaches, p=0.01)
    assert zone.exact == pytest.approx(float(exact[breaches]), rel=1e-10)
    assert zone.cumulative == pytest.approx(float(sum(exact[: breaches + 1])), rel=1e-12)
    assert zone.type_one == pytest.approx(float(sum(exact[breaches:])), rel=1e-9)
    assert zone.colour == ("green" if breaches < 5 else "yellow" if breaches < 10 else "red")


def test_basel_has_no_multiplier_for_other_samples() -> None:
    assert statistics.basel(observations=500, breaches=5, p=0.01).multiplier is None
    assert statistics.basel(observations=250, breaches=5, p=1.0 - 0.99).multiplier == 3.4


@pytest.mark.parametrize("observations", [0, 1, 5, 30, 250])
def test_no_breach_is_green_in_the_smallest_sample(observations: int) -> None:
    assert statistics.basel(observations=observations, breaches=0, p=0.01).colour == "green"


# ── whether they cluster ─────────────────────────────────────────────────────────────────────────


@settings(max_examples=40)
@given(st.lists(st.booleans(), max_size=60))
def test_transitions_and_durations_agree(hits: list[bool]) -> None:
    n00, n01, n10, n11 = statistics.transitions(hits)
    assert n00 + n01 + n10 + n11 == max(0, len(hits) - 1)
    steps = statistics.durations(hits)
    assert len(steps) == sum(hits)
    assert sum(steps) == max((n for n, hit in enumerate(hits, 1) if hit), default=0)
    assert sum(step == 1 for step in steps[1:]) == n11


def test_clusters_are_seen() -> None:
    rng = np.random.default_rng(4)
    even = rng.random(4_000) < 0.01
    bunched = np.zeros(4_000, dtype=bool)
    bunched[1_000:1_040] = True
    assert even.sum() == pytest.approx(40, abs=12)
    assert not statistics.christoffersen(even).rejected()
    assert not statistics.haas(even, p=0.01).rejected()
    assert not statistics.dynamic_quantile(even, rng.random(4_000) + 1.0, p=0.01).rejected()
    assert not statistics.kupiec(observations=4_000, breaches=40, p=0.01).rejected()
    for test in (
        statistics.christoffersen(bunched),
        statistics.conditional_coverage(bunched, p=0.01),
        statistics.haas(bunched, p=0.01),
        statistics.dynamic_quantile(bunched, np.ones(4_000), p=0.01),
    ):
        assert test.rejected(1e-6), test


@given(st.lists(st.booleans(), min_size=2, max_size=60), st.data())
@settings(max_examples=40)
def test_days_beside_a_hole_are_no_neighbours(hits: list[bool], data: st.DataObject) -> None:
    """Pairs are those of each stretch alone; durations begin anew after a hole, none is lost."""
    broken = data.draw(st.lists(st.booleans(), min_size=len(hits), max_size=len(hits)))
    cuts = [0, *(at for at in range(1, len(hits)) if broken[at]), len(hits)]
    parts = [hits[one:other] for one, other in pairwise(cuts)]
    pairs = [statistics.transitions(part) for part in parts]
    assert statistics.transitions(hits, broken=broken) == tuple(map(sum, zip(*pairs, strict=True)))
    steps = statistics.durations(hits, broken=broken)
    assert steps == tuple(step for part in parts for step in statistics.durations(part))
    assert len(steps) == sum(hits)
    left_out = sum(broken[1:])
    assert statistics.christoffersen(hits, broken=broken).left_out == left_out
    assert statistics.haas(hits, p=0.1, broken=broken).left_out == left_out
    assert statistics.conditional_coverage(hits, p=0.1, broken=broken).left_out == left_out
    whole = statistics.haas(hits, p=0.1)
    assert statistics.haas(hits, p=0.1, broken=[False] * len(hits)) == whole


def test_breaches_on_both_sides_of_a_hole_do_not_cluster() -> None:
    """Four pairs of breaches, each pair apart by a hole: neighbours they would be rejected."""
    hits, broken = np.zeros(800, dtype=bool), np.zeros(800, dtype=bool)
    hits[99::200] = hits[100::200] = broken[100::200] = True
    assert statistics.christoffersen(hits).rejected()
    apart = statistics.christoffersen(hits, broken=broken)
    assert not apart.rejected()
    assert apart.left_out == 4
    lags = statistics.dynamic_quantile(hits, np.ones(800), p=0.01, broken=broken)
    assert lags.left_out == 4 * 4
    assert statistics.dynamic_quantile(hits, np.ones(800), p=0.01).left_out == 0
    with pytest.raises(BadInput, match="a word on holes an observation"):
        statistics.transitions(hits, broken=broken[:-1])


def test_dynamic_quantile_has_its_size() -> None:
    """Of right models, about one in twenty is rejected at 5 %."""
    rng = np.random.default_rng(9)
    rejected = sum(
        bool(statistics.dynamic_quantile(rng.random(2_000) < 0.05, rng.random(2_000), p=0.05)
             .rejected()) for _ in range(200)
    )  # fmt: skip
    assert 2 <= rejected <= 20


def test_samples_without_breaches() -> None:
    quiet = np.zeros(100, dtype=bool)
    calm = statistics.christoffersen(quiet)
    assert (calm.statistic, calm.p_value) == (0.0, 1.0)
    between = statistics.haas_independence((), p=0.01)
    assert (between.statistic, between.why) == (None, "no breach")
    mixed = statistics.haas(quiet, p=0.01)
    assert mixed.statistic == statistics.kupiec(observations=100, breaches=0, p=0.01).statistic
    assert mixed.freedom == 1
    assert statistics.christoffersen([True]).why == "less than two observations"
    assert statistics.conditional_coverage([], p=0.01).why == "no observation"
    assert statistics.haas([], p=0.01).why == "no observation"
    short = statistics.dynamic_quantile(quiet[:9], np.ones(9), p=0.01)
    assert short.why == "9 observations are too few for 4 lags"
    whole = statistics.dynamic_quantile(quiet, np.zeros(100), p=0.01)
    assert whole.statistic is not None
    with pytest.raises(BadInput, match="a margin an observation"):
        statistics.dynamic_quantile(quiet, np.ones(99), p=0.01)


def test_sizes_of_breaches() -> None:
    none = statistics.breach_sizes([1.0], [1.0])
    assert (none.breaches, none.mean, none.largest) == (0, 0.0, 0.0)


# ── shortfall ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("freedom", [None, 5.0])
def test_simulated_law_of_z2_is_the_exact_one(freedom: float | None) -> None:
    """The law of a random number of random depths, by a transform instead of draws."""
    law, alpha, count = tail_tests.Law(freedom=freedom), 0.025, 250
    width, cells = 80.0 / (1 << 15), 1 << 15
    at = np.arange(cells) * width * law.es(alpha)
    # P(depth > x) below the quantile, of one observation; 0 depth where it is none.
    edges = np.asarray(-(law.var(alpha) + np.arange(400_001) * 2e-3), dtype=np.float64)
    tail = _below(law, edges) / alpha
    beyond = np.interp(law.var(alpha) + 2e-3 * np.arange(400_001), -edges, tail)
    share = np.interp(at + 0.5 * width * law.es(alpha), -edges, beyond, left=1.0, right=0.0)
    mass = -np.diff(np.concatenate([[1.0], share])) * alpha
    mass[0] += 1.0 - alpha
    whole = np.fft.irfft(np.fft.rfft(mass) ** count, cells)
    depth = np.cumsum(whole)
    for level in (0.05, 0.01):
        exact = 1.0 - width * np.searchsorted(depth, 1.0 - level) / (alpha * count)
        found = tail_tests.critical_z2(
            observations=count, alpha=alpha, level=level, law=law, draws=100_000, seed=3
        )
        assert found == pytest.approx(exact, abs=0.02)


def _below(law: tail_tests.Law, x: Float64) -> Float64:
    from scipy.special import ndtr, stdtr

    return np.asarray(ndtr(x) if law.freedom is None else stdtr(law.freedom, x))


def test_shortfall_tests_see_a_model_that_is_too_shallow() -> None:
    rng = np.random.default_rng(6)
    law, alpha = tail_tests.Law(), 0.025
    pnl = rng.standard_normal(2_000)
    right = tail_tests.acerbi_szekely(pnl, law.var(alpha), law.es(alpha), alpha=alpha, draws=4_000)
    assert right.p_value is not None
    assert right.p_value > 0.05
    narrow = tail_tests.acerbi_szekely(
        1.3 * pnl, law.var(alpha), law.es(alpha), alpha=alpha, draws=4_000
    )
    assert narrow.p_value is not None
    assert narrow.p_value < 0.01
    assert narrow.statistic is not None
    assert narrow.statistic < -0.5


def test_shortfall_without_breaches_and_bad_ones() -> None:
    assert tail_tests.z1([1.0, 2.0], 1.0, 1.5) is None
    assert tail_tests.z2([1.0, 2.0], 1.0, 1.5, alpha=0.025) == 1.0
    assert tail_tests.z2([], [], [], alpha=0.025) is None
    assert tail_tests.acerbi_szekely([], [], [], alpha=0.025).why == "no observation"
    with pytest.raises(BadInput, match="an ES above 0"):
        tail_tests.z1([1.0], 1.0, 0.0)
    with pytest.raises(BadInput, match="finite"):
        tail_tests.z1([float("nan")], 1.0, 1.0)
    with pytest.raises(BadInput, match="more than 2 degrees"):
        tail_tests.Law(freedom=2.0)
    with pytest.raises(BadInput, match="observations, draws and a tail"):
        tail_tests.simulated_z2(observations=0, alpha=0.025)


def test_drawn_in_blocks_is_drawn_with_one_seed() -> None:
    one = tail_tests.simulated_z2(observations=50, alpha=0.1, draws=500, seed=2)
    again = tail_tests.simulated_z2(observations=50, alpha=0.1, draws=500, seed=2)
    other = tail_tests.simulated_z2(observations=50, alpha=0.1, draws=500, seed=3)
    assert (one == again).all()
    assert (one != other).any()
    assert one.mean() == pytest.approx(0.0, abs=0.08)


# ── which is better ──────────────────────────────────────────────────────────────────────────────


def test_scores_are_least_at_the_truth() -> None:
    rng = np.random.default_rng(3)
    loss, p, law = rng.standard_normal(200_000), 0.05, tail_tests.Law()
    var, es = law.var(p), law.es(p)
    best_tick = comparison.tick_loss(loss, var, p=p).mean()
    best_pair = comparison.fissler_ziegel(loss, var, es, p=p).mean()
    for off in (0.8, 0.9, 1.1, 1.25):
        assert comparison.tick_loss(loss, var * off, p=p).mean() > best_tick
        assert comparison.fissler_ziegel(loss, min(var * off, es), es, p=p).mean() > best_pair
        assert comparison.fissler_ziegel(loss, var, max(var, es * off), p=p).mean() > best_pair


@settings(max_examples=40)
@given(st.lists(st.tuples(st.floats(-5, 5), st.floats(0, 5)), min_size=1, max_size=20))
def test_a_tick_loss_is_never_negative(pairs: list[tuple[float, float]]) -> None:
    loss, var = np.array(pairs).T
    assert (comparison.tick_loss(loss, var, p=0.01) >= 0.0).all()


def test_diebold_mariano() -> None:
    rng = np.random.default_rng(8)
    good, alike = rng.random(500), rng.random(500)
    assert not comparison.diebold_mariano(good, alike).rejected()
    better = comparison.diebold_mariano(good, good + 0.1 * rng.random(500))
    assert better.rejected(1e-9)
    assert better.statistic is not None
    assert better.statistic < 0
    # The other way round it is the same with the other sign.
    worse = comparison.diebold_mariano(good + 0.0, good)
    assert (worse.statistic, worse.p_value) == (0.0, 1.0)
    assert comparison.diebold_mariano(good, good + 1.0).why == "the difference does not vary"
    assert comparison.diebold_mariano([1.0], [2.0]).why.startswith("1 observations are too few")
    with pytest.raises(BadInput, match="a horizon"):
        comparison.diebold_mariano(good, alike, horizon=0)


def test_overlapping_forecasts_say_less() -> None:
    """Scores of overlapping periods are correlated: a longer horizon finds less in them."""
    rng = np.random.default_rng(1)
    noise = np.convolve(rng.standard_normal(1_009), np.ones(10) / 10.0, mode="valid")
    naive = comparison.diebold_mariano(noise + 0.05, np.zeros(len(noise)))
    aware = comparison.diebold_mariano(noise + 0.05, np.zeros(len(noise)), horizon=10)
    assert naive.p_value is not None
    assert aware.p_value is not None
    assert aware.p_value > naive.p_value


def test_scores_refuse_what_is_no_forecast() -> None:
    with pytest.raises(BadInput, match="at least the VaR"):
        comparison.fissler_ziegel([1.0], 2.0, 1.0, p=0.05)
    with pytest.raises(BadInput, match="an ES above 0"):
        comparison.fissler_ziegel([1.0], -2.0, -1.0, p=0.05)
    with pytest.raises(BadInput, match="finite numbers"):
        comparison.tick_loss([float("inf")], 1.0, p=0.05)


# ── procyclicality ───────────────────────────────────────────────────────────────────────────────


def test_procyclicality_by_hand() -> None:
    found = procyclicality([1.0, 2.0, 1.0, 4.0, 3.0, 3.0, 5.0], spans=(1, 5, 30))
    assert found.peak_to_trough == 5.0
    assert found.rises == {1: 4.0, 5: 3.0}
    assert found.largest_call == pytest.approx(3.0 / (19.0 / 7.0))
    assert found.sd_log_changes == pytest.approx(
        np.log([2.0, 0.5, 4.0, 0.75, 1.0, 5.0 / 3.0]).std()
    )


def test_days_are_days_where_times_are_told() -> None:
    """Every second day, and one left out: the rate of a day later is the last one told by then."""
    days = np.array([0, 2, 4, 8, 10]) * DAY_MS
    found = procyclicality([1.0, 2.0, 4.0, 8.0, 8.0], time_ms=days, spans=(1, 2, 4))
    assert found.rises == {2: 2.0, 4: 4.0}


def test_series_that_say_little() -> None:
    nothing = procyclicality([])
    assert (nothing.observations, nothing.peak_to_trough, nothing.why) == (
        0,
        None,
        "no observation",
    )
    one = procyclicality([0.1])
    assert (one.peak_to_trough, one.rises, one.why) == (1.0, {}, "one observation")
    still = procyclicality([0.1] * 40)
    assert still.peak_to_trough == 1.0
    assert set(still.rises.values()) == {1.0}
    assert (still.sd_log_changes, still.largest_call) == (0.0, 0.0)
    gone = procyclicality([0.1, 0.0, 0.2])
    assert gone.peak_to_trough is None
    assert gone.why == "the margin is 0 on 1 of 3"
    for bad in ([0.1, -0.1], [0.1, float("nan")], [[0.1]]):
        with pytest.raises(BadInput, match="rates of 0 or more"):
            procyclicality(bad)
    with pytest.raises(BadInput, match="ascending"):
        procyclicality([1.0, 2.0], time_ms=np.array([5, 5]))
    assert cost([1.0], [0.0]) is None
    with pytest.raises(BadInput, match="same observations"):
        cost([1.0], [1.0, 2.0])


def margins_of(model: SeriesModel) -> Float64:
    return series_margins(model, step_returns(low=0.01, high=0.03, before=1_200, after=1_500))


@pytest.mark.parametrize(
    "name", ["normal, EWMA 0.97", "HS VaR 500d", "FHS 500d, EWMA 0.97", "base + 10y floor"]
)
def test_impulse_response(name: str) -> None:
    """Every model gets there in the end; a slow one later, a floored one not lower before."""
    found = impulse_response(
        lambda r: series_margins(MODELS[name], r), low=0.01, high=0.03, before=1_200, after=1_500
    )
    assert found.end / found.start == pytest.approx(3.0, rel=0.08)
    assert len(found.rate) == found.before + 1_500
    assert found.half_days is not None
    if name == "normal, EWMA 0.97":
        # Half of the way from 1 to 3 is 2: variance 4 of 9, so 0.97^n = 5/8 after 15 days.
        assert found.half_days == pytest.approx(math.log(5 / 8) / math.log(0.97), abs=4)
    if name == "HS VaR 500d":
        # Quantiles jump as soon as the five worst of 500 are new ones.
        assert found.half_days < 450


def test_speed_limits_a_response() -> None:
    fast = SeriesModel(name="fast", quantile="normal", decay=0.9)
    slow = SeriesModel(
        name="slow", quantile="normal", decay=0.9, tools=Chain((Speed(up=0.03, down=0.03),))
    )
    shape = {"low": 0.01, "high": 0.03, "before": 1_200, "after": 600}
    free = impulse_response(lambda r: series_margins(fast, r), **shape)  # type: ignore[arg-type]
    held = impulse_response(lambda r: series_margins(slow, r), **shape)  # type: ignore[arg-type]
    assert free.largest_rise > 1.03
    assert held.largest_rise <= 1.03 * (1 + 1e-12)
    assert held.half_days is not None
    assert free.half_days is not None
    assert held.half_days > free.half_days


def test_step_returns_are_even() -> None:
    returns = step_returns(low=1.0, high=2.0, before=256, after=256)
    assert returns[:256].std() == pytest.approx(1.0, rel=0.02)
    assert returns[256:].std() == pytest.approx(2.0, rel=0.02)
    assert abs(returns.mean()) < 0.02
    with pytest.raises(BadInput, match="above 0"):
        step_returns(low=0.0, high=1.0, before=5, after=5)


def test_impulse_response_refuses_a_model_that_has_not_begun() -> None:
    shape = {"low": 0.01, "high": 0.03, "before": 10, "after": 10}
    with pytest.raises(BadInput, match="has margins by the step"):
        impulse_response(lambda r: np.zeros(len(r) + 1), **shape)  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="21 rates"):
        impulse_response(lambda r: r, **shape)  # type: ignore[arg-type]


# ── models of one series ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", sorted(MODELS))
def test_models_never_look_ahead(name: str) -> None:
    rng = np.random.default_rng(2)
    returns = 0.01 * rng.standard_normal(1_100)
    changed = returns.copy()
    changed[1_050:] *= 7.0
    one, other = (series_margins(MODELS[name], r) for r in (returns, changed))
    assert (one[:1_051] == other[:1_051]).all()
    assert (one[1_052:] != other[1_052:]).any()
    assert len(one) == 1_101


def test_historical_quantile_is_an_order_statistic() -> None:
    """99 % of 500: the fifth worst, so that exactly 1 % of the window is at or beyond it."""
    rng = np.random.default_rng(5)
    returns = rng.standard_normal(600)
    margins = series_margins(MODELS["HS VaR 500d"], returns)
    for day in (500, 550, 600):
        assert margins[day] == -sorted(returns[day - 500 : day])[4]
    assert (margins[:500] == 0.0).all()


def test_models_refuse_what_they_cannot_use() -> None:
    model = MODELS["FHS 500d, EWMA 0.97"]
    with pytest.raises(BadInput, match="500 returns or more, found 499"):
        series_margins(model, np.ones(499))
    with pytest.raises(BadInput, match="finite returns"):
        series_margins(model, [float("nan")] * 600)
    with pytest.raises(BadInput, match="does not move"):
        series_margins(model, np.zeros(600))
    with pytest.raises(BadInput, match="margins above 0"):
        series_margins(MODELS["HS VaR 500d"], np.ones(600))
    with pytest.raises(BadInput, match="a decay"):
        series_margins(SeriesModel(name="odd", decay=None), np.ones(600))
    floored = SeriesModel(name="floored", quantile="hs", decay=None, tools=Chain((Floor(at=9.0),)))
    assert (series_margins(floored, np.sin(np.arange(600.0)))[500:] == 9.0).all()
