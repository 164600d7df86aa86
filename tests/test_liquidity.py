"""What closing costs: the charges by hand, their shape, and where their numbers come from."""

from __future__ import annotations

import gzip
from datetime import date
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solvent import api
from solvent.errors import BadInput
from solvent.expressions import parse
from solvent.feeds.bars import read_bars, read_traded_vega
from solvent.feeds.histories import read_history
from solvent.feeds.synthetic_market import generate_market
from solvent.lab.liquidity_report import NO_CHAIN, NO_DEPTH, coin_liquidity
from solvent.margining.fragments import merged
from solvent.margining.liquidity import (
    CoinLiquidity,
    average_volume,
    coin_collateral,
    half_spread_of_range,
    liquidity_parts,
    square_root_cost,
)
from solvent.margining.plan import Plan
from solvent.margining.rulebook import check_rulebook
from solvent.market import Snapshot
from solvent.scenarios.bars import Bars
from solvent.units import DAY_MS

COIN: dict[str, Any] = {
    "underlying": "BTC", "volume": 1_000.0, "depth": 10.0, "half_spread": 0.0002,
    "vol_half_spread": 0.01, "daily_sd": 0.03, "vega_volume": (2e6, 3e6, 1e6),
    "stress_fall": 0.5, "haircut": 0.1,
}  # fmt: skip
LINEAR, INVERSE = "BTC_USDC-PERPETUAL", "BTC-PERPETUAL"


@pytest.fixture(scope="module")
def market() -> Snapshot:
    return generate_market(seed=3, coins=("BTC",), expiries=4, strikes=11)


def plan_with(market: Snapshot, **told: Any) -> Plan:
    base = {
        "schema": 1, "name": "liquidity", "title": "t", "venue": "Example", "sources": ["a test"],
        "nodes": {
            "expiry": {"by": ["underlying", "expiry"]}, "currency": {"by": ["underlying"]},
        },
        "requirement": {"node": "currency", "initial": "liquidity", "maintenance": "liquidity"},
        "collateral": [{"asset": "USDC", "haircut": 0.0, "price": "par"}],
    }  # fmt: skip
    parts = liquidity_parts(
        [CoinLiquidity(**(COIN | told))], node="currency", expiry_node="expiry",
        effective=date(2026, 1, 1), source="a test",
    )  # fmt: skip
    return api.prepare(market, check_rulebook(merged(base, parts), source="a test"))


@pytest.fixture(scope="module")
def plan(market: Snapshot) -> Plan:
    return plan_with(market)


def charged(plan: Plan, inputs: Any = None, **held: float) -> dict[str, float]:
    """Dollars by charge of one account."""
    rows = [{"account": "a", "instrument": name, "size": size} for name, size in held.items()]
    told = api.margin(rows, plan, inputs=inputs).explain("a").sets[0]
    return {**told.components, "initial": told.initial}


@settings(max_examples=60)
@given(st.floats(0.0, 8.0))
def test_chords_lie_above_the_law_and_near_it(x: float) -> None:
    told = float(parse(square_root_cost("x"))({"x": x}))
    assert told >= x**1.5 * (1.0 - 1e-12)
    assert told <= x**1.5 * 1.046 + (2.0**-15)


def test_the_charges_of_a_perpetual_by_hand(plan: Plan, market: Snapshot) -> None:
    index = float(market.index[0])
    told = charged(plan, **{LINEAR: 110.0})
    delta = 110.0 * index  # a linear perpetual's delta is its size
    x = 0.1  # (110 − 10) / 1,000
    low, high = 0.0625, 0.125
    chord = low**1.5 + (high**1.5 - low**1.5) / (high - low) * (x - low)
    assert told["impact"] == pytest.approx(1_000.0 * index * 0.03 * chord, rel=1e-6)
    part = 110.0 / 1_000.0
    assert told["concentration"] == pytest.approx(delta * 0.05 * (part - 0.1), rel=1e-6)
    assert told["spread"] == pytest.approx(delta * 0.0002, rel=1e-3)
    assert told["vega_impact"] == 0.0


def test_depth_is_closed_for_the_spread_alone(plan: Plan) -> None:
    told = charged(plan, **{LINEAR: -9.0})
    assert told["impact"] == told["concentration"] == 0.0
    assert told["spread"] > 0.0


def test_spread_counts_what_is_held_and_impact_what_is_left(plan: Plan) -> None:
    """A hedge by an inverse contract must be closed too, but moves nothing."""
    price = float(plan.arrays.index[0])
    lone = charged(plan, **{LINEAR: 500.0})
    both = charged(plan, **{LINEAR: 500.0, INVERSE: -round(500.0 * price / 10) * 10})
    assert both["spread"] > 1.9 * lone["spread"]
    assert both["impact"] < 1e-3 * lone["impact"]


def test_concentration_is_capped(market: Snapshot) -> None:
    plan = plan_with(market, rate=10.0, cap=0.2)
    told = charged(plan, **{LINEAR: 5_000.0})
    assert told["concentration"] == pytest.approx(0.2 * 5_000.0 * float(market.index[0]), rel=1e-6)


def options(market: Snapshot, *, days: float) -> list[tuple[str, float]]:
    """Symbols of linear calls of the first expiry after `days`, and ln(K/F)/(σ√T)."""
    universe = market.universe
    rows = np.flatnonzero(
        universe.is_option & universe.is_call & ~universe.inverse & (market.years * 365.0 > days)
    )
    rows = rows[universe.expiry_ms[rows] == universe.expiry_ms[rows].min()]
    z = np.log(universe.strike[rows] / market.forward[rows]) / (
        market.vol[rows] * np.sqrt(market.years[rows])
    )
    return [(universe.symbols[row], float(one)) for row, one in zip(rows, z, strict=True)]


def test_vega_is_charged_by_wing_and_body(plan: Plan, market: Snapshot) -> None:
    told = options(market, days=1.5)
    body = min(told, key=lambda one: abs(one[1]))[0]
    wing = max(told, key=lambda one: one[1])
    assert wing[1] > 1.0
    at_money, far = charged(plan, **{body: 3_000.0}), charged(plan, **{wing[0]: 3_000.0})
    vega = {name: abs(plan.arrays.units["vega"][market.universe.row(name)]) for name in
            (body, wing[0])}  # fmt: skip
    size = float(market.universe.lot_size[market.universe.row(body)])
    for name, found, thin in ((body, at_money, 1.0), (wing[0], far, 0.25)):
        held = 100.0 * vega[name] * 3_000.0 / size  # per 1.00 of volatility
        row = int(market.universe.row(name) or 0)
        years, sigma = float(market.years[row]), float(market.vol[row])
        forward, strike = float(market.forward[row]), float(market.universe.strike[row])
        v = sigma * years**0.5
        d1 = np.log(forward / strike) / v + 0.5 * v
        black = forward * np.exp(-0.5 * d1 * d1) * (years / (2.0 * np.pi)) ** 0.5
        assert held == pytest.approx(3_000.0 * black, rel=1e-3)
        traded = 2e6
        exact = 0.01 * traded * thin * (held / (traded * thin)) ** 1.5
        assert exact * (1 - 1e-6) <= found["vega_impact"] <= exact * 1.046 + 100.0
        assert found["spread"] == pytest.approx(held * 0.01, rel=1e-3)


def test_opposite_vega_of_one_bucket_moves_nothing(plan: Plan, market: Snapshot) -> None:
    told = sorted(options(market, days=1.5), key=lambda one: abs(one[1]))
    first, second = told[0][0], told[1][0]
    vega = [plan.arrays.units["vega"][market.universe.row(name)] for name in (first, second)]
    lots = round(3_000.0 * float(vega[0]) / float(vega[1]), 1)
    hedged = charged(plan, **{first: 3_000.0, second: -lots})
    assert hedged["vega_impact"] < 0.05 * charged(plan, **{first: 3_000.0})["vega_impact"]


def test_coin_collateral_goes_wrong_with_a_long(plan: Plan, market: Snapshot) -> None:
    index = float(market.index[0])
    held = {("a", "BTC"): 3.0, ("a", "ETH"): 100.0}

    def wrong_way(size: float) -> float:
        rows = [{"account": "a", "instrument": LINEAR, "size": size}]
        book = api.margin(rows, plan).book
        told = coin_collateral(plan, book, held)
        assert told == {("a", "BTC"): pytest.approx(3.0 * index)}
        return charged(plan, inputs={"coin_collateral": told}, **{LINEAR: size})["wrong_way"]

    # Beyond the haircut 0.4 of the lesser of collateral and long delta.
    assert wrong_way(5.0) == pytest.approx(0.4 * 3.0 * index, rel=1e-6)
    assert wrong_way(1.0) == pytest.approx(0.4 * 1.0 * index, rel=1e-6)
    assert wrong_way(-5.0) == 0.0


def test_bigger_costs_more_than_in_proportion(plan: Plan) -> None:
    costs = [charged(plan, **{LINEAR: size})["initial"] / size for size in (50.0, 200.0, 800.0)]
    assert costs == sorted(costs)


# ── where the numbers come from ──────────────────────────────────────────────────────────────────


def bars(days: int = 60, *, spread: float = 0.0, seed: int = 1) -> Bars:
    """Hourly bars of a price whose trades are half a spread off either way."""
    rng = np.random.Generator(np.random.PCG64(seed))
    path = np.cumsum(rng.normal(0.0, 0.0004, (24 * days, 60)), axis=None).reshape(24 * days, 60)
    side = rng.choice([-0.5, 0.5], path.shape) * spread
    price = 100.0 * np.exp(path + side)
    return Bars(
        time_ms=np.arange(24 * days) * (DAY_MS // 24), high=price.max(axis=1),
        low=price.min(axis=1), close=price[:, -1], volume=np.full(24 * days, 10.0),
    )  # fmt: skip


def test_a_spread_is_found_in_ranges() -> None:
    none, wide = (half_spread_of_range(b.high, b.low, b.close) for b in (bars(), bars(spread=0.01)))
    assert wide == pytest.approx(0.005, rel=0.35)
    assert none < 0.25 * wide


def test_volume_is_a_careful_one() -> None:
    day = np.arange(100)
    falling = np.linspace(100.0, 1.0, 100)
    assert average_volume(day, falling, days=10) == pytest.approx(falling[-10:].mean())
    rising = falling[::-1]
    assert average_volume(day, rising, days=10) < rising[-10:].mean()
    for volume, words in ((np.zeros(100), "no volume"), (np.full(100, np.nan), "0 or more")):
        with pytest.raises(BadInput, match=words):
            average_volume(day, volume)
    with pytest.raises(BadInput, match="at least 20 days"):
        average_volume(day[:5], falling[:5])


def test_what_bars_do_not_tell_is_told_as_assumed(market: Snapshot) -> None:
    found = coin_liquidity("BTC", bars())
    assert found.notes == (NO_DEPTH, NO_CHAIN)
    assert found.liquidity.volume == pytest.approx(240.0)
    assert found.liquidity.daily_sd == pytest.approx(0.0004 * np.sqrt(1440), rel=0.3)
    with_chain = coin_liquidity("BTC", bars(), market, vega_volume=(1.0, 2.0, 3.0), depth=5.0)
    assert with_chain.notes == ()
    assert 0.0 < with_chain.liquidity.vol_half_spread < 0.5
    assert with_chain.document()["vega_long"] == 3.0


def write(path: Any, text: str) -> Any:
    path.write_text(text, "utf-8")
    return path


def test_bars_are_read_in_several_hands(tmp_path: Any) -> None:
    plain = "timestamp,open,high,low,close,volume\n2025-01-02,1,3,1,2,5\n2025-01-01,1,2,1,1,4\n"
    found = read_bars(write(tmp_path / "BTC.csv", plain))
    assert found.close.tolist() == [1.0, 2.0]
    assert found.volume.tolist() == [4.0, 5.0]
    remark = "https://example.com\nunix,date,High,Low,Close,Volume BTC\n1600000000000,x,3,1,2,7\n"
    assert read_bars(write(tmp_path / "b.csv", remark)).volume.tolist() == [7.0]
    days = "Date,High,Low,Close,Volume\n16-04-2020 00:00,3,1,2,7\n15-04-2020 23:00,3,1,2.5,7\n"
    assert read_bars(write(tmp_path / "c.csv", days)).close.tolist() == [2.5, 2.0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("timestamp,high,low,close\n2025-01-01,2,1,1\n", "volume"),
        ("timestamp,high,low,close,volume\n2025-01-01,2,1,-1,4\n", "above 0"),
        ("timestamp,high,low,close,volume\n2025-01-01,2,1,x,4\n", "close"),
        ("high,low,close,volume\n2,1,1,4\n", "time"),
        ("timestamp,high,low,close,volume\nyesterday,2,1,1,4\n", "timestamp"),
    ],
)
def test_bad_bars_are_named(tmp_path: Any, text: str, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        read_bars(write(tmp_path / "bad.csv", text))


def test_half_a_download_is_named(tmp_path: Any) -> None:
    text = "timestamp,high,low,close,volume\n" + "2025-01-01,2,1,1,4\n" * 9
    whole = gzip.compress(text.encode())
    for cut in (whole[:20], whole[:14] + b"\xff" * 20):
        (tmp_path / "half.csv.gz").write_bytes(cut)
        for read in (read_bars, read_history):
            with pytest.raises(BadInput, match=r"half\.csv\.gz"):
                read(tmp_path / "half.csv.gz")


def test_traded_vega_by_tenor(tmp_path: Any) -> None:
    head = "currency,volume,vega,time_to_maturity\n"
    rows = ["BTC,2,10,0.01", "BTC,3,20,0.1", "BTC,1,50,0.5", "ETH,9,9,0.5", "BTC,,5,0.5"]
    chain = write(tmp_path / "chain.csv", head + "\n".join(rows) + "\n")
    assert read_traded_vega(chain, "BTC") == (2_000.0, 6_000.0, 5_000.0)
    with pytest.raises(BadInput, match="traded at all tenors"):
        read_traded_vega(chain, "ETH")
