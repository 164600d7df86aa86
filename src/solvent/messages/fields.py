"""What fields of commands may hold, and what every command carries."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct

from solvent.limits import LOTS_MAX, MONEY_MAX, POINTS_MAX, TIME_MS_MAX

NewName = Annotated[
    str, Meta(min_length=1, max_length=64, pattern=r"\A[A-Za-z0-9][A-Za-z0-9._:@/+-]*\Z")
]
"""A name as it is given; where it is only looked up, any short text will do."""
Name = Annotated[str, Meta(min_length=1, max_length=64)]
Text = Annotated[str, Meta(max_length=1 << 20)]
Amount = Annotated[int, Meta(ge=1, le=MONEY_MAX)]
Lots = Annotated[int, Meta(ge=1, le=LOTS_MAX)]
PriceTicks = Annotated[int, Meta(ge=1, le=POINTS_MAX)]
OrderTicks = Annotated[int, Meta(ge=-POINTS_MAX, le=POINTS_MAX)]
"""A price as an order tells it: of a combination of contracts it may be zero or negative."""
Points = Annotated[int, Meta(ge=0, le=POINTS_MAX)]
TimeMs = Annotated[int, Meta(ge=0, le=TIME_MS_MAX)]
Decimals = Annotated[int, Meta(ge=0, le=12)]
Number = Annotated[str, Meta(min_length=1, max_length=40, pattern=r"\A-?[0-9]+(\.[0-9]+)?\Z")]
"""A decimal in plain ASCII digits, without an exponent."""
RatePpm = Annotated[int, Meta(ge=0, le=1_000_000)]


def _tag(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")


class Command(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="do", tag=_tag,
    gc=False,
):  # fmt: skip
    """What every command carries."""

    key: Name
    actor: Name


# ── parts of commands ────────────────────────────────────────────────────────────────────────────


class TermText(Struct, frozen=True, forbid_unknown_fields=True, array_like=True):
    """One elementary payoff of a structure: `call`, `put`, `above` or `below` a strike."""

    payoff: Name
    strike: Number
    weight: Number


class Phase(StrEnum):
    """How a contract trades just now."""

    CONTINUOUS = "continuous"
    AUCTION = "auction"
    HALTED = "halted"


class AccountKind(StrEnum):
    """Who an account is."""

    USER = "user"
    MEMBER = "member"
    """A clearing member: it contributes to the default fund."""
    BACKSTOP = "backstop"
    """It takes positions over from accounts that cannot pay, up to a cap (`SetBackstop`)."""


class MarginMode(StrEnum):
    """Whether a contract is margined with all others or by itself."""

    CROSS = "cross"
    ISOLATED = "isolated"


class Side(StrEnum):
    """Which side of a trade."""

    BUY = "buy"
    SELL = "sell"


class TimeInForce(StrEnum):
    """How long an order waits for what does not trade at once."""

    GTC = "gtc"
    """Good till cancelled."""
    GTD = "gtd"
    """Good till its date."""
    IOC = "ioc"
    """Immediate or cancel."""
    FOK = "fok"
    """Fill or kill: all of it at once, or nothing."""


class SelfTrade(StrEnum):
    """What is taken back when an order meets one of its own account: it never trades with it."""

    NEWEST = "newest"
    OLDEST = "oldest"
    BOTH = "both"
    DECREMENT = "decrement"
    """As many lots of both as would have traded."""


class Trigger(StrEnum):
    """Which price sets a stop off."""

    MARK = "mark"
    INDEX = "index"
    LAST = "last"


class StopAt(Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """When a stop order becomes an order: once its price `rises` to `price`, or falls to it.

    In points of the contract; of an index in billionths of a dollar.
    """

    trigger: Trigger
    price: Annotated[int, Meta(ge=1, le=MONEY_MAX)]
    rises: bool


class ComboLeg(Struct, frozen=True, forbid_unknown_fields=True, array_like=True, gc=False):
    """One contract of a combination, and how many lots of it one lot buys (negative: sells)."""

    symbol: Name
    ratio: Annotated[int, Meta(ge=-1_000, le=1_000)]


class IndexPrice(Struct, frozen=True, forbid_unknown_fields=True, array_like=True, gc=False):
    """Fair price of an underlying in billionths of a dollar, and how old it is."""

    underlying: Name
    price_nano: Annotated[int, Meta(ge=1, le=MONEY_MAX)]
    age_ms: TimeMs


class MarkPrice(Struct, frozen=True, forbid_unknown_fields=True, array_like=True, gc=False):
    """Fair price of a contract in points, and how old it is."""

    symbol: Name
    mark_points: Points
    age_ms: TimeMs


class CoverFrom(StrEnum):
    """Whose money makes a debt good."""

    INSURANCE = "insurance"
    VENUE = "venue"
    MEMBER = "member"
    MARKET = "market"
    """The part of the insurance fund that stands for one contract alone."""


class Share(Struct, frozen=True, forbid_unknown_fields=True, array_like=True, gc=False):
    """What one winner gives up."""

    account: Name
    amount: Amount


class OpeningPosition(Struct, frozen=True, forbid_unknown_fields=True, array_like=True, gc=False):
    """A position as another system kept it; long positive. Its entry price is in points."""

    account: Name
    symbol: Name
    lots: Annotated[int, Meta(ge=-LOTS_MAX, le=LOTS_MAX)]
    entry_points: Points


class OpeningBalance(Struct, frozen=True, forbid_unknown_fields=True, array_like=True, gc=False):
    """Money as another system kept it; a debt is negative. With a `symbol` it is the margin of that
    contract, or what is reserved `for_orders` in it."""

    account: Name
    asset: Name
    amount: Annotated[int, Meta(ge=-MONEY_MAX, le=MONEY_MAX)]
    symbol: Name | None = None
    for_orders: bool = False
