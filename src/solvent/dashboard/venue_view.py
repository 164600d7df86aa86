"""What the Venue page shows, computed from copies: no engine, no browser.

Money is in millionths of a dollar (`_micro`) unless a name says `_dollars`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np

from solvent.dashboard.crowd import Judged
from solvent.dashboard.gaps import Rung
from solvent.market import Snapshot
from solvent.solvency.classes import State as Class
from solvent.solvency.exposure import Exposure

STATES: Final = (Class.HEALTHY, Class.WARNING, Class.CALL, Class.LIQUIDATE, Class.UNKNOWN)
POINTS_MAX: Final = 360
"""Points of a history that are kept; the oldest go."""
_LEVELS: Final = 44
_REACH: Final = (0.5, 1.3)
"""The heat map's prices, as shares of the first one seen."""
_VOL_DAYS: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stands:
    """How many accounts stand in a state, and their money."""

    accounts: int = 0
    equity_micro: int = 0
    initial_micro: int = 0
    maintenance_micro: int = 0
    shortfall_micro: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Urgent:
    """One account that is not healthy."""

    account: str
    state: Class
    equity_micro: int
    maintenance_micro: int

    @property
    def share(self) -> float | None:
        """Health over equity; None without any."""
        room = self.equity_micro - self.maintenance_micro
        return room / self.equity_micro if self.equity_micro > 0 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One moment of a history."""

    time_ms: int
    prices: Mapping[str, float]
    vols: Mapping[str, float]
    counts: tuple[int, ...]
    equity_micro: int
    initial_micro: int
    maintenance_micro: int
    fund_micro: int
    liquidated: int
    at_risk_dollars: float
    """What stands in accounts near ruin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """Something that happened to an account, in words; `kind` is `call`, `warning`, `liquidation`,
    `loss` or `well`."""

    sequence: int
    time_ms: int
    kind: str
    account: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Milliseconds from a command that is durable to figures of all accounts, of the last ones."""

    count: int
    half_ms: float
    most_ms: float
    """The 99th percentile."""
    judge_ms: float
    """What margining everybody took, the last time."""
    page_ms: float
    """To a page that is open, half of them; 0 while none is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VenueView:
    """The venue at one command, as the page shows it.

    Attributes:
        version: rises with every view. loaded: accounts that are copied, of `accounts`.
        stale: rulebooks whose arrays are absent or too old: their accounts are UNKNOWN.
        ordered: accounts with orders that the totals of initial margin leave out.
    """

    version: int
    sequence: int
    time_ms: int
    accounts: int
    loaded: int
    prices: Mapping[str, float]
    vols: Mapping[str, float]
    stands: Mapping[Class, Stands]
    urgent: tuple[Urgent, ...]
    ladder: tuple[Rung, ...]
    deltas: Mapping[str, Exposure]
    fund_micro: Mapping[str, int]
    rulebooks: tuple[str, ...]
    stale: tuple[str, ...]
    liquidating: int
    calls: int
    orders: int
    ordered: int
    positions: int
    history: tuple[Point, ...]
    heat: HeatMap | None
    news: tuple[News, ...]
    latency: Latency
    arrived_s: float
    """When the oldest publication that it first shows had arrived (`time.perf_counter`); 0 where
    none is new."""

    @property
    def fund_total_micro(self) -> int:
        """The insurance fund in all assets."""
        return sum(self.fund_micro.values())

    @property
    def total(self) -> Stands:
        """All states together."""
        rows = list(self.stands.values())
        return Stands(
            accounts=sum(one.accounts for one in rows),
            equity_micro=sum(one.equity_micro for one in rows),
            initial_micro=sum(one.initial_micro for one in rows),
            maintenance_micro=sum(one.maintenance_micro for one in rows),
            shortfall_micro=sum(one.shortfall_micro for one in rows),
        )


def stands_of(found: Sequence[Judged]) -> dict[Class, Stands]:
    """Counts and money by state; an unknown account has no money."""
    return {state: _stands(found, state) for state in STATES}


def _stands(found: Sequence[Judged], state: Class) -> Stands:
    accounts, money = 0, [0, 0, 0, 0]
    for one in found:
        mine = one.state == state
        accounts += int(mine.sum())
        equity = one.found.equity_micro[mine]
        for place, column in enumerate(
            (equity, one.found.initial_micro[mine], one.found.maintenance_micro[mine],
             np.maximum(-equity, 0))
        ):  # fmt: skip
            money[place] += int(column.sum())
    return Stands(
        accounts=accounts, equity_micro=money[0], initial_micro=money[1],
        maintenance_micro=money[2], shortfall_micro=money[3],
    )  # fmt: skip


def urgent_of(found: Sequence[Judged], *, most: int) -> tuple[Urgent, ...]:
    """The accounts nearest to ruin, over all rulebooks."""
    rows = [
        Urgent(
            account=one.names[place], state=Class(int(one.state[place])),
            equity_micro=int(one.found.equity_micro[place]),
            maintenance_micro=int(one.found.maintenance_micro[place]),
        )
        for one in found for place in one.worst(most).tolist()
    ]  # fmt: skip
    rows.sort(key=lambda row: (-int(row.state), -2.0 if row.share is None else row.share))
    return tuple(rows[:most])


def at_risk_dollars(found: Sequence[Judged]) -> float:
    """What accounts near or under water hold, without signs, in dollars at the index."""
    return sum(float(one.notional @ (one.close >= 2)) for one in found)


def vols_of(market: Snapshot) -> dict[str, float]:
    """Underlying → volatility at the money of the expiry nearest to thirty days; those without
    options have none."""
    universe = market.universe
    strikes = np.array([float(one.contract.strike or 0) for one in universe.instruments])
    found = {}
    for code, name in enumerate(universe.underlyings):
        mine = np.flatnonzero(
            universe.is_option & (universe.underlying == code) & (market.vol > 0)
            & (market.forward > 0)
        )  # fmt: skip
        if not len(mine):
            continue
        days = np.abs(market.years[mine] * 365.0 - _VOL_DAYS)
        mine = mine[days <= days.min() + 1e-9]
        away = np.abs(np.log(strikes[mine] / market.forward[mine]))
        found[name] = float(market.vol[mine[int(np.argmin(away))]])
    return found


# ── the heat map of liquidations by price ────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class HeatMap:
    """Dollars that would be liquidated, by time and by price of one underlying while all prices
    move together.

    Attributes:
        edges: [level + 1] prices. columns: (time, price then, [level] dollars).
    """

    underlying: str
    edges: tuple[float, ...]
    columns: tuple[tuple[int, float, tuple[float, ...]], ...]


class HeatMaps:
    """Columns of the heat map, one for each moment that the ladder was whole."""

    def __init__(self, *, most: int = 90) -> None:
        self._columns: deque[tuple[int, float, tuple[float, ...]]] = deque(maxlen=most)
        self._edges: tuple[float, ...] = ()
        self._underlying = ""

    def add(self, time_ms: int, underlying: str, price: float, ladder: Sequence[Rung]) -> None:
        """Another moment; a ladder without a rung at the price of now says nothing yet."""
        if underlying != self._underlying or not self._edges:
            self._columns.clear()
            low, high = (share * price for share in _REACH)
            self._edges = tuple(np.linspace(low, high, _LEVELS + 1).tolist())
            self._underlying = underlying
        self._columns.append((time_ms, price, spread(ladder, price, self._edges)))

    def told(self) -> HeatMap | None:
        """The map so far; None before the first moment."""
        if not self._columns:
            return None
        return HeatMap(underlying=self._underlying, edges=self._edges, columns=tuple(self._columns))


def spread(ladder: Sequence[Rung], price: float, edges: Sequence[float]) -> tuple[float, ...]:
    """[level] dollars that fall between two rungs, spread evenly over the prices between them.

    What falls at a gap and had not at the gap before it, away from the price of now; never below
    nothing, as two rungs may rest on moments that differ.

    >>> def at(gap, dollars):
    ...     return Rung(gap=gap, fallen=0, unknown=0, notional_dollars=dollars, shortfall_micro=0,
    ...                 as_of_ms=0)
    >>> spread([at(-0.2, 30.0), at(-0.1, 10.0), at(0.0, 10.0)], 100.0, (80.0, 85.0, 90.0, 95.0))
    (10.0, 10.0, 0.0)
    """
    found = np.zeros(len(edges) - 1)
    low, high = np.asarray(edges[:-1]), np.asarray(edges[1:])
    down = sorted((one for one in ladder if one.gap <= 0.0), key=lambda one: -one.gap)
    up = sorted((one for one in ladder if one.gap >= 0.0), key=lambda one: one.gap)
    for side in (down, up):
        for near, far in pairwise(side):
            more = max(far.notional_dollars - near.notional_dollars, 0.0)
            first, last = sorted((price * (1.0 + near.gap), price * (1.0 + far.gap)))
            share = np.clip(np.minimum(high, last) - np.maximum(low, first), 0.0, None)
            found += more * share / (last - first)
    return tuple(np.round(found, 6).tolist())
