"""How a margin runs after the market: what it does to a constant portfolio through time.

Everything is told on a *rate* (margin over size) of a portfolio that does not change, so what moves
is the model. Measures after Murphy, Vasios and Vause, "An investigation into the procyclicality of
risk-based initial margin models" (Bank of England FSP 29, 2014), and the impulse response of
Gurrola-Perez and Murphy: feed a step of volatility, look at the curve.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from solvent.errors import BadInput, Problem, Reject
from solvent.portable import normal_quantile
from solvent.units import DAY_MS, Float64

Int64 = NDArray[np.int64]
SPANS_DAYS: Final = (1, 5, 20, 30)
CALL_DAYS: Final = 5
"""Over how many days a call is told against the mean margin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Procyclicality:
    """Measures of one series of margin rates.

    Attributes:
        observations: rates in the series. mean: their mean.
        peak_to_trough: largest over smallest; None where a rate is 0, and `why`.
        rises: days n → largest rate over the rate n days before; without the spans that the series
            does not reach.
        sd_log_changes: standard deviation of ln(rate / the one before).
        largest_call: largest rise over 5 days, over the mean rate.
        why: what could not be told.
    """

    observations: int
    mean: float
    peak_to_trough: float | None
    rises: dict[int, float]
    sd_log_changes: float | None
    largest_call: float | None
    why: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return {
            "observations": self.observations,
            "mean": self.mean,
            "peak_to_trough": self.peak_to_trough,
            "rises": {str(days): rise for days, rise in self.rises.items()},
            "sd_log_changes": self.sd_log_changes,
            "largest_call": self.largest_call,
            "why": self.why,
        }


def procyclicality(
    rate: ArrayLike, *, time_ms: Int64 | None = None, spans: Sequence[int] = SPANS_DAYS
) -> Procyclicality:
    """Measures of a series; a rate a day, or at `time_ms` (ascending).

    Where times are told, the rate of n days later is the last one told by then. Rises are at least
    what the smallest ratio found is, so a series that only falls has rises below 1.

    >>> found = procyclicality([0.10, 0.11, 0.22, 0.20], spans=(1, 2))
    >>> round(found.peak_to_trough, 9), {n: round(rise, 9) for n, rise in found.rises.items()}
    (2.2, {1: 2.0, 2: 2.2})
    """
    rates = np.asarray(rate, dtype=np.float64)
    if rates.ndim != 1 or not bool((np.isfinite(rates) & (rates >= 0.0)).all()):
        raise _bad("rates of 0 or more, in order of time", f"an array of shape {rates.shape}")
    if len(rates) == 0:
        return Procyclicality(
            observations=0, mean=0.0, peak_to_trough=None, rises={}, sd_log_changes=None,
            largest_call=None, why="no observation",
        )  # fmt: skip
    days = np.arange(len(rates)) * DAY_MS if time_ms is None else np.asarray(time_ms)
    if len(days) != len(rates) or bool((np.diff(days) <= 0).any()):
        raise _bad("a time a rate, ascending", f"{len(days)} times for {len(rates)} rates")
    nothing = int((rates == 0.0).sum())
    mean = math.fsum(rates.tolist()) / len(rates)
    if nothing:
        return Procyclicality(
            observations=len(rates), mean=mean, peak_to_trough=None, rises={}, sd_log_changes=None,
            largest_call=_largest_call(rates, days, mean),
            why=f"the margin is 0 on {nothing} of {len(rates)}",
        )  # fmt: skip
    changes = np.diff(np.log(rates))
    rises = {span: rise for span in spans if (rise := _rise(rates, days, span)) is not None}
    return Procyclicality(
        observations=len(rates),
        mean=mean,
        peak_to_trough=float(rates.max() / rates.min()),
        rises=rises,
        sd_log_changes=float(changes.std()) if len(changes) else None,
        largest_call=_largest_call(rates, days, mean),
        why="" if len(rates) > 1 else "one observation",
    )


def _pairs(times: Int64, days: int) -> tuple[Int64, Int64]:
    """Every observation and the last one within so many days after it, where there is one."""
    before = np.arange(len(times))
    after = np.searchsorted(times, times + days * DAY_MS, side="right") - 1
    # Where the series ends before so many days have passed there is no pair.
    kept = (after > before) & (times + days * DAY_MS <= times[-1])
    return before[kept], after[kept]


def _rise(rates: Float64, times: Int64, days: int) -> float | None:
    before, after = _pairs(times, days)
    return float((rates[after] / rates[before]).max()) if len(before) else None


def _largest_call(rates: Float64, times: Int64, mean: float) -> float | None:
    before, after = _pairs(times, CALL_DAYS)
    if not len(before) or mean == 0.0:
        return None
    return float((rates[after] - rates[before]).max() / mean)


def cost(rate: ArrayLike, benchmark: ArrayLike) -> float | None:
    """Mean rate over the benchmark's, of the same observations; None where the benchmark is 0.

    >>> cost([0.5, 1.0], [0.5, 0.5])
    1.5
    """
    one, other = np.asarray(rate, dtype=np.float64), np.asarray(benchmark, dtype=np.float64)
    if one.shape != other.shape:
        raise _bad("a benchmark of the same observations", f"{one.shape} and {other.shape}")
    below = math.fsum(other.tolist())
    return math.fsum(one.tolist()) / below if below > 0.0 else None


# ── a step of volatility ─────────────────────────────────────────────────────────────────────────

Model = Callable[[Float64], Float64]
"""Returns [day] to margin rates [day + 1]: element t is known after return t − 1, the last one is
for the day to come. A model starts when it can; what comes before is 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """A margin's answer to a step of volatility.

    Attributes:
        rate: [day] from `before` days ahead of the step's first return; day `before` is the first
            that could know of it.
        start, end: mean rate before the step, and over the last tenth of the days after.
        step: how much volatility rose.
        peak: largest rate after the step, over `end`: above 1 the model overshoots.
        half_days: days until half of the way from start to end was gone; None where it never was.
        largest_rise: largest rate over the one of the day before, after the step.
    """

    rate: Float64
    before: int
    start: float
    end: float
    step: float
    peak: float
    half_days: int | None
    largest_rise: float


def step_returns(*, low: float, high: float, before: int, after: int) -> Float64:
    """Returns whose volatility steps from low to high: normal quantiles in an even order.

    The order is van der Corput's, so that any stretch of days holds tails and centre alike, and a
    response shows the model and not the luck of a draw.
    """
    if not (low > 0.0 and high > 0.0 and before > 0 and after > 0):
        raise _bad("volatilities and days above 0", str((low, high, before, after)))
    place = np.array([_van_der_corput(n + 1) for n in range(before + after)])
    # The sequence avoids 0 and 1; symmetric, so that its mean is near 0 over every power of two.
    normal = np.asarray(normal_quantile(place), dtype=np.float64)
    return np.concatenate([low * normal[:before], high * normal[before:]])


def _van_der_corput(n: int) -> float:
    """Binary digits of n mirrored at the point: 1/2, 1/4, 3/4, 1/8 …"""
    place, weight = 0.0, 0.5
    while n:
        place += weight * (n & 1)
        n, weight = n >> 1, weight / 2.0
    return place


def impulse_response(
    model: Model, *, low: float, high: float, before: int, after: int, shown: int = 60
) -> Response:
    """Feed a model a step of volatility and measure its margin's curve.

    `before` returns let it settle, of which the last `shown` are told.

    >>> def sd(returns):   # margin: standard deviation of the last 64 returns
    ...     return np.array([returns[max(0, t - 64):t].std() for t in range(1, len(returns) + 1)])
    >>> found = impulse_response(lambda r: np.append(0.01, sd(r)),
    ...                          low=0.01, high=0.02, before=128, after=128)
    >>> round(found.end / found.start, 1), 20 < found.half_days < 32
    (2.0, True)
    """
    returns = step_returns(low=low, high=high, before=before, after=after)
    rates = np.asarray(model(returns), dtype=np.float64)
    if len(rates) != len(returns) + 1:
        raise _bad(f"{len(returns) + 1} rates from the model", str(len(rates)))
    first = max(0, before + 1 - min(shown, before))
    settled, then = rates[first : before + 1], rates[before + 1 :]
    if not bool((settled > 0.0).all() and (then > 0.0).all()):
        raise _bad("a model that has margins by the step", "a margin of 0")
    start = float(settled.mean())
    end = float(then[-max(1, len(then) // 10) :].mean())
    half = start + 0.5 * (end - start)
    there = np.flatnonzero(then >= half if end >= start else then <= half)
    from_then = rates[before:]
    return Response(
        rate=rates[first:],
        before=before + 1 - first,
        start=start,
        end=end,
        step=high / low,
        peak=float(then.max()) / end,
        half_days=int(there[0]) + 1 if len(there) else None,
        largest_rise=float((from_then[1:] / from_then[:-1]).max()),
    )


def _bad(expected: str, found: str) -> BadInput:
    return BadInput(
        Problem(code=Reject.INPUT_INVALID, source="procyclicality", expected=expected, found=found)
    )
