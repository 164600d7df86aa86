"""Flat tables from files: CSV, gzipped CSV, Parquet, JSON and JSON lines, into polars frames.

Whatever is wrong with a file or a cell becomes a `Problem` that names the file, the row (counted
from 1, the header not counted) and the field.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from solvent.errors import BadInput, Problem, Reject
from solvent.limits import PROBLEMS_MAX
from solvent.units import Float64


@dataclass(slots=True)
class Faults:
    """What is wrong with a source, as it is found; with `skip` bad rows are left out."""

    source: str
    skip: bool = False
    header_lines: int | None = None
    """Lines above row 1 of a text table; None where rows are not lines."""
    problems: list[Problem] = field(default_factory=list)
    rows: set[int] = field(default_factory=set)
    count: int = 0

    def add(
        self, code: Reject, row: int, name: str | None, *, expected: str, found: object
    ) -> None:
        """One bad row (0-based)."""
        self.count += 1
        self.rows.add(row)
        if len(self.problems) < PROBLEMS_MAX:
            text = found if isinstance(found, str) else repr(found)
            self.problems.append(
                Problem(
                    code=code,
                    source=self.source,
                    row=row + 1,
                    line=None if self.header_lines is None else row + 1 + self.header_lines,
                    field=name,
                    expected=expected,
                    found=text[:80],
                )
            )

    def absorb(self, batch: Faults, start: int) -> None:
        """Take over the faults of a batch that begins `start` rows into this source."""
        self.count += batch.count
        self.rows |= {row + start for row in batch.rows}
        for problem in batch.problems[: max(0, PROBLEMS_MAX - len(self.problems))]:
            self.problems.append(
                replace(
                    problem,
                    row=None if problem.row is None else problem.row + start,
                    line=None if problem.line is None else problem.line + start,
                )
            )

    def settle(self) -> None:
        """Raise what was found, unless bad rows are skipped."""
        if self.problems and not self.skip:
            raise BadInput(*self.problems)

    @classmethod
    def of(cls, path: str | Path, *, skip: bool) -> Faults:
        """Faults of a file."""
        return cls(str(path), skip=skip, header_lines=1 if ".csv" in str(path) else None)

    def good(self, rows: int) -> NDArray[np.bool_]:
        """Mask of rows without a fault."""
        mask = np.ones(rows, dtype=bool)
        mask[list(self.rows)] = False
        return mask


def read_table(path: str | Path, *, text_columns: bool = True) -> pl.DataFrame:
    """A file as a frame; CSV cells stay text. Raises BadInput for what cannot be read."""
    path = Path(path)
    if not path.exists():
        raise BadInput(_unreadable(path, "a file", "no such file"))
    kind = path.suffixes[-2] if path.suffix == ".gz" and len(path.suffixes) > 1 else path.suffix
    try:
        if kind == ".parquet":
            frame = pl.read_parquet(path)
        elif kind in (".json", ".jsonl", ".ndjson"):
            frame = frame_of_json(_json_rows(path, lines=kind != ".json"), source=str(path))
        else:
            frame = pl.read_csv(path, infer_schema=not text_columns)
    except pl.exceptions.NoDataError as fault:
        raise BadInput(_empty(path)) from fault
    except (OSError, pl.exceptions.PolarsError, ValueError, EOFError, RecursionError) as fault:
        what = str(fault).splitlines()[0] if str(fault) else type(fault).__name__
        raise BadInput(_unreadable(path, "a readable table", what)) from fault
    if frame.height == 0:
        raise BadInput(_empty(path))
    return frame


def frame_of_json(rows: Sequence[object], *, source: str) -> pl.DataFrame:
    """Rows of a JSON document as a frame; nested values are refused."""
    if not all(isinstance(row, dict) for row in rows):
        bad = next(i for i, row in enumerate(rows) if not isinstance(row, dict))
        raise BadInput(
            Problem(
                code=Reject.ROW_MALFORMED,
                source=source,
                row=bad + 1,
                expected="an object",
                found=repr(rows[bad])[:80],
            )
        )
    names = dict.fromkeys(key for row in rows if isinstance(row, dict) for key in row)
    columns = {
        name: [_cell(row.get(name)) for row in rows if isinstance(row, dict)] for name in names
    }
    return pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String))


def require(frame: pl.DataFrame, names: Iterable[str], *, source: str) -> None:
    """Every named column is there."""
    for name in names:
        if name not in frame.columns:
            raise BadInput(
                Problem(
                    code=Reject.FIELD_MISSING,
                    source=source,
                    field=name,
                    expected=f"a column {name!r}",
                    found=f"columns {', '.join(frame.columns)}",
                )
            )


def numbers(frame: pl.DataFrame, name: str, faults: Faults, *, required: bool) -> Float64:
    """A column as floats, NaN where empty; text that is no finite number is a fault."""
    if name not in frame.columns:
        return np.full(frame.height, np.nan)
    column = frame[name]
    if column.dtype == pl.String:
        column = column.str.strip_chars()
        blank = column.is_null() | (column == "")
        parsed = column.cast(pl.Float64, strict=False)
    else:
        parsed = column.cast(pl.Float64, strict=False)
        # pandas has no other way to leave a number out than NaN.
        blank = column.is_null() | (parsed.is_nan() & (not required))
    values = parsed.fill_null(np.nan).to_numpy().astype(np.float64)
    empty = blank.fill_null(value=True).to_numpy()
    for row in np.flatnonzero(~np.isfinite(values) & ~empty):
        unread = parsed[int(row)] is None
        faults.add(
            Reject.FIELD_NOT_A_NUMBER if unread else Reject.FIELD_NOT_FINITE,
            int(row),
            name,
            expected="a number" if unread else "a finite number",
            found=str(frame[name][int(row)]),
        )
    if required:
        for row in np.flatnonzero(empty):
            faults.add(Reject.FIELD_MISSING, int(row), name, expected="a number", found="nothing")
    return values


def texts(frame: pl.DataFrame, name: str) -> list[str]:
    """A column as stripped strings, "" where empty."""
    return frame[name].cast(pl.String).fill_null("").str.strip_chars().to_list()


def moments(frame: pl.DataFrame, name: str) -> NDArray[np.int64] | None:
    """A column of ISO times or of milliseconds since 1970, as milliseconds; None without it."""
    if name not in frame.columns:
        return None
    column = frame[name]
    if column.dtype == pl.String:
        as_number = column.cast(pl.Float64, strict=False)
        if as_number.null_count() == column.null_count():
            return as_number.fill_null(0.0).to_numpy().astype(np.int64)
        column = column.str.to_datetime(time_zone="UTC", strict=False)
    if column.dtype.is_temporal():
        return column.dt.epoch("ms").fill_null(0).to_numpy().astype(np.int64)
    return column.cast(pl.Int64).fill_null(0).to_numpy().astype(np.int64)


def _json_rows(path: Path, *, lines: bool) -> list[object]:
    import gzip

    raw = path.read_bytes()
    text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8")
    if lines:
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    document = json.loads(text)
    if isinstance(document, dict):
        rows = next((part for part in document.values() if isinstance(part, list)), [document])
        return list(rows)
    return list(document)


def _cell(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value)


def _unreadable(path: Path, expected: str, found: str) -> Problem:
    return Problem(
        code=Reject.SOURCE_UNREADABLE, source=str(path), expected=expected, found=found[:160]
    )


def _empty(path: Path) -> Problem:
    return Problem(
        code=Reject.SOURCE_EMPTY, source=str(path), expected="a row or more", found="an empty file"
    )
