"""The insurance fund sells what it took over, bit by bit: as its venue's rulebook lets it.

It goes to the book as an account under liquidation does, with `LiquidateInBook`; but it is under no
liquidation, pays no fee, and must be able to pay what it loses by each fill. How many lots a step
has and at which price is planned outside; that a step only makes its position smaller, and that
steps keep their distance, holds here.
"""

from __future__ import annotations

from solvent.account.ledger import INSURANCE
from solvent.engine.dealing import Leg
from solvent.engine.floor import Floor
from solvent.engine.fund import window_of
from solvent.engine.refusal import traded_contract
from solvent.engine.state import Contract, State
from solvent.errors import Refused, Reject
from solvent.margining.closing import DisposalText
from solvent.messages.commands import LiquidateInBook
from solvent.messages.events import Event
from solvent.messages.fields import SelfTrade, Side, TimeInForce
from solvent.orders.order import Order


def disposal_of(state: State) -> DisposalText | None:
    """How the venue's rulebook lets its fund sell; None where that is done by hand."""
    return window_of(state).disposal


def next_ms(state: State, contract: Contract, rule: DisposalText) -> int:
    """From when on the fund may go to a contract's book; 0 where it never has."""
    last_ms = state.disposals.get(contract.number)
    return 0 if last_ms is None else last_ms + rule.every_ms


def note_taken(state: State, one: Leg) -> None:
    """The fund has taken a position over: of a contract that it held nothing of, its first step
    waits as any other does."""
    held_nothing = one.account.number == INSURANCE and not one.before_lots
    if held_nothing and disposal_of(state) is not None:
        state.disposals[one.contract.number] = state.log.time_ms


def dispose(state: State, command: LiquidateInBook, events: list[Event]) -> None:
    """As an order of the fund's that takes what rests, and goes; its name is the command's key.

    It counts as a step whatever it fills. Refusals, in order: no such rule, a fee or a hedge, the
    contract, the lots, the time since the last step, an order's own terms.
    """
    rule, name = disposal_of(state), command.account
    if rule is None:
        raise Refused(
            Reject.ACCOUNT_NOT_FOR_THIS,
            f"account {name}: expected a venue's rulebook with `liquidation.fund.disposal`",
        )
    if command.fee_ppm or command.hedge:
        raise Refused(
            Reject.ORDER_TERMS_INVALID,
            f"account {name}: expected no fee and no hedge, found {command.fee_ppm} ppm and "
            f"{command.hedge}",
        )
    contract = traded_contract(state, command.symbol)
    position = contract.holders.get(INSURANCE)
    held = 0 if position is None else position.lots
    lots = command.lots if command.side is Side.BUY else -command.lots
    if held * lots >= 0 or abs(lots) > abs(held):
        raise Refused(
            Reject.POSITION_NOT_HELD,
            f"account {name}: expected at least {command.lots} lots of {command.symbol} to "
            f"{command.side}, found {held}",
        )
    from_ms = next_ms(state, contract, rule)
    if state.log.time_ms < from_ms:
        raise Refused(
            Reject.COOLDOWN,
            f"account {name}, {command.symbol}: expected a time from {from_ms}, found "
            f"{state.log.time_ms}",
        )
    order = Order(
        INSURANCE, command.key, contract.number, lots, command.price_ticks,
        time_in_force=TimeInForce.IOC, self_trade=SelfTrade.OLDEST,
    )  # fmt: skip
    floor = Floor(state, events, closing=INSURANCE)
    state.desk.accept(order, time_ms=state.log.time_ms, gate=floor)
    # From here on the order is in.
    state.disposals[contract.number] = state.log.time_ms
    state.desk.enter(order, time_ms=state.log.time_ms, gate=floor, events=events)
    floor.close(events)
