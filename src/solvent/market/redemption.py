"""Indices of assets that can be redeemed: wrapped, staked and stable ones.

A wrapped coin is worth its coin, a staked one its coin times a rate that grows, a stable one a
dollar: its *redemption value*. What it trades at is another matter, and on a thin book another
still. A rule tells which of both is its index, and within which bounds; a peg that is lost may
change that. What either needs and is not known makes the index UNKNOWN.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

from solvent.errors import check
from solvent.limits import MONEY_MAX
from solvent.market.depeg import Peg, PegRule, PegState, watched
from solvent.market.index import Index, Reason
from solvent.market.oracles import PPM
from solvent.units import div_down, div_half_even


class Worth(StrEnum):
    """What an asset counts for."""

    MARKET = "market"
    """What its sources say."""
    REDEMPTION = "redemption"
    LESSER = "lesser"
    """The lower of both: for collateral."""
    GREATER = "greater"
    """The higher of both: for what is owed."""
    BANDED = "banded"
    """The market's, within bounds about the redemption value."""
    UNKNOWN = "unknown"
    """None: what holds it is frozen until somebody decides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RedemptionRule:
    """How an asset that can be redeemed is valued.

    Attributes:
        asset, underlying: `stETH` and `ETH`; a stable one's underlying is "", a dollar.
        worth: while its peg holds or is strained; lost: once it is lost.
        below_ppm, above_ppm: the bounds of `banded`. floor_ppm: no index is lower than this share
            of the redemption value while the peg is not lost; 0 for none.
        stale_ms: the oldest rate of redemption that counts.
    """

    asset: str
    underlying: str
    worth: Worth
    lost: Worth
    peg: PegRule
    below_ppm: int = 0
    above_ppm: int = 0
    floor_ppm: int = 0
    stale_ms: int = 86_400_000

    def __post_init__(self) -> None:
        check(0 <= self.below_ppm <= PPM and self.above_ppm >= 0, "bounds are shares", self)
        check(0 <= self.floor_ppm <= PPM and self.stale_ms > 0, "a floor is a share", self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """What a contract pays for one unit of an asset, in its underlying, and when that was said."""

    rate: Fraction
    time_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Valued:
    """An asset's index, and what it was made of; None for what is not known."""

    index: Index
    peg: PegState
    market_nano: int | None
    redemption_nano: int | None


def redemption_value(
    rule: RedemptionRule, rate: Rate | None, underlying: Index | None, *, now_ms: int
) -> int | None:
    """What it can be redeemed for now, in billionths of a dollar, rounded down; None where the
    rate is old or none, or the underlying's index is not known.

    A rate of a time to come is none.
    """
    if rate is None or rate.rate <= 0 or not 0 <= now_ms - rate.time_ms <= rule.stale_ms:
        return None
    coin: int | None = 10**9
    if rule.underlying:
        coin = underlying.price_nano if underlying is not None else None
    if coin is None:
        return None
    value = div_down(coin * rate.rate.numerator, rate.rate.denominator)
    return value if 0 < value <= MONEY_MAX else None


def valued(
    rule: RedemptionRule, peg: PegState, market: Index, rate: Rate | None,
    underlying: Index | None, *, now_ms: int,
) -> Valued:  # fmt: skip
    """An asset's index by its rule, and the state of its peg."""
    check(market.underlying == rule.asset, "the market is the asset's", market.underlying)
    redemption = redemption_value(rule, rate, underlying, now_ms=now_ms)
    state = watched(
        rule.peg, peg, market_nano=market.price_nano, redemption_nano=redemption, now_ms=now_ms
    )
    worth = rule.lost if state.peg is Peg.LOST else rule.worth
    price = _worth(rule, worth, market.price_nano, redemption)
    if price is not None and state.peg is not Peg.LOST and rule.floor_ppm:
        # A floor is a share of the redemption value: without that there is none to stand on.
        floor = None if redemption is None else div_half_even(redemption * rule.floor_ppm, PPM)
        price = None if floor is None else max(price, floor)
    reason = Reason.FINE
    if price is None:
        unknown = worth is Worth.UNKNOWN
        needs_market = worth not in (Worth.REDEMPTION, Worth.UNKNOWN)
        reason = Reason.DEPEGGED if unknown else Reason.INPUT
        if needs_market and market.price_nano is None:
            reason = market.reason
    index = Index(
        underlying=rule.asset, time_ms=now_ms, price_nano=price, reason=reason,
        age_ms=_age_ms(worth, market, rate, now_ms), sources=market.sources,
    )  # fmt: skip
    return Valued(index=index, peg=state, market_nano=market.price_nano, redemption_nano=redemption)


def _worth(
    rule: RedemptionRule, worth: Worth, market: int | None, redemption: int | None
) -> int | None:
    if worth is Worth.UNKNOWN:
        return None
    if worth is Worth.MARKET:
        return market
    if worth is Worth.REDEMPTION:
        return redemption
    if market is None or redemption is None:
        return None
    if worth is Worth.LESSER:
        return min(market, redemption)
    if worth is Worth.GREATER:
        return max(market, redemption)
    low = div_half_even(redemption * (PPM - rule.below_ppm), PPM)
    high = div_half_even(redemption * (PPM + rule.above_ppm), PPM)
    return min(max(market, low), high)


def _age_ms(worth: Worth, market: Index, rate: Rate | None, now_ms: int) -> int:
    """The age of what it is made of: its market's, or only its rate's."""
    if worth is Worth.REDEMPTION and rate is not None:
        return max(now_ms - rate.time_ms, 0)
    return market.age_ms
