"""What all may see of the books, found from the events alone; and what trades were worth later.

`DepthFeed` takes the events of one command after another and tells what they changed: of each
instrument the levels whose shown lots are others now, and its trades, under a number that counts
from 1. Who has a snapshot and applies every later change has the same book.

`MarkOuts` tells how far the mark moved after trades, the aggressor's way: positive is what the
taker gained by it and the maker lost. Prices are in ticks, marks in points, lots without sign,
times in milliseconds.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Final

from msgspec import Struct

from solvent.errors import check
from solvent.messages.events import Delisted, Event, OrderReduced, OrderRested, Traded
from solvent.messages.fields import Side

BUY: Final = str(Side.BUY)
SELL: Final = str(Side.SELL)
Shown = tuple[int, int]
"""Price in ticks, lots that all orders at it show."""
LevelChange = tuple[str, int, int]
"""Side, price in ticks, lots shown now: 0 where the level is gone."""
Print = tuple[int, int, str]
"""A trade: price in ticks, lots, side of the aggressor, empty in an auction."""


class Change(Struct, frozen=True, array_like=True):
    """What one command changed of an instrument's book: bids, then asks, the best first."""

    instrument: int
    sequence: int
    levels: tuple[LevelChange, ...]
    trades: tuple[Print, ...]


class Depth(Struct, frozen=True, array_like=True):
    """An instrument's book after change `sequence`, the best first on both sides."""

    instrument: int
    sequence: int
    bids: tuple[Shown, ...]
    asks: tuple[Shown, ...]


class _Side:
    """Shown lots by key: the price of a bid, minus the price of an ask; the best key is last."""

    __slots__ = ("keys", "lots")

    def __init__(self) -> None:
        self.keys: list[int] = []
        self.lots: dict[int, int] = {}

    def add(self, key: int, lots: int) -> None:
        """So many lots more are shown, or fewer."""
        before = self.lots.get(key, 0)
        after = before + lots
        if after:
            self.lots[key] = after
            if not before:
                insort(self.keys, key)
        else:
            del self.lots[key]
            del self.keys[bisect_left(self.keys, key)]


class _Instrument:
    """What is shown of one book, and what the command at hand has changed so far."""

    __slots__ = ("asks", "before", "bids", "sequence", "trades")

    def __init__(self) -> None:
        self.sequence = 0
        self.bids = _Side()
        self.asks = _Side()
        self.before: dict[tuple[bool, int], int] = {}
        self.trades: list[Print] = []

    def add(self, bids: bool, key: int, lots: int) -> None:
        """So many lots more are shown at a key of a side."""
        side = self.bids if bids else self.asks
        self.before.setdefault((bids, key), side.lots.get(key, 0))
        side.add(key, lots)

    def change(self, instrument: int) -> Change | None:
        """What has changed since it was last asked; None where all is as it was."""
        levels = []
        # The best first: bids (true) and high keys before others.
        for (bids, key), before in sorted(self.before.items(), reverse=True):
            lots = (self.bids if bids else self.asks).lots.get(key, 0)
            if lots != before:
                levels.append((BUY, key, lots) if bids else (SELL, -key, lots))
        trades = tuple(self.trades)
        self.before.clear()
        self.trades.clear()
        if not levels and not trades:
            return None
        self.sequence += 1
        return Change(instrument, self.sequence, tuple(levels), trades)


class DepthFeed:
    """All books as they show themselves, and what changes of them."""

    def __init__(self) -> None:
        self._instruments: dict[int, _Instrument] = {}
        # Of every order that rests: instrument, whether it buys, key, lots shown.
        self._orders: dict[tuple[int, str], tuple[int, bool, int, int]] = {}

    def apply(self, events: Iterable[Event]) -> list[Change]:
        """Take in the events of one command: what they changed, of each instrument once."""
        touched: dict[int, _Instrument] = {}
        for event in events:
            if isinstance(event, OrderRested):
                bids = event.shown > 0
                key = event.price_ticks if bids else -event.price_ticks
                place = event.instrument, bids, key, abs(event.shown)
                self._orders[event.account, event.order] = place
                self._touch(touched, event.instrument).add(bids, key, abs(event.shown))
            elif isinstance(event, OrderReduced):
                instrument, bids, key, before = self._orders.pop((event.account, event.order))
                if event.lots:
                    place = instrument, bids, key, abs(event.shown)
                    self._orders[event.account, event.order] = place
                self._touch(touched, instrument).add(bids, key, abs(event.shown) - before)
            elif isinstance(event, Traded):
                trade = event.price_ticks, event.lots, event.aggressor
                self._touch(touched, event.instrument).trades.append(trade)
            elif isinstance(event, Delisted):
                self._instruments.pop(event.instrument, None)
                touched.pop(event.instrument, None)
        changes = (one.change(instrument) for instrument, one in touched.items())
        return [change for change in changes if change is not None]

    def snapshot(self, instrument: int, levels: int | None = None) -> Depth:
        """An instrument's book as it is now, to so many levels; to be followed by changes whose
        sequence is higher."""
        one = self._instruments.get(instrument) or _Instrument()
        bids = [(key, one.bids.lots[key]) for key in one.bids.keys[::-1][:levels]]
        asks = [(-key, one.asks.lots[key]) for key in one.asks.keys[::-1][:levels]]
        return Depth(instrument, one.sequence, tuple(bids), tuple(asks))

    def best(self, instrument: int) -> tuple[Shown | None, Shown | None]:
        """The best bid and the best ask: price in ticks and lots shown."""
        depth = self.snapshot(instrument, 1)
        return depth.bids[0] if depth.bids else None, depth.asks[0] if depth.asks else None

    def _touch(self, touched: dict[int, _Instrument], instrument: int) -> _Instrument:
        one = self._instruments.get(instrument)
        if one is None:
            one = self._instruments[instrument] = _Instrument()
        touched[instrument] = one
        return one


# ── what trades were worth later ─────────────────────────────────────────────────────────────────


class MarkOut(Struct, frozen=True):
    """Of all trades of an instrument whose horizon has passed.

    `mean_points` is the mean move, each trade weighted by its lots; None where there is no trade.
    """

    horizon_ms: int
    count: int
    lots: int
    mean_points: Fraction | None


class _Horizon:
    """Trades that wait for a horizon to pass, and the sums of those for which it has."""

    __slots__ = ("count", "lots", "lots_points", "waiting")

    def __init__(self) -> None:
        # When it passes, lots with the sign of the aggressor, mark when it traded.
        self.waiting: deque[tuple[int, int, int]] = deque()
        self.count = 0
        self.lots = 0
        self.lots_points = 0

    def pass_until(self, time_ms: int, mark_points: int) -> None:
        """Count those that passed before a time, when the mark was this."""
        while self.waiting and self.waiting[0][0] < time_ms:
            _, lots, from_points = self.waiting.popleft()
            self.count += 1
            self.lots += abs(lots)
            self.lots_points += lots * (mark_points - from_points)


class MarkOuts:
    """How far the mark moved after trades, by instrument and horizon.

    A trade counts from the mark in force when it happens to the one in force a horizon later, the
    last that was told at that very time or before. Trades without an aggressor (auctions) and
    before the first mark do not count. Times never go back.
    """

    def __init__(self, horizons_ms: Sequence[int]) -> None:
        self.horizons_ms = tuple(horizons_ms)
        self._marks: dict[int, int] = {}
        self._horizons: dict[int, tuple[_Horizon, ...]] = {}
        self._time_ms = 0

    def marked(self, instrument: int, *, mark_points: int, time_ms: int) -> None:
        """A mark is published."""
        self._pass(instrument, time_ms)
        self._marks[instrument] = mark_points

    def traded(self, event: Traded, *, time_ms: int) -> None:
        """A trade happens."""
        instrument = event.instrument
        self._pass(instrument, time_ms)
        mark_points = self._marks.get(instrument)
        if mark_points is None or not event.aggressor:
            return
        horizons = self._horizons.get(instrument)
        if horizons is None:
            horizons = self._horizons[instrument] = tuple(_Horizon() for _ in self.horizons_ms)
        lots = event.lots if event.aggressor == BUY else -event.lots
        for horizon_ms, horizon in zip(self.horizons_ms, horizons, strict=True):
            horizon.waiting.append((time_ms + horizon_ms, lots, mark_points))

    def found(self, instrument: int, *, time_ms: int) -> list[MarkOut]:
        """What is known of an instrument before a time, by horizon in the order given."""
        self._pass(instrument, time_ms)
        horizons = self._horizons.get(instrument) or tuple(_Horizon() for _ in self.horizons_ms)
        return [
            MarkOut(
                horizon_ms,
                one.count,
                one.lots,
                Fraction(one.lots_points, one.lots) if one.lots else None,
            )
            for horizon_ms, one in zip(self.horizons_ms, horizons, strict=True)
        ]

    def _pass(self, instrument: int, time_ms: int) -> None:
        check(time_ms >= self._time_ms, "times never go back", self._time_ms, time_ms)
        self._time_ms = time_ms
        mark_points = self._marks.get(instrument)
        if mark_points is not None:
            for horizon in self._horizons.get(instrument, ()):
                horizon.pass_until(time_ms, mark_points)
