"""Cases of Mango's health: tokens, spot orders and a perpetual told as rows of its rulebook."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from solvent.conform.case import Case, Row
from solvent.conform.levels import number, sheet

_TOLERANCE: Final = 1e-3
_LISTED: Final = {"is_future": 0, "is_option": 0, "inverse": 0}
_TOKENS: Final = ("token1", "token2", "token3")
_SPOT_MARKETS: Final = {"oo_1_2": ("token2", "token1"), "oo_1_3": ("token3", "token1")}
"""Market → the token that is traded and the one that is paid."""
_SETTINGS: Final = {
    "deposits": "deposits",
    "borrows": "borrows",
    "potential_serum_tokens": "potential_serum_tokens",
    "deposit_weight_scale_start_quote": "deposit_scale_start",
    "borrow_weight_scale_start_quote": "borrow_scale_start",
}
_WEIGHTS: Final = {"asset_w": "asset_weight", "liab_w": "liab_weight"}


def health(path: Path) -> Iterator[Case]:
    """Init health of accounts in one setting of tokens and markets."""
    content = json.loads(path.read_text("utf-8"))
    for row in content["cases"]:
        case = Case(f"{row['id']}: {row['title']}")
        told = sheet(
            "mango-v4",
            asset=_assets(content["setup"], row),
            position=[_perpetual(content["setup"], row)],
            order=[*_spot_orders(row), *_perpetual_orders(content["setup"], row)],
        )
        found = number(told.value("account", "init_health"))
        case.expect("init health", float(found), float(row["expected_init_health"]), _TOLERANCE)
        yield case


def _weights(row: Row) -> dict[str, Any]:
    """Every weight of a token or a perpetual under the rulebook's name for it."""
    named = {}
    for name, value in row.items():
        for ending, full in _WEIGHTS.items():
            if name.endswith(ending):
                named[name.removesuffix(ending) + full] = value
    return named


def _assets(setup: Row, row: Row) -> list[Mapping[str, Any]]:
    return [
        {
            "asset": name,
            "amount": row[name],
            "price": token["price"],
            **_weights(token),
            **{_SETTINGS[key]: value for key, value in settings.items()},
        }
        for name, token, settings in zip(
            _TOKENS, setup["tokens"], row["bank_settings"], strict=True
        )
    ]


def _market(setup: Row) -> dict[str, Any]:
    perpetual = setup["perp1"]
    return {
        **_LISTED,
        "instrument": "perp1",
        "underlying": perpetual["base_token"].split()[0],
        "settlement": perpetual["settle_token"],
        "is_perpetual": 1,
        "contract_size": perpetual["base_lot_size"],
        "index": perpetual["price"],
        **_weights(perpetual),
    }


def _perpetual(setup: Row, row: Row) -> dict[str, Any]:
    lots, quote, _, _ = row["perp1"]
    return {**_market(setup), "size": lots, "quote": quote}


def _perpetual_orders(setup: Row, row: Row) -> Iterator[Mapping[str, Any]]:
    _, _, bids, asks = row["perp1"]
    for buy, lots in ((1, bids), (0, asks)):
        yield {**_market(setup), "order": f"perp1 {buy}", "size": lots, "buy": buy, "price": 0}


def _spot_orders(row: Row) -> Iterator[Mapping[str, Any]]:
    """A market's orders are told by what they hold, and the best price where the case has one."""
    for market, (base, quote) in _SPOT_MARKETS.items():
        reserved_quote, reserved_base = row[market]
        shared = {
            **_LISTED,
            "instrument": market,
            "underlying": base,
            "settlement": quote,
            "is_perpetual": 0,
            "contract_size": 1,
        }
        yield {
            **shared, "order": f"{market} bids", "buy": 1, "reserved_quote": reserved_quote,
            "reserved_base": 0, "price": row["extra"].get(f"{market}_highest_placed_bid", 0),
        }  # fmt: skip
        yield {
            **shared, "order": f"{market} asks", "buy": 0, "reserved_quote": 0,
            "reserved_base": reserved_base,
            "price": row["extra"].get(f"{market}_lowest_placed_ask", 0),
        }  # fmt: skip
