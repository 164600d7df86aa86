"""Markets from files: Deribit option chains, Deribit's JSON answers, and Solvent's own table.

| layout | told by | volatility | none |
|---|---|---|---|
| chain CSV | `instrument_name`, `implied_volatility` | fraction | empty |
| Deribit ticker, book summary (JSON, CSV) | `instrument_name`, `mark_iv` | percent | 0 |
| futures prices beside a chain | `perp_futures_mark_price` or `term_mark_price_final` | | |
| Solvent's own (`docs/formats.md`) | `instrument` | fraction | empty |

A chain names the futures that its options are priced on; listed ones become instruments. Where no
file brings a perpetual's price its mark is the index, and the snapshot says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from solvent.errors import BadInput, Problem, Reject
from solvent.feeds.columns import UNTOLD, check_times, moments, names, numbers, require
from solvent.feeds.library import specification
from solvent.feeds.table import Faults, frame_of_json, read_table
from solvent.instruments import (
    Contract,
    Instrument,
    Kind,
    Specification,
    Universe,
    parse_symbol,
    term_sheet,
)
from solvent.instruments.contract import moment_of
from solvent.limits import VOL_MAX
from solvent.market import Flag, Quotes, Snapshot, assemble
from solvent.pricing.implied import implied_vol
from solvent.units import Float64, TimeMs

_ROW = "row of the file"
_SIZE_MIN, _SIZE_MAX = Decimal("1e-12"), Decimal("1e12")
_SAME_MOMENT_MS = 120_000
"""A futures table's row belongs to a chain when it was seen within two minutes of it."""
_SYNTHETIC = ("SYN.", "index_price")
_NOTATIONS = "a symbol in Deribit's, ccxt's or Derive's notation"
_CHAIN = {
    "instrument": "instrument_name", "forward_price": "futures_price", "vol": "implied_volatility",
}  # fmt: skip
_TICKER = {
    "instrument": "instrument_name", "forward_price": "underlying_price", "vol": "mark_iv",
}  # fmt: skip
"""Our names of columns → what a layout calls them, for messages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rows:
    """Rows of one file in common units; NaN is not said."""

    symbols: list[str]
    index: Float64
    forward: Float64
    mark: Float64
    vol: Float64
    bid: Float64
    ask: Float64
    rate: Float64
    time_ms: NDArray[np.int64]
    sizes: list[Specification | None]
    beside: list[str]
    """Listed futures that rows are priced on, by name."""
    notes: tuple[Problem, ...] = ()
    """What is to be known of the file and stops nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketRead:
    """A snapshot, and what was left out of it."""

    snapshot: Snapshot
    problems: tuple[Problem, ...]
    dropped: int


def read_market(
    paths: Sequence[str | Path], *, skip_bad: bool = False, as_of_ms: TimeMs | None = None
) -> MarketRead:
    """Read files that together describe one market. The first that tells times brings the moment.

    Raises BadInput naming file, row and field; with `skip_bad` bad rows are left out instead. Rows
    without a time are taken for rows of the moment; where no row tells one there is no market.
    """
    merged: dict[Contract, tuple[_Rows, int]] = {}
    problems: list[Problem] = []
    dropped = 0
    moment: int | None = as_of_ms
    for path in paths:
        faults = Faults.of(path, skip=skip_bad)
        rows = _rows(read_table(path, faults), faults, moment)
        _check_rows(rows, faults)
        contracts = _contracts(rows, faults)
        faults.settle()
        keep = faults.good(len(rows.symbols))
        for row, contract in enumerate(contracts):
            if contract is not None and keep[row]:
                merged[contract] = rows, row
        told = rows.time_ms[keep & (rows.time_ms != UNTOLD)]
        if moment is None and told.size:
            moment = int(told.max())
        problems += faults.problems
        problems += rows.notes
        dropped += faults.count
    source = ", ".join(map(str, paths)) or "market"
    if not merged:
        expected = "one usable instrument or more"
        raise BadInput(
            Problem(code=Reject.SOURCE_EMPTY, source=source, expected=expected, found="none"),
            *problems,
        )
    if moment is None:
        raise BadInput(
            Problem(
                code=Reject.TIME_INVALID,
                source=source,
                field="timestamp",
                expected="a time in some row: it is the market's moment",
                found="none",
            )
        )
    snapshot = _assembled(_quotes(merged, moment), TimeMs(moment))
    return MarketRead(snapshot=snapshot, problems=tuple(problems), dropped=dropped)


def _contracts(rows: _Rows, faults: Faults) -> list[Contract | None]:
    """Contract of each row: every symbol can be understood, and means a contract once."""
    seen: set[Contract] = set()
    found: list[Contract | None] = []
    for row, symbol in enumerate(rows.symbols):
        try:
            contract = parse_symbol(symbol)
        except ValueError:
            faults.add(
                Reject.SYMBOL_UNKNOWN, row, "instrument", expected=_NOTATIONS,
                found=symbol or "nothing",
            )  # fmt: skip
            found.append(None)
            continue
        if contract in seen:
            expected = "a contract once, in whatever notation"
            faults.add(Reject.ROW_DUPLICATED, row, "instrument", expected=expected, found=symbol)
        seen.add(contract)
        found.append(contract)
    return found


def _rows(frame: pl.DataFrame, faults: Faults, moment: int | None) -> _Rows:
    if "perp_futures_mark_price" in frame.columns:
        return _futures_rows(frame, faults, moment, "perp_futures_mark_price", "obs_datetime")
    if "term_mark_price_final" in frame.columns:
        require(frame, ("futures_instrument_name",), faults)
        frame = frame.rename({"futures_instrument_name": "instrument_name"})
        return _futures_rows(frame, faults, moment, "term_mark_price_final", "timestamp")
    if "mark_iv" in frame.columns or "best_bid_price" in frame.columns:
        return _ticker_rows(frame, faults)
    if "implied_volatility" in frame.columns:
        return _chain_rows(frame, faults)
    if "params" in frame.columns or "result" in frame.columns:
        return _ticker_rows(_unwrapped(frame, faults), faults)
    return _own_rows(frame, faults)


def _chain_rows(frame: pl.DataFrame, faults: Faults) -> _Rows:
    require(
        frame,
        ("instrument_name", "mark_price", "implied_volatility", "index_price", "timestamp"),
        faults,
    )
    faults.columns = _CHAIN
    forward = numbers(frame, "futures_price", faults, required=False)
    fallback = numbers(frame, "underlying", faults, required=False)
    return _row_set(
        frame,
        faults,
        symbol="instrument_name",
        index=numbers(frame, "index_price", faults, required=True),
        forward=np.where(np.isnan(forward), fallback, forward),
        mark=numbers(frame, "mark_price", faults, required=True),
        vol=numbers(frame, "implied_volatility", faults, required=True),
        bid=numbers(frame, "bid_price", faults, required=False),
        ask=numbers(frame, "ask_price", faults, required=False),
        beside=_beside(frame, faults),
    )


def _beside(frame: pl.DataFrame, faults: Faults) -> list[str]:
    """Listed futures that a chain's rows are priced on."""
    column = "futures_instrument_name"
    if column not in frame.columns:
        return []
    listed: dict[str, bool] = {}
    for row, name in enumerate(names(frame, column, faults).to_list()):
        if not name or name.startswith(_SYNTHETIC):
            continue
        if name not in listed:
            listed[name] = _is_symbol(name)
        if not listed[name]:
            faults.add(Reject.SYMBOL_UNKNOWN, row, column, expected=_NOTATIONS, found=name)
    return sorted(name for name, known in listed.items() if known)


def _is_symbol(name: str) -> bool:
    try:
        parse_symbol(name)
    except ValueError:
        return False
    return True


def _ticker_rows(frame: pl.DataFrame, faults: Faults) -> _Rows:
    """Deribit writes a missing bid, ask or volatility as 0 and volatilities in percent."""
    require(frame, ("instrument_name", "mark_price"), faults)
    quoted = {
        ours: next((n for n in theirs if n in frame.columns), ours)
        for ours, theirs in (
            ("index_price", ("index_price", "estimated_delivery_price")),
            ("bid_price", ("best_bid_price", "bid_price")),
            ("ask_price", ("best_ask_price", "ask_price")),
        )
    }
    faults.columns = {**_TICKER, **quoted}

    def absent_at_zero(*names: str) -> Float64:
        values = next(
            (numbers(frame, n, faults, required=False) for n in names if n in frame.columns),
            np.full(frame.height, np.nan),
        )
        return np.where(values == 0.0, np.nan, values)

    rate = numbers(frame, "interest_rate", faults, required=False)
    return _row_set(
        frame,
        faults,
        symbol="instrument_name",
        index=absent_at_zero("index_price", "estimated_delivery_price"),
        forward=absent_at_zero("underlying_price"),
        mark=numbers(frame, "mark_price", faults, required=True),
        vol=absent_at_zero("mark_iv") / 100.0,
        bid=absent_at_zero("best_bid_price", "bid_price"),
        ask=absent_at_zero("best_ask_price", "ask_price"),
        rate=rate,
        time="timestamp" if "timestamp" in frame.columns else "creation_timestamp",
    )


def _own_rows(frame: pl.DataFrame, faults: Faults) -> _Rows:
    require(frame, ("instrument", "index_price", "mark_price"), faults)
    faults.columns = {"vol": "implied_vol"}
    sizes: list[Specification | None] = [None] * frame.height
    if {"lot_size", "contract_size", "tick_size"} <= set(frame.columns):
        sized = ("lot_size", "contract_size", "tick_size")
        cells = (names(frame, name, faults).to_list() for name in sized)
        for row, (lot, contract, tick) in enumerate(zip(*cells, strict=True)):
            sizes[row] = _sizes(row, lot, contract, tick, faults)
    return replace(
        _row_set(
            frame,
            faults,
            symbol="instrument",
            index=numbers(frame, "index_price", faults, required=True),
            forward=numbers(frame, "forward_price", faults, required=False),
            mark=numbers(frame, "mark_price", faults, required=False),
            vol=numbers(frame, "implied_vol", faults, required=False),
            bid=numbers(frame, "bid_price", faults, required=False),
            ask=numbers(frame, "ask_price", faults, required=False),
            rate=numbers(frame, "rate", faults, required=False),
        ),
        sizes=sizes,
    )


def _sizes(row: int, lot: str, contract: str, tick: str, faults: Faults) -> Specification | None:
    if not lot:
        return None
    try:
        sizes = [Decimal(text or lot) for text in (lot, contract, tick)]
    except InvalidOperation:
        sizes = [Decimal(0)]
    if not all(size.is_finite() and _SIZE_MIN <= size <= _SIZE_MAX for size in sizes):
        expected = f"sizes from {_SIZE_MIN} to {_SIZE_MAX}"
        found = f"{lot}, {contract}, {tick}"
        faults.add(Reject.PRICE_NOT_POSITIVE, row, "lot_size", expected=expected, found=found)
        return None
    return Specification(lot_size=sizes[0], contract_size=sizes[1], tick_size=sizes[2])


def _futures_rows(
    frame: pl.DataFrame, faults: Faults, moment: int | None, price: str, time: str
) -> _Rows:
    """Futures of the chain that was read before: the rows of its moment."""
    require(frame, ("instrument_name", price, time), faults)
    if moment is None:
        raise BadInput(
            Problem(
                code=Reject.SOURCE_UNREADABLE,
                source=faults.source,
                expected="a file before it that tells the market's moment, such as an option chain",
                found="a table of futures prices first",
            )
        )
    times = moments(frame, time, faults)
    # Faults of times stand where they were found; what follows sees the rows of the moment only.
    faults.settle()
    near = (times != UNTOLD) & (np.abs(times - moment) <= _SAME_MOMENT_MS)
    mine = frame.with_columns(pl.Series(_ROW, np.arange(frame.height))).filter(pl.Series(near))
    mine = mine.unique("instrument_name", maintain_order=True)
    faults.keep_only(mine[_ROW].to_numpy())
    faults.columns = {"mark_price": price, "instrument": "instrument_name"}
    nothing = np.full(mine.height, np.nan)
    rows = _row_set(
        mine,
        faults,
        symbol="instrument_name",
        index=nothing,
        forward=nothing,
        mark=numbers(mine, price, faults, required=True),
        vol=nothing,
        bid=nothing,
        ask=nothing,
        time=time,
    )
    if mine.height:
        return rows
    seconds = _SAME_MOMENT_MS // 1_000
    expected = f"a row within {seconds} s of {moment_of(moment):%Y-%m-%d %H:%M:%S} UTC"
    ignored = Problem(
        code=Reject.TIME_INVALID, source=faults.source, field=time, expected=expected, found="none"
    )
    return replace(rows, notes=(ignored,))


def _row_set(
    frame: pl.DataFrame,
    faults: Faults,
    *,
    symbol: str,
    index: Float64,
    forward: Float64,
    mark: Float64,
    vol: Float64,
    bid: Float64,
    ask: Float64,
    rate: Float64 | None = None,
    time: str = "timestamp",
    beside: list[str] | None = None,
) -> _Rows:
    when = moments(frame, time, faults)
    check_times(when, time, faults)
    for name, values in (("bid_price", bid), ("ask_price", ask)):
        for row in np.flatnonzero(values <= 0.0):
            faults.add(
                Reject.QUOTE_ZERO, int(row), name, expected="a price above 0, or nothing",
                found=values[row],
            )  # fmt: skip
    return _Rows(
        symbols=names(frame, symbol, faults).to_list(),
        index=index,
        forward=forward,
        mark=mark,
        vol=vol,
        bid=bid,
        ask=ask,
        rate=np.full(frame.height, np.nan) if rate is None else rate,
        time_ms=when,
        sizes=[None] * frame.height,
        beside=beside or [],
    )


def _check_rows(rows: _Rows, faults: Faults) -> None:
    """Prices are positive, volatilities sane, quotes not crossed."""
    positive = (("index_price", rows.index), ("forward_price", rows.forward), ("vol", rows.vol))
    for name, values in positive:
        for row in np.flatnonzero(values <= 0.0):
            faults.add(
                Reject.PRICE_NOT_POSITIVE, int(row), name, expected="a number above 0",
                found=values[row],
            )  # fmt: skip
    for row in np.flatnonzero(rows.mark < 0.0):
        faults.add(
            Reject.PRICE_NOT_POSITIVE, int(row), "mark_price", expected="0 or more",
            found=rows.mark[row],
        )  # fmt: skip
    for row in np.flatnonzero(rows.vol > VOL_MAX):
        faults.add(
            Reject.FIELD_NOT_FINITE, int(row), "vol", expected=f"at most {VOL_MAX:g}",
            found=rows.vol[row],
        )  # fmt: skip
    for row in np.flatnonzero(rows.bid > rows.ask):
        faults.add(
            Reject.QUOTE_CROSSED, int(row), "bid_price", found=f"{rows.bid[row]:g}",
            expected=f"at most the ask {rows.ask[row]:g}",
        )  # fmt: skip


def _unwrapped(frame: pl.DataFrame, faults: Faults) -> pl.DataFrame:
    """JSON-RPC envelopes: the objects inside `result` or `params.data`."""
    import json

    rows: list[object] = []
    column = "result" if "result" in frame.columns else "params"
    for row, text in enumerate(names(frame, column, faults).to_list()):
        try:
            content = json.loads(text) if text else None
        except (ValueError, RecursionError):
            content = text
        inside = content.get("data", content) if isinstance(content, dict) else content
        if not isinstance(inside, dict):
            faults.add_malformed(row, expected=f"an object in {column!r}", found=text or "nothing")
        rows.append(inside if isinstance(inside, dict) else {})
    faults.settle()
    return frame_of_json(rows, faults=faults)


def _quotes(merged: dict[Contract, tuple[_Rows, int]], moment: int) -> Quotes:
    """One row an instrument: those told, the futures they name, and a perpetual a currency."""
    sheets = [
        term_sheet(contract, rows.sizes[row] or specification(contract))
        for contract, (rows, row) in merged.items()
    ]
    extra: dict[Contract, Instrument] = {}
    known = set(merged)
    named = [
        name for rows in {id(r): r for r, _ in merged.values()}.values() for name in rows.beside
    ]
    for symbol in named:
        contract = parse_symbol(symbol)
        if contract not in known:
            extra[contract] = term_sheet(contract, specification(contract))
    for contract in _missing_perpetuals(known):
        extra[contract] = term_sheet(contract, specification(contract))

    def column(name: str) -> Float64:
        said = [float(getattr(rows, name)[row]) for rows, row in merged.values()]
        return np.array(said + [np.nan] * len(extra))

    told = [int(rows.time_ms[row]) for rows, row in merged.values()]
    time_ms = [moment if time == UNTOLD else time for time in told]
    newest = max(time_ms)
    return Quotes(
        instruments=[*sheets, *extra.values()],
        index=column("index"),
        forward=column("forward"),
        mark=column("mark"),
        vol=column("vol"),
        bid=column("bid"),
        ask=column("ask"),
        rate=column("rate"),
        time_ms=np.array(time_ms + [newest] * len(extra), dtype=np.int64),
    )


def _missing_perpetuals(known: set[Contract]) -> list[Contract]:
    options = {(c.base, c.quote, c.settlement) for c in known if c.kind is Kind.OPTION}
    have = {(c.base, c.quote, c.settlement) for c in known if c.kind is Kind.PERPETUAL}
    return [
        Contract(base=base, quote=quote, settlement=settlement, kind=Kind.PERPETUAL)
        for base, quote, settlement in sorted(options - have)
    ]


def _assembled(quotes: Quotes, as_of_ms: TimeMs) -> Snapshot:
    """Assemble; where an option has a mark and no volatility, imply it and assemble again."""
    snapshot = assemble(quotes, as_of_ms=as_of_ms)
    universe: Universe = snapshot.universe
    blank = ((snapshot.flags & Flag.VOL_MISSING) != 0) & (snapshot.forward > 0)
    blank &= (snapshot.mark > 0) & (snapshot.years > 0) & (universe.strike > 0)
    if not blank.any():
        return snapshot
    price = np.where(universe.inverse, snapshot.mark * snapshot.forward, snapshot.mark)
    implied = implied_vol(
        price=price[blank],
        forward=snapshot.forward[blank],
        strike=universe.strike[blank],
        years=snapshot.years[blank],
        side=np.where(universe.is_call[blank], 1.0, -1.0),
        discount=np.exp(-snapshot.rate[blank] * snapshot.years[blank]),
    )
    at = {
        universe.symbols[row]: vol for row, vol in zip(np.flatnonzero(blank), implied, strict=True)
    }
    vol = np.array(
        [
            at.get(instrument.symbol, said)
            for instrument, said in zip(quotes.instruments, quotes.vol, strict=True)
        ]
    )
    return assemble(replace(quotes, vol=np.where(vol > 0, vol, np.nan)), as_of_ms=as_of_ms)
