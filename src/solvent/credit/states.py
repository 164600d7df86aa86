"""Where a counterparty stands with its lender, and how that goes on.

    within ─► warning ─► call ─► cure ─► default ─► closed
       ▲─────────┴────────┴───────┘  (paid, or needed no more)

A call is to be met by `due_ms`; from then on it is being cured, until `cure_ms` more have passed.
What is still not there then is a default: the line ends, and all is closed out. A counterparty
whose maintenance margin is not there is closed out at once, whatever the clock says.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from fractions import Fraction

from solvent.errors import check


class CallState(StrEnum):
    """Six states, from best to worst."""

    WITHIN = "within"
    WARNING = "warning"
    CALL = "call"
    CURE = "cure"
    DEFAULT = "default"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """How long a call may stand, and from which share of the line on there is a warning."""

    due_ms: int
    cure_ms: int
    warn_at: Fraction

    def __post_init__(self) -> None:
        check(self.due_ms > 0 and self.cure_ms >= 0, "there is time to pay", self.due_ms)
        check(0 < self.warn_at <= 1, "a share of the line", self.warn_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stand:
    """A state, since when, and what is called (millionths of a dollar; 0 where nothing is)."""

    state: CallState = CallState.WITHIN
    since_ms: int = 0
    called_ms: int = 0
    called_micro: int = 0


def goes_on(
    was: Stand, clock: Clock, *, time_ms: int, call_micro: int, utilisation: Fraction,
    closed: bool = False,
) -> Stand:  # fmt: skip
    """The state now. `call_micro` is what the annex calls (`csa.call_amount`), `closed` whether the
    books have been closed out. A call keeps its clock while it stands, whatever its amount does.

    >>> clock = Clock(due_ms=10, cure_ms=5, warn_at=Fraction(4, 5))
    >>> stand, told = Stand(), []
    >>> for time, amount in ((0, 0), (1, 7), (10, 9), (11, 9), (15, 9), (16, 9)):
    ...     stand = goes_on(stand, clock, time_ms=time, call_micro=amount, utilisation=Fraction(0))
    ...     told.append(str(stand.state))
    >>> told
    ['within', 'call', 'call', 'cure', 'cure', 'default']
    """
    if was.state is CallState.CLOSED or closed:
        return _since(was, CallState.CLOSED, time_ms, 0, 0)
    if was.state is CallState.DEFAULT:
        return replace(was, called_micro=call_micro)
    if call_micro <= 0:
        warned = utilisation >= clock.warn_at
        state = CallState.WARNING if warned else CallState.WITHIN
        return _since(was, state, time_ms, 0, 0)
    stands = was.state in (CallState.CALL, CallState.CURE)
    called_ms = was.called_ms if stands else time_ms
    age_ms = time_ms - called_ms
    state = CallState.CALL
    if age_ms >= clock.due_ms:
        state = CallState.CURE if age_ms < clock.due_ms + clock.cure_ms else CallState.DEFAULT
    return _since(was, state, time_ms, called_ms, call_micro)


def _since(was: Stand, state: CallState, time_ms: int, called_ms: int, called: int) -> Stand:
    since_ms = was.since_ms if state is was.state else time_ms
    return Stand(state=state, since_ms=since_ms, called_ms=called_ms, called_micro=called)
