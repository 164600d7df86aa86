"""Holdings by account and by instrument against a dictionary, through any trades."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solvent.errors import InvariantBroken
from solvent.limits import LOTS_MAX
from solvent.solvency.holdings import Holdings

INSTRUMENTS = 12
NODE_OF = np.arange(INSTRUMENTS, dtype=np.int32) % 3


def held_of(book: Holdings) -> dict[tuple[int, int], float]:
    first, instrument, lots = book.compressed()
    account = np.repeat(np.arange(book.accounts), np.diff(first))
    keys = zip(account.tolist(), instrument.tolist(), strict=True)
    return dict(zip(keys, lots.tolist(), strict=True))


def holders_of(book: Holdings) -> dict[tuple[int, int], float]:
    found: dict[tuple[int, int], float] = {}
    for one in range(book.instruments):
        account, lots = book.holders(one)
        assert len(set(account.tolist())) == len(account)
        found |= {(a, one): q for a, q in zip(account.tolist(), lots.tolist(), strict=True)}
    return found


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.booleans())
def test_trades_equal_a_dictionary(seed: int, accounts: int, filled: bool) -> None:
    rng = np.random.default_rng(seed)
    told: dict[tuple[int, int], float] = {}
    if filled:
        count = rng.integers(0, 9, accounts)
        first = np.concatenate([[0], np.cumsum(count)]).astype(np.int64)
        instrument = rng.integers(0, INSTRUMENTS, int(first[-1])).astype(np.int32)
        lots = rng.integers(-3, 4, int(first[-1])).astype(float)
        book = Holdings.of(first=first, instrument=instrument, lots=lots, node_of=NODE_OF)
        owner = np.repeat(np.arange(accounts), count)
        for a, i, q in zip(owner.tolist(), instrument.tolist(), lots.tolist(), strict=True):
            told[a, i] = told.get((a, i), 0.0) + q
    else:
        book = Holdings(accounts=accounts, node_of=NODE_OF)
    for _ in range(6):
        trades = int(rng.integers(0, 150))
        account = rng.integers(0, accounts, trades).astype(np.int32)
        instrument = rng.integers(0, INSTRUMENTS, trades).astype(np.int32)
        lots = rng.integers(-2, 3, trades).astype(float)
        before = book.trade(account=account, instrument=instrument, lots=lots)
        for t in range(trades):
            key = int(account[t]), int(instrument[t])
            assert before[t] == told.get(key, 0.0)
            told[key] = told.get(key, 0.0) + float(lots[t])
        held = {key: lots for key, lots in told.items() if lots}
        assert held_of(book) == held
        assert holders_of(book) == held
        assert book.positions == len(held)
        book.check_links()


def test_churn_does_not_grow_without_end() -> None:
    """Positions that come and go leave gaps; the gaps are closed."""
    rng = np.random.default_rng(1)
    book = Holdings(accounts=50, node_of=NODE_OF)
    for round_ in range(60):
        account = np.repeat(np.arange(50, dtype=np.int32), INSTRUMENTS)
        instrument = np.tile(np.arange(INSTRUMENTS, dtype=np.int32), 50)
        keep = rng.random(600) < 0.5
        lots = np.where(round_ % 2 == 0, 1.0, -1.0) * np.ones(600)
        if round_ % 2 == 0:
            kept = keep
        book.trade(account=account[kept], instrument=instrument[kept], lots=lots[kept])
    assert book.positions == 0
    assert book.nbytes < 200_000
    book.check_links()


def test_rows_keep_their_numbers() -> None:
    book = Holdings(accounts=3, node_of=NODE_OF)
    one = np.array([1], np.int32)
    for i in range(INSTRUMENTS):
        book.trade(account=one, instrument=np.array([i], np.int32), lots=np.array([2.0]))
    rows = book.rows_of(1)
    assert sorted(book.store.node[rows].tolist()) == [0, 1, 2]
    for i in range(INSTRUMENTS):
        book.trade(account=one, instrument=np.array([i], np.int32), lots=np.array([-2.0]))
    assert book.rows_of(1) == rows
    assert book.positions == 0


def test_limits_are_kept() -> None:
    book = Holdings(accounts=1, node_of=NODE_OF)
    zero = np.zeros(1, np.int32)
    with pytest.raises(InvariantBroken, match="whole lots"):
        book.trade(account=zero, instrument=zero, lots=np.array([0.5]))
    with pytest.raises(InvariantBroken, match="are there"):
        book.trade(account=zero + 1, instrument=zero, lots=np.array([1.0]))
    book.trade(account=zero, instrument=zero, lots=np.array([float(LOTS_MAX)]))
    with pytest.raises(InvariantBroken, match="within its limit"):
        book.trade(account=zero, instrument=zero, lots=np.array([1.0]))
    assert held_of(book) == {(0, 0): float(LOTS_MAX)}
    book.check_links()
