"""Laws of returns that jump: a diffusion, and jumps that come at random (Merton 1976, Kou 2002).

A log return over t years is N(`drift`·t, `vol`²·t) plus a Poisson(`jumps_per_year`·t) number of
jumps. Merton's jumps are normal; Kou's are exponential, up with probability p and mean 1/η₁, else
down with mean 1/η₂. `drift` is the mean of the diffusion alone, as a history shows it; under a
pricing measure it follows from the jumps, and `characteristic` ignores it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike
from scipy.interpolate import CubicSpline
from scipy.special import gammaln, ndtr, ndtri

from solvent.errors import check
from solvent.pricing.transforms import Heston, Kou, Svcj
from solvent.units import Float64

_TAIL: Final = 1e-10
"""Below this part of its peak an inverted density is rounding noise: it is continued."""
_POINTS: Final = 1 << 13
_SPREADS: Final = 12.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MertonLaw:
    """Normal jumps of log size N(`log_jump`, `log_jump_sd`²). All rates are per year."""

    drift: float
    vol: float
    jumps_per_year: float
    log_jump: float
    log_jump_sd: float

    def __post_init__(self) -> None:
        _check_law(self.drift, self.vol, self.jumps_per_year)
        check(math.isfinite(self.log_jump) and self.log_jump_sd > 0.0, "jumps have a spread")

    @property
    def characteristic(self) -> Svcj:
        """The pricing law: Merton's is SVCJ whose variance stays."""
        still = Heston(kappa=1.0, theta=self.vol**2, sigma=0.0, rho=0.0, v0=self.vol**2)
        return Svcj(
            heston=still, jumps_per_year=self.jumps_per_year, log_jump=self.log_jump,
            log_jump_sd=self.log_jump_sd,
        )  # fmt: skip

    @property
    def variance_per_year(self) -> float:
        """Of the log return, jumps included."""
        return self.vol**2 + self.jumps_per_year * (self.log_jump**2 + self.log_jump_sd**2)

    def size_cdf(self, size: ArrayLike) -> Float64:
        """P(log jump ≤ size)."""
        x = np.asarray(size, dtype=np.float64)
        return np.asarray(ndtr((x - self.log_jump) / self.log_jump_sd))

    def size_quantile(self, probability: ArrayLike) -> Float64:
        """The log jump that a share of jumps stay at or below.

        >>> law = MertonLaw(drift=0.0, vol=0.6, jumps_per_year=10.0, log_jump=-0.02,
        ...                 log_jump_sd=0.1)
        >>> round(float(law.size_quantile(0.01)), 4)
        -0.2526
        """
        p = np.asarray(probability, dtype=np.float64)
        return np.asarray(self.log_jump + self.log_jump_sd * ndtri(p))

    def beyond(self, threshold: float, share: float) -> float:
        """Signed log move that a share of the jumps beyond a threshold stay within."""
        if threshold > 0.0:
            past = 1.0 - float(self.size_cdf(threshold))
            return max(threshold, float(self.size_quantile(1.0 - past * (1.0 - share))))
        past = float(self.size_cdf(threshold))
        return min(threshold, float(self.size_quantile(max(past * (1.0 - share), 1e-300))))

    def log_density(self, returns: ArrayLike, years: float) -> Float64:
        """Logarithm of the density of a log return over `years`: a sum of normals, none negative.

        >>> law = MertonLaw(drift=0.0, vol=1.0, jumps_per_year=0.0, log_jump=0.0, log_jump_sd=1.0)
        >>> round(float(law.log_density(0.0, 1.0)), 6)
        -0.918939
        """
        x = np.asarray(returns, dtype=np.float64)
        mean = self.jumps_per_year * years
        n = np.arange(math.ceil(mean + 8.0 * math.sqrt(mean) + 6.0) + 1.0)
        variance = self.vol**2 * years + n * self.log_jump_sd**2
        log_weight = n * math.log(max(mean, 1e-300)) - mean - gammaln(n + 1.0)
        log_weight = np.where(n == 0.0, -mean, log_weight)
        off = x[..., None] - self.drift * years - n * self.log_jump
        parts = log_weight - 0.5 * (np.log(2.0 * math.pi * variance) + off * off / variance)
        most = parts.max(axis=-1, keepdims=True)
        return np.asarray(most[..., 0] + np.log(np.exp(parts - most).sum(axis=-1)))


@dataclass(frozen=True, slots=True, kw_only=True)
class KouLaw:
    """Exponential jumps: up with `up_probability` and mean 1/`up_rate`, else down."""

    drift: float
    vol: float
    jumps_per_year: float
    up_probability: float
    up_rate: float
    down_rate: float

    def __post_init__(self) -> None:
        _check_law(self.drift, self.vol, self.jumps_per_year)
        check(0.0 <= self.up_probability <= 1.0, "a probability", self.up_probability)
        check(self.up_rate > 1.0 and self.down_rate > 0.0, "jumps have a mean", self)

    @property
    def characteristic(self) -> Kou:
        """The pricing law."""
        return Kou(
            sigma=self.vol, jumps_per_year=self.jumps_per_year,
            up_probability=self.up_probability, up_rate=self.up_rate, down_rate=self.down_rate,
        )  # fmt: skip

    @property
    def variance_per_year(self) -> float:
        """Of the log return, jumps included."""
        p = self.up_probability
        square = 2.0 * (p / self.up_rate**2 + (1.0 - p) / self.down_rate**2)
        return self.vol**2 + self.jumps_per_year * square

    def size_cdf(self, size: ArrayLike) -> Float64:
        """P(log jump ≤ size)."""
        x, p = np.asarray(size, dtype=np.float64), self.up_probability
        down = (1.0 - p) * np.exp(self.down_rate * np.minimum(x, 0.0))
        up = p * -np.expm1(-self.up_rate * np.maximum(x, 0.0))
        return np.asarray(down + up)

    def size_quantile(self, probability: ArrayLike) -> Float64:
        """The log jump that a share of jumps stay at or below.

        >>> law = KouLaw(drift=0.0, vol=0.6, jumps_per_year=10.0, up_probability=0.5,
        ...              up_rate=20.0, down_rate=10.0)
        >>> [round(float(x), 4) for x in law.size_quantile([0.05, 0.5, 0.95])]
        [-0.2303, 0.0, 0.1151]
        """
        q, p = np.asarray(probability, dtype=np.float64), self.up_probability
        with np.errstate(divide="ignore", invalid="ignore"):
            down = np.log(q / (1.0 - p)) / self.down_rate
            up = -np.log((1.0 - q) / p) / self.up_rate
        return np.where(q <= 1.0 - p, np.minimum(down, 0.0), np.maximum(up, 0.0))

    def beyond(self, threshold: float, share: float) -> float:
        """Signed log move that a share of the jumps beyond a threshold stay within.

        Exponential jumps forget: threshold ± ln(1/(1 − share))/η.

        >>> law = KouLaw(drift=0.0, vol=0.6, jumps_per_year=10.0, up_probability=0.5,
        ...              up_rate=20.0, down_rate=10.0)
        >>> round(law.beyond(-0.15, 0.99), 4)
        -0.6105
        """
        check(0.0 <= share < 1.0, "a share below 1", share)
        rate = self.up_rate if threshold > 0.0 else self.down_rate
        return threshold + math.copysign(-math.log1p(-share) / rate, threshold)

    def log_density(self, returns: ArrayLike, years: float) -> Float64:
        """Logarithm of the density of a log return over `years`, by inverting the characteristic.

        The inverse is a sum over a period wide enough for every return; where it falls to rounding
        noise it goes on with the slope of the exponential tail.
        """
        x = np.asarray(returns, dtype=np.float64)
        spread = math.sqrt(self.variance_per_year * years)
        reach = float(np.abs(x - self.drift * years).max(initial=0.0))
        tails = 30.0 / min(self.up_rate, self.down_rate)
        half = max(reach, _SPREADS * spread, tails) + _SPREADS * self.vol * math.sqrt(years)
        points = _POINTS
        while 2.0 * half / points > 0.3 * self.vol * math.sqrt(years) and points < 1 << 20:
            points *= 2
        grid, density = self._inverted(years, half, points)
        middle = int(density.argmax())
        small = density <= _TAIL * density[middle]
        low = int(np.flatnonzero(small[:middle])[-1]) + 1 if small[:middle].any() else 0
        right = np.flatnonzero(small[middle:])
        high = middle + int(right[0]) - 1 if right.size else points - 1
        spline = CubicSpline(grid[low : high + 1], np.log(density[low : high + 1]))
        inside = np.clip(x, grid[low], grid[high])
        past = np.maximum(x - grid[high], 0.0) * self.up_rate
        short = np.maximum(grid[low] - x, 0.0) * self.down_rate
        return np.asarray(spline(inside) - past - short)

    def _inverted(self, years: float, half: float, points: int) -> tuple[Float64, Float64]:
        """The density on a grid of one period −half … half around the drift."""
        step = 2.0 * half / points
        u = 2.0 * np.pi * np.fft.rfftfreq(points, d=step)
        p, e1, e2 = self.up_probability, self.up_rate, self.down_rate
        jump = p * e1 / (e1 - 1j * u) + (1.0 - p) * e2 / (e2 + 1j * u) - 1.0
        phi = np.exp(years * (self.jumps_per_year * jump - 0.5 * (self.vol * u) ** 2))
        density: Float64 = np.fft.fftshift(np.fft.irfft(np.conj(phi), n=points)) / step
        grid = (np.arange(points) - points // 2) * step + self.drift * years
        return np.asarray(grid, dtype=np.float64), density


def _check_law(drift: float, vol: float, jumps_per_year: float) -> None:
    check(math.isfinite(drift) and math.isfinite(vol) and vol > 0.0, "a diffusion moves", vol)
    check(math.isfinite(jumps_per_year) and jumps_per_year >= 0.0, "jumps come", jumps_per_year)
