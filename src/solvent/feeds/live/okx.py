"""OKX: books are numbered by `seqId` and `prevSeqId` and carry a checksum of 25 levels.

Everything is text, nothing is written as "". A client that hears nothing says `ping`, as plain
text. A ticker is put together from the channels for quotes, marks, indices and, for options, the
summary of their family. Before 2023 books had no numbers: their checksum alone tells a gap.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Final, Literal

import msgspec

from solvent.feeds.live.adapter import Adapter
from solvent.feeds.live.books import levels
from solvent.feeds.live.messages import (
    BadValue,
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

_CHANNELS_A_FRAME: Final = 100
_PING_AFTER_MS: Final = 20_000
_HOUR_MS: Final = 3_600_000
_QUIET: Final = frozenset({"subscribe", "unsubscribe", "channel-conn-count"})

_Level = list[str]


class _Argument(msgspec.Struct):
    channel: str
    instId: str = ""  # noqa: N815
    instFamily: str = ""  # noqa: N815


class _Envelope(msgspec.Struct):
    arg: _Argument | None = None
    event: str = ""
    code: str = ""
    msg: str = ""
    action: Literal["", "snapshot", "update"] = ""
    data: msgspec.Raw = msgspec.Raw(b"")


class _Ticker(msgspec.Struct, rename="camel"):
    inst_id: str
    ts: str
    bid_px: str
    ask_px: str
    bid_sz: str = ""
    ask_sz: str = ""
    last: str = ""


class _Mark(msgspec.Struct, rename="camel"):
    inst_id: str
    mark_px: str
    ts: str


class _Index(msgspec.Struct, rename="camel"):
    inst_id: str
    idx_px: str
    ts: str


class _Summary(msgspec.Struct, rename="camel"):
    inst_id: str
    ts: str
    mark_vol: str = ""
    fwd_px: str = ""


class _Funding(msgspec.Struct, rename="camel"):
    inst_id: str
    funding_rate: str
    funding_time: str
    next_funding_time: str = ""
    ts: str = ""


class _Trade(msgspec.Struct, rename="camel"):
    inst_id: str
    trade_id: str
    px: str
    sz: str
    side: Literal["buy", "sell"]
    ts: str


class _Book(msgspec.Struct, rename="camel"):
    bids: list[_Level]
    asks: list[_Level]
    ts: str
    checksum: int | None = None
    seq_id: int | None = None
    prev_seq_id: int | None = None


class Okx(Adapter):
    """Tickers, books, trades and funding of OKX's public channels."""

    venue = "okx"
    url = "wss://ws.okx.com:8443/ws/v5/public"
    rest_url = "https://www.okx.com/api/v5"
    silence_ms = 30_000
    sends_per_s = 2.0

    def __init__(self, wants: Iterable[Want] = ()) -> None:
        super().__init__(wants)
        self._pinged_ms = 0
        self._readers = {
            "tickers": self._tickers, "mark-price": self._marks, "index-tickers": self._indices,
            "opt-summary": self._summaries, "funding-rate": self._funding, "trades": self._trades,
        }  # fmt: skip
        self._on_index: dict[str, list[str]] = {}
        """Index → instruments whose tickers tell it."""
        for want in self.wants:
            if want.channel is Channel.TICKER and want.symbol.count("-") >= 2:
                self._on_index.setdefault(_family(want.symbol), []).append(want.symbol)

    def _opened(self) -> None:
        self._pinged_ms = self._now_ms
        super()._opened()

    def _heartbeats(self) -> list[str]:
        if self._now_ms - self._pinged_ms < _PING_AFTER_MS:
            return []
        self._pinged_ms = self._now_ms
        return ["ping"]

    def _names(self, wants: Sequence[Want]) -> list[str]:
        names: dict[str, None] = {}
        for want in wants:
            derivative = want.symbol.count("-") >= 2
            if want.channel is Channel.TICKER:
                names[f"tickers:{want.symbol}"] = None
                if derivative:
                    names[f"mark-price:{want.symbol}"] = None
                    names[f"index-tickers:{_family(want.symbol)}"] = None
                if want.symbol.count("-") == 4:
                    names[f"opt-summary:{_family(want.symbol)}"] = None
            else:
                of = {Channel.BOOK: "books", Channel.FUNDING: "funding-rate"}
                names[f"{of.get(want.channel, want.channel.value)}:{want.symbol}"] = None
        return list(names)

    def _subscription(self, names: Sequence[str], *, begin: bool) -> list[str]:
        arguments: list[dict[str, str]] = []
        for name in names:
            channel, _, about = name.partition(":")
            key = "instFamily" if channel == "opt-summary" else "instId"
            arguments.append({"channel": channel, key: about})
        op = "subscribe" if begin else "unsubscribe"
        return [
            msgspec.json.encode(
                {"op": op, "args": arguments[first : first + _CHANNELS_A_FRAME]}
            ).decode()
            for first in range(0, len(arguments), _CHANNELS_A_FRAME)
        ]

    def _read(self, frame: str | bytes) -> None:
        if frame in ("pong", b"pong"):
            return
        told = _ENVELOPE.decode(frame)
        if told.event:
            if told.event not in _QUIET:
                about = told.arg.instId if told.arg else ""
                detail = f"{told.event} {told.code} {told.msg}"
                self._fault(FaultKind.REFUSED, about, detail)
            return
        channel = told.arg.channel if told.arg else ""
        if told.arg and channel == "books":
            self._suspect = told.arg.instId
            for book in _BOOKS.decode(told.data):
                self._book(told.arg.instId, book, snapshot=told.action == "snapshot")
        elif channel in self._readers:
            self._readers[channel](told.data)
        else:
            self._fault(FaultKind.UNKNOWN_CHANNEL, "", channel or "none")

    def _tickers(self, data: msgspec.Raw) -> None:
        for told in _TICKERS.decode(data):
            self._merge(
                told.inst_id, moment(told.ts),
                {
                    "bid": price_or_none(told.bid_px), "bid_size": size_or_none(told.bid_sz),
                    "ask": price_or_none(told.ask_px), "ask_size": size_or_none(told.ask_sz),
                    "last": price_or_none(told.last),
                },
                "quote",
            )  # fmt: skip

    def _marks(self, data: msgspec.Raw) -> None:
        for told in _MARKS.decode(data):
            mark = size(told.mark_px, "mark")
            self._merge(told.inst_id, moment(told.ts), {"mark": mark}, "mark")

    def _indices(self, data: msgspec.Raw) -> None:
        for told in _INDICES.decode(data):
            index, time_ms = price(told.idx_px), moment(told.ts)
            for symbol in self._on_index.get(told.inst_id, ()):
                self._merge(symbol, time_ms, {"index": index}, "index")

    def _summaries(self, data: msgspec.Raw) -> None:
        for told in _SUMMARIES.decode(data):
            if told.inst_id in self.tickers or told.inst_id in self._on_index.get(
                _family(told.inst_id), ()
            ):
                vol, forward = price_or_none(told.mark_vol), price_or_none(told.fwd_px)
                prices = {"vol": vol, "forward": forward}
                self._merge(told.inst_id, moment(told.ts), prices, "summary")

    def _funding(self, data: msgspec.Raw) -> None:
        for told in _FUNDINGS.decode(data):
            next_ms = moment(told.funding_time)
            after = moment(told.next_funding_time) if told.next_funding_time else None
            span = (after - next_ms) if after else 0
            self._tell(
                Funding(
                    venue=self.venue, symbol=told.inst_id, received_ms=self._now_ms,
                    time_ms=moment(told.ts) if told.ts else 0,
                    rate=number(told.funding_rate, "funding"), next_ms=next_ms,
                    hours=span // _HOUR_MS if span > 0 and span % _HOUR_MS == 0 else None,
                )
            )  # fmt: skip

    def _trades(self, data: msgspec.Raw) -> None:
        found = [
            Trade(
                venue=self.venue, symbol=one.inst_id, time_ms=moment(one.ts),
                received_ms=self._now_ms, price=price(one.px), size=size(one.sz), side=one.side,
                number=one.trade_id,
            )
            for one in _TRADES.decode(data)
        ]  # fmt: skip
        for trade in found:
            self._tell(trade)

    def _book(self, symbol: str, told: _Book, *, snapshot: bool) -> None:
        held, time_ms = self._held(symbol), moment(told.ts)
        bids, asks = _levels(told.bids), _levels(told.asks)
        checksum = told.checksum or None  # 0 where the venue computes none
        sequence = held.book.sequence if told.seq_id is None else told.seq_id
        if snapshot:
            self._snapshot(
                symbol, bids=bids, asks=asks, sequence=told.seq_id or 0, time_ms=time_ms,
                checksum=checksum,
            )  # fmt: skip
        elif not held.book.live:
            if not held.asked_ms:
                self._lost(symbol, FaultKind.GAP, "an update before any snapshot")
        elif self._follows(symbol, told, time_ms):
            self._change(
                symbol, bids=bids, asks=asks, sequence=sequence, time_ms=time_ms, checksum=checksum
            )

    def _follows(self, symbol: str, told: _Book, time_ms: int) -> bool:
        """Whether an update is the next of its book. A number may fall where the venue begins
        anew, as long as the one before it is the book's."""
        book = self._held(symbol).book
        if told.seq_id is None:
            old = time_ms < book.time_ms
        elif told.prev_seq_id == book.sequence:
            return True
        else:
            old = told.seq_id <= book.sequence
        if old:
            self._fault(FaultKind.OLD, symbol, f"{told.seq_id or time_ms} after {book.sequence}")
        elif told.seq_id is not None:
            detail = f"{told.prev_seq_id} does not follow {book.sequence}"
            self._lost(symbol, FaultKind.GAP, detail)
        return not old and told.seq_id is None


def _levels(rows: list[_Level]) -> tuple[tuple[Decimal, Decimal], ...]:
    if any(len(row) < 2 for row in rows):
        raise BadValue("levels: expected a price and a size")
    return levels((row[0], row[1]) for row in rows)


def _family(symbol: str) -> str:
    """`BTC-USD-240628-60000-C` is of the family and on the index `BTC-USD`."""
    return "-".join(symbol.split("-")[:2])


_ENVELOPE: Final = msgspec.json.Decoder(_Envelope)
_TICKERS: Final = msgspec.json.Decoder(list[_Ticker])
_MARKS: Final = msgspec.json.Decoder(list[_Mark])
_INDICES: Final = msgspec.json.Decoder(list[_Index])
_SUMMARIES: Final = msgspec.json.Decoder(list[_Summary])
_FUNDINGS: Final = msgspec.json.Decoder(list[_Funding])
_TRADES: Final = msgspec.json.Decoder(list[_Trade])
_BOOKS: Final = msgspec.json.Decoder(list[_Book])
