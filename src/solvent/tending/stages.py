"""The stages of one pool that is under liquidation, first to last, as its rulebook orders them.

A stage that has nothing to offer (an empty book, a fund without money, nobody on the other side)
leaves the pool to the next one; one that has to wait (for its cooldown, for bids) ends the search.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from solvent.engine.state import State
from solvent.margining.closing import LiquidationText
from solvent.tending import auctioning, backstop, deleveraging, in_book, taking_over
from solvent.tending.looked import Looked
from solvent.tending.plans import Plan
from solvent.tending.pools import Pool, rules_of, symbol_of

WAITS: Final = "waits"


@dataclass(slots=True)
class Tried:
    """Stages that the engine has refused to a pool since somebody last looked at the venue."""

    refused: set[tuple[str, str, str]] = field(default_factory=set)
    looked: Looked | None = None
    """What this look has found already; None where nobody tells it what happens."""

    def add(self, plan: Plan) -> None:
        """A step of the plan was not done."""
        self.refused.add((plan.account, plan.pool, plan.stage))

    def has(self, account: str, pool: str, stage: str) -> bool:
        """Whether that was tried in vain."""
        return (account, pool, stage) in self.refused


Stage = Callable[[State, Pool, LiquidationText], "Plan | str | None"]
"""A plan; why it waits; or None where the next stage has to do it."""
_STAGES: Final[dict[str, Stage]] = {
    "auction": auctioning.planned,
    "backstop": backstop.planned,
}
_LookingStage = Callable[[State, Pool, LiquidationText, Looked | None], "Plan | str | None"]
_LOOKING: Final[dict[str, _LookingStage]] = {
    "book": in_book.planned,
    "fund": taking_over.planned,
    "adl": deleveraging.planned,
    "socialise": deleveraging.torn_up,
}
"""Stages that make use of what a look has found already."""


def planned(state: State, pool: Pool, tried: Tried) -> Plan:
    """The plan of the first stage that has one; without rows where all have to wait, or where
    nothing can be done, which `open` tells."""
    closing = rules_of(state, pool.account).closing
    name = pool.account.name
    symbol = symbol_of(state, pool)
    for stage in closing.stages:
        if tried.has(name, symbol, stage):
            continue
        found: Plan | str | None
        if stage in _LOOKING:
            found = _LOOKING[stage](state, pool, closing, tried.looked)
        else:
            found = _STAGES[stage](state, pool, closing)
        if isinstance(found, str):
            return nothing(state, pool, stage, found)
        if found is not None:
            return found
    return nothing(state, pool, closing.stages[-1], "nobody takes what is left")


def nothing(state: State, pool: Pool, stage: str, why: str) -> Plan:
    """A plan that does nothing, and says why."""
    return Plan(
        account=pool.account.name, stage=stage, rule=WAITS, rows=(), open=why,
        pool=symbol_of(state, pool), equity_micro=pool.found.equity_micro,
        maintenance_micro=pool.found.maintenance_micro,
    )  # fmt: skip
