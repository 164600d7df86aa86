"""A market from what venues' tickers say: prices that were fetched become a snapshot."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields, replace
from decimal import Decimal

import numpy as np

from solvent.errors import BadInput, Problem, Reject
from solvent.feeds.accounts.answer import Answer, Price
from solvent.instruments import Instrument, Kind
from solvent.market import Quotes, Snapshot, assemble
from solvent.units import Float64, TimeMs


def merged(prices: Iterable[Price]) -> dict[str, Price]:
    """One price an instrument: what a later answer tells comes after, and what it does not tell
    stays."""
    found: dict[str, Price] = {}
    for one in prices:
        before = found.get(one.symbol, one)
        told = {
            name.name: value for name in fields(one)
            if (value := getattr(one, name.name)) is not None
        }  # fmt: skip
        found[one.symbol] = replace(before, **told)
    return found


def market_of(answer: Answer, *, source: str, as_of_ms: TimeMs) -> Snapshot:
    """A market of every listing that a price is told of, as of a time.

    A spot pair's mark is an index for its coin where nobody tells one. Raises BadInput where no
    listing has a price.
    """
    told = merged(answer.prices)
    listed = {one.symbol: one.instrument for one in answer.listings
              if one.instrument.contract.kind is not Kind.SPOT}  # fmt: skip
    rows = [(instrument, told[symbol]) for symbol, instrument in listed.items() if symbol in told]
    if not rows:
        raise BadInput(
            Problem(
                code=Reject.SOURCE_EMPTY, source=source, expected="a price of an instrument",
                found=f"{len(listed)} instruments, {len(told)} prices, none of both",
            )
        )  # fmt: skip
    spot = _spot(told)
    return assemble(
        Quotes(
            instruments=[instrument for instrument, _ in rows],
            index=_floats(one.index or spot.get(_pair(instrument)) for instrument, one in rows),
            forward=_floats(one.forward for _, one in rows),
            mark=_floats(one.mark for _, one in rows),
            vol=_floats(one.vol for _, one in rows),
            bid=_floats(one.bid for _, one in rows),
            ask=_floats(one.ask for _, one in rows),
            rate=_floats(None for _ in rows),
            time_ms=np.array(
                [as_of_ms if one.time_ms is None else one.time_ms for _, one in rows],
                dtype=np.int64,
            ),
        ),
        as_of_ms=as_of_ms,
    )


def _spot(told: dict[str, Price]) -> dict[tuple[str, str], Decimal]:
    """Index of a pair by its coins, from rows that are told of the pair itself."""
    found = {}
    for symbol, one in told.items():
        base, _, quote = symbol.partition("_")
        if one.index is not None and quote and "-" not in symbol:
            found[base, quote] = one.index
    return found


def _pair(instrument: Instrument) -> tuple[str, str]:
    contract = instrument.contract
    return contract.base, contract.quote


def _floats(told: Iterable[Decimal | None]) -> Float64:
    return np.array([np.nan if one is None else float(one) for one in told])
