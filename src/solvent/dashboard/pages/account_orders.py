"""An account's orders: what rests, one more, and taking them back."""

from __future__ import annotations

import secrets
from typing import Any

from nicegui import ui

from solvent.dashboard import text as t
from solvent.dashboard.pages.account_whatif import symbol_select
from solvent.dashboard.pages.frame import Page, button, card
from solvent.engine.state import State
from solvent.host import Answer, Engine
from solvent.messages.commands import CancelOrder, PlaceOrder
from solvent.messages.fields import Command, Side
from solvent.order_rows import OpenOrder
from solvent.order_units import grid_of
from solvent.outcomes import Outcome, outcome_of, refusal_of
from solvent.service.callers import Action


def draft(
    account: str, symbol: str, side: Side, size: str, price: str, *, by: str, name: str
) -> Any:
    """What makes a limit order of the books as they are when its turn comes; a size or price off
    the instrument's grid is BadInput then."""

    def made(state: State) -> Command:
        grid = grid_of(state, symbol)
        return PlaceOrder(
            key=name, actor=by, account=account, order=name, symbol=symbol, side=side,
            lots=grid.lots(size, source=name), price_ticks=grid.ticks(price, source=name),
        )  # fmt: skip

    return made


class _Form:
    def __init__(self) -> None:
        self.symbol: str | None = None
        self.size = ""
        self.price = ""

    async def nothing(self) -> None:
        """There is nothing to do when the instrument changes."""


def orders_card(page: Page, account: str) -> None:
    """Build the card: a form, and the orders that are open."""
    form = _Form()
    with card("Orders", span=7, note="limit orders, margined before they rest"):
        with ui.element("div").classes("sv-row").props('data-name="order-form"'):
            symbol_select(page, lambda value: setattr(form, "symbol", value), form.nothing)
            size = ui.input("Size").props('outlined dense inputmode="decimal"').classes("sv-grow")
            price = ui.input("Price").props('outlined dense inputmode="decimal"')
            price.classes("sv-grow")
            size.on_value_change(lambda event: setattr(form, "size", str(event.value or "")))
            price.on_value_change(lambda event: setattr(form, "price", str(event.value or "")))
            button("Buy", lambda: _place(page, account, form, Side.BUY), main=True, name="buy")
            button("Sell", lambda: _place(page, account, form, Side.SELL), name="sell")
        place = ui.element("div").props('data-name="orders"')
        shown: list[Any] = [None]

        def refresh() -> None:
            now = page.hub.accounts.get(account)
            orders = None if now is None else now.orders
            if orders != shown[0]:
                shown[0] = orders
                _rows(page, place, account, orders or ())

        page.follow(refresh)


def _rows(page: Page, place: ui.element, account: str, orders: tuple[OpenOrder, ...]) -> None:
    place.clear()
    with place:
        if not orders:
            ui.html('<p class="sv-note">No order is open.</p>', sanitize=False)
            return
        for one in orders:
            with ui.element("div").classes("sv-order"):
                price = "market" if one.price is None else t.number(float(one.price))
                words = (
                    f'<span class="sv-mono">{t.safe(one.symbol)}</span> {t.safe(one.side)} '
                    f"<b>{t.size(float(one.size))}</b> at <b>{price}</b> · {t.safe(one.status)}"
                )
                ui.html(words, sanitize=False)
                made = button("Cancel", lambda one=one: _cancel(page, account, one.order))
                made.props(f'dense aria-label="Cancel {t.safe(one.order)}" data-name="cancel"')


async def _place(page: Page, account: str, form: _Form, side: Side) -> None:
    if not (form.symbol and form.size and form.price):
        page.say("Expected an instrument, a size and a price.", bad=True)
        return
    symbol, size, price = form.symbol, form.size.strip(), form.price.strip()
    name, lots = f"p-{secrets.token_hex(6)}", 1 if side is Side.BUY else -1

    def told(engine: Engine, answers: list[Answer]) -> Outcome:
        return outcome_of(
            engine.state, answers[0], account=account, order=name,
            grid=grid_of(engine.state, symbol), lots=lots,
        )  # fmt: skip

    async with page.acting(Action.ORDER_PLACE, account) as caller:
        if caller is None:
            return
        made = draft(account, symbol, side, size, price, by=caller.name, name=name)
        outcome = await page.hub.venue.request([made], told)
        page.hub.wake()
        if outcome.accepted:
            filled = f", {t.size(float(outcome.filled))} filled" if outcome.filled else ""
            page.say(f"Order {outcome.status}{filled}")
        else:
            page.say(f"Refused: {outcome.detail}", bad=True)


async def _cancel(page: Page, account: str, order: str) -> None:
    async with page.acting(Action.ORDER_CANCEL, account) as caller:
        if caller is None:
            return
        command = CancelOrder(
            key=f"c-{secrets.token_hex(6)}", actor=caller.name, account=account, order=order
        )
        (answer,) = await page.hub.venue.submit([command])
        page.hub.wake()
        if answer.accepted:
            page.say("Order cancelled")
        else:
            page.say(f"Refused: {refusal_of(answer.events)}", bad=True)
