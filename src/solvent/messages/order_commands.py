"""Commands about orders; see `commands` for what all have in common."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from solvent.messages.fields import (
    Amount,
    ComboLeg,
    Command,
    Lots,
    Name,
    NewName,
    Number,
    OrderTicks,
    SelfTrade,
    Side,
    StopAt,
    TimeInForce,
    TimeMs,
)


class PlaceOrder(Command, frozen=True, omit_defaults=True):
    """Buy or sell at a price or better: what does not trade at once rests, and is margined until it
    is filled or cancelled.

    Without a price it is a market order. What is not told is `gtc`, or `ioc` of a market order.
    `post_only` never takes, `reduce_only` never makes the position larger. `display_lots` shows no
    more than these at a time. `stop`: it waits until its trigger. `group`: protected as a market
    maker's (`SetProtection`). `session`: cancelled when that ends (`Disconnect`).
    """

    account: Name
    order: Name
    symbol: Name
    side: Side
    lots: Lots
    price_ticks: OrderTicks | None = None
    time_in_force: TimeInForce | None = None
    expire_ms: TimeMs | None = None
    post_only: bool = False
    reduce_only: bool = False
    display_lots: Lots | None = None
    self_trade: SelfTrade = SelfTrade.NEWEST
    stop: StopAt | None = None
    group: Name | None = None
    session: Name | None = None


class AmendOrder(Command, frozen=True, omit_defaults=True):
    """Change an order's price, or its lots: all of them, the filled ones counted.

    It keeps its place in the queue where only lots are taken off.
    """

    account: Name
    order: Name
    lots: Lots | None = None
    price_ticks: OrderTicks | None = None


class CancelOrder(Command, frozen=True):
    """Take what is left of an order back."""

    account: Name
    order: Name


class CancelOrders(Command, frozen=True, omit_defaults=True):
    """Take all orders back that fit everything that is told; at least one thing is."""

    account: Name | None = None
    symbol: Name | None = None
    underlying: Name | None = None
    side: Side | None = None
    group: Name | None = None


class Disconnect(Command, frozen=True):
    """A session of an account has ended: the orders that were placed for it go."""

    account: Name
    session: Name


class SetProtection(Command, frozen=True, omit_defaults=True):
    """Protect a group of an account's orders: when within `window_ms` more than `lots` were filled,
    or more than `delta_nano` one way (billionths of a coin), all of them go, and no new ones come
    for `frozen_ms` (0: until `ResetProtection`)."""

    account: Name
    group: NewName
    window_ms: Annotated[int, Meta(ge=1, le=86_400_000)]
    frozen_ms: Annotated[int, Meta(ge=0, le=86_400_000)]
    lots: Lots | None = None
    delta_nano: Amount | None = None


class ResetProtection(Command, frozen=True):
    """Let a group quote again; what was filled before counts no more."""

    account: Name
    group: Name


class ListCombo(Command, frozen=True):
    """Open a combination of contracts for trading: it trades as one and settles as its legs.

    A leg is a contract and how many lots of it a lot of the combination buys (negative: sells). A
    tick of the combination is one of `tick_size` in the quote currency.
    """

    symbol: NewName
    legs: Annotated[tuple[ComboLeg, ...], Meta(min_length=2, max_length=16)]
    tick_size: Number


class ReportBlock(Command, frozen=True):
    """One side's report of a trade agreed elsewhere; done when the other side's fits it."""

    account: Name
    counterparty: Name
    side: Side
    symbol: Name
    lots: Lots
    price_ticks: OrderTicks
    reference: Name


class WithdrawBlock(Command, frozen=True):
    """Take a report back to which the other side has not come."""

    account: Name
    reference: Name


class RelieveMargin(Command, frozen=True):
    """Take orders back where an account's available margin is below zero, by its rules' plan."""

    account: Name
