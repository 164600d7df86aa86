"""How things are on channels of what happens: what a client that has just come is told first."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from solvent.documents import position_row
from solvent.engine.state import LIQUIDATION, Account, State
from solvent.order_rows import open_orders
from solvent.service.ws.topics import OF_ACCOUNTS


def first_of(state: State, channel: str) -> list[dict[str, Any]] | None:
    """Rows of a channel as things are now; None of a channel that begins with what happens next."""
    kind, _, name = channel.partition(".")
    account = None
    if name and kind in OF_ACCOUNTS:
        number = state.account_numbers.get(name)
        if number is None:
            return None
        account = state.account(number)
    match kind, account:
        case "orders", Account():
            return [_order(one) for one in open_orders(state, name)]
        case "positions", Account():
            return [_position(state, account, number) for number in account.positions or ()]
        case "calls", _:
            return _calls(state, account)
        case "liquidations", _:
            return _liquidations(state, account)
    return None


def _order(one: Any) -> dict[str, Any]:
    return {
        "what": "rested", "order": one.order, "lots": one.lots, "symbol": one.symbol,
        "side": one.side, "price": one.price, "size": one.size,
    }  # fmt: skip


def _position(state: State, account: Account, number: int) -> dict[str, Any]:
    assert account.positions is not None
    held = account.positions[number]
    row = position_row(state.contracts[number], held, isolated=account.isolates(number))
    return {
        "symbol": row.instrument, "lots": row.lots, "size": row.size,
        "entry_price": row.entry_price, "realised": row.realised,
    }  # fmt: skip


def _calls(state: State, account: Account | None) -> list[dict[str, Any]]:
    some = list(state.calls) if account is None else [account.number]
    rows = []
    for number in some:
        found = state.calls.get(number)
        if found is None:
            continue
        row: dict[str, Any] = {
            "what": "call", "level": found.level,
            "shortfall": Decimal(found.amount_micro).scaleb(-6),
            "deadline_ms": found.deadline_ms,
        }  # fmt: skip
        rows.append(row if account is not None else {"account": _name(state, number)} | row)
    return rows


def _liquidations(state: State, account: Account | None) -> list[dict[str, Any]]:
    if account is not None:
        return [{"what": "status", "status": account.status}]
    return [
        {"account": one.name, "what": "status", "status": one.status}
        for one in state.accounts if one is not None and one.status == LIQUIDATION
    ]  # fmt: skip


def _name(state: State, number: int) -> str:
    return state.account(number).name
