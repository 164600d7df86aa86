"""Backpressure: newer marks replace older ones, trades are never lost; latencies are counted."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from solvent.solvency.inbox import Inbox, Trades
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
