"""Refusing: a handler finds what a command names, or says why it cannot be done.

`Refused` is raised before anything has changed and becomes a `Rejected` event; it never leaves the
engine.
"""

from __future__ import annotations

from solvent.account.ledger import INSURANCE
from solvent.engine.state import (
    CLOSED,
    FROZEN,
    LIQUIDATION,
    Account,
    Contract,
    Rules,
    Standing,
    State,
)
from solvent.errors import Refused, Reject
from solvent.limits import COMBO_FIRST
from solvent.messages.fields import Phase


def account_named(state: State, name: str) -> Account:
    """A user's account that is not closed."""
    number = state.account_numbers.get(name)
    if number is None:
        raise Refused(Reject.ACCOUNT_UNKNOWN, f"account {name!r}: expected one that is open")
    account = state.account(number)
    if account.kind == "system":
        raise Refused(
            Reject.ACCOUNT_NOT_FOR_THIS, f"account {name}: expected a user's, found the venue's own"
        )
    if account.status == CLOSED:
        raise Refused(Reject.ACCOUNT_CLOSED, f"account {name}: expected an open one, found closed")
    return account


def trader_named(state: State, name: str) -> Account:
    """Who can hold positions: a user's account, or the insurance fund."""
    if name == "insurance":
        return state.account(INSURANCE)
    return account_named(state, name)


def active_account(state: State, name: str) -> Account:
    """An account that may take risk and move money out."""
    account = account_named(state, name)
    check_active(account)
    return account


def check_active(account: Account) -> None:
    """Refuse for an account that is frozen or under liquidation."""
    if account.status == FROZEN:
        raise Refused(
            Reject.ACCOUNT_FROZEN, f"account {account.name}: expected an active one, found frozen"
        )
    if account.status == LIQUIDATION:
        raise Refused(
            Reject.ACCOUNT_IN_LIQUIDATION,
            f"account {account.name}: expected an active one, found under liquidation",
        )


def liquidated_account(state: State, name: str) -> Account:
    """An account that is under liquidation."""
    account = account_named(state, name)
    if account.status != LIQUIDATION:
        raise Refused(
            Reject.ACCOUNT_NOT_IN_LIQUIDATION,
            f"account {name}: expected one under liquidation, found {account.status}",
        )
    return account


def asset_named(state: State, name: str) -> int:
    """Number of a listed asset."""
    number = state.asset_numbers.get(name)
    if number is None:
        raise Refused(Reject.ASSET_UNKNOWN, f"asset {name!r}: expected one that is listed")
    return number


def contract_named(state: State, symbol: str) -> Contract:
    """A contract that has been listed, and is not over."""
    number = state.contract_numbers.get(symbol)
    if number is None:
        raise Refused(
            Reject.INSTRUMENT_UNKNOWN, f"instrument {symbol!r}: expected one that is listed"
        )
    if number >= COMBO_FIRST:
        raise Refused(
            Reject.INSTRUMENT_NOT_FOR_THIS,
            f"instrument {symbol}: expected a contract, found a combination of them",
        )
    contract = state.contracts[number]
    if contract.settled:
        raise Refused(
            Reject.INSTRUMENT_CLOSED,
            f"instrument {symbol}: expected one that is traded, found {contract.settled}",
        )
    return contract


def traded_contract(state: State, symbol: str) -> Contract:
    """A contract that can be traded now."""
    contract = contract_named(state, symbol)
    if contract.phase is Phase.HALTED:
        raise Refused(
            Reject.INSTRUMENT_HALTED, f"instrument {symbol}: expected trading, found it halted"
        )
    expiry_ms = contract.deal.expiry_ms
    if expiry_ms is not None and state.log.time_ms >= expiry_ms:
        raise Refused(
            Reject.INSTRUMENT_EXPIRED,
            f"instrument {symbol}: expected a time before {expiry_ms}, found {state.log.time_ms}",
        )
    return contract


def instrument_named(state: State, symbol: str) -> int:
    """Number of a contract, or of a combination whose legs all are, that can be traded now."""
    number = state.contract_numbers.get(symbol, -1)
    if number < COMBO_FIRST:
        return traded_contract(state, symbol).number
    for contract, _ in state.combos[number - COMBO_FIRST].legs:
        traded_contract(state, contract.listing.symbol)
    if number not in state.desk.books:
        raise Refused(
            Reject.INSTRUMENT_CLOSED,
            f"instrument {symbol}: expected one that is traded, found delisted",
        )
    return number


def rules_named(state: State, name: str) -> Rules:
    """A rulebook that was adopted."""
    rules = state.rules.get(name)
    if rules is None:
        raise Refused(Reject.RULEBOOK_NOT_ADOPTED, f"rulebook {name!r}: expected one in force")
    return rules


def check_known(account: Account, found: Standing) -> None:
    """Refuse where it is not known how an account stands."""
    if not found.known:
        raise Refused(
            Reject.RISK_UNKNOWN,
            f"account {account.name}: expected known risk, found none by {account.rulebook}",
        )


def check_margin(account: Account, found: Standing) -> None:
    """Refuse where an account is not known to have its initial margin."""
    check_known(account, found)
    if found.call:
        raise short_of_margin(account, found)


def short_of_margin(account: Account, found: Standing) -> Refused:
    """What an account lacks, in words."""
    return Refused(
        Reject.MARGIN_INSUFFICIENT,
        f"account {account.name}: expected equity of at least its initial margin by "
        f"{account.rulebook}, {found.initial_micro} micro, found {found.equity_micro}",
    )
