"""Everything that has changed a line of ours, from the journal: what, by how much, when, and why.

Money that moves within an account (to the margin of a position and back) changes nothing. A fee is
told apart from the rest of what its command did.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from solvent.account.ledger import FIRST_ACCOUNT, FUND, INCOMING, parts
from solvent.messages.codec import decode_command, decode_events
from solvent.messages.events import (
    FeePaid,
    InterestAccrued,
    PositionChanged,
    Posted,
    Rejected,
    Repeated,
)
from solvent.reconcile.lines import NANO_PLACES, Key, Kind
from solvent.units import div_half_even

if TYPE_CHECKING:
    from solvent.engine.state import State
    from solvent.journal import Row


class Why(StrEnum):
    """What a movement is."""

    FILL = "fill"
    FEE = "fee"
    FUNDING = "funding"
    VARIATION = "variation"
    EXPIRY = "expiry"
    INTEREST = "interest"
    PAYMENT = "payment"
    LIQUIDATION = "liquidation"
    MARK = "mark"
    OTHER = "other"


_BY_COMMAND: Final = {
    "trade": Why.FILL, "place_order": Why.FILL, "amend_order": Why.FILL, "set_phase": Why.FILL,
    "report_block": Why.FILL, "pay_funding": Why.FUNDING, "settle_variation": Why.VARIATION,
    "settle_expiry": Why.EXPIRY, "accrue_interest": Why.INTEREST, "deposit": Why.PAYMENT,
    "confirm_deposit": Why.PAYMENT, "confirm_withdrawal": Why.PAYMENT,
    "cancel_withdrawal": Why.PAYMENT, "request_withdrawal": Why.PAYMENT, "transfer": Why.PAYMENT,
    "contribute_fund": Why.PAYMENT, "return_fund": Why.PAYMENT, "liquidate": Why.LIQUIDATION,
    "liquidate_in_book": Why.LIQUIDATION, "take_over": Why.LIQUIDATION,
    "deleverage": Why.LIQUIDATION, "confiscate": Why.LIQUIDATION, "cover_debt": Why.LIQUIDATION,
    "convert_collateral": Why.LIQUIDATION, "socialise_loss": Why.LIQUIDATION,
}  # fmt: skip
APART: Final = frozenset({INCOMING, FUND})
"""Slots of an account that are not its balance: money that has not arrived, and what it has put
into the default fund."""


@dataclass(frozen=True, slots=True)
class Movement:
    """One change of one line, in the line's own units. A mark's is the mark itself."""

    sequence: int
    time_ms: int
    why: Why
    amount: int


@dataclass(slots=True)
class Movements:
    """By key, in the order in which they happened. `window_ms`: nothing before is told."""

    window_ms: int = 0
    by_key: dict[Key, list[Movement]] = field(default_factory=dict)

    def of(self, key: Key) -> Sequence[Movement]:
        """What changed a line."""
        return self.by_key.get(key, ())

    def add(self, key: Key, movement: Movement) -> None:
        """One more; nothing is no movement."""
        if movement.amount:
            self.by_key.setdefault(key, []).append(movement)


def movements_of(state: State, rows: Iterable[Row], *, window_ms: int = 0) -> Movements:
    """Movements of a journal's rows from a time on; `state` is where the rows lead to."""
    found = Movements(window_ms)
    lots: dict[tuple[int, int], int] = {}
    for row in rows:
        if row.time_ms < window_ms and row.kind == "publish_market":
            continue
        events = decode_events(row.events)
        if events and isinstance(events[0], Rejected | Repeated):
            continue
        told = list(_of_positions(state, row, events, lots))
        if row.time_ms >= window_ms:
            for key, movement in (*told, *_of_money(state, row, events), *_of_marks(state, row)):
                found.add(key, movement)
    return found


Told = tuple[Key, Movement]


def _of_money(state: State, row: Row, events: Sequence[Any]) -> Iterator[Told]:
    """What the command brought each account in each asset: its fees, then the rest."""
    net: dict[tuple[int, int], int] = {}
    for event in events:
        if isinstance(event, Posted):
            for source, target, amount in event.moves:
                for which, change in ((source, -amount), (target, amount)):
                    owner, slot, asset = parts(which)
                    if owner >= FIRST_ACCOUNT and slot not in APART:
                        net[owner, asset] = net.get((owner, asset), 0) + change
    fees = _fees(state, events)
    why = _BY_COMMAND.get(row.kind, Why.OTHER)
    for (owner, asset), change in net.items():
        account = state.accounts[owner]
        if account is None:
            continue
        key = Key(Kind.BALANCE, account.name, state.assets[asset][0])
        fee = fees.get((owner, asset), 0)
        yield key, Movement(row.sequence, row.time_ms, Why.FEE, -fee)
        yield key, Movement(row.sequence, row.time_ms, why, change + fee)


def _fees(state: State, events: Sequence[Any]) -> dict[tuple[int, int], int]:
    """What each account was charged, in the asset that the contract of the trade settles in."""
    found: dict[tuple[int, int], int] = {}
    asset = -1
    for event in events:
        if isinstance(event, PositionChanged):
            asset = state.contracts[event.instrument].deal.asset
        elif isinstance(event, InterestAccrued):
            asset = event.asset
    if asset < 0:
        return found
    for event in events:
        if isinstance(event, FeePaid):
            key = event.account, asset
            found[key] = found.get(key, 0) + event.amount
    return found


def _of_positions(
    state: State, row: Row, events: Sequence[Any], lots: dict[tuple[int, int], int]
) -> Iterator[Told]:
    why = _BY_COMMAND.get(row.kind, Why.OTHER)
    for event in events:
        if not isinstance(event, PositionChanged):
            continue
        place = event.account, event.instrument
        before = lots.get(place, 0)
        lots[place] = event.lots
        account = state.accounts[event.account] if event.account >= FIRST_ACCOUNT else None
        if account is not None:
            symbol = state.contracts[event.instrument].listing.symbol
            amount = size_nano(state, event.instrument, event.lots - before)
            key = Key(Kind.POSITION, account.name, symbol)
            yield key, Movement(row.sequence, row.time_ms, why, amount)


def size_nano(state: State, contract: int, lots: int) -> int:
    """Lots in billionths of the unit of size, half-even where a lot is no whole number of them."""
    size = lots * state.contracts[contract].deal.lot_size * 10**NANO_PLACES
    return div_half_even(size.numerator, size.denominator)


def mark_nano(state: State, contract: int, points: int) -> int:
    """Points in billionths of what is quoted, half-even."""
    price = points * state.contracts[contract].deal.point * 10**NANO_PLACES
    return div_half_even(price.numerator, price.denominator)


def _of_marks(state: State, row: Row) -> Iterator[Told]:
    if row.kind != "publish_market":
        return
    command: Any = decode_command(row.command)
    for one in command.marks:
        number = state.contract_numbers.get(one.symbol)
        if number is not None:
            nano = mark_nano(state, number, one.mark_points)
            key = Key(Kind.MARK, "", one.symbol)
            yield key, Movement(row.sequence, row.time_ms, Why.MARK, nano)
