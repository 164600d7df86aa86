"""A venue with its pages as a process of its own: `new` makes one whose market moves, `again` opens
one that is there and lets it rest, `secured` makes a small one whose people log in."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path
from typing import Final

import uvicorn
from fastapi import FastAPI

from solvent.cli.demo_serve import application, opened
from solvent.dashboard.mount import mount_dashboard
from solvent.host import clock_ms
from solvent.service.app import create_app
from solvent.service.callers import Role
from solvent.service.security.assembly import application as with_security
from solvent.service.security.masking import Secret
from solvent.service.security.users import Users
from solvent.service.security.vault import Vault
from solvent.service.settings import load_settings
from solvent.service.venue import Venue
from solvent.sim.live import TRADER, LiveVenue

PASSWORD: Final = "correct horse battery staple"
PEOPLE: Final = {"ann": Role.ADMIN, "rob": Role.RISK, "tess": Role.TRADER}
OWN: Final = "u5"
"""The account that is the trader's."""


def later_file(place: Path) -> Path:
    """Where it is told by how many milliseconds the clock of who is logged in is ahead."""
    return place.parent / "later_ms"


def secured(place: Path) -> FastAPI:
    """A small venue with a vault, and one person of a role each."""
    from tests.engines import found

    home = place.parent / "vault"
    with closing(Vault.create(home)) as vault:
        people = Users(vault)
        for name, role in PEOPLE.items():
            own = [OWN] if role is Role.TRADER else None
            people.put(name=name, role=role, accounts=own, password=Secret(PASSWORD), now_ms=1)
    found(place)
    told = {"url": str(place), "tend": False, "hold_time": True, "security": home}
    venue, later = Venue(str(place), clock=None), later_file(place)
    later.write_text("0")
    app = with_security(
        venue, load_settings(flags=told), clock=lambda: clock_ms() + int(later.read_text() or "0")
    )
    mount_dashboard(app, venue, sessions=app.state.security.sessions, approvals=app.state.approvals)
    return app


def main(how: str, place: str, port: int, accounts: int, pace_s: float, steps: int) -> None:
    """Serve until it is killed."""
    if how == "new":
        ready = opened(LiveVenue(accounts=accounts, seed=3, steps=steps), Path(place))
        app, _, _ = application(ready, port=port, pace_s=pace_s)
    elif how == "secured":
        app = secured(Path(place))
    else:
        venue = Venue(place)
        app = create_app(venue, load_settings(flags={"url": place, "port": port, "tend": False}))
        mount_dashboard(app, venue, first_account=TRADER)
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="error", timeout_graceful_shutdown=1)


if __name__ == "__main__":
    how, place, port, accounts, pace_s, steps = sys.argv[1:]
    main(how, place, int(port), int(accounts), float(pace_s), int(steps))
