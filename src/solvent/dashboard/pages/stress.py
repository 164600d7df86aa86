"""The Stress page: one scenario on everybody, and who falls."""

from __future__ import annotations

from typing import Any

from nicegui import ui

from solvent.dashboard import markup
from solvent.dashboard import text as t
from solvent.dashboard.pages.frame import Page, button, card, frame, heading
from solvent.dashboard.stress_view import Stressed, presets, stress
from solvent.dashboard.theme import SIGNS
from solvent.dashboard.venue_view import STATES
from solvent.service.callers import Action
from solvent.solvency.classes import State as Class

_ALL = "all prices"


class _Scenario:
    def __init__(self) -> None:
        self.spot, self.vol, self.who = -20.0, 0.0, _ALL


def stress_page(page: Page) -> None:
    """Build the page."""
    scenario = _Scenario()
    with frame(page, "/stress", "Stress"):
        heading("Who falls?", "The market is moved and repriced; everybody is margined on it.")
        place: list[ui.html] = []
        with card("Scenario", span=12):
            _form(page, scenario)
            run = _runner(page, scenario, place)
            with ui.element("div").classes("sv-row"):
                button("Run on the whole venue", run, main=True, name="run-stress")
        place.append(ui.html("", sanitize=False).classes("sv-wide"))
        place[0].props('aria-live="polite" data-name="stressed"')


def _form(page: Page, scenario: _Scenario) -> None:
    market = page.hub.market
    names = [_ALL, *([] if market is None else market.universe.underlyings)]
    with ui.element("div").classes("sv-row"):
        who = ui.select(names, value=_ALL, label="What moves").props("outlined dense")
        who.classes("sv-grow")
        spot = ui.number("Price, %", value=scenario.spot, min=-95, max=400, format="%.6g")
        vol = ui.number("Volatility, %", value=scenario.vol, min=-90, max=400, format="%.6g")
        for one in (spot, vol):
            one.props("outlined dense").classes("sv-grow")
    who.on_value_change(lambda event: setattr(scenario, "who", event.value))
    spot.on_value_change(lambda event: setattr(scenario, "spot", float(event.value or 0.0)))
    vol.on_value_change(lambda event: setattr(scenario, "vol", float(event.value or 0.0)))
    with ui.element("div").classes("sv-row").props('role="group" aria-label="Presets"'):
        for name, move, factor in presets():

            def chosen(move: float = move, factor: float = factor) -> None:
                who.set_value(_ALL)
                spot.set_value(round(100 * move, 6))
                vol.set_value(round(100 * (factor - 1), 6))

            button(name, chosen)


def _runner(page: Page, scenario: _Scenario, place: list[ui.html]) -> Any:
    async def run() -> None:
        if await page.may(Action.VENUE_READ) is None:
            return
        hub = page.hub
        market, rooms = hub.market, list(hub.rooms.values())
        if market is None or not rooms:
            page.say("No market has been published yet.", bad=True)
            return
        if scenario.spot <= -100.0 or scenario.vol <= -100.0:
            page.say("Expected a move that leaves a price and a volatility.", bad=True)
            return
        who = None if scenario.who == _ALL else scenario.who
        fund = 0 if hub.view is None else hub.view.fund_total_micro

        def work() -> Stressed:
            return stress(
                rooms, market, spot=scenario.spot / 100.0, vol=1.0 + scenario.vol / 100.0,
                underlying=who, fund_micro=fund,
            )  # fmt: skip

        place[0].set_content('<p class="sv-note">Repricing and margining everybody…</p>')
        place[0].set_content(stressed_html(await hub.aside(work)))

    return run


def stressed_html(found: Stressed) -> str:
    """What the scenario does, as cards."""
    cover = found.fund_micro - found.shortfall_micro
    names = ", ".join(f"{t.safe(n)} {t.percent(f - 1, sign=True)}" for n, f in found.spot.items())
    figures = markup.kpis(
        (
            ("Would be liquidated", f"{found.fallen:,}",
             f"{found.before[Class.LIQUIDATE].accounts:,} are now"),
            ("Below nothing", t.short_dollars(found.shortfall_micro), "what others must pay"),
            ("Insurance fund", t.short_dollars(found.fund_micro),
             f"after: {t.short_dollars(cover)}" if cover >= 0
             else f'<span class="sv-loss">short by {t.short_dollars(-cover)}</span>'),
            ("Scenario", t.percent(next(iter(found.spot.values())) - 1, sign=True),
             f"{names} · vol {t.percent(found.vol - 1, sign=True)}"),
        )
    )  # fmt: skip
    return (
        f'{figures}<div class="sv-grid" style="margin-top:14px">'
        f'<section class="sv-card sv-6"><h2>From where to where</h2>{_moved(found)}</section>'
        f'<section class="sv-card sv-6"><h2>Who falls<small>by what is missing</small></h2>'
        f"{markup.urgent_table(found.worst)}</section></div>"
        '<p class="sv-note" style="margin-top:10px">'
        f"On the market of {t.clock(found.as_of_ms)} UTC.</p>"
    )


def _moved(found: Stressed) -> str:
    heads = ("before ↓ after →", *(f"{SIGNS[one]} {one.name.lower()}" for one in STATES))
    rows = [
        [markup.state(one), *(f"{found.moved[int(one)][int(other)]:,}" for other in STATES)]
        for one in STATES
    ]
    return markup.table("Accounts by state before and after", heads, rows)
