"""The compiled pass over many accounts at once. Importing this module imports numba.

It takes rows, not accounts: of a block of accounts all rows at one underlying after another, the
short ones first. An underlying's risk rows then stay in the nearest caches, and how long the loop
over a row's positions runs is foreseen. A chunk of rows leaves its worst losses and additive sums
beside each other, so that requirements are computed without branches; they are added up by account
in a table of one cache line for two, which a block keeps in the second cache.

All is bit for bit what `compiled.judge` computes account by account.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numba import njit

from solvent.limits import EXACT_MAX
from solvent.risk.compiled import LANES, add_row, will_add, worst_of
from solvent.solvency.compiled import beyond, class_of
from solvent.solvency.rows import MARK

_CHUNK = 64
_MILLION = 1_000_000.0


@njit(nogil=True, cache=True)
def order_of(s, chosen, block):  # type: ignore[no-untyped-def]
    """Rows of chosen accounts by block of accounts, in order of their numbers; each block's edge.

    Counted and then placed: the order inside a block is that of the rows' numbers.
    """
    count = s.used[0]
    edge = np.zeros(-(-len(chosen) // block) + 1, np.int64)
    for row in range(count):
        account = s.account[row]
        edge[account // block + 1] += chosen[account]
    for b in range(1, len(edge)):
        edge[b] += edge[b - 1]
    # One seat more than rows, so that a row that is not chosen is written where nobody looks.
    rows = np.empty(edge[-1] + 1, np.int32)
    seat = edge.copy()
    for row in range(count):
        account = s.account[row]
        b = account // block
        mine = chosen[account]
        rows[seat[b] if mine else edge[-1]] = row
        seat[b] += mine
    return rows[:-1], edge


@njit(nogil=True, cache=True)
def ascends(who):  # type: ignore[no-untyped-def]
    """Whether accounts are in order, each once."""
    fine = True
    for k in range(1, len(who)):
        fine &= who[k] > who[k - 1]
    return fine


@njit(nogil=True, cache=True)
def _needed(least, ppm, gross, count, parts, lane):  # type: ignore[no-untyped-def]
    """parts[k, lane] = the worst loss · ppm / 1e6, up, and half a quantum per lot, up.

    The share is taken in its lowest terms, so that loss · numerator is mostly below 2^53 and exact.
    Its quotient is one off at most and put right by what is left over.
    """
    over, under = _lowest(ppm, 1_000_000)
    most = 0.0
    for k in range(count):
        most = max(most, -least[k])
    if most * over >= EXACT_MAX:
        _needed_far(least, ppm, gross, count, parts, lane)
        return
    if over == under:
        for k in range(count):
            parts[k, lane] = np.int64(max(-least[k], 0.0)) + np.int64(np.ceil(0.5 * gross[k]))
        return
    once = 1.0 / under
    for k in range(count):
        owed = max(-least[k], 0.0) * over
        whole = np.floor(owed * once)
        rest = owed - whole * under
        whole = whole - (1.0 if rest < 0.0 else 0.0)
        rest = rest + (under if rest < 0.0 else 0.0)
        # What is left over is one more, and two more where the quotient was one too small.
        whole = whole + (1.0 if rest > 0.0 else 0.0) + (1.0 if rest > under else 0.0)
        parts[k, lane] = np.int64(whole) + np.int64(np.ceil(0.5 * gross[k]))


@njit(nogil=True, cache=True)
def _lowest(over, under):  # type: ignore[no-untyped-def]
    a, b = over, under
    while b:
        a, b = b, a % b
    return float(over // a), float(under // a)


@njit(nogil=True, cache=True)
def _needed_far(least, ppm, gross, count, parts, lane):  # type: ignore[no-untyped-def]
    """The same of losses whose product leaves the exact range.

    In float64, which vectors can divide: quotients may be one off and are put right by what is
    left over. All products are whole and below 2^53 but `millions · ppm`, which int64 holds.
    """
    for k in range(count):
        loss = max(-least[k], 0.0)
        millions = np.floor(loss * 1e-6)
        rest = loss - millions * _MILLION
        millions = millions - (1.0 if rest < 0.0 else 0.0)
        rest = rest + (_MILLION if rest < 0.0 else 0.0)
        millions = millions + (1.0 if rest >= _MILLION else 0.0)
        rest = rest - (_MILLION if rest >= _MILLION else 0.0)
        share = rest * ppm
        part = np.ceil(share * 1e-6)
        part = part - (1.0 if (part - 1.0) * _MILLION >= share else 0.0)
        part = part + (1.0 if part * _MILLION < share else 0.0)
        hidden = np.int64(np.ceil(0.5 * gross[k]))
        parts[k, lane] = np.int64(millions) * np.int64(ppm) + np.int64(part) + hidden


@cache
def judge(width: int, narrow: int) -> Callable[..., None]:
    """Kernel of `classes.Figures.judge` for accounts of blocks [start, stop), in order.

    `rows`, `edge` are a `holdings.Order`; `who` those accounts whose figures are told, of which
    `seat[b]:seat[b + 1]` are of block b. `largest` [instrument] and `most` [node] are the largest
    numbers in risk rows, without an instrument where no sum can leave the exact range.
    """

    @njit(nogil=True, cache=True)
    def kernel(  # type: ignore[no-untyped-def]
        s, matrix, rows, edge, who, seat, block, largest, most, cash, ratios, at_ms, equity,
        initial, maintenance, unknown, state, close, figures_ms, start, stop,
    ):  # fmt: skip
        # [account of the block] equity, initial, maintenance, and the reach of its sums.
        sums = np.empty((block, 4), np.int64)
        added, least, lesser = np.empty(_CHUNK * LANES), np.empty(_CHUNK), np.empty(_CHUNK)
        gross = np.empty(_CHUNK)
        # [row of the chunk] what it adds to `sums`.
        parts = np.zeros((_CHUNK, 4), np.int64)
        guarded = len(largest) > 0
        for b in range(start, stop):
            sums[:] = 0
            base = b * block
            for first in range(edge[b], edge[b + 1], _CHUNK):
                count = min(_CHUNK, edge[b + 1] - first)
                for k in range(count):
                    row = np.uintp(rows[np.uintp(first + k)])
                    begin = s.first[row]
                    least[k], lesser[k] = worst_of(
                        matrix, s.instrument, s.lots, begin, begin + s.length[row], added, k,
                        width, narrow,
                    )  # fmt: skip
                    gross[k] = s.gross[row]
                    will_add(sums, s.account[row] - base)
                for k in range(count):
                    parts[k, 0] = np.int64(added[k * LANES + MARK])
                _needed(least, ratios[0], gross, count, parts, 1)
                _needed(lesser, ratios[1], gross, count, parts, 2)
                if guarded:
                    _reach(s, rows, first, count, most, parts)
                for k in range(count):
                    # Unsigned, as a signed place would be asked whether it counts from the end.
                    row = np.uintp(rows[np.uintp(first + k)])
                    add_row(sums, s.account[row] - base, parts, k)
            if guarded:
                _check(s, largest, who, seat[b], seat[b + 1], base, sums, unknown)
            told = seat[b + 1] - seat[b]
            if told == min(block, len(cash) - base) and not guarded:
                _tell_block(
                    base, told, sums, cash, at_ms, equity, initial, maintenance, unknown, state,
                    close, figures_ms,
                )  # fmt: skip
                continue
            _tell(
                who, seat[b], seat[b + 1], base, sums, cash, at_ms, guarded, equity, initial,
                maintenance, unknown, state, close, figures_ms,
            )  # fmt: skip

    return kernel  # type: ignore[no-any-return]


@njit(nogil=True, cache=True)
def _reach(s, rows, first, count, most, parts):  # type: ignore[no-untyped-def]
    """What rows' sums can be at most, in millionths of the exact range, rounded up."""
    for k in range(count):
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


@njit(nogil=True, cache=True)
def _tell_block(  # type: ignore[no-untyped-def]
    base, count, sums, cash, at_ms, equity, initial, maintenance, unknown, state, close, figures_ms
):  # fmt: skip
    """`_tell` of everybody in a block, none of whom is unknown, without asking who is next."""
    end = base + count
    mine, needed, least = equity[base:end], initial[base:end], maintenance[base:end]
    states, levels, owned = state[base:end], close[base:end], cash[base:end]
    for k in range(count):
        mine[k], needed[k], least[k] = owned[k] + sums[k, 0], sums[k, 1], sums[k, 2]
        states[k], levels[k] = class_of(mine[k], needed[k], least[k], False)
    unknown[base:end] = False
    figures_ms[base:end] = at_ms
