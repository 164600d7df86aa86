"""Columns of a frame as numbers, names and times; whatever is wrong with a cell is a fault."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from solvent.errors import BadInput, Problem, Reject
from solvent.feeds.table import Faults
from solvent.instruments.contract import moment_of
from solvent.units import DAY_MS, Float64

UNTOLD: Final = int(np.iinfo(np.int64).min)
"""The moment of a row that tells none."""
_EARLIEST_MS: Final = 946_684_800_000
_LATEST_MS: Final = 4_102_444_800_000
"""Times lie between 2000 and 2100: their units do not overlap there."""
_PER_MS: Final = {"seconds": 1e-3, "milliseconds": 1.0, "microseconds": 1e3, "nanoseconds": 1e6}
_A_TIME: Final = (
    "an ISO 8601 time, or seconds, milli-, micro- or nanoseconds since 1970, between 2000 and 2100"
)
_STRAGGLERS: Final = 10
"""Times beyond all others are faults where they are at most one in so many rows."""


def require(frame: pl.DataFrame, names: Iterable[str], faults: Faults) -> None:
    """Every named column is there. Raises what was found wrong before that, too."""
    for name in names:
        if name not in frame.columns:
            raise BadInput(
                *faults.problems,
                Problem(
                    code=Reject.FIELD_MISSING,
                    source=faults.source,
                    field=name,
                    expected=f"a column {name!r}",
                    found=f"columns {', '.join(frame.columns)}" if frame.columns else "no columns",
                ),
            )


def numbers(frame: pl.DataFrame, name: str, faults: Faults, *, required: bool) -> Float64:
    """A column as floats, NaN where empty; text that is no finite number is a fault."""
    if name not in frame.columns:
        return np.full(frame.height, np.nan)
    column = _as_text(frame[name])
    if column.dtype == pl.String:
        column = column.str.strip_chars()
        blank = column.is_null() | (column == "")
        parsed = column.cast(pl.Float64, strict=False)
    elif column.dtype.is_numeric() or column.dtype == pl.Null:
        parsed = column.cast(pl.Float64, strict=False)
        # pandas has no other way to leave a number out than NaN.
        blank = column.is_null() | (parsed.is_nan() & (not required))
    else:
        raise BadInput(_wrong_kind(faults, name, "numbers", column.dtype))
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


def names(frame: pl.DataFrame, name: str, faults: Faults) -> pl.Series:
    """A column as stripped text, "" where empty."""
    column = _as_text(frame[name])
    if column.dtype not in (pl.String, pl.Null, pl.Boolean) and not column.dtype.is_numeric():
        raise BadInput(_wrong_kind(faults, name, "names", column.dtype))
    return column.cast(pl.String).fill_null("").str.strip_chars()


def moments(frame: pl.DataFrame, name: str, faults: Faults) -> NDArray[np.int64]:
    """A column of times as milliseconds since 1970 UTC, `UNTOLD` where it is empty or absent.

    A time without a zone is UTC. A number's size tells its unit. Text that is no time is a fault.
    """
    if name not in frame.columns:
        return np.full(frame.height, UNTOLD)
    column = _as_text(frame[name])
    kind = column.dtype
    if kind == pl.String:
        cells = [_of_text(text) for text in column.fill_null("").str.strip_chars().to_list()]
    elif kind in (pl.Datetime, pl.Date):
        told = column.cast(pl.Datetime("ms")) if kind == pl.Date else column
        cells = [_plausible(float(t), "milliseconds") if t is not None else UNTOLD
                 for t in told.dt.epoch("ms").to_list()]  # fmt: skip
    elif kind.is_numeric() or kind == pl.Null:
        counts = column.cast(pl.Float64).fill_nan(None).to_list()
        cells = [UNTOLD if count is None else _of_number(count) for count in counts]
    else:
        raise BadInput(_wrong_kind(faults, name, "times", kind))
    for row, cell in enumerate(cells):
        if cell is None:
            found = str(frame[name][row])
            faults.add(Reject.TIME_INVALID, row, name, expected=_A_TIME, found=found)
    return np.array([UNTOLD if cell is None else cell for cell in cells], dtype=np.int64)


def check_times(told: NDArray[np.int64], name: str, faults: Faults) -> None:
    """A few rows dated more than a day after all others are faults.

    One such row would else be the market's moment, and everything else stale or expired.
    """
    known = told[told != UNTOLD]
    if not known.size:
        return
    middle = int(np.median(known))
    late = np.flatnonzero(told > middle + DAY_MS)
    if len(late) > max(1, len(known) // _STRAGGLERS):
        return
    for row in late:
        faults.add(
            Reject.TIME_INVALID,
            int(row),
            name,
            expected=f"at most a day after the other rows' {moment_of(middle):%Y-%m-%d %H:%M} UTC",
            found=f"{moment_of(int(told[row])):%Y-%m-%d %H:%M} UTC",
        )


def _of_text(text: str) -> int | None:
    """Milliseconds; None for what is no time."""
    if not text:
        return UNTOLD
    try:
        return _of_number(float(text))
    except ValueError:
        pass
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return None
    when = when.replace(tzinfo=UTC) if when.tzinfo is None else when
    return _plausible(when.timestamp() * 1_000.0, "milliseconds")


def _of_number(count: float) -> int | None:
    return next((ms for unit in _PER_MS if (ms := _plausible(count, unit)) is not None), None)


def _plausible(count: float, unit: str) -> int | None:
    ms = count / _PER_MS[unit]
    return round(ms) if _EARLIEST_MS <= ms < _LATEST_MS else None


def _as_text(column: pl.Series) -> pl.Series:
    return column.cast(pl.String) if column.dtype in (pl.Categorical, pl.Enum) else column


def _wrong_kind(faults: Faults, name: str, expected: str, found: pl.DataType) -> Problem:
    return Problem(
        code=Reject.FIELD_NOT_A_NUMBER if expected == "numbers" else Reject.ROW_MALFORMED,
        source=faults.source,
        field=faults.column(name),
        expected=f"a column of {expected}",
        found=f"a column of type {found}",
    )
