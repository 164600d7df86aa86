"""How much the insurance fund has had of late: what a drawdown is measured from."""

from __future__ import annotations

from collections import deque
from typing import Final

from solvent.account.ledger import GENERAL, INSURANCE, node
from solvent.engine.state import State
from solvent.margining.closing import FundText
from solvent.units import MINUTE_MS

_HOUR_MS: Final = 60 * MINUTE_MS
HOURS_MAX: Final = 1_000
"""Hours of which the highest is kept."""


def note_highs(state: State) -> None:
    """Note what the fund has now, hour by hour, and forget what is older than the window."""
    hour = state.log.time_ms // _HOUR_MS
    earliest = hour - min(window_of(state).window_ms // _HOUR_MS, HOURS_MAX - 1)
    for asset in range(len(state.assets)):
        there = state.ledger.balance(node(INSURANCE, GENERAL, asset))
        seen = state.fund_highs.get(asset)
        if seen is None:
            if not there:
                continue
            seen = state.fund_highs[asset] = deque()
        if seen and seen[-1][0] == hour:
            there = max(there, seen.pop()[1])
        seen.append((hour, there))
        while seen[0][0] < earliest:
            seen.popleft()


def window_of(state: State) -> FundText:
    """The terms of the venue's fund; the default before it has a rulebook."""
    rules = state.rules.get(state.venue_rulebook)
    return FundText() if rules is None else rules.closing.fund


def fund_high(state: State, asset: int) -> int:
    """The most that the fund has had of an asset in its window, in whole hours; what it has now
    counted in."""
    hour = state.log.time_ms // _HOUR_MS
    earliest = hour - min(window_of(state).window_ms // _HOUR_MS, HOURS_MAX - 1)
    seen = state.fund_highs.get(asset, ())
    there = state.ledger.balance(node(INSURANCE, GENERAL, asset))
    return max([there, *(most for at, most in seen if at >= earliest)])
