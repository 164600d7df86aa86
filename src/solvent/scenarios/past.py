"""What a parameter was before: a memory of one sample a day, up to a window, with exact sums.

A long look-back is what keeps a floor from following the market down. The memory holds samples, not
a decaying average, so "the last ten years" means that; before ten years have passed it is all that
there is. Sums are whole numbers (multiples of 2^-80), so a memory that was stored and read again,
and one that ran through, give the same bits.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from solvent.errors import check

_GRAIN: Final = 2.0**80
"""Samples of 1e-8 and above are kept exactly, smaller ones to 2^-80."""
_SAME_DAY: Final = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """Samples of a positive parameter, at most `window_days` of them.

    Attributes:
        day: days since the first sample. sampled: the day of the last one kept.
        kept: samples in order of time. ordered: the same, ascending.
        total, squares: sums of the samples and of their squares, in whole grains.

    >>> past = Past()
    >>> for vol in (0.5, 1.0, 0.75):
    ...     past = past.after(vol, days=1.0, window_days=2)
    >>> past.kept, past.mean, past.quantile(1.0)
    ((1.0, 0.75), 0.875, 1.0)
    """

    day: float = 0.0
    sampled: float = 0.0
    kept: tuple[float, ...] = ()
    ordered: tuple[float, ...] = ()
    total: int = 0
    squares: int = 0

    def after(self, value: float, *, days: float, window_days: int) -> Past:
        """With a sample `days` after the last call; on a day that has one, only time passes."""
        check(days >= 0.0, "time goes on", days)
        day = self.day + days if self.kept else 0.0
        if self.kept and day - self.sampled < 1.0 - _SAME_DAY:
            return Past(
                day=day, sampled=self.sampled, kept=self.kept, ordered=self.ordered,
                total=self.total, squares=self.squares,
            )  # fmt: skip
        grains = round(value * _GRAIN)
        ordered, total, squares = list(self.ordered), self.total + grains, self.squares + grains**2
        kept = (*self.kept, grains / _GRAIN)
        insort(ordered, kept[-1])
        for old in kept[: max(0, len(kept) - window_days)]:
            del ordered[bisect_left(ordered, old)]
            gone = round(old * _GRAIN)
            total, squares = total - gone, squares - gone**2
        return Past(
            day=day, sampled=day, kept=kept[-window_days:], ordered=tuple(ordered),
            total=total, squares=squares,
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.kept)

    @property
    def mean(self) -> float:
        """Mean of the samples."""
        return self.total / (len(self.kept) * 2**80)

    @property
    def rms(self) -> float:
        """Root of the mean square: of volatilities, the volatility of the whole window."""
        return math.sqrt(self.squares / (len(self.kept) * 2**160))

    def quantile(self, level: float) -> float:
        """The smallest sample with at least `level` of all at or below it; 1 is the largest."""
        place = math.ceil(level * len(self.ordered) - 1e-9)
        return self.ordered[min(max(place, 1), len(self.ordered)) - 1]

    def to_dict(self) -> dict[str, Any]:
        """As it is stored."""
        return {"day": self.day, "sampled": self.sampled, "kept": list(self.kept)}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Past:
        """As it was stored: the sums are done again, and are the same."""
        kept = tuple(float(value) for value in stored["kept"])
        grains = [round(value * _GRAIN) for value in kept]
        return cls(
            day=float(stored["day"]),
            sampled=float(stored["sampled"]),
            kept=kept,
            ordered=tuple(sorted(kept)),
            total=sum(grains),
            squares=sum(grain**2 for grain in grains),
        )
