"""Greeks against derivatives in thirty digits, and implied volatility there and back."""

from __future__ import annotations

import math
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from mpmath import mp, mpf

from solvent.errors import InvariantBroken
from solvent.limits import VOL_MAX
from solvent.pricing import black76, greeks, spot_greeks
from solvent.pricing.implied import implied_vol

EPSILON = 2.0**-52
HOUR, DAY = 1.0 / 8_760.0, 1.0 / 365.0
DIGITS = 30


class Product(NamedTuple):
    """side, asset per F, cash, as a multiple of the strike (or of 1)."""

    side: float
    asset: float
    cash: float
    struck: bool = True
    in_cash: bool = False


PRODUCTS = {
    "call": Product(1.0, 1.0, 1.0),
    "put": Product(-1.0, -1.0, -1.0),
    "above": Product(1.0, 0.0, -1.0, in_cash=True),
    "below": Product(-1.0, 0.0, -1.0, in_cash=True),
    "forward": Product(1.0, 1.0, 0.0, struck=False),
    "cash": Product(1.0, 0.0, -1.0, struck=False, in_cash=True),
}


class Market(NamedTuple):
    forward: float
    deviations: float
    years: float
    vol: float
    rate: float

    @property
    def total_vol(self) -> float:
        return self.vol * math.sqrt(self.years)

    @property
    def strike(self) -> float:
        return self.forward * math.exp(self.deviations * self.total_vol)


MARKETS = [
    Market(forward, deviations, years, vol, rate)
    for (years, vol), deviations, (forward, rate) in zip(
        product((HOUR, DAY, 0.3, 3.0), (0.05, 0.6, 2.0)),
        (0.0, 1.3, -0.4, 3.5, -2.2, 0.1, -3.8, 0.7, 2.4, -1.1, 0.02, -0.9),
        [(63_000.0, 0.0), (1.25, 0.05), (1_900.0, -0.03)] * 4,
        strict=True,
    )
]


def exact_price(one: Product, f: Any, k: Any, t: Any, vol: Any, rate: Any) -> Any:
    """e^(−rT)·(asset·F·N(side·d₁) − cash·N(side·d₂)) in mpmath's digits."""
    cash = one.cash if one.in_cash else one.cash * k
    if not one.struck:
        return mp.exp(-rate * t) * (one.asset * f - cash)
    v = vol * mp.sqrt(t)
    d1 = mp.log(f / k) / v + v / 2
    legs = one.asset * f * mp.ncdf(one.side * d1) - cash * mp.ncdf(one.side * (d1 - v))
    return mp.exp(-rate * t) * legs


def exact_greeks(one: Product, market: Market) -> dict[str, float]:
    with mp.workdps(DIGITS):
        f, t, vol, rate = (mpf(x) for x in (market.forward, market.years, market.vol, market.rate))
        k = mpf(market.strike)

        def value(x: Any, y: Any, z: Any, r: Any) -> Any:
            return exact_price(one, x, k, y, z, r)

        at, held = (f, t, vol, rate), value(f, t, vol, rate)
        adjusted = f * mp.diff(lambda x: value(x, t, vol, rate) / x, f)
        found = {
            "value": held,
            "delta": mp.diff(value, at, (1, 0, 0, 0)),
            "gamma": mp.diff(value, at, (2, 0, 0, 0)),
            "vega": mp.diff(value, at, (0, 0, 1, 0)),
            "theta": -mp.diff(value, at, (0, 1, 0, 0)),
            "rho": mp.diff(value, at, (0, 0, 0, 1)),
            "vanna": mp.diff(value, at, (1, 0, 1, 0)),
            "volga": mp.diff(value, at, (0, 0, 2, 0)),
            "premium_adjusted_delta": adjusted,
        }
        return {name: float(number) for name, number in found.items()}


def natural_sizes(one: Product, market: Market) -> dict[str, float]:
    """The size that a greek has near the money, a unit for its error."""
    f, v, t = market.forward, market.total_vol, market.years
    unit, bend = (1.0, 1.0 / min(v, 1.0)) if one.in_cash else (max(f, market.strike), 1.0)
    steep = bend * max(1.0, abs(market.deviations)) ** 3
    return {
        "value": unit,
        "delta": unit * bend / f,
        "gamma": unit * steep / (f * f * v),
        "vega": unit * steep * math.sqrt(t),
        "theta": unit * (steep * market.vol / math.sqrt(t) + abs(market.rate)),
        "rho": unit * t,
        "vanna": unit * steep / (f * market.vol),
        "volga": unit * steep * math.sqrt(t) / market.vol,
        "premium_adjusted_delta": unit * bend / f,
    }


@pytest.mark.parametrize("name", PRODUCTS)
@pytest.mark.parametrize("market", MARKETS)
def test_greeks_are_the_derivatives(name: str, market: Market) -> None:
    """log(F/K) is known to a rounding of 1, so the error grows as 1/v where v is small."""
    one = PRODUCTS[name]
    strike = market.strike if one.struck else 0.0
    found = greeks(
        forward=market.forward,
        strike=strike,
        years=market.years,
        vol=market.vol,
        side=one.side,
        asset=one.asset,
        cash=one.cash if one.in_cash else one.cash * strike,
        rate=market.rate,
    )
    exact, size = exact_greeks(one, market), natural_sizes(one, market)
    for greek, number in exact.items():
        bound = EPSILON * (8.0 + 1.0 / market.total_vol) * size[greek]
        assert abs(float(getattr(found, greek)) - number) <= bound, greek


@pytest.mark.parametrize("side", [1.0, -1.0])
@pytest.mark.parametrize("market", MARKETS[::2])
def test_spot_greeks_are_the_derivatives(side: float, market: Market) -> None:
    spot, dividend = market.forward, 0.04
    found = spot_greeks(
        spot=spot, strike=market.strike, years=market.years, vol=market.vol, side=side,
        rate=market.rate, dividend=dividend,
    )  # fmt: skip
    vanilla, size = PRODUCTS["call" if side > 0 else "put"], natural_sizes(PRODUCTS["call"], market)
    with mp.workdps(DIGITS):
        k = mpf(market.strike)

        def value(s: Any, t: Any, vol: Any, r: Any, q: Any) -> Any:
            return exact_price(vanilla, s * mp.exp((r - q) * t), k, t, vol, r)

        at = tuple(mpf(x) for x in (spot, market.years, market.vol, market.rate, dividend))
        orders = {
            "delta": (1, 0, 0, 0, 0), "gamma": (2, 0, 0, 0, 0), "vega": (0, 0, 1, 0, 0),
            "theta": (0, -1, 0, 0, 0), "rho": (0, 0, 0, 1, 0), "dividend_rho": (0, 0, 0, 0, 1),
        }  # fmt: skip
        exact = {n: sum(o) * mp.diff(value, at, tuple(map(abs, o))) for n, o in orders.items()}
        exact["gamma"] /= 2
        exact["elasticity"] = exact["delta"] * spot / value(*at)
    wide = size | {"dividend_rho": size["rho"], "theta": size["theta"] + size["value"]}
    # A carry that is off by a rounding moves log(F/K) as much as a rounding of 1.
    bound = 4.0 * EPSILON * (8.0 + 1.0 / market.total_vol)
    for greek in orders:
        assert abs(float(getattr(found, greek)) - float(exact[greek])) <= bound * wide[greek], greek
    if abs(market.deviations) < 2.0:
        assert float(found.elasticity) == pytest.approx(float(exact["elasticity"]), rel=1e-9)


# No variance: value and delta are limits, a spike counts as 0.


@pytest.mark.parametrize(("years", "vol"), [(0.0, 0.6), (0.5, 0.0), (0.0, 0.0)])
def test_flat_greeks(years: float, vol: float) -> None:
    strike = np.array([0.0, 90.0, 100.0, 110.0])
    for side, delta in ((1.0, [1.0, 1.0, 0.5, 0.0]), (-1.0, [0.0, 0.0, -0.5, -1.0])):
        g = greeks(forward=100.0, strike=strike, years=years, vol=vol, side=side, rate=0.1)
        discount = math.exp(-0.1 * years)
        intrinsic = discount * np.maximum(side * (100.0 - strike), 0.0)
        assert g.value == pytest.approx(intrinsic, abs=1e-13)
        assert g.delta == pytest.approx(discount * np.array(delta), abs=1e-15)
        assert g.theta == pytest.approx(0.1 * g.value)
        assert g.rho == pytest.approx(-years * g.value)
        for spike in (g.gamma, g.vega, g.vanna, g.volga):
            assert np.abs(spike).max() == 0.0


@pytest.mark.parametrize("vol", [1e-160, 1e-29, 1e-8])
def test_greeks_stay_finite_near_no_variance(vol: float) -> None:
    g = greeks(forward=100.0, strike=[0.0, 50.0, 100.0, 200.0], years=1.0, vol=vol, side=1.0)
    assert g.delta == pytest.approx([1.0, 1.0, 0.5, 0.0], abs=1e-8)
    for numbers in (g.value, g.gamma, g.vega, g.theta, g.vanna, g.volga):
        assert np.isfinite(numbers).all()


def test_greeks_broadcast_and_agree_with_prices() -> None:
    at: dict[str, Any] = {"forward": [[100.0], [120.0]], "strike": [80.0, 100.0, 130.0]}
    g = greeks(**at, years=0.4, vol=0.7, side=-1.0)
    assert g.value.shape == g.volga.shape == g.forward.shape == (2, 3)
    assert g.value == pytest.approx(black76(**at, years=0.4, vol=0.7, side=-1.0), rel=1e-14)


@pytest.mark.parametrize(
    ("name", "number"),
    [
        *((name, math.nan) for name in ("forward", "strike", "years", "vol", "side", "rate")),
        ("forward", 0.0),
        ("strike", -1.0),
        ("years", -1.0),
        ("vol", -0.1),
        ("vol", math.inf),
    ],
)
def test_greeks_refuse_what_has_none(name: str, number: float) -> None:
    sound = {"forward": 1.0, "strike": 1.0, "years": 1.0, "vol": 1.0, "side": 1.0, "rate": 0.0}
    with pytest.raises(InvariantBroken):
        greeks(**sound | {name: number})


# Implied volatility.


@st.composite
def priced(draw: st.DrawFn, *, reach: float) -> tuple[Market, float]:
    forward = math.exp(draw(st.floats(-7.0, 14.0)))
    years = math.exp(draw(st.floats(math.log(HOUR), math.log(3.0))))
    vol = math.exp(draw(st.floats(math.log(0.01), math.log(5.0))))
    deviations = draw(st.floats(-reach, reach))
    return Market(forward, deviations, years, vol, 0.0), draw(st.sampled_from([1.0, -1.0]))


def vol_error_bound(market: Market, side: float, price: float) -> float:
    """What a few roundings of the price, and of F or K where a difference is taken, are worth."""
    f, k, v = market.forward, market.strike, market.total_vol
    d1 = -market.deviations + 0.5 * v
    vega = f * math.exp(-0.5 * d1 * d1) / math.sqrt(2.0 * math.pi)
    lost = max(f, k) if side * (f - k) > 0.0 else 0.0
    return 16.0 * EPSILON * (1.0 + v + (price + lost) / vega) / math.sqrt(market.years)


def check_round_trip(market: Market, side: float, discount: float) -> None:
    at: dict[str, float] = {"forward": market.forward, "strike": market.strike, "side": side}
    at |= {"years": market.years, "discount": discount}
    price = float(black76(**at, vol=market.vol))
    bound = vol_error_bound(market, side, price / discount)
    assume(bound < 0.1 * market.vol)  # otherwise the price does not hold the vol
    found = implied_vol(price=price, **at)
    assert found.shape == ()
    assert abs(float(found) - market.vol) <= bound


@settings(max_examples=400)
@given(priced(reach=3.0), st.floats(0.5, 1.0))
def test_vol_comes_back(market_side: tuple[Market, float], discount: float) -> None:
    check_round_trip(*market_side, discount)


@settings(max_examples=400)
@given(priced(reach=33.0))
def test_vol_comes_back_from_far_wings(market_side: tuple[Market, float]) -> None:
    """Down to prices of 1e-240: out of the money no digit is lost, however small the price is."""
    market, side = market_side
    out = -1.0 if market.deviations < 0.0 else 1.0
    check_round_trip(market, out, 1.0)
    check_round_trip(market, side, 1.0)


@given(
    st.floats(-3.0, 3.0), st.floats(1e-9, 1.0 - 1e-9), st.floats(HOUR, 3.0),
    st.sampled_from([1.0, -1.0]),
)  # fmt: skip
def test_every_price_between_its_bounds_has_a_vol(
    log_moneyness: float, part: float, years: float, side: float
) -> None:
    """Or one above `VOL_MAX`, which is none: then that one's price is below it."""
    f, k = 100.0, 100.0 * math.exp(log_moneyness)
    low, high = max(side * (f - k), 0.0), f if side > 0 else k
    price = low + part * (high - low)
    at = {"forward": f, "strike": k, "years": years, "side": side}
    vol = float(implied_vol(price=price, **at))
    largest = float(black76(**at, vol=VOL_MAX))
    if math.isnan(vol):
        assert price >= largest * (1.0 - 1e-12)
    else:
        assert float(black76(**at, vol=vol)) == pytest.approx(price, abs=1e-13 * max(f, k))


CALL = {"price": 12.0, "forward": 100.0, "strike": 90.0, "years": 0.5, "side": 1.0}
PUT = {"price": 12.0, "forward": 90.0, "strike": 100.0, "years": 0.5, "side": -1.0}


@pytest.mark.parametrize(
    "change",
    [
        *({name: bad} for name in (*CALL, "discount") for bad in (math.nan, math.inf, -math.inf)),
        *({name: bad} for name in ("forward", "strike", "years", "discount") for bad in (0.0, -1)),
        {"side": 0.0}, {"side": 2.0},
        {"price": 10.0 - 1e-9}, {"price": -1.0}, {"price": 100.0},
        {"price": 12.0, "discount": 2.0},
    ],
    ids=str,
)  # fmt: skip
def test_there_is_no_vol(change: dict[str, float]) -> None:
    for base in (CALL, PUT):
        assert 0.0 < float(implied_vol(**base)) < 1.0
        assert math.isnan(float(implied_vol(**base | change)))


def test_a_vol_beyond_the_limit_is_none() -> None:
    at = {"forward": 100.0, "strike": 100.0, "years": HOUR, "side": 1.0}
    for vol, found in ((VOL_MAX * 0.99, True), (VOL_MAX * 1.01, False)):
        price = float(black76(**at, vol=vol))
        assert math.isfinite(float(implied_vol(price=price, **at))) == found


@pytest.mark.parametrize("strike", [60.0, 100.0, 160.0])
@pytest.mark.parametrize("side", [1.0, -1.0])
def test_intrinsic_value_has_vol_zero(strike: float, side: float) -> None:
    at = {"forward": 100.0, "strike": strike, "years": 0.5, "side": side}
    assert float(implied_vol(price=max(side * (100.0 - strike), 0.0), **at)) == 0.0


def test_implied_vols_broadcast() -> None:
    at: dict[str, Any] = {"forward": 100.0, "strike": [50.0, 100.0, 190.0], "side": 1.0}
    at["years"] = [[DAY], [0.5]]
    vols = implied_vol(price=black76(**at, vol=0.8), **at)
    assert vols.shape == (2, 3)
    assert vols[1] == pytest.approx(0.8, abs=1e-13)
    assert implied_vol(price=[], forward=1.0, strike=1.0, years=1.0, side=1.0).shape == (0,)
