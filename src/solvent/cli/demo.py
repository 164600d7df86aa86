"""`solvent demo` and `solvent generate`: a whole venue from a seed."""

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


class What(StrEnum):
    """What `solvent generate` writes."""

    MARKET = "market"
    BOOK = "book"


def demo(
    accounts: Annotated[int, typer.Option("--accounts", min=1, max=4_000_000)] = 100_000,
    seed: Seed = 1,
    rulebook: options.Rulebook = "deribit-pm",
    report: Annotated[Path, typer.Option("--report", help="Where the report goes.")] = Path(
        "out/demo.html"
    ),
    json: options.Json = False,
) -> None:
    """Margin a generated venue: its totals, one account explained, and a report with plots."""
    import time

    from rich.markup import escape

    from solvent import api
    from solvent.cli import books, console
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
    out: Annotated[Path, typer.Option("--out", help="A .csv or .parquet file to write.")],
    market: Annotated[
        list[Path] | None,
        typer.Option("--market", help="Generate the book on this market, not a generated one."),
    ] = None,
    accounts: Annotated[int, typer.Option("--accounts", min=1, max=4_000_000)] = 1_000,
    seed: Seed = 1,
    collateral: Annotated[
        Path | None, typer.Option("--collateral", help="Also write the book's balances here.")
    ] = None,
) -> None:
    """Write a generated market, or a generated book on a market, to files that Solvent reads."""
    from solvent import api
    from solvent.cli.console import out as console_out
    from solvent.feeds.synthetic_book import generate_book
    from solvent.feeds.synthetic_market import generate_market
    from solvent.feeds.write import write_balances, write_book, write_market

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
