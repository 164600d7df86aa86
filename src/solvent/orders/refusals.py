"""Why an order, or a change of one, is refused: everything is looked at before anything changes.

Refusals come in the order of the code here; each is told by its code, and by whose order it is,
what was expected and what was found.
"""

from __future__ import annotations

from typing import Final, NoReturn

from solvent.errors import Refused, Reject
from solvent.limits import ICEBERG_PARTS_MAX, LOTS_MAX
from solvent.messages.fields import Phase, StopAt, TimeInForce
from solvent.orders.book import NONE, Book, Books, live
from solvent.orders.matching import crosses, fillable
from solvent.orders.order import Gate, Order
from solvent.orders.stops import holds

ORDERS_MAX: Final = 10_000
"""Orders and stops of one account."""
_CONTINUOUS, _AUCTION, _HALTED = Phase.CONTINUOUS, Phase.AUCTION, Phase.HALTED
_GTC, _GTD = TimeInForce.GTC, TimeInForce.GTD
_IOC, _FOK = TimeInForce.IOC, TimeInForce.FOK


def refuse_new(books: Books, order: Order, *, time_ms: int, gate: Gate) -> None:
    """Refuse a new order that may not be: otherwise nothing."""
    account, name = order.account, order.name
    price, lots = order.price_ticks, order.lots
    book = books.books.get(order.instrument)
    if book is None or book.phase is _HALTED or book.terms.expiry_ms is not None:
        book = books.book_of(order.instrument)
        _refuse_closed(book, account, name, time_ms)
    terms = book.terms
    mine = books.orders.get(account, NONE)
    waiting = books.stops.get(account, NONE)
    if name in mine or name in waiting:
        _refuse_taken(mine.get(name), waiting.get(name), time_ms)
    size = abs(lots)
    plain = (
        order.time_in_force is _GTC and price is not None and not order.expire_ms
        and not order.display and size > 0 and terms.matching
    )  # fmt: skip
    if not plain:
        _refuse_terms(book, order, time_ms)
    if price is not None and (price % terms.price_step or (price <= 0 and not terms.signed)):
        _refuse_price(book, account, name, price)
    if size % terms.lots_step or not terms.lots_min <= size <= terms.lots_max:
        _refuse_lots(book, account, name, size)
    if not plain and book.phase is _AUCTION:
        _refuse_in_auction(order)
    if price is not None and (price > book.buy_max if lots > 0 else price < book.sell_min):
        _refuse_beyond_band(book, order, price)
    if order.group:
        _refuse_group(books, order, time_ms)
    count = len(mine) + len(waiting)
    if count >= ORDERS_MAX:
        _refuse(Reject.CAPACITY_REACHED, account, name, f"fewer than {ORDERS_MAX} others", count)
    if order.stop is None and books.resting_lots.get(account, 0) + size > LOTS_MAX:
        _refuse_sum(order, books.resting_lots.get(account, 0) + size)
    if not plain or order.reduce_only or order.post_only or order.stop is not None:
        _refuse_for_others(book, order, time_ms, gate)


def _refuse_for_others(book: Book, order: Order, time_ms: int, gate: Gate) -> None:
    """What depends on the position, on a price, and on what the order would meet."""
    if order.reduce_only:
        _refuse_increase(order, gate)
    if order.stop is not None:
        _refuse_set_off(book, order, order.stop)
    elif order.post_only or order.time_in_force is _FOK:
        _refuse_meeting(book, order, time_ms, gate)


def refuse_amend(
    books: Books, account: int, name: str, *, lots: int | None, price_ticks: int | None,
    time_ms: int, gate: Gate,
) -> Order:  # fmt: skip
    """Refuse a change that may not be; otherwise the order as it would come in anew, a copy.

    `lots` are all of the order's, those that were filled too, without sign.
    """
    order = books.orders.get(account, NONE).get(name)
    if order is None or (order.expire_ms and not live(order, time_ms)):
        raise _not_resting(books, account, name, time_ms)
    book = books.books[order.instrument]
    terms = book.terms
    if book.phase is _HALTED or terms.expiry_ms is not None:
        _refuse_closed(book, account, name, time_ms)
    if lots is None:
        if price_ticks is None:
            _refuse(Reject.ORDER_TERMS_INVALID, account, name, "new lots or a new price", "neither")
    elif lots <= order.filled:
        _refuse(Reject.AMEND_BELOW_FILLED, account, name,
                f"more than the {order.filled} lots that are filled", lots)  # fmt: skip
    incoming = _copy(order)
    if price_ticks is not None:
        if price_ticks % terms.price_step or (price_ticks <= 0 and not terms.signed):
            _refuse_price(book, account, name, price_ticks)
        incoming.price_ticks = price_ticks
    if lots is not None:
        if lots % terms.lots_step or not terms.lots_min <= lots <= terms.lots_max:
            _refuse_lots(book, account, name, lots)
        incoming.lots = lots - order.filled if order.lots > 0 else order.filled - lots
        if order.display and abs(incoming.lots) > ICEBERG_PARTS_MAX * order.display:
            _refuse(Reject.ORDER_TERMS_INVALID, account, name,
                    f"at most {ICEBERG_PARTS_MAX} times what it displays", lots)  # fmt: skip
    _refuse_change(books, book, order, incoming, time_ms, gate)
    return incoming


def _refuse_change(
    books: Books, book: Book, order: Order, incoming: Order, time_ms: int, gate: Gate
) -> None:
    """What depends on whether the price changes or the lots grow."""
    before, after = abs(order.lots), abs(incoming.lots)
    price = incoming.price_ticks or 0
    moves, grows = price != order.price_ticks, after > before
    if (moves or grows) and (
        price > book.buy_max if order.lots > 0 else price < book.sell_min
    ):  # fmt: skip
        _refuse_beyond_band(book, order, price)
    if order.group:
        _refuse_group(books, order, time_ms)
    lots = books.resting_lots[order.account] - before + after
    if lots > LOTS_MAX:
        _refuse_sum(order, lots)
    if grows and order.reduce_only:
        _refuse_increase(order, gate)
    if moves and order.post_only:
        _refuse_meeting(book, incoming, time_ms, gate)


# ── one by one ───────────────────────────────────────────────────────────────────────────────────


def _refuse(code: Reject, account: int, name: str, expected: str, found: object) -> NoReturn:
    raise Refused(code, f"order {name!r} of account {account}: expected {expected}, found {found}")


def _not_resting(books: Books, account: int, name: str, time_ms: int) -> Refused:
    stop = books.stops.get(account, NONE).get(name)
    if stop is not None and live(stop, time_ms):
        _refuse(Reject.ORDER_WAITING, account, name, "one that rests", "it waiting for its trigger")
    return unknown(account, name)


def unknown(account: int, name: str) -> Refused:
    """The refusal of a name that no order has."""
    detail = f"order {name!r} of account {account}: expected one that rests or waits"
    return Refused(Reject.ORDER_UNKNOWN, detail)


def _refuse_closed(book: Book, account: int, name: str, time_ms: int) -> None:
    if book.phase is _HALTED:
        _refuse(Reject.INSTRUMENT_HALTED, account, name,
                f"instrument {book.instrument} to trade", "it halted")  # fmt: skip
    expiry_ms = book.terms.expiry_ms
    if expiry_ms is not None and expiry_ms <= time_ms:
        _refuse(Reject.INSTRUMENT_EXPIRED, account, name,
                f"a time before the end of instrument {book.instrument} at {expiry_ms}",
                time_ms)  # fmt: skip


def _refuse_taken(resting: Order | None, waiting: Order | None, time_ms: int) -> None:
    for order, where in ((resting, "at rest"), (waiting, "waiting for its trigger")):
        if order is not None and live(order, time_ms):
            _refuse(Reject.ORDER_DUPLICATED, order.account, order.name, "a name that is free",
                    f"an order of that name {where}")  # fmt: skip


def _refuse_terms(book: Book, order: Order, time_ms: int) -> None:
    """Terms that do not go together."""
    immediate = order.time_in_force is _IOC or order.time_in_force is _FOK
    size, step = abs(order.lots), book.terms.lots_step
    wrong: tuple[str, object] | None = None
    if order.price_ticks is None and not immediate:
        wrong = "ioc or fok without a price", order.time_in_force
    elif immediate and order.post_only:
        wrong = "an order that may rest, if it is post-only", order.time_in_force
    elif immediate and order.display:
        wrong = "an order that may rest, if it displays only a part", order.time_in_force
    elif (order.time_in_force is _GTD) != (order.expire_ms > 0):
        wrong = "a time of expiry with gtd and with no other", order.expire_ms
    elif order.display > size or order.display % step:
        wrong = f"a multiple of {step} lots to display, {size} at most", order.display
    elif order.display and size > ICEBERG_PARTS_MAX * order.display:
        wrong = f"at most {ICEBERG_PARTS_MAX} times what it displays", size
    elif not size:
        wrong = "some lots", size
    elif not book.terms.matching and (
        immediate or order.stop is not None or order.post_only or order.display
    ):
        wrong = f"an order that only rests in instrument {book.instrument}", "other terms"
    if wrong is not None:
        _refuse(Reject.ORDER_TERMS_INVALID, order.account, order.name, *wrong)
    if not live(order, time_ms):
        _refuse(Reject.ORDER_EXPIRED, order.account, order.name,
                f"a time of expiry after {time_ms}", order.expire_ms)  # fmt: skip


def _refuse_price(book: Book, account: int, name: str, price_ticks: int) -> NoReturn:
    terms = book.terms
    if price_ticks <= 0 and not terms.signed:
        _refuse(Reject.PRICE_NOT_POSITIVE, account, name, "a price above zero", price_ticks)
    _refuse(Reject.PRICE_OFF_STEP, account, name, f"a multiple of {terms.price_step} ticks",
            price_ticks)  # fmt: skip


def _refuse_lots(book: Book, account: int, name: str, lots: int) -> NoReturn:
    terms = book.terms
    if lots % terms.lots_step:
        _refuse(Reject.LOTS_OFF_STEP, account, name, f"a multiple of {terms.lots_step} lots", lots)
    if lots < terms.lots_min:
        _refuse(Reject.ORDER_TOO_SMALL, account, name, f"at least {terms.lots_min} lots", lots)
    _refuse(Reject.ORDER_TOO_LARGE, account, name, f"at most {terms.lots_max} lots", lots)


def _refuse_in_auction(order: Order) -> None:
    """In an auction there is nothing to trade with at once; a stop waits until it is over."""
    if order.stop is None and order.time_in_force is not _GTC and order.time_in_force is not _GTD:
        _refuse(Reject.ORDER_NOT_FOR_AUCTION, order.account, order.name,
                "an order that may rest, in an auction", order.time_in_force)  # fmt: skip


def _refuse_beyond_band(book: Book, order: Order, price_ticks: int) -> NoReturn:
    edge = f"at most {book.buy_max}" if order.lots > 0 else f"at least {book.sell_min}"
    _refuse(Reject.PRICE_OUT_OF_BAND, order.account, order.name, f"{edge} ticks", price_ticks)


def _refuse_group(books: Books, order: Order, time_ms: int) -> None:
    protection = books.groups.get((order.account, order.group))
    if protection is None:
        _refuse(Reject.PROTECTION_UNKNOWN, order.account, order.name, "a group that is protected",
                repr(order.group))  # fmt: skip
    if protection.frozen(time_ms):
        until = protection.until_ms or "it is reset"
        _refuse(Reject.PROTECTION_TRIPPED, order.account, order.name,
                f"group {order.group!r} to quote", f"it frozen until {until}")  # fmt: skip


def _refuse_sum(order: Order, lots: int) -> NoReturn:
    _refuse(Reject.POSITION_TOO_LARGE, order.account, order.name,
            f"at most {LOTS_MAX} lots with all others that rest", lots)  # fmt: skip


def _refuse_increase(order: Order, gate: Gate) -> None:
    held = gate.held(order.account, order.instrument)
    if held * order.lots >= 0:
        _refuse(Reject.REDUCE_ONLY_INCREASES, order.account, order.name,
                "a position the other way to reduce", f"{held} lots")  # fmt: skip


def _refuse_set_off(book: Book, order: Order, stop: StopAt) -> None:
    if holds(stop, book.references()):
        _refuse(Reject.STOP_TRIGGERS_AT_ONCE, order.account, order.name,
                f"a trigger that the {stop.trigger} has not reached", stop.price)  # fmt: skip


def _refuse_meeting(book: Book, order: Order, time_ms: int, gate: Gate) -> None:
    """Post-only that would take, and fill-or-kill that would not be filled."""
    if book.phase is not _CONTINUOUS or not book.terms.matching:
        return
    if order.post_only and crosses(book, order, time_ms):
        _refuse(Reject.POST_ONLY_CROSSES, order.account, order.name, "a price that meets no order",
                order.price_ticks)  # fmt: skip
    if order.time_in_force is _FOK and not fillable(book, order, time_ms, gate):
        _refuse(Reject.ORDER_UNFILLABLE, order.account, order.name,
                f"{abs(order.lots)} lots within its price", "fewer")  # fmt: skip


def _copy(order: Order) -> Order:
    """A resting order as it would come in: it shows nothing yet."""
    copy = Order.__new__(Order)  # its constructor takes three times as long
    copy.account = order.account
    copy.name = order.name
    copy.instrument = order.instrument
    copy.lots = order.lots
    copy.price_ticks = order.price_ticks
    copy.time_in_force = order.time_in_force
    copy.expire_ms = order.expire_ms
    copy.post_only = order.post_only
    copy.reduce_only = order.reduce_only
    copy.display = order.display
    copy.self_trade = order.self_trade
    copy.group = order.group
    copy.session = order.session
    copy.stop = None
    copy.shown = 0
    copy.filled = order.filled
    copy.rank = order.rank
    copy.before = copy.after = None
    return copy
