"""What a rulebook says of a set of scenarios that is taken from history.

A spec is data: which stretch of history, over which margin period, scaled to which volatility, with
which weights, and what stands in where a coin has no history. `joint_shocks` carries it out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol, get_args

from solvent.errors import RulebookError
from solvent.limits import SCENARIOS_MAX, TIME_MS_MAX
from solvent.units import DAY_MS

HOUR_MS: Final = 3_600_000

Filter = Literal["none", "ewma", "garch"]
Returns = Literal["log", "relative"]
Weights = Literal["equal", "time", "volatility", "both"]
Residual = Literal["none", "bootstrap", "scaled"]
Missing = Literal["drop", "zero", "regress"]
Sticky = Literal["strike", "moneyness"]
Outliers = Literal["keep", "drop"]


class Tools(Protocol):
    """Anti-procyclical tools over a positive parameter, such as a volatility."""

    def follow(self, raw: Sequence[float], /) -> Sequence[float]:
        """Daily values after the tools; the value of a day depends on no later day."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A period of history: scenarios whose window ends in (start_ms, end_ms]."""

    start_ms: int
    end_ms: int

    def __post_init__(self) -> None:
        _need(
            0 <= self.start_ms < self.end_ms <= TIME_MS_MAX,
            "windows", "a start before its end", (self.start_ms, self.end_ms),
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """What stands in for a coin where it has no history.

    Its move is Σ beta·(move of a factor) and a residual. With no beta told, betas are least squares
    of standardised returns over the days that all have; a beta told is of the returns themselves.

    Attributes:
        name: the coin.
        factors: the coins that it is explained by, such as BTC and ETH.
        beta: one a factor; empty: estimated from what history the coin has.
        residual: `bootstrap` draws from the coin's own residuals; `scaled` draws from the factors'
            part of other days, scaled to the residual's size; `none` leaves it out.
        residual_ratio: of a coin with betas told, the residual's deviation over that of the
            factors' part; 0 has no residual.
        overlap_min: windows that an estimate needs at least.
    """

    name: str
    factors: tuple[str, ...]
    beta: tuple[float, ...] = ()
    residual: Residual = "bootstrap"
    residual_ratio: float = 0.0
    overlap_min: int = 60

    def __post_init__(self) -> None:
        key = f"proxies.{self.name}"
        _need(self.residual in get_args(Residual), key, _one_of(Residual), self.residual)
        distinct = len(set(self.factors)) == len(self.factors) > 0
        _need(distinct and self.name not in self.factors, key, "other coins, once", self.factors)
        told = len(self.beta) in (0, len(self.factors)) and all(map(math.isfinite, self.beta))
        _need(told, key, "a beta a factor, or none", self.beta)
        _need(0.0 <= self.residual_ratio < math.inf, key, "a ratio of 0 or more",
              self.residual_ratio)  # fmt: skip
        needed = max(10, 2 * len(self.factors) + 2)
        _need(self.overlap_min >= needed, key, f"{needed} windows or more", self.overlap_min)


@dataclass(frozen=True, slots=True, kw_only=True)
class HistorySpec:
    """A set of scenarios from history. Hours and days are of the clock: crypto has no weekends.

    Attributes:
        underlyings: names, in the order of the rows; empty: all of the series whose history
            carries a set (one that does not is left out with a note, one that is listed an error).
        mpor_hours: margin period of risk: what a scenario spans.
        step_hours: distance of the points that history is laid on; volatility is told by returns
            of one step. Divides `mpor_hours`.
        every_hours: a window begins every so many hours; None: every step (overlapping);
            `mpor_hours`: side by side.
        phase_hours: hours after midnight UTC at which a point stands.
        lookback_days: windows that end in so many days up to the date.
        windows: instead of a look-back: windows that end in these periods (a stressed set).
        stressed_days: instead of a look-back: the stretch of so many days, of all history up to
            the date, in which returns were largest. 0: none.
        returns: `log` returns ln(P₁/P₀) or `relative` ones P₁/P₀ − 1, which are what is scaled.
        scaled: returns of one step times √(mpor/step) instead of returns over the whole period.
        centred: the mean over the set is taken off.
        mirrored: every scenario also with the other sign.
        filter: returns are divided by their own day's volatility and multiplied by today's.
            `ewma` σ² ← λσ² + (1−λ)r²; `garch` GARCH(1,1), refitted every `refit_days` on the last
            `fit_days`. `none` leaves them.
        decay: λ of a day; a step's is λ^(step/24 h).
        burn_in_days: first days of history that only start a filter's variance.
        ratio_max, ratio_min: bounds of today's volatility over that of a scenario's own day.
        refit_days, fit_days: of `garch`.
        tools: anti-procyclical tools through which each coin's volatility of today goes.
        correlation: scenarios are de-correlated with the history's own correlation and
            re-correlated with today's, an EWMA with decay `correlation_decay` a day.
        weights: `equal`; `time`: halving every `half_life_days`; `volatility`: normal kernel of
            width `vol_bandwidth` in ln(today's volatility / that day's); `both`: their product.
        surfaces: moves of level, skew and term are taken as well.
        surface_missing: where a window has no surface: `drop`, it is left out; `zero`, no move;
            `regress`, the move that goes with the window's return, and a residual drawn from the
            windows that have one. A coin that never had one has no move.
        sticky: what a volatility belongs to in the history: its `strike`, as JointShocks means it,
            or its `moneyness`.
        basis: shifts of the annualised log basis are taken as well; 0 where there is none.
        proxies: what stands in for coins with too little history.
        gap_hours_max: a price stands for so long where none is told; beyond, the windows that
            begin or end there are left out.
        surface_gap_hours_max: the same of a surface.
        outliers: returns beyond `outlier_deviations` robust deviations are told; `drop` also
            leaves out windows that hold one (in crypto they are real: `keep`).
        min_observations: scenarios that there must be at least.
        seed: of residuals that are drawn.
    """

    underlyings: tuple[str, ...] = ()
    mpor_hours: float = 24.0
    step_hours: float = 24.0
    every_hours: float | None = None
    phase_hours: float = 0.0
    lookback_days: float = 750.0
    windows: tuple[Window, ...] = ()
    stressed_days: float = 0.0
    returns: Returns = "log"
    scaled: bool = False
    centred: bool = False
    mirrored: bool = False
    filter: Filter = "ewma"
    decay: float = 0.99
    burn_in_days: float = 30.0
    ratio_max: float = math.inf
    ratio_min: float = 0.0
    refit_days: float = 30.0
    fit_days: float = 1_500.0
    tools: Tools | None = None
    correlation: bool = False
    correlation_decay: float = 0.99
    weights: Weights = "equal"
    half_life_days: float = 250.0
    vol_bandwidth: float = 0.5
    surfaces: bool = False
    surface_missing: Missing = "regress"
    sticky: Sticky = "strike"
    basis: bool = False
    proxies: tuple[Proxy, ...] = ()
    gap_hours_max: float = 24.0
    surface_gap_hours_max: float = 24.0
    outliers: Outliers = "keep"
    outlier_deviations: float = 12.0
    min_observations: int = 250
    seed: int = 0

    def __post_init__(self) -> None:
        for key, choices in _CHOICES.items():
            _need(getattr(self, key) in get_args(choices), key, _one_of(choices),
                  getattr(self, key))  # fmt: skip
        for key, (low, high, words) in _RANGES.items():
            seen = getattr(self, key)
            _need(low < seen < high, key, words, seen)
        for key in ("mpor_hours", "every_hours"):
            told = getattr(self, key)
            whole = (self.step_hours if told is None else told) / self.step_hours
            fits = whole >= 1.0 and whole == int(whole)
            _need(fits, key, "a whole number of steps", told)
        steps_ms = self.step_hours * HOUR_MS
        _need(steps_ms == int(steps_ms), "step_hours", "whole milliseconds", self.step_hours)
        bounds = (self.ratio_min, self.ratio_max)
        _need(bounds[0] <= 1.0 <= bounds[1], "ratio_max", "ratio_min ≤ 1 ≤ ratio_max", bounds)
        _need(not (self.windows and self.stressed_days), "windows",
              "periods or stressed_days, not both", self.stressed_days)  # fmt: skip
        _need(self.tools is None or self.filter != "none", "tools", "a filter that they act on",
              self.filter)  # fmt: skip
        for key in ("underlyings", "proxies"):
            coins = [getattr(one, "name", one) for one in getattr(self, key)]
            _need(len(set(coins)) == len(coins), key, "each coin once", coins)
        proxied = {proxy.name for proxy in self.proxies}
        second = [proxy.name for proxy in self.proxies if proxied & set(proxy.factors)]
        _need(not second, "proxies", "factors that need no proxy themselves", second)
        self._check_size()

    def _check_size(self) -> None:
        days = self.stressed_days or self.lookback_days
        if self.windows:
            days = sum(one.end_ms - one.start_ms for one in self.windows) / DAY_MS
        size = days * 24.0 / (self.every_hours or self.step_hours) * (1 + self.mirrored)
        _need(size <= SCENARIOS_MAX, "every_hours", f"at most {SCENARIOS_MAX} windows", int(size))

    @property
    def step_ms(self) -> int:
        """Distance of two points of history."""
        return round(self.step_hours * HOUR_MS)

    @property
    def span_steps(self) -> int:
        """Steps that the return of a scenario is taken over: 1 where it is scaled up."""
        return 1 if self.scaled else round(self.mpor_hours / self.step_hours)

    @property
    def every_steps(self) -> int:
        """Steps from the end of a window to the end of the next."""
        return round((self.every_hours or self.step_hours) / self.step_hours)

    @property
    def stand_ins(self) -> tuple[Proxy, ...]:
        """Proxies of coins that are among the set's."""
        return tuple(
            one for one in self.proxies if not self.underlyings or one.name in self.underlyings
        )

    @property
    def overlapping(self) -> bool:
        """Whether two windows share a step."""
        return self.every_steps < self.span_steps

    @property
    def name(self) -> str:
        """What its set is called.

        >>> HistorySpec(lookback_days=750, mpor_hours=24).name
        'fhs-ewma-750d-24h'
        """
        kind = "hs" if self.filter == "none" else f"fhs-{self.filter}"
        reach = f"{self.lookback_days:g}d"
        if self.stressed_days:
            reach = f"stressed-{self.stressed_days:g}d"
        if self.windows:
            reach = f"stressed-{len(self.windows)}"
        return f"{kind}-{reach}-{self.mpor_hours:g}h"


_CHOICES: Final = {
    "returns": Returns, "filter": Filter, "weights": Weights, "surface_missing": Missing,
    "sticky": Sticky, "outliers": Outliers,
}  # fmt: skip
_ABOVE_0: Final = (0.0, math.inf, "a number above 0")
_FROM_0: Final = (-1e-300, math.inf, "0 or more")
_SHARE: Final = (0.0, 1.0, "between 0 and 1")
_RANGES: Final = {
    **dict.fromkeys(
        ("mpor_hours", "step_hours", "lookback_days", "refit_days", "fit_days", "half_life_days",
         "vol_bandwidth", "outlier_deviations"), _ABOVE_0),
    **dict.fromkeys(
        ("stressed_days", "burn_in_days", "gap_hours_max", "surface_gap_hours_max", "ratio_min"),
        _FROM_0),
    "phase_hours": (-1e-300, 24.0, "from 0 to below 24"),
    "decay": _SHARE,
    "correlation_decay": _SHARE,
    "min_observations": (0, SCENARIOS_MAX + 1, "a count"),
}  # fmt: skip


def _one_of(choices: object) -> str:
    return f"one of {', '.join(get_args(choices))}"


def _need(holds: bool, key: str, expected: str, found: object) -> None:
    if not holds:
        raise RulebookError(f"history.{key}: expected {expected}, found {found!r}")
