"""Rulebooks that learn, before the court: what they know on a day, and what they are told."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import solvent as sv
from solvent.errors import RulebookError
from solvent.lab.court import sources
from solvent.lab.court.books import Line, Listing, contracts_of, held, instrument, snapshot_of
from solvent.lab.court.markets import MarketHistory, worth
from solvent.lab.court.portfolios import named
from solvent.lab.court.result import Cell, CourtResult
from solvent.lab.court.run import backtest
from solvent.lab.court.shortfall import shortfall
from solvent.lab.court.verdict import verdict
from solvent.scenarios.history import Series
from solvent.units import DAY_MS

DAYS = 430
BOOKS = named(["target"], ["BTC"])


@pytest.fixture(scope="module")
def market() -> MarketHistory:
    return sources.generated(days=DAYS, coins=("BTC",), seed=9)


@pytest.fixture(scope="module")
def history(market: MarketHistory) -> Series:
    return sources.series_of(market)


@pytest.fixture(scope="module")
def last(market: MarketHistory) -> MarketHistory:
    """The days from the 400th on."""
    return market.between(int(market.time_ms[400]), 2**62)


@pytest.fixture(scope="module")
def found(last: MarketHistory, history: Series) -> CourtResult:
    return backtest(["solvent-core", "solvent-dynamic"], last, BOOKS, history=history, processes=1)


def test_a_day_is_margined_as_sv_margin_would(
    last: MarketHistory, history: Series, found: CourtResult
) -> None:
    """The strangle of one day, by `sv.prepare` with the same history."""
    place, day = found.portfolios.index("BTC short strangle"), 7
    strip = last.strip(last.begin, day, 0)
    assert strip is not None
    coins = held(BOOKS[place], Listing(strip), inverse=False).coins
    keys = tuple(sorted(coins))
    value = worth(strip, contracts_of(keys), inverse=False)
    line = Line(coin="BTC", strip=strip, keys=keys, start=value, end=value)
    snapshot, _ = snapshot_of([line], "usdc", int(last.time_ms[day]))
    rows = [{"account": "a", "instrument": instrument("BTC", "usdc", key).symbol, "size": size}
            for key, size in coins.items()]  # fmt: skip
    for number, name in enumerate(found.rulebooks):
        plan = sv.prepare(snapshot, name, history=history)
        answer = sv.margin(rows, plan)
        assert isinstance(answer, sv.Margin)
        assert int(answer.initial_micro[0]) == found.initial_micro[number, place, day]


def test_no_day_knows_a_later_one(last: MarketHistory, history: Series, found: CourtResult) -> None:
    """Prices and surfaces from the 15th judged day on are others: earlier margins are the same."""
    from_ms = int(last.time_ms[15])
    later = history.time_ms >= from_ms
    price = np.where(later[:, None], history.price * 3.0, history.price)
    level = history.level
    assert level is not None
    changed = replace(history, price=price, level=np.where(later[:, None], level + 0.5, level))
    other = backtest(["solvent-core"], last, BOOKS, history=changed, processes=1)
    same = other.initial_micro[0] == found.initial_micro[0]
    assert same[:, :15].all()
    assert not same[:, 15:-1].all()


def test_the_tools_raise_and_steady(found: CourtResult) -> None:
    """With floor, stressed weight, buffer and spread, no margin of these calm days is lower."""
    judged = found.state[0] == Cell.JUDGED
    assert judged.any()
    assert (found.initial_micro[1] >= found.initial_micro[0])[judged].mean() > 0.9
    rate = [found.initial_micro[n, 0, :-1] / found.gross_micro[n, 0, :-1] for n in (0, 1)]
    assert np.ptp(rate[1]) / rate[1].mean() <= np.ptp(rate[0]) / rate[0].mean() + 0.02


def test_without_a_history_it_says_what_to_bring(last: MarketHistory) -> None:
    with pytest.raises(RulebookError, match="solvent-core learns from a history"):
        backtest("solvent-core", last, BOOKS)


def test_too_little_history_is_a_reason(market: MarketHistory, history: Series) -> None:
    """365 days must have passed: before, each day is refused, with the count in words."""
    early = market.between(int(market.time_ms[100]), int(market.time_ms[104]))
    result = backtest("solvent-core", early, BOOKS[:1], history=history, processes=1)
    assert (result.state == Cell.REFUSED).all()
    assert "365" in result.reasons[0, 0]
    assert any(note.code == "no-history" for note in result.notes)
    assert verdict(result)["rows"] == []


def test_a_shortfall_is_tested_beside_its_quantile(found: CourtResult) -> None:
    """Acerbi and Székely's Z1 and Z2, of two rulebooks as VaR and ES of one book."""
    told = shortfall(found, "solvent-core", "solvent-dynamic", draws=2_000)
    assert {one["portfolio"] for one in told} <= set(found.portfolios)
    assert all(one["z2"]["p_value"] is None or 0 <= one["z2"]["p_value"] <= 1 for one in told)
    assert found.until_ms[0] - found.time_ms[0] == DAY_MS
