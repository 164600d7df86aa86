"""Deribit's answers: instruments, tickers and order books, account summaries, positions, orders.

Sizes are Solvent's own: the base coin, dollars of an inverse future. Balances are in each currency;
under segregated margin each currency is an account of its own. A future's gains are paid once a
day: what it gained since then is told as floating, and the price that this counts from is taken as
the entry.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal, localcontext
from typing import Any, Final

from solvent.errors import Problem, Reject
from solvent.feeds.accounts.answer import (
    NOTHING,
    Answer,
    Holding,
    Listing,
    Money,
    Price,
    Reported,
    Resting,
    once,
)
from solvent.feeds.accounts.cells import Cells, each, refuse
from solvent.feeds.accounts.terms import of_name, out_of_day
from solvent.instruments import Kind, Specification, parse_symbol, term_sheet
from solvent.instruments.symbols import listed_symbol

_COMBOS: Final = ("future_combo", "option_combo")
_NO_EXPIRY_MS: Final = 32_503_708_800_000
"""The year 3000: a perpetual's."""
_HUNDRED: Final = Decimal(100)
_DIRECTIONS: Final = {"buy": 1, "sell": -1, "zero": 0}
_SIDES: Final = {"buy": True, "sell": False}


def unwrapped(document: Any, source: str) -> Any:
    """What is inside JSON-RPC: a result, or a subscription's data. Raises BadInput for an error."""
    cells = Cells(source, None, document)
    if cells.fields.get("error") is not None:
        error = cells.inside("error")
        words = f"error {error.fields.get('code')}: {error.fields.get('message')}"
        refuse(source, Reject.SOURCE_UNREADABLE, "an answer", words)
    if "params" in cells.fields:
        return cells.inside("params").fields.get("data")
    if "result" not in cells.fields:
        refuse(source, Reject.FIELD_MISSING, "a result", "none", field="result")
    return cells.fields["result"]


def listings(document: Any, source: str) -> Answer:
    """`public/get_instruments` and `public/get_instrument`; combinations are noted, not listed."""
    rows = _rows(unwrapped(document, source))
    notes: list[Problem] = []
    found = each(source, rows, lambda cells: _listing(cells, notes), unnamed=notes)
    once(source, "instrument_name", [one.name for one in found])
    return Answer(listings=tuple(found), notes=tuple(notes))


def _listing(cells: Cells, notes: list[Problem]) -> Listing | None:
    name, kind = cells.text("instrument_name"), cells.text("kind")
    if kind in _COMBOS:
        notes.append(
            Problem(
                code=Reject.INSTRUMENT_NOT_FOR_THIS, source=cells.source, row=_line(cells),
                field="kind", expected="an instrument", found=f"{name}, a {kind}: orders only",
            )
        )  # fmt: skip
        return None
    contract = of_name(cells, "instrument_name", parse_symbol)
    for field, told in (("base_currency", contract.base),
                        ("settlement_currency", contract.settlement)):  # fmt: skip
        if contract.kind is not Kind.SPOT and cells.text(field) != told:
            cells.wrong(
                Reject.INSTRUMENT_TERMS_INVALID, field, f"{told}, as {name} says",
                cells.text(field),
            )  # fmt: skip
    expires = cells.maybe("expiration_timestamp")
    if contract.expiry_ms is not None:
        out_of_day(cells, "expiration_timestamp", contract, notes)
    elif expires is not None and expires != _NO_EXPIRY_MS and contract.kind is Kind.PERPETUAL:
        cells.wrong(Reject.TIME_INVALID, "expiration_timestamp", "that of a perpetual", expires)
    specification = Specification(
        lot_size=cells.above_zero("min_trade_amount"),
        contract_size=cells.above_zero("contract_size"),
        tick_size=cells.above_zero("tick_size"),
    )
    return Listing(
        name=name, instrument=term_sheet(contract, specification), unit=Decimal(1),
        traded=cells.flag("is_active"),
    )  # fmt: skip


def prices(document: Any, source: str) -> Answer:
    """Tickers, order books with a mark, quotes: volatilities in percent become fractions."""
    found = each(source, _rows(unwrapped(document, source)), _price)
    once(source, "instrument_name", [one.symbol for one in found])
    times = [one.time_ms for one in found if one.time_ms is not None]
    return Answer(prices=tuple(found), time_ms=max(times, default=None))


def _price(cells: Cells) -> Price:
    contract = of_name(cells, "instrument_name", parse_symbol)
    vol = cells.positive("mark_iv")
    return Price(
        symbol=listed_symbol(contract),
        time_ms=cells.time("timestamp", "creation_timestamp"),
        bid=cells.positive("best_bid_price", "bid_price"),
        ask=cells.positive("best_ask_price", "ask_price"),
        mark=cells.positive("mark_price"),
        index=cells.positive("index_price", "estimated_delivery_price"),
        forward=cells.positive("underlying_price"),
        vol=None if vol is None else vol / _HUNDRED,
        last=cells.positive("last_price", "last"),
    )


def accounts(document: Any, source: str) -> Answer:
    """`private/get_account_summaries`, and a portfolio of a subscription: money and margins."""
    inside = Cells(source, None, unwrapped(document, source))
    rows: Sequence[Any] = inside.rows("summaries") if "summaries" in inside.fields else [
        inside.fields
    ]  # fmt: skip
    told = each(source, rows, _summary)
    once(source, "currency", [money.asset for money, _ in told])
    return Answer(
        account=inside.maybe_text("username"),
        money=tuple(money for money, _ in told),
        reported=_reported([reported for _, reported in told]),
    )


def _summary(cells: Cells) -> tuple[Money, tuple[Reported, Reported | None]]:
    currency = cells.text("currency")
    balance, equity = cells.number("balance"), cells.number("equity")
    realised = cells.maybe("session_rpl") or NOTHING
    model = cells.maybe_text("margin_model")
    alone = Reported(
        part=currency, currency=currency, model=model, equity=equity,
        initial=cells.number("initial_margin"), maintenance=cells.number("maintenance_margin"),
    )  # fmt: skip
    together = None
    if cells.flag("cross_collateral_enabled"):
        together = Reported(
            part="", currency="USD", model=model, equity=cells.number("total_equity_usd"),
            initial=cells.number("total_initial_margin_usd"),
            maintenance=cells.number("total_maintenance_margin_usd"),
        )  # fmt: skip
    money = Money(asset=currency, amount=balance, backing=balance + realised, equity=equity)
    return money, (alone, together)


def _reported(told: Sequence[tuple[Reported, Reported | None]]) -> tuple[Reported, ...]:
    """Under cross margin the sum in dollars, which every currency repeats; else each currency."""
    together = [one for _, one in told if one is not None]
    if together:
        return (together[0],)
    return tuple(alone for alone, _ in told)


def positions(document: Any, source: str) -> Answer:
    """`private/get_positions`."""
    found = each(source, _rows(unwrapped(document, source)), _holding)
    once(source, "instrument_name", [one.symbol for one in found])
    return Answer(holdings=tuple(found))


def _holding(cells: Cells) -> Holding:
    contract = of_name(cells, "instrument_name", parse_symbol)
    size, sign = cells.number("size"), cells.one_of("direction", _DIRECTIONS)
    if (size > 0) - (size < 0) != sign:
        cells.wrong(Reject.SIDE_UNKNOWN, "direction", f"the side of a size of {size}",
                    cells.text("direction"))  # fmt: skip
    mark = cells.positive("mark_price")
    entry = cells.positive("average_price")
    floating = cells.maybe("floating_profit_loss")
    if contract.kind is not Kind.OPTION and size and mark and floating is not None:
        entry = counted_from(mark, size, floating, inverse=contract.inverse)
    return Holding(
        symbol=listed_symbol(contract), size=size, entry_price=entry if size else None, mark=mark,
        leverage=cells.positive("leverage"), unrealised=floating,
        initial=cells.maybe("initial_margin"), maintenance=cells.maybe("maintenance_margin"),
    )  # fmt: skip


def counted_from(mark: Decimal, size: Decimal, gained: Decimal, *, inverse: bool) -> Decimal | None:
    """The price from which a future has gained so much at the mark; None if there is none.

    >>> counted_from(Decimal(50_000), Decimal(1_000), Decimal("0.005"), inverse=True)
    Decimal('40000')
    >>> counted_from(Decimal(50_000), Decimal(-2), Decimal(100), inverse=False)
    Decimal('50050')
    """
    with localcontext(prec=28) as exact:
        if not inverse:
            found = mark - gained / size
        else:
            coin = 1 / mark + gained / size
            found = NOTHING if coin <= 0 else 1 / coin
        exact.prec = 15  # the venue's gain has eight decimals: no more of the price is known
        found = (+found).normalize()
    if found <= 0:
        return None
    return found.quantize(Decimal(1)) if found == found.to_integral_value() else found


def orders(document: Any, source: str) -> Answer:
    """`private/get_open_orders`: limit orders; what waits for a trigger is noted."""
    notes: list[Problem] = []
    found = each(source, _rows(unwrapped(document, source)), lambda cells: _resting(cells, notes))
    once(source, "order_id", [one.order for one in found])
    return Answer(orders=tuple(found), notes=tuple(notes))


def _resting(cells: Cells, notes: list[Problem]) -> Resting | None:
    if cells.text("order_type") != "limit" or cells.text("order_state") != "open":
        notes.append(
            Problem(
                code=Reject.ORDER_TERMS_INVALID, source=cells.source, row=_line(cells),
                field="order_state", expected="a limit order that is open",
                found=f"{cells.text('order_type')}, {cells.text('order_state')}, left out",
            )
        )  # fmt: skip
        return None
    left = cells.unsigned("amount") - (cells.maybe("filled_amount") or NOTHING)
    return Resting(
        symbol=listed_symbol(of_name(cells, "instrument_name", parse_symbol)),
        order=cells.text("order_id"), buy=cells.one_of("direction", _SIDES), size=left,
        price=cells.above_zero("price"),
    )  # fmt: skip


def _rows(result: Any) -> Sequence[Any]:
    if isinstance(result, Mapping) and isinstance(result.get("data"), list):
        return result["data"]  # type: ignore[no-any-return]
    return result if isinstance(result, list) else [result]


def _line(cells: Cells) -> int | None:
    return None if cells.row is None else cells.row + 1
