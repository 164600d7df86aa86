"""Tiered and weighted margin of venues on chains: dYdX v4, Drift, Mango v4; worked by hand."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solvent.conform.levels import number, sheet
from solvent.conform.run import conform
from solvent.feeds.library import shipped_levels
from solvent.instruments import Kind
from solvent.margining.levels.account import account_sheet
from solvent.margining.levels.book import Balances, LevelsPlan, Orders, evaluate
from solvent.margining.levels.market import shocking
from solvent.margining.levels.rows import Sheet, Unset
from solvent.margining.levels.rulebook import in_force
from solvent.market import Snapshot
from solvent.risk import book, publish
from tests.conftest import need_shared

LISTED = {"is_future": 0, "is_option": 0, "inverse": 0, "contract_size": 1, "settlement_price": 1}
MICRO = Fraction(1, 10**6)


def perpetual(coin: str, **told: Any) -> dict[str, Any]:
    """A position or order of a linear perpetual."""
    return {
        **LISTED, "instrument": f"{coin} perpetual", "underlying": coin, "settlement": "USDC",
        "is_perpetual": 1, "is_future": 1, **told,
    }  # fmt: skip


def spot(coin: str, **told: Any) -> dict[str, Any]:
    """An order on a spot market."""
    return {
        **LISTED, "instrument": f"{coin} spot", "underlying": coin, "settlement": "USDC",
        "is_perpetual": 0, **told,
    }  # fmt: skip


def usdc(amount: Any) -> dict[str, Any]:
    return {"asset": "USDC", "amount": amount, "price": 1}


def amounts(told: Sheet, *columns: str, level: str = "account", row: int = 0) -> list[Fraction]:
    return [number(told.value(level, column, row)) for column in columns]


# ── dYdX v4 ──────────────────────────────────────────────────────────────────────────────────────


def test_dydx_two_bitcoin_of_the_large_tier() -> None:
    """2 BTC at 60,000.5 from 60,000: 120,001 notional, 2 % initial, 60 % of that maintenance."""
    told = sheet(
        "dydx-v4",
        asset=[usdc(5_000), {"asset": "BTC", "amount": 9, "price": 60_000}],
        position=[perpetual("BTC", size=2, entry_price=60_000, index=60_000.5)],
    )
    expected = [5_001, Fraction("2400.02"), Fraction("1440.012")]
    assert amounts(told, "equity", "initial", "maintenance") == expected


def test_dydx_roundings_are_up_and_one_after_the_other() -> None:
    """0.333333 cut; 7 % of it is 0.02333331, up to 0.023334; a half of that stays 0.011667."""
    tier = {"initial": 0.07, "maintenance_share": 0.5, "lower_cap": 0, "upper_cap": 0}
    told = sheet(
        "dydx-v4",
        tables={"tier": {"*": tier}},
        position=[perpetual("X", size=-1, entry_price=0, index=Fraction(1, 3))],
    )
    found = amounts(told, "net_notional", "initial", "maintenance", level="position")
    assert found == [Fraction(n, 10**6) for n in (-333_333, 23_334, 11_667)]


@pytest.mark.parametrize(
    ("open_interest", "fraction"),
    [(2_000_000, "0.1"), (3_500_000, "0.55"), (5_000_000, "1"), (9_000_000, "1")],
)
def test_dydx_open_interest_scales_initial_margin_alone(open_interest: int, fraction: str) -> None:
    """SOL at 10: caps of 20 and 50 million dollars; half way, half of what is missing to all."""
    position = perpetual("SOL", size=30, entry_price=10, index=10, open_interest=open_interest)
    told = sheet("dydx-v4", asset=[usdc(0)], position=[position])
    assert amounts(told, "initial", "maintenance") == [300 * Fraction(fraction), 15]
    chosen = sheet("dydx-v4", position=[{**position, "chosen_initial_fraction": 0.7}])
    assert amounts(chosen, "initial") == [300 * max(Fraction(fraction), Fraction(7, 10))]


@pytest.mark.parametrize("name", ["dydx-v4", "drift", "mango-v4"])
@pytest.mark.parametrize(
    "fact",
    [{"inverse": 1}, {"is_perpetual": 0}, {"is_perpetual": 0, "is_future": 0, "is_option": 1}],
)
def test_what_a_venue_does_not_list_is_unknown(name: str, fact: dict[str, int]) -> None:
    """Never free, as a position or as an order; dYdX asks nothing for orders."""
    weights = {**SOL_MARKET, **PERPETUAL, "index": 1, "size": 1}
    assets = [{**SOL, **one} for one in tokens(9, 9, 9)]
    position = perpetual("TWO", entry_price=1, **weights | fact)
    order = perpetual("TWO", order="1", price=1, buy=1, **weights | fact)
    rows = [sheet(name, asset=assets, position=[position])]
    if name != "dydx-v4":
        rows.append(sheet(name, asset=assets, order=[order]))
    for told in rows:
        with pytest.raises(Unset):
            told.value("account", "maintenance")


def test_dydx_margins_markets_of_known_tiers() -> None:
    """Another market is unknown."""
    told = sheet("dydx-v4", position=[perpetual("NEW", size=1, entry_price=1, index=1)])
    with pytest.raises(Unset):
        told.value("account", "initial")


def test_dydx_liquidation_fees_go_up_to_the_cap() -> None:
    """0.1 BTC at 50,000 with 100 dollars: bankrupt at 4,900. Sold 4,950: 50 over, 1.5 % is 74.25.

    Sold 5,000 for 1.5 % of that; sold 4,890: the fund pays 10.
    """
    for price, fee in ((49_500, 50), (50_000, 75), (48_900, -10)):
        position = perpetual("BTC", size=0.1, entry_price=50_000, index=50_000, fill_price=price)
        told = sheet("dydx-v4", asset=[usdc(100)], position=[position])
        assert amounts(told, "to_insurance", level="position") == [fee]


Held = list[tuple[str, int, int]]
holdings = st.lists(
    st.tuples(st.sampled_from(["BTC", "ETH", "LINK", "SOL"]),
              st.integers(-10**6, 10**6).filter(bool), st.integers(1, 10**7)),
    min_size=1, max_size=4, unique_by=lambda one: one[0],
)  # fmt: skip


def dydx_account(amount: int, held: Held) -> Sheet:
    """Sizes in thousandths, prices in hundredths, entered at nothing."""
    return sheet(
        "dydx-v4",
        asset=[usdc(amount)],
        position=[
            perpetual(coin, size=Fraction(size, 1_000), entry_price=0, index=Fraction(price, 100))
            for coin, size, price in held
        ],
    )


@given(held=holdings, amount=st.integers(-(10**9), 10**9), more=st.integers(0, 10**9))
@settings(max_examples=40)
def test_dydx_requirements(held: Held, amount: int, more: int) -> None:
    """Never negative, maintenance within initial, of no order; collateral helps by what it is."""
    columns = "equity", "initial", "maintenance"
    equity, initial, maintenance = amounts(dydx_account(amount, held), *columns)
    assert 0 <= maintenance <= initial
    assert [equity, initial, maintenance] == amounts(dydx_account(amount, held[::-1]), *columns)
    richer = amounts(dydx_account(amount + more, held), *columns)
    assert richer == [equity + more, initial, maintenance]


@given(held=holdings, amount=st.integers(-(10**6), 10**6))
@settings(max_examples=40)
def test_dydx_bankruptcy_quotes_leave_nothing(held: Held, amount: int) -> None:
    """All positions closed at theirs: nothing is left, but for roundings in the fund's favour."""
    told = dydx_account(amount, held)
    quotes = (amounts(told, "bankruptcy_quote", level="position", row=n) for n in range(len(held)))
    left = amount + sum(quote for (quote,) in quotes)
    assert 0 <= left <= len(held) * MICRO


@given(held=holdings, amount=st.integers(-(10**6), 10**6))
@settings(max_examples=40)
def test_dydx_liquidation_price_leaves_maintenance(held: Held, amount: int) -> None:
    """The first market moved to its price, if there is one."""
    price = number(dydx_account(amount, held).value("position", "liquidation_price"))
    if price <= 0:
        return
    coin, size, _ = held[0]
    moved = dydx_account(amount, [(coin, size, 1), *held[1:]])
    moved.rows("instrument")[0]["index"] = price
    equity, maintenance = amounts(moved, "equity", "maintenance")
    assert abs(equity - maintenance) <= 4 * MICRO


# ── Drift ────────────────────────────────────────────────────────────────────────────────────────

SOL_MARKET = {
    "initial_ratio": 0.1, "maintenance_ratio": 0.05, "imf": 0.00005,
    "pnl_initial_weight": 0.9, "pnl_maintenance_weight": 1,
}  # fmt: skip
SOL = {
    "asset": "SOL", "price": 150, "initial_asset_weight": 0.8, "maintenance_asset_weight": 0.9,
    "initial_liability_weight": 1.2, "maintenance_liability_weight": 1.1,
}  # fmt: skip


def test_drift_margin_ratio_grows_with_the_root_of_the_size() -> None:
    """10 %: less a fifth, plus 0.00005·√size. Of 1,000,000: 8 + 5 = 13 %. Of 40,000: 8 + 1 < 10."""
    for size, ratio in ((1_000_000, "0.13"), (-1_000_000, "0.13"), (40_000, "0.1")):
        position = perpetual("SOL", size=size, entry_price=150, index=150, **SOL_MARKET)
        told = sheet("drift", position=[position])
        assert amounts(told, "initial_margin_ratio", level="market") == [Fraction(ratio)]


@pytest.mark.parametrize(
    ("size", "initial", "maintenance"),
    [
        (10_000, "0.0325", "0.009"),  # premium 0.005, a quarter of the fifth: a quarter of 0.09
        (90_000, "0.0775", "0.019"),  # 0.015: three quarters
        (160_000, "0.01", "0.024"),  # 0.02: exactly the plain ratio counts as no premium
        (1_000_000, "0.13", "0.054"),  # 0.05: the plain market's ratio
    ],
)
def test_drift_high_leverage_fades_with_size(size: int, initial: str, maintenance: str) -> None:
    """10 % and 5 %, in high leverage mode 1 % and 0.5 %; 0.00005·√size on top of four fifths."""
    position = perpetual(
        "SOL", size=size, entry_price=150, index=150, high_leverage_initial=0.01,
        high_leverage_maintenance=0.005, **SOL_MARKET,
    )  # fmt: skip
    told = sheet("drift", account=[{"account": "", "high_leverage": 1}], position=[position])
    found = amounts(told, "initial_margin_ratio", "maintenance_margin_ratio", level="market")
    assert found == [Fraction(initial), Fraction(maintenance)]


def test_drift_account_by_hand() -> None:
    """1,000 USDC, 4 SOL held, 100 SOL short from 160 with 20 more asked, at 150.

    Gain 1,000: initial lets 90 % count, but no more than 100 dollars. Notional of 120: 18,000.
    Initial 0.8·600 + 1,000 + 100 − 1,800 − 0.01; maintenance 0.9·600 + 1,000 + 1,000 − 900 − 0.01.
    """
    shared = {"index": 150, **SOL_MARKET, "imf": 0}
    told = sheet(
        "drift",
        asset=[usdc(1_000), {**SOL, "amount": 4}],
        position=[perpetual("SOL", size=-100, entry_price=160, **shared)],
        order=[perpetual("SOL", order="1", size=20, price=170, buy=0, **shared)],
    )
    expected = [2_600, Fraction("-220.01"), Fraction("1639.99")]
    assert amounts(told, "equity", "initial_health", "maintenance_health") == expected


def test_drift_spot_orders_count_by_their_worse_side() -> None:
    """4 SOL held at 150. Bid for 2: 6·150·0.8 − 300 = 420. Ask of 10: −6·150·1.2 + 1,500 = 420."""
    shared = {"index": 150, "price": 150}
    for order, health in (
        ({"size": 2, "buy": 1}, "419.99"),
        ({"size": 10, "buy": 0}, "419.99"),
        ({"size": 12, "buy": 0}, "359.99"),
    ):
        told = sheet(
            "drift", asset=[{**SOL, "amount": 4}], order=[spot("SOL", order="1", **order, **shared)]
        )
        assert amounts(told, "initial_health") == [Fraction(health)]
    bare = sheet("drift", order=[spot("SOL", order="1", size=2, buy=1, **shared)])
    with pytest.raises(Unset):
        bare.value("account", "initial_health")


def test_drift_large_deposits_and_traders_in_gain_count_less() -> None:
    """Twice the start halves 0.8; gains of 400 against a limit of 100 quarter 0.9."""
    told = sheet(
        "drift",
        asset=[{**SOL, "amount": 10, "deposited": 2_000, "scale_start": 1_000, "imf": 0}],
        position=[
            perpetual("SOL", size=1, entry_price=110, index=150, net_unsettled=400,
                      net_unsettled_limit=100, **SOL_MARKET)
        ],
    )  # fmt: skip
    assert amounts(told, "asset_weight_initial", level="asset") == [Fraction("0.4")]
    assert amounts(told, "initial_pnl", "maintenance_pnl", level="market") == [9, 40]


@given(
    size=st.integers(-(10**6), 10**6),
    amount=st.integers(-(10**4), 10**4),
    imf=st.integers(0, 1_000),
    cash=st.integers(-(10**6), 10**6),
)
@settings(max_examples=40)
def test_drift_requirements(size: int, amount: int, imf: int, cash: int) -> None:
    """Never negative, and initial margin asks for no less than maintenance."""
    factor = {"imf": Fraction(imf, 10**6)}
    told = sheet(
        "drift",
        asset=[usdc(cash), {**SOL, **factor, "amount": amount}],
        position=[perpetual("SOL", size=size, entry_price=149, index=150, **SOL_MARKET | factor)],
    )
    initial, maintenance = amounts(told, "initial", "maintenance")
    assert initial >= maintenance >= 0


# ── Mango v4 ─────────────────────────────────────────────────────────────────────────────────────


def token(name: str, amount: int, price: int, init: str, maint: str, **told: Any) -> dict[str, Any]:
    """Weights as far under 1 for a deposit as above it for a borrow."""
    return {
        "asset": name, "amount": amount, "price": price,
        "init_asset_weight": 1 - Fraction(init), "init_liab_weight": 1 + Fraction(init),
        "maint_asset_weight": 1 - Fraction(maint), "maint_liab_weight": 1 + Fraction(maint), **told,
    }  # fmt: skip


def tokens(cash: int, two: int, three: int) -> list[dict[str, Any]]:
    return [
        token("USDC", cash, 1, "0.2", "0.1"),
        token("TWO", two, 5, "0.5", "0.3"),
        token("TEN", three, 10, "0.5", "0.3"),
    ]


def held(coin: str, price: int, *, bids: int = 0, asks: int = 0, **best: Any) -> list[Any]:
    """Spot orders of a coin at its price: dollars in bids, coins in asks."""
    shared = {"index": price, "buy": 1, "price": 0, "size": 0}
    return [
        spot(coin, order=f"{coin} bid", **shared | {"reserved_quote": bids, "reserved_base": 0,
                                                    "price": best.get("bid", 0)}),
        spot(coin, order=f"{coin} ask", **shared | {"reserved_quote": 0, "reserved_base": asks,
                                                    "buy": 0, "price": best.get("ask", 0)}),
    ]  # fmt: skip


PERPETUAL = {
    "init_base_asset_weight": 0.8, "init_base_liab_weight": 1.2, "init_overall_asset_weight": 0.95,
    "maint_base_asset_weight": 0.9, "maint_base_liab_weight": 1.1,
    "maint_overall_asset_weight": 0.98,
}  # fmt: skip


def test_mango_reserved_funds_that_cross_zero() -> None:
    """1 dollar and 1 coin in orders of either market: as dollars, 6 and 11, they do least good.

    14 dollars owed and 17 that may come: of either market's, taken as the last, 3 lie above zero.
    """
    orders = [*held("TWO", 5, bids=1, asks=1), *held("TEN", 10, bids=1, asks=1)]
    told = sheet("mango-v4", asset=tokens(-14, -10, -10), order=orders)
    borrowed = -14 * Fraction("1.2") - 10 * 5 * Fraction("1.5") - 10 * 10 * Fraction("1.5")
    brought = (3 + 8) * Fraction("1.2") + (3 + 3) * Fraction("0.8")
    assert amounts(told, "init_health") == [borrowed + brought]


def test_mango_funds_of_one_market_bear_on_the_other() -> None:
    """100 dollars owed, 20 coins' worth in one market; 100 dollars in the other tip the scales."""
    one, two = held("TEN", 10, bids=10, asks=1), held("TWO", 5, bids=100)
    borrowed = -100 * Fraction("1.2") - 100 * 5 * Fraction("1.5") - 10 * Fraction("1.5")
    told = sheet("mango-v4", asset=tokens(-100, -100, -1), order=one)
    assert amounts(told, "init_health") == [borrowed + 10 * Fraction("1.5") + 10 * Fraction("0.5")]
    told = sheet("mango-v4", asset=tokens(-100, -100, -1), order=[*two, *one])
    dollars = 80 * Fraction("1.2") + 20 * Fraction("0.8") + 20 * Fraction("0.8")
    assert amounts(told, "init_health") == [borrowed + dollars]


def test_mango_orders_that_stand_off_the_oracle() -> None:
    """One coin asked at 6, above the oracle's 5: it turns into 5 dollars. Asked at 3: into 3."""
    for ask, as_dollars in ((6, 5), (3, 3), (0, 5)):
        told = sheet("mango-v4", asset=tokens(-100, -10, 0), order=held("TWO", 5, asks=1, ask=ask))
        health = -100 * Fraction("1.2") - 75 + min(as_dollars * Fraction("1.2"), Fraction("7.5"))
        assert amounts(told, "init_health") == [health]


def test_mango_three_healths_of_a_perpetual() -> None:
    """10 long from 4 at 5, 2 more bid, 3 asked; stable price 4; 100 dollars owed.

    Init: all bids 12·0.8·4 − 2·5 = 28.4, all asks 7·0.8·4 + 3·4 = 34.4; −40 + 28.4 is a loss.
    End: 12·0.8·5 − 10 = 38, 7·0.8·5 + 15 = 43. Maint: 12·0.9·5 − 10 = 44, 7·0.9·5 + 15 = 46.5:
    a gain of 4, of which 98 % count.
    """
    shared = {"index": 5, "stable_price": 4, **PERPETUAL}
    told = sheet(
        "mango-v4",
        asset=[token("USDC", -100, 1, "0.2", "0.1")],
        position=[perpetual("TWO", size=10, entry_price=4, **shared)],
        order=[
            perpetual("TWO", order="1", size=2, buy=1, price=4, **shared),
            perpetual("TWO", order="2", size=3, buy=0, price=6, **shared),
        ],
    )
    found = amounts(told, "equity", "init_health", "end_health", "maint_health")
    assert found == [
        -90,
        Fraction("-111.6") * Fraction("1.2"),
        -102 * Fraction("1.2"),
        Fraction("-96.08") * Fraction("1.1"),
    ]


def test_mango_scales_weights_where_the_venue_holds_much() -> None:
    """Deposits of 2,000 dollars against 1,000: half the weight; as many borrows: twice."""
    scale = {"deposits": 150, "potential_serum_tokens": 50, "deposit_scale_start": 1_000,
             "borrows": 200, "borrow_scale_start": 1_000}  # fmt: skip
    for amount, health, unscaled in ((10, 25, 50), (-10, -300, -150)):
        told = sheet("mango-v4", asset=[token("TEN", amount, 10, "0.5", "0.3", **scale)])
        assert amounts(told, "init_health", "end_health") == [health, unscaled]


def test_mango_needs_the_tokens_of_orders_and_perpetuals() -> None:
    """Without a row of the settlement token its weights are not known."""
    alone = sheet("mango-v4", position=[perpetual("TWO", size=1, entry_price=5, index=5)])
    for told in (alone, sheet("mango-v4", order=held("TWO", 5, bids=1))):
        with pytest.raises(Unset):
            told.value("account", "initial")


@given(
    cash=st.integers(-100, 100), two=st.integers(-20, 20), three=st.integers(-20, 20),
    bids=st.integers(0, 50), asks=st.integers(0, 20), size=st.integers(-20, 20),
    entry=st.integers(1, 9), stable=st.integers(3, 7),
)  # fmt: skip
@settings(max_examples=40)
def test_mango_healths_are_in_order(
    cash: int, two: int, three: int, bids: int, asks: int, size: int, entry: int, stable: int
) -> None:
    """init ≤ end ≤ maint ≤ equity, so that no requirement is negative."""
    market = {"index": 5, "stable_price": stable, **PERPETUAL}
    told = sheet(
        "mango-v4",
        asset=tokens(cash, two, three),
        position=[perpetual("TWO", size=size, entry_price=entry, **market)],
        order=held("TEN", 10, bids=bids, asks=asks),
    )
    healths = amounts(told, "init_health", "end_health", "maint_health", "equity")
    assert healths == sorted(healths)


# ── whole books and vectors ──────────────────────────────────────────────────────────────────────


INPUTS: Mapping[str, Mapping[str, float]] = {
    "dydx-v4": {"instrument.open_interest": 1e6},
    "drift": {f"instrument.{name}": value for name, value in SOL_MARKET.items()},
    "mango-v4": {
        **{f"instrument.{name}": value for name, value in PERPETUAL.items()},
        "asset.init_asset_weight": 0.9, "asset.maint_asset_weight": 0.95,
        "asset.init_liab_weight": 1.1, "asset.maint_liab_weight": 1.05,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", ["dydx-v4", "drift", "mango-v4"])
def test_whole_books_agree_with_the_exact_way(name: str, snapshot: Snapshot) -> None:
    """Linear perpetuals with orders and dollars: within a few of the last decimals that count."""
    rulebook = in_force(shipped_levels(name), date(2026, 6, 1))
    shocks = shocking(rulebook)
    plan = LevelsPlan(
        rulebook, publish(snapshot, sets=shocks.sets, rules=shocks.rules, tables=shocks.tables)
    )
    universe = snapshot.universe
    listed = np.flatnonzero(~universe.inverse & (universe.kind == Kind.PERPETUAL))
    rng = np.random.Generator(np.random.PCG64(7))
    accounts, count = 20, 30
    account = np.repeat(np.arange(accounts), len(listed)).astype(np.int32)
    instrument = np.tile(listed, accounts).astype(np.int32)
    positions = book(
        accounts=[f"a{n:02d}" for n in range(accounts)],
        account=account,
        instrument=instrument,
        lots=rng.integers(-500, 500, len(account)).astype(np.float64),
        universe=universe,
        entry_price=snapshot.mark[instrument] * rng.uniform(0.9, 1.1, len(account)),
    )
    placed = rng.choice(listed, count).astype(np.int64)
    orders = Orders(
        account=np.sort(rng.integers(0, accounts, count)),
        instrument=placed,
        size=rng.integers(1, 5, count).astype(np.float64),
        price=snapshot.mark[placed] * rng.uniform(0.9, 1.1, count),
        buy=rng.integers(0, 2, count).astype(np.float64),
    )
    balances = Balances(
        account=np.arange(accounts), asset=["USDC"] * accounts,
        amount=rng.uniform(0, 1e6, accounts), price=np.ones(accounts),
    )  # fmt: skip
    answer = evaluate(plan, positions, balances=balances, orders=orders, inputs=INPUTS[name])
    parts = {"equity": answer.equity, "initial": answer.initial,
             "maintenance": answer.maintenance, **answer.components}  # fmt: skip
    assert (answer.maintenance > 0).any()
    for one in range(accounts):
        exact = account_sheet(
            plan, positions, one, balances=balances, orders=orders, inputs=INPUTS[name]
        )
        for column, found in parts.items():
            expected = float(number(exact.value("account", column)))
            assert found[one] == pytest.approx(expected, rel=1e-9, abs=1e-4), (one, column)


VECTORS = ("dydx/perp_margin_cases", "drift/imf_cases", "mango/health1_cases",
           "exchange_liquidation/cases")  # fmt: skip


@pytest.mark.parametrize("path", VECTORS)
def test_vectors(path: str) -> None:
    """Every case that Solvent knows passes."""
    result = conform([need_shared("vectors", f"{path}.json")])
    assert result.failed == 0 < result.passed
