"""`solvent reconcile`: our books against an outside statement, and the breaks that are found."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from solvent.cli import options

if TYPE_CHECKING:
    from solvent.reconcile.breaks import Break
    from solvent.reconcile.match import Match, Report

_RUN = "run"


class Reconcile(TyperGroup):
    """`solvent reconcile VENUE …` is `solvent reconcile run VENUE …`."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that is named; of anything else, the comparison itself."""
        if args and args[0] not in self.commands:
            args = [_RUN, *args]
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=Reconcile, no_args_is_help=True,
    help="Hold our books against an outside statement: solvent reconcile VENUE --against FILE.",
    context_settings={"ignore_unknown_options": True},
)  # fmt: skip

Store = Annotated[
    Path | None,
    typer.Option(
        "--breaks",
        help="Where breaks are kept (default: breaks.db beside a venue's journal; of files, and "
        "of a database, they are kept only where this is told).",
    ),
]
Number = Annotated[int, typer.Argument(min=1, help="The number of the break.")]
KeptIn = Annotated[
    Path, typer.Argument(help="A venue's directory, or the file that breaks are kept in.")
]


@app.command(_RUN)
def run(
    ours: Annotated[
        list[str], typer.Argument(metavar="VENUE|FILES", help="A venue's journal, or files.")
    ],
    against: Annotated[
        list[str] | None,
        typer.Option(
            "--against",
            metavar="FILE",
            help="A statement: a custodian's or clearing report's table, or VENUE:FILE, a raw "
            "answer of deribit, okx, bybit, binance or ccxt. May be given again.",
        ),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="VENUE[:KEYFILE]",
            help="The account at a venue as its API tells it, instead of files.",
        ),
    ] = None,
    as_of: Annotated[
        str | None,
        typer.Option("--as-of", help="When a statement was made that tells no time, UTC."),
    ] = None,
    tolerances: Annotated[
        Path | None, typer.Option("--tolerances", help="TOML: units and ppm by kind and name.")
    ] = None,
    account: Annotated[
        str, typer.Option("--account", help="This account alone; whose a file is that says none.")
    ] = "",
    party: Annotated[
        str, typer.Option("--with", help="Who the statement is of: breaks are kept by it.")
    ] = "statement",
    breaks: Store = None,
    every: Annotated[
        str | None, typer.Option("--every", help="Again and again: 60s, 5m, 1h; until stopped.")
    ] = None,
    runs: Annotated[int, typer.Option("--runs", min=0, help="Stop after so many; 0: never.")] = 0,
    json: options.Json = False,
) -> None:
    """Compare, and keep what differs. Exit code 1 where there are breaks.

    Example: solvent reconcile my-venue --against custodian.csv --with custodian
    """
    if bool(against) == (source is not None):
        raise typer.BadParameter("expected --against FILE, or --from VENUE")
    when = None if as_of is None else _moment(as_of)

    def turn() -> bool:
        report = _report(ours, against or [], source, tolerances, account, when)
        return _told(report, breaks or _beside(ours), party, as_json=json)

    broken = turn() if every is None else repeated(turn, seconds(every), runs)
    if broken:
        raise typer.Exit(1)


def _moment(told: str) -> int:
    """A time in milliseconds; UTC without a zone."""
    from datetime import UTC, datetime

    try:
        moment = datetime.fromisoformat(told)
    except ValueError:
        raise typer.BadParameter(
            f"expected a time such as 2026-06-30T10:00, found {told!r}", param_hint="--as-of"
        ) from None
    return round(moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() * 1_000)


def _report(
    ours: list[str], against: list[str], source: str | None, tolerances: Path | None,
    account: str, as_of_ms: int | None,
) -> Report:  # fmt: skip
    """One comparison."""
    from solvent.host import clock_ms
    from solvent.reconcile.run import reconcile
    from solvent.reconcile.tolerances import read_tolerances

    fetched = None
    if source is not None:
        from solvent.feeds.accounts.fetch import fetch
        from solvent.feeds.accounts.keys import credentials

        fetched = fetch(credentials(source), clock=clock_ms)
    allowed = None if tolerances is None else read_tolerances(tolerances)
    return reconcile(
        ours, against, tolerances=allowed, account=account, as_of_ms=as_of_ms, fetched=fetched
    )


def _told(report: Report, store: Path | None, party: str, *, as_json: bool) -> bool:
    """Keep and print what was found; whether there are breaks."""
    from solvent.cli import console
    from solvent.host import clock_ms
    from solvent.reconcile.breaks import Breaks

    kept: list[Break] | None = None
    if store is not None:
        with Breaks(store) as opened:
            opened.record(report, party=party, time_ms=clock_ms())
            kept = [one for one in opened.standing() if one.party == party]
    if as_json:
        console.print_json(document(report, kept))
    else:
        _print(report, kept)
    return bool(report.breaks)


def _beside(ours: list[str]) -> Path | None:
    from solvent.reconcile.breaks import FILE

    return Path(ours[0]) / FILE if len(ours) == 1 and Path(ours[0]).is_dir() else None


def seconds(told: str) -> float:
    """A span such as 60s, 5m or 1h, above 0.

    >>> seconds("5m"), seconds("0.5s")
    (300.0, 0.5)
    """
    units = {"s": 1.0, "m": 60.0, "h": 3600.0}
    try:
        span = float(told[:-1]) * units[told[-1:]]
    except (KeyError, ValueError):
        span = 0.0
    if not 0.0 < span <= 7 * 86_400.0:
        raise typer.BadParameter(f"expected a span such as 60s, 5m or 1h, found {told!r}")
    return span


def repeated(turn: Any, pause_s: float, runs: int) -> bool:
    """Take a turn, wait, and again, until a signal to stop; whether the last had breaks.

    A turn that cannot be done, for a statement that is being written perhaps, is said and passed
    over: the next one may be.
    """
    import signal
    import sys
    from threading import Event

    from solvent.errors import SolventError

    stop, broken, done = Event(), False, 0
    before = {
        one: signal.signal(one, lambda *_: stop.set()) for one in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        while not stop.is_set():
            try:
                broken = turn()
            except SolventError as fault:
                broken = True
                print(f"error: {fault}", file=sys.stderr)
            sys.stdout.flush()
            done += 1
            if done == runs or stop.wait(pause_s):
                break
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
    return broken


# ── what people do with breaks ───────────────────────────────────────────────────────────────────


@app.command("breaks")
def breaks(
    where: KeptIn,
    closed: Annotated[bool, typer.Option("--all", help="Closed ones too.")] = False,
    number: Annotated[
        int | None, typer.Option("--history", min=1, help="All that happened to one break.")
    ] = None,
    json: options.Json = False,
) -> None:
    """List breaks as they stand: number, state, owner, difference, cause."""
    from solvent.cli import console

    with _opened(where, mode="ro") as store:
        found = store.standing(closed=closed) if number is None else store.history(number)
    if json:
        console.print_json({"breaks": [break_document(one) for one in found]})
    else:
        _print_breaks(found)


@app.command("assign")
def assign(where: KeptIn, number: Number, owner: Annotated[str, typer.Argument()]) -> None:
    """Give a break to somebody."""
    from solvent.host import clock_ms

    with _opened(where) as store:
        _print_breaks([store.assign(number, owner, time_ms=clock_ms())])


@app.command("explain")
def explain(where: KeptIn, number: Number, note: Annotated[str, typer.Argument()]) -> None:
    """Say why a break is. It stays explained as long as its difference is the same."""
    from solvent.host import clock_ms

    with _opened(where) as store:
        _print_breaks([store.explain(number, note, time_ms=clock_ms())])


@app.command("close")
def close(where: KeptIn, number: Number, note: Annotated[str, typer.Argument()]) -> None:
    """Close a break, and say why. Another difference opens it again, or the same one after both
    sides agreed."""
    from solvent.host import clock_ms

    with _opened(where) as store:
        _print_breaks([store.end(number, note, time_ms=clock_ms())])


def _opened(where: Path, *, mode: Literal["rw", "ro"] = "rw") -> Any:
    """The store that is there. Raises BadInput where there is none: nothing is made by looking."""
    from solvent.errors import BadInput, Problem, Reject
    from solvent.reconcile.breaks import FILE, Breaks

    path = where / FILE if where.is_dir() else where
    if not path.is_file():
        raise BadInput(
            Problem(
                code=Reject.SOURCE_UNREADABLE, source=str(path), expected="a store of breaks",
                found="no such file",
            )
        )  # fmt: skip
    return Breaks(path, mode=mode)


# ── documents and tables ─────────────────────────────────────────────────────────────────────────


def document(report: Report, kept: list[Break] | None) -> dict[str, Any]:
    """The document of `solvent reconcile --json`. Amounts are decimals in text."""
    return {
        "ours": report.ours,
        "theirs": report.theirs,
        "statement_time_ms": report.time_ms,
        "counts": {str(status): count for status, count in report.counts().items()},
        "causes": {str(cause): count for cause, count in report.causes().items()},
        "lines": [_line(one) for one in report.matches],
        "breaks": None if kept is None else [break_document(one) for one in kept],
    }


def _line(one: Match) -> dict[str, Any]:
    return {
        "kind": str(one.key.kind), "account": one.key.account, "name": one.key.name,
        "status": str(one.status), "ours": _amount(one.ours, one.places),
        "ours_then": _amount(one.then, one.places), "theirs": _amount(one.theirs, one.places),
        "difference": _amount(one.difference, one.places), "later_movements": one.later,
        "cause": None if one.cause is None else str(one.cause.cause),
        "evidence": None if one.cause is None else one.cause.evidence,
        "commands": [] if one.cause is None else list(one.cause.sequences),
        "also": [str(cause) for cause in one.also],
    }  # fmt: skip


def break_document(one: Break) -> dict[str, Any]:
    """One break, or one event of it."""
    return {
        "number": one.number, "time_ms": one.time_ms, "with": one.party,
        "kind": str(one.key.kind), "account": one.key.account, "name": one.key.name,
        "happened": str(one.happened), "state": str(one.state), "owner": one.owner or None,
        "status": one.status, "difference": _amount(one.difference, one.places),
        "cause": one.cause or None, "note": one.note or None,
    }  # fmt: skip


def _amount(units: int | None, places: int) -> str | None:
    from decimal import Decimal

    from solvent.instruments.contract import plain

    return None if units is None else plain(Decimal(units).scaleb(-places))


def _print(report: Report, kept: list[Break] | None) -> None:
    from rich.markup import escape

    from solvent.cli.console import out, table

    counts = ", ".join(f"{count:,} {status}" for status, count in report.counts().items() if count)
    out.print(f"[bold]{len(report.matches):,} lines[/bold]: {counts}", highlight=False)
    later = sum(one.later > 0 and one.ours != one.then and not one.broken for one in report.matches)
    if later:
        out.print(f"{later:,} of them agree as of the statement's time", highlight=False)
    causes = ", ".join(f"{count:,} {cause}" for cause, count in report.causes().items())
    if causes:
        out.print(f"by cause: {causes}", highlight=False)
    shown = table(
        "", "kind", "account", "of", "ours", "theirs", "difference", "cause", "evidence",
        left=["kind", "account", "of", "cause", "evidence"], folds="evidence",
    )  # fmt: skip
    for one in report.breaks:
        amounts = (_amount(units, one.places) or "-" for units in
                   (one.then, one.theirs, one.difference))  # fmt: skip
        cause, evidence = ("", "") if one.cause is None else (one.cause.cause, one.cause.evidence)
        shown.add_row(
            one.key.kind, escape(one.key.account), escape(one.key.name), *amounts, cause,
            escape(evidence),
        )  # fmt: skip
    if report.breaks:
        out.print(shown)
    if kept is not None:
        _print_breaks(kept)


def _print_breaks(found: list[Break]) -> None:
    from rich.markup import escape

    from solvent.cli.console import out, table

    shown = table(
        f"breaks: {len(found):,}", "number", "with", "of", "state", "owner", "difference",
        "cause", "last", "note", left=["with", "of", "state", "owner", "cause", "last", "note"],
        folds="note",
    )  # fmt: skip
    for one in found:
        shown.add_row(
            str(one.number), escape(one.party), escape(str(one.key)), one.state,
            escape(one.owner or "-"), _amount(one.difference, one.places) or "-", one.cause or "-",
            one.happened, escape(one.note),
        )  # fmt: skip
    out.print(shown)
