"""Bars with high, low, close and volume from files, and the vega that a chain says traded."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from solvent.errors import BadInput, Problem, Reject
from solvent.feeds.columns import names, numbers, require
from solvent.feeds.histories import bare_table, times_of
from solvent.feeds.table import Faults, read_table
from solvent.scenarios.bars import Bars

_PRICES: Final = ("high", "low", "close")
_TENORS: Final = (14.0, 60.0)


def read_bars(path: str | Path) -> Bars:
    """Bars of one coin, sorted, each time once; of two at one time the later row counts.

    Columns are told by their names in any case; the volume's begins with `volume` and is in coins.
    Raises BadInput naming file, row and field.
    """
    path = Path(path)
    faults = Faults.of(path, skip=False)
    frame = bare_table(path, faults)
    frame = frame.rename({name: name.strip().lower() for name in frame.columns})
    require(frame, _PRICES, faults)
    volume = next((name for name in frame.columns if name.startswith("volume")), None)
    if volume is None:
        require(frame, ["volume"], faults)
    columns = {name: numbers(frame, name, faults, required=True) for name in _PRICES}
    columns["volume"] = numbers(frame, volume or "volume", faults, required=True)
    time_ms = times_of(frame, faults)
    for name, told in columns.items():
        bad = np.flatnonzero(~(told >= 0.0) if name == "volume" else ~(told > 0.0))
        if bad.size:
            faults.add(
                Reject.PRICE_NOT_POSITIVE, int(bad[0]), name, expected="an amount above 0",
                found=told[bad[0]],
            )  # fmt: skip
    faults.settle()
    distinct, last = np.unique(time_ms[::-1], return_index=True)
    order = len(time_ms) - 1 - last
    return Bars(time_ms=distinct, **{name: told[order] for name, told in columns.items()})


def read_traded_vega(path: str | Path, coin: str) -> tuple[float, float, float]:
    """Dollars of vega (per 1.00 of volatility) that a chain's file says traded in its last day, by
    days to expiry: up to 14, up to 60, beyond. Raises BadInput where it does not say.

    Needs `currency`, `volume` (contracts), `vega` (dollars a point) and `time_to_maturity` (years).
    """
    faults = Faults.of(Path(path), skip=False)
    frame = read_table(path, faults)
    require(frame, ("currency", "volume", "vega", "time_to_maturity"), faults)
    mine = np.array(names(frame, "currency", faults).to_list()) == coin
    told = {
        name: np.nan_to_num(numbers(frame, name, faults, required=False))[mine]
        for name in ("volume", "vega", "time_to_maturity")
    }
    faults.settle()
    traded = told["volume"] * told["vega"] * 100.0
    place = np.searchsorted(_TENORS, told["time_to_maturity"] * 365.0, side="left")
    found = [float(traded[place == k].sum()) for k in range(3)]
    if not all(one > 0.0 for one in found):
        raise BadInput(
            Problem(
                code=Reject.SOURCE_EMPTY, source=str(path), field="volume",
                expected=f"options of {coin} that traded at all tenors", found="none at some",
            )
        )  # fmt: skip
    return found[0], found[1], found[2]
