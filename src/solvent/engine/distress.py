"""The steps by which an account that cannot pay is wound up. Which of them, when and how much is a
plan made elsewhere; here each is checked and done."""

from __future__ import annotations

from fractions import Fraction

from solvent.account.ledger import (
    FUND,
    GENERAL,
    INSURANCE,
    VENUE,
    margin_slot,
    node,
)
from solvent.engine import contract_rules
from solvent.engine.closing_out import backstop_named, check_not_offered
from solvent.engine.fund import note_highs
from solvent.engine.refusal import (
    account_named,
    asset_named,
    check_active,
    check_known,
    contract_named,
    liquidated_account,
)
from solvent.engine.settlement import give_margin_back
from solvent.engine.standing import NOT_KNOWN, has_risk, standing, view
from solvent.engine.state import (
    CROSS,
    FROZEN,
    LIQUIDATION,
    OPEN,
    Account,
    Case,
    Contract,
    Standing,
    State,
)
from solvent.engine.wound_up import (
    case_of,
    check_pool_below,
    check_short,
    index_nano,
    pool_of,
    pools_below,
    touch,
)
from solvent.errors import Refused, Reject
from solvent.limits import COMBO_FIRST
from solvent.messages.commands import (
    BeginLiquidation,
    Confiscate,
    ConvertCollateral,
    CoverDebt,
    EndLiquidation,
    FundMarket,
    SocialiseLoss,
)
from solvent.messages.events import (
    CallEnded,
    CollateralConverted,
    Event,
    LiquidationBegun,
    StatusChanged,
)
from solvent.messages.fields import CoverFrom
from solvent.orders.order import Why


def begin_liquidation(state: State, command: BeginLiquidation, events: list[Event]) -> None:
    """Only an account that is known to be below maintenance; its orders are taken back.

    Where contracts are ruled by themselves, orders of isolated ones stay, with
    the margin that they have.
    """
    account = account_named(state, command.account)
    if account.status == LIQUIDATION:
        check_active(account)
    found = _must_be_liquidatable(state, account)
    pools = pools_below(state, account)
    # From here on the account is under liquidation.
    note_highs(state)
    account.status = LIQUIDATION
    state.cases[account.number] = Case(
        begun_ms=state.log.time_ms, equity_micro=found.equity_micro,
        maintenance_micro=found.maintenance_micro, pools=pools,
    )  # fmt: skip
    going = None
    if state.house.contract is not None:
        mine = state.open.sides.get(account.number, {})
        going = [number for number in mine if not account.isolates(number)]
    state.desk.cancel_where(
        account=account.number, instruments=going, why=Why.LIQUIDATION, events=events
    )
    state.open.take(events)
    events.append(LiquidationBegun(account.number, found.equity_micro, found.maintenance_micro))
    if state.calls.pop(account.number, None) is not None:
        events.append(CallEnded(account.number, "liquidated"))


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


# ── money of an account under liquidation ────────────────────────────────────────────────────────


def confiscate(state: State, command: Confiscate, events: list[Event]) -> None:
    """What is left of it goes to the insurance fund, or to a backstop account that has taken
    positions of it. Refused for money of what was never below its maintenance margin."""
    account = liquidated_account(state, command.account)
    asset = asset_named(state, command.asset)
    own = _own_money(state, account, asset, command.symbol)
    receiver = INSURANCE
    if command.to is not None:
        receiver = _taker_named(state, account, command.to)
    check_not_offered(state, account)
    held = state.ledger.balance(own)
    if held < command.amount:
        raise Refused(
            Reject.BALANCE_INSUFFICIENT,
            f"account {account.name}: expected {command.amount} of {command.asset}, found {held}",
        )
    check_pool_below(state, account, _pool_named(state, account, command.symbol))
    # From here on it must succeed.
    state.ledger.move(own, node(receiver, GENERAL, asset), command.amount)


def _taker_named(state: State, account: Account, name: str) -> int:
    """A backstop account that has taken positions of an account under liquidation."""
    taker = backstop_named(state, name)
    if taker.number not in case_of(state, account).takers:
        raise Refused(
            Reject.ACCOUNT_NOT_A_BACKSTOP,
            f"account {name}: expected one that has taken positions of {account.name}",
        )
    return taker.number


def _pool_named(state: State, account: Account, symbol: str | None) -> int:
    """What of an account is meant: all that it holds together, or one contract's margin."""
    if symbol is None:
        return CROSS
    number = state.contract_numbers[symbol]
    if state.house.contract is not None:
        return number
    return pool_of(state, account, number)


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
    pool = _pool_named(state, account, command.symbol)
    _check_needs_help(state, account, pool)
    # From here on it must succeed.
    state.ledger.move(source, own, command.amount)
    touch(state, account, pool)


def _own_money(state: State, account: Account, asset: int, symbol: str | None) -> int:
    """The account's own money, or that of one of its contracts, which may be over."""
    if symbol is None:
        return node(account.number, GENERAL, asset)
    contract = _contract_ever(state, symbol)
    _check_settles(state, contract, asset)
    return node(account.number, margin_slot(contract.number), asset)


def _check_settles(state: State, contract: Contract, asset: int) -> None:
    if contract.deal.asset != asset:
        raise Refused(
            Reject.INSTRUMENT_NOT_FOR_THIS,
            f"instrument {contract.listing.symbol}: expected one that settles in "
            f"{state.assets[asset][0]}",
        )


def _check_debt(state: State, account: Account, own: int, amount: int, asset: str) -> None:
    debt = max(0, -state.ledger.balance(own))
    if debt < amount:
        raise Refused(
            Reject.DEBT_EXCEEDED,
            f"account {account.name}: expected a debt of {amount} of {asset} or more, found {debt}",
        )


def _check_needs_help(state: State, account: Account, pool: int) -> None:
    """Refuse others' money for what still holds positions and is well."""
    if state.house.contract is not None:
        return
    if any(pool_of(state, account, number) == pool for number in account.positions or ()):
        check_short(state, account, pool)


def _fund(state: State, command: CoverDebt, asset: int) -> int:
    """Node of what pays."""
    if command.source is CoverFrom.MEMBER:
        member = account_named(state, command.member or "")
        if member.kind != "member":
            raise Refused(
                Reject.ACCOUNT_NOT_A_MEMBER,
                f"account {member.name}: expected a member, found {member.kind}",
            )
        return node(member.number, FUND, asset)
    if command.source is CoverFrom.MARKET:
        contract = _contract_ever(state, command.market or "")
        _check_settles(state, contract, asset)
        return node(INSURANCE, margin_slot(contract.number), asset)
    pool = INSURANCE if command.source is CoverFrom.INSURANCE else VENUE
    return node(pool, GENERAL, asset)


def _contract_ever(state: State, symbol: str) -> Contract:
    """A contract that was listed, be it over: its part of the fund stays until it is moved."""
    number = state.contract_numbers.get(symbol, COMBO_FIRST)
    if number >= COMBO_FIRST:
        return contract_named(state, symbol)
    return state.contracts[number]


def fund_market(state: State, command: FundMarket, events: list[Event]) -> None:
    """Between the insurance fund that all share and the part of it that is for one contract, in
    what the contract settles in. Back also when the contract is over."""
    contract = (_contract_ever if command.back else contract_named)(state, command.symbol)
    asset = contract.deal.asset
    shared = node(INSURANCE, GENERAL, asset)
    own = node(INSURANCE, margin_slot(contract.number), asset)
    source, target = (own, shared) if command.back else (shared, own)
    held = state.ledger.balance(source)
    if held < command.amount:
        raise Refused(
            Reject.FUND_INSUFFICIENT,
            f"insurance fund: expected {command.amount} of {state.assets[asset][0]}, found {held}",
        )
    # From here on it must succeed.
    state.ledger.move(source, target, command.amount)


def convert_collateral(state: State, command: ConvertCollateral, events: list[Event]) -> None:
    """The insurance fund buys an asset of the account with another, at the indices or below.

    Refusals, in order: the account, the assets, what each has, prices that are missing or old, a
    price above the indices, then whether the account needs it: it is short of its target, or holds
    nothing and owes what it gets.
    """
    account = liquidated_account(state, command.account)
    asset, into = asset_named(state, command.asset), asset_named(state, command.into)
    if asset == into:
        raise Refused(
            Reject.ASSETS_THE_SAME, f"asset {command.asset}: expected another one to pay with"
        )
    check_not_offered(state, account)
    held = state.ledger.balance(node(account.number, GENERAL, asset))
    if held < command.amount:
        raise Refused(
            Reject.BALANCE_INSUFFICIENT,
            f"account {account.name}: expected {command.amount} of {command.asset}, found {held}",
        )
    there = state.ledger.balance(node(INSURANCE, GENERAL, into))
    if there < command.into_amount:
        raise Refused(
            Reject.FUND_INSUFFICIENT,
            f"insurance fund: expected {command.into_amount} of {command.into}, found {there}",
        )
    worth = _worth(state, asset, command.amount)
    paid = _worth(state, into, command.into_amount)
    if paid > worth:
        raise Refused(
            Reject.CONVERSION_TOO_DEAR,
            f"account {account.name}: expected {command.amount} of {command.asset} to be worth "
            f"{command.into_amount} of {command.into} or more, found {float(worth / paid):.6f} of "
            "that",
        )
    _check_wants(state, account, into, command)
    # From here on it must succeed.
    state.ledger.move(
        node(INSURANCE, GENERAL, into), node(account.number, GENERAL, into), command.into_amount
    )
    state.ledger.move(
        node(account.number, GENERAL, asset), node(INSURANCE, GENERAL, asset), command.amount
    )
    touch(state, account, CROSS)
    events.append(
        CollateralConverted(
            account.number, asset, command.amount, into, command.into_amount
        )
    )  # fmt: skip


def _worth(state: State, asset: int, amount: int) -> Fraction:
    """Billionths of a dollar."""
    return Fraction(amount * index_nano(state, asset, fresh=True), 10 ** state.assets[asset][1])


def _check_wants(state: State, account: Account, into: int, command: ConvertCollateral) -> None:
    if any(pool_of(state, account, number) == CROSS for number in account.positions or ()):
        check_short(state, account, CROSS)
        return
    own = node(account.number, GENERAL, into)
    _check_debt(state, account, own, command.into_amount, command.into)


def socialise_loss(state: State, command: SocialiseLoss, events: list[Event]) -> None:
    """Winners pay a debt, each the share that a plan gave it. What each has given is remembered for
    as long as it holds anything: gains that have paid once are not there to pay again."""
    account = liquidated_account(state, command.account)
    asset = asset_named(state, command.asset)
    own = _own_money(state, account, asset, command.symbol)
    _check_debt(state, account, own, sum(one.amount for one in command.shares), command.asset)
    taken: dict[int, int] = {}
    winners: dict[int, Account] = {}
    for share in command.shares:
        winner = account_named(state, share.account)
        if winner is account:
            raise Refused(
                Reject.ACCOUNTS_THE_SAME, f"account {winner.name}: expected others to share a loss"
            )
        theirs = node(winner.number, GENERAL, asset)
        taken[theirs] = taken.get(theirs, 0) + share.amount
        winners[theirs] = winner
        if taken[theirs] > state.ledger.balance(theirs):
            raise Refused(
                Reject.SHARES_EXCEED_BALANCE,
                f"account {winner.name}: expected {taken[theirs]} of {command.asset}, found "
                f"{state.ledger.balance(theirs)}",
            )
    pool = _pool_named(state, account, command.symbol)
    _check_needs_help(state, account, pool)
    # From here on it must succeed.
    for theirs, amount in taken.items():
        state.ledger.move(theirs, own, amount)
        winner = winners[theirs]
        if winner.positions:
            given = winner.given or {}
            winner.given = {**given, asset: given.get(asset, 0) + amount}
    touch(state, account, pool)


def end_liquidation(state: State, command: EndLiquidation, events: list[Event]) -> None:
    """The account is above maintenance again, or has nothing left to lose and owes nothing."""
    account = liquidated_account(state, command.account)
    check_not_offered(state, account)
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
    del state.cases[account.number]
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
