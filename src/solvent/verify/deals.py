"""What contracts are worth, what averages are and what fees cost, in fractions, from the formulas.

Everything here is read from recorded commands as plain maps, and shares nothing with the engine.
Values are in *value units*: lots × points of a linear contract; of an inverse future minus its coin
in thousandths of the smallest unit, half-even. Money is in smallest units of the settlement asset.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

Record = Mapping[str, Any]
_THOUSANDTHS = 1_000
_EVERY_KIND = ("future", "perpetual", "option", "structure", "spot")


class Terms:
    """A listed contract's numbers, from its listing."""

    def __init__(self, listing: Record, *, number: int, asset: int, decimals: int) -> None:
        self.number = number
        self.symbol: str = listing["symbol"]
        self.asset = asset
        self.underlying: str = listing["base"]
        self.kind: str = listing["kind"]
        self.inverse: bool = listing["inverse"]
        self.expiry_ms: int | None = listing["expiry_ms"]
        self.points_per_tick: int = listing["points_per_tick"]
        self.premium_paid = self.kind in ("option", "structure")
        """Paid for when it is traded: it has no gains before it is over."""
        self.lot: Fraction = Fraction(listing["lot_size"])
        self.point: Fraction = Fraction(listing["tick_size"]) / self.points_per_tick
        self.quanto: Fraction = Fraction(listing["quanto_rate"])
        self.scale: int = 10**decimals
        self.parameters = {name: Fraction(text) for name, text in listing["parameters"].items()}
        self.payoffs = [(kind, Fraction(strike), Fraction(weight))
                        for kind, strike, weight in listing["terms"]]  # fmt: skip
        if not self.payoffs and self.premium_paid:
            side = "call" if listing["option_type"] == "C" else "put"
            self.payoffs = [(side, Fraction(listing["strike"]), Fraction(1))]

    @property
    def coin_valued(self) -> bool:
        """An inverse future or perpetual: its value is counted in coin."""
        return self.inverse and not self.premium_paid

    def value(self, lots: int, points: int) -> int:
        """Cost of lots (bought if positive) at a price, in value units.

        >>> listing = dict(symbol="P", base="BTC", kind="perpetual", inverse=True, expiry_ms=None,
        ...     points_per_tick=1, lot_size="10", tick_size="0.5", quanto_rate="1", parameters={},
        ...     terms=[])
        >>> Terms(listing, number=0, asset=0, decimals=9).value(1, 100_000)
        -200000000
        """
        if not self.coin_valued:
            return lots * points
        if points == 0:
            return 0
        return -round(lots * self.lot * self.scale * _THOUSANDTHS / (points * self.point))

    def money(self, value: int) -> Fraction:
        """A value in smallest units."""
        if self.coin_valued:
            return Fraction(value, _THOUSANDTHS)
        return value * self.point * self.lot * self.quanto * self.scale

    def notional(self, lots: int, points: int, index_nano: int) -> Fraction:
        """What lots stand for: of an option its underlying's worth, of others their value."""
        if not self.premium_paid:
            return abs(self.money(self.value(lots, points)))
        size = abs(lots) * self.lot * self.scale
        return size if self.inverse else size * self.quanto * Fraction(index_nano, 10**9)

    def settled(self, price: Fraction) -> Fraction:
        """What a long lot is worth at the settlement price of the underlying (of an inverse
        future: minus the coin that its dollars buy)."""
        if self.coin_valued and not self.payoffs:
            return -self.lot * self.scale / price
        quote = price if not self.payoffs else Fraction(0)
        for kind, strike, weight in self.payoffs:
            if kind == "call":
                quote += weight * max(price - strike, Fraction(0))
            elif kind == "put":
                quote += weight * max(strike - price, Fraction(0))
            elif (kind == "above" and price > strike) or (kind == "below" and price < strike):
                quote += weight
        if self.inverse:
            quote = quote / price
        return quote * self.quanto * self.lot * self.scale


@dataclass(slots=True)
class Held:
    """A position: lots, what they cost on average, what has been settled of it, gains so far."""

    lots: int = 0
    entry: int = 0
    basis: int = 0
    realised: int = 0


@dataclass(slots=True)
class Filled:
    """What a fill makes of a position: gains by average price and by what was settled, in value
    units."""

    after: Held
    gain: int
    due: int


def filled(held: Held, lots: int, cost: int, *, at_mark: bool, whole_points: bool) -> Filled:
    """A position after `lots` more for `cost`: what closes, closes at the average cost.

    >>> filled(Held(20, 2_000, 2_000), -5, -550, at_mark=False, whole_points=False).gain
    50
    """
    opposite = held.lots * lots < 0
    closed = min(abs(lots), abs(held.lots)) if opposite else 0
    of_held = Fraction(closed, abs(held.lots)) if closed else Fraction(0)
    of_fill = Fraction(closed, abs(lots))
    cost_of_closed = round(cost * of_fill)
    entry_of_closed, basis_of_closed = round(held.entry * of_held), round(held.basis * of_held)
    after = Held(held.lots + lots, realised=held.realised)
    after.entry = held.entry - entry_of_closed + cost - cost_of_closed
    if whole_points and after.lots:
        after.entry = after.lots * math.floor(Fraction(after.entry, after.lots))
    gain = -cost_of_closed - entry_of_closed
    if at_mark:
        after.basis = held.basis + cost
        return Filled(after, gain, 0)
    after.basis = held.basis - basis_of_closed + cost - cost_of_closed
    return Filled(after, gain, -cost_of_closed - basis_of_closed)


# ── the house's rules ────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Fee:
    """One component of what a trade costs, as the rulebook has it."""

    component: str
    rate: Fraction
    payer: str
    receiver: str
    of_notional: bool
    premium_cap: Fraction | None
    auction: str
    kinds: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class House:
    """How money moves. `surplus_to_winners`: they get what roundings keep back. `by_contract`: each
    contract's margin account is filled and emptied by the rulebook's own columns."""

    at_mark: bool = False
    collect: bool = False
    surplus_to_winners: bool = False
    rounding: str = "against_account"
    whole_points: bool = False
    window_ms: int = 1_800_000
    fees: tuple[Fee, ...] = ()
    by_contract: bool = False

    def rounded(self, money: Fraction) -> int:
        """Money for an account, positive received, in whole units.

        >>> House().rounded(Fraction(-7, 2)), House(rounding="toward_zero").rounded(Fraction(-7, 2))
        (-4, -3)
        """
        if self.rounding == "toward_zero":
            return math.trunc(money)
        return round(money) if self.rounding == "half_even" else math.floor(money)


def house_of(toml: str) -> House:
    """The `[engine]` part of a rulebook's text, with its defaults.

    >>> house_of('[engine]\\nlosses = "collect"').collect
    True
    """
    told = tomllib.loads(toml).get("engine", {})
    return House(
        at_mark=told.get("realise", "on_close") == "at_mark",
        collect=told.get("losses", "debt") == "collect",
        surplus_to_winners=told.get("surplus", "rounding") == "winners",
        rounding=told.get("money_rounding", "against_account"),
        whole_points=told.get("entry_price", "exact") == "whole_points",
        window_ms=told.get("settlement_window_ms", 1_800_000),
        fees=tuple(_fee(one) for one in told.get("fees", ())),
        by_contract="contract" in told,
    )


def _fee(told: Record) -> Fee:
    cap = told.get("premium_cap")
    return Fee(
        component=told["component"],
        rate=_decimal(told.get("rate", 0)),
        payer=told.get("payer", "taker"),
        receiver=told.get("receiver", "venue"),
        of_notional=told.get("of", "value") == "notional",
        premium_cap=None if cap is None else _decimal(cap),
        auction=told.get("auction", "whole"),
        kinds=tuple(told.get("kinds", _EVERY_KIND)),
    )


def _decimal(number: float) -> Fraction:
    """A rate as it is written: the shortest digits that mean this double."""
    return Fraction(repr(float(number)))


def fee_amount(fee: Fee, terms: Terms, *, lots: int, points: int, index_nano: int) -> int:
    """A component in smallest units, rounded up; a rebate is negative."""
    rate = terms.parameters.get(f"{fee.component}_fee", fee.rate)
    value = abs(terms.money(terms.value(lots, points)))
    base = terms.notional(lots, points, index_nano) if fee.of_notional else value
    amount = base * rate
    if fee.premium_cap is not None and terms.premium_paid:
        amount = min(amount, value * fee.premium_cap)
    return math.ceil(amount)
