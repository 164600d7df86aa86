"""What must hold after every command, as a query that anyone may run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from solvent.account.ledger import (
    CLEARING,
    EXTERNAL,
    FIRST_ACCOUNT,
    GENERAL,
    INCOMING,
    OUTGOING,
    contract_of,
    is_pool,
    margin_slot,
    node,
    parts,
    slot_name,
)
from solvent.engine.open_orders import Asked, Sides, with_order
from solvent.engine.state import CLOSED, LIQUIDATION, Account, Contract, State
from solvent.messages.fields import AccountKind
from solvent.orders.order import Order


@dataclass(frozen=True, slots=True)
class Audit:
    """What was counted, and everything that does not hold, in words."""

    assets: dict[str, int]
    """Asset → the sum of all balances: zero."""
    outside: dict[str, int]
    """Asset → what the venue holds of it for all: what `external` owes."""
    positions: int
    accounts: int
    violations: tuple[str, ...]


def audit(state: State) -> Audit:
    """Check the books: money adds up, positions net to zero, nothing that may not is negative."""
    totals = state.ledger.totals()
    names = {number: name for number, (name, _) in enumerate(state.assets)}
    outside = {number: node(EXTERNAL, GENERAL, number) for number in names}
    return Audit(
        assets={name: totals.get(number, 0) for number, name in names.items()},
        outside={name: -state.ledger.balance(outside[number]) for number, name in names.items()},
        positions=sum(len(contract.holders) for contract in state.contracts),
        accounts=len(state.accounts) - FIRST_ACCOUNT,
        violations=tuple(violations(state)),
    )


def violations(state: State) -> Iterator[str]:
    """Everything that does not hold."""
    for asset, total in state.ledger.totals().items():
        if total:
            yield f"asset {state.assets[asset][0]}: expected a sum of 0, found {total}"
    for which, amount in state.ledger.balances.items():
        if amount < 0 and is_pool(which):
            yield f"{node_name(state, which)}: expected a pool not below 0, found {amount}"
    for contract in state.contracts:
        yield from _of_contract(state, contract)
    yield from _of_accounts(state)
    yield from _of_pending(state)
    yield from _of_liquidations(state)


def _of_liquidations(state: State) -> Iterator[str]:
    """Who is under liquidation has a case, and nobody else; only who has one is for sale."""
    under = {one.number for one in state.accounts if one is not None and one.status == LIQUIDATION}
    if under != set(state.cases):
        yield f"expected liquidations of {sorted(under)}, found {sorted(state.cases)}"
    for number in state.auctions:
        if number not in under:
            yield f"account {number}: expected an auction under liquidation alone"
    for number in state.calls:
        if state.account(number).status in (LIQUIDATION, CLOSED):
            yield f"account {number}: expected no call once it is under liquidation or closed"
    for number in state.backstops:
        if state.account(number).kind != AccountKind.BACKSTOP:
            yield f"account {number}: expected a cap of a backstop account alone"


def _of_contract(state: State, contract: Contract) -> Iterator[str]:
    symbol, holders, deal = contract.listing.symbol, contract.holders, contract.deal
    lots = sum(one.lots for one in holders.values())
    basis = sum(one.basis_value for one in holders.values())
    if lots:
        yield f"instrument {symbol}: expected lots that net to 0, found {lots}"
    if basis != contract.basis_total:
        yield f"instrument {symbol}: expected a basis of {contract.basis_total}, found {basis}"
    clearing = state.ledger.balance(node(CLEARING, margin_slot(contract.number), deal.asset))
    owed = -(basis * deal.numerator // deal.denominator)
    if clearing != owed:
        yield f"instrument {symbol}: expected {owed} in its clearing, found {clearing}"
    if contract.settled and holders:
        yield f"instrument {symbol}: expected no holders once {contract.settled}"
    for number, position in holders.items():
        held = state.account(number).positions
        if held is None or held.get(contract.number) is not position:
            yield f"instrument {symbol}: expected account {number} to hold what it is said to hold"
        if not position.lots and not position.basis_value:
            yield f"instrument {symbol}: expected no empty position, found one of account {number}"


def _of_accounts(state: State) -> Iterator[str]:
    held = 0
    for account in state.accounts:
        if account is None:
            continue
        held += len(account.positions or ())
        mine = state.orders_of(account.number)
        yield from _of_orders(state, account, mine)
        if account.status == CLOSED and (account.positions or mine):
            yield f"account {account.name}: expected nothing in a closed account"
    if held != sum(len(contract.holders) for contract in state.contracts):
        yield f"expected as many positions by account as by instrument, found {held}"


def _of_orders(state: State, account: Account, mine: Mapping[str, Order]) -> Iterator[str]:
    """What is kept up of an account's orders is what they add up to."""
    anew: dict[int, Sides] = {}
    for name, order in mine.items():
        if not order.lots:
            yield f"account {account.name}: expected no empty order"
        asked = Asked(order.instrument, order.lots, order.price_ticks or 0)
        anew = with_order(anew, state.value_of, None, asked)
        kept = state.open.asked.get((account.number, name))
        if kept != asked:
            yield f"account {account.name}, order {name}: expected {asked}, found {kept}"
    kept_sides = state.open.sides.get(account.number, {})
    if anew != kept_sides:
        yield f"account {account.name}: expected orders of {anew}, found {kept_sides}"


def _of_pending(state: State) -> Iterator[str]:
    """Money under way is what the references say."""
    under_way: dict[int, int] = {}
    for one in state.pending.values():
        which = node(one.account, INCOMING if one.incoming else OUTGOING, one.asset)
        under_way[which] = under_way.get(which, 0) + one.amount
    for which, amount in state.ledger.balances.items():
        owner, slot, _ = parts(which)
        if (
            owner >= FIRST_ACCOUNT
            and slot in (INCOMING, OUTGOING)
            and amount != under_way.get(which, 0)
        ):
            yield (
                f"{node_name(state, which)}: expected {under_way.get(which, 0)} under way, found "
                f"{amount}"
            )


def node_name(state: State, which: int) -> str:
    """A node in words, such as `alice general USDC` or `alice margin BTC-PERPETUAL USDC`."""
    owner, slot, asset = parts(which)
    what = slot_name(slot)
    number = contract_of(slot)
    if number is not None:
        what += f" {state.contracts[number].listing.symbol}"
    return f"{state.account(owner).name} {what} {state.assets[asset][0]}"
