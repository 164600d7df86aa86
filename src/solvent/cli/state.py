"""`solvent state` and `solvent audit`: where a venue and its accounts stand, and whether the books
add up. Both only read: an engine may be running."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from solvent.cli import options, remote
from solvent.cli.venue import Where

if TYPE_CHECKING:
    from solvent.engine.audit import Audit
    from solvent.engine.state import Account, State
    from solvent.journal import Journal
    from solvent.verify.books import Findings

_COLOURS = {"healthy": "green", "call": "yellow", "liquidate": "red", "unknown": "magenta"}


@contextmanager
def read_only(where: str, *, quiet: bool) -> Iterator[tuple[Journal, State]]:
    """A journal and the state at its head, without its lock."""
    from solvent.cli import console
    from solvent.journal import Journal
    from solvent.recovery import recovered

    with Journal.open(where, read_only=True) as journal:
        with console.progress(quiet=quiet) as bar:
            task = bar.add_task("recovering the state", total=None)
            state = recovered(
                journal,
                progress=lambda done, head: bar.update(task, completed=done, total=head),
            )
        yield journal, state


def state(
    where: Where,
    account: Annotated[
        str | None, typer.Option("--account", help="One account; all in short without it.")
    ] = None,
    json: options.Json = False,
) -> None:
    """Show an account: balances, positions, orders, and where it stands; or the venue in short.

    Everything is as of the journal's last command. Example: solvent state my-venue --account alice
    """
    from solvent.cli import console

    document, show = _document(where, account, quiet=json)
    if json:
        console.print_json(document)
    else:
        show(document)


def _document(
    where: str, account: str | None, *, quiet: bool
) -> tuple[dict[str, Any], Callable[[dict[str, Any]], None]]:
    """The document, and who prints it."""
    from solvent.documents import account_document, in_floats, venue_document

    if remote.is_url(where):
        with remote.connected(where) as client:
            if account is None:
                return in_floats(client.venue(hashed=True)), _print_venue
            return in_floats(client.account(account)), _print_account
    with read_only(where, quiet=quiet) as (_, found):
        if account is None:
            return in_floats(venue_document(found)), _print_venue
        return in_floats(account_document(found, _named(found, account))), _print_account


def _named(state: State, name: str) -> Account:
    from solvent.errors import BadInput, Problem, Reject

    number = state.account_numbers.get(name)
    if number is None:
        raise BadInput(
            Problem(
                code=Reject.ACCOUNT_UNKNOWN, source="--account", found=name,
                expected=f"one of {len(state.account_numbers)} accounts, such as "
                + ", ".join(list(state.account_numbers)[-3:]),
            )
        )  # fmt: skip
    return state.account(number)


# ── an account ───────────────────────────────────────────────────────────────────────────────────


def _print_account(document: dict[str, Any]) -> None:
    from rich.markup import escape

    from solvent.cli.console import money, out, table

    stands = document["standing"]
    colour = _COLOURS.get(stands["status"], "white")
    parent = f", subaccount of {escape(document['parent'])}" if document["parent"] else ""
    out.print(
        f"[bold]{escape(document['account'])}[/bold]{parent}: {document['status']}, under "
        f"{document['rulebook'] or 'no rulebook'}, [{colour}]{stands['status']}[/{colour}]",
        highlight=False,
    )
    margins = table("margin, USD", "equity", "initial", "maintenance", "available", "health")
    margins.add_row(
        *(money(stands[name])
          for name in ("equity", "initial", "maintenance", "available", "health"))
    )  # fmt: skip
    if stands["equity"] is not None:
        out.print(margins)
    _print_rows("balances", document["balances"], ("slot", "instrument", "asset", "amount"))
    _print_rows(
        "positions", document["positions"],
        ("instrument", "mode", "lots", "size", "entry_price", "mark", "unrealised", "realised",
         "asset"),
    )  # fmt: skip
    _print_rows(
        "orders", document["orders"],
        ("order", "instrument", "side", "lots", "size", "price", "stop"),
    )  # fmt: skip
    _print_rows("modes", document["modes"], ("instrument", "mode", "leverage"))
    _print_rows("under way", document["pending"], ("reference", "direction", "asset", "amount"))


def _print_rows(title: str, rows: list[dict[str, Any]], columns: tuple[str, ...]) -> None:
    """A table of rows, if there are any; columns that none of them has are left out."""
    from rich.markup import escape

    from solvent.cli.console import out, table

    if not rows:
        return
    used = [name for name in columns if any(row[name] is not None for row in rows)]
    words = [name for name in used if isinstance(rows[0][name], str | None)]
    shown = table(title, *(name.replace("_", " ") for name in used), left=words)
    for row in rows:
        shown.add_row(*(escape(_cell(row[name])) for name in used))
    out.print(shown)


def _cell(value: object) -> str:
    match value:
        case None:
            return "-"
        case float():
            return f"{value:,.6f}".rstrip("0").rstrip(".")
        case int():
            return f"{value:,}"
        case _:
            return str(value)


# ── the venue ────────────────────────────────────────────────────────────────────────────────────


def _print_venue(venue: dict[str, Any]) -> None:
    from solvent.cli.console import money, out
    from solvent.instruments.contract import moment_of

    def say(line: str) -> None:
        out.print(line, markup=False, highlight=False)

    moment = f"{moment_of(venue['time_ms']):%Y-%m-%d %H:%M:%S} UTC"
    say(f"{venue['commands']:,} commands up to {moment}, state {venue['state_hash'][:16]}")
    counts = ", ".join(f"{count:,} {status}" for status, count in venue["accounts"].items())
    say(
        f"accounts: {counts or 'none'}; {venue['instruments']:,} instruments, "
        f"{venue['positions']:,} positions, {venue['orders']:,} orders, "
        f"{venue['pending']:,} payments under way"
    )
    if venue["standings"] is None:
        say("each contract is margined by itself: see the accounts")
    else:
        stands = ", ".join(f"{count:,} {status}" for status, count in venue["standings"].items())
        say(
            f"standing: {stands or 'nobody has risk'}; initial margin {money(venue['initial'])}, "
            f"maintenance {money(venue['maintenance'])} USD"
        )
    for one in venue["rulebooks"]:
        as_of = one["arrays_as_of_ms"]
        arrays = "no arrays" if as_of is None else f"arrays of {moment_of(as_of):%H:%M:%S}"
        say(f"rulebook {one['name']}{', the venue' if one['venue'] else ''}: {arrays}")
    _print_rows("money", venue["money"], tuple(venue["money"][0]) if venue["money"] else ())


# ── the audit ────────────────────────────────────────────────────────────────────────────────────


def audit(where: Where, json: options.Json = False) -> None:
    """Check the books: money adds up, positions net to zero, no pool is below zero; and check the
    journal with a program that shares no code with the engine. Exit code 1 where something does not
    hold."""
    if remote.is_url(where):
        _audit_elsewhere(where, json=json)
        return
    from solvent.cli import console
    from solvent.engine.audit import audit as audited
    from solvent.engine.image import image
    from solvent.verify.books import check_books

    with read_only(where, quiet=json) as (journal, found):
        books = audited(found)
        with console.progress(quiet=json) as bar:
            bar.add_task("checking the journal independently", total=None)
            checked = check_books(
                journal.read(until=found.log.sequence, verify=False),
                image=image(found) if found.log.sequence else None,
            )
    wrong = [*books.violations, *map(str, checked.problems)]
    count = len(books.violations) + checked.problems_count
    if json:
        console.print_json(
            _audit_document(
                books.accounts, books.positions, books.assets, books.outside, checked.commands,
                count, wrong,
            )
        )  # fmt: skip
    else:
        _print_audit(books, checked, wrong, count)
    if count:
        raise typer.Exit(1)


def _audit_document(
    accounts: int, positions: int, assets: Mapping[str, int], outside: Mapping[str, int],
    commands: int, count: int, wrong: list[str],
) -> dict[str, Any]:  # fmt: skip
    return {
        "accounts": accounts,
        "positions": positions,
        "assets": [
            {"asset": name, "sum": total, "outside": outside[name]}
            for name, total in assets.items()
        ],
        "commands_checked": commands,
        "violations_count": count,
        "violations": wrong,
    }


def _audit_elsewhere(where: str, *, json: bool) -> None:
    """The audit of a served venue, which it makes itself."""
    from solvent.cli import console
    from solvent.cli.order_text import say

    with remote.connected(where) as client:
        found = client.audit()
    if json:
        console.print_json(
            _audit_document(
                found.accounts, found.positions, found.assets, found.outside,
                found.commands_checked, found.violations_count, found.violations,
            )
        )  # fmt: skip
    else:
        say(
            f"{found.accounts:,} accounts, {found.positions:,} positions; "
            f"{found.commands_checked:,} commands recomputed by the service with a program that "
            "shares no code with its engine"
        )
        for one in found.violations:
            say(f"violated {one}")
        say(f"{found.violations_count:,} violations")
    if found.violations_count:
        raise typer.Exit(1)


def _print_audit(books: Audit, checked: Findings, wrong: list[str], count: int) -> None:
    from rich.markup import escape

    from solvent.cli.console import out, table

    shown = table(
        "smallest units", "asset", "sum of all balances", "held of outsiders", left=["asset"]
    )
    for name, total in books.assets.items():
        shown.add_row(escape(name), f"{total:,}", f"{books.outside[name]:,}")
    out.print(shown)
    out.print(
        f"{books.accounts:,} accounts, {books.positions:,} positions; {checked.commands:,} "
        f"commands, {checked.moves:,} moves of money and {checked.balances:,} balances recomputed "
        "by a program that shares no code with the engine",
        highlight=False,
    )
    for one in wrong:
        out.print(f"[red]violated[/red] {escape(one)}", highlight=False)
    out.print(f"[bold]{count:,} violations[/bold]", highlight=False)
