"""Open orders, books and plans of relief as people see them: see `order_units` for the units."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from solvent.engine.margin_of_orders import relief_plan
from solvent.engine.refusal import account_named
from solvent.engine.state import Standing, State
from solvent.errors import BadInput, Problem, Refused, Reject
from solvent.limits import COMBO_FIRST
from solvent.messages.fields import Phase, StopAt, Trigger
from solvent.order_units import (
    NANO,
    Grid,
    Told,
    account_number,
    bad_input,
    decimal_of,
    grid_by_number,
    grid_of,
    side_named,
    side_of,
)
from solvent.orders.order import Order

# ── orders that are open ─────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenOrder:
    """An order that rests, or a stop that waits.

    Attributes:
        size: what is left of it. filled: what has traded since it was placed.
        shown: what all can see of it. price: None of a stop that becomes a market order.
        stop_trigger, stop_price, stop_rises: which price must rise (or fall) to where, so that a
            stop becomes an order; empty and None of one that rests.
        expire_ms: 0 for never.
    """

    account: str
    order: str
    symbol: str
    side: str
    size: Decimal
    price: Decimal | None
    filled: Decimal
    shown: Decimal
    status: str
    stop_trigger: str
    stop_price: Decimal | None
    stop_rises: bool | None
    time_in_force: str
    expire_ms: int
    post_only: bool
    reduce_only: bool
    self_trade: str
    group: str
    session: str
    lots: int
    price_ticks: int | None


def open_orders(state: State, account: str | None, symbol: str | None = None) -> list[OpenOrder]:
    """Orders and stops of an account (of all), in an instrument (in all): orders first, as they
    came. BadInput for a name that is not known."""
    owner = None if account is None else account_number(state, account)
    number = None if symbol is None else grid_of(state, symbol).number
    desk = state.desk
    return [
        _row(state, order)
        for table in (desk.orders, desk.stops)
        for mine in ([table.get(owner, {})] if owner is not None else table.values())
        for order in mine.values()
        if number is None or order.instrument == number
    ]


def _row(state: State, order: Order) -> OpenOrder:
    grid, stop = grid_by_number(state, order.instrument), order.stop
    expired = 0 < order.expire_ms <= state.log.time_ms
    status = "expired" if expired else "waiting" if stop is not None else "resting"
    return OpenOrder(
        account=state.account(order.account).name, order=order.name, symbol=grid.symbol,
        side=str(side_of(order.lots)), size=grid.size(abs(order.lots)),
        price=None if order.price_ticks is None else grid.price(order.price_ticks),
        filled=grid.size(order.filled), shown=grid.size(order.shown), status=status,
        stop_trigger="" if stop is None else str(stop.trigger),
        stop_price=None if stop is None else _stop_price(grid, stop),
        stop_rises=None if stop is None else stop.rises, time_in_force=str(order.time_in_force),
        expire_ms=order.expire_ms, post_only=order.post_only, reduce_only=order.reduce_only,
        self_trade=str(order.self_trade), group=order.group, session=order.session,
        lots=abs(order.lots), price_ticks=order.price_ticks,
    )  # fmt: skip


def _stop_price(grid: Grid, stop: StopAt) -> Decimal:
    unit = Fraction(1, NANO) if stop.trigger is Trigger.INDEX else grid.point
    return decimal_of(stop.price * unit)


# ── a book ───────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class ShownLevel:
    """All orders at a price, as far as they show themselves."""

    price: Decimal
    size: Decimal
    orders: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownBook:
    """A book after command `sequence`: bids and asks, the best first.

    Attributes:
        last: price of the last trade. mark, index: as they were published last.
        band: the lowest price of a sale and the highest of a purchase, where there is a band.
        uncrossing: in an auction, the price and the size that it would come to now.
    """

    symbol: str
    phase: str
    sequence: int
    time_ms: int
    bids: tuple[ShownLevel, ...]
    asks: tuple[ShownLevel, ...]
    last: Decimal | None
    mark: Decimal | None
    index: Decimal | None
    band: tuple[Decimal, Decimal] | None
    uncrossing: tuple[Decimal, Decimal] | None

    @property
    def best_bid(self) -> Decimal | None:
        """The highest price at which somebody buys."""
        return self.bids[0].price if self.bids else None

    @property
    def best_ask(self) -> Decimal | None:
        """The lowest price at which somebody sells."""
        return self.asks[0].price if self.asks else None


def book_of(state: State, symbol: str, levels: int | None = None) -> ShownBook:
    """What all may see of a book, to so many levels; BadInput where there is none."""
    grid = grid_of(state, symbol)
    desk, log = state.desk, state.log
    book = desk.books.get(grid.number)
    if book is None:
        raise bad_input(
            Reject.INSTRUMENT_CLOSED, "order", "symbol", "one that is traded", repr(symbol)
        )
    bids, asks = (
        tuple(ShownLevel(grid.price(ticks), grid.size(lots), count) for ticks, lots, count in side)
        for side in desk.depth(grid.number, levels)
    )
    last, mark = book.last, book.mark_points
    crossing = desk.uncrossing(grid.number) if book.phase is Phase.AUCTION else None
    banded = book.terms.band_ppm is not None and mark is not None and not book.terms.signed
    return ShownBook(
        symbol=symbol, phase=str(book.phase), sequence=log.sequence, time_ms=log.time_ms,
        bids=bids, asks=asks, last=None if last is None else grid.price(last),
        mark=None if mark is None else decimal_of(mark * grid.point), index=_index(state, grid),
        band=(grid.price(book.sell_min), grid.price(book.buy_max)) if banded else None,
        uncrossing=None if crossing is None
        else (grid.price(crossing[0]), grid.size(crossing[1])),
    )  # fmt: skip


def _index(state: State, grid: Grid) -> Decimal | None:
    if grid.number >= COMBO_FIRST:
        return None
    found = state.underlyings.get(state.contracts[grid.number].deal.underlying)
    return None if found is None else decimal_of(Fraction(found.price_nano, NANO))


@dataclass(frozen=True, slots=True, kw_only=True)
class Impact:
    """What a taker of a side would get at once of all that rests, hidden parts too.

    `average` is weighted by size; it and `worst` are None where nothing rests. Of a size larger
    than what rests, `filled` is what there is.
    """

    symbol: str
    side: str
    size: Decimal
    filled: Decimal
    average: Decimal | None
    worst: Decimal | None


def impact_of(state: State, symbol: str, side: str, size: Told) -> Impact:
    """The impact of a size on a book. Changes nothing."""
    grid, taker = grid_of(state, symbol), side_named(side)
    lots = grid.lots(size, source="impact")
    book_of(state, symbol, 0)
    filled, lots_ticks, worst = state.desk.impact(grid.number, taker, lots)
    return Impact(
        symbol=symbol, side=str(taker), size=grid.size(lots), filled=grid.size(filled),
        average=decimal_of(Fraction(lots_ticks, filled) * grid.tick) if filled else None,
        worst=None if worst is None else grid.price(worst),
    )  # fmt: skip


# ── a plan of relief ─────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class ReliefStep:
    """An order that would be taken back; what the account would have available after it, in
    dollars."""

    order: str
    symbol: str
    side: str
    size: Decimal
    price: Decimal | None
    available: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class ReliefPlan:
    """Which orders would be taken back, first to last, and where the account would stand."""

    account: str
    before: Standing
    after: Standing
    orders: tuple[ReliefStep, ...]


def relief_of(state: State, account: str) -> ReliefPlan:
    """The plan of relief of an account, as of the last command; nothing is done.

    BadInput where there is none: it has its margin, or it is not known how it stands.
    """
    try:
        owner = account_named(state, account)
        plan = relief_plan(state, owner)
    except Refused as refused:
        raise BadInput(_as_problem(refused)) from None
    steps = []
    for name, available_micro in plan.orders:
        row = _row(state, state.desk.orders[owner.number][name])
        steps.append(
            ReliefStep(
                order=name, symbol=row.symbol, side=row.side, size=row.size, price=row.price,
                available=decimal_of(Fraction(available_micro, 10**6)),
            )
        )  # fmt: skip
    return ReliefPlan(account=account, before=plan.before, after=plan.after, orders=tuple(steps))


def _as_problem(refused: Refused) -> Problem:
    """What an engine says in one line, in its parts: whose, expected, found."""
    source, _, rest = refused.detail.partition(": expected ")
    expected, _, found = rest.partition(", found ")
    return Problem(code=refused.code, source=source, expected=expected, found=found or "none")
