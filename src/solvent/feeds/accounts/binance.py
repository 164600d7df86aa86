"""Binance's answers: exchange information, tickers, brackets, balances, positions, orders.

Three markets, each told by the caller: `usdm` (linear), `coinm` (inverse, counted in contracts of
so many dollars) and `spot`. Streams write their fields in single letters.
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
from solvent.feeds.accounts.names import binance_contract
from solvent.feeds.accounts.terms import must_be, of_name, out_of_day
from solvent.instruments import Contract, Kind, Specification, term_sheet
from solvent.instruments.symbols import listed_symbol

Known = Mapping[str, Listing]
_SIDES: Final = {"BOTH": 0, "LONG": 1, "SHORT": -1}
_MODES: Final = {"cross": CROSS, "CROSSED": CROSS, "isolated": ISOLATED, "ISOLATED": ISOLATED}
_BUYS: Final = {"BUY": True, "SELL": False}


def rows_of(document: Any, source: str) -> Sequence[Any]:
    """Rows of an answer: a list, or one object. Raises BadInput for an error."""
    if isinstance(document, list):
        return document
    cells = Cells(source, None, document)
    if "code" in cells.fields and "msg" in cells.fields:
        words = f"error {cells.fields['code']}: {cells.fields['msg']}"
        refuse(source, Reject.SOURCE_UNREADABLE, "an answer", words)
    return [document]


def _contract(cells: Cells, market: str, field: str = "symbol") -> Contract:
    return of_name(cells, field, lambda name: binance_contract(name, market))


def listings(document: Any, source: str, *, market: str) -> Answer:
    """`exchangeInfo`."""
    notes: list[Problem] = []
    (whole,) = rows_of(document, source)
    rows = Cells(source, None, whole).rows("symbols")
    found = each(source, rows, lambda cells: _listing(cells, market, notes), unnamed=notes)
    once(source, "symbol", [one.name for one in found])
    return Answer(listings=tuple(found), notes=tuple(notes))


def _listing(cells: Cells, market: str, notes: list[Problem]) -> Listing:
    contract = _contract(cells, market)
    must_be(cells, "baseAsset", contract.base)
    must_be(cells, "quoteAsset", contract.quote)
    must_be(cells, "marginAsset", contract.settlement)
    if contract.kind is Kind.FUTURE:
        out_of_day(cells, "deliveryDate", contract, notes)
    unit = cells.above_zero("contractSize") if market == "coinm" else Decimal(1)
    sizes = Specification(
        lot_size=_filtered(cells, "LOT_SIZE", "stepSize") * unit, contract_size=unit,
        tick_size=_filtered(cells, "PRICE_FILTER", "tickSize"),
    )  # fmt: skip
    status = cells.maybe_text("status") or cells.maybe_text("contractStatus")
    return Listing(
        name=cells.text("symbol"), instrument=term_sheet(contract, sizes), unit=unit,
        traded=status == "TRADING",
    )  # fmt: skip


def _filtered(cells: Cells, kind: str, field: str) -> Decimal:
    mine = [one for one in cells.rows("filters")
            if isinstance(one, Mapping) and one.get("filterType") == kind]  # fmt: skip
    if not mine:
        cells.wrong(Reject.FIELD_MISSING, "filters", f"{field} of {kind}", "none")
    return Cells(cells.source, cells.row, mine[0]).above_zero(field)


def prices(document: Any, source: str, *, market: str) -> Answer:
    """Tickers of a day, best prices, marks (`premiumIndex`), and their streams."""
    found = each(source, rows_of(document, source), lambda cells: _price(cells, market))
    once(source, "symbol", [one.symbol for one in found])
    times = [one.time_ms for one in found if one.time_ms is not None]
    return Answer(prices=tuple(found), time_ms=max(times, default=None))


def _price(cells: Cells, market: str) -> Price:
    event = cells.maybe_text("e")
    if event:
        return _streamed(cells, market, event)
    return Price(
        symbol=listed_symbol(_contract(cells, market)),
        time_ms=cells.time("time", "closeTime"),
        bid=cells.positive("bidPrice"), ask=cells.positive("askPrice"),
        mark=cells.positive("markPrice"), index=cells.positive("indexPrice"),
        last=cells.positive("lastPrice", "price"),
    )  # fmt: skip


def _streamed(cells: Cells, market: str, event: str) -> Price:
    """A letter means another thing in each stream."""
    letters = {
        "markPriceUpdate": {"mark": "p", "index": "i"},
        "24hrTicker": {"last": "c"},
        "bookTicker": {"bid": "b", "ask": "a"},
    }.get(event)
    if letters is None:
        cells.wrong(Reject.ROW_MALFORMED, "e", "a stream of prices", event)
    told = {name: cells.positive(letter) for name, letter in letters.items()}
    return Price(
        symbol=listed_symbol(_contract(cells, market, "s")), time_ms=cells.time("E"), **told
    )


def accounts(document: Any, source: str) -> Answer:
    """Accounts and balances of any market, and the streams that tell of them."""
    (first, *_), rows = (rows_of(document, source) or [{}]), rows_of(document, source)
    cells = Cells(source, None, first)
    if "event" in cells.fields:
        return accounts(cells.fields["event"], source)
    event = cells.maybe_text("e")
    if event == "ACCOUNT_UPDATE":
        return _futures_update(cells)
    if event == "outboundAccountPosition":
        return _told(source, cells.rows("B"), _spot_stream, time_ms=cells.time("E"))
    if event:
        cells.wrong(Reject.ROW_MALFORMED, "e", "an account's balances", event)
    if "balances" in cells.fields:
        return _told(source, cells.rows("balances"), _spot)
    if "assets" in cells.fields:
        found = _told(source, cells.rows("assets"), _futures)
        held = each(source, cells.rows("positions"), lambda row: _brief(row, "usdm"))
        reported = Reported(
            part="", currency="USD",
            model="multi" if cells.flag("multiAssetsMargin") else "single",
            equity=cells.maybe("totalMarginBalance"), initial=cells.maybe("totalInitialMargin"),
            maintenance=cells.maybe("totalMaintMargin"),
        )  # fmt: skip
        return found + Answer(holdings=tuple(held), reported=(reported,))
    return _told(source, rows, _futures)


def _told(source: str, rows: Sequence[Any], read: Any, *, time_ms: Any = None) -> Answer:
    found = each(source, rows, read)
    once(source, "asset", [one.asset for one in found])
    return Answer(money=tuple(found), time_ms=time_ms)


def _spot(cells: Cells) -> Money:
    amount = cells.unsigned("free") + cells.unsigned("locked")
    return Money(asset=cells.text("asset"), amount=amount, backing=amount)


def _spot_stream(cells: Cells) -> Money:
    amount = cells.unsigned("f") + cells.unsigned("l")
    return Money(asset=cells.text("a"), amount=amount, backing=amount)


def _futures(cells: Cells) -> Money:
    amount = cells.maybe("walletBalance", "balance")
    if amount is None:
        cells.wrong(Reject.FIELD_MISSING, "walletBalance", "a number", "nothing")
    return Money(
        asset=cells.text("asset"), amount=amount,
        backing=cells.maybe("crossWalletBalance") or NOTHING,
        equity=cells.maybe("marginBalance"), time_ms=cells.time("updateTime"),
    )  # fmt: skip


def _futures_update(cells: Cells) -> Answer:
    inside, time_ms = cells.inside("a"), cells.time("E")
    money = each(cells.source, inside.rows("B"), lambda row: Money(
        asset=row.text("a"), amount=row.number("wb"), backing=row.number("cw"), time_ms=time_ms,
    ))  # fmt: skip
    once(cells.source, "a", [one.asset for one in money])
    held = each(cells.source, inside.rows("P"), lambda row: Holding(
        symbol=listed_symbol(_contract(row, "usdm", "s")),
        size=_of_side(row, row.number("pa"), "ps"), entry_price=row.positive("ep"),
        mode=_mode(row, row.one_of("mt", _MODES), "ps"),
        isolated_margin=row.maybe("iw") if row.text("mt") == "isolated" else None,
        unrealised=row.maybe("up"), time_ms=time_ms,
    ))  # fmt: skip
    once(cells.source, "s", [(one.symbol, row["ps"]) for one, row in
                             zip(held, inside.rows("P"), strict=True)])  # fmt: skip
    return Answer(money=tuple(money), holdings=tuple(held), time_ms=time_ms)


def _of_side(cells: Cells, size: Decimal, field: str) -> Decimal:
    """A size whose sign must be its side's."""
    side = cells.one_of(field, _SIDES)
    if side and size * side < 0:
        cells.wrong(Reject.SIDE_UNKNOWN, field, f"the side of a size of {size}", cells.text(field))
    return size


def _mode(cells: Cells, mode: str, field: str) -> str:
    return HEDGE if mode == CROSS and cells.text(field) != "BOTH" else mode


def positions(
    document: Any, source: str, *, market: str = "usdm", listings: Known | None = None
) -> Answer:
    """`positionRisk`; contracts of the coin-margined market need their listings."""
    rows = rows_of(document, source)
    found = each(source, rows, lambda cells: _holding(cells, market, listings or {}))
    once(source, "symbol", [(one.symbol, row.get("positionSide")) for one, row in
                            zip(found, rows, strict=True)])  # fmt: skip
    return Answer(holdings=tuple(found))


def _holding(cells: Cells, market: str, listings: Known) -> Holding:
    contract = _contract(cells, market)
    unit = _unit(cells, market, listings)
    size = _of_side(cells, cells.number("positionAmt") * unit, "positionSide")
    mode = cells.one_of("marginType", _MODES)
    return Holding(
        symbol=listed_symbol(contract), size=size, entry_price=cells.positive("entryPrice"),
        mark=cells.positive("markPrice"), mode=_mode(cells, mode, "positionSide"),
        leverage=cells.positive("leverage"),
        isolated_margin=cells.maybe("isolatedWallet") if mode == ISOLATED else None,
        unrealised=cells.maybe("unRealizedProfit"), time_ms=cells.time("updateTime"),
    )  # fmt: skip


def _unit(cells: Cells, market: str, listings: Known) -> Decimal:
    if market != "coinm":
        return Decimal(1)
    name = cells.text("symbol")
    if name not in listings:
        cells.wrong(Reject.INSTRUMENT_NOT_IN_MARKET, "symbol",
                    "a contract that is listed, so that its size is known", name)  # fmt: skip
    return listings[name].unit


def _brief(cells: Cells, market: str) -> Holding:
    """A position as an account's answer tells it: without its mark."""
    isolated = cells.flag("isolated")
    return Holding(
        symbol=listed_symbol(_contract(cells, market)),
        size=_of_side(cells, cells.number("positionAmt"), "positionSide"),
        entry_price=cells.positive("entryPrice"),
        mode=ISOLATED if isolated else _mode(cells, CROSS, "positionSide"),
        leverage=cells.positive("leverage"), initial=cells.maybe("initialMargin"),
        maintenance=cells.maybe("maintMargin"), unrealised=cells.maybe("unrealizedProfit"),
        isolated_margin=cells.maybe("isolatedWallet") if isolated else None,
        time_ms=cells.time("updateTime"),
    )  # fmt: skip


def orders(
    document: Any, source: str, *, market: str = "usdm", listings: Known | None = None
) -> Answer:
    """`openOrders`: those that rest at a price; others are noted."""
    notes: list[Problem] = []
    found = each(source, rows_of(document, source),
                 lambda cells: _resting(cells, market, listings or {}, notes))  # fmt: skip
    once(source, "orderId", [(one.symbol, one.order) for one in found])
    return Answer(orders=tuple(found), notes=tuple(notes))


def _resting(cells: Cells, market: str, listings: Known, notes: list[Problem]) -> Resting | None:
    kind = cells.text("type")
    status = cells.text("status")
    if kind not in ("LIMIT", "LIMIT_MAKER") or status not in ("NEW", "PARTIALLY_FILLED"):
        notes.append(
            Problem(
                code=Reject.ORDER_TERMS_INVALID, source=cells.source, field="type",
                row=None if cells.row is None else cells.row + 1,
                expected="a limit order that rests", found=f"{kind}, {status}, left out",
            )
        )  # fmt: skip
        return None
    left = cells.unsigned("origQty") - (cells.maybe("executedQty") or NOTHING)
    return Resting(
        symbol=listed_symbol(_contract(cells, market)), order=str(cells.number("orderId")),
        buy=cells.one_of("side", _BUYS), size=left * _unit(cells, market, listings),
        price=cells.above_zero("price"),
    )  # fmt: skip


def tiers(document: Any, source: str, *, market: str = "usdm") -> Answer:
    """`leverageBracket`: notionals up to which rates hold, in what is quoted."""
    found: list[tuple[Tier, ...]] = each(
        source, rows_of(document, source), lambda cells: _brackets(cells, market)
    )
    flat = tuple(one for some in found for one in some)
    once(source, "bracket", [(one.symbol, one.above) for one in flat])
    return Answer(tiers=flat)


def _brackets(cells: Cells, market: str) -> tuple[Tier, ...]:
    symbol = listed_symbol(_contract(cells, market))
    rows = [Cells(cells.source, cells.row, row) for row in cells.rows("brackets")]
    return tuple(
        Tier(
            symbol=symbol, unit="value", above=row.unsigned("notionalFloor"),
            to=row.above_zero("notionalCap"), maintenance_rate=row.above_zero("maintMarginRatio"),
            leverage=row.above_zero("initialLeverage"), deduction=row.maybe("cum"),
        )
        for row in rows
    )  # fmt: skip


def permitted(document: Any, source: str) -> tuple[str, ...]:
    """What `apiRestrictions` says that the key may do beyond reading."""
    cells = Cells(source, None, document)
    risky = sorted(name for name, what in cells.fields.items()
                   if name.startswith(("enable", "permits")) and what is True)  # fmt: skip
    return tuple(name for name in risky if name not in ("enableReading", "enableFixReadOnly"))
