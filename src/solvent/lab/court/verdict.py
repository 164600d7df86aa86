"""What the tests say of a backtest: a row a rulebook and portfolio, and targets met or missed.

Everything is told on tracks of judged cells. Procyclicality and cost are of rates: margin over the
book's gross size at the index, so that a doubled price is no doubled margin.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from solvent.errors import BadInput, Problem, Reject
from solvent.instruments.contract import moment_of
from solvent.lab.court import statistics as exam
from solvent.lab.court.comparison import diebold_mariano, tick_loss
from solvent.lab.court.procyclicality import Procyclicality, cost, procyclicality
from solvent.lab.court.result import CELL_WORDS, Cell, CourtResult, Int64, Track, Which
from solvent.units import DAY_MS, MICRO, Float64

LEVEL: Final = 0.99
SPANS: Final = (1, 5, 30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """One rulebook and portfolio.

    Attributes:
        coverage: with its Clopper-Pearson interval. tests: by name.
        zone: Basel's colour. sizes: losses beyond the margin, in gross size.
        run: procyclicality of the margin's rate. mean_rate: margin over gross size, on average.
        cost: mean margin over the benchmark's, on the days that both have; None without one.
        against: Diebold and Mariano's test of the tick losses against the benchmark's.
    """

    rulebook: str
    portfolio: str
    kind: str
    underlying: str
    coverage: exam.Coverage
    tests: tuple[exam.Test, ...]
    zone: str
    sizes: exam.BreachSizes
    run: Procyclicality
    mean_rate: float
    cost: float | None
    against: exam.Test | None
    moved: Mapping[str, str]
    """Measure of procyclicality → when it was, and between which rates."""

    def test(self, name: str) -> exam.Test | None:
        """A test by the beginning of its name."""
        return next((one for one in self.tests if one.name.startswith(name)), None)

    def to_dict(self) -> dict[str, Any]:
        """As `--json` prints it."""
        told = self.coverage
        return {
            "rulebook": self.rulebook, "portfolio": self.portfolio, "kind": self.kind,
            "underlying": self.underlying, "days": told.observations, "breaches": told.breaches,
            "coverage": told.covered, "coverage_low": told.low, "coverage_high": told.high,
            "tests": [one.to_dict() for one in self.tests], "basel": self.zone,
            "breach_mean": self.sizes.mean, "breach_largest": self.sizes.largest,
            "procyclicality": self.run.to_dict(), "mean_rate": self.mean_rate, "cost": self.cost,
            "against_benchmark": self.against.to_dict() if self.against else None,
        }  # fmt: skip


def judge_track(track: Track, *, level: float = LEVEL, benchmark: Track | None = None) -> Judgement:
    """Every test of one track; `benchmark` is another rulebook's track of the same portfolio."""
    p, breach = 1.0 - level, track.breach
    days, breaches = len(track), int(breach.sum())
    gross = np.maximum(track.gross_micro, 1)
    rate, loss = track.rate, np.asarray(track.loss_micro / gross)
    first = np.flatnonzero(breach)
    found = [
        exam.kupiec(observations=days, breaches=breaches, p=p),
        exam.not_under_covered(observations=days, breaches=breaches, p=p),
        exam.christoffersen(breach, broken=track.broken),
        exam.conditional_coverage(breach, p=p, broken=track.broken),
        exam.haas(breach, p=p, broken=track.broken),
        exam.dynamic_quantile(breach, rate, p=p, broken=track.broken),
    ]
    if len(first):
        found.insert(2, exam.time_to_first(steps=int(first[0]) + 1, p=p))
    else:
        found.insert(2, exam.Test(name="Kupiec TUFF", why="no breach"))
    relative, against = None, None
    if benchmark is not None:
        mine, theirs = _common(track, benchmark)
        if len(mine):
            relative = cost(rate[mine], benchmark.rate[theirs])
            against = diebold_mariano(
                tick_loss(loss[mine], rate[mine], p=p),
                tick_loss(loss[mine], benchmark.rate[theirs], p=p),
            )
    return Judgement(
        rulebook=track.rulebook, portfolio=track.portfolio, kind=track.kind,
        underlying=track.underlying, coverage=exam.coverage(observations=days, breaches=breaches),
        tests=tuple(found), zone=exam.basel(observations=days, breaches=breaches, p=p).colour,
        sizes=exam.breach_sizes(loss, rate), run=_procyclicality(track), cost=relative,
        mean_rate=float(rate.mean()), against=against, moved=_moved(track),
    )  # fmt: skip


def _common(one: Track, other: Track) -> tuple[Any, Any]:
    _, mine, theirs = np.intersect1d(one.time_ms, other.time_ms, return_indices=True)
    return mine, theirs


def stretches(track: Track, *, gap_days: float = 3.5) -> list[Track]:
    """A track cut where days are missing: a rise over a hole is no rise over n days.

    A day or two that is missing does not cut; nor do the days between that were never asked for.
    """
    long = np.diff(track.time_ms, prepend=track.time_ms[:1]) > gap_days * DAY_MS
    cuts = np.flatnonzero(long & track.broken)
    parts = np.split(np.arange(len(track)), cuts)
    columns = ("time_ms", "until_ms", "margin_micro", "loss_micro", "gross_micro")
    return [
        Track(
            rulebook=track.rulebook, portfolio=track.portfolio, kind=track.kind,
            underlying=track.underlying, **{name: getattr(track, name)[part] for name in columns},
        )
        for part in parts if len(part)
    ]  # fmt: skip


def _procyclicality(track: Track) -> Procyclicality:
    """Peak to trough over all days, rises and changes within stretches without a hole."""
    whole = procyclicality(track.rate, time_ms=_days(track), spans=SPANS)
    parts = stretches(track)
    if len(parts) <= 1:
        return whole
    found = [procyclicality(one.rate, time_ms=_days(one), spans=SPANS) for one in parts]
    rises = {
        span: max(one.rises[span] for one in found if span in one.rises)
        for span in SPANS
        if any(span in one.rises for one in found)
    }
    calls = [one.largest_call * one.mean / whole.mean for one in found
             if one.largest_call is not None and whole.mean > 0.0]  # fmt: skip
    return Procyclicality(
        observations=whole.observations, mean=whole.mean, peak_to_trough=whole.peak_to_trough,
        rises=rises, sd_log_changes=_pooled(parts), largest_call=max(calls, default=None),
        why=whole.why,
    )  # fmt: skip


def extremes(track: Track) -> dict[str, tuple[int, int]]:
    """Measure of procyclicality → the two rows between which it is the largest, lower first."""
    rate = track.rate
    found: dict[str, tuple[int, int]] = {}
    if len(rate) and rate.min() > 0.0:
        found["peak to trough"] = int(np.argmin(rate)), int(np.argmax(rate))
    for span in SPANS[1:]:
        best, first = 0.0, 0
        for part in stretches(track):
            days, size = _days(part), len(part)
            later = np.searchsorted(days, days + span * DAY_MS, side="right") - 1
            fine = (later > np.arange(size)) & (days + span * DAY_MS <= days[-1])
            ratio = np.where(fine & (part.rate > 0.0), part.rate[later], 0.0)
            ratio = ratio / np.where(part.rate > 0.0, part.rate, 1.0)
            top = int(np.argmax(ratio))
            if ratio[top] > best:
                best = float(ratio[top])
                found[f"{span}-day rise"] = first + top, first + int(later[top])
            first += size
    return found


def _moved(track: Track) -> dict[str, str]:
    """Between which days and rates each measure of procyclicality is the largest."""
    return {name: _between(track, *rows) for name, rows in extremes(track).items()}


def _between(track: Track, one: int, other: int) -> str:
    told = [
        f"{100 * track.rate[at]:.2f} % of size on {moment_of(int(track.time_ms[at])):%Y-%m-%d}"
        for at in (one, other)
    ]
    return " and ".join(told)


def _days(track: Track) -> Int64:
    """Times as whole days from the first, where each day is told once: moments of days jitter."""
    whole = np.rint((track.time_ms - track.time_ms[0]) / DAY_MS).astype(np.int64) * DAY_MS
    return whole if bool((np.diff(whole) > 0).all()) else track.time_ms


def _pooled(parts: Sequence[Track]) -> float | None:
    changes = [np.diff(np.log(one.rate)) for one in parts if len(one) > 1 and (one.rate > 0).all()]
    together: Float64 = np.concatenate(changes) if changes else np.zeros(0)
    return float(together.std()) if len(together) else None


# ── the whole court ──────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What is wanted of a rulebook: a bound of one measure, over or under which it is missed."""

    name: str
    bound: float
    at_least: bool = False


CORE_TARGETS: Final = (Target(name="Kupiec p", bound=0.05, at_least=True),)
APC_TARGETS: Final = (
    Target(name="coverage", bound=0.993, at_least=True),
    Target(name="peak to trough", bound=5.0),
    Target(name="5-day rise", bound=1.65),
    Target(name="30-day rise", bound=2.4),
    Target(name="cost", bound=1.5),
)
SHIPPED_TARGETS: Final = {"solvent-core": CORE_TARGETS, "solvent-dynamic": APC_TARGETS}
"""What decision 0023 asks of them; a cost is the mean margin over the benchmark's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Missed:
    """A target that is not met, or not told: `found` is None where nothing could be measured.

    `why` says what was measured, `cause` what that was traced to (`trace`).
    """

    rulebook: str
    portfolio: str
    target: Target
    found: float | None
    why: str = ""
    cause: str = ""

    @property
    def off(self) -> float | None:
        """By how much it is missed, in the target's own unit."""
        return None if self.found is None else abs(self.found - self.target.bound)

    def __str__(self) -> str:
        sign = ">=" if self.target.at_least else "<="
        seen = "nothing told" if self.found is None else f"{self.found:.4g}"
        far = "" if self.off is None else f", off by {self.off:.3g}"
        said = ". ".join(part for part in (self.why, self.cause) if part)
        return (
            f"{self.rulebook}, {self.portfolio}: {self.target.name} {seen}, "
            f"wanted {sign} {self.target.bound:g}{far}{': ' * bool(said)}{said}"
        )

    def to_dict(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return {
            "rulebook": self.rulebook, "portfolio": self.portfolio, "target": self.target.name,
            "bound": self.target.bound, "at_least": self.target.at_least, "found": self.found,
            "off": self.off, "why": self.why, "cause": self.cause,
        }  # fmt: skip


def measure(one: Judgement, name: str) -> float | None:
    """A measure of a judgement by the name that targets use."""
    kupiec = one.test("Kupiec POF")
    told: dict[str, float | None] = {
        "Kupiec p": kupiec.p_value if kupiec else None,
        "coverage": one.coverage.covered,
        "peak to trough": one.run.peak_to_trough,
        "5-day rise": one.run.rises.get(5),
        "30-day rise": one.run.rises.get(30),
        "cost": one.cost,
    }
    return told[name]


def missed(one: Judgement, targets: Sequence[Target]) -> list[Missed]:
    """The targets that a judgement does not meet."""
    found = []
    for target in targets:
        seen = measure(one, target.name)
        if seen is None or (seen < target.bound if target.at_least else seen > target.bound):
            found.append(
                Missed(
                    rulebook=one.rulebook, portfolio=one.portfolio, target=target, found=seen,
                    why=_why(one, target.name),
                )
            )  # fmt: skip
    return found


def _why(one: Judgement, name: str) -> str:
    """What stands behind a measure that misses its target."""
    days, breaches = one.coverage.observations, one.coverage.breaches
    if name in ("Kupiec p", "coverage"):
        least, most = exam.non_rejection(observations=days, p=0.01) if days else (0, 0)
        mean, largest = 100 * one.sizes.mean, 100 * one.sizes.largest
        return (
            f"{breaches} breaches in {days:,} days ({least} to {most} pass at 99 %), on average "
            f"{mean:.3f} % of its size deep, at most {largest:.2f} %"
        )
    if name == "cost" and one.cost:
        return (
            f"it asks {100 * one.mean_rate:.2f} % of size on average, the benchmark "
            f"{100 * one.mean_rate / one.cost:.2f} %"
        )
    return one.moved.get(name, "")


def judgements(
    result: CourtResult, *, level: float = LEVEL, which: Which = "initial",
    benchmark: str | None = None,
) -> list[Judgement]:  # fmt: skip
    """Every rulebook and portfolio of which anything was judged.

    Raises BadInput for a benchmark that was not run, and for a level that is none.
    """
    if not 0.5 <= level < 1.0:
        raise BadInput(_bad("level", "0.5 to below 1", f"{level}"))
    if benchmark is not None and benchmark not in result.rulebooks:
        listed = ", ".join(result.rulebooks)
        raise BadInput(_bad("benchmark", f"one of {listed}", benchmark))
    base: dict[str, Track] = {}
    if benchmark is not None:
        number = result.rulebooks.index(benchmark)
        for at, name in enumerate(result.portfolios):
            base[name] = result.track(number, at, which=which)
    return [
        judge_track(track, level=level, benchmark=base.get(track.portfolio))
        for track in result.tracks(which=which)
    ]


def _bad(field: str, expected: str, found: str) -> Problem:
    return Problem(
        code=Reject.INPUT_INVALID, source="backtest", field=field, expected=expected, found=found
    )


def verdict(
    result: CourtResult, *, level: float = LEVEL, which: Which = "initial",
    benchmark: str | None = None, targets: Mapping[str, Sequence[Target]] | None = None,
    traced: Callable[[Sequence[Missed]], Sequence[Missed]] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """A backtest told as one document: what `--json` prints and the report draws.

    `traced` gives missed targets their causes (`trace.traced`); without it they have none.
    """
    rows = judgements(result, level=level, which=which, benchmark=benchmark)
    wanted = targets or {}
    misses: Sequence[Missed] = [
        miss for row in rows for miss in missed(row, wanted.get(row.rulebook, ()))
    ]
    if traced is not None:
        misses = traced(misses)
    return {
        "history": result.history,
        "days": len(result.time_ms),
        "first_ms": int(result.time_ms[0]),
        "last_ms": int(result.time_ms[-1]),
        "mpor_hours": result.mpor_ms / 3_600_000,
        "overlapping": result.overlapping,
        "level": level,
        "margin": which,
        "benchmark": benchmark,
        "rulebooks": [
            {"name": name, "digest": digest}
            for name, digest in zip(result.rulebooks, result.digests, strict=True)
        ],
        "rows": [row.to_dict() for row in rows],
        "targets": {
            name: [{"name": t.name, "bound": t.bound, "at_least": t.at_least} for t in listed]
            for name, listed in wanted.items()
        },
        "missed": [str(miss) for miss in misses],
        "missed_rows": [miss.to_dict() for miss in misses],
        "not_judged": not_judged(result),
        "notes": [{"code": n.code, "text": n.text, "count": n.count} for n in result.notes],
    }


def not_judged(result: CourtResult) -> list[dict[str, Any]]:
    """Cells without a judgement, counted by rulebook, portfolio and reason."""
    found = []
    for r, rulebook in enumerate(result.rulebooks):
        for p, portfolio in enumerate(result.portfolios):
            for cell in Cell:
                count = int((result.state[r, p] == cell).sum())
                if cell is Cell.JUDGED or not count:
                    continue
                why = result.reasons.get((r, p), "") if cell is Cell.REFUSED else ""
                found.append(
                    {"rulebook": rulebook, "portfolio": portfolio, "days": count,
                     "state": CELL_WORDS[cell], "why": why}
                )  # fmt: skip
    return found


def dollars(micro: Any) -> Float64:
    """Millionths of a dollar as dollars, for drawing."""
    return np.asarray(micro, dtype=np.float64) / MICRO
