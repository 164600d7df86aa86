"""The gap charge in the rulebook language, its study, and parts of rulebooks as data."""

from __future__ import annotations

import tomllib
from datetime import date
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solvent import api
from solvent.errors import BadInput, RulebookError
from solvent.feeds.synthetic_book import generate_book
from solvent.lab.gap_report import gap_document, write_gap_html
from solvent.lab.gap_study import (
    BOOKS,
    GRID,
    SPLIT_MS,
    TARGET,
    WITH_OPTIONS,
    GapStudy,
    at_least,
    gaps_at,
    grid_rulebook,
    law_of,
    market_at,
    run_study,
)
from solvent.lab.gap_windows import STEP_MS, VOL_FLOOR, PriceHistory, windows_of
from solvent.margining.evaluate import requirements
from solvent.margining.exact import exact_sets
from solvent.margining.fragments import merged, to_toml
from solvent.margining.gap import GapMoves, Weighting, gap_parts, with_gap
from solvent.margining.liquidity import coin_collateral
from solvent.margining.plan import Plan
from solvent.margining.rulebook import check_rulebook, read_rulebook
from solvent.margining.schema import RulebookText
from solvent.market import Snapshot
from solvent.scenarios.jumps import VolResponse
from solvent.units import DAY_MS
from tests.conftest import ROOT, need_shared

EXAMPLE = ROOT / "examples" / "grid_gap_liquidity.toml"


def gap_moves(**told: Any) -> GapMoves:
    plain: dict[str, Any] = {
        "underlying": "BTC", "edge_down": 0.16, "edge_up": 0.16, "far_down": 0.5, "far_up": 0.8,
        "response": VolResponse(level_down=2.0, level_up=1.0), "rate_down": 10.0, "rate_up": 12.0,
    }  # fmt: skip
    return GapMoves(**(plain | told))


def gap_plan(forgiven: float, weighting: Weighting = Weighting.FULL) -> Plan:
    parts = gap_parts(
        [gap_moves()], node="book", into="book", core="core", effective=date(2020, 1, 1),
        source="a test", forgiven=forgiven, weighting=weighting,
    )  # fmt: skip
    text = check_rulebook(with_gap(grid_rulebook(0.16), parts), source="a test")
    return api.prepare(market_at("BTC", 0.6), text)


STRICT, WINGS = gap_plan(0.0), gap_plan(1.0)
PUT, CALL, FUTURE = "BTC_USDC-1FEB20-75000-P", "BTC_USDC-1FEB20-125000-C", "BTC_USDC-PERPETUAL"


def components(plan: Plan, **held: float) -> dict[str, float]:
    """Dollars by part of one account with `put`, `call` and `future` coins."""
    names = {"put": PUT, "call": CALL, "future": FUTURE}
    rows = [{"account": "a", "instrument": names[k], "size": size} for k, size in held.items()]
    told = api.margin(rows, plan).explain("a").sets[0]
    return {**told.components, "initial": told.initial}


@pytest.mark.parametrize(("coins", "loss"), [(1.0, 0.5), (-1.0, 0.8)])
def test_a_future_pays_the_far_move_or_nothing(coins: float, loss: float) -> None:
    strict, wings = components(STRICT, future=coins), components(WINGS, future=coins)
    assert strict["core"] == pytest.approx(16_000.0, rel=1e-6)
    assert strict["gap"] == pytest.approx(loss * 100_000 - 16_000, rel=1e-6)
    assert wings["gap"] == 0.0
    assert wings["initial"] == pytest.approx(16_000.0, rel=1e-4)


def test_a_deep_wing_is_seen_beyond_the_grid() -> None:
    for plan in (STRICT, WINGS):
        told = components(plan, put=-1.0)
        assert told["core"] < 8_000.0
        assert told["gap"] > 15_000.0
        assert told["initial"] == pytest.approx(told["core"] + told["gap"], rel=1e-4)
    assert components(STRICT, put=1.0)["gap"] == 0.0


def test_a_futures_hedge_does_not_hide_a_wing_on_the_other_side() -> None:
    """Long futures explain the fall; that calls are short too many is seen in the rise."""
    told = components(WINGS, future=1.0, call=-3.0)
    naked = components(WINGS, call=-2.0)
    assert told["gap"] > 0.5 * naked["gap"]


def test_the_gap_is_continuous_in_the_book() -> None:
    gaps = [components(WINGS, future=1.0, put=-size)["gap"] for size in (0.0, 0.01, 0.02)]
    assert gaps[0] == 0.0
    assert 0.0 < gaps[1] < gaps[2] < 1_500.0


def test_weights_by_reach_let_a_future_pay_nothing_more() -> None:
    plan = gap_plan(0.0, Weighting.REACH)
    assert components(plan, future=1.0)["gap"] == pytest.approx(0.0, abs=1.0)
    assert components(plan, put=-1.0)["gap"] < components(STRICT, put=-1.0)["gap"]


def test_weights_by_probability_fall_from_one() -> None:
    row = gap_moves().values(Weighting.PROBABILITY)
    weights = [row[f"down_weight_{k}"] for k in range(5)]
    assert weights[0] == 1.0
    assert weights == sorted(weights, reverse=True)
    # ln(0.84) − ln(0.5) beyond the edge, at a rate of 10.
    assert weights[-1] == pytest.approx((0.5 / 0.84) ** 10, abs=1e-6)


# ── the example that uses it all ─────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def example(snapshot: Snapshot) -> Plan:
    text = read_rulebook(EXAMPLE.read_text("utf-8"), source=str(EXAMPLE))
    assert isinstance(text, RulebookText)
    return api.prepare(snapshot, text)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_book_way_stays_within_a_quantum_per_lot_of_the_exact_way(
    example: Plan, snapshot: Snapshot, seed: int
) -> None:
    venue = generate_book(snapshot, accounts=9, seed=seed)
    rng = np.random.Generator(np.random.PCG64(seed))
    held = {(one, coin): float(rng.random() * 50) for one in venue.book.accounts
            for coin in ("BTC", "ETH")}  # fmt: skip
    told = coin_collateral(example, venue.book, held)
    answer = requirements(example, venue.book, inputs={"coin_collateral": told})
    sets, level = answer.sets, answer.layout.levels[example.levels.index(example.top.name)]
    for one in range(0, len(sets), 2):
        span = slice(int(level.first[one]), int(level.first[one + 1]))
        rows, lots = answer.layout.instrument[span], answer.layout.lots[span]
        name = venue.book.accounts[int(sets.account[one])]
        mine = {node: amount for (owner, node), amount in told.items() if owner == name}
        slow = exact_sets(
            example, dict(zip(rows.tolist(), lots.tolist(), strict=True)), {"coin_collateral": mine}
        )[0]
        room = 2.0 * float(sets.components["rounding"][one]) + 2e-9
        for fast, exact in (
            (sets.initial[one], slow.initial), (sets.maintenance[one], slow.maintenance)
        ):  # fmt: skip
            assert exact - 1e-9 <= fast <= exact + room, (one, fast, exact, room)


def test_every_charge_is_explained(example: Plan, snapshot: Snapshot) -> None:
    universe = snapshot.universe
    put = np.flatnonzero(universe.is_option & ~universe.is_call & (universe.underlying == 0))[0]
    rows = [
        {"account": "a", "instrument": "BTC_USDC-PERPETUAL", "size": 4_000},
        {"account": "a", "instrument": universe.symbols[int(put)], "size": -2_000},
    ]
    told = {("a", "BTC"): 1_000_000.0}
    answer = api.margin(rows, example, inputs={"coin_collateral": told})
    view = answer.explain("a").sets[0]
    names = ("core", "gap", "spread", "impact", "vega_impact", "concentration", "wrong_way")
    charged = {name: view.components[name] for name in names}
    assert min(charged.values()) > 0.0, charged
    total = sum(charged.values()) + view.components["rounding"]
    assert view.initial == pytest.approx(total, abs=0.01)
    shares = sum(one.initial for one in view.positions)
    # What an input causes is no position's; all else is shared out.
    assert shares <= view.initial + 0.01


# ── parts as data ────────────────────────────────────────────────────────────────────────────────

PLAIN = st.recursive(
    st.one_of(
        st.integers(-(10**9), 10**9), st.floats(allow_nan=False, allow_infinity=False),
        st.booleans(), st.text(alphabet="abcÀ\"\\\n θ1", max_size=8), st.dates(),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.text(alphabet="abc-_ é", min_size=1, max_size=5), inner, max_size=3),
    ),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=60)
@given(st.dictionaries(st.text(alphabet="abcdef_", min_size=1, max_size=6), PLAIN, max_size=5))
def test_what_is_written_is_read_back(content: dict[str, Any]) -> None:
    assert tomllib.loads(to_toml(content)) == content


def test_parts_that_contradict_each_other_are_refused() -> None:
    assert merged({"a": {"b": 1}}, {"a": {"b": 1, "c": [1]}}, {"a": {"c": [2]}}) == {
        "a": {"b": 1, "c": [1, 2]}
    }
    with pytest.raises(RulebookError, match=r"a\.b: 1 in one part, 2 in another"):
        merged({"a": {"b": 1}}, {"a": {"b": 2}})
    with pytest.raises(RulebookError, match="a table in one part"):
        merged({"a": 1}, {"a": {"b": 2}})
    with pytest.raises(RulebookError, match="finite"):
        to_toml({"a": float("nan")})


# ── the study ────────────────────────────────────────────────────────────────────────────────────


def made_up(
    days_before: int, days_after: int, *, seed: int = 1, crash: float = -0.5, later: float = -0.5
) -> PriceHistory:
    """Two-hourly prices round the split, with jumps every week and one crash in each part."""
    parts = []
    for part, (days, fall) in enumerate(((days_before, crash), (days_after, later))):
        rng = np.random.Generator(np.random.PCG64([seed, part]))
        r = rng.normal(0.0, 0.004, 12 * days)
        r[60::84] += rng.choice([-1.0, 1.0], len(r[60::84])) * rng.exponential(0.06, len(r[60::84]))
        r[7 * days] += np.log1p(fall)
        parts.append(r)
    log_price = np.concatenate([[0.0], np.cumsum(np.concatenate(parts))])
    time_ms = SPLIT_MS - days_before * DAY_MS + np.arange(len(log_price)) * STEP_MS
    return PriceHistory(name="BTC", time_ms=time_ms, price=10_000.0 * np.exp(log_price))


def test_windows_by_hand() -> None:
    steps = 12 * 20
    time_ms = np.arange(steps + 1) * STEP_MS + 36 * STEP_MS
    price = np.full(steps + 1, 100.0)
    price[-1] = 200.0
    windows = windows_of(PriceHistory(name="BTC", time_ms=time_ms, price=price))
    # Fourteen days of warmth, then every window that ends inside.
    assert len(windows) == steps - 12 - 14 * 12 + 1
    assert (windows.vol == VOL_FLOOR).all()
    assert windows.log_move[-1] == pytest.approx(np.log(2.0))
    assert windows.vol_after[-1] > 1.0
    assert (windows.log_move[:-1] == 0.0).all()
    missing = np.delete(np.arange(steps + 1), 12 * 17)
    fewer = windows_of(PriceHistory(name="BTC", time_ms=time_ms[missing], price=price[missing]))
    assert len(fewer) < len(windows)  # no window over the gap, and volatility starts anew


def test_windows_know_no_future() -> None:
    history = made_up(40, 40)
    cut = 12 * 50
    short = PriceHistory(name="BTC", time_ms=history.time_ms[:cut], price=history.price[:cut])
    whole, known = windows_of(history), windows_of(short)
    assert (whole.vol[: len(known)] == known.vol).all()
    assert (whole.log_move[: len(known)] == known.log_move).all()


@pytest.mark.parametrize(
    ("price", "words"), [([1.0, -1.0], "positive prices"), ([1.0], "positive prices")]
)
def test_bad_prices_are_refused(price: list[float], words: str) -> None:
    time_ms = np.arange(len(price)) * STEP_MS
    with pytest.raises(BadInput, match=words):
        windows_of(PriceHistory(name="BTC", time_ms=time_ms, price=np.array(price)))
    with pytest.raises(BadInput, match="times that rise"):
        windows_of(PriceHistory(name="BTC", time_ms=np.array([5, 5]), price=np.ones(2)))


@pytest.fixture(scope="module")
def study() -> GapStudy:
    return run_study([made_up(290, 25, crash=-0.4, later=-0.3)])


def test_the_second_part_sets_nothing(study: GapStudy) -> None:
    windows = windows_of(made_up(290, 20, crash=-0.4, later=-0.9))  # the same first part
    early = windows.taken(np.flatnonzero(windows.begin_ms + DAY_MS <= SPLIT_MS))
    laws = {"BTC": law_of(early)}
    assert laws == study.laws
    assert gaps_at(study.share, laws) == study.gaps


def test_a_study_of_made_up_prices(study: GapStudy) -> None:
    assert study.days(part="first") > 0 < study.days()
    for one in (*study.first, *study.second):
        assert (one.beyond > 0.0).all()
        assert (one.covered("strict") <= one.beyond).all()
        assert (one.charge["wings"] <= one.charge["strict"] + 1e-5).all()
    chosen = next(one for one in study.ladder if one.share == study.share)
    assert chosen.first == study.coverage("strict", part="first")
    covered = [one.strict for one in study.ladder]
    assert covered == sorted(covered)
    document = gap_document(study)
    assert document["without"] == 0.0
    assert len(document["books"]) == len(BOOKS)
    assert document["met"] == (
        study.coverage("strict") >= TARGET and study.coverage("wings", books=WITH_OPTIONS) >= TARGET
    )


def test_a_charge_that_is_too_small_is_told() -> None:
    """Before the split prices hardly fall; after it nine tenths are lost: it says missed."""
    found = run_study([made_up(290, 20, crash=-0.2, later=-0.9)])
    assert found.coverage("strict") < TARGET
    assert not gap_document(found)["met"]


def test_a_page_is_written(study: GapStudy, tmp_path: Any) -> None:
    write_gap_html(study, tmp_path / "gap.html")
    text = (tmp_path / "gap.html").read_text("utf-8")
    assert "Does the gap charge cover?" in text
    assert "loss beyond the grid" in text


def test_no_coin_has_less_than_the_longest_history() -> None:
    longest, own = gap_moves(far_down=0.6), gap_moves(underlying="ETH", far_up=1.5)
    joined = at_least(own, longest)
    assert (joined.far_down, joined.far_up, joined.underlying) == (0.6, 1.5, "ETH")


@pytest.mark.soak
def test_what_the_real_history_says() -> None:
    """The committed figures: at least 99 % of the losses beyond the grid, out of sample."""
    from solvent.cli.calibrate_jumps import prices_of
    from solvent.feeds.histories import read_history

    files = ("btc_prices_sky1241/BTC_USD_2h.csv.gz", "crypto_15m_2025/BTC_USD_15m.csv.gz",
             "eth_hourly_2016_2020/ETH_1H.csv.gz", "crypto_1h_2020_2022/ETHUSDT_1h.csv.gz",
             "crypto_15m_2025/ETH_USD_15m.csv.gz")  # fmt: skip
    series = read_history([need_shared("data", *name.split("/")) for name in files])
    histories = [
        PriceHistory(name=name, time_ms=time_ms, price=price)
        for name in GRID
        for time_ms, price in [prices_of(series, name)]
    ]
    found = run_study(histories)
    assert found.days() >= 100
    assert found.coverage("strict") >= TARGET
    assert found.coverage("wings", books=WITH_OPTIONS) >= TARGET


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(10))
def test_bands_hold_under_the_example(seed: int) -> None:
    """Verdicts by safe bands are those of recomputing everybody."""
    from tests.test_solvency_rulebooks import history

    history(str(EXAMPLE), seed, accounts=12, count=5)
