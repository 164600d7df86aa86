"""Causes of losses, and of missed targets: parts that add up, days that are computed again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.interpolate import PchipInterpolator
from typer.testing import CliRunner

from solvent.api import rulebook_in_force
from solvent.cli import app
from solvent.instruments.contract import moment_of
from solvent.lab.court import run, sources
from solvent.lab.court.causes import CAUSES, gain_by_cause
from solvent.lab.court.judge import Bench, in_coin
from solvent.lab.court.markets import Contracts, MarketHistory, Path, worth, worth_at_end
from solvent.lab.court.parts import costs, without_each
from solvent.lab.court.portfolios import Leg, Portfolio, named
from solvent.lab.court.report import write_court_report
from solvent.lab.court.result import CourtResult
from solvent.lab.court.run import backtest, bench_of
from solvent.lab.court.strip import Strip, smile_at
from solvent.lab.court.table import missed_markdown, proxy_markdown
from solvent.lab.court.trace import Trace, breaches_in_words, moved_in_words, traced
from solvent.lab.court.verdict import Missed, Target, extremes, verdict
from solvent.scenarios.history.series import Series
from solvent.units import DAY_MS, MICRO
from tests.test_court_run import T0, straight, strip

BOOKS = [one for one in named(["target"], ["BTC"]) if one.name != "BTC long"]
SHORT = Portfolio(name="short", kind="linear", underlying="BTC", legs=(Leg(-10.0),))


@pytest.fixture(scope="module")
def market() -> MarketHistory:
    return sources.generated(days=425, coins=("BTC",), seed=9)


@pytest.fixture(scope="module")
def series(market: MarketHistory) -> Series:
    return sources.series_of(market)


@pytest.fixture(scope="module")
def days(market: MarketHistory) -> MarketHistory:
    """The last 25 days: a rulebook that learns has learned by then."""
    return market.between(int(market.time_ms[400]), 2**62)


@pytest.fixture(scope="module")
def trace(days: MarketHistory, series: Series) -> Trace:
    """Three rulebooks; where all margins of the first are a thousandth, every loss is a breach."""
    names = ["solvent-core", "deribit-pm", "solvent-dynamic"]
    result = backtest(names, days, BOOKS, history=series, processes=1)
    bench = replace(bench_of(names, days, BOOKS, history=series), styles=result.contracts)
    scale = np.array([1_000, 1, 1])[:, None, None]
    return Trace(bench=bench, result=replace(result, initial_micro=result.initial_micro // scale))


# ── a loss, by cause ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("inverse", [False, True])
def test_causes_add_up_to_the_gain(days: MarketHistory, inverse: bool) -> None:
    """Calls, puts, a future, a perpetual; one expires on the way and settles at the path."""
    start, end = days.strips[0][400], days.strips[0][401]
    expiry = [*start.expiry_ms[[0, 2, 5, 4]].tolist(), 0]
    assert expiry[0] <= end.as_of_ms
    strike = np.array([start.index, 0.9 * start.index, 1.1 * start.index, 0.0, 0.0])
    wanted = Contracts(
        expiry_ms=np.array(expiry),
        strike=strike,
        is_call=np.array([True, False, True] + 2 * [False]),
    )
    path, apart = days.paths[0], days.mpor_ms + 8 * 3_600_000
    found = gain_by_cause(start, end, path, wanted, inverse=inverse, apart_ms=apart)
    gain = worth_at_end(end, path, wanted, inverse=inverse, apart_ms=apart)
    gain = gain - worth(start, wanted, inverse=inverse)
    assert found.sum(axis=0) == pytest.approx(gain, rel=1e-9, abs=1e-9 * abs(gain).max())
    still = found[[CAUSES.index(one) for one in ("time", "level", "shape", "basis")], 4]
    assert still == pytest.approx(np.zeros(4), abs=1e-15), "a perpetual is spot alone"


def test_each_cause_gets_what_it_moved() -> None:
    """From one market, one thing at a time: the whole gain is that cause's."""
    path = Path(time_ms=np.array([T0, T0 + DAY_MS]), price=np.array([50_000.0, 50_000.0]))
    start = strip(0, 50_000.0)
    option = Contracts(
        expiry_ms=start.expiry_ms[-1:], strike=np.array([50_000.0]), is_call=np.array([True])
    )
    tilted = start.smile * np.array([[1.2, 1.1, 1.0, 1.0, 1.0]])
    moved = {
        "spot": replace(start, index=52_000.0, forward=start.forward * 1.04),
        "level": replace(start, smile=start.smile * 1.3),
        "basis": replace(start, forward=start.forward * 1.02),
        "shape": replace(start, smile=tilted),
    }
    low = replace(option, strike=np.array([45_000.0]))
    for cause, end in moved.items():
        wanted = low if cause == "shape" else option
        found = gain_by_cause(start, end, path, wanted, inverse=False, apart_ms=DAY_MS)[:, 0]
        row = CAUSES.index(cause)
        assert abs(found[row]) > 1.0, cause
        assert np.delete(found, row) == pytest.approx(np.zeros(4), abs=1e-6), cause


def test_parts_of_a_judged_day_are_its_loss(trace: Trace) -> None:
    """Of every book, in lots as they were judged: the five parts are the day's loss in dollars."""
    result = trace.result
    for portfolio in range(len(BOOKS)):
        for date in (0, 11, 20):
            parts = trace._loss_by_cause(0, portfolio, date)
            assert parts.sum() == pytest.approx(
                -result.pnl_micro[0, portfolio, date] / MICRO, abs=1e-5
            )


# ── missed targets ───────────────────────────────────────────────────────────────────────────────


def test_breaches_are_taken_apart(trace: Trace) -> None:
    place = trace.result.portfolios.index("BTC short")
    found = trace.breaches(0, place)
    track = trace.result.track(0, place)
    assert found["breaches"] == int(track.breach.sum()) > 5
    assert found["left_without"]["spot"] == 0, "nothing else moves a perpetual"
    assert found["left_without"]["level"] == found["breaches"]
    lost = float((track.loss_micro / track.gross_micro)[track.breach].mean())
    assert sum(found["parts"].values()) == pytest.approx(lost, rel=1e-6)
    assert found["as_scenarios_of"] == found["breaches"]
    assert found["as_scenarios"] == found["breaches"], "a price is told whole"
    assert found["on_proxy"] == [0, 0]
    words = breaches_in_words(found)
    assert words.startswith("too many; ")
    assert "0 without spot's part would be left" in words


def test_what_came_as_a_scenario_is_nearly_the_loss(trace: Trace) -> None:
    """Told to the core as its only scenario, a strangle's day is asked for within a third."""
    place = trace.result.portfolios.index("BTC short strangle")
    lost = -trace.result.pnl_micro[0, place] / MICRO
    worst = int(np.argmax(lost))
    told = trace._told(0, place, worst)
    assert told is not None
    assert told == pytest.approx(lost[worst], rel=0.33)
    assert trace._told(1, place, worst) is None, "a grid learns nothing"


def test_a_rise_is_of_the_book_or_of_the_rules(trace: Trace) -> None:
    """A grid's rules stand still; what a perpetual's margin does under the core is the rules'."""
    strangle = trace.result.portfolios.index("BTC short strangle")
    rows = extremes(trace.result.track(1, strangle))["peak to trough"]
    grid = trace.moved(1, strangle, rows)
    assert grid["by_rules"] == pytest.approx(1.0, rel=1e-9)
    assert grid["by_book"] == pytest.approx(grid["times"], rel=1e-9)
    short = trace.result.portfolios.index("BTC short")
    rows = extremes(trace.result.track(2, short))["peak to trough"]
    core = trace.moved(2, short, rows)
    rate = trace.result.track(2, short).rate
    assert core["times"] == pytest.approx(rate.max() / rate.min(), rel=1e-6)
    assert core["by_book"] == pytest.approx(1.0, rel=1e-3)
    assert core["by_rules"] * core["by_book"] == pytest.approx(core["times"], rel=1e-9)
    assert "by the rules, whose scenarios widened: price" in moved_in_words(core)


def test_parts_of_a_rulebook_cost(trace: Trace, series: Series) -> None:
    """Without floor, buffer or stressed weight the dynamic rulebook asks for less."""
    parts = without_each(trace.bench.rulebooks[2])
    assert {"core's floor", "core's quantile_buffer", "core's speed"} <= set(parts)
    short = trace.result.portfolios.index("BTC short")
    found = costs(trace.bench, 2, 0, [short], history=series, days=3)
    count, shares = found[short]
    assert count >= 3
    assert shares[""] >= shares["stressed_weight"]
    assert shares[""] > shares["core's quantile_buffer"]
    assert shares["gap_forgiven"] == shares[""], "the gap is switched off"


def test_every_missed_target_gets_a_cause(trace: Trace, tmp_path: Any) -> None:
    """And stands in the report and in the tables, with by how much it is missed."""
    strangle = "BTC short strangle"
    wanted = [("Kupiec p", 0.05, True), ("peak to trough", 0.5, False), ("5-day rise", 0.1, False)]
    targets = {"solvent-core": [Target(name=n, bound=b, at_least=a) for n, b, a in wanted]}

    def find(misses: Any) -> list[Missed]:
        kept = [one for one in misses if one.portfolio == strangle]
        return traced(trace, kept, benchmark=None)

    document = verdict(trace.result, targets=targets, traced=find)
    rows = document["missed_rows"]
    assert {one["target"] for one in rows} == {name for name, _, _ in wanted}
    assert all(one["cause"] and one["off"] > 0.0 for one in rows)
    assert all(one["cause"] in text for one, text in zip(rows, document["missed"], strict=True))
    path = tmp_path / "court.html"
    document["proxy"] = [PROXY_ROW]
    write_court_report(trace.result, document, path)
    page = path.read_text("utf-8")
    assert ">Targets that are missed</h2>" in page
    assert ">The proxy beside real surfaces</h2>" in page
    assert page.count("<td class=why>") == len(rows)
    assert len(missed_markdown(rows).splitlines()) == 2 + len(rows)
    assert "| BTC | 7 d | 9 | +1.0 | 2.0 | - | 0.50 | +0.10 | -0.20 |" in proxy_markdown(
        [PROXY_ROW]
    )


PROXY_ROW = {
    "coin": "BTC", "tenor_days": 7, "days": 9, "mean": 0.01, "abs": 0.02, "correlation": None,
    "variance_ratio": 0.5, "autocorrelation": 0.1, "autocorrelation_real": -0.2,
}  # fmt: skip


def test_the_proxy_beside_itself_has_no_error() -> None:
    """Surfaces that are the proxy's own: no error, and changes of the same variance."""
    rng = np.random.default_rng(4)
    times = (20_000 * 24 + 9) * 3_600_000 + np.arange(120, dtype=np.int64) * DAY_MS
    price = 50_000.0 * np.exp(np.cumsum(rng.normal(0.0, 0.03, 120)))
    told = Series(names=("BTC",), time_ms=times, price=price[:, None], source="made")
    own = sources.prices(told)
    found = sources.proxy_error({"BTC": own.strips[0]}, told, hour=9.0)
    assert [one["tenor_days"] for one in found] == [7, 30, 90]
    for one in found:
        assert one["abs"] == pytest.approx(0.0, abs=1e-12)
        assert one["correlation"] == pytest.approx(1.0)
        assert one["variance_ratio"] == pytest.approx(1.0)
        assert one["autocorrelation"] == pytest.approx(one["autocorrelation_real"])
    twice = [replace(one, smile=one.smile * 2.0) for one in own.strips[0]]
    other = sources.proxy_error({"BTC": twice}, told, hour=9.0)
    assert all(one["mean"] < -0.1 for one in other)


# ── smiles, coins, stops ─────────────────────────────────────────────────────────────────────────


def test_a_smile_is_a_monotone_cubic() -> None:
    """scipy's PCHIP through the same nodes; no kink at the money; straight beyond the ends."""
    smile, years = np.array([0.62, 0.55, 0.50, 0.52, 0.57]), 0.25
    d1 = np.array([1.2815515655446004, 0.6744897501960817, 0.0, -0.6744897501960817,
                   -1.2815515655446004])  # fmt: skip
    node = (-d1 * smile * 0.5 + 0.5 * smile**2 * 0.25) / (0.5 * 0.5)
    node[2] = 0.0
    curve = PchipInterpolator(node, smile)
    inside = np.linspace(node[0], node[-1], 41)
    assert smile_at(smile, years, inside) == pytest.approx(curve(inside), rel=1e-12)
    beyond = np.array([node[0] - 0.3, node[-1] + 0.3])
    ends = smile[[0, -1]] + np.array([-0.3, 0.3]) * curve.derivative()(node[[0, -1]])
    assert smile_at(smile, years, beyond) == pytest.approx(ends, rel=1e-12)
    step = 1e-6
    left, middle, right = smile_at(smile, years, np.array([-step, 0.0, step]))
    assert abs((right - middle) - (middle - left)) / step < 1e-4
    assert smile.min() <= smile_at(smile, years, inside).min()


@pytest.mark.parametrize(("rulebook", "coins"), [("deribit-pm", True), ("tims", False)])
def test_coins_lost_are_held_against_what_is_asked(rulebook: str, coins: bool) -> None:
    """10 coins long from 50,000 to 45,000 are 10·(50/45 − 1) = 1.11 coins lost.

    Deribit asks in coin: told at the first index, 55,556 dollars. In dollars the coins are worth
    50,000 where they are owed.
    """
    long = Portfolio(name="long", kind="linear", underlying="BTC", legs=(Leg(10.0),))
    found = backtest(
        rulebook, straight(50_000.0, 45_000.0), [long], contracts=["inverse"], processes=1
    )
    lost = 10.0 * (50_000.0 / 45_000.0 - 1.0)
    expected = lost * (50_000.0 if coins else 45_000.0)
    assert -found.pnl_micro[0, 0, 0] / MICRO == pytest.approx(expected, rel=1e-9)
    (note,) = [one for one in found.notes if one.code == "counted"]
    assert ("in the coin" if coins else "in dollars") in note.text


def test_rulebooks_say_in_what_they_count() -> None:
    day = moment_of(T0).date()
    counted = {name: in_coin(rulebook_in_force(name, day)) for name in (
        "deribit-pm", "deribit-sm", "bitmex", "solvent-core", "fhs", "bybit-uta")}  # fmt: skip
    assert counted == {"deribit-pm": True, "deribit-sm": True, "bitmex": True,
                       "solvent-core": False, "fhs": False, "bybit-uta": False}  # fmt: skip


def test_a_piece_stops_between_two_days(monkeypatch: pytest.MonkeyPatch) -> None:
    class Told:
        """An event that is set after three looks."""

        looks = 0

        def is_set(self) -> bool:
            self.looks += 1
            return self.looks > 3

    seen: list[int] = []
    bench = Bench(history=straight(1.0, 1.0), rulebooks=(), portfolios=())
    monkeypatch.setattr(run, "judge_day", lambda _, date: seen.append(date))
    monkeypatch.setattr(run, "_BENCH", [(bench, Told())])
    run._piece(range(5, 15))
    assert seen == [5, 6, 7]


@pytest.mark.parametrize("kept", [True, False])
def test_who_stops_a_run_is_told_what_is_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any, kept: bool
) -> None:
    def stopped(*_: object, progress: Any, **__: object) -> CourtResult:
        progress(16, 20)
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "backtest", stopped)
    store = ["--store", str(tmp_path)] if kept else []
    done = CliRunner().invoke(app, ["backtest", "deribit-pm", "--generated", "20", *store])
    assert done.exit_code == 130
    said = "16 of 20 days are kept in" if kept else "16 of 20 days; nothing is kept without --store"
    assert said in " ".join(done.stderr.split())


def test_a_strip_says_whether_it_is_the_proxys() -> None:
    real = strip(0, 50_000.0)
    assert isinstance(real, Strip)
    assert not real.stated
    times = (20_000 * 24 + 9) * 3_600_000 + np.arange(80, dtype=np.int64) * DAY_MS
    price = 100.0 * np.exp(np.cumsum(np.random.default_rng(2).normal(0.0, 0.02, 80)))
    told = Series(names=("BTC",), time_ms=times, price=price[:, None], source="made")
    assert all(one.stated for one in sources.prices(told).strips[0])
