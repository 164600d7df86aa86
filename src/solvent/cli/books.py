"""`solvent margin` and `solvent explain`: requirements of a book, and why."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from solvent.cli import options, remote

if TYPE_CHECKING:
    import polars as pl

    from solvent.api import AnyMargin
    from solvent.margining.explain import AccountView, SetView
    from solvent.margining.plan import Plan


_Out = Annotated[
    Path | None,
    typer.Option("--out", help="Write every account to a .csv, .parquet or .json file."),
]
_Report = Annotated[Path | None, typer.Option("--report", help="Write an HTML report with plots.")]
_Top = Annotated[
    int, typer.Option("--top", min=0, help="Show so many accounts, largest margin first.")
]
_Threads = Annotated[
    int | None, typer.Option("--threads", min=1, help="Processors to use (default: all).")
]


def margin(
    market: options.MaybeMarket = None,
    positions: options.MaybePositions = None,
    source: options.From = None,
    collateral: options.Collateral = None,
    orders: options.Orders = None,
    modes: options.Modes = None,
    inputs: options.Inputs = None,
    history: options.History = None,
    rulebook: options.MaybeRulebook = None,
    json: options.Json = False,
    skip_bad: options.SkipBad = False,
    out: _Out = None,
    report: _Report = None,
    top: _Top = 20,
    threads: _Threads = None,
    url: options.Url = None,
    account: options.OneAccount = None,
) -> None:
    """Margin every account of a book on a market, or with --from one's own account at a venue.

    With --url a service is asked: about one of its accounts, or a book on what it has published.

    Example: solvent margin --market chain.csv.gz --positions book.csv --rulebook deribit-pm
    """
    from rich.markup import escape

    from solvent.cli import accounts_in, console
    from solvent.cli.processors import spread_threads

    if url is not None:
        others = (market, orders, modes, inputs, out, report, source)
        remote.margin(url, account, positions, collateral, rulebook, others, json=json)
        return
    if source is not None:
        if any((market, positions, collateral, orders, modes, inputs, history, out, report)):
            raise typer.BadParameter("takes --rulebook and --json alone", param_hint="--from")
        accounts_in.margin_from(source, rulebook, as_json=json)
        return
    if not market or positions is None:
        raise typer.BadParameter("expected --market and --positions, or --from")
    spread_threads()
    answer = _margined(
        market, positions, rulebook or "deribit-pm", quiet=json, collateral=collateral,
        orders=orders, modes=modes, inputs=inputs, history=history, skip_bad=skip_bad,
        threads=threads,
    )  # fmt: skip
    if out is not None:
        write_accounts(answer, out)
    if report is not None:
        _write_report(answer, report)
    if json:
        console.print_json(as_json(answer))
        return
    print_answer(answer, top)
    for path in (out, report):
        if path is not None:
            console.out.print(f"written: {escape(str(path))}")
    console.print_problems(answer.problems, answer.dropped)


def explain(
    market: options.Market,
    positions: options.Positions,
    account: Annotated[str, typer.Option("--account", help="The account to explain.")],
    collateral: options.Collateral = None,
    orders: options.Orders = None,
    modes: options.Modes = None,
    inputs: options.Inputs = None,
    history: options.History = None,
    rulebook: options.Rulebook = "deribit-pm",
    json: options.Json = False,
    skip_bad: options.SkipBad = False,
) -> None:
    """Explain one account: PnL of every scenario, the binding one, charges, and shares."""
    from solvent.cli import console, levels
    from solvent.levels_answer import LevelsMargin

    answer = _margined(
        market, positions, rulebook, quiet=json, collateral=collateral, orders=orders, modes=modes,
        inputs=inputs, history=history, skip_bad=skip_bad,
    )  # fmt: skip
    if isinstance(answer, LevelsMargin):
        levels.print_or_dump(answer, answer.explain(account), as_json=json)
    else:
        view = answer.explain(account)
        if json:
            console.print_json(view_as_json(answer.plan, view))
        else:
            print_view(answer.plan, view)
    if not json:
        console.print_problems(answer.problems, answer.dropped)


def _write_report(answer: AnyMargin, path: Path) -> None:
    from solvent.errors import BadInput, Problem, Reject
    from solvent.lab.report import write_report
    from solvent.levels_answer import LevelsMargin

    if isinstance(answer, LevelsMargin):
        raise BadInput(
            Problem(
                code=Reject.RULEBOOK_UNKNOWN,
                source="--report",
                expected="a rulebook of scans, such as deribit-pm",
                found=answer.plan.rulebook.name,
            )
        )
    write_report(answer, path)


def _margined(
    market: list[Path],
    positions: Path,
    rulebook: str,
    *,
    quiet: bool,
    history: list[Path] | None,
    skip_bad: bool,
    **more: Any,
) -> AnyMargin:
    """Read and margin, with a progress bar; `more` is of `api.margin`."""
    from dataclasses import replace

    from solvent import api
    from solvent.cli import console

    with console.progress(quiet=quiet) as bar:
        task = bar.add_task("reading the market", total=4)
        read = api.market_report(*market, skip_bad=skip_bad)
        bar.update(task, advance=1, description="pricing the scenarios")
        plan = api.prepare(read.snapshot, rulebook, history=history or None)
        bar.update(task, advance=1, description="reading positions")
        told = api.read_positions(positions, skip_bad=skip_bad)
        bar.update(task, advance=1, description="margining")
        answer = api.margin(told, plan, skip_bad=skip_bad, **more)
    return replace(
        answer,
        problems=read.problems + answer.problems,
        dropped=read.dropped + answer.dropped,
    )


def as_json(answer: AnyMargin) -> dict[str, Any]:
    """The document of `solvent margin --json`."""
    from solvent.instruments.contract import moment_of

    plan = answer.plan
    return {
        "rulebook": plan.rulebook.name,
        "rulebook_digest": plan.rulebook.digest,
        "as_of": moment_of(plan.arrays.as_of_ms).isoformat(),
        "notes": [*plan.rulebook.applied, *getattr(plan, "notes", ())],
        "accounts": list(answer.to_dicts()),
        "problems": [str(problem) for problem in answer.problems],
        "dropped": answer.dropped,
    }


def write_accounts(answer: AnyMargin, path: Path) -> None:
    """Every account to a file, by its ending."""
    from solvent.errors import BadInput, Problem, Reject
    from solvent.feeds.write import write_file

    frame = answer.to_polars()
    writers: dict[str, Callable[[Path], object]] = {
        ".csv": frame.write_csv,
        ".parquet": frame.write_parquet,
        ".json": frame.write_json,
    }
    if path.suffix not in writers:
        raise BadInput(
            Problem(
                code=Reject.SOURCE_UNREADABLE,
                source=f"--out {path}",
                expected="a name that ends in .csv, .parquet or .json",
                found=path.suffix or "no ending",
            )
        )
    write_file(path, writers[path.suffix])


def print_answer(answer: AnyMargin, top: int) -> None:
    """Totals, then the accounts with the largest margins."""
    from rich.markup import escape

    from solvent.cli.console import out, table
    from solvent.instruments.contract import moment_of

    plan = answer.plan
    moment = f"{moment_of(plan.arrays.as_of_ms):%Y-%m-%d %H:%M:%S} UTC"
    out.print(
        f"[bold]{len(answer):,} accounts, {answer.book.positions:,} positions[/bold] under "
        f"[bold]{plan.rulebook.name}[/bold] at {moment}, {plan.arrays.scenarios} scenarios"
    )
    for note in (*plan.rulebook.applied, *getattr(plan, "notes", ())):
        out.print(f"[dim]note: {escape(note)}[/dim]")
    totals = table("", "status", "accounts", "equity", "initial margin", "maintenance",
                   left=["status"])  # fmt: skip
    frame = answer.to_polars()
    for (status,), part in sorted(frame.group_by("status")):
        totals.add_row(
            _coloured(str(status)),
            f"{part.height:,}",
            *(_total(part[name]) for name in ("equity", "initial_margin", "maintenance_margin")),
        )
    out.print(totals)
    if top:
        out.print(_accounts_table(answer, top))
    if answer.funded is None:
        out.print("[dim]No collateral was given: requirements only. --collateral FILE[/dim]")


def _total(amounts: pl.Series) -> str:
    """A sum of amounts, "-" where none is known."""
    from solvent.cli.console import money

    return money(float(amounts.sum()) if amounts.count() else None)


def _accounts_table(answer: AnyMargin, top: int) -> Any:
    from rich.markup import escape

    from solvent.cli.console import money, table

    frame = answer.to_polars().sort("initial_margin", descending=True, nulls_last=True)
    shown = table(
        f"largest initial margins ({min(top, frame.height)} of {frame.height:,})",
        "account", "status", "equity", "initial", "maintenance", "worst scenario",
        left=["account", "status", "worst scenario"],
    )  # fmt: skip
    for row in frame.head(top).iter_rows(named=True):
        shown.add_row(
            escape(row["account"]),
            _coloured(row["status"]),
            money(row["equity"]),
            money(row["initial_margin"]),
            money(row["maintenance_margin"]),
            escape(row["reason"] or row["worst_scenario"]),
        )
    return shown


_COLOURS = {"healthy": "green", "call": "yellow", "liquidate": "red", "unknown": "magenta"}


def _coloured(status: str) -> str:
    colour = _COLOURS.get(status.lower())
    return f"[{colour}]{status}[/{colour}]" if colour else status


def print_view(plan: Plan, view: AccountView) -> None:
    """An account explained, for people."""
    from rich.markup import escape

    from solvent.cli.console import out
    from solvent.cli.heat import scenario_tables
    from solvent.margining.explain import standing_for

    where = f"[bold]{escape(view.account)}[/bold] under {plan.rulebook.name}"
    if view.initial is None or view.maintenance is None:
        out.print(f"{where}: {_coloured(view.status.upper())}: {escape(view.reason)}")
        return
    out.print(
        f"{where}, {_coloured(view.status)}: initial margin [bold]{view.initial:,.2f}[/bold], "
        f"maintenance [bold]{view.maintenance:,.2f}[/bold] USD"
    )
    if view.haircut:
        out.print(f"of it {view.haircut:,.2f} USD are the haircut on the account's collateral")
    for one in view.sets:
        out.print()
        out.print(
            f"[bold]{one.node}[/bold] at {one.price:,.2f}: initial {one.initial:,.2f}, "
            f"maintenance {one.maintenance:,.2f} USD"
        )
        for scan in one.scans:
            for made in scenario_tables(plan.arrays, one, scan):
                out.print(made)
            binding = plan.arrays.shocks.label(scan.binding, one.underlying)
            out.print(f"▶ {standing_for(scan)}: {binding}")
        _print_charges(one)
        _print_positions(one)


def _print_charges(one: SetView) -> None:
    from solvent.cli.console import money, out, table

    charges = table("charges, USD", "charge", "amount", left=["charge"])
    for name, amount in one.components.items():
        if amount != 0.0:
            charges.add_row(name, money(amount))
    out.print(charges)


def _print_positions(one: SetView) -> None:
    from solvent.cli.console import money, out, table

    rows = table(
        "positions and their shares, USD",
        "instrument", "size", "notional", "delta coin", "vega", "binding PnL", "initial",
        "maintenance",
        left=["instrument"],
    )  # fmt: skip
    for p in one.positions:
        rows.add_row(
            p.symbol, f"{p.size:,g}", money(p.notional), f"{p.delta:+,.4f}",
            money(p.vega, signed=True), money(p.binding_pnl, signed=True),
            money(p.initial, signed=True), money(p.maintenance, signed=True),
        )  # fmt: skip
    out.print(rows)


def view_as_json(plan: Plan, view: AccountView) -> dict[str, Any]:
    """The document of `solvent explain --json`."""
    from dataclasses import asdict

    shocks = plan.arrays.shocks
    sets = []
    for one in view.sets:
        scans = [
            {
                "name": scan.name,
                "reduce": scan.reduce,
                **({} if scan.reduce == "worst" else {"level": scan.level}),
                "binding": shocks.label(scan.binding, one.underlying),
                "scenarios": [
                    {
                        "set": shocks.set_names[s],
                        "move": float(shocks.move[one.underlying, s]),
                        "vol": shocks.vol_names[s],
                        "pnl": float(pnl),
                        **({} if scan.reduce == "worst" else {"share": float(share)}),
                        **({"from": shocks.moment(s)} if shocks.is_joint(s) else {}),
                    }
                    for s, pnl, share in zip(scan.scenarios, scan.total, scan.share, strict=True)
                ],
            }
            for scan in one.scans
        ]
        sets.append(
            {
                "set": one.node,
                "price": one.price,
                "initial_margin": one.initial,
                "maintenance_margin": one.maintenance,
                "charges": dict(one.components),
                "scans": scans,
                "positions": [asdict(p) for p in one.positions],
            }
        )
    return {
        "account": view.account,
        "rulebook": plan.rulebook.name,
        "status": view.status,
        "reason": view.reason or None,
        "initial_margin": view.initial,
        "maintenance_margin": view.maintenance,
        "collateral_haircut": view.haircut,
        "sets": sets,
    }
