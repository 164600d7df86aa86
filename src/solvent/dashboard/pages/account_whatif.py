"""The what-if panel: add a trade, drag spot and volatility, see before and after at once."""

from __future__ import annotations

import asyncio
from typing import Any

from nicegui import ui

from solvent.dashboard import markup
from solvent.dashboard import text as t
from solvent.dashboard.ask_again import Asked, ask
from solvent.dashboard.pages.frame import Page, button, card
from solvent.solvency.classes import State as Class
from solvent.whatif import State

_WAIT_S = 0.12
"""A slider is at rest for so long before the question is asked."""


class _Panel:
    """The question as it stands; the newest one is answered, others are dropped."""

    def __init__(self, page: Page, name: str) -> None:
        self.page, self.name = page, name
        self.symbol: str | None = None
        self.size: float | None = None
        self.spot = self.vol = 0.0
        self.answer: Asked | None = None
        self.busy = False
        self._asked = 0

    async def ask(self) -> None:
        """Ask soon, unless something else is asked before that."""
        self._asked += 1
        mine = self._asked
        await asyncio.sleep(_WAIT_S)
        if mine == self._asked:
            await self.answer_now()

    async def answer_now(self) -> None:
        """Work the answer out on the newest market."""
        hub = self.page.hub
        now, market = hub.accounts.get(self.name), hub.market
        rules = None if now is None else hub.rules.get(now.rulebook)
        if now is None or market is None or rules is None:
            return
        add = {self.symbol: float(self.size)} if self.symbol and self.size else {}

        def work() -> Asked:
            return ask(now, market, rules.rulebook, add=add, spot=self.spot / 100.0,
                       vol=1.0 + self.vol / 100.0)  # fmt: skip

        self.busy = True
        try:
            self.answer = await hub.aside(work)
        finally:
            self.busy = False

    def html(self) -> str:
        """Before and after as a table."""
        answer = self.answer
        if answer is None:
            return '<p class="sv-note">Add a trade or move the market.</p>'
        if answer.before is None or answer.after is None:
            return f'<p class="sv-banner bad" role="alert">{t.safe(answer.reason)}</p>'
        return _table(answer.before, answer.after)


def _table(before: State, after: State) -> str:
    if not (before.known and after.known):
        why = before.reason or after.reason or "its margin is not known there"
        return f'<p class="sv-note">{t.safe(why)}</p>'
    rows = []
    for label, one, other in (
        ("equity", before.equity, after.equity),
        ("initial margin", before.initial, after.initial),
        ("maintenance margin", before.maintenance, after.maintenance),
        ("available", before.equity - before.initial, after.equity - after.initial),
        ("health", before.equity - before.maintenance, after.equity - after.maintenance),
    ):
        change = other - one
        rows.append(
            [label, t.number(one), t.number(other), markup.signed(change, t.number(change))]
        )
    states = (markup.state(_class(before)), markup.state(_class(after)))
    rows.append(["state", *states, ""])
    table = markup.table("Before and after", ("dollars", "before", "after", "change"), rows)
    # Beside the table: as a row its words would push what it becomes off a narrow screen.
    binds = [t.safe(one.binding or "–") for one in (before, after)]
    told = binds[0] if binds[0] == binds[1] else f"{binds[0]}; after: {binds[1]}"
    return f'{table}<p class="sv-note">binds: {told}</p>'


def _class(one: State) -> Class:
    if one.liquidate:
        return Class.LIQUIDATE
    return Class.CALL if one.equity < one.initial else Class.HEALTHY


def whatif_card(page: Page, name: str) -> None:
    """Build the panel."""
    panel = _Panel(page, name)
    with card("What if", span=12, note="nothing is done: before and after on the newest market"), \
            ui.element("div").classes("sv-grid"):  # fmt: skip
        with ui.element("div").classes("sv-stack sv-5").props('data-name="whatif"'):
            _inputs(page, panel)
        with ui.element("div").classes("sv-7"):
            block = page.live(panel.html, every_s=0.25)
            block.props('aria-live="polite" data-name="whatif-answer"')
    page.follow(lambda: _again(panel), every_s=2.0)


def _again(panel: _Panel) -> None:
    """The market has moved: the same question has another answer."""
    if panel.busy:
        return
    task = asyncio.ensure_future(panel.answer_now())
    _TASKS.add(task)
    task.add_done_callback(_TASKS.discard)


_TASKS: set[asyncio.Future[Any]] = set()


def _inputs(page: Page, panel: _Panel) -> None:
    with ui.element("div").classes("sv-row"):
        select = symbol_select(page, lambda value: setattr(panel, "symbol", value), panel.ask)
        number = (
            ui.number("Size, − sells", format="%.8g").props("outlined dense").classes("sv-grow")
        )

        async def sized(event: Any) -> None:
            panel.size = event.value
            await panel.ask()

        number.on_value_change(sized)
    spot = _slider(panel, "Spot", "spot", -50, 50)
    vol = _slider(panel, "Volatility", "vol", -60, 150)

    async def reset() -> None:
        select.set_value(None)
        number.set_value(None)
        spot.set_value(0)
        vol.set_value(0)
        await panel.ask()

    with ui.element("div").classes("sv-row"):
        button("Start over", reset, name="whatif-reset")


def symbol_select(page: Page, tell: Any, then: Any) -> ui.select:
    """A list of what is traded, that can be searched."""
    market = page.hub.market
    names = [] if market is None else list(market.universe.symbols)
    select = ui.select(names, label="Instrument", with_input=True, clearable=True)
    select.props("outlined dense options-dense use-input input-debounce=0").classes("sv-grow")

    async def chosen(event: Any) -> None:
        tell(event.value)
        await then()

    select.on_value_change(chosen)
    return select


def _slider(panel: _Panel, words: str, name: str, low: int, high: int) -> ui.slider:
    with ui.element("div"):
        label = ui.html(_slid(words, 0.0), sanitize=False)
        slider = ui.slider(min=low, max=high, step=1, value=0)
        slider.props(f'aria-label="{words}, percent" data-name="whatif-{name}"')

        async def moved(event: Any) -> None:
            setattr(panel, name, float(event.value or 0))
            label.set_content(_slid(words, float(event.value or 0)))
            await panel.ask()

        slider.on_value_change(moved)
    return slider


def _slid(words: str, value: float) -> str:
    return (
        f'<p class="sv-note" style="display:flex;justify-content:space-between"><span>{words}'
        f"</span><b>{t.percent(value / 100.0, 0, sign=True)}</b></p>"
    )
