"""Tails of totals: against fractions, against the readable twin to the bit, however computed."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import betainc
from scipy.stats.mstats import hdquantiles

from solvent.risk import product
from solvent.risk.product import NodeMap, Totals, padded
from solvent.risk.tails import KINDS, Tail, Tiles, large, scan_tail, shares_of, tail_of, tails_of
from solvent.risk.tails.beta import beta_cdf
from solvent.risk.tails.scan import _whole
from solvent.verify.tails import shortfall, true_shortfall, value_at_risk

LEVELS = (0.5, 0.75, 0.9, 0.99, 0.995)


def bits(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array, dtype=np.float64).view(np.int64)


@st.composite
def told(draw: st.DrawFn) -> tuple[list[int], list[int], float]:
    """Whole totals with many that are equal, whole weights, and a level."""
    count = draw(st.integers(1, 40))
    few = st.integers(-3, 3) | st.integers(-(10**12), 10**12)
    totals = draw(st.lists(few, min_size=count, max_size=count))
    parts = draw(st.lists(st.integers(1, 6), min_size=count, max_size=count))
    if draw(st.booleans()):
        parts = [1] * count
    return totals, parts, draw(st.sampled_from(LEVELS))


def tail(kind: str, level: float, parts: list[int]) -> Tail:
    return tail_of(kind, level, np.array(parts) / sum(parts))


@settings(max_examples=200)
@given(told())
def test_shortfall_is_its_definition(case: tuple[list[int], list[int], float]) -> None:
    totals, parts, level = case
    one = tail("expected_shortfall", level, parts)
    found = float(tails_of(one, np.array([totals], dtype=np.float64))[0][0])
    whole = [int(part) for part in one.parts]
    assert found == shortfall([float(x) for x in totals], whole, one.mass)
    true = true_shortfall(totals, parts, Fraction(repr(level)))
    assert abs(Fraction(found) - true) <= Fraction(1, 10**9) + abs(true) / 10**11
    if set(parts) == {1} and one.mass == int(one.mass):
        assert found == float(true)


@settings(max_examples=200)
@given(told())
def test_value_at_risk_is_its_order_statistic(case: tuple[list[int], list[int], float]) -> None:
    totals, parts, level = case
    one = tail("value_at_risk", level, parts)
    value, place = tails_of(one, np.array([totals], dtype=np.float64))
    whole = [int(part) for part in one.parts]
    wanted = value_at_risk([float(x) for x in totals], whole, Fraction(repr(level)))
    assert (float(value[0]), int(place[0])) == wanted
    if set(parts) == {1}:
        # The ⌈αn⌉-th smallest loss.
        rank = -(-Fraction(repr(level)) * len(totals) // 1)
        assert -value[0] == sorted(-x for x in totals)[int(rank) - 1]


@settings(max_examples=60)
@given(st.integers(2, 300), st.sampled_from(LEVELS), st.integers(0, 9))
def test_harrell_davis_is_that_of_scipy(count: int, level: float, seed: int) -> None:
    totals = np.random.default_rng(seed).normal(0.0, 1e6, count)
    one = tail("harrell_davis", level, [1] * count)
    found = -float(tails_of(one, totals[None, :])[0][0])
    assert found == pytest.approx(float(hdquantiles(-totals, [level])[0]), rel=1e-9, abs=1e-3)


@pytest.mark.parametrize(("a", "b"), [(0.51, 50.0), (2.0, 3.0), (20.0, 1981.0), (163.8, 16220.0)])
def test_beta_law(a: float, b: float) -> None:
    x = np.concatenate([np.linspace(0.0, 1.0, 201), np.geomspace(1e-6, 0.5, 50)])
    assert beta_cdf(x, a, b) == pytest.approx(betainc(a, b, x), rel=2e-10, abs=1e-13)
    alone = [float(beta_cdf(np.array([one]), a, b)[0]) for one in x]
    assert (bits(np.array(alone)) == bits(beta_cdf(x, a, b))).all()


@settings(max_examples=60)
@given(told(), st.sampled_from(KINDS), st.integers(0, 99))
def test_what_bounds_rest_on(
    case: tuple[list[int], list[int], float], kind: str, seed: int
) -> None:
    """Never falls where totals rise, moves with all of them, and by no more than any of them."""
    totals, parts, level = case
    one = tail(kind, level, parts)
    x = np.array(totals, dtype=np.float64)
    step = np.random.default_rng(seed).integers(0, 1_000, len(x)).astype(np.float64)
    low, high, moved = (float(tails_of(one, y[None, :])[0][0]) for y in (x, x + step, x + 5.0))
    close = 1e-9 * (1.0 + float(np.abs(x).max()))
    assert low - close <= high <= low + float(step.max()) + close
    assert moved == pytest.approx(low + 5.0, abs=close)
    share = shares_of(one, x)
    assert share.sum() == pytest.approx(1.0, abs=1e-12)
    assert float(share @ x) == pytest.approx(low, abs=close)
    assert float(tails_of(one, np.abs(x)[None, :])[0][0]) >= 0.0


def book(rng: np.random.Generator, scenarios: int, *, instruments: int = 40) -> Totals:
    """Sets of one to three rows; some totals equal, some books of nothing."""
    sets = int(rng.integers(1, 150))
    pnl = np.rint(rng.standard_t(3, (instruments, scenarios)) * rng.choice([3, 1e6, 1e12]))
    if rng.random() < 0.4:
        pnl = np.maximum(pnl, -rng.choice([1.0, 3.0]))
    pnl[: instruments // 2] *= rng.choice([0.0, 1.0])
    matrix = padded(pnl)
    set_first = np.concatenate([[0], np.cumsum(rng.integers(1, 4, sets))]).astype(np.int64)
    held = rng.integers(0, 6, int(set_first[-1]))
    row_first = np.concatenate([[0], np.cumsum(held)]).astype(np.int64)
    count, ones = int(row_first[-1]), np.ones((2, matrix.shape[1]))
    return Totals(
        matrix=matrix,
        columns=scenarios,
        set_first=set_first,
        row_first=row_first,
        row_node=rng.integers(0, 2, len(held)).astype(np.int32),
        index=rng.integers(0, instruments, count).astype(np.int32),
        lots=rng.integers(-9, 10, count).astype(np.float64),
        node_map=NodeMap(
            plain=np.array([True, bool(rng.random() < 0.5)]),
            dead=0.0 * ones,
            loss=ones * rng.choice([1.0, 0.37]),
            gain=ones * 0.6,
            cap=ones * np.inf,
        ),
    )


@pytest.mark.parametrize("seed", range(8))
def test_compiled_is_numpy_to_the_bit(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the blocks, lists, guesses and threads."""
    rng = np.random.default_rng(seed)
    for scenarios in (1, 5, 64, 65, 300, 750):
        totals = book(rng, scenarios)
        monkeypatch.setattr(large, "BLOCK", int(rng.choice([7, 64, 1 << 15])))
        monkeypatch.setattr(large, "LISTED_PER_SET", int(rng.choice([1, 32])))
        monkeypatch.setattr(large, "GUESS_DEVIATIONS", float(rng.choice([-3.0, 4.0])))
        monkeypatch.setattr(large, "GUESS_WIDER", float(rng.choice([0.2, 1.5, 8.0])))
        monkeypatch.setattr(large, "GUESSED_UP_TO", float(rng.choice([0.1, 10.0])))
        monkeypatch.setattr(large, "SAMPLE", int(rng.integers(1, 3)))
        monkeypatch.setattr(large, "GUESSED_FROM", int(rng.choice([128, 1 << 20])))
        monkeypatch.setattr(product, "POSITIONS_PER_THREAD_MIN", 20)
        weight = np.full(scenarios, 1.0 / scenarios)
        if rng.random() < 0.5:
            weight = rng.dirichlet(np.full(scenarios, 0.5))
        for kind in KINDS:
            one = tail_of(kind, float(rng.choice(LEVELS)), weight)
            slow = _whole(one, totals)
            for threads in (1, 3):
                fast = large.scan_large(one, totals, threads=threads)
                assert (bits(fast[0]) == bits(slow[0])).all(), (kind, scenarios)
                assert (fast[1] == slow[1]).all(), (kind, scenarios)


def single_rows(
    pnl: np.ndarray, index: np.ndarray, lots: np.ndarray, held: int, *, slope: float = 1.0
) -> Totals:
    """Sets of one row of `held` positions each, plain where the slope of a loss is 1."""
    matrix, sets = padded(pnl), len(index) // held
    ones = np.ones((1, matrix.shape[1]))
    return Totals(
        matrix=matrix, columns=pnl.shape[1], set_first=np.arange(sets + 1, dtype=np.int64),
        row_first=np.arange(sets + 1, dtype=np.int64) * held,
        row_node=np.zeros(sets, dtype=np.int32), index=index.astype(np.int32),
        lots=lots.astype(np.float64),
        node_map=NodeMap(
            plain=np.array([slope == 1.0]), dead=0.0 * ones, loss=slope * ones, gain=ones,
            cap=np.inf * ones,
        ),
    )  # fmt: skip


def sampled(scenarios: int) -> np.ndarray:
    """The scenarios that bounds are guessed from where all weigh alike."""
    return ((np.arange(64) + 0.5) / 64 * scenarios).astype(np.int64)


@st.composite
def hard_to_guess(draw: st.DrawFn) -> Totals:
    """Scenarios whose sample says little about the rest, and totals that are hardly told apart or
    hardly exact."""
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    scenarios, instruments, sets, held = draw(st.integers(129, 420)), 12, 40, 3
    pnl = np.rint(rng.normal(0.0, 1e6, (instruments, scenarios)))
    traits = ("tied", "twins", "calm", "wild", "burst", "exact")
    for trait in sorted(draw(st.sets(st.sampled_from(traits))), key=traits.index):
        if trait == "tied":
            pnl = np.clip(np.rint(pnl / 1e6), -2, 1)
        elif trait == "twins":
            pnl = pnl[:, rng.integers(0, scenarios // 8, scenarios)]
        elif trait == "calm":
            pnl[:, sampled(scenarios)] = np.rint(pnl[:, sampled(scenarios)] / 50.0)
        elif trait == "wild":
            pnl[:, sampled(scenarios)] *= 50.0
        elif trait == "burst":
            pnl[:, sampled(scenarios)[9]] *= 1_000.0
        else:
            # Up to the end of what a book may hold: a sum of few of its totals is not exact.
            pnl = np.rint(pnl * (2.0**53 / 28.0 / np.abs(pnl).max(initial=1.0)))
    lots = rng.integers(-9, 10, sets * held)
    lots[: 2 * held] = 0
    slope = draw(st.sampled_from((1.0, 1.0, 0.37)))
    return single_rows(pnl, rng.integers(0, instruments, sets * held), lots, held, slope=slope)


@settings(max_examples=40)
@given(hard_to_guess(), st.sampled_from((0.9, 0.975, 0.99)), st.booleans(), st.integers(0, 99))
def test_a_guess_decides_no_bit(totals: Totals, level: float, alike: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    weight = np.full(totals.columns, 1.0 / totals.columns)
    if not alike:
        weight = rng.dirichlet(np.full(totals.columns, 2.0))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(large, "GUESSED_FROM", 128)
        patch.setattr(large, "GUESSED_UP_TO", 10.0)
        patch.setattr(large, "GUESS_WIDER", float(rng.choice([0.0, 0.7, 1.9, 8.0])))
        patch.setattr(large, "LISTED_PER_SET", int(rng.choice([1, 12, 96])))
        patch.setattr(large, "BLOCK", int(rng.choice([9, 1 << 16])))
        for kind in ("expected_shortfall", "value_at_risk"):
            one = tail_of(kind, level, weight)
            slow, fast = _whole(one, totals), large.scan_large(one, totals)
            assert (bits(fast[0]) == bits(slow[0])).all(), kind
            assert (fast[1] == slow[1]).all(), kind


@pytest.mark.parametrize("kind", ["expected_shortfall", "value_at_risk"])
@pytest.mark.parametrize("fault", ["_again", "_merge"])
def test_wrong_guesses_are_seen(kind: str, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too low a bound leaves too few below it, too high a one fills the lists."""
    rng = np.random.default_rng(5)
    pnl = np.rint(rng.normal(0.0, 1e6, (12, 640)))
    seen_columns = sampled(640)
    pnl[:, seen_columns] = np.rint(pnl[:, seen_columns] * (50.0 if fault == "_again" else 0.02))
    if fault == "_again":
        pnl[:, seen_columns[:60]] = 0.0
    totals = single_rows(pnl, rng.integers(0, 12, 900), rng.integers(1, 10, 900), 3)
    seen, real = [], getattr(large._Block, fault)

    def told(self: object, *given: object) -> None:
        seen.append(fault)
        real(self, *given)

    monkeypatch.setattr(large._Block, fault, told)
    one = tail_of(kind, 0.99, np.full(640, 1.0 / 640))
    slow, fast = _whole(one, totals), large.scan_large(one, totals)
    assert seen
    assert (bits(fast[0]) == bits(slow[0])).all()
    assert (fast[1] == slow[1]).all()


@pytest.mark.parametrize("seed", range(30))
def test_many_equal_totals_whose_sum_is_not_exact(seed: int) -> None:
    """Of a hundred equal totals six are the tail: the sum of six is exact, that of all is not."""
    rng = np.random.default_rng(seed)
    pnl = rng.integers(-5, 6, (1, 600)).astype(np.float64)
    pnl[0, rng.permutation(600)[:100]] = -float(rng.integers(10**15, 12 * 10**14) | 1)
    totals = single_rows(pnl, np.zeros(1), np.ones(1), 1)
    one = tail_of("expected_shortfall", 0.99, np.full(600, 1.0 / 600))
    slow, fast = _whole(one, totals), large.scan_large(one, totals)
    assert (bits(fast[0]) == bits(slow[0])).all()
    assert (fast[1] == slow[1]).all()


@settings(max_examples=15)
@given(st.integers(0, 10_000))
def test_positions_in_any_order_and_sets_alone(seed: int) -> None:
    rng = np.random.default_rng(seed)
    totals = book(rng, 130)
    one = tail_of("expected_shortfall", 0.97, np.full(130, 1.0 / 130))
    value, place = scan_tail(one, totals)
    order = np.concatenate(
        [rng.permutation(np.arange(a, b)) for a, b in
         zip(totals.row_first[:-1], totals.row_first[1:], strict=True)]
    ).astype(np.int64)  # fmt: skip
    turned = Totals(
        **{
            name: getattr(totals, name)[order] if name in ("index", "lots") else
            getattr(totals, name) for name in Totals.__dataclass_fields__
        }
    )  # fmt: skip
    again = scan_tail(one, turned)
    assert (bits(again[0]) == bits(value)).all()
    assert (again[1] == place).all()
    some = int(rng.integers(0, len(value)))
    for part in (totals.part(some, some + 1), totals.of(np.array([some]))):
        alone = scan_tail(one, part)
        assert bits(alone[0])[0] == bits(value)[some]
        assert alone[1][0] == place[some]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scenarios", [100, 600])
def test_a_broken_total_breaks_its_set_alone(
    kind: str, scenarios: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether bounds are guessed or not."""
    totals = book(np.random.default_rng(3), scenarios)
    totals.node_map.plain[1] = False
    totals.node_map.loss[1] = np.nan
    one = tail_of(kind, 0.9 if scenarios == 100 else 0.99, np.full(scenarios, 1.0 / scenarios))
    room = large._Room.__init__

    def dirty(self: large._Room, *given: Any) -> None:
        """What memory may hold before it is written to."""
        room(self, *given)
        self.values[:] = np.inf

    monkeypatch.setattr(large._Room, "__init__", dirty)
    slow, fast = _whole(one, totals)[0], large.scan_large(one, totals)[0]
    assert np.isnan(slow).any()
    assert not np.isnan(slow).all()
    assert (np.isnan(slow) == np.isnan(fast)).all()
    assert (bits(slow) == bits(fast))[~np.isnan(slow)].all()


def test_tiles_hold_the_matrix() -> None:
    matrix = padded(np.arange(3 * 100, dtype=np.float64).reshape(3, 100))
    laid = Tiles(matrix, 100).array
    assert laid.shape == (2, 3, 64)
    assert (np.concatenate(list(laid), axis=1)[:, :100] == matrix[:, :100]).all()
    assert (laid[1, :, 36:] == matrix[:, :1]).all()
