"""From many sources to one index, or to UNKNOWN with its reason. Nothing is ever guessed.

Of `n` sources some are heard: those against which their own record says nothing (`oracles`). Let c
be the clamp. The index is published if

1. at least a quorum, more than half of all n, *agree*: they lie within c/(2 + c) of the median of
   those heard, and so within c of each other, and an index among them within c of each;
2. no more than `tolerated` steady sources, and no more than `leapers` leaping ones, lie elsewhere;
3. it is not farther from the last index than a market can have come, unless all that are heard
   say so for `confirm_ms`.

By 1 an index is never farther than c from a good source as long as the bad are a minority, whatever
they say. By 2, with nothing tolerated, one good source that is heard suffices: where it does not
agree there is no index. Between six that are wrong and one that is right, and six that are right
and one that is wrong, what is said makes no difference: a rule that tolerates dissent is right in
the second case and wrong in the first. `tolerated` and `leapers` say which is wanted, and are data.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from solvent.errors import check
from solvent.market.oracles import (
    PPM,
    Fault,
    Quote,
    Record,
    SourceRule,
    far,
    heard,
    judged,
    leaps,
    settled,
)
from solvent.units import div_half_even


class How(StrEnum):
    """How those that agree become one price."""

    MEDIAN = "median"
    WEIGHTED_MEDIAN = "weighted_median"
    MEAN = "mean"
    """By weight."""
    TRIMMED = "trimmed"
    """The mean without the highest and the lowest."""


class Weighing(StrEnum):
    """Where weights come from."""

    FIXED = "fixed"
    VOLUME = "volume"


class Reason(StrEnum):
    """Why an index is not known; `fine` where it is."""

    FINE = "fine"
    QUORUM = "quorum"
    """Too few sources are heard."""
    DISPERSED = "dispersed"
    """Too few of them agree."""
    DISSENT = "dissent"
    """Enough agree, and one that is as good as they are does not."""
    LEAP = "leap"
    """They agree on a price that is far from the last one; it is not confirmed yet."""
    INPUT = "input"
    """Something that it is made of is not known."""
    DEPEGGED = "depegged"


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexRule:
    """How an underlying's index is made; data, with no default for what decides its safety.

    Attributes:
        weights: source → weight, all above 0.
        clamp_ppm: how far an index may be from a good source.
        quorum: how many must agree; more than half of all.
        tolerated: steady sources that may say otherwise. leapers: those that leapt there; with time
            they are steady, since a market can have come there as well.
        weight_max_ppm: the most that one source may weigh among those that agree.
        confirm_ms: how long all must agree on a leap.
    """

    underlying: str
    weights: Mapping[str, int]
    clamp_ppm: int
    quorum: int
    tolerated: int = 0
    leapers: int = 0
    how: How = How.MEDIAN
    weighing: Weighing = Weighing.FIXED
    weight_max_ppm: int = PPM
    confirm_ms: int = 3_000
    source: SourceRule = field(default_factory=SourceRule)

    def __post_init__(self) -> None:
        count = len(self.weights)
        check(count > 0 and min(self.weights.values()) > 0, "sources have weight", self.weights)
        check(count < 2 * self.quorum <= 2 * count, "a quorum is a majority", self.quorum, count)
        check(0 < self.clamp_ppm < PPM, "a clamp is a share", self.clamp_ppm)
        check(0 <= self.tolerated <= count - self.quorum, "a minority dissents", self.tolerated)
        check(0 <= self.leapers <= count - self.quorum, "a minority leaps", self.leapers)
        check(0 < self.weight_max_ppm <= PPM and self.confirm_ms >= 0, "weights and times")


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """One source in one index.

    Attributes:
        fault: why it did not count; None where it did. leaping: it is far from where it was.
        agrees: it is one of those that the index is made of.
        off_ppm: how far it is from the median of those heard, signed; 0 where it was not heard.
    """

    source: str
    fault: Fault | None
    leaping: bool
    agrees: bool
    price_nano: int | None
    off_ppm: int
    age_ms: int
    trust_ppm: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """What is published: a price in billionths of a dollar, or None and why.

    `age_ms` is that of the youngest that agrees; `sources` are in the order of the rule.
    """

    underlying: str
    time_ms: int
    price_nano: int | None
    reason: Reason
    age_ms: int
    sources: tuple[Heard, ...]

    @property
    def known(self) -> bool:
        """Whether there is a price."""
        return self.price_nano is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """All that is remembered between two prices of an index.

    `begun_ms`: what was said before that does not count. `last_nano` and `last_ms` are the last
    index that was known; `leapt_ms` since when all have agreed on a leap.
    """

    records: Mapping[str, Record]
    begun_ms: int
    last_nano: int | None = None
    last_ms: int = 0
    leapt_ms: int | None = None


def begin(rule: IndexRule, *, now_ms: int) -> Sources:
    """Nothing was said yet: also after a restart, so that nobody decides on what is old."""
    return Sources(records={name: Record() for name in rule.weights}, begun_ms=now_ms)


def listen(rule: IndexRule, sources: Sources, quotes: Iterable[Quote], *, now_ms: int) -> Sources:
    """What is remembered after messages; those of sources that the rule does not name are none."""
    records = dict(sources.records)
    for quote in quotes:
        if quote.source in records:
            records[quote.source] = heard(
                rule.source, records[quote.source], quote, now_ms=now_ms,
                begun_ms=sources.begun_ms,
            )  # fmt: skip
    return replace(sources, records=records)


def publish_index(rule: IndexRule, sources: Sources, *, now_ms: int) -> tuple[Sources, Index]:
    """The index now, and what is remembered of it."""
    records: dict[str, Record] = {}
    faults: dict[str, Fault | None] = {}
    for name in rule.weights:
        records[name], faults[name] = judged(rule.source, sources.records[name], now_ms=now_ms)
    prices = {name: told for name, fault in faults.items()
              if fault is None and (told := records[name].price_nano) is not None}  # fmt: skip
    leaping = {name for name in prices if leaps(rule.source, records[name], now_ms=now_ms)}
    middle = median(list(prices.values())) if prices else 0
    agreeing = [name for name, told in prices.items() if _near(told, middle, rule.clamp_ppm)]
    reason, price, leapt_ms = _reason(rule, prices, agreeing, leaping), None, None
    if reason is Reason.FINE:
        price = _combined(rule, agreeing, prices, records)
        reason, leapt_ms = _confirmed(
            rule, sources, price, alone=len(agreeing) == len(prices), now_ms=now_ms
        )
        price = price if reason is Reason.FINE else None
    for name in prices:
        if name not in leaping or (price is not None and name in agreeing):
            records[name] = settled(records[name], now_ms=now_ms)
    rows = tuple(
        _row(name, records[name], faults[name], name in leaping, name in agreeing, middle, now_ms)
        for name in rule.weights
    )
    index = Index(
        underlying=rule.underlying, time_ms=now_ms, price_nano=price, reason=reason,
        age_ms=min((row.age_ms for row in rows if row.agrees), default=0), sources=rows,
    )  # fmt: skip
    after = replace(sources, records=records, leapt_ms=leapt_ms)
    return (after if price is None else replace(after, last_nano=price, last_ms=now_ms)), index


def _confirmed(
    rule: IndexRule, sources: Sources, price_nano: int, *, alone: bool, now_ms: int
) -> tuple[Reason, int | None]:
    """Whether a price may follow the last one, and since when all have agreed on a leap. `alone`:
    nobody that is heard says otherwise."""
    last = sources.last_nano
    elapsed_ms = now_ms - sources.last_ms
    if last is None or not far(rule.source, price_nano, last, elapsed_ms=elapsed_ms):
        return Reason.FINE, None
    if not alone:
        return Reason.LEAP, None
    since_ms = now_ms if sources.leapt_ms is None else sources.leapt_ms
    done = now_ms - since_ms >= rule.confirm_ms
    return (Reason.FINE, None) if done else (Reason.LEAP, since_ms)


def _reason(
    rule: IndexRule, prices: Mapping[str, int], agreeing: Sequence[str], leaping: set[str]
) -> Reason:
    if len(prices) < rule.quorum:
        return Reason.QUORUM
    if len(agreeing) < rule.quorum:
        return Reason.DISPERSED
    outside = [name for name in prices if name not in agreeing]
    leapers = sum(name in leaping for name in outside)
    if len(outside) - leapers > rule.tolerated or leapers > rule.leapers:
        return Reason.DISSENT
    return Reason.FINE


def _near(price_nano: int, middle_nano: int, clamp_ppm: int) -> bool:
    """Within c/(2 + c) of the middle: two such prices are within c of either."""
    return abs(price_nano - middle_nano) * (2 * PPM + clamp_ppm) <= middle_nano * clamp_ppm


def _row(
    name: str, record: Record, fault: Fault | None, leaping: bool, agrees: bool, middle: int,
    now_ms: int,
) -> Heard:  # fmt: skip
    price = record.price_nano
    counts = fault is None and price is not None
    off = div_half_even((price - middle) * PPM, middle) if counts and price and middle else 0
    return Heard(
        source=name, fault=fault, leaping=leaping, agrees=agrees, price_nano=price, off_ppm=off,
        age_ms=max(now_ms - record.time_ms, 0) if price is not None else 0,
        trust_ppm=record.trust_ppm,
    )  # fmt: skip


# ── many prices to one ───────────────────────────────────────────────────────────────────────────


def _combined(
    rule: IndexRule, agreeing: Sequence[str], prices: Mapping[str, int],
    records: Mapping[str, Record],
) -> int:  # fmt: skip
    values = [prices[name] for name in agreeing]
    if rule.how is How.MEDIAN:
        return median(values)
    if rule.how is How.TRIMMED:
        kept = sorted(values)[1:-1] if len(values) > 2 else values
        return div_half_even(sum(kept), len(kept))
    by_volume = rule.weighing is Weighing.VOLUME
    weights = [records[name].weight if by_volume else rule.weights[name] for name in agreeing]
    if not any(weights):
        return median(values)
    weights = capped(weights, most_ppm=rule.weight_max_ppm)
    if rule.how is How.WEIGHTED_MEDIAN:
        return weighted_median(values, weights)
    total = sum(price * weight for price, weight in zip(values, weights, strict=True))
    return div_half_even(total, sum(weights))


def median(values: Sequence[int]) -> int:
    """The middle one, or the mean of the middle two, half-even.

    >>> median([5, 1, 9]), median([1, 2]), median([3, 1, 2, 10])
    (5, 2, 2)
    """
    check(len(values) > 0, "a median has values")
    ordered, half = sorted(values), len(values) // 2
    if len(ordered) % 2:
        return ordered[half]
    return div_half_even(ordered[half - 1] + ordered[half], 2)


def weighted_median(values: Sequence[int], weights: Sequence[int]) -> int:
    """Where half of the weight is passed; between two where it is just reached, half-even.

    >>> weighted_median([10, 20, 30], [1, 1, 5]), weighted_median([10, 20], [3, 3])
    (30, 15)
    """
    check(min(weights) >= 0 and sum(weights) > 0, "weights are shares", weights)
    rows = sorted((v, w) for v, w in zip(values, weights, strict=True) if w)
    total, passed = sum(weights), 0
    for place, (value, weight) in enumerate(rows):
        passed += weight
        if 2 * passed > total:
            return value
        if 2 * passed == total:
            return div_half_even(value + rows[place + 1][0], 2)
    return rows[-1][0]


def capped(weights: Sequence[int], *, most_ppm: int) -> list[int]:
    """Weights of which none is more than a share of their sum, in parts of the old scale's million.

    What is above is cut to that share of what the others have left; where even equal weights are
    above it they are made equal.

    >>> capped([90, 5, 5], most_ppm=500_000)
    [10000000, 5000000, 5000000]
    """
    count = sum(weight > 0 for weight in weights)
    if count * most_ppm <= PPM:
        return [PPM if weight else 0 for weight in weights]
    scaled = [weight * PPM for weight in weights]
    heavy: set[int] = set()
    while True:
        over = [place for place, weight in enumerate(scaled)
                if place not in heavy and weight * PPM > most_ppm * sum(scaled)]  # fmt: skip
        if not over:
            return scaled
        heavy.update(over)
        light = sum(weight for place, weight in enumerate(scaled) if place not in heavy)
        share = light * most_ppm // (PPM - len(heavy) * most_ppm)
        scaled = [share if place in heavy else weight for place, weight in enumerate(scaled)]
