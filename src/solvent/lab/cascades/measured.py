"""What real bars show of the things that a cascade assumes, measured the same way each time.

Files are 15-minute bars (datetime, open, high, low, close, volume), such as those of
`crypto_15m_2025` in a folder of reference data.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from solvent.errors import BadInput, Problem, Reject, SolventError
from solvent.lab.cascades.facts import LAGS, Facts, facts_of
from solvent.lab.cascades.many import Done, spread
from solvent.lab.cascades.run import simulate
from solvent.lab.cascades.settings import KNOWN, Settings, settings_of
from solvent.lab.wording import unreadable
from solvent.units import Float64

BAR_S: Final = 900
STRETCH: Final = 1_500
"""Returns of one stretch, real or simulated: facts of tails depend on how many there are."""
_FALL: Final = 5.0
"""A bar falls far if its low is so many deviations below its open."""
_LATER: Final = (0, 1, 2, 4)
"""Bars after which it is asked how much of the fall came back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars:
    """Bars of one coin, in order; `dollars` is volume times close."""

    coin: str
    open: Float64
    high: Float64
    low: Float64
    close: Float64
    dollars: Float64

    @property
    def returns(self) -> Float64:
        """Log returns from close to close."""
        return np.asarray(np.diff(np.log(self.close)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What bars show.

    Attributes:
        day_vol: deviation of 15-minute returns times √96. volume: dollars a day.
        exponent: of a bar's range in its volume; ½ is the square-root law.
        impact: median of range / (daily deviation · √(volume / daily volume)), the law's Y.
        falls: bars whose low is five deviations below the open. back: the median share of such a
            fall that had come back by the end of the bar, and 1, 2, 4 bars later.
    """

    coin: str
    bars: int
    day_vol: float
    volume: float
    exponent: float
    impact: float
    falls: int
    back: tuple[float, ...]

    def to_dict(self) -> dict[str, Any]:
        """As a document."""
        return asdict(self)


def read_bars(path: Path) -> Bars:
    """Bars from a CSV, also gzipped; the coin is what its name begins with.

    Raises BadInput for one that cannot be read, or whose prices are not positive.
    """
    opened = gzip.open if path.suffix == ".gz" else open
    names = ("open", "high", "low", "close", "volume")
    try:
        with opened(path, "rt", encoding="utf-8", newline="") as file:
            table = np.array([[float(row[name]) for name in names]
                              for row in csv.DictReader(file)])  # fmt: skip
    except KeyError as fault:
        raise _bad(path, f"bars with columns {', '.join(names)}", f"no {fault.args[0]}") from fault
    except (OSError, EOFError, ValueError, TypeError) as fault:
        raise _bad(path, f"bars with columns {', '.join(names)}", unreadable(fault)) from fault
    if len(table) < 2 or not bool(np.isfinite(table).all()) or table[:, :4].min() <= 0.0:
        raise _bad(path, "two bars or more, with positive prices", f"{len(table)} rows")
    opens, high, low, close, volume = table.T
    coin = path.name.split("_")[0].split(".")[0].upper()
    return Bars(coin=coin, open=opens, high=high, low=low, close=close, dollars=volume * close)


def measured(bars: Bars) -> Measured:
    """What bars of 15 minutes show. Raises SolventError for prices that do not move."""
    returns = bars.returns
    deviation = float(returns.std())
    ranges = np.log(bars.high / bars.low)
    there = (bars.dollars > 0.0) & (ranges > 0.0)
    if deviation <= 0.0 or there.sum() < 10:
        raise SolventError(f"{bars.coin}: expected prices that move, found constant ones")
    exponent = float(np.polyfit(np.log(bars.dollars[there]), np.log(ranges[there]), 1)[0])
    day, volume = deviation * np.sqrt(96.0), float(bars.dollars.mean()) * 96.0
    impact = np.median(ranges[there] / (day * np.sqrt(bars.dollars[there] / volume)))
    fallen = np.flatnonzero(np.log(bars.low / bars.open) < -_FALL * deviation)
    fallen = fallen[fallen + max(_LATER) < len(bars.close)]
    back = tuple(
        float(np.median(np.log(bars.close[fallen + one] / bars.low[fallen])
                        / np.log(bars.open[fallen] / bars.low[fallen])))
        for one in _LATER
    ) if len(fallen) else ()  # fmt: skip
    return Measured(
        coin=bars.coin, bars=len(bars.close), day_vol=float(day), volume=volume, exponent=exponent,
        impact=float(impact), falls=len(fallen), back=back,
    )  # fmt: skip


# ── side by side ─────────────────────────────────────────────────────────────────────────────────


def side_by_side(
    files: Sequence[Path], *, seeds: Sequence[int], steps: int = STRETCH, settings: Settings,
    processes: int | None = None, done: Done | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Facts of simulated returns without leverage and of real ones, stretches of one length, as a
    document. Bars of the simulation are its steps, of 15 minutes. `files` may be none."""
    quiet = settings_of(
        {
            "coins": ["BTC"], "steps": steps, "step_s": BAR_S, "holders": {"leverage": 0.0},
            "shock": {"move": 0.0}, "agents": settings.agents.model_dump(),
            "markets": {"BTC": (settings.markets.get("BTC") or KNOWN["BTC"]).model_dump()},
        },
        source="settings",
    )  # fmt: skip
    told = [(path, read_bars(path)) for path in files]
    for path, bars in told:
        if len(bars.returns) < steps:
            raise _bad(path, f"{steps + 1:,} bars or more", f"{len(bars.returns) + 1:,}")
    simulated: list[Facts] = []
    for one in spread(_simulated, [(quiet, seed) for seed in seeds], processes=processes):
        simulated.append(one)
        if done is not None:
            done(len(simulated), len(seeds))
    columns = {"simulated": simulated}
    shown = []
    for _, bars in told:
        returns = bars.returns
        parts = [returns[at : at + steps] for at in range(0, len(returns) - steps + 1, steps)]
        columns[f"{bars.coin} real"] = [facts_of(part) for part in parts]
        shown.append(measured(bars).to_dict())
    return {
        "columns": list(columns), "steps": steps,
        "stretches": {name: len(found) for name, found in columns.items()},
        "rows": [
            {"title": title, "values": [_spread([of(one) for one in found])
                                        for found in columns.values()]}
            for title, of in _ROWS
        ],
        "memory": {
            name: [float(np.median([one.size[place] for one in found]))
                   for place in range(len(found[0].size))]
            for name, found in columns.items()
        },
        "measured": shown,
    }  # fmt: skip


def _memory(place: int) -> Callable[[Facts], float]:
    return lambda one: one.size[place]


_ROWS: Final[tuple[tuple[str, Callable[[Facts], float]], ...]] = (
    ("deviation of 15 minutes", lambda one: one.deviation),
    ("kurtosis beyond normal", lambda one: one.kurtosis),
    ("exponent of the tail", lambda one: one.tail),
    ("memory of direction, lag 1", lambda one: one.linear[0]),
    ("memory of direction, lag 2", lambda one: one.linear[1]),
    *((f"memory of size, lag {lag}", _memory(place))
      for place, lag in enumerate(LAGS) if lag <= 32),
    ("two errors of a memory", lambda one: one.band),
)  # fmt: skip


def _simulated(task: tuple[Settings, int]) -> Facts:
    settings, seed = task
    prices = simulate(settings, seed, paths=True).paths["price 0 BTC"]
    return facts_of(np.diff(np.log(np.array(prices))))


def _spread(values: Sequence[float]) -> str:
    low, middle, high = np.quantile(np.array(values), (0.1, 0.5, 0.9)).tolist()
    return f"{middle:.4g} ({low:.3g} to {high:.3g})"


def _bad(path: Path, expected: str, found: str) -> BadInput:
    return BadInput(
        Problem(code=Reject.SOURCE_UNREADABLE, source=str(path), expected=expected, found=found)
    )
