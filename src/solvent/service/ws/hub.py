"""One listener for all clients: every commit is turned into messages once, and handed to whoever
has asked for a channel.

A client that goes on after an earlier sequence is first told the journal's part, up to where the
hub stands; what happens meanwhile is kept for it. So it misses nothing and is told nothing twice.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, Final

from solvent.account.ledger import FIRST_ACCOUNT
from solvent.errors import SolventError
from solvent.host import Engine
from solvent.messages import commands as c
from solvent.messages import events as e
from solvent.messages.codec import REFUSED, decode_command, decode_events
from solvent.service.published import Board
from solvent.service.streams import Commit, Dropped, Entry, Subscription
from solvent.service.venue import NotServing, Venue
from solvent.service.wire import encode
from solvent.service.ws.outbox import Encode, Outbox, Values
from solvent.service.ws.topics import Topics, concerned

BEHIND_MAX: Final = 250_000
"""Commands that a client may be behind and go on; older ones are in the journal's export."""
HELD_MAX: Final = 65_536
"""Messages that are kept for a client that is being caught up."""
_LISTING: Final = (c.ListInstrument, c.ListCombo, c.ListAsset)
_PATIENCE: Final = 5_000
_LOG: Final = logging.getLogger(__name__)


class TooFar(SolventError):
    """What a client asks to go on from lies too far back, or is not there yet."""


class Client:
    """Who listens: its channels, and what waits to be sent."""

    def __init__(self, outbox: Outbox | None = None) -> None:
        self.outbox = outbox or Outbox()
        self.channels: set[str] = set()
        self.held: dict[str, list[tuple[int, bytes]]] = {}
        """Channel that is being caught up → what has happened on it meanwhile."""
        self.floor: dict[str, int] = {}
        """Channel → the sequence up to which it has been told already."""


class Hub:
    """Messages of a venue by channel. `start` once the venue serves; one event loop."""

    def __init__(self, venue: Venue, board: Board) -> None:
        self._venue, self._board = venue, board
        self._listeners: dict[str, set[Client]] = {}
        self._names: list[str] = []
        self._task: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()
        self.head = 0
        """The last command that everybody was told of."""
        self.touched: set[int] = set()
        """Accounts that something has happened to since this was last emptied."""
        self.over = asyncio.Event()
        """Set when the venue tells nothing any more: clients are to come again."""

    async def start(self) -> None:
        """Listen from now on; twice is once. Raises NotServing."""
        async with self._starting:
            if self._task is not None and not self._task.done():
                return
            subscription = await self._venue.subscribe()
            self._names = await self._venue.read(_names)
            self.head, self.over = subscription.start, asyncio.Event()
            self._task = asyncio.create_task(self._live(subscription))

    async def stop(self) -> None:
        """Listen no more."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    def name(self, number: int) -> str:
        """An account's name."""
        return self._names[number] if 0 <= number < len(self._names) else f"#{number}"

    def listeners(self, channel: str) -> int:
        """How many have asked for a channel."""
        return len(self._listeners.get(channel, ()))

    @property
    def channels(self) -> list[str]:
        """Channels that somebody has asked for."""
        return list(self._listeners)

    # ── coming and going ─────────────────────────────────────────────────────────────────────────

    def join(self, client: Client, channel: str) -> int:
        """Tell a client what happens on a channel from now on: after which command that is."""
        client.channels.add(channel)
        self._listeners.setdefault(channel, set()).add(client)
        return self.head

    def leave(self, client: Client, channel: str) -> None:
        """Tell a client nothing more of a channel."""
        client.channels.discard(channel)
        client.held.pop(channel, None)
        client.floor.pop(channel, None)
        client.outbox.drop(channel)
        others = self._listeners.get(channel)
        if others is not None:
            others.discard(client)
            if not others:
                del self._listeners[channel]

    def gone(self, client: Client) -> None:
        """A client listens no more."""
        for channel in list(client.channels):
            self.leave(client, channel)

    async def go_on(self, client: Client, channels: dict[str, int]) -> int:
        """Tell a client what has happened on channels after the sequences that it names, and then
        what happens; where that begins. Raises TooFar."""
        after = min(channels.values())
        if after > self.head or self.head - after > BEHIND_MAX:
            raise TooFar(
                f"expected to go on after a sequence from {max(0, self.head - BEHIND_MAX)} to "
                f"{self.head}, found {after}"
            )
        until = self.head
        for channel in channels:
            self.hold(client, channel)
        past = await asyncio.to_thread(self._past, dict(channels), after, until)
        for channel, sequence, message in past:
            if channel in client.channels and sequence > channels[channel]:
                await client.outbox.room()
                client.outbox.put(message)
        for channel in channels:
            self.settle(client, channel, channels[channel])
        return until

    def hold(self, client: Client, channel: str) -> int:
        """`join`, but what happens is kept until `settle`."""
        client.held[channel] = []
        return self.join(client, channel)

    def settle(self, client: Client, channel: str, told: int) -> None:
        """Hand over what was kept, after the sequence up to which the client has been told."""
        client.floor[channel] = told
        for sequence, message in client.held.pop(channel, ()):
            _hand(client, channel, sequence, message)

    def _past(
        self, channels: dict[str, int], after: int, until: int
    ) -> list[tuple[str, int, bytes]]:
        """Messages on channels of the journal's commands from one to another."""
        found = []
        topics = Topics(self._board.now.state, self.name)
        with self._venue.reader() as journal:
            for row in journal.read(after=after, until=until, verify=False):
                if row.events.startswith(REFUSED):
                    continue
                told = topics.of(decode_command(row.command), decode_events(row.events))
                for channel in told.keys() & channels.keys():
                    message = delta(channel, row.sequence, row.time_ms, told[channel])
                    found.append((channel, row.sequence, message))
        return found

    def merge(self, channel: str, values: Values, made: Encode) -> None:
        """Tell what has changed of how things are on a channel."""
        message = made(values)
        for client in self._listeners.get(channel, ()):
            client.outbox.merge(channel, message, values, made)

    def replace(self, channel: str, message: bytes) -> None:
        """Tell how things are on a channel."""
        for client in self._listeners.get(channel, ()):
            client.outbox.replace(channel, message)

    # ── telling ──────────────────────────────────────────────────────────────────────────────────

    async def _live(self, subscription: Subscription) -> None:
        try:
            async for commit in subscription:
                await self._listed(commit)
                self._tell(commit)
        except Dropped as fault:
            _LOG.warning("streams end: %s", fault)
        except NotServing:
            pass
        except Exception:
            _LOG.exception("streams have failed")
        finally:
            self.over.set()

    async def _listed(self, commit: Commit) -> None:
        """Wait until contracts that a commit lists are known here."""
        listing = [one.sequence for one in commit.entries if isinstance(one.command, _LISTING)]
        for _ in range(_PATIENCE):
            if not listing or self._board.now.sequence >= listing[-1]:
                return
            await asyncio.sleep(0.001)
        raise NotServing(self._venue.phase, "contracts that were listed are not published")

    def _tell(self, commit: Commit) -> None:
        topics = Topics(self._board.now.state, self.name)
        for entry in commit.entries:
            if not entry.code:
                self._hear(entry.events)
                self._tell_entry(topics, entry)
        self.head = commit.last

    def _hear(self, events: Iterable[e.Event]) -> None:
        for event in events:
            self.touched |= concerned(event)
            if isinstance(event, e.Numbered) and event.kind == "account":
                self._names += [""] * (event.number + 1 - len(self._names))
                self._names[event.number] = event.name

    def _tell_entry(self, topics: Topics, entry: Entry) -> None:
        if not self._listeners:
            return
        for channel, rows in topics.of(entry.command, entry.events).items():
            clients = self._listeners.get(channel)
            if clients:
                message = delta(channel, entry.sequence, entry.time_ms, rows)
                for client in clients:
                    _hand(client, channel, entry.sequence, message)


def _hand(client: Client, channel: str, sequence: int, message: bytes) -> None:
    if sequence <= client.floor.get(channel, -1):
        return
    held = client.held.get(channel)
    if held is None:
        client.outbox.put(message)
    elif len(held) < HELD_MAX:
        held.append((sequence, message))
    else:
        client.outbox.overflow()


def _names(engine: Engine) -> list[str]:
    """Names of accounts by number; empty where there is none."""
    accounts = engine.state.accounts
    own = [one.name if one is not None else "" for one in accounts[:FIRST_ACCOUNT]]
    return own + [one.name if one is not None else "" for one in accounts[FIRST_ACCOUNT:]]


def delta(channel: str, sequence: int, time_ms: int, rows: Sequence[dict[str, Any]]) -> bytes:
    """What happened on a channel with one command."""
    return encode({
        "channel": channel, "type": "delta", "sequence": sequence, "time_ms": time_ms,
        "data": list(rows),
    })  # fmt: skip


def snapshot(channel: str, sequence: int, time_ms: int, data: Any) -> bytes:
    """How things are on a channel after a command."""
    return encode({
        "channel": channel, "type": "snapshot", "sequence": sequence, "time_ms": time_ms,
        "data": data,
    })  # fmt: skip
