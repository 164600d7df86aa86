"""`solvent replay`: a history from nothing, held against its record, or under another rulebook."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from solvent.cli import options
from solvent.cli.venue import Where

if TYPE_CHECKING:
    from solvent.counterfactual import Comparison, Replayed


Rulebook = Annotated[
    str | None,
    typer.Option("--rulebook", help="Another rulebook: a name, a path, or NAME@day."),
]
Rulebooks = Annotated[
    str | None,
    typer.Option("--rulebooks", metavar="A,B,C", help="Several on trial, side by side."),
]
Accounts = Annotated[
    int, typer.Option("--accounts", min=20, help="Of a history of prices: a crowd's accounts.")
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Of a history: the crowd's.")]
Start = Annotated[int | None, typer.Option("--start", min=0, help="Of a history: the first bar.")]
Bars = Annotated[
    int | None, typer.Option("--bars", min=2, help="Of a history: how many bars, 96 if unsaid.")
]
Only = Annotated[
    str | None,
    typer.Option("--only", help="Replace only the rulebook adopted under this name."),
]
Out = Annotated[Path | None, typer.Option("--out", help="Write an HTML report with plots.")]
Top = Annotated[int, typer.Option("--top", min=0, help="Show so many accounts.")]


def replay(
    where: Where, rulebook: Rulebook = None, rulebooks: Rulebooks = None,
    accounts: Accounts = 1_000, seed: Seed = 1, start: Start = None, bars: Bars = None,
    only: Only = None, out: Out = None, top: Top = 15, history: options.History = None,
    json: options.Json = False,
) -> None:  # fmt: skip
    """Replay a journal from nothing: the same hashes, or where it diverged (exit code 1).

    With --rulebook: the same history under other rules. Who would have been refused, called,
    liquidated? With --rulebooks: several at once: requirement over time, calls, liquidations,
    losses, capital, and who was better off under which. Instead of a journal that may be 15-minute
    bars of a coin (a .csv or .csv.gz that begins with its name): a crowd that is made up goes
    through them, and every rulebook acts.

    Example: solvent replay BTC_USD_15m.csv.gz --rulebooks binance-usdm,okx-pm --out trial.html

    Example: solvent replay my-venue --rulebook paradex-pm --out report.html
    """
    from solvent.cli import console
    from solvent.counterfactual import Replayed
    from solvent.recovery import ReplayDiverged

    if rulebooks is not None:
        from solvent.cli.replay_trial import trial

        trial(
            where, rulebooks, rulebook=rulebook, only=only, history=history, accounts=accounts,
            seed=seed, start=start, bars=bars, out=out, json=json,
        )  # fmt: skip
        return
    try:
        compared = _run(where, rulebook, only, history or None, quiet=json)
    except ReplayDiverged as fault:
        if json:
            console.print_json({"same": False, "sequence": fault.sequence, "why": str(fault)})
        else:
            console.err.print(f"diverged: {fault}", markup=False, highlight=False)
        raise typer.Exit(1) from fault
    if isinstance(compared, Replayed):
        _show_replayed(compared, as_json=json)
        return
    document = compared.to_dict()
    if out is not None:
        from solvent.lab.replay_report import write_replay_report

        write_replay_report(document, out)
    if json:
        console.print_json(document)
    else:
        _print_compared(compared, document, top)
        if out is not None:
            console.out.print(f"written: {out}", markup=False, highlight=False)


def _run(
    where: str, rulebook: str | None, only: str | None, history: list[Path] | None, *, quiet: bool
) -> Replayed | Comparison:
    """Replay with a progress bar, on two processors where there are two worlds."""
    from solvent.cli import console
    from solvent.counterfactual import replay as run

    with console.progress(quiet=quiet) as bar:
        task = bar.add_task("replaying", total=None)

        def progress(done: int, count: int) -> None:
            bar.update(task, completed=done, total=count)

        if rulebook is None:
            return run(where, progress=progress)
        processes = min(2, multiprocessing.cpu_count())
        return run(
            where, rulebook=rulebook, only=only, history=history, progress=progress,
            processes=processes,
        )  # fmt: skip


def _show_replayed(found: Replayed, *, as_json: bool) -> None:
    from solvent.cli import console

    if as_json:
        console.print_json(
            {
                "same": True, "commands": found.commands, "seconds": found.seconds,
                "chain": found.chain, "state_hash": found.state_hash,
                "snapshots": list(found.snapshots),
            }
        )  # fmt: skip
        return
    speed = found.commands / found.seconds if found.seconds else 0.0

    def say(line: str) -> None:
        console.out.print(line, markup=False, highlight=False, soft_wrap=True)

    say(f"same: {found.commands:,} commands came out as recorded, event for event")
    say(f"  {found.seconds:.2f} s, {speed:,.0f} commands/s")
    say(f"  chain {found.chain}")
    say(f"  state {found.state_hash}")
    for sequence in found.snapshots:
        say(f"  the snapshot at {sequence:,} has the same state")


def _print_compared(compared: Comparison, document: dict[str, Any], top: int) -> None:
    from rich.markup import escape

    from solvent.cli.console import out

    name = escape(compared.other.name)
    out.print(
        f"[bold]{document['commands']:,} commands, as recorded and under {name}[/bold]; all "
        f"accounts assessed {len(compared.recorded.points)} times, after each publication and at "
        "the end",
        highlight=False,
    )
    if compared.identical:
        out.print("no difference: every event of every command is the same")
    _print_accounts(document, name)
    _print_moments(document, name)
    _print_rejections(document["rejections"], name)
    _print_differing(document["accounts"], name, top)
    begun, there = document["liquidations_begun"]
    out.print(
        f"[dim]The commands are the recorded ones. Of {begun:,} liquidations that were begun, "
        f"{there:,} began under {name}: where the account was healthy there, they were refused, "
        "and nobody began those that only the other rules would have needed. Accounts left below "
        "maintenance, and their shortfall, are what acting would have had to prevent.[/dim]",
        highlight=False,
    )


def _print_accounts(document: dict[str, Any], name: str) -> None:
    from solvent.cli.console import out, table

    shown = table(
        "accounts, at some time", "", "as recorded", name, "in both", "only recorded",
        f"only {name}", left=[""],
    )  # fmt: skip
    labels = {"called": "below initial margin", "liquidatable": "below maintenance"}
    for what, label in labels.items():
        parts = ("recorded", "other", "both", "only_recorded", "only_other")
        shown.add_row(label, *(f"{document[what][part]:,}" for part in parts))
    out.print(shown)


def _print_moments(document: dict[str, Any], name: str) -> None:
    from solvent.cli.console import money, out, table

    shown = table(
        "the venue, USD", "when", "time", "index", "rules", "initial", "maintenance", "called",
        "liquidatable", "unknown", "insolvent", "shortfall", left=["when", "time", "rules"],
    )  # fmt: skip
    for label, pair in document["moments"].items():
        for rules, one in zip(("as recorded", name), pair, strict=True):
            shown.add_row(
                label, _time(one["time_ms"]), f"{one['index']:,.6g}", rules,
                money(one["initial_micro"] / 1e6), money(one["maintenance_micro"] / 1e6),
                f"{one['called']:,}", f"{one['liquidatable']:,}", f"{one['unknown']:,}",
                f"{one['insolvent']:,}", money(one["shortfall_micro"] / 1e6),
            )  # fmt: skip
            label = ""
    out.print(shown)


def _print_rejections(rows: list[dict[str, Any]], name: str) -> None:
    from solvent.cli.console import out, table

    shown = table(
        "rejected", "command", "code", "as recorded", name, "only recorded", f"only {name}",
        left=["command", "code"],
    )  # fmt: skip
    for row in rows:
        shown.add_row(
            row["kind"], row["code"],
            *(f"{row[part]:,}" for part in ("recorded", "other", "only_recorded", "only_other")),
        )  # fmt: skip
    if rows:
        out.print(shown)


def _print_differing(rows: list[dict[str, Any]], name: str, top: int) -> None:
    from rich.markup import escape

    from solvent.cli.console import money, out, table

    if not rows or not top:
        return
    shown = table(
        f"accounts that stood otherwise, largest initial margin first "
        f"({min(top, len(rows))} of {len(rows):,})",
        "account", "rules", "largest initial", "below initial", "below maintenance",
        left=["account", "rules"],
    )  # fmt: skip
    for row in rows[:top]:
        label = escape(row["account"])
        for which, rules in (("recorded", "as recorded"), ("other", name)):
            shown.add_row(
                label, rules, money(row[f"{which}_initial"]), _time(row[f"{which}_called_ms"]),
                _time(row[f"{which}_liquidatable_ms"]),
            )  # fmt: skip
            label = ""
    out.print(shown)


def _time(time_ms: int | None) -> str:
    from solvent.instruments.contract import moment_of

    return "never" if time_ms is None else f"{moment_of(time_ms):%m-%d %H:%M:%S}"
