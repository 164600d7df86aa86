"""Parametric margin: what a covariance says of a book in one glance, and a bound that is proved.

Two uses, kept apart:

* **Estimates.** Delta-normal and delta-gamma value at risk: factors are normal with covariance Σ,
  the book is δ·f + ½·f'Γf. Cornish and Fisher's expansion corrects the normal quantile for skewness
  and kurtosis where it rises up to four deviations out; where it does not, Cantelli's inequality
  stands in, and the result says for which accounts.
* **A screen.** An upper bound on the worst loss over the very scenarios that the exact way uses. An
  account whose bound is within what it has needs no exact look; all others do.

What the bound rests on. An instrument's PnL in scenario s is written δ·f_s + ½·γ·m_s² + r_s, with
any δ and γ; r_s is what is left, so no error is left out. For a book with sums D of lots·δ:

    −D·f_s ≤ √(D'ΣD) · κ,   κ² = max over s of f_s'Σ⁻¹f_s   (Cauchy-Schwarz, any Σ > 0)
    −D·f_s ≤ Σ over factors of max(−D·min f, −D·max f)
    −½·G·m_s² ≤ ½·max(−G, 0)·max m²,   −q·r_s ≤ max(−q·min r, −q·max r)

The bound is the lesser of the first two, plus the third and fourth; never more than the sum of each
position's own worst loss; and a share of 1e-9 of the positions' largest numbers on top, which is
above anything that float64 rounds here. Any reduction that is at most the worst loss (value at
risk, expected shortfall, a weighted worst with weights up to 1) is bounded as well. A requirement
is not: its factors and charges, and a map that makes losses larger, come on top.

Covariances are shrunk after Ledoit and Wolf, "A well-conditioned estimator for large-dimensional
covariance matrices" (2004). Value at risk by moments: Cornish and Fisher (1937); Cantelli (1928).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from solvent.errors import BadInput, Problem, Reject, check
from solvent.portable import normal_quantile
from solvent.risk.arrays import RiskArrays
from solvent.risk.book import Book
from solvent.units import Float64, quanta_per_unit

Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]
_SLACK: Final = 1e-9
_SMALLEST: Final = 1e-10
"""Eigenvalues below this share of the mean one are raised to it."""
_BLOCK: Final = 1 << 15
_RISES_TO: Final = 4.0
"""Standard deviations up to which a corrected quantile must rise, 1 in 30,000."""


# ── a covariance ─────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class Covariance:
    """A positive definite covariance.

    Attributes:
        matrix: [factor, factor].
        shrinkage: weight of the target, a multiple of the identity; 0 keeps the sample's.
        fallback: "" or what was done besides, in words.
    """

    matrix: Float64
    shrinkage: float
    fallback: str = ""

    def __post_init__(self) -> None:
        least = float(np.linalg.eigvalsh(self.matrix).min())
        check(least > 0.0, "a covariance is positive definite", least)


def ledoit_wolf(returns: Float64) -> Covariance:
    """The covariance of returns [time, factor], shrunk towards a multiple of the identity.

    (1 − ρ)·S + ρ·μ·I with S the sample's (over n, about its mean), μ its mean eigenvalue, and ρ the
    weight that Ledoit and Wolf show to be optimal as n grows. Where the result is singular still
    (collinear factors, much data), small eigenvalues are raised and `fallback` says so.

    Raises BadInput for fewer than two observations, a number that is not finite, or factors of
    which none moves.

    >>> found = ledoit_wolf(np.array([[1.0, 1.0], [-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0]]))
    >>> found.matrix.tolist(), found.shrinkage
    ([[1.0, 0.0], [0.0, 1.0]], 1.0)
    """
    x = np.asarray(returns, dtype=np.float64)
    if x.ndim != 2 or len(x) < 2 or x.shape[1] < 1:
        raise _bad("two observations or more of a factor or more", f"an array of {x.shape}")
    if not bool(np.isfinite(x).all()):
        raise _bad("finite returns", "one that is not")
    n, p = x.shape
    centred = x - x.mean(axis=0)
    sample = centred.T @ centred / n
    mean = float(np.trace(sample)) / p
    if not mean > 0.0:
        raise _bad("a factor that moves", "none")
    apart = float(((sample - mean * np.eye(p)) ** 2).sum()) / p
    # Mean of |x x' − S|² over the observations: that of |x|⁴ less |S|².
    noise = float((((centred**2).sum(axis=1)) ** 2).sum()) / n - float((sample**2).sum())
    noise = max(0.0, min(noise / p / n, apart))
    shrinkage = noise / apart if apart > 0.0 else 1.0
    matrix = (1.0 - shrinkage) * sample + shrinkage * mean * np.eye(p)
    values, vectors = np.linalg.eigh(matrix)
    if values.min() >= _SMALLEST * mean:
        return Covariance(matrix=matrix, shrinkage=shrinkage)
    raised = int((values < _SMALLEST * mean).sum())
    matrix = (vectors * np.maximum(values, _SMALLEST * mean)) @ vectors.T
    return Covariance(
        matrix=0.5 * (matrix + matrix.T),
        shrinkage=shrinkage,
        fallback=f"singular: {raised} of {p} eigenvalues raised",
    )


# ── a book in factors ────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Positions in compressed rows: `first[a]:first[a + 1]` are those of account a."""

    first: Int64
    instrument: Int32
    lots: Float64

    def __len__(self) -> int:
        return len(self.first) - 1

    def total(self, per_lot: Float64) -> Float64:
        """[account, ...] Σ lots × a number (or row) per lot of the instrument."""
        wide = per_lot.reshape(len(per_lot), -1)
        sums = np.zeros((len(self), wide.shape[1]))
        filled = np.flatnonzero(np.diff(self.first))
        if len(filled):
            each = self.lots[:, None] * wide[self.instrument]
            sums[filled] = np.add.reduceat(each, self.first[filled], axis=0)
        return sums.reshape(len(self), *per_lot.shape[1:])

    def magnitude(self) -> Held:
        """The same with every position long."""
        return Held(first=self.first, instrument=self.instrument, lots=np.abs(self.lots))

    def side(self, *, long: bool) -> Held:
        """Longs alone, or shorts as positive lots."""
        lots = np.maximum(self.lots if long else -self.lots, 0.0)
        return Held(first=self.first, instrument=self.instrument, lots=lots)


@dataclass(frozen=True, slots=True, kw_only=True)
class Factors:
    """Instruments in factors. One unit of money throughout (dollars, or quanta of one asset).

    Attributes:
        shock: [factor, scenario].
        linear, square: [instrument, factor] PnL per lot and unit of the factor, of half its square.
        least, most: [instrument] of what the factors do not explain, over the scenarios.
        worst_long, worst_short: [instrument] largest loss per lot long, short; 0 without one.
        size: [instrument] largest |PnL| per lot.
    """

    shock: Float64
    linear: Float64
    square: Float64
    least: Float64
    most: Float64
    worst_long: Float64
    worst_short: Float64
    size: Float64


def factors(*, pnl: Float64, shock: Float64, of_instrument: Int32, square: Bool) -> Factors:
    """Fit every instrument's PnL [instrument, scenario] to its factors, by least squares.

    Args:
        shock: [factor, scenario] moves of prices, shifts of surfaces.
        of_instrument: [instrument, k] rows of `shock` that it hangs on; −1 for none.
        square: [factor] whether half its square is fitted as well.

    >>> move = np.array([[-0.1, 0.0, 0.1]])
    >>> found = factors(pnl=np.array([[-9.0, 0.0, 11.0]]), shock=move,
    ...                 of_instrument=np.array([[0]], np.int32), square=np.array([True]))
    >>> found.linear.round(6).tolist(), found.square.round(6).tolist(), abs(found.most) < 1e-12
    ([[100.0]], [[200.0]], array([ True]))
    """
    check(pnl.shape[1] == shock.shape[1], "a column a scenario", pnl.shape, shock.shape)
    check(bool(np.isfinite(pnl).all() and np.isfinite(shock).all()), "every number is finite")
    shape = (len(pnl), len(shock))
    linear, bent, left = np.zeros(shape), np.zeros(shape), np.array(pnl, dtype=np.float64)
    rows, kind = np.unique(of_instrument, axis=0, return_inverse=True)
    for place, row in enumerate(rows):
        used = row[row >= 0]
        curved = used[square[used]]
        members = np.flatnonzero(kind.ravel() == place)
        design = np.concatenate([shock[used], 0.5 * shock[curved] ** 2]).T
        if design.shape[1] == 0:
            continue
        fitted = np.linalg.lstsq(design, pnl[members].T, rcond=None)[0]
        linear[np.ix_(members, used)] = fitted[: len(used)].T
        bent[np.ix_(members, curved)] = fitted[len(used) :].T
        left[members] -= (design @ fitted).T
    return Factors(
        shock=shock, linear=linear, square=bent, least=left.min(axis=1), most=left.max(axis=1),
        worst_long=np.maximum(-pnl.min(axis=1), 0.0), worst_short=np.maximum(pnl.max(axis=1), 0.0),
        size=np.abs(pnl).max(axis=1),
    )  # fmt: skip


def market_factors(arrays: RiskArrays) -> Factors:
    """A published market in factors: each coin's move, and the shift of its volatilities.

    PnL in dollars at today's prices. The shift is the mean of ln(shocked / today's volatility) over
    the coin's options; what differs between them is in what the factors do not explain.
    """
    universe, shocks = arrays.universe, arrays.shocks
    coins, count = len(universe.underlyings), len(shocks)
    dollars = np.array(
        [arrays.price_of(one) / quanta_per_unit(one) for one in universe.settlements]
    )
    pnl = arrays.pnl[:, :count] * dollars[universe.settlement][:, None]
    today = np.nan_to_num(arrays.fields["iv"])
    shocked = shocks.vol[:, shocks.vol_state]
    quoted = universe.is_option & arrays.usable & (today > 0.0) & (shocked > 0.0).all(axis=1)
    shift = np.zeros((coins, count))
    for coin in range(coins):
        options = quoted & (universe.underlying == coin)
        if options.any():
            shift[coin] = np.log(shocked[options] / today[options][:, None]).mean(axis=0)
    rows = np.stack([universe.underlying, universe.underlying + coins], axis=1)
    rows[~universe.is_option, 1] = -1
    return factors(
        pnl=pnl, shock=np.concatenate([shocks.move, shift]), of_instrument=rows.astype(np.int32),
        square=np.arange(2 * coins) < coins,
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Screened:
    """A whole book under every scenario of a published market, in dollars, axis: account.

    Attributes:
        bound: no less than the largest loss over the scenarios; infinite where a position has no
            known PnL. normal, gamma: estimates of value at risk, 0 where the bound is infinite.
        covariance: of the scenarios' factors.
    """

    bound: Float64
    normal: Float64
    gamma: Estimate
    covariance: Covariance


def screen(arrays: RiskArrays, book: Book, *, level: float = 0.99) -> Screened:
    """Bound and estimates of every account, from the scenarios of a published market."""
    of, held, shocks = market_factors(arrays), held_of(book), arrays.shocks
    universe = arrays.universe
    told = arrays.usable & shocks.known[universe.underlying] & shocks.vol_known.all(axis=1)
    told &= ~np.isin(universe.underlying, list(shocks.missing))
    unknown = held.magnitude().total((~told).astype(np.float64)) > 0.0
    covariance = ledoit_wolf(of.shock.T)
    gamma = delta_gamma(of, held, covariance, level=level)
    return Screened(
        bound=np.where(unknown, np.inf, loss_bound(of, held, covariance)),
        normal=np.where(unknown, 0.0, delta_normal(of, held, covariance, level=level)),
        gamma=Estimate(var=np.where(unknown, 0.0, gamma.var), fallback=gamma.fallback),
        covariance=covariance,
    )


def held_of(book: Book) -> Held:
    """A book's positions."""
    return Held(first=book.first, instrument=book.instrument, lots=book.lots)


# ── the screen ───────────────────────────────────────────────────────────────────────────────────


def loss_bound(of: Factors, held: Held, covariance: Covariance) -> Float64:
    """[account] no less than the largest loss over the scenarios, and never below 0.

    It is a bound whatever the covariance; a good one makes it tight.

    >>> move = np.array([[-0.1, 0.1]])
    >>> of = factors(pnl=np.array([[-10.0, 10.0]]), shock=move,
    ...              of_instrument=np.array([[0]], np.int32), square=np.array([False]))
    >>> held = Held(first=np.array([0, 1]), instrument=np.array([0], np.int32),
    ...             lots=np.array([-3.0]))
    >>> round(float(loss_bound(of, held, ledoit_wolf(move.T))[0]), 6)
    30.0
    """
    long, short = held.side(long=True), held.side(long=False)
    gross = long.total(of.worst_long) + short.total(of.worst_short)
    slope, bent = held.total(of.linear), held.total(of.square)
    reach = float(np.sqrt(_lengths(of.shock, covariance.matrix).max(initial=0.0)))
    round_bound = reach * np.sqrt(np.maximum(_form(slope, covariance.matrix), 0.0))
    low, high = of.shock.min(axis=1, initial=0.0), of.shock.max(axis=1, initial=0.0)
    box_bound = np.maximum(-slope * low, -slope * high).sum(axis=1)
    largest = np.maximum(low**2, high**2)
    curved = 0.5 * (np.maximum(-bent, 0.0) * largest).sum(axis=1)
    left = long.total(-of.least) + short.total(of.most)
    bound = np.minimum(gross, np.minimum(round_bound, box_bound) + curved + left)
    # The parts of a fit may be far larger than the PnL that they sum to: the slack is of them.
    parts = of.size + np.abs(of.linear) @ np.maximum(-low, high) + np.abs(of.square) @ largest
    return np.asarray(np.maximum(bound, 0.0) + _SLACK * held.magnitude().total(parts))


def _form(rows: Float64, matrix: Float64) -> Float64:
    """[row] x'Mx."""
    return np.asarray(np.einsum("ai,ij,aj->a", rows, matrix, rows, optimize=True))


def _lengths(shock: Float64, matrix: Float64) -> Float64:
    """[scenario] f'Σ⁻¹f, a little long: what a solver rounds must not shorten it."""
    solved = np.linalg.solve(matrix, shock)
    condition = float(np.linalg.cond(matrix))
    lengths = (shock * solved).sum(axis=0)
    return np.asarray(lengths * (1.0 + min(1.0, 1e-14 * condition)) + 1e-300)


def needs_exact(bound: Float64, have: Float64) -> Bool:
    """[account] whether an exact look is needed: the bound is more than what the account has."""
    return np.asarray(~(bound <= have))


# ── estimates ────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Value at risk by account, in the unit of the factors' PnL, never below 0.

    Attributes:
        fallback: [account] where Cornish and Fisher's expansion does not rise throughout, so that
            Cantelli's bound stands in.
    """

    var: Float64
    fallback: Bool


def delta_normal(of: Factors, held: Held, covariance: Covariance, *, level: float) -> Float64:
    """[account] z·√(δ'Σδ): linear books of normal factors with mean 0.

    >>> of = factors(pnl=np.array([[-10.0, 10.0]]), shock=np.array([[-0.1, 0.1]]),
    ...              of_instrument=np.array([[0]], np.int32), square=np.array([False]))
    >>> held = Held(first=np.array([0, 1]), instrument=np.array([0], np.int32),
    ...             lots=np.array([3.0]))
    >>> found = delta_normal(of, held, Covariance(matrix=np.array([[0.01]]), shrinkage=0.0),
    ...                      level=0.99)
    >>> round(float(found[0]), 4)
    69.7904
    """
    z = _z(level)
    return np.asarray(z * np.sqrt(np.maximum(_form(held.total(of.linear), covariance.matrix), 0.0)))


def delta_gamma(of: Factors, held: Held, covariance: Covariance, *, level: float) -> Estimate:
    """Value at risk of δ·f + ½·f'Γf, Γ diagonal, by its first four moments."""
    z = _z(level)
    slope, bent = held.total(of.linear), held.total(of.square)
    var, fallback = np.zeros(len(held)), np.zeros(len(held), dtype=bool)
    for block in _blocks(len(held)):
        mean, sd, skew, kurtosis = loss_moments(slope[block], bent[block], covariance.matrix)
        quantile, monotone = _cornish_fisher(z, skew, kurtosis)
        bound = math.sqrt(level / (1.0 - level))
        var[block] = np.maximum(mean + sd * np.where(monotone, quantile, bound), 0.0)
        fallback[block] = ~monotone
    return Estimate(var=var, fallback=fallback)


def cantelli_bound(of: Factors, held: Held, covariance: Covariance, *, level: float) -> Float64:
    """[account] mean + deviation·√(level/(1 − level)) of δ·f + ½·f'Γf.

    No law with these two moments has a larger value at risk (Cantelli), nor a larger expected
    shortfall.
    """
    _z(level)
    slope, bent = held.total(of.linear), held.total(of.square)
    found = np.zeros(len(held))
    for block in _blocks(len(held)):
        mean, sd, _, _ = loss_moments(slope[block], bent[block], covariance.matrix)
        found[block] = np.maximum(mean + sd * math.sqrt(level / (1.0 - level)), 0.0)
    return found


def loss_moments(
    slope: Float64, bent: Float64, covariance: Float64
) -> tuple[Float64, Float64, Float64, Float64]:
    """Mean, deviation, skewness and excess kurtosis [account] of the loss −(δ·f + ½·f'Γf).

    f is normal with mean 0; `slope` is δ and `bent` the diagonal of Γ, [account, factor]. Cumulants
    of a quadratic form: k₁ = −½·tr(ΓΣ), k₂ = δ'Σδ + ½·tr((ΓΣ)²), −k₃ = 3·δ'ΣΓΣδ + tr((ΓΣ)³),
    k₄ = 12·δ'Σ(ΓΣ)²δ + 3·tr((ΓΣ)⁴).

    >>> one = np.ones((1, 1))
    >>> [round(float(part[0]), 4) for part in loss_moments(0.0 * one, -2.0 * one, one)]
    [1.0, 1.4142, 2.8284, 12.0]
    """
    across = bent[:, :, None] * covariance
    moved = slope @ covariance
    twice = across @ across
    k1 = -0.5 * np.trace(across, axis1=1, axis2=2)
    k2 = (moved * slope).sum(axis=1) + 0.5 * np.trace(twice, axis1=1, axis2=2)
    k3 = -3.0 * (moved * bent * moved).sum(axis=1) - np.trace(twice @ across, axis1=1, axis2=2)
    through = np.einsum("ai,ij->aj", moved * bent, covariance)
    k4 = 12.0 * (through * bent * moved).sum(axis=1)
    k4 += 3.0 * np.einsum("aij,aji->a", twice, twice)
    sd = np.sqrt(np.maximum(k2, 0.0))
    safe = np.where(sd > 0.0, sd, 1.0)
    flat = sd <= 0.0
    skew = np.where(flat, 0.0, k3 / safe**3)
    kurtosis = np.where(flat, 0.0, k4 / safe**4)
    return k1, sd, skew, kurtosis


def _cornish_fisher(z: float, skew: Float64, kurtosis: Float64) -> tuple[Float64, Bool]:
    """The corrected quantile, and whether the expansion rises as far out as it is used."""
    cubic = kurtosis / 24.0 - skew**2 / 18.0
    # q(z) = z + (z² − 1)·s/6 + (z³ − 3z)·k/24 − (2z³ − 5z)·s²/36; q' = a·z² + b·z + c.
    quantile = (
        z
        + (z * z - 1.0) * skew / 6.0
        + (z**3 - 3.0 * z) * kurtosis / 24.0
        - (2.0 * z**3 - 5.0 * z) * skew**2 / 36.0
    )
    a, b = 3.0 * cubic, skew / 3.0
    c = 1.0 - kurtosis / 8.0 + 5.0 * skew**2 / 36.0
    reach = max(_RISES_TO, z)
    lowest = np.where(a > 0.0, np.clip(-b / np.where(a > 0.0, 2.0 * a, 1.0), -reach, reach), reach)
    slopes = [a * at * at + b * at + c for at in (-reach, reach, lowest)]
    return quantile, np.asarray(np.min(slopes, axis=0) > 0.0)


def _z(level: float) -> float:
    if not 0.5 <= level < 1.0:
        raise _bad("a level from 0.5 to below 1", str(level))
    return float(normal_quantile(level))


def _blocks(count: int) -> Iterator[slice]:
    for begin in range(0, count, _BLOCK):
        yield slice(begin, min(count, begin + _BLOCK))


def _bad(expected: str, found: str) -> BadInput:
    return BadInput(
        Problem(code=Reject.INPUT_INVALID, source="parametric", expected=expected, found=found)
    )
