"""Which answer a document is, by its fields: files say only of what venue they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from solvent.errors import BadInput, Problem, Reject
from solvent.feeds.accounts import binance, bybit, ccxt, deribit, okx
from solvent.feeds.accounts.answer import Answer, Listing, by_name
from solvent.feeds.accounts.cells import read_json, refuse

Reader = Callable[[Any, str], Answer]
VENUES: Final = ("deribit", "okx", "bybit", "binance", "ccxt")
_DERIBIT: Final = (
    ({"summaries"}, deribit.accounts), ({"currency", "margin_balance"}, deribit.accounts),
    ({"order_id", "order_type"}, deribit.orders), ({"direction", "size"}, deribit.positions),
    ({"min_trade_amount", "kind"}, deribit.listings), ({"mark_price"}, deribit.prices),
    ({"instrument_name", "best_bid_price"}, deribit.prices),
)  # fmt: skip
_BYBIT: Final = (
    ({"coin", "totalEquity"}, bybit.accounts), ({"positionValue", "side"}, bybit.positions),
    ({"orderId", "leavesQty", "orderStatus"}, bybit.orders),
    ({"lotSizeFilter", "priceFilter"}, bybit.listings),
    ({"riskLimitValue", "maintenanceMargin"}, bybit.tiers),
    ({"symbol", "lastPrice", "volume24h"}, bybit.prices),
)  # fmt: skip


def read_files(
    venue: str, paths: Iterable[str | Path], *, market: str = "", account: str = ""
) -> Answer:
    """Answers of one venue from files, listings before what is counted in contracts of them.

    `market`: the category of Bybit or the market of Binance where the answer does not tell it.
    Raises BadInput naming file, row and field; also where the files are of several accounts.
    """
    documents = [(str(path), read_json(path)) for path in paths]
    known: dict[str, Listing] = {}
    whole, waiting = Answer(account=account), []
    for source, document in documents:
        reader = reader_of(venue, document, source, known, market=market)
        if _needs_listings(reader):
            waiting.append((source, document))
            continue
        read = reader(document, source)
        known |= by_name(read.listings)
        whole = _same_account(whole, read, source) + read
    for source, document in waiting:
        read = reader_of(venue, document, source, known, market=market)(document, source)
        whole = _same_account(whole, read, source) + read
    return whole


def _same_account(whole: Answer, read: Answer, source: str) -> Answer:
    if whole.account and read.account and whole.account != read.account:
        raise BadInput(
            Problem(
                code=Reject.ACCOUNT_UNKNOWN, source=source, field="account",
                expected=f"a statement of {whole.account}", found=read.account,
            )
        )  # fmt: skip
    return whole


def _needs_listings(reader: Reader) -> bool:
    return isinstance(reader, partial) and "listings" in reader.keywords


def reader_of(
    venue: str, document: Any, source: str, known: Mapping[str, Listing], *, market: str = ""
) -> Reader:
    """The reader of a document. Raises BadInput for a shape that tells nothing of an account."""
    if venue == "deribit":
        found = _first(deribit.unwrapped(document, source))
        return _by_fields(_DERIBIT, found, source, venue)
    if venue == "okx":
        if _has(document, {"action"}) and document["action"] == "update":
            refuse(source, Reject.SOURCE_UNREADABLE, "a whole book", "changes of one")
        rows = [document] if _has(document, {"ccy", "cashBal"}) else okx.unwrapped(document, source)
        return _okx(_first(rows), source, known)
    if venue == "bybit":
        rows, _ = bybit.unwrapped(document, source)
        reader: Any = _by_fields(_BYBIT, _first(rows), source, venue)
        return bybit.accounts if reader is bybit.accounts else partial(reader, category=market)
    if venue == "binance":
        return _binance(document, source, known, market)
    if venue != "ccxt":
        refuse(source, Reject.SOURCE_UNREADABLE, f"one of {', '.join(VENUES)}", venue)
    return _ccxt(document, source)


def _by_fields(
    shapes: Iterable[tuple[set[str], Any]], found: Any, source: str, venue: str
) -> Reader:
    """The first shape whose fields are all there; trades have many of them, and are none."""
    readers = [reader for needed, reader in shapes if _has(found, needed)]
    if not readers or _has(found, {"trade_id"}) or _has(found, {"isBuyer"}):
        names = ", ".join(list(map(str, found))[:6]) if isinstance(found, Mapping) else repr(found)
        refuse(
            source, Reject.SOURCE_UNREADABLE,
            f"an answer of {venue}: an account, positions, orders, listings, prices or tiers",
            f"fields {names}" if found else "nothing",
        )  # fmt: skip
    reader: Reader = readers[0]
    return reader


def _okx(found: Any, source: str, known: Mapping[str, Listing]) -> Reader:
    shapes: tuple[tuple[set[str], Reader], ...] = (
        ({"details"}, okx.accounts), ({"ccy", "cashBal"}, okx.accounts),
        ({"pos", "mgnMode"}, partial(okx.positions, listings=known)),
        ({"ordId", "ordType", "accFillSz"}, partial(okx.orders, listings=known)),
        ({"tier", "mmr", "maxSz"}, partial(okx.tiers, listings=known)),
        ({"instId", "lotSz", "tickSz"}, okx.listings), ({"instId", "markPx"}, okx.prices),
        ({"instId", "idxPx"}, okx.prices), ({"instId", "bidPx"}, okx.prices),
        ({"instId", "markVol"}, okx.prices), ({"bids", "asks", "seqId"}, okx.prices),
    )  # fmt: skip
    return _by_fields(shapes, found, source, "okx")


def _binance(document: Any, source: str, known: Mapping[str, Listing], market: str) -> Reader:
    found = _first(document)
    found = found.get("event", found) if isinstance(found, Mapping) else found
    named = market or "usdm"
    shapes: tuple[tuple[set[str], Reader], ...] = (
        ({"e", "B"}, binance.accounts), ({"e", "a"}, binance.accounts),
        ({"balances"}, binance.accounts), ({"assets", "positions"}, binance.accounts),
        ({"asset", "balance"}, binance.accounts),
        ({"symbol", "positionAmt", "marginType"},
         partial(binance.positions, market=named, listings=known)),
        ({"symbol", "orderId", "origQty", "type"},
         partial(binance.orders, market=named, listings=known)),
        ({"symbols"}, partial(binance.listings, market=named)),
        ({"symbol", "brackets"}, partial(binance.tiers, market=named)),
        ({"symbol", "bidPrice"}, partial(binance.prices, market=named)),
        ({"symbol", "price"}, partial(binance.prices, market=named)),
        ({"symbol", "markPrice"}, partial(binance.prices, market=named)),
        ({"e", "s"}, partial(binance.prices, market=named)),
    )  # fmt: skip
    if _has(found, {"e", "a"}) and found["e"] in ("24hrTicker", "bookTicker"):
        return partial(binance.prices, market=named)
    return _by_fields(shapes, found, source, "binance")


def _ccxt(document: Any, source: str) -> Reader:
    found = _first(document)
    if _has(found, {"total", "free"}):
        return ccxt.accounts
    shapes: tuple[tuple[set[str], Reader], ...] = (
        ({"symbol", "contracts"}, ccxt.positions), ({"symbol", "precision"}, ccxt.listings),
        ({"symbol", "bid", "ask"}, ccxt.prices),
    )  # fmt: skip
    if isinstance(found, Mapping) and found and not _has(found, {"symbol"}):
        found = next(iter(found.values()))  # by symbol
    return _by_fields(shapes, found, source, "ccxt")


def _first(document: Any) -> Any:
    """What stands for a document's shape: its first row."""
    if isinstance(document, Mapping) and isinstance(document.get("data"), list):
        document = document["data"]
    if isinstance(document, list):
        return document[0] if document else {}
    return document


def _has(found: Any, needed: set[str]) -> bool:
    return isinstance(found, Mapping) and needed <= found.keys()
