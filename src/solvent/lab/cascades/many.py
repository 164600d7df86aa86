"""Many runs: in parallel processes, in any order, with the same outcome by seed."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from solvent.lab.cascades.kept import Kept
from solvent.lab.cascades.run import Outcome, simulate
from solvent.lab.cascades.settings import Settings
from solvent.lab.cascades.tally import STAGES

Done = Callable[[int, int], None]
"""Called with runs done and runs in all."""
QUANTILES: Final = (0.05, 0.5, 0.95, 0.99, 0.999)
_ALONE: Final = 2
"""So few runs are not worth a process."""


def processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0))


def run_many(
    settings: Settings, seeds: Sequence[int], *, out: Path | None = None,
    processes: int | None = None, done: Done | None = None,
) -> list[Outcome]:  # fmt: skip
    """Outcomes in the order of `seeds`.

    Args:
        out: a file where runs are kept as they end; those that it has are not made again.
        processes: how many at once; as many as there are processors if not told.

    Raises BadInput for a file of other settings, SolventError for rules that do not fit.
    """
    kept = Kept(out, settings)
    todo = [seed for seed in dict.fromkeys(seeds) if seed not in kept.runs]
    count = len(set(seeds))
    if done is not None:
        done(count - len(todo), count)
    for outcome in spread(_one, [(settings, seed) for seed in todo], processes=processes):
        kept.add(outcome)
        if done is not None:
            done(sum(seed in kept.runs for seed in set(seeds)), count)
    return [kept.runs[seed] for seed in seeds]


def spread(
    work: Callable[[Any], Any], tasks: Sequence[Any], *, processes: int | None = None
) -> Iterator[Any]:
    """What `work` makes of each task, as it is ready; here, where there is little or one process.

    Processes are begun afresh: what threads of this one hold would not survive a fork.
    """
    count = min(len(tasks), processes or processors())
    if count <= 1 or len(tasks) <= _ALONE:
        yield from map(work, tasks)
        return
    with multiprocessing.get_context("spawn").Pool(count) as pool:
        yield from pool.imap_unordered(work, tasks)


def _one(task: tuple[Settings, int]) -> Outcome:
    return simulate(*task)


# ── distributions ────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Measure:
    """One number of a run, and what it is called. `share`: of open interest, or of a price."""

    name: str
    title: str
    of: Callable[[Outcome], float]
    share: bool = True


def _stage(stage: str) -> Callable[[Outcome], float]:
    return lambda one: one.liquidated(stage) / one.interest


MEASURES: Final = (
    Measure("overshoot", "price below fair at most", lambda one: one.overshoot),
    Measure("fell", "largest fall of a price", lambda one: max(m.fell for m in one.markets)),
    Measure("liquidated", "liquidated, of open interest",
            lambda one: one.liquidated() / one.interest),
    *(Measure(stage, f"… by {stage}", _stage(stage)) for stage in STAGES if stage != "backstop"),
    Measure("fund_drawn", "drawn from the fund, of open interest",
            lambda one: one.fund_drawn / one.interest),
    Measure("beyond", "losses that the fund did not bear, of open interest",
            lambda one: one.beyond / one.interest),
    Measure("taken_over", "accounts taken over", lambda one: one.taken_over / max(1, one.accounts)),
    Measure("adl_accounts", "accounts deleveraged",
            lambda one: one.adl_accounts / max(1, one.accounts)),
    Measure("refused", "commands refused",
            lambda one: sum(one.refused.values()) / max(1, one.commands)),
    Measure("margin", "initial margin asked, of open interest", lambda one: one.margin),
)  # fmt: skip


def distribution(outcomes: Iterable[Outcome]) -> list[dict[str, Any]]:
    """Mean, quantiles and largest of each measure over runs, a row each.

    A quantile between two runs is the one further out: of a few runs, 0.999 is the largest and
    0.05 the least.
    """
    runs = list(outcomes)
    rows = []
    for one in MEASURES:
        values = np.array([one.of(run) for run in runs])
        row: dict[str, Any] = {"name": one.name, "title": one.title, "mean": float(values.mean())}
        found = [
            float(np.quantile(values, level, method="lower" if level < 0.5 else "higher"))
            for level in QUANTILES
        ]
        row |= {f"q{100 * level:g}": value for level, value in zip(QUANTILES, found, strict=True)}
        rows.append({**row, "most": float(values.max())})
    return rows
