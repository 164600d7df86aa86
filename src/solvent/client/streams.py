"""Streams of a served venue that go on by themselves: after a lost connection, a slow moment or a
restart of the service they ask for what came after the last message, and miss and repeat nothing.

Channels are told in `solvent.service.ws`. Of a channel that tells how things are (`marks`,
`arrays.…`, `account.…`) the newest comes again after a reconnect.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from solvent.errors import MissingExtra, SolventError

_FIRST_S: Final = 0.05
_MOST_S: Final = 5.0
_CHANCE: Final = random.SystemRandom()
"""Chance of its own: whoever seeds theirs gets the same numbers with a client or without."""


class Message(msgspec.Struct, frozen=True):
    """What a channel tells: `type` is `snapshot` (how things are) or `delta` (what happened, or
    changed); `sequence` is the journal's."""

    channel: str
    type: str
    sequence: int
    time_ms: int
    data: Any


class StreamRefused(SolventError):
    """The service does not let this stream be, and would not if asked again."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code


class Follow:
    """What one stream has seen, so that it can go on; no sockets."""

    def __init__(self, channels: Sequence[str], after: Mapping[str, int] | int | None) -> None:
        if isinstance(after, int):
            after = dict.fromkeys(channels, after)
        self._last: dict[str, int] = dict(after or {})
        self._channels = tuple(channels)

    def request(self) -> str:
        """What to ask for."""
        wanted: list[Any] = [
            [name, self._last[name]] if name in self._last else name for name in self._channels
        ]
        told = {"op": "subscribe", "id": "stream", "channels": wanted}
        return msgspec.json.encode(told).decode()

    def take(self, text: str | bytes) -> Message | None:
        """A message of a channel that was not told before. Raises StreamRefused."""
        found = msgspec.json.decode(text)
        if "op" in found:
            self._told(found)
            return None
        message = msgspec.convert(found, Message)
        last = self._last.get(message.channel)
        if message.type == "delta" and last is not None and message.sequence <= last:
            return None
        self._last[message.channel] = message.sequence
        return message

    def _told(self, found: Mapping[str, Any]) -> None:
        if found["op"] == "error":
            raise StreamRefused(str(found.get("code")), str(found.get("detail")))
        if found["op"] == "subscribed":
            for one in found["channels"]:
                last = self._last.get(one["channel"], -1)
                self._last[one["channel"]] = max(last, one["sequence"])


def address_of(url: str) -> str:
    """Where the streams of a service are.

    >>> address_of("https://solvent.example")
    'wss://solvent.example/v1/ws'
    """
    return "ws" + url.removeprefix("http") + "/v1/ws"


def _wait_s(attempt: int) -> float:
    longest_s: float = min(_FIRST_S * 2**attempt, _MOST_S)
    return longest_s * (0.5 + _CHANCE.random() / 2)


def _extra() -> MissingExtra:
    return MissingExtra(feature="streams of a service", extra="serve")


def stream(
    url: str, headers: Callable[[], Mapping[str, str]], channels: Sequence[str],
    after: Mapping[str, int] | int | None = None, *, tries: int | None = None,
) -> Iterator[Message]:  # fmt: skip
    """Messages of channels for ever; `after` are sequences to go on after, `headers` says with each
    connection who calls.

    `tries`: connections that may fail one after another; None for no end. Raises StreamRefused, and
    the last fault of a connection.
    """
    try:
        from websockets.exceptions import WebSocketException
        from websockets.sync.client import connect
    except ImportError:
        raise _extra() from None
    follow, attempt = Follow(channels, after), 0
    while True:
        try:
            with connect(
                address_of(url), additional_headers=dict(headers()), max_size=None
            ) as socket:
                socket.send(follow.request())
                while True:
                    message = follow.take(socket.recv())
                    attempt = 0
                    if message is not None:
                        yield message
        except (OSError, WebSocketException, EOFError):
            attempt += 1
            if tries is not None and attempt >= tries:
                raise
            time.sleep(_wait_s(attempt))


async def stream_async(
    url: str, headers: Callable[[], Mapping[str, str]], channels: Sequence[str],
    after: Mapping[str, int] | int | None = None, *, tries: int | None = None,
) -> AsyncIterator[Message]:  # fmt: skip
    """The same for an event loop."""
    try:
        from websockets.asyncio.client import connect
        from websockets.exceptions import WebSocketException
    except ImportError:
        raise _extra() from None
    follow, attempt = Follow(channels, after), 0
    while True:
        try:
            async with connect(
                address_of(url), additional_headers=dict(headers()), max_size=None
            ) as socket:
                await socket.send(follow.request())
                while True:
                    message = follow.take(await socket.recv())
                    attempt = 0
                    if message is not None:
                        yield message
        except (OSError, WebSocketException, EOFError):
            attempt += 1
            if tries is not None and attempt >= tries:
                raise
            await asyncio.sleep(_wait_s(attempt))
