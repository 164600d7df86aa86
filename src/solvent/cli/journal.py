"""`solvent journal`: rows of a journal, one in full, the whole chain, out to a file and back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from solvent.cli import options, remote
from solvent.cli.venue import Where

if TYPE_CHECKING:
    import msgspec

    from solvent.engine.state import State
    from solvent.journal import Journal, Row
    from solvent.messages.fields import Command

app = typer.Typer(no_args_is_help=True, help="Look into a journal; verify, export and import it.")
_NAMING = ("list_asset", "list_instrument", "list_combo", "open_account")
_TEXT_SHOWN = 200
_ACCOUNT_FIELDS = ("account", "parent", "source", "target", "buyer", "seller", "counterparty",
                   "member")  # fmt: skip


@app.command("ls")
def ls(
    where: Where,
    kind: Annotated[
        list[str] | None, typer.Option("--kind", help="Such as trade; may be given again.")
    ] = None,
    account: Annotated[
        str | None, typer.Option("--account", help="Commands and events that touch an account.")
    ] = None,
    start: Annotated[
        str | None, typer.Option("--from", help="A sequence, or a time such as 2026-06-30T10:00.")
    ] = None,
    end: Annotated[str | None, typer.Option("--to", help="The same, inclusive.")] = None,
    rejected: Annotated[bool, typer.Option("--rejected", help="Only what was refused.")] = False,
    limit: Annotated[int, typer.Option("--limit", min=0, help="At most so many; 0: all.")] = 50,
    json: options.Json = False,
) -> None:
    """List commands: sequence, time, kind, actor, key, and what came of them."""
    from rich.markup import escape

    from solvent.cli import console
    from solvent.journal import Journal

    lines: list[dict[str, Any]] = []
    more = False
    with ExitStack() as opened:
        if remote.is_url(where):
            if account is not None:
                raise typer.BadParameter("expected none of a served venue", param_hint="--account")
            chosen = _elsewhere(where, kind or [], _bound(start), _bound(end), rejected=rejected)
        else:
            journal = opened.enter_context(Journal.open(where, read_only=True))
            chosen = _chosen(
                journal, kind or [], account, _bound(start), _bound(end), rejected=rejected
            )
        for line in chosen:
            if limit and len(lines) == limit:
                more = True
                break
            lines.append(line)
    if json:
        console.print_json({"rows": lines, "more": more})
        return
    words = ("time", "kind", "actor", "key", "result")
    shown = console.table("", "sequence", *words, left=words)
    for line in lines:
        result = line["result"]
        coloured = escape(result) if result == "accepted" else f"[yellow]{escape(result)}[/yellow]"
        shown.add_row(
            f"{line['sequence']:,}", line["time"], line["kind"],
            escape(line["actor"]), escape(line["key"]), coloured,
        )  # fmt: skip
    console.out.print(shown, highlight=False)
    if more:
        console.out.print(f"[dim]the first {limit}; --limit 0 shows all[/dim]", highlight=False)


def _bound(told: str | None) -> tuple[str, int] | None:
    """What `--from` and `--to` mean: a `sequence`, or a time in `ms`, UTC without a zone."""
    from datetime import UTC, datetime

    if told is None:
        return None
    if told.isascii() and told.isdigit():
        return "sequence", int(told)
    try:
        moment = datetime.fromisoformat(told)
    except ValueError:
        raise typer.BadParameter(
            f"expected a sequence or a time such as 2026-06-30T10:00, found {told!r}"
        ) from None
    moment = moment.replace(tzinfo=moment.tzinfo or UTC)
    return "ms", round(moment.timestamp() * 1_000)


def _chosen(
    journal: Journal,
    kinds: list[str],
    account: str | None,
    start: tuple[str, int] | None,
    end: tuple[str, int] | None,
    *,
    rejected: bool,
) -> Iterator[dict[str, Any]]:
    from solvent.messages.codec import decode_command, decode_events
    from solvent.messages.events import Rejected

    after = start[1] - 1 if start and start[0] == "sequence" else 0
    until = end[1] if end and end[0] == "sequence" else None
    number = None if account is None else _number(journal, account)
    for row in journal.read(after=after, until=until, verify=False):
        if start and start[0] == "ms" and row.time_ms < start[1]:
            continue
        if end and end[0] == "ms" and row.time_ms > end[1]:
            break
        if kinds and row.kind not in kinds:
            continue
        events = decode_events(row.events)
        refused = bool(events) and isinstance(events[0], Rejected)
        if rejected and not refused:
            continue
        command = decode_command(row.command)
        if account is not None and not _touches(command, events, account, number):
            continue
        yield _line(row, command, events[0] if refused else None)


def _elsewhere(
    where: str, kinds: list[str], start: tuple[str, int] | None, end: tuple[str, int] | None, *,
    rejected: bool,
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """The same of a served venue, as far as it is told by rows alone."""
    from solvent.errors import Reject

    after = start[1] - 1 if start and start[0] == "sequence" else 0
    for row in remote.journal_rows(where, max(0, after)):
        if end and (row.sequence if end[0] == "sequence" else row.time_ms) > end[1]:
            return
        early = start is not None and start[0] == "ms" and row.time_ms < start[1]
        if early or (kinds and row.kind not in kinds) or (rejected and not row.code):
            continue
        yield {
            "sequence": row.sequence, "time_ms": row.time_ms, "time": _moment(row.time_ms),
            "kind": row.kind, "actor": row.actor, "key": row.key,
            "result": Reject(row.code).name if row.code else "accepted",
        }  # fmt: skip


def _line(row: Row, command: Command, refused: Any) -> dict[str, Any]:
    from solvent.errors import Reject

    return {
        "sequence": row.sequence,
        "time_ms": row.time_ms,
        "time": _moment(row.time_ms),
        "kind": row.kind,
        "actor": command.actor,
        "key": command.key,
        "result": "accepted" if refused is None else Reject(refused.code).name,
    }


def _moment(time_ms: int) -> str:
    from solvent.instruments.contract import moment_of

    return f"{moment_of(time_ms):%Y-%m-%d %H:%M:%S.%f}"[:-3]


def _number(journal: Journal, account: str) -> int | None:
    """An account's number, from the command that opened it."""
    from solvent.account.ledger import SYSTEM_NAMES

    for number, name in SYSTEM_NAMES.items():
        if name == account:
            return number
    return names(journal, journal.head.sequence).account_numbers.get(account)


def _touches(command: Command, events: Any, account: str, number: int | None) -> bool:
    """Whether a command names an account, or its events change it."""
    from solvent.account.ledger import OWNER_SHIFT
    from solvent.messages.events import Posted

    if any(getattr(command, name, None) == account for name in _ACCOUNT_FIELDS):
        return True
    if number is None:
        return False
    for event in events:
        if any(getattr(event, name, None) == number for name in ("account", "buyer", "seller")):
            return True
        if isinstance(event, Posted) and any(
            number in (source >> OWNER_SHIFT, target >> OWNER_SHIFT)
            for source, target, _ in event.moves
        ):
            return True
    return False


# ── one row ──────────────────────────────────────────────────────────────────────────────────────


@app.command("show")
def show(
    where: Where,
    sequence: Annotated[int, typer.Argument(min=1, help="Which command.")],
    json: options.Json = False,
) -> None:
    """Show one command and its events, with names for numbers."""
    from rich.markup import escape

    from solvent.cli import console
    from solvent.errors import SolventError
    from solvent.journal import Journal
    from solvent.messages.codec import decode_command, decode_events

    with Journal.open(where, read_only=True) as journal:
        row = journal.find(sequence)
        if row is None:
            raise SolventError(
                f"{journal.name}: expected a sequence from 1 to {journal.head.sequence}, found "
                f"{sequence}"
            )
        known = names(journal, sequence)
    command = decode_command(row.command)
    document: dict[str, Any] = {
        "sequence": row.sequence,
        "time_ms": row.time_ms,
        "time": _moment(row.time_ms),
        "kind": row.kind,
        "chain": row.chain.hex(),
        "command": _fields(command),
        "events": [_event(known, event) for event in decode_events(row.events)],
    }
    if json:
        console.print_json(document)
        return

    def say(line: str) -> None:
        console.out.print(escape(line), highlight=False, soft_wrap=True)

    say(f"{row.sequence:,} {row.kind} at {document['time']} UTC, link {row.chain.hex()[:16]}")
    for name, value in document["command"].items():
        say(f"  {name}: {_short(value)}")
    for event in document["events"]:
        told = ", ".join(f"{name} {_short(value)}" for name, value in event.items() if
                         name not in ("event", "moves"))  # fmt: skip
        say(f"→ {event['event']}{': ' if told else ''}{told}")
        for move in event.get("moves", ()):
            say(f"    {move['from']} → {move['to']}: {move['amount']:,}")


def names(journal: Journal, until: int) -> State:
    """A state that knows the names of a history and nothing else."""
    from solvent.engine.reference import list_instrument
    from solvent.engine.state import Account, Combo, State
    from solvent.messages.codec import decode_command, decode_events
    from solvent.messages.commands import ListCombo, ListInstrument, OpenAccount
    from solvent.messages.events import Numbered

    state = State()
    for row in journal.read(until=until, verify=False):
        if row.kind not in _NAMING:
            continue
        first = decode_events(row.events)[0]
        if not isinstance(first, Numbered):
            continue
        command = decode_command(row.command)
        if isinstance(command, OpenAccount):
            number = first.number
            state.accounts.append(Account(number, first.name, "user", -1, command.rulebook))
            state.account_numbers[first.name] = number
        elif isinstance(command, ListInstrument):
            list_instrument(state, command, [])
        elif isinstance(command, ListCombo):
            combo = Combo(number=first.number, listing=command, legs=(), tick=Fraction(0))
            state.combos.append(combo)
        else:
            state.asset_numbers[first.name] = first.number
            state.assets.append((first.name, getattr(command, "decimals", 0)))
    return state


def _fields(told: msgspec.Struct) -> dict[str, Any]:
    import msgspec

    found = msgspec.to_builtins(told, builtin_types=(bytes,))
    return {name: _readable(value) for name, value in found.items()}


def _readable(value: Any) -> Any:
    return f"{len(value):,} bytes" if isinstance(value, bytes) else value


def _event(known: State, event: Any) -> dict[str, Any]:
    """An event's fields, numbers of accounts, contracts and assets as names, nodes in words."""
    from solvent.engine.audit import node_name
    from solvent.errors import Reject
    from solvent.limits import COMBO_FIRST
    from solvent.messages.codec import event_fields
    from solvent.messages.events import Rejected

    found = event_fields(event)
    for name in ("account", "buyer", "seller"):
        if isinstance(found.get(name), int):
            found[name] = known.account(found[name]).name
    number = found.get("instrument")
    if isinstance(number, int):
        combos = number >= COMBO_FIRST
        one = known.combos[number - COMBO_FIRST] if combos else known.contracts[number]
        found["instrument"] = one.listing.symbol
    if isinstance(found.get("asset"), int):
        found["asset"] = known.assets[found["asset"]][0]
    if "moves" in found:
        found["moves"] = [
            {"from": node_name(known, source), "to": node_name(known, target), "amount": amount}
            for source, target, amount in found["moves"]
        ]
    if isinstance(event, Rejected):
        found["code"] = Reject(event.code).name
    return found


def _short(value: Any) -> str:
    text = f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
    return text if len(text) <= _TEXT_SHOWN else f"{text[:_TEXT_SHOWN]}… ({len(text):,} characters)"


# ── the whole ────────────────────────────────────────────────────────────────────────────────────


@app.command("verify")
def verify(where: Where, json: options.Json = False) -> None:
    """Read everything and hold it against the chain of hashes and the head."""
    from solvent.cli import console
    from solvent.journal import Journal

    with console.progress(quiet=json) as bar, Journal.open(where, read_only=True) as journal:
        bar.add_task("verifying the chain", total=None)
        found = journal.verify()
        name = journal.name
    chain = found.head.chain.hex()
    if json:
        console.print_json({"journal": name, "rows": found.rows, "chain": chain})
        return
    console.out.print(f"{name}: {found.rows:,} rows, whole; the chain ends in {chain}",
                      markup=False, highlight=False, soft_wrap=True)  # fmt: skip


@app.command("export")
def export(
    where: Where,
    file: Annotated[Path, typer.Argument(help="A .parquet file to write.")],
    json: options.Json = False,
) -> None:
    """Write every row to a Parquet file, verified on the way."""
    from solvent.cli import console
    from solvent.journal import Journal

    with console.progress(quiet=json) as bar, Journal.open(where, read_only=True) as journal:
        bar.add_task("exporting", total=None)
        rows = journal.export(file)
    if json:
        console.print_json({"file": str(file), "rows": rows})
        return
    console.out.print(f"written: {file}, {rows:,} rows", markup=False, highlight=False)


def import_(
    file: Annotated[Path, typer.Argument(help="A Parquet file that was exported.")],
    where: Where,
    json: options.Json = False,
) -> None:
    """Make a new journal of an export; all of the file is verified before anything is made."""
    from solvent.cli import console
    from solvent.journal import import_parquet

    with console.progress(quiet=json) as bar:
        bar.add_task("importing", total=None)
        head = import_parquet(file, where)
    if json:
        console.print_json({"rows": head.sequence, "chain": head.chain.hex()})
        return
    console.out.print(f"made: {head.sequence:,} rows; the chain ends in {head.chain.hex()}",
                      markup=False, highlight=False, soft_wrap=True)  # fmt: skip


app.command("import")(import_)
