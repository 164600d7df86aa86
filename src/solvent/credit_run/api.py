"""What people call: a credit file through markets, on an engine of its own.

from solvent.credit_run.api import run_credit
found = run_credit("credit.toml", data="../shared/data")
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from solvent.credit_run.demo import demo_text
from solvent.credit_run.desk import Desk, Progress, run
from solvent.credit_run.exposures import draw, exposure_of
from solvent.credit_run.markets import crash_markets, made_up_markets, symbols_of
from solvent.credit_run.report import document
from solvent.credit_run.venue import check_books
from solvent.feeds.credit import CreditFile, parse_credit, read_credit
from solvent.host import Engine
from solvent.market import Snapshot

FIRST: Final = "20260204T000000Z"
LAST: Final = "20260207T000000Z"
CHAINS: Final = "deribit_chains"


def markets_of(
    data: str | Path | None, *, first: str = FIRST, last: str = LAST, seed: int = 1
) -> tuple[list[Snapshot], str]:
    """Markets, and in words where they are from: real chains where the folder has them, else made
    up, and the words say so."""
    folder = None if data is None else Path(data) / CHAINS
    if folder is not None and folder.is_dir():
        found = crash_markets(folder, first=first, last=last)
        return found, f"Markets: {len(found)} steps of Deribit's chains in {CHAINS}."
    return made_up_markets(seed), (
        "Markets are made up: no real chains were at hand (a folder with deribit_chains)."
    )


def run_credit(
    source: str | Path | CreditFile | None = None, *, data: str | Path | None = None,
    markets: Sequence[Snapshot] | None = None, keep: str | Path | None = None,
    counterparties: int = 50, seed: int = 1, progress: Progress | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Run a credit file through the crash of February 2026, or other markets, and report.

    Args:
        source: a path, a file that was read, or None for the made-up member with `counterparties`.
        data: folder with real data; without it, and without `markets`, markets are made up.
        keep: where the engine's journal is kept (a new folder); else it is thrown away.

    Exposure is measured at the opening, at the lowest bitcoin and at the end.
    """
    note = "Markets were brought by the caller."
    if markets is None:
        markets, note = markets_of(data, seed=seed)
    told = _read(source, markets, counterparties, seed)
    check_books(told, markets[0])
    low = min(range(len(markets)), key=lambda place: float(markets[place].index[0]))
    with ExitStack() as stack:
        where = keep or Path(stack.enter_context(tempfile.TemporaryDirectory())) / "venue"
        engine = stack.enter_context(Engine.create(where))
        desk: Desk = run(engine, told, markets, exposure_at=(0, low, -1), progress=progress)
        return document(desk, notes=(note,))


def _read(
    source: str | Path | CreditFile | None, markets: Sequence[Snapshot], counterparties: int,
    seed: int,
) -> CreditFile:  # fmt: skip
    if isinstance(source, CreditFile):
        return source
    if source is not None:
        return read_credit(source)
    text = demo_text(markets[0], symbols_of(markets), counterparties=counterparties, seed=seed)
    return parse_credit(text, source="made-up member")


def exposures(
    source: str | Path | CreditFile, market: Snapshot, *, keep: str | Path | None = None
) -> dict[str, dict[str, Any] | None]:
    """Exposure profile and cost of every counterparty of a file on one market; None for one that
    holds what the market has no numbers for."""
    told = _read(source, [market], 0, 0)
    check_books(told, market)
    with ExitStack() as stack:
        where = keep or Path(stack.enter_context(tempfile.TemporaryDirectory())) / "venue"
        engine = stack.enter_context(Engine.create(where))
        desk = Desk(engine, told, market)
        drawn = draw(market, desk.venue.symbols, told.exposure)
        found = {}
        for name, lent in desk.lent.items():
            agreement = told.register.agreement_of(name)
            one = exposure_of(desk.venue.state, agreement, lent.quality, drawn, told.exposure)
            found[name] = None if one is None else one.document()
        return found
