"""Laws of jumps fitted to a history of log returns by maximum likelihood.

Several starts, bounds, standard errors from the curvature at the best. The unit of a return is set
aside during the search (everything is counted in the returns' robust spread), so that hours and
days search alike. What cannot be fitted is bad input; what can only be fitted without jumps says so
by a named note.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize
from scipy.stats import chi2

from solvent.errors import BadInput, Problem, Reject
from solvent.pricing.jump_laws import KouLaw, MertonLaw
from solvent.units import Float64

RETURNS_MIN: Final = 250
"""A law of rare things needs this many returns."""
_OUTLIER: Final = 30.0
_SIGNIFICANCE: Final = 0.01
_POLISHED: Final = 3
_PENALTY: Final = 1e10
_MAD: Final = 1.4826022185056018
JumpLaw = MertonLaw | KouLaw


class FitNote(StrEnum):
    """What is to be known about a fit."""

    NO_JUMPS = "no jumps: they do not fit significantly better; the law is a diffusion alone"
    AT_BOUND = "a parameter lies at its bound"
    NO_ERRORS = "no standard errors: the likelihood is flat or bent at its best"
    OUTLIERS = "returns beyond 30 robust standard deviations are inside; kept, as crises are real"
    ONE_RETURN = "one return alone carries more than half of the likelihood ratio"
    FEW_JUMPS = "fewer than five jumps are expected in the whole history"
    STARTS_DISAGREE = "starts that ended within the tolerance ended at other parameters"


@dataclass(frozen=True, slots=True, kw_only=True)
class JumpFit:
    """A fitted law and how good it is.

    Attributes:
        error: parameter → standard error, in the parameter's own unit; empty with NO_ERRORS.
        log_likelihood: of the law. diffusion: of a normal law of equal mean and variance.
        p_value: of no jumps (likelihood ratio, χ² of the added parameters: conservative, since
            under no jumps they are not identified).
        jump_share: part of the variance that is due to jumps.
    """

    law: JumpLaw
    error: dict[str, float]
    returns: int
    years_per_return: float
    log_likelihood: float
    diffusion: float
    p_value: float
    starts: int
    notes: tuple[FitNote, ...]

    @property
    def jump_share(self) -> float:
        """Part of the variance that is due to jumps."""
        return 1.0 - self.law.vol**2 / self.law.variance_per_year

    @property
    def bic(self) -> float:
        """Bayes's information criterion; less is better."""
        parameters = 5 if isinstance(self.law, MertonLaw) else 6
        return parameters * math.log(self.returns) - 2.0 * self.log_likelihood


def fit_merton(returns: ArrayLike, *, years_per_return: float) -> JumpFit:
    """Merton's law. Raises BadInput for a history that is too short, constant or no numbers.

    >>> import numpy as np
    >>> fit_merton(np.zeros(500), years_per_return=1 / 365)
    Traceback (most recent call last):
    ...
    solvent.errors.BadInput: returns: expected ... found 500 that hardly differ ...
    """
    return _fit(_Merton(), returns, years_per_return)


def fit_kou(returns: ArrayLike, *, years_per_return: float) -> JumpFit:
    """Kou's law; otherwise as `fit_merton`."""
    return _fit(_Kou(), returns, years_per_return)


class _Merton:
    """Coordinates, in spreads of one return: drift, ln vol, ln jumps a return, mean, ln sd."""

    names = ("drift", "vol", "jumps_per_year", "log_jump", "log_jump_sd")
    bounds = ((-5.0, 5.0), (-3.0, 1.5), (-9.0, 0.0), (-12.0, 12.0), (-2.0, 3.5))
    starts = tuple(
        (0.0, -0.2, rate, mean, size)
        for rate in (-4.5, -3.0, -1.5) for mean in (-1.0, 0.0) for size in (0.7, 1.4)
    )  # fmt: skip

    def law(self, x: Any, scale: float, years: float) -> JumpLaw:
        """The law at coordinates; `scale` is the spread of one return."""
        return MertonLaw(
            drift=float(x[0]) * scale / years, vol=math.exp(x[1]) * scale / math.sqrt(years),
            jumps_per_year=math.exp(x[2]) / years, log_jump=float(x[3]) * scale,
            log_jump_sd=math.exp(x[4]) * scale,
        )  # fmt: skip


class _Kou:
    """Coordinates: drift, ln vol, ln jumps a return, logit p, ln mean up, ln mean down."""

    names = ("drift", "vol", "jumps_per_year", "up_probability", "up_rate", "down_rate")
    bounds = ((-5.0, 5.0), (-3.0, 1.5), (-9.0, 0.0), (-4.0, 4.0), (-2.0, 3.0), (-2.0, 3.0))
    starts = tuple(
        (0.0, -0.3, rate, side, size, size)
        for rate in (-4.5, -3.0, -1.0) for side in (-0.7, 0.3) for size in (-0.2, 0.8)
    )  # fmt: skip

    def law(self, x: Any, scale: float, years: float) -> JumpLaw:
        """The law at coordinates, which the bounds keep a law."""
        return KouLaw(
            drift=float(x[0]) * scale / years, vol=math.exp(x[1]) * scale / math.sqrt(years),
            jumps_per_year=math.exp(x[2]) / years, up_probability=1.0 / (1.0 + math.exp(-x[3])),
            # An upward jump has a mean price only above a rate of 1.
            up_rate=max(math.exp(-x[4]) / scale, 1.0 + 1e-6), down_rate=math.exp(-x[5]) / scale,
        )  # fmt: skip


def _fit(kind: _Merton | _Kou, returns: ArrayLike, years: float) -> JumpFit:
    r = _gate(returns, years)
    scale = _spread(r)
    unlikely = _Unlikely(kind, r, scale, years)
    ranked = sorted(kind.starts, key=unlikely)[:_POLISHED]
    ends = [_polished(unlikely, start, kind.bounds) for start in ranked]
    best = min(ends, key=lambda end: float(end.fun))
    best.x = np.asarray(best.x, dtype=np.float64)
    if not math.isfinite(best.fun) or best.fun >= _PENALTY:
        raise BadInput(_problem("a likelihood that can be searched", "none at any start"))
    law = kind.law(best.x, scale, years)
    diffusion = _normal_log_likelihood(r)
    likelihood = -float(best.fun) - len(r) * math.log(scale)
    ratio = max(0.0, 2.0 * (likelihood - diffusion))
    p_value = float(chi2.sf(ratio, len(kind.names) - 2))
    told = JumpFit(
        law=law, error={}, returns=len(r), years_per_return=years, log_likelihood=likelihood,
        diffusion=diffusion, p_value=p_value, starts=len(kind.starts), notes=(),
    )  # fmt: skip
    if p_value > _SIGNIFICANCE:
        return _without_jumps(told, r)
    notes = _notes(kind, law, ends, best, r, years)
    if _without_largest(law, r, years) < 0.5 * ratio:
        notes.append(FitNote.ONE_RETURN)
    error = _errors(kind, unlikely, best.x, scale, years)
    if not error:
        notes.append(FitNote.NO_ERRORS)
    return replace(told, error=error, notes=tuple(notes))


def _without_jumps(told: JumpFit, r: Float64) -> JumpFit:
    """The named fallback: the normal law of the same mean and variance, with no jumps."""
    years = told.years_per_return
    law = replace(
        told.law, drift=float(r.mean()) / years, vol=float(r.std()) / math.sqrt(years),
        jumps_per_year=0.0,
    )  # fmt: skip
    return replace(told, law=law, log_likelihood=told.diffusion, notes=(FitNote.NO_JUMPS,))


def _notes(
    kind: _Merton | _Kou, law: JumpLaw, ends: list[Any], best: Any, r: Float64, years: float
) -> list[FitNote]:
    notes: list[FitNote] = []
    if law.jumps_per_year * years * len(r) < 5.0:
        notes.append(FitNote.FEW_JUMPS)
    if any(min(x - a, b - x) < 1e-3 for x, (a, b) in zip(best.x, kind.bounds, strict=True)):
        notes.append(FitNote.AT_BOUND)
    if any(e.fun < best.fun + 0.5 and np.abs(e.x - best.x).max() > 0.5 for e in ends):
        notes.append(FitNote.STARTS_DISAGREE)
    if float(np.abs(r - np.median(r)).max()) > _OUTLIER * _robust(r):
        notes.append(FitNote.OUTLIERS)
    return notes


def _gate(returns: ArrayLike, years: float) -> Float64:
    r = np.asarray(returns, dtype=np.float64).ravel()
    if not (math.isfinite(years) and years > 0.0):
        raise BadInput(_problem("a positive number of years a return", f"{years!r}"))
    bad = int((~np.isfinite(r)).sum())
    if bad:
        raise BadInput(_problem("numbers", f"{bad} of {len(r)} that are none"))
    if len(r) < RETURNS_MIN:
        raise BadInput(_problem(f"at least {RETURNS_MIN}", f"{len(r)}"))
    spread = _spread(r)
    if not spread > 1e-12 * max(1.0, float(np.abs(r).max())) or len(np.unique(r)) < 20:
        raise BadInput(_problem("returns with a spread", f"{len(r)} that hardly differ"))
    return r


def _problem(expected: str, found: str) -> Problem:
    return Problem(code=Reject.INPUT_INVALID, source="returns", expected=expected, found=found)


def _robust(r: Float64) -> float:
    return max(_MAD * float(np.median(np.abs(r - np.median(r)))), 0.2 * float(r.std()))


def _spread(r: Float64) -> float:
    """Of one return: robust, but never far below the standard deviation."""
    return _robust(r)


class _Unlikely:
    """−log likelihood of returns counted in their spread; a large number where there is none."""

    def __init__(self, kind: _Merton | _Kou, r: Float64, scale: float, years: float) -> None:
        self.kind, self.r, self.scale, self.years = kind, r, scale, years

    def __call__(self, x: Any) -> float:
        law = self.kind.law(x, self.scale, self.years)
        total = float(law.log_density(self.r, self.years).sum()) + len(self.r) * math.log(
            self.scale
        )
        return -total if math.isfinite(total) else _PENALTY


def _polished(unlikely: _Unlikely, start: Any, bounds: Any) -> Any:
    return minimize(
        unlikely, np.array(start), method="L-BFGS-B", bounds=bounds,
        options={"maxiter": 200, "ftol": 1e-10, "gtol": 1e-4},
    )  # fmt: skip


def _normal_log_likelihood(r: Float64) -> float:
    return -0.5 * len(r) * (math.log(2.0 * math.pi * float(r.var())) + 1.0)


def _without_largest(law: JumpLaw, r: Float64, years: float) -> float:
    """Likelihood ratio of the law over a normal one on all returns but the largest."""
    rest = np.delete(r, int(np.abs(r - np.median(r)).argmax()))
    return 2.0 * (float(law.log_density(rest, years).sum()) - _normal_log_likelihood(rest))


def _errors(
    kind: _Merton | _Kou, unlikely: _Unlikely, x: Float64, scale: float, years: float
) -> dict[str, float]:
    """Standard errors by the curvature in the coordinates, carried over to the parameters."""
    count = len(x)
    step = 1e-3 * np.maximum(1.0, np.abs(x))
    bend = np.empty((count, count))
    unit = np.eye(count) * step
    for i in range(count):
        for j in range(i + 1):
            corners = (
                unlikely(x + unit[i] + unit[j]) - unlikely(x + unit[i] - unit[j])
                - unlikely(x - unit[i] + unit[j]) + unlikely(x - unit[i] - unit[j])
            )  # fmt: skip
            bend[i, j] = bend[j, i] = corners / (4.0 * step[i] * step[j])
    if not np.isfinite(bend).all() or float(np.linalg.eigvalsh(bend)[0]) <= 1e-8:
        return {}
    covariance = np.linalg.inv(bend)

    def told(at: Float64) -> Float64:
        law = kind.law(at, scale, years)
        return np.array([getattr(law, name) for name in kind.names])

    slope = np.column_stack(
        [(told(x + unit[i]) - told(x - unit[i])) / (2.0 * step[i]) for i in range(count)]
    )
    variance = np.einsum("ij,jk,ik->i", slope, covariance, slope)
    errors = np.sqrt(np.maximum(variance, 0.0))
    return {name: float(one) for name, one in zip(kind.names, errors, strict=True)}
