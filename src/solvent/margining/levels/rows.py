"""The exact way: one account at a time, row by row, in rationals.

This is what published numbers are compared with. Every column is computed when it is first asked
for, so a case that tells only what one formula needs can have that formula alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any, Final

from solvent.errors import InvariantBroken, SolventError, check
from solvent.expressions import CONDITIONS, OPERATORS, Expression, Node, written
from solvent.margining.levels.form import (
    FACTS,
    FINEST,
    SOURCES,
    SPREAD_FIELDS,
    Form,
    scenario_key,
)
from solvent.margining.levels.spreads import Matching, fitted, match
from solvent.margining.levels.text import SpreadText
from solvent.rationals import RATIONALS

Value = Fraction | tuple[Fraction, ...]
"""A number, or one number a scenario."""
Row = dict[str, Any]
"""Keys and told columns of a row; a number may be int, float, Decimal, Fraction or a tuple."""
Parameters = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""table → key → entry → number, or one number a tier."""


Told = float | Mapping[Any, float]
"""A number for every row, or by name of the key that tells a level's rows apart, or by (account,
name)."""


class Unset(SolventError):
    """Something that a formula needs was not told: an account that needs it is UNKNOWN."""


class Sheet:
    """The columns of an account's rows at every level, computed when they are asked for.

    `sources` is level → rows. A row's keys are strings or numbers under their names; every other
    entry is a column that is told, and a told column wins over a formula of the same name.
    `scenarios` is set → field → (underlying or instrument → one number a scenario). `spreads` is
    table of spreads → its entries in order.

    >>> from solvent.margining.levels.form import resolve
    >>> from solvent.margining.levels.text import LevelsText
    >>> text = LevelsText.model_validate({
    ...     "schema": 2, "name": "third", "title": "", "venue": "", "sources": ["here"],
    ...     "family": "tiered leverage", "parameters": {"rate": 0.1},
    ...     "at": {"position": {"notional": "abs(size) * mark"},
    ...            "account": {"equity": "asset.sum(amount)", "initial": "2 * maintenance",
    ...                        "maintenance": "rate * position.sum(notional)"}}})
    >>> sheet = Sheet(resolve(text, source="third"), {"position": [
    ...     {"instrument": "a", "size": -3, "mark": 20},
    ...     {"instrument": "b", "size": 1, "mark": 40}]})
    >>> sheet.value("account", "initial")
    Fraction(20, 1)
    """

    def __init__(
        self,
        form: Form,
        sources: Mapping[str, Sequence[Mapping[str, Any]]],
        *,
        parameters: Mapping[str, Any] | None = None,
        tables: Parameters | None = None,
        scenarios: Mapping[str, Mapping[str, Mapping[Any, Sequence[Any]]]] | None = None,
        spreads: Mapping[str, Sequence[SpreadText]] | None = None,
        inputs: Mapping[str, Told] | None = None,
    ) -> None:
        self.form = form
        self.inputs = inputs or {}
        self.parameters = {**form.text.parameters, **(parameters or {})}
        self.tables: Parameters = tables or {}
        self.scenarios = scenarios or {}
        self.spreads = spreads or {}
        self._rows: dict[str, list[Row]] = {
            level: [dict(row) for row in rows] for level, rows in sources.items()
        }
        self._memo: dict[tuple[str, int, str], Value] = {}
        self._matched: dict[tuple[str, int], Matching] = {}
        self._place: dict[str, dict[tuple[Any, ...], int]] = {}
        self._complete()
        for level in form.keys:
            self._gather(level)

    def rows(self, level: str) -> list[Row]:
        """Keys and told columns of a level's rows."""
        return self._rows[level]

    def value(self, level: str, column: str, row: int = 0) -> Value:
        """A column at one row. Raises Unset where something that it needs was not told."""
        memo = self._memo.get((level, row, column))
        if memo is None:
            memo = self._memo[level, row, column] = self._compute(level, column, row)
        return memo

    def evaluate(self, formula: Expression, level: str, row: int = 0) -> Value:
        """A resolved formula at one row."""
        return self._value(formula.root, level, row)

    def _compute(self, level: str, column: str, row: int) -> Value:
        told = self._rows[level][row].get(column)
        if told is not None:
            return rational(told, f"{level}.{column}")
        formula = self.form.columns.get(level, {}).get(column)
        if formula is not None:
            return self._value(formula.root, level, row)
        brought = self.inputs.get(f"{level}.{column}")
        if isinstance(brought, Mapping):
            key = next(one for one in FINEST if one in self.form.keys[level])
            name, told = str(self._rows[level][row].get(key)), self._rows[level][row]
            brought = brought.get((str(told.get("account")), name), brought.get(name))
        if brought is not None:
            return rational(brought, column)
        given = self.form.text.inputs.get(level, {}).get(column)
        if given is None or given.default is None:
            raise Unset(f"{column} of {level} {self._named(level, row)} is not known")
        return rational(given.default, column)

    def _value(self, node: Node, level: str, row: int) -> Value:
        match node.operation:
            case "number":
                return Fraction(node.text)
            case "parameter":
                return rational(self.parameters[node.text], node.text)
            case "column":
                above, column = node.text.split(".")
                return self.value(above, column, self._above(level, row, above))
            case "entry":
                return rational(self._entry(node.text, level, row), node.text)
            case "scenario":
                return self._scenario(node.text, level, row)
            case "lookup" | "marginal":
                return self._tier(node, level, row)
            case "aggregate":
                return self._aggregate(node, level, row)
            case "spread":
                return self._spread(node, level, row)
            case "where" | "given":
                return self._where(node, level, row)
        parts = [self._value(part, level, row) for part in node.arguments]
        if node.operation in _REDUCTIONS:
            return _REDUCTIONS[node.operation](*parts)
        return self._apply(node, parts, level, row)

    def _apply(self, node: Node, parts: Sequence[Value], level: str, row: int) -> Value:
        """An operation on numbers; one without a value there is not known."""
        function = RATIONALS.functions.get(node.operation) or OPERATORS[node.operation]
        try:
            return _each(function, *parts, truth=node.operation in CONDITIONS)
        except ZeroDivisionError as fault:
            raise Unset(f"division by 0 at {level} {self._named(level, row)}") from fault
        except (ArithmeticError, ValueError) as fault:
            where = f"{node.operation} at {level} {self._named(level, row)}"
            raise Unset(f"{where} has no value") from fault

    def _where(self, node: Node, level: str, row: int) -> Value:
        """Only the branch that is taken is computed, unless it differs by scenario."""
        condition, yes = node.arguments[:2]
        holds = self._value(condition, level, row)
        if node.operation == "given":
            if not all(_many(holds)):
                what = f"{level} {self._named(level, row)}"
                raise Unset(f"{written(condition)} does not hold at {what}")
            return self._value(yes, level, row)
        no = node.arguments[2]
        if isinstance(holds, tuple):
            parts = (holds, self._value(yes, level, row), self._value(no, level, row))
            return _each(RATIONALS.functions["where"], *parts, truth=False)
        return self._value(yes if holds else no, level, row)

    def _entry(self, name: str, level: str, row: int) -> Any:
        table, entry = name.split(".")
        by = self.form.text.tables[table].by
        key = self._rows[level][row].get(by)
        known = self.tables.get(table, {})
        known_as = f"{key:g}" if isinstance(key, float) else str(key)
        values = known.get(known_as, known.get("*"))
        if values is None or entry not in values:
            raise Unset(f"{name} of {by} {key!r} is not set")
        return values[entry]

    def _tier(self, node: Node, level: str, row: int) -> Value:
        table = node.text.split(".")[0]
        entries = self._tiers(node.text, level, row)
        closed = True
        try:
            bounds = self._tiers(f"{table}.from", level, row)
        except Unset:
            bounds, closed = self._tiers(f"{table}.above", level, row), False
        x = _scalar(self._value(node.arguments[0], level, row))
        if node.operation == "lookup":
            below = [bound <= x if closed else bound < x for bound in bounds]
            return entries[max(below.count(True) - 1, 0)]
        tops = [*bounds[1:], max(x, bounds[-1])]
        parts = [max(min(x, top) - low, Fraction(0)) for low, top in zip(bounds, tops, strict=True)]
        return sum((rate * part for rate, part in zip(entries, parts, strict=True)), Fraction(0))

    def _tiers(self, entry: str, level: str, row: int) -> tuple[Fraction, ...]:
        return _many(rational(self._entry(entry, level, row), entry))

    def _scenario(self, name: str, level: str, row: int) -> Value:
        one, field = name.split(".")
        by = scenario_key(field)
        key = self._rows[level][row].get(by)
        try:
            return rational(tuple(self.scenarios[one][field][key]), name)
        except KeyError as fault:
            raise Unset(f"{name} of {by} {key!r} is not known") from fault

    def _aggregate(self, node: Node, level: str, row: int) -> Value:
        below, kind = node.text.split(".")
        if kind == "ahead":
            return self._ahead(node, level, row, below)
        inside = self._inside(level, row, below)
        if kind == "count":
            return Fraction(len(inside))
        parts = [[self._value(part, below, n) for part in node.arguments] for n in inside]
        if kind == "least_payoff":
            return least_payoff([(_scalar(a), _scalar(b), _scalar(c)) for a, b, c in parts])
        if kind == "beyond":
            return beyond([[_scalar(one) for one in part] for part in parts])
        if not parts:
            return Fraction(0)
        amounts = [part[0] for part in parts]
        if kind == "sum":
            return _each(lambda *all_: sum(all_, Fraction(0)), *amounts, truth=False)
        if kind == "any":
            return Fraction(any(bool(one) for one in amounts))
        return _each(lambda *all_: (max if kind == "max" else min)(all_), *amounts, truth=False)

    def _ahead(self, node: Node, level: str, row: int, above: str) -> Fraction:
        """Σ size of the siblings of lower rank, and of those of the same rank that come before."""
        rank, size = node.arguments
        siblings = self._inside(above, self._above(level, row, above), level)
        mine = (_scalar(self._value(rank, level, row)), row)
        before = (n for n in siblings if (_scalar(self._value(rank, level, n)), n) < mine)
        return sum((_scalar(self._value(size, level, n)) for n in before), Fraction(0))

    def _inside(self, level: str, row: int, below: str) -> list[int]:
        """Rows of a level below that lie in this one."""
        mine = self._identity(level, self._rows[level][row])
        return [n for n, one in enumerate(self._rows[below]) if self._identity(level, one) == mine]

    def _spread(self, node: Node, level: str, row: int) -> Value:
        name, field = node.text.split(".")
        table = self.form.text.spreads[name]
        group = self._above(level, row, table.within)
        inside = self._inside(table.within, group, table.rows)
        made = self._matched.get((name, group))
        if made is None:
            if name not in self.spreads:
                raise Unset(f"spreads {name}: no list of them was told")
            amounts = [_scalar(self._value(node.arguments[0], table.rows, n)) for n in inside]
            keys = [self._rows[table.rows][n] for n in inside]
            made = match(amounts, fitted(self.spreads[name], keys))
            self._matched[name, group] = made
        if field in SPREAD_FIELDS["rows"]:
            amount: Fraction = getattr(made, field)[inside.index(row)]
            return amount
        return made.count if field == "count" else made.charge

    # ── rows and what joins them ─────────────────────────────────────────────────────────────

    def _gather(self, level: str) -> None:
        """Rows of a level: those told, and one for every group of rows below it."""
        rows = self._rows.setdefault(level, [])
        place = self._place[level] = {}
        for n, row in enumerate(rows):
            place.setdefault(self._identity(level, row), n)
        if level in _TOLD:
            return
        for below in _TOLD:
            for row in self._rows[below] if self.form.above(below, level) else []:
                identity = self._identity(level, row)
                if identity not in place:
                    place[identity] = len(rows)
                    rows.append(self._lifted(level, row))
        if level in ("account", "pool") and not rows:
            rows.append(dict.fromkeys(self.form.keys[level], ""))
            place[self._identity(level, rows[0])] = 0

    def _lifted(self, level: str, row: Row) -> Row:
        """A row of a level above: its keys, and what was told of the market with the row below."""
        lifted = {key: row.get(key) for key in self.form.keys[level]}
        if level in ("instrument", "underlying"):
            facts = {*FACTS[level], *self.form.text.inputs.get(level, ())}
            lifted |= {name: row[name] for name in facts if name in row}
        return lifted

    def _complete(self) -> None:
        """Give told rows the keys that follow from others."""
        market = {row.get("instrument"): row for row in self._rows.get("instrument", [])}
        for level in _TOLD:
            for row in self._rows.setdefault(level, []):
                row.setdefault("account", "")
                row.setdefault("pool", "")
                if level == "asset":
                    row.setdefault("underlying", row.get("asset"))
                    row.setdefault("settlement", row.get("asset"))
                    continue
                told = market.get(row.get("instrument"), {})
                for key in SOURCES["instrument"]:
                    if key in told:
                        row.setdefault(key, told[key])

    def _identity(self, level: str, row: Mapping[str, Any]) -> tuple[Any, ...]:
        keys = self.form.keys[level]
        if "instrument" in keys:
            keys = keys - SOURCES["instrument"] | {"instrument"}
        return tuple(row.get(key) for key in sorted(keys))

    def _above(self, level: str, row: int, above: str) -> int:
        if level == above:
            return row
        place = self._place[above].get(self._identity(above, self._rows[level][row]))
        if place is None:
            raise Unset(f"{above} of {level} {self._named(level, row)} is not known")
        return place

    def _named(self, level: str, row: int) -> str:
        keys = self._rows[level][row]
        shown = [str(keys[key]) for key in ("account", "instrument", "asset") if keys.get(key)]
        return " ".join(shown) or "(unnamed)"


def rational(number: Any, what: str) -> Value:
    """A told number, exactly as it prints: 0.1 is a tenth. Raises Unset for one that is not."""
    if isinstance(number, tuple | list):
        return tuple(_scalar(rational(one, what)) for one in number)
    if isinstance(number, Fraction):
        return number
    try:
        return Fraction(repr(float(number)) if isinstance(number, float) else number)
    except (ValueError, OverflowError) as fault:
        raise Unset(f"{what} is {number!r}, no number") from fault


def least_payoff(options: Sequence[tuple[Fraction, Fraction, Fraction]]) -> Fraction:
    """Least Σ size × payoff over settlements at 0 and at every strike; rows are size, strike, call.

    >>> put = Fraction(-1), Fraction(250), Fraction(0)
    >>> least_payoff([put, (Fraction(1), Fraction(200), Fraction(0))])
    Fraction(-50, 1)
    """
    zero = Fraction(0)
    settlements = {zero, *(strike for _, strike, _ in options)}
    return min(
        sum((size * max(at - strike if call else strike - at, zero)
             for size, strike, call in options), zero)
        for at in settlements
    )  # fmt: skip


def beyond(queue: Sequence[Sequence[Fraction]]) -> Fraction:
    """Σ value × the part of size behind the first `free` units; rows are free, rank, size, value.

    Rows queue by rising rank, those of one rank as they come.

    >>> near, far = Fraction(100), Fraction(150)
    >>> beyond([(Fraction(4), far, Fraction(2), far), (Fraction(4), near, Fraction(5), near)])
    Fraction(400, 1)
    """
    passed = total = Fraction(0)
    for free, _, size, value in sorted(queue, key=lambda row: row[1]):
        passed += size
        total += value * min(size, max(passed - free, Fraction(0)))
    return total


def _scalar(value: Value) -> Fraction:
    if isinstance(value, tuple):
        raise InvariantBroken(f"one number, not one a scenario, was {len(value)}")
    return value


def _each(function: Callable[..., Any], *parts: Value, truth: bool) -> Value:
    """A function of numbers, scenario by scenario where some part has one number a scenario."""
    widths = {len(part) for part in parts if isinstance(part, tuple)}
    if not widths:
        result: Fraction = function(*parts)
        return Fraction(bool(result)) if truth else result
    check(len(widths) == 1, "scenarios of one set", widths)
    columns = [part if isinstance(part, tuple) else (part,) * min(widths) for part in parts]
    results = (function(*one) for one in zip(*columns, strict=True))
    return tuple(Fraction(bool(one)) if truth else one for one in results)


def _many(value: Value) -> tuple[Fraction, ...]:
    return value if isinstance(value, tuple) else (value,)


def _expected_shortfall(value: Value, level: Value) -> Fraction:
    """Mean of the worst (1 − level) of the scenarios, the last one taken in part."""
    worst = sorted(_many(value))
    share = (1 - _scalar(level)) * len(worst)
    whole = int(share)
    part = worst[whole] * (share - whole) if whole < len(worst) else Fraction(0)
    return (sum(worst[:whole], Fraction(0)) + part) / share


def _worst_place(value: Value) -> int:
    many = _many(value)
    return many.index(min(many))


def _at_worst(value: Value, other: Value) -> Fraction:
    return other[_worst_place(value)] if isinstance(other, tuple) else other


def _average_where(holds: Value, value: Value) -> Fraction:
    """Mean over the scenarios of a condition; Unset where it holds in none."""
    many = _many(_each(lambda _, x: x, holds, value, truth=False))
    chosen = [x for x, one in zip(many, _many(holds), strict=True) if one]
    if not chosen:
        raise Unset("the mean over no scenario")
    return sum(chosen, Fraction(0)) / len(chosen)


def _average(value: Value) -> Fraction:
    many = _many(value)
    return sum(many, Fraction(0)) / len(many)


_TOLD: Final = ("position", "order", "asset")
_REDUCTIONS: Final[Mapping[str, Callable[..., Fraction]]] = {
    "worst": lambda value: min(_many(value)),
    "best": lambda value: max(_many(value)),
    "average": _average,
    "expected_shortfall": _expected_shortfall,
    "worst_place": lambda value: Fraction(_worst_place(value) + 1),
    "at_worst": _at_worst,
    "average_where": _average_where,
}
