"""A trade worked out, before anybody has agreed to it: who, on what terms, with what effect."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from solvent.account.ledger import INSURANCE
from solvent.engine.dealing import Leg, leg, margin_moves, premium_of
from solvent.engine.fees import BUY, SELL, Charge, charges
from solvent.engine.refusal import Refused, traded_contract, trader_named
from solvent.engine.state import Account, Contract, Order, State
from solvent.errors import Reject
from solvent.messages.commands import Trade

Held = Mapping[tuple[int, int], tuple[int, int, int]]


@dataclass(slots=True)
class Dealt:
    """A trade worked out: who, on what terms, and what each side would hold and pay."""

    contract: Contract
    legs: tuple[Leg, Leg]
    premium: int
    costs: list[Charge]
    orders: tuple[Order | None, Order | None]


def deal_in(state: State, command: Trade, held: Held | None = None) -> Dealt:
    """Work a trade out. Refuses what cannot be traded, whatever the margin.

    `held` are positions (account, contract → lots, entry, basis) that are not those of now.
    """
    held = held or {}
    contract = traded_contract(state, command.symbol)
    buyer = trader_named(state, command.buyer)
    seller = trader_named(state, command.seller)
    if buyer is seller:
        raise Refused(
            Reject.ACCOUNTS_THE_SAME, f"account {buyer.name}: expected another one on each side"
        )
    orders = (
        _order_filled(buyer, command.buy_order, contract, command, bought=True),
        _order_filled(seller, command.sell_order, contract, command, bought=False),
    )
    lots, points = command.lots, command.price_ticks * contract.deal.points_per_tick
    premium = premium_of(contract, lots, points)
    legs = (
        leg(state, contract, buyer, lots=lots, points=points, premium=premium,
            held=held.get((buyer.number, contract.number))),
        leg(state, contract, seller, lots=-lots, points=points, premium=premium,
            held=held.get((seller.number, contract.number))),
    )  # fmt: skip
    costs = []
    if state.house.fees:
        costs = charges(state, contract, lots=lots, points=points, aggressor=command.aggressor)
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
            one.to_margin = margin_moves(state, one)
    return Dealt(contract, legs, premium, costs, orders)


def _order_filled(
    account: Account, name: str | None, contract: Contract, command: Trade, *, bought: bool
) -> Order | None:
    """The order that a trade fills, which must be for such a trade."""
    if name is None:
        return None
    order = order_named(account, name)
    left = order.lots if bought else -order.lots
    at_limit = command.price_ticks <= order.price_ticks
    if not bought:
        at_limit = command.price_ticks >= order.price_ticks
    if order.instrument != contract.number or left < command.lots or not at_limit:
        raise Refused(
            Reject.ORDER_MISMATCHED,
            f"order {name} of account {account.name}: expected one to "
            f"{'buy' if bought else 'sell'} at least {command.lots} lots of {command.symbol} at "
            f"{command.price_ticks} ticks, found {order.lots} at {order.price_ticks}",
        )
    return order


def order_named(account: Account, name: str) -> Order:
    """A resting order of an account."""
    order = None if account.orders is None else account.orders.get(name)
    if order is None:
        raise Refused(
            Reject.ORDER_UNKNOWN,
            f"order {name!r} of account {account.name}: expected a resting one",
        )
    return order


def let_through(state: State, one: Leg) -> bool:
    """Whether a leg needs no margin, as it only makes the position smaller."""
    return state.house.reducing == "position" and one.reduces
