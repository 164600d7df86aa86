"""One day of a backtest: what the rulebooks ask of the books, and what the books then lose.

Pure: the same day, rulebooks and portfolios give the same numbers in any process and any order of
days. Days can therefore be done anywhere and in pieces, and a resumed run is an uninterrupted one.

A book that settles in a coin loses coins. A rulebook whose requirement is in that coin is held
against the coins: both are told at the index of the first day, and whether one is above the other
does not depend on a price. One whose requirement is in dollars is held against what the coins are
worth when they are owed, at the index of the period's end (`in_coin`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from solvent.answer import Margin
from solvent.api import AnyMargin, margin, prepare
from solvent.errors import SolventError
from solvent.lab.court.books import (
    STYLES,
    Held,
    Line,
    Listing,
    Style,
    contracts_of,
    held,
    instrument,
    lots_of,
    snapshot_of,
)
from solvent.lab.court.dated import Dated
from solvent.lab.court.markets import MarketHistory, worth, worth_at_end
from solvent.lab.court.pasts import Pasts
from solvent.lab.court.portfolios import Portfolio
from solvent.lab.court.result import Bool, Cell, Int8, Int64, Which
from solvent.lab.court.strip import Strip
from solvent.margining.compile import AnyPlan, AnyRulebook
from solvent.margining.levels.rulebook import LevelsRulebook
from solvent.market import Snapshot
from solvent.risk import Book, book
from solvent.units import MICRO, Float64, value_down

_EACH_COIN: Final = re.compile(r"\b(coin|currency)\.any\(")
SETTLED_APART: int = 8 * 3_600_000
"""Prices that settle an expiry may lie so far apart, beyond the period's own two ends."""


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What every day needs: the rulebooks in force, the portfolios, the contracts they are in.

    `styles` is [rulebook, portfolio], "" where no contracts were found that the rulebook takes.
    """

    history: MarketHistory
    rulebooks: tuple[AnyRulebook, ...]
    portfolios: tuple[Portfolio, ...]
    styles: tuple[tuple[str, ...], ...] = ()
    past: Pasts | None = None
    dated: Mapping[int, Dated] = field(default_factory=dict)
    """Rulebooks that move, by number: `rulebooks` has theirs of the last day."""

    def rules(self, number: int, date: int) -> AnyRulebook:
        """A rulebook as it holds on a date."""
        moving = self.dated.get(number)
        return self.rulebooks[number] if moving is None else moving.rulebook(date)


@dataclass(frozen=True, kw_only=True)
class Day:
    """What one day found; axes [rulebook, portfolio], money in millionths of a dollar."""

    state: Int8
    initial: Int64
    maintenance: Int64
    pnl: Int64
    gross: Int64
    reasons: dict[tuple[int, int], str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """The books of a day on one coin in one style; `rows` are the portfolios that have one.

    `market` and `book` are None where no portfolio has a book. Money is millionths of a dollar.
    """

    coin: str
    rows: tuple[int, ...] = ()
    market: Snapshot | None = None
    book: Book | None = None
    pnl: Int64 = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    pnl_at_end: Int64 = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    """Gains in coins at the index of the first day, and at that of the period's end."""
    gross: Int64 = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    state: Int8 = field(default_factory=lambda: np.zeros(0, dtype=np.int8))


def judge_day(bench: Bench, date: int) -> Day:
    """Requirements and PnL of every rulebook and portfolio on one date."""
    shape = (len(bench.rulebooks), len(bench.portfolios))
    state = np.full(shape, Cell.REFUSED, dtype=np.int8)
    initial, maintenance, pnl, gross = np.zeros((4, *shape), dtype=np.int64)
    reasons: dict[tuple[int, int], str] = {}
    for coin, style in product(bench.history.coins, STYLES):
        wanted = np.array([[one == style for one in row] for row in bench.styles]).reshape(shape)
        wanted &= np.array([one.underlying == coin for one in bench.portfolios])
        if not wanted.any():
            continue
        stage = staged(bench, date, coin, style, np.flatnonzero(wanted.any(axis=0)).tolist())
        state[wanted] = Cell.NO_BOOK
        for number in np.flatnonzero(wanted.any(axis=1)).tolist():
            mine = wanted[number, list(stage.rows)]
            if not mine.any():
                continue
            asked = _margined(bench, number, date, stage, mine)
            gained = stage.pnl if in_coin(bench.rules(number, date)) else stage.pnl_at_end
            for at, n in enumerate(stage.rows):
                if not mine[at]:
                    continue
                state[number, n] = stage.state[at]
                if asked.why[at]:
                    state[number, n], reasons[number, n] = Cell.REFUSED, asked.why[at]
                if state[number, n] == Cell.JUDGED:
                    initial[number, n] = asked.initial[at]
                    maintenance[number, n] = asked.maintenance[at]
                    pnl[number, n], gross[number, n] = gained[at], stage.gross[at]
    return Day(
        state=state, initial=initial, maintenance=maintenance, pnl=pnl, gross=gross, reasons=reasons
    )


def styles_of(bench: Bench, dates: Sequence[int], order: Sequence[Style]) -> tuple[Any, Any]:
    """The first style in which each rulebook margins each portfolio, on some day of `dates`.

    Returns [rulebook][portfolio] styles, "" for none, and the reasons of those, by (rulebook,
    portfolio).
    """
    shape = (len(bench.rulebooks), len(bench.portfolios))
    chosen = [[""] * shape[1] for _ in range(shape[0])]
    reasons: dict[tuple[int, int], str] = {}
    for style, date, coin in product(order, dates, bench.history.coins):
        left = [
            n for n, one in enumerate(bench.portfolios)
            if one.underlying == coin and any(not row[n] for row in chosen)
        ]  # fmt: skip
        stage = staged(bench, date, coin, style, left)
        for number, row in enumerate(chosen):
            if all(row[n] for n in stage.rows):
                continue
            open_ = np.array([not row[n] for n in stage.rows])
            asked = _margined(bench, number, date, stage, open_)
            for at, n in enumerate(stage.rows):
                if not row[n] and asked.why[at]:
                    reasons.setdefault((number, n), asked.why[at])
                elif not row[n]:
                    row[n] = style
    taken = {key: why for key, why in reasons.items() if not chosen[key[0]][key[1]]}
    return tuple(map(tuple, chosen)), taken


# ── books ────────────────────────────────────────────────────────────────────────────────────


def staged(bench: Bench, date: int, coin: str, style: Style, wanted: Sequence[int]) -> Stage:
    """The wanted portfolios' books on a date; those whose market lists them. Columns are of `rows`,
    ascending places among the bench's portfolios."""
    history, inverse = bench.history, style == "inverse"
    strip = history.strip(history.begin, date, history.coins.index(coin))
    books: dict[int, Held] = {}
    if strip is not None and wanted:
        listing = Listing(strip)
        for n in wanted:
            found = held(bench.portfolios[n], listing, inverse=inverse)
            if found.coins:
                books[n] = found
    if strip is None or not books:
        return Stage(coin=coin)
    line = _line(history, date, coin, strip, books, inverse=inverse)
    market, gain = snapshot_of([line], style, int(history.time_ms[date]))
    end = history.strip(history.end, date, history.coins.index(coin))
    index = strip.index if end is None else end.index
    return _valued(bench, coin, market, gain, books, style, index_at_end=index)


def _line(
    history: MarketHistory, date: int, coin: str, strip: Strip, books: Mapping[int, Held], *,
    inverse: bool,
) -> Line:  # fmt: skip
    """Contracts that the books hold, with their worth when the period begins and ends."""
    number = history.coins.index(coin)
    keys = tuple(sorted({key for one in books.values() for key in one.coins}))
    wanted = contracts_of(keys)
    base = history.strip(history.base, date, number)
    end = history.strip(history.end, date, number)
    nothing = np.full(len(keys), np.nan)
    start = nothing if base is None else worth(base, wanted, inverse=inverse)
    last = nothing
    if end is not None:
        path, apart = history.paths[number], history.mpor_ms + SETTLED_APART
        last = worth_at_end(end, path, wanted, inverse=inverse, apart_ms=apart)
    return Line(coin=coin, strip=strip, keys=keys, start=start, end=last)


def _valued(
    bench: Bench, coin: str, market: Snapshot, gain: Float64, books: Mapping[int, Held],
    style: Style, *, index_at_end: float,
) -> Stage:  # fmt: skip
    """Lots, gains and gross sizes of the books on a market."""
    universe, rows = market.universe, tuple(books)
    at = {symbol: row for row, symbol in enumerate(universe.symbols)}
    told = [
        (number, at[instrument(coin, style, key).symbol], size)
        for number, n in enumerate(rows)
        for key, size in books[n].coins.items()
    ]
    owner = np.array([one[0] for one in told], dtype=np.int32)
    row = np.array([one[1] for one in told], dtype=np.int32)
    sizes = np.array([one[2] for one in told], dtype=np.float64)
    index = market.index_by_instrument[row]
    lots = lots_of(
        universe.lot_size[row], universe.kind[row], universe.inverse[row], coins=sizes, index=index
    )
    made = book(
        accounts=[bench.portfolios[n].name for n in rows], account=owner, instrument=row,
        lots=lots, universe=universe,
    )  # fmt: skip
    known = np.isfinite(gain[row])
    gains = np.where(known, lots * gain[row], 0.0)
    pnl, pnl_at_end = (
        np.bincount(owner, np.where(universe.inverse[row], price, 1.0) * gains,
                    minlength=len(rows)).astype(np.float64)
        for price in (index, index_at_end)
    )  # fmt: skip
    gross = np.bincount(owner, np.abs(sizes) * index, minlength=len(rows)).astype(np.float64)
    unknown = np.bincount(owner, ~known, minlength=len(rows)) > 0
    ended = np.bincount(owner, known, minlength=len(rows)) > 0
    state = np.where(unknown, np.where(ended, Cell.UNVALUED, Cell.NO_END), Cell.JUDGED)
    return Stage(
        coin=coin, market=market, book=made, rows=rows, pnl=value_down(pnl * MICRO),
        pnl_at_end=value_down(pnl_at_end * MICRO),
        gross=value_down(gross * MICRO), state=state.astype(np.int8),
    )  # fmt: skip


def in_coin(rulebook: AnyRulebook) -> bool:
    """Whether a rulebook counts a coin-margined book in its coin, not in dollars.

    A rulebook of scans says so by the numeraire of its requirement's node. One of formulas at
    levels answers in dollars; where it asks each coin or currency for itself whether the account
    is well, what it compares is coins.
    """
    if isinstance(rulebook, LevelsRulebook):
        return bool(_EACH_COIN.search(rulebook.text.answer.liquidate))
    return rulebook.text.nodes[rulebook.text.requirement.node].numeraire != "dollar"


# ── requirements ─────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, kw_only=True)
class _Asked:
    initial: Int64
    maintenance: Int64
    why: NDArray[np.object_]


def _margined(bench: Bench, number: int, date: int, stage: Stage, mine: Bool) -> _Asked:
    """What one rulebook asks of the books of a stage; `why` is "" where it is known, and where it
    is not `mine` to know."""
    count = len(stage.rows)
    if stage.market is None or stage.book is None:
        nothing = np.zeros(0, dtype=np.int64)
        return _Asked(initial=nothing, maintenance=nothing, why=np.zeros(0, dtype=object))
    try:
        rulebook = bench.rules(number, date)
        if bench.past is not None and bench.past.needs(number):
            plan = bench.past.prepare(number, stage.market, stage.coin, rulebook)
        else:
            plan = prepare(stage.market, rulebook)
        answer = margin(stage.book, plan, threads=1)
    except SolventError as fault:
        nothing = np.zeros(count, dtype=np.int64)
        why = np.full(count, f"{type(fault).__name__}: {fault}", dtype=object)
        return _Asked(initial=nothing, maintenance=nothing, why=why)
    unknown = answer.unknown
    why = np.full(count, "", dtype=object)
    if bool((unknown & mine).any()):
        # Reasons are looked up one by one in some rulebooks: only where they are asked for.
        said = answer.to_polars()["reason"].to_list()
        why[unknown] = [said[at] or "not known" for at in np.flatnonzero(unknown)]
    return _Asked(
        initial=np.where(unknown, 0, answer.initial_micro),
        maintenance=np.where(unknown, 0, _maintenance(answer)),
        why=why,
    )


def _maintenance(answer: AnyMargin) -> Int64:
    if isinstance(answer, Margin):
        return np.asarray(answer.requirements.maintenance)
    return np.asarray(answer.maintenance_micro)


def asked_of(book_: Book, plan: AnyPlan, *, which: Which) -> Float64:
    """[account] a margin in millionths of a dollar, NaN where it is not known."""
    answer = margin(book_, plan, threads=1)
    found = answer.initial_micro if which == "initial" else _maintenance(answer)
    return np.where(answer.unknown, np.nan, found.astype(np.float64))
