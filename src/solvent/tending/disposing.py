"""What the insurance fund holds goes back into the order book, contract by contract: a share of it
at a time, at most a share of what rests within reach of the mark, with a pause in between.

What it cannot sell now (nothing rests, no mark, arrays too old, its pause) stays with it, and is
told.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Final

from solvent.account.ledger import INSURANCE, SYSTEM_NAMES
from solvent.engine.disposing import disposal_of, next_ms
from solvent.engine.standing import fresh_plan
from solvent.engine.state import Contract, State
from solvent.liquidation.reduce import Disposal, disposal, disposal_range
from solvent.margining.closing import DisposalText
from solvent.messages import commands as c
from solvent.messages.fields import Phase, Side
from solvent.orders.book import Book
from solvent.tending.plans import Plan, Row, row
from solvent.tending.prices import resting
from solvent.units import div_down, div_up

STAGE: Final = "dispose"
RULE: Final = "the insurance fund sells what it took over"
_FUND: Final = SYSTEM_NAMES[INSURANCE]


def planned(state: State) -> list[Plan]:
    """The fund's next step in every contract that it may go to now, as one plan; then, without
    rows, each contract of which it can sell nothing, and why. Empty where no rule says how."""
    told = disposal_of(state)
    if told is None:
        return []
    rows, left = [], []
    for number in sorted(state.account(INSURANCE).positions or ()):
        contract = state.contracts[number]
        found = _step(state, contract, told)
        if isinstance(found, str):
            left.append(_plan(pool=contract.listing.symbol, why=found))
        else:
            rows.append(found)
    return [*([_plan(rows)] if rows else []), *left]


def _step(state: State, contract: Contract, told: DisposalText) -> Row | str:
    """How many lots go at which price; or why none can."""
    held, buys = contract.holders[INSURANCE].lots, contract.holders[INSURANCE].lots < 0
    book = state.desk.books.get(contract.number)
    if book is None or not book.terms.matching:
        return "its orders are not matched here"
    why = _waits(state, contract, told)
    if why:
        return why
    limit = limit_ticks(contract, book, told, buys=buys)
    ladder = resting(state, contract, limit, buys=buys)
    rule = Disposal(
        fraction=_exact(told.fraction), full_lots=told.full_lots,
        book_share=_exact(told.book_share), slippage=_exact(told.slippage), step_ms=told.every_ms,
    )  # fmt: skip
    lots = min(disposal(abs(held), ladder.lots, rule), book.terms.lots_max)
    lots -= lots % book.terms.lots_step
    if not lots or lots < book.terms.lots_min:
        return "too little rests within its reach" if ladder.lots else "nothing is within its reach"
    after = held + lots if buys else held - lots
    return row(
        f"its share of {ladder.lots:,} lots within reach: from {held:,} to {after:,} lots",
        c.LiquidateInBook, account=_FUND, symbol=contract.listing.symbol,
        side=Side.BUY if buys else Side.SELL, lots=lots, price_ticks=limit, fee_ppm=0,
    )  # fmt: skip


def _waits(state: State, contract: Contract, told: DisposalText) -> str:
    """Why a contract cannot be sold now; empty where it can."""
    expiry_ms, rules = contract.deal.expiry_ms, state.rules[state.venue_rulebook]
    if contract.mark_points is None:
        return "its mark is not known"
    if state.house.contract is None and fresh_plan(state, rules) is None:
        # Whoever rests there could not be margined.
        return "risk arrays are not known, or too old"
    if contract.phase is not Phase.CONTINUOUS:
        return f"its phase is {contract.phase.value}"
    if expiry_ms is not None and state.log.time_ms >= expiry_ms:
        return "it has expired"
    if state.log.time_ms < next_ms(state, contract, told):
        return "its cooldown"
    return ""


def limit_ticks(contract: Contract, book: Book, told: DisposalText, *, buys: bool) -> int:
    """How far a step may trade: the mark with the slippage, inside the book's band; rounded towards
    the mark to a price that the book takes."""
    tick, step = contract.deal.points_per_tick, book.terms.price_step
    low, high = disposal_range(
        contract.mark_points or 0, _exact(told.slippage),
        lowest=book.sell_min * tick, highest=book.buy_max * tick,
    )  # fmt: skip
    if buys:
        return max(step, div_down(high, tick * step) * step)
    return max(step, div_up(low, tick * step) * step)


def _exact(share: float) -> Fraction:
    return Fraction(repr(share))


def _plan(rows: list[Row] | None = None, *, pool: str = "", why: str = "") -> Plan:
    return Plan(account=_FUND, stage=STAGE, rule=RULE, rows=tuple(rows or ()), pool=pool, open=why)
