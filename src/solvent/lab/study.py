"""The study of 10-11 October 2025 and February 2026: the same crowd under five rulebooks.

Two questions, asked apart. *On the real path* prices are what they were, and a venue of a crowd
that is made up goes through them: what is liquidated, deleveraged, given up beyond need? *In a
market of its own* prices answer to liquidations (`cascades`): how much further do they fall? Beside
them stand the facts that were published of Hyperliquid, as shares: a made-up crowd has no size.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from solvent.errors import SolventError
from solvent.lab.cascades.many import Done, spread
from solvent.lab.cascades.run import simulate
from solvent.lab.cascades.settings import Settings, settings_of
from solvent.lab.page import Block, Series, write_page
from solvent.lab.svg import bars_svg, lines_svg
from solvent.sim.cascade import Crashed, crash
from solvent.sim.cascade_prices import Prices
from solvent.sim.regimes import STUDIED, Regime
from solvent.units import MICRO

STAGES: Final = ("book", "backstop", "fund", "adl")
FALL: Final = -0.0906
"""Bitcoin's fall of 10 October in 15-minute bars, from the path's first price to its lowest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What was published of Hyperliquid, 10 October 2025, 21:16 to 21:27 UTC, dollars.

    Sources: arXiv 2512.01112 and 2602.15182 and their repository (liquidated by deleveraging,
    deficit, needed, given up, overshoot, waves); the reconstruction of all events (all liquidated).
    """

    adl: float = 2_103_111_431.0
    all_liquidated: float = 7_614_000_000.0
    deficit: float = 100_060_000.0
    needed: float = 15_080_000.0
    given_up: float = 60_110_000.0
    overshoot: float = 45_028_666.0
    overshoot_late: float = 51_700_000.0
    waves: int = 16
    accounts: int = 437_723
    adl_accounts: int = 19_337
    negative_accounts: int = 302

    def shares(self) -> dict[str, float]:
        """The same as shares.

        >>> {name: round(one, 3) for name, one in Published().shares().items()}
        {'adl': 0.276, 'given_up': 0.029, 'overshoot': 0.749}
        """
        return {
            "adl": self.adl / self.all_liquidated, "given_up": self.given_up / self.adl,
            "overshoot": self.overshoot / self.given_up,
        }  # fmt: skip


ASSUMPTIONS: Final = (
    ("The crowd is made up: sizes from a lognormal law with a median of 9,000 dollars, leverage "
     "with a median of 7 (single positions), 56 % long, 16 % short, 18 % several coins, 10 % "
     "pairs; the same positions under every rulebook, money topped up to what each asks at the "
     "opening."),
    ("Prices on the real path are 15-minute bars of a spot exchange (October) and marks six hours "
     "apart (February), cut into moments of 2 to 3 %; inside a bar the extreme comes before the "
     "close. Real lows of smaller venues were deeper."),
    ("Books are thin and grow thinner with moves: 3 % of open interest a side in calm. The fund "
     "has 0.25 % of open interest, a backstop (Hyperliquid) 1 %; a quarter of calls is met."),
    ("Rulebooks are those in force on the day, at the venues' published numbers; of GRVT's "
     "liquidation nothing was found, so the common stages stand for it."),
    ("In a market of its own, news of the size of bitcoin's fall in those bars comes within a "
     "quarter of an hour; docs/cascades.md tells the agents."),
)  # fmt: skip


def study(
    crashes: Sequence[Prices], *, accounts: int, runs: int, seed: int = 1,
    regimes: Sequence[Regime] = STUDIED, folder: Path | None = None,
    processes: int | None = None, done: Done | None = None,
) -> dict[str, Any]:  # fmt: skip
    """All of it as a document.

    Args:
        accounts: holders of each venue. runs: seeds of each rulebook in a market of its own.
        folder: keeps what is ready, so that a stopped study goes on.

    Raises SolventError for no prices or no rulebooks, or where the books did not stay sound.
    """
    if not crashes or not regimes:
        raise SolventError("the study: expected prices and rulebooks, found none")
    real = [("real", one, regime, accounts, seed) for one in crashes for regime in regimes]
    own = [
        ("own", _settings(regime, accounts), regime, accounts, seed + number)
        for regime in regimes if not regime.isolated for number in range(runs)
    ]  # fmt: skip
    tasks: list[Any] = [*real, *own]
    kept = {name: one for name, one in _kept(folder).items() if name in map(_name, tasks)}
    todo = [one for one in tasks if _name(one) not in kept]
    for name, found in spread(_ask, todo, processes=processes):
        kept[name] = found
        if folder is not None:
            _keep(folder, name, found)
        if done is not None:
            done(len(kept), len(tasks))
    broken = [name for name, one in kept.items() if one.get("violations")]
    if broken:
        raise SolventError(f"the study: expected books that stay sound, found others in {broken}")
    return {
        "accounts": accounts, "seed": seed, "assumptions": list(ASSUMPTIONS),
        "published": {**_fields(), **{f"share_{k}": v for k, v in Published().shares().items()}},
        "crashes": [
            {
                "name": one.name, "title": one.title, "source": one.source,
                "times_ms": list(one.times_ms), "price": {k: list(v) for k, v in one.price.items()},
                "regimes": [kept[_name(("real", one, regime, accounts, seed))]
                            for regime in regimes],
            }
            for one in crashes
        ],
        "own": [
            _own(regime, [kept[_name(task)] for task in own if task[2] is regime])
            for regime in regimes if not regime.isolated and runs
        ],
        "runs": runs, "fall": FALL,
    }  # fmt: skip


def _fields() -> dict[str, float]:
    found = Published()
    return {name: getattr(found, name) for name in found.__dataclass_fields__}


def _settings(regime: Regime, accounts: int) -> Settings:
    return settings_of(
        {"coins": ["BTC", "ETH"], "accounts": accounts, "steps": 90,
         "shock": {"move": FALL, "at": 10}, "holders": {"leverage": 5.0},
         "rules": {"rulebook": regime.rulebook}}, source="the study",
    )  # fmt: skip


def _name(task: Any) -> str:
    kind, what, regime, accounts, seed = task
    which = what.name if kind == "real" else f"own-{what.digest}"
    return f"{which}-{regime.name}-{accounts}-{seed}"


def _ask(task: Any) -> tuple[str, dict[str, Any]]:
    from solvent.host import Engine

    kind, what, regime, accounts, seed = task
    if kind == "own":
        one = simulate(what, seed)
        return _name(task), {
            "overshoot": one.overshoot, "fell": max(m.fell for m in one.markets),
            "liquidated": one.liquidated() / one.interest,
            "adl": one.liquidated("adl") / one.interest, "margin": one.margin, "hash": one.hash,
        }  # fmt: skip
    memory = "/dev/shm"  # noqa: S108 a folder of its own is made in it
    place = memory if os.access(memory, os.W_OK) else None
    with (
        tempfile.TemporaryDirectory(dir=place) as folder,
        Engine.create(f"{folder}/venue") as engine,
    ):
        return _name(task), _told(crash(engine, what, regime, accounts=accounts, seed=seed))


def _told(run: Crashed) -> dict[str, Any]:
    value = {stage: run.total("reduced", stage) / MICRO for stage in STAGES}
    adl = {one.who for one in run.steps if one.stage == "adl"}
    return {
        "name": run.regime.name, "title": run.regime.title, "rulebook": run.regime.rulebook,
        "open_interest": run.open_interest_micro / MICRO, "money": run.money_micro / MICRO,
        "accounts": run.accounts, "taken_over": run.liquidated, "value": value,
        "liquidated": sum(value.values()), "adl_accounts": len(adl),
        "given_up": float(run.seized) / MICRO, "overshoot": float(run.overshoot) / MICRO,
        "socialised": run.paid["all winners"] / MICRO, "uncovered": run.uncovered / MICRO,
        "fund": [one.fund / MICRO for one in run.moments],
        "cumulative": np.cumsum(
            [sum(one.reduced.get(stage, 0) for stage in STAGES) / MICRO for one in run.moments]
        ).tolist(),
        "hash": run.state_hash, "audits": run.audits, "violations": run.violations,
    }  # fmt: skip


def _own(regime: Regime, runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    keys = ("overshoot", "fell", "liquidated", "adl", "margin")
    found: dict[str, Any] = {key: float(np.mean([one[key] for one in runs])) for key in keys}
    return {"name": regime.name, "title": regime.title, "rulebook": regime.rulebook, **found}


def _kept(folder: Path | None) -> dict[str, dict[str, Any]]:
    if folder is None or not folder.is_dir():
        return {}
    return {
        one.stem: json.loads(one.read_text("utf-8"))
        for one in sorted((folder / "kept").glob("*.json"))
    }


def _keep(folder: Path, name: str, found: dict[str, Any]) -> None:
    place = folder / "kept"
    place.mkdir(parents=True, exist_ok=True)
    beside = place / f"{name}.part"
    beside.write_text(json.dumps(found, allow_nan=False), "utf-8")
    beside.replace(place / f"{name}.json")


# ── shown ────────────────────────────────────────────────────────────────────────────────────────


def figures(document: dict[str, Any]) -> list[Block]:
    """Every figure of the study with its data."""
    blocks = []
    for one in document["crashes"]:
        regimes = one["regimes"]
        names = [each["title"] for each in regimes]
        hours = [(time_ms - one["times_ms"][0]) / 3_600_000 for time_ms in one["times_ms"]]
        blocks.append(Block(
            title=f"{one['title']}: liquidated, by where it went", kind="bars",
            y_title="% of open interest", note=one["source"],
            series=tuple(
                Series(name=stage, x=names,
                       y=[100 * each["value"][stage] / each["open_interest"] for each in regimes])
                for stage in STAGES
            ),
            columns=("rulebook", "open interest", *STAGES, "taken over", "deleveraged", "given up",
                     "beyond need", "socialised"),
            rows=tuple(
                (each["title"], each["open_interest"], *(each["value"][s] for s in STAGES),
                 each["taken_over"], each["adl_accounts"], each["given_up"], each["overshoot"],
                 each["socialised"]) for each in regimes
            ),
        ))  # fmt: skip
        climbs = tuple(
            Series(name=each["title"], x=hours,
                   y=[100 * x / each["open_interest"] for x in each["cumulative"]])
            for each in regimes
        )  # fmt: skip
        blocks.append(Block(
            title=f"{one['title']}: liquidated by then", x_title="hours", series=climbs,
            y_title="% of open interest", columns=("hour", *names),
            rows=tuple(zip(hours, *(each.y for each in climbs), strict=True)),
        ))  # fmt: skip
        first = {coin: path[0] for coin, path in one["price"].items()}
        paths = tuple(
            Series(name=coin, x=hours, y=[100 * x / first[coin] for x in path])
            for coin, path in one["price"].items()
        )
        blocks.append(Block(
            title=f"{one['title']}: prices", x_title="hours", y_title="% of the first",
            series=paths, columns=("hour", *one["price"]),
            rows=tuple(zip(hours, *(each.y for each in paths), strict=True)),
        ))  # fmt: skip
    blocks.append(_beside(document))
    if document["own"]:
        blocks.append(_market(document))
    return blocks


def _beside(document: dict[str, Any]) -> Block:
    told = document["published"]
    rows: list[tuple[Any, ...]] = [(
        "published: Hyperliquid", told["share_adl"], told["share_given_up"],
        told["share_overshoot"], told["adl_accounts"] / told["accounts"],
    )]  # fmt: skip
    for each in document["crashes"][0]["regimes"]:
        adl = each["value"]["adl"]
        rows.append((
            f"{each['title']} ({each['rulebook']})", _over(adl, each["liquidated"]),
            _over(each["given_up"], adl), _over(each["overshoot"], each["given_up"]),
            each["adl_accounts"] / each["accounts"],
        ))  # fmt: skip
    return Block(
        title="Beside what was published of 10 October 2025", columns=(
            "", "deleveraged, of all liquidated", "given up, of deleveraged",
            "beyond need, of given up", "accounts deleveraged"),
        rows=tuple(rows),
        note="Shares: the crowd is made up, so dollars cannot be compared. Given up: what winners "
        "got less than at the mark.",
    )  # fmt: skip


def _market(document: dict[str, Any]) -> Block:
    own = document["own"]
    return Block(
        title="In a market of its own: how far liquidations push the price", kind="bars",
        y_title="% of the price", note=f"Means of {document['runs']} runs; news of "
        f"{100 * document['fall']:.1f} %.",
        series=(Series(name="below fair at most", x=[one["title"] for one in own],
                       y=[100 * one["overshoot"] for one in own]),),
        columns=("rulebook", "below fair", "fell", "liquidated", "deleveraged", "margin"),
        rows=tuple((one["title"], one["overshoot"], one["fell"], one["liquidated"], one["adl"],
                    one["margin"]) for one in own),
    )  # fmt: skip


def _over(one: float, other: float) -> float | None:
    return one / other if other else None


def write_study(document: dict[str, Any], folder: Path) -> list[Path]:
    """The report as HTML, the document as JSON, and each figure as SVG; what was written."""
    folder.mkdir(parents=True, exist_ok=True)
    blocks = figures(document)
    report = folder / "study.html"
    write_page(report, title="Two crashes under five rulebooks", notes=document["assumptions"],
               blocks=blocks)  # fmt: skip
    written = [report, folder / "study.json"]
    written[1].write_text(json.dumps(document, allow_nan=False, indent=1) + "\n", "utf-8")
    for place, block in enumerate(one for one in blocks if one.series):
        path = folder / f"study_{place + 1}.svg"
        if block.kind == "bars":
            text = bars_svg(block.series, title=block.title, unit=" %")
        else:
            text = lines_svg(block.series, title=block.title, x_title=block.x_title, unit=" %")
        path.write_text(text, "utf-8")
        written.append(path)
    return written
