"""Orders as commands and events tell them, beside those that the desk keeps.

An order's lots are followed one by one: what was asked for is what has traded, what was taken back
and what is left. Every change of a position in a book is one of a fill, of a combination its legs'.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from solvent.engine.open_orders import NONE, Sides
from solvent.engine.state import State
from solvent.limits import COMBO_FIRST
from solvent.messages import commands as c
from solvent.messages import events as e
from solvent.messages.fields import Command, Phase, SelfTrade, Side
from solvent.orders.order import Order, Why

Named = tuple[int, str]
"""Account and name of an order."""
Positions = Mapping[int, Mapping[int, tuple[int, int, int]]]
_GONE: Final[Mapping[str, Order]] = {}
_OUTSIDE: Final = 'matching = "outside"'
_TRADE: Final[tuple[type[Command], ...]] = (
    c.PlaceOrder, c.AmendOrder, c.SetPhase, c.PublishMarket, c.ReportBlock, c.LiquidateInBook
)  # fmt: skip
"""Commands whose trades are told by events of their own."""


class Known:
    """An order. `lots` are what is left, signed; `limit` its price, None of a market order."""

    __slots__ = ("filled", "instrument", "limit", "lots", "mode", "reduce_only", "shown")

    def __init__(self, instrument: int, command: c.PlaceOrder | c.LiquidateInBook) -> None:
        self.instrument = instrument
        self.lots = command.lots if command.side is Side.BUY else -command.lots
        self.limit = command.price_ticks
        self.mode, self.reduce_only = SelfTrade.OLDEST, False
        if isinstance(command, c.PlaceOrder):
            self.mode, self.reduce_only = command.self_trade, command.reduce_only
        self.shown = self.filled = 0

    def trade(self, lots: int) -> None:
        """So many lots, signed, have been filled."""
        self.lots -= lots
        self.filled += abs(lots)


_NONE: Final[Mapping[str, Known]] = {}


class Resting:
    """A second set of orders. `state` is only read, for names and to compare with."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.orders: dict[int, dict[str, Known]] = {}
        self.stops: dict[int, dict[str, Known]] = {}
        self.blocks: dict[str, int] = {}
        self.outside = False
        """Whether orders may have come to cross where they were not matched."""
        self._coming: dict[Named, Known] = {}
        self._moved: dict[tuple[int, int], int] = {}
        """(account, contract) → lots by which the position changed since the last fill."""
        self._touched: dict[int, None] = {}
        self._command: Command = c.Heartbeat(key="-", actor="-")
        self._positions: Positions = {}

    def begin(self, command: Command, positions: Positions) -> None:
        """A command that was done begins to be followed."""
        self._command = command
        self._positions = positions
        if type(command) is c.PlaceOrder:
            instrument = self.state.contract_numbers[command.symbol]
            key = self.state.account_numbers[command.account], command.order
            self._coming[key] = Known(instrument, command)
        elif type(command) is c.LiquidateInBook:
            number, name = self.state.account_numbers[command.account], command.key
            taken = {**self.orders.get(number, _NONE), **self.stops.get(number, _NONE)}
            while name in taken:
                name += "'"
            instrument = self.state.contract_numbers[command.symbol]
            self._coming[number, name] = Known(instrument, command)
        elif type(command) is c.AdoptRulebook and _OUTSIDE in command.toml:
            self.outside = True

    def moved(self, account: int, contract: int, lots: int) -> None:
        """A position became larger (or smaller) by so many lots, signed."""
        if lots:
            key = account, contract
            self._moved[key] = self._moved.get(key, 0) + lots

    def end(self) -> Iterator[str]:
        """What must hold once a command is done."""
        for key in self._coming:
            yield f"order {key}: expected it to trade, to rest or to be over"
        self._coming.clear()
        if self._moved:
            if type(self._command) in _TRADE and any(self._moved.values()):
                yield f"positions: expected no change but by fills, found {self._moved}"
            self._moved.clear()

    # ── following ────────────────────────────────────────────────────────────────────────────

    def rested(self, event: e.OrderRested) -> Iterator[str]:
        """An order comes to rest with what is left of it."""
        key = event.account, event.order
        order = self._coming.pop(key, None)
        if order is None or event.order in self.orders.get(event.account, _GONE):
            yield f"order {key}: expected one that came in, found it at rest"
            return
        told = event.instrument, event.lots, event.price_ticks
        if told != (order.instrument, order.lots, order.limit):
            yield f"order {key}: expected {order.lots} lots at {order.limit}, found {told}"
        yield from _wrongly_shown(key, event.lots, event.shown)
        order.shown = abs(event.shown)
        self.orders.setdefault(event.account, {})[event.order] = order
        self._touched[event.account] = None

    def reduced(self, event: e.OrderReduced) -> Iterator[str]:
        """An order that rests becomes smaller, or goes."""
        key = event.account, event.order
        mine = self.orders.get(event.account, {})
        order = mine.get(event.order)
        if order is None:
            yield f"order {key}: expected one that rests"
            return
        before, fills = order.lots, event.why == Why.FILLED
        if fills and type(self._command) is c.Trade:
            # What a trade that names it fills is told by the command alone.
            order.trade(self._command.lots if before > 0 else -self._command.lots)
            before = order.lots
        grows = event.lots * before < 0 or abs(event.lots) > abs(before)
        if grows or (fills and event.lots != before):
            yield f"order {key}: expected {before} lots or fewer, found {event.lots}"
        if event.why == Why.SELF_TRADE:
            self._decrement(event.account, abs(before) - abs(event.lots))
        yield from _wrongly_shown(key, event.lots, event.shown)
        order.lots, order.shown = event.lots, abs(event.shown)
        self._touched[event.account] = None
        if event.lots:
            return
        del mine[event.order]
        if not mine:
            del self.orders[event.account]
        if event.why == Why.AMENDED and type(self._command) is c.AmendOrder:
            self._come_again(key, order, before, self._command)

    def _come_again(self, key: Named, order: Known, before: int, command: c.AmendOrder) -> None:
        left = abs(before) if command.lots is None else command.lots - order.filled
        order.lots = left if before > 0 else -left
        if command.price_ticks is not None:
            order.limit = command.price_ticks
        self._coming[key] = order

    def _decrement(self, account: int, lots: int) -> None:
        """What came in loses as many lots as it took from one of its own account."""
        for (owner, _), order in self._coming.items():
            if owner == account and order.mode is SelfTrade.DECREMENT:
                order.lots += lots if order.lots < 0 else -lots

    def ended(self, event: e.OrderEnded) -> Iterator[str]:
        """An order is over without having come to rest."""
        order = self._coming.pop((event.account, event.order), None)
        filled = event.why == Why.FILLED
        if order is None or order.lots != event.lots or (filled and event.lots):
            left = None if order is None else order.lots
            yield f"order {event.order} of {event.account}: expected {left} left, found {event}"

    def stop_changed(
        self, event: e.StopPlaced | e.StopTriggered | e.StopCancelled
    ) -> Iterator[str]:
        """A stop begins to wait, becomes an order, or is over."""
        account, name = event.account, event.order
        self._touched[account] = None
        if isinstance(event, e.StopPlaced):
            order = self._coming.pop((account, name), None)
            if order is None or order.instrument != event.instrument:
                yield f"stop {name} of {account}: expected one that came in"
            else:
                self.stops.setdefault(account, {})[name] = order
            return
        mine = self.stops.get(account, {})
        order = mine.pop(name, None)
        if order is None:
            yield f"stop {name} of {account}: expected one that waits"
            return
        if not mine:
            del self.stops[account]
        if isinstance(event, e.StopTriggered):
            self._coming[account, name] = order

    def traded(self, event: e.Traded) -> Iterator[str]:
        """Two orders met, at a price that both take; positions changed by just that."""
        if event.buyer == event.seller or event.lots <= 0:
            yield f"trade {event}: expected two accounts and some lots"
        expected: dict[tuple[int, int], int] = {}
        for contract, ratio in self._legs(event.instrument):
            expected[event.buyer, contract] = ratio * event.lots
            expected[event.seller, contract] = -ratio * event.lots
        found = {key: lots for key, lots in self._moved.items() if lots}
        if found != expected:
            yield f"trade {event}: expected positions to change by {expected}, found {found}"
        self._moved.clear()
        sides = (event.buyer, event.buy_order, 1), (event.seller, event.sell_order, -1)
        for account, name, sign in sides:
            if name or type(self._command) is not c.ReportBlock:
                yield from self._filled(event, account, name, sign)

    def _filled(self, event: e.Traded, account: int, name: str, sign: int) -> Iterator[str]:
        order = self._coming.get((account, name))
        rests = order is None
        if order is None:
            order = self.orders.get(account, {}).get(name)
        if order is None or order.instrument != event.instrument:
            yield f"trade {event}: expected an order {name!r} of account {account}"
            return
        if order.lots * sign < event.lots:
            yield f"trade {event}: expected at most {order.lots} lots of order {name!r}"
        better = 0 if order.limit is None else (order.limit - event.price_ticks) * sign
        if better < 0 or (rests and event.aggressor and better):
            yield f"trade {event}: expected the price of order {name!r}, {order.limit}"
        order.trade(sign * event.lots)
        if order.reduce_only:
            position = self._positions[event.instrument].get(account)
            after = 0 if position is None else position[0]
            if after * sign > 0:
                yield f"trade {event}: expected order {name!r} to reduce, found {after} lots"

    def _legs(self, instrument: int) -> list[tuple[int, int]]:
        if instrument < COMBO_FIRST:
            return [(instrument, 1)]
        combo = self.state.combos[instrument - COMBO_FIRST]
        return [(leg.number, ratio) for leg, ratio in combo.legs]

    def block(self, event: e.BlockReported) -> Iterator[str]:
        """A report waits for the other side, or does no more."""
        if event.status == "reported":
            if event.reference in self.blocks:
                yield f"block {event.reference}: expected a new one"
            self.blocks[event.reference] = event.account
            return
        first = self.blocks.pop(event.reference, None)
        withdrawn = event.status == "withdrawn"
        if first is None or (first == event.account) != withdrawn:
            yield f"block {event.reference}: expected one of {first}, found {event}"

    # ── the engine's orders beside these ─────────────────────────────────────────────────────

    def touched(self) -> Iterator[str]:
        """Where the desk's orders, or the sums of them, differ from these for whom anything has
        happened since the last look."""
        for account in self._touched:
            yield from self._of_account(account)
        self._touched.clear()

    def _of_account(self, account: int) -> Iterator[str]:
        state = self.state
        mine = self.orders.get(account, {})
        anew: dict[int, list[int]] = {}
        theirs = state.desk.orders.get(account, _GONE)
        if len(theirs) != len(mine):
            yield f"account {account}: expected orders {list(mine)}, found {list(theirs)}"
        for name, one in mine.items():
            price = one.limit or 0
            found = theirs.get(name)
            if found is None or (
                found.instrument, found.lots, found.price_ticks, found.shown, found.filled
            ) != (one.instrument, one.lots, price, one.shown, one.filled):  # fmt: skip
                yield f"account {account}: expected order {name!r} as told"
            if state.open.asked.get((account, name)) != (one.instrument, one.lots, price):
                yield f"account {account}: expected order {name!r} among its sums"
            sums = anew.setdefault(one.instrument, [0, 0, 0, 0])
            side = 0 if one.lots > 0 else 2
            sums[side] += one.lots
            sums[side + 1] += state.value_of(one.instrument, one.lots, price)
        sides = {number: Sides(*sums) for number, sums in anew.items()}
        if sides != state.open.sides.get(account, {}):
            yield f"account {account}: expected sums of orders {sides}"
        waiting = state.desk.stops.get(account, _GONE)
        stops = {name: (one.instrument, one.lots) for name, one in waiting.items()}
        if stops != {
            name: (one.instrument, one.lots) for name, one in self.stops.get(account, {}).items()
        }:
            yield f"account {account}: expected stops as told, found {stops}"

    def compare(self) -> Iterator[str]:
        """Everything: all orders, blocks, books that cross, groups that may not quote."""
        state, desk = self.state, self.state.desk
        for account in {**self.orders, **self.stops, **desk.orders, **desk.stops}:
            yield from self._of_account(account)
        if state.open.sides.keys() != self.orders.keys() or any(
            NONE in mine.values() for mine in state.open.sides.values()
        ):
            yield "expected sums for those who have orders alone"
        if len(state.open.asked) != sum(map(len, self.orders.values())):
            yield "expected as many orders in sums as there are"
        if {name: one.account for name, one in state.blocks.items()} != self.blocks:
            yield f"expected blocks as told, found {list(state.blocks)}"
        for number, book in desk.books.items():
            bid, ask = desk.best(number)
            crossed = bid is not None and ask is not None and bid >= ask
            if crossed and book.phase is Phase.CONTINUOUS and not self.outside:
                yield f"instrument {number}: expected bids below asks, found {bid} and {ask}"
        for (account, group), one in desk.groups.items():
            if one.frozen(state.log.time_ms):
                mine = desk.orders.get(account, _GONE).values()
                if any(order.group == group for order in mine):
                    yield f"account {account}: expected no order of frozen group {group!r}"


def _wrongly_shown(key: Named, lots: int, shown: int) -> Iterator[str]:
    if lots * shown < 0 or abs(shown) > abs(lots) or (lots != 0) != (shown != 0):
        yield f"order {key}: expected some of its {lots} lots to be shown, found {shown}"
