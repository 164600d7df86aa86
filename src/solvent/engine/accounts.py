"""Opening, closing and freezing accounts, and how they hold contracts."""

from __future__ import annotations

from fractions import Fraction

from solvent.account.ledger import (
    FUND,
    GENERAL,
    INCOMING,
    OUTGOING,
    margin_slot,
    node,
    order_slot,
)
from solvent.engine import contract_rules
from solvent.engine.margined import isolates_positions
from solvent.engine.refusal import (
    account_named,
    active_account,
    check_margin,
    contract_named,
    rules_named,
)
from solvent.engine.standing import has_risk, standing, view
from solvent.engine.state import (
    CLOSED,
    CROSS,
    FROZEN,
    LIQUIDATION,
    OPEN,
    Account,
    Contract,
    Mode,
    State,
)
from solvent.engine.wound_up import pool_view
from solvent.errors import Refused, Reject
from solvent.limits import ACCOUNTS_MAX
from solvent.messages.commands import (
    AddIsolatedMargin,
    AssignRulebook,
    CloseAccount,
    FreezeAccount,
    OpenAccount,
    RemoveIsolatedMargin,
    SetLeverage,
    SetMarginMode,
    UnfreezeAccount,
)
from solvent.messages.events import (
    Event,
    ModeChanged,
    Numbered,
    RulebookAssigned,
    StatusChanged,
)
from solvent.messages.fields import MarginMode
from solvent.units import div_up

LEVERAGE_MAX = 1_000


def open_account(state: State, command: OpenAccount, events: list[Event]) -> None:
    """A new account under a rulebook that is in force."""
    if command.account in state.account_numbers:
        raise Refused(Reject.NAME_TAKEN, f"account {command.account!r}: expected a new name")
    parent = None if command.parent is None else account_named(state, command.parent)
    rules_named(state, command.rulebook)
    number = len(state.accounts)
    if number >= ACCOUNTS_MAX:
        raise Refused(Reject.CAPACITY_REACHED, f"expected at most {ACCOUNTS_MAX} accounts")
    # From here on the account must be opened.
    name = command.account
    above = -1 if parent is None else parent.number
    state.accounts.append(Account(number, name, command.kind.value, above, command.rulebook))
    state.account_numbers[name] = number
    if parent is not None:
        parent.subaccounts += 1
    events.append(Numbered("account", name, number))


def close_account(state: State, command: CloseAccount, events: list[Event]) -> None:
    """An account that holds, orders and owes nothing, and is nobody's parent."""
    account = active_account(state, command.account)
    left = _left(state, account)
    if left:
        raise Refused(
            Reject.ACCOUNT_NOT_EMPTY, f"account {account.name}: expected it empty, found {left}"
        )
    # From here on the account must be closed.
    account.status = CLOSED
    state.calls.pop(account.number, None)
    state.backstops.pop(account.number, None)
    if account.parent >= 0:
        state.account(account.parent).subaccounts -= 1
    events.append(StatusChanged(account.number, CLOSED))


def _left(state: State, account: Account) -> str:
    """What an account still has, in words; empty for nothing."""
    if (
        account.positions
        or account.number in state.desk.orders
        or account.number in state.desk.stops
        or account.subaccounts
    ):
        return "positions, orders or subaccounts"
    for asset, (name, _) in enumerate(state.assets):
        for slot in (GENERAL, INCOMING, OUTGOING, FUND):
            if amount := state.ledger.balance(node(account.number, slot, asset)):
                return f"{amount} of {name}"
    for contract in state.contracts:
        for slot in (margin_slot(contract.number), order_slot(contract.number)):
            if amount := state.ledger.balance(node(account.number, slot, contract.deal.asset)):
                return f"{amount} in {contract.listing.symbol}"
    return ""


def freeze_account(state: State, command: FreezeAccount, events: list[Event]) -> None:
    """Freezing what is frozen, or hidden by liquidation, is no fault."""
    account = account_named(state, command.account)
    account.frozen = True
    _show_status(account, events)


def unfreeze_account(state: State, command: UnfreezeAccount, events: list[Event]) -> None:
    """Unfreezing what is not frozen is no fault."""
    account = account_named(state, command.account)
    account.frozen = False
    _show_status(account, events)


def _show_status(account: Account, events: list[Event]) -> None:
    if account.status != LIQUIDATION:
        account.status = FROZEN if account.frozen else OPEN
    events.append(StatusChanged(account.number, account.status))


def assign_rulebook(state: State, command: AssignRulebook, events: list[Event]) -> None:
    """Another rulebook, under which the account's risk is known and its margin is enough."""
    account = active_account(state, command.account)
    rules_named(state, command.rulebook)
    if any(mode.isolated for mode in (account.modes or {}).values()):
        _must_isolate(state, account, command.rulebook)
    before, account.rulebook = account.rulebook, command.rulebook
    try:
        _check_margin(state, account)
    except Refused:
        account.rulebook = before
        raise
    # From here on the rulebook is assigned.
    events.append(RulebookAssigned(account.number, command.rulebook))


def _check_margin(
    state: State, account: Account, *, modes: dict[int, Mode] | None = None,
    balances: dict[int, int] | None = None, margins: dict[int, int] | None = None,
    together: bool = False,
) -> None:  # fmt: skip
    """Refuse unless the account, seen with these modes and amounts added, has its margin; of
    `together` alone what it holds together."""
    if state.decided:
        return
    seen = pool_view(state, account, CROSS) if together else view(state, account)
    if modes is not None:
        seen.modes = modes
    for asset, amount in (balances or {}).items():
        seen.balances[asset] = seen.balances.get(asset, 0) + amount
    seen.margins = {**seen.margins, **(margins or {})}
    if not has_risk(seen):
        return
    after = standing(state, seen)
    check_margin(account, after)


# ── modes ────────────────────────────────────────────────────────────────────────────────────────


def margin_factor(leverage: str | None, factor: str | None) -> Fraction | None:
    """Margin over entry value from either way to say it. Refuses both, and what is out of range."""
    if leverage is not None and factor is not None:
        raise Refused(Reject.LEVERAGE_INVALID, "expected a leverage or a margin factor, found both")
    if leverage is not None:
        told = Fraction(leverage)
        if not 0 < told <= LEVERAGE_MAX:
            raise Refused(
                Reject.LEVERAGE_INVALID,
                f"leverage: expected above 0 and at most {LEVERAGE_MAX}, found {leverage}",
            )
        return 1 / told
    if factor is None:
        return None
    share = Fraction(factor)
    if not Fraction(1, LEVERAGE_MAX) <= share <= LEVERAGE_MAX:
        raise Refused(
            Reject.LEVERAGE_INVALID,
            f"margin factor: expected {1 / LEVERAGE_MAX} to {LEVERAGE_MAX}, found {factor}",
        )
    return share


def set_margin_mode(state: State, command: SetMarginMode, events: list[Event]) -> None:
    """Hold a contract by itself, or with all others; money is moved to fit."""
    account = active_account(state, command.account)
    contract = contract_named(state, command.symbol)
    factor = margin_factor(command.leverage, command.margin_factor)
    isolated = command.mode is MarginMode.ISOLATED
    if isolated and factor is None:
        raise Refused(
            Reject.LEVERAGE_INVALID, f"{command.symbol}: expected a leverage for isolated margin"
        )
    _change_mode(state, account, contract, Mode(isolated=isolated, factor=factor), events)


def set_leverage(state: State, command: SetLeverage, events: list[Event]) -> None:
    """Another leverage in the same mode."""
    account = active_account(state, command.account)
    contract = contract_named(state, command.symbol)
    factor = margin_factor(command.leverage, command.margin_factor)
    if factor is None:
        raise Refused(Reject.LEVERAGE_INVALID, f"{command.symbol}: expected a leverage, found none")
    mode = Mode(isolated=account.isolates(contract.number), factor=factor)
    _change_mode(state, account, contract, mode, events)


def _change_mode(
    state: State, account: Account, contract: Contract, mode: Mode, events: list[Event]
) -> None:
    if state.house.contract is not None:
        margin, orders = _by_contract(state, account, contract, mode)
    else:
        margin, orders = _by_account(state, account, contract, mode), 0
    # From here on the mode must change.
    asset, number = contract.deal.asset, contract.number
    own, ledger = node(account.number, GENERAL, asset), state.ledger
    moves = [
        (which, wanted - ledger.balance(which))
        for which, wanted in (
            (node(account.number, margin_slot(number), asset), margin),
            (node(account.number, order_slot(number), asset), orders),
        )
    ]
    # What comes back comes first, so that it can be spent.
    for which, amount in sorted(moves, key=lambda move: move[1]):
        ledger.pay(which, own, amount)
    if account.modes is None:
        account.modes = {}
    account.modes[number] = mode
    told = "" if mode.factor is None else str(mode.factor)
    events.append(ModeChanged(account.number, number, mode.isolated, told))


def _by_account(state: State, account: Account, contract: Contract, mode: Mode) -> int:
    """What the position's own margin is to be, which the account must be able to spare."""
    number, asset = contract.number, contract.deal.asset
    if mode.isolated:
        _must_isolate(state, account, account.rulebook)
    stands = state.ledger.balance(node(account.number, margin_slot(number), asset))
    wanted = 0
    position = contract.holders.get(account.number)
    if mode.isolated and position is not None and mode.factor is not None:
        needs = abs(contract.deal.money(position.entry_value)) * mode.factor
        wanted = div_up(needs.numerator, needs.denominator)
    own = state.ledger.balance(node(account.number, GENERAL, asset))
    if wanted - stands > max(own, 0):
        raise Refused(
            Reject.BALANCE_INSUFFICIENT,
            f"account {account.name}, {contract.listing.symbol}: expected {wanted - stands} more "
            f"for its margin, found {own}",
        )
    modes = {**(account.modes or {}), number: mode}
    margins = {number: wanted} if mode.isolated else {}
    _check_margin(state, account, modes=modes, balances={asset: stands - wanted}, margins=margins)
    return wanted


def _must_isolate(state: State, account: Account, rulebook: str) -> None:
    if not isolates_positions(state.rules[rulebook]):
        raise Refused(
            Reject.MODE_UNSUPPORTED,
            f"account {account.name}: expected a rulebook that isolates positions, found "
            f"{rulebook}",
        )


def _by_contract(state: State, account: Account, contract: Contract, mode: Mode) -> tuple[int, int]:
    """What the contract's margin and order accounts are to hold by the venue's own columns."""
    margin, orders, _ = contract_rules.balances_of(state, account, contract)
    if not mode.isolated:
        return margin + orders, 0
    columns = contract_rules.hooks(state)
    position = contract.holders.get(account.number)
    sheet = contract_rules.ContractSheet(
        state, account, contract,
        lots=position.lots if position else 0,
        entry_value=position.entry_value if position else 0,
        orders=contract_rules.order_rows(state, account, contract),
        factor=mode.factor,
    )  # fmt: skip
    if not sheet.holds(columns.switch_accepted):
        raise Refused(
            Reject.MODE_REFUSED,
            f"account {account.name}, {contract.listing.symbol}: expected a margin factor above "
            "its risk factors, and the money that it asks for",
        )
    return sheet.amount(columns.switch_margin), sheet.amount(columns.switch_orders)


# ── margin of isolated positions ─────────────────────────────────────────────────────────────────


def add_isolated_margin(state: State, command: AddIsolatedMargin, events: list[Event]) -> None:
    """From the account's own money to the position's."""
    account, contract = _isolated(state, command.account, command.symbol)
    own, _ = _margin_nodes(account, contract)
    held = state.ledger.balance(own)
    if held < command.amount:
        raise Refused(
            Reject.BALANCE_INSUFFICIENT,
            f"account {account.name}: expected {command.amount} for {command.symbol}, found {held}",
        )
    _move_margin(state, account, contract, command.amount)


def remove_isolated_margin(
    state: State, command: RemoveIsolatedMargin, events: list[Event]
) -> None:
    """Back to the account's own money, as far as the position's margin stays enough."""
    account, contract = _isolated(state, command.account, command.symbol)
    _, margin = _margin_nodes(account, contract)
    held = state.ledger.balance(margin)
    if held < command.amount:
        raise Refused(
            Reject.ISOLATED_MARGIN_INSUFFICIENT,
            f"account {account.name}, {command.symbol}: expected a margin of {command.amount}, "
            f"found {held}",
        )
    _move_margin(state, account, contract, -command.amount)


def _isolated(state: State, name: str, symbol: str) -> tuple[Account, Contract]:
    account = active_account(state, name)
    contract = contract_named(state, symbol)
    by_itself = account.isolates(contract.number) and state.house.contract is None
    if not by_itself or account.number not in contract.holders:
        raise Refused(
            Reject.MODE_UNSUPPORTED,
            f"account {name}, {symbol}: expected an isolated position whose margin may be changed",
        )
    return account, contract


def _margin_nodes(account: Account, contract: Contract) -> tuple[int, int]:
    asset = contract.deal.asset
    own = node(account.number, GENERAL, asset)
    return own, node(account.number, margin_slot(contract.number), asset)


def _move_margin(state: State, account: Account, contract: Contract, amount: int) -> None:
    """Move margin in (or, negative, out), unless the account or the position would lack it."""
    own, margin = _margin_nodes(account, contract)
    if amount > 0:
        # A position that is short of its margin may get a part of it.
        _check_margin(state, account, balances={contract.deal.asset: -amount}, together=True)
    else:
        stands = state.ledger.balance(margin)
        _check_margin(
            state, account,
            balances={contract.deal.asset: -amount}, margins={contract.number: stands + amount},
        )  # fmt: skip
    # From here on the margin must move.
    state.ledger.pay(margin, own, amount)
