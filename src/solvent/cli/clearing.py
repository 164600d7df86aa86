"""`solvent span` and `solvent simm`: margins by files of clearing houses and of sensitivities."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from solvent.cli import options


def span(
    spn: Annotated[
        Path,
        typer.Option(
            "--spn", help="A clearing house's SPAN risk parameters (XML).", show_default=False
        ),
    ],
    positions: Annotated[
        Path,
        typer.Option(
            "--positions",
            help="account,instrument,size as CSV, Parquet or JSON; sizes are signed units, symbols "
            "such as NIFTY-20260630 and NIFTY-20260630-24000-C.",
            show_default=False,
        ),
    ],
    json: options.Json = False,
) -> None:
    """Margin portfolios by a SPAN file: scanning risk, spreads and credits by commodity.

    Example: solvent span --spn nsccl.spn --positions book.csv
    """
    from rich.markup import escape

    from solvent.clearing import span as run
    from solvent.cli import console

    answer = run(positions, spn)
    if json:
        document = {
            "source": answer.source,
            "business_date": answer.business_date or None,
            "rows": [dict(row) for row in answer.rows],
            "totals": answer.totals(),
        }
        console.print_json(document)
        return
    shown = console.table(
        "", "portfolio", "commodity", "scanning risk", "scenario", "calendar", "credit",
        "short options", "option value", "requirement", left=["portfolio", "commodity"],
    )  # fmt: skip
    for row in answer.rows:
        shown.add_row(
            escape(row["portfolio"]), escape(row["commodity"]),
            console.money(row["scanning_risk"]), str(row["active_scenario"]),
            console.money(row["calendar_charge"]), console.money(row["product_credit"]),
            console.money(row["short_option_minimum"]), console.money(row["net_option_value"]),
            console.money(row["requirement"]),
        )  # fmt: skip
    console.out.print(shown)
    for line in repr(answer).splitlines():
        console.out.print(f"[bold]{escape(line)}[/bold]", highlight=False)


def simm(
    crif: Annotated[
        Path,
        typer.Option(
            "--crif",
            help="Sensitivities in ISDA's CRIF as CSV, Parquet or JSON.",
            show_default=False,
        ),
    ],
    calibration: Annotated[
        Path,
        typer.Option(
            "--calibration",
            help="Parameters of SIMM (XML, as the Open Source Risk Engine has "
            "them). ISDA licenses them: bring your own.",
            show_default=False,
        ),
    ],
    side: Annotated[
        Literal["call", "post"], typer.Option("--side", help="Who asks: who calls or who posts.")
    ] = "call",
    regulation: Annotated[
        str | None, typer.Option("--regulation", help="Only rows that are under it.")
    ] = None,
    days: Annotated[
        int, typer.Option("--days", min=1, help="Margin period of risk, in business days.")
    ] = 10,
    currency: Annotated[str, typer.Option("--currency", help="Of the calculation.")] = "USD",
    json: options.Json = False,
) -> None:
    """Margin sensitivities by ISDA SIMM: product class, risk class, margin type.

    Example: solvent simm --crif crif.csv --calibration simm.xml
    """
    from rich.markup import escape

    from solvent.clearing import simm as run
    from solvent.cli import console

    answer = run(crif, calibration, side=side, regulation=regulation, days=days, currency=currency)
    frame = answer.to_polars()
    if json:
        document = {
            "source": answer.source, "versions": list(answer.versions), "days": days, "side": side,
            "regulation": regulation, "currency": currency, "rows": frame.to_dicts(),
            "total": answer.total,
        }  # fmt: skip
        console.print_json(document)
        return
    words = ["portfolio", "product class", "risk class", "margin type"]
    shown = console.table("", *words, "amount", left=words)
    for *names, amount in frame.iter_rows():
        shown.add_row(*map(escape, names), console.money(amount))
    console.out.print(shown)
    for line in repr(answer).splitlines():
        console.out.print(f"[bold]{escape(line)}[/bold]", highlight=False)
