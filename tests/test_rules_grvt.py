"""GRVT's rulebook: portfolio and simple margin, worked by hand and on a whole book."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from solvent.conform.levels import number, sheet
from solvent.feeds.library import shipped_levels
from solvent.margining.levels.account import account_sheet
from solvent.margining.levels.book import Balances, LevelsPlan, evaluate
from solvent.margining.levels.market import shocking
from solvent.margining.levels.rows import Sheet, Unset
from solvent.margining.levels.rulebook import in_force
from solvent.market import Snapshot
from solvent.risk import book, publish

ON = date(2026, 6, 1)
INDEX = 50_000
BTC = {"account": "", "pool": "", "underlying": "BTC", "index": INDEX, "contract_size": 1,
       "settlement_price": 1, "inverse": 0}  # fmt: skip


def future(name: str, size: Any, *, expiry: int, loss: Any = 0, **told: Any) -> dict[str, Any]:
    """A future at the index; `loss` is a long's worst in the near scenarios."""
    return {**BTC, "instrument": name, "expiry": expiry, "size": size, "mark": INDEX, "loss": loss,
            "worth": INDEX, "entry_worth": INDEX, "is_option": 0, "is_call": 0, **told}  # fmt: skip


def option(name: str, size: Any, *, strike: int, call: bool, mark: int) -> dict[str, Any]:
    """An option."""
    return {**BTC, "instrument": name, "expiry": 1, "size": size, "mark": mark, "value": mark,
            "strike": strike, "is_option": 1, "is_call": call, "loss": 0}  # fmt: skip


def told(*positions: dict[str, Any], far: int = 0, **account: Any) -> Sheet:
    """An account; of the scenarios, near and far, the first is a long's gain."""
    near = {one["instrument"]: (one["loss"], -one["loss"]) for one in positions}
    return sheet(
        "grvt",
        position=positions,
        account=[{"account": "", **account}],
        scenarios={
            "near": {"pnl": near},
            "far": {"pnl": dict.fromkeys(near, (far, -far))},
        },
    )


def amounts(one: Sheet, *columns: str) -> list[float]:
    """Columns of the account."""
    return [float(number(one.value("account", column))) for column in columns]


MARGINS = ("simulation", "calendar", "maintenance", "initial")


def test_a_spread_is_charged_for_its_basis() -> None:
    """3 long perpetuals, 2 short futures: 1·10,000, and 2 spreads at 0.6 % of 50,000; ·1.3."""
    one = told(
        future("perpetual", 3, expiry=0, loss=10_000), future("june", -2, expiry=1, loss=10_000)
    )
    assert amounts(one, *MARGINS) == [10_000, 600, 10_600, 13_780]


def test_far_moves_count_where_they_are_worse() -> None:
    """12,000 a coin far away, 10,000 near."""
    one = told(future("perpetual", -1, expiry=0, loss=10_000), far=12_000)
    assert amounts(one, *MARGINS)[0] == 12_000


def test_short_options_have_a_floor_and_credits_do_not_reach_below() -> None:
    """4 short options need 1 % of 4·50,000; a credit of 300 takes 1000 down to 700."""
    sold = option("c", -4, strike=90_000, call=True, mark=5)
    assert amounts(told(sold), "maintenance", "initial") == [2_000, 2_600]
    held = future("perpetual", 1, expiry=0, loss=1_000)
    assert amounts(told(held, intermarket_credit=300), "maintenance") == [700]
    assert amounts(told(held, intermarket_credit=3_000), "maintenance") == [0]


def test_simple_margin_charges_each_position() -> None:
    """By hand, with 50,000 a bitcoin.

    100 futures short: 5 million at 2 % + 0.5 %, and 1 % + 0.5 %. 2 calls short, 4 % out of the
    money: 100,000 at max(15 − 4, 10) % + 0.2 %, and 7.5 % + 0.2 %. 3 puts long at 700.
    """
    one = told(
        future("perpetual", -100, expiry=0),
        option("c", -2, strike=52_000, call=True, mark=900),
        option("p", 3, strike=48_000, call=False, mark=700),
        portfolio=0,
    )
    assert amounts(one, "initial", "maintenance") == [
        125_000 + 11_200 + 2_100,
        75_000 + 7_700 + 2_100,
    ]


def test_no_rate_is_above_the_whole_value() -> None:
    """30,000 coins short: 2 % + 150 % is 100 %."""
    one = told(future("perpetual", -30_000, expiry=0), portfolio=0)
    assert amounts(one, "initial") == [30_000 * INDEX]


def test_what_is_not_known_is_said() -> None:
    """Inverse contracts are not listed; simple margin of other coins' futures was not found."""
    with pytest.raises(Unset, match="inverse"):
        amounts(told(future("perpetual", 1, expiry=0, inverse=1)), "maintenance")
    with pytest.raises(Unset, match="SOL"):
        amounts(told(future("p", 1, expiry=0, underlying="SOL"), portfolio=0), "maintenance")


@given(sizes=st.lists(st.integers(-9, 9), min_size=1, max_size=5), portfolio=st.integers(0, 1))
def test_requirements_are_not_negative_and_do_not_mind_the_order(
    sizes: list[int], portfolio: int
) -> None:
    """In both modes."""
    held = [future(f"f{n}", size, expiry=n % 3, loss=100 * n) for n, size in enumerate(sizes)]
    found = amounts(told(*held, portfolio=portfolio), "initial", "maintenance")
    turned = amounts(told(*held[::-1], portfolio=portfolio), "initial", "maintenance")
    assert found == turned
    assert found[0] >= found[1] >= 0


def test_whole_books_agree_with_the_exact_way(snapshot: Snapshot) -> None:
    """Linear futures and options, in both modes; one future alone loses the near range."""
    rulebook = in_force(shipped_levels("grvt"), ON)
    shocks = shocking(rulebook)
    plan = LevelsPlan(
        rulebook, publish(snapshot, sets=shocks.sets, rules=shocks.rules, tables=shocks.tables)
    )
    universe = snapshot.universe
    listed = np.flatnonzero(~universe.inverse & np.asarray(plan.arrays.usable))
    first = int(listed[~universe.is_option[listed]][0])
    rng = np.random.Generator(np.random.PCG64(4))
    accounts, count = 12, 60
    instrument = np.append(first, rng.choice(listed, count - 1)).astype(np.int32)
    positions = book(
        accounts=[f"a{n:02d}" for n in range(accounts)],
        account=np.append(0, np.sort(rng.integers(1, accounts, count - 1))).astype(np.int32),
        instrument=instrument,
        lots=np.append(1_000, rng.integers(-500, 500, count - 1)).astype(np.float64),
        universe=universe,
    )
    balances = Balances(
        account=np.arange(accounts), asset=["USDC"] * accounts,
        amount=rng.uniform(0, 1e6, accounts), price=np.ones(accounts),
    )  # fmt: skip
    for portfolio in (1.0, 0.0):
        inputs = {"account.portfolio": portfolio}
        answer = evaluate(plan, positions, balances=balances, inputs=inputs)
        parts = {"equity": answer.equity, "initial": answer.initial,
                 "maintenance": answer.maintenance, **answer.components}  # fmt: skip
        assert np.isfinite(answer.maintenance).all()
        for account in range(accounts):
            one = account_sheet(plan, positions, account, balances=balances, inputs=inputs)
            for name, found in parts.items():
                exact = float(number(one.value("account", name)))
                assert found[account] == pytest.approx(exact, rel=1e-9, abs=1e-4), name
        if portfolio:
            value = 1_000 * universe.lot_size[first] * snapshot.mark[first]
            assert answer.maintenance[0] == pytest.approx(0.2 * value, rel=1e-6)
