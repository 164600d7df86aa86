"""Margin models of one return series: what a long position of size 1 must post for the next day.

The smallest court: no chains, no portfolios, one series. It is where a model's character shows
(coverage, procyclicality, its answer to a step) and what the literature's tables are made of. The
margin of day t uses returns to t − 1; a breach is a return below minus the margin.

Volatility is an EWMA or that of a window; the quantile is the normal law's, or that of the last
returns, plain (`hs`) or each divided by its own day's volatility and multiplied by today's (`fhs`,
Hull and White 1998). Anti-procyclical tools of `scenarios.anti_procyclical` are applied to the
margin. A quantile is the smallest return with at least 1 − coverage of all at or below it.
"""

from __future__ import annotations

import csv
import gzip
import math
from dataclasses import dataclass, field
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import ArrayLike

from solvent.errors import BadInput, MissingExtra, Problem, Reject
from solvent.portable import normal_quantile
from solvent.scenarios.anti_procyclical import Buffer, Chain, Floor, Speed, StressedWeight
from solvent.scenarios.volatility import ewma
from solvent.units import Float64

Quantile = Literal["normal", "hs", "fhs"]
WARM_UP: Final = 50
"""First returns, whose variance starts an EWMA."""
LONG_RUN_DAYS: Final = 2_500
"""Ten years of a market that keeps business days."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesModel:
    """A model of one series.

    Attributes:
        name: what tables call it.
        quantile: of which law the margin is a quantile.
        decay: of an EWMA volatility, a step; None: that of the last `window` returns.
        window: returns in a historical quantile, and in a volatility without a decay.
        coverage: what share of days the margin should cover.
        tools: applied to the margin. A tool may be told `long_run`: the normal quantile times the
            standard deviation of up to ten years of returns.
    """

    name: str
    quantile: Quantile = "fhs"
    decay: float | None = 0.97
    window: int = 500
    coverage: float = 0.99
    tools: Chain = field(default_factory=Chain)

    @property
    def first(self) -> int:
        """Returns that must have passed before there is a margin."""
        return self.window


def series_margins(model: SeriesModel, returns: ArrayLike) -> Float64:
    """Margins [day] of a long position: entry t is known before return t, the last one after all.

    Entries before the model's first are 0. Raises BadInput for too little history, a return that is
    not finite, or a margin that is not above 0 (a constant series).
    """
    r = np.asarray(returns, dtype=np.float64)
    if r.ndim != 1 or not bool(np.isfinite(r).all()):
        raise _bad("finite returns in order of time", f"an array of shape {r.shape}")
    if len(r) < max(model.first, WARM_UP):
        raise _bad(f"{max(model.first, WARM_UP)} returns or more", str(len(r)))
    days = range(model.first, len(r) + 1)
    raw = _raw(model, r, days)
    if not bool((raw > 0.0).all()):
        day = model.first + int((raw <= 0.0).argmax())
        raise _bad("margins above 0", f"{raw.min():.6g} on day {day} of {model.name!r}")
    wanted = any(getattr(tool, "told", None) == "long_run" for tool in model.tools.tools)
    told = {"long_run": _long_run(model, r, days)} if wanted else None
    steady = model.tools.follow(raw.tolist(), told=told)
    return np.concatenate([np.zeros(model.first), steady])


def _raw(model: SeriesModel, r: Float64, days: range) -> Float64:
    window, z = model.window, float(normal_quantile(model.coverage))
    if model.decay is None:
        vol = np.array([r[day - window : day].std() for day in days])
    else:
        vol = _ewma_vol(r, model.decay)[days.start :]
    if model.quantile == "normal":
        return np.asarray(z * vol)
    place = math.ceil((1.0 - model.coverage) * window - 1e-9) - 1
    if model.quantile == "hs":
        return np.asarray(-_order_statistic(r, window, place))
    if model.decay is None:
        raise _bad("a decay, as fhs divides by each day's volatility", "none")
    daily = _ewma_vol(r, model.decay)
    if not bool((daily[:-1] > 0.0).all()):
        raise _bad("a volatility above 0 on every day", "a series that does not move")
    return np.asarray(-_order_statistic(r / daily[:-1], window, place) * vol)


def _ewma_vol(r: Float64, decay: float) -> Float64:
    """Volatility before each return and after the last."""
    first = float(r[:WARM_UP].var())
    variance = [first, *ewma(r.tolist(), decay=decay, first=first)]
    return np.asarray(np.sqrt(variance), dtype=np.float64)


def _order_statistic(values: Float64, window: int, place: int) -> Float64:
    """The value of a rank, from 0, among each stretch of `window` values."""
    stretches = np.lib.stride_tricks.sliding_window_view(values, window)
    return np.asarray(np.partition(stretches, place, axis=1)[:, place], dtype=np.float64)


def _long_run(model: SeriesModel, r: Float64, days: range) -> list[float]:
    z = float(normal_quantile(model.coverage))
    return [z * float(r[max(0, day - LONG_RUN_DAYS) : day].std()) for day in days]


# ── a table of models ────────────────────────────────────────────────────────────────────────────


def _models() -> tuple[SeriesModel, ...]:
    return (
        SeriesModel(name="normal, 500d equal-weight sd", quantile="normal", decay=None),
        *(
            SeriesModel(name=f"normal, EWMA {decay:g}", quantile="normal", decay=decay)
            for decay in (0.94, 0.97, 0.99, 0.995)
        ),
        *(SeriesModel(name=f"HS VaR {n}d", quantile="hs", decay=None, window=n)
          for n in (500, 1000)),
        *(SeriesModel(name=f"FHS 500d, EWMA {decay:g}", decay=decay)
          for decay in (0.94, 0.97, 0.99)),
        SeriesModel(name="base + 10y floor", tools=Chain((Floor(told="long_run"),))),
        SeriesModel(name="base, 25% weight worst-to-date", tools=Chain((StressedWeight(),))),
        SeriesModel(name="base, 25% exhaustible buffer", tools=Chain((Buffer(),))),
        SeriesModel(
            name="base, speed limit +10%/-2% per day",
            tools=Chain((Speed(up=0.10, down=0.02),)),
        ),
        SeriesModel(
            name="FHS .99, 10y floor, speed +10%/-1%",
            decay=0.99,
            tools=Chain((Floor(told="long_run"), Speed(up=0.10, down=0.01))),
        ),
    )  # fmt: skip


MODELS: Final = {model.name: model for model in _models()}
"""The models of the reference table by name; `base` is fhs of 500 days with an EWMA of 0.97."""


def sp500_returns() -> tuple[Float64, tuple[date, ...]]:
    """Log returns of the S&P 500, 1999-2018, with their days, from the package `arch`.

    Its file is read where it lies: importing the package takes seconds. Raises MissingExtra
    without it.
    """
    found = find_spec("arch")
    if found is None or found.origin is None:
        raise MissingExtra(feature="the S&P 500's history", extra="models")
    path = Path(found.origin).parent / "data" / "sp500" / "sp500.csv.gz"
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        rows = [(row["Date"], float(row["Adj Close"])) for row in csv.DictReader(file)]
    returns = np.diff(np.log(np.array([price for _, price in rows])))
    days = [tuple(map(int, day.split("/"))) for day, _ in rows[1:]]
    return returns, tuple(date(year, month, day) for month, day, year in days)


def _bad(expected: str, found: str) -> BadInput:
    return BadInput(
        Problem(code=Reject.INPUT_INVALID, source="series model", expected=expected, found=found)
    )
