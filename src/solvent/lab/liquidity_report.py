"""What bars and a chain say of one coin's liquidity, with what had to be assumed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Final

import numpy as np

from solvent.margining.liquidity import CoinLiquidity, average_volume, half_spread_of_range
from solvent.market import Snapshot
from solvent.pricing.option_quotes import gate, quotes_of
from solvent.scenarios.bars import Bars
from solvent.units import Float64

_DAYS: Final = 30
_ASSUMED_HALF_SPREAD: Final = 0.01
_OPTIONS_PART: Final = 0.05
_TENORS: Final = (7.0, 30.0, 120.0)
NO_DEPTH: Final = "depth is not told by bars: 0, so nothing is closed for the spread alone"
NO_CHAIN: Final = (
    "without a chain: half a spread of one point, and vega volume as if options of 5 % of the "
    "coin's volume traded at the money"
)
NO_SPREAD: Final = "the chain has no two-sided quotes of the coin: half a spread of one point"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A coin's liquidity, the last day it was seen on, and notes."""

    liquidity: CoinLiquidity
    last_day: date
    notes: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        """For `--json`."""
        one = self.liquidity
        return {
            **one.values(), "daily_sd": one.daily_sd, "last_day": self.last_day.isoformat(),
            "notes": list(self.notes),
        }  # fmt: skip


def coin_liquidity(
    name: str,
    bars: Bars,
    chain: Snapshot | None = None,
    *,
    vega_volume: tuple[float, float, float] | None = None,
    depth: float | None = None,
) -> Found:
    """Volume, spread and deviation from bars; an option's half-spread from a chain's quotes.

    `stress_fall`, for wrong-way risk, is the fall of a day that one day in two hundred passes. The
    daily deviation is the larger of the last 30 days' and the history's. Raises BadInput for fewer
    than twenty days.
    """
    notes: list[str] = []
    volume = average_volume(bars.day, bars.volume, days=_DAYS)
    daily = _daily_returns(bars)
    sd = max(float(np.sqrt((daily[-_DAYS:] ** 2).mean())), float(np.sqrt((daily**2).mean())))
    if depth is None:
        notes.append(NO_DEPTH)
    half, told = _ASSUMED_HALF_SPREAD, vega_volume
    if chain is None:
        notes.append(NO_CHAIN)
    else:
        found = _option_half_spread(name, chain)
        if found is None:
            notes.append(NO_SPREAD)
        half = found or half
    if told is None:
        dollars = _OPTIONS_PART * volume * float(bars.close[-1]) / len(_TENORS)
        short, medium, long = (0.3989 * dollars * (days / 365.0) ** 0.5 for days in _TENORS)
        told = short, medium, long
    liquidity = CoinLiquidity(
        underlying=name,
        volume=volume,
        depth=depth or 0.0,
        half_spread=half_spread_of_range(bars.high, bars.low, bars.close),
        vol_half_spread=half,
        daily_sd=sd,
        vega_volume=told,
        stress_fall=max(0.0, -float(np.expm1(np.quantile(daily, 0.005)))),
    )
    last = datetime.fromtimestamp(int(bars.time_ms[-1]) / 1000, tz=UTC).date()
    return Found(liquidity=liquidity, last_day=last, notes=tuple(notes))


def _daily_returns(bars: Bars) -> Float64:
    last = np.flatnonzero(np.diff(bars.day, append=bars.day[-1] + 1) > 0)
    return np.diff(np.log(bars.close[last]))


def _option_half_spread(name: str, chain: Snapshot) -> float | None:
    """Median half-spread in volatility of the coin's options within a deviation of the forward."""
    quotes = quotes_of(chain).of({name})
    if not len(quotes):
        return None
    gated = gate(quotes)
    with np.errstate(divide="ignore", invalid="ignore"):
        near = np.abs(gated.k) <= gated.vol * np.sqrt(np.maximum(quotes.years, 0.0))
    used = gated.usable & near & np.isfinite(gated.half_spread) & (gated.half_spread > 0.0)
    return float(np.median(gated.half_spread[used])) if used.any() else None
