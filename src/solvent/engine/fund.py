"""The insurance fund: what it is worth at the marks, and how much it has had of late, which a
drawdown is measured from."""

from __future__ import annotations

import math
from collections import deque
from typing import Final

from solvent.account.ledger import GENERAL, INSURANCE, node
from solvent.engine.dealing import Leg
from solvent.engine.state import Account, State
from solvent.errors import Refused, Reject
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


def unrealised(state: State, account: Account, asset: int) -> int:
    """Gains (losses negative) at the marks of all that an account holds and that settles in an
    asset: of an option what it is worth. Smallest units, each rounded down."""
    total = 0
    for number, position in (account.positions or {}).items():
        contract = state.contracts[number]
        deal = contract.deal
        if deal.asset == asset and contract.mark_points is not None:
            value = deal.value(position.lots, contract.mark_points)
            total += math.floor(deal.money(value - position.basis_value))
    return total


def fund_worth(state: State, asset: int) -> int:
    """What the shared fund would hold if it sold all that it has at the marks."""
    there = state.ledger.balance(node(INSURANCE, GENERAL, asset))
    return there + unrealised(state, state.account(INSURANCE), asset)


def check_fund_bears(state: State, one: Leg) -> None:
    """Refuse a position that leaves the fund owing at the marks, unless it owes no more by it."""
    contract, deal = one.contract, one.contract.deal
    mark = contract.mark_points or 0
    was, now = (
        math.floor(deal.money(deal.value(lots, mark) - basis))
        for lots, basis in (
            (one.before_lots, one.before_basis), (one.change.lots, one.change.basis_value)
        )
    )  # fmt: skip
    before = fund_worth(state, deal.asset)
    after = before + one.general + now - was
    if after < min(0, before):
        raise Refused(
            Reject.FUND_INSUFFICIENT,
            f"insurance fund: expected to owe nothing at the marks after {deal.symbol}, found "
            f"{-after}",
        )
