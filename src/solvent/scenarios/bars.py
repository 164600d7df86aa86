"""Bars of one coin: what it traded at, and how much of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from solvent.errors import check
from solvent.units import DAY_MS, Float64


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars:
    """Axis: bar, in the order of time. `volume` in coins; `time_ms` is when a bar began."""

    time_ms: NDArray[np.int64]
    high: Float64
    low: Float64
    close: Float64
    volume: Float64

    def __post_init__(self) -> None:
        for name in ("high", "low", "close", "volume"):
            check(getattr(self, name).shape == self.time_ms.shape, f"one {name} a bar")
        check(bool((np.diff(self.time_ms) > 0).all()), "bars in the order of time")

    def __len__(self) -> int:
        return len(self.time_ms)

    @property
    def day(self) -> NDArray[np.int64]:
        """[bar] days since 1970."""
        return np.asarray(self.time_ms // DAY_MS)
