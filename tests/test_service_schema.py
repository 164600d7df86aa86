"""Generated calls of every route that the schema has: no fault of ours, every answer as it says."""

from __future__ import annotations

import os
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


KNOWN = {"account": "u5", "symbol": PERPETUAL, "name": "deribit-pm", "sequence": 7, "order": "o1"}
"""What a path may name that is there."""


def called(served: Served, calls: int, seed_: int) -> Counter[int]:
    """At least so many calls over all routes; statuses that were answered."""
    schema = schemathesis.openapi.from_url(f"{served.url}/v1/openapi.json")
    operations = [one.ok() for one in schema.get_all_operations()]
    statuses: Counter[int] = Counter()
    held = checks()
    while statuses.total() < calls:
        each = max(1, (calls - statuses.total()) // len(operations))
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
        answer = case.call(timeout=WAIT_S)
        statuses[answer.status_code] += 1
        case.validate_response(answer, checks=held)

    check()


def test_every_route_keeps_to_its_schema(served: Served) -> None:
    found = called(served, CALLS, 1)
    assert max(found) < 500
    assert found[200] > 60
    assert served.venue.phase == "running"


@pytest.mark.soak
def test_twenty_thousand_calls_keep_to_the_schema(served: Served) -> None:
    calls = int(os.environ.get("SCHEMA_CALLS", CALLS_SOAK))
    found = called(served, calls, int(os.environ.get("SCHEMA_SEED", "1")))
    assert max(found) < 500, found
    assert found.total() >= calls
