"""The Rulebooks page: two side by side, where they differ, and adoption by two persons."""

from __future__ import annotations

from typing import Any

from nicegui import ui

from solvent.dashboard import markup
from solvent.dashboard import text as t
from solvent.dashboard.approvals import Proposal
from solvent.dashboard.pages.frame import Page, button, card, frame, heading
from solvent.dashboard.rulebook_view import (
    Asked,
    Compared,
    adoption_of,
    compare,
    in_force,
    shipped,
)
from solvent.dashboard.venue_view import STATES
from solvent.errors import SolventError
from solvent.service.callers import Action

_DIFFERENCES = 120


class _Pair:
    def __init__(self, left: str, right: str) -> None:
        self.left, self.right = left, right


async def rulebooks_page(page: Page) -> None:
    """Build the page."""
    names = shipped()
    venue = next(iter(page.hub.rooms), next(iter(names)))
    pair = _Pair(venue if venue in names else next(iter(names)), "paradex-pm")
    with frame(page, "/rulebooks", "Rulebooks"):
        heading("Rulebooks", "What another venue's rules would ask of everybody here, now.")
        with ui.element("div").classes("sv-grid"):
            with card("In force", span=6):
                force = ui.html("", sanitize=False).props('data-name="in-force"')
            with card("Proposals", span=6, note="two persons: one proposes, another approves"):
                waiting = ui.element("div").props('data-name="proposals"')
            with card("Side by side", span=12):
                place = ui.html("", sanitize=False).props('aria-live="polite" data-name="compared"')
                _form(page, pair, names, place, waiting)
                place.move(target_index=-1)
        await _force(page, force)
        seen: list[Any] = [None]
        ui.timer(0.5, lambda: _proposals(page, waiting, force, seen))


def _form(page: Page, pair: _Pair, names: dict[str, str], place: ui.html, waiting: Any) -> None:
    async def run() -> None:
        if await page.may(Action.VENUE_READ) is None:
            return
        hub = page.hub
        market = hub.market
        room = max(hub.rooms.values(), key=lambda one: len(one.part.numbers), default=None)
        if market is None or room is None:
            page.say("No market has been published yet.", bad=True)
            return
        place.set_content('<p class="sv-note">Margining everybody under both…</p>')
        try:
            found = await hub.aside(compare, room, market, pair.left, pair.right)
        except SolventError as fault:
            place.set_content(f'<p class="sv-banner bad" role="alert">{t.safe(fault)}</p>')
            return
        place.set_content(compared_html(found))

    async def propose() -> None:
        view = page.hub.view
        if view is None:
            return
        async with page.acting(Action.PROPOSE) as caller:
            if caller is None:
                return
            command = adoption_of(pair.right, by=caller.name, at_ms=view.time_ms, venue=False)
            made = await page.scene.approvals.propose(
                caller.name, f"adopt {pair.right} of {command.day}", command
            )
            page.say(f"Proposal {made.number} waits for another person")

    with ui.element("div").classes("sv-row"):
        left = ui.select(names, value=pair.left, label="This", with_input=True)
        right = ui.select(names, value=pair.right, label="Beside", with_input=True)
        for one in (left, right):
            one.props("outlined dense options-dense").classes("sv-grow")
        left.on_value_change(lambda event: setattr(pair, "left", event.value or pair.left))
        right.on_value_change(lambda event: setattr(pair, "right", event.value or pair.right))
        button("Compare", run, main=True, name="compare")
        button("Propose to adopt the second", propose, name="propose")
    del waiting


def compared_html(found: Compared) -> str:
    """Figures side by side, then where the texts differ."""
    one, other = found.left, found.right
    heads = ("all accounts", t.safe(one.name), t.safe(other.name))
    rows = [
        ["equity", *(_money(x, "equity_micro") for x in (one, other))],
        ["initial margin", *(_money(x, "initial_micro") for x in (one, other))],
        ["maintenance margin", *(_money(x, "maintenance_micro") for x in (one, other))],
        *([markup.state(state), *(_count(x, state) for x in (one, other))] for state in STATES),
        ["liquidated by this one alone", f"{found.only_left:,}", f"{found.only_right:,}"],
    ]
    reasons = "".join(
        f'<p class="sv-banner" role="status">{t.safe(x.name)}: {t.safe(x.reason)}</p>'
        for x in (one, other)
        if x.reason
    )
    diff = [
        [f'<span class="sv-diff">{t.safe(key)}</span>', _cut(a), _cut(b)]
        for key, a, b in found.rows[:_DIFFERENCES]
    ]
    more = len(found.rows) - len(diff)
    tail = f'<p class="sv-note">and {more:,} more</p>' if more > 0 else ""
    return (
        reasons + markup.table("Both on everybody", heads, rows)
        + f"<details><summary>{len(found.rows):,} differences of the texts</summary>"
        + markup.table("Differences", ("key", *heads[1:]), diff, left=3, kind="sv-words")
        + tail + "</details>"
    )  # fmt: skip


def _cut(text: str) -> str:
    shown = text if len(text) <= 120 else text[:119] + "…"
    return f'<span class="sv-diff">{t.safe(shown)}</span>'


def _money(one: Asked, part: str) -> str:
    return "–" if one.reason else t.short_dollars(getattr(one.total, part))


def _count(one: Asked, state: Any) -> str:
    return "–" if one.reason else f"{one.stands[state].accounts:,}"


async def _force(page: Page, place: ui.html) -> None:
    rows = [
        [f"<b>{t.safe(name)}</b>{' · the venue' if venue else ''}", t.safe(day),
         f'<span class="sv-mono">{t.safe(digest[:12])}</span>']
        for name, day, digest, venue in await page.hub.venue.read(in_force)
    ]  # fmt: skip
    made = markup.table("Rulebooks in force", ("name", "parameters of", "digest"), rows)
    if made != place.content:
        place.set_content(made)


async def _proposals(page: Page, place: ui.element, force: ui.html, seen: list[Any]) -> None:
    proposals = list(await page.scene.approvals.proposals())
    if proposals == seen[0]:
        return
    seen[0] = proposals
    await _force(page, force)
    place.clear()
    with place:
        if not proposals:
            ui.html('<p class="sv-note">Nothing is proposed.</p>', sanitize=False)
        for one in proposals[:8]:
            _proposal(page, one)


def _proposal(page: Page, one: Proposal) -> None:
    with ui.element("div").classes("sv-order"):
        second = f", approved by {t.safe(one.approved_by)}" if one.approved_by else ""
        detail = f": {t.safe(one.detail)}" if one.detail else ""
        ui.html(
            f"<span>{one.number}. <b>{t.safe(one.what)}</b> by {t.safe(one.by)}{second} · "
            f"{t.safe(one.status)}{detail}</span>",
            sanitize=False,
        )
        if one.status != "waiting":
            return
        approve = button("Approve", lambda: _decide(page, one, done=True), main=True)
        approve.props(f'dense aria-label="Approve proposal {one.number}" data-name="approve"')
        withdraw = button("Withdraw", lambda: _decide(page, one, done=False))
        withdraw.props(f'dense aria-label="Withdraw proposal {one.number}"')


async def _decide(page: Page, one: Proposal, *, done: bool) -> None:
    approvals = page.scene.approvals
    act = approvals.approve if done else approvals.withdraw
    async with page.acting(Action.APPROVE if done else Action.PROPOSE) as caller:
        if caller is None:
            return
        found = await act(one.number, caller.name)
        page.say(f"Proposal {found.number}: {found.status} {found.detail}".strip())
