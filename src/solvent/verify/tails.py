"""Tails of one set's totals in plain Python: the definitions, and the same steps one at a time."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction


def ordered(totals: Sequence[float]) -> list[int]:
    """Places from the least total on, equal ones as they come.

    >>> ordered([3.0, -1.0, -1.0])
    [1, 2, 0]
    """
    return sorted(range(len(totals)), key=lambda place: (totals[place], place))


def true_shortfall(totals: Sequence[int], parts: Sequence[int], level: Fraction) -> Fraction:
    """Mean of the worst (1 − level) of all parts; the last scenario counts in part.

    >>> true_shortfall([4, -8, 1, -2], [1, 1, 1, 1], Fraction(5, 8))
    Fraction(-6, 1)
    """
    mass = (1 - level) * sum(parts)
    left, total = mass, Fraction(0)
    for place in ordered(totals):
        taken = min(Fraction(parts[place]), left)
        total += taken * totals[place]
        left -= taken
    return total / mass


def shortfall(totals: Sequence[float], parts: Sequence[int], mass: float) -> float:
    """The same in floats, in the order that is documented: these bits and no others."""
    total, before = 0.0, 0.0
    for place in ordered(totals):
        total += min(max(mass - before, 0.0), float(parts[place])) * totals[place]
        before += parts[place]
    return total / mass


def value_at_risk(
    totals: Sequence[float], parts: Sequence[int], level: Fraction
) -> tuple[float, int]:
    """The first total, from the least on, with which more than 1 − level of all parts is reached.

    >>> value_at_risk([4.0, -8.0, 1.0, -2.0], [1, 1, 1, 1], Fraction(3, 4))
    (-2.0, 3)
    """
    mass, held = (1 - level) * sum(parts), 0
    for place in ordered(totals):
        held += parts[place]
        if held > mass:
            return totals[place], place
    raise ValueError("a level below 1")
