"""Twenty secrets are planted everywhere, used rightly and wrongly, and then looked for."""

from __future__ import annotations

import base64
import io
import json
import logging
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from solvent.errors import BadInput
from solvent.service.callers import Role
from solvent.service.security.masking import Secret, install, masked
from solvent.service.security.sessions import COOKIE, CSRF_HEADER
from solvent.service.settings import load_settings
from tests.secured import OWN, Secured
from tests.services import made

PASSWORDS = ("Kanarienvogel-eins-9d1f", "Kanarienvogel-zwei-77ab", "Kanarienvogel-drei-c0de")
HOOK_PATH = "Kanarienvogel-haken-4b6e"
URL_PASSWORD = "Kanarienvogel-url-5a5a"


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What the process would log, at its most talkative."""
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    stream = io.StringIO()
    install("debug", as_json=True, stream=stream)
    yield stream
    root.handlers[:] = before
    root.setLevel(level)


class Planted:
    """The canaries: where each was planted, and everything that was answered since."""

    def __init__(self) -> None:
        self.canaries: dict[str, str] = {}
        self.heard: list[str] = []

    def add(self, where: str, canary: str) -> str:
        self.canaries[where] = canary
        return canary

    def hear(self, answer: httpx.Response) -> httpx.Response:
        self.heard.append(f"{answer.status_code} {dict(answer.headers)} {answer.text}")
        return answer

    def found_in(self, text: str) -> list[str]:
        return [where for where, canary in self.canaries.items() if canary in text]


def plant(served: Secured, planted: Planted) -> dict[str, Any]:
    """Keys, tokens, sessions, passwords, webhooks: 20 of them."""
    keys = {}
    for role in (Role.READER, Role.TRADER, Role.RISK, Role.CLEARING, Role.ADMIN):
        _, whole = served.key(role, owner=f"{role} canary")
        planted.add(f"secret of {role}", whole.reveal().partition(".")[2])
        keys[role] = whole.reveal()
    told: dict[str, Any] = {"keys": keys, "tokens": [], "cookies": []}
    with served.http() as http:
        for role in (Role.READER, Role.ADMIN):
            bearer = {"authorization": f"Bearer {keys[role]}"}
            token = http.post("/v1/token", headers=bearer).json()["access_token"]
            told["tokens"].append(planted.add(f"token of {role}", token))
        basic = base64.b64encode(keys[Role.TRADER].replace(".", ":").encode()).decode()
        told["basic"] = planted.add("basic header", basic)
        bearer = {"authorization": f"Bearer {keys[Role.ADMIN]}"}
        for number in range(2):
            url = f"https://203.0.113.9/{HOOK_PATH}"
            if number == 0:
                # An address of the documentation's network is no target.
                planted.hear(http.post("/v1/webhooks", json={"url": url}, headers=bearer))
            url = f"https://1.1.1.1/{HOOK_PATH}"
            hook = http.post("/v1/webhooks", json={"url": url}, headers=bearer).json()
            planted.add(f"webhook secret {number}", hook["secret"])
        planted.add("webhook path", HOOK_PATH)
        planted.add("password in a webhook's URL", URL_PASSWORD)
        url = f"https://user:{URL_PASSWORD}@hooks.example.com/"
        planted.hear(http.post("/v1/webhooks", json={"url": url}, headers=bearer))
    for number, password in enumerate(PASSWORDS):
        planted.add(f"password {number}", password)
    for number in range(2):
        user = served.security.users.put(
            name=f"canary {number}", role=Role.TRADER, accounts=[OWN],
            password=Secret(PASSWORDS[number]), now_ms=served.clock(),
        )  # fmt: skip
        cookie = served.security.sessions.begin(user).reveal()
        told["cookies"].append(planted.add(f"cookie {number}", cookie))
        caller = served.security.sessions.find(cookie)
        planted.add(f"csrf {number}", served.security.sessions.csrf(caller))
    master = (served.security.vault.home / "master.key").read_text().strip()
    planted.add("master key", master)
    return told


def use(served: Secured, planted: Planted, told: dict[str, Any]) -> None:
    """Rightly, and in every wrong place that somebody may think of."""
    with served.http() as http:
        for name, canary in planted.canaries.items():
            wrong = canary[:-1] + "!"
            for path in (f"/v1/accounts/{OWN}", "/v1/keys"):
                signed = f"deri-hmac-sha256 id=x,ts=1,sig={canary},nonce=n"
                bearers = f"Bearer {canary}", f"Bearer svk_1.{canary}", f"Basic {canary}"
                for value in (*bearers, signed, canary):
                    planted.hear(http.get(path, headers={"authorization": value}))
            cookie = {"cookie": f"{COOKIE}={wrong}", CSRF_HEADER: canary}
            planted.hear(http.delete(f"/v1/accounts/{OWN}/orders", headers=cookie))
            params = {"client_id": "x", "client_secret": canary}
            planted.hear(http.get("/api/v2/public/auth", params=params))
            assert name
        for whole in told["keys"].values():
            bearer = {"authorization": f"Bearer {whole}"}
            for path in (f"/v1/accounts/{OWN}", "/v1/keys", "/v1/webhooks", "/v1/session",
                         "/v1/privileged", "/v1/proposals", "/v1/journal", "/metrics"):  # fmt: skip
                planted.hear(http.get(path, headers=bearer))
        for token in told["tokens"]:
            answer = http.get(f"/v1/accounts/{OWN}", headers={"authorization": f"Bearer {token}"})
            assert planted.hear(answer).status_code == 200
        answer = http.get(
            f"/v1/accounts/{OWN}", headers={"authorization": f"Basic {told['basic']}"}
        )
        assert planted.hear(answer).status_code == 200
        for cookie in told["cookies"]:
            answer = http.get(f"/v1/accounts/{OWN}", headers={"cookie": f"{COOKIE}={cookie}"})
            assert planted.hear(answer).status_code == 200
        admin = {"authorization": f"Bearer {told['keys'][Role.ADMIN]}"}
        # A body with a field too many, of a wrong type, and what is privileged.
        for canary in planted.canaries.values():
            body = {"owner": "x", "role": "reader", "password": canary}
            planted.hear(http.post("/v1/keys", json=body, headers=admin))
            wrong_body = {"owner": {"secret": canary}, "role": canary}
            planted.hear(http.post("/v1/keys", json=wrong_body, headers=admin))
        deposit = {"asset": "USDC", "amount": "1"}
        answer = http.post(f"/v1/accounts/{OWN}/deposits", json=deposit, headers=admin)
        assert answer.status_code == 201
        planted.hear(http.get("/v1/broken", headers=admin))


def test_secrets_are_nowhere(tmp_path: Path, log: io.StringIO) -> None:
    planted = Planted()
    with Secured(made(tmp_path), tmp_path / "vault", log_format="json") as served:

        @served.app.get("/v1/broken")
        async def broken() -> None:
            # A fault whose own words have secrets in them, as faults of libraries do.
            password = f"postgresql://solvent:{URL_PASSWORD}@db/venue?password={PASSWORDS[2]}"
            raise RuntimeError(f"{password} {told['keys'][Role.ADMIN]} {told['tokens'][0]}")

        told = plant(served, planted)
        assert len(planted.canaries) >= 20
        use(served, planted, told)
        logging.getLogger("x").info("cookie: %s=%s", COOKIE, told["cookies"][0])
        logging.getLogger("x").warning("headers %s", {"Authorization": f"Basic {told['basic']}"})
        assert planted.found_in(repr(served.security)) == []
        assert planted.found_in(repr(vars(served.security.callers))) == []
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    assert any("traceback" in one for one in lines), "the fault is in the log"
    assert planted.found_in(log.getvalue()) == []
    for answer in planted.heard:
        assert planted.found_in(answer) == [], answer
    # What a disk has: neither the journal, nor the vault, but for where hooks go and its own key.
    inside = {"webhook path", "master key"}
    for file in [one for one in tmp_path.rglob("*") if one.is_file()]:
        content = file.read_bytes().decode("latin-1")
        found = set(planted.found_in(content))
        assert found <= (inside if file.parent.name == "vault" else set()), file


def test_masks() -> None:
    for text in (
        "Authorization: Bearer abc", "{'authorization': 'Basic abc='}", '"password": "abc"',
        "client_secret=abc&x=1", "Cookie: solvent_session=abc", "sig=abc,nonce=n",
        "svs_abcdefghij", "https://u:abc@h/p", 'b\'password\': b"abc"',
    ):  # fmt: skip
        assert "abc" not in masked(text), masked(text)
    assert masked("secretary: abc, 3 commands") == "secretary: abc, 3 commands"
    one = Secret("abc")
    assert "abc" not in f"{one} {one!r} {[one]} {vars}"
    with pytest.raises(TypeError):
        pickle.dumps(one)


def test_settings_do_not_tell_a_password() -> None:
    url = f"postgresql://solvent:{URL_PASSWORD}@db/venue"
    with pytest.raises(BadInput) as caught:
        load_settings(flags={"url": url, "port": -1})
    assert URL_PASSWORD not in str(caught.value)
