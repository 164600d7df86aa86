"""The functions of a rulebook: right where numpy's are, at every edge, and in the same bits."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from itertools import product
from typing import Any

import numpy as np
import pytest
from mpmath import mp, mpf
from scipy.special import ndtr, ndtri

from solvent.expressions import parse
from solvent.margining.levels.arithmetic import ELEMENTWISE
from solvent.portable import exp, log, normal, normal_quantile, power
from solvent.units import Float64

EDGES = np.array([
    0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.0, -2.0, 3.0, -3.0, 1e-320, -1e-320, 1e300, -1e300,
    709.0, 709.7, 710.0, -708.0, -740.0, -745.0, -746.0, 1e9, -1e9, 2.0**53, 1_025.0,
    np.inf, -np.inf, np.nan,
])  # fmt: skip


def errors(ours: Callable[[Float64], Float64], truth: Callable[[Any], Any], x: Float64) -> float:
    """Largest relative error against forty digits."""
    with mp.workdps(40):
        exact = [truth(mpf(float(one))) for one in x]
        found = [mpf(float(one)) for one in ours(x)]
        return float(max(abs(f / e - 1) for f, e in zip(found, exact, strict=True)))


def generator(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


@pytest.mark.parametrize(
    ("ours", "numpy_s", "relative"),
    [
        (exp, np.exp, 3e-16), (log, np.log, 3e-16), (normal, ndtr, 2e-13),
        (normal_quantile, ndtri, 1e-14),
    ],
)  # fmt: skip
def test_edges_are_numpy_s(
    ours: Callable[[Any], Float64], numpy_s: Callable[[Any], Float64], relative: float
) -> None:
    x = np.concatenate([EDGES, generator(1).normal(0.0, 3.0, 500), np.linspace(0.0, 1.0, 99)])
    with np.errstate(all="ignore"):
        expected = numpy_s(x)
    found = ours(x)
    assert (np.isnan(found) == np.isnan(expected)).all()
    special = np.isinf(expected) | (expected == 0.0)
    assert (found[special] == expected[special]).all()
    normal_range = ~special & ~np.isnan(expected) & (np.abs(expected) > 1e-300)
    assert found[normal_range] == pytest.approx(expected[normal_range], rel=relative)
    # Below the normal numbers a unit in the last place is a large part.
    rest = ~special & ~np.isnan(expected) & ~normal_range
    assert found[rest] == pytest.approx(expected[rest], rel=1e-9, abs=1e-323)


def test_exp_reaches_from_the_smallest_number_to_the_largest() -> None:
    random = generator(2)
    x = np.concatenate([random.uniform(-707.0, -690.0, 400), random.uniform(690.0, 709.78, 400)])
    assert errors(exp, mp.exp, x) < 4.5e-16
    assert exp(709.782712893384) < np.inf
    assert exp(709.7827128933842) == np.inf
    assert exp(-745.1) == 5e-324
    assert exp(-745.2) == 0.0


def test_normal_quantile_inverts_the_normal_law() -> None:
    random = generator(3)
    p = np.concatenate([random.uniform(0.0, 1.0, 300), 10.0 ** -random.uniform(1.0, 300.0, 300)])
    with mp.workdps(40):
        # One Newton step in forty digits from what we found is the truth.
        x = [mpf(float(one)) for one in normal_quantile(p)]
        steps = [
            (mp.ncdf(one) - mpf(float(share))) / mp.npdf(one)
            for one, share in zip(x, p, strict=True)
        ]
        worst = max(abs(step / one) for step, one in zip(steps, x, strict=True))
    assert float(worst) < 1e-15


def test_power_at_every_edge() -> None:
    """As numpy's, but a NaN stays a NaN: NaN**0 and 1**NaN are not known."""
    base, exponent = np.array(list(product(EDGES, EDGES))).T
    with np.errstate(all="ignore"):
        expected = np.power(base, exponent)
    expected[np.isnan(base) | np.isnan(exponent)] = np.nan
    found = power(base, exponent)
    with np.errstate(invalid="ignore"):
        away = np.abs(found - expected) / np.abs(expected)
    same = (found == expected) & (np.signbit(found) == np.signbit(expected))
    close = away <= np.where(np.abs(expected) > 1e-300, 1e-12, 1e-9)
    right = same | close | (np.isnan(found) & np.isnan(expected))
    assert not list(zip(base[~right], exponent[~right], strict=True))


def test_whole_and_half_powers_are_products_and_roots() -> None:
    x = generator(4).uniform(0.01, 100.0, 200)
    for exponent, exact in (
        (0, np.ones_like(x)), (1, x), (2, x * x), (3, x * (x * x)), (-1, 1.0 / x),
        (0.5, np.sqrt(x)), (1.5, x * np.sqrt(x)), (-0.5, 1.0 / np.sqrt(x)), (4, (x * x) * (x * x)),
    ):  # fmt: skip
        assert power(x, exponent).tobytes() == exact.tobytes(), exponent
    assert power(10.0, np.arange(23.0)).tolist() == [float(10**n) for n in range(23)]
    assert power(-x, 3.0).tobytes() == (-(x * (x * x))).tobytes()


def test_other_powers_are_good_to_ten_units_in_the_last_place() -> None:
    random = generator(5)
    x, y = random.uniform(0.01, 1e4, 1_000), random.uniform(-3.0, 3.0, 1_000)
    with mp.workdps(40):
        exact = [mpf(float(b)) ** mpf(float(e)) for b, e in zip(x, y, strict=True)]
        found = power(x, y)
        worst = max(abs(mpf(float(f)) / e - 1) for f, e in zip(found, exact, strict=True))
    assert float(worst) < 10 * 2.2e-16


def test_shapes_are_broadcast_and_scalars_are_taken() -> None:
    assert power(np.ones((3, 1)), np.ones(4)).shape == (3, 4)
    assert float(parse("x ** 2 + exp(0) + log(1)")({"x": np.float64(3.0)})) == 10.0
    assert ELEMENTWISE["**"](np.array([2.0, np.nan]), np.float64(0.0)).tolist()[0] == 1.0
    assert np.isnan(ELEMENTWISE["**"](np.array([np.nan]), np.float64(0.0))).all()


def test_bits_are_those_of_every_processor() -> None:
    """What these digests were made of was computed with `+ − × ÷ √` and shifts alone."""
    random = generator(6)
    x, y = random.uniform(-40.0, 40.0, 4_096), random.uniform(-5.0, 5.0, 4_096)
    p = random.uniform(0.0, 1.0, 4_096)
    found = {
        "exp": exp(x), "log": log(np.abs(x)), "power": power(np.abs(x), y), "normal": normal(x),
        "normal_quantile": normal_quantile(p),
    }  # fmt: skip
    digests = {name: sha256(bits.tobytes()).hexdigest()[:16] for name, bits in found.items()}
    assert digests == {
        "exp": "fdac322dd2fec7ea",
        "log": "0061765c7a61cdca",
        "power": "96e3dfe7bc94e8fb",
        "normal": "75e27944ee92912d",
        "normal_quantile": "251763e5c1722b5a",
    }
