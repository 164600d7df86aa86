"""A live feed from a seed: a generated market that moves, told in Deribit's frames.

Coins walk together at random, each at its own volatility; volatility itself walks, against the
price, and returns; now and then prices jump. Options are priced anew on the market's own surface.
What comes out are frames as of a venue, so that everything behind the socket is the same as live.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np

from solvent.errors import check
from solvent.feeds.live.deribit import Deribit
from solvent.feeds.live.market import LiveMarket
from solvent.feeds.live.messages import Message
from solvent.feeds.recorder import Frame
from solvent.feeds.synthetic_market import generate_market
from solvent.instruments import Kind
from solvent.market import Snapshot
from solvent.pricing.black import black76
from solvent.units import YEAR_MS, Float64

PLACE: Final = "wss://generated.deribit/ws/api/v2"
_TOGETHER: Final = 0.8
"""Correlation of coins' moves."""
_AGAINST: Final = -0.6
"""Correlation of a coin's move with its volatility's."""
_VOL_OF_VOL: Final = 1.5
_VOL_RETURNS_YEARS: Final = 0.02
_JUMP: Final = (-0.01, 0.03)
"""A jump's mean and deviation, in logs; volatility rises by four times its size."""
_LEVELS: Final = 10
_CONTRACTS: Final = 10.0


class GeneratedVenue:
    """A market in motion. `step_ms` of its time pass at each step; `jumps` is their chance."""

    def __init__(
        self, *, seed: int = 1, coins: tuple[str, ...] = ("BTC", "ETH"), expiries: int = 4,
        strikes: int = 12, linear: bool = False, step_ms: int = 1_000, jumps: float = 0.01,
    ) -> None:  # fmt: skip
        check(step_ms > 0 and 0.0 <= jumps <= 1.0, "time passes; a chance", step_ms, jumps)
        self.base: Snapshot = generate_market(
            seed=seed, coins=coins, expiries=expiries, strikes=strikes, linear=linear
        )
        self.at_ms = int(self.base.as_of_ms)
        self._step_ms, self._jumps = step_ms, jumps
        self._rng = np.random.Generator(np.random.PCG64(seed + 1_000_003))
        self._coin = self.base.universe.underlying
        count = len(self.base.index)
        self._price, self._level = np.zeros(count), np.zeros(count)
        """Logs of what index and volatility are of what they were."""
        self._vol = np.array([self._typical_vol(code) for code in range(count)])
        self._change_id = 1_000
        self._shown: dict[int, tuple[dict[float, float], dict[float, float]]] = {}
        self._last_id: dict[int, int] = {}
        self._trade = 0

    @property
    def symbols(self) -> tuple[str, ...]:
        """Instruments, by Deribit's names."""
        return self.base.universe.symbols

    def frames(self, steps: int) -> Iterator[Frame]:
        """A connection's frames: the first step tells all as it is, each later one moves it."""
        yield Frame(self.at_ms * 1_000_000, "open", PLACE, "")
        for number in range(steps):
            if number:
                self._move()
            for text in self._told():
                yield Frame(self.at_ms * 1_000_000, "in", PLACE, text)

    def _typical_vol(self, code: int) -> float:
        mine = self.base.vol[(self._coin == code) & (self.base.vol > 0)]
        return float(np.median(mine)) if mine.size else 0.6

    def _move(self) -> None:
        rng, count = self._rng, len(self._price)
        years = self._step_ms / YEAR_MS
        common = rng.normal()
        own = rng.normal(size=count)
        shock = _TOGETHER * common + np.sqrt(1.0 - _TOGETHER**2) * own
        other = _AGAINST * shock + np.sqrt(1.0 - _AGAINST**2) * rng.normal(size=count)
        vol = self._vol * np.exp(self._level)
        self._price += vol * np.sqrt(years) * shock - 0.5 * vol**2 * years
        self._level += _VOL_OF_VOL * np.sqrt(years) * other
        self._level *= np.exp(-years / _VOL_RETURNS_YEARS)
        if rng.random() < self._jumps:
            jump = float(rng.normal(*_JUMP))
            self._price += jump
            self._level += 4.0 * abs(jump)
        self._level = np.clip(self._level, -1.0, 1.0)
        self.at_ms += self._step_ms

    def _told(self) -> Iterator[str]:
        """Every instrument's ticker, then books and trades of perpetuals."""
        base, universe = self.base, self.base.universe
        index = base.index * np.exp(self._price)
        forward = base.forward * np.exp(self._price)[self._coin]
        vol = np.round(100.0 * base.vol * np.exp(self._level)[self._coin], 2)
        years = np.maximum(universe.years(self.at_ms), 0.0)
        option = universe.is_option
        price = black76(
            forward=forward, strike=np.where(option, universe.strike, 1.0), years=years,
            vol=vol / 100.0, side=np.where(universe.is_call, 1.0, -1.0),
        )  # fmt: skip
        value = np.where(universe.inverse, price / forward, price)
        mark = np.where(option, value, forward)
        # Quotes keep the distance that they had, as a part of the mark.
        apart = [_part(side, base.mark) for side in (base.bid, base.ask)]
        bid, ask = (mark * part for part in apart)
        digits = np.where(option & universe.inverse, 6, 2)
        for row, symbol in enumerate(universe.symbols):
            places = int(digits[row])
            yield self._ticker(
                symbol, row, places, mark=float(mark[row]), bid=float(bid[row]),
                ask=float(ask[row]), index=float(index[self._coin[row]]),
                forward=float(forward[row]), vol=float(vol[row]),
            )  # fmt: skip
            if universe.kind[row] == Kind.PERPETUAL:
                yield from self._book(symbol, row, float(bid[row]), float(ask[row]))
                yield self._traded(symbol, float(bid[row]), float(ask[row]))

    def _ticker(self, symbol: str, row: int, places: int, **told: float) -> str:
        data: dict[str, Any] = {
            "instrument_name": symbol, "timestamp": self.at_ms, "state": "open",
            "mark_price": round(told["mark"], places),
            "best_bid_price": round(told["bid"], places), "best_bid_amount": _CONTRACTS,
            "best_ask_price": round(told["ask"], places), "best_ask_amount": _CONTRACTS,
            "index_price": round(told["index"], 2),
        }  # fmt: skip
        kind = self.base.universe.kind[row]
        if kind == Kind.OPTION:
            data |= {
                "underlying_price": round(told["forward"], 4),
                "mark_iv": told["vol"], "interest_rate": 0.0,
            }  # fmt: skip
        elif kind == Kind.PERPETUAL:
            premium = told["mark"] / told["index"] - 1.0
            data |= {"funding_8h": round(premium, 8), "current_funding": round(premium, 8)}
        return _frame(f"ticker.{symbol}.100ms", data)

    def _book(self, symbol: str, row: int, bid: float, ask: float) -> Iterator[str]:
        """A ladder round the quotes; what changed of it since it was told last."""
        tick = float(self.base.universe.instruments[row].specification.tick_size)
        low, high = np.floor(bid / tick), np.ceil(ask / tick)
        high = max(high, low + 1)
        sizes = np.round(self._rng.uniform(1.0, 50.0, size=(2, _LEVELS)) * 1_000.0) * 10.0
        now = tuple(
            {round(float((at + way * n) * tick), 8): float(sizes[side, n]) for n in range(_LEVELS)}
            for side, (at, way) in enumerate(((low, -1), (high, 1)))
        )
        before = self._shown.get(row)
        self._shown[row] = now[0], now[1]
        self._change_id += 1
        data: dict[str, Any] = {
            "type": "snapshot" if before is None else "change", "timestamp": self.at_ms,
            "instrument_name": symbol, "change_id": self._change_id,
        }  # fmt: skip
        for side, name in enumerate(("bids", "asks")):
            was = before[side] if before else {}
            data[name] = [["delete", at, 0.0] for at in was if at not in now[side]]
            data[name] += [
                ["change" if at in was else "new", at, size]
                for at, size in now[side].items()
                if was.get(at) != size
            ]
        if before is not None:
            data["prev_change_id"] = self._last_id[row]
        self._last_id[row] = self._change_id
        yield _frame(f"book.{symbol}.100ms", data)

    def _traded(self, symbol: str, bid: float, ask: float) -> str:
        buys = bool(self._rng.random() < 0.5)
        self._trade += 1
        trade = {
            "instrument_name": symbol, "timestamp": self.at_ms, "amount": _CONTRACTS,
            "price": round(ask if buys else bid, 2), "direction": "buy" if buys else "sell",
            "trade_id": str(self._trade),
        }  # fmt: skip
        return _frame(f"trades.{symbol}.100ms", [trade])


class GeneratedTape:
    """Frames of a generated venue, the same each time they are asked for, as a recording's are."""

    def __init__(self, *, seed: int, steps: int, step_ms: int = 1_000) -> None:
        self._seed, self._steps, self._step_ms = seed, steps, step_ms

    def __iter__(self) -> Iterator[Frame]:
        return GeneratedVenue(seed=self._seed, step_ms=self._step_ms).frames(self._steps)

    @property
    def first_step(self) -> GeneratedTape:
        """The same venue before it moves."""
        return GeneratedTape(seed=self._seed, steps=1, step_ms=self._step_ms)


@dataclass(frozen=True, slots=True)
class Moment:
    """A step of a generated feed: what its adapter told, and the market afterwards."""

    at_ms: int
    messages: list[Message]
    snapshot: Snapshot


def generated(
    *, steps: int, seed: int = 1, coins: tuple[str, ...] = ("BTC", "ETH"), expiries: int = 4,
    strikes: int = 12, linear: bool = False, step_ms: int = 1_000, jumps: float = 0.01,
) -> Iterator[Moment]:  # fmt: skip
    """A live market without a network: generated frames, through Deribit's adapter, to snapshots.
    The same seed moves the same way.

    >>> first, second = generated(steps=2, coins=("BTC",), expiries=1, strikes=2)
    >>> first.snapshot
    Snapshot(2026-06-30 10:00:00 UTC, 4 of 4 instruments usable, 1 curves)
    >>> bool(first.snapshot.index[0] != second.snapshot.index[0])
    True
    """
    venue = GeneratedVenue(
        seed=seed, coins=coins, expiries=expiries, strikes=strikes, linear=linear, step_ms=step_ms,
        jumps=jumps,
    )  # fmt: skip
    adapter, market = Deribit(), LiveMarket()
    messages: list[Message] = []
    at_ms = venue.at_ms
    for frame in venue.frames(steps):
        if frame.at_ms != at_ms:
            yield _moment(market, at_ms, messages)
            messages, at_ms = [], frame.at_ms
        if frame.kind == "in":
            messages += adapter.take(frame.text, frame.at_ms).messages
    if messages:
        yield _moment(market, at_ms, messages)


def _moment(market: LiveMarket, at_ms: int, messages: list[Message]) -> Moment:
    market.take(messages)
    snapshot = market.snapshot(at_ms)
    check(snapshot is not None, "a generated step tells tickers", at_ms)
    assert snapshot is not None
    return Moment(at_ms, messages, snapshot)


def _part(quotes: Float64, mark: Float64) -> Float64:
    return np.divide(quotes, mark, out=np.zeros_like(mark), where=mark > 0)


def _frame(channel: str, data: Any) -> str:
    told = {"jsonrpc": "2.0", "method": "subscription",
            "params": {"channel": channel, "data": data}}  # fmt: skip
    return msgspec.json.encode(told).decode()
