"""What sources said, from a file of JSON lines, and the indices that it makes, one a step.

A line is `{"source", "time_ms", "price", "bid", "ask", "confidence", "weight", "heard_ms"}`: all
but the first two may be missing. `heard_ms` is when it was heard; without it, its own time. Lines
are in the order in which they were heard. What a source says wrongly is no fault of the file: NaN
and numbers of any size are taken, and held against the source.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from solvent.errors import BadInput, Problem, Reject
from solvent.limits import TIME_MS_MAX
from solvent.market.index import Index, IndexRule, begin, listen, publish_index
from solvent.market.oracles import Quote

_NUMBERS: Final = ("price", "bid", "ask", "confidence")
_FIELDS: Final = frozenset({"source", "time_ms", "weight", "heard_ms", *_NUMBERS})
_STEPS_MAX: Final = 10_000_000


@dataclass(frozen=True, slots=True)
class Message:
    """A quote, and when it was heard."""

    quote: Quote
    heard_ms: int


def read_messages(path: str | Path) -> list[Message]:
    """All messages of a file. Raises BadInput that names the line."""
    source = str(path)
    try:
        lines = Path(path).read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as fault:
        expected, found_instead = "a readable file of JSON lines", str(fault)[:160]
        raise BadInput(Problem(code=Reject.SOURCE_UNREADABLE, source=source, expected=expected,
                               found=found_instead)) from fault  # fmt: skip
    found = [_message(text, source, line) for line, text in enumerate(lines, 1) if text.strip()]
    if not found:
        raise BadInput(Problem(code=Reject.SOURCE_EMPTY, source=source, expected="a quote a line",
                               found="none"))  # fmt: skip
    return found


def _message(text: str, source: str, line: int) -> Message:
    def bad(expected: str, value: Any, field: str | None = None) -> BadInput:
        return BadInput(Problem(code=Reject.ROW_MALFORMED, source=source, line=line, field=field,
                                expected=expected, found=repr(value)[:160]))  # fmt: skip

    try:
        told = json.loads(text)
    except (ValueError, RecursionError) as fault:
        raise bad("a JSON object", text) from fault
    if not isinstance(told, dict):
        raise bad("a JSON object", told)
    if unknown := sorted(told.keys() - _FIELDS):
        raise bad(f"only {', '.join(sorted(_FIELDS))}", unknown)
    name = told.get("source")
    if not isinstance(name, str) or not name:
        raise bad("a name", name, "source")
    whole = {"time_ms": TIME_MS_MAX, "heard_ms": TIME_MS_MAX, "weight": 10**18}
    for field, most in whole.items():
        value = told.get(field)
        must = field == "time_ms"
        if (must or value is not None) and not (type(value) is int and 0 <= value <= most):
            raise bad(f"a whole number up to {most}", value, field)
    for field in _NUMBERS:
        if told.get(field) is not None and type(told[field]) not in (int, float):
            raise bad("a number", told[field], field)
    try:
        numbers = {field: None if told.get(field) is None else float(told[field])
                   for field in _NUMBERS}  # fmt: skip
    except OverflowError as fault:
        raise bad("a number that a float can hold", text) from fault
    quote = Quote(source=name, time_ms=told["time_ms"], weight=told.get("weight"), **numbers)
    heard_ms = told.get("heard_ms")
    return Message(quote, told["time_ms"] if heard_ms is None else heard_ms)


def indices(
    rule: IndexRule, messages: Iterable[Message], *, every_ms: int
) -> Iterator[tuple[Index, int]]:
    """The index at each step of so many milliseconds, and how many messages came in it.

    The reader's clock is the latest time at which anything was heard: it never goes back, and the
    last step ends with it. Raises
    BadInput for times so far apart that there would be more steps than anybody reads.
    """
    rows = list(messages)
    now_ms = rows[0].heard_ms
    last_ms = max(row.heard_ms for row in rows)
    if (last_ms - now_ms) // every_ms > _STEPS_MAX:
        expected = f"at most {_STEPS_MAX} steps of {every_ms} ms"
        raise BadInput(Problem(code=Reject.TIME_INVALID, source="messages", expected=expected,
                               found="more"))  # fmt: skip
    sources, place = begin(rule, now_ms=now_ms), 0
    while place < len(rows):
        until_ms, first = min(now_ms + every_ms, last_ms), place
        while place < len(rows) and rows[place].heard_ms <= until_ms:
            place += 1
        quotes = [row.quote for row in rows[first:place]]
        now_ms = until_ms
        sources = listen(rule, sources, quotes, now_ms=now_ms)
        sources, index = publish_index(rule, sources, now_ms=now_ms)
        yield index, place - first
