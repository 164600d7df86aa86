"""Sensitivity ladders: one thing moves in steps, everything else stands, everybody is margined.

Ladders are of `spot` (all underlyings together, and each alone), `vol` (levels of all surfaces),
`time`, `basis`, and `collateral` (what each asset is worth beyond its index). A rung is a full
re-margin.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import polars as pl

from solvent.errors import BadInput, Problem, Reject
from solvent.lab.stress.shock import EVERY, Move, Shock
from solvent.lab.stress.subject import Stand, Subject
from solvent.units import MICRO

LadderKind = Literal["spot", "vol", "time", "basis", "collateral"]
STEPS: Final[Mapping[str, tuple[float, ...]]] = {
    "spot": (-0.5, -0.4, -0.3, -0.2, -0.15, -0.1, -0.05, -0.02, 0.0,
             0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5),
    "vol": (-0.5, -0.3, -0.15, 0.0, 0.15, 0.3, 0.6, 1.0, 2.0),
    "time": (0.0, 1.0, 6.0, 12.0, 24.0, 72.0, 168.0),
    "basis": (-0.3, -0.2, -0.1, -0.05, 0.0, 0.05, 0.1, 0.2, 0.3),
    "collateral": (-0.5, -0.3, -0.2, -0.1, -0.05, 0.0),
}  # fmt: skip
"""Relative moves of prices and volatilities; hours; annualised log basis; relative worth."""
UNITS: Final[Mapping[str, str]] = {
    "spot": "relative move", "vol": "relative move of all volatilities", "time": "hours",
    "basis": "shift of the annualised log basis", "collateral": "relative change of worth",
}  # fmt: skip
ALL: Final = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """One step of one ladder; `of` is what moves, `note` what had to give way."""

    kind: str
    of: str
    step: float
    stand: Stand
    note: str


@dataclass(frozen=True)
class Ladders:
    """Rungs of a subject, ladder by ladder."""

    subject: Subject
    rungs: tuple[Rung, ...]

    def to_polars(self) -> pl.DataFrame:
        """A row a rung; dollars, sums over accounts that are known."""
        return pl.DataFrame([_row(one) for one in self.rungs], infer_schema_length=None)


def _row(one: Rung) -> dict[str, object]:
    stand = one.stand
    return {
        "ladder": one.kind, "of": one.of, "step": one.step,
        "equity": int(stand.equity_micro.sum()) / MICRO,
        "initial_margin": int(stand.initial_micro.sum()) / MICRO,
        "maintenance_margin": int(stand.maintenance_micro.sum()) / MICRO,
        "called": int((stand.call & ~stand.liquidate).sum()),
        "liquidated": int(stand.liquidate.sum()), "unknown": int((~stand.known).sum()),
        "shortfall": int(np.where(stand.known, stand.shortfall_micro, 0).sum()) / MICRO,
        "note": one.note,
    }  # fmt: skip


def ladders(
    subject: Subject, kinds: Sequence[LadderKind] = ("spot", "vol", "time", "basis", "collateral"),
    *, steps: Sequence[float] | None = None, progress: Callable[[str], object] | None = None,
) -> Ladders:  # fmt: skip
    """Climb ladders. `steps` are instead of the usual ones, in the ladder's own unit.

    Raises BadInput for steps that leave no price or volatility, and for time that runs back.
    """
    if steps is not None:
        _check_steps(kinds, steps)
    rungs = []
    for kind in kinds:
        for of, step, shock in _shocks(subject, kind, steps or STEPS[kind]):
            if progress is not None:
                progress(f"{kind} of {of}")
            hours = subject.hours(shock)
            note = "" if hours == shock.hours else f"time stops after {hours:.2f} h: an expiry"
            rungs.append(Rung(kind=kind, of=of, step=step, stand=subject.at(shock), note=note))
    return Ladders(subject, tuple(rungs))


def _check_steps(kinds: Sequence[str], steps: Sequence[float]) -> None:
    bounds = {"spot": (-0.999, 100.0), "vol": (-0.95, 19.0), "time": (0.0, 8_760.0),
              "basis": (-3.0, 3.0), "collateral": (-1.0, 10.0)}  # fmt: skip
    for kind in kinds:
        low, high = bounds[kind]
        for step in steps:
            if not (math.isfinite(step) and low <= step <= high):
                raise BadInput(
                    Problem(code=Reject.INPUT_INVALID, source="steps", field=kind,
                            expected=f"numbers from {low:g} to {high:g}", found=repr(step))
                )  # fmt: skip


def _shocks(
    subject: Subject, kind: str, steps: Sequence[float]
) -> Iterator[tuple[str, float, Shock]]:
    """(what moves, the step, the shock) of a ladder."""
    if kind == "spot":
        whole = [ALL, *subject.underlyings] if len(subject.underlyings) > 1 else [ALL]
        for of in whole:
            key = EVERY if of == ALL else of
            yield from ((of, one, Shock(moves={key: Move(spot=one)})) for one in steps)
    elif kind == "vol":
        for one in steps:
            yield ALL, one, Shock(moves={EVERY: Move(level=math.log1p(one))})
    elif kind == "time":
        yield from ((ALL, one, Shock(hours=one)) for one in steps)
    elif kind == "basis":
        yield from ((ALL, one, Shock(moves={EVERY: Move(basis=one)})) for one in steps)
    else:
        owned = dict.fromkeys(
            asset for group in subject.groups for asset in group.books.balances.asset
        )
        for asset in owned:
            yield from ((asset, one, Shock(worth={asset: one})) for one in steps)
