"""The health of a feed: what came, what was wrong, how late, how old."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from solvent.feeds.live.clock import Clock
from solvent.feeds.live.messages import BookDelta, Fault, Message, Ticker


@dataclass(slots=True)
class Health:
    """Counts of one adapter since it was made; a reconnection does not reset them."""

    venue: str
    frames: int = 0
    messages: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    resyncs: int = 0
    connections: int = 0
    clock: Clock = field(default_factory=Clock)
    last_ms: dict[tuple[str, str], int] = field(default_factory=dict)
    """(kind of message, symbol) → when it last came, by our clock."""

    def heard(self, message: Message) -> None:
        """Count a message."""
        if isinstance(message, Fault):
            self.faults[message.kind.value] += 1
            return
        kind = type(message).__name__.lower()
        self.messages[kind] += 1
        self.last_ms[kind, message.symbol] = message.received_ms
        # What a venue tells who has just come may be long past: it is no measure of its clock.
        if message.time_ms and isinstance(message, Ticker | BookDelta):
            self.clock.heard(time_ms=message.time_ms, received_ms=message.received_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """A feed's health at a moment, for tables and JSON. Times in milliseconds."""

    venue: str
    frames: int
    messages: dict[str, int]
    faults: dict[str, int]
    resyncs: int
    connections: int
    books: int
    books_live: int
    skew_ms: int | None
    latency_ms: dict[str, int | None]
    oldest: dict[str, int]
    """Kind of message → age of the instrument that was silent longest."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {name: getattr(self, name) for name in self.__slots__}


def status(health: Health, *, books: int, books_live: int, now_ms: int) -> Status:
    """Health as a document at a moment of our clock."""
    oldest: dict[str, int] = {}
    for (kind, _), at in health.last_ms.items():
        oldest[kind] = max(oldest.get(kind, 0), now_ms - at)
    return Status(
        venue=health.venue, frames=health.frames, messages=dict(sorted(health.messages.items())),
        faults=dict(sorted(health.faults.items())), resyncs=health.resyncs,
        connections=health.connections, books=books, books_live=books_live,
        skew_ms=health.clock.skew_ms,
        latency_ms={f"p{at}": health.clock.latency_ms(at) for at in (50, 99)},
        oldest=dict(sorted(oldest.items())),
    )  # fmt: skip
