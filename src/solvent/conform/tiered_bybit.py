"""Bybit's cases: isolated and cross futures of the unified account, linear and inverse."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any, Final

from solvent.conform.case import Check, Row
from solvent.conform.levels import number, sheet
from solvent.conform.order_venue import OrderVenue, agreed
from solvent.conform.tiered_binance import signed
from solvent.margining.levels.rows import Sheet

_POOL: Final = {"account": "", "pool": ""}
_ANY: Final = 10**18
_UNIT: Final = {"contract_size": 1, "settlement_price": 1}
_KEYS: Final = {**_POOL, "instrument": "", "settlement": ""}


def _told(
    given: Row, *, inverse: bool, mine: Mapping[str, Any] | None = None, **rows: Any
) -> Sheet:
    """One position or order on one contract at its chosen leverage, with one risk limit."""
    limit = {"above": [0], "maintenance": [given.get("mmr", 0)], "known_to": _ANY}
    market = {**_UNIT, "inverse": int(inverse), "tick_size": given.get("tick"),
              "mark": given.get("mark", given.get("entry"))}  # fmt: skip
    size = signed(given["side"]) * given.get("size", given.get("qty", 1))
    position = {**_KEYS, **market, "size": size, "entry_price": given.get("entry"),
                "entry_deduction": given.get("mm_deduction", 0)}  # fmt: skip
    return sheet(
        "bybit-uta",
        position=[{**position, **(mine or {})}],
        contract=[{**_KEYS, "chosen": given.get("leverage", 1)}],
        parameters={"taker_fee": given["taker"]} if "taker" in given else {},
        tables={"risk_limit": {"": limit}},
        **rows,
    )


def _of_position(told: Sheet, names: Mapping[str, str]) -> dict[str, Any]:
    return {what: number(told.value("position", column)) for what, column in names.items()}


_ISOLATED: Final = {
    "position_value": "entry_value",
    "im": "isolated_initial",
    "mm": "entry_maintenance",
    "liq_price": "liquidation_price",
    "bankruptcy_price": "bankruptcy_price",
}


def _isolated(given: Row, *, inverse: bool) -> dict[str, Any]:
    pool = [{**_POOL, "isolated": 1, "extra_margin": given.get("extra_margin", 0)}]
    return _of_position(_told(given, inverse=inverse, pool=pool), _ISOLATED)


def linear_isolated(given: Row) -> dict[str, Any]:
    """Margins and liquidation price of an isolated linear position."""
    return _isolated(given, inverse=False)


def inverse_isolated(given: Row) -> dict[str, Any]:
    """The same of an inverse one, margins in the coin."""
    return _isolated(given, inverse=True)


def linear_bankruptcy(given: Row) -> dict[str, Any]:
    """Where a linear position's initial margin is gone."""
    told = _told(given, inverse=False)
    names = {"bankruptcy_price": "bankruptcy_price"}
    return _of_position(told, names | ({"rounded": "bankruptcy_tick"} if "tick" in given else {}))


def inverse_bankruptcy(given: Row) -> dict[str, Any]:
    """The same of an inverse one, also rounded to a tick against the trader."""
    told = _told(given, inverse=True)
    names = {"bankruptcy_price": "bankruptcy_price"}
    return _of_position(told, names | ({"rounded": "bankruptcy_tick"} if "tick" in given else {}))


def inverse_initial(given: Row) -> dict[str, Any]:
    """Initial margin of an inverse position, in the coin."""
    told = _told({"side": "long", **given}, inverse=True)
    return _of_position(told, {"im": "isolated_initial"})


def inverse_cross(given: Row) -> dict[str, Any]:
    """Liquidation and bankruptcy prices of an inverse position backed by a coin balance."""
    currency = {**_POOL, "settlement": "", "balance": given["balance"],
                "order_initial": given["order_margin"]}  # fmt: skip
    told = _told(given, inverse=True, currency=[currency])
    return _of_position(
        told,
        {"bankruptcy_price": "cross_bankruptcy_price", "liq_price": "cross_liquidation_price"},
    )


def tiered(given: Row) -> dict[str, Any]:
    """Maintenance margin of a value and its deduction, by risk limits as (upper limit, rate)."""
    limits, rates = zip(*given["tiers"], strict=True)
    limit = {"above": [0, *limits[:-1]], "maintenance": list(rates), "known_to": _ANY}
    told = sheet(
        "bybit-uta",
        position=[{**_KEYS, "value": given["value"]}],
        tables={"risk_limit": {"": limit}},
    )
    return _of_position(told, {"mm": "maintenance", "deduction": "deduction"})


def _cost(given: Row, *, inverse: bool) -> dict[str, Any]:
    order = {**_KEYS, **_UNIT, "inverse": int(inverse), "order": "", "size": given["qty"],
             "price": given["price"], "buy": int(signed(given["side"]) > 0)}  # fmt: skip
    told = _told(given, inverse=inverse, order=[order])
    names = {"im": "initial", "open_fee": "open_fee", "close_fee": "close_fee", "cost": "cost",
             "bankruptcy_price": "bankruptcy_price"}  # fmt: skip
    found = {what: number(told.value("order", column)) for what, column in names.items()}
    engine = _cost_in_engine(given, inverse=inverse)
    return {**found, "cost": agreed(found["cost"], engine)}


def _cost_in_engine(given: Row, *, inverse: bool) -> Fraction:
    """What an engine asks for the order, at an index of its price."""
    symbol = "BTC-PERPETUAL" if inverse else "BTC_USDT-PERPETUAL"
    price = given["price"]
    venue = OrderVenue(
        "bybit-uta", symbol, mark=price, sizes=[given["qty"]], prices=[price], inverse=inverse
    )
    venue.leverage(given["leverage"])
    dollars = venue.initial([(signed(given["side"]) > 0, given["qty"], price)])
    return dollars / Fraction(price) if inverse else dollars


def linear_cost(given: Row) -> dict[str, Any]:
    """What an order on a linear contract costs."""
    return _cost(given, inverse=False)


def inverse_cost(given: Row) -> dict[str, Any]:
    """The same on an inverse contract, in the coin."""
    return _cost(given, inverse=True)


def adl_bankruptcy(given: Row) -> dict[str, Any]:
    """The price at which a bankrupt position is taken over."""
    told = _told(
        given,
        inverse=False,
        mine={"isolated_initial": given["position_margin"]},
        currency=[{**_POOL, "settlement": "", "balance": given["wallet"]}],
    )
    return _of_position(
        told, {"bankruptcy_price": "adl_bankruptcy_price", "adl_price": "adl_price"}
    )


def pool_drawdown(given: Row) -> dict[str, Any]:
    """Whether the insurance pool lost too much of its peak to one contract."""
    row = {
        "instrument": "",
        "insurance_pool": given["balance"],
        "insurance_pool_peak": given["pool_8h_max"],
        "contract_profit": -given["symbol_loss"],
        "adl_trigger_balance": given["trigger_threshold"],
    }
    told = sheet(
        "bybit-uta",
        instrument=[row],
        parameters={"adl_trigger_ratio": given["pnl_ratio_limit"]},
    )
    names = {"pnl_ratio": "adl_fall", "triggered": "adl_triggered", "subsidy": "adl_subsidy"}
    return {what: number(told.value("instrument", column)) for what, column in names.items()}


def account_rates(given: Row) -> dict[str, Any]:
    """Account rates, and what may still be used under portfolio margin."""
    pool = {**_POOL, "initial": given["im"], "maintenance": given["mm"],
            "margin_balance": given["mb"], "total_equity": given["eq"]}  # fmt: skip
    told = sheet("bybit-uta", pool=[pool])
    names = {"imr": "initial_rate", "mmr": "maintenance_rate",
             "avail": "available_portfolio_margin"}  # fmt: skip
    return {what: number(told.value("pool", column)) for what, column in names.items()}


def ratio(given: Row) -> dict[str, Any]:
    """Initial over maintenance margin."""
    told = sheet("bybit-uta", pool=[{**_POOL, "initial": given["a"], "maintenance": given["b"]}])
    return {"r": number(told.value("pool", "initial_to_maintenance"))}


def marginal_tiers(given: Row) -> dict[str, Any]:
    """What an amount counts for by tiers of (from, to, rate), each applied to its part of it."""
    tiers = {
        "from": [row[0] for row in given["tiers"]],
        "ratio": [row[2] for row in given["tiers"]],
    }
    told = sheet(
        "bybit-uta",
        asset=[{"asset": "", "amount": given["x"], "price": 1}],
        tables={"collateral": {"": tiers}},
    )
    return {"y": number(told.value("currency", "margin"))}


CHECKS: Final[Mapping[str, Check]] = {
    "bybit_rates": account_rates,
    "ratio": ratio,
    "marginal_tier": marginal_tiers,
}
LIQUIDATION_CHECKS: Final[Mapping[str, Check]] = {
    "linear_isolated_liq": linear_isolated,
    "inverse_isolated_liq": inverse_isolated,
    "linear_bankruptcy": linear_bankruptcy,
    "inverse_bankruptcy": inverse_bankruptcy,
    "inverse_im": inverse_initial,
    "inverse_cross_liq": inverse_cross,
    "tiered_mm": tiered,
    "order_cost_linear": linear_cost,
    "order_cost_inverse": inverse_cost,
    "adl_bankruptcy": adl_bankruptcy,
    "adl_pool_drawdown": pool_drawdown,
}
