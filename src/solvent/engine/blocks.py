"""Blocks: trades agreed elsewhere, which both sides report. The second report that fits does it."""

from __future__ import annotations

from solvent.engine.bargain import agree
from solvent.engine.combos import check_one_contract
from solvent.engine.floor import leg_deals, legs_of
from solvent.engine.refusal import account_named, active_account, instrument_named
from solvent.engine.state import Account, Block, State
from solvent.engine.trading import Party, carry_out, check_parties, settle_margins
from solvent.errors import Refused, Reject
from solvent.limits import COMBO_FIRST
from solvent.messages.commands import ReportBlock, WithdrawBlock
from solvent.messages.events import BlockReported, Event, Traded
from solvent.messages.fields import Side

BLOCKS_MAX = 100_000
"""Reports that wait for the other side."""


def report_block(state: State, command: ReportBlock, events: list[Event]) -> None:
    """Keep a report, or do the trade if it fits the other side's; both make, nobody takes.

    Refusals, in order: the instrument, the accounts, the price and lots, the other report, then
    each side's margin, the buyer's first. A report whose trade is refused stays.
    """
    instrument = instrument_named(state, command.symbol)
    if state.house.contract is not None:
        check_one_contract(state, instrument)
    account = active_account(state, command.account)
    other = account_named(state, command.counterparty)
    if account is other:
        raise Refused(
            Reject.ACCOUNTS_THE_SAME, f"account {account.name}: expected another one on each side"
        )
    _check_terms(state, instrument, command)
    lots = command.lots if command.side is Side.BUY else -command.lots
    mine = Block(
        account=account.number, counterparty=other.number, instrument=instrument, lots=lots,
        price_ticks=command.price_ticks,
    )  # fmt: skip
    first = state.blocks.get(command.reference)
    if first is None:
        if len(state.blocks) >= BLOCKS_MAX:
            raise Refused(Reject.CAPACITY_REACHED, f"expected at most {BLOCKS_MAX} blocks waiting")
        # From here on the report is kept.
        state.blocks[command.reference] = mine
        events.append(BlockReported(command.reference, account.number, "reported"))
        return
    wanted = Block(
        account=mine.counterparty, counterparty=mine.account, instrument=instrument,
        lots=-lots, price_ticks=command.price_ticks,
    )  # fmt: skip
    if first != wanted:
        raise Refused(
            Reject.BLOCK_MISMATCHED,
            f"block {command.reference}: expected the other side of account {first.account}'s "
            f"{first.lots} lots at {first.price_ticks} ticks with account {first.counterparty}, "
            f"found account {account.number}'s {lots} at {command.price_ticks}",
        )
    buyer, seller = (account, other) if command.side is Side.BUY else (other, account)
    _trade(state, command, instrument, buyer, seller, events)
    del state.blocks[command.reference]
    events.append(BlockReported(command.reference, account.number, "done"))


def _check_terms(state: State, instrument: int, command: ReportBlock) -> None:
    terms = state.desk.books[instrument].terms
    if command.price_ticks <= 0 and not terms.signed:
        raise Refused(
            Reject.PRICE_NOT_POSITIVE,
            f"block {command.reference}: expected a price above 0, found {command.price_ticks}",
        )
    if command.lots % terms.lots_step:
        raise Refused(
            Reject.LOTS_OFF_STEP,
            f"block {command.reference}: expected a multiple of {terms.lots_step} lots, found "
            f"{command.lots}",
        )


def _trade(
    state: State, command: ReportBlock, instrument: int, buyer: Account, seller: Account,
    events: list[Event],
) -> None:  # fmt: skip
    """Refuses what either side's margin does not allow; otherwise it is done."""
    lots, price_ticks = command.lots, command.price_ticks
    if instrument >= COMBO_FIRST:
        deals = leg_deals(
            state, instrument, buyer, seller, lots=lots, price_ticks=price_ticks, aggressor=None
        )
    else:
        deals = [
            agree(state, state.contracts[instrument], buyer, seller, lots=lots,
                  price_ticks=price_ticks, aggressor=None)
        ]  # fmt: skip
    parties = [Party(one, legs_of(deals, one), None, lots) for one in (buyer, seller)]
    moves = check_parties(state, parties, price_ticks)
    # From here on the trade must succeed.
    for dealt in deals:
        carry_out(state, dealt, moves, events)
        settle_margins(state, dealt)
    events.append(Traded(instrument, price_ticks, lots, buyer.number, "", seller.number, "", ""))


def withdraw_block(state: State, command: WithdrawBlock, events: list[Event]) -> None:
    """Who reported a block takes that back; the other side has not come."""
    account = account_named(state, command.account)
    first = state.blocks.get(command.reference)
    if first is None or first.account != account.number:
        raise Refused(
            Reject.REFERENCE_UNKNOWN,
            f"block {command.reference}: expected one that account {account.name} has reported",
        )
    # From here on the report is gone.
    del state.blocks[command.reference]
    events.append(BlockReported(command.reference, account.number, "withdrawn"))
