"""Vega's cases of mark prices, averages and funding by `market`: prices in whole units."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from solvent.conform import funding
from solvent.conform.case import Row
from solvent.conform.vega_venue import exact
from solvent.market.impact import Side, margined_book_price
from solvent.market.mark import composite_mark, composite_median, traded_price

Found = Mapping[str, Any]


def _trades(given: Row) -> Found:
    trades = [(int(age), exact(price), exact(size)) for age, price, size in given["trades"]]
    price = traded_price(
        trades, period=given["period"], decay=exact(given["decay_weight"]),
        power=given["decay_power"],
    )  # fmt: skip
    return {"price": price}


def _book(given: Row) -> Found:
    price = margined_book_price(
        _side(given["bids"]), _side(given["asks"]), cash=exact(given["cash"]),
        initial=exact(given["initial_scaling"]), slippage=exact(given["slippage"]),
        risk_long=exact(given["rf_long"]), risk_short=exact(given["rf_short"]),
    )  # fmt: skip
    return {"price": price}


def _side(levels: Sequence[Sequence[Any]]) -> Side:
    return [(exact(price), exact(size)) for price, size in levels]


def _weighted(given: Row) -> Found:
    """Prices of one moment, so that none is stale."""
    rows = [
        (int(price), exact(weight), 0)
        for price, weight in zip(given["prices"], given["weights"], strict=True)
    ]
    return {"price": composite_mark(rows, stale_ms=[0] * len(rows))}


def _median(given: Row) -> Found:
    rows = [(int(price), exact(1), 0) for price in given["prices"]]
    return {"price": composite_median(rows, stale_ms=[0] * len(rows))}


INPUTS: Final[Mapping[str, frozenset[str]]] = {
    "mark_price_trades": frozenset({"decay_weight", "decay_power", "period", "trades"}),
    "mark_price_book": frozenset(
        {"cash", "initial_scaling", "slippage", "rf_long", "rf_short", "bids", "asks"}
    ),
    "mark_price_weighted": frozenset({"prices", "weights"}),
    "mark_price_median": frozenset({"prices"}),
    "funding_twap": frozenset({"period_minutes", "initial", "observations"}),
    "funding_twap_auction": frozenset({"period_minutes", "initial", "observations", "auction"}),
    "funding_payment": frozenset(
        {"f_twap", "s_twap", "delta_t", "interest_rate", "clamp_lower", "clamp_upper",
         "scaling_factor", "rate_lower", "rate_upper", "auction_fraction"}
    ),
}  # fmt: skip
"""Kind of case → all that it may tell."""
_FINDS: Final[Mapping[str, Callable[[Row], Found]]] = {
    "mark_price_trades": _trades,
    "mark_price_book": _book,
    "mark_price_weighted": _weighted,
    "mark_price_median": _median,
    "funding_twap": funding.average,
    "funding_twap_auction": funding.average,
    "funding_payment": funding.payment,
}


def found_in_market(row: Row) -> Found | None:
    """What the market's own functions make of a case; None for what they are not asked, or where
    something is told or asked that would be passed over."""
    inputs = INPUTS.get(row["kind"])
    if inputs is None or not set(row["inputs"]) <= inputs:
        return None
    found = _FINDS[row["kind"]](row["inputs"])
    return found if set(row["expected"]) <= set(found) else None
