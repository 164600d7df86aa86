"""The compiled pass over many accounts at once. Importing this module imports numba.

It takes rows, not accounts: of a block of accounts all rows at one underlying after another, the
short ones first. An underlying's risk rows then stay in the nearest caches, and how long the loop
over a row's positions runs is foreseen. Eight rows at a time leave their worst losses and additive
sums beside each other, and become requirements together (`eights`); these are added up by account
in a table of one cache line for two, which a block keeps in the second cache, and from which eight
accounts at a time are told.

All is bit for bit what `compiled.judge` computes account by account.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numba import njit

from solvent.limits import EXACT_MAX
from solvent.risk.compiled import LANES
from solvent.solvency.compiled import beyond, class_of, part_up
from solvent.solvency.eights.compiled import (
    add_row,
    eight_accounts,
    eight_rows,
    row_lanes,
    will_add,
)

_NEAR_EXACT = float(1 << 50)
"""Below it a loss times the share's numerator is rounded up in floats without a doubt."""


@njit(nogil=True, cache=True)
def order_of(s, chosen, block):  # type: ignore[no-untyped-def]
    """Rows of chosen accounts by block of accounts, in order of their numbers; each block's edge.

    Counted and then placed: the order inside a block is that of the rows' numbers. Eight more
    places follow, as a pass reads eight rows at a time.
    """
    count = s.used[0]
    edge = np.zeros(-(-len(chosen) // block) + 1, np.int64)
    for row in range(count):
        account = s.account[row]
        edge[account // block + 1] += chosen[account]
    for b in range(1, len(edge)):
        edge[b] += edge[b - 1]
    # A row that is not chosen is written where it says nothing.
    rows = np.zeros(edge[-1] + LANES, np.int32)
    seat = edge.copy()
    for row in range(count):
        account = s.account[row]
        b = account // block
        mine = chosen[account]
        rows[seat[b] if mine else edge[-1]] = row
        seat[b] += mine
    return rows, edge


@njit(nogil=True, cache=True)
def ascends(who):  # type: ignore[no-untyped-def]
    """Whether accounts are in order, each once."""
    fine = True
    for k in range(1, len(who)):
        fine &= who[k] > who[k - 1]
    return fine


@njit(nogil=True, cache=True)
def shares_of(ratios):  # type: ignore[no-untyped-def]
    """[initial and maintenance, 3] what `eight_rows` reads of two ratios in millionths."""
    shares = np.empty((2, 3))
    for k in range(2):
        over, under = _lowest(ratios[k], 1_000_000)
        shares[k, 0], shares[k, 1] = over / under, -0.5 / under
        shares[k, 2] = _NEAR_EXACT / max(over, 1.0)
    return shares


@njit(nogil=True, cache=True)
def _lowest(over, under):  # type: ignore[no-untyped-def]
    a, b = over, under
    while b:
        a, b = b, a % b
    return float(over // a), float(under // a)


@njit(nogil=True, cache=True)
def put_right(least, lesser, gross, ratios, parts):  # type: ignore[no-untyped-def]
    """Requirements of eight rows from their lanes in whole numbers, where floats cannot round."""
    for k in range(LANES):
        hidden = np.int64(np.ceil(0.5 * gross[k]))
        worst = least[k * LANES : (k + 1) * LANES].min()
        fewer = lesser[k * LANES : (k + 1) * LANES].min()
        parts[k, 1] = part_up(max(-worst, 0.0), ratios[0]) + hidden
        parts[k, 2] = part_up(max(-fewer, 0.0), ratios[1]) + hidden


@cache
def judge(width: int, narrow: int, guarded: bool) -> Callable[..., None]:
    """Kernel of `classes.Figures.judge` for accounts of blocks [start, stop), in order.

    `rows`, `edge` are a `holdings.Order`; `who` those accounts whose figures are told, of which
    `seat[b]:seat[b + 1]` are of block b. `largest` [instrument] and `most` [node] are the largest
    numbers in risk rows, read where `guarded`: a sum may leave the exact range. `sums` [account of
    a block and a spare one, 4] and `lanes` [3, 64] are room to work in. Figures start cache lines.
    """
    same = int(narrow == width)

    @njit(nogil=True, cache=True)
    def kernel(  # type: ignore[no-untyped-def]
        s, matrix, rows, edge, who, seat, block, largest, most, cash, ratios, at_ms, equity,
        initial, maintenance, unknown, state, close, figures_ms, sums, lanes, start, stop,
    ):  # fmt: skip
        least, lesser, added = lanes[0], lanes[1 - same], lanes[2]
        gross, place = np.zeros(LANES), np.zeros(LANES, np.int64)
        parts = np.zeros((LANES, 4), np.int64)
        shares = shares_of(ratios).ravel()
        sums[:] = 0
        for b in range(start, stop):
            base = b * block
            for first in range(edge[b], edge[b + 1], LANES):
                for k in range(LANES):
                    # Unsigned, as a signed place would be asked whether it counts from the end.
                    row = np.uintp(rows[np.uintp(first + k)])
                    begin = s.first[row]
                    row_lanes(
                        matrix, s.instrument, s.lots, begin, begin + s.length[row], least, lesser,
                        added, k, width, narrow,
                    )  # fmt: skip
                    gross[k] = s.gross[row]
                    place[k] = s.account[row] - base
                    will_add(sums, place[k])
                # Where fewer are left, what follows them goes to the spare account.
                for k in range(edge[b + 1] - first, LANES):
                    place[k] = block
                if eight_rows(least, lesser, added, gross, shares, parts, same):
                    put_right(least, lesser, gross, ratios, parts)
                if guarded:
                    _reach(s, rows, first, most, parts)
                for k in range(LANES):
                    add_row(sums, place[k], parts, k)
            told, many = 0, seat[b + 1] - seat[b]
            if guarded:
                _check(s, largest, who, seat[b], seat[b + 1], base, sums, unknown)
            elif many == min(block, len(cash) - base):
                told = many - many % LANES
                for k in range(0, told, LANES):
                    eight_accounts(
                        sums, k, cash, equity, initial, maintenance, figures_ms, state, close,
                        unknown, base + k, at_ms,
                    )  # fmt: skip
            _tell(
                who, seat[b] + told, seat[b + 1], base, sums, cash, at_ms, guarded, equity, initial,
                maintenance, unknown, state, close, figures_ms,
            )  # fmt: skip
            sums[told:] = 0

    return kernel  # type: ignore[no-any-return]


@njit(nogil=True, cache=True)
def _reach(s, rows, first, most, parts):  # type: ignore[no-untyped-def]
    """What eight rows' sums can be at most, in millionths of the exact range, rounded up."""
    for k in range(LANES):
        row = rows[first + k]
        parts[k, 3] = 0
        # A row that was emptied reaches nothing, of what has no number neither.
        if s.gross[row] > 0.0:
            part = s.gross[row] * most[s.node[row]] * (1e6 / EXACT_MAX)
            parts[k, 3] = np.int64(min(part, 1e9)) + 1


@njit(nogil=True, cache=True)
def _check(s, largest, who, start, stop, base, sums, unknown):  # type: ignore[no-untyped-def]
    """unknown[account] as `compiled.beyond` has it, which is asked of who may be near alone."""
    for k in range(start, stop):
        account = who[k]
        unknown[account] = False
        if sums[account - base, 3] >= 900_000:
            beyond(s, largest, who[k : k + 1], unknown)


@njit(nogil=True, cache=True)
def _tell(  # type: ignore[no-untyped-def]
    who, start, stop, base, sums, cash, at_ms, guarded, equity, initial, maintenance, unknown,
    state, close, figures_ms,
):  # fmt: skip
    for k in range(start, stop):
        account = np.uintp(who[k])
        place = np.uintp(who[k] - base)
        lost = guarded and unknown[account]
        owned = cash[account] + sums[place, 0]
        needed, least_needed = sums[place, 1], sums[place, 2]
        if lost:
            owned, needed, least_needed = 0, 0, 0
        equity[account], initial[account], maintenance[account] = owned, needed, least_needed
        unknown[account] = lost
        state[account], close[account] = class_of(owned, needed, least_needed, lost)
        figures_ms[account] = at_ms
