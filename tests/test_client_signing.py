"""Clients that sign: the secret never travels, and no attempt repeats another's signature."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import solvent as sv
from solvent.client import Client, ServiceError, clients, connect, connect_async
from solvent.client.signing import Signer
from solvent.service.callers import Role
from solvent.service.security.masking import Secret
from solvent.service.security.signing import header_of, read_header
from tests.secured import OTHER, OWN, Secured
from tests.services import PERPETUAL, made

Told = Callable[[Role], dict[str, str]]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    home = tmp_path_factory.mktemp("signed")
    with Secured(made(home), home / "vault") as found:
        yield found


@given(
    body=st.binary(max_size=40), nonce=st.text("abz09_.-", min_size=1, max_size=9),
    target=st.sampled_from(["/", "/v1/a%20b?c=d%2F&e", "/v1/accounts/%C3%A9/orders"]),
    method=st.sampled_from(["GET", "post", "DELETE"]),
)  # fmt: skip
@settings(max_examples=30)
def test_both_sides_sign_the_same(body: bytes, nonce: str, target: str, method: str) -> None:
    """Two programs that share nothing but the page that says what is signed."""
    made_here = Signer("svk_1", "svs_2", clock=lambda: 1_790_000_000_123).header(
        method, target, body, nonce=nonce
    )
    assert made_here == header_of(
        "svk_1", Secret("svs_2"), timestamp_ms=1_790_000_000_123, nonce=nonce, method=method,
        target=target, body=body,
    )  # fmt: skip


class Watched(httpx.HTTPTransport):
    """Sends, and keeps what was sent."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[httpx.Request] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request)
        return super().handle_request(request)


@pytest.fixture
def told(served: Secured, monkeypatch: pytest.MonkeyPatch) -> Told:
    """A new key of a role as `connect` takes it; clients sign by the service's clock."""
    monkeypatch.setattr("solvent.client.signing.now_ms", served.clock)

    def made_of(role: Role) -> dict[str, str]:
        name, _, secret = served.key(role)[1].reveal().partition(".")
        return {"key": name, "secret": secret}

    return made_of


def test_signed_calls_are_let_in_and_the_secret_stays(served: Secured, told: Told) -> None:
    wire, key = Watched(), told(Role.TRADER)
    with connect(served.url, transport=wire, **key) as client:
        placed = client.place(OWN, PERPETUAL, "buy", "0.01", "50000", order="so 1/é", key="s-1")
        assert placed.status == "resting"
        assert client.orders(OWN, symbol=PERPETUAL)[0].order == "so 1/é"
        assert client.cancel(OWN, "so 1/é").accepted
        assert client.cancel_all(OWN, symbol=PERPETUAL, side="buy").accepted
        assert client.whatif(account=OWN).before.status == "healthy"
        with pytest.raises(ServiceError, match="403"):
            client.account(OTHER)
        assert key["secret"] not in repr(client)
    signed = [one.headers["authorization"] for one in wire.seen]
    assert len(wire.seen) == 6
    assert len({read_header(one) for one in signed}) == 6
    for one in wire.seen:
        assert key["secret"] not in repr((one.headers.raw, one.url, one.content))
    with served.http() as http:
        for caught in wire.seen:
            # The very same bytes, as whoever has caught them would send them.
            again = http.send(caught)
            assert again.status_code == 401
            assert "this nonce has been used" in again.json()["detail"]


def test_the_asynchronous_client_signs_too(served: Secured, told: Told) -> None:
    async def asked() -> str:
        async with connect_async(served.url, **told(Role.TRADER)) as client:
            return str((await client.account(OWN)).account)

    assert asyncio.run(asked()) == OWN


def test_streams_are_signed(served: Secured, told: Told) -> None:
    with connect(served.url, **told(Role.TRADER)) as client:
        client.place(OWN, PERPETUAL, "buy", "0.01", "40000", order="st-1", key="st-1")
        first = next(client.stream(f"orders.{OWN}", tries=1))
        assert [one["order"] for one in first.data] == ["st-1"]
        client.cancel(OWN, "st-1")


def test_what_was_signed_too_early_is_signed_again(
    served: Secured, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service that has just begun refuses what was signed before it, and says for how long."""
    _, whole = served.key(Role.READER)
    then = served.clock.now_ms
    monkeypatch.setattr(served.clock, "now_ms", then - 9_500)
    with served.http() as http:
        target = f"/v1/accounts/{OWN}"
        refused = http.get(target, headers=served.signed(whole, "GET", target))
        assert refused.status_code == 401
        assert refused.json()["code"] == "SIGN_AGAIN"
        assert refused.json()["retry_after_ms"] <= 2_000
        assert refused.headers["retry-after"] in ("1", "2")
    waits: list[str] = []

    def pause(attempt: int, headers: Mapping[str, str]) -> float:
        assert attempt == 0
        waits.append(headers["retry-after"])
        served.clock.now_ms = then
        return 0.0

    monkeypatch.setattr(clients, "_pause_s", pause)
    with connect(served.url, **told(Role.READER)) as client:
        assert client.account(OWN).account == OWN
    assert waits == ["2"]


def test_each_attempt_is_signed_anew() -> None:
    seen: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers["authorization"])
        if len(seen) < 3:
            raise httpx.ReadError("lost", request=request)
        return httpx.Response(404, json={"code": "NOT_FOUND", "detail": "none"})

    with (
        Client("http://x/y", "svk_1", secret="svs_2", transport=httpx.MockTransport(answer)) as one,
        pytest.raises(ServiceError),
    ):
        one.account("a")
    assert len(set(seen)) == 3


@pytest.mark.parametrize(
    ("key", "secret"), [(None, "svs_2"), ("svk_1.svs_2", "svs_2"), ("svk_1", "svk_1.svs_2")]
)
def test_a_secret_needs_its_key(key: str | None, secret: str) -> None:
    with pytest.raises(sv.BadInput) as caught:
        connect("http://x", key, secret=secret)
    assert "svs_2" not in str(caught.value)
