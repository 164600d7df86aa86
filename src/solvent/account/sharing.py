"""Who gets what when there is less than is owed: shares that add up to the unit."""

from __future__ import annotations

from collections.abc import Sequence

from solvent.errors import check


def shared_out(claims: Sequence[int], available: int) -> list[int]:
    """Pay claims from what there is: each its share, rounded down; the last gets what is left over.

    Where there is enough, all are paid in full.

    >>> shared_out([80, 8_000], 5_080)
    [50, 5030]
    >>> shared_out([3, 4], 100)
    [3, 4]
    """
    check(all(claim >= 0 for claim in claims), "a claim is not negative")
    check(available >= 0, "what there is to share is not negative", available)
    owed = sum(claims)
    if available >= owed:
        return list(claims)
    paid = [claim * available // owed for claim in claims]
    paid[-1] += available - sum(paid)
    return paid
