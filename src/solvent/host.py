"""The shell around the engine: it reads the clock, applies, journals, and only then answers.

A batch is applied in memory, then its commands, their events and the chain are made durable in one
transaction, then the events are handed out. Whatever goes wrong on the way stops the engine: what
it holds in memory is thrown away, and opening it anew reads what is durable.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from solvent.engine.apply import Applied, apply_all
from solvent.engine.image import image, state_hash
from solvent.engine.state import State
from solvent.errors import BadInput, Problem, SolventError
from solvent.journal import Journal, Row, create
from solvent.market_feed import Feed
from solvent.messages.codec import (
    decode_events,
    read_command,
    stored_command,
)
from solvent.messages.events import Event, Repeated
from solvent.messages.fields import Command
from solvent.order_entry import OrderEntry
from solvent.recovery import Progress, recovered, uncollected
from solvent.solvency.venue import VenueWatch
from solvent.tending.entry import Tending

SNAPSHOT_EVERY = 1_000_000
"""Commands between two snapshots that the engine takes by itself."""
CommandLike = Command | dict[str, Any] | str | bytes


class EngineStopped(SolventError):
    """The engine has stopped and must be opened anew."""


class Answer(NamedTuple):
    """What came of a command: its place in history, 0 or the reject code, and the events.

    A repeated request has the sequence, code and events of the first.
    """

    sequence: int
    code: int
    events: tuple[Event, ...]

    @property
    def accepted(self) -> bool:
        """Whether it was done."""
        return self.code == 0


def clock_ms() -> int:
    """Now, in milliseconds since 1970 UTC."""
    return time.time_ns() // 1_000_000


class Engine(OrderEntry, Tending):
    """A venue's engine on its journal; a context manager, for one thread at a time.

    `submit` takes any command; `place`, `cancel`, `book` and others (`order_entry`) are of orders;
    `plans` and `tend` (`tending`) of accounts that cannot pay.

    >>> import tempfile
    >>> from solvent.messages.commands import ListAsset
    >>> home = tempfile.TemporaryDirectory()
    >>> with Engine.create(home.name + "/venue") as engine:
    ...     answer = engine.submit(ListAsset(key="1", actor="me", asset="USDC", decimals=6))
    ...     answer.sequence, answer.accepted
    (1, True)
    >>> home.cleanup()
    """

    def __init__(
        self, journal: Journal, state: State, *, clock: Callable[[], int], snapshot_every: int
    ) -> None:
        self._journal = journal
        self._state = state
        self._clock = clock
        self._snapshot_every = snapshot_every
        self._snapshot_at = state.log.sequence
        self._stopped = False
        self._feeds: list[Feed] = []
        self._watches: list[VenueWatch] = []

    @classmethod
    def create(cls, url: str | Path, **options: Any) -> Self:
        """A new venue at a directory or `postgresql://…`, opened."""
        create(url)
        return cls.open(url, **options)

    @classmethod
    def open(
        cls,
        url: str | Path,
        *,
        clock: Callable[[], int] = clock_ms,
        snapshot_every: int = SNAPSHOT_EVERY,
        progress: Progress | None = None,
    ) -> Self:
        """Recover a venue: its newest snapshot, then every command after it. What each did is
        worked out anew and held against the record; what was refused, and that margin allowed the
        rest, is taken from it (`replay` works that out as well).

        Raises JournalError for a journal that cannot be read, or that another engine writes to, and
        ReplayDiverged where these rules give another history.
        """
        journal = Journal.open(url)
        try:
            state = recovered(journal, progress=progress)
        except BaseException:
            journal.close()
            raise
        return cls(journal, state, clock=clock, snapshot_every=snapshot_every)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let the journal go. What was answered is durable already."""
        self._stopped = True
        self._journal.close()

    @property
    def state(self) -> State:
        """The books, to be read only."""
        return self._state

    @property
    def now_ms(self) -> int:
        """What the clock says, or the last command's time where that is later."""
        return max(self._clock(), self._state.log.time_ms)

    @property
    def journal(self) -> Journal:
        """Where everything is kept."""
        return self._journal

    def feed(self) -> Feed:
        """What changes of all books from now on, until the feed is closed."""
        feed = Feed(self._state)
        self._feeds.append(feed)
        return feed

    def watch(self) -> VenueWatch:
        """Verdicts on every account, kept up with every command until it is closed."""
        watch = VenueWatch(self._state)
        self._watches.append(watch)
        return watch

    def hash(self) -> str:
        """A hash of everything that the engine remembers."""
        return state_hash(self._state)

    def submit(self, command: CommandLike, *, time_ms: int | None = None) -> Answer:
        """One command; see `submit_all`."""
        return self.submit_all([command], times_ms=None if time_ms is None else [time_ms])[0]

    def submit_all(
        self, commands: Iterable[CommandLike], *, times_ms: Sequence[int] | None = None
    ) -> list[Answer]:
        """Apply commands in order and answer when all are durable.

        Commands may be told as dicts or JSON; one that cannot be read raises BadInput, and none is
        applied. Times come from the clock unless they are told; they never run backwards.
        """
        told = [self._read(command) for command in commands]
        return self._answers(told, self._times(len(told), times_ms))

    def _read(self, command: CommandLike) -> Command:
        found = command if isinstance(command, Command) else read_command(command)
        if isinstance(found, Problem):
            raise BadInput(found)
        return found

    def _times(self, count: int, told: Sequence[int] | None) -> list[int]:
        latest = self._state.log.time_ms
        times = [self._clock()] * count if told is None else told
        sealed = []
        for time_ms in times:
            latest = max(latest, time_ms)
            sealed.append(latest)
        return sealed

    def _answers(self, commands: Sequence[Command], times_ms: Sequence[int]) -> list[Answer]:
        if self._stopped:
            raise EngineStopped("the engine has stopped: open it anew")
        bodies = [_stored(command) for command in commands]
        first = self._state.log.sequence
        with self._stopping():
            with uncollected():
                found = apply_all(self._state, commands, times_ms, bodies)
            self._journal.append(_rows(found, times_ms, first))
            if self._feeds:
                self._feed(found)
            if self._watches:
                self._watches = [watch for watch in self._watches if not watch.closed]
                events = [event for one in found if one.chain for event in one.events]
                for watch in self._watches:
                    watch.follow(self._state, events)
            answers = self._numbered(found, first)
            if self._state.log.sequence - self._snapshot_at >= self._snapshot_every:
                self.snapshot()
        return answers

    @contextmanager
    def _stopping(self) -> Iterator[None]:
        """Whatever goes wrong is the end: memory may be ahead of the journal."""
        try:
            yield
        except BaseException:
            self._stopped = True
            self._journal.close()
            raise

    def _feed(self, found: Sequence[Applied]) -> None:
        """Let those who listen hear what is durable now; what was repeated they have heard."""
        self._feeds = [feed for feed in self._feeds if not feed.closed]
        for feed in self._feeds:
            for one in found:
                if one.chain:
                    feed.take(one.events)

    def _numbered(self, found: Sequence[Applied], sequence: int) -> list[Answer]:
        answers = []
        for one in found:
            if one.chain:
                sequence += 1
                answers.append(Answer(sequence, one.code, one.events))
                continue
            repeated = one.events[0]
            if isinstance(repeated, Repeated):
                row = self._journal.find(repeated.sequence)
                events = decode_events(row.events) if row is not None else one.events
                answers.append(Answer(repeated.sequence, one.code, events))
            else:
                answers.append(Answer(0, one.code, one.events))
        return answers

    def snapshot(self) -> None:
        """Keep the state as it is, so that the next start need not replay all of history."""
        if self._stopped:
            raise EngineStopped("the engine has stopped: open it anew")
        log = self._state.log
        with self._stopping():
            if log.sequence:
                self._journal.save_snapshot(log.sequence, log.chain, image(self._state))
        self._snapshot_at = log.sequence


def _stored(command: Command) -> bytes:
    found = stored_command(command)
    if isinstance(found, Problem):
        raise BadInput(found)
    return found


def _rows(found: Sequence[Applied], times_ms: Sequence[int], sequence: int) -> list[Row]:
    rows = []
    for one, time_ms in zip(found, times_ms, strict=True):
        if one.chain:
            sequence += 1
            rows.append(Row(sequence, time_ms, one.kind, one.command, one.stored, one.chain))
    return rows
