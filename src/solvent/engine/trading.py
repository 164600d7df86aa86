"""Orders that rest, and trades between two accounts."""

from __future__ import annotations

from solvent.account.ledger import FEES, GENERAL, INSURANCE, margin_slot, node, order_slot
from solvent.engine import ahead, contract_rules, slack
from solvent.engine.bargain import deal_in, let_through, order_named
from solvent.engine.dealing import Leg, post, sweep, view_after
from solvent.engine.fees import BUY, SELL, Charge
from solvent.engine.refusal import (
    Refused,
    account_named,
    check_active,
    check_known,
    check_margin,
    short_of_margin,
    traded_contract,
)
from solvent.engine.standing import fresh_plan, standing, view
from solvent.engine.state import FROZEN, OPEN, Account, Contract, Order, Standing, State
from solvent.errors import Reject
from solvent.limits import LOTS_MAX
from solvent.messages.commands import (
    CancelOrder,
    PlaceOrder,
    Trade,
)
from solvent.messages.events import Event, FeePaid, OrderReduced, OrderRested
from solvent.messages.fields import Command, Phase, Side

# ── trades ───────────────────────────────────────────────────────────────────────────────────────


def trade(state: State, command: Trade, events: list[Event]) -> None:
    """Two accounts trade. Refusals, in order: the contract, the accounts, their orders, limits,
    then each side's margin, the buyer's first."""
    dealt = deal_in(state, command)
    contract, legs = dealt.contract, dealt.legs
    by_contract = state.house.contract is not None
    moves = [(0, 0), (0, 0)]
    spared: list[int | None] = [None, None]
    for side, one in enumerate(legs):
        if by_contract:
            moves[side] = _admit_by_contract(state, one, dealt.orders[side], command)
        else:
            spared[side] = admit(state, one, command, side)
    # From here on the trade must succeed.
    slack.keep(state, legs, spared)
    buyer, seller = legs[BUY].account, legs[SELL].account
    if dealt.premium:
        pay_between(state, contract, buyer, seller, dealt.premium)
    first = BUY if legs[BUY].realised <= legs[SELL].realised else SELL
    post(state, legs[first], events)
    post(state, legs[BUY + SELL - first], events)
    if by_contract:
        for one, (into_margin, into_orders) in zip(legs, moves, strict=True):
            contract_rules.move_margin(state, one.account, contract, into_margin, into_orders)
    if dealt.costs:
        _charge(state, contract, (buyer, seller), dealt.costs, events)
    for account, name in ((buyer, command.buy_order), (seller, command.sell_order)):
        if name is not None:
            reduce_order(state, account, name, command.lots, events)
    sweep(state, contract)
    if by_contract:
        for one in legs:
            if not one.reduces:
                contract_rules.fill_up(state, one.account, contract)
            contract_rules.give_idle_back(state, one.account, contract)


def admit(state: State, one: Leg, command: Command | None = None, side: int = BUY) -> int | None:
    """Refuse a leg that the account's margin does not allow; what the account can spare after it at
    least, where that can be told. `command`, `side`: of a batch, whose other trades may be worked
    out together with this one.

    A leg that only makes the position smaller is let through where the venue's rule says so, even
    when nothing is known of the market; a frozen account may do that too.
    """
    account = one.account
    if state.decided:
        return None
    if account.number == INSURANCE:
        check_pool(state, one)
        return None
    if one.apart:
        _check_apart(state, one)
    if account.status != OPEN and not (account.status == FROZEN and one.reduces):
        check_active(account)
    bound = slack.after(state, one)
    if let_through(state, one):
        return bound
    if bound is None and account.number not in state.asked:
        slack.warm(state, state.ahead.commands, state.ahead.place)
        bound = slack.after(state, one)
    fresh = fresh_plan(state, state.rules[account.rulebook]) is not None
    if bound is not None and bound >= 0 and fresh:
        return bound
    answer = None if command is None or not fresh else ahead.known(state, command, side)
    return _admit_in_full(state, one, answer)


def _admit_in_full(state: State, one: Leg, answer: Standing | None) -> int | None:
    """The same by the account's whole margin, where it has not been worked out already."""
    account = one.account
    reducing = one.reduces and state.house.reducing == "margin"
    after = answer or standing(state, view_after(state, one, view(state, account)))
    if not after.known and reducing:
        return None
    check_known(account, after)
    if not after.call:
        return slack.told_after(state, one, after)
    if state.house.reducing == "margin":
        before = standing(state, view(state, account))
        if before.known and after.initial_micro <= before.initial_micro:
            return slack.told_after(state, one, after)
    raise short_of_margin(account, after)


def check_pool(state: State, one: Leg) -> None:
    """Refuse a leg that the insurance fund could not pay."""
    pool = state.ledger.balance(node(INSURANCE, GENERAL, one.contract.deal.asset))
    if pool + one.general < 0:
        raise Refused(
            Reject.FUND_INSUFFICIENT,
            f"insurance fund: expected {-one.general} for {one.contract.listing.symbol}, found "
            f"{pool}",
        )


def _check_apart(state: State, one: Leg) -> None:
    """An isolated position pays its losses itself; its margin comes from money that is there."""
    deal, account = one.contract.deal, one.account
    slot = margin_slot(one.contract.number)
    margin = state.ledger.balance(node(account.number, slot, deal.asset))
    if margin + one.realised + min(one.to_margin, 0) < 0:
        raise Refused(
            Reject.ISOLATED_MARGIN_INSUFFICIENT,
            f"account {account.name}, {deal.symbol}: expected a margin of {-one.realised} to pay "
            f"its loss, found {margin}",
        )
    own = state.ledger.balance(node(account.number, GENERAL, deal.asset))
    if one.general < 0 and own + one.general < 0:
        raise Refused(
            Reject.BALANCE_INSUFFICIENT,
            f"account {account.name}, {deal.symbol}: expected {-one.general} for its margin and "
            f"fees, found {own}",
        )


def _admit_by_contract(
    state: State, one: Leg, order: Order | None, command: Trade
) -> tuple[int, int]:
    """What a leg moves into the margin and the order account, where contracts are ruled by
    themselves."""
    account = one.account
    if account.number == INSURANCE:
        check_pool(state, one)
        return 0, 0
    if account.status != OPEN and not (account.status == FROZEN and one.reduces):
        check_active(account)
    margin, _, general = contract_rules.balances_of(state, account, one.contract)
    # In an auction who cannot pay a fee pays what there is.
    in_auction = one.contract.phase is Phase.AUCTION
    if one.general < 0 and general + margin + one.general < 0 and not in_auction:
        raise Refused(
            Reject.BALANCE_INSUFFICIENT,
            f"account {account.name}: expected {-one.general} for fees, found {general} and a "
            f"margin of {margin}",
        )
    filled = () if order is None else (order,)
    resting = contract_rules.order_rows(account, one.contract, but=filled)
    if order is not None:
        left = order.lots - (one.change.lots - one.before_lots)
        if left:
            row = contract_rules.order_row(one.contract, left, order.price_ticks)
            resting = [*resting, row]
    points = command.price_ticks * one.contract.deal.points_per_tick
    return contract_rules.admit_fill(
        state, one, points=points, rested=order is not None, resting=resting
    )


def pay_between(
    state: State, contract: Contract, buyer: Account, seller: Account, premium: int
) -> None:
    """An option's premium, from who buys it to who sells it."""
    asset = contract.deal.asset
    state.ledger.move(
        node(buyer.number, GENERAL, asset), node(seller.number, GENERAL, asset), premium
    )


def _charge(
    state: State,
    contract: Contract,
    sides: tuple[Account, Account],
    costs: list[Charge],
    events: list[Event],
) -> None:
    """Post fees. What is charged comes first, so that it can pay a rebate, which is cut to what the
    venue's fees hold."""
    ledger, asset = state.ledger, contract.deal.asset
    fees = node(FEES, GENERAL, asset)
    for charge in sorted(costs, key=lambda one: one.amount < 0):
        payer = sides[charge.side]
        own = node(payer.number, GENERAL, asset)
        amount = charge.amount
        if amount < 0:
            amount = -min(-amount, ledger.balance(fees))
            ledger.move(fees, own, -amount)
        else:
            other = charge.receiver
            if other is None:
                other = node(sides[BUY + SELL - charge.side].number, GENERAL, asset)
            if state.house.contract is not None and payer.number != INSURANCE:
                amount = _take(state, contract, payer, other, amount)
            else:
                ledger.move(own, other, amount)
        events.append(FeePaid(payer.number, charge.component, amount))


def _take(state: State, contract: Contract, payer: Account, other: int, amount: int) -> int:
    """A fee out of the general account, then out of the contract's own as far as they reach (which
    is all of it, but in an auction); what was taken."""
    left, asset = amount, contract.deal.asset
    for slot in (GENERAL, margin_slot(contract.number), order_slot(contract.number)):
        source = node(payer.number, slot, asset)
        part = min(left, max(0, state.ledger.balance(source)))
        state.ledger.move(source, other, part)
        left -= part
    return amount - left


# ── orders ───────────────────────────────────────────────────────────────────────────────────────


def place_order(state: State, command: PlaceOrder, events: list[Event]) -> None:
    """Rest an order, if the account's margin bears it beside all others. An order that can only
    make the position smaller is let through as such a trade is."""
    contract = traded_contract(state, command.symbol)
    account = account_named(state, command.account)
    if account.orders is not None and command.order in account.orders:
        raise Refused(
            Reject.ORDER_DUPLICATED,
            f"order {command.order!r} of account {account.name}: expected a new name",
        )
    lots = command.lots if command.side is Side.BUY else -command.lots
    order = Order(contract.number, lots, command.price_ticks)
    reduces = _only_reduces(account, contract, lots)
    if account.status != OPEN and not (account.status == FROZEN and reduces):
        check_active(account)
    if len(account.orders or ()) >= ORDERS_MAX:
        raise Refused(
            Reject.CAPACITY_REACHED, f"account {account.name}: expected at most {ORDERS_MAX} orders"
        )
    if sum(abs(one.lots) for one in (account.orders or {}).values()) + abs(lots) > LOTS_MAX:
        raise Refused(
            Reject.POSITION_TOO_LARGE,
            f"account {account.name}: expected orders of at most {LOTS_MAX} lots in all",
        )
    if state.house.contract is not None:
        _admit_order_by_contract(state, account, contract, order, reduces=reduces)
    elif not (state.decided or (reduces and state.house.reducing == "position")):
        seen = view(state, account)
        seen.orders = [*seen.orders, order]
        after = standing(state, seen)
        check_margin(account, after)
    # From here on the order must rest.
    if account.orders is None:
        account.orders = {}
    account.orders[command.order] = order
    contract.orders_count += 1
    events.append(
        OrderRested(account.number, command.order, contract.number, lots, command.price_ticks)
    )
    if state.house.contract is not None:
        contract_rules.reserve_orders(state, account, contract)
        contract_rules.fill_up(state, account, contract)


ORDERS_MAX = 10_000
"""Resting orders of one account."""


def _only_reduces(account: Account, contract: Contract, lots: int) -> bool:
    """Whether an order, with all others on its side, could only make the position smaller."""
    position = contract.holders.get(account.number)
    held = position.lots if position else 0
    same_side = sum(
        abs(one.lots)
        for one in (account.orders or {}).values()
        if one.instrument == contract.number and one.lots * lots > 0
    )
    return held * lots < 0 and same_side + abs(lots) <= abs(held)


def _admit_order_by_contract(
    state: State, account: Account, contract: Contract, order: Order, *, reduces: bool
) -> None:
    row = contract_rules.order_row(contract, order.lots, order.price_ticks)
    rows = [*contract_rules.order_rows(account, contract), row]
    sheet = contract_rules.as_it_is(state, account, contract, orders=rows)
    if not reduces and not sheet.holds(contract_rules.hooks(state).order_accepted):
        raise Refused(
            Reject.MARGIN_INSUFFICIENT,
            contract_rules.short(state, account, contract),
        )


def cancel_order(state: State, command: CancelOrder, events: list[Event]) -> None:
    """Take an order back; always allowed."""
    account = account_named(state, command.account)
    order = order_named(account, command.order)
    contract = state.contracts[order.instrument]
    reduce_order(state, account, command.order, abs(order.lots), events)
    if state.house.contract is not None:
        contract_rules.reserve_orders(state, account, contract)
        contract_rules.give_idle_back(state, account, contract)


def reduce_order(state: State, account: Account, name: str, lots: int, events: list[Event]) -> None:
    """Take lots off an order, and the order away when none are left."""
    order = order_named(account, name)
    order.lots -= lots if order.lots > 0 else -lots
    events.append(OrderReduced(account.number, name, order.lots))
    if order.lots == 0 and account.orders is not None:
        state.contracts[order.instrument].orders_count -= 1
        del account.orders[name]
        if not account.orders:
            account.orders = None
