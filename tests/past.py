"""A made-up history for rulebooks whose scenarios are made of one: fat tails, coins that move
together, quiet and loud months."""

from __future__ import annotations

from functools import cache

import numpy as np

from solvent.market import Snapshot
from solvent.scenarios.history import Series
from solvent.units import DAY_MS

DAYS = 1_600
NAMES = ("BTC", "ETH", "SOL", "DOGE", "XRP")


def past(market: Snapshot, *, seed: int = 7) -> Series:
    """Daily prices of every coin that generated markets have, up to the market's day."""
    return _series(int(market.as_of_ms), tuple(market.universe.underlyings), seed)


@cache
def _series(as_of_ms: int, underlyings: tuple[str, ...], seed: int) -> Series:
    rng = np.random.default_rng(seed)
    names = tuple(dict.fromkeys((*NAMES, *underlyings)))
    loud = np.exp(0.5 * np.sin(np.arange(DAYS) / 60.0))
    common = rng.standard_t(4, DAYS) * 0.02 * loud
    own = rng.standard_t(4, (DAYS, len(names))) * 0.012 * loud[:, None]
    shape = (DAYS, len(names))
    level = np.log(0.6) + 0.3 * np.log(loud)[:, None] + rng.normal(0.0, 0.02, shape).cumsum(0) * 0.1
    today = as_of_ms // DAY_MS * DAY_MS
    return Series(
        names=names,
        time_ms=np.arange(today - (DAYS - 1) * DAY_MS, today + 1, DAY_MS, dtype=np.int64),
        price=100.0 * np.exp(np.cumsum(common[:, None] + own, axis=0)),
        level=level,
        skew=-0.03 + rng.normal(0.0, 0.004, shape),
        term=-0.02 + rng.normal(0.0, 0.004, shape),
        curve=0.02 + rng.normal(0.0, 0.002, shape),
        basis=0.05 + rng.normal(0.0, 0.01, shape),
        source="tests.past",
    )
