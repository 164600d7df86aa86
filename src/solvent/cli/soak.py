"""`solvent soak`: histories made up from seeds, with everything checked that must hold."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from solvent.cli import options

if TYPE_CHECKING:
    from solvent.sim.history import Result

_TICKS = 1_000
"""Commands between two steps of the progress bar, at least."""


def soak(
    commands: Annotated[
        int, typer.Option("--commands", min=1, help="Commands of each seed.")
    ] = 20_000,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The first seed.")] = 1,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="How many seeds.")] = 1,
    json: options.Json = False,
) -> None:
    """Run made-up histories of every command through the engine, and check every step.

    Exit code 1 where something does not hold; seed and number of the command are told.
    """
    from solvent.cli import console
    from solvent.sim.history import run

    results: list[Result] = []
    with console.progress(quiet=json) as bar:
        task = bar.add_task("", total=commands * seeds)
        for number in range(seed, seed + seeds):
            bar.update(task, description=f"seed {number}")
            done = (number - seed) * commands

            def step(count: int, done: int = done) -> None:
                if count % _TICKS < count:
                    bar.update(task, completed=done + count)

            results.append(run(number, commands, progress=step))
    if json:
        console.print_json(_document(results))
    else:
        _show(results)
    if any(one.violations for one in results):
        sys.exit(1)


def _sums(results: Sequence[Result]) -> tuple[Counter[str], Counter[str], Counter[int]]:
    kinds, accepted, rejected = Counter[str](), Counter[str](), Counter[int]()
    for one in results:
        kinds += one.commands
        accepted += one.accepted
        rejected += one.rejected
    return kinds, accepted, rejected


def _document(results: Sequence[Result]) -> dict[str, Any]:
    from solvent.errors import Reject

    kinds, accepted, rejected = _sums(results)
    return {
        "seeds": [one.seed for one in results],
        "commands": kinds.total(),
        "events": sum(one.events for one in results),
        "accepted": dict(sorted(accepted.items())),
        "rejected": {Reject(code).name: count for code, count in sorted(rejected.items())},
        "violations": [
            {"seed": one.seed, "command": number, "what": what}
            for one in results
            for number, what in one.violations
        ],
        "state_hash": {str(one.seed): one.hash for one in results},
    }


def _show(results: Sequence[Result]) -> None:
    from solvent.cli import console
    from solvent.errors import Reject

    kinds, accepted, rejected = _sums(results)
    events = sum(one.events for one in results)
    table = console.table("commands", "kind", "told", "done", left=("kind",))
    for kind, count in sorted(kinds.items()):
        table.add_row(kind, f"{count:,}", f"{accepted[kind]:,}")
    console.out.print(table)
    table = console.table("rejections", "code", "reason", "count", left=("reason",))
    for code, count in sorted(rejected.items()):
        table.add_row(str(code), Reject(code).name, f"{count:,}")
    console.out.print(table)
    print(f"\n{kinds.total():,} commands, {events:,} events, {rejected.total():,} rejections")
    for one in results:
        print(f"seed {one.seed}: state {one.hash or 'not known'}")
        for number, what in one.violations:
            print(f"VIOLATION in seed {one.seed}, command {number}: {what}")
    print(f"{sum(len(one.violations) for one in results)} violations")
