"""Names in paths, which may have slashes: `/v1/accounts/desk%2Falice`.

Servers decode a path before it is routed. `desk%2Falice` would be two parts of it: no route, or,
worse, one of another account (`DELETE /v1/accounts/alice%2Forders` would take back the orders of
`alice`). `Slashes` has such a slash stand as a character that no text has, and the convertor that
routes name (`{account:name}`) puts it back when the name has been cut out.
"""

from __future__ import annotations

import re
from typing import Annotated, Final
from urllib.parse import unquote

from fastapi import Path
from starlette.convertors import StringConvertor, register_url_convertor
from starlette.types import ASGIApp, Receive, Scope, Send

AccountName = Annotated[str, Path(min_length=1, max_length=64, description="An account's name.")]
Symbol = Annotated[str, Path(min_length=1, max_length=64, description="An instrument's symbol.")]
OrderName = Annotated[str, Path(min_length=1, max_length=64, description="An order's name.")]
Reference = Annotated[str, Path(min_length=1, max_length=64, description="Names the payment.")]
RulebookName = Annotated[str, Path(min_length=1, max_length=64, description="As it was adopted.")]
Id = Annotated[str, Path(min_length=1, max_length=64, description="What is meant.")]
_MARK: Final = "\ufdd0"
"""Unicode keeps it for the insides of programs."""
_SLASH: Final = re.compile("%2f", re.IGNORECASE)


class NameConvertor(StringConvertor):
    """A name, with its slashes.

    >>> NameConvertor().convert(_MARK.join(("desk", "alice")))
    'desk/alice'
    """

    def convert(self, value: str) -> str:
        """As it was told, from a part of a path."""
        return value.replace(_MARK, "/")


register_url_convertor("name", NameConvertor())


class Slashes:
    """Plain ASGI: a slash that was told as `%2F` parts nothing."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Go on, with the path as it is routed."""
        raw: bytes = scope.get("raw_path") or b""
        if b"%2" in raw:
            scope["path"] = unquote(_SLASH.sub(_MARK, raw.decode("latin-1")))
        await self._app(scope, receive, send)
