"""The watch over an engine: its events say who changed, its own standings say where they are.

Every event names the accounts whose money, positions, orders or rules it changed; risk arrays and
rulebooks change all accounts that are margined by them, and so does their growing too old. Those
accounts, and no others, are asked of `engine.standing` again, all at once. So after each command
the verdicts are what asking everybody would give, and the engine's own.

Newer arrays change the money of all accounts and the verdict of few: accounts that are proved to
keep theirs (`venue_bands`) are not asked. Their verdicts are the engine's own all the same, while
`Verdict.standing` is that of `Verdict.as_of_ms`; `refresh` asks anew.

`fallen` is what a liquidation begins with: accounts below maintenance, the most urgent first.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Final

from solvent.account.ledger import FIRST_ACCOUNT, parts
from solvent.engine.standing import fresh_plan, standings, view
from solvent.engine.state import CLOSED, Account, Standing, State
from solvent.messages import events as e
from solvent.solvency.classes import State as Class
from solvent.solvency.classes import Total
from solvent.solvency.steady import Guard
from solvent.solvency.venue_bands import VenueBands

_OF_ONE: Final = (
    e.RulebookAssigned, e.StatusChanged, e.ModeChanged, e.OrderRested, e.OrderReduced,
    e.OrderEnded, e.StopPlaced, e.StopTriggered, e.StopCancelled, e.ProtectionSet,
    e.ProtectionTripped, e.BlockReported, e.PositionChanged, e.FeePaid, e.LiquidationBegun,
    e.InputsSet,
)  # fmt: skip
_OF_ALL: Final = (e.Imported, e.Delisted, e.ExpirySettled)
"""Contracts that go, and books that come from elsewhere, may change rows of anybody."""
SLICE: Final = 256
"""Accounts that are proved anew whenever arrays are published."""
EVERY: Final = Guard(state=Class.WARNING)
"""All states and closeness are proved: a verdict is the engine's own, asked for or not."""


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

    Args:
        slice_: accounts that are proved anew whenever arrays are published; 0 proves nobody, and
            asks everybody. guard: which verdicts are proved. age_ms: no verdict of an account under
            a rulebook that publishes is older, where slices are large enough.

    Attributes:
        verdicts: account number → verdict. asked: how many standings were computed in all.
        skipped: how many were proved not to be needed.
    """

    def __init__(
        self, state: State, *, slice_: int = SLICE, guard: Guard = EVERY, age_ms: int = 60_000
    ) -> None:
        self.verdicts: dict[int, Verdict] = {}
        self.asked = self.skipped = 0
        self.closed = False
        self.slice, self.guard, self.age_ms = slice_, guard, age_ms
        self.totals = Totals()
        self.bands: dict[str, VenueBands] = {}
        self._rulebook: dict[int, str] = {}
        self._under: dict[str, dict[int, None]] = {}
        self._fresh: dict[str, bool] = {}
        self._ask(state, set(range(FIRST_ACCOUNT, len(state.accounts))))
        self._fresh = _freshness(state)

    def follow(self, state: State, events: Iterable[e.Event]) -> int:
        """Bring the verdicts up to a state that these events have led to; how many were asked.

        Called after every command, or after several with all their events.
        """
        who, published, others = set[int](), set[str](), set[str]()
        for event in events:
            if isinstance(event, _OF_ALL):
                who.update(range(FIRST_ACCOUNT, len(state.accounts)))
            elif isinstance(event, e.ArraysPublished):
                published.add(event.rulebook)
            elif isinstance(event, e.RulebookAdopted):
                others.add(event.name)
            else:
                who.update(_named(event))
        fresh = _freshness(state)
        others |= {name for name in fresh if fresh[name] != self._fresh.get(name)}
        self._fresh = fresh
        for number in who:
            self._void(number)
        for name in others:
            self.bands.pop(name, None)
            who.update(self._under.get(name, ()))
        for name in published - others:
            who |= self._outside(state, name)
        asked = self._ask(state, who)
        for name in published:
            asked += self._renew(state, name)
        return asked

    def close(self) -> None:
        """Follow no more."""
        self.closed = True

    def refresh(self, state: State, accounts: Iterable[int]) -> int:
        """Ask of accounts anew, whatever is proved of them; how many."""
        return self._ask(state, set(accounts))

    def urgent(self) -> list[int]:
        """Accounts that are not healthy: liquidate, call, warning, then unknown; in each the least
        left of their equity first."""
        found = [one for one, seen in self.verdicts.items() if seen.state is not Class.HEALTHY]
        return sorted(found, key=lambda one: (_rank(self.verdicts[one]), one))

    def fallen(self) -> list[int]:
        """Accounts below maintenance, the most urgent first."""
        return [one for one in self.urgent() if self.verdicts[one].state is Class.LIQUIDATE]

    def count(self, state: Class, *, rulebook: str | None = None) -> int:
        """Accounts in a state, of one rulebook or of all."""
        return self.total(state, rulebook=rulebook).accounts

    def total(self, state: Class, *, rulebook: str | None = None) -> Total:
        """Counts and money of a state; of accounts that were not asked, as of their verdicts."""
        return self.totals.of(state, rulebook)

    def unbounded(self) -> dict[str, str]:
        """Rulebook → why its accounts are all asked at each publication; not those that have
        bands."""
        return {name: one.unbounded for name, one in self.bands.items() if one.unbounded}

    # ── bands ────────────────────────────────────────────────────────────────────────────────

    def _void(self, number: int) -> None:
        bands = self.bands.get(self._rulebook.get(number, ""))
        if bands is not None:
            bands.void(number)

    def _outside(self, state: State, name: str) -> set[int]:
        """Accounts of a rulebook that newer arrays may have changed the verdicts of."""
        mine = self._under.get(name, {})
        plan, bands = fresh_plan(state, state.rules[name]), self.bands.get(name)
        if plan is None or bands is None:
            return set(mine)
        left = bands.outside(plan, mine)
        self.skipped += len(mine) - len(left)
        return left

    def _renew(self, state: State, name: str) -> int:
        """Look at accounts of a rulebook in turn: ask of those whose verdicts are old, prove those
        that were not from the newest base; how many were asked."""
        rules = state.rules.get(name)
        plan = None if rules is None else fresh_plan(state, rules)
        if rules is None or plan is None or not self.slice or not self._under.get(name):
            return 0
        bands = self.bands.setdefault(name, VenueBands(self.guard))
        if bands.unbounded and not bands.worn(plan):
            return 0
        late, mine = state.log.time_ms - self.age_ms, self._under[name]
        scanned = list(islice(mine, 2 * self.slice))
        for number in scanned:
            mine[number] = mine.pop(number)
        aged = [one for one in scanned if self.verdicts[one].as_of_ms <= late]
        chosen = [one for one in scanned if not bands.current(one)][: self.slice]
        asked = self._ask(state, set(aged))
        views = [view(state, state.account(one)) for one in chosen]
        bands.prove(state, rules, plan, views)
        return asked

    def _ask(self, state: State, who: set[int]) -> int:
        accounts = [state.accounts[number] for number in sorted(who) if number >= FIRST_ACCOUNT]
        told: list[Account] = []
        for account in accounts:
            if account is None:
                continue
            if account.status == CLOSED or account.rulebook not in state.rules:
                self._drop(account.number)
            else:
                told.append(account)
        found = standings(state, [view(state, account) for account in told])
        for account, standing in zip(told, found, strict=True):
            seen = verdict(standing, as_of_ms=state.log.time_ms)
            self._put(account.number, account.rulebook, seen)
        self.asked += len(told)
        return len(told)

    def _put(self, number: int, rulebook: str, seen: Verdict) -> None:
        was = self._rulebook.get(number)
        if was is not None:
            self.totals.add(was, self.verdicts[number], -1)
        if was != rulebook:
            if was is not None:
                self._void(number)
                del self._under[was][number]
            self._rulebook[number] = rulebook
            self._under.setdefault(rulebook, {})[number] = None
        self.verdicts[number] = seen
        self.totals.add(rulebook, seen, 1)

    def _drop(self, number: int) -> None:
        rulebook = self._rulebook.get(number)
        if rulebook is None:
            return
        self._void(number)
        self.totals.add(rulebook, self.verdicts.pop(number), -1)
        del self._under[rulebook][number], self._rulebook[number]


class Totals:
    """Counts and money by rulebook and state, kept up by additions."""

    def __init__(self) -> None:
        self._sums: dict[tuple[str, Class], list[int]] = {}

    def add(self, rulebook: str, seen: Verdict, sign: int) -> None:
        """Count an account in, or out."""
        sums = self._sums.setdefault((rulebook, seen.state), [0] * 5)
        one = seen.standing
        money = (1, one.equity_micro, one.initial_micro, one.maintenance_micro,
                 max(-one.equity_micro, 0))  # fmt: skip
        for place, amount in enumerate(money):
            sums[place] += sign * amount

    def of(self, state: Class, rulebook: str | None) -> Total:
        """The sums of a state, of one rulebook or of all."""
        found = [0] * 5
        for (name, kind), sums in self._sums.items():
            if kind is state and rulebook in (None, name):
                found = [one + other for one, other in zip(found, sums, strict=True)]
        accounts, equity, initial, maintenance, shortfall = found
        return Total(
            accounts=accounts, equity=equity, initial=initial, maintenance=maintenance,
            shortfall=shortfall,
        )  # fmt: skip


def verdict(standing: Standing, *, as_of_ms: int) -> Verdict:
    """The class of a standing; `call` and `liquidate` are the rulebook's own conditions.

    >>> verdict(Standing(100, 90, 85, True, False, False), as_of_ms=7).state.name
    'WARNING'
    """
    room = standing.equity_micro - standing.maintenance_micro
    behind = standing.equity_micro + standing.credit_micro
    close = 2 if room < 0 else sum(room * share < behind for share in (5, 10))
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
