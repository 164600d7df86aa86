"""Cases of Derive's standard risk manager, told as rows of its rulebook."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

from solvent.conform.case import Case, Row
from solvent.conform.levels import number, sheet
from solvent.margining.levels.rows import Sheet

_YEAR: Final = 365 * 86_400
_RELATIVE, _ABSOLUTE = 1e-9, 1e-6
"""Allowed error of a margin. The file allows 0.1 %; the contract's arithmetic does far better."""
_COLUMNS: Final = {"im": "net_initial", "mm": "net_maintenance", "mtm": "equity"}


def cases(path: Path) -> Iterator[Case]:
    """`srm_cases.json`: margins and mark-to-market in dollars."""
    file = json.loads(path.read_text("utf-8"))
    for row in file["cases"]:
        case = Case(row["id"])
        account = portfolio(row, file["params"])
        for what, expected in row["expected"].items():
            if what in _COLUMNS:
                allowed = max(abs(float(expected)) * _RELATIVE, _ABSOLUTE)
                found = number(account.value("account", _COLUMNS[what]))
                case.expect(what, float(found), float(expected), allowed)
        yield case


def whole_dollar_cases(path: Path) -> Iterator[Case]:
    """`srm_portfolio_cases.json`: margins in whole dollars, cut off towards zero."""
    file = json.loads(path.read_text("utf-8"))
    for row in file["cases"]:
        case = Case(row["id"])
        account = _whole_dollar_portfolio(row, file["params"])
        for what, expected in row["expected"].items():
            found = account.value("account", _COLUMNS[what.removesuffix("_int")])
            case.expect(what, int(number(found)), expected, 0.0)
        yield case


def portfolio(row: Row, parameters: Row) -> Sheet:
    """The account of a case of `srm_cases.json`."""
    positions: list[Row] = []
    for name, market in row["markets"].items():
        if Fraction(market["perp_position"]):
            facts = {
                "entry_price": market["perp_entry"],
                "funding_index": market["global_funding"],
                "funding_paid": market["account_funding"],
            }
            positions.append(_perpetual(name, market, market["perp_position"], facts))
    for option in row["options"]:
        market = row["markets"][option["underlying"]]
        confidence = min(Fraction(option["vol_conf"]), Fraction(option["forward_conf"]))
        positions.append(
            _option(option, market, option["vol"], option["forward"]) | {"confidence": confidence}
        )
    coins = {name: market["base"] for name, market in row["markets"].items()}
    return _account(row["markets"], positions, coins, row, parameters)


def _whole_dollar_portfolio(row: Row, parameters: Row) -> Sheet:
    markets = {name: market for name, market in row["env"].items() if name != "stable"}
    positions = [
        _perpetual(
            perp["underlying"],
            markets[perp["underlying"]],
            perp["amount"],
            {"entry_price": perp["entry_price"]},
        )
        for perp in row["perps"]
    ]
    for option in row["options"]:
        market = markets[option["underlying"]]
        forward, confidence = market["forwards"][option["expiry"]]
        vol = _vols(market, option["expiry"]).get(Fraction(option["strike"]), _VOL)
        confidences = Fraction(confidence), _vol_confidence(row["options"], option, market)
        positions.append(_option(option, market, vol, forward) | {"confidence": min(confidences)})
    coins: dict[str, Fraction] = {}
    for base in row["bases"]:
        name = base["underlying"]
        coins[name] = coins.get(name, Fraction(0)) + Fraction(base["amount"])
    told = {**row, "stable": row["env"]["stable"]}
    return _account(markets, positions, coins, told, parameters)


_VOL: Final = "0.5"
"""Volatility of every strike that a case does not tell."""


def _vols(market: Row, expiry: str) -> dict[Fraction, str]:
    return {
        Fraction(strike): vol for told, strike, vol, _ in market["vol_overrides"] if told == expiry
    }


def _vol_confidence(options: Sequence[Row], option: Row, market: Row) -> Fraction:
    """Confidence of an expiry's vols. The source's feed keeps that of the strike set last, and a
    strike that the case does not tell is set after those that it does, with confidence 1."""
    told = _vols(market, option["expiry"])
    same = [
        other
        for other in options
        if other["underlying"] == option["underlying"] and other["expiry"] == option["expiry"]
    ]
    if not told or any(Fraction(other["strike"]) not in told for other in same):
        return Fraction(1)
    mine = [row for row in market["vol_overrides"] if row[0] == option["expiry"]]
    return Fraction(mine[-1][3])


def _option(option: Row, market: Row, vol: Any, forward: Any) -> dict[str, Any]:
    seconds, name = option["sec_to_expiry"], option["underlying"].upper()
    right = "C" if option["is_call"] else "P"
    return {
        "instrument": f"{name}-{seconds}-{option['strike']}-{right}",
        "underlying": name,
        "expiry": seconds,
        "kind": "option",
        "size": option["amount"],
        "contract_size": 1,
        "is_option": 1,
        "inverse": 0,
        "is_call": int(option["is_call"]),
        "index": market["spot"],
        "forward": forward,
        "strike": option["strike"],
        "iv": vol,
        "years": Fraction(seconds, _YEAR),
    }


def _perpetual(name: str, market: Row, size: Any, facts: Row) -> Row:
    return {
        "instrument": f"{name.upper()}-PERP",
        "underlying": name.upper(),
        "kind": "perpetual",
        "size": size,
        "contract_size": 1,
        "is_option": 0,
        "inverse": 0,
        "is_call": 0,
        "index": market["spot"],
        "mark": market["perp_price"],
        "confidence": market["perp_conf"],
        **facts,
    }


def _account(
    markets: Mapping[str, Row],
    positions: Iterable[Row],
    coins: Mapping[str, Any],
    row: Row,
    parameters: Row,
) -> Sheet:
    assets = [
        {"asset": name.upper(), "amount": amount, "price": markets[name]["spot"]}
        for name, amount in coins.items()
    ]
    return sheet(
        "derive-srm",
        parameters={
            "depeg_threshold": parameters["depeg"]["threshold"],
            "depeg_factor": parameters["depeg"]["depegFactor"],
        },
        tables=_tables(parameters),
        account=[{"account": "", "stable_price": row["stable"]}],
        underlying=[
            {"underlying": name.upper(), "spot_confidence": market["spot_conf"]}
            for name, market in markets.items()
        ],
        position=list(positions),
        asset=[*assets, {"asset": "USDC", "amount": row["cash"]}],
    )


def _tables(parameters: Row) -> dict[str, dict[str, Row]]:
    """The contract's parameters under the rulebook's names, the same for every market."""
    option, oracle, base = parameters["option"], parameters["oracle"], parameters["base"]
    return {
        "option": {
            "*": {
                "initial_most": option["maxSpotReq"],
                "initial_least": option["minSpotReq"],
                "maintenance_call": option["mmCallSpotReq"],
                "maintenance_put": option["mmPutSpotReq"],
                "maintenance_put_value": option["MMPutMtMReq"],
                "uncovered_initial": option["unpairedIMScale"],
                "uncovered_maintenance": option["unpairedMMScale"],
                "put_offset": option["mmOffsetScale"],
            }
        },
        "perpetual": {
            "*": {"initial": parameters["perp_im"], "maintenance": parameters["perp_mm"]}
        },
        "oracle": {
            "*": {
                "perpetual": oracle["perpThreshold"],
                "option": oracle["optionThreshold"],
                "coin": oracle["baseThreshold"],
                "factor": oracle["OCFactor"],
            }
        },
        "collateral": {
            "*": {
                "is_cash": 0,
                "factor": base["marginFactor"],
                "initial_scale": base["IMScale"],
            },
            "USDC": {"is_cash": 1, "factor": 1, "initial_scale": 1},
        },
    }
