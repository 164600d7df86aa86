"""`solvent cascade`: crashes that liquidations make worse, and which rules bear them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from solvent.cli import options

if TYPE_CHECKING:
    from solvent.lab.cascades.settings import Settings

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None,
    help="A venue's own engine in a market of agents whose prices its liquidations move.",
)  # fmt: skip

From = Annotated[Path | None, typer.Option("--settings", help="A TOML file; see docs/cascades.md.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="One setting, such as rules.margin=0.08. "
                 "May be repeated."),
]  # fmt: skip
Runs = Annotated[int, typer.Option("--runs", min=1, max=100_000, help="How many seeds.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="The first seed.")]
Processes = Annotated[
    int | None, typer.Option("--processes", min=1, help="Runs at once: one a processor if unsaid.")
]
Out = Annotated[
    Path | None, typer.Option("--out", help="A folder for runs (to go on with) and the report.")
]


@app.command("run")
def run(
    settings: From = None, changed: Set = None, runs: Runs = 20, seed: Seed = 1,
    accounts: Annotated[int | None, typer.Option("--accounts", min=2, help="Holders.")] = None,
    processes: Processes = None, out: Out = None, json: options.Json = False,
) -> None:  # fmt: skip
    """Crash a venue many times: distributions of overshoot, liquidations, the fund, deleveraging.

    With --out, runs are kept as they end: the same command goes on where it was stopped.

    Example: solvent cascade run --runs 100 --set holders.leverage=10 --out out/cascade
    """
    from solvent.cli import console
    from solvent.lab.cascades.many import run_many
    from solvent.lab.cascades.report import runs_document, write_runs
    from solvent.lab.cascades.run import simulate

    told = _settings(settings, changed, accounts)
    kept = None if out is None else out / "runs.jsonl"
    with _progress(f"{runs:,} runs", quiet=json) as done:
        outcomes = run_many(
            told, range(seed, seed + runs), out=kept, processes=processes, done=done
        )
    path = simulate(told, seed, paths=True) if out is not None else None
    document = runs_document(told, outcomes, path)
    if out is not None:
        write_runs(document, out / "report.html")
    if json:
        console.print_json({**document, "path": {}})
        return
    _print_runs(document)
    _written(out)


@app.command("show")
def show(
    folder: Annotated[Path, typer.Argument(help="What --out of `cascade run` named.")],
    json: options.Json = False,
) -> None:
    """Tell what runs that were kept came to, and write their report anew.

    Example: solvent cascade show out/cascade
    """
    from solvent.cli import console
    from solvent.errors import SolventError
    from solvent.lab.cascades.kept import read_runs
    from solvent.lab.cascades.report import runs_document, write_runs

    told, found = read_runs(folder / "runs.jsonl" if folder.is_dir() else folder)
    if not found:
        raise SolventError(f"{folder}: expected one run at least, found none")
    document = runs_document(told, [found[one] for one in sorted(found)])
    if json:
        console.print_json(document)
        return
    if folder.is_dir():
        write_runs(document, folder / "report.html")
    _print_runs(document)


@app.command("search")
def search(
    settings: From = None, changed: Set = None,
    runs: Annotated[int, typer.Option("--runs", min=1, help="Crashes of each policy.")] = 8,
    seed: Seed = 1,
    accounts: Annotated[int, typer.Option("--accounts", min=2, help="Holders.")] = 500,
    family: Annotated[
        list[str] | None, typer.Option("--family", help="tiers, grid or dynamic; all if unsaid.")
    ] = None,
    margin: Annotated[
        list[float] | None, typer.Option("--margin", help="Initial margin, such as 0.05.")
    ] = None,
    pace: Annotated[
        list[str] | None, typer.Option("--pace", help="whole, minimum or slow; all if unsaid.")
    ] = None,
    fund: Annotated[
        list[float] | None, typer.Option("--fund", help="A fund's share of open interest.")
    ] = None,
    processes: Processes = None, out: Out = None, json: options.Json = False,
) -> None:  # fmt: skip
    """Which rulebook, pace and fund keep a crash inside the fund at least margin: a frontier.

    The crash is the settings' shock: by default the fall of two hours that one in a thousand
    exceeds. With --out it goes on where it was stopped.

    Example: solvent cascade search --runs 8 --margin 0.03 --margin 0.06 --out out/search
    """
    from solvent.cli import console
    from solvent.lab.cascades import search as policies
    from solvent.lab.cascades.report import write_search

    told = _settings(settings, changed, accounts)
    with _progress("policies", quiet=json) as done:
        document = policies.search(
            told, range(seed, seed + runs), families=tuple(family or policies.FAMILIES),
            margins=tuple(margin or policies.MARGINS), paces=tuple(pace or policies.PACES),
            funds=tuple(fund or policies.FUNDS), folder=out, processes=processes, done=done,
        )  # fmt: skip
    if out is not None:
        write_search(document, out / "report.html")
    if json:
        console.print_json(document)
        return
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
    _written(out)


@app.command("contagion")
def contagion(
    settings: From = None, changed: Set = None, runs: Runs = 8, seed: Seed = 1,
    accounts: Annotated[int, typer.Option("--accounts", min=2, help="Holders.")] = 1_000,
    processes: Processes = None, out: Out = None, json: options.Json = False,
) -> None:  # fmt: skip
    """How far a blow to one coin (with several venues: to one venue's coin) reaches the others.

    Example: solvent cascade contagion --set venues=2 --runs 8 --out out/contagion
    """
    from solvent.cli import console
    from solvent.lab.cascades import contagion as blows
    from solvent.lab.cascades.report import write_contagion

    told = _settings(settings, changed, accounts)
    with _progress("blows", quiet=json) as done:
        document = blows.contagion(told, range(seed, seed + runs), processes=processes, done=done)
    if out is not None:
        write_contagion(document, out / "report.html")
    if json:
        console.print_json(document)
        return
    for what, title in (("liquidated", "open interest liquidated because of it"),
                        ("overshoot", "price further below fair because of it")):  # fmt: skip
        shown = console.table(title, "struck", *document["markets"], left=["struck"])
        for name, row in zip(document["markets"], document[what], strict=True):
            shown.add_row(name, *map(_percent, row))
        console.out.print(shown)
    _written(out)


@app.command("leverage")
def leverage(
    settings: From = None, changed: Set = None, runs: Runs = 8, seed: Seed = 1,
    accounts: Annotated[int, typer.Option("--accounts", min=2, help="Holders.")] = 1_000,
    at: Annotated[
        list[float] | None, typer.Option("--at", min=0.0, help="A median leverage; repeat it.")
    ] = None,
    processes: Processes = None, out: Out = None, json: options.Json = False,
) -> None:  # fmt: skip
    """The same crashes by leverage of the holders, and the leverage from which on they cascade.

    Example: solvent cascade leverage --at 0 --at 5 --at 10 --runs 8
    """
    from solvent.cli import console
    from solvent.lab.cascades import contagion as blows
    from solvent.lab.cascades.report import write_leverage

    told = _settings(settings, changed, accounts)
    with _progress("leverages", quiet=json) as done:
        document = blows.by_leverage(
            told, range(seed, seed + runs), tuple(at or blows.LEVERAGES), processes=processes,
            done=done,
        )  # fmt: skip
    if out is not None:
        write_leverage(document, out / "report.html")
    if json:
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
    _written(out)


@app.command("facts")
def facts(
    data: Annotated[
        list[Path] | None,
        typer.Option("--data", help="15-minute bars of a coin as CSV. May be repeated."),
    ] = None,
    settings: From = None, changed: Set = None, runs: Runs = 8, seed: Seed = 1,
    steps: Annotated[int, typer.Option("--steps", min=300, help="Returns of a run.")] = 1_500,
    processes: Processes = None, out: Out = None, json: options.Json = False,
) -> None:  # fmt: skip
    """Returns of the market without leverage beside those of real bars: tails, clusters, memory.

    Example: solvent cascade facts --data BTC_USD_15m.csv.gz --runs 8
    """
    from solvent.cli import console
    from solvent.lab.cascades.measured import side_by_side
    from solvent.lab.cascades.report import write_facts

    told = _settings(settings, changed, None)
    with _progress("runs", quiet=json) as done:
        document = side_by_side(
            data or [], seeds=range(seed, seed + runs), steps=steps, settings=told,
            processes=processes, done=done,
        )  # fmt: skip
    if out is not None:
        write_facts(document, out / "report.html")
    if json:
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
    _written(out)


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


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def _written(out: Path | None) -> None:
    from solvent.cli import console

    if out is not None:
        console.out.print(f"written: {out / 'report.html'}", markup=False, highlight=False)
