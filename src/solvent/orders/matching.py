"""An incoming order meets those that rest; what is left of it rests, or it is over.

`carry` is the whole of it. It asks the gate for every fill, in the order of what happens: the best
price first, at a price by rank. Keys are those of `Ladder`; a `floor` is the least key of the other
side that an order's price takes in, None where it takes any.
"""

from __future__ import annotations

from typing import Final

from solvent.messages.events import Event, OrderEnded, ProtectionTripped, Traded
from solvent.messages.fields import Phase, SelfTrade, Side, TimeInForce
from solvent.orders.book import Book, Books, live
from solvent.orders.order import Gate, Order, Verdict, Why
from solvent.orders.stops import LAST

FILLED: Final = str(Why.FILLED)
IMMEDIATE: Final = str(Why.IMMEDIATE)
MARGIN: Final = str(Why.MARGIN)
PROTECTION: Final = str(Why.PROTECTION)
REDUCE_ONLY: Final = str(Why.REDUCE_ONLY)
SELF_TRADE: Final = str(Why.SELF_TRADE)
# Members of an Enum are slow to look up in their class.
_CONTINUOUS: Final = Phase.CONTINUOUS
_IOC, _FOK = TimeInForce.IOC, TimeInForce.FOK
_NEWEST, _OLDEST, _BOTH = SelfTrade.NEWEST, SelfTrade.OLDEST, SelfTrade.BOTH
_BUY, _SELL = Side.BUY, Side.SELL
_DONE, _BUYER = Verdict.DONE, Verdict.BUYER
_OVER: Final = -1
_BUY_TEXT, _SELL_TEXT = str(Side.BUY), str(Side.SELL)


def carry(books: Books, order: Order, time_ms: int, gate: Gate, events: list[Event]) -> None:
    """Carry an order out: it trades with what it meets, and rests or is over."""
    book = books.books[order.instrument]
    if book.phase is _CONTINUOUS and book.terms.matching:
        buys, price = order.lots > 0, order.price_ticks
        keys = (book.asks if buys else book.bids).keys
        if (
            keys
            and (price is None or keys[-1] + (price if buys else -price) >= 0)
            and not _match(books, book, order, time_ms, gate, events)
        ):
            return
    if order.time_in_force is _IOC or order.time_in_force is _FOK:
        end(order, IMMEDIATE, events)
    else:
        books.rest(order, events)


def end(order: Order, why: str, events: list[Event]) -> None:
    """An order that does not rest is over."""
    events.append(OrderEnded(order.account, order.name, order.lots, why))


def floor_of(book: Book, order: Order) -> int:
    """The least key of the other side that the order's price takes in; a market order's price is
    the edge of the band."""
    price = order.price_ticks
    if order.lots > 0:
        return -(book.buy_max if price is None else price)
    return book.sell_min if price is None else price


def room_of(gate: Gate, order: Order) -> int:
    """How many lots a reduce-only order may trade: what its account holds the other way.

    Without sign.
    """
    held = gate.held(order.account, order.instrument)
    return abs(held) if held * order.lots < 0 else 0


def crosses(book: Book, order: Order, time_ms: int) -> bool:
    """Whether an order would meet one that has not expired."""
    ladder = book.asks if order.lots > 0 else book.bids
    floor = floor_of(book, order)
    for key in reversed(ladder.keys):
        if key < floor:
            return False
        if any(live(maker, time_ms) for maker in ladder.levels[key]):
            return True
    return False


def fillable(book: Book, order: Order, time_ms: int, gate: Gate) -> bool:
    """Whether an order finds all its lots at once. Its own account's never count: it goes past them
    if they are to be taken back (`oldest`), and no further than to them otherwise."""
    left = abs(order.lots)
    if order.reduce_only and left > room_of(gate, order):
        return False
    ladder = book.asks if order.lots > 0 else book.bids
    floor = floor_of(book, order)
    rooms: dict[int, int] = {}
    for maker in ladder:
        if maker.level.key < floor:
            return False
        if not live(maker, time_ms):
            continue
        if maker.account == order.account:
            if order.self_trade is _OLDEST:
                continue
            return False
        lots = abs(maker.lots)
        if maker.reduce_only:
            room = rooms.get(maker.account)
            if room is None:
                room = room_of(gate, maker)
            lots = min(lots, room)
            rooms[maker.account] = room - lots
        left -= lots
        if left <= 0:
            return True
    return False


def impact(book: Book, side: Side, lots: int) -> tuple[int, int, int | None]:
    """What a taker of a side would get of all that rests: lots, sum of lots·ticks, worst price."""
    left, cost, worst = lots, 0, None
    for maker in book.asks if side is _BUY else book.bids:
        if left <= 0:
            break
        size = min(left, abs(maker.lots))
        worst = maker.price_ticks or 0
        cost += size * worst
        left -= size
    return lots - left, cost, worst


# ── the loop ─────────────────────────────────────────────────────────────────────────────────────


def _match(
    books: Books, book: Book, order: Order, time_ms: int, gate: Gate, events: list[Event]
) -> bool:
    """Trade with all that its price takes in; whether the order goes on, with what is left."""
    buys = order.lots > 0
    ladder = book.asks if buys else book.bids
    floor = floor_of(book, order)
    side = _BUY if buys else _SELL
    while (maker := ladder.front(floor)) is not None:
        if maker.account == order.account:
            if not _meet_own(books, order, maker, events):
                return False
            continue
        lots = abs(order.lots)
        if maker.shown < lots:
            lots = maker.shown
        if maker.reduce_only or order.reduce_only:
            lots = _within_rooms(books, order, maker, lots, gate, events)
            if lots == _OVER:
                return False
            if not lots:
                continue
        buy, sell = (order, maker) if buys else (maker, order)
        verdict = gate.fill(
            buy, sell, lots=lots, price_ticks=maker.price_ticks or 0, aggressor=side, events=events
        )
        if verdict is _DONE:
            if not _fill(books, book, order, maker, lots, time_ms, gate, events):
                return False
        elif (verdict is _BUYER) == buys:
            end(order, MARGIN, events)
            return False
        else:
            books.withdraw(maker, MARGIN, events)
    return True


def _meet_own(books: Books, order: Order, maker: Order, events: list[Event]) -> bool:
    """The order meets one of its own account: whether it goes on."""
    mode = order.self_trade
    if mode is _OLDEST:
        books.withdraw(maker, SELF_TRADE, events)
        return True
    if mode is _BOTH:
        books.withdraw(maker, SELF_TRADE, events)
    elif mode is not _NEWEST:
        lots = min(abs(order.lots), maker.shown)
        books.reduce(maker, lots, SELF_TRADE, events)
        order.lots += lots if order.lots < 0 else -lots
        if order.lots:
            return True
    end(order, SELF_TRADE, events)
    return False


def _within_rooms(
    books: Books, order: Order, maker: Order, lots: int, gate: Gate, events: list[Event]
) -> int:
    """The lots, or fewer, that keep to reduce-only of both; 0 if the maker has gone, `_OVER` if the
    order has."""
    if maker.reduce_only:
        room = room_of(gate, maker)
        if not room:
            books.withdraw(maker, REDUCE_ONLY, events)
            return 0
        lots = min(lots, room)
    if order.reduce_only:
        room = room_of(gate, order)
        if not room:
            end(order, REDUCE_ONLY, events)
            return _OVER
        lots = min(lots, room)
    return lots


def _fill(
    books: Books, book: Book, order: Order, maker: Order, lots: int, time_ms: int, gate: Gate,
    events: list[Event],
) -> bool:  # fmt: skip
    """A fill is done: whether the order goes on."""
    price = maker.price_ticks or 0
    if order.lots > 0:
        bought = lots
        events.append(
            Traded(book.instrument, price, lots, order.account, order.name, maker.account,
                   maker.name, _BUY_TEXT)
        )  # fmt: skip
    else:
        bought = -lots
        events.append(
            Traded(book.instrument, price, lots, maker.account, maker.name, order.account,
                   order.name, _SELL_TEXT)
        )  # fmt: skip
    book.last = price
    if book.stops.count and book.stops.reached(LAST, price * book.terms.points_per_tick):
        books.stirred[book.instrument] = None
    order.lots -= bought
    order.filled += lots
    maker.filled += lots
    books.reduce(maker, lots, FILLED, events)
    if maker.group:
        note(books, maker, -bought, time_ms, gate, events)
    tripped = order.group and note(books, order, bought, time_ms, gate, events)
    if order.lots and not tripped:
        return True
    end(order, PROTECTION if order.lots else FILLED, events)
    return False


def note(
    books: Books, order: Order, bought: int, time_ms: int, gate: Gate, events: list[Event]
) -> bool:
    """Count a fill for its order's group, lots signed; whether that trips, and all its orders go.

    The limits are looked at after each fill, so a fill may go beyond them.
    """
    account, group = order.account, order.group
    protection = books.groups[account, group]
    delta_nano = bought * gate.delta_nano(order.instrument)
    if not protection.note(time_ms, abs(bought), delta_nano):
        return False
    protection.trip(time_ms)
    events.append(ProtectionTripped(account, group, protection.until_ms))
    books.withdraw_where(account, None, None, group, None, PROTECTION, events)
    return True
