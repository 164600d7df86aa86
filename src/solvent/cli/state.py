"""`solvent state` and `solvent audit`: where a venue and its accounts stand, and whether the books
add up. Both only read: an engine may be running."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import TYPE_CHECKING, Annotated, Any

import typer

from solvent.cli import options
from solvent.cli.venue import Where

if TYPE_CHECKING:
    from solvent.account.position import Position
    from solvent.engine.audit import Audit
    from solvent.engine.state import Account, Contract, Standing, State
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

    with read_only(where, quiet=json) as (_, found):
        if account is None:
            venue = venue_document(found)
            if json:
                console.print_json(venue)
            else:
                _print_venue(venue)
            return
        document = account_document(found, _named(found, account))
        if json:
            console.print_json(document)
        else:
            _print_account(document)


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


def account_document(state: State, account: Account) -> dict[str, Any]:
    """All that is known of an account. Money in units of its asset, margins in dollars."""
    from solvent.account.ledger import contract_of, slot_name
    from solvent.cli.order_text import stop_words
    from solvent.order_rows import open_orders

    balances = []
    for slot, asset, amount in state.ledger.of_owner(account.number):
        name, decimals = state.assets[asset]
        number = contract_of(slot)
        balances.append(
            {
                "slot": slot_name(slot),
                "instrument": None if number is None else state.contracts[number].listing.symbol,
                "asset": name,
                "amount": amount / 10**decimals,
                "units": amount,
            }
        )
    pending = [
        {
            "reference": reference, "asset": state.assets[one.asset][0], "units": one.amount,
            "amount": one.amount / 10 ** state.assets[one.asset][1],
            "direction": "in" if one.incoming else "out",
        }
        for reference, one in state.pending.items() if one.account == account.number
    ]  # fmt: skip
    return {
        "account": account.name,
        "kind": account.kind,
        "status": account.status,
        "parent": state.account(account.parent).name if account.parent >= 0 else None,
        "rulebook": account.rulebook or None,
        "standing": _standing(state, account),
        "balances": balances,
        "positions": [
            _position(state.contracts[number], position, isolated=account.isolates(number))
            for number, position in (account.positions or {}).items()
        ],
        "orders": [
            {
                "order": row.order, "instrument": row.symbol, "side": row.side, "lots": row.lots,
                "size": float(row.size), "price": None if row.price is None else float(row.price),
                "stop": stop_words(row) or None,
            }
            for row in open_orders(state, account.name)
        ],
        "modes": [
            {
                "instrument": state.contracts[number].listing.symbol,
                "mode": "isolated" if mode.isolated else "cross",
                "leverage": float(1 / mode.factor) if mode.factor else None,
            }
            for number, mode in (account.modes or {}).items()
        ],
        "pending": pending,
    }  # fmt: skip


def _position(contract: Contract, one: Position, *, isolated: bool) -> dict[str, Any]:
    """Gains are in the settlement asset, by the average entry price."""
    deal = contract.deal
    entry: Fraction | None = None
    if one.lots and deal.coin_numerator:
        coin = Fraction(deal.coin_numerator, deal.coin_denominator)
        entry = -one.lots * coin / one.entry_value * deal.point if one.entry_value else None
    elif one.lots:
        entry = Fraction(one.entry_value, one.lots) * deal.point
    unrealised = None
    if contract.mark_points is not None:
        now = deal.value(one.lots, contract.mark_points)
        unrealised = float(deal.money(now - one.entry_value) / deal.asset_scale)
    mark = None if contract.mark_points is None else float(contract.mark_points * deal.point)
    return {
        "instrument": contract.listing.symbol,
        "mode": "isolated" if isolated else "cross",
        "lots": one.lots,
        "size": float(one.lots * deal.lot_size),
        "entry_price": None if entry is None else float(entry),
        "mark": mark,
        "asset": contract.listing.settlement,
        "unrealised": unrealised,
        "realised": one.realised / deal.asset_scale,
    }


def _standing(state: State, account: Account) -> dict[str, Any]:
    """Where an account stands by its rulebook; amounts are None where it is not known, or where
    each contract is margined by itself."""
    from solvent.engine import contract_rules
    from solvent.engine.standing import standing, view

    nothing = dict.fromkeys(("equity", "initial", "maintenance", "available", "health"))
    if account.kind == "system":
        return {"status": "none", **nothing}
    if state.house.contract is not None:
        held = [state.contracts[number] for number in account.positions or ()]
        bad = any(contract_rules.distressed(state, account, one) for one in held)
        return {"status": "liquidate" if bad else "healthy", **nothing}
    found = standing(state, view(state, account))
    if not found.known:
        return {"status": "unknown", **nothing}
    return {
        "status": status_of(found),
        "equity": found.equity_micro / 1e6,
        "initial": found.initial_micro / 1e6,
        "maintenance": found.maintenance_micro / 1e6,
        "available": (found.equity_micro - found.initial_micro) / 1e6,
        "health": (found.equity_micro - found.maintenance_micro) / 1e6,
    }


def status_of(found: Standing) -> str:
    """A standing in one word."""
    if not found.known:
        return "unknown"
    return "liquidate" if found.liquidate else "call" if found.call else "healthy"


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


def venue_document(state: State) -> dict[str, Any]:
    """The venue in short: what it holds, and how its accounts stand."""
    from solvent.account.ledger import EXTERNAL, FIRST_ACCOUNT, GENERAL, SYSTEM_NAMES, node
    from solvent.engine.image import state_hash
    from solvent.engine.standing import has_risk, standings, view

    accounts = [one for one in state.accounts[FIRST_ACCOUNT:] if one is not None]
    views = [one for one in (view(state, account) for account in accounts) if has_risk(one)]
    by_account = state.house.contract is None
    found = standings(state, views) if by_account else []
    money = [
        {
            "asset": name,
            "held": -state.ledger.balance(node(EXTERNAL, GENERAL, number)) / 10**decimals,
            **{
                pool: state.ledger.balance(node(owner, GENERAL, number)) / 10**decimals
                for owner, pool in SYSTEM_NAMES.items()
                if pool in ("insurance", "fees", "venue", "rounding")
            },
        }
        for number, (name, decimals) in enumerate(state.assets)
    ]
    return {
        "commands": state.log.sequence,
        "time_ms": state.log.time_ms,
        "state_hash": state_hash(state),
        "accounts": dict(Counter(one.status for one in accounts)),
        "with_risk": len(views),
        "standings": dict(Counter(map(status_of, found))) if by_account else None,
        "initial": sum(one.initial_micro for one in found) / 1e6,
        "maintenance": sum(one.maintenance_micro for one in found) / 1e6,
        "instruments": sum(not one.settled for one in state.contracts),
        "positions": sum(len(one.holders) for one in state.contracts),
        "orders": sum(map(len, state.desk.orders.values())),
        "pending": len(state.pending),
        "rulebooks": [
            {
                "name": name, "day": rules.day, "venue": name == state.venue_rulebook,
                "arrays_as_of_ms": None if rules.arrays is None else int(rules.arrays.as_of_ms),
            }
            for name, rules in state.rules.items()
        ],
        "money": money,
    }  # fmt: skip


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
            {
                "accounts": books.accounts,
                "positions": books.positions,
                "assets": [
                    {"asset": name, "sum": total, "outside": books.outside[name]}
                    for name, total in books.assets.items()
                ],
                "commands_checked": checked.commands,
                "violations_count": count,
                "violations": wrong,
            }
        )
    else:
        _print_audit(books, checked, wrong, count)
    if count:
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
