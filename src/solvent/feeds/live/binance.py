"""Binance: changes of a book come by WebSocket, its snapshot by REST.

A change covers update numbers from `U` to `u`; `pu` is the `u` before it (where it is missing, on
spot, `U` − 1 is). Changes are kept until the snapshot, numbered L, is there; those up to L are in
it, the first that is applied reaches from L or below, and each later one begins where the last
ended. A gap asks for the snapshot again. A ticker is put together from best quotes and marks.

Since April 2026 the `usdm` market has two routes, a connection each: `public` for books and best
quotes, `market` for trades and marks. What one has, the other silently does not send.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from solvent.errors import check
from solvent.feeds.live.adapter import Adapter, Fetch
from solvent.feeds.live.books import levels
from solvent.feeds.live.messages import (
    BadValue,
    Channel,
    FaultKind,
    Funding,
    Levels,
    Trade,
    Want,
    moment,
    number,
    price,
    price_or_none,
    size,
)

_STREAMS_A_FRAME: Final = 100
_KEPT_MAX: Final = 5_000
"""Changes of one book that are kept until its snapshot comes."""
_MARKETS: Final = {
    "usdm": ("wss://fstream.binance.com/stream", "https://fapi.binance.com", "/fapi/v1/depth"),
    "coinm": ("wss://dstream.binance.com/stream", "https://dapi.binance.com", "/dapi/v1/depth"),
    "spot": ("wss://stream.binance.com:9443/stream", "https://api.binance.com", "/api/v3/depth"),
}

_ROUTES: Final = {
    "public": (Channel.BOOK, Channel.TICKER),
    "market": (Channel.TICKER, Channel.TRADES, Channel.FUNDING),
}
_ON_PUBLIC: Final = ("depth@100ms", "bookTicker")

_Pair = tuple[str, str]


class _Envelope(msgspec.Struct):
    stream: str = ""
    data: msgspec.Raw = msgspec.Raw(b"")
    id: int | str | None = None
    code: int | None = None
    msg: str = ""
    error: dict[str, int | str] | None = None


class _Quote(msgspec.Struct):
    s: str
    u: int
    b: str
    B: str
    a: str
    A: str
    T: int = 0


class _Mark(msgspec.Struct):
    s: str
    E: int
    p: str
    i: str = ""
    r: str = ""
    T: int = 0


class _Trade(msgspec.Struct):
    s: str
    a: int
    p: str
    q: str
    T: int
    m: bool


class _Depth(msgspec.Struct):
    s: str
    E: int
    U: int
    u: int
    b: list[_Pair]
    a: list[_Pair]
    pu: int | None = None
    T: int = 0


class _Snapshot(msgspec.Struct, rename="camel"):
    last_update_id: int
    bids: list[_Pair]
    asks: list[_Pair]
    E: int = msgspec.field(default=0, name="E")


class _Change(msgspec.Struct, frozen=True):
    """A checked change that waits for its snapshot."""

    before: int
    last: int
    bids: Levels
    asks: Levels
    time_ms: int


class Binance(Adapter):
    """Best quotes, marks with funding, books and trades of one of Binance's markets: `usdm`,
    `coinm` or `spot`. Without a `route` of `usdm` it reads what all its connections bring, as a
    recording has it; `binance_routes` are what a venue needs."""

    venue = "binance"
    silence_ms = 180_000

    def __init__(
        self, wants: Iterable[Want] = (), *, market: str = "usdm", route: str = ""
    ) -> None:
        check(market in _MARKETS, "a market of Binance's", market)
        check(not route or (route in _ROUTES and market == "usdm"), "a route of usdm", route)
        if route:
            wants = [want for want in wants if want.channel in _ROUTES[route]]
        if market != "usdm":
            self.venue = f"{self.venue}-{market}"
        super().__init__(wants)
        self.url, self.rest_url, self._depth_path = _MARKETS[market]
        self._route = route
        if route:
            self.url = self.url.replace("/stream", f"/{route}/stream")
        self._next_id = 0
        self._kept: dict[str, list[_Change]] = {}
        self._fetching: set[str] = set()
        self._fresh: set[str] = set()
        """Books that have had their snapshot and no change yet."""

    def _opened(self) -> None:
        self._kept.clear()
        self._fetching.clear()
        self._fresh.clear()
        super()._opened()

    def _names(self, wants: Sequence[Want]) -> list[str]:
        names: dict[str, None] = {}
        for want in wants:
            streams = {
                Channel.BOOK: ["depth@100ms"], Channel.TRADES: ["aggTrade"],
                Channel.FUNDING: ["markPrice@1s"], Channel.TICKER: ["bookTicker", "markPrice@1s"],
            }[want.channel]  # fmt: skip
            if self._depth_path.startswith("/api/"):
                streams = [one for one in streams if not one.startswith("markPrice")]
            if self._route:
                public = self._route == "public"
                streams = [one for one in streams if (one in _ON_PUBLIC) is public]
            names |= dict.fromkeys(f"{want.symbol.lower()}@{one}" for one in streams)
        return list(names)

    def _subscription(self, names: Sequence[str], *, begin: bool) -> list[str]:
        frames: list[str] = []
        for first in range(0, len(names), _STREAMS_A_FRAME):
            self._next_id += 1
            frame = {
                "method": "SUBSCRIBE" if begin else "UNSUBSCRIBE",
                "params": list(names[first : first + _STREAMS_A_FRAME]),
                "id": self._next_id,
            }
            frames.append(msgspec.json.encode(frame).decode())
        return frames

    def _resync(self, symbols: Sequence[str]) -> None:
        self._fetching.update(symbols)
        self._taken.fetches += [
            Fetch(f"{self._depth_path}?symbol={symbol}&limit=1000", symbol) for symbol in symbols
        ]

    def _read(self, frame: str | bytes) -> None:
        told = _ENVELOPE.decode(frame)
        kind = told.stream.partition("@")[2].partition("@")[0]
        if not told.stream:
            if told.error is not None or told.code is not None:
                self._fault(FaultKind.REFUSED, "", f"{told.error or (told.code, told.msg)}")
            elif told.id is None:
                self._fault(FaultKind.UNKNOWN_CHANNEL, "", "no stream")
        elif kind == "depth":
            self._suspect = told.stream.partition("@")[0].upper()
            self._depth(_DEPTH.decode(told.data))
        elif kind == "bookTicker":
            self._quote(_QUOTE.decode(told.data))
        elif kind == "markPrice":
            self._mark(_MARK.decode(told.data))
        elif kind == "aggTrade":
            self._trade(_TRADE.decode(told.data))
        else:
            self._fault(FaultKind.UNKNOWN_CHANNEL, "", told.stream)

    def _quote(self, told: _Quote) -> None:
        bid, ask = price_or_none(told.b), price_or_none(told.a)
        self._merge(
            told.s, moment(told.T),
            {
                "bid": bid, "bid_size": size(told.B) if bid else None,
                "ask": ask, "ask_size": size(told.A) if ask else None,
            },
            "quote", told.u,
        )  # fmt: skip

    def _mark(self, told: _Mark) -> None:
        mark, index, time_ms = size(told.p, "mark"), price_or_none(told.i), moment(told.E)
        rate = number(told.r, "funding") if told.r else None
        next_ms = moment(told.T) or None
        self._merge(told.s, time_ms, {"mark": mark, "index": index}, "mark")
        if rate is not None and next_ms is not None:  # a dated contract has neither
            self._tell(
                Funding(
                    venue=self.venue, symbol=told.s, time_ms=time_ms, received_ms=self._now_ms,
                    rate=rate, next_ms=next_ms,
                )
            )  # fmt: skip

    def _trade(self, told: _Trade) -> None:
        self._tell(
            Trade(
                venue=self.venue, symbol=told.s, time_ms=moment(told.T), received_ms=self._now_ms,
                price=price(told.p), size=size(told.q), side="sell" if told.m else "buy",
                number=str(told.a),
            )
        )  # fmt: skip

    def _depth(self, told: _Depth) -> None:
        if told.u < told.U:
            raise BadValue(f"update numbers: expected U up to u, found {told.U} and {told.u}")
        symbol, held = told.s, self._held(told.s)
        change = _Change(
            told.U - 1 if told.pu is None else told.pu, told.u, levels(told.b), levels(told.a),
            moment(told.T or told.E),
        )  # fmt: skip
        if held.book.live:
            self._apply(symbol, change)
            return
        kept = self._kept.setdefault(symbol, [])
        kept.append(change)
        if len(kept) > _KEPT_MAX:
            kept.clear()
            self._lost(symbol, FaultKind.OVERFLOW, f"more than {_KEPT_MAX} changes, no snapshot")
        elif symbol not in self._fetching:
            held.asked_ms = self._now_ms
            self._resync([symbol])

    def _apply(self, symbol: str, change: _Change) -> None:
        book = self._held(symbol).book
        fresh = symbol in self._fresh
        if change.last <= book.sequence:
            if not fresh:
                self._fault(FaultKind.OLD, symbol, f"{change.last} after {book.sequence}")
        elif change.before != book.sequence and not (fresh and change.before <= book.sequence):
            self._kept[symbol] = [change]
            detail = f"{change.before} does not follow {book.sequence}"
            self._lost(symbol, FaultKind.GAP, detail)
        else:
            self._fresh.discard(symbol)
            self._change(
                symbol, bids=change.bids, asks=change.asks, sequence=change.last,
                time_ms=change.time_ms,
            )  # fmt: skip

    def _read_answer(self, fetch: Fetch, body: str | bytes) -> None:
        symbol = fetch.about
        self._fetching.discard(symbol)
        told = _SNAPSHOT.decode(body)
        bids, asks = levels(told.bids), levels(told.asks)
        kept, last = self._kept.pop(symbol, []), told.last_update_id
        held = self._held(symbol)
        if held.book.live and last < held.book.sequence:
            held.asked_ms = 0  # asked because it was silent, and older than what has come since
            return
        self._fresh.add(symbol)
        self._snapshot(symbol, bids=bids, asks=asks, sequence=last, time_ms=moment(told.E))
        for at, change in enumerate(kept):
            if not held.book.live:
                self._kept.setdefault(symbol, []).extend(kept[at:])
                return
            self._apply(symbol, change)


def binance_routes(wants: Iterable[Want]) -> list[Binance]:
    """The adapters that the `usdm` market takes together, each with a connection of its own: they
    share their health and the tickers that both put together."""
    wanted = list(wants)
    found = [Binance(wanted, route=route) for route in _ROUTES]
    for other in found[1:]:
        other.health, other.tickers = found[0].health, found[0].tickers
    return [one for one in found if one.wants] or found[:1]


_ENVELOPE: Final = msgspec.json.Decoder(_Envelope)
_QUOTE: Final = msgspec.json.Decoder(_Quote)
_MARK: Final = msgspec.json.Decoder(_Mark)
_TRADE: Final = msgspec.json.Decoder(_Trade)
_DEPTH: Final = msgspec.json.Decoder(_Depth)
_SNAPSHOT: Final = msgspec.json.Decoder(_Snapshot)
