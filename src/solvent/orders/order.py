"""Orders as the books know them, and what books ask of who knows money: the gate.

Lots are signed, positive to buy; prices are whole ticks of the book's instrument, times
milliseconds since 1970 UTC.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import TYPE_CHECKING, Protocol

from solvent.limits import LOTS_MAX
from solvent.messages.events import Event
from solvent.messages.fields import SelfTrade, Side, StopAt, TimeInForce

if TYPE_CHECKING:
    from solvent.orders.book import Level


class Why(StrEnum):
    """Why an order, or some lots of it, went."""

    FILLED = "filled"
    CANCELLED = "cancelled"
    AMENDED = "amended"
    EXPIRED = "expired"
    IMMEDIATE = "immediate"
    """An order that may not wait found nothing more."""
    SELF_TRADE = "self_trade"
    REDUCE_ONLY = "reduce_only"
    """It would have made the position larger."""
    MARGIN = "margin"
    """Its account could not bear the fill."""
    PROTECTION = "protection"
    DISCONNECTED = "disconnected"
    CLOSED = "closed"
    """Its instrument is over."""
    LIQUIDATION = "liquidation"
    RELIEF = "relief"
    """Taken back so that the account has its margin again."""


class Order:
    """What an account asks for.

    Attributes:
        lots: what is left, signed. shown: of it what all can see, without sign.
        filled: without sign. price_ticks: None of a market order.
        rank: its place in time: of two orders at one price the lower trades first.
        display: most lots to show at a time, 0 for all. expire_ms: 0 for never.
        group, session: empty for none. stop: while it waits for its trigger.
        level, before, after: its place in a book that keeps it, and its neighbours at its price.
    """

    __slots__ = (
        "account", "after", "before", "display", "expire_ms", "filled", "group", "instrument",
        "level", "lots", "name", "post_only", "price_ticks", "rank", "reduce_only", "self_trade",
        "session", "shown", "stop", "time_in_force",
    )  # fmt: skip
    level: Level

    def __init__(
        self,
        account: int,
        name: str,
        instrument: int,
        lots: int,
        price_ticks: int | None,
        *,
        time_in_force: TimeInForce = TimeInForce.GTC,
        expire_ms: int = 0,
        post_only: bool = False,
        reduce_only: bool = False,
        display: int = 0,
        self_trade: SelfTrade = SelfTrade.NEWEST,
        group: str = "",
        session: str = "",
        stop: StopAt | None = None,
    ) -> None:
        self.account = account
        self.name = name
        self.instrument = instrument
        self.lots = lots
        self.price_ticks = price_ticks
        self.time_in_force = time_in_force
        self.expire_ms = expire_ms
        self.post_only = post_only
        self.reduce_only = reduce_only
        self.display = display
        self.self_trade = self_trade
        self.group = group
        self.session = session
        self.stop = stop
        self.shown = 0
        self.filled = 0
        self.rank = 0
        self.before: Order | None = None
        self.after: Order | None = None


@dataclass(slots=True, kw_only=True)
class BookTerms:
    """What a book takes.

    Attributes:
        price_step, lots_step: prices and lots are multiples of these. lots_min, lots_max: of one
            order. signed: prices may be zero or negative, as of a combination.
        band_ppm: a buy may not be priced further above the mark than this share of it, a sale not
            further below; a market order goes no further. None for no band.
        matching: False where trades are made elsewhere: then orders only rest.
        expiry_ms: when the instrument ends, None for never. points_per_tick: of mark and stops.
    """

    price_step: int = 1
    lots_step: int = 1
    lots_min: int = 1
    lots_max: int = LOTS_MAX
    signed: bool = False
    band_ppm: int | None = None
    matching: bool = True
    expiry_ms: int | None = None
    points_per_tick: int = 1


class Verdict(Enum):
    """What the gate says of a fill."""

    DONE = 1
    BUYER = 2
    """The buyer cannot bear it; nothing was done."""
    SELLER = 3


class Gate(Protocol):
    """Who knows positions and money. The books ask, in the order of what happens."""

    def held(self, account: int, instrument: int) -> int:
        """Lots that an account holds now, signed: what a reduce-only order may close."""

    def delta_nano(self, instrument: int) -> int:
        """Billionths of a coin that hedge one lot bought, signed."""

    def admit(self, order: Order) -> bool:
        """Whether the account may have a stop order that has just been triggered."""

    def fill(
        self, buy: Order, sell: Order, *, lots: int, price_ticks: int, aggressor: Side | None,
        events: list[Event],
    ) -> Verdict:  # fmt: skip
        """Trade: both accounts' margin is checked, and money and positions move; or who cannot.

        When it is called neither order has been reduced by `lots` yet.
        """
