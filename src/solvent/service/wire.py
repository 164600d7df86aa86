"""Bodies in and out: msgspec reads and writes them, and their schemas are made from the same types.

What is read is exact: no floats where money, sizes or prices are meant, no field that is not known.
Decimals are text. `operation` makes what FastAPI needs to document a route; `components` all
schemas that routes have named.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from solvent.errors import BadInput, Problem, Reject

JSON: Final = "application/json"
LINES: Final = "application/x-ndjson"
ARROW: Final = "application/vnd.apache.arrow.stream"
_REF: Final = "#/components/schemas/{name}"
_NAME_FORM: Final = "[A-Za-z0-9][A-Za-z0-9._:@/+-]*\\\\Z'"
"""How the pattern of `messages.fields.NewName` ends as msgspec tells it."""
_WHERE: Final = re.compile(r" - at `\$\.?(?P<field>[^`]*)`$")
_ENCODER: Final = msgspec.json.Encoder()
_NAMED: Final[dict[Any, None]] = {}
"""Every type that a route reads or writes."""
T = TypeVar("T")


def answer(
    document: Any, status: int = 200, *, headers: Mapping[str, str] | None = None
) -> Response:
    """A document as JSON."""
    return Response(
        encode(document), status_code=status, media_type=JSON,
        headers=None if headers is None else dict(headers),
    )  # fmt: skip


def encode(document: Any) -> bytes:
    """A document as one line of JSON; decimals as plain text, never with an exponent.

    >>> from decimal import Decimal
    >>> encode({"amount": Decimal("0E-9")})
    b'{"amount":"0.000000000"}'
    """
    return _ENCODER.encode(_plain(msgspec.to_builtins(document, builtin_types=(Decimal,))))


def encode_dollars(document: Any) -> bytes:
    """The same, faster, of a document whose decimals have no more than six places."""
    return _ENCODER.encode(document)


def _plain(value: Any) -> Any:
    match value:
        case Decimal():
            return f"{value:f}"
        case dict():
            return {name: _plain(one) for name, one in value.items()}
        case list() | tuple():
            return [_plain(one) for one in value]
    return value


async def told(request: Request, decoder: msgspec.json.Decoder[T], *, once: bool = True) -> T:
    """A request's body; BadInput for what is not as its type says. `once`: nor says a thing twice,
    which would be anyone's guess which is meant."""
    body = await request.body()
    try:
        found = decoder.decode(body)
        if once:
            _PAIRS.decode(body.decode())
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as fault:
        raise BadInput(problem_of(fault)) from None
    return found


def _each_once(pairs: list[tuple[str, Any]]) -> None:
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise msgspec.ValidationError(f"Expected each field once, got {twice!r} again")


_PAIRS: Final = json.JSONDecoder(object_pairs_hook=_each_once)


def problem_of(fault: Exception, *, source: str = "body") -> Problem:
    """What msgspec does not take, in words.

    >>> str(problem_of(ValueError("Expected `int`, got `str` - at `$.size`")))
    "body, field 'size': expected `int`, found `str` [COMMAND_MALFORMED]"
    """
    message = str(fault) or type(fault).__name__
    field = None
    if where := _WHERE.search(message):
        field, message = where["field"] or None, message[: where.start()]
    expected, _, found = message.removeprefix("Expected ").partition(", got ")
    if expected.endswith(_NAME_FORM):
        expected = "a name: letters, digits and ._:@/+- after a letter or a digit"
    if not message.startswith("Expected "):
        expected, found = "JSON as the schema says", message
    return Problem(
        code=Reject.COMMAND_MALFORMED, source=source, field=field, expected=expected,
        found=found or "something else",
    )  # fmt: skip


# ── schemas ──────────────────────────────────────────────────────────────────────────────────────


class ProblemDocument(msgspec.Struct, omit_defaults=True):
    """What went wrong (RFC 9457). `code` names it and never changes; `number` is the same as the
    journal has it, and `sequence` the place in history of a command that was refused."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    number: int | None = None
    sequence: int | None = None
    problems: list[dict[str, Any]] = []
    retry_after_ms: int | None = None
    lane: str | None = None


def schema_of(kind: Any) -> dict[str, Any]:
    """A reference to a type's schema, which `components` will have."""
    _NAMED[kind] = None
    (found,), _ = msgspec.json.schema_components([kind], ref_template=_REF)
    return found


def components() -> dict[str, Any]:
    """Schemas of every type that was named, and of those in them."""
    _, found = msgspec.json.schema_components([*_NAMED, ProblemDocument], ref_template=_REF)
    return found


_AFTER: Final = {
    "Retry-After": {
        "description": "Seconds after which the same may be asked again.", "required": True,
        "schema": {"type": "integer", "minimum": 1},
    }
}  # fmt: skip


def operation(
    kind: Any = None, *, body: Any = None, example: Any = None, status: int = 200,
    media: Mapping[str, Any] | None = None, what: str = "What was asked for.",
    also: Mapping[int, str] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """How a route is documented: the type that it answers with, and the one of its body with an
    example. `media`: other forms of the answer. `also`: other statuses."""
    content = {} if kind is None else {JSON: {"schema": schema_of(kind)}}
    content |= dict(media or {})
    problems = {"application/problem+json": {"schema": schema_of(ProblemDocument)}}
    responses: dict[int | str, dict[str, Any]] = {
        status: {"description": what, "content": content} if content else {"description": what},
        "4XX": {"description": "It is refused.", "content": problems},
        429: {"description": "Too much is asked.", "headers": _AFTER, "content": problems},
        503: {"description": "Not now.", "headers": _AFTER, "content": problems},
        "5XX": {"description": "A fault of the service.", "content": problems},
    }
    for code, why in (also or {}).items():
        responses[code] = {"description": why}
    found: dict[str, Any] = {
        "status_code": status, "responses": responses, "response_model": None,
        "response_class": Response,
    }  # fmt: skip
    if body is not None:
        asked = {"schema": schema_of(body)} | ({} if example is None else {"example": example})
        found["openapi_extra"] = {"requestBody": {"required": True, "content": {JSON: asked}}}
    return found
