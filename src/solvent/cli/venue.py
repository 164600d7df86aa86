"""`solvent init` and `publish`: a venue's journal from a market and rulebooks, and new prices."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from solvent.cli import options

if TYPE_CHECKING:
    from solvent.market import Snapshot
    from solvent.messages.fields import Command

Where = Annotated[
    str,
    typer.Argument(
        metavar="URL",
        help="A directory, postgresql://user@host/database, or for some commands a service at "
        "http://host:port.",
    ),
]
Files = Annotated[
    list[Path] | None,
    typer.Option("--market", help="A market file; may be given again for futures prices."),
]
ACTOR = "operator"


class Rulebook(NamedTuple):
    """A rulebook as it is to be adopted: its name here, its text, and of which day."""

    name: str
    toml: str
    day: str


def init(
    where: Where,
    market: Files = None,
    rulebook: Annotated[
        list[str] | None,
        typer.Option(
            "--rulebook",
            help="NAME, or NAME=rules.toml; may be given again. The first is the venue's "
            "(default with a market: deribit-pm).",
        ),
    ] = None,
    generate: Annotated[
        bool, typer.Option("--generate", help="List and publish a generated market.")
    ] = False,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the generated market.")] = 1,
    history: options.History = None,
    json: options.Json = False,
) -> None:
    """Make a venue: a journal, and with a market everything that is needed to trade.

    Example: solvent init my-venue --generate
    """
    from solvent.cli import console
    from solvent.host import Engine

    with console.progress(quiet=json) as bar:
        task = bar.add_task("reading the market", total=3)
        snapshot = _market(market, generate=generate, seed=seed)
        told = rulebook or ([] if snapshot is None else ["deribit-pm"])
        books = [_rulebook(one, snapshot) for one in told]
        bar.update(task, advance=1, description="pricing the scenarios")
        commands = _opening(snapshot, books, history or None)
        time_ms = None if snapshot is None else int(snapshot.as_of_ms)
        _rehearse(commands, time_ms)
        bar.update(task, advance=1, description="writing the journal")
        with Engine.create(where) as engine:
            times = None if time_ms is None else [time_ms] * len(commands)
            engine.submit_all(commands, times_ms=times)
            document = {
                "journal": engine.journal.name,
                "commands": engine.state.log.sequence,
                "assets": len(engine.state.assets),
                "instruments": len(engine.state.contracts),
                "rulebooks": list(engine.state.rules),
                "as_of_ms": time_ms,
                "state_hash": engine.hash(),
            }
    if json:
        console.print_json(document)
    else:
        _print_made(where, document, snapshot)


def publish(
    where: Where,
    market: Annotated[
        list[Path], typer.Option("--market", help="A market file; may be given again.")
    ],
    history: options.History = None,
    json: options.Json = False,
) -> None:
    """Publish a market: its prices, and risk arrays for every adopted rulebook.

    Contracts that are new are listed first. Commands happen at the market's own time.
    """
    from solvent import api, publishing
    from solvent.cli import console
    from solvent.errors import SolventError
    from solvent.host import Engine

    snapshot = _market(market, generate=False, seed=0)
    if snapshot is None:
        raise typer.BadParameter("expected a market file", param_hint="--market")
    series = api.read_history(history or None)
    with console.progress(quiet=json) as bar, Engine.open(where) as engine:
        task = bar.add_task("pricing the scenarios", total=None)
        state, name = engine.state, f"{int(snapshot.as_of_ms)}"
        commands: list[Command] = [
            one for one in publishing.listings(snapshot, actor=ACTOR)
            if getattr(one, "symbol", getattr(one, "asset", ""))
            not in (state.contract_numbers | state.asset_numbers)
        ]  # fmt: skip
        commands.append(publishing.market(snapshot, key=f"market {name}", actor=ACTOR))
        commands += [
            publishing.arrays(
                snapshot,
                rules.rulebook,
                name=book,
                key=f"arrays {book} {name}",
                actor=ACTOR,
                history=series,
            )
            for book, rules in state.rules.items()
        ]
        bar.update(task, description="publishing")
        answers = engine.submit_all(commands, times_ms=[int(snapshot.as_of_ms)] * len(commands))
        for command, answer in zip(commands, answers, strict=True):
            if not answer.accepted:
                raise SolventError(f"{command.key}: {answer.events[0]}")
    document = {"commands": len(commands), "rulebooks": list(state.rules), "as_of_ms": int(name)}
    if json:
        console.print_json(document)
    else:
        console.out.print(
            f"published: a market of {len(snapshot.universe):,} instruments, arrays for "
            f"{', '.join(state.rules) or 'no rulebook'}"
        )


def _market(files: list[Path] | None, *, generate: bool, seed: int) -> Snapshot | None:
    """The market's usable contracts; None where none was asked for."""
    import numpy as np

    from solvent import api
    from solvent.feeds.synthetic_market import generate_market
    from solvent.instruments import Kind
    from solvent.market.moved import restricted

    if files and generate:
        raise typer.BadParameter("expected --market or --generate, found both")
    if generate:
        return generate_market(seed=seed)
    if not files:
        return None
    snapshot = api.read_market(*files)
    good = snapshot.usable & (snapshot.universe.kind != Kind.SPOT)
    return restricted(snapshot, np.flatnonzero(good).tolist())


def _rulebook(told: str, snapshot: Snapshot | None) -> Rulebook:
    """`NAME[=path]` or `NAME@day`; of the market's day, or today's without one."""
    from datetime import UTC, datetime

    from solvent.feeds.library import day_of, load_rulebook, rulebook_source
    from solvent.instruments.contract import moment_of

    name, _, path = told.partition("=")
    name, _, day = name.partition("@")
    if day:
        on = day_of(day)
    else:
        on = (datetime.now(UTC) if snapshot is None else moment_of(snapshot.as_of_ms)).date()
    if not path and name.endswith(".toml"):
        path, name = name, load_rulebook(name).name
    return Rulebook(name, rulebook_source(path or name), on.isoformat())


def _opening(
    snapshot: Snapshot | None, books: list[Rulebook], history: list[Path] | None
) -> list[Command]:
    """The first commands of a venue."""
    from solvent import api, publishing
    from solvent.engine.reference import read_rules

    commands: list[Command] = []
    if snapshot is not None:
        commands += publishing.listings(snapshot, actor=ACTOR)
    commands += [
        publishing.adoption(
            book.name, day=book.day, key=f"rulebook {book.name}", actor=ACTOR, venue=place == 0,
            toml=book.toml,
        )
        for place, book in enumerate(books)
    ]  # fmt: skip
    if snapshot is not None:
        commands.append(publishing.market(snapshot, key="market 1", actor=ACTOR))
        series = api.read_history(history)
        for book in books:
            rules = read_rules(book.name, book.toml, book.day)
            key = f"arrays {book.name} 1"
            commands.append(
                publishing.arrays(
                    snapshot, rules, name=book.name, key=key, actor=ACTOR, history=series
                )
            )
    return commands


def _rehearse(commands: list[Command], time_ms: int | None) -> None:
    """Apply the commands to nothing first: no journal is made that would not be complete."""
    from solvent.engine.apply import apply_all
    from solvent.engine.state import State
    from solvent.errors import SolventError
    from solvent.messages.codec import decode_command, encode_command

    times = [time_ms or 0] * len(commands)
    bodies = [encode_command(one) for one in commands]
    for command, body in zip(commands, bodies, strict=True):
        try:
            decode_command(body)
        except ValueError as fault:
            raise SolventError(f"{command.key}: {fault}") from fault
    for command, one in zip(commands, apply_all(State(), commands, times, bodies), strict=True):
        if one.code:
            raise SolventError(f"{command.key}: {getattr(one.events[0], 'detail', one.events[0])}")


def _print_made(where: str, made: dict[str, Any], snapshot: Snapshot | None) -> None:
    from solvent.cli.console import out
    from solvent.instruments.contract import moment_of

    def say(line: str) -> None:
        out.print(line, markup=False, highlight=False)

    say(f"made: {made['journal']}, {made['commands']:,} commands")
    if snapshot is None:
        say("It is empty. Next: list assets and contracts, adopt a rulebook, publish a market:")
        say(f"  solvent apply {where} COMMANDS.jsonl")
        return
    moment = f"{moment_of(snapshot.as_of_ms):%Y-%m-%d %H:%M:%S} UTC"
    say(
        f"{made['assets']} assets and {made['instruments']:,} instruments are listed; accounts "
        f"can be margined under {', '.join(made['rulebooks'])}"
    )
    say(f"prices and risk arrays are of {moment}, and age: later commands need newer ones")
    say("next:")
    say(f"  solvent apply {where} COMMANDS.jsonl --hold-time   time stands still as of the market")
    say(f"  solvent publish {where} --market FILE              newer prices")
    say(f"  solvent state {where} · solvent audit {where} · solvent journal ls {where}")
