"""Prices of a crash: what two real ones looked like, or one that is made up from a seed.

Real prices come as candles. Each becomes two moments: its extreme on the side to which it went
beyond where it opened furthest, and its close; so that the wick that liquidates is seen.
"""

from __future__ import annotations

import csv
import gzip
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np

from solvent.errors import SolventError, check
from solvent.feeds.library import specification
from solvent.instruments import Contract, Instrument, Kind, term_sheet
from solvent.market import Quotes, Snapshot, assemble
from solvent.sim.cascade_paths import Bars
from solvent.sim.weather import weather
from solvent.units import TimeMs

QUOTE: Final = "USDC"
_MADE_UP: Final = {"BTC": 64_000.0, "ETH": 1_900.0, "SOL": 85.0}
_BETA: Final = {"BTC": 1.0, "ETH": 1.25, "SOL": 1.5}
"""How much further a coin falls than the first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """A crash: index prices in dollars, [moment] of each coin.

    Attributes:
        name: such as `march-2020`. title: in words. source: where the prices are from.
        bars: what is known of the time between moments; None where that is nothing.
    """

    name: str
    title: str
    source: str
    times_ms: tuple[int, ...]
    price: Mapping[str, tuple[float, ...]]
    bars: Bars | None = None

    @property
    def coins(self) -> tuple[str, ...]:
        """In the order in which they are listed."""
        return tuple(self.price)

    def now(self, step: int) -> dict[str, float]:
        """Prices at a moment."""
        return {coin: one[step] for coin, one in self.price.items()}

    def market(self, step: int) -> Snapshot:
        """The market at a moment: a perpetual on each coin, marked at its index."""
        return market_of(self.now(step), self.times_ms[step])

    def shortened(self, moments: int) -> Prices:
        """As many moments around the lowest price of the first coin, or all where there are fewer:
        two thirds of them before it."""
        first = next(iter(self.price.values()))
        low = first.index(min(first))
        begin = max(0, min(low - 2 * moments // 3, len(first) - moments))
        part = slice(begin, begin + moments)
        return replace(
            self, times_ms=self.times_ms[part],
            price={coin: one[part] for coin, one in self.price.items()},
        )  # fmt: skip


def refined(prices: Prices, *, most: float, least: float) -> Prices:
    """Moments so that no coin's price moves much more than `most` (in logs, on average over coins)
    from one to the next: more are put between, on a straight line of logs; and moments at which it
    has moved less than `least` are left out."""
    coins = prices.coins
    path = np.log(np.array([prices.price[coin] for coin in coins]))
    times: list[float] = [prices.times_ms[0]]
    kept = [path[:, 0]]
    for step in range(1, path.shape[1]):
        moved = float(np.abs(path[:, step] - kept[-1]).mean())
        if moved < least:
            continue
        parts = max(1, math.ceil(moved / most))
        begin_ms, begin = times[-1], kept[-1]
        for part in range(1, parts + 1):
            share = part / parts
            times.append(begin_ms + share * (prices.times_ms[step] - begin_ms))
            kept.append(begin + share * (path[:, step] - begin))
    table = np.exp(np.array(kept))
    return replace(
        prices, times_ms=tuple(round(one) for one in times),
        price={coin: tuple(table[:, row].tolist()) for row, coin in enumerate(coins)},
    )  # fmt: skip


def market_of(price: Mapping[str, float], time_ms: int) -> Snapshot:
    """A perpetual on each coin, marked at its price and told at a time."""
    found = instruments(tuple(price))
    told = np.array([price[one.contract.base] for one in found])
    nothing = np.full(len(found), np.nan)
    as_of_ms = TimeMs(time_ms)
    return assemble(
        Quotes(
            instruments=found, index=told, forward=told, mark=told, vol=nothing, bid=nothing,
            ask=nothing, rate=np.zeros(len(found)), time_ms=np.full(len(found), as_of_ms),
        ),
        as_of_ms=as_of_ms,
    )  # fmt: skip


def instruments(coins: tuple[str, ...]) -> list[Instrument]:
    """A linear perpetual of each coin, paid in `QUOTE`."""
    found = []
    for coin in coins:
        contract = Contract(base=coin, quote=QUOTE, settlement=QUOTE, kind=Kind.PERPETUAL)
        found.append(term_sheet(contract, specification(contract)))
    return found


# ── made up ──────────────────────────────────────────────────────────────────────────────────────


def made_up(*, seed: int, steps: int = 48) -> Prices:
    """A crash of 45 % in twelve hours and a rebound, from a seed."""
    rng = np.random.Generator(np.random.PCG64(seed))
    spots = [1.0, *(spot for spot, _ in weather(rng, steps))]
    begin = round(datetime(2026, 6, 30, 10, tzinfo=UTC).timestamp() * 1_000)
    return Prices(
        name="made-up", title="A crash that is made up", source=f"seed {seed}",
        times_ms=tuple(begin + step * 900_000 for step in range(len(spots))),
        price={
            coin: tuple(price * math.exp(_BETA[coin] * math.log(spot)) for spot in spots)
            for coin, price in _MADE_UP.items()
        },
    )  # fmt: skip


# ── real ─────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Candle:
    """Prices of a span of time that begins at `time_ms`."""

    time_ms: int
    open: float
    high: float
    low: float
    close: float


Rows = Iterator[dict[str, str]]
Reader = Callable[[dict[str, str]], tuple[datetime, str, str, str, str]]


def real_crashes(data: Path) -> list[Prices]:
    """The crashes of 12-13 March 2020 and 10-11 October 2025, as far as their prices are in a
    folder of reference data."""
    return [found for found in (_march_2020(data), _october_2025(data)) if found is not None]


def _march_2020(data: Path) -> Prices | None:
    files = {
        "BTC": (data / "btc_hourly_2019_2025" / "btc-hourly-price.csv.gz", _of_seconds),
        "ETH": (data / "eth_hourly_2016_2020" / "ETH_1H.csv.gz", _of_days),
    }
    found = _read(
        "march-2020", "12-13 March 2020", "hourly candles", files, 3_600_000,
        datetime(2020, 3, 12, 9, tzinfo=UTC), datetime(2020, 3, 13, 5, tzinfo=UTC),
    )  # fmt: skip
    return None if found is None else refined(found, most=0.05, least=0.025)


def _october_2025(data: Path) -> Prices | None:
    folder = data / "crypto_15m_2025"
    files = {
        coin: (folder / f"{coin}_USD_15m.csv.gz", _of_moments)
        for coin in ("BTC", "ETH", "SOL", "XRP", "DOGE")
    }
    found = _read(
        "october-2025", "10-11 October 2025", "15-minute candles", files, 900_000,
        datetime(2025, 10, 10, 18, tzinfo=UTC), datetime(2025, 10, 11, 1, tzinfo=UTC),
    )  # fmt: skip
    return None if found is None else refined(found, most=0.03, least=0.02)


def _of_seconds(row: dict[str, str]) -> tuple[datetime, str, str, str, str]:
    moment = datetime.fromtimestamp(int(row["time"]), UTC)
    return moment, row["open"], row["high"], row["low"], row["close"]


def _of_days(row: dict[str, str]) -> tuple[datetime, str, str, str, str]:
    moment = datetime.strptime(row["Date"], "%d-%m-%Y %H:%M").replace(tzinfo=UTC)
    return moment, row["Open"], row["High"], row["Low"], row["Close"]


def _of_moments(row: dict[str, str]) -> tuple[datetime, str, str, str, str]:
    moment = datetime.fromisoformat(row["datetime"])
    return moment, row["open"], row["high"], row["low"], row["close"]


def _read(
    name: str, title: str, what: str, files: Mapping[str, tuple[Path, Reader]], span_ms: int,
    begin: datetime, end: datetime,
) -> Prices | None:  # fmt: skip
    """Candles of all coins as moments; None where a file is missing."""
    if not all(path.is_file() for path, _ in files.values()):
        return None
    candles = {coin: _candles(path, of, begin, end) for coin, (path, of) in files.items()}
    times = [one.time_ms for one in next(iter(candles.values()))]
    for coin, found in candles.items():
        if [one.time_ms for one in found] != times:
            raise SolventError(f"{files[coin][0]}: expected the same candles as of other coins")
    lead = [_lead(one) for one in next(iter(candles.values()))]
    price = {coin: tuple(_moments(found, lead)) for coin, found in candles.items()}
    moments = [times[0], *(t for time_ms in times for t in (time_ms + span_ms // 2,
                                                            time_ms + span_ms))]  # fmt: skip
    check(all(len(one) == len(moments) for one in price.values()), "prices have their times")
    return Prices(
        name=name, title=title, source=f"{what} of {', '.join(files)}", times_ms=tuple(moments),
        price=price, bars=_bars(candles, span_ms),
    )  # fmt: skip


def _bars(candles: Mapping[str, list[Candle]], span_ms: int) -> Bars:
    first = next(iter(candles.values()))
    return Bars(
        begin_ms=tuple(one.time_ms for one in first), span_ms=span_ms,
        low={coin: tuple(one.low for one in found) for coin, found in candles.items()},
        high={coin: tuple(one.high for one in found) for coin, found in candles.items()},
        moved={
            coin: tuple(math.log(one.close / one.open) for one in found)
            for coin, found in candles.items()
        },
    )  # fmt: skip


def _candles(path: Path, of: Reader, begin: datetime, end: datetime) -> list[Candle]:
    """Candles from a time to another, in order of time."""
    found = []
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            moment, *prices = of(row)
            if begin <= moment < end:
                found.append(Candle(round(moment.timestamp() * 1_000), *map(float, prices)))
    if not found:
        raise SolventError(f"{path}: expected candles from {begin} to {end}, found none")
    return sorted(found, key=lambda one: one.time_ms)


def _lead(candle: Candle) -> bool:
    """Whether a candle went further up than down from where it opened."""
    return candle.high / candle.open > candle.open / candle.low


def _moments(candles: list[Candle], up: list[bool]) -> Iterator[float]:
    yield candles[0].open
    for candle, rises in zip(candles, up, strict=True):
        yield candle.high if rises else candle.low
        yield candle.close
