"""Prices of closing: how far from the mark a step may trade, and where nothing is left.

All exact. A bankruptcy price is in whole ticks and rounded in favour of the account that closes, so
that it never leaves a debt; who takes the position loses less than a tick a lot by that, and the
account keeps the rest, which goes to the insurance fund.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from solvent.engine.dealing import leg, premium_of
from solvent.engine.standing import View
from solvent.engine.state import Contract, State
from solvent.limits import POINTS_MAX
from solvent.liquidation.bankruptcy import by_maintenance, inverse_price, linear_price
from solvent.tending.fills import Fill, Ladder
from solvent.units import div_down, div_up


@dataclass(frozen=True, slots=True)
class Close:
    """All of a position at a price: what it brings its account in smallest units of its asset (a
    debt negative), and by how much less than at the mark."""

    contract: Contract
    lots: int
    """Signed as held."""
    ticks: int
    brings: int
    below_mark: int
    bounded: bool = False
    """The account has more to lose than a step may cost: the price is where the slippage ends."""

    @property
    def long(self) -> bool:
        """Whether it is sold."""
        return self.lots > 0


def mark_ticks(contract: Contract, *, up: bool) -> int:
    """The mark in whole ticks, at least one."""
    points, tick = contract.mark_points or 0, contract.deal.points_per_tick
    return max(1, div_up(points, tick) if up else div_down(points, tick))


def limit_ticks(state: State, contract: Contract, slippage: float, *, buys: bool) -> int:
    """How far a step may trade: the mark with so much slippage, inside the book's band; rounded
    towards the mark."""
    share = Fraction(repr(slippage))
    mark = Fraction(contract.mark_points or 0, contract.deal.points_per_tick)
    book = state.desk.books.get(contract.number)
    if buys:
        limit = math.floor(mark * (1 + share))
        return max(1, limit if book is None else min(limit, book.buy_max))
    limit = max(1, math.ceil(mark * (1 - share)))
    return limit if book is None else max(limit, book.sell_min)


def resting(state: State, contract: Contract, limit: int, *, buys: bool) -> Ladder:
    """What rests on the other side, no worse than a limit in ticks."""
    if contract.number not in state.desk.books:
        return Ladder(())
    bids, asks = state.desk.depth(contract.number)
    found = [
        Fill(lots, ticks) for ticks, lots, _ in (asks if buys else bids)
        if (ticks <= limit if buys else ticks >= limit) and lots and ticks > 0
    ]  # fmt: skip
    return Ladder(tuple(found))


def brings(state: State, seen: View, contract: Contract, ticks: int) -> int:
    """What closing all of a position at a price brings its account, in smallest units."""
    lots, _ = seen.positions[contract.number]
    points = ticks * contract.deal.points_per_tick
    one = leg(
        state, contract, seen.account, lots=-lots, points=points,
        premium=premium_of(contract, abs(lots), points),
    )  # fmt: skip
    return one.realised + one.premium


def at_mark(state: State, seen: View, contract: Contract) -> Close:
    """A position closed at its mark, in whole ticks in its favour."""
    lots = seen.positions[contract.number][0]
    ticks = mark_ticks(contract, up=lots > 0)
    return Close(contract, lots, ticks, brings(state, seen, contract, ticks), 0)


def at_bankruptcy(state: State, seen: View, money: Sequence[tuple[int, int]]) -> list[Close]:
    """All positions of a pool at prices that leave it nothing, and no debt.

    `money`: (asset, smallest units) that it has of its own. What it has is attributed to the
    positions that settle in the asset by their size at the mark, each part rounded down, and what
    one does not use is the next one's. A price is at least one tick: an account that owes more than
    its positions can be closed for keeps that debt.
    """
    held = dict(money)
    found: list[Close] = []
    by_asset: dict[int, list[Close]] = {}
    for number, (lots, _) in seen.positions.items():
        contract = state.contracts[number]
        if lots and contract.mark_points is not None:
            by_asset.setdefault(contract.deal.asset, []).append(at_mark(state, seen, contract))
    for asset, closes in by_asset.items():
        left = held.get(asset, 0) + sum(one.brings for one in closes)
        sizes = [total_of(one) for one in closes]
        for place, one in enumerate(closes):
            part = by_maintenance(left, sizes[place:])[0]
            moved = _moved(state, seen, one, part)
            left -= moved.below_mark
            found.append(moved)
    return found


def bounded(state: State, seen: View, one: Close, slippage: float) -> Close:
    """A close, no further from the mark to its account's harm than a step may trade."""
    limit = limit_ticks(state, one.contract, slippage, buys=not one.long)
    if one.ticks >= limit if one.long else one.ticks <= limit:
        return one
    got = brings(state, seen, one.contract, limit)
    whole = one.brings + one.below_mark
    return Close(one.contract, one.lots, limit, got, whole - got, bounded=True)


def total_of(close: Close) -> Fraction:
    """What a position stands for at its price, in smallest units."""
    deal = close.contract.deal
    points = close.ticks * deal.points_per_tick
    return abs(deal.money(deal.value(close.lots, points)))


def _moved(state: State, seen: View, one: Close, part: int) -> Close:
    """A close whose price gives `part` away, or takes that much more where it is negative."""
    ticks = _price(one, part)
    ticks = min(max(1, ticks), POINTS_MAX // one.contract.deal.points_per_tick)
    got = brings(state, seen, one.contract, ticks)
    # What the engine rounds once for all lots may be a unit short of what a price promises.
    while one.brings - got > part and ticks != _better(ticks, long=one.long):
        ticks = _better(ticks, long=one.long)
        got = brings(state, seen, one.contract, ticks)
    return Close(one.contract, one.lots, ticks, got, one.brings - got)


def _price(one: Close, part: int) -> int:
    deal = one.contract.deal
    mark, lots = one.ticks, one.lots
    if deal.coin_numerator:
        # A value unit is a thousandth of a smallest unit: `face` is money times ticks per lot.
        face = deal.money(1) * Fraction(deal.coin_numerator, deal.coin_denominator)
        found = inverse_price(
            equity=part, lots=lots, mark=mark, face=face / deal.points_per_tick
        )  # fmt: skip
    else:
        unit = deal.money(deal.points_per_tick)
        found = linear_price(equity=part, lots=lots, mark=mark, unit=unit)
    if found is None:
        # No price does it: as far as one goes.
        return POINTS_MAX if lots > 0 or part > 0 else 1
    return found


def _better(ticks: int, *, long: bool) -> int:
    """A tick in favour of who closes, where there is one."""
    return ticks + 1 if long else max(1, ticks - 1)
