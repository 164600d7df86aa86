"""The journal: commands and what came of them, a page at a time or all of it as a stream."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request
from starlette.responses import Response, StreamingResponse

from solvent.journal import Row
from solvent.messages.codec import command_json, decode_command, decode_events, event_fields
from solvent.messages.events import Rejected
from solvent.served import JournalPage, JournalRow
from solvent.service.asks import Asks
from solvent.service.callers import Action, Caller, Needs
from solvent.service.problems import NotThere
from solvent.service.routes.accounts import Limit
from solvent.service.streaming import arrow_rows
from solvent.service.venue import Venue
from solvent.service.wire import ARROW, LINES, answer, encode, operation

router = APIRouter(prefix="/v1/journal", tags=["journal"])
Reads = Annotated[Caller, Depends(Needs(Action.JOURNAL_READ))]
After = Annotated[int, Query(ge=0, le=1 << 62, description="Rows after this sequence.")]
Until = Annotated[
    int | None, Query(ge=0, le=1 << 62, description="Rows up to this one; none: to the head.")
]
_LARGE = frozenset({"publish_market", "publish_arrays"})
"""Kinds whose commands hold many bytes; a page tells how many."""


def row_of(row: Row) -> JournalRow:
    """A row as a document."""
    import msgspec

    command, events = decode_command(row.command), decode_events(row.events)
    first = events[0] if events else None
    code = first.code if isinstance(first, Rejected) else 0
    told: dict[str, Any] = msgspec.json.decode(command_json(command))
    if row.kind in _LARGE:
        told = {
            name: {"bytes": len(value)} if isinstance(value, str) and len(value) > 256 else value
            for name, value in told.items()
        }
    return JournalRow(
        row.sequence, row.time_ms, row.kind, command.actor, command.key, code, told,
        [event_fields(one) for one in events], row.chain.hex(),
    )  # fmt: skip


@router.get("", **operation(JournalPage))
async def page(request: Request, caller: Reads, after: After = 0, limit: Limit = 100) -> Response:
    """A page of the journal, verified against its chain."""
    del caller
    venue: Venue = request.app.state.venue
    asks: Asks = request.app.state.asks

    def read() -> JournalPage:
        with venue.reader() as journal:
            head = journal.head.sequence
            rows = [row_of(one) for one in journal.read(after=after, until=after + limit)]
        last = rows[-1].sequence if rows else after
        return JournalPage(rows, head, last if last < head and rows else None)

    return answer(await asks.run(lambda _: read()))


@router.get(
    "/export",
    **operation(
        media={
            LINES: {"schema": {"type": "string"}},
            ARROW: {"schema": {"type": "string", "format": "binary"}},
        }
    ),
)
async def export(
    request: Request, caller: Reads, after: After = 0, until: Until = None
) -> Response:
    """Rows as a stream: JSON lines, or (by `Accept`) an Arrow stream of the bytes that are kept,
    chain and all. What breaks on the way cuts the stream off before its end."""
    del caller
    venue: Venue = request.app.state.venue
    if ARROW in request.headers.get("accept", ""):
        return StreamingResponse(arrow_rows(venue, after, until), media_type=ARROW)
    return StreamingResponse(_lines(venue, after, until), media_type=LINES)


def _lines(venue: Venue, after: int, until: int | None) -> Iterator[bytes]:
    with venue.reader() as journal:
        some: list[bytes] = []
        for row in journal.read(after=after, until=until):
            some.append(encode(row_of(row)) + b"\n")
            if len(some) == 256:
                yield b"".join(some)
                some.clear()
        yield b"".join(some)


@router.get("/{sequence}", **operation(JournalRow))
async def one(
    request: Request, caller: Reads,
    sequence: Annotated[int, Path(ge=1, le=1 << 62, description="Which command.")],
) -> Response:  # fmt: skip
    """One command."""
    del caller
    venue: Venue = request.app.state.venue
    asks: Asks = request.app.state.asks

    def read() -> JournalRow:
        with venue.reader() as journal:
            row = journal.find(sequence)
            if row is None:
                raise NotThere(f"expected 1 to {journal.head.sequence}, found {sequence}")
            return row_of(row)

    return answer(await asks.run(lambda _: read()))
