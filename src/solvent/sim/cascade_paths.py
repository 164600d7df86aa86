"""A crash told by the second: what prices may have done between the moments that are known.

Bars tell a low, a high and how far a price went; not when. Between two moments the logs of prices
go on a straight line plus a Brownian bridge: its variance is what each bar's range says of it
(Parkinson), coins move together as the bars of the crash did, and what would leave a bar's range is
folded back into it. Where nothing is known of a bar it is the straight line alone. At the moments
themselves the path has their prices to the bit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from solvent.errors import check

STEP_MS: Final = 1_000
"""Between two moments the path is told at least so often."""
_PARKINSON: Final = 4.0 * math.log(2.0)
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars:
    """What is known of spans of time, one after the other.

    Attributes:
        begin_ms: [bar], ascending; a bar ends where the next begins, the last `span_ms` later.
        low, high: [bar] of each coin. moved: [bar] of each coin, log of close over open.
    """

    begin_ms: tuple[int, ...]
    span_ms: int
    low: Mapping[str, tuple[float, ...]]
    high: Mapping[str, tuple[float, ...]]
    moved: Mapping[str, tuple[float, ...]]

    def variance(self, coin: str) -> Floats:
        """[bar] variance of the log price in a millisecond: ln(high/low)² / (4 ln 2) / span.

        >>> bars = Bars(begin_ms=(0,), span_ms=900_000, low={"A": (90.0,)}, high={"A": (100.0,)},
        ...             moved={"A": (0.01,)})
        >>> round(math.sqrt(bars.variance("A")[0] * 1_000), 6)
        0.002109
        """
        span = np.log(np.array(self.high[coin]) / np.array(self.low[coin]))
        return np.asarray(span**2 / _PARKINSON / self.span_ms)

    def at(self, times_ms: Floats) -> NDArray[np.intp]:
        """The bar in which each time lies, the nearest where it is in none."""
        found = np.searchsorted(self.begin_ms, times_ms, side="right") - 1
        return np.clip(found, 0, len(self.begin_ms) - 1)


@dataclass(frozen=True, slots=True)
class Path:
    """Prices at any time: [time] ascending, and [time] of each coin."""

    times_ms: Floats
    price: Mapping[str, Floats]

    def at(self, time_ms: float) -> dict[str, float]:
        """Prices at a time; before the first and after the last, theirs."""
        return {
            coin: float(np.interp(time_ms, self.times_ms, one)) for coin, one in self.price.items()
        }


def path_of(
    times_ms: tuple[int, ...], price: Mapping[str, tuple[float, ...]], bars: Bars | None, seed: int
) -> Path:
    """The path through all moments, drawn from a seed; the straight one without bars.

    >>> found = path_of((0, 4_000), {"A": (100.0, 121.0)}, None, 1)
    >>> found.times_ms.tolist(), round(found.at(2_000)["A"], 6)
    ([0.0, 1000.0, 2000.0, 3000.0, 4000.0], 110.0)
    """
    check(all(a < b for a, b in pairwise(times_ms)), "moments are in order")
    pieces = [
        np.linspace(a, b, max(1, math.ceil((b - a) / STEP_MS)), endpoint=False)
        for a, b in pairwise(times_ms)
    ]
    times = np.array([*(one for piece in pieces for one in piece.tolist()), float(times_ms[-1])])
    pins = np.searchsorted(times, times_ms)
    coins = list(price)
    line = np.array([np.interp(times, times_ms, np.log(price[coin])) for coin in coins])
    if bars is not None:
        line = _rough(line, times, pins, coins, bars, seed)
    found = np.exp(line)
    for row, coin in enumerate(coins):
        found[row, pins] = price[coin]
    return Path(times, {coin: found[row] for row, coin in enumerate(coins)})


def _rough(
    line: Floats, times: Floats, pins: NDArray[np.intp], coins: list[str], bars: Bars, seed: int
) -> Floats:
    """[coin, time] logs with a bridge from each moment to the next."""
    rng = np.random.Generator(np.random.PCG64([seed, 2]))
    moved = np.array([bars.moved[coin] for coin in coins])
    size = np.sqrt((moved**2).mean(axis=1, keepdims=True))
    # A sum of the bars' own returns with weights of deviation one moves as they do together.
    own = moved / np.where(size > 0, size, 1.0) / math.sqrt(moved.shape[1])
    place = bars.at(0.5 * (times[1:] + times[:-1]))
    draws = own @ rng.normal(size=(moved.shape[1], len(times) - 1))
    variance = np.array([bars.variance(coin) for coin in coins])[:, place] * np.diff(times)
    walk = np.concatenate(
        [np.zeros((len(coins), 1)), np.cumsum(np.sqrt(variance) * draws, axis=1)], axis=1
    )
    clock = np.concatenate([np.zeros((len(coins), 1)), np.cumsum(variance, axis=1)], axis=1)
    found = line.copy()
    for first, last in pairwise(pins):
        part = slice(first, last + 1)
        run = clock[:, part] - clock[:, first : first + 1]
        whole = np.where(run[:, -1:] > 0, run[:, -1:], 1.0)
        steps = walk[:, part] - walk[:, first : first + 1]
        found[:, part] += steps - run / whole * steps[:, -1:]
    here = bars.at(times)
    low = np.log(np.array([bars.low[coin] for coin in coins]))[:, here]
    high = np.log(np.array([bars.high[coin] for coin in coins]))[:, here]
    folded = np.where(found < low, 2 * low - found, np.where(found > high, 2 * high - found, found))
    return np.asarray(np.clip(folded, low, high))
