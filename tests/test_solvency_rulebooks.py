"""Every rulebook of the package under the watch: verdicts by bands are those of recomputing all."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from solvent import api
from solvent.feeds.library import rulebook_names
from solvent.margining.levels.book import Balances
from solvent.market.moved import moved
from solvent.risk import Book
from solvent.solvency.by_rulebook import RulebookWatch
from solvent.solvency.classes import State
from solvent.solvency.exposure import solvency_delta_by_rulebook
from solvent.solvency.rulebook_bands import NONE
from solvent.solvency.steady import Guard
from solvent.units import TimeMs
from tests.rulebook_histories import books, fitting, market, plan, recomputed, steps

UNBOUNDED = {
    **{name: f"{name}: scenarios." for name in ("fhs", "solvent-core", "solvent-dynamic")},
    "span": "span: at.commodity.calendar_charge: spreads",
    "strategy-based": "strategy-based: at.position.same_right: market.ahead",
}
"""Rulebooks with a clause that has no bounds, and how it is told."""


def watch_of(
    name: str, rng: np.random.Generator, accounts: int, state: State, *, slack: float = 0.4
) -> RulebookWatch:
    told = books(name, rng, accounts, slack=slack)
    return RulebookWatch(plan(name), told.book, told.balances, guard=Guard(state=state))


def check(watch: RulebookWatch, state: State) -> None:
    """No verdict that is proved differs from what recomputing everybody says."""
    states, close, found = recomputed(watch.plan, watch.told)
    seen = watch.figures.state
    if state is State.WARNING:
        assert np.array_equal(seen, states)
        assert np.array_equal(watch.figures.close, close)
    for told, wanted in ((State.LIQUIDATE, found.liquidate), (State.UNKNOWN, ~found.known)):
        assert np.array_equal(seen == told, wanted)
    if state <= State.CALL:
        assert np.array_equal(seen == State.CALL, found.call & ~found.liquidate)
    assert watch.sweep().counted == len(watch.book)


def history(
    name: str, seed: int, *, accounts: int, count: int, changes: float = 0.0
) -> tuple[int, int]:
    """Ticks, trades, cash, upkeep and changed rules; how many accounts were skipped, of how many.

    A skipped account is one whose verdict a proof stands for: it is compared like all others.
    """
    rng = np.random.default_rng(seed)
    state = State(int(rng.choice((State.WARNING, State.CALL, State.LIQUIDATE))))
    watch = watch_of(name, rng, accounts, state)
    assert watch.unbounded.startswith(UNBOUNDED.get(name, ""))
    assert bool(watch.unbounded) == (name in UNBOUNDED)
    if fitting(name) and name not in UNBOUNDED:
        assert watch.bounded > 0
    check(watch, state)
    skipped = 0
    for of in steps(name, rng, count, changes=changes):
        tick = watch.market(of)
        skipped += len(watch.book) - tick.recomputed
        check(watch, state)
        if rng.random() < 0.5:
            trade(watch, rng)
            check(watch, state)
        if rng.random() < 0.6:
            watch.upkeep(int(rng.integers(1, accounts + 1)))
            check(watch, state)
    return skipped, count * len(watch.book)


def trade(watch: RulebookWatch, rng: np.random.Generator) -> None:
    """Some accounts hold more of something, or less, and have other money."""
    held, told = watch.book, watch.balances
    who = np.unique(rng.integers(0, len(held), 3))
    mine = np.isin(held.account, who)
    lots = np.where(mine, held.lots + rng.integers(-5, 6, len(held.lots)), held.lots)
    lots = np.where(lots == 0.0, held.lots, lots)
    known = held.entry_lots != 0.0
    cost = np.where(held.lots != 0.0, held.entry_value / np.where(held.lots, held.lots, 1.0), 0.0)
    book = replace(
        held, lots=lots, entry_lots=np.where(known, lots, 0.0),
        entry_value=np.where(known, np.rint(cost * lots), 0.0),
    )  # fmt: skip
    gain = np.where(np.isin(told.account, who), rng.uniform(0.9, 1.1, len(told.account)), 1.0)
    balances = replace(told, amount=told.amount * gain)
    watch.positions(book, balances, who=who)


@pytest.mark.parametrize("name", rulebook_names())
def test_verdicts_are_those_of_recomputing_everybody(name: str) -> None:
    history(name, 7, accounts=24, count=3)


@pytest.mark.soak
@pytest.mark.parametrize("name", rulebook_names())
@pytest.mark.parametrize("seed", range(25))
def test_verdicts_in_many_histories(name: str, seed: int) -> None:
    """Books are large: most of a history is what is computed once, whoever holds what."""
    history(name, 1_000 + seed, accounts=240, count=12, changes=0.1)


@pytest.mark.parametrize("name", ["deribit-pm", "okx-pm", "hyperliquid", "dydx-v4", "bybit-uta"])
def test_most_accounts_are_skipped(name: str) -> None:
    """A small move leaves nearly all in their bands, a large one does not."""
    rng = np.random.default_rng(5)
    watch = watch_of(name, rng, 80, State.CALL, slack=8.0)
    assert watch.unbounded == ""
    assert watch.bounded > 60
    for size, least, most in ((0.001, 0.75, 1.0), (0.01, 0.6, 1.0), (0.5, 0.0, 0.6)):
        factor = dict.fromkeys(market().universe.underlyings, 1.0 - size)
        tick = watch.market(api.prepare(moved(market(), factor), name))
        check(watch, State.CALL)
        share = 1.0 - tick.recomputed / len(watch.book)
        assert least <= share <= most, (size, share)
        assert tick.skipped <= tick.touching


def test_nothing_is_proved_where_nothing_is_asked() -> None:
    told = books("okx-pm", np.random.default_rng(2), 20)
    watch = RulebookWatch(plan("okx-pm"), told.book, told.balances, guard=None)
    assert watch.unbounded
    assert watch.bounded == 0
    tick = watch.market(plan("okx-pm"))
    assert (tick.skipped, tick.recomputed) == (0, 20)
    check(watch, State.WARNING)


def test_other_rules_void_every_band() -> None:
    """A rulebook adopted anew: everybody is judged by it, and proved under it by and by."""
    rng = np.random.default_rng(4)
    watch = watch_of("deribit-pm", rng, 30, State.WARNING, slack=4.0)
    assert watch.bounded > 20
    watch.market(plan("deribit-sm"))
    check(watch, State.WARNING)
    watch.upkeep(30)
    assert watch.bounded > 15
    watch.market(plan("deribit-sm"))
    check(watch, State.WARNING)


def test_a_market_that_comes_back_is_judged_once_more() -> None:
    """Verdicts of outside the band are not taken for those of inside."""
    name = "hyperliquid"
    watch = watch_of(name, np.random.default_rng(8), 60, State.WARNING)
    names = market().universe.underlyings
    far = api.prepare(moved(market(), dict.fromkeys(names, 0.5)), name)
    before = watch.figures.state.copy()
    watch.market(far)
    check(watch, State.WARNING)
    assert (watch.figures.state != before).any()
    tick = watch.market(plan(name))
    check(watch, State.WARNING)
    assert np.array_equal(watch.figures.state, before)
    assert tick.recomputed > 0
    again = watch.market(plan(name))
    assert again.recomputed == int((watch.width == NONE).sum())


def test_accounts_without_anything() -> None:
    none = np.zeros(0)
    empty = Book(
        accounts=["a", "b"], first=np.zeros(3, np.int64), instrument=np.zeros(0, np.int32),
        lots=none, entry_lots=none, entry_value=none,
    )  # fmt: skip
    for name in ("deribit-pm", "okx-pm"):
        watch = RulebookWatch(plan(name), empty, Balances.none())
        watch.market(plan(name))
        check(watch, State.CALL)
        assert watch.figures.count(State.UNKNOWN) == 0


def test_rungs_are_those_of_a_full_pass() -> None:
    """Who falls at a gap, and what is missing, with and without bands."""
    told = books("okx-pm", np.random.default_rng(3), 60)
    watch = RulebookWatch(plan("okx-pm"), told.book, told.balances)
    names = market().universe.underlyings
    for gap in (-0.3, -0.01, 0.0, 0.01):
        at = api.prepare(moved(market(), dict.fromkeys(names, 1.0 + gap)), "okx-pm")
        made = watch.rung(at, gap)
        found = recomputed(at, told)[2]
        fallen = found.liquidate
        equity, needed = found.equity_micro[fallen], found.maintenance_micro[fallen]
        assert made.fallen == int(fallen.sum())
        assert made.missing == int((needed - equity).sum())
        assert made.shortfall == int(np.maximum(-equity, 0).sum())
        assert made.recomputed <= len(told)
        if gap == 0.0:
            assert made.recomputed < 30


def test_upkeep_goes_round_and_bases_move_on() -> None:
    """All are proved from newer bases in turn, and no figures stay older than a round."""
    name = "hyperliquid"
    rng = np.random.default_rng(9)
    watch = watch_of(name, rng, 40, State.CALL, slack=8.0)
    at_ms = int(market().as_of_ms)
    for step in range(1, 9):
        at_ms += 10_000
        names = market().universe.underlyings
        now = moved(market(), dict.fromkeys(names, 1.0 + 0.006 * step))
        watch.market(api.prepare(replace(now, as_of_ms=TimeMs(at_ms)), name))
        assert watch.upkeep(watch.owed(elapsed_ms=10_000)) == 7
        check(watch, State.CALL)
        if step >= 6:
            assert watch.sweep().complete
    assert watch.bounded > 25


def test_solvency_delta_is_what_equity_of_who_is_near_ruin_does() -> None:
    """A gap of one underlying moves the equity of those accounts by what is told."""
    name = "deribit-pm"
    told = books(name, np.random.default_rng(11), 60, slack=0.1)
    dollars = np.array([one == "USDC" for one in told.balances.asset])
    kept = Balances(
        account=told.balances.account[dollars], asset=["USDC"] * int(dollars.sum()),
        amount=told.balances.amount[dollars], price=told.balances.price[dollars],
    )  # fmt: skip
    watch = RulebookWatch(plan(name), told.book, kept)
    names = market().universe.underlyings
    node = names.index("BTC")
    down, up = (api.prepare(moved(market(), {"BTC": 1.0 + gap}), name) for gap in (-0.1, 0.1))
    found = solvency_delta_by_rulebook(
        watch, node, ends=(down, up), buffer=10**12, limit_ppm=250_000, gap=0.1
    )
    near = (watch.figures.close >= 2) & (watch.figures.state != State.UNKNOWN)
    assert found.accounts > 3
    for end, told_gain in zip((down, up), (found.down, found.up), strict=True):
        then = recomputed(end, watch.told)[2].equity_micro
        settled_in_coin = np.abs(watch.figures.equity) // 10_000 + 10**5
        change = int((then - watch.figures.equity)[near].sum())
        inverse = market().universe.inverse[watch.book.instrument].any()
        room = int(settled_in_coin[near].sum()) if not inverse else abs(told_gain) // 2 + 10**9
        assert abs(change - told_gain) <= room
    assert found.share == max(-found.down, -found.up, 0) / 10**12
    bumped = api.prepare(moved(market(), {"BTC": 1.000_01}), name)
    slope = solvency_delta_by_rulebook(
        watch, node, ends=(bumped, bumped), buffer=10**12, limit_ppm=0, gap=0.1
    )
    assert slope.up == pytest.approx(found.delta * 1e-5, rel=0.05, abs=2e6)
