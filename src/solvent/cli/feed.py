"""`solvent feed`: the health of a feed, and its market as a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from solvent.cli import options
from solvent.cli.record import ALL, Channels, RestUrl, Url, channels_of

if TYPE_CHECKING:
    from rich.table import Table

    from solvent.feeds.live.adapter import Adapter
    from solvent.feeds.live.status import Status

app = typer.Typer(no_args_is_help=True, help="Live market data: its health, and its market.")

Source = Annotated[
    str,
    typer.Argument(
        help="A venue (or ccxt:NAME), a recording's folder or file, or generated[:SEED].",
        metavar="SOURCE",
    ),
]
Symbols = Annotated[
    list[str] | None,
    typer.Argument(help="Of a venue: its names, or coins alone for their perpetuals. BTC if none."),
]
Seconds = Annotated[
    float, typer.Option("--seconds", min=0.1, help="How long to listen to a venue.")
]


@app.command("status")
def status(
    source: Source,
    symbols: Symbols = None,
    seconds: Seconds = 10.0,
    channels: Channels = ALL,
    url: Url = None,
    rest_url: RestUrl = None,
    json: options.Json = False,
) -> None:
    """Show a feed's health: messages by kind, faults, resyncs, latency, clock skew, ages.

    Listens to a venue, or reads a recording to its end. Example: solvent feed status deribit BTC
    """
    from solvent.cli import console

    told, notices = _heard(source, symbols or ["BTC"], seconds, channels, url, rest_url)
    if json:
        console.print_json({**told.as_dict(), "notices": notices})
        return
    console.out.print(status_table(told))
    for notice in notices:
        console.err.print(f"notice: {notice}", markup=False, highlight=False)


@app.command("snapshot")
def snapshot(
    source: Source,
    more: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SOURCE]... [SYMBOL]...",
            help="More venues or recordings, then of venues: names, or coins alone for each one's "
            "perpetual. BTC if none.",
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="The .csv or .parquet file to write.")] = Path(
        "market.csv"
    ),
    seconds: Seconds = 10.0,
    url: Url = None,
    rest_url: RestUrl = None,
    rules: Annotated[
        Path | None,
        typer.Option("--rules", help="Index rules by venue:symbol; our guarded one for the rest."),
    ] = None,
    json: options.Json = False,
) -> None:
    """Write a market to a file that `--market` reads, with an index of all venues that are named:
    its sources, their trust, and why anything is not known or not as told.

    Exit code 1 when an index is UNKNOWN: what depends on it is left out of the file.
    Example: solvent feed snapshot deribit okx bybit BTC ETH --out market.csv
    """
    from solvent.cli import console
    from solvent.cli.feed_market import hear, margined, print_market
    from solvent.cli.oracle import as_document
    from solvent.feeds.write import write_market

    found, notices = hear([source, *(more or [])], seconds, url, rest_url, rules)
    kept = margined(found)
    if kept is not None:
        write_market(kept, out)
    if json:
        console.print_json({
            "indices": [as_document(one) for one in found.indices], "reasons": found.reasons,
            "instruments": 0 if kept is None else len(kept.universe), "notices": notices,
        })  # fmt: skip
    else:
        print_market(found, kept, out)
        for notice in notices:
            console.err.print(f"notice: {notice}", markup=False, highlight=False)
    raise typer.Exit(0 if all(one.known for one in found.indices) else 1)


def _heard(
    source: str, symbols: list[str], seconds: float, channels: str, url: str | None,
    rest_url: str | None,
) -> tuple[Status, list[str]]:  # fmt: skip
    """The health of what was heard, and what is to be known of it."""
    from solvent.cli.play import tape
    from solvent.feeds.live.unified import PREFIX
    from solvent.feeds.live.venues import ADAPTERS, adapter_for
    from solvent.feeds.player import Rehearsal, stage_of, wants_of
    from solvent.feeds.recordings import first_place

    if source in ADAPTERS or source.startswith(PREFIX):
        return _live(source, symbols, seconds, channels, url, rest_url), []
    frames = tape(source)
    adapter = adapter_for(first_place(frames), wants_of(frames))
    end_ms = 0
    for message in Rehearsal(stage_of(frames), adapter).play(frames):
        end_ms = max(end_ms, message.received_ms)
    return adapter.status(end_ms), list(getattr(frames, "notices", []))


def _live(
    source: str, symbols: list[str], seconds: float, channels: str, url: str | None,
    rest_url: str | None,
) -> Status:  # fmt: skip
    """Listen to a venue by its own adapter, or to an exchange of ccxt's."""
    import time

    from solvent.errors import SolventError
    from solvent.feeds.live.connection import Connection, listen
    from solvent.feeds.live.messages import Want
    from solvent.feeds.live.unified import PREFIX, UnifiedFeed, ccxt_client
    from solvent.feeds.live.venues import make_adapters, wants_for

    feeds: list[UnifiedFeed | Connection]
    heard: UnifiedFeed | Adapter
    if source.startswith(PREFIX):
        wants = [Want(channel, symbol) for symbol in symbols for channel in channels_of(channels)]
        watched = UnifiedFeed(ccxt_client(source.removeprefix(PREFIX)), wants)
        feeds, heard = [watched], watched
    else:
        adapters = make_adapters(source, wants_for(source, symbols, channels_of(channels)))
        feeds, heard = (
            [Connection(one, url=url, rest_url=rest_url) for one in adapters],
            adapters[0],
        )
    listen(feeds, seconds=seconds, each=len)
    if not heard.health.frames:
        raise SolventError(f"{source}: nothing came in {seconds:g} s")
    return heard.status(time.time_ns() // 1_000_000)


def status_table(told: Status) -> Table:
    """A feed's health, a line each."""
    from solvent.cli import console

    def age(ms: int | None) -> str:
        return "-" if ms is None else f"{ms:,} ms"

    table = console.table(f"feed of {told.venue}", "what", "now", left=("what",))
    table.add_row("frames", f"{told.frames:,}")
    for kind, count in told.messages.items():
        table.add_row(kind, f"{count:,}")
    table.add_row("connections", f"{told.connections:,}")
    table.add_row("books live", f"{told.books_live:,} of {told.books:,}")
    table.add_row("asked again for a book", f"{told.resyncs:,}")
    for kind, count in told.faults.items():
        table.add_row(f"fault: {kind}", f"{count:,}")
    table.add_row("our clock minus the venue's", age(told.skew_ms))
    for name, ms in told.latency_ms.items():
        table.add_row(f"latency {name}", age(ms))
    for kind, ms in told.oldest.items():
        table.add_row(f"oldest {kind}", age(ms))
    return table
