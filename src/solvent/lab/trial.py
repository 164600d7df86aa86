"""Rules on trial: one history under several rulebooks, and who was better off under which.

A *journal* is replayed as it was (`counterfactual`): commands stay what they were, so what is told
of other rules is whom they would have called and wound up, and what was left unpaid. A *history* of
prices is gone through by a crowd that is made up, and every rulebook acts: it liquidates, and
losses fall on the fund, on winners, on all.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from solvent import counterfactual
from solvent.counterfactual import RECORDED, World
from solvent.errors import BadInput, Problem, Reject, SolventError
from solvent.feeds.library import load_rulebook
from solvent.lab.cascades.many import Done, spread
from solvent.lab.cascades.measured import BAR_S, read_bars
from solvent.lab.page import Block, Series, write_page
from solvent.sim.cascade import Crashed, crash
from solvent.sim.cascade_prices import Prices, refined
from solvent.sim.regimes import Regime
from solvent.units import MICRO

MOMENTS_MAX: Final = 2_000
"""Prices of a history that are gone through: choose a part of a longer one."""
SIZES: Final = (("small", 0.0), ("middle", 0.5), ("large", 0.9))
"""Accounts by their largest initial margin under the first rules: from which share of them on."""


def is_history(where: str) -> bool:
    """Whether a name is a file of prices, and not a journal.

    >>> is_history("BTC_USD_15m.csv.gz"), is_history("my-venue")
    (True, False)
    """
    return where.endswith((".csv", ".csv.gz"))


# ── a journal ────────────────────────────────────────────────────────────────────────────────────


def of_journal(
    url: str, rulebooks: Sequence[str], *, only: str | None = None,
    processes: int | None = None, done: Done | None = None,
) -> dict[str, Any]:  # fmt: skip
    """A recorded history as it was and under each rulebook, as a document.

    Raises SolventError for no rulebook or one twice, JournalError for a journal that cannot be
    read, ReplayDiverged where the history does not come out as recorded.
    """
    _distinct(rulebooks)
    tasks: list[tuple[str, str | None, str | None]] = [(url, None, only)]
    tasks += [(url, one, only) for one in rulebooks]
    found: dict[str, World] = {}
    for name, world in spread(_world, tasks, processes=processes):
        found[name] = world
        if done is not None:
            done(len(found), len(tasks))
    worlds = [found[name] for name in (RECORDED, *rulebooks)]
    return {
        "kind": "journal", "source": url, "rulebooks": [RECORDED, *rulebooks],
        "rows": [_of_world(one) for one in worlds],
        "times_ms": [one.time_ms for one in worlds[0].points],
        "series": {
            name: {
                "initial": [point.initial_micro / MICRO for point in one.points],
                "called": [point.called for point in one.points],
                "liquidatable": [point.liquidatable for point in one.points],
                "shortfall": [point.shortfall_micro / MICRO for point in one.points],
            }
            for name, one in zip((RECORDED, *rulebooks), worlds, strict=True)
        },
        "for_whom": _for_whom(worlds, (RECORDED, *rulebooks)),
        "note": "The commands are the recorded ones: nobody begins a liquidation that only other "
        "rules would have needed, so shortfalls are what acting would have had to prevent.",
    }  # fmt: skip


def _world(task: tuple[str, str | None, str | None]) -> tuple[str, World]:
    url, rulebook, only = task
    other = None if rulebook is None else counterfactual.other_rules(rulebook, only)
    return rulebook or RECORDED, counterfactual.run(url, other)


def _of_world(one: World) -> dict[str, Any]:
    initial = [point.initial_micro / MICRO for point in one.points]
    return {
        "name": one.name, "called": len(one.called), "liquidatable": len(one.liquidatable),
        "begun": one.done["begin_liquidation"], "socialised": one.done["socialise_loss"],
        "shortfall": max((point.shortfall_micro / MICRO for point in one.points), default=0.0),
        "refused": len(one.rejected), **_capital(initial),
    }  # fmt: skip


def _capital(initial: Sequence[float]) -> dict[str, Any]:
    """What a margin locked, and how it ran after the market: over moments at which any was asked.

    `peak_to_trough` is the most over the least, `largest_step` the most over the moment before.
    """
    asked = np.array([one for one in initial if one > 0.0])
    if not len(asked):
        return {"mean": 0.0, "peak": 0.0, "peak_to_trough": None, "largest_step": None}
    steps = asked[1:] / asked[:-1]
    return {
        "mean": float(asked.mean()),
        "peak": float(asked.max()),
        "peak_to_trough": float(asked.max() / asked.min()),
        "largest_step": float(steps.max()) if len(steps) else None,
    }


def _for_whom(worlds: Sequence[World], names: Sequence[str]) -> list[dict[str, Any]]:
    """By size of account: under which rules the most of them were asked for least at their peak
    (equals count for each), and how many each rules' would have called and wound up."""
    first = worlds[0].largest
    order = sorted(first, key=lambda name: (first[name], name))
    rows = []
    for place, (title, begin) in enumerate(SIZES):
        end = SIZES[place + 1][1] if place + 1 < len(SIZES) else 1.0
        mine = order[int(begin * len(order)) : int(end * len(order))]
        least = dict.fromkeys(names, 0)
        for account in mine:
            asked = [one.largest.get(account, 0) for one in worlds]
            if len(set(asked)) > 1:
                for name, one in zip(names, asked, strict=True):
                    least[name] += one == min(asked)
        rows.append({
            "size": title, "accounts": len(mine), "least": least,
            "called": {name: sum(a in one.called for a in mine)
                       for name, one in zip(names, worlds, strict=True)},
            "liquidatable": {name: sum(a in one.liquidatable for a in mine)
                             for name, one in zip(names, worlds, strict=True)},
        })  # fmt: skip
    return rows


# ── a history ────────────────────────────────────────────────────────────────────────────────────


def of_history(
    path: Path, rulebooks: Sequence[str], *, accounts: int = 1_000, seed: int = 1,
    start: int | None = None, bars: int | None = None, processes: int | None = None,
    done: Done | None = None,
) -> dict[str, Any]:  # fmt: skip
    """A history of prices under each rulebook, with a crowd that is made up, as a document.

    Args:
        path: 15-minute bars of one coin, as CSV; the file's name begins with the coin.
        start, bars: a part of it, from which bar on and how many; else where it fell most.

    Raises BadInput for a file that cannot be used, SolventError for rulebooks that do not fit.
    """
    _distinct(rulebooks)
    for name in rulebooks:
        load_rulebook(name)
    prices = prices_of(path, start=start, bars=bars)
    tasks = [(prices, name, accounts, seed) for name in rulebooks]
    found: dict[str, dict[str, Any]] = {}
    for name, told in spread(_crashed, tasks, processes=processes):
        found[name] = told
        if done is not None:
            done(len(found), len(tasks))
    coin = next(iter(prices.price))
    for name in rulebooks:
        if not found[name]["row"]["peak"]:
            raise SolventError(
                f"{path}: expected bars of a coin that {name} knows (the file's name begins with "
                f"it), found {coin}, of which nobody could hold anything"
            )
    return {
        "kind": "history", "source": f"{path.name}: {prices.title}", "rulebooks": list(rulebooks),
        "rows": [found[name]["row"] for name in rulebooks], "times_ms": list(prices.times_ms),
        "series": {name: found[name]["series"] for name in rulebooks},
        "for_whom": _whom_of_history([found[name] for name in rulebooks], rulebooks),
        "note": f"{accounts:,} made-up accounts from seed {seed}, the same positions "
        "under every rulebook, money topped up to what each asks at the opening; between bars "
        "prices lie on straight lines of logs. Every rulebook acts.",
    }  # fmt: skip


def prices_of(path: Path, *, start: int | None = None, bars: int | None = None) -> Prices:
    """A part of a file of bars as prices; each bar is its low and its close.

    Without `start`, 96 bars (or `bars`) that end an eighth after the lowest point of the largest
    fall within them. Raises BadInput for a part that is not there.
    """
    found = read_bars(path)
    count = min(bars or 96, len(found.close))
    if start is None:
        fell = [
            float(found.low[at : at + count].min() / found.open[at])
            for at in range(0, len(found.close) - count + 1, max(1, count // 8))
        ]
        start = max(1, count // 8) * int(np.argmin(fell))
    if start < 0 or count < 2 or start + count > len(found.close):
        raise BadInput(Problem(
            code=Reject.INPUT_INVALID, source=str(path), field="start",
            expected=f"a part of {len(found.close):,} bars", found=f"{start} and {count} more",
        ))  # fmt: skip
    times, path_of = [0], [float(found.open[start])]
    for place in range(start, start + count):
        begin = (place - start) * BAR_S * 1_000
        times += [begin + BAR_S * 500, begin + BAR_S * 1_000]
        path_of += [float(found.low[place]), float(found.close[place])]
    prices = Prices(
        name=found.coin.lower(), title=f"{found.coin}, {count} bars from bar {start:,} on",
        source=path.name, times_ms=tuple(_BEGIN_MS + one for one in times),
        price={found.coin: tuple(path_of)},
    )  # fmt: skip
    fine = refined(prices, most=0.03, least=0.004)
    if len(fine.times_ms) > MOMENTS_MAX:
        raise SolventError(f"{path}: expected at most {MOMENTS_MAX:,} moments, found "
                           f"{len(fine.times_ms):,}; choose fewer bars")  # fmt: skip
    return fine


_BEGIN_MS: Final = 1_760_054_400_000
"""2025-10-10: the day by which rulebooks are in force."""


def _crashed(task: tuple[Prices, str, int, int]) -> tuple[str, dict[str, Any]]:
    from solvent.host import Engine

    prices, name, accounts, seed = task
    regime = Regime(name=name, title=name, rulebook=name)
    memory = "/dev/shm"  # noqa: S108 a folder of its own is made in it
    place = memory if os.access(memory, os.W_OK) else None
    with (
        tempfile.TemporaryDirectory(dir=place) as folder,
        Engine.create(f"{folder}/venue") as engine,
    ):
        return name, _of_crash(crash(engine, prices, regime, accounts=accounts, seed=seed))


def _of_crash(run: Crashed) -> dict[str, Any]:
    called = {one.account for one in run.steps if one.stage == "call"}
    begun = {one.account for one in run.steps if one.stage == "begin"}
    initial = [one.initial / MICRO for one in run.moments]
    short = run.paid["all winners"] / MICRO
    reduced = [sum(one.reduced.values()) / MICRO for one in run.moments]
    return {
        "row": {
            "name": run.regime.name, "called": len(called), "liquidatable": len(begun),
            "begun": len(begun), "socialised": short, "shortfall": run.uncovered / MICRO,
            "given_up": float(run.seized) / MICRO, "liquidated": sum(reduced),
            "deposited": run.money_micro / MICRO,
            "fund_lost": (run.moments[0].fund - min(one.fund for one in run.moments)) / MICRO,
            **_capital(initial),
        },
        "series": {
            "initial": initial, "called": [one.calls for one in run.moments],
            "liquidatable": [one.begun for one in run.moments],
            "shortfall": np.cumsum(reduced).tolist(),
        },
        "called": sorted(called), "begun": sorted(begun),
    }  # fmt: skip


def _whom_of_history(
    found: Sequence[dict[str, Any]], names: Sequence[str]
) -> list[dict[str, Any]]:  # fmt: skip
    """Who was wound up under some rules and not under others."""
    everybody = [set(one["begun"]) for one in found]
    rows = []
    for name, mine in zip(names, everybody, strict=True):
        others = set().union(*(one for one in everybody if one is not mine))
        rows.append({
            "size": name, "accounts": len(mine), "only_here": len(mine - others),
            "spared_here": len(others - mine),
        })  # fmt: skip
    return rows


def _distinct(rulebooks: Sequence[str]) -> None:
    if not rulebooks or len(set(rulebooks)) < len(rulebooks):
        raise SolventError(f"rules on trial: expected rulebooks, each once, found "
                           f"{', '.join(rulebooks) or 'none'}")  # fmt: skip


# ── shown ────────────────────────────────────────────────────────────────────────────────────────

_COLUMNS: Final = {
    "journal": ("called", "liquidatable", "begun", "refused", "shortfall"),
    "history": ("called", "begun", "liquidated", "fund_lost", "given_up", "socialised",
                "shortfall", "deposited"),
}  # fmt: skip
_CAPITAL: Final = ("mean", "peak", "peak_to_trough", "largest_step")
TITLES: Final = {
    "called": "called", "liquidatable": "below maintenance", "begun": "taken over",
    "refused": "commands refused", "shortfall": "left unpaid, USD", "liquidated": "liquidated, USD",
    "fund_lost": "the fund lost, USD", "given_up": "winners gave up, USD",
    "socialised": "shared by all, USD", "deposited": "money brought, USD",
    "mean": "margin, mean, USD", "peak": "margin, most, USD", "peak_to_trough": "most / least",
    "largest_step": "largest step",
}  # fmt: skip


def verdict(document: dict[str, Any]) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    """The columns and rows of the comparison: a rulebook a row."""
    keys = (*_COLUMNS[document["kind"]], *_CAPITAL)
    rows = [
        (name, *(row[key] for key in keys))
        for name, row in zip(document["rulebooks"], document["rows"], strict=True)
    ]
    return ("rules", *(TITLES[key] for key in keys)), rows


def whom(document: dict[str, Any]) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    """The columns and rows of who was better off under which rules."""
    names = document["rulebooks"]
    if document["kind"] == "history":
        keys = ("size", "accounts", "only_here", "spared_here")
        told = [tuple(one[key] for key in keys) for one in document["for_whom"]]
        return ("rules", "taken over", "nowhere else", "elsewhere, not here"), told
    columns = ("accounts", "how many", *(f"asked least by {name}" for name in names),
               *(f"below maintenance: {name}" for name in names))  # fmt: skip
    return columns, [
        (one["size"], one["accounts"], *(one["least"][name] for name in names),
         *(one["liquidatable"][name] for name in names))
        for one in document["for_whom"]
    ]  # fmt: skip


def write_trial(document: dict[str, Any], out: Path) -> None:
    """The report: who was better, for whom, and each requirement over time."""
    columns, rows = verdict(document)
    blocks = [Block(title="Side by side", columns=columns, rows=tuple(rows))]
    columns, rows = whom(document)
    blocks.append(Block(title="For whom", columns=columns, rows=tuple(rows)))
    hours = [(one - document["times_ms"][0]) / 3_600_000 for one in document["times_ms"]]
    titles = {
        "initial": "Initial margin of all, USD", "called": "Accounts called",
        "liquidatable": "Accounts below maintenance" if document["kind"] == "journal"
        else "Accounts taken over",
        "shortfall": "Shortfall, USD" if document["kind"] == "journal"
        else "Liquidated by then, USD",
    }  # fmt: skip
    for key, title in titles.items():
        series = tuple(
            Series(name=name, x=hours, y=document["series"][name][key])
            for name in document["rulebooks"]
        )
        blocks.append(Block(
            title=title, x_title="hours", series=series, columns=("hour", *document["rulebooks"]),
            rows=tuple(zip(hours, *(one.y for one in series), strict=True)),
        ))  # fmt: skip
    write_page(out, title=f"Rules on trial: {document['source']}", notes=[document["note"]],
               blocks=blocks)  # fmt: skip
