"""Every rulebook of the package under the watch: each verdict is its own, from nothing."""

from __future__ import annotations

import numpy as np
import pytest

from solvent import api
from solvent.feeds.library import rulebook_names
from solvent.margining.assess import assess
from solvent.margining.compile import AnyPlan
from solvent.margining.levels.book import Balances, LevelsPlan
from solvent.market.moved import moved
from solvent.risk import Book
from solvent.solvency.by_rulebook import RulebookWatch, why_unbounded
from solvent.solvency.classes import State
from tests.test_assess import balances, market, plan, taken, venue


def alone(book: Book, account: int) -> Book:
    mine = slice(int(book.first[account]), int(book.first[account + 1]))
    return Book(
        accounts=[book.accounts[account]], first=np.array([0, mine.stop - mine.start]),
        instrument=book.instrument[mine], lots=book.lots[mine], entry_lots=book.entry_lots[mine],
        entry_value=book.entry_value[mine],
    )  # fmt: skip


def own(told: Balances, account: int) -> Balances:
    mine = np.flatnonzero(told.account == account)
    return Balances(
        account=np.zeros(len(mine), np.int64), asset=[told.asset[row] for row in mine.tolist()],
        amount=told.amount[mine], price=told.price[mine],
    )  # fmt: skip


def check_each(watch: RulebookWatch, of: AnyPlan) -> None:
    """A sample of accounts, each assessed alone."""
    figures, book = watch.figures, watch.book
    assert sum(figures.count(state) for state in State) == len(book)
    for account in range(0, len(book), 37):
        found = assess(of, alone(book, account), balances=own(watch.balances, account))
        equity, needed = int(found.equity_micro[0]), int(found.maintenance_micro[0])
        assert (int(figures.equity[account]), int(figures.maintenance[account])) == (equity, needed)
        expected = State.WARNING if (equity - needed) * 5 < equity else State.HEALTHY
        if found.call[0]:
            expected = State.CALL
        if found.liquidate[0]:
            expected = State.LIQUIDATE
        if not found.known[0]:
            expected = State.UNKNOWN
        assert figures.state[account] == expected, account


@pytest.mark.parametrize("name", rulebook_names())
def test_every_rulebook_is_watched_and_says_why_nothing_is_skipped(name: str) -> None:
    of = plan(name)
    told = balances(name, taken(name))
    watch = RulebookWatch(of, venue().book, told)
    assert watch.unbounded.startswith(f"{name}: ")
    assert len(watch.unbounded) > len(name) + 10
    check_each(watch, of)
    if not isinstance(of, LevelsPlan) or name in ("okx-pm", "paradex-pm"):
        down = api.prepare(moved(market(), {"BTC": 0.6, "ETH": 1.4}), name)
        tick = watch.market(down)
        assert (tick.skipped, tick.recomputed) == (0, len(venue().book))
        check_each(watch, down)
        watch.positions(venue().book, told)
        check_each(watch, down)


def test_reasons_name_what_cannot_be_bounded() -> None:
    assert "risk_matrix maps its sums" in why_unbounded(plan("deribit-pm"))
    assert "charge roll_shock" in why_unbounded(plan("deribit-pm"))
    assert "short_option_maintenance follows the market" in why_unbounded(plan("deribit-sm"))
    assert "formulas at levels" in why_unbounded(plan("okx-pm"))
