"""`solvent play`: a recording, or a generated market, again."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from solvent.cli import options

if TYPE_CHECKING:
    from solvent.feeds.faults import Injection
    from solvent.feeds.recorder import Frame

GENERATED = "generated"
_SERVED_STEPS, _STEPS = 86_400, 30
"""Seconds that a generated tape runs, served and not."""


def play(
    what: Annotated[
        str,
        typer.Argument(
            help="A folder or file of a recording, or generated[:SEED].", metavar="TAPE"
        ),
    ],
    speed: Annotated[
        float | None,
        typer.Option("--speed", min=0.0, help="1 is real time, 0 as fast as it goes. 1 served."),
    ] = None,
    serve: Annotated[
        int | None, typer.Option("--serve", min=0, max=65_535, help="A port; 0 takes a free one.")
    ] = None,
    faults: Annotated[
        str, typer.Option("--faults", help="Such as drop=0.01,gap=0.001,seed=7.")
    ] = "",
    from_ms: Annotated[
        int | None, typer.Option("--from-ms", help="Begin at this time, milliseconds.")
    ] = None,
    to_ms: Annotated[int | None, typer.Option("--to-ms", help="End at this time.")] = None,
    json: options.Json = False,
) -> None:
    """Play a recording into its venue's adapter, or serve it as the venue would.

    Faults are drop, duplicate, reorder, gap, delay and corrupt, each a chance. Served, a client is
    what `solvent record --url` or any of the venue's own clients is; the tape begins when the first
    has subscribed. Exit code 1 when a book is not as the tape has it, even after it was asked for
    again. Example: solvent play tape --serve 8765 --faults drop=0.01
    """
    from solvent.cli import console
    from solvent.cli.feed import status_table
    from solvent.feeds.faults import parse_injection

    injection = parse_injection(faults) if faults else None
    steps = _STEPS if serve is None else _SERVED_STEPS
    frames = tape(what, from_ms=from_ms, to_ms=to_ms, steps=steps)
    if serve is not None:
        _serve(frames, serve, 1.0 if speed is None else speed, injection)
        return
    document, status = _play(frames, speed or 0.0, injection)
    notices = getattr(frames, "notices", [])
    books = document["books"]
    if json:
        console.print_json({**document, "notices": notices})
        raise typer.Exit(1 if books["not_equal"] else 0)
    console.out.print(status_table(status))
    for name, count in document["injected"].items():
        console.out.print(f"injected: {count:,} {name}", markup=False, highlight=False)
    for line in _ends(books):
        console.out.print(line, markup=False, highlight=False)
    for notice in notices:
        console.err.print(f"notice: {notice}", markup=False, highlight=False)
    raise typer.Exit(1 if books["not_equal"] else 0)


def _ends(books: dict[str, int]) -> list[str]:
    """What is said of the books at a tape's end."""
    if not books["books"]:
        return ["books: the tape has none"]
    lines = [f"books: {books['equal']:,} of {books['books']:,} end as the tape has them"]
    if books["equal_after_asking"]:
        lines.append(f"books: {books['equal_after_asking']:,} only after asking for them again")
    if books["not_equal"]:
        lines.append(f"books: {books['not_equal']:,} are NOT as the tape has them")
    return lines


def tape(
    what: str, *, from_ms: int | None = None, to_ms: int | None = None, steps: int = _STEPS
) -> Iterable[Frame]:
    """Frames of a recording, or of a generated market. Raises BadInput."""
    from solvent.errors import BadInput, Problem, Reject
    from solvent.feeds.recordings import open_recording

    name, _, seed = what.partition(":")
    if name != GENERATED or Path(what).exists():
        found = open_recording(what, from_ms=from_ms, to_ms=to_ms)
        if next(iter(found), None) is None:
            instead = "; ".join(["no frame", *found.notices])[:160]
            raise BadInput(
                Problem(code=Reject.SOURCE_EMPTY, source=what, expected="frames", found=instead)
            )
        return found
    if seed and not seed.isdecimal():
        raise BadInput(
            Problem(
                code=Reject.INPUT_INVALID, source=what, expected="a seed such as generated:7",
                found=seed,
            )
        )  # fmt: skip
    from solvent.feeds.live.generator import GeneratedTape

    return GeneratedTape(seed=int(seed or 1), steps=steps)


def _play(
    frames: Iterable[Frame], speed: float, injection: Injection | None
) -> tuple[dict[str, Any], Any]:
    from solvent.feeds.live.adapter import SILENT_AFTER_MS
    from solvent.feeds.live.venues import adapter_for
    from solvent.feeds.player import Ending, Rehearsal, paced, stage_of, wants_of
    from solvent.feeds.recordings import first_place

    adapter = adapter_for(first_place(frames), wants_of(frames))
    stage = stage_of(frames)
    rehearsal = Rehearsal(stage, adapter, injection=injection)
    end_ms = 0
    for message in rehearsal.play(paced(frames, speed=speed)):
        end_ms = max(end_ms, message.received_ms)
    status = adapter.status(end_ms)
    ended = rehearsal.endings()
    # A last change that was lost shows when a silent book is asked for again. A book that lacks
    # nothing and is another one is wrong, and coming anew mends nothing.
    for beat in range(1, 4):
        for _ in rehearsal.beat(end_ms + beat * SILENT_AFTER_MS):
            pass
    now_equal = rehearsal.equal_books()
    equal = sum(one is Ending.EQUAL for one in ended.values())
    later = sum(one is Ending.BEHIND and now_equal[symbol] for symbol, one in ended.items())
    document = {
        "status": status.as_dict(), "injected": dict(sorted(rehearsal.injected.items())),
        "books": {
            "books": len(ended), "equal": equal, "equal_after_asking": later,
            "not_equal": len(ended) - equal - later,
        },
    }  # fmt: skip
    return document, status


def _serve(frames: Iterable[Frame], port: int, speed: float, injection: Injection | None) -> None:
    import asyncio

    from solvent.cli import console
    from solvent.feeds.player import PlayerServer

    async def serving() -> None:
        async with PlayerServer(frames, speed=speed, injection=injection).open(port) as server:
            for name, url in (("WebSocket", server.ws_url), ("REST", server.rest_url)):
                console.out.print(f"{name}: {url}", markup=False, highlight=False)
            await server.finished.wait()
            console.out.print("the tape is at its end; interrupt to stop", highlight=False)
            await asyncio.Event().wait()

    try:
        asyncio.run(serving())
    except ImportError as fault:
        from solvent.errors import SolventError

        raise SolventError(f"serving needs websockets: {fault}") from fault
