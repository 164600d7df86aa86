"""Every shipped rulebook of formulas on whole books: exact and book way agree, claims hold."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
import pytest

from solvent import api
from solvent.feeds.library import rulebook_names, shipped_text
from solvent.feeds.synthetic_market import generate_market
from solvent.levels_answer import LevelsMargin
from solvent.margining.equity import Collateral
from solvent.margining.levels import rows
from solvent.margining.levels.arithmetic import ELEMENTWISE, REDUCTIONS
from solvent.margining.levels.book import LevelsPlan
from solvent.margining.levels.form import VOCABULARY
from solvent.margining.levels.rows import Sheet, Unset
from solvent.margining.levels.text import LevelsText
from solvent.market import Snapshot
from solvent.market.moved import restricted
from solvent.rationals import RATIONALS
from solvent.risk import Book, book

NAMES = [name for name in rulebook_names() if isinstance(shipped_text(name), LevelsText)]
ACCOUNTS = 120
MONEY = ("equity", "initial", "maintenance")


def claims(name: str) -> list[str]:
    text = shipped_text(name)
    assert isinstance(text, LevelsText)
    return list(text.properties)


@cache
def whole_market() -> Snapshot:
    return generate_market(seed=5, expiries=4, strikes=8)


@cache
def setting(name: str) -> tuple[LevelsPlan, Venue]:
    """A rulebook on the part of a market that it can margin, and a generated venue there."""
    market = whole_market()
    plan = api.prepare(market, name)
    assert isinstance(plan, LevelsPlan)
    alone = book(
        accounts=list(plan.arrays.universe.symbols),
        account=np.arange(len(plan.arrays.universe), dtype=np.int32),
        instrument=np.arange(len(plan.arrays.universe), dtype=np.int32),
        lots=np.ones(len(plan.arrays.universe)),
        universe=plan.arrays.universe,
    )
    known = np.flatnonzero(~margined(plan, alone).unknown)
    if len(known) == 0:
        pytest.skip(f"{name} lists nothing of the generated market")
    part = restricted(market, known.tolist())
    plan = api.prepare(part, name)
    assert isinstance(plan, LevelsPlan)
    return plan, venue(plan)


@dataclass(frozen=True)
class Venue:
    book: Book
    collateral: Collateral


def venue(plan: LevelsPlan) -> Venue:
    """Accounts of up to eight positions entered near the mark, with dollars and some coin."""
    rng, universe = np.random.default_rng(6), plan.arrays.universe
    held = rng.integers(1, 9, ACCOUNTS)
    account = np.repeat(np.arange(ACCOUNTS, dtype=np.int32), held)
    instrument = rng.integers(0, len(universe), len(account)).astype(np.int32)
    mark = plan.arrays.fields["mark"][instrument]
    told = book(
        accounts=[f"a{n}" for n in range(ACCOUNTS)],
        account=account,
        instrument=instrument,
        lots=rng.integers(-30, 31, len(account)).astype(np.float64),
        universe=universe,
        entry_price=mark * rng.uniform(0.95, 1.05, len(account)),
    )
    coins = [name for name in universe.underlyings if plan.arrays.price_of(name) > 0]
    assets = ["USDC", *coins]
    owner = np.repeat(np.arange(ACCOUNTS, dtype=np.int32), len(assets))
    amount = rng.normal(1.0, 1.0, (ACCOUNTS, len(assets))) * np.array([5e4, *[1.0] * len(coins)])
    return Venue(told, Collateral(account=owner, asset=assets * ACCOUNTS, amount=amount.ravel()))


def margined(plan: LevelsPlan, held: Book, collateral: Any = None) -> LevelsMargin:
    answer = api.margin(held, plan, collateral=collateral, threads=1)
    assert isinstance(answer, LevelsMargin)
    return answer


def one(sheet: Sheet, level: str, column: str, row: int) -> float:
    value = sheet.value(level, column, row)
    assert isinstance(value, Fraction)
    return float(value)


def bits(answer: LevelsMargin) -> list[bytes]:
    return [getattr(answer.answer, name).tobytes() for name in MONEY]


@pytest.mark.parametrize("name", NAMES)
def test_book_way_equals_exact_way(name: str) -> None:
    """Up to a unit of the last place where a venue rounds; and both do not know the same."""
    plan, venue = setting(name)
    answer = margined(plan, venue.book, venue.collateral)
    level = plan.rulebook.text.answer.level
    for account in range(0, ACCOUNTS, 4):
        sheet = answer.sheet(venue.book.accounts[account])
        for column in MONEY:
            told = getattr(plan.rulebook.text.answer, column)
            try:
                exact = sum(one(sheet, level, told, row) for row in range(len(sheet.rows(level))))
            except Unset:
                exact = np.nan
            fast = float(getattr(answer.answer, column)[account])
            assert np.isnan(exact) == np.isnan(fast), (account, column)
            if not np.isnan(exact):
                assert fast == pytest.approx(exact, rel=1e-11, abs=2e-6), (account, column)


@pytest.mark.parametrize(
    "name", [one for one in NAMES if "requirement_not_negative" in claims(one)]
)
def test_requirement_is_not_negative(name: str) -> None:
    plan, venue = setting(name)
    answer = margined(plan, venue.book, venue.collateral)
    for column in ("initial", "maintenance"):
        found = getattr(answer.answer, column)
        assert (found[~np.isnan(found)] >= 0.0).all()


@pytest.mark.parametrize("name", [one for one in NAMES if "permutes" in claims(one)])
def test_order_of_rows_changes_no_bit(name: str) -> None:
    plan, venue = setting(name)
    told = venue.book
    order = np.random.default_rng(1).permutation(told.positions)
    shuffled = book(
        accounts=told.accounts,
        account=told.account[order],
        instrument=told.instrument[order],
        lots=told.lots[order],
        universe=plan.arrays.universe,
    )
    plain = book(
        accounts=told.accounts,
        account=told.account,
        instrument=told.instrument,
        lots=told.lots,
        universe=plan.arrays.universe,
    )
    assert bits(margined(plan, shuffled)) == bits(margined(plan, plain))


@pytest.mark.parametrize("name", [one for one in NAMES if "scales" in claims(one)])
def test_twice_the_positions_need_twice_the_margin(name: str) -> None:
    plan, venue = setting(name)
    double = replace(
        venue.book,
        lots=2.0 * venue.book.lots,
        entry_lots=2.0 * venue.book.entry_lots,
        entry_value=2.0 * venue.book.entry_value,
    )
    once, twice = margined(plan, venue.book), margined(plan, double)
    for column in ("initial", "maintenance"):
        assert getattr(twice.answer, column) == pytest.approx(
            2.0 * getattr(once.answer, column), rel=1e-9, abs=1e-6, nan_ok=True
        )


@pytest.mark.parametrize("name", [one for one in NAMES if "subadditive" in claims(one)])
def test_netting_never_costs_more_than_its_parts(name: str) -> None:
    plan, venue = setting(name)
    universe, rng = plan.arrays.universe, np.random.default_rng(3)
    first, other = (
        book(
            accounts=venue.book.accounts,
            account=venue.book.account,
            instrument=rng.integers(0, len(universe), venue.book.positions).astype(np.int32),
            lots=rng.integers(-20, 21, venue.book.positions).astype(np.float64),
            universe=universe,
        )
        for _ in range(2)
    )
    both = book(
        accounts=venue.book.accounts,
        account=np.concatenate([first.account, other.account]),
        instrument=np.concatenate([first.instrument, other.instrument]),
        lots=np.concatenate([first.lots, other.lots]),
        universe=universe,
    )
    parts = [margined(plan, one).answer for one in (first, other, both)]
    for column in ("initial", "maintenance"):
        a, b, together = (getattr(one, column) for one in parts)
        known = ~np.isnan(a + b + together)
        assert (together <= a + b + 1e-6)[known].all()


@pytest.mark.parametrize("name", [one for one in NAMES if "more_collateral_helps" in claims(one)])
def test_more_collateral_never_lowers_health(name: str) -> None:
    plan, venue = setting(name)
    less = venue.collateral
    more = Collateral(
        account=less.account, asset=less.asset, amount=less.amount + np.abs(less.amount) * 0.5 + 1.0
    )
    before, after = (margined(plan, venue.book, one).answer for one in (less, more))
    health = [one.equity - one.maintenance for one in (before, after)]
    known = ~np.isnan(health[0] + health[1])
    assert (health[1] >= health[0] - 1e-6)[known].all()


@pytest.mark.parametrize("name", [one for one in NAMES if "isolated_pools" in claims(one)])
def test_isolated_positions_do_not_see_each_other(name: str) -> None:
    """Margin of two isolated positions is the sum of the margins of each one alone."""
    from solvent.margining.levels.book import evaluate

    plan, _ = setting(name)
    count = min(len(plan.arrays.universe), 12)
    rows = np.arange(count, dtype=np.int32)
    lots = np.random.default_rng(4).integers(1, 50, count).astype(np.float64)
    universe = plan.arrays.universe
    one = book(accounts=["a"], account=0 * rows, instrument=rows, lots=lots, universe=universe)
    each = book(
        accounts=[str(row) for row in rows], account=rows, instrument=rows, lots=lots,
        universe=universe,
    )  # fmt: skip
    pools = 1 + rows.astype(np.int64)
    together, apart = (evaluate(plan, b, pools=pools) for b in (one, each))
    for column in MONEY:
        found = getattr(together, column)[0]
        assert found == pytest.approx(getattr(apart, column).sum(), rel=1e-12, nan_ok=True)


def test_every_word_of_the_language_means_something_both_ways() -> None:
    array_words = {*ELEMENTWISE, *REDUCTIONS, "lookup", "marginal"}
    exact_words = {*RATIONALS.functions, *rows._REDUCTIONS, "lookup", "marginal", "given"}
    assert set(VOCABULARY.functions) <= array_words
    assert set(VOCABULARY.functions) <= exact_words
