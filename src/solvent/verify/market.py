"""What an index, an average and a funding payment are, written from their formulas.

Slow and exact. It shares no code with what it judges.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction


def clustered(
    prices: Sequence[Fraction | None], *, clamp: Fraction, quorum: int
) -> tuple[Fraction, list[bool]] | None:
    """The median of those prices that are within c/(2 + c) of the median of all, and which they
    are; None where they are fewer than a quorum."""
    told = sorted(price for price in prices if price is not None)
    if not told:
        return None
    middle = _middle(told)
    near = [price is not None and abs(price - middle) <= middle * clamp / (2 + clamp)
            for price in prices]  # fmt: skip
    if sum(near) < quorum:
        return None
    chosen = [price for price, is_near in zip(prices, near, strict=True) if is_near]
    return _middle(sorted(price for price in chosen if price is not None)), near


def _middle(ordered: Sequence[Fraction]) -> Fraction:
    half = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[half]
    return (ordered[half - 1] + ordered[half]) / 2


def time_average(rows: Sequence[tuple[int, float]], *, until_ms: int) -> float:
    """The mean of a price over its milliseconds, one by one: for short spans."""
    seen: list[float] = []
    for place, (begin_ms, price) in enumerate(rows):
        end_ms = rows[place + 1][0] if place + 1 < len(rows) else until_ms
        seen += [price] * (end_ms - begin_ms)
    return sum(seen) / len(seen)


def exponential_average(rows: Sequence[tuple[int, float]], *, tau_ms: int) -> float:
    """The same average by backward steps, in floats."""
    time_ms, average = rows[0]
    for then_ms, value in rows[1:]:
        share = (then_ms - time_ms) / (tau_ms + then_ms - time_ms)
        average += share * (value - average)
        time_ms = then_ms
    return average


def funding_paid(lots: Sequence[int], value_per_lot: Fraction, rate: Fraction) -> list[int]:
    """What holders of a contract receive in funding, in whole smallest units: a long pays its
    value times the rate. Whoever pays pays what is due rounded up, and whoever receives receives it
    rounded down."""
    return [-((lot * value_per_lot * rate).__ceil__()) for lot in lots]
