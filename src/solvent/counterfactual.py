"""A recorded history replayed: as it was, and under other rules.

`replay(url)` applies every command from nothing and holds each against the record. With a rulebook
it runs two states over the same commands: one as recorded, and one in which that rulebook stands in
the place of those that were adopted, with risk arrays priced anew from the market snapshots that
the journal holds. Who would have been refused, called, or wound up?

The commands stay what they were. Those that liquidate are the recorded ones: in the other world
they are refused where the account is healthy, and nobody begins those that only it would need.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, overload

import msgspec

from solvent import publishing
from solvent.account.ledger import FIRST_ACCOUNT
from solvent.api import HistoryLike, read_history
from solvent.chains import ORIGIN
from solvent.engine.apply import Applied, apply_all
from solvent.engine.image import image_hash, state_hash
from solvent.engine.standing import fresh_plan, has_risk, standings, view
from solvent.engine.state import LIQUIDATION, State
from solvent.errors import Reject, SolventError
from solvent.feeds.library import day_of, rulebook_source
from solvent.instruments import Instrument
from solvent.journal import Journal, Row
from solvent.market import Snapshot
from solvent.market.wire import decode_snapshot
from solvent.messages.codec import decode_command, encode_command
from solvent.messages.commands import AdoptRulebook, PublishArrays, PublishMarket
from solvent.messages.events import Rejected
from solvent.messages.fields import Command
from solvent.recovery import REPLAY_BATCH, ReplayDiverged, batches, uncollected
from solvent.recovery import replay as replay_rows

if TYPE_CHECKING:
    from solvent.scenarios.history import Series

Progress = Callable[[int, int], None]
RECORDED: Final = "as recorded"
ACCOUNTS_SHOWN: Final = 20
_MARKET, _ARRAYS, _ADOPT = "publish_market", "publish_arrays", "adopt_rulebook"


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """A history that came out as it was recorded. `snapshots` are states kept with it, by sequence,
    that were met on the way and had the same hash."""

    commands: int
    seconds: float
    chain: str
    state_hash: str
    snapshots: tuple[int, ...]


@overload
def replay(url: str | Path, *, progress: Progress | None = ...) -> Replayed: ...
@overload
def replay(
    url: str | Path, *, rulebook: str | Path, only: str | None = ...,
    history: HistoryLike = ..., progress: Progress | None = ..., processes: int = ...,
) -> Comparison: ...  # fmt: skip
def replay(
    url: str | Path, *, rulebook: str | Path | None = None, only: str | None = None,
    history: HistoryLike = None, progress: Progress | None = None, processes: int = 1,
) -> Replayed | Comparison:  # fmt: skip
    """Replay a journal from nothing; with a rulebook, compare it with the same history under that.

    Args:
        url: a directory or `postgresql://…`; an engine may be writing to it.
        rulebook: a shipped rulebook's name or a path to a .toml, and `name@2026-12-01` for the
            parameters of another day than the one that was adopted.
        only: replace the rulebook that was adopted under this name; all of them if not given.
        history: of which the rulebook makes scenarios at each publication, up to its moment.
        progress: called with commands done and commands in all.
        processes: 2 runs both worlds at the same time.

    Raises ReplayDiverged where the history comes out otherwise than recorded, JournalError for a
    journal that cannot be read, SolventError where the other rules cannot take its place.
    """
    if rulebook is None:
        return _replayed(url, progress)
    other = _Other.read(str(rulebook), only, read_history(history))
    if processes == 1:
        return Comparison(run(url, None), run(url, other, progress))
    # A process that begins afresh: what a parent's threads hold would not survive a fork.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        recorded = pool.submit(run, url, None)
        found = run(url, other, progress)
        return Comparison(recorded.result(), found)


def _replayed(url: str | Path, progress: Progress | None) -> Replayed:
    start = time.perf_counter()
    state = State()
    met: list[int] = []
    with Journal.open(url, read_only=True) as journal, uncollected():
        kept = journal.latest_snapshot()
        head = journal.head.sequence
        # The rows stop at the snapshot once, so that the two states can be held together.
        spans = [(0, head)] if kept is None else [(0, kept.sequence), (kept.sequence, head)]
        for after, until in spans:
            for rows in batches(journal.read(after=after, until=until), REPLAY_BATCH):
                replay_rows(state, rows)
                if progress is not None:
                    progress(state.log.sequence, head)
            if kept is not None and until == kept.sequence and until not in met:
                _check_snapshot(state, kept.image, until)
                met.append(until)
    return Replayed(
        commands=state.log.sequence, seconds=time.perf_counter() - start,
        chain=state.log.chain.hex(), state_hash=state_hash(state), snapshots=tuple(met),
    )  # fmt: skip


def _check_snapshot(state: State, image: bytes, sequence: int) -> None:
    kept, found = image_hash(image), state_hash(state)
    if kept != found:
        raise ReplayDiverged(
            f"snapshot at {sequence}: expected state {kept}, as kept, found {found}",
            sequence=sequence,
        )


# ── two worlds ───────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """The venue right after arrays were published, or at the end. Counts are of accounts with
    risk; money is in millionths of a dollar, summed over those that are known.

    Attributes:
        index: dollars of the first underlying that was published.
        called: below initial margin. liquidatable: below maintenance; they are called too.
        liquidating: being wound up. insolvent: with less than nothing, `shortfall_micro` in all.
    """

    time_ms: int
    index: float
    accounts: int
    called: int
    liquidatable: int
    unknown: int
    liquidating: int
    insolvent: int
    equity_micro: int
    initial_micro: int
    maintenance_micro: int
    shortfall_micro: int


@dataclass(slots=True, kw_only=True)
class World:
    """One run of the history.

    Attributes:
        rejected: sequence → kind of command and code.
        called, liquidatable: account → when it was so at a publication for the first time, ms.
        largest: account → its largest initial margin at a publication, in millionths of a dollar.
        done: how many commands of each kind were done.
    """

    name: str
    commands: int = 0
    chain: bytes = ORIGIN
    rejected: dict[int, tuple[str, int]] = field(default_factory=dict)
    points: list[Point] = field(default_factory=list)
    called: dict[str, int] = field(default_factory=dict)
    liquidatable: dict[str, int] = field(default_factory=dict)
    largest: dict[str, int] = field(default_factory=dict)
    done: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Other:
    """The rules that take the place of those that were adopted (`only` of one name)."""

    name: str
    toml: str
    day: str | None
    only: str | None
    history: Series | None = None

    @classmethod
    def read(cls, told: str, only: str | None, history: Series | None = None) -> _Other:
        name, _, day = told.rpartition("@") if "@" in told else (told, "", "")
        found = day_of(day).isoformat() if day else None
        toml = rulebook_source(name)
        return cls(name=told, toml=toml, day=found, only=only, history=history)

    def replaces(self, name: str) -> bool:
        """Whether a rulebook that was adopted under a name gives way."""
        return self.only in (None, name)


def other_rules(told: str, only: str | None, history: HistoryLike = None) -> _Other:
    """The rules that `run` puts in the place of those adopted (`only` of one name): a shipped
    rulebook's name, a path, or `name@day`. Raises RulebookError for one that is not there."""
    return _Other.read(told, only, read_history(history))


def run(url: str | Path, other: _Other | None, progress: Progress | None = None) -> World:
    """One world from nothing to the head: as recorded, held against the record, or with `other`."""
    with Journal.open(url, read_only=True) as journal, uncollected():
        head = journal.head.sequence
        runner = _Runner(other)
        for row in journal.read(until=head):
            runner.take(row)
            if progress is not None and row.sequence % 1_000 == 0:
                progress(row.sequence, head)
        runner.finish()
    if other is not None and not runner.replaced:
        raise SolventError(
            f"{journal.name}: expected a rulebook adopted as {other.only or 'anything'!r}, found "
            f"{', '.join(runner.state.rules) or 'none'}"
        )
    return runner.world


class _Runner:
    """A state on its way through a history, looked at after every publication and at the end."""

    def __init__(self, other: _Other | None) -> None:
        self.state = State()
        self.world = World(name=RECORDED if other is None else other.name)
        self.replaced = False
        self._other = other
        self._waiting: list[Row] = []
        self._published = False
        self._snapshot = b""
        self._read: Snapshot | None = None
        self._arrays: dict[str, bytes] = {}

    def take(self, row: Row) -> None:
        """The next command; publications are applied by themselves."""
        if row.kind == _ARRAYS:
            self._apply_waiting()
            self._apply([row])
            self._published = True
            return
        if self._published:
            self._look()
        self._waiting.append(row)
        if row.kind in (_MARKET, _ADOPT) or len(self._waiting) >= REPLAY_BATCH:
            self._apply_waiting()

    def finish(self) -> None:
        """What has waited, and the last look: at the end too, where arrays have not aged."""
        waited = bool(self._waiting)
        self._apply_waiting()
        rules = self.state.rules.values()
        if self._published or (
            waited and any(fresh_plan(self.state, one) is not None for one in rules)
        ):
            self._look()
        self.world.commands = self.state.log.sequence
        self.world.chain = self.state.log.chain

    def _apply_waiting(self) -> None:
        if self._waiting:
            self._apply(self._waiting)
            self._waiting = []

    def _apply(self, rows: Sequence[Row]) -> None:
        """Apply rows, of which only the last may be a publication or an adoption."""
        commands = [decode_command(row.command) for row in rows]
        bodies = [row.command for row in rows]
        last = commands[-1]
        instead = self._instead(last, rows[-1].sequence)
        if instead is not last:
            commands[-1], bodies[-1] = instead, encode_command(instead)
        found = apply_all(self.state, commands, [row.time_ms for row in rows], bodies)
        for row, one in zip(rows, found, strict=True):
            self._note(row, one)
        if instead is not last and found[-1].code:
            raise SolventError(f"{self.world.name}: {_why(found[-1])}, at command {row.sequence}")
        if isinstance(last, PublishMarket) and not found[-1].code:
            self._snapshot = last.snapshot
            self._arrays.clear()
        if self.state.house.contract is not None:
            raise SolventError(
                f"{self.world.name}: expected a rulebook that margins accounts as a whole, found "
                "one that margins each contract by itself"
            )

    def _note(self, row: Row, one: Applied) -> None:
        if self._other is None and one.chain != row.chain:
            raise ReplayDiverged(
                f"command {row.sequence} ({row.kind}): expected the events that were recorded, "
                "found others",
                sequence=row.sequence,
            )
        if one.code:
            self.world.rejected[row.sequence] = row.kind, one.code
        else:
            self.world.done[row.kind] += 1

    def _instead(self, command: Command, sequence: int) -> Command:
        """A command as it is told in the other world; the same object where nothing changes."""
        other = self._other
        if other is None:
            return command
        match command:
            case AdoptRulebook(name=name) if other.replaces(name):
                self.replaced = True
                day = other.day or command.day
                return msgspec.structs.replace(command, toml=other.toml, day=day)
            case PublishArrays(rulebook=name) if other.replaces(name) and name in self.state.rules:
                return msgspec.structs.replace(command, arrays=self._priced(command, sequence))
            case _:
                return command

    def _priced(self, command: PublishArrays, sequence: int) -> bytes:
        """Arrays of the market that was published last, under the rules of this world."""
        if not self._snapshot:
            raise SolventError(
                f"command {sequence} (publish_arrays): expected a published market that carries "
                "its snapshot, found none to price from"
            )
        rulebook = self.state.rules[command.rulebook].rulebook
        found = self._arrays.get(rulebook.digest)
        if found is None:
            known: dict[str, Instrument] = {
                one.listing.symbol: one.instrument for one in self.state.contracts
            }
            like = None if self._read is None else self._read.universe
            market = decode_snapshot(self._snapshot, known, like=like)
            self._read = market
            name, key, actor = command.rulebook, command.key, command.actor
            history = None if self._other is None else self._other.history
            found = publishing.arrays(
                market, rulebook, name=name, key=key, actor=actor, history=history
            ).arrays
            self._arrays[rulebook.digest] = found
        return found

    def _look(self) -> None:
        """Where everyone stands now."""
        self._published = False
        state, world = self.state, self.world
        time_ms = state.log.time_ms
        seen = [view(state, one) for one in state.accounts[FIRST_ACCOUNT:] if one is not None]
        views = [one for one in seen if has_risk(one)]
        found = standings(state, views)
        largest = world.largest
        for one, stands in zip(views, found, strict=True):
            name = one.account.name
            if stands.call or stands.liquidate:
                world.called.setdefault(name, time_ms)
            if stands.liquidate:
                world.liquidatable.setdefault(name, time_ms)
            if stands.initial_micro > largest.get(name, -1):
                largest[name] = stands.initial_micro
        first = next(iter(state.underlyings.values()), None)
        short = [-one.equity_micro for one in found if one.equity_micro < 0]
        world.points.append(
            Point(
                time_ms=time_ms, index=0.0 if first is None else first.price_nano / 1e9,
                accounts=len(views),
                called=sum(one.call or one.liquidate for one in found),
                liquidatable=sum(one.liquidate for one in found),
                unknown=sum(not one.known for one in found),
                liquidating=sum(one.account.status == LIQUIDATION for one in views),
                insolvent=len(short), shortfall_micro=sum(short),
                equity_micro=sum(one.equity_micro for one in found),
                initial_micro=sum(one.initial_micro for one in found),
                maintenance_micro=sum(one.maintenance_micro for one in found),
            )
        )  # fmt: skip


def _why(one: Applied) -> str:
    first = one.events[0]
    return first.detail if isinstance(first, Rejected) else "expected to be taken"


# ── what differs ─────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Comparison:
    """The same history in two worlds."""

    recorded: World
    other: World

    @property
    def identical(self) -> bool:
        """Whether both came out the same, every event of every command."""
        return self.recorded.chain == self.other.chain

    def rejections(self) -> list[dict[str, Any]]:
        """A row for each kind of command and code: how many in each world, and how many of those
        commands the other one accepted."""
        here, there = self.recorded.rejected, self.other.rejected
        counts = [Counter(world.values()) for world in (here, there)]
        alone = [
            Counter(what for sequence, what in one.items() if sequence not in another)
            for one, another in ((here, there), (there, here))
        ]
        return [
            {
                "kind": what[0], "code": Reject(what[1]).name,
                "recorded": counts[0][what], "other": counts[1][what],
                "only_recorded": alone[0][what], "only_other": alone[1][what],
            }
            for what in sorted(counts[0] | counts[1])
        ]  # fmt: skip

    def overlap(self, what: str) -> dict[str, int]:
        """Of accounts that were `called`, or `liquidatable`: in each world, in both, in one."""
        here, there = (set(getattr(world, what)) for world in (self.recorded, self.other))
        return {
            "recorded": len(here), "other": len(there), "both": len(here & there),
            "only_recorded": len(here - there), "only_other": len(there - here),
        }  # fmt: skip

    def differing(self) -> list[dict[str, Any]]:
        """Accounts that were called or liquidatable at other times or in one world alone, the
        largest initial margin first. Times are ms since 1970, None for never."""
        worlds = {"recorded": self.recorded, "other": self.other}
        names = dict.fromkeys(
            name for world in worlds.values() for name in (*world.called, *world.liquidatable)
        )
        rows = []
        for name in names:
            row: dict[str, Any] = {"account": name}
            for which, world in worlds.items():
                row[f"{which}_initial"] = world.largest.get(name, 0) / 1e6
                row[f"{which}_called_ms"] = world.called.get(name)
                row[f"{which}_liquidatable_ms"] = world.liquidatable.get(name)
            if any(row[f"recorded_{what}_ms"] != row[f"other_{what}_ms"]
                   for what in ("called", "liquidatable")):  # fmt: skip
                rows.append(row)
        rows.sort(key=lambda row: -max(row["recorded_initial"], row["other_initial"]))
        return rows

    def moments(self) -> dict[str, tuple[Point, Point]]:
        """Both worlds at the start, when the market was lowest, when each asked for most, and at
        the end; empty where nothing was published."""
        here, there = self.recorded.points, self.other.points
        if not here or not there:
            return {}
        # Nobody has anything at the first publications.
        first = next((place for place, one in enumerate(here) if one.accounts), 0)
        low = min(range(len(here)), key=lambda place: here[place].index)
        return {
            "start": (here[first], there[first]),
            "market lowest": (here[low], there[low]),
            "initial highest": (_highest(here), _highest(there)),
            "end": (here[-1], there[-1]),
        }

    def to_dict(self) -> dict[str, Any]:
        """Everything as one document; money in millionths of a dollar where a name says micro."""
        worlds = (self.recorded, self.other)
        differing = self.differing()
        return {
            "rulebook": self.other.name,
            "identical": self.identical,
            "commands": self.recorded.commands,
            "rejections": self.rejections(),
            "called": self.overlap("called"),
            "liquidatable": self.overlap("liquidatable"),
            "liquidations_begun": [world.done["begin_liquidation"] for world in worlds],
            "moments": {
                name: [asdict(one) for one in pair] for name, pair in self.moments().items()
            },
            "accounts_differing": len(differing),
            "accounts": differing,
            "points": [[asdict(one) for one in world.points] for world in worlds],
        }


def _highest(points: Iterable[Point]) -> Point:
    return max(points, key=lambda one: one.initial_micro)
