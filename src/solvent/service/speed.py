"""How long a batch takes by how much is in it: a straight line through the batches of late.

Much of a batch's time does not depend on what is in it. Seconds divided by count would say after
one slow batch of few that many take for ever.
"""

from __future__ import annotations

import math
from typing import Final

NEWS: Final = 0.2
"""What the last batch counts for in the speed of late."""


class Speed:
    """See the module.

    >>> speed = Speed()
    >>> for count in (100, 2_000) * 40:
    ...     speed.note(count, 0.002 + 0.000_003 * count)
    >>> f"{speed.batch_s(1_000):.4f} {speed.fits(0.005):.0f}"
    '0.0050 1000'
    """

    def __init__(self) -> None:
        self._count = self._seconds = 0.0
        self._spread = self._joint = 0.0
        self.each_s = 0.0
        """What each adds to a batch."""

    def note(self, count: int, seconds: float) -> None:
        """A batch was answered."""
        news = NEWS if self._count else 1.0
        more, longer = count - self._count, seconds - self._seconds
        self._count += news * more
        self._seconds += news * longer
        self._spread = (1 - news) * (self._spread + news * more * more)
        self._joint = (1 - news) * (self._joint + news * more * longer)
        if self._spread > 1.0:
            # Batches of one size say nothing of others: then the slope stays what it was.
            self.each_s = self._joint / self._spread
        self.each_s = min(max(self.each_s, 0.0), self._seconds / self._count)

    @property
    def begun_s(self) -> float:
        """What a batch takes whatever is in it: its arrays."""
        return max(0.0, self._seconds - self.each_s * self._count)

    def batch_s(self, count: float) -> float:
        """How long a batch of so many takes; 0 before there were any."""
        return self.begun_s + self.each_s * count

    def fits(self, seconds: float) -> float:
        """How many a batch of so many seconds has; infinite where each costs nothing."""
        left_s = seconds - self.begun_s
        if left_s <= 0.0:
            return 0.0
        return left_s / self.each_s if self.each_s else math.inf
