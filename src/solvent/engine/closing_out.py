"""Reducing the positions of an account under liquidation: against another account, into the order
book, to the insurance fund or a backstop account, or against one that must give up its own.

Each step is refused once the rulebook's target is reached, and while it is not known how the
account stands: whoever is well, or may be, keeps what he holds.
"""

from __future__ import annotations

from collections.abc import Iterable

from solvent.account.ledger import GENERAL, INSURANCE, SYSTEM_NAMES, margin_slot, node
from solvent.engine import contract_rules
from solvent.engine.dealing import Leg, leg, margin_moves, post, premium_of, sweep, view_after
from solvent.engine.disposing import dispose, note_taken
from solvent.engine.floor import Floor
from solvent.engine.fund import check_fund_bears
from solvent.engine.refusal import (
    account_named,
    check_active,
    check_known,
    contract_named,
    liquidated_account,
    traded_contract,
    trader_named,
)
from solvent.engine.standing import standings, view
from solvent.engine.state import Account, Contract, State
from solvent.engine.trading import Party, admit, check_pool, pay_between
from solvent.engine.wound_up import (
    case_of,
    check_contract_short,
    check_cooled,
    notional_micro,
    pool_of,
    pool_view,
    step,
)
from solvent.errors import Refused, Reject
from solvent.messages.commands import (
    Deleverage,
    Liquidate,
    LiquidateInBook,
    SetBackstop,
    TakeOver,
)
from solvent.messages.events import BackstopSet, Event, FeePaid, Traded
from solvent.messages.fields import AccountKind, SelfTrade, Side, TimeInForce
from solvent.orders.order import Order
from solvent.units import div_up

PPM = 1_000_000


def liquidate(state: State, command: Liquidate, events: list[Event]) -> None:
    """Against an account that wants the position, and has the margin for it."""
    account, contract, legs, premium = _closing(
        state, command, trader_named(state, command.counterparty)
    )
    check_cooled(state, account, contract)
    pool = check_contract_short(state, account, contract)
    moves = _admit_taker(state, legs[1], command)
    # From here on it must succeed.
    _carry_out(state, contract, legs, premium, events)
    contract_rules.move_margin(state, legs[1].account, contract, *moves)
    step(state, account, contract, pool, cools=True)
    points = command.price_ticks * contract.deal.points_per_tick
    value = abs(contract.deal.money(contract.deal.value(command.lots, points)))
    wanted = div_up(value.numerator * command.fee_ppm, value.denominator * PPM)
    _charge_fee(state, account, contract, wanted, events)


def _admit_taker(state: State, one: Leg, command: Liquidate | TakeOver) -> tuple[int, int]:
    """Refuse what the margin of who takes a position over does not allow; what moves into its
    margin and order account, where contracts have their own."""
    if state.house.contract is None:
        one.to_margin = margin_moves(state, one)
        admit(state, Party(one.account, (one,), None, command.lots))
        return 0, 0
    if one.account.number == INSURANCE:
        check_pool(state, one)
        return 0, 0
    check_active(one.account)
    return contract_rules.admit_fill(
        state, one, points=command.price_ticks * one.contract.deal.points_per_tick, rested=False,
        resting=contract_rules.order_rows(state, one.account, one.contract),
    )  # fmt: skip


def _charge_fee(
    state: State, account: Account, contract: Contract, wanted: int, events: list[Event]
) -> None:
    """A fee to the insurance fund, as far as there is money for it; of an isolated position out of
    its own margin alone."""
    asset = contract.deal.asset
    left = wanted
    slots = [margin_slot(contract.number)]
    if not account.isolates(contract.number):
        slots.append(GENERAL)
    for slot in slots:
        own = node(account.number, slot, asset)
        part = min(left, max(0, state.ledger.balance(own)))
        state.ledger.move(own, node(INSURANCE, GENERAL, asset), part)
        left -= part
    events.append(FeePaid(account.number, "liquidation", wanted - left))


# ── into the order book ──────────────────────────────────────────────────────────────────────────


def liquidate_in_book(state: State, command: LiquidateInBook, events: list[Event]) -> None:
    """As an order that takes what rests, within the book's own limits, and goes.

    Its name is the command's key. Who rests there is margined as for any trade. The account pays no
    fees of the trade but the fee of liquidation. Refusals, in order: the account, the contract, the
    lots, the cooldown, the target, an order's own terms, and for a hedge whether it helps.

    What the insurance fund holds goes there too, by its own schedule (`disposing`).
    """
    if command.account == SYSTEM_NAMES[INSURANCE]:
        dispose(state, command, events)
        return
    account = liquidated_account(state, command.account)
    contract = traded_contract(state, command.symbol)
    check_not_offered(state, account)
    position = contract.holders.get(account.number)
    held = position.lots if position is not None else 0
    lots = command.lots if command.side is Side.BUY else -command.lots
    if not command.hedge and (held * lots >= 0 or abs(lots) > abs(held)):
        raise not_held(account, command.symbol, command.lots, held)
    check_cooled(state, account, contract)
    pool = check_contract_short(state, account, contract)
    order = Order(
        account.number, _free_name(state, account, command.key), contract.number, lots,
        command.price_ticks, time_in_force=TimeInForce.IOC, self_trade=SelfTrade.OLDEST,
    )  # fmt: skip
    floor = Floor(state, events, closing=account.number)
    state.desk.accept(order, time_ms=state.log.time_ms, gate=floor)
    if command.hedge:
        _check_better(state, account, contract, lots, command.price_ticks)
    # From here on the order is in.
    state.desk.enter(order, time_ms=state.log.time_ms, gate=floor, events=events)
    floor.close(events)
    value = 0
    for event in events:
        if type(event) is Traded and account.number in (event.buyer, event.seller):
            points = event.price_ticks * contract.deal.points_per_tick
            value += abs(contract.deal.value(event.lots, points))
    if value:
        step(state, account, contract, pool, cools=True)
        money = contract.deal.money(value)
        wanted = div_up(money.numerator * command.fee_ppm, money.denominator * PPM)
        _charge_fee(state, account, contract, wanted, events)


def _free_name(state: State, account: Account, key: str) -> str:
    """The command's key, or what no order of the account is called; some may still rest."""
    name, mine = key, state.orders_of(account.number)
    waiting = state.desk.stops.get(account.number, {})
    while name in mine or name in waiting:
        name += "'"
    return name


def _check_better(
    state: State, account: Account, contract: Contract, lots: int, price_ticks: int
) -> None:
    """Refuse a hedge after which, all of it done at its limit, equity would exceed maintenance
    margin by less (or be below it by more) than now."""
    if account.isolates(contract.number) or state.house.contract is not None:
        raise Refused(
            Reject.MODE_REFUSED,
            f"account {account.name}, {contract.listing.symbol}: expected a hedge where contracts "
            "are margined together",
        )
    if state.decided:
        return
    points = price_ticks * contract.deal.points_per_tick
    premium = premium_of(contract, abs(lots), points)
    one = leg(state, contract, account, lots=lots, points=points, premium=premium)
    seen = view(state, account)
    before, after = standings(state, [seen, view_after(state, one, seen)])
    check_known(account, after)
    was = before.equity_micro - before.maintenance_micro
    found = after.equity_micro - after.maintenance_micro
    if found < was:
        raise Refused(
            Reject.HEDGE_NOT_BETTER,
            f"account {account.name}: expected equity less maintenance margin of at least {was} "
            f"micro after it, found {found}",
        )


# ── to the fund, to a backstop ───────────────────────────────────────────────────────────────────


def take_over(state: State, command: TakeOver, events: list[Event]) -> None:
    """By the insurance fund, which needs no margin but must be able to pay; or by a backstop
    account, within its own margin and its cap."""
    taker = state.account(INSURANCE)
    if command.by is not None:
        taker = backstop_named(state, command.by)
    account, contract, legs, premium = _closing(state, command, taker)
    pool = check_contract_short(state, account, contract)
    moves = (0, 0)
    if taker.number == INSURANCE:
        check_pool(state, legs[1])
        if state.house.contract is None:
            check_fund_bears(state, legs[1])
    else:
        _check_cap(state, legs[1])
        moves = _admit_taker(state, legs[1], command)
    # From here on it must succeed.
    _carry_out(state, contract, legs, premium, events)
    contract_rules.move_margin(state, taker, contract, *moves)
    step(state, account, contract, pool)
    note_taken(state, legs[1])
    takers = case_of(state, account).takers
    if taker.number != INSURANCE and taker.number not in takers:
        takers.append(taker.number)


def backstop_named(state: State, name: str) -> Account:
    """A backstop account."""
    account = account_named(state, name)
    if account.kind != AccountKind.BACKSTOP:
        raise Refused(
            Reject.ACCOUNT_NOT_A_BACKSTOP,
            f"account {name}: expected a backstop account, found {account.kind}",
        )
    return account


def _check_cap(state: State, one: Leg) -> None:
    """Refuse what is beyond a backstop's cap."""
    account = one.account
    held = {number: position.lots for number, position in (account.positions or {}).items()}
    held[one.contract.number] = one.change.lots
    found, cap = notional_micro(state, held), state.backstops.get(account.number, 0)
    if found > cap:
        raise Refused(
            Reject.BACKSTOP_FULL,
            f"account {account.name}: expected a notional of at most {cap} micro, found {found}",
        )


def set_backstop(state: State, command: SetBackstop, events: list[Event]) -> None:
    """What it holds already stays, whatever the new cap."""
    account = backstop_named(state, command.account)
    # From here on the cap holds.
    state.backstops[account.number] = command.cap_micro
    events.append(BackstopSet(account.number, command.cap_micro))


# ── against the other side ───────────────────────────────────────────────────────────────────────


def deleverage(state: State, command: Deleverage, events: list[Event]) -> None:
    """Against an account of the other side, whose position becomes smaller by it; but no more than
    it can pay for: nobody is brought below maintenance margin by another's loss."""
    other = trader_named(state, command.counterparty)
    account, contract, legs, premium = _closing(state, command, other)
    if not legs[1].reduces:
        held = legs[1].before_lots
        raise Refused(
            Reject.POSITION_NOT_HELD,
            f"account {other.name}: expected at least {command.lots} lots of {command.symbol} on "
            f"the other side, found {held}",
        )
    pool = check_contract_short(state, account, contract)
    if other.number == INSURANCE:
        check_pool(state, legs[1])
    else:
        legs[1].to_margin = margin_moves(state, legs[1]) if state.house.contract is None else 0
        _check_able(state, legs[1])
    # From here on it must succeed.
    _carry_out(state, contract, legs, premium, events)
    step(state, account, contract, pool)


def foreseen_able(state: State, commands: Iterable[Deleverage]) -> None:
    """Work out together how those who are to give something up would stand, so that it is
    remembered when each is asked; changes nothing else. All of them hold what they give up."""
    views = []
    for command in commands:
        contract = state.contracts[state.contract_numbers[command.symbol]]
        other = state.account(state.account_numbers[command.counterparty])
        lots = -command.lots if contract.holders[other.number].lots > 0 else command.lots
        points = command.price_ticks * contract.deal.points_per_tick
        premium = premium_of(contract, command.lots, points)
        one = leg(state, contract, other, lots=lots, points=points, premium=premium)
        one.to_margin = margin_moves(state, one)
        seen = pool_view(state, other, pool_of(state, other, contract.number))
        views += [seen, view_after(state, one, seen)]
    standings(state, views)


def _check_able(state: State, one: Leg) -> None:
    """Refuse what would leave who is deleveraged worse off and below its maintenance margin. Where
    contracts are ruled by themselves that is looked at with the next mark."""
    if state.decided or state.house.contract is not None:
        return
    account = one.account
    seen = pool_view(state, account, pool_of(state, account, one.contract.number))
    before, after = standings(state, [seen, view_after(state, one, seen)])
    if after.liquidate and after.equity_micro < before.equity_micro:
        raise Refused(
            Reject.COUNTERPARTY_UNABLE,
            f"account {account.name}: expected equity of at least its maintenance margin after it, "
            f"{after.maintenance_micro} micro, found {after.equity_micro}",
        )


def not_held(account: Account, symbol: str, lots: int, held: int) -> Refused:
    """Why lots cannot be closed that an account does not hold."""
    return Refused(
        Reject.POSITION_NOT_HELD,
        f"account {account.name}: expected at least {lots} lots of {symbol}, found {held}",
    )


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
    check_not_offered(state, account)
    position = contract.holders.get(account.number)
    held = position.lots if position is not None else 0
    if command.lots > abs(held):
        raise not_held(account, command.symbol, command.lots, held)
    lots = -command.lots if held > 0 else command.lots
    points = command.price_ticks * contract.deal.points_per_tick
    premium = premium_of(contract, command.lots, points)
    legs = (
        leg(state, contract, account, lots=lots, points=points, premium=premium),
        leg(state, contract, other, lots=-lots, points=points, premium=premium),
    )
    return account, contract, legs, premium if lots > 0 else -premium


def check_not_offered(state: State, account: Account) -> None:
    """Refuse to reduce an account while it is for sale."""
    if account.number in state.auctions:
        raise Refused(
            Reject.AUCTION_RUNNING,
            f"account {account.name}: expected no auction, found one that has begun",
        )


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
