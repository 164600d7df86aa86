"""Two statements held against each other: matched, missing on one side, different; and why.

Our side is taken back to the statement's time first, by undoing what moved afterwards: what only
differs because it is older is matched, and said to be so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from enum import StrEnum

from solvent.errors import BadInput, Problem, Reject
from solvent.instruments.contract import moment_of
from solvent.reconcile.causes import Case, Cause, Found, causes_of
from solvent.reconcile.lines import Key, Kind, Line, Statement
from solvent.reconcile.movements import Movement, Movements
from solvent.reconcile.tolerances import Tolerances


class Status(StrEnum):
    """What came of one line. A line of 0 that the other side does not tell is matched."""

    MATCHED = "matched"
    MISSING_OURS = "missing in ours"
    MISSING_THEIRS = "missing in theirs"
    DIFFERENT = "different"


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """One line of both sides, in whole units of `places` decimals.

    `ours` is as it is now, `then` as it was at the statement's time; `later` counts the movements
    in between. `cause` is None where nothing is wrong.
    """

    key: Key
    places: int
    ours: int | None
    then: int | None
    theirs: int | None
    allowed: int
    status: Status
    later: int
    cause: Found | None
    also: tuple[Cause, ...] = ()

    @property
    def difference(self) -> int:
        """Theirs less ours at the statement's time; a side that tells nothing has 0."""
        return (self.theirs or 0) - (self.then or 0)

    @property
    def broken(self) -> bool:
        """Whether it is a break."""
        return self.status is not Status.MATCHED


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything that was compared, in the order of keys. `kinds` are those that theirs tells,
    `accounts` those of which both sides tell something."""

    ours: str
    theirs: str
    time_ms: int | None
    matches: tuple[Match, ...]
    kinds: frozenset[Kind] = frozenset()
    accounts: frozenset[str] = frozenset()

    def covers(self, key: Key) -> bool:
        """Whether a line that neither side tells is known to be nothing: a balance or a position,
        of a kind that the statement tells, of an account of which both sides tell. A mark or a
        requirement that is not told is not known."""
        told = key.kind in (Kind.BALANCE, Kind.POSITION) and key.kind in self.kinds
        return told and key.account in self.accounts

    @property
    def breaks(self) -> tuple[Match, ...]:
        """What is not matched."""
        return tuple(one for one in self.matches if one.broken)

    def counts(self) -> dict[Status, int]:
        """How many lines came to what."""
        found = Counter(one.status for one in self.matches)
        return {status: found.get(status, 0) for status in Status}

    def causes(self) -> dict[Cause, int]:
        """How many breaks have which cause."""
        found = Counter(one.cause.cause for one in self.breaks if one.cause is not None)
        return {cause: found[cause] for cause in Cause if found[cause]}

    def totals(self) -> dict[tuple[Kind, str], tuple[int, int, int]]:
        """Balances and positions by name: ours at the statement's time, theirs, the difference."""
        sums: dict[tuple[Kind, str], tuple[int, int, int]] = {}
        for one in self.matches:
            if one.key.kind in (Kind.BALANCE, Kind.POSITION):
                ours, theirs, difference = sums.get((one.key.kind, one.key.name), (0, 0, 0))
                sums[one.key.kind, one.key.name] = (
                    ours + (one.then or 0), theirs + (one.theirs or 0), difference + one.difference,
                )  # fmt: skip
        return sums


def compare(
    ours: Statement,
    theirs: Statement,
    *,
    tolerances: Tolerances | None = None,
    movements: Movements | None = None,
    accounts: frozenset[str] = frozenset(),
) -> Report:
    """Hold a statement against ours: kinds that theirs tells, and marks of contracts that it names.

    `accounts`: these alone, of both sides; all of them where none is named. Raises BadInput for a
    statement of other accounts, or of another day.
    """
    allowed = tolerances or Tolerances()
    moved = movements or Movements()
    _check_accounts(ours, theirs)
    _check_age(ours, theirs, allowed)
    ours, theirs = (_only(side, accounts) for side in (ours, theirs))
    keys = sorted({*_asked(ours, theirs), *theirs.lines})
    found = [_match(key, ours, theirs, allowed, moved) for key in keys]
    return Report(
        ours=ours.source, theirs=theirs.source, time_ms=theirs.time_ms,
        matches=tuple(_with_followers(found, _held(ours, theirs))), kinds=theirs.kinds,
        accounts=ours.accounts & theirs.accounts,
    )  # fmt: skip


def _only(side: Statement, accounts: frozenset[str]) -> Statement:
    if not accounts:
        return side
    kept = {key: line for key, line in side.lines.items()
            if not key.account or key.account in accounts}  # fmt: skip
    return replace(side, lines=kept)


def _asked(ours: Statement, theirs: Statement) -> Iterator[Key]:
    """Our lines of which theirs should tell. Marks are told of what is held: ours alone are none
    of theirs; and it tells requirements of what accounts it will."""
    of_whom = {key.account for key in theirs.lines if key.kind is Kind.REQUIREMENT}
    for key in ours.lines:
        if key.kind not in theirs.kinds or key.kind is Kind.MARK:
            continue
        if key.kind is Kind.REQUIREMENT and (
            key.account not in of_whom or key.name not in _names(theirs)
        ):
            continue
        yield key


def _names(theirs: Statement) -> set[str]:
    return {key.name for key in theirs.lines if key.kind is Kind.REQUIREMENT}


def _match(
    key: Key, ours: Statement, theirs: Statement, allowed: Tolerances, moved: Movements
) -> Match:
    mine, other = ours.lines.get(key), theirs.lines.get(key)
    places = (mine or other or _NONE).places
    as_of = theirs.time_ms if other is None or other.time_ms is None else other.time_ms
    before, after = _split(moved.of(key), as_of)
    now = None if mine is None else mine.amount
    then = _then(key, now, before, after)
    amount = 0 if other is None else other.amount
    tolerance = allowed.of(key, then or 0)
    case = Case(
        key=key, ours=then or 0, theirs=amount, places=places, theirs_line=other,
        movements=before, later=after, unit_sizes=ours.unit_sizes.get(key.name, ()), as_of_ms=as_of,
        mark_ms_max=allowed.mark_ms_max,
    )  # fmt: skip
    status = _status(key, then, None if other is None else amount, tolerance)
    causes = () if status is Status.MATCHED else causes_of(case)
    return Match(
        key=key, places=places, ours=now, then=then, theirs=None if other is None else amount,
        allowed=tolerance, status=status, later=len(after),
        cause=_first(causes) if status is not Status.MATCHED else None,
        also=tuple(dict.fromkeys(one.cause for one in causes[1:])),
    )  # fmt: skip


_NONE = Line(key=Key(Kind.BALANCE, "", ""), amount=0, places=0, digits=0)


def _first(causes: tuple[Found, ...]) -> Found:
    return causes[0] if causes else Found(cause=Cause.UNKNOWN, evidence="nothing adds up to it")


def _split(
    moved: Iterable[Movement], as_of_ms: int | None
) -> tuple[tuple[Movement, ...], tuple[Movement, ...]]:
    """Movements up to a time, and after it; all of them are before an unknown one."""
    told = tuple(moved)
    if as_of_ms is None:
        return told, ()
    return (
        tuple(one for one in told if one.time_ms <= as_of_ms),
        tuple(one for one in told if one.time_ms > as_of_ms),
    )


def _then(
    key: Key, now: int | None, before: tuple[Movement, ...], after: tuple[Movement, ...]
) -> int | None:
    """Ours at the statement's time."""
    if not after:
        return now
    if key.kind is Kind.MARK:
        return before[-1].amount if before else now
    then = (now or 0) - sum(one.amount for one in after)
    return None if now is None and not then else then


def _status(key: Key, ours: int | None, theirs: int | None, allowed: int) -> Status:
    if abs((theirs or 0) - (ours or 0)) <= allowed and key.kind is not Kind.MARK:
        return Status.MATCHED
    if ours is None and theirs is not None:
        return Status.MISSING_OURS
    if theirs is None and ours is not None:
        return Status.MISSING_THEIRS
    return Status.MATCHED if abs((theirs or 0) - (ours or 0)) <= allowed else Status.DIFFERENT


def _held(*sides: Statement) -> dict[str, set[str]]:
    """Account → contracts that it has a position in, on either side."""
    found: dict[str, set[str]] = {}
    for side in sides:
        for key, line in side.lines.items():
            if key.kind is Kind.POSITION and line.amount:
                found.setdefault(key.account, set()).add(key.name)
    return found


def _with_followers(
    found: Iterable[Match], held: Mapping[str, AbstractSet[str]]
) -> Iterator[Match]:
    """Requirements that differ in an account in which something else differs, or which holds a
    contract whose mark differs, follow from that."""
    told = list(found)
    wrong = {one.key.account: one for one in told
             if one.broken and one.key.kind in (Kind.BALANCE, Kind.POSITION)}  # fmt: skip
    marks = {one.key.name for one in told if one.broken and one.key.kind is Kind.MARK}
    for one in told:
        first = wrong.get(one.key.account)
        unknown = one.cause is not None and one.cause.cause is Cause.UNKNOWN
        mine = sorted(marks & held.get(one.key.account, set()))
        if one.key.kind is Kind.REQUIREMENT and unknown and (first is not None or mine):
            what = f"mark {mine[0]} differs" if first is None else f"{first.key} differs"
            yield replace(one, cause=Found(cause=Cause.FOLLOWS, evidence=what))
        else:
            yield one


def _check_accounts(ours: Statement, theirs: Statement) -> None:
    if theirs.accounts and ours.accounts and not theirs.accounts & ours.accounts:
        raise BadInput(
            Problem(
                code=Reject.ACCOUNT_UNKNOWN, source=theirs.source, field="account",
                expected="an account that we have, such as "
                + ", ".join(sorted(ours.accounts)[:3]),
                found=", ".join(sorted(theirs.accounts)[:3]),
            )
        )  # fmt: skip


def _check_age(ours: Statement, theirs: Statement, allowed: Tolerances) -> None:
    """Neither so old nor so new that it is another day's."""
    if ours.time_ms is None or theirs.time_ms is None:
        return
    if abs(ours.time_ms - theirs.time_ms) > allowed.statement_ms_max:
        raise BadInput(
            Problem(
                code=Reject.TIME_INVALID, source=theirs.source, field="time",
                expected=f"within {allowed.statement_ms_max} ms of our books, "
                f"{moment_of(ours.time_ms):%Y-%m-%d %H:%M} UTC",
                found=f"{moment_of(theirs.time_ms):%Y-%m-%d %H:%M} UTC",
            )
        )  # fmt: skip
