"""Cases of exchanges' portfolio margin: each is a market under a rulebook's own scenarios."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

import numpy as np

from solvent.conform.case import Check, Row
from solvent.conform.levels import number, rulebook, sheet, tiers
from solvent.conform.order_venue import OrderVenue, agreed
from solvent.feeds.library import shipped_levels
from solvent.instruments import (
    Contract,
    Instrument,
    Kind,
    OptionType,
    Specification,
    term_sheet,
)
from solvent.liquidation.socialise import PooledCash
from solvent.margining.levels.market import instrument_rows, scenario_rows, shocking
from solvent.margining.levels.rows import Sheet
from solvent.margining.levels.rulebook import LevelsRulebook, in_force
from solvent.market import Quotes, assemble
from solvent.risk import RiskArrays, publish
from solvent.units import DAY_MS, TimeMs

_NOW: Final = TimeMs(1_780_300_800_000)
_ONE: Final = Specification(
    lot_size=Decimal(1), contract_size=Decimal(1), tick_size=Decimal("0.01")
)
_MICRO: Final = 10**6
_CHANGES = Mapping[str, Mapping[str, Mapping[str, Any]]]


def linear(base: str, *, quote: str, option: tuple[float, bool, float] | None = None) -> Instrument:
    """A perpetual, or an option given as strike, whether a call, and days."""
    if option is None:
        contract = Contract(base=base, quote=quote, settlement=quote, kind=Kind.PERPETUAL)
        return term_sheet(contract, _ONE)
    strike, call, days = option
    return term_sheet(
        Contract(
            base=base,
            quote=quote,
            settlement=quote,
            kind=Kind.OPTION,
            expiry_ms=TimeMs(_NOW + round(days * DAY_MS)),
            strike=Decimal(repr(strike)),
            option_type=OptionType.CALL if call else OptionType.PUT,
        ),
        _ONE,
    )


def priced(
    book: LevelsRulebook,
    instruments: Sequence[Instrument],
    *,
    index: float,
    forward: Sequence[float],
    mark: Sequence[float],
    vol: Sequence[float],
) -> RiskArrays:
    """A market under the scenarios of a rulebook."""
    count = len(instruments)
    nothing = np.full(count, np.nan)
    snapshot = assemble(
        Quotes(
            instruments=instruments,
            index=np.full(count, index),
            forward=np.array(forward),
            mark=np.array(mark),
            vol=np.array(vol),
            bid=nothing,
            ask=nothing,
            rate=nothing,
            time_ms=np.full(count, _NOW, dtype=np.int64),
        ),
        as_of_ms=_NOW,
    )
    need = shocking(book)
    return publish(snapshot, sets=need.sets, rules=need.rules, tables=need.tables)


def changed(
    name: str,
    *,
    tables: _CHANGES | None = None,
    parameters: Mapping[str, float] | None = None,
) -> LevelsRulebook:
    """A shipped rulebook with some entries of tables and some parameters told anew."""
    text = shipped_levels(name)
    text = text.model_copy(update={"parameters": {**text.parameters, **(parameters or {})}})
    book = in_force(text, rulebook(name).on)
    known = {table: dict(rows) for table, rows in book.tables.items()}
    for table, rows in (tables or {}).items():
        for key, entries in rows.items():
            known[table][key] = {**known[table].get(key, {}), **entries}
    return replace(book, tables=known)


def held(
    book: LevelsRulebook,
    arrays: RiskArrays,
    sizes: Mapping[str, float],
    *,
    told: Mapping[str, Mapping[str, Any]] | None = None,
    **sources: Sequence[Mapping[str, Any]],
) -> Sheet:
    """Positions in a priced market; `told` are facts by instrument that the case states itself."""
    market = [{**row, **(told or {}).get(row["instrument"], {})} for row in instrument_rows(arrays)]
    positions = [
        {"instrument": symbol, "side": "long" if size > 0 else "short", "size": size}
        for symbol, size in sizes.items()
    ]
    return Sheet(
        book.form,
        {"instrument": market, "position": positions, **sources},
        parameters=book.text.parameters,
        tables=book.tables,
        scenarios=scenario_rows(arrays),
    )


# ── Paradex ──────────────────────────────────────────────────────────────────────────────────


def paradex_pm(given: Row) -> dict[str, Any]:
    """Portfolio margin of a perpetual and an option."""
    said = given["md"]
    book = changed("paradex-pm")
    perpetual = linear("BTC", quote="USDC")
    option = linear(
        "BTC", quote="USDC", option=(said["K"], bool(said.get("call", True)), said["dte"])
    )
    arrays = priced(
        book,
        [perpetual, option],
        index=said["spot"],
        forward=[said["perp_mark"], said["spot"]],
        mark=[said["perp_mark"], said["opt_mark"]],
        vol=[np.nan, said["iv"]],
    )
    one = held(
        book,
        arrays,
        {perpetual.symbol: given["perp"], option.symbol: given["opt"]},
        told={
            perpetual.symbol: {
                "delta": said["perp_delta"],
                "funding_rate": said["fr8h"],
                "fee_rate": said["fee"],
            },
            option.symbol: {"delta": said["opt_delta"], "fee_rate": said["fee"]},
        },
    )
    names = {"IMR": "initial", "MMR": "maintenance", "worst_loss": "scan_loss",
             "delta_min": "delta_min", "fund": "funding", "fee": "fees"}  # fmt: skip
    found: dict[str, Any] = {name: one.value("coin", column) for name, column in names.items()}
    return {**found, "worst_idx": number(one.value("coin", "scan_binding")) - 1}


def min_delta(given: Row) -> dict[str, Any]:
    """Paradex's floor on delta."""
    positions = [
        {"instrument": f"{n}", "underlying": "BTC", "size": 1, "delta": delta,
         "index": given["spot"]}
        for n, delta in enumerate(given["deltas"])
    ]  # fmt: skip
    tables = {"risk": {"BTC": {"hedged": given["he"], "unhedged": given["un"]}}}
    return {"v": sheet("paradex-pm", tables=tables, position=positions).value("coin", "delta_min")}


def paradex_liquidation(given: Row) -> dict[str, Any]:
    """Paradex's share of a liquidation and its penalty."""
    one = sheet(
        "paradex-pm",
        parameters={
            "liquidation_fee": given["fee"],
            "liquidation_step": given["step"],
            "liquidation_target": given["target"],
        },
        account=[{"account": "", "equity": given["av"], "maintenance": given["mmr"]}],
    )
    names = {"share": "liquidation_share", "penalty": "liquidation_penalty",
             "new_av": "equity_after"}  # fmt: skip
    return {name: one.value("account", column) for name, column in names.items()}


def socialised(given: Row) -> dict[str, Any]:
    """What Paradex holds back of a withdrawal once a bankruptcy has emptied the fund.

    Its formula counts as total the cash that is there, so claims are as much more as was lost;
    its example counts the claims, of which so much is not there.
    """
    total, lost = (
        round(amount * _MICRO)
        for amount in (given["total_cash"], max(0, given["user_bankruptcy"] - given["fund"]))
    )
    by = {
        "factor_formula": PooledCash(stable=total, supply=total).socialised(lost),
        "factor_doc": PooledCash(stable=total - lost, supply=total),
    }
    return {what: float(1 - pool.exchange_rate()) for what, pool in by.items()}


def cross_option(given: Row) -> dict[str, Any]:
    """Paradex's cross margin of one option."""
    option = {
        "premium_initial": given["prem"],
        "long_initial": given["long_itm"],
        "short_initial": given["s_itm"],
        "short_initial_min": given["s_otm"],
        "put_cap_initial": given["cap"],
    }
    position = {
        "instrument": "option",
        "underlying": "BTC",
        "size": given["size"] if given["long"] else -given["size"],
        "inverse": 0,
        "is_option": 1,
        "is_call": int(given["call"]),
        "strike": given["K"],
        "index": given["spot"],
        "mark": given["mark"],
        "settlement_price": 1,
    }
    one = sheet("paradex-xm", tables={"option": {"BTC": option}}, position=[position])
    return {"v": one.value("contract", "net_initial")}


def cross_orders(given: Row) -> dict[str, Any]:
    """Paradex's cross margin of a perpetual with open orders."""
    market = {
        "instrument": "perpetual",
        "underlying": "BTC",
        "inverse": 0,
        "is_option": 0,
        "mark": given["mark"],
        "settlement_price": 1,
    }
    one = sheet(
        "paradex-xm",
        tables={"perpetual": {"BTC": {"imf": given["imf"]}}},
        position=[{**market, "size": given["pos"]}],
        order=[
            {**market, "order": "bids", "size": given["buys"], "buy": 1},
            {**market, "order": "asks", "size": given["sells"], "buy": 0},
        ],
    )
    found = number(one.value("contract", "net_initial"))
    return {"imr": agreed(found, _orders_in_engine(given))}


def _orders_in_engine(given: Row) -> Fraction:
    """What an engine asks for the position and orders at the mark, which lose nothing when they
    fill: below and above it they would cross."""
    mark = given["mark"]
    sizes = [given["pos"], given["buys"], given["sells"]]
    venue = OrderVenue(
        "paradex-xm", "BTC_USDC-PERPETUAL", mark=mark, sizes=sizes, prices=[mark - 1]
    )
    venue.hold(given["pos"], mark)
    return venue.initial([(True, given["buys"], mark - 1), (False, given["sells"], mark + 1)])


def kept_orders(given: Row) -> dict[str, Any]:
    """Paradex's orders that stay when an account falls below its initial margin."""
    market = {"instrument": "perpetual", "underlying": "BTC"}
    orders = [
        {**market, "order": n, "size": size, "price": price, "buy": int(side == "buy")}
        for n, (side, size, price) in enumerate(given["orders"])
    ]
    one = sheet("paradex-xm", position=[{**market, "size": given["pos"]}], order=orders)
    stay = [order for n, order in enumerate(given["orders"]) if one.value("order", "kept", n)]
    return {"left": stay}


# ── OKX, Bybit, Delta ────────────────────────────────────────────────────────────────────────


def okx_risk_unit(given: Row) -> dict[str, Any]:
    """OKX's risk unit of one linear perpetual."""
    shock = {
        "near": given["grid"] / 3,
        "middle": given["grid"] * 2 / 3,
        "far": given["grid"],
        "extreme": given["extreme"],
    }
    book = changed(
        "okx-pm",
        tables={
            "shock": {"BTC": shock},
            "basis": {"BTC": {"perpetual": given["mr4_rate"]}},
            "minimum": {"BTC": {"future": given["mr7_rate"]}},
        },
    )
    perpetual = linear("BTC", quote="USDT")
    mark = [given["mark"]]
    arrays = priced(book, [perpetual], index=given["index"], forward=mark, mark=mark, vol=[np.nan])
    told = {perpetual.symbol: {"settlement_price": given["usdt"]}}
    one = held(book, arrays, {perpetual.symbol: given["pos_coin"]}, told=told)
    names = {"delta": "delta", "mr1": "mr1", "mr6": "mr6", "mr4": "mr4", "mr7": "mr7",
             "mmr": "maintenance", "imr": "initial"}  # fmt: skip
    return {name: one.value("unit", column) for name, column in names.items()}


def okx_minimum_charge(given: Row) -> dict[str, Any]:
    """OKX's minimum charge by tiers, and what it makes of a unit's requirement."""
    unit = {"account": "", "underlying": "BTC", "mr7_raw": given["raw"], "stress": given["mr"]}
    charge = tiers(given["tiers"], entry="multiplier")
    one = sheet("okx-pm", tables={"charge": {"BTC": charge}}, unit=[unit])
    return {"adj": one.value("unit", "mr7"), "mmr": one.value("unit", "maintenance")}


def okx_account(given: Row) -> dict[str, Any]:
    """OKX's account: risk units and what is borrowed."""
    units = [
        {"account": "", "underlying": f"{n}", "maintenance": mmr, "initial": imr}
        for n, (mmr, imr) in enumerate(zip(given["unit_mmr"], given["unit_imr"], strict=True))
    ]
    one = sheet(
        "okx-pm",
        parameters={
            "borrow_initial": given["b_imr"],
            "borrow_maintenance": given["b_mmr"],
            "liquidation_rate": given["liq"],
        },
        unit=units,
        account=[{"account": "", "equity": given["eq"], "liability": given["liability"]}],
    )
    names = {"derivMmr": "derivatives_maintenance", "borrowMmr": "mr8", "totalMmr": "maintenance",
             "totalImr": "initial", "marginRatio": "margin_ratio"}  # fmt: skip
    return {name: one.value("account", column) for name, column in names.items()}


def _bybit_coin(**told: Any) -> Row:
    return {"account": "", "underlying": "BTC", **told}


def bybit_loss(given: Row) -> dict[str, Any]:
    """Bybit's loss of one scenario, from its parts."""
    parts = [{"instrument": name, "underlying": "BTC", "stress_pnl": (given[name],)}
             for name in ("perp", "opt")]  # fmt: skip
    one = sheet(
        "bybit-pm",
        instrument=parts,
        position=[{**part, "size": 1} for part in parts],
        coin=[_bybit_coin(spot_pnl=(given["spot"],))],
    )
    return {"loss": one.value("coin", "max_loss")}


def bybit_contingency(given: Row) -> dict[str, Any]:
    """Bybit's contingency of a future and of the basis."""
    future = {
        "instrument": "future",
        "underlying": "BTC",
        "size": given["qty"],
        "index": given["index"],
        "is_future": 1,
        "is_option": 0,
    }
    one = sheet(
        "bybit-pm",
        tables={"contingency": {"BTC": {"future": given["rate"]}}},
        position=[future],
        coin=[_bybit_coin(future_delta_contingency=given["delta_spread"])],
    )
    return {
        "fut": one.value("coin", "future_contingency"),
        "total": one.value("coin", "contingency"),
    }


def bybit_maintenance(given: Row) -> dict[str, Any]:
    """Bybit's maintenance margin from the largest loss and contingencies."""
    coin = _bybit_coin(max_loss=given["loss"], contingency=given["cont"])
    return {"mm": sheet("bybit-pm", coin=[coin]).value("coin", "maintenance")}


def bybit_margins(given: Row) -> dict[str, Any]:
    """Bybit's initial over maintenance margin."""
    account = {"account": "", "initial": given["a"], "maintenance": given["b"]}
    one = sheet("bybit-pm", account=[account])
    return {"r": one.value("account", "initial_over_maintenance")}


def bybit_matrix(given: Row) -> dict[str, Any]:
    """Bybit's PnL of an option by volatility and move, named such as `up_m10` or `same_p2`."""
    shocks = {"up": given["up"], "down": given["down"], "power": given["pw"]}
    book = changed("bybit-pm", tables={"volatility": {"BTC": shocks}})
    call = bool(given.get("call", True))
    option = linear("BTC", quote="USDC", option=(given["K"], call, given["dte"]))
    forward = given["F"]
    arrays = priced(
        book, [option], index=forward, forward=[forward], mark=[given["mark"]], vol=[given["s0"]]
    )
    pnl = held(book, arrays, {option.symbol: given["qty"]}).value("coin", "position_pnl")
    assert isinstance(pnl, tuple)
    percents = np.rint(arrays.shocks.move[0] * 100.0).astype(int)
    signs = {-1: "m", 0: "", 1: "p"}
    return {
        f"{vol}_{signs[int(np.sign(percent))]}{abs(percent)}": amount
        for vol, percent, amount in zip(arrays.shocks.vol_names, percents, pnl, strict=True)
    }


def delta_exchange(given: Row) -> dict[str, Any]:
    """Delta Exchange's margins less the unrealised cash flow."""
    coin = {
        "account": "",
        "underlying": "BTC",
        "risk": given["risk"],
        "floor": given["floor"],
        "cash_flow": given["ucf"],
    }
    one = sheet("delta-pm", coin=[coin])
    return {"im": one.value("coin", "initial"), "mm": one.value("coin", "maintenance")}


CHECKS: Final[Mapping[str, Check]] = {
    "paradex_pm": paradex_pm,
    "paradex_liq": paradex_liquidation,
    "min_delta": min_delta,
    "delev": kept_orders,
    "socialized": socialised,
    "xm_option": cross_option,
    "xm_orders": cross_orders,
    "okx_risk_unit": okx_risk_unit,
    "okx_mr7": okx_minimum_charge,
    "okx_account": okx_account,
    "sumloss": bybit_loss,
    "bybit_cont": bybit_contingency,
    "bybit_mm": bybit_maintenance,
    "ratio": bybit_margins,
    "bybit_iv": bybit_matrix,
    "delta_pm": delta_exchange,
}
