"""Rulebooks of joint scenarios and tails: what they ask for, both ways, and everything around."""

from __future__ import annotations

import tomllib
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from solvent import api, publishing
from solvent.cli import app
from solvent.errors import BadInput, RulebookError
from solvent.feeds.histories import write_history
from solvent.feeds.library import rulebook_source, shipped_rulebook
from solvent.feeds.synthetic_book import Venue, generate_book
from solvent.feeds.synthetic_market import generate_market
from solvent.margining.compile import plan_of
from solvent.margining.evaluate import requirements
from solvent.margining.exact import exact_sets
from solvent.margining.history_text import HistoryText
from solvent.margining.plan import Plan
from solvent.margining.rulebook import check_rulebook, read_rulebook
from solvent.margining.schema import RulebookText
from solvent.margining.steepness import dollars_per_lot
from solvent.market import Snapshot
from solvent.risk import book
from solvent.risk.wire import decode_arrays
from solvent.scenarios import JointShocks
from solvent.scenarios.history import HistorySpec
from solvent.solvency.rulebook_bands import RulebookBands
from solvent.solvency.steady import Guard
from solvent.whatif import Desk, compare, holdings
from tests.past import past

MARKET = generate_market(seed=11, expiries=3, strikes=6)


@pytest.fixture(scope="module")
def fhs() -> Plan:
    return api.prepare(MARKET, shipped_rulebook("fhs"), history=past(MARKET))


@pytest.fixture(scope="module")
def some() -> Venue:
    return generate_book(MARKET, accounts=120, seed=5)


def rulebook(**parts: Any) -> RulebookText:
    """The shipped one with other parts."""
    content = tomllib.loads(rulebook_source("fhs"))
    for name, part in parts.items():
        content[name] = part
    return check_rulebook(content, source="mine")


def blend() -> RulebookText:
    """SPAN 2: x·HVaR + (1 − x)·stress, the stress told point by point with probabilities."""
    scan = tomllib.loads(rulebook_source("fhs"))["scans"]["tail"]
    points = [
        {"move": m, "numbers": {"probability": p}} for m, p in ((-0.3, 1), (0.0, 6), (0.4, 2))
    ]
    return rulebook(
        scenarios={
            "core": {"joint": "core"},
            "stress": {"points": points, "numbers": {"probability": 1}},
        },
        scans={
            "hvar": {**scan, "reduce": {"value_at_risk": 0.95}},
            "middle": {**scan, "reduce": {"harrell_davis": 0.9}},
            "stress": {**scan, "scenarios": ["stress"], "reduce": {"expected_shortfall": 0.6}},
        },
        parameters={"x": 0.75},
        requirement={
            "node": "account",
            "initial": "x * hvar + (1 - x) * stress",
            "maintenance": "0.5 * middle",
        },
    )


def shocks(count: int = 120, *, equal: bool = False, seed: int = 3) -> JointShocks:
    rng = np.random.default_rng(seed)
    shape = (2, count)
    weight = np.full(count, 1.0 / count) if equal else rng.dirichlet(np.ones(count))
    return JointShocks(
        name="drawn", underlyings=("ETH", "BTC"), weight=weight,
        move=np.expm1(rng.standard_t(4, shape) * 0.04), level=rng.normal(0.0, 0.05, shape),
        skew=rng.normal(0.0, 0.02, shape), term=rng.normal(0.0, 0.02, shape),
        basis=rng.normal(0.0, 0.01, shape), time_ms=np.zeros(count, dtype=np.int64),
    )  # fmt: skip


def test_what_is_missing_is_named() -> None:
    with pytest.raises(
        RulebookError, match=r"^fhs: scenarios.core: expected a history .*found none"
    ):
        api.prepare(MARKET, "fhs")
    with pytest.raises(
        RulebookError, match=r"scenarios.core: expected joint shocks \(joint={'core'"
    ):
        api.prepare(MARKET, blend())
    with pytest.raises(RulebookError, match="joint: expected shocks for core, found other"):
        api.prepare(MARKET, blend(), joint={"core": shocks(), "other": shocks()})
    plan = api.prepare(MARKET, blend(), joint={"core": shocks()})
    with pytest.raises(BadInput, match="prepared with its scenarios"):
        api.margin([], plan, joint={"core": shocks()})


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"scenarios": {"core": {"joint": "a", "moves": [0.1]}}}, "one of `moves`"),
        ({"scenarios": {"core": {"joint": "a", "vols": ["up"]}}}, "bring volatilities"),
        ({"scenarios": {"core": {"history": {"decay": 2.0}}}}, "history.decay: expected between"),
        ({"scenarios": {"core": {"history": {"years": 2}}}}, "Extra inputs"),
        ({"nodes": {"currency": {"by": ["underlying", "settlement"]},
                    "account": {"by": [], "numeraire": "coin"}}}, "counted in dollars"),
    ],
)  # fmt: skip
def test_what_cannot_be_said(parts: dict[str, Any], words: str) -> None:
    with pytest.raises(RulebookError, match=words):
        rulebook(**parts)


@pytest.mark.parametrize(
    ("reduce", "words"),
    [
        ("best", "worst"),
        ({"expected_shortfall": 1.0}, "less than 1"),
        ({"value_at_risk": 0.2}, "greater than or equal to 0.5"),
        ({"value_at_risk": 0.9, "expected_shortfall": 0.9}, "expected one of"),
        ({}, "expected one of"),
    ],
)
def test_a_tail_is_one_at_a_level(reduce: Any, words: str) -> None:
    scan = tomllib.loads(rulebook_source("fhs"))["scans"]["tail"]
    with pytest.raises(RulebookError, match=words):
        rulebook(scans={"tail": {**scan, "reduce": reduce}})
    two = {"core": {"joint": "core"}, "more": {"joint": "more"}}
    with pytest.raises(RulebookError, match="a tail is of one scenario set"):
        rulebook(scenarios=two, scans={"tail": {**scan, "scenarios": ["core", "more"]}})


def test_history_is_told_field_by_field() -> None:
    assert set(HistoryText.model_fields) == {one.name for one in fields(HistorySpec)}
    told = HistoryText.model_validate(
        {
            "lookback_days": 500, "windows": [{"start": "2020-03-01", "end": "2020-04-01"}],
            "proxies": [{"name": "DOGE", "factors": ["BTC"]}],
        }
    ).spec()  # fmt: skip
    assert told.lookback_days == 500
    assert told.windows[0].start_ms == 1_583_020_800_000
    assert told.proxies[0].factors == ("BTC",)


def test_old_sets_are_written_as_before() -> None:
    """A rulebook without joint sets has the digest that it had."""
    grid = shipped_rulebook("deribit-pm").scenarios
    assert all({"joint", "history"}.isdisjoint(one.model_dump()) for one in grid.values())


def test_a_coin_without_a_row_is_refused_by_name() -> None:
    one = shocks()
    alone = replace(one, underlyings=("BTC",), **{
        part: getattr(one, part)[:1] for part in ("move", "level", "skew", "term", "basis")
    })  # fmt: skip
    plan = api.prepare(MARKET, blend(), joint={"core": alone})
    eth = MARKET.universe.underlying == MARKET.universe.underlyings.index("ETH")
    reasons = np.array(plan.refusal, dtype=object)
    assert all("scenarios.core has no row for ETH" in reason for reason in reasons[eth])
    assert not any(reasons[~eth])


def test_surfaces_move_as_told() -> None:
    """σ·exp(level + skew·x + term·ln(T/30)), by hand; a basis moves dated prices alone."""
    one = shocks(4, equal=True)
    plan = api.prepare(MARKET, blend(), joint={"core": one})
    arrays, universe = plan.arrays, MARKET.universe
    for row in np.flatnonzero(universe.is_option & MARKET.usable)[::7].tolist():
        coin = one.underlyings.index(universe.underlyings[universe.underlying[row]])
        sigma, years = float(MARKET.vol[row]), float(MARKET.years[row])
        x = np.log(universe.strike[row] / MARKET.forward[row]) / (sigma * np.sqrt(years))
        x, slope = np.clip(x, -3.0, 3.0), np.clip(np.log(years * 365.0 / 30.0), -2.0, 2.0)
        shift = one.level[coin] + one.skew[coin] * x + one.term[coin] * slope
        found = arrays.shocks.vol[row, arrays.shocks.vol_state[:4]]
        assert found == pytest.approx(sigma * np.exp(shift), rel=1e-12)
    perpetual = universe.symbols.index("BTC-PERPETUAL")
    growth = arrays.shocks.growth[arrays.shocks.growth_row[perpetual]][:4]
    assert growth == pytest.approx(1.0 + one.move[1], rel=1e-15)


PLANS: dict[bool, Plan] = {}


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.booleans())
def test_book_way_stays_within_a_quantum_per_lot_of_the_exact_way(seed: int, blended: bool) -> None:
    if not PLANS:
        PLANS[True] = api.prepare(MARKET, blend(), joint={"core": shocks()})
        PLANS[False] = api.prepare(
            MARKET, shipped_rulebook("fhs"), joint={"core": shocks(250, equal=True)}
        )
    plan, rng = PLANS[blended], np.random.default_rng(seed)
    rows = rng.choice(len(MARKET.universe), int(rng.integers(1, 8)), replace=False)
    rows = rows[plan.marginable[rows]]
    if not len(rows):
        return
    lots = rng.integers(-200, 201, len(rows)).astype(np.float64)
    # A book keeps no empty positions, and of nothing else there is no set.
    lots[lots == 0.0] = 1.0
    held = book(
        accounts=["a"], account=np.zeros(len(rows), dtype=np.int32),
        instrument=rows.astype(np.int32), lots=lots, universe=MARKET.universe,
    )  # fmt: skip
    answer = requirements(plan, held)
    (exact,) = exact_sets(plan, dict(zip(rows.tolist(), lots.tolist(), strict=True)))
    quantum = 2.0 * float((np.abs(lots) * plan.bound_per_lot[rows]).sum()) + 1e-6
    for fast, slow in ((answer.sets.initial[0], exact.initial),
                       (answer.sets.maintenance[0], exact.maintenance)):  # fmt: skip
        assert -1e-7 <= fast - slow <= quantum


def test_a_lot_changes_margin_by_no_more_than_its_bound() -> None:
    """Through a blend too: decision 0008's bounds hold for tails."""
    plan, rng = api.prepare(MARKET, blend(), joint={"core": shocks()}), np.random.default_rng(1)
    steep = dollars_per_lot(plan)
    assert steep is not None
    rows = np.flatnonzero(plan.marginable)
    for _ in range(40):
        held = rng.choice(rows, 5, replace=False).astype(np.int32)
        lots = rng.integers(-50, 51, 5).astype(np.float64)
        more = lots.copy()
        more[0] += 7.0
        both = book(
            accounts=["a", "b"], account=np.repeat(np.arange(2, dtype=np.int32), 5),
            instrument=np.tile(held, 2), lots=np.concatenate([lots, more]),
            universe=MARKET.universe,
        )  # fmt: skip
        initial = requirements(plan, both).initial / 1e6
        assert abs(initial[1] - initial[0]) <= 7.0 * steep[held[0]] + 1e-5


def test_explained_by_the_days_of_the_tail(fhs: Plan, some: Venue) -> None:
    answer = api.margin(some.book, fhs, collateral=some.collateral)
    for account in some.book.accounts[:20]:
        view = answer.explain(account)
        for one in view.sets:
            (scan,) = one.scans
            assert scan.share.sum() == pytest.approx(1.0, abs=1e-12)
            assert len(scan.tail) == 8  # 750 days at 99 %: seven and a half
            loss = max(0.0, -float(scan.share @ scan.total))
            assert loss == pytest.approx(one.components["tail"], rel=1e-9, abs=1e-5)
            shares = sum(position.initial for position in one.positions)
            assert shares == pytest.approx(one.initial, rel=1e-9, abs=1e-4)
            day = fhs.arrays.shocks.label(scan.binding, one.underlying)
            assert day[:2] == "20"
            assert "spot" in day


def test_alone_in_a_crowd_and_on_threads(fhs: Plan, some: Venue) -> None:
    crowd = api.margin(some.book, fhs, threads=2).to_polars()
    told = holdings(_rows(some))
    for name in some.book.accounts[:10]:
        alone = Desk(told[name], MARKET, "fhs", history=past(MARKET)).now()
        row = crowd.row(by_predicate=pl.col("account") == name, named=True)
        assert alone.initial == row["initial_margin"]


def _rows(some: Venue) -> list[dict[str, Any]]:
    universe = MARKET.universe
    return [
        {
            "account": some.book.accounts[owner], "instrument": universe.symbols[row],
            "size": float(lots * universe.lot_size[row]),
        }
        for owner, row, lots in zip(
            some.book.account, some.book.instrument, some.book.lots, strict=True
        )
    ]  # fmt: skip


def test_published_arrays_need_no_history(fhs: Plan, some: Venue) -> None:
    """An engine has the arrays alone: scenarios, weights and days come with them."""
    command = publishing.arrays(
        MARKET, fhs.rulebook, name="fhs", key="k", actor="a", history=past(MARKET)
    )
    known = dict(zip(MARKET.universe.symbols, MARKET.universe.instruments, strict=True))
    again = plan_of(fhs.rulebook, decode_arrays(command.arrays, known))
    assert isinstance(again, Plan)
    one, other = requirements(fhs, some.book), requirements(again, some.book)
    assert (one.initial == other.initial).all()
    assert again.arrays.shocks.label(5, 0) == fhs.arrays.shocks.label(5, 0)
    weighed = api.prepare(MARKET, blend(), joint={"core": shocks()})
    assert not weighed.scans[0].tail.alike  # type: ignore[union-attr]


def test_bands_say_what_they_cannot_prove(fhs: Plan) -> None:
    bands = RulebookBands(fhs, assets=("USDC",), inputs=None, guard=Guard())
    assert bands.unbounded == "fhs: scenarios.core: joint shocks"


def test_compare_and_price_of_liquidation() -> None:
    price = float(MARKET.index[MARKET.universe.underlyings.index("BTC")])
    rows = [{"account": "a", "instrument": "BTC-PERPETUAL", "size": 100_000, "entry_price": price}]
    funds = [{"account": "a", "asset": "USDC", "amount": 30_000}]
    found = compare(
        rows, MARKET, ["deribit-pm", "fhs"], collateral=funds, history=past(MARKET)
    ).to_polars()
    fhs_row = found.row(1, named=True)
    assert fhs_row["reason"] == ""
    assert -0.5 < fhs_row["liquidation_down"] < 0.0
    assert fhs_row["initial_margin"] > 0.0


def test_command_line(tmp_path: Path, some: Venue) -> None:
    from solvent.feeds.write import write_market

    history, market, told = (tmp_path / name for name in ("past.csv", "market.csv", "book.csv"))
    write_history(past(MARKET), history)
    write_market(MARKET, market)
    lines = [f"{r['account']},{r['instrument']},{r['size']}" for r in _rows(some)[:40]]
    told.write_text("account,instrument,size\n" + "\n".join(lines) + "\n", "utf-8")
    files = ["--market", str(market), "--positions", str(told), "--rulebook", "fhs"]
    run = CliRunner()
    found = run.invoke(app, ["margin", *files, "--history", str(history)])
    assert found.exit_code == 0, found.output
    account = some.book.accounts[0]
    found = run.invoke(app, ["explain", *files, "--history", str(history), "--account", account])
    assert found.exit_code == 0, found.output
    assert "expected shortfall 0.99" in found.output
    missing = run.invoke(app, ["margin", *files])
    assert isinstance(missing.exception, RulebookError)
    assert "--history FILE" in str(missing.exception)


def test_the_shipped_rulebook_reads_back() -> None:
    text = read_rulebook(rulebook_source("fhs"), source="fhs")
    assert isinstance(text, RulebookText)
    again = check_rulebook(text.model_dump(by_alias=True), source="again")
    assert again == text


def test_thousands_of_scenarios_on_a_market(snapshot: Snapshot) -> None:
    plan = api.prepare(snapshot, blend(), joint={"core": shocks(2_000)})
    assert plan.arrays.scenarios == 2_003
    assert np.isfinite(plan.arrays.pnl).all()
