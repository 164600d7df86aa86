"""One run of the study, and runs that are kept.

What a run came to is kept under a name that holds a digest of all it depends on: its prices, its
settings, and Solvent's own code and rulebooks. So nothing is used again once any of them is other.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np

import solvent
from solvent.lab.cascades.run import simulate
from solvent.lab.cascades.settings import Settings
from solvent.sim.cascade import crash
from solvent.sim.cascade_prices import Prices
from solvent.sim.cascade_result import Crashed
from solvent.sim.lateness import ON_TIME, Lateness
from solvent.sim.regimes import Regime
from solvent.units import MICRO

STAGES: Final = ("book", "backstop", "fund", "adl")
_SHOWS: Final = ("cli", "client", "dashboard", "service", "proofs", "verify")
"""Packages that no run comes through."""
_RUNS_IN_LAB: Final = ("lab/cascades/", "lab/study_runs.py")


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A run to be made: on real `prices`, or in a market of its own by `settings`."""

    regime: Regime
    accounts: int
    seed: int
    prices: Prices | None = None
    settings: Settings | None = None
    lateness: Lateness = ON_TIME

    @property
    def name(self) -> str:
        """A file's name: for people to read, and the digest."""
        which = "own" if self.prices is None else self.prices.name
        told = [which, self.regime.name, str(self.accounts), str(self.seed)]
        if self.lateness.mark_ms:
            told.append(f"late{self.lateness.mark_ms}" + "s" * self.lateness.straight)
        return "-".join([*told, self.digest])

    @property
    def digest(self) -> str:
        """A name for all that the run depends on."""
        told = {
            "code": code_digest(), "numpy": np.__version__,
            "regime": asdict(self.regime), "accounts": self.accounts,
            "seed": self.seed, "lateness": asdict(self.lateness),
            "prices": None if self.prices is None else asdict(self.prices),
            "settings": None if self.settings is None else self.settings.digest,
        }  # fmt: skip
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


@cache
def code_digest() -> str:
    """A name for all of Solvent's files that a run may come through."""
    told = hashlib.sha256()
    for name, path in code_files().items():
        told.update(f"{name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return told.hexdigest()


def code_files() -> dict[str, Path]:
    """Modules and rulebooks by their place in the package, but for those that only show."""
    root = Path(solvent.__file__).parent
    found = {
        path.relative_to(root).as_posix(): path
        for path in sorted(root.rglob("*")) if path.suffix in (".py", ".toml")
    }  # fmt: skip
    return {
        name: path for name, path in found.items()
        if name.partition("/")[0] not in _SHOWS
        and (not name.startswith("lab/") or name.startswith(_RUNS_IN_LAB))
    }  # fmt: skip


def ask(task: Task) -> tuple[str, dict[str, Any]]:
    """Make a run: its name, and what it came to. Dollars, shares and counts."""
    from solvent.host import Engine

    if task.prices is None:
        assert task.settings is not None, "a run has prices or settings"
        one = simulate(task.settings, task.seed)
        return task.name, {
            "seed": task.seed, "overshoot": one.overshoot, "fell": max(m.fell for m in one.markets),
            "liquidated": one.liquidated() / one.interest,
            "adl": one.liquidated("adl") / one.interest, "margin": one.margin,
            "refused": sum(one.refused.values()) / one.commands, "refused_by": one.refused,
            "hash": one.hash,
        }  # fmt: skip
    memory = "/dev/shm"  # noqa: S108 a folder of its own is made in it
    place = memory if os.access(memory, os.W_OK) else None
    with (
        tempfile.TemporaryDirectory(dir=place) as folder,
        Engine.create(f"{folder}/venue") as engine,
    ):
        made = crash(engine, task.prices, task.regime, accounts=task.accounts, seed=task.seed,
                     lateness=task.lateness)  # fmt: skip
        return task.name, {"seed": task.seed, **_told(made)}


def _told(run: Crashed) -> dict[str, Any]:
    value = {stage: run.total("reduced", stage) / MICRO for stage in STAGES}
    return {
        "open_interest": run.open_interest_micro / MICRO, "money": run.money_micro / MICRO,
        "accounts": run.accounts, "taken_over": run.liquidated, "value": value,
        "liquidated": sum(value.values()),
        "adl_accounts": len({one.who for one in run.steps if one.stage == "adl"}),
        "waves": sum("adl" in one.reduced for one in run.moments),
        "given_up": float(run.seized) / MICRO, "overshoot": float(run.overshoot) / MICRO,
        "judged": [
            {
                "wave_ms": one.wave_ms, "given_up": float(one.given_up) / MICRO,
                "got_more": float(one.got_more) / MICRO, "gaps": float(one.gaps) / MICRO,
                "deficits": float(one.deficits) / MICRO,
            }
            for one in run.judged
        ],
        "socialised": run.paid["all winners"] / MICRO, "uncovered": run.uncovered / MICRO,
        "sent": dict(run.sent), "refused": dict(run.refused), "steps": len(run.steps),
        "steps_refused": dict(run.rejected),
        "fund": [one.fund / MICRO for one in run.moments],
        "cumulative": np.cumsum(
            [sum(one.reduced.get(stage, 0) for stage in STAGES) / MICRO for one in run.moments]
        ).tolist(),
        "hash": run.state_hash, "audits": run.audits, "violations": run.violations,
    }  # fmt: skip


# ── kept ─────────────────────────────────────────────────────────────────────────────────────────


def kept_in(folder: Path | None) -> dict[str, dict[str, Any]]:
    """Runs of a folder by their names; none where there is no folder."""
    if folder is None or not folder.is_dir():
        return {}
    return {
        one.stem: json.loads(one.read_text("utf-8"))
        for one in sorted((folder / "kept").glob("*.json"))
    }


def keep(folder: Path, name: str, found: dict[str, Any]) -> None:
    """Keep a run: whole, or not at all."""
    place = folder / "kept"
    place.mkdir(parents=True, exist_ok=True)
    beside = place / f"{name}.part"
    beside.write_text(json.dumps(found, allow_nan=False), "utf-8")
    beside.replace(place / f"{name}.json")
