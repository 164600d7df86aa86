"""Whole units shared by weight: exact sums, and how a budget fills vessels with caps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

from solvent.errors import check


def filled(
    weights: Sequence[Fraction | int], caps: Sequence[Fraction | int | None], total: Fraction | int
) -> tuple[Fraction, ...]:
    """Pour `total` into vessels by weight, none beyond its cap (None: no cap).

    x_i = min(cap_i, τ·weight_i) with the one τ at which the sum is the total; where all that have a
    weight are full before, they stay full and the sum is less. A weight of 0 takes nothing.

    >>> [str(x) for x in filled([1, 1, 2], [1, None, None], 10)]
    ['1', '3', '6']
    """
    check(len(weights) == len(caps), "a cap for each weight", len(weights), len(caps))
    check(all(weight >= 0 for weight in weights), "weights are not negative")
    check(all(cap is None or cap >= 0 for cap in caps), "caps are not negative")
    check(total >= 0, "what is shared is not negative", total)
    poured = [Fraction(0)] * len(weights)
    open_rows = [row for row, weight in enumerate(weights) if weight > 0]

    def level(row: int) -> Fraction:
        return Fraction(caps[row] or 0) / weights[row]  # τ at which the vessel is full

    capped = sorted((row for row in open_rows if caps[row] is not None), key=level)
    left, weight = Fraction(total), sum((Fraction(weights[row]) for row in open_rows), Fraction(0))
    full: set[int] = set()
    for row in capped:
        if left <= level(row) * weight:
            break
        poured[row] = Fraction(caps[row] or 0)
        left -= poured[row]
        weight -= weights[row]
        full.add(row)
    if weight > 0:
        for row in open_rows:
            if row not in full:
                poured[row] = left * weights[row] / weight
    return tuple(poured)


def largest_remainder(shares: Sequence[Fraction]) -> tuple[int, ...]:
    """Shares in whole units that add up to their sum, rounded down.

    Each is rounded down; units that are left go to the largest remainders, the first of equals. No
    share with a whole cap above it passes the cap, and a whole share stays as it is.

    >>> largest_remainder([Fraction(5, 2), Fraction(5, 4), Fraction(5, 4)])
    (3, 1, 1)
    """
    total = math.floor(sum(shares, Fraction(0)))
    whole = [math.floor(share) for share in shares]
    order = sorted(range(len(shares)), key=lambda row: (whole[row] - shares[row], row))
    for row in order[: total - sum(whole)]:
        whole[row] += 1
    return tuple(whole)


def shared(
    total: int, weights: Sequence[Fraction | int], caps: Sequence[int | None] | None = None
) -> tuple[int, ...]:
    """Whole units by weight, none beyond its cap; the sum is the total, or all caps where less.

    >>> shared(10, [1, 1, 1]), shared(10, [1, 1, 2], [1, None, None]), shared(10, [1, 1], [2, 3])
    ((4, 3, 3), (1, 3, 6), (2, 3))
    >>> shared(10, [0, 0])
    (0, 0)
    """
    return largest_remainder(filled(weights, caps or [None] * len(weights), total))
