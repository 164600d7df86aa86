"""Zero false negatives: the watch against a full recomputation, through all that can happen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solvent.errors import InvariantBroken
from solvent.solvency.bounds import Allowance
from solvent.solvency.classes import Figures, State
from solvent.solvency.holdings import Holdings
from solvent.solvency.watch import Mark, Watch
from tests.solvencies import World, moved, random_book, world
from tests.test_solvency_vectors import told

ACCOUNTS = 60
WIDE = Allowance(vol=0.1, time_ms=3_600_000, basis=0.003, per_lot=0.0001)


def watch_of(
    w: World, seed: int, *, way: str, guard: State = State.CALL, allowance: Allowance = WIDE,
    accounts: int = ACCOUNTS,
) -> Watch:  # fmt: skip
    """Accounts whose slack over their margin is lognormal, so that some are near the edge."""
    first, instrument, lots = random_book(seed, w, accounts=accounts)
    held = Holdings.of(first=first, instrument=instrument, lots=lots, node_of=w.terms.node)
    rng = np.random.default_rng(seed)
    nothing = np.zeros(accounts, np.int64)
    probe = Watch(
        held, w.terms, w.scenes, w.ratios, w.market, nothing, age_ms=10_000, bands=False
    ).figures
    needed = probe.initial if guard is State.CALL else probe.maintenance
    slack = rng.lognormal(np.log(0.2), 1.5, accounts) * (needed + 1e7)
    cash = -probe.equity + needed + np.rint(slack).astype(np.int64)
    return Watch(
        held, w.terms, w.scenes, w.ratios, w.market, cash, age_ms=10_000, guard=guard,
        bands=way == "bands", keep=way == "kept", allowance=allowance,
        widths=(0.002, 0.01, 0.05, 0.2, 0.5),
    )  # fmt: skip


def fresh(watch: Watch) -> Figures:
    """Every account from nothing, at the rows of now."""
    figures = Figures(accounts=watch.held.accounts, nodes=watch.held.nodes)
    figures.judge(
        watch.held, watch.matrix, watch.scenes, watch.ratios, watch.cash,
        np.arange(watch.held.accounts, dtype=np.int32), at_ms=0, largest=watch.largest,
    )  # fmt: skip
    return figures


def check_verdicts(watch: Watch, guard: State) -> None:
    true, mine = fresh(watch), watch.figures
    assert ((true.state >= guard) == (mine.state >= guard)).all()
    breached = true.state >= guard
    assert (true.state[breached] == mine.state[breached]).all()
    if watch.bands is None:
        assert told(true) == told(mine)
    assert sum(mine.count(one) for one in State) == watch.held.accounts


def mark_of(watch: Watch, w: World, rng: np.random.Generator, *, calm: bool) -> Mark:
    node = int(rng.integers(0, 3))
    kinds = [0.0, 1e-4, -1e-3, 0.004, -0.009, 0.03, -0.04] + ([] if calm else [0.5, -0.5, -0.19])
    new = moved(
        watch.market, rng, node, jump=float(rng.choice(kinds)), vol=0.004 if calm else 0.05,
        basis=0.0001, time_ms=int(rng.choice([0, 1, 60_000] if calm else [0, 86_400_000])),
        terms=w.terms,
    )  # fmt: skip
    which = watch.of_node[node]
    usable = None
    if not calm and rng.random() < 0.3:
        usable = rng.random(len(which)) < 0.9
    return Mark(
        node=node, as_of_ms=new.as_of_ms, price=float(new.price[node]), vol=new.vol[which],
        ratio=new.ratio[which], usable=usable,
    )  # fmt: skip


@settings(max_examples=60)
@given(
    st.integers(0, 2**32 - 1), st.sampled_from(["bands", "bands", "bands", "kept", "none"]),
    st.booleans(), st.booleans(),
)  # fmt: skip
def test_no_false_negatives(seed: int, way: str, calm: bool, digitals: bool) -> None:
    rng = np.random.default_rng(seed)
    w = world(seed, digitals=digitals)
    guard = State.CALL if seed % 2 else State.LIQUIDATE
    allowed = WIDE if seed % 3 else Allowance(vol=0.02, time_ms=120_000, basis=0.0003)
    watch = watch_of(w, seed, way=way, guard=guard, allowance=allowed)
    check_verdicts(watch, guard)
    for _ in range(14):
        what = rng.random()
        if what < 0.55:
            tick = watch.tick(mark_of(watch, w, rng, calm=calm))
            assert tick.touching == tick.skipped + tick.recomputed
        elif what < 0.65:
            marks = {one.node: one for one in (mark_of(watch, w, rng, calm=calm) for _ in "abc")}
            late = max(one.as_of_ms for one in marks.values())
            watch.ticks([replace(one, as_of_ms=late) for one in marks.values()])
        elif what < 0.8:
            many = int(rng.integers(1, 6))
            watch.trade(
                account=rng.integers(0, ACCOUNTS, many).astype(np.int32),
                instrument=rng.integers(0, len(w.terms), many).astype(np.int32),
                lots=np.rint(rng.normal(0, 20, many)),
                cash=np.rint(rng.normal(0, 1e8, many)).astype(np.int64),
            )
        elif what < 0.9:
            who = rng.integers(0, ACCOUNTS, 3).astype(np.int32)
            watch.pay(account=who, cash=np.rint(rng.normal(0, 1e9, 3)).astype(np.int64))
        elif what < 0.94:
            future = int(rng.choice(np.flatnonzero(w.terms.strike == 0.0)))
            worth = abs(float(watch.matrix[future, w.scenes.width * 8]))
            rate = float(rng.choice([5e-5, -5e-5, 3e-3]))
            watch.fund(instrument=future, quanta_per_lot=round(rate * worth))
        elif what < 0.95:
            watch.rule(ratios=world(seed + 1).ratios)
        else:
            watch.upkeep(int(rng.integers(0, 2 * ACCOUNTS)))
        check_verdicts(watch, guard)
    watch.held.check_links()


def test_bands_skip_most_and_say_how_many() -> None:
    """Calm ticks on a large book: few are recomputed, and those who were are told."""
    w = world(4, nodes=3, scenarios=64)
    few = Allowance(vol=0.01, time_ms=60_000, basis=0.0002)
    watch = watch_of(w, 4, way="bands", accounts=5_000, allowance=few)
    skipped = touching = 0
    for step in range(20):
        node = step % 3
        price = float(w.market.price[node]) * (1.0 + 0.002 * np.sin(step))
        tick = watch.tick(Mark(node=node, as_of_ms=w.market.as_of_ms + step, price=price))
        skipped, touching = skipped + tick.skipped, touching + tick.touching
        check_verdicts(watch, State.CALL)
    assert skipped > 0.85 * touching, (skipped, touching)


def test_who_left_a_segment_is_void_at_every_underlying() -> None:
    """Slack that one underlying ate is no longer there for the shares of the others."""
    w = world(21, nodes=3)
    watch = watch_of(w, 21, way="bands", accounts=400)
    bands = watch.bands
    assert bands is not None
    price = float(w.market.price[0]) * 0.8
    rows = bands.row[bands.row >= 0]
    banded = {int(a) for a in watch.held.store.account[rows[bands.down[bands.place_of[rows]] > 0]]}
    tick = watch.tick(Mark(node=0, as_of_ms=w.market.as_of_ms, price=price))
    assert tick.recomputed > 0
    store = watch.held.store
    out = {int(store.account[r]) for r in bands.outside(watch.held, 0, watch.market)}
    assert out & banded
    for account in out:
        for row in watch.held.rows_of(account):
            assert bands.down[bands.place_of[row]] == bands.up[bands.place_of[row]] == 0
    check_verdicts(watch, State.CALL)


def test_epochs_move_a_slice_at_a_time() -> None:
    """A drift renews an epoch; no upkeep moves more than asked, and nobody is lost on the way."""
    w = world(6, nodes=2)
    few = Allowance(vol=0.01, time_ms=60_000, basis=0.0002)
    watch = watch_of(w, 6, way="bands", accounts=1_000, allowance=few)
    price, now = float(w.market.price[0]), w.market.as_of_ms
    moves = 0
    for _ in range(60):
        price *= 1.01
        now += 100
        watch.tick(Mark(node=0, as_of_ms=now, price=price))
        assert watch.upkeep(50) <= 51
        check_verdicts(watch, State.CALL)
        moves += bool(watch._pending)
    assert moves > 3
    for _ in range(60):
        watch.upkeep(50)
    assert not watch._pending
    tick = watch.tick(Mark(node=0, as_of_ms=now, price=price * 1.0001))
    breached = watch.figures.at_node(0, State.CALL) + watch.figures.at_node(0, State.LIQUIDATE)
    assert tick.skipped > 0.8 * (tick.touching - breached)


def test_a_new_epoch_is_of_the_moment_of_its_rows() -> None:
    """An underlying that ticked long before another is bounded as of then: its rows are of then."""
    w = world(6, nodes=2)
    watch = watch_of(w, 6, way="bands", accounts=300)
    bands = watch.bands
    assert bands is not None
    then, later = w.market.as_of_ms + 10, w.market.as_of_ms + 10 * 86_400_000
    watch.tick(Mark(node=0, as_of_ms=then, price=float(w.market.price[0]) * 1.4))
    watch.tick(Mark(node=1, as_of_ms=later, price=float(w.market.price[1]) * 0.6))
    watch.upkeep(1_000)
    for node, moment in ((0, then), (1, later)):
        base = bands.bases[node][int(bands.epoch_of[node])]
        assert base is not None
        assert base.market.as_of_ms == moment
    check_verdicts(watch, State.CALL)


def test_sweep_proves_that_nobody_was_left_out() -> None:
    w = world(9)
    watch = watch_of(w, 9, way="bands", accounts=300)
    now = w.market.as_of_ms
    assert watch.sweep().complete
    for _ in range(40):
        now += 1_000
        watch.tick(Mark(node=0, as_of_ms=now, price=float(w.market.price[0])))
        watch.upkeep(watch.owed(elapsed_ms=1_000))
        seen = watch.sweep()
        assert seen.complete
        assert seen.oldest_ms <= int(watch.figures.figures_ms.min())
    now += 20_000
    watch.tick(Mark(node=1, as_of_ms=now, price=float(w.market.price[1])))
    assert not watch.sweep().complete


def test_funding_is_paid_and_within_its_allowance_voids_nothing() -> None:
    w = world(5)
    watch = watch_of(w, 5, way="bands", accounts=300)
    plain = (w.terms.strike == 0.0) & ~w.terms.inverse & ~w.terms.steady
    future = int(np.flatnonzero(plain)[0])
    node = int(w.terms.node[future])
    worth = float(watch.matrix[future, w.scenes.width * 8])
    account, lots = watch.held.holders(future)
    cash = watch.cash.copy()
    step = int(worth * WIDE.per_lot / 3)
    same = Mark(node=node, as_of_ms=w.market.as_of_ms, price=float(w.market.price[node]))
    for n in range(1, 5):
        watch.fund(instrument=future, quanta_per_lot=step * (-1) ** n)
        cash[account] -= lots.astype(np.int64) * step * (-1) ** n
        assert (watch.cash == cash).all()
        check_verdicts(watch, State.CALL)
        tick = watch.tick(same)
        # The allowance is three steps: the fourth is beyond it, whichever way they were paid.
        assert (tick.skipped == 0) == (n == 4)


@pytest.mark.parametrize(
    "drift",
    [
        {"vol": 0.05}, {"ratio": 0.005}, {"time": 7_200_000},
    ],
)  # fmt: skip
def test_what_is_beyond_an_allowance_voids_the_epoch(drift: dict[str, float]) -> None:
    w = world(12)
    few = Allowance(vol=0.01, time_ms=3_600_000, basis=0.001)
    watch = watch_of(w, 12, way="bands", allowance=few, accounts=300)
    calm = watch.tick(Mark(node=1, as_of_ms=w.market.as_of_ms, price=float(w.market.price[1])))
    assert calm.skipped > calm.touching // 2
    which = watch.of_node[1]
    tick = watch.tick(
        Mark(
            node=1, as_of_ms=w.market.as_of_ms + int(drift.get("time", 0)),
            price=float(w.market.price[1]), vol=w.market.vol[which] * (1 + drift.get("vol", 0.0)),
            ratio=w.market.ratio[which] * (1 + drift.get("ratio", 0.0)),
        )
    )  # fmt: skip
    assert tick.skipped == 0
    check_verdicts(watch, State.CALL)


def test_what_is_no_market_is_refused() -> None:
    w = world(1)
    watch = watch_of(w, 1, way="none")
    for price in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(InvariantBroken, match="positive number"):
            watch.tick(Mark(node=0, as_of_ms=w.market.as_of_ms, price=price))
    before = told(watch.figures), watch.matrix.copy(), watch.market
    good = Mark(node=1, as_of_ms=w.market.as_of_ms, price=7.0)
    bad = Mark(
        node=0, as_of_ms=w.market.as_of_ms, price=1.0, vol=np.full(len(watch.of_node[0]), np.nan)
    )
    with pytest.raises(InvariantBroken, match="finite"):
        watch.ticks([good, bad])
    none, cash = np.zeros(1, np.int32), np.zeros(1, np.int64)
    for instrument, lots in ((none, np.array([0.5])), (none + 10**6, np.ones(1))):
        with pytest.raises(InvariantBroken):
            watch.trade(account=none, instrument=instrument, lots=lots, cash=cash)
    # What is refused has changed nothing.
    assert told(watch.figures) == before[0]
    assert (watch.matrix == before[1]).all()
    assert watch.market is before[2]
    assert sum(watch.figures.count(one) for one in State) == ACCOUNTS
    with pytest.raises(InvariantBroken, match="time goes forward"):
        watch.tick(Mark(node=0, as_of_ms=0, price=1.0))
