"""What a command's events say on which channels.

Channels are `orders.ALICE`, `fills.ALICE`, `positions.ALICE`, `calls.ALICE`, `liquidations.ALICE`,
the last two without a name for the whole venue, and `trades.SYMBOL` for everybody. A command says
something on a channel once: a list of rows, so that (channel, sequence) names a message.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

from solvent.account.ledger import parts
from solvent.engine.state import State
from solvent.messages import commands as c
from solvent.messages import events as e
from solvent.messages.fields import Command
from solvent.order_units import decimal_of, grid_by_number

OF_ACCOUNTS: Final = ("orders", "fills", "positions", "calls", "liquidations", "account")
"""Kinds of channels that belong to an account."""
OF_VENUE: Final = ("calls", "liquidations")
"""Those that may be had for all accounts at once."""
REPLAYED: Final = frozenset({"orders", "fills", "positions", "calls", "liquidations", "trades"})
"""Kinds whose every message is in the journal; the others tell how things are."""
_WHOSE: Final = ("account", "buyer", "seller", "bidder", "member")
Rows = dict[str, list[dict[str, Any]]]
Name = Callable[[int], str]


class Topics:
    """Turns events into messages; `state` tells contracts, `name` the names of accounts."""

    def __init__(self, state: State, name: Name) -> None:
        self._state, self._name = state, name

    def of(self, command: Command, events: Iterable[e.Event]) -> Rows:
        """Channel → rows that a command says on it."""
        told: Rows = {}
        placed: dict[str, c.PlaceOrder] = {}
        if isinstance(command, c.PlaceOrder):
            placed[command.order] = command
        if isinstance(command, c.Trade):
            self._reported(command, told)
        for event in events:
            for channel, row in self._rows(event, placed):
                told.setdefault(channel, []).append(row)
        return told

    def _reported(self, command: c.Trade, told: Rows) -> None:
        """A trade that was made elsewhere and is told as a command of its own."""
        number = self._state.contract_numbers[command.symbol]
        grid = grid_by_number(self._state, number)
        aggressor = command.aggressor
        row = {
            "symbol": grid.symbol, "price": grid.price(command.price_ticks),
            "size": grid.size(command.lots),
        }  # fmt: skip
        told[f"trades.{grid.symbol}"] = [row | {"aggressor": aggressor}]
        for side, account in (("buy", command.buyer), ("sell", command.seller)):
            maker = None if aggressor is None else aggressor != side
            mine = {"side": side, "order": None, "maker": maker}
            told.setdefault(f"fills.{account}", []).append(row | mine)

    def _rows(
        self, event: e.Event, placed: Mapping[str, c.PlaceOrder]
    ) -> Iterable[tuple[str, dict[str, Any]]]:
        match event:
            case e.Traded():
                yield from self._trade(event)
            case e.PositionChanged():
                yield self._of("positions", event.account, self._position(event))
            case e.OrderRested() | e.OrderReduced() | e.OrderEnded():
                yield self._of("orders", event.account, self._order(event, placed))
            case e.StopPlaced() | e.StopTriggered() | e.StopCancelled():
                yield self._of("orders", event.account, self._stop(event))
            case e.MarginCalled():
                yield from self._both("calls", event.account, self._call(event))
            case e.CallEnded():
                row = {"what": "ended", "how": event.how}
                yield from self._both("calls", event.account, row)
            case _:
                yield from self._liquidation(event)

    def _of(self, kind: str, account: int, row: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        return f"{kind}.{self._name(account)}", row

    def _both(
        self, kind: str, account: int, row: dict[str, Any]
    ) -> Iterable[tuple[str, dict[str, Any]]]:
        """On the account's channel, and with its name on the venue's."""
        name = self._name(account)
        yield f"{kind}.{name}", row
        yield kind, {"account": name} | row

    def _trade(self, event: e.Traded) -> Iterable[tuple[str, dict[str, Any]]]:
        grid = grid_by_number(self._state, event.instrument)
        row = {
            "symbol": grid.symbol, "price": grid.price(event.price_ticks),
            "size": grid.size(event.lots),
        }  # fmt: skip
        yield f"trades.{grid.symbol}", row | {"aggressor": event.aggressor or None}
        sides = (("buy", event.buyer, event.buy_order), ("sell", event.seller, event.sell_order))
        for side, account, order in sides:
            maker = None if not event.aggressor else event.aggressor != side
            mine = {"side": side, "order": order or None, "maker": maker}
            yield self._of("fills", account, row | mine)

    def _position(self, event: e.PositionChanged) -> dict[str, Any]:
        deal = self._state.contracts[event.instrument].deal
        entry: Decimal | None = None
        if event.lots and deal.coin_numerator and event.entry_value:
            coin = Fraction(deal.coin_numerator, deal.coin_denominator)
            entry = decimal_of(-event.lots * coin / event.entry_value * deal.point)
        elif event.lots:
            entry = decimal_of(Fraction(event.entry_value, event.lots) * deal.point)
        return {
            "symbol": deal.symbol, "lots": event.lots,
            "size": decimal_of(event.lots * deal.lot_size), "entry_price": entry,
            "realised": decimal_of(Fraction(event.realised, deal.asset_scale)),
        }  # fmt: skip

    def _order(
        self, event: e.OrderRested | e.OrderReduced | e.OrderEnded,
        placed: Mapping[str, c.PlaceOrder],
    ) -> dict[str, Any]:  # fmt: skip
        row: dict[str, Any] = {"order": event.order, "lots": abs(event.lots)}
        if isinstance(event, e.OrderRested):
            grid = grid_by_number(self._state, event.instrument)
            return {
                "what": "rested", **row, "symbol": grid.symbol,
                "side": "buy" if event.lots > 0 else "sell",
                "price": grid.price(event.price_ticks), "size": grid.size(abs(event.lots)),
            }  # fmt: skip
        if (whole := placed.get(event.order)) is not None:
            row["symbol"] = whole.symbol
        what = "reduced" if isinstance(event, e.OrderReduced) and event.lots else "ended"
        return {"what": what, **row, "why": event.why}

    def _stop(self, event: e.StopPlaced | e.StopTriggered | e.StopCancelled) -> dict[str, Any]:
        row: dict[str, Any] = {"order": event.order}
        match event:
            case e.StopPlaced():
                symbol = grid_by_number(self._state, event.instrument).symbol
                return {"what": "stop placed", **row, "symbol": symbol}
            case e.StopTriggered():
                return {"what": "stop triggered", **row}
        return {"what": "stop cancelled", **row, "why": event.why}

    def _call(self, event: e.MarginCalled) -> dict[str, Any]:
        symbol = None
        if event.instrument >= 0:
            symbol = grid_by_number(self._state, event.instrument).symbol
        scale = -self._scale(event.asset)
        return {
            "what": "call", "level": event.level,
            "shortfall": Decimal(event.call_micro).scaleb(-6),
            "asset": event.asset or None, "amount": Decimal(event.amount).scaleb(scale),
            "deadline_ms": event.deadline_ms or None, "symbol": symbol,
        }  # fmt: skip

    def _scale(self, asset: str) -> int:
        number = self._state.asset_numbers.get(asset)
        return 0 if number is None else self._state.assets[number][1]

    def _liquidation(self, event: e.Event) -> Iterable[tuple[str, dict[str, Any]]]:
        row: dict[str, Any]
        match event:
            case e.LiquidationBegun():
                row = {
                    "what": "begun", "equity": Decimal(event.equity_micro).scaleb(-6),
                    "maintenance": Decimal(event.maintenance_micro).scaleb(-6),
                }  # fmt: skip
            case e.StatusChanged():
                row = {"what": "status", "status": event.status}
            case e.AuctionStarted():
                row = {"what": "auction", "solvent": event.solvent}
            case e.AuctionEnded():
                row = {"what": "auction ended", "how": event.how}
            case e.Ported():
                row = {"what": "ported", "to": self._name(event.member)}
            case _:
                return
        yield from self._both("liquidations", event.account, row)


def concerned(event: e.Event) -> set[int]:
    """Accounts that an event is about."""
    if isinstance(event, e.Posted):
        return {parts(one)[0] for source, target, _ in event.moves for one in (source, target)}
    return {getattr(event, name) for name in _WHOSE if hasattr(event, name)}
