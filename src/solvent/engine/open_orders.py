"""What resting orders could come to, kept up with every event: margin need not walk all orders.

For each account and contract the lots of its bids and of its offers and what they would cost, in
the contract's value units, signed as positions are. Nothing here is remembered by itself: it is a
fold over the events of orders, and equal to the sums over the desk's orders after every command
(`engine.audit` holds it so).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from solvent.messages.events import Event, OrderReduced, OrderRested
from solvent.orders.order import Why

_AMENDED: Final = str(Why.AMENDED)
Value = Callable[[int, int, int], int]
"""Instrument, lots, price in ticks → what they cost."""


class Asked(NamedTuple):
    """An order as margin sees it: positive lots buy."""

    instrument: int
    lots: int
    price_ticks: int


class Sides(NamedTuple):
    """All bids and all offers in one contract: lots, and what they cost; offers are negative."""

    bid_lots: int
    bid_value: int
    ask_lots: int
    ask_value: int

    def plus(self, lots: int, value: int, *, bid: bool) -> Sides:
        """With more (or fewer) on one side."""
        bids, cost, asks, gain = self
        if bid:
            return Sides(bids + lots, cost + value, asks, gain)
        return Sides(bids, cost, asks + lots, gain + value)


NONE = Sides(0, 0, 0, 0)


class OpenOrders:
    """The sums, by account and instrument, and the orders that they are made of."""

    __slots__ = ("_seen", "_value", "asked", "moved", "sides")

    def __init__(self, value: Value) -> None:
        self._value = value
        self._seen = 0
        self.asked: dict[tuple[int, str], Asked] = {}
        self.sides: dict[int, dict[int, Sides]] = {}
        self.moved: list[tuple[int, int, int, int, bool]] = []
        """Every change that nobody has looked at yet: account, instrument, lots and value more,
        whether of bids."""

    def begin(self) -> None:
        """A new command: its list of events is empty yet."""
        self._seen = 0

    def take(self, events: Sequence[Event]) -> None:
        """Take in what has been told since the last look at this command's events."""
        seen, told = self._seen, len(events)
        if seen == told:
            return
        self._seen = told
        for place in range(seen, told):
            event = events[place]
            if type(event) is OrderRested:
                self.put(event.account, event.order,
                         Asked(event.instrument, event.lots, event.price_ticks))  # fmt: skip
            elif type(event) is OrderReduced:
                gone = not event.lots
                if gone and event.why == _AMENDED and type(_at(events, place + 1)) is OrderRested:
                    continue  # it comes in anew at once, and so takes its own place
                instrument, _, price_ticks = self.asked[event.account, event.order]
                self.put(event.account, event.order, Asked(instrument, event.lots, price_ticks))

    def put(self, account: int, name: str, now: Asked) -> None:
        """An order is now this; without lots it has gone."""
        asked, key = self.asked, (account, name)
        was = asked.get(key)
        instrument, lots, _ = now
        more, value, bid = lots, 0, lots > 0
        if lots:
            asked[key] = now
            value = self._value(*now)
        if was is not None:
            if not lots:
                del asked[key]
            bid = was.lots > 0
            more -= was.lots
            value -= self._value(*was)
        if more or value:
            self._add(account, instrument, more, value, bid=bid)

    def _add(self, account: int, instrument: int, lots: int, value: int, *, bid: bool) -> None:
        """More lots, or fewer, on one side."""
        mine = self.sides.get(account)
        if mine is None:
            mine = self.sides[account] = {}
        after = mine.get(instrument, NONE).plus(lots, value, bid=bid)
        if after != NONE:
            mine[instrument] = after
        else:
            del mine[instrument]
            if not mine:
                del self.sides[account]
        self.moved.append((account, instrument, lots, value, bid))


def _at(events: Sequence[Event], place: int) -> Event | None:
    return events[place] if place < len(events) else None


def with_order(
    mine: Mapping[int, Sides], value: Value, was: Asked | None, now: Asked | None
) -> dict[int, Sides]:
    """The sums of one account if an order were another, were new, or were gone."""
    after = dict(mine)
    for one, sign in ((was, -1), (now, 1)):
        if one is not None and one.lots:
            cost = sign * value(*one)
            sides = after.get(one.instrument, NONE).plus(sign * one.lots, cost, bid=one.lots > 0)
            after[one.instrument] = sides
    return {instrument: sides for instrument, sides in after.items() if sides != NONE}
