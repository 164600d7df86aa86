"""The small venue of `venues`, tended as an engine is: every step audited."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from msgspec import structs

from solvent.account.ledger import is_pool
from solvent.engine.state import State
from solvent.host import Answer
from solvent.messages import commands as c
from solvent.messages.events import Event, Posted
from solvent.messages.fields import AccountKind, Side
from solvent.tending.entry import Tending
from solvent.tending.plans import Plan
from tests.venues import DOLLAR, LIN, Venue, book_venue, own

STAGES = "[liquidation]\nstages = "


class Tended(Tending):
    """A venue's books with what an engine does about accounts that cannot pay.

    After each command the books are sound, and no pool was below zero after any of its moves.
    """

    def __init__(self, venue: Venue) -> None:
        self.venue = venue
        self.batches: list[int] = []
        """How many commands had been told after each batch: a stop is never in the midst of one."""
        self.told: list[tuple[Any, int, tuple[Event, ...]]] = []

    @property
    def state(self) -> State:
        return self.venue.state

    @property
    def now_ms(self) -> int:
        return self.venue.time_ms

    def submit_all(
        self, commands: Iterable[Any], *, times_ms: Sequence[int] | None = None
    ) -> list[Answer]:
        assert times_ms is None or set(times_ms) <= {self.venue.time_ms}
        answers = []
        for command in commands:
            pools = {w: a for w, a in self.state.ledger.balances.items() if is_pool(w)}
            found = self.venue.send(command)
            self.venue.sound()
            for event in found.events:
                for source, target, amount in event.moves if isinstance(event, Posted) else ():
                    for which, change in ((source, -amount), (target, amount)):
                        if is_pool(which):
                            pools[which] = pools.get(which, 0) + change
                            assert pools[which] >= 0, (command, which)
            answers.append(Answer(self.state.log.sequence, found.code, found.events))
            self.told.append((command, found.code, found.events))
        self.batches.append(len(self.told))
        return answers

    def kinds(self, *, reviews: bool = False) -> list[str]:
        """Which commands were sent, refused ones in brackets; those that review margin if asked."""
        names = [
            type(one).__name__ if not code else f"({type(one).__name__})"
            for one, code, _ in self.told
        ]
        return [name for name in names if reviews or name not in ("ReviewMargin", "Heartbeat")]

    def sent(self, kind: type[Any]) -> list[dict[str, Any]]:
        """Commands of a kind that were done, without key and actor."""
        found = [structs.asdict(one) for one, code, _ in self.told
                 if isinstance(one, kind) and not code]  # fmt: skip
        return [{n: v for n, v in one.items() if n not in ("key", "actor")} for one in found]


def tended(
    stages: str = '["book", "fund", "adl", "socialise"]', more: str = "", *, fund: int = 0,
    lots: int = 200, money: int = 400, engine: str = "",
) -> Tended:  # fmt: skip
    """Dave has bought lots at 50,000 from bob, of 0.001 bitcoin, and has `money` dollars: 200 lots
    are 10,000 dollars, of which 500 are maintenance margin and 1,000 initial. In the fund are
    `fund` dollars."""
    venue = book_venue(f"{engine}\n{STAGES}{stages}\n{more}")
    venue.open("dave", usdc=max(money, lots * 5 + 5))
    if fund:
        venue.do(c.Deposit, account="insurance", asset="USDC", amount=fund * DOLLAR)
    venue.trade("dave", "bob", lots, 50_000)
    own(venue, "dave", money * DOLLAR)
    return Tended(venue)


def bid(engine: Tended, name: str, lots: int, ticks: int, who: str = "carol") -> None:
    """Somebody who would buy."""
    engine.venue.order(who, name, lots, ticks, symbol=LIN)


def stages_of(plans: list[Plan]) -> list[tuple[str, str]]:
    """Whose, and which stage."""
    return [(one.account, one.stage) for one in plans]


__all__ = ["AccountKind", "Side", "Tended", "bid", "stages_of", "tended"]
