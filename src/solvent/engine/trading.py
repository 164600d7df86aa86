"""Trades between two accounts, however they came about: told, met in a book, or a block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from solvent.account.ledger import FEES, GENERAL, INSURANCE, margin_slot, node, order_slot
from solvent.engine import ahead, contract_rules, slack
from solvent.engine.bargain import Dealt, deal_in, let_through, order_named
from solvent.engine.dealing import Leg, post, sweep, view_after
from solvent.engine.fees import BUY, SELL, Charge
from solvent.engine.open_orders import Asked
from solvent.engine.refusal import check_active, check_known, short_of_margin
from solvent.engine.standing import fresh_plan, reordered, standing, view
from solvent.engine.state import FROZEN, OPEN, Account, Contract, Standing, State
from solvent.errors import Refused, Reject
from solvent.messages.commands import Trade
from solvent.messages.events import Event, FeePaid
from solvent.messages.fields import Command, Phase
from solvent.orders.order import Order, Why


@dataclass(frozen=True, slots=True)
class Party:
    """One side of a trade: its legs (of a combination several), and the resting order, if there is
    one, of which the trade fills so many lots."""

    account: Account
    legs: Sequence[Leg]
    order: Order | None
    lots: int

    def order_changes(self) -> tuple[Asked | None, Asked | None]:
        """The order that rests, before and after."""
        order = self.order
        if order is None:
            return None, None
        was = Asked(order.instrument, order.lots, order.price_ticks or 0)
        left = order.lots - self.lots if order.lots > 0 else order.lots + self.lots
        return was, was._replace(lots=left)


def trade(state: State, command: Trade, events: list[Event]) -> None:
    """Two accounts trade. Refusals, in order: the contract, the accounts, their orders, limits,
    then each side's margin, the buyer's first."""
    dealt = deal_in(state, command)
    parties = [
        Party(
            one.account, (one,), None if name is None else order_named(state, one.account, name),
            command.lots,
        )
        for one, name in zip(dealt.legs, (command.buy_order, command.sell_order), strict=True)
    ]  # fmt: skip
    moves = check_parties(state, parties, dealt.price_ticks, command)
    # From here on the trade must succeed.
    carry_out(state, dealt, moves, events)
    for party in parties:
        if party.order is not None:
            state.desk.take_off(
                party.account.number, party.order.name, command.lots, why=Why.FILLED, events=events
            )
    state.open.take(events)
    settle_margins(state, dealt)


# ── may it be ────────────────────────────────────────────────────────────────────────────────────


def check_parties(
    state: State, parties: Sequence[Party], price_ticks: int, command: Command | None = None, *,
    closing: int = -1,
) -> list[tuple[int, int]]:  # fmt: skip
    """Refuse what a side's margin does not allow, the buyer's first.

    What the trade moves into each side's margin and order account, where contracts have their own.
    `command`: of a batch, whose other trades may be worked out together with this one. `closing`:
    an account under liquidation, which is let through; the insurance fund must be able to pay.
    """
    moves = []
    for side, party in enumerate(parties):
        try:
            if party.account.number == closing != INSURANCE:
                moves.append((0, 0))
            elif state.house.contract is None:
                admit(state, party, command, side)
                moves.append((0, 0))
            else:
                moves.append(_admit_by_contract(state, party, price_ticks))
        except Refused as refused:
            refused.side = side
            raise
    return moves


def admit(state: State, party: Party, command: Command | None = None, side: int = BUY) -> None:
    """Refuse a side that the account's margin does not allow.

    What only makes the position smaller is let through where the venue's rule says so, even when
    nothing is known of the market; a frozen account may do that too.
    """
    account, legs = party.account, party.legs
    if state.decided:
        return
    if account.number == INSURANCE:
        for one in legs:
            check_pool(state, one)
        return
    for one in legs:
        if one.apart:
            _check_apart(state, one)
    if account.status != OPEN and not (
        account.status == FROZEN and all(one.reduces for one in legs)
    ):
        check_active(account)
    if all(let_through(state, one) for one in legs):
        return
    was, now = party.order_changes()
    bound = slack.after(state, account, legs, was, now)
    if bound is None and account.number not in state.asked:
        slack.warm(state, state.ahead.commands, state.ahead.place)
        bound = slack.after(state, account, legs, was, now)
    fresh = fresh_plan(state, state.rules[account.rulebook]) is not None
    if bound is not None and bound >= 0 and fresh:
        return
    answer = None if command is None or not fresh else ahead.known(state, command, side)
    _admit_in_full(state, party, answer)


def _admit_in_full(state: State, party: Party, answer: Standing | None) -> None:
    """The same by the account's whole margin, where it has not been worked out already."""
    account, legs = party.account, party.legs
    was, now = party.order_changes()
    reducing = state.house.reducing == "margin" and all(one.reduces for one in legs)
    after = answer
    if after is None:
        seen = view(state, account)
        if was is not None:
            seen = reordered(state, seen, was, now)
        for one in legs:
            seen = view_after(state, one, seen)
        after = standing(state, seen)
    if not after.known and reducing:
        return
    check_known(account, after)
    good = not after.call
    if not good and state.house.reducing == "margin":
        before = standing(state, view(state, account))
        good = before.known and after.initial_micro <= before.initial_micro
    if not good:
        raise short_of_margin(account, after)
    slack.told_after(state, account, after, legs, was, now)


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


def _admit_by_contract(state: State, party: Party, price_ticks: int) -> tuple[int, int]:
    """What a side moves into the margin and the order account, where contracts are ruled by
    themselves."""
    (one,), account, order = party.legs, party.account, party.order
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
    resting = contract_rules.order_rows(state, account, one.contract, but=filled)
    left = party.order_changes()[1]
    if left is not None and left.lots:
        row = contract_rules.order_row(one.contract, left.lots, left.price_ticks)
        resting = [*resting, row]
    return contract_rules.admit_fill(
        state, one, points=price_ticks * one.contract.deal.points_per_tick,
        rested=order is not None, resting=resting,
    )  # fmt: skip


# ── doing it ─────────────────────────────────────────────────────────────────────────────────────


def carry_out(
    state: State, dealt: Dealt, moves: Sequence[tuple[int, int]], events: list[Event]
) -> None:
    """Post a trade that was worked out and checked: premium, gains, positions, fees."""
    contract, legs = dealt.contract, dealt.legs
    slack.keep(state, legs)
    buyer, seller = legs[BUY].account, legs[SELL].account
    if dealt.premium:
        pay_between(state, contract, buyer, seller, dealt.premium)
    first = BUY if legs[BUY].realised <= legs[SELL].realised else SELL
    post(state, legs[first], events)
    post(state, legs[BUY + SELL - first], events)
    if state.house.contract is not None:
        for one, (into_margin, into_orders) in zip(legs, moves, strict=True):
            contract_rules.move_margin(state, one.account, contract, into_margin, into_orders)
    if dealt.costs:
        _charge(state, contract, (buyer, seller), dealt.costs, events)
    sweep(state, contract)


def settle_margins(state: State, dealt: Dealt) -> None:
    """After a trade, where contracts are ruled by themselves: fill margin up, give idle back."""
    if state.house.contract is None:
        return
    for one in dealt.legs:
        if not one.reduces:
            contract_rules.fill_up(state, one.account, dealt.contract)
        contract_rules.give_idle_back(state, one.account, dealt.contract)


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
