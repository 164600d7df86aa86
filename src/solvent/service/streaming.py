"""Rows of the journal as an Arrow stream, made while it is sent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from solvent.service.venue import Venue

_ROWS: Final = 1_024
"""Rows of one record batch."""


def arrow_rows(venue: Venue, after: int, until: int | None) -> Iterator[bytes]:
    """Rows as Arrow IPC: sequence, time, kind, and the bytes of command, events and chain."""
    import pyarrow as pa  # type: ignore[import-untyped]

    schema = pa.schema(
        [
            ("sequence", pa.int64()), ("time_ms", pa.int64()), ("kind", pa.string()),
            ("command", pa.binary()), ("events", pa.binary()), ("chain", pa.binary()),
        ]
    )  # fmt: skip
    sink = _Sink()
    with pa.ipc.new_stream(sink, schema) as writer, venue.reader() as journal:
        some: list[Any] = []
        for row in journal.read(after=after, until=until):
            some.append(row)
            if len(some) == _ROWS:
                writer.write_batch(_batch(pa, schema, some))
                some.clear()
                yield sink.taken()
        if some:
            writer.write_batch(_batch(pa, schema, some))
        yield sink.taken()
    yield sink.taken()


def _batch(pa: Any, schema: Any, rows: list[Any]) -> Any:
    columns = [
        pa.array([row[place] for row in rows], type=field.type)
        for place, field in enumerate(schema)
    ]
    return pa.record_batch(columns, schema=schema)


class _Sink:
    """A file of which what was written is taken away again and again."""

    closed = False

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: Any) -> int:
        self._parts.append(bytes(data))
        return len(self._parts[-1])

    def flush(self) -> None:
        """Nothing is kept back."""

    def taken(self) -> bytes:
        """What was written since the last look."""
        found = b"".join(self._parts)
        self._parts.clear()
        return found
