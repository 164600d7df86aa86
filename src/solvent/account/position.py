"""Positions: average cost, realised gains, flips.

A position is whole lots, long positive. `entry_value` is what the open lots cost at their average
price; `basis_value` is what they cost as far as money has been paid for gains: the same until gains
up to a mark have been settled. Both are exact: whatever a division leaves over stays inside.
"""

from __future__ import annotations

from typing import NamedTuple

from msgspec import Struct

from solvent.units import div_half_even


class Position(Struct, eq=False, gc=False):
    """What one account holds of one contract."""

    lots: int
    entry_value: int
    basis_value: int
    realised: int
    """Money that the contract has brought the account, all positions in it together."""


class Change(NamedTuple):
    """A position after a trade. `gain_value` is by average price, `paid_value` by the basis."""

    lots: int
    entry_value: int
    basis_value: int
    gain_value: int
    paid_value: int


def traded(
    lots: int, entry_value: int, basis_value: int, *, change_lots: int, cost_value: int,
    at_mark: bool = False, whole_points: bool = False, up_front: bool = False,
) -> Change:  # fmt: skip
    """A position after buying (or, negative, selling) lots for a cost.

    What is closed is closed at the average: its share of the entry value, half-even, with the rest
    left in the position. `at_mark`: nothing is paid now, gains wait for the next mark.
    `whole_points`: the average price is a whole number of points, rounded down. `up_front`: the
    cost has been paid as a premium, so the basis stays nothing.

    >>> traded(20, 2_000, 2_000, change_lots=-5, cost_value=-550)
    Change(lots=15, entry_value=1500, basis_value=1500, gain_value=50, paid_value=50)
    >>> traded(20, 2_000, 2_000, change_lots=-30, cost_value=-3_300)
    Change(lots=-10, entry_value=-1100, basis_value=-1100, gain_value=200, paid_value=200)
    """
    after = lots + change_lots
    if lots * change_lots >= 0:
        closing = entry_closed = cost_closed = 0
    else:
        closing = min(abs(change_lots), abs(lots))
        entry_closed = _share(entry_value, closing, abs(lots))
        cost_closed = _share(cost_value, closing, abs(change_lots))
    entry_after = entry_value - entry_closed + cost_value - cost_closed
    if whole_points and after:
        entry_after = after * (entry_after // after)
    gain = -(entry_closed + cost_closed)
    if up_front:
        return Change(after, entry_after, 0, gain, 0)
    if at_mark:
        return Change(after, entry_after, basis_value + cost_value, gain, 0)
    if basis_value == entry_value and not whole_points:
        return Change(after, entry_after, entry_after, gain, gain)
    basis_closed = _share(basis_value, closing, abs(lots)) if closing else 0
    return Change(
        after,
        entry_after,
        basis_value - basis_closed + cost_value - cost_closed,
        gain,
        -(basis_closed + cost_closed),
    )


def _share(value: int, part: int, whole: int) -> int:
    return value if part == whole else div_half_even(value * part, whole)
