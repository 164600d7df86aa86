"""What the insurance fund, and the part of it that stands for one contract, can bear.

A fund holds positions too, taken over at bankruptcy prices: what it can bear is its money and what
these are worth at the marks. Smallest units of an asset; rounded down.
"""

from __future__ import annotations

import math
from fractions import Fraction

from solvent.account.ledger import GENERAL, INSURANCE, margin_slot, node
from solvent.engine.fund import fund_high, fund_worth
from solvent.engine.state import Contract, State
from solvent.margining.closing import FundText, LiquidationText
from solvent.units import MICRO

NANO = 10**9


def money(state: State, asset: int) -> int:
    """What the shared fund holds of an asset."""
    return state.ledger.balance(node(INSURANCE, GENERAL, asset))


def payable(state: State, asset: int) -> int:
    """What the shared fund can pay out for good: its money, as far as what it holds does not need
    it at the marks."""
    return max(0, min(money(state, asset), fund_worth(state, asset)))


def market_money(state: State, contract: Contract) -> int:
    """What the fund of one contract holds of its settlement asset."""
    slot = margin_slot(contract.number)
    return state.ledger.balance(node(INSURANCE, slot, contract.deal.asset))


def bears(state: State, contract: Contract, closing: FundText) -> int:
    """The loss on one contract that the funds can bear now, at most the rulebook's cap."""
    asset = contract.deal.asset
    may = fund_worth(state, asset)
    if closing.scope == "market":
        may += market_money(state, contract)
    if closing.cap is not None:
        cap = int(Fraction(repr(closing.cap)) * MICRO / unit_micro(state, asset))
        may = min(may, cap - lost(contract))
    return max(0, may)


def lost(contract: Contract) -> int:
    """What the fund has lost at the mark with what it holds of a contract; rounded up."""
    position = contract.holders.get(INSURANCE)
    if position is None:
        return 0
    value = contract.deal.value(position.lots, contract.mark_points or 0)
    return max(0, math.ceil(contract.deal.money(position.basis_value - value)))


def reserve(closing: LiquidationText) -> Fraction:
    """Share of the value of what the fund holds that it must be worth: the rulebook's, and never
    less than what selling it at the slippage costs."""
    told, slippage = closing.fund.reserve, Fraction(repr(closing.reduce.slippage))
    return max(slippage, Fraction(repr(told)))


def spare(state: State, asset: int, closing: LiquidationText) -> Fraction:
    """What the shared fund is worth beyond what it must be for all that it holds."""
    share = reserve(closing)
    cost = Fraction(0)
    for number, position in (state.account(INSURANCE).positions or {}).items():
        contract = state.contracts[number]
        deal = contract.deal
        if deal.asset == asset and contract.mark_points is not None:
            cost += share * abs(deal.money(deal.value(position.lots, contract.mark_points)))
    return fund_worth(state, asset) - cost


def unit_micro(state: State, asset: int) -> Fraction:
    """Millionths of a dollar of a smallest unit at the index; a dollar where there is none."""
    name, decimals = state.assets[asset]
    index = state.underlyings.get(name)
    dollar = Fraction(1) if index is None else Fraction(index.price_nano, NANO)
    scale: int = 10**decimals
    return dollar * MICRO / scale


def drawn_down(state: State, asset: int, closing: FundText) -> bool:
    """Whether the fund has lost more than `drawdown` of its highest in the window: positions are
    deleveraged before it takes more losses."""
    if closing.drawdown is None:
        return False
    now = money(state, asset)
    high = fund_high(state, asset)
    if high <= 0:
        return now <= 0
    lost = Fraction(high - now, high)
    return now <= 0 or lost > Fraction(repr(closing.drawdown))
