"""Whether the service lives, and whether it serves."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from solvent.host import Engine
from solvent.service.lanes import Lane, Overloaded
from solvent.service.problems import problem
from solvent.service.settings import Settings
from solvent.service.venue import NotServing, Phase, Venue

ANSWER_S: Final = 2.0
"""The engine is at work, or stuck, where it does not answer for so long."""
router = APIRouter(tags=["health"])


class Health(BaseModel):
    """Where the service is in its life."""

    phase: Phase
    recovered: int = Field(description="Commands of the journal that are recovered.")
    commands: int = Field(description="Commands that the journal has.")
    lag_ms: float | None = Field(None, description="How long the engine took to answer.")
    waiting: int | None = Field(None, description="Commands that wait for the engine.")
    arrays_age_ms: int | None = Field(None, description="Age of the venue's risk arrays.")


def _health(venue: Venue) -> dict[str, Any]:
    done, head = venue.progress
    return {"phase": venue.phase, "recovered": done, "commands": max(head, venue.head)}


@router.get("/health/live", response_model=Health, responses={503: {"description": "Restart it."}})
async def live(request: Request) -> Any:
    """Whether the process can still do its work: 503 once only a new start may help."""
    venue: Venue = request.app.state.venue
    if venue.phase is Phase.FAILED:
        return problem(503, code="FAILED", detail="the engine has stopped", **_health(venue))
    return _health(venue)


@router.get("/health/ready", response_model=Health, responses={503: {"description": "Not now."}})
async def ready(request: Request, response: Response) -> Any:
    """Whether requests are taken now: 503 while the journal is recovered and when it stops, where
    the engine does not answer or commands would wait too long, and where the venue's arrays are
    older than `arrays_age_max_s`."""
    venue: Venue = request.app.state.venue
    settings: Settings = request.app.state.settings
    response.headers["cache-control"] = "no-store"
    told = _health(venue)
    if venue.phase is not Phase.RUNNING:
        return _not_ready(f"the venue is {venue.phase}", told)
    start_s = time.perf_counter()
    try:
        age_ms = await asyncio.wait_for(venue.read(_arrays_age_ms), ANSWER_S)
    except (TimeoutError, Overloaded):
        return _not_ready(f"the engine has not answered for {ANSWER_S:.0f} s", told)
    except NotServing as fault:
        return _not_ready(str(fault), told)
    told |= {
        "lag_ms": round(1e3 * (time.perf_counter() - start_s), 3), "arrays_age_ms": age_ms,
        "waiting": sum(venue.lanes.waiting.values()),
    }  # fmt: skip
    wait_s = max(map(venue.lanes.wait_s, Lane))
    if wait_s > venue.lanes.patience_s:
        return _not_ready(f"commands would wait {wait_s:.3g} s", told)
    most_s = settings.arrays_age_max_s
    if most_s is not None and (age_ms is None or age_ms > 1_000 * most_s):
        found = "none" if age_ms is None else f"arrays {age_ms / 1e3:.1f} s old"
        return _not_ready(f"expected arrays of at most {most_s} s, found {found}", told)
    return told


def _arrays_age_ms(engine: Engine) -> int | None:
    """How old the arrays of the venue's rulebook are; None where it has none."""
    rules = engine.state.rules.get(engine.state.venue_rulebook)
    arrays = None if rules is None else rules.arrays
    return None if arrays is None else engine.now_ms - int(arrays.as_of_ms)


def _not_ready(why: str, told: dict[str, Any]) -> Response:
    return problem(503, code="NOT_READY", detail=why, **told)
