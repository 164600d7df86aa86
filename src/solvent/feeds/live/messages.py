"""What adapters tell: a venue's frames in common words, frozen.

Prices and sizes are decimals, exactly as the venue wrote them: an adapter knows no tick before the
venue has listed its instruments, and some ticks change with the price. `in_ticks` crosses to whole
ticks. Sizes are in the venue's own unit. Times are milliseconds UTC: `time_ms` by the venue's
clock, `received_ms` by ours.
"""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import Final

import msgspec

from solvent.errors import check
from solvent.limits import TIME_MS_MAX

_PLACES_MAX: Final = 40
"""Digits a decimal may reach on either side of its point; no price or size comes near."""

Levels = tuple[tuple[Decimal, Decimal], ...]
"""(price, size) pairs; in a change, size 0 is a level that is no more."""


class Channel(StrEnum):
    """What may be asked of a venue, about one instrument."""

    TICKER = "ticker"
    BOOK = "book"
    TRADES = "trades"
    FUNDING = "funding"


class Want(msgspec.Struct, frozen=True, order=True):
    """A channel of an instrument, by the venue's own name of it."""

    channel: Channel
    symbol: str


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What every message has."""

    venue: str
    symbol: str
    time_ms: int
    received_ms: int


class Ticker(Told, frozen=True, kw_only=True, tag=True):
    """An instrument's prices as last told; None is not told, or told to be none.

    `vol` is a fraction, `forward` what an option is priced on. A ticker has parts that may come by
    channels of their own, and each has its own time by the venue: a channel that went silent shows
    in its part's. 0 where only `time_ms`, the newest of all, is told.
    """

    bid: Decimal | None = None
    bid_size: Decimal | None = None
    ask: Decimal | None = None
    ask_size: Decimal | None = None
    last: Decimal | None = None
    mark: Decimal | None = None
    index: Decimal | None = None
    forward: Decimal | None = None
    vol: Decimal | None = None
    rate: Decimal | None = None
    """Continuous rate that discounts an option, where the venue tells one."""
    quote_ms: int = 0
    """Of bid, ask, their sizes and last."""
    mark_ms: int = 0
    index_ms: int = 0
    model_ms: int = 0
    """Of forward, vol and rate."""


class BookSnapshot(Told, frozen=True, kw_only=True, tag=True):
    """A whole book, best first; what came before it counts no more."""

    sequence: int
    bids: Levels
    asks: Levels


class BookDelta(Told, frozen=True, kw_only=True, tag=True):
    """Levels that are others now. It follows the message of this book before it without a gap."""

    sequence: int
    bids: Levels
    asks: Levels


class Trade(Told, frozen=True, kw_only=True, tag=True):
    """A trade; `side` is the taker's."""

    price: Decimal
    size: Decimal
    side: str
    number: str


class Funding(Told, frozen=True, kw_only=True, tag=True):
    """A perpetual's funding: `rate` by `hours`, a fraction; a long pays a positive one."""

    rate: Decimal
    hours: int | None = None
    """None where the venue does not tell it beside the rate."""
    next_ms: int | None = None
    current: Decimal | None = None
    """The rate of this moment where funding is continuous."""


class FaultKind(StrEnum):
    """What can be wrong with a feed. Each is counted by its name."""

    MALFORMED = "malformed"
    """No JSON object."""
    WRONG_TYPE = "wrong type"
    """A known channel, and fields that are missing or of another type."""
    BAD_VALUE = "bad value"
    """A price of 0 or below, a negative size, no number, a time that cannot be."""
    UNKNOWN_CHANNEL = "unknown channel"
    REFUSED = "refused"
    """The venue answered with an error."""
    GAP = "gap"
    """Changes of a book were missed: it is dropped and asked for again."""
    CHECKSUM = "checksum"
    """A book is not what the venue says it is: dropped and asked for again."""
    CROSSED = "crossed"
    """A bid at or above an ask: dropped and asked for again."""
    OLD = "old"
    """A change that a book has already, left out."""
    SILENT = "silent"
    """A book that has not changed for long: asked for again, to be sure."""
    OVERFLOW = "overflow"
    """More came than was taken: books are asked for again, trades are lost."""
    LOST = "lost"
    """The connection ended, or nothing came for long."""


class Fault(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Something wrong, at our time `received_ms`; what brought it has changed nothing."""

    venue: str
    kind: FaultKind
    symbol: str
    detail: str
    received_ms: int


Message = Ticker | BookSnapshot | BookDelta | Trade | Funding | Fault


class BadValue(ValueError):
    """A number that a market cannot have."""


def number(value: Decimal | str, what: str) -> Decimal:
    """A finite decimal of sane length. Raises BadValue.

    >>> number("1.742e-05", "a rate")
    Decimal('0.00001742')
    """
    try:
        found = Decimal(value)
    except ArithmeticError as fault:
        raise BadValue(f"{what}: expected a number, found {value!r:.40}") from fault
    if not found.is_finite() or abs(found.adjusted()) > _PLACES_MAX:
        raise BadValue(f"{what}: expected a finite number, found {value!r:.40}")
    _, digits, places = found.as_tuple()
    if len(digits) > 2 * _PLACES_MAX:
        raise BadValue(f"{what}: expected at most {2 * _PLACES_MAX} digits, found {len(digits)}")
    if not isinstance(places, int) or places < -_PLACES_MAX or places > 0:
        found = Decimal(f"{found:f}")
    return found


def price(value: Decimal | str) -> Decimal:
    """A price above 0. Raises BadValue."""
    found = number(value, "price")
    if found <= 0:
        raise BadValue(f"price: expected more than 0, found {value}")
    return found


def size(value: Decimal | str, what: str = "size") -> Decimal:
    """A size, or a mark that may be worth nothing: 0 or more. Raises BadValue."""
    found = number(value, what)
    if found < 0:
        raise BadValue(f"{what}: expected 0 or more, found {value}")
    return found


def price_or_none(value: Decimal | str | None) -> Decimal | None:
    """A price; None where the venue writes nothing or 0 for none. Raises BadValue below 0."""
    if value is None or value == "":
        return None
    found = number(value, "price")
    if found < 0:
        raise BadValue(f"price: expected 0 or more, found {value}")
    return found if found else None


def size_or_none(value: Decimal | str | None) -> Decimal | None:
    """A size; None where the venue writes nothing."""
    return None if value is None or value == "" else size(value)


def moment(value: int | str) -> int:
    """A time in milliseconds. Raises BadValue."""
    try:
        found = int(value)
    except ValueError as fault:
        raise BadValue(f"time: expected milliseconds, found {value!r:.40}") from fault
    if not 0 <= found <= TIME_MS_MAX:
        raise BadValue(f"time: expected milliseconds since 1970, found {value!r:.40}")
    return found


def in_ticks(value: Decimal, tick: Decimal) -> int:
    """A price as whole ticks, exact. Raises BadValue for a price between two ticks.

    >>> in_ticks(Decimal("7.6110"), Decimal("0.001"))
    7611
    """
    check(tick > 0, "a tick is above 0", tick)
    count = value / tick
    if count != count.to_integral_value() or count * tick != value:
        raise BadValue(f"price: expected a multiple of {tick}, found {value}")
    return int(count)
