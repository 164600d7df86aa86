"""What every stage needs that takes positions at bankruptcy prices, and plans of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from solvent.engine.standing import View, standings
from solvent.engine.state import Account, State
from solvent.engine.wound_up import target_gap, target_reached
from solvent.margining.closing import LiquidationText
from solvent.messages import commands as c
from solvent.tending.fills import Ask, Fill, after, fewest, money_of
from solvent.tending.looked import Looked
from solvent.tending.plans import Plan, Row, row
from solvent.tending.pools import Pool, concerned, done, pools_of, symbol_of
from solvent.tending.prices import Close, at_bankruptcy, bounded, total_of

TOGETHER: Final = 63
"""Further accounts whose searches are made with the first's."""


class Part(NamedTuple):
    """Lots of one position that go at one price, one trade after the other."""

    close: Close
    fills: tuple[Fill, ...]


def bankrupt(state: State, pool: Pool, closing: LiquidationText) -> list[Close]:
    """All of a pool's positions at the prices that leave it nothing; what gains who takes it comes
    first.

    Where that is further from the mark than a step may trade, the account keeps what is beyond; and
    then one position alone, the largest, as one looks again after the fewest lots of it.
    """
    numbers = {state.contracts[number].deal.asset for number in pool.seen.positions}
    money = [
        (asset, money_of(state, pool.account, asset, pool.contract)) for asset in sorted(numbers)
    ]
    slippage = closing.reduce.slippage
    found = [
        bounded(state, pool.seen, one, slippage) for one in at_bankruptcy(state, pool.seen, money)
    ]
    if any(one.bounded for one in found):
        return [max(found, key=lambda one: total_of(one) if one.bounded else -1)]
    return sorted(found, key=lambda one: -one.below_mark)


def enough(
    state: State, pool: Pool, closing: LiquidationText, one: Close, looked: Looked | None = None
) -> int:
    """Lots of a close that have to go: all, or of one whose price is bounded the fewest after which
    the pool is at its target."""
    if not one.bounded:
        return abs(one.lots)
    if looked is None:
        return fewest(state, [_ask(state, pool, closing, one)])[0] or abs(one.lots)
    key = pool.number, one.contract.number, one.lots, one.ticks
    mine = looked.fewest.get(pool.account.number)
    if mine is None or key not in mine:
        _foresee(state, [pool.account, *looked.next_ones(TOGETHER)], looked)
        mine = looked.fewest.setdefault(pool.account.number, {})
        if key not in mine:
            mine[key] = fewest(state, [_ask(state, pool, closing, one)])[0] or abs(one.lots)
    return mine[key]


def _ask(state: State, pool: Pool, closing: LiquidationText, one: Close) -> Ask:
    return Ask(
        abs(one.lots),
        lambda lots: after(state, pool.seen, one.contract, (Fill(lots, one.ticks),),
                           buys=not one.long),
        lambda _, stands: stands.known and target_reached(stands, closing.reduce),
        gap=lambda stands: target_gap(stands, closing.reduce), start=pool.found,
    )  # fmt: skip


def _foresee(state: State, accounts: Sequence[Account], looked: Looked) -> None:
    """The same searches for accounts whose turn comes next: many at once cost little more."""
    keys, asks = [], []
    for pools in pools_of(state, accounts):
        for pool in pools:
            looked.fewest.setdefault(pool.account.number, {})
            if not pool.found.known or not concerned(state, pool) or done(state, pool):
                continue
            closing = state.rules[pool.account.rulebook].closing
            for one in bankrupt(state, pool, closing):
                if one.bounded:
                    keys.append((pool, one))
                    asks.append(_ask(state, pool, closing, one))
    for (pool, one), lots in zip(keys, fewest(state, asks), strict=True):
        key = pool.number, one.contract.number, one.lots, one.ticks
        looked.fewest[pool.account.number][key] = lots or abs(one.lots)


def needed(
    state: State, pool: Pool, closing: LiquidationText, parts: Sequence[Part]
) -> int:  # fmt: skip
    """How many trades of parts, one after the other, come before the pool is at its target: those
    beyond would be refused. All of them where it is not before the last."""
    seen, views = pool.seen, list[View]()
    for close, fills in parts:
        mine = [
            after(state, seen, close.contract, fills[:count], buys=not close.long)
            for count in range(1, len(fills) + 1)
        ]
        seen = mine[-1]
        views += mine
    if len(views) == 1:
        return 1
    # What the next look at the account asks for is found with them: the last, and what is left of a
    # margin when its residue has gone.
    ends = views[-1:]
    if pool.contract is not None and not seen.positions:
        ends.append(View(pool.account, {}, {}, {pool.contract: 0}, [], seen.modes))
    found = standings(state, views[:-1] + ends)
    for count, stands in enumerate(found[: len(views) - 1], 1):
        if stands.known and target_reached(stands, closing.reduce):
            return count
    return len(views)


def residues(state: State, pool: Pool, parts: Sequence[Part], to: str | None = None) -> list[Row]:
    """What roundings of prices leave once all of a pool is closed: to the insurance fund, or to who
    has taken the positions. At most a tick a lot: what an account has beyond that is its own."""
    seen = pool.seen
    most: dict[int, int] = {}
    if any(close.bounded for close, _ in parts):
        return []
    for close, fills in parts:
        contract, deal = close.contract, close.contract.deal
        seen = after(state, seen, contract, fills, buys=not close.long)
        worse = close.ticks - 1 if close.long else close.ticks + 1
        points = worse * deal.points_per_tick
        tick = abs(deal.money(deal.value(close.lots, close.ticks * deal.points_per_tick)))
        tick = abs(tick - abs(deal.money(deal.value(close.lots, points))))
        most[deal.asset] = most.get(deal.asset, 0) + int(tick) + 1
    if seen.positions:
        return []
    rows = []
    for asset, bound in most.items():
        own = seen.balances if pool.contract is None else {asset: seen.margins[pool.contract]}
        amount = min(own.get(asset, 0), bound)
        if amount > 0:
            symbol = None if pool.contract is None else symbol_of(state, pool)
            rows.append(
                row(
                    f"what the rounding of prices leaves, {amount:,} units",
                    c.Confiscate, account=pool.account.name, asset=state.assets[asset][0],
                    amount=amount, symbol=symbol, to=to,
                )
            )  # fmt: skip
    return rows


def plan_of(
    state: State, pool: Pool, stage: str, rule: str, rows: Sequence[Row], *, funds: bool
) -> Plan:
    """A plan about a pool; it uses its contracts, and with `funds` what they settle in."""
    touches = {("contract", number) for number in pool.seen.positions}
    touches |= {("contract", number) for number in _traded(state, rows)}
    if funds:
        assets = {state.contracts[number].deal.asset for number in pool.seen.positions}
        touches |= {("fund", asset) for asset in assets}
    return Plan(
        account=pool.account.name, stage=stage, rule=rule, rows=tuple(rows),
        pool=symbol_of(state, pool), equity_micro=pool.found.equity_micro,
        maintenance_micro=pool.found.maintenance_micro, touches=frozenset(touches),
    )  # fmt: skip


def _traded(state: State, rows: Sequence[Row]) -> list[int]:
    symbols = [getattr(one.command, "symbol", None) for one in rows]
    return [state.contract_numbers[symbol] for symbol in symbols if symbol is not None]
