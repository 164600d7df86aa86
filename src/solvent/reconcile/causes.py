"""Why two sides differ, found by arithmetic on our own events; where nothing adds up it is unknown.

A difference is theirs less ours, as of the statement's time. A cause is told only where it accounts
for the difference to the unit:

| cause | holds when |
|---|---|
| unsettled funding | minus one payment of funding, or the sum of those in a row |
| fee | minus one fee, or the sum of those in a row |
| missed fill | minus what one fill, or those in a row, changed; of money without its fee as well |
| missed payment | minus one deposit, withdrawal or transfer, or those in a row |
| missed event | minus another movement: variation, interest, an expiry, a liquidation |
| timing | a movement after the statement's time, or those in a row, is in theirs already |
| rounding | theirs is ours at the decimals of its column; or less than a unit a movement away |
| wrong sign | theirs is minus ours |
| wrong contract size | theirs is ours counted in lots, in contracts, or in a power of ten |
| stale mark | theirs is a mark that we published before; or ours is older than allowed |
| follows | a requirement of an account whose balance or position, or the mark of one, differs |

What they booked twice shows as the difference plus, not minus, the movement: the same cause, said
so. Where several causes fit, the first of the table is told, and the others beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from solvent.reconcile.lines import Key, Kind, Line
from solvent.reconcile.movements import Movement, Why
from solvent.units import DOLLARS, div_down, div_half_even, div_up

_TENS: Final = tuple(range(1, 10))
_STEPS_MIN: Final = 1_000
"""A statement's last decimal hides a difference only where it is a thousandth of the amount."""
_HIDDEN_PLACES: Final = {
    Kind.BALANCE: 4, Kind.POSITION: 3, Kind.MARK: 1, Kind.REQUIREMENT: 2,
}  # fmt: skip
"""And never more than one of this decimal of it: 0.0001 of a coin, a cent of a requirement."""
_OF_DOLLARS: Final = 2


class Cause(StrEnum):
    """The likely cause of a break; a closed set."""

    ROUNDING = "rounding"
    UNSETTLED_FUNDING = "unsettled funding"
    FEE = "fee"
    MISSED_FILL = "missed fill"
    MISSED_PAYMENT = "missed payment"
    MISSED_EVENT = "missed event"
    TIMING = "timing"
    WRONG_SIGN = "wrong sign"
    WRONG_CONTRACT_SIZE = "wrong contract size"
    STALE_MARK = "stale mark"
    FOLLOWS = "follows"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A cause and what shows it: commands of the journal, and words."""

    cause: Cause
    evidence: str
    sequences: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One difference and all that is known about it. `ours` is as of the statement's time; where a
    side has no line its amount is 0. `movements` are those up to that time, `later` those after."""

    key: Key
    ours: int
    theirs: int
    places: int
    theirs_line: Line | None
    movements: Sequence[Movement]
    later: Sequence[Movement] = ()
    unit_sizes: tuple[int, ...] = ()
    as_of_ms: int | None = None
    mark_ms_max: int = 0

    @property
    def difference(self) -> int:
        """Theirs less ours."""
        return self.theirs - self.ours


def causes_of(case: Case) -> tuple[Found, ...]:
    """Every cause that accounts for a difference, likeliest first; empty where none does."""
    return tuple(found for test in _TESTS[case.key.kind] for found in test(case))


# ── roundings and units ──────────────────────────────────────────────────────────────────────────


def _rounding(case: Case) -> Iterator[Found]:
    line = case.theirs_line
    if line is not None and line.digits < case.places:
        step = 10 ** (case.places - line.digits)
        hidden = _HIDDEN_PLACES[case.key.kind]
        if case.key.kind is Kind.BALANCE and case.key.name in DOLLARS:
            hidden = _OF_DOLLARS
        most = 10 ** max(0, case.places - hidden)
        if abs(case.theirs) < _STEPS_MIN * step or abs(case.difference) > most:
            return
        near = {round_it(case.ours, step) * step for round_it in _ROUNDINGS}
        if case.theirs in near:
            yield Found(cause=Cause.ROUNDING, evidence=f"ours at {line.digits} decimals is theirs")
            return
    count = len(case.movements)
    if case.key.kind is Kind.BALANCE and abs(case.difference) < count:
        yield Found(
            cause=Cause.ROUNDING,
            evidence=f"{abs(case.difference)} smallest units over {count} movements",
        )


_ROUNDINGS: Final[tuple[Callable[[int, int], int], ...]] = (div_half_even, div_down, div_up)


def _sign(case: Case) -> Iterator[Found]:
    if case.ours and case.theirs == -case.ours:
        yield Found(cause=Cause.WRONG_SIGN, evidence="theirs is minus ours")


def _contract_size(case: Case) -> Iterator[Found]:
    """Theirs in another unit: lots and contracts first, since they say which. Signs may differ."""
    if not case.ours or not case.theirs:
        return
    one = 10**case.places
    mine, other = abs(case.ours), abs(case.theirs)
    for size in case.unit_sizes:
        if size != one and (other * size == mine * one or other * one == mine * size):
            yield Found(
                cause=Cause.WRONG_CONTRACT_SIZE,
                evidence=f"theirs is ours counted in {size / one:g} of a unit",
            )
            return
    for power in _TENS:
        if mine == other * 10**power or other == mine * 10**power:
            shift = power if other > mine else -power
            yield Found(cause=Cause.WRONG_CONTRACT_SIZE, evidence=f"theirs is ours times 1e{shift}")
            return


# ── movements ────────────────────────────────────────────────────────────────────────────────────


def _missed(whys: Sequence[Why], cause: Cause) -> Callable[[Case], Iterator[Found]]:
    def test(case: Case) -> Iterator[Found]:
        yield from _runs(case, cause, [one for one in case.movements if one.why in whys])

    return test


def _fills(case: Case) -> Iterator[Found]:
    """Of a position, fills; of money, fills with their fees, then without."""
    fills = [one for one in case.movements if one.why is Why.FILL]
    sequences = {one.sequence for one in fills}
    whole: dict[int, Movement] = {}
    for one in case.movements:
        if one.sequence in sequences and one.why in (Why.FILL, Why.FEE):
            before = whole.get(one.sequence)
            amount = one.amount + (before.amount if before else 0)
            whole[one.sequence] = Movement(one.sequence, one.time_ms, Why.FILL, amount)
    found = list(_runs(case, Cause.MISSED_FILL, list(whole.values())))
    yield from found or _runs(case, Cause.MISSED_FILL, fills)


def _runs(case: Case, cause: Cause, told: Sequence[Movement]) -> Iterator[Found]:
    """One movement, or several in a row, that add up to the difference; missed comes before twice,
    and fewer before more."""
    for wanted, words in (
        (-case.difference, "not in theirs"),
        (case.difference, "twice in theirs"),
    ):
        run = shortest_run([one.amount for one in told], wanted)
        if run is not None:
            some = told[run[0] : run[1]]
            kind = some[0].why if len(some) == 1 else f"{len(some)} of {some[0].why}"
            yield Found(
                cause=cause, sequences=tuple(one.sequence for one in some),
                evidence=f"{kind}, {words}: command {_words(some)}",
            )  # fmt: skip
            return


def _timing(case: Case) -> Iterator[Found]:
    """What came after the statement's time, and is in it: clocks differ, or it was made later."""
    run = shortest_run([one.amount for one in case.later], case.difference)
    if run is not None and case.as_of_ms is not None:
        some = case.later[run[0] : run[1]]
        yield Found(
            cause=Cause.TIMING, sequences=tuple(one.sequence for one in some),
            evidence=f"command {_words(some)}, {some[-1].time_ms - case.as_of_ms} ms after theirs, "
            "is in it",
        )  # fmt: skip


def shortest_run(amounts: Sequence[int], wanted: int) -> tuple[int, int] | None:
    """The shortest stretch of amounts with a sum, the latest of those; None where none has it.

    >>> shortest_run([5, 3, -1, 2, 8], 4), shortest_run([1, 2], 9)
    ((1, 4), None)
    """
    if wanted == 0:
        return None
    last_at: dict[int, int] = {0: 0}
    best: tuple[int, int] | None = None
    total = 0
    for place, amount in enumerate(amounts):
        total += amount
        start = last_at.get(total - wanted)
        if start is not None and (best is None or place + 1 - start <= best[1] - best[0]):
            best = start, place + 1
        last_at[total] = place + 1
    return best


def _words(some: Sequence[Movement]) -> str:
    first, last = some[0].sequence, some[-1].sequence
    return f"{first}" if first == last else f"{first} to {last}"


# ── marks ────────────────────────────────────────────────────────────────────────────────────────


def _stale(case: Case) -> Iterator[Found]:
    """Marks are told whole: theirs is one that we had before; or ours had not been renewed."""
    if not case.movements:
        return
    newest = case.movements[-1]
    for one in reversed(case.movements[:-1]):
        if one.amount == case.theirs:
            gone = _after(case.movements, one)
            age = (newest.time_ms if case.as_of_ms is None else case.as_of_ms) - gone
            yield Found(
                cause=Cause.STALE_MARK, sequences=(one.sequence,),
                evidence=f"theirs is ours of command {one.sequence}, over for {age} ms",
            )  # fmt: skip
            return
    if case.as_of_ms is not None and case.as_of_ms - newest.time_ms > case.mark_ms_max:
        yield Found(
            cause=Cause.STALE_MARK, sequences=(newest.sequence,),
            evidence=f"ours is {case.as_of_ms - newest.time_ms} ms old, of {newest.sequence}",
        )  # fmt: skip


def _after(movements: Sequence[Movement], one: Movement) -> int:
    """When a mark was followed by another."""
    return next(other.time_ms for other in movements if other.sequence > one.sequence)


_Test = Callable[[Case], Iterator[Found]]
_OTHERS: Final = (Why.VARIATION, Why.EXPIRY, Why.INTEREST, Why.LIQUIDATION, Why.OTHER)
_TESTS: Final[dict[Kind, tuple[_Test, ...]]] = {
    Kind.BALANCE: (
        _missed((Why.FUNDING,), Cause.UNSETTLED_FUNDING), _missed((Why.FEE,), Cause.FEE), _fills,
        _missed((Why.PAYMENT,), Cause.MISSED_PAYMENT), _missed(_OTHERS, Cause.MISSED_EVENT),
        _timing, _rounding, _sign, _contract_size,
    ),
    Kind.POSITION: (
        _fills, _missed(_OTHERS, Cause.MISSED_EVENT), _timing, _rounding, _sign, _contract_size,
    ),
    Kind.MARK: (_rounding, _stale, _contract_size),
    Kind.REQUIREMENT: (_rounding,),
}  # fmt: skip
