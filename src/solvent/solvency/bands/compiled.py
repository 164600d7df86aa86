"""The compiled loops of safe bands. Importing this module imports numba."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numba import njit

from solvent.limits import EXACT_MAX
from solvent.risk.compiled import LANES, accumulate, least_of


@cache
def bound(vectors: int) -> Callable[..., None]:
    """Kernel of `bands.Bands.refresh`: the widths that are proved for every row of `who`.

    `base` and `ends` are `bounds.Lines`, `largest` the most that a lot's line can be (infinite
    where there is none). `down` and `up` [place] become 0 for nothing, w + 1 for width w.
    """
    columns = vectors * LANES

    @njit(nogil=True, cache=True)
    def kernel(  # type: ignore[no-untyped-def]
        s, base, ends, largest, cash, who, middle, nodes, place_of, epoch_of, needed, upward,
        down, up, epoch, start, stop,
    ):  # fmt: skip
        sums = np.empty(columns)
        signed, lots = np.zeros(64, np.int32), np.zeros(64)
        level, drop = np.zeros(nodes), np.zeros(nodes)
        for at in range(start, stop):
            account = who[at]
            # Cash and lines together stay inside the exact range, or nothing is proved.
            slack, dropped = np.float64(cash[account]), 0.0
            reach = abs(slack)
            k, row = 0, s.head[account]
            while row >= 0:
                held = s.length[row]
                place = place_of[row]
                down[place], up[place], epoch[place] = 0, 0, epoch_of[s.node[row]]
                if held > len(lots):
                    signed, lots = np.zeros(2 * held, np.int32), np.zeros(2 * held)
                reach += _signed(s, row, largest, signed, lots)
                if held > 0 and reach < 0.99 * EXACT_MAX:
                    accumulate(base, 0, signed, lots, 0, held, sums, vectors)
                    # Two requirements' parts are rounded up, a quantum each.
                    level[k] = least_of(sums, vectors) - 2.0
                    drop[k] = 0.0
                    for way in range(2):
                        accumulate(ends[middle, way], 0, signed, lots, 0, held, sums, vectors)
                        drop[k] = max(drop[k], level[k] - (least_of(sums, vectors) - 2.0))
                    slack += level[k]
                    dropped += drop[k]
                    k += 1
                row = s.next_row[row]
            if reach < 0.99 * EXACT_MAX and slack >= 0.0:
                _widths(
                    s, account, ends, largest, place_of, down, up, slack, dropped, level, drop, k,
                    signed, lots, sums, vectors,
                )  # fmt: skip
                if not _inside(s, account, place_of, needed, upward, down, up):
                    _void(s, account, place_of, down, up)

    return kernel  # type: ignore[no-any-return]


@njit(nogil=True, cache=True)
def _inside(s, account, place_of, needed, upward, down, up):  # type: ignore[no-untyped-def]
    """Whether every row is on its segment at the prices of now."""
    row = s.head[account]
    while row >= 0:
        node, place = s.node[row], place_of[row]
        proved = up[place] if upward[node] else down[place]
        if s.length[row] > 0 and proved < needed[node]:
            return False
        row = s.next_row[row]
    return True


@njit(nogil=True, cache=True)
def _void(s, account, place_of, down, up):  # type: ignore[no-untyped-def]
    row = s.head[account]
    while row >= 0:
        down[place_of[row]], up[place_of[row]] = 0, 0
        row = s.next_row[row]


@njit(nogil=True, cache=True)
def void(s, who, place_of, down, up):  # type: ignore[no-untyped-def]
    """Nothing is proved of these accounts any more, at any underlying."""
    for account in who:
        _void(s, account, place_of, down, up)


@njit(nogil=True, cache=True)
def _signed(s, row, largest, signed, lots):  # type: ignore[no-untyped-def]
    """Fill lines and lots of a row's positions; Σ |lots| · largest."""
    reach = 0.0
    for k in range(s.length[row]):
        slot = s.first[row] + k
        i, q = s.instrument[slot], s.lots[slot]
        signed[k] = 2 * i + (1 if q < 0.0 else 0)
        lots[k] = q
        reach += abs(q) * largest[i]
    return reach


@njit(nogil=True, cache=True)
def _widths(  # type: ignore[no-untyped-def]
    s, account, ends, largest, place_of, down, up, slack, dropped, level, drop, rows, signed, lots,
    sums, vectors,
):  # fmt: skip
    """Give every row its share of the slack, and the widest segments on which it keeps to it; then
    what is left of all shares to whoever can use it, in turn.

    What rows may lose on their segments adds up to the slack at most.
    """
    left, spent, k, row = slack, 0.0, 0, s.head[account]
    while row >= 0:
        if s.length[row] > 0:
            # The last row has what is left, so that shares add up to the slack and not to more.
            share = left
            if k < rows - 1:
                part = drop[k] / dropped if dropped > 0.0 else 1.0 / rows
                share = min(left, np.floor(slack * part))
            left -= share
            place = place_of[row]
            down[place], up[place], loss = _segments(
                s, row, ends, largest, level[k], share, signed, lots, sums, vectors
            )
            drop[k] = loss
            spent += loss
            k += 1
        row = s.next_row[row]
    left, k, row = slack - spent, 0, s.head[account]
    while rows > 1 and left > 0.0 and row >= 0:
        if s.length[row] > 0:
            place = place_of[row]
            if min(down[place], up[place]) < len(ends):
                down[place], up[place], loss = _segments(
                    s, row, ends, largest, level[k], drop[k] + left, signed, lots, sums, vectors
                )
                left -= loss - drop[k]
            k += 1
        row = s.next_row[row]


@njit(nogil=True, cache=True)
def _segments(s, row, ends, largest, level, share, signed, lots, sums, vectors):  # type: ignore[no-untyped-def]
    """The widest classes, down and up, on which a row loses no more than a share; what it loses."""
    _signed(s, row, largest, signed, lots)
    found, loss = (0, 0), 0.0
    for way in range(2):
        for w in range(len(ends) - 1, -1, -1):
            accumulate(ends[w, way], 0, signed, lots, 0, s.length[row], sums, vectors)
            lost = level - (least_of(sums, vectors) - 2.0)
            if lost <= share:
                found = (w + 1, found[1]) if way == 0 else (found[0], w + 1)
                loss = max(loss, lost)
                break
    return found[0], found[1], loss


@njit(nogil=True, cache=True)
def outside(s, rows, down, up, epoch, needed, upward, first, stop, found):  # type: ignore[no-untyped-def]
    """Rows of places [first, stop) that are proved for less than what their epoch needs now."""
    count = 0
    for place in range(first, stop):
        one = epoch[place]
        proved = up[place] if upward[one] else down[place]
        if proved < needed[one] and s.length[rows[place]] > 0:
            found[count] = rows[place]
            count += 1
    return count
