"""Option markets before there were surfaces: a stated proxy, from prices alone.

Each day's strip follows from the daily log returns up to it, by round numbers that were written
down before looking at the surfaces of 2026 (decision 0023) and are not fitted to them:

    fast² ← 0.90·fast² + 0.10·r²·365        slow² ← 0.98·slow² + 0.02·r²·365
    σ_atm(T)² = 1.15² · (slow² + (fast² − slow²)·(1 − e^(−T/τ))·τ/T),   τ = 0.15 years

so a large move raises near volatilities at once and far ones a little, and both revert. σ_atm is
kept inside 20 … 300 %. Smiles are fixed multiples of σ_atm, forwards a fixed annual log basis. How
far this is from real surfaces is measured by `lab/court/sources.py: proxy_error`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from solvent.errors import BadInput, Problem, Reject
from solvent.feeds.synthetic_market import listed_expiries
from solvent.lab.court.markets import Path
from solvent.lab.court.strip import Strip
from solvent.units import DAY_MS, YEAR_MS, Float64, TimeMs

Int64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """The proxy's numbers; see the top of the file. Smiles as in `Strip`."""

    fast: float = 0.90
    slow: float = 0.98
    premium: float = 1.15
    reversion_years: float = 0.15
    smile: tuple[float, float, float, float, float] = (1.20, 1.07, 1.00, 1.03, 1.12)
    basis: float = 0.05
    vol_min: float = 0.20
    vol_max: float = 3.00
    warm_days: int = 60
    expiries: int = 12


PROXY: Final = Proxy()


def proxy_strips(
    coin: str, path: Path, *, hour: float, numbers: Proxy = PROXY, gap_days: int = 2
) -> list[Strip]:
    """A strip for every day of a price path, at an hour of the clock, from what was known then.

    A day's price is the last one told in the 24 hours up to the hour; a day without one has no
    strip, and its return is taken over the days that it spans. After a hole of more than
    `gap_days` volatilities begin anew, and so do the warm-up days.

    Raises BadInput where the path is shorter than the warm-up.
    """
    when, price = daily(path, hour=hour)
    if len(when) <= numbers.warm_days:
        raise BadInput(
            Problem(
                code=Reject.SOURCE_EMPTY, source=f"prices of {coin}", field="time",
                expected=f"more than {numbers.warm_days} days", found=f"{len(when)}",
            )
        )  # fmt: skip
    strips: list[Strip] = []
    fast = slow = 0.0
    warm = 0
    for day in range(1, len(when)):
        gap = int((when[day] - when[day - 1]) // DAY_MS)
        if gap > gap_days:
            warm, fast, slow = 0, 0.0, 0.0
            continue
        square = 365.0 / gap * float(np.log(price[day] / price[day - 1])) ** 2
        # While it warms up, a variance is the plain mean of what there is.
        keep_fast = min(numbers.fast, warm / (warm + 1.0))
        keep_slow = min(numbers.slow, warm / (warm + 1.0))
        fast = keep_fast * fast + (1.0 - keep_fast) * square
        slow = keep_slow * slow + (1.0 - keep_slow) * square
        warm += 1
        if warm >= numbers.warm_days:
            strips.append(_strip(coin, int(when[day]), float(price[day]), fast, slow, numbers))
    return strips


def daily(path: Path, *, hour: float) -> tuple[Int64, Float64]:
    """One price a day: the last told in the 24 hours up to the hour; days without one are left out.

    >>> path = Path(time_ms=np.array([0, 3_600_000, 93_600_000]), price=np.array([1.0, 2.0, 3.0]))
    >>> when, price = daily(path, hour=2.0)
    >>> (when // 3_600_000).tolist(), price.tolist()
    ([2, 26], [2.0, 3.0])
    """
    hour_ms = round(hour * 3_600_000)
    first = int(path.time_ms[0] - hour_ms + DAY_MS - 1) // DAY_MS
    last = int(path.time_ms[-1] - hour_ms) // DAY_MS
    when = np.arange(first, last + 1, dtype=np.int64) * DAY_MS + hour_ms
    row = np.searchsorted(path.time_ms, when, side="right") - 1
    fresh = (row >= 0) & (when - path.time_ms[np.maximum(row, 0)] < DAY_MS)
    return when[fresh], path.price[row[fresh]]


def _strip(
    coin: str, as_of_ms: int, index: float, fast: float, slow: float, numbers: Proxy
) -> Strip:
    expiry = np.array(listed_expiries(TimeMs(as_of_ms), numbers.expiries), dtype=np.int64)
    expiry = expiry[expiry > as_of_ms]
    years = (expiry - as_of_ms) / YEAR_MS
    atm = proxy_vol(years, fast=fast, slow=slow, numbers=numbers)
    return Strip(
        coin=coin, as_of_ms=as_of_ms, index=index, expiry_ms=expiry,
        forward=index * np.exp(numbers.basis * years), smile=np.outer(atm, numbers.smile),
        stated=True,
    )  # fmt: skip


def proxy_vol(years: Float64, *, fast: float, slow: float, numbers: Proxy = PROXY) -> Float64:
    """Volatility at the money by time to expiry; `fast` and `slow` are annual variances.

    >>> proxy_vol(np.array([0.0, 0.25]), fast=0.64, slow=0.36).round(4).tolist()
    [0.92, 0.8101]
    """
    ratio = np.maximum(years, 1e-9) / numbers.reversion_years
    pull = -np.expm1(-ratio) / ratio
    variance = numbers.premium**2 * (slow + (fast - slow) * pull)
    return np.asarray(np.clip(np.sqrt(variance), numbers.vol_min, numbers.vol_max))
