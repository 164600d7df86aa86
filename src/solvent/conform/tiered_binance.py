"""Binance's cases: USD-M, COIN-M and portfolio margin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from solvent.conform.case import Check, Row
from solvent.conform.levels import number, sheet
from solvent.instruments.symbols import deribit_symbol, parse_symbol
from solvent.margining.levels.rows import Sheet, rational

_ONE: Final = {"contract_size": 1, "settlement_price": 1, "inverse": 0}
_POOL: Final = {"account": "", "pool": ""}


def signed(side: Any) -> int:
    """1 for a long, −1 for a short, told as a word or as a sign."""
    if isinstance(side, str):
        return 1 if side.lower() in ("long", "buy") else -1
    return 1 if side > 0 else -1


def _bracket(rate: Any, amount: Any = 0) -> Row:
    return {"above": [0], "rate": [rate], "leverage": [1], "amount": [amount]}


def _at(told: Sheet, level: str, *columns: str, row: int = 0) -> list[Any]:
    return [number(told.value(level, column, row)) for column in columns]


def _position(one: Row, sign: int, instrument: str) -> Row:
    mark = one.get("mark", one["ep"])
    return {
        **_ONE, "instrument": instrument, "size": sign * one["q"], "entry_price": one["ep"],
        "mark": mark,
    }  # fmt: skip


def liquidation_price(given: Row) -> dict[str, Any]:
    """Liquidation price of a USD-M position beside others, each in a bracket of its own."""
    mine, others = given["pos"], given["others"]
    told = sheet(
        "binance-usdm",
        position=[
            _position(mine, signed(given["side"]), "0"),
            *(_position(one, signed(one.get("side", 1)), str(n))
              for n, one in enumerate(others, start=1)),
        ],
        pool=[{**_POOL, "wallet": given["wb"]}],
        tables={"tier": {str(n): _bracket(one["mmr"], one["cum"])
                         for n, one in enumerate([mine, *others])}},
    )  # fmt: skip
    return {"liq_price": number(told.value("contract", "liquidation_price"))}


def liquidation_price_of_totals(given: Row) -> dict[str, Any]:
    """The same with the other positions' totals told."""
    mine = {"q": given["pos"], "ep": given["ep"]}
    told = sheet(
        "binance-usdm",
        position=[
            _position(mine, signed(given["side"]), "mine"),
            {**_ONE, **_POOL, "instrument": "others", "size": 0, "mark": 1, "entry_price": 1,
             "maintenance": given["tmm"], "unrealised": given["upnl"]},
        ],
        pool=[{**_POOL, "wallet": given["wb"]}],
        tables={"tier": {"mine": _bracket(given["mmr"], given["cum"])}},
    )  # fmt: skip
    return {"p": number(told.value("contract", "liquidation_price"))}


def two_positions(given: Row) -> dict[str, Any]:
    """Liquidation price in a cross pool, and what ignoring the other position would show."""
    size = given["size"]
    mine = {"q": abs(size), "ep": given["mark"]}
    other = {**_ONE, "instrument": "other", "maintenance": given["other_mm"], "unrealised": 0}

    def price(*others: Row) -> Any:
        told = sheet(
            "binance-usdm",
            position=[_position(mine, signed(size), "mine"), *others],
            pool=[{**_POOL, "wallet": given["equity"]}],
            tables={"tier": {"mine": _bracket(given["mmr"])}},
        )
        return number(told.value("contract", "liquidation_price"))

    return {"p": price(other), "naive": price()}


def _of_brackets(given: Row) -> Sheet:
    """A position of a notional in the brackets that the rulebook has for its contract."""
    instrument = deribit_symbol(parse_symbol(given["symbol"]))
    row = {**_ONE, "instrument": instrument, "notional": given["notional"]}
    return sheet("binance-usdm", position=[row])


def maintenance(given: Row) -> dict[str, Any]:
    """Maintenance margin: a rate less the bracket's amount."""
    return {"mm": number(_of_brackets(given).value("position", "maintenance"))}


def maintenance_by_parts(given: Row) -> dict[str, Any]:
    """Maintenance margin by parts of each bracket."""
    return {"mm": number(_of_brackets(given).value("position", "maintenance_by_parts"))}


def _amounts(floors: list[Any], rates: list[Any]) -> list[Any]:
    """The maintenance amount that holds from each bracket's floor on."""
    told = sheet(
        "binance-usdm",
        position=[{**_ONE, "instrument": "", "side": n, "notional": floor}
                  for n, floor in enumerate(floors)],
        tables={"tier": {"": {"from": floors, "rate": rates}}},
    )  # fmt: skip
    return [number(told.value("position", "amount_by_parts", n)) for n in range(len(floors))]


def maintenance_amounts(given: Row) -> dict[str, Any]:
    """Maintenance amounts of a ladder of brackets."""
    return {"cum": _amounts(given["floors"], given["mmr"])}


def maintenance_amount(given: Row) -> dict[str, Any]:
    """One step: the bracket below has its amount from a bracket without a rate."""
    amount, rate = (rational(given[name], name) for name in ("cum_prev", "mmr_prev"))
    below = number(amount) / number(rate)
    return {"cum": _amounts([0, below, given["floor"]], [0, given["mmr_prev"], given["mmr"]])[-1]}


def coin_initial(given: Row) -> dict[str, Any]:
    """Initial margin of an inverse position, in the coin, and an order's open loss."""
    buy = signed(given.get("side", 1)) > 0
    contract = {"instrument": "", "contract_size": given["multiplier"], "settlement_price": 1}
    order = {**contract, "size": given["contracts"], "price": given["price"], "buy": int(buy),
             "mark": given.get("mark", given["price"])}  # fmt: skip
    told = sheet(
        "binance-coinm",
        order=[order],
        contract=[{**_POOL, **contract, "chosen": given["leverage"]}],
    )
    initial, loss = _at(told, "contract", "initial", "open_loss")
    return {"im": initial - loss, "open_loss": loss, "cost": initial}


def mark_with_funding(given: Row) -> dict[str, Any]:
    """The price that funding leads to."""
    row = {
        "instrument": "",
        "index": given["index"],
        "funding_rate": given["funding_rate"],
        "hours_to_funding": given["hours_left"],
        "funding_hours": given["interval"],
    }
    told = sheet("binance-usdm", instrument=[row])
    return {"mark": number(told.value("instrument", "price_with_funding"))}


def adl(given: Row) -> dict[str, Any]:
    """What a winner is ranked by."""
    told = sheet(
        "binance-usdm",
        position=[{**_ONE, "instrument": "", "unrealised": given["upnl"],
                   "maintenance": given["maint"]}],
        pool=[{**_POOL, "wallet": given["wallet"]}],
    )  # fmt: skip
    profit, score = _at(told, "position", "adl_profit", "adl_score")
    ratio = number(told.value("pool", "adl_margin_ratio"))
    return {"pnl_pct": profit, "margin_ratio": ratio, "score": score}


def portfolio(given: Row) -> dict[str, Any]:
    """Adjusted equity and uniMMR."""
    assets = list(enumerate(given["assets"]))
    told = sheet(
        "binance-pm",
        asset=[{"asset": str(n), "amount": one["e"], "price": one["px"]} for n, one in assets],
        currency=[{"account": "", "settlement": str(n), "collateral_rate": one["rate"]}
                  for n, one in assets],
        account=[{"account": "", "open_loss": given["open_loss"], "maintenance": given["mm"]}],
    )  # fmt: skip
    equity, ratio = _at(told, "account", "equity", "uni_mmr")
    return {"equity": equity, "uniMMR": ratio}


CHECKS: Final[Mapping[str, Check]] = {
    "binance_mm": maintenance,
    "binance_marginal": maintenance_by_parts,
    "binance_liq": liquidation_price_of_totals,
    "binance_pm": portfolio,
    "cross_liq_linear": two_positions,
}
LIQUIDATION_CHECKS: Final[Mapping[str, Check]] = {
    "binance_liq": liquidation_price,
    "coinm_im": coin_initial,
    "mark_basis": mark_with_funding,
    "binance_adl": adl,
    "maintenance_amount": maintenance_amounts,
    "maintenance_amount_step": maintenance_amount,
}
