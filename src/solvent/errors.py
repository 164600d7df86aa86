"""Three kinds of failure, never mixed.

A *rejection* is a value: a `Reject` from a closed enum whose codes are never reused. *Bad input*
is an exception that names the file, the row and the field, and what was expected and found; the
shell turns it into one line and exit code 2. A *broken invariant* is a fault of Solvent itself and
stops the process.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, unique


@unique
class Reject(IntEnum):
    """Why something was refused. A code keeps its number for ever; retired codes stay listed."""

    # What was said could not be understood.
    SYMBOL_UNKNOWN = 101
    FIELD_MISSING = 102
    FIELD_NOT_A_NUMBER = 103
    FIELD_NOT_FINITE = 104
    SIZE_NOT_WHOLE_LOTS = 105
    SIZE_TOO_LARGE = 106
    ACCOUNT_EMPTY = 107
    PRICE_NOT_POSITIVE = 108
    TIME_INVALID = 109
    SIDE_UNKNOWN = 110
    # It was understood, and the market cannot carry it.
    INSTRUMENT_NOT_IN_MARKET = 201
    INSTRUMENT_EXPIRED = 202
    MARK_MISSING = 203
    VOL_MISSING = 204
    QUOTE_CROSSED = 205
    QUOTE_ZERO = 206
    INDEX_MISSING = 207
    # The rulebook cannot carry it.
    RULEBOOK_UNKNOWN = 301
    PARAMETER_UNSET = 302
    COLLATERAL_NOT_ACCEPTED = 303
    EXACT_RANGE_EXCEEDED = 304
    INPUT_INVALID = 305
    # The source itself is broken.
    SOURCE_UNREADABLE = 401
    SOURCE_EMPTY = 402
    ROW_MALFORMED = 403
    ROW_DUPLICATED = 404
    TARGET_UNWRITABLE = 405


class SolventError(Exception):
    """Everything that Solvent raises on purpose."""


class InvariantBroken(SolventError):
    """A fault of Solvent, not of its input: stop, and do not trust the state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong with one piece of input, as a value."""

    code: Reject
    source: str
    expected: str
    found: str
    row: int | None = None
    """Counted from 1, a table's header not counted."""
    line: int | None = None
    """Line of a text file, where rows are lines."""
    field: str | None = None

    def __str__(self) -> str:
        where = self.source
        if self.row is not None:
            where += f", row {self.row}"
        if self.line is not None:
            where += f" (line {self.line})"
        if self.field is not None:
            where += f", field {self.field!r}"
        return f"{where}: expected {self.expected}, found {self.found} [{self.code.name}]"


class BadInput(SolventError):
    """Input that cannot be used; `problems` lists everything that was seen wrong."""

    def __init__(self, *problems: Problem) -> None:
        check(len(problems) > 0, "bad input names at least one problem")
        self.problems = problems
        super().__init__(*problems)

    def __str__(self) -> str:
        return str(self.problems[0])


class RulebookError(SolventError):
    """A rulebook that does not say something that can be computed; names the file and the key."""


class MissingExtra(SolventError):
    """A feature needs a package that is not installed."""

    def __init__(self, *, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs an extra: pip install 'solvent[{extra}]'")


def check(holds: bool, invariant: str, *seen: object) -> None:
    """Hold an invariant, also under `python -O`.

    >>> check(2 + 2 == 4, "arithmetic holds")
    >>> check(1 > 2, "sorted", 1, 2)
    Traceback (most recent call last):
    ...
    solvent.errors.InvariantBroken: sorted, was 1, 2
    """
    if not holds:
        was = f", was {', '.join(map(repr, seen))}" if seen else ""
        raise InvariantBroken(f"{invariant}{was}")
