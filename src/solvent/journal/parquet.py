"""Rows in a Parquet file, for other tools and for a copy elsewhere. Polars does the work.

The file holds the columns of the table, and in its metadata which journal it came from and its
head, so that a shorter file does not pass for a whole one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, Final

import polars as pl
from polars.io.plugins import register_io_source

from solvent.errors import check
from solvent.journal.errors import JournalCorrupt, JournalError
from solvent.journal.files import Files
from solvent.journal.row import EMPTY, KIND_CHECKS, Head, Row, verified_rows

_SCHEMA: Final = pl.Schema(
    {
        "sequence": pl.Int64,
        "time_ms": pl.Int64,
        "kind": pl.String,
        "command": pl.Binary,
        "events": pl.Binary,
        "chain": pl.Binary,
        "kind_check": pl.Int64,
    }
)
_JOURNAL: Final = "solvent.journal"
_HEAD: Final = "solvent.head"
_CHUNK_ROWS: Final = 10_000


def write_parquet(
    path: Path, rows: Iterator[Row], *, journal_id: str, head: Head, files: Files
) -> None:
    """All rows up to `head` in a file, which has its name only once it is whole.

    What reading the rows raises comes through. Raises JournalError where the disk refuses.
    """
    aside = path.with_name(f"{path.name}.new")
    faults: list[Exception] = []
    said: dict[str, str] = {_JOURNAL: journal_id, _HEAD: _shown(head)}
    try:
        lazy = register_io_source(lambda *_: frames_of(rows, faults), schema=_SCHEMA)
        lazy.sink_parquet(aside, row_group_size=_CHUNK_ROWS, metadata=said, engine="streaming")
        written = pl.scan_parquet(aside).select(pl.len()).collect().item()
        check(written == head.sequence, "every row was written once", written, head.sequence)
        descriptor = files.open(aside, os.O_RDONLY)
        try:
            files.sync(descriptor)
        finally:
            os.close(descriptor)
        files.rename(aside, path)
        files.sync_directory(path.absolute().parent)
    except Exception as error:
        with suppress(OSError):
            aside.unlink()
        if faults:
            raise faults[0] from None
        raise JournalError(f"{path}: could not be written: {error}") from error


def read_parquet(path: Path) -> Iterator[list[Row]]:
    """Rows in batches, each row verified, and the head last of all.

    Raises JournalCorrupt at the first row that is not what was exported.
    """
    try:
        head = _head(path)
        lazy = pl.scan_parquet(path)
        if lazy.collect_schema() != _SCHEMA:
            raise _damaged(path, f"the columns {dict(_SCHEMA)}", f"{dict(lazy.collect_schema())}")
        last = EMPTY
        for start in range(0, head.sequence, _CHUNK_ROWS):
            raws = lazy.slice(start, _CHUNK_ROWS).collect().iter_rows()
            until = min(start + _CHUNK_ROWS, head.sequence)
            rows = list(
                verified_rows(raws, after=start, until=until, chain=last.chain, name=str(path))
            )
            last = Head(rows[-1].sequence, rows[-1].chain)
            yield rows
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise _damaged(path, "a Parquet file that can be read", f"{error}") from error
    if last != head:
        raise _damaged(path, f"the head {_shown(head)}", _shown(last))


def frames_of(rows: Iterator[Row], faults: list[Exception]) -> Iterator[pl.DataFrame]:
    """Rows in tables; what reading them raises is kept, since Polars has its own words for it."""
    checks = KIND_CHECKS
    try:
        while chunk := [(*row, checks[row.kind]) for row in islice(rows, _CHUNK_ROWS)]:
            yield pl.DataFrame(chunk, schema=_SCHEMA, orient="row")
    except Exception as fault:
        faults.append(fault)
        raise


def _head(path: Path) -> Head:
    said: dict[str, Any] = pl.read_parquet_metadata(path)
    sequence, _, chain = str(said.get(_HEAD, "")).partition(" ")
    try:
        return Head(int(sequence), bytes.fromhex(chain))
    except ValueError:
        raise _damaged(path, f"{_HEAD} in its metadata", repr(said.get(_HEAD))) from None


def _shown(head: Head) -> str:
    return f"{head.sequence} {head.chain.hex()}"


def _damaged(path: Path, expected: str, found: str) -> JournalCorrupt:
    return JournalCorrupt(str(path), expected=expected, found=found)
