"""Cells of a venue's JSON: exact decimals, names and times; whatever is wrong names file and row.

JSON numbers are read as decimals from their text, never as floats.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

from solvent.errors import BadInput, Problem, Reject
from solvent.units import TimeMs

_DIGITS_MAX: Final = 40
_LARGEST: Final = 20
_SMALLEST: Final = -30
"""Powers of ten of what may be told: beyond them a number is a fault, and a costly one."""
_EARLIEST_MS: Final = 946_684_800_000
_LATEST_MS: Final = 4_102_444_800_000
_FOUND_CHARS: Final = 80
_NOT_OURS: Final = (Reject.SYMBOL_UNKNOWN, Reject.INSTRUMENT_TERMS_INVALID)
_BYTES_MAX: Final = 256 << 20
Row = TypeVar("Row")
_MASK: Final[ContextVar[Callable[[str], str]]] = ContextVar("mask", default=str)


@contextmanager
def masking(mask: Callable[[str], str]) -> Iterator[None]:
    """What is found wrong inside is masked, before it is cut to what a message holds."""
    before = _MASK.set(mask)
    try:
        yield
    finally:
        _MASK.reset(before)


def read_json(path: str | Path) -> Any:
    """A JSON file, numbers as decimals. Raises BadInput for what is none, or is cut short."""
    source = str(path)
    try:
        if Path(path).stat().st_size > _BYTES_MAX:
            refuse(source, Reject.SOURCE_UNREADABLE, f"at most {_BYTES_MAX} bytes", "more")
        return parsed(Path(path).read_bytes(), source)
    except OSError as fault:
        refuse(source, Reject.SOURCE_UNREADABLE, "a file of JSON", fault.strerror or str(fault))


def parsed(content: bytes | str, source: str) -> Any:
    """JSON text, numbers as decimals."""
    try:
        text = content.decode("utf-8-sig") if isinstance(content, bytes) else content
        return json.loads(text, parse_float=Decimal, parse_constant=Decimal)
    except (ValueError, RecursionError, InvalidOperation) as fault:
        words = str(fault) or type(fault).__name__
        refuse(source, Reject.SOURCE_UNREADABLE, "JSON that is whole", words)


def refuse(
    source: str,
    code: Reject,
    expected: str,
    found: object,
    *,
    row: int | None = None,
    field: str | None = None,
) -> NoReturn:
    """Raise BadInput; `row` is counted from 0."""
    words = _MASK.get()(str(found))
    raise BadInput(
        Problem(
            code=code, source=source, expected=expected, found=words[:_FOUND_CHARS],
            row=None if row is None else row + 1, field=field,
        )
    )  # fmt: skip


class Cells:
    """One object of an answer."""

    __slots__ = ("fields", "row", "source")

    def __init__(self, source: str, row: int | None, fields: object) -> None:
        self.source = source
        self.row = row
        if not isinstance(fields, Mapping):
            refuse(source, Reject.ROW_MALFORMED, "an object", _words(fields), row=row)
        self.fields: Mapping[str, Any] = fields

    def wrong(self, code: Reject, name: str | None, expected: str, found: object) -> NoReturn:
        """Raise BadInput for a cell."""
        refuse(self.source, code, expected, _words(found), row=self.row, field=name)

    def text(self, name: str) -> str:
        """A name that must be told."""
        found = self.maybe_text(name)
        if not found:
            self.wrong(Reject.FIELD_MISSING, name, "a name", "nothing")
        return found

    def maybe_text(self, name: str) -> str:
        """A name, empty where none is told."""
        found = self.fields.get(name)
        if found is None:
            return ""
        if not isinstance(found, str):
            self.wrong(Reject.ROW_MALFORMED, name, "text", found)
        return found.strip()

    def one_of(self, name: str, meanings: Mapping[str, Row]) -> Row:
        """What a word of a closed list means; an empty one must be in the list to be allowed."""
        found = self.maybe_text(name)
        if found not in meanings:
            expected = "one of " + ", ".join(repr(word) for word in meanings)
            self.wrong(Reject.ROW_MALFORMED, name, expected, found or "nothing")
        return meanings[found]

    def number(self, name: str) -> Decimal:
        """A number that must be told."""
        found = self.maybe(name)
        if found is None:
            self.wrong(Reject.FIELD_MISSING, name, "a number", "nothing")
        return found

    def maybe(self, *names: str) -> Decimal | None:
        """The first of some numbers that is told; None, empty text and absence are not."""
        for name in names:
            found = self.fields.get(name)
            if found is not None and found != "":
                return self._decimal(name, found)
        return None

    def above_zero(self, name: str) -> Decimal:
        """A number that must be told and above 0."""
        found = self.number(name)
        if found <= 0:
            self.wrong(Reject.PRICE_NOT_POSITIVE, name, "a number above 0", found)
        return found

    def positive(self, *names: str) -> Decimal | None:
        """The first of some prices that is told; venues write 0 for a price that there is not."""
        found = self.maybe(*names)
        if found is not None and found < 0:
            self.wrong(Reject.PRICE_NOT_POSITIVE, names[0], "0 or more", found)
        return found or None

    def unsigned(self, name: str) -> Decimal:
        """A size whose sign is told apart."""
        found = self.number(name)
        if found < 0:
            self.wrong(Reject.FIELD_NOT_A_NUMBER, name, "a size of 0 or more", found)
        return found

    def time(self, *names: str) -> TimeMs | None:
        """The first time that is told, in milliseconds; venues write 0 where there is none."""
        for name in names:
            found = self.maybe(name)
            if not found:
                continue
            if found != int(found) or not _EARLIEST_MS <= found < _LATEST_MS:
                self.wrong(Reject.TIME_INVALID, name, "milliseconds, between 2000 and 2100", found)
            return TimeMs(int(found))
        return None

    def flag(self, name: str) -> bool:
        """True or false; false where nothing is told."""
        found = self.fields.get(name, False)
        if not isinstance(found, bool):
            self.wrong(Reject.ROW_MALFORMED, name, "true or false", found)
        return found

    def inside(self, name: str) -> Cells:
        """An object inside this one."""
        found = self.fields.get(name)
        if not isinstance(found, Mapping):
            self.wrong(Reject.FIELD_MISSING, name, "an object", found)
        return Cells(self.source, self.row, found)

    def rows(self, name: str) -> Sequence[Any]:
        """A list inside this object."""
        found = self.fields.get(name)
        if not isinstance(found, list):
            self.wrong(Reject.FIELD_MISSING, name, "a list", found)
        return found

    def _decimal(self, name: str, found: object) -> Decimal:
        """Exact for text and decimals; a float is taken as it is written out."""
        if isinstance(found, bool) or not isinstance(found, str | int | float | Decimal):
            self.wrong(Reject.FIELD_NOT_A_NUMBER, name, "a number", found)
        try:
            number = Decimal(repr(found)) if isinstance(found, float) else Decimal(found)
        except (InvalidOperation, ValueError):
            self.wrong(Reject.FIELD_NOT_A_NUMBER, name, "a number", found)
        if not number.is_finite():
            self.wrong(Reject.FIELD_NOT_FINITE, name, "a finite number", found)
        if number and not _SMALLEST <= number.adjusted() <= _LARGEST:
            self.wrong(Reject.FIELD_NOT_FINITE, name, f"a number below 1e{_LARGEST}", found)
        if len(number.as_tuple().digits) > _DIGITS_MAX:
            self.wrong(Reject.FIELD_NOT_A_NUMBER, name, f"at most {_DIGITS_MAX} digits", found)
        return number


def each(
    source: str,
    rows: Iterable[object],
    read: Callable[[Cells], Row | None],
    *,
    unnamed: list[Problem] | None = None,
) -> list[Row]:
    """Read every row; all that is wrong is raised together. What reads to None is left out.

    `unnamed` takes rows of contracts that are not known by their names, or are not what their names
    say: they are left out then, since venues list more kinds of contracts than there are here.
    """
    found: list[Row] = []
    problems: list[Problem] = []
    for number, row in enumerate(rows):
        try:
            one = read(Cells(source, number, row))
        except BadInput as fault:
            unknown = all(one.code in _NOT_OURS for one in fault.problems)
            (problems if unnamed is None or not unknown else unnamed).extend(fault.problems)
            continue
        if one is not None:
            found.append(one)
    if problems:
        raise BadInput(*problems)
    return found


def _words(found: object) -> str:
    if isinstance(found, Decimal):
        return str(found)
    return found if isinstance(found, str) else repr(found)
