"""From portfolios and a day's market to positions: which contracts, how many lots, what they gain.

A portfolio is told in tenors and deltas. Here it becomes listed contracts of one coin, in one of
three styles: `inverse` (settles in the coin), `usdc` or `usdt` (settles in dollars). The same
contracts in another style are the same risk told in another numeraire, which is what lets venues
of coin-margined and of dollar-margined books stand in one table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from solvent.elementary import normal_cdf
from solvent.errors import check
from solvent.feeds.library import specification
from solvent.instruments import Contract, Instrument, Kind, OptionType, parse_symbol, term_sheet
from solvent.lab.court.markets import Contracts
from solvent.lab.court.portfolios import ATM, Leg, Portfolio
from solvent.lab.court.strip import Strip, listed_strikes, vol_at
from solvent.market import Quotes, Snapshot, assemble
from solvent.pricing.black import black76
from solvent.units import DAY_MS, Float64, TimeMs

Style = Literal["usdc", "usdt", "inverse"]
STYLES: Final[tuple[Style, ...]] = ("usdc", "usdt", "inverse")
Key = tuple[int, float, bool]
"""Expiry (0: the perpetual), strike (0: a future), call."""
_TENOR_MAX: Final = 2.5
"""A tenor that is listed may be so many times too long or too short."""


@dataclass(frozen=True, slots=True)
class Held:
    """What one portfolio holds on one day: contract → coins. `missing` says what is not listed."""

    coins: dict[Key, float]
    missing: str = ""


class Listing:
    """What one coin lists on a day, with forward deltas, by expiry and strike."""

    def __init__(self, strip: Strip) -> None:
        self.strip = strip
        self.strikes = listed_strikes(strip)
        self.days = (strip.expiry_ms - strip.as_of_ms) / DAY_MS
        self._known: dict[tuple[Key, bool], float] = {}
        self.deltas: list[Float64] = []
        for row, strikes in enumerate(self.strikes):
            self.deltas.append(self._call_deltas(row, strikes))

    def _call_deltas(self, row: int, strikes: Float64) -> Float64:
        strip = self.strip
        root = np.sqrt(strip.years[row])
        expiry = np.full(len(strikes), strip.expiry_ms[row])
        total = vol_at(strip, expiry, strikes) * root
        d1 = np.log(strip.forward[row] / strikes) / total + 0.5 * total
        return np.asarray(normal_cdf(d1))

    def pick(self, leg: Leg) -> Key | None:
        """The listed contract nearest a leg's tenor and delta; None where none is near."""
        if leg.symbol is not None:
            return self._named(leg.symbol)
        if leg.days is None:
            return 0, 0.0, False
        if len(self.days) == 0:
            return None
        off = np.abs(np.log(self.days / leg.days))
        row = int(np.argmin(off))
        if off[row] > np.log(_TENOR_MAX):
            return None
        expiry = int(self.strip.expiry_ms[row])
        if leg.delta is None:
            return expiry, 0.0, False
        if len(self.strikes[row]) == 0:
            return None
        if abs(leg.delta) == ATM:
            away = np.abs(np.log(self.strikes[row] / self.strip.forward[row]))
        else:
            wanted = leg.delta if leg.delta > 0 else 1.0 + leg.delta
            away = np.abs(self.deltas[row] - wanted)
        return expiry, float(self.strikes[row][int(np.argmin(away))]), leg.delta > 0

    def _named(self, symbol: str) -> Key | None:
        """A static book's contract, while its expiry lies ahead and is listed."""
        contract = parse_symbol(symbol)
        if contract.kind is Kind.PERPETUAL:
            return 0, 0.0, False
        expiry = int(contract.expiry_ms or 0)
        if expiry not in self.strip.expiry_ms.tolist():
            return None
        if contract.kind is not Kind.OPTION:
            return expiry, 0.0, False
        return expiry, float(contract.strike or 0), contract.option_type is OptionType.CALL

    def delta(self, key: Key, *, inverse: bool) -> float:
        """Coins of perpetual that move as one coin of this does, in dollars or in coin."""
        found = self._known.get((key, inverse))
        if found is None:
            found = self._known[key, inverse] = self._delta(key, inverse=inverse)
        return found

    def _delta(self, key: Key, *, inverse: bool) -> float:
        expiry, strike, call = key
        if strike == 0.0:
            return 1.0
        row = int(np.searchsorted(self.strip.expiry_ms, expiry))
        forward, years = float(self.strip.forward[row]), float(self.strip.years[row])
        when, at = np.array([expiry], dtype=np.int64), np.array([strike])
        vol = float(vol_at(self.strip, when, at)[0])
        total = vol * float(np.sqrt(years))
        found = float(normal_cdf(np.log(forward / strike) / total + 0.5 * total))
        found -= 0.0 if call else 1.0
        if inverse:
            side = 1.0 if call else -1.0
            value = black76(forward=forward, strike=strike, years=years, vol=vol, side=side)
            found -= float(value) / forward
        return found


def held(portfolio: Portfolio, listing: Listing, *, inverse: bool) -> Held:
    """The positions that a portfolio takes on a day."""
    coins: dict[Key, float] = {}
    for leg in portfolio.legs:
        key = listing.pick(leg)
        if key is None:
            what = leg.symbol or f"{leg.days:g} days"
            return Held({}, missing=f"nothing listed for {what}")
        coins[key] = coins.get(key, 0.0) + leg.coins
    if portfolio.hedged:
        open_delta = sum(n * listing.delta(key, inverse=inverse) for key, n in coins.items())
        perpetual: Key = (0, 0.0, False)
        coins[perpetual] = coins.get(perpetual, 0.0) - open_delta
    return Held({key: size for key, size in coins.items() if size != 0.0})


def contracts_of(keys: Sequence[Key]) -> Contracts:
    """Keys as columns."""
    return Contracts(
        expiry_ms=np.array([key[0] for key in keys], dtype=np.int64),
        strike=np.array([key[1] for key in keys], dtype=np.float64),
        is_call=np.array([key[2] for key in keys], dtype=bool),
    )


@lru_cache(maxsize=1 << 16)
def instrument(coin: str, style: Style, key: Key) -> Instrument:
    """The contract of a key in a style, in sizes as Deribit has them."""
    expiry, strike, call = key
    quote = "USD" if style == "inverse" else style.upper()
    option = strike > 0.0
    contract = Contract(
        base=coin, quote=quote, settlement=coin if style == "inverse" else quote,
        kind=Kind.OPTION if option else Kind.FUTURE if expiry else Kind.PERPETUAL,
        expiry_ms=TimeMs(expiry) if expiry else None,
        strike=Decimal(repr(round(strike, 8))).normalize() if option else None,
        option_type=(OptionType.CALL if call else OptionType.PUT) if option else None,
    )  # fmt: skip
    return term_sheet(contract, specification(contract))


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Contracts of one coin on one day; axis: contract. `start`, `end`: worth per unit of size."""

    coin: str
    strip: Strip
    keys: tuple[Key, ...]
    start: Float64
    end: Float64


def snapshot_of(lines: Sequence[Line], style: Style, as_of_ms: int) -> tuple[Snapshot, Float64]:
    """A market of the contracts alone, and the gain of one lot of each over the period.

    Gains are [instrument] in settlement units, NaN where something was not known.
    """
    check(len(lines) > 0, "a market has a coin", as_of_ms)
    instruments: list[Instrument] = []
    columns: list[Float64] = []
    for line in lines:
        wanted, strip = contracts_of(line.keys), line.strip
        instruments += [instrument(line.coin, style, key) for key in line.keys]
        option = wanted.strike > 0.0
        vol = np.full(len(wanted), np.nan)
        vol[option] = vol_at(strip, wanted.expiry_ms[option], wanted.strike[option])
        at = {
            int(expiry): float(f) for expiry, f in zip(strip.expiry_ms, strip.forward, strict=True)
        }
        forward = np.array([at.get(int(one), strip.index) for one in wanted.expiry_ms])
        mark = np.where(option, _marks(wanted, forward, vol, strip, style), forward)
        gain = line.end - line.start
        columns.append(np.stack([np.full(len(wanted), strip.index), forward, mark, vol, gain]))
    index, forward, mark, vol, gain = np.concatenate(columns, axis=1)
    nothing = np.full(len(instruments), np.nan)
    snapshot = assemble(
        Quotes(
            instruments=instruments, index=index, forward=forward, mark=mark, vol=vol,
            bid=nothing, ask=nothing, rate=np.zeros(len(instruments)),
            time_ms=np.full(len(instruments), as_of_ms, dtype=np.int64),
        ),
        as_of_ms=TimeMs(as_of_ms),
    )  # fmt: skip
    at_row = {one.symbol: row for row, one in enumerate(instruments)}
    order = np.array([at_row[symbol] for symbol in snapshot.universe.symbols], dtype=np.int64)
    return snapshot, gain[order] * snapshot.universe.lot_size


def _marks(
    wanted: Contracts, forward: Float64, vol: Float64, strip: Strip, style: Style
) -> Float64:
    years = np.maximum(wanted.expiry_ms - strip.as_of_ms, 0) / (365 * DAY_MS)
    live = wanted.strike > 0.0
    value = np.zeros(len(wanted))
    value[live] = black76(
        forward=forward[live], strike=wanted.strike[live], years=years[live], vol=vol[live],
        side=np.where(wanted.is_call[live], 1.0, -1.0),
    )  # fmt: skip
    return value / forward if style == "inverse" else value


def lots_of(
    universe_lot: Float64, kind: NDArray[np.int8], inverse: NDArray[np.bool_], *,
    coins: Float64, index: Float64,
) -> Float64:  # fmt: skip
    """Whole lots nearest to sizes in coins; an inverse future's lot is of dollars.

    >>> lots_of(np.array([0.1, 10.0]), np.array([3, 1], np.int8), np.array([True, True]),
    ...         coins=np.array([2.0, 2.0]), index=np.array([50_000.0, 50_000.0])).tolist()
    [20.0, 10000.0]
    """
    dollars = inverse & (kind != Kind.OPTION)
    size = np.where(dollars, coins * index, coins)
    return np.rint(size / universe_lot) + 0.0
