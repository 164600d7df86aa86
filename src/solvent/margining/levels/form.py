"""A rulebook of formulas with every name resolved: what `rows` and `columns` both walk.

A name in a formula is, in this order: a column of its own level; where rows are of one instrument,
the instrument's; a parameter. `level.name` is a column of a level above, `table.entry` a parameter
by key, `set.field` something of a scenario set. `level.sum(…)` adds up a formula over the rows of a
level below.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from solvent.errors import RulebookError
from solvent.expressions import (
    ARITHMETIC,
    Expression,
    ExpressionError,
    Node,
    Vocabulary,
    parse,
)
from solvent.margining.levels.shapes import check_shapes
from solvent.margining.levels.text import LevelsText, WorstText

VOCABULARY: Final = Vocabulary(
    functions={
        **ARITHMETIC.functions,
        **dict.fromkeys(("round", "floor", "ceil", "trunc", "round_half_up"), (1, 2)),
        **dict.fromkeys(("normal", "normal_quantile"), (1, 1)),
        **dict.fromkeys(("worst", "best", "average", "worst_place"), (1, 1)),
        **dict.fromkeys(("expected_shortfall", "at_worst", "average_where"), (2, 2)),
        **dict.fromkeys(("lookup", "marginal", "given"), (2, 2)),
    },
    aggregates={
        **dict.fromkeys(("sum", "max", "min", "any"), (1, 1)),
        "count": (0, 0),
        "least_payoff": (3, 3),
        "beyond": (4, 4),
        "ahead": (2, 2),
    },
)
"""`worst best average expected_shortfall` reduce scenarios. `worst_place(x)` is the number, from 1,
of the first scenario in which x is least, `at_worst(x, y)` what y is there, `average_where(c, y)`
the mean of y over the scenarios in which c holds. `lookup(table.entry, x)` is the entry of the tier
that x lies in,
`marginal(table.entry, x)` the sum over tiers of entry times the part of x in it. `given(c, x)` is x
where c holds and not known where it does not: what a venue cannot hold.
`rows.least_payoff(size, strike, is_call)` is the least that options pay over settlements at 0 and
at every strike held. `rows.beyond(free, rank, size, value)` queues the rows by rising rank and is
Σ value × the part of size that lies behind the queue's first `free` units.
`above.ahead(rank, size)` is the size of a row's siblings, the other rows of its level in the same
row of `above`, that stand before it in such a queue. An aggregate over no rows is 0."""

_OF_INSTRUMENT: Final = frozenset(
    {"instrument", "underlying", "settlement", "expiry", "strike", "kind", "right"}
)
SOURCES: Final = {
    "position": _OF_INSTRUMENT | {"account", "pool", "side"},
    "order": _OF_INSTRUMENT | {"account", "pool", "side", "order"},
    "asset": frozenset({"account", "pool", "asset", "underlying", "settlement"}),
    "instrument": _OF_INSTRUMENT,
    "underlying": frozenset({"underlying"}),
    "pool": frozenset({"account", "pool"}),
    "account": frozenset({"account"}),
}
"""Levels that every rulebook has, and what tells their rows apart. An asset settles in itself, so a
level by settlement holds what is held of a currency and what settles in it."""
FINEST: Final = ("instrument", "asset", "underlying", "settlement", "pool", "account")
"""The keys by which a caller names rows, the finest first."""
FACTS: Final[Mapping[str, frozenset[str]]] = {
    "instrument": frozenset(
        {
            "index", "forward", "mark", "strike", "iv", "years", "days", "is_option", "is_call",
            "is_future", "is_perpetual", "inverse", "contract_size", "lot_size", "tick_size",
            "settlement_price", "worth", "value", "model", "rate", "delta", "gamma", "vega",
            "theta",
        }
    ),
    "position": frozenset({"size", "entry_price", "entry_worth"}),
    "order": frozenset({"size", "price", "buy"}),
    "asset": frozenset({"amount", "price"}),
    "underlying": frozenset({"index"}),
}  # fmt: skip
"""Columns that come with a market and a book.

Per unit of size, in settlement units: `worth` the mark (−1/mark coin of an inverse future),
`entry_worth` the same at the entry price, `value` what an option adds to equity, `model` what the
model says it is worth, discounted at `rate` (continuous, per year), `vega` per vol point, `theta`
per day; `delta` and `gamma` (per 1 %) in coin. `settlement_price` is dollars per unit of what an
instrument settles in, `contract_size` 1 where sizes are told in underlying units.
"""
SCENARIO_FIELDS: Final = {
    "pnl": "instrument", "value": "instrument", "weight": "instrument", "move": "underlying",
}  # fmt: skip
"""`set.pnl` (with its weight) and `set.value` (the shocked worth by the model, without) per unit of
size, in settlement units, and `set.weight`, by instrument; `set.move` by underlying. What a set
names in its `numbers` is a field too, the same for every underlying."""

SPREAD_FIELDS: Final = {"rows": ("used", "rated", "left"), "within": ("count", "charge")}
"""Of an ordered table of spreads, at the rows that are matched and at the level that they lie in:
amount used, used × rate, signed amount left; spreads formed, spreads × rate."""


def scenario_key(field: str) -> str:
    """What tells the rows of a scenario set's field apart."""
    return SCENARIO_FIELDS.get(field, "underlying")


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """A resolved rulebook.

    Attributes:
        keys: level → what tells its rows apart, implied keys included.
        columns: level → column → formula with resolved names. liquidate: at the answer's level.
        worst: the PnL by scenario that the worst scenario is told from, at its own level.
    """

    text: LevelsText
    keys: Mapping[str, frozenset[str]]
    columns: Mapping[str, Mapping[str, Expression]]
    liquidate: Expression
    worst: Expression | None

    def above(self, fine: str, coarse: str) -> bool:
        """Whether every row of `fine` lies in one row of `coarse`."""
        return self.keys[coarse] <= self.keys[fine]


def resolve(text: LevelsText, *, source: str) -> Form:
    """Parse and resolve every formula. Raises RulebookError naming the source and the key path."""
    keys = {**SOURCES, **{name: closure(by) for name, by in text.levels.items()}}
    for section in (*text.at, *text.inputs):
        if section not in keys:
            where = f"{'at' if section in text.at else 'inputs'}.{section}"
            raise RulebookError(f"{source}: {where}: no such level; there are {sorted(keys)}")
    scopes = {
        level: {*FACTS.get(level, ()), *text.inputs.get(level, ()), *text.at.get(level, ())}
        for level in keys
    }
    resolver = _Resolver(text, keys, scopes)
    for name, table in text.spreads.items():
        if not {table.rows, table.within} <= set(keys) or not keys[table.within] < keys[table.rows]:
            raise RulebookError(
                f"{source}: spreads.{name}: {table.rows!r} is no level below {table.within!r}"
            )
    columns: dict[str, dict[str, Expression]] = {}
    for level, formulas in text.at.items():
        columns[level] = {
            name: resolver.formula(formula, level, f"{source}: at.{level}.{name}")
            for name, formula in formulas.items()
        }
    level = text.answer.level
    for name in (text.answer.equity, text.answer.initial, text.answer.maintenance,
                 *text.answer.components):  # fmt: skip
        if name not in scopes[level]:
            raise RulebookError(f"{source}: answer: no column {name!r} at {level}")
    liquidate = resolver.formula(text.answer.liquidate, level, f"{source}: answer.liquidate")
    worst = None
    if text.answer.worst is not None:
        worst = resolver.worst(text.answer.worst, f"{source}: answer.worst")
    form = Form(text=text, keys=keys, columns=columns, liquidate=liquidate, worst=worst)
    _check_acyclic(form, source)
    check_shapes(form, source)
    return form


def closure(by: Sequence[str]) -> frozenset[str]:
    """Keys and what they imply: an instrument has one expiry, and so on; each row has an account.

    >>> sorted(closure(["asset"]))
    ['account', 'asset', 'settlement', 'underlying']
    """
    keys = {"account", *by}
    if "instrument" in keys:
        keys |= _OF_INSTRUMENT
    if "asset" in keys:
        keys |= {"underlying", "settlement"}
    return frozenset(keys)


@dataclass(frozen=True, slots=True)
class _Resolver:
    text: LevelsText
    keys: Mapping[str, frozenset[str]]
    scopes: Mapping[str, set[str]]

    def formula(self, formula: str, level: str, where: str) -> Expression:
        try:
            parsed = parse(formula, VOCABULARY)
            return Expression(parsed.text, self._node(parsed.root, level))
        except ExpressionError as fault:
            raise RulebookError(f"{where}: {fault}") from fault
        except LookupError as fault:
            raise RulebookError(f"{where}: {fault.args[0]}") from fault

    def worst(self, told: WorstText, where: str) -> Expression:
        if told.level not in self.keys or "underlying" not in self.keys[told.level]:
            raise RulebookError(f"{where}.level: {told.level!r} is no level by underlying")
        if told.scenarios not in self.text.scenarios:
            raise RulebookError(f"{where}.scenarios: no set {told.scenarios!r}")
        return self.formula(told.pnl, told.level, f"{where}.pnl")

    def _node(self, node: Node, level: str) -> Node:
        if node.operation == "name":
            return self._name(node.text, level)
        if node.operation in ("lookup", "marginal"):
            table, _, name = node.arguments[0].text.partition(".")
            if node.arguments[0].operation != "name" or table not in self.text.tables:
                raise LookupError(f"{node.operation} reads a table's entry, such as tier.rate")
            entry = self._entry(table, name, level, tiered=True)
            return Node(node.operation, entry.text, (self._node(node.arguments[1], level),))
        if node.operation == "aggregate":
            below, kind = node.text.split(".")
            if kind == "ahead":
                if not self.keys.get(below, frozenset((below,))) <= self.keys[level]:
                    raise LookupError(f"{below!r} is not above {level!r}")
                return Node(
                    "aggregate", node.text, tuple(self._node(a, level) for a in node.arguments)
                )
            if below not in self.keys or not self.keys[level] <= self.keys[below]:
                raise LookupError(f"{below!r} is no level below {level!r}")
            return Node("aggregate", node.text, tuple(self._node(a, below) for a in node.arguments))
        return Node(node.operation, node.text, tuple(self._node(a, level) for a in node.arguments))

    def _name(self, name: str, level: str) -> Node:
        first, _, rest = name.partition(".")
        if not rest:
            if name in self.scopes[level]:
                return Node("column", f"{level}.{name}")
            if "instrument" in self.keys[level] and name in self.scopes["instrument"]:
                return Node("column", f"instrument.{name}")
            if name in self.text.parameters:
                return Node("parameter", name)
            here = sorted(self.scopes[level] | set(self.text.parameters))
            raise LookupError(f"{name!r} means nothing at {level}; there are {here}")
        if first in self.text.tables:
            return self._entry(first, rest, level)
        if first in self.text.scenarios:
            return self._scenario(first, rest, level)
        if first in self.text.spreads:
            return self._spread(first, rest, level)
        if first not in self.keys:
            raise LookupError(f"no level, table or scenario set {first!r}")
        if not self.keys[first] <= self.keys[level]:
            raise LookupError(f"{first!r} is not above {level!r}: say {first}.sum(…) or the like")
        if rest not in self.scopes[first]:
            raise LookupError(
                f"no column {rest!r} at {first}; there are {sorted(self.scopes[first])}"
            )
        return Node("column", name)

    def _entry(self, table: str, entry: str, level: str, *, tiered: bool = False) -> Node:
        told = self.text.tables[table]
        if told.by not in self.keys[level]:
            raise LookupError(
                f"table {table!r} goes by {told.by}, which rows of {level!r} differ in"
            )
        if entry not in told.wanted and not any(entry in row.values for row in told.rows):
            raise LookupError(f"no entry {entry!r} in table {table!r}")
        listed = any(isinstance(row.values.get(entry), list) for row in told.rows)
        if listed != tiered and entry not in told.wanted:
            raise LookupError(
                f"{table}.{entry} has {'tiers: say lookup(…) or marginal(…)' if listed else 'none'}"
            )
        return Node("entry", f"{table}.{entry}")

    def _scenario(self, name: str, field: str, level: str) -> Node:
        fields = {*SCENARIO_FIELDS, *self.text.scenarios[name].numbers}
        if field not in fields:
            raise LookupError(f"a scenario set has {sorted(fields)}, not {field!r}")
        wanted = scenario_key(field)
        if wanted not in self.keys[level]:
            raise LookupError(f"{name}.{field} is of an {wanted}; rows of {level!r} have many")
        return Node("scenario", f"{name}.{field}")

    def _spread(self, name: str, field: str, level: str) -> Node:
        """The amount that is matched comes along, so that what stands on it is known."""
        table = self.text.spreads[name]
        for place, fields in SPREAD_FIELDS.items():
            if field in fields:
                wanted = getattr(table, place)
                if wanted != level:
                    raise LookupError(f"{name}.{field} is of {wanted!r}, not of {level!r}")
                amount = parse(table.amount, VOCABULARY)
                return Node("spread", f"{name}.{field}", (self._node(amount.root, table.rows),))
        raise LookupError(f"spreads have {sorted(sum(SPREAD_FIELDS.values(), ()))}, not {field!r}")


def _check_acyclic(form: Form, source: str) -> None:
    """No column stands on itself."""
    done: set[str] = set()

    def visit(column: str, path: tuple[str, ...]) -> None:
        if column in path:
            loop = " → ".join((*path[path.index(column) :], column))
            raise RulebookError(f"{source}: at.{column} stands on itself: {loop}")
        level, name = column.split(".")
        formula = form.columns.get(level, {}).get(name)
        if column in done or formula is None:
            return
        for used in columns_of(formula):
            visit(used, (*path, column))
        done.add(column)

    for level, formulas in form.columns.items():
        for name in formulas:
            visit(f"{level}.{name}", ())


def columns_of(formula: Expression) -> Iterator[str]:
    """Every `level.column` that a formula reads."""
    return (node.text for node in formula.root if node.operation == "column")
