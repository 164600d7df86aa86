"""The same equalities as in the default suite, on many times the random inputs."""

from __future__ import annotations

import numpy as np
import pytest

from solvent.pricing import compiled
from solvent.pricing import grid as readable
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
