"""Warnings and margin calls: how near an account is to liquidation, and what it is asked for.

The distance to liquidation is (equity − maintenance margin) / equity: 1 where nothing is required,
0 where liquidation begins. Amounts are millionths of a dollar, times milliseconds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from typing import Final, NamedTuple

from solvent.errors import check

BELOW_ALL: Final = Fraction(-1)
"""The distance of an account that has no equity to speak of."""
MET, LIFTED, UNMET = "met", "lifted", "unmet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Levels:
    """Distances at which an account is told, falling; the last is a margin call.

    A level is entered at its distance, and left only `hysteresis` above it. Where `when_short`, the
    last is entered as soon as initial margin is not there, however far away liquidation is.
    """

    distances: tuple[Fraction, ...]
    hysteresis: Fraction
    deadline_ms: int
    when_short: bool = False

    def __post_init__(self) -> None:
        told = self.distances
        check(len(told) > 0, "there is a level")
        check(all(a > b for a, b in pairwise(told)), "distances fall", told)
        check(self.hysteresis > 0, "what is left is left further away", self.hysteresis)
        check(told[-1] > 0 and told[0] + self.hysteresis <= 1, "a level can be left", told)
        check(self.deadline_ms > 0, "there is time to answer", self.deadline_ms)

    @property
    def last(self) -> int:
        """The level that is a margin call."""
        return len(self.distances)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What an account has been told. A warning asks for nothing and has no deadline."""

    level: int
    """From 1, the higher the nearer to liquidation."""
    since_ms: int
    amount_micro: int = 0
    """What restores initial margin, now."""
    deadline_ms: int | None = None
    overdue: bool = False
    pool: int = -1
    """The isolated contract that it is about; −1 of all that an account holds together."""

    @property
    def asks(self) -> bool:
        """A margin call, not a warning."""
        return self.deadline_ms is not None


class Reviewed(NamedTuple):
    """What stands after a review, and what became of what stood before it.

    `ended`: `met` (the margin is there), `lifted` (further from liquidation again, no margin
    needed for it), `unmet` (the deadline has passed: said once, and the call stands), or nothing.
    """

    call: Call | None
    ended: str


def distance(equity_micro: int, maintenance_micro: int) -> Fraction:
    """How far from liquidation, as a share of equity.

    >>> str(distance(1_000, 900)), str(distance(1_000, 0)), str(distance(0, 0))
    ('1/10', '1', '1')
    >>> distance(0, 5) == distance(-3, 0) == BELOW_ALL
    True
    """
    if equity_micro < 0 or (equity_micro == 0 and maintenance_micro > 0):
        return BELOW_ALL
    if maintenance_micro <= 0:
        return Fraction(1)
    return Fraction(equity_micro - maintenance_micro, equity_micro)


def review(
    was: Call | None,
    *,
    equity_micro: int,
    initial_micro: int,
    maintenance_micro: int,
    time_ms: int,
    levels: Levels,
    credit_micro: int = 0,
) -> Reviewed:
    """What an account is told now. A margin call keeps its deadline while it stands.

    The distance is measured on what stands behind the account: its equity and what is lent to it.

    Its amount is what restores initial margin at the moment: it grows and falls with the need, and
    is never below it. An account whose initial margin is there is not called, only warned.

    >>> levels = Levels(distances=(Fraction(1, 5), Fraction(1, 10)), hysteresis=Fraction(1, 50),
    ...     deadline_ms=1_000)
    >>> found = review(None, equity_micro=1_000, initial_micro=1_400, maintenance_micro=950,
    ...     time_ms=7, levels=levels)
    >>> found.call.level, found.call.amount_micro, found.call.deadline_ms
    (2, 400, 1007)
    """
    need = max(0, initial_micro - equity_micro)
    away = distance(equity_micro + credit_micro, maintenance_micro + credit_micro)
    level = _level(was, away, levels)
    if level == levels.last and not need:
        level -= 1
    elif need and levels.when_short:
        level = levels.last
    if was is not None and was.asks:
        if not need:
            return Reviewed(_warning(None, level, time_ms), MET)
        if level < levels.last:
            return Reviewed(_warning(None, level, time_ms), LIFTED)
        passed = was.deadline_ms is not None and time_ms >= was.deadline_ms
        call = replace(was, amount_micro=need, overdue=was.overdue or passed)
        return Reviewed(call, UNMET if passed and not was.overdue else "")
    if level == levels.last:
        deadline = time_ms + levels.deadline_ms
        call = Call(level=level, since_ms=time_ms, amount_micro=need, deadline_ms=deadline)
        return Reviewed(call, "")
    fell = was is not None and level < was.level
    return Reviewed(_warning(was, level, time_ms), LIFTED if fell else "")


def _level(was: Call | None, found: Fraction, levels: Levels) -> int:
    """The nearest level that is entered, or that is not left yet."""
    entered = sum(found <= one for one in levels.distances)
    stays = sum(found < one + levels.hysteresis for one in levels.distances)
    return max(entered, min(stays, was.level if was is not None else 0))


def _warning(was: Call | None, level: int, time_ms: int) -> Call | None:
    if not level:
        return None
    since = was.since_ms if was is not None and was.level == level else time_ms
    return Call(level=level, since_ms=since)


# ── in which collateral ──────────────────────────────────────────────────────────────────────────


class Asset(NamedTuple):
    """What could be posted."""

    name: str
    value_micro: Fraction
    """Of one smallest unit."""
    haircut: Fraction
    cost: Fraction
    """What lending a dollar of it costs its owner, per year: yield forgone, or a borrow rate."""


class Posting(NamedTuple):
    """How much of an asset, in its smallest units, meets a call."""

    asset: str
    amount: int


def cheapest_collateral(amount_micro: int, assets: Sequence[Asset]) -> Posting | None:
    """The collateral that meets a call at least cost per dollar of margin; None where none counts.

    A dollar of margin takes 1/(1 − haircut) dollars of the asset. Of equal costs the smallest
    haircut, then the first. The amount is rounded up: the call is met.

    >>> coin = Asset("BTC", Fraction(60), Fraction(1, 10), Fraction(1, 100))
    >>> cash = Asset("USDC", Fraction(1), Fraction(0), Fraction(4, 100))
    >>> cheapest_collateral(1_000, [cash, coin])
    Posting(asset='BTC', amount=19)
    """
    check(amount_micro >= 0, "a call is not negative", amount_micro)
    counting = [one for one in assets if one.value_micro > 0 and one.haircut < 1]
    if not counting:
        return None
    best = min(counting, key=lambda one: (one.cost / (1 - one.haircut), one.haircut))
    return Posting(best.name, math.ceil(amount_micro / (best.value_micro * (1 - best.haircut))))
