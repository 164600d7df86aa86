"""What a book's depth says of a price: the average at which so much would be filled.

A side is its levels, the best first: (price, size), in any one unit. Prices are exact fractions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

from solvent.errors import check

Side = Sequence[tuple[Fraction, Fraction]]


def impact_price(levels: Side, *, notional: Fraction) -> Fraction | None:
    """The average price at which a notional in quote currency is filled; None if there is not as
    much.

    >>> book = [(Fraction(100), Fraction(1)), (Fraction(200), Fraction(2))]
    >>> impact_price(book, notional=Fraction(200)), impact_price(book, notional=Fraction(501))
    (Fraction(400, 3), None)
    """
    check(notional > 0, "an impact has a size", notional)
    left, size = notional, Fraction(0)
    for price, lots in levels:
        check(price > 0 and lots >= 0, "a level has a price and a size", price, lots)
        part = min(left, price * lots)
        left -= part
        size += part / price
        if left == 0:
            return notional / size
    return None


def average_price(levels: Side, *, size: Fraction) -> Fraction | None:
    """The average price at which a size is filled; None if there is not as much.

    >>> average_price([(Fraction(100), Fraction(1)), (Fraction(200), Fraction(2))],
    ...     size=Fraction(2))
    Fraction(150, 1)
    """
    check(size > 0, "a fill has a size", size)
    left, value = size, Fraction(0)
    for price, lots in levels:
        part = min(left, lots)
        left -= part
        value += part * price
        if left == 0:
            return value / size
    return None


def impact_mid(bids: Side, asks: Side, *, notional: Fraction) -> Fraction | None:
    """The middle of what a notional sells and buys at; None where either side has not as much, or
    the book is crossed.

    >>> one = Fraction(1)
    >>> impact_mid([(99 * one, one)], [(101 * one, one)], notional=50 * one)
    Fraction(100, 1)
    """
    if bids and asks and bids[0][0] > asks[0][0]:
        return None
    bid, ask = impact_price(bids, notional=notional), impact_price(asks, notional=notional)
    return None if bid is None or ask is None else (bid + ask) / 2


def margined_book_price(
    bids: Side, asks: Side, *, cash: Fraction, initial: Fraction, slippage: Fraction,
    risk_long: Fraction, risk_short: Fraction,
) -> int | None:  # fmt: skip
    """What a book is worth to who has so much cash for margin: Vega's book price, in whole units.

    On each side V = ⌊cash/(initial·(slippage + risk))/best⌋ is filled; the price is half of both
    averages' sum, each and all rounded down. Without cash it is the middle of the best; None where
    a side is empty or too thin. Source: vegaprotocol/vega, core/execution/common/mark_price.go.
    """
    if not bids or not asks:
        return None
    if cash == 0:
        return math.floor((bids[0][0] + asks[0][0]) / 2)
    total = 0
    for levels, risk in ((bids, risk_long), (asks, risk_short)):
        size = math.floor(cash / (initial * (slippage + risk)) / levels[0][0])
        price = average_price(levels, size=Fraction(size)) if size else levels[0][0]
        if price is None:
            return None
        total += math.floor(price)
    return total // 2
