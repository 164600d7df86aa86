"""The pass by rows: bit for bit what accounts one by one give, and the slow twin; its threads."""

from __future__ import annotations

import math
import os
import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from bench.increments import run as run_increments
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from solvent.cli.processors import kept_threads, spread_threads
from solvent.limits import EXACT_MAX
from solvent.risk.crew import share_by, share_out
from solvent.solvency import classes, holdings
from solvent.solvency.by_rows import compiled as by_rows
from solvent.solvency.classes import Figures, State
from solvent.solvency.eights.compiled import eight_rows
from solvent.solvency.holdings import Holdings
from solvent.solvency.rows import MARK, aligned, exact_rows
from tests.solvencies import World, random_book, told_by_twin, world
from tests.test_solvency_vectors import told

ACCOUNTS = 43
"""No whole blocks, and no whole eights."""


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holdings, "BLOCK", 16)
    monkeypatch.setattr(classes, "MANY", 0)


def traded(w: World, seed: int, trades: int) -> Holdings:
    """A book of many nodes, then trades that open and empty rows: numbers are in no order then."""
    rng = np.random.default_rng(seed)
    first, instrument, lots = random_book(seed, w, accounts=ACCOUNTS)
    held = Holdings.of(first=first, instrument=instrument, lots=lots, node_of=w.terms.node)
    account = rng.integers(0, ACCOUNTS, trades).astype(np.int32)
    kind = rng.integers(0, len(w.terms), trades).astype(np.int32)
    held.trade(account=account, instrument=kind, lots=np.rint(rng.normal(0, 50, trades)))
    first, instrument, lots = held.compressed()
    closed = rng.random(len(lots)) < 0.3
    owner = np.repeat(np.arange(ACCOUNTS, dtype=np.int32), np.diff(first))
    held.trade(account=owner[closed], instrument=instrument[closed], lots=-lots[closed])
    return held


def both(
    held: Holdings, w: World, matrix: np.ndarray, cash: np.ndarray, who: np.ndarray,
    largest: np.ndarray | None, threads: int = 1,
) -> tuple[Figures, Figures]:  # fmt: skip
    """Figures by rows, and by accounts one by one."""
    rows, chains = (Figures(accounts=held.accounts, nodes=held.nodes) for _ in range(2))
    for figures, many in ((rows, 0), (chains, 1 << 40)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(classes, "MANY", many)
            figures.judge(
                held, matrix, w.scenes, w.ratios, cash, who, at_ms=3, largest=largest,
                threads=threads,
            )  # fmt: skip
    assert (rows.figures_ms == chains.figures_ms).all()
    return rows, chains


@settings(max_examples=15)
@given(
    seed=st.integers(0, 2**32 - 1), trades=st.integers(0, 120), whole=st.booleans(),
    scenarios=st.sampled_from([5, 64]),
)  # fmt: skip
def test_rows_equal_accounts_and_twin(seed: int, trades: int, whole: bool, scenarios: int) -> None:
    rng = np.random.default_rng(seed)
    # Few numbers of scenarios, as each is compiled anew.
    w = world(seed, nodes=9, each=7, scenarios=scenarios)
    usable = rng.random(len(w.terms)) > 0.03
    matrix, largest = exact_rows(w.terms, replace(w.market, usable=usable), w.scenes, w.everything)
    held = traded(w, seed, trades)
    cash = np.rint(rng.normal(0, 1e11, ACCOUNTS)).astype(np.int64)
    who = np.arange(ACCOUNTS, dtype=np.int32)
    if not whole:
        who = np.flatnonzero(rng.random(ACCOUNTS) < 0.5).astype(np.int32)
    rows, chains = both(held, w, matrix, cash, who, largest)
    assert told(rows) == told(chains)
    lost = {
        int(account)
        for i in np.flatnonzero(np.isinf(largest))
        for account in held.holders(int(i))[0]
    }
    twin = told_by_twin(held, w, matrix, cash, lost)
    mine = told(rows)
    assert [mine[a] for a in who] == [twin[a] for a in who]
    # Without a check of the range nobody is unknown, and no other figure is another.
    unasked, _ = both(held, w, matrix, cash, who, None)
    known = [int(a) for a in who if int(a) not in lost]
    assert [told(unasked)[a] for a in known] == [twin[a] for a in known]


def test_near_the_exact_range() -> None:
    """Sums a hair below and above the bound, and requirements of losses near 2^53."""
    w = world(3, scenarios=5)
    n = len(w.terms)
    matrix = np.zeros((n, w.scenes.columns))
    huge = float(2**43 + 7)
    matrix[0, :8], matrix[0, 8] = -huge, huge
    largest = np.full(n, 1.0)
    largest[0] = huge + 1.0
    edge = 0.99 * EXACT_MAX
    lots = np.array([np.floor(edge / largest[0]) + step for step in (-1.0, 0.0, 1.0, 1e6)])
    held = Holdings.of(
        first=np.arange(5, dtype=np.int64), instrument=np.zeros(4, np.int32), lots=lots,
        node_of=w.terms.node,
    )  # fmt: skip
    cash, who = np.full(4, 10**9), np.arange(4, dtype=np.int32)
    rows, chains = both(held, w, matrix, cash, who, largest)
    lost = {a for a in range(4) if lots[a] * largest[0] >= edge}
    assert set(np.flatnonzero(rows.unknown).tolist()) == lost == {2, 3}
    assert told(rows) == told(chains) == told_by_twin(held, w, matrix, cash, lost)


PPM = st.integers(0, 10_000_000) | st.sampled_from([1_000_000, 1_250_000, 1_300_000, 500_000])


@njit
def eight_requirements(least, lesser, added, gross, ratios, parts):  # type: ignore[no-untyped-def]
    """As the pass has them where maintenance reads fewer scenarios."""
    shares = by_rows.shares_of(ratios).ravel()
    if eight_rows(least, lesser, added, gross, shares, parts, 0):
        by_rows.put_right(least, lesser, gross, ratios, parts)


def losses(rng: np.random.Generator, over: int, bits: int) -> np.ndarray:
    """Eight losses of up to so many bits, near whole millions over the share's numerator, too."""
    loss = np.floor(2.0 ** rng.uniform(0, bits, 8))
    near = rng.integers(0, 2 ** max(bits - 20, 1), 8) * (1_000_000 // math.gcd(over, 1_000_000))
    loss[::2] = np.clip((near + rng.integers(-1, 2, 8))[::2], 0, 2**bits - 1)
    loss[1], loss[3] = (2**bits - 1, 0.0) if rng.random() < 0.5 else loss[[1, 3]]
    return np.asarray(loss)


@settings(max_examples=80)
@given(st.integers(0, 2**32 - 1), PPM, PPM, st.sampled_from([53, 50, 43, 30, 8]))
def test_requirements_are_whole_number_arithmetic(
    seed: int, initial: int, maintenance: int, bits: int
) -> None:
    """Of losses that floats round, at the edge of what they do, and beyond it."""
    rng = np.random.default_rng(seed)
    ratios = initial, maintenance
    told = [losses(rng, ppm, bits) for ppm in ratios]
    least, lesser = (-one[:, None] + rng.integers(0, 2**20, (8, 8)) for one in told)
    for lanes, one in ((least, told[0]), (lesser, told[1])):
        lanes[np.arange(8), rng.integers(0, 8, 8)] = -one
    gain = rng.integers(0, 8)
    least[gain] = lesser[gain] = 5.0 + np.arange(8)
    added = np.floor(rng.normal(0, 2.0**40, (8, 8)))
    gross = np.floor(2.0 ** rng.uniform(0, 50, 8))
    parts = np.full((8, 4), 77, np.int64)
    eight_requirements(least.ravel(), lesser.ravel(), added.ravel(), gross, ratios, parts)
    for row in range(8):
        hidden = -(-int(gross[row]) // 2)
        wanted = [
            -(-int(max(-lanes[row].min(), 0.0)) * ppm // 1_000_000) + hidden
            for lanes, ppm in zip((least, lesser), ratios, strict=True)
        ]
        assert parts[row].tolist() == [int(added[row, MARK]), *wanted, 0]


def test_empty_accounts_and_books_have_figures() -> None:
    w = world(5, scenarios=5)
    matrix, largest = exact_rows(w.terms, w.market, w.scenes, w.everything)
    nothing = Holdings.of(
        first=np.zeros(40, np.int64), instrument=np.zeros(0, np.int32), lots=np.zeros(0),
        node_of=w.terms.node,
    )  # fmt: skip
    cash, who = np.arange(-3, 36), np.arange(39, dtype=np.int32)
    rows, chains = both(nothing, w, matrix, cash, who, largest, threads=4)
    assert told(rows) == told(chains)
    assert rows.equity.tolist() == cash.tolist()
    assert (rows.state[:3] == State.LIQUIDATE).all()


@pytest.mark.parametrize("threads", [2, 3])
def test_parts_of_a_pass_change_nothing(threads: int) -> None:
    w = world(2, nodes=9, each=7, scenarios=5)
    matrix, largest = exact_rows(w.terms, w.market, w.scenes, w.everything)
    held = traded(w, 2, 60)
    cash, who = np.zeros(ACCOUNTS, np.int64), np.arange(ACCOUNTS, dtype=np.int32)
    one, _ = both(held, w, matrix, cash, who, largest)
    parts, _ = both(held, w, matrix, cash, who, largest, threads=threads)
    assert told(one) == told(parts)
    edge = held.order().edge
    cut = classes._even_parts(edge, threads)
    assert [start for start, _ in cut] == [0, *(stop for _, stop in cut[:-1])]
    assert cut[-1][1] == len(edge) - 1


def test_a_pass_writes_to_its_own_table_alone() -> None:
    """Rows of other blocks, which fill up the last eight of a block, are added to nobody."""
    w = world(2, nodes=9, each=7, scenarios=5)
    matrix, _ = exact_rows(w.terms, w.market, w.scenes, w.everything)
    held = traded(w, 2, 60)
    order, room = held.order(), aligned(8 * (16 + 1), 4).view(np.int64)
    assert (np.diff(order.edge) % 8 != 0).all()
    table = room[4 * 17 : 5 * 17]
    figures = Figures(accounts=ACCOUNTS, nodes=held.nodes)
    cash, who = np.zeros(ACCOUNTS, np.int64), np.arange(ACCOUNTS, dtype=np.int32)
    kernel = by_rows.judge(w.scenes.width, w.scenes.narrow, False)
    kernel(
        held.store, matrix, order.rows, order.edge, who, np.array([0, 16, 32, ACCOUNTS]), 16,
        np.zeros(0), np.zeros(held.nodes), cash, (1_250_000, 1_000_000), 3, figures.equity,
        figures.initial, figures.maintenance, figures.unknown, figures.state, figures.close,
        figures.figures_ms, table, aligned(3, 64), 0, 3,
    )  # fmt: skip
    assert not room[: 4 * 17].any()
    assert not room[5 * 17 :].any()
    assert not table.any()


def test_rows_are_numbered_by_block_node_and_length() -> None:
    w = world(4, nodes=5, each=7)
    first, instrument, lots = random_book(4, w, accounts=ACCOUNTS)
    held = Holdings.of(first=first, instrument=instrument, lots=lots, node_of=w.terms.node)
    held.check_links()
    s, rows = held.store, held.rows
    keys = [
        (int(s.account[row]) // 16, int(s.node[row]), int(s.length[row])) for row in range(rows)
    ]
    assert keys == sorted(keys)
    assert (np.diff(s.first[:rows]) > 0).all()
    order = held.order()
    assert order.rows[: order.edge[-1]].tolist() == list(range(rows))
    assert held.order() is order


def test_a_crew_is_kept_and_leaves_its_caller_alone(request: pytest.FixtureRequest) -> None:
    before = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    seen: dict[int, tuple[int, Any]] = {}

    def work(start: int, _stop: int) -> None:
        where = os.sched_getaffinity(0) if before is not None else None
        seen[start] = threading.get_ident(), where

    parts = [(0, 5), (5, 9)]
    spread_threads()
    request.addfinalizer(lambda: share_by(None))
    share_out(work, parts)
    first = dict(seen)
    share_out(work, parts)
    assert seen == first
    assert len({one for one, _ in seen.values()}) == 2
    assert threading.get_ident() not in {one for one, _ in seen.values()}
    if before is not None:
        assert os.sched_getaffinity(0) == before
        places = [where for _, where in seen.values()]
        apart = len(before) >= 2
        assert (len({tuple(one) for one in places}) == 2) == apart
    share_out(work, [(0, 9)])
    assert seen[0][0] == threading.get_ident()


@pytest.mark.parametrize("kept", [True, False])
def test_a_part_that_fails_is_told_when_all_are_done(
    kept: bool, request: pytest.FixtureRequest
) -> None:
    done = []
    share_by(kept_threads if kept else None)
    request.addfinalizer(lambda: share_by(None))

    def work(start: int, stop: int) -> None:
        if start == 0:
            raise ValueError("the first part")
        done.append(stop)

    with pytest.raises(ValueError, match="the first part"):
        share_out(work, [(0, 1), (1, 2)])
    assert done == [2]


def test_increments_end_fresh() -> None:
    found = run_increments(events=4_000)
    assert found["ticks"] + found["trades"] == 4_000
    assert found["vectors changed"] > 4_000


@pytest.mark.soak
def test_ten_million_increments_end_fresh() -> None:
    found = run_increments()
    assert found["ticks"] + found["trades"] == 10_000_000
