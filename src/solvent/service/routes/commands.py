"""Any command as the journal keeps it: the operator's way in, one or many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query, Request
from msgspec import Struct
from starlette.responses import Response

from solvent.errors import BadInput, Problem, Reject
from solvent.host import Answer, Engine
from solvent.limits import TIME_MS_MAX
from solvent.messages.codec import event_fields, read_command, read_time
from solvent.messages.fields import Command
from solvent.service.callers import Action, Caller, Callers, Needs
from solvent.service.doing import repeated_by
from solvent.service.venue import Venue
from solvent.service.wire import JSON, LINES, answer, encode, operation

router = APIRouter(prefix="/v1/commands", tags=["commands"])
Commands = Annotated[Caller, Depends(Needs(Action.COMMAND))]
LINES_MAX: Final = 10_000
"""Commands of one request."""


class CommandAnswer(Struct):
    """What came of a command: `accepted`, `rejected` (with a code) or `repeated`: then its
    sequence, code and events are those of the first."""

    key: str
    result: str
    sequence: int | None
    code: str | None
    detail: str | None
    events: list[dict[str, Any]]


_LINES_DOC: Final = {LINES: {"schema": {"type": "string"}}}
_BODY: Final = {
    "required": True,
    "content": {
        JSON: {
            "schema": {
                "type": "object", "required": ["do", "key", "actor"],
                "properties": {
                    "do": {"type": "string"},
                    "key": {"type": "string", "minLength": 1, "maxLength": 64},
                    "actor": {"type": "string", "minLength": 1, "maxLength": 64},
                },
            },
            "example": {"do": "heartbeat", "key": "beat-1", "actor": "operator"},
        },
        **_LINES_DOC,
    },
}  # fmt: skip
_OPERATION: Final = operation(CommandAnswer, media=_LINES_DOC) | {
    "openapi_extra": {"requestBody": _BODY}
}


@router.post("", **_OPERATION)
async def commands(
    request: Request, caller: Commands,
    time_ms: Annotated[
        int | None,
        Query(ge=0, le=TIME_MS_MAX, description="When it happens, not earlier than the last."),
    ] = None,
) -> Response:  # fmt: skip
    """One command (JSON), or many (JSON lines, each perhaps with its `time_ms`): all are durable
    when they are answered, in order, in the form in which they came. See the documentation of
    commands for what each has. Many are all malformed where one is, and none is done; a rejection
    is an answer, not a problem."""
    body = await request.body()
    many = request.headers.get("content-type", "").startswith(LINES)
    lines = [line for line in body.splitlines() if line.strip()] if many else [body]
    if len(lines) > LINES_MAX:
        raise BadInput(_problem(f"at most {LINES_MAX} commands", str(len(lines))))
    found = [_read(line, number, time_ms) for number, line in enumerate(lines, 1)]
    venue: Venue = request.app.state.venue
    told = [command for command, _ in found]
    callers: Callers = request.app.state.callers
    await callers.check_commands(request, caller, [type(one) for one in told])
    answers = await venue.request(
        told, lambda engine, got: _answers(engine, told, got), time_ms=[at for _, at in found]
    )
    if many:
        return Response(b"".join(encode(one) + b"\n" for one in answers), media_type=LINES)
    return answer(answers[0])


def _read(line: bytes, number: int, time_ms: int | None) -> tuple[Command, int | None]:
    timed = read_time(line)
    read = timed if isinstance(timed, Problem) else read_command(timed[0], source=f"line {number}")
    if isinstance(read, Problem):
        raise BadInput(read)
    assert not isinstance(timed, Problem)
    return read, time_ms if timed[1] is None else timed[1]


def _answers(engine: Engine, told: Sequence[Command], got: Sequence[Answer]) -> list[CommandAnswer]:
    found = []
    for command, one in zip(told, got, strict=True):
        result = "accepted" if one.accepted else "rejected"
        if repeated_by(engine, one):
            result = "repeated"
        events = [event_fields(event) for event in one.events]
        detail = events[0]["detail"] if events and events[0]["event"] == "rejected" else None
        found.append(
            CommandAnswer(
                command.key, result, one.sequence or None,
                Reject(one.code).name if one.code else None, detail, events,
            )
        )  # fmt: skip
    return found


def _problem(expected: str, found: str) -> Problem:
    return Problem(code=Reject.COMMAND_TOO_LARGE, source="body", expected=expected, found=found)
