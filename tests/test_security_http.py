"""Security over HTTP: every route by every role, signatures, sessions, limits, two persons."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute

from solvent.service.app import create_app
from solvent.service.callers import Action, Needs, Role, Unauthorised
from solvent.service.deribit.rpc import METHODS
from solvent.service.security.audit import Audit
from solvent.service.security.keys import Keys
from solvent.service.security.masking import Secret
from solvent.service.security.rules import RULES, Cell, cell
from solvent.service.security.sessions import COOKIE, CSRF_HEADER
from solvent.service.security.vault import Vault
from tests.secured import MISSING, OTHER, OWN, PASSWORD, Secured
from tests.services import PERPETUAL, made

OPEN_PATHS = {"/health/live", "/health/ready"}
OTHER_KINDS = {"/v1/openapi.json", "/ws/api/v2", "/v1/ws"}
RPC = "/api/v2"
FILLED = {
    "symbol": PERPETUAL, "name": "deribit-pm", "order": "none", "reference": "none",
    "sequence": "1", "number": "999", "id": "none",
}  # fmt: skip


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    home = tmp_path_factory.mktemp("secured")
    with Secured(made(home), home / "vault") as found:
        yield found


@pytest.fixture(scope="module")
def clients(served: Secured) -> Iterator[dict[Role, httpx.Client]]:
    found = {
        role: served.http() if role is Role.PUBLIC else served.bearer(role) for role in Role
    }  # fmt: skip
    yield found
    for one in found.values():
        one.close()


# ── every route, every role, own, other's and missing ────────────────────────────────────────────


def action_of(route: APIRoute) -> Action | None:
    needs = [one.call for one in route.dependant.dependencies if isinstance(one.call, Needs)]
    return needs[0].action if needs else None


def routes_of(served: Secured) -> list[tuple[APIRoute, str]]:
    """Every route and method; one that is not guarded, nor known to be open, fails."""
    found = []
    for route in flat(served.app.routes):
        if not isinstance(route, APIRoute):
            assert _path(route) in OTHER_KINDS, f"{route}: a new kind of route"
            continue
        if route.path.startswith(RPC):
            continue
        if action_of(route) is None:
            assert route.path in OPEN_PATHS, f"{route.path}: no rule"
            continue
        found += [(route, method) for method in sorted(route.methods or ())]
    return found


def flat(routes: Sequence[BaseRoute]) -> Iterator[BaseRoute]:
    """Routes with those of routers that were included."""
    for route in routes:
        inner = getattr(route, "original_router", None)
        if inner is None:
            yield route
        else:
            assert not (inner.prefix and not all(inner.prefix in _path(r) for r in inner.routes))
            yield from flat(inner.routes)


def _path(route: BaseRoute) -> str:
    return str(getattr(route, "path", ""))


def expected(role: Role, action: Action, whose: str) -> str:
    """`in`, `out` (403) or `unknown` (401)."""
    match cell(role, action):
        case Cell.ALL:
            return "in"
        case Cell.OWN if whose == OWN:
            return "in"
        case Cell.NO if role is Role.PUBLIC:
            return "unknown"
    return "out"


def test_every_route_by_every_role(served: Secured, clients: dict[Role, httpx.Client]) -> None:
    routes, cells = routes_of(served), 0
    assert len(routes) > 55
    for route, method in routes:
        action = action_of(route)
        assert action is not None
        assert action in RULES, f"{route.path}: {action} has no rule"
        elsewhere = any(
            getattr(one.call, "_elsewhere", False) for one in route.dependant.dependencies
        )
        has_account = "{account}" in route.path_format
        for whose in (OWN, OTHER, MISSING) if has_account else ("",):
            path = route.path_format.format(**FILLED, account=whose)
            for role, http in clients.items():
                status = http.request(method, path).status_code
                wanted = expected(role, action, OWN if elsewhere else whose)
                told = f"{role} {method} {path}: {status}"
                assert status < 500 or status == 503, told
                assert (status == 403) == (wanted == "out"), told
                assert (status == 401) == (wanted == "unknown"), told
                cells += 1
    assert cells > 550


def test_rpc_methods_have_rules(served: Secured) -> None:
    for name, method in METHODS.items():
        public = method.action in (None, Action.MARKET_READ)
        assert public == name.startswith("public/"), name
        assert method.action is None or method.action in RULES
    with served.http() as http:
        path = "/api/v2/private/get_positions?currency=BTC"
        assert http.get(path).json()["error"]["code"] == 13009


def test_a_route_without_a_rule_would_be_found(served: Secured) -> None:
    app = create_app(served.venue, served.settings)

    @app.get("/v1/forgotten")
    async def forgotten() -> None:
        return None

    (route,) = [one for one in flat(app.routes) if _path(one) == "/v1/forgotten"]
    assert isinstance(route, APIRoute)
    assert action_of(route) is None
    assert route.path not in OPEN_PATHS


def test_accounts_named_in_bodies(clients: dict[Role, httpx.Client]) -> None:
    trader = clients[Role.TRADER]
    told = {"source": OTHER, "target": OWN, "asset": "USDC", "amount": "1"}
    assert trader.post("/v1/transfers", json=told).status_code == 403
    told = {"source": OWN, "target": OTHER, "asset": "USDC", "amount": "1"}
    assert trader.post("/v1/transfers", json=told).status_code == 403
    assert trader.get(f"/v1/accounts/{OWN}").status_code == 200
    assert trader.get("/v1/accounts").status_code == 403


# ── signatures ───────────────────────────────────────────────────────────────────────────────────


def test_signed_requests(served: Secured) -> None:
    _, whole = served.key(Role.TRADER, owner="alice")
    body = b'{"symbol":"BTC_USDC-PERPETUAL","side":"buy","size":"0.01","price":"1000"}'
    path = f"/v1/accounts/{OWN}/orders"
    with served.http() as http:
        headers = served.signed(whole, "POST", path, body)
        assert http.post(path, content=body, headers=headers).status_code in (201, 409)
        again = http.post(path, content=body, headers=headers)
        assert again.status_code == 401
        assert "nonce" in again.json()["detail"]
        query = f"{path}?limit=5"
        assert http.get(query, headers=served.signed(whole, "GET", query)).status_code == 200
        for method, target, told in (
            ("GET", path, b""), ("POST", query, b""), ("GET", query, b"x"),
        ):  # fmt: skip
            headers = served.signed(whole, method, target, told)
            assert http.get(query, headers=headers).status_code == 401


def test_clocks_are_told_apart(served: Secured) -> None:
    _, whole = served.key(Role.TRADER)
    path = f"/v1/accounts/{OWN}"
    with served.http() as http:
        for skew_ms, status in ((-30_000, 200), (-30_001, 401), (2_000, 200), (2_001, 401)):
            at_ms = served.clock() + skew_ms
            if at_ms < served.clock() - 8_000:
                # The service began ten seconds ago.
                served.clock.now_ms += 40_000
                at_ms = served.clock() + skew_ms
            headers = served.signed(whole, "GET", path, timestamp_ms=at_ms)
            answer = http.get(path, headers=headers)
            assert answer.status_code == status, (skew_ms, answer.text)
            if status == 401:
                assert "clock" in answer.json()["detail"]


def test_deribit_signatures(served: Secured) -> None:
    _, whole = served.key(Role.TRADER)
    name, _, secret = whole.reveal().partition(".")
    target = "/api/v2/private/get_positions?currency=BTC"
    timestamp, nonce = str(served.clock()), "n1"
    text = "\n".join((timestamp, nonce, "GET", target, "", "")).encode()
    signature = hmac.new(secret.encode(), text, hashlib.sha256).hexdigest()
    told = f"deri-hmac-sha256 id={name},ts={timestamp},sig={signature},nonce={nonce}"
    with served.http() as http:
        answer = http.get(target, headers={"authorization": told}).json()
        assert answer["result"] == []
        answer = http.get(target, headers={"authorization": told}).json()
        assert answer["error"]["code"] == 13009


def test_authenticate(served: Secured) -> None:
    name, whole = served.key(Role.TRADER, owner="alice")
    secret = whole.reveal().partition(".")[2]
    callers = served.security.callers
    assert callers.authenticate(name, client_secret=secret).name == "alice"
    timestamp = str(served.clock())
    text = "\n".join((timestamp, "n", "hello")).encode()
    signature = hmac.new(secret.encode(), text, hashlib.sha256).hexdigest()
    told: dict[str, Any] = {"timestamp": timestamp, "nonce": "n", "data": "hello"}
    found = callers.authenticate(name, signature=signature, **told)
    assert (found.name, found.accounts) == ("alice", frozenset({OWN}))
    for wrong in ({"signature": signature}, {"signature": "0" * 64}, {"client_secret": "no"},
                  {"client_secret": ""}):  # fmt: skip
        with pytest.raises(Unauthorised):
            callers.authenticate(name, **wrong, **told)
    with pytest.raises(Unauthorised):
        callers.authenticate("svk_0", client_secret=secret)


def test_revoked_and_expired_in_the_middle(served: Secured) -> None:
    name, whole = served.key(Role.TRADER)
    late, soon = served.key(Role.TRADER, expires_ms=served.clock() + 5_000)
    path = f"/v1/accounts/{OWN}"
    callers = served.security.callers
    caller = callers.by_bearer(whole.reveal())
    with served.http() as http:
        bearer = {"authorization": f"Bearer {whole.reveal()}"}
        token = http.post("/v1/token", headers=bearer).json()["access_token"]
        by_token = {"authorization": f"Bearer {token}"}
        assert http.get(path, headers=by_token).status_code == 200
        assert callers.still(caller) == caller
        # Another process revokes it.
        with_hands = Vault(served.security.vault.home)
        Keys(with_hands).revoke(name, served.clock())
        with_hands.close()
        for headers in (bearer, by_token, served.signed(whole, "GET", path)):
            answer = http.get(path, headers=headers)
            assert answer.status_code == 401
            assert "revoked" in answer.json()["detail"]
        with pytest.raises(Unauthorised, match="revoked"):
            callers.still(caller)
        headers = {"authorization": f"Bearer {soon.reveal()}"}
        assert http.get(path, headers=headers).status_code == 200
        token = http.post("/v1/token", headers=headers).json()["access_token"]
        served.clock.now_ms += 5_000
        assert "expired" in http.get(path, headers=headers).json()["detail"]
        by_token = {"authorization": f"Bearer {token}"}
        assert late in http.get(path, headers=by_token).json()["detail"]


def test_tokens_expire(served: Secured) -> None:
    _, whole = served.key(Role.READER)
    path = f"/v1/accounts/{OWN}"
    with served.http() as http:
        bearer = {"authorization": f"Bearer {whole.reveal()}"}
        token = http.post("/v1/token", headers=bearer).json()
        headers = {"authorization": f"Bearer {token['access_token']}"}
        assert http.get(path, headers=headers).status_code == 200
        changed = token["access_token"][:-1] + ("0" if token["access_token"][-1] != "0" else "1")
        wrong = {"authorization": f"Bearer {changed}"}
        assert http.get(path, headers=wrong).status_code == 401
        served.clock.now_ms += 1_000 * token["expires_in"]
        assert "expired" in http.get(path, headers=headers).json()["detail"]
        # A token is given for a key, not for a session or nobody.
        assert http.post("/v1/token").status_code == 401


# ── sessions ─────────────────────────────────────────────────────────────────────────────────────


def logged_in(served: Secured, name: str, role: Role) -> dict[str, str]:
    """The cookie of somebody new."""
    own = [OWN] if role in (Role.READER, Role.TRADER) else None
    user = served.security.users.put(
        name=name, role=role, accounts=own, password=Secret(PASSWORD), now_ms=served.clock()
    )
    return {"cookie": f"{COOKIE}={served.security.sessions.begin(user).reveal()}"}


def test_sessions_change_things_from_our_own_pages_alone(served: Secured) -> None:
    cookie = logged_in(served, "nora", Role.TRADER)
    path = f"/v1/accounts/{OWN}/orders"
    with served.http() as http:
        told = http.get("/v1/session", headers=cookie).json()
        assert (told["name"], told["role"], told["accounts"]) == ("nora", "trader", [OWN])
        host = served.url.removeprefix("http://")
        ours = {**cookie, CSRF_HEADER: told["csrf"], "origin": f"http://{host}"}
        assert http.delete(path, headers=ours).status_code == 200
        for wrong in (
            cookie, {**ours, CSRF_HEADER: "0" * 32}, {**ours, "origin": "https://evil.example"},
            {**ours, "origin": "null"}, {k: v for k, v in ours.items() if k != CSRF_HEADER},
        ):  # fmt: skip
            assert http.delete(path, headers=wrong).status_code == 401, wrong
        # Another's token is no good.
        other = logged_in(served, "olga", Role.TRADER)
        assert http.delete(path, headers={**ours, **other}).status_code == 401
        assert http.delete("/v1/sessions", headers=ours).json()["count"] == 1
        assert http.get("/v1/session", headers=cookie).status_code == 401
        assert http.get("/v1/session", headers=other).status_code == 200


def test_sessions_end(served: Secured) -> None:
    sessions, users = served.security.sessions, served.security.users
    cookie = logged_in(served, "petra", Role.READER)["cookie"].partition("=")[2]
    served.clock.now_ms += 1_000 * 1_799
    assert sessions.find(cookie).name == "petra"
    served.clock.now_ms += 1_000 * 1_799
    assert sessions.find(cookie).name == "petra"
    served.clock.now_ms += 1_000 * 1_800
    with pytest.raises(Unauthorised, match="expired"):
        sessions.find(cookie)
    # However much is asked, it ends after half a day.
    cookie = logged_in(served, "petra", Role.READER)["cookie"].partition("=")[2]
    for _ in range(43_200 // 1_000):
        served.clock.now_ms += 1_000_000
        assert sessions.find(cookie).name == "petra"
    served.clock.now_ms += 200_000
    with pytest.raises(Unauthorised, match="expired"):
        sessions.find(cookie)
    # Nobody who is disabled goes on, by session or key.
    cookie = logged_in(served, "petra", Role.READER)["cookie"].partition("=")[2]
    _, whole = served.key(Role.READER, owner="petra")
    assert served.security.callers.by_bearer(whole.reveal()).name == "petra"
    users.disable("petra")
    for wrong in (cookie, "svc_none"):
        with pytest.raises(Unauthorised):
            sessions.find(wrong)
    with pytest.raises(Unauthorised, match="disabled"):
        served.security.callers.by_bearer(whole.reveal())


# ── two persons, and the record ──────────────────────────────────────────────────────────────────


def test_two_persons(served: Secured) -> None:
    one, two = (served.bearer(Role.RISK, owner=name) for name in ("rita", "rolf"))
    again = served.bearer(Role.ADMIN, owner="rita")
    trader = served.bearer(Role.TRADER)
    command = {
        "do": "freeze_account", "key": "x", "actor": "somebody", "account": OTHER,
        "reason": "too quick",
    }  # fmt: skip
    told = {"what": "too quick", "command": command}
    assert trader.post("/v1/proposals", json=told).status_code == 403
    made = one.post("/v1/proposals", json=told)
    assert made.status_code == 201, made.text
    number = made.json()["number"]
    assert made.json()["command"]["actor"] == "rita"
    assert made.json()["what"] == "freeze_account: too quick"
    status = one.get(f"/v1/accounts/{OTHER}").json()["status"]
    assert status == "open"
    for same in (one, again):
        answer = same.post(f"/v1/proposals/{number}/approve")
        assert answer.status_code == 409
        assert "another person" in answer.json()["detail"]
    assert trader.post(f"/v1/proposals/{number}/approve").status_code == 403
    done = two.post(f"/v1/proposals/{number}/approve").json()
    assert (done["status"], done["by"], done["approved_by"]) == ("done", "rita", "rolf")
    assert one.get(f"/v1/accounts/{OTHER}").json()["status"] == "frozen"
    assert two.post(f"/v1/proposals/{number}/approve").status_code == 409
    late = one.post("/v1/proposals", json=told).json()["number"]
    served.clock.now_ms += 86_400_000
    assert two.get("/v1/proposals").json()["rows"][0]["status"] == "expired"
    assert two.post(f"/v1/proposals/{late}/approve").status_code == 409
    for http in (one, two, again, trader):
        http.close()


def test_one_person_adopts_no_rulebook(served: Secured) -> None:
    boss = served.bearer(Role.ADMIN)
    told = {"toml": "x", "day": "2026-06-30", "venue": False}
    answer = boss.put("/v1/rulebooks/deribit-pm", json=told)
    assert answer.status_code == 403
    assert "two persons" in answer.json()["detail"]
    commands: list[dict[str, Any]] = [
        {"do": "adopt_rulebook", "key": "k", "actor": "a", "name": "n", "toml": "x",
         "day": "2026-06-30", "venue": True},
        {"do": "trade", "key": "k", "actor": "a", "buyer": OWN, "seller": OTHER,
         "symbol": PERPETUAL, "lots": 1, "price_ticks": 1, "aggressor": None},
    ]  # fmt: skip
    for command in commands:
        answer = boss.post("/v1/commands", json=command)
        assert answer.status_code == 403, answer.text
        assert "two persons" in answer.json()["detail"]
    # An order is no way round the table either.
    clearing = served.bearer(Role.CLEARING)
    order = {
        "do": "cancel_orders", "key": "k9", "actor": "a", "account": OWN
    }  # fmt: skip
    assert clearing.post("/v1/commands", json=order).status_code == 200
    withdrawal: dict[str, Any] = {
        "do": "request_withdrawal", "key": "k8", "actor": "a", "account": OWN, "asset": "USDC",
        "amount": 1, "reference": "r8",
    }  # fmt: skip
    assert clearing.post("/v1/commands", json=withdrawal).status_code == 403
    boss.close()
    clearing.close()


def test_what_was_privileged_is_recorded(served: Secured) -> None:
    clearing, boss = served.bearer(Role.CLEARING, owner="carla"), served.bearer(Role.ADMIN)
    told = {"asset": "USDC", "amount": "5"}
    answer = clearing.post(f"/v1/accounts/{OWN}/deposits", json=told)
    assert answer.status_code == 201
    request = answer.headers["solvent-request-id"]
    assert clearing.get("/v1/keys").status_code == 403
    rows: list[dict[str, Any]] = []
    cursor: int | None = 0
    while cursor is not None:
        page = boss.get("/v1/privileged", params={"cursor": cursor, "limit": 1_000}).json()
        rows, cursor = rows + page["rows"], page["next"]
    found = [(one["who"], one["what"], one["whose"], one["outcome"]) for one in rows
             if one["request"] == request]  # fmt: skip
    assert found == [
        ("carla", "money.confirm", OWN, "let in"), ("carla", "money.confirm", OWN, "201"),
    ]  # fmt: skip
    assert any(one["who"] == "carla" and one["outcome"] == "403" for one in rows)
    assert Audit(served.security.vault).broken_at() is None
    clearing.close()
    boss.close()


# ── how much ─────────────────────────────────────────────────────────────────────────────────────


def test_limits_never_starve_what_makes_risk_smaller(tmp_path: Path) -> None:
    vault = tmp_path / "vault"
    with Secured(made(tmp_path), vault, rate_per_s=1, rate_burst=20) as served:
        callers = served.security.callers
        now_ns = 1
        object.__setattr__(callers, "clock_ns", lambda: now_ns)
        http, path = served.bearer(Role.TRADER), f"/v1/accounts/{OWN}/orders"
        order = {"symbol": PERPETUAL, "side": "buy", "size": "0.01", "price": "1000"}
        statuses = [http.post(path, json=order).status_code for _ in range(25)]
        assert statuses.count(429) == 5
        assert 429 not in statuses[:20]
        refused = http.post(path, json=order)
        assert refused.headers["retry-after"] == "1"
        assert refused.json()["code"] == "TOO_MANY_REQUESTS"
        assert http.get(f"/v1/accounts/{OWN}").status_code == 429
        # Another key of the account has no more; another account's has.
        with (
            served.bearer(Role.TRADER) as same,
            served.bearer(Role.TRADER, accounts=[OTHER]) as other,
        ):
            assert same.post(path, json=order).status_code == 429
            assert other.get(f"/v1/accounts/{OTHER}").status_code == 200
        # A reducing order, then cancellations, find a budget of their own.
        assert http.post(path, json=order | {"reduce_only": True}).status_code != 429
        assert [http.delete(path).status_code for _ in range(19)] == [200] * 19
        assert http.delete(path).status_code == 429
        now_ns += 10**9
        assert http.post(path, json=order).status_code != 429
        assert http.post(path, json=order).status_code == 429
        http.close()


def test_who_is_not_known_is_slowed_down(tmp_path: Path) -> None:
    with Secured(made(tmp_path), tmp_path / "vault") as served:
        now_ns = 1
        object.__setattr__(served.security.callers, "clock_ns", lambda: now_ns)
        with served.http() as http:
            wrong = {"authorization": "Bearer svk_no.svs_no"}
            statuses = [http.get("/v1/keys", headers=wrong).status_code for _ in range(40)]
            assert statuses == [401] * 30 + [429] * 10
            # Who proves who they are comes in all the same.
            with served.bearer(Role.ADMIN) as boss:
                assert boss.get("/v1/keys").status_code == 200
