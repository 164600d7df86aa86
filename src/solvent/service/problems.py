"""Whatever goes wrong, as `application/problem+json` (RFC 9457) with the engine's reject codes.

`code` is a name that never changes (`MARGIN_INSUFFICIENT`), `number` the same as the journal has
it; `type` is a URN of the name. `problems` lists everything that is wrong with what was told.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

import msgspec
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from solvent.errors import BadInput, Problem, Reject, RulebookError, SolventError
from solvent.host import Answer, EngineStopped
from solvent.journal.errors import JournalError
from solvent.service.callers import Forbidden, SignAgain, TooMany, Unauthorised
from solvent.service.lanes import Overloaded
from solvent.service.venue import NotServing

MEDIA: Final = "application/problem+json"
_LOG: Final = logging.getLogger(__name__)
_NOT_THERE: Final = frozenset({
    Reject.ACCOUNT_UNKNOWN, Reject.ASSET_UNKNOWN, Reject.INSTRUMENT_UNKNOWN,
    Reject.ORDER_UNKNOWN, Reject.REFERENCE_UNKNOWN, Reject.RULEBOOK_UNKNOWN,
    Reject.RULEBOOK_NOT_ADOPTED, Reject.AUCTION_UNKNOWN, Reject.PROTECTION_UNKNOWN,
})  # fmt: skip
_FIRST_OF_STATE: Final = 611
"""Codes from here on are about what the books are, not about what was told."""


class Rejected(SolventError):
    """The engine has refused a command: `answer` says which place in history that has."""

    def __init__(self, answer: Answer, detail: str) -> None:
        super().__init__(detail)
        self.answer, self.detail = answer, detail


class NotThere(SolventError):
    """What the path names is not there."""


def status_of(code: Reject) -> int:
    """The HTTP status of a reject code.

    >>> status_of(Reject.MARGIN_INSUFFICIENT), status_of(Reject.ACCOUNT_UNKNOWN)
    (409, 404)
    >>> status_of(Reject.COMMAND_MALFORMED), status_of(Reject.COMMAND_TOO_LARGE)
    (422, 413)
    """
    if code in _NOT_THERE:
        return 404
    if code is Reject.COMMAND_TOO_LARGE:
        return 413
    return 409 if code >= _FIRST_OF_STATE else 422


def problem(
    status: int, *, code: str | None = None, detail: str = "",
    headers: Mapping[str, str] | None = None, **more: Any,
) -> Response:  # fmt: skip
    """A problem as a response; what is None is left out."""
    name = code or HTTPStatus(status).name
    body = {
        "type": f"urn:solvent:problem:{name.lower().replace('_', '-')}",
        "title": HTTPStatus(status).phrase, "status": status, "code": name, "detail": detail,
        **{key: value for key, value in more.items() if value is not None},
    }  # fmt: skip
    return Response(
        msgspec.json.encode(body), status_code=status, media_type=MEDIA, headers=headers
    )


def rejected(answer: Answer, detail: str) -> Response:
    """A command that the engine has refused."""
    code = Reject(answer.code)
    return problem(
        status_of(code), code=code.name, number=int(code), detail=detail,
        sequence=answer.sequence or None,
    )  # fmt: skip


def malformed(problems: Sequence[Problem]) -> Response:
    """What was told cannot be used."""
    first = problems[0]
    return problem(
        status_of(first.code), code=first.code.name, number=int(first.code), detail=str(first),
        problems=[
            {
                "source": one.source, "field": one.field, "row": one.row, "line": one.line,
                "expected": one.expected, "found": one.found, "code": one.code.name,
            }
            for one in problems
        ],
    )  # fmt: skip


def wait(status: int, code: str, detail: str, retry_after_s: float, **more: Any) -> Response:
    """Not now: `Retry-After` in whole seconds, and exactly in the body."""
    return problem(
        status, code=code, detail=detail, retry_after_ms=math.ceil(1_000 * retry_after_s),
        headers={"retry-after": str(max(1, math.ceil(retry_after_s)))}, **more,
    )  # fmt: skip


def answered(fault: BaseException) -> Response:
    """Any fault as a response; of one that nobody foresaw nothing is told but that."""
    match fault:
        case Rejected():
            return rejected(fault.answer, fault.detail)
        case BadInput():
            return malformed(fault.problems)
        case Overloaded():
            return wait(503, "OVERLOADED", str(fault), fault.retry_after_s, lane=fault.lane)
        case NotServing() | EngineStopped():
            return wait(503, "NOT_SERVING", str(fault), 1.0)
        case Unauthorised():
            return _unauthorised(fault)
        case TooMany():
            return wait(429, "TOO_MANY_REQUESTS", str(fault), fault.retry_after_s)
        case Forbidden():
            return problem(403, detail=str(fault))
        case NotThere():
            return problem(404, detail=str(fault))
        case RulebookError():
            return problem(422, code="RULEBOOK_INVALID", detail=str(fault))
        case JournalError():
            return wait(503, "JOURNAL", str(fault), 1.0)
        case HTTPException():
            return problem(fault.status_code, detail=str(fault.detail), headers=fault.headers)
    return problem(500, detail="a fault of the service, not of the request; it is in its log")


def _unauthorised(fault: Unauthorised) -> Response:
    if isinstance(fault, SignAgain):
        return wait(401, "SIGN_AGAIN", str(fault), fault.retry_after_s)
    return problem(401, detail=str(fault), headers={"www-authenticate": "Solvent"})


def _invalid(fault: RequestValidationError) -> Response:
    """What pydantic says of a request, in our words."""
    return problem(
        422, code=Reject.COMMAND_MALFORMED.name, number=int(Reject.COMMAND_MALFORMED),
        detail="the request is not as its schema says",
        problems=[
            {
                "source": str(one["loc"][0]), "field": ".".join(map(str, one["loc"][1:])) or None,
                "expected": one["msg"], "found": _short(one.get("input")), "code": "INVALID",
            }
            for one in fault.errors()
        ],
    )  # fmt: skip


def _short(found: object) -> str:
    text = repr(found)
    return text if len(text) <= 80 else f"{text[:79]}…"


def responded(fault: BaseException) -> Response:
    """The same, with what nobody foresaw in the log."""
    found = answered(fault)
    if found.status_code == HTTPStatus.INTERNAL_SERVER_ERROR:
        _LOG.error("a request has failed", exc_info=fault)
    return found


def add_handlers(app: FastAPI) -> None:
    """Let an application answer faults so."""

    async def told(request: Request, fault: Exception) -> Response:
        del request
        return _invalid(fault) if isinstance(fault, RequestValidationError) else responded(fault)

    for kind in (SolventError, HTTPException, RequestValidationError, Exception):
        app.add_exception_handler(kind, told)
