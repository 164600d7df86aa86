"""Scenario sets on a market, and the parameters in force on a day."""

from __future__ import annotations

import copy
import math
from datetime import date, timedelta
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solvent import api
from solvent.errors import InvariantBroken, RulebookError
from solvent.expressions import parse
from solvent.margining.rulebook import check_rulebook, in_force
from solvent.market import Snapshot, assemble
from solvent.risk import publish
from solvent.scenarios import ScenarioSet, Shocks, Table, Tables, VolRule, expand
from solvent.scenarios.scenario import ladder
from solvent.units import DAY_MS, YEAR_MS
from tests.test_market import EXPIRY, NOW, quotes

FUTURE, CALL, PUT = "BTC-27JUN25", "BTC-27JUN25-60000-C", "ETH_USDC-27JUN25-2000-P"
PERPETUAL = "BTC-PERPETUAL"
MARKET = assemble(
    quotes(FUTURE, CALL, PUT, PERPETUAL, index=[6e4, 6e4, 2e3, 6e4], forward=[6e4, 6e4, 2e3, 6e4],
           mark=[6e4, 0.1, 150.0, 6e4], vol=[np.nan, 0.5, 0.8, np.nan])
)  # fmt: skip
PAIR = Table(
    name="pair",
    by="underlying",
    rows={"BTC": {"reach": 0.16, "least": 0.7}, "ETH": {"reach": 0.24}},
)
USDC = Table(name="money", by="settlement", rows={"USDC": {"stretch": 1.25}})
RULES = {
    name: VolRule(name=name, shocked=parse(text))
    for name, text in (
        ("up", "iv * 1.5"), ("least", "max(iv, pair.least)"), ("stretched", "iv * money.stretch"),
        ("by_days", "iv + 1 / days"), ("negative", "0 - iv"), ("infinite", "iv / 0"),
        ("strange", "iv * skew"),
    )
}  # fmt: skip


def row(symbol: str, snapshot: Snapshot = MARKET) -> int:
    found = snapshot.universe.row(symbol)
    assert found is not None
    return found


def expanded(*sets: ScenarioSet, snapshot: Snapshot = MARKET) -> Shocks:
    return expand(sets, rules=RULES, tables=Tables((PAIR, USDC), {"much": 0.3}), snapshot=snapshot)


def moves(*numbers: float) -> Any:
    return tuple(parse(repr(number)) for number in numbers)


AXES = st.tuples(
    st.lists(st.floats(-0.9, 5.0), min_size=1, max_size=4),
    st.lists(st.sampled_from(["same", "up"]), min_size=1, max_size=2, unique=True),
    st.lists(st.floats(-2.0, 2.0), min_size=1, max_size=3),
    st.sampled_from([0.0, 1.0, 72.5, 1_000.0]),
)


@settings(max_examples=60)
@given(st.lists(AXES, min_size=1, max_size=3))
def test_sets_unfold_move_by_vol_by_basis(axes: list[Any]) -> None:
    """Against the sentence that says so, scenario by scenario."""
    sets = [
        ScenarioSet(name=f"s{n}", moves=moves(*m), vols=tuple(v), basis=tuple(b), roll_days=days)
        for n, (m, v, b, days) in enumerate(axes)
    ]
    told = [(one.name, *cell, axis[3]) for one, axis in zip(sets, axes, strict=True)
            for cell in product(*axis[:3])]  # fmt: skip
    shocks, years = expanded(*sets), (EXPIRY - NOW) / YEAR_MS
    assert len(shocks) == sum(map(len, sets)) == len(told)
    for s, (name, move, vol, basis, days) in enumerate(told):
        assert (shocks.set_names[s], shocks.vol_names[s]) == (name, vol)
        assert shocks.move[:, s].tolist() == [move, move]
        growth = shocks.growth[shocks.growth_row, s]
        assert growth[row(PERPETUAL)] == 1.0 + move
        assert growth[row(FUTURE)] == pytest.approx((1.0 + move) * math.exp(basis * years))
        assert growth[row(CALL)] == growth[row(FUTURE)]
        state = shocks.vol_state[s]
        assert shocks.vol[row(CALL), state] == (0.75 if vol == "up" else 0.5)
        assert shocks.vol[row(FUTURE), state] == 0.0
        left = max(0.0, years - days * DAY_MS / YEAR_MS)
        assert shocks.years[row(PUT), state] == pytest.approx(left, abs=1e-15)
    assert shocks.vol.shape[1] == len({(vol, days) for _, _, vol, _, days in told})


def test_ladders_reach_as_far_as_each_coin_says() -> None:
    shocks = expanded(ScenarioSet(name="range", moves=ladder("pair.reach + much", 4)))
    steps = np.arange(-4, 5) / 4
    assert shocks.move == pytest.approx(np.outer([0.46, 0.54], steps), abs=1e-15)
    assert shocks.label(0, 0) == "spot -46.00 %, vol same"
    assert shocks.label(4, 1) == "spot +0.00 %, vol same"


def test_without_sets_nothing_moves() -> None:
    shocks = expanded()
    assert (len(shocks), shocks.set_names) == (1, ("unmoved",))
    assert (shocks.growth == 1.0).all()
    assert not publish(MARKET, sets=[], rules={}, tables=Tables()).pnl.any()


def test_vol_rules_count_at_least_a_second_of_a_day() -> None:
    late = assemble(quotes(CALL, index=6e4, forward=6e4, mark=0.1, vol=0.5, time_ms=EXPIRY - 1))
    one = ScenarioSet(name="late", moves=moves(0.0), vols=("by_days",))
    assert expanded(one, snapshot=late).vol[0] == pytest.approx(0.5 + 86_400.0)
    assert expanded(one).vol[row(CALL)] == pytest.approx(0.5 + 1 / 73)


def test_a_coin_whose_move_is_unset_is_not_known() -> None:
    short = ScenarioSet(name="short", moves=ladder("pair.least", 1), vols=("up", "least"))
    shocks = expanded(short)
    assert shocks.known.tolist() == [True, False]
    assert shocks.move[1].tolist() == [0.0] * 6
    arrays = publish(MARKET, sets=[short], rules=RULES, tables=Tables((PAIR,)))
    assert arrays.usable.tolist() == [symbol != PUT for symbol in MARKET.universe.symbols]
    assert not arrays.pnl[row(PUT)].any()


@pytest.mark.parametrize(("rule", "symbol"), [("least", PUT), ("stretched", CALL)])
def test_a_vol_whose_number_is_unset_stays(rule: str, symbol: str) -> None:
    """Its positions are refused when the rulebook is compiled; no other instrument suffers."""
    shocks = expanded(ScenarioSet(name="one", moves=moves(0.1), vols=(rule,)))
    assert shocks.vol[row(symbol)].tolist() == [MARKET.vol[row(symbol)]]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"moves": moves(0.1, -1.0)}, "a move of 'one' must be above -100 %, found -100.00%"),
        ({"moves": (parse("pair.far"),)}, r"a move of 'one' uses \['pair.far'\], which"),
        ({"moves": (parse("iv"),)}, r"a move of 'one' uses \['iv'\], which this rulebook"),
        ({"vols": ("gone",)}, r"no volatility rule 'gone'; there are \['by_days', 'infinite'"),
        ({"vols": ("strange",)}, r"volatility rule 'strange' uses \['skew'\], which"),
        ({"vols": ("negative",)}, f"volatility rule 'negative' gives no vol for {CALL}"),
        ({"vols": ("infinite",)}, f"volatility rule 'infinite' gives no vol for {CALL}"),
    ],
)
def test_what_has_no_value_is_named(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(RulebookError, match=words):
        expanded(ScenarioSet(name="one", **{"moves": moves(0.1), **wrong}))


def test_too_many_scenarios_are_refused() -> None:
    with pytest.raises(InvariantBroken, match="scenarios within their limit"):
        expanded(ScenarioSet(name="many", moves=moves(0.0), basis=(0.0,) * (2**14 + 1)))


def test_columns_are_gathered_to_what_they_are_keyed_by() -> None:
    tables, universe = Tables((PAIR, USDC), {"much": 0.3}), MARKET.universe
    columns = tables.by_instrument(universe)
    assert set(columns) == tables.names == {"pair.reach", "pair.least", "money.stretch", "much"}
    for r, one in enumerate(universe.instruments):
        for name, table in (("reach", PAIR), ("least", PAIR), ("stretch", USDC)):
            key = one.contract.base if table is PAIR else one.contract.settlement
            wanted = table.rows.get(key, {}).get(name, math.nan)
            assert columns[f"{table.name}.{name}"][r] == pytest.approx(wanted, nan_ok=True)
    assert (columns["much"] == 0.3).all()


FLAT: dict[str, Any] = {
    "schema": 1, "name": "flat", "title": "Flat", "venue": "Example", "sources": ["this test"],
    "tables": {"pair": {"by": "underlying", "rows": []}},
    "vols": {"up": {"shocked": "iv * 2"}},
    "scenarios": {"grid": {"moves": {"reach": "pair.reach", "steps": 1}}},
    "nodes": {"coin": {"by": ["underlying"], "numeraire": "coin"}},
    "sums": {"net": {"node": "coin", "per_lot": "delta"}},
    "charges": {"flat": {"node": "coin", "into": "coin", "amount": "abs(net)"}},
    "requirement": {"node": "coin", "initial": "flat", "maintenance": "flat"},
    "collateral": [{"asset": "BTC", "haircut": 0.0}],
}  # fmt: skip
DAY = date(2025, 4, 15)


def flat(*path_and_value: Any, days: tuple[int, ...] = (0,)) -> dict[str, Any]:
    """The flat rulebook with rows effective so many days from a day, and one thing changed."""
    text = copy.deepcopy(FLAT)
    text["tables"]["pair"]["rows"] = [
        {"keys": ["BTC"] if n % 2 else ["BTC", "ETH"], "effective": DAY + timedelta(days=ahead),
         "source": "s", "values": {"reach": 0.001 * (n + 1)}}
        for n, ahead in enumerate(days)
    ]  # fmt: skip
    if path_and_value:
        *path, last, value = path_and_value
        part = text
        for key in path:
            part = part[key]
        part[last] = value
    return text


@given(st.lists(st.integers(-9, 9), min_size=1, max_size=6, unique=True), st.integers(-10, 10))
def test_the_newest_row_not_after_the_day_holds(days: list[int], on: int) -> None:
    """Where every row is newer, the oldest, and a note."""
    moment = DAY + timedelta(days=on)
    rulebook = in_force(check_rulebook(flat(days=tuple(days)), source="flat"), moment)
    notes = []
    for key, mine in (("BTC", days), ("ETH", days[::2])):
        past = [ahead for ahead in mine if ahead <= on]
        chosen = max(past) if past else min(mine)
        values = rulebook.tables.tables[0].rows[key]
        assert values == {"reach": 0.001 * (days.index(chosen) + 1)}
        if not past:
            seen = DAY + timedelta(days=chosen)
            notes.append(f"pair of {key}: first seen {seen}, applied to {moment}")
    assert sorted(rulebook.applied) == sorted(notes)
    assert rulebook.on == moment


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("scenarios", "grid", "moves", []), r"^flat: scenarios\.grid\.moves"),
        (("scenarios", "grid", "moves", [math.nan]), r"^flat: scenarios\.grid\.moves"),
        (("scenarios", "grid", "basis", [math.inf]), r"^flat: scenarios\.grid\.basis"),
        (("scenarios", "grid", "roll_days", math.inf), r"^flat: scenarios\.grid\.roll_days"),
        (("parameters", {"much": math.nan}), r"^flat: parameters\.much: .* finite"),
        (("tables", "pair", "rows", 0, "values", "reach", math.inf), r"values\.reach: .* finite"),
        (("collateral", 0, "haircut", math.nan), r"haircut: .* finite"),
        (("scenarios", "grid", "vols", ["gone"]), r"^flat: scenarios\.grid\.vols: no rule 'gone'"),
        (("vols", "up", "shocked", "iv *"), r"^flat: vols\.up\.shocked: column \d+: not an expr"),
        (("vols", "up", "shocked", "iv * net"), r"^flat: vols\.up\.shocked: 'net' means nothing"),
        (("charges", "flat", "colour", 3), r"^flat: charges\.flat\.colour: Extra inputs"),
    ],
)
def test_a_text_that_cannot_be_meant_is_refused_by_key(change: tuple[Any, ...], words: str) -> None:
    with pytest.raises(RulebookError, match=words):
        check_rulebook(flat(*change), source="flat")


BOMB = {f"a{n}": f"a{n - 1} + a{n - 1}" if n else "net" for n in range(40)}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"amount": "exp(net)"}, "'exp' is only for what depends on the market alone"),
        ({"amount": "sqrt(abs(net))"}, "'sqrt' is only for what depends on the market alone"),
        ({"amount": "a39", "let": BOMB}, "too large once its names are replaced"),
    ],
)
def test_a_formula_that_cannot_be_compiled_is_refused_by_key(
    change: dict[str, Any], words: str
) -> None:
    charge = {**FLAT["charges"]["flat"], **change}
    text = check_rulebook(flat("charges", "flat", charge), source="flat")
    with pytest.raises(RulebookError, match=rf"^flat: charges\.flat\.amount: column 1: {words}"):
        api.prepare(MARKET, text)
