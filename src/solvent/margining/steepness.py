"""How fast initial margin can rise with one position, whatever else an account holds.

A rulebook of scans is a sum of parts, each with a slope that it states or that its map has. So the
margin of an account that holds q lots more or less differs by at most q times what one lot can do
to each part, taken with the worst sign everywhere. That is crude and always true: with it, most
trades can be let through without asking for the account's margin again.
"""

from __future__ import annotations

import numpy as np

from solvent.margining.factors import Factors, factors_of
from solvent.margining.plan import Plan
from solvent.scenarios.expand import evaluate
from solvent.units import Float64


def dollars_per_lot(plan: Plan) -> Float64 | None:
    """[instrument] dollars by which one lot can change initial margin at most.

    None where the requirement is no sum of its parts, each times what the market alone decides.
    Instruments that cannot be margined have infinity. A scan's tail changes by no more than the
    total that changes most, as its worst does.
    """
    factors = factors_of(plan.initial.outer, plan.initial.inner, len(plan.top))
    if factors is None:
        return None
    total = plan.bound_per_lot.copy()
    loss = np.abs(plan.arrays.pnl).max(axis=1, initial=0.0)
    for scan in plan.scans:
        node = plan.nodes[scan.node]
        slope = scan.unit_map.slope_max() * scan.to_set / node.quanta
        total += loss * slope[node.code] * _factor(factors, scan.name, plan)
    sums = {one.name: one for one in plan.sums}
    for charge in plan.charges:
        node = plan.nodes[charge.node]
        formula = plan.rulebook.formulas[f"charges.{charge.name}.slope"]
        stated = evaluate(formula, node.columns, what=charge.name)
        slope = np.array(np.broadcast_to(stated, len(node)))[node.code]
        slope = slope * _factor(factors, charge.name, plan)
        for name in charge.sums:
            total += (
                slope * _per_lot(sums[name].long_side, sums[name].short_side) / sums[name].quanta
            )
    for one in plan.sums:
        if one.node == plan.top.name:
            per_lot = _per_lot(one.long_side, one.short_side) / one.quanta
            total += per_lot * _factor(factors, one.name, plan)
    dollars = total * plan.top.price[plan.top.code]
    return np.where(plan.marginable & np.isfinite(dollars), dollars, np.inf)


def _per_lot(long_side: Float64, short_side: Float64) -> Float64:
    return np.maximum(np.abs(long_side), np.abs(short_side))


def _factor(factors: Factors, name: str, plan: Plan) -> Float64:
    """[instrument] a component's factor; 1 for one that initial margin does not use."""
    return np.asarray(factors.get(name, np.ones(len(plan.top)))[plan.top.code])
