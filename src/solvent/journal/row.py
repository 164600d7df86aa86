"""One row of the journal, and how rows are held against the chain that binds them."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

from solvent.chains import ORIGIN, link
from solvent.journal.errors import JournalCorrupt


class Row(NamedTuple):
    """A command and what came of it.

    `sequence` counts from 1 without a gap, `time_ms` is since 1970 UTC, and `chain` is
    `chains.link(chain of the row before, sequence, time_ms, command, events)`.
    """

    sequence: int
    time_ms: int
    kind: str
    command: bytes
    events: bytes
    chain: bytes


class Head(NamedTuple):
    """The last row's place and link; an empty journal's are 0 and `chains.ORIGIN`."""

    sequence: int
    chain: bytes


EMPTY: Final = Head(0, ORIGIN)


class _KindChecks(dict[str, int]):
    """CRC-32 of each kind that was seen: the kind is a label outside the chain."""

    def __missing__(self, kind: str) -> int:
        self[kind] = value = zlib.crc32(kind.encode())
        return value


KIND_CHECKS: Final = _KindChecks()


def rows_in_order(raws: Iterable[Any], *, after: int, until: int, name: str) -> Iterator[Row]:
    """Rows `after`+1 to `until` as they are stored, held against their order alone."""
    sequence = after
    for raw in raws:
        sequence += 1
        if raw[0] != sequence:
            raise _missing(name, sequence, raw[0])
        yield Row._make(raw[:6])
    if sequence != until:
        raise _missing(name, sequence + 1, None)


def verified_rows(
    raws: Iterable[Any], *, after: int, until: int, chain: bytes, name: str
) -> Iterator[Row]:
    """Rows `after`+1 to `until`, each held against the link before it, which begins as `chain`.

    Each raw row is (sequence, time, kind, command, events, chain, check of the kind). Raises
    JournalCorrupt at the first row that is not what was written.
    """
    sequence = after
    for sequence_found, time_ms, kind, command, events, chain_found, kind_check in raws:
        sequence += 1
        if sequence_found != sequence:
            raise _missing(name, sequence, sequence_found)
        try:
            chain = link(chain, sequence_found, time_ms, command, events)
        except (TypeError, struct.error):
            raise _damaged(
                name, sequence, "bytes and whole numbers", "values of another type"
            ) from None
        if chain != chain_found:
            raise _damaged(name, sequence, f"link {chain.hex()}", _shown(chain_found))
        if type(kind) is not str or KIND_CHECKS[kind] != kind_check:
            raise _damaged(name, sequence, f"a kind with check {kind_check!r}", repr(kind))
        yield Row(sequence, time_ms, kind, command, events, chain)
    if sequence != until:
        raise _missing(name, sequence + 1, None)


def _missing(name: str, sequence: int, found: object) -> JournalCorrupt:
    seen = "no row" if found is None else f"row {found!r}"
    return _damaged(name, sequence, f"row {sequence}", seen)


def _damaged(name: str, sequence: int, expected: str, found: str) -> JournalCorrupt:
    return JournalCorrupt(name, sequence=sequence, expected=expected, found=found)


def _shown(chain: object) -> str:
    return f"link {chain.hex()}" if isinstance(chain, bytes) else repr(chain)
