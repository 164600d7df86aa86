"""The compiled loops of the watch. Importing this module imports numba.

Every number that is added is an integer below 2^53, so the order of adding changes no bit.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numba import njit

from solvent.limits import EXACT_MAX, LOTS_MAX
from solvent.risk.compiled import LANES, accumulate, least_of
from solvent.solvency.holdings import (
    DONE,
    LOST_PLACES,
    LOST_SLOTS,
    NEED_PLACES,
    NEED_ROWS,
    NEED_SLOTS,
    PLACES,
    ROWS,
    SLOTS,
    TOO_LARGE,
)

NEAR = (5, 10)
"""Levels of closeness: (equity − maintenance) below one fifth, and below one tenth, of equity."""


@njit(nogil=True, cache=True)
def find_row(s, account, node):  # type: ignore[no-untyped-def]
    """The row of an account at a node, −1 for none."""
    row = s.head[account]
    while row >= 0 and s.node[row] != node:
        row = s.next_row[row]
    return row


@njit(nogil=True, cache=True)
def trade(s, account, instrument, lots, before, start):  # type: ignore[no-untyped-def]
    """Kernel of `Holdings.trade` from trade `start` on: (trades done, what is needed to go on)."""
    for t in range(start, len(lots)):
        a, i, q = account[t], instrument[t], lots[t]
        row = find_row(s, a, s.node_of[i])
        slot = -1
        if row >= 0:
            for k in range(s.first[row], s.first[row] + s.length[row]):
                if s.instrument[k] == i:
                    slot = k
                    break
        before[t] = s.lots[slot] if slot >= 0 else 0.0
        after = before[t] + q
        gross = (s.gross[row] if row >= 0 else 0.0) + abs(after) - abs(before[t])
        if abs(after) > LOTS_MAX or gross >= EXACT_MAX:
            return t, TOO_LARGE
        if slot < 0 and after != 0.0:
            need = _room(s, row, i)
            if need != DONE:
                return t, need
            row = _open(s, row, a, i, after)
        elif slot >= 0 and after != 0.0:
            s.lots[slot] = after
        elif slot >= 0:
            _close(s, row, i, slot)
        if row >= 0:
            s.gross[row] = gross
    return len(lots), DONE


@njit(nogil=True, cache=True)
def _room(s, row, i):  # type: ignore[no-untyped-def]
    """Whether one more position fits; nothing is changed before all of it does."""
    if row < 0 and s.used[ROWS] == len(s.account):
        return NEED_ROWS
    count = s.length[row] if row >= 0 else 0
    room = s.room[row] if row >= 0 else 0
    if count == room and s.used[SLOTS] + 2 * room + 2 > len(s.instrument):
        return NEED_SLOTS
    if s.held_count[i] == s.held_room[i] and (s.used[PLACES] + 2 * s.held_room[i] + 2 > len(s.row)):
        return NEED_PLACES
    return DONE


@njit(nogil=True, cache=True)
def _open(s, row, a, i, q):  # type: ignore[no-untyped-def]
    if row < 0:
        row = s.used[ROWS]
        s.used[ROWS] += 1
        s.account[row], s.node[row] = a, s.node_of[i]
        s.next_row[row], s.head[a] = s.head[a], row
        s.first[row], s.length[row], s.room[row], s.gross[row] = 0, 0, 0, 0.0
    if s.length[row] == s.room[row]:
        _move_run(s, row)
    if s.held_count[i] == s.held_room[i]:
        _move_holders(s, i)
    slot, place = s.first[row] + s.length[row], s.held_first[i] + s.held_count[i]
    s.instrument[slot], s.lots[slot], s.place[slot] = i, q, place
    s.row[place], s.slot[place] = row, slot
    s.length[row] += 1
    s.held_count[i] += 1
    return row


@njit(nogil=True, cache=True)
def _move_run(s, row):  # type: ignore[no-untyped-def]
    start, end = s.first[row], s.used[SLOTS]
    for k in range(s.length[row]):
        old, new = start + k, end + k
        s.instrument[new], s.lots[new], s.place[new] = s.instrument[old], s.lots[old], s.place[old]
        s.slot[s.place[old]] = new
    s.used[LOST_SLOTS] += s.room[row]
    s.room[row] = 2 * s.room[row] + 2
    s.first[row] = end
    s.used[SLOTS] = end + s.room[row]


@njit(nogil=True, cache=True)
def _move_holders(s, i):  # type: ignore[no-untyped-def]
    start, end = s.held_first[i], s.used[PLACES]
    for k in range(s.held_count[i]):
        old, new = start + k, end + k
        s.row[new], s.slot[new] = s.row[old], s.slot[old]
        s.place[s.slot[old]] = new
    s.used[LOST_PLACES] += s.held_room[i]
    s.held_room[i] = 2 * s.held_room[i] + 2
    s.held_first[i] = end
    s.used[PLACES] = end + s.held_room[i]


@njit(nogil=True, cache=True)
def _close(s, row, i, slot):  # type: ignore[no-untyped-def]
    """Take a position away: the last of each run takes its seat."""
    place = s.place[slot]
    last = s.first[row] + s.length[row] - 1
    s.instrument[slot], s.lots[slot], s.place[slot] = (
        s.instrument[last], s.lots[last], s.place[last],
    )  # fmt: skip
    s.slot[s.place[slot]] = slot
    s.length[row] -= 1
    end = s.held_first[i] + s.held_count[i] - 1
    s.row[place], s.slot[place] = s.row[end], s.slot[end]
    # Where the two are one seat, the place that was taken away says nothing any more.
    if place != end:
        s.place[s.slot[place]] = place
    s.held_count[i] -= 1


@njit(nogil=True, cache=True)
def fullest(s, who):  # type: ignore[no-untyped-def]
    """The most gross lots in a row of some accounts, and the most rows that one of them has."""
    gross, longest = 0.0, 0
    for account in who:
        count, row = 0, s.head[account]
        while row >= 0:
            gross = max(gross, s.gross[row])
            count, row = count + 1, s.next_row[row]
        longest = max(longest, count)
    return gross, longest


@njit(nogil=True, cache=True)
def quantised_rows(worth, unit, steady, usable, delta, wide, rows, largest):  # type: ignore[no-untyped-def]
    """Kernel of `rows.exact_rows`: values [i, scenario and no move] to whole quanta, half-even.

    `unit` has a column, or one each. A row of zeros whose largest is infinite has no numbers.
    """
    count = worth.shape[1] - 1
    for i in range(len(worth)):
        row, per = rows[i], unit[i]
        mark = worth[i, count] * per[len(per) - 1]
        most = max(abs(np.rint(mark)), abs(np.rint(delta[i])))
        # Added to 0.0: no negative zero, so equal integers have equal bits.
        row[wide], row[wide + 1] = np.rint(mark) + 0.0, np.rint(delta[i]) + 0.0
        sound = np.isfinite(mark) and np.isfinite(delta[i])
        for s in range(count):
            value = worth[i, s] * (per[s] if len(per) > 1 else per[0])
            gain = 0.0 if steady[i] else np.rint(value - mark) + 0.0
            row[s] = gain
            most = max(most, abs(gain))
            sound = sound and np.isfinite(gain)
        for s in range(count, wide):
            row[s] = row[0]
        if usable[i] and sound and most < EXACT_MAX:
            largest[i] = most + 1.0
        else:
            row[:] = 0.0
            largest[i] = np.inf


# ── verdicts ─────────────────────────────────────────────────────────────────────────────────


_MILLION = np.uint64(1_000_000)
_ALMOST = np.uint64(999_999)


@njit(nogil=True, cache=True)
def part_up(loss, ppm):  # type: ignore[no-untyped-def]
    """loss · ppm / 1e6 rounded up, of a whole loss that is not negative; inside 64 bits.

    Unsigned, as dividing by a constant then is one multiplication.
    """
    whole, share = np.uint64(loss), np.uint64(ppm)
    millions = whole // _MILLION
    rest = (whole - millions * _MILLION) * share + _ALMOST
    return np.int64(millions * share + rest // _MILLION)


@njit(nogil=True, cache=True)
def class_of(equity, initial, maintenance, unknown):  # type: ignore[no-untyped-def]
    """`classes.State` of figures, and the levels of closeness that they passed."""
    # Chosen, not branched: which state comes next cannot be foreseen.
    room = equity - maintenance
    level = (1 if room * NEAR[0] < equity else 0) + (1 if room * NEAR[1] < equity else 0)
    level = 2 if room < 0 else level
    state = 1 if level > 0 else 0
    state = 2 if equity < initial else state
    state = 3 if room < 0 else state
    return (4 if unknown else state), (0 if unknown else level)


@cache
def judge(width: int, narrow: int) -> Callable[..., None]:
    """Kernel of `classes.Figures.judge`: `width` vectors of scenarios, maintenance reads `narrow`.

    `kept` is read where it has rows; else the sums are made anew from `matrix`.
    """
    whole = width + 1
    mark = width * LANES

    @njit(nogil=True, cache=True)
    def kernel(  # type: ignore[no-untyped-def]
        s, matrix, kept, cash, ratios, who, at_ms, equity, initial, maintenance, unknown, state,
        close, figures_ms, start, stop,
    ):  # fmt: skip
        sums = np.empty(whole * LANES)
        initial_ppm, maintenance_ppm = ratios
        lean = len(kept) == 0
        for at in range(start, stop):
            account = who[at]
            worth, needed, least_needed = 0.0, 0, 0
            row = s.head[account]
            while row >= 0:
                held = s.length[row]
                if held > 0:
                    # One name for both vectors would be counted up and down at every row.
                    if lean:
                        first = s.first[row]
                        accumulate(
                            matrix, 0, s.instrument, s.lots, first, first + held, sums, whole
                        )
                        worth += sums[mark]
                        loss = max(-least_of(sums, width), 0.0)
                        lesser = loss if narrow == width else max(-least_of(sums, narrow), 0.0)
                    else:
                        vector = kept[row]
                        worth += vector[mark]
                        loss = max(-least_of(vector, width), 0.0)
                        lesser = loss if narrow == width else max(-least_of(vector, narrow), 0.0)
                    hidden = np.int64(np.ceil(0.5 * s.gross[row]))
                    needed += part_up(loss, initial_ppm) + hidden
                    least_needed += part_up(lesser, maintenance_ppm) + hidden
                row = s.next_row[row]
            worth = 0.0 if unknown[account] else worth
            owned = cash[account] + np.int64(worth)
            if unknown[account]:
                owned, needed, least_needed = 0, 0, 0
            equity[account], initial[account], maintenance[account] = owned, needed, least_needed
            state[account], close[account] = class_of(owned, needed, least_needed, unknown[account])
            figures_ms[account] = at_ms

    return kernel  # type: ignore[no-any-return]


@njit(nogil=True, cache=True)
def beyond(s, largest, who, unknown):  # type: ignore[no-untyped-def]
    """unknown[account] of `who`: Σ |lots| · largest may leave the exact range, or is infinite."""
    for account in who:
        reach = 0.0
        row = s.head[account]
        while row >= 0:
            for slot in range(s.first[row], s.first[row] + s.length[row]):
                reach += abs(s.lots[slot]) * largest[s.instrument[slot]]
            row = s.next_row[row]
        # The bound is a sum of floats itself: its rounding is far below the room left unused.
        unknown[account] = not reach < 0.99 * EXACT_MAX


@njit(nogil=True, cache=True)
def tally(s, who, sign, books, state, equity, initial, maintenance, counts, by_node, high, low):  # type: ignore[no-untyped-def]
    """Add (`sign` 1) or take away (−1) accounts in the counts and totals of their state.

    Sums are held in two parts, so that a million accounts' money does not leave int64.
    """
    for account in who:
        one, book = state[account], books[account]
        counts[book, one] += sign
        row = s.head[account]
        while row >= 0:
            if s.length[row] > 0:
                by_node[s.node[row], one] += sign
            row = s.next_row[row]
        if one != 4:
            short = max(-equity[account], 0)
            amounts = (equity[account], initial[account], maintenance[account], short)
            for k in range(4):
                high[book, one, k] += sign * (amounts[k] >> 32)
                low[book, one, k] += sign * (amounts[k] & 0xFFFFFFFF)


# ── vectors that are kept ────────────────────────────────────────────────────────────────────


@njit(nogil=True, cache=True)
def add_changed(s, changed, before, after, kept, marked, touched):  # type: ignore[no-untyped-def]
    """kept[row] += lots · (after − before) of every holder; how many accounts were touched.

    `touched` takes their numbers, `marked` is set for them.
    """
    found = 0
    step = np.empty(before.shape[1])
    for k in range(len(changed)):
        i = changed[k]
        for c in range(len(step)):
            step[c] = after[k, c] - before[k, c]
        for place in range(s.held_first[i], s.held_first[i] + s.held_count[i]):
            row, lots = s.row[place], s.lots[s.slot[place]]
            vector = kept[row]
            for c in range(len(step)):
                vector[c] += lots * step[c]
            account = s.account[row]
            if not marked[account]:
                marked[account] = True
                touched[found] = account
                found += 1
    return found


@njit(nogil=True, cache=True)
def holders(s, instruments, marked, touched):  # type: ignore[no-untyped-def]
    """The accounts that hold any of these, each once: as `add_changed` tells them."""
    found = 0
    for i in instruments:
        for place in range(s.held_first[i], s.held_first[i] + s.held_count[i]):
            account = s.account[s.row[place]]
            if not marked[account]:
                marked[account] = True
                touched[found] = account
                found += 1
    return found


@njit(nogil=True, cache=True)
def pay(s, instrument, quanta, cash):  # type: ignore[no-untyped-def]
    """cash[account] −= lots · quanta of every holder."""
    for place in range(
        s.held_first[instrument], s.held_first[instrument] + s.held_count[instrument]
    ):
        cash[s.account[s.row[place]]] -= np.int64(s.lots[s.slot[place]]) * quanta


@njit(nogil=True, cache=True)
def add_trades(s, account, instrument, lots, matrix, kept):  # type: ignore[no-untyped-def]
    """kept[row] += lots · matrix[instrument] of trades that are done."""
    for t in range(len(lots)):
        row = find_row(s, account[t], s.node_of[instrument[t]])
        if row >= 0:
            vector, cells = kept[row], matrix[instrument[t]]
            for c in range(len(cells)):
                vector[c] += lots[t] * cells[c]


@njit(nogil=True, cache=True)
def fill(s, rows, matrix, kept):  # type: ignore[no-untyped-def]
    """Every row's vector from nothing."""
    for row in range(rows):
        kept[row] = 0.0
        for slot in range(s.first[row], s.first[row] + s.length[row]):
            cells = matrix[s.instrument[slot]]
            for c in range(len(cells)):
                kept[row, c] += s.lots[slot] * cells[c]


# ── who, and what they hold together ─────────────────────────────────────────────────────────


@njit(nogil=True, cache=True)
def owners(s, rows, marked, touched, start):  # type: ignore[no-untyped-def]
    """Accounts of rows, each once, appended from `start` on; where they end."""
    found = start
    for row in rows:
        account = s.account[row]
        if not marked[account]:
            marked[account] = True
            touched[found] = account
            found += 1
    return found


@njit(nogil=True, cache=True)
def net_lots(s, who, net, gross):  # type: ignore[no-untyped-def]
    """net[instrument] += lots and gross[instrument] += |lots| of some accounts."""
    for account in who:
        row = s.head[account]
        while row >= 0:
            for slot in range(s.first[row], s.first[row] + s.length[row]):
                net[s.instrument[slot]] += s.lots[slot]
                gross[s.instrument[slot]] += abs(s.lots[slot])
            row = s.next_row[row]
