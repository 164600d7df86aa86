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
    from solvent.feeds.live.market import LiveMarket
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

    told, _, _, notices = _heard(source, symbols or ["BTC"], seconds, channels, url, rest_url)
    if json:
        console.print_json({**told.as_dict(), "notices": notices})
        return
    console.out.print(status_table(told))
    for notice in notices:
        console.err.print(f"notice: {notice}", markup=False, highlight=False)


@app.command("snapshot")
def snapshot(
    source: Source,
    symbols: Symbols = None,
    out: Annotated[Path, typer.Option("--out", help="The .csv or .parquet file to write.")] = Path(
        "market.csv"
    ),
    seconds: Seconds = 10.0,
    url: Url = None,
    rest_url: RestUrl = None,
) -> None:
    """Write a feed's market to a file that `--market` reads.

    Example: solvent feed snapshot deribit BTC ETH --out market.csv
    """
    from solvent.cli import console
    from solvent.errors import SolventError
    from solvent.feeds.write import write_market

    _, market, end_ms, notices = _heard(
        source, symbols or ["BTC"], seconds, "ticker", url, rest_url
    )
    found = market.snapshot(end_ms)
    if found is None:
        unknown = ", ".join(sorted(market.unknown)[:5])
        raise SolventError(f"{source}: no ticker of a known contract came ({unknown or 'none'})")
    write_market(found, out)
    console.out.print(f"{found!r}", markup=False, highlight=False)
    console.out.print(f"written: {out}", markup=False, highlight=False)
    for notice in notices:
        console.err.print(f"notice: {notice}", markup=False, highlight=False)


def _heard(
    source: str, symbols: list[str], seconds: float, channels: str, url: str | None,
    rest_url: str | None,
) -> tuple[Status, LiveMarket, int, list[str]]:  # fmt: skip
    """The health of what was heard, the market it told, when it ended, what is to be known."""
    from solvent.cli.play import tape
    from solvent.feeds.live.market import LiveMarket
    from solvent.feeds.live.unified import PREFIX
    from solvent.feeds.live.venues import ADAPTERS, adapter_for
    from solvent.feeds.player import Rehearsal, stage_of, wants_of
    from solvent.feeds.recordings import first_place

    market = LiveMarket()
    if source in ADAPTERS or source.startswith(PREFIX):
        told, end_ms = _live(source, symbols, seconds, channels, url, rest_url, market)
        return told, market, end_ms, []
    frames = tape(source)
    adapter = adapter_for(first_place(frames), wants_of(frames))
    end_ms = 0
    for message in Rehearsal(stage_of(frames), adapter).play(frames):
        market.take([message])
        end_ms = max(end_ms, message.received_ms)
    return adapter.status(end_ms), market, end_ms, list(getattr(frames, "notices", []))


def _live(
    source: str, symbols: list[str], seconds: float, channels: str, url: str | None,
    rest_url: str | None, market: LiveMarket,
) -> tuple[Status, int]:  # fmt: skip
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
    listen(feeds, seconds=seconds, each=market.take)
    if not heard.health.frames:
        raise SolventError(f"{source}: nothing came in {seconds:g} s")
    end_ms = time.time_ns() // 1_000_000
    return heard.status(end_ms), end_ms


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
