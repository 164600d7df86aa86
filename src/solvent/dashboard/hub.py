"""From an engine that runs to what pages show: one task for all pages, a few times a second.

After commits the hub asks the engine's thread for a copy of what changed (`pulse`), margins
everybody on it in a thread of its own (`crowd`), and puts one immutable `VenueView` in place. The
engine waits for none of that; a page that is slow makes nothing else slow.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import numpy as np

from solvent.dashboard.crowd import Judged, Part, joined, judged
from solvent.dashboard.gaps import Ladder, Room, deltas
from solvent.dashboard.holding import AccountNow
from solvent.dashboard.news import news_of
from solvent.dashboard.pulse import Changes, Pulse, RulesNow, pulse_of
from solvent.dashboard.venue_view import (
    POINTS_MAX,
    HeatMaps,
    Latency,
    News,
    Point,
    VenueView,
    at_risk_dollars,
    stands_of,
    urgent_of,
    vols_of,
)
from solvent.host import Engine
from solvent.instruments import Instrument
from solvent.margining.assess import Assessed
from solvent.market import Snapshot
from solvent.market.wire import decode_snapshot
from solvent.messages.commands import PublishMarket
from solvent.messages.events import ArraysPublished, LiquidationBegun, MarketPublished
from solvent.service.streams import Dropped, Entry
from solvent.service.venue import NotServing, Venue
from solvent.solvency.classes import State as Class

PERIOD_S: Final = 0.3
"""Views are at least so far apart."""
SLICE: Final = 4_000
"""Accounts that one look copies: some fifty milliseconds of the engine's thread."""
LADDER_S: Final = 0.15
_URGENT: Final = 12
_NEWS: Final = 60
_TIMES: Final = 512
_WATCHED: Final = 32
"""Accounts whose history is kept."""
_BACK: Final = 20_000
"""Commands before the start among which the last market is looked for."""
_LOG: Final = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class MarginPoint:
    """An account's margin at one moment, in millionths of a dollar; `known` as of its standing."""

    time_ms: int
    equity_micro: int
    initial_micro: int
    maintenance_micro: int
    known: bool


@dataclass(slots=True)
class _Waiting:
    """What has become durable since the last look."""

    snapshot: bytes = b""
    since_s: float | None = None
    """When the oldest publication among it arrived."""


class Hub:
    """The pages' view of a served venue; `start` and `stop` belong to the event loop.

    Attributes:
        view: the newest, None before the first. market: the snapshot that was published last.
        rooms: rulebook → its accounts. found: rulebook → where they stand.
        accounts: name → the newest copy of accounts that somebody watches.
        histories: name → margin points of accounts that were watched.
        news: calls and liquidations, the newest first. fault: why nothing new comes any more.
    """

    def __init__(self, venue: Venue, *, period_s: float = PERIOD_S) -> None:
        self.venue, self.period_s = venue, period_s
        self.view: VenueView | None = None
        self.market: Snapshot | None = None
        self.rules: dict[str, RulesNow] = {}
        self.rooms: dict[str, Room] = {}
        self.found: dict[str, Judged] = {}
        self.accounts: dict[str, AccountNow] = {}
        self.histories: OrderedDict[str, deque[MarginPoint]] = OrderedDict()
        self.news: deque[News] = deque(maxlen=_NEWS)
        self.fault = ""
        self._ladder, self._heats = Ladder(), HeatMaps()
        self._history: deque[Point] = deque(maxlen=POINTS_MAX)
        self._times_ms: deque[float] = deque(maxlen=_TIMES)
        self._page_ms: deque[float] = deque(maxlen=_TIMES)
        self._watched: dict[str, int] = {}
        self._parts: dict[str, Part] = {}
        self._instruments: dict[str, Instrument] = {}
        self._names: dict[int, str] = {}
        self._waiting = _Waiting()
        self._changes = Changes()
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._pool = ThreadPoolExecutor(1, "solvent-dashboard")
        self._aside = ThreadPoolExecutor(2, "solvent-page")
        self._slow = ThreadPoolExecutor(1, "solvent-slow")
        self._beside = ThreadPoolExecutor(1, "solvent-gaps")
        self._gapping: Future[None] | None = None
        self._deltas: dict[str, Any] = {}
        self._liquidated = 0
        self._gapped_ms = -1
        self._judge_ms = 0.0
        self._version = 0

    # ── its life ─────────────────────────────────────────────────────────────────────────────────

    def start(self) -> None:
        """Begin to follow the venue, which is running."""
        self.venue.hooks.append(self._changes.hear)
        self._tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._work())]

    async def stop(self) -> None:
        """Follow no more."""
        if self._changes.hear in self.venue.hooks:
            self.venue.hooks.remove(self._changes.hear)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for pool in (self._pool, self._aside, self._slow, self._beside):
            pool.shutdown(wait=False, cancel_futures=True)

    async def aside(self, work: Callable[..., T], *told: Any) -> T:
        """Run what takes a while in a thread that is neither the engine's nor the loop's."""
        return await asyncio.get_running_loop().run_in_executor(self._aside, work, *told)

    async def slowly(self, work: Callable[..., T], *told: Any) -> T:
        """The same for what takes seconds and nobody waits for: one at a time, so that it never
        keeps a question of a page waiting."""
        return await asyncio.get_running_loop().run_in_executor(self._slow, work, *told)

    def watch(self, account: str) -> None:
        """Copy an account with every look from now on, until `leave`."""
        self._watched[account] = self._watched.get(account, 0) + 1
        self.histories.setdefault(account, deque(maxlen=POINTS_MAX))
        self.histories.move_to_end(account)
        while len(self.histories) > _WATCHED:
            self.histories.popitem(last=False)
        self._wake.set()

    def leave(self, account: str) -> None:
        """One page less shows an account."""
        count = self._watched.get(account, 0) - 1
        if count > 0:
            self._watched[account] = count
        else:
            self._watched.pop(account, None)
            self.accounts.pop(account, None)

    def wake(self) -> None:
        """Look soon, though nothing became durable."""
        self._wake.set()

    def times_ms(self, most: int) -> list[float]:
        """The last ticks, from durable to figures of everybody."""
        return list(self._times_ms)[-most:]

    def shown(self, view: VenueView) -> None:
        """A page has sent a view to its browser."""
        if view.arrived_s:
            self._page_ms.append((time.perf_counter() - view.arrived_s) * 1e3)

    @property
    def names(self) -> Mapping[int, str]:
        """Account number → name."""
        return self._names

    # ── listening ────────────────────────────────────────────────────────────────────────────────

    async def _listen(self) -> None:
        """Gather what becomes durable; whoever was dropped begins anew."""
        while True:
            try:
                async with await self.venue.subscribe() as commits:
                    await self.venue.read(lambda engine: self._begin(engine))
                    self._wake.set()
                    async for commit in commits:
                        self._take(commit.entries)
                return
            except Dropped as why:
                _LOG.warning("the dashboard begins anew: %s", why)
            except NotServing as why:
                self.fault = str(why)
                return

    def _begin(self, engine: Engine) -> None:
        self._changes.begin(engine)
        self._waiting.snapshot = last_market(engine) or self._waiting.snapshot
        for account in engine.state.accounts:
            if account is not None:
                self._names[account.number] = account.name

    def _take(self, entries: Sequence[Entry]) -> None:
        waiting = self._waiting
        for entry in entries:
            if entry.code:
                continue
            for event in entry.events:
                if isinstance(event, MarketPublished) and isinstance(entry.command, PublishMarket):
                    waiting.snapshot = entry.command.snapshot
                if isinstance(event, MarketPublished | ArraysPublished):
                    waiting.since_s = waiting.since_s or time.perf_counter()
                if isinstance(event, LiquidationBegun):
                    self._liquidated += 1
            self.news.extendleft(news_of(entry, self._names))
        self._wake.set()

    # ── working ──────────────────────────────────────────────────────────────────────────────────

    async def _work(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            began_s = time.monotonic()
            try:
                await self._look()
            except NotServing as why:
                self.fault = str(why)
                return
            except Exception:
                _LOG.exception("the dashboard could not look")
            await asyncio.sleep(max(0.02, self.period_s - (time.monotonic() - began_s)))

    async def _look(self) -> None:
        waiting, self._waiting = self._waiting, _Waiting()
        watched, listed = list(self._watched), len(self._instruments)

        def look(engine: Engine) -> tuple[Pulse, bool]:
            some, whole = self._changes.take(engine.state, SLICE)
            pulse = pulse_of(engine.state, changed=some, watched=watched, listed=listed)
            return pulse, whole

        try:
            pulse, whole = await self.venue.read(look)
            loop = asyncio.get_running_loop()
            view = await loop.run_in_executor(self._pool, self._compute, pulse, waiting, whole)
        except NotServing:
            raise
        except Exception:
            # What was taken may not have been joined: everybody is copied anew.
            await self.venue.read(self._changes.begin)
            self._wake.set()
            raise
        if not whole:
            self._wake.set()
        self.accounts.update(pulse.watched)
        self._remember(pulse)
        if view is not None:
            self.view = view

    def _remember(self, pulse: Pulse) -> None:
        for name, one in pulse.watched.items():
            history = self.histories.get(name)
            if history is not None and (not history or history[-1].time_ms < pulse.time_ms):
                stands = one.standing
                history.append(
                    MarginPoint(
                        time_ms=pulse.time_ms, equity_micro=stands.equity_micro,
                        initial_micro=stands.initial_micro,
                        maintenance_micro=stands.maintenance_micro, known=stands.known,
                    )
                )  # fmt: skip

    def _compute(self, pulse: Pulse, waiting: _Waiting, whole: bool) -> VenueView | None:
        """In the hub's own thread: everything that takes time."""
        if pulse.instruments is not None:
            self._instruments = dict(pulse.instruments)
        if waiting.snapshot:
            like = None if self.market is None else self.market.universe
            self.market = decode_snapshot(waiting.snapshot, self._instruments, like=like)
        self._join(pulse)
        if not whole:
            return None
        self.rules = {one.name: one for one in pulse.rules}
        began_s = time.perf_counter()
        self.found = {
            name: _stand(part, self.rules[name])
            for name, part in self._parts.items() if name in self.rules
        }  # fmt: skip
        self._judge_ms = (time.perf_counter() - began_s) * 1e3
        if waiting.since_s is not None:
            self._times_ms.append((time.perf_counter() - waiting.since_s) * 1e3)
        self._gaps(pulse)
        return self._view(pulse, waiting.since_s or 0.0)

    def _join(self, pulse: Pulse) -> None:
        new = {part.rulebook: part for part in pulse.parts}
        for part in pulse.parts:
            names = part.told.book.accounts
            self._names.update(zip(part.numbers.tolist(), names, strict=True))
        for name in {*self._parts, *new}:
            part_now = joined(self._parts.get(name), new.get(name), without=pulse.gone)
            if part_now is None or not len(part_now.numbers):
                self._parts.pop(name, None)
            else:
                self._parts[name] = part_now

    def _gaps(self, pulse: Pulse) -> None:
        """Rungs in turn, and the venue's own exposure, beside everything else: figures of everybody
        do not wait for them. Nothing without a market, or while the last ones are under way."""
        market = self.market
        symbols = () if market is None else tuple(market.universe.symbols)
        self.rooms = {
            name: Room(part, self.rules[name].rulebook)
            for name, part in self._parts.items()
            if name in self.rules and part.symbols == symbols
        }
        busy = self._gapping is not None and not self._gapping.done()
        if market is not None and self.rooms and not busy:
            told = dict(self.rooms), dict(self.found), market, pulse
            self._gapping = self._beside.submit(self._gap, *told)

    def _gap(
        self, rooms: dict[str, Room], found: dict[str, Judged], market: Snapshot, pulse: Pulse
    ) -> None:
        try:
            self._ladder.step(list(rooms.values()), market, budget_s=LADDER_S)
            largest = max(rooms, key=lambda name: len(rooms[name].part.numbers))
            if int(market.as_of_ms) == self._gapped_ms:
                return
            self._gapped_ms = int(market.as_of_ms)
            self._deltas = deltas(
                rooms[largest], found[largest], market, buffer_micro=pulse.fund_total_micro
            )
            rungs = self._ladder.told()
            names = market.universe.underlyings
            if len(rungs) == len(self._ladder.gaps) and names:
                self._heats.add(pulse.time_ms, names[0], float(market.index[0]), rungs)
        except Exception:
            _LOG.exception("the ladder could not be made new")

    def _view(self, pulse: Pulse, arrived_s: float) -> VenueView:
        found = list(self.found.values())
        stands = stands_of(found)
        vols = {} if self.market is None else vols_of(self.market)
        total = [sum(getattr(one, name) for one in stands.values())
                 for name in ("equity_micro", "initial_micro", "maintenance_micro")]  # fmt: skip
        if not self._history or self._history[-1].time_ms < pulse.time_ms:
            self._history.append(
                Point(
                    time_ms=pulse.time_ms, prices=pulse.index, vols=vols,
                    counts=tuple(one.accounts for one in stands.values()),
                    equity_micro=total[0], initial_micro=total[1], maintenance_micro=total[2],
                    fund_micro=pulse.fund_total_micro, liquidated=self._liquidated,
                    at_risk_dollars=at_risk_dollars(found),
                )
            )  # fmt: skip
        self._version += 1
        return VenueView(
            version=self._version, sequence=pulse.sequence, time_ms=pulse.time_ms,
            accounts=pulse.accounts,
            loaded=sum(len(part.numbers) for part in self._parts.values()),
            prices=pulse.index, vols=vols, stands=stands,
            urgent=urgent_of(found, most=_URGENT), ladder=self._ladder.told(),
            deltas=dict(self._deltas), fund_micro=pulse.fund_micro,
            rulebooks=tuple(self._parts),
            stale=tuple(name for name in self._parts if not self.rules[name].fresh),
            liquidating=pulse.liquidating, calls=pulse.calls, orders=pulse.orders,
            ordered=sum(int(part.ordered.sum()) for part in self._parts.values()),
            positions=sum(part.told.book.positions for part in self._parts.values()),
            history=tuple(self._history), heat=self._heats.told(), news=tuple(self.news),
            latency=self._latency(), arrived_s=arrived_s,
        )  # fmt: skip

    def _latency(self) -> Latency:
        told = np.array(self._times_ms or [0.0])
        pages = np.array(self._page_ms or [0.0])
        return Latency(
            count=len(self._times_ms), half_ms=float(np.percentile(told, 50)),
            most_ms=float(np.percentile(told, 99)), judge_ms=self._judge_ms,
            page_ms=float(np.percentile(pages, 50)),
        )  # fmt: skip


def _stand(part: Part, rules: RulesNow) -> Judged:
    """Where accounts of a rulebook stand; nobody is known without fresh arrays."""
    assert rules.plan is not None, "a part is copied when there are arrays"
    if rules.fresh and tuple(rules.plan.arrays.universe.symbols) == part.symbols:
        return judged(part, rules.plan)
    nothing = np.zeros(len(part.numbers), dtype=np.int64)
    nobody = np.zeros(len(part.numbers), dtype=bool)
    return Judged(
        part, rules.plan,
        Assessed(
            equity_micro=nothing, initial_micro=nothing, maintenance_micro=nothing, known=nobody,
            call=nobody, liquidate=nobody, credit_micro=nothing,
        ),
    )  # fmt: skip


def last_market(engine: Engine) -> bytes:
    """The snapshot that was published last, found in the journal; empty where none is near its
    end."""
    head, chunk = engine.state.log.sequence, 256
    until = head
    while until > max(head - _BACK, 0):
        after = max(until - chunk, 0)
        rows = list(engine.journal.read(after=after, until=until, verify=False))
        for row in reversed(rows):
            if row.kind == "publish_market":
                found = _published(row.command)
                if found:
                    return found
        until = after
    return b""


def _published(body: bytes) -> bytes:
    from solvent.messages.codec import decode_command

    command = decode_command(body)
    return command.snapshot if isinstance(command, PublishMarket) else b""


def fallen(found: Iterable[Judged], *, most: int) -> list[str]:
    """Names of accounts below maintenance, the nearest to ruin first."""
    return [one.account for one in urgent_of(list(found), most=most)
            if one.state is Class.LIQUIDATE]  # fmt: skip


def near_ones(found: Iterable[Judged], *, most: int) -> list[tuple[str, int]]:
    """Accounts short of liquidation that a venue would warn or call, with how near: 1 to 3."""
    levels = {Class.WARNING: 1, Class.CALL: 2}
    return [
        (one.account, levels[one.state] + ((one.share or 0.0) < 0.1))
        for one in urgent_of(list(found), most=most)
        if one.state in levels
    ]
