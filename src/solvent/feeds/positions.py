"""Positions and collateral of accounts: files of any size, frames, and ccxt's position dicts.

Positions are rows `account, instrument, size[, entry_price]`: the size signed, in the venue's own
unit (the base coin; dollars of an inverse future), a whole number of lots. Large CSV files are read
in batches; what stays in memory is 28 bytes a position.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

from solvent.errors import BadInput, Problem, Reject
from solvent.feeds.columns import names, numbers, require
from solvent.feeds.sources import CsvUnreadable, Source, from_ccxt, source_frames
from solvent.feeds.table import Faults
from solvent.instruments import Universe, parse_symbol
from solvent.instruments.contract import moment_of
from solvent.limits import EXACT_MAX, LOTS_MAX
from solvent.margining.equity import Collateral
from solvent.risk import Book, book
from solvent.risk.book import entry_cost
from solvent.units import Float64, TimeMs

LOT_TOLERANCE = 1e-9
"""A size may miss a whole number of lots by this much, and by eight roundings of float64: decimal
text has no exact binary form. Of a billion lots a tenth of one is still a fault."""


@dataclass(slots=True)
class Accounts:
    """Names to codes, in the order of first appearance."""

    codes: dict[str, int] = field(default_factory=dict)

    def of(self, names: pl.Series) -> NDArray[np.int32]:
        """Codes of a column of names; new names are added."""
        distinct = names.unique(maintain_order=True)
        for name in distinct.to_list():
            self.codes.setdefault(name, len(self.codes))
        if not len(distinct):
            return np.zeros(0, dtype=np.int32)
        known = pl.Series([self.codes[name] for name in distinct.to_list()], dtype=pl.Int32)
        return names.replace_strict(distinct, known, return_dtype=pl.Int32).to_numpy()

    @property
    def names(self) -> list[str]:
        """Every name, by code."""
        return list(self.codes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Positions:
    """Positions as told, before any market: axis row.

    `row` is the row of the source, counted from 0, so that later faults can name it. `problems`
    are rows that were left out while reading; `dropped` counts them, `left_out` are the codes of
    accounts that they belong to.
    """

    source: str
    header_lines: int | None
    accounts: Accounts
    symbols: tuple[str, ...]
    account: NDArray[np.int32]
    symbol: NDArray[np.int32]
    size: Float64
    entry_price: Float64
    row: NDArray[np.int64]
    columns: Mapping[str, str] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    dropped: int = 0
    left_out: frozenset[int] = frozenset()

    def __len__(self) -> int:
        return len(self.size)

    def __repr__(self) -> str:
        return f"Positions({len(self):,} rows of {len(self.accounts.codes):,} accounts)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """Positions on a market: a book, and what was left out of it."""

    book: Book
    problems: tuple[Problem, ...]
    dropped: int
    left_out: frozenset[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Balances:
    """Collateral as told, and what was left out of it; as in `Positions`."""

    collateral: Collateral
    accounts: Accounts
    problems: tuple[Problem, ...]
    dropped: int
    left_out: frozenset[int]


def read_positions(source: Source, *, skip_bad: bool = False) -> Positions:
    """Read positions. Raises BadInput naming file, row and field; or leaves bad rows out.

    >>> rows = [{"account": "a", "instrument": "BTC-PERPETUAL", "size": 100}]
    >>> read_positions(rows)
    Positions(1 rows of 1 accounts)
    """
    try:
        return _read_positions(source, skip_bad=skip_bad, slowly=False)
    except CsvUnreadable:
        return _read_positions(source, skip_bad=skip_bad, slowly=True)


def _read_positions(source: Source, *, skip_bad: bool, slowly: bool) -> Positions:
    faults = Faults.of(source, otherwise="positions", skip=skip_bad)
    accounts, symbols, left_out = Accounts(), Accounts(), set[int]()
    parts = [
        _decode(frame, start, accounts, symbols, faults, batch, left_out)
        for start, frame, batch in source_frames(source, faults, slowly=slowly)
    ]
    faults.settle()
    account, symbol, size, entry, row = (np.concatenate(c) for c in zip(*parts, strict=True))
    if len(size) == 0 and not faults.problems:
        raise BadInput(
            Problem(
                code=Reject.SOURCE_EMPTY,
                source=faults.source,
                expected="a position or more",
                found="none",
            )
        )
    return Positions(
        source=faults.source,
        header_lines=faults.header_lines,
        accounts=accounts,
        symbols=tuple(symbols.names),
        account=account,
        symbol=symbol,
        size=size,
        entry_price=entry,
        row=row,
        columns=faults.columns,
        problems=tuple(faults.problems),
        dropped=faults.count,
        left_out=frozenset(left_out),
    )


def resolve(
    positions: Positions,
    universe: Universe,
    as_of_ms: TimeMs,
    *,
    hedged: Collection[tuple[str, str]] = (),
    skip_bad: bool = False,
) -> Resolved:
    """Find each position's instrument in a market's universe and turn sizes into whole lots.

    Long and short of the `hedged` pairs of account and symbol are held apart.

    Raises BadInput for unknown, unlisted and expired instruments, for sizes that are no whole
    number of lots, and for entry prices that make a position cost more than can be held exactly;
    with `skip_bad` such rows are left out.
    """
    faults = Faults(
        positions.source,
        skip=skip_bad,
        header_lines=positions.header_lines,
        columns=positions.columns,
        origin=positions.row,
    )
    rows = [universe.row(symbol) for symbol in positions.symbols]
    listed = np.array([-1 if row is None else row for row in rows], dtype=np.int32)
    instrument = listed[positions.symbol]
    for at in np.flatnonzero(instrument < 0):
        symbol = positions.symbols[positions.symbol[at]]
        code, expected = _why_missing(symbol, as_of_ms)
        faults.add(code, int(at), "instrument", expected=expected, found=symbol)
    there = np.flatnonzero(instrument >= 0)
    lots = np.zeros(len(positions))
    lots[there] = _whole_lots(positions.size[there], instrument[there], there, universe, faults)
    _check_costs(positions, instrument, lots, there, universe, faults)
    faults.settle()
    good = faults.good(len(positions))
    keep = good & (lots != 0.0)
    held = book(
        accounts=positions.accounts.names,
        account=positions.account[keep],
        instrument=instrument[keep],
        lots=lots[keep],
        universe=universe,
        entry_price=positions.entry_price[keep],
        apart=_apart(positions.account, instrument, positions, universe, hedged)[keep],
    )
    return Resolved(
        book=held,
        problems=positions.problems + tuple(faults.problems),
        dropped=positions.dropped + faults.count,
        left_out=positions.left_out | frozenset(positions.account[~good].tolist()),
    )


def _apart(
    account: NDArray[np.int32],
    instrument: NDArray[np.int32],
    positions: Positions,
    universe: Universe,
    hedged: Collection[tuple[str, str]],
) -> NDArray[np.bool_]:
    """[row] whether its pair of account and instrument is in hedge mode."""
    codes = positions.accounts.codes
    pairs = [
        codes[name] * len(universe) + row
        for name, symbol in hedged
        if name in codes and (row := universe.row(symbol)) is not None
    ]
    return np.isin(account.astype(np.int64) * len(universe) + instrument, pairs)


def read_collateral(
    source: Source, *, skip_bad: bool = False, accounts: Accounts | None = None
) -> Balances:
    """Read balances `account, asset, amount`; accounts that hold no position are added."""
    accounts = accounts or Accounts()
    faults = Faults.of(source, otherwise="collateral", skip=skip_bad)
    ((_, frame, faults),) = source_frames(source, faults, slowly=True)
    faults.skip = skip_bad
    require(frame, ("account", "asset", "amount"), faults)
    amount = numbers(frame, "amount", faults, required=True)
    owner, asset = names(frame, "account", faults), names(frame, "asset", faults)
    for column, texts in (("account", owner), ("asset", asset)):
        for row in np.flatnonzero((texts == "").to_numpy()):
            faults.add(Reject.FIELD_MISSING, int(row), column, expected="a name", found="nothing")
    faults.settle()
    account, keep = _owners(owner, accounts), faults.good(frame.height)
    bad = account[~keep]
    return Balances(
        collateral=Collateral(
            account=account[keep],
            asset=asset.filter(pl.Series(keep)).str.to_uppercase().to_list(),
            amount=amount[keep],
            source=faults.source,
            header_lines=faults.header_lines,
            row=(np.arange(frame.height) if faults.origin is None else faults.origin)[keep],
        ),
        accounts=accounts,
        problems=tuple(faults.problems),
        dropped=faults.count,
        left_out=frozenset(bad[bad >= 0].tolist()),
    )


def _owners(names: pl.Series, accounts: Accounts) -> NDArray[np.int32]:
    """Codes of accounts, −1 for none."""
    told = (names != "").to_numpy()
    codes = np.full(len(names), -1, dtype=np.int32)
    codes[told] = accounts.of(names.filter(pl.Series(told)))
    return codes


_Part = tuple[
    NDArray[np.int32], NDArray[np.int32], Float64, Float64, NDArray[np.int64]
]  # account, symbol, size, entry price, row


def _decode(
    frame: pl.DataFrame,
    start: int,
    accounts: Accounts,
    symbols: Accounts,
    faults: Faults,
    here: Faults,
    left_out: set[int],
) -> _Part:
    """One batch, `start` rows into its source; `here` has its faults so far."""
    frame = from_ccxt(frame, here)
    require(frame, ("account", "instrument", "size"), here)
    size = numbers(frame, "size", here, required=True)
    entry = numbers(frame, "entry_price", here, required=False)
    for row in np.flatnonzero(entry <= 0.0):
        here.add(
            Reject.PRICE_NOT_POSITIVE, int(row), "entry_price", expected="a price above 0",
            found=entry[row],
        )  # fmt: skip
    owner, symbol = (names(frame, column, here) for column in ("account", "instrument"))
    for row in np.flatnonzero((owner == "").to_numpy()):
        here.add(Reject.ACCOUNT_EMPTY, int(row), "account", expected="a name", found="nothing")
    for row in np.flatnonzero((symbol == "").to_numpy()):
        here.add(Reject.SYMBOL_UNKNOWN, int(row), "instrument", expected="a name", found="nothing")
    faults.absorb(here, start)
    faults.columns = here.columns
    keep = here.good(frame.height)
    account = _owners(owner, accounts)
    left_out.update(account[~keep & (account >= 0)].tolist())
    rows = np.arange(frame.height) if here.origin is None else here.origin
    return (
        account[keep],
        symbols.of(symbol.filter(pl.Series(keep))),
        size[keep],
        entry[keep],
        start + rows[keep].astype(np.int64),
    )


def _why_missing(symbol: str, as_of_ms: TimeMs) -> tuple[Reject, str]:
    try:
        contract = parse_symbol(symbol)
    except ValueError:
        return Reject.SYMBOL_UNKNOWN, "a symbol in Deribit's, ccxt's or Derive's notation"
    if contract.expiry_ms is not None and contract.expiry_ms <= as_of_ms:
        moment = f"{moment_of(as_of_ms):%Y-%m-%d %H:%M} UTC"
        return Reject.INSTRUMENT_EXPIRED, f"an instrument that expires after {moment}"
    return Reject.INSTRUMENT_NOT_IN_MARKET, "an instrument of the market that was read"


def _whole_lots(
    size: Float64,
    instrument: NDArray[np.int32],
    row: NDArray[np.int64],
    universe: Universe,
    faults: Faults,
) -> Float64:
    lot = universe.lot_size[instrument]
    exact = size / lot
    lots = np.rint(exact) + 0.0
    off = np.abs(exact - lots) > LOT_TOLERANCE + 8.0 * np.finfo(np.float64).eps * np.abs(exact)
    for at in np.flatnonzero(off | (np.abs(lots) > LOTS_MAX)):
        what = f"lots of {lot[at]:g} ({universe.symbols[instrument[at]]})"
        faults.add(
            Reject.SIZE_NOT_WHOLE_LOTS if off[at] else Reject.SIZE_TOO_LARGE,
            int(row[at]),
            "size",
            expected=f"a whole number of {what}" if off[at] else f"at most {LOTS_MAX} {what}",
            found=f"{size[at]:.15g}",
        )
    return lots


def _check_costs(
    positions: Positions,
    instrument: NDArray[np.int32],
    lots: Float64,
    there: NDArray[np.int64],
    universe: Universe,
    faults: Faults,
) -> None:
    """A position's cost at its entry price can be held exactly."""
    price = positions.entry_price[there]
    with np.errstate(over="ignore"):
        cost = np.abs(entry_cost(universe, instrument[there], lots[there], price))
    for at in np.flatnonzero(~(cost < EXACT_MAX) & ~np.isnan(price)):
        faults.add(
            Reject.EXACT_RANGE_EXCEEDED,
            int(there[at]),
            "entry_price",
            expected="a price at which the position's cost can be held exactly",
            found=price[at],
        )
