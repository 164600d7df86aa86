"""The Account page: one account's margin, why, where it ends, and what would change it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

from nicegui import ui

from solvent.dashboard import charts, markup
from solvent.dashboard import text as t
from solvent.dashboard.holding import AccountNow, Edges, Explained, edges_of, explained
from solvent.dashboard.hub import Hub
from solvent.dashboard.pages.account_orders import orders_card
from solvent.dashboard.pages.account_statement import statement_card
from solvent.dashboard.pages.account_whatif import whatif_card
from solvent.dashboard.pages.frame import Page, card, frame, heading
from solvent.engine.state import Standing
from solvent.margining.compile import AnyPlan, AnyRulebook
from solvent.solvency.classes import State as Class

_EDGES_S = 4.0
_LOADING = '<p class="sv-note">Reading the account…</p>'


class Shown:
    """What one open page knows of its account, kept up to date off the event loop."""

    def __init__(self, hub: Hub, name: str) -> None:
        self.hub, self.name = hub, name
        self.why: Explained | None = None
        self.edges: dict[str, Edges] = {}
        self._why_of: Any = None
        self._edges_of: Any = None
        self._edges_at = 0.0
        self._tasks: dict[str, asyncio.Task[None]] = {}

    @property
    def now(self) -> AccountNow | None:
        """The newest copy."""
        return self.hub.accounts.get(self.name)

    def refresh(self) -> None:
        """Begin to work out what is out of date, unless that is under way."""
        now = self.now
        rules = None if now is None else self.hub.rules.get(now.rulebook)
        if now is None or rules is None or rules.plan is None:
            return
        mine = (now.positions, now.balances, id(rules.plan))
        if mine != self._why_of:
            self._begin("why", self._explain(now, rules.plan, mine))
        late = time.monotonic() - self._edges_at > _EDGES_S
        if late and mine != self._edges_of:
            self._begin("edges", self._edge(now, rules.rulebook, mine))

    def _begin(self, what: str, work: Coroutine[Any, Any, None]) -> None:
        task = self._tasks.get(what)
        if task is None or task.done():
            self._tasks[what] = asyncio.ensure_future(work)
        else:
            work.close()

    async def _explain(self, now: AccountNow, plan: AnyPlan, mine: Any) -> None:
        self.why = await self.hub.aside(explained, now, plan)
        self._why_of = mine

    async def _edge(self, now: AccountNow, rulebook: AnyRulebook, mine: Any) -> None:
        """Hundreds of margins, for which nothing else waits."""
        if self.hub.market is None:
            return
        search = edges_of(now, self.hub.market, rulebook)
        found: dict[str, Edges] = {}
        # Each is shown when it is found, and between two of them other pages have their turn.
        while (one := await self.hub.slowly(next, search, None)) is not None:
            found[one.underlying] = one
            self.edges = {**self.edges, **found}
        self.edges = found
        self._edges_at, self._edges_of = time.monotonic(), mine


async def account_page(page: Page, name: str) -> None:
    """Build the page of an account; an unknown name is said so."""
    hub = page.hub
    known = await hub.venue.read(lambda engine: name in engine.state.account_numbers)
    with frame(page, "/account", name or "Account"):
        with ui.element("div").classes("sv-head"):
            heading(name or "An account", "Its margin, why, where it ends, and what would change.")
            _finder(name)
        if not known:
            told = f"No account is named {t.safe(name)}." if name else "Name an account."
            ui.html(f'<div class="sv-banner" role="status">{told}</div>', sanitize=False)
            return
        hub.watch(name)
        ui.context.client.on_delete(lambda: hub.leave(name))
        shown = Shown(hub, name)
        page.follow(shown.refresh, every_s=0.5)
        _build(page, shown)


def _finder(name: str) -> None:
    """A form of its own, so that it works before anything is connected."""
    ui.html(
        '<form action="/account" method="get" role="search" data-find style="display:flex;gap:8px">'
        '<label class="sv-hidden" for="find">Account</label>'
        f'<input id="find" class="sv-input" name="q" value="{t.safe(name)}" '
        'placeholder="account, key: /" autocomplete="off">'
        '<button class="q-btn sv-quiet sv-theme-like" type="submit">Show</button></form>',
        sanitize=False,
    )


def _build(page: Page, shown: Shown) -> None:
    page.live(lambda: _banner(shown))
    with card("Margin", span=12):
        page.live(lambda: _margin(page, shown))
    with ui.element("div").classes("sv-grid"):
        with card("Positions", span=8, note="liquidation prices: that underlying alone moves"):
            page.live(lambda: _positions(shown))
        with card("Greeks", span=4):
            page.live(lambda: _why(shown, lambda why: markup.greeks_table(why.greeks)))
        whatif_card(page, shown.name)
        with card("Scenarios", span=8, note="PnL by spot and volatility; ▶ binds"):
            page.live(lambda: _why(shown, lambda why: _heats(page, why)))
        with card("Collateral", span=4, note="after haircuts"):
            page.live(lambda: _why(shown, lambda why: markup.worths_table(why.worths)))
            page.live(lambda: _why(shown, markup.charges_table))
        orders_card(page, shown.name)
        with card("History of margin", span=5, note="since it was first watched"):
            page.chart("Equity and margins over time", lambda: _history(page, shown))
        statement_card(page, shown.name)


def _banner(shown: Shown) -> str:
    now = shown.now
    if now is None:
        return _LOADING
    if now.status == "liquidation":
        return '<div class="sv-banner bad" role="alert">■ This account is under liquidation.</div>'
    if now.call_micro:
        until = f" by {t.clock(now.deadline_ms)} UTC" if now.deadline_ms else ""
        return (
            '<div class="sv-banner bad" role="alert" data-name="call">▲ Margin call: post '
            f"<b>{t.dollars_text(now.call_micro)}</b>{until}, or reduce.</div>"
        )
    if now.call_level:
        return (
            f'<div class="sv-banner" role="status" data-name="warning">◐ Warned, level '
            f"{now.call_level}: near its maintenance margin.</div>"
        )
    return ""


def state_of(stands: Standing) -> Class:
    """The class of a standing, without the shades of closeness.

    >>> state_of(Standing(1, 1, 1, False, False, False)).name
    'UNKNOWN'
    """
    if not stands.known:
        return Class.UNKNOWN
    if stands.liquidate:
        return Class.LIQUIDATE
    return Class.CALL if stands.call else Class.HEALTHY


def _margin(page: Page, shown: Shown) -> str:
    now = shown.now
    if now is None:
        return _LOADING
    one = now.standing
    line = (
        f'<p class="sv-note">{markup.state(state_of(one))} · {t.safe(now.status)} · under '
        f'<a href="/rulebooks">{t.safe(now.rulebook)}</a></p>'
    )
    bar = markup.margin_bar(
        one.equity_micro / 1e6, one.initial_micro / 1e6, one.maintenance_micro / 1e6,
        page.colours, known=one.known,
    )  # fmt: skip
    return line + bar


def _positions(shown: Shown) -> str:
    now = shown.now
    return _LOADING if now is None else markup.positions_table(now.positions, shown.edges)


def _why(shown: Shown, make: Any) -> str:
    return _LOADING if shown.why is None else str(make(shown.why))


def _heats(page: Page, why: Explained) -> str:
    if not why.heats:
        return f'<p class="sv-note">{t.safe(why.reason or "Nothing is held.")}</p>'
    told = [one for one in why.heats if any(pnl for row in one.pnl for pnl in row)]
    maps = "".join(markup.heat_table(one, page.colours) for one in told or why.heats[:1])
    return f'<div class="sv-heats">{maps}</div>'


def _history(page: Page, shown: Shown) -> dict[str, Any] | None:
    points = page.hub.histories.get(shown.name)
    return charts.margin_chart(list(points)[-150:], page.colours) if points else None
