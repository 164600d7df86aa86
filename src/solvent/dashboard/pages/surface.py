"""The Surface page: the volatility surface, its quotes, and what is left over."""

from __future__ import annotations

from typing import Any

from nicegui import ui

from solvent.dashboard import charts, markup
from solvent.dashboard import text as t
from solvent.dashboard.pages.frame import Page, button, card, frame, heading
from solvent.dashboard.surface_view import Curve, SurfaceView, surface_view


class _Fitted:
    """The last fit, and which book of it is shown."""

    def __init__(self) -> None:
        self.view: SurfaceView | None = None
        self.book = ""
        self.drawn = 0

    @property
    def curves(self) -> tuple[Curve, ...]:
        """Of the book that is shown."""
        return () if self.view is None else self.view.books.get(self.book, ())


async def surface_page(page: Page) -> None:
    """Build the page; the surface is fitted when it opens, and when asked."""
    fitted = _Fitted()
    with frame(page, "/surface", "Surface"):
        with ui.element("div").classes("sv-head"):
            heading("Volatility surface", "Fitted without arbitrage to what the market tells.")
            with ui.element("div").classes("sv-row"):
                books = ui.select([], label="Book").props("outlined dense")
                books.classes("sv-narrow")
                again = button("Fit again", lambda: _fit(page, fitted, books), name="fit")
                again.props('aria-label="Fit the surface again"')
        with ui.element("div").classes("sv-grid"):
            _cards(page, fitted)
        books.on_value_change(lambda event: _choose(fitted, event.value))
        ui.timer(0.05, lambda: _fit(page, fitted, books), once=True)


def _choose(fitted: _Fitted, book: str) -> None:
    fitted.book = book or ""
    fitted.drawn += 1


async def _fit(page: Page, fitted: _Fitted, books: ui.select) -> None:
    market = page.hub.market
    if market is None:
        page.say("No market has been published yet.", bad=True)
        return
    fitted.view = await page.hub.aside(surface_view, market)
    names = list(fitted.view.books)
    book = fitted.book if fitted.book in names else next(iter(names), "")
    books.set_options(names, value=book or None)
    _choose(fitted, book)


def _cards(page: Page, fitted: _Fitted) -> None:
    def drawing(make: Any) -> Any:
        drawn = [-1]

        def options() -> dict[str, Any] | None:
            if drawn[0] == fitted.drawn or not fitted.curves:
                return None
            drawn[0] = fitted.drawn
            return dict(make(fitted.curves, page.colours))

        return options

    with card("Smiles", span=12, note="lines fitted, dots told; strike in % of the forward"):
        page.chart(
            "Implied volatility by strike", drawing(charts.smile_chart), every_s=0.3,
            also="sv-tall",
        )  # fmt: skip
    with card("Residuals", span=6, note="told less fitted, volatility points"):
        page.chart("Residuals by strike", drawing(charts.residual_chart), every_s=0.3,
                   also="sv-tall")  # fmt: skip
    with card("Expiries", span=6):
        page.live(lambda: _table(fitted), every_s=0.3)


def _table(fitted: _Fitted) -> str:
    if fitted.view is None:
        return '<p class="sv-note">Fitting…</p>'
    rows = [
        [t.safe(one.name), t.number(one.days, 1), t.percent(one.atm),
         t.number(one.skew, 3), t.number(None if one.median is None else 100 * one.median, 3),
         f"{one.used:,}", t.safe(one.reason or "–")]
        for one in fitted.curves
    ]  # fmt: skip
    table = markup.table(
        "Expiries",
        ("expiry", "days", "at the money", "skew", "median residual, pt", "quotes", "note"),
        rows,
    )
    return table + f'<p class="sv-note">As of {t.clock(fitted.view.as_of_ms)} UTC.</p>'
