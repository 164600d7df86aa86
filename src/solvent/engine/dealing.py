"""A trade's two legs: what each would hold and pay, worked out before anything changes.

Amounts in a leg are signed for its account: positive is received. `post` carries legs out; by then
everything has been checked, and nothing may fail.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Final, NamedTuple

from solvent.account.ledger import CLEARING, GENERAL, ROUNDING, margin_slot, node
from solvent.account.position import Change, Position, traded
from solvent.engine.standing import View
from solvent.engine.state import Account, Contract, State
from solvent.errors import Refused, Reject
from solvent.limits import LOTS_MAX, MONEY_MAX
from solvent.messages.events import Event, PositionChanged
from solvent.units import div_down, div_half_even, div_toward_zero, div_up

VALUE_MAX: Final = MONEY_MAX // 4
"""Values and money of one position stay below this, so that sums of them fit."""
_ROUND = {
    "against_account": div_down,
    "toward_zero": div_toward_zero,
    "half_even": div_half_even,
}


def rounded(state: State, numerator: int, denominator: int) -> int:
    """Money for an account, positive received, by the venue's rounding."""
    return _ROUND[state.house.money_rounding](numerator, denominator)


class Shift(NamedTuple):
    """By how much something moves what bounds an account's margin (`engine.slack`).

    Lots of position, bids and offers in a contract; what the account gains, and what it would gain
    more if all its bids (offers) were filled, in millionths of a dollar; `size` of all amounts,
    without sign; how many legs of trades.
    """

    contract: int
    lots: int
    bid_lots: int
    ask_lots: int
    equity: float
    bids: float
    asks: float
    size: float
    legs: int


@dataclass(slots=True)
class Leg:
    """One side of a trade.

    Attributes:
        before_lots, before_basis: what it held. change: what it would hold.
        realised: gains that are paid now. premium: of an option. fees: paid negative.
        to_margin: what moves from the account's own money to the position's margin, or back.
        apart: realised gains belong to the position's own margin account.
        shift: what it moves, where that has been worked out.
    """

    account: Account
    contract: Contract
    before_lots: int
    before_basis: int
    change: Change
    realised: int
    gain: int
    premium: int = 0
    fees: int = 0
    to_margin: int = 0
    apart: bool = False
    shift: Shift | None = None

    @property
    def reduces(self) -> bool:
        """Whether the position only becomes smaller, or goes."""
        after = self.change.lots
        return abs(after) < abs(self.before_lots) and after * self.before_lots >= 0

    @property
    def opened_lots(self) -> int:
        """Lots, unsigned, by which it stands further from zero, or beyond it."""
        before, after = self.before_lots, self.change.lots
        if before * after < 0:
            return abs(after)
        return max(abs(after) - abs(before), 0)

    @property
    def general(self) -> int:
        """What the account's own money of the settlement asset changes by."""
        own = self.premium + self.fees - self.to_margin
        return own if self.apart else own + self.realised


NOTHING: Final = (0, 0, 0)


def leg(
    state: State,
    contract: Contract,
    account: Account,
    *,
    lots: int,
    points: int,
    premium: int,
    held: tuple[int, int, int] | None = None,
) -> Leg:
    """One side of a trade of lots (positive: bought) at a price. Refuses what is beyond limits.

    `held` is the position (lots, entry, basis) before it, where that is not the one of now.
    """
    deal, house = contract.deal, state.house
    if held is None:
        position = contract.holders.get(account.number)
        held = NOTHING if position is None else (
            position.lots, position.entry_value, position.basis_value
        )  # fmt: skip
    change = traded(
        *held,
        change_lots=lots,
        cost_value=deal.value(lots, points),
        at_mark=house.realise == "at_mark",
        whole_points=house.entry_price == "whole_points",
        up_front=deal.up_front,
    )
    gain = realised = 0
    if change.gain_value:
        gain = rounded(state, change.gain_value * deal.numerator, deal.denominator)
    if change.paid_value == change.gain_value:
        realised = gain
    elif change.paid_value:
        realised = rounded(state, change.paid_value * deal.numerator, deal.denominator)
    if not -LOTS_MAX <= change.lots <= LOTS_MAX:
        raise Refused(
            Reject.POSITION_TOO_LARGE,
            f"account {account.name}, {contract.listing.symbol}: expected at most {LOTS_MAX} lots, "
            f"found {change.lots}",
        )
    values = change.entry_value, change.basis_value, gain, realised, premium
    if max(values) >= VALUE_MAX or min(values) <= -VALUE_MAX:
        raise Refused(
            Reject.AMOUNT_TOO_LARGE,
            f"account {account.name}, {contract.listing.symbol}: expected values below "
            f"{VALUE_MAX}, found {values}",
        )
    apart = account.modes is not None and account.isolates(contract.number)
    own = premium if lots < 0 else -premium
    return Leg(account, contract, held[0], held[2], change, realised, gain, own, 0, 0, apart)


def premium_of(contract: Contract, lots: int, points: int) -> int:
    """What an option's buyer pays its seller, half-even; nothing for other contracts."""
    deal = contract.deal
    if not deal.up_front:
        return 0
    value = deal.value(lots, points)
    return div_half_even(value * deal.numerator, deal.denominator)


def margin_moves(state: State, one: Leg) -> int:
    """What an isolated position needs of its account's own money, or gives back (negative).

    What is opened needs its entry value times the margin factor, rounded up; what is closed frees
    its share of the margin as it stands after its gain or loss, rounded down.
    """
    if not one.apart:
        return 0
    mode = one.account.mode(one.contract.number)
    factor = Fraction(1) if mode is None or mode.factor is None else mode.factor
    asset = one.contract.deal.asset
    slot = margin_slot(one.contract.number)
    stands = state.ledger.balance(node(one.account.number, slot, asset)) + one.realised
    before, after = abs(one.before_lots), abs(one.change.lots)
    closed = before if one.opened_lots == after else max(before - after, 0)
    moves = 0
    if closed and stands > 0:
        moves -= stands if closed == before else stands * closed // before
    if one.opened_lots:
        value = abs(one.contract.deal.money(one.change.entry_value)) * factor
        value *= Fraction(one.opened_lots, after)
        moves += div_up(value.numerator, value.denominator)
    return moves


def view_after(state: State, one: Leg, seen: View) -> View:
    """The account's view with the leg carried out."""
    number, asset = one.contract.number, one.contract.deal.asset
    positions = dict(seen.positions)
    if one.change.lots or one.change.basis_value:
        positions[number] = (one.change.lots, one.change.basis_value)
    else:
        positions.pop(number, None)
    balances = dict(seen.balances)
    balances[asset] = balances.get(asset, 0) + one.general
    margins = seen.margins
    if one.apart:
        margins = dict(seen.margins)
        margins[number] = margins.get(number, 0) + one.realised + one.to_margin
    return View(one.account, positions, balances, margins, seen.orders, seen.modes, seen.sides)


def post(state: State, one: Leg, events: list[Event]) -> None:
    """Carry a leg out: its gains, its margin and its position. Premium and fees have two sides and
    are posted by who knows both."""
    contract, account = one.contract, one.account
    if one.realised or one.to_margin:
        asset, ledger = contract.deal.asset, state.ledger
        own = node(account.number, GENERAL, asset)
        margin = node(account.number, margin_slot(contract.number), asset)
        clearing = node(CLEARING, margin_slot(contract.number), asset)
        ledger.pay(margin if one.apart else own, clearing, one.realised)
        ledger.pay(margin, own, one.to_margin)
    put_position(contract, account, one.change, one.gain, events)


def put_position(
    contract: Contract, account: Account, change: Change, gain: int, events: list[Event]
) -> None:
    """Write a position as it is after a change, and drop it when nothing is left of it."""
    number, holder = contract.number, account.number
    position = contract.holders.get(holder)
    if position is None:
        position = Position(0, 0, 0, 0)
        contract.holders[holder] = position
        if account.positions is None:
            account.positions = {}
        account.positions[number] = position
    contract.basis_total += change.basis_value - position.basis_value
    position.lots = change.lots
    position.entry_value = change.entry_value
    position.basis_value = change.basis_value
    position.realised += gain
    events.append(
        PositionChanged(holder, number, change.lots, change.entry_value, change.basis_value, gain)
    )
    if not change.lots and not change.basis_value:
        del contract.holders[holder]
        positions = account.positions or {}
        del positions[number]
        if not positions:
            account.positions = account.given = None


def sweep(state: State, contract: Contract) -> None:
    """What roundings have left in a contract's clearing goes to the rounding account.

    Clearing owes exactly what open positions have at stake: minus the sum of their basis, rounded
    up to whole units.
    """
    deal = contract.deal
    if deal.denominator == 1 or deal.up_front:
        return
    clearing = node(CLEARING, margin_slot(contract.number), deal.asset)
    owed = -(contract.basis_total * deal.numerator // deal.denominator)
    rest = state.ledger.balance(clearing) - owed
    state.ledger.pay(node(ROUNDING, GENERAL, deal.asset), clearing, rest)
