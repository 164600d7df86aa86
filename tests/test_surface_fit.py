"""Fitting a surface: exact smiles are found, noise leaves no arbitrage, bad rows stay out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solvent.errors import InvariantBroken
from solvent.market.surface import SliceKind, Smiles, flat_surface
from solvent.pricing.arbitrage import butterflies, calendars, least_g
from solvent.pricing.black import inverse_black76
from solvent.pricing.option_quotes import LeftOut, OptionQuotes, QuoteFault, gate
from solvent.pricing.ssvi import fit_ssvi, ssvi_smiles
from solvent.pricing.surface_fit import fit_surface
from solvent.pricing.svi import RawSvi, Ssvi
from solvent.pricing.svi_fit import Points, fit_smiles
from solvent.verify.surface import least_butterfly, least_calendar
from tests.surfaces import BTC, NOW, plain_smiles, quotes_from

YEARS = [0.01, 0.1, 0.5]
REASONABLE = st.builds(
    RawSvi,
    a=st.floats(0.001, 0.05),
    b=st.floats(0.01, 0.4),
    rho=st.floats(-0.8, 0.8),
    m=st.floats(-0.2, 0.2),
    sigma=st.floats(0.05, 0.5),
)


def as_smiles(*smiles: RawSvi) -> Smiles:
    names = ("a", "b", "rho", "m", "sigma")
    return Smiles(*(np.array([getattr(one, name) for one in smiles]) for name in names))


def changed(quotes: OptionQuotes, **columns: Any) -> OptionQuotes:
    """Quotes with some rows of columns replaced: name={row: value}."""
    made = {}
    for name, rows in columns.items():
        column = getattr(quotes, name).copy()
        for row, value in rows.items():
            column[row] = value
        made[name] = column
    return replace(quotes, **made)


def worst(quotes: OptionQuotes, true: Smiles) -> float:
    """Largest error of σ of a fit to quotes on true smiles, within two standard deviations."""
    fit = fit_surface(quotes)
    surface = fit.surface
    z = np.linspace(-2.0, 2.0, 41)
    k = z * np.sqrt(true.w(np.zeros((1, 1))))
    vol = surface.vol(np.arange(len(surface))[:, None], k)
    return float(np.nanmax(np.abs(vol - np.sqrt(true.w(k) / surface.years[:, None]))))


# What is told exactly.


def test_exact_smiles_are_found() -> None:
    true = plain_smiles(YEARS)
    fit = fit_surface(quotes_from(true, YEARS))
    assert worst(quotes_from(true, YEARS), true) < 1e-4
    assert [report.kind for report in fit.reports] == [SliceKind.SVI] * 3
    assert all(report.used == 15 and report.butterflies == 0 for report in fit.reports)
    assert fit.ssvi[BTC].rho == pytest.approx(-0.3, abs=1e-3)
    assert float(fit.surface.forward[0]) == 50_000.0


@settings(max_examples=25)
@given(REASONABLE)
def test_sound_smiles_are_found(true: RawSvi) -> None:
    smiles = as_smiles(true)
    if least_g(smiles)[0] < 1e-3:
        return
    k = np.linspace(-0.8, 0.8, 25)[None, :]
    w = smiles.w(k)
    found = fit_smiles(Points(k=k, w=w, weight=np.ones_like(k), book=np.array([0])))
    assert float(np.max(np.abs(np.sqrt(found.w(k) / w) - 1.0))) < 5e-3


@settings(max_examples=10)
@given(st.integers(0, 10**6), st.floats(0.0, 0.3), st.floats(-0.9, 0.9))
def test_noise_leaves_no_arbitrage(seed: int, noise: float, tilt: float) -> None:
    """Whatever the quotes: smiles with g ≥ 0, variance that never falls, for all k."""
    random = np.random.default_rng(seed)
    years = np.sort(random.uniform(0.002, 1.0, 4)).tolist()
    smiles = plain_smiles(years, vol=float(random.uniform(0.2, 1.5)))
    smiles = replace(smiles, rho=np.full(4, tilt))
    quotes = quotes_from(smiles, years, strikes=12, noise=noise, seed=seed)
    surface = fit_surface(quotes).surface
    known = np.flatnonzero(surface.known)
    assert bool((least_g(surface.smiles.at(known)) >= 0.0).all())
    k = np.linspace(-5.0, 5.0, 801)
    w = surface.total_variance(known[:, None], k[None, :])
    assert bool((np.diff(w, axis=0) >= 0.0).all())
    if known.size:
        last, first = int(known[-1]), int(known[0])

        def far(k: Any) -> Any:
            return surface.total_variance(last, k)

        assert least_butterfly(far, points=801) >= 0.0
        assert least_calendar(lambda k: surface.total_variance(first, k), far, points=801) >= 0.0


def test_a_smile_with_arbitrage_is_replaced_by_a_near_one() -> None:
    """Vogt's smile has g < 0 at k = 0.9; the nearest sound one is close where it matters."""
    vogt = as_smiles(RawSvi(a=-0.041, b=0.1331, rho=0.306, m=0.3586, sigma=0.4153))
    k = np.linspace(-1.5, 1.5, 31)[None, :]
    assert float(least_g(vogt)[0]) < -0.03
    points = Points(k=k, w=vogt.w(k), weight=np.ones_like(k), book=np.array([0]))
    found = fit_smiles(points)
    assert float(least_g(found)[0]) >= 0.0
    error = np.abs(np.sqrt(found.w(k) / vogt.w(k)) - 1.0)
    assert float(np.median(error)) < 0.02
    assert float(np.max(error)) < 0.2


def test_crossing_expiries_are_lifted_and_told() -> None:
    """The farther expiry told below the nearer: the surface stays up, and the report says so."""
    smiles = plain_smiles([0.1, 0.1])
    quotes = quotes_from(smiles, [0.1, 0.12])
    lower = quotes.expiry_ms == quotes.expiry_ms[-1]
    quotes = replace(quotes, vol=np.where(lower, 0.9 * quotes.vol, quotes.vol))
    fit = fit_surface(quotes)
    assert fit.reports[1].calendars > 5
    assert fit.surface.total_variance(1, 0.0) >= fit.surface.total_variance(0, 0.0)
    assert fit.reports[1].residual_median > 0.01


def test_ssvi_for_all_expiries() -> None:
    true = plain_smiles(YEARS)
    fit = fit_surface(quotes_from(true, YEARS, noise=0.01), model="ssvi")
    assert set(fit.surface.kind) == {SliceKind.SSVI}
    assert bool((least_g(fit.surface.smiles) >= 0.0).all())
    assert max(report.residual_p95 for report in fit.reports) < 0.02
    with pytest.raises(ValueError, match="expected svi or ssvi"):
        fit_surface(quotes_from(true, YEARS), model="sabr")


@settings(max_examples=20)
@given(st.floats(-0.9, 0.9), st.floats(0.1, 5.0), st.floats(0.05, 0.95), st.floats(-8.0, 2.0))
def test_ssvi_smiles_are_sound(rho: float, eta: float, gamma: float, level: float) -> None:
    smiles = ssvi_smiles(Ssvi(rho=rho, eta=eta, gamma=gamma), np.exp(np.array([level])))
    assert float(least_g(smiles)[0]) >= -1e-12


def test_ssvi_needs_rising_variance() -> None:
    k = np.zeros((2, 5))
    with pytest.raises(InvariantBroken):
        fit_ssvi(k=k, w=np.ones_like(k), weight=np.ones_like(k), theta=np.array([0.2, 0.1]))


# Rows that are wrong.

BAD_VOLS = (np.nan, 0.0, -0.5, np.inf, -np.inf, 1e6)


@pytest.mark.parametrize("vol", BAD_VOLS, ids=str)
def test_a_row_without_a_volatility_is_left_out(vol: float) -> None:
    true = plain_smiles(YEARS)
    quotes = changed(quotes_from(true, YEARS), vol={20: vol})
    assert gate(quotes).reasons == {20: LeftOut.VOLATILITY}
    fit = fit_surface(quotes)
    assert fit.left_out[20] == LeftOut.VOLATILITY
    assert worst(quotes, true) < 1e-3


def test_a_volatility_is_implied_by_mark_or_quote() -> None:
    true = plain_smiles(YEARS)
    quotes = quotes_from(true, YEARS)
    price = inverse_black76(
        forward=quotes.forward, strike=quotes.strike, years=quotes.years, vol=quotes.vol,
        side=np.where(quotes.is_call, 1.0, -1.0),
    )  # fmt: skip
    silent = replace(quotes, vol=np.full(len(quotes), np.nan))
    marked: dict[str, Any] = {"mark": price}
    quoted: dict[str, Any] = {"bid": price * 0.99, "ask": price * 1.01}
    for told in (marked, quoted):
        assert worst(replace(silent, **told), true) < 1e-3
    unknown = fit_surface(silent).surface
    assert not unknown.known.any()
    assert unknown.reasons[0] == f"no usable quote: {LeftOut.VOLATILITY}"
    assert np.isnan(unknown.vol(0, 0.0))


def test_every_bad_row_has_its_reason() -> None:
    quotes = changed(
        quotes_from(plain_smiles(YEARS), YEARS),
        strike={0: np.nan, 1: -5.0, 2: 0.0},
        forward={3: np.nan, 4: 0.0},
        expiry_ms={5: NOW - 1, 6: NOW},
        bid={7: 0.05, 8: -1.0, 9: 0.0, 10: np.nan},
        ask={7: 0.04, 8: 0.01, 9: 0.0, 10: 0.01},
        vol={11: np.nan},
    )
    gated = gate(quotes)
    assert {row: gated.reasons[row] for row in (0, 1, 2)} == dict.fromkeys(
        (0, 1, 2), LeftOut.STRIKE
    )
    assert gated.reasons[3] == gated.reasons[4] == LeftOut.FORWARD
    assert gated.reasons[5] == gated.reasons[6] == LeftOut.EXPIRED
    assert gated.reasons[11] == LeftOut.VOLATILITY
    assert gated.faults == {7: QuoteFault.CROSSED, 8: QuoteFault.NOT_POSITIVE}
    fit = fit_surface(quotes)
    assert len(fit.surface) == 3
    assert worst(quotes, plain_smiles(YEARS)) < 2e-3


def test_a_contract_told_twice_counts_once() -> None:
    true = plain_smiles(YEARS)
    quotes = quotes_from(true, YEARS)
    again = changed(quotes, strike={7: quotes.strike[6]}, vol={7: 9.0})
    assert gate(again).reasons == {7: LeftOut.DUPLICATE}
    assert worst(again, true) < 1e-3


@pytest.mark.parametrize("factor", [0.3, 0.6, 1.7, 4.0])
def test_a_wrong_quote_is_found_and_left_out(factor: float) -> None:
    true = plain_smiles(YEARS)
    quotes = quotes_from(true, YEARS, noise=0.003)
    row = 30 + 6  # a put near the money of the second expiry, and its call
    put = 30 + 15 + 6
    broken = changed(quotes, vol={r: quotes.vol[r] * factor for r in (row, put)})
    fit = fit_surface(broken)
    assert LeftOut.OUTLIER in set(fit.left_out.values())
    assert [r for r, why in fit.left_out.items() if why is LeftOut.OUTLIER] == [put]
    assert worst(broken, true) < 0.02


def test_an_expiry_that_contradicts_the_others_is_unknown() -> None:
    """One expiry told at three times its volatility must not lift all farther ones."""
    years = [0.02, 0.05, 0.1, 0.3, 0.6]
    true = plain_smiles(years)
    quotes = quotes_from(true, years)
    for wrong, factor in ((0, 6.0), (2, 3.0), (3, 0.3)):
        mine = quotes.expiry_ms == np.unique(quotes.expiry_ms)[wrong]
        broken = replace(quotes, vol=np.where(mine, factor * quotes.vol, quotes.vol))
        surface = fit_surface(broken).surface
        assert np.flatnonzero(~surface.known).tolist() == [wrong]
        assert "contradicts" in surface.reasons[wrong]
        assert worst(broken, true) < 1e-3


def test_a_single_wrong_quote_of_an_expiry_is_no_level() -> None:
    years = [0.05, 0.2, 0.5]
    true = plain_smiles(years)
    quotes = quotes_from(true, years)
    middle = np.flatnonzero(quotes.expiry_ms == np.unique(quotes.expiry_ms)[1])
    vol = quotes.vol.copy()
    vol[middle] = np.nan
    vol[middle[7]] = 4.0
    surface = fit_surface(replace(quotes, vol=vol)).surface
    assert np.flatnonzero(~surface.known).tolist() == [1]
    assert worst(replace(quotes, vol=vol), true) < 1e-3


def test_few_strikes_take_the_shape_of_their_book() -> None:
    true = plain_smiles([0.05, 0.2, 0.5])
    quotes = quotes_from(true, [0.05, 0.2, 0.5])
    middle = np.flatnonzero(quotes.expiry_ms == quotes.expiry_ms[30])
    lost = np.isin(np.arange(len(quotes)), middle) & ~np.isin(np.arange(len(quotes)), middle[8:9])
    quotes = replace(quotes, vol=np.where(lost, np.nan, quotes.vol))
    fit = fit_surface(quotes)
    assert fit.reports[1].kind is SliceKind.SSVI
    assert fit.reports[1].reason == "1 strike: the level is theirs, the shape is its book's"
    assert worst(quotes, true) < 0.02


def test_few_strikes_alone_are_unknown() -> None:
    fit = fit_surface(quotes_from(plain_smiles([0.1]), [0.1], strikes=3))
    assert fit.surface.kind.tolist() == [SliceKind.UNKNOWN]
    assert fit.surface.reasons == ("3 strikes, and no expiry of its book has 5",)
    assert np.isnan(fit.surface.vol(0, 0.0))
    assert set(fit.left_out.values()) == {LeftOut.INSIDE, LeftOut.FEW}


def test_quotes_that_make_no_smile_are_unknown() -> None:
    quotes = quotes_from(plain_smiles(YEARS), YEARS, noise=1.0, seed=4)
    fit = fit_surface(quotes)
    unknown = np.flatnonzero(~fit.surface.known)
    assert unknown.size
    assert all("no smile comes near" in fit.surface.reasons[one] for one in unknown)


def test_nothing_at_all() -> None:
    empty = quotes_from(plain_smiles([0.1]), [0.1]).of(())
    fit = fit_surface(empty)
    assert len(fit.surface) == 0
    assert fit.reports == ()


@settings(max_examples=20)
@given(st.data())
def test_any_mixture_of_faults_is_tolerated(data: st.DataObject) -> None:
    """No fault raises; what is known has no arbitrage and is a number."""
    quotes = quotes_from(plain_smiles(YEARS), YEARS, strikes=8)
    faults = st.sampled_from([np.nan, 0.0, -1.0, np.inf, -np.inf, 1e-300, 1e308, -1e308, 0.5])
    rows = st.dictionaries(st.integers(0, len(quotes) - 1), faults, max_size=30)
    names = ("strike", "forward", "vol", "mark", "bid", "ask", "open_interest", "rate")
    broken = changed(quotes, **{name: data.draw(rows, label=name) for name in names})
    with np.errstate(all="raise", under="ignore"):
        surface = fit_surface(broken).surface
    known = np.flatnonzero(surface.known)
    assert bool((least_g(surface.smiles.at(known)) >= 0.0).all())
    assert bool(np.isfinite(surface.vol(known, 0.1)).all())


# Arbitrage between what is told.


def test_butterflies_and_calendars_of_marks() -> None:
    k = np.array([-0.1, 0.0, 0.1])
    flat, bent = np.full(3, 0.04), np.array([0.04, 0.08, 0.04])
    assert butterflies(k, flat, 0.0, 1.0) == 0
    assert butterflies(k, bent, 0.0, 1.0) == 1
    assert butterflies(k, bent, 1.0, 1.0) == 0
    assert butterflies(k[:2], bent[:2], 0.0, 1.0) == 0
    assert calendars((k, bent, 0.5), (k, flat, 1.0), 0.0) == 1
    assert calendars((k + 9.0, bent, 0.5), (k, flat, 1.0), 0.0) == 0


def test_a_surface_holds_its_order() -> None:
    with pytest.raises(InvariantBroken):
        flat_surface(years=[0.2, 0.1], smiles=plain_smiles([0.1, 0.2]))
    surface = flat_surface(years=[0.1, 0.2], smiles=plain_smiles([0.1, 0.2]))
    assert surface.row(BTC, int(surface.expiry_ms[1])) == 1
    assert surface.row(BTC, 5) is None
    assert surface.row(("ETH", "ETH"), int(surface.expiry_ms[1])) is None
    with pytest.raises(ValueError, match="read-only"):
        surface.years[0] = 1.0
