"""A scenario on the whole venue: who falls, what is missing, and what the fund could bear.

The market is moved and repriced, then everybody is margined on it, away from the engine.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from solvent.dashboard.crowd import Judged
from solvent.dashboard.gaps import Room, Shift, everywhere, shifted
from solvent.dashboard.venue_view import STATES, Stands, Urgent, stands_of
from solvent.lab.stress.scenario import load_scenario
from solvent.market import Snapshot
from solvent.solvency.classes import State as Class

_PRESETS: Final = (
    "2020-03-12", "2025-10-10", "2026-02-05", "bleed-20", "squeeze-25", "vol-double", "vol-crush",
)  # fmt: skip
_WORST: Final = 25


@dataclass(frozen=True, slots=True, kw_only=True)
class Stressed:
    """The venue before and after. `moved` [before][after] is how many accounts went where, in the
    order of `STATES`.

    Attributes:
        worst: accounts that fall and did not before, by what they would be short.
        fund_micro: the insurance fund as it is.
    """

    spot: Mapping[str, float]
    vol: float
    before: Mapping[Class, Stands]
    after: Mapping[Class, Stands]
    moved: tuple[tuple[int, ...], ...]
    worst: tuple[Urgent, ...]
    fund_micro: int
    as_of_ms: int

    @property
    def fallen(self) -> int:
        """Accounts that would be liquidated."""
        return self.after[Class.LIQUIDATE].accounts

    @property
    def shortfall_micro(self) -> int:
        """What equity would be below nothing, of all."""
        return sum(one.shortfall_micro for one in self.after.values())


def presets() -> tuple[tuple[str, float, float], ...]:
    """Title, move and factor on volatilities of some shipped scenarios: what BTC does in them, here
    of all prices. `solvent stress` runs them with each coin's own."""
    told = [load_scenario(name) for name in _PRESETS]
    moves = [one.told.of("BTC") for one in told]
    return tuple(
        (one.title, move.spot, math.exp(move.level)) for one, move in zip(told, moves, strict=True)
    )


def stress(
    rooms: Sequence[Room], market: Snapshot, *, spot: float, vol: float, underlying: str | None,
    fund_micro: int,
) -> Stressed:  # fmt: skip
    """Move one underlying or (None) all by a share, and all volatilities by a factor."""
    factor = 1.0 + spot
    moves = everywhere(market, factor) if underlying is None else {underlying: factor}
    there = shifted(market, Shift(spot=moves, vol=vol))
    before = [room.at(market) for room in rooms]
    after = [room.at(there) for room in rooms]
    return Stressed(
        spot=moves, vol=vol, before=stands_of(before), after=stands_of(after),
        moved=_moved(before, after), worst=_worst(before, after), fund_micro=fund_micro,
        as_of_ms=int(market.as_of_ms),
    )  # fmt: skip


def _moved(before: Sequence[Judged], after: Sequence[Judged]) -> tuple[tuple[int, ...], ...]:
    count = np.zeros((len(STATES), len(STATES)), dtype=np.int64)
    for was, now in zip(before, after, strict=True):
        np.add.at(count, (was.state.astype(np.int64), now.state.astype(np.int64)), 1)
    return tuple(tuple(row) for row in count.tolist())


def _worst(before: Sequence[Judged], after: Sequence[Judged]) -> tuple[Urgent, ...]:
    rows = []
    for was, now in zip(before, after, strict=True):
        new = np.flatnonzero(now.found.liquidate & ~was.found.liquidate)
        equity, maintenance = now.found.equity_micro[new], now.found.maintenance_micro[new]
        rows += [
            Urgent(
                account=now.names[int(new[place])], state=Class.LIQUIDATE,
                equity_micro=int(equity[place]), maintenance_micro=int(maintenance[place]),
            )
            for place in np.argsort(equity - maintenance, kind="stable")[:_WORST].tolist()
        ]  # fmt: skip
    rows.sort(key=lambda one: one.equity_micro - one.maintenance_micro)
    return tuple(rows[:_WORST])
