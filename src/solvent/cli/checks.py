"""`solvent market` and `solvent conform`: what is in a market; what Solvent is held to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from solvent.cli import options

if TYPE_CHECKING:
    from solvent.conform import FileResult


def market(
    files: Annotated[list[Path], typer.Argument(help="Files that together describe one market.")],
    json: options.Json = False,
    skip_bad: options.SkipBad = False,
) -> None:
    """Show what is in a market, what is stale, and what could be arbitraged."""
    from solvent import api
    from solvent.cli import console
    from solvent.lab.inspect import inspect_market

    read = api.market_report(*files, skip_bad=skip_bad)
    report = inspect_market(read.snapshot)
    if json:
        document = report.to_dict()
        document["problems"] = [str(problem) for problem in read.problems]
        console.print_json(document)
        return
    from solvent.cli.market_view import print_market

    print_market(read.snapshot, report)
    console.print_problems(read.problems, read.dropped)


def conform(
    paths: Annotated[list[Path], typer.Argument(help="Vector files, or folders of them.")],
    json: options.Json = False,
) -> None:
    """Run every worked case below PATHS and compare with its expected numbers.

    Exit code 1 when a case fails. *unknown* cases are of a kind that Solvent cannot check.
    """
    from rich.markup import escape

    from solvent.cli import console
    from solvent.conform.run import Conformance, run_files

    results: list[FileResult] = []
    with console.progress(quiet=json) as bar:
        task = bar.add_task("running cases", total=None)
        for result in run_files(paths):
            results.append(result)
            bar.update(task, advance=1, description=escape(result.kind))
    done = Conformance(tuple(results))
    if json:
        console.print_json(done.to_dict())
    else:
        _print_conformance(done)
    if done.failed:
        raise typer.Exit(1)


def _print_conformance(done) -> None:  # type: ignore[no-untyped-def]
    from rich.markup import escape

    from solvent.cli.console import out, table

    shown = table("", "file", "kind", "passed", "failed", "unknown", "worst error / tolerance",
                  left=["file", "kind"])  # fmt: skip
    for file in done.files:
        failed = f"[red]{file.failed}[/red]" if file.failed else "0"
        worst = f"{file.worst:.2g}" if file.passed or file.failed else "-"
        shown.add_row(escape(Path(file.path).name), escape(file.kind), str(file.passed), failed,
                      str(file.unknown), worst)  # fmt: skip
    out.print(shown)
    for file in done.files:
        for miss in file.misses:
            out.print(f"[red]missed[/red] {escape(f'{file.kind}: {miss}')}", highlight=False)
    out.print(f"[bold]{done.passed} passed, {done.failed} failed, {done.unknown} unknown[/bold]")
