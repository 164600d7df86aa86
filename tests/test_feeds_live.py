"""Adapters frame by frame: what they tell, what they ask for, and what they leave out."""

from __future__ import annotations

import json
import random
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solvent.feeds.live import contract_of, generated, quote_of
from solvent.feeds.live.adapter import RESYNC_PATIENCE_MS, SILENT_AFTER_MS, Fetch, Taken
from solvent.feeds.live.binance import Binance
from solvent.feeds.live.books import Book, levels, okx_checksum
from solvent.feeds.live.bybit import Bybit
from solvent.feeds.live.bybit_v2 import BybitV2
from solvent.feeds.live.clock import Clock
from solvent.feeds.live.connection import Backoff, Bucket
from solvent.feeds.live.deribit import Deribit
from solvent.feeds.live.generator import GeneratedTape, GeneratedVenue
from solvent.feeds.live.inbox import Inbox
from solvent.feeds.live.market import LiveMarket
from solvent.feeds.live.messages import (
    BadValue,
    BookDelta,
    BookSnapshot,
    Channel,
    Fault,
    FaultKind,
    Funding,
    Message,
    Ticker,
    Trade,
    Want,
    in_ticks,
    number,
)
from solvent.feeds.live.okx import Okx
from solvent.feeds.live.venues import ADAPTERS, make_adapter, make_adapters
from solvent.instruments import parse_symbol
from solvent.market.oracles import SourceRule
from tests.conftest import need_shared

T0 = 1_700_000_000_000
X = "BTC-PERPETUAL"
BOOK = Want(Channel.BOOK, X)


def d(text: str) -> Decimal:
    return Decimal(text)


def faults(taken: Taken) -> list[FaultKind]:
    return [one.kind for one in taken.messages if isinstance(one, Fault)]


def only(taken: Taken, kind: type[Message]) -> Any:
    found = [one for one in taken.messages if isinstance(one, kind)]
    assert len(found) == 1, taken.messages
    return found[0]


# ── each venue's frames ──────────────────────────────────────────────────────────────────────────


def deribit_book(
    at: int, before: int | None = None, *, bids: list[Any], asks: list[Any], symbol: str = X
) -> str:
    data = {"type": "snapshot" if before is None else "change", "timestamp": T0,
            "instrument_name": symbol, "change_id": at, "bids": bids, "asks": asks}  # fmt: skip
    if before is not None:
        data["prev_change_id"] = before
    return deribit_frame(f"book.{symbol}.100ms", data)


def deribit_frame(channel: str, data: Any) -> str:
    params = {"channel": channel, "data": data}
    return json.dumps({"jsonrpc": "2.0", "method": "subscription", "params": params})


def okx_book(action: str, *, bids: list[Any], asks: list[Any], **told: Any) -> str:
    data = {"bids": bids, "asks": asks, "ts": str(T0), **told}
    argument = {"channel": "books", "instId": "BTC-USDT"}
    return json.dumps({"arg": argument, "action": action, "data": [data]})


def bybit_book(kind: str, at: int, *, bids: list[Any], asks: list[Any]) -> str:
    data = {"s": "BTCUSDT", "b": bids, "a": asks, "u": at, "seq": at}
    return json.dumps({"topic": "orderbook.50.BTCUSDT", "type": kind, "ts": T0, "data": data})


def binance_book(first: int, last: int, before: int | None, *, bids: list[Any]) -> str:
    data = {"e": "depthUpdate", "E": T0, "T": T0, "s": "BTCUSDT", "U": first, "u": last,
            "b": bids, "a": []}  # fmt: skip
    if before is not None:
        data["pu"] = before
    return json.dumps({"stream": "btcusdt@depth@100ms", "data": data})


def binance_whole(last: int) -> str:
    return json.dumps(
        {"lastUpdateId": last, "E": T0, "bids": [["99", "1"]], "asks": [["101", "1"]]}
    )


DEPTH = Fetch("/fapi/v1/depth?symbol=BTCUSDT&limit=1000", "BTCUSDT")


# ── opening ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("venue", "symbol", "names"),
    [
        ("deribit", X, ["book.BTC-PERPETUAL.100ms", "ticker.BTC-PERPETUAL.100ms",
                        "trades.BTC-PERPETUAL.100ms"]),
        ("okx", "BTC-USDT-SWAP", ["books", "tickers", "trades", "funding-rate", "mark-price",
                                  "index-tickers"]),
        ("bybit", "BTCUSDT", ["orderbook.50.BTCUSDT", "tickers.BTCUSDT", "publicTrade.BTCUSDT"]),
        ("binance", "BTCUSDT", ["btcusdt@depth@100ms", "btcusdt@bookTicker",
                                "btcusdt@markPrice@1s", "btcusdt@aggTrade"]),
    ],
)  # fmt: skip
def test_what_is_subscribed(venue: str, symbol: str, names: list[str]) -> None:
    adapter = make_adapter(venue, [Want(channel, symbol) for channel in Channel])
    sent = adapter.open(T0).sends
    assert all(json.loads(one) for one in sent)
    asked = "\n".join(sent)
    for name in names:
        assert asked.count(f'"{name}"') == 1, name
    assert asked.lower().count('subscribe"') == 1


def test_binance_has_two_routes_that_make_one_ticker() -> None:
    wants = [Want(channel, "BTCUSDT") for channel in Channel]
    public, market = make_adapters("binance", wants)
    asked = [json.loads(one.open(T0).sends[0])["params"] for one in (public, market)]
    assert [set(names) for names in asked] == [
        {"btcusdt@depth@100ms", "btcusdt@bookTicker"},
        {"btcusdt@markPrice@1s", "btcusdt@aggTrade"},
    ]
    assert [one.url.split(".com")[1] for one in (public, market)] == [
        "/public/stream", "/market/stream",
    ]  # fmt: skip
    quote = {"u": 1, "s": "BTCUSDT", "b": "99", "B": "1", "a": "100", "A": "1", "T": T0}
    mark = {"s": "BTCUSDT", "E": T0, "p": "99.5", "i": "99.4", "r": "0.0001", "T": T0}
    public.take(json.dumps({"stream": "btcusdt@bookTicker", "data": quote}), T0)
    taken = market.take(json.dumps({"stream": "btcusdt@markPrice@1s", "data": mark}), T0)
    told = only(taken, Ticker)
    assert (told.bid, told.mark, told.index) == (d("99"), d("99.5"), d("99.4"))
    assert public.status(T0).frames == 2
    assert list(market.books) == []
    (alone,) = make_adapters("binance", [Want(Channel.TRADES, "BTCUSDT")])
    assert alone.url.endswith("/market/stream")
    assert [one.venue for one in make_adapters("okx", wants)] == ["okx"]


def test_every_venue_has_its_addresses() -> None:
    for name in ADAPTERS:
        adapter = make_adapter(name)
        assert adapter.url.startswith("wss://")
        assert adapter.rest_url.startswith("https://")
        assert adapter.venue == name
        assert adapter.open(T0).sends == [] or name == "deribit"


# ── books: in order, old, missing, crossed ───────────────────────────────────────────────────────


def deribit_at_100() -> Deribit:
    adapter = Deribit([BOOK])
    adapter.open(T0)
    whole = deribit_book(100, bids=[["new", 99.5, 10.0], ["new", 99, 5]], asks=[["new", 100.5, 7]])
    taken = adapter.take(whole, T0)
    assert only(taken, BookSnapshot).bids == ((d("99.5"), d("10.0")), (d("99"), d("5")))
    return adapter


def test_deribit_follows_change_ids() -> None:
    adapter = deribit_at_100()
    change = deribit_book(
        107, 100, bids=[["delete", 99.5, 0.0], ["change", 99, 6.0]], asks=[["new", 100, 1.0]]
    )
    delta = only(adapter.take(change, T0 + 1), BookDelta)
    assert (delta.sequence, delta.bids) == (107, ((d("99.5"), d("0")), (d("99"), d("6"))))
    book = adapter.book(X)
    assert book is not None
    assert (book.bids(), book.ask) == (((d("99"), d("6")),), d("100"))
    assert faults(adapter.take(change, T0 + 2)) == [FaultKind.OLD]
    assert adapter.book(X) is not None


def test_deribit_asks_again_after_a_gap() -> None:
    adapter = deribit_at_100()
    taken = adapter.take(deribit_book(110, 105, bids=[["new", 1, 1]], asks=[]), T0)
    assert faults(taken) == [FaultKind.GAP]
    assert [json.loads(one)["method"] for one in taken.sends] == [
        "public/unsubscribe", "public/subscribe",
    ]  # fmt: skip
    assert adapter.book(X) is None
    # What was on its way is no news, and no reason to ask once more.
    assert adapter.take(deribit_book(111, 110, bids=[], asks=[]), T0).messages == []
    assert adapter.beat(T0 + RESYNC_PATIENCE_MS - 1).sends == []
    assert len(adapter.beat(T0 + RESYNC_PATIENCE_MS).sends) == 2
    adapter.take(deribit_book(120, bids=[["new", 98, 1]], asks=[]), T0)
    book = adapter.book(X)
    assert book is not None
    assert (book.bid, book.ask) == (d("98"), None)
    assert adapter.beat(T0 + 2 * RESYNC_PATIENCE_MS).sends == []
    assert adapter.health.resyncs == 2


def test_a_crossed_book_is_not_shown() -> None:
    adapter = deribit_at_100()
    taken = adapter.take(deribit_book(101, 100, bids=[["new", 100.5, 1.0]], asks=[]), T0)
    assert faults(taken) == [FaultKind.CROSSED]
    assert not any(isinstance(one, BookDelta) for one in taken.messages)
    assert adapter.book(X) is None


@pytest.mark.parametrize(
    "bids", [[["new", 99, -1]], [["new", 0, 1]], [["new", -5, 1]], [["new", "NaN", 1]],
             [["new", 99, "Infinity"]], [["other", 99, 1]], [["new", 99]], [["new", "x", 1]],
             [["new", 1e300, 1]], "none", [["new", 99.25, 1], ["new", 99, -1]]],
)  # fmt: skip
def test_a_change_that_cannot_be_is_not_half_applied(bids: Any) -> None:
    adapter = deribit_at_100()
    held = adapter.books[X].book
    before = held.bids()
    taken = adapter.take(deribit_book(101, 100, bids=bids, asks=[["new", 100, 3]]), T0)
    assert faults(taken)[0] in (FaultKind.BAD_VALUE, FaultKind.WRONG_TYPE)
    assert len(taken.messages) == 1
    assert len(taken.sends) == 2
    assert adapter.book(X) is None
    assert before
    assert held.bids() == held.asks() == ()


def test_okx_follows_numbers_and_checksums() -> None:
    adapter = Okx([Want(Channel.BOOK, "BTC-USDT")])
    adapter.open(T0)
    sides = {"bids": [["3366.1", "7", "0", "3"]], "asks": [["3366.8", "9", "0", "3"]]}
    whole = okx_book("snapshot", **sides, seqId=10, prevSeqId=-1, checksum=-2058547290)
    only(adapter.take(whole, T0), BookSnapshot)
    none: dict[str, list[Any]] = {"bids": [], "asks": []}
    only(adapter.take(okx_book("update", **none, seqId=10, prevSeqId=10), T0), BookDelta)
    more = {"bids": [["3366.1", "0", "0", "0"], ["3366", "2.50", "0", "1"]], "asks": []}
    expected = Book("x")
    expected.replace(
        bids=levels([("3366", "2.50")]), asks=levels([("3366.8", "9")]), sequence=0, time_ms=0
    )
    good = okx_book("update", **more, seqId=15, prevSeqId=10, checksum=okx_checksum(expected))
    only(adapter.take(good, T0), BookDelta)
    assert faults(adapter.take(good, T0)) == [FaultKind.OLD]
    # Where a checksum is 0 the venue computes none.
    only(
        adapter.take(okx_book("update", **none, seqId=15, prevSeqId=15, checksum=0), T0), BookDelta
    )
    # The venue may begin its numbers anew; what was before must still fit.
    only(adapter.take(okx_book("update", **none, seqId=3, prevSeqId=15), T0), BookDelta)
    wrong = okx_book("update", **none, seqId=4, prevSeqId=3, checksum=1)
    taken = adapter.take(wrong, T0)
    assert faults(taken) == [FaultKind.CHECKSUM]
    assert len(taken.sends) == 2
    adapter.take(whole, T0)
    assert faults(adapter.take(okx_book("update", **none, seqId=30, prevSeqId=20), T0)) == [
        FaultKind.GAP
    ]


def test_bybit_follows_u_and_begins_anew_at_a_snapshot() -> None:
    adapter = Bybit([Want(Channel.BOOK, "BTCUSDT")])
    adapter.open(T0)
    only(adapter.take(bybit_book("snapshot", 7, bids=[["99", "1"]], asks=[]), T0), BookSnapshot)
    only(adapter.take(bybit_book("delta", 8, bids=[["98", "1"]], asks=[]), T0), BookDelta)
    assert faults(adapter.take(bybit_book("delta", 8, bids=[], asks=[]), T0)) == [FaultKind.OLD]
    only(adapter.take(bybit_book("snapshot", 1, bids=[["97", "1"]], asks=[]), T0), BookSnapshot)
    book = adapter.book("BTCUSDT")
    assert book is not None
    assert book.bids() == ((d("97"), d("1")),)
    assert faults(adapter.take(bybit_book("delta", 3, bids=[], asks=[]), T0)) == [FaultKind.GAP]


def test_old_bybit_finds_a_gap_in_what_does_not_fit() -> None:
    adapter = BybitV2()
    row = {"price": "99", "symbol": "BTCUSD", "side": "Buy", "size": 1}

    def frame(kind: str, data: Any, at: int) -> str:
        return json.dumps({"topic": "orderBookL2_25.BTCUSD", "type": kind, "data": data,
                           "cross_seq": at, "timestamp_e6": T0 * 1_000})  # fmt: skip

    only(adapter.take(frame("snapshot", [row], 1), T0), BookSnapshot)
    nothing: dict[str, list[Any]] = {"delete": [], "update": [], "insert": []}
    only(
        adapter.take(frame("delta", {**nothing, "update": [{**row, "size": 2}]}, 5), T0), BookDelta
    )
    again = frame("delta", {**nothing, "insert": [row]}, 6)
    assert faults(adapter.take(again, T0)) == [FaultKind.GAP]
    only(adapter.take(frame("snapshot", {"order_book": [row]}, 9), T0), BookSnapshot)
    # Without numbers a frame that cannot be read may have been any book's.
    assert faults(adapter.take("{", T0)) == [FaultKind.MALFORMED]
    assert adapter.book("BTCUSD") is None


def test_binance_keeps_changes_until_its_snapshot() -> None:
    adapter = Binance([Want(Channel.BOOK, "BTCUSDT")])
    adapter.open(T0)
    taken = adapter.take(binance_book(90, 95, 89, bids=[["98", "9"]]), T0)
    assert taken.fetches == [DEPTH]
    assert adapter.take(binance_book(96, 103, 95, bids=[["98", "2"]]), T0).fetches == []
    adapter.take(binance_book(104, 104, 103, bids=[["97", "3"]]), T0)
    taken = adapter.answered(DEPTH, binance_whole(100), T0)
    assert [type(one) for one in taken.messages] == [BookSnapshot, BookDelta, BookDelta]
    book = adapter.book("BTCUSDT")
    assert book is not None
    assert book.bids() == ((d("99"), d("1")), (d("98"), d("2")), (d("97"), d("3")))
    taken = adapter.take(binance_book(110, 111, 109, bids=[]), T0)
    assert (faults(taken), taken.fetches) == ([FaultKind.GAP], [DEPTH])
    # The snapshot is older than the change that showed the gap: once more.
    taken = adapter.answered(DEPTH, binance_whole(105), T0)
    assert (faults(taken), taken.fetches) == ([FaultKind.GAP], [DEPTH])
    taken = adapter.answered(DEPTH, binance_whole(111), T0)
    assert faults(taken) == []
    assert adapter.book("BTCUSDT") is not None
    change = binance_book(112, 112, 111, bids=[])
    only(adapter.take(change, T0), BookDelta)
    assert faults(adapter.take(change, T0)) == [FaultKind.OLD]


def test_binance_spot_has_no_number_before() -> None:
    adapter = Binance([Want(Channel.BOOK, "BTCUSDT")], market="spot")
    adapter.open(T0)
    adapter.take(binance_book(101, 102, None, bids=[]), T0)
    taken = adapter.answered(DEPTH, binance_whole(100), T0)
    assert [type(one) for one in taken.messages] == [BookSnapshot, BookDelta]
    only(adapter.take(binance_book(103, 103, None, bids=[]), T0), BookDelta)
    assert faults(adapter.take(binance_book(105, 105, None, bids=[]), T0)) == [FaultKind.GAP]


@pytest.mark.parametrize("body", [None, "", "[]", '{"bids":[],"asks":[]}', b"\xff", "{" * 2_000])
def test_a_rest_answer_that_cannot_be_used_is_asked_for_again(body: str | bytes | None) -> None:
    adapter = Binance([Want(Channel.BOOK, "BTCUSDT")])
    adapter.open(T0)
    adapter.take(binance_book(90, 95, 89, bids=[["98", "9"]]), T0)
    taken = adapter.answered(DEPTH, body, T0)
    assert len(faults(taken)) == 1
    assert adapter.book("BTCUSDT") is None
    assert adapter.beat(T0 + RESYNC_PATIENCE_MS).fetches == [DEPTH]


def test_a_silent_book_is_asked_for_again_and_stays_meanwhile() -> None:
    adapter = deribit_at_100()
    assert adapter.beat(T0 + SILENT_AFTER_MS - 1).messages == []
    taken = adapter.beat(T0 + SILENT_AFTER_MS)
    assert faults(taken) == [FaultKind.SILENT]
    assert len(taken.sends) == 2
    assert adapter.book(X) is not None


def test_a_lost_connection_leaves_no_book() -> None:
    adapter = deribit_at_100()
    assert faults(adapter.lost("gone", T0)) == [FaultKind.LOST]
    assert adapter.book(X) is None
    assert "book.BTC-PERPETUAL.100ms" in "".join(adapter.open(T0).sends)
    # A change that comes before the snapshot, which the venue sends first, waits for it.
    assert adapter.take(deribit_book(2, 1, bids=[], asks=[]), T0).messages == []


# ── heartbeats, tickers, funding ─────────────────────────────────────────────────────────────────


def test_heartbeats() -> None:
    deribit = Deribit()
    assert "set_heartbeat" in deribit.open(T0).sends[0]
    request = '{"jsonrpc":"2.0","method":"heartbeat","params":{"type":"test_request"}}'
    assert json.loads(deribit.take(request, T0).sends[0])["method"] == "public/test"
    assert deribit.take(request.replace("test_request", "heartbeat"), T0).sends == []
    for adapter, ping, pong in (
        (Okx(), "ping", "pong"),
        (Bybit(), '{"op":"ping"}', '{"success":true,"ret_msg":"pong","op":"ping"}'),
    ):
        adapter.open(T0)
        assert adapter.beat(T0 + 19_999).sends == []
        assert adapter.beat(T0 + 20_000).sends == [ping]
        assert adapter.beat(T0 + 30_000).sends == []
        assert adapter.take(pong, T0).messages == []


def test_deribit_times_its_clock() -> None:
    adapter = Deribit()
    number_of = next(
        json.loads(one)["id"] for one in adapter.open(T0 + 500).sends if "get_time" in one
    )
    adapter.take(json.dumps({"jsonrpc": "2.0", "id": number_of, "result": T0}), T0 + 520)
    assert adapter.health.clock.skew_ms == 510


def fixture(*parts: str) -> Any:
    path = need_shared("data", "exchange_responses", "nautilus", *parts)
    return json.loads(path.read_text("utf-8"))


def test_tickers_and_funding_of_published_examples() -> None:
    """Values as the examples have them, read by eye."""
    deribit = Deribit()
    taken = deribit.take(json.dumps(fixture("deribit", "ws_ticker.json")), T0)
    ticker, funding = taken.messages
    assert isinstance(ticker, Ticker)
    assert (ticker.bid, ticker.mark, ticker.index) == (d("92283.5"), d("92281.78"), d("92263.55"))
    assert isinstance(funding, Funding)
    assert (funding.rate, funding.hours, funding.current) == (d("0.00001742"), 8, d("0"))
    bybit = Bybit()
    taken = bybit.take(json.dumps(fixture("bybit", "ws_ticker_linear.json")), T0)
    ticker, funding = taken.messages
    assert isinstance(ticker, Ticker)
    assert (ticker.bid, ticker.ask_size) == (d("17215.50"), d("83.020"))
    assert isinstance(funding, Funding)
    assert (funding.rate, funding.next_ms, funding.hours) == (d("-0.000212"), 1673280000000, 8)
    data = {"symbol": "BTCUSDT", "markPrice": "17218", "fundingRate": "0.0001"}
    delta = {"topic": "tickers.BTCUSDT", "type": "delta", "ts": 1673272861700, "data": data}
    ticker, funding = bybit.take(json.dumps(delta), T0).messages
    assert isinstance(ticker, Ticker)
    assert (ticker.mark, ticker.bid) == (d("17218"), d("17215.50"))
    assert isinstance(funding, Funding)
    assert (funding.rate, funding.hours) == (d("0.0001"), 8)
    option = bybit.take(json.dumps(fixture("bybit", "ws_ticker_option.json")), T0).messages[0]
    assert isinstance(option, Ticker)
    assert (option.bid, option.ask, option.vol) == (None, d("10"), d("0.4896"))
    assert option.forward == d("16815.1")
    okx = Okx().take(json.dumps(fixture("okx", "ws_funding_rate.json")), T0)
    assert (only(okx, Funding).rate, only(okx, Funding).hours) == (d("0.0001"), 8)
    mark = fixture("binance", "futures", "market_data_json", "mark_price_stream.json")
    binance = Binance().take(json.dumps({"stream": "btcusdt@markPrice@1s", "data": mark}), T0)
    assert only(binance, Funding).rate == d("0.00038167")
    assert only(binance, Ticker).index == d("11784.62659091")


def test_okx_puts_a_ticker_together() -> None:
    symbol = "BTC-USD-240628-60000-C"
    adapter = Okx([Want(Channel.TICKER, symbol)])
    assert '"instFamily":"BTC-USD"' in adapter.open(T0).sends[0]
    for channel, about, data in (
        ("tickers", symbol, {"bidPx": "0.01", "askPx": "", "last": "0.011"}),
        ("mark-price", symbol, {"markPx": "0.0105"}),
        ("index-tickers", "BTC-USD", {"idxPx": "61000.5"}),
        ("opt-summary", symbol, {"markVol": "0.53", "fwdPx": "61200"}),
        ("opt-summary", "BTC-USD-240628-61000-C", {"markVol": "0.5", "fwdPx": "61200"}),
    ):
        row = {"instId": about, "ts": str(T0), **data}
        adapter.take(json.dumps({"arg": {"channel": channel, "instId": about}, "data": [row]}), T0)
    assert list(adapter.tickers) == [symbol]
    ticker = adapter.tickers[symbol]
    assert (ticker.bid, ticker.ask, ticker.mark) == (d("0.01"), None, d("0.0105"))
    assert (ticker.index, ticker.vol, ticker.forward) == (d("61000.5"), d("0.53"), d("61200"))


def test_an_older_ticker_does_not_replace_a_newer_one() -> None:
    adapter = Binance()

    def quote(at: int, bid: str) -> str:
        data = {"e": "bookTicker", "u": at, "s": "BTCUSDT", "b": bid, "B": "1", "a": "9", "A": "1"}
        return json.dumps({"stream": "btcusdt@bookTicker", "data": data})

    adapter.take(quote(5, "8"), T0)
    assert faults(adapter.take(quote(4, "7"), T0)) == [FaultKind.OLD]
    assert adapter.tickers["BTCUSDT"].bid == d("8")


def test_bybit_asks_for_a_ticker_that_was_never_told_whole() -> None:
    adapter = Bybit()
    delta = json.dumps({"topic": "tickers.BTCUSDT", "type": "delta", "ts": T0,
                        "data": {"symbol": "BTCUSDT", "markPrice": "1"}})  # fmt: skip
    taken = adapter.take(delta, T0)
    assert faults(taken) == [FaultKind.GAP]
    assert [json.loads(one)["op"] for one in taken.sends] == ["unsubscribe", "subscribe"]
    assert faults(adapter.take(delta, T0)) == []


# ── what no venue should send ────────────────────────────────────────────────────────────────────

NONSENSE = ["", " ", "null", "[]", "7", '"x"', "{}", '{"a":', "{" * 5_000, "\x00", "NaN",
            '{"method":"subscription"}', '{"method":"x"}', '{"topic":7}',
            '{"stream":"x@y","data":1}',
            '{"arg":{"channel":"books","instId":"x"},"data":7}', '{"arg":7}', '{"event":"error"}',
            '{"topic":"orderbook.50.X","type":"delta","data":{}}', '{"data":null}',
            '{"stream":"x@depth","data":{}}', '{"error":{"code":1}}',
            '{"topic":"tickers.X"}']  # fmt: skip


@pytest.mark.parametrize("venue", [*ADAPTERS, "v2"])
def test_nonsense_is_a_fault_with_a_name(venue: str) -> None:
    adapter = BybitV2() if venue == "v2" else make_adapter(venue)
    adapter.open(T0)
    for frame in NONSENSE:
        for form in (frame, frame.encode()):
            taken = adapter.take(form, T0)
            assert len(faults(taken)) == len(taken.messages) <= 1, frame
    assert adapter.take(b"\xff\xfe{}", T0).messages
    assert adapter.take('{"a":"' + "x" * (9 << 20) + '"}', T0).messages
    counted = adapter.health.faults
    assert counted["malformed"] >= 2
    assert sum(counted.values()) >= len(NONSENSE)
    assert set(counted) <= set(FaultKind)


@settings(max_examples=60)
@given(st.sampled_from(sorted(ADAPTERS)), st.integers(0, 2**32))
def test_spoilt_frames_never_raise_and_never_half_apply(venue: str, seed: int) -> None:
    """A frame with a byte changed: either it reads, or nothing of it shows."""
    rng = random.Random(seed)
    adapter = make_adapter(venue)
    adapter.open(T0)
    frames = [
        deribit_book(1, bids=[["new", 99, 1]], asks=[["new", 101, 2]]),
        deribit_book(2, 1, bids=[["new", 98, 1]], asks=[["new", 102, 2]]),
        okx_book("snapshot", bids=[["99", "1"]], asks=[["101", "1"]], seqId=1, prevSeqId=-1),
        okx_book("update", bids=[["98", "1"]], asks=[["102", "1"]], seqId=2, prevSeqId=1),
        bybit_book("snapshot", 1, bids=[["99", "1"]], asks=[["101", "1"]]),
        bybit_book("delta", 2, bids=[["98", "1"]], asks=[["102", "1"]]),
        binance_book(1, 5, 0, bids=[["99", "1"]]),
        binance_book(6, 7, 5, bids=[["98", "1"]]),
    ]
    for frame in frames:
        at = rng.randrange(len(frame))
        spoilt = frame[:at] + chr(rng.randrange(1, 0x250)) + frame[at + 1 :]
        before = {
            name: (held.book.bids(), held.book.asks()) for name, held in adapter.books.items()
        }
        taken = adapter.take(spoilt, T0)
        told = any(isinstance(one, BookDelta | BookSnapshot) for one in taken.messages)
        for name, held in adapter.books.items():
            now = (held.book.bids(), held.book.asks())
            assert told or now in (before.get(name, ((), ())), ((), ())), spoilt
            assert not held.book.crossed


def test_refusals_are_told() -> None:
    deribit = Deribit([Want(Channel.TRADES, "NO-SUCH")])
    sent = [json.loads(one) for one in deribit.open(T0).sends]
    asked = next(one for one in sent if one["method"] == "public/subscribe")
    answer = json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": []})
    told = only(deribit.take(answer, T0), Fault)
    assert (told.kind, told.symbol) == (FaultKind.REFUSED, "NO-SUCH")
    for adapter, frame in (
        (
            Deribit(),
            '{"jsonrpc":"2.0","id":1,"error":{"code":10028,"message":"too_many_requests"}}',
        ),
        (Okx(), '{"event":"error","code":"60012","msg":"Invalid request"}'),
        (Bybit(), '{"success":false,"ret_msg":"Invalid topic","op":"subscribe"}'),
        (Binance(), '{"error":{"code":2,"msg":"Invalid request"},"id":1}'),
    ):
        assert faults(adapter.take(frame, T0)) == [FaultKind.REFUSED]


# ── pieces ───────────────────────────────────────────────────────────────────────────────────────


def test_numbers() -> None:
    assert in_ticks(d("7.6110"), d("0.001")) == 7611
    with pytest.raises(BadValue, match="multiple"):
        in_ticks(d("7.6115"), d("0.001"))
    for bad in ("", "x", "NaN", "-Infinity", "1e999999", "1e-99"):
        with pytest.raises(BadValue):
            number(bad, "price")
    assert f"{number('1E+3', 'price'):f}" == "1000"


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(1, 30), st.integers(0, 3)), max_size=60))
def test_a_book_is_a_dict_in_order(changes: list[tuple[int, int]]) -> None:
    book = Book("x")
    slow: dict[Decimal, Decimal] = {}
    book.replace(bids=(), asks=(), sequence=1, time_ms=0)
    for at, size in changes:
        level = ((Decimal(at), Decimal(size)),)
        book.change(bids=level, asks=(), sequence=1, time_ms=0)
        slow.pop(Decimal(at), None)
        if size:
            slow[Decimal(at)] = Decimal(size)
    assert book.bids() == tuple(sorted(slow.items(), reverse=True))
    assert book.bids(2) == tuple(sorted(slow.items(), reverse=True))[:2]
    assert book.bid == max(slow, default=None)
    book.trim(3)
    assert book.bids() == tuple(sorted(slow.items(), reverse=True))[:3]


def ticker(symbol: str, mark: int, time_ms: int = T0) -> Ticker:
    return Ticker(
        venue="deribit", symbol=symbol, time_ms=time_ms, received_ms=time_ms, mark=d(str(mark))
    )


def trade(number_of: int) -> Trade:
    return Trade(venue="v", symbol="x", time_ms=0, received_ms=0, price=d("1"), size=d("1"),
                 side="buy", number=str(number_of))  # fmt: skip


def test_an_inbox_keeps_the_newest_ticker_and_every_trade() -> None:
    inbox = Inbox(3)
    for one in (ticker("a", 1), trade(1), ticker("a", 2), ticker("b", 1), trade(2), ticker("a", 3)):
        assert inbox.put(one)
    assert inbox.superseded == 2
    assert inbox.take() == [ticker("a", 3), trade(1), ticker("b", 1), trade(2)]
    assert inbox.take() == []
    lost = Fault(venue="v", kind=FaultKind.LOST, symbol="", detail="", received_ms=0)
    assert all(inbox.put(one) for one in (ticker("a", 1), lost, trade(1), trade(2)))
    assert not inbox.put(trade(3))
    assert inbox.trades_lost == 3
    assert inbox.take() == [ticker("a", 1), lost]


def test_the_clock_takes_the_narrowest_round_trip() -> None:
    assert Clock().skew_ms is None
    clock = Clock()
    for late in (40, 25, 90):
        clock.heard(time_ms=T0, received_ms=T0 + late)
    assert clock.skew_ms == 25
    assert clock.latency_ms(50) == 15
    clock.round_trip(sent_ms=T0, time_ms=T0, received_ms=T0 + 100)
    clock.round_trip(sent_ms=T0 - 5, time_ms=T0, received_ms=T0 + 25)
    clock.round_trip(sent_ms=T0, time_ms=T0, received_ms=T0 + 60)
    assert clock.skew_ms == 10


def test_backoff_doubles_with_chance_and_a_bucket_fills() -> None:
    backoff, rng = Backoff(first_s=1.0, most_s=30.0), random.Random(3)
    pauses = [backoff.next_s(rng) for _ in range(12)]
    for tries, pause in enumerate(pauses):
        assert min(30.0, 2.0**tries) / 2 <= pause <= min(30.0, 2.0**tries)
    assert len(set(pauses)) == 12
    bucket = Bucket(4.0, burst=2.0)
    assert [bucket.wait_s(1.0) for _ in range(4)] == [0.0, 0.0, 0.25, 0.5]
    assert bucket.wait_s(100.0) == 0.0
    bucket.hold(3.0)
    assert bucket.wait_s(100.0) >= 3.0


# ── what becomes of it ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("venue", "symbol", "same"),
    [
        ("okx", "BTC-USD-SWAP", "BTC-PERPETUAL"), ("okx", "ETH-USDT", "ETH/USDT"),
        ("bybit", "BTCUSDT", "BTC/USDT:USDT"), ("bybit-inverse", "BTCUSD", "BTC-PERPETUAL"),
        ("bybit-v2", "BTCUSD", "BTC-PERPETUAL"), ("bybit-v2", "BTCUSDT", "BTC/USDT:USDT"),
        ("binance", "BTCUSDT", "BTC/USDT:USDT"), ("binance-spot", "BTCUSDT", "BTC/USDT"),
        ("binance-coinm", "BTCUSD_210924", "BTC-24SEP21"),
    ],
)  # fmt: skip
def test_symbols_of_venues(venue: str, symbol: str, same: str) -> None:
    assert contract_of(venue, symbol) == parse_symbol(same)


def test_a_ticker_is_a_quote_for_an_index() -> None:
    base = ticker(X, 100)
    assert quote_of(base) is None
    adapter = Binance()
    data = {
        "e": "bookTicker",
        "u": 5,
        "s": "BTCUSDT",
        "b": "99",
        "B": "1",
        "a": "100",
        "A": "1",
        "T": T0,
    }
    taken = adapter.take(json.dumps({"stream": "btcusdt@bookTicker", "data": data}), T0 + 5)
    market = LiveMarket()
    assert market.take(taken.messages) == 1
    (quote,) = market.quotes("BTC")
    assert (quote.source, quote.price, quote.confidence) == ("binance:BTCUSDT", 99.5, 0.5)
    assert (quote.bid, quote.ask, quote.time_ms) == (99.0, 100.0, T0)
    assert quote.confidence is not None
    assert quote.price is not None
    assert quote.confidence < quote.price * SourceRule().confidence_ppm / 1e6
    assert market.quotes("ETH") == []


def test_a_live_market_leaves_out_what_expired_and_what_it_does_not_know() -> None:
    market = LiveMarket()
    assert market.snapshot(T0) is None
    old = ticker("BTC-1JAN21", 30_000)
    combo = ticker("BTC-CS-27JUN25-60000_70000", 1)
    assert market.take([ticker(X, 40_000, T0 - 70_000), old, combo]) == 2
    assert market.unknown == {"deribit:BTC-CS-27JUN25-60000_70000"}
    snapshot = market.snapshot(T0)
    assert snapshot is not None
    assert snapshot.universe.symbols == (X,)
    assert list(snapshot.mark) == [40_000.0]
    assert list(snapshot.age_ms) == [70_000]


def test_a_generated_feed_moves_and_repeats() -> None:
    """Same seed, same frames; books follow; marks are the adapter's; the market can be margined."""
    moments = list(
        generated(steps=6, seed=4, coins=("BTC",), expiries=2, strikes=4, step_ms=60_000)
    )
    assert not any(isinstance(one, Fault) for moment in moments for one in moment.messages)
    prices = [float(moment.snapshot.index[0]) for moment in moments]
    assert len(set(prices)) == 6
    assert all(bool(moment.snapshot.usable.all()) for moment in moments)
    last = moments[-1]
    told = {one.symbol: one for one in last.messages if isinstance(one, Ticker)}
    for row, symbol in enumerate(last.snapshot.universe.symbols):
        assert last.snapshot.mark[row] == float(told[symbol].mark or 0)
    deltas = [one for moment in moments for one in moment.messages if isinstance(one, BookDelta)]
    assert len(deltas) == 5
    assert sum(isinstance(one, Funding) for one in last.messages) == 1
    tape = GeneratedTape(seed=4, steps=2)
    assert [one.text for one in tape] == [one.text for one in tape]
    other = GeneratedVenue(seed=5).frames(2)
    assert [one.text for one in other] != [one.text for one in tape]


def test_generated_moves_are_of_their_volatility() -> None:
    """Without jumps, moves of a quarter of an hour scale to the volatility that is quoted."""
    venue = GeneratedVenue(
        seed=2, coins=("BTC",), expiries=1, strikes=1, jumps=0.0, step_ms=900_000
    )
    logs = []
    for _ in range(800):
        venue._move()
        logs.append(float(venue._price[0]))
    yearly = float(np.std(np.diff(logs)) * np.sqrt(365 * 96))
    assert 0.4 * venue._vol[0] < yearly < 2.5 * venue._vol[0]
