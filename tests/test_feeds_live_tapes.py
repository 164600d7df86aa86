"""Real recordings through the adapters: the values of a slow independent reading, also over a
local server, also through ccxt, also with faults."""

from __future__ import annotations

import asyncio
import json
import re
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterable
from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from solvent.feeds.faults import Injection
from solvent.feeds.live.adapter import SILENT_AFTER_MS, Adapter, Fetch
from solvent.feeds.live.books import Book
from solvent.feeds.live.connection import Backoff, Connection
from solvent.feeds.live.messages import (
    BadValue,
    BookDelta,
    BookSnapshot,
    Channel,
    Fault,
    Funding,
    Message,
    Ticker,
    Trade,
    Want,
)
from solvent.feeds.live.unified import UnifiedFeed, messages_of
from solvent.feeds.live.venues import adapter_for
from solvent.feeds.player import Ending, PlayerServer, Rehearsal, stage_of, wants_of
from solvent.feeds.recorder import Frame
from solvent.feeds.recordings import Recording, first_place
from tests.tapes import TAPES, Best, Levels, Twin, recording, top, twin, whole

EVERYTHING: dict[str, Any] = {
    "drop": 0.02, "duplicate": 0.02, "reorder": 0.02, "gap": 0.004, "delay": 0.02, "corrupt": 0.02,
}  # fmt: skip


def adapter_of(tape: Recording) -> Adapter:
    return adapter_for(first_place(tape), wants_of(tape))


def check_against(slow: Twin, adapter: Adapter, messages: list[Message]) -> None:
    """Books, each best price on the way, each ticker and each trade."""
    assert set(slow.books) == set(adapter.books)
    for symbol, (bids, asks) in slow.books.items():
        book = adapter.book(symbol)
        assert book is not None, symbol
        assert book.bids() == tuple(sorted(bids.items(), reverse=True)), symbol
        assert book.asks() == tuple(sorted(asks.items())), symbol
    followed = best_on_the_way(messages)
    assert {symbol: bests[-1] for symbol, bests in slow.bests.items()} == {
        symbol: bests[-1] for symbol, bests in followed.items()
    }
    for symbol, bests in slow.bests.items():
        assert followed[symbol] == bests, symbol
    followed_whole = wholes_on_the_way(messages)
    for symbol, wholes in slow.wholes.items():
        assert followed_whole[symbol] == wholes, symbol
    tickers: dict[str, list[Ticker]] = defaultdict(list)
    for message in messages:
        if isinstance(message, Ticker):
            tickers[message.symbol].append(message)
    assert {name: len(told) for name, told in tickers.items()} == {
        name: len(told) for name, told in slow.tickers.items()
    }
    for symbol, told in slow.tickers.items():
        for mine, theirs in zip(tickers[symbol], told, strict=True):
            assert {name: getattr(mine, name) for name in theirs} == theirs
    trades = [(m.symbol, m.price, m.size, m.side) for m in messages if isinstance(m, Trade)]
    assert trades == slow.trades


def best_on_the_way(messages: list[Message]) -> dict[str, list[Best]]:
    """Best prices after each message of a book, by one who has nothing but the messages."""
    books: dict[str, Book] = {}
    bests: dict[str, list[Best]] = defaultdict(list)
    for message in messages:
        if not isinstance(message, BookSnapshot | BookDelta):
            continue
        book = books.setdefault(message.symbol, Book(message.symbol))
        take = book.replace if isinstance(message, BookSnapshot) else book.change
        take(bids=message.bids, asks=message.asks, sequence=message.sequence, time_ms=0)
        bests[message.symbol].append((book.bid, book.ask))
    return bests


def wholes_on_the_way(
    messages: Iterable[Message], digest: Callable[[Levels, Levels], int] = whole
) -> dict[str, list[int]]:
    """Whole books after each message of a book, by one who has nothing but the messages, and plain
    dicts for books."""
    books: dict[str, tuple[Levels, Levels]] = {}
    wholes: dict[str, list[int]] = defaultdict(list)
    for message in messages:
        if isinstance(message, BookSnapshot):
            books[message.symbol] = ({}, {})
        elif not isinstance(message, BookDelta):
            continue
        for side, changed in zip(books[message.symbol], (message.bids, message.asks), strict=True):
            side.update(changed)
            for at, amount in changed:
                if not amount:
                    side.pop(at, None)
        wholes[message.symbol].append(digest(*books[message.symbol]))
    return wholes


@pytest.mark.parametrize("name", TAPES)
def test_a_recording_reads_as_its_slow_twin(name: str) -> None:
    """Every frame as it was recorded, REST answers where they came."""
    tape = recording(name)
    adapter = adapter_of(tape)
    messages: list[Message] = []
    for frame in tape:
        if frame.kind == "in":
            messages += adapter.take(frame.payload, frame.at_ms).messages
        elif frame.kind == "answer" and "/depth" in frame.place:
            symbol = re.search(r"symbol=(\w+)", frame.place)
            assert symbol is not None
            fetch = Fetch(frame.place, symbol[1])
            messages += adapter.answered(fetch, frame.text, frame.at_ms).messages
    assert tape.notices == []
    faults = [m for m in messages if isinstance(m, Fault) and "kline" not in m.detail]
    assert faults == []
    check_against(twin(name), adapter, messages)


@pytest.mark.parametrize(
    ("name", "seed"),
    [
        ("DERIBIT", 0), ("DERIBIT", 1), ("OKX", 0), ("BYBIT", 0), ("BINANCE_FUTURES", 0),
        *(pytest.param(name, seed, marks=pytest.mark.soak) for name in TAPES for seed in (2, 3, 4)),
    ],
)  # fmt: skip
def test_with_faults_the_books_end_equal(name: str, seed: int) -> None:
    """Drops, duplicates, reorderings, gaps, delays, corruption: what is told on the way is a book
    that the venue had, and after a silence every book is the venue's."""
    tape = recording(name)
    adapter = adapter_of(tape)
    rehearsal = Rehearsal(stage_of(tape), adapter, injection=Injection(seed=seed, **EVERYTHING))
    # Of 2021 OKX has checksums of 25 levels and no numbers: deeper a loss shows nowhere.
    slow, digest = (twin(name).tops, top) if name == "OKX" else (twin(name).wholes, whole)
    had = {symbol: {*wholes, whole({}, {})} for symbol, wholes in slow.items()}
    end_ms, seen, kept = 0, list[Message](), defaultdict(list)
    for message in rehearsal.play(tape):
        end_ms = max(end_ms, message.received_ms)
        if isinstance(message, BookSnapshot | BookDelta):
            seen.append(message)
            book = adapter.book(message.symbol)
            now = whole({}, {}) if book is None else digest(dict(book.bids()), dict(book.asks()))
            kept[message.symbol].append(now)
    assert sum(rehearsal.injected.values()) > 3
    if adapter.numbered and "BYBIT" not in name:
        for symbol, wholes in wholes_on_the_way(seen, digest).items():
            assert set(wholes) <= had[symbol], symbol
            assert set(kept[symbol]) <= had[symbol], symbol
    endings = rehearsal.endings()
    assert set(endings) == set(twin(name).books)
    if adapter.numbered:
        assert Ending.WRONG not in endings.values()
    assert adapter.health.resyncs > 0
    for beat in (1, 2, 3):
        list(rehearsal.beat(end_ms + beat * SILENT_AFTER_MS))
    equal = rehearsal.equal_books()
    assert len(equal) == len(twin(name).books)
    assert all(equal.values()), equal
    for symbol, (bids, asks) in twin(name).books.items():
        book = adapter.book(symbol)
        assert book is not None
        assert (dict(book.bids()), dict(book.asks())) == (bids, asks)


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 60))


async def served(
    tape: Recording, injection: Injection | None = None
) -> tuple[Adapter, list[Message]]:
    """A recording through a local server and a real connection, until all was taken."""
    messages: list[Message] = []
    adapter = adapter_of(tape)
    adapter.sends_per_s = adapter.fetches_per_s = 1e6
    async with PlayerServer(tape, injection=injection).open() as server:
        connection = Connection(
            adapter, url=server.ws_url, rest_url=server.rest_url, beat_s=0.1,
            backoff=Backoff(first_s=0.01),
        )  # fmt: skip
        running = asyncio.create_task(connection.run())

        async def reading() -> None:
            async for batch in connection.batches():
                messages.extend(batch)

        reader = asyncio.create_task(reading())
        await server.finished.wait()
        while not all(held.book.live for held in adapter.books.values()):
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.1)
        connection.stop()
        await running
        await reader
    return adapter, messages


@pytest.mark.parametrize("name", ["DERIBIT", "OKX", "BINANCE_FUTURES"])
def test_a_recording_through_a_local_server(name: str) -> None:
    async def work() -> None:
        adapter, messages = await served(recording(name))
        assert adapter.health.connections == 1
        for symbol, (bids, asks) in twin(name).books.items():
            book = adapter.book(symbol)
            assert book is not None
            assert (dict(book.bids()), dict(book.asks())) == (bids, asks), symbol
        for symbol, told in twin(name).tickers.items():
            mine = adapter.tickers[symbol]
            assert {key: getattr(mine, key) for key in told[-1]} == told[-1]
        trades = [(m.symbol, m.price, m.size, m.side) for m in messages if isinstance(m, Trade)]
        assert trades == twin(name).trades

    run(work())


def test_faults_through_a_local_server() -> None:
    """Binance's books come again by REST while the tape runs; its end is clean."""

    async def work() -> None:
        injection = Injection(drop=0.03, corrupt=0.02, reorder=0.02, first_frames=1_000, seed=5)
        adapter, messages = await served(recording("BINANCE_FUTURES"), injection)
        assert adapter.health.resyncs > 3
        for symbol, (bids, asks) in twin("BINANCE_FUTURES").books.items():
            book = adapter.book(symbol)
            assert book is not None
            assert (dict(book.bids()), dict(book.asks())) == (bids, asks), symbol
        assert any(isinstance(message, Fault) for message in messages)

    run(work())


# ── the same server, another client ──────────────────────────────────────────────────────────────


def listed_as_now(tape: Recording, symbols: set[str]) -> list[Frame]:
    """A recording of 2021 with what today's listings have besides, which ccxt asks for."""
    frames: list[Frame] = []
    for frame in tape:
        text = frame.text
        if frame.kind == "answer":
            told = json.loads(text)
            told["result"] = [one for one in told["result"] if one["instrument_name"] in symbols]
            for one in told["result"]:
                one.setdefault("settlement_currency", one["base_currency"])
                one.setdefault("counter_currency", "USD")
                one.setdefault("instrument_type", "reversed")
            text = json.dumps(told)
        frames.append(Frame(frame.at_ns, frame.kind, frame.place, text))
    coins = [{"currency": name, "currency_long": name} for name in ("BTC", "ETH")]
    currencies = "https://www.deribit.com/api/v2/public/get_currencies"
    frames.append(Frame(frames[0].at_ns, "answer", currencies, json.dumps({"result": coins})))
    return frames


def test_deribit_through_ccxt_and_the_same_server() -> None:
    """ccxt.pro's tickers and books are ours."""
    pytest.importorskip("ccxt", reason="ccxt is not installed: uv sync --group peers")
    import ccxt.pro

    tape = recording("DERIBIT")
    slow = twin("DERIBIT")
    messages: list[Message] = []

    async def work() -> None:
        async with PlayerServer(listed_as_now(tape, set(slow.tickers))).open() as server:
            options = {"fetchMarkets": {"fetchAllMarkets": False}}
            client = ccxt.pro.deribit({"enableRateLimit": False, "options": options})
            client.urls["api"] = {"ws": server.ws_url, "rest": server.rest_url}
            await client.load_markets()
            names = {client.markets_by_id[one][0]["symbol"]: one for one in slow.tickers}
            channels = (Channel.TICKER, Channel.BOOK)
            feed = UnifiedFeed(client, [Want(what, one) for one in names for what in channels])
            running = asyncio.create_task(feed.run())

            async def reading() -> None:
                async for batch in feed.batches():
                    messages.extend(replace(one, symbol=names[one.symbol]) for one in batch)

            reader = asyncio.create_task(reading())
            await server.finished.wait()
            await asyncio.sleep(0.3)
            feed.stop()
            await asyncio.gather(running, reader)
            assert feed.health.faults == {}
            assert feed.status(0).messages["ticker"] >= len(names)

    run(work())
    adapter = adapter_of(tape)
    for _ in Rehearsal(stage_of(tape), adapter).play(tape):
        pass
    tickers = {one.symbol: one for one in messages if isinstance(one, Ticker)}
    books = {one.symbol: one for one in messages if isinstance(one, BookSnapshot)}
    assert set(tickers) == set(books) == set(slow.tickers) == set(adapter.tickers)
    for symbol, theirs in tickers.items():
        mine, book = adapter.tickers[symbol], adapter.book(symbol)
        for name in ("bid", "ask", "last", "mark", "index", "time_ms"):
            assert getattr(theirs, name) == getattr(mine, name), (symbol, name)
        assert book is not None
        assert (books[symbol].bids, books[symbol].asks) == (book.bids(), book.asks()), symbol


def test_unified_structures_that_cannot_be() -> None:
    """ccxt's structures of another shape, and numbers that no market has."""
    for channel, told, kind in (
        (Channel.TICKER, {"bid": -1.0}, BadValue),
        (Channel.TICKER, {"bid": float("nan")}, BadValue),
        (Channel.BOOK, {"bids": [[1.0, -1.0]], "asks": []}, BadValue),
        (Channel.BOOK, {"bids": []}, KeyError),
        (Channel.TRADES, [{"price": 1.0}], KeyError),
        (Channel.FUNDING, {"fundingRate": "x"}, BadValue),
        (Channel.TICKER, None, AttributeError),
    ):
        with pytest.raises(kind):
            messages_of("x", Want(channel, "BTC/USD"), told, received_ms=0)
    good = {"fundingRate": 1e-05, "interval": "8h", "fundingTimestamp": 9, "timestamp": 5}
    (funding,) = messages_of("x", Want(Channel.FUNDING, "BTC/USD:BTC"), good, received_ms=7)
    assert isinstance(funding, Funding)
    assert (funding.rate, funding.hours, funding.next_ms) == (Decimal("0.00001"), 8, 9)


def test_a_feed_of_ccxts_tells_what_fails() -> None:
    """A client that fails for a while, that knows no such channel, and that tells nonsense."""
    ccxt = pytest.importorskip("ccxt", reason="ccxt is not installed: uv sync --group peers")

    class Client:
        id = "double"
        calls = 0
        closed = False

        async def watch_ticker(self, _: str) -> dict[str, float]:
            self.calls += 1
            await asyncio.sleep(0.001)
            if self.calls == 1:
                raise ccxt.NetworkError("gone")
            return {"bid": -1.0} if self.calls == 2 else {"bid": 99.5}

        async def watch_funding_rate(self, _: str) -> None:
            raise ccxt.NotSupported("no such thing")

        async def close(self) -> None:
            self.closed = True

    async def work() -> None:
        client = Client()
        wants = [Want(Channel.TICKER, "BTC/USD"), Want(Channel.FUNDING, "BTC/USD")]
        feed = UnifiedFeed(client, wants, backoff=lambda: Backoff(first_s=0.01))
        running = asyncio.create_task(feed.run())
        while not feed.health.messages["ticker"]:
            await asyncio.sleep(0.01)
        feed.stop()
        await running
        assert client.closed
        assert feed.health.faults == {"lost": 1, "refused": 1, "bad value": 1}
        assert feed.venue == "ccxt:double"

    run(work())
