"""`solvent attribute` and `efficiency`: what margin is spent on, and how well."""

from __future__ import annotations

import json as jsons
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from solvent.cli import options

if TYPE_CHECKING:
    from solvent.lab.capital.attribution import AccountShares, Attribution
    from solvent.lab.capital.efficiency import Efficiency

Measure = Annotated[
    Literal["initial", "maintenance"], typer.Option("--measure", help="Which margin.")
]
Accounts = Annotated[
    list[str] | None,
    typer.Option("--account", help="Only this account; may be given again.", show_default=False),
]
Html = Annotated[
    Path | None,
    typer.Option("--html", help="Also a picture (of the first account, if of one), as one file "
                 "that needs no network, its data beside it as .json.", show_default=False),
]  # fmt: skip


def attribute(
    market: options.Market,
    positions: options.Positions,
    collateral: options.Collateral = None,
    orders: options.Orders = None,
    modes: options.Modes = None,
    inputs: options.Inputs = None,
    history: options.History = None,
    rulebook: options.Rulebook = "deribit-pm",
    account: Accounts = None,
    measure: Measure = "initial",
    method: Annotated[
        Literal["auto", "euler", "aumann-shapley", "shapley"],
        typer.Option(
            "--method",
            help="auto takes Euler's rule wherever its identity holds, else Aumann and Shapley's.",
        ),
    ] = "auto",
    html: Html = None,
    json: options.Json = False,
) -> None:
    """Who causes a requirement: each position's share, to the unit, by charge and netting node.

    Without files of one's own: solvent generate book --accounts 5 --out book.csv --collateral
    balances.csv, and solvent generate market --out chain.csv.

    Example: solvent attribute --market chain.csv.gz --positions book.csv --account alice
    """
    from solvent.cli import console
    from solvent.lab.capital.attribution import attribute as run

    found = run(
        positions, list(market), rulebook, collateral=collateral, orders=orders, modes=modes,
        inputs=inputs, history=history or None, accounts=account, measure=measure, method=method,
    )  # fmt: skip
    document = {
        "rulebook": found.rulebook, "measure": found.measure,
        "positions": found.table().to_dicts(), "charges": found.charges().to_dicts(),
        "nodes": found.nodes().to_dicts(),
    }  # fmt: skip
    draw(html, lambda: found.plot(account[0] if account else None), document)
    if json:
        console.print_json(document)
        return
    for one in found.accounts:
        _print_shares(found, one)
    tell_written(html)


def _print_shares(found: Attribution, one: AccountShares) -> None:
    from solvent.cli.console import money, out, table
    from solvent.units import MICRO

    if one.reason:
        out.print(f"{one.account}: [magenta]not known: {one.reason}[/magenta]\n")
        return
    shown = table(
        f"{one.account}: {found.measure} margin {one.whole / MICRO:,.2f} USD under "
        f"{found.rulebook}",
        "instrument", "size", "share", "part", "without it", "alone", "a lot more", "a lot less",
        left=["instrument"],
    )  # fmt: skip
    for row in found.table().filter(account=one.account).iter_rows(named=True):
        size = "" if row["size"] is None else f"{row['size']:,g}"
        part = "-" if row["part"] is None else f"{100 * row['part']:.1f} %"
        fewer = None if row["incremental"] is None else -row["incremental"]
        shown.add_row(
            row["instrument"] or "(no position)", size, money(row["share"]), part,
            money(fewer, signed=True), money(row["alone"]), money(row["one_more"], signed=True),
            money(row["one_less"], signed=True),
        )  # fmt: skip
    out.print(shown)
    for level, by_node in one.nodes.items():
        if len(by_node) > 1:
            parts = "   ".join(f"{name} {amount / MICRO:,.2f}" for name, amount in by_node.items())
            out.print(f"[dim]{level}:[/dim] {parts}")
    methods: dict[str, list[str]] = {}
    for name, method in one.methods.items():
        methods.setdefault(method, []).append(name)
    told = "; ".join(f"{method}: {', '.join(names)}" for method, names in methods.items())
    out.print(f"[dim]shared out by {told}[/dim]")
    out.print("[dim]without it, a lot more, a lot less: what the requirement changes by[/dim]\n")


def efficiency(
    market: options.Market,
    positions: options.Positions,
    collateral: options.Collateral = None,
    orders: options.Orders = None,
    modes: options.Modes = None,
    inputs: options.Inputs = None,
    history: options.History = None,
    rulebook: options.Rulebook = "deribit-pm",
    beside: Annotated[
        str, typer.Option("--beside", help="Other rulebooks, with commas between.")
    ] = "",
    over: Annotated[
        list[Path] | None,
        typer.Option(
            "--over",
            help="A market file of another time; given again and again, in the order of time, the "
            "same positions in each of them.",
            show_default=False,
        ),
    ] = None,
    account: Accounts = None,
    html: Html = None,
    json: options.Json = False,
) -> None:
    """How well margin is used: over notional, over isolated, over other rulebooks, over time.

    Example: solvent efficiency --market chain.csv.gz --positions book.csv --collateral balances.csv
    --beside deribit-sm,tims --over monday.csv.gz --over tuesday.csv.gz
    """
    from solvent.cli import console
    from solvent.feeds.library import rulebook_source
    from solvent.lab.capital.efficiency import efficiency as run

    names = [name.strip() for name in beside.split(",") if name.strip()]
    for name in names:  # one that is misspelt is no rulebook that cannot margin this
        rulebook_source(name)
    found = run(
        positions, list(market), rulebook, rulebooks=names, over=over or [], collateral=collateral,
        orders=orders, modes=modes, inputs=inputs, history=history or None, accounts=account,
    )  # fmt: skip
    document = {
        "rows": found.table().to_dicts(),
        "series": [{**row, "time": row["time"].isoformat()} for row in found.over_time],
        "returns": found.returns().to_dicts(),
    }
    draw(html, found.plot, document)
    if json:
        console.print_json(document)
        return
    _print_efficiency(found)
    if collateral is None:
        console.out.print(
            "[dim]locked, idle, short and leverage are of equity: tell it with --collateral[/dim]"
        )
    tell_written(html)


def _print_efficiency(found: Efficiency) -> None:
    from solvent.cli.console import money, out, table

    for (account,), part in found.table().group_by("account", maintain_order=True):
        shown = table(
            f"{account}, USD", "rulebook", "initial", "/gross", "/net", "isolated", "/isolated",
            "locked", "idle", "short", "leverage", left=["rulebook"], folds="rulebook",
        )  # fmt: skip
        for row in part.iter_rows(named=True):
            if row["reason"]:
                own = f"{row['rulebook']}: "
                shown.add_row(own + row["reason"].removeprefix(own))
                continue
            name = f"{row['rulebook']} ({row['note']})" if row["note"] else row["rulebook"]
            shown.add_row(
                name, money(row["initial"]), _percent(row["over_gross"]),
                _percent(row["over_net"]), money(row["isolated"]), _percent(row["over_isolated"]),
                money(row["locked"]), money(row["idle"]), money(row["shortfall"]),
                _times(row["leverage_gross"]),
            )  # fmt: skip
        out.print(shown)
    for row in found.returns().iter_rows(named=True):
        out.print(
            f"{row['account']}: gained {money(row['pnl'], signed=True)} in {row['days']:,.2f} days "
            f"on {money(row['mean_initial'])} of margin (peak {money(row['peak_initial'])}): "
            f"{_percent(row['return_on_margin'])}"
        )
    out.print(
        "[dim]net: the dollar delta of each underlying, without sign; isolated: what the positions "
        "need each alone[/dim]"
    )


def draw(path: Path | None, figure_of: Callable[[], Any], document: dict[str, Any]) -> None:
    """A figure as one HTML file, and its data (what `--json` prints) beside it."""
    if path is None:
        return
    from solvent.errors import BadInput, Problem, Reject
    from solvent.lab.page import write_whole

    if path.suffix == ".json":
        raise BadInput(
            Problem(code=Reject.TARGET_UNWRITABLE, source=str(path), found="a .json",
                    expected="a page such as shares.html: the data goes beside it")
        )  # fmt: skip
    text = figure_of().to_html(include_plotlyjs=True, config={"displayModeBar": False})
    write_whole(path.with_suffix(".json"), jsons.dumps(document, allow_nan=False, indent=1) + "\n")
    write_whole(path, text)


def tell_written(path: Path | None) -> None:
    """Where `draw` wrote."""
    from solvent.cli import console

    if path is not None:
        beside = path.with_suffix(".json")
        console.out.print(f"written: {path}, its data {beside}", markup=False, highlight=False)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def _times(number: float | None) -> str:
    return "-" if number is None else f"{number:,.2f}x"
