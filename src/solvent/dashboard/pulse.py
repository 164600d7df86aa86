"""What the pages need of an engine, copied on its own thread between two batches.

Everything here is short: prices, counts and pools, and what changed accounts hold. All that takes
time happens elsewhere, on the copies.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from solvent.account.ledger import FEES, FIRST_ACCOUNT, GENERAL, INSURANCE, node
from solvent.dashboard.crowd import Part, owners, part_of, touched
from solvent.dashboard.holding import AccountNow, account_now
from solvent.engine.standing import fresh_plan
from solvent.engine.state import State
from solvent.host import Engine
from solvent.instruments import Instrument
from solvent.margining.compile import AnyPlan, AnyRulebook
from solvent.service.streams import Entry
from solvent.units import DOLLARS, MICRO

NANO = 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class RulesNow:
    """A rulebook in force; `plan` is None without arrays, `fresh` False where they are old."""

    name: str
    day: str
    rulebook: AnyRulebook
    plan: AnyPlan | None
    fresh: bool
    venue: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulse:
    """A venue at one command. Pools are in millionths of a dollar, by their asset.

    Attributes:
        gone: numbers whose copies no longer hold; `parts` has those that are somebody's still.
        instruments: symbol → terms, where there are others than before; None where not.
        watched: accounts that pages show.
    """

    sequence: int
    time_ms: int
    index: Mapping[str, float]
    fund_micro: Mapping[str, int]
    fees_micro: Mapping[str, int]
    rules: tuple[RulesNow, ...]
    accounts: int
    liquidating: int
    calls: int
    orders: int
    gone: frozenset[int]
    parts: tuple[Part, ...]
    instruments: Mapping[str, Instrument] | None
    watched: Mapping[str, AccountNow]

    @property
    def fund_total_micro(self) -> int:
        """The insurance fund in all assets."""
        return sum(self.fund_micro.values())


class Changes:
    """Who has changed since they were last copied. All of it happens on the engine's thread: so a
    copy misses nothing that is durable, and needs no lock."""

    def __init__(self) -> None:
        self._waiting: set[int] = set()
        self._symbols: dict[str, Sequence[str]] = {}

    def hear(self, engine: Engine, entries: Sequence[Entry]) -> None:
        """Note whom commands were about: a hook of the venue."""
        for entry in entries:
            found = touched(entry.events) if not entry.code else ()
            self._waiting.update(everybody(engine.state) if found is None else found)

    def begin(self, engine: Engine) -> None:
        """Everybody is to be copied anew."""
        self._waiting.update(everybody(engine.state))

    def take(self, state: State, most: int) -> tuple[list[int], bool]:
        """Some of them, who are then no longer waited for, and whether that is all. Who is margined
        on arrays of other instruments than before has changed too."""
        for name, rules in state.rules.items():
            told = () if rules.plan is None else rules.plan.arrays.universe.symbols
            if self._symbols.get(name, ()) != told:
                self._symbols[name] = told
                self._waiting.update(
                    one.number for one in state.accounts
                    if one is not None and one.number >= FIRST_ACCOUNT and one.rulebook == name
                )  # fmt: skip
        some = sorted(self._waiting)[:most]
        self._waiting.difference_update(some)
        return some, not self._waiting


def pulse_of(state: State, *, changed: Iterable[int], watched: Iterable[str], listed: int) -> Pulse:
    """Copy what pages need; `changed` accounts are copied in full, `listed` is how many contracts
    were known before."""
    gone = frozenset(changed)
    parts = [part_of(state, name, numbers) for name, numbers in owners(state, gone).items()]
    index = {name: one.price_nano / NANO for name, one in state.underlyings.items()}
    contracts = state.contracts
    return Pulse(
        sequence=state.log.sequence, time_ms=state.log.time_ms, index=index,
        fund_micro=_pool(state, INSURANCE, index), fees_micro=_pool(state, FEES, index),
        rules=tuple(_rules(state)), accounts=len(state.accounts) - FIRST_ACCOUNT,
        liquidating=len(state.cases), calls=len(state.calls),
        orders=sum(map(len, state.desk.orders.values())), gone=gone,
        parts=tuple(one for one in parts if one is not None),
        instruments=None if len(contracts) == listed
        else {one.listing.symbol: one.instrument for one in contracts},
        watched={
            name: account_now(state, state.account(state.account_numbers[name]))
            for name in watched if name in state.account_numbers
        },
    )  # fmt: skip


def everybody(state: State) -> range:
    """Numbers of all accounts that are no pools."""
    return range(FIRST_ACCOUNT, len(state.accounts))


def _rules(state: State) -> Iterable[RulesNow]:
    for name, rules in state.rules.items():
        yield RulesNow(
            name=name, day=rules.day, rulebook=rules.rulebook, plan=rules.plan,
            fresh=fresh_plan(state, rules) is not None, venue=name == state.venue_rulebook,
        )  # fmt: skip


def _pool(state: State, owner: int, index: Mapping[str, float]) -> dict[str, int]:
    """A pool's balances at the index; an asset without a price counts as nothing."""
    found: dict[str, Any] = {}
    for number, (name, decimals) in enumerate(state.assets):
        units = state.ledger.balance(node(owner, GENERAL, number))
        price = index.get(name, 1.0 if name in DOLLARS else 0.0)
        found[name] = int(units / 10**decimals * price * MICRO)
    return found
