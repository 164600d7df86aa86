"""Venues whose contracts are ruled by themselves: a contract below its maintenance margin is closed
down whole, to the insurance fund at the mark, and what its owner has left in it goes with it.

Of a contract that is not isolated that is its margin and the account's own money of the asset; of
one that is, its margin alone.
"""

from __future__ import annotations

from collections.abc import Iterator

from solvent.account.ledger import FIRST_ACCOUNT, GENERAL, margin_slot, node
from solvent.engine import contract_rules
from solvent.engine.fund import fund_worth
from solvent.engine.state import CLOSED, LIQUIDATION, Account, Contract, State
from solvent.messages import commands as c
from solvent.tending.plans import Plan, Row, row
from solvent.tending.prices import mark_ticks

RULE = "a contract below its maintenance margin goes to the fund at the mark, with its margin"


def opening(state: State) -> Iterator[Plan]:
    """Accounts that hold a contract below its maintenance margin."""
    for account in state.accounts[FIRST_ACCOUNT:]:
        if account is None or account.status in (LIQUIDATION, CLOSED) or not account.positions:
            continue
        bad = [one for one in held(state, account) if is_bad(state, account, one)]
        if bad:
            why = f"{', '.join(one.listing.symbol for one in bad)}: margin below maintenance"
            yield _plan(account, "begin", [row(why, c.BeginLiquidation, account=account.name)])


def step(state: State, account: Account) -> Plan:
    """The next step of one that is under liquidation: positions, then money, then its end."""
    pools = state.cases[account.number].pools
    mine = [
        one for one in held(state, account)
        if one.number in pools or is_bad(state, account, one)
    ]  # fmt: skip
    taken = (_taken(state, account, one) for one in mine)
    rows = [one for one in taken if one is not None]
    if rows:
        numbers = frozenset(("contract", one.number) for one in mine)
        assets = frozenset(("fund", one.deal.asset) for one in mine)
        return _plan(account, "fund", rows, numbers | assets)
    if mine:
        return _plan(account, "fund", [], left="the fund can take nothing")
    rows = list(_left(state, account))
    if rows:
        return _plan(account, "fund", rows)
    why = "no contract is below its maintenance margin"
    return _plan(account, "end", [row(why, c.EndLiquidation, account=account.name)])


def held(state: State, account: Account) -> list[Contract]:
    """Contracts that an account has a position in."""
    return [state.contracts[number] for number in sorted(account.positions or ())]


def is_bad(state: State, account: Account, contract: Contract) -> bool:
    """Whether a contract is below its maintenance margin, by the venue's rulebook."""
    return contract.mark_points is not None and contract_rules.distressed(state, account, contract)


def _taken(state: State, account: Account, contract: Contract) -> Row | None:
    """A position to the fund, where the fund is not below what it has taken already."""
    if contract.mark_points is None or fund_worth(state, contract.deal.asset) < 0:
        return None
    lots = contract.holders[account.number].lots
    return row(
        f"the fund takes {abs(lots):,} lots at the mark", c.TakeOver, account=account.name,
        symbol=contract.listing.symbol, lots=abs(lots),
        price_ticks=mark_ticks(contract, up=lots > 0),
    )  # fmt: skip


def _left(state: State, account: Account) -> Iterator[Row]:
    """Money of contracts that have been closed down."""
    done = [
        state.contracts[number]
        for number in state.cases[account.number].pools
        if number >= 0 and number not in (account.positions or ())
    ]
    general: set[int] = set()
    for contract in done:
        asset = contract.deal.asset
        margin = state.ledger.balance(node(account.number, margin_slot(contract.number), asset))
        if margin > 0:
            yield _confiscated(state, account, asset, margin, contract.listing.symbol)
        if not account.isolates(contract.number):
            general.add(asset)
    for asset in sorted(general):
        own = state.ledger.balance(node(account.number, GENERAL, asset))
        if own > 0:
            yield _confiscated(state, account, asset, own, None)


def _confiscated(
    state: State, account: Account, asset: int, amount: int, symbol: str | None
) -> Row:
    return row(
        f"what is left of it, {amount:,} units", c.Confiscate, account=account.name,
        asset=state.assets[asset][0], amount=amount, symbol=symbol,
    )  # fmt: skip


def _plan(
    account: Account, stage: str, rows: list[Row],
    touches: frozenset[tuple[str, int]] = frozenset(), *, left: str = "",
) -> Plan:  # fmt: skip
    return Plan(
        account=account.name, stage=stage, rule=RULE, rows=tuple(rows), touches=touches, open=left
    )
