"""Trades that free margin: never worse than claimed, as good as can be where that is known."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest

import solvent as sv
from solvent import api
from solvent.lab.capital.hedge import Hedge, hedge
from solvent.lab.capital.program import Ending, Program, Solved
from solvent.lab.capital.remargin import remargin
from solvent.lab.capital.scenario_part import model_of
from solvent.lab.capital.trades import Costs, allowed_rows, tradable
from solvent.units import MICRO
from tests import capital, rulebook_histories
from tests.past import past

COSTS = Costs(fee_bps=1.0, option_fee_cap=0.125)
CASES = 2


def found(rows: list[dict[str, Any]], of: Any, **told: Any) -> Hedge:
    told = {"seconds": 0.2, "costs": COSTS, "enumerate_max": 0, "allow": ["*-C", "*-P"], **told}
    return hedge(rows, capital.market(), of, **told)


def beats(case: int, *, tail: float | None = None) -> bool:
    """One random book of options hedged with 200 others; whether it does more than one trade does,
    or as much for less."""
    rng = np.random.default_rng(case)
    of = capital.rulebook(tail=tail)
    rows = capital.positions(rng, 12)
    before = capital.required(rows, capital.plan(tail=tail))
    best = found(rows, of, budget=float(rng.uniform(0.0006, 0.004)) * before / MICRO)
    again = capital.required(capital.with_trades(rows, best), capital.plan(tail=tail))
    assert best.before == before
    assert again <= best.after, "never worse than claimed"
    assert best.cost <= (best.goal.budget or 0)
    assert best.single_cost <= (best.goal.budget or 0)
    assert best.allowed >= 200
    return (best.after, best.cost) < (best.single_after, best.single_cost)


def test_never_worse_than_claimed_and_better_than_one_trade() -> None:
    better = [beats(1 + case) for case in range(CASES)]
    assert sum(better) >= 0.95 * CASES


def test_a_tail_is_hedged_as_well() -> None:
    assert beats(1, tail=0.9)


@pytest.mark.soak
def test_never_worse_than_claimed_on_many_books() -> None:
    better = [beats(case) for case in range(100)]
    assert sum(better) >= 95


def searched(rows: list[dict[str, Any]], tail: float | None = None) -> Any:
    """What a hedge of the book knows, without searching."""
    of = capital.plan(tail=tail)
    answer = api.margin(rows, of)
    names = [one["instrument"] for one in rows]
    row = allowed_rows(of.arrays, of.marginable, ["*-C", "*-P"], [], days_min=1.0)
    trades = tradable(capital.market(), of.arrays, row, costs=COSTS)
    asked = remargin(answer, 0, also=trades.row.tolist())
    assert set(names) <= {of.arrays.universe.symbols[n] for n in asked.rows}
    return asked, trades, np.searchsorted(asked.rows, trades.row)


@pytest.mark.parametrize("tail", [None, 0.9, 0.95])
def test_model_is_the_rulebook_where_that_is_scenarios_alone(tail: float | None) -> None:
    """Up to what rounding may hide: half a quantum a lot."""
    rng = np.random.default_rng(5)
    asked, trades, places = searched(capital.positions(rng, 8), tail)
    model = model_of(asked, places)
    for _ in range(20):
        lots = np.where(rng.random(len(trades)) < 0.05, rng.integers(-50, 51, len(trades)), 0)
        held = asked.lots.copy()
        held[places] += lots
        exact = float(asked.ask(held[None, :]).micro[0])
        allowance = float(np.abs(held).sum()) + 1.0
        assert abs(model(lots.astype(float)) * MICRO - exact) <= allowance


@pytest.mark.parametrize("tail", [None, 0.9])
def test_program_of_the_model_says_what_the_model_says(tail: float | None) -> None:
    """The linear program at trades that are fixed comes to the model's own number."""
    rng = np.random.default_rng(6)
    asked, trades, places = searched(capital.positions(rng, 8), tail)
    model = model_of(asked, places)
    lots = np.where(rng.random(len(trades)) < 0.1, rng.integers(-50, 51, len(trades)), 0.0)
    program = Program()
    net = program.columns(len(trades), lower=lots, upper=lots)
    losses, factors = model.add_to(program, net)
    program.price(losses, factors)
    assert program.solve().objective == pytest.approx(model(lots), rel=1e-9)


def brute_force(rows: list[dict[str, Any]], names: list[str], most: int, budget: int) -> int:
    """The least requirement by trying every whole trade, each margined from the start."""
    of, universe = capital.plan(), capital.market().universe
    whole = [universe.row(name) for name in names]
    trades = tradable(capital.market(), of.arrays, [n for n in whole if n is not None], costs=COSTS)
    every: list[list[dict[str, Any]]] = []
    least = capital.required(rows, of)
    for lots in product(range(-most, most + 1), repeat=len(names)):
        if trades.cost_micro(np.array(lots)) <= budget:
            more = [
                {"account": f"b{len(every)}", "instrument": name,
                 "size": n * float(universe.lot_size[row])}
                for name, n, row in zip(trades.symbol, lots, trades.row, strict=True) if n
            ]  # fmt: skip
            every.append([{**one, "account": f"b{len(every)}"} for one in rows] + more)
    answers = api.margin([one for book in every for one in book], of)
    return min(least, int(answers.initial_micro.min()))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("enumerate_max", [0, 4_096])
def test_equals_brute_force_on_tiny_cases(seed: int, enumerate_max: int) -> None:
    rng = np.random.default_rng(seed)
    rows = capital.positions(rng, 3, lots=6)
    universe = capital.market().universe
    names = sorted(universe.symbols[n] for n in rng.choice(capital.options(), 3, replace=False))
    best = found(
        rows, capital.rulebook(), allow=names, budget=300.0, days_min=0.0, seconds=5.0,
        limits={name: 3 * float(universe.lot_size[universe.row(name) or 0]) for name in names},
        enumerate_max=enumerate_max,
    )  # fmt: skip
    expected = brute_force(rows, sorted(names), 3, 300 * MICRO)
    assert best.after == expected
    assert ("every whole trade" in best.how) == (enumerate_max > 0)


def test_a_budget_that_affords_nothing_trades_nothing() -> None:
    """Some 200 instruments, not a lot of any of which can be paid: one whole trade, none."""
    rows = capital.positions(np.random.default_rng(3), 4)
    best = found(rows, capital.rulebook(), budget=1e-6, enumerate_max=4_096)
    assert (best.trades, best.cost, best.after) == ((), 0, best.before)
    assert best.allowed >= 200
    assert "every whole trade" in best.how


def test_target_is_reached_at_least_cost() -> None:
    rng = np.random.default_rng(2)
    rows = capital.positions(rng, 10)
    before = capital.required(rows, capital.plan())
    best = found(rows, capital.rulebook(), target=0.6 * before / MICRO)
    assert best.after <= 0.6 * before
    assert capital.required(capital.with_trades(rows, best), capital.plan()) <= 0.6 * before
    cheaper = best.cost / MICRO * 0.98
    with pytest.raises(sv.BadInput, match="budget"):
        found(rows, capital.rulebook(), target=0.6 * before / MICRO, budget=cheaper * 0.5)
    assert best.bound is not None
    assert best.bound <= best.cost / MICRO + 1e-6
    assert best.single_after > 0.6 * before or best.cost <= best.single_cost


def test_an_ended_program_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole lots that were not found in time are not called optimal; the bound is of margin."""
    rows, budget, relaxed = capital.positions(np.random.default_rng(2), 6), 3_000.0, []
    real = Program.solve

    def solve(self: Program, *, whole: bool = False, **told: Any) -> Solved:
        solved = real(self, seconds=told["seconds"])
        if not whole:
            relaxed.append(solved)
            return solved
        return replace(solved, ending=Ending.TIME_LIMIT, x=np.zeros(0), objective=float("nan"),
                       bound=-np.inf, gap=np.inf)  # fmt: skip

    monkeypatch.setattr(Program, "solve", solve)
    few = [capital.market().universe.symbols[row] for row in capital.options()[60:72]]
    best = found(rows, capital.rulebook(), budget=budget, seconds=60.0, allow=few)
    assert best.ending == "time limit"
    asked, _, places = searched(rows)
    constant = model_of(asked, places).right_at(best.before / MICRO).constant
    assert best.bound == pytest.approx(relaxed[0].bound + constant - 1e-6 * budget, abs=1e-6)
    assert best.gap is not None
    assert best.model_after is not None
    assert best.bound is not None
    apart = best.model_after - best.bound - 1e-6 * (budget - best.cost / MICRO)
    assert best.gap == pytest.approx(apart * MICRO / best.before, abs=1e-9)


def test_a_limit_in_time_has_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search of whole lots that ends at once has the start's lots, and the linear bound."""
    rows, real = capital.positions(np.random.default_rng(2), 6), Program.solve

    def solve(self: Program, *, whole: bool = False, **told: Any) -> Solved:
        if not whole:
            return real(self)
        return real(self, **{**told, "whole": True, "seconds": 1e-9})

    monkeypatch.setattr(Program, "solve", solve)
    for goal in ({"budget": 100.0}, {"target": 0.5 * capital.required(rows, capital.plan()) / 1e6}):
        best = found(rows, capital.rulebook(), **goal)
        assert best.ending == "time limit"
        assert best.gap is not None
        assert 0.0 <= best.gap < 1.0
        assert best.bound is not None


def test_a_program_too_slow_is_asked_of_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the answer says so, and has no bound; it is still better than one trade."""
    rows, real, asked = capital.positions(np.random.default_rng(2), 6), Program.solve, []

    def solve(self: Program, *, whole: bool = False, **told: Any) -> Solved:
        solved = real(self, **{**told, "whole": whole, "seconds": 60.0 if not whole else 0.2})
        asked.append(self.count)
        if self.count < max(asked):
            return solved
        return replace(solved, ending=Ending.TIME_LIMIT, x=np.zeros(0), objective=float("nan"),
                       bound=-np.inf, gap=np.inf)  # fmt: skip

    monkeypatch.setattr(Program, "solve", solve)
    best = found(rows, capital.rulebook(), budget=100.0)
    assert "a program over the 128 instruments that free most alone" in best.how
    assert (best.ending, best.bound, best.gap) == ("time limit", None, None)
    assert (best.after, best.cost) < (best.single_after, best.single_cost)
    again = capital.required(capital.with_trades(rows, best), capital.plan())
    assert again == best.after
    assert 24 <= best.stepped < best.allowed


def test_fewer_instruments_when_asked() -> None:
    rng = np.random.default_rng(4)
    rows = capital.positions(rng, 10)
    few = [capital.market().universe.symbols[row] for row in capital.options()[60:100]]
    best = found(rows, capital.rulebook(), budget=100.0, trades_max=2, allow=few)
    assert len(best.trades) <= 2
    wide = found(rows, capital.rulebook(), budget=100.0, allow=few)
    assert wide.after <= best.after < best.before


@pytest.mark.parametrize("name", ["deribit-pm", "tims", "binance-usdm"])
def test_hedges_under_shipped_rulebooks(name: str) -> None:
    hedged_as_claimed(name)


@pytest.mark.soak
@pytest.mark.parametrize(
    "name", ["deribit-xpm", "deribit-sm", "bitmex", "paradex-pm", "derive-pmrm2", "bybit-pm", "fhs"]
)
def test_hedges_under_more_rulebooks(name: str) -> None:
    hedged_as_claimed(name)


def hedged_as_claimed(name: str) -> None:
    """Beyond scenarios: maps, charges, tiers, inverse contracts, and none of them linear."""
    market = rulebook_histories.market()
    fits = rulebook_histories.fitting(name)
    symbols = [market.universe.symbols[row] for row in fits]
    rng = np.random.default_rng(1)
    rows = [
        {"account": "a", "instrument": symbol,
         "size": -float(rng.integers(50, 500)) * float(market.universe.lot_size[row])}
        for row, symbol in list(zip(fits, symbols, strict=True))[:3]
    ]  # fmt: skip
    history = past(market)
    best = hedge(
        rows, market, name, history=history, budget=500.0, seconds=0.2, costs=COSTS, days_min=0.0,
        allow=symbols, limit=None, measure="maintenance",
    )  # fmt: skip
    changed = capital.with_trades(rows, best)
    margined = api.margin(changed, market, name, history=history).to_polars()
    assert best.after < best.before
    assert round(margined["maintenance_margin"][0] * MICRO) <= best.after
    assert best.after <= best.single_after
    assert best.to_dict()["freed"] == best.freed / MICRO


def test_what_is_wrong_is_said() -> None:
    rng = np.random.default_rng(0)
    rows = capital.positions(rng, 4)
    of = capital.rulebook()
    before = capital.required(rows, capital.plan()) / MICRO
    for told, words in (
        ({}, "unbounded"),
        ({"budget": -1.0}, "budget"),
        ({"budget": float("nan")}, "budget"),
        ({"budget": 1.0, "allow": ["DOGE-*"]}, "pattern"),
        ({"budget": 1.0, "limits": {"DOGE-PERPETUAL": 1.0}}, "limits"),
        ({"budget": 1.0, "limit": 0.0}, "limit above 0"),
        ({"budget": 1.0, "days_min": 9e9}, "lasts"),
        ({"target": 2 * before}, "less than what is required now"),
        ({"budget": 1.0, "account": "nobody"}, "nobody"),
    ):
        with pytest.raises(sv.BadInput, match=words):
            found(rows, of, **told)
    market = capital.market()
    free = replace(market, bid=market.mark, ask=market.mark)
    with pytest.raises(sv.BadInput, match="unbounded"):
        hedge(rows, free, of, budget=1.0, allow=["*-PERPETUAL"])
    symbol = capital.market().universe.symbols[capital.options()[40]]
    with pytest.raises(sv.BadInput, match="limits"):
        found(rows, of, target=0.02 * before, limit=0.01)
    with pytest.raises(sv.BadInput, match="target"):
        found(rows, of, target=0.001 * before, allow=[symbol])


def test_costs_are_those_of_quotes_and_fees() -> None:
    market, of = capital.market(), capital.plan()
    row = capital.options()[30]
    (priced,) = (
        tradable(market, of.arrays, [row], costs=costs)
        for costs in [Costs(fee_bps=2.0, option_fee_cap=0.1, hold_days=3.0)]
    )
    lot = float(of.arrays.universe.lot_size[row])
    mark, ask = float(market.mark[row]), float(market.ask[row])
    fee = min(2e-4 * float(market.index[0]) * lot, 0.1 * mark * lot)
    decay = -3.0 * float(of.arrays.units["theta"][row])
    expected = (max(ask - mark, 0.0) * lot + fee + max(decay, 0.0)) * MICRO
    assert priced.buy_micro[0] == pytest.approx(expected, abs=1.01)
    assert priced.cost_micro(np.array([3])) == 3 * int(priced.buy_micro[0])
    assert priced.cost_micro(np.array([-3])) == 3 * int(priced.sell_micro[0])


def test_a_quoted_side_keeps_its_quote() -> None:
    """A future asked far above its mark, without a bid: only its bid is assumed."""
    market, of = capital.market(), capital.plan()
    row = market.universe.row("BTC-PERPETUAL") or 0
    bid, ask = market.bid.copy(), market.ask.copy()
    bid[row], ask[row] = np.nan, 1.05 * market.mark[row]
    one_sided = replace(market, bid=bid, ask=ask)
    priced = tradable(one_sided, of.arrays, [row], costs=Costs(unquoted_bps=1.0))
    assert priced.assumed.tolist() == [[False], [True]]
    notional = float(priced.notional[0])
    assert priced.buy_micro[0] > 0.04 * notional * MICRO
    assert priced.sell_micro[0] == pytest.approx(1e-4 * notional * MICRO, abs=1.01)
    left = tradable(one_sided, of.arrays, [row], costs=Costs(unquoted_bps=None))
    assert (left.buy_most[0] > 0, left.sell_most[0]) == (True, 0)
    for name in ("fee_bps", "option_fee_cap", "unquoted_bps", "hold_days"):
        for value in (-1.0, float("nan"), float("inf"), "1"):
            with pytest.raises(sv.BadInput, match=rf"costs\.{name}"):
                Costs(**{name: value})  # type: ignore[arg-type]


def test_programs_end_as_they_must() -> None:
    empty = Program()
    x = empty.columns(1, cost=1.0)
    empty.row(x, [1.0], lower=2.0)
    empty.row(x, [1.0], upper=1.0)
    assert empty.solve().ending is Ending.INFEASIBLE
    open_ended = Program()
    open_ended.columns(1, cost=-1.0)
    assert open_ended.solve().ending is Ending.UNBOUNDED
    knapsack = Program()
    y = knapsack.columns(3, cost=[-5.0, -4.0, -3.0], upper=1.0, whole=True)
    knapsack.row(y, [2.0, 3.0, 1.0], upper=4.0)
    relaxed, whole = knapsack.solve(), knapsack.solve(whole=True)
    assert relaxed.objective == pytest.approx(-9.3333333)
    assert (whole.objective, whole.gap) == (-8.0, 0.0)
    assert knapsack.rounded(relaxed.x, up=False).tolist() == [1.0, 0.0, 1.0]
    for start in (np.array([1.0, 0.0, 1.0]), np.ones(3), np.array([0.5, 0.0, 0.0])):
        assert knapsack.solve(whole=True, start=start).objective == -8.0
    assert whole.bound >= relaxed.objective


def test_picture_and_table() -> None:
    rng = np.random.default_rng(9)
    best = found(capital.positions(rng, 4), capital.rulebook(), budget=20.0, capital_rate=0.08)
    assert best.table()["cost"].sum() == pytest.approx(best.cost / MICRO)
    assert len(best.plot().data) == 2
    assert best.saved_a_year == pytest.approx(best.freed / MICRO * 0.08 + 365 * best.carry)
    assert best.freed_per_cost is not None
    assert "USD" in repr(best)
