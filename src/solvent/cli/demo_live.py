"""`solvent demo live`: a market that moves, and what becomes of the accounts in it."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

    from solvent.feeds.live import Moment

_STEP_MS = 900_000
"""A step of the demo is a quarter of an hour of the market."""
_JUMPS = 0.08
_ACCOUNTS, _STEPS = 2_000, 40
_ROWS = 8
"""Rows of the short table."""
_PAUSE_S = 0.15


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

    rules, rows = shipped_rulebook(rulebook), []
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
            plan = api.prepare(moment.snapshot, rules)
            answer = api.margin(venue.book, plan, collateral=venue.collateral)
            rows.append(_row(moment, Counter(str(one) for one in answer.standings)))
            if moves:
                screen.update(_table(rows[-_ROWS:]))
                time.sleep(_PAUSE_S)
    console.print_json(rows) if json else console.out.print(_table(_spread(rows)))


def _row(moment: Moment, standings: Counter[str]) -> dict[str, Any]:
    """What is told of a step."""
    snapshot = moment.snapshot
    universe = snapshot.universe
    near = {
        name: float(snapshot.vol[(universe.underlying == code) & (snapshot.vol > 0)].min())
        for code, name in enumerate(universe.underlyings)
    }
    return {
        "at_ms": moment.at_ms,
        "messages": len(moment.messages),
        "index": {
            name: float(snapshot.index[code]) for code, name in enumerate(universe.underlyings)
        },
        "least_vol": near,
        "standings": {
            name: standings.get(name, 0) for name in ("healthy", "call", "liquidate", "unknown")
        },
    }


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
        *(f"{coin} {what}" for coin in coins for what in ("$", "vol")),
        *rows[0]["standings"], left=("UTC",),
    )  # fmt: skip
    for row in rows:
        prices = (
            text
            for coin in coins
            for text in (f"{row['index'][coin]:,.1f}", f"{row['least_vol'][coin]:.1%}")
        )
        table.add_row(
            f"{moment_of(row['at_ms']):%H:%M}", *prices,
            *(f"{count:,}" for count in row["standings"].values()),
        )  # fmt: skip
    return table
