"""The study of 10-11 October 2025 and February 2026: the same crowds under five rulebooks.

Two questions, asked apart. *On the real path* prices are what they were, and a venue of a crowd
that is made up goes through them: what is liquidated, deleveraged, given up beyond need? There the
venue may be late (`sim.lateness`). *In a market of its own* prices answer to liquidations
(`cascades`): how much further do they fall? Both are told over several seeds, as the least, the
median and the most. Beside them stand the facts that were published of Hyperliquid, as shares: a
made-up crowd has no size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np

from solvent.errors import SolventError
from solvent.lab.cascades.many import Done, spread
from solvent.lab.cascades.settings import Settings, settings_of
from solvent.lab.study_runs import STAGES, Task, ask, keep, kept_in
from solvent.sim.cascade_prices import Prices
from solvent.sim.lateness import ON_TIME, Lateness
from solvent.sim.regimes import STUDIED, Regime

FALL: Final = -0.0906
"""Bitcoin's fall of 10 October in 15-minute bars, from the path's first price to its lowest."""
WAVES_MS: Final = (0, 3_000, 44_000)
"""Lengths of a wave of deleveraging: none; of those published that took any time at all (0 to 44
seconds) the shortest; and the longest, which took most."""
OWN_ACCOUNTS: Final = 400
"""Holders of a market of its own, at most."""
LATE: Final = tuple(Lateness(mark_ms=one, waves_ms=WAVES_MS) for one in (0, 3_000))
"""On time, and one publication of Hyperliquid's oracle late: every 3 seconds, its documentation."""


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
        """The same as shares, under the names of a run's measures.

        >>> {name: round(one, 4) for name, one in Published().shares().items()}
        ... # doctest: +NORMALIZE_WHITESPACE
        {'adl_of_liquidated': 0.2762, 'adl_accounts': 0.0442, 'given': 0.0286, 'gaps': 0.0072,
         'deficits': 0.0476, 'beyond': 0.0214, 'beyond_of_given': 0.7491}
        """
        return {
            "adl_of_liquidated": self.adl / self.all_liquidated,
            "adl_accounts": self.adl_accounts / self.accounts,
            "given": self.given_up / self.adl, "gaps": self.needed / self.adl,
            "deficits": self.deficit / self.adl, "beyond": self.overshoot / self.adl,
            "beyond_of_given": self.overshoot / self.given_up,
        }  # fmt: skip


ASSUMPTIONS: Final = (
    ("The crowd is made up: sizes from a lognormal law with a median of 9,000 dollars, leverage "
     "with a median of 7 (single positions), 56 % long, 16 % short, 18 % several coins, 10 % "
     "pairs; the same positions under every rulebook, money topped up to what each asks at the "
     "opening. Each seed draws another crowd."),
    ("Prices on the real path are 15-minute bars of a spot exchange (October) and marks six hours "
     "apart (February), cut into moments of 2 to 3 %; inside a bar the extreme comes before the "
     "close. Real lows of smaller venues were deeper."),
    ("A late venue decides on marks of some seconds ago, whom it liquidates and at which price it "
     "deleverages; orders in the book are of now. Between moments prices go on a Brownian bridge "
     "whose variance is what each bar's range says (Parkinson), another with each seed. All that "
     "is deleveraged at a moment is one wave, decided at one mark and judged when it has ended."),
    ("Books are thin and grow thinner with moves: 3 % of open interest a side in calm. The fund "
     "has 0.25 % of open interest, a backstop (Hyperliquid) 1 %; a quarter of calls is met."),
    ("Rulebooks are those in force on the day, at the venues' published numbers; of GRVT's "
     "liquidation nothing was found, so the common stages stand for it. One lateness is asked of "
     "all: what other venues' is was not found."),
    ("In a market of its own, news of the size of bitcoin's fall in those bars comes within a "
     "quarter of an hour; docs/cascades.md tells the agents."),
)  # fmt: skip


def study(
    crashes: Sequence[Prices], *, accounts: int, runs: int, seeds: int = 1, seed: int = 1,
    regimes: Sequence[Regime] = STUDIED, latenesses: Sequence[Lateness] = LATE,
    folder: Path | None = None, processes: int | None = None, done: Done | None = None,
) -> dict[str, Any]:  # fmt: skip
    """All of it as a document.

    Args:
        accounts, seeds: on the real path: holders of each venue; crowds and paths of each rulebook.
        runs: seeds of each rulebook in a market of its own. seed: the first of both.
        latenesses: asked of prices that are known between their moments; others are on time.
        folder: keeps what is ready, so that a stopped study goes on. A run is kept under a digest
            of its prices, its settings and the code that makes it.

    Raises SolventError for no prices, rulebooks or seeds, or where the books did not stay sound.
    """
    if not crashes or not regimes or seeds < 1 or not latenesses:
        raise SolventError("the study: expected prices, rulebooks and seeds, found none")
    every = range(seed, seed + seeds)
    real = [
        Task(regime=regime, accounts=accounts, seed=one, prices=prices, lateness=late)
        for prices in crashes for late in _late(prices, latenesses)
        for regime in regimes for one in every
    ]  # fmt: skip
    few = min(accounts, OWN_ACCOUNTS)
    own = [
        Task(regime=regime, accounts=few, seed=seed + number, settings=_settings(regime, few))
        for regime in regimes if not regime.isolated for number in range(runs)
    ]  # fmt: skip
    found = _all([*real, *own], folder=folder, processes=processes, done=done)
    broken = [name for name, one in found.items() if one.get("violations")]
    if broken:
        raise SolventError(f"the study: expected books that stay sound, found others in {broken}")
    return {
        "accounts": accounts, "own_accounts": few, "seed": seed, "seeds": seeds, "runs": runs,
        "fall": FALL,
        "assumptions": list(ASSUMPTIONS),
        "published": {**asdict(Published()), "shares": Published().shares()},
        "crashes": [_crash(prices, [one for one in real if one.prices is prices], found)
                    for prices in crashes],
        "own": [
            _own(regime, [found[one.name] for one in own if one.regime is regime])
            for regime in regimes if not regime.isolated and runs
        ],
    }  # fmt: skip


def _late(prices: Prices, latenesses: Sequence[Lateness]) -> Sequence[Lateness]:
    return [ON_TIME] if prices.bars is None else latenesses


def _settings(regime: Regime, accounts: int) -> Settings:
    return settings_of(
        {"coins": ["BTC", "ETH"], "accounts": accounts, "steps": 90,
         "shock": {"move": FALL, "at": 10}, "holders": {"leverage": 5.0},
         "rules": {"rulebook": regime.rulebook}}, source="the study",
    )  # fmt: skip


def _all(
    tasks: Sequence[Task], *, folder: Path | None, processes: int | None, done: Done | None
) -> dict[str, dict[str, Any]]:
    """What came of each task, by its name; those that are kept are not asked again."""
    wanted = {one.name: one for one in tasks}
    kept = {name: one for name, one in kept_in(folder).items() if name in wanted}
    todo = [one for name, one in wanted.items() if name not in kept]
    for name, found in spread(ask, todo, processes=processes):
        kept[name] = found
        if folder is not None:
            keep(folder, name, found)
        if done is not None:
            done(len(kept), len(wanted))
    return kept


# ── what it came to ──────────────────────────────────────────────────────────────────────────────


def _crash(
    prices: Prices, tasks: Sequence[Task], found: Mapping[str, dict[str, Any]]
) -> dict[str, Any]:  # fmt: skip
    regimes = []
    for regime in dict.fromkeys(one.regime for one in tasks):
        mine = [one for one in tasks if one.regime is regime]
        late = [
            _lately(one, [found[task.name] for task in mine if task.lateness == one])
            for one in dict.fromkeys(task.lateness for task in mine)
        ]
        regimes.append({"name": regime.name, "title": regime.title, "rulebook": regime.rulebook,
                        "late": late})  # fmt: skip
    return {
        "name": prices.name, "title": prices.title, "source": prices.source,
        "times_ms": list(prices.times_ms), "price": {k: list(v) for k, v in prices.price.items()},
        "regimes": regimes,
    }  # fmt: skip


def _lately(lateness: Lateness, runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A rulebook's runs at one lateness."""
    judged = [
        {
            "wave_ms": wave_ms,
            "spread": reaches([_judged(run, place) for run in runs]),
            "pooled": _pooled(runs, place),
        }
        for place, wave_ms in enumerate(lateness.waves_ms)
    ]
    climbs = [np.array(one["cumulative"]) / one["open_interest"] for one in runs]
    return {
        "mark_ms": lateness.mark_ms, "straight": lateness.straight, "runs": list(runs),
        "judged": judged,
        "spread": reaches([_shares(run) for run in runs]),
        "cumulative": np.median(climbs, axis=0).tolist(),
    }  # fmt: skip


def _shares(run: dict[str, Any]) -> dict[str, float | None]:
    """A run's measures: of open interest unless said otherwise."""
    whole, value = run["open_interest"], run["value"]
    found: dict[str, float | None] = {stage: value[stage] / whole for stage in STAGES}
    return found | {
        "open_interest": whole, "liquidated": run["liquidated"] / whole,
        "socialised": run["socialised"] / whole, "uncovered": run["uncovered"] / whole,
        "adl_of_liquidated": _over(value["adl"], run["liquidated"]),
        "taken_over": run["taken_over"] / run["accounts"],
        "adl_accounts": run["adl_accounts"] / run["accounts"],
        "own_given": _over(run["given_up"], value["adl"]),
        "own_beyond": _over(run["overshoot"], run["given_up"]),
        "orders_refused": _over(sum(run["refused"].values()), sum(run["sent"].values())),
    }  # fmt: skip


def _judged(run: dict[str, Any], place: int) -> dict[str, float | None]:
    """What winners gave up at true prices in a run."""
    return _rates(run["judged"][place], run["value"]["adl"])


def _pooled(runs: Sequence[dict[str, Any]], place: int) -> dict[str, float | None]:
    """The same of all runs together, dollars added up."""
    keys = ("given_up", "got_more", "gaps", "deficits")
    total = {key: sum(run["judged"][place][key] for run in runs) for key in keys}
    return _rates(total, sum(run["value"]["adl"] for run in runs))


def _rates(one: Mapping[str, float], adl: float) -> dict[str, float | None]:
    """Of what was deleveraged unless said otherwise."""
    beyond = one["given_up"] - one["gaps"]
    return {
        "given": _over(one["given_up"], adl), "got_more": _over(one["got_more"], adl),
        "gaps": _over(one["gaps"], adl), "deficits": _over(one["deficits"], adl),
        "beyond": _over(beyond, adl), "beyond_of_given": _over(beyond, one["given_up"]),
        "beyond_deficits": _over(one["given_up"] - one["deficits"], adl),
    }  # fmt: skip


def _own(regime: Regime, runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    keys = ("overshoot", "fell", "liquidated", "adl", "margin", "refused")
    return {
        "name": regime.name, "title": regime.title, "rulebook": regime.rulebook,
        "runs": list(runs), "spread": reaches([{key: one[key] for key in keys} for one in runs]),
    }  # fmt: skip


def reaches(
    runs: Sequence[Mapping[str, float | None]],
) -> dict[str, dict[str, float] | None]:
    """The least, the median and the most of each measure, over the `runs` that have it.

    >>> reaches([{"a": 1.0, "b": None}, {"a": 4.0, "b": None}, {"a": 2.0, "b": None}])
    {'a': {'least': 1.0, 'median': 2.0, 'most': 4.0, 'runs': 3}, 'b': None}
    """
    told: dict[str, dict[str, float] | None] = {}
    for key in runs[0] if runs else ():
        values = [value for one in runs if (value := one[key]) is not None]
        told[key] = None if not values else {
            "least": min(values), "median": float(median(values)), "most": max(values),
            "runs": len(values),
        }  # fmt: skip
    return told


def _over(one: float, other: float) -> float | None:
    return one / other if other else None
