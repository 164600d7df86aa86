"""Cases of OKX, BitMEX, Hyperliquid and Kraken."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any, Final

from solvent.conform.case import Check, Row
from solvent.conform.levels import number, rulebook, sheet
from solvent.conform.order_venue import OrderVenue, agreed
from solvent.conform.tiered_binance import signed
from solvent.margining.levels.rows import Sheet

_POOL: Final = {"account": "", "pool": ""}
_KEYS: Final = {**_POOL, "instrument": "", "underlying": "", "settlement": ""}
_UNIT: Final = {"contract_size": 1, "settlement_price": 1, "inverse": 0, "is_option": 0}


def _found(told: Sheet, level: str, names: Mapping[str, str]) -> dict[str, Any]:
    return {what: number(told.value(level, column)) for what, column in names.items()}


# ── OKX ──────────────────────────────────────────────────────────────────────────────────────


def okx_account(given: Row) -> dict[str, Any]:
    """Account totals: derivatives, what is borrowed, and the margin ratio."""
    units = list(enumerate(zip(given["unit_imr"], given["unit_mmr"], strict=True)))
    told = sheet(
        "okx-futures",
        instrument=[{"instrument": str(n), "settlement_price": 1} for n, _ in units],
        contract=[{**_POOL, "instrument": str(n), "initial": initial, "maintenance": maintenance,
                   "liquidation_fee": 0} for n, (initial, maintenance) in units],
        pool=[{**_POOL, "liability": given["liability"], "equity": given["eq"]}],
        parameters={"borrow_initial_rate": given["b_imr"],
                    "borrow_maintenance_rate": given["b_mmr"],
                    "borrow_liquidation_rate": given["liq"]},
    )  # fmt: skip
    names = {
        "derivMmr": "derivatives_maintenance", "derivImr": "derivatives_initial",
        "borrowMmr": "borrow_maintenance", "borrowImr": "borrow_initial",
        "totalMmr": "maintenance", "totalImr": "initial", "marginRatio": "margin_ratio",
    }  # fmt: skip
    return _found(told, "pool", names)


def _okx_isolated(given: Row, position: Row, pool: Row, *, inverse: int) -> Sheet:
    market = {**_UNIT, "inverse": inverse, "entry_price": given.get("entry"),
              "mark": given.get("mark", given.get("entry"))}  # fmt: skip
    return sheet(
        "okx-futures",
        position=[{**_KEYS, **market, **position}],
        contract=[{**_KEYS, "leverage": given.get("leverage", 0),
                   "maintenance_rate": given["mmr"]}],
        pool=[{**_POOL, **pool}],
        parameters={"liquidation_fee_rate": given.get("fee", 0)},
    )  # fmt: skip


_OKX: Final = {"liq_price": "liquidation_price", "bankruptcy_price": "bankruptcy_price"}


def okx_linear(given: Row) -> dict[str, Any]:
    """Liquidation price of an isolated linear position."""
    size = signed(given["side"]) * given.get("size", 1)
    told = _okx_isolated(given, {"size": size}, {}, inverse=0)
    return _found(told, "position", _OKX)


def okx_inverse(given: Row) -> dict[str, Any]:
    """Liquidation price of an isolated inverse position, its margin in the coin."""
    size = signed(given["side"]) * given["contracts"]
    position = {"size": size, "contract_size": given["face"]}
    told = _okx_isolated(given, position, {"isolated_margin": given["margin"]}, inverse=1)
    return _found(told, "position", _OKX)


def okx_trigger(given: Row) -> dict[str, Any]:
    """The share of its value at which an isolated position is liquidated."""
    told = _okx_isolated(given, {}, {}, inverse=0)
    return _found(told, "position", {"trigger_ratio": "trigger_rate"})


def okx_fund(given: Row) -> dict[str, Any]:
    """The balance of the insurance fund below which positions are deleveraged."""
    row = {
        "instrument": "",
        "insurance_fund": given["pool"],
        "insurance_fund_average": given["pool_8h_avg"],
    }
    told = sheet("okx-futures", instrument=[row])
    names = {"threshold": "adl_threshold", "triggered": "adl_triggered"}
    return _found(told, "instrument", names)


# ── BitMEX ───────────────────────────────────────────────────────────────────────────────────

_LINEAR: Final = "INJ_USDT-PERPETUAL"
"""A linear contract whose risk limits are known."""


def bitmex_orders(given: Row) -> dict[str, Any]:
    """Bids and offers that need margin, in contracts; orders are told as (price, contracts)."""
    orders = [
        {**_KEYS, **_UNIT, "order": f"{side} {n}", "price": price, "size": size, "buy": buy}
        for buy, side in ((1, "bids"), (0, "offers"))
        for n, (price, size) in enumerate(given[side])
    ]
    position = {**_KEYS, **_UNIT, "size": given.get("position", 0)}
    told = sheet("bitmex", position=[position], order=orders)
    names = {"margined_bids": "margined_bids", "margined_offers": "margined_offers"}
    found = _found(told, "contract", names)
    value = sum(
        (Fraction(price) * size * Fraction(found[f"margined_{side}"])
         / sum(lots for _, lots in given[side])
         for side in ("bids", "offers") for price, size in given[side]),
        Fraction(0),
    )  # fmt: skip
    if agreed(value, _value_in_engine(given)) != value:
        raise ValueError("the engine margins other orders than the formulas do")
    return found


def _value_in_engine(given: Row) -> Fraction:
    """The value of orders in a linear contract that an engine asks margin for."""
    orders = [(buy, size, price) for buy, side in ((True, "bids"), (False, "offers"))
              for price, size in given[side]]  # fmt: skip
    prices = [price for _, _, price in orders]
    mark = sum(prices) // len(prices)
    sizes = [size for _, size, _ in orders]
    venue = OrderVenue("bitmex", _LINEAR, mark=mark, sizes=sizes, prices=prices)
    if given.get("position"):
        venue.hold(given["position"], mark)
    rate = rulebook("bitmex").tables["risk"][_LINEAR]["initial"]
    return venue.initial(orders) / Fraction(str(rate))


def bitmex_adl(given: Row) -> dict[str, Any]:
    """Who is deleveraged: accounts are told as (name, contracts, rank)."""
    accounts = [str(name) for name, _, _ in given["accounts"]]
    told = sheet(
        "bitmex",
        instrument=[{"instrument": "", "liquidated": given["liquidated_size"]}],
        position=[{**_KEYS, "account": str(name), "size": size, "adl_rank": rank}
                  for name, size, rank in given["accounts"]],
    )  # fmt: skip
    found = {
        column: {name: number(told.value("position", column, n)) for n, name in enumerate(accounts)}
        for column in ("adl_place", "adl_percentile", "adl_closed")
    }
    place = found["adl_place"]
    return {
        "order": sorted(
            (name for name, _, _ in given["accounts"]), key=lambda name: place[str(name)]
        ),
        "percentile": found["adl_percentile"],
        "closed": {name: closed for name, closed in found["adl_closed"].items() if closed},
    }


# ── Hyperliquid ──────────────────────────────────────────────────────────────────────────────


def hyperliquid_price(given: Row) -> dict[str, Any]:
    """Liquidation price of an isolated position at its entry."""
    position = {
        **_KEYS,
        **_UNIT,
        "size": signed(given["side"]) * given["size"],
        "entry_price": given["entry"],
        "mark": given.get("mark", given["entry"]),
    }
    tier = {"above": [0], "leverage": [given["max_leverage"]], "deduction": [0]}
    told = sheet(
        "hyperliquid",
        position=[position],
        pool=[{**_POOL, "isolated_margin": given["isolated_margin"]}],
        tables={"tier": {"": tier}},
    )
    return _found(told, "position", {"liq_price": "liquidation_price"})


def hyperliquid_adl(given: Row) -> dict[str, Any]:
    """What a winner is ranked by."""
    position = {
        **_KEYS,
        **_UNIT,
        "size": signed(given.get("side", 1)),
        "mark": given["mark"],
        "entry_price": given["entry"],
        "notional": given["notional"],
    }
    pool = {**_POOL, "equity": given["account_value"]}
    told = sheet("hyperliquid", position=[position], pool=[pool])
    return _found(told, "position", {"index": "adl_index"})


# ── Kraken ───────────────────────────────────────────────────────────────────────────────────


def kraken_price(given: Row) -> dict[str, Any]:
    """Liquidation and bankruptcy price of an inverse position with margin in the coin."""
    position = {
        **_KEYS,
        **_UNIT,
        "inverse": 1,
        "size": signed(given.get("side", given["usd"])) * abs(given["usd"]),
        "entry_price": given["entry"],
        "mark": given["entry"],
    }
    told = sheet(
        "kraken-multi-collateral",
        position=[position],
        pool=[{**_POOL, "isolated_margin": given["margin"]}],
        tables={"schedule": {"": {"above": [0], "maintenance": [given["mm"]]}}},
    )
    names = {"liq": "liquidation_price", "bankrupt": "bankruptcy_price"}
    return _found(told, "position", names)


def kraken_netting(given: Row) -> dict[str, Any]:
    """Margin of long and short contracts of one underlying."""
    family = {**_KEYS, "long_initial": given["long"], "short_initial": given["short"]}
    told = sheet("kraken-multi-collateral", family=[family])
    return _found(told, "family", {"v": "initial"})


CHECKS: Final[Mapping[str, Check]] = {
    "okx_account": okx_account,
    "kraken_liq": kraken_price,
    "netting": kraken_netting,
}
LIQUIDATION_CHECKS: Final[Mapping[str, Check]] = {
    "okx_linear_iso": okx_linear,
    "okx_inverse_iso": okx_inverse,
    "okx_trigger": okx_trigger,
    "okx_pool_threshold": okx_fund,
    "net_order_im": bitmex_orders,
    "bitmex_adl": bitmex_adl,
    "hl_liq": hyperliquid_price,
    "hl_adl": hyperliquid_adl,
}
