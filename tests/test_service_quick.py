"""The short way of what-ifs (`service.quick`) answers as their route does: statuses, headers and
bodies, and what is remembered of it, whoever asks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, cast

import httpx
import pytest
from fastapi import FastAPI

from solvent.service.callers import Role
from solvent.service.quick import Quick
from solvent.service.security.masking import Secret
from solvent.service.security.sessions import COOKIE, CSRF_HEADER
from tests.secured import OTHER, OWN, PASSWORD, Secured
from tests.services import CALL, PERPETUAL, Served, made

PATH = "/v1/whatif"
PORTFOLIO = {
    "positions": [{"symbol": CALL, "lots": 3}, {"symbol": PERPETUAL, "lots": -2}],
    "balances": {"USDC": "25000"},
}  # fmt: skip
GOOD = json.dumps({"portfolio": PORTFOLIO}).encode()
ANEW = "solvent-request-id"
"""A new one with every request: what else an answer has is the same."""
Asking = Callable[[httpx.AsyncClient], Awaitable[Sequence[httpx.Response]]]


class Found(NamedTuple):
    """As much of an answer as is the same each time."""

    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes


def way(app: FastAPI, asking: Asking, *, short: bool) -> list[Found]:
    """The answers by the short way, or by the route."""
    kept, stack = list(app.user_middleware), app.middleware_stack
    assert any(cast(Any, one.cls) is Quick for one in kept)

    async def live() -> Sequence[httpx.Response]:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
            return await asking(http)

    app.middleware_stack = None
    if not short:
        app.user_middleware = [one for one in kept if cast(Any, one.cls) is not Quick]
    try:
        answers = asyncio.run(live())
    finally:
        app.user_middleware, app.middleware_stack = kept, stack
    return [
        Found(
            one.status_code,
            sorted((k, v) for k, v in one.headers.multi_items() if k != ANEW),
            one.content,
        )
        for one in answers
    ]


def posted(*headers: Mapping[str, str], content: bytes = GOOD) -> Asking:
    """The same question with these headers, one after the other."""

    async def asking(http: httpx.AsyncClient) -> Sequence[httpx.Response]:
        return [await http.post(PATH, content=content, headers=one) for one in headers]

    return asking


# ── everybody is let in ──────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(made(tmp_path_factory.mktemp("quick"))) as found:
        yield found


BODIES: list[tuple[Any, int]] = [
    ({"portfolio": PORTFOLIO, "changes": {"add": [{"symbol": PERPETUAL, "lots": 5}]}}, 200),
    ({"account": "u1"}, 200),
    ({"portfolio": PORTFOLIO, "changes": {"close": ["NONE"]}}, 404),
    ({"portfolio": PORTFOLIO | {"positions": [{"symbol": PERPETUAL, "size": 0.5}]}}, 422),
    ({"portfolio": PORTFOLIO, "rulebook": "none"}, 404),
    ({"account": "nobody"}, 404),
    ({"account": "u1", "portfolio": PORTFOLIO}, 422),
    (b"{", 422),
    (b"", 422),
    (b"\xff", 422),
    (b"[" * 40, 422),
    (b" " * (1 << 20) + b"{}", 413),
]


@pytest.mark.parametrize(("body", "status"), BODIES)
def test_the_short_way_answers_as_the_route_does(served: Served, body: Any, status: int) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    asking = posted({}, content=content)
    (found,) = way(served.app, asking, short=True)
    assert found.status == status
    assert [found] == way(served.app, asking, short=False)


@pytest.mark.parametrize(
    "headers", [{"host": "evil.example"}, {"origin": "https://evil.example"}, {"origin": "null"}]
)
def test_another_site_s_page_is_refused_by_either(served: Served, headers: dict[str, str]) -> None:
    (found,) = way(served.app, posted(headers), short=True)
    assert found.status == 401
    assert [found] == way(served.app, posted(headers), short=False)


# ── callers have keys ────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    home = tmp_path_factory.mktemp("quick keyed")
    with Secured(made(home), home / "vault", rate_per_s=1, rate_burst=20) as found:
        object.__setattr__(found.security.callers, "clock_ns", lambda: 1)
        yield found


Seen = tuple[list[Found], dict[str, int], list[tuple[str, str, str, str]]]


def either(secured: Secured, asking: Asking) -> list[int]:
    """The statuses by either way, which are the same to the byte, from full budgets, with the same
    callers counted as not known, and the same in the record of what is privileged."""
    first, second = (_seen(secured, asking, short=short) for short in (True, False))
    assert first == second
    return [one.status for one in first[0]]


def _seen(secured: Secured, asking: Asking, *, short: bool) -> Seen:
    security = secured.security
    # Budgets as they were, and nonces that were not seen.
    security.callers.__post_init__()
    security.callers._nonces._floor_ms = secured.clock() - 5_000
    security.callers.refused.clear()
    before = _last(secured)
    found = way(secured.app, asking, short=short)
    rows = security.audit.read(after=before)
    told = [(one.who, one.what, one.whose, one.outcome) for one in rows]
    return found, dict(security.callers.refused), told


def _last(secured: Secured) -> int:
    """The newest entry of the record."""
    last = 0
    while rows := secured.security.audit.read(after=last):
        last = rows[-1].number
    return last


def bearer(whole: Secret) -> dict[str, str]:
    return {"authorization": f"Bearer {whole.reveal()}"}


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("account", [None, OWN, OTHER, "nobody"])
def test_every_role_is_answered_alike(secured: Secured, role: Role, account: str | None) -> None:
    headers = {} if role is Role.PUBLIC else bearer(secured.key(role)[1])
    content = GOOD if account is None else json.dumps({"account": account}).encode()
    (status,) = either(secured, posted(headers, content=content))
    bound = role in (Role.READER, Role.TRADER)
    if role is Role.PUBLIC:
        assert status == 401
    elif account == "nobody":
        assert status == (403 if bound else 404)
    else:
        assert status == (403 if bound and account == OTHER else 200)


def test_credentials_that_are_none_are_refused_alike(secured: Secured) -> None:
    name, revoked = secured.key(Role.TRADER)
    secured.security.keys.revoke(name, secured.clock())
    _, late = secured.key(Role.TRADER, expires_ms=secured.clock() + 1)
    secured.clock.now_ms += 1
    for headers in (
        bearer(revoked), bearer(late), bearer(Secret("svk_no.svs_no")), bearer(Secret("svt_no")),
        {"authorization": "Basic !"}, {"authorization": "Digest x"},
        {"authorization": "Solvent-HMAC-SHA256 id=a"}, {"authorization": ""},
    ):  # fmt: skip
        assert either(secured, posted(headers)) == [401], headers


def test_signatures_are_checked_alike(secured: Secured) -> None:
    _, whole = secured.key(Role.TRADER)

    def signed(method: str = "POST", target: str = PATH, **told: Any) -> dict[str, str]:
        return secured.signed(whole, method, target, told.pop("body", GOOD), **told)

    right = signed()
    # One that is sent again is refused, and so is one of another request.
    assert either(secured, posted(right, right, signed())) == [200, 401, 200]
    for wrong in (
        signed(body=GOOD + b" "), signed("GET"), signed(target=PATH + "?"),
        signed(nonce="no nonce"), signed(timestamp_ms=secured.clock() - 60_000),
        signed(timestamp_ms=secured.clock() + 60_000), signed(timestamp_ms=0),
    ):  # fmt: skip
        assert either(secured, posted(wrong)) == [401], wrong
    early = signed(timestamp_ms=secured.clock() - 6_000)
    (found,) = way(secured.app, posted(early), short=True)
    assert (found.status, json.loads(found.body)["code"]) == (401, "SIGN_AGAIN")
    assert "retry-after" in dict(found.headers)
    assert either(secured, posted(early)) == [401]


def test_two_who_call_at_once_are_refused_alike(secured: Secured) -> None:
    told = [("authorization", bearer(secured.key(Role.TRADER)[1])["authorization"])] * 2

    async def asking(http: httpx.AsyncClient) -> Sequence[httpx.Response]:
        return [await http.post(PATH, content=GOOD, headers=told)]

    assert either(secured, asking) == [401]


def test_sessions_ask_from_our_own_pages_alone(secured: Secured) -> None:
    security = secured.security
    user = security.users.put(
        name="nora", role=Role.TRADER, accounts=[OWN], password=Secret(PASSWORD),
        now_ms=secured.clock(),
    )  # fmt: skip
    cookie = {"cookie": f"{COOKIE}={security.sessions.begin(user).reveal()}"}
    with secured.http() as http:
        token = http.get("/v1/session", headers=cookie).json()["csrf"]
    ours = {**cookie, CSRF_HEADER: token, "origin": "http://127.0.0.1"}
    wrong = [
        cookie, {**ours, CSRF_HEADER: "0" * 32}, {**ours, "origin": "https://evil.example"},
        {"cookie": f"{COOKIE}=none"},
    ]  # fmt: skip
    assert either(secured, posted(ours, *wrong)) == [200, *(401 for _ in wrong)]


def test_too_much_is_refused_alike(secured: Secured) -> None:
    headers = bearer(secured.key(Role.TRADER)[1])
    own = posted(*[headers] * 22, content=json.dumps({"account": OWN}).encode())
    assert either(secured, own) == [200] * 20 + [429] * 2
    (*_, last) = way(secured.app, own, short=True)
    assert dict(last.headers)["retry-after"] == "1"
    # What cannot be understood has its price too.
    bad = posted(*[headers] * 21, content=b"{")
    assert either(secured, bad) == [422] * 20 + [429]
    # Who is not known is slowed down.
    assert (
        either(secured, posted(*[bearer(Secret("svk_no.svs_no"))] * 32)) == [401] * 30 + [429] * 2
    )
