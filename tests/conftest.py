"""Fixtures that many tests share: generated markets, real data where it is at hand."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from solvent import api
from solvent.feeds.library import shipped_rulebook
from solvent.feeds.synthetic_book import Venue, generate_book
from solvent.feeds.synthetic_market import generate_market
from solvent.margining.plan import Plan
from solvent.market import Snapshot

settings.register_profile(
    "default", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("default")

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "solvent"
SHARED = Path(os.environ.get("SOLVENT_SHARED", ROOT.parent / "shared"))
MEMORY = Path("/dev/shm")
ROOM_BYTES_MIN = 4 << 30


def memory() -> Path | None:
    """A folder in memory, where a journal's syncs need not be waited for, as tests never cut the
    power; None where there is none, or little room."""
    if not os.access(MEMORY, os.W_OK | os.X_OK):
        return None
    return MEMORY if shutil.disk_usage(MEMORY).free >= ROOM_BYTES_MIN else None


def pytest_configure() -> None:
    """Temporary folders are made in memory, unless somebody says where."""
    if place := memory():
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(place))


def need_shared(*parts: str) -> Path:
    """A path in the shared reference data; skips with a reason where it is absent."""
    path = SHARED.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"reference data is not here: {path} (set SOLVENT_SHARED)")
    return path


@pytest.fixture(scope="session", autouse=True)
def commands_made_once() -> Iterator[None]:
    """typer reads the signatures of all commands at every call; here once in a process."""
    import typer.main
    import typer.testing

    once = cache(typer.main.get_command)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typer.main, "get_command", once)
        patch.setattr(typer.testing, "_get_command", once)
        yield


@pytest.fixture(scope="session")
def snapshot() -> Snapshot:
    """A generated market: BTC and ETH, inverse and linear, six expiries."""
    return generate_market(seed=11, expiries=6, strikes=12)


@pytest.fixture(scope="session")
def plan(snapshot: Snapshot) -> Plan:
    """Deribit's portfolio margin compiled on the generated market."""
    return api.prepare(snapshot, shipped_rulebook("deribit-pm"))


@pytest.fixture(scope="session")
def venue(snapshot: Snapshot) -> Venue:
    """Three thousand accounts on the generated market."""
    return generate_book(snapshot, accounts=3_000, seed=5)
