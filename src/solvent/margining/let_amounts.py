"""What the named steps of a requirement come to for one netting set: charges made of scans."""

from __future__ import annotations

from collections.abc import Mapping

from solvent.expressions import ARRAYS, Expression, Node, inline
from solvent.margining.plan import Plan

_PREFIX = "requirement.let."


def let_amounts(plan: Plan, parts: Mapping[str, float], node: int) -> dict[str, float]:
    """Name → amount in the set's numeraire, of every `let` of the requirement that is more than a
    plain sum of parts (those are told by themselves).

    `parts` are the set's components, sums at its node and inputs; `node` is its row at the top.
    """
    columns = {name: float(column[node]) for name, column in plan.top.columns.items()}
    columns |= dict(plan.rulebook.text.parameters) | dict(parts)
    given: dict[str, Expression] = {}
    told: dict[str, float] = {}
    for path, formula in plan.rulebook.formulas.items():
        if not path.startswith(_PREFIX):
            continue
        name = path.removeprefix(_PREFIX)
        whole = inline(formula, given)
        given[name] = formula
        if not _plain_sum(formula.root) and whole.names <= columns.keys():
            told[name] = float(whole(columns, ARRAYS))
    return told


def _plain_sum(node: Node) -> bool:
    if node.operation == "+":
        return all(_plain_sum(part) for part in node.arguments)
    return node.operation == "name"
