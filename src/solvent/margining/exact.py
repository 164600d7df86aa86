"""The venue's own arithmetic for one account: float64, nothing quantised, sizes in any fraction.

This is what published numbers are compared with, and the readable account of what a rulebook means:
it walks the same text as the fast way, one account, one node and one scenario at a time, on the
unrounded arrays. The fast way stays within one quantum per lot of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from solvent.errors import BadInput, Problem, Reject
from solvent.expressions import ARRAYS
from solvent.margining.plan import Formula, Plan, ScanPlan
from solvent.margining.schema import RoundText
from solvent.risk.product import NodeMap
from solvent.risk.tails import tails_of
from solvent.units import round_decimals


@dataclass(frozen=True, slots=True, kw_only=True)
class ExactSet:
    """One netting set's requirement, in the numeraire of its node.

    Attributes:
        components: name → amount. vectors: scan → mapped total per scenario.
        raw: scan → node name → PnL per scenario before the map, in the node's own numeraire.
        mapped: the same after the map.
        binding: scan → number of the worst scenario, or of that which stands for a tail.
    """

    node: str
    price: float
    initial: float
    maintenance: float
    components: Mapping[str, float]
    vectors: Mapping[str, tuple[float, ...]]
    raw: Mapping[str, Mapping[str, tuple[float, ...]]]
    mapped: Mapping[str, Mapping[str, tuple[float, ...]]]
    binding: Mapping[str, int]


def exact_sets(
    plan: Plan,
    lots: Mapping[int, float],
    inputs: Mapping[str, Mapping[str, float]] | None = None,
) -> list[ExactSet]:
    """Requirements of one account that holds `lots` (instrument row → lots, any fraction).

    `inputs` is input name → node name → amount. Raises BadInput for a position that the rulebook
    cannot margin.
    """
    for row in lots:
        if plan.refusal[row]:
            raise BadInput(
                Problem(
                    code=Reject.PARAMETER_UNSET,
                    source=f"rulebook {plan.rulebook.name}",
                    field=plan.arrays.universe.symbols[row],
                    expected="a position that can be margined",
                    found=plan.refusal[row],
                )
            )
    by_set: dict[int, dict[int, float]] = {}
    for row in sorted(lots):
        by_set.setdefault(int(plan.top.code[row]), {})[row] = lots[row]
    return [_exact_set(plan, node, held, inputs or {}) for node, held in sorted(by_set.items())]


def _exact_set(
    plan: Plan,
    node: int,
    held: Mapping[int, float],
    inputs: Mapping[str, Mapping[str, float]],
) -> ExactSet:
    name = plan.top.names[node]
    components = {
        one: inputs.get(one, {}).get(name, text.default)
        for one, text in plan.rulebook.text.inputs.items()
    }
    vectors, raw, mapped, binding = {}, {}, {}, {}
    for scan in plan.scans:
        total, before, after = _scan(plan, scan, held)
        reduced, worst = _reduced(scan, total)
        loss = max(0.0, -reduced)
        components[scan.name] = _rounded(loss, scan.round)
        vectors[scan.name], raw[scan.name], mapped[scan.name] = total, before, after
        binding[scan.name] = int(scan.scenarios[worst])
    for charge in plan.charges:
        components[charge.name] = _charge(plan, charge.node, charge.sums, charge.amount, held)
    components |= {
        one.name: _sum(plan, one.name, held) for one in plan.sums if one.node == plan.top.name
    }
    text = plan.rulebook.text.requirement
    initial = _rounded(_value(plan.initial, components, node), text.round_initial)
    maintenance = _rounded(_value(plan.maintenance, components, node), text.round_maintenance)
    return ExactSet(
        node=name,
        price=float(plan.top.price[node]),
        initial=max(0.0, initial),
        maintenance=max(0.0, maintenance),
        components=components,
        vectors=vectors,
        raw=raw,
        mapped=mapped,
        binding=binding,
    )


_Vectors = Mapping[str, tuple[float, ...]]


def _reduced(scan: ScanPlan, total: tuple[float, ...]) -> tuple[float, int]:
    """The worst total, or the tail of all of them; and the scenario that stands for it."""
    if scan.tail is None:
        worst = min(range(len(total)), key=lambda s: (total[s], s))
        return total[worst], worst
    value, place = tails_of(scan.tail, np.array([total]))
    return float(value[0]), int(place[0])


def _scan(
    plan: Plan, scan: ScanPlan, held: Mapping[int, float]
) -> tuple[tuple[float, ...], _Vectors, _Vectors]:
    """Mapped total per scenario; PnL of each node before and after its map."""
    node = plan.nodes[scan.node]
    before: dict[int, list[float]] = {}
    for row, lots in held.items():
        pnl = before.setdefault(int(node.code[row]), [0.0] * len(scan.scenarios))
        for s, scenario in enumerate(scan.scenarios):
            pnl[s] += lots * float(plan.arrays.pnl_units[row, scenario])
    after = {
        code: [_mapped(x, scan.unit_map, code, s) for s, x in enumerate(pnl)]
        for code, pnl in before.items()
    }
    total = tuple(
        sum(after[code][s] * float(scan.to_set[code]) for code in sorted(after))
        for s in range(len(scan.scenarios))
    )
    named = node.names
    return (
        total,
        {named[code]: tuple(pnl) for code, pnl in sorted(before.items())},
        {named[code]: tuple(pnl) for code, pnl in sorted(after.items())},
    )


def _mapped(x: float, unit_map: NodeMap, code: int, s: int) -> float:
    """One PnL through one node's map: toward zero, then losses or gains."""
    dead = float(unit_map.dead[code, s])
    if abs(x) <= dead:
        return 0.0
    if x > 0.0:
        return min((x - dead) * float(unit_map.gain[code, s]), float(unit_map.cap[code, s]))
    return (x + dead) * float(unit_map.loss[code, s])


def _charge(
    plan: Plan, level: str, sums: tuple[str, ...], amount: Formula, held: Mapping[int, float]
) -> float:
    node = plan.nodes[level]
    by_node: dict[int, dict[int, float]] = {}
    for row, lots in held.items():
        by_node.setdefault(int(node.code[row]), {})[row] = lots
    return sum(
        _value(amount, {one: _sum(plan, one, part) for one in sums}, code)
        for code, part in sorted(by_node.items())
    )


def _sum(plan: Plan, name: str, held: Mapping[int, float]) -> float:
    one = next(total for total in plan.sums if total.name == name)
    return sum(
        lots * float((one.long_units if lots > 0 else one.short_units)[row])
        for row, lots in held.items()
    )


def _value(formula: Formula, components: Mapping[str, float], node: int) -> float:
    known = {name: float(column[node]) for name, column in formula.inner.items()}
    return float(formula.outer({**known, **components}, ARRAYS))


def _rounded(amount: float, text: RoundText | None) -> float:
    if text is None:
        return amount
    return round_decimals(amount, decimals=text.decimals, rounding=text.mode)
