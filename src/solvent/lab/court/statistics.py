"""Is a margin covered as often as it promises? Tests on breaches, one named result each.

A breach is a loss above the margin; a margin of coverage 99 % should be breached with probability
`p` = 1 %, independently from day to day. Likelihood ratios are referred to their chi-square laws
(0·ln 0 = 0). What cannot be computed (no observation, no breach where a test needs one) is told in
`why`, without a number: never NaN.

Tests of clustering ask what follows what. Where days are missing, `broken` says so ([observation],
True where something is missing just before it): days on both sides of a hole are no neighbours,
and how many pairs that leaves out stands in `left_out`.

Sources: Kupiec (1995); Christoffersen (1998); Haas (2001); Basel Committee (1996), annex on
backtesting; Clopper and Pearson (1934); Engle and Manganelli (2004). Tests of an expected
shortfall stand in `tail_tests`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import bdtr, bdtrc, betaincinv, chdtrc

from solvent.errors import BadInput, Problem, Reject, check
from solvent.units import Float64

Bool = NDArray[np.bool_]
LEVEL: Final = 0.05
"""The size of a test where none is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Test:
    """One test.

    Attributes:
        name: whose it is. freedom: degrees of freedom of its law; 0 for an exact one.
        statistic, p_value: None where the sample cannot tell, and `why`.
        left_out: pairs (of regressions, rows) that were not used, as they reach over a hole.
    """

    __test__ = False
    """Not a test of pytest's."""

    name: str
    statistic: float | None = None
    p_value: float | None = None
    freedom: int = 0
    why: str = ""
    left_out: int = 0

    def rejected(self, level: float = LEVEL) -> bool | None:
        """Whether the model is rejected at a level; None where nothing can be told."""
        return None if self.p_value is None else self.p_value < level

    def to_dict(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return {
            "name": self.name,
            "statistic": self.statistic,
            "p_value": self.p_value,
            "freedom": self.freedom,
            "why": self.why,
            "left_out": self.left_out,
        }


def _chi_square(name: str, ratio: float, freedom: int) -> Test:
    ratio = max(0.0, ratio)
    return Test(
        name=name, statistic=ratio, p_value=float(chdtrc(freedom, ratio)), freedom=freedom
    )  # fmt: skip


def _log(count: float, probability: float) -> float:
    """count · ln(probability), 0 where the count is."""
    return 0.0 if count == 0 else count * math.log(probability)


# ── how often ────────────────────────────────────────────────────────────────────────────────────


def kupiec(*, observations: int, breaches: int, p: float) -> Test:
    """Proportion of failures, two-sided: −2 ln of likelihood at p over that at x/N; χ²(1).

    >>> test = kupiec(observations=250, breaches=5, p=0.01)
    >>> round(test.statistic, 4), round(test.p_value, 4), test.rejected()
    (1.9568, 0.1619, False)
    """
    n, x = _counted(observations, breaches), breaches
    _probability(p)
    if n == 0:
        return Test(name="Kupiec POF", why="no observation")
    at_p = _log(n - x, 1.0 - p) + _log(x, p)
    at_best = _log(n - x, 1.0 - x / n) + _log(x, x / n)
    return _chi_square("Kupiec POF", -2.0 * (at_p - at_best), 1)


def not_under_covered(*, observations: int, breaches: int, p: float) -> Test:
    """One-sided, exact: the probability of so many breaches or more at p.

    For a model that is meant to cover more than it must: too few breaches are no fault.

    >>> round(not_under_covered(observations=250, breaches=5, p=0.01).p_value, 4)
    0.1078
    """
    n = _counted(observations, breaches)
    _probability(p)
    if n == 0:
        return Test(name="one-sided binomial", why="no observation")
    above = 1.0 if breaches == 0 else float(bdtrc(breaches - 1, n, p))
    return Test(name="one-sided binomial", statistic=float(breaches), p_value=above)


def non_rejection(*, observations: int, p: float, level: float = LEVEL) -> tuple[int, int]:
    """Fewest and most breaches that Kupiec's test does not reject; (1, 0) where it always does.

    >>> non_rejection(observations=510, p=0.01)
    (2, 10)
    """
    fine = [
        x
        for x in range(observations + 1)
        if not kupiec(observations=observations, breaches=x, p=p).rejected(level)
    ]
    return (fine[0], fine[-1]) if fine else (1, 0)


def time_to_first(*, steps: int, p: float) -> Test:
    """Kupiec's TUFF: the first breach came at step n = 1, 2, …; χ²(1).

    >>> round(time_to_first(steps=5, p=0.01).statistic, 4)
    4.2867
    """
    return _duration("Kupiec TUFF", steps, p)


def _duration(name: str, steps: int, p: float) -> Test:
    _probability(p)
    if steps < 1:
        raise _bad("a first breach at step 1 or later", str(steps))
    at_p = math.log(p) + _log(steps - 1, 1.0 - p)
    at_best = -math.log(steps) + _log(steps - 1, 1.0 - 1.0 / steps)
    return _chi_square(name, -2.0 * (at_p - at_best), 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """Share of observations that the margin covered, with an exact confidence interval."""

    observations: int
    breaches: int
    covered: float | None
    low: float
    high: float


def coverage(*, observations: int, breaches: int, confidence: float = 0.95) -> Coverage:
    """Achieved coverage with its Clopper-Pearson interval; without observations, 0 to 1.

    >>> found = coverage(observations=250, breaches=2)
    >>> found.covered, round(found.low, 4), round(found.high, 4)
    (0.992, 0.9714, 0.999)
    """
    n = _counted(observations, breaches)
    _probability(confidence)
    covered, tail = n - breaches, (1.0 - confidence) / 2.0
    low = float(betaincinv(covered, n - covered + 1, tail)) if covered else 0.0
    high = float(betaincinv(covered + 1, n - covered, 1.0 - tail)) if covered < n else 1.0
    return Coverage(
        observations=n,
        breaches=breaches,
        covered=covered / n if n else None,
        low=low,
        high=high,
    )


# ── whether they cluster ─────────────────────────────────────────────────────────────────────────


def transitions(breach: ArrayLike, *, broken: ArrayLike | None = None) -> tuple[int, int, int, int]:
    """How often nothing, a breach follow nothing, a breach: n00, n01, n10, n11.

    >>> transitions([False, True, True, False])
    (0, 1, 1, 1)
    >>> transitions([False, True, True, False], broken=[False, False, True, False])
    (0, 1, 1, 0)
    """
    hits = np.asarray(breach, dtype=bool)
    paired = ~_broken(hits, broken)[1:]
    before, after = hits[:-1][paired], hits[1:][paired]
    return (
        int((~before & ~after).sum()),
        int((~before & after).sum()),
        int((before & ~after).sum()),
        int((before & after).sum()),
    )


def _broken(hits: Bool, broken: ArrayLike | None) -> Bool:
    """[observation] whether something is missing just before it; never before the first."""
    if broken is None:
        return np.zeros(len(hits), dtype=bool)
    found = np.array(broken, dtype=bool)
    if found.shape != hits.shape:
        raise _bad("a word on holes an observation", f"{len(found)} for {len(hits)}")
    found[:1] = False
    return found


def independence(n00: int, n01: int, n10: int, n11: int) -> Test:
    """Christoffersen: a breach is as likely after a breach as after none; χ²(1).

    >>> test = independence(980, 9, 9, 2)
    >>> round(test.statistic, 4), round(test.p_value, 4)
    (8.1561, 0.0043)
    """
    name = "Christoffersen independence"
    if min(n00, n01, n10, n11) < 0:
        raise _bad("counts of 0 or more", str((n00, n01, n10, n11)))
    if n00 + n01 + n10 + n11 == 0:
        return Test(name=name, why="less than two observations")
    once = (n01 + n11) / (n00 + n01 + n10 + n11)
    calm = n01 / (n00 + n01) if n00 + n01 else 0.0
    after = n11 / (n10 + n11) if n10 + n11 else 0.0
    alike = _log(n00 + n10, 1.0 - once) + _log(n01 + n11, once)
    apart = _log(n00, 1 - calm) + _log(n01, calm) + _log(n10, 1 - after) + _log(n11, after)
    return _chi_square(name, -2.0 * (alike - apart), 1)


def christoffersen(breach: ArrayLike, *, broken: ArrayLike | None = None) -> Test:
    """The same, from the breaches in order of time."""
    hits = np.asarray(breach, dtype=bool)
    left_out = int(_broken(hits, broken).sum())
    return replace(independence(*transitions(hits, broken=broken)), left_out=left_out)


def conditional_coverage(
    breach: ArrayLike, *, p: float, broken: ArrayLike | None = None
) -> Test:  # fmt: skip
    """Christoffersen: as often as promised and independent, POF + independence; χ²(2)."""
    name = "Christoffersen conditional coverage"
    hits = np.asarray(breach, dtype=bool)
    often = kupiec(observations=len(hits), breaches=int(hits.sum()), p=p)
    clustered = christoffersen(hits, broken=broken)
    if often.statistic is None or clustered.statistic is None:
        return Test(name=name, why=often.why or clustered.why, left_out=clustered.left_out)
    found = _chi_square(name, often.statistic + clustered.statistic, 2)
    return replace(found, left_out=clustered.left_out)


def durations(breach: ArrayLike, *, broken: ArrayLike | None = None) -> tuple[int, ...]:
    """Steps to the first breach, and from each breach to the next.

    After a hole steps are counted anew: to the first breach from there, as from the beginning,
    since under the promise a breach is as far ahead from any day. What a hole cuts off is left
    out, as the end of the sample is.

    >>> durations([False, True, True, False, True])
    (2, 1, 2)
    >>> durations([True, False, False, True], broken=[False, False, True, False])
    (1, 2)
    """
    hits = np.asarray(breach, dtype=bool)
    cuts = np.flatnonzero(_broken(hits, broken))
    steps: list[int] = []
    for part in np.split(hits, cuts):
        steps += np.diff(np.flatnonzero(part), prepend=-1).tolist()
    return tuple(steps)


def haas_independence(steps: Sequence[int], *, p: float) -> Test:
    """Haas: every duration judged as a first one, and summed; χ² of as many as there are breaches.

    >>> test = haas_independence([50, 60, 3, 2, 100], p=0.01)
    >>> round(test.statistic, 4), test.freedom
    (12.505, 5)
    """
    name = "Haas time between failures, independence"
    _probability(p)
    if not steps:
        return Test(name=name, why="no breach")
    total = math.fsum(_duration(name, one, p).statistic or 0.0 for one in steps)
    return _chi_square(name, total, len(steps))


def haas(breach: ArrayLike, *, p: float, broken: ArrayLike | None = None) -> Test:
    """Haas's mixed test: independence of every duration, and POF; χ² of breaches + 1."""
    name = "Haas time between failures"
    hits = np.asarray(breach, dtype=bool)
    left_out = int(_broken(hits, broken).sum())
    steps = durations(hits, broken=broken)
    often = kupiec(observations=len(hits), breaches=len(steps), p=p)
    if often.statistic is None:
        return Test(name=name, why=often.why, left_out=left_out)
    between = haas_independence(steps, p=p).statistic or 0.0
    found = _chi_square(name, often.statistic + between, len(steps) + 1)
    return replace(found, left_out=left_out)


def dynamic_quantile(
    breach: ArrayLike,
    margin: ArrayLike,
    *,
    p: float,
    lags: int = 4,
    broken: ArrayLike | None = None,
) -> Test:
    """Engle and Manganelli: nothing known before (earlier breaches, the margin) foretells a breach.

    Hit − p is regressed on a constant, `lags` earlier ones and today's margin; the fit's square
    over p(1−p) is χ² of the regressors that are not collinear. A day whose lags reach over a hole
    is left out.
    """
    name = "Engle-Manganelli dynamic quantile"
    hits, level = np.asarray(breach, dtype=bool), np.asarray(margin, dtype=np.float64)
    _probability(p)
    if len(hits) != len(level):
        raise _bad("a margin an observation", f"{len(level)} for {len(hits)}")
    seen = np.cumsum(_broken(hits, broken))
    whole = seen[lags:] == seen[: len(hits) - lags] if len(hits) > lags else np.zeros(0, dtype=bool)
    rows, left_out = int(whole.sum()), int((~whole).sum())
    if rows < 2 * (lags + 2):
        why = f"{len(hits)} observations are too few for {lags} lags"
        return Test(name=name, why=why, left_out=left_out)
    excess = hits - p
    spread = float(np.abs(level).max())
    columns = [np.ones(len(whole))]
    columns += [excess[lags - k : len(hits) - k] for k in range(1, lags + 1)]
    x = np.stack([*columns, level[lags:] / (spread or 1.0)], axis=1)[whole]
    fitted, _, rank, _ = np.linalg.lstsq(x, excess[lags:][whole], rcond=None)
    explained: Float64 = x @ fitted
    found = _chi_square(name, float(explained @ explained) / (p * (1.0 - p)), int(rank))
    return replace(found, left_out=left_out)


# ── Basel's traffic light ────────────────────────────────────────────────────────────────────────

_GREEN, _YELLOW = 0.95, 0.9999
_MULTIPLIERS: Final = (3.0, 3.0, 3.0, 3.0, 3.0, 3.4, 3.5, 3.65, 3.75, 3.85, 4.0)
"""By breaches in 250 days at 99 %, ten and more alike."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Zone:
    """Basel's zone of a number of breaches, under a model that is right.

    Attributes:
        colour: `green` while so many or fewer have a probability below 95 %, `yellow` below
            99.99 %, then `red`. No breach is green, however few the observations are: Basel's
            bounds are of 250, and of 5 even no breach has a probability of 95 %.
        cumulative, exact: probability of at most, of exactly so many breaches.
        type_one: of so many or more: of rejecting a right model from here on.
        multiplier: the capital multiplier, defined for 250 days at 99 % alone.
    """

    colour: str
    cumulative: float
    exact: float
    type_one: float
    multiplier: float | None


def basel(*, observations: int, breaches: int, p: float) -> Zone:
    """The traffic light.

    >>> zone = basel(observations=250, breaches=5, p=0.01)
    >>> zone.colour, round(zone.cumulative, 4), zone.multiplier
    ('yellow', 0.9588, 3.4)
    """
    n = _counted(observations, breaches)
    _probability(p)
    cumulative = float(bdtr(breaches, n, p))
    below = float(bdtr(breaches - 1, n, p)) if breaches else 0.0
    # Not 1 − below: far in the tail that difference has no digits left.
    above = float(bdtrc(breaches - 1, n, p)) if breaches else 1.0
    exact = math.exp(
        math.lgamma(n + 1) - math.lgamma(breaches + 1) - math.lgamma(n - breaches + 1)
        + _log(breaches, p) + _log(n - breaches, 1.0 - p)
    )  # fmt: skip
    check(abs(below + exact - cumulative) < 1e-9, "probabilities add up", below, exact, cumulative)
    calm = breaches == 0 or cumulative < _GREEN
    colour = "green" if calm else "yellow" if cumulative < _YELLOW else "red"
    told = n == 250 and math.isclose(p, 0.01)
    return Zone(
        colour=colour,
        cumulative=cumulative,
        exact=exact,
        type_one=above,
        multiplier=_MULTIPLIERS[min(breaches, 10)] if told else None,
    )


# ── how deep ─────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class BreachSizes:
    """Losses beyond the margin, in the losses' unit; 0 where there was none."""

    breaches: int
    mean: float
    largest: float
    total: float


def breach_sizes(loss: ArrayLike, margin: ArrayLike) -> BreachSizes:
    """How far losses went beyond the margin, where they did.

    >>> breach_sizes([3.0, 1.0, 5.0], [2.0, 2.0, 2.0])
    BreachSizes(breaches=2, mean=2.0, largest=3.0, total=4.0)
    """
    excess = np.asarray(loss, dtype=np.float64) - np.asarray(margin, dtype=np.float64)
    beyond = excess[excess > 0.0]
    total = math.fsum(beyond.tolist())
    return BreachSizes(
        breaches=len(beyond),
        mean=total / len(beyond) if len(beyond) else 0.0,
        largest=float(beyond.max(initial=0.0)),
        total=total,
    )


def _counted(observations: int, breaches: int) -> int:
    if not 0 <= breaches <= observations:
        raise _bad(f"0 to {observations} breaches", str(breaches))
    return observations


def _probability(p: float) -> None:
    if not 0.0 < p < 1.0:
        raise _bad("a probability between 0 and 1", str(p))


def _bad(expected: str, found: str) -> BadInput:
    return BadInput(
        Problem(code=Reject.INPUT_INVALID, source="backtest", expected=expected, found=found)
    )
