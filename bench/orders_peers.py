"""Who else keeps books: the twin, and what there is on PyPI; each does what it can of the same.

Where there is no amending, an order is taken back and placed anew. None of the peers knows accounts
or asks anybody about a fill; each matches by price and time, but for Nautilus:

- its `OrderBook`, in Rust, matches nothing; who is met is told to it here (`Op.makers`);
- its `OrderMatchingEngine` takes orders, changes and cancels as a venue does, checks them and sends
  events, but orders trade only with a market given from outside: here one that is far away.

A peer that is not installed is left out.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final, NamedTuple, Protocol

from bench.orders_flow import AMEND, CANCEL, TAKE, Op
from solvent.verify.orders import PlainDesk
from solvent.verify.orders_terms import PlainOrder, PlainTerms, Row

_FAR_TICKS: Final = 5_000_000
_MUCH: Final = 1_000_000_000


class Way(Protocol):
    """Who can carry operations out."""

    @property
    def traded(self) -> int:
        """Lots that have traded."""

    def run(self, ops: Sequence[Op]) -> None:
        """One after the other."""


class _Peer:
    """Operations, told to one who knows an order by its name alone."""

    def __init__(self) -> None:
        self.traded = 0

    def run(self, ops: Sequence[Op]) -> None:
        for op in ops:
            kind = op.kind
            if kind == AMEND:
                self.amend(op)
            elif kind == CANCEL:
                self.cancel(op)
            elif kind == TAKE:
                self.take(op)
            else:
                self.place(op)

    def place(self, op: Op) -> None:
        raise NotImplementedError

    def cancel(self, op: Op) -> None:
        raise NotImplementedError

    def take(self, op: Op) -> None:
        self.place(op)

    def amend(self, op: Op) -> None:
        self.cancel(op)
        self.place(op)


class Dictionary(_Peer):
    """No book at all: what it costs to keep orders by name."""

    def __init__(self) -> None:
        super().__init__()
        self._orders: dict[str, list[int]] = {}

    def place(self, op: Op) -> None:
        self._orders[op.name] = [op.account, op.instrument, op.lots, op.price_ticks]

    def cancel(self, op: Op) -> None:
        del self._orders[op.name]

    def take(self, op: Op) -> None:
        self.traded += abs(op.lots)
        for name, _, left in op.makers:
            if left:
                self._orders[name][2] = left
            else:
                del self._orders[name]

    def amend(self, op: Op) -> None:
        order = self._orders[op.name]
        order[2], order[3] = op.lots, op.price_ticks


class _Allows:
    """The gate of the twin: it lets everything pass."""

    def __init__(self, told: Twin) -> None:
        self.told = told

    def held(self, account: int, instrument: int) -> int:  # noqa: ARG002
        return 0

    def delta_nano(self, instrument: int) -> int:  # noqa: ARG002
        return 0

    def admit(self, order: PlainOrder) -> bool:  # noqa: ARG002
        return True

    def fill(
        self, buy: PlainOrder, sell: PlainOrder, *, lots: int, price_ticks: int,  # noqa: ARG002
        aggressor: str | None, events: list[Row],  # noqa: ARG002
    ) -> str:  # fmt: skip
        self.told.traded += lots
        return "done"


class Twin:
    """The naive desk of `solvent.verify`: one list of all orders."""

    def __init__(self, instruments: int, opening: Sequence[Op]) -> None:
        self.traded = 0
        self._gate = _Allows(self)
        desk = self._desk = PlainDesk()
        for instrument in range(instruments):
            desk.open_book(instrument, PlainTerms())
        # To place them would take an hour.
        for op in opening:
            order = _plain(op)
            desk.rank += 1
            order.rank = desk.rank
            order.show()
            desk.resting.append(order)

    def run(self, ops: Sequence[Op]) -> None:
        desk, gate = self._desk, self._gate
        for op in ops:
            events: list[Row] = []
            if op.kind == AMEND:
                price = op.price_ticks if op.total is None else None
                desk.accept_amend(
                    op.account, op.name, lots=op.total, price_ticks=price, time_ms=1, gate=gate
                )
                desk.amend(op.account, op.name, lots=op.total, price_ticks=price, time_ms=1,
                           gate=gate, events=events)  # fmt: skip
            elif op.kind == CANCEL:
                desk.cancel(op.account, op.name, why="cancelled", time_ms=1, events=events)
            else:
                order = _plain(op)
                desk.accept(order, time_ms=1, gate=gate)
                desk.enter(order, time_ms=1, gate=gate, events=events)


def _plain(op: Op) -> PlainOrder:
    return PlainOrder(
        account=op.account, name=op.name, instrument=op.instrument, lots=op.lots,
        price_ticks=op.price_ticks,
    )  # fmt: skip


class LightMatchingEngine(_Peer):
    def __init__(self, instruments: int) -> None:  # noqa: ARG002
        super().__init__()
        self._engine = import_module("lightmatchingengine.lightmatchingengine")
        self._all = self._engine.LightMatchingEngine()
        self._ids: dict[str, int] = {}

    def place(self, op: Op) -> None:
        lots = op.lots
        side = 1 if lots > 0 else 2
        order, trades = self._all.add_order(op.instrument, op.price_ticks, abs(lots), side)
        self._ids[op.name] = order.order_id
        if trades:
            self.traded += order.cum_qty

    def cancel(self, op: Op) -> None:
        self._all.cancel_order(self._ids.pop(op.name), op.instrument)


class PyOrderBook(_Peer):
    def __init__(self, instruments: int) -> None:
        super().__init__()
        package = import_module("pyorderbook")
        logging.getLogger().setLevel(logging.WARNING)  # importing it makes all of them louder
        self._book = package.Book()
        self._bid, self._ask = package.bid, package.ask
        self._symbols = [f"{number}" for number in range(instruments)]
        self._orders: dict[str, Any] = {}

    def place(self, op: Op) -> None:
        make = self._bid if op.lots > 0 else self._ask
        order = make(self._symbols[op.instrument], op.price_ticks, abs(op.lots))
        self._orders[op.name] = order
        for trade in self._book.match(order).trades:
            self.traded += trade.fill_quantity

    def cancel(self, op: Op) -> None:
        self._book.cancel(self._orders.pop(op.name))


class FastLob(_Peer):
    """Its thread that looks for expired orders, one a book, is left out."""

    def __init__(self, instruments: int) -> None:
        super().__init__()
        package = import_module("fastlob")
        self._params, side = package.OrderParams, package.OrderSide
        self._bid, self._ask = side.BID, side.ASK
        self._books = [package.Orderbook(f"{number}") for number in range(instruments)]
        for book in self._books:
            book._alive = True
        self._ids: dict[str, str] = {}

    def place(self, op: Op) -> None:
        self._ids[op.name] = self._told(op).orderid()

    def take(self, op: Op) -> None:
        self.traded += int(sum(self._told(op).execprices().values()))

    def _told(self, op: Op) -> Any:
        side = self._bid if op.lots > 0 else self._ask
        return self._books[op.instrument](self._params(side, op.price_ticks, abs(op.lots)))

    def cancel(self, op: Op) -> None:
        self._books[op.instrument].cancel(self._ids.pop(op.name))

    def amend(self, op: Op) -> None:
        if op.total is None:
            super().amend(op)
        else:
            self._books[op.instrument].update(self._ids[op.name], abs(op.lots))


class OrderMatching(_Peer):
    def __init__(self, instruments: int) -> None:
        super().__init__()
        import_module("loguru").logger.remove()
        engine = import_module("order_matching.matching_engine").MatchingEngine
        self._limit = import_module("order_matching.order").LimitOrder
        self._orders = import_module("order_matching.orders").Orders
        side = import_module("order_matching.enums").Side
        self._buy, self._sell = side.BUY, side.SELL
        self._engines = [engine(seed=number) for number in range(instruments)]
        self._now, self._later = datetime(2026, 1, 1), timedelta(microseconds=1)  # noqa: DTZ001

    def place(self, op: Op) -> None:
        self._now += self._later
        side = self._buy if op.lots > 0 else self._sell
        order = self._limit(
            side=side, price=op.price_ticks, size=abs(op.lots), timestamp=self._now,
            order_id=op.name, trader_id="x",
        )  # fmt: skip
        engine = self._engines[op.instrument]
        engine.place(self._orders([order]))
        for trade in engine.match(timestamp=self._now).trades:
            self.traded += int(trade.size)

    def cancel(self, op: Op) -> None:
        self._engines[op.instrument].cancel_order(op.name)


class NautilusBook(_Peer):
    def __init__(self, instruments: int) -> None:
        super().__init__()
        enums = import_module("nautilus_trader.model.enums")
        objects = import_module("nautilus_trader.model.objects")
        name = import_module("nautilus_trader.model.identifiers").InstrumentId.from_str
        book = import_module("nautilus_trader.model.book").OrderBook
        self._order = import_module("nautilus_trader.model.data").BookOrder
        self._price, self._size = objects.Price, objects.Quantity
        self._buy, self._sell = enums.OrderSide.BUY, enums.OrderSide.SELL
        self._books = [book(name(f"{n}.X"), enums.BookType.L3_MBO) for n in range(instruments)]
        self._orders: dict[str, Any] = {}

    def _made(self, name: str, lots: int, price_ticks: int) -> Any:
        side = self._buy if lots > 0 else self._sell
        return self._order(side, self._price(price_ticks, 0), self._size(abs(lots), 0), int(name))

    def place(self, op: Op) -> None:
        order = self._orders[op.name] = self._made(op.name, op.lots, op.price_ticks)
        self._books[op.instrument].add(order, 0)

    def cancel(self, op: Op) -> None:
        self._books[op.instrument].delete(self._orders.pop(op.name), 0)

    def amend(self, op: Op) -> None:
        order = self._orders[op.name] = self._made(op.name, op.lots, op.price_ticks)
        self._books[op.instrument].update(order, 0)

    def take(self, op: Op) -> None:
        book = self._books[op.instrument]
        self.traded += abs(op.lots)
        for name, price_ticks, left in op.makers:
            if left:
                order = self._orders[name] = self._made(name, left, price_ticks)
                book.update(order, 0)
            else:
                book.delete(self._orders.pop(name), 0)


class NautilusEngine(_Peer):
    def __init__(self, instruments: int) -> None:
        super().__init__()
        self._names = import_module("nautilus_trader.model.identifiers")
        self._objects = import_module("nautilus_trader.model.objects")
        self._made = import_module("nautilus_trader.model.orders")
        self._told = import_module("nautilus_trader.execution.messages")
        self._submitted = import_module("nautilus_trader.model.events").OrderSubmitted
        self._key = import_module("nautilus_trader.core.uuid").UUID4
        side = import_module("nautilus_trader.model.enums").OrderSide
        self._buy, self._sell = side.BUY, side.SELL
        names = self._names
        self._trader, self._strategy = names.TraderId("T-1"), names.StrategyId("S-1")
        self._account = names.AccountId("X-1")
        self._symbols = [names.InstrumentId.from_str(f"A{n}.X") for n in range(instruments)]
        self._orders: dict[Any, Any] = {}
        self._engines = self._opened()

    def _opened(self) -> list[Any]:
        """An engine for each instrument, and a market so far away that no order meets it unless it
        takes any price."""
        enums = import_module("nautilus_trader.model.enums")
        common = import_module("nautilus_trader.common.component")
        models = import_module("nautilus_trader.backtest.models")
        content = import_module("nautilus_trader.model.data")
        clock = common.TestClock()
        bus = common.MessageBus(self._trader, clock)
        bus.register("ExecEngine.process", self._heard)
        cache = import_module("nautilus_trader.cache.cache").Cache()
        make = import_module("nautilus_trader.backtest.engine").OrderMatchingEngine
        found = []
        for number, symbol in enumerate(self._symbols):
            engine = make(
                self._listed(symbol), number + 1, models.FillModel(), models.MakerTakerFeeModel(),
                enums.BookType.L2_MBP, enums.OmsType.NETTING, enums.AccountType.MARGIN, bus, cache,
                clock, support_contingent_orders=False, use_position_ids=False,
            )  # fmt: skip
            for side, price_ticks in ((self._buy, 1), (self._sell, _FAR_TICKS)):
                far = content.BookOrder(side, self._price(price_ticks), self._size(_MUCH), 1)
                engine.process_order_book_delta(
                    content.OrderBookDelta(symbol, enums.BookAction.ADD, far, 0, 0, 0, 0)
                )
            found.append(engine)
        return found

    def _listed(self, symbol: Any) -> Any:
        coins = import_module("nautilus_trader.model.currencies")
        make = import_module("nautilus_trader.model.instruments").CryptoPerpetual
        return make(
            instrument_id=symbol, raw_symbol=symbol.symbol, base_currency=coins.BTC,
            quote_currency=coins.USDT, settlement_currency=coins.USDT, is_inverse=False,
            price_precision=0, size_precision=0, price_increment=self._price(1),
            size_increment=self._size(1), ts_event=0, ts_init=0,
        )  # fmt: skip

    def _price(self, price_ticks: int) -> Any:
        return self._objects.Price(price_ticks, 0)

    def _size(self, lots: int) -> Any:
        return self._objects.Quantity(abs(lots), 0)

    def _heard(self, event: Any) -> None:
        order = self._orders[event.client_order_id]
        order.apply(event)
        if order.is_closed:
            del self._orders[event.client_order_id]

    def _send(self, op: Op, kind: Any, *price: Any) -> None:
        symbol, name = self._symbols[op.instrument], self._names.ClientOrderId(op.name)
        whose = self._trader, self._strategy, symbol, name
        side = self._buy if op.lots > 0 else self._sell
        order = kind(*whose, side, self._size(op.lots), *price, self._key(), 0)
        order.apply(self._submitted(*whose, self._account, self._key(), 0, 0))
        self._orders[name] = order
        self._engines[op.instrument].process_order(order, self._account)

    def place(self, op: Op) -> None:
        self._send(op, self._made.LimitOrder, self._price(op.price_ticks))

    def take(self, op: Op) -> None:
        """Met by the market from outside; who is met here goes as if it had been cancelled."""
        self._send(op, self._made.MarketOrder)
        self.traded += abs(op.lots)
        for name, price_ticks, left in op.makers:
            if left:
                self.amend(Op(AMEND, 0, name, op.instrument, left, price_ticks))
            else:
                self.cancel(Op(CANCEL, 0, name, op.instrument))

    def cancel(self, op: Op) -> None:
        symbol, name = self._symbols[op.instrument], self._names.ClientOrderId(op.name)
        self._engines[op.instrument].process_cancel(
            self._told.CancelOrder(
                self._trader, self._strategy, symbol, name, None, self._key(), 0
            ),
            self._account,
        )  # fmt: skip

    def amend(self, op: Op) -> None:
        symbol, name = self._symbols[op.instrument], self._names.ClientOrderId(op.name)
        self._engines[op.instrument].process_modify(
            self._told.ModifyOrder(
                self._trader, self._strategy, symbol, name, None, self._size(op.lots),
                self._price(op.price_ticks), None, self._key(), 0,
            ),
            self._account,
        )  # fmt: skip


class Peer(NamedTuple):
    """A package, what of it, how it is made for so many instruments, and operations a turn."""

    package: str
    what: str
    make: Callable[[int], Way]
    turn: int
    matches: bool = True
    """Its orders trade with each other."""


PEERS: Final = (
    Peer("lightmatchingengine", "", LightMatchingEngine, 20_000),
    Peer("pyorderbook", "", PyOrderBook, 10_000),
    Peer("fastlob", "", FastLob, 4_000),
    Peer("order-matching", "", OrderMatching, 400),
    Peer("nautilus_trader", ", matching engine", NautilusEngine, 4_000, matches=False),
    Peer("nautilus_trader", ", book that matches nothing", NautilusBook, 20_000, matches=False),
)


def installed() -> dict[str, Peer]:
    """Peers that are here, by name and version."""
    found = {}
    for peer in PEERS:
        try:
            found[f"{peer.package} {version(peer.package)}{peer.what}"] = peer
        except PackageNotFoundError:
            continue
    return found
