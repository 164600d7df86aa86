"""Backpressure: newer marks replace older ones, trades are never lost; latencies are counted."""

from __future__ import annotations

from unittest.mock import patch

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from solvent.solvency.inbox import TRADES_AT_ONCE, Inbox, Trades
from solvent.solvency.latency import Latencies
from solvent.solvency.watch import Mark
from tests.solvencies import world
from tests.test_solvency_vectors import told
from tests.test_solvency_watch import watch_of


def test_a_flood_of_marks_leaves_one_an_underlying_and_every_trade() -> None:
    w = world(4)
    rng = np.random.default_rng(4)
    flooded, patient = (watch_of(w, 4, way=way) for way in ("kept", "none"))
    inbox = Inbox()
    now = w.market.as_of_ms
    which = flooded.of_node[2]
    vol = w.market.vol[which] * 1.01
    last: dict[int, Mark] = {}
    for step in range(500):
        node = step % 3
        price = float(w.market.price[node]) * float(rng.uniform(0.9, 1.1))
        mark = Mark(node=node, as_of_ms=now + step, price=price, vol=vol if step == 2 else None)
        inbox.mark(mark, arrived_ns=step)
        last[node] = mark
        if step % 50 == 0:
            one = Trades(
                account=rng.integers(0, 60, 4).astype(np.int32),
                instrument=rng.integers(0, len(w.terms), 4).astype(np.int32),
                lots=np.rint(rng.normal(0, 9, 4)), cash=rng.integers(-9, 9, 4),
            )  # fmt: skip
            inbox.trades(one)
            patient.trade(
                account=one.account, instrument=one.instrument, lots=one.lots, cash=one.cash
            )
    assert len(inbox) == 3 + 10
    assert inbox.superseded == 497
    while inbox.take(flooded, lambda: 1_000):
        pass
    assert (inbox.taken, inbox.trades_taken, len(inbox)) == (3, 40, 0)
    # The volatilities of a mark that was superseded are not lost with it.
    for node in sorted(last, key=lambda one: last[one].as_of_ms):
        patient.tick(
            Mark(node=node, as_of_ms=last[node].as_of_ms, price=last[node].price,
                 vol=vol if node == 2 else None)
        )  # fmt: skip
    assert told(flooded.figures) == told(patient.figures)
    assert inbox.latency.most == 1_000 - 497
    assert not inbox.take(flooded, lambda: 0)


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**20), st.lists(st.integers(0, 12), min_size=1, max_size=9))
def test_trades_taken_together_are_trades_taken_one_by_one(seed: int, sizes: list[int]) -> None:
    """Whoever is behind takes several lots of trades as one: in order, none lost, none cut."""
    w = world(seed % 7)
    rng = np.random.default_rng(seed)
    together, patient = (watch_of(w, seed % 7, way="bands") for _ in range(2))
    inbox, mark = Inbox(), Mark(node=0, as_of_ms=w.market.as_of_ms, price=float(w.market.price[0]))
    for size in sizes:
        # Few accounts and instruments, so that the same ones are traded again and again.
        one = Trades(
            account=rng.integers(0, 6, size).astype(np.int32),
            instrument=rng.integers(0, 5, size).astype(np.int32),
            lots=np.rint(rng.normal(0, 9, size)), cash=rng.integers(-9, 9, size),
        )  # fmt: skip
        inbox.trades(one)
        for k in range(size):
            patient.trade(
                account=one.account[k : k + 1], instrument=one.instrument[k : k + 1],
                lots=one.lots[k : k + 1], cash=one.cash[k : k + 1],
            )  # fmt: skip
    inbox.mark(mark, arrived_ns=0)
    with patch("solvent.solvency.inbox.TRADES_AT_ONCE", 15):
        assert inbox.take(together, lambda: 0)
        assert inbox.taken == 1, "marks have their turn before all trades are taken"
        assert inbox.trades_taken <= 15
        assert sum(sizes) - inbox.trades_taken == 0 or len(inbox) > 0
        while inbox.take(together, lambda: 0):
            pass
    patient.tick(mark)
    everyone = np.arange(together.held.accounts, dtype=np.int32)
    for watch in (together, patient):
        watch.held.check_links()
        watch.recompute(everyone)
    assert inbox.trades_taken == sum(sizes)
    assert told(together.figures) == told(patient.figures)
    assert np.array_equal(together.cash, patient.cash)


def test_what_was_queued_together_is_never_cut() -> None:
    w = world(4)
    watch, inbox = watch_of(w, 4, way="none"), Inbox()
    size = TRADES_AT_ONCE + 1
    many = Trades(
        account=np.zeros(size, np.int32), instrument=np.zeros(size, np.int32),
        lots=np.ones(size), cash=np.zeros(size, np.int64),
    )  # fmt: skip
    inbox.trades(many)
    inbox.trades(many)
    assert inbox.take(watch, lambda: 0)
    assert (inbox.trades_taken, len(inbox)) == (size, 1)


@given(st.lists(st.integers(0, 2**61), min_size=1, max_size=200), st.floats(0.1, 100.0))
def test_percentiles_are_a_32nd_off_at_most(times: list[int], percent: float) -> None:
    seen = Latencies()
    for ns in times:
        seen.record(ns)
    true = sorted(times)[int(np.ceil(percent / 100.0 * len(times))) - 1]
    assert true <= seen.percentile(percent) <= true + true // 32
    assert (len(seen), seen.most) == (len(times), max(times))


def test_no_times_have_no_percentile() -> None:
    assert Latencies().percentile(50) == 0
