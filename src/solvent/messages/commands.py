"""Every command that the engine knows. A closed set: what is not here cannot happen.

Amounts are whole smallest units of their asset, `lots` whole lots, `price_ticks` whole ticks,
`points` the finer unit of marks (`ListInstrument.points_per_tick` of them are a tick), times are
milliseconds since 1970 UTC. Numbers that are no amounts (lot sizes, rates) are decimals in text, so
that none is ever rounded on the way. Nothing has a default that is money.

Each carries the `actor` who asks and a `key` by which a repeat of the same request is known;
sequence and time come when it is sealed (`codec.Sealed`).
"""

from __future__ import annotations

from typing import Annotated, Final, TypeAlias

from msgspec import Meta, field

from solvent.limits import INPUTS_MAX, MONEY_MAX
from solvent.messages.fields import (
    AccountKind,
    Amount,
    Command,
    Decimals,
    IndexPrice,
    Lots,
    MarginMode,
    MarkPrice,
    Name,
    NewName,
    Number,
    OpeningBalance,
    OpeningPosition,
    Phase,
    PriceTicks,
    Side,
    TermText,
    Text,
    TimeMs,
)
from solvent.messages.liquidation_commands import (
    BeginLiquidation,
    BidInAuction,
    Confiscate,
    ConvertCollateral,
    CoverDebt,
    Deleverage,
    EndAuction,
    EndLiquidation,
    FundMarket,
    Liquidate,
    LiquidateInBook,
    PortAccount,
    ReviewMargin,
    SetBackstop,
    SocialiseLoss,
    StartAuction,
    TakeOver,
)
from solvent.messages.order_commands import (
    AmendOrder,
    CancelOrder,
    CancelOrders,
    Disconnect,
    ListCombo,
    PlaceOrder,
    RelieveMargin,
    ReportBlock,
    ResetProtection,
    SetProtection,
    WithdrawBlock,
)

# ── what there is to trade, and by which rules ───────────────────────────────────────────────────


class ListAsset(Command, frozen=True):
    """Make an asset known; its smallest unit is 10**-decimals."""

    asset: NewName
    decimals: Decimals


class ListInstrument(Command, frozen=True):
    """Open a contract for trading.

    Sizes are in the venue's own unit: the base coin, or dollars of an inverse future. `parameters`
    are this contract's own numbers for what the rulebook leaves to each contract: fee rates
    (`maker_fee`), and inputs of its formulas.
    """

    symbol: NewName
    kind: Name
    base: NewName
    quote: NewName
    settlement: NewName
    lot_size: Number
    contract_size: Number
    tick_size: Number
    points_per_tick: Annotated[int, Meta(ge=1, le=1_000_000)]
    inverse: bool
    quanto_rate: Number = "1"
    expiry_ms: TimeMs | None = None
    strike: Number | None = None
    option_type: Name | None = None
    terms: tuple[TermText, ...] = ()
    parameters: dict[Name, Number] = field(default_factory=dict)


class DelistInstrument(Command, frozen=True):
    """Close a contract in which nobody holds a position or an order."""

    symbol: Name


class SetPhase(Command, frozen=True):
    """Call an auction, end it, halt trading or resume it."""

    symbol: Name
    phase: Phase


class AdoptRulebook(Command, frozen=True):
    """Put a rulebook in force, with the parameters of a day (`2026-02-06`).

    `venue` makes it the one by which the venue itself settles, charges and funds; accounts choose
    theirs for margin alone. A name that is in force is replaced.
    """

    name: NewName
    toml: Text
    day: Name
    venue: bool


class AssignRulebook(Command, frozen=True):
    """Margin an account under another rulebook, if it is healthy there."""

    account: Name
    rulebook: Name


# ── accounts ─────────────────────────────────────────────────────────────────────────────────────


class SetInputs(Command, frozen=True):
    """Bring the numbers of an account that only the venue knows: inputs at level `account` of its
    rulebook, such as a credit line. They take the place of all that were brought before; what is
    not told has the rulebook's default. They are no money: nothing is posted."""

    account: Name
    inputs: Annotated[dict[Name, Number], Meta(max_length=INPUTS_MAX)]
    reason: Annotated[str, Meta(max_length=256)]


class OpenAccount(Command, frozen=True):
    """Open an account, or a subaccount of `parent`."""

    account: NewName
    kind: AccountKind
    rulebook: Name
    parent: Name | None = None


class CloseAccount(Command, frozen=True):
    """Close an account that holds nothing."""

    account: Name


class FreezeAccount(Command, frozen=True):
    """Let an account take no new risk and move no money out, until it is unfrozen."""

    account: Name
    reason: Annotated[str, Meta(max_length=256)]


class UnfreezeAccount(Command, frozen=True):
    """Undo a freeze."""

    account: Name


class SetMarginMode(Command, frozen=True):
    """Hold a contract in another mode. Isolated needs a leverage: entry value over margin."""

    account: Name
    symbol: Name
    mode: MarginMode
    leverage: Number | None = None
    margin_factor: Number | None = None
    """The other way to say it: margin as a share of the entry value."""


class SetLeverage(Command, frozen=True):
    """Choose the leverage of a contract; of an isolated one, margin is moved to fit."""

    account: Name
    symbol: Name
    leverage: Number | None = None
    margin_factor: Number | None = None


class AddIsolatedMargin(Command, frozen=True):
    """Move money from the account to the margin of one of its isolated positions."""

    account: Name
    symbol: Name
    amount: Amount


class RemoveIsolatedMargin(Command, frozen=True):
    """Move it back, as far as the position can spare it."""

    account: Name
    symbol: Name
    amount: Amount


# ── money in and out ─────────────────────────────────────────────────────────────────────────────


class Deposit(Command, frozen=True):
    """Money that has arrived. The account may be `insurance` or `venue`."""

    account: Name
    asset: Name
    amount: Amount


class AnnounceDeposit(Command, frozen=True):
    """Money that is seen on its way: it counts for nothing until it is confirmed."""

    account: Name
    asset: Name
    amount: Amount
    reference: Name


class ConfirmDeposit(Command, frozen=True):
    """The announced money has arrived."""

    reference: Name


class CancelDeposit(Command, frozen=True):
    """The announced money will not come."""

    reference: Name


class RequestWithdrawal(Command, frozen=True):
    """Take money out, if the margin allows: of the account now, of the venue when confirmed."""

    account: Name
    asset: Name
    amount: Amount
    reference: Name


class ConfirmWithdrawal(Command, frozen=True):
    """The money has left."""

    reference: Name


class CancelWithdrawal(Command, frozen=True):
    """The money could not be sent: it goes back to the account."""

    reference: Name


class Transfer(Command, frozen=True):
    """Move money between two accounts, if the source's margin allows."""

    source: Name
    target: Name
    asset: Name
    amount: Amount


class ContributeFund(Command, frozen=True):
    """A clearing member pays into the default fund."""

    account: Name
    asset: Name
    amount: Amount


class ReturnFund(Command, frozen=True):
    """The default fund pays a member's contribution back."""

    account: Name
    asset: Name
    amount: Amount


# ── trading ──────────────────────────────────────────────────────────────────────────────────────


class Trade(Command, frozen=True):
    """Two accounts trade. `aggressor` pays as taker; without one (a block, an auction) both make.

    The orders that are filled may be named; what fills one is no new risk of a size it had not.
    """

    buyer: Name
    seller: Name
    symbol: Name
    lots: Lots
    price_ticks: PriceTicks
    aggressor: Side | None
    buy_order: Name | None = None
    sell_order: Name | None = None


# ── the market ───────────────────────────────────────────────────────────────────────────────────


class PublishMarket(Command, frozen=True):
    """What the market is: index prices, marks, and (for who wants to reprice) the snapshot."""

    index: tuple[IndexPrice, ...]
    marks: tuple[MarkPrice, ...]
    snapshot: bytes = b""


class PublishArrays(Command, frozen=True):
    """The risk arrays on which a rulebook decides from now on."""

    rulebook: Name
    arrays: bytes


class PayFunding(Command, frozen=True):
    """Exchange funding on a perpetual up to a time, once.

    `rate` is what a long pays as a share of its value at the mark; without one the venue's rulebook
    computes the payment from the prices that were published since the last.
    """

    symbol: Name
    until_ms: TimeMs
    rate: Number | None = None


class SettleVariation(Command, frozen=True):
    """Pay out all gains and losses of a contract up to its mark."""

    symbol: Name


class SettleExpiry(Command, frozen=True):
    """Settle an expired contract: at a price told (in points of a linear contract's price, or of
    the underlying's for an inverse one), or at the index's time-weighted average before expiry.
    One that never expires is settled at a price told, while it is halted."""

    symbol: Name
    price_nano: Annotated[int, Meta(ge=0, le=MONEY_MAX)] | None = None


class AccrueInterest(Command, frozen=True):
    """Charge debts in an asset up to a time, once: `rate` is a share of the debt for the period."""

    asset: Name
    until_ms: TimeMs
    rate: Number


class Heartbeat(Command, frozen=True):
    """Time passes, even when nothing else happens."""


# ── moving in ────────────────────────────────────────────────────────────────────────────────────


class ImportBooks(Command, frozen=True):
    """Take balances and positions of another system over, all or none.

    Positions must net to zero in each contract.
    """

    balances: tuple[OpeningBalance, ...]
    positions: tuple[OpeningPosition, ...]


AnyCommand: TypeAlias = (
    ListAsset | ListInstrument | DelistInstrument | SetPhase | AdoptRulebook | AssignRulebook
    | SetInputs | OpenAccount | CloseAccount | FreezeAccount | UnfreezeAccount | SetMarginMode
    | SetLeverage | AddIsolatedMargin | RemoveIsolatedMargin | Deposit | AnnounceDeposit
    | ConfirmDeposit | CancelDeposit | RequestWithdrawal | ConfirmWithdrawal | CancelWithdrawal
    | Transfer
    | ContributeFund | ReturnFund | PlaceOrder | AmendOrder | CancelOrder | CancelOrders
    | Disconnect | SetProtection | ResetProtection | ListCombo | ReportBlock | WithdrawBlock
    | RelieveMargin | Trade | PublishMarket | PublishArrays | PayFunding | SettleVariation
    | SettleExpiry | AccrueInterest | Heartbeat
    | BeginLiquidation | Liquidate | TakeOver | Deleverage | Confiscate | CoverDebt
    | SocialiseLoss | EndLiquidation | ImportBooks
    | ReviewMargin | LiquidateInBook | SetBackstop | ConvertCollateral | FundMarket
    | StartAuction | BidInAuction | EndAuction | PortAccount
)  # fmt: skip
COMMANDS: Final[tuple[type[Command], ...]] = AnyCommand.__args__
"""Every kind of command."""
