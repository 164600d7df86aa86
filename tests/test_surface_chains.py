"""Real chains: near the marks, and no arbitrage left."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy.special import ndtr

from solvent.market.surface import Surface
from solvent.pricing.arbitrage import least_g
from solvent.pricing.option_quotes import OptionQuotes
from solvent.pricing.surface_fit import SurfaceFit
from solvent.pricing.surface_time import vol_at
from solvent.units import Float64
from solvent.verify.surface import (
    POINTS,
    closest_smile,
    least_butterfly,
    least_calendar,
    wing_slopes,
)
from tests.conftest import need_shared
from tests.surfaces import CHAINS, CRASH, chain

pytestmark = pytest.mark.skipif(not CHAINS, reason="reference data is not here")


def errors_of(quotes: OptionQuotes, fit: SurfaceFit) -> Float64:
    """|model − mark| in vol points of every option with |delta| 5 … 95 %, calls and puts alike."""
    surface, found = fit.surface, []
    for one in range(len(surface)):
        mine = (quotes.expiry_ms == surface.expiry_ms[one]) & (quotes.book == surface.book[one])
        mine &= (quotes.vol > 0.0) & (quotes.forward > 0.0)
        k, vol = np.log(quotes.strike[mine] / quotes.forward[mine]), quotes.vol[mine]
        v = vol * np.sqrt(surface.years[one])
        delta = ndtr(-k / v + 0.5 * v)
        within = (delta >= 0.05) & (delta <= 0.95)
        found.append(np.abs(surface.vol(one, k[within]) - vol[within]) * 100.0)
    return np.concatenate(found)


@pytest.mark.parametrize("name", sorted({CRASH, *CHAINS[::4]}) if CHAINS else [])
def test_a_chain_is_fitted(name: str) -> None:
    assert_fitted(name)


@pytest.mark.soak
@pytest.mark.parametrize("name", CHAINS)
def test_every_chain_is_fitted(name: str) -> None:
    assert_fitted(name)


def assert_fitted(name: str) -> None:
    """Near the marks at every expiry together, every expiry known, no arbitrage left."""
    _, quotes, fit = chain(name)
    error = errors_of(quotes, fit)
    assert error.size > 300
    assert float(np.median(error)) <= 0.3
    assert float(np.quantile(error, 0.95)) <= 1.5
    assert bool(fit.surface.known.all())
    assert float(least_g(fit.surface.smiles).min()) >= 0.0
    assert_never_falls(fit.surface)
    assert set(fit.left_out.values()) == {"in the money, and the other side stands"}


def assert_never_falls(surface: Surface) -> None:
    k = np.concatenate([-np.geomspace(20.0, 1e-3, 150), [0.0], np.geomspace(1e-3, 20.0, 150)])
    w = surface.total_variance(np.arange(len(surface))[:, None], k[None, :])
    same = surface.book[1:] == surface.book[:-1]
    assert bool((w[1:][same] >= w[:-1][same]).all())


@pytest.mark.parametrize("name", [CRASH, *CHAINS[1::30]])
def test_the_twin_finds_no_arbitrage_in_prices(name: str) -> None:
    assert_no_arbitrage_in_prices(chain(name)[2].surface, points=1_501)


def assert_no_arbitrage_in_prices(surface: Surface, points: int) -> None:
    """Convex, calendar-ordered call prices on a dense grid; wings below Lee's slope."""
    for one in range(len(surface)):

        def here(k: Float64, one: int = one) -> Float64:
            return surface.total_variance(one, k)

        def before(k: Float64, one: int = one) -> Float64:
            return surface.total_variance(one - 1, k)

        assert least_butterfly(here, points) >= 0.0
        assert max(wing_slopes(here)) < 2.0
        if one and surface.book[one] == surface.book[one - 1]:
            assert least_calendar(before, here, points) >= 0.0


def test_no_smile_is_much_nearer() -> None:
    """Against the best raw SVI with or without arbitrage, searched for slowly slice by slice."""
    need_shared("data", "deribit_chains")
    fit = chain(CHAINS[20])[2]
    surface, points = fit.surface, fit.points
    within = points.within_delta(surface.years)
    ours, theirs = [], []
    for one in range(1, len(surface), 8):
        mine = within & (points.slice == one)
        k, told = points.k[mine], points.told[mine]
        twin = closest_smile(k, told, np.ones(k.size), float(surface.years[one]))
        ours.append(float(np.mean(np.abs(points.fitted[mine] - told))) * 100.0)
        theirs.append(twin.error * 100.0)
    # The twin fits these strikes alone, ours also what lies beyond them, and quotes' spreads.
    assert float(np.mean(ours)) < 1.6 * float(np.mean(theirs)) + 0.02
    assert max(np.array(ours) - np.array(theirs)) < 0.3


@pytest.mark.parametrize("name", CHAINS[3:4])
def test_between_and_beyond_listed_expiries(name: str) -> None:
    surface = chain(name)[2].surface
    book = surface.books[0]
    rows = surface.of(book)
    listed = surface.years[rows]
    times = [0.5 * listed[0], listed[0], *(listed[2] + (listed[3] - listed[2]) * np.array(
        [1e-6, 0.1, 0.5, 0.999])), listed[-1], 1.3 * listed[-1], 2.0 * listed[-1]]  # fmt: skip

    def at(years: float):  # type: ignore[no-untyped-def]
        return lambda k: vol_at(surface, book, k=k, years=years) ** 2 * years

    for near, far in pairwise(times):
        assert least_calendar(at(near), at(far), points=801) >= -1e-8
    for years in times:
        assert least_butterfly(at(years), points=801) >= -1e-8
    for one in (2, 5):
        k = np.linspace(-1.5, 1.5, 7) * np.sqrt(surface.total_variance(rows[one], 0.0))
        for nudge in (1.0 - 1e-9, 1.0, 1.0 + 1e-9):
            near = vol_at(surface, book, k=k, years=listed[one] * nudge)
            np.testing.assert_allclose(near, surface.vol(rows[one], k), atol=1e-3)


@pytest.mark.soak
@pytest.mark.parametrize("name", CHAINS)
def test_the_twin_agrees_on_every_chain(name: str) -> None:
    assert_no_arbitrage_in_prices(chain(name)[2].surface, points=POINTS)
