"""Logging in as the pages do, keys from the command line, where a service may listen."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from starlette.requests import HTTPConnection, Request
from typer.testing import CliRunner

from solvent.cli import app as cli
from solvent.dashboard.access import Door, Entry
from solvent.errors import BadInput
from solvent.messages import commands as c
from solvent.service.app import create_app
from solvent.service.approvals import NotApproved
from solvent.service.callers import Action, Forbidden, Role, TooMany, Unauthorised
from solvent.service.security.assembly import application
from solvent.service.security.audit import Audit
from solvent.service.security.callers import KeyedCallers
from solvent.service.security.keys import Keys
from solvent.service.security.masking import Secret
from solvent.service.security.proposals import Proposals
from solvent.service.security.rates import Limit
from solvent.service.security.sessions import COOKIE, PageSessions
from solvent.service.security.users import Users
from solvent.service.security.vault import Vault
from solvent.service.serving import check_open
from solvent.service.venue import Venue
from tests.engines import found
from tests.secured import OWN, PASSWORD, Clock
from tests.services import settings_of

RUN = CliRunner()


class Pages:
    """Sessions with one user, and a clock for spans."""

    def __init__(self, home: Path) -> None:
        self.vault, self.clock, self.now_ns = Vault.create(home), Clock(), 0
        self.users = Users(self.vault, rounds=1, memory_kib=64)
        self.users.put(
            name="ann", role=Role.TRADER, accounts=[OWN], password=Secret(PASSWORD), now_ms=1
        )
        self.sessions = PageSessions(
            self.vault, self.users, Audit(self.vault), clock=self.clock,
            clock_ns=lambda: self.now_ns,
        )  # fmt: skip

    def enter(self, password: str = PASSWORD, name: str = "ann", **told: str) -> str:
        form = {"name": name, "password": password}
        cookies = asyncio.run(self.sessions.enter(asked(**told), form))
        return cookies[COOKIE]


@pytest.fixture
def pages(tmp_path: Path) -> Iterator[Pages]:
    made = Pages(tmp_path / "vault")
    yield made
    made.vault.close()


def asked(*, client: str = "203.0.113.7", kind: str = "http", **headers: str) -> Request:
    told = {"host": "venue.example", **{k.replace("_", "-"): v for k, v in headers.items()}}
    scope = {
        "type": kind, "method": "POST", "path": "/login", "scheme": "https", "query_string": b"",
        "client": (client, 1), "headers": [(k.encode(), v.encode()) for k, v in told.items()],
    }  # fmt: skip
    return Request(scope) if kind == "http" else Request({**scope, "type": "http"})


def test_logging_in_and_out(pages: Pages) -> None:
    cookie = pages.enter(origin="https://venue.example")
    connection = asked(cookie=f"{COOKIE}={cookie}")
    caller = asyncio.run(pages.sessions.caller(connection))
    assert (caller.name, caller.role, caller.accounts) == ("ann", Role.TRADER, frozenset({OWN}))
    pages.sessions.check(caller, Action.ORDER_PLACE, OWN)
    with pytest.raises(Forbidden):
        pages.sessions.check(caller, Action.VENUE_READ, None)
    # Logging in again ends the session that one had.
    newer = pages.enter(cookie=f"{COOKIE}={cookie}")
    assert newer != cookie
    with pytest.raises(Unauthorised):
        pages.sessions.find(cookie)
    assert asyncio.run(pages.sessions.leave(asked(cookie=f"{COOKIE}={newer}"))) == {COOKIE: ""}
    with pytest.raises(Unauthorised):
        pages.sessions.find(newer)
    told = [(one.who, one.what, one.outcome) for one in Audit(pages.vault).read()]
    assert told == [("ann", "log in", "let in")] * 2


def test_other_sites_log_nobody_in_or_out(pages: Pages) -> None:
    cookie = pages.enter()
    for told in ({"origin": "https://evil.example"}, {"origin": "null"},
                 {"sec_fetch_site": "cross-site"}, {"sec_fetch_site": "same-site"}):  # fmt: skip
        with pytest.raises(Unauthorised, match="origin"):
            pages.enter(**told)
        with pytest.raises(Unauthorised, match="origin"):
            asyncio.run(pages.sessions.leave(asked(cookie=f"{COOKIE}={cookie}", **told)))
    assert pages.sessions.find(cookie).name == "ann"


def test_passwords_are_not_guessed_quickly(pages: Pages) -> None:
    for _ in range(10):
        with pytest.raises(Unauthorised):
            pages.enter("wrong wrong wrong", name=PASSWORD)
    with pytest.raises(TooMany) as caught:
        pages.enter()
    assert caught.value.retry_after_s == 10.0
    pages.now_ns += 10 * 10**9
    assert pages.enter()
    # Somebody else's tries from elsewhere are against the same name.
    for number in range(9):
        with pytest.raises(Unauthorised):
            pages.enter("wrong wrong wrong", client=f"198.51.100.{number}")
    with pytest.raises(TooMany):
        pages.enter(client="198.51.100.77")
    # What was typed as a name is not kept: it may be a password.
    assert all(PASSWORD not in str(one) for one in Audit(pages.vault).read())


# ── proposals over a restart ─────────────────────────────────────────────────────────────────────


def test_what_pages_do_is_limited_and_recorded_as_by_the_api(pages: Pages) -> None:
    audit = Audit(pages.vault)
    callers = KeyedCallers(
        keys=Keys(pages.vault), sessions=pages.sessions, audit=audit, clock=pages.clock,
        per_key=Limit(per_s=1, burst=20), clock_ns=lambda: pages.now_ns,
    )  # fmt: skip
    door = Door(sessions=pages.sessions, callers=callers, audit=audit, clock=pages.clock)
    connection = asked(cookie=f"{COOKIE}={pages.enter()}")

    def enter(action: Action, account: str | None = None) -> Entry:
        return asyncio.run(door.enter(connection, action, account))

    caller = enter(Action.ORDER_PLACE, OWN).caller
    for _ in range(19):
        enter(Action.ORDER_PLACE, OWN)
    with pytest.raises(TooMany):
        enter(Action.ORDER_PLACE, OWN)
    # It is the same budget, and getting out has its own.
    with pytest.raises(TooMany):
        asyncio.run(
            callers.admit(HTTPConnection(connection.scope), caller, Action.ORDER_PLACE, OWN)
        )
    enter(Action.ORDER_CANCEL, OWN)
    pages.now_ns += 10**9
    enter(Action.ORDER_PLACE, OWN)
    with pytest.raises(Forbidden):
        enter(Action.ORDER_CANCEL, "u6")
    pages.users.put(name="rita", role=Role.RISK, accounts=None, password=Secret(PASSWORD), now_ms=1)
    connection = asked(cookie=f"{COOKIE}={pages.enter(name='rita')}")
    for fault in (None, NotApproved("no"), Unauthorised("over")):
        asyncio.run(enter(Action.PROPOSE).ended(fault))
    asyncio.run(enter(Action.VENUE_READ).ended())
    rows = audit.read()
    assert [(one.who, one.what, one.whose, one.outcome) for one in rows] == [
        ("ann", "log in", "", "let in"), ("ann", "order.cancel", "u6", "403"),
        ("rita", "log in", "", "let in"),
        ("rita", "propose", "", "let in"), ("rita", "propose", "", "200"),
        ("rita", "propose", "", "let in"), ("rita", "propose", "", "409"),
        ("rita", "propose", "", "let in"), ("rita", "propose", "", "401"),
    ]  # fmt: skip
    assert len({one.request for one in rows[3:]}) == 3


def test_a_proposal_is_done_once_whatever_stops(tmp_path: Path) -> None:
    url, vault = str(tmp_path / "venue"), Vault.create(tmp_path / "vault")
    found(url)
    freeze = c.FreezeAccount(key="k", actor="a", account=OWN, reason="test")

    async def first() -> None:
        async with Venue(url, clock=None) as venue:
            proposals = Proposals(vault, venue)
            made = await proposals.propose("ann", "a test", freeze)
            with pytest.raises(NotApproved, match="another person"):
                await proposals.approve(made.number, "ann")
            # It is sent, and the process dies before that is written down.
            decided = proposals._decided(made.number, "ben", "under way")
            (answer,) = await venue.submit([decided.command])
            assert answer.accepted

    async def second() -> None:
        async with Venue(url, clock=None) as venue:
            proposals, head = Proposals(vault, venue), venue.head
            assert await proposals.resume() == 1
            assert venue.head == head
            (one,) = await proposals.proposals()
            assert (one.status, one.by, one.approved_by) == ("done", "ann", "ben")
            assert await proposals.resume() == 0
            again = await proposals.propose("ann", "again", freeze)
            taken = await proposals.withdraw(again.number, "ann")
            assert taken.status == "withdrawn"
            close = c.CloseAccount(key="k", actor="a", account=OWN)
            third = await proposals.propose("ann", "it holds money", close)
            ended = await proposals.approve(third.number, "ben")
            assert ended.status == "refused"
            assert ended.detail
            # A command that somebody has put in its place is not done.
            last = await proposals.propose("ann", "last", freeze)
            vault.write("UPDATE proposals SET by_whom='zoe' WHERE number=?", last.number)
            with pytest.raises(NotApproved, match="not as it was made"):
                await proposals.approve(last.number, "ann")

    asyncio.run(first())
    asyncio.run(second())
    told = [(one.who, one.whose, one.outcome) for one in Audit(vault).read()]
    assert told[:3] == [("ann", OWN, "proposed"), ("ben", OWN, "approved"), ("ben", OWN, "done")]
    vault.close()


# ── where it listens, what it says of itself ─────────────────────────────────────────────────────


def test_beyond_loopback_needs_keys_and_tls(tmp_path: Path) -> None:
    url = tmp_path / "venue"
    found(url)
    Vault.create(tmp_path / "vault").close()
    venue = Venue(str(url), clock=None)
    told: dict[str, Any] = {"host": "0.0.0.0"}
    settings = settings_of(url, **told)
    with pytest.raises(BadInput, match="loopback"):
        check_open(create_app(venue, settings), settings)
    settings = settings_of(url, security=tmp_path / "vault", **told)
    app = application(venue, settings)
    assert isinstance(app.state.callers, KeyedCallers)
    with pytest.raises(BadInput, match="tls_certificate"):
        check_open(app, settings)
    for more in ({"behind_proxy": True}, {"tls_certificate": "x.pem", "tls_key": "x.key"}):
        check_open(app, settings_of(url, security=tmp_path / "vault", **told, **more))
    schema = app.openapi()
    assert "/v1/proposals/{number}/approve" in schema["paths"]
    assert schema["components"]["schemas"]["ProposalTold"]["required"] == ["what", "command"]
    json.dumps(schema)
    app.state.security.vault.close()


# ── the command line ─────────────────────────────────────────────────────────────────────────────


def said(*told: str, stdin: str | None = None, code: int = 0) -> str:
    answer = RUN.invoke(cli, list(told), input=stdin)
    assert answer.exit_code == code, answer.output
    return answer.stdout


def test_keys_users_and_webhooks_by_hand(tmp_path: Path) -> None:
    vault = str(tmp_path / "vault")
    made = json.loads(
        said("keys", "create", vault, "--owner", "alice", "--role", "trader", "--account", OWN,
             "--days", "1", "--label", "desk", "--json")
    )  # fmt: skip
    assert made["key"].startswith(made["id"] + ".svs_")
    assert made["expires_ms"] - made["made_ms"] == 86_400_000
    whole = said("keys", "create", vault, "--owner", "ops", "--role", "clearing").strip()
    opened = Vault(tmp_path / "vault")
    keys = Keys(opened)
    secret = keys.secret(made["id"])
    assert secret is not None
    assert f"{made['id']}.{secret.reveal()}" == made["key"]
    assert whole not in said("keys", "ls", vault)
    said("keys", "revoke", vault, made["id"])
    (one, other) = json.loads(said("keys", "ls", vault, "--json"))
    assert {one["status"], other["status"]} == {"revoked", "good"}
    with pytest.raises(Unauthorised, match="revoked"):
        keys.good(made["id"], made["made_ms"])
    said("users", "put", vault, "ann", "--role", "admin", "--password-file", "-",
         stdin=PASSWORD + "\n")  # fmt: skip
    assert Users(opened).verify("ann", Secret(PASSWORD)).role is Role.ADMIN
    assert said("users", "logout", vault, "ann") == "0 sessions of ann ended\n"
    said("users", "disable", vault, "ann")
    assert json.loads(said("users", "ls", vault, "--json"))[0]["disabled"] is True
    document = json.loads(said("webhooks", "ls", vault, "--json"))
    assert document == {"webhooks": [], "counts": {"waiting": 0, "dead": 0}, "dead": []}
    assert said("webhooks", "resend", vault) == "0 to be tried again\n"
    record = json.loads(said("keys", "record", vault, "--json"))
    assert record["broken_at"] is None
    assert [one["what"] for one in record["rows"]][:2] == [
        "key created for alice as trader", "key created for ops as clearing",
    ]  # fmt: skip
    opened.write("DROP TRIGGER audit_is_not_changed")
    opened.write("UPDATE audit SET who='nobody' WHERE number=2")
    opened.close()
    assert "row 2 was changed" in said("keys", "record", vault, code=2)
    assert msgspec.json.encode(record)
