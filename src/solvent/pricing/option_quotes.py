"""What is told of many options, gated into the points that a surface is fitted to.

Nothing told is believed: a number may be missing, negative, infinite or another row's. A row that
cannot be used is left out with its reason, and never stops the others.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from solvent.errors import check
from solvent.instruments import Kind
from solvent.limits import PRICE_MAX, VOL_MAX
from solvent.market.snapshot import Bool, Int64, Snapshot
from solvent.pricing.implied import implied_vol
from solvent.units import YEAR_MS, Float64, TimeMs


class LeftOut(StrEnum):
    """Why a row is no point of the fit. The last three are no fault of the row."""

    EXPIRED = "expired"
    STRIKE = "strike is no positive number, or not within a factor of e^10 of the forward"
    FORWARD = "no forward"
    DUPLICATE = "told twice"
    VOLATILITY = "no volatility: neither told nor implied by a mark or by both sides of a quote"
    OUTLIER = "far from its neighbours"
    INSIDE = "in the money, and the other side stands"
    FEW = "its expiry has no smile"


_VOL_MIN = 1e-3
"""A volatility below a tenth of a point is none."""
_K_MAX = 10.0


class QuoteFault(StrEnum):
    """Why a bid or an ask was not used; the row's mark may still be."""

    CROSSED = "bid above ask"
    NOT_POSITIVE = "bid or ask is no positive number"


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionQuotes:
    """Rows of options; NaN, 0 or less is *not said*. Axis: row.

    Attributes:
        books: (underlying, settlement) names. book: row into them.
        expiry_ms, strike, is_call: the contract. forward: of its expiry, quote currency per coin.
        rate: discounts the settlement asset. inverse: prices are coin per coin.
        vol: mark volatility per √year. mark, bid, ask: prices in the instrument's unit.
        open_interest: in any unit common to an expiry.
    """

    as_of_ms: TimeMs
    books: tuple[tuple[str, str], ...]
    symbols: tuple[str, ...]
    book: NDArray[np.int32]
    expiry_ms: Int64
    strike: Float64
    is_call: Bool
    inverse: Bool
    forward: Float64
    rate: Float64
    vol: Float64
    mark: Float64
    bid: Float64
    ask: Float64
    open_interest: Float64

    def __post_init__(self) -> None:
        """A number a row."""
        count = len(self.symbols)
        for name in self.__slots__[3:]:
            check(getattr(self, name).shape == (count,), f"one {name} a row", count)

    def __len__(self) -> int:
        return len(self.symbols)

    def of(self, underlyings: Collection[str]) -> OptionQuotes:
        """Only the rows of some underlyings."""
        names = np.array([book[0] in underlyings for book in self.books], dtype=bool)
        kept = np.flatnonzero(names[self.book])
        columns = {name: getattr(self, name)[kept] for name in self.__slots__[3:]}
        return replace(self, symbols=tuple(self.symbols[row] for row in kept), **columns)

    @property
    def years(self) -> Float64:
        """Time to expiry; 0 or less when expired."""
        return (self.expiry_ms - self.as_of_ms) / YEAR_MS


@dataclass(frozen=True, slots=True, kw_only=True)
class Gated:
    """Quotes after the gate. `usable` rows have `vol`, `k` and `half_spread`; axis: row.

    `half_spread` is half the bid-ask spread in volatility, infinite without both sides.
    """

    usable: Bool
    k: Float64
    vol: Float64
    half_spread: Float64
    reasons: Mapping[int, LeftOut]
    faults: Mapping[int, QuoteFault]


def quotes_of(snapshot: Snapshot, open_interest: Mapping[str, float] | None = None) -> OptionQuotes:
    """The options of a snapshot; open interest by symbol where it is known."""
    universe = snapshot.universe
    rows = np.flatnonzero(universe.kind == Kind.OPTION)
    pairs = np.stack([universe.underlying[rows], universe.settlement[rows]], axis=1)
    distinct, book = np.unique(pairs, axis=0, return_inverse=True)
    symbols = tuple(universe.symbols[row] for row in rows)
    interest = open_interest or {}
    return OptionQuotes(
        as_of_ms=snapshot.as_of_ms,
        books=tuple((universe.underlyings[u], universe.settlements[s]) for u, s in distinct),
        symbols=symbols,
        book=book.ravel().astype(np.int32),
        expiry_ms=universe.expiry_ms[rows],
        strike=universe.strike[rows],
        is_call=universe.is_call[rows],
        inverse=universe.inverse[rows],
        forward=snapshot.forward[rows],
        rate=snapshot.rate[rows],
        vol=snapshot.vol[rows],
        mark=snapshot.mark[rows],
        bid=snapshot.bid[rows],
        ask=snapshot.ask[rows],
        open_interest=np.array([interest.get(symbol, np.nan) for symbol in symbols]),
    )


@np.errstate(over="ignore", divide="ignore", invalid="ignore")
def gate(quotes: OptionQuotes) -> Gated:
    """Which rows can be used, and at which volatility: told, else the mark's, else mid's."""
    reasons: dict[int, LeftOut] = {}
    priced = _positive(quotes.forward, PRICE_MAX)
    positive = _positive(quotes.strike, PRICE_MAX)
    ratio = np.divide(
        quotes.strike, quotes.forward, out=np.ones(len(quotes)), where=positive & priced
    )
    positive &= np.abs(np.log(np.clip(ratio, 1e-300, 1e300))) <= _K_MAX
    ahead = quotes.years > 0.0
    for bad, reason in ((~priced, LeftOut.FORWARD), (~positive, LeftOut.STRIKE),
                        (~ahead, LeftOut.EXPIRED)):  # fmt: skip
        reasons |= dict.fromkeys(np.flatnonzero(bad).tolist(), reason)
    reasons |= {row: LeftOut.DUPLICATE for row in _repeated(quotes) if row not in reasons}
    standing = np.ones(len(quotes), dtype=bool)
    standing[list(reasons)] = False
    k = np.zeros(len(quotes))
    k[standing] = np.log(quotes.strike[standing] / quotes.forward[standing])
    faults, two_sided = _sides(quotes)
    vol = np.where(_positive(quotes.vol, VOL_MAX), quotes.vol, 0.0)
    vol = np.where(vol >= _VOL_MIN, vol, np.nan)
    vol = _or_implied(quotes, vol, quotes.mark, standing & _positive(quotes.mark, PRICE_MAX))
    middle = np.where(two_sided, 0.5 * (quotes.bid + quotes.ask), np.nan)
    vol = _or_implied(quotes, vol, middle, standing & two_sided)
    blank = standing & ~(vol >= _VOL_MIN)
    reasons |= dict.fromkeys(np.flatnonzero(blank).tolist(), LeftOut.VOLATILITY)
    usable = standing & ~blank
    half = np.full(len(quotes), np.inf)
    wide = np.flatnonzero(usable & two_sided)
    half[wide] = _half_spread(quotes, wide, vol[wide])
    return Gated(
        usable=usable,
        k=k,
        vol=np.where(usable, vol, 0.0),
        half_spread=half,
        reasons=reasons,
        faults=faults,
    )


def _positive(values: Float64, most: float) -> Bool:
    with np.errstate(invalid="ignore"):
        return np.asarray((values > 0.0) & (values <= most))


def _repeated(quotes: OptionQuotes) -> list[int]:
    """Rows of a contract that was told in a row before."""
    seen: set[tuple[int, int, float, bool]] = set()
    found = []
    columns = (quotes.book, quotes.expiry_ms, quotes.strike, quotes.is_call)
    for row, key in enumerate(zip(*(column.tolist() for column in columns), strict=True)):
        if key in seen:
            found.append(row)
        seen.add(key)
    return found


def _sides(quotes: OptionQuotes) -> tuple[dict[int, QuoteFault], Bool]:
    """What is wrong with bids and asks, and rows with both sides sound."""
    bid, ask = _positive(quotes.bid, PRICE_MAX), _positive(quotes.ask, PRICE_MAX)
    with np.errstate(invalid="ignore"):
        crossed = bid & ask & (quotes.bid > quotes.ask)
        # 0 is how a venue writes that there is none.
        wrong = ~bid & ~np.isnan(quotes.bid) & (quotes.bid != 0.0)
        wrong |= ~ask & ~np.isnan(quotes.ask) & (quotes.ask != 0.0)
    faults = dict.fromkeys(np.flatnonzero(wrong).tolist(), QuoteFault.NOT_POSITIVE)
    faults |= dict.fromkeys(np.flatnonzero(crossed).tolist(), QuoteFault.CROSSED)
    return faults, bid & ask & ~crossed


def _or_implied(quotes: OptionQuotes, vol: Float64, price: Float64, rows: Bool) -> Float64:
    """Volatilities, implied by a price where there are none."""
    rows = rows & ~(vol > 0.0)
    if not rows.any():
        return vol
    forward, years = quotes.forward[rows], quotes.years[rows]
    found = implied_vol(
        price=np.where(quotes.inverse[rows], price[rows] * forward, price[rows]),
        forward=forward,
        strike=quotes.strike[rows],
        years=years,
        side=np.where(quotes.is_call[rows], 1.0, -1.0),
        discount=_discount(quotes, rows),
    )
    vol = vol.copy()
    vol[rows] = found
    return vol


def _half_spread(quotes: OptionQuotes, rows: NDArray[np.intp], vol: Float64) -> Float64:
    """Half of ask − bid over vega: volatility."""
    forward, strike, years = quotes.forward[rows], quotes.strike[rows], quotes.years[rows]
    v = vol * np.sqrt(years)
    d1 = np.log(forward / strike) / v + 0.5 * v
    vega = np.exp(-0.5 * d1 * d1) / np.sqrt(2.0 * np.pi) * np.sqrt(years) * forward
    unit = np.where(quotes.inverse[rows], forward, 1.0)
    spread = 0.5 * (quotes.ask[rows] - quotes.bid[rows]) * unit
    return np.asarray(spread / np.maximum(vega * _discount(quotes, rows), 1e-12 * forward))


@np.errstate(over="ignore", invalid="ignore")
def _discount(quotes: OptionQuotes, rows: Bool | NDArray[np.intp]) -> Float64:
    rate = np.where(np.isfinite(quotes.rate[rows]), quotes.rate[rows], 0.0)
    return np.asarray(np.exp(-rate * quotes.years[rows]))
