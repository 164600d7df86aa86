"""`solvent record`: a venue's frames to files, as they come."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from solvent.cli import options

if TYPE_CHECKING:
    from solvent.feeds.live.messages import Channel, Message

Venue = Annotated[
    str, typer.Argument(help="deribit, okx, bybit[-inverse|-option|-spot], binance[-coinm|-spot].")
]
Symbols = Annotated[
    list[str], typer.Argument(help="The venue's own names; a coin alone means its perpetual.")
]
Channels = Annotated[
    str, typer.Option("--channels", help="Of ticker, book, trades and funding, by commas.")
]
Url = Annotated[
    str | None, typer.Option("--url", help="Another WebSocket, such as that of `solvent play`.")
]
RestUrl = Annotated[str | None, typer.Option("--rest-url", help="Another REST address.")]
ALL = "ticker,book,trades,funding"


def record(
    venue: Venue,
    symbols: Symbols,
    out: Annotated[Path, typer.Option("--out", help="The folder; files are added to it.")],
    seconds: Annotated[
        float | None, typer.Option("--seconds", min=0.0, help="Stop after so long.")
    ] = None,
    channels: Channels = ALL,
    url: Url = None,
    rest_url: RestUrl = None,
    file_megabytes: Annotated[
        int, typer.Option("--file-megabytes", min=1, help="A file is full at so many.")
    ] = 64,
    keep_files: Annotated[
        int | None, typer.Option("--keep-files", min=1, help="Delete the oldest beyond so many.")
    ] = None,
    json: options.Json = False,
) -> None:
    """Record a venue's public channels: compressed, indexed, rotating, safe against crashes.

    Until interrupted, or for --seconds. Example: solvent record deribit BTC --out tape --seconds 60
    """
    from solvent.cli import console
    from solvent.cli.feed import status_table
    from solvent.errors import SolventError
    from solvent.feeds.live.connection import Connection, listen
    from solvent.feeds.live.venues import make_adapters, wants_for
    from solvent.feeds.recorder import Recorder

    adapters = make_adapters(venue, wants_for(venue, symbols, channels_of(channels)))
    adapter = adapters[0]
    lost: list[str] = []
    with Recorder(
        out, name=venue, file_bytes=file_megabytes << 20, keep_files=keep_files
    ) as recorder:
        connections = [
            Connection(one, url=url, rest_url=rest_url, recorder=recorder) for one in adapters
        ]
        listen(connections, seconds=seconds, each=lambda told: lost.extend(_lost(told)))
    if not adapter.health.frames:
        raise SolventError(
            f"{connections[0].url}: nothing came ({lost[-1] if lost else 'no answer'})"
        )
    end_ms = max(adapter.health.last_ms.values(), default=0)
    document = {
        "files": [str(path) for path in recorder.files], "frames": recorder.frames,
        "status": adapter.status(end_ms).as_dict(),
    }  # fmt: skip
    if json:
        console.print_json(document)
        return
    console.out.print(status_table(adapter.status(end_ms)))
    for path in recorder.files:
        console.out.print(f"recorded: {path}", markup=False, highlight=False, soft_wrap=True)


def _lost(messages: list[Message]) -> list[str]:
    """What of messages the user is to know at once, which is printed."""
    from solvent.cli import console
    from solvent.feeds.live.messages import Fault, FaultKind

    lines = [
        " ".join(filter(None, (one.kind.value, one.symbol, one.detail)))
        for one in messages
        if isinstance(one, Fault) and one.kind in (FaultKind.LOST, FaultKind.REFUSED)
    ]
    for line in lines:
        console.err.print(line, markup=False, highlight=False)
    return lines


def channels_of(text: str) -> list[Channel]:
    """Channels of a text. Raises BadInput for one that there is not.

    >>> [one.value for one in channels_of("book,trades")]
    ['book', 'trades']
    """
    from solvent.errors import BadInput, Problem, Reject
    from solvent.feeds.live.messages import Channel

    names = [one.strip() for one in text.split(",") if one.strip()]
    unknown = [one for one in names if one not in set(Channel)]
    if unknown or not names:
        raise BadInput(
            Problem(
                code=Reject.INPUT_INVALID, source="--channels", found=", ".join(unknown) or "none",
                expected=f"some of {', '.join(Channel)}",
            )
        )  # fmt: skip
    return [Channel(one) for one in names]
