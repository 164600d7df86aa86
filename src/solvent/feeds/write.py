"""Markets, books and balances to files in Solvent's own layouts: what `feeds` reads again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

from solvent.errors import BadInput, Problem, Reject
from solvent.instruments.contract import moment_of, plain
from solvent.margining.equity import Collateral
from solvent.market import Flag, Snapshot
from solvent.risk import Book
from solvent.units import Float64, quanta_per_unit


def write_market(snapshot: Snapshot, path: Path) -> None:
    """A snapshot as one row an instrument; see `docs/formats.md`."""
    universe = snapshot.universe
    derived = (snapshot.flags & Flag.MARK_DERIVED) != 0
    specifications = [one.specification for one in universe.instruments]
    seen = [moment_of(int(snapshot.as_of_ms - age)).isoformat() for age in snapshot.age_ms]
    _write(
        pl.DataFrame(
            {
                "instrument": list(universe.symbols),
                "timestamp": seen,
                "index_price": snapshot.index_by_instrument,
                "forward_price": _or_null(snapshot.forward, snapshot.curve >= 0),
                "mark_price": _or_null(snapshot.mark, ~derived),
                "implied_vol": _or_null(snapshot.vol, snapshot.vol > 0),
                "bid_price": _or_null(snapshot.bid, snapshot.bid > 0),
                "ask_price": _or_null(snapshot.ask, snapshot.ask > 0),
                "rate": snapshot.rate,
                "lot_size": [plain(one.lot_size) for one in specifications],
                "contract_size": [plain(one.contract_size) for one in specifications],
                "tick_size": [plain(one.tick_size) for one in specifications],
            }
        ),
        path,
    )


def write_book(book: Book, snapshot: Snapshot, path: Path) -> None:
    """Positions with sizes in the venue's unit, and average entry prices.

    A price is left out where not all of a position has one, and where what closed trades left over
    makes the average no price at all (zero or negative).
    """
    universe = snapshot.universe
    lots, row = book.lots, book.instrument
    names = np.array(book.accounts, dtype=object)
    symbols = np.array(universe.symbols, dtype=object)
    entry = _entry_price(book, snapshot)
    # 12 significant digits: lots times a decimal lot size, without the binary tail.
    size = [float(f"{value:.12g}") for value in lots * universe.lot_size[row]]
    _write(
        pl.DataFrame(
            {
                "account": names[book.account].tolist(),
                "instrument": symbols[row].tolist(),
                "size": size,
                "entry_price": _or_null(entry, (book.entry_lots == lots) & (entry > 0)),
            }
        ),
        path,
    )


def write_balances(collateral: Collateral, book: Book, path: Path) -> None:
    """Balances, a row each."""
    names = np.array(book.accounts, dtype=object)
    _write(
        pl.DataFrame(
            {
                "account": names[collateral.account].tolist(),
                "asset": list(collateral.asset),
                "amount": collateral.amount,
            }
        ),
        path,
    )


def _entry_price(book: Book, snapshot: Snapshot) -> Float64:
    """The average entry price that an entry value stands for."""
    universe, row = snapshot.universe, book.instrument
    quanta = np.array([quanta_per_unit(asset) for asset in universe.settlements])
    per_unit = universe.lot_size[row] * quanta[universe.settlement[row]]
    with np.errstate(all="ignore"):
        unit = book.entry_value / (book.lots * per_unit)
        inverse_future = universe.inverse[row] & ~universe.is_option[row]
        price: Float64 = np.nan_to_num(np.where(inverse_future, -1.0 / unit, unit))
    return price


def _or_null(values: Float64, known: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> pl.Series:
    return pl.Series(np.where(known, values, np.nan)).fill_nan(None)


def _write(frame: pl.DataFrame, path: Path) -> None:
    if path.suffix not in (".csv", ".parquet"):
        raise BadInput(
            Problem(
                code=Reject.SOURCE_UNREADABLE,
                source=str(path),
                expected="a name that ends in .csv or .parquet",
                found=path.suffix or "no ending",
            )
        )
    write_file(path, frame.write_csv if path.suffix == ".csv" else frame.write_parquet)


def write_file(path: Path, write: Callable[[Path], object]) -> None:
    """Make a file's folder and write it. Raises BadInput where that cannot be done."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path)
    except (OSError, pl.exceptions.PolarsError) as fault:
        raise BadInput(
            Problem(
                code=Reject.TARGET_UNWRITABLE,
                source=str(path),
                expected="a file that can be written",
                found=str(fault).splitlines()[0],
            )
        ) from fault
