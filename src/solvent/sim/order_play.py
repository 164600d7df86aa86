"""A swarm's operations carried out on a desk, any desk, and whom it asks about money.

Enters: operations (`order_swarm`), and how a desk names an order and the terms of a book. Leaves:
the desk's events, or the code of what it refused.

What a desk can be measured by:

>>> from solvent.sim.order_play import recorded, replayed
>>> operations = recorded(7, 100)
>>> len(operations), len(replayed(7, operations)) > 100
(100, True)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from msgspec import to_builtins

from solvent.errors import Refused, Reject
from solvent.messages.events import Event, PositionChanged
from solvent.messages.fields import Side
from solvent.orders.desk import Desk
from solvent.orders.order import BookTerms, Order, Verdict
from solvent.sim.order_swarm import Operation, OrderSwarm

REFUSALS: Final = frozenset({
    Reject.INSTRUMENT_UNKNOWN, Reject.INSTRUMENT_HALTED, Reject.INSTRUMENT_EXPIRED,
    Reject.ORDER_DUPLICATED, Reject.ORDER_TERMS_INVALID, Reject.ORDER_EXPIRED,
    Reject.PRICE_NOT_POSITIVE, Reject.PRICE_OFF_STEP, Reject.LOTS_OFF_STEP,
    Reject.ORDER_TOO_SMALL, Reject.ORDER_TOO_LARGE, Reject.ORDER_NOT_FOR_AUCTION,
    Reject.PRICE_OUT_OF_BAND, Reject.PROTECTION_UNKNOWN, Reject.PROTECTION_TRIPPED,
    Reject.CAPACITY_REACHED, Reject.POSITION_TOO_LARGE, Reject.REDUCE_ONLY_INCREASES,
    Reject.STOP_TRIGGERS_AT_ONCE, Reject.POST_ONLY_CROSSES, Reject.ORDER_UNFILLABLE,
    Reject.ORDER_UNKNOWN, Reject.ORDER_WAITING, Reject.AMEND_BELOW_FILLED,
})  # fmt: skip
"""All that a desk refuses."""
_SPREAD: Final = 2_654_435_761


class SwarmGate:
    """Positions without money: what is refused is made up, and the same each time.

    Attributes:
        positions: signed lots by account and instrument. refusals: of so many fills one is refused,
            0 for none; by_terms: the same fill always is. asked: fills and stops so far.
    """

    def __init__(self, swarm: OrderSwarm) -> None:
        self.positions = dict(swarm.positions)
        self.refusals = swarm.refusals
        self.by_terms = swarm.by_terms
        self.asked = 0

    def held(self, account: int, instrument: int) -> int:
        """Lots that an account holds."""
        return self.positions.get((account, instrument), 0)

    def delta_nano(self, instrument: int) -> int:
        """What a lot counts for: from -3 to 3, and so nothing for some."""
        return instrument * 5 % 7 - 3

    def admit(self, order: Order) -> bool:
        """Whether a stop may become an order."""
        return not self._refuses(order.account * 7 + order.lots)

    def fill(
        self, buy: Order, sell: Order, *, lots: int, price_ticks: int, aggressor: Side | None,
        events: list[Event],
    ) -> Verdict:  # fmt: skip
        """Move lots; both events tell all that was known when it was asked."""
        terms = (buy.account * 31 + sell.account) * 31 + lots
        if self._refuses(terms * 31 + price_ticks):
            return Verdict.BUYER if terms & 4 else Verdict.SELLER
        for order, signed in ((buy, lots), (sell, -lots)):
            held = (order.account, order.instrument)
            self.positions[held] = self.positions.get(held, 0) + signed
            side = 0 if aggressor is None else 1 if aggressor is Side.BUY else -1
            events.append(
                PositionChanged(*held, self.positions[held], order.lots, order.filled, side)
            )
        return Verdict.DONE

    def _refuses(self, terms: int) -> bool:
        self.asked += 1
        if self.refusals == 0:
            return False
        mixed = (terms if self.by_terms else terms + self.asked) * _SPREAD
        return (mixed >> 13) % self.refusals == 0


def play(
    desk: Any,
    operation: Operation,
    *,
    order: Callable[..., Any],
    terms: Callable[..., Any],
    gate: Any,
    events: list[Any],
) -> Any:
    """Carry one operation out; what it returns, or the code of its refusal."""
    what, time_ms, told = operation
    asked = {"time_ms": time_ms, "gate": gate}
    try:
        if what in ("place", "accept"):
            new = order(**told["order"])
            desk.accept(new, **asked)
            return desk.enter(new, **asked, events=events) if what == "place" else None
        if what == "amend":
            found = desk.accept_amend(**told, **asked)
            desk.amend(**told, **asked, events=events)
            return found
        if what in ("set_phase", "settle_stops"):
            return getattr(desk, what)(**told, **asked, events=events)
        if what == "cancel":
            return desk.cancel(**told, time_ms=time_ms, events=events)
        if what == "expire":
            return desk.expire(time_ms=time_ms, events=events)
        if what == "open_book":
            return desk.open_book(told["instrument"], terms(**told["terms"]))
        if what in ("take_off", "cancel_where", "close_book"):
            return getattr(desk, what)(**told, events=events)
        return getattr(desk, what)(**told)
    except Refused as refused:
        return refused.code


def recorded(seed: int, count: int) -> list[Operation]:
    """A seed's first operations, as the desk lives through them."""
    swarm = OrderSwarm(seed)
    desk, gate = Desk(), SwarmGate(swarm)
    found: list[Operation] = []
    while len(found) < count:
        events: list[Event] = []
        found.append(swarm.draw())
        play(desk, found[-1], order=Order, terms=BookTerms, gate=gate, events=events)
        swarm.see(to_builtins(events))
    return found


def replayed(seed: int, operations: Iterable[Operation]) -> list[Event]:
    """All events that come of a seed's operations on a new desk: nothing is drawn or looked at."""
    desk, gate = Desk(), SwarmGate(OrderSwarm(seed))
    events: list[Event] = []
    for one in operations:
        play(desk, one, order=Order, terms=BookTerms, gate=gate, events=events)
    return events
