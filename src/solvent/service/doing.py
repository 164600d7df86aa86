"""Commands on behalf of callers: a key, a turn on the engine, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar
from uuid import uuid4

from fastapi import Header
from msgspec import Struct
from starlette.requests import HTTPConnection

from solvent.errors import Reject
from solvent.host import Answer, Engine
from solvent.messages.codec import event_fields
from solvent.outcomes import refusal_of
from solvent.refusal_text import readable
from solvent.service.lanes import Draft, Lane
from solvent.service.problems import Rejected
from solvent.service.venue import ServedEngine, Venue

T = TypeVar("T")
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key", min_length=1, max_length=64,
        description="Names the request: the same one again is answered as it was, and done once. "
        "One is made up without it.",
    ),
]  # fmt: skip


class Done(Struct):
    """A command that was done: its place in history, whether that was before, and its events, with
    accounts, assets and instruments by number as the journal has them."""

    sequence: int
    repeated: bool
    events: list[dict[str, Any]]


def key_of(told: str | None) -> str:
    """The key of a request, or a new one."""
    return told or uuid4().hex


def done_of(engine: Engine, answer: Answer) -> Done:
    """What came of a command that was done."""
    return Done(
        answer.sequence, repeated_by(engine, answer), [event_fields(one) for one in answer.events]
    )


def repeated_by(engine: Engine, answer: Answer) -> bool:
    """Whether an answer was given before the last commands."""
    return isinstance(engine, ServedEngine) and 0 < answer.sequence <= engine.before


def check_done(engine: Engine, answer: Answer, symbol: str | None = None) -> None:
    """Raises Rejected, in words that people know, where a command was refused."""
    if answer.code:
        detail = refusal_of(answer.events)
        code = Reject(answer.code)
        raise Rejected(answer, readable(engine.state, detail, code, symbol))


async def do(
    connection: HTTPConnection, draft: Draft, *, symbol: str | None = None,
    lane: Lane | None = None,
) -> Done:  # fmt: skip
    """One command, done. Raises Rejected."""

    def told(engine: Engine, answers: Sequence[Answer]) -> Done:
        check_done(engine, answers[0], symbol)
        return done_of(engine, answers[0])

    return await do_and(connection, draft, told, lane=lane)


async def do_and(
    connection: HTTPConnection, draft: Draft, told: Callable[[Engine, Sequence[Answer]], T], *,
    lane: Lane | None = None,
) -> T:  # fmt: skip
    """One command, and what `told` makes of its answer on the engine's thread."""
    venue: Venue = connection.app.state.venue
    found: T = await venue.request([draft], told, lane=lane)
    return found


async def look(connection: HTTPConnection, what: Callable[[Engine], T]) -> T:
    """What a function makes of the books between two batches."""
    venue: Venue = connection.app.state.venue
    return await venue.read(what)
