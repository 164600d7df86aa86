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
    for text in state.house.fees:
        if contract.deal.kind not in text.kinds or (auction and text.auction == "skipped"):
            continue
        amount = _amount(state, contract, text, lots, points)
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


def _payers(text: FeeText, aggressor: Side | None, *, split: bool) -> tuple[int, ...]:
    if split or text.payer == "both":
        return BUY, SELL
    if aggressor is None:
        return (BUY, SELL) if text.payer == "maker" else ()
    taker = BUY if aggressor is Side.BUY else SELL
    return (taker,) if text.payer == "taker" else (BUY + SELL - taker,)


def _amount(state: State, contract: Contract, text: FeeText, lots: int, points: int) -> int:
    """The component in smallest units: up, so a fee is never too small nor a rebate too large."""
    deal = contract.deal
    rate = deal.parameters.get(f"{text.component}_fee")
    rate = Fraction(repr(text.rate)) if rate is None else rate
    if rate == 0:
        return 0
    value = abs(deal.money(deal.value(lots, points)))
    base = value
    if text.of == "notional":
        underlying = state.underlyings.get(deal.underlying)
        base = deal.notional(lots, points, underlying.price_nano if underlying else 0)
    fee = base * rate
    if text.premium_cap is not None and deal.up_front:
        fee = min(fee, value * Fraction(repr(text.premium_cap)))
    return div_up(fee.numerator, fee.denominator)
