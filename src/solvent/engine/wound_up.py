"""Which part of an account is being wound up, and whether it is well again.

An account is one pool, or several: all that it holds together (`CROSS`) and each contract that its
rulebook margins by itself. Liquidation touches a pool that was found to be below maintenance, until
the rulebook's target is reached, and no other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

from solvent.engine import contract_rules
from solvent.engine.margined import isolates_positions
from solvent.engine.refusal import check_known
from solvent.engine.standing import View, standing, standings, view
from solvent.engine.state import CROSS, Account, Case, Contract, Standing, State
from solvent.errors import Refused, Reject
from solvent.liquidation.calls import BELOW_ALL, distance
from solvent.margining.closing import ReduceText
from solvent.units import DOLLARS

_DOLLAR_NANO = 10**9


def pool_of(state: State, account: Account, number: int) -> int:
    """The pool of a contract: its own number, or `CROSS`."""
    if not account.isolates(number):
        return CROSS
    by_itself = state.house.contract is not None
    return number if by_itself or isolates_positions(state.rules[account.rulebook]) else CROSS


def pool_view(state: State, account: Account, pool: int) -> View:
    """One pool of an account, as if there were nothing else of it."""
    seen = view(state, account)
    mine = {n: one for n, one in seen.positions.items() if pool_of(state, account, n) == pool}
    if pool == CROSS:
        margins = {n: one for n, one in seen.margins.items() if n in mine}
        return View(
            account, mine, seen.balances, margins, seen.orders, seen.modes, seen.sides
        )  # fmt: skip
    modes = {pool: seen.modes[pool]}
    return View(account, mine, {}, {pool: seen.margins.get(pool, 0)}, [], modes)


def pools_held(state: State, account: Account) -> list[int]:
    """`CROSS`, and each contract that an account holds by itself, by number."""
    held = sorted(account.positions or ())
    return list(dict.fromkeys([CROSS, *(pool_of(state, account, number) for number in held)]))


def pools_below(state: State, account: Account) -> list[int]:
    """Pools that are below maintenance, `CROSS` first; of one that is, at least one is."""
    held = sorted(account.positions or ())
    if state.house.contract is not None:
        low = [number for number in held if _distressed(state, account, number)]
        together = any(not account.isolates(number) for number in low)
        return [CROSS] * together + low
    pools = pools_held(state, account)
    if len(pools) == 1:
        return pools
    found = standings(state, [pool_view(state, account, pool) for pool in pools])
    low = [pool for pool, one in zip(pools, found, strict=True) if one.liquidate]
    return low or [CROSS]


def _distressed(state: State, account: Account, number: int) -> bool:
    """What is not known of a contract is nothing against it."""
    try:
        return contract_rules.distressed(state, account, state.contracts[number])
    except Refused:
        return False


class Pooled(NamedTuple):
    """A pool of an account and where it stands."""

    pool: int
    seen: View
    found: Standing


def nearest(state: State, accounts: Sequence[Account]) -> list[Pooled]:
    """Of each account the pool that is nearest to liquidation, of equals the first; assessed
    together. Not known where that is not known of one of its pools."""
    parts = [_pools_seen(state, account) for account in accounts]
    found = iter(standings(state, [seen for mine in parts for _, seen in mine]))
    told = []
    for mine in parts:
        pooled = [Pooled(pool, seen, next(found)) for pool, seen in mine]
        told.append(min(pooled, key=_nearness) if len(pooled) > 1 else pooled[0])
    return told


def _pools_seen(state: State, account: Account) -> list[tuple[int, View]]:
    pools = [CROSS] if state.house.contract is not None else pools_held(state, account)
    if len(pools) == 1:
        return [(CROSS, view(state, account))]
    return [(pool, pool_view(state, account, pool)) for pool in pools]


def _nearness(one: Pooled) -> Fraction:
    """What is not known comes before anything else."""
    if not one.found.known:
        return BELOW_ALL - 1
    credit = one.found.credit_micro
    return distance(one.found.equity_micro + credit, one.found.maintenance_micro + credit)


def target_reached(found: Standing, told: ReduceText) -> bool:
    """Whether a liquidation by these rules goes no further.

    >>> stands = Standing(1_000, 1_500, 900, True, True, False)
    >>> [target_reached(stands, ReduceText(target=one)) for one in ("maintenance", "initial")]
    [True, False]
    >>> target_reached(stands, ReduceText(target="buffer", buffer=0.1))
    True
    """
    if found.liquidate or told.target == "flat":
        return False
    return told.target == "maintenance" or target_gap(found, told) >= 0


def target_gap(found: Standing, told: ReduceText) -> int:
    """Equity beyond what the target asks for, below 0 where it is short; micro.

    >>> target_gap(Standing(1_000, 1_500, 901, True, True, False), ReduceText(target="initial"))
    -500
    """
    wanted = found.maintenance_micro
    if told.target == "initial":
        wanted = found.initial_micro
    elif told.target == "buffer":
        wanted = math.ceil(wanted * (1 + Fraction(repr(told.buffer))))
    return found.equity_micro - wanted


def case_of(state: State, account: Account) -> Case:
    """The liquidation of an account that is under one."""
    return state.cases[account.number]


def check_short(state: State, account: Account, pool: int) -> None:
    """Refuse a step for a pool that is not being wound up, or has reached its target; or of which
    it is not known how it stands."""
    if state.decided or state.house.contract is not None:
        return
    found = standing(state, pool_view(state, account, pool))
    check_known(account, found)
    told = state.rules[account.rulebook].closing.reduce
    begun = pool in case_of(state, account).pools
    if (not begun and not found.liquidate) or target_reached(found, told):
        raise Refused(
            Reject.TARGET_REACHED,
            f"account {account.name}, {_pool_name(state, pool)}: expected it short of its target "
            f"({told.target}), found equity of {found.equity_micro} micro and a maintenance margin "
            f"of {found.maintenance_micro}",
        )


def check_contract_short(state: State, account: Account, contract: Contract) -> int:
    """The same for a contract: its pool. Where contracts are ruled by themselves each is one, and
    one that was below maintenance is closed down."""
    pool = pool_of(state, account, contract.number)
    if state.house.contract is None:
        check_short(state, account, pool)
        return pool
    begun = state.decided or contract.number in case_of(state, account).pools
    if not begun and not contract_rules.distressed(state, account, contract):
        raise Refused(
            Reject.TARGET_REACHED,
            f"account {account.name}, {contract.listing.symbol}: expected a contract below its "
            "maintenance margin",
        )
    return contract.number


def step(
    state: State, account: Account, contract: Contract, pool: int, *, cools: bool = False
) -> None:
    """Note that a contract was reduced; `cools`: the next such step in it has to wait."""
    case, now_ms = case_of(state, account), state.log.time_ms
    case.stepped_ms = now_ms
    case.steps += 1
    if cools:
        case.stepped[contract.number] = now_ms
    touch(state, account, pool)


def touch(state: State, account: Account, pool: int) -> None:
    """Note that a pool is being wound up."""
    case = case_of(state, account)
    if pool not in case.pools:
        case.pools.append(pool)
        if state.house.contract is not None and not account.isolates(pool):
            touch(state, account, CROSS)


def check_cooled(state: State, account: Account, contract: Contract) -> None:
    """Refuse a step that comes too soon after the last in the same contract."""
    cooldown_ms = state.rules[account.rulebook].closing.reduce.cooldown_ms
    last_ms = case_of(state, account).stepped.get(contract.number)
    if last_ms is not None and state.log.time_ms < last_ms + cooldown_ms:
        raise Refused(
            Reject.COOLDOWN,
            f"account {account.name}, {contract.listing.symbol}: expected a time from "
            f"{last_ms + cooldown_ms}, found {state.log.time_ms}",
        )


def check_pool_below(state: State, account: Account, pool: int) -> None:
    """Refuse to take what belongs to a pool that was never below maintenance."""
    if pool not in case_of(state, account).pools:
        raise Refused(
            Reject.ACCOUNT_NOT_LIQUIDATABLE,
            f"account {account.name}, {_pool_name(state, pool)}: expected what was below its "
            "maintenance margin",
        )


def _pool_name(state: State, pool: int) -> str:
    return "cross" if pool == CROSS else state.contracts[pool].listing.symbol


def index_nano(state: State, asset: int, *, fresh: bool) -> int:
    """Billionths of a dollar for a unit of an asset, by its index; a dollar is a dollar where there
    is none. Refuses where none is known, or (`fresh`) where it is older than arrays may be."""
    name = state.assets[asset][0]
    known = state.underlyings.get(name)
    if known is None:
        if name in DOLLARS:
            return _DOLLAR_NANO
        raise Refused(Reject.PRICES_INCOMPLETE, f"asset {name}: expected an index price")
    age_ms = state.log.time_ms - known.seen[-1][0]
    if fresh and age_ms > state.house.age_ms_max:
        raise Refused(
            Reject.PRICES_INCOMPLETE,
            f"asset {name}: expected an index of at most {state.house.age_ms_max} ms, found one of "
            f"{age_ms} ms",
        )
    return known.price_nano


def notional_micro(state: State, held: dict[int, int]) -> int:
    """What positions (contract → lots) stand for at their marks, in millionths of a dollar, rounded
    up. Refuses where a price is missing."""
    total = Fraction(0)
    for number, lots in held.items():
        contract = state.contracts[number]
        deal, index = contract.deal, state.underlyings.get(contract.deal.underlying)
        needs_index = deal.up_front and not deal.inverse
        if contract.mark_points is None or (needs_index and index is None):
            raise Refused(
                Reject.PRICES_INCOMPLETE,
                f"instrument {contract.listing.symbol}: expected a mark and an index",
            )
        amount = deal.notional(lots, contract.mark_points, index.price_nano if index else 0)
        price = index_nano(state, deal.asset, fresh=False)
        total += amount / deal.asset_scale * Fraction(price, 1_000)
    return math.ceil(total)
