"""The fewest lots that do, whether views are asked many at a time or one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solvent.engine.state import Standing, State
from solvent.tending import fills
from solvent.tending.fills import Ask, fewest

STEPS = st.lists(st.tuples(st.integers(1, 3_000), st.integers(0, 50_000)), min_size=1, max_size=9)
"""Lots of each rung of a ladder, and by how much each of them mends."""


def mended(steps: Sequence[tuple[int, int]], lots: int) -> int:
    """What so many lots mend in all, the first rungs first."""
    total = 0
    for rung, each in steps:
        part = min(rung, lots)
        total, lots = total + part * each, lots - part
    return total


def searched(
    patch: pytest.MonkeyPatch, steps: Sequence[tuple[int, int]], short: int, **more: Any
) -> tuple[int | None, int, int]:
    """The answer for a pool that is so short, rounds, and views that were asked for."""
    asked: list[int] = []

    def standings(_: State, views: Sequence[int]) -> list[Standing]:
        asked.append(len(views))
        return [stands(lots) for lots in views]

    def stands(lots: int) -> Standing:
        return Standing(mended(steps, lots) - short, 0, 0, True, False, False)

    most = sum(rung for rung, _ in steps)
    whole = stands(most)
    view: Any = lambda lots: lots  # noqa: E731
    ask = Ask(
        most, view, lambda _, one: one.equity_micro >= 0, gap=lambda one: one.equity_micro,
        start=stands(0), end=whole if whole.equity_micro >= 0 else None, **more,
    )  # fmt: skip
    patch.setattr(fills, "standings", standings)
    (found,) = fewest(State(), [ask])
    return found, len(asked), sum(asked)


def first_good(steps: Sequence[tuple[int, int]], short: int) -> int | None:
    """The same by division, rung by rung."""
    done = 0
    for rung, each in steps:
        if each * rung >= short:
            return done + -(-short // each)
        done, short = done + rung, short - each * rung
    return None


@given(steps=STEPS, share=st.floats(0.0001, 1.2), guess=st.integers(0, 30_000))
@settings(max_examples=60, deadline=None)
def test_one_by_one_finds_what_many_at_a_time_find(
    steps: list[tuple[int, int]], share: float, guess: int
) -> None:
    short = max(1, int(share * mended(steps, sum(rung for rung, _ in steps))))
    with pytest.MonkeyPatch.context() as patch:
        wide, _, _ = searched(patch, steps, short)
        alone, rounds, _ = searched(patch, steps, short, singly=True)
        guessed, _, _ = searched(patch, steps, short, singly=True, guess=guess)
    assert wide == alone == guessed == first_good(steps, short)
    # Where a straight line does not tell, it looks around as the other does.
    assert rounds <= fills._STRAIGHT + 16


def test_one_by_one_asks_for_few() -> None:
    steps = [(400, 9_000), (900, 8_900), (2_000, 8_700)]
    with pytest.MonkeyPatch.context() as patch:
        wide = searched(patch, steps, 20_000_000)
        alone = searched(patch, steps, 20_000_000, singly=True)
    assert wide[0] == alone[0] == first_good(steps, 20_000_000)
    assert alone[2] <= 6 < wide[2]
