"""What sources say of a price, and what stands against each of them by its own record alone.

A quote comes in as the source told it, floats and all; what is taken of it is whole billionths of
a dollar. A source is judged by what it said itself: what others say is for `market.index`. Times
are the source's own, `now_ms` is the reader's; nothing here reads a clock.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum
from fractions import Fraction
from typing import Final

from solvent.errors import check
from solvent.limits import MONEY_MAX, TIME_MS_MAX
from solvent.units import div_half_even

NANO: Final = 10**9
PPM: Final = 10**6


class Fault(StrEnum):
    """Why a source does not count now."""

    SILENT = "silent"
    """It has said nothing yet."""
    NOT_A_PRICE = "not_a_price"
    """NaN, infinite, zero, negative, or beyond every price."""
    STALE = "stale"
    AHEAD = "ahead"
    """Its time is later than now: its clock is wrong."""
    BACKWARD = "backward"
    """It told an earlier time than before."""
    REPEATED = "repeated"
    """It told another price under the same time."""
    EARLY = "early"
    """Told before the reader began: what lay in a queue while nobody looked."""
    CROSSED = "crossed"
    UNSURE = "unsure"
    """Its own confidence interval is too wide."""
    FROZEN = "frozen"
    FLAPPING = "flapping"
    PROBATION = "probation"
    """It is well just now, but was not for too much of the time before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """One message of a source. Dollars; None is *not said*, NaN is a fault.

    Attributes:
        price: its price; without one the middle of bid and ask counts.
        confidence: half-width of the interval in which it believes the price to be.
        weight: how much it counts where the rule weighs by volume; whole units of anything.
    """

    source: str
    time_ms: int
    price: float | None
    bid: float | None = None
    ask: float | None = None
    confidence: float | None = None
    weight: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRule:
    """What is asked of every source of an index. Times in milliseconds, shares in millionths.

    Attributes:
        stale_ms: the oldest price that counts. ahead_ms: how far its clock may be ahead.
        frozen_ms: how long one price may stand to the last digit; 0 for as long as it likes.
        confidence_ppm: the widest confidence, as a share of the price.
        turn_ppm: a move that counts for flapping; turns_max: how many changes of direction between
            such moves there may be in turns_ms.
        leap_ppm, speed_ppm: a price may be so far from the one that was settled, and so much
            farther for each second since; beyond, the source leaps.
        loss_ppm: what a source loses of its trust each time it is found faulty. recover_ms: time
            in which all of it is won back. Below silent_ppm it is on probation, until it is back at
            heard_ppm.
    """

    stale_ms: int = 10_000
    ahead_ms: int = 2_000
    frozen_ms: int = 300_000
    confidence_ppm: int = 10_000
    turn_ppm: int = 5_000
    turns_max: int = 3
    turns_ms: int = 60_000
    leap_ppm: int = 20_000
    speed_ppm: int = 1_000
    loss_ppm: int = 100_000
    recover_ms: int = 600_000
    silent_ppm: int = 500_000
    heard_ppm: int = 800_000

    def __post_init__(self) -> None:
        check(self.stale_ms > 0 and self.ahead_ms >= 0, "a price grows old", self.stale_ms)
        check(self.frozen_ms >= 0 and self.turns_ms > 0, "windows are times", self.frozen_ms)
        check(min(self.leap_ppm, self.speed_ppm, self.turn_ppm) >= 0, "shares", self.leap_ppm)
        check(0 <= self.loss_ppm <= PPM and self.recover_ms > 0, "trust falls and rises")
        check(0 <= self.silent_ppm <= self.heard_ppm <= PPM, "probation ends above its begin")


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What is remembered of a source.

    Attributes:
        price_nano: what it said last that could be taken; time_ms when; weight with which weight.
        word: what was wrong with its last message; None where nothing was.
        changed_ms: when its price last was another one.
        settled_nano, settled_ms: the price from which a leap is measured, and when it was settled.
        pivot_nano, rises: where its last move of some size ended, and which way it went.
        turns: when it changed its direction.
        trust_ppm: 1,000,000 is a source that was always well.
    """

    price_nano: int | None = None
    time_ms: int = -1
    weight: int = 0
    word: Fault | None = Fault.SILENT
    changed_ms: int = 0
    settled_nano: int | None = None
    settled_ms: int = 0
    pivot_nano: int | None = None
    rises: bool | None = None
    turns: tuple[int, ...] = ()
    trust_ppm: int = PPM
    trusted_ms: int = 0
    probation: bool = False


def nano_of(price: float | None) -> int | None:
    """A price in dollars as billionths, half-even on the digits it prints as; None for no price.

    >>> nano_of(0.1), nano_of(float("nan")), nano_of(-1.0), nano_of(1e-12)
    (100000000, None, None, None)
    """
    if price is None or not math.isfinite(price) or not 0.0 < price <= MONEY_MAX / NANO:
        return None
    exact = Fraction(repr(float(price))) * NANO
    nano = div_half_even(exact.numerator, exact.denominator)
    return nano if 0 < nano <= MONEY_MAX else None


def heard(
    rule: SourceRule, record: Record, quote: Quote, *, now_ms: int, begun_ms: int = 0
) -> Record:
    """The record after a message: its price is taken, or it is remembered what was wrong with it.

    A message that is told twice changes nothing.
    """
    check(0 <= now_ms <= TIME_MS_MAX, "now is a time", now_ms)
    nano = nano_of(_price(quote))
    if quote.time_ms == record.time_ms and nano == record.price_nano:
        return record
    wrong = _wrong_time(rule, record, quote, now_ms, begun_ms) or _wrong_price(rule, quote, nano)
    if wrong is not None or nano is None:
        return replace(record, word=wrong)
    first = record.price_nano is None
    return replace(
        _turned(rule, record, nano, quote.time_ms),
        price_nano=nano,
        time_ms=quote.time_ms,
        weight=1 if quote.weight is None else max(quote.weight, 0),
        word=None,
        changed_ms=quote.time_ms if first or nano != record.price_nano else record.changed_ms,
        trusted_ms=now_ms if first else record.trusted_ms,
    )


def _price(quote: Quote) -> float | None:
    if quote.price is not None or quote.bid is None or quote.ask is None:
        return quote.price
    return (quote.bid + quote.ask) / 2


def _wrong_time(
    rule: SourceRule, record: Record, quote: Quote, now_ms: int, begun_ms: int
) -> Fault | None:
    if quote.time_ms > now_ms + rule.ahead_ms:
        return Fault.AHEAD
    if quote.time_ms < begun_ms:
        return Fault.EARLY
    if quote.time_ms < record.time_ms:
        return Fault.BACKWARD
    return Fault.REPEATED if quote.time_ms == record.time_ms else None


def _wrong_price(rule: SourceRule, quote: Quote, nano: int | None) -> Fault | None:
    bid, ask, sure = quote.bid, quote.ask, quote.confidence
    if nano is None:
        return Fault.NOT_A_PRICE
    if any(side is not None and nano_of(side) is None for side in (bid, ask)):
        return Fault.NOT_A_PRICE
    if bid is not None and ask is not None and bid > ask:
        return Fault.CROSSED
    if sure is not None and not 0.0 <= sure * NANO * PPM <= nano * rule.confidence_ppm:
        return Fault.UNSURE
    return None


def _turned(rule: SourceRule, record: Record, nano: int, time_ms: int) -> Record:
    """Whether a price turns back from the way it went, by more than it may."""
    pivot = record.pivot_nano
    if pivot is None:
        return replace(record, pivot_nano=nano)
    if abs(nano - pivot) * PPM <= pivot * rule.turn_ppm:
        return record
    rises = nano > pivot
    turns = record.turns
    if record.rises is not None and rises != record.rises:
        turns = (*(one for one in turns if one > time_ms - rule.turns_ms), time_ms)
        turns = turns[-rule.turns_max - 1 :]
    return replace(record, pivot_nano=nano, rises=rises, turns=turns)


def fault_of(rule: SourceRule, record: Record, *, now_ms: int) -> Fault | None:
    """What is wrong with a source now, its trust apart; None where nothing is."""
    if record.word is not None:
        return record.word
    if now_ms - record.time_ms > rule.stale_ms:
        return Fault.STALE
    if rule.frozen_ms and now_ms - record.changed_ms > rule.frozen_ms:
        return Fault.FROZEN
    recent = sum(one > now_ms - rule.turns_ms for one in record.turns)
    return Fault.FLAPPING if recent > rule.turns_max else None


def judged(rule: SourceRule, record: Record, *, now_ms: int) -> tuple[Record, Fault | None]:
    """The source's trust after another look at it, and why it does not count.

    A faulty one loses a share of its trust; one that is well wins it back in time. Below one bound
    it is on probation, from which it returns at a higher one, so that none comes and goes.
    """
    fault = fault_of(rule, record, now_ms=now_ms)
    trust = record.trust_ppm
    if fault is None:
        won = max(now_ms - record.trusted_ms, 0) * PPM // rule.recover_ms
        trust = min(PPM, trust + won)
    elif fault is not Fault.SILENT:
        trust -= trust * rule.loss_ppm // PPM
    bound = rule.heard_ppm if record.probation else rule.silent_ppm
    probation = trust < bound
    after = replace(record, trust_ppm=trust, trusted_ms=now_ms, probation=probation)
    return after, fault or (Fault.PROBATION if probation else None)


def leaps(rule: SourceRule, record: Record, *, now_ms: int) -> bool:
    """Whether a source is farther from where it was settled than it can have come since."""
    price, settled = record.price_nano, record.settled_nano
    if price is None or settled is None:
        return False
    return far(rule, price, settled, elapsed_ms=now_ms - record.settled_ms)


def far(rule: SourceRule, price_nano: int, from_nano: int, *, elapsed_ms: int) -> bool:
    """Whether one price cannot have become another in a time: |p − q| > q·(leap + speed·t).

    >>> rule = SourceRule(leap_ppm=10_000, speed_ppm=1_000)
    >>> far(rule, 1_020, 1_000, elapsed_ms=9_000), far(rule, 1_020, 1_000, elapsed_ms=10_000)
    (True, False)
    """
    allowed = 1_000 * rule.leap_ppm + rule.speed_ppm * max(elapsed_ms, 0)
    return abs(price_nano - from_nano) * PPM * 1_000 > from_nano * allowed


def settled(record: Record, *, now_ms: int) -> Record:
    """The record, its price being from now on where a leap is measured from."""
    return replace(record, settled_nano=record.price_nano, settled_ms=now_ms)
