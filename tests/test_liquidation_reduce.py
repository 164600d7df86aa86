"""How much of a position goes, and at which price nothing is left."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from solvent.errors import InvariantBroken
from solvent.liquidation import bankruptcy
from solvent.liquidation.auction import max_proportion
from solvent.liquidation.reduce import (
    BlockLimits,
    Candidate,
    Disposal,
    Slices,
    best_step,
    block_lots,
    disposal,
    disposal_range,
    linear_minimum,
    next_slice,
    smallest,
    step_down,
)
from solvent.verify.liquidation import least_lots

# ── the least that is enough ─────────────────────────────────────────────────────────────────────


@given(st.integers(0, 300), st.integers(0, 300))
def test_smallest_is_what_a_scan_finds(most: int, first: int) -> None:
    def good(lots: int) -> bool:
        return lots >= first

    assert smallest(good, most) == least_lots(good, most)


@given(st.lists(st.booleans(), min_size=1, max_size=200))
def test_smallest_of_any_condition_is_good_and_one_less_is_not(told: list[bool]) -> None:
    found = smallest(told.__getitem__, len(told) - 1)
    if told[0]:
        assert found == 0
    elif not told[-1]:
        assert found is None
    else:
        assert found is not None
        assert told[found]
        assert not told[found - 1]


def test_smallest_asks_seldom() -> None:
    asked = []

    def good(lots: int) -> bool:
        asked.append(lots)
        return lots >= 700_000

    assert smallest(good, 1 << 40) == 700_000
    assert len(asked) <= 2 + 2 * 21
    assert max(asked[2:]) <= 1 << 20


@given(st.fractions(-1_000, 1_000), st.fractions(-10, 50), st.integers(0, 500),
       st.fractions(0, 100))  # fmt: skip
def test_the_closed_form_is_the_search(
    health: Fraction, gain: Fraction, most: int, target: Fraction
) -> None:
    def good(lots: int) -> bool:
        return health + lots * gain >= target

    assert linear_minimum(health, gain, most, target=target) == least_lots(good, most)


# ── schedules ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("lots", "steps", "goes"),
    [(5, 2, 5), (10, 1, 10), (11, 1, 1), (50, 2, 50), (51, 2, 41), (200, 2, 190), (201, 2, 151),
     (5_000, 2, 4_950), (5_000, 1, 4_800), (0, 1, 0)],
)  # fmt: skip
def test_step_down(lots: int, steps: int, goes: int) -> None:
    assert step_down(lots, (10, 50, 200, 1_000), steps) == goes


def test_a_step_down_leaves_a_lower_tier() -> None:
    tiers = (10, 50, 200, 1_000)
    for lots in range(1, 1_001):
        left = lots - step_down(lots, tiers, 2)
        tier = next(row for row, top in enumerate(tiers) if lots <= top)
        assert left == (tiers[tier - 2] if tier >= 2 else 0)
    with pytest.raises(InvariantBroken):
        step_down(5, (10, 10), 1)


FIFTHS: dict[str, Any] = {"fraction": Fraction(1, 5), "whole_at_micro": 100, "cooldown_ms": 30}


def test_slices_wait_and_then_take_the_rest() -> None:
    first = Slices(**FIFTHS, then_whole=True)
    assert next_slice(101, 101, first, last_ms=None, time_ms=0) == 21
    assert next_slice(101, 100, first, last_ms=None, time_ms=0) == 101
    assert next_slice(80, 101, first, last_ms=0, time_ms=29) == 0
    assert next_slice(80, 101, first, last_ms=0, time_ms=30) == 80
    eager = Slices(**FIFTHS, then_whole=False, waits=False)
    assert next_slice(80, 101, eager, last_ms=0, time_ms=29) == 80
    assert next_slice(80, 101, eager, last_ms=0, time_ms=30) == 16


def test_nothing_held_and_limits_that_cannot_be() -> None:
    rule = Slices(**FIFTHS, then_whole=True)
    assert next_slice(0, 0, rule, last_ms=None, time_ms=0) == 0
    assert disposal_range(0, Fraction(0)) == (0, 0)
    all_at_once = Disposal(fraction=Fraction(1), full_lots=0, book_share=Fraction(1),
                           slippage=Fraction(0), step_ms=0)  # fmt: skip
    assert disposal(0, 5, all_at_once) == 0
    assert disposal(7, 5, all_at_once) == 5
    nothing = BlockLimits(portion_ppm=1, position_micro_min=0, account_micro_max=0)
    assert block_lots(5, 5, nothing) == 0
    assert block_lots(0, 0, nothing) == 0
    assert block_lots(3, 0, nothing) == 3
    for change in (
        {"fraction": Fraction(0)}, {"fraction": Fraction(2)}, {"full_lots": -1},
        {"book_share": Fraction(0)}, {"slippage": Fraction(-1)}, {"step_ms": -1},
    ):  # fmt: skip
        with pytest.raises(InvariantBroken):
            replace(all_at_once, **change)
    for wrong in ((-1, Fraction(0)), (0, Fraction(-1))):
        with pytest.raises(InvariantBroken):
            disposal_range(*wrong)
    with pytest.raises(InvariantBroken):
        smallest(bool, -1)
    with pytest.raises(InvariantBroken):
        linear_minimum(0, 1, -1)


def test_slices_end() -> None:
    rule = Slices(fraction=Fraction(1, 5), whole_at_micro=0, cooldown_ms=0, then_whole=False)
    left, steps = 1_000, 0
    while left:
        left -= next_slice(left, left, rule, last_ms=0, time_ms=0)
        steps += 1
    # 1000 800 640 512 409 327 261 208 166 132 105 84 67 53 42 33 26 20 16 12 9 7 5 4 3 2 1 0
    assert steps == 27


def test_vega_disposes_as_published() -> None:
    """0012-POSR-013: 280 lots in front of 10,000 go in four steps."""
    rule = Disposal(fraction=Fraction(1, 2), full_lots=50, book_share=Fraction(1, 100),
                    slippage=Fraction(1, 10), step_ms=10_000)  # fmt: skip
    left, goes = 280, []
    while left:
        goes.append(disposal(left, 10_000, rule))
        left -= goes[-1]
    assert goes == [100, 90, 45, 45]
    assert disposal(51, 101, rule) == 2
    assert disposal(51, 0, rule) == 0
    # what all book shares would allow is no more than what is held
    assert disposal(3, 10_000, rule) == 3


def test_the_range_of_a_disposal() -> None:
    assert disposal_range(1_005, Fraction(1, 10)) == (904, 1_105)
    assert disposal_range(1_005, Fraction(1, 10), lowest=950, highest=1_050) == (950, 1_050)
    assert disposal_range(1_005, Fraction(10), lowest=None) == (0, 11_055)


@given(st.integers(1, 10**6), st.integers(1, 10**9), st.integers(0, 10**12))
def test_a_block_keeps_within_its_limits(lots: int, each: int, taken: int) -> None:
    limits = BlockLimits(portion_ppm=100_000, position_micro_min=10**9, account_micro_max=10**11)
    goes = block_lots(lots, lots * each, limits, taken_micro=taken)
    assert 0 <= goes <= lots
    left = 10**11 - taken
    may = min(max(lots * each // 10, 10**9), lots * each, left)
    assert goes == (0 if left <= 0 else max(1, may // each))


def test_best_step() -> None:
    def step(name: str, gain: int, cost: int, *, worse: bool = False,
             opens: bool = False) -> Candidate:  # fmt: skip
        return Candidate(name, 1, gain, cost, worse, opens)

    def best(*steps: Candidate, may_open: bool = False) -> str | None:
        found = best_step(steps, may_open=may_open)
        return None if found is None else found.symbol

    assert best(step("a", 100, 10), step("b", 90, 8)) == "b"
    assert best(step("a", 100, 10), step("b", 200, 20)) == "b"
    assert best(step("a", 100, 10), step("b", 100, 10)) == "a"
    assert best(step("a", 100, 10), step("b", 1, 0)) == "b"
    assert best(step("a", 100, -1), step("b", 100, -2)) == "b"
    assert best(step("a", 100, 10, worse=True), step("b", 1, 10)) == "b"
    assert best(step("a", 100, 10, opens=True), step("b", 1, 10)) == "b"
    assert best(step("a", 100, 10, opens=True), step("b", 1, 10), may_open=True) == "a"
    assert best(step("a", 0, 10), step("b", -5, 0)) is None
    assert best() is None


# ── prices ───────────────────────────────────────────────────────────────────────────────────────

LOTS = st.integers(-(10**6), 10**6).filter(bool)


@given(
    st.integers(-(10**9), 10**9), LOTS, st.integers(1, 10**6), st.fractions(Fraction(1, 100), 100)
)
def test_a_linear_bankruptcy_price_leaves_no_debt(
    equity: int, lots: int, mark: int, unit: Fraction
) -> None:
    price = bankruptcy.linear_price(equity=equity, lots=lots, mark=mark, unit=unit)

    def left(at: int) -> Fraction:
        return equity + lots * unit * (at - mark)

    if price is None:
        assert lots < 0
        assert left(0) < 0
        return
    assert price >= 0
    assert left(price) >= 0
    # a tick further in the market's way is a debt, or there is no such price
    nearer = price - 1 if lots > 0 else price + 1
    assert nearer < 0 or left(nearer) < 0


@given(st.integers(-(10**9), 10**9), LOTS, st.integers(1, 10**6), st.integers(1, 10**9))
def test_an_inverse_bankruptcy_price_leaves_no_debt(
    equity: int, lots: int, mark: int, face: int
) -> None:
    price = bankruptcy.inverse_price(equity=equity, lots=lots, mark=mark, face=Fraction(face))

    def left(at: int) -> Fraction:
        return equity + lots * face * (Fraction(1, mark) - Fraction(1, at))

    if price is None:
        far = 10**30
        assert left(far) <= 0 if lots > 0 else left(far) >= 0
        return
    if price == 0:
        assert lots < 0
        assert left(1) < 0
        return
    assert left(price) >= 0
    nearer = price - 1 if lots > 0 else price + 1
    assert nearer == 0 or left(nearer) < 0


@given(st.integers(-(10**9), 10**9), st.lists(st.integers(0, 10**6), min_size=1, max_size=8))
def test_equity_by_maintenance_is_never_more_than_there_is(equity: int, parts: list[int]) -> None:
    found = bankruptcy.by_maintenance(equity, parts)
    assert len(found) == len(parts)
    assert equity - len(parts) < sum(found) <= equity
    if sum(parts):
        assert all(one == math.floor(Fraction(equity * of, sum(parts)))
                   for one, of in zip(found, parts, strict=True))  # fmt: skip


def test_a_slice_that_costs_more_than_it_frees() -> None:
    told: dict[str, Any] = {
        "side": 1, "size": Fraction(2), "price": Fraction(100), "equity": Fraction(5),
        "rate": Fraction(1, 10), "fee": Fraction(0),
    }  # fmt: skip
    sale = bankruptcy.Sale(**told, executed=Fraction(90))
    assert sale.wanted() is None
    assert sale.part() == 2
    assert bankruptcy.Sale(**{**told, "equity": Fraction(20)}, executed=Fraction(90)).part() == 0
    half = bankruptcy.Sale(**{**told, "equity": Fraction(10)}, executed=Fraction(100))
    assert half.part() == 1


def test_positions_that_cannot_be() -> None:
    one = Fraction(1)
    for lots, unit in ((0, one), (1, Fraction(0))):
        with pytest.raises(InvariantBroken):
            bankruptcy.linear_price(equity=1, lots=lots, mark=1, unit=unit)
    for lots, face, mark in ((0, one, 1), (1, Fraction(0), 1), (1, one, 0)):
        with pytest.raises(InvariantBroken):
            bankruptcy.inverse_price(equity=1, lots=lots, mark=mark, face=face)
    for side, size, rate in ((0, one, one / 2), (2, one, one / 2), (1, 0 * one, one / 2),
                             (1, one, one), (1, one, -one)):  # fmt: skip
        with pytest.raises(InvariantBroken):
            bankruptcy.position_prices(side=side, size=size, entry=one, collateral=one, rate=rate)
    fine = bankruptcy.position_prices(
        side=1, size=one / 2, entry=one, collateral=one / 4, rate=0 * one
    )
    assert fine == bankruptcy.Prices(one / 2, one / 2)
    sale = bankruptcy.Sale(side=1, size=one / 2, price=one, executed=one, equity=0 * one,
                           rate=one / 10, fee=one / 10)  # fmt: skip
    # what a sale frees goes in fees: it does not help, so all goes
    assert sale.wanted() is None
    assert replace(sale, size=0 * one).wanted() == 0
    assert replace(sale, side=-1, executed=one / 2).wanted() == one / 20 / (one / 2)
    for change in ({"side": 2}, {"side": 0}, {"size": -one}):
        with pytest.raises(InvariantBroken):
            replace(sale, **change).wanted()
    with pytest.raises(InvariantBroken):
        bankruptcy.by_maintenance(1, [])
    with pytest.raises(InvariantBroken):
        bankruptcy.by_maintenance(1, [2, -1])
    told: dict[str, Any] = {"size": one, "notional": 5 * one, "position_maintenance": one / 2,
                            "equity": one, "adjustment": one, "spread": one}  # fmt: skip
    # nothing of its margin is missing, or all of it and more
    assert bankruptcy.fillable_price(maintenance=one / 2, **told) == 5
    assert bankruptcy.fillable_price(maintenance=one, **{**told, "equity": -one}) == Fraction(9, 2)
    assert bankruptcy.fillable_price(maintenance=2 * one, **told) == Fraction(19, 4)


def test_what_a_fill_brings_the_fund() -> None:
    def delta(received: int, bankrupt: int) -> Fraction:
        return bankruptcy.insurance_delta(received=received, bankruptcy=bankrupt,
                                          fee_max=Fraction(1, 10))  # fmt: skip

    assert [delta(100, one) for one in (101, 100, 99, 90, 80)] == [-1, 0, 1, 10, 10]
    assert [delta(-100, one) for one in (-99, -101, -150)] == [-1, 1, 10]


def test_max_proportion_of_a_whole_account() -> None:
    part = max_proportion(Fraction(5), Fraction(-1), discount=Fraction(1), mtm_cutoff=Fraction(6))
    assert part == 1
    assert max_proportion(Fraction(5), Fraction(0), discount=Fraction(1)) == 0
    assert max_proportion(Fraction(-5), Fraction(-1), discount=Fraction(1)) == 1
