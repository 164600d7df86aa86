"""What longs pay shorts on a perpetual: the premium, the rate of a period, what accrues.

Rates are exact fractions of a position's value; positive is paid by longs. A rule tells how a
venue makes a rate of its premiums; every number in it is the venue's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from typing import Final

from solvent.errors import check
from solvent.market.averages import growing_mean, mean
from solvent.units import div_half_even

HOUR_MS: Final = 3_600_000
EIGHT_HOURS_MS: Final = 8 * HOUR_MS
RATE_DECIMALS: Final = 18
"""Digits of a rate as it is published; what a contract's language keeps."""
_ZERO: Final = Fraction(0)


class Form(StrEnum):
    """How a premium P and the interest I become a rate; d is the dampener."""

    DAMPED = "damped"
    """P + clamp(I − P, −d, d): Binance, Bybit, Hyperliquid."""
    DEAD_ZONE = "dead_zone"
    """max(d, P) + min(−d, P): Deribit."""
    SUM = "sum"
    """P + I: OKX, dYdX."""


class Averaging(StrEnum):
    """How a period's premiums become one."""

    MEAN = "mean"
    GROWING = "growing"
    """By weights 1, 2, …, n."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FundingRule:
    """How a venue makes a rate.

    Attributes:
        interval_ms: how often it is paid; 1 where it accrues all the time.
        basis_ms: the time for which the formula's rate is; a period has its share of it.
        interest: for that time. dampener: as the form says.
        cap, floor: bounds of the rate; None for none. capped_ms: the time for which they are.
    """

    interval_ms: int
    basis_ms: int = EIGHT_HOURS_MS
    form: Form = Form.DAMPED
    averaging: Averaging = Averaging.MEAN
    interest: Fraction = _ZERO
    dampener: Fraction = _ZERO
    cap: Fraction | None = None
    floor: Fraction | None = None
    capped_ms: int = EIGHT_HOURS_MS

    def __post_init__(self) -> None:
        check(min(self.interval_ms, self.basis_ms, self.capped_ms) > 0, "times", self.interval_ms)
        check(self.dampener >= 0, "a dampener is not negative", self.dampener)
        bounded = self.cap is None or self.floor is None or self.floor <= self.cap
        check(bounded, "floor up to cap", self.floor, self.cap)


# ── premiums ─────────────────────────────────────────────────────────────────────────────────────


def impact_premium(*, index: Fraction, bid: Fraction, ask: Fraction) -> Fraction:
    """(max(bid − I, 0) − max(I − ask, 0))/I of impact prices.

    >>> n = Fraction
    >>> str(impact_premium(index=n(1500), bid=n(1506), ask=n(1507)))
    '1/250'
    """
    check(index > 0, "an index is above 0", index)
    return (max(bid - index, _ZERO) - max(index - ask, _ZERO)) / index


def price_premium(*, index: Fraction, price: Fraction) -> Fraction:
    """(price − I)/I: of a mark (Deribit) or of the middle of the best quotes (OKX).

    >>> str(price_premium(index=Fraction(1000), price=Fraction(1001)))
    '1/1000'
    """
    check(index > 0, "an index is above 0", index)
    return (price - index) / index


# ── rates ────────────────────────────────────────────────────────────────────────────────────────


def averaged_premium(rule: FundingRule, premiums: Sequence[Fraction | None]) -> Fraction | None:
    """A period's premium; None where one of its samples is not known: nothing is made up."""
    known = [one for one in premiums if one is not None]
    if not known or len(known) < len(premiums):
        return None
    return (mean if rule.averaging is Averaging.MEAN else growing_mean)(known)


def rate_of(rule: FundingRule, premium: Fraction, *, elapsed_ms: int | None = None) -> Fraction:
    """The rate of one interval, or of a time: exact.

    >>> rule = FundingRule(interval_ms=EIGHT_HOURS_MS, interest=Fraction(1, 10_000),
    ...     dampener=Fraction(5, 10_000))
    >>> [float(rate_of(rule, Fraction(one, 10_000))) for one in (2, 9, -9)]
    [0.0001, 0.0004, -0.0004]
    """
    span_ms = rule.interval_ms if elapsed_ms is None else elapsed_ms
    check(span_ms >= 0, "time goes on", span_ms)
    rate = _FORMS[rule.form](premium, rule.interest, rule.dampener)
    scale = Fraction(rule.capped_ms, rule.basis_ms)
    rate = bounded(rate * scale, low=rule.floor, high=rule.cap)
    return rate * Fraction(span_ms, rule.capped_ms)


def _damped(premium: Fraction, interest: Fraction, dampener: Fraction) -> Fraction:
    return premium + min(max(interest - premium, -dampener), dampener)


def _dead_zone(premium: Fraction, interest: Fraction, dampener: Fraction) -> Fraction:
    return max(dampener, premium) + min(-dampener, premium) + interest


_FORMS: Final[dict[Form, Callable[[Fraction, Fraction, Fraction], Fraction]]] = {
    Form.DAMPED: _damped,
    Form.DEAD_ZONE: _dead_zone,
    Form.SUM: lambda premium, interest, _: premium + interest,
}


def margin_cap(*, initial: Fraction, maintenance: Fraction, factor: Fraction) -> Fraction:
    """The most that a rate may be, by the margin of the contract: dYdX's factor·(IM − MM).

    >>> str(margin_cap(initial=Fraction(5, 100), maintenance=Fraction(3, 100), factor=Fraction(6)))
    '3/25'
    """
    check(0 <= maintenance <= initial and factor >= 0, "margins", initial, maintenance, factor)
    return factor * (initial - maintenance)


def bounded(value: Fraction, *, low: Fraction | None, high: Fraction | None) -> Fraction:
    """A value within bounds, where there are any."""
    value = value if high is None else min(value, high)
    return value if low is None else max(value, low)


def accrued(
    rule: FundingRule, premiums: Iterable[tuple[int, Fraction | None]], *, until_ms: int
) -> Fraction | None:
    """What has accrued until a time, each premium holding from when it was told; None where one
    that held is not known, or none was told.

    >>> rule = FundingRule(interval_ms=1, form=Form.DEAD_ZONE, dampener=Fraction(25, 100_000))
    >>> str(accrued(rule, [(0, Fraction(125, 100_000)), (HOUR_MS, Fraction(0))],
    ...     until_ms=EIGHT_HOURS_MS))
    '1/8000'
    """
    rows = list(premiums)
    if not rows:
        return None
    total = _ZERO
    ends = [time_ms for time_ms, _ in rows[1:]] + [until_ms]
    for (begin_ms, premium), end_ms in zip(rows, ends, strict=True):
        check(begin_ms <= end_ms, "time goes on", begin_ms, end_ms)
        if begin_ms == end_ms:
            continue
        if premium is None:
            return None
        total += rate_of(rule, premium, elapsed_ms=end_ms - begin_ms)
    return total


def rate_text(rate: Fraction, *, decimals: int = RATE_DECIMALS) -> str:
    """A rate as a command tells it: a plain decimal, half-even at so many decimals.

    >>> rate_text(Fraction(1, 8_000)), rate_text(Fraction(-1, 3), decimals=4)
    ('0.000125', '-0.3333')
    """
    units = div_half_even(rate.numerator * 10**decimals, rate.denominator)
    text = f"{Decimal(units).scaleb(-decimals):f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text) if units else "0"


# ── by a payment ─────────────────────────────────────────────────────────────────────────────────


def period_payment(
    *, future: Fraction, spot: Fraction, years: Fraction, interest: Fraction,
    clamp_low: Fraction, clamp_high: Fraction, scaling: Fraction = Fraction(1),
    rate_low: Fraction | None = None, rate_high: Fraction | None = None,
    auction_share: Fraction = _ZERO,
) -> Fraction:  # fmt: skip
    """What a long of one unit pays at a period's end, of its average mark f and index s: Vega's.

    f − s + min(high·s, max(low·s, (1 + years·interest)·s − f)), less the share of the period that
    was an auction, times the scaling, within the rates' bounds of s.
    Source: vegaprotocol/specs, 0053-PERP.

    >>> n = Fraction
    >>> int(period_payment(future=n(990), spot=n(1000), years=n(0), interest=n(0), clamp_low=n(0),
    ...     clamp_high=n(0), scaling=n(5, 2)))
    -25
    """
    carried = (1 + years * interest) * spot - future
    payment = future - spot + min(clamp_high * spot, max(clamp_low * spot, carried))
    payment *= (1 - auction_share) * scaling
    return bounded(
        payment,
        low=None if rate_low is None else rate_low * spot,
        high=None if rate_high is None else rate_high * spot,
    )
