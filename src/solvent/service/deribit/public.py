"""Deribit's public methods: the venue's time, contracts, quotes, marks and greeks."""

from __future__ import annotations

import time
from typing import Annotated, Any

from msgspec import Meta, Struct

from solvent import __version__
from solvent.engine.state import Contract
from solvent.host import Engine
from solvent.order_rows import ShownBook
from solvent.service.callers import Action
from solvent.service.deribit.quotes import models, summary_row, ticker_row, tops
from solvent.service.deribit.rpc import INVALID_PARAMS, Asked, Fault, Nothing, method
from solvent.service.deribit.terms import contracts, index_of, instrument_row
from solvent.service.published import Published

Word = Annotated[str, Meta(max_length=64)]


class Listed(Struct):
    """Contracts of a currency and kind, those that have ended where `expired`."""

    currency: Word | None = None
    kind: Word | None = None
    expired: bool = False


class OfOne(Struct):
    """One contract."""

    instrument_name: Word


class OfIndex(Struct):
    """One index, such as `btc_usd`."""

    index_name: Word


class OfBook(Struct):
    """One contract's book, to a depth."""

    instrument_name: Word
    depth: Annotated[int, Meta(ge=1, le=10_000)] = 5


@method("public/test", Nothing)
async def test(told: Nothing, asked: Asked) -> dict[str, Any]:
    """The version of the service."""
    del told, asked
    return {"version": __version__}


@method("public/get_time", Nothing)
async def get_time(told: Nothing, asked: Asked) -> int:
    """The service's clock, milliseconds since 1970 UTC."""
    del told, asked
    return time.time_ns() // 1_000_000


@method("public/status", Nothing)
async def status(told: Nothing, asked: Asked) -> dict[str, Any]:
    """Nothing is locked as long as the venue serves."""
    del told
    await asked.read(lambda engine: engine.state.log.sequence)
    return {"locked": "false", "locked_indices": []}


@method("public/get_currencies", Nothing, Action.MARKET_READ)
async def get_currencies(told: Nothing, asked: Asked) -> list[dict[str, Any]]:
    """The venue's assets."""
    del told
    state = asked.now.state
    names = dict.fromkeys([name for name, _ in state.assets] + list(state.underlyings))
    return [
        {
            "currency": name, "currency_long": name, "coin_type": name,
            "fee_precision": state.assets[state.asset_numbers[name]][1]
            if name in state.asset_numbers else 8,
            "in_cross_collateral_pool": name in state.asset_numbers,
        }
        for name in names
    ]  # fmt: skip


@method("public/get_instruments", Listed, Action.MARKET_READ)
async def get_instruments(told: Listed, asked: Asked) -> list[dict[str, Any]]:
    """Contracts that are listed."""
    found = contracts(asked.now, currency=told.currency, kind=told.kind, ended=told.expired)
    return [instrument_row(one) for one in found]


@method("public/get_instrument", OfOne, Action.MARKET_READ)
async def get_instrument(told: OfOne, asked: Asked) -> dict[str, Any]:
    """One contract."""
    return instrument_row(contract_of(asked.now, told.instrument_name))


@method("public/get_index_price", OfIndex, Action.MARKET_READ)
async def get_index_price(told: OfIndex, asked: Asked) -> dict[str, Any]:
    """An index, and what would be delivered at."""
    base = told.index_name.partition("_")[0].upper()
    found = asked.now.state.underlyings.get(base)
    if found is None:
        raise Fault(INVALID_PARAMS, "Invalid params", param="index_name", reason="not an index")
    index = index_of(asked.now.state, base)
    return {"index_price": index, "estimated_delivery_price": index}


@method("public/get_book_summary_by_currency", Listed, Action.MARKET_READ)
async def get_book_summary_by_currency(told: Listed, asked: Asked) -> list[dict[str, Any]]:
    """Quotes and marks of all contracts of a currency and kind: an option chain."""
    wanted = list(contracts(asked.now, currency=told.currency, kind=told.kind))
    return await _summaries(asked, wanted)


@method("public/get_book_summary_by_instrument", OfOne, Action.MARKET_READ)
async def get_book_summary_by_instrument(told: OfOne, asked: Asked) -> list[dict[str, Any]]:
    """The same of one contract."""
    return await _summaries(asked, [contract_of(asked.now, told.instrument_name)])


async def _summaries(asked: Asked, wanted: list[Contract]) -> list[dict[str, Any]]:
    now = asked.now
    quotes, told = await tops(asked, wanted), models(now, wanted)
    return [summary_row(now, one, quotes[one.number], told.get(one.number)) for one in wanted]


@method("public/ticker", OfOne, Action.MARKET_READ)
async def ticker(told: OfOne, asked: Asked) -> dict[str, Any]:
    """Quotes, marks and greeks of a contract."""
    return await ticker_of(asked, told.instrument_name)


async def ticker_of(asked: Asked, name: str) -> dict[str, Any]:
    """A contract's ticker."""
    now = asked.now
    one = contract_of(now, name)
    quotes = await tops(asked, [one])
    return ticker_row(now, one, quotes[one.number], models(now, [one]).get(one.number))


@method("public/get_order_book", OfBook, Action.MARKET_READ)
async def get_order_book(told: OfBook, asked: Asked) -> dict[str, Any]:
    """A contract's ticker, and its book to a depth as pairs of price and size."""
    row = await ticker_of(asked, told.instrument_name)

    def look(engine: Engine) -> ShownBook:
        return engine.book(told.instrument_name, told.depth)

    book = await asked.read(look)
    sides = {"bids": book.bids, "asks": book.asks}
    levels = {
        side: [[float(one.price), float(one.size)] for one in found]
        for side, found in sides.items()
    }
    return row | levels | {"change_id": book.sequence}


def contract_of(now: Published, name: str) -> Contract:
    """A contract by its name. Raises Fault."""
    number = now.state.contract_numbers.get(name)
    if number is None or number >= len(now.state.contracts):
        raise Fault(INVALID_PARAMS, "Invalid params", param="instrument_name", reason="not listed")
    return now.state.contracts[number]
