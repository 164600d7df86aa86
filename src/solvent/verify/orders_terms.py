"""What the twin of the order desk works with, and what can be said of one order by itself.

Enters: orders, terms of books, reference prices, times. Leaves: `Refused`, or plain answers.
Lots are signed, positive to buy; prices are whole ticks, marks and stops points (`points_per_tick`
of them are a tick), times milliseconds since 1970 UTC. Words are plain text: `gtc`, `buy`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol

from solvent.errors import Refused, Reject
from solvent.limits import ICEBERG_PARTS_MAX, LOTS_MAX

Row = list[Any]
"""An event as it is stored: its kind, then its fields."""
ORDERS_MAX: Final = 10_000
"""Orders of an account that rest or wait."""
PPM: Final = 1_000_000
CONTINUOUS: Final = "continuous"
AUCTION: Final = "auction"
HALTED: Final = "halted"


class PlainStop(NamedTuple):
    """What sets a stop off: its price has risen, or fallen, to a number of points."""

    trigger: str
    price: int
    rises: bool


@dataclass(slots=True, kw_only=True, eq=False)
class PlainOrder:
    """What an account asks for.

    `lots` are what is left, signed; `shown` of them, without sign, what all can see; `filled` what
    was traded, without sign. `price_ticks` is None of a market order. `display` 0 shows all,
    `expire_ms` 0 is never. Of two orders at a price the lower `rank` trades first.
    """

    account: int
    name: str
    instrument: int
    lots: int
    price_ticks: int | None = None
    time_in_force: str = "gtc"
    expire_ms: int = 0
    post_only: bool = False
    reduce_only: bool = False
    display: int = 0
    self_trade: str = "newest"
    group: str = ""
    session: str = ""
    stop: PlainStop | None = None
    shown: int = 0
    filled: int = 0
    rank: int = 0

    @property
    def buys(self) -> bool:
        """Whether it buys."""
        return self.lots > 0

    @property
    def side(self) -> str:
        """Its side in a word."""
        return "buy" if self.lots > 0 else "sell"

    @property
    def price(self) -> int:
        """Its price, which all have that rest."""
        if self.price_ticks is None:
            raise ValueError(f"{self.said()} has no price")
        return self.price_ticks

    @property
    def may_wait(self) -> bool:
        """Whether what does not trade at once comes to rest."""
        return self.time_in_force in ("gtc", "gtd")

    def over(self, time_ms: int) -> bool:
        """Whether its date has come."""
        return 0 < self.expire_ms <= time_ms

    @property
    def parts(self) -> int:
        """In how many parts it would show itself."""
        return -(-abs(self.lots) // self.display) if self.display else 1

    def lose(self, lots: int) -> None:
        """So many lots, without sign, go."""
        self.lots -= lots if self.lots > 0 else -lots

    def show(self) -> None:
        """Show as many lots as it may."""
        self.shown = min(self.display or abs(self.lots), abs(self.lots))

    def said(self) -> str:
        """Whose order it is."""
        return f"order {self.name!r} of account {self.account}"


@dataclass(slots=True, kw_only=True)
class PlainTerms:
    """What a book takes: `band_ppm` None is no band, `expiry_ms` None is never."""

    price_step: int = 1
    lots_step: int = 1
    lots_min: int = 1
    lots_max: int = LOTS_MAX
    signed: bool = False
    band_ppm: int | None = None
    matching: bool = True
    expiry_ms: int | None = None
    points_per_tick: int = 1


@dataclass(slots=True)
class PlainBook:
    """One instrument: its terms, how it trades, and the prices that are known."""

    terms: PlainTerms
    phase: str = CONTINUOUS
    mark_points: int | None = None
    index_nano: int | None = None
    last_ticks: int | None = None

    @property
    def matches(self) -> bool:
        """Whether orders meet in it now."""
        return self.phase == CONTINUOUS and self.terms.matching


@dataclass(slots=True, kw_only=True)
class PlainGroup:
    """A protected group of orders; `notes` are its fills: time, lots, signed delta."""

    window_ms: int
    frozen_ms: int
    lots: int | None
    delta_nano: int | None
    tripped: bool = False
    until_ms: int = 0
    notes: list[tuple[int, int, int]] = field(default_factory=list)

    def frozen(self, time_ms: int) -> bool:
        """Whether its orders are refused now."""
        return self.tripped and (self.until_ms == 0 or time_ms < self.until_ms)


class PlainGate(Protocol):
    """Who knows positions and money."""

    def held(self, account: int, instrument: int) -> int:
        """Lots that an account holds now, signed."""

    def delta_nano(self, instrument: int) -> int:
        """Billionths of a coin that hedge one lot bought, signed."""

    def admit(self, order: PlainOrder) -> bool:
        """Whether the account may have an order whose stop was triggered."""

    def fill(
        self, buy: PlainOrder, sell: PlainOrder, *, lots: int, price_ticks: int,
        aggressor: str | None, events: list[Row],
    ) -> str:  # fmt: skip
        """Trade: `done`, or who cannot bear it: `buyer` or `seller`."""


# ── prices ───────────────────────────────────────────────────────────────────────────────────────


def worst_ticks(order: PlainOrder, book: PlainBook) -> int | None:
    """The worst price that an order takes; None for any.

    A market order goes to the edge of the band: bought down to a whole tick, sold up to one.

    >>> book = PlainBook(PlainTerms(band_ppm=100_000, points_per_tick=10), mark_points=1_003)
    >>> order = PlainOrder(account=1, name="a", instrument=1, lots=1)
    >>> worst_ticks(order, book)  # 1,003 points and a tenth are 1,103.3, or 110.33 ticks
    110
    >>> order.lots = -1
    >>> worst_ticks(order, book)  # 902.7 points
    91
    """
    if order.price_ticks is not None:
        return order.price_ticks
    terms, mark = book.terms, book.mark_points
    if terms.band_ppm is None or mark is None or terms.signed:
        return None
    tick = terms.points_per_tick * PPM
    if order.buys:
        return mark * (PPM + terms.band_ppm) // tick
    return -(-mark * (PPM - terms.band_ppm) // tick)


def holds(stop: PlainStop, book: PlainBook) -> bool:
    """Whether what a stop waits for is so.

    >>> book = PlainBook(PlainTerms(points_per_tick=10), last_ticks=7)
    >>> holds(PlainStop("last", 70, rises=True), book)
    True
    >>> holds(PlainStop("last", 69, rises=False), book)
    False
    >>> holds(PlainStop("mark", 1, rises=True), book)
    False
    """
    price: int | None
    if stop.trigger == "mark":
        price = book.mark_points
    elif stop.trigger == "index":
        price = book.index_nano
    elif book.last_ticks is None:
        price = None
    else:
        price = book.last_ticks * book.terms.points_per_tick
    if price is None:
        return False
    return price >= stop.price if stop.rises else price <= stop.price


# ── refusals that look at nothing but the order and its book ─────────────────────────────────────


def refuse_phase(order: PlainOrder, book: PlainBook, time_ms: int) -> None:
    """Nothing is placed or amended while trading is halted or after the end."""
    if book.phase == HALTED:
        raise Refused(Reject.INSTRUMENT_HALTED, f"{order.said()}: {order.instrument} is halted")
    if book.terms.expiry_ms is not None and book.terms.expiry_ms <= time_ms:
        raise Refused(Reject.INSTRUMENT_EXPIRED, f"{order.said()}: {order.instrument} is over")


def refuse_terms(order: PlainOrder, terms: PlainTerms, time_ms: int) -> None:
    """Terms that do not go together, and a date that has passed."""
    market = order.price_ticks is None
    plain = not (market or order.stop or order.post_only or order.display)
    wrong = {
        "a market order does not wait": market and order.may_wait,
        "a market order neither waits nor shows": market and (order.post_only or order.display > 0),
        "what may not wait is not shown": not order.may_wait
        and (order.post_only or order.display > 0),
        "a date and good till it go together": (order.time_in_force == "gtd")
        != (order.expire_ms > 0),
        "no more is shown than there is": order.display > abs(order.lots),
        "it is shown in at most a thousand parts": order.parts > ICEBERG_PARTS_MAX,
        "what is shown is of whole steps": order.display % terms.lots_step != 0,
        "an order is for some lots": order.lots == 0,
        "where nothing matches orders are plain": not terms.matching
        and not (plain and order.may_wait),
    }
    for rule, broken in wrong.items():
        if broken:
            raise Refused(Reject.ORDER_TERMS_INVALID, f"{order.said()}: {rule}")
    if order.over(time_ms):
        raise Refused(Reject.ORDER_EXPIRED, f"{order.said()}: its date is {order.expire_ms}")


def refuse_steps(
    order: PlainOrder, terms: PlainTerms, *, price_ticks: int | None, lots: int | None
) -> None:
    """Prices and lots of whole steps and of a size that the book takes; None is not told."""
    if price_ticks is not None:
        if price_ticks <= 0 and not terms.signed:
            raise Refused(Reject.PRICE_NOT_POSITIVE, f"{order.said()}: found {price_ticks}")
        if price_ticks % terms.price_step:
            raise Refused(Reject.PRICE_OFF_STEP, f"{order.said()}: found {price_ticks}")
    if lots is not None:
        if lots % terms.lots_step:
            raise Refused(Reject.LOTS_OFF_STEP, f"{order.said()}: found {lots} lots")
        if lots < terms.lots_min:
            raise Refused(Reject.ORDER_TOO_SMALL, f"{order.said()}: found {lots} lots")
        if lots > terms.lots_max:
            raise Refused(Reject.ORDER_TOO_LARGE, f"{order.said()}: found {lots} lots")


def refuse_band(order: PlainOrder, book: PlainBook) -> None:
    """A price too far on the losing side of the mark."""
    terms, mark = book.terms, book.mark_points
    if order.price_ticks is None or terms.band_ppm is None or mark is None or terms.signed:
        return
    points_ppm = order.price_ticks * terms.points_per_tick * PPM
    if (
        points_ppm > mark * (PPM + terms.band_ppm)
        if order.buys
        else points_ppm < mark * (PPM - terms.band_ppm)
    ):
        raise Refused(Reject.PRICE_OUT_OF_BAND, f"{order.said()}: {order.price_ticks}, mark {mark}")


# ── an auction's price ───────────────────────────────────────────────────────────────────────────


def auction_price(orders: list[PlainOrder], book: PlainBook) -> tuple[int, int] | None:
    """The price at which most lots trade, and how many; None if none do.

    >>> def limit(lots, price):
    ...     return PlainOrder(account=1, name="", instrument=1, lots=lots, price_ticks=price)
    >>> auction_price([limit(5, 10), limit(-3, 8), limit(-4, 9)], PlainBook(PlainTerms()))
    (9, 5)
    """
    rows: list[tuple[int, int, int]] = []
    for price in sorted({one.price for one in orders}):
        demand = sum(one.lots for one in orders if one.buys and one.price >= price)
        supply = -sum(one.lots for one in orders if not one.buys and one.price <= price)
        rows.append((price, demand, supply))
    most = max((min(demand, supply) for _, demand, supply in rows), default=0)
    if most == 0:
        return None
    rows = [row for row in rows if min(row[1], row[2]) == most]
    least = min(abs(demand - supply) for _, demand, supply in rows)
    rows = [row for row in rows if abs(row[1] - row[2]) == least]
    prices = [price for price, _, _ in rows]
    if all(demand > supply for _, demand, supply in rows):
        return max(prices), most
    if all(demand < supply for _, demand, supply in rows):
        return min(prices), most
    return _nearest(prices, book), most


def _nearest(prices: list[int], book: PlainBook) -> int:
    """Of some prices the one nearest the mark, or else the last trade, or else the lowest."""
    each, mark, last = book.terms.points_per_tick, book.mark_points, book.last_ticks
    if mark is not None:
        return min(prices, key=lambda price: (abs(price * each - mark), price))
    if last is not None:
        return min(prices, key=lambda price: (abs(price - last), price))
    return min(prices)
