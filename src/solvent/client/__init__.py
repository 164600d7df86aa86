"""A venue that is served elsewhere, by the same names as an engine that is embedded.

`connect` gives a client that waits, `connect_async` one to be awaited; see `calls` for all that may
be asked.
"""

from __future__ import annotations

from solvent.client.clients import AsyncClient, Client, connect, connect_async
from solvent.client.streams import Message, StreamRefused
from solvent.client.wire import ServiceError, Unavailable

__all__ = [
    "AsyncClient",
    "Client",
    "Message",
    "ServiceError",
    "StreamRefused",
    "Unavailable",
    "connect",
    "connect_async",
]
