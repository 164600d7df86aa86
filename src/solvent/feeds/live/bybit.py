"""Bybit's v5 channels: a book's `u` grows by one a message, and is 1 where the venue began anew.

One connection serves one category: `linear`, `inverse`, `option` or `spot`. A ticker is told whole
once, then what changed of it. Leaving a channel and entering it again brings a snapshot.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Final, Literal

import msgspec

from solvent.errors import check
from solvent.feeds.live.adapter import Adapter
from solvent.feeds.live.books import levels
from solvent.feeds.live.messages import (
    Channel,
    FaultKind,
    Funding,
    Trade,
    Want,
    moment,
    number,
    price,
    price_or_none,
    size,
    size_or_none,
)

_TOPICS_A_FRAME: Final = 10
_PING_AFTER_MS: Final = 20_000
_CATEGORIES: Final = ("linear", "inverse", "option", "spot")

_Pair = tuple[str, str]
_Unset = msgspec.UnsetType
_UNSET: Final = msgspec.UNSET


class _Envelope(msgspec.Struct):
    topic: str = ""
    type: Literal["", "snapshot", "delta"] = ""
    ts: int = 0
    data: msgspec.Raw = msgspec.Raw(b"")
    op: str = ""
    success: bool | None = None
    ret_msg: str = ""


class _Ticker(msgspec.Struct, rename="camel"):
    """Names of both: those of options come last."""

    symbol: str
    bid1_price: str | _Unset = _UNSET
    bid1_size: str | _Unset = _UNSET
    ask1_price: str | _Unset = _UNSET
    ask1_size: str | _Unset = _UNSET
    last_price: str | _Unset = _UNSET
    mark_price: str | _Unset = _UNSET
    index_price: str | _Unset = _UNSET
    funding_rate: str | _Unset = _UNSET
    next_funding_time: str | _Unset = _UNSET
    funding_interval_hour: str | _Unset = _UNSET
    bid_price: str | _Unset = _UNSET
    bid_size: str | _Unset = _UNSET
    ask_price: str | _Unset = _UNSET
    ask_size: str | _Unset = _UNSET
    mark_price_iv: str | _Unset = _UNSET
    underlying_price: str | _Unset = _UNSET


class _Trade(msgspec.Struct):
    T: int
    s: str
    S: Literal["Buy", "Sell"]
    v: str
    p: str
    i: str


class _Book(msgspec.Struct):
    s: str
    b: list[_Pair]
    a: list[_Pair]
    u: int


_PRICES: Final = (
    ("bid", ("bid1_price", "bid_price")), ("ask", ("ask1_price", "ask_price")),
    ("last", ("last_price",)), ("index", ("index_price",)), ("forward", ("underlying_price",)),
    ("vol", ("mark_price_iv",)),
)  # fmt: skip
_SIZES: Final = (
    ("bid_size", ("bid1_size", "bid_size")), ("ask_size", ("ask1_size", "ask_size")),
)  # fmt: skip


class Bybit(Adapter):
    """Tickers (with funding), books and trades of one of Bybit's categories."""

    venue = "bybit"
    rest_url = "https://api.bybit.com"
    silence_ms = 30_000

    def __init__(
        self, wants: Iterable[Want] = (), *, category: str = "linear", depth: int = 50
    ) -> None:
        check(category in _CATEGORIES, "a category of Bybit's", category)
        if category != "linear":
            self.venue = f"{self.venue}-{category}"
        super().__init__(wants)
        self.url = f"wss://stream.bybit.com/v5/public/{category}"
        self._depth = 25 if category == "option" else depth
        self._pinged_ms = 0
        self._whole: set[str] = set()
        """Instruments whose ticker was told whole."""
        self._fundings: dict[str, Funding] = {}

    def _opened(self) -> None:
        self._pinged_ms = self._now_ms
        self._whole.clear()
        self._fundings.clear()
        super()._opened()

    def _heartbeats(self) -> list[str]:
        if self._now_ms - self._pinged_ms < _PING_AFTER_MS:
            return []
        self._pinged_ms = self._now_ms
        return ['{"op":"ping"}']

    def _names(self, wants: Sequence[Want]) -> list[str]:
        of = {
            Channel.BOOK: f"orderbook.{self._depth}", Channel.TRADES: "publicTrade",
            Channel.TICKER: "tickers", Channel.FUNDING: "tickers",
        }  # fmt: skip
        return list(dict.fromkeys(f"{of[want.channel]}.{want.symbol}" for want in wants))

    def _subscription(self, names: Sequence[str], *, begin: bool) -> list[str]:
        op = "subscribe" if begin else "unsubscribe"
        return [
            msgspec.json.encode(
                {"op": op, "args": list(names[first : first + _TOPICS_A_FRAME])}
            ).decode()
            for first in range(0, len(names), _TOPICS_A_FRAME)
        ]

    def _read(self, frame: str | bytes) -> None:
        told = _ENVELOPE.decode(frame)
        kind, _, rest = told.topic.partition(".")
        if not told.topic:
            if told.success is False:
                self._fault(FaultKind.REFUSED, "", told.ret_msg)
            elif not told.op:
                self._fault(FaultKind.UNKNOWN_CHANNEL, "", "no topic")
        elif kind == "orderbook":
            self._suspect = rest.partition(".")[2]
            self._book(_BOOK.decode(told.data), told)
        elif kind == "tickers":
            self._ticker(_TICKER.decode(told.data), told)
        elif kind == "publicTrade":
            self._trades(_TRADES.decode(told.data))
        else:
            self._fault(FaultKind.UNKNOWN_CHANNEL, "", told.topic)

    def _ticker(self, told: _Ticker, envelope: _Envelope) -> None:
        symbol = told.symbol
        if envelope.type == "delta" and symbol not in self._whole:
            self._fault(FaultKind.GAP, symbol, "a ticker's change before it was told whole")
            self._whole.add(symbol)  # asked for once: what is missing is None until it comes
            names = self._names([Want(Channel.TICKER, symbol)])
            self._taken.sends += self._subscription(names, begin=False)
            self._taken.sends += self._subscription(names, begin=True)
        changed: dict[str, Decimal | None] = {}
        for name, keys in _PRICES:
            for text in (getattr(told, key) for key in keys):
                if text is not _UNSET:
                    changed[name] = price_or_none(text)
        for name, keys in _SIZES:
            for text in (getattr(told, key) for key in keys):
                if text is not _UNSET:
                    changed[name] = size_or_none(text)
        if told.mark_price is not _UNSET:
            changed["mark"] = size(told.mark_price, "mark")
        time_ms = moment(envelope.ts)
        funding = self._funding(told, time_ms)
        self._whole.add(symbol)
        self._merge(symbol, time_ms, changed)
        if funding is not None:
            self._fundings[symbol] = funding
            self._tell(funding)

    def _funding(self, told: _Ticker, time_ms: int) -> Funding | None:
        """Funding where a ticker changes it."""
        before = self._fundings.get(told.symbol)
        rate = before.rate if before else None
        next_ms, hours = (before.next_ms, before.hours) if before else (None, None)
        if told.funding_rate:
            rate = number(told.funding_rate, "funding")
        if told.next_funding_time:
            next_ms = moment(told.next_funding_time)
        if told.funding_interval_hour:
            hours = int(number(told.funding_interval_hour, "hours"))
        if rate is None or (before and (rate, next_ms, hours) == (
            before.rate, before.next_ms, before.hours
        )):  # fmt: skip
            return None
        return Funding(
            venue=self.venue, symbol=told.symbol, time_ms=time_ms, received_ms=self._now_ms,
            rate=rate, next_ms=next_ms, hours=hours,
        )  # fmt: skip

    def _book(self, told: _Book, envelope: _Envelope) -> None:
        symbol, held = told.s, self._held(told.s)
        time_ms, sequence = moment(envelope.ts), held.book.sequence
        bids, asks = levels(told.b), levels(told.a)
        if envelope.type == "snapshot":
            self._snapshot(symbol, bids=bids, asks=asks, sequence=told.u, time_ms=time_ms)
        elif not held.book.live:
            if not held.asked_ms:
                self._lost(symbol, FaultKind.GAP, "a change before any snapshot")
        elif told.u <= sequence:
            self._fault(FaultKind.OLD, symbol, f"{told.u} after {sequence}")
        elif told.u != sequence + 1:
            self._lost(symbol, FaultKind.GAP, f"{told.u} does not follow {sequence}")
        else:
            self._change(symbol, bids=bids, asks=asks, sequence=told.u, time_ms=time_ms)

    def _trades(self, told: list[_Trade]) -> None:
        found = [
            Trade(
                venue=self.venue, symbol=one.s, time_ms=moment(one.T), received_ms=self._now_ms,
                price=price(one.p), size=size(one.v), side=one.S.lower(), number=one.i,
            )
            for one in told
        ]  # fmt: skip
        for trade in found:
            self._tell(trade)


_ENVELOPE: Final = msgspec.json.Decoder(_Envelope)
_TICKER: Final = msgspec.json.Decoder(_Ticker)
_BOOK: Final = msgspec.json.Decoder(_Book)
_TRADES: Final = msgspec.json.Decoder(list[_Trade])
