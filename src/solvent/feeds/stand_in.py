"""A venue's side of its protocol, played from a recording: enough of it to feed adapters.

A `Stage` holds what the recording has shown so far (the truth: one adapter that hears every frame)
and who has subscribed to what. It answers subscriptions and heartbeats, gives a book's snapshot to
who enters its channel late or anew, and answers REST. No I/O, no clock: `player` has both.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import msgspec

from solvent.feeds.faults import Injector
from solvent.feeds.live.adapter import Adapter, Fetch
from solvent.feeds.live.books import Book, okx_checksum
from solvent.feeds.live.venues import adapter_for
from solvent.feeds.recorder import Frame

_NUMBERS: Final = msgspec.json.Encoder(decimal_format="number")
_TEXTS: Final = msgspec.json.Encoder()


@dataclass(slots=True, eq=False)
class Session:
    """A client: what it subscribed to, by the venue's name and by the client's own."""

    topics: dict[str, str] = field(default_factory=dict)
    injector: Injector | None = None


@dataclass(frozen=True, slots=True)
class Heard:
    """What a client's frame asks for."""

    answers: list[str]
    enters: tuple[str, ...] = ()
    leaves: tuple[str, ...] = ()


class Dialect(ABC):
    """How one venue's server speaks."""

    book_prefix = ""

    @abstractmethod
    def topic(self, told: dict[str, Any]) -> str | None:
        """Channel of a frame; None for what is about none."""

    @abstractmethod
    def heard(self, said: dict[str, Any], now_ms: int) -> Heard:
        """What a client's frame asks for."""

    def plain(self, name: str) -> str:
        """A channel's name as the recording's frames have it."""
        return name

    def symbol(self, topic: str) -> str:
        """Instrument of a channel."""
        return topic.rpartition(".")[2]

    def renamed(self, text: str, name: str) -> str:
        """A frame as for who subscribed by another name."""
        del name
        return text

    def snapshot(self, topic: str, name: str, book: Book) -> str | None:
        """A frame with a whole book; None where the venue has none."""
        del topic, name, book
        return None


class DeribitDialect(Dialect):
    """Channels differ in their interval, which does not matter here."""

    book_prefix = "book."

    def topic(self, told: dict[str, Any]) -> str | None:
        """Channel of a frame."""
        channel = _inside(told, "params").get("channel")
        return self.plain(channel) if isinstance(channel, str) else None

    def plain(self, name: str) -> str:
        """The name without its interval."""
        return ".".join(name.split(".")[:2])

    def renamed(self, text: str, name: str) -> str:
        """The channel replaced."""
        return re.sub(r'"channel":"[^"]*"', f'"channel":"{name}"', text, count=1)

    def heard(self, said: dict[str, Any], now_ms: int) -> Heard:
        """What a client asks for."""
        method = str(said.get("method", ""))
        names = tuple(map(str, _inside(said, "params").get("channels") or ()))
        results: dict[str, Any] = {
            "public/subscribe": list(names), "public/unsubscribe": list(names),
            "public/set_heartbeat": "ok", "public/test": {"version": "1.2.26"},
            "public/get_time": now_ms, "public/hello": {"version": "1.2.26"},
        }  # fmt: skip
        answer: dict[str, Any] = {"jsonrpc": "2.0", "id": said.get("id")}
        if method in results:
            answer["result"] = results[method]
        else:
            answer["error"] = {"code": -32601, "message": "Method not found"}
        return Heard(
            [_TEXTS.encode(answer).decode()],
            enters=names if method == "public/subscribe" else (),
            leaves=names if method == "public/unsubscribe" else (),
        )

    def snapshot(self, topic: str, name: str, book: Book) -> str | None:
        """A frame with a whole book."""
        data = {
            "type": "snapshot", "timestamp": book.time_ms, "instrument_name": self.symbol(topic),
            "change_id": book.sequence,
            "bids": [("new", at, size) for at, size in book.bids()],
            "asks": [("new", at, size) for at, size in book.asks()],
        }  # fmt: skip
        params = {"channel": name, "data": data}
        return _NUMBERS.encode(
            {"jsonrpc": "2.0", "method": "subscription", "params": params}
        ).decode()


class OkxDialect(Dialect):
    """Channels are objects; their names here are `channel:instId`."""

    book_prefix = "books:"

    def topic(self, told: dict[str, Any]) -> str | None:
        """Channel of a frame."""
        if "event" in told or "data" not in told:
            return None
        return _okx_name(_inside(told, "arg"))

    def symbol(self, topic: str) -> str:
        """Instrument of a channel."""
        return topic.partition(":")[2]

    def heard(self, said: dict[str, Any], now_ms: int) -> Heard:
        """What a client asks for."""
        del now_ms
        if said.get("op") not in ("subscribe", "unsubscribe"):
            return Heard(['{"event":"error","code":"60012","msg":"Invalid request"}'])
        arguments = [one for one in said.get("args") or () if isinstance(one, dict)]
        names = tuple(_okx_name(one) for one in arguments)
        answers = [_TEXTS.encode({"event": said["op"], "arg": one}).decode() for one in arguments]
        enters = said["op"] == "subscribe"
        return Heard(answers, enters=names if enters else (), leaves=() if enters else names)

    def snapshot(self, topic: str, name: str, book: Book) -> str | None:
        """A frame with a whole book."""
        del name
        sides = {
            side: [(f"{at:f}", f"{size:f}", "0", "1") for at, size in levels]
            for side, levels in (("asks", book.asks()), ("bids", book.bids()))
        }
        data = {**sides, "ts": str(book.time_ms), "checksum": okx_checksum(book)}
        if book.sequence:
            data |= {"prevSeqId": -1, "seqId": book.sequence}
        argument = {"channel": "books", "instId": self.symbol(topic)}
        return _TEXTS.encode({"arg": argument, "action": "snapshot", "data": [data]}).decode()


class BybitDialect(Dialect):
    """The v5 channels."""

    book_prefix = "orderbook."

    def topic(self, told: dict[str, Any]) -> str | None:
        """Channel of a frame."""
        topic = told.get("topic")
        return topic if isinstance(topic, str) else None

    def heard(self, said: dict[str, Any], now_ms: int) -> Heard:
        """What a client asks for."""
        del now_ms
        op, names = said.get("op"), tuple(map(str, said.get("args") or ()))
        answer = {"success": True, "ret_msg": "pong" if op == "ping" else "", "op": op,
                  "request": said}  # fmt: skip
        return Heard(
            [_TEXTS.encode(answer).decode()],
            enters=names if op == "subscribe" else (), leaves=names if op == "unsubscribe" else (),
        )  # fmt: skip

    def snapshot(self, topic: str, name: str, book: Book) -> str | None:
        """A frame with a whole book."""
        del name
        bids, asks = ([(f"{at:f}", f"{size:f}") for at, size in side]
                      for side in (book.bids(), book.asks()))  # fmt: skip
        data = {"s": self.symbol(topic), "b": bids, "a": asks, "u": book.sequence, "seq": 0}
        return _TEXTS.encode(
            {"topic": topic, "type": "snapshot", "ts": book.time_ms, "data": data}
        ).decode()


class BybitV2Dialect(BybitDialect):
    """The channels before 2023."""

    book_prefix = "orderBookL2_25."

    def snapshot(self, topic: str, name: str, book: Book) -> str | None:
        """A frame with a whole book."""
        del name
        rows = [
            {"price": f"{at:f}", "symbol": self.symbol(topic), "side": side, "size": size}
            for side, levels in (("Buy", book.bids()), ("Sell", book.asks()))
            for at, size in levels
        ]
        return _NUMBERS.encode(
            {"topic": topic, "type": "snapshot", "data": rows, "cross_seq": book.sequence,
             "timestamp_e6": book.time_ms * 1_000}
        ).decode()  # fmt: skip


class BinanceDialect(Dialect):
    """Combined streams; snapshots come by REST."""

    def topic(self, told: dict[str, Any]) -> str | None:
        """Channel of a frame."""
        stream = told.get("stream")
        return stream if isinstance(stream, str) else None

    def heard(self, said: dict[str, Any], now_ms: int) -> Heard:
        """What a client asks for."""
        del now_ms
        method, names = said.get("method"), tuple(map(str, said.get("params") or ()))
        return Heard(
            [_TEXTS.encode({"result": None, "id": said.get("id")}).decode()],
            enters=names if method == "SUBSCRIBE" else (),
            leaves=names if method == "UNSUBSCRIBE" else (),
        )


_DIALECTS: Final[dict[str, type[Dialect]]] = {
    "Deribit": DeribitDialect, "Okx": OkxDialect, "Bybit": BybitDialect,
    "BybitV2": BybitV2Dialect, "Binance": BinanceDialect,
}  # fmt: skip


class Stage:
    """A venue as its recording shows it, frame by frame.

    Args: `place` is the address of the recorded connection, which tells the venue; `answers` are
    frames of REST answers that a client may ask for at any time; `late_ms` is by how much the
    recording's clock is ahead of the venue's: who asks for the time is told the venue's.
    """

    def __init__(self, place: str, answers: Iterable[Frame] = (), *, late_ms: int = 0) -> None:
        self.truth: Adapter = adapter_for(place)
        self._dialect = _DIALECTS[type(self.truth).__name__]()
        self._answers = [(urlsplit(one.place), one.text) for one in answers]
        self._last: dict[str, str] = {}
        """Channel → its last frame, of those that are no book's."""
        self.late_ms = late_ms
        self.at_ms = 0
        """How far the recording has come."""
        self.sessions: list[Session] = []

    def join(self, path: str = "", injector: Injector | None = None) -> Session:
        """A client has connected, to a path that may name streams."""
        session = Session(injector=injector)
        for name, value in parse_qsl(urlsplit(path).query):
            if name == "streams":
                session.topics |= {one: one for one in value.split("/") if one}
        self.sessions.append(session)
        return session

    def leave(self, session: Session) -> None:
        """A client is gone."""
        self.sessions.remove(session)

    def heard(self, session: Session, text: str, now_ms: int) -> list[str]:
        """A client's frame: answers, then what those get who enter a channel."""
        if text == "ping":
            return ["pong"]
        try:
            said = msgspec.json.decode(text)
        except (msgspec.DecodeError, RecursionError):
            said = None
        if not isinstance(said, dict):
            return []
        found = self._dialect.heard(said, now_ms - self.late_ms)
        for name in found.leaves:
            session.topics.pop(self._dialect.plain(name), None)
        answers = list(found.answers)
        for name in found.enters:
            topic = self._dialect.plain(name)
            session.topics[topic] = name
            answers += self._welcome(topic, name)
        return answers

    def step(self, frame: Frame) -> list[tuple[Session, int, str]]:
        """The next frame of the recording: (client, pause, frame) of what each is sent."""
        self.at_ms = frame.at_ms
        if frame.kind == "answer":
            self._rest_came(frame)
        if frame.kind != "in":
            return []
        try:
            told = msgspec.json.decode(frame.text)
        except (msgspec.DecodeError, RecursionError):
            told = None
        topic = self._dialect.topic(told) if isinstance(told, dict) else None
        if topic is None:
            return []
        self.truth.take(frame.text, frame.at_ms)
        prefix = self._dialect.book_prefix
        if not (prefix and topic.startswith(prefix)):
            self._last[topic] = frame.text
        sent: list[tuple[Session, int, str]] = []
        for session in self.sessions:
            name = session.topics.get(topic)
            if name is None:
                continue
            text = self._dialect.renamed(frame.text, name)
            through = session.injector.through(text) if session.injector else [(0, text)]
            sent += [(session, pause, one) for pause, one in through]
        return sent

    def rest(self, target: str) -> str | None:
        """A REST answer: of a book that is known the truth, else what was recorded."""
        asked = urlsplit(target)
        wanted = set(parse_qsl(asked.query))
        symbol = dict(wanted).get("symbol", "")
        book = self.truth.book(symbol)
        if asked.path.endswith("/depth") and book is not None:
            sides = {
                name: [(f"{at:f}", f"{size:f}") for at, size in levels]
                for name, levels in (("bids", book.bids()), ("asks", book.asks()))
            }
            return _TEXTS.encode(
                {"lastUpdateId": book.sequence, "E": book.time_ms, "T": book.time_ms, **sides}
            ).decode()
        fitting = [
            (len(set(parse_qsl(url.query)) & wanted), text)
            for url, text in self._answers
            if url.path.rstrip("/") == asked.path.rstrip("/")
            and all(dict(wanted).get(name, value) == value for name, value in parse_qsl(url.query))
        ]
        best = max((count for count, _ in fitting), default=0)
        found = [text for count, text in fitting if count == best]
        # Who does not say which of several is meant gets none; of one asked twice the first.
        return found[0] if found and (best or len(found) == 1) else None

    def _welcome(self, topic: str, name: str) -> list[str]:
        """What who enters a channel is sent at once: the book, or what was said last."""
        prefix = self._dialect.book_prefix
        if prefix and topic.startswith(prefix):
            book = self.truth.book(self._dialect.symbol(topic))
            whole = None if book is None else self._dialect.snapshot(topic, name, book)
            return [] if whole is None else [whole]
        last = self._last.get(topic) if "ticker" in topic.lower() else None
        return [] if last is None else [self._dialect.renamed(last, name)]

    def _rest_came(self, frame: Frame) -> None:
        url = urlsplit(frame.place)
        symbol = dict(parse_qsl(url.query)).get("symbol")
        if url.path.endswith("/depth") and symbol:
            fetch = Fetch(f"{url.path}?{url.query}", symbol)
            self.truth.answered(fetch, frame.text, frame.at_ms)


def _inside(told: dict[str, Any], name: str) -> dict[str, Any]:
    found = told.get(name)
    return found if isinstance(found, dict) else {}


def _okx_name(argument: dict[str, Any]) -> str:
    about = argument.get("instId") or argument.get("instFamily") or ""
    return f"{argument.get('channel', '')}:{about}"
