"""Books as plain rows, and back.

Rows hold whole numbers, text, None and true or false alone. Equal books have equal rows, and books
that are built from them continue exactly as those that they were taken of: whatever has an order
keeps it. What can be found again from the orders, such as levels, is not kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from solvent.errors import check
from solvent.messages.fields import Phase, SelfTrade, StopAt, TimeInForce, Trigger
from solvent.orders.book import Book, Books
from solvent.orders.order import BookTerms, Order
from solvent.orders.protection import Protection

Rows = Sequence[Any]


def rows_of(books: Books) -> Rows:
    """Everything that books remember, but for their terms."""
    return (
        books.rank,
        [_book(books.books[number]) for number in sorted(books.books)],
        [(account, [_order(order) for order in mine.values()])
         for account, mine in books.orders.items()],
        [(account, [_order(order) for order in mine.values()])
         for account, mine in books.stops.items()],
        [(account, group, *_group(one)) for (account, group), one in books.groups.items()],
    )  # fmt: skip


def fill_in(books: Books, rows: Rows, terms: Mapping[int, BookTerms]) -> None:
    """Bring empty books to what rows tell; every instrument's terms are given."""
    check(not books.books, "books are empty", len(books.books))
    rank, told_books, orders, stops, groups = rows
    for instrument, phase, mark_points, index_nano, last in told_books:
        book = books.books[instrument] = Book(instrument, terms[instrument])
        book.phase = Phase(phase)
        book.observe(mark_points, index_nano)
        book.last = last
    # An account keeps its orders in the order of coming; at its price an order's place is by rank.
    for account, told in orders:
        books.orders[account] = {one[0]: _read(account, one) for one in told}
        books.resting_lots[account] = 0
    for account, told in stops:
        books.stops[account] = {one[0]: _read(account, one) for one in told}
    for order in _by_rank(books.orders):
        books.rank, shown = order.rank - 1, order.shown
        books.rest(order, [])
        order.shown = shown
    for order in _by_rank(books.stops):
        books.rank = order.rank - 1
        books.wait(order, [])
    books.rank = rank
    for account, group, *told in groups:
        books.groups[account, group] = _read_group(told)


def _by_rank(orders: dict[int, dict[str, Order]]) -> list[Order]:
    every = [order for mine in orders.values() for order in mine.values()]
    return sorted(every, key=lambda order: order.rank)


def _book(book: Book) -> Rows:
    return book.instrument, book.phase.value, book.mark_points, book.index_nano, book.last


def _order(order: Order) -> Rows:
    stop = order.stop
    return (
        order.name, order.instrument, order.lots, order.price_ticks, order.rank, order.shown,
        order.filled, order.time_in_force.value, order.expire_ms, order.post_only,
        order.reduce_only, order.display, order.self_trade.value, order.group, order.session,
        None if stop is None else (stop.trigger.value, stop.price, stop.rises),
    )  # fmt: skip


def _read(account: int, told: Rows) -> Order:
    (name, instrument, lots, price_ticks, rank, shown, filled, time_in_force, expire_ms, post_only,
     reduce_only, display, self_trade, group, session, stop) = told  # fmt: skip
    order = Order(
        account, name, instrument, lots, price_ticks, time_in_force=TimeInForce(time_in_force),
        expire_ms=expire_ms, post_only=post_only, reduce_only=reduce_only, display=display,
        self_trade=SelfTrade(self_trade), group=group, session=session,
        stop=None if stop is None else StopAt(Trigger(stop[0]), stop[1], stop[2]),
    )  # fmt: skip
    order.rank, order.shown, order.filled = rank, shown, filled
    return order


def _group(one: Protection) -> Rows:
    # A delta is lots times billionths: it may need more than 64 bits.
    notes = [(time_ms, lots, str(delta_nano)) for time_ms, lots, delta_nano in one.notes]
    return (
        one.window_ms, one.frozen_ms, one.lots, one.delta_nano, one.tripped, one.until_ms, notes
    )  # fmt: skip


def _read_group(told: Rows) -> Protection:
    window_ms, frozen_ms, lots, delta_nano, tripped, until_ms, notes = told
    one = Protection(window_ms=window_ms, frozen_ms=frozen_ms, lots=lots, delta_nano=delta_nano)
    one.tripped, one.until_ms = tripped, until_ms
    for time_ms, lots_filled, delta in notes:
        one.note(time_ms, lots_filled, int(delta))
    return one
