"""Prices and greeks of contracts: marks and risk from what was published, quotes from the books.

Greeks are Deribit's: delta of Black-76 in coin, gamma per dollar, vega in dollars per vol point,
theta in dollars a day, of one unit of the base coin. Its rho, at a spot that is held, is not told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from solvent.engine.state import Contract
from solvent.host import Engine
from solvent.pricing.greeks import DAYS_PER_YEAR, VOL_POINT, greeks
from solvent.risk import RiskArrays
from solvent.service.deribit.rpc import Asked
from solvent.service.deribit.terms import index_of, price, without_none
from solvent.service.published import Published

TOGETHER: Final = 64
"""Books that are looked at between two batches of the engine."""


@dataclass(frozen=True, slots=True)
class Top:
    """The best quotes of a contract, the last trade, and what all longs hold, in venue units."""

    bid: float | None
    bid_size: float
    ask: float | None
    ask_size: float
    last: float | None
    open_interest: float


async def tops(asked: Asked, wanted: Sequence[Contract]) -> dict[int, Top]:
    """Number → quotes; some contracts at a time, so that commands need not wait."""
    found: dict[int, Top] = {}
    for start in range(0, len(wanted), TOGETHER):
        some = [one.number for one in wanted[start : start + TOGETHER]]
        found |= await asked.read(lambda engine, some=some: _tops(engine, some))  # type: ignore[misc]
    return found


def _tops(engine: Engine, numbers: Sequence[int]) -> dict[int, Top]:
    found = {}
    for number in numbers:
        contract = engine.state.contracts[number]
        if contract.settled:
            found[number] = Top(None, 0.0, None, 0.0, None, 0.0)
            continue
        book = engine.book(contract.listing.symbol, 1)
        bid, ask = book.bids[:1], book.asks[:1]
        longs = sum(one.lots for one in contract.holders.values() if one.lots > 0)
        found[number] = Top(
            bid=float(bid[0].price) if bid else None, bid_size=float(bid[0].size) if bid else 0.0,
            ask=float(ask[0].price) if ask else None, ask_size=float(ask[0].size) if ask else 0.0,
            last=None if book.last is None else float(book.last),
            open_interest=float(longs * contract.deal.lot_size),
        )  # fmt: skip
    return found


@dataclass(frozen=True, slots=True)
class Model:
    """What the published arrays say of an instrument; NaN nowhere, missing where not known."""

    forward: float
    iv: float
    rate: float
    greeks: Mapping[str, float]


def arrays_of(now: Published) -> RiskArrays | None:
    """The arrays of the venue's rulebook, or of any."""
    first = now.rules.get(now.state.venue_rulebook)
    rules = [one for one in (first, *now.rules.values()) if one is not None]
    return next((one.arrays for one in rules if one.arrays is not None), None)


def models(now: Published, wanted: Sequence[Contract]) -> dict[int, Model]:
    """Number → model values, of contracts that the arrays have usable numbers of."""
    arrays = arrays_of(now)
    if arrays is None:
        return {}
    rows = {symbol: row for row, symbol in enumerate(arrays.universe.symbols)}
    known = [
        (one, rows[one.listing.symbol]) for one in wanted
        if one.listing.symbol in rows and arrays.usable[rows[one.listing.symbol]]
    ]  # fmt: skip
    if not known:
        return {}
    row = np.array([at for _, at in known])
    forward, iv = arrays.fields["forward"][row], arrays.fields["iv"][row]
    option = np.array([bool(one.listing.option_type) for one, _ in known])
    strike = np.array([float(one.listing.strike or 1.0) for one, _ in known])
    side = np.array([-1.0 if one.listing.option_type == "P" else 1.0 for one, _ in known])
    rate, years = arrays.fields["rate"][row], arrays.fields["years"][row]
    found = greeks(
        forward=forward, strike=strike, years=np.where(option, years, 1.0),
        vol=np.where(option, iv, 1.0), side=side, rate=np.where(option, rate, 0.0),
    )  # fmt: skip
    values = {
        "delta": found.delta, "gamma": found.gamma, "vega": found.vega * VOL_POINT,
        "theta": found.theta / DAYS_PER_YEAR,
    }  # fmt: skip
    return {
        one.number: Model(
            float(forward[n]),
            float(iv[n]),
            float(rate[n]),
            {name: float(column[n]) for name, column in values.items()} if option[n] else {},
        )
        for n, (one, _) in enumerate(known)
    }


def underlying_name(contract: Contract) -> str:
    """What an option's forward is named: the future of its expiry, or a synthetic one."""
    return "-".join(contract.listing.symbol.split("-")[:2])


def summary_row(
    now: Published, contract: Contract, top: Top, model: Model | None
) -> dict[str, Any]:
    """A contract as `get_book_summary_by_currency` tells it."""
    told, option = contract.listing, bool(contract.listing.option_type)
    mid = None if top.bid is None or top.ask is None else (top.bid + top.ask) / 2.0
    return without_none({
        "instrument_name": told.symbol,
        "base_currency": told.base,
        "quote_currency": told.base if option and told.inverse else told.quote,
        "creation_timestamp": now.state.log.time_ms,
        "bid_price": top.bid, "ask_price": top.ask, "mid_price": mid, "last": top.last,
        "mark_price": price(contract, contract.mark_points),
        "mark_iv": round(100.0 * model.iv, 2) if option and model else None,
        "underlying_price": model.forward if option and model else None,
        "underlying_index": underlying_name(contract) if option else None,
        "interest_rate": model.rate if option and model else None,
        "estimated_delivery_price": index_of(now.state, told.base),
        "open_interest": top.open_interest,
    })  # fmt: skip


def ticker_row(now: Published, contract: Contract, top: Top, model: Model | None) -> dict[str, Any]:
    """A contract as `ticker` tells it."""
    told, option = contract.listing, bool(contract.listing.option_type)
    index = index_of(now.state, told.base)
    return without_none({
        "instrument_name": told.symbol,
        "timestamp": now.state.log.time_ms,
        "state": "closed" if contract.settled else "open",
        "best_bid_price": top.bid or 0.0, "best_bid_amount": top.bid_size,
        "best_ask_price": top.ask or 0.0, "best_ask_amount": top.ask_size,
        "last_price": top.last,
        "mark_price": price(contract, contract.mark_points),
        "index_price": index, "estimated_delivery_price": index,
        "open_interest": top.open_interest,
        "mark_iv": round(100.0 * model.iv, 2) if option and model else None,
        "underlying_price": model.forward if option and model else None,
        "underlying_index": underlying_name(contract) if option else None,
        "interest_rate": model.rate if option and model else None,
        "greeks": dict(model.greeks) if option and model else None,
    })  # fmt: skip
