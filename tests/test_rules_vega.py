"""Vega's rulebook: margin levels, isolated mode, capped futures, fees; worked by hand."""

from __future__ import annotations

from datetime import date
from fractions import Fraction
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from solvent.conform import conform
from solvent.conform.levels import number, sheet
from solvent.feeds.library import shipped_levels
from solvent.margining.levels import queue, rows
from solvent.margining.levels.account import account_sheet
from solvent.margining.levels.book import Balances, LevelsPlan, Orders, evaluate
from solvent.margining.levels.market import shocking
from solvent.margining.levels.rows import Sheet
from solvent.margining.levels.rulebook import in_force
from solvent.market import Snapshot
from solvent.risk import book, publish
from tests.conftest import need_shared

MARKET = {"account": "", "pool": "", "instrument": "market", "underlying": "coin"}


def told(
    *,
    size: Any = 0,
    entry: Any = 0,
    orders: list[dict[str, Any]] | None = None,
    market: dict[str, Any] | None = None,
    general: Any = 0,
    assets: list[dict[str, Any]] | None = None,
    **contract: Any,
) -> Sheet:
    """One market at 200 with simple factors; amounts in whole units."""
    rule = {
        "mark": 200, "risk_factor_long": "0.1", "risk_factor_short": "0.3",
        "linear_slippage": "0.05", "quadratic_slippage": 0, "contract_size": 1,
        "asset_decimals": 0, "settlement_price": 1, "inverse": 0, "is_option": 0,
    }  # fmt: skip
    return sheet(
        "vega",
        instrument=[{**MARKET, **rule, **(market or {})}],
        position=[{**MARKET, "size": size, "entry_price": entry}],
        order=[{**MARKET, "size": 0, "price": 0, **one} for one in orders or []],
        contract=[{**MARKET, **contract}],
        account=[{"account": "", "general_balance": general}],
        asset=assets or [],
    )


def amounts(one: Sheet, *columns: str, level: str = "contract") -> list[float]:
    """Columns of the one row of a level."""
    return [float(number(one.value(level, column))) for column in columns]


def levels_of(one: Sheet) -> list[float]:
    """Maintenance, search, initial and release."""
    return amounts(one, "maintenance", "search", "initial", "release")


# ── cross margin ─────────────────────────────────────────────────────────────────────────────────


def test_levels_stand_on_the_open_position_and_the_orders_beside_it() -> None:
    """10 long: slippage 200·(0.5 + 0.1), risk 200, bids of 5 another 100."""
    one = told(
        size=10, orders=[{"size": 5, "buy": 1}], market={"quadratic_slippage": Fraction(1, 1000)}
    )
    assert levels_of(one) == [420, 462, 504, 588]


def test_the_worse_side_counts() -> None:
    """Asks of 30 at 0.3 need 1800, more than the long side's 10·200·0.15 = 300."""
    assert levels_of(told(size=10, orders=[{"size": 30, "buy": 0}]))[0] == 1_800


def test_asks_that_only_close_need_nothing() -> None:
    """10 long with asks of 10: the short side never comes to be."""
    assert levels_of(told(size=10, orders=[{"size": 10, "buy": 0}]))[0] == 300


def test_bids_count_whole_once_they_could_turn_the_position() -> None:
    """4 short with bids of 100: the long side is all bids, 100·200·0.1; without, 4·200·0.35."""
    assert levels_of(told(size=-4, orders=[{"size": 100, "buy": 1}]))[0] == 2_000
    assert levels_of(told(size=-4, orders=[{"size": 4, "buy": 1}]))[0] == 280


def test_maintenance_is_rounded_up_and_the_rest_down_from_it() -> None:
    """3·33·0.15 = 14.85 → 15; 16.5 → 16, 18, 21. In cents: 14.85 stays."""
    assert levels_of(told(size=3, market={"mark": 33})) == [15, 16, 18, 21]
    cents = levels_of(told(size=3, market={"mark": 33, "asset_decimals": 2}))
    assert cents == [14.85, 16.33, 17.82, 20.79]


def test_funding_that_is_due_adds_to_both_sides() -> None:
    """10 long pay 7 a unit, half of it margined: 300 + 35; a short receives, and gains nothing."""
    market = {"funding_per_unit": 7, "margin_funding_factor": "0.5"}
    assert levels_of(told(size=10, market=market))[0] == 335
    assert levels_of(told(size=-10, market=market))[0] == 700


def test_funding_is_the_premium_and_interest_in_bounds() -> None:
    """Mark 110, index 100, 10 % for half a year: interest 105 − 110, not below −2: 8 a unit."""
    market = {"future_twap": 110, "spot_twap": 100, "funding_years": "0.5",
              "interest_rate": "0.1", "clamp_lower": "-0.02", "clamp_upper": "0.02"}  # fmt: skip
    columns = ("funding_payment", "funding_rate")
    assert amounts(told(market=market), *columns, level="instrument") == [8, 0.08]
    assert levels_of(told(size=10, market=market))[0] == 300 + 80
    half = {**market, "auction_share": "0.5", "funding_rate_upper": "0.03"}
    assert amounts(told(market=half), *columns, level="instrument") == [3, 0.03]


def test_orders_in_an_auction_count_at_the_greater_of_price_and_auction() -> None:
    """Bids 2 @ 300 and 2 @ 100: 800 by price, 4·240 by the indicative price; ·0.1."""
    orders = [{"size": 2, "price": 300, "buy": 1}, {"size": 2, "price": 100, "buy": 1}]
    market = {"auction": 1, "indicative_price": 240}
    assert levels_of(told(orders=orders, market=market))[0] == 96


def test_nothing_held_and_nothing_ordered_needs_nothing() -> None:
    """All four levels are 0."""
    assert levels_of(told()) == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("balance", "general", "filled", "back", "distressed"),
    [(329, 100, 31, 0, 0), (329, 10, 10, 0, 0), (280, 10, 10, 0, 1), (330, 9, 0, 0, 0),
     (420, 0, 0, 60, 0)],
)  # fmt: skip
def test_the_account_is_filled_below_search_and_freed_from_release(
    balance: int, general: int, filled: int, back: int, distressed: int
) -> None:
    """Levels 300, 330, 360, 420."""
    one = told(size=10, general=general, margin_balance=balance)
    assert amounts(one, "filled_up", "given_back", "distressed") == [filled, back, distressed]


# ── isolated mode ────────────────────────────────────────────────────────────────────────────────


def test_orders_that_close_first_are_free_best_price_first() -> None:
    """10 long, asks 10 @ 150 and 15 @ 100: 5·100 + 10·150 = 2000; bids 3 @ 90 are less; ·0.5."""
    orders = [
        {"size": 10, "price": 150, "buy": 0},
        {"size": 15, "price": 100, "buy": 0},
        {"size": 3, "price": 90, "buy": 1},
    ]
    one = told(size=10, orders=orders, margin_factor="0.5")
    assert amounts(one, "order_margin") == [1_000]
    in_auction = told(size=10, orders=orders, margin_factor="0.5", market={"auction": 1})
    assert amounts(in_auction, "order_margin") == [1_500]


def test_isolated_levels_leave_orders_out_and_nothing_is_fetched() -> None:
    """10 long at 0.15 of 200; the bids have a margin of their own."""
    one = told(size=10, orders=[{"size": 5, "price": 90, "buy": 1}], margin_factor="0.5")
    assert levels_of(one) == [300, 0, 360, 0]


SWITCHED = ("switch_accepted", "switched_margin", "switched_orders", "switched_general")


def test_switch_takes_position_and_all_orders_from_the_general_account() -> None:
    """10·190·0.5 = 950 and (2·100 + 3·101)·0.5 = 251.5, of both sides; 951.5 of 952 is there."""
    orders = [{"size": 2, "price": 100, "buy": 0}, {"size": 3, "price": 101, "buy": 1}]
    one = told(
        size=10, entry=190, orders=orders, general=952, margin_balance=250, margin_factor="0.5"
    )
    assert amounts(one, *SWITCHED) == [1, 950, 251, 1]


@pytest.mark.parametrize(
    ("factor", "entry", "general"),
    [("0.35", 200, 1_000), ("0.36", 100, 1_000), ("0.5", 200, 899)],
    ids=["factor not above 0.3 + 0.05", "360 not above initial 360", "1000 - 100 > 899"],
)
def test_switch_is_refused_whole(factor: str, entry: int, general: int) -> None:
    """A refused switch moves nothing."""
    one = told(size=10, entry=entry, general=general, margin_balance=100, margin_factor=factor)
    assert amounts(one, *SWITCHED) == [0, 100, 0, general]


def test_back_to_cross_everything_joins_the_margin_account() -> None:
    """Order margin and margin are one again."""
    one = told(margin_factor="0.5", margin_balance=70, order_margin_balance=31)
    assert amounts(one, "rejoined_margin") == [101]


FILLED = ("filled_margin", "filled_orders", "filled_general")


def fill(side: str, size: int, price: int, *, trade: int = 0, taker: int = 0) -> dict[str, Any]:
    """A trade just done."""
    return {"buy": side == "buy", "filled": size, "fill_price": price, "trade": trade,
            "aggressive": taker}  # fmt: skip


@pytest.mark.parametrize(("taker", "expected"), [(0, [1_155, 845, 500]), (1, [1_155, 1_000, 345])])
def test_an_increase_brings_its_margin(taker: int, expected: list[float]) -> None:
    """2 @ 103 and 1 @ 105 are 311, half of it 155.5 → 155; out of the order margin if it rested."""
    fills = [fill("buy", 2, 103, taker=taker), fill("buy", 1, 105, trade=1, taker=taker)]
    one = told(
        size=5, orders=fills, general=500, margin_factor="0.5",
        margin_balance=1_000, order_margin_balance=1_000,
    )  # fmt: skip
    assert amounts(one, *FILLED) == expected


def test_a_reduction_frees_its_share_at_the_price_of_the_trades() -> None:
    """3 of 10 closed at 210 and 211 (average 210): (1000 + 10·(210 − 200))·3/10 = 330."""
    fills = [fill("sell", 2, 210), fill("sell", 1, 211, trade=1)]
    one = told(size=10, orders=fills, margin_factor="0.5", margin_balance=1_000)
    assert amounts(one, *FILLED) == [670, 0, 330]


def test_a_flip_leaves_the_margin_of_what_was_opened() -> None:
    """10 long, 8 @ 210 and 7 @ 220 sold: 5 @ 220 are open, 550; 450 of 1000 go back."""
    fills = [fill("sell", 8, 210), fill("sell", 7, 220, trade=1)]
    one = told(size=10, orders=fills, margin_factor="0.5", margin_balance=1_000)
    assert amounts(one, *FILLED, "open_volume") == [550, 0, 450, -5]


@pytest.mark.parametrize(("balance", "general", "accepted"), [(199, 300, 0), (200, 300, 1),
                                                              (200, 99, 0)])  # fmt: skip
def test_an_aggressor_must_stay_above_maintenance_and_pay(
    balance: int, general: int, accepted: int
) -> None:
    """10 long after the trade need 300; the trade brings 1·200·0.5 = 100."""
    one = told(size=9, orders=[fill("buy", 1, 200, taker=1)], general=general,
               margin_factor="0.5", margin_balance=balance)  # fmt: skip
    assert amounts(one, "fill_accepted") == [accepted]


def test_isolated_losses_take_margin_then_the_pool_never_the_general_account() -> None:
    """10 long from 200 to 100 lose 1000: 900 and 100 of the pool; maintenance is 150."""
    columns = ("closed_out", "margin_after", "general_after", "insurance_after", "maintenance")
    market = {"mark": 100, "previous_mark": 200, "insurance_pool": 250}
    one = told(size=10, market=market, general=70, margin_balance=900, margin_factor="0.5")
    assert amounts(one, *columns) == [1, 0, 70, 150, 150]
    # With 1149 the 149 that are left are too few and go to the pool; with 1150 all is well.
    one = told(size=10, market=market, general=70, margin_balance=1_149, margin_factor="0.5")
    assert amounts(one, *columns) == [1, 0, 70, 399, 150]
    one = told(size=10, market=market, general=70, margin_balance=1_150, margin_factor="0.5")
    assert amounts(one, *columns) == [0, 150, 70, 250, 150]


# ── capped futures, fees, risk factors ───────────────────────────────────────────────────────────


def test_fully_collateralised_needs_all_that_can_be_lost() -> None:
    """Cap 100: 6 short from 40 can lose 360; asks 2 @ 55 another 90.

    6 long from 40 can lose 240; bids 3 @ 10 and 4 @ 11 average 10 as a whole number: 70.
    """
    orders = [
        {"size": 3, "price": 10, "buy": 1},
        {"size": 4, "price": 11, "buy": 1},
        {"size": 2, "price": 55, "buy": 0},
    ]
    market = {"max_price": 100, "fully_collateralised": 1, "mark": 60}
    assert levels_of(told(size=-6, entry=40, orders=orders, market=market)) == [450] * 4
    assert levels_of(told(size=6, entry=40, orders=orders[:2], market=market)) == [310] * 4


def test_fees_round_up_each_by_itself_and_halve_in_auctions() -> None:
    """3 @ 101: 303·(0.5 %, 2 %, 0.1 %) = 1.515, 6.06, 0.303."""
    rates = {"maker_fee": "0.005", "infrastructure_fee": "0.02", "liquidity_fee": "0.001"}
    columns = ("maker_paid", "infrastructure_paid", "liquidity_paid", "fees_paid")
    order = [fill("buy", 3, 101, taker=1)]
    assert amounts(told(orders=order, market=rates), *columns, level="order") == [2, 7, 1, 10]
    auction = {**rates, "auction": 1}
    assert amounts(told(orders=order, market=auction), *columns, level="order") == [0, 4, 1, 5]
    rested = [fill("buy", 3, 101)]
    assert amounts(told(orders=rested, market=rates), "fees_paid", level="order") == [0]


def test_risk_factors_are_the_mean_of_the_tail() -> None:
    """The 5 % lowest and highest of exp(−s²/2 + s·z), summed over quantiles."""
    share, tau, sigma, steps = 0.05, 0.04, 1.5, 20_000
    s = sigma * tau**0.5
    tail = [(n + 0.5) * share / steps for n in range(steps)]
    low = [np.exp(s * NormalDist().inv_cdf(u) - s * s / 2) for u in tail]
    high = [np.exp(-s * NormalDist().inv_cdf(u) - s * s / 2) for u in tail]
    model = {"risk_aversion": share, "tau": tau, "mu": 0, "sigma": sigma}
    one = sheet("vega", tables={"market_model": {"*": model}}, instrument=[MARKET])
    found = amounts(one, "risk_factor_long", "risk_factor_short", level="instrument")
    assert found[0] == pytest.approx(1 - np.mean(low), abs=2e-5)
    assert found[1] == pytest.approx(np.mean(high) - 1, abs=2e-4)


# ── properties ───────────────────────────────────────────────────────────────────────────────────

sizes = st.integers(0, 50)
order_lists = st.lists(
    st.fixed_dictionaries({"size": sizes, "price": st.integers(1, 400), "buy": st.integers(0, 1)}),
    max_size=6,
)


@given(size=st.integers(-50, 50), orders=order_lists, factor=st.sampled_from(["0", "0.5"]))
def test_a_requirement_is_never_negative_and_orders_only_add(
    size: int, orders: list[dict[str, Any]], factor: str
) -> None:
    """In both modes; the order of orders is of no account."""
    columns = ("maintenance", "search", "initial", "release", "order_margin")
    bare = amounts(told(size=size, margin_factor=factor), *columns)
    full = amounts(told(size=size, orders=orders, margin_factor=factor), *columns)
    turned = amounts(told(size=size, orders=orders[::-1], margin_factor=factor), *columns)
    assert min(bare) >= 0
    assert all(more >= less for more, less in zip(full, bare, strict=True))
    assert full == turned


@given(size=st.integers(-50, 50), amount=st.integers(0, 1_000), more=st.integers(0, 1_000))
def test_more_collateral_never_lowers_health(size: int, amount: int, more: int) -> None:
    """Equity less maintenance rises by what is added."""
    health = []
    for held in (amount, amount + more):
        asset = {"account": "", "pool": "", "asset": "USDT", "amount": held, "price": 1}
        equity, maintenance = amounts(
            told(size=size, entry=190, assets=[asset]), "equity", "maintenance", level="pool"
        )
        health.append(equity - maintenance)
    assert health[1] - health[0] == more


@given(
    queues=st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 4), st.integers(0, 9), st.integers(1, 9)),
        max_size=12,
    ),
    free=st.lists(st.integers(0, 12), min_size=3, max_size=3),
)
def test_queues_on_arrays_are_queues_by_row(
    queues: list[tuple[int, int, int, int]], free: list[int]
) -> None:
    """`beyond` of three groups, both ways."""
    columns = [np.array([row[n] for row in queues], dtype=np.float64) for n in range(4)]
    groups = columns[0].astype(np.int64)
    found = queue.beyond(groups, 3, np.array(free, dtype=float)[groups], *columns[1:])
    for group in range(3):
        exact = rows.beyond(
            [[Fraction(free[g]), Fraction(rank), Fraction(size), Fraction(value)]
             for g, rank, size, value in queues if g == group]
        )  # fmt: skip
        assert found[group] == float(exact)


# ── whole books and vectors ──────────────────────────────────────────────────────────────────────


def test_whole_books_agree_with_the_exact_way(snapshot: Snapshot) -> None:
    """Linear futures, some isolated, with orders: within one unit of the asset's last decimal."""
    rulebook = in_force(shipped_levels("vega"), date(2026, 6, 1))
    shocks = shocking(rulebook)
    plan = LevelsPlan(
        rulebook, publish(snapshot, sets=shocks.sets, rules=shocks.rules, tables=shocks.tables)
    )
    universe = snapshot.universe
    listed = np.flatnonzero(~universe.inverse & ~universe.is_option)
    rng = np.random.Generator(np.random.PCG64(3))
    accounts, count = 25, 60
    instrument = rng.choice(listed, count).astype(np.int32)
    positions = book(
        accounts=[f"a{n:02d}" for n in range(accounts)],
        account=np.sort(rng.integers(0, accounts, count)).astype(np.int32),
        instrument=instrument,
        lots=rng.integers(-500, 500, count).astype(np.float64),
        universe=universe,
        entry_price=snapshot.mark[instrument] * rng.uniform(0.9, 1.1, count),
    )
    placed = rng.choice(listed, 80).astype(np.int64)
    orders = Orders(
        account=np.sort(rng.integers(0, accounts, 80)),
        instrument=placed,
        size=rng.integers(1, 50, 80).astype(np.float64),
        price=snapshot.mark[placed] * rng.uniform(0.9, 1.1, 80),
        buy=rng.integers(0, 2, 80).astype(np.float64),
    )
    balances = Balances(
        account=np.arange(accounts), asset=["USDC"] * accounts,
        amount=rng.uniform(0, 1e6, accounts), price=np.ones(accounts),
    )  # fmt: skip
    inputs = {"contract.margin_factor": {universe.symbols[listed[0]]: 0.9}}
    answer = evaluate(plan, positions, balances=balances, orders=orders, inputs=inputs)
    parts = {"equity": answer.equity, "initial": answer.initial,
             "maintenance": answer.maintenance, **answer.components}  # fmt: skip
    assert np.isfinite(answer.maintenance).all()
    assert (answer.maintenance > 0).any()
    for account in range(accounts):
        one = account_sheet(
            plan, positions, account, balances=balances, orders=orders, inputs=inputs
        )
        for name, found in parts.items():
            exact = float(number(one.value("pool", name)))
            assert found[account] == pytest.approx(exact, rel=1e-12, abs=1e-5), (name, account)


def test_what_the_venue_does_not_list_is_unknown() -> None:
    """An inverse future or an option has no margin here."""
    for fact in ("inverse", "is_option"):
        with pytest.raises(rows.Unset):
            levels_of(told(size=1, market={fact: 1}))


@pytest.mark.parametrize(
    "parts", [("vega", "cases.json"), ("tradfi", "vega_lognormal_risk_factors.json")]
)
def test_vectors(parts: tuple[str, str]) -> None:
    """Every case that Solvent knows passes."""
    result = conform([need_shared("vectors", *parts)])
    assert result.failed == 0
    assert result.passed > 0
