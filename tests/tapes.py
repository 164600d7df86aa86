"""Recordings of venues, and what a slow reader makes of them: plain dicts, no code of the feeds.

The twin reads frames with `json` and keeps a book as two dicts; a side's best is looked for anew
each time. It trusts the recording: no numbers, no checksums.
"""

from __future__ import annotations

import gzip
import json
import re
from collections import defaultdict
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from solvent.feeds.recordings import Recording, open_recording
from tests.conftest import need_shared

TAPES = ("DERIBIT", "OKX", "BYBIT", "BINANCE_FUTURES", "BINANCE_DELIVERY")
LINE = re.compile(r"(?:(\S+) (<->|<-|->) )?(\d+\.\d+)(?:: (.*))?", re.DOTALL)

Levels = dict[Decimal, Decimal]
Best = tuple[Decimal | None, Decimal | None]


def folder() -> Path:
    return need_shared("data", "ws_recordings", "cryptofeed")


def recording(name: str) -> Recording:
    return open_recording(folder() / name)


def whole(bids: Levels, asks: Levels) -> int:
    """A book to its full depth, as one number."""
    return hash((frozenset(bids.items()), frozenset(asks.items())))


def top(bids: Levels, asks: Levels, depth: int = 25) -> int:
    """The best levels of a book, as one number."""
    best = sorted(bids, reverse=True)[:depth], sorted(asks)[:depth]
    return whole({at: bids[at] for at in best[0]}, {at: asks[at] for at in best[1]})


class Twin:
    """Books, best prices and the whole book after each change of it, tickers in their order,
    trades."""

    def __init__(self) -> None:
        self.books: dict[str, tuple[Levels, Levels]] = defaultdict(lambda: ({}, {}))
        self.bests: dict[str, list[Best]] = defaultdict(list)
        self.wholes: dict[str, list[int]] = defaultdict(list)
        self.tops: dict[str, list[int]] = defaultdict(list)
        """Of OKX, whose checksum is over the best 25 levels."""
        self.tickers: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.trades: list[tuple[str, Decimal, Decimal, str]] = []
        self.last: dict[str, int] = {}
        self.early: dict[str, list[dict[str, Any]]] = defaultdict(list)

    def put(self, symbol: str, side: int, price: Any, size: Any) -> None:
        levels = self.books[symbol][side]
        levels.pop(Decimal(price), None)
        if Decimal(size):
            levels[Decimal(price)] = Decimal(size)

    def best(self, symbol: str) -> None:
        bids, asks = self.books[symbol]
        self.bests[symbol].append((max(bids, default=None), min(asks, default=None)))
        self.wholes[symbol].append(whole(bids, asks))

    def deribit(self, told: dict[str, Any]) -> None:
        channel = told.get("params", {}).get("channel", "").split(".")[0]
        data: Any = told.get("params", {}).get("data")
        if channel == "book":
            symbol = data["instrument_name"]
            for side, name in enumerate(("bids", "asks")):
                for what, price, size in data[name]:
                    self.put(symbol, side, price, 0 if what == "delete" else size)
            self.best(symbol)
        elif channel == "ticker":
            self.tickers[data["instrument_name"]].append({
                "bid": data["best_bid_price"] or None, "ask": data["best_ask_price"] or None,
                "mark": data["mark_price"], "index": data["index_price"],
                "forward": data["underlying_price"],
                "vol": data["mark_iv"] / 100 if data["mark_iv"] else None,
            })  # fmt: skip
        elif channel == "trades":
            for one in data:
                self.trades.append(
                    (one["instrument_name"], one["price"], one["amount"], one["direction"])
                )

    def okx(self, told: dict[str, Any]) -> None:
        if "data" not in told:
            return
        symbol, channel = told["arg"]["instId"], told["arg"]["channel"]
        for data in told["data"]:
            if channel == "books":
                for side, name in enumerate(("bids", "asks")):
                    for price, size, *_ in data[name]:
                        self.put(symbol, side, price, size)
                self.best(symbol)
                self.tops[symbol].append(top(*self.books[symbol]))
            elif channel == "tickers":
                self.tickers[symbol].append(
                    {"bid": Decimal(data["bidPx"]), "ask": Decimal(data["askPx"]),
                     "last": Decimal(data["last"])}
                )  # fmt: skip
            elif channel == "trades":
                self.trades.append((symbol, Decimal(data["px"]), Decimal(data["sz"]), data["side"]))

    def bybit(self, told: dict[str, Any]) -> None:
        channel, _, symbol = told.get("topic", "").partition(".")
        data: Any = told.get("data")
        if channel == "orderBookL2_25":
            if told["type"] == "snapshot":
                rows = data if isinstance(data, list) else data["order_book"]
            else:
                rows = [*data["delete"], *data["update"], *data["insert"]]
            for row in rows:
                self.put(symbol, 0 if row["side"] == "Buy" else 1, row["price"], row.get("size", 0))
            self.best(symbol)
        elif channel == "trade":
            for one in data:
                self.trades.append(
                    (symbol, Decimal(one["price"]), Decimal(one["size"]), one["side"].lower())
                )

    def binance(self, told: dict[str, Any]) -> None:
        stream, data = told["stream"].partition("@")[2], told["data"]
        symbol = data["s"]
        if stream.startswith("depth"):
            if symbol in self.last:
                self.depth(symbol, data)
            else:
                self.early[symbol].append(data)
        elif stream == "bookTicker":
            self.tickers[symbol].append({"bid": Decimal(data["b"]), "ask": Decimal(data["a"])})
        elif stream == "aggTrade":
            side = "sell" if data["m"] else "buy"
            self.trades.append((symbol, Decimal(data["p"]), Decimal(data["q"]), side))

    def depth(self, symbol: str, data: dict[str, Any]) -> None:
        if data["u"] <= self.last[symbol]:
            return
        for side, name in enumerate(("b", "a")):
            for price, size in data[name]:
                self.put(symbol, side, price, size)
        self.best(symbol)

    def binance_answer(self, symbol: str, told: dict[str, Any]) -> None:
        self.last[symbol] = told["lastUpdateId"]
        for side, name in enumerate(("bids", "asks")):
            for price, size in told[name]:
                self.put(symbol, side, price, size)
        self.best(symbol)
        for data in self.early[symbol]:
            self.depth(symbol, data)


@cache
def twin(name: str) -> Twin:
    """The slow reading of a recording."""
    found: list[tuple[float, str | None, Any]] = []
    for path in sorted(folder().glob(f"{name}.*gz")):
        for line in gzip.decompress(path.read_bytes()).decode().splitlines():
            match = LINE.fullmatch(line)
            if match is None or match[4] is None or match[2] == "<-":
                continue
            if match[2] == "->" and "depth" not in match[1]:
                continue
            found.append((float(match[3]), match[1], json.loads(match[4], parse_float=Decimal)))
    slow = Twin()
    venue = name.split("_")[0].lower()
    for _, place, told in sorted(found, key=lambda one: one[0]):
        if place is not None:
            slow.binance_answer(parse_qs(urlsplit(place).query)["symbol"][0], told)
        else:
            getattr(slow, venue)(told)
    return slow
