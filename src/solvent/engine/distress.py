"""The steps by which an account that cannot pay is wound up. Which of them, when and how much is a
plan made elsewhere; here each is checked and done."""

from __future__ import annotations

from solvent.account.ledger import (
    FUND,
    GENERAL,
    INSURANCE,
    VENUE,
    margin_slot,
    node,
)
from solvent.engine import contract_rules
from solvent.engine.dealing import Leg, leg, margin_moves, post, premium_of, sweep
from solvent.engine.refusal import (
    account_named,
    asset_named,
    check_active,
    check_known,
    contract_named,
    liquidated_account,
    trader_named,
)
from solvent.engine.settlement import give_margin_back
from solvent.engine.standing import NOT_KNOWN, has_risk, standing, view
from solvent.engine.state import (
    FROZEN,
    LIQUIDATION,
    OPEN,
    Account,
    Contract,
    Standing,
    State,
)
from solvent.engine.trading import Party, admit, check_pool, pay_between
from solvent.errors import Refused, Reject
from solvent.messages.commands import (
    BeginLiquidation,
    Confiscate,
    CoverDebt,
    Deleverage,
    EndLiquidation,
    Liquidate,
    SocialiseLoss,
    TakeOver,
)
from solvent.messages.events import Event, FeePaid, LiquidationBegun, StatusChanged
from solvent.messages.fields import CoverFrom
from solvent.orders.order import Why
from solvent.units import div_up

PPM = 1_000_000


def begin_liquidation(state: State, command: BeginLiquidation, events: list[Event]) -> None:
    """Only an account that is known to be below maintenance; its orders are taken back.

    Where contracts are ruled by themselves, orders of isolated ones stay, with
    the margin that they have.
    """
    account = account_named(state, command.account)
    if account.status == LIQUIDATION:
        check_active(account)
    found = _must_be_liquidatable(state, account)
    # From here on the account is under liquidation.
    account.status = LIQUIDATION
    going = None
    if state.house.contract is not None:
        mine = state.open.sides.get(account.number, {})
        going = [number for number in mine if not account.isolates(number)]
    state.desk.cancel_where(
        account=account.number, instruments=going, why=Why.LIQUIDATION, events=events
    )
    state.open.take(events)
    events.append(LiquidationBegun(account.number, found.equity_micro, found.maintenance_micro))


def _must_be_liquidatable(state: State, account: Account) -> Standing:
    """The account's standing. Refuses where it is not known, or not so bad."""
    if state.house.contract is not None:
        held = [state.contracts[number] for number in sorted(account.positions or ())]
        if not any(contract_rules.distressed(state, account, one) for one in held):
            raise Refused(
                Reject.ACCOUNT_NOT_LIQUIDATABLE,
                f"account {account.name}: expected a contract below its maintenance margin",
            )
        return NOT_KNOWN
    found = standing(state, view(state, account))
    check_known(account, found)
    if not found.liquidate:
        raise Refused(
            Reject.ACCOUNT_NOT_LIQUIDATABLE,
            f"account {account.name}: expected equity below its maintenance margin, "
            f"{found.maintenance_micro} micro, found {found.equity_micro}",
        )
    return found


def liquidate(state: State, command: Liquidate, events: list[Event]) -> None:
    """Against an account that wants the position, and has the margin for it."""
    account, contract, legs, premium = _closing(
        state, command, trader_named(state, command.counterparty)
    )
    other, moves = legs[1], (0, 0)
    if state.house.contract is None:
        other.to_margin = margin_moves(state, other)
        admit(state, Party(other.account, (other,), None, command.lots))
    elif other.account.number != INSURANCE:
        check_active(other.account)
        points = command.price_ticks * contract.deal.points_per_tick
        resting = contract_rules.order_rows(state, other.account, contract)
        moves = contract_rules.admit_fill(
            state, other, points=points, rested=False, resting=resting
        )
    # From here on it must succeed.
    _carry_out(state, contract, legs, premium, events)
    contract_rules.move_margin(state, other.account, contract, *moves)
    value = abs(contract.deal.money(
        contract.deal.value(command.lots, command.price_ticks * contract.deal.points_per_tick)
    ))  # fmt: skip
    wanted = div_up(value.numerator * command.fee_ppm, value.denominator * PPM)
    _charge_fee(state, account, contract, wanted, events)


def _charge_fee(
    state: State, account: Account, contract: Contract, wanted: int, events: list[Event]
) -> None:
    """A fee to the insurance fund, as far as there is money for it."""
    asset = contract.deal.asset
    left = wanted
    for slot in (margin_slot(contract.number), GENERAL):
        own = node(account.number, slot, asset)
        part = min(left, max(0, state.ledger.balance(own)))
        state.ledger.move(own, node(INSURANCE, GENERAL, asset), part)
        left -= part
    events.append(FeePaid(account.number, "liquidation", wanted - left))


def take_over(state: State, command: TakeOver, events: list[Event]) -> None:
    """By the insurance fund, which needs no margin but must be able to pay."""
    _, contract, legs, premium = _closing(state, command, state.account(INSURANCE))
    check_pool(state, legs[1])
    # From here on it must succeed.
    _carry_out(state, contract, legs, premium, events)


def deleverage(state: State, command: Deleverage, events: list[Event]) -> None:
    """Against an account of the other side, whose position becomes smaller by it."""
    other = trader_named(state, command.counterparty)
    _, contract, legs, premium = _closing(state, command, other)
    if not legs[1].reduces:
        held = legs[1].before_lots
        raise Refused(
            Reject.POSITION_NOT_HELD,
            f"account {other.name}: expected at least {command.lots} lots of {command.symbol} on "
            f"the other side, found {held}",
        )
    if other.number == INSURANCE:
        check_pool(state, legs[1])
    else:
        legs[1].to_margin = margin_moves(state, legs[1]) if state.house.contract is None else 0
    # From here on it must succeed.
    _carry_out(state, contract, legs, premium, events)


def _closing(
    state: State, command: Liquidate | TakeOver | Deleverage, other: Account
) -> tuple[Account, Contract, tuple[Leg, Leg], int]:
    """The legs of closing lots of an account under liquidation: its own, then the other's."""
    account = liquidated_account(state, command.account)
    contract = contract_named(state, command.symbol)
    if account is other:
        raise Refused(
            Reject.ACCOUNTS_THE_SAME, f"account {account.name}: expected another one on each side"
        )
    position = contract.holders.get(account.number)
    held = position.lots if position is not None else 0
    if command.lots > abs(held):
        raise Refused(
            Reject.POSITION_NOT_HELD,
            f"account {account.name}: expected at least {command.lots} lots of {command.symbol}, "
            f"found {held}",
        )
    lots = -command.lots if held > 0 else command.lots
    points = command.price_ticks * contract.deal.points_per_tick
    premium = premium_of(contract, command.lots, points)
    legs = (
        leg(state, contract, account, lots=lots, points=points, premium=premium),
        leg(state, contract, other, lots=-lots, points=points, premium=premium),
    )
    return account, contract, legs, premium if lots > 0 else -premium


def _carry_out(
    state: State, contract: Contract, legs: tuple[Leg, Leg], premium: int, events: list[Event]
) -> None:
    """Post both legs; `premium` is what the first pays the second, if positive."""
    first, second = legs[0].account, legs[1].account
    buyer, seller = (first, second) if premium >= 0 else (second, first)
    pay_between(state, contract, buyer, seller, abs(premium))
    for one in sorted(legs, key=lambda one: one.realised):
        post(state, one, events)
    sweep(state, contract)
    if state.house.contract is not None:
        contract_rules.fill_up(state, second, contract)


# ── money of an account under liquidation ────────────────────────────────────────────────────────


def confiscate(state: State, command: Confiscate, events: list[Event]) -> None:
    """What is left of it goes to the insurance fund."""
    account = liquidated_account(state, command.account)
    asset = asset_named(state, command.asset)
    own = _own_money(state, account, asset, command.symbol)
    held = state.ledger.balance(own)
    if held < command.amount:
        raise Refused(
            Reject.BALANCE_INSUFFICIENT,
            f"account {account.name}: expected {command.amount} of {command.asset}, found {held}",
        )
    # From here on it must succeed.
    state.ledger.move(own, node(INSURANCE, GENERAL, asset), command.amount)


def cover_debt(state: State, command: CoverDebt, events: list[Event]) -> None:
    """A fund pays a debt, never more than it is or than the fund holds."""
    account = liquidated_account(state, command.account)
    asset = asset_named(state, command.asset)
    own = _own_money(state, account, asset, command.symbol)
    _check_debt(state, account, own, command.amount, command.asset)
    source = _fund(state, command, asset)
    held = state.ledger.balance(source)
    if held < command.amount:
        raise Refused(
            Reject.FUND_INSUFFICIENT,
            f"{command.source.value} fund: expected {command.amount} of {command.asset}, found "
            f"{held}",
        )
    # From here on it must succeed.
    state.ledger.move(source, own, command.amount)


def _own_money(state: State, account: Account, asset: int, symbol: str | None) -> int:
    """The account's own money, or that of one of its contracts."""
    if symbol is None:
        return node(account.number, GENERAL, asset)
    contract = contract_named(state, symbol)
    if contract.deal.asset != asset:
        raise Refused(
            Reject.INSTRUMENT_NOT_FOR_THIS,
            f"instrument {symbol}: expected one that settles in {state.assets[asset][0]}",
        )
    return node(account.number, margin_slot(contract.number), asset)


def _check_debt(state: State, account: Account, own: int, amount: int, asset: str) -> None:
    debt = max(0, -state.ledger.balance(own))
    if debt < amount:
        raise Refused(
            Reject.DEBT_EXCEEDED,
            f"account {account.name}: expected a debt of {amount} of {asset} or more, found {debt}",
        )


def _fund(state: State, command: CoverDebt, asset: int) -> int:
    if command.source is not CoverFrom.MEMBER:
        pool = INSURANCE if command.source is CoverFrom.INSURANCE else VENUE
        return node(pool, GENERAL, asset)
    member = account_named(state, command.member or "")
    if member.kind != "member":
        raise Refused(
            Reject.ACCOUNT_NOT_A_MEMBER,
            f"account {member.name}: expected a member, found {member.kind}",
        )
    return node(member.number, FUND, asset)


def socialise_loss(state: State, command: SocialiseLoss, events: list[Event]) -> None:
    """Winners pay a debt, each the share that a plan gave it."""
    account = liquidated_account(state, command.account)
    asset = asset_named(state, command.asset)
    own = node(account.number, GENERAL, asset)
    _check_debt(state, account, own, sum(one.amount for one in command.shares), command.asset)
    taken: dict[int, int] = {}
    for share in command.shares:
        winner = account_named(state, share.account)
        if winner is account:
            raise Refused(
                Reject.ACCOUNTS_THE_SAME, f"account {winner.name}: expected others to share a loss"
            )
        theirs = node(winner.number, GENERAL, asset)
        taken[theirs] = taken.get(theirs, 0) + share.amount
        if taken[theirs] > state.ledger.balance(theirs):
            raise Refused(
                Reject.SHARES_EXCEED_BALANCE,
                f"account {winner.name}: expected {taken[theirs]} of {command.asset}, found "
                f"{state.ledger.balance(theirs)}",
            )
    # From here on it must succeed.
    for theirs, amount in taken.items():
        state.ledger.move(theirs, own, amount)


def end_liquidation(state: State, command: EndLiquidation, events: list[Event]) -> None:
    """The account is above maintenance again, or has nothing left to lose and owes nothing."""
    account = liquidated_account(state, command.account)
    if has_risk(view(state, account)):
        _must_be_safe(state, account)
    for asset in range(len(state.assets)):
        debt = -state.ledger.balance(node(account.number, GENERAL, asset))
        if debt > 0 and not account.positions:
            raise Refused(
                Reject.ACCOUNT_STILL_LIQUIDATABLE,
                f"account {account.name}: expected no debt, found {debt} of "
                f"{state.assets[asset][0]}",
            )
    left = [
        state.contracts[number]
        for number in account.modes or {}
        if account.number not in state.contracts[number].holders
    ]
    for contract in left:
        held = state.ledger.balance(
            node(account.number, margin_slot(contract.number), contract.deal.asset)
        )
        if held < 0:
            raise Refused(
                Reject.ACCOUNT_STILL_LIQUIDATABLE,
                f"account {account.name}, {contract.listing.symbol}: expected no debt, found "
                f"{-held}",
            )
    # From here on the account is its owner's again.
    account.status = FROZEN if account.frozen else OPEN
    if state.house.contract is not None:
        for contract in state.contracts:
            contract_rules.give_idle_back(state, account, contract)
    for contract in left:
        give_margin_back(state, account, contract)
    events.append(StatusChanged(account.number, account.status))


def _must_be_safe(state: State, account: Account) -> None:
    if state.house.contract is not None:
        held = [state.contracts[number] for number in sorted(account.positions or ())]
        bad = any(contract_rules.distressed(state, account, one) for one in held)
        found = NOT_KNOWN._replace(known=True, liquidate=bad)
    else:
        found = standing(state, view(state, account))
    check_known(account, found)
    if found.liquidate:
        raise Refused(
            Reject.ACCOUNT_STILL_LIQUIDATABLE,
            f"account {account.name}: expected equity of at least its maintenance margin, "
            f"{found.maintenance_micro} micro, found {found.equity_micro}",
        )
