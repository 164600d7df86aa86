"""A venue that is served: the engine in its own thread, everything else around it.

Requests wait in three lanes (`lanes`); what waits is applied together and made durable in one
transaction, then everybody is answered (`Venue.submit`). Between two batches the thread looks at
the books for others (`Venue.read`). Whatever became durable is told to all who listen
(`Venue.subscribe`, and hooks on the engine's own thread). Nothing else touches the engine.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from enum import StrEnum
from pathlib import Path
from threading import Condition, Thread
from typing import Any, Final, TypeVar

from solvent.engine.state import State
from solvent.errors import BadInput, SolventError, check
from solvent.host import Answer, Engine, clock_ms
from solvent.journal import Journal
from solvent.messages.fields import Command
from solvent.service.lanes import Draft, Lane, Lanes, Overloaded, Ticket, lane_of
from solvent.service.streams import COMMITS_MAX, Broadcast, Entry, Subscription

BATCH_MAX: Final = 1_024
"""Commands that are made durable together, unless one request brings more."""
READS_MAX: Final = 4_096
READ_S: Final = 0.010
"""For so long the books are looked at between two batches, when commands wait."""
ANSWER_S: Final = 0.001
"""Answers to reads are handed over together for so long."""
SNAPSHOT_AT_STOP: Final = 10_000
"""Commands since the last snapshot for which an orderly stop takes one."""
_LOG: Final = logging.getLogger(__name__)
T = TypeVar("T")
Hook = Callable[[Engine, Sequence[Entry]], None]
Finish = Callable[[Any, BaseException | None], None]
When = int | Sequence[int | None] | None
"""Milliseconds since 1970 UTC: of all commands, or of each; None for the clock's."""


class Phase(StrEnum):
    """Where a venue is in its life."""

    STARTING = "starting"
    """The journal is being recovered."""
    RUNNING = "running"
    STOPPING = "stopping"
    """What waits is done, nothing new is taken."""
    STOPPED = "stopped"
    FAILED = "failed"
    """Something went wrong that only a new start may mend; `Venue.fault` says what."""


class NotServing(SolventError):
    """The venue takes no requests: it starts, stops, or has failed."""

    def __init__(self, phase: Phase, why: str = "") -> None:
        super().__init__(f"the venue is {phase}" + (f": {why}" if why else ""))
        self.phase = phase


class ServedEngine(Engine):
    """An engine that also keeps what became durable, until it is asked for."""

    @property
    def stopped(self) -> bool:
        """Whether it takes nothing more."""
        return self._stopped

    @property
    def before(self) -> int:
        """The head before the last commands: an answer up to here was given before."""
        before: int = self.__dict__.get("_before", 0)
        return before

    @property
    def unsaved(self) -> int:
        """Commands since the last snapshot."""
        return self.state.log.sequence - self._snapshot_at

    def heard(self) -> list[Entry]:
        """What became durable since this was last asked."""
        found: list[Entry] = self.__dict__.get("_heard", [])
        self.__dict__["_heard"] = []
        return found

    def _answers(self, commands: Sequence[Command], times_ms: Sequence[int]) -> list[Answer]:
        self.__dict__["_before"] = self.state.log.sequence
        due = self.state.log.sequence + 1
        answers = super()._answers(commands, times_ms)
        heard = self.__dict__.setdefault("_heard", [])
        for command, time_ms, answer in zip(commands, times_ms, answers, strict=True):
            # A request that is known already has its old place, or none.
            if answer.sequence == due:
                heard.append(Entry(due, time_ms, command, answer.code, answer.events))
                due += 1
        return answers


class Venue:
    """The engine of one journal, served to an event loop; see the module.

    Args:
        url: a directory, or `postgresql://…`; it must be a journal.
        clock: milliseconds since 1970 UTC; None holds the time at the journal's last command.
        room, patience_s: what may wait in each lane (`Lanes`).

    Attributes:
        phase: where it is in its life. fault: what it failed of. progress: commands recovered, and
            how many there are.
        hooks: called on the engine's thread after each commit with the engine and what became
            durable, and once with nothing when the engine is ready. One that raises is logged.
    """

    def __init__(
        self, url: str | Path, *, clock: Callable[[], int] | None = clock_ms, room: int = 16_384,
        patience_s: float = 0.5, batch_max: int = BATCH_MAX, snapshot_every: int = 1_000_000,
    ) -> None:  # fmt: skip
        self.url = str(url)
        self.phase = Phase.STARTING
        self.fault: BaseException | None = None
        self.progress = (0, 0)
        self.hooks: list[Hook] = []
        self.lanes = Lanes(room=room, patience_s=patience_s)
        self.head = 0
        """The last durable sequence."""
        self.commits = 0
        """Transactions since the start."""
        self._clock, self._snapshot_every = clock, snapshot_every
        self._batch_max = batch_max
        self._reads: deque[tuple[Callable[[Engine], Any], Finish]] = deque()
        self._wake = Condition()
        self._broadcast = Broadcast()
        self._settled: dict[asyncio.AbstractEventLoop, list[Callable[[], None]]] = {}
        self._ready: Future[None] = Future()
        self._thread = Thread(target=self._live, name="solvent-engine", daemon=True)
        self._stop = False

    # ── its life ─────────────────────────────────────────────────────────────────────────────────

    def start(self) -> None:
        """Begin to recover the journal; `ready` waits for the end of that. Twice is once."""
        if not self._thread.is_alive() and self.phase is Phase.STARTING:
            self._thread.start()

    async def ready(self) -> None:
        """Wait until requests are taken. Raises what the start failed of."""
        await asyncio.shield(asyncio.wrap_future(self._ready))

    async def stop(self) -> None:
        """Do what waits, take nothing new, keep a snapshot where that saves much, let the journal
        go. Twice is once."""
        self._ask_to_stop()
        while self._thread.is_alive():
            await asyncio.sleep(0.005)

    def close(self) -> None:
        """The same without an event loop."""
        self._ask_to_stop()
        if self._thread.is_alive():
            self._thread.join()

    def _ask_to_stop(self) -> None:
        with self._wake:
            self._stop = True
            if self.phase is Phase.RUNNING:
                self.phase = Phase.STOPPING
            self._wake.notify()

    async def __aenter__(self) -> Venue:
        self.start()
        await self.ready()
        return self

    async def __aexit__(self, *fault: object) -> None:
        await self.stop()

    # ── what others ask ──────────────────────────────────────────────────────────────────────────

    async def submit(
        self, drafts: Iterable[Draft], *, lane: Lane | None = None, time_ms: When = None
    ) -> list[Answer]:
        """Commands of one request, in order; the answers when all are durable.

        A draft may be a function of the books that makes a command when its turn comes. Raises
        Overloaded or NotServing where nothing was done, and BadInput where a command cannot be
        read: then none of the request's was. `time_ms`: when they happen, or when each does; None
        for the clock's time, and never before the last command. What goes wrong after that leaves
        it open whether it was done: ask again with the same keys.
        """
        found: list[Answer] = await self.request(drafts, None, lane=lane, time_ms=time_ms)
        return found

    async def request(
        self, drafts: Iterable[Draft], told: Callable[[Engine, list[Answer]], T] | None, *,
        lane: Lane | None = None, time_ms: When = None,
    ) -> Any:  # fmt: skip
        """`submit`, and what `told` makes of the answers on the engine's thread, with the books as
        they are after the batch."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self._put(drafts, told, lane, time_ms, self._finisher(loop, future), future.cancelled)
        return await future

    def submit_from_thread(
        self, drafts: Iterable[Draft], *, lane: Lane | None = None, time_ms: When = None
    ) -> list[Answer]:
        """`submit` for a thread that has no event loop; it waits."""
        future: Future[list[Answer]] = Future()
        self._put(drafts, None, lane, time_ms, _told_to(future), future.cancelled)
        return future.result()

    async def read(self, look: Callable[[Engine], T]) -> T:
        """What a function makes of the engine between two batches, on the engine's thread.

        It must be short, as commands wait meanwhile, must not keep any part of the books, and must
        not change them; to submit something from there is allowed (`Engine.tend`).
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        with self._wake:
            self._check_serving()
            if len(self._reads) >= READS_MAX:
                raise Overloaded("read", why=f"{READS_MAX} wait already", retry_after_s=0.1)
            self._reads.append((look, self._finisher(loop, future)))
            self._wake.notify()
        return await future

    async def subscribe(self, *, capacity: int = COMMITS_MAX) -> Subscription:
        """Everything that becomes durable from now on: after `Subscription.start`."""
        loop = asyncio.get_running_loop()

        def begin(engine: Engine) -> Subscription:
            one = Subscription(start=engine.state.log.sequence, capacity=capacity)
            one.bind(lambda it: self._broadcast.remove(loop, it))
            self._broadcast.add(loop, one)
            return one

        return await self.read(begin)

    def reader(self) -> Journal:
        """The journal, open for reading alone, for a thread of one's own; to be closed."""
        return Journal.open(self.url, read_only=True)

    # ── putting and answering ────────────────────────────────────────────────────────────────────

    def _put(
        self, drafts: Iterable[Draft], told: Callable[..., Any] | None, lane: Lane | None,
        time_ms: When, finish: Finish, given_up: Callable[[], bool],
    ) -> None:  # fmt: skip
        listed = list(drafts)
        if not listed:
            finish([], None)
            return
        times_ms = (
            [time_ms] * len(listed) if time_ms is None or isinstance(time_ms, int) else time_ms
        )
        check(len(times_ms) == len(listed), "a time for each command", len(times_ms))
        ticket = Ticket(
            listed, lane or lane_of(listed), times_ms, time.perf_counter(), finish, given_up, told
        )
        with self._wake:
            self._check_serving()
            self.lanes.put(ticket)
            self._wake.notify()

    def _check_serving(self) -> None:
        if self.phase is not Phase.RUNNING:
            raise NotServing(self.phase, str(self.fault or ""))

    def _finisher(self, loop: asyncio.AbstractEventLoop, future: asyncio.Future[Any]) -> Finish:
        """Answers are kept by event loop and handed over together: waking a loop is dear."""

        def finish(result: Any, fault: BaseException | None) -> None:
            def settle() -> None:
                if future.done():
                    return
                if fault is None:
                    future.set_result(result)
                else:
                    future.set_exception(fault)

            self._settled.setdefault(loop, []).append(settle)

        return finish

    def _answer_all(self) -> None:
        for loop, settled in self._settled.items():
            if not loop.is_closed():
                loop.call_soon_threadsafe(_run_all, settled)
        self._settled = {}

    # ── the engine's thread ──────────────────────────────────────────────────────────────────────

    def _live(self) -> None:
        try:
            engine = self._opened()
        except BaseException as fault:
            self.fault, self.phase = fault, Phase.FAILED
            self._ready.set_exception(fault)
            return
        try:
            self._serve(engine)
            if engine.unsaved >= SNAPSHOT_AT_STOP:
                engine.snapshot()
            engine.close()
            self.phase = Phase.STOPPED
        except BaseException as fault:
            _LOG.critical("the engine has stopped", exc_info=fault)
            self.fault, self.phase = fault, Phase.FAILED
        finally:
            self._abandon()

    def _opened(self) -> ServedEngine:
        def told(done: int, head: int) -> None:
            self.progress = (done, head)

        held = [0]
        engine = ServedEngine.open(
            self.url, clock=self._clock or (lambda: held[0]), progress=told,
            snapshot_every=self._snapshot_every,
        )  # fmt: skip
        held[0] = engine.state.log.time_ms
        self.head = engine.state.log.sequence
        self.progress = (self.head, self.head)
        self._call_hooks(engine, ())
        with self._wake:
            self.phase = Phase.STOPPING if self._stop else Phase.RUNNING
        self._ready.set_result(None)
        return engine

    def _serve(self, engine: ServedEngine) -> None:
        while True:
            with self._wake:
                while not (self.lanes or self._reads or self._stop):
                    self._wake.wait()
                taken, late = self.lanes.take(self._batch_max, time.perf_counter())
                if self._stop and not (taken or late or self._reads):
                    return
            for ticket in late:
                ticket.finish(None, self._too_late(ticket))
            if taken:
                start_s = time.perf_counter()
                self._commit(engine, taken)
                self.lanes.done(sum(map(len, taken)), time.perf_counter() - start_s)
            self._answer_all()
            self._look(engine)
            self._answer_all()

    def _too_late(self, ticket: Ticket) -> Overloaded:
        wait_s = max(0.05, self.lanes.wait_s(ticket.lane))
        return Overloaded(ticket.lane, why="it has waited too long", retry_after_s=wait_s)

    def _commit(self, engine: ServedEngine, taken: Sequence[Ticket]) -> None:
        """Apply what waits in one transaction; where a command of it cannot be stored, each
        request by itself."""
        drawn = [ticket for ticket in taken if _draw(ticket, engine.state)]
        try:
            self._answer(engine, drawn)
        except BadInput:
            for ticket in drawn:
                try:
                    self._answer(engine, [ticket])
                except BadInput as fault:
                    ticket.finish(None, fault)

    def _answer(self, engine: ServedEngine, tickets: Sequence[Ticket]) -> None:
        done = self._done(engine, tickets)
        self._told(engine)
        for ticket, answers in done:
            try:
                result = answers if ticket.told is None else ticket.told(engine, answers)
            except Exception as fault:
                ticket.finish(None, fault)
            else:
                ticket.finish(result, None)

    def _done(
        self, engine: ServedEngine, tickets: Sequence[Ticket]
    ) -> list[tuple[Ticket, list[Answer]]]:
        commands = [one for ticket in tickets for one in ticket.commands]
        if not commands:
            return []
        now_ms = engine.now_ms
        times_ms = [
            now_ms if told is None else told for ticket in tickets for told in ticket.times_ms
        ]  # fmt: skip
        try:
            answers = iter(engine.submit_all(commands, times_ms=times_ms))
        except BadInput:
            raise
        except BaseException:
            # Nobody knows whether it became durable: whoever asked must ask again.
            for ticket in tickets:
                ticket.finish(None, NotServing(Phase.FAILED, "asked again, it is told what came"))
            raise
        return [(ticket, [next(answers) for _ in ticket.commands]) for ticket in tickets]

    def _look(self, engine: ServedEngine) -> None:
        told_s = time.perf_counter()
        until_s = told_s + READ_S
        while self._reads:
            look, finish = self._reads.popleft()
            try:
                result = look(engine)
            except Exception as fault:
                if engine.stopped:
                    finish(None, NotServing(Phase.FAILED, str(fault)))
                    raise
                finish(None, fault)
            else:
                finish(result, None)
            self._told(engine)
            now_s = time.perf_counter()
            if self.lanes and now_s > until_s:
                return
            if now_s - told_s > ANSWER_S:
                # Who asked little does not wait for who asks much.
                self._answer_all()
                told_s = now_s

    def _told(self, engine: ServedEngine) -> None:
        """Tell everybody what has become durable."""
        entries = engine.heard()
        if not entries:
            return
        self.head = entries[-1].sequence
        self.commits += 1
        self._broadcast.tell(entries)
        self._call_hooks(engine, entries)

    def _call_hooks(self, engine: Engine, entries: Sequence[Entry]) -> None:
        for hook in self.hooks:
            try:
                hook(engine, entries)
            except Exception:
                _LOG.exception("a hook has failed")

    def _abandon(self) -> None:
        """Nothing is taken any more: whoever still waits is told so."""
        with self._wake:
            tickets, reads = self.lanes.drain(), list(self._reads)
            self._reads.clear()
        fault = NotServing(self.phase, str(self.fault or ""))
        for ticket in tickets:
            ticket.finish(None, fault)
        for _, finish in reads:
            finish(None, fault)
        self._answer_all()
        failed = self.phase is Phase.FAILED
        self._broadcast.end(str(self.fault) if failed else "the venue has stopped", fault=failed)


def _draw(ticket: Ticket, state: State) -> bool:
    """Make a ticket's commands; whether they can be."""
    try:
        ticket.commands = [one if isinstance(one, Command) else one(state) for one in ticket.drafts]
    except Exception as fault:
        ticket.finish(None, fault)
        return False
    return True


def _told_to(future: Future[Any]) -> Finish:
    def finish(result: Any, fault: BaseException | None) -> None:
        if future.set_running_or_notify_cancel():
            if fault is None:
                future.set_result(result)
            else:
                future.set_exception(fault)

    return finish


def _run_all(settled: Sequence[Callable[[], None]]) -> None:
    for one in settled:
        one()
