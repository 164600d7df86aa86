"""The Journal page: every command and what came of it, and whether the books add up."""

from __future__ import annotations

import time
from typing import Any

from nicegui import ui

from solvent.dashboard import markup
from solvent.dashboard import text as t
from solvent.dashboard.journal_view import Found, kinds, rows_of
from solvent.dashboard.pages.account_statement import found_html
from solvent.dashboard.pages.frame import Page, button, card, frame, heading
from solvent.engine.audit import Audit, audit
from solvent.service.callers import Action

_ANY = "any kind"


class _Filter:
    def __init__(self) -> None:
        self.kind, self.account, self.refused = _ANY, "", False
        self.before: int | None = None
        self.found: Found | None = None


def journal_page(page: Page) -> None:
    """Build the page."""
    chosen = _Filter()
    with frame(page, "/journal", "Journal"):
        heading("Journal", "Every command, in order, with what came of it.")
        with ui.element("div").classes("sv-grid"):
            with card("Audit", span=12, note="money adds up, positions net to zero"):
                _audit(page)
            with card("Commands", span=12, note="newest first"):
                _commands(page, chosen)


def _commands(page: Page, chosen: _Filter) -> None:
    place = ui.html('<p class="sv-note">Reading…</p>', sanitize=False)
    place.props('data-name="commands"')

    async def read(*_: Any, before: int | None = None) -> None:
        if await page.may(Action.JOURNAL_READ) is None:
            return
        chosen.before = before
        hub = page.hub

        def work() -> Found:
            with hub.venue.reader() as journal:
                return rows_of(
                    journal, hub.names, account=chosen.account.strip(), refused=chosen.refused,
                    kind="" if chosen.kind == _ANY else chosen.kind, before=before,
                )  # fmt: skip

        chosen.found = await hub.aside(work)
        place.set_content(found_html(chosen.found))

    async def older() -> None:
        found = chosen.found
        if found is not None and not found.whole:
            await read(before=found.oldest)

    with ui.element("div").classes("sv-row") as row:
        kind = ui.select([_ANY, *kinds()], value=_ANY, label="Kind").props("outlined dense")
        account = ui.input("Account").props("outlined dense clearable")
        refused = ui.checkbox("Refused only")
        for one in (kind, account):
            one.classes("sv-grow")
        kind.on_value_change(lambda event: setattr(chosen, "kind", event.value))
        account.on_value_change(lambda event: setattr(chosen, "account", str(event.value or "")))
        refused.on_value_change(lambda event: setattr(chosen, "refused", bool(event.value)))
        button("Show", read, main=True, name="read-journal")
        button("Older", older, name="older")
    row.move(target_index=1)
    ui.timer(0.05, read, once=True)


def _audit(page: Page) -> None:
    place = ui.html('<p class="sv-note">Not asked yet.</p>', sanitize=False)
    place.props('data-name="audit" aria-live="polite"')

    async def ask() -> None:
        if await page.may(Action.VENUE_READ) is None:
            return
        began_s = time.perf_counter()
        found = await page.hub.venue.read(lambda engine: audit(engine.state))
        place.set_content(audit_html(found, time.perf_counter() - began_s))

    with ui.element("div").classes("sv-row"):
        button("Audit the books", ask, name="audit-books")
        ui.html('<span class="sv-note">Commands wait while it runs.</span>', sanitize=False)


def audit_html(found: Audit, seconds: float) -> str:
    """What was counted, and all that does not hold."""
    rows = [
        [t.safe(name), f"{total:,}", f"{found.outside[name]:,}"]
        for name, total in found.assets.items()
    ]
    table = markup.table(
        "Assets", ("asset", "sum of all balances", "held of outsiders, smallest units"), rows
    )
    if found.violations:
        wrong = "".join(f"<li>{t.safe(one)}</li>" for one in found.violations[:20])
        verdict = (
            f'<div class="sv-banner bad" role="alert">■ {len(found.violations):,} violations'
            f"<ul>{wrong}</ul></div>"
        )
    else:
        verdict = (
            f'<div class="sv-banner" role="status"><span class="sv-healthy">● No violation'
            f"</span>: {found.accounts:,} accounts, {found.positions:,} positions, in "
            f"{seconds:.2f} s.</div>"
        )
    return verdict + table
