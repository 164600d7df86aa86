"""Numbers that exchanges and their tests print, by the formulas of the package itself.

`solvent conform` finds the same numbers by rulebooks' formulas; here they come from `liquidation`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import pytest

from solvent.liquidation import bankruptcy, fund, ranks
from solvent.liquidation.adl import queue_lots
from tests.conftest import need_shared


def exact(told: float | str) -> Fraction:
    return Fraction(str(told))


def subaccount(given: Mapping[str, Any]) -> dict[str, Fraction]:
    """dYdX's tests: BTC at 50,000, ETH at 3,000, all in millionths of a dollar."""
    prices = {"BTC": 50_000, "ETH": 3_000}
    rate = exact(given["mmf"])
    notional = {
        coin: exact(size) * prices[coin] * 10**6 for coin, size in given["positions"].items()
    }
    mine = notional[given["close"]]
    return {
        "size": exact(given["positions"][given["close"]]),
        "notional": mine,
        "mine": abs(mine) * rate,
        "equity": exact(given["usdc"]) * 10**6 + sum(notional.values()),
        "maintenance": sum((abs(one) * rate for one in notional.values()), Fraction(0)),
    }  # fmt: skip


def quote_of(given: Mapping[str, Any], part: Fraction) -> int:
    told = subaccount(given)
    share = part / told["size"]
    return bankruptcy.bankruptcy_quote(
        notional_delta=int(told["notional"] * share), maintenance_delta=int(told["mine"] * share),
        equity=int(told["equity"]), maintenance=int(told["maintenance"]),
    )  # fmt: skip


def dydx_bankruptcy_quote(given: Mapping[str, Any]) -> dict[str, Any]:
    return {"quote": Fraction(quote_of(given, exact(given["delta"])), 10**6)}


def dydx_fillable(given: Mapping[str, Any]) -> dict[str, Any]:
    told = subaccount(given)
    price = bankruptcy.fillable_price(
        size=told["size"], notional=told["notional"], position_maintenance=told["mine"],
        equity=told["equity"], maintenance=told["maintenance"],
        adjustment=exact(given.get("bankruptcy_adjustment", 1)),
        spread=exact(given.get("smmr", "1.5")),
    )  # fmt: skip
    return {"fillable_price": price / 10**6}


def dydx_insurance(given: Mapping[str, Any]) -> dict[str, Any]:
    part = exact(given["fill"]) * (1 if given["is_buy"] else -1)
    received = -part * exact(given["price"]) * 10**6
    delta = bankruptcy.insurance_delta(
        received=received, bankruptcy=quote_of(given, part), fee_max=exact(given["max_fee"])
    )
    return {"delta": delta / 10**6}


def dydx_deleverage(given: Mapping[str, Any]) -> dict[str, Any]:
    """Ticks of a millionth of a dollar; the short is who is bankrupt."""
    size, entry, oracle = given["size"], given["entry"], given["oracle"]
    equity = given["b_deposit"] - size * (oracle - entry)
    ticks = bankruptcy.linear_price(
        equity=equity * 10**6, lots=-size, mark=oracle * 10**6, unit=Fraction(1)
    )
    assert ticks is not None
    price = Fraction(ticks, 10**6)
    return {"bankruptcy_price": price, "a_pnl": size * (price - entry),
            "b_account": given["b_deposit"] - size * (price - entry)}  # fmt: skip


def bankrupt_at_entry(given: Mapping[str, Any]) -> dict[str, Any]:
    side = 1 if given["side"] == "long" else -1
    size, entry = given["size"], given["entry"]
    ticks = bankruptcy.linear_price(
        equity=(given["position_margin"] + given["wallet"]) * 10**6, lots=side * size,
        mark=entry * 10**6, unit=Fraction(1),
    )  # fmt: skip
    return {"bankruptcy_price": Fraction(ticks or 0, 10**6)}


def linear_bankruptcy(given: Mapping[str, Any]) -> dict[str, Any]:
    side = 1 if given["side"] == "long" else -1
    margin = Fraction(given["entry"], given["leverage"])
    ticks = bankruptcy.linear_price(equity=int(margin * 10**6), lots=side,
                                    mark=given["entry"] * 10**6, unit=Fraction(1))  # fmt: skip
    return {"bankruptcy_price": Fraction(ticks or 0, 10**6)}


def inverse_bankruptcy(given: Mapping[str, Any]) -> dict[str, Any]:
    """Of margin value/leverage; `face` is one coin's smallest units of a dollar in ticks."""
    side = 1 if given["side"] == "long" else -1
    found = {}
    for what, tick in (("bankruptcy_price", Fraction(1, 10**9)), ("rounded", exact(given["tick"]))):
        mark = exact(given["entry"]) / tick
        face = Fraction(10**30)
        margin = math.floor(face / mark / given["leverage"])
        ticks = bankruptcy.inverse_price(equity=margin, lots=side, mark=mark, face=face)
        found[what] = (ticks or 0) * tick
    return found


def adl_pool_drawdown(given: Mapping[str, Any]) -> dict[str, Any]:
    found = fund.drawdown(
        balance=given["balance"], threshold=given["trigger_threshold"],
        profit=-given["symbol_loss"], profit_max=0, balance_max=given["pool_8h_max"], was=False,
        start=exact(given["pnl_ratio_limit"]), stop=Fraction(-1, 4),
    )  # fmt: skip
    return {"pnl_ratio": found.ratio, "triggered": found.deleverage, "subsidy": found.beyond}


def okx_pool_threshold(given: Mapping[str, Any]) -> dict[str, Any]:
    told: dict[str, Any] = {"share": Fraction(3, 10), "least": 50_000}
    average = given["pool_8h_avg"]
    return {"threshold": fund.pool_floor(average, **told),
            "triggered": fund.pool_spent(given["pool"], average, **told)}  # fmt: skip


def binance_adl(given: Mapping[str, Any]) -> dict[str, Any]:
    wallet, gain = given["wallet"], given["upnl"]
    score = ranks.binance(unrealised=gain, wallet=wallet, maintenance=given["maint"])
    return {"score": score, "margin_ratio": Fraction(given["maint"], wallet + gain),
            "pnl_pct": Fraction(gain, wallet)}  # fmt: skip


def hl_adl(given: Mapping[str, Any]) -> dict[str, Any]:
    index = ranks.hyperliquid(
        side=1,
        mark=given["mark"],
        entry=given["entry"],
        notional=given["notional"],
        value=given["account_value"],
    )
    return {"index": index}


def bitmex_adl(given: Mapping[str, Any]) -> dict[str, Any]:
    lots = {account: held for account, held, _ in given["accounts"]}
    order = ranks.by_score({account: Fraction(score) for account, _, score in given["accounts"]})
    rows = sorted(lots)
    closed = queue_lots([lots[one] for one in rows], [rows.index(one) for one in order],
                        given["liquidated_size"])  # fmt: skip
    return {
        "order": list(order),
        "percentile": {str(p.account): 20 * p.quintile for p in ranks.places(order, lots)},
        "closed": {str(one): n for one, n in zip(rows, closed, strict=True) if n},
    }


CHECKS = {
    "dydx_bankruptcy_quote": dydx_bankruptcy_quote, "dydx_fillable": dydx_fillable,
    "dydx_insurance": dydx_insurance, "dydx_deleverage": dydx_deleverage,
    "adl_bankruptcy": bankrupt_at_entry, "linear_bankruptcy": linear_bankruptcy,
    "inverse_bankruptcy": inverse_bankruptcy, "adl_pool_drawdown": adl_pool_drawdown,
    "okx_pool_threshold": okx_pool_threshold, "binance_adl": binance_adl, "hl_adl": hl_adl,
    "bitmex_adl": bitmex_adl,
}  # fmt: skip


@pytest.mark.parametrize("kind", CHECKS)
def test_numbers_that_exchanges_and_their_tests_print(kind: str) -> None:
    file = json.loads(
        need_shared("vectors", "exchange_liquidation", "cases.json").read_text("utf-8")
    )
    rows = [row for row in file["cases"] if row["kind"] == kind]
    assert rows
    for row in rows:
        found = CHECKS[kind](row["inputs"])
        assert set(row["expected"]) <= set(found), row["id"]
        for what, expected in row["expected"].items():
            if isinstance(expected, list | dict | bool):
                assert found[what] == expected, row["id"]
            else:
                assert float(found[what]) == pytest.approx(expected, abs=row["tolerance"]), row[
                    "id"
                ]
