"""How long things took: counts in buckets whose width is a 32nd of what they hold (HDR)."""

from __future__ import annotations

import numpy as np

from solvent.errors import check

_BITS = 5
_FINE = 1 << _BITS


class Latencies:
    """A histogram of whole nanoseconds; a percentile is at most 1/32 above the true one.

    >>> seen = Latencies()
    >>> for ns in (100, 200, 300, 40_000):
    ...     seen.record(ns)
    >>> seen.percentile(50), seen.percentile(99), seen.most, len(seen)
    (203, 40000, 40000, 4)
    """

    def __init__(self) -> None:
        self._counts = np.zeros(64 * _FINE, np.int64)
        self.most = 0

    def __len__(self) -> int:
        return int(self._counts.sum())

    def record(self, ns: int) -> None:
        """Count one time, 0 or more."""
        check(0 <= ns < 2**62, "a time is not negative", ns)
        self._counts[_bucket(ns)] += 1
        self.most = max(self.most, ns)

    def percentile(self, percent: float) -> int:
        """Nanoseconds that so many of a hundred did not exceed; 0 of nothing."""
        check(0.0 < percent <= 100.0, "a share of a hundred", percent)
        running = np.cumsum(self._counts)
        if running[-1] == 0:
            return 0
        rank = int(np.ceil(percent / 100.0 * float(running[-1])))
        return min(_highest(int(np.searchsorted(running, rank))), self.most)


def _bucket(ns: int) -> int:
    """Exact below 32; else by the highest bit and the five after it."""
    shift = max(0, ns.bit_length() - _BITS - 1)
    return shift * _FINE + (ns >> shift)


def _highest(bucket: int) -> int:
    """The most that a bucket holds."""
    shift = max(0, bucket // _FINE - 1)
    return ((bucket - shift * _FINE + 1) << shift) - 1
