"""Gap rungs against a full recomputation at the gapped price; the hedge that restores a ratio."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from solvent.solvency.bounds import Allowance
from solvent.solvency.classes import Figures, State
from solvent.solvency.exposure import hedge_of, near_ruin, solvency_delta
from solvent.solvency.ladder import GAPS, Ladder, rung
from solvent.solvency.rows import MARK, exact_rows
from solvent.solvency.watch import Mark, Watch
from tests.solvencies import world
from tests.test_solvency_watch import watch_of


def gapped(watch: Watch, gap: float, node: int | None) -> Figures:
    price = watch.market.price.copy()
    price[slice(None) if node is None else node] *= 1.0 + gap
    rows, largest = exact_rows(
        watch.terms, replace(watch.market, price=price), watch.scenes,
        np.arange(len(watch.terms), dtype=np.int64),
    )  # fmt: skip
    figures = Figures(accounts=watch.held.accounts, nodes=watch.held.nodes)
    figures.judge(
        watch.held, rows, watch.scenes, watch.ratios, watch.cash,
        np.arange(watch.held.accounts, dtype=np.int32), at_ms=0, largest=largest,
    )  # fmt: skip
    return figures


@pytest.mark.parametrize("way", ["bands", "none"])
@pytest.mark.parametrize("node", [None, 1])
@pytest.mark.parametrize("guard", [State.CALL, State.LIQUIDATE])
def test_rungs_equal_a_full_recomputation(way: str, node: int | None, guard: State) -> None:
    few = Allowance(vol=0.01, time_ms=60_000)
    watch = watch_of(world(11), 11, way=way, guard=guard, accounts=400, allowance=few)
    looked_at = []
    for gap in (*GAPS, 0.0):
        found, true = rung(watch, gap, node=node), gapped(watch, gap, node)
        fallen = true.state == State.LIQUIDATE
        assert found.fallen == int(fallen.sum())
        equity = true.equity[fallen].tolist()
        assert found.shortfall == sum(max(-one, 0) for one in equity)
        assert found.missing == sum((true.maintenance - true.equity)[fallen].tolist())
        looked_at.append(found.recomputed)
    if way == "bands":
        assert min(looked_at) < 200


def test_a_ladder_is_renewed_rung_by_rung() -> None:
    w = world(3)
    watch = watch_of(w, 3, way="bands", accounts=200)
    ladder = Ladder(watch, gaps=(0.1, -0.1, -0.3), node=0)
    assert [one.gap for one in ladder.rungs] == [-0.3, -0.1, 0.1]
    now = w.market.as_of_ms + 5
    watch.tick(Mark(node=0, as_of_ms=now, price=float(w.market.price[0]) * 0.9))
    assert ladder.step(watch).as_of_ms == now
    assert [one.as_of_ms == now for one in ladder.rungs] == [True, False, False]
    ladder.step(watch)
    ladder.step(watch)
    assert ladder.rungs == [rung(watch, one.gap, node=0) for one in ladder.rungs]


def test_exposure_is_that_of_the_accounts_near_ruin() -> None:
    w = world(7)
    watch = watch_of(w, 7, way="none", guard=State.LIQUIDATE, accounts=400)
    near = near_ruin(watch)
    assert len(near) > 10
    own = np.array([5, 6], np.int32)
    found = solvency_delta(watch, 1, buffer=10**9, limit_ppm=500_000, gap=0.1, own=own)
    first, instrument, lots = watch.held.compressed()
    net = {int(i): 0 for i in watch.of_node[1]}
    holding = set()
    for a in {*near.tolist(), 5, 6}:
        for i, q in zip(
            instrument[first[a] : first[a + 1]].tolist(), lots[first[a] : first[a + 1]].tolist(),
            strict=True,
        ):  # fmt: skip
            if i in net:
                net[i] += int(q)
                holding |= {a} & set(near.tolist())
    mark = watch.scenes.width * 8 + MARK
    for gain, gap in ((found.down, -0.1), (found.up, 0.1)):
        price = watch.market.price * np.where(np.arange(3) == 1, 1.0 + gap, 1.0)
        rows, _ = exact_rows(w.terms, replace(w.market, price=price), w.scenes, w.everything)
        change = rows[:, mark] - watch.matrix[:, mark]
        assert gain == sum(q * int(change[i]) for i, q in net.items())
    assert found.accounts == len(holding)
    assert found.delta == sum(q * int(watch.matrix[i, mark + 1]) for i, q in net.items())
    # Delta and gamma foresee a small move.
    small = solvency_delta(watch, 1, buffer=10**9, limit_ppm=0, gap=0.001, own=own)
    foreseen = small.delta * 0.001 + 0.5 * small.gamma * 100 * 0.001**2
    assert abs(small.up - foreseen) < 2e-2 * abs(small.up) + 10
    assert found.share == max(-found.down, -found.up, 0) / 10**9


@given(
    st.integers(-(10**12), 10**12), st.integers(-(10**12), 10**12),
    st.sampled_from([0.01, 0.2, 0.5]), st.integers(0, 10**11),
)  # fmt: skip
def test_hedges_restore_or_say_that_they_cannot(down: int, up: int, gap: float, limit: int) -> None:
    hedge, restored = hedge_of(down, up, gap=gap, limit=limit)
    losses = -(down - hedge * gap), -(up + hedge * gap)
    if restored:
        assert max(losses) <= limit + 1e-3
        if hedge:
            # One unit of money less, over the gap, would not do.
            less = hedge - np.sign(hedge) * (1.0 / gap + 2.0)
            assert max(-(down - less * gap), -(up + less * gap)) > limit
    else:
        assert abs(losses[0] - losses[1]) <= gap + 1e-3
        assert -(down + up) / 2 > limit - 2
