"""float64 columns: what a formula's operations mean on arrays of a whole book.

A NaN says that something needed is not known. It survives every operation, comparisons included,
except in a branch that `where` does not take: so an account is UNKNOWN exactly where the readable
way would miss a number. A column is [row], or [row, scenario].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from typing import Final

import numpy as np

from solvent import portable
from solvent.expressions import ARRAYS
from solvent.units import Float64


def aligned(*parts: Float64) -> tuple[Float64, ...]:
    """Columns of one number a row beside columns of one number a scenario."""
    if not any(part.ndim == 2 for part in parts):
        return parts
    return tuple(part[:, None] if part.ndim == 1 else part for part in parts)


def _known(result: Float64, *parts: Float64) -> Float64:
    """The result, NaN where a part is."""
    for part in parts:
        missing = np.isnan(part)
        if missing.any():
            result = np.where(missing, np.nan, result)
    return result


def _comparison(compare: Callable[..., Float64]) -> Callable[..., Float64]:
    def apply(left: Float64, right: Float64) -> Float64:
        return _known(compare(left, right).astype(np.float64), left, right)

    return apply


def _quotient(left: Float64, right: Float64) -> Float64:
    """Nothing is known of a division by 0."""
    return np.divide(left, np.where(right == 0.0, np.nan, right))


def _where(condition: Float64, yes: Float64, no: Float64) -> Float64:
    return _known(np.where(condition != 0.0, yes, no), condition)


def _rounding(whole: Callable[[Float64], Float64]) -> Callable[..., Float64]:
    def apply(number: Float64, decimals: Float64 | None = None) -> Float64:
        if decimals is None:
            return whole(number)
        unit = portable.power(10.0, decimals)
        return whole(number * unit) / unit

    return apply


def _half_up(number: Float64) -> Float64:
    return np.asarray(np.copysign(np.floor(np.abs(number) + 0.5), number))


def expected_shortfall(value: Float64, level: Float64) -> Float64:
    """Mean of the worst (1 − level) of the scenarios, the last one taken in part.

    >>> expected_shortfall(np.array([[4.0, -8.0, 1.0, -2.0]]), np.array([0.5])).tolist()
    [-5.0]
    """
    worst = np.sort(value, axis=1)
    share = (1.0 - level[:, None]) * worst.shape[1]
    weight = np.clip(share - np.arange(worst.shape[1]), 0.0, 1.0)
    return np.asarray((worst * weight).sum(axis=1) / share[:, 0])


def _by_scenario(value: Float64) -> Float64:
    """[scenario, row]: numpy reduces a few long rows many times faster than many short ones."""
    return np.ascontiguousarray(value.T)


def _at_worst(value: Float64, other: Float64) -> Float64:
    wide = np.broadcast_to(other if other.ndim == 2 else other[..., None], value.shape)
    found = np.take_along_axis(wide, value.argmin(axis=1)[:, None], axis=1)[:, 0]
    return _known(found, value.min(axis=1))


def _average_where(holds: Float64, value: Float64) -> Float64:
    """Mean over the scenarios in which a condition holds; NaN where it holds in none."""
    wide = np.broadcast_to(value if value.ndim == 2 else value[..., None], holds.shape)
    chosen = holds != 0.0
    total = np.where(chosen, wide, 0.0).sum(axis=1)
    return _known(np.divide(total, chosen.sum(axis=1)), holds.sum(axis=1))


ELEMENTWISE: Final[Mapping[str, Callable[..., Float64]]] = {
    **ARRAYS.functions,
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": _quotient,
    "negative": np.negative,
    "<": _comparison(np.less),
    "<=": _comparison(np.less_equal),
    ">": _comparison(np.greater),
    ">=": _comparison(np.greater_equal),
    "==": _comparison(np.equal),
    "!=": _comparison(np.not_equal),
    "and": lambda left, right: _known((left != 0.0) * (right != 0.0) * 1.0, left, right),
    "or": lambda left, right: _known(((left != 0.0) | (right != 0.0)) * 1.0, left, right),
    "not": lambda one: _known((one == 0.0) * 1.0, one),
    "max": lambda *parts: reduce(np.maximum, parts),
    "min": lambda *parts: reduce(np.minimum, parts),
    "where": _where,
    "given": lambda condition, value: _where(condition, value, np.asarray(np.nan)),
    "round": _rounding(np.rint),
    "floor": _rounding(np.floor),
    "ceil": _rounding(np.ceil),
    "trunc": _rounding(np.trunc),
    "round_half_up": _rounding(_half_up),
    "normal": portable.normal,
    "normal_quantile": portable.normal_quantile,
}
REDUCTIONS: Final[Mapping[str, Callable[..., Float64]]] = {
    "worst": lambda value: _by_scenario(value).min(axis=0),
    "best": lambda value: _by_scenario(value).max(axis=0),
    "average": lambda value: value.mean(axis=1),
    "expected_shortfall": expected_shortfall,
    "worst_place": lambda value: _known(value.argmin(axis=1) + 1.0, value.min(axis=1)),
    "at_worst": _at_worst,
    "average_where": _average_where,
}
"""From [row, scenario] to [row]."""
