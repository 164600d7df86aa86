"""`solvent keys`, `users` and `webhooks`: who may call a served venue, and who is told of calls.

They work on the vault itself, beside a service that runs or without one: what is revoked here is
refused there at once. Secrets are told once, on stdout; passwords are asked, or read from a file,
and are never arguments, which other processes can see.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from solvent.cli import options
from solvent.errors import BadInput, Problem, Reject

if TYPE_CHECKING:
    from solvent.service.callers import Role
    from solvent.service.security.audit import Audit
    from solvent.service.security.keys import Key
    from solvent.service.security.masking import Secret
    from solvent.service.security.vault import Vault

app = typer.Typer(help="API keys of a served venue.", no_args_is_help=True)
users_app = typer.Typer(help="People who log in at a served venue.", no_args_is_help=True)
hooks_app = typer.Typer(help="Who is told of margin calls and liquidations.", no_args_is_help=True)
DAY_MS = 86_400_000
Where = Annotated[Path, typer.Argument(metavar="VAULT", help="A directory; made by the first.")]
RoleName = Annotated[str, typer.Option("--role", help="reader, trader, risk, clearing or admin.")]
Accounts = Annotated[
    list[str] | None,
    typer.Option("--account", help="Theirs, of readers and traders; may be given again."),
]


def _now_ms() -> int:
    from solvent.host import clock_ms

    return clock_ms()


def _vault(where: Path, *, make: bool = False) -> Vault:
    from solvent.service.security.vault import Vault

    return Vault.create(where) if make else Vault(where)


def _noted(vault: Vault, what: str, whose: str) -> None:
    import getpass

    from solvent.service.security.audit import Audit

    audit: Audit = Audit(vault)
    audit.add(
        time_ms=_now_ms(), who=f"{getpass.getuser()} (command line)", what=what, whose=whose,
        outcome="done",
    )  # fmt: skip


def _role(name: str) -> Role:
    from solvent.service.callers import Role

    if name not in (known := [str(one) for one in Role if one is not Role.PUBLIC]):
        raise BadInput(
            Problem(
                code=Reject.COMMAND_MALFORMED, source="--role", expected=", ".join(known),
                found=name,
            )
        )  # fmt: skip
    return Role(name)


def _owned(role: Role, accounts: list[str] | None) -> list[str] | None:
    from solvent.service.callers import Role

    return accounts or ([] if role in (Role.READER, Role.TRADER) else None)


def _day(time_ms: int | None) -> str:
    if time_ms is None:
        return "-"
    return datetime.fromtimestamp(time_ms / 1_000, UTC).strftime("%Y-%m-%d %H:%M:%S")


# ── keys ─────────────────────────────────────────────────────────────────────────────────────────


@app.command("create")
def create(
    where: Where,
    owner: Annotated[str, typer.Option("--owner", help="Whose: the actor of its commands.")],
    role: RoleName,
    account: Accounts = None,
    days: Annotated[
        int | None, typer.Option("--days", min=1, help="It expires after so many days.")
    ] = None,
    label: Annotated[str, typer.Option("--label", help="What it is for.")] = "",
    json: options.Json = False,
) -> None:
    """Make a key, and the vault with it. The key is told once.

    Example: solvent keys create vault --owner alice --role trader --account alice --days 90
    """
    from solvent.cli import console
    from solvent.service.security.keys import Keys

    vault, kind, now_ms = _vault(where, make=True), _role(role), _now_ms()
    expires_ms = None if days is None else now_ms + days * DAY_MS
    key, whole = Keys(vault).create(
        owner=owner, role=kind, accounts=_owned(kind, account), label=label,
        expires_ms=expires_ms, now_ms=now_ms,
    )  # fmt: skip
    _noted(vault, f"key created for {owner} as {kind}", key.id)
    if json:
        console.print_json(_key_document(key, now_ms) | {"key": whole.reveal()})
    else:
        print(whole.reveal())
        print("told once: keep it where others cannot read it", file=sys.stderr)
    vault.close()


@app.command("ls")
def ls(where: Where, json: options.Json = False) -> None:
    """List keys; secrets are not kept.

    Example: solvent keys ls vault
    """
    from solvent.cli import console
    from solvent.service.security.keys import Keys

    vault, now_ms = _vault(where), _now_ms()
    rows = [_key_document(one, now_ms) for one in Keys(vault).all()]
    vault.close()
    if json:
        console.print_json(rows)
        return
    shown = console.table(
        "keys", "id", "owner", "role", "accounts", "made", "expires", "status", "label",
        left=("id", "owner", "role", "accounts", "status", "label"), folds="accounts",
    )  # fmt: skip
    for one in rows:
        accounts = "all" if one["accounts"] is None else ", ".join(one["accounts"])
        shown.add_row(
            one["id"], one["owner"], one["role"], accounts, _day(one["made_ms"]),
            _day(one["expires_ms"]), one["status"], one["label"],
        )  # fmt: skip
    console.out.print(shown)


@app.command("revoke")
def revoke(
    where: Where,
    id: Annotated[str, typer.Argument(metavar="ID", help="svk_…")],  # noqa: A002
) -> None:
    """Revoke a key: a service that runs refuses it with the next request.

    Example: solvent keys revoke vault svk_0123456789abcdef
    """
    from solvent.service.security.keys import Keys

    vault = _vault(where)
    key = Keys(vault).revoke(id, _now_ms())
    _noted(vault, "key revoked", key.id)
    vault.close()
    print(f"{key.id} of {key.owner} is revoked")


@app.command("record")
def record(
    where: Where,
    after: Annotated[int, typer.Option("--after", min=0, help="Rows after this one.")] = 0,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Rows at most.")] = 100,
    json: options.Json = False,
) -> None:
    """The record of what was privileged, and whether all of it is as it was written.

    Example: solvent keys record vault --limit 20
    """
    from solvent.cli import console
    from solvent.service.security.audit import Audit

    vault = _vault(where)
    audit = Audit(vault)
    rows, broken = audit.read(after=after, limit=limit), audit.broken_at()
    vault.close()
    if json:
        console.print_json({"rows": [one.to_dict() for one in rows], "broken_at": broken})
    else:
        shown = console.table(
            "privileged", "row", "time (UTC)", "who", "what", "whose", "outcome",
            left=("time (UTC)", "who", "what", "whose", "outcome"), folds="what",
        )  # fmt: skip
        for one in rows:
            shown.add_row(
                str(one.number), _day(one.time_ms), one.who, one.what, one.whose, one.outcome
            )
        console.out.print(shown)
        print("all rows are as written" if broken is None else f"row {broken} was changed")
    if broken is not None:
        raise typer.Exit(2)


def _key_document(key: Key, now_ms: int) -> dict[str, Any]:
    return {
        "id": key.id, "owner": key.owner, "role": str(key.role),
        "accounts": None if key.accounts is None else sorted(key.accounts), "label": key.label,
        "made_ms": key.made_ms, "expires_ms": key.expires_ms, "revoked_ms": key.revoked_ms,
        "status": key.status(now_ms),
    }  # fmt: skip


# ── people ───────────────────────────────────────────────────────────────────────────────────────


@users_app.command("put")
def put(
    where: Where,
    name: Annotated[str, typer.Argument(metavar="NAME")],
    role: RoleName,
    account: Accounts = None,
    password_file: Annotated[
        Path | None,
        typer.Option("--password-file", help="Its first line; - for stdin. Otherwise asked."),
    ] = None,
) -> None:
    """Make somebody who may log in, or change them; their sessions end.

    Example: solvent users put vault alice --role trader --account alice
    """
    from solvent.service.security.users import Users

    vault, kind = _vault(where, make=True), _role(role)
    user = Users(vault).put(
        name=name, role=kind, accounts=_owned(kind, account), password=_password(password_file),
        now_ms=_now_ms(),
    )  # fmt: skip
    _noted(vault, f"user put as {kind}", user.name)
    vault.close()
    print(f"{user.name} may log in as {user.role}")


def _password(file: Path | None) -> Secret:
    from solvent.service.security.masking import Secret

    if file is None:
        return Secret(typer.prompt("Password", hide_input=True, confirmation_prompt=True))
    told = sys.stdin.readline() if str(file) == "-" else file.read_text("utf-8")
    return Secret(told.split("\n", 1)[0].removesuffix("\r"))


@users_app.command("ls")
def users(where: Where, json: options.Json = False) -> None:
    """List people.

    Example: solvent users ls vault
    """
    from solvent.cli import console
    from solvent.service.security.users import Users

    vault = _vault(where)
    rows: list[dict[str, Any]] = [
        {
            "name": one.name, "role": str(one.role),
            "accounts": None if one.accounts is None else sorted(one.accounts),
            "disabled": one.disabled, "since_ms": one.since_ms,
        }
        for one in Users(vault).all()
    ]  # fmt: skip
    vault.close()
    if json:
        console.print_json(rows)
        return
    shown = console.table(
        "users", "name", "role", "accounts", "since", "may log in",
        left=("name", "role", "accounts", "may log in"), folds="accounts",
    )  # fmt: skip
    for one in rows:
        accounts = "all" if one["accounts"] is None else ", ".join(one["accounts"])
        may = "no" if one["disabled"] else "yes"
        shown.add_row(one["name"], one["role"], accounts, _day(one["since_ms"]), may)
    console.out.print(shown)


@users_app.command("disable")
def disable(where: Where, name: Annotated[str, typer.Argument(metavar="NAME")]) -> None:
    """Keep somebody out, with their sessions and their keys.

    Example: solvent users disable vault alice
    """
    from solvent.service.security.users import Users

    vault = _vault(where)
    Users(vault).disable(name)
    _noted(vault, "user disabled", name)
    vault.close()
    print(f"{name} is disabled")


@users_app.command("logout")
def logout(where: Where, name: Annotated[str, typer.Argument(metavar="NAME")]) -> None:
    """End all sessions of somebody.

    Example: solvent users logout vault alice
    """
    from solvent.service.security.assembly import opened
    from solvent.service.settings import load_settings

    security = opened(load_settings(flags={"security": where}))
    count = security.sessions.everywhere(name)
    _noted(security.vault, "sessions ended", name)
    security.vault.close()
    print(f"{count} sessions of {name} ended")


# ── webhooks ─────────────────────────────────────────────────────────────────────────────────────


@hooks_app.command("ls")
def hooks(where: Where, json: options.Json = False) -> None:
    """Who is told, how much waits, and what could not be delivered.

    Example: solvent webhooks ls vault
    """
    from solvent.cli import console
    from solvent.service.webhooks import Outbox

    vault = _vault(where)
    outbox = Outbox(vault)
    document: dict[str, Any] = {
        "webhooks": [one.shown() for one in outbox.hooks()], "counts": outbox.counted(),
        "dead": outbox.dead(),
    }  # fmt: skip
    vault.close()
    if json:
        console.print_json(document)
        return
    for one in document["webhooks"]:
        print(f"{one['id']} {one['where']}: {', '.join(one['kinds'])}")
    print(", ".join(f"{name} {count:,}" for name, count in document["counts"].items()))
    for one in document["dead"]:
        print(f"dead: event {one['event']} for {one['hook']} after {one['tries']}: {one['detail']}")


@hooks_app.command("resend")
def resend(
    where: Where,
    hook: Annotated[str | None, typer.Option("--hook", help="Of one webhook alone.")] = None,
) -> None:
    """Let a service that runs try again what could not be delivered.

    Example: solvent webhooks resend vault
    """
    from solvent.service.webhooks import Outbox

    vault = _vault(where)
    count = Outbox(vault).resend(hook)
    _noted(vault, f"webhooks sent again: {count}", hook or "")
    vault.close()
    print(f"{count} to be tried again")
