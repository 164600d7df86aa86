"""Tiered leverage of centralised exchanges: hand-worked accounts, properties, whole books."""

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
from solvent.margining.levels.account import account_sheet
from solvent.margining.levels.book import Balances, LevelsPlan, Orders, evaluate
from solvent.margining.levels.market import shocking
from solvent.margining.levels.rows import Sheet, Unset
from solvent.margining.levels.rulebook import in_force
from solvent.market import Snapshot
from solvent.risk import book, publish
from tests.conftest import need_shared

NAMES = [
    "binance-usdm", "binance-coinm", "binance-pm", "bybit-uta", "okx-futures", "bitmex",
    "hyperliquid", "kraken-multi-collateral",
]  # fmt: skip
POOL = {"account": "", "pool": ""}


def contract(name: str, **told: Any) -> dict[str, Any]:
    """A position or an order: linear where the name says a quote, else inverse."""
    base, _, quote = name.split("-")[0].partition("_")
    return {
        "instrument": name, "underlying": base, "settlement": quote or base, "contract_size": 1,
        "settlement_price": 1, "inverse": int(not quote), "is_option": 0, "lot_size": 0.001,
        "tick_size": 0.5, **told,
    }  # fmt: skip


def dollars(amount: Any, asset: str = "USDT") -> dict[str, Any]:
    return {"asset": asset, "amount": amount, "price": 1}


def amounts(told: Sheet, level: str, *columns: str, row: int = 0) -> list[Fraction]:
    return [number(told.value(level, column, row)) for column in columns]


ANSWER = ("equity", "initial", "maintenance")


# ── Binance USD-M ────────────────────────────────────────────────────────────────────────────


def usdm(
    size: Any, entry: Any, mark: Any, wallet: Any, *more: Mapping[str, Any], **rows: Any
) -> Sheet:
    held = contract("BTC_USDT-PERPETUAL", size=size, entry_price=entry, mark=mark)
    return sheet("binance-usdm", position=[held, *more], asset=[dollars(wallet)], **rows)


def test_usdm_by_hand() -> None:
    """2 BTC from 49,000 at 50,000: 100,000 at 0.4 % and a twentieth; 10,000 + 2,000 of equity."""
    told = usdm(2, 49_000, 50_000, 10_000)
    assert amounts(told, "pool", *ANSWER) == [12_000, 5_000, 400]
    # 10,000 + 2 (P − 49,000) = 2 P × 0.004 at P = 88,000 / 1.992.
    assert amounts(told, "contract", "liquidation_price") == [Fraction(88_000_000, 1_992)]
    assert amounts(told, "contract", "bankruptcy_price") == [44_000]


def test_usdm_orders_count_by_their_larger_side_and_what_they_lose_at_once() -> None:
    """Bids for 1 at 49,500 on a long of 2: 149,500 / 20. An ask of 1 at 48,000 costs nothing but
    the 2,000 that it loses at once."""
    market = {"mark": 50_000}
    bid = contract("BTC_USDT-PERPETUAL", order="1", size=1, price=49_500, buy=1, **market)
    assert amounts(usdm(2, 49_000, 50_000, 0, order=[bid]), "pool", "initial") == [7_475]
    ask = contract("BTC_USDT-PERPETUAL", order="1", size=1, price=48_000, buy=0, **market)
    assert amounts(usdm(2, 49_000, 50_000, 0, order=[ask]), "pool", "initial") == [7_000]


def test_usdm_liquidation_price_in_the_bracket_below() -> None:
    """6 BTC at 60,000 are in the second bracket, at their liquidation price in the first."""
    told = usdm(6, 60_000, 60_000, 70_000)
    guess, price = amounts(told, "contract", "liquidation_guess", "liquidation_price")
    assert guess == Fraction(289_700, 1) / Fraction("5.97")
    assert price == Fraction(290_000, 1) / Fraction("5.976")


def test_usdm_hedge_mode_has_a_bracket_a_side() -> None:
    """Long 6 and short 6 at 60,000: each 360,000 × 0.5 % − 300 = 1,500."""
    short = contract("BTC_USDT-PERPETUAL", size=-6, entry_price=60_000, mark=60_000, side="short")
    told = usdm(6, 60_000, 60_000, 0, short)
    assert amounts(told, "pool", "maintenance") == [3_000]


def test_usdm_collateral_rate_does_not_spare_a_debt() -> None:
    """Bitcoin counts for nothing without a rate; ether owed counts whole with one."""
    bare = sheet("binance-usdm", asset=[{"asset": "BTC", "amount": 1, "price": 40_000}])
    assert amounts(bare, "pool", "equity") == [0]
    told = sheet(
        "binance-usdm",
        asset=[
            {"asset": "BTC", "amount": 1, "price": 40_000, "collateral_rate": 0.95},
            {"asset": "ETH", "amount": -1, "price": 2_500, "collateral_rate": 0.9},
        ],
    )
    assert amounts(told, "pool", "equity") == [35_500]


@given(
    size=st.integers(1, 5_000), entry=st.integers(1_000, 90_000), wallet=st.integers(1, 10**8),
    short=st.booleans(),
)  # fmt: skip
@settings(max_examples=60)
def test_usdm_equity_meets_maintenance_at_the_liquidation_price(
    size: int, entry: int, wallet: int, short: bool
) -> None:
    """Within one bracket, as the venue's formula has it."""
    size = -size if short else size
    bracket = {"": {"above": [0], "rate": [0.02], "leverage": [50], "amount": [0]}}

    def at(mark: Any) -> Sheet:
        held = contract("BTC_USDT-X", size=size, entry_price=entry, mark=mark)
        tables = {"tier": {"BTC_USDT-X": bracket[""]}}
        return sheet("binance-usdm", position=[held], asset=[dollars(wallet)], tables=tables)

    price = number(at(entry).value("contract", "liquidation_price"))
    if price > 0:
        equity, _, maintenance = amounts(at(price), "pool", *ANSWER)
        assert equity == maintenance


# ── Binance COIN-M and portfolio margin ──────────────────────────────────────────────────────


def test_coinm_by_hand() -> None:
    """10,000 dollars from 10,000 at 8,000: 1.25 coins, 0.25 lost; P = 10,000 × 1.004 / 2."""
    held = contract("BTC-PERPETUAL", size=10_000, entry_price=10_000, mark=8_000)
    coin = {"asset": "BTC", "amount": 1, "price": 8_000}
    told = sheet("binance-coinm", position=[held], asset=[coin])
    expected = [Fraction(3, 4), Fraction("0.0625"), Fraction("0.005")]
    assert amounts(told, "coin", *ANSWER) == expected
    assert amounts(told, "pool", *ANSWER) == [8_000 * one for one in expected]
    assert amounts(told, "contract", "liquidation_price", "bankruptcy_price") == [5_020, 5_000]


def test_coinm_coins_do_not_help_each_other() -> None:
    held = contract("BTC-PERPETUAL", size=10_000, entry_price=10_000, mark=8_000)
    ether = {"asset": "ETH", "amount": 1_000, "price": 2_000}
    told = sheet("binance-coinm", position=[held], asset=[ether])
    assert amounts(told, "pool", "equity")[0] > 0
    assert told.evaluate(told.form.liquidate, "pool") == 1


def test_coinm_maintenance_amounts_join_the_brackets() -> None:
    """Each amount is what marginal brackets would have charged less."""
    table = shipped_levels("binance-coinm").tables["tier"]
    for row in table.rows:
        bounds, given_amounts = row.values["above"], row.values["amount"]
        assert isinstance(bounds, list)
        assert isinstance(given_amounts, list)
        for bound, amount in zip(bounds, given_amounts, strict=True):
            told = sheet(
                "binance-coinm",
                position=[contract(row.keys[0], notional=Fraction(repr(bound)) + 1)],
            )
            assert amounts(told, "position", "amount_by_parts") == [Fraction(repr(amount))]


def test_portfolio_margin_by_hand() -> None:
    """1 BTC counts 95 %, a loss of 2,000 in USDT in full, an order loses 100 at once.

    Maintenance: 100,000 dollars of BTC at 0.4 %, and a loan of 5,000 USDT at 3x: 400 + 500.
    """
    held = contract("BTC_USDT-PERPETUAL", size=2, entry_price=51_000, mark=50_000)
    order = contract("BTC_USDT-PERPETUAL", order="1", size=1, price=50_100, buy=1, mark=50_000)
    told = sheet(
        "binance-pm",
        position=[held],
        order=[order],
        asset=[{"asset": "BTC", "amount": 1, "price": 40_000}],
        currency=[
            {"account": "", "settlement": "BTC", "collateral_rate": 0.95},
            {"account": "", "settlement": "USDT", "loan": 5_000},
        ],
    )
    assert amounts(told, "account", *ANSWER) == [35_900, 1_080, 900]
    assert amounts(told, "account", "stage") == [0]


@pytest.mark.parametrize(("equity", "stage"), [(150, 0), (149, 1), (119, 2), (104, 3), (99, 4)])
def test_portfolio_margin_stages(equity: int, stage: int) -> None:
    told = sheet("binance-pm", account=[{"account": "", "equity": equity, "maintenance": 100}])
    assert amounts(told, "account", "stage") == [stage]
    assert told.evaluate(told.form.liquidate, "account") == (equity < 105)


# ── Bybit ────────────────────────────────────────────────────────────────────────────────────


def bybit(size: Any, *, order: Any = (), **currency: Any) -> Sheet:
    held = contract("BTC_USDT-PERPETUAL", size=size, entry_price=50_000, mark=50_000)
    return sheet(
        "bybit-uta", position=[held], order=order, asset=[dollars(1_000_000)],
        contract=[{**contract("BTC_USDT-PERPETUAL"), **POOL, "leverage": 50}],
        currency=[{**POOL, "settlement": "USDT", **currency}] if currency else [],
    )  # fmt: skip


def test_bybit_by_hand() -> None:
    """3,000,000: 0.5 % of two, 1 % of one; at most 57-fold, so the chosen 50."""
    assert amounts(bybit(60), "pool", *ANSWER) == [1_000_000, 60_000, 20_000]
    assert amounts(bybit(60, collateral_ratio=0.5), "pool", "equity") == [500_000]


def test_bybit_orders_that_close_are_free() -> None:
    """An ask of 3 on a long of 2: a third of its cost counts."""
    ask = contract("BTC_USDT-PERPETUAL", order="1", size=3, price=50_000, buy=0)
    told = bybit(2, order=[ask])
    # 3,000 of margin, 82.5 to open and at 51,000 84.15 to close.
    assert amounts(told, "order", "cost") == [Fraction("3166.65")]
    assert amounts(told, "pool", "initial") == [2_000 + Fraction("1055.55")]


def test_bybit_beyond_the_known_risk_limits_is_unknown() -> None:
    with pytest.raises(Unset):
        bybit(81).value("pool", "maintenance")
    with pytest.raises(Unset):
        bybit(81).value("pool", "initial")


def test_bybit_isolated_stands_alone() -> None:
    """1 BTC at 50-fold: 1,000 of margin, 500 added, 200 gained."""
    held = contract(
        "BTC_USDT-PERPETUAL", size=1, entry_price=50_000, mark=50_200, pool="BTC_USDT-PERPETUAL"
    )
    pool = {"account": "", "pool": "BTC_USDT-PERPETUAL"}
    told = sheet(
        "bybit-uta",
        position=[held],
        pool=[{**pool, "isolated": 1, "extra_margin": 500}],
        contract=[{**contract("BTC_USDT-PERPETUAL"), **pool, "leverage": 50}],
    )
    assert amounts(told, "pool", *ANSWER) == [1_700, 1_004, 251]
    assert amounts(told, "position", "liquidation_price") == [50_000 - (1_000 - 250 + 500)]


@given(
    dollars_held=st.integers(1, 10**6), entry=st.integers(1_000, 90_000),
    leverage=st.integers(2, 50), short=st.booleans(),
)  # fmt: skip
@settings(max_examples=40)
def test_bybit_inverse_margin_is_gone_at_the_bankruptcy_price(
    dollars_held: int, entry: int, leverage: int, short: bool
) -> None:
    size = -dollars_held if short else dollars_held
    held = contract("BTC-PERPETUAL", size=size, entry_price=entry, mark=entry)
    told = sheet(
        "bybit-uta",
        position=[held],
        contract=[{**contract("BTC-PERPETUAL"), **POOL, "chosen": leverage}],
    )
    price, tick, margin = amounts(
        told, "position", "bankruptcy_price", "bankruptcy_tick", "isolated_initial"
    )
    assert margin + size * (Fraction(1, entry) - 1 / price) == 0
    assert 0 <= (tick - price) * (-1 if short else 1) < Fraction(1, 2)


# ── OKX ──────────────────────────────────────────────────────────────────────────────────────


def test_okx_by_hand() -> None:
    """2 BTC short from 50,000 at 51,000 against half-counted coin; the loss of 2,000 is borrowed.

    Initial 10,200 + 200, maintenance 408 + 40, and 51 of fees + 0.1 % of 2,040 to liquidate.
    """
    held = contract("BTC_USDT-PERPETUAL", size=-2, entry_price=50_000, mark=51_000)
    told = sheet(
        "okx-futures",
        position=[held],
        asset=[{"asset": "SOL", "amount": 100, "price": 200}],
        contract=[{**contract("BTC_USDT-PERPETUAL"), **POOL, "maintenance_rate": 0.004}],
        currency=[{**POOL, "settlement": "SOL", "discount": 0.5}],
    )
    assert amounts(told, "pool", *ANSWER) == [8_000, 10_400, 448]
    assert amounts(told, "pool", "liquidation_cost") == [Fraction("53.04")]
    futures_mode = sheet(
        "okx-futures",
        position=[held],
        asset=[{"asset": "SOL", "amount": 100, "price": 200}],
        contract=[{**contract("BTC_USDT-PERPETUAL"), **POOL, "maintenance_rate": 0.004}],
        account=[{"account": "", "multi_currency": 0}],
    )
    assert amounts(futures_mode, "pool", *ANSWER) == [18_000, 10_200, 408]
    assert not told.evaluate(told.form.liquidate, "pool")
    assert futures_mode.evaluate(futures_mode.form.liquidate, "pool") == 1


@given(
    size=st.integers(1, 10**5), entry=st.integers(1_000, 90_000), leverage=st.integers(2, 50),
    short=st.booleans(), name=st.sampled_from(["BTC-PERPETUAL", "BTC_USDT-PERPETUAL"]),
)  # fmt: skip
@settings(max_examples=60)
def test_okx_isolated_margin_meets_the_trigger(
    size: int, entry: int, leverage: int, short: bool, name: str
) -> None:
    """At the liquidation price margin and loss are the trigger's share of the value there."""
    row = contract(name, size=-size if short else size, entry_price=entry, mark=entry)
    rates = {"maintenance_rate": Fraction(1, 200), "leverage": leverage}
    told = sheet("okx-futures", position=[row], contract=[{**contract(name), **POOL, **rates}])
    price, margin = amounts(told, "position", "liquidation_price", "margin")
    there = sheet(
        "okx-futures",
        position=[row | {"mark": price}],
        contract=[{**contract(name), **POOL, **rates}],
    )
    unrealised, value, share = amounts(there, "position", "unrealised", "value", "trigger_rate")
    assert margin + unrealised == share * value


# ── BitMEX, Hyperliquid, Kraken ──────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("coins", "initial", "maintenance"), [(180, "1.8", "0.9"), (230, "3.45", "2.3")]
)
def test_bitmex_steps(coins: int, initial: str, maintenance: str) -> None:
    """The venue's example: 180 coins at 1 % and 0.5 %, 230 one step up at 1.5 % and 1 %."""
    held = contract("BTC-PERPETUAL", size=coins * 10_000, entry_price=10_000, mark=10_000)
    told = sheet("bitmex", position=[held])
    assert amounts(told, "currency", "initial", "maintenance") == [
        Fraction(initial), Fraction(maintenance)
    ]  # fmt: skip


def test_bitmex_orders_that_close_are_free() -> None:
    """Long 10: offers of 15 open 5, bids of 20 count beyond those 5."""
    orders = [
        contract("BTC-PERPETUAL", order="1", size=20, price=100, buy=1),
        contract("BTC-PERPETUAL", order="2", size=15, price=150, buy=0),
    ]
    held = contract("BTC-PERPETUAL", size=10, entry_price=100, mark=100)
    told = sheet("bitmex", position=[held], order=orders)
    assert amounts(told, "contract", "margined_bids", "margined_offers") == [15, 5]
    assert amounts(told, "contract", "order_value") == [
        Fraction(20, 100) * 15 / 20 + Fraction(15, 150) * 5 / 15
    ]


def test_bitmex_rank_by_hand() -> None:
    """100 dollars from 100, ten-fold. Long at 125, bankrupt at 100 / 1.1: −1, −0.8, −1.1 coins.

    Profit 0.2, leverage 0.8 / 0.3: rank 8/15. Short at 105, bankrupt at 100 / 0.9: 1, 20/21, 0.9.
    Loss 1/21, leverage 20/21 / (20/21 − 0.9) = 200/11: rank −11/4200.
    """
    for size, mark, expected in (
        (100, 125, [Fraction(1, 5), Fraction(8, 3), Fraction(8, 15)]),
        (-100, 105, [Fraction(-1, 21), Fraction(200, 11), Fraction(-11, 4_200)]),
    ):
        held = contract("BTC-PERPETUAL", size=size, entry_price=100, mark=mark)
        rate = {**contract("BTC-PERPETUAL"), **POOL, "initial_rate": 0.1}
        told = sheet("bitmex", position=[held], contract=[rate])
        columns = ("profit_ratio", "effective_leverage", "adl_rank")
        assert amounts(told, "position", *columns) == expected


def test_hyperliquid_by_hand() -> None:
    """2,000 BTC at 100,000: 200,000,000 × 2.5 % − 1,875,000; at 20-fold 10,000,000."""
    held = contract("BTC_USDC-PERPETUAL", size=-2_000, entry_price=100_000, mark=100_000)
    told = sheet("hyperliquid", position=[held], asset=[dollars(20_000_000, "USDC")])
    assert amounts(told, "pool", *ANSWER) == [20_000_000, 10_000_000, 3_125_000]
    # 16,875,000 free over 2,000 and over 1.025.
    price = 100_000 + Fraction(16_875_000, 2_000) / Fraction("1.025")
    assert amounts(told, "position", "liquidation_price") == [price]
    assert amounts(told, "pool", "withdrawable", "backstop") == [0, 0]


def test_kraken_nets_perpetual_and_dated() -> None:
    """Long 1,500,000: 20,000 + 20,000; short 1,000,000 of the dated one: 20,000. The larger."""
    shared = {"entry_price": 50_000, "mark": 50_000}
    perpetual = contract("BTC_USD-PERPETUAL", size=30, **shared)
    dated = contract("BTC_USD-25SEP26", size=-20, **shared)
    usd = [dollars(100_000, "USD"), {"asset": "AAVE", "amount": 10, "price": 100}]
    told = sheet("kraken-multi-collateral", position=[perpetual, dated], asset=usd)
    assert amounts(told, "pool", *ANSWER) == [100_800, 40_000, 20_000]
    apart = sheet(
        "kraken-multi-collateral", position=[perpetual, dated | {"pool": "own"}], asset=usd
    )
    assert sum(amounts(apart, "pool", "initial", row=row)[0] for row in (0, 1)) == 60_000


# ── all of them ──────────────────────────────────────────────────────────────────────────────

CONTRACTS = {
    "binance-usdm": ["BTC_USDC-PERPETUAL", "ETH_USDC-PERPETUAL"],
    "binance-coinm": ["BTC-PERPETUAL", "ETH-PERPETUAL"],
    "binance-pm": ["BTC-PERPETUAL", "BTC_USDC-PERPETUAL", "ETH_USDC-PERPETUAL"],
    "bybit-uta": ["BTC-PERPETUAL"],
    "okx-futures": ["BTC-PERPETUAL", "BTC_USDC-PERPETUAL", "ETH_USDC-PERPETUAL"],
    "bitmex": ["BTC-PERPETUAL"],
    "hyperliquid": ["BTC_USDC-PERPETUAL", "ETH_USDC-PERPETUAL"],
    "kraken-multi-collateral": ["BTC-PERPETUAL", "BTC_USDC-PERPETUAL", "ETH_USDC-PERPETUAL"],
}
INPUTS: Mapping[str, Mapping[str, Any]] = {
    "binance-pm": {"currency.collateral_rate": {"BTC": 0.95, "ETH": 0.9, "USDC": 1}},
    "bybit-uta": {
        "currency.collateral_ratio": {"BTC": 0.95, "ETH": 0.9, "USDC": 1},
        "contract.maintenance_beyond": 1e6, "contract.initial_rate_beyond": 0.02,
    },
    "okx-futures": {"contract.maintenance_rate": 0.01, "currency.discount": 0.9},
    "kraken-multi-collateral": {"asset.haircut": 0.1},
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_whole_books_agree_with_the_exact_way(name: str, snapshot: Snapshot) -> None:
    """Accounts with positions, orders and two currencies, one position of some isolated."""
    rulebook = in_force(shipped_levels(name), date(2026, 10, 1))
    shocks = shocking(rulebook)
    plan = LevelsPlan(
        rulebook, publish(snapshot, sets=shocks.sets, rules=shocks.rules, tables=shocks.tables)
    )
    universe = snapshot.universe
    listed = np.array([universe.symbols.index(symbol) for symbol in CONTRACTS[name]])
    rng = np.random.Generator(np.random.PCG64(7))
    accounts, count = 12, 20
    account = np.repeat(np.arange(accounts), len(listed)).astype(np.int32)
    instrument = np.tile(listed, accounts).astype(np.int32)
    lots = rng.integers(1, 500, len(account)) * rng.choice([-1.0, 1.0], len(account))
    positions = book(
        accounts=[f"a{n:02d}" for n in range(accounts)], account=account, instrument=instrument,
        lots=lots, universe=universe,
        entry_price=snapshot.mark[instrument] * rng.uniform(0.9, 1.1, len(account)),
    )  # fmt: skip
    placed = rng.choice(listed, count).astype(np.int64)
    orders = Orders(
        account=np.sort(rng.integers(0, accounts, count)), instrument=placed,
        size=rng.integers(1, 5, count) * universe.lot_size[placed],
        price=snapshot.mark[placed] * rng.uniform(0.9, 1.1, count),
        buy=rng.integers(0, 2, count).astype(np.float64),
    )  # fmt: skip
    balances = Balances(
        account=np.repeat(np.arange(accounts), 2), asset=["USDC", "BTC"] * accounts,
        amount=rng.uniform(1e5, 1e6, 2 * accounts),
        price=np.tile([1.0, plan.arrays.price_of("BTC")], accounts),
    )  # fmt: skip
    pools = np.where(rng.random(positions.positions) < 0.2, 1 + positions.instrument, 0)
    told: dict[str, Any] = {
        "balances": balances, "orders": orders, "inputs": INPUTS.get(name, {}),
        "pools": pools.astype(np.int64),
    }  # fmt: skip
    answer = evaluate(plan, positions, **told)
    assert (answer.maintenance > 0).all()
    level = rulebook.text.answer.level
    for one in range(accounts):
        exact = account_sheet(plan, positions, one, **told)
        for column in ANSWER:
            inside = getattr(rulebook.text.answer, column)
            expected = sum(
                number(exact.value(level, inside, row)) for row in range(len(exact.rows(level)))
            )
            found = getattr(answer, column)[one]
            assert found == pytest.approx(float(expected), rel=1e-9, abs=1e-4), (one, column)


@pytest.mark.parametrize("name", NAMES)
@given(size=st.integers(-(10**5), 10**5), cash=st.integers(0, 10**9), more=st.integers(0, 10**9))
@settings(max_examples=15)
def test_requirements(name: str, size: int, cash: int, more: int) -> None:
    """Never negative; maintenance within initial at default leverage; collateral helps."""
    symbol = CONTRACTS[name][-1]
    held = contract(symbol, size=size, entry_price=50_000, mark=50_000)
    currency = str(held["settlement"])
    key = {"account": ""} if name == "binance-pm" else POOL
    level = shipped_levels(name).answer.level

    def at(amount: int) -> list[Fraction]:
        told = sheet(
            name,
            position=[held],
            asset=[{"asset": currency, "amount": amount, "price": 1, "haircut": 0.1}],
            contract=[{**contract(symbol), **key, "maintenance_rate": 0.01,
                       "maintenance_beyond": 10, "initial_rate_beyond": 0.02}],
            currency=[{**key, "settlement": currency, "collateral_rate": 0.9, "discount": 0.9,
                       "collateral_ratio": 0.9}],
        )  # fmt: skip
        return amounts(told, level, *ANSWER)

    equity, initial, maintenance = at(cash)
    assert initial >= 0
    assert maintenance >= 0
    richer = at(cash + more)
    assert richer[1:] == [initial, maintenance]
    assert richer[0] >= equity


@pytest.mark.parametrize(("folder", "least"), [("exchange_liquidation", 60), ("cex", 36)])
def test_conform(folder: str, least: int) -> None:
    result = conform([need_shared("vectors", folder)])
    assert result.failed == 0
    assert result.passed >= least
