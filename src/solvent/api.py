"""The functions that people call: read a market and positions, and margin them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from solvent.answer import Margin
from solvent.feeds import positions as feed
from solvent.feeds.library import load_rulebook
from solvent.feeds.market import MarketRead
from solvent.feeds.market import read_market as read_market_files
from solvent.feeds.positions import Positions
from solvent.instruments.contract import moment_of
from solvent.margining.equity import Collateral, fund
from solvent.margining.evaluate import requirements
from solvent.margining.plan import Plan, compile_plan
from solvent.margining.rulebook import Rulebook, in_force
from solvent.margining.schema import RulebookText
from solvent.market import Snapshot
from solvent.risk import Book, publish
from solvent.units import Float64

MarketLike = Snapshot | str | Path
PositionsLike = Positions | Book | Any
RulebookLike = str | Path | RulebookText | Rulebook


def read_market(*paths: str | Path, skip_bad: bool = False) -> Snapshot:
    """A market from one file or several (a chain, then tables of futures prices).

    Raises BadInput naming file, row and field; `skip_bad` leaves bad rows out.
    """
    return read_market_files(paths, skip_bad=skip_bad).snapshot


def read_positions(source: Any, *, skip_bad: bool = False) -> Positions:
    """Positions from a CSV, Parquet or JSON file, a polars or pandas frame, or a list of dicts.

    Rows are `account, instrument, size[, entry_price]`; ccxt's unified position dicts work too.
    """
    if isinstance(source, Positions):
        return source
    return feed.read_positions(source, skip_bad=skip_bad)


def rulebook_in_force(rulebook: RulebookLike, on: date) -> Rulebook:
    """A rulebook by name, path or text, with the parameters of a day."""
    if isinstance(rulebook, Rulebook):
        return rulebook
    text = rulebook if isinstance(rulebook, RulebookText) else load_rulebook(rulebook)
    return in_force(text, on)


def prepare(market: Snapshot, rulebook: RulebookLike = "deribit-pm") -> Plan:
    """Price a market under a rulebook's scenarios and compile the rulebook against it.

    Worth keeping when several books are margined on one market: `margin` takes the result.
    """
    book = rulebook_in_force(rulebook, moment_of(market.as_of_ms).date())
    arrays = publish(market, sets=book.sets, rules=book.rules, tables=book.tables)
    return compile_plan(book, arrays)


def margin(
    positions: PositionsLike,
    market: MarketLike | Plan,
    rulebook: RulebookLike = "deribit-pm",
    *,
    collateral: Any = None,
    inputs: Mapping[str, Float64] | None = None,
    skip_bad: bool = False,
    threads: int | None = None,
) -> Margin:
    """The margin of every account.

    Args:
        positions: whatever `read_positions` takes, or a `Book`.
        market: a snapshot, a path, or what `prepare` made of them.
        rulebook: a shipped rulebook's name, a path to a .toml, or a rulebook.
        collateral: rows `account, asset, amount` from a file or a frame; without it the
            requirement is computed and every account is `unfunded`.
        inputs: rulebook inputs, a number a netting set.
        skip_bad: leave bad rows out and list them in `problems`.
        threads: 1 to the number of processors; the answer does not depend on it.

    Raises BadInput for input that cannot be used, RulebookError for a rulebook that cannot.
    """
    plan = _prepared(market, rulebook)
    universe = plan.arrays.universe
    problems: tuple[Any, ...] = ()
    dropped = 0
    if isinstance(positions, Book):
        book, accounts = positions, feed.Accounts({a: i for i, a in enumerate(positions.accounts)})
    else:
        told = read_positions(positions, skip_bad=skip_bad)
        found = feed.resolve(told, universe, plan.arrays.as_of_ms, skip_bad=skip_bad)
        book, accounts, problems, dropped = (
            found.book, told.accounts, found.problems, found.dropped,
        )  # fmt: skip
    funded = None
    if collateral is not None:
        balances, accounts, faults = _balances(collateral, accounts, skip_bad=skip_bad)
        problems += faults
        dropped += len(faults)
        book = with_accounts(book, accounts.names)
        prices = {
            name: float(price)
            for name, price in zip(universe.underlyings, plan.arrays.index, strict=True)
            if price > 0
        }
        funded = fund(balances, plan.rulebook, prices, accounts=book.accounts)
    answer = requirements(plan, book, inputs=inputs, threads=threads or available_threads())
    return Margin(plan, book, answer, funded, problems, dropped)


def with_accounts(book: Book, names: list[str]) -> Book:
    """The book with accounts added that hold no position; `names` begins with the book's own."""
    first = np.concatenate(
        [book.first, np.full(len(names) - len(book), book.first[-1], dtype=np.int64)]
    )
    return Book(
        accounts=names,
        first=first,
        instrument=book.instrument,
        lots=book.lots,
        entry_lots=book.entry_lots,
        entry_value=book.entry_value,
    )


def available_threads() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def market_report(*paths: str | Path, skip_bad: bool = False) -> MarketRead:
    """A market and what was left out of it."""
    return read_market_files(paths, skip_bad=skip_bad)


def _prepared(market: MarketLike | Plan, rulebook: RulebookLike) -> Plan:
    if isinstance(market, Plan):
        return market
    return prepare(market if isinstance(market, Snapshot) else read_market(market), rulebook)


def _balances(
    collateral: Any, accounts: feed.Accounts, *, skip_bad: bool
) -> tuple[Collateral, feed.Accounts, tuple[Any, ...]]:
    if isinstance(collateral, Collateral):
        return collateral, accounts, ()
    return feed.read_collateral(collateral, skip_bad=skip_bad, accounts=accounts)
