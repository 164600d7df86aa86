"""What a late venue takes from winners, judged at prices that it did not know.

A venue decides on marks of some time ago: whom it liquidates, and at which price it deleverages.
Each moment's deleveraging is a *wave*, decided at one mark, that takes whole positions. What a
winner gives up is what those lots would be worth to it at the true prices when the wave has ended,
less what it got; what some winners get more is not set against what others give up.

Beside it stand two sums that were needed. *Gaps*, as published of 10 October 2025: Σ |true price at
the trade − price of the trade| · lots. *Deficits*: what the deleveraged owed at the true prices,
each account and margin once a wave. All is exact, in smallest units of what contracts settle in.

Sources: arXiv 2512.01112 and 2602.15182, and their repository's two-pass replay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, NamedTuple

from solvent.engine.state import State
from solvent.errors import SolventError
from solvent.tending.plans import Plan
from solvent.tending.told import Step

Points = Mapping[int, int]
"""Contract → a price in whole points."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lateness:
    """How late a venue is.

    Attributes:
        mark_ms: age of the marks that it decides on, not negative.
        waves_ms: how long a wave lasts; each is a judgement of the same history.
        straight: between moments logs of prices go on a straight line; else they wander about it
            as far as the bars of the crash say.

    Raises SolventError for a time below 0, or no waves.
    """

    mark_ms: int = 0
    waves_ms: tuple[int, ...] = (0,)
    straight: bool = False

    def __post_init__(self) -> None:
        if self.mark_ms < 0 or not self.waves_ms or min(self.waves_ms) < 0:
            raise SolventError(f"lateness: expected times from 0 ms on, found {self}")


ON_TIME: Final = Lateness()
"""Marks of now, judged at once."""


class Taken(NamedTuple):
    """One trade of a deleveraging: what the winner gave up at the true price of the trade, and at
    those when a wave of each length has ended. Below 0 where it got more than that."""

    moment: int
    winner: str
    at_trade: Fraction
    at_end: tuple[Fraction, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """A history's deleveraging, all waves, judged at waves of one length.

    Attributes:
        given_up: what winners lost by it, each winner's wave for itself. got_more: what other
            winners gained. gaps, deficits: what was needed, in two ways.
    """

    wave_ms: int
    given_up: Fraction = Fraction(0)
    got_more: Fraction = Fraction(0)
    gaps: Fraction = Fraction(0)
    deficits: Fraction = Fraction(0)

    @property
    def beyond_gaps(self) -> Fraction:
        """Overshoot as published; below 0 where winners gave up less than was needed."""
        return self.given_up - self.gaps

    @property
    def beyond_deficits(self) -> Fraction:
        """What winners gave up and no debt at the true prices asked for."""
        return self.given_up - self.deficits


def judgements(
    taken: Iterable[Taken], owed: Iterable[Fraction], waves_ms: Sequence[int]
) -> tuple[Judgement, ...]:
    """One for each length of a wave. `owed`: deficits, each account and margin once a wave.

    Two winners of one wave, 5 and 1 given up at the trade; when it ends one is 7 short, the other
    has gained 2:

    >>> trades = [Taken(3, "a", Fraction(5), (Fraction(7),)),
    ...           Taken(3, "b", Fraction(1), (Fraction(-2),))]
    >>> (one,) = judgements(trades, [Fraction(4)], [3_000])
    >>> [int(x) for x in (one.given_up, one.got_more, one.gaps, one.beyond_gaps)]
    [7, 2, 6, 1]
    """
    found, deficits = list(taken), sum(owed, Fraction(0))
    gaps = sum((abs(one.at_trade) for one in found), Fraction(0))
    told = []
    for place, wave_ms in enumerate(waves_ms):
        sums: dict[tuple[int, str], Fraction] = {}
        for one in found:
            key = one.moment, one.winner
            sums[key] = sums.get(key, Fraction(0)) + one.at_end[place]
        told.append(Judgement(
            wave_ms=wave_ms, gaps=gaps, deficits=deficits,
            given_up=sum((one for one in sums.values() if one > 0), Fraction(0)),
            got_more=-sum((one for one in sums.values() if one < 0), Fraction(0)),
        ))  # fmt: skip
    return tuple(told)


# ── read off the books ───────────────────────────────────────────────────────────────────────────


class Record:
    """Follows a venue through its moments: plans before they are done, and steps once they are.

    `points(after_ms)` are the true prices so long after the moment of now.
    """

    def __init__(
        self, state: State, lateness: Lateness, points: Callable[[int], Points]
    ) -> None:  # fmt: skip
        self._state = state
        self._waves_ms = lateness.waves_ms
        self._points = points
        self._true: Points | None = None
        self._owes: dict[tuple[str, str], Fraction] = {}
        self._taken: list[Taken] = []
        self._owed: list[Fraction] = []
        self._moments = 0

    def plan(self, plan: Plan) -> None:
        """A plan that is about to be done: what its account owes at the true prices."""
        if plan.stage != "adl":
            return
        key, owes = (plan.account, plan.pool), deficit(self._state, plan, self._now())
        self._owes[key] = max(self._owes.get(key, owes), owes)

    def moment(self, done: Iterable[Step]) -> None:
        """All that was done at a moment. Who was planned for and not deleveraged does not count."""
        steps = [one for one in done if one.stage == "adl"]
        if steps:
            true, ends = self._now(), [self._points(after_ms) for after_ms in self._waves_ms]
            self._taken += [taken_of(self._state, one, self._moments, true, ends) for one in steps]
            names = {one.account for one in steps}
            self._owed += [owes for (name, _), owes in self._owes.items() if name in names]
        self._owes.clear()
        self._true = None
        self._moments += 1

    def judgements(self) -> tuple[Judgement, ...]:
        """Of all moments so far, one for each length of a wave."""
        return judgements(self._taken, self._owed, self._waves_ms)

    def _now(self) -> Points:
        if self._true is None:
            self._true = self._points(0)
        return self._true


def deficit(state: State, plan: Plan, true: Points) -> Fraction:
    """What the account of a plan owes at true prices, 0 where it owes nothing: its equity at the
    marks of now, and what its positions are worth less."""
    account = state.account(state.account_numbers[plan.account])
    equity = Fraction(plan.equity_micro)
    for kind, number in plan.touches:
        held = (account.positions or {}).get(number)
        if kind == "contract" and held is not None:
            equity += _worth(state, number, held.lots, true) - _worth(
                state, number, held.lots, {number: state.contracts[number].mark_points or 0}
            )
    return max(-equity, Fraction(0))


def taken_of(
    state: State, step: Step, moment: int, true: Points, ends: Sequence[Points]
) -> Taken:  # fmt: skip
    """What a step of deleveraging took, at the true prices of its time and of the waves' ends."""
    number = state.contract_numbers[step.symbol]
    deal = state.contracts[number].deal
    # The account's lots, which the winner is on the other side of.
    lots = step.after - step.before
    price = deal.money(deal.value(lots, int(Fraction(step.price) / deal.point)))
    return Taken(
        moment, step.who, _worth(state, number, lots, true) - price,
        tuple(_worth(state, number, lots, one) - price for one in ends),
    )  # fmt: skip


def _worth(state: State, number: int, lots: int, points: Points) -> Fraction:
    deal = state.contracts[number].deal
    return deal.money(deal.value(lots, points[number]))
