"""ccxt's unified structures: markets, tickers, balances, positions, leverage tiers.

They look alike for every venue that ccxt knows. Numbers are floats in them: each is taken as it is
written out. ccxt itself is not needed to read them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from solvent.errors import Problem, Reject
from solvent.feeds.accounts.answer import (
    CROSS,
    HEDGE,
    ISOLATED,
    Answer,
    Holding,
    Listing,
    Money,
    Price,
    Resting,
    Tier,
    once,
)
from solvent.feeds.accounts.cells import Cells, each
from solvent.feeds.accounts.terms import counted_in_coin, of_name, signed
from solvent.instruments import Contract, Kind, Specification, parse_symbol, term_sheet
from solvent.instruments.symbols import listed_symbol

_SIDES: Final = {"long": 1, "short": -1, "buy": 1, "sell": -1, "": 0}
_BUYS: Final = {"buy": True, "sell": False}
_MODES: Final = {"cross": CROSS, "isolated": ISOLATED, "": CROSS}
_NO_COINS: Final = frozenset({"info", "timestamp", "datetime", "free", "used", "total", "debt"})


def listings(markets: Mapping[str, Any] | Sequence[Any], source: str = "ccxt markets") -> Answer:
    """`markets`, or what `parse_market` makes; amounts in contracts become Solvent's sizes."""
    rows = list(markets.values()) if isinstance(markets, Mapping) else markets
    notes: list[Problem] = []
    found = each(source, rows, _listing, unnamed=notes)
    once(source, "symbol", [one.symbol for one in found])
    return Answer(listings=tuple(found), notes=tuple(notes))


def _listing(cells: Cells) -> Listing:
    contract = of_name(cells, "symbol", parse_symbol)
    info, unit = cells.fields.get("info"), Decimal(1)
    deribit = isinstance(info, Mapping) and "instrument_name" in info
    # Of Deribit ccxt tells amounts in the venue's own unit, and a contract's size beside it.
    if contract.kind is not Kind.SPOT and not deribit:
        unit = cells.maybe("contractSize") or Decimal(1)
    step = cells.inside("precision")
    sizes = Specification(
        lot_size=step.above_zero("amount") * unit, contract_size=unit,
        tick_size=step.above_zero("price"),
    )  # fmt: skip
    return Listing(
        name=cells.text("id"), instrument=term_sheet(contract, sizes), unit=unit,
        traded=cells.fields.get("active") is not False,
    )  # fmt: skip


def prices(tickers: Mapping[str, Any] | Sequence[Any], source: str = "ccxt tickers") -> Answer:
    """What `fetch_tickers` gives, or a list of tickers."""
    rows = list(tickers.values()) if isinstance(tickers, Mapping) else tickers
    found = each(source, rows, _price)
    once(source, "symbol", [one.symbol for one in found])
    times = [one.time_ms for one in found if one.time_ms is not None]
    return Answer(prices=tuple(found), time_ms=max(times, default=None))


def _price(cells: Cells) -> Price:
    return Price(
        symbol=listed_symbol(of_name(cells, "symbol", parse_symbol)),
        time_ms=cells.time("timestamp"), bid=cells.positive("bid"), ask=cells.positive("ask"),
        mark=cells.positive("markPrice"), index=cells.positive("indexPrice"),
        last=cells.positive("last"),
    )  # fmt: skip


def accounts(balance: Mapping[str, Any], source: str = "ccxt balance") -> Answer:
    """What `fetch_balance` gives: the total of each coin, less its debt."""
    whole = Cells(source, None, balance)
    coins = [(name, what) for name, what in balance.items()
             if name not in _NO_COINS and isinstance(what, Mapping)]  # fmt: skip
    rows = [{**what, "asset": name} for name, what in coins]
    return Answer(money=tuple(each(source, rows, _money)), time_ms=whole.time("timestamp"))


def _money(cells: Cells) -> Money | None:
    total = cells.maybe("total")
    if total is None:
        return None
    amount = total - (cells.maybe("debt") or Decimal(0))
    return Money(asset=cells.text("asset"), amount=amount, backing=amount)


def positions(rows: Sequence[Any], source: str = "ccxt positions") -> Answer:
    """What `fetch_positions` gives: contracts × contract size, signed by side.

    Where ccxt tells no contracts, as of Deribit, the venue's own `info.size` is the size.
    """
    found = each(source, rows, _holding)
    once(source, "symbol", [
        (one.symbol, one.size > 0) if one.mode == HEDGE else one.symbol for one in found
    ])  # fmt: skip
    return Answer(holdings=tuple(found))


def _holding(cells: Cells) -> Holding:
    contract = of_name(cells, "symbol", parse_symbol)
    mode = cells.one_of("marginMode", _MODES)
    hedged = cells.fields.get("hedged") is True and mode == CROSS
    return Holding(
        symbol=listed_symbol(contract), size=_size(cells, contract),
        entry_price=cells.positive("entryPrice"), mark=cells.positive("markPrice"),
        mode=HEDGE if hedged else mode, leverage=cells.positive("leverage"),
        isolated_margin=cells.maybe("collateral") if mode == ISOLATED else None,
        initial=cells.maybe("initialMargin"), maintenance=cells.maybe("maintenanceMargin"),
        unrealised=cells.maybe("unrealizedPnl"), time_ms=cells.time("timestamp"),
    )  # fmt: skip


def _size(cells: Cells, contract: Contract) -> Decimal:
    side = cells.one_of("side", _SIDES)
    contracts = cells.maybe("contracts")
    if contracts is None:
        info = cells.fields.get("info")
        if not isinstance(info, Mapping) or "size" not in info:
            cells.wrong(Reject.FIELD_MISSING, "contracts", "a number, or info.size", "nothing")
        return Cells(cells.source, cells.row, info).number("size")
    unit = cells.maybe("contractSize")
    if unit is None:
        if not counted_in_coin(contract):
            cells.wrong(Reject.FIELD_MISSING, "contractSize", "dollars of a contract", "nothing")
        unit = Decimal(1)
    return signed(cells, abs(contracts) * unit, side)


def orders(
    rows: Sequence[Any], units: Mapping[str, Decimal], source: str = "ccxt orders"
) -> Answer:
    """What `fetch_open_orders` gives. `units`: contract size by Solvent's symbol, 1 if not told."""
    found = each(source, rows, lambda cells: _resting(cells, units))
    return Answer(orders=tuple(found))


def _resting(cells: Cells, units: Mapping[str, Decimal]) -> Resting | None:
    if cells.maybe("price") is None or cells.maybe("remaining") is None:
        return None
    symbol = listed_symbol(of_name(cells, "symbol", parse_symbol))
    return Resting(
        symbol=symbol, order=cells.text("id"), buy=cells.one_of("side", _BUYS),
        size=cells.unsigned("remaining") * units.get(symbol, Decimal(1)),
        price=cells.above_zero("price"),
    )  # fmt: skip


def tiers(by_symbol: Mapping[str, Any], source: str = "ccxt leverage tiers") -> Answer:
    """What `fetch_leverage_tiers` gives: notionals in the quote currency."""
    found = []
    for symbol, rows in by_symbol.items():
        named = [{**row, "symbol": symbol} if isinstance(row, Mapping) else row for row in rows]
        found += each(source, named, _tier)
    once(source, "tier", [(one.symbol, one.above) for one in found])
    return Answer(tiers=tuple(found))


def _tier(cells: Cells) -> Tier:
    info = cells.fields.get("info")
    inside = Cells(cells.source, cells.row, info if isinstance(info, Mapping) else {})
    return Tier(
        symbol=listed_symbol(of_name(cells, "symbol", parse_symbol)), unit="value",
        above=cells.maybe("minNotional") or Decimal(0), to=cells.maybe("maxNotional"),
        maintenance_rate=cells.above_zero("maintenanceMarginRate"),
        leverage=cells.positive("maxLeverage"), deduction=inside.maybe("cum"),
    )  # fmt: skip
