"""The Venue page: is everyone solvent, now, and if prices gap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nicegui import ui

from solvent.dashboard import charts, markup
from solvent.dashboard import text as t
from solvent.dashboard.pages.frame import Page, card, frame, heading
from solvent.dashboard.venue_view import Point, VenueView

_POINTS = 150
_LOADING = '<p class="sv-note">Reading the books…</p>'


def venue_page(page: Page) -> None:
    """Build the page."""
    with frame(page, "/", "Venue"):
        heading("Is everyone solvent?", "Every account at every tick, and if all prices gap.")
        page.live(lambda: _banner(page.hub.view))
        page.live(lambda: _of(page, markup.venue_kpis))
        with ui.element("div").classes("sv-grid"):
            _first(page)
            _second(page)
            _third(page)


def _first(page: Page) -> None:
    with card("Price and volatility", span=8, note="since the page's history began"):
        page.chart("Prices and volatility over time", lambda: _history(page, charts.price_chart))
    with card("Accounts by state", span=4):
        page.live(lambda: _of(page, markup.states_table))
        page.live(lambda: _of(page, _coverage))
    with card("Who is not healthy", span=4, note="accounts"):
        page.chart("Accounts by state over time", lambda: _history(page, charts.states_chart))
    with card("Requirement and collateral", span=4, note="all accounts"):
        page.chart("Equity and margins over time", lambda: _history(page, charts.money_chart))
    with card("Insurance fund", span=4):
        page.chart("Insurance fund and liquidations", lambda: _history(page, charts.fund_chart))


def _second(page: Page) -> None:
    shown = [0]

    def heat() -> dict[str, Any] | None:
        view = page.hub.view
        if view is None or view.heat is None or view.heat.columns[-1][0] == shown[0]:
            return None
        shown[0] = view.heat.columns[-1][0]
        return charts.heat_chart(view.heat, page.colours)

    def stairs() -> dict[str, Any] | None:
        view = page.hub.view
        return None if view is None else charts.staircase_chart(view.ladder, page.colours)

    with ui.element("div").classes("sv-stack sv-7"):
        with card("Where liquidations wait", span=12, note="dollars by price, all together"):
            page.chart("Liquidation heat map by price", heat, every_s=2.0, also="sv-tall")
            page.live(lambda: _of(page, _heat_note), every_s=2.0)
        with card("Liquidation staircase", span=12, note="below maintenance at each move"):
            page.chart("Accounts below maintenance by move of all prices", stairs, every_s=2.0)
    with card("Gap ladder", span=5, note="repriced, volatility as now"):
        page.live(
            lambda: _of(page, lambda view: markup.ladder_table(view, page.colours)), every_s=0.5
        )
        page.live(lambda: _of(page, _ladder_age), every_s=1.0)


def _third(page: Page) -> None:
    with card("Solvency-delta", span=6, note="accounts near ruin, if the venue took them over"):
        page.live(lambda: _of(page, markup.delta_table))
        ui.html(
            '<p class="sv-note">Delta is dollars gained as the price doubles; the hedge keeps a '
            "10 % gap either way within a quarter of the fund.</p>",
            sanitize=False,
        )
    with card("Most urgent", span=6, note="nearest to ruin first"):
        page.live(lambda: _of(page, lambda view: markup.urgent_table(view.urgent)))
    with card("Calls and liquidations", span=6):
        page.live(lambda: _of(page, lambda view: markup.news_list(view.news)))
    with card("Tick latency", span=6, note="durable publication to figures of every account"):
        page.chart(
            "Milliseconds of the last ticks",
            lambda: charts.latency_chart(page.hub.times_ms(60), page.colours),
            also="sv-low",
        )
        page.live(lambda: _of(page, _latency))


def _of(page: Page, make: Any) -> str:
    view = page.hub.view
    return _LOADING if view is None else str(make(view))


def _history(page: Page, make: Any) -> dict[str, Any] | None:
    view = page.hub.view
    return None if view is None else make(thinned(view.history, _POINTS), page.colours)


def thinned(history: Sequence[Point], most: int) -> Sequence[Point]:
    """Fewer points of a history, the last one always among them."""
    step = -(-len(history) // most)
    if step <= 1:
        return history
    return history[(len(history) - 1) % step :: step]


def _banner(view: VenueView | None) -> str:
    if view is None:
        return _LOADING
    if view.stale:
        names = ", ".join(map(t.safe, view.stale))
        return (
            f'<div class="sv-banner bad" role="status">Risk arrays of {names} are too old: its '
            "accounts are unknown, and nobody of them is liquidated.</div>"
        )
    if view.loaded < view.accounts and not view.positions:
        return f'<div class="sv-banner">{view.accounts:,} accounts, none holds risk.</div>'
    return ""


def _coverage(view: VenueView) -> str:
    ordered = (
        f" Orders of {view.ordered:,} accounts count in their own initial margin, not in this sum."
        if view.ordered
        else ""
    )
    return (
        f'<p class="sv-note">{view.positions:,} positions and {view.orders:,} orders under '
        f"{', '.join(map(t.safe, view.rulebooks)) or 'no rulebook'}; {view.liquidating:,} "
        f"liquidations under way.{ordered}</p>"
    )


def _heat_note(view: VenueView) -> str:
    if view.heat is None:
        return '<p class="sv-note">The first map comes when every rung has been repriced once.</p>'
    return (
        f'<p class="sv-note">The line is the {t.safe(view.heat.underlying)} index; the redder, '
        "the more is liquidated at that price.</p>"
    )


def _ladder_age(view: VenueView) -> str:
    if not view.ladder:
        return ""
    oldest = max(0, view.time_ms - min(one.as_of_ms for one in view.ladder)) / 1e3
    return (
        f'<p class="sv-note">Rungs are made new in turn: the oldest is of {oldest:,.0f} s ago.</p>'
    )


def _latency(view: VenueView) -> str:
    one = view.latency
    return (
        f'<p class="sv-note">{one.count:,} publications: half within {one.half_ms:,.0f} ms, 99 % '
        f"within {one.most_ms:,.0f} ms; margining {view.loaded:,} accounts took "
        f"{one.judge_ms:,.0f} ms. {t.safe(markup.states_words(view))}.</p>"
    )
