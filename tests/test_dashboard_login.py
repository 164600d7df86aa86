"""Logging in with a password, in a real browser: who may not is kept out, and what a page may do
is what its person may do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from solvent.service.security.audit import Audit
from solvent.service.security.sessions import COOKIE, IDLE_S
from solvent.service.security.vault import Vault
from tests.dashboard_server import OWN, PASSWORD, later_file
from tests.services import PERPETUAL
from tests.test_dashboard_pages import CHROMIUM, Seen, Server, browser, choose

__all__ = ["browser"]
pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the path"),
]
FETCHED = """async ([path, token]) => (await fetch(path, {
  method: 'DELETE', headers: token ? {'Solvent-CSRF': token} : {}})).status"""


@pytest.fixture(scope="module")
def venue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    one = Server(tmp_path_factory.mktemp("login") / "venue")
    try:
        one.start("secured")
        yield one
    finally:
        one.kill()


@pytest.fixture
def seen(venue: Server, browser: Any) -> Iterator[Seen]:
    later_file(venue.place).write_text("0")
    one = Seen(browser, venue, size="desktop", dark=False)
    yield one
    one.close()


def log_in(page: Any, name: str, password: str = PASSWORD) -> None:
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in").click()


def record(venue: Server) -> list[tuple[str, str, str]]:
    with closing(Vault(venue.place.parent / "vault")) as vault:
        return [(one.who, one.what, one.outcome) for one in Audit(vault).read()]


def test_log_in_and_out(venue: Server, seen: Seen) -> None:
    page = seen.page
    page.goto(f"{venue.url}/stress")
    page.wait_for_url("**/login")
    for name, password in (("ann", "not the password"), ("nobody", PASSWORD), ("rob", "")):
        page.goto(f"{venue.url}/login")
        page.locator("#password").evaluate("one => one.required = false")
        log_in(page, name, password)
        page.get_by_role("alert").wait_for()
        assert page.url == f"{venue.url}/login"
        assert COOKIE not in {one["name"] for one in seen.context.cookies()}
    # Chromium itself says that an answer was 401.
    assert all("401" in one for one in seen.errors)
    seen.errors.clear()
    log_in(page, "ann")
    page.get_by_text("ann · admin").wait_for()
    assert page.locator("h1").inner_text() == "Is everyone solvent?"
    (cookie,) = (one for one in seen.context.cookies() if one["name"] == COOKIE)
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    assert COOKIE not in page.evaluate("document.cookie")
    page.get_by_role("button", name="Log out").click()
    page.wait_for_url("**/login")
    # What was the session is none any more, wherever the cookie was copied to.
    seen.context.add_cookies([cookie])
    page.goto(f"{venue.url}/")
    page.wait_for_url("**/login")
    assert seen.errors == []
    assert seen.elsewhere == []
    # What was typed as a name may be a password: who is not known is "somebody".
    logins = [(who, outcome) for who, what, outcome in record(venue) if what == "log in"]
    assert logins[:4] == [
        ("ann", "refused"), ("somebody", "refused"), ("rob", "refused"), ("ann", "let in")
    ]  # fmt: skip


def test_what_changes_something_needs_the_pages_token(venue: Server, seen: Seen) -> None:
    page = seen.page
    page.goto(f"{venue.url}/login")
    log_in(page, "tess")
    page.wait_for_url(f"**/account/{OWN}")
    token = page.evaluate("async () => (await (await fetch('/v1/session')).json()).csrf")
    path = f"/v1/accounts/{OWN}/orders"
    assert page.evaluate(FETCHED, [path, None]) == 401
    assert page.evaluate(FETCHED, [path, "0" * len(token)]) == 401
    assert page.evaluate(FETCHED, [path, token]) == 200
    assert page.evaluate(FETCHED, ["/v1/accounts/u6/orders", token]) == 403


def test_a_trader_has_their_own_account_alone(venue: Server, seen: Seen) -> None:
    """Their page places and cancels in their name; others' pages are not shown to them."""
    page = seen.page
    page.goto(f"{venue.url}/login")
    log_in(page, "tess")
    page.wait_for_url(f"**/account/{OWN}")
    page.wait_for_selector(".sv-live:not(.off)")
    choose(page, "[data-name=order-form]", PERPETUAL)
    form = page.locator("[data-name=order-form]")
    form.get_by_label("Size").fill("0.01")
    form.get_by_label("Price").fill("12345")
    form.locator("[data-name=buy]").click()
    row = page.locator("[data-name=orders] .sv-order")
    row.wait_for()
    page.locator("[data-name=read-statement]").click()
    page.locator("[data-name=statement]").get_by_text("tess").first.wait_for()
    row.locator("[data-name=cancel]").click()
    page.get_by_text("No order is open.").wait_for()
    page.goto(f"{venue.url}/account/u6")
    page.get_by_role("alert").get_by_text(re.compile("not theirs")).wait_for()
    assert page.locator("[data-name=order-form]").count() == 0
    assert seen.errors == []


def test_a_session_that_expires_leads_to_the_login(venue: Server, seen: Seen) -> None:
    """A page that stays open is led away by itself; one that is opened, at once."""
    page = seen.page
    page.goto(f"{venue.url}/login")
    log_in(page, "rob")
    page.get_by_text("rob · risk").wait_for()
    later_file(venue.place).write_text(str(1_000 * IDLE_S - 600_000))
    page.goto(f"{venue.url}/stress")
    page.get_by_text("rob · risk").wait_for()
    later_file(venue.place).write_text(str(3_000 * IDLE_S))
    page.wait_for_url("**/login", timeout=60_000)
    page.goto(f"{venue.url}/journal")
    page.wait_for_url("**/login")


def test_proposals_of_the_page_are_recorded(venue: Server, seen: Seen) -> None:
    """Who proposes cannot approve; both are in the record with how they ended."""
    page = seen.page
    for name in ("rob", "ann"):
        page.goto(f"{venue.url}/login")
        log_in(page, name)
        page.get_by_text(f"{name} · ").wait_for()
        page.goto(f"{venue.url}/rulebooks")
        if name == "rob":
            page.locator("[data-name=propose]").click()
        page.locator("[data-name=approve]").click()
        if name == "rob":
            page.get_by_text("expected another person than rob").first.wait_for()
            page.get_by_role("button", name="Log out").click()
            page.wait_for_url("**/login")
    page.get_by_text("approved by ann").wait_for()
    assert [one for one in record(venue) if one[1] in ("propose", "approve")] == [
        ("rob", "propose", "let in"), ("rob", "propose", "200"),
        ("rob", "approve", "let in"), ("rob", "approve", "409"),
        ("ann", "approve", "let in"), ("ann", "approve", "200"),
    ]  # fmt: skip
