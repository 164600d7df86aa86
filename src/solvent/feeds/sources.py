"""Where positions and balances come from: files, frames, rows as dicts, ccxt's answers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from solvent.errors import BadInput, Problem, Reject
from solvent.feeds.columns import names, numbers
from solvent.feeds.table import (
    Faults,
    check_file,
    check_header,
    frame_of_json,
    kind_of,
    read_table,
    unreadable,
)

BATCH_ROWS = 1 << 20
DEFAULT_ACCOUNT = "main"
_SIDES = {"long": 1.0, "buy": 1.0, "short": -1.0, "sell": -1.0}

Source = Any
"""A path, a polars or pandas frame, or rows as dicts (ours, or ccxt's positions)."""


class CsvUnreadable(Exception):
    """The fast reader stumbled over a line that it cannot name."""


def source_frames(
    source: Source, faults: Faults, *, slowly: bool
) -> Iterator[tuple[int, pl.DataFrame, Faults]]:
    """(rows before it, batch, the batch's faults so far) of a source.

    Large CSV files come in batches; `slowly` reads them whole, naming lines that are no rows.
    """
    if isinstance(source, str | Path) and kind_of(Path(source)) == ".csv" and not slowly:
        start = 0
        for frame in _csv_batches(Path(source)):
            yield start, frame, _batch(faults)
            start += frame.height
        if start:
            return
    here = _batch(faults)
    yield 0, _frame(source, here), here


def _batch(faults: Faults) -> Faults:
    return Faults(faults.source, skip=True, header_lines=faults.header_lines)


def _csv_batches(path: Path) -> Iterator[pl.DataFrame]:
    check_file(path)
    try:
        for frame in pl.scan_csv(path, infer_schema=False, glob=False).collect_batches(
            chunk_size=BATCH_ROWS, maintain_order=True
        ):
            check_header(frame.columns, str(path))
            yield frame
    except pl.exceptions.NoDataError:
        return
    except pl.exceptions.PolarsError as fault:
        raise CsvUnreadable from fault
    except OSError as fault:
        raise BadInput(unreadable(path, fault)) from fault


def _frame(source: Source, faults: Faults) -> pl.DataFrame:
    if isinstance(source, str | Path):
        return read_table(source, faults)
    if isinstance(source, pl.LazyFrame):
        return source.collect()
    if isinstance(source, pl.DataFrame):
        return source
    if type(source).__module__.startswith("pandas"):
        try:
            return pl.from_pandas(source)
        except Exception as fault:  # pyarrow and pandas raise their own kinds
            raise BadInput(unreadable(faults.source, fault)) from fault
    if isinstance(source, Mapping) and ({"instrument", "symbol", "asset"} & source.keys()):
        source = [source]
    if isinstance(source, Mapping | bytes) or not isinstance(source, Iterable):
        raise BadInput(
            Problem(
                code=Reject.SOURCE_UNREADABLE,
                source=faults.source,
                expected="a path, a polars or pandas frame, or a list of dicts",
                found=f"{type(source).__name__}",
            )
        )
    return frame_of_json([_without_info(row) for row in source], faults=faults)


def _without_info(row: object) -> object:
    """ccxt keeps the venue's own answer beside its unified fields; of it only `size` is read."""
    if not isinstance(row, Mapping) or "info" not in row:
        return row
    info = row["info"]
    size = info.get("size") if isinstance(info, Mapping) else None
    return {**row, "info": None if size is None else {"size": size}}


def from_ccxt(frame: pl.DataFrame, faults: Faults) -> pl.DataFrame:
    """ccxt's unified positions to our columns: contracts × contractSize, signed by side.

    Where ccxt tells no contracts (it does not for Deribit), the venue's own `info.size` is the
    size, in the venue's unit. Without a side the number's own sign counts.
    """
    if "symbol" not in frame.columns or "contracts" not in frame.columns:
        return frame
    contracts = numbers(frame, "contracts", faults, required=False)
    per_contract = numbers(frame, "contractSize", faults, required=False)
    size = contracts * np.where(np.isnan(per_contract), 1.0, per_contract)
    size = np.where(np.isnan(contracts), _own_sizes(frame), size)
    for row in np.flatnonzero(np.isnan(size)).tolist():
        expected = "a number, or the venue's own in info.size"
        faults.add(Reject.FIELD_MISSING, row, "contracts", expected=expected, found="nothing")
    sides = names(frame, "side", faults).to_list() if "side" in frame.columns else []
    for row, side in enumerate(sides):
        if side.lower() in _SIDES:
            size[row] = abs(size[row]) * _SIDES[side.lower()]
        elif side:
            expected = f"one of {', '.join(_SIDES)}, or nothing"
            faults.add(Reject.SIDE_UNKNOWN, row, "side", expected=expected, found=side)
    account = (
        names(frame, "account", faults)
        if "account" in frame.columns
        else pl.repeat(DEFAULT_ACCOUNT, frame.height, eager=True)
    )
    entry = numbers(frame, "entryPrice", faults, required=False)
    faults.columns = {
        "instrument": "symbol", "size": "contracts", "entry_price": "entryPrice",
    }  # fmt: skip
    told = np.where(np.isnan(size), 0.0, size)  # its fault is noted already
    return pl.DataFrame(
        {"account": account, "instrument": frame["symbol"], "size": told, "entry_price": entry}
    )


def _own_sizes(frame: pl.DataFrame) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """`info.size` of ccxt's rows, NaN where there is none."""
    sizes = np.full(frame.height, np.nan)
    if "info" not in frame.columns:
        return sizes
    for row, info in enumerate(frame["info"].to_list()):
        try:
            inside = json.loads(info) if isinstance(info, str) and info else info
            sizes[row] = float(inside["size"])
        except (KeyError, TypeError, ValueError, RecursionError):
            continue
    return sizes
