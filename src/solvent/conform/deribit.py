"""Deribit's cases: each is rebuilt as a market, a book and a rulebook, and margined exactly."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any

import numpy as np

from solvent.conform.case import Check, Row
from solvent.feeds.library import shipped_rulebook
from solvent.instruments import (
    Contract,
    Instrument,
    Kind,
    OptionType,
    Specification,
    term_sheet,
)
from solvent.margining.exact import ExactSet, exact_sets
from solvent.margining.plan import Plan, compile_plan
from solvent.margining.rulebook import check_rulebook, in_force
from solvent.market import Quotes, Snapshot, assemble
from solvent.risk import publish
from solvent.risk.book import entry_quanta
from solvent.scenarios.expand import evaluate
from solvent.units import YEAR_MS, TimeMs

_ON = date(2026, 6, 1)
_NOW = TimeMs(1_780_300_800_000)
_ONE = Specification(lot_size=Decimal(1), contract_size=Decimal(1), tick_size=Decimal("0.01"))


def _text(name: str) -> dict[str, Any]:
    """A shipped rulebook as plain tables, free to be changed."""
    return copy.deepcopy(shipped_rulebook(name).model_dump(by_alias=True))


def _set_row(text: dict[str, Any], table: str, key: str, values: Mapping[str, float]) -> None:
    """Make `values` the parameters of a key, on top of what the rulebook has for it."""
    rows = text["tables"][table]["rows"]
    known: dict[str, float] = {}
    for row in rows:
        if key in row["keys"]:
            known |= row["values"]
    known = known or dict(rows[0]["values"])
    text["tables"][table]["rows"] = [
        {
            "keys": [key],
            "effective": date(2000, 1, 1),
            "source": "case",
            "values": known | dict(values),
        }
    ]


def _plan(text: dict[str, Any], snapshot: Snapshot) -> Plan:
    rulebook = in_force(check_rulebook(text, source="case"), _ON)
    arrays = publish(snapshot, sets=rulebook.sets, rules=rulebook.rules, tables=rulebook.tables)
    return compile_plan(rulebook, arrays)


def _market(
    instruments: list[Instrument], *, index: float, forward: float, mark: float, vol: float = 0.5
) -> Snapshot:
    count = len(instruments)
    nothing = np.full(count, np.nan)
    return assemble(
        Quotes(
            instruments=instruments,
            index=np.full(count, index),
            forward=np.full(count, forward),
            mark=np.full(count, mark),
            vol=np.full(count, vol),
            bid=nothing,
            ask=nothing,
            rate=nothing,
            time_ms=np.full(count, _NOW, dtype=np.int64),
        ),
        as_of_ms=_NOW,
    )


def _future(base: str, years: float, *, inverse: bool = True) -> Instrument:
    expiry = TimeMs(_NOW + round(years * YEAR_MS)) if years > 0 else None
    contract = Contract(
        base=base,
        quote="USD" if inverse else "USDC",
        settlement=base if inverse else "USDC",
        kind=Kind.FUTURE if expiry else Kind.PERPETUAL,
        expiry_ms=expiry,
    )
    return term_sheet(contract, _ONE)


def _option(base: str, strike: float, *, call: bool, inverse: bool) -> Instrument:
    contract = Contract(
        base=base,
        quote="USD" if inverse else "USDC",
        settlement=base if inverse else "USDC",
        kind=Kind.OPTION,
        expiry_ms=TimeMs(_NOW + YEAR_MS // 12),
        strike=Decimal(repr(strike)),
        option_type=OptionType.CALL if call else OptionType.PUT,
    )
    return term_sheet(contract, _ONE)


def portfolio_margin(given: Row) -> dict[str, Any]:
    """Deribit's portfolio margin of inverse futures: every step of `private/pme/simulate`."""
    base = next(iter(given["positions"])).split("-")[0]
    text = _text("deribit-pm")
    text["scenarios"]["standard"]["moves"]["steps"] = given["buckets"]
    text["parameters"]["mm_factor"] = given["mm_factor"]
    _set_row(
        text, "pair", base,
        {"price_range": given["R"], "extended_table_factor": given["factor"]},
    )  # fmt: skip
    _set_row(
        text,
        "currency",
        base,
        {
            "annualised_move_risk": given["amr"],
            "min_annualised_move": given["min_move"],
            "extended_dampener": given["dampener"],
            "pnl_offset": given["pnl_offset"],
            "max_offsetable_pnl": given["max_offset"],
        },
    )
    index = given["index"]
    held = [(_future(base, row["years"]), row["size"]) for row in given["positions"].values()]
    plan = _plan(text, _market([one for one, _ in held], index=index, forward=index, mark=index))
    rows = [plan.arrays.universe.row(one.symbol) for one, _ in held]
    # A position of N coin is N·mark dollars of inverse future.
    lots = {row: size * index for row, (_, size) in zip(rows, held, strict=True) if row is not None}
    inputs = {
        "mmp_margin": {base: given["mmp"]},
        "open_orders_margin": {base: given["orders"]},
        "spot_margin": {base: given["spot_margin"]},
    }
    return _pm_answer(exact_sets(plan, lots, inputs)[0], given["buckets"])


def _pm_answer(one: ExactSet, buckets: int) -> dict[str, Any]:
    standard = 3 * (2 * buckets + 1)
    raw = next(iter(one.raw["risk_matrix"].values()))
    mapped = next(iter(one.mapped["risk_matrix"].values()))
    parts = one.components
    charges = ("risk_matrix", "roll_shock", "delta_shock", "correlation_contingency")
    return {
        "std_first": raw[0],
        "std_last": raw[standard - 1],
        "std_agg_first": mapped[0],
        "ext_first": raw[standard],
        "ext_last": raw[-1],
        "ext_agg": list(mapped[standard:]),
        "worst_case": max(0.0, -min(one.vectors["risk_matrix"])),
        "roll_shock": parts["roll_shock"],
        "delta_shock": parts["delta_shock"],
        "risk_matrix_margin": sum(parts[name] for name in charges),
        "initial_margin": one.initial,
        "maintenance_margin": one.maintenance,
    }


def standard_future(given: Row) -> dict[str, float]:
    """Deribit's standard margin of one future."""
    text = _text("deribit-sm")
    row = {
        "initial": given["im_base"],
        "maintenance": given.get("mm_base", 0.0),
        "slope_per_coin": given["im_slope"],
    }
    _set_row(text, "future", "BTC", row)
    index = given["index"]
    future = _future("BTC", 0.0, inverse=False)
    plan = _plan(text, _market([future], index=index, forward=index, mark=index))
    one = exact_sets(plan, {0: given["size_base"]})[0]
    return {"im": one.initial * index, "mm": one.maintenance * index}


def _short_option(given: Row, *, inverse: bool) -> dict[str, float]:
    text = _text("deribit-sm")
    names = {"a": "option_initial", "b": "option_initial_min", "m": "option_maintenance"}
    text["parameters"] |= {names[key]: given[key] for key in names if key in given}
    _set_row(text, "future", "ETH", {})
    option = _option("ETH", given["K"], call=given["call"], inverse=inverse)
    market = _market([option], index=given["U"], forward=given["U"], mark=given["mark"])
    one = exact_sets(_plan(text, market), {0: -given["qty"]})[0]
    dollars = 1.0 if inverse else given["U"]
    return {"im": one.initial * dollars, "mm": one.maintenance * dollars}


def vol_shock(given: Row) -> dict[str, float]:
    """Deribit's shocked volatilities."""
    rulebook = in_force(shipped_rulebook("deribit-pm"), _ON)
    columns = {
        "iv": np.array([given["iv"]]),
        "days": np.array([given["dte"]]),
        "pair.volatility_range_up": np.array([given["up"]]),
        "pair.volatility_range_down": np.array([given["down"]]),
        "pair.short_term_vega_power": np.array([given["vp_s"]]),
        "pair.long_term_vega_power": np.array([given["vp_l"]]),
        "pair.min_volatility_for_shock_up": np.array([given["min_up"]]),
    }
    return {
        name: float(evaluate(rulebook.rules[name].shocked, columns, what=name)[0])
        for name in ("up", "down")
    }


def extended_row(given: Row) -> dict[str, float]:
    """Deribit's extended table: the scaled PnL, and what the dampener leaves of it."""
    rulebook = in_force(shipped_rulebook("deribit-pm"), _ON)
    columns = {
        "move": np.array([given["m"]]),
        "coin": np.array([1.0]),
        "numeraire": np.array([given["index"]]),
        "pair.price_range": np.array([given["R"]]),
        "pair.extended_table_factor": np.array([given["factor"]]),
        "currency.extended_dampener": np.array([given["dampener"]]),
    }
    weight = rulebook.formulas["scenarios.extended.weight"]
    zone = rulebook.formulas["scans.risk_matrix.map.toward_zero"]
    adjusted = given["pnl"] * float(evaluate(weight, columns, what="weight")[0])
    dead = float(evaluate(zone, columns, what="toward_zero")[0])
    damped = float(np.sign(adjusted)) * max(abs(adjusted) - dead, 0.0)
    return {"adjusted": adjusted, "damped": damped}


def delta_shock(given: Row) -> dict[str, float]:
    """Deribit's charge on large deltas."""
    rulebook = in_force(shipped_rulebook("deribit-pm"), _ON)
    columns = {
        "long_option_delta": np.array([given["long_opt"]]),
        "other_delta": np.array([given["fut_short_opt"]]),
        "index": np.array([given["index"]]),
        "pair.m_inc": np.array([given["m_inc"]]),
        "pair.delta_total_liq_shock_threshold": np.array([given["thr"]]),
        "pair.max_delta_shock": np.array([given["cap"]]),
    }
    exposed = rulebook.formulas["charges.delta_shock.let.exposed"]
    columns["exposed"] = evaluate(exposed, columns, what="exposed")
    amount = rulebook.formulas["charges.delta_shock.amount"]
    return {"shock": float(evaluate(amount, columns, what="amount")[0])}


def inverse_pnl(given: Row) -> dict[str, float]:
    """Unrealised PnL of an inverse future, in the book's own quanta."""
    future = _future("BTC", 0.0)
    universe = _market(
        [future], index=given["mark"], forward=given["mark"], mark=given["mark"]
    ).universe
    price = np.array([given["entry"], given["mark"]])
    row, lots = np.zeros(2, dtype=np.int32), np.full(2, given["usd"])
    at_entry, at_mark = entry_quanta(universe, row, lots, price)
    return {"pnl": float(at_mark - at_entry) / 1e9}


CHECKS: dict[str, Check] = {
    "deribit_pm_futures": portfolio_margin,
    "deribit_sm_future": standard_future,
    "short_option_inverse": lambda given: _short_option(given, inverse=True),
    "short_option_linear": lambda given: _short_option(given, inverse=False),
    "vol_shock": vol_shock,
    "ext_row": extended_row,
    "delta_shock": delta_shock,
    "inverse_pnl": inverse_pnl,
}
