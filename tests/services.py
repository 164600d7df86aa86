"""A served venue for tests: the small one of `engines`, over HTTP on a free port."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import httpx
from fastapi import FastAPI

from solvent.client import Client
from solvent.service.app import create_app
from solvent.service.serving import Server, serve
from solvent.service.settings import Settings, load_settings
from solvent.service.venue import Venue
from tests.engines import found

PERPETUAL: Final = "BTC_USDC-PERPETUAL"
CALL: Final = "BTC_USDC-1JUL26-65000-C"
WAIT_S: Final = 60.0


def settings_of(url: str | Path, **told: Any) -> Settings:
    """Settings of a venue whose time stands still, on a free port."""
    return load_settings(
        flags={"url": str(url), "port": 0, "hold_time": True, "tend": False,
               "log_level": "critical", "what_if_patience_ms": 10_000, **told}
    )  # fmt: skip


class Served:
    """uvicorn in a thread of this process; a context manager."""

    def __init__(self, url: str | Path, **told: Any) -> None:
        self.settings = settings_of(url, **told)
        self.venue = Venue(
            str(url), clock=None, room=self.settings.room,
            patience_s=self.settings.patience_ms / 1_000, batch_max=self.settings.batch_max,
        )  # fmt: skip
        self.app: FastAPI = create_app(self.venue, self.settings)
        self._server: Server | None = None
        self._up = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        asyncio.run(serve(self.app, self.settings, told=self._told))

    def _told(self, server: Server) -> None:
        self._server = server
        self._up.set()

    @property
    def url(self) -> str:
        """Where it is."""
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.ports[0]}"

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._up.wait(WAIT_S), "the server did not start"
        with httpx.Client(base_url=self.url) as http:
            for _ in range(600):
                if http.get("/health/ready").status_code == 200:
                    return self
                threading.Event().wait(0.02)
        raise TimeoutError("the venue did not get ready")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.should_exit = True
        self._thread.join(WAIT_S)

    def http(self) -> httpx.Client:
        """A plain client."""
        return httpx.Client(base_url=self.url, timeout=WAIT_S)

    def client(self, **options: Any) -> Client:
        """A client by the engine's names."""
        return Client(self.url, **options)


def made(home: Path) -> Path:
    """A new journal of the small venue."""
    url = home / "venue"
    found(url)
    return url
