"""A coin's market at one moment as numbers: index, forwards, and five points of each smile.

A history of option markets is kept this way, since whole chains of every day are not to be had.
A smile goes through the volatilities told at put 10 and 25 delta, at the money, call 25 and 10
delta, in x = ln(K/F) / (σ_atm·√T), by a cubic in each interval that never leaves its two ends
(Fritsch and Carlson 1980). Straight lines would have a kink at the money, where calendars are
struck (decision 0028). Beyond the 10-delta points it goes on with its slope there to |x| = 3 and
is flat from there, and it is never below a fifth of the volatility at the money. How near this
comes to whole chains is measured in docs/backtest.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from solvent.errors import check
from solvent.units import DAY_MS, YEAR_MS, Float64

Int64 = NDArray[np.int64]
D25: Final = 0.6744897501960817
D10: Final = 1.2815515655446004
"""Normal quantiles of 75 and 90 %: d₁ of a put of 25 and 10 delta."""
_D1: Final = np.array([D10, D25, 0.0, -D25, -D10])
X_MAX: Final = 3.0
VOL_OF_ATM_MIN: Final = 0.2
_MINUTE_YEARS: Final = 1.0 / (365.0 * 1440.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Strip:
    """One coin at one moment; axis: expiry, ascending.

    Attributes:
        index: dollars per coin.
        forward: dollars per coin.
        smile: [expiry, 5] volatilities at put 10, put 25, at the money, call 25, call 10 delta.
        told: by expiry the strikes of a whole chain, ascending, and their volatilities; they come
            before the smile, linear in ln K and flat beyond the last. Empty: the smile alone.
        stated: whether the volatilities are a stated proxy's, and not a market's.
    """

    coin: str
    as_of_ms: int
    index: float
    expiry_ms: Int64
    forward: Float64
    smile: Float64
    told: tuple[tuple[Float64, Float64], ...] = ()
    stated: bool = False

    def __post_init__(self) -> None:
        check(self.index > 0.0, "an index is positive", self.coin, self.index)
        check(self.smile.shape == (len(self.expiry_ms), 5), "five points a smile", self.smile.shape)
        check(bool((self.expiry_ms > self.as_of_ms).all()), "expiries lie ahead", self.as_of_ms)
        check(bool((np.diff(self.expiry_ms) > 0).all()), "expiries ascend")
        check(bool(np.isfinite(self.smile).all() and (self.smile > 0.0).all()), "vols above 0")
        check(bool(np.isfinite(self.forward).all() and (self.forward > 0.0).all()), "forwards > 0")

    @property
    def years(self) -> Float64:
        """Time to each expiry."""
        return (self.expiry_ms - self.as_of_ms) / YEAR_MS


def forward_at(strip: Strip, expiry_ms: Int64) -> Float64:
    """Forwards at any expiries: told ones, and between them by the annualised log basis.

    >>> flat = Strip(coin="BTC", as_of_ms=0, index=100.0, expiry_ms=np.array([YEAR_MS]),
    ...              forward=np.array([110.0]), smile=np.full((1, 5), 0.5))
    >>> [round(float(f), 4) for f in forward_at(flat, np.array([YEAR_MS, YEAR_MS // 2]))]
    [110.0, 104.8809]
    """
    if len(strip.expiry_ms) == 0:
        return np.full(len(expiry_ms), strip.index)
    years = np.maximum((expiry_ms - strip.as_of_ms) / YEAR_MS, 0.0)
    basis = np.log(strip.forward / strip.index) / np.maximum(strip.years, _MINUTE_YEARS)
    between = strip.index * np.exp(np.interp(years, strip.years, basis) * years)
    row = np.minimum(np.searchsorted(strip.expiry_ms, expiry_ms), len(strip.expiry_ms) - 1)
    told = strip.expiry_ms[row] == expiry_ms
    return np.asarray(np.where(told, strip.forward[row], between))


def vol_at(strip: Strip, expiry_ms: Int64, strike: Float64) -> Float64:
    """Volatilities at strikes of any expiries ahead; NaN where the strip has no smile.

    An expiry that is not told stands between its neighbours: total variance at one x is linear in
    time; before the first and after the last it has their smile.

    >>> flat = Strip(coin="BTC", as_of_ms=0, index=100.0, expiry_ms=np.array([YEAR_MS]),
    ...              forward=np.array([100.0]), smile=np.array([[0.7, 0.6, 0.5, 0.55, 0.6]]))
    >>> vol_at(flat, np.array([YEAR_MS, YEAR_MS]), np.array([100.0, 1.0])).round(3).tolist()
    [0.5, 0.781]
    """
    if len(strip.expiry_ms) == 0:
        return np.full(len(strike), np.nan)
    found = np.empty(len(strike))
    for expiry in np.unique(expiry_ms):
        mine = expiry_ms == expiry
        found[mine] = _vols_of_expiry(strip, int(expiry), strike[mine])
    return found


def _vols_of_expiry(strip: Strip, expiry: int, strike: Float64) -> Float64:
    after = int(np.searchsorted(strip.expiry_ms, expiry))
    last = len(strip.expiry_ms) - 1
    if strip.told and after <= last and strip.expiry_ms[after] == expiry:
        listed, vols = strip.told[after]
        return np.interp(np.log(strike), np.log(listed), vols)
    if after > last or strip.expiry_ms[after] == expiry or after == 0:
        row = min(after, last)
        x = _x(strip, row, strike, float(forward_at(strip, np.array([expiry]))[0]), expiry)
        return smile_at(strip.smile[row], float(strip.years[row]), x)
    before = after - 1
    years = (expiry - strip.as_of_ms) / YEAR_MS
    near, far = float(strip.years[before]), float(strip.years[after])
    share = (years - near) / (far - near)
    near_atm, far_atm = strip.smile[before, 2], strip.smile[after, 2]
    atm = np.sqrt(((1 - share) * near_atm**2 * near + share * far_atm**2 * far) / years)
    forward = float(forward_at(strip, np.array([expiry]))[0])
    x = np.log(strike / forward) / (atm * np.sqrt(years))
    low = smile_at(strip.smile[before], near, x) ** 2 * near
    high = smile_at(strip.smile[after], far, x) ** 2 * far
    return np.asarray(np.sqrt(((1 - share) * low + share * high) / years))


def _x(strip: Strip, row: int, strike: Float64, forward: float, expiry: int) -> Float64:
    years = max((expiry - strip.as_of_ms) / YEAR_MS, _MINUTE_YEARS)
    return np.asarray(np.log(strike / forward) / (strip.smile[row, 2] * np.sqrt(years)))


def atm_at(strip: Strip, days: float) -> float:
    """Volatility at the money, at a constant maturity.

    >>> flat = Strip(coin="BTC", as_of_ms=0, index=100.0, expiry_ms=np.array([YEAR_MS]),
    ...              forward=np.array([100.0]), smile=np.array([[0.7, 0.6, 0.5, 0.55, 0.6]]))
    >>> atm_at(flat, 30.0)
    0.5
    """
    expiry = np.array([strip.as_of_ms + round(days * DAY_MS)], dtype=np.int64)
    return float(vol_at(strip, expiry, forward_at(strip, expiry))[0])


def smile_at(smile: Float64, years: float, x: Float64) -> Float64:
    """One smile at standardised log-moneyness; see the top of the file."""
    root = np.sqrt(max(years, _MINUTE_YEARS))
    # K/F of a delta point: ln(K/F) = −d₁·σ√T + σ²T/2, and 0 at the money.
    node = (-_D1 * smile * root + 0.5 * smile * smile * root * root) / (smile[2] * root)
    node[2] = 0.0
    # A long and steep smile could fold over itself: nodes keep apart.
    for at in (1, 0):
        node[at] = min(node[at], node[at + 1] - 0.05)
    for at in (3, 4):
        node[at] = max(node[at], node[at - 1] + 0.05)
    inside = np.clip(x, -X_MAX, X_MAX)
    slope = _slopes(node, smile)
    vol = _cubic(node, smile, slope, np.clip(inside, node[0], node[-1]))
    vol += slope[0] * np.minimum(inside - node[0], 0.0)
    vol += slope[-1] * np.maximum(inside - node[-1], 0.0)
    return np.asarray(np.maximum(vol, VOL_OF_ATM_MIN * smile[2]))


def _slopes(node: Float64, value: Float64) -> list[float]:
    """Slopes at the nodes: weighted harmonic means of the neighbours', 0 where these turn.

    At an end the slope of the parabola through three points, no steeper than keeps its interval
    monotone. In plain floats: five points are too few for arrays, and there are many smiles.
    """
    wide = np.diff(node).tolist()
    steep = (np.diff(value) / np.diff(node)).tolist()
    found = [_end(wide[0], wide[1], steep[0], steep[1])]
    for (h, one), (k, other) in pairwise(zip(wide, steep, strict=True)):
        near, far = 2.0 * k + h, k + 2.0 * h
        turns = one * other <= 0.0
        found.append(0.0 if turns else (near + far) / (near / one + far / other))
    return [*found, _end(wide[-1], wide[-2], steep[-1], steep[-2])]


def _end(h: float, k: float, one: float, other: float) -> float:
    slope = ((2.0 * h + k) * one - h * other) / (h + k)
    if slope * one <= 0.0:
        return 0.0
    if one * other < 0.0 and abs(slope) > abs(3.0 * one):
        return 3.0 * one
    return slope


def _cubic(node: Float64, value: Float64, slope: Sequence[float], x: Float64) -> Float64:
    """Hermite's cubic through values and slopes, at points between the first node and the last."""
    at = np.clip(np.searchsorted(node, x, side="right") - 1, 0, len(node) - 2)
    wide, left, right = (node[at + 1] - node[at]), value[at], value[at + 1]
    tangent = np.array(slope)
    s = (x - node[at]) / wide
    bent = tangent[at] * (1.0 - s) - tangent[at + 1] * s + (right - left) / wide * (2.0 * s - 1.0)
    return np.asarray(left + (right - left) * s + wide * s * (1.0 - s) * bent)


def listed_strikes(
    strip: Strip, *, reach: float = 2.5, per_deviation: float = 4.0
) -> list[Float64]:
    """Strikes that a venue would list, by expiry: round steps, about four a standard deviation.

    >>> flat = Strip(coin="BTC", as_of_ms=0, index=100.0, expiry_ms=np.array([YEAR_MS // 12]),
    ...              forward=np.array([100.0]), smile=np.full((1, 5), 0.6))
    >>> listed_strikes(flat, reach=0.5)[0].tolist()
    [92.5, 95.0, 97.5, 100.0, 102.5, 105.0, 107.5]
    """
    if strip.told:
        return [strikes for strikes, _ in strip.told]
    listed = []
    for forward, vol, years in zip(strip.forward, strip.smile[:, 2], strip.years, strict=True):
        wide = float(vol * np.sqrt(max(years, 1.0 / 365.0)))
        step = round_step(float(forward) * wide / per_deviation)
        low = int(np.ceil(forward * np.exp(-reach * wide) / step - 1e-9))
        high = int(np.floor(forward * np.exp(reach * wide) / step + 1e-9))
        listed.append(np.round(np.arange(max(low, 1), high + 1) * step, 8))
    return listed


def round_step(wanted: float) -> float:
    """The next of 1, 2.5, 5 times a power of ten at or below.

    >>> [round_step(x) for x in (730.0, 26.0, 0.009)]
    [500.0, 25.0, 0.005]
    """
    check(wanted > 0.0, "a step is positive", wanted)
    power = 10.0 ** np.floor(np.log10(wanted) + 1e-12)
    for factor in (5.0, 2.5):
        if factor * power <= wanted * (1 + 1e-12):
            return float(round(factor * power, 10))
    return float(round(power, 10))
