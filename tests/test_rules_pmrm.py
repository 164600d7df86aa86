"""Derive's portfolio managers: scenarios, discounts, contingencies; worked by hand."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from solvent.conform import conform
from solvent.conform.derive_portfolio import Expiry, Portfolio, Shock, account
from solvent.conform.levels import number, rulebook, sheet
from solvent.errors import RulebookError
from solvent.expressions import parse
from solvent.feeds.library import shipped_levels
from solvent.margining.levels.account import account_sheet
from solvent.margining.levels.book import Balances, LevelsPlan, evaluate
from solvent.margining.levels.market import shocking
from solvent.margining.levels.rows import Sheet, Told, Unset
from solvent.margining.levels.rulebook import in_force
from solvent.margining.rulebook import check_levels
from solvent.market import Snapshot
from solvent.risk import book, publish
from solvent.scenarios import ScenarioSet, Tables, expand
from solvent.scenarios.expand import evaluate as formula
from solvent.units import MINUTE_MS, TimeMs
from tests.conftest import need_shared

OPTION = {
    "underlying": "ETH", "expiry": 1, "inverse": 0, "is_option": 1, "is_perpetual": 0,
    "index": 100, "rate": 0, "years": 1, "model": 10,
}  # fmt: skip
PERP = {
    "instrument": "perp", "underlying": "ETH", "expiry": 0, "strike": 0, "inverse": 0,
    "is_option": 0, "is_perpetual": 1, "index": 100, "mark": 110, "rate": 0, "years": 0,
}  # fmt: skip
PLAIN = {"long": "0.9", "short": "1.2", "long_rate": 0, "short_rate": 0,
         "long_add": 0, "short_add": 0}  # fmt: skip
"""Discounts of value held and owed that do not depend on time."""


def told(
    name: str = "derive-pmrm2",
    *,
    options: Sequence[Mapping[str, Any]] = (),
    perp: Any = 0,
    assets: Sequence[Mapping[str, Any]] = (),
    moves: Sequence[Any] = (0,),
    values: Mapping[str, Sequence[Any]] | None = None,
    basis: Mapping[str, Sequence[Any]] | None = None,
    dampening: Sequence[Any] | None = None,
    skew: Sequence[Any] | None = None,
    stable: Any = 1,
    spot_confidence: Any = 1,
    tables: Mapping[str, Mapping[str, Mapping[str, Any]]] | None = None,
) -> Sheet:
    """One underlying at 100, options of a year; what options are worth is told."""
    held = [{"strike": 100, "size": 0, **OPTION, **one} for one in options]
    names = [one["instrument"] for one in held]
    flat = {one: [10] * len(moves) for one in names}
    return sheet(
        name,
        tables=tables,
        account=[{"account": "", "stable_price": stable}],
        underlying=[{"underlying": "ETH", "spot_confidence": spot_confidence}],
        instrument=[
            {key: x for key, x in one.items() if key != "size"} for one in [*held, PERP]
        ],
        position=[
            *({"instrument": one["instrument"], "size": one["size"]} for one in held),
            *([{"instrument": "perp", "size": perp, "entry_price": 100}] if perp else []),
        ],
        asset=[{"underlying": "ETH", "price": 1, **one} for one in assets],
        scenarios={
            "shock": {
                "move": {"ETH": moves},
                "value": flat | dict(values or {}),
                "dampening": {"ETH": dampening or [1] * len(moves)},
                "is_skew": {"ETH": skew or [0] * len(moves)},
            },
            "basis": {"value": {one: [10, 10] for one in names} | dict(basis or {})},
        },
    )  # fmt: skip


def at(one: Sheet, *columns: str, level: str = "manager") -> list[float]:
    """Columns of the one row of a level."""
    return [float(number(one.value(level, column))) for column in columns]


def scenarios(one: Sheet) -> list[float]:
    """PnL of every scenario."""
    values = one.value("manager", "pnl")
    return [float(value) for value in (values if isinstance(values, tuple) else (values,))]


# ── the second manager ───────────────────────────────────────────────────────────────────────────


def test_perpetual_loses_its_move_and_pays_for_its_size() -> None:
    """2 at 110: −18 % costs 39.6; the far move up counts to 13.86 %. Of 200 spot, 3 % and 1 %."""
    one = told(perp=2, moves=[Fraction(-18, 100), 1], dampening=[1, Fraction(1386, 10_000)])
    assert scenarios(one) == pytest.approx([-39.6, 30.492], rel=1e-15)
    assert at(one, "equity", "maintenance", "initial") == pytest.approx([20, 37.68, 47.6])


@pytest.mark.parametrize(("size", "pnl"), [(1, [8, -5.5]), (-1, [-14, 4])])
def test_discount_goes_by_the_sign_of_the_shocked_value(size: int, pnl: list[float]) -> None:
    """10 becomes 20 or 5; what is held counts to 90 %, what is owed to 120 %."""
    option = {"instrument": "a", "size": size, "rate": "0.5"}
    tables = {"discount": {"*": PLAIN}}
    one = told(options=[option], moves=[0, 0], values={"a": [20, 5]}, tables=tables)
    assert scenarios(one) == pytest.approx(pnl, rel=1e-15)


def test_a_debt_is_never_more_than_it_will_have_grown_to() -> None:
    """Without a rate it grows to itself; with ln 1.1 to 110 %, below the 120 % of its discount."""
    tables = {"discount": {"*": PLAIN}}
    for rate, short in ((0, 1.0), (-3, 1.0), (math.log(1.1), 1.1), (0.3, 1.2)):
        one = told(options=[{"instrument": "a", "size": -1, "rate": rate}], tables=tables)
        assert at(one, "short_discount", level="expiry") == pytest.approx([short])


def test_expiries_are_discounted_apart() -> None:
    """+20 and −20 in two expiries: 18 − 24, where one expiry would have 0."""
    two = [{"instrument": "a", "size": 1}, {"instrument": "b", "size": -1, "expiry": 2}]
    tables = {"discount": {"*": PLAIN}}
    values = {"a": [20], "b": [20]}
    options = [{**one, "rate": "0.5"} for one in two]
    assert scenarios(told(options=options, values=values, tables=tables)) == [-6]
    options = [{**one, "expiry": 1} for one in options]
    assert scenarios(told(options=options, values=values, tables=tables)) == [0]


def test_a_shock_of_the_skew_counts_against_the_account() -> None:
    """A gain of 8 becomes a loss of 8, of which a half counts."""
    one = told(
        options=[{"instrument": "a", "size": 1}], moves=[0, 0], values={"a": [20, 20]},
        skew=[0, 1], dampening=[1, Fraction(1, 2)], tables={"discount": {"*": PLAIN}},
    )  # fmt: skip
    assert scenarios(one) == [8, -4]
    assert at(one, "worst_loss") == [4]


def test_basis_contingency_is_a_floor_of_the_loss() -> None:
    """The worse move costs 3; a year: 3·(0.5 + 2·1) = 7.5. Gains give nothing."""
    tables = {"discount": {"*": {**PLAIN, "long": 1}}}
    options = [{"instrument": "a", "size": 1}]
    one = told(options=options, basis={"a": [12, 7]}, tables=tables)
    assert at(one, "basis_contingency", "worst_loss") == [7.5, 7.5]
    one = told(options=options, basis={"a": [12, 11]}, tables=tables)
    assert at(one, "basis_contingency", "worst_loss") == [0, 0]


def test_a_short_option_is_naked_past_what_its_strike_holds() -> None:
    """−3 call, +1 put at one strike: 2. Both short: 3. Another strike does not help."""
    one = told(
        options=[
            {"instrument": "call", "size": -3, "strike": 100},
            {"instrument": "put", "size": 1, "strike": 100},
            {"instrument": "calls", "size": -1, "strike": 110},
            {"instrument": "puts", "size": -2, "strike": 110},
            {"instrument": "long", "size": 50, "strike": 120},
        ]
    )
    assert at(one, "naked", "option_maintenance", "option_initial") == pytest.approx([500, 1.5, 1])


def test_the_threshold_of_confidence_is_exact() -> None:
    """At 0.55 nothing; a last decimal below it 45 % of 4 coins at 100."""
    options = [{"instrument": "a", "size": -4}]
    below = Decimal("0.55") - Decimal("1e-18")
    assert at(told(options=options, spot_confidence="0.55"), "oracle") == [0]
    assert at(told(options=options, spot_confidence=below), "oracle") == pytest.approx([180])
    for feed in ("forward_confidence", "rate_confidence", "vol_confidence"):
        one = told(options=[{**options[0], feed: "0.4"}])
        assert at(one, "oracle") == pytest.approx([240])


def test_coins_are_valued_in_the_stable_coin_and_cash_at_par() -> None:
    """10 USDC and 10 ETH at 49 with the stable coin at 0.98: 10 and 500; −18 % costs 90."""
    one = told(
        assets=[{"asset": "USDC", "amount": 10}, {"asset": "ETH", "amount": 10, "price": 49}],
        moves=[Fraction(-18, 100)], stable="0.98",
    )  # fmt: skip
    assert at(one, "equity", "initial_factor") == pytest.approx([510, 1.04])
    assert at(one, "maintenance") == pytest.approx([0.8 * 90 + 7.5])
    assert at(one, "initial") == pytest.approx([1.04 * 90 + 7.5 + 2.5])


def test_coins_that_do_not_hedge_only_pay_their_haircut() -> None:
    one = told(assets=[{"asset": "USDT", "amount": 100}], moves=[Fraction(-1, 2)])
    assert at(one, "maintenance", "initial") == pytest.approx([2, 5])
    one = told(assets=[{"asset": "USDT", "amount": 100, "feed_confidence": "0.5"}])
    assert at(one, "maintenance", "initial") == pytest.approx([2, 55])


@pytest.mark.parametrize("fact", ["inverse", "is_option"])
def test_what_the_venue_does_not_list_is_unknown(fact: str) -> None:
    wrong = {"instrument": "a", "size": 1, fact: 1 if fact == "inverse" else 0}
    with pytest.raises(Unset, match="listed"):
        at(told(options=[wrong]), "initial")


def vol(rule: str, manager: str = "derive-pmrm2", /, **columns: float) -> float:
    """A shocked volatility under the shipped parameters."""
    shocks = shocking(rulebook(manager))
    table = {
        f"{one.name}.{entry}": np.array([x])
        for one in shocks.tables.tables
        for entry, x in one.rows["*"].items()
    }
    facts = {key: np.array([x]) for key, x in columns.items()}
    return float(formula(shocks.rules[rule].shocked, table | facts, what=rule)[0])


def test_vol_shocks_fade_with_time() -> None:
    """By the power 0.3 up to 30 days, 0.13 beyond; a day at least; up to 40 % at least."""
    assert vol("up", iv=1.0, days=7.5) == pytest.approx(1 + 0.5 * 4**0.3)
    assert vol("up", iv=1.0, days=120.0) == pytest.approx(1 + 0.5 * 0.25**0.13)
    assert vol("up", iv=1.0, days=0.1) == pytest.approx(1 + 0.5 * 30**0.3)
    assert vol("up", iv=0.1, days=30.0) == 0.4
    assert vol("down", iv=1.0, days=7.5) == pytest.approx(1 - 0.3 * 4**0.3)
    assert vol("up", "derive-pmrm1", iv=0.1, days=30.0) == pytest.approx(0.16)
    assert vol("down", "derive-pmrm1", iv=1.0, days=120.0) == pytest.approx(1 - 0.3 * 0.25**0.13)


def test_skew_shocks_grow_with_moneyness_up_to_a_cap() -> None:
    """A quarter of a year: cap 0.25 − 0.1·½ = 0.2, reached at k = ½·4·0.6 = 1.2."""
    for k, linear, absolute in ((0.6, 1.1, 1.1), (-0.6, 0.9, 1.1), (3, 1.2, 1.2), (-3, 0.8, 1.2)):
        for rule, wanted in (("linear_skew", linear), ("absolute_skew", absolute)):
            found = vol(rule, iv=1.0, years=0.25, strike=100 * math.exp(k), forward=100.0)
            assert found == pytest.approx(wanted)


# ── the first manager ────────────────────────────────────────────────────────────────────────────


def test_first_manager_discounts_only_what_is_held() -> None:
    """Half counts of 20 held; 20 owed counts in full, without the rate's discount."""
    risk = {**rulebook("derive-pmrm1").tables["risk"]["*"], "discount": "0.5", "rate_scale": 0,
            "rate_add": 0}  # fmt: skip
    for size, pnl in ((1, 0), (-1, -10)):
        one = told(
            "derive-pmrm1", options=[{"instrument": "a", "size": size}], values={"a": [20]},
            tables={"risk": {"*": risk}},
        )  # fmt: skip
        assert scenarios(one) == [pnl]
    rate = math.log(2)
    one = told("derive-pmrm1", options=[{"instrument": "a", "size": -1, "rate": rate}])
    assert at(one, "value", level="expiry") == pytest.approx([-20])


def test_first_manager_multiplies_contingencies_too() -> None:
    """A coin short as perpetual and held: 3 % of both at 100, times 1.25; at 0.5 half of 200."""
    coin = {"asset": "ETH", "amount": 1, "price": 100}
    moves = [Fraction(1, 5), Fraction(-1, 5)]
    one = told("derive-pmrm1", perp=-1, assets=[coin], moves=moves)
    assert scenarios(one) == [-2, 2]
    assert at(one, "equity", "maintenance", "initial") == pytest.approx([90, 8, 10])
    one = told("derive-pmrm1", perp=-1, assets=[coin], moves=moves, spot_confidence="0.5")
    assert at(one, "maintenance", "initial") == pytest.approx([8, 110])


# ── both ─────────────────────────────────────────────────────────────────────────────────────────

sizes = st.integers(-20, 20)
worths = st.lists(st.integers(0, 100), min_size=3, max_size=3)
holding = st.fixed_dictionaries({
    "size": sizes, "strike": st.sampled_from([90, 100, 110]), "expiry": st.integers(1, 3),
    "rate": st.sampled_from(["-0.1", "0", "0.2"]), "value": worths, "basis": worths,
})  # fmt: skip
managers = pytest.mark.parametrize("name", ["derive-pmrm1", "derive-pmrm2"])


def drawn(
    name: str, held: Sequence[Mapping[str, Any]], perp: int = 0, cash: int = 0, scale: int = 1
) -> Sheet:
    """An account of drawn options, in the order they come in."""
    options = [
        {"instrument": one["name"], "strike": one["strike"], "expiry": one["expiry"],
         "rate": one["rate"], "size": one["size"] * scale}
        for one in held
    ]  # fmt: skip
    return told(
        name,
        options=options,
        perp=perp * scale,
        assets=[{"asset": "USDC", "amount": cash}, {"asset": "ETH", "amount": cash, "price": 2}],
        moves=[Fraction(-1, 10), 0, Fraction(1, 5)],
        values={one["name"]: one["value"] for one in held},
        basis={one["name"]: one["basis"][:2] for one in held},
        skew=[0, 1, 0],
    )


@managers
@given(held=st.lists(holding, max_size=5), perp=sizes, cash=st.integers(0, 100))
def test_what_holds_of_every_account(name: str, held: list[Any], perp: int, cash: int) -> None:
    """Never below 0; more collateral helps; the order of positions is nothing; sizes scale."""
    held = [{**one, "name": f"option {n}"} for n, one in enumerate(held)]
    one = drawn(name, held, perp, cash)
    equity, initial, maintenance = at(one, "equity", "initial", "maintenance", level="account")
    assert initial >= maintenance >= 0
    richer = at(drawn(name, held, perp, cash + 1), "equity", "maintenance", level="account")
    assert richer[0] - richer[1] >= equity - maintenance
    backwards = drawn(name, held[::-1], perp, cash)
    for column in ("equity", "initial", "maintenance"):
        assert backwards.value("account", column) == one.value("account", column)
    bare, double = (drawn(name, held, perp, scale=scale) for scale in (1, 2))
    assert at(double, "initial") == pytest.approx([2 * at(bare, "initial")[0]], abs=1e-15)


def planned(name: str, snapshot: Snapshot) -> LevelsPlan:
    """A rulebook with a market."""
    on = in_force(shipped_levels(name), date(2026, 6, 1))
    shocks = shocking(on)
    arrays = publish(snapshot, sets=shocks.sets, rules=shocks.rules, tables=shocks.tables)
    return LevelsPlan(on, arrays)


@managers
def test_whole_books_agree_with_the_exact_way(name: str, snapshot: Snapshot) -> None:
    """Linear options and perpetuals of two coins, with cash and coins."""
    plan, universe = planned(name, snapshot), snapshot.universe
    dated = universe.is_option | (universe.expiry_ms == 0)
    listed = np.flatnonzero(~universe.inverse & dated)
    rng = np.random.Generator(np.random.PCG64(3))
    accounts, count = 12, 120
    instrument = rng.choice(listed, count).astype(np.int32)
    positions = book(
        accounts=[f"a{n:02d}" for n in range(accounts)],
        account=np.sort(rng.integers(0, accounts, count)).astype(np.int32),
        instrument=instrument,
        lots=rng.integers(-500, 500, count).astype(np.float64),
        universe=universe,
        entry_price=snapshot.mark[instrument] * rng.uniform(0.9, 1.1, count),
    )
    balances = Balances(
        account=np.repeat(np.arange(accounts), 2), asset=["USDC", "ETH"] * accounts,
        amount=rng.uniform(0, 1e4, 2 * accounts),
        price=np.tile([1.0, snapshot.price_of("ETH") or 0.0], accounts),
    )  # fmt: skip
    inputs: dict[str, Told] = {
        "account.stable_price": 0.97,
        "underlying.spot_confidence": {"ETH": 0.5},
    }
    answer = evaluate(plan, positions, balances=balances, inputs=inputs)
    parts = {"equity": answer.equity, "initial": answer.initial,
             "maintenance": answer.maintenance, **answer.components}  # fmt: skip
    assert (answer.maintenance > 0).all()
    for one in range(accounts):
        exact = account_sheet(plan, positions, one, balances=balances, inputs=inputs)
        for column, found in parts.items():
            expected = float(number(exact.value("account", column)))
            assert found[one] == pytest.approx(expected, rel=1e-9, abs=1e-6), (column, one)


def test_cases_are_priced_as_markets_are(snapshot: Snapshot) -> None:
    """The same account told as a case and held on a market."""
    plan, universe = planned("derive-pmrm2", snapshot), snapshot.universe
    eth = universe.underlyings.index("ETH")
    mine = np.flatnonzero(
        universe.is_option & ~universe.inverse & (universe.underlying == eth) & snapshot.usable
    )[::7].astype(np.int32)
    lots = np.where(np.arange(len(mine)) % 3 == 0, 40.0, -25.0)
    positions = book(
        accounts=["one"], account=np.zeros(len(mine), np.int32), instrument=mine, lots=lots,
        universe=universe, entry_price=snapshot.mark[mine],
    )  # fmt: skip
    market = account_sheet(plan, positions, 0)
    points = plan.rulebook.text.scenarios["shock"].points or []
    seconds = (universe.expiry_ms[mine] - snapshot.as_of_ms) // 1000
    case = account(Portfolio(
        rulebook="derive-pmrm2",
        tables=dict(plan.rulebook.tables),
        shocks=[
            Shock(Fraction(repr(one.move)), one.vol,
                  Fraction(repr(one.numbers.get("dampening", 1))), "is_skew" in one.numbers)
            for one in points
        ],
        spot=Fraction(float(snapshot.index[eth])),
        perp_price=Fraction(1), perp_position=Fraction(0),
        expiries={
            int(s): Expiry(
                fixed=Fraction(0), variable=Fraction(float(snapshot.forward[i])),
                rate=Fraction(float(snapshot.rate[i])), forward_confidence=Fraction(1),
                rate_confidence=Fraction(1), vol_confidence=Fraction(1),
            )
            for i, s in zip(mine, seconds, strict=True)
        },
        options=[
            {"sec_to_expiry": int(s), "strike": repr(float(universe.strike[i])),
             "is_call": bool(universe.is_call[i]), "vol": float(snapshot.vol[i]),
             "amount": Fraction(lot * float(universe.lot_size[i]))}
            for i, s, lot in zip(mine, seconds, lots, strict=True)
        ],
        assets=[], account={"stable_price": 1, "cash": 0}, underlying={},
        perp={"unrealised": 0, "funding": 0},
    ))  # fmt: skip
    assert len(points) == 33
    for column in ("initial", "maintenance", "option_value", "basis_contingency"):
        assert at(case, column) == pytest.approx(at(market, column), rel=1e-9)


def test_an_averaged_price_moves_by_what_is_left_of_its_span(snapshot: Snapshot) -> None:
    """A quarter of an hour before expiry a half, before the span begins the whole."""
    first = int(snapshot.curves.expiry_ms.min())
    near = replace(snapshot, as_of_ms=TimeMs(first - 15 * MINUTE_MS))
    one = ScenarioSet(name="up", moves=(parse("0.2"),), averaging_minutes=30.0)
    shocks = expand([one], rules={}, tables=Tables(), snapshot=near)
    soonest = near.curves.expiry_ms == first
    growth = shocks.growth[: len(soonest), 0]
    assert growth[soonest] == pytest.approx(1.1)
    assert growth[~soonest] == pytest.approx(1.2)


def test_a_number_that_the_set_does_not_name_is_refused() -> None:
    content = shipped_levels("derive-pmrm2").model_dump(by_alias=True, exclude_unset=True)
    content["scenarios"]["shock"]["points"][0]["numbers"] = {"dampning": 0.5}
    with pytest.raises(RulebookError, match=r"numbers.* of the set has no \['dampning'\]"):
        check_levels(content, source="mine")


@pytest.mark.parametrize(
    "stem", ["pmrm2_portfolio_cases", "pmrm1_cases", "pmrm1_portfolio_cases", "auction_sim_cases"]
)
def test_vectors(stem: str) -> None:
    """Every case that Solvent knows passes."""
    result = conform([need_shared("vectors", "derive", f"{stem}.json")])
    assert result.failed == 0
    assert result.passed > 0
