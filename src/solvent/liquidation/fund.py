"""The insurance fund: what it takes in, what it pays and in which order, when it asks for help.

Amounts are whole smallest units. A fund of a market pays for that market alone: the funds that may
be drawn are a list, and a sibling's is not in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import NamedTuple

from solvent.errors import check
from solvent.units import div_up


class Source(NamedTuple):
    """Who pays, what it holds, and the most that one draw may take of it (None: all)."""

    name: str
    balance: int
    most: int | None = None
    market: str = ""
    """The one market that it pays for; empty: it is shared by all."""


class Draw(NamedTuple):
    """A row: what a source pays, what is left in it, and what of the debt is left."""

    name: str
    paid: int
    balance: int
    left: int


class Drawn(NamedTuple):
    """All rows in order, sources that pay nothing too; and what nobody paid."""

    rows: tuple[Draw, ...]
    uncovered: int

    @property
    def paid(self) -> int:
        """What all sources paid together."""
        return sum(row.paid for row in self.rows)


def scope(market: str, sources: Iterable[Source]) -> tuple[Source, ...]:
    """Sources that may pay for a market: its own first, then shared ones; never a sibling's.

    >>> funds = [Source("all", 9), Source("jelly", 3, None, "JELLY"), Source("btc", 5, None, "BTC")]
    >>> [fund.name for fund in scope("JELLY", funds)]
    ['jelly', 'all']
    """
    every = tuple(sources)
    own = tuple(source for source in every if source.market == market and market)
    return own + tuple(source for source in every if not source.market)


def draw(debt: int, sources: Sequence[Source]) -> Drawn:
    """Pay a debt from sources in their order, none below 0 or beyond its most.

    >>> drawn = draw(10, [Source("own", 3), Source("shared", 50, 4)])
    >>> [(row.name, row.paid, row.balance, row.left) for row in drawn.rows], drawn.uncovered
    ([('own', 3, 0, 7), ('shared', 4, 46, 3)], 3)
    """
    check(debt >= 0, "a debt is not negative", debt)
    rows = []
    left = debt
    for source in sources:
        may = max(0, source.balance)
        if source.most is not None:
            may = min(may, max(0, source.most))
        paid = min(left, may)
        left -= paid
        rows.append(Draw(source.name, paid, source.balance - paid, left))
    drawn = Drawn(tuple(rows), left)
    check(drawn.paid + left == debt, "paid and uncovered make the debt", debt)
    return drawn


# ── what comes in ────────────────────────────────────────────────────────────────────────────────


def fee(notional: int, rate: Fraction) -> int:
    """A liquidation fee on notional, rounded up: against who is liquidated.

    >>> fee(1_000_001, Fraction(5, 1_000))
    5001
    """
    check(notional >= 0 and rate >= 0, "a fee is not negative", notional, rate)
    return div_up(notional * rate.numerator, rate.denominator)


def improvement(*, received: int, bankruptcy: int) -> int:
    """What a fill brings beyond bankruptcy: below 0 it is what the fund has to pay.

    Both are what comes in for the closed lots: positive for lots sold, negative for lots bought.

    >>> improvement(received=510, bankruptcy=500), improvement(received=-510, bankruptcy=-500)
    (10, -10)
    """
    return received - bankruptcy


def contributed(amount: int, *, balance: int, cap: int | None = None) -> tuple[int, int]:
    """(to the fund, over its cap) of what comes in; a cap of None takes all.

    >>> contributed(10, balance=95, cap=100), contributed(10, balance=95)
    ((5, 5), (10, 0))
    """
    check(amount >= 0, "a contribution is not negative", amount)
    room = amount if cap is None else max(0, cap - balance)
    return min(amount, room), amount - min(amount, room)


# ── when it is not enough ────────────────────────────────────────────────────────────────────────


class Drawdown(NamedTuple):
    """How far a market has drawn the fund down, whether to deleverage, and what is beyond."""

    ratio: Fraction
    """(market's profit − its highest of eight hours) / the fund's highest of eight hours."""
    deleverage: bool
    beyond: Fraction
    """Loss beyond the limit: what the fund had to add beside its share; smallest units."""


def drawdown(
    *,
    balance: int,
    threshold: int,
    profit: int,
    profit_max: int,
    balance_max: int,
    was: bool,
    start: Fraction,
    stop: Fraction,
) -> Drawdown:
    """Bybit's trigger: deleverage at a fund of nothing, or one drawn down by a market too fast.

    Starts at balance <= 0, or balance > threshold and ratio < start; stops once ratio > stop. Where
    the fund never held anything there is no ratio: 0. Source: Bybit API v5, ADL alert.

    >>> found = drawdown(balance=1_000_000, threshold=1, profit=-350_000, profit_max=0,
    ...     balance_max=1_000_000, was=False, start=Fraction(-3, 10), stop=Fraction(-1, 4))
    >>> str(found.ratio), found.deleverage, int(found.beyond)
    ('-7/20', True, 50000)
    """
    check(start <= stop <= 0, "it starts deeper than it stops", start, stop)
    ratio = Fraction(profit - profit_max, balance_max) if balance_max > 0 else Fraction(0)
    starts = balance > threshold and ratio < start
    keeps = was and ratio <= stop
    beyond = max(Fraction(0), (start - ratio) * max(0, balance_max))
    return Drawdown(ratio, balance <= 0 or starts or keeps, beyond)


def pool_floor(average: int, *, share: Fraction, least: int) -> Fraction:
    """OKX's floor of a fund: its eight-hour average less the larger of a share and an amount.

    >>> pool_floor(400_000, share=Fraction(3, 10), least=50_000)
    Fraction(280000, 1)
    """
    return average - max(share * average, Fraction(least))


def pool_spent(
    balance: int,
    average: int,
    *,
    share: Fraction,
    least: int,
    unmatched: int = 0,
    unmatched_max: int | None = None,
) -> bool:
    """OKX's trigger: below its floor, empty, or holding more than it may of what it cannot sell.

    >>> pool_spent(200_000, 400_000, share=Fraction(3, 10), least=50_000)
    True
    """
    if unmatched_max is not None and unmatched > unmatched_max:
        return True
    return balance <= 0 or balance < pool_floor(average, share=share, least=least)
