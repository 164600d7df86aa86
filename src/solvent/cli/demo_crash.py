"""`solvent demo crash`: a venue through real crashes, under several regimes side by side."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from solvent.errors import SolventError

if TYPE_CHECKING:
    from solvent.sim.cascade import Crashed, Regime
    from solvent.sim.cascade_prices import Prices

_DATA = ("SOLVENT_SHARED", "data")
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
_PICTURE = (1280, 2940)


def crash_or_study(
    *, accounts: int | None, seed: int, report: Path | None, png: Path | None, data: Path | None,
    which: str | None, moments: int | None, journal: Path | None, study: bool, runs: int | None,
    seeds: int | None, json: bool,
) -> None:  # fmt: skip
    """`solvent demo crash`, or with `study` the study."""
    if not study:
        if (runs, seeds) != (None, None):
            raise typer.BadParameter("expected --runs and --seeds of a study")
        crash_demo(
            accounts=accounts or 10_000, seed=seed, out=report or Path("out/crash.html"), png=png,
            data=data, which=which, moments=moments, journal=journal, json=json,
        )  # fmt: skip
        return
    if png is not None or journal is not None:
        raise typer.BadParameter("expected --png and --journal of a crash without --study")
    study_demo(
        accounts=accounts or 1_000, seed=seed, seeds=5 if seeds is None else seeds,
        runs=10 if runs is None else runs, out=report or Path("out/study"), data=data, which=which,
        moments=moments, json=json,
    )  # fmt: skip


def crash_demo(
    *, accounts: int, seed: int, out: Path, png: Path | None, data: Path | None, which: str | None,
    moments: int | None, journal: Path | None, json: bool,
) -> None:  # fmt: skip
    """Run every crash under every regime, tell what came of it, and write the report."""
    from solvent.cli import console
    from solvent.lab.liquidation_report import write_liquidation_report
    from solvent.sim.cascade import REGIMES
    from solvent.sim.cascade_story import document

    chosen = _prices(data, which, seed, moments)
    runs = [(prices, regime) for prices in chosen for regime in REGIMES]
    with console.progress(quiet=json) as bar:
        task = bar.add_task(f"{accounts:,} accounts, {len(runs)} crashes", total=len(runs))
        found = _crashes(runs, accounts, seed, journal, lambda: bar.update(task, advance=1))
    told = document(found, accounts=accounts, seed=seed)
    write_liquidation_report(told, out)
    written = [out]
    if png is not None:
        _picture(out, png)
        written.append(png)
    if json:
        console.print_json({**told, "report": str(out), "picture": None if png is None else
                            str(png)})  # fmt: skip
    else:
        _print(told, written)


def study_demo(
    *, accounts: int, seed: int, seeds: int, runs: int, out: Path, data: Path | None,
    which: str | None, moments: int | None, json: bool,
) -> None:  # fmt: skip
    """The study of October 2025 and February 2026 (or one crash) under five rulebooks."""
    from solvent.cli import console
    from solvent.lab.study import study
    from solvent.lab.study_report import figures, write_study

    chosen = [
        one
        for name in ((which,) if which else ("october-2025", "february-2026"))
        for one in _prices(data, name, seed, moments)
    ]
    with console.progress(quiet=json) as bar:
        task = bar.add_task(f"{accounts:,} accounts, five rulebooks", total=None)
        document = study(
            chosen, accounts=accounts, runs=runs, seeds=seeds, seed=seed, folder=out,
            done=lambda ready, count: bar.update(task, completed=ready, total=count),
        )  # fmt: skip
    written = write_study(document, out)
    if json:
        console.print_json({**document, "written": [str(one) for one in written]})
        return
    from solvent.lab.page import shown

    for block in figures(document):
        if len(block.rows) <= 20:
            table = console.table(block.title, *block.columns, left=block.columns[:1])
            for row in block.rows:
                table.add_row(*map(shown, row))
            console.out.print(table)
    told = f"written: {written[0]}, its data and tables, and {len(written) - 3} pictures"
    console.out.print(told, markup=False, highlight=False)


def _prices(
    data: Path | None, which: str | None, seed: int, moments: int | None
) -> list[Prices]:  # fmt: skip
    """Real crashes where their prices are at hand, else one that is made up."""
    from solvent.sim.cascade_prices import made_up, real_crashes
    from solvent.sim.february import february_2026

    name, folder = _DATA
    shared = os.environ.get(name)
    place = data or (Path(shared) / folder if shared else Path("..") / "shared" / folder)
    real, later = real_crashes(place), february_2026(place)
    known = [*real, *([later] if later is not None else []), made_up(seed=seed)]
    if which is None:
        chosen = real or known[-1:]
    else:
        chosen = [one for one in known if one.name == which]
        if not chosen:
            there = ", ".join(one.name for one in known)
            raise SolventError(f"no crash {which!r}; there are {there}")
    return [one if moments is None else one.shortened(moments) for one in chosen]


def _crashes(
    runs: list[tuple[Prices, Regime]], accounts: int, seed: int, journal: Path | None, done: Any
) -> list[Crashed]:
    """All runs, as many at once as there are processors; in the order in which they were asked."""
    asked = [(prices, regime, accounts, seed, journal) for prices, regime in runs]
    found: list[Crashed] = []
    processors = min(len(asked), len(os.sched_getaffinity(0)))
    if processors == 1 or accounts <= 500:
        for run in asked:
            found.append(_one(run))
            done()
        return found
    with multiprocessing.get_context("spawn").Pool(processors) as pool:
        for one in pool.imap(_one, asked):
            found.append(one)
            done()
    return found


def _one(asked: tuple[Prices, Regime, int, int, Path | None]) -> Crashed:
    """One crash in a journal of its own: in a folder that is told, or one that is thrown away."""
    from solvent.host import Engine
    from solvent.sim.cascade import crash

    prices, regime, accounts, seed, journal = asked
    if journal is not None:
        with Engine.create(journal / f"{prices.name}-{regime.name}") as engine:
            return crash(engine, prices, regime, accounts=accounts, seed=seed)
    # What is thrown away need not be on a disk.
    memory = "/dev/shm"  # noqa: S108 a folder of its own is made in it
    place = memory if os.access(memory, os.W_OK) else None
    with (
        tempfile.TemporaryDirectory(dir=place) as folder,
        Engine.create(f"{folder}/venue") as engine,
    ):
        return crash(engine, prices, regime, accounts=accounts, seed=seed)


def _picture(report: Path, png: Path) -> None:
    """The report's top as a picture, by a browser that is installed."""
    browser = next((path for name in _BROWSERS if (path := shutil.which(name))), None)
    if browser is None:
        raise SolventError(f"{png}: a picture needs one of {', '.join(_BROWSERS)} on the path")
    png.parent.mkdir(parents=True, exist_ok=True)
    width, height = _PICTURE
    with tempfile.TemporaryDirectory() as home:
        done = subprocess.run(
            [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
             f"--user-data-dir={home}", f"--window-size={width},{height}",
             "--virtual-time-budget=15000", f"--screenshot={png.resolve()}",
             report.resolve().as_uri()],
            capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
    if done.returncode or not png.is_file():
        raise SolventError(f"{png}: {browser} could not draw it: {done.stderr.strip()[-200:]}")


# ── in a terminal ────────────────────────────────────────────────────────────────────────────────


def _print(told: dict[str, Any], written: list[Path]) -> None:
    from rich.markup import escape

    from solvent.cli.console import out, table

    for crash in told["crashes"]:
        regimes = crash["regimes"]
        lows = ", ".join(
            f"{coin} {100 * (one['low'] / one['first'] - 1):+.0f} %"
            for coin, one in crash["coins"].items()
        )
        out.print(f"[bold]{escape(crash['title'])}[/bold]: {escape(lows)}", highlight=False)
        heads = ["", *(f"{one['title']} ({one['rulebook']})" for one in regimes)]
        shown = table("", *heads, left=[""])
        for label, of in _LINES:
            shown.add_row(label, *(of(one) for one in regimes))
        out.print(shown)
        for one in regimes:
            for line in one["violations"][:3]:
                out.print(f"[red]violation[/red] ({one['title']}): {escape(line)}")
    audits = sum(one["audits"] for crash in told["crashes"] for one in crash["regimes"])
    broken = sum(len(one["violations"]) for crash in told["crashes"] for one in crash["regimes"])
    out.print(f"books audited {audits:,} times, {broken:,} violations", highlight=False)
    out.print(f"written: {' and '.join(map(str, written))}", markup=False, highlight=False)


def _value(stage: str) -> Any:
    def of(regime: dict[str, Any]) -> str:
        one = next((row for row in regime["stages"] if row["stage"] == stage), None)
        return "-" if one is None else f"{one['value']:,.0f}"

    return of


_LINES = (
    ("accounts liquidated", lambda one: f"{one['liquidated']:,}"),
    ("calls and warnings", lambda one: f"{one['called']:,}"),
    ("into the book, USD", _value("book")),
    ("backstop, USD", _value("backstop")),
    ("insurance fund, USD", _value("fund")),
    ("auto-deleveraging, USD", _value("adl")),
    ("traders deleveraged", lambda one: f"{one['deleveraged']:,}"),
    ("given up by them, USD", lambda one: f"{one['adl_given_up']:,.0f}"),
    ("fairness regret, USD", lambda one: f"{one['adl_regret']:,.0f}"),
    ("fund, of its beginning", lambda one: f"{100 * one['fund_last'] / one['fund_first']:.0f} %"),
    ("debts paid by others, USD", lambda one: f"{sum(one['paid'].values()):,.0f}"),
    ("paid by nobody, USD", lambda one: f"{one['uncovered']:,.0f}"),
    ("commands", lambda one: f"{one['commands']:,}"),
)
