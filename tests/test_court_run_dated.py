"""Dynamic rulebooks before the court: every day has the rules that held on it, and no others."""

from __future__ import annotations

import pickle
from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from solvent.errors import BadInput, RulebookError
from solvent.feeds.dynamic import load_dynamic, observations_of
from solvent.instruments.contract import moment_of
from solvent.lab.court import sources
from solvent.lab.court.dated import dated, dynamic_of
from solvent.lab.court.markets import MarketHistory
from solvent.lab.court.portfolios import named
from solvent.lab.court.result import Cell, CourtResult, Note
from solvent.lab.court.run import backtest
from solvent.margining.dynamic.follow import DynamicState
from solvent.margining.dynamic.text import check_dynamic
from solvent.margining.dynamic.wrap import Dynamic
from solvent.margining.rulebook import in_force
from solvent.margining.schema import RulebookText
from solvent.scenarios.history.series import Series

BOOKS = named(["linear"], ("BTC",))


@pytest.fixture(scope="module")
def market() -> MarketHistory:
    return sources.generated(days=40, seed=3, coins=["BTC"])


@pytest.fixture(scope="module")
def history(market: MarketHistory) -> Series:
    return sources.series_of(market)


@pytest.fixture(scope="module")
def moving() -> Dynamic:
    """Deribit's range of moves as eight daily volatilities, known after ten days."""
    base = load_dynamic("deribit-pm-dynamic")
    content = base.text.model_dump(by_alias=True, exclude_unset=True)
    content["parameters"] = {"reach": 8}
    content["signals"] = {"vol": {"of": "price", "measure": "volatility", "decay": 0.8,
                                  "warm_up_days": 10}}  # fmt: skip
    content["follow"] = [
        {"what": "tables.pair.price_range", "keys": ["BTC"], "value": "reach * vol", "tick": 0.005,
         "least": 0.05, "most": 0.9, "notice_days": 2, "relax_notice_days": 5, "emergency": 0.3}
    ]  # fmt: skip
    return Dynamic(text=check_dynamic(content, source="moving.toml"), base=base.base)


@pytest.fixture(scope="module")
def found(moving: Dynamic, market: MarketHistory, history: Series) -> CourtResult:
    return backtest([moving, "deribit-pm"], market, BOOKS, history=history)


def lived(moving: Dynamic, history: Series, day: date) -> RulebookText:
    """The rulebook that was adopted by a morning: everything observed before it, stepped."""
    state = DynamicState()
    for seen in observations_of(history):
        if seen.day < day:
            state = moving.step(state, seen).state
    text = moving.rulebook(state, day)
    assert isinstance(text, RulebookText)
    return text


def test_a_day_is_margined_by_the_rules_that_held_on_it(
    moving: Dynamic, market: MarketHistory, history: Series, found: CourtResult
) -> None:
    assert (found.state[:, :, :-1] == Cell.JUDGED).all()
    for place in (16, 25, 38):
        day = moment_of(int(market.time_ms[place])).date()
        rules = in_force(lived(moving, history, day), day)
        alone = market.between(int(market.time_ms[place]), int(market.time_ms[place]) + 1)
        asked = backtest([rules], alone, BOOKS)
        assert (asked.initial_micro[0, :, 0] == found.initial_micro[0, :, place]).all()
    rate = found.initial_micro[:, 0, :-1] / found.gross_micro[:, 0, :-1]
    # Before anything is known it is what it wraps; then it moves, and more than once.
    assert (rate[0, :10] == rate[1, :10]).all()
    assert len(np.unique(rate[0].round(4))) > 2


def test_no_day_knows_a_later_price(
    moving: Dynamic, market: MarketHistory, history: Series, found: CourtResult
) -> None:
    place = 24
    now = int(market.time_ms[place])
    later = history.time_ms > now
    price = np.where(later[:, None], history.price * 3.0, history.price)
    told = replace(history, price=price)
    days = market.between(0, now + 1)
    again = backtest([moving], days, BOOKS, history=told)
    assert (again.initial_micro[0, :, :-1] == found.initial_micro[0, :, :place]).all()


def test_what_moved_is_told(found: CourtResult) -> None:
    notes = {note.code: note.count for note in found.notes}
    assert notes["dynamic-changes"] > 2
    assert notes["dynamic-unseen"] == 1
    assert notes["dynamic-unknown"] == 10
    assert found.rulebooks == ("deribit-pm-dynamic", "deribit-pm")


def test_the_rules_travel_to_other_processes(
    moving: Dynamic, market: MarketHistory, history: Series
) -> None:
    notes: list[Note] = []
    times = market.time_ms.tolist()
    one = dated(moving, history, times, notes)
    two = pickle.loads(pickle.dumps(one))
    assert two.digest == one.digest
    assert two.rulebook(20).digest == one.rulebook(20).digest
    # Rules of a day do not depend on which day was asked for before.
    assert one.rulebook(0).digest != one.rulebook(20).digest == two.rulebook(20).digest
    shorter = dated(moving, history, times[:20], [])
    assert shorter.digest != one.digest


def test_what_it_needs(market: MarketHistory, history: Series) -> None:
    with pytest.raises(RulebookError, match="deribit-pm-dynamic follows a history: bring one"):
        backtest(["deribit-pm-dynamic"], market, BOOKS)
    with pytest.raises(BadInput, match="judged by the rules of each day, found @2026-01-01"):
        backtest(["deribit-pm-dynamic@2026-01-01"], market, BOOKS, history=history)
    assert dynamic_of("deribit-pm") is None
