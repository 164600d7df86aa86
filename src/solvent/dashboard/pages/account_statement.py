"""An account's statement: what the journal tells of it, the newest first."""

from __future__ import annotations

from nicegui import ui

from solvent.dashboard import markup
from solvent.dashboard import text as t
from solvent.dashboard.journal_view import Found, rows_of
from solvent.dashboard.pages.frame import Page, button, card
from solvent.service.callers import Action

_ROWS = 40


def statement_card(page: Page, account: str) -> None:
    """Build the card; it is read when it is asked for."""
    with card("Statement", span=12, note="what concerned it, newest first"):
        place = ui.html('<p class="sv-note">Not read yet.</p>', sanitize=False)
        place.props('data-name="statement"')

        async def read() -> None:
            if await page.may(Action.ACCOUNT_READ, account) is None:
                return
            hub = page.hub

            def work() -> Found:
                with hub.venue.reader() as journal:
                    return rows_of(journal, hub.names, account=account, most=_ROWS)

            place.set_content(found_html(await hub.aside(work)))

        with ui.element("div").classes("sv-row"):
            button("Read the journal", read, name="read-statement")


def found_html(found: Found) -> str:
    """Rows of the journal as a table, with how far back was looked."""
    rows = [
        [f"{one.sequence:,}", t.day_clock(one.time_ms), t.safe(one.kind.replace("_", " ")),
         t.safe(one.actor), t.safe(one.told),
         f'<span class="sv-loss">✕ {t.safe(one.result)}</span>' if one.refused
         else t.safe(one.events or one.result)]
        for one in found.rows
    ]  # fmt: skip
    table = markup.table(
        "Commands", ("command", "time, UTC", "kind", "asked by", "what", "what came of it"),
        rows, left=6, kind="sv-words",
    )  # fmt: skip
    far = "to the first" if found.whole else f"back to {found.oldest:,}"
    return table + f'<p class="sv-note">{found.scanned:,} commands were read, {far}.</p>'
