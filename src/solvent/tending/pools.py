"""What stands and falls together: an account's cross positions, and each isolated one by itself.

An account is under liquidation as a whole, but only the pools of it that are short are reduced: the
loss of an isolated position never leaves its margin, and it never pays for the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from typing import NamedTuple

from solvent.account.ledger import FIRST_ACCOUNT
from solvent.engine.standing import View, has_risk, standings, view
from solvent.engine.state import CLOSED, CROSS, LIQUIDATION, Account, Rules, Standing, State
from solvent.engine.wound_up import pool_of, pool_view, target_reached


class Pool(NamedTuple):
    """A part of an account: `number` is the contract that is isolated, or `CROSS`."""

    account: Account
    number: int
    seen: View
    found: Standing

    @property
    def contract(self) -> int | None:
        """The isolated contract; None of all that is not isolated."""
        return None if self.number == CROSS else self.number


def with_risk(state: State) -> Iterator[tuple[Account, View]]:
    """Every user's account of which margin is asked, as it is."""
    return seen_at_risk(state, state.accounts[FIRST_ACCOUNT:])


def seen_at_risk(
    state: State, accounts: Iterable[Account | None]
) -> Iterator[tuple[Account, View]]:
    """Those of some accounts of which margin is asked, as they are."""
    for account in accounts:
        if account is None or account.status == CLOSED or account.rulebook not in state.rules:
            continue
        seen = view(state, account)
        if has_risk(seen):
            yield account, seen


def under_liquidation(state: State) -> list[Account]:
    """Accounts that have been taken over, in the order of their numbers."""
    return [
        one for one in state.accounts[FIRST_ACCOUNT:]
        if one is not None and one.status == LIQUIDATION
    ]  # fmt: skip


def pools_of(state: State, accounts: Iterable[Account]) -> list[list[Pool]]:
    """Of each account its pools with where they stand, the cross one first; assessed together."""
    parts = [
        [
            (account, number, pool_view(state, account, number))
            for number in _numbers(state, account)
        ]
        for account in accounts
    ]
    found = iter(standings(state, [seen for mine in parts for _, _, seen in mine]))
    return [
        [Pool(account, number, seen, next(found)) for account, number, seen in mine]
        for mine in parts
    ]


def _numbers(state: State, account: Account) -> list[int]:
    """The cross pool, isolated positions, and isolated margins that have become a debt."""
    held = [pool_of(state, account, number) for number in account.positions or ()]
    case = state.cases.get(account.number)
    begun = [] if case is None else [one for one in case.pools if account.isolates(one)]
    return list(dict.fromkeys([CROSS, *held, *begun]))


def done(state: State, pool: Pool) -> bool:
    """Whether a pool is where its rulebook wants it, or holds nothing; never where that is not
    known."""
    if not pool.seen.positions:
        return True
    reduce = rules_of(state, pool.account).closing.reduce
    return pool.found.known and target_reached(pool.found, reduce)


def concerned(state: State, pool: Pool) -> bool:
    """Whether a pool is, or is to be, wound up; the others of its account are left alone."""
    case = state.cases.get(pool.account.number)
    return pool.found.liquidate or (case is not None and pool.number in case.pools)


def rules_of(state: State, account: Account) -> Rules:
    """The rulebook that an account is margined by."""
    return state.rules[account.rulebook]


def symbol_of(state: State, pool: Pool) -> str:
    """The isolated contract that a pool is; empty for the cross pool."""
    return "" if pool.contract is None else state.contracts[pool.contract].listing.symbol


def worst_first(pools: Sequence[Pool]) -> list[Pool]:
    """The least equity over maintenance margin first; of equals the older account."""
    return sorted(
        pools,
        key=lambda pool: (
            Fraction(pool.found.equity_micro, max(1, pool.found.maintenance_micro)),
            pool.account.number,
        ),
    )
