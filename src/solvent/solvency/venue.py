"""The watch over an engine: its events say who changed, its own standings say where they are.

Every event names the accounts whose money, positions, orders or rules it changed; risk arrays and
rulebooks change all accounts that are margined by them, and so does their growing too old. Those
accounts, and no others, are asked of `engine.standing` again, all at once. So after each command
the verdicts are what asking everybody would give, and the engine's own.

`fallen` is what a liquidation begins with: accounts below maintenance, the most urgent first.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from solvent.account.ledger import FIRST_ACCOUNT, parts
from solvent.engine.standing import fresh_plan, standings, view
from solvent.engine.state import CLOSED, Account, Standing, State
from solvent.messages import events as e
from solvent.solvency.classes import State as Class

_OF_ONE: Final = (
    e.RulebookAssigned, e.StatusChanged, e.ModeChanged, e.OrderRested, e.OrderReduced,
    e.OrderEnded, e.StopPlaced, e.StopTriggered, e.StopCancelled, e.ProtectionSet,
    e.ProtectionTripped, e.BlockReported, e.PositionChanged, e.FeePaid, e.LiquidationBegun,
)  # fmt: skip
_OF_ALL: Final = (e.Imported, e.Delisted, e.ExpirySettled)
"""Contracts that go, and books that come from elsewhere, may change rows of anybody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """An account's class, how many levels of closeness it passed, and what they rest on.

    `as_of_ms` is the engine's time at which it was computed.
    """

    state: Class
    close: int
    standing: Standing
    as_of_ms: int


class VenueWatch:
    """Verdicts on every account of an engine's state that is not closed.

    Attributes:
        verdicts: account number → verdict. asked: how many standings were computed in all.
    """

    def __init__(self, state: State) -> None:
        self.verdicts: dict[int, Verdict] = {}
        self.asked = 0
        self.closed = False
        self._rulebook: dict[int, str] = {}
        self._fresh: dict[str, bool] = {}
        self._ask(state, set(range(FIRST_ACCOUNT, len(state.accounts))))
        self._fresh = _freshness(state)

    def follow(self, state: State, events: Iterable[e.Event]) -> int:
        """Bring the verdicts up to a state that these events have led to; how many were asked.

        Called after every command, or after several with all their events.
        """
        who, rulebooks = set[int](), set[str]()
        for event in events:
            if isinstance(event, _OF_ALL):
                who.update(range(FIRST_ACCOUNT, len(state.accounts)))
            elif isinstance(event, e.ArraysPublished):
                rulebooks.add(event.rulebook)
            elif isinstance(event, e.RulebookAdopted):
                rulebooks.add(event.name)
            else:
                who.update(_named(event))
        fresh = _freshness(state)
        rulebooks |= {name for name in fresh if fresh[name] != self._fresh.get(name)}
        self._fresh = fresh
        if rulebooks:
            who.update(one for one, name in self._rulebook.items() if name in rulebooks)
        return self._ask(state, who)

    def close(self) -> None:
        """Follow no more."""
        self.closed = True

    def urgent(self) -> list[int]:
        """Accounts that are not healthy: liquidate, call, warning, then unknown; in each the least
        left of their equity first."""
        found = [one for one, seen in self.verdicts.items() if seen.state is not Class.HEALTHY]
        return sorted(found, key=lambda one: (_rank(self.verdicts[one]), one))

    def fallen(self) -> list[int]:
        """Accounts below maintenance, the most urgent first."""
        return [one for one in self.urgent() if self.verdicts[one].state is Class.LIQUIDATE]

    def count(self, state: Class) -> int:
        """Accounts in a state."""
        return sum(seen.state is state for seen in self.verdicts.values())

    def _ask(self, state: State, who: set[int]) -> int:
        accounts = [state.accounts[number] for number in sorted(who) if number >= FIRST_ACCOUNT]
        told: list[Account] = []
        for account in accounts:
            if account is None:
                continue
            if account.status == CLOSED or account.rulebook not in state.rules:
                self.verdicts.pop(account.number, None)
                self._rulebook.pop(account.number, None)
            else:
                told.append(account)
        found = standings(state, [view(state, account) for account in told])
        for account, standing in zip(told, found, strict=True):
            self._rulebook[account.number] = account.rulebook
            self.verdicts[account.number] = verdict(standing, as_of_ms=state.log.time_ms)
        self.asked += len(told)
        return len(told)


def verdict(standing: Standing, *, as_of_ms: int) -> Verdict:
    """The class of a standing; `call` and `liquidate` are the rulebook's own conditions.

    >>> verdict(Standing(100, 90, 85, True, False, False), as_of_ms=7).state.name
    'WARNING'
    """
    room, equity = standing.equity_micro - standing.maintenance_micro, standing.equity_micro
    close = 2 if room < 0 else sum(room * share < equity for share in (5, 10))
    if not standing.known:
        return Verdict(state=Class.UNKNOWN, close=0, standing=standing, as_of_ms=as_of_ms)
    state = Class.WARNING if close else Class.HEALTHY
    if standing.call:
        state = Class.CALL
    if standing.liquidate:
        state, close = Class.LIQUIDATE, 2
    return Verdict(state=state, close=close, standing=standing, as_of_ms=as_of_ms)


def _named(event: e.Event) -> tuple[int, ...]:
    """The accounts that an event tells of."""
    if isinstance(event, e.Posted):
        return tuple(
            parts(node)[0] for source, target, _ in event.moves for node in (source, target)
        )
    if isinstance(event, e.Traded):
        return event.buyer, event.seller
    if isinstance(event, e.Numbered):
        return (event.number,) if event.kind == "account" else ()
    return (event.account,) if isinstance(event, _OF_ONE) else ()


def _freshness(state: State) -> dict[str, bool]:
    """Rulebook → whether it has arrays that are young enough to decide on."""
    return {name: fresh_plan(state, rules) is not None for name, rules in state.rules.items()}


def _rank(seen: Verdict) -> tuple[int, bool, float]:
    """Least first: class, whether any equity is left, the share of it above maintenance."""
    equity = seen.standing.equity_micro
    room = equity - seen.standing.maintenance_micro
    order = 5 if seen.state is Class.UNKNOWN else -int(seen.state)
    return order, equity > 0, room / equity if equity > 0 else float(room)
