"""Warnings and margin calls: when they begin, what they ask for, how they end."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from solvent.errors import InvariantBroken
from solvent.liquidation.calls import (
    BELOW_ALL,
    Asset,
    Call,
    Levels,
    Posting,
    Reviewed,
    cheapest_collateral,
    distance,
    review,
)

LEVELS = Levels(
    distances=(Fraction(1, 5), Fraction(1, 10)), hysteresis=Fraction(1, 50), deadline_ms=1_000
)


def seen(was: Call | None, maintenance: int, *, equity: int = 1_000, initial: int | None = None,
         time_ms: int = 0) -> Reviewed:  # fmt: skip
    """An account of 1,000 by default, whose initial margin is half as much again as maintenance."""
    wanted = maintenance * 3 // 2 if initial is None else initial
    return review(was, equity_micro=equity, initial_micro=wanted, maintenance_micro=maintenance,
                  time_ms=time_ms, levels=LEVELS)  # fmt: skip


def test_levels_are_entered_at_their_distance_and_left_further_away() -> None:
    assert seen(None, 799) == Reviewed(None, "")
    warned = seen(None, 800)
    assert warned == Reviewed(Call(level=1, since_ms=0), "")
    assert seen(warned.call, 781, time_ms=5) == Reviewed(Call(level=1, since_ms=0), "")
    assert seen(warned.call, 780, time_ms=5) == Reviewed(None, "lifted")
    assert seen(warned.call, 899, time_ms=5).call == warned.call
    called = seen(warned.call, 900, time_ms=5)
    assert called == Reviewed(Call(level=2, since_ms=5, amount_micro=350, deadline_ms=1_005), "")


def test_a_call_is_kept_while_it_stands_and_asks_for_what_is_needed() -> None:
    called = seen(None, 900).call
    assert called is not None
    assert called.asks
    assert seen(called, 960, time_ms=700).call == Call(
        level=2, since_ms=0, amount_micro=440, deadline_ms=1_000
    )
    assert seen(called, 890, time_ms=700).call == Call(
        level=2, since_ms=0, amount_micro=335, deadline_ms=1_000
    )


def test_a_call_is_lifted_when_the_market_comes_back() -> None:
    called = seen(None, 900).call
    assert seen(called, 881).ended == ""
    assert seen(called, 880, time_ms=9) == Reviewed(Call(level=1, since_ms=9), "lifted")
    assert seen(called, 700) == Reviewed(None, "lifted")


def test_a_call_is_met_by_initial_margin() -> None:
    called = seen(None, 900).call
    assert seen(called, 900, equity=1_349).ended == "lifted"
    assert seen(called, 900, initial=1_000, time_ms=3) == Reviewed(Call(level=1, since_ms=3), "met")
    assert seen(called, 900, equity=1_350) == Reviewed(None, "met")


def test_a_call_that_is_not_met_is_told_once_and_stands() -> None:
    called = seen(None, 900).call
    assert seen(called, 900, time_ms=999) == Reviewed(called, "")
    unmet = seen(called, 900, time_ms=1_000)
    assert unmet.ended == "unmet"
    assert unmet.call is not None
    assert unmet.call.overdue
    assert seen(unmet.call, 900, time_ms=5_000) == Reviewed(unmet.call, "")
    assert seen(unmet.call, 900, equity=1_350, time_ms=5_001).ended == "met"


def test_an_account_with_its_initial_margin_is_warned_and_not_called() -> None:
    assert seen(None, 950, initial=1_000) == Reviewed(Call(level=1, since_ms=0), "")
    only = Levels(distances=(Fraction(1, 10),), hysteresis=Fraction(1, 50), deadline_ms=1)
    found = review(None, equity_micro=1_000, initial_micro=1_000, maintenance_micro=950, time_ms=0,
                   levels=only)  # fmt: skip
    assert found == Reviewed(None, "")


def test_no_equity_is_below_all_levels() -> None:
    for equity in (0, -5):
        found = seen(None, 10, equity=equity).call
        assert found is not None
        assert found.level == 2
        assert found.amount_micro == 15 - equity
    assert seen(None, 0, equity=0) == Reviewed(None, "")
    assert distance(-1, 0) == BELOW_ALL
    assert distance(1, 2) == -1
    assert distance(5, 1) == Fraction(4, 5)
    assert distance(0, 1) == BELOW_ALL
    widest = Levels(distances=(Fraction(1, 5),), hysteresis=Fraction(4, 5), deadline_ms=1)
    assert widest.last == 1


@pytest.mark.parametrize(
    "told",
    [
        {"distances": ()},
        {"distances": (Fraction(1, 10), Fraction(1, 5))},
        {"distances": (Fraction(1, 5), Fraction(1, 5))},
        {"distances": (Fraction(0),)},
        {"hysteresis": Fraction(0)},
        {"hysteresis": Fraction(9, 10)},
        {"deadline_ms": 0},
    ],
)
def test_levels_that_cannot_be(told: dict[str, object]) -> None:
    fine: dict[str, object] = {
        "distances": (Fraction(1, 5),), "hysteresis": Fraction(1, 50), "deadline_ms": 1,
    }  # fmt: skip
    with pytest.raises(InvariantBroken):
        Levels(**{**fine, **told})  # type: ignore[arg-type]


STEPS = st.lists(st.tuples(st.integers(-500, 3_000), st.integers(0, 2_000), st.integers(0, 2_000)),
                 min_size=1, max_size=30)  # fmt: skip


@given(STEPS)
def test_whatever_comes(steps: list[tuple[int, int, int]]) -> None:
    """Deadlines stay, unmet is said once a call, and a call asks for exactly what is short."""
    was: Call | None = None
    told_unmet = False
    for number, (equity, maintenance, more) in enumerate(steps):
        found = seen(was, maintenance, equity=equity, initial=maintenance + more,
                     time_ms=300 * number)  # fmt: skip
        call = found.call
        if call is not None and call.asks:
            assert call.amount_micro == maintenance + more - equity > 0
            assert distance(equity, maintenance) < LEVELS.distances[1] + LEVELS.hysteresis
            if was is not None and was.asks:
                assert call.deadline_ms == was.deadline_ms
                assert call.since_ms == was.since_ms
            else:
                told_unmet = False
        elif distance(equity, maintenance) <= LEVELS.distances[1]:
            assert equity >= maintenance + more
        if was is not None and was.asks and equity >= maintenance + more:
            assert found.ended == "met"
        assert not (found.ended == "unmet" and told_unmet)
        told_unmet = told_unmet or found.ended == "unmet"
        was = call


def test_cheapest_collateral() -> None:
    def at(name: str, value: str, haircut: str, cost: str) -> Asset:
        return Asset(name, Fraction(value), Fraction(haircut), Fraction(cost))

    cash, coin = at("USDC", "1", "0", "0.05"), at("BTC", "60", "0.1", "0.01")
    staked = at("STETH", "30", "0.2", "0.035")
    assert cheapest_collateral(540, [cash, coin, staked]) == Posting("BTC", 10)
    assert cheapest_collateral(541, [cash, coin, staked]) == Posting("BTC", 11)
    assert cheapest_collateral(541, [cash, staked]) == Posting("STETH", 23)
    assert cheapest_collateral(0, [cash]) == Posting("USDC", 0)
    assert cheapest_collateral(9, []) is None
    assert cheapest_collateral(9, [at("X", "1", "1", "0"), at("Y", "0", "0", "0")]) is None
    # equally cheap: the smaller haircut, then the first
    even = [at("A", "1", "0.5", "0.01"), at("B", "1", "0", "0.02"), at("C", "1", "0", "0.02")]
    assert cheapest_collateral(10, even) == Posting("B", 10)


@given(st.integers(0, 10**12), st.fractions(Fraction(1, 1_000), 10**6),
       st.fractions(0, Fraction(99, 100)))  # fmt: skip
def test_a_posting_meets_its_call_and_no_unit_less_does(
    amount: int, value: Fraction, haircut: Fraction
) -> None:
    found = cheapest_collateral(amount, [Asset("A", value, haircut, Fraction(0))])
    assert found is not None
    delivered = value * (1 - haircut)
    assert found.amount * delivered >= amount
    assert found.amount == 0 or (found.amount - 1) * delivered < amount
