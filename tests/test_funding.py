"""Funding: rates by the venues' formulas, averages and their twins, and years of it by the unit."""

from __future__ import annotations

import csv
import gzip
import json
import random
from bisect import bisect_right
from collections.abc import Iterator
from datetime import UTC, datetime
from fractions import Fraction
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solvent.conform.case import Case
from solvent.conform.funding import derive
from solvent.engine.audit import violations
from solvent.engine.state import State
from solvent.errors import InvariantBroken
from solvent.feeds.market_rules import funding_rule, funding_rules
from solvent.market.averages import (
    Ema,
    MovingAverage,
    TimeAverage,
    averaged,
    growing_mean,
    settling_forward,
)
from solvent.market.funding import (
    EIGHT_HOURS_MS,
    HOUR_MS,
    Averaging,
    Form,
    FundingRule,
    accrued,
    averaged_premium,
    impact_premium,
    margin_cap,
    period_payment,
    price_premium,
    rate_of,
    rate_text,
)
from solvent.messages import commands as c
from solvent.messages.events import FundingPaid
from solvent.messages.fields import IndexPrice, MarkPrice, OpeningBalance, OpeningPosition
from solvent.verify.market import exponential_average, funding_paid, time_average
from tests.conftest import need_shared
from tests.venues import INV, LIN, NANO, Venue, adoption, listing

F = Fraction


# ── venues ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("venue", "premium", "rate"),
    [
        # Within the dampener of the interest it is the interest: a third of 0.03 % a day.
        ("binance", "0.0003", "0.0001"),
        ("binance", "0.0010", "0.0005"),
        ("binance", "-0.0010", "-0.0005"),
        ("binance", "0.9", "0.003"),
        ("bybit", "0.0003", "0.0001"),
        ("bybit", "-0.0010", "-0.0005"),
        ("okx", "0.0003", "0.0003"),
        ("okx", "-0.9", "-0.015"),
        # Of an hour: an eighth of eight hours'.
        ("hyperliquid", "0.0003", "0.0000125"),
        ("hyperliquid", "0.0010", "0.0000625"),
        ("hyperliquid", "9", "0.04"),
        ("dydx", "0.0008", "0.0001125"),
        ("derive", "0.004", "0.0005125"),
        ("derive", "-1", "-0.004"),
    ],
)
def test_a_venues_rate(venue: str, premium: str, rate: str) -> None:
    assert rate_text(rate_of(funding_rule(venue), F(premium))) == rate


def test_deribit_accrues_by_the_millisecond_beyond_a_dead_zone() -> None:
    rule = funding_rule("deribit")
    eight = [rate_of(rule, F(one, 100_000), elapsed_ms=EIGHT_HOURS_MS) for one in (25, 26, -125)]
    assert eight == [0, F(1, 100_000), F(-100, 100_000)]
    assert rate_of(rule, F(1), elapsed_ms=EIGHT_HOURS_MS) == F(5, 1_000)
    assert rate_of(rule, F(125, 100_000)) == F(1, 1_000) / EIGHT_HOURS_MS
    seen = [(0, F(125, 100_000)), (HOUR_MS, F(0)), (2 * HOUR_MS, F(-50, 100_000))]
    assert accrued(rule, seen, until_ms=4 * HOUR_MS) == F(1, 8_000) - F(25, 100_000) * F(2, 8)


def test_what_is_not_known_accrues_nothing_and_says_so() -> None:
    rule = funding_rule("deribit")
    assert accrued(rule, [(0, F(1, 1_000)), (HOUR_MS, None)], until_ms=2 * HOUR_MS) is None
    assert accrued(rule, [(0, None), (0, F(1, 1_000))], until_ms=HOUR_MS) is not None
    assert accrued(rule, [], until_ms=HOUR_MS) is None
    assert averaged_premium(rule, [F(1), None]) is None
    assert averaged_premium(rule, []) is None


def test_shipped_rules_say_where_they_are_from() -> None:
    rules = funding_rules()
    assert {"binance", "bybit", "okx", "deribit", "dydx", "hyperliquid", "derive"} <= set(rules)
    for name, rule in rules.items():
        assert rule.source, name
        assert rule.rule == funding_rule(name)


def test_premiums() -> None:
    assert impact_premium(index=F(1500), bid=F(1494), ask=F(1506)) == 0
    assert impact_premium(index=F(1500), bid=F(1506), ask=F(1507)) == F(6, 1500)
    assert impact_premium(index=F(1500), bid=F(1490), ask=F(1494)) == F(-6, 1500)
    assert price_premium(index=F(1000), price=F(999)) == F(-1, 1000)
    with pytest.raises(InvariantBroken):
        price_premium(index=F(0), price=F(1))


def test_what_was_seen_last_counts_most_where_weights_grow() -> None:
    rows = [F(n) for n in (3, 1, 4, 1, 5, 9)]
    whole = sum(n * one for n, one in enumerate(rows, 1)) / sum(range(1, 7))
    assert growing_mean(rows) == whole
    growing = FundingRule(interval_ms=HOUR_MS, averaging=Averaging.GROWING)
    assert averaged_premium(growing, rows) == whole
    assert averaged_premium(FundingRule(interval_ms=HOUR_MS), rows) == F(23, 6)


@settings(max_examples=60)
@given(st.fractions(-1, 1), st.fractions(-1, 1), st.fractions(0, 1), st.sampled_from(Form))
def test_a_rate_is_in_proportion_to_time_and_within_its_bounds(
    premium: Fraction, interest: Fraction, dampener: Fraction, form: Form
) -> None:
    rule = FundingRule(
        interval_ms=HOUR_MS, form=form, interest=interest, dampener=dampener, cap=F(1, 100),
        floor=F(-1, 200), capped_ms=HOUR_MS,
    )  # fmt: skip
    rate = rate_of(rule, premium)
    assert F(-1, 200) <= rate <= F(1, 100)
    assert rate_of(rule, premium, elapsed_ms=7) == rate * F(7, HOUR_MS)
    if form is Form.DAMPED:
        free = rate_of(FundingRule(interval_ms=EIGHT_HOURS_MS, interest=interest,
                                   dampener=dampener), premium)  # fmt: skip
        assert abs(free - premium) <= dampener
        if abs(interest - premium) <= dampener:
            assert free == interest


def test_rates_as_text_are_rounded_by_name() -> None:
    assert rate_text(F(0)) == "0"
    assert rate_text(F(-1, 10**18)) == "-0.000000000000000001"
    assert rate_text(F(1, 2 * 10**18)) == "0"
    assert rate_text(F(3, 2 * 10**18)) == "0.000000000000000002"
    assert rate_text(F(20)) == "20"
    assert len(rate_text(F(-2, 3))) <= 40


# ── averages ─────────────────────────────────────────────────────────────────────────────────────

ROWS = st.lists(st.tuples(st.integers(1, 30), st.integers(1, 10**6)), min_size=1, max_size=12)


def rising(rows: list[tuple[int, int]]) -> list[tuple[int, int]]:
    now, found = 0, []
    for step, price in rows:
        found.append((now, price))
        now += step
    return found


@settings(max_examples=60)
@given(ROWS, st.integers(1, 50))
def test_averages_agree_with_their_twins(rows: list[tuple[int, int]], more: int) -> None:
    told = rising(rows)
    until = told[-1][0] + more
    found = averaged(told, until_ms=until)
    assert found is not None
    assert float(found) == pytest.approx(time_average(told, until_ms=until), rel=1e-12)
    ema = Ema()
    for time_ms, value in told:
        ema = ema.at(value * 1_000, time_ms=time_ms, tau_ms=20)
    twin = exponential_average([(t, float(value * 1_000)) for t, value in told], tau_ms=20)
    assert ema.units is not None
    assert abs(ema.units - twin) <= 0.5 * len(told) + 1e-6
    assert min(v for _, v in told) <= found <= max(v for _, v in told)


def test_nothing_is_known_before_anything_was_said() -> None:
    assert TimeAverage().value(9) is None
    assert averaged([], until_ms=9) is None
    assert TimeAverage().at(7, time_ms=9).value(9) is None
    assert Ema().units is None
    assert MovingAverage(length=3).value is None
    assert MovingAverage(length=2).at(1).at(2).at(6).value == 4
    with pytest.raises(InvariantBroken):
        TimeAverage().at(7, time_ms=9).value(8)


def test_a_forward_settles_into_its_average() -> None:
    """Half an hour before expiry it begins to be fixed; at expiry it is the average, whatever the
    spot then."""
    fixed, rest = settling_forward(spot=F(2000), difference=F(10), seen=F(0), now_s=0,
                                   expiry_s=1_800)  # fmt: skip
    assert (fixed, rest) == (F(0), F(2010))
    for now in (1, 900, 1_799, 1_800):
        seen = F(2000) * now
        fixed, rest = settling_forward(spot=F(3000), difference=F(10), seen=seen, now_s=now,
                                       expiry_s=1_800)  # fmt: skip
        assert fixed + rest == F(2000 * now + 3010 * (1_800 - now), 1_800)
    assert (fixed, rest) == (F(2000), F(0))
    early = settling_forward(spot=F(3000), difference=F(0), seen=F(0), now_s=0, expiry_s=9_000)
    assert early == (F(0), F(3000))


# ── vectors ──────────────────────────────────────────────────────────────────────────────────────


def test_derives_funding_vectors() -> None:
    path = need_shared("vectors", "derive", "unit_vectors.json")
    rows = json.loads(path.read_text("utf-8"))["funding"]
    assert len(rows) == 6
    for row in rows:
        case = derive(Case("funding"), row)
        assert case.passed, case.misses


def test_dydx_bounds_a_rate_by_the_margin() -> None:
    path = need_shared("vectors", "dydx", "perp_margin_cases.json")
    rows = json.loads(path.read_text("utf-8"))["funding_clamp_ppm"]
    assert len(rows) == 5
    for row in rows:
        initial = F(row["initialMarginPpm"]) / 10**6
        bound = margin_cap(
            initial=initial, maintenance=initial * F(row["maintenanceFractionPpm"]) / 10**6,
            factor=F(row["clampFactorPpm"]) / 10**6,
        )  # fmt: skip
        assert bound * 10**6 == F(row["expectedUpperBoundPpm"]), row


def test_vegas_payment_is_bounded_after_it_is_scaled() -> None:
    told = {"years": F(0), "interest": F(0), "clamp_low": F(0), "clamp_high": F(0)}
    half = period_payment(future=F(990), spot=F(1000), auction_share=F(1, 2), **told)
    assert half == -5
    low = period_payment(
        future=F(990), spot=F(1000), scaling=F(3), rate_low=F(-2, 100), rate_high=F(1), **told
    )
    assert low == -20


# ── years of it through the engine ───────────────────────────────────────────────────────────────

HOLDERS = {"alice": 7_003, "bob": -11_001, "carol": 3_999, "dave": -1, "erin": 1, "frank": -1}
"""Lots of either contract: of 0.001 bitcoin, of 10 dollars."""


def rows_of(path: Path, column: int, *, shift_h: int = 0) -> Iterator[tuple[int, str]]:
    """Time in milliseconds and rate as text."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for row in list(csv.reader(file))[1:]:
            at = datetime.fromisoformat(row[column]).replace(tzinfo=UTC)
            yield round(at.timestamp() * 1_000) - shift_h * HOUR_MS, row[column + 1]


@cache
def prices_of(path: Path) -> tuple[list[int], list[Fraction]]:
    """Times and prices: each holds until the next, the last one to the end."""
    times, prices = [], []
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for row in list(csv.reader(file))[1:]:
            at = datetime.fromisoformat(row[0]).replace(tzinfo=UTC)
            times.append(round(at.timestamp() * 1_000))
            prices.append(F(row[1]))
    return times, prices


def holding_venue(begun_ms: int, points: dict[str, int]) -> Venue:
    """Six people who hold both perpetuals against each other since they began."""
    venue = Venue(State(), begun_ms)
    venue.do(c.ListAsset, asset="USDC", decimals=6)
    venue.do(c.ListAsset, asset="BTC", decimals=9)
    for command in (listing(LIN), listing(INV), adoption("tenth", venue=True)):
        assert venue.send(command).code == 0
    for name in HOLDERS:
        venue.open(name)
    positions = tuple(
        OpeningPosition(name, symbol, lots, points[symbol])
        for symbol in (LIN, INV)
        for name, lots in HOLDERS.items()
    )
    balances = tuple(
        OpeningBalance(name, asset, 10**15) for name in HOLDERS for asset in ("USDC", "BTC")
    )
    venue.do(c.ImportBooks, balances=balances, positions=positions)
    return venue


def points_at(price: Fraction) -> dict[str, int]:
    """Marks in points: a tenth of a dollar, and of half a dollar."""
    return {LIN: round(price * 10), INV: round(price * 20)}


def accrue(history: list[tuple[int, str]]) -> tuple[int, int]:
    """Pay every rate of a history and hold every balance to a twin of fractions at each; how many
    payments, and how much was paid in USDC."""
    times, prices = prices_of(need_shared("data", "btc_prices_sky1241", "BTC_USD_2h.csv.gz"))

    def price_at(time_ms: int) -> Fraction:
        return prices[bisect_right(times, time_ms) - 1]

    begun = history[0][0] - EIGHT_HOURS_MS
    venue = holding_venue(begun, points_at(price_at(begun)))
    lots = list(HOLDERS.values())
    linear = dict.fromkeys(HOLDERS, 10**15)
    inverse = dict.fromkeys(HOLDERS, 10**15)
    paid = 0
    for time_ms, rate in history:
        venue.time_ms, price, text = time_ms, price_at(time_ms), rate_text(F(rate))
        assert F(text) == F(rate)
        points = points_at(price)
        told = venue.tell(
            c.PublishMarket, index=(IndexPrice("BTC", round(price * NANO), 0),),
            marks=tuple(MarkPrice(symbol, one, 0) for symbol, one in points.items()),
        )  # fmt: skip
        assert told.code == 0, told.events
        values = {LIN: F(points[LIN], 10) * F(1, 1_000) * 10**6,
                  INV: F(10) / F(points[INV], 20) * 10**9}  # fmt: skip
        for symbol, owned in ((LIN, linear), (INV, inverse)):
            done = venue.tell(c.PayFunding, symbol=symbol, until_ms=time_ms, rate=text)
            assert done.code == 0, done.events
            amounts = funding_paid(lots, values[symbol], F(rate))
            for name, amount in zip(HOLDERS, amounts, strict=True):
                owned[name] += amount
            event = next(one for one in done.events if isinstance(one, FundingPaid))
            assert event.paid == -sum(one for one in amounts if one < 0), (time_ms, rate)
            assert event.received == sum(one for one in amounts if one > 0)
            paid += event.paid if symbol == LIN else 0
        for name in HOLDERS:
            assert venue.held(name) == linear[name], (name, time_ms)
            assert venue.held(name, asset=1) == inverse[name], (name, time_ms)
    assert list(violations(venue.state)) == []
    assert sum(venue.state.ledger.balances.values()) == 0
    return len(history), paid


def test_all_there_is_of_bitcoins_funding_accrues_to_the_unit() -> None:
    """Binance's, every eight hours from September 2019 to February 2026. Prices end in August 2025:
    the last one stands from then on."""
    path = need_shared("data", "btc_prices_sky1241", "funding_rate_BTCUSDT.csv.gz")
    history = list(rows_of(path, 0))
    assert (history[0][0], history[-1][0] // 1_000) == (1_568_102_400_000, 1_770_480_000)
    count, paid = accrue(history)
    assert count == 7_028
    assert paid == 428_734_847_776


VENUES = {"binance": ("2020", 3), "bybit": ("2021", 3), "dydx": ("2022", 0), "gate": ("2020", 0),
          "htx": ("2021", 3), "kucoin": ("2021", 3), "mexc": ("2021", 3)}  # fmt: skip
"""From which year, and by how many hours their times are ahead."""


@pytest.mark.parametrize("venue", VENUES)
def test_other_venues_funding_accrues_to_the_unit(venue: str) -> None:
    """Some of each: their rates have up to eighteen digits, and dYdX's are paid by the hour."""
    year, shift = VENUES[venue]
    name = f"BTC-USDT_{venue}_{year}-01-01_2024-01-01_funding_history.csv.gz"
    history = list(
        rows_of(need_shared("data", "funding_history_2020_2024", name), 1, shift_h=shift)
    )
    assert accrue(history[:: len(history) // 60])[0] >= 60


def test_accruing_at_every_mark_is_the_same_as_at_once_while_nothing_moves() -> None:
    """Deribit's accrues all the time: told as often as one likes, each time for the time since, it
    comes to the same up to what each payment rounds."""
    rule, rng = funding_rule("deribit"), random.Random(3)
    points = points_at(F(50_000))
    premium = F(75, 100_000)
    paid = []
    for often in (1, 48):
        venue = holding_venue(0, points)
        marks = tuple(MarkPrice(symbol, one, 0) for symbol, one in points.items())
        venue.do(c.PublishMarket, index=(IndexPrice("BTC", 50_000 * NANO, 0),), marks=marks)
        cuts = sorted({*(rng.randrange(1, EIGHT_HOURS_MS) for _ in range(often - 1)),
                       EIGHT_HOURS_MS})  # fmt: skip
        before = 0
        for cut in cuts:
            venue.time_ms = cut
            rate = accrued(rule, [(before, premium)], until_ms=cut)
            assert rate is not None
            venue.do(c.PayFunding, symbol=LIN, until_ms=cut, rate=rate_text(rate))
            before = cut
        paid.append(10**15 - venue.held("alice"))
    assert paid[0] == 7_003 * 50 * 10**6 * F(50, 100_000)
    assert 0 <= paid[1] - paid[0] <= 48
