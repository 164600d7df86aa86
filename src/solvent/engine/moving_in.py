"""Taking over the books of another system: balances and positions, all or none."""

from __future__ import annotations

from solvent.account.ledger import (
    CLEARING,
    EXTERNAL,
    GENERAL,
    INSURANCE,
    VENUE,
    margin_slot,
    node,
    order_slot,
)
from solvent.account.position import Change
from solvent.engine.dealing import put_position
from solvent.engine.refusal import account_named, asset_named, contract_named
from solvent.engine.state import Account, Contract, State
from solvent.errors import Refused, Reject
from solvent.limits import MONEY_MAX
from solvent.messages.commands import (
    ImportBooks,
)
from solvent.messages.events import Event, Imported
from solvent.messages.fields import OpeningBalance, OpeningPosition

_POOLS = {"insurance": INSURANCE, "venue": VENUE}


def import_books(state: State, command: ImportBooks, events: list[Event]) -> None:
    """Refusals, in order: names, limits, positions that are there, positions that do not net."""
    balances = [_balance(state, one) for one in command.balances]
    positions = [_position(state, one) for one in command.positions]
    _check_balances(state, balances)
    _check_positions(positions)
    # From here on the books are taken over.
    ledger = state.ledger
    # What comes in comes first: a pool may be told in parts.
    for which, amount in sorted(balances, key=lambda one: one[1] < 0):
        ledger.pay(which, node(EXTERNAL, GENERAL, which & 0xFF), amount)
    touched: dict[int, Contract] = {}
    for account, contract, lots, value in positions:
        basis = 0 if contract.deal.up_front else value
        put_position(contract, account, Change(lots, value, basis, 0, 0), 0, events)
        touched[contract.number] = contract
    for contract in touched.values():
        deal = contract.deal
        clearing = node(CLEARING, margin_slot(contract.number), deal.asset)
        owed = -(contract.basis_total * deal.numerator // deal.denominator)
        external = node(EXTERNAL, GENERAL, deal.asset)
        ledger.pay(clearing, external, owed - ledger.balance(clearing))
    events.append(Imported(len(balances), len(positions)))


def _balance(state: State, told: OpeningBalance) -> tuple[int, int]:
    """The node that a balance belongs to, and its amount."""
    asset = asset_named(state, told.asset)
    pool = _POOLS.get(told.account)
    owner = account_named(state, told.account).number if pool is None else pool
    if told.symbol is None:
        return node(owner, GENERAL, asset), told.amount
    contract = contract_named(state, told.symbol)
    if contract.deal.asset != asset or pool is not None:
        raise Refused(
            Reject.INSTRUMENT_NOT_FOR_THIS,
            f"instrument {told.symbol}: expected a user's margin in what it settles in, found "
            f"{told.asset} of {told.account}",
        )
    slot = order_slot(contract.number) if told.for_orders else margin_slot(contract.number)
    return node(owner, slot, asset), told.amount


def _check_balances(state: State, balances: list[tuple[int, int]]) -> None:
    moved: dict[int, int] = {}
    pools: dict[int, int] = {}
    for which, amount in balances:
        asset = which & 0xFF
        moved[asset] = moved.get(asset, 0) + abs(amount)
        pools[which] = pools.get(which, 0) + amount
    for asset, amount in moved.items():
        outside = node(EXTERNAL, GENERAL, asset)
        if abs(state.ledger.balance(outside)) + amount > MONEY_MAX // 4:
            raise Refused(
                Reject.AMOUNT_TOO_LARGE,
                f"asset {state.assets[asset][0]}: expected at most {MONEY_MAX // 4} in the venue",
            )
    for owner in (INSURANCE, VENUE):
        for asset in moved:
            which = node(owner, GENERAL, asset)
            if state.ledger.balance(which) + pools.get(which, 0) < 0:
                raise Refused(
                    Reject.FUND_INSUFFICIENT,
                    f"{state.account(owner).name}: expected no pool below zero",
                )


def _position(state: State, told: OpeningPosition) -> tuple[Account, Contract, int, int]:
    if told.account == "insurance":
        account = state.account(INSURANCE)
    else:
        account = account_named(state, told.account)
    contract = contract_named(state, told.symbol)
    deal = contract.deal
    if told.lots == 0 or (told.entry_points == 0 and deal.inverse and not deal.up_front):
        raise Refused(
            Reject.POSITION_NOT_HELD,
            f"account {told.account}, {told.symbol}: expected lots and a price, found {told.lots} "
            f"at {told.entry_points}",
        )
    value = deal.value(told.lots, told.entry_points)
    if abs(value) >= MONEY_MAX // 4:
        raise Refused(
            Reject.AMOUNT_TOO_LARGE,
            f"account {told.account}, {told.symbol}: expected values below {MONEY_MAX // 4}, "
            f"found {value}",
        )
    return account, contract, told.lots, value


def _check_positions(positions: list[tuple[Account, Contract, int, int]]) -> None:
    net: dict[int, int] = {}
    seen: set[tuple[int, int]] = set()
    for account, contract, lots, _ in positions:
        pair = account.number, contract.number
        if pair in seen or account.number in contract.holders:
            raise Refused(
                Reject.BOOKS_NOT_EMPTY,
                f"account {account.name}: expected no position in {contract.listing.symbol} yet",
            )
        seen.add(pair)
        net[contract.number] = net.get(contract.number, 0) + lots
    for _, contract, _, _ in positions:
        if net[contract.number]:
            raise Refused(
                Reject.POSITIONS_UNBALANCED,
                f"instrument {contract.listing.symbol}: expected lots that net to zero, found "
                f"{net[contract.number]}",
            )
