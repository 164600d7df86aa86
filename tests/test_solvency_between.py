"""Numbers between lines hold what a formula gives at every place of the segments."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solvent.margining.levels.arithmetic import ELEMENTWISE, REDUCTIONS, aligned
from solvent.margining.levels.table import Tiers
from solvent.solvency.between import REDUCED, Between, Unbounded, apply
from solvent.solvency.formula_lines import added_up, extreme, looked_up
from solvent.solvency.sums import added, members, weighed

ROWS, SCENARIOS = 5, 3
At = Callable[[int, float], np.ndarray]
UNARY = ("negative", "abs", "sign", "floor", "ceil", "round", "trunc", "round_half_up", "not",
         "exp", "normal")  # fmt: skip
POSITIVE = ("sqrt", "log")
BINARY = ("+", "-", "*", "/", "max", "min", "<", "<=", ">", ">=", "==", "!=", "and", "or")


def scaled(at: At, factor: float) -> At:
    """Where it goes, times a factor."""
    return lambda side, along: at(side, along) * factor


def drawn(
    rng: np.random.Generator, shape: tuple[int, ...], *, positive: bool = False
) -> tuple[Between, At]:
    """A number between lines, and one that is there: how it goes by side and place."""
    scale = 10.0 ** rng.uniform(-2, 3)
    base = rng.uniform(-1.0, 1.0, shape) * scale
    base[rng.random(shape) < 0.2] = 0.0
    far = base + rng.uniform(-1.0, 1.0, (2, *shape)) * scale * 10.0 ** rng.uniform(-4, 0.3)
    if positive:
        base, far = np.abs(base) + 0.1 * scale, np.abs(far) + 0.1 * scale
    apart = np.abs(rng.uniform(0.0, 1e-2, (2, *shape))) * scale * float(rng.choice((0.0, 1.0)))
    if positive:
        apart *= 0.5
    lines = np.stack([np.broadcast_to(base, far.shape), far], axis=1)
    held = Between(lines - apart[:, None], lines + apart[:, None])
    off = rng.uniform(-1.0, 1.0, (2, *shape)) * apart

    def at(side: int, along: float) -> np.ndarray:
        found: np.ndarray = base + along * (far[side] - base) + off[side]
        return found

    return held, at


def holds(found: Between, actual: np.ndarray, side: int, along: float) -> None:
    """Both lines hold the number at a place, up to rounding."""
    low, high = (end[min(side, len(end) - 1)] for end in (found.low, found.high))
    below = low[0] + along * (low[-1] - low[0])
    above = high[0] + along * (high[-1] - high[0])
    known = np.broadcast_to(~np.isnan(below + above), actual.shape)
    room = 1e-9 * (1.0 + np.abs(actual))
    below, above = (np.broadcast_to(end, actual.shape) for end in (below, above))
    assert (actual[known] >= (below - room)[known]).all()
    assert (actual[known] <= (above + room)[known]).all()
    assert not np.isnan(actual[known]).any()


PLACES = (0.0, 0.1, 0.37, 0.5, 0.81, 1.0)


@given(
    st.integers(0, 2**32 - 1), st.sampled_from([*UNARY, *POSITIVE, *BINARY, "where", "clip", "**"])
)
@settings(max_examples=250, deadline=None)
def test_operations_hold_what_they_compute(seed: int, operation: str) -> None:
    rng = np.random.default_rng(seed)
    count = 1 if operation in (*UNARY, *POSITIVE) else 3 if operation in ("where", "clip") else 2
    shapes = [(ROWS,) if rng.random() < 0.6 else (ROWS, SCENARIOS) for _ in range(count)]
    positive = operation in (*POSITIVE, "**")
    parts = [drawn(rng, shape, positive=positive) for shape in shapes]
    if operation == "exp":
        parts = [(Between(one.low / 1e3, one.high / 1e3), scaled(at, 1e-3)) for one, at in parts]
    if operation == "**":
        power = float(rng.uniform(-2, 2))
        parts[1] = Between.exactly(power), lambda _side, _along: np.asarray(power)
    if operation == "/" and rng.random() < 0.7:
        parts[1] = drawn(rng, shapes[1], positive=True)
        if rng.random() < 0.5:
            one, at = parts[1]
            parts[1] = apply("negative", [one]), scaled(at, -1.0)
    found = apply(operation, [one for one, _ in parts])
    with np.errstate(all="ignore"):
        for side in (0, 1):
            for along in PLACES:
                told = aligned(*(np.asarray(at(side, along)) for _, at in parts))
                actual = np.asarray(ELEMENTWISE[operation](*told), dtype=np.float64)
                holds(found, actual, side, along)


@given(st.integers(0, 2**32 - 1), st.sampled_from(sorted(REDUCED)))
@settings(max_examples=60, deadline=None)
def test_reductions_hold_what_they_compute(seed: int, name: str) -> None:
    rng = np.random.default_rng(seed)
    one, at = drawn(rng, (ROWS, SCENARIOS))
    more = [np.full(ROWS, 0.6)] if name == "expected_shortfall" else []
    found = REDUCED[name](one, *(Between.exactly(part) for part in more))
    for side in (0, 1):
        for along in PLACES:
            holds(found, np.asarray(REDUCTIONS[name](at(side, along), *more)), side, along)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_tiers_sums_and_extremes_hold_what_they_compute(seed: int) -> None:
    rng = np.random.default_rng(seed)
    table = {"x": {"above": [0.0, 5.0, 50.0, 500.0], "rate": [0.1, 0.2, 0.15, 0.4]}}
    tiers, key = Tiers.of(table, "rate", ["x"]), np.zeros(ROWS, dtype=np.int64)
    one, at = drawn(rng, (ROWS,))
    looked, added = looked_up(tiers, key, one), added_up(tiers, key, one)
    groups = np.array([0, 0, 1, 1, 1])
    most = extreme(one, groups, 3)
    lots = rng.integers(-3, 4, ROWS).astype(np.float64)
    index = rng.integers(0, ROWS, ROWS)
    total = weighed(lots, one, index=index, owner=groups, count=3)
    for side in (0, 1):
        for along in PLACES:
            x = at(side, along)
            holds(looked, tiers.lookup(key, x), side, along)
            holds(added, tiers.marginal(key, x), side, along)
            holds(most, np.array([x[:2].max(), x[2:].max(), 0.0]), side, along)
            sums = np.bincount(groups, weights=lots * x[index], minlength=3)
            holds(total, sums, side, along)


@given(st.integers(0, 2**32 - 1), st.integers(0, 2))
@settings(max_examples=40, deadline=None)
def test_sums_of_lines_are_those_of_adding_row_by_row(seed: int, scenarios: int) -> None:
    """Both lines and their room in one product, against a loop over rows."""
    rng = np.random.default_rng(seed)
    rows, count = int(rng.integers(0, 9)), int(rng.integers(1, 5))
    groups = rng.integers(0, count, rows)
    shape = (2, 2, rows, *(3,) * scenarios)
    low = rng.integers(-1_000, 1_000, shape).astype(np.float64)
    value = Between(low, low + rng.integers(0, 50, shape))
    found = added(members(groups, count), value)
    sums = [np.zeros((2, 2, count, *shape[3:])) for _ in range(3)]
    for row, group in enumerate(groups.tolist()):
        sizes = np.maximum(np.abs(value.low), np.abs(value.high)).max(axis=(0, 1))
        for total, part in zip(sums, (value.low, value.high), strict=False):
            total[:, :, group] += part[:, :, row]
        sums[2][:, :, group] += sizes[row]
    assert np.array_equal(found.low, sums[0] - 1e-13 * sums[2])
    assert np.array_equal(found.high, sums[1] + 1e-13 * sums[2])


def test_what_follows_one_line_cancels() -> None:
    """The difference of two numbers on one line is exact, as no interval has it."""
    price = Between(np.array([[[100.0], [90.0]]]), np.array([[[100.0], [90.0]]]))
    nothing = apply("-", [apply("*", [price, Between.exactly(3.0)]),
                          apply("*", [Between.exactly(3.0), price])])  # fmt: skip
    assert nothing.least().tolist() == nothing.most().tolist() == [0.0]
    assert apply("<", [price, Between.exactly(80.0)]).most().tolist() == [0.0]
    undecided = apply("<", [price, Between.exactly(95.0)])
    assert (undecided.least().tolist(), undecided.most().tolist()) == ([0.0], [1.0])


def test_what_has_no_bounds_says_so() -> None:
    price = Between(np.array([[[100.0], [90.0]]]), np.array([[[100.0], [90.0]]]))
    with pytest.raises(Unbounded, match="worst_place"):
        apply("worst_place", [price])
    with pytest.raises(Unbounded, match="decimals"):
        apply("floor", [price, price])
    zero = apply("/", [price, apply("-", [price, Between.exactly(95.0)])])
    assert np.isnan(zero.least()).all()
    unknown = apply("where", [apply("<", [price, Between.exactly(95.0)]), price,
                              Between.exactly(np.nan)])  # fmt: skip
    assert np.isnan(unknown.least()).all()
