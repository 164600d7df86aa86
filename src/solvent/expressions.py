"""The closed arithmetic language in which a rulebook says what it computes.

`+ - * / **`, comparisons, `and or not`, and the functions `max min abs sign clip round floor ceil
where sqrt exp log` over named numbers; nothing else can be said, so a rulebook from a stranger is
safe to open. Every value is a number: what holds is 1, what does not is 0. An expression is parsed
once and evaluated under any *arithmetic*: numpy arrays, rationals, or numbers that carry a
derivative.

What depends on the market alone is known once for all accounts: `split` cuts such parts out of an
expression. What is left for each account is `+ - * /`, comparisons and roundings; powers, roots,
`exp` and `log` are refused there.
"""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, reduce
from itertools import count
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from solvent import portable
from solvent.limits import (
    EXPRESSION_CHARS_MAX,
    EXPRESSION_DEPTH_MAX,
    INLINED_DEPTH_MAX,
    INLINED_NODES_MAX,
)

Value = Any
"""A number of the arithmetic at hand: array, Fraction, Dual."""
_REMEMBERED: Final = 512
"""A rulebook is compiled anew at every price that a search tries: its formulas are cut up once."""
_PARSED: Final = 8_192
"""Texts whose expressions are remembered: those of some thirty rulebooks."""


class ExpressionError(ValueError):
    """An expression that cannot be read; `column` counts from 1, blanks before it not counted."""

    def __init__(self, message: str, *, column: int) -> None:
        super().__init__(f"column {column}: {message}")
        self.column = column


@dataclass(frozen=True, slots=True)
class Node:
    """A constant (`number`), a name, or an operation on `arguments`."""

    operation: str
    text: str = ""
    arguments: tuple[Node, ...] = ()

    def __iter__(self) -> Iterator[Node]:
        yield self
        for argument in self.arguments:
            yield from argument


@dataclass(frozen=True, slots=True)
class Expression:
    """A parsed expression, the text it came from, and every name that it needs a value for."""

    text: str
    root: Node
    names: frozenset[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        names = frozenset(node.text for node in self.root if node.operation == "name")
        object.__setattr__(self, "names", names)

    def __call__(self, values: Mapping[str, Value], arithmetic: Arithmetic | None = None) -> Value:
        """Evaluate. Every name must have a value (KeyError otherwise).

        >>> float(parse("max(2 * x, 3)")({"x": 1.0}))
        3.0
        """
        return _evaluate(self.root, values, arithmetic or ARRAYS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arithmetic:
    """How constants and functions are computed; the operators are Python's own."""

    number: Callable[[Any], Value]
    """From a constant's text, or from whether something holds."""
    functions: Mapping[str, Callable[..., Value]]


def parse(text: str, vocabulary: Vocabulary | None = None) -> Expression:
    """Read an expression. Raises ExpressionError with the column of what it cannot accept.

    `vocabulary` widens the language; without one it is the arithmetic of this module.

    >>> sorted(parse("abs(delta) * max(floor_rate, exp(rate * years) - 1)").names)
    ['delta', 'floor_rate', 'rate', 'years']
    >>> parse("__import__('os')")
    Traceback (most recent call last):
    ...
    solvent.expressions.ExpressionError: column 1: no function '__import__'; ...
    """
    return _parse(text.strip(), vocabulary or ARITHMETIC)


@lru_cache(maxsize=_PARSED)
def _parse(text: str, vocabulary: Vocabulary) -> Expression:
    if len(text) > EXPRESSION_CHARS_MAX:
        raise ExpressionError(f"longer than {EXPRESSION_CHARS_MAX} characters", column=1)
    if foreign := _FOREIGN.search(text):
        raise ExpressionError(f"no character {foreign[0]!r}", column=foreign.start() + 1)
    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as fault:
        column = getattr(fault, "offset", None) or 1
        raise ExpressionError(f"not an expression ({fault})", column=column) from fault
    try:
        return Expression(text, _read(tree.body, vocabulary, depth=0))
    except RecursionError as fault:
        raise ExpressionError(f"nested deeper than {EXPRESSION_DEPTH_MAX}", column=1) from fault


@dataclass(frozen=True, slots=True)
class Split:
    """An expression cut in two: `inner` parts by name, and the `outer` one that uses them."""

    outer: Expression
    inner: Mapping[str, Expression]


def split(expression: Expression, varying: Collection[str]) -> Split:
    """Cut out the largest parts that use none of the `varying` names.

    Raises ExpressionError when what remains has a function that is for the market alone.

    >>> cut = split(parse("abs(delta) * max(floor_rate, exp(rate * years) - 1)"), {"delta"})
    >>> cut.outer.text, [part.text for part in cut.inner.values()]
    ('(abs(delta) * part_0)', ['max(floor_rate, (exp((rate * years)) - 1))'])
    """
    return _split(expression, frozenset(varying))


@lru_cache(maxsize=_REMEMBERED)
def _split(expression: Expression, varying: frozenset[str]) -> Split:
    inner: dict[str, Expression] = {}
    taken = expression.names
    free = (name for n in count() if (name := f"part_{n}") not in taken)

    def cut(node: Node) -> Node:
        names = {part.text for part in node if part.operation == "name"}
        if not names & varying:
            if node.operation == "number":
                return node
            name = next(free)
            inner[name] = Expression(written(node), node)
            return Node("name", name)
        if node.operation in MARKET_ONLY:
            raise ExpressionError(
                f"{node.operation!r} is only for what depends on the market alone, not for "
                "a number that differs by account",
                column=1,
            )
        return Node(node.operation, node.text, tuple(cut(part) for part in node.arguments))

    root = cut(expression.root)
    return Split(Expression(written(root), root), MappingProxyType(inner))


def inline(expression: Expression, given: Mapping[str, Expression]) -> Expression:
    """Replace names by the expressions that they stand for; a later one may use earlier ones.

    Raises ExpressionError for what would grow too large: each name may double what it stands on.

    >>> inline(parse("b + 1"), {"a": parse("2 * x"), "b": parse("a - y")}).text
    '(((2 * x) - y) + 1)'
    """
    return _inline(expression, tuple(given.items()))


@lru_cache(maxsize=_REMEMBERED)
def _inline(expression: Expression, given: tuple[tuple[str, Expression], ...]) -> Expression:
    done: dict[str, Node] = {}
    sizes: dict[str, tuple[int, int]] = {}

    def replace(node: Node) -> Node:
        if node.operation == "name" and node.text in done:
            return done[node.text]
        return Node(node.operation, node.text, tuple(replace(part) for part in node.arguments))

    for name, one in given:
        sizes[name] = _size(one.root, sizes)
        done[name] = replace(one.root)
    _size(expression.root, sizes)
    root = replace(expression.root)
    return Expression(written(root), root)


def _size(node: Node, known: Mapping[str, tuple[int, int]]) -> tuple[int, int]:
    """Nodes and depth of a tree, with those of what its names stand for."""
    if node.operation == "name":
        return known.get(node.text, (1, 1))
    parts = [_size(part, known) for part in node.arguments]
    nodes = 1 + sum(part[0] for part in parts)
    depth = 1 + max((part[1] for part in parts), default=0)
    if nodes > INLINED_NODES_MAX or depth > INLINED_DEPTH_MAX:
        raise ExpressionError("too large once its names are replaced", column=1)
    return nodes, depth


_BINARY: Final[dict[type[ast.AST], str]] = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.Pow: "**",
    ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!=",
    ast.And: "and", ast.Or: "or",
}  # fmt: skip
OPERATORS: Final[dict[str, Callable[..., Value]]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv,
    "**": operator.pow, "<": operator.lt, "<=": operator.le, ">": operator.gt,
    ">=": operator.ge, "==": operator.eq, "!=": operator.ne,
    "negative": operator.neg,
}  # fmt: skip
CONDITIONS: Final = frozenset({"<", "<=", ">", ">=", "==", "!=", "and", "or", "not"})
_NAME: Final = re.compile(r"[a-z][a-z0-9_]*")
_FOREIGN: Final = re.compile(r"[^\t\n\r -~]")
MARKET_ONLY: Final = frozenset({"**", "sqrt", "exp", "log"})
"""Functions whose slope has no bound: what an account's sums are rounded by would grow in them."""


_Arity = Mapping[str, tuple[int, int | None]]


@dataclass(frozen=True, slots=True, eq=False)
class Vocabulary:
    """Functions by name, and aggregates `rows.name(…)`, each with how many arguments it takes.

    A range is (fewest, most); None is no limit. One is told from another by identity.
    """

    functions: _Arity
    aggregates: _Arity


ARITHMETIC: Final = Vocabulary(
    functions={
        **dict.fromkeys(("max", "min"), (2, None)),
        **dict.fromkeys(("abs", "sign", "round", "floor", "ceil", "sqrt", "exp", "log"), (1, 1)),
        **dict.fromkeys(("clip", "where"), (3, 3)),
    },
    aggregates={},
)


def _read(tree: ast.AST, words: Vocabulary, *, depth: int) -> Node:
    column = getattr(tree, "col_offset", 0) + 1
    if depth > EXPRESSION_DEPTH_MAX:
        raise ExpressionError(f"nested deeper than {EXPRESSION_DEPTH_MAX}", column=column)
    match tree:
        case ast.Constant(value=bool()):
            raise ExpressionError("true and false are not numbers", column=column)
        case ast.Constant(value=int() | float() as number) if float(repr(number)) < math.inf:
            return Node("number", repr(number))
        case ast.Name(id=name) if _named(name):
            return Node("name", name)
        case ast.Attribute(value=ast.Name(id=table), attr=key) if _named(table, key):
            return Node("name", f"{table}.{key}")
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return Node("negative", "", (_read(operand, words, depth=depth + 1),))
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return Node("not", "", (_read(operand, words, depth=depth + 1),))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            return _operation(_BINARY[type(op)], [left, right], words, depth=depth)
        case ast.BoolOp(op=op, values=values):
            return _operation(_BINARY[type(op)], list(values), words, depth=depth)
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _BINARY:
            return _operation(_BINARY[type(op)], [left, right], words, depth=depth)
        case ast.Call(args=args, keywords=[]):
            name, operation, text, known = _called(tree, words)
            _check_call(name, args, known, column=column)
            parts = tuple(_read(part, words, depth=depth + 1) for part in args)
            return Node(operation, text, parts)
    raise ExpressionError(f"{ast.unparse(tree)!r} is not in the language", column=column)


def _called(call: ast.Call, words: Vocabulary) -> tuple[str, str, str, _Arity]:
    """Name, operation and text of a call, and what its name may be."""
    match call.func:
        case ast.Name(id=name):
            return name, name, "", words.functions
        case ast.Attribute(value=ast.Name(id=rows), attr=name) if words.aggregates and _named(rows):
            return name, "aggregate", f"{rows}.{name}", words.aggregates
    column = call.col_offset + 1
    raise ExpressionError(f"{ast.unparse(call)!r} is not in the language", column=column)


def _named(*names: str) -> bool:
    return all(_NAME.fullmatch(name) for name in names)


def _operation(sign: str, parts: list[ast.expr], words: Vocabulary, *, depth: int) -> Node:
    nodes = [_read(part, words, depth=depth + len(parts) - 1) for part in parts]
    return reduce(lambda left, right: Node(sign, "", (left, right)), nodes)


def _check_call(
    name: str,
    args: list[ast.expr],
    known: _Arity,
    *,
    column: int,
) -> None:
    if name not in known:
        names = ", ".join(sorted(known))
        raise ExpressionError(f"no function {name!r}; there are {names}", column=column)
    fewest, most = known[name]
    if len(args) < fewest or (most is not None and len(args) > most):
        wanted = f"{fewest} argument{'s' if fewest > 1 else ''}"
        wanted += "" if fewest == most else " or more"
        raise ExpressionError(f"{name!r} takes {wanted}, found {len(args)}", column=column)


def _evaluate(node: Node, values: Mapping[str, Value], arithmetic: Arithmetic) -> Value:
    if node.operation == "number":
        return arithmetic.number(node.text)
    if node.operation == "name":
        return values[node.text]
    parts = [_evaluate(part, values, arithmetic) for part in node.arguments]
    apply = arithmetic.functions.get(node.operation) or OPERATORS[node.operation]
    result = apply(*parts)
    return arithmetic.number(result) if node.operation in CONDITIONS else result


def prepared(
    expression: Expression, arithmetic: Arithmetic
) -> Callable[[Mapping[str, Value]], Value]:  # fmt: skip
    """The expression as a function of its names' values: what calling it gives, sooner where it is
    asked often. Constants are read and functions looked up once.

    >>> prepared(parse("max(2 * x, 3)"), ARRAYS)({"x": 1.0})
    np.float64(3.0)
    """
    return _prepared(expression.root, arithmetic)


def _prepared(node: Node, arithmetic: Arithmetic) -> Callable[[Mapping[str, Value]], Value]:
    if node.operation == "number":
        constant = arithmetic.number(node.text)
        return lambda _: constant
    if node.operation == "name":
        return operator.itemgetter(node.text)
    parts = [_prepared(part, arithmetic) for part in node.arguments]
    apply = arithmetic.functions.get(node.operation) or OPERATORS[node.operation]
    if node.operation in CONDITIONS:
        number = arithmetic.number
        return lambda values: number(apply(*[part(values) for part in parts]))
    if len(parts) != 2:
        return lambda values: apply(*[part(values) for part in parts])
    left, right = parts
    return lambda values: apply(left(values), right(values))


def written(node: Node) -> str:
    """A node as text that parses to it; names of a resolved one are written in full.

    >>> written(parse("where(a < 2, -b, max(a, b))").root)
    'where((a < 2), (-b), max(a, b))'
    """
    if not node.arguments and node.operation != "aggregate":
        return node.text
    parts = [written(part) for part in node.arguments]
    if node.operation == "negative":
        return f"(-{parts[0]})"
    if node.operation == "not":
        return f"(not {parts[0]})"
    if node.operation in _BINARY.values():
        return f"({parts[0]} {node.operation} {parts[1]})"
    called = node.text if node.operation == "aggregate" else node.operation
    return f"{called}({', '.join(parts)})"


ARRAYS: Final = Arithmetic(
    number=np.float64,
    functions={
        "max": lambda *parts: reduce(np.maximum, parts),
        "min": lambda *parts: reduce(np.minimum, parts),
        "abs": np.abs,
        "sign": np.sign,
        "clip": lambda number, low, high: np.minimum(np.maximum(number, low), high),
        "round": np.rint,
        "floor": np.floor,
        "ceil": np.ceil,
        "where": np.where,
        "sqrt": np.sqrt,
        "exp": portable.exp,
        "log": portable.log,
        "**": portable.power,
        "and": np.logical_and,
        "or": np.logical_or,
        "not": np.logical_not,
    },
)
"""float64 arrays; every operation elementwise, with the same bits on every processor."""
