"""Numbers that carry derivatives: against exact differences of random formulas."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given, settings

from solvent.expressions import parse
from solvent.margining.duals import DUALS, Dual
from tests.test_expressions import NAMES, PLAIN, VALUES, by_solvent


@settings(max_examples=300)
@given(PLAIN, VALUES)
def test_duals_carry_the_derivative(text: str, values: dict[str, Fraction]) -> None:
    """Against exact differences; no two names are equal, nor 0 nor 1, so conditions do not turn."""
    expression, step = parse(text), Fraction(1, 10**12)
    point = {name: values[name] + Fraction(1, 97 + n) for n, name in enumerate(NAMES)}
    here = by_solvent(expression, point)
    slopes: list[float] = []
    for name in NAMES:
        right = by_solvent(expression, point | {name: point[name] + step})
        left = by_solvent(expression, point | {name: point[name] - step})
        if here is None or right is None or left is None:
            return
        slope, kink = (right - left) / (2 * step), (right + left - 2 * here) / step
        assume(abs(kink) <= Fraction(1, 10**6) and abs(slope) < 1_000)
        slopes.append(float(slope))
    axes = zip(point.items(), np.eye(len(NAMES)), strict=True)
    found = expression({name: Dual(float(at), axis) for (name, at), axis in axes}, DUALS)
    dual = found if isinstance(found, Dual) else Dual(float(found), np.zeros(len(NAMES)))
    assume(dual.value == pytest.approx(float(here or 0)))
    assert dual.slope == pytest.approx(slopes, rel=1e-5, abs=1e-5)


def test_duals_compare_as_their_values() -> None:
    zero, one = Dual(0.0, np.ones(2)), Dual(1.0, np.zeros(2))
    assert not zero
    assert one
    assert zero == Dual(0.0, np.zeros(2))
    assert zero != one
    assert zero == 0.0
    for text, worth in (("where(d, 1, 2)", 2.0), ("where(d == 0, 1, 2)", 1.0), ("not d", 1.0)):
        assert parse(text)({"d": zero}, DUALS) == worth


@pytest.mark.parametrize("number", [2.0, np.float64(2.0)])
def test_duals_take_numbers_on_either_side(number: float) -> None:
    d = Dual(4.0, np.array([1.0]))
    for found, value, slope in (
        (number + d, 6.0, 1.0), (number - d, -2.0, -1.0), (number * d, 8.0, 2.0),
        (number / d, 0.5, -0.125), (d / number, 2.0, 0.5), (d - number, 2.0, 1.0),
    ):  # fmt: skip
        assert isinstance(found, Dual)
        assert (found.value, found.slope.tolist()) == (value, [slope])
    assert number < d
    assert d > number
