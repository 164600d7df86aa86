"""The fall of 4-7 February 2026: marks of perpetuals, some hours apart, from option snapshots."""

from __future__ import annotations

import csv
import gzip
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from solvent.errors import SolventError
from solvent.sim.cascade_prices import Prices, refined

_COINS: Final = ("BTC", "ETH")
_BEGIN, _END = datetime(2026, 2, 4, tzinfo=UTC), datetime(2026, 2, 7, 12, tzinfo=UTC)


def february_2026(data: Path) -> Prices | None:
    """Prices from a folder of reference data; None where the file is missing.

    Raises SolventError where a snapshot has no price of a coin.
    """
    path = data / "deribit_chains" / "perpetual_futures_prices.csv.gz"
    if not path.is_file():
        return None
    found: dict[int, dict[str, float]] = {}
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            moment = datetime.fromisoformat(row["obs_datetime"])
            if _BEGIN <= moment < _END and row["coin"] in _COINS:
                time_ms = int(row["snapshot_timestamp_ms"])
                found.setdefault(time_ms, {})[row["coin"]] = float(row["perp_futures_mark_price"])
    times = sorted(found)
    if len(times) < 2 or any(set(found[one]) != set(_COINS) for one in times):
        raise SolventError(f"{path}: expected marks of {' and '.join(_COINS)} from {_BEGIN:%d %B} "
                           "on, found some that are missing")  # fmt: skip
    prices = Prices(
        name="february-2026", title="4-7 February 2026",
        source="marks of perpetuals about six hours apart; between them a straight line of logs",
        times_ms=tuple(times),
        price={coin: tuple(found[one][coin] for one in times) for coin in _COINS},
    )  # fmt: skip
    return refined(prices, most=0.02, least=0.01)
