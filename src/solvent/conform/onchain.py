"""Cases of venues on chains: integers of the chain are told in units and dollars, exactly."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

from solvent.conform.case import Case, Check, Row
from solvent.conform.levels import number, sheet
from solvent.margining.levels.rows import Sheet

_MICRO: Final = 10**6
_PERPETUAL: Final = {
    "instrument": "a",
    "underlying": "a",
    "contract_size": 1,
    "is_perpetual": 1,
    "is_future": 0,
    "is_option": 0,
    "inverse": 0,
}
_PRICES: Final = {"BTC": 50_000, "ETH": 3_000}
"""Oracle prices of every case of dYdX's liquidations, as the cases' formula column tells them."""


def _expect(case: Case, what: str, found: Fraction, expected: str) -> None:
    """Hold an integer of the chain to the expected one, to the last digit."""
    case.expect_text(what, str(found), str(Fraction(expected)))


# ── dYdX ─────────────────────────────────────────────────────────────────────────────────────


def _tier(row: Row) -> dict[str, dict[str, dict[str, Fraction]]]:
    """A liquidity tier from parts per million and quote quantums."""
    names = {
        "initial": "initialMarginPpm",
        "maintenance_share": "maintenanceFractionPpm",
        "lower_cap": "openInterestLowerCap",
        "upper_cap": "openInterestUpperCap",
    }
    tier = {mine: Fraction(row.get(theirs, 0)) / _MICRO for mine, theirs in names.items()}
    return {"tier": {"*": tier}}


def _quantums(row: Row) -> Sheet:
    """A position told in base quantums at the chain's price."""
    unit = Fraction(10) ** int(row["baseCurrencyAtomicResolution"])
    position = {
        **_PERPETUAL,
        "size": int(row["bigBaseQuantums"]) * unit,
        "index": int(row["price"]) * Fraction(10) ** int(row["exponent"]),
        "open_interest": int(row.get("openInterest", 0)) * unit,
    }
    return sheet("dydx-v4", tables=_tier(row), position=[position])


def _market(row: Row) -> Sheet:
    """A market of which its tier and the notional of its open interest are told."""
    market = {**_PERPETUAL, "open_notional": Fraction(row.get("openInterestNotional", 0)) / _MICRO}
    position = {
        **_PERPETUAL,
        "net_notional": Fraction(row.get("bigQuoteQuantums", 0)) / _MICRO,
    }
    factor = Fraction(row.get("clampFactorPpm", 0)) / _MICRO
    return sheet(
        "dydx-v4",
        parameters={"funding_clamp_factor": factor},
        tables=_tier(row),
        instrument=[market],
        position=[position],
    )


_DYDX: Final[Mapping[str, tuple[Callable[[Row], Sheet], Mapping[str, tuple[str, str]]]]] = {
    "margin_requirements": (
        _quantums,
        {
            "bigExpectedInitialMargin": ("position", "initial"),
            "bigExpectedMaintenanceMargin": ("position", "maintenance"),
        },
    ),
    "net_notional": (_quantums, {"expected": ("position", "net_notional")}),
    "maintenance_margin_ppm": (
        _market,
        {"expectedMaintenanceMarginPpm": ("instrument", "maintenance_fraction")},
    ),
    "funding_clamp_ppm": (_market, {"expectedUpperBoundPpm": ("instrument", "funding_limit")}),
    "initial_margin_quote_quantums": (
        _market,
        {"expectedInitialMarginQuoteQuantums": ("position", "initial")},
    ),
    "adjusted_imf_ppm": (_market, {"expectedPpm": ("instrument", "initial_fraction")}),
}
"""List of cases → how a case is told, and which column each expected integer is, in millionths."""


def dydx(path: Path) -> Iterator[Case]:
    """Margin requirements of dYdX v4: a list of cases for each function of the chain."""
    for kind, rows in json.loads(path.read_text("utf-8")).items():
        if not isinstance(rows, list):
            continue
        for row in rows:
            name = f"{kind}: {row['id']}"
            if kind not in _DYDX:
                yield Case(name, known=False)
                continue
            tell, asked = _DYDX[kind]
            case, told = Case(name), tell(row)
            for expected, (level, column) in asked.items():
                found = number(told.value(level, column)) * _MICRO
                _expect(case, expected, found, row[expected])
            yield case


def _subaccount(given: Row, **close: Any) -> tuple[Sheet, int]:
    """An account with USDC and positions, and which of these is closed.

    The chain's USDC balance has what positions cost taken out: entry prices are 0.
    """
    positions = [
        {**_PERPETUAL, "instrument": coin, "underlying": coin, "size": size, "entry_price": 0,
         "index": _PRICES[coin], **(close if coin == given["close"] else {})}
        for coin, size in given["positions"].items()
    ]  # fmt: skip
    names = {
        "max_liquidation_fee": "max_fee",
        "bankruptcy_adjustment": "bankruptcy_adjustment",
        "spread_to_maintenance": "smmr",
    }
    told = sheet(
        "dydx-v4",
        parameters={mine: given[theirs] for mine, theirs in names.items() if theirs in given},
        tables=_fraction(given["mmf"]),
        asset=[{"asset": "USDC", "amount": given["usdc"], "price": 1}],
        position=positions,
    )
    return told, list(given["positions"]).index(given["close"])


def _fraction(maintenance: float) -> dict[str, dict[str, dict[str, float]]]:
    """A tier of which only the maintenance margin fraction is told."""
    tier = {"initial": 1, "maintenance_share": maintenance, "lower_cap": 0, "upper_cap": 0}
    return {"tier": {"*": tier}}


def liquidation_price(given: Row) -> dict[str, Fraction]:
    """Where one market takes an account to its maintenance margin."""
    position = {
        **_PERPETUAL,
        "size": given["s"],
        "index": given["p"],
        "maintenance_of_others": given["mmr_other"],
    }
    told = sheet(
        "dydx-v4",
        tables=_fraction(given["mmf"]),
        account=[{"account": "", "equity": given["e"]}],
        position=[position],
    )
    return {"liq_price": number(told.value("position", "liquidation_price"))}


def bankruptcy_quote(given: Row) -> dict[str, Fraction]:
    """What a part of a position must fetch so that the insurance fund does not pay."""
    told, row = _subaccount(given, closed=given["delta"])
    return {"quote": number(told.value("position", "bankruptcy_quote", row))}


def fillable_price(given: Row) -> dict[str, Fraction]:
    """The price at which a liquidation order is put to the book."""
    told, row = _subaccount(given)
    return {"fillable_price": number(told.value("position", "fillable_price", row))}


def insurance(given: Row) -> dict[str, Fraction]:
    """What a liquidation fill brings to the insurance fund, below 0 what it costs."""
    side = 1 if given["is_buy"] else -1
    told, row = _subaccount(
        given, closed=side * Fraction(repr(given["fill"])), fill_price=given["price"]
    )
    return {"delta": number(told.value("position", "to_insurance", row))}


def deleverage(given: Row) -> dict[str, Fraction]:
    """A long offset against a short that is under water, at the short's bankruptcy price."""

    def held(deposit: float, side: int, fill_price: Fraction | int) -> Sheet:
        position = {
            **_PERPETUAL,
            "size": side * given["size"],
            "entry_price": given["entry"],
            "index": given["oracle"],
            "fill_price": fill_price,
        }
        asset = {"asset": "USDC", "amount": deposit, "price": 1}
        return sheet("dydx-v4", tables=_fraction(1), asset=[asset], position=[position])

    short = held(given["b_deposit"], -1, 0)
    price = number(short.value("position", "bankruptcy_price"))
    return {
        "bankruptcy_price": price,
        "a_pnl": number(held(given["a_deposit"], 1, price).value("position", "realised")),
        "b_account": number(
            held(given["b_deposit"], -1, price).value("account", "equity_after_fill")
        ),
    }


LIQUIDATION_CHECKS: Final[Mapping[str, Check]] = {
    "dydx_liq": liquidation_price,
    "dydx_bankruptcy_quote": bankruptcy_quote,
    "dydx_fillable": fillable_price,
    "dydx_insurance": insurance,
    "dydx_deleverage": deleverage,
}


# ── Drift ────────────────────────────────────────────────────────────────────────────────────

_WEIGHT: Final = 10**4
"""Weights and ratios are whole ten-thousandths."""
_BASE: Final = 10**9


def _weight(row: Row, name: str) -> Fraction:
    return Fraction(row.get(name, 0)) / _WEIGHT


def _spot(row: Row, side: str) -> Fraction:
    """The weight of a deposit (`asset`) or a borrow (`liability`) of a size."""
    asset = {
        "asset": "a",
        "amount": Fraction(row["size"]) / 10 ** int(row["decimals"]),
        "imf": Fraction(row["imf"]) / _MICRO,
        f"initial_{side}_weight": _weight(row, "init"),
        f"maintenance_{side}_weight": _weight(row, "maint"),
    }
    told = sheet("drift", asset=[asset])
    return number(told.value("asset", f"{side}_weight_{row['type'].lower()}"))


def _scaled_weight(row: Row) -> Fraction:
    """The initial asset weight where deposits are large."""
    asset = {
        "asset": "a",
        "deposited": Fraction(row["deposit_value"]) / _MICRO,
        "scale_start": Fraction(row["start"]) / _MICRO,
        "initial_asset_weight": _weight(row, "init"),
    }
    return number(sheet("drift", asset=[asset]).value("asset", "scaled_initial_weight"))


def _margin_ratio(row: Row) -> Fraction:
    """The margin ratio of a perpetual position of a size."""
    position = {
        **_PERPETUAL,
        "size": Fraction(row["size"]) / _BASE,
        "imf": Fraction(row["imf"]) / _MICRO,
        "initial_ratio": _weight(row, "init"),
        "maintenance_ratio": _weight(row, "maint"),
        "high_leverage_initial": _weight(row, "hlm_init"),
        "high_leverage_maintenance": _weight(row, "hlm_maint"),
    }
    told = sheet(
        "drift",
        account=[{"account": "", "high_leverage": int(row.get("hlm", False))}],
        position=[position],
    )
    return number(told.value("market", f"{row['type'].lower()}_margin_ratio"))


def _pnl_weight(row: Row) -> Fraction:
    """The share of unsettled gains that counts; a fill counts them as initial margin does."""
    position = {
        **_PERPETUAL,
        "unrealised": Fraction(row["pnl"]) / _MICRO,
        "pnl_imf": Fraction(row["imf"]) / _MICRO,
        "pnl_initial_weight": _weight(row, "weight"),
        "pnl_maintenance_weight": _weight(row, "weight"),
    }
    kind = "maintenance" if row["type"] == "Maintenance" else "initial"
    return number(sheet("drift", position=[position]).value("market", f"{kind}_pnl_weight"))


_DRIFT: Final[Mapping[str, Callable[[Row], Fraction]]] = {
    "spot_asset_weight": lambda row: _spot(row, "asset"),
    "spot_liab_weight": lambda row: _spot(row, "liability"),
    "spot_scaled_init_weight": _scaled_weight,
    "perp_margin_ratio": _margin_ratio,
    "perp_unrealized_pnl_weight": _pnl_weight,
}


def drift(path: Path) -> Iterator[Case]:
    """Size-dependent weights and ratios of Drift."""
    for place, row in enumerate(json.loads(path.read_text("utf-8"))["cases"]):
        case = Case(f"{place}: {row['kind']} {row.get('type', '')}".rstrip())
        if row["kind"] in _DRIFT:
            _expect(case, row["kind"], _DRIFT[row["kind"]](row) * _WEIGHT, row["expected"])
        else:
            case.known = False
        yield case
