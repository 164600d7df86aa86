"""Secrets that do not show themselves, and logs from which they are taken out.

Whatever we make has a prefix (`svs_` a key's secret, `svc_` a session, `svt_` a token, `svw_` a
webhook's secret), so that a log can be cleaned, and a repository searched, without knowing any.
"""

from __future__ import annotations

import contextvars
import json
import logging
import re
import sys
import time
from typing import Any, Final, TextIO

REQUEST: Final[contextvars.ContextVar[str]] = contextvars.ContextVar("request", default="")
"""The id of the request that is worked on."""
HIDDEN: Final = "***"
_OURS: Final = re.compile(r"sv[sctw]_[A-Za-z0-9_.=-]{8,}")
_URL: Final = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*://)[^\s/@'\"]*:[^\s/@'\"]*@")
_NAMED: Final = re.compile(
    r"(?P<name>(?:authorization|cookie|password|passwd|secret|client_secret|access_token|"
    r"refresh_token|sig|signature|csrf)['\"]?\s*[:=]\s*)"
    r"(?:(?:Bearer|Basic|Solvent|deri-hmac-sha256)\s+)?"
    r"(?:b?'[^']*'|b?\"[^\"]*\"|[^\s,;&})'\"\]]+)",
    re.IGNORECASE,
)


class Secret:
    """Text that is told by `reveal` alone: not by repr, str, format, nor by pickling.

    >>> str(Secret("svs_abc")), f"{Secret('x')}", Secret("a") == Secret("a")
    ('***', '***', False)
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself."""
        return self._text

    def __repr__(self) -> str:
        return HIDDEN

    def __reduce__(self) -> Any:
        raise TypeError("a secret is not pickled")


def masked(text: str) -> str:
    """Text without what looks like a secret.

    >>> masked("GET /auth?client_secret=hunter2&id=1")
    'GET /auth?client_secret=***&id=1'
    >>> masked("postgresql://solvent:hunter2@db/venue")
    'postgresql://***@db/venue'
    """
    text = _OURS.sub(HIDDEN, text)
    text = _URL.sub(rf"\g<scheme>{HIDDEN}@", text)
    return _NAMED.sub(rf"\g<name>{HIDDEN}", text)


class JsonLines(logging.Formatter):
    """A record as one line of JSON, masked."""

    def format(self, record: logging.LogRecord) -> str:
        """Time in UTC to the millisecond, level, where from, words, the request, a traceback."""
        told = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(), "logger": record.name,
            "message": masked(record.getMessage()),
        }  # fmt: skip
        if REQUEST.get():
            told["request"] = REQUEST.get()
        if record.exc_info:
            told["traceback"] = masked(self.formatException(record.exc_info))
        return json.dumps(told, ensure_ascii=False)


class Words(logging.Formatter):
    """A record as people read it, masked."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """The words, and the request's id."""
        told = masked(super().format(record))
        return f"{told} [{REQUEST.get()}]" if REQUEST.get() else told


def install(level: str, *, as_json: bool, stream: TextIO | None = None) -> logging.Handler:
    """Let this process log masked lines to a stream (stderr), and nowhere else.

    uvicorn's own loggers are led there too. For the process that serves, not for a library.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines() if as_json else Words())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    # These tell whole requests, with what is in them.
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return handler
