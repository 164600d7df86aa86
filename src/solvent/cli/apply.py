"""`solvent apply`: commands from a file of JSON lines into a venue's journal."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, NamedTuple

import typer

from solvent.cli import options, remote
from solvent.cli.venue import Where

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from solvent.errors import Problem
    from solvent.host import Answer, Engine
    from solvent.messages.fields import Command

_PROBLEMS_SHOWN = 20


class Line(NamedTuple):
    """A command and where it was told; `time_ms` None where the line does not say."""

    number: int
    command: Command
    time_ms: int | None


@dataclass(slots=True)
class Tally:
    """What came of all lines so far. Keys of `results` are a kind and what came of it."""

    results: Counter[tuple[str, str]] = field(default_factory=Counter)
    codes: Counter[tuple[str, str]] = field(default_factory=Counter)
    malformed: list[Problem] = field(default_factory=list)
    answers: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    stopped: str = ""

    def of(self, result: str) -> int:
        """How many commands were accepted, rejected or repeated."""
        return sum(n for (_, what), n in self.results.items() if what == result)


def apply(
    where: Where,
    commands: Annotated[str, typer.Argument(help="A file of one JSON object a line, or -.")],
    batch: Annotated[
        int, typer.Option("--batch", min=1, max=1_000_000, help="Commands made durable together.")
    ] = 10_000,
    json: options.Json = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Apply nothing if any line is malformed.")
    ] = False,
    stop_on_reject: Annotated[
        bool, typer.Option("--stop-on-reject", help="Stop at the first rejection.")
    ] = False,
    hold_time: Annotated[
        bool,
        typer.Option(
            "--hold-time",
            help="Lines without time_ms happen at the journal's last time, not at the clock's.",
        ),
    ] = False,
) -> None:
    """Apply commands, one JSON object a line, and tell what came of each.

    A key that was used before answers as it did the first time. Exit code 1 when a line was
    malformed, or --stop-on-reject stopped.

    Example: solvent apply my-venue commands.jsonl
    """
    from solvent.cli import console

    tally = Tally()
    with console.progress(quiet=json) as bar, _opened(commands) as (file, size):
        task = bar.add_task("applying", total=size or None)
        lines = read_lines(file, commands, tally, bar, task)
        if strict:
            lines = iter(list(lines))
            _refuse_malformed(tally, commands)
        do = _elsewhere if remote.is_url(where) else _here
        batches = _batches(lines, 1 if stop_on_reject else batch)
        document, hint = do(
            where, batches, tally, keep=json, hold_time=hold_time,
            stop=f"{commands}, line" if stop_on_reject else "",
        )  # fmt: skip
    if json:
        console.print_json(document)
    else:
        _print_tally(tally)
        if hint:
            console.err.print(hint, markup=False, highlight=False)
    if tally.malformed or tally.stopped:
        raise typer.Exit(1)


def _here(
    where: str, batches: Iterator[list[Line]], tally: Tally, *, keep: bool, hold_time: bool,
    stop: str,
) -> tuple[dict[str, Any], str]:  # fmt: skip
    """Apply to a journal; the document of all, and a hint."""
    from solvent.host import Engine, clock_ms

    with Engine.open(where) as engine:
        for some in batches:
            now_ms = engine.state.log.time_ms if hold_time else clock_ms()
            _submit(engine, some, now_ms, tally, keep=keep)
            if _stopped(tally, stop, some):
                break
        end = (engine.state.log.sequence, engine.hash())
        return _document(tally, *end), _hint(tally, engine)


def _elsewhere(
    where: str, batches: Iterator[list[Line]], tally: Tally, *, keep: bool, hold_time: bool,
    stop: str,
) -> tuple[dict[str, Any], str]:  # fmt: skip
    """The same by a service."""
    import time

    with remote.connected(where, hold_time=hold_time) as client:
        for some in batches:
            start = time.perf_counter()
            found = remote.submitted(
                client, [one.command for one in some], [one.time_ms for one in some]
            )
            tally.seconds += time.perf_counter() - start
            for line, (answer, result) in zip(some, found, strict=True):
                _count(line, answer, result, tally, keep=keep)
            if _stopped(tally, stop, some):
                break
        venue = client.venue(hashed=True)
    return _document(tally, venue.commands, venue.state_hash or ""), ""


def _stopped(tally: Tally, stop: str, some: list[Line]) -> bool:
    if stop and tally.of("rejected"):
        tally.stopped = f"{stop} {some[-1].number}"
    return bool(tally.stopped)


@contextmanager
def _opened(name: str) -> Iterator[tuple[BinaryIO, int]]:
    """Bytes to read, and how many if that is known."""
    if name == "-":
        yield sys.stdin.buffer, 0
        return
    with Path(name).open("rb") as file:
        yield file, Path(name).stat().st_size


def read_lines(
    file: BinaryIO, name: str, tally: Tally, bar: Progress, task: TaskID
) -> Iterator[Line]:
    """Commands line by line; what is malformed goes to the tally. Empty lines are nothing."""
    from solvent.errors import Problem, Reject
    from solvent.limits import COMMAND_BYTES_MAX
    from solvent.messages.codec import read_command, read_time

    source = "stdin" if name == "-" else name
    number = 0
    while text := file.readline(COMMAND_BYTES_MAX + 1):
        number += 1
        bar.update(task, advance=len(text))
        if len(text) > COMMAND_BYTES_MAX and not text.endswith(b"\n"):
            while (rest := file.readline(1 << 20)) and not rest.endswith(b"\n"):
                bar.update(task, advance=len(rest))
        elif not text.strip():
            continue
        timed = read_time(text)
        read = timed if isinstance(timed, Problem) else read_command(timed[0], source=source)
        if isinstance(read, Problem):
            code = Reject.COMMAND_TOO_LARGE if len(text) > COMMAND_BYTES_MAX else read.code
            tally.malformed.append(replace(read, source=source, line=number, code=code))
        elif not isinstance(timed, Problem):
            yield Line(number, read, timed[1])


def _batches(lines: Iterator[Line], size: int) -> Iterator[list[Line]]:
    from itertools import islice

    while some := list(islice(lines, size)):
        yield some


def _refuse_malformed(tally: Tally, name: str) -> None:
    from solvent.errors import SolventError

    if tally.malformed:
        _print_malformed(tally)
        raise SolventError(
            f"{name}: expected every line to be a command, found {len(tally.malformed)} malformed; "
            "nothing was applied"
        )


def _submit(engine: Engine, lines: list[Line], now_ms: int, tally: Tally, *, keep: bool) -> None:
    """Apply a batch; `keep` every answer."""
    import time

    times = [now_ms if line.time_ms is None else line.time_ms for line in lines]
    sequence = engine.state.log.sequence
    start = time.perf_counter()
    answers = engine.submit_all([line.command for line in lines], times_ms=times)
    tally.seconds += time.perf_counter() - start
    for line, answer in zip(lines, answers, strict=True):
        result = "accepted" if answer.accepted else "rejected"
        if answer.sequence == sequence + 1:
            sequence += 1
        elif answer.sequence:
            result = "repeated"
        _count(line, answer, result, tally, keep=keep)


def _count(line: Line, answer: Answer, result: str, tally: Tally, *, keep: bool) -> None:
    from solvent.errors import Reject
    from solvent.messages.codec import event_fields

    kind = str(line.command.__struct_config__.tag)
    tally.results[kind, result] += 1
    code = Reject(answer.code).name if answer.code else None
    if code is not None and result == "rejected":
        tally.codes[code, kind] += 1
    if keep:
        tally.answers.append(
            {
                "line": line.number, "key": line.command.key, "command": kind, "result": result,
                "sequence": answer.sequence or None, "code": code,
                "events": [event_fields(event) for event in answer.events],
            }
        )  # fmt: skip


def _document(tally: Tally, sequence: int, state_hash: str) -> dict[str, Any]:
    by_code: dict[str, dict[str, int]] = {}
    for (code, kind), count in sorted(tally.codes.items()):
        by_code.setdefault(code, {})[kind] = count
    by_type: dict[str, dict[str, int]] = {}
    for (kind, result), count in sorted(tally.results.items()):
        by_type.setdefault(kind, {})[result] = count
    return {
        "accepted": tally.of("accepted"),
        "rejected": tally.of("rejected"),
        "repeated": tally.of("repeated"),
        "malformed": [
            {
                "source": one.source, "line": one.line, "field": one.field,
                "expected": one.expected, "found": one.found, "code": one.code.name,
            }
            for one in tally.malformed
        ],
        "by_code": by_code,
        "by_type": by_type,
        "seconds": tally.seconds,
        "stopped_at": tally.stopped or None,
        "sequence": sequence,
        "state_hash": state_hash,
        "answers": tally.answers,
    }  # fmt: skip


def _hint(tally: Tally, engine: Engine) -> str:
    """What to do where risk was not known because the arrays have aged."""
    from solvent.engine.standing import fresh_plan

    state = engine.state
    unknown = any(code == "RISK_UNKNOWN" for code, _ in tally.codes)
    if not unknown or any(fresh_plan(state, rules) is not None for rules in state.rules.values()):
        return ""
    return (
        "note: the risk arrays are missing or too old for this time; publish newer ones (solvent "
        "publish), tell a time_ms in each line, or hold the time (--hold-time)"
    )


def _print_tally(tally: Tally) -> None:
    from solvent.cli.console import out, table

    results = ("accepted", "rejected", "repeated")
    shown = table("", "command", *results, left=["command"])
    for kind in dict.fromkeys(kind for kind, _ in tally.results):
        shown.add_row(kind, *(f"{tally.results[kind, result]:,}" for result in results))
    if tally.results:
        out.print(shown)
    if tally.codes:
        why = table("rejected", "code", "command", "times", left=["code", "command"])
        for (code, kind), count in tally.codes.most_common():
            why.add_row(code, kind, f"{count:,}")
        out.print(why)
    _print_malformed(tally)
    if tally.stopped:
        out.print(f"stopped at a rejection: {tally.stopped}", markup=False, highlight=False)
    done = sum(tally.results.values())
    speed = f", {done / tally.seconds:,.0f} commands/s" if tally.seconds and done else ""
    out.print(
        f"[bold]{tally.of('accepted'):,} accepted, {tally.of('rejected'):,} rejected, "
        f"{tally.of('repeated'):,} repeated, {len(tally.malformed):,} malformed[/bold]{speed}",
        highlight=False,
    )


def _print_malformed(tally: Tally) -> None:
    for problem in tally.malformed[:_PROBLEMS_SHOWN]:
        print(f"malformed: {problem}", file=sys.stderr)
    if len(tally.malformed) > _PROBLEMS_SHOWN:
        print(f"malformed: {len(tally.malformed)} lines in all", file=sys.stderr)
