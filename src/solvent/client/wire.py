"""Calls before they are sent, and answers after they have come: no sockets here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

import msgspec

from solvent.errors import BadInput, Problem, Reject, SolventError
from solvent.host import Answer
from solvent.messages.events import EVENTS, AnyEvent, Event, Rejected

T = TypeVar("T")
AGAIN: Final = frozenset({429, 502, 503, 504})
"""Statuses that say: not now."""
_KINDS: Final[dict[str, type[Event]]] = {str(kind.__struct_config__.tag): kind for kind in EVENTS}


class ServiceError(SolventError):
    """The service has refused: an HTTP status, a code that never changes, and words."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(f"{status} {code}: {detail}")
        self.status, self.code, self.detail = status, code, detail


class Unavailable(ServiceError):
    """The service could not be asked, or had no time, however often it was tried. Whether it was
    done is not known: the same key asks again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[T]):
    """What is asked, and how the answer is read: `read` of a success, `refused` of a command that
    the engine has refused (None: ServiceError is raised).

    `key` names what changes something, so that it may be sent again.
    """

    method: str
    path: str
    read: Callable[[bytes], T]
    refused: Callable[[Answer], T] | None = None
    body: bytes = b""
    media: str = "application/json"
    accept: str = "application/json"
    params: Mapping[str, str | int | bool] = field(default_factory=dict)
    key: str | None = None


def result(call: Call[T], status: int, body: bytes) -> T:
    """What an answer says. Raises BadInput and ServiceError."""
    if 200 <= status < 300:
        return call.read(body)
    try:
        problem = msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.MsgspecError:
        raise ServiceError(status, "UNREADABLE", body[:200].decode("utf-8", "replace")) from None
    code, detail = str(problem.get("code", status)), str(problem.get("detail", ""))
    if problem.get("problems"):
        raise BadInput(*map(_problem, problem["problems"]))
    number, sequence = problem.get("number"), problem.get("sequence")
    if call.refused is not None and isinstance(number, int):
        return call.refused(Answer(sequence or 0, number, (Rejected(number, detail),)))
    raise (Unavailable if status in AGAIN else ServiceError)(status, code, detail)


def _problem(told: Mapping[str, Any]) -> Problem:
    code = Reject.__members__.get(str(told.get("code")), Reject.COMMAND_MALFORMED)
    return Problem(
        code=code, source=str(told.get("source")), expected=str(told.get("expected")),
        found=str(told.get("found")), field=told.get("field"), row=told.get("row"),
        line=told.get("line"),
    )  # fmt: skip


def events_of(told: list[dict[str, Any]]) -> tuple[Event, ...]:
    """Events from their fields by name."""
    return tuple(_event(one) for one in told)


def _event(told: Mapping[str, Any]) -> Event:
    tag = str(told["event"])
    values = [told[name] for name in _KINDS[tag].__struct_fields__]
    found: Event = msgspec.convert([tag, *values], AnyEvent)
    return found


def answer_of(done: Mapping[str, Any]) -> Answer:
    """An answer from what the service says of a command that was done."""
    return Answer(int(done["sequence"]), 0, events_of(done["events"]))


def reader(kind: Any) -> Callable[[bytes], Any]:
    """Reads JSON of a type; fields that are not known (of a newer service) are passed over."""
    return msgspec.json.Decoder(kind).decode
