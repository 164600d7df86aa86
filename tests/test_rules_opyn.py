"""Opyn's vaults: worked by hand, properties, and the published cases."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from solvent.conform import conform
from solvent.conform.levels import number, sheet
from solvent.margining.levels.rows import Sheet, Unset
from tests.conftest import need_shared

amounts = st.fractions(min_value=0, max_value=50, max_denominator=10**8)
strikes = st.integers(1, 5_000)


def option(name: str, *, call: bool, strike: Any, **facts: Any) -> dict[str, Any]:
    return {
        "instrument": name,
        "underlying": "ETH",
        "right": "call" if call else "put",
        "is_option": 1,
        "is_call": int(call),
        "contract_size": 1,
        "strike": strike,
        "index": 2_000,
        "years": 1,
        **facts,
    }


def vault(
    name: str, options: list[tuple[dict[str, Any], Any]], collateral: Any = 0, **facts: Any
) -> Sheet:
    return sheet(
        name,
        instrument=[one for one, _ in options],
        position=[{"instrument": one["instrument"], "size": size} for one, size in options],
        asset=[{"asset": "held", "amount": collateral, "price": 1}],
        **facts,
    )


def value(one: Sheet, column: str) -> Fraction:
    return number(one.value("pool", column))


# ── spreads ──────────────────────────────────────────────────────────────────────────────────


def test_a_short_put_needs_its_strike() -> None:
    one = vault("opyn-spread", [(option("s", call=False, strike=250), -2)], collateral=600)
    assert value(one, "required") == 500
    assert value(one, "excess") == 100


def test_a_long_put_covers_down_to_its_strike() -> None:
    legs = [(option("s", call=False, strike=250), -2), (option("l", call=False, strike=200), 1)]
    # 2 × 250 − 1 × 200.
    assert value(vault("opyn-spread", legs), "required") == 300


def test_a_call_spread_needs_its_width_over_the_upper_strike() -> None:
    legs = [(option("s", call=True, strike=200), -1), (option("l", call=True, strike=300), 1)]
    one = vault("opyn-spread", legs)
    # (300 − 200) / 300 of a coin, cut off at 27 decimals and rounded up to the token's six.
    assert value(one, "required") == Fraction("0." + "3" * 27)
    assert value(one, "rounded_up") == Fraction("0.333334")
    assert value(one, "excess") == -Fraction("0.333334")
    # In dollars at 2,000.
    assert value(one, "initial") == Fraction("0." + "3" * 27) * 2_000


def test_another_collateral_is_converted_at_the_oracle_prices() -> None:
    short = option(
        "s", call=False, strike=300, backed_by_strike=0, other_price=Fraction(1, 50),
        collateral_decimals=8,
    )  # fmt: skip
    assert value(vault("opyn-spread", [(short, -1)]), "required") == 15_000


def test_after_expiry_options_are_owed_their_worth() -> None:
    legs = [
        (option("s", call=True, strike=200, years=0, index=210, collateral_decimals=18), -1),
        (option("l", call=True, strike=250, years=0, index=210, collateral_decimals=18), 1),
    ]
    one = vault("opyn-spread", legs, collateral=Fraction(1, 5))
    # 10 dollars are 10 / 210 coins, cut off at 27 decimals; what is left is cut off at 18.
    assert value(one, "required") == Fraction(10**27 // 21, 10**27)
    assert value(one, "excess") == Fraction("0.152380952380952380")


def test_a_vault_without_options_returns_what_it_holds() -> None:
    one = vault("opyn-spread", [], collateral=Fraction(1, 3))
    assert value(one, "excess") == Fraction(1, 3)
    assert value(one, "initial") == 0


@pytest.mark.parametrize(
    "options",
    [
        [(option("a", call=False, strike=250), -1), (option("b", call=False, strike=200), -1)],
        [(option("a", call=False, strike=250), -1), (option("b", call=True, strike=200), 1)],
        [(option("a", call=False, strike=250), -1),
         (option("b", call=False, strike=200, expiry=9), 1)],
    ],
)  # fmt: skip
def test_what_no_vault_can_hold_is_not_known(options: list[tuple[dict[str, Any], Any]]) -> None:
    with pytest.raises(Unset, match="is_vault does not hold"):
        value(vault("opyn-spread", options), "required")


@given(amounts, amounts, strikes, strikes, st.booleans())
def test_a_spread_needs_all_that_it_can_lose(
    short: Fraction, long: Fraction, at: int, other: int, call: bool
) -> None:
    """Puts: the worst of settlement at 0 and at the strikes. Calls: of coins owed at any price."""
    legs = [
        (option("s", call=call, strike=at), -short),
        (option("l", call=call, strike=other), long),
    ]
    need = value(vault("opyn-spread", legs), "required")
    covered = min(short, long)
    if call:
        wide = Fraction(other - at, other) * short if long else Fraction(0)
        expected = max(wide, short - covered)
    else:
        expected = max(
            short * max(at - price, 0) - covered * max(other - price, 0) for price in (0, at, other)
        )
    assert need >= 0
    assert abs(need - expected) <= Fraction(2, 10**27)


@given(amounts, strikes, st.booleans(), amounts, amounts)
def test_more_collateral_never_lowers_the_excess(
    short: Fraction, strike: int, call: bool, held: Fraction, more: Fraction
) -> None:
    legs = [(option("s", call=call, strike=strike), -short)]
    less, greater = (vault("opyn-spread", legs, collateral=x) for x in (held, held + more))
    assert value(less, "excess") <= value(greater, "excess")


# ── naked margin ─────────────────────────────────────────────────────────────────────────────


def test_a_naked_put_needs_its_bound_of_the_shocked_price_and_what_is_inside() -> None:
    # Shocked price 0.75 × 2,000 = 1,500: 0.1678 × 1,500 + (1,600 − 1,500).
    short = option("s", call=False, strike=1_600, days=7)
    assert value(vault("opyn-naked", [(short, -1)]), "required") == Fraction("351.7")
    # Below it: 0.237 × 1,000, by the table's second entry, which holds from beyond 7 days to 14.
    short = option("s", call=False, strike=1_000, days=Fraction(71, 10))
    assert value(vault("opyn-naked", [(short, -1)]), "required") == 237


def test_a_naked_call_needs_coins() -> None:
    # The coin at 2,000 / 0.75; strike over that is 0.6: 0.1678 × 0.6 + 0.4.
    short = option("s", call=True, strike=1_600, days=1, collateral_decimals=18)
    one = vault("opyn-naked", [(short, -2)], collateral=1)
    assert value(one, "required") == 2 * Fraction("0.50068")
    assert value(one, "excess") == Fraction("-0.00136")
    assert value(one, "initial") == 2 * Fraction("0.50068") * 2_000


def test_longer_than_the_table_or_collateral_of_dust_is_not_known() -> None:
    long_dated = option("s", call=False, strike=1_600, days=57)
    with pytest.raises(Unset, match=r"days <= product\.longest"):
        value(vault("opyn-naked", [(long_dated, -1)]), "required")
    short = option("s", call=False, strike=1_600, days=7)
    pool = [{"account": "", "pool": "", "dust": 5}]
    assert value(vault("opyn-naked", [(short, -1)], collateral=6, pool=pool), "excess") < 0
    with pytest.raises(Unset, match="is_vault"):
        value(vault("opyn-naked", [(short, -1)], collateral=5, pool=pool), "excess")


@given(amounts, strikes, st.booleans(), st.integers(1, 56))
def test_naked_margin_lies_between_nothing_and_full_backing(
    short: Fraction, strike: int, call: bool, days: int
) -> None:
    legs = [(option("s", call=call, strike=strike, days=days), -short)]
    naked = value(vault("opyn-naked", legs), "required")
    assert 0 <= naked <= value(vault("opyn-spread", legs), "required") + Fraction(1, 10**20)


def test_published_cases() -> None:
    result = conform([need_shared("vectors", "opyn")])
    assert (result.failed, result.unknown) == (0, 0)
    assert result.passed == 44
