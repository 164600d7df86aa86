"""Books of its own: after every command, what must hold, from the command and its events alone.

The checker keeps every balance, position, order (`resting`) and reference a second time. It costs
as much as the command is large, and compares what was touched with the engine's state; `compare`
compares all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from solvent.account.ledger import (
    CLEARING,
    FIRST_ACCOUNT,
    GENERAL,
    INCOMING,
    OUTGOING,
    is_pool,
    margin_slot,
    node,
    parts,
)
from solvent.engine.audit import violations
from solvent.engine.state import CLOSED, State
from solvent.limits import COMBO_FIRST
from solvent.margining.rulebook import Rulebook
from solvent.messages import commands as c
from solvent.messages import events as e
from solvent.messages.fields import Command
from solvent.sim.resting import Resting

_Closing = c.Liquidate | c.LiquidateInBook | c.TakeOver | c.Deleverage
_CLOSING: Final = (c.Liquidate, c.LiquidateInBook, c.TakeOver, c.Deleverage)
_UNDER_WAY: Final = ("announced", "requested")
Held = tuple[int, int, int]
"""Lots, entry value and basis value."""


class Checker:
    """A second set of books. `state` is only read, to compare with."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.balances: dict[int, int] = {}
        self.positions: dict[int, dict[int, Held]] = {}
        self.lots: dict[int, int] = {}
        self.basis: dict[int, int] = {}
        self.resting = Resting(state)
        self.pending: dict[str, tuple[int, int]] = {}
        self.under_way: dict[int, int] = {}
        self.holding: dict[int, int] = {}
        self.over: set[int] = set()
        self.isolated: set[tuple[int, int]] = set()
        """(account, contract) that are held by themselves."""
        self.rulebooks: dict[int, str] = {}
        self._told: Mapping[type[e.Event], Callable[[Any], Iterable[str]]] = {
            e.OrderRested: self.resting.rested, e.OrderReduced: self.resting.reduced,
            e.OrderEnded: self.resting.ended, e.Traded: self.resting.traded,
            e.StopPlaced: self.resting.stop_changed, e.StopTriggered: self.resting.stop_changed,
            e.StopCancelled: self.resting.stop_changed, e.BlockReported: self.resting.block,
            e.ModeChanged: self._hold_apart, e.LiquidationBegun: self._begun,
            e.RulebookAssigned: self._assigned,
        }  # fmt: skip
        self._nodes: set[int] = set()
        self._contracts: set[int] = set()
        self._pairs: set[tuple[int, int]] = set()

    def see(self, command: Command, events: Sequence[e.Event]) -> list[str]:
        """Follow a command that was done (or refused); everything in it that may not be."""
        wrong: list[str] = []
        nodes: set[int] = set()
        contracts: set[int] = set()
        if events and type(events[0]) is e.Rejected:
            return wrong
        for place, event in enumerate(events):
            kind = type(event)
            if not place:
                self.resting.begin(command, self.positions)
            if kind is e.Posted:
                self._post(event, nodes, wrong)  # type: ignore[arg-type]
            elif kind is e.PositionChanged:
                self._hold(event, contracts)  # type: ignore[arg-type]
            elif kind in self._told:
                wrong += self._told[kind](event)
            elif kind is e.PendingChanged:
                self._move_under_way(command, event, wrong)  # type: ignore[arg-type]
            elif kind is e.StatusChanged:
                self._close(event, wrong)  # type: ignore[arg-type]
            elif kind is e.ExpirySettled or kind is e.Delisted:
                self._over(event.instrument, contracts)  # type: ignore[attr-defined]
        if isinstance(command, c.OpenAccount):
            self.rulebooks[self.state.account_numbers[command.account]] = command.rulebook
        elif isinstance(command, _CLOSING):
            wrong += self._wrongly_paid(command, events)
        wrong += self.resting.end()
        wrong += self._wrong_balances(nodes, contracts)
        wrong += self._wrong_contracts(contracts)
        self._nodes |= nodes
        self._contracts |= contracts
        return wrong

    # ── liquidation ──────────────────────────────────────────────────────────────────────────

    def _hold_apart(self, event: e.ModeChanged) -> Iterable[str]:
        pair = event.account, event.instrument
        if event.isolated:
            self.isolated.add(pair)
        else:
            self.isolated.discard(pair)
        return ()

    def _begun(self, event: e.LiquidationBegun) -> Iterator[str]:
        """Nobody who is well is liquidated. Formulas may ask each pool by itself, so that sums tell
        nothing; scans ask the account."""
        rules = self.state.rules[self.rulebooks[event.account]]
        well = event.equity_micro >= event.maintenance_micro
        if well and isinstance(rules.rulebook, Rulebook):
            yield f"account {event.account}: expected it below maintenance, found {event}"

    def _assigned(self, event: e.RulebookAssigned) -> Iterable[str]:
        self.rulebooks[event.account] = event.rulebook
        return ()

    def _wrongly_paid(self, command: _Closing, events: Iterable[e.Event]) -> Iterator[str]:
        """What an isolated position loses, and its fee, never leave its margin; an option's premium
        has none."""
        owner = self.state.account_numbers[command.account]
        number = self.state.contract_numbers[command.symbol]
        if (owner, number) not in self.isolated or self.state.contracts[number].deal.up_front:
            return
        own = node(owner, GENERAL, self.state.contracts[number].deal.asset)
        for event in events:
            if type(event) is e.Posted and any(source == own for source, _, _ in event.moves):
                yield f"account {owner}, contract {number}: expected its margin alone to pay"

    # ── following ────────────────────────────────────────────────────────────────────────────

    def _post(self, event: e.Posted, nodes: set[int], wrong: list[str]) -> None:
        balances = self.balances
        for source, target, amount in event.moves:
            if amount <= 0 or source & 0xFF != target & 0xFF:
                wrong.append(f"expected a positive move within an asset, found {amount}")
            balances[source] = balances.get(source, 0) - amount
            balances[target] = balances.get(target, 0) + amount
            nodes.add(source)
            nodes.add(target)

    def _over(self, instrument: int, contracts: set[int]) -> None:
        if instrument < COMBO_FIRST:
            contracts.add(instrument)
            self.over.add(instrument)

    def _hold(self, event: e.PositionChanged, contracts: set[int]) -> None:
        number, holder = event.instrument, event.account
        held = self.positions.setdefault(number, {})
        before = held.get(holder, (0, 0, 0))
        after = (event.lots, event.entry_value, event.basis_value)
        self.lots[number] = self.lots.get(number, 0) + after[0] - before[0]
        self.basis[number] = self.basis.get(number, 0) + after[2] - before[2]
        self.resting.moved(holder, number, after[0] - before[0])
        was, is_held = holder in held, bool(event.lots or event.basis_value)
        if is_held:
            held[holder] = after
        elif was:
            del held[holder]
        self.holding[holder] = self.holding.get(holder, 0) + is_held - was
        contracts.add(number)
        self._pairs.add((number, holder))

    def _move_under_way(self, command: Command, event: e.PendingChanged, wrong: list[str]) -> None:
        if event.status in _UNDER_WAY and isinstance(
            command, c.AnnounceDeposit | c.RequestWithdrawal
        ):
            owner = self.state.account_numbers[command.account]
            asset = self.state.asset_numbers[command.asset]
            slot = INCOMING if event.status == "announced" else OUTGOING
            found = node(owner, slot, asset), command.amount
            self.pending[event.reference] = found
            self.under_way[found[0]] = self.under_way.get(found[0], 0) + found[1]
        elif event.reference in self.pending:
            which, amount = self.pending.pop(event.reference)
            self.under_way[which] -= amount
        else:
            wrong.append(f"reference {event.reference}: expected it under way")

    def _close(self, event: e.StatusChanged, wrong: list[str]) -> None:
        if event.status == CLOSED and self.holding.get(event.account, 0):
            wrong.append(f"account {event.account}: expected nothing in a closed account")

    # ── what must hold ───────────────────────────────────────────────────────────────────────

    def _wrong_balances(self, nodes: set[int], contracts: set[int]) -> Iterator[str]:
        balances = self.balances
        for which in nodes:
            amount = balances[which]
            if amount < 0 and is_pool(which):
                yield f"{parts(which)}: expected a pool not below 0, found {amount}"
            owner, slot, _ = parts(which)
            if owner >= FIRST_ACCOUNT and slot in (INCOMING, OUTGOING):
                expected = self.under_way.get(which, 0)
                if amount != expected:
                    yield f"{parts(which)}: expected {expected} under way, found {amount}"
            elif owner == CLEARING:
                contracts.add((slot - margin_slot(0)) // 2)

    def _wrong_contracts(self, contracts: set[int]) -> Iterator[str]:
        for number in contracts:
            if self.lots.get(number, 0):
                yield f"contract {number}: expected lots that net to 0, found {self.lots[number]}"
            deal = self.state.contracts[number].deal
            stands = self.balances.get(node(CLEARING, margin_slot(number), deal.asset), 0)
            owed = -(self.basis.get(number, 0) * deal.numerator // deal.denominator)
            if stands != owed:
                yield f"contract {number}: expected {owed} in its clearing, found {stands}"
            if number in self.over and self.positions.get(number):
                yield f"contract {number}: expected no holders of what is over"

    # ── the engine's books beside these ──────────────────────────────────────────────────────

    def touched(self) -> list[str]:
        """Where the engine's books differ from these in what was touched since the last look."""
        state = self.state
        balances = state.ledger.balances
        wrong = [
            f"{parts(which)}: expected {self.balances[which]}, as posted, found "
            f"{balances.get(which, 0)}"
            for which in self._nodes
            if balances.get(which, 0) != self.balances[which]
        ]
        for number, holder in self._pairs:
            position = state.contracts[number].holders.get(holder)
            found = None if position is None else (
                position.lots, position.entry_value, position.basis_value
            )  # fmt: skip
            if found != self.positions[number].get(holder):
                wrong.append(f"account {holder}, contract {number}: expected {found} as told")
        wrong += [
            f"contract {number}: expected a basis of {self.basis.get(number, 0)}"
            for number in self._contracts
            if state.contracts[number].basis_total != self.basis.get(number, 0)
        ]
        wrong += self.resting.touched()
        self._nodes.clear()
        self._pairs.clear()
        self._contracts.clear()
        return wrong

    def compare(self) -> list[str]:
        """Everything that does not hold, and every difference between the two sets of books."""
        state = self.state
        wrong = list(violations(state))
        mine = {which: amount for which, amount in self.balances.items() if amount}
        theirs = {which: amount for which, amount in state.ledger.balances.items() if amount}
        if mine != theirs:
            wrong.append(f"expected balances as posted, found others: {_first(mine, theirs)}")
        held = {number: one for number, one in self.positions.items() if one}
        found = {
            one.number: {
                holder: (p.lots, p.entry_value, p.basis_value) for holder, p in one.holders.items()
            }
            for one in state.contracts
            if one.holders
        }
        if held != found:
            wrong.append(f"expected positions as told, found others: {_first(held, found)}")
        wrong += self.resting.compare()
        return wrong


def _first(mine: dict[object, object] | object, theirs: object) -> str:
    """The first key that differs, with both values."""
    if not isinstance(mine, dict) or not isinstance(theirs, dict):
        return ""
    for key in {**mine, **theirs}:
        if mine.get(key) != theirs.get(key):
            return f"{key}: {mine.get(key)} and {theirs.get(key)}"
    return ""
