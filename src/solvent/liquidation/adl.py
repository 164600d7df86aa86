"""Auto-deleveraging: who gives up how much, so that what a bankrupt account lacks is paid.

Rows stand for traders of the other side, in whatever order the caller keeps. A budget is money; it
is taken from gains (`endowment`: the gain of a trader, 0 for a loss), never from principal. All is
exact; `whole` brings shares to whole units with the same sum.
Source: arXiv 2512.01112 and 2602.15182.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

from solvent.errors import check
from solvent.liquidation.shares import filled, largest_remainder, shared

Number = Fraction | int


class Allocation(NamedTuple):
    """What each row pays, and what of the budget nobody could pay."""

    paid: tuple[Fraction, ...]
    residual: Fraction

    def haircuts(self, endowment: Sequence[Number]) -> tuple[Fraction, ...]:
        """Shares of the endowment that are paid; 0 of nothing."""
        return tuple(
            paid / of if of else Fraction(0) for paid, of in zip(self.paid, endowment, strict=True)
        )


def _allocation(paid: Sequence[Fraction], budget: Number) -> Allocation:
    residual = budget - sum(paid, Fraction(0))
    check(residual >= 0, "nobody pays more than is needed", residual)
    return Allocation(tuple(paid), Fraction(residual))


def queue(
    endowment: Sequence[Number], order: Sequence[int], budget: Number,
    caps: Sequence[Number] | None = None,
) -> Allocation:  # fmt: skip
    """Rows pay one after the other, each up to its cap (a share of its endowment; all without).

    >>> [int(paid) for paid in queue([100, 50, 30], [0, 1, 2], 130).paid]
    [100, 30, 0]
    """
    check(sorted(order) == list(range(len(endowment))), "each row stands once", order)
    left, paid = Fraction(budget), [Fraction(0)] * len(endowment)
    for row in order:
        may = Fraction(endowment[row]) * (1 if caps is None else caps[row])
        paid[row] = min(left, may)
        left -= paid[row]
    return _allocation(paid, budget)


def pro_rata(
    endowment: Sequence[Number], budget: Number, caps: Sequence[Number] | None = None
) -> Allocation:
    """One haircut η for all, or a row's cap where that is less: h = min(η, β), Σ w·h = budget.

    >>> found = pro_rata([100, 50, 30, 20], 40, [Fraction(1, 10), 1, Fraction(1, 2), 1])
    >>> [int(paid) for paid in found.paid], int(found.residual)
    ([10, 15, 9, 6], 0)
    """
    return risk_aware(endowment, [1] * len(endowment), budget, caps)


def risk_aware(
    endowment: Sequence[Number], risk: Sequence[Number], budget: Number,
    caps: Sequence[Number] | None = None,
) -> Allocation:  # fmt: skip
    """Haircuts by risk, such as leverage: h = min(β, τ·w̃), the one τ at which Σ w·h = budget.

    >>> found = risk_aware([100, 50, 30, 20], [10, 2, 5, 1], 127)
    >>> [int(paid) for paid in found.paid]
    [100, 10, 15, 2]
    """
    caps = caps or [1] * len(endowment)
    check(all(0 <= cap <= 1 for cap in caps), "a cap is a share", caps)
    weights = [Fraction(of) * one for of, one in zip(endowment, risk, strict=True)]
    most = [Fraction(of) * cap for of, cap in zip(endowment, caps, strict=True)]
    return _allocation(filled(weights, most, budget), budget)


def caps_above(
    equity: Sequence[Number], endowment: Sequence[Number], least: Number
) -> tuple[Fraction, ...]:
    """Caps that leave each row an equity of `least`: min(1, (e − least)⁺ / w); 0 of no gain.

    >>> [str(cap) for cap in caps_above([10, 5, 3, 9], [8, 8, 8, 0], 4)]
    ['3/4', '1/8', '0', '0']
    """
    return tuple(
        min(Fraction(1), max(Fraction(0), Fraction(one) - least) / of) if of else Fraction(0)
        for one, of in zip(equity, endowment, strict=True)
    )


def whole(allocation: Allocation) -> tuple[int, ...]:
    """What each row pays in whole units, with the same sum; a residual's fraction is not taken.

    >>> whole(pro_rata([10, 10, 10], 10))
    (4, 3, 3)
    """
    return largest_remainder(allocation.paid)


# ── lots ─────────────────────────────────────────────────────────────────────────────────────────


def queue_lots(held: Sequence[int], order: Sequence[int], lots: int) -> tuple[int, ...]:
    """Lots closed of each row, one row after the other; the sum is `lots`, or all that is held.

    >>> queue_lots([10, 20, 5], [2, 0, 1], 12)
    (7, 0, 5)
    """
    check(sorted(order) == list(range(len(held))), "each row stands once", order)
    check(all(one >= 0 for one in held) and lots >= 0, "lots are counted without sign", lots)
    left, closed = lots, [0] * len(held)
    for row in order:
        closed[row] = min(left, held[row])
        left -= closed[row]
    return tuple(closed)


def pro_rata_lots(
    held: Sequence[int], lots: int, risk: Sequence[Number] | None = None
) -> tuple[int, ...]:
    """Lots closed by what is held (times risk), in whole lots by largest remainder.

    Never more than is held; the sum is `lots`, or all that is held.

    >>> pro_rata_lots([10, 20, 5], 7), pro_rata_lots([10, 20, 5], 7, [6, 1, 1])
    ((2, 4, 1), (5, 2, 0))
    """
    check(all(one >= 0 for one in held) and lots >= 0, "lots are counted without sign", lots)
    weights = [Fraction(of) * one for of, one in zip(held, risk or [1] * len(held), strict=True)]
    return shared(lots, weights, list(held))


# ── how well it was done ─────────────────────────────────────────────────────────────────────────


class Quality(NamedTuple):
    """What a deleveraging took against what was needed, and how evenly."""

    needed: Fraction
    seized: Fraction
    overshoot: Fraction
    """Seized less needed: below 0 it was not enough."""
    worst_share: Fraction
    """The largest share of equity that a row gave up."""
    fairest_share: Fraction
    """The least that this can be for the same sum, by the fractional optimum."""
    regret: Fraction
    """(worst − fairest) × seized: money."""


def needed(fills: Sequence[tuple[int, Number, Number]]) -> Fraction:
    """The budget: Σ |mark − price|·|lots| over the fills of liquidated accounts.

    >>> int(needed([(-3, 100, 98), (2, 50, 51)]))
    8
    """
    return sum(
        (abs(Fraction(mark) - price) * abs(lots) for lots, mark, price in fills), Fraction(0)
    )


def quality(
    seized: Sequence[Number],
    *,
    needed: Number,
    equity: Sequence[Number],
    endowment: Sequence[Number],
    caps: Sequence[Number] | None = None,
) -> Quality:
    """Overshoot and fairness of what was seized of each row.

    The fairest share is that of the fractional problem (no whole lots): the least largest
    seized/equity over all ways to seize the same sum within the caps. Rows without equity are
    left out of both, as no share of theirs says anything.

    >>> found = quality([60, 0], needed=50, equity=[100, 100], endowment=[80, 80])
    >>> [str(one) for one in found]
    ['50', '60', '10', '3/5', '3/10', '18']
    """
    caps = caps or [1] * len(endowment)
    total = sum(map(Fraction, seized), Fraction(0))
    rows = [row for row, one in enumerate(equity) if one > 0]
    shares = [Fraction(seized[row]) / equity[row] for row in rows]
    worst = max(shares, default=Fraction(0))
    counted = sum((Fraction(seized[row]) for row in rows), Fraction(0))
    most = [Fraction(endowment[row]) * caps[row] for row in rows]
    even = filled([equity[row] for row in rows], most, counted)
    fairest = max(
        (paid / equity[row] for paid, row in zip(even, rows, strict=True)), default=Fraction(0)
    )
    return Quality(
        Fraction(needed), total, total - needed, worst, fairest, (worst - fairest) * total
    )
