"""Trades that free margin: the most for a budget, or a target for the least cost.

A linear (or mixed-integer) program over the scenario part of the requirement proposes whole lots;
the rulebook margins what it proposes; steps of whole lots better it, each tried out exactly. What
is claimed is only ever the exact requirement after the trades. The program's own claim, its bound
and its gap stand beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import polars as pl

from solvent import api
from solvent.answer import row_of
from solvent.errors import BadInput
from solvent.instruments.contract import moment_of
from solvent.lab.capital.faults import one_of, within, wrong
from solvent.lab.capital.program import Ending
from solvent.lab.capital.remargin import MEASURES, Measure, remargin
from solvent.lab.capital.scenario_part import Model, model_of
from solvent.lab.capital.search import ENUMERATED_MAX, TINY_COST, Goal, Search, Searched, searched
from solvent.lab.capital.trades import Costs, Tradable, allowed_rows, tradable
from solvent.margining.compile import AnyPlan
from solvent.margining.plan import Plan
from solvent.market import Snapshot
from solvent.units import MICRO

if TYPE_CHECKING:
    import plotly.graph_objects as go

DAYS_A_YEAR: Final = 365.0
_NO_COSTS: Final = Costs()


@dataclass(frozen=True, slots=True, kw_only=True)
class HedgeTrade:
    """One trade. Dollars; `size` in the venue's unit, bought positive.

    Attributes:
        cost: lost against the mark, the fee in it. premium: paid for options, received negative.
        carry: gained a day while nothing happens.
        assumed: its spread is assumed, since the market has no quote.
    """

    symbol: str
    lots: int
    size: float
    notional: float
    cost: float
    fee: float
    premium: float
    carry: float
    assumed: bool


@dataclass(frozen=True, kw_only=True)
class Hedge:
    """What was found for one account; money in millionths of a dollar where not told otherwise.

    Attributes:
        before, after: the exact requirement without and with the trades.
        cost: of all trades. single_*: the same of the best trade in one instrument.
        model_after: dollars that the program's model claims. bound: dollars that no whole trades
            can go below in that model (in cost, where a target is asked for), None without a model:
            a bound of the rulebook itself only where the model is the rulebook.
        gap: how far the best whole lots that are known, the program's or the answer, may be from
            the best in that model: as a part of the requirement before, or of the cost where a
            target is asked for; None without a bound.
        ending: of the program of whole lots, where it was asked. stand_in: its scenarios only stand
            in for the rulebook's formulas.
        how: what the answer came of. allowed: instruments that may be traded: each was tried alone,
            and all stood in the program. stepped: of them, those that steps were tried in.
        profile: scenario number → PnL in dollars before and after, of a rulebook with scenarios.
    """

    account: str
    rulebook: str
    measure: Measure
    goal: Goal
    before: int
    after: int
    cost: int
    trades: tuple[HedgeTrade, ...]
    single_symbol: str
    single_after: int
    single_cost: int
    model_after: float | None
    bound: float | None
    gap: float | None
    ending: str
    seconds: float
    stand_in: bool
    how: str
    allowed: int
    stepped: int
    capital_rate: float | None
    profile: Mapping[str, tuple[float, float]]

    @property
    def freed(self) -> int:
        """Margin that is freed."""
        return self.before - self.after

    @property
    def premium(self) -> float:
        """Dollars paid for options less those received."""
        return sum(one.premium for one in self.trades)

    @property
    def carry(self) -> float:
        """Dollars a day that the trades gain while nothing happens; negative where they decay."""
        return sum(one.carry for one in self.trades)

    @property
    def saved_a_year(self) -> float | None:
        """Dollars a year that the freed margin costs at the capital rate, less the carry lost.

        None without a rate.
        """
        if self.capital_rate is None:
            return None
        return self.freed / MICRO * self.capital_rate + self.carry * DAYS_A_YEAR

    @property
    def freed_per_cost(self) -> float | None:
        """Dollars of margin freed per dollar of cost; None where nothing is paid."""
        return self.freed / self.cost if self.cost else None

    def table(self) -> pl.DataFrame:
        """A row a trade, dollars."""
        rows = [
            {"instrument": one.symbol, "side": "buy" if one.lots > 0 else "sell",
             "size": abs(one.size), "lots": abs(one.lots), "notional": one.notional,
             "cost": one.cost, "fee": one.fee, "premium": one.premium, "carry_a_day": one.carry,
             "spread": "assumed" if one.assumed else "quoted"}
            for one in self.trades
        ]  # fmt: skip
        return pl.DataFrame(rows, schema=_TABLE)

    def to_polars(self) -> pl.DataFrame:
        """The same as `table`."""
        return self.table()

    def to_dict(self) -> dict[str, Any]:
        """What `solvent hedge --json` prints; dollars."""
        goal = {name: None if told is None else told / MICRO for name, told in (
            ("budget", self.goal.budget), ("target", self.goal.target))}  # fmt: skip
        return {
            "account": self.account, "rulebook": self.rulebook, "measure": self.measure,
            "goal": {**goal, "trades_max": self.goal.trades_max},
            "before": self.before / MICRO, "after": self.after / MICRO,
            "freed": self.freed / MICRO, "cost": self.cost / MICRO,
            "freed_per_cost": self.freed_per_cost,
            "premium": self.premium, "carry_a_day": self.carry,
            "capital_rate": self.capital_rate, "saved_a_year": self.saved_a_year,
            "trades": self.table().to_dicts(),
            "best_single": {
                "instrument": self.single_symbol or None,
                "freed": (self.before - self.single_after) / MICRO,
                "cost": self.single_cost / MICRO,
            },
            "program": {
                "ending": self.ending, "seconds": self.seconds, "after": self.model_after,
                "bound": self.bound, "gap": self.gap, "stands_in": self.stand_in,
            },
            "how": self.how, "allowed": self.allowed, "stepped": self.stepped,
        }  # fmt: skip

    def plot(self) -> go.Figure:
        """PnL by scenario before and after, and the requirement."""
        from solvent.lab.capital.plots import hedge_figure

        return hedge_figure(self)

    def __repr__(self) -> str:
        return (
            f"Hedge({self.account}, {self.rulebook}: {self.before / MICRO:,.2f} to "
            f"{self.after / MICRO:,.2f} USD for {self.cost / MICRO:,.2f}, "
            f"{len(self.trades)} trades)"
        )

    def _repr_html_(self) -> str:
        return f"<pre>{self!r}</pre>{self.table()._repr_html_()}"


_TABLE: Final[dict[str, Any]] = {
    "instrument": pl.String, "side": pl.String, "size": pl.Float64, "lots": pl.Int64,
    "notional": pl.Float64, "cost": pl.Float64, "fee": pl.Float64, "premium": pl.Float64,
    "carry_a_day": pl.Float64, "spread": pl.String,
}  # fmt: skip


def hedge(
    positions: Any, market: Any, rulebook: api.RulebookLike = "deribit-pm", *,
    account: str | None = None, budget: float | None = None, target: float | None = None,
    allow: Sequence[str] | None = None, limits: Mapping[str, float] | None = None,
    limit: float | None = None, trades_max: int | None = None, costs: Costs = _NO_COSTS,
    days_min: float = 1.0,
    capital_rate: float | None = None, measure: Measure = "initial", collateral: Any = None,
    orders: Any = None, modes: Any = None, inputs: Any = None, history: api.HistoryLike = None,
    seconds: float = 2.0, enumerate_max: int = ENUMERATED_MAX,
) -> Hedge:  # fmt: skip
    """Find trades that lower one account's requirement.

    Args:
        account: which; may be left out where there is one only.
        budget: dollars of cost; the most margin is freed for it. target: dollars of requirement
            that are to be reached at least cost. One of them, or both.
        allow: patterns of instruments that may be traded (`BTC-*-P`); those of held underlyings
            where none is told.
        limits, limit: the most of an instrument, and of every other, in the venue's unit.
        trades_max: in no more instruments than so many.
        days_min: instruments that expire sooner are left alone.
        capital_rate: what a dollar of capital costs a year, 0.08 for eight percent.
        seconds: after which a program ends with the best that it has.
        enumerate_max: where there are no more whole trades than this, every one is tried.

    Raises BadInput for an infeasible target (told is which constraint is in the way), for a
    problem without bounds, and where nothing may be traded.
    """
    _check_goal(budget, target, trades_max, seconds)
    one_of("hedge", "measure", measure, MEASURES)
    snapshot, plan = _prepared(market, rulebook, history)
    answer = api.margin(
        positions, plan, collateral=collateral, orders=orders, modes=modes, inputs=inputs
    )
    names = list(answer.book.accounts)
    row = _only(account, names)
    if answer.unknown[row]:
        reason = str(answer.to_polars()["reason"][row])
        raise wrong("hedge", "account", f"an account whose margin is known ({names[row]})", reason)
    part = slice(int(answer.book.first[row]), int(answer.book.first[row + 1]))
    held = answer.book.instrument[part].tolist()
    rows = allowed_rows(plan.arrays, _marginable(plan), allow, held, days_min=days_min)
    trades = tradable(snapshot, plan.arrays, rows, costs=costs, limits=limits, limit=limit)
    if len(trades) == 0:
        raise wrong("hedge", "allow", "an instrument with a quote and a limit above 0", "none")
    asked = remargin(answer, row, measure, also=trades.row.tolist())
    goal = Goal(_micro(budget, down=True), _micro(target, down=True), trades_max)
    _check_bounded(trades, goal)
    search = Search(asked, trades, goal)
    trades, search = _known_only(search)
    _check_ahead(search)
    model = model_of(asked, search.places).right_at(search.before / MICRO)
    result = searched(search, model, seconds=seconds, enumerate_max=enumerate_max)
    if goal.target is not None and result.best.requirement > goal.target:
        raise _infeasible(search, model, result, seconds)
    return _told(search, result, plan, capital_rate)


def _prepared(
    market: Any, rulebook: api.RulebookLike, history: api.HistoryLike
) -> tuple[Snapshot, AnyPlan]:
    if isinstance(market, list | tuple):
        market = api.read_market(*market)
    elif not isinstance(market, Snapshot):
        market = api.read_market(market)
    book = api.rulebook_in_force(rulebook, moment_of(market.as_of_ms).date())
    return market, api.prepare(market, book, history=history)


def _only(account: str | None, names: Sequence[str]) -> int:
    if account is None and len(names) != 1:
        shown = ", ".join(names[:5])
        raise wrong("hedge", "account", f"which account: one of {len(names)} ({shown})", "none")
    return 0 if account is None else row_of(account, names)


def _marginable(plan: AnyPlan) -> Any:
    if isinstance(plan, Plan):
        return plan.marginable
    return np.asarray(plan.arrays.usable)


def _known_only(search: Search) -> tuple[Tradable, Search]:
    """Without instruments of which the rulebook knows no margin, which formulas tell when asked."""
    trades, count = search.trades, len(search.trades)
    at, one = np.tile(np.arange(count), 2), np.repeat([1.0, -1.0], count)
    bad = ~np.isfinite(search.alone(at, one)).reshape(2, count)
    if not bad.any():
        return trades, search
    kept = replace(
        trades,
        buy_most=np.where(bad[0], 0, trades.buy_most),
        sell_most=np.where(bad[1], 0, trades.sell_most),
    )
    if bool(bad.all()):
        raise wrong(
            "hedge", "allow", "an instrument that the rulebook can margin in this account", "none"
        )
    return kept, Search(search.asked, kept, search.goal)


def _check_goal(
    budget: float | None, target: float | None, trades_max: int | None, seconds: float
) -> None:
    if budget is None and target is None:
        raise wrong(
            "hedge",
            "budget, target",
            "a budget of dollars, or a target: without either the problem is unbounded", "none",
        )  # fmt: skip
    within("hedge", "budget", budget)
    within("hedge", "target", target)
    within("hedge", "trades_max", trades_max, 1.0)
    within("hedge", "seconds", seconds, 1e-3)


def _check_ahead(search: Search) -> None:
    """A target lies below what is required now."""
    goal = search.goal
    if goal.target is not None and search.before <= goal.target:
        raise wrong(
            "hedge",
            "target", f"less than what is required now, {search.before / MICRO:,.2f} dollars",
            f"{goal.target / MICRO:,.2f}",
        )  # fmt: skip


def _check_bounded(trades: Tradable, goal: Goal) -> None:
    """A budget bounds only what costs something."""
    if goal.target is not None:
        return
    from solvent.limits import LOTS_MAX

    free = (trades.buy_micro == 0) & (trades.buy_most == LOTS_MAX)
    free |= (trades.sell_micro == 0) & (trades.sell_most == LOTS_MAX)
    if free.any():
        symbol = trades.symbol[int(np.flatnonzero(free)[0])]
        raise wrong(
            "hedge",
            "limits", f"a limit for {symbol}, which costs nothing: the problem is unbounded",
            "none",
        )  # fmt: skip


def _infeasible(search: Search, model: Model, result: Searched, seconds: float) -> BadInput:
    """Which constraint keeps the target out of reach: what is left off one after the other."""
    goal, target = search.goal, search.goal.target or 0

    def least(trades: Tradable, wanted: Goal) -> int:
        trial = Search(search.asked, trades, wanted)
        return searched(trial, model, seconds=seconds, enumerate_max=0).best.requirement

    reached = f"a requirement of {result.best.requirement / MICRO:,.2f} dollars at least"
    if goal.budget is not None:
        freer = replace(goal, budget=None)
        if least(search.trades, freer) <= target:
            return wrong(
                "hedge",
                "budget",
                f"a budget for which {target / MICRO:,.2f} can be reached",
                reached,
            )
    if goal.trades_max is not None:
        freer = replace(goal, budget=None, trades_max=None)
        if least(search.trades, freer) <= target:
            return wrong("hedge", "trades_max", "more instruments for this target", reached)
    from solvent.limits import LOTS_MAX

    wide = replace(
        search.trades,
        buy_most=np.where(search.trades.buy_most > 0, LOTS_MAX, 0),
        sell_most=np.where(search.trades.sell_most > 0, LOTS_MAX, 0),
    )
    if least(wide, Goal(target=target)) <= target:
        return wrong("hedge", "limits", "larger limits of lots for this target", reached)
    return wrong("hedge", "target", "a target that the allowed instruments can reach", reached)


def _told(search: Search, result: Searched, plan: AnyPlan, capital_rate: float | None) -> Hedge:
    best, single = result.best, result.single
    goal, asked = search.goal, search.asked
    claimed = float(result.model(best.lots.astype(np.float64))) if result.model.blocks else None
    solved = result.whole if result.whole is not None else result.relaxed
    which = np.flatnonzero(single.lots)
    return Hedge(
        account=asked.name,
        rulebook=plan.rulebook.name,
        measure=asked.measure,
        goal=goal,
        before=search.before,
        after=best.requirement,
        cost=best.cost,
        trades=_trades(search.trades, best.lots, plan),
        single_symbol=search.trades.symbol[int(which[0])] if len(which) else "",
        single_after=single.requirement,
        single_cost=single.cost,
        model_after=claimed,
        bound=_bound(goal, result),
        gap=_gap(search, result),
        ending=str(solved.ending) if solved is not None else "no program",
        seconds=0.0 if solved is None else solved.seconds,
        stand_in=result.model.stand_in,
        how=best.how,
        allowed=len(search.trades),
        stepped=result.stepped,
        capital_rate=capital_rate,
        profile=_profile(search, best.lots),
    )


def _lower(result: Searched) -> float | None:
    """The higher bound of the two programs, which bounds the objective of both."""
    known = [
        one.bound for one in (result.relaxed, result.whole)
        if one is not None and one.ending in (Ending.OPTIMAL, Ending.TIME_LIMIT)
        and np.isfinite(one.bound)
    ]  # fmt: skip
    return max(known, default=None)


def _bound(goal: Goal, result: Searched) -> float | None:
    """Where margin is asked for, the program's objective also holds a little of the cost, which is
    no more than that of the whole budget: it is taken off."""
    lower = _lower(result)
    if lower is None or goal.target is not None:
        return lower
    return lower + result.model.constant - TINY_COST * (goal.budget or 0) / MICRO


def _gap(search: Search, result: Searched) -> float | None:
    """From the best whole lots in the model, the program's or the answer, down to its bound."""
    lower, whole, best = _lower(result), result.whole, result.best
    if lower is None:
        return None
    goal, modelled = search.goal, float(result.model(best.lots.astype(np.float64)))
    known = [whole.objective] if whole is not None and whole.found else []
    if goal.target is None:
        known.append(modelled - result.model.constant + TINY_COST * best.cost / MICRO)
    elif modelled * MICRO <= goal.target:
        known.append(best.cost / MICRO)
    if not known:
        return None
    scale = search.before / MICRO if goal.target is None else min(known)
    return max(0.0, min(known) - lower) / scale if scale > 0.0 else 0.0


def _trades(trades: Tradable, lots: Any, plan: AnyPlan) -> tuple[HedgeTrade, ...]:
    lot_size = plan.arrays.universe.lot_size
    found = []
    for j in np.flatnonzero(lots).tolist():
        count = int(lots[j])
        each = int(trades.buy_micro[j] if count > 0 else trades.sell_micro[j])
        found.append(
            HedgeTrade(
                symbol=trades.symbol[j], lots=count,
                size=count * float(lot_size[trades.row[j]]),
                notional=count * float(trades.notional[j]), cost=abs(count) * each / MICRO,
                fee=abs(count) * float(trades.fee[j]),
                premium=count * float(trades.premium[j]), carry=count * float(trades.carry[j]),
                assumed=bool(trades.assumed[0 if count > 0 else 1, j]),
            )
        )  # fmt: skip
    return tuple(sorted(found, key=lambda one: -abs(one.notional)))


def _profile(search: Search, lots: Any) -> dict[str, tuple[float, float]]:
    """Scenario → PnL in dollars of the whole account before and after, at today's prices."""
    arrays = search.asked.plan.arrays
    if arrays.scenarios == 0:
        return {}
    universe, shocks = arrays.universe, arrays.shocks
    rows = search.asked.rows
    price = np.array([arrays.price_of(name) for name in universe.settlements])
    pnl = arrays.pnl_units[rows] * price[universe.settlement[rows]][:, None]
    held = search.asked.lots
    changed = held.copy()
    changed[search.places] += lots
    under = int(universe.underlying[rows[0]])
    before, after = held @ pnl, changed @ pnl
    return {
        f"{s + 1}: {shocks.label(s, under)}": (float(before[s]), float(after[s]))
        for s in range(arrays.scenarios)
    }


def _micro(dollars: float | None, *, down: bool) -> int | None:
    if dollars is None:
        return None
    scaled = dollars * MICRO
    return int(np.floor(scaled + 1e-6)) if down else int(np.ceil(scaled - 1e-6))
