"""What waits to be sent to one client: bounded, so that a slow one costs no memory.

What happened is never left out: where there is no room for it the outbox is full, and the client
must come back and go on from the last sequence that it was sent. How things are is told by the
newest message of a channel alone.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

BYTES_MAX: Final = 4 << 20
MESSAGES_MAX: Final = 16_384


Values = Mapping[str, Any]
Encode = Callable[[Values], bytes]


@dataclass(slots=True)
class _Newest:
    """How things are on a channel: the message, and the values in it where they add up."""

    message: bytes
    values: dict[str, Any] | None = None
    encode: Encode | None = None
    stale: bool = False


class Outbox:
    """Messages for one client, as bytes; `take` waits for some.

    >>> box = Outbox()
    >>> box.put(b"a"), box.put(b"b"), box.replace("marks", b"1"), box.replace("marks", b"2")
    (True, True, None, None)
    >>> box.taken()
    [b'a', b'b', b'2']
    """

    def __init__(self, *, bytes_max: int = BYTES_MAX, messages_max: int = MESSAGES_MAX) -> None:
        self._queue: deque[bytes] = deque()
        self._newest: dict[str, _Newest] = {}
        self._bytes, self._bytes_max, self._messages_max = 0, bytes_max, messages_max
        self._news, self._space = asyncio.Event(), asyncio.Event()
        self.full = False
        """Whether something had no room; nothing is taken after that."""

    def __len__(self) -> int:
        return len(self._queue) + len(self._newest)

    @property
    def nbytes(self) -> int:
        """What waits, in bytes; a channel's newest state is not counted."""
        return self._bytes

    def put(self, message: bytes) -> bool:
        """Something that happened; False where there is no room, now or ever since."""
        if self.full or len(self._queue) >= self._messages_max or (
            self._queue and self._bytes + len(message) > self._bytes_max
        ):  # fmt: skip
            self.overflow()
            return False
        self._queue.append(message)
        self._bytes += len(message)
        self._news.set()
        return True

    def overflow(self) -> None:
        """There was no room: what waits is given up, and the client is to come back."""
        self.full = True
        self._queue.clear()
        self._newest.clear()
        self._bytes = 0
        self._news.set()
        self._space.set()

    def replace(self, channel: str, message: bytes) -> None:
        """How things are: instead of what was to be told on the channel."""
        if not self.full:
            self._newest[channel] = _Newest(message)
            self._news.set()

    def merge(self, channel: str, message: bytes, values: Values, encode: Encode) -> None:
        """What has changed of how things are: added to what was to be told on the channel.

        `message` is `encode(values)`, made once for all clients.
        """
        if self.full:
            return
        waiting = self._newest.get(channel)
        if waiting is None or waiting.values is None:
            self._newest[channel] = _Newest(message, dict(values), encode)
        else:
            waiting.values.update(values)
            waiting.encode, waiting.stale = encode, True
        self._news.set()

    def drop(self, channel: str) -> None:
        """A channel is not wanted any more."""
        self._newest.pop(channel, None)

    def taken(self) -> list[bytes]:
        """All that waits, without waiting."""
        found = [*self._queue, *map(_bytes_of, self._newest.values())]
        self._queue.clear()
        self._newest.clear()
        self._bytes = 0
        self._news.clear()
        self._space.set()
        return found

    async def take(self) -> list[bytes]:
        """All that waits, when there is something; nothing where it is full."""
        while not (self._queue or self._newest or self.full):
            self._news.clear()
            await self._news.wait()
        return [] if self.full else self.taken()

    async def room(self) -> None:
        """Wait until half of it is free, or it is given up."""
        while not self.full and (
            2 * len(self._queue) > self._messages_max or 2 * self._bytes > self._bytes_max
        ):
            self._space.clear()
            await self._space.wait()


def _bytes_of(one: _Newest) -> bytes:
    if one.stale and one.encode is not None and one.values is not None:
        return one.encode(one.values)
    return one.message
