"""The pages in a real browser: they look as they should, say no error, call nobody else, and do
what people click."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the path")

PAGES = {
    "venue": ("/", "Is everyone solvent?"),
    "account": ("/account/dealer01", "dealer01"),
    "stress": ("/stress", "Who falls?"),
    "rulebooks": ("/rulebooks", "Rulebooks"),
    "surface": ("/surface", "Volatility surface"),
    "journal": ("/journal", "Journal"),
}
SIZES = {"desktop": (1440, 900), "phone": (390, 844)}
PERPETUAL = "BTC_USDC-PERPETUAL"


class Server:
    """A served venue in a process of its own."""

    def __init__(self, place: Path) -> None:
        self.place, self.port = place, _free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, how: str) -> None:
        script = ROOT / "tests" / "dashboard_server.py"
        told = [how, str(self.place), str(self.port), "250", "0.8", "36"]
        env = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
        self.process = subprocess.Popen([sys.executable, str(script), *told], env=env)
        until = time.monotonic() + 150
        while time.monotonic() < until:
            try:
                with urllib.request.urlopen(f"{self.url}/health/ready", timeout=2) as found:
                    if found.status == 200:
                        return
            except OSError:
                assert self.process.poll() is None, "the server has died"
            time.sleep(0.1)
        raise AssertionError("the server did not come up")

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Server]:
    """A server whose story has just begun: it is told once."""
    yield from _served(tmp_path / "venue")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    yield from _served(tmp_path_factory.mktemp("pages") / "venue")


def _served(place: Path) -> Iterator[Server]:
    one = Server(place)
    try:
        one.start("new")
        yield one
    finally:
        one.kill()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        one = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield one
        one.close()


class Seen:
    """A page, and all that it said and asked for."""

    def __init__(self, browser: Any, server: Server, *, size: str, dark: bool) -> None:
        width, height = SIZES[size]
        self.context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light", reduced_motion="reduce",
        )  # fmt: skip
        self.context.add_cookies(
            [{"name": "solvent_theme", "value": "dark" if dark else "light", "url": server.url}]
        )
        self.page = self.context.new_page()
        self.page.set_default_timeout(60_000)
        self.errors: list[str] = []
        self.elsewhere: list[str] = []
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda fault: self.errors.append(str(fault)))
        self.page.on("request", self._asked)
        self._server = server

    def _said(self, one: Any) -> None:
        if one.type in ("error", "warning"):
            self.errors.append(one.text)

    def _asked(self, one: Any) -> None:
        ours = one.url.startswith((self._server.url, self._server.url.replace("http", "ws")))
        if not ours and not one.url.startswith(("data:", "blob:")):
            self.elsewhere.append(one.url)

    def go(self, path: str) -> Any:
        self.page.goto(self._server.url + path)
        self.page.wait_for_selector(".sv-live:not(.off)")
        return self.page

    def close(self) -> None:
        self.context.close()


def _settle(page: Any, name: str) -> None:
    """Wait for what a page shows last."""
    marks = {
        "venue": ".sv-kpi", "account": "[data-name=whatif-answer] table",
        "rulebooks": "[data-name=in-force] table", "surface": "table.sv-t tbody th",
        "journal": "[data-name=commands] table", "stress": "[data-name=run-stress]",
    }  # fmt: skip
    page.wait_for_selector(marks[name])


def test_a_margin_call_arrives(fresh: Server, browser: Any) -> None:
    """The market falls: the trader's page says so by itself, and the venue's page tells of it."""
    seen = Seen(browser, fresh, size="desktop", dark=True)
    try:
        page = seen.go("/account")
        assert page.url.endswith("/account/alice")
        page.locator("[data-name=call], [data-name=warning], .sv-banner.bad").first.wait_for(
            timeout=90_000
        )
        page.goto(f"{fresh.url}/")
        page.locator(".sv-feed li").first.wait_for(timeout=90_000)
        assert seen.errors == []
    finally:
        seen.close()


def _look(server: Server, browser: Any, folder: Path, size: str, *, dark: bool) -> None:
    """A title, a landmark, no error, nothing asked of another host, nothing wider than the screen;
    every control has a name, every picture and table too."""
    seen = Seen(browser, server, size=size, dark=dark)
    try:
        for name, (path, title) in PAGES.items():
            page = seen.go(path)
            _settle(page, name)
            assert page.locator("h1").inner_text() == title
            page.locator("main.q-page[role=presentation] main#main").wait_for()
            assert page.evaluate("document.documentElement.lang") == "en"
            assert ("body--dark" in page.evaluate("document.body.className")) is dark
            assert page.evaluate("document.documentElement.scrollWidth") <= SIZES[size][0], name
            assert not page.evaluate(NAMELESS), name
            page.screenshot(path=folder / f"{name}.png", full_page=True)
            assert (folder / f"{name}.png").stat().st_size > 10_000
        assert seen.errors == []
        assert seen.elsewhere == []
    finally:
        seen.close()


@pytest.mark.parametrize(("size", "dark"), [("desktop", False), ("phone", True)])
def test_every_page_is_shown(
    server: Server, browser: Any, tmp_path: Path, size: str, dark: bool
) -> None:
    _look(server, browser, tmp_path, size, dark=dark)


@pytest.mark.soak
@pytest.mark.parametrize(("size", "dark"), [("desktop", True), ("phone", False)])
def test_every_page_is_shown_the_other_way(
    server: Server, browser: Any, tmp_path: Path, size: str, dark: bool
) -> None:
    _look(server, browser, tmp_path, size, dark=dark)


NAMELESS = """
() => [...document.querySelectorAll('button,a[href],input,select,[role=slider],[role=img],table')]
  .filter(e => e.offsetParent !== null)
  .filter(e => {
    const own = e.getAttribute('aria-label') || e.textContent.trim() || e.title ||
      (e.labels && [...e.labels].map(l => l.textContent.trim()).join('')) || e.placeholder;
    return !own;
  }).map(e => e.outerHTML.slice(0, 120))
"""


@pytest.mark.soak
def test_the_page_is_live(server: Server, browser: Any) -> None:
    """Figures change by themselves as commands become durable, and the ladder is made."""
    seen = Seen(browser, server, size="desktop", dark=False)
    try:
        page = seen.go("/")
        first = page.locator(".sv-live").first.get_attribute("title")
        page.wait_for_function("was => document.querySelector('.sv-live').title !== was", arg=first)
        page.wait_for_function("document.querySelectorAll('.sv-bars tbody tr').length >= 20")
        rows = page.locator(".sv-bars tbody tr").all_inner_texts()
        assert any(row.startswith("now") for row in rows)
        page.keyboard.press("g")
        page.keyboard.press("s")
        page.wait_for_url("**/stress")
    finally:
        seen.close()


SCROLLED = """
async () => {
  for (;;) {
    const e = document.querySelector('.sv-scroll[aria-label=Positions]');
    [e.scrollLeft, e.scrollTop] = [60, 300];
    await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
    if (e.isConnected) { e.dataset.was = '1'; return }
  }
}
"""
"""A browser tells of scrolling with its next frame: until then it may be of one that is gone."""


def test_a_table_that_is_made_anew_stays_where_it_was(server: Server, browser: Any) -> None:
    """Whoever reads far to the right on a phone, or by keys, is not sent back with every tick."""
    seen = Seen(browser, server, size="phone", dark=False)
    try:
        page = seen.go("/account/dealer01")
        table = page.locator("[role=group][aria-label=Positions]")
        table.locator("tbody tr").nth(40).wait_for(state="attached")
        table.focus()
        page.evaluate(SCROLLED)
        page.wait_for_function(
            "() => [...document.querySelectorAll('.sv-scroll[aria-label=Positions]')]"
            ".some(e => !e.dataset.was)"
        )
        assert table.evaluate("e => [e.scrollLeft, e.scrollTop]") == [60, 300]
        assert table.evaluate("e => e === document.activeElement")
        assert seen.errors == []
    finally:
        seen.close()


def choose(page: Any, place: str, words: str) -> None:
    field = page.locator(place).get_by_label("Instrument")
    field.fill(words)
    page.locator(".q-menu .q-item").first.wait_for()
    page.locator(".q-menu .q-item").first.click()


def test_what_if(server: Server, browser: Any) -> None:
    """A trade and a fall of the price, before and after at once."""
    seen = Seen(browser, server, size="desktop", dark=False)
    try:
        page = seen.go("/account/dealer01")
        answer = page.locator("[data-name=whatif-answer]")
        answer.locator("table").wait_for()
        choose(page, "[data-name=whatif]", PERPETUAL)
        page.locator("[data-name=whatif]").get_by_label("Size").fill("250")
        page.wait_for_function(CHANGED, arg="initial margin")
        slider = page.locator("[data-name=whatif-spot]")
        for step in range(1, 6):
            slider.locator("[tabindex]").press("ArrowLeft")
            page.locator(f"[data-name=whatif-spot][aria-valuenow='{-step}']").wait_for()
        page.get_by_text("−5 %").first.wait_for()
        page.wait_for_function(CHANGED, arg="equity")
        page.locator("[data-name=whatif-reset]").click()
        page.wait_for_function(UNCHANGED)
        assert seen.errors == []
    finally:
        seen.close()


_ROWS = "[...document.querySelectorAll('[data-name=whatif-answer] tbody tr')]"
CHANGED = (
    f"name => {_ROWS}.some(r => r.children[0].textContent === name && "
    "r.children[3].textContent !== '0.00')"
)
UNCHANGED = f"() => {_ROWS}.slice(0, 5).every(r => r.children[3].textContent === '0.00')"


@pytest.mark.soak
def test_place_and_cancel_an_order(server: Server, browser: Any) -> None:
    seen = Seen(browser, server, size="phone", dark=False)
    try:
        page = seen.go("/account/dealer01")
        choose(page, "[data-name=order-form]", PERPETUAL)
        form = page.locator("[data-name=order-form]")
        form.get_by_label("Size").fill("0.01")
        form.get_by_label("Price").fill("12345.123456")
        form.locator("[data-name=buy]").click()
        page.get_by_role("alert").get_by_text(re.compile("expected")).wait_for()
        form.get_by_label("Price").fill("12345")
        form.locator("[data-name=buy]").click()
        row = page.locator("[data-name=orders] .sv-order")
        row.wait_for()
        assert "12,345.00" in row.inner_text()
        assert "resting" in row.inner_text()
        row.locator("[data-name=cancel]").click()
        page.get_by_text("No order is open.").wait_for()
        page.locator("[data-name=read-statement]").click()
        page.locator("[data-name=statement] table").wait_for()
        assert "cancel order" in page.locator("[data-name=statement]").inner_text()
        assert seen.errors == []
    finally:
        seen.close()


@pytest.mark.soak
def test_stress(server: Server, browser: Any) -> None:
    seen = Seen(browser, server, size="desktop", dark=True)
    try:
        page = seen.go("/stress")
        page.get_by_role("button", name="12-13 March 2020").click()
        page.locator("[data-name=run-stress]").click()
        page.locator("[data-name=stressed] table").first.wait_for()
        told = page.locator("[data-name=stressed]").inner_text()
        assert "−45.1 %" in told
        assert "vol +269.5 %" in told
        assert seen.errors == []
    finally:
        seen.close()


@pytest.mark.soak
def test_adopt_a_rulebook_with_two_approvals(server: Server, browser: Any) -> None:
    """Who proposes cannot approve; somebody else can, and then it is in force."""
    seen = Seen(browser, server, size="desktop", dark=False)
    try:
        page = seen.page
        _log_in(page, server, "ann")
        page.goto(f"{server.url}/rulebooks")
        page.locator("[data-name=compare]").click()
        page.locator("[data-name=compared] table").first.wait_for()
        page.locator("[data-name=propose]").click()
        page.locator("[data-name=approve]").wait_for()
        page.locator("[data-name=approve]").click()
        page.get_by_text("expected another person than ann").first.wait_for()
        _log_in(page, server, "ben")
        page.goto(f"{server.url}/rulebooks")
        page.locator("[data-name=approve]").click()
        page.get_by_text("approved by ben · done").wait_for()
        page.locator("[data-name=in-force]").get_by_text("paradex-pm").wait_for()
        assert seen.errors == []
    finally:
        seen.close()


def _log_in(page: Any, server: Server, name: str) -> None:
    page.goto(f"{server.url}/login")
    page.get_by_label("Name").fill(name)
    page.get_by_role("button", name="Log in").click()
    page.get_by_text(f"{name} · admin").wait_for()


@pytest.mark.soak
def test_dark_mode_and_journal(server: Server, browser: Any) -> None:
    """The theme is turned by a key and stays; the journal is filtered, the books are audited."""
    seen = Seen(browser, server, size="desktop", dark=False)
    try:
        page = seen.go("/journal")
        page.locator("[data-name=commands] table").wait_for()
        page.keyboard.press("t")
        page.locator("body.body--dark").wait_for()
        page.locator("[data-name=commands] table").wait_for()
        page.locator("[data-name=audit-books]").click()
        page.get_by_text("No violation").wait_for()
        page.get_by_label("Account").fill("alice")
        page.locator("[data-name=read-journal]").click()
        page.locator("[data-name=commands]").get_by_text("open account").first.wait_for()
        assert seen.errors == []
    finally:
        seen.close()


@pytest.mark.soak
def test_reconnect_after_a_restart(server: Server, browser: Any) -> None:
    """The server is killed and comes back: the page does too, by itself, with what is durable."""
    seen = Seen(browser, server, size="desktop", dark=False)
    try:
        page = seen.go("/account/alice")
        page.locator("[data-name=whatif-answer] table").wait_for()
        server.kill()
        page.wait_for_function("document.querySelector('#popup').getAttribute('aria-hidden') === "
                               "'false'")  # fmt: skip
        server.start("again")
        page.locator("#popup[aria-hidden=true]").wait_for(state="attached", timeout=90_000)
        page.wait_for_selector(".sv-live:not(.off)", timeout=90_000)
        assert page.locator("h1").inner_text() == "alice"
        page.locator("table.sv-t").first.wait_for()
    finally:
        seen.close()
