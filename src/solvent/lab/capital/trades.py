"""What may be traded, in which sizes, and what a lot of it costs.

Cost is what is lost against the mark on the way in: the distance to the side of the quote that the
trade takes, and the fee; where a time to hold is told, also the carry lost by then. A premium is no
cost: its worth is held afterwards, and is told apart. A side without a quote cannot be taken; of
futures, which chains often tell without quotes, a half spread may be assumed, and the answer says
of which trades it was. How much stands at a quote is not known: limits are the caller's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from typing import Final

import numpy as np
from numpy.typing import NDArray

from solvent.instruments import Kind, Universe
from solvent.lab.capital.faults import within, wrong
from solvent.limits import LOTS_MAX
from solvent.market import Snapshot
from solvent.risk import RiskArrays
from solvent.risk.book import entry_cost
from solvent.units import DAY_MS, MICRO, Float64, quanta_per_unit, requirement_up

Int64 = NDArray[np.int64]
Int32 = NDArray[np.int32]
Bool = NDArray[np.bool_]
BPS: Final = 1e-4
NEVER: Final = 0
"""Lots of a side that cannot be traded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What trading costs besides what quotes say.

    Attributes:
        fee_bps: of the notional at the index, both ways. option_fee_cap: a fee is no more than this
            part of an option's mark; None for no cap.
        unquoted_bps: half spread of the notional that is assumed of a future without a quote; None
            leaves such futures out.
        hold_days: how long trades are to be held: the carry lost meanwhile (decay of what is
            bought, basis) is part of the cost. Carry that would be gained is not taken off.

    Raises BadInput for what is no finite number of 0 or more.
    """

    fee_bps: float = 0.0
    option_fee_cap: float | None = None
    unquoted_bps: float | None = 1.0
    hold_days: float = 0.0

    def __post_init__(self) -> None:
        for one in fields(self):
            within("hedge", f"costs.{one.name}", getattr(self, one.name))


@dataclass(frozen=True, slots=True, kw_only=True)
class Tradable:
    """Instruments that may be traded; axis: instrument. Dollars are per lot.

    Attributes:
        row: of the universe. buy_most, sell_most: lots, 0 where that side cannot be taken.
        buy_micro, sell_micro: cost of a lot in millionths of a dollar, rounded up, never negative.
        fee: of it, in dollars. premium: worth of a bought option. carry: gained a day by holding a
            lot that nothing happens to: decay of an option, basis of a dated future.
        assumed: [side, instrument] whether that side's spread is assumed, not quoted.
    """

    row: Int32
    symbol: tuple[str, ...]
    buy_most: Int64
    sell_most: Int64
    buy_micro: Int64
    sell_micro: Int64
    fee: Float64
    premium: Float64
    carry: Float64
    notional: Float64
    assumed: Bool

    def __len__(self) -> int:
        return len(self.row)

    def only(self, columns: NDArray[np.intp]) -> Tradable:
        """Some of them."""
        return Tradable(
            row=self.row[columns], symbol=tuple(self.symbol[n] for n in columns.tolist()),
            buy_most=self.buy_most[columns], sell_most=self.sell_most[columns],
            buy_micro=self.buy_micro[columns], sell_micro=self.sell_micro[columns],
            fee=self.fee[columns], premium=self.premium[columns], carry=self.carry[columns],
            notional=self.notional[columns], assumed=self.assumed[:, columns],
        )  # fmt: skip

    def cost_micro(self, lots: Int64) -> int:
        """What signed lots cost in all.

        Python's integers: the sum of large trades has no limit here.
        """
        buy, sell = np.maximum(lots, 0).tolist(), np.maximum(-lots, 0).tolist()
        sides = ((buy, self.buy_micro.tolist()), (sell, self.sell_micro.tolist()))
        return sum(int(n) * int(c) for lots, each in sides for n, c in zip(lots, each, strict=True))

    def costs_micro(self, lots: Float64) -> Float64:
        """[question] costs of signed lots [question, instrument]; integers while below 2^53."""
        return np.asarray(
            np.maximum(lots, 0.0) @ self.buy_micro.astype(np.float64)
            + np.maximum(-lots, 0.0) @ self.sell_micro.astype(np.float64)
        )


def tradable(
    market: Snapshot, arrays: RiskArrays, rows: Sequence[int], *, costs: Costs,
    limits: Mapping[str, float] | None = None, limit: float | None = None,
) -> Tradable:  # fmt: skip
    """Costs and limits of instruments.

    `limits` are the most that may be traded of an instrument either way, in the venue's unit;
    `limit` is that of all others. Raises BadInput for a limit of a stranger and for one that is no
    number of 0 or more.
    """
    universe = arrays.universe
    own = _limits(universe, rows, limits or {}, limit)
    row = np.array([one for one in rows if own[one] > 0], dtype=np.int32)
    most = np.array([own[int(one)] for one in row], dtype=np.int64)
    spread, assumed = _spreads(market, arrays, row, costs)
    fee = _fees(arrays, row, costs)
    there = np.isfinite(spread)
    carry = _carry(market, arrays, row)
    lost = np.maximum(np.stack([-carry, carry]), 0.0) * costs.hold_days
    micro = requirement_up(np.where(there, spread + fee + lost, 0.0) * MICRO)
    kept = there.any(axis=0)
    return Tradable(
        row=row[kept],
        symbol=tuple(universe.symbols[int(one)] for one in row[kept]),
        buy_most=np.where(there[0], most, NEVER)[kept],
        sell_most=np.where(there[1], most, NEVER)[kept],
        buy_micro=micro[0][kept],
        sell_micro=micro[1][kept],
        fee=fee[kept],
        premium=_dollars(arrays, "value", row)[kept],
        carry=carry[kept],
        notional=np.abs(arrays.units["notional"][row])[kept],
        assumed=assumed[:, kept],
    )


def allowed_rows(
    arrays: RiskArrays, marginable: Bool, patterns: Sequence[str] | None, held: Sequence[int],
    *, days_min: float,
) -> list[int]:  # fmt: skip
    """Rows of instruments that fit a pattern (`BTC-*-C`); without any, those of held underlyings.

    What expires within `days_min` is left out: it would have to be done again at once.
    Raises BadInput for a pattern that fits nothing, and where nothing is left.
    """
    universe = arrays.universe
    if patterns is None:
        mine = {int(universe.underlying[row]) for row in held}
        chosen = [row for row in range(len(universe)) if int(universe.underlying[row]) in mine]
    else:
        chosen = []
        for pattern in patterns:
            fits = [n for n, name in enumerate(universe.symbols) if fnmatchcase(name, pattern)]
            if not fits:
                raise wrong(
                    "hedge", "allow", "a pattern that some instrument fits, as BTC-*", pattern
                )
            chosen += fits
    left = (universe.expiry_ms - arrays.as_of_ms) / DAY_MS
    lasts = (universe.expiry_ms <= 0) | (left >= days_min)
    found = sorted({row for row in chosen if marginable[row] and lasts[row]})
    if not found:
        expected = f"an instrument that the rulebook margins and that lasts {days_min:g} days"
        raise wrong("hedge", "allow", expected, "none")
    return found


def _limits(
    universe: Universe, rows: Sequence[int], told: Mapping[str, float], limit: float | None
) -> dict[int, int]:
    strange = sorted(set(told) - {universe.symbols[row] for row in rows})
    if strange:
        raise wrong("hedge", "limits", "instruments that may be traded", strange[0])
    own = {}
    for row in rows:
        size = told.get(universe.symbols[row], limit)
        if size is not None and not 0.0 <= size < np.inf:
            raise wrong(
                "hedge", "limits", "a size of 0 or more", f"{universe.symbols[row]}={size:g}"
            )
        lots = LOTS_MAX if size is None else int(size / float(universe.lot_size[row]) + 1e-9)
        own[row] = min(lots, LOTS_MAX)
    return own


def _spreads(
    market: Snapshot, arrays: RiskArrays, row: Int32, costs: Costs
) -> tuple[Float64, Bool]:
    """[side, instrument] dollars a lot between the mark and a quote, infinite without one; and
    where that is assumed. A side that is quoted keeps its quote, however wide."""
    universe = arrays.universe
    mark = arrays.fields["mark"][row]
    sides = np.stack([market.ask[row], market.bid[row]])
    signs = np.array([1.0, -1.0])[:, None]
    one = np.ones(len(row))
    quanta = np.array([quanta_per_unit(name) for name in universe.settlements])
    price = np.array([arrays.price_of(name) for name in universe.settlements])
    dollars = (price / quanta)[universe.settlement[row]]
    with np.errstate(divide="ignore", invalid="ignore"):
        fair = entry_cost(universe, row, one, mark)
        taken = np.stack([entry_cost(universe, row, one, side) for side in sides])
    spread = np.where(sides > 0.0, np.maximum(signs * (taken - fair), 0.0) * dollars, np.inf)
    # A crossed quote is nobody's price.
    crossed = (sides[0] > 0.0) & (sides[1] > 0.0) & (sides[0] < sides[1])
    spread[:, crossed] = np.inf
    plain = np.isin(universe.kind[row], (Kind.PERPETUAL, Kind.FUTURE))
    assumed = plain & ~np.isfinite(spread)
    if costs.unquoted_bps is None:
        return spread, np.zeros_like(assumed)
    notional = np.abs(arrays.units["notional"][row])
    return np.where(assumed, costs.unquoted_bps * BPS * notional, spread), assumed


def _fees(arrays: RiskArrays, row: Int32, costs: Costs) -> Float64:
    fee = costs.fee_bps * BPS * np.abs(arrays.units["notional"][row])
    if costs.option_fee_cap is None:
        return np.asarray(fee)
    option = arrays.universe.is_option[row]
    cap = costs.option_fee_cap * np.abs(_dollars(arrays, "value", row))
    return np.where(option, np.minimum(fee, cap), fee)


def _dollars(arrays: RiskArrays, column: str, row: Int32) -> Float64:
    """A column per lot, from the settlement asset to dollars."""
    price = np.array([arrays.price_of(name) for name in arrays.universe.settlements])
    return np.asarray(arrays.units[column][row] * price[arrays.universe.settlement[row]])


def _carry(market: Snapshot, arrays: RiskArrays, row: Int32) -> Float64:
    """[instrument] dollars a day that a lot gains while no price moves."""
    universe = arrays.universe
    dated = (universe.kind[row] == Kind.FUTURE) & (universe.expiry_ms[row] > 0)
    days = np.maximum((universe.expiry_ms[row] - arrays.as_of_ms) / DAY_MS, 1.0)
    index = market.index[universe.underlying[row]]
    with np.errstate(divide="ignore", invalid="ignore"):
        basis = np.where(dated & (index > 0.0), market.forward[row] / index - 1.0, 0.0)
    rolled = -np.abs(arrays.units["notional"][row]) * basis / days
    return np.where(universe.is_option[row], _dollars(arrays, "theta", row), rolled)
