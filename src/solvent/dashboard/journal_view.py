"""The journal as people read it: the newest rows that fit, with what came of them in words.

Rows are read by another connection than the engine's, newest first, and only so far back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from solvent.account.ledger import parts
from solvent.errors import Reject
from solvent.journal import Journal, Row
from solvent.messages import events as e
from solvent.messages.codec import decode_command, decode_events
from solvent.messages.commands import COMMANDS
from solvent.messages.fields import Command

SCANNED_MAX: Final = 20_000
"""Rows that one question looks through."""
_CHUNK: Final = 500
_LONG: Final = 60
_NAMES: Final = ("account", "buyer", "seller", "source", "target", "counterparty", "bidder")


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalRow:
    """One command: who asked for what, and what came of it."""

    sequence: int
    time_ms: int
    kind: str
    actor: str
    told: str
    result: str
    events: str
    refused: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Rows, the newest first. `scanned` back to `oldest`; `whole` where that is the first row."""

    rows: tuple[JournalRow, ...]
    scanned: int
    oldest: int

    @property
    def whole(self) -> bool:
        """Whether nothing was left unread."""
        return self.oldest <= 1


def kinds() -> list[str]:
    """Every kind of command, as the journal names it."""
    return sorted(str(one.__struct_config__.tag) for one in COMMANDS)


def rows_of(
    journal: Journal, names: Mapping[int, str], *, kind: str = "", account: str = "",
    refused: bool = False, before: int | None = None, most: int = 60,
) -> Found:  # fmt: skip
    """The newest rows that fit all that is told; `before` a sequence, to page back."""
    head = journal.head.sequence
    until = head if before is None else min(before - 1, head)
    number = next((one for one, name in names.items() if name == account), None)
    rows: list[JournalRow] = []
    scanned, oldest = 0, until + 1
    while until > 0 and len(rows) < most and scanned < SCANNED_MAX:
        after = max(0, until - _CHUNK)
        for row in reversed(list(journal.read(after=after, until=until, verify=False))):
            scanned, oldest = scanned + 1, row.sequence
            if (kind and row.kind != kind) or not _may_touch(row, account, number):
                continue
            found = _row(row, names)
            if refused and not found.refused:
                continue
            rows.append(found)
            if len(rows) == most:
                break
        until = after
    return Found(rows=tuple(rows), scanned=scanned, oldest=oldest)


def _may_touch(row: Row, account: str, number: int | None) -> bool:
    if not account:
        return True
    command = decode_command(row.command)
    if any(getattr(command, name, None) == account for name in _NAMES):
        return True
    return number is not None and any(number in _numbers(one) for one in decode_events(row.events))


def _numbers(event: e.Event) -> Iterator[int]:
    if isinstance(event, e.Posted):
        for move in event.moves:
            yield from (parts(move[0])[0], parts(move[1])[0])
    else:
        yield from (getattr(event, name, -1) for name in ("account", "buyer", "seller"))


def _row(row: Row, names: Mapping[int, str]) -> JournalRow:
    command, events = decode_command(row.command), decode_events(row.events)
    first = events[0] if events else None
    no = isinstance(first, e.Rejected)
    result = "done"
    if isinstance(first, e.Rejected):
        result = f"{Reject(first.code).name}: {first.detail}"
    return JournalRow(
        sequence=row.sequence, time_ms=row.time_ms, kind=row.kind, actor=command.actor,
        told=told(command), result=result, refused=no,
        events="" if no else ", ".join(_words(one, names) for one in events[:4])
        + (f" and {len(events) - 4:,} more" if len(events) > 4 else ""),
    )  # fmt: skip


def told(command: Command) -> str:
    """A command's fields in a line; long ones by their length."""
    fields: dict[str, Any] = msgspec.structs.asdict(command)
    words = []
    for name, value in fields.items():
        if name in ("key", "actor") or value in (None, (), "", False):
            continue
        if isinstance(value, bytes | tuple | list | dict):
            shown = f"({len(value):,})"
        else:
            text = str(value)
            shown = text if len(text) <= _LONG else f"({len(text):,} characters)"
        words.append(f"{name} {shown}")
    return ", ".join(words)


def _words(event: e.Event, names: Mapping[int, str]) -> str:
    kind = str(event.__struct_config__.tag).replace("_", " ")
    number = getattr(event, "account", None)
    if isinstance(event, e.Posted):
        count = len(event.moves)
        return f"{count:,} move{'' if count == 1 else 's'} of money"
    if isinstance(number, int):
        return f"{kind} {names.get(number, f'#{number}')}"
    return kind
