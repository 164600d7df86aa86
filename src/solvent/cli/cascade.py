"""`solvent cascade`: crashes that liquidations make worse, and which rules bear them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from solvent.cli import options
from solvent.cli.folded import folded

if TYPE_CHECKING:
    from solvent.lab.cascades.settings import Settings

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None,
    help="A venue's own engine in a market of agents whose prices its liquidations move.\n\n"
    "Nothing is needed to begin: solvent cascade run --runs 4 --accounts 200. The same settings "
    "and seed give the same run.",
)  # fmt: skip

Runs = Annotated[int, typer.Option("--runs", min=1, max=100_000, help="How many seeds.")]
Holders = Annotated[int, typer.Option("--accounts", min=2, help="Holders.")]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What every kind of run is asked with."""

    settings: Annotated[
        Path | None,
        typer.Option("--settings", help="A TOML file as `solvent cascade settings` writes it; what "
                     "it leaves out has its default."),
    ] = None  # fmt: skip
    changed: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="NAME=VALUE", show_default=False,
            help="One setting, such as rules.margin=0.08 or coins=BTC,SOL; `solvent cascade "
            "settings` tells all of them. May be repeated.",
        ),
    ] = None  # fmt: skip
    seed: Annotated[int, typer.Option("--seed", min=0, help="The first seed.")] = 1
    processes: Annotated[
        int | None,
        typer.Option("--processes", min=1, help="Runs at once: one a processor if unsaid."),
    ] = None
    out: Annotated[
        Path | None,
        typer.Option("--out", help="A folder for the report and for runs as they end: the same "
                     "command goes on where it was stopped."),
    ] = None  # fmt: skip
    json: options.Json = False

    def seeds(self, runs: int) -> range:
        """Seeds of so many runs."""
        return range(self.seed, self.seed + runs)

    def report(self) -> Path | None:
        """Where the report goes."""
        return None if self.out is None else self.out / "report.html"


@app.command("settings")
def settings(
    file: Annotated[
        Path | None, typer.Option("--settings", help="A TOML file to begin with.")
    ] = None,
    changed: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", show_default=False, help="One setting. May be "
                     "repeated."),
    ] = None,
) -> None:  # fmt: skip
    """All settings with what they mean, as a TOML file for --settings.

    Example: solvent cascade settings --set holders.leverage=10 > mine.toml
    """
    from solvent.lab.cascades.settings_text import settings_toml

    sys.stdout.write(settings_toml(_settings(file, changed, None)))


@app.command("run")
@folded("asked", Asked)
def run(
    asked: Asked, runs: Runs = 20,
    accounts: Annotated[
        int | None, typer.Option("--accounts", min=2, help="Holders; 2,000 if unsaid.")
    ] = None,
) -> None:  # fmt: skip
    """Crash a venue many times: distributions of overshoot, liquidations, the fund, deleveraging.

    Of a default run of 2,000 accounts count with one to four seconds of one processor.

    Example: solvent cascade run --runs 100 --set holders.leverage=10 --out out/cascade
    """
    from solvent.cli import console
    from solvent.lab.cascades.many import run_many
    from solvent.lab.cascades.report import runs_document, write_runs
    from solvent.lab.cascades.run import simulate

    told = _settings(asked.settings, asked.changed, accounts)
    kept = None if asked.out is None else asked.out / "runs.jsonl"
    with _progress(f"{runs:,} runs", quiet=asked.json) as done:
        outcomes = run_many(told, asked.seeds(runs), out=kept, processes=asked.processes, done=done)
    page = asked.report()
    path = None if page is None else simulate(told, asked.seed, paths=True)
    document = runs_document(told, outcomes, path)
    if page is not None:
        write_runs(document, page)
    if asked.json:
        console.print_json({**document, "path": {}})
        return
    _print_runs(document)
    _written(page)


@app.command("show")
def show(
    folder: Annotated[Path, typer.Argument(help="What --out of `cascade run` named.")],
    json: options.Json = False,
) -> None:
    """Tell what runs that were kept came to, also of a stopped run, and write their report anew.

    Example: solvent cascade show out/cascade
    """
    from solvent.cli import console
    from solvent.errors import SolventError
    from solvent.lab.cascades.kept import read_runs
    from solvent.lab.cascades.report import runs_document, write_runs
    from solvent.lab.cascades.run import simulate

    told, found = read_runs(folder / "runs.jsonl" if folder.is_dir() else folder)
    if not found:
        raise SolventError(f"{folder}: expected one run at least, found none")
    page = folder / "report.html" if folder.is_dir() else None
    path = simulate(told, min(found), paths=True) if page is not None and not json else None
    document = runs_document(told, [found[one] for one in sorted(found)], path)
    if json:
        console.print_json(document)
        return
    if page is not None:
        write_runs(document, page)
    _print_runs(document)
    _written(page)


@app.command("search")
@folded("asked", Asked)
def search(
    asked: Asked,
    runs: Annotated[int, typer.Option("--runs", min=1, help="Crashes of each policy.")] = 8,
    accounts: Holders = 500,
    family: Annotated[
        list[str] | None,
        typer.Option("--family", help="tiers, grid or dynamic; may be repeated, all if unsaid.",
                     show_default=False),
    ] = None,
    margin: Annotated[
        list[float] | None,
        typer.Option("--margin", help="Initial margin of a small position; may be repeated, 0.02 "
                     "0.035 0.05 0.08 0.12 if unsaid.", show_default=False),
    ] = None,
    pace: Annotated[
        list[str] | None,
        typer.Option("--pace", help="whole (all at once), minimum (the fewest lots) or slow (a "
                     "quarter a minute); may be repeated, all if unsaid.", show_default=False),
    ] = None,
    fund: Annotated[
        list[float] | None,
        typer.Option("--fund", min=0.0, max=1.0, help="A fund's share of open interest; may be "
                     "repeated, 0.001 0.0025 0.005 0.01 0.02 if unsaid.", show_default=False),
    ] = None,
) -> None:  # fmt: skip
    """Which rulebook, pace and fund keep a crash inside the fund at least margin: a frontier.

    The crash is the settings' shock: by default the fall of two hours that one in a thousand
    exceeds. Every family is tried with every margin and pace, so unsaid that is 45 policies of
    --runs crashes each.

    Example: solvent cascade search --runs 8 --margin 0.03 --margin 0.06 --out out/search
    """
    from solvent.cli import console
    from solvent.lab.cascades import search as policies
    from solvent.lab.cascades.report import write_search

    told = _settings(asked.settings, asked.changed, accounts)
    with _progress("policies", quiet=asked.json) as done:
        document = policies.search(
            told, asked.seeds(runs), families=tuple(family or policies.FAMILIES),
            margins=tuple(margin or policies.MARGINS), paces=tuple(pace or policies.PACES),
            funds=tuple(fund or policies.FUNDS), folder=asked.out,
            processes=asked.processes, done=done,
        )  # fmt: skip
    page = asked.report()
    if page is not None:
        write_search(document, page)
    if asked.json:
        console.print_json(document)
        return
    _print_frontier(document)
    _written(page)


@app.command("contagion")
@folded("asked", Asked)
def contagion(asked: Asked, runs: Runs = 8, accounts: Holders = 1_000) -> None:
    """How far a blow to one coin (with several venues: to one venue's coin) reaches the others.

    The same seeds run without a blow and with one to each market, so coins (times venues) and one
    more times --runs runs in all.

    Example: solvent cascade contagion --set venues=2 --runs 8 --out out/contagion
    """
    from solvent.cli import console
    from solvent.lab.cascades import contagion as blows
    from solvent.lab.cascades.report import write_contagion

    told = _settings(asked.settings, asked.changed, accounts)
    with _progress("blows", quiet=asked.json) as done:
        document = blows.contagion(
            told, asked.seeds(runs), folder=asked.out, processes=asked.processes, done=done
        )
    page = asked.report()
    if page is not None:
        write_contagion(document, page)
    if asked.json:
        console.print_json(document)
        return
    for what, title in (("liquidated", "open interest liquidated because of it"),
                        ("overshoot", "price further below fair because of it")):  # fmt: skip
        console.out.print(f"[italic]{title}[/italic]")
        shown = console.table("", "struck", *document["markets"], left=["struck"])
        for name, row in zip(document["markets"], document[what], strict=True):
            shown.add_row(name, *map(_percent, row))
        console.out.print(shown)
    _written(page)


@app.command("leverage")
@folded("asked", Asked)
def leverage(
    asked: Asked, runs: Runs = 8, accounts: Holders = 1_000,
    at: Annotated[
        list[float] | None,
        typer.Option("--at", min=0.0, max=200.0, show_default=False, help="A median leverage; two "
                     "or more, 0 1 2 3 5 8 12 20 if unsaid."),
    ] = None,
) -> None:  # fmt: skip
    """The same crashes by leverage of the holders, and the leverage from which on they cascade.

    Example: solvent cascade leverage --at 0 --at 5 --at 10 --runs 8
    """
    from solvent.cli import console
    from solvent.lab.cascades import contagion as blows
    from solvent.lab.cascades.report import write_leverage

    told = _settings(asked.settings, asked.changed, accounts)
    with _progress("leverages", quiet=asked.json) as done:
        document = blows.by_leverage(
            told, asked.seeds(runs), tuple(at or blows.LEVERAGES), folder=asked.out,
            processes=asked.processes, done=done,
        )  # fmt: skip
    page = asked.report()
    if page is not None:
        write_leverage(document, page)
    if asked.json:
        console.print_json(document)
        return
    keys = ("overshoot", "liquidated", "adl", "fund_drawn")
    shown = console.table("by median leverage", "leverage", *keys)
    for row in document["rows"]:
        shown.add_row(f"{row['leverage']:g}", *(_percent(row[key]) for key in keys))
    console.out.print(shown)
    critical = document["critical"]
    said = "is not reached" if critical is None else f"is {critical:.1f}"
    console.out.print(f"the leverage from which on {_percent(document['share'])} of open interest "
                      f"is liquidated {said}", highlight=False)  # fmt: skip
    _written(page)


@app.command("facts")
@folded("asked", Asked, without=["out"])
def facts(
    asked: Asked,
    data: Annotated[
        list[Path] | None,
        typer.Option("--data", help="15-minute bars of a coin as CSV (.gz too), whose name begins "
                     "with the coin's: open,high,low,close,volume. May be repeated.",
                     show_default=False),
    ] = None,
    runs: Runs = 8,
    steps: Annotated[int, typer.Option("--steps", min=300, help="Returns of a run.")] = 1_500,
    out: Annotated[Path | None, typer.Option("--out", help="A folder for the report.")] = None,
) -> None:  # fmt: skip
    """Returns of the market without leverage beside those of real bars: tails, clusters, memory.

    Of the settings only agents and markets are used.

    Example: solvent cascade facts --data BTC_USD_15m.csv.gz --runs 8
    """
    from solvent.cli import console
    from solvent.lab.cascades.measured import side_by_side
    from solvent.lab.cascades.report import write_facts

    told = _settings(asked.settings, asked.changed, None)
    with _progress("runs", quiet=asked.json) as done:
        document = side_by_side(
            data or [], seeds=asked.seeds(runs), steps=steps, settings=told,
            processes=asked.processes, done=done,
        )  # fmt: skip
    page = None if out is None else out / "report.html"
    if page is not None:
        write_facts(document, page)
    if asked.json:
        console.print_json(document)
        return
    shown = console.table("medians of stretches (a tenth to nine tenths)", "",
                          *document["columns"], left=[""])  # fmt: skip
    for row in document["rows"]:
        shown.add_row(row["title"], *row["values"])
    console.out.print(shown)
    for one in document["measured"]:
        back = ", ".join(f"{share:.0%}" for share in one["back"])
        console.out.print(
            f"{one['coin']}: range goes with volume to the power of {one['exponent']:.2f}, "
            f"Y {one['impact']:.2f}; of {one['falls']} far falls {back} had come back "
            "at once, and 1, 2, 4 bars later", highlight=False,
        )  # fmt: skip
    _written(page)


# ── what they share ──────────────────────────────────────────────────────────────────────────────


def _settings(path: Path | None, changed: list[str] | None, accounts: int | None) -> Settings:
    """Settings of a file (or the defaults), with what was told one by one."""
    from solvent.errors import BadInput, Problem, Reject
    from solvent.lab.cascades.settings import Settings, read_settings

    found = Settings() if path is None else read_settings(path)
    changes: dict[str, Any] = {} if accounts is None else {"accounts": accounts}
    for one in changed or []:
        name, mark, text = one.partition("=")
        if not mark or name.count(".") > 1:
            raise BadInput(Problem(
                code=Reject.INPUT_INVALID, source="--set", found=one,
                expected="NAME=VALUE, such as rules.margin=0.08",
            ))  # fmt: skip
        part = name.split(".")[0]
        if part not in type(found).model_fields:
            raise BadInput(Problem(code=Reject.INPUT_INVALID, source="--set",
                                   expected=f"one of {', '.join(type(found).model_fields)}",
                                   found=name))  # fmt: skip
        changes[name.replace(".", "__")] = text.split(",") if name == "coins" else text
    return found.but(**changes) if changes else found


@contextmanager
def _progress(title: str, *, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    from solvent.cli import console

    with console.progress(quiet=quiet) as bar:
        task = bar.add_task(title, total=None)

        def done(ready: int, count: int) -> None:
            bar.update(task, completed=ready, total=count)

        yield done


def _print_runs(document: dict[str, Any]) -> None:
    from solvent.cli.console import out, table

    shown = table(
        f"{document['runs']:,} runs of settings {document['digest']}", "", "mean", "5 %", "50 %",
        "95 %", "99 %", "most", left=[""],
    )  # fmt: skip
    for row in document["distribution"]:
        keys = ("mean", "q5", "q50", "q95", "q99", "most")
        shown.add_row(row["title"], *(_percent(row[key]) for key in keys))
    out.print(shown)


def _print_frontier(document: dict[str, Any]) -> None:
    from solvent.cli import console

    for size, rows in document["frontier"].items():
        shown = console.table(
            f"a fund of {100 * float(size):g} % of open interest: policies that none beats",
            "family", "margin", "pace", "average margin", "worst shortfall", "overshoot",
            "liquidated", left=["family", "pace"],
        )  # fmt: skip
        for one in rows:
            shown.add_row(
                one["family"], _percent(one["margin"]), one["pace"],
                *(_percent(one[key]) for key in ("average", "shortfall", "overshoot",
                                                 "liquidated")),
            )  # fmt: skip
        console.out.print(shown)


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def _written(page: Path | None) -> None:
    from solvent.cli import console

    if page is not None:
        console.out.print(f"written: {page}", markup=False, highlight=False)
