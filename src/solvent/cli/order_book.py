"""`solvent order book` and `markout`: a book as all may see it, once or live, and what trades were
worth later. Both only read: an engine may be running."""

from __future__ import annotations

import json as json_text
import sys
from collections import deque
from typing import TYPE_CHECKING, Annotated, Any

import typer

from solvent.cli import options
from solvent.cli.order_text import duration_ms, in_words, moment, say
from solvent.cli.venue import Where

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

    from solvent.engine.state import State
    from solvent.market_feed import BookChange, Follower, Print
    from solvent.order_rows import Impact, ShownBook

_TRADES_SHOWN = 8


def book(
    where: Where,
    symbol: Annotated[str, typer.Argument(metavar="SYMBOL", help="The instrument.")],
    levels: Annotated[int, typer.Option("--levels", min=1, max=1_000, help="Of each side.")] = 10,
    size: Annotated[
        str | None, typer.Option("--size", help="What buying and selling so much would come to.")
    ] = None,
    live: Annotated[
        bool, typer.Option("--live", help="Follow the journal while another process trades.")
    ] = False,
    every: Annotated[str, typer.Option("--every", help="How often to look, live.")] = "250ms",
    seconds: Annotated[
        float | None, typer.Option("--seconds", min=0, help="End a live view after so long.")
    ] = None,
    json: options.Json = False,
) -> None:
    """Show a book: bids and asks, the best first, the last trade, mark and index.

    --live with --json prints one object a line: a snapshot, then every change under the next
    sequence. Example: solvent order book my-venue BTC_USDC-PERPETUAL --size 2 --live
    """
    from solvent.cli import console
    from solvent.cli.state import read_only
    from solvent.market_feed import Follower

    pause_s = duration_ms(every, "--every") / 1_000
    with read_only(where, quiet=json) as (journal, state):
        shown, impacts = _seen(state, symbol, levels, size)
        if not live:
            if json:
                console.print_json(_document(shown, impacts))
            else:
                console.out.print(_drawn(shown, impacts, ()))
            return
        follower = Follower(journal, state)
        if json:
            _stream(follower, symbol, pause_s, seconds)
        else:
            _watch(follower, symbol, levels, size, pause_s, seconds)


def _seen(
    state: State, symbol: str, levels: int, size: str | None
) -> tuple[ShownBook, list[Impact]]:
    from solvent.order_rows import book_of, impact_of

    sides = () if size is None else ("buy", "sell")
    return (
        book_of(state, symbol, levels),
        [impact_of(state, symbol, side, str(size)) for side in sides],
    )


def _document(shown: ShownBook, impacts: list[Impact]) -> dict[str, Any]:
    """Sizes and prices are decimals in text."""
    levels = {
        name: [
            {"price": str(one.price), "size": str(one.size), "orders": one.orders} for one in side
        ]
        for name, side in (("bids", shown.bids), ("asks", shown.asks))
    }
    return {
        "symbol": shown.symbol, "phase": shown.phase, "sequence": shown.sequence,
        "time_ms": shown.time_ms, **levels,
        **{
            name: None if one is None else str(one)
            for name, one in (("last", shown.last), ("mark", shown.mark), ("index", shown.index))
        },
        "band": None if shown.band is None else [str(one) for one in shown.band],
        "uncrossing": None if shown.uncrossing is None
        else dict(zip(("price", "size"), map(str, shown.uncrossing), strict=True)),
        "impact": [
            {
                "side": one.side, "size": str(one.size), "filled": str(one.filled),
                "average": None if one.average is None else str(one.average),
                "worst": None if one.worst is None else str(one.worst),
            }
            for one in impacts
        ],
    }  # fmt: skip


def _drawn(
    shown: ShownBook, impacts: list[Impact], trades: tuple[Print, ...], *, live: bool = False
) -> Group:
    """A book for a terminal."""
    from rich.console import Group
    from rich.text import Text

    from solvent.order_units import spaced

    heading = Text(shown.symbol, style="bold")
    heading.append(f": {shown.phase}", style="" if shown.phase == "continuous" else "yellow")
    if live:
        heading.append(
            f" · command {shown.sequence:,} at {moment(shown.time_ms)}", style="not bold dim"
        )
    known = (("last", shown.last), ("mark", shown.mark), ("index", shown.index))
    told = [f"{name} {spaced(round(price, 6))}" for name, price in known if price is not None]
    if shown.best_bid is not None and shown.best_ask is not None and not shown.uncrossing:
        told.append(f"spread {spaced(shown.best_ask - shown.best_bid)}")
    if shown.band is not None:
        low, high = map(spaced, shown.band)
        told.append(f"band {low} to {high}")
    parts: list[Text | Table] = [heading]
    parts += [Text(" · ".join(told))] if told else []
    if shown.uncrossing is not None:
        price, size = map(spaced, shown.uncrossing)
        parts.append(Text(f"would uncross {size} at {price}", style="yellow"))
    parts.append(_ladder(shown) if shown.bids or shown.asks else Text("no orders", style="dim"))
    parts += [_impact_line(one) for one in impacts]
    if trades:
        parts.append(_tape(trades))
    return Group(*parts)


def _ladder(shown: ShownBook) -> Table:
    from solvent.cli.console import table
    from solvent.order_units import spaced

    drawn = table("", "orders", "size", "bid", "ask", "size", "orders", left=["ask"])
    for row in range(max(len(shown.bids), len(shown.asks))):
        bid = shown.bids[row] if row < len(shown.bids) else None
        ask = shown.asks[row] if row < len(shown.asks) else None
        left = (
            ["", "", ""] if bid is None
            else [f"{bid.orders:,}", spaced(bid.size), f"[green]{spaced(bid.price)}[/green]"]
        )  # fmt: skip
        right = (
            ["", "", ""] if ask is None
            else [f"[red]{spaced(ask.price)}[/red]", spaced(ask.size), f"{ask.orders:,}"]
        )  # fmt: skip
        drawn.add_row(*left, *right)
    return drawn


def _impact_line(one: Impact) -> Any:
    from rich.text import Text

    from solvent.order_units import spaced

    verb = "buying" if one.side == "buy" else "selling"
    if not one.filled:
        return Text(f"{verb} {spaced(one.size)}: nothing rests", style="dim")
    short = f", and only {spaced(one.filled)} rest" if one.filled < one.size else ""
    return Text(
        f"{verb} {spaced(one.size)}: {spaced(one.average)} on average, {spaced(one.worst)} at "
        f"worst{short}"
    )


def _tape(trades: tuple[Print, ...]) -> Table:
    """The last trades, newest first."""
    from solvent.cli.console import table
    from solvent.order_units import spaced

    drawn = table("trades", "taker", "size", "price", left=["taker"])
    for one in trades:
        drawn.add_row(one.aggressor or "auction", spaced(one.size), spaced(one.price))
    return drawn


# ── live ─────────────────────────────────────────────────────────────────────────────────────────


def _watch(
    follower: Follower, symbol: str, levels: int, size: str | None, pause_s: float,
    seconds: float | None,
) -> None:  # fmt: skip
    """Draw the book anew whenever something has come, until the time is over or ctrl-c."""
    from rich.live import Live

    from solvent.cli import console

    trades: deque[Print] = deque(maxlen=_TRADES_SHOWN)

    def drawn() -> Group:
        return _drawn(*_seen(follower.state, symbol, levels, size), tuple(trades), live=True)

    # Without a screen of its own, what was seen last stays when it ends.
    with Live(drawn(), console=console.out, auto_refresh=False) as view:
        for changes in _changes(follower, symbol, pause_s, seconds):
            for change in changes:
                trades.extendleft(change.trades)
            view.update(drawn(), refresh=True)


def _stream(follower: Follower, symbol: str, pause_s: float, seconds: float | None) -> None:
    """A snapshot, then every change, one object a line."""
    start = follower.feed.snapshot(symbol)
    _print_line(
        {
            "snapshot": start.symbol, "sequence": start.sequence,
            "bids": [[str(price), str(size)] for price, size in start.bids],
            "asks": [[str(price), str(size)] for price, size in start.asks],
        }
    )  # fmt: skip
    for changes in _changes(follower, symbol, pause_s, seconds):
        for change in changes:
            _print_line(
                {
                    "change": change.symbol, "sequence": change.sequence,
                    "levels": [[one.side, str(one.price), str(one.size)] for one in change.levels],
                    "trades": [
                        [one.aggressor, str(one.price), str(one.size)] for one in change.trades
                    ],
                }
            )  # fmt: skip


def _print_line(document: dict[str, Any]) -> None:
    sys.stdout.write(f"{json_text.dumps(document)}\n")
    sys.stdout.flush()


def _changes(follower: Follower, symbol: str, pause_s: float, seconds: float | None) -> Any:
    """An instrument's changes, each time that commands have come; ctrl-c ends it."""
    import time

    end = None if seconds is None else time.monotonic() + seconds
    try:
        while end is None or time.monotonic() < end:
            time.sleep(pause_s)
            if follower.advance():
                found: list[BookChange] = follower.feed.changes()
                yield [change for change in found if change.symbol == symbol]
    except KeyboardInterrupt:
        return


# ── what trades were worth later ─────────────────────────────────────────────────────────────────


def markout(
    where: Where,
    symbol: Annotated[str | None, typer.Option("--symbol", help="One instrument.")] = None,
    horizon: Annotated[
        list[str] | None,
        typer.Option("--horizon", help="Such as 500ms or 1m; may be given again."),
    ] = None,
    json: options.Json = False,
) -> None:
    """How far the mark moved after trades, the taker's way: what makers lost to them.

    Weighted by size. Example: solvent order markout my-venue --horizon 1s --horizon 1m
    """
    from rich.markup import escape

    from solvent.cli import console
    from solvent.journal import Journal
    from solvent.market_feed import HORIZONS_MS, mark_outs
    from solvent.order_units import spaced

    told = [duration_ms(one, "--horizon") for one in horizon or ()] or list(HORIZONS_MS)
    with console.progress(quiet=json) as bar, Journal.open(where, read_only=True) as journal:
        bar.add_task("reading the journal", total=None)
        rows = mark_outs(journal, horizons_ms=told, symbol=symbol)
    if json:
        console.print_json(
            {
                "rows": [
                    {
                        "symbol": row.symbol, "horizon_ms": row.horizon_ms, "trades": row.trades,
                        "size": str(row.size), "move": None if row.move is None else str(row.move),
                    }
                    for row in rows
                ]
            }
        )  # fmt: skip
        return
    if not rows:
        say("no trades with a taker")
        return
    shown = console.table(
        "", "instrument", "after", "trades", "size", "mark moved", left=["instrument"]
    )
    for row in rows:
        move = "-" if row.move is None else ("+" if row.move > 0 else "") + spaced(row.move)
        shown.add_row(
            escape(row.symbol), in_words(row.horizon_ms), f"{row.trades:,}", spaced(row.size), move
        )
    console.out.print(shown)
