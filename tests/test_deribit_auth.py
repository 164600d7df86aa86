"""`public/auth` of the Deribit face, and who a connection takes a caller for afterwards."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from solvent.service.callers import Role
from solvent.service.security.masking import Secret
from solvent.service.security.signing import signature_of, text_of
from solvent.service.ws.socket import NOT_ANY_MORE
from tests.secured import OTHER, OWN, Secured
from tests.services import Served, made


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    home = tmp_path_factory.mktemp("auth")
    with Secured(made(home), home / "vault", public_market=False) as found:
        yield found


def asked(served: Served, name: str, **params: Any) -> dict[str, Any]:
    with served.http() as http:
        found: dict[str, Any] = http.post(f"/api/v2/{name}", json=params).json()
    return found


def said(socket: Any, name: str, **params: Any) -> dict[str, Any]:
    socket.send(json.dumps({"id": 1, "method": name, "params": params}))
    found: dict[str, Any] = json.loads(socket.recv())
    return found


def credentials(secured: Secured, role: Role = Role.TRADER) -> tuple[str, dict[str, str]]:
    """A new key's id, and its grant."""
    id_, whole = secured.key(role)
    secret = whole.reveal().partition(".")[2]
    return id_, {"grant_type": "client_credentials", "client_id": id_, "client_secret": secret}


def signed(secured: Secured, grant: dict[str, str], nonce: str, **told: Any) -> dict[str, Any]:
    at = secured.clock()
    text = f"{at}\n{nonce}\n".encode()
    return {
        "grant_type": "client_signature", "client_id": grant["client_id"], "timestamp": at,
        "nonce": nonce, "signature": signature_of(Secret(grant["client_secret"]), text), **told,
    }  # fmt: skip


def websocket(served: Served) -> Any:
    return connect(served.url.replace("http", "ws") + "/ws/api/v2")


def test_a_token_of_http_is_good_until_its_key_is_revoked(secured: Secured) -> None:
    id_, grant = credentials(secured)
    found = asked(secured, "public/auth", **grant, state="mine")["result"]
    assert found["scope"] == "connection account:read trade:read_write"
    assert (found["token_type"], found["expires_in"], found["state"]) == ("bearer", 900, "mine")
    token = found["access_token"]
    assert "result" in asked(secured, "private/get_positions", account=OWN, access_token=token)
    with secured.http() as http:
        http.headers["authorization"] = f"Bearer {token}"
        answer = http.get("/api/v2/private/get_positions", params={"account": OWN}).json()
        assert "result" in answer
    other = asked(secured, "private/get_positions", account=OTHER, access_token=token)
    assert other["error"]["code"] == 13021
    secured.security.keys.revoke(id_, now_ms=secured.clock())
    again = asked(secured, "private/get_positions", account=OWN, access_token=token)
    assert again["error"]["code"] == 13009


@pytest.mark.parametrize("way", ["credentials", "signature"])
def test_a_websocket_remembers_who_it_is(secured: Secured, way: str) -> None:
    id_, grant = credentials(secured, Role.READER)
    told = grant if way == "credentials" else signed(secured, grant, f"n-{way}")
    with websocket(secured) as socket, websocket(secured) as another:
        assert said(socket, "private/get_positions", account=OWN)["error"]["code"] == 13009
        assert said(socket, "public/auth", **told)["result"]["access_token"]
        assert "result" in said(socket, "private/get_positions", account=OWN)
        assert said(another, "private/get_positions", account=OWN)["error"]["code"] == 13009
        secured.security.keys.revoke(id_, now_ms=secured.clock())
        assert said(socket, "private/get_positions", account=OWN)["error"]["code"] == 13009


def test_what_is_wrong_is_13004(secured: Secured) -> None:
    id_, grant = credentials(secured)
    right = signed(secured, grant, "once")
    assert "result" in asked(secured, "public/auth", **right)
    wrong: list[dict[str, Any]] = [
        right,
        grant | {"client_secret": grant["client_secret"][:-1] + "~"},
        grant | {"client_id": "svk_nobody"},
        {"grant_type": "client_credentials", "client_id": id_},
        signed(secured, grant, "late") | {"timestamp": secured.clock() - 3_600_000},
        signed(secured, grant, "data", data="more"),
    ]
    for one in wrong:
        assert asked(secured, "public/auth", **one)["error"]["code"] == 13004, one
    other = asked(secured, "public/auth", grant_type="password")["error"]
    assert (other["code"], other["data"]["param"]) == (-32602, "grant_type")


def test_a_signed_request_is_no_login(secured: Secured) -> None:
    """Who has seen one on its way cannot have its signature stand for `data`."""
    _, grant = credentials(secured)
    at = str(secured.clock())
    secret = Secret(grant["client_secret"])
    head = f"{at}\nseen\n".encode()
    for method, deribit in (("GET", False), ("POST", True)):
        text = text_of(at, "seen", method, "/v1/venue", b"", deribit=deribit)
        caught = {
            "grant_type": "client_signature", "client_id": grant["client_id"],
            "timestamp": int(at), "nonce": "seen", "signature": signature_of(secret, text),
            "data": text.removeprefix(head).decode(),
        }  # fmt: skip
        assert asked(secured, "public/auth", **caught)["error"]["code"] == 13004


def test_what_is_published_asks_who_calls_where_it_is_not_public(secured: Secured) -> None:
    assert asked(secured, "public/get_instruments")["error"]["code"] == 13009
    assert "result" in asked(secured, "public/test")
    token = asked(secured, "public/auth", **credentials(secured)[1])["result"]["access_token"]
    assert asked(secured, "public/get_instruments", access_token=token)["result"]


def test_who_asks_too_much_is_told_10028(tmp_path: Any) -> None:
    with Secured(made(tmp_path), tmp_path / "vault", rate_per_s=1, rate_burst=20) as served:
        _, grant = credentials(served)
        with websocket(served) as socket:
            said(socket, "public/auth", **grant)
            found = [said(socket, "private/get_positions", account=OWN) for _ in range(30)]
            codes = [one.get("error", {}).get("code") for one in found]
            assert codes[0] is None
            assert codes[-1] == 10028
            assert found[-1]["error"]["data"]["wait"] > 0
        wrong = grant | {"client_secret": "svs_wrong"}
        told = (asked(served, "public/auth", **wrong)["error"]["code"] for _ in range(300))
        assert next((code for code in told if code != 13004), None) == 10028


def test_without_keys_there_are_no_tokens(tmp_path: Any) -> None:
    with Served(made(tmp_path)) as served:
        found = asked(served, "public/auth", grant_type="client_credentials", client_id="me")
    assert "access_token" not in found["result"]
    assert "trade:read_write" in found["result"]["scope"]


def test_a_stream_takes_a_key_in_a_message(secured: Secured) -> None:
    _, grant = credentials(secured, Role.READER)
    with connect(secured.url.replace("http", "ws") + "/v1/ws") as socket:
        told = {"op": "auth", "key": grant["client_id"], "secret": "svs_wrong", "id": 1}
        socket.send(json.dumps(told))
        assert json.loads(socket.recv())["code"] == "UNAUTHORIZED"
        socket.send(json.dumps(told | {"secret": grant["client_secret"]}))
        assert json.loads(socket.recv())["op"] == "authenticated"
        socket.send(json.dumps({"op": "subscribe", "id": 2, "channels": [f"fills.{OWN}"]}))
        assert json.loads(socket.recv())["op"] == "subscribed"


def test_a_stream_ends_when_its_key_is_revoked(secured: Secured) -> None:
    """It is told nothing more, though nobody asks again; another's stream goes on."""
    id_, whole = secured.key(Role.TRADER)
    _, other = secured.key(Role.TRADER, owner="another")
    url = secured.url.replace("http", "ws") + "/v1/ws"

    @contextmanager
    def listening(key: Secret) -> Iterator[ClientConnection]:
        headers = {"authorization": f"Bearer {key.reveal()}"}
        with connect(url, additional_headers=headers) as socket:
            socket.send(json.dumps({"op": "subscribe", "channels": [f"fills.{OWN}"]}))
            assert json.loads(socket.recv(10))["op"] == "subscribed"
            yield socket

    with listening(whole) as mine, listening(other) as theirs:
        secured.security.keys.revoke(id_, now_ms=secured.clock())
        with pytest.raises(ConnectionClosed) as ended:
            mine.recv(10)
        assert ended.value.rcvd is not None
        assert ended.value.rcvd.code == NOT_ANY_MORE
        theirs.send(json.dumps({"op": "ping"}))
        assert json.loads(theirs.recv(10))["op"] == "pong"
