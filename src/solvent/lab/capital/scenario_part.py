"""The part of a requirement that is a linear program: losses of scenarios, at worst or in a tail.

A rulebook of scans is taken as it stands: each scan's loss times the largest factor that the
requirement gives it. Its maps are concave where losses count at least as much as gains; a dampener
is taken without the gains above it. Of a rulebook of formulas the loss of every underlying in its
worst scenario stands in. Whatever a model leaves out (charges, rounding, far maps) is a constant
that makes it right for what is held: a model proposes trades, the rulebook itself disposes.

A worst loss is z >= −total(s) for every s. An expected shortfall (Rockafellar and Uryasev,
*Optimization of conditional value-at-risk*, 2000) is η + Σ pₛ uₛ / mass with uₛ >= −total(s) − η.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from solvent.lab.capital.program import INFINITY, Program
from solvent.lab.capital.remargin import Remargin
from solvent.margining.factors import factors_of
from solvent.margining.plan import Plan, ScanPlan
from solvent.risk.tails import Tail
from solvent.units import Float64

Int64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Slopes:
    """A concave map of a node's totals, in its own unit; axis: scenario. After it dollars."""

    dead: Float64
    loss: Float64
    gain: Float64
    cap: Float64
    dollars: float

    def __call__(self, totals: Float64) -> Float64:
        """Dollars that totals [..., scenario] count for, as the program takes them."""
        lost = np.minimum(totals + self.dead, 0.0) * self.loss
        gained = np.where(
            self.dead > 0.0, 0.0, np.minimum(np.maximum(totals, 0.0) * self._gain, self.cap)
        )
        return np.asarray((lost + gained) * self.dollars)

    @property
    def _gain(self) -> Float64:
        return np.minimum(self.gain, self.loss)

    def bounds(self) -> tuple[tuple[Float64, Float64], ...]:
        """Lines (slope, constant) whose least is the map, scenario by scenario."""
        none = self.dead > 0.0
        upper = np.where(none, 0.0, self._gain)
        return (
            (self.loss, self.dead * self.loss),
            (upper, np.zeros(len(upper))),
            (np.zeros(len(upper)), np.where(none, 0.0, self.cap)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Leg:
    """One node of a block: PnL of what is held [scenario], and a lot of each trade [trade, ...]."""

    held: Float64
    per_lot: Float64
    slopes: Slopes | None
    """None where totals count as they are, in dollars."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Legs whose totals add up by scenario and are reduced together, and what the loss counts."""

    legs: tuple[Leg, ...]
    tail: Tail | None
    factor: float

    def totals(self, lots: Float64) -> Float64:
        """[scenario] dollars, with trades [trade]."""
        total = np.zeros(len(self.legs[0].held))
        for leg in self.legs:
            pnl = leg.held + lots @ leg.per_lot
            total += pnl if leg.slopes is None else leg.slopes(pnl)
        return total

    def loss(self, lots: Float64) -> float:
        """What the block adds to the requirement with these trades."""
        total = self.totals(lots)
        if self.tail is None:
            return self.factor * max(0.0, -float(total.min()))
        order = np.argsort(total, kind="stable")
        parts = self.tail.parts[order]
        before = np.cumsum(parts) - parts
        counted = np.clip(self.tail.mass - before, 0.0, parts)
        return self.factor * max(0.0, -float(counted @ total[order]) / self.tail.mass)


@dataclass(frozen=True)
class Model:
    """requirement(trades) = constant + Σ blocks, in dollars."""

    blocks: tuple[Block, ...]
    trades: int
    constant: float = 0.0
    stand_in: bool = field(default=False, kw_only=True)
    """The rulebook is one of formulas: its scenario part stands in for it."""

    def __call__(self, lots: Float64) -> float:
        """The modelled requirement with trades."""
        return self.constant + sum(block.loss(lots) for block in self.blocks)

    def right_at(self, requirement: float) -> Model:
        """The same, right for what is held: what stands in is scaled, the rest is a constant."""
        modelled = self(np.zeros(self.trades))
        if self.stand_in and modelled > 0.0:
            scale = requirement / modelled
            scaled = tuple(replace(one, factor=one.factor * scale) for one in self.blocks)
            return Model(scaled if scale > 0.0 else (), self.trades, 0.0, stand_in=True)
        missing = requirement - modelled
        return Model(self.blocks, self.trades, self.constant + missing, stand_in=self.stand_in)

    def add_to(self, program: Program, lots: Int64) -> tuple[Int64, Float64]:
        """Columns whose sum, times their values, is never below the blocks' losses."""
        columns, values = [], []
        for block in self.blocks:
            columns.append(_reduced(program, block, lots))
            values.append(block.factor)
        return np.array(columns, dtype=np.int64), np.array(values)


def _reduced(program: Program, block: Block, lots: Int64) -> int:
    """The column of a block's loss, 0 or more."""
    (loss,) = program.columns(1)
    terms = [_leg_terms(program, leg, lots) for leg in block.legs]
    scenarios = len(block.legs[0].held)
    if block.tail is None:
        first, over = np.array([loss]), np.zeros((0, scenarios), dtype=np.int64)
    else:
        (eta,) = program.columns(1, lower=-INFINITY)
        over = program.columns(scenarios)[None, :]
        first = np.array([eta])
        weights = block.tail.parts / block.tail.mass
        program.row(
            np.concatenate([[loss, eta], over[0]]), np.concatenate([[1.0, -1.0], -weights]),
            lower=0.0,
        )  # fmt: skip
    for s in range(scenarios):
        told = [term.at(s) for term in terms]
        columns = np.concatenate([first, over[:, s], *(one[0] for one in told)])
        values = np.concatenate([np.ones(1 + len(over)), *(one[1] for one in told)])
        program.row(columns, values, lower=-sum(one[2] for one in told))
    return int(loss)


@dataclass(frozen=True, slots=True)
class _Term:
    """A leg's total as columns, values and a constant, by scenario."""

    columns: Int64
    """[column], or [scenario, 1] where each scenario has one of its own."""
    values: Float64
    """[column, scenario]."""
    constant: Float64

    def at(self, s: int) -> tuple[Int64, Float64, float]:
        own = self.columns if self.columns.ndim == 1 else self.columns[s]
        return own, self.values[:, s], float(self.constant[s])


def _leg_terms(program: Program, leg: Leg, lots: Int64) -> _Term:
    if leg.slopes is None:
        return _Term(lots, leg.per_lot, leg.held)
    scenarios = len(leg.held)
    counted = program.columns(scenarios, lower=-INFINITY)
    for slope, constant in leg.slopes.bounds():
        for s in np.flatnonzero(np.isfinite(constant)).tolist():
            # counted <= slope·(held + lots·per_lot) + constant
            program.row(
                np.concatenate([[counted[s]], lots]),
                np.concatenate([[1.0], -slope[s] * leg.per_lot[:, s]]),
                upper=float(slope[s] * leg.held[s] + constant[s]),
            )
    dollars = np.full((1, scenarios), leg.slopes.dollars)
    return _Term(counted[:, None], dollars, np.zeros(scenarios))


# ── models of accounts ───────────────────────────────────────────────────────────────────────────


def model_of(asked: Remargin, places: Int64) -> Model:
    """The scenario part of an account's requirement, with trades in some of its instruments.

    `places` are where the trades stand among the account's instruments.
    """
    if isinstance(asked.plan, Plan):
        blocks = [
            block
            for scan in asked.plan.scans
            for block in _scan_blocks(asked, asked.plan, scan, places)
        ]
        return Model(tuple(blocks), len(places))
    return Model(tuple(_stand_ins(asked, places)), len(places), stand_in=True)


def _scan_blocks(asked: Remargin, plan: Plan, scan: ScanPlan, places: Int64) -> list[Block]:
    formula = plan.initial if asked.measure == "initial" else plan.maintenance
    factors = factors_of(formula.outer, formula.inner, len(plan.top)) or {}
    ones = np.ones(len(plan.top))
    node, count = plan.nodes[scan.node], len(scan.scenarios)
    codes, tops = node.code[asked.rows], plan.top.code[asked.rows]
    pnl = plan.arrays.pnl_units[asked.rows][:, scan.scenarios]
    blocks = []
    for top in np.unique(tops).tolist():
        factor = float(factors.get(scan.name, ones)[top])
        legs = []
        for code in np.unique(codes[tops == top]).tolist():
            here = codes == code
            mine = here[places]
            held = (asked.lots * here) @ pnl
            per_lot = pnl[places] * mine[:, None]
            dollars = float(scan.to_set[code] * plan.top.price[top])
            legs.append(_leg(scan, code, held, per_lot, dollars))
        if factor > 0.0 and legs and count:
            blocks.append(Block(legs=tuple(legs), tail=scan.tail, factor=factor))
    return blocks


def _leg(scan: ScanPlan, code: int, held: Float64, per_lot: Float64, dollars: float) -> Leg:
    if bool(scan.unit_map.plain[code]):
        return Leg(held=held * dollars, per_lot=per_lot * dollars, slopes=None)
    maps = scan.unit_map
    slopes = Slopes(
        dead=maps.dead[code], loss=maps.loss[code], gain=maps.gain[code], cap=maps.cap[code],
        dollars=dollars,
    )  # fmt: skip
    straight = (slopes.dead == 0.0) & (slopes.loss == slopes.gain) & (slopes.cap == INFINITY)
    if bool(straight.all()):
        by = slopes.loss * dollars
        return Leg(held=held * by, per_lot=per_lot * by, slopes=None)
    return Leg(held=held, per_lot=per_lot, slopes=slopes)


def _stand_ins(asked: Remargin, places: Int64) -> list[Block]:
    """The worst loss of each underlying over every scenario that the rulebook asks for."""
    arrays = asked.plan.arrays
    if arrays.scenarios == 0:
        return []
    universe = arrays.universe
    price = np.array([arrays.price_of(name) for name in universe.settlements])
    of = universe.underlying[asked.rows]
    pnl = arrays.pnl_units[asked.rows] * price[universe.settlement[asked.rows]][:, None]
    return [
        Block(
            legs=(
                Leg(
                    held=(asked.lots * (of == one)) @ pnl,
                    per_lot=pnl[places] * (of[places] == one)[:, None],
                    slopes=None,
                ),
            ),
            tail=None,
            factor=1.0,
        )
        for one in np.unique(of).tolist()
    ]
