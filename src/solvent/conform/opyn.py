"""Cases of Opyn's vaults, told as rows of its rulebooks; results are whole token units."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

from solvent.conform.case import Case, Row
from solvent.conform.levels import number, sheet
from solvent.margining.levels.rows import Sheet

_UNIT: Final = 10**8
"""Sizes, strikes and prices of the chain are whole numbers of 1e-8."""
_SHEET_DIFFERENCE: Final = 0.1
"""The source allows this against the numbers of its own spreadsheet."""


def spread_cases(path: Path) -> Iterator[Case]:
    """`spread_cases.json`: what is over or lacking in fully collateralised vaults."""
    file = json.loads(path.read_text("utf-8"))
    for row in file["cases"]:
        decimals = _decimals(row, file["asset_decimals"])
        case = Case(row["id"])
        vault = _spread(row, file["asset_decimals"])
        _expect_excess(case, vault, row["expected"]["net_value"], row["expected"], decimals)
        yield case


def naked_cases(path: Path) -> Iterator[Case]:
    """`naked_cases.json`: what vaults of one short option need, and what is over or lacking."""
    file = json.loads(path.read_text("utf-8"))
    for row in file["cases"]:
        case = Case(row["id"])
        vault = _naked(row, file["spot_shock"])
        required = number(vault.value("pool", "rounded_up"))
        case.expect_text("required", str(required), str(Fraction(row["expected_required"])))
        if "approx" in row:
            case.expect("by sheet", float(required), float(row["approx"]), _SHEET_DIFFERENCE)
        if "expected_excess" in row:
            expected = Fraction(row["expected_excess"]) * 10 ** row["decimals"]
            _expect_excess(case, vault, str(expected), row, row["decimals"])
        yield case


def _expect_excess(case: Case, vault: Sheet, expected: str, row: Row, decimals: int) -> None:
    excess = number(vault.value("pool", "excess")) * 10**decimals
    case.expect_text("net value", str(abs(excess)), expected)
    case.expect_text("is excess", str(excess >= 0), str(row["is_excess"]))


def _spread(row: Row, decimals: Mapping[str, int]) -> Sheet:
    prices = row["expiry_prices_1e8"] if row["expired"] else row["live_prices_1e8"]
    instruments, positions = [], []
    for name, sign in (("short", -1), ("long", 1)):
        if row[name] is not None:
            option = _option(name, row[name], prices or {}, decimals)
            instruments.append(option | {"years": 0 if row["expired"] else 1})
            size = sign * Fraction(row[f"{name}_amount_1e8"] or 0) / _UNIT
            positions.append({"instrument": name, "size": size})
    assets = []
    if row["collateral_asset"] is not None and row["collateral_amount"] is not None:
        name = row["collateral_asset"]
        amount = Fraction(row["collateral_amount"]) / 10 ** decimals[name]
        assets.append({"asset": name, "amount": amount})
    return sheet("opyn-spread", instrument=instruments, position=positions, asset=assets)


def _option(name: str, option: Row, prices: Row, decimals: Mapping[str, int]) -> dict[str, Any]:
    """The instrument of an option; a price that the case does not tell is left to the rulebook."""
    backed = option["collateral"]
    told = {
        "index": option["underlying"],
        "strike_asset_price": option["strike_asset"],
        "other_price": backed,
    }
    return {
        "instrument": name,
        "underlying": option["underlying"],
        "settlement": backed,
        "right": "put" if option["is_put"] else "call",
        "is_option": 1,
        "is_call": int(not option["is_put"]),
        "contract_size": 1,
        "strike": Fraction(option["strike_1e8"]) / _UNIT,
        "backed_by_strike": int(backed == option["strike_asset"]),
        "backed_by_underlying": int(backed == option["underlying"]),
        "collateral_decimals": decimals[backed],
        **{
            column: Fraction(prices[asset]) / _UNIT
            for column, asset in told.items()
            if asset in prices
        },
    }


def _decimals(row: Row, decimals: Mapping[str, int]) -> int:
    """Decimals of the token that a result is in."""
    option = row["long"] or row["short"]
    return decimals[option["collateral"] if option else row["collateral_asset"]]


def _naked(row: Row, shock: str) -> Sheet:
    option = {
        "instrument": "short",
        "is_option": 1,
        "is_call": int(not row["is_put"]),
        "contract_size": 1,
        "strike": row["strike"],
        "index": row["spot"],
        "upper_bound": row["upper_bound"],
        "years": 1,
        "collateral_decimals": row["decimals"],
    }
    assets = [{"asset": "collateral", "amount": row["collateral"]}] if "collateral" in row else []
    return sheet(
        "opyn-naked",
        tables={"product": {"*": {"call_shock": shock, "put_shock": shock}}},
        instrument=[option],
        position=[{"instrument": "short", "size": -Fraction(row["amount"])}],
        asset=assets,
    )
