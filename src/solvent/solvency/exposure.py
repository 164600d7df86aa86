"""Solvency-delta: which way the venue itself stands, if it had to take over who is near ruin.

Accounts near or under water, and the venue's own (its fund, its backstops), are one book. Against
the buffers that would absorb its loss stands what it loses when the price gaps either way; and the
hedge is the least amount of the underlying, in dollars, that brings that loss back to a chosen
share of the buffers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from solvent.errors import check
from solvent.limits import EXACT_MAX
from solvent.margining.compile import AnyPlan
from solvent.pricing.greeks import VOL_POINT, greeks
from solvent.risk import RiskArrays
from solvent.solvency.by_rulebook import RulebookWatch
from solvent.solvency.classes import State
from solvent.solvency.rows import DELTA, MARK, Market, Terms, exact_rows, years_of
from solvent.solvency.watch import Watch
from solvent.units import MICRO, Float64

Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """What one underlying can do to the venue; money in quanta.

    Attributes:
        accounts: how many are near or under water and hold something here.
        delta: dollars that the book gains as the price rises by its whole; gamma: how much that
            changes as it rises 1 %; vega: per vol point.
        down, up: what the book gains when the price gaps by −gap and by +gap.
        buffer: what would absorb a loss. share: the greater loss over it, 0 for none.
        hedge: dollars of the underlying to buy (sell, below 0) so that the share is within its
            limit. restored: whether any amount can do that; else the hedge makes both losses alike.
    """

    node: int
    accounts: int
    delta: int
    gamma: float
    vega: float
    down: int
    up: int
    buffer: int
    share: float
    hedge: int
    restored: bool


def near_ruin(watch: Watch) -> Int32:
    """Accounts below maintenance, or with less than a tenth of their equity above it."""
    figures = watch.figures
    near = (figures.close >= 2) & (figures.state != State.UNKNOWN)
    return np.flatnonzero(near).astype(np.int32)


def solvency_delta(
    watch: Watch, node: int, *, buffer: int, limit_ppm: int, gap: float, own: Int32 | None = None
) -> Exposure:
    """The exposure at an underlying of who is near ruin and of the venue's `own` accounts.

    `buffer` is what the fund and the backstops hold, in quanta; `limit_ppm` the share of it, in
    millionths, that a gap may cost.
    """
    from solvent.solvency import compiled

    check(0.0 < gap < 1.0, "a gap leaves a price", gap)
    check(buffer >= 0 and limit_ppm >= 0, "a buffer and a share of it", buffer, limit_ppm)
    near = near_ruin(watch)
    who = near if own is None else np.union1d(near, own).astype(np.int32)
    net, gross = np.zeros((2, len(watch.terms)))
    compiled.net_lots(watch.held.store, who, net, gross)
    which = watch.of_node[node]
    lots, mark = net[which], watch.scenes.width * 8 + MARK
    now = watch.matrix[which]
    gains = [
        _total(lots, _at(watch, node, which, change)[:, mark] - now[:, mark])
        for change in (-gap, gap)
    ]
    hedge, restored = hedge_of(gains[0], gains[1], gap=gap, limit=buffer * limit_ppm // 1_000_000)
    gamma, vega = _second(watch.terms, watch.market, which, lots)
    return Exposure(
        node=node, accounts=_holding(watch, node, near),
        delta=_total(lots, now[:, watch.scenes.width * 8 + DELTA]), gamma=gamma, vega=vega,
        down=gains[0], up=gains[1], buffer=buffer,
        share=max(-gains[0], -gains[1], 0) / max(buffer, 1), hedge=hedge, restored=restored,
    )  # fmt: skip


def solvency_delta_by_rulebook(
    watch: RulebookWatch, node: int, *, ends: tuple[AnyPlan, AnyPlan], buffer: int,
    limit_ppm: int, gap: float, own: Int32 | None = None,
) -> Exposure:  # fmt: skip
    """The same of a watch by rulebook, in millionths of a dollar; `ends` are its markets with the
    underlying's price gapped down and up, other prices as they are."""
    check(0.0 < gap < 1.0, "a gap leaves a price", gap)
    check(buffer >= 0 and limit_ppm >= 0, "a buffer and a share of it", buffer, limit_ppm)
    figures, book, arrays = watch.figures, watch.book, watch.plan.arrays
    near = (figures.close >= 2) & (figures.state != State.UNKNOWN)
    who = near.copy()
    if own is not None:
        who[own] = True
    universe = arrays.universe
    here = universe.underlying[book.instrument] == node
    held = here & who[book.account]
    lots = np.bincount(
        book.instrument[held], weights=book.lots[held], minlength=len(universe)
    ).astype(np.float64)
    gains = [round(float(lots @ _gain(arrays, end.arrays)) * MICRO) for end in ends]
    hedge, restored = hedge_of(gains[0], gains[1], gap=gap, limit=buffer * limit_ppm // 1_000_000)
    index = float(arrays.index[node])
    dollars = np.array([arrays.price_of(one) for one in universe.settlements])[universe.settlement]
    return Exposure(
        node=node, accounts=len(np.unique(book.account[here & near[book.account]])),
        delta=round(float(lots @ arrays.units["delta"]) * index * MICRO),
        gamma=float(lots @ arrays.units["gamma"]) * index * MICRO,
        vega=float(lots @ (arrays.units["vega"] * dollars)) * MICRO, down=gains[0], up=gains[1],
        buffer=buffer, share=max(-gains[0], -gains[1], 0) / max(buffer, 1), hedge=hedge,
        restored=restored,
    )  # fmt: skip


def _gain(was: RiskArrays, now: RiskArrays) -> Float64:
    """[instrument] dollars that a lot gains: an option's value, a future's difference."""
    universe = was.universe
    before, after = (
        np.array([one.price_of(name) for name in universe.settlements])[universe.settlement]
        for one in (was, now)
    )
    option = now.units["value"] * after - was.units["value"] * before
    future = (now.units["worth"] - was.units["worth"]) * after
    return np.asarray(np.where(universe.is_option, option, future), dtype=np.float64)


def hedge_of(down: int, up: int, *, gap: float, limit: int) -> tuple[int, bool]:
    """The least hedge with which neither gap loses more than `limit`, and whether there is one.

    A hedge of h dollars gains h·gap when the price rises by it and loses that when it falls. It is
    rounded to the side on which both gaps keep to the limit.

    >>> hedge_of(-500, 480, gap=0.1, limit=100)
    (-4000, True)
    >>> hedge_of(-500, -500, gap=0.1, limit=100)
    (0, False)
    """
    least, most = -(limit + up) / gap, (limit + down) / gap
    if least > most:
        return round((down - up) / (2 * gap)), False
    if least <= 0.0 <= most:
        return 0, True
    chosen = int(np.ceil(least)) if least > 0.0 else int(np.floor(most))
    return chosen, least <= chosen <= most


def _at(watch: Watch, node: int, which: Int64, change: float) -> Float64:
    price = watch.market.price.copy()
    price[node] *= 1.0 + change
    market = replace(watch.market, price=price)
    return exact_rows(watch.terms, market, watch.scenes, which)[0]


def _total(lots: Float64, per_lot: Float64) -> int:
    """Σ lots · quanta in whole numbers of any size."""
    if float(np.abs(lots) @ np.abs(per_lot)) < 0.99 * EXACT_MAX:
        return int(lots @ per_lot)
    pairs = zip(lots.tolist(), per_lot.tolist(), strict=True)
    return sum(int(one) * int(quanta) for one, quanta in pairs)


def _holding(watch: Watch, node: int, who: Int32) -> int:
    store = watch.held.store
    return sum(
        any(store.node[row] == node and store.length[row] > 0 for row in watch.held.rows_of(one))
        for one in who.tolist()
    )


def _second(terms: Terms, market: Market, which: Int64, lots: Float64) -> tuple[float, float]:
    """Gamma per 1 % and vega per vol point of a book, in quanta; of usable vanillas."""
    told = which[market.usable[which] & (terms.strike[which] > 0.0)]
    held = lots[np.isin(which, told)]
    if len(told) == 0:
        return 0.0, 0.0
    forward = market.price[terms.node[told]] * market.ratio[told]
    g = greeks(
        forward=forward, strike=terms.strike[told], years=years_of(terms, market.as_of_ms, told),
        vol=market.vol[told], side=terms.side[told], asset=terms.asset[told],
        cash=terms.cash[told],
    )  # fmt: skip
    size = np.where(terms.inverse[told], terms.size[told] / market.ratio[told], terms.size[told])
    gamma = g.gamma * forward * forward * 0.01 * size
    return float(held @ gamma), float(held @ (g.vega * VOL_POINT * size))
