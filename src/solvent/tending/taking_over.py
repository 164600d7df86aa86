"""The insurance fund takes positions over at their bankruptcy price, within its money and cap.

What it holds it will have to sell, and until then the market moves: after what it takes it is
worth at least the rulebook's `reserve` of the value of all that it holds, and never less than what
selling that at the slippage may cost. So it owes nothing unless prices move by more than that.
"""

from __future__ import annotations

from fractions import Fraction

from solvent.account.ledger import INSURANCE
from solvent.engine.state import State
from solvent.margining.closing import LiquidationText
from solvent.messages import commands as c
from solvent.tending import funds
from solvent.tending.closings import Part, bankrupt, enough, needed, plan_of, residues
from solvent.tending.fills import Fill
from solvent.tending.looked import Looked
from solvent.tending.plans import Plan, Row, row
from solvent.tending.pools import Pool
from solvent.tending.prices import Close

RULE = "the insurance fund takes positions over at their bankruptcy price"


def planned(
    state: State, pool: Pool, closing: LiquidationText, looked: Looked | None = None
) -> Plan | None:
    """All that the fund can take now, what gains it first; None where it can take nothing."""
    if not closing.fund.takes:
        return None
    rows: list[Row] = []
    parts: list[Part] = []
    spent: dict[int, Fraction] = {}
    share = funds.reserve(closing)
    for one in bankrupt(state, pool, closing):
        asset = one.contract.deal.asset
        if one.below_mark < 0 and funds.drawn_down(state, asset, closing.fund):
            continue
        spare = funds.spare(state, asset, closing) - spent.get(asset, Fraction(0))
        loss, cost = Fraction(-one.below_mark, abs(one.lots)), share * worth_of(one)
        # What closes a position of the fund's own need not be sold, and nor need that.
        lots = bearable(spare, loss - cost, nets := netting(one))
        if lots == nets:
            rest = abs(one.lots) - nets
            lots += bearable(spare - (loss - cost) * nets, loss + cost, rest)
        if loss > 0:
            lots = min(lots, capped(one, funds.bears(state, one.contract, closing.fund)))
        lots = min(lots, enough(state, pool, closing, one, looked))
        if lots > 0:
            both = min(lots, nets)
            used = (loss - cost) * both + (loss + cost) * (lots - both)
            spent[asset] = spent.get(asset, Fraction(0)) + used
            parts.append(Part(one, (Fill(lots, one.ticks),)))
            rows.append(take(pool, one, lots, "the fund"))
    if not rows:
        return None
    enough_rows = needed(state, pool, closing, parts)
    if enough_rows < len(rows):
        del rows[enough_rows:]
    else:
        rows += residues(state, pool, parts)
    return plan_of(state, pool, "fund", RULE, rows, funds=True)


def netting(one: Close) -> int:
    """Lots of a position that the fund holds the other side of."""
    mine = one.contract.holders.get(INSURANCE)
    if mine is None or mine.lots * one.lots >= 0:
        return 0
    return min(abs(mine.lots), abs(one.lots))


def bearable(spare: Fraction, each: Fraction, most: int) -> int:
    """Lots after which a fund that can spare so much still can, where each costs it so much (below
    0: brings it): all that are there, or as many as it can bear.

    >>> [bearable(Fraction(10), Fraction(each), 5) for each in (3, 1, 0, -1)]
    [3, 5, 5, 5]
    >>> [bearable(Fraction(-10), Fraction(each), 5) for each in (3, 0, -1, -2)]
    [0, 0, 0, 5]
    """
    if each > 0:
        return min(most, int(max(spare, Fraction(0)) / each))
    return most if spare - each * most >= 0 else 0


def worth_of(one: Close) -> Fraction:
    """Smallest units that a lot stands for at the mark, as what the fund holds is valued."""
    deal = one.contract.deal
    return abs(deal.money(deal.value(1, one.contract.mark_points or 0)))


def capped(one: Close, may: int) -> int:
    """Lots whose loss against the mark is within what a fund may lose."""
    return abs(one.lots) * max(0, may) // -one.below_mark


def loss_of(one: Close, lots: int) -> int:
    """What a taker of some of the lots loses against the mark, rounded up; a gain is negative."""
    return -(one.below_mark * lots // abs(one.lots))


def take(pool: Pool, one: Close, lots: int, who: str, by: str | None = None) -> Row:
    """The row by which somebody takes lots."""
    loss = loss_of(one, lots)
    return row(
        f"{who} takes {lots:,} lots, {'a loss' if loss > 0 else 'a gain'} of {abs(loss):,} units "
        "against the mark",
        c.TakeOver, account=pool.account.name, symbol=one.contract.listing.symbol, lots=lots,
        price_ticks=one.ticks, by=by,
    )  # fmt: skip
