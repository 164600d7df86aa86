"""The positions × scenarios product in Python integers, one number at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Holdings = Mapping[int, int]
"""Instrument row → signed lots."""
Matrix = Sequence[Sequence[int]]
"""PnL in quanta by [instrument][scenario]."""


def scenario_sums(held: Holdings, pnl: Matrix) -> list[int]:
    """Σ lots × PnL of each scenario.

    >>> scenario_sums({0: 2, 1: -1}, [[10, -4], [3, 5]])
    [17, -13]
    """
    scenarios = len(pnl[0]) if pnl else 0
    sums = [0] * scenarios
    for row, lots in held.items():
        for s in range(scenarios):
            sums[s] += lots * pnl[row][s]
    return sums


def worst(sums: Sequence[float]) -> tuple[float, int]:
    """Least sum, and the first scenario that gives it.

    >>> worst([3, -1, -1])
    (-1, 1)
    """
    place = 0
    for s, value in enumerate(sums):
        if value < sums[place]:
            place = s
    return sums[place], place


def mapped(x: float, *, dead: float, loss: float, gain: float, cap: float) -> float:
    """A sum moved toward zero by `dead`; then a loss or a gain by its factor, a gain to its cap.

    >>> mapped(-10, dead=4, loss=1.0, gain=0.5, cap=100)
    -6.0
    """
    if x > dead:
        return float(min((x - dead) * gain, cap))
    if x < -dead:
        return float((x + dead) * loss)
    return 0.0


def signed_sum(held: Holdings, long_side: Sequence[int], short_side: Sequence[int]) -> int:
    """Σ over longs of lots × long_side + Σ over shorts of lots × short_side."""
    return sum(
        lots * (long_side[row] if lots > 0 else short_side[row]) for row, lots in held.items()
    )
