"""From adapters' messages to what the rest of Solvent reads: quotes for oracles, and snapshots."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from typing import Final

import numpy as np

from solvent.feeds.accounts.names import binance_contract, bybit_contract, okx_contract
from solvent.feeds.library import specification
from solvent.feeds.live.messages import Message, Ticker
from solvent.instruments import Contract, Instrument, Kind, parse_symbol, term_sheet
from solvent.market import Quotes, Snapshot, assemble
from solvent.market.assemble import STALE_AFTER_MS
from solvent.market.oracles import Quote
from solvent.units import Float64, TimeMs

_MARKETS: Final = {"binance": "usdm", "bybit": "linear"}
"""What a venue's name alone means, where it has several markets."""


def quote_of(ticker: Ticker) -> Quote | None:
    """A ticker as one source's word on a price, for an index of many: the middle of its quotes,
    half their distance its confidence; else the last trade. None where it tells neither. Whether
    it is crossed, old or far from others is for the index to judge.

    >>> from decimal import Decimal
    >>> quote_of(Ticker(venue="okx", symbol="BTC-USDT", time_ms=1, received_ms=2,
    ...                 bid=Decimal(99), ask=Decimal(101)))
    Quote(source='okx:BTC-USDT', time_ms=1, price=100.0, bid=99.0, ask=101.0, confidence=1.0, ...)
    """
    bid, ask = ticker.bid, ticker.ask
    price, confidence = ticker.last, None
    if bid is not None and ask is not None:
        price, confidence = (bid + ask) / 2, abs(ask - bid) / 2
    if price is None:
        return None
    return Quote(
        source=f"{ticker.venue}:{ticker.symbol}", time_ms=_at_ms(ticker, ticker.quote_ms),
        price=float(price), bid=None if bid is None else float(bid),
        ask=None if ask is None else float(ask),
        confidence=None if confidence is None else float(confidence),
    )  # fmt: skip


def word_of(ticker: Ticker) -> Quote | None:
    """A ticker as its venue's word on what its coin is worth: the index that it tells, else, where
    it is a spot's or a perpetual's, what `quote_of` makes of it. A book that crosses is told with
    the index, for it speaks against whoever tells both.

    >>> from decimal import Decimal
    >>> word_of(Ticker(venue="deribit", symbol="BTC-PERPETUAL", time_ms=1, received_ms=2,
    ...                index=Decimal(100), last=Decimal(101)))
    Quote(source='deribit:BTC-PERPETUAL', time_ms=1, price=100.0, bid=None, ask=None, ...)
    """
    if ticker.index is None:
        kind = contract_of(ticker.venue, ticker.symbol).kind
        return quote_of(ticker) if kind in (Kind.SPOT, Kind.PERPETUAL) else None
    return Quote(
        source=f"{ticker.venue}:{ticker.symbol}", time_ms=_at_ms(ticker, ticker.index_ms),
        price=float(ticker.index), bid=None if ticker.bid is None else float(ticker.bid),
        ask=None if ticker.ask is None else float(ticker.ask),
    )  # fmt: skip


def _at_ms(ticker: Ticker, part_ms: int) -> int:
    """When a part of a ticker was told."""
    return part_ms or ticker.time_ms or ticker.received_ms


def _told_ms(ticker: Ticker, known: Container[str], base: str) -> int:
    """The oldest time of what a row is made of: the mark, or the quotes of which it is the middle;
    the forward and volatility; the index, unless the coin's is `known` from elsewhere."""
    parts = [ticker.quote_ms if ticker.mark is None else ticker.mark_ms]
    if ticker.forward is not None or ticker.vol is not None:
        parts.append(ticker.model_ms)
    if ticker.index is not None and base not in known:
        parts.append(ticker.index_ms)
    return min(_at_ms(ticker, one) for one in parts)


def contract_of(venue: str, symbol: str) -> Contract:
    """Contract of a venue's symbol, by an adapter's name, of which `#2` and so on are left out.
    Raises ValueError for what is none.

    >>> contract_of("binance-coinm", "BTCUSD_PERP") == contract_of("deribit", "BTC-PERPETUAL")
    True
    """
    venue = venue.partition("#")[0]
    name, _, market = venue.partition("-")
    if market == "v2":
        market = "linear" if symbol.endswith("USDT") else "inverse"
    market = market or _MARKETS.get(name, "")
    if name == "deribit" or venue.startswith("ccxt:"):
        return parse_symbol(symbol)
    if name == "okx":
        return okx_contract(symbol)
    if name == "bybit":
        return bybit_contract(symbol, market)
    if name == "binance":
        return binance_contract(symbol, market)
    raise ValueError(f"venue {venue!r} is not known")


class LiveMarket:
    """The newest ticker of each instrument of one venue or more, and the market they make.

    A connection that is lost takes its tickers' freshness, not their prices: their age shows.
    """

    def __init__(self, venue_of_sizes: str = "deribit") -> None:
        self._sizes = venue_of_sizes
        self._tickers: dict[tuple[Contract, str], Ticker] = {}
        self._known: dict[tuple[str, str], Contract | None] = {}
        self._instruments: dict[Contract, Instrument] = {}
        self.unknown: set[str] = set()
        """Symbols that are no contracts of Solvent's, such as combinations."""

    def __len__(self) -> int:
        return len(self._tickers)

    def take(self, messages: Iterable[Message]) -> int:
        """Hear messages; how many tickers were among them."""
        heard = 0
        for message in messages:
            if isinstance(message, Ticker):
                contract = self._contract(message)
                if contract is not None:
                    self._tickers[contract, message.venue] = message
                    heard += 1
        return heard

    def quotes(self, base: str) -> list[Quote]:
        """What sources say of a coin's price: its spots and perpetuals."""
        found = (
            quote_of(ticker)
            for (contract, _), ticker in self._tickers.items()
            if contract.base == base and contract.kind in (Kind.SPOT, Kind.PERPETUAL)
        )
        return [one for one in found if one is not None]

    def told_by(self, sources: Iterable[str]) -> dict[str, Ticker]:
        """The newest ticker of each source, by venue:symbol, that has told one."""
        told = {f"{one.venue}:{one.symbol}": one for one in self._tickers.values()}
        return {name: told[name] for name in sources if name in told}

    def rows(
        self, now_ms: int, believed: Container[tuple[str, str]] = ()
    ) -> list[tuple[Instrument, Ticker]]:
        """The ticker that counts for each contract which has not expired. Of several venues that
        list it one that is fresh counts before one that is stale, then one that is `believed`
        (coin, venue), then the one whose word is the newest by its venue's time."""
        best: dict[Contract, tuple[bool, bool, int, int]] = {}
        chosen: dict[Contract, Ticker] = {}
        for (contract, venue), ticker in self._tickers.items():
            told_ms = min(now_ms, _told_ms(ticker, (), contract.base))
            rank = (
                now_ms - told_ms <= STALE_AFTER_MS, (contract.base, venue) in believed, told_ms,
                ticker.received_ms,
            )  # fmt: skip
            if contract not in best or rank > best[contract]:
                best[contract], chosen[contract] = rank, ticker
        return [
            (self._instrument(contract), ticker)
            for contract, ticker in chosen.items()
            if contract.expiry_ms is None or contract.expiry_ms > now_ms
        ]

    def snapshot(self, now_ms: int) -> Snapshot | None:
        """The market at a moment as venues tell it; None before any ticker. Marks that a venue does
        not tell are the middle of its quotes; `rows` tells which venue counts. What is safe to
        margin by is for `published.Publisher` to make of it."""
        rows = self.rows(now_ms)
        return assemble(columns_of(rows, now_ms), as_of_ms=TimeMs(now_ms)) if rows else None

    def _contract(self, ticker: Ticker) -> Contract | None:
        place = (ticker.venue, ticker.symbol)
        if place not in self._known:
            try:
                self._known[place] = contract_of(*place)
            except ValueError:
                self._known[place] = None
                self.unknown.add(f"{ticker.venue}:{ticker.symbol}")
        return self._known[place]

    def _instrument(self, contract: Contract) -> Instrument:
        if contract not in self._instruments:
            self._instruments[contract] = term_sheet(
                contract, specification(contract, venue=self._sizes)
            )
        return self._instruments[contract]


def columns_of(
    rows: Sequence[tuple[Instrument, Ticker]], now_ms: int, known: Container[str] = ()
) -> Quotes:
    """Tickers as columns; a mark that is not told is the middle of the quotes, where they do not
    cross. A row is as old as the oldest of what its prices are made of, quotes beside a mark
    aside: these are not told once they are stale. Coins that are `known` have an index besides."""

    def column(name: str) -> Float64:
        found = (getattr(ticker, name) for _, ticker in rows)
        return np.array([np.nan if one is None else float(one) for one in found])

    told = [_told_ms(one, known, instrument.contract.base) for instrument, one in rows]
    quoted = [_at_ms(ticker, ticker.quote_ms) for _, ticker in rows]
    time_ms = np.minimum(now_ms, np.array(told, dtype=np.int64))
    quote_ms = np.minimum(now_ms, np.array(quoted, dtype=np.int64))
    dead = (now_ms - quote_ms > STALE_AFTER_MS) & (quote_ms < time_ms)
    mark = column("mark")
    bid, ask = (np.where(dead, np.nan, column(side)) for side in ("bid", "ask"))
    middle = np.where(bid > ask, np.nan, (bid + ask) / 2.0)
    return Quotes(
        instruments=[instrument for instrument, _ in rows], index=column("index"),
        forward=column("forward"), mark=np.where(np.isnan(mark), middle, mark),
        vol=column("vol"), bid=bid, ask=ask, rate=column("rate"), time_ms=time_ms,
    )  # fmt: skip
