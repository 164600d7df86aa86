"""A trade worked out, before anybody has agreed to it: who, on what terms, with what effect."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from solvent.account.ledger import INSURANCE
from solvent.engine.dealing import Leg, leg, margin_moves, premium_of
from solvent.engine.fees import BUY, SELL, Charge, charges
from solvent.engine.refusal import traded_contract, trader_named
from solvent.engine.state import Account, Contract, State
from solvent.errors import Refused, Reject
from solvent.messages.commands import Trade
from solvent.messages.fields import Side
from solvent.orders.order import Order

Held = Mapping[tuple[int, int], tuple[int, int, int]]


@dataclass(slots=True)
class Dealt:
    """A trade worked out: who, on what terms, and what each side would hold and pay."""

    contract: Contract
    legs: tuple[Leg, Leg]
    premium: int
    costs: list[Charge]
    price_ticks: int


def deal_in(state: State, command: Trade, held: Held | None = None) -> Dealt:
    """Work a trade out. Refuses what cannot be traded, whatever the margin.

    `held` are positions (account, contract → lots, entry, basis) that are not those of now.
    """
    contract = traded_contract(state, command.symbol)
    buyer = trader_named(state, command.buyer)
    seller = trader_named(state, command.seller)
    if buyer is seller:
        raise Refused(
            Reject.ACCOUNTS_THE_SAME, f"account {buyer.name}: expected another one on each side"
        )
    order_filled(state, buyer, command.buy_order, contract, command, bought=True)
    order_filled(state, seller, command.sell_order, contract, command, bought=False)
    return agree(
        state, contract, buyer, seller, lots=command.lots, price_ticks=command.price_ticks,
        aggressor=command.aggressor, held=held,
    )  # fmt: skip


def agree(
    state: State, contract: Contract, buyer: Account, seller: Account, *, lots: int,
    price_ticks: int, aggressor: Side | None, held: Held | None = None, closing: int = -1,
) -> Dealt:  # fmt: skip
    """What a trade between two accounts comes to; refuses what is beyond limits, by side.

    `closing`: an account under liquidation. It pays no fees of the trade, and nothing leaves the
    margin of its isolated position.
    """
    held = held or {}
    points = price_ticks * contract.deal.points_per_tick
    premium = premium_of(contract, lots, points)
    buys = leg(state, contract, buyer, lots=lots, points=points, premium=premium,
               held=held.get((buyer.number, contract.number)))  # fmt: skip
    try:
        sells = leg(state, contract, seller, lots=-lots, points=points, premium=premium,
                    held=held.get((seller.number, contract.number)))  # fmt: skip
    except Refused as refused:
        refused.side = SELL
        raise
    legs = buys, sells
    costs = []
    if state.house.fees:
        costs = charges(state, contract, lots=lots, points=points, aggressor=aggressor)
        costs = [cost for cost in costs if legs[cost.side].account.number != closing]
    for charge in costs:
        legs[charge.side].fees -= charge.amount
        if charge.receiver is None and charge.amount > 0:
            legs[BUY + SELL - charge.side].fees += charge.amount
    for side, one in enumerate(legs):
        if one.account.number == INSURANCE:
            # The fund never owes: it must have what it pays before anybody pays it.
            one.fees = -sum(max(cost.amount, 0) for cost in costs if cost.side == side)
    if state.house.contract is None:
        for one in legs:
            if one.account.number != closing:
                one.to_margin = margin_moves(state, one)
    return Dealt(contract, legs, premium, costs, price_ticks)


def order_filled(
    state: State,
    account: Account,
    name: str | None,
    contract: Contract,
    command: Trade,
    *,
    bought: bool,
) -> Order | None:
    """The order that a trade fills, which must be for such a trade."""
    if name is None:
        return None
    order = order_named(state, account, name)
    left = order.lots if bought else -order.lots
    limit = order.price_ticks or 0  # what rests has one
    at_limit = command.price_ticks <= limit if bought else command.price_ticks >= limit
    if order.instrument != contract.number or left < command.lots or not at_limit:
        raise Refused(
            Reject.ORDER_MISMATCHED,
            f"order {name} of account {account.name}: expected one to "
            f"{'buy' if bought else 'sell'} at least {command.lots} lots of {command.symbol} at "
            f"{command.price_ticks} ticks, found {order.lots} at {order.price_ticks}",
        )
    return order


def order_named(state: State, account: Account, name: str) -> Order:
    """A resting order of an account."""
    order = state.orders_of(account.number).get(name)
    if order is None:
        raise Refused(
            Reject.ORDER_UNKNOWN,
            f"order {name!r} of account {account.name}: expected a resting one",
        )
    return order


def let_through(state: State, one: Leg) -> bool:
    """Whether a leg needs no margin, as it only makes the position smaller."""
    return state.house.reducing == "position" and one.reduces
