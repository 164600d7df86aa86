"""Exchanges' portfolio margin and short options: worked by hand, on whole books, and the cases."""

from __future__ import annotations

from datetime import date
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from solvent.conform.levels import number, sheet
from solvent.conform.portfolio import (
    changed,
    held,
    kept_orders,
    linear,
    paradex_liquidation,
    priced,
)
from solvent.conform.run import conform
from solvent.feeds.library import shipped_levels, shipped_rulebook
from solvent.feeds.synthetic_market import generate_market
from solvent.margining.exact import exact_sets
from solvent.margining.levels.account import account_sheet
from solvent.margining.levels.book import Balances, LevelsPlan, evaluate
from solvent.margining.levels.market import scenario_rows, shocking
from solvent.margining.levels.rows import Sheet, Unset
from solvent.margining.levels.rulebook import LevelsRulebook, in_force
from solvent.margining.plan import compile_plan
from solvent.margining.rulebook import in_force as in_force_scans
from solvent.margining.schema import ScenarioText
from solvent.market import Snapshot
from solvent.risk import RiskArrays, book, publish
from tests.conftest import need_shared

ON = date(2026, 6, 1)
MINE = ["paradex-pm", "paradex-xm", "okx-pm", "bybit-pm", "delta-pm", "kraken-options-pm",
        "deribit-xpm", "binance-options", "bybit-options", "okx-options"]  # fmt: skip
PERPETUAL = linear("BTC", quote="USDC")
CALL = linear("BTC", quote="USDC", option=(110.0, True, 30.0))


def hundred(rulebook: LevelsRulebook) -> RiskArrays:
    """A perpetual and a call, with index and forward of 100."""
    return priced(
        rulebook, [PERPETUAL, CALL], index=100.0, forward=[100.0, 100.0], mark=[100.0, 4.0],
        vol=[np.nan, 0.6],
    )  # fmt: skip


def hold(rulebook: LevelsRulebook, perpetual: float, call: float = 0.0, **sources: Any) -> Sheet:
    sizes = {PERPETUAL.symbol: perpetual, CALL.symbol: call}
    return held(
        rulebook, hundred(rulebook), {name: size for name, size in sizes.items() if size}, **sources
    )


def value(one: Sheet, column: str, level: str = "account") -> float:
    return float(number(one.value(level, column)))


# ── scenario rulebooks ───────────────────────────────────────────────────────────────────────


def test_paradex_counts_an_order_at_its_worst() -> None:
    """Down 16 %: the long loses 16, the bid at 110 loses 110 − 84. Up, nothing fills at a loss."""
    bid = {"instrument": PERPETUAL.symbol, "order": "1", "size": 1, "price": 110, "buy": 1}
    one = hold(changed("paradex-pm"), 1.0, order=[bid])
    assert value(one, "scan") == pytest.approx(16 + 26)
    assert value(one, "delta_min") == pytest.approx(2 * 100 * 0.02)
    assert value(one, "initial") == pytest.approx(42)
    assert value(one, "maintenance") == pytest.approx(0.5 * 16)


def test_paradex_scans_far_moves_in_part() -> None:
    """A short call's worst is far up; a perpetual's far losses count less than its near ones."""
    one = hold(changed("paradex-pm"), 0.0, -1.0)
    assert value(one, "scan_binding", "coin") > 16
    assert value(hold(changed("paradex-pm"), -1.0), "scan") == pytest.approx(16)


def test_paradex_cuts_positions_in_fifths() -> None:
    """With the fee of the text, 70 %, the documents' account is cut by three fifths."""
    given_ = {"av": 80, "mmr": 88.8, "fee": 0.7, "step": 0.2, "target": 0.9}
    found = paradex_liquidation(given_)
    assert float(found["share"]) == pytest.approx(0.6)
    assert float(found["new_av"]) == pytest.approx(80 - 0.6 * 88.8 * 0.7)
    assert not any(paradex_liquidation({**given_, "av": 90})[name] for name in ("share", "penalty"))


def test_paradex_keeps_the_best_priced_orders_that_close() -> None:
    """Short 4: of bids of 2, 1 and 3 at 99, 100 and 98, the best two stay; an offer goes."""
    orders = [["sell", 1, 90], ["buy", 2, 99], ["buy", 1, 100], ["buy", 3, 98]]
    assert kept_orders({"pos": -4, "orders": orders})["left"] == orders[1:3]
    assert kept_orders({"pos": 0, "orders": orders})["left"] == []


def test_okx_charges_perpetuals_from_the_index() -> None:
    """12 % of the index; 0.5 × 24 % is the same; the basis at 0.2 % on top; 1.3 of it to open."""
    one = hold(changed("okx-pm"), -2.0)
    assert value(one, "mr1", "unit") == pytest.approx(24)
    assert value(one, "mr6", "unit") == pytest.approx(24)
    assert value(one, "maintenance") == pytest.approx(24 + 2 * 100 * 0.002)
    assert value(one, "initial") == pytest.approx(1.3 * 24.4)


def test_okx_needs_volatility_shocks_for_options() -> None:
    """They are not published: an option is not known until they are told; a future is."""
    with pytest.raises(Unset):
        value(hold(changed("okx-pm"), 1.0, -1.0), "maintenance")
    told = changed(
        "okx-pm",
        tables={"shock": {"BTC": {"vol_up": 0.5, "vol_down": 0.3}},
                "minimum": {"BTC": {"option": 0.001}}},
    )  # fmt: skip
    assert value(hold(told, 0.0, -1.0), "mr1", "unit") > 4.0
    assert value(hold(told, 1.0), "maintenance") == value(
        hold(changed("okx-pm"), 1.0), "maintenance"
    )


def test_okx_charges_hedges_between_stablecoins_in_order() -> None:
    """6 M long in USDT against 4 M short in USDC and 2 M in dollars: dollars are matched first."""
    unit = {"account": "", "underlying": "BTC", "delta": 0, "usdt": 6_000_000, "usdc": -4_000_000,
            "usd": -2_000_000}  # fmt: skip
    one = sheet("okx-pm", unit=[unit])
    pairs = [value(one, name, "unit") for name in ("usdt_usd", "usdt_usdc", "usdc_usd")]
    assert pairs == [2_000_000, 4_000_000, 0]
    first = 1_000_000 * 0.0075 + 1_000_000 * 0.0175
    second = 1_000_000 * 0.0075 + 3_000_000 * 0.0175
    assert value(one, "mr9", "unit") == pytest.approx(first + second)


def test_okx_debts_are_margined_and_cost_a_liquidation() -> None:
    assets = [{"asset": "USDT", "amount": -1_000, "price": 1, "underlying": "USDT"},
              {"asset": "BTC", "amount": 30, "price": 100, "underlying": "BTC"}]  # fmt: skip
    one = sheet("okx-pm", asset=assets)
    assert value(one, "equity") == pytest.approx(100 * (20 * 0.98 + 10 * 0.9775) - 1_000)
    assert value(one, "initial") == pytest.approx(100)
    assert value(one, "maintenance") == pytest.approx(20)
    assert value(one, "liquidation_cost") == pytest.approx(1.02)


def test_bybit_adds_contingencies_to_the_loss() -> None:
    """10 % of three coins at 100, 0.03 % of their index value; a spot hedge takes the loss away."""
    one = hold(changed("bybit-pm"), -3.0)
    assert value(one, "max_loss") == pytest.approx(30)
    assert value(one, "maintenance") == pytest.approx(30 + 0.09)
    assert value(one, "initial") == pytest.approx(1.2 * 30.09)
    coin = {"account": "", "underlying": "BTC", "spot_hedge": 3}
    assert value(hold(changed("bybit-pm"), -3.0, coin=[coin]), "max_loss") == pytest.approx(0)


def test_bybit_needs_a_coefficient_for_net_short_options() -> None:
    with pytest.raises(Unset):
        value(hold(changed("bybit-pm"), 0.0, -1.0), "maintenance")
    told = changed("bybit-pm", tables={"contingency": {"BTC": {"option": 0.01}}})
    assert value(hold(told, 0.0, -1.0), "contingency") == pytest.approx(1.0)
    assert value(hold(changed("bybit-pm"), 0.0, 1.0), "contingency") == 0


def test_delta_exchange_credits_what_closing_would_bring() -> None:
    """A long call of 4 dollars: the floor is 2 % of the index, and the premium exceeds it."""
    told = changed(
        "delta-pm",
        tables={"shock": {"BTC": {"price": 0.1, "vol_up": 0.3, "vol_down": 0.2}},
                "floor": {"BTC": {"future": 0.01, "long_option": 0.02, "short_option": 0.03}}},
    )  # fmt: skip
    one = hold(told, 0.0, 1.0)
    risk = value(one, "risk")
    assert 2.0 < risk < 4.0
    assert value(one, "initial") == pytest.approx(risk - 4.0)
    assert value(one, "maintenance") == pytest.approx(0.8 * risk - 4.0)
    with pytest.raises(Unset):
        value(hold(changed("delta-pm"), 0.0, 1.0), "initial")


def test_kraken_takes_the_book_as_hedged() -> None:
    """A perpetual has no risk beyond its delta, long or short; a long call gains when hedged."""
    factors = {"reach": 0.15, "extreme": 3, "vol": 0.0, "vol_exponent": 0.3, "maintenance": 0.01,
               "initial": 1.3}  # fmt: skip
    told = changed("kraken-options-pm", tables={"factor": {"BTC": factors}})
    one = hold(told, -2.0)
    assert value(one, "market_risk") == pytest.approx(0, abs=1e-9)
    assert value(one, "maintenance") == pytest.approx(0.01 * 200)
    assert value(one, "initial") == pytest.approx(1.3 * 2)
    assert value(hold(told, 0.0, 1.0), "market_risk") == pytest.approx(0, abs=1e-9)
    assert value(hold(told, 0.0, -1.0), "market_risk") > 10


# ── short options ────────────────────────────────────────────────────────────────────────────


def short(name: str, *, parameters: Any = None, **told: Any) -> Sheet:
    facts = {"instrument": "o", "underlying": "BTC", "is_option": 1, "inverse": 0, "value": 0,
             "settlement_price": 1, "size": -1, **told}  # fmt: skip
    return sheet(name, position=[facts], parameters=parameters)


def test_bybit_short_call_of_its_help_page() -> None:
    """1,260 to keep; to open 3,500 (15 % of 30,000 less the 1,000 that it is out) and 320."""
    one = short("bybit-options", index=30_000, mark=300, strike=31_000, is_call=1, entry_price=320)
    assert value(one, "maintenance") == pytest.approx(1_260)
    assert value(one, "initial") == pytest.approx(3_820)


def test_okx_short_call_in_coin_of_its_example() -> None:
    """max(0.1, 0.15 − 100 / 5,900) × 1.02 + 0.0575 coins, in the second tier."""
    facts = {"inverse": 1, "settlement_price": 5_900, "forward": 5_900, "index": 5_900,
             "mark": Fraction(575, 10_000), "strike": 6_000, "is_call": 1,
             "margin_factor": Fraction(102, 100)}  # fmt: skip
    one = short("okx-options", **facts)
    coins = (0.15 - 100 / 5_900) * 1.02 + 0.0575
    assert value(one, "initial") == pytest.approx(coins * 5_900)
    assert value(one, "maintenance") == pytest.approx((0.03 * 1.02 + 0.0575) * 5_900)


def test_okx_short_put_in_dollars() -> None:
    facts = {"forward": 2_000, "index": 2_010, "mark": 50, "strike": 1_900, "is_call": 0}
    one = short("okx-options", **facts)
    assert value(one, "initial") == pytest.approx(0.1 * 2_010 + 50)
    assert value(one, "maintenance") == pytest.approx(0.03 * 2_010 + 50)


def test_binance_short_put() -> None:
    """15 % of 2,000 is 300, less 200 out of the money, is not below 10 %: 200; and the mark."""
    one = short("binance-options", index=2_000, mark=30, strike=1_800, is_call=0)
    assert value(one, "initial") == pytest.approx(230)
    assert value(one, "maintenance") == pytest.approx(130)


def test_options_rulebooks_do_not_know_futures() -> None:
    for name in ("binance-options", "bybit-options", "okx-options"):
        with pytest.raises(Unset):
            value(short(name, is_option=0, index=100, mark=100, forward=100, entry_price=100,
                        strike=0, is_call=0), "maintenance")  # fmt: skip


# ── whole books ──────────────────────────────────────────────────────────────────────────────


def compiled(snapshot: Snapshot, name: str) -> LevelsPlan:
    found = in_force(shipped_levels(name), ON)
    need = shocking(found)
    arrays = publish(snapshot, sets=need.sets, rules=need.rules, tables=need.tables)
    return LevelsPlan(found, arrays)


@cache
def plan_of(name: str) -> LevelsPlan:
    return compiled(generate_market(seed=3, expiries=3, strikes=6), name)


@pytest.mark.parametrize("name", MINE)
def test_whole_books_agree_with_the_exact_way(snapshot: Snapshot, venue: Any, name: str) -> None:
    """Account by account, also in what is not known."""
    one = compiled(snapshot, name)
    every = np.arange(len(venue.book))
    cash = Balances(
        account=np.concatenate([every, every[::2]]),
        asset=["USDC"] * len(every) + ["BTC"] * len(every[::2]),
        amount=np.concatenate([np.full(len(every), 5e4), np.where(every[::2] % 3, 2.0, -0.5)]),
        price=np.concatenate([np.ones(len(every)), np.full(len(every[::2]), 6e4)]),
    )
    mine = evaluate(one, venue.book, balances=cash)
    for account in range(0, len(venue.book), 401):
        exact = account_sheet(one, venue.book, account, balances=cash)
        for column in ("equity", "initial", "maintenance"):
            found = float(getattr(mine, column)[account])
            try:
                wanted = value(exact, column)
            except Unset:
                assert np.isnan(found), (account, column)
                continue
            assert found == pytest.approx(wanted, rel=1e-6, abs=1e-4), (account, column)


def test_cross_collateral_needs_what_each_coin_needs(snapshot: Snapshot, venue: Any) -> None:
    """Deribit's coins under both rulebooks, to the ninth digit of a coin."""
    one = compiled(snapshot, "deribit-xpm")
    scans = in_force_scans(shipped_rulebook("deribit-pm"), ON)
    old = compile_plan(
        scans,
        publish(snapshot, sets=scans.sets, rules=scans.rules, tables=scans.tables),
    )
    mine = evaluate(one, venue.book)
    assert np.isfinite(mine.initial).all()
    for account in range(0, len(venue.book), 97):
        part = slice(int(venue.book.first[account]), int(venue.book.first[account + 1]))
        lots = dict(
            zip(map(int, venue.book.instrument[part]), map(float, venue.book.lots[part]),
                strict=True)
        )  # fmt: skip
        sets = exact_sets(old, lots)
        for column in ("initial", "maintenance"):
            wanted = sum(getattr(each, column) * each.price for each in sets)
            assert getattr(mine, column)[account] == pytest.approx(wanted, rel=1e-8, abs=1e-3)


def _dollar_options(one: LevelsPlan) -> np.ndarray[Any, Any]:
    universe = one.arrays.universe
    return np.flatnonzero(~universe.inverse & (universe.underlying == 0) & one.arrays.usable)


@settings(max_examples=15)
@given(seed=st.integers(0, 2**32 - 1), dollars=st.floats(0, 1e9))
@pytest.mark.parametrize("name", ["paradex-pm", "bybit-pm", "deribit-xpm"])
def test_claims_hold(name: str, seed: int, dollars: float) -> None:
    """No requirement is negative, twice the book needs twice as much under Paradex's, together a
    book needs no more than its halves, and collateral helps by what it is."""
    one = plan_of(name)
    claims = one.rulebook.text.properties
    rng = np.random.default_rng(seed)
    rows = rng.choice(_dollar_options(one), 6, replace=False).astype(np.int32)
    halves = rng.integers(1, 500, (2, 6)) * rng.choice([-1.0, 1.0], (2, 6))
    if name == "bybit-pm":
        halves = np.abs(halves)
    lots = np.concatenate([*halves, halves.sum(axis=0), 2.0 * halves[0]])
    held_ = book(
        accounts=["a", "b", "together", "twice"],
        account=np.repeat(np.arange(4, dtype=np.int32), 6),
        instrument=np.tile(rows, 4),
        lots=lots,
        universe=one.arrays.universe,
    )
    bare = evaluate(one, held_)
    for needed in (bare.initial, bare.maintenance):
        assert (needed >= 0).all()
        if "scales" in claims:
            assert needed[3] == pytest.approx(2 * needed[0], rel=1e-9, abs=1e-6)
        if "subadditive" in claims:
            assert needed[2] <= needed[0] + needed[1] + 1e-6
    cash = Balances(
        account=np.arange(4), asset=["USDC"] * 4, amount=np.full(4, dollars), price=np.ones(4)
    )
    rich = evaluate(one, held_, balances=cash)
    assert rich.equity - bare.equity == pytest.approx(np.full(4, dollars), rel=1e-9, abs=1e-6)
    assert rich.maintenance == pytest.approx(bare.maintenance)


# ── the language, and the cases ──────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({}, "one of `moves`, `points`"),
        ({"moves": [0.1], "points": [{"move": 0.1}]}, "one of `moves`, `points`"),
        ({"points": [{"move": 0.1}], "vols": ["up"]}, "a volatility, basis and weight of its own"),
        ({"points": [{"move": 0.1}], "weight": "2"}, "a volatility, basis and weight of its own"),
        ({"points": []}, "at least 1 item"),
    ],
)
def test_a_set_has_axes_or_points(told: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        ScenarioText.model_validate(told)


def test_points_have_weights_of_their_own() -> None:
    """`set.pnl` is weighted, `set.value` is what an instrument would be worth there."""
    arrays = hundred(changed("paradex-pm"))
    scan = scenario_rows(arrays)["scan"]
    symbol = PERPETUAL.symbol
    assert scan["weight"][symbol][16:18] == (0.18, 0.36)
    assert scan["move"]["BTC"][16] == -0.66
    assert scan["pnl"][symbol][16] == pytest.approx(-0.18 * 66)
    assert scan["value"][symbol][16] == pytest.approx(34)


def test_cases_of_exchanges() -> None:
    result = conform([need_shared("vectors", "cex")])
    assert result.failed == 0, result.files[0].misses
    assert result.unknown <= 1  # how a loss is socialised
