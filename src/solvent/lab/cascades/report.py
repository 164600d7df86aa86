"""What cascades came to as reports: the document that `--json` prints, in figures and tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from solvent.lab.cascades.facts import LAGS
from solvent.lab.cascades.many import MEASURES, QUANTILES, distribution
from solvent.lab.cascades.run import Outcome
from solvent.lab.cascades.settings import Settings
from solvent.lab.page import Block, Series, write_page

_BINS: Final = 24
_SHOWN: Final = ("overshoot", "liquidated", "fund_drawn")


def runs_document(
    settings: Settings, outcomes: Sequence[Outcome], path: Outcome | None = None
) -> dict[str, Any]:
    """Runs as a document: settings, distributions, a row for each run, and one run's path."""
    return {
        "settings": settings.model_dump(mode="json"), "digest": settings.digest,
        "runs": len(outcomes), "distribution": distribution(outcomes),
        "rows": [
            {"seed": one.seed, "hash": one.hash, **{each.name: each.of(one) for each in MEASURES}}
            for one in outcomes
        ],
        "path": {} if path is None else path.paths,
        "path_seed": None if path is None else path.seed,
        "steps_s": settings.step_s,
    }  # fmt: skip


def write_runs(document: dict[str, Any], out: Path) -> None:
    """The report of `solvent cascade run`."""
    told = document["settings"]
    rules, holders, shock = told["rules"], told["holders"], told["shock"]
    notes = [
        (
            f"{document['runs']:,} runs of {told['accounts']:,} accounts with "
            f"{holders['leverage']:g} times leverage in the median, {', '.join(told['coins'])}, "
            f"{told['venues']} "
            f"venue{'s' if told['venues'] > 1 else ''}, {told['steps']:,} steps of "
            f"{told['step_s']} seconds; news of {100 * shock['move']:g} %."
        ),
        (
            f"Rules: {rules['rulebook'] or rules['family']}, margin {100 * rules['margin']:g} %, "
            f"pace {rules['pace']}, a fund of {100 * rules['fund']:g} % of open interest. "
            f"Settings {document['digest']}; docs/cascades.md tells what is assumed."
        ),
    ]
    blocks = [_distribution(document), *_histograms(document), *_path(document)]
    write_page(out, title="Cascades", notes=notes, blocks=blocks)


def _distribution(document: dict[str, Any]) -> Block:
    names = [f"{100 * one:g} %" for one in QUANTILES]
    keys = [f"q{100 * one:g}" for one in QUANTILES]
    return Block(
        title="What runs came to",
        note="Shares of open interest, of a price, or of accounts; quantiles over runs.",
        columns=("", "mean", *names, "most"),
        rows=tuple(
            (row["title"], *(_percent(row[key]) for key in ("mean", *keys, "most")))
            for row in document["distribution"]
        ),
    )  # fmt: skip


def _percent(share: float) -> str:
    return f"{100 * share:,.4g} %"


def _histograms(document: dict[str, Any]) -> list[Block]:
    titles = {one.name: one.title for one in MEASURES}
    found = []
    for name in _SHOWN:
        values = np.array([row[name] for row in document["rows"]])
        counts, edges = np.histogram(values, bins=min(_BINS, max(4, len(values) // 4)))
        middle = ((edges[1:] + edges[:-1]) / 2).tolist()
        found.append(Block(
            title=f"Runs by {titles[name]}", kind="bars", x_title=titles[name], y_title="runs",
            series=(Series(name="runs", x=middle, y=counts.tolist()),), x_percent=True,
            columns=("from", "to", "runs"),
            rows=tuple(zip(map(_percent, edges[:-1].tolist()), map(_percent, edges[1:].tolist()),
                           counts.tolist(), strict=True)),
        ))  # fmt: skip
    return found


def _path(document: dict[str, Any]) -> list[Block]:
    paths = document["path"]
    if not paths:
        return []
    minutes = [step * document["steps_s"] / 60 for step in range(1, len(paths["liquidated"]) + 1)]
    seed = document["path_seed"]
    blocks = []
    for coin in document["settings"]["coins"]:
        names = [one for one in paths if one.endswith(f" {coin}") and one.startswith("price")]
        lines = [Series(name="fair", x=minutes, y=paths[f"fair {coin}"])]
        lines += [
            Series(name="price" if len(names) == 1 else f"venue {one.split()[1]}", x=minutes,
                   y=paths[one])
            for one in names
        ]  # fmt: skip
        blocks.append(Block(
            title=f"{coin}, seed {seed}", x_title="minutes", y_title="dollars", series=tuple(lines),
            columns=("minute", *(one.name for one in lines)),
            rows=tuple(zip(minutes, *(one.y for one in lines), strict=True)),
        ))  # fmt: skip
    blocks.append(Block(
        title=f"Liquidated by then, seed {seed}", x_title="minutes", y_title="dollars",
        series=(Series(name="liquidated", x=minutes, y=paths["liquidated"]),),
        columns=("minute", "dollars"),
        rows=tuple(zip(minutes, paths["liquidated"], strict=True)),
    ))  # fmt: skip
    return blocks


# ── the others ───────────────────────────────────────────────────────────────────────────────────


def write_search(document: dict[str, Any], out: Path) -> None:
    """The report of `solvent cascade search`."""
    blocks = []
    for fund, rows in document["frontier"].items():
        series = []
        for family in dict.fromkeys(one["family"] for one in document["policies"]):
            mine = [one for one in document["policies"] if one["family"] == family]
            series.append(Series(
                name=family, x=[one["average"] for one in mine],
                y=[max(0.0, max(one["needed"]) - float(fund)) for one in mine],
            ))  # fmt: skip
        cheapest = document["cheapest"][fund]
        said = (
            "no policy here keeps every run inside it" if cheapest is None
            else f"the cheapest that keeps every run inside it: {_policy(cheapest)}"
        )  # fmt: skip
        blocks.append(Block(
            title=f"A fund of {100 * float(fund):g} % of open interest", kind="points",
            note=f"Each point is a policy; below: those that no other beats; {said}.",
            x_title="average initial margin, of open interest",
            y_title="worst shortfall, of open interest", series=tuple(series),
            columns=("policy", "average margin", "worst shortfall", "mean need", "overshoot",
                     "liquidated"),
            rows=tuple(
                (_policy(one), one["average"], one["shortfall"], one["mean_needed"],
                 one["overshoot"], one["liquidated"]) for one in rows
            ),
        ))  # fmt: skip
        blocks.append(Block(
            title=f"The frontier of each family, a fund of {100 * float(fund):g} %",
            columns=("family", "margin", "pace", "average margin", "worst shortfall"),
            rows=tuple(
                (family, one["margin"], one["pace"], one["average"], one["shortfall"])
                for family, found in document["by_family"][fund].items() for one in found
            ),
        ))  # fmt: skip
    notes = [
        (
            f"{len(document['policies'])} policies through the same {document['runs']} crashes of "
            f"{100 * document['move']:g} % with {document['accounts']:,} accounts. What a policy "
            "needs is what a fund that takes everything lost at most; the shortfall is what a fund "
            "of a size lacks of it in the worst run."
        )
    ]
    blocks.append(Block(
        title="All policies",
        columns=("policy", "average margin", "worst need", "overshoot", "liquidated"),
        rows=tuple((_policy(one), one["average"], max(one["needed"]), one["overshoot"],
                    one["liquidated"]) for one in document["policies"]),
    ))  # fmt: skip
    write_page(out, title="Which rules keep a crash inside the fund", notes=notes, blocks=blocks)


def _policy(one: dict[str, Any]) -> str:
    return f"{one['family']}, {100 * one['margin']:g} %, {one['pace']}"


def write_contagion(document: dict[str, Any], out: Path) -> None:
    """The report of `solvent cascade contagion`."""
    names = tuple(document["markets"])
    titles = {
        "liquidated": "Open interest liquidated because of it",
        "overshoot": "How much further the price fell below its fair one",
    }
    blocks = [
        Block(
            title=titles[what], kind="heat", names=names,
            note="A row: the market that is struck. A column: the market that feels it.",
            matrix=tuple(tuple(row) for row in document[what]), columns=("struck", *names),
            rows=tuple((name, *row) for name, row in zip(names, document[what], strict=True)),
        )
        for what in titles
    ]  # fmt: skip
    notes = [(f"Means of {document['runs']} pairs of runs, with and without a blow of "
             f"{100 * document['move']:g} %.")]  # fmt: skip
    write_page(out, title="Contagion", notes=notes, blocks=blocks)


def write_leverage(document: dict[str, Any], out: Path) -> None:
    """The report of `solvent cascade leverage`."""
    rows = document["rows"]
    keys = ("overshoot", "liquidated", "adl", "fund_drawn")
    x = [one["leverage"] for one in rows]
    critical = document["critical"]
    said = "is not reached" if critical is None else f"is {critical:.1f}"
    block = Block(
        title="By leverage", x_title="median leverage", percent=True,
        note=f"The critical leverage, from which on {100 * document['share']:g} % of open interest "
        f"is liquidated, {said}. Means of {document['runs']} runs each.",
        series=tuple(Series(name=key, x=x, y=[one[key] for one in rows]) for key in keys),
        columns=("leverage", *keys),
        rows=tuple((one["leverage"], *(one[key] for key in keys)) for one in rows),
    )  # fmt: skip
    write_page(out, title="How far leverage carries a crash", notes=[], blocks=[block])


def write_facts(document: dict[str, Any], out: Path) -> None:
    """The report of `solvent cascade facts`."""
    columns = tuple(document["columns"])
    table = Block(
        title="Side by side", columns=("", *columns),
        rows=tuple((row["title"], *row["values"]) for row in document["rows"]),
        note="Medians over stretches of the same length; in brackets a tenth and nine tenths.",
    )  # fmt: skip
    lags = [str(one) for one in LAGS]
    memory = Block(
        title="Memory of the size of returns", kind="bars", x_title="lag", y_title="correlation",
        series=tuple(Series(name=name, x=lags, y=document["memory"][name]) for name in columns),
        columns=("lag", *columns),
        rows=tuple((lag, *(document["memory"][name][place] for name in columns))
                   for place, lag in enumerate(lags)),
    )  # fmt: skip
    write_page(out, title="Returns without leverage, beside real ones", notes=[],
               blocks=[table, memory])  # fmt: skip
