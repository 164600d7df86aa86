"""Credit lines: how large by quality, how they shrink after a downgrade, what else is limited.

A line is what may be owed at most, now and in the stress that margin is for. It follows from what
the lender is willing to lose: appetite / (LGD · stressed PD), never more than a cap or a share of
the counterparty's net assets. After a downgrade it falls in steps along a straight line, after a
notice: a cut in the middle of a crash would itself cause the default that it fears.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

from solvent.credit.quality import Quality
from solvent.errors import check
from solvent.units import Micro, TimeMs, div_down


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What a lender is willing to lose, and how fast it withdraws.

    Attributes:
        appetite_micro: loss at most with one counterparty, in the stress. cap_micro: no line is
            larger. assets_share: of the counterparty's net assets, at most. step_micro: lines are
            multiples of it, rounded down.
        notice_ms: from a downgrade to the first cut. over_ms: from the first moment after notice to
            the last cut. steps: cuts, evenly spaced in it.
    """

    appetite_micro: Micro
    cap_micro: Micro
    assets_share: Fraction
    step_micro: Micro
    notice_ms: int
    over_ms: int
    steps: int

    def __post_init__(self) -> None:
        check(self.appetite_micro >= 0 and self.cap_micro >= 0, "an appetite is not negative")
        check(0 <= self.assets_share <= 1, "a share of net assets", self.assets_share)
        check(self.step_micro >= 1 and self.steps >= 1, "there is a step", self.steps)
        check(self.notice_ms >= 0 and self.over_ms >= 0, "time passes", self.notice_ms)


def line_of(policy: Policy, quality: Quality, net_assets_micro: int) -> Micro:
    """The line for a quality; 0 for who has defaulted. Better quality never has a smaller one.

    >>> from solvent.credit.quality import rated
    >>> policy = Policy(appetite_micro=Micro(10**12), cap_micro=Micro(10**14),
    ...     assets_share=Fraction(1, 10), step_micro=Micro(10**9), notice_ms=0, over_ms=0, steps=1)
    >>> one = rated("BB", lgd=Fraction(3, 5), correlation=Fraction(1, 5))
    >>> line_of(policy, one, 10**15) // 10**6
    16150000
    >>> line_of(policy, rated("D", lgd=Fraction(3, 5)), 10**15)
    0
    """
    check(net_assets_micro >= 0, "net assets are not negative", net_assets_micro)
    pd = Fraction(quality.stressed_pd())
    if pd >= 1:
        return Micro(0)
    ceiling = min(
        Fraction(policy.cap_micro), Fraction(net_assets_micro) * policy.assets_share
    )  # fmt: skip
    loss = pd * quality.lgd
    if loss > 0:
        ceiling = min(ceiling, Fraction(policy.appetite_micro) / loss)
    return Micro(div_down(ceiling.numerator, ceiling.denominator * policy.step_micro)
                 * policy.step_micro)  # fmt: skip


# ── deterioration ────────────────────────────────────────────────────────────────────────────────


class Point(NamedTuple):
    """A line from a moment on."""

    time_ms: TimeMs
    line_micro: Micro


@dataclass(frozen=True, slots=True)
class Schedule:
    """A line over time: what holds from each point on, until the next."""

    points: tuple[Point, ...]

    def __post_init__(self) -> None:
        check(len(self.points) > 0, "a line begins at some moment")
        check(all(a.time_ms < b.time_ms for a, b in pairwise(self.points)), "time passes")
        check(all(one.line_micro >= 0 for one in self.points), "a line is not negative")

    def at(self, time_ms: int) -> Micro:
        """The line that holds at a moment; before the first point, the first's."""
        past = [one for one in self.points if one.time_ms <= time_ms]
        return (past[-1] if past else self.points[0]).line_micro

    @property
    def last(self) -> Micro:
        """Where it ends."""
        return self.points[-1].line_micro


def changed(policy: Policy, was: Schedule, *, time_ms: int, target_micro: Micro) -> Schedule:
    """The line after a change of quality at a moment.

    A smaller target is reached in `steps` equal cuts: the first when notice has passed and one part
    of `over_ms` more, the last at its end. Cuts that were announced before still come at their
    times, where they are lower: a second downgrade buys no time. A larger target holds at once.

    >>> policy = Policy(appetite_micro=Micro(0), cap_micro=Micro(0), assets_share=Fraction(1),
    ...     step_micro=Micro(1), notice_ms=100, over_ms=400, steps=4)
    >>> found = changed(policy, Schedule((Point(TimeMs(0), Micro(1_000)),)), time_ms=50,
    ...     target_micro=Micro(200))
    >>> [tuple(one) for one in found.points]
    [(50, 1000), (250, 800), (350, 600), (450, 400), (550, 200)]
    """
    now = was.at(time_ms)
    if target_micro >= now:
        return Schedule((Point(TimeMs(time_ms), target_micro),))
    begin, fall = time_ms + policy.notice_ms, now - target_micro
    cuts: dict[int, int] = {time_ms: now}
    for step in range(1, policy.steps + 1):
        when = max(begin + policy.over_ms * step // policy.steps, time_ms + 1)
        cuts[when] = now - div_down(fall * step, policy.steps)
    announced = [one for one in was.points if one.time_ms > time_ms]
    times = sorted({*cuts, *(one.time_ms for one in announced)})
    fresh = Schedule(tuple(Point(TimeMs(when), Micro(cuts[when])) for when in sorted(cuts)))
    points = [
        Point(TimeMs(when), Micro(max(min(fresh.at(when), was.at(when)), target_micro)))
        for when in times
    ]
    return Schedule(tuple(_without_repeats(points)))


def _without_repeats(points: Sequence[Point]) -> list[Point]:
    kept = [points[0]]
    kept += [b for a, b in pairwise(points) if b.line_micro != a.line_micro]
    return kept


class Procyclicality(NamedTuple):
    """How hard a requirement moved: its highest over its lowest, and the largest rise from one
    moment to a later one within a window, in millionths of a dollar."""

    peak_to_trough: Fraction | None
    largest_rise_micro: int


def procyclicality(required_micro: Sequence[int], *, window: int) -> Procyclicality:
    """Measure a series of requirements; a trough of nothing has no ratio.

    >>> found = procyclicality([100, 90, 240, 300, 200], window=2)
    >>> str(found.peak_to_trough), found.largest_rise_micro
    ('10/3', 210)
    """
    check(window >= 1 and len(required_micro) > 0, "something to measure", window)
    low, high = min(required_micro), max(required_micro)
    rises = [
        later - one
        for place, one in enumerate(required_micro)
        for later in required_micro[place + 1 : place + 1 + window]
    ]
    return Procyclicality(Fraction(high, low) if low > 0 else None, max([0, *rises]))


# ── limits ───────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What an agreement allows besides the line; None where it says nothing.

    Attributes:
        gross_micro, net_micro: notional, of all positions and after netting per underlying.
        tenor_ms: from now to the last expiry. concentration: largest underlying's share of gross
            notional. utilisation: share of the line that may be drawn.
    """

    gross_micro: Micro | None = None
    net_micro: Micro | None = None
    tenor_ms: int | None = None
    concentration: Fraction | None = None
    utilisation: Fraction = Fraction(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a counterparty uses: see `Limits`. `drawn_micro` is what its own money does not cover of
    its margin, up to the line."""

    line_micro: Micro
    drawn_micro: Micro
    gross_by_underlying: Mapping[str, Micro]
    net_by_underlying: Mapping[str, int]
    tenor_ms: int

    @property
    def gross_micro(self) -> int:
        """Notional of all positions."""
        return sum(self.gross_by_underlying.values())

    @property
    def net_micro(self) -> int:
        """Notional after netting long and short of each underlying."""
        return sum(abs(one) for one in self.net_by_underlying.values())

    @property
    def concentration(self) -> Fraction:
        """The largest underlying's share of gross notional; 0 where nothing is held."""
        total = self.gross_micro
        return Fraction(max(self.gross_by_underlying.values()), total) if total else Fraction(0)

    @property
    def utilisation(self) -> Fraction:
        """Share of the line that is drawn; 1 where something is drawn on no line."""
        if not self.line_micro:
            return Fraction(int(self.drawn_micro > 0))
        return Fraction(self.drawn_micro, self.line_micro)


class Breach(NamedTuple):
    """A limit that is passed, in words of its own units."""

    limit: str
    allowed: Fraction
    found: Fraction


def breaches(limits: Limits, usage: Usage) -> tuple[Breach, ...]:
    """Every limit that is passed; at a limit it is kept.

    >>> usage = Usage(line_micro=Micro(100), drawn_micro=Micro(90),
    ...     gross_by_underlying={"BTC": Micro(300), "ETH": Micro(100)},
    ...     net_by_underlying={"BTC": -200, "ETH": 100}, tenor_ms=5)
    >>> told = Limits(gross_micro=Micro(400), net_micro=Micro(250),
    ...     concentration=Fraction(1, 2), utilisation=Fraction(9, 10))
    >>> [one.limit for one in breaches(told, usage)]
    ['net notional', 'concentration']
    """
    pairs: list[tuple[str, Fraction | int | None, Fraction | int]] = [
        ("gross notional", limits.gross_micro, usage.gross_micro),
        ("net notional", limits.net_micro, usage.net_micro),
        ("tenor", limits.tenor_ms, usage.tenor_ms),
        ("concentration", limits.concentration, usage.concentration),
        ("utilisation", limits.utilisation, usage.utilisation),
    ]
    return tuple(
        Breach(name, Fraction(allowed), Fraction(found))
        for name, allowed, found in pairs
        if allowed is not None and found > allowed
    )
