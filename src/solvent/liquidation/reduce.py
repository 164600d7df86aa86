"""How much of a position goes: the least that restores a target, or what a venue's schedule says.

Lots here are counted without sign. A schedule never asks for more than is held; each rounding says
whom it favours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

from solvent.errors import check
from solvent.units import div_up

# ── the least that is enough ─────────────────────────────────────────────────────────────────────


def linear_minimum(
    health: Fraction | int, gain: Fraction | int, most: int, *, target: Fraction | int = 0
) -> int | None:
    """Lots after which a health that grows by `gain` a lot is at its target; None if `most` is not.

    health + n·gain >= target, the smallest such n: rounded up, as one lot less is not enough.

    >>> linear_minimum(-100, 30, 10), linear_minimum(5, 30, 10), linear_minimum(-100, 30, 3)
    (4, 0, None)
    """
    check(most >= 0, "a position is counted without sign", most)
    if health >= target:
        return 0
    if gain <= 0:
        return None
    lots = math.ceil(Fraction(target - health) / gain)
    return lots if lots <= most else None


def smallest(good: Callable[[int], bool], most: int) -> int | None:
    """Lots n with good(n) and, for n > 0, not good(n − 1); None where not even `most` is good.

    `good` is the account's own condition after n lots have gone. Where it gets better with each
    lot this is the least that is enough. It is asked about 2·log2(n) times.

    >>> smallest(lambda lots: lots * lots >= 50, 100), smallest(lambda lots: lots > 200, 100)
    (8, None)
    """
    check(most >= 0, "a position is counted without sign", most)
    if good(0):
        return 0
    if not good(most):
        return None
    bad, high = 0, 1
    while high < most and not good(high):
        bad, high = high, 2 * high
    high = min(high, most)
    while high - bad > 1:
        middle = (bad + high) // 2
        if good(middle):
            high = middle
        else:
            bad = middle
    return high


# ── by tier, by fraction ─────────────────────────────────────────────────────────────────────────


def step_down(lots: int, tiers: Sequence[int], steps: int) -> int:
    """Lots above the top of the tier `steps` below the position's own; all of it in the lowest.

    `tiers` are the most lots of each tier, rising; beyond the last is the last tier. OKX steps down
    two tiers from the third on, BitMEX one.

    >>> tiers = (10, 50, 200, 1_000)
    >>> step_down(700, tiers, 2), step_down(150, tiers, 2), step_down(40, tiers, 2)
    (650, 140, 40)
    >>> step_down(700, tiers, 1), step_down(9, tiers, 1)
    (500, 9)
    """
    check(lots >= 0 and steps >= 1, "a step down", lots, steps)
    check(list(tiers) == sorted(set(tiers)) and len(tiers) > 0, "tiers rise", tuple(tiers))
    tier = next((row for row, top in enumerate(tiers) if lots <= top), len(tiers) - 1)
    return lots - tiers[tier - steps] if tier >= steps else lots


@dataclass(frozen=True, slots=True, kw_only=True)
class Slices:
    """A share of the position at a time, with a pause in between.

    Hyperliquid: a fifth above 100,000 USDC, a pause of 30 s, then the whole. Paradex: fifths.
    """

    fraction: Fraction
    whole_at_micro: int
    """Notional at or below which the whole goes at once."""
    cooldown_ms: int
    then_whole: bool
    """After the pause: the whole, or another slice."""
    waits: bool = True
    """During the pause nothing goes; where it does not wait, the whole goes."""

    def __post_init__(self) -> None:
        check(0 < self.fraction <= 1, "a slice is a share", self.fraction)
        check(self.whole_at_micro >= 0 and self.cooldown_ms >= 0, "no limit is negative")


def next_slice(
    lots: int, notional_micro: int, rule: Slices, *, last_ms: int | None, time_ms: int
) -> int:
    """Lots that go now; `last_ms` is when the last slice of this liquidation went, None for none.

    A share is rounded up, so that the last lot goes too.

    >>> rule = Slices(fraction=Fraction(1, 5), whole_at_micro=100_000_000_000, cooldown_ms=30_000,
    ...     then_whole=True)
    >>> [next_slice(101, 150_000_000_000, rule, last_ms=last, time_ms=40_000)
    ...     for last in (None, 20_000, 10_000)]
    [21, 0, 101]
    """
    check(lots >= 0 and notional_micro >= 0, "a position is counted without sign", lots)
    if notional_micro <= rule.whole_at_micro:
        return lots
    part = div_up(lots * rule.fraction.numerator, rule.fraction.denominator)
    if last_ms is None:
        return part
    if time_ms < last_ms + rule.cooldown_ms:
        return 0 if rule.waits else lots
    return lots if rule.then_whole else part


# ── Vega's disposal of what the network holds ────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class Disposal:
    """Vega's liquidation strategy: how fast, and how much of the book at a time."""

    fraction: Fraction
    full_lots: int
    """At or below this all goes."""
    book_share: Fraction
    """Of the volume that stands in reach."""
    slippage: Fraction
    step_ms: int

    def __post_init__(self) -> None:
        check(0 < self.fraction <= 1 and self.full_lots >= 0, "a disposal goes on", self)
        check(self.book_share > 0 and self.slippage >= 0 and self.step_ms >= 0, "in reach", self)


def disposal(lots: int, book_lots: int, rule: Disposal) -> int:
    """Lots to dispose of now, both shares rounded up.

    >>> rule = Disposal(fraction=Fraction(1, 2), full_lots=50, book_share=Fraction(1, 100),
    ...     slippage=Fraction(1, 10), step_ms=10_000)
    >>> [disposal(lots, 10_000, rule) for lots in (280, 180, 90, 45)]
    [100, 90, 45, 45]
    """
    check(lots >= 0 and book_lots >= 0, "lots are counted without sign", lots, book_lots)
    wanted = lots if lots <= rule.full_lots else math.ceil(lots * rule.fraction)
    return min(wanted, math.ceil(book_lots * rule.book_share), lots)


def disposal_range(
    mid: int, slippage: Fraction, *, lowest: int | None = None, highest: int | None = None
) -> tuple[int, int]:
    """Prices within which a disposal may trade: around the mid, inside the market's own bounds.

    Ticks, floored; a price is never below 0.

    >>> disposal_range(1_005, Fraction(1, 10), lowest=950)
    (950, 1105)
    """
    check(mid >= 0 and slippage >= 0, "a range has a middle", mid, slippage)
    low, high = max(0, math.floor(mid * (1 - slippage))), math.floor(mid * (1 + slippage))
    if lowest is not None:
        low = max(low, lowest)
    if highest is not None:
        high = min(high, highest)
    return low, high


# ── dYdX's limits of a block ─────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockLimits:
    """dYdX v4: what one block may liquidate of a position and of an account."""

    portion_ppm: int
    """Of the position's notional."""
    position_micro_min: int
    """Notional of a position that may always go."""
    account_micro_max: int

    def __post_init__(self) -> None:
        check(0 < self.portion_ppm <= 1_000_000, "a portion", self.portion_ppm)
        check(self.position_micro_min >= 0 and self.account_micro_max >= 0, "limits", self)


def block_lots(lots: int, notional_micro: int, limits: BlockLimits, *, taken_micro: int = 0) -> int:
    """Lots that may go in this block; `taken_micro` is what has gone of the account already.

    The larger of the portion and the least notional, no more than the position or than what is
    left for the account; rounded down to whole lots, but one lot where the limits allow any: else
    a lot larger than a portion could never go.

    >>> limits = BlockLimits(portion_ppm=100_000, position_micro_min=1_000_000_000,
    ...     account_micro_max=100_000_000_000)
    >>> block_lots(500, 50_000_000_000, limits), block_lots(50, 900_000_000, limits)
    (50, 50)
    >>> block_lots(500, 50_000_000_000, limits, taken_micro=99_000_000_000)
    10
    """
    check(lots >= 0 and notional_micro >= 0 and taken_micro >= 0, "no sign", lots, notional_micro)
    if not lots or not notional_micro:
        return lots
    portion = notional_micro * limits.portion_ppm // 1_000_000
    may = min(notional_micro, max(portion, limits.position_micro_min))
    may = min(may, limits.account_micro_max - taken_micro)
    return min(lots, max(1, lots * may // notional_micro)) if may > 0 else 0


# ── books of options ─────────────────────────────────────────────────────────────────────────────


class Candidate(NamedTuple):
    """A trade that could be done next for an account in liquidation."""

    symbol: str
    lots: int
    """Signed, as traded."""
    improvement_micro: int
    """Of the binding scenario."""
    cost_micro: int
    """Against fair value; not above 0 where the trade earns money."""
    leaves_worse: bool
    """The rest of the book would be worse off than before, by the account's own condition."""
    opens: bool = False
    """It opens a position: a future that hedges delta."""


def best_step(candidates: Sequence[Candidate], *, may_open: bool) -> Candidate | None:
    """The trade that improves the binding scenario most per unit of cost; None where none may be.

    Never one that leaves the rest worse off. Free ones go first, the cheapest first; of equals the
    one that improves more, then the first.

    >>> future = Candidate("F", -5, 900, 30, leaves_worse=False, opens=True)
    >>> option = Candidate("C", 2, 400, 20, leaves_worse=False)
    >>> [best_step([option, future], may_open=may).symbol for may in (True, False)]
    ['F', 'C']
    """
    may = [
        one
        for one in candidates
        if one.improvement_micro > 0 and not one.leaves_worse and (may_open or not one.opens)
    ]

    def worth(one: Candidate) -> tuple[int, Fraction, int]:
        if one.cost_micro <= 0:
            return 1, Fraction(-one.cost_micro), one.improvement_micro
        return 0, Fraction(one.improvement_micro, one.cost_micro), one.improvement_micro

    return max(may, key=worth, default=None)
