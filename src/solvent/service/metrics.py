"""What is counted, as Prometheus reads it: a registry for each application.

What changes with commands is counted on the engine's thread as they become durable; what the books
are is looked up when somebody asks, at most once in `FRESH_S`.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from fastapi import APIRouter, Depends, FastAPI
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client import Counter as Count
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response

from solvent.account.ledger import FIRST_ACCOUNT
from solvent.documents import money_rows
from solvent.engine.state import State
from solvent.errors import Reject
from solvent.host import Engine
from solvent.service.callers import Action, Needs
from solvent.service.lanes import Lane
from solvent.service.streams import Entry
from solvent.service.venue import Phase, Venue

if TYPE_CHECKING:
    from solvent.service.webhooks import Outbox

MEDIA: Final = "text/plain; version=0.0.4; charset=utf-8"
FRESH_S: Final = 5.0
_SECONDS: Final = (
    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0
)  # fmt: skip
_MILLI: Final = 1_000
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Metrics:
    """Everything that is counted of one venue; a hook of it."""

    def __init__(self, venue: Venue) -> None:
        self.registry = CollectorRegistry()
        self._requests = self._count(
            "solvent_requests", "Requests that ended.", "route", "method", "status"
        )
        self._ended: dict[tuple[str, str, int], Count] = {}
        self._request_s = self._times("solvent_request_seconds", "How long requests took.")
        self._limited = self._count(
            "solvent_rate_limited", "Requests told to come again, by lane of the budget.", "lane"
        )
        self._commands = self._count("solvent_commands", "Durable commands.", "kind")
        self._rejections = self._count("solvent_rejections", "Commands refused.", "code")
        self._commit_s = self._times("solvent_commit_seconds", "From taking a batch to durable.")
        self._batch = Histogram(
            "solvent_commit_commands", "Commands made durable together.",
            buckets=(1, 4, 16, 64, 256, 1_024, 4_096), registry=self.registry,
        )  # fmt: skip
        self._verdict_s = self._times(
            "solvent_tick_to_verdict_seconds",
            "From durable prices to everybody having been looked at.",
        )
        self.looked = _Looked(venue)
        self.registry.register(self.looked)
        venue.hooks.append(self)
        venue.lanes.watchers.append(self._committed)

    def _count(self, name: str, what: str, *labels: str) -> Count:
        return Count(name, what, labels, registry=self.registry)

    def _times(self, name: str, what: str) -> Histogram:
        return Histogram(name, what, buckets=_SECONDS, registry=self.registry)

    def __call__(self, engine: Engine, entries: Sequence[Entry]) -> None:
        """Hear of a commit, on the engine's thread."""
        del engine
        kinds = Counter(str(one.command.__struct_config__.tag) for one in entries)
        for kind, count in kinds.items():
            self._commands.labels(kind).inc(count)
        for code, count in Counter(one.code for one in entries if one.code).items():
            self._rejections.labels(Reject(code).name).inc(count)

    def _committed(self, commands: int, seconds: float) -> None:
        self._commit_s.observe(seconds)
        self._batch.observe(commands)

    def judged(self, seconds: float) -> None:
        """Everybody was looked at, so long after prices were durable."""
        self._verdict_s.observe(seconds)

    def ended(self, route: str, method: str, status: int, seconds: float, limited: str) -> None:
        """A request ended; `limited` names the lane in which there was no budget, or none."""
        which = route, method if method in _METHODS else "other", status
        counted = self._ended.get(which)
        if counted is None:
            counted = self._ended[which] = self._requests.labels(*which)
        counted.inc()
        self._request_s.observe(seconds)
        if limited:
            self._limited.labels(limited).inc()

    def text(self) -> bytes:
        """As Prometheus reads it."""
        return generate_latest(self.registry)


class _Looked(Collector):
    """Gauges that are looked up when somebody asks."""

    def __init__(self, venue: Venue) -> None:
        self._venue = venue
        self.outbox: Outbox | None = None
        self.unknown: Counter[str] = Counter()
        """Callers who were not known, by sort."""
        self._books: dict[str, Any] = {}
        self._at_s = float("-inf")

    async def renew(self) -> None:
        """Look at the books, unless somebody just did or the engine does not run."""
        now_s = time.monotonic()
        if self._venue.phase is Phase.RUNNING and now_s - self._at_s >= FRESH_S:
            self._books = await self._venue.read(lambda engine: _books(engine))
            self._at_s = now_s

    def collect(self) -> Any:
        """Every gauge, with what is known."""
        venue, lanes = self._venue, self._venue.lanes
        yield _gauge(
            "solvent_up", "1 while requests are taken.", {(): venue.phase is Phase.RUNNING}
        )
        yield _gauge("solvent_journal_sequence", "The last durable command.", {(): venue.head})
        yield _gauge(
            "solvent_queue_commands", "Commands that wait.",
            {(str(lane),): lanes.waiting[lane] for lane in Lane}, "lane",
        )  # fmt: skip
        yield _gauge(
            "solvent_queue_refused", "Requests since the start that found their lane full.",
            {(str(lane),): lanes.refused[lane] for lane in Lane}, "lane",
        )  # fmt: skip
        yield _gauge(
            "solvent_unknown_callers", "Requests since the start of who was not known.",
            {(sort,): count for sort, count in self.unknown.items()}, "sort",
        )  # fmt: skip
        for name, what, label in (
            ("accounts", "Accounts by status.", "state"),
            ("calls", "Accounts under a margin call or warning, by level.", "level"),
            ("fund", "What the insurance fund holds, in units of the asset.", "asset"),
            ("arrays_age_seconds", "Age of a rulebook's risk arrays.", "rulebook"),
        ):
            values = self._books.get(name, {})
            yield _gauge(f"solvent_{name}", what, values, label)
        if self.outbox is not None:
            yield _gauge(
                "solvent_webhook_deliveries", "Tries since the start, by outcome.",
                {(one,): count for one, count in self.outbox.counts.items()}, "outcome",
            )  # fmt: skip
            yield _gauge(
                "solvent_webhook_outbox", "What is to be told, by status.",
                {(one,): count for one, count in self.outbox.counted().items()}, "status",
            )  # fmt: skip


def _gauge(name: str, what: str, values: dict[tuple[str, ...], Any], *labels: str) -> Any:
    family = GaugeMetricFamily(name, what, labels=labels)
    for names, value in values.items():
        family.add_metric(names, float(value))
    return family


def _books(engine: Engine) -> dict[str, Any]:
    """What the books are, for gauges: a walk over the accounts."""
    state: State = engine.state
    counts = Counter(one.status for one in state.accounts[FIRST_ACCOUNT:] if one is not None)
    levels = Counter(str(one.level) for one in state.calls.values())
    ages = {
        (name,): (engine.now_ms - int(rules.arrays.as_of_ms)) / _MILLI
        for name, rules in state.rules.items() if rules.arrays is not None
    }  # fmt: skip
    return {
        "accounts": {(name,): count for name, count in counts.items()},
        "calls": {(name,): count for name, count in levels.items()},
        "fund": {(row.asset,): row.insurance for row in money_rows(state)},
        "arrays_age_seconds": ages,
    }  # fmt: skip


router = APIRouter(tags=["health"])


@router.get(
    "/metrics", dependencies=[Depends(Needs(Action.VENUE_READ))], response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)  # fmt: skip
async def metrics(request: Request) -> Response:
    """Everything that is counted, as Prometheus reads it; with a key of the role risk or above
    where callers have keys."""
    found: Metrics = request.app.state.metrics
    await found.looked.renew()
    return Response(found.text(), media_type=MEDIA)


def measure(app: FastAPI, venue: Venue) -> Metrics:
    """Count what an application does, and show it at `/metrics`."""
    found = Metrics(venue)
    app.state.metrics = found
    app.include_router(router)
    return found
