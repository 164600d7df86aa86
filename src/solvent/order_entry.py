"""Orders as an engine takes them from people: named, in the venue's own units, without a key.

`OrderEntry` is a part of `Engine`. Each method makes one command, submits it, and tells what came
of it. A size or price that is not on the instrument's grid, and what cannot be read, is BadInput
and no command; what the venue refuses is a command that was rejected.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from solvent.engine.apply import identity_of
from solvent.engine.state import State
from solvent.errors import Reject
from solvent.instruments.contract import plain
from solvent.messages import commands as c
from solvent.messages.fields import (
    ComboLeg,
    Command,
    Phase,
    SelfTrade,
    Side,
    StopAt,
    TimeInForce,
    Trigger,
)
from solvent.order_rows import (
    Impact,
    OpenOrder,
    ReliefPlan,
    ShownBook,
    book_of,
    impact_of,
    open_orders,
    relief_of,
)
from solvent.order_units import (
    NANO,
    Grid,
    Told,
    bad_input,
    decimal_of,
    grid_by_number,
    grid_of,
    number_of,
    side_named,
)
from solvent.orders.order import Order
from solvent.outcomes import Outcome, outcome_of

if TYPE_CHECKING:
    from solvent.host import Answer

OPERATOR: Final = "operator"
"""Who asks for what no account asks for."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_Word = TypeVar("_Word", bound=StrEnum)


class OrderType(StrEnum):
    """What an order does, and when. A stop goes with the market, a take-profit against it."""

    MARKET = "market"
    LIMIT = "limit"
    STOP = "stop"
    """A market order once the price rises (of a purchase) or falls (of a sale) so far."""
    STOP_LIMIT = "stop-limit"
    TAKE_PROFIT = "take-profit"
    """A market order once the price falls (of a purchase) or rises (of a sale) so far."""
    TAKE_PROFIT_LIMIT = "take-profit-limit"


_PRICED: Final = (OrderType.LIMIT, OrderType.STOP_LIMIT, OrderType.TAKE_PROFIT_LIMIT)
_TAKING_PROFIT: Final = (OrderType.TAKE_PROFIT, OrderType.TAKE_PROFIT_LIMIT)


class OrderEntry(ABC):
    """What people ask of an engine about orders.

    Sizes and prices are text, Decimal or whole numbers, never floats. A `key` names the request, so
    that it can be repeated (it is the order's name too, where none is told); one is made up from
    the journal's sequence otherwise. The `actor` is the account where it is not told, and the time
    the clock's.
    """

    @property
    @abstractmethod
    def state(self) -> State:
        """The books, to be read only."""

    @abstractmethod
    def submit(self, command: Command, *, time_ms: int | None = None) -> Answer:
        """One command, durable when it is answered."""

    # ── an order ─────────────────────────────────────────────────────────────────────────────────

    def place(
        self, account: str, symbol: str, side: str, size: Told, price: Told | None = None, *,
        order: str | None = None, order_type: str | None = None, time_in_force: str | None = None,
        expire: int | datetime | None = None, post_only: bool = False, reduce_only: bool = False,
        display: Told | None = None, self_trade: str = SelfTrade.NEWEST,
        stop_price: Told | None = None, stop_trigger: str = Trigger.MARK, group: str | None = None,
        session: str | None = None, key: str | None = None, actor: str | None = None,
        time_ms: int | None = None,
    ) -> Outcome:  # fmt: skip
        """Place an order: a limit order if there is a price, otherwise its type must be told.

        `order` is its name. `expire` (milliseconds, or a moment with a zone): it is good till then.
        """
        command = placing(
            self.state, account, symbol, side, size, price,
            order=order or key or _free_name(self.state, account), order_type=order_type,
            time_in_force=time_in_force, expire=expire, post_only=post_only,
            reduce_only=reduce_only, display=display, self_trade=self_trade,
            stop_price=stop_price, stop_trigger=stop_trigger, group=group, session=session,
            key=key or self._key(actor or account, "place"), actor=actor or account,
        )  # fmt: skip
        return placed(self.state, command, self.submit(command, time_ms=time_ms))

    def amend(
        self, account: str, order: str, *, size: Told | None = None, price: Told | None = None,
        key: str | None = None, actor: str | None = None, time_ms: int | None = None,
    ) -> Outcome:  # fmt: skip
        """Change an order's price, or its size: all of it, what has traded counted. It keeps its
        place where only size is taken off."""
        asked = amending(
            self.state, account, order, size=size, price=price,
            key=key or self._key(actor or account, "amend"), actor=actor or account,
        )  # fmt: skip
        return asked.outcome(self.state, self.submit(asked.command, time_ms=time_ms))

    def cancel(
        self, account: str, order: str, *, key: str | None = None, actor: str | None = None,
        time_ms: int | None = None,
    ) -> Answer:  # fmt: skip
        """Take an order or a stop back."""
        return self._send(c.CancelOrder, "cancel", actor or account, key, time_ms,
                          account=account, order=order)  # fmt: skip

    # ── many orders ──────────────────────────────────────────────────────────────────────────────

    def cancel_all(
        self, account: str | None = None, *, symbol: str | None = None,
        underlying: str | None = None, side: str | None = None, group: str | None = None,
        key: str | None = None, actor: str | None = None, time_ms: int | None = None,
    ) -> Answer:  # fmt: skip
        """Take all orders and stops back that fit everything told; at least one thing is."""
        return self._send(
            c.CancelOrders, "cancel-all", actor or account or OPERATOR, key, time_ms,
            account=account, symbol=symbol, underlying=underlying,
            side=None if side is None else side_named(side), group=group,
        )  # fmt: skip

    def disconnect(
        self, account: str, session: str, *, key: str | None = None, actor: str | None = None,
        time_ms: int | None = None,
    ) -> Answer:  # fmt: skip
        """A session of an account has ended: the orders that were placed for it go."""
        return self._send(c.Disconnect, "disconnect", actor or account, key, time_ms,
                          account=account, session=session)  # fmt: skip

    def protect(
        self, account: str, group: str, *, window_ms: int, frozen_ms: int, lots: int | None = None,
        delta: Told | None = None, key: str | None = None, actor: str | None = None,
        time_ms: int | None = None,
    ) -> Answer:  # fmt: skip
        """Protect a group of an account's orders: when within a window more than `lots` of them
        were filled, or more `delta` than this one way (in coin), all of them go, and none comes for
        a while; 0: until `reset_protection`."""
        source = f"group {group}"
        nano = None if delta is None else number_of(delta, field="delta", source=source) * NANO
        if nano is not None and (nano <= 0 or nano.denominator != 1):
            raise bad_input(Reject.LOTS_OFF_STEP, source, "delta",
                            "a positive multiple of 0.000000001", str(delta))  # fmt: skip
        return self._send(
            c.SetProtection, "protect", actor or account, key, time_ms, account=account,
            group=group, window_ms=window_ms, frozen_ms=frozen_ms, lots=lots,
            delta_nano=None if nano is None else int(nano),
        )  # fmt: skip

    def reset_protection(
        self, account: str, group: str, *, key: str | None = None, actor: str | None = None,
        time_ms: int | None = None,
    ) -> Answer:  # fmt: skip
        """Let a group quote again."""
        return self._send(c.ResetProtection, "reset", actor or account, key, time_ms,
                          account=account, group=group)  # fmt: skip

    def relieve(
        self, account: str, *, key: str | None = None, actor: str | None = None,
        time_ms: int | None = None,
    ) -> Answer:  # fmt: skip
        """Carry the plan of `relief` out, as it is when the command comes."""
        return self._send(
            c.RelieveMargin, "relieve", actor or OPERATOR, key, time_ms, account=account
        )

    # ── what is traded otherwise ─────────────────────────────────────────────────────────────────

    def block(
        self, account: str, counterparty: str, symbol: str, side: str, size: Told, price: Told, *,
        reference: str, key: str | None = None, actor: str | None = None,
        time_ms: int | None = None,
    ) -> Answer:  # fmt: skip
        """One side's report of a trade agreed elsewhere; done when the other side's fits it."""
        grid, source = grid_of(self.state, symbol), f"block {reference}"
        return self._send(
            c.ReportBlock, "block", actor or account, key, time_ms, account=account,
            counterparty=counterparty, side=side_named(side), symbol=symbol,
            lots=grid.lots(size, source=source), price_ticks=grid.ticks(price, source=source),
            reference=reference,
        )  # fmt: skip

    def withdraw_block(
        self, account: str, reference: str, *, key: str | None = None, actor: str | None = None,
        time_ms: int | None = None,
    ) -> Answer:  # fmt: skip
        """Take a report back to which the other side has not come."""
        return self._send(c.WithdrawBlock, "withdraw", actor or account, key, time_ms,
                          account=account, reference=reference)  # fmt: skip

    def combo(
        self, symbol: str, legs: Mapping[str, int], tick_size: Told, *, key: str | None = None,
        actor: str | None = None, time_ms: int | None = None,
    ) -> Answer:  # fmt: skip
        """Open a combination for trading: legs are contracts and how many lots of each a lot of it
        buys (negative: sells)."""
        tick = number_of(tick_size, field="tick_size", source=f"combination {symbol}")
        return self._send(
            c.ListCombo, "combo", actor or OPERATOR, key, time_ms, symbol=symbol,
            legs=tuple(ComboLeg(leg, ratio) for leg, ratio in legs.items()),
            tick_size=plain(decimal_of(tick)),
        )  # fmt: skip

    def phase(
        self, symbol: str, phase: str, *, key: str | None = None, actor: str | None = None,
        time_ms: int | None = None,
    ) -> Answer:  # fmt: skip
        """Call an auction, halt a contract, or let it trade continuously."""
        return self._send(c.SetPhase, "phase", actor or OPERATOR, key, time_ms, symbol=symbol,
                          phase=_word(Phase, phase, symbol, "phase"))  # fmt: skip

    # ── looking ──────────────────────────────────────────────────────────────────────────────────

    def orders(self, account: str | None = None, *, symbol: str | None = None) -> list[OpenOrder]:
        """Orders that rest and stops that wait: of an account, or of all."""
        return open_orders(self.state, account, symbol)

    def book(self, symbol: str, levels: int | None = None) -> ShownBook:
        """A book as all may see it, to so many levels."""
        return book_of(self.state, symbol, levels)

    def impact(self, symbol: str, side: str, size: Told) -> Impact:
        """What a taker of a side would get at once."""
        return impact_of(self.state, symbol, side, size)

    def relief(self, account: str) -> ReliefPlan:
        """Which orders would be taken back so that an account has its margin again; nothing is
        done. BadInput where it has it, or where it is not known."""
        return relief_of(self.state, account)

    # ── making a command ─────────────────────────────────────────────────────────────────────────

    def _send(
        self, kind: type[Command], verb: str, actor: str, key: str | None, time_ms: int | None,
        **fields: Any,
    ) -> Answer:  # fmt: skip
        command = kind(key=key or self._key(actor, verb), actor=actor, **fields)
        return self.submit(command, time_ms=time_ms)

    def _key(self, actor: str, verb: str) -> str:
        """A key that the actor has not used: the sequence of the next command is in it."""
        log = self.state.log
        number = log.sequence + 1
        while identity_of(actor, f"{verb}-{number}") in log.answers:
            number += 1
        return f"{verb}-{number}"


def placing(
    state: State, account: str, symbol: str, side: str, size: Told, price: Told | None = None, *,
    order: str, key: str, actor: str, order_type: str | None = None,
    time_in_force: str | None = None, expire: int | datetime | None = None,
    post_only: bool = False, reduce_only: bool = False, display: Told | None = None,
    self_trade: str = SelfTrade.NEWEST, stop_price: Told | None = None,
    stop_trigger: str = Trigger.MARK, group: str | None = None, session: str | None = None,
) -> c.PlaceOrder:  # fmt: skip
    """The command that places an order: see `OrderEntry.place`."""
    source, grid, way = f"order {order}", grid_of(state, symbol), side_named(side)
    kind = _type_of(source, order_type, price, stop_price)
    until = _expire_ms(source, expire)
    life = TimeInForce.GTD if until is not None else None
    if time_in_force is not None:
        life = _word(TimeInForce, time_in_force, source, "time_in_force")
    return c.PlaceOrder(
        key=key, actor=actor, account=account, order=order, symbol=symbol, side=way,
        lots=grid.lots(size, source=source),
        price_ticks=None if price is None else grid.ticks(price, source=source),
        time_in_force=life, expire_ms=until, post_only=post_only, reduce_only=reduce_only,
        display_lots=None if display is None
        else grid.lots(display, source=source, field="display"),
        self_trade=_word(SelfTrade, self_trade, source, "self_trade"),
        stop=_stop(source, grid, way, kind, stop_price, stop_trigger),
        group=group, session=session,
    )  # fmt: skip


def placed(state: State, command: c.PlaceOrder, answer: Answer) -> Outcome:
    """What came of an order that was placed."""
    lots = command.lots if command.side is Side.BUY else -command.lots
    return outcome_of(
        state, answer, account=command.account, order=command.order,
        grid=grid_of(state, command.symbol), lots=lots,
    )  # fmt: skip


class Amending(NamedTuple):
    """The command that amends an order, and what the order was before."""

    command: c.AmendOrder
    grid: Grid | None
    lots: int

    def outcome(self, state: State, answer: Answer) -> Outcome:
        """What came of it."""
        told = self.command
        return outcome_of(
            state, answer, account=told.account, order=told.order, grid=self.grid, lots=self.lots
        )


def amending(
    state: State, account: str, order: str, *, key: str, actor: str, size: Told | None = None,
    price: Told | None = None,
) -> Amending:  # fmt: skip
    """The command that amends an order: see `OrderEntry.amend`."""
    found = _order_named(state, account, order)
    grid = None if found is None else grid_by_number(state, found.instrument)
    source = f"order {order}"
    command = c.AmendOrder(
        key=key, actor=actor, account=account, order=order,
        # What is not there has no grid: the engine says so.
        lots=None if size is None or grid is None else grid.lots(size, source=source),
        price_ticks=None if price is None or grid is None else grid.ticks(price, source=source),
    )  # fmt: skip
    return Amending(command, grid, 0 if found is None else found.lots)


def _free_name(state: State, account: str) -> str:
    """A name for an order that the account has no order by."""
    number = state.log.sequence + 1
    while _order_named(state, account, f"o{number}") is not None:
        number += 1
    return f"o{number}"


def _order_named(state: State, account: str, name: str) -> Order | None:
    owner, desk = state.account_numbers.get(account, -1), state.desk
    return desk.orders.get(owner, {}).get(name) or desk.stops.get(owner, {}).get(name)


def _type_of(
    source: str, told: str | None, price: Told | None, stop_price: Told | None
) -> OrderType:
    """An order's type, where its prices fit it."""
    if told is None and price is None and stop_price is None:
        raise bad_input(Reject.FIELD_MISSING, source, "price", "a price, or the type market",
                        "neither")  # fmt: skip
    if told is not None:
        kind = _word(OrderType, told, source, "order_type")
    elif stop_price is None:
        kind = OrderType.LIMIT
    else:
        kind = OrderType.STOP if price is None else OrderType.STOP_LIMIT
    stops = kind not in (OrderType.MARKET, OrderType.LIMIT)
    for field, number, wanted in (
        ("price", price, kind in _PRICED), ("stop_price", stop_price, stops),
    ):  # fmt: skip
        if wanted and number is None:
            raise bad_input(Reject.FIELD_MISSING, source, field, f"one of a {kind} order", "none")
        if not wanted and number is not None:
            raise bad_input(
                Reject.ORDER_TERMS_INVALID, source, field, f"none of a {kind} order", str(number)
            )
    return kind


def _stop(
    source: str, grid: Grid, side: Side, kind: OrderType, price: Told | None, trigger: str
) -> StopAt | None:
    if price is None:
        return None
    by = _word(Trigger, trigger, source, "stop_trigger")
    rises = (side is Side.BUY) != (kind in _TAKING_PROFIT)
    if by is not Trigger.INDEX:
        return StopAt(by, grid.points(price, source=source, field="stop_price"), rises)
    nano = number_of(price, field="stop_price", source=source) * NANO
    if nano.denominator != 1:
        raise bad_input(Reject.PRICE_OFF_STEP, source, "stop_price", "a multiple of 0.000000001",
                        str(price))  # fmt: skip
    return StopAt(by, int(nano), rises)


def _expire_ms(source: str, told: int | datetime | None) -> int | None:
    """Milliseconds since 1970 UTC; of a moment, whose zone must be told, cut to whole ones."""
    if not isinstance(told, datetime):
        return told
    if told.tzinfo is None:
        raise bad_input(Reject.TIME_INVALID, source, "expire", "a moment with a zone", str(told))
    return (told - _EPOCH) // timedelta(milliseconds=1)


def _word(words: type[_Word], told: str, source: str, field: str) -> _Word:
    """One of a closed list of words, or BadInput."""
    if told in tuple(words):
        return words(told)
    raise bad_input(
        Reject.COMMAND_MALFORMED, source, field, f"one of {', '.join(words)}", repr(told)
    )
