"""The `[liquidation]` part of a rulebook: what happens, in order, to an account that cannot pay.

Which stages there are and how each does its work; every entry has a default. Prices, standings and
queues come from the venue's books: nothing here is computed.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

_Share = Annotated[float, Field(ge=0.0, le=1.0)]
Stage = Literal["book", "auction", "backstop", "fund", "adl", "socialise"]
"""Where what must go goes: into the order book, to bidders, to a backstop account, to the insurance
fund, to those on the other side, or to all as a loss."""
Target = Literal["maintenance", "initial", "buffer", "flat"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class CallsText(_Part):
    """Warnings before liquidation; the last level is a margin call.

    Attributes:
        levels: distances to liquidation, (equity − MM) / equity, at which an account is warned.
        hysteresis: how much further away it must be for a warning to end.
        deadline_ms: how long it has to meet a call.
        when: a margin call is made near liquidation (`near`), or as soon as initial margin is
            short (`short`), which is how an agreement on credit has it.
    """

    levels: tuple[Annotated[float, Field(gt=0.0, lt=1.0)], ...] = (0.20, 0.10)
    hysteresis: float = Field(default=0.02, gt=0.0, lt=1.0)
    deadline_ms: int = Field(default=3_600_000, gt=0)
    when: Literal["near", "short"] = "near"

    @model_validator(mode="after")
    def _falls(self) -> Self:
        if list(self.levels) != sorted(set(self.levels), reverse=True) or not self.levels:
            raise ValueError(f"`levels` fall from one to the next, found {self.levels}")
        if Fraction(repr(self.levels[0])) + Fraction(repr(self.hysteresis)) > 1:
            raise ValueError(f"a level can be left: `levels` and `hysteresis` up to 1, found "
                             f"{self.levels[0]} and {self.hysteresis}")  # fmt: skip
        return self


class ReduceText(_Part):
    """How much of an account is closed in a step.

    Attributes:
        way: `minimum`, the fewest lots after which the target is reached; `tiers`, `tiers_down`
            tiers at a time from tier `tiers_from` on, else all; `fraction` of each position, all of
            it where its notional is at most `whole_below` dollars or (`then_whole`) when a first
            step did not do; `hedge`, what improves the binding scenario most for its cost, deltas
            first; `blocks`, at most `block_share` of a position and `block_dollars` a step;
            `whole`, everything.
        target: where it ends: equity at maintenance margin, at initial margin, at maintenance and a
            `buffer` of it more, or when nothing is held.
        cooldown_ms: time between two steps. slippage: how far from the mark a step may trade, as a
            share of it. book_share: how much of what rests in that range it may take.
        fee: share of the value that goes to the insurance fund.
    """

    way: Literal["minimum", "tiers", "fraction", "hedge", "blocks", "whole"] = "minimum"
    target: Target = "maintenance"
    buffer: float = Field(default=0.0, ge=0.0)
    fraction: _Share = 0.2
    whole_below: float = Field(default=0.0, ge=0.0)
    then_whole: bool = False
    tiers_down: int = Field(default=1, ge=1)
    tiers_from: int = Field(default=2, ge=2)
    block_share: _Share = 1.0
    block_dollars: float | None = Field(default=None, gt=0.0)
    cooldown_ms: int = Field(default=0, ge=0)
    slippage: float = Field(default=0.05, gt=0.0, lt=1.0)
    book_share: float = Field(default=1.0, gt=0.0, le=1.0)
    fee: float = Field(default=0.0, ge=0.0, lt=1.0)


class AuctionText(_Part):
    """A Dutch auction of shares of an account.

    Of one that is still worth something the price falls from `start` of its value to `cut` in
    `fast_ms`, then to nothing in `slow_ms`; for one that is not, what bidders are paid rises to its
    maintenance margin in `insolvent_ms`. `fee` of the value goes to the insurance fund; margin is
    restored to maintenance and `buffer` of what it exceeds the value by. Below a value of
    `whole_below` dollars all of it is for sale.
    """

    start: _Share = 0.98
    cut: _Share = 0.8
    fast_ms: int = Field(default=900_000, gt=0)
    slow_ms: int = Field(default=43_200_000, gt=0)
    insolvent_ms: int = Field(default=3_600_000, gt=0)
    fee: _Share = 0.0
    buffer: float = Field(default=0.15, ge=0.0)
    whole_below: float = 0.0

    @model_validator(mode="after")
    def _falls(self) -> Self:
        if self.cut > self.start:
            raise ValueError(f"the price falls from `start` to `cut`, found {self.start} and "
                             f"{self.cut}")  # fmt: skip
        return self


class BackstopText(_Part):
    """Backstop accounts take what falls below `below` of its maintenance margin, with its margin
    (`with_margin`) or at its bankruptcy price."""

    below: _Share = 1.0
    with_margin: bool = False


class DisposalText(_Part):
    """How the insurance fund sells what it took over; the defaults are Vega's default strategy.

    Attributes:
        every_ms: time between two steps in one contract, and before the first.
        fraction: of what it holds a step, rounded up; all of it at or below `full_lots` lots.
        book_share: how much of what rests in reach a step may take, rounded up.
        slippage: how far from the mark it reaches, as a share of it.
    """

    every_ms: int = Field(default=10_000, gt=0)
    fraction: float = Field(default=0.1, gt=0.0, le=1.0)
    full_lots: int = Field(default=20, ge=0)
    book_share: float = Field(default=0.05, gt=0.0, le=1.0)
    slippage: float = Field(default=0.1, ge=0.0)


class FundText(_Part):
    """The insurance fund: one `shared` by all, or one a `market`, which pays before the shared one.

    Attributes:
        takes: whether it takes positions over at their bankruptcy price, or only pays debts.
        cap: dollars of loss at most that it takes with one position.
        reserve: share of the value of all that it holds that it must be worth at the marks to take
            more; never less than `slippage`.
        drawdown: there is deleveraging while it has lost more than this share of its highest in
            `window_ms`. Without one: only when it is empty.
        disposal: how it sells what it holds into the book. Without one that is done by hand.
    """

    scope: Literal["shared", "market"] = "shared"
    takes: bool = True
    cap: float | None = Field(default=None, gt=0.0)
    reserve: _Share = 0.1
    drawdown: _Share | None = None
    window_ms: int = Field(default=28_800_000, gt=0)
    disposal: DisposalText | None = None


class AdlText(_Part):
    """Auto-deleveraging: who gives up a position first (`rank`), how much each (`allocate`), and at
    which price."""

    rank: Literal["bitmex", "binance", "bybit", "okx", "hyperliquid", "random"] = "binance"
    allocate: Literal["queue", "pro_rata", "risk_aware"] = "queue"
    price: Literal["bankruptcy", "mark"] = "bankruptcy"


class LiquidationText(_Part):
    """What happens to an account that cannot pay; the `stages` are tried in order."""

    calls: CallsText = CallsText()
    cancel_first: bool = True
    """Orders are taken back when initial margin is short, before anything else is."""
    stages: tuple[Stage, ...] = ("book", "fund", "adl", "socialise")
    reduce: ReduceText = ReduceText()
    auction: AuctionText | None = None
    backstop: BackstopText | None = None
    fund: FundText = FundText()
    adl: AdlText = AdlText()
    socialise: Literal["cash", "gains"] = "gains"
    """Who shares what nobody else paid: all who have cash of the asset, or who has gained most in
    the contract, by what they hold."""
    source: str = ""

    @model_validator(mode="after")
    def _stages_fit(self) -> Self:
        if len(set(self.stages)) < len(self.stages):
            raise ValueError(f"each stage comes once, found {self.stages}")
        for stage, told in (("auction", self.auction), ("backstop", self.backstop)):
            if stage in self.stages and told is None:
                raise ValueError(f"stage `{stage}` needs a table [liquidation.{stage}]")
        return self
