"""Haircuts: coverage, no look into the future, tools, pegs, concentration, wrong way."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solvent.errors import BadInput
from solvent.margining.haircuts import (
    HaircutNote,
    HaircutRule,
    Haircuts,
    by_amount,
    days_to_sell,
    haircuts,
    wrong_way_add_on,
)
from solvent.margining.rulebook import check_rulebook, in_force
from solvent.scenarios.anti_procyclical import Chain, Floor
from solvent.units import DAY_MS, Float64
from tests.conftest import need_shared


def prices(days: int = 1_500, *, vol: float = 0.04, seed: int = 1) -> Float64:
    rng = np.random.Generator(np.random.PCG64(seed))
    return np.asarray(100.0 * np.exp(np.cumsum(rng.normal(0.0, vol, days))))


def cut(price: Float64, **told: Any) -> Haircuts:
    amount, volume = told.pop("amount", 0.0), told.pop("volume", 1.0)
    time_ms = np.arange(len(price)) * DAY_MS
    return haircuts("BTC", time_ms, price, HaircutRule(**told), amount=amount, volume=volume)


def test_of_a_plain_walk_it_is_the_normals_quantile() -> None:
    found = cut(prices(4_000), decay=0.995, step=0.001, lookback_days=3_000)
    assert found.raw[-1] == pytest.approx(1.0 - np.exp(-2.5758 * 0.04), rel=0.12)
    assert found.coverage == pytest.approx(0.995, abs=0.002)
    assert found.p_value > 0.01


@settings(max_examples=10)
@given(st.integers(0, 10**6), st.integers(420, 590))
def test_nothing_after_a_day_enters_it(seed: int, day: int) -> None:
    price = prices(600, seed=seed)
    other = price.copy()
    other[day:] *= np.exp(np.linspace(-1.0, 0.5, 600 - day))
    chain = Chain((Floor(of="rms"),))
    first, second = (cut(one, chain=chain) for one in (price, other))
    known = first.day < day
    assert (first.haircut[known] == second.haircut[known]).all()
    assert (first.raw[known] == second.raw[known]).all()


def test_it_rises_with_volatility_and_a_floor_holds_it_up() -> None:
    calm, wild = prices(700, vol=0.02), prices(300, vol=0.08, seed=2)
    price = np.concatenate([calm, calm[-1] * wild / wild[0], calm[-1] * calm / calm[0]])
    plain, floored = cut(price), cut(price, chain=Chain((Floor(of="rms"),)))
    at = {name: int(np.flatnonzero(plain.day == day)[0]) for name, day in
          (("calm", 690), ("wild", 990), ("after", 1_690))}  # fmt: skip
    assert plain.haircut[at["wild"]] > 2.0 * plain.haircut[at["calm"]]
    assert floored.haircut[at["after"]] > 1.3 * plain.haircut[at["after"]]
    assert (floored.haircut >= plain.haircut - 0.02).all()
    assert floored.breaches <= plain.breaches


def test_bounds_steps_and_what_is_added() -> None:
    found = cut(prices(), floor=0.05, cap=0.15, step=0.025)
    assert found.haircut.min() >= 0.05
    assert found.haircut.max() <= 0.15
    steps = found.haircut / 0.025
    assert steps == pytest.approx(np.round(steps), abs=1e-6)
    plain, more = cut(prices(), step=0.001), cut(prices(), step=0.001, half_spread=0.02,
                                                wrong_way=0.03)  # fmt: skip
    assert (more.haircut - plain.haircut) == pytest.approx(0.05, abs=0.0031)


def test_more_takes_longer_to_sell() -> None:
    rule = HaircutRule(participation=0.1)
    assert days_to_sell(0.0, volume=100.0, rule=rule) == 1.0
    few, many = cut(prices(), amount=5.0, volume=100.0), cut(prices(), amount=90.0, volume=100.0)
    assert many.liquidation_days == 9.0
    assert many.raw[-1] > 1.8 * few.raw[-1]
    slow = cut(prices(), amount=9_000.0, volume=100.0)
    assert HaircutNote.SLOW in slow.notes
    assert slow.liquidation_days == 30.0


def test_concentration_is_in_tiers_that_never_fall() -> None:
    time_ms, price = np.arange(1_500) * DAY_MS, prices()
    above, rates = by_amount("BTC", time_ms, price, HaircutRule(), amounts=[0.0, 10.0, 50.0],
                             volume=100.0)  # fmt: skip
    assert above == [0.0, 10.0, 50.0]
    assert rates == sorted(rates)
    assert rates[-1] > 2.0 * rates[0]


def test_a_peg_needs_a_told_fall() -> None:
    still = np.ones(800)
    with pytest.raises(BadInput, match="fall of its peg"):
        cut(still)
    found = cut(still, depeg=0.08)
    assert found.notes == (HaircutNote.PEG, HaircutNote.SHORT)
    assert (found.haircut == 0.08).all()
    assert len(found.rows(source="x")) == 1
    moving = cut(prices(800, vol=0.03), depeg=0.02)
    assert moving.haircut.max() > 0.05  # a peg that moves is cut by its moves


@pytest.mark.parametrize(
    ("price", "words"),
    [(np.ones(100), "at least"), (np.array([1.0, -1.0]), "positive"), (np.zeros(0), "positive")],
)
def test_bad_histories_are_refused(price: Float64, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        cut(price, depeg=0.1)
    with pytest.raises(BadInput, match="out of order"):
        haircuts("X", np.array([5, 5]), np.ones(2), HaircutRule())


def test_missing_days_are_told() -> None:
    kept = np.delete(np.arange(800), [500, 501])
    found = haircuts("BTC", kept * DAY_MS, prices(800)[kept], HaircutRule())
    assert HaircutNote.GAPS in found.notes


def test_rows_are_a_rulebooks() -> None:
    found = cut(prices())
    rows = found.rows(source="a test")
    content = {
        "schema": 1, "name": "x", "title": "t", "venue": "v", "sources": ["s"],
        "nodes": {"book": {"by": ["underlying"]}},
        "requirement": {"node": "book", "initial": "0", "maintenance": "0"}, "collateral": rows,
    }  # fmt: skip
    text = check_rulebook(content, source="a test")
    for place in (0, len(rows) // 2, len(rows) - 1):
        day = rows[place]["effective"]
        assert in_force(text, day).collateral["BTC"].haircut == rows[place]["haircut"]
    changes = np.flatnonzero(np.diff(found.haircut))
    assert len(rows) == len(changes) + 1


def test_disclosure_counts_what_was_exceeded() -> None:
    price = prices(800)
    price[700:] *= 0.4  # falls of 60 % happen once
    found = cut(price)
    told = found.disclosure()
    assert told["5.3.4_days_exceeded"] == found.breaches >= 1
    assert told["worst_excess"] == pytest.approx(
        float(np.nanmax(found.fall - found.haircut)), abs=1e-9
    )
    assert told["5.3.4_days_tested"] == found.judged == len(found.day) - 1


def test_wrong_way_adds_what_stress_adds() -> None:
    rng = np.random.Generator(np.random.PCG64(3))
    coin = rng.normal(0.0, 0.04, 2_000)
    apart = rng.normal(0.0, 0.04, 2_000)
    worst = coin <= np.quantile(coin, 0.05)
    token = np.where(worst, 2.0 * coin, apart)
    add, note = wrong_way_add_on(token, coin, coverage=0.9)
    assert note is None
    assert add > 0.1
    assert wrong_way_add_on(apart, coin, coverage=0.9)[0] < 0.03
    few, note = wrong_way_add_on(apart[:100], coin[:100], coverage=0.9)
    assert note is HaircutNote.STRESS_FEW
    assert few > 0.0
    with pytest.raises(BadInput, match="same days"):
        wrong_way_add_on(apart, coin[:-1], coverage=0.9)


def test_haircuts_of_the_real_history() -> None:
    """BTC from 2014 on, at 99.5 % with a ten-year floor: not rejected, and no look ahead."""
    from solvent.feeds.histories import read_history

    series = read_history(need_shared("data", "btc_prices_sky1241", "BTC_USD_2h.csv.gz"))
    later = series.time_ms >= 1_388_534_400_000
    found = haircuts(
        "BTC", series.time_ms[later], series.price[later, 0],
        HaircutRule(chain=Chain((Floor(of="rms"),))),
    )  # fmt: skip
    assert found.judged > 3_500
    assert (found.breaches, found.judged) == (8, 3_975)  # as docs/liquidity.md tells
    assert found.p_value > 0.05
