"""The same equalities as in the default suite, on many times the random inputs."""

from __future__ import annotations

import numpy as np
import pytest

from solvent.pricing import compiled
from solvent.pricing import grid as readable
from solvent.sim.watched import Venue, false_negatives
from solvent.solvency.watch import Mark
from tests.test_pricing_kernels import random_grid
from tests.test_product import Case, bits, twin

pytestmark = pytest.mark.soak


@pytest.mark.parametrize("seed", range(16))
def test_fast_kernel_equals_twin(seed: int) -> None:
    """10,000 portfolios a seed, every bit."""
    scenarios = int(np.random.default_rng(seed).integers(1, 200))
    case = Case(1_000 + seed, sets=10_000, instruments=40, scenarios=scenarios)
    least, binding = case.scan(threads=2)
    for one in range(len(least)):
        assert (least[one], binding[one]) == twin(case, one), (seed, one)


@pytest.mark.parametrize("seed", range(32))
def test_compiled_prices_equal_readable_ones(seed: int) -> None:
    """A million cells a seed, every bit."""
    cells = random_grid(10_000 + seed, terms=15_000, scenarios=65 + seed % 8)
    assert (bits(readable.value_cells(cells)) == bits(compiled.value_cells(cells))).all()


@pytest.mark.parametrize("seed", range(4))
def test_vectors_end_fresh(seed: int) -> None:
    """Ten million trades in all, with ticks that change every holder's rows between them."""
    venue = Venue.make(accounts=3_000, underlyings=6, instruments=120, seed=seed)
    watch = venue.watch(bands=False, keep=True)
    rng = np.random.default_rng(seed)
    trades, count, at = 0, 20_000, watch.market.as_of_ms
    vectors = watch.vectors
    assert vectors is not None
    while trades < 2_500_000:
        watch.trade(
            account=rng.integers(0, 3_000, count).astype(np.int32),
            instrument=rng.integers(0, 120, count).astype(np.int32),
            lots=rng.integers(-9, 10, count).astype(np.float64),
            cash=rng.integers(-(10**9), 10**9, count),
        )
        at += 1
        for node in range(6):
            jump = float(rng.choice([0.999, 1.001, 1.05, 0.95, 1.5, 0.5]))
            price = float(np.clip(watch.market.price[node] * jump, 1e3, 1e6))
            watch.tick(Mark(node=node, as_of_ms=at, price=price))
        trades += count
    vectors.check_fresh(watch.held, watch.matrix)
    assert false_negatives(watch) == 0
    watch.held.check_links()
