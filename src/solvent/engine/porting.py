"""Clients of a clearing member: they go to another member with all that they have."""

from __future__ import annotations

from solvent.engine.refusal import account_named, check_active, check_known
from solvent.engine.standing import has_risk, standing, view
from solvent.engine.state import LIQUIDATION, Account, State
from solvent.errors import Refused, Reject
from solvent.messages.commands import PortAccount
from solvent.messages.events import Event, Ported
from solvent.messages.fields import AccountKind


def port_account(state: State, command: PortAccount, events: list[Event]) -> None:
    """Only who is well is taken; that the old member is not is no hindrance.

    Refusals, in order: the accounts and whether they are members, the client's status, the new
    member's, then how the client stands.
    """
    client = account_named(state, command.account)
    member = account_named(state, command.member)
    _check_member(member)
    if client.parent == member.number:
        raise Refused(
            Reject.ACCOUNTS_THE_SAME,
            f"account {client.name}: expected another member than {member.name}, whose it is",
        )
    _check_client(state, client)
    if client.status == LIQUIDATION:
        check_active(client)
    check_active(member)
    seen = view(state, client)
    if has_risk(seen) and not state.decided:
        found = standing(state, seen)
        check_known(client, found)
        if found.liquidate:
            raise Refused(
                Reject.MARGIN_INSUFFICIENT,
                f"account {client.name}: expected equity of at least its maintenance margin, "
                f"{found.maintenance_micro} micro, found {found.equity_micro}",
            )
    # From here on the client is the other's.
    state.account(client.parent).subaccounts -= 1
    client.parent = member.number
    member.subaccounts += 1
    events.append(Ported(client.number, member.number))


def _check_member(account: Account) -> None:
    if account.kind != AccountKind.MEMBER:
        raise Refused(
            Reject.ACCOUNT_NOT_A_MEMBER,
            f"account {account.name}: expected a member, found {account.kind}",
        )


def _check_client(state: State, account: Account) -> None:
    """Refuse who is no member's client."""
    if account.parent < 0:
        raise Refused(
            Reject.ACCOUNT_NOT_A_MEMBER,
            f"account {account.name}: expected a member's client, found nobody's",
        )
    _check_member(state.account(account.parent))
