"""What a set of scenarios was made with: named repairs, assumptions and fallbacks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from solvent.errors import BadInput, Problem, Reject
from solvent.scenarios.joint import JointShocks

Times = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """One named repair, assumption or fallback, for reports.

    Attributes:
        code: its name, such as `gap-filled` or `garch-fallback`; docs/history.md lists them all.
        subject: the coin or factor; "" for the whole set.
        count: how often, in the history that the set was made of.
        text: the same in words.
    """

    code: str
    subject: str
    count: int
    text: str

    def __str__(self) -> str:
        return f"{self.subject + ': ' if self.subject else ''}{self.text} [{self.code}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """One kind of repair and the times (sorted) at which it was made."""

    code: str
    subject: str
    text: str
    time_ms: Times

    def note(self, *, after_ms: int, until_ms: int) -> Note | None:
        """How often in (after, until]; None where never."""
        low, high = np.searchsorted(self.time_ms, [after_ms, until_ms], side="right")
        count = int(high - low)
        if count == 0:
            return None
        text = f"{count} {self.text}"
        return Note(code=self.code, subject=self.subject, count=count, text=text)


def mark_of(code: str, subject: str, text: str, times: Times) -> Mark:
    """A mark of times in any order."""
    return Mark(code=code, subject=subject, text=text, time_ms=np.sort(times))


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A set of scenarios, and what was repaired, assumed or put in its place on the way.

    Attributes:
        notes: in the order of the work.
        volatility: coin → today's deviation of a day's return that its scenarios are scaled to,
            after any tools; empty without a filter.
        volatility_raw: the same before the tools.
    """

    shocks: JointShocks
    notes: tuple[Note, ...]
    volatility: Mapping[str, float] = field(default_factory=dict)
    volatility_raw: Mapping[str, float] = field(default_factory=dict)


def refused(source: str, subject: str, *, expected: str, found: str) -> BadInput:
    """History that cannot be used, as an error that says whose and why.

    >>> raise refused("history", "SOL", expected="250 windows", found="12")
    Traceback (most recent call last):
    ...
    solvent.errors.BadInput: history, field 'SOL': expected 250 windows, found 12 [INPUT_INVALID]
    """
    return BadInput(
        Problem(
            code=Reject.INPUT_INVALID,
            source=source,
            field=subject or None,
            expected=expected,
            found=found,
        )
    )
