"""A surface in a market: volatilities filled in, bands of marks, what moves when prices do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from solvent.errors import InvariantBroken
from solvent.instruments import Kind, frozen
from solvent.market import BLOCKING, Flag, Snapshot
from solvent.market.surface import SliceKind, Surface, flat_surface
from solvent.pricing.black import inverse_black76
from solvent.pricing.option_quotes import quotes_of
from solvent.pricing.surface_fit import fit_surface
from solvent.pricing.surface_market import (
    BAND_VOL_MIN,
    Sticky,
    fill,
    mark_bands,
    moved_with,
    slices_of,
    vol_after,
)
from solvent.pricing.surface_time import vol_at
from solvent.units import TimeMs
from tests.surfaces import plain_smiles


@pytest.fixture(scope="module")
def surface(snapshot: Snapshot) -> Surface:
    return fit_surface(quotes_of(snapshot)).surface


def options_of(snapshot: Snapshot) -> np.ndarray:
    return np.flatnonzero((snapshot.universe.kind == Kind.OPTION) & snapshot.usable)


def silenced(snapshot: Snapshot, rows: np.ndarray) -> Snapshot:
    """The market without volatility and mark of some rows."""
    vol, mark, flags = snapshot.vol.copy(), snapshot.mark.copy(), snapshot.flags.copy()
    vol[rows], mark[rows] = 0.0, 0.0
    flags[rows] |= np.uint16(Flag.VOL_MISSING | Flag.MARK_DERIVED)
    return replace(snapshot, vol=frozen(vol), mark=frozen(mark), flags=frozen(flags))


def unknown_at(surface: Surface, row: int) -> Surface:
    kind = surface.kind.copy()
    kind[row] = SliceKind.UNKNOWN
    return replace(surface, kind=kind)


# Filling.


def test_missing_volatilities_are_filled_and_flagged(snapshot: Snapshot, surface: Surface) -> None:
    rows = options_of(snapshot)[::7]
    dark = silenced(snapshot, rows)
    assert not dark.usable[rows].any()
    lit = fill(dark, surface)
    assert lit.usable[rows].all()
    assert ((lit.flags[rows] & Flag.VOL_FITTED) != 0).all()
    assert np.max(np.abs(lit.vol[rows] - snapshot.vol[rows])) < 0.01
    near = snapshot.mark[rows] > 0.01 * snapshot.mark.max()
    np.testing.assert_allclose(lit.mark[rows][near], snapshot.mark[rows][near], rtol=0.1)
    others = np.setdiff1d(np.arange(len(snapshot.universe)), rows)
    np.testing.assert_array_equal(lit.vol[others], snapshot.vol[others])
    np.testing.assert_array_equal(lit.flags[others], snapshot.flags[others])


def test_an_unknown_expiry_stays_missing(snapshot: Snapshot, surface: Surface) -> None:
    rows = options_of(snapshot)[::7]
    mine = slices_of(surface, snapshot.universe)
    blind = unknown_at(surface, int(mine[rows[0]]))
    lit = fill(silenced(snapshot, rows), blind)
    lost = rows[mine[rows] == mine[rows[0]]]
    assert ((lit.flags[lost] & BLOCKING) == Flag.VOL_MISSING).all()
    assert (lit.vol[lost] == 0.0).all()
    assert lit.usable[np.setdiff1d(rows, lost)].all()


def test_nothing_to_fill_is_nothing_done(snapshot: Snapshot, surface: Surface) -> None:
    assert fill(snapshot, surface) is snapshot
    with pytest.raises(InvariantBroken):
        fill(snapshot, replace(surface, as_of_ms=TimeMs(surface.as_of_ms + 1)))


# Bands.


def test_marks_lie_inside_their_bands(snapshot: Snapshot, surface: Surface) -> None:
    bands = mark_bands(snapshot, surface)
    rows = options_of(snapshot)
    assert (bands.low[rows] <= bands.model[rows]).all()
    assert (bands.model[rows] <= bands.high[rows]).all()
    assert bands.outside(snapshot).size == 0
    wrong = rows[np.argmax(snapshot.mark[rows])]
    mark = snapshot.mark.copy()
    mark[wrong] *= 1.5
    assert bands.outside(replace(snapshot, mark=mark)).tolist() == [wrong]


def test_a_band_is_worth_its_volatility(snapshot: Snapshot, surface: Surface) -> None:
    universe = snapshot.universe
    row = next(r for r in options_of(snapshot) if universe.inverse[r] and universe.is_call[r])
    slice_ = int(slices_of(surface, universe)[row])
    k = np.log(universe.strike[row] / snapshot.forward[row])
    width = max(3.0 * float(surface.error[slice_]), BAND_VOL_MIN)
    expected = inverse_black76(
        forward=snapshot.forward[row], strike=universe.strike[row], years=snapshot.years[row],
        vol=surface.vol(slice_, k) + width, side=1.0,
    )  # fmt: skip
    expected = float(expected) + universe.tick_size[row]
    assert mark_bands(snapshot, surface).high[row] == pytest.approx(expected, rel=1e-12)


# Moves.


@pytest.mark.parametrize("sticky", Sticky)
def test_no_move_moves_nothing(sticky: Sticky) -> None:
    surface = flat_surface(years=[0.1, 0.2], smiles=plain_smiles([0.1, 0.2]), forward=100.0)
    strike = np.array([80.0, 100.0, 130.0])
    before = surface.vol(1, np.log(strike / 100.0))
    np.testing.assert_array_equal(vol_after(surface, 1, strike=strike, sticky=sticky), before)


def test_what_sticks() -> None:
    surface = flat_surface(years=[0.1], smiles=plain_smiles([0.1]), forward=100.0)
    at_money = float(surface.vol(0, 0.0))

    def after(strike: float, sticky: Sticky, factor: float = 1.0) -> float:
        return float(
            vol_after(surface, 0, strike=strike, move=0.8, vol_factor=factor, sticky=sticky)
        )

    assert after(100.0, Sticky.STRIKE) == at_money
    assert after(80.0, Sticky.MONEYNESS) == pytest.approx(at_money, rel=1e-12)
    assert after(80.0, Sticky.DELTA) == pytest.approx(at_money, rel=1e-12)
    assert after(90.0, Sticky.DELTA) == after(90.0, Sticky.MONEYNESS)
    assert after(80.0, Sticky.DELTA, 1.5) == pytest.approx(1.5 * at_money, rel=1e-12)
    # At half as many more deviations the drawn-out smile is the old one, times 1.5.
    wide = float(surface.vol(0, np.log(90.0 / 80.0) / 1.5))
    assert after(90.0, Sticky.DELTA, 1.5) == pytest.approx(1.5 * wide, rel=1e-12)
    with pytest.raises(InvariantBroken):
        vol_after(surface, 0, strike=80.0, move=0.0)


def test_a_market_moves_with_its_surface(snapshot: Snapshot, surface: Surface) -> None:
    universe = snapshot.universe
    names = universe.underlyings
    down = dict.fromkeys(names, 0.8)
    by_strike = moved_with(snapshot, surface, down, sticky=Sticky.STRIKE)
    by_moneyness = moved_with(snapshot, surface, down, sticky=Sticky.MONEYNESS)
    rows = options_of(snapshot)
    np.testing.assert_allclose(by_strike.vol[rows], snapshot.vol[rows], rtol=1e-12)
    np.testing.assert_allclose(by_moneyness.forward, 0.8 * snapshot.forward, rtol=1e-12)
    k = np.log(universe.strike[rows] / snapshot.forward[rows])
    mine = slices_of(surface, universe)[rows]
    ratio = surface.vol(mine, k - np.log(0.8)) / surface.vol(mine, k)
    np.testing.assert_allclose(by_moneyness.vol[rows], snapshot.vol[rows] * ratio, rtol=1e-9)
    assert ((by_moneyness.flags[rows] & Flag.MARK_DERIVED) != 0).all()
    one = moved_with(snapshot, surface, {names[0]: 0.8})
    still = rows[universe.underlying[rows] != 0]
    np.testing.assert_array_equal(one.vol[still], snapshot.vol[still])


def test_a_move_at_an_unknown_expiry_is_no_number(snapshot: Snapshot, surface: Surface) -> None:
    rows = options_of(snapshot)
    mine = slices_of(surface, snapshot.universe)
    blind = unknown_at(surface, int(mine[rows[0]]))
    lost = rows[mine[rows] == mine[rows[0]]]
    down = dict.fromkeys(snapshot.universe.underlyings, 0.8)
    after = moved_with(snapshot, blind, down)
    assert ((after.flags[lost] & Flag.VOL_MISSING) != 0).all()
    kept = moved_with(snapshot, blind, down, vol_factor=1.1, sticky=Sticky.STRIKE)
    np.testing.assert_allclose(kept.vol[lost], 1.1 * snapshot.vol[lost])


# Time.


def test_volatility_at_any_time() -> None:
    years = [0.1, 0.2, 0.4]
    surface = flat_surface(years=years, smiles=plain_smiles(years))
    book = surface.books[0]
    k = np.array([-0.3, 0.0, 0.2])
    for row, time in enumerate(years):
        np.testing.assert_array_equal(vol_at(surface, book, k=k, years=time), surface.vol(row, k))
    times = np.array([0.01, 0.05, 0.12, 0.19, 0.3, 0.5, 1.0])
    np.testing.assert_allclose(vol_at(surface, book, k=0.0, years=times), 0.6, rtol=2e-2)
    w = vol_at(surface, book, k=k[:, None], years=times) ** 2 * times
    assert (np.diff(w, axis=1) > 0.0).all()
    shrunk = vol_at(surface, book, k=k / 2.0, years=0.025)
    np.testing.assert_allclose(shrunk, surface.vol(0, k), rtol=1e-12)
    assert np.isnan(vol_at(surface, ("ETH", "ETH"), k=0.0, years=0.1))
    with pytest.raises(InvariantBroken):
        vol_at(surface, book, k=0.0, years=0.0)
