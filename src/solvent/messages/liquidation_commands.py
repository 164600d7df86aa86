"""Commands for accounts that cannot pay, or may soon not: `commands` tells what all have in common.

Which of them come, when and how much is a plan made outside; each is checked when it is done, and
may be refused.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from solvent.limits import MONEY_MAX
from solvent.messages.fields import (
    Amount,
    Command,
    CoverFrom,
    Lots,
    Name,
    PriceTicks,
    RatePpm,
    Share,
    Side,
)

SharePpb = Annotated[int, Meta(ge=1, le=1_000_000_000)]
"""A share in billionths."""


class ReviewMargin(Command, frozen=True):
    """Say how far an account is from liquidation: warn it, call its margin, or lift the call."""

    account: Name


class BeginLiquidation(Command, frozen=True):
    """Take an account over: its orders go, and only liquidation changes its positions."""

    account: Name


class Liquidate(Command, frozen=True):
    """Reduce a position of an account under liquidation against another account.

    `fee_ppm` of the value goes to the insurance fund, as far as the account has it.
    """

    account: Name
    counterparty: Name
    symbol: Name
    lots: Lots
    price_ticks: PriceTicks
    fee_ppm: RatePpm


class LiquidateInBook(Command, frozen=True):
    """Trade lots of a contract for an account under liquidation against the orders that rest in its
    book, no worse than a price; what finds no order is not asked for again.

    `side` is what the account does. It makes its position smaller; `hedge` lets it open one, if
    that leaves the account better off. `fee_ppm` of the value goes to the insurance fund, as far as
    the account has it. `insurance` sells (or buys back) so what it took over, where the venue's
    rulebook has a disposal: without a fee or a hedge, at its pace.
    """

    account: Name
    symbol: Name
    side: Side
    lots: Lots
    price_ticks: PriceTicks
    fee_ppm: RatePpm
    hedge: bool = False


class TakeOver(Command, frozen=True):
    """The insurance fund, or a backstop account, takes a position over at a price."""

    account: Name
    symbol: Name
    lots: Lots
    price_ticks: PriceTicks
    by: Name | None = None


class SetBackstop(Command, frozen=True):
    """How much a backstop account may take on: notional of all its positions, in millionths of a
    dollar. 0 lets it take nothing more."""

    account: Name
    cap_micro: Annotated[int, Meta(ge=0, le=MONEY_MAX)]


class Deleverage(Command, frozen=True):
    """Close a position against one of the other side that must give its up; nobody pays fees."""

    account: Name
    counterparty: Name
    symbol: Name
    lots: Lots
    price_ticks: PriceTicks


class ConvertCollateral(Command, frozen=True):
    """The insurance fund buys collateral of an account under liquidation with another asset.

    What it pays is at most the collateral's value at the indices.
    """

    account: Name
    asset: Name
    amount: Amount
    into: Name
    into_amount: Amount


class Confiscate(Command, frozen=True):
    """What is left of an account under liquidation goes to the insurance fund, or `to` a backstop
    account that has taken its positions.

    Of an isolated position its margin alone (`symbol`); the account's own money without one.
    """

    account: Name
    asset: Name
    amount: Amount
    symbol: Name | None = None
    to: Name | None = None


class CoverDebt(Command, frozen=True):
    """Pay a debt of an account under liquidation from a fund, as far as the fund reaches.

    `symbol`: the debt of that isolated position. `member`: whose contribution pays. `market`: of
    which contract the fund is, where it is a market's own.
    """

    account: Name
    asset: Name
    amount: Amount
    source: CoverFrom
    member: Name | None = None
    symbol: Name | None = None
    market: Name | None = None


class FundMarket(Command, frozen=True):
    """Move money of the insurance fund to the part that stands for one contract alone, or back."""

    symbol: Name
    amount: Amount
    back: bool = False


class SocialiseLoss(Command, frozen=True):
    """Winners give up money to make a debt good; the shares add up to what is covered.

    `symbol`: the debt of that isolated position.
    """

    account: Name
    asset: Name
    shares: tuple[Share, ...]
    symbol: Name | None = None


class StartAuction(Command, frozen=True):
    """Offer an account under liquidation to all, at a discount that grows with time."""

    account: Name


class BidInAuction(Command, frozen=True):
    """Take a share of an account that is offered, at the price of this moment.

    The bidder pays at most `pay_max` in smallest units of the rulebook's cash (of an insolvent
    account, for which it is paid: 0).
    """

    account: Name
    bidder: Name
    share_ppb: SharePpb
    pay_max: Annotated[int, Meta(ge=0, le=MONEY_MAX)]


class EndAuction(Command, frozen=True):
    """Take the offer back: the account is well again, or its auction has gone on for its time."""

    account: Name


class PortAccount(Command, frozen=True):
    """Move a client of a member to another member, with all that it has."""

    account: Name
    member: Name


class EndLiquidation(Command, frozen=True):
    """Give an account back that is above maintenance margin again, or holds and owes nothing."""

    account: Name
