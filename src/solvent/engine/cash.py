"""Money in and out of accounts, and between them."""

from __future__ import annotations

from solvent.account.ledger import (
    EXTERNAL,
    FUND,
    GENERAL,
    INCOMING,
    INSURANCE,
    OUTGOING,
    VENUE,
    node,
)
from solvent.engine.refusal import account_named, asset_named, check_active, check_margin
from solvent.engine.standing import has_risk, standing, view
from solvent.engine.state import Account, Pending, State
from solvent.errors import Refused, Reject
from solvent.limits import MONEY_MAX
from solvent.messages.commands import (
    AnnounceDeposit,
    CancelDeposit,
    CancelWithdrawal,
    ConfirmDeposit,
    ConfirmWithdrawal,
    ContributeFund,
    Deposit,
    RequestWithdrawal,
    ReturnFund,
    Transfer,
)
from solvent.messages.events import Event, PendingChanged

OUTSIDE_MAX = MONEY_MAX // 4
"""Money of one asset that a venue may hold in all: every balance then fits, whoever owns it."""
_POOLS = {"insurance": INSURANCE, "venue": VENUE}


def deposit(state: State, command: Deposit, events: list[Event]) -> None:
    """Money from outside, into an account or one of the venue's pools."""
    owner = _POOLS.get(command.account)
    if owner is None:
        owner = account_named(state, command.account).number
    asset = asset_named(state, command.asset)
    check_room(state, asset, command.amount)
    # From here on the deposit must succeed.
    state.ledger.move(node(EXTERNAL, GENERAL, asset), node(owner, GENERAL, asset), command.amount)


def check_room(state: State, asset: int, amount: int) -> None:
    """Refuse money beyond what all balances of an asset may add up to."""
    inside = -state.ledger.balance(node(EXTERNAL, GENERAL, asset))
    if inside + amount > OUTSIDE_MAX:
        raise Refused(
            Reject.AMOUNT_TOO_LARGE,
            f"asset {state.assets[asset][0]}: expected at most {OUTSIDE_MAX} in the venue, found "
            f"{inside} and {amount} more",
        )


def announce_deposit(state: State, command: AnnounceDeposit, events: list[Event]) -> None:
    """Money on its way in."""
    account = account_named(state, command.account)
    asset = asset_named(state, command.asset)
    check_room(state, asset, command.amount)
    _check_new_reference(state, command.reference)
    # From here on it is announced.
    incoming = node(account.number, INCOMING, asset)
    state.ledger.move(node(EXTERNAL, GENERAL, asset), incoming, command.amount)
    _remember(state, command.reference, account, asset, command.amount, incoming=True)
    events.append(PendingChanged(command.reference, "announced"))


def confirm_deposit(state: State, command: ConfirmDeposit, events: list[Event]) -> None:
    """It has come."""
    pending = _pending(state, command.reference, incoming=True)
    source = node(pending.account, INCOMING, pending.asset)
    state.ledger.move(source, node(pending.account, GENERAL, pending.asset), pending.amount)
    _forget(state, command.reference, "confirmed", events)


def cancel_deposit(state: State, command: CancelDeposit, events: list[Event]) -> None:
    """It will not come."""
    pending = _pending(state, command.reference, incoming=True)
    source = node(pending.account, INCOMING, pending.asset)
    state.ledger.move(source, node(EXTERNAL, GENERAL, pending.asset), pending.amount)
    _forget(state, command.reference, "cancelled", events)


def request_withdrawal(state: State, command: RequestWithdrawal, events: list[Event]) -> None:
    """Set money aside to be sent, if the account can spare it."""
    account = account_named(state, command.account)
    asset = asset_named(state, command.asset)
    check_can_give(state, account, asset, command.amount)
    _check_new_reference(state, command.reference)
    # From here on it is requested.
    own, outgoing = node(account.number, GENERAL, asset), node(account.number, OUTGOING, asset)
    state.ledger.move(own, outgoing, command.amount)
    _remember(state, command.reference, account, asset, command.amount, incoming=False)
    events.append(PendingChanged(command.reference, "requested"))


def confirm_withdrawal(state: State, command: ConfirmWithdrawal, events: list[Event]) -> None:
    """It has been sent."""
    pending = _pending(state, command.reference, incoming=False)
    source = node(pending.account, OUTGOING, pending.asset)
    state.ledger.move(source, node(EXTERNAL, GENERAL, pending.asset), pending.amount)
    _forget(state, command.reference, "confirmed", events)


def cancel_withdrawal(state: State, command: CancelWithdrawal, events: list[Event]) -> None:
    """It could not be sent."""
    pending = _pending(state, command.reference, incoming=False)
    source = node(pending.account, OUTGOING, pending.asset)
    state.ledger.move(source, node(pending.account, GENERAL, pending.asset), pending.amount)
    _forget(state, command.reference, "cancelled", events)


def transfer(state: State, command: Transfer, events: list[Event]) -> None:
    """Between two accounts, whoever owns them; the actor's right to it is the shell's matter."""
    source = account_named(state, command.source)
    target = account_named(state, command.target)
    if source is target:
        raise Refused(
            Reject.ACCOUNTS_THE_SAME, f"account {source.name}: expected another one as target"
        )
    asset = asset_named(state, command.asset)
    check_can_give(state, source, asset, command.amount)
    # From here on the transfer must succeed.
    state.ledger.move(
        node(source.number, GENERAL, asset), node(target.number, GENERAL, asset), command.amount
    )


def contribute_fund(state: State, command: ContributeFund, events: list[Event]) -> None:
    """From a member's own money into the default fund."""
    account = _member(state, command.account)
    asset = asset_named(state, command.asset)
    check_can_give(state, account, asset, command.amount)
    # From here on the contribution must succeed.
    own, fund = node(account.number, GENERAL, asset), node(account.number, FUND, asset)
    state.ledger.move(own, fund, command.amount)


def return_fund(state: State, command: ReturnFund, events: list[Event]) -> None:
    """From the default fund back to the member."""
    account = _member(state, command.account)
    asset = asset_named(state, command.asset)
    own, fund = node(account.number, GENERAL, asset), node(account.number, FUND, asset)
    held = state.ledger.balance(fund)
    if held < command.amount:
        raise Refused(
            Reject.FUND_INSUFFICIENT,
            f"account {account.name}: expected a contribution of {command.amount}, found {held}",
        )
    # From here on the return must succeed.
    state.ledger.move(fund, own, command.amount)


def check_can_give(state: State, account: Account, asset: int, amount: int) -> None:
    """Refuse what an account does not have, or what its margin needs."""
    check_active(account)
    held = state.ledger.balance(node(account.number, GENERAL, asset))
    if held < amount:
        raise Refused(
            Reject.BALANCE_INSUFFICIENT,
            f"account {account.name}: expected {amount} of {state.assets[asset][0]}, found {held}",
        )
    # Where contracts are margined by themselves, what is in general is not in use.
    if state.house.contract is not None or state.decided:
        return
    seen = view(state, account)
    seen.balances[asset] = held - amount
    if not has_risk(seen):
        return
    after = standing(state, seen)
    check_margin(account, after)
    own = state.rules[account.rulebook].house.money_out == "own"
    if own and after.equity_micro < 0:
        raise Refused(
            Reject.CREDIT_NOT_WITHDRAWABLE,
            f"account {account.name}: expected equity of its own of at least 0 afterwards, found "
            f"{after.equity_micro} micro: what is lent to it does not leave",
        )


def _member(state: State, name: str) -> Account:
    account = account_named(state, name)
    if account.kind != "member":
        raise Refused(
            Reject.ACCOUNT_NOT_A_MEMBER, f"account {name}: expected a member, found {account.kind}"
        )
    return account


def _check_new_reference(state: State, reference: str) -> None:
    if reference in state.pending or reference in state.references:
        raise Refused(
            Reject.REFERENCE_DUPLICATED, f"reference {reference!r}: expected one not used before"
        )


def _remember(
    state: State, reference: str, account: Account, asset: int, amount: int, *, incoming: bool
) -> None:
    state.pending[reference] = Pending(
        account=account.number, asset=asset, amount=amount, incoming=incoming
    )


def _pending(state: State, reference: str, *, incoming: bool) -> Pending:
    pending = state.pending.get(reference)
    if pending is None or pending.incoming is not incoming:
        what = "deposit" if incoming else "withdrawal"
        found = state.references.get(reference, "none")
        raise Refused(
            Reject.REFERENCE_UNKNOWN,
            f"reference {reference!r}: expected a {what} under way, found {found}",
        )
    return pending


def _forget(state: State, reference: str, ended: str, events: list[Event]) -> None:
    del state.pending[reference]
    state.references[reference] = ended
    events.append(PendingChanged(reference, ended))
