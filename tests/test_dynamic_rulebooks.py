"""Rulebooks whose numbers follow the market: signals, notice, emergencies, dated rows."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import solvent as sv
from solvent.cli.dynamic import list_dynamic, run_dynamic
from solvent.cli.rulebooks import rulebooks
from solvent.errors import BadInput, RulebookError
from solvent.feeds.dynamic import dynamic_names, load_dynamic, observations, read_observations
from solvent.feeds.library import differences, load_rulebook, rulebook_names
from solvent.instruments.contract import moment_of
from solvent.margining.dynamic.follow import DynamicState
from solvent.margining.dynamic.signals import Measured, Observation, measure, told
from solvent.margining.dynamic.text import FollowText, SignalText, check_dynamic, read_dynamic
from solvent.margining.dynamic.wrap import Dynamic
from solvent.margining.fragments import to_toml
from solvent.margining.levels.rulebook import in_force as levels_in_force
from solvent.margining.levels.text import LevelsText
from solvent.margining.rulebook import check_levels, check_rulebook, in_force, read_rulebook
from solvent.margining.schema import RulebookText
from solvent.market import Snapshot
from solvent.messages.events import RulebookAdopted
from solvent.publishing import adoption
from tests.test_cli import run_json
from tests.venues import DAY, new_venue

FIRST = date(2026, 3, 1)
HEAD = """
schema = 3
name = "moving"
base = "deribit-pm"
title = "A rulebook that moves"
sources = ["this test"]

[parameters]
reach = 5

[signals.vol]
of = "level_told"
measure = "level"
warm_up_days = 1
"""
RANGE: dict[str, Any] = {
    "what": "tables.pair.price_range", "keys": ["BTC"], "value": "vol", "tick": 0.01,
    "least": 0.05, "most": 0.5, "notice_days": 2, "relax_notice_days": 5,
}  # fmt: skip


def moving(*follow: Mapping[str, Any], base: str = "deribit-pm", head: str = HEAD) -> Dynamic:
    """A dynamic rulebook whose signal `vol` is what it is told."""
    content = {**tomllib.loads(head), "base": base, "follow": [dict(one) for one in follow]}
    return Dynamic(text=check_dynamic(content, source="moving.toml"), base=load_rulebook(base))


def seen(day: int, value: float | None, key: str = "BTC", of: str = "level_told") -> Observation:
    values = {} if value is None else {of: {key: value}}
    return Observation(day=FIRST + timedelta(days=day), values=values)


def stepped(dynamic: Dynamic, values: Sequence[float | None]) -> tuple[DynamicState, list[Any]]:
    state, steps = DynamicState(), []
    for day, value in enumerate(values):
        one = dynamic.step(state, seen(day, value))
        state = one.state
        steps.append(one)
    return state, steps


def ranges(dynamic: Dynamic, state: DynamicState, days: Sequence[int]) -> list[float]:
    """The price range of BTC in force on days."""
    text = dynamic.rulebook(state)
    assert isinstance(text, RulebookText)
    return [
        in_force(text, FIRST + timedelta(days=day)).tables.tables[0].rows["BTC"]["price_range"]
        for day in days
    ]


# ── signals ──────────────────────────────────────────────────────────────────────────────────────


def test_volatility_by_hand() -> None:
    """Mean of squares while it warms up, then an EWMA; a hole of three days is three days'
    variance, and a price that stands still is a hole."""
    signal = SignalText(of="price", measure="volatility", decay=0.9, warm_up_days=2)
    state = Measured()
    for day, price in ((0, 100.0), (1, 110.0), (2, 99.0), (4, 99.0), (5, 108.9)):
        state = measure(signal, state, "BTC", seen(day, price, of="price"))
        if day < 2:
            assert told(signal, state, FIRST + timedelta(days=day)) is None
    one, two = math.log(1.1) ** 2, math.log(0.9) ** 2
    assert told(signal, state, FIRST + timedelta(days=5)) == pytest.approx(
        math.sqrt(0.729 * (one + two) / 2 + 0.271 * one / 3)
    )


def test_a_price_that_stands_still_relaxes_nothing() -> None:
    """A feed that is stuck is no calm market: never known, or no longer after `hold_days`."""
    dynamic = load_dynamic("deribit-pm-dynamic")
    rng = np.random.default_rng(1)
    moved = (30_000.0 * np.exp(np.cumsum(rng.normal(0.0, 0.03, 60)))).tolist()
    for prices in ([100.0] * 60, [*moved, *[moved[-1]] * 60]):
        state, last = DynamicState(), None
        for day, price in enumerate(prices):
            last = dynamic.step(state, seen(day, price, of="price"))
            state = last.state
        assert last is not None
        assert any("signal vol of BTC is not known; it stays" in note for note in last.notes)
        late = FIRST + timedelta(days=75)
        assert not [change for change in state.changes if change.announced > late]


def test_a_level_is_held_for_so_long() -> None:
    signal = SignalText(of="adv", measure="level", decay=0.5, warm_up_days=1, hold_days=2)
    state = measure(signal, Measured(), "BTC", seen(0, 8.0, of="adv"))
    state = measure(signal, state, "BTC", seen(2, 4.0, of="adv"))
    assert told(signal, state, FIRST + timedelta(days=4)) == 0.25 * 8.0 + 0.75 * 4.0
    assert told(signal, state, FIRST + timedelta(days=5)) is None
    assert measure(signal, state, "ETH", seen(3, 4.0, of="adv")) == state


def test_correlation_is_the_least_of_its_windows() -> None:
    signal = SignalText(
        of="price", measure="correlation", beside="BTC", windows_days=[5, 200], warm_up_days=3
    )
    rng = np.random.default_rng(1)
    shared, own = rng.standard_normal((2, 60)) * 0.02
    state, logs = Measured(), np.zeros(2)
    for day in range(60):
        # The last days go apart: the short window sees it.
        logs = logs + np.array([shared[day], shared[day] if day < 55 else own[day]])
        values = {"price": {"BTC": math.exp(logs[0]), "ETH": math.exp(logs[1])}}
        state = measure(
            signal, state, "ETH", Observation(day=FIRST + timedelta(days=day), values=values)
        )
    both = np.array([one[1:] for one in state.returns])
    assert len(both) == 59
    short, whole = (
        (rows[:, 0] @ rows[:, 1]) / math.sqrt((rows[:, 0] ** 2).sum() * (rows[:, 1] ** 2).sum())
        for rows in (both[-5:], both)
    )
    found = told(signal, state, FIRST + timedelta(days=59))
    assert found == pytest.approx(min(short, whole))
    assert short < whole


def test_series_that_do_not_move_are_not_correlated() -> None:
    signal = SignalText(of="price", measure="correlation", beside="BTC", windows_days=[5],
                        warm_up_days=1)  # fmt: skip
    state = Measured()
    for day in range(3):
        values = {"price": {"BTC": 1.0, "ETH": 2.0}}
        state = measure(signal, state, "ETH",
                        Observation(day=FIRST + timedelta(days=day), values=values))  # fmt: skip
    assert told(signal, state, FIRST + timedelta(days=2)) == -1.0


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_only_positive_numbers_are_observed(value: float) -> None:
    with pytest.raises(BadInput, match=r"level_told of BTC.*a number above 0"):
        seen(0, value)


# ── notice ───────────────────────────────────────────────────────────────────────────────────────


def test_a_change_holds_after_its_notice() -> None:
    dynamic = moving(RANGE)
    state, steps = stepped(dynamic, [0.16, 0.21, 0.21])
    (change,) = state.changes
    assert steps[0].announced == ()
    assert (change.announced, change.effective) == (FIRST + timedelta(1), FIRST + timedelta(3))
    assert (change.before, change.value, change.emergency) == (0.16, 0.21, False)
    assert ranges(dynamic, state, [0, 1, 2, 3, 30]) == [0.16, 0.16, 0.16, 0.21, 0.21]
    text = dynamic.rulebook(state)
    assert isinstance(text, RulebookText)
    row = next(one for one in text.tables["pair"].rows if one.effective == change.effective)
    assert row.source.startswith("announced 2026-03-02 by moving; ")
    assert row.evidence == "fitted"
    # What else the row says is as it was, and other coins are untouched.
    own = load_rulebook("deribit-pm")
    assert isinstance(own, RulebookText)
    before = own.tables["pair"].rows[0].values
    assert row.values == {**before, "price_range": 0.21}
    assert own.tables["pair"].rows[1] in text.tables["pair"].rows


def test_a_relaxation_waits_longer() -> None:
    dynamic = moving(RANGE)
    state, _ = stepped(dynamic, [0.16, 0.10])
    assert ranges(dynamic, state, [5, 6]) == [0.16, 0.10]


def test_an_emergency_needs_no_notice() -> None:
    dynamic = moving({**RANGE, "emergency": 0.5})
    state, steps = stepped(dynamic, [0.16, 0.20, 0.30, 0.10])
    assert [one.emergency for one in steps[2].announced] == [True]
    assert ranges(dynamic, state, [1, 2, 3]) == [0.16, 0.30, 0.30]
    text = dynamic.rulebook(state)
    assert any("without notice" in row.source for row in text.tables["pair"].rows)
    # The tightening that waited is withdrawn; the fall afterwards has its notice.
    assert [one.withdrawn for one in state.changes if one.value == 0.20] == [FIRST + timedelta(2)]
    assert ranges(dynamic, state, [7, 8]) == [0.30, 0.10]


def test_a_tightening_withdraws_a_relaxation_that_waits() -> None:
    dynamic = moving(RANGE)
    state, _ = stepped(dynamic, [0.16, 0.10, 0.20])
    assert ranges(dynamic, state, [3, 4, 6, 9]) == [0.16, 0.20, 0.20, 0.20]


def test_a_relaxation_that_would_hold_before_the_tightening_is_withdrawn_as_well() -> None:
    """Less margin for the days between would be a promise in a market that has turned."""
    dynamic = moving({**RANGE, "notice_days": 5, "relax_notice_days": 2})
    state, _ = stepped(dynamic, [0.16, 0.10, 0.20])
    assert [one.withdrawn for one in state.changes] == [FIRST + timedelta(2), None]
    assert ranges(dynamic, state, [3, 6, 7]) == [0.16, 0.16, 0.20]


def test_of_two_for_one_day_the_tighter_stands() -> None:
    dynamic = moving({**RANGE, "notice_days": 2, "relax_notice_days": 3})
    state, _ = stepped(dynamic, [0.16, 0.10, 0.20])
    assert [one.effective for one in state.changes] == [FIRST + timedelta(4)] * 2
    assert [one.withdrawn is None for one in state.changes] == [False, True]
    assert ranges(dynamic, state, [3, 4]) == [0.16, 0.20]


def test_a_smaller_tightening_that_comes_first_stands() -> None:
    dynamic = moving(RANGE)
    state, _ = stepped(dynamic, [0.16, 0.18, 0.25])
    assert [one.withdrawn for one in state.changes] == [None, None]
    assert ranges(dynamic, state, [2, 3, 4]) == [0.16, 0.18, 0.25]


def test_a_relaxation_never_overtakes_a_tightening() -> None:
    dynamic = moving({**RANGE, "notice_days": 9, "relax_notice_days": 1})
    state, _ = stepped(dynamic, [0.16, 0.30, 0.10])
    assert ranges(dynamic, state, [9, 10, 11]) == [0.16, 0.10, 0.10]
    assert [one.effective for one in state.changes] == [FIRST + timedelta(10)] * 2


def test_few_announcements_where_few_are_wanted() -> None:
    values = [0.16, 0.17, 0.18, 0.19, 0.20, 0.21]
    every, _ = stepped(moving(RANGE), values)
    seldom, _ = stepped(moving({**RANGE, "every_days": 3}), values)
    coarse, _ = stepped(moving({**RANGE, "move_least": 0.2}), values)
    assert [len(one.changes) for one in (every, seldom, coarse)] == [5, 2, 1]


def test_bounds_ticks_and_tools() -> None:
    tools = [{"tool": "speed", "up": 0.1}]
    dynamic = moving({**RANGE, "tick": 0.005, "most": 0.18, "tools": tools})
    state, _ = stepped(dynamic, [0.16, 0.40, 0.40, 0.40])
    assert [one.value for one in state.changes] == [0.18]
    rising = moving({**RANGE, "tick": 0.005, "tools": tools})
    state, _ = stepped(rising, [0.16, 0.40, 0.40])
    assert [one.value for one in state.changes] == [0.18, 0.195]
    low, _ = stepped(moving(RANGE), [0.16, 1e-9])
    assert [one.value for one in low.changes] == [0.05]


def test_what_is_not_known_stays_and_is_told() -> None:
    dynamic = moving(RANGE)
    _, steps = stepped(dynamic, [None, 0.16, None])
    assert steps[0].notes == (
        "tables.pair.price_range of BTC: signal vol of BTC is not known; it stays",
    )
    assert (steps[1].notes, steps[2].notes) == ((), ())


def test_days_go_forward() -> None:
    dynamic = moving(RANGE)
    state, _ = stepped(dynamic, [0.16, 0.16])
    with pytest.raises(BadInput, match="a day after 2026-03-02, found 2026-03-02"):
        dynamic.step(state, seen(1, 0.16))


@settings(max_examples=40)
@given(
    st.lists(st.one_of(st.none(), st.floats(0.01, 0.9)), min_size=1, max_size=25),
    st.integers(0, 3), st.integers(0, 6), st.sampled_from([None, 0.2, 0.5]),
)  # fmt: skip
def test_what_every_history_keeps(
    values: list[float | None], notice: int, relax: int, emergency: float | None
) -> None:
    """On its tick and within bounds; notice is kept; only tightenings come without it."""
    told_so: dict[str, Any] = {"notice_days": notice, "relax_notice_days": relax}
    if emergency is not None:
        told_so["emergency"] = emergency
    dynamic = moving({**RANGE, **told_so})
    state, steps = stepped(dynamic, values)
    for one in state.changes:
        assert 0.05 <= one.value <= 0.5
        assert Decimal(repr(one.value)) % Decimal("0.01") == 0
        if one.emergency:
            assert one.effective == one.announced
            assert one.value > one.before
        else:
            assert (one.effective - one.announced).days >= min(notice, relax)
        assert one.withdrawn is None or one.announced < one.withdrawn < one.effective
    # What was announced on a day is what a state that was stored and read again announces.
    half = len(values) // 2
    again, _ = stepped(dynamic, values[:half])
    again = DynamicState.from_dict(json.loads(json.dumps(again.to_dict())))
    for day in range(half, len(values)):
        step = dynamic.step(again, seen(day, values[day]))
        assert step == steps[day]
        again = step.state
    # On no day does less hold than a day that had been announced last and not withdrawn.
    for day in range(len(values)):
        on = FIRST + timedelta(days=day)
        holding = [one for one in state.changes if one.effective <= on and one.withdrawn is None]
        assert ranges(dynamic, state, [day]) == [holding[-1].value if holding else 0.16]


# ── every part of a rulebook ─────────────────────────────────────────────────────────────────────


def test_constants_follow_from_the_day_on() -> None:
    follow = {**RANGE, "what": "parameters.mm_factor", "least": 0.1, "most": 1.0}
    dynamic = moving({**follow, "keys": ["*"], "of": {"*": "BTC"}})
    state, _ = stepped(dynamic, [0.80, 0.85, 0.85])
    text = dynamic.rulebook(state)
    assert text.parameters["mm_factor"] == 0.8
    assert text.notes[-1] == "mm_factor is 0.85 from 2026-03-04, announced 2026-03-02 by moving"
    assert dynamic.rulebook(state, FIRST + timedelta(3)).parameters["mm_factor"] == 0.85


def test_haircuts_follow() -> None:
    follow = {**RANGE, "what": "collateral", "keys": ["STETH"], "of": {"STETH": "BTC"}}
    dynamic = moving({**follow, "least": 0.0, "most": 1.0})
    state, _ = stepped(dynamic, [0.08, 0.20])
    text = dynamic.rulebook(state)
    assert isinstance(text, RulebookText)
    found = [
        in_force(text, FIRST + timedelta(days=day)).collateral["STETH"].haircut
        for day in (-100, -1, 2, 3)
    ]
    assert found == [0.15, 0.075, 0.08, 0.2]
    assert in_force(text, FIRST).collateral["BTC"].haircut == 0.0


def test_tiers_follow_by_a_scale() -> None:
    dynamic = load_dynamic("binance-usdm-dynamic")
    state = DynamicState()
    rng = np.random.default_rng(5)
    price = 60_000.0
    for day in range(60):
        price *= math.exp(0.02 * rng.standard_normal() * (1.0 if day < 40 else 4.0))
        values = {
            "price": {"BTC": price},
            "depth": {"BTC": 5e6 if day < 50 else 1e6},
            "open_interest": {"BTC": 1e9},
        }
        step = dynamic.step(state, Observation(day=FIRST + timedelta(days=day), values=values))
        state = step.state
    text = dynamic.rulebook(state)
    assert isinstance(text, LevelsText)
    key = "BTC_USDT-PERPETUAL"
    before, after = (
        levels_in_force(text, day).tables["tier"][key] for day in (FIRST, FIRST + timedelta(70))
    )
    scales = {one.what: one.value for one in state.changes if one.withdrawn is None}
    faster, thinner = scales["tables.tier.rate"], scales["tables.tier.above"]
    assert faster > 1.0 > thinner
    for name, factor in (
        ("rate", faster), ("leverage", 1 / faster), ("above", thinner),
        ("amount", faster * thinner),
    ):  # fmt: skip
        found = np.array(after[name]) / np.maximum(before[name], 1e-300)
        assert found[1:] == pytest.approx(factor, rel=1e-9), name
    # Maintenance amounts still make margin continuous at each bracket's bound.
    bounds, rates, amounts = (np.array(after[name]) for name in ("above", "rate", "amount"))
    assert bounds[1:] * rates[1:] - amounts[1:] == pytest.approx(
        bounds[1:] * rates[:-1] - amounts[:-1], rel=1e-9
    )
    assert (
        levels_in_force(text, FIRST + timedelta(70)).tables["tier"]["ETH_USDT-PERPETUAL"]
        == (levels_in_force(text, FIRST).tables["tier"]["ETH_USDT-PERPETUAL"])
    )


OFFSETS = """
[signals.rho]
of = "price"
measure = "correlation"
beside = "BTC"
windows_days = [5, 40]
warm_up_days = 5

[[follow]]
what = "spreads.products"
keys = ["ETH"]
value = "where(rho < 0.5, 0, min(0.8, rho))"
tick = 0.05
round = "down"
least = 0
most = 0.8
tightens = "down"
notice_days = 1
emergency = 0.5
legs = [
    { side = "A", keys = { underlying = "BTC" } },
    { side = "B", keys = { underlying = "ETH" } },
]
"""


def test_an_offset_follows_correlation_with_a_cap_and_a_break() -> None:
    """At most 80 %; none once a window's correlation is below a half, and that at once."""
    toml = HEAD.replace("deribit-pm", "span").split("[signals.vol]")[0] + OFFSETS
    dynamic = Dynamic(text=read_dynamic(toml, source="offsets"), base=load_rulebook("span"))
    rng = np.random.default_rng(2)
    state, logs = DynamicState(), np.zeros(2)
    for day in range(80):
        shared, own = 0.02 * rng.standard_normal(2)
        logs = logs + np.array([shared, shared if day < 60 else own])
        values = {"price": {"BTC": math.exp(logs[0]), "ETH": math.exp(logs[1])}}
        state = dynamic.step(
            state, Observation(day=FIRST + timedelta(days=day), values=values)
        ).state
    text = dynamic.rulebook(state)
    assert isinstance(text, LevelsText)

    def rates(day: int) -> list[float]:
        spreads = levels_in_force(text, FIRST + timedelta(days=day)).spreads["products"]
        return [one.rate for one in spreads]

    assert rates(30) == [0.8]
    assert rates(79) == []
    broken = next(one for one in state.changes if one.emergency)
    assert broken.value < broken.before
    assert broken.effective == broken.announced


# ── as rulebooks ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", rulebook_names())
def test_every_rulebook_can_be_wrapped(name: str) -> None:
    """Written as TOML and read again, each shipped rulebook says what it said."""
    text = load_rulebook(name)
    toml = to_toml(_told(text.model_dump(by_alias=True, exclude_unset=True)))
    again = read_rulebook(toml, source=name)
    assert again.model_dump(by_alias=True) == text.model_dump(by_alias=True)


def _told(part: Any) -> Any:
    if isinstance(part, dict):
        return {key: _told(one) for key, one in part.items() if one is not None}
    return [_told(one) for one in part] if isinstance(part, list | tuple) else part


@pytest.mark.parametrize("name", dynamic_names())
def test_shipped_dynamic_rulebooks_are_sound(name: str) -> None:
    dynamic = load_dynamic(name)
    text = dynamic.rulebook(DynamicState())
    check = check_levels if isinstance(text, LevelsText) else check_rulebook
    assert check(text.model_dump(by_alias=True, exclude_unset=True), source=name) == text
    assert text.name == name == dynamic.text.name
    assert text.tables == dynamic.base.tables


def test_the_day_of_a_name_shows_what_was_announced(tmp_path: Path) -> None:
    dynamic = moving(RANGE)
    state, _ = stepped(dynamic, [0.16, 0.21])
    path = tmp_path / "moving.toml"
    path.write_text(dynamic.toml(state), "utf-8")
    found = differences(f"{path}@2026-03-03", f"{path}@2026-03-04")
    assert found == [("tables.pair.BTC.price_range", 0.16, 0.21)]


def test_an_announced_range_asks_for_more(snapshot: Snapshot) -> None:
    dynamic = moving(RANGE)
    market_day = moment_of(snapshot.as_of_ms).date()
    state = DynamicState()
    for days, value in ((0, 0.16), (1, 0.32)):
        day = market_day - timedelta(days=3 - days)
        values = {"level_told": {"BTC": value}}
        state = dynamic.step(state, Observation(day=day, values=values)).state
    position = [{"account": "a", "instrument": "BTC-PERPETUAL", "size": -10_000}]
    own = sv.margin(position, snapshot, rulebook="deribit-pm").to_polars()
    more = sv.margin(position, snapshot, rulebook=dynamic.rulebook(state)).to_polars()
    # A short inverse perpetual loses r/(1 + r) of its coins at +r: 0.2424 over 0.1379 is 1.76, and
    # a charge for the roll that is the same in both.
    ratio = more["initial_margin"][0] / own["initial_margin"][0]
    assert 1.65 < ratio < 1.76


def test_old_rows_can_be_left_out() -> None:
    dynamic = moving(RANGE)
    state, _ = stepped(dynamic, [0.16 + 0.01 * min(n, 30) for n in range(40)])
    whole, short = dynamic.toml(state), dynamic.toml(state, since=FIRST + timedelta(days=38))
    assert whole.count('source = "announced') > 20
    assert short.count('source = "announced') <= 8
    on = FIRST + timedelta(days=39)
    found = [in_force(_scans(toml), on).tables.tables for toml in (whole, short)]
    assert found[0] == found[1]


def _scans(toml: str) -> RulebookText:
    text = read_rulebook(toml, source="moving")
    assert isinstance(text, RulebookText)
    return text


def test_adopting_it_is_a_command() -> None:
    """The engine takes an announced rulebook like any other, with the parameters of a day."""
    day = date.fromisoformat(DAY)
    dynamic = moving(RANGE)
    state = DynamicState()
    for days, value in ((3, 0.16), (2, 0.21)):
        values = {"level_told": {"BTC": value}}
        seen_then = Observation(day=day - timedelta(days=days), values=values)
        state = dynamic.step(state, seen_then).state
    assert not dynamic.due(state, day - timedelta(days=3))
    assert dynamic.due(state, day - timedelta(days=2))
    assert dynamic.due(state, day)
    venue = new_venue()
    command = adoption("moving", day=DAY, key="adopt moving", actor="op", venue=False,
                       toml=dynamic.toml(state, since=day))  # fmt: skip
    (event,) = venue.send(command).events
    assert isinstance(event, RulebookAdopted)
    rulebook = venue.state.rules["moving"].rulebook
    assert rulebook.tables.tables[0].rows["BTC"]["price_range"] == 0.21  # type: ignore[union-attr]


# ── bad rulebooks ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"what": "tables.pair.nothing"}, "deribit-pm has no such entry for 'BTC'"),
        ({"what": "tables.nothing.x"}, "no table 'nothing'"),
        ({"keys": ["DOGE"]}, "deribit-pm has no such entry for 'DOGE'"),
        ({"what": "parameters.nothing"}, "no such parameter"),
        ({"what": "collateral"}, None),
        ({"what": "collateral", "keys": ["DOGE"]}, "no collateral 'DOGE'"),
        ({"what": "spreads.x", "legs": [{"side": "A", "keys": {"underlying": "BTC"}}]},
         "no such table of spreads"),
        ({"what": "scans.x"}, "follow.0.what"),
        ({"value": "vol *"}, "not an expression"),
        ({"value": "sigma"}, "'sigma' means nothing"),
        ({"scale": "vol"}, "either `value` or `scale`"),
        ({"least": 0.6}, "`least` is at most `most`"),
        ({"tick": 0.0}, "follow.0.tick"),
        ({"tools": [{"tool": "brake"}]}, "expected one of buffer"),
        ({"legs": [{"side": "A", "keys": {"underlying": "BTC"}}]}, "has `legs`"),
        ({"powers": {"a": 1}}, "`powers` go with the `scale`"),
        ({"keys": ["BTC", "BTC"]}, "each key once"),
    ],
)  # fmt: skip
def test_bad_ones_say_what(change: dict[str, Any], says: str | None) -> None:
    if says is None:
        assert moving({**RANGE, **change}).text.follow[0].what == "collateral"
        return
    with pytest.raises(RulebookError, match=says):
        moving({**RANGE, **change})


@pytest.mark.parametrize(
    ("head", "says"),
    [
        (HEAD.replace("schema = 3", "schema = 1"), "schema"),
        (HEAD.replace("[signals.vol]", "[signals.base]"), "only one of them"),
        (HEAD.replace('measure = "level"', 'measure = "correlation"'), "`beside` which key"),
        (HEAD.replace("warm_up_days = 1", "windows_days = [1]"), "a window has 2 to"),
    ],
)
def test_bad_heads_say_what(head: str, says: str) -> None:
    with pytest.raises(RulebookError, match=says):
        moving(RANGE, head=head)
    with pytest.raises(RulebookError, match=r"mine.toml: not TOML"):
        read_dynamic("not toml", source="mine.toml")


def test_a_number_follows_once() -> None:
    with pytest.raises(RulebookError, match="a number follows once"):
        moving(RANGE, RANGE)


def test_a_formula_without_a_value_is_refused() -> None:
    with pytest.raises(RulebookError, match="'vol / 0' is inf"):
        stepped(moving({**RANGE, "value": "vol / 0"}), [0.16])


def test_tiers_need_a_scale() -> None:
    follow = FollowText(what="tables.tier.rate", keys=["BTC_USDT-PERPETUAL"], value="vol",
                        tick=0.1, least=0.0, most=1.0)  # fmt: skip
    text = moving(RANGE).text
    with pytest.raises(RulebookError, match="follow by `scale`"):
        Dynamic(text=replace_follow(text, follow), base=load_rulebook("binance-usdm"))


def replace_follow(text: Any, follow: FollowText) -> Any:
    return text.model_copy(update={"follow": [follow]})


def test_names_that_do_not_exist() -> None:
    with pytest.raises(RulebookError, match="no dynamic rulebook 'nothing'; there are binance"):
        load_dynamic("nothing")
    with pytest.raises(RulebookError, match="cannot be read"):
        load_dynamic("nothing.toml")


# ── files and the command line ───────────────────────────────────────────────────────────────────


def test_observations_of_files(tmp_path: Path) -> None:
    table = tmp_path / "seen.csv"
    table.write_text("day,key,price,depth\n2026-03-02,BTC,11,\n2026-03-01,BTC,10,5e6\n", "utf-8")
    prices = tmp_path / "prices.csv"
    prices.write_text(
        "time,name,price\n2026-03-01T12:00:00,ETH,1\n2026-03-02T00:00:00,ETH,2\n"
        "2026-03-02T00:00:01,ETH,3\n", "utf-8",
    )  # fmt: skip
    found = read_observations([table, prices])
    assert [one.day for one in found] == [date(2026, 3, 1), date(2026, 3, 2)]
    assert found[0].values == {"price": {"BTC": 10.0, "ETH": 2.0}, "depth": {"BTC": 5e6}}
    assert found[1].values == {"price": {"BTC": 11.0, "ETH": 3.0}}
    assert observations({one.day: one.values for one in found}) == found


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ("2026-03-01,BTC,0", "row 1.*price.*a number above 0"),
        ("2026-03-01,BTC,x", "row 1.*a number, found x"),
        ("2026-03-01,BTC,1\n2026-03-01,BTC,1", "row 2.*one price of BTC on 2026-03-01"),
        ("tomorrow,BTC,1", "row 1.*time"),
        (",BTC,1", "row 1.*'day': expected a day, found nothing"),
        ("2026-03-01,BTC,", "expected observations, found none"),
    ],
)
def test_bad_observations(tmp_path: Path, rows: str, says: str) -> None:
    path = tmp_path / "seen.csv"
    path.write_text(f"day,key,price\n{rows}\n", "utf-8")
    with pytest.raises(BadInput, match=says):
        read_observations([path])


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In two runs with a kept state as in one; what is written is a sound rulebook."""
    rng = np.random.default_rng(3)
    days = [FIRST + timedelta(days=n) for n in range(60)]
    steps = rng.standard_normal(60) * np.where(np.arange(60) < 40, 0.02, 0.08)
    rows = [f"{day},BTC,{price:.2f}" for day, price in
            zip(days, 60_000 * np.exp(np.cumsum(steps)), strict=True)]  # fmt: skip
    parts = {"all": rows, "one": rows[:35], "two": rows[35:]}
    for name, part in parts.items():
        (tmp_path / f"{name}.csv").write_text("day,key,price\n" + "\n".join(part), "utf-8")

    def told(name: str, path: Path, *, state: Path | None = None, as_json: bool = True) -> Any:
        run_dynamic(name, [str(path)], target=None, state_file=state, as_json=as_json)
        return json.loads(capsys.readouterr().out) if as_json else None

    ask = ("rulebooks", "dynamic", "deribit-pm-dynamic")
    whole = run_json(*ask, tmp_path / "all.csv", "--out", tmp_path / "out.toml")
    state = tmp_path / "state.json"
    halves = [
        told("deribit-pm-dynamic", tmp_path / f"{name}.csv", state=state) for name in ("one", "two")
    ]
    assert whole["announced"]
    assert whole["announced"] == halves[0]["announced"] + halves[1]["announced"]
    assert whole["notes"] == [
        "tables.pair.price_range of BTC: signal vol of BTC is not known; it stays (30 days)",
        "tables.pair.price_range of ETH: signal vol of ETH is not known; it stays (60 days)",
    ]
    read_rulebook((tmp_path / "out.toml").read_text("utf-8"), source="out.toml")
    told("deribit-pm-dynamic", tmp_path / "all.csv", as_json=False)
    shown = capsys.readouterr().out
    assert "deribit-pm-dynamic: " in shown
    assert "holds from" in shown
    state.write_text("{}", "utf-8")
    with pytest.raises(BadInput, match="a state that `solvent rulebooks dynamic` has written"):
        told("deribit-pm-dynamic", tmp_path / "one.csv", state=state)
    list_dynamic(as_json=True)
    names = {one["name"] for one in json.loads(capsys.readouterr().out)["rulebooks"]}
    assert names == set(dynamic_names())
    list_dynamic(as_json=False)
    assert "deribit-pm-dynamic" in capsys.readouterr().out


def test_shown_and_checked_by_name_and_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(HEAD + "\n[[follow]]\n" + to_toml(RANGE), "utf-8")
    rulebooks(["deribit-pm-dynamic"])
    shown = capsys.readouterr().out
    assert "wraps deribit-pm" in shown
    assert "2 d, 7 d to relax, none beyond 25 %" in shown
    rulebooks(["deribit-pm-dynamic"], json=True)
    assert json.loads(capsys.readouterr().out)["base"] == "deribit-pm"
    rulebooks(["check", str(path)])
    assert "moving is a sound rulebook" in capsys.readouterr().out
    path.write_text(HEAD, "utf-8")
    with pytest.raises(RulebookError, match="follow: Field required"):
        rulebooks(["check", str(path)])
    with pytest.raises(RulebookError, match="cannot be read"):
        rulebooks(["check", str(tmp_path / "absent.toml")])


def test_a_base_beside_the_file(tmp_path: Path) -> None:
    own = load_rulebook("deribit-pm")
    content = _told(own.model_dump(by_alias=True, exclude_unset=True))
    (tmp_path / "own.toml").write_text(to_toml({**content, "name": "own"}), "utf-8")
    toml = HEAD.replace("deribit-pm", "own.toml") + "\n[[follow]]\n" + to_toml(RANGE)
    (tmp_path / "mine.toml").write_text(toml, "utf-8")
    dynamic = load_dynamic(tmp_path / "mine.toml")
    assert dynamic.base.name == "own"
    assert replace(dynamic, base=own).base.name == "deribit-pm"


# ── offsets between underlyings ──────────────────────────────────────────────────────────────────

CAPPED = """
schema  = 2
name    = "capped"
title   = "Offsets between coins, limited"
venue   = "none"
family  = "scenario"
sources = ["EMIR RTS 153/2013, article 27: at most 80 % of the difference"]
properties = ["requirement_not_negative", "permutes"]

[parameters]
offset_share = 0.8

[scenarios.grid]
moves = [-0.2, -0.1, 0.1, 0.2]

[levels]
coin = ["pool", "underlying"]

[at.asset]
value = "amount * price"

[at.coin]
pnl   = "position.sum(size * grid.pnl * settlement_price)"
alone = "max(-worst(pnl), 0)"

[at.pool]
apart       = "coin.sum(alone)"
together    = "max(-worst(coin.sum(pnl)), 0)"
maintenance = "apart - offset_share * (apart - together)"
initial     = "maintenance"
equity      = "asset.sum(value)"

[answer]
level      = "pool"
components = ["apart", "together"]
"""
SHARE = """
schema  = 3
name    = "capped-dynamic"
base    = "capped.toml"
title   = "Offsets that go when coins go apart"
sources = ["this test"]

[signals.rho]
of           = "price"
measure      = "correlation"
beside       = "ETH"
windows_days = [5, 40]
warm_up_days = 5

[[follow]]
what     = "parameters.offset_share"
keys     = ["*"]
of       = { "*" = "BTC" }
value    = "where(rho < 0.5, 0, min(0.8, rho))"
tick     = 0.05
round    = "down"
least    = 0
most     = 0.8
tightens = "down"
notice_days = 1
emergency   = 0.5
"""


def test_offsets_between_coins_are_limited_and_follow_correlation(
    tmp_path: Path, snapshot: Snapshot
) -> None:
    """At most 80 % of what netting saves; nothing once the coins go apart."""
    (tmp_path / "capped.toml").write_text(CAPPED, "utf-8")
    (tmp_path / "share.toml").write_text(SHARE, "utf-8")
    dynamic = load_dynamic(tmp_path / "share.toml")
    rng = np.random.default_rng(4)
    state, logs = DynamicState(), np.zeros(2)
    for day in range(60):
        shared, own = 0.02 * rng.standard_normal(2)
        logs = logs + np.array([shared, shared if day < 45 else own])
        values = {"price": {"BTC": math.exp(logs[0]), "ETH": math.exp(logs[1])}}
        state = dynamic.step(
            state, Observation(day=FIRST + timedelta(days=day), values=values)
        ).state
    pair = [
        {"account": "a", "instrument": "BTC_USDC-PERPETUAL", "size": 1},
        {"account": "a", "instrument": "ETH_USDC-PERPETUAL", "size": -15},
    ]

    def asked(on: int) -> dict[str, float]:
        rulebook = dynamic.rulebook(state, FIRST + timedelta(days=on))
        answer = sv.margin(pair, snapshot, rulebook=rulebook).to_polars()
        return dict(answer.row(0, named=True))

    calm, broken = asked(44), asked(59)
    apart = sum(
        sv.margin([one], snapshot, rulebook=dynamic.rulebook(state)).to_polars()[
            0, "initial_margin"
        ]
        for one in pair
    )
    assert broken["initial_margin"] == pytest.approx(apart, abs=2e-5)
    mark = dict(zip(snapshot.universe.symbols, snapshot.mark.tolist(), strict=True))
    net = 0.2 * abs(mark["BTC_USDC-PERPETUAL"] - 15 * mark["ETH_USDC-PERPETUAL"])
    assert calm["initial_margin"] == pytest.approx(0.2 * apart + 0.8 * net, rel=1e-3)
    assert calm["initial_margin"] < 0.7 * apart
