"""Backstop accounts take what has fallen far enough, with its margin or at its bankruptcy price."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from solvent.engine.dealing import leg, premium_of, view_after
from solvent.engine.standing import standing, view
from solvent.engine.state import OPEN, Account, State
from solvent.engine.wound_up import notional_micro
from solvent.errors import Refused
from solvent.margining.closing import BackstopText, LiquidationText
from solvent.messages import commands as c
from solvent.tending.closings import Part, bankrupt, plan_of, residues
from solvent.tending.fills import Fill, after, money_of
from solvent.tending.plans import Plan, Row, row
from solvent.tending.pools import Pool, symbol_of
from solvent.tending.prices import Close, at_mark
from solvent.tending.taking_over import take


def planned(state: State, pool: Pool, closing: LiquidationText) -> Plan | None:
    """The first backstop account that has room and margin for all of a pool takes it; None where
    the pool stands too well for it, or where no account can."""
    text = closing.backstop
    if text is None or not deep_enough(pool, text):
        return None
    with_margin = text.with_margin and pool.found.equity_micro >= 0
    closes = (
        [at_mark(state, pool.seen, state.contracts[number]) for number in pool.seen.positions]
        if with_margin else bankrupt(state, pool, closing)
    )  # fmt: skip
    if not closes:
        return None
    for account in backstops(state):
        if has_room(state, account, closes) and _bears(
            state, account, closes, pool if with_margin else None
        ):
            rows: list[Row] = [
                take(pool, one, abs(one.lots), f"backstop {account.name}", account.name)
                for one in closes
            ]
            parts = [Part(one, (Fill(abs(one.lots), one.ticks),)) for one in closes]
            if with_margin:
                rows += _margin(state, pool, parts, account.name)
            else:
                rows += residues(state, pool, parts, account.name)
            rule = f"a backstop takes what is below {text.below:g} of its maintenance margin"
            plan = plan_of(state, pool, "backstop", rule, rows, funds=False)
            held = {("backstop", account.number)}
            return Plan(**{name: getattr(plan, name) for name in plan.__slots__}
                        | {"touches": plan.touches | held})  # fmt: skip
    return None


def deep_enough(pool: Pool, text: BackstopText) -> bool:
    """Whether a pool's equity is below the share of maintenance margin at which it comes."""
    return pool.found.equity_micro < Fraction(repr(text.below)) * pool.found.maintenance_micro


def backstops(state: State) -> Iterator[Account]:
    """Backstop accounts that may take something, in the order of their numbers."""
    for number, cap in state.backstops.items():
        account = state.account(number)
        if cap > 0 and account.status == OPEN:
            yield account


def has_room(state: State, account: Account, closes: list[Close]) -> bool:
    """Whether all that a backstop would hold is within its cap."""
    held = {number: position.lots for number, position in (account.positions or {}).items()}
    for one in closes:
        held[one.contract.number] = held.get(one.contract.number, 0) + one.lots
    return notional_micro(state, held) <= state.backstops[account.number]


def _bears(state: State, account: Account, closes: list[Close], pool: Pool | None) -> bool:
    """Whether a backstop has the initial margin for all that it would take."""
    seen = view(state, account)
    for one in closes:
        points = one.ticks * one.contract.deal.points_per_tick
        premium = premium_of(one.contract, abs(one.lots), points)
        try:
            mine = leg(state, one.contract, account, lots=one.lots, points=points, premium=premium)
        except Refused:
            return False
        seen = view_after(state, mine, seen)
    if pool is not None:
        for asset in {one.contract.deal.asset for one in closes}:
            own = money_of(state, pool.account, asset, pool.contract)
            left = own + sum(one.brings for one in closes if one.contract.deal.asset == asset)
            seen.balances[asset] = seen.balances.get(asset, 0) + max(0, left)
    found = standing(state, seen)
    return found.known and not found.call


def _margin(state: State, pool: Pool, parts: list[Part], to: str) -> list[Row]:
    """All that a pool has left goes with its positions."""
    seen = pool.seen
    for close, fills in parts:
        seen = after(state, seen, close.contract, fills, buys=not close.long)
    symbol = None if pool.contract is None else symbol_of(state, pool)
    left = seen.balances
    if pool.contract is not None:
        left = {state.contracts[pool.contract].deal.asset: seen.margins[pool.contract]}
    return [
        row(
            "its margin goes with its positions", c.Confiscate, account=pool.account.name,
            asset=state.assets[asset][0], amount=amount, symbol=symbol, to=to,
        )
        for asset, amount in left.items() if amount > 0
    ]  # fmt: skip
