"""A venue with its pages as a process of its own: `new` makes one whose market moves, `again` opens
one that is there and lets it rest."""

from __future__ import annotations

import sys
from pathlib import Path

import uvicorn

from solvent.cli.demo_serve import application, opened
from solvent.dashboard.mount import mount_dashboard
from solvent.service.app import create_app
from solvent.service.settings import load_settings
from solvent.service.venue import Venue
from solvent.sim.live import TRADER, LiveVenue


def main(how: str, place: str, port: int, accounts: int, pace_s: float, steps: int) -> None:
    """Serve until it is killed."""
    if how == "new":
        ready = opened(LiveVenue(accounts=accounts, seed=3, steps=steps), Path(place))
        app, _, _ = application(ready, port=port, pace_s=pace_s)
    else:
        venue = Venue(place)
        app = create_app(venue, load_settings(flags={"url": place, "port": port, "tend": False}))
        mount_dashboard(app, venue, first_account=TRADER)
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="error", timeout_graceful_shutdown=1)


if __name__ == "__main__":
    how, place, port, accounts, pace_s, steps = sys.argv[1:]
    main(how, place, int(port), int(accounts), float(pace_s), int(steps))
