"""A contract's arithmetic: values, money, notionals and final payments of every kind."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from solvent.account.deal import INVERSE_PARTS, Deal, PayoffTerm
from solvent.errors import InvariantBroken

LINEAR: dict[str, Any] = {
    "number": 3, "symbol": "X", "asset": 0, "underlying": "BTC", "kind": "perpetual",
    "up_front": False, "inverse": False, "expiry_ms": None, "points_per_tick": 10,
    "lot_size": Fraction(1, 1000), "point": Fraction(1, 10), "quanto_rate": Fraction(1),
    "asset_scale": 10**6, "terms": (PayoffTerm("call", Fraction(0), Fraction(1)),),
    "parameters": {},
}  # fmt: skip


def deal(**changes: Any) -> Deal:
    return Deal(**{**LINEAR, **changes})


@pytest.mark.parametrize(
    ("payoff", "price", "pays"),
    [
        ("call", 101, 2), ("call", 100, 0), ("call", 99, 0),
        ("put", 99, 2), ("put", 100, 0), ("put", 101, 0),
        ("above", 101, 2), ("above", 100, 0), ("above", 99, 0),
        ("below", 99, 2), ("below", 100, 0), ("below", 101, 0),
    ],
)  # fmt: skip
def test_payoffs_at_and_round_the_strike(payoff: str, price: int, pays: int) -> None:
    assert PayoffTerm(payoff, Fraction(100), Fraction(2)).pays(Fraction(price)) == pays


@pytest.mark.parametrize("sizes", [{"lot_size": Fraction(0)}, {"point": Fraction(0)}])
def test_sizes_are_positive(sizes: dict[str, Fraction]) -> None:
    with pytest.raises(InvariantBroken) as fault:
        deal(**sizes)
    assert str(fault.value) == "sizes of a contract are positive, was 'X'"


def test_a_linear_value_unit_is_one_point_of_one_lot() -> None:
    one = deal()
    assert (one.numerator, one.denominator) == (100, 1)
    assert (one.coin_numerator, one.coin_denominator) == (0, 1)
    assert one.value(-3, 500_000) == -1_500_000
    assert one.value(7, 0) == 0
    assert one.money(-1_500_000) == -150_000_000


def test_a_quanto_rate_scales_a_linear_value_unit() -> None:
    one = deal(lot_size=Fraction(1), quanto_rate=Fraction(1, 10**6), asset_scale=10**9,
               point=Fraction(1, 200))  # fmt: skip
    assert (one.numerator, one.denominator) == (5, 1)


def test_an_inverse_future_costs_minus_its_coin_half_even() -> None:
    one = deal(inverse=True, lot_size=Fraction(10), point=Fraction(1, 20), asset_scale=10**9)
    assert INVERSE_PARTS == 1_000
    assert (one.numerator, one.denominator) == (1, 1_000)
    # Ten dollars at 50,000 (1,000,000 points) are 0.0002 coin: 200,000 nano, in thousandths.
    assert one.value(1, 1_000_000) == -200_000_000
    assert one.value(-3, 1_000_000) == 600_000_000
    assert one.money(-200_000_000) == -200_000
    assert one.value(5, 0) == 0
    # 10 * 20 * 10**12 / 3 points; the remainder is two thirds, so the nearest is one up.
    assert one.value(1, 3) == -66_666_666_666_667
    # 200 * 10**12 / (64 * 10**12) = 3.125; at 80e12 it is 2.5, a tie: to the even 2.
    assert one.value(1, 64 * 10**12) == -3
    assert one.value(1, 80 * 10**12) == -2


def test_an_inverse_options_value_unit_is_in_coin() -> None:
    one = deal(inverse=True, up_front=True, kind="option", lot_size=Fraction(1, 10),
               point=Fraction(1, 10**5), asset_scale=10**9, quanto_rate=Fraction(7))  # fmt: skip
    assert (one.numerator, one.denominator) == (1_000, 1)
    assert (one.coin_numerator, one.coin_denominator) == (0, 1)
    assert one.value(2, 2_000) == 4_000


def test_notionals_have_no_sign() -> None:
    assert deal().notional(-3, 500_000, 0) == 150_000_000
    inverse = deal(inverse=True, lot_size=Fraction(10), point=Fraction(1, 20), asset_scale=10**9)
    assert inverse.notional(3, 1_000_000, 0) == 600_000


def test_the_notional_of_an_option_is_its_underlyings_worth() -> None:
    linear = deal(up_front=True, lot_size=Fraction(1, 100), quanto_rate=Fraction(1, 2))
    assert linear.notional(-3, 1, 50_000 * 10**9) == 3 * 500 * 10**6 / 2
    inverse = deal(up_front=True, inverse=True, lot_size=Fraction(1, 10), asset_scale=10**9)
    assert inverse.notional(-3, 1, 50_000 * 10**9) == 300_000_000


def test_final_money_of_a_lot() -> None:
    assert deal().final_money(Fraction(50_000)) == 50_000_000
    assert deal(quanto_rate=Fraction(1, 4)).final_money(Fraction(8)) == 2_000
    spread = (
        PayoffTerm("call", Fraction(60_000), Fraction(1)),
        PayoffTerm("call", Fraction(70_000), Fraction(-1)),
    )
    assert deal(terms=spread).final_money(Fraction(64_000)) == 4_000_000
    assert deal(terms=spread).final_money(Fraction(90_000)) == 10_000_000


def test_final_money_of_an_inverse_lot_is_in_coin() -> None:
    inverse = deal(inverse=True, lot_size=Fraction(10), asset_scale=10**9,
                   terms=(PayoffTerm("above", Fraction(0), Fraction(-1)),))  # fmt: skip
    assert inverse.final_money(Fraction(50_000)) == -200_000
    put = deal(inverse=True, up_front=True, asset_scale=10**9, lot_size=Fraction(1, 10),
               terms=(PayoffTerm("put", Fraction(40_000), Fraction(1)),))  # fmt: skip
    assert put.final_money(Fraction(32_000)) == 25_000_000
    assert put.final_money(Fraction(0)) == 0
