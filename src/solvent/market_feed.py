"""Market data out: books as all may see them, what changes of them, and what trades were worth.

A `Feed` hears the events of one engine, or of a journal that it follows. It tells a snapshot of an
instrument's book, then every change under the next number, so that who has missed one knows it;
numbers count from when the feed was opened. Sizes and prices are in the venue's own units.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Final

from solvent.engine.state import State
from solvent.journal import Journal, Row
from solvent.messages.codec import decode_command, decode_events
from solvent.messages.commands import PublishMarket, Trade
from solvent.messages.events import Event, Numbered, OrderRested, Rejected, Traded
from solvent.order_units import Grid, decimal_of, grid_by_number, grid_of
from solvent.orders.depth import Change, DepthFeed, MarkOut, MarkOuts
from solvent.recovery import recovered, replay

HORIZONS_MS: Final = (1_000, 10_000, 60_000)
"""How long after a trade the mark is looked at, unless it is told."""


@dataclass(frozen=True, slots=True)
class LevelSize:
    """A side, a price, and the size shown there now: 0 where nothing is left."""

    side: str
    price: Decimal
    size: Decimal


@dataclass(frozen=True, slots=True)
class Print:
    """A trade; `aggressor` is the side that came last, empty in an auction."""

    price: Decimal
    size: Decimal
    aggressor: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BookChange:
    """What one command changed of a book: the levels that are others now, and its trades."""

    symbol: str
    sequence: int
    levels: tuple[LevelSize, ...]
    trades: tuple[Print, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BookSnapshot:
    """A book after change `sequence`: price and size shown, the best first."""

    symbol: str
    sequence: int
    bids: tuple[tuple[Decimal, Decimal], ...]
    asks: tuple[tuple[Decimal, Decimal], ...]


class Feed:
    """What changes of all books from when it is opened until it is closed.

    Changes are kept until they are asked for.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._depth = DepthFeed()
        self._changes: deque[Change] = deque()
        self.closed = False
        orders = [order for mine in state.desk.orders.values() for order in mine.values()]
        self._depth.apply(
            OrderRested(
                one.account, one.name, one.instrument, one.lots, one.price_ticks or 0,
                one.shown if one.lots > 0 else -one.shown,
            )
            for one in sorted(orders, key=lambda one: one.rank)
        )  # fmt: skip

    def take(self, events: Iterable[Event]) -> None:
        """Hear the events of one command."""
        self._changes.extend(self._depth.apply(events))

    def changes(self) -> list[BookChange]:
        """All changes since they were last asked for, in their order."""
        found = [self._told(change) for change in self._changes]
        self._changes.clear()
        return found

    def snapshot(self, symbol: str, levels: int | None = None) -> BookSnapshot:
        """A book as it is now, to so many levels: changes whose sequence is higher follow it."""
        grid = grid_of(self._state, symbol)
        depth = self._depth.snapshot(grid.number, levels)
        bids, asks = (
            tuple((grid.price(ticks), grid.size(lots)) for ticks, lots in side)
            for side in (depth.bids, depth.asks)
        )
        return BookSnapshot(symbol=symbol, sequence=depth.sequence, bids=bids, asks=asks)

    def close(self) -> None:
        """Hear no more."""
        self.closed = True
        self._changes.clear()

    def _told(self, change: Change) -> BookChange:
        grid = grid_by_number(self._state, change.instrument)
        return BookChange(
            symbol=grid.symbol, sequence=change.sequence,
            levels=tuple(
                LevelSize(side, grid.price(ticks), grid.size(lots))
                for side, ticks, lots in change.levels
            ),
            trades=tuple(
                Print(grid.price(ticks), grid.size(lots), aggressor)
                for ticks, lots, aggressor in change.trades
            ),
        )  # fmt: skip


class Follower:
    """A venue's state that is kept up with what another process appends to its journal."""

    def __init__(self, journal: Journal, state: State | None = None) -> None:
        self._journal = journal
        self.state = recovered(journal) if state is None else state
        self.feed = Feed(self.state)

    def advance(self) -> int:
        """Apply what has come since; how many commands. The feed has heard them."""
        rows = list(self._journal.read(after=self.state.log.sequence))
        for row in rows:
            replay(self.state, [row], decisions=False)
            self.feed.take(decode_events(row.events))
        return len(rows)


# ── what trades were worth later ─────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkOutRow:
    """How far an instrument's mark moved after trades, the taker's way: what takers gained and
    makers lost, by unit of size. Weighted by size; None where no trade is that old."""

    symbol: str
    horizon_ms: int
    trades: int
    size: Decimal
    move: Decimal | None


def mark_outs(
    journal: Journal, *, horizons_ms: Sequence[int] = HORIZONS_MS, symbol: str | None = None
) -> list[MarkOutRow]:
    """Mark-outs of all trades of a journal that had a taker, by instrument and horizon, until its
    last command. Trades that came from outside count as those of the books do."""
    return _MarkOutReader(horizons_ms).read(journal, symbol)


class _MarkOutReader:
    """Reads what mark-outs need of a journal: names, marks, trades."""

    def __init__(self, horizons_ms: Sequence[int]) -> None:
        self._marks = MarkOuts(horizons_ms)
        self._numbers: dict[str, int] = {}
        self._traded: dict[int, None] = {}

    def read(self, journal: Journal, symbol: str | None) -> list[MarkOutRow]:
        time_ms = 0
        for row in journal.read(verify=False):
            time_ms = row.time_ms
            self._take(row)
        state = recovered(journal)
        wanted = list(self._traded) if symbol is None else [grid_of(state, symbol).number]
        return [
            _row(grid_by_number(state, number), one)
            for number in sorted(wanted)
            # The last command's own time counts as well.
            for one in self._marks.found(number, time_ms=time_ms + 1)
        ]

    def _take(self, row: Row) -> None:
        events = decode_events(row.events)
        if events and isinstance(events[0], Rejected):
            return
        if row.kind in ("publish_market", "trade"):
            self._command(row)
        for event in events:
            if isinstance(event, Numbered) and event.kind == "instrument":
                self._numbers[event.name] = event.number
            elif isinstance(event, Traded):
                self._trade(event, row.time_ms)

    def _command(self, row: Row) -> None:
        command = decode_command(row.command)
        if isinstance(command, PublishMarket):
            for mark in command.marks:
                self._marks.marked(
                    self._numbers[mark.symbol], mark_points=mark.mark_points, time_ms=row.time_ms
                )
        elif isinstance(command, Trade):
            self._trade(
                Traded(
                    self._numbers[command.symbol], command.price_ticks, command.lots, 0, "", 0, "",
                    str(command.aggressor or ""),
                ),
                row.time_ms,
            )  # fmt: skip

    def _trade(self, event: Traded, time_ms: int) -> None:
        self._marks.traded(event, time_ms=time_ms)
        if event.aggressor:
            self._traded[event.instrument] = None


def _row(grid: Grid, one: MarkOut) -> MarkOutRow:
    mean = one.mean_points
    return MarkOutRow(
        symbol=grid.symbol, horizon_ms=one.horizon_ms, trades=one.count, size=grid.size(one.lots),
        move=None if mean is None else decimal_of(Fraction(mean) * grid.point),
    )  # fmt: skip
