"""Commands on a venue that is served elsewhere: `http(s)://` where others are a directory.

`SOLVENT_KEY` of the environment proves who asks, where the service wants to know: the whole key is
sent, or with its secret apart in `SOLVENT_SECRET` each request is signed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import typer

if TYPE_CHECKING:
    from solvent.client import Client
    from solvent.host import Answer
    from solvent.messages.fields import Command
    from solvent.outcomes import Outcome
    from solvent.served import JournalRow

KEY: Final = "SOLVENT_KEY"
APART: Final = "SOLVENT_SECRET"
_PAGE: Final = 1_000
_MARGINS: Final = ("equity", "initial", "maintenance", "available", "health")


def is_url(where: str) -> bool:
    """Whether a venue is served elsewhere.

    >>> is_url("http://127.0.0.1:8080"), is_url("my-venue"), is_url("postgresql://x@y/z")
    (True, False, False)
    """
    return where.startswith(("http://", "https://"))


@contextmanager
def connected(where: str, *, actor: str | None = None, hold_time: bool = False) -> Iterator[Client]:
    """A client; its time is the service's own."""
    from solvent.client import connect

    if hold_time:
        raise typer.BadParameter(
            "expected none of a served venue: its time is its own", param_hint="--hold-time"
        )
    key, secret = os.environ.get(KEY), os.environ.get(APART)
    with connect(where, key, secret=secret, actor=actor) as client:
        yield client


# ── orders ───────────────────────────────────────────────────────────────────────────────────────


def tell_outcome(found: Outcome, *, json: bool) -> None:
    """What came of an order; exit code 1 where it was refused."""
    from solvent.cli.order_text import outcome_document, say
    from solvent.order_units import spaced

    if json or not found.accepted:
        tell_answer(found.answer, outcome_document(found), [], json=json)
        return
    parts = []
    if found.fills:
        verb = "bought" if found.side == "buy" else "sold"
        parts.append(f"{verb} {spaced(found.filled)} at {spaced(found.average)}")
    if found.left or not parts:
        parts.append(f"{spaced(found.left)} {found.status}{f': {found.why}' if found.why else ''}")
    say(f"{found.order} of {found.account}, {found.symbol}: {'; '.join(parts)}")


def tell_answer(
    answer: Answer, document: dict[str, Any], lines: Sequence[str], *, json: bool
) -> None:
    """What came of a command; exit code 1 where it was refused."""
    import sys

    from solvent.cli import console
    from solvent.cli.order_text import say
    from solvent.errors import Reject
    from solvent.messages.codec import event_fields
    from solvent.outcomes import refusal_of

    detail = refusal_of(answer.events)
    code = Reject(answer.code).name if answer.code else None
    if json:
        console.print_json(
            {
                "accepted": answer.accepted, "sequence": answer.sequence or None, "code": code,
                "detail": detail or None, **document,
                "events": [event_fields(event) for event in answer.events],
            }
        )  # fmt: skip
    elif code is None:
        for line in lines:
            say(line)
    else:
        print(f"rejected: {detail} [{code}]", file=sys.stderr)
    if code is not None:
        raise typer.Exit(1)


def cancel(
    client: Client, account: str | None, order: str | None, session: str | None,
    filters: dict[str, str | None], *, key: str | None, actor: str | None, json: bool,
) -> None:  # fmt: skip
    """Take an order back, those of a session, or all that fit."""
    from solvent.messages.commands import CancelOrders
    from solvent.messages.events import OrderReduced, StopCancelled
    from solvent.order_entry import OPERATOR
    from solvent.order_units import side_named

    if order is not None:
        answer = client.cancel(str(account), order, key=key)
    elif session is not None:
        answer = client.disconnect(str(account), session, key=key, actor=actor)
    elif account is not None:
        answer = client.cancel_all(account, key=key, **filters)
    else:
        from uuid import uuid4

        side = filters["side"]
        answer = client.submit(
            CancelOrders(
                key=key or uuid4().hex, actor=actor or OPERATOR, symbol=filters["symbol"],
                underlying=filters["underlying"], group=filters["group"],
                side=None if side is None else side_named(side),
            )
        )  # fmt: skip
    gone = [
        one.order for one in answer.events
        if isinstance(one, StopCancelled) or (isinstance(one, OrderReduced) and not one.lots)
    ]  # fmt: skip
    line = f"{len(gone):,} taken back{': ' if gone else ''}{', '.join(gone)}"
    tell_answer(answer, {"gone": gone}, [line], json=json)


# ── commands from a file ─────────────────────────────────────────────────────────────────────────


def submitted(
    client: Client, commands: Sequence[Command], times_ms: Sequence[int | None]
) -> list[tuple[Answer, str]]:
    """Answers, and whether each was accepted, rejected or repeated: as the service says it."""
    from solvent.client.calls import results

    return client.send(results(commands, times_ms))


# ── the journal ──────────────────────────────────────────────────────────────────────────────────


def journal_rows(where: str, after: int) -> Iterator[JournalRow]:
    """Rows after a sequence, page by page."""
    with connected(where) as client:
        begin: int | None = after
        while begin is not None:
            page = client.journal(begin, _PAGE)
            yield from page.rows
            begin = page.next


# ── margin ───────────────────────────────────────────────────────────────────────────────────────


def margin(
    url: str, account: str | None, positions: Path | None, collateral: Path | None,
    rulebook: str | None, others: Sequence[object], *, json: bool,
) -> None:  # fmt: skip
    """An account's margin at a venue, or that of a file's accounts on what it has published."""
    from solvent.cli import console
    from solvent.documents import in_floats

    if any(others):
        raise typer.BadParameter(
            "takes --account, --positions, --collateral, --rulebook and --json alone",
            param_hint="--url",
        )
    with connected(url) as client:
        if positions is None:
            if account is None:
                raise typer.BadParameter("expected --account or --positions with --url")
            found = {account: client.margin(account=account, rulebook=rulebook)}
        else:
            portfolios = told(positions, collateral, None if account is None else [account])
            found = {
                name: client.margin(portfolio=one, rulebook=rulebook)
                for name, one in portfolios.items()
            }
    if json:
        console.print_json(
            {
                "accounts": [
                    {
                        "account": name, "rulebook": one.rulebook, **in_floats(one.standing),
                        "worst_scenario": one.worst_scenario, "charges": one.charges,
                        "stale": one.stale, "problems": one.problems,
                    }
                    for name, one in found.items()
                ]
            }
        )  # fmt: skip
        return
    shown = console.table("margin, USD", "account", "status", *_MARGINS, left=["account", "status"])
    for name, one in found.items():
        row = in_floats(one.standing)
        shown.add_row(name, row["status"], *(console.money(row[part]) for part in _MARGINS))
    console.out.print(shown)
    _note(one.stale for one in found.values())


def whatif(
    url: str, account: str, positions: Path | None, collateral: Path | None, rulebook: str | None,
    changes: dict[str, Any], others: Sequence[object], *, json: bool,
) -> None:  # fmt: skip
    """An account of a venue, or of a file, before and after changes."""
    from solvent.cli import console
    from solvent.documents import in_floats

    if any(others):
        raise typer.BadParameter(
            "takes no --market, --orders, --modes and --scale", param_hint="--url"
        )

    with connected(url) as client:
        asked: dict[str, Any] = {"account": account}
        if positions is not None:
            asked = {"portfolio": told(positions, collateral, [account])[account]}
        found = client.whatif(**asked, changes=changes, rulebook=rulebook)
    rows = {"before": in_floats(found.before)}
    if found.after is not None:
        rows["after"] = in_floats(found.after)
    if json:
        console.print_json({"rulebook": found.rulebook, "stale": found.stale, **rows})
        return
    shown = console.table(
        f"{account} under {found.rulebook}, USD", "", "status", *_MARGINS, left=["", "status"]
    )
    for name, row in rows.items():
        shown.add_row(name, row["status"], *(console.money(row[part]) for part in _MARGINS))
    console.out.print(shown)
    _note([found.stale])


def _note(stale: Iterable[bool]) -> None:
    from solvent.cli import console

    if any(stale):
        console.err.print("note: the venue's risk arrays are older than its rules allow")


def told(
    positions: Path, collateral: Path | None, accounts: Sequence[str] | None
) -> dict[str, dict[str, Any]]:
    """Accounts of files as portfolios for the service."""
    from solvent.whatif import holdings

    return {
        name: {
            "positions": [
                {
                    "symbol": symbol.lstrip("+"), "size": _plain(size),
                    **({} if entry is None else {"entry_price": _plain(entry)}),
                }
                for symbol, (size, entry) in held.positions.items()
            ],
            "balances": {asset: _plain(amount) for asset, amount in held.balances.items()},
        }
        for name, held in holdings(positions, collateral, accounts=accounts).items()
    }  # fmt: skip


def _plain(number: float) -> str:
    """A number as it was written: the shortest decimal that is this float."""
    from decimal import Decimal

    return f"{Decimal(repr(number)):f}"
