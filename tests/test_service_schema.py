"""Generated calls of every route that the schema has: no fault of ours, every answer as it says."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.services import PERPETUAL, WAIT_S, Served, made

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")

CALLS = 300
CALLS_SOAK = 20_000
NOT_NOW = 0
"""Counts answers that said: not now."""
_CHECKS = (
    "not_a_server_error", "status_code_conformance", "content_type_conformance",
    "response_schema_conformance", "response_headers_conformance",
)  # fmt: skip


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(made(tmp_path_factory.mktemp("schema")), in_flight_max=64) as found:
        yield found


def checks() -> list[Any]:
    from schemathesis import checks as known

    known.load_all_checks()
    return [known.CHECKS.get_one(name) for name in _CHECKS]


ASKED_MAX = 20
"""So often a call is made again that is told to come again: a busy machine says 503."""
KNOWN = {"account": "u5", "symbol": PERPETUAL, "name": "deribit-pm", "sequence": 7, "order": "o1"}
"""What a path may name that is there."""


def called(served: Served, calls: int, seed_: int) -> Counter[int]:
    """At least so many calls over all routes; statuses that were answered."""
    schema = schemathesis.openapi.from_url(f"{served.url}/v1/openapi.json")
    operations = [one.ok() for one in schema.get_all_operations()]
    statuses: Counter[int] = Counter()
    held = checks()
    while (done := statuses.total() - statuses[NOT_NOW]) < calls:
        each = max(1, (calls - done) // len(operations))
        for operation in operations:
            _call(operation, min(each, 200), seed_, held, statuses)
        seed_ += 1
    return statuses


def _call(operation: Any, most: int, seed_: int, held: list[Any], statuses: Counter[int]) -> None:
    @seed(seed_)
    @settings(
        max_examples=most, deadline=None, database=None, suppress_health_check=list(HealthCheck),
        phases=(Phase.explicit, Phase.generate),
    )  # fmt: skip
    @given(case=operation.as_strategy(), known=st.booleans())
    def check(case: Any, known: bool) -> None:
        if known:
            names = case.path_parameters or {}
            names.update({name: KNOWN[name] for name in names if name in KNOWN})
        answer = _answered(case, held, statuses)
        statuses[answer.status_code] += 1
        case.validate_response(answer, checks=held)

    check()


def _answered(case: Any, held: list[Any], statuses: Counter[int]) -> Any:
    """The answer of a call, asked for again as clients do where the service says that it has no
    time now: what says so keeps to the schema too, and has a code and `Retry-After`."""
    for _ in range(ASKED_MAX):
        answer = case.call(timeout=WAIT_S)
        if answer.status_code != 503:
            break
        told = answer.json()
        assert told["code"] == "OVERLOADED", told
        assert told["retry_after_ms"] > 0, told
        case.validate_response(answer, checks=held[1:])
        statuses[NOT_NOW] += 1
        time.sleep(told["retry_after_ms"] / 1e3)
    return answer


def test_every_route_keeps_to_its_schema(served: Served) -> None:
    found = called(served, CALLS, 1)
    assert max(found) < 500
    assert found[200] > 60
    assert served.venue.phase == "running"


@pytest.mark.soak
def test_twenty_thousand_calls_keep_to_the_schema(served: Served) -> None:
    """`SCHEMA_CALLS` and `SCHEMA_SEED` make fewer, or others."""
    calls = int(os.environ.get("SCHEMA_CALLS", CALLS_SOAK))
    found = called(served, calls, int(os.environ.get("SCHEMA_SEED", "1")))
    sys.stdout.write(f"{found.total() - found[NOT_NOW]:,} calls: {dict(sorted(found.items()))}\n")
    assert max(found) < 500, found
    assert found.total() - found[NOT_NOW] >= calls
