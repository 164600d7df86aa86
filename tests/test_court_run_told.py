"""What the court tells: judgements, targets, numbers of rulebooks, the report, the command."""

from __future__ import annotations

import csv
import io
import json
import re
from base64 import b64decode
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from solvent.api import rulebook_in_force
from solvent.cli import app
from solvent.errors import BadInput, RulebookError
from solvent.lab.court import sources
from solvent.lab.court.impulse import impulse
from solvent.lab.court.markets import Path as Prices
from solvent.lab.court.parameters import assumed, numbers_of, with_number
from solvent.lab.court.portfolios import named
from solvent.lab.court.proxy import daily, proxy_strips
from solvent.lab.court.report import write_court_report
from solvent.lab.court.result import Cell, CourtResult, Note, Track
from solvent.lab.court.run import backtest
from solvent.lab.court.sensitivity import sensitivities
from solvent.lab.court.verdict import (
    APC_TARGETS,
    Target,
    judge_track,
    judgements,
    missed,
    stretches,
    verdict,
)
from solvent.scenarios.history.series import Series
from solvent.units import DAY_MS
from tests.conftest import need_shared

DAY = date(2026, 8, 22)


def track(margin: list[int], loss: list[int], *, days: list[int] | None = None) -> Track:
    time = np.array(days or range(len(margin)), dtype=np.int64) * DAY_MS
    return Track(
        rulebook="r", portfolio="p", kind="k", underlying="BTC", time_ms=time,
        until_ms=time + DAY_MS, margin_micro=np.array(margin), loss_micro=np.array(loss),
        gross_micro=np.full(len(margin), 1_000),
    )  # fmt: skip


def result_of(margin: np.ndarray[Any, Any], pnl: np.ndarray[Any, Any]) -> CourtResult:
    """Two rulebooks, one book; the second asks for twice the margin."""
    days = len(margin)
    time = np.arange(days, dtype=np.int64) * DAY_MS
    asked = np.stack([margin, 2 * margin])[:, None, :].astype(np.int64)
    gained = np.broadcast_to(pnl.astype(np.int64), asked.shape)
    return CourtResult(
        history="made", rulebooks=("one", "two"), digests=("a", "b"), portfolios=("p",),
        kinds=("k",), underlyings=("BTC",), contracts=(("usdc",), ("usdc",)), time_ms=time,
        until_ms=time + DAY_MS, mpor_ms=DAY_MS, index_names=("BTC",), index=np.ones((1, days)),
        initial_micro=asked, maintenance_micro=asked // 2, pnl_micro=gained,
        gross_micro=np.full_like(asked, 1_000), state=np.zeros(asked.shape, dtype=np.int8),
        reasons={}, notes=(Note(code="made", text="made up", count=3),),
    )  # fmt: skip


# ── judgements ───────────────────────────────────────────────────────────────────────────────────


def test_a_breach_is_a_loss_above_the_margin() -> None:
    one = track([10, 10, 10, 10], [10, 11, -50, 30])
    assert one.breach.tolist() == [False, True, False, True]
    assert one.excess_micro.tolist() == [0, 1, 0, 20]
    found = judge_track(one)
    assert (found.coverage.breaches, found.coverage.covered) == (2, 0.5)
    assert found.sizes.largest == pytest.approx(0.020)


def test_cost_and_scores_are_against_the_benchmark() -> None:
    rng = np.random.default_rng(3)
    margin = rng.integers(90, 110, 300)
    result = result_of(margin, rng.normal(0, 40, 300).round())
    one, two = judgements(result, benchmark="one")
    assert one.cost == pytest.approx(1.0)
    assert two.cost == pytest.approx(2.0)
    assert two.against is not None
    assert two.against.statistic is not None
    assert two.against.statistic > 0, "a quantile twice too high scores worse"
    halves = judgements(result, which="maintenance")
    assert halves[1].mean_rate == pytest.approx(one.mean_rate)
    with pytest.raises(BadInput, match="expected one of one, two, found three"):
        judgements(result, benchmark="three")
    with pytest.raises(BadInput, match="level"):
        judgements(result, level=1.0)


def test_a_rise_over_a_hole_is_no_rise() -> None:
    """100 to 900 while 40 days are missing; the largest rise within a stretch is by half."""
    one = track([100, 100, 150, 900, 900], [0] * 5, days=[0, 1, 2, 42, 43])
    assert [len(part) for part in stretches(one)] == [3, 2]
    found = judge_track(one)
    assert found.run.rises[1] == pytest.approx(1.5)
    assert found.run.peak_to_trough == pytest.approx(9.0)


def test_days_that_were_never_asked_for_are_no_hole() -> None:
    """Every fifth day is a step like the others; a day that is missing breaks a pair, no rise."""
    every_fifth = track([100, 100, 150], [0] * 3, days=[0, 5, 10])
    assert not every_fifth.broken.any()
    assert len(stretches(every_fifth)) == 1
    assert judge_track(every_fifth).run.rises[5] == pytest.approx(1.5)
    one_missing = track([100] * 5, [0, 200, 200, 0, 0], days=[0, 1, 3, 4, 5])
    assert one_missing.broken.tolist() == [False, False, True, False, False]
    assert len(stretches(one_missing)) == 1
    clustered = judge_track(one_missing).test("Christoffersen independence")
    assert clustered is not None
    assert clustered.left_out == 1
    assert not track([100], [0]).broken.any()


def test_targets_are_missed_by_how_much() -> None:
    one = judge_track(track([100, 100, 200], [0, 0, 300]))
    told = {str(miss.target.name): str(miss) for miss in missed(one, APC_TARGETS)}
    assert "wanted >= 0.993, off by 0.326" in told["coverage"]
    assert "nothing told" in told["cost"]
    assert "peak to trough" not in told
    assert not missed(one, [Target(name="peak to trough", bound=2.0)])


@given(
    margins=st.lists(st.integers(1, 1_000), min_size=1, max_size=40),
    losses=st.lists(st.integers(-1_000, 1_500), min_size=40, max_size=40),
    more=st.integers(0, 500),
)
@settings(max_examples=40)
def test_more_margin_never_covers_less(margins: list[int], losses: list[int], more: int) -> None:
    told = losses[: len(margins)]
    less, much = track(margins, told), track([one + more for one in margins], told)
    assert judge_track(much).coverage.breaches <= judge_track(less).coverage.breaches
    assert (much.excess_micro <= less.excess_micro).all()


# ── numbers of a rulebook ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["deribit-pm", "derive-pmrm2", "tims", "binance-usdm"])
def test_every_number_can_be_changed(name: str) -> None:
    """Each path that is listed leads to its number: another one there is listed back."""
    rulebook = rulebook_in_force(name, DAY)
    found = numbers_of(rulebook)
    assert len(found) > 5
    for path, number in list(found.items())[:: max(1, len(found) // 8)]:
        try:
            changed = with_number(rulebook, path, number * 1.25)
        except RulebookError:
            continue  # a whole number of something, or a bound of its own
        assert numbers_of(changed)[path] == number * 1.25
        assert changed.digest != rulebook.digest


def test_only_what_is_not_told_is_assumed() -> None:
    rulebook = rulebook_in_force("okx-pm", DAY)
    with_vols = assumed(rulebook, {"shock.vol_up": 0.5, "shock.vol_down": 0.25})
    assert 0.5 in numbers_of(with_vols).values()
    with pytest.raises(RulebookError, match="its text tells it"):
        assumed(rulebook, {"shock.far": 0.5})
    with pytest.raises(RulebookError, match="no table 'shocks'"):
        assumed(rulebook, {"shocks.far": 0.5})


def test_sensitivity_finds_the_number_that_decides() -> None:
    """A long's margin is the fall times the price, a short's the rise: a tenth more of one of the
    two is a tenth more margin of half of the books."""
    market = sources.generated(days=12, coins=("BTC",), seed=2)
    found = sensitivities("tims", market, named(["linear"], ["BTC"])[:2], dates=2)
    assert [one.change for one in found[:2]] == pytest.approx([0.05, 0.05], rel=0.02)
    assert any(one.change == 0.0 for one in found)


# ── the proxy ────────────────────────────────────────────────────────────────────────────────────


def prices_of(returns: np.ndarray[Any, Any]) -> Prices:
    time = (20_000 * 24 + 9) * 3_600_000 + np.arange(len(returns) + 1, dtype=np.int64) * DAY_MS
    return Prices(time_ms=time, price=100.0 * np.exp(np.concatenate([[0.0], np.cumsum(returns)])))


@given(at=st.integers(70, 99), shock=st.floats(-0.6, 0.6))
@settings(max_examples=20)
def test_the_proxy_knows_no_later_price(at: int, shock: float) -> None:
    returns = np.random.default_rng(1).normal(0, 0.03, 100)
    other = returns.copy()
    other[at] += shock
    first, second = (proxy_strips("BTC", prices_of(one), hour=9.0) for one in (returns, other))
    moment = int(prices_of(returns).time_ms[at])
    for one, two in zip(first, second, strict=True):
        if one.as_of_ms <= moment:
            assert one.smile.tobytes() == two.smile.tobytes()
            assert one.index == two.index


def test_a_fall_lifts_near_vols_more_than_far_ones() -> None:
    returns = np.random.default_rng(1).normal(0, 0.02, 100)
    returns[-1] = -0.25
    before, after = proxy_strips("BTC", prices_of(returns), hour=9.0)[-2:]
    near, far = (after.smile[row, 2] / before.smile[row, 2] for row in (0, -1))
    assert near > far > 1.0


def test_a_short_history_has_no_proxy() -> None:
    with pytest.raises(BadInput, match="more than 60 days"):
        proxy_strips("BTC", prices_of(np.zeros(30)), hour=9.0)


def test_a_days_price_is_the_last_one_told() -> None:
    hours = np.array([1, 5, 8, 26, 80], dtype=np.int64) * 3_600_000
    when, price = daily(Prices(time_ms=hours, price=np.arange(1.0, 6.0)), hour=9.0)
    assert (when // 3_600_000).tolist() == [9, 33]
    assert price.tolist() == [3.0, 4.0]


# ── report and command ───────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def told() -> tuple[CourtResult, dict[str, Any]]:
    market = sources.generated(days=30, seed=4)
    books = named(["target"], market.coins)
    result = backtest(["deribit-pm", "binance-usdm"], market, books, processes=1)
    document = verdict(result, benchmark="deribit-pm", targets={"deribit-pm": APC_TARGETS})
    return result, document


def test_the_report_stands_by_itself(
    told: tuple[CourtResult, dict[str, Any]], tmp_path: Path
) -> None:
    result, document = told
    document = {**document, "impulse": {"book": "b", "step": 3.0, "before": 2,
                                        "curves": {"deribit-pm": [1.0, 1.0, 1.5]}}}  # fmt: skip
    path = tmp_path / "court.html"
    write_court_report(result, document, path)
    page = path.read_text("utf-8")
    head = page.split("<script")[0]
    assert "https://" not in head
    for heading in ("In plain words", "Coverage", "Margin and loss through time", "What it costs",
                    "A step of volatility", "What was repaired or assumed"):  # fmt: skip
        assert f">{heading}</h2>" in page, heading
    assert page.count("<section>") == page.count('href="data:text/csv;base64,')
    packed = re.findall(r'download="average-margin\.csv" href="data:text/csv;base64,([^"]+)"', page)
    rows = list(csv.DictReader(io.StringIO(b64decode(packed[0]).decode())))
    mean = {
        (row["rulebook"], row["kind"]): float(row["mean margin"]) for row in rows
    }  # fmt: skip
    theirs = [one["mean_rate"] for one in document["rows"]
              if one["rulebook"] == "deribit-pm" and one["kind"] == "calendar"]  # fmt: skip
    assert mean["deribit-pm", "calendar"] == pytest.approx(float(np.mean(theirs)), rel=1e-4)


def test_what_was_not_judged_is_listed(told: tuple[CourtResult, dict[str, Any]]) -> None:
    _, document = told
    refused = [one for one in document["not_judged"] if one["rulebook"] == "binance-usdm"
               and one["portfolio"] == "BTC calendar"]  # fmt: skip
    assert [one["days"] for one in refused] == [30]
    assert "tier.leverage" in refused[0]["why"]
    assert any(note["code"] == "no-end" for note in document["notes"])
    json.dumps(document, allow_nan=False)


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["backtest", *map(str, arguments)])


def test_the_command_judges_and_writes(tmp_path: Path) -> None:
    page = tmp_path / "court.html"
    shared = ("--generated", 20, "--portfolios", "linear", "--coin", "BTC", "--processes", 1)
    done = run("deribit-pm", "binance-usdm", *shared, "--benchmark", "deribit-pm", "--json",
               "--out", page, "--store", tmp_path / "pieces")  # fmt: skip
    document = json.loads(done.stdout)
    assert page.exists()
    assert {row["rulebook"] for row in document["rows"]} == {"deribit-pm", "binance-usdm"}
    low = [row for row in document["rows"] if row["breaches"] > 0.01 * row["days"]]
    assert done.exit_code in (0, 1)
    assert done.exit_code == 0 or low
    again = run("deribit-pm", "binance-usdm", *shared, "--benchmark", "deribit-pm", "--json",
                "--store", tmp_path / "pieces")  # fmt: skip
    assert json.loads(again.stdout) == document
    table = run("deribit-pm", *shared)
    assert "the court" in table.stdout
    assert "note: a made-up history of seed 1 (20)" in table.stdout


def test_the_command_refuses_what_it_cannot_do() -> None:
    assert run("deribit-pm").exit_code == 2
    both = run("deribit-pm", "--generated", 20, "--chain", "x.csv")
    assert both.exit_code == 2
    assert run("deribit-pm", "--generated", 20, "--assume", "okx-pm").exit_code == 2
    assert run("deribit-pm", "--generated", 20, "--from", "2031-01-01").exit_code == 2


def test_nothing_judged_is_no_pass() -> None:
    """A rulebook without options is asked for a strangle: no row, and no exit code of success."""
    done = run("binance-coinm", "--generated", 3, "--portfolios", "rolling", "--coin", "BTC",
               "--processes", 1)  # fmt: skip
    assert "nothing could be judged" in done.stdout
    assert done.exit_code == 2


def test_the_command_fails_where_nothing_could_be_judged() -> None:
    asked = ["backtest", "fhs", "--generated", "5", "--coin", "BTC", "--portfolios", "linear"]
    found = CliRunner().invoke(app, [*asked, "--processes", "1"])
    assert found.exit_code == 2
    assert "refused: fhs: BadInput" in found.output


def test_a_flat_margin_has_a_flat_response() -> None:
    """Tiers do not follow volatility; Deribit's futures do not either."""
    found = impulse(["binance-usdm", "deribit-pm"], before=100, after=12, shown=10)
    assert found["step"] == pytest.approx(3.0)
    for curve in found["curves"].values():
        assert len(curve) == 10 + 12
        assert curve == pytest.approx([1.0] * len(curve), abs=2e-3)


# ── real data ────────────────────────────────────────────────────────────────────────────────────


def test_real_surfaces_are_read_whole() -> None:
    path = need_shared("data", "deribit_vol_surface_history.csv.gz")
    history = sources.surfaces(path)
    assert history.coins == ("BTC", "ETH")
    assert (len(history), int((history.until_ms > 0).sum())) == (233, 230)
    assert {note.code: note.count for note in history.notes} == {"gap": 2}
    days = history.between(1_770_163_200_000, 1_770_508_800_000)  # 4 to 8 February 2026: the crash
    found = backtest("deribit-pm", days, named(["linear"], ["BTC"])[:1], processes=1)
    worst = found.pnl_micro[0, 0].min() / found.gross_micro[0, 0].max()
    assert -0.2 < worst < -0.05
    assert (found.state == Cell.JUDGED).all()


def test_a_chain_is_a_strip_of_its_own_vols() -> None:
    """Five points come within a quarter of a vol point of whole chains, in the median."""
    from solvent.feeds.market import read_market

    folder = need_shared("data", "deribit_chains")
    path = sorted(folder.glob("deribit_options_snapshot_20260205*"))[0]
    errors: list[float] = []
    for one in sources.strips_of(read_market([path], skip_bad=True).snapshot):
        for row, (strikes, vols) in enumerate(one.told):
            x = np.log(strikes / one.forward[row]) / (one.smile[row, 2] * one.years[row] ** 0.5)
            from solvent.lab.court.strip import smile_at

            near = np.abs(x) < 1.3
            errors += np.abs(smile_at(one.smile[row], one.years[row], x) - vols)[near].tolist()
    assert len(errors) > 200
    assert float(np.median(errors)) < 0.0025


def test_a_series_of_strips_tells_their_surfaces() -> None:
    market = sources.generated(days=8, coins=("BTC",), seed=1)
    series = sources.series_of(market)
    assert isinstance(series, Series)
    assert series.has_surfaces
    strip = market.strips[0][0]
    level = float(series.level[0, 0])  # type: ignore[index]
    near = int(np.argmin(np.abs(strip.years * 365 - 30)))
    assert np.exp(level) == pytest.approx(strip.smile[near, 2], rel=0.1)
