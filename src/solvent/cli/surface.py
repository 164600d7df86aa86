"""`solvent surface`: implied volatilities fitted, told and drawn."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from solvent.cli import options

_SHOWN = 6


class Model(StrEnum):
    """What is fitted."""

    SVI = "svi"
    SSVI = "ssvi"


def surface(
    files: Annotated[list[Path], typer.Argument(help="Files that together describe one market.")],
    underlying: Annotated[
        list[str] | None, typer.Option("--underlying", help="Only this one; may be given again.")
    ] = None,
    model: Annotated[
        Model, typer.Option("--model", help="svi: a smile an expiry. ssvi: three numbers a book.")
    ] = Model.SVI,
    html: Annotated[Path | None, typer.Option("--html", help="Write a page with plots.")] = None,
    png: Annotated[Path | None, typer.Option("--png", help="Write a picture.")] = None,
    json: options.Json = False,
) -> None:
    """Fit implied volatility to a chain, without arbitrage, and show how near it comes.

    Rows that cannot be used are left out and counted; an expiry without a smile is unknown, with
    the reason. Exit code 1 when no expiry could be fitted.
    """
    from solvent.cli import console
    from solvent.feeds.market import read_market
    from solvent.feeds.open_interest import read_open_interest
    from solvent.lab.surface_report import draw_png, surface_document, write_surface_html
    from solvent.pricing.option_quotes import quotes_of
    from solvent.pricing.surface_fit import fit_surface

    read = read_market(files, skip_bad=True)
    quotes = quotes_of(read.snapshot, read_open_interest(files))
    fit = fit_surface(quotes.of(_wanted(quotes, underlying)), model=model.value)
    document = surface_document(read.snapshot, fit)
    document["problems"] = [str(problem) for problem in read.problems]
    if html is not None:
        write_surface_html(read.snapshot, fit, html)
    if png is not None:
        draw_png(fit, png)
    if json:
        console.print_json(document)
    else:
        _print(document)
        console.print_problems(read.problems, read.dropped)
        for path in (html, png):
            if path is not None:
                console.out.print(f"written: {path}", highlight=False, markup=False)
    if not fit.surface.known.any():
        raise typer.Exit(1)


def _wanted(quotes: Any, underlying: list[str] | None) -> set[str]:
    """Underlyings asked for, or all; an unknown one is bad input."""
    have = {book[0] for book in quotes.books}
    wanted = {name.upper() for name in underlying or ()}
    unknown = sorted(wanted - have)
    if unknown:
        listed = ", ".join(sorted(have)) or "none with options"
        raise typer.BadParameter(f"expected one of {listed}, found {unknown[0]}")
    return wanted or have


def _print(document: dict[str, Any]) -> None:
    from solvent.cli.console import out, table

    out.print(f"[bold]Implied volatility, {document['as_of'][:19].replace('T', ' ')} UTC[/bold]")
    shown = table(
        "", "book", "expiry", "days", "forward", "from", "rate/yr", "fit", "ATM vol", "skew",
        "median", "95 %", "used", "out", "butterfly", "calendar", "note", left=["book", "from",
        "fit", "note"], folds="note",
    )  # fmt: skip
    for one in document["expiries"]:
        left = sum(count for reason, count in one["left_out"].items() if "money" not in reason)
        shown.add_row(
            f"{one['underlying']}/{one['settlement']}", one["expiry"][:10], f"{one['days']:.1f}",
            f"{one['forward']:,.2f}", one["forward_from"], _or_dash(one["implied_rate"], "+.2%"),
            one["kind"], _or_dash(one["atm_vol"], ".2%"), _or_dash(one["skew"], "+.3f"),
            _or_dash(one["residual_median"], ".3%"), _or_dash(one["residual_p95"], ".3%"),
            str(one["used"]), str(left), str(one["butterflies_in_quotes"]),
            str(one["calendars_in_quotes"]), one["reason"],
        )  # fmt: skip
    out.print(shown)
    overall = document["overall"]
    if overall["compared"]:
        out.print(
            f"{overall['compared']:,} strikes with |delta| 5 to 95 %: fitted less told, median "
            f"{overall['residual_median']:.3%}, 95 % within {overall['residual_p95']:.3%}"
        )
    out.print("butterfly, calendar: arbitrage between the volatilities told; the surface has none")
    for part, words in (
        ("filled", "options have no volatility but the surface's"),
        ("outside_bands", "marks lie outside the surface's bands"),
    ):
        if names := document[part]:
            shown_names = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
            out.print(f"{len(names):,} {words}: {shown_names}", highlight=False, markup=False)
    for part in ("left_out", "quote_faults"):
        for reason, count in document[part].items():
            out.print(f"  {count:,} rows: {reason}", highlight=False, markup=False)


def _or_dash(number: float | None, form: str) -> str:
    return "-" if number is None else format(number, form)
