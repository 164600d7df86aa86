"""The routes: GET and POST of `/api/v2/…`, and `/ws/api/v2`."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from starlette.requests import Request
from starlette.responses import Response

from solvent.service.deribit import auth, private, public
from solvent.service.deribit.rpc import (
    INVALID_REQUEST,
    METHODS,
    PARSE_ERROR,
    Known,
    answered,
)

JSON: Final = "application/json"
MESSAGE_MAX: Final = 1 << 16
"""Bytes of a message of a WebSocket."""
CALLS_MAX: Final = 1_000
"""Calls of one array of JSON."""
router = APIRouter(tags=["deribit"])
REGISTERED: Final = (auth, public, private)
"""Imported for the methods that they put into the table."""
_ENCODER: Final = msgspec.json.Encoder()


def _response(status: int, document: Any) -> Response:
    return Response(_ENCODER.encode(document), status_code=status, media_type=JSON)


@router.get("/api/v2/{scope}/{name}", include_in_schema=False)
async def by_query(request: Request, scope: str, name: str) -> Response:
    """A call whose parameters are the query's."""
    status, found = await answered(
        request, f"{scope}/{name}", dict(request.query_params), request.query_params.get("id")
    )
    return _response(status, found)


@router.post("/api/v2/{scope}/{name}", include_in_schema=False)
async def by_path(request: Request, scope: str, name: str) -> Response:
    """A call whose name is the path's; its body is the whole call or just its parameters."""
    return await _posted(request, f"{scope}/{name}")


@router.post("/api/v2", include_in_schema=False)
@router.post("/api/v2/", include_in_schema=False)
async def by_body(request: Request) -> Response:
    """A call that is told in the body."""
    return await _posted(request, None)


async def _posted(request: Request, name: str | None) -> Response:
    try:
        told = msgspec.json.decode(await request.body() or b"{}")
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as fault:
        return _response(400, _refused(PARSE_ERROR, "Parse error", str(fault)))
    if not isinstance(told, dict):
        return _response(400, _refused(INVALID_REQUEST, "Invalid Request", "expected an object"))
    whole = name is None or "method" in told or "params" in told
    params = told.get("params", {}) if whole else told
    status, found = await answered(request, name or told.get("method"), params, told.get("id"))
    return _response(status, found)


def _refused(code: int, message: str, reason: str) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "error": {"code": code, "message": message,
                                        "data": {"reason": reason}}}  # fmt: skip


@router.websocket("/ws/api/v2")
async def socket(connection: WebSocket) -> None:
    """Calls one after another over a WebSocket, answered in order."""
    await connection.accept()
    known = Known()
    try:
        while True:
            text = await connection.receive_text()
            if len(text) > MESSAGE_MAX:
                await connection.close(1009, f"expected a message of at most {MESSAGE_MAX} bytes")
                return
            found = await _one(connection, text, known)
            await connection.send_text(_ENCODER.encode(found).decode())
    except WebSocketDisconnect:
        return


async def _one(connection: WebSocket, text: str, known: Known) -> Any:
    try:
        told = msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as fault:
        return _refused(PARSE_ERROR, "Parse error", str(fault))
    if not isinstance(told, dict):
        return _refused(INVALID_REQUEST, "Invalid Request", "expected an object")
    _, found = await answered(
        connection, told.get("method"), told.get("params"), told.get("id"), known
    )
    return found


def names() -> list[str]:
    """Methods that are there.

    >>> "private/get_account_summary" in names()
    True
    """
    return sorted(METHODS)
