"""A coin's market at one moment as numbers: index, forwards, and five points of each smile.

A history of option markets is kept this way, since whole chains of every day are not to be had.
A smile goes through the volatilities told at put 10 and 25 delta, at the money, call 25 and 10
delta, linear in x = ln(K/F) / (σ_atm·√T). Beyond the 10-delta points it goes on with their slope
to |x| = 3 and is flat from there, and it is never below a fifth of the volatility at the money.
How near this comes to whole chains is measured in docs/backtest.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from solvent.errors import check
from solvent.units import YEAR_MS, Float64

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
    """

    coin: str
    as_of_ms: int
    index: float
    expiry_ms: Int64
    forward: Float64
    smile: Float64
    told: tuple[tuple[Float64, Float64], ...] = ()

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
    [0.5, 0.898]
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
    vol = np.interp(inside, node, smile)
    left = smile[0] + (inside - node[0]) * (smile[1] - smile[0]) / (node[1] - node[0])
    right = smile[4] + (inside - node[4]) * (smile[4] - smile[3]) / (node[4] - node[3])
    vol = np.where(inside < node[0], left, np.where(inside > node[4], right, vol))
    return np.asarray(np.maximum(vol, VOL_OF_ATM_MIN * smile[2]))


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
