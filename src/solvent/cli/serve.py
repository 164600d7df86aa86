"""`solvent serve`: a venue over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from solvent.cli import options

if TYPE_CHECKING:
    from fastapi import FastAPI

    from solvent.service.serving import Server
    from solvent.service.settings import Settings


_Where = Annotated[
    str | None,
    typer.Argument(metavar="[URL]", help="A directory, or postgresql://user@host/database."),
]
_Config = Annotated[Path | None, typer.Option("--config", help="A TOML file of settings.")]
_Host = Annotated[str | None, typer.Option("--host", help="The address to listen at.")]
_Port = Annotated[int | None, typer.Option("--port", min=0, max=65_535, help="0 takes a free one.")]
_Generate = Annotated[
    bool, typer.Option("--generate", help="Make a venue with a generated market first, if none is.")
]
_HoldTime = Annotated[
    bool | None, typer.Option("--hold-time/--clock", help="Time stands still at the last command.")
]
_Tend = Annotated[
    bool | None,
    typer.Option("--tend/--no-tend", help="Call margin and liquidate when prices change."),
]
_Dashboard = Annotated[
    bool | None, typer.Option("--dashboard/--no-dashboard", help="Serve the pages too.")
]
_Security = Annotated[
    Path | None,
    typer.Option(
        "--security",
        metavar="VAULT",
        help="Callers have keys, by the vault that solvent keys makes.",
    ),
]
_Certificate = Annotated[
    Path | None, typer.Option("--tls-certificate", help="A PEM file, where no proxy ends TLS.")
]
_TlsKey = Annotated[Path | None, typer.Option("--tls-key", help="The key of that certificate.")]
_BehindProxy = Annotated[
    bool | None, typer.Option("--behind-proxy", help="A proxy in front ends TLS.")
]
_Log = Annotated[
    str | None, typer.Option("--log", metavar="text|json", help="Masked lines on stderr.")
]
_Check = Annotated[
    bool, typer.Option("--check", help="Say what would be served and how; serve nothing.")
]


def serve(
    where: _Where = None, config: _Config = None, host: _Host = None, port: _Port = None,
    generate: _Generate = False, hold_time: _HoldTime = None, tend: _Tend = None,
    dashboard: _Dashboard = None, security: _Security = None, certificate: _Certificate = None,
    tls_key: _TlsKey = None, behind_proxy: _BehindProxy = None, log: _Log = None,
    check: _Check = False, json: options.Json = False,
) -> None:  # fmt: skip
    """Serve a venue over HTTP: flags, then SOLVENT_* of the environment, then --config.

    Without --security it listens on this machine's loopback alone. Example: solvent serve
    my-venue --port 8080
    """
    from solvent.cli import console
    from solvent.service.settings import load_settings, unknown_names

    settings = load_settings(
        config,
        {
            "url": where, "host": host, "port": port, "hold_time": hold_time, "tend": tend,
            "dashboard": dashboard, "security": security, "tls_certificate": certificate,
            "tls_key": tls_key, "behind_proxy": behind_proxy, "log_format": log,
        },
    )  # fmt: skip
    if generate:
        _generate(settings.url, quiet=json)
        if hold_time is None:
            # A market that nobody renews would be too old at once.
            settings = settings.model_copy(update={"hold_time": True})
    if check:
        document = _checked(settings) | {"unknown": unknown_names()}
        console.print_json(document) if json else _print_check(document)
        if document["problems"]:
            raise typer.Exit(2)
        return
    _run(settings, quiet=json)


def application(settings: Settings) -> FastAPI:
    """The application that is served."""
    from solvent.service.security.assembly import application as assembled
    from solvent.service.serving import venue_of

    return assembled(venue_of(settings), settings)


def _run(settings: Settings, *, quiet: bool) -> None:
    from solvent.cli import console
    from solvent.journal import Journal
    from solvent.service.security.masking import install
    from solvent.service.serving import run_quickly
    from solvent.service.serving import serve as run

    # What cannot be opened is said before anything listens.
    with Journal.open(settings.url, read_only=True) as journal:
        name, head = journal.name, journal.head.sequence
    install(settings.log_level, as_json=settings.log_format == "json")
    app = application(settings)
    secured = getattr(app.state, "security", None)
    if settings.dashboard:
        from solvent.dashboard.mount import mount_dashboard

        mount_dashboard(
            app, app.state.venue, sessions=None if secured is None else secured.sessions,
            approvals=getattr(app.state, "approvals", None),
        )  # fmt: skip

    def told(server: Server) -> None:
        scheme = "http" if settings.tls_certificate is None else "https"
        where = f"{scheme}://{settings.host}:{server.ports[0]}"
        if quiet:
            console.print_json({"url": where, "journal": name, "commands": head})
        else:
            console.out.print(
                f"serving {name} ({head:,} commands) at {where}; Ctrl-C stops",
                markup=False, highlight=False,
            )  # fmt: skip

    run_quickly(_with_progress(run(app, settings, told=told), app, quiet=quiet))


async def _with_progress(serving: Any, app: FastAPI, *, quiet: bool) -> None:
    """A bar while the journal is recovered, beside the server that says so too."""
    import asyncio

    from solvent.cli import console
    from solvent.service.venue import Phase

    task = asyncio.create_task(serving)
    venue = app.state.venue
    with console.progress(quiet=quiet) as bar:
        shown = bar.add_task("recovering the state", total=None)
        while venue.phase is Phase.STARTING and not task.done():
            done, head = venue.progress
            bar.update(shown, completed=done, total=head or None)
            await asyncio.sleep(0.05)
    await task


def _generate(url: str, *, quiet: bool) -> None:
    """A venue with a generated market, unless there is one."""
    from solvent.cli.venue import init
    from solvent.journal import Journal
    from solvent.journal.errors import JournalMissing

    try:
        Journal.open(url, read_only=True).close()
    except JournalMissing:
        init(url, market=None, rulebook=None, generate=True, seed=1, json=quiet)


def _checked(settings: Settings) -> dict[str, Any]:
    """What would be served, and everything that would keep it from that."""
    from solvent.errors import SolventError
    from solvent.journal import Journal
    from solvent.service.serving import check_open

    problems: list[str] = []
    found: dict[str, Any] = {"journal": None, "commands": None}
    try:
        with Journal.open(settings.url, read_only=True) as journal:
            found = {"journal": journal.name, "commands": journal.head.sequence}
    except SolventError as fault:
        problems.append(str(fault))
    try:
        check_open(application(settings), settings)
    except SolventError as fault:
        problems.append(str(fault))
    for name in ("tls_certificate", "tls_key"):
        file = getattr(settings, name)
        if file is not None and not file.is_file():
            problems.append(f"settings, field '{name}': expected a file, found none at {file}")
    if (settings.tls_certificate is None) != (settings.tls_key is None):
        problems.append("settings: expected a TLS certificate and its key, found one of them")
    shown = settings.model_dump(mode="json") | {"url": found["journal"]}
    return {**found, "settings": shown, "problems": problems}


def _print_check(document: dict[str, Any]) -> None:
    from solvent.cli.order_text import say

    for name, value in document["settings"].items():
        say(f"{name} = {value}")
    for name in document["unknown"]:
        say(f"note: {name} of the environment is no setting")
    for one in document["problems"]:
        say(f"problem: {one}")
    if not document["problems"]:
        say(f"fine: {document['journal']}, {document['commands']:,} commands")
