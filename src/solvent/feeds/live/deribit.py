"""Deribit: JSON-RPC over a WebSocket; books are numbered by `change_id` and `prev_change_id`.

Leaving a book's channel and entering it again brings a snapshot. A missing bid, ask or volatility
is written 0; volatilities are percent. The venue asks `test_request` and closes the connection of
who does not answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Final, Literal

import msgspec

from solvent.feeds.live.adapter import Adapter, Taken
from solvent.feeds.live.books import levels
from solvent.feeds.live.messages import (
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

_CHANNELS_A_FRAME: Final = 200
_HEARTBEAT_S: Final = 30
_FUNDING_HOURS: Final = 8
_REFUSED_AGAIN_MS: Final = 60_000

_Level = tuple[Literal["new", "change", "delete"], Decimal, Decimal]


class _Params(msgspec.Struct):
    channel: str = ""
    type: str = ""
    data: msgspec.Raw = msgspec.Raw(b"null")


class _Error(msgspec.Struct):
    code: int
    message: str = ""


class _Envelope(msgspec.Struct):
    method: str = ""
    params: _Params = msgspec.field(default_factory=_Params)
    id: int | None = None
    result: msgspec.Raw = msgspec.Raw(b"")
    error: _Error | None = None
    usIn: int = 0  # noqa: N815 - the venue's own name


class _Ticker(msgspec.Struct):
    instrument_name: str
    timestamp: int
    mark_price: Decimal
    best_bid_price: Decimal | None = None
    best_bid_amount: Decimal | None = None
    best_ask_price: Decimal | None = None
    best_ask_amount: Decimal | None = None
    last_price: Decimal | None = None
    index_price: Decimal | None = None
    underlying_price: Decimal | None = None
    mark_iv: Decimal | None = None
    interest_rate: Decimal | None = None
    funding_8h: Decimal | None = None
    current_funding: Decimal | None = None


class _Book(msgspec.Struct):
    type: Literal["snapshot", "change"]
    instrument_name: str
    timestamp: int
    change_id: int
    bids: list[_Level]
    asks: list[_Level]
    prev_change_id: int | None = None


class _Trade(msgspec.Struct):
    instrument_name: str
    timestamp: int
    price: Decimal
    amount: Decimal
    direction: Literal["buy", "sell"]
    trade_id: str


class Deribit(Adapter):
    """Tickers (with funding), books and trades. `interval` is how often the venue tells of changes:
    `raw` is for those who have logged in."""

    venue = "deribit"
    url = "wss://www.deribit.com/ws/api/v2"
    rest_url = "https://www.deribit.com/api/v2"

    def __init__(self, wants: Iterable[Want] = (), *, interval: str = "100ms") -> None:
        super().__init__(wants)
        self._interval = interval
        self._next_id = 0
        self._asked: dict[int, int] = {}
        """Number of a question about the time → when it was sent."""
        self._refused: dict[str, None] = {}
        """Channels that are no books', to be asked for again."""
        self._again_ms = 0
        self._subscribed: dict[int, tuple[str, ...]] = {}

    def _opened(self) -> None:
        self._asked.clear()
        self._subscribed.clear()
        self._refused.clear()
        self._again_ms = self._now_ms
        self._call("public/set_heartbeat", {"interval": _HEARTBEAT_S})
        self._asked[self._call("public/get_time", {})] = self._now_ms
        super()._opened()

    def _call(self, method: str, params: dict[str, object]) -> int:
        frame, number_of = self._frame(method, params)
        self._taken.sends.append(frame)
        return number_of

    def _frame(self, method: str, params: dict[str, object]) -> tuple[str, int]:
        self._next_id += 1
        asked = {"jsonrpc": "2.0", "id": self._next_id, "method": method, "params": params}
        return msgspec.json.encode(asked).decode(), self._next_id

    def beat(self, now_ms: int, *, unsent: bool = False) -> Taken:
        """As every venue's; channels that were refused are asked for again, books by themselves."""
        taken = super().beat(now_ms, unsent=unsent)
        if self._refused and not unsent and now_ms - self._again_ms >= _REFUSED_AGAIN_MS:
            taken.sends += self._subscription(list(self._refused), begin=True)
            self._refused.clear()
            self._again_ms = now_ms
        return taken

    def _names(self, wants: Sequence[Want]) -> list[str]:
        of = {Channel.FUNDING: "ticker"}
        return list(
            dict.fromkeys(
                f"{of.get(want.channel, want.channel.value)}.{want.symbol}.{self._interval}"
                for want in wants
            )
        )

    def _subscription(self, names: Sequence[str], *, begin: bool) -> list[str]:
        frames: list[str] = []
        for first in range(0, len(names), _CHANNELS_A_FRAME):
            some = list(names[first : first + _CHANNELS_A_FRAME])
            method = "public/subscribe" if begin else "public/unsubscribe"
            frame, asked = self._frame(method, {"channels": some})
            if begin:
                self._subscribed[asked] = tuple(some)
            frames.append(frame)
        return frames

    def _read(self, frame: str | bytes) -> None:
        told = _ENVELOPE.decode(frame)
        if told.error is not None:
            self._fault(FaultKind.REFUSED, "", f"{told.error.code} {told.error.message}")
            self._refuse(self._subscribed.pop(told.id or 0, ()))
        elif told.method == "heartbeat":
            if told.params.type == "test_request":
                self._call("public/test", {})
                self._taken.urgent.update(self._taken.sends)
        elif told.method == "subscription":
            self._channel(told.params)
        elif told.id is not None:
            self._result(told)
        else:
            self._fault(FaultKind.UNKNOWN_CHANNEL, "", f"method {told.method!r}")

    def _result(self, told: _Envelope) -> None:
        sent_ms = self._asked.pop(told.id or 0, None)
        if sent_ms is not None and told.result:
            time_ms = moment(msgspec.json.decode(told.result, type=int))
            self.health.clock.round_trip(sent_ms=sent_ms, time_ms=time_ms, received_ms=self._now_ms)
        wanted = self._subscribed.pop(told.id or 0, None)
        if wanted is not None and told.result:
            missing = sorted(set(wanted) - set(_NAMES.decode(told.result)))
            self._refuse(missing)
            for name in missing:
                self._fault(FaultKind.REFUSED, name.split(".")[1], f"channel {name}")

    def _refuse(self, names: Sequence[str]) -> None:
        if not self._refused:
            self._again_ms = self._now_ms
        self._refused |= {name: None for name in names if not name.startswith("book.")}

    def _channel(self, params: _Params) -> None:
        kind, _, rest = params.channel.partition(".")
        if kind == "book":
            self._suspect = rest.rpartition(".")[0]
            self._book(_BOOK.decode(params.data))
        elif kind == "ticker":
            self._ticker(_TICKER.decode(params.data))
        elif kind == "trades":
            self._trades(_TRADES.decode(params.data))
        else:
            self._fault(FaultKind.UNKNOWN_CHANNEL, "", params.channel)

    def _ticker(self, told: _Ticker) -> None:
        vol = price_or_none(told.mark_iv)
        prices = {
            "mark": size(told.mark_price, "mark"), "vol": None if vol is None else vol.scaleb(-2),
            "rate": None if told.interest_rate is None else number(told.interest_rate, "rate"),
        }  # fmt: skip
        for name, value in (
            ("bid", told.best_bid_price), ("ask", told.best_ask_price), ("last", told.last_price),
            ("index", told.index_price), ("forward", told.underlying_price),
        ):  # fmt: skip
            prices[name] = price_or_none(value)
        for name, value in (
            ("bid_size", told.best_bid_amount), ("ask_size", told.best_ask_amount)
        ):  # fmt: skip
            prices[name] = size(value) if value else None
        funding = None if told.funding_8h is None else number(told.funding_8h, "funding")
        current = told.current_funding
        current = None if current is None else number(current, "funding")
        self._merge(told.instrument_name, moment(told.timestamp), prices)
        if funding is not None:
            self._tell(
                Funding(
                    venue=self.venue, symbol=told.instrument_name, time_ms=told.timestamp,
                    received_ms=self._now_ms, rate=funding, hours=_FUNDING_HOURS, current=current,
                )
            )  # fmt: skip

    def _book(self, told: _Book) -> None:
        symbol, held = told.instrument_name, self._held(told.instrument_name)
        bids, asks = (_levels(rows) for rows in (told.bids, told.asks))
        time_ms, book = moment(told.timestamp), held.book
        if told.type == "snapshot":
            self._snapshot(symbol, bids=bids, asks=asks, sequence=told.change_id, time_ms=time_ms)
        elif not book.live:
            if not held.asked_ms:
                self._lost(symbol, FaultKind.GAP, "a change before any snapshot")
        elif told.change_id <= book.sequence:
            self._fault(FaultKind.OLD, symbol, f"{told.change_id} after {book.sequence}")
        elif told.prev_change_id != book.sequence:
            detail = f"{told.prev_change_id} does not follow {book.sequence}"
            self._lost(symbol, FaultKind.GAP, detail)
        else:
            self._change(symbol, bids=bids, asks=asks, sequence=told.change_id, time_ms=time_ms)

    def _trades(self, told: list[_Trade]) -> None:
        found = [
            Trade(
                venue=self.venue, symbol=one.instrument_name, time_ms=moment(one.timestamp),
                received_ms=self._now_ms, price=price(one.price), size=size(one.amount),
                side=one.direction, number=one.trade_id,
            )
            for one in told
        ]  # fmt: skip
        for trade in found:
            self._tell(trade)


def _levels(rows: Sequence[_Level]) -> Levels:
    """Checked levels; one that is deleted has no size, whatever is told of it."""
    told = levels((at, amount) for _, at, amount in rows)
    return tuple(
        (at, Decimal(0) if what == "delete" else amount)
        for (what, _, _), (at, amount) in zip(rows, told, strict=True)
    )


_ENVELOPE: Final = msgspec.json.Decoder(_Envelope)
_TICKER: Final = msgspec.json.Decoder(_Ticker)
_BOOK: Final = msgspec.json.Decoder(_Book)
_TRADES: Final = msgspec.json.Decoder(list[_Trade])
_NAMES: Final = msgspec.json.Decoder(list[str])
