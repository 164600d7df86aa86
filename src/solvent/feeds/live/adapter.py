"""What all venues' adapters have in common: state machines that read frames and do no I/O.

A caller hands over every frame with the time at which it came, and does what it is told in return:
messages to pass on, frames to send, REST addresses to fetch. It beats about once a second. So an
adapter runs the same on a socket, on a recording and in a test.

Nothing a venue sends raises: what cannot be used is a `Fault`, counted by its name, and changes no
book and no ticker. A book with which something is wrong is dropped whole and asked for again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

import msgspec

from solvent.errors import check
from solvent.feeds.live.books import Book, okx_checksum
from solvent.feeds.live.messages import (
    BookDelta,
    BookSnapshot,
    Channel,
    Fault,
    FaultKind,
    Levels,
    Message,
    Ticker,
    Want,
)
from solvent.feeds.live.status import Health, Status, status

RESYNC_PATIENCE_MS: Final = 5_000
"""A book that was asked for again and did not come is asked for once more after so long."""
SILENT_AFTER_MS: Final = 60_000
"""A book without any change for so long is asked for again: its last change may have been lost."""
FRAME_BYTES_MAX: Final = 8 << 20
_PART_OF: Final = {
    **dict.fromkeys(("bid", "bid_size", "ask", "ask_size", "last"), "quote_ms"),
    "mark": "mark_ms", "index": "index_ms",
    **dict.fromkeys(("forward", "vol", "rate"), "model_ms"),
}  # fmt: skip
"""Which of a ticker's times is that of a price."""


@dataclass(frozen=True, slots=True)
class Fetch:
    """A REST address to GET, below the venue's REST URL; `about` is the instrument."""

    path: str
    about: str


@dataclass(slots=True)
class Taken:
    """What came of a frame, in order. `urgent` are those of `sends` that wait behind no others."""

    messages: list[Message] = field(default_factory=list)
    sends: list[str] = field(default_factory=list)
    urgent: set[str] = field(default_factory=set)
    fetches: list[Fetch] = field(default_factory=list)


@dataclass(slots=True)
class Held:
    """A book of an adapter, and since when it is waited for (0: it is not)."""

    book: Book
    asked_ms: int = 0
    heard_ms: int = 0


class Adapter(ABC):
    """One venue's public market data."""

    venue: str = ""
    url: str = ""
    rest_url: str = ""
    silence_ms: int = 60_000
    """A connection on which nothing came for so long is dead."""
    sends_per_s: float = 5.0
    fetches_per_s: float = 2.0
    """What the venue lets a client send, and ask by REST, each second; below its own limits."""
    numbered: bool = True
    """Whether a missing change of a book shows in the next one's number."""

    def __init__(self, wants: Iterable[Want] = ()) -> None:
        self.wants: tuple[Want, ...] = tuple(sorted(set(wants)))
        self.health = Health(self.venue)
        self.books: dict[str, Held] = {}
        self.tickers: dict[str, Ticker] = {}
        self._placed: dict[tuple[str, str], int] = {}
        self._now_ms = 0
        self._taken = Taken()
        self._suspect = ""

    # ── what a caller does ───────────────────────────────────────────────────────────────────────

    def open(self, now_ms: int) -> Taken:
        """A connection is open: forget what books were, and subscribe."""
        self._begin(now_ms)
        self.health.connections += 1
        self.tickers.clear()
        self._placed.clear()
        for held in self.books.values():
            held.book.drop()
            held.asked_ms = 0
        for want in self.wants:
            if want.channel is Channel.BOOK:
                self._held(want.symbol).asked_ms = now_ms
        self._opened()
        return self._taken

    def take(self, frame: str | bytes, now_ms: int) -> Taken:
        """Read a frame that came at `now_ms`."""
        self._begin(now_ms)
        self.health.frames += 1
        try:
            if len(frame) > FRAME_BYTES_MAX:
                raise msgspec.DecodeError(f"{len(frame)} bytes")
            self._read(frame)
        except msgspec.ValidationError as fault:
            self._unusable(FaultKind.WRONG_TYPE, f"{fault}")
        except (msgspec.DecodeError, UnicodeError, RecursionError) as fault:
            self._unusable(FaultKind.MALFORMED, f"{fault}: {frame[:80]!r}")
        except (ValueError, ArithmeticError) as fault:
            self._unusable(FaultKind.BAD_VALUE, str(fault) or repr(fault))
        return self._taken

    def answered(self, fetch: Fetch, body: str | bytes | None, now_ms: int) -> Taken:
        """Read a REST answer; None where it could not be had."""
        self._begin(now_ms)
        try:
            if body is None:
                self._fault(FaultKind.REFUSED, fetch.about, f"no answer of {fetch.path}")
            else:
                self._read_answer(fetch, body)
        except msgspec.ValidationError as fault:
            self._fault(FaultKind.WRONG_TYPE, fetch.about, f"{fetch.path}: {fault}")
        except (msgspec.DecodeError, UnicodeError, RecursionError) as fault:
            self._fault(FaultKind.MALFORMED, fetch.about, f"{fetch.path}: {fault}")
        except (ValueError, ArithmeticError) as fault:
            self._fault(FaultKind.BAD_VALUE, fetch.about, f"{fetch.path}: {fault!r}")
        return self._taken

    def beat(self, now_ms: int, *, unsent: bool = False) -> Taken:
        """Time has passed: heartbeats, books that did not come, books that are too quiet. Where
        frames are still `unsent`, no book is late: its request may be among them."""
        self._begin(now_ms)
        heartbeats = self._heartbeats()
        self._taken.sends += heartbeats
        self._taken.urgent.update(heartbeats)
        again: list[str] = []
        for symbol, held in self.books.items():
            if held.asked_ms:
                if unsent:
                    held.asked_ms = now_ms
                elif now_ms - held.asked_ms >= RESYNC_PATIENCE_MS:
                    again.append(symbol)
            elif held.book.live and now_ms - held.heard_ms >= SILENT_AFTER_MS and not unsent:
                # It stays as it is until it comes anew: nothing says that it is wrong.
                self._fault(FaultKind.SILENT, symbol, "no change for long")
                again.append(symbol)
        self._ask(again)
        return self._taken

    def resync(self, symbols: Sequence[str] | None, kind: FaultKind, now_ms: int) -> Taken:
        """Drop books and ask for them again, all of them where None is named; those that are asked
        for already are waited for."""
        self._begin(now_ms)
        again: list[str] = []
        for symbol in list(self.books) if symbols is None else symbols:
            held = self._held(symbol)
            if held.book.live or not held.asked_ms:
                held.book.drop()
                self._fault(kind, symbol, "asked from outside")
                if not held.asked_ms:
                    again.append(symbol)
        self._ask(again)
        return self._taken

    def lost(self, detail: str, now_ms: int) -> Taken:
        """The connection is gone: books are not live."""
        self._begin(now_ms)
        for held in self.books.values():
            held.book.drop()
        self._fault(FaultKind.LOST, "", detail)
        return self._taken

    def book(self, symbol: str) -> Book | None:
        """An instrument's book while it is live."""
        held = self.books.get(symbol)
        return held.book if held is not None and held.book.live else None

    def status(self, now_ms: int) -> Status:
        """Health at a moment."""
        live = sum(held.book.live for held in self.books.values())
        return status(self.health, books=len(self.books), books_live=live, now_ms=now_ms)

    # ── what a venue tells of itself ─────────────────────────────────────────────────────────────

    @abstractmethod
    def _read(self, frame: str | bytes) -> None:
        """Read a frame. May raise what `take` names, before anything has changed."""

    @abstractmethod
    def _names(self, wants: Sequence[Want]) -> list[str]:
        """The venue's names of channels, each once."""

    @abstractmethod
    def _subscription(self, names: Sequence[str], *, begin: bool) -> list[str]:
        """Frames that begin or end subscriptions."""

    def _resync(self, symbols: Sequence[str]) -> None:
        """Ask for books anew: by default by leaving their channels and entering them again."""
        names = self._names([Want(Channel.BOOK, symbol) for symbol in symbols])
        self._taken.sends += self._subscription(names, begin=False)
        self._taken.sends += self._subscription(names, begin=True)

    def _opened(self) -> None:
        self._taken.sends += self._subscription(self._names(self.wants), begin=True)

    def _heartbeats(self) -> list[str]:
        """What the venue wants to hear now and then, where it is time."""
        return []

    def _read_answer(self, fetch: Fetch, body: str | bytes) -> None:
        """Read a REST answer."""
        check(False, "an adapter that fetches reads its answers", fetch, len(body))

    # ── what they build on ───────────────────────────────────────────────────────────────────────

    def _begin(self, now_ms: int) -> None:
        self._now_ms = now_ms
        self._taken = Taken()
        self._suspect = ""

    def _unusable(self, kind: FaultKind, detail: str) -> None:
        """A frame changes nothing; a book that it was about lacks it now, and without numbers
        every book may."""
        about = [self._suspect] if self._suspect else []
        if not about and not self.numbered:
            about = [symbol for symbol, held in self.books.items() if held.book.live]
        if not about:
            self._fault(kind, "", detail)
        for symbol in about:
            self._lost(symbol, kind, detail)

    def _tell(self, message: Message) -> None:
        self.health.heard(message)
        self._taken.messages.append(message)

    def _fault(self, kind: FaultKind, symbol: str, detail: str) -> None:
        self._tell(
            Fault(
                venue=self.venue, kind=kind, symbol=symbol, detail=detail[:300],
                received_ms=self._now_ms,
            )
        )  # fmt: skip

    def _merge(
        self, symbol: str, time_ms: int, prices: dict[str, Decimal | None], part: str = "",
        order: int | None = None,
    ) -> None:  # fmt: skip
        """Tell an instrument's ticker with these prices changed. Where a ticker has parts, each has
        its own order, by number where the venue numbers it, else by time, and its own time; without
        parts a message confirms what it does not change."""
        place = time_ms if order is None else order
        if place < self._placed.get((symbol, part), 0):
            self._fault(FaultKind.OLD, symbol, f"ticker {part} of {place}".replace("  ", " "))
            return
        self._placed[symbol, part] = place
        before = self.tickers.get(symbol) or Ticker(
            venue=self.venue, symbol=symbol, time_ms=0, received_ms=0
        )
        renewed = {_PART_OF[name] for name in prices} if part else set(_PART_OF.values())
        at_ms = time_ms or self._now_ms
        ticker = msgspec.structs.replace(
            before, time_ms=max(time_ms, before.time_ms), received_ms=self._now_ms, **prices,
            **{name: max(at_ms, getattr(before, name)) for name in renewed},
        )  # fmt: skip
        self.tickers[symbol] = ticker
        self._tell(ticker)

    def _held(self, symbol: str) -> Held:
        return self.books.setdefault(symbol, Held(Book(symbol)))

    def _snapshot(
        self, symbol: str, *, bids: Levels, asks: Levels, sequence: int, time_ms: int,
        checksum: int | None = None,
    ) -> None:  # fmt: skip
        """A whole book came."""
        held = self._held(symbol)
        held.book.replace(bids=bids, asks=asks, sequence=sequence, time_ms=time_ms)
        held.heard_ms, held.asked_ms = self._now_ms, 0
        if not self._sound(symbol, held.book, checksum):
            return
        self._tell(
            BookSnapshot(
                venue=self.venue, symbol=symbol, time_ms=time_ms, received_ms=self._now_ms,
                sequence=sequence, bids=held.book.bids(), asks=held.book.asks(),
            )
        )  # fmt: skip

    def _change(
        self, symbol: str, *, bids: Levels, asks: Levels, sequence: int, time_ms: int,
        checksum: int | None = None,
    ) -> None:  # fmt: skip
        """Levels of a live book changed, next in its order. A venue's checksum is that of the whole
        book afterwards."""
        held = self._held(symbol)
        held.book.change(bids=bids, asks=asks, sequence=sequence, time_ms=time_ms)
        held.heard_ms = self._now_ms
        if not self._sound(symbol, held.book, checksum):
            return
        self._tell(
            BookDelta(
                venue=self.venue, symbol=symbol, time_ms=time_ms, received_ms=self._now_ms,
                sequence=sequence, bids=bids, asks=asks,
            )
        )  # fmt: skip

    def _sound(self, symbol: str, book: Book, checksum: int | None) -> bool:
        """Whether a book may be told; else it is dropped and asked for again."""
        if book.crossed:
            self._lost(symbol, FaultKind.CROSSED, f"{book.bid} against {book.ask}")
        elif checksum is not None and okx_checksum(book) != checksum:
            self._lost(symbol, FaultKind.CHECKSUM, f"expected {checksum}")
        return book.live

    def _lost(self, symbol: str, kind: FaultKind, detail: str) -> None:
        """A book cannot be trusted: drop it, say so, ask for it again. What is asked for already
        is waited for."""
        held = self._held(symbol)
        held.book.drop()
        self._fault(kind, symbol, detail)
        if not held.asked_ms:
            self._ask([symbol])

    def _ask(self, symbols: Sequence[str]) -> None:
        for symbol in symbols:
            self._held(symbol).asked_ms = self._now_ms
        self.health.resyncs += len(symbols)
        if symbols:
            self._resync(symbols)
