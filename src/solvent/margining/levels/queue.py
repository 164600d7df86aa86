"""What queues of rows hold behind their first units: open orders behind those that close."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from solvent.units import Float64


def beyond(
    groups: NDArray[np.int64],
    count: int,
    free: Float64,
    rank: Float64,
    size: Float64,
    value: Float64,
) -> Float64:
    """[group] Σ value × the part of size behind the first `free` units; an empty group has 0.

    Rows of a group queue by rising rank, those of one rank as they come. A group with a NaN is NaN.

    >>> beyond(np.array([0, 0]), 2, np.full(2, 4.0), np.array([150.0, 100.0]),
    ...        np.array([2.0, 5.0]), np.array([150.0, 100.0])).tolist()
    [400.0, 0.0]
    """
    order = np.lexsort((rank, groups))
    free, rank, size, value = free[order], rank[order], size[order], value[order]
    first = np.searchsorted(groups[order], np.arange(count + 1))
    waiting = np.diff(first)
    passed, total = np.zeros(count), np.zeros(count)
    # All groups step along their queues together: a group's sums do not depend on the others.
    for place in range(int(waiting.max(initial=0))):
        here = np.flatnonzero(waiting > place)
        row = first[here] + place
        passed[here] += size[row]
        behind = np.minimum(size[row], np.maximum(passed[here] - free[row], 0.0))
        total[here] += value[row] * behind + 0.0 * rank[row]
    return total


def ahead(groups: NDArray[np.int64], rank: Float64, size: Float64) -> Float64:
    """[row] size of the rows of its group that stand before it, by rising rank, then as they come.

    A group with a NaN is NaN.

    >>> ahead(np.array([0, 1, 0]), np.array([15.0, 1.0, 10.0]), np.array([2.0, 7.0, 5.0])).tolist()
    [5.0, 0.0, 0.0]
    """
    order = np.lexsort((rank, groups))
    first = np.searchsorted(groups[order], np.arange(groups.max(initial=-1) + 2))
    waiting = np.diff(first)
    passed = np.zeros(len(waiting))
    result = np.zeros(len(groups))
    for place in range(int(waiting.max(initial=0))):
        here = np.flatnonzero(waiting > place)
        row = order[first[here] + place]
        result[row] = passed[here]
        passed[here] += size[row] + 0.0 * rank[row]
    return result + 0.0 * passed[groups]
