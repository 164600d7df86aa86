"""The price of an auction, and its end: all trade at one price.

Demand at a price is what all bids at it or above would buy, supply what all asks at it or below
would sell, hidden lots too; what can be executed is the lesser of the two.
"""

from __future__ import annotations

from typing import Final

from solvent.messages.events import Event, Traded, Uncrossed
from solvent.orders.book import Book, Books, Ladder
from solvent.orders.matching import (
    FILLED,
    MARGIN,
    REDUCE_ONLY,
    SELF_TRADE,
    note,
    room_of,
)
from solvent.orders.order import Gate, Order, Verdict
from solvent.orders.stops import LAST

_DONE, _BUYER = Verdict.DONE, Verdict.BUYER
_NOBODY: Final = ""
"""No side is the aggressor."""


def uncrossing(book: Book) -> tuple[int, int] | None:
    """The price in ticks that executes the most lots, and how many; None where nothing crosses.

    Of prices that execute as many: the one that leaves the fewest on one side; of those the highest
    where all leave bids, the lowest where all leave asks, else the nearest to the mark (or else the
    last price; the lowest where neither is known or two are as near).
    """
    best: list[tuple[int, int]] = []
    most = fewest = 0
    for price, demand, supply in _curve(book):
        lots, surplus = min(demand, supply), demand - supply
        if lots > most or (lots == most and abs(surplus) < fewest):
            best, most, fewest = [], lots, abs(surplus)
        if lots == most and abs(surplus) == fewest:
            best.append((price, surplus))
    return (_of_tied(book, best), most) if best else None


def _curve(book: Book) -> list[tuple[int, int, int]]:
    """Price, demand and supply at each price that crosses, the lowest first."""
    bids, asks = book.bids, book.asks
    if not bids.keys or not asks.keys or bids.keys[-1] + asks.keys[-1] < 0:
        return []
    low, high = -asks.keys[-1], bids.keys[-1]
    at_bid = {key: _lots(bids, key) for key in bids.keys if key >= low}
    at_ask = {-key: _lots(asks, key) for key in asks.keys if -key <= high}
    demand, supply = sum(at_bid.values()), 0
    curve = []
    for price in sorted(at_bid | at_ask):
        supply += at_ask.get(price, 0)
        curve.append((price, demand, supply))
        demand -= at_bid.get(price, 0)
    return curve


def _lots(ladder: Ladder, key: int) -> int:
    return sum(abs(order.lots) for order in ladder.levels[key])


def _of_tied(book: Book, tied: list[tuple[int, int]]) -> int:
    """One of the prices (lowest first) that execute as much and leave as much."""
    if all(surplus > 0 for _, surplus in tied):
        return tied[-1][0]
    if all(surplus < 0 for _, surplus in tied):
        return tied[0][0]
    if book.mark_points is not None:
        mark, per_tick = book.mark_points, book.terms.points_per_tick
        return min(tied, key=lambda one: abs(one[0] * per_tick - mark))[0]
    if book.last is not None:
        last = book.last
        return min(tied, key=lambda one: abs(one[0] - last))[0]
    return tied[0][0]


def uncross(books: Books, book: Book, time_ms: int, gate: Gate, events: list[Event]) -> None:
    """End an auction: until nothing crosses any more, all that can trade do so at one price."""
    while (found := uncrossing(book)) is not None:
        price = found[0]
        volume = 0
        while (pair := _front(book, price)) is not None:
            volume += _meet(books, book, pair, price, time_ms, gate, events)
        if volume:
            events.append(Uncrossed(book.instrument, price, volume))


def _front(book: Book, price: int) -> tuple[Order, Order] | None:
    """The first bid and the first ask that trade at a price."""
    bid, ask = book.bids.front(price), book.asks.front(-price)
    return None if bid is None or ask is None else (bid, ask)


def _meet(
    books: Books, book: Book, pair: tuple[Order, Order], price: int, time_ms: int, gate: Gate,
    events: list[Event],
) -> int:  # fmt: skip
    """Two orders trade, without sign so many lots; or one of them goes: 0."""
    bid, ask = pair
    if bid.account == ask.account:
        books.withdraw(bid if bid.rank > ask.rank else ask, SELF_TRADE, events)
        return 0
    lots = min(bid.lots, -ask.lots)
    for order in pair:
        if order.reduce_only:
            room = room_of(gate, order)
            if not room:
                books.withdraw(order, REDUCE_ONLY, events)
                return 0
            lots = min(lots, room)
    verdict = gate.fill(bid, ask, lots=lots, price_ticks=price, aggressor=None, events=events)
    if verdict is not _DONE:
        books.withdraw(bid if verdict is _BUYER else ask, MARGIN, events)
        return 0
    events.append(
        Traded(book.instrument, price, lots, bid.account, bid.name, ask.account, ask.name, _NOBODY)
    )
    book.last = price
    if book.stops.count and book.stops.reached(LAST, price * book.terms.points_per_tick):
        books.stirred[book.instrument] = None
    for order in pair:
        order.filled += lots
        left = abs(order.lots) - lots
        # In an auction an order trades with all its lots in its first rank.
        books.trim(order, left, min(order.display or left, left), FILLED, events)
    for order, bought in ((bid, lots), (ask, -lots)):
        if order.group:
            note(books, order, bought, time_ms, gate, events)
    return lots
