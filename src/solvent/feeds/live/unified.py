"""The long tail of venues through ccxt.pro, in the same messages. An optional extra: `ccxt`.

ccxt keeps books and numbers them itself, so a book is told whole each time; prices are floats there
and become the shortest decimals that mean them. Instruments have ccxt's names.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, Final

from solvent.errors import BadInput, Problem, Reject, SolventError
from solvent.feeds.live.books import levels
from solvent.feeds.live.connection import Backoff
from solvent.feeds.live.inbox import Inbox
from solvent.feeds.live.messages import (
    BookSnapshot,
    Channel,
    Fault,
    FaultKind,
    Funding,
    Message,
    Ticker,
    Trade,
    Want,
    moment,
    number,
    price,
    price_or_none,
    size,
    size_or_none,
)
from solvent.feeds.live.status import Health, Status, status

PREFIX: Final = "ccxt:"
_WATCHES: Final = {
    Channel.TICKER: "watch_ticker", Channel.BOOK: "watch_order_book",
    Channel.TRADES: "watch_trades", Channel.FUNDING: "watch_funding_rate",
}  # fmt: skip
_DEPTH: Final = 50
_HOUR: Final = "h"

Told = Mapping[str, Any]


def messages_of(venue: str, want: Want, told: Any, *, received_ms: int) -> list[Message]:
    """ccxt's unified structure as messages. Raises BadValue for numbers that cannot be, KeyError
    and TypeError for another structure.

    >>> ticker, = messages_of("kraken", Want(Channel.TICKER, "BTC/USD"),
    ...                       {"bid": 99.5, "ask": 100.0, "timestamp": 5}, received_ms=7)
    >>> ticker.bid, ticker.time_ms
    (Decimal('99.5'), 5)
    """
    if want.channel is Channel.TRADES:
        return [_trade(venue, want.symbol, one, received_ms) for one in told]
    time_ms = moment(told.get("timestamp") or 0)
    if want.channel is Channel.BOOK:
        bids, asks = (
            levels((_text(row[0]), _text(row[1])) for row in told[side])
            for side in ("bids", "asks")
        )
        return [
            BookSnapshot(
                venue=venue, symbol=want.symbol, time_ms=time_ms, received_ms=received_ms,
                sequence=int(told.get("nonce") or 0), bids=bids, asks=asks,
            )
        ]  # fmt: skip
    if want.channel is Channel.FUNDING:
        return [_funding(venue, want.symbol, told, time_ms, received_ms)]
    prices: dict[str, Any] = {
        name: price_or_none(_text(told.get(key)))
        for name, key in (
            ("bid", "bid"), ("ask", "ask"), ("last", "last"), ("mark", "markPrice"),
            ("index", "indexPrice"),
        )
    }  # fmt: skip
    sizes: dict[str, Any] = {
        name: size_or_none(_text(told.get(key)))
        for name, key in (("bid_size", "bidVolume"), ("ask_size", "askVolume"))
    }
    return [
        Ticker(
            venue=venue, symbol=want.symbol, time_ms=time_ms, received_ms=received_ms, **prices,
            **sizes,
        )
    ]  # fmt: skip


def _trade(venue: str, symbol: str, told: Told, received_ms: int) -> Trade:
    return Trade(
        venue=venue, symbol=symbol, time_ms=moment(told.get("timestamp") or 0),
        received_ms=received_ms, price=price(_text(told["price"])),
        size=size(_text(told["amount"])), side=str(told.get("side") or ""),
        number=str(told.get("id") or ""),
    )  # fmt: skip


def _funding(venue: str, symbol: str, told: Told, time_ms: int, received_ms: int) -> Funding:
    span = str(told.get("interval") or "")
    hours = span.removesuffix(_HOUR)
    next_ms = told.get("fundingTimestamp") or told.get("nextFundingTimestamp")
    return Funding(
        venue=venue, symbol=symbol, time_ms=time_ms, received_ms=received_ms,
        rate=number(_text(told["fundingRate"]), "funding"),
        hours=int(hours) if hours.isdecimal() and span.endswith(_HOUR) else None,
        next_ms=None if next_ms is None else moment(next_ms),
    )  # fmt: skip


def _text(value: Any) -> str:
    """A number as ccxt has it; of a float the shortest text that means it; nothing as nothing."""
    return "" if value is None else str(value)


class UnifiedFeed:
    """One of ccxt.pro's exchanges: `run` watches what is wanted until `stop`; `batches` are the
    messages. Args: `client` is a ccxt.pro exchange, which is closed at the end."""

    def __init__(
        self, client: Any, wants: Iterable[Want], *, backoff: Callable[[], Backoff] = Backoff,
        seed: int = 0,
    ) -> None:  # fmt: skip
        self.venue = f"{PREFIX}{client.id}"
        self.health = Health(self.venue)
        self.inbox = Inbox()
        self._client, self._wants = client, tuple(wants)
        self._backoff, self._rng = backoff, random.Random(seed)
        self._arrived, self._stopped = asyncio.Event(), asyncio.Event()
        self._broken: BaseException | None = None

    async def run(self) -> None:
        """Watch until stopped. A channel that ends by what no client should raise ends all, with
        its exception: it would be silent for ever."""
        works = [asyncio.create_task(self._watch(want)) for want in self._wants]
        for work in works:
            work.add_done_callback(self._ended)
        try:
            await self._stopped.wait()
        finally:
            for work in works:
                work.cancel()
            await asyncio.gather(*works, return_exceptions=True)
            await self._client.close()
            self.stop()
        if self._broken is not None:
            raise self._broken

    def _ended(self, work: asyncio.Task[None]) -> None:
        if not work.cancelled() and (fault := work.exception()) is not None:
            self._broken = fault
            self.stop()

    def stop(self) -> None:
        """End `run` and `batches`."""
        self._stopped.set()
        self._arrived.set()

    async def batches(self) -> AsyncIterator[list[Message]]:
        """Messages as they come, until the feed is stopped."""
        while not self._stopped.is_set():
            await self._arrived.wait()
            self._arrived.clear()
            if found := self.inbox.take():
                yield found

    def status(self, now_ms: int) -> Status:
        """Health at a moment; ccxt keeps the books."""
        return status(self.health, books=0, books_live=0, now_ms=now_ms)

    async def _watch(self, want: Want) -> None:
        """One channel, for ever: what fails for a while is tried again, what is unknown is not."""
        import ccxt

        backoff = self._backoff()
        watch = getattr(self._client, _WATCHES[want.channel])
        depth = (_DEPTH,) if want.channel is Channel.BOOK else ()
        while True:
            now_ms = time.time_ns() // 1_000_000
            try:
                told = await watch(want.symbol, *depth)
                now_ms = time.time_ns() // 1_000_000
                self.health.frames += 1
                found = messages_of(self.venue, want, told, received_ms=now_ms)
                backoff.tries = 0
            except (ccxt.NotSupported, ccxt.BadSymbol, ccxt.BadRequest) as fault:
                self._tell(self._fault(FaultKind.REFUSED, want, f"{fault}", now_ms))
                return
            except ccxt.BaseError as fault:
                detail = f"{type(fault).__name__}: {fault}"
                self._tell(self._fault(FaultKind.LOST, want, detail, now_ms))
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stopped.wait(), backoff.next_s(self._rng))
                continue
            except (ValueError, ArithmeticError) as fault:
                found = [self._fault(FaultKind.BAD_VALUE, want, str(fault), now_ms)]
            except (KeyError, TypeError, AttributeError, IndexError) as fault:
                found = [self._fault(FaultKind.WRONG_TYPE, want, repr(fault), now_ms)]
            for message in found:
                self._tell(message)

    def _tell(self, message: Message) -> None:
        self.health.heard(message)
        self.inbox.put(message)
        self._arrived.set()

    def _fault(self, kind: FaultKind, want: Want, detail: str, now_ms: int) -> Fault:
        return Fault(
            venue=self.venue, kind=kind, symbol=want.symbol, detail=detail[:300],
            received_ms=now_ms,
        )  # fmt: skip


def ccxt_client(name: str) -> Any:
    """A ccxt.pro exchange by its name. Raises SolventError without ccxt, BadInput for none."""
    try:
        from ccxt import pro
    except ImportError as fault:
        raise SolventError(f"{PREFIX}{name} needs ccxt: {fault}") from fault
    if name not in pro.exchanges:
        raise BadInput(
            Problem(
                code=Reject.INPUT_INVALID, source="venue", expected="an exchange of ccxt.pro's",
                found=name,
            )
        )  # fmt: skip
    return getattr(pro, name)({"enableRateLimit": True})
