"""Deribit's private methods about risk: where an account stands, what it holds, what if.

Margin is one for the whole account, in dollars; of a currency it is told as Deribit tells it under
cross collateral: `balance` and `equity` are what is owned in that currency, `margin_balance`,
margins and `available_funds` are the whole account's in units of it. `total_…_usd` are the engine's
own numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

import numpy as np
from msgspec import Meta, Struct

from solvent.account.position import Position
from solvent.documents import money_of
from solvent.engine.open_orders import Asked as Order
from solvent.engine.standing import View, reordered, standings
from solvent.engine.state import Contract, Standing, State
from solvent.order_units import account_number
from solvent.service.callers import Action, Callers
from solvent.service.deribit.public import Word, contract_of
from solvent.service.deribit.quotes import arrays_of
from solvent.service.deribit.rpc import (
    BAD_REQUEST,
    FORBIDDEN,
    INVALID_PARAMS,
    TEMPORARILY_UNAVAILABLE,
    Asked,
    Fault,
    method,
)
from solvent.service.deribit.terms import (
    contracts,
    index_of,
    kind_of,
    price,
    rounded,
    without_none,
)
from solvent.service.portfolios import (
    ChangesTold,
    Shelf,
    TradeTold,
    changed,
    labels,
    nobody,
    of_account,
    ruled,
)
from solvent.service.published import Published

MICRO: Final = 1e6
GREEKS: Final = ("delta", "gamma", "vega", "theta")
ACCOUNT_HEADER: Final = "solvent-account"


class OfAccount(Struct):
    """An account: by its number or name, or the caller's own where they have one."""

    currency: Word | None = None
    subaccount_id: int | None = None
    account: Word | None = None
    extended: bool = False


class Held(OfAccount):
    """Positions of a currency and kind."""

    kind: Word | None = None


class HeldOne(OfAccount, kw_only=True):
    """The position in one contract."""

    instrument_name: Word


class Margins(OfAccount, kw_only=True):
    """An order that might be placed: `amount` in the contract's own unit."""

    instrument_name: Word
    amount: float
    price: float


class Simulated(OfAccount):
    """Positions that might be held: instrument → size, on top of what is held where
    `add_positions`."""

    add_positions: bool = True
    simulated_positions: dict[Word, float] = {}


@dataclass(frozen=True, slots=True)
class Seen:
    """An account as it is: apart from the books, where it stands, and what was published."""

    now: Published
    number: int
    name: str
    view: View
    positions: dict[int, Position]
    standing: Standing
    cash: dict[int, int]
    """Asset → all that is owned of it, margins of isolated positions and orders too."""


async def seen(asked: Asked, told: OfAccount) -> Seen:
    """The account that a call is about. Raises Fault, and Forbidden where it is not theirs."""
    caller = asked.caller
    assert caller is not None
    name = told.account or asked.connection.headers.get(ACCOUNT_HEADER)
    if name is None and told.subaccount_id is None:
        if caller.accounts is None or len(caller.accounts) != 1:
            raise Fault(
                BAD_REQUEST, "bad_request", param="subaccount_id",
                reason="say which account: expected subaccount_id, account or the header "
                "Solvent-Account, as the caller has not just one",
            )  # fmt: skip
        (name,) = caller.accounts

    def look(state: State) -> Seen:
        number = told.subaccount_id if name is None else account_number(state, name)
        if number is None or not 0 <= number < len(state.accounts) or not state.accounts[number]:
            raise Fault(FORBIDDEN, "forbidden", reason="no such account")
        account = state.account(number)
        view = of_account(state, account.name)
        cash: dict[int, int] = {}
        for _, asset, units in money_of(state, number):
            cash[asset] = cash.get(asset, 0) + units
        (found,) = standings(state, [view]) if account.rulebook in state.rules else (
            Standing(0, 0, 0, False, False, False),
        )  # fmt: skip
        held = dict(account.positions or {})
        return Seen(asked.now, number, account.name, view, held, found, cash)

    callers: Callers = asked.connection.app.state.callers
    if name is not None:
        callers.check(caller, Action.ACCOUNT_READ, name)
    found = await asked.read(lambda engine: look(engine.state))
    callers.check(caller, Action.ACCOUNT_READ, found.name)
    return found


# ── summaries ────────────────────────────────────────────────────────────────────────────────────


@method("private/get_account_summary", OfAccount, Action.ACCOUNT_READ)
async def get_account_summary(told: OfAccount, asked: Asked) -> dict[str, Any]:
    """Where an account stands, told in one currency."""
    found = await seen(asked, told)
    names = {name.upper(): name for name, _ in found.now.state.assets}
    currency = names.get((told.currency or "").upper())
    if currency is None:
        raise Fault(
            INVALID_PARAMS, "Invalid params", param="currency",
            reason=f"expected one of {', '.join(names)}",
        )  # fmt: skip
    return _summary(found, currency, found.standing) | _whose(found, told)


@method("private/get_account_summaries", OfAccount, Action.ACCOUNT_READ)
async def get_account_summaries(told: OfAccount, asked: Asked) -> dict[str, Any]:
    """The same in every currency."""
    found = await seen(asked, told)
    rows = [_summary(found, name, found.standing) for name, _ in found.now.state.assets]
    return _whose(found, told) | {"summaries": rows}


def _whose(found: Seen, told: OfAccount) -> dict[str, Any]:
    if not told.extended:
        return {"id": found.number}
    return {"id": found.number, "username": found.name, "system_name": found.name, "type": "main"}


def _summary(found: Seen, currency: str, standing: Standing) -> dict[str, Any]:
    now = found.now
    state, number = now.state, now.state.asset_numbers[currency]
    scale = 10 ** state.assets[number][1]
    balance = found.cash.get(number, 0) / scale
    futures, options = _unrealised(found, currency), _options_value(found, currency)
    row: dict[str, Any] = {
        "currency": currency,
        "margin_model": "cross_pm", "portfolio_margining_enabled": True,
        "cross_collateral_enabled": True,
        "balance": balance,
        "equity": balance + futures + options,
        "futures_pl": futures, "total_pl": futures,
        "options_value": options,
        "available_withdrawal_funds": _free(found, currency, standing),
        **_greeks(found, currency),
    }  # fmt: skip
    amounts = {name: rounded(state, currency, value) for name, value in row.items()
               if isinstance(value, float)}  # fmt: skip
    return row | amounts | margins_of(state, currency, standing)


def margins_of(state: State, currency: str, standing: Standing) -> dict[str, Any]:
    """Equity and margins of an account in a currency and in dollars. Raises Fault where nobody
    knows them: arrays that are too old, or a position without a number."""
    if not standing.known:
        raise Fault(
            TEMPORARILY_UNAVAILABLE, "temporarily_unavailable",
            reason="margin is not known: risk arrays are missing or too old, or do not cover it",
        )  # fmt: skip
    equity, initial, maintenance = (
        amount / MICRO for amount in
        (standing.equity_micro, standing.initial_micro, standing.maintenance_micro)
    )  # fmt: skip
    usd = {
        "total_equity_usd": equity, "total_margin_balance_usd": equity,
        "total_initial_margin_usd": initial, "total_maintenance_margin_usd": maintenance,
    }  # fmt: skip
    unit = index_of(state, currency)
    if unit is None:
        return usd
    of_it = {
        "margin_balance": equity, "initial_margin": initial, "maintenance_margin": maintenance,
        "projected_initial_margin": initial, "projected_maintenance_margin": maintenance,
        "available_funds": equity - initial,
    }  # fmt: skip
    return usd | {name: rounded(state, currency, value / unit) for name, value in of_it.items()}


def _free(found: Seen, currency: str, standing: Standing) -> float:
    """What could be withdrawn at most: what lies free in the currency, and is not needed."""
    state = found.now.state
    number, unit = state.asset_numbers[currency], index_of(found.now.state, currency)
    lies = found.view.balances.get(number, 0) / 10 ** state.assets[number][1]
    if unit is None or not standing.known:
        return 0.0
    spare = (standing.equity_micro - standing.initial_micro) / MICRO / unit
    return float(max(0.0, min(lies, spare)))


def _unrealised(found: Seen, currency: str) -> float:
    """Gains of futures that settle in a currency, at their marks."""
    total = 0.0
    for number, one in found.positions.items():
        contract = found.now.state.contracts[number]
        if contract.listing.settlement == currency and not contract.deal.up_front:
            total += _gain(contract, one)
    return total


def _gain(contract: Contract, one: Position) -> float:
    """A position's gain over its entry, in the settlement asset; of an option over its premium."""
    if contract.mark_points is None:
        return 0.0
    deal = contract.deal
    value = deal.value(one.lots, contract.mark_points) - one.entry_value
    return float(deal.money(value) / deal.asset_scale)


def _options_value(found: Seen, currency: str) -> float:
    total = 0.0
    for number, one in found.positions.items():
        contract = found.now.state.contracts[number]
        if contract.listing.settlement == currency and contract.deal.up_front:
            deal = contract.deal
            points = contract.mark_points or 0
            total += float(deal.money(deal.value(one.lots, points)) / deal.asset_scale)
    return total


def _greeks(found: Seen, currency: str) -> dict[str, Any]:
    """Sums of the published columns over positions that settle in a currency; deltas are coins that
    hedge, gammas their change per 1 %, vegas and thetas in the currency."""
    arrays = arrays_of(found.now)
    if arrays is None:
        return {}
    rows = {symbol: row for row, symbol in enumerate(arrays.universe.symbols)}
    total = dict.fromkeys((*(f"options_{name}" for name in GREEKS), "delta_total"), 0.0)
    for number, one in found.positions.items():
        contract = found.now.state.contracts[number]
        row = rows.get(contract.listing.symbol)
        if contract.listing.settlement != currency or row is None:
            continue
        total["delta_total"] += one.lots * float(arrays.units["delta"][row])
        if contract.deal.up_front:
            for name in GREEKS:
                total[f"options_{name}"] += one.lots * float(arrays.units[name][row])
    return {name: float(np.round(value, 8)) for name, value in total.items()}


# ── positions ────────────────────────────────────────────────────────────────────────────────────


@method("private/get_positions", Held, Action.ACCOUNT_READ)
async def get_positions(told: Held, asked: Asked) -> list[dict[str, Any]]:
    """Positions of a currency and kind, or of all."""
    found = await seen(asked, told)
    some = {one.number for one in contracts(found.now, currency=told.currency, kind=told.kind)}
    return [
        _position(found, number, one) for number, one in found.positions.items() if number in some
    ]


@method("private/get_position", HeldOne, Action.ACCOUNT_READ)
async def get_position(told: HeldOne, asked: Asked) -> dict[str, Any]:
    """The position in one contract, of size 0 where there is none."""
    found = await seen(asked, told)
    contract = contract_of(found.now, told.instrument_name)
    held = found.positions.get(contract.number)
    if held is None:
        return {
            "instrument_name": told.instrument_name, "kind": kind_of(contract), "size": 0.0,
            "direction": "zero", "mark_price": price(contract, contract.mark_points),
        }  # fmt: skip
    return _position(found, contract.number, held)


def _position(found: Seen, number: int, one: Position) -> dict[str, Any]:
    contract = found.now.state.contracts[number]
    deal, told = contract.deal, contract.listing
    size = float(one.lots * deal.lot_size)
    mark = price(contract, contract.mark_points)
    arrays, coins = arrays_of(found.now), None
    rows = {} if arrays is None else {s: n for n, s in enumerate(arrays.universe.symbols)}
    row = rows.get(told.symbol)
    if told.option_type is None and mark:
        coins = size / mark if told.inverse else size
    greeks = {}
    if arrays is not None and row is not None:
        names = GREEKS if deal.up_front else ("delta",)
        greeks = {name: round(one.lots * float(arrays.units[name][row]), 8) for name in names}
    return without_none({
        "instrument_name": told.symbol, "kind": kind_of(contract),
        "direction": "buy" if one.lots > 0 else "sell",
        "size": size,
        "size_currency": None if coins is None else rounded(found.now.state, told.base, coins),
        "average_price": _entry(contract, one),
        "mark_price": mark, "index_price": index_of(found.now.state, told.base),
        "floating_profit_loss": rounded(found.now.state, told.settlement, _gain(contract, one)),
        "total_profit_loss": rounded(found.now.state, told.settlement, _gain(contract, one)),
        "realized_profit_loss": one.realised / deal.asset_scale,
        **greeks,
    })  # fmt: skip


def _entry(contract: Contract, one: Position) -> float | None:
    deal = contract.deal
    if not one.lots or not one.entry_value:
        return None if not one.lots else 0.0
    if deal.coin_numerator:
        points = -one.lots * deal.coin_numerator / deal.coin_denominator / one.entry_value
        return float(points * deal.point)
    return float(deal.point) * one.entry_value / one.lots


# ── what if ──────────────────────────────────────────────────────────────────────────────────────


@method("private/get_margins", Margins, Action.ASK)
async def get_margins(told: Margins, asked: Asked) -> dict[str, Any]:
    """What an order of either side would add to initial margin, in the settlement currency."""
    found = await seen(asked, told)
    now, contract = found.now, contract_of(found.now, told.instrument_name)
    shelf = Shelf.of(now.state)
    lots = shelf.lots_of(contract, _text(abs(told.amount)), None, source="amount")
    ticks = shelf.ticks_of(contract, _text(told.price), source="price")
    before = _as_theirs(found)
    sides = {"buy": lots, "sell": -lots}
    views = [before, *(
        reordered(now.state, before, None, Order(contract.number, signed, ticks))
        for signed in sides.values()
    )]  # fmt: skip
    stands = await _stands(asked, now, views)
    settled = contract.listing.settlement
    unit = index_of(now.state, settled) or 1.0
    added = {
        side: rounded(now.state, settled, (one.initial_micro - stands[0].initial_micro) / MICRO
                      / unit)
        for side, one in zip(sides, stands[1:], strict=True)
    }  # fmt: skip
    band = (await asked.read(lambda engine: engine.book(told.instrument_name, 1))).band
    limits = {} if band is None else {"min_price": float(band[0]), "max_price": float(band[1])}
    return added | limits


@method("private/simulate_portfolio", Simulated, Action.ASK)
async def simulate_portfolio(told: Simulated, asked: Asked) -> dict[str, Any]:
    """Where the account would stand with other positions: with `simulated_positions` besides what
    it holds, or instead of it; all enter at the mark."""
    found = await seen(asked, told)
    now = found.now
    names = {name.upper(): name for name, _ in now.state.assets}
    currency = names.get((told.currency or "").upper(), now.state.assets[0][0])
    before = _as_theirs(found)
    adds = [
        TradeTold(symbol=name, size=_text(size))
        for name, size in told.simulated_positions.items() if size
    ]  # fmt: skip
    held = [now.state.contracts[number].listing.symbol for number in found.positions]
    close = [] if told.add_positions else held
    after = changed(Shelf.of(now.state), before, ChangesTold(close=close, add=adds))
    (stands,) = await _stands(asked, now, [after])
    return {"currency": currency} | margins_of(now.state, currency, stands)


def _as_theirs(found: Seen) -> View:
    """The account's view under its own rulebook, or Fault where that has no arrays."""
    view = found.view
    rulebook = ruled(found.now.state, view.account.rulebook)
    return View(
        nobody(found.name, rulebook, view.account.inputs), view.positions, view.balances,
        view.margins, view.orders, view.modes, view.sides,
    )  # fmt: skip


async def _stands(asked: Asked, now: Published, views: Sequence[View]) -> list[Standing]:
    """Where views stand, worked out on the thread of slow questions, or Fault."""

    def work() -> list[Standing]:
        labels(views)
        return standings(now.state, list(views))

    found: list[Standing] = await asked.connection.app.state.asks.run(lambda _: work())
    if not all(one.known for one in found):
        margins_of(now.state, now.state.assets[0][0], Standing(0, 0, 0, False, False, False))
    return found


def _text(number: Annotated[float, Meta()]) -> str:
    """A float as the decimal that people mean by it."""
    text = f"{number:.12f}".rstrip("0")
    return text.rstrip(".") or "0"
