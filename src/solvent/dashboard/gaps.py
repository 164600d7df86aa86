"""What would happen if prices gapped: a ladder of the whole venue, kept live a rung at a time, and
which way the venue would stand if it took over who is near ruin.

A rung is exact: the market is repriced at the gapped price with the volatilities of now, and
everybody is margined there (`crowd.judged`). Money is in millionths of a dollar.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from solvent import api
from solvent.dashboard.crowd import Judged, Part, judged
from solvent.lab.stress.shock import Move, Shock, shocked
from solvent.margining.compile import AnyPlan, AnyRulebook
from solvent.market import Snapshot
from solvent.market.moved import moved
from solvent.solvency.exposure import Exposure, solvency_delta_by_rulebook

_DOWN: Final = (-0.5, -0.4, -0.3, -0.25, -0.2, -0.15, -0.1, -0.07, -0.05, -0.03, -0.01)
GAPS: Final = (*_DOWN, 0.0, *(-gap for gap in reversed(_DOWN)))
DELTA_GAP: Final = 0.1
"""The gap by which solvency-delta is told; a rung of the ladder."""
LIMIT_PPM: Final = 250_000
"""A gap may cost a quarter of the fund before a hedge is asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """One gap of all prices together.

    Attributes:
        fallen: accounts that would be liquidated. notional_dollars: of what these hold.
        shortfall_micro: what equity of them is below 0. as_of_ms: the market that it rests on.
    """

    gap: float
    fallen: int
    unknown: int
    notional_dollars: float
    shortfall_micro: int
    as_of_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """How a market is moved: underlying → factor on its prices; a factor on all volatilities."""

    spot: Mapping[str, float]
    vol: float = 1.0


def shifted(market: Snapshot, shift: Shift) -> Snapshot:
    """The market moved in price and volatility, as a stress moves it (`lab.stress`)."""
    level = math.log(shift.vol)
    moves = {
        name: Move(spot=shift.spot.get(name, 1.0) - 1.0, level=level)
        for name in market.universe.underlyings
    }
    return shocked(market, Shock(moves=moves))


def everywhere(market: Snapshot, factor: float) -> dict[str, float]:
    """Every underlying's price times one factor."""
    return dict.fromkeys(market.universe.underlyings, factor)


@dataclass(frozen=True, slots=True)
class Room:
    """Everybody of one rulebook, and the rulebook by which a moved market is margined."""

    part: Part
    rulebook: AnyRulebook

    def at(self, market: Snapshot) -> Judged:
        """Where all stand on another market."""
        return judged(self.part, api.prepare(market, self.rulebook))


def rung(rooms: Sequence[Room], market: Snapshot, gap: float) -> Rung:
    """Judge one gap of all prices together."""
    there = shifted(market, Shift(spot=everywhere(market, 1.0 + gap)))
    found = [room.at(there) for room in rooms]
    return Rung(
        gap=gap,
        fallen=sum(int(one.found.liquidate.sum()) for one in found),
        unknown=sum(int((~one.found.known).sum()) for one in found),
        notional_dollars=sum(float(one.notional @ one.found.liquidate) for one in found),
        shortfall_micro=sum(_shortfall(one) for one in found),
        as_of_ms=int(market.as_of_ms),
    )


def _shortfall(one: Judged) -> int:
    below = one.found.equity_micro[one.found.liquidate]
    return -int(below[below < 0].sum())


class Ladder:
    """Rungs that are made new in turn, the oldest first."""

    def __init__(self, gaps: Sequence[float] = GAPS) -> None:
        self.gaps = tuple(sorted(gaps))
        self.rungs: dict[float, Rung] = {}

    def step(self, rooms: Sequence[Room], market: Snapshot, *, budget_s: float) -> int:
        """Make rungs new for about so long, at least one; how many."""
        until_s, made = time.monotonic() + budget_s, 0
        while not made or (time.monotonic() < until_s and made < len(self.gaps)):
            gap = min(self.gaps, key=self._age)
            fresh = rung(rooms, market, gap)
            # One assignment: who reads it in another thread never sees a ladder without a rung.
            self.rungs = {one: was for one, was in self.rungs.items() if one != gap} | {gap: fresh}
            made += 1
        return made

    def told(self) -> tuple[Rung, ...]:
        """What is known so far, from the lowest price to the highest."""
        rungs = self.rungs
        return tuple(rungs[gap] for gap in self.gaps if gap in rungs)

    def _age(self, gap: float) -> int:
        order = list(self.rungs)
        return -1 if gap not in self.rungs else order.index(gap)


# ── which way the venue stands ───────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class _Figures:
    """What of a watch `solvency_delta_by_rulebook` reads."""

    close: Any
    state: Any


@dataclass(frozen=True, slots=True)
class _Seen:
    figures: _Figures
    book: Any
    plan: AnyPlan


def deltas(room: Room, now: Judged, market: Snapshot, *, buffer_micro: int) -> dict[str, Exposure]:
    """Underlying → what accounts near ruin would do to the venue, against its fund."""
    seen = cast(Any, _Seen(_Figures(now.close, now.state), room.part.told.book, now.plan))
    found = {}
    for node, name in enumerate(market.universe.underlyings):
        low, high = (
            api.prepare(moved(market, {name: 1.0 + gap}), room.rulebook)
            for gap in (-DELTA_GAP, DELTA_GAP)
        )
        found[name] = solvency_delta_by_rulebook(
            seen, node, ends=(low, high), buffer=max(buffer_micro, 0), limit_ppm=LIMIT_PPM,
            gap=DELTA_GAP,
        )  # fmt: skip
    return found
