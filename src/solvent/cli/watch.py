"""`solvent watch` and `solvent bench watch`: every account at every tick, on a made-up venue."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from solvent.cli import options

if TYPE_CHECKING:
    from rich.console import Group

    from solvent.solvency.exposure import Exposure
    from solvent.solvency.inbox import Inbox
    from solvent.solvency.ladder import Ladder
    from solvent.solvency.watch import Watch

app = typer.Typer(no_args_is_help=True, help="Measure the package on this machine.")

_INSTRUMENTS = 5_000
_SAMPLE = 20_000
"""Accounts that are recomputed from nothing after each tenth tick."""

Accounts = Annotated[int, typer.Option("--accounts", min=1, help="Accounts of the venue.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of the venue and its prices.")]


def watch(
    accounts: Accounts = 20_000,
    ticks: Annotated[int, typer.Option("--ticks", min=1, help="Marks to take.")] = 200,
    pause_ms: Annotated[
        int, typer.Option("--pause-ms", min=0, help="Wait between two marks.")
    ] = 50,
    volatility: Annotated[
        float, typer.Option("--volatility", min=0.0, help="A mark's move, percent, typical.")
    ] = 0.1,
    seed: Seed = 1,
    market: Annotated[
        list[Path] | None, typer.Option("--market", help="A market file, as of `solvent margin`.")
    ] = None,
    positions: Annotated[
        Path | None, typer.Option("--positions", help="Classify this book instead.")
    ] = None,
    collateral: options.Collateral = None,
    rulebook: options.Rulebook = "deribit-pm",
    skip_bad: options.SkipBad = False,
    json: options.Json = False,
) -> None:
    """Watch a made-up venue live: accounts by state, gap ladder, solvency-delta, latency.

    Prices walk at random. The last picture stays; with --json it is the only output. With --market
    and --positions one's own book is classified once, under a rulebook as it is written.
    """
    from solvent.cli import console, watch_book

    if positions is not None or market:
        if positions is None or not market:
            raise typer.BadParameter("--market and --positions go together")
        told = watch_book.document(market, positions, collateral, rulebook, skip_bad=skip_bad)
        console.print_json(told) if json else watch_book.show(told)
        return
    _live(accounts, ticks, pause_ms, volatility, seed, as_json=json)


def bench_watch(
    accounts: Accounts = 100_000,
    ticks: Annotated[int, typer.Option("--ticks", min=1, help="Ticks to measure.")] = 200,
    reach: Annotated[
        float, typer.Option("--reach", min=0.0, max=50.0, help="Largest move, percent.")
    ] = 1.0,
    uniform: Annotated[
        bool, typer.Option("--uniform", help="Instruments are all equally popular.")
    ] = False,
    instruments: Annotated[
        int, typer.Option("--instruments", min=10, help="Instruments of ten underlyings.")
    ] = _INSTRUMENTS,
    seed: Seed = 6,
    json: options.Json = False,
) -> None:
    """Ticks of one underlying on a made-up venue, against recomputing all who touch it.

    Every tenth tick a sample is recomputed from nothing, and everybody at the end: a breach that
    the watch does not show, or shows without one, is a false negative, and exit code 1.
    """
    import numpy as np

    from solvent.cli import console
    from solvent.sim.watched import Venue, false_negatives, full_pass, ticks_within
    from solvent.solvency.watch import Tick

    venue = Venue.make(accounts=accounts, instruments=instruments, uniform=uniform, seed=seed)
    seen = venue.watch()
    full_ms = full_pass(seen, time.perf_counter_ns) / 1e6
    rng, missed = np.random.default_rng(seed), 0

    def sample(number: int, _tick: Tick) -> None:
        nonlocal missed
        if number % 10 == 9:
            who = rng.choice(accounts, min(accounts, _SAMPLE), replace=False)
            missed += false_negatives(seen, who)

    found = ticks_within(seen, time.perf_counter_ns, reach=reach / 100.0, ticks=ticks, each=sample)
    missed += false_negatives(seen)
    document = {
        "accounts": accounts, "instruments": len(seen.terms), "positions": seen.held.positions,
        "scenarios": len(seen.scenes), "popularity": "uniform" if uniform else "zipf",
        "reach_percent": reach, "ticks": ticks, **found, "full_ms": full_ms,
        "ratio_to_full": full_ms / (found["mean_ms"] + found["upkeep_ms"]),
        "bytes_per_account": seen.nbytes / accounts, "false_negatives": missed,
    }  # fmt: skip
    if json:
        console.print_json(document)
    else:
        table = console.table("watch", "what", "measured", left=("what",))
        for name, value in document.items():
            number = f"{value:,.4g}" if isinstance(value, float) else value
            table.add_row(name, f"{number:,}" if isinstance(number, int) else number)
        console.out.print(table)
    if missed:
        raise typer.Exit(1)


def _live(
    accounts: int, ticks: int, pause_ms: int, volatility: float, seed: int, *, as_json: bool
) -> None:
    import numpy as np
    from rich.live import Live

    from solvent.cli import console
    from solvent.sim.watched import Venue
    from solvent.solvency.inbox import Inbox
    from solvent.solvency.ladder import Ladder
    from solvent.solvency.watch import Mark

    venue = Venue.make(accounts=accounts, instruments=500, seed=seed)
    seen = venue.watch()
    ladder, inbox = Ladder(seen), Inbox()
    rng, at = np.random.default_rng(seed), seen.market.as_of_ms
    exposure = _exposure(seen)
    quiet = as_json or not console.out.is_terminal
    with Live(console=console.out, refresh_per_second=8, transient=True) as screen:
        for _ in range(ticks):
            at += max(pause_ms, 1)
            node = int(rng.integers(0, seen.held.nodes))
            step = float(np.exp(rng.normal(0.0, volatility / 100.0)))
            price = float(seen.market.price[node]) * step
            inbox.mark(Mark(node=node, as_of_ms=at, price=price), arrived_ns=time.monotonic_ns())
            inbox.take(seen, time.monotonic_ns)
            seen.upkeep(seen.owed(elapsed_ms=max(pause_ms, 1)))
            ladder.step(seen)
            exposure = _exposure(seen)
            if not quiet:
                screen.update(_picture(seen, ladder, exposure, inbox))
                time.sleep(pause_ms / 1e3)
    if as_json:
        console.print_json(_document(seen, ladder, exposure, inbox))
    else:
        console.out.print(_picture(seen, ladder, exposure, inbox))


def _exposure(seen: Watch) -> Exposure:
    """The first underlying, a 10 % gap, against a fund of one percent of all equity."""
    from solvent.solvency.classes import State
    from solvent.solvency.exposure import solvency_delta

    equity = sum(seen.figures.total(state).equity for state in State)
    return solvency_delta(seen, 0, buffer=max(equity, 0) // 100, limit_ppm=250_000, gap=0.1)


def _document(seen: Watch, ladder: Ladder, exposure: Exposure, inbox: Inbox) -> dict[str, Any]:
    from solvent.solvency.classes import State

    sweep, latency = seen.sweep(), inbox.latency
    return {
        "as_of_ms": seen.market.as_of_ms,
        "accounts": {s.name.lower(): asdict(seen.figures.total(s)) for s in State},
        "urgent": seen.figures.urgent(10).tolist(),
        "ladder": [asdict(one) for one in ladder.rungs],
        "solvency_delta": asdict(exposure),
        "latency_ms": {
            "marks": len(latency),
            **{f"p{at}": latency.percentile(at) / 1e6 for at in (50, 90, 99)},
            "most": latency.most / 1e6,
        },
        "sweep": {**asdict(sweep), "complete": sweep.complete},
    }


def _dollars(quanta: int) -> str:
    return f"{quanta / 1e6:,.0f}"


def _picture(seen: Watch, ladder: Ladder, exposure: Exposure, inbox: Inbox) -> Group:
    from rich.console import Group

    from solvent.cli import console
    from solvent.solvency.classes import State

    states = console.table(
        "accounts", "state", "accounts", "equity $", "maintenance $", "shortfall $", left=("state",)
    )
    for state in State:
        total = seen.figures.total(state)
        states.add_row(
            state.name.lower(), f"{total.accounts:,}", _dollars(total.equity),
            _dollars(total.maintenance), _dollars(total.shortfall),
        )  # fmt: skip
    rungs = console.table("gap ladder, all prices", "gap", "fallen", "shortfall $", "missing $")
    for one in ladder.rungs:
        rungs.add_row(
            f"{one.gap:+.0%}", f"{one.fallen:,}", _dollars(one.shortfall), _dollars(one.missing)
        )
    latency, sweep = inbox.latency, seen.sweep()
    lines = console.table("solvency", "what", "now", left=("what",))
    lines.add_row("delta of accounts near ruin $", _dollars(exposure.delta))
    lines.add_row("10 % gap loses, share of the fund", f"{exposure.share:.1%}")
    lines.add_row("hedge that restores 25 % $", _dollars(exposure.hedge))
    half, most = latency.percentile(50) / 1e6, latency.percentile(99) / 1e6
    lines.add_row("mark to verdict, p50 / p99 ms", f"{half:.2f} / {most:.2f}")
    lines.add_row("oldest figures ms", f"{sweep.now_ms - sweep.oldest_ms:,}")
    lines.add_row("nobody left out", "yes" if sweep.complete else "NO")
    return Group(states, "", rungs, "", lines)
