"""The study as figures, each with its data: a page, the document, and pictures.

Where there are several seeds, a bar is the median, the line on it goes from the least to the most,
and a table says `median (least to most)`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from solvent.lab.page import Block, Series, shown, write_page
from solvent.lab.study_runs import STAGES
from solvent.lab.svg import bars_svg, lines_svg

_TOLD_MAX: Final = 60
"""Rows of a table that is for people to read."""
Spread = Mapping[str, float] | None
_BEYOND: Final = ((0, 0), (0, 44_000), (3_000, 3_000), (3_000, 44_000))
"""Age of the mark and length of the wave, of those that are in a picture."""


def figures(document: dict[str, Any]) -> list[Block]:
    """Every figure of the study with its data."""
    blocks = []
    for one in document["crashes"]:
        blocks += [_stages(one), _climbs(one), _prices(one)]
        if len(one["regimes"][0]["late"]) > 1:
            blocks += [_beyond(one, document["published"]["shares"]), _lately(one)]
    blocks.append(_beside(document))
    if document["own"]:
        blocks.append(_market(document))
    blocks.append(_refused(document))
    return blocks


def told(spread: Spread, scale: float = 1.0) -> str | None:
    """A spread in words: one number where all are the same; None where no run has it.

    >>> told({"least": 0.011, "median": 0.02, "most": 0.05, "runs": 5}, 100)
    '2 (1.1 to 5)'
    >>> told({"least": 3.0, "median": 3.0, "most": 3.0, "runs": 1})
    '3'
    """
    if spread is None:
        return None
    least, middle, most = (_short(scale * spread[key]) for key in ("least", "median", "most"))
    return middle if least == most else f"{middle} ({least} to {most})"


def _short(value: float) -> str:
    """Three significant digits, and no more than two behind the point."""
    if abs(value) >= 100:
        return shown(round(value))
    # What rounds to nothing has no sign.
    return f"{round(value, 1 if abs(value) >= 10 else 2) + 0.0:g}"


def _bars(name: str, x: list[str], spreads: list[Spread], scale: float = 100.0) -> Series:
    """Medians as bars, with their reach; nothing of what no run has."""

    def of(key: str) -> list[float]:
        return [0.0 if one is None else scale * one[key] for one in spreads]

    reach = any(one is not None and one["runs"] > 1 for one in spreads)
    return Series(name=name, x=x, y=of("median"), least=of("least") if reach else (),
                  most=of("most") if reach else ())  # fmt: skip


def _stages(one: dict[str, Any]) -> Block:
    regimes = one["regimes"]
    names = [each["title"] for each in regimes]
    spreads = [each["late"][0]["spread"] for each in regimes]
    return Block(
        title=f"{one['title']}: liquidated, by where it went", kind="bars",
        y_title="% of open interest", note=f"{one['source']}; marks that are on time.",
        series=tuple(_bars(stage, names, [each[stage] for each in spreads]) for stage in STAGES),
        columns=("rulebook, % of open interest", "open interest, dollars", *STAGES, "liquidated",
                 "socialised", "owed by nobody paid", "accounts taken over, %",
                 "accounts deleveraged, %"),
        rows=tuple(
            (name, told(each["open_interest"]), *(told(each[stage], 100) for stage in STAGES),
             told(each["liquidated"], 100), told(each["socialised"], 100),
             told(each["uncovered"], 100), told(each["taken_over"], 100),
             told(each["adl_accounts"], 100))
            for name, each in zip(names, spreads, strict=True)
        ),
    )  # fmt: skip


def _hours(one: dict[str, Any]) -> list[float]:
    return [(time_ms - one["times_ms"][0]) / 3_600_000 for time_ms in one["times_ms"]]


def _climbs(one: dict[str, Any]) -> Block:
    hours = _hours(one)
    climbs = tuple(
        Series(name=each["title"], x=hours, y=[100 * x for x in each["late"][0]["cumulative"]])
        for each in one["regimes"]
    )
    return Block(
        title=f"{one['title']}: liquidated by then, median", x_title="hours", series=climbs,
        y_title="% of open interest", columns=("hour", *(each.name for each in climbs)),
        rows=tuple(zip(hours, *(each.y for each in climbs), strict=True)),
    )  # fmt: skip


def _prices(one: dict[str, Any]) -> Block:
    hours = _hours(one)
    paths = tuple(
        Series(name=coin, x=hours, y=[100 * x / path[0] for x in path])
        for coin, path in one["price"].items()
    )
    return Block(
        title=f"{one['title']}: prices", x_title="hours", y_title="% of the first",
        series=paths, columns=("hour", *one["price"]),
        rows=tuple(zip(hours, *(each.y for each in paths), strict=True)),
    )  # fmt: skip


# ── lateness ─────────────────────────────────────────────────────────────────────────────────────


def _seconds(time_ms: int) -> str:
    return f"{time_ms / 1_000:g} s"


class _Seen(NamedTuple):
    """What was judged of a rulebook at one lateness and length of a wave."""

    mark_ms: int
    straight: bool
    wave_ms: int
    spread: dict[str, Spread]
    pooled: dict[str, float | None]
    runs: dict[str, Spread]
    """Of the runs themselves."""


def _judged(regime: dict[str, Any]) -> Iterator[_Seen]:
    for late in regime["late"]:
        for one in late["judged"]:
            yield _Seen(late["mark_ms"], late["straight"], one["wave_ms"], one["spread"],
                        one["pooled"], late["spread"])  # fmt: skip


def _beyond(one: dict[str, Any], published: Mapping[str, float]) -> Block:
    regimes = [
        each for each in one["regimes"]
        if any(_often(seen) for seen in _judged(each))
    ]  # fmt: skip
    names = [each["title"] for each in regimes]
    series = []
    for mark_ms, wave_ms in _BEYOND:
        found = [
            next((seen.spread["beyond"] for seen in _judged(each)
                  if seen[:3] == (mark_ms, False, wave_ms)), None)
            for each in regimes
        ]  # fmt: skip
        if any(spread is not None for spread in found):
            when = f"{_seconds(mark_ms)} late" if mark_ms else "on time"
            label = f"{when}, wave {_seconds(wave_ms)}"
            series.append(_bars(label, names, found))
    return Block(
        title=f"{one['title']}: beyond need, % of deleveraged "
        f"(published {100 * published['beyond']:.1f} %)",
        kind="bars", y_title="% of deleveraged", series=tuple(series),
        note="What winners gave up at true prices beyond the gaps, as published of Hyperliquid; "
        "below 0 they gave up less. Rulebooks that deleverage in less than half of the runs are "
        "left out.",
        columns=("rulebook", *(each.name for each in series)),
        rows=tuple(
            (name, *(_short(each.y[row]) for each in series)) for row, name in enumerate(names)
        ),
    )  # fmt: skip


def _often(seen: _Seen) -> bool:
    """Whether at least half of the runs deleveraged."""
    given, every = seen.spread["given"], seen.runs["liquidated"]
    return given is not None and every is not None and 2 * given["runs"] >= every["runs"]


_RATES: Final = ("given", "got_more", "gaps", "deficits", "beyond", "beyond_of_given")


def _lately(one: dict[str, Any]) -> Block:
    return Block(
        title=f"{one['title']}: what late marks do",
        note="Shares of what was deleveraged, in %. Given up, got more: by winners, at true prices "
        "when the wave has ended. Gaps: between the trade's price and the true one. Deficits: owed "
        "at true prices. Beyond: given up less gaps; the last column is of all seeds together.",
        columns=("rulebook", "mark late", "path", "wave", "deleveraged, of liquidated", "given up",
                 "got more", "gaps", "deficits", "beyond", "beyond, of given up", "all together"),
        rows=tuple(
            (each["title"], _seconds(seen.mark_ms), "straight" if seen.straight else "wanders",
             _seconds(seen.wave_ms), told(seen.runs["adl_of_liquidated"], 100),
             *(told(seen.spread[key], 100) for key in _RATES),
             _percent(seen.pooled["beyond_of_given"]))
            for each in one["regimes"] for seen in _judged(each)
        ),
    )  # fmt: skip


def _percent(value: float | None) -> str | None:
    return None if value is None else _short(100 * value)


def _beside(document: dict[str, Any]) -> Block:
    facts = document["published"]["shares"]
    keys = ("given", "gaps", "deficits", "beyond", "beyond_of_given")
    first = document["crashes"][0]
    rows: list[tuple[Any, ...]] = [(
        "published: Hyperliquid", "", "", *(_short(100 * facts[key]) for key in
                                           ("adl_of_liquidated", "adl_accounts", *keys)), "",
    )]  # fmt: skip
    for each in first["regimes"]:
        for seen in _judged(each):
            when = seen.mark_ms, seen.wave_ms
            if seen.straight or (len(each["late"]) > 1 and when not in _BEYOND):
                continue
            rows.append((
                f"{each['title']} ({each['rulebook']})", *map(_seconds, when),
                told(seen.runs["adl_of_liquidated"], 100), told(seen.runs["adl_accounts"], 100),
                *(told(seen.spread[key], 100) for key in keys),
                _percent(seen.pooled["beyond_of_given"]),
            ))  # fmt: skip
    return Block(
        title="Beside what was published of 10 October 2025", columns=(
            "%", "mark late", "wave", "deleveraged, of liquidated", "accounts deleveraged",
            "given up, of deleveraged", "gaps", "deficits", "beyond the gaps",
            "beyond, of given up", "all seeds together"),
        rows=tuple(rows),
        note=f"{first['title']}. Shares: the crowd is made up, so dollars cannot be compared.",
    )  # fmt: skip


# ── a market of its own, and what was refused ────────────────────────────────────────────────────


def _market(document: dict[str, Any]) -> Block:
    own = document["own"]
    names = [one["title"] for one in own]
    keys = ("overshoot", "fell", "liquidated", "adl", "margin")
    return Block(
        title="In a market of its own: how far liquidations push the price", kind="bars",
        y_title="% of the price", note=f"{document['runs']} runs; news of "
        f"{100 * document['fall']:.1f} %.",
        series=(_bars("below fair at most", names, [one["spread"]["overshoot"] for one in own]),),
        columns=("rulebook, %", "below fair", "fell", "liquidated", "deleveraged", "margin",
                 "commands refused"),
        rows=tuple(
            (one["title"], *(told(one["spread"][key], 100) for key in keys),
             told(one["spread"]["refused"], 100)) for one in own
        ),
    )  # fmt: skip


def _refused(document: dict[str, Any]) -> Block:
    """What the venue refused, of all runs together."""
    rows: list[tuple[Any, ...]] = []
    for crash in document["crashes"]:
        for each in crash["regimes"]:
            for late in each["late"]:
                runs = late["runs"]
                rows.append((
                    each["title"], crash["title"], _late_words(late), len(runs),
                    sum(sum(one["sent"].values()) for one in runs),
                    sum(sum(one["refused"].values()) for one in runs),
                    _reasons(one["refused"] for one in runs),
                    sum(one["steps"] + sum(one["steps_refused"].values()) for one in runs),
                    sum(sum(one["steps_refused"].values()) for one in runs),
                    _reasons(one["steps_refused"] for one in runs),
                ))  # fmt: skip
    return Block(
        title="What was refused", columns=(
            "rulebook", "crash", "mark late", "runs", "orders and other requests", "refused", "why",
            "steps about accounts that cannot pay", "steps refused", "why not"),
        rows=tuple(rows),
        note="Refused orders did not rest; a refused step is tried otherwise by the next stage.",
    )  # fmt: skip


def _late_words(late: dict[str, Any]) -> str:
    return _seconds(late["mark_ms"]) + (", straight" if late["straight"] else "")


def _reasons(found: Iterable[Mapping[str, int]]) -> str:
    total: Counter[str] = Counter()
    for one in found:
        total.update(one)
    return "; ".join(f"{name} {count:,}" for name, count in sorted(total.items()))


def markdown(block: Block) -> str:
    """A block's table for a page of text; nothing of one that is long.

    >>> print(markdown(Block(title="T", columns=("a", "b"), rows=(("x", None),))), end="")
    ## T
    <BLANKLINE>
    | a | b |
    | --- | --- |
    | x | – |
    <BLANKLINE>
    """
    if len(block.rows) > _TOLD_MAX:
        return ""
    lines = [block.columns, ["---"] * len(block.columns), *(map(shown, one) for one in block.rows)]
    return f"## {block.title}\n\n" + "".join(f"| {' | '.join(one)} |\n" for one in lines) + "\n"


# ── written ──────────────────────────────────────────────────────────────────────────────────────


def write_study(document: dict[str, Any], folder: Path) -> list[Path]:
    """The report as HTML, the document as JSON, small tables as Markdown, and each figure as SVG;
    what was written."""
    folder.mkdir(parents=True, exist_ok=True)
    blocks = figures(document)
    report = folder / "study.html"
    write_page(report, title="Two crashes under five rulebooks", notes=document["assumptions"],
               blocks=blocks)  # fmt: skip
    written = [report, folder / "study.json", folder / "study.md"]
    written[1].write_text(json.dumps(document, allow_nan=False, indent=1) + "\n", "utf-8")
    written[2].write_text("".join(map(markdown, blocks)), "utf-8")
    for place, block in enumerate(one for one in blocks if one.series):
        path = folder / f"study_{place + 1}.svg"
        if block.kind == "bars":
            text = bars_svg(block.series, title=block.title, unit=" %")
        else:
            text = lines_svg(block.series, title=block.title, x_title=block.x_title, unit=" %")
        path.write_text(text, "utf-8")
        written.append(path)
    return written
