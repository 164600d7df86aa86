"""Who falls if all prices gap, and how much money is then missing: by the rulebook's own margin.

For each gap the market that was published last is repriced with the vols of now, and every account
of a rulebook is margined on it. A ladder is kept until something else is published; accounts are
as they were when it was made.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from msgspec import Struct

from solvent import api
from solvent.account.ledger import FIRST_ACCOUNT
from solvent.documents import dollars_of
from solvent.engine.standing import View, has_risk, standings, view
from solvent.engine.state import CLOSED, State
from solvent.market.moved import moved
from solvent.service.asks import Asks, market_of
from solvent.service.portfolios import ruled
from solvent.service.published import Board, Published
from solvent.service.venue import Venue

GAPS: Final = (-0.5, -0.3, -0.2, -0.1, -0.05, 0.0, 0.05, 0.1, 0.2, 0.3, 0.5)
LADDER_S: Final = 30.0
"""A ladder of many accounts and contracts takes so long at most."""


class RungRow(Struct):
    """One gap: accounts below maintenance, those of whom it is not known, and in dollars what
    equity is below 0 and what it is below maintenance, of those who have fallen."""

    gap: float
    fallen: int
    unknown: int
    shortfall: str
    missing: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ladder:
    """Rungs of a rulebook's accounts on one publication."""

    rulebook: str
    sequence: int
    as_of_ms: int
    accounts: int
    rungs: tuple[RungRow, ...]


class Ladders:
    """The last ladder of each rulebook."""

    def __init__(self) -> None:
        self.made: dict[str, Ladder] = {}


async def ladder(
    venue: Venue, board: Board, asks: Asks, kept: Ladders, rulebook: str | None
) -> Ladder:
    """The ladder of a rulebook (the venue's) as of what was published last. Raises BadInput."""
    now = board.now
    name = ruled(now.state, rulebook)
    found = kept.made.get(name)
    if found is None or found.sequence != now.sequence:
        market_of(now)
        views = await venue.read(lambda engine: _views(engine.state, name))
        found = kept.made[name] = await asks.run(
            lambda patience: _made(now, name, views, patience), seconds=LADDER_S
        )
    return found


def _views(state: State, rulebook: str) -> list[View]:
    """Accounts of a rulebook of which margin is asked, apart from the books."""
    found = []
    for account in state.accounts[FIRST_ACCOUNT:]:
        if account is None or account.status == CLOSED or account.rulebook != rulebook:
            continue
        seen = view(state, account)
        if has_risk(seen):
            found.append(
                View(copy.copy(account), seen.positions, seen.balances, seen.margins,
                     list(seen.orders), dict(seen.modes), dict(seen.sides))
            )  # fmt: skip
    return found


def _made(
    now: Published, rulebook: str, views: Sequence[View], pause: Callable[[], object]
) -> Ladder:
    rules = now.rules[rulebook]
    rungs = []
    for gap in GAPS:
        pause()
        rungs.append(rung(now, rulebook, gap, views))
    return Ladder(
        rulebook=rulebook, sequence=now.sequence,
        as_of_ms=0 if rules.arrays is None else int(rules.arrays.as_of_ms), accounts=len(views),
        rungs=tuple(rungs),
    )  # fmt: skip


def rung(now: Published, rulebook: str, gap: float, views: Sequence[View]) -> RungRow:
    """One gap of all prices, for views of accounts."""
    found = standings(gapped(now, rulebook, gap), views)
    fallen = [one for one in found if one.known and one.liquidate]
    return RungRow(
        gap, len(fallen), sum(not one.known for one in found),
        str(dollars_of(sum(max(0, -one.equity_micro) for one in fallen))),
        str(dollars_of(sum(max(0, one.maintenance_micro - one.equity_micro) for one in fallen))),
    )  # fmt: skip


def gapped(now: Published, rulebook: str, gap: float) -> State:
    """The published view with one rulebook's plan made on a market whose prices have gapped."""
    rules, snapshot = now.rules[rulebook], market_of(now)
    if gap:
        factors = dict.fromkeys(snapshot.universe.underlyings, 1.0 + gap)
        snapshot = moved(snapshot, factors)
    plan = api.prepare(snapshot, rules.rulebook)
    row_of = {symbol: row for row, symbol in enumerate(plan.arrays.universe.symbols)}
    rows = [row_of.get(one.listing.symbol, -1) for one in now.state.contracts]
    found = copy.copy(now.state)
    found.rules = {
        **now.rules, rulebook: replace(rules, plan=plan, row_of_contract=rows, found={})
    }  # fmt: skip
    return found
