"""Whether formulas fit together: one number a row, or one number a scenario of one set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

from solvent.errors import RulebookError
from solvent.expressions import Expression, Node

if TYPE_CHECKING:
    from solvent.margining.levels.form import Form

Shape = str
"""The scenario set that a column has numbers for, or nothing where it has one number a row."""
_REDUCING: Final = frozenset({"worst", "best", "average", "expected_shortfall", "worst_place",
                              "at_worst", "average_where"})  # fmt: skip
_OF_ROWS: Final = frozenset({"lookup", "marginal", "spread"})
_SPREADING: Final = frozenset({"sum", "max", "min"})
"""Aggregates that keep scenarios apart."""


def check_shapes(form: Form, source: str) -> None:
    """Raises RulebookError where sets of scenarios mix, or one is left where a number belongs."""
    shapes = _Shapes(form.columns)
    for level, columns in form.columns.items():
        for name in columns:
            _told(source, f"at.{level}.{name}", partial(shapes.column, f"{level}.{name}"))
    answer = form.text.answer
    for name in (answer.equity, answer.initial, answer.maintenance, *answer.components):
        if shapes.column(f"{answer.level}.{name}"):
            raise RulebookError(
                f"{source}: at.{answer.level}.{name}: has a number a scenario: say worst(…)"
            )
    if _told(source, "answer.liquidate", partial(shapes.formula, form.liquidate)):
        raise RulebookError(f"{source}: answer.liquidate: has a number a scenario")
    if form.worst is not None and answer.worst is not None:
        found = _told(source, "answer.worst.pnl", partial(shapes.formula, form.worst))
        if found != answer.worst.scenarios:
            raise RulebookError(
                f"{source}: answer.worst.pnl: has no number a scenario of {answer.worst.scenarios}"
            )


def _told(source: str, path: str, check: Callable[[], Shape]) -> Shape:
    try:
        return check()
    except LookupError as fault:
        raise RulebookError(f"{source}: {path}: {fault.args[0]}") from fault


@dataclass(slots=True)
class _Shapes:
    columns: Mapping[str, Mapping[str, Expression]]
    known: dict[str, Shape] = field(default_factory=dict)

    def column(self, path: str) -> Shape:
        if path not in self.known:
            level, name = path.split(".")
            formula = self.columns.get(level, {}).get(name)
            self.known[path] = "" if formula is None else self.formula(formula)
        return self.known[path]

    def formula(self, formula: Expression | None) -> Shape:
        return "" if formula is None else self._node(formula.root)

    def _node(self, node: Node) -> Shape:
        if node.operation == "column":
            return self.column(node.text)
        if node.operation == "scenario":
            return node.text.split(".")[0]
        inner = {shape for part in node.arguments if (shape := self._node(part))}
        what = node.text.split(".")[-1] if node.operation == "aggregate" else node.operation
        if len(inner) > 1:
            raise LookupError(f"scenarios of {' and '.join(sorted(inner))} do not go together")
        single = node.operation in _OF_ROWS or (
            node.operation == "aggregate" and what not in _SPREADING
        )
        if inner and single:
            raise LookupError(f"{what} takes one number a row, not one a scenario")
        return "" if node.operation in _REDUCING or single else "".join(inner)
