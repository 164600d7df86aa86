"""The border between floats and integers, against exact fractions; and what failures say."""

from __future__ import annotations

import decimal
import math
import pickle
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from solvent import units
from solvent.errors import (
    BadInput,
    InvariantBroken,
    MissingExtra,
    Problem,
    Reject,
    RulebookError,
    SolventError,
    check,
)
from solvent.limits import EXACT_MAX, LOTS_MAX, MONEY_MAX
from solvent.units import Rounding, quantise, requirement_up, round_decimals, value_down, value_up

FINITE = st.floats(allow_nan=False, allow_infinity=False)
DIVISIONS: dict[Callable[[int, int], int], Callable[[Fraction], int]] = {
    units.div_up: math.ceil,
    units.div_down: math.floor,
    units.div_half_even: round,
    units.div_toward_zero: math.trunc,
}
ROUNDINGS: dict[Rounding, Callable[[Fraction], int]] = {
    Rounding.HALF_EVEN: round,
    Rounding.UP: lambda number: math.ceil(number) if number > 0 else math.floor(number),
    Rounding.DOWN: math.trunc,
    Rounding.CEILING: math.ceil,
    Rounding.FLOOR: math.floor,
}
CODES = {
    "SYMBOL_UNKNOWN": 101,
    "FIELD_MISSING": 102,
    "FIELD_NOT_A_NUMBER": 103,
    "FIELD_NOT_FINITE": 104,
    "SIZE_NOT_WHOLE_LOTS": 105,
    "SIZE_TOO_LARGE": 106,
    "ACCOUNT_EMPTY": 107,
    "PRICE_NOT_POSITIVE": 108,
    "TIME_INVALID": 109,
    "SIDE_UNKNOWN": 110,
    "INSTRUMENT_NOT_IN_MARKET": 201,
    "INSTRUMENT_EXPIRED": 202,
    "MARK_MISSING": 203,
    "VOL_MISSING": 204,
    "QUOTE_CROSSED": 205,
    "QUOTE_ZERO": 206,
    "INDEX_MISSING": 207,
    "RULEBOOK_UNKNOWN": 301,
    "PARAMETER_UNSET": 302,
    "COLLATERAL_NOT_ACCEPTED": 303,
    "EXACT_RANGE_EXCEEDED": 304,
    "INPUT_INVALID": 305,
    "SOURCE_UNREADABLE": 401,
    "SOURCE_EMPTY": 402,
    "ROW_MALFORMED": 403,
    "ROW_DUPLICATED": 404,
    "TARGET_UNWRITABLE": 405,
    "COMMAND_MALFORMED": 501,
    "COMMAND_TOO_LARGE": 502,
    "KEY_REUSED": 503,
    "ACCOUNT_UNKNOWN": 601,
    "ASSET_UNKNOWN": 602,
    "INSTRUMENT_UNKNOWN": 603,
    "RULEBOOK_NOT_ADOPTED": 604,
    "ORDER_UNKNOWN": 605,
    "REFERENCE_UNKNOWN": 606,
    "NAME_TAKEN": 611,
    "ORDER_DUPLICATED": 612,
    "REFERENCE_DUPLICATED": 613,
    "CAPACITY_REACHED": 614,
    "ACCOUNT_CLOSED": 621,
    "ACCOUNT_FROZEN": 622,
    "ACCOUNT_IN_LIQUIDATION": 623,
    "ACCOUNT_NOT_IN_LIQUIDATION": 624,
    "ACCOUNT_NOT_EMPTY": 625,
    "ACCOUNT_NOT_LIQUIDATABLE": 626,
    "ACCOUNT_STILL_LIQUIDATABLE": 627,
    "ACCOUNT_NOT_A_MEMBER": 628,
    "ACCOUNT_NOT_FOR_THIS": 629,
    "ACCOUNTS_THE_SAME": 630,
    "INSTRUMENT_HALTED": 631,
    "INSTRUMENT_CLOSED": 632,
    "INSTRUMENT_HELD": 633,
    "INSTRUMENT_NOT_EXPIRED": 634,
    "INSTRUMENT_NOT_FOR_THIS": 635,
    "INSTRUMENT_TERMS_INVALID": 636,
    "BALANCE_INSUFFICIENT": 641,
    "MARGIN_INSUFFICIENT": 642,
    "RISK_UNKNOWN": 643,
    "FUND_INSUFFICIENT": 644,
    "AMOUNT_TOO_LARGE": 645,
    "POSITION_TOO_LARGE": 646,
    "DEBT_EXCEEDED": 647,
    "SHARES_EXCEED_BALANCE": 648,
    "ISOLATED_MARGIN_INSUFFICIENT": 649,
    "CREDIT_NOT_WITHDRAWABLE": 650,
    "ORDER_MISMATCHED": 651,
    "MODE_UNSUPPORTED": 661,
    "MODE_REFUSED": 662,
    "LEVERAGE_INVALID": 663,
    "POSITION_NOT_HELD": 664,
    "POSITIONS_UNBALANCED": 665,
    "BOOKS_NOT_EMPTY": 666,
    "PRICES_INCOMPLETE": 671,
    "TIME_NOT_REACHED": 672,
    "PERIOD_PAID": 673,
    "RATE_INVALID": 674,
    "ARRAYS_INVALID": 675,
    "SNAPSHOT_INVALID": 676,
    "RULEBOOK_INVALID": 681,
    "ORDER_TERMS_INVALID": 652,
    "ORDER_TOO_SMALL": 653,
    "ORDER_TOO_LARGE": 654,
    "ORDER_EXPIRED": 655,
    "ORDER_UNFILLABLE": 656,
    "ORDER_WAITING": 657,
    "ORDER_NOT_FOR_AUCTION": 658,
    "AMEND_BELOW_FILLED": 659,
    "PRICE_OFF_STEP": 691,
    "LOTS_OFF_STEP": 692,
    "PRICE_OUT_OF_BAND": 693,
    "POST_ONLY_CROSSES": 694,
    "REDUCE_ONLY_INCREASES": 695,
    "STOP_TRIGGERS_AT_ONCE": 696,
    "PROTECTION_TRIPPED": 697,
    "PROTECTION_UNKNOWN": 698,
    "BLOCK_MISMATCHED": 699,
    "ACCOUNT_NOT_SHORT_OF_MARGIN": 700,
    "ACCOUNT_NOT_A_BACKSTOP": 711,
    "BACKSTOP_FULL": 712,
    "TARGET_REACHED": 713,
    "COOLDOWN": 714,
    "AUCTION_UNKNOWN": 715,
    "AUCTION_RUNNING": 716,
    "AUCTION_NOT_OVER": 717,
    "PRICE_EXCEEDED": 718,
    "CONVERSION_TOO_DEAR": 719,
    "HEDGE_NOT_BETTER": 720,
    "ASSETS_THE_SAME": 721,
    "COUNTERPARTY_UNABLE": 722,
}
"""Codes that were given out. Add to the end of a hundred; never change or reuse one."""


@pytest.mark.parametrize("divide", DIVISIONS, ids=lambda way: way.__name__)
@given(st.integers(-(10**30), 10**30), st.one_of(st.integers(1, 12), st.integers(1, 10**20)))
def test_integer_divisions_equal_fractions(
    divide: Callable[[int, int], int], numerator: int, denominator: int
) -> None:
    assert divide(numerator, denominator) == DIVISIONS[divide](Fraction(numerator, denominator))


@pytest.mark.parametrize("divide", DIVISIONS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("denominator", [0, -1])
def test_divisors_are_positive(divide: Callable[[int, int], int], denominator: int) -> None:
    with pytest.raises(InvariantBroken, match=rf"divide by a positive, was {denominator}$"):
        divide(1, denominator)


def test_every_rounding_is_judged() -> None:
    assert set(ROUNDINGS) == set(Rounding)


@given(FINITE, st.integers(0, 18), st.sampled_from(list(Rounding)))
@example(1e12, 18, Rounding.UP)
@example(2.675, 2, Rounding.HALF_EVEN)
@example(-1e-12, 3, Rounding.HALF_EVEN)
def test_round_decimals_equals_fractions(amount: float, decimals: int, rounding: Rounding) -> None:
    whole = ROUNDINGS[rounding](Fraction(repr(amount)) * 10**decimals)
    rounded = round_decimals(amount, decimals=decimals, rounding=rounding)
    assert rounded == float(Fraction(whole, 10**decimals))
    assert rounded != 0.0 or math.copysign(1.0, rounded) == 1.0


def test_round_decimals_takes_numpy_and_no_context() -> None:
    with decimal.localcontext(prec=2, rounding=decimal.ROUND_UP):
        number = np.float64(12_345.5)
        assert round_decimals(number, decimals=0, rounding=Rounding.HALF_EVEN) == 12_346.0
        assert round_decimals(number, decimals=0, rounding=Rounding.DOWN) == 12_345.0


@pytest.mark.parametrize("amount", [math.nan, math.inf, -math.inf])
def test_round_decimals_refuses_what_is_not_finite(amount: float) -> None:
    with pytest.raises(InvariantBroken, match=f"amount finite, was {amount}"):
        round_decimals(amount, decimals=2, rounding=Rounding.UP)


@given(st.lists(st.floats(-9.0e15, 9.0e15)))
@example([0.5, 1.5, 2.5, -0.5, -1.5, -2.5, -0.0, -1e-9])
def test_quantise_is_half_even_without_negative_zero(amounts: list[float]) -> None:
    quanta = quantise(np.array(amounts), quanta_per_unit=1.0)
    assert quanta.tolist() == [float(round(Fraction(amount))) for amount in amounts]
    assert not np.signbit(quanta[quanta == 0.0]).any()


@given(st.floats(-9.0e6, 9.0e6), st.sampled_from(["USDC", "BTC"]))
def test_quantise_hides_half_a_quantum_at_most(amount: float, asset: str) -> None:
    scale = units.quanta_per_unit(asset)
    hidden = Fraction(quantise(np.array([amount]), quanta_per_unit=scale)[0])
    hidden -= Fraction(amount) * int(scale)
    assert abs(hidden) <= Fraction(1, 2) + abs(Fraction(amount)) * int(scale) / EXACT_MAX


@pytest.mark.parametrize("amount", [math.nan, math.inf, -math.inf, 2.0**53, -(2.0**53), 1e308])
def test_quantise_refuses_what_is_not_exact(amount: float) -> None:
    with pytest.raises(InvariantBroken, match=r"finite|exact range"):
        quantise(np.array([1.0, amount]), quanta_per_unit=1e6)


def test_exact_range_ends_where_floats_skip_integers() -> None:
    assert float(EXACT_MAX - 1) + 1.0 == EXACT_MAX
    assert float(EXACT_MAX) + 1.0 == EXACT_MAX
    assert float(LOTS_MAX - 1) != float(LOTS_MAX)
    assert (np.array([MONEY_MAX - 1]) + np.array([MONEY_MAX - 1]))[0] == 2 * MONEY_MAX - 2


@given(st.lists(st.floats(-4.0e18, 4.0e18)))
@example([-0.2, 0.2, -1.0, 1.0])
def test_roundings_against_the_account_equal_fractions(quanta: list[float]) -> None:
    exact = [Fraction(number) for number in quanta]
    assert requirement_up(np.array(quanta)).tolist() == [max(0, math.ceil(q)) for q in exact]
    assert value_down(np.array(quanta)).tolist() == [math.floor(q) for q in exact]
    assert value_up(np.array(quanta)).tolist() == [math.ceil(q) for q in exact]


@pytest.mark.parametrize("amount", [math.nan, math.inf, 2.0**62])
def test_money_is_finite_and_fits(amount: float) -> None:
    for whole in (requirement_up, value_down, value_up):
        with pytest.raises(InvariantBroken, match=r"finite$|fits int64$"):
            whole(np.array([0.0, amount]))
    with pytest.raises(InvariantBroken, match="value"):
        value_down(np.array([-abs(amount)]))


def test_quanta_of_assets() -> None:
    quanta = [units.quanta_per_unit(asset) for asset in ("USD", "USDC", "USDT", "BTC", "SOL")]
    assert quanta == [1e6, 1e6, 1e6, 1e9, 1e9]


def test_reject_codes_are_stable() -> None:
    assert {name: int(code) for name, code in Reject.__members__.items()} == CODES
    assert len(set(CODES.values())) == len(CODES)


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ({}, "book.csv"),
        ({"row": 3}, "book.csv, row 3"),
        ({"row": 3, "line": 4}, "book.csv, row 3 (line 4)"),
        ({"row": 3, "line": 4, "field": "size"}, "book.csv, row 3 (line 4), field 'size'"),
    ],
)
def test_problem_says_whose_what_and_why(place: dict[str, Any], said: str) -> None:
    problem = Problem(
        code=Reject.FIELD_NOT_A_NUMBER, source="book.csv", expected="a number", found="x", **place
    )
    assert str(problem) == f"{said}: expected a number, found x [FIELD_NOT_A_NUMBER]"


def test_bad_input_keeps_every_problem_and_survives_a_process() -> None:
    problems = [
        Problem(code=code, source="a.csv", expected="one", found="two", row=row)
        for row, code in enumerate(Reject, start=1)
    ]
    fault = BadInput(*problems)
    sent = pickle.loads(pickle.dumps(fault))
    for one in (fault, sent):
        assert one.problems == tuple(problems)
        assert str(one) == str(problems[0])
    with pytest.raises(InvariantBroken, match="names at least one problem"):
        BadInput()


def test_failures_are_of_three_kinds() -> None:
    assert not issubclass(InvariantBroken, BadInput | RulebookError)
    assert all(issubclass(kind, SolventError) for kind in (BadInput, InvariantBroken, MissingExtra))
    assert str(MissingExtra(feature="A plot", extra="plot")) == (
        "A plot needs an extra: pip install 'solvent[plot]'"
    )


def test_check_says_what_was_seen() -> None:
    check(True, "holds", "unread")
    with pytest.raises(InvariantBroken, match=r"^sorted, was 1, 'b'$"):
        check(False, "sorted", 1, "b")
    with pytest.raises(InvariantBroken, match=r"^nothing was seen$"):
        check(False, "nothing was seen")
