"""`solvent demo live`: a market that moves, and what becomes of the accounts in it.

Five venues tell bitcoin's price. For some steps one of them goes silent, then two tell ten times
the price: the index holds. Then three are bad: it is UNKNOWN, and accounts that depend on it are
too; none of them is liquidated.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

    from solvent.feeds.live import Moment, Publisher
    from solvent.feeds.live.messages import Message
    from solvent.feeds.live.published import Published

_STEP_MS = 900_000
"""A step of the demo is a quarter of an hour of the market."""
_JUMPS = 0.08
_ACCOUNTS, _STEPS = 2_000, 40
_ROWS = 8
"""Rows of the short table."""
_PAUSE_S = 0.15
_VENUES = ("deribit", "deribit#2", "deribit#3", "deribit#4", "deribit#5")
_NOISE = 2e-5
"""How far apart venues are, as a share of the price."""
_SILENT: dict[str, range] = {"deribit#5": range(9, 15), "deribit#4": range(20, 26)}
_TEN_TIMES: dict[str, range] = {"deribit#2": range(15, 26), "deribit#3": range(15, 26)}
"""Who is bad about bitcoin, and in which steps."""


def live_demo(*, accounts: int | None, seed: int, rulebook: str, once: bool, json: bool) -> None:
    """A generated feed through Deribit's adapter; every step each account is margined anew.

    Shows a picture that moves on a terminal, else a short table, or a row a step as JSON.
    """
    from rich.live import Live

    from solvent import api
    from solvent.cli import console
    from solvent.feeds.library import shipped_rulebook
    from solvent.feeds.live import generated
    from solvent.feeds.synthetic_book import generate_book

    rules = shipped_rulebook(rulebook)
    rows: list[dict[str, Any]] = []
    venue = None
    moves = console.out.is_terminal and not (once or json)
    with Live(
        console=console.out, refresh_per_second=10, transient=True, auto_refresh=moves
    ) as screen:
        for moment in generated(
            steps=_STEPS, seed=seed, linear=True, step_ms=_STEP_MS, jumps=_JUMPS
        ):
            if venue is None:
                venue = generate_book(moment.snapshot, accounts=accounts or _ACCOUNTS, seed=seed)
                publisher = _publisher(moment)
            publisher.take(_told(moment.messages, len(rows)))
            found = publisher.publish(moment.at_ms)
            assert found is not None, "a generated step tells tickers"
            plan = api.prepare(found.snapshot, rules)
            # Bitcoin that has no price cannot be counted: its owner is unknown.
            answer = api.margin(venue.book, plan, collateral=venue.collateral, skip_bad=True)
            rows.append(_row(moment, found, Counter(str(one) for one in answer.standings)))
            if moves:
                screen.update(_table(rows[-_ROWS:]))
                time.sleep(_PAUSE_S)
    console.print_json(rows) if json else console.out.print(_table(_spread(rows)))


def _publisher(moment: Moment) -> Publisher:
    """An index of each coin, a vote a venue. Marks of options are as told: nothing is wrong with
    them here, and a surface at each step would take longer than all else."""
    from dataclasses import replace

    from solvent.feeds.live import Publisher, index_rules, sources_of
    from solvent.feeds.market_rules import mark_rule
    from solvent.market.mark import OptionMarks

    coins = moment.snapshot.universe.underlyings
    told = [(venue, f"{coin}-PERPETUAL") for coin in coins for venue in _VENUES]
    return Publisher(
        index_rules(sources_of(told)), now_ms=moment.at_ms,
        marks=replace(mark_rule("guarded"), options=OptionMarks.TOLD),
    )  # fmt: skip


def _told(messages: Iterable[Message], step: int) -> list[Message]:
    """What all venues tell: the first everything, the others their perpetuals, a little apart."""
    import msgspec

    from solvent.feeds.live.messages import Ticker

    told = list(messages)
    tickers = [one for one in told if isinstance(one, Ticker) and one.index is not None
               and one.symbol.endswith("-PERPETUAL") and "_" not in one.symbol]  # fmt: skip
    for number, venue in enumerate(_VENUES[1:], 1):
        for one in tickers:
            bitcoin = one.symbol.startswith("BTC")
            if bitcoin and step in _SILENT.get(venue, ()):
                continue
            bad = bitcoin and step in _TEN_TIMES.get(venue, ())
            factor = (10.0 if bad else 1.0) * (1.0 + (number - 2) * _NOISE)
            prices = {
                name: None if (price := getattr(one, name)) is None else price * _decimal(factor)
                for name in ("bid", "ask", "mark", "index")
            }
            told.append(msgspec.structs.replace(one, venue=venue, **prices))
    return told


def _decimal(factor: float) -> Any:
    from decimal import Decimal

    return Decimal(repr(factor))


def _row(moment: Moment, found: Published, standings: Counter[str]) -> dict[str, Any]:
    """What is told of a step; an index that is UNKNOWN is None."""
    snapshot = found.snapshot
    universe = snapshot.universe
    near = {
        name: float(snapshot.vol[(universe.underlying == code) & (snapshot.vol > 0)].min())
        for code, name in enumerate(universe.underlyings)
    }
    return {
        "at_ms": moment.at_ms,
        "messages": len(moment.messages),
        "index": {name: snapshot.price_of(name) for name in universe.underlyings},
        "agreeing": {one.underlying: sum(row.agrees for row in one.sources) if one.known else 0
                     for one in found.indices},
        "reason": {one.underlying: one.reason.value for one in found.indices},
        "least_vol": near,
        "standings": {
            name: standings.get(name, 0) for name in ("healthy", "call", "liquidate", "unknown")
        },
    }  # fmt: skip


def _spread(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The first, the last and some between."""
    if len(rows) <= _ROWS:
        return rows
    return [rows[(len(rows) - 1) * at // (_ROWS - 1)] for at in range(_ROWS)]


def _table(rows: list[dict[str, Any]]) -> Table:
    from solvent.cli import console
    from solvent.instruments.contract import moment_of

    coins = list(rows[0]["index"])
    table = console.table(
        "a market that moves, and its accounts", "UTC",
        *(f"{coin} {what}" for coin in coins for what in ("$", "vol")), "BTC sources",
        *rows[0]["standings"], left=("UTC",),
    )  # fmt: skip
    for row in rows:
        prices = (
            text
            for coin in coins
            for text in (_index_text(row["index"][coin]), f"{row['least_vol'][coin]:.1%}")
        )
        agreeing, reason = row["agreeing"]["BTC"], row["reason"]["BTC"]
        table.add_row(
            f"{moment_of(row['at_ms']):%H:%M}", *prices,
            f"{agreeing} of {len(_VENUES)}" if agreeing else reason,
            *(f"{count:,}" for count in row["standings"].values()),
        )  # fmt: skip
    return table


def _index_text(price: float | None) -> str:
    return "UNKNOWN" if price is None else f"{price:,.1f}"
