"""By how much a requirement changes at most where one of its components does.

A requirement is mostly a sum of components, some of them times a number of the rulebook's: a blend
`x * tail + (1 - x) * stress`. The factors of such a formula are told here; of others nothing is.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from solvent.expressions import Expression, Node
from solvent.units import Float64

Factors = dict[str, Float64]
"""Component → [node] the largest change of the whole for a change of 1; 0 where it has no part."""


def factors_of(outer: Expression, inner: Mapping[str, Float64], count: int) -> Factors | None:
    """Factors of a formula that is cut (`expressions.split`), over `count` nodes.

    Sums, differences, greatest and least of components, and their products with what no account
    changes; None for anything else.
    """
    return _factors(outer.root, inner, count)


def _factors(node: Node, inner: Mapping[str, Float64], count: int) -> Factors | None:
    if _fixed(node, inner, count) is not None:
        return {}
    if node.operation == "name":
        return {node.text: np.ones(count)}
    if node.operation in ("+", "-", "negative", "max", "min"):
        return _added([_factors(part, inner, count) for part in node.arguments])
    if node.operation in ("*", "/"):
        return _scaled(node, inner, count)
    return None


def _scaled(node: Node, inner: Mapping[str, Float64], count: int) -> Factors | None:
    left, right = node.arguments
    scale, other = _fixed(right, inner, count), left
    if scale is None and node.operation == "*":
        scale, other = _fixed(left, inner, count), right
    found = _factors(other, inner, count)
    if scale is None or found is None:
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        size = np.abs(scale) if node.operation == "*" else np.abs(1.0 / scale)
    # Nobody is margined at a node without a number; whatever would be has no bound.
    size = np.where(np.isfinite(size), size, np.inf)
    return {name: factor * size for name, factor in found.items()}


def _added(parts: list[Factors | None]) -> Factors | None:
    total: Factors = {}
    for part in parts:
        if part is None:
            return None
        for name, factor in part.items():
            total[name] = total[name] + factor if name in total else factor
    return total


def _fixed(node: Node, inner: Mapping[str, Float64], count: int) -> Float64 | None:
    """[node] a number that no account changes: a constant, or a column that is known already."""
    if node.operation == "number":
        return np.full(count, float(node.text))
    if node.operation == "negative":
        told = _fixed(node.arguments[0], inner, count)
        return None if told is None else -told
    return inner.get(node.text) if node.operation == "name" else None
