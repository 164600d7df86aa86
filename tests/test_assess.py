"""What an engine decides on says what the tables for people say, and bad balances stay apart."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from solvent import api
from solvent.errors import BadInput, RulebookError
from solvent.feeds.library import rulebook_names
from solvent.feeds.synthetic_book import Venue, generate_book
from solvent.feeds.synthetic_market import generate_market
from solvent.instruments.contract import moment_of
from solvent.levels_answer import LevelsMargin
from solvent.margining.assess import Assessed, assess
from solvent.margining.compile import AnyPlan, plan_of
from solvent.margining.equity import Collateral
from solvent.margining.levels.book import Balances, LevelsPlan, Orders
from solvent.margining.levels.held import accepted, priced
from solvent.margining.levels.modes import Modes
from solvent.margining.requirement import Standing
from solvent.market import Snapshot
from solvent.risk import Book, book
from tests.past import past

ACCOUNTS = 400
SCANS, FORMULAS = "deribit-pm", "deribit-xpm"


@cache
def market() -> Snapshot:
    return generate_market(seed=11, expiries=6, strikes=12)


@cache
def venue() -> Venue:
    return generate_book(market(), accounts=ACCOUNTS, seed=5)


@cache
def plan(name: str) -> AnyPlan:
    return api.prepare(market(), name, history=past(market()))


def balances(name: str, told: Collateral) -> Balances:
    arrays = plan(name).arrays
    return priced(arrays, account=told.account, asset=told.asset, amount=told.amount)


def taken(name: str) -> Collateral:
    """The balances of the generated venue that a rulebook accepts."""
    told, of = venue().collateral, plan(name)
    if isinstance(of, LevelsPlan):
        accepts = {asset for asset, good in accepted(of, told.asset).items() if good}
    else:
        accepts = set(of.rulebook.collateral)
    kept = np.array([asset in accepts for asset in told.asset])
    assets = [asset for asset, keep in zip(told.asset, kept, strict=True) if keep]
    return Collateral(account=told.account[kept], asset=assets, amount=told.amount[kept])


def none(accounts: int = 1) -> Book:
    empty = np.zeros(0)
    return Book(
        accounts=[f"a{n}" for n in range(accounts)], first=np.zeros(accounts + 1, np.int64),
        instrument=np.zeros(0, np.int32), lots=empty, entry_lots=empty, entry_value=empty,
    )  # fmt: skip


def one_balance(asset: str, amount: float, price: float = np.nan) -> Balances:
    return Balances(
        account=np.zeros(1, np.int64), asset=(asset,), amount=np.array([amount]),
        price=np.array([price]),
    )  # fmt: skip


def empty_handed(name: str, positions: Book | None = None, **told: Any) -> Assessed:
    return assess(plan(name), positions or none(), balances=Balances.none(), **told)


@pytest.mark.parametrize("name", rulebook_names())
def test_agrees_with_the_tables(name: str) -> None:
    """On a book with gains left behind by positions that netted to nothing."""
    told = venue().book
    entry_value, lots = told.entry_value.copy(), told.lots.copy()
    lots[::17], entry_value[::17] = 0.0, 1_234_567.0
    entry_lots = np.where(lots == 0.0, 0.0, told.entry_lots)
    held = replace(told, lots=lots, entry_lots=entry_lots, entry_value=entry_value)
    collateral = taken(name)
    table = api.margin(held, plan(name), collateral=collateral, threads=1)
    found = assess(plan(name), held, balances=balances(name, collateral))
    unknown = table.unknown
    assert (found.known == ~unknown).all()
    maintenance = (
        table.maintenance_micro
        if isinstance(table, LevelsMargin)
        else table.requirements.maintenance
    )
    assert table.equity_micro is not None
    columns = ("equity_micro", table.equity_micro), ("initial_micro", table.initial_micro)
    for column, wanted in (*columns, ("maintenance_micro", maintenance)):
        assert getattr(found, column).dtype == np.int64
        assert (getattr(found, column) == np.where(unknown, 0, wanted)).all(), column
    standing = np.where(found.known, Standing.HEALTHY, Standing.UNKNOWN).astype(object)
    standing[found.call] = Standing.CALL
    standing[found.liquidate] = Standing.LIQUIDATE
    assert (standing == table.standings).all()


def test_some_are_called_and_some_liquidated() -> None:
    """The comparison above is of something."""
    found = assess(plan(SCANS), venue().book, balances=balances(SCANS, venue().collateral))
    assert found.known.all()
    assert found.liquidate.any()
    assert (found.call & ~found.liquidate).any()
    assert not (found.liquidate & ~found.call).any()


@pytest.mark.parametrize("name", [SCANS, FORMULAS])
@pytest.mark.parametrize("price", [np.nan, 2.0])
def test_strange_asset_counts_as_nothing_and_a_debt_in_it_is_not_known(
    name: str, price: float
) -> None:
    found = assess(plan(name), none(), balances=one_balance("SHELL", 5.0, price))
    assert found.known.tolist() == [True]
    assert found.equity_micro.tolist() == [0]
    owed = assess(plan(name), none(), balances=one_balance("SHELL", -5.0, price))
    assert owed.known.tolist() == [False]
    assert not owed.call.any()
    assert not owed.liquidate.any()


def test_an_asset_counts_where_the_caller_brings_its_number() -> None:
    """Kraken's haircuts are known of a few assets; others need one from the caller."""
    name, held = "kraken-multi-collateral", one_balance("USDC", 100.0, 1.0)
    found = assess(plan(name), none(), balances=held)
    assert (found.known.tolist(), found.equity_micro.tolist()) == ([True], [0])
    for told in (0.25, {"USDC": 0.25}, {("a0", "USDC"): 0.25}):
        found = assess(plan(name), none(), balances=held, inputs={"asset.haircut": told})
        assert (found.known.tolist(), found.equity_micro.tolist()) == ([True], [75_000_000])


@pytest.mark.parametrize("name", [SCANS, FORMULAS])
@pytest.mark.parametrize("amount", [1e300, -1e300, np.inf, np.nan, 1e13])
def test_amounts_beyond_money_are_not_known(name: str, amount: float) -> None:
    found = assess(plan(name), none(), balances=one_balance("USDC", amount, 1.0))
    assert found.known.tolist() == [False]
    assert found.equity_micro.tolist() == [0]


@pytest.mark.parametrize("lots", [2.0**40, 2.0**33])
def test_positions_beyond_the_exact_range_leave_others_alone(lots: float) -> None:
    """No one else's account fails with one that is too large."""
    first, one = np.array([0, 2, 3]), np.ones(1)
    both_lots, entry = np.array([lots, lots, 1.0]), np.array([0.0, 0.0, 1e9])
    mixed = Book(
        accounts=["whale", "minnow"], first=first, instrument=np.array([0, 1, 0], np.int32),
        lots=both_lots, entry_lots=both_lots, entry_value=entry,
    )  # fmt: skip
    alone = Book(
        accounts=["minnow"], first=first[:2] // 2, instrument=np.zeros(1, np.int32),
        lots=one, entry_lots=one, entry_value=entry[2:],
    )  # fmt: skip
    both, single = empty_handed(SCANS, mixed), empty_handed(SCANS, alone)
    assert both.known.tolist() == [False, True]
    for column in ("equity_micro", "initial_micro", "maintenance_micro", "call", "liquidate"):
        assert getattr(both, column)[1] == getattr(single, column)[0], column
        assert not getattr(both, column)[0], column


def test_scans_take_no_orders_or_modes() -> None:
    order = Orders(
        account=np.zeros(1, np.int64), instrument=np.zeros(1, np.int64), size=np.ones(1),
        price=np.ones(1), buy=np.ones(1),
    )  # fmt: skip
    symbol = market().universe.symbols[0]
    alone = Modes(isolated=frozenset({("a0", symbol)}), hedged=frozenset(), values={})
    for told in ({"orders": order}, {"modes": alone}):
        with pytest.raises(BadInput, match=r"deribit-pm.*rulebook of formulas"):
            empty_handed(SCANS, **told)
    nothing = Modes(isolated=frozenset(), hedged=frozenset(), values={})
    assert empty_handed(SCANS, orders=Orders.none(), modes=nothing).known.all()


def test_orders_and_modes_reach_the_formulas() -> None:
    """An isolated position stands apart as `api.margin` holds it, and an order adds to margin."""
    name, universe = "binance-usdm", market().universe
    symbol = "BTC_USDC-PERPETUAL"
    row = universe.row(symbol)
    assert row is not None
    held = book(
        accounts=["a0"], account=np.zeros(1, np.int32), instrument=np.array([row], np.int32),
        lots=np.array([50.0]), universe=universe, entry_price=market().mark[[row]],
    )  # fmt: skip
    order = Orders(
        account=np.zeros(1, np.int64), instrument=np.array([row]), size=np.array([3.0]),
        price=market().mark[[row]], buy=np.ones(1),
    )  # fmt: skip
    plain, more = empty_handed(name, held), empty_handed(name, held, orders=order)
    assert plain.known.all()
    assert more.initial_micro[0] > plain.initial_micro[0] > 0
    alone = Modes(isolated=frozenset({("a0", symbol)}), hedged=frozenset(), values={})
    cash = one_balance("USDC", 1e6, 1.0)
    cross, apart = (assess(plan(name), held, balances=cash, modes=modes) for modes in (None, alone))
    assert not cross.call.any()
    assert apart.call.all()


def test_one_account_alone_has_the_bits_that_it_has_in_a_book() -> None:
    told, collateral = venue().book, venue().collateral
    for name in (SCANS, "kraken-multi-collateral"):
        held = balances(name, collateral)
        whole = assess(plan(name), told, balances=held)
        for account in (0, 7, 399):
            part = slice(int(told.first[account]), int(told.first[account + 1]))
            mine = np.flatnonzero(held.account == account)
            single = Book(
                accounts=[told.accounts[account]],
                first=np.array([0, part.stop - part.start]),
                instrument=told.instrument[part], lots=told.lots[part],
                entry_lots=told.entry_lots[part], entry_value=told.entry_value[part],
            )  # fmt: skip
            own = Balances(
                account=np.zeros(len(mine), np.int64),
                asset=[str(held.asset[int(n)]) for n in mine],
                amount=held.amount[mine], price=held.price[mine],
            )  # fmt: skip
            found = assess(plan(name), single, balances=own)
            for column in ("equity_micro", "initial_micro", "maintenance_micro", "known"):
                assert getattr(found, column)[0] == getattr(whole, column)[account], (name, column)


def test_a_plan_needs_the_rulebook_s_own_scenarios() -> None:
    """Arrays that were published for another rulebook are refused by name."""
    arrays = plan(SCANS).arrays
    other = api.rulebook_in_force("paradex-pm", moment_of(market().as_of_ms).date())
    with pytest.raises(RulebookError, match=r"paradex-pm: scenarios 'scan': expected .* found"):
        plan_of(other, arrays)
    again = plan_of(plan(SCANS).rulebook, arrays)
    assert type(again) is type(plan(SCANS))
