"""Volatility surfaces after joint shocks: a level, a skew and a term shift, on every option."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from solvent.elementary import exp, log
from solvent.market import Snapshot
from solvent.scenarios.joint import MONEYNESS_MAX, TERM_DAYS, JointShocks
from solvent.units import Float64

LOG_TERM_MAX: Final = 2.0
"""ln(T/30 d) is clipped to ±2, four days and seven months: a slope is not told beyond."""
_VOL_MIN: Final = 1e-6
_DAYS_MIN: Final = 1.0 / 86_400.0


def moves_surface(told: JointShocks) -> bool:
    """Whether any surface moves in any scenario."""
    return bool(told.level.any() or told.skew.any() or told.term.any())


def shocked_vol(
    snapshot: Snapshot,
    live: NDArray[np.bool_],
    *,
    level: Float64,
    skew: Float64,
    term: Float64,
) -> Float64:
    """σ · exp(level + skew·x + term·ln(T/30)) by [instrument, scenario]; shifts by [underlying,
    scenario].

    x = ln(K/F)/(σ√T), clipped to ±3; ln(T/30) is clipped to ±2. What is not `live` keeps its σ.
    The same bits on every processor (`elementary`).
    """
    vol = np.repeat(snapshot.vol[:, None], level.shape[1], axis=1)
    if not live.any():
        return vol
    universe = snapshot.universe
    x, slope = surface_coordinates(snapshot, live)
    for code in np.unique(universe.underlying[live]).tolist():
        rows = np.flatnonzero(live & (universe.underlying == code))
        shift = level[code] + skew[code] * x[rows, None] + term[code] * slope[rows, None]
        vol[rows] = snapshot.vol[rows, None] * exp(shift)
    return vol


def surface_coordinates(snapshot: Snapshot, live: NDArray[np.bool_]) -> tuple[Float64, Float64]:
    """x = ln(K/F)/(σ√T) and ln(T/30 d), both clipped, by instrument; 0 of what is not `live`.

    An option in its last second stands as one second before its expiry.
    """
    days = np.maximum(snapshot.years * 365.0, _DAYS_MIN)
    deviation = np.maximum(snapshot.vol, _VOL_MIN) * np.sqrt(days / 365.0)
    strike = snapshot.universe.strike
    # A structure has several strikes and no moneyness: its surface moves as at the money.
    struck = live & (strike > 0.0)
    ratio = np.where(struck, strike, 1.0) / np.where(struck, snapshot.forward, 1.0)
    x = np.clip(log(ratio) / np.where(live, deviation, 1.0), -MONEYNESS_MAX, MONEYNESS_MAX)
    slope = np.clip(log(days / TERM_DAYS), -LOG_TERM_MAX, LOG_TERM_MAX)
    return x, np.where(live, slope, 0.0)
