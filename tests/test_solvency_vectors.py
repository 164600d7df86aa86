"""Kept vectors equal a recomputation to the bit; figures and states equal the slow twin."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solvent.errors import InvariantBroken
from solvent.expressions import parse
from solvent.market import Snapshot
from solvent.risk import publish
from solvent.scenarios import ScenarioSet, Tables
from solvent.solvency.classes import Figures, Ratios, State
from solvent.solvency.holdings import Holdings
from solvent.solvency.rows import (
    ADDED,
    MARK,
    Market,
    Scenes,
    changed_of,
    exact_rows,
    single,
    terms_of,
)
from solvent.solvency.vectors import Vectors
from tests.solvencies import moved, random_book, told_by_twin, world


def told(figures: Figures) -> list[tuple[int, int, int, int, int]]:
    columns = figures.equity, figures.initial, figures.maintenance, figures.state, figures.close
    return list(zip(*(column.tolist() for column in columns), strict=True))


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_kept_equals_fresh_and_twin(seed: int) -> None:
    w = world(seed)
    rng = np.random.default_rng(seed)
    first, instrument, lots = random_book(seed, w, accounts=25)
    held = Holdings.of(first=first, instrument=instrument, lots=lots, node_of=w.terms.node)
    market = w.market
    matrix, _ = exact_rows(w.terms, market, w.scenes, w.everything)
    cash = np.rint(rng.normal(0, 1e11, 25)).astype(np.int64)
    vectors = Vectors(held, matrix)
    everyone = np.arange(25, dtype=np.int32)
    marked = np.zeros(25, dtype=bool)
    for step in range(8):
        if step % 2:
            account = rng.integers(0, 25, 12).astype(np.int32)
            kind = rng.integers(0, len(w.terms), 12).astype(np.int32)
            amount = np.rint(rng.normal(0, 30, 12))
            held.trade(account=account, instrument=kind, lots=amount)
            vectors.traded(held, matrix, account=account, instrument=kind, lots=amount)
        else:
            node = int(rng.integers(0, 3))
            jump = float(rng.choice([1e-9, -0.01, 0.5, -0.5]))
            market = moved(market, rng, node, jump=jump, vol=0.02, time_ms=1_000)
            which = np.flatnonzero(w.terms.node == node)
            after, _ = exact_rows(w.terms, market, w.scenes, which)
            touched = vectors.moved(held, which, matrix[which], after, marked)
            holders = {
                int(a) for i in which[changed_of(matrix[which], after)] for a in held.holders(i)[0]
            }
            assert set(touched.tolist()) == holders
            assert len(touched) == len(holders)
            marked[touched] = False
            matrix[which] = after
        vectors.check_fresh(held, matrix)
        lean, kept = (Figures(accounts=25, nodes=3) for _ in range(2))
        for figures, sums in ((lean, None), (kept, vectors.sums)):
            figures.judge(held, matrix, w.scenes, w.ratios, cash, everyone, at_ms=step, kept=sums)
        assert told(lean) == told(kept) == told_by_twin(held, w, matrix, cash, set())


def test_rows_are_the_formula() -> None:
    """Marks and scenario PnL of every kind of contract against Black's formula, one by one."""
    from scipy.stats import norm

    w = world(5, scenarios=9, digitals=True)
    rows, largest = exact_rows(w.terms, w.market, w.scenes, w.everything)
    t = w.terms
    for i in range(len(t)):

        def worth(move: float, factor: float, i: int = i) -> float:
            forward = w.market.price[t.node[i]] * w.market.ratio[i] * (1.0 + move)
            left = max(t.expiry_ms[i] - w.market.as_of_ms, 0) / (365 * 86_400_000)
            total = w.market.vol[i] * factor * np.sqrt(left)
            if t.strike[i] == 0.0:
                value = t.asset[i] * forward - t.cash[i]
            else:
                d1 = np.log(forward / t.strike[i]) / total + total / 2
                value = t.asset[i] * forward * norm.cdf(t.side[i] * d1) - t.cash[i] * norm.cdf(
                    t.side[i] * (d1 - total)
                )
            per = 1.0 / (w.market.ratio[i] * (1.0 + move)) if t.inverse[i] else 1.0
            return float(value * per * t.size[i])

        mark = worth(0.0, 1.0)
        near = max(2.0, 1e-9 * abs(mark))
        assert abs(rows[i, w.scenes.width * 8 + MARK] - mark) <= near
        for s in range(len(w.scenes)):
            gain = worth(w.scenes.move[s], w.scenes.vol_factor[s]) - mark
            assert abs(rows[i, s] - (0.0 if t.steady[i] else gain)) <= max(near, 1e-9 * abs(gain))
        assert largest[i] >= np.abs(rows[i]).max()


def test_terms_of_a_universe_give_the_published_arrays(snapshot: Snapshot) -> None:
    """A market of the package, its risk arrays published, and the same by the watch's rows."""
    moves = [-0.2, 0.0, 0.35]
    points = tuple(parse(str(move)) for move in moves)
    arrays = publish(
        snapshot, sets=[ScenarioSet(name="all", moves=points)], rules={}, tables=Tables((), {})
    )
    universe = snapshot.universe
    index = snapshot.index[universe.underlying]
    market = Market(
        as_of_ms=int(snapshot.as_of_ms), price=snapshot.index, ratio=snapshot.forward / index,
        vol=snapshot.vol, usable=snapshot.usable & single(universe),
    )  # fmt: skip
    scenes = Scenes(move=np.array(moves), vol_factor=np.ones(3), maintenance=3)
    every = np.arange(len(universe), dtype=np.int64)
    rows, _ = exact_rows(terms_of(universe), market, scenes, every)
    # A published coin amount is told in dollars at the index.
    dollars = np.where(universe.inverse, index, 1.0) * 1e6
    near = 2.0 + 1e-9 * dollars
    assert (np.abs(rows[:, 8 + MARK] - arrays.model_units * dollars) <= near).all()
    assert (np.abs(rows[:, :3] - arrays.pnl_units * dollars[:, None]) <= near[:, None] + 1).all()
    assert np.abs(rows[:, :3]).max() > 1e6


def test_what_has_no_number_makes_its_holders_unknown() -> None:
    w = world(3)
    usable = w.market.usable.copy()
    usable[4] = False
    market = moved(w.market, np.random.default_rng(0), 0, jump=0.0)
    object.__setattr__(market, "usable", usable)
    matrix, largest = exact_rows(w.terms, market, w.scenes, w.everything)
    first, instrument, lots = random_book(2, w, accounts=60)
    held = Holdings.of(first=first, instrument=instrument, lots=lots, node_of=w.terms.node)
    unknown = set(held.holders(4)[0].tolist())
    cash = np.full(60, 10**12)
    everyone = np.arange(60, dtype=np.int32)
    figures = Figures(accounts=60, nodes=3)
    figures.judge(held, matrix, w.scenes, w.ratios, cash, everyone, at_ms=1, largest=largest)
    assert unknown
    assert set(np.flatnonzero(figures.state == State.UNKNOWN).tolist()) == unknown
    assert told(figures) == told_by_twin(held, w, matrix, cash, unknown)
    figures.enter(held, everyone)
    assert figures.count(State.UNKNOWN) == len(unknown)
    assert figures.total(State.UNKNOWN).equity == 0


def test_sums_beyond_the_exact_range_are_unknown() -> None:
    w = world(3)
    matrix, largest = exact_rows(w.terms, w.market, w.scenes, w.everything)
    big = int(np.argmax(largest))
    lots = np.floor(2.0**53 / largest[big]) + 1.0
    held = Holdings.of(
        first=np.array([0, 1, 2], np.int64), instrument=np.array([big, big], np.int32),
        lots=np.array([lots, np.floor(lots * 0.9)]), node_of=w.terms.node,
    )  # fmt: skip
    figures = Figures(accounts=2, nodes=3)
    figures.judge(
        held, matrix, w.scenes, w.ratios, np.zeros(2, np.int64), np.arange(2, dtype=np.int32),
        at_ms=0, largest=largest,
    )  # fmt: skip
    assert figures.unknown.tolist() == [True, False]


def test_counts_totals_and_urgency() -> None:
    w = world(8)
    matrix, _ = exact_rows(w.terms, w.market, w.scenes, w.everything)
    first, instrument, lots = random_book(8, w, accounts=300)
    held = Holdings.of(first=first, instrument=instrument, lots=lots, node_of=w.terms.node)
    rng = np.random.default_rng(8)
    cash = np.rint(rng.normal(0, 1, 300) * 10.0 ** rng.uniform(6, 13, 300)).astype(np.int64)
    code = rng.integers(0, 2, 300).astype(np.int32)
    figures = Figures(accounts=300, nodes=3, rulebook=code)
    everyone = np.arange(300, dtype=np.int32)
    figures.judge(held, matrix, w.scenes, w.ratios, cash, everyone, at_ms=7)
    figures.enter(held, everyone)
    for _ in range(3):
        some = rng.choice(300, 100, replace=False).astype(np.int32)
        figures.leave(held, some)
        cash[some] += 10**9
        figures.judge(held, matrix, w.scenes, w.ratios, cash, some, at_ms=8)
        figures.enter(held, some)
    assert sum(figures.count(one) for one in State) == 300
    for one in State:
        for book in (0, 1):
            mine = (figures.state == one) & (code == book)
            total = figures.total(one, rulebook=book)
            assert total.accounts == int(mine.sum())
            assert total.equity == sum(figures.equity[mine].tolist())
            assert total.maintenance == sum(figures.maintenance[mine].tolist())
            assert total.initial == sum(figures.initial[mine].tolist())
            assert total.shortfall == sum(max(-e, 0) for e in figures.equity[mine].tolist())
        for node in range(3):
            at = [
                a
                for a in np.flatnonzero(figures.state == one)
                if any(
                    held.store.node[r] == node and held.store.length[r]
                    for r in held.rows_of(int(a))
                )
            ]
            assert figures.at_node(node, one) == len(at)
    urgent = figures.urgent(1_000)
    assert len(urgent) == 300 - figures.count(State.HEALTHY)
    order = figures.state[urgent].tolist()
    assert order == sorted(order, reverse=True)
    broke = [int(a) for a in urgent if figures.equity[a] <= 0]
    assert broke == sorted(broke, key=lambda a: figures.equity[a] - figures.maintenance[a])


def test_threads_change_nothing() -> None:
    w = world(2, scenarios=64)
    matrix, _ = exact_rows(w.terms, w.market, w.scenes, w.everything)
    first, instrument, lots = random_book(2, w, accounts=40_000)
    held = Holdings.of(first=first, instrument=instrument, lots=lots, node_of=w.terms.node)
    cash = np.zeros(40_000, np.int64)
    everyone = np.arange(40_000, dtype=np.int32)
    one, two = (Figures(accounts=40_000, nodes=3) for _ in range(2))
    one.judge(held, matrix, w.scenes, w.ratios, cash, everyone, at_ms=0, threads=1)
    two.judge(held, matrix, w.scenes, w.ratios, cash, everyone, at_ms=0, threads=2)
    assert told(one) == told(two)


def test_limits_of_scenes_and_ratios() -> None:
    ones = np.ones(12)
    with pytest.raises(InvariantBroken, match="whole vectors"):
        Scenes(move=0 * ones, vol_factor=ones, maintenance=5)
    with pytest.raises(InvariantBroken, match="registers"):
        Scenes(move=np.zeros(65), vol_factor=np.ones(65), maintenance=65)
    with pytest.raises(InvariantBroken, match="from 0 to 10"):
        Ratios(initial_ppm=-1, maintenance_ppm=0)
    assert Scenes(move=0 * ones, vol_factor=ones, maintenance=8).columns == 16 + ADDED
