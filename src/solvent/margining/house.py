"""The `[engine]` part of a rulebook: how the venue moves money under these rules.

What is margined is told elsewhere in the file; here stands what is paid, by whom, when, and which
way it is rounded. Every entry has a default, which is what most exchanges do.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

_Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$", max_length=64)]
MoneyRounding = Literal["against_account", "toward_zero", "half_even"]
_Kind = Literal["future", "perpetual", "option", "structure", "spot"]
_ALL_KINDS: tuple[_Kind, ...] = ("future", "perpetual", "option", "structure", "spot")


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class FeeText(_Part):
    """One component of the fee of a trade, rounded up by itself (a rebate down).

    `rate` is a share of the trade's value (`of = "value"`) or of the underlying's worth
    (`"notional"`), at most `premium_cap` of the value. A contract's own parameter
    `<component>_fee` takes its place. A negative rate is a rebate, which the venue's fees pay.
    In an auction a component is `skipped`, charged `whole` or by halves to both sides (`split`,
    each half rounded up).
    """

    component: _Name
    rate: float = 0.0
    payer: Literal["taker", "maker", "both"] = "taker"
    receiver: Literal["venue", "maker", "insurance", "liquidity"] = "venue"
    of: Literal["value", "notional"] = "value"
    premium_cap: float | None = Field(default=None, gt=0.0)
    auction: Literal["whole", "skipped", "split"] = "whole"
    kinds: tuple[_Kind, ...] = _ALL_KINDS


class FundingText(_Part):
    """Columns of level `instrument` that tell a perpetual's payment from the period's averages."""

    payment: _Name = "funding_payment"
    rate: _Name = "funding_rate"


class ContractText(_Part):
    """Columns of level `contract` that tell what its margin accounts are to hold.

    With these a rulebook decides about each contract by itself, from the balances of its margin and
    order accounts; without them, about an account as a whole.
    """

    top_up: _Name
    fill_up: _Name
    give_back: _Name
    distressed: _Name
    order_accepted: _Name
    order_margin: _Name
    orders_stopped: _Name
    switch_accepted: _Name
    switch_margin: _Name
    switch_orders: _Name
    fill_accepted: _Name
    fill_margin: _Name
    fill_orders: _Name


class EngineText(_Part):
    """How the venue moves money.

    Attributes:
        realise: gains are paid when a position is closed, or at the next mark.
        losses: what a loser cannot pay is its debt (`debt`); or what it has is collected, the
            insurance fund adds what it can, and the winners share what comes in (`collect`).
        surplus: what roundings leave of losses beyond gains goes to the `rounding` account; or to
            `winners`, a unit to each whose gain was rounded to nothing, the rest to the largest.
        money_rounding: of gains, losses, funding and settlement. entry_price: `whole_points`
            rounds the average price down to whole points.
        reducing: which trade is let through below initial margin: one that makes the account's
            `position` in the contract smaller, one that does not raise its initial `margin`, or
            `none`.
        matching: orders meet in the engine's `book`; or trades are made `outside` and told to it,
            and orders only rest. price_band: how far beyond the mark an order may be priced, as a
            share of it. relief: which orders are taken back when margin is short: those that free
            most first (`largest`) until it is enough, or `all`. kept_orders: a column of level
            `order` takes its place, which is 1 for those that stay.
        money_out: money may leave an account as far as its `margin` allows; or no further than
            its equity is its own (`own`), which is not below 0 afterwards, whatever is lent to it.
        age_ms_max: risk arrays older than this are not known. settlement_window_ms: how long
            before its expiry a contract's settlement price is averaged.
    """

    realise: Literal["on_close", "at_mark"] = "on_close"
    losses: Literal["debt", "collect"] = "debt"
    surplus: Literal["rounding", "winners"] = "rounding"
    money_rounding: MoneyRounding = "against_account"
    entry_price: Literal["exact", "whole_points"] = "exact"
    reducing: Literal["position", "margin", "none"] = "position"
    matching: Literal["book", "outside"] = "book"
    price_band: float | None = Field(default=None, gt=0.0, lt=1.0)
    relief: Literal["largest", "all"] = "largest"
    kept_orders: _Name | None = None
    money_out: Literal["margin", "own"] = "margin"
    age_ms_max: int = Field(default=60_000, ge=0)
    settlement_window_ms: int = Field(default=1_800_000, ge=0)
    fees: tuple[FeeText, ...] = ()
    funding: FundingText | None = None
    contract: ContractText | None = None
