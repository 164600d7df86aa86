"""A settlement as a table of moves of money, whose running balances are checked at every row.

Fund before you spend: a pool pays out only what has already reached it. In October 2025 an exchange
stood still for eight hours because a subaccount was emptied one line before the insurance fund had
paid into it, though the fund had plenty.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from solvent.errors import Refused, Reject, check


class Move(NamedTuple):
    """An amount, not negative, from one place to another: the direction is in the names."""

    source: str
    target: str
    amount: int
    why: str


class Row(NamedTuple):
    """A move, and what both its places hold after it."""

    move: Move
    source_after: int
    target_after: int

    def __str__(self) -> str:
        source, target, amount, why = self.move
        return (
            f"{amount:>20,} {source} ({self.source_after:,}) → {target} ({self.target_after:,})"
            f": {why}"
        )


class Settled(NamedTuple):
    """The table, and all balances after its last row."""

    rows: tuple[Row, ...]
    balances: dict[str, int]


def settled(
    balances: Mapping[str, int], moves: Sequence[Move], floors: Mapping[str, int]
) -> Settled:
    """Balances after each row. A place that `floors` does not name has no floor.

    Raises Refused (FUND_INSUFFICIENT) at the first row after which a place would be below its
    floor; nothing is moved then.

    >>> moves = [Move("fund", "pool", 5, "shortfall"), Move("pool", "winner", 12, "gain")]
    >>> settled({"fund": 5, "pool": 7}, moves, {"fund": 0, "pool": 0}).balances
    {'fund': 0, 'pool': 0, 'winner': 12}
    >>> settled({"fund": 5, "pool": 7}, moves[::-1], {"fund": 0, "pool": 0})
    Traceback (most recent call last):
    ...
    solvent.errors.Refused: row 1: pool: expected at least 0 after 12 for gain, found -5
    """
    held = dict(balances)
    rows = []
    for number, move in enumerate(moves, 1):
        check(move.amount >= 0, "the direction is in the names, not in the sign", move)
        check(move.source != move.target, "a move has two sides", move)
        held[move.source] = held.get(move.source, 0) - move.amount
        held[move.target] = held.get(move.target, 0) + move.amount
        floor = floors.get(move.source)
        if floor is not None and held[move.source] < floor and move.amount:
            raise Refused(
                Reject.FUND_INSUFFICIENT,
                f"row {number}: {move.source}: expected at least {floor} after {move.amount} for "
                f"{move.why}, found {held[move.source]}",
            )
        rows.append(Row(move, held[move.source], held[move.target]))
    check(sum(held.values()) == sum(balances.values()), "a settlement keeps money", held)
    return Settled(tuple(rows), held)


def ordered(moves: Sequence[Move]) -> tuple[Move, ...]:
    """The same moves, each after all that pay into its source: fund before you spend.

    As given wherever that leaves a choice; where places pay each other in a circle, the first
    of the moves given goes first.

    >>> moves = [Move("pool", "winner", 12, "gain"), Move("fund", "pool", 5, "shortfall")]
    >>> [move.why for move in ordered(moves)]
    ['shortfall', 'gain']
    """
    unpaid: dict[str, int] = {}
    waiting: dict[str, list[int]] = {}
    for number, move in enumerate(moves):
        unpaid[move.target] = unpaid.get(move.target, 0) + 1
        waiting.setdefault(move.source, []).append(number)
    ready = [number for number, move in enumerate(moves) if not unpaid.get(move.source)]
    heapq.heapify(ready)
    done: list[int] = []
    placed = [False] * len(moves)
    first = 0
    while len(done) < len(moves):
        while first < len(moves) and placed[first]:
            first += 1
        number = heapq.heappop(ready) if ready else first
        if placed[number]:
            continue
        placed[number] = True
        done.append(number)
        target = moves[number].target
        unpaid[target] -= 1
        if not unpaid[target]:
            for other in waiting.get(target, ()):
                if not placed[other]:
                    heapq.heappush(ready, other)
    return tuple(moves[number] for number in done)
