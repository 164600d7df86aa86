"""What a venue's commands brought about, added up as they are done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from solvent.account.ledger import FIRST_ACCOUNT, INSURANCE, SYSTEM_NAMES, parts
from solvent.engine.apply import Applied
from solvent.engine.state import Contract, State
from solvent.messages import commands as c
from solvent.messages.events import MarginCalled, PositionChanged, Posted, Traded
from solvent.messages.fields import Command, CoverFrom
from solvent.units import div_half_even

FUND: Final = SYSTEM_NAMES[INSURANCE]
STAGES: Final = ("book", "backstop", "fund", "adl")
"""Where a position of an account that could not pay went."""


@dataclass(slots=True)
class Tally:
    """Money in millionths of a dollar (contracts settle in USDC).

    Attributes:
        reduced: (contract, stage) → value that changed hands. given_up: what deleveraged winners
            got less than at the mark; what some got more is not set against it. paid: who → debts
            of others.
        begun: accounts that were taken over, each once. called: margin calls. adl: winners.
        bought, sold: contract → lots that takers bought or sold since `flows` was last asked.
        touched: accounts whose money or positions changed since that was cleared.
        rejected: commands that were refused, by kind.
    """

    reduced: Counter[tuple[int, str]] = field(default_factory=Counter)
    given_up: int = 0
    paid: Counter[str] = field(default_factory=Counter)
    begun: set[str] = field(default_factory=set)
    called: int = 0
    adl: set[str] = field(default_factory=set)
    bought: Counter[int] = field(default_factory=Counter)
    sold: Counter[int] = field(default_factory=Counter)
    touched: set[int] = field(default_factory=set)
    rejected: Counter[str] = field(default_factory=Counter)
    commands: int = 0
    lots: dict[tuple[int, int], int] = field(default_factory=dict)
    """(account, contract) → what is held, once `begin` was told."""

    def begin(self, state: State) -> None:
        """The opening is over: what is counted counts from here on."""
        for contract in state.contracts:
            for number, position in contract.holders.items():
                self.lots[number, contract.number] = position.lots
        self.rejected.clear()
        self.touched.clear()

    def hear(self, state: State, told: Sequence[Command], found: Sequence[Applied]) -> None:
        """Add up what came of a batch."""
        self.commands += len(found)
        for command, one in zip(told, found, strict=True):
            if one.code:
                self.rejected[one.kind] += 1
                continue
            if isinstance(command, _TOLD):
                self._command(state, command, one)
            for event in one.events:
                self._event(event)

    def flows(self, contract: int) -> tuple[int, int]:
        """Lots that takers bought and sold of a contract since this was last asked."""
        return self.bought.pop(contract, 0), self.sold.pop(contract, 0)

    def _event(self, event: object) -> None:
        if isinstance(event, Traded):
            into = self.bought if event.aggressor == "buy" else self.sold
            into[event.instrument] += event.lots
        elif isinstance(event, PositionChanged):
            self.touched.add(event.account)
            self.lots[event.account, event.instrument] = event.lots
        elif isinstance(event, Posted):
            for source, target, _ in event.moves:
                for which in (source, target):
                    number = parts(which)[0]
                    if number >= FIRST_ACCOUNT:
                        self.touched.add(number)
        elif isinstance(event, MarginCalled):
            self.called += bool(event.call_micro)

    def _command(self, state: State, command: Command, one: Applied) -> None:
        if isinstance(command, c.BeginLiquidation):
            self.begun.add(command.account)
        elif isinstance(command, c.CoverDebt):
            self.paid["fund" if command.source is CoverFrom.INSURANCE else "others"] += (
                command.amount
            )
        elif isinstance(command, c.SocialiseLoss):
            self.paid["socialised"] += sum(share.amount for share in command.shares)
        elif isinstance(command, c.LiquidateInBook):
            stage = "dispose" if command.account == FUND else "book"
            for event in one.events:
                if isinstance(event, Traded):
                    contract = state.contracts[event.instrument]
                    self.reduced[contract.number, stage] += value_micro(
                        contract, event.lots, event.price_ticks
                    )
        elif isinstance(command, c.TakeOver | c.Deleverage):
            self._handed_over(state, command)

    def _handed_over(self, state: State, command: c.TakeOver | c.Deleverage) -> None:
        contract = state.contracts[state.contract_numbers[command.symbol]]
        value = value_micro(contract, command.lots, command.price_ticks)
        if isinstance(command, c.TakeOver):
            stage = "fund" if command.by is None else "backstop"
            self.reduced[contract.number, stage] += value
            return
        self.reduced[contract.number, "adl"] += value
        self.adl.add(command.counterparty)
        at_mark = _money(contract, command.lots, contract.mark_points or 0)
        # Who gives a short up buys at the price, who gives a long up sells.
        held = self.lots[state.account_numbers[command.counterparty], contract.number]
        self.given_up += max(0, value - at_mark if held < 0 else at_mark - value)


_TOLD: Final = (
    c.BeginLiquidation, c.CoverDebt, c.SocialiseLoss, c.LiquidateInBook, c.TakeOver, c.Deleverage,
)  # fmt: skip


def value_micro(contract: Contract, lots: int, ticks: int) -> int:
    """What lots are worth at a price, without sign."""
    return _money(contract, abs(lots), ticks * contract.deal.points_per_tick)


def _money(contract: Contract, lots: int, points: int) -> int:
    found = contract.deal.money(contract.deal.value(lots, points))
    return div_half_even(found.numerator, found.denominator)
