"""Credit by hand: annexes, probabilities of default, exposure and its cost, lines and limits."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from solvent.credit import agreement as book
from solvent.credit.csa import Terms, call_amount, support_amount, transfer
from solvent.credit.cva import cva
from solvent.credit.exposure import closed_out, margined, over_time, profile
from solvent.credit.lines import (
    Breach,
    Limits,
    Point,
    Policy,
    Procyclicality,
    Schedule,
    Usage,
    breaches,
    changed,
    line_of,
    procyclicality,
)
from solvent.credit.paths import Paths, Portfolio, horizons, lognormal, revalue, values
from solvent.credit.quality import RATINGS, Quality, conditional_pd, rated, worse
from solvent.credit.requirement import need
from solvent.credit.states import CallState, Clock, Stand, goes_on
from solvent.errors import BadInput, InvariantBroken
from solvent.market import Snapshot
from solvent.market.moved import restricted
from solvent.units import MICRO, Micro, TimeMs

THIRD = Fraction(1, 3)


def quality(pd: float = 0.02, *, lgd: float = 0.6, rho: float = 0.0) -> Quality:
    return Quality(
        rating="", horizons=(Fraction(1),), pd=(Fraction(pd),), lgd=Fraction(lgd),
        correlation=Fraction(rho),
    )  # fmt: skip


def terms(**told: int) -> Terms:
    told = {"threshold": 0, "independent": 0, "minimum_transfer": 0, "rounding": 1} | told
    return Terms(**{name: Micro(amount) for name, amount in told.items()})


# ── annexes ──────────────────────────────────────────────────────────────────────────────────────


def test_a_call_by_hand() -> None:
    """Exposure 12.3 m, threshold 5 m, independent amount 1 m: 8.3 m is to be posted. 6 m is there,
    so 2.3 m is missing, more than the minimum of 0.5 m; called in hundreds of thousands, up."""
    annex = terms(threshold=5_000_000, independent=1_000_000, minimum_transfer=500_000,
                  rounding=100_000)  # fmt: skip
    assert support_amount(annex, 12_300_000) == 8_300_000
    assert transfer(annex, exposure=12_300_000, posted=6_000_000) == (8_300_000, 2_300_000, 0)
    assert transfer(annex, exposure=12_310_000, posted=6_000_000).delivery == 2_400_000
    # 0.49 m missing stays missing; 0.5 m is called.
    assert transfer(annex, exposure=12_300_000, posted=7_810_000).delivery == 0
    assert transfer(annex, exposure=12_300_000, posted=7_800_000).delivery == 500_000
    # The market turns: 3 m of exposure needs nothing, and what is posted goes back, rounded down.
    assert transfer(annex, exposure=3_000_000, posted=6_070_000) == (0, 0, 6_000_000)
    assert transfer(annex, exposure=-9_000_000, posted=499_999) == (0, 0, 0)


def test_what_goes_back_is_no_more_than_is_there() -> None:
    annex = terms(rounding=100_000)
    assert transfer(annex, exposure=0, posted=99_999).back == 0
    assert transfer(annex, exposure=0, posted=100_001).back == 100_000
    assert call_amount(annex, 0) == call_amount(annex, -5) == 0


@given(st.integers(-10**9, 10**9), st.integers(0, 10**9), st.integers(0, 10**6),
       st.integers(0, 10**6), st.integers(0, 10**6), st.integers(1, 10**5))  # fmt: skip
@settings(max_examples=200)
def test_annexes_hold(
    exposure: int, posted: int, threshold: int, independent: int, least: int, step: int
) -> None:
    annex = terms(threshold=threshold, independent=independent, minimum_transfer=least,
                  rounding=step)  # fmt: skip
    moved = transfer(annex, exposure=exposure, posted=posted)
    assert moved.required == max(0, exposure + independent - threshold)
    assert not (moved.delivery and moved.back)
    after = posted + moved.delivery - moved.back
    assert after >= 0
    short = moved.required - after
    # What stays missing is below the minimum; what was called is never less than what was missing.
    assert short <= max(0, least - 1)
    assert moved.delivery == 0 or 0 <= -short < step
    more = transfer(annex, exposure=exposure + 1, posted=posted)
    assert more.required >= moved.required
    assert more.delivery >= moved.delivery


# ── quality ──────────────────────────────────────────────────────────────────────────────────────


def test_hazards_are_constant_between_horizons() -> None:
    one = Quality(
        rating="", horizons=(Fraction(1), Fraction(3)), pd=(Fraction(1, 50), Fraction(1, 10)),
        lgd=Fraction(1), correlation=Fraction(0),
    )  # fmt: skip
    assert one.default_within(0.0) == 0.0
    assert one.default_within(1.0) == pytest.approx(0.02, abs=1e-15)
    assert one.default_within(0.5) == pytest.approx(1 - 0.98**0.5, abs=1e-15)
    assert one.default_within(3.0) == pytest.approx(0.1, abs=1e-15)
    middle = 0.98 * (0.9 / 0.98) ** 0.5
    assert one.default_within(2.0) == pytest.approx(1 - middle, abs=1e-15)
    later = 0.9 * (0.9 / 0.98)
    assert one.default_within(5.0) == pytest.approx(1 - later, abs=1e-15)
    grid = [one.default_within(years) for years in np.linspace(0, 20, 400).tolist()]
    assert grid == sorted(grid)


def test_who_has_defaulted_has_defaulted() -> None:
    gone = rated("D", lgd=Fraction(3, 5))
    assert gone.default_within(1.0) == gone.stressed_pd() == 1.0
    assert gone.default_within(0.25) == 0.25


def test_stressed_default_is_vasiceks() -> None:
    """Against the normal law of scipy, and against its own mean over the factor."""
    for pd, rho in ((0.01, 0.2), (0.003, 0.12), (0.2, 0.4)):
        top = stats.norm.ppf(pd) + math.sqrt(rho) * stats.norm.ppf(0.999)
        wanted = stats.norm.cdf(top / math.sqrt(1 - rho))
        assert conditional_pd(pd, rho, Fraction(999, 1000)) == pytest.approx(wanted, rel=1e-12)
        ranks = (np.arange(20_000) + 0.5) / 20_000
        mean = np.mean([conditional_pd(pd, rho, Fraction(q)) for q in ranks[::20].tolist()])
        assert mean == pytest.approx(pd, rel=0.02)
    assert quality(0.02, rho=-0.3).stressed_pd() == pytest.approx(0.02, rel=1e-12)


def test_better_ratings_default_less() -> None:
    for better, other in itertools.pairwise(RATINGS):
        one, two = (rated(name, lgd=THIRD, correlation=Fraction(1, 5)) for name in (better, other))
        for years in (0.1, 1.0, 2.5, 5.0, 10.0):
            assert one.default_within(years) <= two.default_within(years)
        assert one.stressed_pd() < two.stressed_pd()
        assert worse(better) == other
    with pytest.raises(BadInput, match="one of AAA, AA, A, BBB, BB, B, CCC, D, found 'BBB-'"):
        rated("BBB-", lgd=THIRD)


@pytest.mark.parametrize(
    "wrong", [{"pd": (Fraction(-1, 9),)}, {"lgd": Fraction(2)}, {"correlation": Fraction(1)},
              {"horizons": (Fraction(0),)}, {"pd": ()}],
)  # fmt: skip
def test_no_such_quality(wrong: dict[str, Any]) -> None:
    told: dict[str, Any] = {"rating": "", "horizons": (Fraction(1),), "pd": (Fraction(1, 9),),
                            "lgd": Fraction(1), "correlation": Fraction(0)}  # fmt: skip
    with pytest.raises(InvariantBroken):
        Quality(**(told | wrong))


# ── lines ────────────────────────────────────────────────────────────────────────────────────────


def policy(**told: Any) -> Policy:
    given_: dict[str, Any] = {
        "appetite_micro": Micro(10**12), "cap_micro": Micro(10**14), "assets_share": Fraction(1),
        "step_micro": Micro(1), "notice_ms": 100, "over_ms": 400, "steps": 4,
    }  # fmt: skip
    return Policy(**(given_ | told))


@given(st.floats(0.0, 1.0), st.floats(0.0, 1.0), st.floats(0.0, 1.0), st.floats(0.0, 0.9))
@settings(max_examples=100)
def test_better_quality_never_has_a_smaller_line(
    low: float, high: float, lgd: float, rho: float
) -> None:
    low, high = sorted((low, high))
    good, bad = (
        line_of(policy(), quality(pd, lgd=lgd, rho=rho), 10**15) for pd in (low, high)
    )  # fmt: skip
    assert good >= bad >= 0


def test_lines_are_capped_and_stepped() -> None:
    one = quality(0.5, lgd=0.5)
    assert line_of(policy(), one, 10**15) == 4 * 10**12
    assert line_of(policy(cap_micro=Micro(10**12)), one, 10**15) == 10**12
    assert line_of(policy(assets_share=Fraction(1, 1_000)), one, 10**15) == 10**12
    assert line_of(policy(step_micro=Micro(3 * 10**12)), one, 10**15) == 3 * 10**12
    assert line_of(policy(), quality(1.0), 10**15) == 0
    assert line_of(policy(), quality(0.0), 10**15) == 10**14


def flat(line: int) -> Schedule:
    return Schedule((Point(TimeMs(0), Micro(line)),))


def test_a_downgrade_is_no_cliff() -> None:
    found = changed(policy(), flat(1_000), time_ms=50, target_micro=Micro(200))
    assert [found.at(when) for when in (0, 50, 249, 250, 349, 449, 549, 550, 9_999)] == [
        1_000, 1_000, 1_000, 800, 800, 600, 400, 200, 200,
    ]  # fmt: skip
    assert found.last == 200


def test_a_second_downgrade_buys_no_time() -> None:
    first = changed(policy(), flat(1_000), time_ms=0, target_micro=Micro(600))
    both = changed(policy(), first, time_ms=320, target_micro=Micro(100))
    for when in range(320, 1_000, 10):
        assert both.at(when) <= first.at(when), when
    assert both.last == 100
    # A milder one than was announced ends where it says.
    mild = changed(policy(), first, time_ms=320, target_micro=Micro(700))
    assert mild.last == 700
    assert changed(policy(), first, time_ms=320, target_micro=Micro(2_000)).at(320) == 2_000


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 500), st.integers(1, 9))
@settings(max_examples=100)
def test_cuts_fall_to_their_target(was: int, target: int, at: int, steps: int) -> None:
    found = changed(policy(steps=steps), flat(was), time_ms=at, target_micro=Micro(target))
    told = [one.line_micro for one in found.points]
    assert told[-1] == target
    if target <= was:
        assert told == sorted(told, reverse=True)
        drops = [a - b for a, b in itertools.pairwise(told)]
        assert all(drop <= -(-(was - target) // steps) for drop in drops)


def test_procyclicality_by_hand() -> None:
    assert procyclicality([10, 20, 15, 40], window=1) == Procyclicality(Fraction(4), 25)
    assert procyclicality([40, 30], window=3) == Procyclicality(Fraction(4, 3), 0)
    assert procyclicality([0, 7], window=1).peak_to_trough is None


def test_limits_are_passed_above_them() -> None:
    usage = Usage(
        line_micro=Micro(1_000), drawn_micro=Micro(900), tenor_ms=50,
        gross_by_underlying={"BTC": Micro(700), "ETH": Micro(300)},
        net_by_underlying={"BTC": -500, "ETH": 200},
    )  # fmt: skip
    exact = Limits(gross_micro=Micro(1_000), net_micro=Micro(700), tenor_ms=50,
                   concentration=Fraction(7, 10), utilisation=Fraction(9, 10))  # fmt: skip
    assert breaches(exact, usage) == ()
    tight = Limits(gross_micro=Micro(999), net_micro=Micro(699), tenor_ms=49,
                   concentration=Fraction(69, 100), utilisation=Fraction(89, 100))  # fmt: skip
    assert breaches(tight, usage) == (
        Breach("gross notional", Fraction(999), Fraction(1_000)),
        Breach("net notional", Fraction(699), Fraction(700)),
        Breach("tenor", Fraction(49), Fraction(50)),
        Breach("concentration", Fraction(69, 100), Fraction(7, 10)),
        Breach("utilisation", Fraction(89, 100), Fraction(9, 10)),
    )


# ── states ───────────────────────────────────────────────────────────────────────────────────────

CLOCK = Clock(due_ms=10, cure_ms=5, warn_at=Fraction(4, 5))


def after(was: Stand, time_ms: int, call: int, used: Fraction = Fraction(0)) -> Stand:
    return goes_on(was, CLOCK, time_ms=time_ms, call_micro=call, utilisation=used)


def test_a_call_that_is_met_is_forgotten() -> None:
    called = after(Stand(), 3, 50)
    assert (called.state, called.called_ms, called.called_micro) == (CallState.CALL, 3, 50)
    cured = after(after(called, 13, 60), 14, 0, Fraction(9, 10))
    assert (cured.state, cured.called_micro, cured.since_ms) == (CallState.WARNING, 0, 14)
    # The next call has a clock of its own.
    assert after(cured, 20, 5).called_ms == 20


def test_a_default_is_for_good() -> None:
    stand = after(Stand(), 0, 50)
    assert [after(stand, when, 50).state for when in (9, 10, 14, 15)] == [
        CallState.CALL, CallState.CURE, CallState.CURE, CallState.DEFAULT,
    ]  # fmt: skip
    gone = after(stand, 15, 50)
    assert after(gone, 16, 0).state is CallState.DEFAULT
    shut = goes_on(gone, CLOCK, time_ms=20, call_micro=0, utilisation=Fraction(0), closed=True)
    assert shut.state is CallState.CLOSED
    assert after(shut, 30, 99).state is CallState.CLOSED


# ── exposure ─────────────────────────────────────────────────────────────────────────────────────


def test_netting_by_hand() -> None:
    """Two underlyings, +5 and −8, with 1 of money: 2 is owed with netting, 7 without."""
    parts = np.array([5.0, -8.0]).reshape(2, 1, 1)
    money = np.array([[1.0]])
    assert closed_out(parts, money, netting=True).item() == 2.0
    assert closed_out(parts, money, netting=False).item() == 7.0
    assert closed_out(parts, money * -2, netting=True).item() == 5.0


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=6), st.floats(-1e6, 1e6))
@settings(max_examples=100)
def test_netting_never_adds_exposure(worths: list[float], money: float) -> None:
    parts, own = np.array(worths).reshape(-1, 1, 1), np.array([[money]])
    net, alone = (closed_out(parts, own, netting=one).item() for one in (True, False))
    assert 0.0 <= net <= alone + 1e-6


def test_margin_leaves_what_happened_since() -> None:
    values_ = np.array([[0.0], [-10.0], [-14.0], [-3.0]])
    found = margined(values_, terms(threshold=4 * MICRO), lag=1)
    assert found.ravel().tolist() == [0.0, 10.0, 8.0, 0.0]
    least = margined(values_, terms(threshold=4 * MICRO, minimum_transfer=7 * MICRO), lag=1)
    assert least.ravel().tolist() == [0.0, 10.0, 14.0, 0.0]


def test_expected_exposure_of_a_forward_is_bacheliers() -> None:
    """V ~ N(0, s²t): EE = s·√(t/2π), and the quantile is s·√t·Φ⁻¹(q)."""
    rng = np.random.Generator(np.random.PCG64(3))
    draws = rng.standard_normal(40_000)
    draws = np.concatenate([draws, -draws])
    years = np.array([0.0, 0.25, 1.0])
    paths = np.maximum(30.0 * np.sqrt(years)[:, None] * draws, 0.0)
    found = profile(paths, years, quantile=0.975)
    assert found.expected == pytest.approx(30 * np.sqrt(years / (2 * math.pi)), rel=0.01)
    assert found.potential[1:] == pytest.approx(
        30 * np.sqrt(years[1:]) * stats.norm.ppf(0.975), rel=0.015
    )
    assert found.epe == over_time(found.expected, years) <= found.effective_epe
    assert found.peak == found.potential.max()


# ── cost ─────────────────────────────────────────────────────────────────────────────────────────


def test_cva_of_a_constant_exposure() -> None:
    """LGD · E · Σ D·ΔPD in closed form: hazard h, rate r: h/(h+r)·(1 − e^−(h+r)T)."""
    years = np.linspace(0.0, 2.0, 2_001)
    hazard, rate = -math.log(0.98), 0.05
    cost = cva(np.full((2_001, 3), 200.0), years, quality(0.02), rate=rate)
    total = hazard + rate
    closed = 0.6 * 200.0 * hazard / total * (1 - math.exp(-total * 2.0))
    assert cost.plain == pytest.approx(closed, rel=1e-3)
    assert cost.wrong_way == cost.plain
    assert cost.ratio == 1.0


@pytest.mark.parametrize("rho", [0.04, 0.25, -0.25])
def test_wrong_way_cost_of_a_lognormal_exposure(rho: float) -> None:
    """E[e^(bz)·Φ((c + r·z)/√(1 − r²))] = e^(b²/2)·Φ(c + r·b): with exposure e^(bz), ranks of z."""
    paths, b, pd = 200_000, 0.7, 0.03
    z = stats.norm.ppf((np.arange(paths) + 0.5) / paths)
    exposure = np.tile(np.exp(b * z), (2, 1))
    cost = cva(exposure, np.array([0.0, 1.0]), quality(pd, rho=rho))
    loading = math.copysign(math.sqrt(abs(rho)), rho)
    mean = math.exp(b * b / 2)
    wanted = 0.6 * mean * stats.norm.cdf(stats.norm.ppf(pd) + loading * b)
    assert cost.plain == pytest.approx(0.6 * mean * pd, rel=1e-3)
    assert cost.wrong_way == pytest.approx(wanted, rel=2e-3)
    assert (cost.wrong_way > cost.plain) == (rho > 0)


def test_cost_grows_with_everything_that_it_should() -> None:
    rng = np.random.Generator(np.random.PCG64(5))
    exposure = np.abs(rng.standard_normal((4, 500)))
    years = np.array([0.0, 0.5, 1.0, 2.0])

    def total(pd: float, lgd: float, rho: float, times: float = 1.0) -> float:
        return cva(exposure * times, years, quality(pd, lgd=lgd, rho=rho)).wrong_way

    base = total(0.02, 0.5, 0.1)
    assert total(0.03, 0.5, 0.1) > base
    assert total(0.02, 0.6, 0.1) == pytest.approx(1.2 * base)
    assert total(0.02, 0.5, 0.2) > base
    assert total(0.02, 0.5, 0.1, 3.0) == pytest.approx(3 * base)


# ── paths ────────────────────────────────────────────────────────────────────────────────────────


def test_instruments_on_paths(snapshot: Snapshot) -> None:
    """Unmoved, everything is worth what it is; a forward is its parity; what expires is settled."""
    universe = snapshot.universe
    nearest = int(universe.expiry_ms[universe.expiry_ms > 0].min())
    rows = np.flatnonzero(
        (universe.underlying == 0) & ((universe.expiry_ms == nearest) | (universe.expiry_ms == 0))
    )
    small = restricted(snapshot, rows.tolist())
    years = horizons(small, [1.0, 30.0])
    gone = (nearest - small.as_of_ms) / (365 * 86_400_000)
    assert gone in years
    shape = (len(years), 2, len(small.universe.underlyings))
    price = np.ones(shape)
    price[1:, 1] = 1.1
    found = revalue(small, Paths(years=years, price=price, vol=np.ones(shape)))
    lots = small.universe.lot_size
    now = found.worth[:, 0, 0] / lots
    option = small.universe.is_option
    assert now[option] == pytest.approx(small.mark[option], rel=1e-2, abs=2e-4)
    # At expiry and ever after an option is its intrinsic value, in coin for an inverse one.
    spot = small.index_by_instrument[:, None] * np.array([1.0, 1.1])
    side = np.where(small.universe.is_call, 1.0, -1.0)[:, None]
    intrinsic = np.maximum(side * (spot - small.universe.strike[:, None]), 0.0)
    intrinsic = np.where(small.universe.inverse[:, None], intrinsic / spot, intrinsic)
    dated = option & (small.universe.expiry_ms == nearest)
    assert found.worth[dated, -1] / lots[dated, None] == pytest.approx(intrinsic[dated], abs=1e-9)


def test_an_account_on_paths(snapshot: Snapshot) -> None:
    """A dollar of inverse perpetual gains the move in dollars; coins follow the coin."""
    row = snapshot.universe.row("BTC-PERPETUAL")
    assert row is not None
    small = restricted(snapshot, [row])
    price = np.array([1.0, 1.25]).reshape(2, 1, 1)
    found = revalue(small, Paths(years=np.array([0.0, 0.1]), price=price, vol=np.ones((2, 1, 1))))
    mark, index = float(small.mark[0]), float(small.index[0])
    lot = float(small.universe.lot_size[0])
    held = Portfolio(row=np.array([0]), lots=np.array([100 / lot]), entry=np.array([-lot / mark]),
                     money={"BTC": 2.0, "USDC": 7.0})  # fmt: skip
    worth, money = values(found, held)
    assert worth[0, 0, 0] == pytest.approx(0.0, abs=1e-9)
    assert worth[0, 1, 0] == pytest.approx(100 / mark * 0.2 * index * 1.25, rel=1e-9)
    assert money[:, 0] == pytest.approx([2 * index + 7, 2 * index * 1.25 + 7])


def test_drawn_prices_have_the_moments_asked_for() -> None:
    rng = np.random.Generator(np.random.PCG64(1))
    normals = rng.standard_normal((2, 50_000, 4))
    normals = np.concatenate([normals, -normals], axis=1)
    sigma, years = np.array([0.6, 0.9]), np.array([0.0, 0.25, 1.0])
    paths = lognormal(
        years=years, normals=normals, sigma=sigma, vol_of_vol=0.5, skew=-0.5,
        correlation=np.array([[1.0, 0.8], [0.8, 1.0]]),
    )  # fmt: skip
    logs = np.log(paths.price[-1])
    assert paths.price[-1].mean(axis=0) == pytest.approx([1.0, 1.0], rel=0.02)
    assert logs.std(axis=0) == pytest.approx(sigma, rel=0.01)
    assert np.corrcoef(logs.T)[0, 1] == pytest.approx(0.8, abs=0.01)
    assert np.corrcoef(logs[:, 0], np.log(paths.vol[-1, :, 0]))[0, 1] == pytest.approx(
        -0.5, abs=0.02
    )


# ── the rule ─────────────────────────────────────────────────────────────────────────────────────

AMOUNT = st.fractions(0, 10**6, max_denominator=4)
SHARE = st.fractions(0, 1, max_denominator=50)
MONEY = st.fractions(-(10**6), 10**6, max_denominator=4)


def asked(**changes: Fraction) -> tuple[Fraction, Fraction]:
    told = {"risk": Fraction(80), "equity": Fraction(10), "independent": Fraction(0),
            "line": Fraction(50), "threshold": Fraction(20), "cost": Fraction(1, 10)}  # fmt: skip
    told |= changes
    risk = told["risk"]
    found = need(held_risk=risk, maintenance_factor=Fraction(4, 5), **told)
    return found.initial, found.maintenance


@given(AMOUNT, AMOUNT, MONEY, AMOUNT, AMOUNT, AMOUNT, SHARE, SHARE)
@settings(max_examples=200)
def test_the_rule_is_monotone(
    risk: Fraction, more: Fraction, equity: Fraction, independent: Fraction, line: Fraction,
    threshold: Fraction, cost: Fraction, other: Fraction,
) -> None:  # fmt: skip
    told = {"risk": risk, "equity": equity, "independent": independent, "line": line,
            "threshold": threshold, "cost": cost}  # fmt: skip
    base = asked(**told)
    up = [asked(**(told | {"risk": risk + more})), asked(**(told | {"cost": max(cost, other)})),
          asked(**(told | {"independent": independent + more}))]  # fmt: skip
    down = [asked(**(told | {"line": line + more})), asked(**(told | {"equity": equity + more})),
            asked(**(told | {"cost": min(cost, other)}))]  # fmt: skip
    for one in up:
        assert one[0] >= base[0]
        assert one[1] >= base[1]
    for one in down:
        assert one[0] <= base[0]
        assert one[1] <= base[1]
    assert base[1] <= base[0] or base[0] == -min(threshold, line)
    plain = asked(**(told | {"line": Fraction(0)}))
    assert plain == (risk + independent, Fraction(4, 5) * risk + independent)


# ── registers ────────────────────────────────────────────────────────────────────────────────────


def cp(name: str, **told: Any) -> book.Counterparty:
    return book.Counterparty(
        name=name, quality=told.get("quality", quality()), net_assets_micro=Micro(10**15),
        line_micro=told.get("line"),
    )  # fmt: skip


def under(name: str, counterparty: str, *accounts: str) -> book.Agreement:
    return book.Agreement(
        name=name, counterparty=counterparty, accounts=accounts, underlyings=frozenset(),
        netting=True, terms=terms(), thresholds={"A": Micro(5)}, limits=Limits(), clock=CLOCK,
    )  # fmt: skip


def test_everything_wrong_is_told_at_once() -> None:
    with pytest.raises(BadInput) as caught:
        book.register(
            policy(), [cp("a"), cp("a"), cp("b"), cp("c")],
            [under("one", "a", "x", "y"), under("two", "b", "y"), under("three", "zoe", "z"),
             under("four", "a")], source="book",
        )  # fmt: skip
    told = [str(one) for one in caught.value.problems]
    assert told == [
        "book, a, field 'name': expected each counterparty once, found it 2 times [INPUT_INVALID]",
        (
            "book, a, field 'name': expected each agreement of counterparty once, found it 2 times "
            "[INPUT_INVALID]"
        ),
        (
            "book, three, field 'counterparty': expected a counterparty that is told, found 'zoe' "
            "[INPUT_INVALID]"
        ),
        "book, four, field 'accounts': expected one account or more, found none [INPUT_INVALID]",
        (
            "book, c, field 'agreement': expected an agreement of this counterparty, found none "
            "[INPUT_INVALID]"
        ),
        (
            "book, two, field 'accounts': expected account 'y' in one netting set only, found it "
            "in one and in two [INPUT_INVALID]"
        ),
    ]


def test_lines_told_by_hand_shrink_like_the_policys() -> None:
    a = rated("A", lgd=Fraction(3, 5), correlation=Fraction(1, 5))
    found = book.register(
        policy(), [cp("own", quality=a), cp("told", quality=a, line=Micro(10**9))],
        [under("one", "own", "x"), under("two", "told", "y")],
    )  # fmt: skip
    lower = rated("B", lgd=Fraction(3, 5), correlation=Fraction(1, 5))
    usual, less = found.line("own"), found.line("own", lower)
    assert usual > less > 0
    assert found.line("told") == 10**9
    assert found.line("told", lower) == 10**9 * less // usual
    assert found.agreement_of("own").threshold("A") == 5
    assert found.agreement_of("own").threshold("B") == 0


@given(st.integers(0, 10**9), st.lists(st.integers(0, 10**6), min_size=1, max_size=7))
@settings(max_examples=100)
def test_shares_add_up(amount: int, weights: list[int]) -> None:
    parts = book.shares(amount, weights)
    assert sum(parts) == amount
    assert min(parts) >= 0


def test_costs_are_told_in_millionths() -> None:
    assert book.rate_ppm(0.1234561) == Fraction(123_457, 1_000_000)
    assert book.cost_of(quality(0.5, lgd=0.5)) == Fraction(1, 4)
