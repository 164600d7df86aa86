"""Who may be deleveraged in a contract, and the score by which a rulebook ranks it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction

from solvent.account.ledger import FIRST_ACCOUNT
from solvent.engine.standing import standings, view
from solvent.engine.state import LIQUIDATION, Account, Contract, Standing, State
from solvent.liquidation import ranks
from solvent.margining.closing import LiquidationText
from solvent.tending.funds import unit_micro
from solvent.units import MICRO


def in_queue(
    state: State, contract: Contract, numbers: Iterable[int], *, longs: bool
) -> list[Account]:
    """Of some who hold a contract all users of a side that are not under liquidation themselves."""
    holders = contract.holders
    return [
        account
        for number in numbers
        if number >= FIRST_ACCOUNT and (lots := holders[number].lots) and (lots > 0) == longs
        and (account := state.account(number)).status != LIQUIDATION
    ]  # fmt: skip


def scored(
    state: State, contract: Contract, accounts: Sequence[Account], closing: LiquidationText
) -> dict[int, Fraction | None]:
    """Account number → score of those whose standing is known; None of a drawn order."""
    found = standings(state, [view(state, account) for account in accounts])
    return {
        account.number: score_of(state, contract, account, one, closing)
        for account, one in zip(accounts, found, strict=True)
        if one.known
    }


def score_of(
    state: State, contract: Contract, account: Account, found: Standing, closing: LiquidationText
) -> Fraction | None:
    """By the rulebook's rule, in dollars. Who has no equity left stands last."""
    deal, position = contract.deal, contract.holders[account.number]
    rank = closing.adl.rank
    if rank == "random":
        return None
    mark = deal.value(position.lots, contract.mark_points or 0)
    if found.equity_micro <= 0 or not mark or not position.entry_value:
        return Fraction(-1_000_000)
    if rank == "binance" and mark <= position.entry_value:
        return Fraction(0)  # most of a long queue, without any fractions
    dollar = unit_micro(state, deal.asset) / MICRO
    worth, entry = deal.money(mark) * dollar, deal.money(position.entry_value) * dollar
    gain = worth - entry
    equity = Fraction(found.equity_micro, MICRO)
    maintenance = Fraction(found.maintenance_micro, MICRO)
    match rank:
        case "bitmex":
            return ranks.bitmex(
                mark_value=worth, entry_value=entry, bankruptcy_value=worth - equity
            )
        case "binance":
            return ranks.binance(unrealised=gain, wallet=equity - gain, maintenance=maintenance)
        case "bybit":
            margin = Fraction(max(found.initial_micro, 1), MICRO)
            return ranks.leveraged_return(unrealised=gain, margin=margin)
        case "okx":
            ratio = equity / maintenance if maintenance > 0 else equity
            return ranks.okx(gained=gain / abs(entry), margin_ratio=ratio)
    # Coins that a coin-margined contract stands for move against its price.
    prices = (abs(entry), abs(worth)) if deal.coin_numerator else (abs(worth), abs(entry))
    return ranks.hyperliquid(
        side=1 if position.lots > 0 else -1, mark=prices[0], entry=prices[1],
        notional=abs(worth), value=equity,
    )  # fmt: skip
