"""A venue's contracts and prices in Deribit's words: floats, milliseconds, lower-case kinds."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from solvent.engine.state import Contract, State
from solvent.service.published import Published

NEVER_MS: Final = 32_503_708_800_000
"""Deribit's expiry of what does not expire."""
FRIDAY: Final = 4
KINDS: Final = ("future", "option")
_ANY: Final = frozenset({"any", "all", ""})


def kind_of(contract: Contract) -> str:
    """`option`, or `future` of perpetuals too."""
    return "option" if contract.listing.option_type else "future"


def price(contract: Contract, points: int | None) -> float | None:
    """A price in points as Deribit tells it; None where there is none."""
    return None if points is None else float(points * contract.deal.point)


def instrument_row(contract: Contract) -> dict[str, Any]:
    """A contract as `get_instruments` tells it; commissions and leverage are the rulebook's
    matter."""
    told, deal = contract.listing, contract.deal
    option = bool(told.option_type)
    row: dict[str, Any] = {
        "instrument_name": told.symbol,
        "instrument_id": contract.number,
        "kind": kind_of(contract),
        "instrument_type": "reversed" if told.inverse else "linear",
        "base_currency": told.base,
        "counter_currency": told.quote,
        "quote_currency": told.base if option and told.inverse else told.quote,
        "settlement_currency": told.settlement,
        "settlement_period": settlement_period(told.expiry_ms),
        "price_index": f"{told.base}_{told.quote}".lower(),
        "contract_size": float(told.contract_size),
        "min_trade_amount": float(told.lot_size),
        "tick_size": float(deal.point * deal.points_per_tick),
        "tick_size_steps": [],
        "creation_timestamp": contract.listed_ms,
        "expiration_timestamp": told.expiry_ms or NEVER_MS,
        "is_active": not contract.settled,
    }
    if option:
        assert told.strike is not None
        row |= {
            "option_type": "call" if told.option_type == "C" else "put",
            "strike": float(told.strike),
        }
    else:
        row["future_type"] = row["instrument_type"]
    return row


def settlement_period(expiry_ms: int | None) -> str:
    """`perpetual`, `day`, `week`, or `month` of a month's last Friday.

    >>> settlement_period(None), settlement_period(1_735_300_800_000)
    ('perpetual', 'month')
    """
    if expiry_ms is None:
        return "perpetual"
    day = datetime.fromtimestamp(expiry_ms / 1_000, UTC)
    if day.weekday() != FRIDAY:
        return "day"
    return "month" if (day + timedelta(days=7)).month != day.month else "week"


def contracts(
    now: Published, *, currency: str | None = None, kind: str | None = None, ended: bool = False
) -> Iterator[Contract]:
    """Contracts of a currency and kind (`any`: of all), those that have ended where asked for.

    A contract is of the currency that it settles in, and, where that is a dollar's coin, of its
    base too.
    """
    wanted = None if currency is None or currency.lower() in _ANY else currency.upper()
    some = None if kind is None or kind in _ANY else kind
    for one in now.state.contracts:
        of = (one.listing.settlement.upper(), one.listing.base.upper())
        if bool(one.settled) == ended and some in (None, kind_of(one)) and (
            wanted is None or wanted in of
        ):  # fmt: skip
            yield one


def index_of(state: State, asset: str) -> float | None:
    """Dollars per unit of an asset: its index; 1 of an asset that is a dollar's coin."""
    found = state.underlyings.get(asset)
    if found is not None:
        return found.price_nano / 1e9
    known = any(one.listing.base == asset for one in state.contracts)
    return None if known else 1.0


def rounded(state: State, asset: str, amount: float | Decimal) -> float:
    """An amount to the asset's own decimals."""
    number = state.asset_numbers.get(asset)
    places = 8 if number is None else state.assets[number][1]
    return round(float(amount), places)


def without_none(row: dict[str, Any]) -> dict[str, Any]:
    """A row without what is not known."""
    return {name: value for name, value in row.items() if value is not None}
