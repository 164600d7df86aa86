"""Protection of a market maker's group of orders: what was filled within a window, and its limits.

Lots are counted without sign, delta in billionths of a coin with the sign of what was bought.
"""

from __future__ import annotations

from collections import deque


class Protection:
    """One group's limits, its fills within the window, and whether it is frozen.

    Attributes:
        window_ms: how long a fill counts. frozen_ms: how long a group that tripped may not quote, 0
            for until it is reset. lots, delta_nano: more than these trips; None for no limit.
        tripped: since it was set. until_ms: it may quote again from then, 0 for when it is reset.
        notes: (time, lots, delta) of each fill that counts, the oldest first.
    """

    __slots__ = (
        "_sum_delta_nano", "_sum_lots", "delta_nano", "frozen_ms", "lots", "notes", "tripped",
        "until_ms", "window_ms",
    )  # fmt: skip

    def __init__(
        self, *, window_ms: int, frozen_ms: int, lots: int | None, delta_nano: int | None
    ) -> None:
        self.window_ms = window_ms
        self.frozen_ms = frozen_ms
        self.lots = lots
        self.delta_nano = delta_nano
        self.tripped = False
        self.until_ms = 0
        self.notes: deque[tuple[int, int, int]] = deque()
        self._sum_lots = 0
        self._sum_delta_nano = 0

    def frozen(self, time_ms: int) -> bool:
        """Whether the group may not quote now."""
        return self.tripped and (self.until_ms == 0 or time_ms < self.until_ms)

    def note(self, time_ms: int, lots: int, delta_nano: int) -> bool:
        """Count a fill and forget those that have left the window; whether a limit is exceeded.

        >>> group = Protection(window_ms=10, frozen_ms=0, lots=5, delta_nano=None)
        >>> group.note(0, 3, 0), group.note(9, 2, 0), group.note(10, 3, 0), group.note(11, 1, 0)
        (False, False, False, True)
        """
        notes = self.notes
        notes.append((time_ms, lots, delta_nano))
        self._sum_lots += lots
        self._sum_delta_nano += delta_nano
        while notes and notes[0][0] <= time_ms - self.window_ms:
            _, old_lots, old_delta_nano = notes.popleft()
            self._sum_lots -= old_lots
            self._sum_delta_nano -= old_delta_nano
        return (self.lots is not None and self._sum_lots > self.lots) or (
            self.delta_nano is not None and abs(self._sum_delta_nano) > self.delta_nano
        )

    def trip(self, time_ms: int) -> None:
        """Freeze the group from now on; its fills are forgotten."""
        self.reset()
        self.tripped = True
        self.until_ms = time_ms + self.frozen_ms if self.frozen_ms else 0

    def reset(self) -> None:
        """Let the group quote again; its fills are forgotten."""
        self.tripped = False
        self.until_ms = 0
        self.notes.clear()
        self._sum_lots = 0
        self._sum_delta_nano = 0
