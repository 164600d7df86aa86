"""How far a venue's clock is from ours, and how late its messages come.

What is received at r and stamped v by the venue came late by r − v = latency + skew, where latency
is 0 or more. The least of r − v over a window is therefore the most that the skew (ours minus the
venue's) can be; a round trip bounds it from both sides: sent ≤ v + skew ≤ received.
"""

from __future__ import annotations

from collections import deque
from typing import Final

_WINDOW: Final = 4_096
"""Messages over which the least lateness and the latency are taken."""
_MOST_MS: Final = 1 << 53
_HOLDS_MS: Final = 600_000
"""How long a round trip's bounds stand against wider ones: clocks drift."""


class Clock:
    """One venue's clock, from what it stamps."""

    def __init__(self) -> None:
        self._late: deque[int] = deque(maxlen=_WINDOW)
        self._low = -_MOST_MS
        self._high = _MOST_MS
        self._bound_ms = 0

    def heard(self, *, time_ms: int, received_ms: int) -> None:
        """A message stamped by the venue."""
        self._late.append(received_ms - time_ms)

    def round_trip(self, *, sent_ms: int, time_ms: int, received_ms: int) -> None:
        """The venue told its time between two moments of ours; the narrowest bounds stay,
        for as long as they are young."""
        old = received_ms - self._bound_ms > _HOLDS_MS
        if old or received_ms - sent_ms <= self._high - self._low:
            self._low, self._high = sent_ms - time_ms, received_ms - time_ms
            self._bound_ms = received_ms

    @property
    def skew_ms(self) -> int | None:
        """Our clock minus the venue's: the middle of a round trip's bounds; without one the least
        lateness, which is too high by the least latency. None before anything was heard.

        >>> clock = Clock()
        >>> clock.heard(time_ms=1_000, received_ms=1_250)
        >>> clock.round_trip(sent_ms=1_190, time_ms=1_000, received_ms=1_210)
        >>> clock.skew_ms, clock.latency_ms(50)
        (200, 50)
        """
        if self._high < _MOST_MS:
            return (self._low + self._high) // 2
        return min(self._late) if self._late else None

    def latency_ms(self, percent: int) -> int | None:
        """How late messages came, the skew taken off; a percentile of the last thousands."""
        skew = self.skew_ms
        if skew is None or not self._late:
            return None
        ordered = sorted(self._late)
        return max(0, ordered[min(len(ordered) - 1, len(ordered) * percent // 100)] - skew)
