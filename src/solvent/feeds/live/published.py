"""From what venues tell to a market that may be published: indices of sources, marks by rule.

Messages of any number of venues go in. At each `publish` the word of each source on its coin goes
through the coin's index; which venues agreed decides whose row of a contract counts; marks that
are missing, old or out of their band are replaced by rule (`market.mark`, the fitted surface) or
their instruments cannot be margined. A coin whose index is UNKNOWN has no instrument that can.
Everything that is not as it was told has its reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from fractions import Fraction
from typing import Final

import numpy as np

from solvent.feeds.live.market import LiveMarket, columns_of, contract_of, word_of
from solvent.feeds.live.messages import Message
from solvent.feeds.market_rules import index_rule, mark_rule
from solvent.instruments import Kind, frozen
from solvent.market import BLOCKING, Flag, Quotes, Snapshot, assemble
from solvent.market.averages import Ema
from solvent.market.index import Index, IndexRule, Sources, begin, listen, publish_index
from solvent.market.indexed import indexed
from solvent.market.mark import (
    MarkRule,
    OptionMarks,
    Price,
    banded,
    based_price,
    median_mark,
    option_mark,
)
from solvent.market.oracles import NANO, PPM
from solvent.market.snapshot import Bool
from solvent.market.surface import Rows
from solvent.pricing.option_quotes import quotes_of
from solvent.pricing.surface_fit import fit_surface
from solvent.pricing.surface_market import BAND_VOL_MIN, fill, mark_bands, model_price
from solvent.units import TimeMs, div_half_even

_DOLLARS: Final = ("USD", "USDC", "USDT")
_TELLS_BEST: Final = (Kind.PERPETUAL, Kind.SPOT, Kind.FUTURE, Kind.OPTION)
"""What of a venue is asked about a coin's price, the first that it has."""


class Why(StrEnum):
    """Why a number is not the venue's."""

    MISSING = "missing"
    STALE = "stale"
    VENUE = "its venue is wrong about the index, or silent"
    OUTSIDE = "outside its band"
    FORWARD = "its forward is outside its band"
    VOLATILITY = "its volatility is missing or outside its band"
    CONTRADICTS = "its mark and its volatility contradict each other, and no surface decides"


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """An instrument whose mark or volatility is not what the venue told.

    `told` and `published` are marks in the instrument's unit; `published` is None where it has
    none and cannot be margined, `told` where none was.
    """

    symbol: str
    why: Why
    told: float | None
    published: float | None

    def __str__(self) -> str:
        made = "cannot be margined" if self.published is None else f"is {self.published:,.10g}"
        told = "nothing told" if self.told is None else f"{self.told:,.10g} told"
        return f"{self.symbol}: {self.why.value}, {told}, {made}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A market at a moment, its indices, and what in it is not as it was told."""

    snapshot: Snapshot
    indices: tuple[Index, ...]
    corrections: tuple[Correction, ...]

    @property
    def reasons(self) -> list[str]:
        """Why anything is not known, or not as told; a line each."""
        unknown = [f"{one.underlying}: index unknown, {one.reason.value}; nothing on it can be "
                   "margined" for one in self.indices if not one.known]  # fmt: skip
        return [*unknown, *map(str, self.corrections)]


class Publisher:
    """What is remembered between two publications: tickers, records of sources, bases.

    `rules` are of coins (`index_rules` makes them of venues); a coin without one keeps the index
    that its venue tells. Nothing that was said before `now_ms` counts for an index.
    """

    def __init__(
        self, rules: Iterable[IndexRule], *, now_ms: int, marks: MarkRule | None = None,
        market: LiveMarket | None = None,
    ) -> None:  # fmt: skip
        self.rules = {rule.underlying: rule for rule in rules}
        self.marks = mark_rule("guarded") if marks is None else marks
        self.market = LiveMarket() if market is None else market
        self._sources: dict[str, Sources] = {
            name: begin(rule, now_ms=now_ms) for name, rule in self.rules.items()
        }
        self._basis: dict[str, Ema] = {}

    def take(self, messages: Iterable[Message]) -> int:
        """Hear messages; how many tickers were among them."""
        return self.market.take(messages)

    def indices(self, now_ms: int) -> tuple[Index, ...]:
        """Each coin's index now. Call it about once a second: sources are judged at each call."""
        found = []
        for name, rule in self.rules.items():
            told = self.market.told_by(rule.weights).values()
            words = [word for word in map(word_of, told) if word is not None]
            heard = listen(rule, self._sources[name], words, now_ms=now_ms)
            self._sources[name], index = publish_index(rule, heard, now_ms=now_ms)
            found.append(index)
        return tuple(found)

    def publish(self, now_ms: int) -> Published | None:
        """The market now; None before any ticker."""
        indices = self.indices(now_ms)
        believed, doubted = self._venues(indices)
        rows = self.market.rows(now_ms, believed)
        if not rows:
            return None
        said = columns_of(rows, now_ms, self.rules)
        wrong = np.array([(one.contract.base, told.venue) in doubted for one, told in rows])
        quotes, corrected = self._believed(said, wrong, indices, now_ms)
        snapshot = indexed(assemble(quotes, as_of_ms=TimeMs(now_ms)), indices)
        snapshot, far = _forwards(snapshot, self.marks)
        corrected |= far
        snapshot = _held(snapshot, corrected)
        if self.marks.options is not OptionMarks.TOLD:
            snapshot = _options(snapshot, self.marks.options, corrected)
        snapshot = _modelled(snapshot, corrected)
        marks = zip(said.instruments, said.mark.tolist(), strict=True)
        told = {instrument.symbol: mark for instrument, mark in marks}
        corrections = _corrections(snapshot, told, corrected)
        return Published(snapshot=snapshot, indices=indices, corrections=corrections)

    def _venues(
        self, indices: Iterable[Index]
    ) -> tuple[set[tuple[str, str]], set[tuple[str, str]]]:
        """(coin, venue) pairs that agree on an index, and those that should and do not. Of an index
        that is UNKNOWN nobody can say who is wrong."""
        agree: set[tuple[str, str]] = set()
        others: set[tuple[str, str]] = set()
        for index in (one for one in indices if one.known):
            told = self.market.told_by(row.source for row in index.sources)
            for row in index.sources:
                if row.source in told:
                    place = (index.underlying, told[row.source].venue)
                    (agree if row.agrees else others).add(place)
        return agree, others - agree

    def _believed(
        self, quotes: Quotes, wrong: Bool, indices: Iterable[Index], now_ms: int
    ) -> tuple[Quotes, dict[str, Why]]:
        """Columns in which what is old, or of a venue that is wrong about the index, is not told,
        and undated marks are by rule."""
        stale = now_ms - quotes.time_ms > self.marks.stale_ms
        silent = stale | wrong
        forward, mark, vol, bid, ask = (
            np.where(silent, np.nan, one)
            for one in (quotes.forward, quotes.mark, quotes.vol, quotes.bid, quotes.ask)
        )
        why = {
            quotes.instruments[row].symbol: Why.STALE if stale[row] else Why.VENUE
            for row in np.flatnonzero(silent).tolist()
        }
        known = {one.underlying: one.price_nano for one in indices}
        index = quotes.index.copy()
        for row, instrument in enumerate(quotes.instruments):
            base = instrument.contract.base
            if base not in known:
                continue
            nano = known[base]
            index[row] = np.nan if nano is None else nano / NANO
            if nano is None or instrument.contract.kind not in (Kind.PERPETUAL, Kind.SPOT):
                continue
            said, middle = _price(mark[row]), _price((bid[row] + ask[row]) / 2.0)
            fair = self._mark(instrument.symbol, Fraction(nano, NANO), said, middle, now_ms)
            if fair is None or fair != said:
                why.setdefault(instrument.symbol, Why.MISSING if said is None else Why.OUTSIDE)
                mark[row] = np.nan if fair is None else float(fair)
        told = replace(quotes, index=index, forward=forward, mark=mark, vol=vol, bid=bid, ask=ask)
        return told, why

    def _mark(self, symbol: str, index: Fraction, said: Price, middle: Price, now_ms: int) -> Price:
        """A perpetual's mark: the one that is told, within its band. Else the median of the index,
        the index with the average basis, and the book's middle, within the band; without a book
        the index with its basis, without that it is not known here: the index stands in."""
        band = Fraction(self.marks.perpetual_ppm, PPM)
        average = self._basis.get(symbol, Ema())
        if said is not None and banded(said, index, band=band) == said:
            apart = (said - index) * NANO
            self._basis[symbol] = average.at(
                div_half_even(apart.numerator, apart.denominator), time_ms=now_ms,
                tau_ms=self.marks.basis_ms,
            )  # fmt: skip
            return said
        basis = None if average.units is None else Fraction(average.units, NANO)
        based = based_price(index, basis)
        fair = median_mark([index, based, middle])
        return banded(based if fair is None else fair, index, band=band)


def _price(value: float) -> Price:
    return Fraction(float(value)) if np.isfinite(value) and value > 0.0 else None


# ── rules of the sources that there are ──────────────────────────────────────────────────────────


def sources_of(told: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Coin → its sources, one of each venue, of (venue, symbol) pairs: a perpetual before a spot
    pair, these before dated contracts; of equals the first. Quoted in dollars, or in coins that
    should be one.

    >>> sources_of([("okx", "BTC-USDT"), ("okx", "BTC-USDT-SWAP"), ("deribit", "BTC-PERPETUAL")])
    {'BTC': ['okx:BTC-USDT-SWAP', 'deribit:BTC-PERPETUAL']}
    """
    best: dict[tuple[str, str], tuple[int, str]] = {}
    for venue, symbol in told:
        try:
            contract = contract_of(venue, symbol)
        except ValueError:
            continue
        if contract.kind not in _TELLS_BEST or contract.quote not in _DOLLARS:
            continue
        rank = _TELLS_BEST.index(contract.kind)
        place = (contract.base, venue)
        if place not in best or rank < best[place][0]:
            best[place] = (rank, f"{venue}:{symbol}")
    found: dict[str, list[str]] = {}
    for (base, _), (_, source) in best.items():
        found.setdefault(base, []).append(source)
    return found


def index_rules(
    sources: Mapping[str, Iterable[str]], *, like: IndexRule | None = None
) -> list[IndexRule]:
    """A rule for each coin, of its sources by venue:symbol: as `like` (our `guarded`), a vote each,
    a majority as quorum. Of two both must agree; one alone is believed as far as its own record is
    good.

    >>> [rule] = index_rules({"BTC": ["deribit:BTC-PERPETUAL", "okx:BTC-USDT-SWAP", "x:BTC"]})
    >>> rule.quorum, rule.leapers, rule.clamp_ppm
    (2, 1, 5000)
    """
    base = index_rule("guarded") if like is None else like
    rules = []
    for coin, names in sources.items():
        weights = dict.fromkeys(names, 1)
        quorum = len(weights) // 2 + 1
        few = len(weights) - quorum
        rules.append(
            replace(
                base, underlying=coin, weights=weights, quorum=quorum,
                leapers=min(base.leapers, few), tolerated=min(base.tolerated, few),
            )
        )  # fmt: skip
    return rules


# ── what is dated ────────────────────────────────────────────────────────────────────────────────


def _forwards(snapshot: Snapshot, rule: MarkRule) -> tuple[Snapshot, dict[str, Why]]:
    """Dated contracts whose forward is farther from a known index than it may be are flagged."""
    index, years = snapshot.index_by_instrument, np.maximum(snapshot.years, 0.0)
    width = (rule.dated_ppm + rule.yearly_ppm * years) / PPM
    dated = (snapshot.curve >= 0) & (index > 0.0) & (snapshot.forward > 0.0)
    far = dated & (np.abs(snapshot.forward - index) > width * index)
    future = dated & (snapshot.universe.kind == Kind.FUTURE)
    far |= future & (np.abs(snapshot.mark - index) > width * index)
    rows = np.flatnonzero(far)
    return _flagged(snapshot, rows), {
        snapshot.universe.symbols[row]: Why.FORWARD for row in rows.tolist()
    }


def _flagged(snapshot: Snapshot, rows: Rows) -> Snapshot:
    flags = snapshot.flags.copy()
    flags[rows] |= np.uint16(Flag.OUT_OF_RANGE)
    return replace(snapshot, flags=frozen(flags))


def _held(snapshot: Snapshot, corrected: Mapping[str, Why]) -> Snapshot:
    """Marks of perpetuals that are another price by rule are flagged as such."""
    universe = snapshot.universe
    rows = [
        row for row, symbol in enumerate(universe.symbols)
        if symbol in corrected and universe.kind[row] in (Kind.PERPETUAL, Kind.SPOT)
        and not snapshot.flags[row] & Flag.MARK_DERIVED
    ]  # fmt: skip
    flags = snapshot.flags.copy()
    flags[rows] |= np.uint16(Flag.MARK_HELD)
    return replace(snapshot, flags=frozen(flags))


def _options(snapshot: Snapshot, what: OptionMarks, corrected: dict[str, Why]) -> Snapshot:
    """Options by the surface that is fitted to them: volatilities that are missing or that price
    beyond the band are its own, marks beyond the band are held at its edge or flagged."""
    universe = snapshot.universe
    sound = (snapshot.flags & (BLOCKING & ~Flag.VOL_MISSING)) == 0
    mine = np.flatnonzero(universe.is_option & sound)
    if mine.size == 0:
        return snapshot
    quotes = quotes_of(snapshot)
    forward = np.where(sound[universe.kind == Kind.OPTION], quotes.forward, np.nan)
    surface = fit_surface(replace(quotes, forward=forward)).surface
    bands = mark_bands(snapshot, surface)
    inside = bands.high > 0.0
    priced = np.zeros(len(universe))
    voiced = mine[snapshot.vol[mine] > 0.0]
    priced[voiced] = model_price(snapshot, voiced, snapshot.vol[voiced])
    wild = inside & sound & (snapshot.vol > 0.0)
    wild &= (priced < bands.low) | (priced > bands.high)
    vol, flags = snapshot.vol.copy(), snapshot.flags.copy()
    vol[wild] = 0.0
    flags[wild] |= np.uint16(Flag.VOL_MISSING)
    blank = sound & ((flags & Flag.VOL_MISSING) != 0)
    after = fill(replace(snapshot, vol=frozen(vol), flags=frozen(flags)), surface)
    for row in np.flatnonzero(blank).tolist():
        corrected.setdefault(universe.symbols[row], Why.VOLATILITY)
    odd = _contradicting(after, np.flatnonzero(universe.is_option & sound & ~inside))
    corrected |= {universe.symbols[row]: Why.CONTRADICTS for row in odd.tolist()}
    after = _flagged(after, odd)
    outside = np.array([row for row in bands.outside(after) if after.usable[row]], dtype=np.intp)
    corrected |= {universe.symbols[row]: Why.OUTSIDE for row in outside.tolist()}
    if what is OptionMarks.FLAG:
        return _flagged(after, outside)
    mark, flags = after.mark.copy(), after.flags.copy()
    for row in outside.tolist():
        mark[row] = _clamped(after, row, *(side[row] for side in (bands.low, bands.model,
                                                                  bands.high)))  # fmt: skip
        flags[row] |= np.uint16(Flag.MARK_HELD)
    return replace(after, mark=frozen(mark), flags=frozen(flags))


def _contradicting(snapshot: Snapshot, rows: Rows) -> Rows:
    """Of options without a band, those whose mark is not what their own volatility prices, two vol
    points and a tick either side."""
    told = (snapshot.vol[rows] > 0.0) & ((snapshot.flags[rows] & Flag.MARK_DERIVED) == 0)
    mine = rows[told]
    vol, tick = snapshot.vol[mine], snapshot.universe.tick_size[mine]
    low = model_price(snapshot, mine, np.maximum(vol - BAND_VOL_MIN, 0.0)) - tick
    high = model_price(snapshot, mine, vol + BAND_VOL_MIN) + tick
    return np.asarray(mine[(snapshot.mark[mine] < low) | (snapshot.mark[mine] > high)])


def _clamped(snapshot: Snapshot, row: int, low: float, model: float, high: float) -> float:
    """An option's mark by its quotes, within the surface's band; the model's without two."""
    bid, ask = (Fraction(float(side[row])) or None for side in (snapshot.bid, snapshot.ask))
    mark = option_mark(
        Fraction(float(model)), low=Fraction(float(low)), high=Fraction(float(high)), bid=bid,
        ask=ask,
    )  # fmt: skip
    return float(model) if mark is None else float(mark)


def _modelled(snapshot: Snapshot, corrected: dict[str, Why]) -> Snapshot:
    """Options of which no mark is told have the model's at their volatility."""
    universe = snapshot.universe
    silent = universe.is_option & ((snapshot.flags & Flag.MARK_DERIVED) != 0)
    for row in np.flatnonzero(silent).tolist():
        corrected.setdefault(universe.symbols[row], Why.MISSING)
    rows = np.flatnonzero(silent & (snapshot.vol > 0.0) & (snapshot.forward > 0.0))
    mark = snapshot.mark.copy()
    mark[rows] = model_price(snapshot, rows, snapshot.vol[rows])
    return replace(snapshot, mark=frozen(mark))


def _corrections(
    snapshot: Snapshot, told: Mapping[str, float], corrected: Mapping[str, Why]
) -> tuple[Correction, ...]:
    """What is not as told, in the order of the universe. What the index alone takes from margining
    is told of the index."""
    found = []
    usable, marks = snapshot.usable.tolist(), snapshot.mark.tolist()
    silent = (snapshot.flags & Flag.INDEX_MISSING) != 0
    for row, symbol in enumerate(snapshot.universe.symbols):
        if symbol not in corrected or silent[row]:
            continue
        said = told[symbol]
        found.append(
            Correction(
                symbol=symbol, why=corrected[symbol], told=None if np.isnan(said) else said,
                published=marks[row] if usable[row] else None,
            )
        )  # fmt: skip
    return tuple(found)
