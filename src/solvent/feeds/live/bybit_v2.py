"""Bybit's channels before 2023, for recordings of that time.

A book is told as `insert`, `update` and `delete`, and numbered by `cross_seq`, which grows but not
by one: a missing change shows where a level is inserted that is there, or changed that is not.
What never shows is found by asking for the book again from time to time.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Final, Literal

import msgspec

from solvent.feeds.live.books import Book, levels
from solvent.feeds.live.bybit import Bybit
from solvent.feeds.live.messages import (
    BadValue,
    Channel,
    FaultKind,
    Levels,
    Trade,
    Want,
    moment,
    price,
    size,
)


class _Envelope(msgspec.Struct):
    topic: str = ""
    type: Literal["", "snapshot", "delta"] = ""
    data: msgspec.Raw = msgspec.Raw(b"")
    cross_seq: int | str = 0
    timestamp_e6: int | str = 0
    success: bool | None = None
    ret_msg: str = ""


class _Row(msgspec.Struct):
    price: str
    symbol: str
    side: Literal["Buy", "Sell"]
    size: Decimal = Decimal(0)


class _Whole(msgspec.Struct):
    order_book: list[_Row]


class _Delta(msgspec.Struct):
    delete: list[_Row]
    update: list[_Row]
    insert: list[_Row]


class _Trade(msgspec.Struct):
    symbol: str
    side: Literal["Buy", "Sell"]
    size: Decimal
    price: Decimal
    trade_time_ms: int | str
    trade_id: str


class BybitV2(Bybit):
    """Books of 25 levels and trades, linear or inverse."""

    venue = "bybit-v2"
    numbered = False

    def _names(self, wants: Sequence[Want]) -> list[str]:
        of = {Channel.BOOK: "orderBookL2_25", Channel.TRADES: "trade"}
        other = "instrument_info.100ms"
        return list(dict.fromkeys(f"{of.get(one.channel, other)}.{one.symbol}" for one in wants))

    def _read(self, frame: str | bytes) -> None:
        told = _ENVELOPE.decode(frame)
        kind, _, symbol = told.topic.partition(".")
        if not told.topic:
            if told.success is False:
                self._fault(FaultKind.REFUSED, "", told.ret_msg)
            elif told.success is None:
                self._fault(FaultKind.UNKNOWN_CHANNEL, "", "no topic")
        elif kind == "orderBookL2_25":
            self._suspect = symbol
            self._old_book(symbol, told)
        elif kind == "trade":
            self._old_trades(_TRADES.decode(told.data))
        else:
            self._fault(FaultKind.UNKNOWN_CHANNEL, "", told.topic)

    def _old_book(self, symbol: str, told: _Envelope) -> None:
        held, sequence = self._held(symbol), moment(told.cross_seq)
        try:
            time_ms = moment(int(told.timestamp_e6) // 1_000)
        except ValueError as fault:
            found = f"{told.timestamp_e6!r:.40}"
            raise BadValue(f"time: expected microseconds, found {found}") from fault
        if told.type == "snapshot":
            body = bytes(told.data)
            rows = _ROWS.decode(body) if body.startswith(b"[") else _WHOLE.decode(body).order_book
            bids, asks = _sides(rows)
            self._snapshot(symbol, bids=bids, asks=asks, sequence=sequence, time_ms=time_ms)
        elif not held.book.live:
            if not held.asked_ms:
                self._lost(symbol, FaultKind.GAP, "a change before any snapshot")
        elif sequence <= held.book.sequence:
            self._fault(FaultKind.OLD, symbol, f"{sequence} after {held.book.sequence}")
        else:
            delta = _DELTA.decode(told.data)
            bids, asks = _sides([*delta.delete, *delta.update, *delta.insert])
            if not _fits(held.book, delta):
                self._lost(symbol, FaultKind.GAP, "levels that do not fit the book")
                return
            self._change(symbol, bids=bids, asks=asks, sequence=sequence, time_ms=time_ms)

    def _old_trades(self, told: list[_Trade]) -> None:
        found = [
            Trade(
                venue=self.venue, symbol=one.symbol, time_ms=moment(one.trade_time_ms),
                received_ms=self._now_ms, price=price(one.price), size=size(one.size),
                side=one.side.lower(), number=one.trade_id,
            )
            for one in told
        ]  # fmt: skip
        for trade in found:
            self._tell(trade)


def _sides(rows: list[_Row]) -> tuple[Levels, Levels]:
    """Bids and asks of rows; a level that is deleted has no size."""
    bids, asks = (
        levels((row.price, row.size) for row in rows if row.side == side)
        for side in ("Buy", "Sell")
    )
    return bids, asks


def _fits(book: Book, delta: _Delta) -> bool:
    """Whether what is changed is there, and what is inserted is not."""

    def there(row: _Row) -> bool:
        return book.has("bid" if row.side == "Buy" else "ask", Decimal(row.price))

    return all(map(there, [*delta.delete, *delta.update])) and not any(map(there, delta.insert))


_ENVELOPE: Final = msgspec.json.Decoder(_Envelope)
_ROWS: Final = msgspec.json.Decoder(list[_Row])
_WHOLE: Final = msgspec.json.Decoder(_Whole)
_DELTA: Final = msgspec.json.Decoder(_Delta)
_TRADES: Final = msgspec.json.Decoder(list[_Trade])
