"""Metrics: that they count what happens, that every one of the example dashboard exists; health."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from solvent.host import Engine
from solvent.service.callers import Role
from solvent.service.lanes import Lane
from tests.engines import ROOT
from tests.secured import OWN, Secured
from tests.services import made

GRAFANA = ROOT / "examples" / "grafana.json"
_NAME = re.compile(r"\bsolvent_[a-z_]+")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    home = tmp_path_factory.mktemp("metrics")
    with Secured(made(home), home / "vault", tend=True, tend_every_ms=50) as found:
        yield found


def values(http: httpx.Client) -> dict[str, float]:
    answer = http.get("/metrics")
    assert answer.status_code == 200
    found = {}
    for family in text_string_to_metric_families(answer.text):
        for one in family.samples:
            labels = ",".join(f"{k}={v}" for k, v in sorted(one.labels.items()))
            found[f"{one.name}{{{labels}}}"] = one.value
    return found


def test_what_is_counted(served: Secured) -> None:
    with served.bearer(Role.ADMIN) as http, served.http() as stranger:
        before = values(http)
        assert stranger.get("/metrics").status_code == 401
        assert http.post(f"/v1/accounts/{OWN}/deposits", json={"asset": "USDC", "amount": "1"}
                         ).status_code == 201  # fmt: skip
        told = {"asset": "USDC", "amount": "1000000000000", "reference": "too much"}
        assert http.post(f"/v1/accounts/{OWN}/withdrawals", json=told).status_code == 409
        stranger.get("/v1/keys", headers={"authorization": "Bearer no"})
        served.app.state.metrics.looked._at_s = float("-inf")
        after = values(http)

    def change(name: str) -> float:
        return after.get(name, 0.0) - before.get(name, 0.0)

    route = "/v1/accounts/{account}/deposits"
    assert change(f"solvent_requests_total{{method=POST,route={route},status=201}}") == 1
    assert change("solvent_commands_total{kind=deposit}") == 1
    (rejected,) = [name for name in after if name.startswith("solvent_rejections_total")]
    assert change(rejected) == 1
    assert change("solvent_commit_seconds_count{}") >= 2
    assert change("solvent_unknown_callers{sort=unauthorised}") == 1
    assert after["solvent_accounts{state=open}"] >= 12
    assert after["solvent_up{}"] == 1
    assert after["solvent_journal_sequence{}"] == served.venue.head
    assert after["solvent_queue_commands{lane=relief}"] == 0
    assert "solvent_fund{asset=USDC}" in after
    assert "solvent_arrays_age_seconds{rulebook=deribit-pm}" in after
    assert after["solvent_webhook_outbox{status=dead}"] == 0


def test_tick_to_verdict(served: Secured) -> None:
    from tests.test_webhooks import falls

    with served.bearer(Role.ADMIN) as http:
        before = values(http)["solvent_tick_to_verdict_seconds_count{}"]
        served.venue.submit_from_thread(falls("metrics", 0.99))
        for _ in range(200):
            after = values(http)["solvent_tick_to_verdict_seconds_count{}"]
            if after > before:
                return
    raise AssertionError("nobody was looked at")


def test_every_metric_of_the_dashboard_exists(served: Secured) -> None:
    document = json.loads(GRAFANA.read_text("utf-8"))
    asked = {
        name for panel in document["panels"] for target in panel.get("targets", ())
        for name in _NAME.findall(target["expr"])
    }  # fmt: skip
    assert len(asked) >= 12
    with served.bearer(Role.ADMIN) as http:
        http.get("/metrics")
        text = http.get("/metrics").text
    known = set()
    for line in re.findall(r"^# TYPE (\S+) (\S+)", text, re.MULTILINE):
        name, kind = line
        known |= {
            name,
            *(f"{name}_{end}" for end in ("bucket", "sum", "count") if kind == "histogram"),
        }
    assert asked <= known, sorted(asked - known)
    ids = [panel["id"] for panel in document["panels"]]
    assert len(ids) == len(set(ids))


def test_readiness_tells_the_truth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = made(tmp_path)
    with Secured(url, tmp_path / "vault", arrays_age_max_s=60) as served, served.http() as http:
        found = http.get("/health/ready").json()
        assert found["phase"] == "running"
        assert found["arrays_age_ms"] == 0
        assert 0 <= found["lag_ms"] < 10_000
        told: dict[str, int] = {}
        monkeypatch.setattr(
            Engine, "now_ms", property(lambda self: self.state.log.time_ms + told["later"])
        )
        for told["later"], status in ((60_000, 200), (60_001, 503)):
            answer = http.get("/health/ready")
            assert answer.status_code == status
            if status == 503:
                assert "arrays 60.0 s old" in answer.json()["detail"]
        told["later"] = 0
        monkeypatch.setattr(served.venue.lanes, "_batch_s", 10.0)
        served.venue.lanes.waiting[Lane.ORDINARY] += 100
        answer = http.get("/health/ready")
        assert (answer.status_code, "would wait" in answer.text) == (503, True)
        served.venue.lanes.waiting[Lane.ORDINARY] -= 100
        assert http.get("/health/live").status_code == 200
