"""Positions and collateral of accounts: files of any size, frames, and ccxt's position dicts.

Positions are rows `account, instrument, size[, entry_price]`: the size signed, in the venue's own
unit (the base coin; dollars of an inverse future), a whole number of lots. Large CSV files are read
in batches; what stays in memory is 28 bytes a position.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from solvent.errors import BadInput, Problem, Reject
from solvent.feeds.table import Faults, frame_of_json, numbers, read_table, require, texts
from solvent.instruments import Universe, parse_symbol
from solvent.instruments.contract import moment_of
from solvent.limits import LOTS_MAX
from solvent.margining.equity import Collateral
from solvent.risk import Book, book
from solvent.units import Float64, TimeMs

BATCH_ROWS = 1 << 20
LOT_TOLERANCE = 1e-9
"""A size may miss a whole number of lots by this much, relatively: decimal text has no exact
binary form."""
DEFAULT_ACCOUNT = "main"

Source = str | Path | pl.DataFrame | Sequence[Mapping[str, Any]] | Any
"""A path, a polars or pandas frame, or a list of dicts (rows as above, or ccxt positions)."""


@dataclass(slots=True)
class Accounts:
    """Names to codes, in the order of first appearance."""

    codes: dict[str, int] = field(default_factory=dict)

    def of(self, names: pl.Series) -> NDArray[np.int32]:
        """Codes of a column of names; new names are added."""
        distinct = names.unique(maintain_order=True)
        for name in distinct.to_list():
            self.codes.setdefault(name, len(self.codes))
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
    are rows that were left out while reading; `dropped` counts them.
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
    problems: tuple[Problem, ...] = ()
    dropped: int = 0

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


def read_positions(source: Source, *, skip_bad: bool = False) -> Positions:
    """Read positions. Raises BadInput naming file, row and field; or leaves bad rows out.

    >>> rows = [{"account": "a", "instrument": "BTC-PERPETUAL", "size": 100}]
    >>> read_positions(rows)
    Positions(1 rows of 1 accounts)
    """
    name = str(source) if isinstance(source, str | Path) else "positions"
    faults = Faults.of(name, skip=skip_bad)
    accounts, symbols = Accounts(), Accounts()
    parts = [_decode(frame, start, accounts, symbols, faults) for start, frame in _frames(source)]
    faults.settle()
    account, symbol, size, entry, row = (np.concatenate(c) for c in zip(*parts, strict=True))
    if len(size) == 0 and not faults.problems:
        raise BadInput(
            Problem(
                code=Reject.SOURCE_EMPTY, source=name, expected="a position or more", found="none"
            )
        )
    return Positions(
        source=name,
        header_lines=faults.header_lines,
        accounts=accounts,
        symbols=tuple(symbols.names),
        account=account,
        symbol=symbol,
        size=size,
        entry_price=entry,
        row=row,
        problems=tuple(faults.problems),
        dropped=faults.count,
    )


def resolve(
    positions: Positions, universe: Universe, as_of_ms: TimeMs, *, skip_bad: bool = False
) -> Resolved:
    """Find each position's instrument in a market's universe and turn sizes into whole lots.

    Raises BadInput for unknown, unlisted and expired instruments and for sizes that are no whole
    number of lots; with `skip_bad` such rows are left out.
    """
    faults = Faults(positions.source, skip=skip_bad, header_lines=positions.header_lines)
    rows = [universe.row(symbol) for symbol in positions.symbols]
    listed = np.array([-1 if row is None else row for row in rows], dtype=np.int32)
    instrument = listed[positions.symbol]
    for at in np.flatnonzero(instrument < 0):
        symbol = positions.symbols[positions.symbol[at]]
        code, expected = _why_missing(symbol, as_of_ms)
        faults.add(code, int(positions.row[at]), "instrument", expected=expected, found=symbol)
    keep = instrument >= 0
    lots = np.zeros(len(positions))
    lots[keep] = _whole_lots(
        positions.size[keep], instrument[keep], positions.row[keep], universe, faults
    )
    faults.settle()
    keep &= ~np.isin(positions.row, list(faults.rows)) & (lots != 0.0)
    held = book(
        accounts=positions.accounts.names,
        account=positions.account[keep],
        instrument=instrument[keep],
        lots=lots[keep],
        universe=universe,
        entry_price=positions.entry_price[keep],
    )
    return Resolved(
        book=held,
        problems=positions.problems + tuple(faults.problems),
        dropped=positions.dropped + faults.count,
    )


def read_collateral(
    source: Source, *, skip_bad: bool = False, accounts: Accounts | None = None
) -> tuple[Collateral, Accounts, tuple[Problem, ...]]:
    """Read balances `account, asset, amount`; accounts that hold no position are added."""
    accounts = accounts or Accounts()
    name = str(source) if isinstance(source, str | Path) else "collateral"
    faults = Faults.of(name, skip=skip_bad)
    frame = _frame(source)
    require(frame, ("account", "asset", "amount"), source=name)
    amount = numbers(frame, "amount", faults, required=True)
    for column in ("account", "asset"):
        for row, text in enumerate(texts(frame, column)):
            if not text:
                faults.add(Reject.FIELD_MISSING, row, column, expected="a name", found="nothing")
    faults.settle()
    keep = faults.good(frame.height)
    account = accounts.of(frame["account"].cast(pl.String).filter(pl.Series(keep)))
    asset = np.array([text.upper() for text in texts(frame, "asset")], dtype=object)[keep]
    return (
        Collateral(account=account, asset=list(asset), amount=amount[keep]),
        accounts,
        tuple(faults.problems),
    )


_Part = tuple[
    NDArray[np.int32], NDArray[np.int32], Float64, Float64, NDArray[np.int64]
]  # account, symbol, size, entry price, row


def _decode(
    frame: pl.DataFrame, start: int, accounts: Accounts, symbols: Accounts, faults: Faults
) -> _Part:
    """One batch, `start` rows into its source."""
    here = Faults(faults.source, skip=True, header_lines=faults.header_lines)
    frame = _from_ccxt(frame, here)
    require(frame, ("account", "instrument", "size"), source=faults.source)
    size = numbers(frame, "size", here, required=True)
    entry = numbers(frame, "entry_price", here, required=False)
    for row in np.flatnonzero(entry <= 0.0):
        here.add(
            Reject.PRICE_NOT_POSITIVE, int(row), "entry_price", expected="a price above 0",
            found=entry[row],
        )  # fmt: skip
    names, symbol = (
        frame[column].cast(pl.String).str.strip_chars().fill_null("")
        for column in ("account", "instrument")
    )
    for row in np.flatnonzero((names == "").to_numpy()):
        here.add(Reject.ACCOUNT_EMPTY, int(row), "account", expected="a name", found="nothing")
    for row in np.flatnonzero((symbol == "").to_numpy()):
        here.add(Reject.SYMBOL_UNKNOWN, int(row), "instrument", expected="a name", found="nothing")
    faults.absorb(here, start)
    keep = here.good(frame.height)
    mask = pl.Series(keep)
    return (
        accounts.of(names.filter(mask)),
        symbols.of(symbol.filter(mask)),
        size[keep],
        entry[keep],
        start + np.flatnonzero(keep).astype(np.int64),
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
    source_row: NDArray[np.int64],
    universe: Universe,
    faults: Faults,
) -> Float64:
    lot = universe.lot_size[instrument]
    exact = size / lot
    lots = np.rint(exact) + 0.0
    off = np.abs(exact - lots) > LOT_TOLERANCE * np.maximum(1.0, np.abs(exact))
    for at in np.flatnonzero(off | (np.abs(lots) > LOTS_MAX)):
        what = f"lots of {lot[at]:g} ({universe.symbols[instrument[at]]})"
        faults.add(
            Reject.SIZE_NOT_WHOLE_LOTS if off[at] else Reject.SIZE_TOO_LARGE,
            int(source_row[at]),
            "size",
            expected=f"a whole number of {what}" if off[at] else f"at most {LOTS_MAX} {what}",
            found=f"{size[at]:g}",
        )
    return lots


def _from_ccxt(frame: pl.DataFrame, faults: Faults) -> pl.DataFrame:
    """ccxt's unified positions to our columns: contracts × contractSize, signed by side."""
    if "symbol" not in frame.columns or "contracts" not in frame.columns:
        return frame
    contracts = numbers(frame, "contracts", faults, required=True)
    per_contract = numbers(frame, "contractSize", faults, required=False)
    sides = texts(frame, "side") if "side" in frame.columns else [""] * frame.height
    sign = np.array([-1.0 if side == "short" else 1.0 for side in sides])
    size = sign * np.abs(contracts) * np.where(np.isnan(per_contract), 1.0, per_contract)
    account = (
        frame["account"]
        if "account" in frame.columns
        else pl.repeat(DEFAULT_ACCOUNT, frame.height, eager=True)
    )
    return pl.DataFrame(
        {
            "account": account,
            "instrument": frame["symbol"],
            "size": size,
            "entry_price": numbers(frame, "entryPrice", faults, required=False),
        }
    )


def _frames(source: Source) -> Iterator[tuple[int, pl.DataFrame]]:
    """(rows before it, batch) of a source."""
    if not (isinstance(source, str | Path) and _is_csv(Path(source))):
        yield 0, _frame(source)
        return
    start = 0
    for batch in _csv_batches(Path(source)):
        yield start, batch
        start += batch.height
    if start == 0:
        yield 0, read_table(source)


def _is_csv(path: Path) -> bool:
    return ".csv" in path.suffixes


def _csv_batches(path: Path) -> Iterable[pl.DataFrame]:
    if not path.exists() or path.stat().st_size == 0:
        read_table(path)
    try:
        yield from pl.scan_csv(path, infer_schema=False).collect_batches(
            chunk_size=BATCH_ROWS, maintain_order=True
        )
    except (OSError, pl.exceptions.PolarsError) as fault:
        raise BadInput(
            Problem(
                code=Reject.SOURCE_UNREADABLE,
                source=str(path),
                expected="a readable table",
                found=str(fault).splitlines()[0][:160],
            )
        ) from fault


def _frame(source: Source) -> pl.DataFrame:
    if isinstance(source, str | Path):
        return read_table(source)
    if isinstance(source, pl.DataFrame):
        return source
    if isinstance(source, Sequence):
        rows = [_without_info(row) for row in source]
        return frame_of_json(rows, source="positions")
    return pl.from_pandas(source)


def _without_info(row: object) -> object:
    """ccxt keeps the venue's own answer beside its unified fields."""
    if not isinstance(row, Mapping):
        return row
    return {key: value for key, value in row.items() if key != "info"}
