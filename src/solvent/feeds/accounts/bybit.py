"""Bybit's answers, version 5: instruments, tickers, risk limits, wallet, positions, orders.

Sizes are coins, or dollars of an inverse contract, as Solvent has them. What a name means depends
on its category, which a list of rows tells once, a position's own row, or the caller.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from functools import partial
from typing import Any, Final

from solvent.errors import Problem, Reject
from solvent.feeds.accounts.answer import (
    CROSS,
    HEDGE,
    ISOLATED,
    NOTHING,
    Answer,
    Holding,
    Listing,
    Money,
    Price,
    Reported,
    Resting,
    Tier,
    once,
)
from solvent.feeds.accounts.cells import Cells, each, refuse
from solvent.feeds.accounts.names import bybit_contract
from solvent.feeds.accounts.terms import must_be, of_name, out_of_day, signed
from solvent.instruments import Contract, Kind, Specification, term_sheet
from solvent.instruments.symbols import listed_symbol

_SIDES: Final = {"Buy": 1, "Sell": -1, "": 0, "None": 0}
_BUYS: Final = {"Buy": True, "Sell": False}
_LIVE: Final = ("New", "PartiallyFilled")


def unwrapped(document: Any, source: str) -> tuple[Sequence[Any], str]:
    """The rows of an answer or of a channel, and their category. Raises BadInput for an error."""
    cells = _accepted(document, source)
    if "result" in cells.fields:
        result = cells.inside("result")
        return result.rows("list"), result.maybe_text("category")
    if "data" in cells.fields:
        told = cells.fields["data"]
        return (told if isinstance(told, list) else [told]), ""
    return [document], ""


def _accepted(document: Any, source: str) -> Cells:
    cells = Cells(source, None, document)
    if cells.fields.get("retCode", 0) != 0:
        words = f"error {cells.fields.get('retCode')}: {cells.fields.get('retMsg')}"
        refuse(source, Reject.SOURCE_UNREADABLE, "an answer", words)
    return cells


def _contract(cells: Cells, category: str) -> Contract:
    """What a row is of; its own category comes before the list's."""
    said = cells.maybe_text("category") or category or _by_fields(cells)
    if not said:
        cells.wrong(Reject.FIELD_MISSING, "category", "linear, inverse, option or spot", "nothing")
    return of_name(cells, "symbol", lambda name: bybit_contract(name, said))


def _by_fields(cells: Cells) -> str:
    """The category of what is listed, by what it tells of itself."""
    if "optionsType" in cells.fields:
        return "option"
    kind = cells.maybe_text("contractType").lower()
    return next((one for one in ("linear", "inverse") if kind.startswith(one)), "")


def listings(document: Any, source: str, *, category: str = "") -> Answer:
    """`market/instruments-info`."""
    notes: list[Problem] = []
    rows, told = unwrapped(document, source)
    found = each(
        source, rows, lambda cells: _listing(cells, told or category, notes), unnamed=notes
    )
    once(source, "symbol", [one.name for one in found])
    return Answer(listings=tuple(found), notes=tuple(notes))


def _listing(cells: Cells, category: str, notes: list[Problem]) -> Listing:
    contract = _contract(cells, category)
    must_be(cells, "baseCoin", contract.base)
    if contract.kind is not Kind.OPTION:
        must_be(cells, "quoteCoin", contract.quote)
    must_be(cells, "settleCoin", contract.settlement)
    if contract.kind in (Kind.FUTURE, Kind.OPTION):
        out_of_day(cells, "deliveryTime", contract, notes)
    lots = cells.inside("lotSizeFilter")
    step = lots.above_zero("basePrecision" if contract.kind is Kind.SPOT else "qtyStep")
    sizes = Specification(
        lot_size=step, contract_size=Decimal(1),
        tick_size=cells.inside("priceFilter").above_zero("tickSize"),
    )  # fmt: skip
    return Listing(
        name=cells.text("symbol"), instrument=term_sheet(contract, sizes), unit=Decimal(1),
        traded=cells.maybe_text("status") == "Trading",
    )  # fmt: skip


def prices(document: Any, source: str, *, category: str = "") -> Answer:
    """`market/tickers`, and the channel of tickers; volatilities are fractions already."""
    rows, told = unwrapped(document, source)
    time_ms = Cells(source, None, document).time("ts", "time")
    found = each(source, rows, lambda cells: _price(cells, told or category, time_ms))
    once(source, "symbol", [one.symbol for one in found])
    return Answer(prices=tuple(found), time_ms=time_ms)


def _price(cells: Cells, category: str, time_ms: Any) -> Price:
    return Price(
        symbol=listed_symbol(_contract(cells, category)), time_ms=time_ms,
        bid=cells.positive("bid1Price", "bidPrice"), ask=cells.positive("ask1Price", "askPrice"),
        mark=cells.positive("markPrice"), index=cells.positive("indexPrice"),
        forward=cells.positive("underlyingPrice"), vol=cells.positive("markPriceIv", "markIv"),
        last=cells.positive("lastPrice"),
    )  # fmt: skip


def accounts(document: Any, source: str) -> Answer:
    """`account/wallet-balance` of a unified account, and the channel of the wallet."""
    rows, _ = unwrapped(document, source)
    if len(rows) != 1:
        refuse(source, Reject.ROW_MALFORMED, "one account", f"{len(rows)} rows")
    whole = Cells(source, 0, rows[0])
    found = each(source, whole.rows("coin"), _money)
    once(source, "coin", [one.asset for one in found])
    reported = Reported(
        part="", currency="USD", equity=whole.maybe("totalMarginBalance"),
        initial=whole.maybe("totalInitialMargin"),
        maintenance=whole.maybe("totalMaintenanceMargin"),
    )  # fmt: skip
    return Answer(money=tuple(found), reported=(reported,))


def _money(cells: Cells) -> Money:
    """What is there less what is borrowed: the venue tells both without the other taken off."""
    owed = cells.maybe("spotBorrow", "borrowAmount") or NOTHING
    amount = cells.number("walletBalance") - owed
    return Money(
        asset=cells.text("coin"), amount=amount, backing=amount, equity=cells.maybe("equity")
    )


def positions(document: Any, source: str, *, category: str = "") -> Answer:
    """`position/list`, and the channel of positions."""
    rows, told = unwrapped(document, source)
    found = each(source, rows, lambda cells: _holding(cells, told or category))
    once(source, "symbol", [
        (one.symbol, one.size > 0) if one.mode == HEDGE else one.symbol for one in found
    ])  # fmt: skip
    return Answer(holdings=tuple(found))


def _holding(cells: Cells, category: str) -> Holding:
    contract = _contract(cells, category)
    size = signed(cells, cells.number("size"), cells.one_of("side", _SIDES))
    isolated = cells.maybe("tradeMode") == 1
    hedged = bool(cells.maybe("positionIdx"))
    return Holding(
        symbol=listed_symbol(contract), size=size,
        entry_price=cells.positive("avgPrice", "entryPrice"), mark=cells.positive("markPrice"),
        mode=ISOLATED if isolated else HEDGE if hedged else CROSS,
        leverage=cells.positive("leverage"),
        isolated_margin=cells.maybe("positionBalance") if isolated else None,
        initial=cells.maybe("positionIM"), maintenance=cells.maybe("positionMM"),
        unrealised=cells.maybe("unrealisedPnl"), time_ms=cells.time("updatedTime"),
    )  # fmt: skip


def orders(document: Any, source: str, *, category: str = "") -> Answer:
    """`order/realtime`: those that rest at a price; others are noted."""
    notes: list[Problem] = []
    rows, told = unwrapped(document, source)
    found = each(source, rows, partial(_resting, category=told or category, notes=notes))
    once(source, "orderId", [one.order for one in found])
    return Answer(orders=tuple(found), notes=tuple(notes))


def _resting(cells: Cells, category: str, notes: list[Problem]) -> Resting | None:
    status, kind = cells.text("orderStatus"), cells.text("orderType")
    if status not in _LIVE or kind != "Limit":
        notes.append(
            Problem(
                code=Reject.ORDER_TERMS_INVALID, source=cells.source, field="orderStatus",
                row=None if cells.row is None else cells.row + 1,
                expected="a limit order that rests", found=f"{kind}, {status}, left out",
            )
        )  # fmt: skip
        return None
    return Resting(
        symbol=listed_symbol(_contract(cells, category)), order=cells.text("orderId"),
        buy=cells.one_of("side", _BUYS), size=cells.unsigned("leavesQty"),
        price=cells.above_zero("price"),
    )  # fmt: skip


def tiers(document: Any, source: str, *, category: str = "") -> Answer:
    """`market/risk-limit`: values up to which rates hold, in what the contract settles in."""
    rows, told = unwrapped(document, source)
    ends: dict[str, Decimal] = {}
    found = each(source, rows, lambda cells: _tier(cells, told or category, ends))
    return Answer(tiers=tuple(found))


def _tier(cells: Cells, category: str, ends: dict[str, Decimal]) -> Tier:
    symbol = listed_symbol(_contract(cells, category))
    above, to = ends.get(symbol, NOTHING), cells.above_zero("riskLimitValue")
    if to <= above:
        cells.wrong(Reject.ROW_DUPLICATED, "riskLimitValue", f"more than {above}", to)
    ends[symbol] = to
    return Tier(
        symbol=symbol, unit="value", above=above, to=to,
        maintenance_rate=cells.above_zero("maintenanceMargin"),
        initial_rate=cells.above_zero("initialMargin"), leverage=cells.positive("maxLeverage"),
        deduction=cells.maybe("mmDeduction"),
    )  # fmt: skip


def permitted(document: Any, source: str) -> tuple[str, ...]:
    """What `user/query-api` says that the key may do beyond reading."""
    result = _accepted(document, source).inside("result")
    if result.maybe("readOnly") == 1:
        return ()
    allowed = result.inside("permissions").fields
    return tuple(sorted(
        f"{name}: {', '.join(map(str, what))}" for name, what in allowed.items()
        if isinstance(what, list) and what
    ))  # fmt: skip


def margin_mode(document: Any, source: str) -> str:
    """`account/info`: REGULAR_MARGIN, ISOLATED_MARGIN or PORTFOLIO_MARGIN."""
    return _accepted(document, source).inside("result").text("marginMode")
