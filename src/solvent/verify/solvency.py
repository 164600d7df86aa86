"""The watch from nothing, in Python integers: every account's figures and state, one at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Matrix = Sequence[Sequence[int]]
"""Rows of whole quanta by [instrument][column]: scenario PnL, and the mark at `mark`."""


def figures(
    held: Mapping[int, int],
    node_of: Sequence[int],
    rows: Matrix,
    *,
    cash: int,
    scenarios: int,
    maintenance: int,
    mark: int,
    ratios_ppm: tuple[int, int],
) -> tuple[int, int, int]:
    """(equity, initial, maintenance) of one account that holds instrument → lots.

    A node's requirement is its worst loss (0 for a gain) times its ratio, up, and half a quantum a
    lot, up; the second ratio reads the first `maintenance` scenarios.

    >>> figures({0: 2}, [0], [[-7, 3, 100]], cash=5, scenarios=2, maintenance=2, mark=2,
    ...         ratios_ppm=(1_000_000, 500_000))
    (205, 15, 8)
    """
    equity, needed = cash, [0, 0]
    for node in sorted({node_of[i] for i in held}):
        mine = {i: q for i, q in held.items() if node_of[i] == node and q != 0}
        equity += sum(q * rows[i][mark] for i, q in mine.items())
        gross = sum(abs(q) for q in mine.values())
        for which, count in enumerate((scenarios, maintenance)):
            sums = [sum(q * rows[i][s] for i, q in mine.items()) for s in range(count)]
            loss = max(0, -min(sums))
            needed[which] += -(-loss * ratios_ppm[which] // 1_000_000) + -(-gross // 2)
    return equity, needed[0], needed[1]


def state(equity: int, initial: int, maintenance: int) -> tuple[str, int]:
    """State in words, and how many of the levels of closeness were passed.

    >>> state(100, 90, 80), state(100, 90, 85), state(100, 120, 95), state(-1, 0, 0)
    (('healthy', 0), ('warning', 1), ('call', 2), ('liquidate', 2))
    """
    room = equity - maintenance
    close = sum(room * share < equity for share in (5, 10))
    if room < 0:
        return "liquidate", 2
    if equity < initial:
        return "call", close
    return ("warning" if close else "healthy"), close
