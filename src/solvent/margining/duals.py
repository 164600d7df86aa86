"""Numbers that carry their derivatives: how a formula's value changes with each component."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from solvent.expressions import Arithmetic
from solvent.units import Float64


@dataclass(frozen=True, slots=True, eq=False)
class Dual:
    """A value and its gradient; `+ − × ÷` and comparisons as of the value."""

    value: float
    slope: Float64

    def __add__(self, other: Dual | float) -> Dual:
        other = _dual(other, self)
        return Dual(self.value + other.value, self.slope + other.slope)

    def __radd__(self, other: float) -> Dual:
        return self + other

    def __neg__(self) -> Dual:
        return Dual(-self.value, -self.slope)

    def __sub__(self, other: Dual | float) -> Dual:
        return self + (-_dual(other, self))

    def __rsub__(self, other: float) -> Dual:
        return -self + other

    def __mul__(self, other: Dual | float) -> Dual:
        other = _dual(other, self)
        return Dual(self.value * other.value, self.slope * other.value + self.value * other.slope)

    def __rmul__(self, other: float) -> Dual:
        return self * other

    def __truediv__(self, other: Dual | float) -> Dual:
        other = _dual(other, self)
        quotient = self.value / other.value
        return Dual(quotient, (self.slope - quotient * other.slope) / other.value)

    def __rtruediv__(self, other: float) -> Dual:
        return _dual(other, self) / self

    def __bool__(self) -> bool:
        return self.value != 0.0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Dual | float) and self.value == _plain(other)

    def __lt__(self, other: Dual | float) -> bool:
        return self.value < _dual(other, self).value

    def __le__(self, other: Dual | float) -> bool:
        return self.value <= _dual(other, self).value

    def __gt__(self, other: Dual | float) -> bool:
        return self.value > _dual(other, self).value

    def __ge__(self, other: Dual | float) -> bool:
        return self.value >= _dual(other, self).value


def _dual(number: Dual | float, like: Dual) -> Dual:
    if isinstance(number, Dual):
        return number
    return Dual(float(number), np.zeros_like(like.slope))


def _largest(*parts: Dual | float) -> Dual | float:
    return max(parts, key=_plain)


def _smallest(*parts: Dual | float) -> Dual | float:
    return min(parts, key=_plain)


def _plain(number: Dual | float) -> float:
    return number.value if isinstance(number, Dual) else float(number)


def _abs(number: Dual | float) -> Dual | float:
    return -number if _plain(number) < 0 else number


def _steps(step: np.ufunc, number: Dual | float) -> float:
    """Roundings and signs: constant between their jumps."""
    return float(step(_plain(number)))


DUALS: Final = Arithmetic(
    number=float,
    functions={
        "max": _largest,
        "min": _smallest,
        "abs": _abs,
        "sign": lambda number: _steps(np.sign, number),
        "clip": lambda number, low, high: _smallest(_largest(number, low), high),
        "round": lambda number: _steps(np.rint, number),
        "floor": lambda number: _steps(np.floor, number),
        "ceil": lambda number: _steps(np.ceil, number),
        "where": lambda condition, yes, no: yes if condition else no,
        "and": lambda left, right: bool(left) and bool(right),
        "or": lambda left, right: bool(left) or bool(right),
        "not": lambda condition: not condition,
    },
)
"""Formulas of accounts; what depends on the market alone enters as plain floats."""
