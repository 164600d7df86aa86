"""What came of an order, told from the events of its command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING

from solvent.engine.state import State
from solvent.errors import Reject
from solvent.messages.events import (
    Event,
    OrderEnded,
    OrderReduced,
    OrderRested,
    Rejected,
    StopPlaced,
    Traded,
)
from solvent.messages.fields import Side
from solvent.order_units import Grid, decimal_of, side_of
from solvent.orders.order import Why

if TYPE_CHECKING:
    from solvent.host import Answer


@dataclass(frozen=True, slots=True)
class Fill:
    """A part of an order that traded: as `taker`, `maker`, or neither in an auction; with whom."""

    price: Decimal
    size: Decimal
    role: str
    account: str
    order: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of an order in the command that placed or amended it.

    Attributes:
        status: `resting`, `waiting` (a stop), `filled`, `ended` (see `why`) or `rejected`.
        filled: what traded now, at `average`. left: what did not: it rests, waits, or went.
        answer: of the engine, with its events.
    """

    answer: Answer
    account: str
    order: str
    symbol: str
    side: str
    status: str
    why: str
    filled: Decimal
    average: Decimal | None
    left: Decimal
    fills: tuple[Fill, ...]

    @property
    def accepted(self) -> bool:
        """Whether it was done."""
        return self.answer.accepted

    @property
    def code(self) -> Reject | None:
        """Why it was refused."""
        return Reject(self.answer.code) if self.answer.code else None

    @property
    def detail(self) -> str:
        """The refusal in words; empty where there is none."""
        return refusal_of(self.answer.events)


def refusal_of(events: Sequence[Event]) -> str:
    """A refusal in the engine's words; empty where a command was done."""
    first = events[0] if events else None
    return first.detail if isinstance(first, Rejected) else ""


def outcome_of(
    state: State, answer: Answer, *, account: str, order: str, grid: Grid | None, lots: int
) -> Outcome:
    """What the events of a command say of an order; `lots` is what was asked, signed."""
    number = state.account_numbers.get(account, -1)
    fills = [] if grid is None else list(_fills(state, answer.events, number, order, grid))
    status, why, left = _end(answer.events, number, order, lots)
    size = sum((fill.size for fill in fills), Decimal(0))
    worth = sum((fill.size * fill.price for fill in fills), Decimal(0))
    return Outcome(
        answer=answer, account=account, order=order, symbol="" if grid is None else grid.symbol,
        side=str(side_of(lots)), status=status, why=why, filled=size, fills=tuple(fills),
        average=decimal_of(Fraction(worth) / Fraction(size)) if fills else None,
        left=Decimal(0) if grid is None else grid.size(left),
    )  # fmt: skip


def _end(events: Sequence[Event], account: int, order: str, lots: int) -> tuple[str, str, int]:
    """Status, why, lots that did not trade."""
    status, why, left = "rejected", "", 0
    for event in events:
        if getattr(event, "account", None) != account or getattr(event, "order", None) != order:
            continue
        match event:
            case OrderRested():
                status, why, left = "resting", "", abs(event.lots)
            case OrderReduced() if event.lots:
                status, why, left = "resting", "", abs(event.lots)
            case OrderEnded() | OrderReduced():
                filled = event.why == Why.FILLED
                if isinstance(event, OrderEnded) or filled:
                    left = abs(event.lots)
                status, why = "filled" if filled else "ended", "" if filled else event.why
            case StopPlaced():
                status, why, left = "waiting", "", abs(lots)
    return status, why, left


def _fills(
    state: State, events: Sequence[Event], account: int, order: str, grid: Grid
) -> list[Fill]:
    fills = []
    for event in events:
        if not isinstance(event, Traded) or event.instrument != grid.number:
            continue
        sides: Mapping[Side, tuple[int, str]] = {
            Side.BUY: (event.buyer, event.buy_order), Side.SELL: (event.seller, event.sell_order),
        }  # fmt: skip
        for side, one in sides.items():
            if one == (account, order):
                other, name = sides[Side.SELL if side is Side.BUY else Side.BUY]
                taker = "taker" if event.aggressor == side else "maker"
                fills.append(
                    Fill(
                        grid.price(event.price_ticks), grid.size(event.lots),
                        taker if event.aggressor else "", state.account(other).name, name,
                    )
                )  # fmt: skip
    return fills
