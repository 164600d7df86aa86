"""Every event that a command can bring about, as plain frozen rows.

Accounts, assets and contracts are told by number; `Numbered` says which name a number belongs to.
A `node` of the ledger is a number too: `solvent.account.ledger` tells how it is made up. Events
alone are enough to follow every balance and position.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from msgspec import Struct

Move: TypeAlias = tuple[int, int, int]
"""Source node, target node, amount in the asset's smallest unit."""


def _tag(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")


class Event(Struct, frozen=True, array_like=True, tag=_tag, gc=False):
    """What every event is: a row that begins with its kind."""


class Rejected(Event, frozen=True):
    """Nothing has changed. `code` is of `errors.Reject`; `detail` names whose, expected, found."""

    code: int
    detail: str


class Repeated(Event, frozen=True):
    """The request had been taken before, as command `sequence`; `code` is 0 if it was done."""

    sequence: int
    code: int


class Posted(Event, frozen=True):
    """Money moved. Nothing else moves money."""

    moves: tuple[Move, ...]


class Numbered(Event, frozen=True):
    """A name was given its number: of an `account`, `asset` or `instrument`."""

    kind: str
    name: str
    number: int


class Delisted(Event, frozen=True):
    """A contract is no longer traded."""

    instrument: int


class PhaseChanged(Event, frozen=True):
    """A contract trades in another way."""

    instrument: int
    phase: str


class RulebookAdopted(Event, frozen=True):
    """A rulebook is in force; `digest` is SHA-256 of its content."""

    name: str
    digest: str
    venue: bool


class RulebookAssigned(Event, frozen=True):
    """An account is margined by another rulebook."""

    account: int
    rulebook: str


class StatusChanged(Event, frozen=True):
    """An account is `open`, `frozen`, in `liquidation` or `closed`."""

    account: int
    status: str


class ModeChanged(Event, frozen=True):
    """How an account holds a contract; `margin_factor` is margin over entry value, empty if none
    was chosen."""

    account: int
    instrument: int
    isolated: bool
    margin_factor: str


class PendingChanged(Event, frozen=True):
    """Money under way: `announced`, `requested`, `confirmed` or `cancelled`."""

    reference: str
    status: str


class OrderRested(Event, frozen=True):
    """An order waits in the book, behind all others at its price. `lots` are positive to buy, as
    are those `shown` to all."""

    account: int
    order: str
    instrument: int
    lots: int
    price_ticks: int
    shown: int


class OrderReduced(Event, frozen=True):
    """An order in the book was filled, amended or taken back: what is left of it, and why."""

    account: int
    order: str
    lots: int
    shown: int
    why: str


class OrderEnded(Event, frozen=True):
    """An order is over without having come to rest; `lots` of it did not trade."""

    account: int
    order: str
    lots: int
    why: str


class StopPlaced(Event, frozen=True):
    """A stop order waits for its trigger."""

    account: int
    order: str
    instrument: int


class StopTriggered(Event, frozen=True):
    """A stop order has become an order."""

    account: int
    order: str


class StopCancelled(Event, frozen=True):
    """A stop order is over before its trigger."""

    account: int
    order: str
    why: str


class Traded(Event, frozen=True):
    """Two orders met. `aggressor` is the side that came last, empty in an auction."""

    instrument: int
    price_ticks: int
    lots: int
    buyer: int
    buy_order: str
    seller: int
    sell_order: str
    aggressor: str


class Uncrossed(Event, frozen=True):
    """An auction has ended at one price."""

    instrument: int
    price_ticks: int
    lots: int


class ProtectionSet(Event, frozen=True):
    """A group of orders is protected, or may quote again."""

    account: int
    group: str


class ProtectionTripped(Event, frozen=True):
    """A group's fills went beyond its limits; it may quote again from a time, 0: when reset."""

    account: int
    group: str
    until_ms: int


class BlockReported(Event, frozen=True):
    """One side of a block is known; `status` is `reported`, `done` or `withdrawn`."""

    reference: str
    account: int
    status: str


class PositionChanged(Event, frozen=True):
    """A position is now this. Values are in the contract's value units; `realised` is money that
    this change brought, in the settlement asset's smallest unit."""

    account: int
    instrument: int
    lots: int
    entry_value: int
    basis_value: int
    realised: int


class FeePaid(Event, frozen=True):
    """One component of a fee; a rebate is negative."""

    account: int
    component: str
    amount: int


class MarketPublished(Event, frozen=True):
    """How many prices the market holds now."""

    index: int
    marks: int


class ArraysPublished(Event, frozen=True):
    """A rulebook has new risk arrays, as of a time."""

    rulebook: str
    as_of_ms: int


class FundingPaid(Event, frozen=True):
    """Funding up to a time. `payment` is what a long of one unit of size pays, in quote currency,
    as a fraction; so are the averages behind it, empty where a rate was told."""

    instrument: int
    until_ms: int
    payment: str
    future_average: str
    index_average: str
    paid: int
    received: int


class VariationSettled(Event, frozen=True):
    """Gains and losses up to the mark were paid; `uncollected` is what winners did not get."""

    instrument: int
    mark_points: int
    paid: int
    received: int
    uncollected: int


class ExpirySettled(Event, frozen=True):
    """A contract is over. `price` is the settlement price of the underlying, as a fraction."""

    instrument: int
    price: str
    paid: int
    received: int


class InterestAccrued(Event, frozen=True):
    """Debts in an asset were charged up to a time."""

    asset: int
    until_ms: int
    charged: int


class LiquidationBegun(Event, frozen=True):
    """An account could not pay: its equity and maintenance margin in millionths of a dollar."""

    account: int
    equity_micro: int
    maintenance_micro: int


class MarginCalled(Event, frozen=True):
    """An account has come nearer to liquidation: level 1 of the rulebook's is the farthest.

    It is about what is nearest of all that the account has: the isolated contract `instrument`, or
    (−1) what it holds together. The last level is a margin call: `call_micro` millionths of a
    dollar are wanted by `deadline_ms`, most cheaply as `amount` of `asset`. A warning wants
    nothing.
    """

    account: int
    level: int
    call_micro: int
    asset: str
    amount: int
    deadline_ms: int
    instrument: int = -1


class CallEnded(Event, frozen=True):
    """A call was `met`, a warning `lifted`; or a call is `unmet` at its deadline, and stays."""

    account: int
    how: str


class InputsSet(Event, frozen=True):
    """Numbers that were brought for an account's rulebook, all that hold from now on, and why."""

    account: int
    inputs: dict[str, str]
    reason: str


class BackstopSet(Event, frozen=True):
    """How much notional a backstop account may take on, in millionths of a dollar."""

    account: int
    cap_micro: int


class CollateralConverted(Event, frozen=True):
    """The insurance fund has bought collateral with another asset."""

    account: int
    asset: int
    amount: int
    into: int
    into_amount: int


class AuctionStarted(Event, frozen=True):
    """An account is offered to all. `share_ppb` is what may be sold of it at full value."""

    account: int
    solvent: bool
    share_ppb: int
    fee: int


class AuctionBid(Event, frozen=True):
    """A bidder has taken a share of an account; `paid` is negative where it was paid for that."""

    account: int
    bidder: int
    share_ppb: int
    paid: int
    asset: int


class AuctionEnded(Event, frozen=True):
    """An offer is over: `sold`, `well`, `ended` where its time was over, or `taken_back`."""

    account: int
    how: str


class Ported(Event, frozen=True):
    """A client has another member."""

    account: int
    member: int


class Imported(Event, frozen=True):
    """How much was taken over from another system."""

    balances: int
    positions: int


AnyEvent: TypeAlias = (
    Rejected | Repeated | Posted | Numbered | Delisted | PhaseChanged | RulebookAdopted
    | RulebookAssigned | StatusChanged | ModeChanged | PendingChanged | OrderRested | OrderReduced
    | OrderEnded | StopPlaced | StopTriggered | StopCancelled | Traded | Uncrossed
    | ProtectionSet | ProtectionTripped | BlockReported | PositionChanged | FeePaid
    | MarketPublished | ArraysPublished | FundingPaid
    | VariationSettled | ExpirySettled | InterestAccrued | LiquidationBegun | Imported
    | MarginCalled | CallEnded | BackstopSet | CollateralConverted | AuctionStarted
    | AuctionBid | AuctionEnded | Ported | InputsSet
)  # fmt: skip
EVENTS: Final[tuple[type[Event], ...]] = AnyEvent.__args__
"""Every kind of event."""
