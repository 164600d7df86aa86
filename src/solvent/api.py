"""The functions that people call: read a market and positions, and margin them."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias, overload

import numpy as np

from solvent.answer import Margin
from solvent.errors import BadInput, Problem, Reject
from solvent.feeds import positions as feed
from solvent.feeds.inputs import read_inputs
from solvent.feeds.library import day_of, load_rulebook
from solvent.feeds.market import MarketRead
from solvent.feeds.market import read_market as read_market_files
from solvent.feeds.orders import read_modes, read_orders
from solvent.feeds.positions import Positions
from solvent.instruments.contract import moment_of
from solvent.levels_answer import LevelsMargin
from solvent.margining.assess import by_formulas, not_taken
from solvent.margining.compile import AnyPlan, plan_of
from solvent.margining.equity import Collateral, fund
from solvent.margining.evaluate import requirements
from solvent.margining.levels import rulebook as levels
from solvent.margining.levels.book import LevelsPlan, Orders
from solvent.margining.levels.held import priced
from solvent.margining.levels.market import shocking
from solvent.margining.levels.modes import Modes
from solvent.margining.levels.rulebook import LevelsRulebook
from solvent.margining.levels.text import LevelsText
from solvent.margining.plan import Plan
from solvent.margining.rulebook import Rulebook, in_force
from solvent.margining.schema import RulebookText
from solvent.market import Snapshot
from solvent.risk import Book, RiskArrays, publish
from solvent.scenarios import JointShocks, bring
from solvent.scenarios.bring import history_needed

if TYPE_CHECKING:
    from solvent.scenarios.history import Series

DEFAULT_RULEBOOK: Final = "deribit-pm"
MarketLike = Snapshot | str | Path
PositionsLike = Positions | Book | Any
AnyMargin = Margin | LevelsMargin
Joint = Mapping[str, JointShocks] | None
HistoryLike: TypeAlias = "Series | str | Path | Sequence[str | Path] | None"
RulebookLike = str | Path | RulebookText | LevelsText | Rulebook | LevelsRulebook


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


def rulebook_in_force(rulebook: RulebookLike, on: date) -> Rulebook | LevelsRulebook:
    """A rulebook by name, path or text, with the parameters of a day.

    `name@2026-12-01` takes that day's parameters instead: a book under announced ones.
    """
    if isinstance(rulebook, Rulebook | LevelsRulebook):
        return rulebook
    if isinstance(rulebook, str) and "@" in rulebook:
        rulebook, _, day = rulebook.rpartition("@")
        on = day_of(day)
    text: Any = load_rulebook(rulebook) if isinstance(rulebook, str | Path) else rulebook
    if not isinstance(text, RulebookText | LevelsText):
        expected = "a rulebook's name, a path to a .toml, or a rulebook"
        raise BadInput(_wrong_kind("rulebook", expected, type(text).__name__))
    return levels.in_force(text, on) if isinstance(text, LevelsText) else in_force(text, on)


@overload
def prepare(
    market: Snapshot, rulebook: RulebookText | Rulebook, *, joint: Joint = ...,
    history: HistoryLike = ...,
) -> Plan: ...  # fmt: skip
@overload
def prepare(
    market: Snapshot, rulebook: RulebookLike = "deribit-pm", *, joint: Joint = ...,
    history: HistoryLike = ...,
) -> AnyPlan: ...  # fmt: skip
def prepare(
    market: Snapshot, rulebook: RulebookLike = "deribit-pm", *, joint: Joint = None,
    history: HistoryLike = None,
) -> AnyPlan:  # fmt: skip
    """Price a market under a rulebook's scenarios and compile the rulebook against it.

    Worth keeping when several books are margined on one market: `margin` takes the result.

    Args:
        joint: joint shocks by the name under which the rulebook asks for them.
        history: of which a rulebook makes scenarios up to the market's moment: a `Series`, a path
            of prices, or several. What was repaired on the way is in the plan's `notes`.
    """
    book = rulebook_in_force(rulebook, moment_of(market.as_of_ms).date())
    arrays, notes = published(market, book, joint=joint, history=history)
    plan = plan_of(book, arrays)
    return replace(plan, notes=notes) if isinstance(plan, Plan) else plan


def published(
    market: Snapshot, book: Rulebook | LevelsRulebook, *, joint: Joint = None,
    history: HistoryLike = None,
) -> tuple[RiskArrays, tuple[str, ...]]:  # fmt: skip
    """Risk arrays of a market under a rulebook in force, and notes on how its scenarios came to be.

    Raises RulebookError that names what a rulebook's joint scenarios lack.
    """
    need = shocking(book) if isinstance(book, LevelsRulebook) else book
    sets, notes = bring(
        need.sets, rulebook=book.name, as_of_ms=int(market.as_of_ms), joint=joint,
        history=read_history(history) if history_needed(need.sets) else None,
    )  # fmt: skip
    arrays = publish(market, sets=sets, rules=need.rules, tables=need.tables)
    return arrays, tuple(map(str, notes))


def joint_shocks(
    book: Rulebook | LevelsRulebook, market: Snapshot, *, joint: Joint = None,
    history: HistoryLike = None,
) -> dict[str, JointShocks]:  # fmt: skip
    """The joint shocks of a rulebook at a market's moment, by set, ready for `prepare`."""
    need = shocking(book) if isinstance(book, LevelsRulebook) else book
    sets, _ = bring(
        need.sets, rulebook=book.name, as_of_ms=int(market.as_of_ms), joint=joint,
        history=read_history(history) if history_needed(need.sets) else None,
    )  # fmt: skip
    return {one.name: one.told for one in sets if one.told is not None}


def read_history(source: HistoryLike) -> Series | None:
    """A history from one file or several (`time,name,price`, or as venues write bars)."""
    if source is None:
        return None
    from solvent.scenarios.history import Series

    if isinstance(source, Series):
        return source
    from solvent.feeds.histories import read_history as read_files

    paths = [source] if isinstance(source, str | Path) else list(source)
    return read_files(paths)


@overload
def margin(
    positions: PositionsLike,
    market: Plan,
    rulebook: RulebookLike | None = ...,
    *,
    collateral: Any = ...,
    orders: Any = ...,
    modes: Any = ...,
    inputs: Any = ...,
    joint: Joint = ...,
    history: HistoryLike = ...,
    skip_bad: bool = ...,
    threads: int | None = ...,
) -> Margin: ...
@overload
def margin(
    positions: PositionsLike,
    market: MarketLike | AnyPlan,
    rulebook: RulebookLike | None = ...,
    *,
    collateral: Any = ...,
    orders: Any = ...,
    modes: Any = ...,
    inputs: Any = ...,
    joint: Joint = ...,
    history: HistoryLike = ...,
    skip_bad: bool = ...,
    threads: int | None = ...,
) -> AnyMargin: ...
def margin(
    positions: PositionsLike,
    market: MarketLike | AnyPlan,
    rulebook: RulebookLike | None = None,
    *,
    collateral: Any = None,
    orders: Any = None,
    modes: Any = None,
    inputs: Any = None,
    joint: Joint = None,
    history: HistoryLike = None,
    skip_bad: bool = False,
    threads: int | None = None,
) -> AnyMargin:
    """The margin of every account.

    Args:
        positions: whatever `read_positions` takes, or a `Book`.
        market: a snapshot, a path or several, or what `prepare` made of them.
        rulebook: a shipped rulebook's name, a path to a .toml, or a rulebook; deribit-pm where none
            is told, or that of the plan that `prepare` made.
        collateral: rows `account, asset, amount` from a file or a frame; without it the
            requirement is computed and every account is `unfunded`.
        orders: open orders, rows `account, instrument, side, size, price`; rulebooks of formulas
            margin them by the venue's rule.
        modes: how positions are held, rows `account, instrument, mode[, leverage]
            [, isolated_margin]`; what is not told is cross.
        inputs: rulebook inputs: a number a netting set, or under a rulebook of formulas
            `level.column` → a number, or one by name of what tells the level's rows apart; or rows
            `account, set, input, amount` from a file or a frame.
        joint, history: what the rulebook's joint scenarios are, or are made of, as in `prepare`.
        skip_bad: leave bad rows out and list them in `problems`.
        threads: 1 to the number of processors; the answer does not depend on it.

    Raises BadInput for input that cannot be used, RulebookError for a rulebook that cannot.
    """
    plan = _prepared(market, rulebook, joint, history)
    if inputs is not None and not isinstance(inputs, Mapping):
        inputs = read_inputs(inputs)
    told = read_book(positions, collateral, orders, modes, plan, skip_bad=skip_bad)
    threads = threads or available_threads()
    if isinstance(plan, LevelsPlan):
        return _by_formulas(plan, told, inputs or {}, threads)
    if told.orders is not None or told.modes is not None:
        raise BadInput(not_taken(plan.rulebook.name))
    funded, problems, dropped, left_out = None, told.problems, told.dropped, told.left_out
    if told.balances is not None:
        funded = fund(
            told.balances, plan.rulebook, _prices(plan), accounts=told.book.accounts,
            skip_bad=skip_bad,
        )  # fmt: skip
        problems, dropped = problems + funded.problems, dropped + len(funded.problems)
        left_out |= funded.left_out
    needed = requirements(plan, told.book, inputs=inputs, threads=threads)
    return Margin(plan, told.book, needed, funded, problems, dropped, left_out)


def _by_formulas(
    plan: LevelsPlan, told: ReadBook, inputs: Mapping[str, Any], threads: int
) -> LevelsMargin:
    balances = None
    if told.balances is not None:
        balances = priced(
            plan.arrays, account=told.balances.account, asset=told.balances.asset,
            amount=told.balances.amount,
        )  # fmt: skip
    found = by_formulas(
        plan, told.book, balances=balances, orders=told.orders, modes=told.modes, inputs=inputs,
        threads=threads,
    )  # fmt: skip
    return LevelsMargin(
        plan, found.book, found.answer, balances and found.balances, orders=found.orders,
        pools=found.pools, inputs=found.inputs, problems=told.problems, dropped=told.dropped,
        left_out=told.left_out,
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadBook:
    """What was read of a book, and what was left out of it."""

    book: Book
    balances: Collateral | None
    orders: Orders | None
    modes: Modes | None
    problems: tuple[Problem, ...]
    dropped: int
    left_out: frozenset[int]


def read_book(
    positions: PositionsLike,
    collateral: Any,
    orders: Any,
    modes: Any,
    plan: AnyPlan,
    *,
    skip_bad: bool,
) -> ReadBook:
    """A book on a prepared market, from whatever `margin` takes. Raises BadInput."""
    problems: tuple[Problem, ...] = ()
    dropped, left_out = 0, frozenset[int]()
    universe, chosen = plan.arrays.universe, None
    if isinstance(positions, Book):
        book, accounts = positions, feed.Accounts({a: i for i, a in enumerate(positions.accounts)})
    else:
        told = read_positions(positions, skip_bad=skip_bad)
        hedged: Collection[tuple[str, str]] = ()
        if modes is not None:
            hedged = read_modes(modes, universe, told.accounts, skip_bad=True).value.hedged
        found = feed.resolve(told, universe, plan.arrays.as_of_ms, hedged=hedged, skip_bad=skip_bad)
        book, accounts, problems, dropped, left_out = (
            found.book, told.accounts, found.problems, found.dropped, found.left_out,
        )  # fmt: skip
    balances = None
    if collateral is not None:
        read = _balances(collateral, accounts, skip_bad=skip_bad)
        balances, problems = read.collateral, problems + read.problems
        dropped, left_out = dropped + read.dropped, left_out | read.left_out
        book, accounts = with_accounts(book, read.accounts.names), read.accounts
    open_orders = None
    if orders is not None:
        listed = read_orders(orders, universe, accounts, skip_bad=skip_bad)
        open_orders, problems = listed.value, problems + listed.problems
        dropped, left_out = dropped + listed.dropped, left_out | listed.left_out
        book = with_accounts(book, accounts.names)
    if modes is not None:
        how = read_modes(modes, universe, accounts, skip_bad=skip_bad)
        chosen, problems = how.value, problems + how.problems
        dropped, left_out = dropped + how.dropped, left_out | how.left_out
    return ReadBook(
        book=book, balances=balances, orders=open_orders, modes=chosen, problems=problems,
        dropped=dropped, left_out=left_out,
    )  # fmt: skip


def _prices(plan: AnyPlan) -> dict[str, float]:
    """Dollars per coin of the underlyings that the market has an index for."""
    names = plan.arrays.universe.underlyings
    indices = zip(names, plan.arrays.index, strict=True)
    return {name: float(price) for name, price in indices if price > 0}


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


def _prepared(
    market: Any, rulebook: RulebookLike | None, joint: Joint, history: HistoryLike
) -> AnyPlan:
    if isinstance(market, Plan | LevelsPlan):
        if joint is not None or history is not None:
            expected = "none beside a market that was prepared with its scenarios"
            raise BadInput(_wrong_kind("joint, history", expected, "one"))
        if rulebook is not None:
            _check_same(market, rulebook)
        return market
    if isinstance(market, list | tuple):
        market = read_market(*market)
    elif isinstance(market, str | Path):
        market = read_market(market)
    if not isinstance(market, Snapshot):
        found = type(market).__name__
        raise BadInput(_wrong_kind("market", "a snapshot, a path, or what `prepare` made", found))
    chosen = DEFAULT_RULEBOOK if rulebook is None else rulebook
    return prepare(market, chosen, joint=joint, history=history)


def _check_same(plan: AnyPlan, rulebook: RulebookLike) -> None:
    """A prepared market carries its rulebook; another one beside it would be ignored."""
    other = rulebook_in_force(rulebook, moment_of(plan.arrays.as_of_ms).date())
    if other.digest != plan.rulebook.digest:
        expected = f"none, or {plan.rulebook.name}, for which the market was prepared"
        raise BadInput(_wrong_kind("rulebook", expected, other.name))


def _wrong_kind(source: str, expected: str, found: str) -> Problem:
    return Problem(code=Reject.SOURCE_UNREADABLE, source=source, expected=expected, found=found)


def _balances(collateral: Any, accounts: feed.Accounts, *, skip_bad: bool) -> feed.Balances:
    if isinstance(collateral, Collateral):
        return feed.Balances(
            collateral=collateral, accounts=accounts, problems=(), dropped=0, left_out=frozenset()
        )
    return feed.read_collateral(collateral, skip_bad=skip_bad, accounts=accounts)
