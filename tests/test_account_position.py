"""Positions: average cost, flips, what waits for a mark; and shares of what is not enough."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from solvent.account.position import Change, Position, traded
from solvent.account.sharing import shared_out
from solvent.errors import InvariantBroken


def test_a_position_keeps_what_it_is_told() -> None:
    one = Position(1, 2, 3, 4)
    assert (one.lots, one.entry_value, one.basis_value, one.realised) == (1, 2, 3, 4)


@pytest.mark.parametrize(
    ("before", "change_lots", "cost", "after"),
    [
        ((0, 0, 0), 5, 500, (5, 500, 500, 0, 0)),
        ((5, 500, 500), 5, 700, (10, 1_200, 1_200, 0, 0)),
        ((-5, -500, -500), -5, -700, (-10, -1_200, -1_200, 0, 0)),
        ((10, 1_000, 1_000), -10, -1_500, (0, 0, 0, 500, 500)),
        ((-10, -1_000, -1_000), 10, 1_500, (0, 0, 0, -500, -500)),
        ((-10, -1_000, -1_000), 30, 3_300, (20, 2_200, 2_200, -100, -100)),
        # A third of 100 is 33.3: 33 close, 67 stay with the two lots that are left.
        ((3, 100, 100), -1, -40, (2, 67, 67, 7, 7)),
        # Half of 101 is 50.5: to the even 50.
        ((2, 101, 101), -1, -60, (1, 51, 51, 10, 10)),
        # Of a cost of 100 for three lots, two of which close, 66.7 belong to these: 67.
        ((-2, -50, -50), 3, 100, (1, 33, 33, -17, -17)),
        # One lot of one closes, and one opens.
        ((1, 7, 7), -2, -20, (-1, -10, -10, 3, 3)),
    ],
)
def test_average_cost(
    before: tuple[int, int, int], change_lots: int, cost: int, after: tuple[int, ...]
) -> None:
    assert traded(*before, change_lots=change_lots, cost_value=cost) == Change(*after)


def test_gains_that_wait_for_a_mark_stay_in_the_basis() -> None:
    assert traded(10, 1_000, 900, change_lots=-5, cost_value=-600, at_mark=True) == Change(
        5, 500, 300, 100, 0
    )
    assert traded(10, 1_000, 900, change_lots=-10, cost_value=-1_200, at_mark=True) == Change(
        0, 0, -300, 200, 0
    )


def test_a_basis_of_its_own_closes_by_its_own_share() -> None:
    # Entry 1,000, marked at 1,200: half closes at 700, 200 over entry, 100 over the mark.
    assert traded(10, 1_000, 1_200, change_lots=-5, cost_value=-700) == Change(
        5, 500, 600, 200, 100
    )
    assert traded(10, 1_000, 1_200, change_lots=5, cost_value=700) == Change(15, 1_700, 1_900, 0, 0)
    # A flip: all of the basis is closed, the new position stands at its cost.
    assert traded(10, 1_000, 1_200, change_lots=-20, cost_value=-2_600) == Change(
        -10, -1_300, -1_300, 300, 100
    )


def test_whole_points_round_the_average_down() -> None:
    # 3 lots for 100 stand at 33 each; the long's average falls, a short's rises further from zero.
    assert traded(0, 0, 0, change_lots=3, cost_value=100, whole_points=True) == Change(
        3, 99, 100, 0, 0
    )
    assert traded(0, 0, 0, change_lots=-3, cost_value=-100, whole_points=True) == Change(
        -3, -99, -100, 0, 0
    )
    assert traded(3, 99, 99, change_lots=-3, cost_value=-120, whole_points=True) == Change(
        0, 0, 0, 21, 21
    )
    assert traded(3, 99, 99, change_lots=-1, cost_value=-40, whole_points=True) == Change(
        2, 66, 66, 7, 7
    )
    assert traded(1, 10, 10, change_lots=1, cost_value=11, whole_points=True) == Change(
        2, 20, 21, 0, 0
    )
    assert traded(-1, -10, -10, change_lots=2, cost_value=23, whole_points=True) == Change(
        1, 11, 11, -2, -2
    )


def test_a_premium_leaves_no_basis() -> None:
    assert traded(4, 40, 0, change_lots=-2, cost_value=-50, up_front=True) == Change(
        2, 20, 0, 30, 0
    )
    assert traded(0, 0, 0, change_lots=2, cost_value=9, up_front=True) == Change(2, 9, 0, 0, 0)


@given(
    st.lists(
        st.tuples(st.integers(-50, 50).filter(bool), st.integers(1, 10**6)), min_size=1, max_size=20
    ),
    st.booleans(),
)
def test_what_was_paid_is_in_the_gains_or_in_the_position(
    trades: list[tuple[int, int]], at_mark: bool
) -> None:
    lots = entry = basis = gains = paid = costs = 0
    for change, price in trades:
        one = traded(lots, entry, basis, change_lots=change, cost_value=change * price,
                     at_mark=at_mark)  # fmt: skip
        lots, entry, basis = one[:3]
        gains, paid, costs = gains + one.gain_value, paid + one.paid_value, costs + change * price
        assert entry - gains == costs
        assert basis - paid == costs
        assert (entry > 0) == (lots > 0)
        assert (entry < 0) == (lots < 0)


@pytest.mark.parametrize(
    ("claims", "available", "paid"),
    [
        ([3, 4], 7, [3, 4]),
        ([3, 4], 8, [3, 4]),
        ([3, 4], 6, [2, 4]),
        ([1, 1, 1], 2, [0, 0, 2]),
        ([80, 8_000], 5_080, [50, 5_030]),
        ([5], 0, [0]),
        ([0, 5], 3, [0, 3]),
        ([], 0, []),
        ([0, 0], 0, [0, 0]),
    ],
)
def test_shares(claims: list[int], available: int, paid: list[int]) -> None:
    assert shared_out(claims, available) == paid


def test_shares_are_a_new_list() -> None:
    claims = [1, 2]
    assert shared_out(claims, 3) is not claims


def test_nobody_claims_or_shares_less_than_nothing() -> None:
    with pytest.raises(InvariantBroken) as fault:
        shared_out([1, -1], 5)
    assert str(fault.value) == "a claim is not negative"
    with pytest.raises(InvariantBroken) as fault:
        shared_out([1], -1)
    assert str(fault.value) == "what there is to share is not negative, was -1"
