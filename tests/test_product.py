"""The product is exact: no order, split, thread or way of computing changes a bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solvent.errors import BadInput
from solvent.limits import EXACT_MAX
from solvent.margining.plan import Plan
from solvent.market import Snapshot
from solvent.risk import compiled, product
from solvent.risk.product import NodeMap, check_exact, padded
from solvent.verify.product import mapped, scenario_sums, signed_sum, worst

PORTFOLIOS = 20_000


def bits(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array, dtype=np.float64).view(np.int64)


def plain_map(nodes: int, columns: int) -> NodeMap:
    ones = np.ones((nodes, columns))
    return NodeMap(
        plain=np.ones(nodes, bool),
        dead=0 * ones,
        loss=ones,
        gain=ones,
        cap=np.full((nodes, columns), np.inf),
    )


class Case:
    """Random sets of rows of positions, with a map at each row's node."""

    def __init__(self, seed: int, *, sets: int, instruments: int, scenarios: int) -> None:
        rng = np.random.default_rng(seed)
        self.scenarios = scenarios
        self.pnl = np.rint(rng.normal(0.0, 1e6, (instruments, scenarios)))
        self.matrix = padded(self.pnl)
        rows = rng.integers(1, 4, sets)
        self.set_first = np.concatenate([[0], np.cumsum(rows)]).astype(np.int64)
        held = rng.integers(0, 9, int(self.set_first[-1]))
        self.row_first = np.concatenate([[0], np.cumsum(held)]).astype(np.int64)
        count = int(self.row_first[-1])
        self.index = rng.integers(0, instruments, count).astype(np.int32)
        self.lots = rng.integers(-1_000, 1_000, count).astype(np.float64)
        self.node = rng.integers(0, 4, len(held)).astype(np.int32)
        shape = (4, scenarios)
        self.unit = NodeMap(
            plain=np.array([True, False, False, False]),
            dead=np.where(np.arange(4)[:, None] == 1, 0.0, rng.integers(0, 10**7, shape) * 1.0),
            loss=np.where(np.arange(4)[:, None] == 3, 1e3 / 63_000.0, 1.0) * np.ones(shape),
            gain=rng.uniform(0.0, 1.2, shape),
            cap=rng.integers(10**7, 10**9, shape).astype(np.float64),
        )
        width = self.matrix.shape[1]

        def wide(column: np.ndarray) -> np.ndarray:
            first = np.repeat(column[:, :1], width - scenarios, axis=1)
            return np.ascontiguousarray(np.concatenate([column, first], axis=1))

        self.map = NodeMap(
            plain=self.unit.plain,
            dead=wide(self.unit.dead),
            loss=wide(self.unit.loss),
            gain=wide(self.unit.gain),
            cap=wide(self.unit.cap),
        )

    def scan(
        self, *, node_map: NodeMap | None = None, threads: int = 1
    ) -> tuple[np.ndarray, np.ndarray]:
        return product.scan(
            matrix=self.matrix,
            columns=self.scenarios,
            set_first=self.set_first,
            row_first=self.row_first,
            row_node=self.node,
            index=self.index,
            lots=self.lots,
            node_map=node_map or self.map,
            threads=threads,
        )


def twin(case: Case, one: int) -> tuple[float, int]:
    """One set through the slow twin."""
    pnl = [[int(x) for x in row] for row in case.pnl]
    total = [0.0] * case.scenarios
    for row in range(case.set_first[one], case.set_first[one + 1]):
        held: dict[int, int] = {}
        for p in range(case.row_first[row], case.row_first[row + 1]):
            held[int(case.index[p])] = held.get(int(case.index[p]), 0) + int(case.lots[p])
        node = int(case.node[row])
        for s, x in enumerate(scenario_sums(held, pnl)):
            total[s] += (
                float(x)
                if case.unit.plain[node]
                else mapped(
                    float(x),
                    dead=float(case.unit.dead[node, s]),
                    loss=float(case.unit.loss[node, s]),
                    gain=float(case.unit.gain[node, s]),
                    cap=float(case.unit.cap[node, s]),
                )
            )
    return worst(total)


def test_fast_kernel_equals_twin() -> None:
    """Every bit of 20,000 random portfolios, through maps and without."""
    done = 0
    for seed, scenarios in enumerate((1, 7, 8, 27, 35, 64, 65, 130)):
        case = Case(seed, sets=PORTFOLIOS // 8, instruments=40, scenarios=scenarios)
        assert compiled is not None
        least, binding = case.scan()
        for one in range(len(least)):
            value, place = twin(case, one)
            assert least[one] == value, (seed, one)
            assert binding[one] == place, (seed, one)
        done += len(least)
    assert done == PORTFOLIOS


@pytest.mark.parametrize("scenarios", [3, 35, 64, 100])
def test_numpy_way_equals_compiled_way(scenarios: int, monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case(3, sets=3_000, instruments=200, scenarios=scenarios)
    fast = case.scan()
    sums = product.row_sums(
        matrix=case.matrix, columns=scenarios, first=case.row_first, index=case.index,
        lots=case.lots,
    )  # fmt: skip
    monkeypatch.setattr(product, "_small", lambda _cells: True)
    slow = case.scan()
    assert (bits(fast[0]) == bits(slow[0])).all()
    assert (fast[1] == slow[1]).all()
    again = product.row_sums(
        matrix=case.matrix, columns=scenarios, first=case.row_first, index=case.index,
        lots=case.lots,
    )  # fmt: skip
    assert (bits(sums) == bits(again)).all()


def test_threads_and_shards_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(product, "POSITIONS_PER_THREAD_MIN", 1_000)
    case = Case(9, sets=6_000, instruments=300, scenarios=35)
    one = case.scan()
    for threads in (2, 3, 7):
        many = case.scan(threads=threads)
        assert (bits(one[0]) == bits(many[0])).all()
        assert (one[1] == many[1]).all()
    for cut in (1, 1_000, 5_999):
        left, right = Case.__new__(Case), Case.__new__(Case)
        for part, sets in ((left, slice(0, cut)), (right, slice(cut, None))):
            part.__dict__ |= case.__dict__
            first = case.set_first[sets.start : (sets.stop or 6_000) + 1]
            rows = slice(int(first[0]), int(first[-1]))
            positions = case.row_first[rows.start : rows.stop + 1]
            part.set_first = first - first[0]
            part.node = case.node[rows]
            part.row_first = positions - positions[0]
            part.index = case.index[positions[0] : positions[-1]]
            part.lots = case.lots[positions[0] : positions[-1]]
        joined = np.concatenate([left.scan()[0], right.scan()[0]])
        assert (bits(joined) == bits(one[0])).all()


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1))
def test_order_and_splitting_change_nothing(seed: int) -> None:
    case = Case(seed, sets=40, instruments=30, scenarios=35)
    least, binding = case.scan()
    rng = np.random.default_rng(seed)
    shuffled = Case.__new__(Case)
    shuffled.__dict__ |= case.__dict__
    order = np.concatenate(
        [
            start + rng.permutation(end - start)
            for start, end in zip(case.row_first[:-1], case.row_first[1:], strict=True)
        ]
        or [np.zeros(0, int)]
    )
    part = rng.integers(-50, 50, len(case.lots)).astype(float)
    double = np.repeat(order, 2)
    split = np.column_stack([case.lots[order] - part, part]).ravel()
    shuffled.index, shuffled.lots = case.index[double], split
    shuffled.row_first = case.row_first * 2
    again = shuffled.scan()
    assert (bits(least) == bits(again[0])).all()
    assert (binding == again[1]).all()


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(1, 1_000))
def test_scaling_a_portfolio_scales_its_loss(seed: int, factor: int) -> None:
    case = Case(seed, sets=30, instruments=20, scenarios=21)
    no_map = plain_map(4, case.matrix.shape[1])
    least, _ = case.scan(node_map=no_map)
    case.lots = case.lots * factor
    scaled, _ = case.scan(node_map=no_map)
    assert (scaled == least * factor).all()


def test_nothing_held_is_zero() -> None:
    case = Case(1, sets=50, instruments=10, scenarios=9)
    case.lots = case.lots * 0.0
    least, _ = case.scan()
    assert (bits(least) == 0).all()


@settings(max_examples=50)
@given(st.integers(0, 2**32 - 1))
def test_signed_sums_equal_twin(seed: int) -> None:
    case = Case(seed, sets=30, instruments=20, scenarios=3)
    rng = np.random.default_rng(seed)
    long_side, short_side = (np.rint(rng.normal(0, 1e5, 20)) for _ in range(2))
    longs, shorts = (side.astype(int).tolist() for side in (long_side, short_side))
    sums = product.signed_sums(
        first=case.row_first, index=case.index, lots=case.lots,
        long_side=long_side, short_side=short_side,
    )  # fmt: skip
    for row in range(len(sums)):
        total = 0
        for p in range(case.row_first[row], case.row_first[row + 1]):
            held = {int(case.index[p]): int(case.lots[p])}
            total += signed_sum(held, longs, shorts)
        assert sums[row] == total


@settings(max_examples=50)
@given(st.integers(0, 2**32 - 1))
def test_signed_sums_have_one_order_with_a_compiler_and_without(seed: int) -> None:
    """Sides that are not whole, such as what rounding hides: the order of adding tells in bits."""
    case = Case(seed, sets=30, instruments=20, scenarios=3)
    rng = np.random.default_rng(seed)
    long_side, short_side = rng.uniform(0.0, 1.0, 20), rng.uniform(-1.0, 0.0, 20)

    def sums() -> np.ndarray:
        return product.signed_sums(
            first=case.row_first, index=case.index, lots=case.lots,
            long_side=long_side, short_side=short_side,
        )  # fmt: skip

    one_by_one = []
    for row in range(len(case.row_first) - 1):
        total = 0.0
        for p in range(case.row_first[row], case.row_first[row + 1]):
            lots, side = float(case.lots[p]), long_side if case.lots[p] > 0.0 else short_side
            total += lots * float(side[case.index[p]])
        one_by_one.append(total)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(product, "_small", lambda _: True)
        plain = sums()
    assert plain.tolist() == one_by_one
    assert (bits(plain) == bits(sums())).all()


def test_exact_range_is_guarded() -> None:
    first = np.array([0, 2, 3], dtype=np.int64)
    index = np.array([0, 1, 1], dtype=np.int32)
    largest = np.array([2.0**20, 2.0**30])
    inside = check_exact(
        first=first, index=index, lots=np.array([1.0, 2.0, 2.0**22]), largest=largest
    )
    assert inside.tolist() == []
    beyond = check_exact(
        first=first, index=index, lots=np.array([1.0, 2.0, 2.0**23]), largest=largest
    )
    assert beyond.tolist() == [1]
    assert EXACT_MAX == 2.0**53


def test_overflow_names_the_account(plan: Plan, snapshot: Snapshot) -> None:
    from solvent import api

    row = snapshot.universe.row("BTC-PERPETUAL")
    assert row is not None
    size = 10.0 * 2**38
    with pytest.raises(BadInput, match=r"account whale: expected risk sums below .*EXACT_RANGE"):
        api.margin([{"account": "whale", "instrument": "BTC-PERPETUAL", "size": size}], plan)
