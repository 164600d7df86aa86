"""Stress: what a scenario says of an account is what margining says on the shocked market."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import solvent as sv
from solvent import publishing
from solvent.elementary import exp
from solvent.engine.standing import has_risk, standings, view
from solvent.errors import BadInput, Reject
from solvent.feeds.histories import read_history
from solvent.feeds.synthetic_book import generate_book
from solvent.feeds.synthetic_market import generate_market
from solvent.instruments import frozen
from solvent.lab.stress.closing import closing_costs, costs_told
from solvent.lab.stress.factors import along_factor, covariance_of, jump_of, measured
from solvent.lab.stress.ladders import ladders
from solvent.lab.stress.oracle import OracleFault, through_filter
from solvent.lab.stress.outage import outage
from solvent.lab.stress.run import losses_over_margin, run
from solvent.lab.stress.scenario import (
    Scenario,
    load_scenario,
    parse_scenario,
    resolve,
    scenario_names,
)
from solvent.lab.stress.shock import Move, Shock, shocked
from solvent.lab.stress.subject import Subject, book_subject, last_market
from solvent.margining.compile import plan_of
from solvent.margining.liquidity import CoinLiquidity
from solvent.market import Flag, Snapshot
from solvent.market.index import IndexRule
from solvent.risk.wire import decode_arrays
from solvent.scenarios.history import Series
from solvent.scenarios.surfaces import surface_coordinates
from solvent.units import MICRO, YEAR_MS, TimeMs
from tests.conftest import ROOT, need_shared
from tests.engines import batch, found, opened

HOUR_MS = 3_600_000
PERPETUAL = "BTC_USDC-PERPETUAL"


@cache
def market() -> Snapshot:
    return generate_market(seed=11, expiries=3, strikes=6)


@cache
def crowd(rulebook: str = "deribit-pm") -> Subject:
    held = generate_book(market(), accounts=40, seed=5)
    return book_subject(held.book, market(), rulebook, collateral=held.collateral)


def mark_of(symbol: str, there: Snapshot | None = None) -> float:
    there = there or market()
    row = there.universe.row(symbol)
    assert row is not None
    return float(there.mark[row])


def hand(text: str, *, own: bool = True) -> Scenario:
    return parse_scenario(text, source="mine.toml", own=own)


def head(**told: Any) -> str:
    """The first line of a scenario's file."""
    parts = {"name": "x", "kind": "hypothetical"} | told
    return f"scenario = {{{', '.join(f'{k} = {json.dumps(v)}' for k, v in parts.items())}}}\n"


def told(coin: str, spot: float, **more: Any) -> str:
    """A scenario of one move."""
    return head(**more) + f'move = [{{underlying = "{coin}", spot = {spot}, source = "s"}}]\n'


# ── the shocked market, by hand ──────────────────────────────────────────────────────────────────


def by_hand(there: Snapshot, moves: Mapping[str, Move], hours: float) -> Snapshot:
    """The market a scenario leads to, an instrument at a time."""
    universe = there.universe
    names = universe.underlyings
    index = there.index.copy()
    curve_forward = there.curves.forward.copy()
    columns = {n: getattr(there, n).copy() for n in ("forward", "mark_forward", "mark", "vol",
                                                     "bid", "ask", "flags")}  # fmt: skip
    x, term = surface_coordinates(there, universe.is_option & there.usable)
    for code, name in enumerate(names):
        index[code] *= 1.0 + moves.get(name, Move()).spot
    growth = np.ones(len(there.curves))
    for curve in range(len(there.curves)):
        move = moves.get(names[there.curves.underlying[curve]], Move())
        years = max(int(there.curves.expiry_ms[curve]) - int(there.as_of_ms), 0) / YEAR_MS
        growth[curve] = float(exp(np.array([move.basis * years]))[0])
        curve_forward[curve] = curve_forward[curve] * (1.0 + move.spot) * growth[curve]
    later = int(there.as_of_ms) + round(hours * HOUR_MS)
    for row in range(len(universe)):
        move = moves.get(names[universe.underlying[row]], Move())
        dated = growth[there.curve[row]] if there.curve[row] >= 0 else 1.0
        option = bool(universe.is_option[row])
        for name in ("forward", "mark_forward"):
            columns[name][row] = columns[name][row] * (1.0 + move.spot) * dated
        for name in ("mark", "bid", "ask"):
            if not option:
                columns[name][row] = columns[name][row] * (1.0 + move.spot) * dated
        if option:
            shift = move.level + move.skew * x[row] + move.term * term[row]
            columns["vol"][row] = there.vol[row] * float(exp(np.array([shift]))[0])
            if move != Move() or hours:
                columns["flags"][row] |= np.uint16(Flag.MARK_DERIVED)
        if 0 < universe.expiry_ms[row] <= later:
            columns["flags"][row] |= np.uint16(Flag.EXPIRED)
    return replace(
        there, as_of_ms=TimeMs(later), index=frozen(index),
        curves=replace(there.curves, forward=frozen(curve_forward)),
        **{name: frozen(column) for name, column in columns.items()},
    )  # fmt: skip


@st.composite
def shocks(draw: st.DrawFn) -> tuple[dict[str, Move], float]:
    def move() -> Move:
        return Move(
            spot=draw(st.sampled_from((0.0, -0.45, -0.1, 0.3))),
            level=draw(st.sampled_from((0.0, 0.6, -0.4))),
            skew=draw(st.sampled_from((0.0, 0.05))), term=draw(st.sampled_from((0.0, -0.2))),
            basis=draw(st.sampled_from((0.0, -0.3))),
        )  # fmt: skip

    coins = draw(st.sampled_from((("BTC",), ("BTC", "ETH"))))
    return {name: move() for name in coins}, draw(st.sampled_from((0.0, 6.0)))


@settings(max_examples=6, derandomize=True)
@given(case=shocks(), rulebook=st.sampled_from(("deribit-pm", "deribit-sm", "paradex-pm")))
def test_a_stress_is_a_full_re_margin_of_the_shocked_market(
    case: tuple[dict[str, Move], float], rulebook: str
) -> None:
    """Shock the snapshot by hand, publish arrays afresh, margin afresh: the same to the unit."""
    moves, hours = case
    rows = [
        {"account": "a", "instrument": PERPETUAL, "size": 1.5, "entry_price": 60_000.0},
        {"account": "a", "instrument": symbol("BTC_USDC", "P"), "size": -3},
        {"account": "b", "instrument": "ETH_USDC-PERPETUAL", "size": -40, "entry_price": 1_900.0},
        {"account": "b", "instrument": symbol("BTC_USDC", "C"), "size": 2},
        {"account": "b", "instrument": PERPETUAL, "size": 2, "entry_price": 64_000.0},
    ]
    money = [{"account": "a", "asset": "USDC", "amount": 50_000.0},
             {"account": "b", "asset": "USDC", "amount": 90_000.0}]  # fmt: skip
    subject = book_subject(rows, market(), rulebook, collateral=money)
    assert subject.hours(Shock(hours=hours)) == hours
    stand = subject.at(Shock(moves=moves, hours=hours))
    there = by_hand(market(), moves, hours)
    command = publishing.arrays(there, rulebook, name="r", key="k", actor="t")
    known = {one.symbol: one for one in there.universe.instruments}
    arrays = decode_arrays(command.arrays, known)
    plan = plan_of(subject.groups[0].rulebook, arrays)
    fresh = sv.margin(rows, plan, collateral=money).to_polars()
    for name, column in (("equity", stand.equity_micro), ("initial_margin", stand.initial_micro),
                         ("maintenance_margin", stand.maintenance_micro)):  # fmt: skip
        assert [round((one or 0.0) * MICRO) for one in fresh[name].to_list()] == column.tolist(), (
            name
        )
    assert fresh["status"].to_list() == stand.words.tolist()


@cache
def symbol(book: str, side: str, *, place: int = -1) -> str:
    """An option near the money of the last expiry."""
    universe = market().universe
    rows = [s for s in universe.symbols if s.startswith(f"{book}-") and s.endswith(f"-{side}")]
    last = max(int(universe.instruments[universe.row(s) or 0].expiry_ms or 0) for s in rows)
    mine = [s for s in rows if universe.instruments[universe.row(s) or 0].expiry_ms == last]
    spot = float(market().index[universe.underlyings.index(book.split("_")[0])])
    strikes = {s: float(universe.strike[universe.row(s) or 0]) for s in mine}
    return sorted(mine, key=lambda s: abs(strikes[s] - spot))[max(place, 0)]


@pytest.mark.parametrize("rulebook", ["deribit-pm", "bybit-uta"])
def test_without_a_shock_everybody_stands_where_margining_says(rulebook: str) -> None:
    there = generate_market(seed=1)
    files: dict[str, Any] = {"collateral": ROOT / "examples" / "balances.csv"}
    book = ROOT / "examples" / "book.csv"
    stand = book_subject(book, there, rulebook, **files).now
    frame = sv.margin(book, there, rulebook, **files).to_polars()
    told = [None if not known else round(x / MICRO, 6)
            for x, known in zip(stand.equity_micro.tolist(), stand.known, strict=True)]  # fmt: skip
    assert told == pytest.approx(frame["equity"].to_list(), abs=2e-6)
    assert stand.words.tolist() == frame["status"].to_list()


def test_a_venue_is_judged_as_its_engine_judges_on_the_shocked_market(tmp_path: Path) -> None:
    """Publish the shocked market and its arrays as commands: the engine's own standings."""
    url = tmp_path / "venue"
    found(url)
    with opened(url) as engine:
        draw = random.Random(4)
        engine.submit_all(batch(engine.state, draw, 150))
        there = last_market(engine.journal, engine.state)
        subject = sv.stress(engine, scenarios=["crash-50"]).subject
        assert len(subject) >= 6
        move = Move(spot=-0.3, level=0.5)
        stand = subject.at(Shock(moves={"*": move}))
        moved = shocked(there, Shock(moves={"*": move}))
        rulebook = engine.state.rules["deribit-pm"].rulebook
        told = [publishing.market(moved, key="m2", actor="venue"),
                publishing.arrays(moved, rulebook, name="deribit-pm", key="a2",
                                  actor="venue")]  # fmt: skip
        assert all(one.accepted for one in engine.submit_all(told))
        state = engine.state
        # Orders count in the engine's initial margin; equity and maintenance are of positions.
        for name, equity, maintenance in zip(
            subject.names, stand.equity_micro.tolist(), stand.maintenance_micro.tolist(),
            strict=True,
        ):  # fmt: skip
            seen = view(state, state.account(state.account_numbers[name]))
            assert has_risk(seen)
            mine = standings(state, [seen])[0]
            assert mine.known
            assert (mine.equity_micro, mine.maintenance_micro) == (equity, maintenance), name


def test_a_position_without_an_entry_price_is_entered_at_the_mark_of_now() -> None:
    row = {"account": "a", "instrument": PERPETUAL, "size": 2}
    money = [{"account": "a", "asset": "USDC", "amount": 30_000.0}]
    subject = book_subject([row], market(), collateral=money)
    assert subject.notes == ("1 positions without an entry price are entered at the mark of now",)
    assert subject.now.equity_micro.tolist() == [30_000 * MICRO]
    after = subject.at(Shock(moves={"BTC": Move(spot=-0.1)}))
    lost = 30_000.0 - after.equity_micro[0] / MICRO
    assert lost == pytest.approx(0.2 * mark_of(PERPETUAL), abs=1e-4)


def test_time_stops_before_a_contract_that_is_held_expires() -> None:
    first = min(int(e) for e in market().universe.expiry_ms if e > market().as_of_ms)
    near = next(one for one in market().universe.instruments if one.expiry_ms == first
                and one.symbol.endswith("-P"))  # fmt: skip
    subject = book_subject([{"account": "a", "instrument": near.symbol, "size": 1}], market())
    left = (first - int(market().as_of_ms)) / HOUR_MS
    assert subject.hours(Shock(hours=500.0)) == pytest.approx(left - 1 / 60)
    outcome = run(subject, [hand(told("BTC", -0.1, hours=500))])
    assert "time stops after" in outcome.of("x").notes[-1]
    assert outcome.before.known.all()
    assert outcome.of("x").stand.known.all()


# ── scenarios as data ────────────────────────────────────────────────────────────────────────────


def test_every_shipped_number_says_where_it_is_from() -> None:
    kinds = set()
    for name in scenario_names():
        text = load_scenario(name).text
        kinds.add(text.scenario.kind)
        assert text.scenario.name == name
        assert text.scenario.about
        assert text.scenario.title
        for row in (*text.move, *text.collateral, text.factor, text.jump, text.outage, text.oracle):
            if row is not None:
                assert len(row.source) > 10, name
                assert row.date is not None, name
    assert kinds == {"historical", "hypothetical", "factor", "jump", "depeg", "outage", "oracle"}


@pytest.mark.parametrize(
    ("name", "coin", "file", "begin", "end"),
    [
        ("2020-03-12", "BTC", ("btc_hourly_2019_2025", "btc-hourly-price.csv.gz"),
         "2020-03-12T02:00", "2020-03-13T02:00"),
        ("2021-05-19", "ETH", ("crypto_1h_2020_2022", "ETHUSDT_1h.csv.gz"),
         "2021-05-18T13:00", "2021-05-19T13:00"),
        ("2025-10-10", "SOL", ("crypto_15m_2025", "SOL_USD_15m.csv.gz"),
         "2025-10-10T05:30", "2025-10-11T05:30"),
    ],
)  # fmt: skip
def test_historical_moves_are_those_of_the_data(
    name: str, coin: str, file: tuple[str, str], begin: str, end: str
) -> None:
    series = read_history(need_shared("data", *file), name=coin)
    first, last = (int(np.datetime64(one, "ms").astype(np.int64)) for one in (begin, end))
    at = {int(t): float(p) for t, p in zip(series.time_ms, series.price[:, 0], strict=True)}
    assert load_scenario(name).told.of(coin).spot == round(at[last] / at[first] - 1.0, 4)


@pytest.mark.soak
def test_february_2026_is_the_worst_day_of_its_surfaces() -> None:
    series = read_history(need_shared("data", "deribit_vol_surface_history.csv.gz"))
    moves = measured(series, ("BTC", "ETH"), volatility=True)
    worst = moves.windows[int(np.argmin(moves.windows[:, 0]))]
    told = load_scenario("2026-02-05").told
    assert [math.log1p(told.of(one).spot) for one in ("BTC", "ETH")] == pytest.approx(
        worst[:2].tolist(), abs=2e-4
    )
    assert [told.of(one).level for one in ("BTC", "ETH")] == pytest.approx(
        worst[2:].tolist(), abs=2e-4
    )


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        (head(), Reject.INPUT_INVALID, "a move or more"),
        ('scenario = {kind="hypothetical"}', Reject.FIELD_MISSING, "nothing"),
        (head() + 'move=[{underlying="B", spot=nan, source="s"}]', Reject.FIELD_NOT_FINITE, "fin"),
        (told("BTC", -1.5), Reject.INPUT_INVALID, "expected -0.999 or more"),
        (head() + 'move=[{underlying="BTC", spot=-0.5}]', Reject.FIELD_MISSING, "nothing"),
        (told("BTC", 0.1, depth=3), Reject.INPUT_INVALID, "expected one of name, title"),
        (told("BTC", 0.1, kind="outage"), Reject.INPUT_INVALID, "[outage]"),
        (head(kind="depeg"), Reject.INPUT_INVALID, "[[collateral]]"),
        (
            head() + 'move=[{underlying="A", source="s"}, {underlying="A", source="s"}]',
            Reject.INPUT_INVALID, "found twice: A",
        ),
        (
            told("BTC", 0.1, kind="oracle")
            + '[oracle]\nunderlying="BTC"\nstuck=["a"]\nseconds=20\nramp_seconds=21\nsource="s"',
            Reject.INPUT_INVALID, "ramp_seconds up to seconds",
        ),
        ("scenario = {", Reject.SOURCE_UNREADABLE, "TOML"),
    ],
)  # fmt: skip
def test_a_bad_scenario_file_says_what_is_wrong(text: str, code: Reject, words: str) -> None:
    with pytest.raises(BadInput) as raised:
        hand(text)
    assert raised.value.problems[0].code is code
    assert words in str(raised.value)


def test_an_unknown_underlying_of_a_users_file_is_bad_input_and_a_shipped_one_is_noted() -> None:
    text = told("DOGE", -0.5)
    with pytest.raises(BadInput, match=r"expected an underlying of the market \(BTC, ETH\), or"):
        run(crowd(), [hand(text)])
    noted = resolve(hand(text, own=False), ("BTC", "ETH")).notes
    assert noted == ("not in this market: DOGE", "stands still: BTC, ETH")
    with pytest.raises(BadInput, match=r"a path to a \.toml, or one of 2020-03-12"):
        load_scenario("1929-10-29")


def test_a_users_scenario_may_move_a_coin_of_the_market_that_nobody_holds() -> None:
    subject = linear(10.0, 140_000.0)
    assert subject.underlyings == ("BTC",)
    both = head() + (
        'move = [{underlying = "BTC", spot = -0.3, source = "s"}, '
        '{underlying = "ETH", spot = -0.4, source = "s"}]'
    )
    found_, alone = (run(subject, [hand(text)]).of("x") for text in (both, told("BTC", -0.3)))
    assert found_.stand.equity_micro.tolist() == alone.stand.equity_micro.tolist()
    assert found_.stand.equity_micro[0] < subject.now.equity_micro[0]
    assert found_.notes == ()
    with pytest.raises(BadInput, match=r"an underlying of the market \(BTC, ETH\)"):
        run(subject.only(["a"]), [hand(told("DOGE", -0.5))])


def test_a_factor_is_the_same_whoever_is_asked_about() -> None:
    """The mean of all prices is that of the market, not of what an account happens to hold."""
    rows = [{"account": name, "instrument": instrument, "size": 1.0}
            for name, instrument in (("a", PERPETUAL), ("b", "ETH_USDC-PERPETUAL"))]  # fmt: skip
    whole = book_subject(rows, market())
    text = head(kind="factor") + '[factor]\nwhich = "market"\ndeviations = -4.0\nsource = "s"'
    all_, one = (
        run(subject, [hand(text)], history=planted()).of("x")
        for subject in (whole, whole.only(["a"]))
    )
    assert whole.only(["a"]).underlyings == ("BTC",)
    assert one.resolved.shock == all_.resolved.shock
    assert one.stand.equity_micro.tolist() == all_.stand.equity_micro[:1].tolist()


def test_scaling_is_in_logs_and_leaves_time() -> None:
    found_ = resolve(load_scenario("2020-03-12"), ("BTC",), scale=2.0)
    assert found_.shock.of("BTC").spot == pytest.approx((1.0 - 0.451) ** 2 - 1.0)
    assert found_.shock.hours == 24.0
    with pytest.raises(BadInput, match="scale"):
        resolve(load_scenario("2020-03-12"), ("BTC",), scale=math.nan)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("crash-50", "a move of -0.999023"),
        ("squeeze-25", "a shift of 3.36"),
        ("vol-double", "a shift of 6.93"),
        ("2020-03-12", "10 times 2020-03-12"),
    ],
)
def test_a_scale_too_far_is_bad_input_that_names_the_move(name: str, words: str) -> None:
    with pytest.raises(BadInput, match="scale: expected moves of") as raised:
        resolve(load_scenario(name), ("BTC",), scale=10.0)
    assert words in str(raised.value)


def test_what_is_lost_whole_and_a_year_do_not_scale() -> None:
    text = (
        head(kind="depeg", hours=24.0 * 365)
        + 'collateral = [{asset = "USDC", worth = -1.0, source = "s"}]'
    )
    depeg = resolve(load_scenario("usdc-depeg-10"), ("BTC",), scale=10.0).shock
    assert depeg.worth["USDC"] == pytest.approx(0.9**10 - 1.0)
    found_ = resolve(hand(text), ("BTC",), scale=3.0).shock
    assert (found_.worth, found_.hours) == ({"USDC": -1.0}, 24.0 * 365)
    with pytest.raises(BadInput, match="scale: expected USDC worth up to 10 more"):
        resolve(hand(text.replace("-1.0", "2.0")), ("BTC",), scale=3.0)


# ── kinds ────────────────────────────────────────────────────────────────────────────────────────


def linear(size: float, cash: float) -> Subject:
    row = {"account": "a", "instrument": PERPETUAL, "size": size,
           "entry_price": round(mark_of(PERPETUAL), 2)}  # fmt: skip
    money = [{"account": "a", "asset": "USDC", "amount": cash}]
    return book_subject([row], market(), collateral=money)


def test_a_depeg_takes_its_part_of_the_collateral_and_nothing_else() -> None:
    subject = linear(1.0, 40_000.0)
    found_ = run(subject, [load_scenario("usdc-depeg-10")])
    before, after = subject.now, found_.of("usdc-depeg-10").stand
    assert before.equity_micro[0] - after.equity_micro[0] == 4_000 * MICRO
    assert after.maintenance_micro[0] == before.maintenance_micro[0]


def test_an_outage_costs_what_closing_out_on_the_way_would_have_kept() -> None:
    subject = linear(10.0, 140_000.0)
    move, steps = Shock(moves={"BTC": Move(spot=-0.4)}, hours=8.0), 10
    found_, stand = outage(subject, move, steps=steps)
    stands = [subject.now, *(subject.at(move.part(k / steps)) for k in range(1, steps + 1))]
    first = next(k for k, one in enumerate(stands) if one.liquidate[0])
    assert 0 < first < steps
    assert found_.closed_step.tolist() == [first]
    assert found_.open_micro.tolist() == [max(-int(stands[first].equity_micro[0]), 0)]
    assert found_.shut_micro.tolist() == [-int(stand.equity_micro[0])]
    assert found_.cost_micro == found_.shut_micro[0] - found_.open_micro[0] > 0
    spot = 0.6 * mark_of(PERPETUAL)
    owed = 10.0 * (mark_of(PERPETUAL) - spot) - 140_000.0
    assert found_.shut_micro[0] / MICRO == pytest.approx(owed, abs=0.2)


RULE = IndexRule(
    underlying="BTC", weights=dict.fromkeys("abcde", 1), clamp_ppm=5_000, quorum=3, tolerated=2,
    leapers=2,
)  # fmt: skip


def fault(**told: Any) -> OracleFault:
    parts: dict[str, Any] = {"wrong": {}, "seconds": 60, "ramp_seconds": 30}
    return OracleFault(**parts | told)


def test_a_minority_of_failing_sources_moves_no_index() -> None:
    for told in ({"stuck": ("a", "b")}, {"silent": ("a", "b")}, {"wrong": {"a": -0.5, "b": 1.0}}):
        found_ = through_filter(RULE, fault(**told), underlying="BTC", price=60_000.0, move=-0.03,
                                now_ms=10**12)  # fmt: skip
        assert found_.ratio is not None
        assert found_.ratio == pytest.approx(0.97, rel=5e-3), told
        assert found_.worst_off <= 0.005


def test_a_majority_that_leaps_is_refused_and_accounts_are_frozen() -> None:
    wrong = dict.fromkeys("abcd", -0.3)
    seen = through_filter(RULE, fault(wrong=wrong), underlying="BTC", price=60_000.0, move=0.0,
                          now_ms=10**12)  # fmt: skip
    assert seen.ratio is None
    assert seen.unknown_seconds == 60
    found_ = run(crowd(), [load_scenario("oracle-wrong")]).of("oracle-wrong").misjudged
    assert found_ is not None
    assert found_.published.ratio is None
    btc = crowd().market.universe.underlyings.index("BTC")
    book = crowd().groups[0].books.book
    holds = {int(a) for a, i in zip(book.account, book.instrument, strict=True)
             if crowd().market.universe.underlying[i] == btc}  # fmt: skip
    assert holds <= set(np.flatnonzero(found_.frozen).tolist())
    assert not found_.wrongly.any()
    assert not found_.missed.any()


def test_a_source_that_the_rule_does_not_name_is_bad_input() -> None:
    with pytest.raises(BadInput, match="sources of the index rule"):
        through_filter(RULE, fault(stuck=("nasdaq",)), underlying="BTC", price=1.0, move=0.0,
                       now_ms=10**12)  # fmt: skip


def test_an_index_that_follows_wrong_sources_liquidates_wrongly() -> None:
    """A rule that believes a majority at once judges accounts by what is not true."""
    gullible = replace(
        RULE, clamp_ppm=5_000, confirm_ms=0, tolerated=2, leapers=2,
        source=replace(RULE.source, leap_ppm=900_000),
    )  # fmt: skip
    text = told("BTC", 0.0, kind="oracle") + (
        '[oracle]\nunderlying="BTC"\nrule="mine"\nseconds=30\nsource="s"\n'
        "wrong = {a=-0.3, b=-0.3, c=-0.3, d=-0.3}"
    )
    subject = linear(10.0, 140_000.0)
    found_ = run(subject, [hand(text)], rules={"mine": gullible}).of("x")
    assert not found_.stand.liquidate.any()
    assert found_.misjudged is not None
    assert found_.misjudged.published.ratio == pytest.approx(0.7)
    assert found_.misjudged.wrongly.tolist() == [True]


# ── of a history ─────────────────────────────────────────────────────────────────────────────────


def planted(count: int = 400, seed: int = 3) -> Series:
    """Daily prices of two coins: ETH is 1.5 times BTC's moves and something of its own."""
    draw = np.random.default_rng(seed)
    btc, own = draw.normal(0.0, 0.03, count), draw.normal(0.0, 0.01, count)
    logs = np.column_stack([btc, 1.5 * btc + own])
    price = np.exp(np.cumsum(logs, axis=0)) * np.array([50_000.0, 2_000.0])
    time_ms = 1_700_000_000_000 // 86_400_000 * 86_400_000 + np.arange(count) * 86_400_000
    return Series(names=("BTC", "ETH"), time_ms=time_ms.astype(np.int64), price=price)


def test_a_factor_is_so_many_deviations_of_the_history() -> None:
    series = planted()
    moves = measured(series, ("BTC", "ETH"))
    logs = np.diff(np.log(series.price), axis=0)
    assert moves.covariance == pytest.approx(logs.T @ logs / len(logs), rel=0.02)
    down = along_factor(series, ("BTC", "ETH", "SOL"), which="market", deviations=-4.0, hours=24.0)
    x = np.log1p([down.moves["BTC"].spot, down.moves["ETH"].spot])
    mean = moves.windows.mean(axis=1)
    assert x.mean() == pytest.approx(-4.0 * math.sqrt(float((mean**2).mean())), rel=1e-9)
    assert x[1] / x[0] == pytest.approx(1.5, rel=0.05)
    assert "not in the history, stands still: SOL" in down.notes
    second = along_factor(series, ("BTC", "ETH"), which=2, deviations=3.0, hours=24.0)
    y = np.log1p([second.moves["BTC"].spot, second.moves["ETH"].spot]) / moves.deviations
    assert y[0] * y[1] < 0.0, "the second component parts the coins"
    assert y @ (x / moves.deviations) == pytest.approx(0.0, abs=0.2)
    with pytest.raises(BadInput, match="a component from 1 to 2"):
        along_factor(series, ("BTC", "ETH"), which=3, deviations=1.0, hours=24.0)


@pytest.mark.parametrize("which", ["market", 1])
def test_a_factor_beyond_what_a_shock_may_say_is_bad_input(which: Any) -> None:
    """A price a hundred times what it was is the most; so many deviations are refused."""
    series = planted()
    far = along_factor(series, ("BTC", "ETH"), which=which, deviations=60.0, hours=24.0)
    assert max(one.spot for one in far.moves.values()) > 5.0
    for deviations in (1e3, -1e3, 1e9):
        with pytest.raises(BadInput, match=r"factor\.deviations.*in logs"):
            along_factor(series, ("BTC", "ETH"), which=which, deviations=deviations, hours=24.0)


@pytest.mark.soak
def test_a_jump_is_one_of_the_law_and_others_follow() -> None:
    draw = np.random.default_rng(1)
    quiet = draw.normal(0.0, 0.01, 280)
    falls = np.zeros(280)
    falls[::14] = -draw.exponential(0.08, 20) - 0.05
    logs = np.column_stack([quiet + falls, 1.2 * falls + draw.normal(0.0, 0.01, 280)])
    price = np.exp(np.cumsum(logs, axis=0)) * np.array([1e5, 1e5])
    times = 1_700_006_400_000 + np.arange(280, dtype=np.int64) * 86_400_000
    series = Series(names=("BTC", "ETH"), time_ms=times, price=price)
    found_ = jump_of(series, ("BTC", "ETH"), leader="BTC", share=0.99, down=True, hours=24.0)
    btc, eth = (math.log1p(found_.moves[one].spot) for one in ("BTC", "ETH"))
    assert -0.9 < btc < -0.2
    assert eth / btc == pytest.approx(1.2, abs=0.15)
    assert any("volatility stands still" in note for note in found_.notes)


def test_a_jump_without_a_history_and_of_an_unknown_leader_is_bad_input() -> None:
    with pytest.raises(BadInput, match="a history of prices for a jump"):
        run(crowd(), [load_scenario("btc-jump")])
    with pytest.raises(BadInput, match="one of BTC, ETH"):
        jump_of(planted(), ("BTC",), leader="DOGE", share=0.99, down=True, hours=24.0)


def test_coordinates_that_cannot_be_told_apart_are_bad_input() -> None:
    with pytest.raises(BadInput, match="moves that differ"):
        covariance_of([("BTC", "spot"), ("ETH", "spot")], [[0.1, 0.1], [-0.2, -0.2]], hours=1.0)
    with pytest.raises(BadInput, match="none of DOGE"):
        measured(planted(), ("BTC", "DOGE"))


# ── cover, closing, ladders ──────────────────────────────────────────────────────────────────────


def test_cover_is_what_the_largest_members_lose_beyond_their_margin() -> None:
    subject = crowd()
    members = {name: f"m{place % 7}" for place, name in enumerate(subject.names)}
    subject = replace(subject, members=members)
    found_ = run(subject, [load_scenario(one) for one in ("2020-03-12", "squeeze-25")])
    before = subject.now
    for name in ("2020-03-12", "squeeze-25"):
        after = found_.of(name).stand
        over: dict[str, int] = {}
        for place, account in enumerate(subject.names):
            lost = int(before.equity_micro[place] - after.equity_micro[place])
            beyond = max(0, lost - int(before.initial_micro[place]))
            over[members[account]] = over.get(members[account], 0) + beyond
        assert losses_over_margin(subject, found_.of(name)) == over
        assert found_.cover(2).by_scenario[name] == sum(sorted(over.values())[-2:])
    assert found_.cover(1).required <= found_.cover(2).required > 0
    table = found_.to_polars()
    assert (table["cover_1"] <= table["cover_2"]).all()
    for name, row in zip(("2020-03-12", "squeeze-25"), table.to_dicts(), strict=True):
        short: dict[str, int] = {}
        for account, equity in zip(
            subject.names, found_.of(name).stand.equity_micro.tolist(), strict=True
        ):
            short[members[account]] = short.get(members[account], 0) + max(0, -equity)
        largest = sorted(short.values(), reverse=True)
        assert (row["cover_1"], row["cover_2"]) == (largest[0] / MICRO, sum(largest[:2]) / MICRO)
    assert (table["shortfall"] * MICRO).round().to_list() == [
        int(np.maximum(-found_.of(one).stand.equity_micro, 0).sum())
        for one in ("2020-03-12", "squeeze-25")
    ]
    assert int(found_.moved("2020-03-12").sum()) == len(subject)
    json.dumps(found_.to_dict(), allow_nan=False)


COINS = [
    CoinLiquidity(
        underlying=name, volume=volume, depth=0.0, half_spread=0.001, vol_half_spread=0.01,
        daily_sd=0.04, vega_volume=(1e7, 5e6, 5e6),
    )
    for name, volume in (("BTC", 1_000.0), ("ETH", 10_000.0))
]  # fmt: skip


def test_who_is_liquidated_pays_for_being_closed_out() -> None:
    subject = linear(10.0, 140_000.0)
    shock = Shock(moves={"BTC": Move(spot=-0.3)})
    there = subject.shocked(shock)
    cost = closing_costs(subject, there, COINS)[0] / MICRO
    notional = 10.0 * float(there.index[0])
    traded = 1_000.0 * float(there.index[0])
    impact = traded * 0.04 * (notional / traded) ** 1.5
    assert cost == pytest.approx(0.001 * notional + impact, rel=0.05)
    text = told("BTC", -0.3)
    with_cost, without = (run(subject, [hand(text)], liquidity=c).of("x") for c in (COINS, None))
    assert with_cost.stand.liquidate.all()
    assert with_cost.cost_micro is not None
    assert with_cost.shortfall_micro - without.shortfall_micro == int(with_cost.cost_micro[0])
    with pytest.raises(BadInput, match="volumes and spreads of BTC"):
        run(subject, [hand(text)], liquidity=COINS[1:])


def test_who_cannot_be_told_a_cost_of_closing_does_not_close_for_nothing() -> None:
    """An option that has expired has no charges; the account beside it has."""
    option = symbol("BTC_USDC", "C")
    rows = [{"account": name, "instrument": instrument, "size": 1.0}
            for name, instrument in (("a", PERPETUAL), ("b", option))]  # fmt: skip
    subject = book_subject(rows, market())
    late = shocked(subject.market, Shock(hours=24.0 * 365))
    with pytest.raises(BadInput, match=f"cost of closing.*found account b: .*{option}"):
        closing_costs(subject, late, COINS)
    whole = subject.groups[0]
    apart = tuple(
        replace(whole, books=whole.books.of(np.array([k])), unlisted=whole.unlisted[[k]])
        for k in range(2)
    )
    for one in (subject, replace(subject, groups=apart)):
        known = one.on(late).known
        assert known.tolist() == [True, False]
        costs = closing_costs(one, late, COINS, known=known)
        assert costs[0] > 0
        assert costs[1] == 0
        found, untold = costs_told(one, late, COINS)
        assert (found == costs).all()
        assert list(untold) == [1]
        assert option in untold[1]
    assert (closing_costs(subject, subject.market, COINS) > 0).all()


def test_a_rung_of_a_ladder_is_a_shock() -> None:
    subject = linear(10.0, 140_000.0)
    climbed = ladders(subject, ("spot", "time", "collateral"), steps=None)
    for rung in climbed.rungs:
        shock = {
            "spot": Shock(moves={"*": Move(spot=rung.step if rung.kind == "spot" else 0.0)}),
            "time": Shock(hours=rung.step if rung.kind == "time" else 0.0),
            "collateral": Shock(worth={"USDC": rung.step if rung.kind == "collateral" else 0.0}),
        }[rung.kind]
        assert rung.stand.equity_micro.tolist() == subject.at(shock).equity_micro.tolist()
    frame = climbed.to_polars()
    spot = frame.filter(frame["ladder"] == "spot")["equity"].to_list()
    assert spot == sorted(spot)
    assert spot[0] < spot[-1]
    with pytest.raises(BadInput, match=r"numbers from -0\.999"):
        ladders(subject, ("spot",), steps=[-1.0])
