"""What happened, told to all who listen: every command that is durable, in order, once.

A listener has a bounded queue. One that does not keep up is dropped, with the reason: it may come
back and go on from the last sequence that it has seen. The engine waits for nobody.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Final, NamedTuple, Self

from solvent.errors import SolventError
from solvent.messages.events import Event
from solvent.messages.fields import Command

COMMITS_MAX: Final = 1_024
"""Commits that a listener may be behind."""


class Entry(NamedTuple):
    """One command as history has it: `code` 0 if it was done, or why not (`errors.Reject`)."""

    sequence: int
    time_ms: int
    command: Command
    code: int
    events: tuple[Event, ...]


class Commit(NamedTuple):
    """What became durable together: entries in sequence, without gaps, never empty."""

    entries: tuple[Entry, ...]

    @property
    def last(self) -> int:
        """The last sequence in it."""
        return self.entries[-1].sequence


class Dropped(SolventError):
    """A subscription has ended against its owner's will; `last` is what it was handed last."""

    def __init__(self, why: str, *, last: int) -> None:
        super().__init__(f"subscription dropped after command {last}: {why}")
        self.why = why
        self.last = last


class Subscription:
    """Commits from `start` + 1 on, for one task of the event loop that made it; an asynchronous
    iterator and context manager. It ends without an error when the venue stops.

    Attributes:
        start: the sequence after which it begins. last: what it has handed out last.
    """

    def __init__(self, *, start: int, capacity: int = COMMITS_MAX) -> None:
        self.start = self.last = start
        self.capacity = capacity
        self._commits: deque[Commit] = deque()
        self._news = asyncio.Event()
        self._over = ""
        self._fault = False
        self._leave: Callable[[Subscription], None] | None = None

    def bind(self, leave: Callable[[Subscription], None]) -> None:
        """Say who is told when it is closed."""
        self._leave = leave

    def push(self, commit: Commit) -> None:
        """Hand a commit over, on the event loop's thread; dropped where there is no room."""
        if self._over or commit.last <= self.start:
            return
        if len(self._commits) >= self.capacity:
            self._commits.clear()
            self.end(f"a slow consumer: {self.capacity} commits behind", fault=True)
            return
        self._commits.append(commit)
        self._news.set()

    def end(self, why: str, *, fault: bool = False) -> None:
        """Hand out what is there, then nothing more; with a `fault` raise Dropped."""
        self._over, self._fault = self._over or why, self._fault or fault
        self._news.set()

    @property
    def open(self) -> bool:
        """Whether it goes on."""
        return not self._over

    def waiting(self) -> int:
        """Commits that have not been asked for yet."""
        return len(self._commits)

    def ready(self) -> list[Commit]:
        """All commits that are there, without waiting."""
        found = list(self._commits)
        self._commits.clear()
        if found:
            self.last = found[-1].last
        if not self._over:
            self._news.clear()
        return found

    def close(self) -> None:
        """Listen no more."""
        self._commits.clear()
        self.end("closed")
        if self._leave is not None:
            self._leave(self)
            self._leave = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Commit:
        while not self._commits:
            if self._over:
                self.close()
                if self._fault:
                    raise Dropped(self._over, last=self.last)
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        commit = self._commits.popleft()
        self.last = commit.last
        return commit

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *fault: object) -> None:
        self.close()


class Broadcast:
    """Subscriptions of event loops; `tell` and `end` are called on the engine's thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._listeners: dict[asyncio.AbstractEventLoop, list[Subscription]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._listeners.values()))

    def add(self, loop: asyncio.AbstractEventLoop, one: Subscription) -> None:
        """Tell one more."""
        with self._lock:
            self._listeners = {**self._listeners, loop: [*self._listeners.get(loop, ()), one]}

    def remove(self, loop: asyncio.AbstractEventLoop, one: Subscription) -> None:
        """Tell one less."""
        with self._lock:
            rest = [other for other in self._listeners.get(loop, ()) if other is not one]
            others = {k: v for k, v in self._listeners.items() if k is not loop}
            self._listeners = {**others, loop: rest} if rest else others

    def tell(self, entries: Sequence[Entry]) -> None:
        """Hand a commit to everyone."""
        if not entries or not self._listeners:
            return
        commit = Commit(tuple(entries))
        self._each(lambda one: one.push(commit))

    def end(self, why: str, *, fault: bool) -> None:
        """Nothing more will happen."""
        self._each(lambda one: one.end(why, fault=fault))

    def _each(self, do: Callable[[Subscription], None]) -> None:
        for loop, listeners in self._listeners.items():
            if not loop.is_closed():
                loop.call_soon_threadsafe(_all, do, listeners)


def _all(do: Callable[[Subscription], None], listeners: Sequence[Subscription]) -> None:
    for one in listeners:
        do(one)
