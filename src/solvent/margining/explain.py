"""Why an account must post what it must: scenarios, charges, and each position's share.

Shares follow Euler's rule. At the binding scenario a position's share of the loss is its own part
of its node's PnL, through the map's effect on that node; of a tail it is the same over the tail's
scenarios, each as it counts. Of a charge it is the charge's derivative
along the position, scaled so that shares add up to the charge. Shares of an account therefore sum
to its requirement, but for inputs that no position causes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from solvent.margining.duals import DUALS, Dual
from solvent.margining.let_amounts import let_amounts
from solvent.margining.plan import ChargePlan, Formula, Plan, ScanPlan, SumPlan
from solvent.margining.requirement import Requirements
from solvent.risk import Book
from solvent.risk.tails import shares_of
from solvent.units import MICRO, Float64

Int64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionShare:
    """One position: what it is, and its share of the account's margins, in dollars."""

    symbol: str
    size: float
    lots: int
    mark: float
    notional: float
    delta: float
    vega: float
    binding_pnl: float
    """PnL in the binding scenario, dollars at today's index, before any map."""
    initial: float
    maintenance: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanView:
    """One scan of a set: PnL of every scenario in dollars at today's index."""

    name: str
    scenarios: Int64
    total: Float64
    by_node: Mapping[str, Float64]
    """Node → PnL before its map."""
    binding: int
    """Number of the worst scenario, or of that which stands for a tail."""
    share: Float64
    """What each scenario counts for: they sum to 1; of a worst loss the binding one is all."""
    reduce: str = "worst"
    level: float = 1.0

    @property
    def tail(self) -> Int64:
        """Places of the scenarios that count, the worst first."""
        held = np.flatnonzero(self.share > 0.0)
        return held[np.argsort(self.total[held], kind="stable")].astype(np.int64)


def standing_for(scan: ScanView) -> str:
    """What the binding scenario of a scan is, in words."""
    if scan.reduce == "worst":
        return "binding"
    name = scan.reduce.replace("_", " ")
    where = "at" if scan.reduce == "value_at_risk" else "worst of"
    return f"{where} {name} {scan.level:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SetView:
    """One netting set of the account. Amounts are dollars."""

    node: str
    underlying: int
    price: float
    initial: float
    maintenance: float
    components: Mapping[str, float]
    scans: tuple[ScanView, ...]
    positions: tuple[PositionShare, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountView:
    """An account explained: its margins are its sets' and, of initial margin, the haircut.

    Of an account that is unknown nothing but the reason is told: its margins are None.
    """

    account: str
    status: str
    initial: float | None
    maintenance: float | None
    sets: tuple[SetView, ...] = ()
    haircut: float = 0.0
    """Dollars of its collateral that the rulebook puts on initial margin."""
    reason: str = ""


def explain(
    plan: Plan, book: Book, answer: Requirements, account: int, *, status: str, haircut: int
) -> AccountView:
    """Explain one account of a margined book that is known; `haircut` in millionths of a dollar."""
    mine = np.flatnonzero(answer.sets.account == account)
    return AccountView(
        account=book.accounts[account],
        status=status,
        initial=(int(answer.initial[account]) + haircut) / MICRO,
        maintenance=float(answer.maintenance[account]) / MICRO,
        sets=tuple(_set_view(plan, answer, int(one)) for one in mine),
        haircut=haircut / MICRO,
    )


def _set_view(plan: Plan, answer: Requirements, one: int) -> SetView:
    arranged, sets = answer.layout, answer.sets
    level = arranged.levels[plan.levels.index(plan.top.name)]
    span = slice(int(level.first[one]), int(level.first[one + 1]))
    rows = arranged.instrument[span]
    lots = np.where(plan.marginable[rows], arranged.lots[span], 0.0)
    node = int(level.node[one])
    price = float(plan.top.price[node])
    losses = {scan.name: _ScanParts(plan, scan, rows, lots) for scan in plan.scans}
    scans = tuple(parts.view(price) for parts in losses.values())
    shares = _shares(plan, answer, one, rows, lots, node, losses)
    parts = {name: float(column[one]) for name, column in sets.components.items()}
    return SetView(
        node=plan.top.names[node],
        underlying=int(plan.arrays.universe.underlying[rows[0]]),
        price=price,
        initial=float(sets.initial_micro[one]) / MICRO,
        maintenance=float(sets.maintenance_micro[one]) / MICRO,
        components={
            name: float(column[one]) * price
            for name, column in sets.components.items()
            if name not in {total.name for total in plan.sums}
        }
        | {name: amount * price for name, amount in let_amounts(plan, parts, node).items()},
        scans=scans,
        positions=_positions(plan, rows, lots, scans, shares, price),
    )


class _ScanParts:
    """PnL of a set's positions in every scenario of a scan, by node, before and after its map."""

    def __init__(self, plan: Plan, scan: ScanPlan, rows: NDArray[np.int32], lots: Float64) -> None:
        self.scan, self.level = scan, plan.nodes[scan.node]
        self.rows, self.lots, self.codes = rows, lots, self.level.code[rows]
        self.total = np.zeros(len(scan.scenarios))
        self.raw: dict[int, Float64] = {}
        self.mapped: dict[int, Float64] = {}
        for code in np.unique(self.codes).tolist():
            here = self.codes == code
            pnl = lots[here] @ scan.matrix[rows[here], : len(scan.scenarios)]
            self.raw[code] = pnl / self.level.quanta[code]
            after = scan.unit_map(self.raw[code][None, :], np.array([code], dtype=np.int32))[0]
            self.mapped[code] = after * scan.to_set[code]
            self.total += self.mapped[code]
        self.worst = int(np.argmin(self.total))
        if scan.tail is None:
            self.share = np.zeros(len(self.total))
            self.share[self.worst] = 1.0
        else:
            self.share = shares_of(scan.tail, self.total)
            if scan.tail.kind == "value_at_risk":
                self.worst = int(np.argmax(self.share))

    def view(self, price: float) -> ScanView:
        """In dollars."""
        return ScanView(
            name=self.scan.name,
            scenarios=self.scan.scenarios,
            total=self.total * price,
            by_node={
                self.level.names[code]: raw * self.scan.to_set[code] * price
                for code, raw in self.raw.items()
            },
            binding=int(self.scan.scenarios[self.worst]),
            share=self.share,
            reduce="worst" if self.scan.tail is None else self.scan.tail.kind,
            level=1.0 if self.scan.tail is None else self.scan.tail.level,
        )

    def shares(self) -> Float64:
        """Each position's part of the loss in the scenarios that count."""
        share, count = np.zeros(len(self.rows)), np.flatnonzero(self.share > 0.0)
        for code, raw in self.raw.items():
            here = self.codes == code
            own = self.lots[here, None] * self.scan.matrix[np.ix_(self.rows[here], count)]
            own = own / self.level.quanta[code]
            held = raw[count] != 0.0
            ratio = np.zeros(len(count))
            ratio[held] = -self.mapped[code][count][held] / raw[count][held]
            share[here] = own @ (ratio * self.share[count])
        return share


def _positions(
    plan: Plan,
    rows: NDArray[np.int32],
    lots: Float64,
    scans: tuple[ScanView, ...],
    shares: tuple[Float64, Float64],
    price: float,
) -> tuple[PositionShare, ...]:
    arrays = plan.arrays
    universe, units = arrays.universe, arrays.units
    settlement = [arrays.price_of(universe.settlements[universe.settlement[row]]) for row in rows]
    initial, maintenance = shares
    binding = scans[0].binding if scans else None
    return tuple(
        PositionShare(
            symbol=universe.symbols[row],
            size=float(lots[i] * universe.lot_size[row]),
            lots=int(lots[i]),
            mark=float(arrays.fields["mark"][row]),
            notional=float(lots[i] * units["notional"][row]),
            delta=float(lots[i] * units["delta"][row]),
            vega=float(lots[i] * units["vega"][row]) * settlement[i],
            binding_pnl=0.0
            if binding is None
            else float(lots[i] * arrays.pnl_units[row, binding]) * settlement[i],
            initial=float(initial[i]) * price,
            maintenance=float(maintenance[i]) * price,
        )
        for i, row in enumerate(rows)
    )


def _shares(
    plan: Plan,
    answer: Requirements,
    one: int,
    rows: NDArray[np.int32],
    lots: Float64,
    node: int,
    losses: Mapping[str, _ScanParts],
) -> tuple[Float64, Float64]:
    """Each position's share of initial and maintenance margin, in the set's numeraire."""
    sets = answer.sets
    parts = {name: one_scan.shares() for name, one_scan in losses.items()}
    sums = {total.name: _sum_parts(total, rows, lots) for total in plan.sums}
    for charge in plan.charges:
        parts[charge.name] = _charge_shares(plan, charge, sums, rows)
    parts |= {total.name: sums[total.name] for total in plan.sums if total.node == plan.top.name}
    amounts = {name: float(column[one]) for name, column in sets.components.items()}
    # A scan's share is scaled to its amount, which may be rounded.
    parts = {name: _scaled(part, amounts.get(name, 0.0)) for name, part in parts.items()}
    allowance = plan.bound_per_lot[rows] * np.abs(lots)
    initial, maintenance = (
        _through(formula, amounts, parts, node, len(rows)) + allowance
        for formula in (plan.initial, plan.maintenance)
    )
    return initial, maintenance


def _scaled(part: Float64, amount: float) -> Float64:
    total = float(part.sum())
    return part * (amount / total) if total != 0.0 else part


def _through(
    formula: Formula,
    amounts: Mapping[str, float],
    parts: Mapping[str, Float64],
    node: int,
    positions: int,
) -> Float64:
    """Shares of a formula's value: its derivative along each position."""
    names = sorted(formula.outer.names & set(parts))
    slopes = _gradient(formula, amounts, names, node)
    share = np.zeros(positions)
    for name, slope in zip(names, slopes, strict=True):
        share += slope * parts[name]
    return share


def _gradient(
    formula: Formula, amounts: Mapping[str, float], names: list[str], node: int
) -> Float64:
    values: dict[str, Dual | float] = {
        name: float(column[node]) for name, column in formula.inner.items()
    }
    values |= {name: amounts[name] for name in formula.outer.names if name in amounts}
    for place, name in enumerate(names):
        slope = np.zeros(len(names))
        slope[place] = 1.0
        values[name] = Dual(amounts[name], slope)
    result = formula.outer(values, DUALS)
    return result.slope if isinstance(result, Dual) else np.zeros(len(names))


def _sum_parts(total: SumPlan, rows: NDArray[np.int32], lots: Float64) -> Float64:
    side = np.where(lots > 0.0, total.long_side[rows], total.short_side[rows])
    return lots * side / total.quanta


def _charge_shares(
    plan: Plan, charge: ChargePlan, sums: Mapping[str, Float64], rows: NDArray[np.int32]
) -> Float64:
    level = plan.nodes[charge.node]
    codes = level.code[rows]
    share = np.zeros(len(rows))
    names = [name for name in charge.sums if name in charge.amount.outer.names]
    for code in np.unique(codes):
        here = codes == code
        amounts = {name: float(sums[name][here].sum()) for name in charge.sums}
        slopes = _gradient(charge.amount, amounts, names, int(code))
        along = np.zeros(int(here.sum()))
        for name, slope in zip(names, slopes, strict=True):
            along += slope * sums[name][here]
        known = {k: float(v[code]) for k, v in charge.amount.inner.items()}
        amount = float(charge.amount.outer({**known, **amounts}))
        share[here] = _scaled(along, amount)
    return share
