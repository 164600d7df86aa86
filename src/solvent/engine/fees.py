"""What a trade costs its two sides, component by component, each rounded against who pays it."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from solvent.account.ledger import FEES, GENERAL, INSURANCE, LIQUIDITY, node
from solvent.engine.state import Contract, State
from solvent.margining.house import FeeText
from solvent.messages.fields import Phase, Side
from solvent.units import div_up

_RECEIVERS = {"venue": FEES, "insurance": INSURANCE, "liquidity": LIQUIDITY}
BUY, SELL = 0, 1


@dataclass(frozen=True, slots=True)
class Charge:
    """One component that one side pays (a rebate is negative). `receiver` is a pool's node, or None
    for the other side."""

    component: str
    side: int
    amount: int
    receiver: int | None


def charges(
    state: State, contract: Contract, *, lots: int, points: int, aggressor: Side | None
) -> list[Charge]:
    """All that a trade is charged, in the rulebook's order.

    Without an aggressor both sides make, outside an auction; in one there is neither.
    """
    found: list[Charge] = []
    auction = contract.phase is Phase.AUCTION
    if contract.fee_rates is None:
        contract.fee_rates = _rates(state, contract)
    for text, rate in contract.fee_rates:
        if auction and text.auction == "skipped":
            continue
        amount = _amount(state, contract, text, rate, lots, points)
        if amount == 0:
            continue
        if auction and text.auction == "split":
            amount = div_up(amount, 2)
        for side in _payers(text, aggressor, split=auction and text.auction == "split"):
            receiver = None if text.receiver == "maker" else node(
                _RECEIVERS[text.receiver], GENERAL, contract.deal.asset
            )  # fmt: skip
            found.append(Charge(text.component, side, amount, receiver))
    return found


def _rates(state: State, contract: Contract) -> list[tuple[FeeText, Fraction]]:
    """The components that a contract is charged, and their rates: its own, or the rulebook's."""
    own = contract.deal.parameters
    rates = [
        (text, own.get(f"{text.component}_fee", Fraction(repr(text.rate))))
        for text in state.house.fees
        if contract.deal.kind in text.kinds
    ]
    return [(text, rate) for text, rate in rates if rate]


def _payers(text: FeeText, aggressor: Side | None, *, split: bool) -> tuple[int, ...]:
    if split or text.payer == "both":
        return BUY, SELL
    if aggressor is None:
        return (BUY, SELL) if text.payer == "maker" else ()
    taker = BUY if aggressor is Side.BUY else SELL
    return (taker,) if text.payer == "taker" else (BUY + SELL - taker,)


def _amount(
    state: State, contract: Contract, text: FeeText, rate: Fraction, lots: int, points: int
) -> int:
    """The component in smallest units: up, so a fee is never too small nor a rebate too large."""
    deal = contract.deal
    value = abs(deal.value(lots, points)) * deal.numerator
    if text.of == "value" and text.premium_cap is None:
        return div_up(value * rate.numerator, deal.denominator * rate.denominator)
    worth = Fraction(value, deal.denominator)
    base = worth
    if text.of == "notional":
        underlying = state.underlyings.get(deal.underlying)
        base = deal.notional(lots, points, underlying.price_nano if underlying else 0)
    fee = base * rate
    if text.premium_cap is not None and deal.up_front:
        fee = min(fee, worth * Fraction(repr(text.premium_cap)))
    return div_up(fee.numerator, fee.denominator)
