"""A level-2 book: what a venue shows, kept up by changes that follow one another without a gap.

A book is live after a snapshot, and until something is wrong with it: it never shows levels that
are half old. Levels are checked before any is applied; whether changes follow one another is the
venue's own rule and told by its adapter.
"""

from __future__ import annotations

import zlib
from bisect import bisect_left
from collections.abc import Iterable
from decimal import Decimal
from typing import Final

from solvent.errors import check
from solvent.feeds.live.messages import BadValue, Levels, price, size

LEVELS_MAX: Final = 20_000
_CHECKED_LEVELS: Final = 25
"""OKX's checksum is over so many levels a side."""


def levels(pairs: Iterable[tuple[Decimal | str, Decimal | str]]) -> Levels:
    """Checked levels of (price, size) pairs. Raises BadValue.

    >>> levels([("1.5", "0")])
    ((Decimal('1.5'), Decimal('0')),)
    """
    found = tuple((price(one), size(other)) for one, other in pairs)
    if len(found) > LEVELS_MAX:
        raise BadValue(f"levels: expected at most {LEVELS_MAX}, found {len(found)}")
    return found


class Side:
    """One side's sizes by price, its prices in order."""

    __slots__ = ("prices", "sizes")

    def __init__(self) -> None:
        self.prices: list[Decimal] = []
        """Ascending."""
        self.sizes: dict[Decimal, Decimal] = {}

    def clear(self) -> None:
        """No level."""
        self.prices.clear()
        self.sizes.clear()

    def put(self, changed: Levels) -> None:
        """Levels that are others now; size 0 takes one away."""
        for at, amount in changed:
            if amount:
                if at not in self.sizes:
                    self.prices.insert(bisect_left(self.prices, at), at)
                self.sizes[at] = amount
            elif self.sizes.pop(at, None) is not None:
                del self.prices[bisect_left(self.prices, at)]


class Book:
    """Bids and asks of one instrument. `sequence` is the venue's number of its last message."""

    __slots__ = ("_asks", "_bids", "live", "sequence", "symbol", "time_ms")

    def __init__(self, symbol: str) -> None:
        self.symbol = symbol
        self.live = False
        self.sequence = 0
        self.time_ms = 0
        self._bids = Side()
        self._asks = Side()

    def replace(self, *, bids: Levels, asks: Levels, sequence: int, time_ms: int) -> None:
        """Take a snapshot: the book is live."""
        self.drop()
        self._bids.put(bids)
        self._asks.put(asks)
        self.sequence, self.time_ms, self.live = sequence, time_ms, True

    def change(self, *, bids: Levels, asks: Levels, sequence: int, time_ms: int) -> None:
        """Take changes that follow `sequence` without a gap."""
        check(self.live, "only a live book is changed", self.symbol)
        self._bids.put(bids)
        self._asks.put(asks)
        self.sequence, self.time_ms = sequence, time_ms

    def drop(self) -> None:
        """Know nothing until the next snapshot."""
        self.live = False
        self._bids.clear()
        self._asks.clear()

    def has(self, side: str, at: Decimal) -> bool:
        """Whether a price is shown on a side, `bid` or `ask`."""
        return at in (self._bids if side == "bid" else self._asks).sizes

    @property
    def bid(self) -> Decimal | None:
        """The best bid."""
        return self._bids.prices[-1] if self._bids.prices else None

    @property
    def ask(self) -> Decimal | None:
        """The best ask."""
        return self._asks.prices[0] if self._asks.prices else None

    @property
    def crossed(self) -> bool:
        """Whether a bid stands at or above an ask."""
        bid, ask = self.bid, self.ask
        return bid is not None and ask is not None and bid >= ask

    def bids(self, depth: int | None = None) -> Levels:
        """The best bids first."""
        prices = self._bids.prices[::-1] if depth is None else self._bids.prices[: -depth - 1 : -1]
        return tuple((at, self._bids.sizes[at]) for at in prices)

    def asks(self, depth: int | None = None) -> Levels:
        """The best asks first."""
        return tuple((at, self._asks.sizes[at]) for at in self._asks.prices[:depth])

    def trim(self, depth: int) -> None:
        """Keep so many levels a side: a venue that shows a fixed depth says nothing of others."""
        for side, cut in ((self._bids, slice(None, -depth)), (self._asks, slice(depth, None))):
            for at in side.prices[cut]:
                del side.sizes[at]
            del side.prices[cut]


def okx_checksum(book: Book) -> int:
    """OKX's checksum of a book: CRC-32, signed, of `bid:size:ask:size:…` over 25 levels, a side
    that is shorter left out where it ends. Digits count as the venue wrote them.

    >>> book = Book("x")
    >>> book.replace(bids=levels([("3366.1", "7")]), asks=levels([("3366.8", "9")]), sequence=1,
    ...              time_ms=0)
    >>> okx_checksum(book), zlib.crc32(b"3366.1:7:3366.8:9") - (1 << 32)
    (-2058547290, -2058547290)
    """
    bids, asks = book.bids(_CHECKED_LEVELS), book.asks(_CHECKED_LEVELS)
    parts: list[str] = []
    for at in range(max(len(bids), len(asks))):
        for side in (bids, asks):
            if at < len(side):
                parts += [f"{side[at][0]:f}", f"{side[at][1]:f}"]
    found = zlib.crc32(":".join(parts).encode())
    return found - (1 << 32) if found >= 1 << 31 else found
