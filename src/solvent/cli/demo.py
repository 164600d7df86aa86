"""`solvent demo` and `solvent generate`: a whole venue from a seed, or through a crash."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from solvent.cli import options

if TYPE_CHECKING:
    from solvent.answer import Margin
    from solvent.feeds.synthetic_book import Venue
    from solvent.market import Snapshot

Seed = Annotated[int, typer.Option("--seed", min=0, help="The same seed gives the same venue.")]
Once = Annotated[
    bool,
    typer.Option(
        "--once", help="End by itself: some ticks are served without a port; no moving picture."
    ),
]
Port = Annotated[
    int, typer.Option("--port", min=1, max=65_535, help="Of a venue: where its pages are served.")
]
Report = Annotated[
    Path | None,
    typer.Option(
        "--report", "--out", help="Where the report goes: out/demo.html, or out/crash.html."
    ),
]
Png = Annotated[
    Path | None, typer.Option("--png", help="Of a crash: also a picture, by a browser.")
]
Data = Annotated[
    Path | None, typer.Option("--data", help="Of a crash: the folder with real prices.")
]
Crash = Annotated[
    str | None,
    typer.Option("--crash", help="One alone: march-2020, october-2025, february-2026 or made-up."),
]
Moments = Annotated[
    int | None,
    typer.Option("--moments", min=2, help="Of a crash: so many prices around the lowest."),
]
Journal = Annotated[
    Path | None,
    typer.Option("--journal", help="Of a crash: a folder that keeps every run's journal."),
]

Study = Annotated[
    bool,
    typer.Option(
        "--study", help="Of a crash: October 2025 and February 2026 under five rulebooks."
    ),
]
StudyRuns = Annotated[
    int | None,
    typer.Option("--runs", min=0, help="Of a study: seeds in a market of its own, 10 if unsaid."),
]
StudySeeds = Annotated[
    int | None,
    typer.Option("--seeds", min=1, help="Of a study: seeds on the real path, 5 if unsaid."),
]

_OF_A_CRASH = (
    "expected --png, --data, --crash, --moments, --journal, --study, --runs and --seeds of a crash "
    "alone"
)


class Demo(StrEnum):
    """What `solvent demo` shows."""

    VENUE = "venue"
    CRASH = "crash"
    LIVE = "live"


class What(StrEnum):
    """What `solvent generate` writes."""

    MARKET = "market"
    BOOK = "book"
    HISTORY = "history"


def demo(
    what: Annotated[
        Demo, typer.Argument(help="A venue, a crash under three regimes, or a market that moves.")
    ] = Demo.VENUE,
    accounts: Annotated[
        int | None,
        typer.Option(
            "--accounts",
            min=1,
            max=4_000_000,
            help="100,000 of a venue, 10,000 in a crash, 2,000 in a market that moves.",
        ),
    ] = None,
    seed: Seed = 1,
    rulebook: options.Rulebook = "deribit-pm",
    report: Report = None,
    png: Png = None,
    data: Data = None,
    crash: Crash = None,
    moments: Moments = None,
    journal: Journal = None,
    study: Study = False,
    runs: StudyRuns = None,
    seeds: StudySeeds = None,
    once: Once = False,
    port: Port = 8_080,
    json: options.Json = False,
) -> None:
    """Margin a generated venue: its totals, one account explained, and a report with plots; then
    its market moves, and accounts change their states with it (solvent demo live shows that alone).
    Then a venue of as many accounts is served, live, with pages that show it crash, until Ctrl-C;
    with --once (and --json) it ends by itself.

    solvent demo crash: the crashes of 12-13 March 2020 and 10-11 October 2025 under isolated, cross
    and portfolio margin, from calls to auto-deleveraging; made up where real prices are not there.
    With --study: October 2025 and February 2026 under five rulebooks, beside what was published.
    """
    from solvent.cli.demo_crash import crash_or_study

    if what is Demo.CRASH:
        crash_or_study(
            accounts=accounts, seed=seed, report=report, png=png, data=data, which=crash,
            moments=moments, journal=journal, study=study, runs=runs, seeds=seeds, json=json,
        )  # fmt: skip
        return
    if study or (png, data, crash, moments, journal, runs, seeds) != (None,) * 7:
        raise typer.BadParameter(_OF_A_CRASH)
    if what is Demo.LIVE:
        from solvent.cli.demo_live import live_demo

        live_demo(accounts=accounts, seed=seed, rulebook=rulebook, once=once, json=json)
        return
    where = report or Path("out/demo.html")
    _venue(accounts or 100_000, seed, rulebook, where, once=once, json=json)
    if not json:
        _served(accounts or 100_000, seed, rulebook, port, once=once)


def _venue(
    accounts: int, seed: int, rulebook: str, report: Path, *, once: bool, json: bool
) -> None:
    """A margined venue, and its market in motion."""
    import time

    from rich.markup import escape

    from solvent import api
    from solvent.cli import books, console
    from solvent.cli.demo_live import live_demo
    from solvent.feeds.library import shipped_rulebook
    from solvent.feeds.synthetic_book import generate_book
    from solvent.feeds.synthetic_market import generate_market
    from solvent.lab.report import write_report

    with console.progress(quiet=json) as bar:
        task = bar.add_task("generating a market", total=5)
        snapshot = generate_market(seed=seed)
        bar.update(task, advance=1, description=f"generating {accounts:,} accounts")
        venue = generate_book(snapshot, accounts=accounts, seed=seed)
        bar.update(task, advance=1, description="pricing the scenarios")
        plan = api.prepare(snapshot, shipped_rulebook(rulebook))
        bar.update(task, advance=1, description="margining every account")
        start = time.perf_counter()
        answer = api.margin(venue.book, plan, collateral=venue.collateral)
        seconds = time.perf_counter() - start
        bar.update(task, advance=1, description="writing the report")
        shown = _most_telling(answer)
        write_report(answer, report, account=shown)
        bar.update(task, advance=1)
    if json:
        console.print_json({**books.as_json(answer), "report": str(report)})
        return
    books.print_answer(answer, 10)
    console.out.print()
    books.print_view(answer.plan, answer.explain(shown))
    console.out.print()
    console.out.print(
        f"[bold]{accounts:,} accounts margined in {seconds:.2f} s[/bold]; report written to "
        f"[bold]{escape(str(report))}[/bold]"
    )
    console.out.print()
    live_demo(accounts=None, seed=seed, rulebook=rulebook, once=once, json=False)


def _served(accounts: int, seed: int, rulebook: str, port: int, *, once: bool) -> None:
    """The same size of venue on an engine, with pages."""
    from solvent.cli import console
    from solvent.cli.demo_serve import serve_demo

    found = serve_demo(
        accounts=accounts, seed=seed, rulebook=rulebook, port=port, once=once, json=False
    )
    if found:
        states = ", ".join(f"{count:,} {name}" for name, count in found["states"].items() if count)
        console.out.print(
            f"served: {found['commands']:,} commands, {found['ticks']} ticks, {states}; from a "
            f"durable publication to figures of {found['accounts']:,} accounts "
            f"{found['tick_to_figures_ms']['half']:,.0f} ms",
            highlight=False,
        )


def _most_telling(answer: Margin) -> str:
    """An account worth a look: not healthy, with a handful of positions, the largest of those."""
    import numpy as np

    held = np.diff(answer.book.first)
    telling = (held >= 4) & (held <= 14) & (answer.standings != "healthy")
    if not telling.any():
        telling = held > 0
    size = np.where(telling, answer.initial_micro, -1)
    return answer.book.accounts[int(np.argmax(size))]


def generate(
    what: Annotated[What, typer.Argument(help="What to write.")],
    place: Annotated[
        str | None,
        typer.Argument(metavar="[URL]", help="Where a history's journal is made."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="A .csv or .parquet file to write.")
    ] = None,
    market: Annotated[
        list[Path] | None,
        typer.Option("--market", help="Generate the book on this market, not a generated one."),
    ] = None,
    accounts: Annotated[int, typer.Option("--accounts", min=1, max=4_000_000)] = 1_000,
    seed: Seed = 1,
    collateral: Annotated[
        Path | None, typer.Option("--collateral", help="Also write the book's balances here.")
    ] = None,
    rulebook: options.Rulebook = "deribit-pm",
    inverse: Annotated[
        bool, typer.Option("--inverse", help="A history with coin-margined contracts too.")
    ] = False,
) -> None:
    """Write a generated market, or a generated book on a market, to files that Solvent reads; or
    make a venue's journal through a crash: solvent generate history DIR --accounts 10000 --seed 7.
    """
    from solvent import api
    from solvent.cli.console import out as console_out
    from solvent.feeds.synthetic_book import generate_book
    from solvent.feeds.synthetic_market import generate_market
    from solvent.feeds.write import write_balances, write_book, write_market

    if what is What.HISTORY:
        where = place or (str(out) if out else None)
        if where is None:
            raise typer.BadParameter("expected a directory or postgresql://…", param_hint="URL")
        _history(where, accounts=accounts, seed=seed, rulebook=rulebook, inverse=inverse)
        return
    if out is None:
        raise typer.BadParameter("expected a file to write", param_hint="--out")
    snapshot: Snapshot = api.read_market(*market) if market else generate_market(seed=seed)
    if what is What.MARKET:
        write_market(snapshot, out)
    else:
        venue: Venue = generate_book(snapshot, accounts=accounts, seed=seed)
        write_book(venue.book, snapshot, out)
        if collateral is not None:
            write_balances(venue.collateral, venue.book, collateral)
    written = f"{out} and {collateral}" if collateral else f"{out}"
    console_out.print(f"written: {written}", markup=False)


def _history(where: str, *, accounts: int, seed: int, rulebook: str, inverse: bool) -> None:
    """A venue through a crash, in a new journal."""
    from solvent.cli import console
    from solvent.host import Engine
    from solvent.sim.crash import rehearse
    from solvent.sim.weather import STEPS

    with console.progress() as bar, Engine.create(where) as engine:
        task = bar.add_task(f"a crash with {accounts:,} accounts", total=STEPS)
        made = rehearse(
            engine, accounts=accounts, seed=seed, rulebook=rulebook, inverse=inverse,
            progress=lambda done, _: bar.update(task, completed=done),
        )  # fmt: skip
    refused = ", ".join(f"{count:,} {code}" for code, count in made.rejected.items())
    for line in (
        f"made: {where}, {made.commands:,} commands, {made.publications} publications",
        f"the index fell to {100 * made.low:.0f} % of where it began",
        f"{made.wound_up:,} of {made.accounts:,} accounts were wound up",
        f"{made.accepted:,} commands were accepted; rejected: {refused or 'none'}",
        f"state {made.state_hash}",
        f"next: solvent replay {where} --rulebook paradex-pm --out report.html",
    ):
        console.out.print(line, markup=False, highlight=False, soft_wrap=True)
