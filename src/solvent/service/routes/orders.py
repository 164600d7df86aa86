"""Orders: place, amend, cancel, list; books and what a taker would get of them."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Depends, Query, Request
from msgspec import Struct
from starlette.responses import Response

from solvent.engine.state import State
from solvent.host import Answer, Engine
from solvent.messages import commands as c
from solvent.messages.fields import Command, Side
from solvent.order_entry import Amending, amending, placed, placing
from solvent.order_rows import Impact, OpenOrder, ShownBook, book_of, impact_of, open_orders
from solvent.order_units import account_number, grid_of, side_named
from solvent.outcomes import Fill, Outcome
from solvent.service.callers import Action, Caller, Needs
from solvent.service.doing import (
    Done,
    IdempotencyKey,
    check_done,
    do,
    do_and,
    done_of,
    key_of,
    look,
)
from solvent.service.lanes import Lane
from solvent.service.names import AccountName, OrderName, Symbol
from solvent.service.portfolios import Number
from solvent.service.routes.accounts import Limit, made
from solvent.service.wire import answer, operation, told

router = APIRouter(prefix="/v1", tags=["orders"])
Reads = Annotated[Caller, Depends(Needs(Action.ACCOUNT_READ))]
Places = Annotated[Caller, Depends(Needs(Action.ORDER_PLACE))]
Cancels = Annotated[Caller, Depends(Needs(Action.ORDER_CANCEL))]
Looks = Annotated[Caller, Depends(Needs(Action.MARKET_READ))]
_EXAMPLE: Final = {
    "symbol": "BTC_USDC-PERPETUAL", "side": "buy", "size": "0.01", "price": "60000",
    "order": "my-first",
}  # fmt: skip


class NewOrder(Struct, forbid_unknown_fields=True):
    """An order: of a limit if there is a price, otherwise its type must be told. Sizes and prices
    are decimals in text. `expire`: good till then, milliseconds since 1970 UTC."""

    symbol: str
    side: str
    size: Number
    price: Number | None = None
    order: str | None = None
    order_type: str | None = None
    time_in_force: str | None = None
    expire: int | None = None
    post_only: bool = False
    reduce_only: bool = False
    display: Number | None = None
    self_trade: str = "newest"
    stop_price: Number | None = None
    stop_trigger: str = "mark"
    group: str | None = None
    session: str | None = None


class AmendTold(Struct, forbid_unknown_fields=True):
    """What an order is to be: its size in all, what has traded counted, or its price."""

    size: Number | None = None
    price: Number | None = None


class OrderDone(Struct):
    """What came of an order in the command that placed or amended it: `resting`, `waiting`,
    `filled` or `ended` (see `why`)."""

    account: str
    order: str
    symbol: str
    side: str
    status: str
    why: str
    filled: Decimal
    average: Decimal | None
    left: Decimal
    fills: list[Fill]
    done: Done


class OrdersPage(Struct):
    """A page of open orders by time, stops among them; `next` is the cursor of the next page."""

    rows: list[OpenOrder]
    next: int | None


_NEW: Final = msgspec.json.Decoder(NewOrder)
_AMEND: Final = msgspec.json.Decoder(AmendTold)


def _order_done(engine: Engine, outcome: Outcome) -> OrderDone:
    return OrderDone(
        outcome.account, outcome.order, outcome.symbol, outcome.side, outcome.status, outcome.why,
        outcome.filled, outcome.average, outcome.left, list(outcome.fills),
        done_of(engine, outcome.answer),
    )  # fmt: skip


@router.post(
    "/accounts/{account:name}/orders",
    **operation(OrderDone, body=NewOrder, status=201, example=_EXAMPLE),
)
async def place(
    request: Request, account: AccountName, caller: Places, key: IdempotencyKey = None
) -> Response:
    """Place an order. Its name is `order`, or the key of the request."""
    wanted, name = await told(request, _NEW), key_of(key)
    terms = msgspec.structs.asdict(wanted)
    order = terms.pop("order") or name

    def draft(state: State) -> Command:
        command = placing(state, account, **terms, order=order, key=name, actor=caller.name)
        return made(type(command), **msgspec.structs.asdict(command))

    def outcome(engine: Engine, answers: Sequence[Answer]) -> OrderDone:
        check_done(engine, answers[0], wanted.symbol)
        command = placing(engine.state, account, **terms, order=order, key=name, actor=caller.name)
        return _order_done(engine, placed(engine.state, command, answers[0]))

    lane = Lane.RELIEF if wanted.reduce_only else Lane.ORDINARY
    return answer(await do_and(request, draft, outcome, lane=lane), 201)


@router.patch(
    "/accounts/{account:name}/orders/{order:name}",
    **operation(OrderDone, body=AmendTold, example={"price": "59000"}),
)
async def amend(
    request: Request, account: AccountName, order: OrderName, caller: Places,
    key: IdempotencyKey = None,
) -> Response:  # fmt: skip
    """Amend an order. It keeps its place in the queue where only size is taken off."""
    wanted, name = await told(request, _AMEND), key_of(key)
    drawn: list[Amending] = []

    def draft(state: State) -> Command:
        drawn.append(
            amending(state, account, order, key=name, actor=caller.name, size=wanted.size,
                     price=wanted.price)
        )  # fmt: skip
        return drawn[-1].command

    def outcome(engine: Engine, answers: Sequence[Answer]) -> OrderDone:
        grid = drawn[-1].grid
        check_done(engine, answers[0], None if grid is None else grid.symbol)
        return _order_done(engine, drawn[-1].outcome(engine.state, answers[0]))

    return answer(await do_and(request, draft, outcome))


@router.delete("/accounts/{account:name}/orders/{order:name}", **operation(Done))
async def cancel(
    request: Request, account: AccountName, order: OrderName, caller: Cancels,
    key: IdempotencyKey = None,
) -> Response:  # fmt: skip
    """Take an order or a stop back."""
    command = made(c.CancelOrder, key=key_of(key), actor=caller.name, account=account, order=order)
    return answer(await do(request, command))


@router.delete("/accounts/{account:name}/orders", **operation(Done))
async def cancel_all(
    request: Request, account: AccountName, caller: Cancels, key: IdempotencyKey = None,
    symbol: Annotated[str | None, Query(min_length=1, max_length=64)] = None,
    underlying: Annotated[str | None, Query(min_length=1, max_length=64)] = None,
    side: Side | None = None,
    group: Annotated[str | None, Query(min_length=1, max_length=64)] = None,
) -> Response:  # fmt: skip
    """Take all of an account's orders back that fit everything told."""
    command = made(
        c.CancelOrders, key=key_of(key), actor=caller.name, account=account, symbol=symbol,
        underlying=underlying, side=side, group=group,
    )  # fmt: skip
    return answer(await do(request, command, symbol=symbol))


@router.get("/accounts/{account:name}/orders", **operation(OrdersPage))
async def orders(
    request: Request, account: AccountName, caller: Reads, limit: Limit = 100,
    cursor: Annotated[int | None, Query(ge=0, le=1 << 62)] = None,
    symbol: Annotated[str | None, Query(min_length=1, max_length=64)] = None,
) -> Response:  # fmt: skip
    """List an account's open orders and stops, the oldest first."""
    del caller

    def page(state: State) -> OrdersPage:
        number, desk = account_number(state, account, source="request"), state.desk
        ranks = {
            name: order.rank
            for table in (desk.orders, desk.stops) for name, order in table.get(number, {}).items()
        }  # fmt: skip
        after = -1 if cursor is None else cursor
        rows = sorted(
            (row for row in open_orders(state, account, symbol) if ranks[row.order] > after),
            key=lambda row: ranks[row.order],
        )
        more = len(rows) > limit
        rows = rows[:limit]
        return OrdersPage(rows, ranks[rows[-1].order] if more else None)

    return answer(await look(request, lambda engine: page(engine.state)))


class BlockTold(Struct, forbid_unknown_fields=True):
    """One side's report of a trade agreed elsewhere; done when the other side's fits it."""

    counterparty: str
    symbol: str
    side: str
    size: Number
    price: Number
    reference: str


_BLOCK: Final = msgspec.json.Decoder(BlockTold)


@router.post(
    "/accounts/{account:name}/blocks",
    **operation(
        Done, body=BlockTold, status=201,
        example={
            "counterparty": "bob", "symbol": "BTC_USDC-PERPETUAL", "side": "buy", "size": "1",
            "price": "60000", "reference": "b-1",
        },
    ),
)  # fmt: skip
async def block(
    request: Request, account: AccountName, caller: Places, key: IdempotencyKey = None
) -> Response:
    """Report one side of a trade agreed elsewhere."""
    wanted, name = await told(request, _BLOCK), key_of(key)

    def draft(state: State) -> Command:
        grid, source = grid_of(state, wanted.symbol), f"block {wanted.reference}"
        return made(
            c.ReportBlock, key=name, actor=caller.name, account=account,
            counterparty=wanted.counterparty, side=side_named(wanted.side), symbol=wanted.symbol,
            lots=grid.lots(wanted.size, source=source),
            price_ticks=grid.ticks(wanted.price, source=source), reference=wanted.reference,
        )  # fmt: skip

    return answer(await do(request, draft, symbol=wanted.symbol), 201)


# ── what all may see ─────────────────────────────────────────────────────────────────────────────


@router.get("/books/{symbol:name}", tags=["market"], **operation(ShownBook))
async def book(
    request: Request, symbol: Symbol, caller: Looks,
    levels: Annotated[int, Query(ge=1, le=1_000, description="Prices of a side.")] = 20,
) -> Response:  # fmt: skip
    """A book as all may see it: bids and asks, the best first."""
    del caller
    return answer(await look(request, lambda engine: book_of(engine.state, symbol, levels)))


@router.get("/books/{symbol:name}/impact", tags=["market"], **operation(Impact))
async def impact(
    request: Request, symbol: Symbol, caller: Looks, side: Side,
    size: Annotated[str, Query(min_length=1, max_length=40, description="A decimal.")],
) -> Response:  # fmt: skip
    """What a taker of a side would get at once, hidden parts too. Changes nothing."""
    del caller

    def found(engine: Engine) -> Any:
        return impact_of(engine.state, symbol, side, size)

    return answer(await look(request, found))
