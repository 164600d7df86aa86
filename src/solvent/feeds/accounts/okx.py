"""OKX's answers: instruments, tickers, marks, option summaries, tiers, balances, positions, orders.

OKX counts derivatives in contracts, each of `ctVal · ctMult` coins, or of as many dollars where it
is inverse: a position or an order can be read only beside the listing of what it is in.
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
from solvent.feeds.accounts.names import okx_contract
from solvent.feeds.accounts.terms import counted_in_coin, must_be, of_name, out_of_day
from solvent.instruments import Contract, Kind, Specification, term_sheet
from solvent.instruments.symbols import listed_symbol

Known = Mapping[str, Listing]
_TYPES: Final = {
    "SPOT": Kind.SPOT, "MARGIN": Kind.SPOT, "SWAP": Kind.PERPETUAL, "FUTURES": Kind.FUTURE,
    "OPTION": Kind.OPTION,
}  # fmt: skip
_MODES: Final = {"cross": CROSS, "isolated": ISOLATED}
_SIDES: Final = {"net": 0, "": 0, "long": 1, "short": -1}
_BUYS: Final = {"buy": True, "sell": False}
_LIVE: Final = ("live", "partially_filled")
_WITH_PRICE: Final = ("limit", "post_only", "mmp", "mmp_and_post_only")


def unwrapped(document: Any, source: str) -> Sequence[Any]:
    """The rows of `data`. Raises BadInput for an error."""
    if isinstance(document, list):
        return document
    cells = Cells(source, None, document)
    if "data" not in cells.fields and "instId" in cells.fields:
        return [document]
    if str(cells.fields.get("code", "0")) != "0":
        words = f"error {cells.fields.get('code')}: {cells.fields.get('msg')}"
        refuse(source, Reject.SOURCE_UNREADABLE, "an answer", words)
    return cells.rows("data")


def listings(document: Any, source: str) -> Answer:
    """`public/instruments`, and the channel of instruments."""
    notes: list[Problem] = []
    rows = unwrapped(document, source)
    found = each(source, rows, lambda cells: _listing(cells, notes), unnamed=notes)
    once(source, "instId", [one.name for one in found])
    return Answer(listings=tuple(found), notes=tuple(notes))


def _listing(cells: Cells, notes: list[Problem]) -> Listing:
    contract = of_name(cells, "instId", okx_contract)
    kind = cells.one_of("instType", _TYPES)
    if kind is not contract.kind:
        cells.wrong(
            Reject.INSTRUMENT_TERMS_INVALID, "instType", f"that of a {contract.kind.name.lower()}",
            cells.text("instType"),
        )  # fmt: skip
    unit = Decimal(1)
    if kind is Kind.SPOT:
        must_be(cells, "baseCcy", contract.base)
        must_be(cells, "quoteCcy", contract.quote)
    else:
        must_be(cells, "settleCcy", contract.settlement)
        counted_in = contract.base if counted_in_coin(contract) else contract.quote
        must_be(cells, "ctValCcy", counted_in)
        unit = cells.above_zero("ctVal") * cells.above_zero("ctMult")
        out_of_day(cells, "expTime", contract, notes)
    sizes = Specification(
        lot_size=cells.above_zero("lotSz") * unit, contract_size=unit,
        tick_size=cells.above_zero("tickSz"),
    )  # fmt: skip
    return Listing(
        name=cells.text("instId"), instrument=term_sheet(contract, sizes), unit=unit,
        traded=cells.maybe_text("state") == "live",
    )  # fmt: skip


def prices(document: Any, source: str, *, name: str = "") -> Answer:
    """Tickers, marks, index tickers, option summaries and the best of a book (`name` says whose):
    whatever each tells of an instrument. Volatilities are fractions already."""
    if not name and isinstance(document, Mapping) and isinstance(document.get("arg"), Mapping):
        name = str(document["arg"].get("instId", ""))
    found = each(source, unwrapped(document, source), lambda cells: _price(cells, name))
    once(source, "instId", [one.symbol for one in found])
    times = [one.time_ms for one in found if one.time_ms is not None]
    return Answer(prices=tuple(found), time_ms=max(times, default=None))


def _price(cells: Cells, name: str) -> Price:
    if "instId" not in cells.fields and name:
        cells = Cells(cells.source, cells.row, {**cells.fields, "instId": name})
    contract = of_name(cells, "instId", okx_contract)
    bid, ask = cells.positive("bidPx"), cells.positive("askPx")
    if "bids" in cells.fields:
        bid, ask = (_best(cells, side) for side in ("bids", "asks"))
    return Price(
        symbol=listed_symbol(contract), time_ms=cells.time("ts"), bid=bid, ask=ask,
        mark=cells.positive("markPx"), index=cells.positive("idxPx"),
        forward=cells.positive("fwdPx"), vol=cells.positive("markVol"),
        last=cells.positive("last"),
    )  # fmt: skip


def _best(cells: Cells, side: str) -> Decimal | None:
    levels = cells.rows(side)
    if not levels:
        return None
    first = levels[0]
    if not isinstance(first, list) or not first:
        cells.wrong(Reject.ROW_MALFORMED, side, "levels of price and size", first)
    return Cells(cells.source, cells.row, {side: first[0]}).above_zero(side)


def accounts(document: Any, source: str) -> Answer:
    """`account/balance`, and the channel of the account: money, and margins in dollars.

    A row of `details` alone is one balance.
    """
    if isinstance(document, Mapping) and "ccy" in document:
        money = _money(Cells(source, None, document))
        return Answer(money=(money,), time_ms=money.time_ms)
    rows = unwrapped(document, source)
    if len(rows) != 1:
        refuse(source, Reject.ROW_MALFORMED, "one account", f"{len(rows)} rows")
    whole = Cells(source, 0, rows[0])
    found = each(source, whole.rows("details"), _money)
    once(source, "ccy", [one.asset for one in found])
    equity = whole.maybe("adjEq", "totalEq")
    reported = Reported(
        part="", currency="USD", model="adjusted" if whole.maybe("adjEq") is not None else "total",
        equity=equity, initial=whole.maybe("imr"), maintenance=whole.maybe("mmr"),
    )  # fmt: skip
    return Answer(money=tuple(found), reported=(reported,), time_ms=whole.time("uTime"))


def _money(cells: Cells) -> Money:
    cash = cells.number("cashBal")
    return Money(
        asset=cells.text("ccy"), amount=cash, backing=cash, equity=cells.maybe("eq"),
        time_ms=_time_if_any(cells),
    )  # fmt: skip


def _time_if_any(cells: Cells) -> Any:
    """When a balance was changed; OKX's own samples tell seconds here, which say nothing."""
    told = cells.maybe("uTime")
    return cells.time("uTime") if told is not None and told > 10**11 else None


def positions(document: Any, source: str, *, listings: Known) -> Answer:
    """`account/positions`, in contracts; of a margin loan it is noted and left out."""
    notes: list[Problem] = []
    found = each(
        source, unwrapped(document, source), lambda cells: _holding(cells, listings, notes)
    )
    once(source, "instId", [(one.symbol, one.mode, one.size > 0) for one in found])
    return Answer(holdings=tuple(found), notes=tuple(notes))


def _holding(cells: Cells, listings: Known, notes: list[Problem]) -> Holding | None:
    contract = of_name(cells, "instId", okx_contract)
    if contract.kind is Kind.SPOT:
        notes.append(
            Problem(
                code=Reject.INSTRUMENT_NOT_FOR_THIS, source=cells.source,
                row=None if cells.row is None else cells.row + 1, field="instType",
                expected="a derivative", found=f"{cells.text('instId')}, a loan: in the balances",
            )
        )  # fmt: skip
        return None
    side, size = cells.one_of("posSide", _SIDES), cells.number("pos")
    if side:
        size = abs(size) * side
    unit = _unit(cells, contract, listings)
    mode = cells.one_of("mgnMode", _MODES)
    return Holding(
        symbol=listed_symbol(contract), size=size * unit,
        entry_price=cells.positive("avgPx"), mark=cells.positive("markPx"),
        mode=HEDGE if side and mode == CROSS else mode,
        leverage=cells.positive("lever"),
        isolated_margin=cells.maybe("margin") if mode == ISOLATED else None,
        initial=cells.maybe("imr"), maintenance=cells.maybe("mmr"), unrealised=cells.maybe("upl"),
        time_ms=cells.time("uTime"),
    )  # fmt: skip


def _unit(cells: Cells, contract: Contract, listings: Known) -> Decimal:
    """How much one of what is counted is, of the listing."""
    name = cells.text("instId")
    if contract.kind is Kind.SPOT:
        return Decimal(1)
    if name not in listings:
        cells.wrong(Reject.INSTRUMENT_NOT_IN_MARKET, "instId",
                    "a contract that is listed, so that its value is known", name)  # fmt: skip
    return listings[name].unit


def orders(document: Any, source: str, *, listings: Known) -> Answer:
    """`trade/orders-pending`: those that rest at a price; others are noted."""
    notes: list[Problem] = []
    found = each(
        source, unwrapped(document, source), lambda cells: _resting(cells, listings, notes)
    )
    once(source, "ordId", [one.order for one in found])
    return Answer(orders=tuple(found), notes=tuple(notes))


def _resting(cells: Cells, listings: Known, notes: list[Problem]) -> Resting | None:
    kind, state = cells.text("ordType"), cells.text("state")
    if kind not in _WITH_PRICE or state not in _LIVE:
        notes.append(
            Problem(
                code=Reject.ORDER_TERMS_INVALID, source=cells.source, field="ordType",
                row=None if cells.row is None else cells.row + 1,
                expected="a limit order that rests", found=f"{kind}, {state}, left out",
            )
        )  # fmt: skip
        return None
    contract = of_name(cells, "instId", okx_contract)
    left = cells.unsigned("sz") - (cells.maybe("accFillSz") or NOTHING)
    return Resting(
        symbol=listed_symbol(contract), order=cells.text("ordId"),
        buy=cells.one_of("side", _BUYS), size=left * _unit(cells, contract, listings),
        price=cells.above_zero("px"),
    )  # fmt: skip


def tiers(document: Any, source: str, *, listings: Known) -> Answer:
    """`public/position-tiers`: sizes up to which a rate holds, in Solvent's unit. A family's tiers
    are told of each of its contracts that is listed."""
    found: list[tuple[Tier, ...]] = each(
        source, unwrapped(document, source), lambda cells: _tiers(cells, listings)
    )
    flat = tuple(one for some in found for one in some)
    once(source, "tier", [(one.symbol, one.above) for one in flat])
    return Answer(tiers=flat)


def _tiers(cells: Cells, listings: Known) -> tuple[Tier, ...]:
    family, name = cells.maybe_text("instFamily"), cells.maybe_text("instId")
    if name:
        contract = of_name(cells, "instId", okx_contract)
        mine = {listed_symbol(contract): _unit(cells, contract, listings)}
    elif family:
        mine = {
            one.symbol: one.unit for one in listings.values()
            if one.name == family or one.name.startswith(f"{family}-")
        }  # fmt: skip
    else:
        cells.wrong(Reject.FIELD_MISSING, "instFamily", "a family or an instrument", "neither")
    least, most = cells.unsigned("minSz"), cells.maybe("maxSz")
    leverage = cells.positive("maxLever")
    if most is not None and most <= least:
        cells.wrong(Reject.FIELD_NOT_A_NUMBER, "maxSz", f"more than {least}", most)
    return tuple(
        Tier(
            symbol=symbol, unit="size", above=least * unit,
            to=None if most is None else most * unit,
            maintenance_rate=cells.above_zero("mmr"), initial_rate=cells.positive("imr"),
            leverage=leverage,
        )
        for symbol, unit in mine.items()
    )  # fmt: skip
