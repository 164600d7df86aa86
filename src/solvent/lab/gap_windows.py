"""Windows of 24 hours in a history of prices, with a volatility that knew no future."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from solvent.errors import BadInput, Problem, Reject
from solvent.units import DAY_MS, YEAR_MS, Float64

STEP_MS: Final = 7_200_000
WINDOW_STEPS: Final = 12
HALF_LIFE_DAYS: Final = 7.0
VOL_FLOOR: Final = 0.40
VOL_STEP: Final = 0.02
_WARM_STEPS: Final = 14 * 12


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceHistory:
    """Prices of one coin in time; `time_ms` rises."""

    name: str
    time_ms: np.ndarray[Any, np.dtype[np.int64]]
    price: Float64


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """Windows of 24 hours, one a row: when it begins, its log move, volatility before and after."""

    name: str
    begin_ms: np.ndarray[Any, np.dtype[np.int64]]
    log_move: Float64
    vol: Float64
    vol_after: Float64

    def __len__(self) -> int:
        return len(self.begin_ms)

    def taken(self, rows: np.ndarray[Any, Any]) -> Windows:
        """Some of the windows."""
        return Windows(
            name=self.name, begin_ms=self.begin_ms[rows], log_move=self.log_move[rows],
            vol=self.vol[rows], vol_after=self.vol_after[rows],
        )  # fmt: skip


def windows_of(history: PriceHistory) -> Windows:
    """Every window of 24 hours that the history has prices for, on steps of two hours.

    A step takes the last price of the two hours before it; where there is none, no window runs
    over it, and the volatility starts anew. Raises BadInput for prices that are none.
    """
    time_ms, price = history.time_ms, history.price
    if len(time_ms) < 2 or not ((price > 0.0) & np.isfinite(price)).all():
        raise BadInput(_problem(history.name, "positive prices", "others, or too few"))
    if not (np.diff(time_ms) > 0).all():
        raise BadInput(_problem(history.name, "times that rise", "times out of order or twice"))
    steps = np.arange(-(-int(time_ms[0]) // STEP_MS), int(time_ms[-1]) // STEP_MS + 1)
    last = np.searchsorted(time_ms, steps * STEP_MS, side="right") - 1
    told = (last >= 0) & (steps * STEP_MS - time_ms[np.maximum(last, 0)] < STEP_MS)
    log_price = np.log(price[np.maximum(last, 0)])
    vol, warm = _vols(log_price, told)
    begin = np.arange(len(steps) - WINDOW_STEPS)
    end = begin + WINDOW_STEPS
    gaps = np.concatenate([[0], np.cumsum(~told)])
    whole = (gaps[end + 1] == gaps[begin]) & warm[begin]
    return Windows(
        name=history.name,
        begin_ms=(steps[begin] * STEP_MS)[whole],
        log_move=(log_price[end] - log_price[begin])[whole],
        vol=vol[begin][whole],
        vol_after=vol[end][whole],
    )


def _vols(log_price: Float64, told: np.ndarray[Any, np.dtype[np.bool_]]) -> tuple[Float64, Any]:
    """Exponentially weighted volatility a step, in whole steps of two points, and where it has
    seen 14 days without a gap."""
    decay = 0.5 ** (STEP_MS / DAY_MS / HALF_LIFE_DAYS)
    a_year = YEAR_MS / STEP_MS
    vol, warm = np.empty(len(log_price)), np.zeros(len(log_price), dtype=bool)
    total = weight = 0.0
    seen = 0
    for step in range(len(log_price)):
        if step and told[step] and told[step - 1]:
            total = decay * total + (log_price[step] - log_price[step - 1]) ** 2
            weight = decay * weight + 1.0
            seen += 1
        elif not told[step]:
            total = weight = 0.0
            seen = 0
        raw = np.sqrt(total / weight * a_year) if weight else VOL_FLOOR
        vol[step] = max(VOL_FLOOR, round(raw / VOL_STEP) * VOL_STEP)
        warm[step] = seen >= _WARM_STEPS
    return vol, warm


def joined(each: Sequence[Windows]) -> Windows:
    """Windows of several histories of one coin; where they overlap the first told counts."""
    begin = np.concatenate([one.begin_ms for one in each])
    _, first = np.unique(begin, return_index=True)
    columns = {
        name: np.concatenate([getattr(one, name) for one in each])[first]
        for name in ("log_move", "vol", "vol_after")
    }
    return Windows(name=each[0].name, begin_ms=begin[first], **columns)


def _problem(source: str, expected: str, found: str) -> Problem:
    return Problem(code=Reject.INPUT_INVALID, source=source, expected=expected, found=found)
