"""Flat tables from files: CSV, gzipped CSV, Parquet, JSON and JSON lines, into polars frames.

Whatever is wrong with a file or a cell becomes a `Problem` that names the file, the row (counted
from 1, the header not counted) and the field.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from solvent.errors import BadInput, Problem, Reject
from solvent.limits import PROBLEMS_MAX

_LINES: Final = (".jsonl", ".ndjson")
_GZIP: Final = b"\x1f\x8b"
_ARCHIVES: Final = {b"PK": "a workbook or zip archive: save it as CSV", b"PAR1": "a Parquet file"}
_BROKEN: Final = (
    OSError, pl.exceptions.PolarsError, ValueError, EOFError, RecursionError, zlib.error, csv.Error,
)  # fmt: skip
"""What a damaged file makes its reader raise."""
_FOUND_CHARS: Final = 80


@dataclass(slots=True)
class Faults:
    """What is wrong with a source, as it is found; with `skip` bad rows are left out.

    Attributes:
        header_lines: lines above row 1 of a text table; None where rows are not lines.
        columns: our name of a column → the source's own, where they differ.
        origin: [row of a frame] → row of the source, where a frame holds only some of its rows.
        rows: bad rows of the frame, counted from 0.
    """

    source: str
    skip: bool = False
    header_lines: int | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    origin: NDArray[np.int64] | None = None
    problems: list[Problem] = field(default_factory=list)
    rows: set[int] = field(default_factory=set)
    malformed: set[int] = field(default_factory=set)
    lost: int = 0
    """Bad rows that are in no frame."""

    def add(
        self, code: Reject, row: int, name: str | None, *, expected: str, found: object
    ) -> None:
        """One bad row (0-based). Of a row that could not be read, nothing more is said."""
        if row in self.malformed:
            return
        self.rows.add(row)
        source_row = row if self.origin is None else int(self.origin[row])
        self._note(code, source_row, name, expected, found)

    def add_malformed(self, row: int, *, expected: str, found: object) -> None:
        """A row that is in the frame for its account's name only."""
        self.add(Reject.ROW_MALFORMED, row, None, expected=expected, found=found)
        self.malformed.add(row)

    def add_lost(self, source_row: int, *, expected: str, found: object) -> None:
        """A row of the source that is in no frame."""
        self.lost += 1
        self._note(Reject.ROW_MALFORMED, source_row, None, expected, found)

    def _note(self, code: Reject, row: int, name: str | None, expected: str, found: object) -> None:
        if len(self.problems) < PROBLEMS_MAX:
            self.problems.append(
                Problem(
                    code=code,
                    source=self.source,
                    row=row + 1,
                    line=None if self.header_lines is None else row + 1 + self.header_lines,
                    field=None if name is None else self.column(name),
                    expected=expected,
                    found=_words(found)[:_FOUND_CHARS],
                )
            )

    def column(self, name: str) -> str:
        """The source's own name of a column."""
        return self.columns.get(name, name)

    @property
    def count(self) -> int:
        """How many rows are bad."""
        return len(self.rows) + self.lost

    def keep_only(self, rows: NDArray[np.int64]) -> None:
        """Go on with some rows of the frame: bad ones among the others are lost."""
        place = {int(row): at for at, row in enumerate(rows)}
        self.lost += len(self.rows - place.keys())
        self.rows = {place[row] for row in self.rows & place.keys()}
        self.malformed = {place[row] for row in self.malformed & place.keys()}
        self.origin = rows if self.origin is None else self.origin[rows]

    def absorb(self, batch: Faults, start: int) -> None:
        """Take over the faults of a batch that begins `start` rows into this source."""
        self.lost += batch.lost
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
    def of(cls, source: object, *, skip: bool, otherwise: str = "source") -> Faults:
        """Faults of a file, or of what is none and is called `otherwise`."""
        if not isinstance(source, str | Path):
            return cls(otherwise, skip=skip)
        lines = {".csv": 1} | dict.fromkeys(_LINES, 0)
        return cls(str(source), skip=skip, header_lines=lines.get(kind_of(Path(source))))

    def good(self, rows: int) -> NDArray[np.bool_]:
        """Mask of rows without a fault."""
        mask = np.ones(rows, dtype=bool)
        mask[list(self.rows)] = False
        return mask


def kind_of(path: Path) -> str:
    """A file's kind by its ending: .csv for whatever is not told."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
    kind = suffixes[-1] if suffixes else ".csv"
    return kind if kind in (".parquet", ".json", *_LINES) else ".csv"


def read_table(path: str | Path, faults: Faults | None = None) -> pl.DataFrame:
    """A file as a frame; CSV cells stay text. Raises BadInput for what cannot be read.

    Lines that cannot be read are faults, or raise where no `faults` are kept. Such a line of a CSV
    file is in the frame as far as its cells go; of a file of JSON lines it is not.
    """
    path = Path(path)
    alone, faults = faults is None, faults or Faults.of(path, skip=False)
    check_file(path)
    kind = kind_of(path)
    try:
        if kind == ".parquet":
            frame = pl.read_parquet(path, glob=False)
        elif kind == ".csv":
            frame = _csv(path, faults)
        else:
            frame = frame_of_json(_json_rows(path, faults, lines=kind in _LINES), faults=faults)
    except pl.exceptions.NoDataError as fault:
        raise BadInput(_empty(path)) from fault
    except _BROKEN as fault:
        raise BadInput(unreadable(path, fault)) from fault
    if alone:
        faults.settle()
    check_header(frame.columns, str(path))
    if frame.height == 0 and not faults.problems:
        raise BadInput(_empty(path))
    return frame


def check_file(path: Path) -> None:
    """Refuse what is no file, and what is no text although its name says so."""
    if not path.exists():
        raise BadInput(_unreadable(path, "a file", "no such file"))
    if path.is_dir():
        raise BadInput(_unreadable(path, "a file", "a folder"))
    if not path.is_file() or kind_of(path) == ".parquet":
        return
    try:
        with path.open("rb") as file:
            start = file.read(1 << 12)
        if start.startswith(_GZIP):
            start = zlib.decompressobj(wbits=31).decompress(start, 1 << 12)
    except (OSError, zlib.error) as fault:
        raise BadInput(unreadable(path, fault)) from fault
    for mark, what in _ARCHIVES.items():
        if start.startswith(mark):
            raise BadInput(_unreadable(path, "text in UTF-8", what))
    if b"\0" in start:
        raise BadInput(_unreadable(path, "text in UTF-8", "binary data, or text in UTF-16"))


def check_header(columns: Sequence[str], source: str) -> None:
    """A column is told once; polars renames those told again."""
    for name in columns:
        first = re.sub(r"_duplicated_\d+$", "", name)
        if first != name and first in columns:
            raise BadInput(
                Problem(
                    code=Reject.ROW_MALFORMED,
                    source=source,
                    field=first,
                    expected="a column once",
                    found="two columns of this name",
                )
            )


def _csv(path: Path, faults: Faults) -> pl.DataFrame:
    try:
        return pl.read_csv(path, infer_schema=False, glob=False)
    except pl.exceptions.NoDataError:
        raise
    except pl.exceptions.PolarsError:
        return read_csv_slowly(path, faults)


def read_csv_slowly(path: Path, faults: Faults) -> pl.DataFrame:
    """A CSV file line by line, to name the lines that the fast reader stumbles over."""
    raw = path.read_bytes()
    text = (gzip.decompress(raw) if raw.startswith(_GZIP) else raw).decode(
        "utf-8-sig", errors="replace"
    )
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header = next(reader, [])
    check_repeated(header, str(path))
    rows: list[list[str]] = []
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            break
        except csv.Error as fault:
            # A quote that is never closed swallows every line after it: nothing can be left out.
            what = f"row {len(rows) + 1} (line {len(rows) + 2}): a quote that is not closed"
            raise BadInput(_unreadable(path, "quotes in pairs", what)) from fault
        if not cells:
            continue
        if "\ufffd" in "".join(cells):
            found = ",".join(cells)
            faults.add_malformed(len(rows), expected="text in UTF-8", found=found)
        elif len(cells) > len(header):
            expected = f"{len(header)} cells, as the header has"
            faults.add_malformed(len(rows), expected=expected, found=f"{len(cells)} cells")
        rows.append((cells + [""] * len(header))[: len(header)])
    columns = {name: [row[i] or None for row in rows] for i, name in enumerate(header)}
    return pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String))


def check_repeated(header: Sequence[str], source: str) -> None:
    """The same for a header as it was written."""
    seen: set[str] = set()
    for name in header:
        check_header([name, f"{name}_duplicated_0"] if name in seen else [], source)
        seen.add(name)


def frame_of_json(rows: Sequence[object], *, faults: Faults) -> pl.DataFrame:
    """Rows of a JSON document, or of Python objects, as a frame of text."""
    kept: list[Mapping[Any, Any]] = []
    origin: list[int] = []
    before = faults.origin
    for place, row in enumerate(rows):
        here = place if before is None else int(before[place])
        if isinstance(row, Mapping):
            kept.append(row)
            origin.append(here)
        else:
            faults.add_lost(here, expected="an object", found=row)
    faults.settle()
    faults.origin = np.array(origin, dtype=np.int64)
    found = dict.fromkeys(str(key) for row in kept for key in row)
    columns = {name: [_cell(row.get(name)) for row in kept] for name in found}
    try:
        return pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String))
    except ValueError as fault:  # half a surrogate pair is no text
        raise BadInput(unreadable(faults.source, fault)) from fault


def _json_rows(path: Path, faults: Faults, *, lines: bool) -> list[object]:
    raw = path.read_bytes()
    raw = gzip.decompress(raw) if raw.startswith(_GZIP) else raw
    if not lines:
        return json_document(json.loads(_utf8(raw)))
    rows: list[object] = []
    origin: list[int] = []
    for number, line in enumerate(raw.split(b"\n")):
        if not line.strip():
            continue
        try:
            rows.append(json.loads(line.decode("utf-8")))
            origin.append(number)
        except (ValueError, RecursionError) as fault:
            faults.add_lost(number, expected="a JSON object", found=str(fault) or "too deep")
    faults.settle()
    faults.origin = np.array(origin, dtype=np.int64)
    return rows


def _utf8(raw: bytes) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        line = raw[: fault.start].count(b"\n") + 1
        raise ValueError(f"line {line}: not UTF-8: byte 0x{raw[fault.start]:02x}") from fault


def json_document(document: object) -> list[object]:
    """Rows of a document: a list, the first list inside an object, or the object itself."""
    if isinstance(document, list):
        return document
    if isinstance(document, dict):
        return next((part for part in document.values() if isinstance(part, list)), [document])
    raise ValueError(f"a list of objects is expected, not {_words(document)[:_FOUND_CHARS]}")


def _cell(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool | float | int | dict | list | tuple):
        return json.dumps(value, default=str)
    return str(value)


def _words(found: object) -> str:
    """A value in a message: numbers without the name of their type."""
    if isinstance(found, np.generic):
        found = found.item()
    return found if isinstance(found, str) else repr(found)


def unreadable(path: str | Path, fault: Exception) -> Problem:
    """What a reader said of a file, in one line."""
    what = str(fault).splitlines()[0] if str(fault) else type(fault).__name__
    return _unreadable(path, "a readable table", what)


def _unreadable(path: str | Path, expected: str, found: str) -> Problem:
    return Problem(
        code=Reject.SOURCE_UNREADABLE, source=str(path), expected=expected, found=found[:160]
    )


def _empty(path: Path) -> Problem:
    return Problem(
        code=Reject.SOURCE_EMPTY, source=str(path), expected="a row or more", found="an empty file"
    )
