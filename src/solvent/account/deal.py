"""What a contract means in money, in whole numbers.

A price is whole *points* (so many to a tick). What lots cost at a price is a whole number of the
contract's own *value units*, so that the sum of what was paid for a position is exact:

| contract | value of q lots at p points | money of a value unit |
|---|---|---|
| linear, quanto, option | q·p | lot size · point · quanto rate |
| inverse future | −q·A/(B·p), half-even | a thousandth of the asset's smallest unit |

Value is a cost: long positive for a linear contract. An inverse one costs minus its coin, so that a
gain is `lots · value now − value paid` for all of them. Money of a value is a fraction of the
settlement asset's smallest unit and is rounded once, when it is paid.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final

from solvent.errors import check
from solvent.units import div_half_even

INVERSE_PARTS: Final = 1_000
"""Value units of an inverse future in one smallest unit of its asset."""


@dataclass(frozen=True, slots=True)
class PayoffTerm:
    """`weight` units of a payoff struck at `strike`: see `instruments.sheet`."""

    payoff: str
    strike: Fraction
    weight: Fraction

    def pays(self, price: Fraction) -> Fraction:
        """What it pays at a settlement price, in the quote currency."""
        match self.payoff:
            case "call":
                return self.weight * max(price - self.strike, Fraction(0))
            case "put":
                return self.weight * max(self.strike - price, Fraction(0))
            case "above":
                return self.weight * (price > self.strike)
            case _:
                return self.weight * (price < self.strike)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deal:
    """A contract's arithmetic.

    Attributes:
        number: of the contract; asset: number of the settlement asset.
        up_front: an option: its premium is paid when it is traded.
        inverse: pays in the base coin.
        lot_size: in the venue's unit. point: quote currency per point. quanto_rate, asset_scale:
            settlement per quote, smallest units per unit of the settlement asset.
        parameters: this contract's own numbers by name.
    """

    number: int
    symbol: str
    asset: int
    underlying: str
    kind: str
    up_front: bool
    inverse: bool
    expiry_ms: int | None
    points_per_tick: int
    lot_size: Fraction
    point: Fraction
    quanto_rate: Fraction
    asset_scale: int
    terms: Sequence[PayoffTerm]
    parameters: Mapping[str, Fraction]
    numerator: int = field(init=False)
    """Money of a value unit is `numerator / denominator`."""
    denominator: int = field(init=False)
    coin_numerator: int = field(init=False)
    """A of an inverse future, else 0."""
    coin_denominator: int = field(init=False)

    def __post_init__(self) -> None:
        check(self.lot_size > 0 and self.point > 0, "sizes of a contract are positive", self.symbol)
        per_value = self.point * self.lot_size * self.quanto_rate * self.asset_scale
        coin = Fraction(0)
        if self.inverse and not self.up_front:
            per_value = Fraction(1, INVERSE_PARTS)
            coin = self.lot_size / self.point * self.asset_scale * INVERSE_PARTS
        elif self.inverse:
            per_value = self.point * self.lot_size * self.asset_scale
        for name, number in (
            ("numerator", per_value.numerator), ("denominator", per_value.denominator),
            ("coin_numerator", coin.numerator), ("coin_denominator", coin.denominator),
        ):  # fmt: skip
            object.__setattr__(self, name, number)

    def value(self, lots: int, points: int) -> int:
        """What lots cost at a price, in value units; positive for who buys a linear contract."""
        if self.coin_numerator:
            if points == 0:
                return 0
            return -div_half_even(lots * self.coin_numerator, points * self.coin_denominator)
        return lots * points

    def money(self, value: int) -> Fraction:
        """A value in smallest units of the settlement asset, before rounding."""
        return Fraction(value * self.numerator, self.denominator)

    def notional(self, lots: int, points: int, index_nano: int) -> Fraction:
        """Smallest units of the settlement asset that lots stand for, without sign.

        Of an option that is its underlying's worth, for which a linear one needs the index.
        """
        if not self.up_front:
            return abs(self.money(self.value(lots, points)))
        size = abs(lots) * self.lot_size * self.asset_scale
        return size if self.inverse else size * self.quanto_rate * Fraction(index_nano, 10**9)

    def final_money(self, price: Fraction) -> Fraction:
        """What a long lot is worth when the contract settles at a price of the underlying."""
        quote = sum((term.pays(price) for term in self.terms), Fraction(0))
        if self.inverse:
            quote = quote / price if price else Fraction(0)
        return quote * self.quanto_rate * self.lot_size * self.asset_scale
