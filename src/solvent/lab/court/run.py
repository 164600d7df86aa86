"""`sv.backtest`: rulebooks over a market's history and a set of portfolios."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import replace
from datetime import date
from hashlib import sha256
from multiprocessing import get_context
from multiprocessing.synchronize import Event
from pathlib import Path
from signal import SIG_IGN, SIGINT, signal
from typing import Any, Final

import numpy as np

from solvent.api import RulebookLike, rulebook_in_force
from solvent.errors import BadInput, Problem, Reject
from solvent.instruments.contract import moment_of
from solvent.lab.court.books import STYLES, Style
from solvent.lab.court.dated import Dated, dated, dynamic_of
from solvent.lab.court.judge import Bench, Day, in_coin, judge_day, styles_of
from solvent.lab.court.markets import MarketHistory
from solvent.lab.court.parameters import assumed
from solvent.lab.court.pasts import Pasts
from solvent.lab.court.portfolios import Portfolio
from solvent.lab.court.result import CELL_WORDS, Cell, CourtResult, Note
from solvent.lab.court.store import Store
from solvent.margining.compile import AnyRulebook
from solvent.margining.dynamic.wrap import Dynamic
from solvent.scenarios.history.series import Series

PIECE_DAYS: Final = 16
"""Days that are done, and kept, at a time."""
Progress = Callable[[int, int], None]
_MEANING: Final = 2
"""What pieces on disk mean; another number where the same inputs come to other numbers."""


def backtest(
    rulebooks: Sequence[RulebookLike | Dynamic] | RulebookLike | Dynamic,
    market_history: MarketHistory,
    portfolios: Sequence[Portfolio],
    *,
    history: Series | None = None,
    contracts: Sequence[Style] = STYLES,
    assume: Mapping[str, Mapping[str, float]] | None = None,
    rules_on: date | None = None,
    store: str | Path | None = None,
    processes: int = 1,
    progress: Progress | None = None,
) -> CourtResult:
    """What rulebooks would have asked of portfolios, day by day, and what those then lost.

    Args:
        rulebooks: names, paths or rulebooks; `name@day` takes that day's parameters. Dynamic ones
            too: each day has the rules that held on it, stepped over the prices of `history`.
        market_history: what `lab.court.markets` makes of strips, surfaces or prices.
        portfolios: what `lab.court.portfolios` makes.
        history: prices (and surfaces) that rulebooks of history learn from; nothing after a day
            is looked at for that day.
        contracts: styles in the order in which they are tried for each rulebook and portfolio.
        assume: rulebook → `table.column` → a number that its text leaves unset.
        rules_on: the day whose parameters hold throughout; the history's last day by default.
        store: a folder in which pieces are kept; a stopped run goes on from there.
        processes: days are done in so many at once; the answer does not depend on it. More than
            one need the caller's script to be importable (`if __name__ == "__main__":`).
        progress: called with the days done and the days in all.

    Raises BadInput for input that cannot be used, RulebookError for a rulebook that cannot.
    """
    notes: list[Note] = list(market_history.notes)
    bench = bench_of(
        rulebooks, market_history, portfolios, history=history, assume=assume, rules_on=rules_on,
        notes=notes,
    )  # fmt: skip
    count = len(market_history)
    styles, refused = styles_of(bench, sorted({0, count // 2, count - 1}), contracts)
    bench = replace(bench, styles=styles)
    days = _all_days(bench, store, history, processes, progress)
    return _result(bench, days, refused, notes)


def bench_of(
    rulebooks: Sequence[RulebookLike | Dynamic] | RulebookLike | Dynamic,
    market_history: MarketHistory,
    portfolios: Sequence[Portfolio],
    *,
    history: Series | None = None,
    assume: Mapping[str, Mapping[str, float]] | None = None,
    rules_on: date | None = None,
    notes: list[Note] | None = None,
) -> Bench:
    """What every day needs, the contracts not yet chosen; `backtest` tells the arguments.

    What was assumed or repaired is added to `notes`.
    """
    _check(market_history, portfolios)
    named = [rulebooks] if isinstance(rulebooks, str | Path) else rulebooks
    told: Sequence[Any] = named if isinstance(named, Sequence) else [named]
    day = rules_on or moment_of(int(market_history.time_ms[-1])).date()
    said = [] if notes is None else notes
    moving = _moving(told, history, market_history, assume or {}, said)
    inforce = tuple(
        moving[number].rulebook(-1) if number in moving
        else _in_force(one, day, assume or {}, said)
        for number, one in enumerate(told)
    )  # fmt: skip
    return Bench(
        history=market_history, rulebooks=inforce, portfolios=tuple(portfolios),
        past=Pasts.of(inforce, history, market_history, said), dated=moving,
    )  # fmt: skip


def _check(history: MarketHistory, portfolios: Sequence[Portfolio]) -> None:
    for one in portfolios:
        if one.underlying not in history.coins:
            raise BadInput(
                Problem(
                    code=Reject.INSTRUMENT_NOT_IN_MARKET, source=f"portfolio {one.name}",
                    field="underlying", expected=f"one of {', '.join(history.coins)}",
                    found=one.underlying,
                )
            )  # fmt: skip
    names = [one.name for one in portfolios]
    if not names or len(set(names)) != len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise BadInput(
            Problem(
                code=Reject.ROW_DUPLICATED, source="portfolios", field="name",
                expected="one portfolio or more, each name once", found=", ".join(twice) or "none",
            )
        )  # fmt: skip
    if len(history) == 0:
        raise BadInput(
            Problem(
                code=Reject.SOURCE_EMPTY, source=f"history {history.name}", field="time",
                expected="a day or more", found="none",
            )
        )  # fmt: skip


def _moving(
    told: Sequence[object],
    series: Series | None,
    history: MarketHistory,
    assume: Mapping[str, Mapping[str, float]],
    notes: list[Note],
) -> dict[int, Dated]:
    """Rulebooks that move, by number, with the rules of each day."""
    moving: dict[int, Dated] = {}
    for number, one in enumerate(told):
        dynamic = dynamic_of(one)
        if dynamic is None:
            continue
        numbers = assume.get(dynamic.text.name, {})
        times = [int(time) for time in history.time_ms]
        moving[number] = dated(dynamic, series, times, notes, assume=numbers)
        _tell_assumed(dynamic.text.name, numbers, notes)
    return moving


def _in_force(
    told: RulebookLike, day: date, assume: Mapping[str, Mapping[str, float]], notes: list[Note]
) -> AnyRulebook:
    found = rulebook_in_force(told, day)
    numbers = assume.get(found.name)
    if not numbers:
        return found
    changed = assumed(found, numbers)
    _tell_assumed(found.name, numbers, notes)
    return changed


def _tell_assumed(rulebook: str, numbers: Mapping[str, float], notes: list[Note]) -> None:
    for name, number in numbers.items():
        text = f"{rulebook}: {name} is not published; {number:g} was assumed"
        notes.append(Note(code="assumed", text=text))


def fingerprint(bench: Bench, history: Series | None) -> str:
    """Of everything that the answer depends on."""
    told = sha256(f"{_MEANING} {bench.history.digest}".encode())
    told.update(repr([rulebook.digest for rulebook in bench.rulebooks]).encode())
    told.update(repr([rulebook.on.isoformat() for rulebook in bench.rulebooks]).encode())
    told.update(repr([(n, one.digest) for n, one in sorted(bench.dated.items())]).encode())
    told.update(repr(bench.portfolios).encode())
    told.update(repr(bench.styles).encode())
    if history is not None:
        told.update(repr(history.names).encode())
        for part in ("time_ms", "price", "level", "skew", "term", "curve", "basis"):
            column = getattr(history, part)
            told.update(b"-" if column is None else np.ascontiguousarray(column).tobytes())
    return told.hexdigest()


# ── days, in pieces, on all processors ───────────────────────────────────────────────────────


def _all_days(
    bench: Bench,
    folder: str | Path | None,
    history: Series | None,
    processes: int,
    progress: Progress | None,
) -> list[Day]:
    count = len(bench.history)
    pieces = [range(at, min(at + PIECE_DAYS, count)) for at in range(0, count, PIECE_DAYS)]
    kept = Store.open(folder, fingerprint(bench, history)) if folder is not None else None
    shape = (len(bench.rulebooks), len(bench.portfolios))
    found: dict[int, list[Day]] = {}
    done = 0
    for number, dates in enumerate(pieces):
        days = kept.read(number, shape) if kept else None
        if days is not None and len(days) == len(dates):
            found[number] = days
            done += len(dates)
    if progress is not None:
        progress(done, count)
    left = [number for number in range(len(pieces)) if number not in found]
    for number, days in _judged(bench, {n: pieces[n] for n in left}, min(processes, len(left))):
        found[number] = days
        if kept is not None:
            kept.write(number, days)
        done += len(days)
        if progress is not None:
            progress(done, count)
    return [day for number in range(len(pieces)) for day in found[number]]


def _judged(
    bench: Bench, pieces: Mapping[int, range], processes: int
) -> Iterator[tuple[int, list[Day]]]:
    """Pieces as they are finished, by number. Whoever stops waits for no piece, only for a day."""
    if processes <= 1:
        for number, dates in pieces.items():
            yield number, [judge_day(bench, date) for date in dates]
        return
    context = get_context("spawn")
    stop = context.Event()
    with ProcessPoolExecutor(
        processes, mp_context=context, initializer=_take, initargs=(bench, stop)
    ) as pool:
        waiting: dict[Future[list[Day]], int] = {
            pool.submit(_piece, dates): number for number, dates in pieces.items()
        }
        try:
            while waiting:
                finished, _ = wait(waiting, return_when=FIRST_COMPLETED)
                for one in finished:
                    yield waiting.pop(one), one.result()
        finally:
            stop.set()
            for one in waiting:
                one.cancel()


_BENCH: list[tuple[Bench, Event]] = []
"""What this process judges, and whether it shall stop."""


def _take(bench: Bench, stop: Event) -> None:
    # Ctrl-C reaches every process of a terminal; the first one tells the others.
    signal(SIGINT, SIG_IGN)
    _BENCH[:] = [(bench, stop)]


def _piece(dates: range) -> list[Day]:
    bench, stop = _BENCH[0]
    return [judge_day(bench, date) for date in dates if not stop.is_set()]


# ── the result ───────────────────────────────────────────────────────────────────────────────


def _result(
    bench: Bench, days: Sequence[Day], refused: Mapping[tuple[int, int], str], notes: list[Note]
) -> CourtResult:
    history = bench.history
    reasons = dict(refused)
    for day in days:
        for key, why in day.reasons.items():
            reasons.setdefault(key, why)

    def stacked(name: str) -> Any:
        return np.stack([getattr(day, name) for day in days], axis=2)

    state = stacked("state")
    for cell, words in CELL_WORDS.items():
        lost = int((state == cell).any(axis=0).sum())
        if cell in (Cell.NO_END, Cell.UNVALUED) and lost:
            text = f"portfolio-days with {words}: not judged"
            notes.append(Note(code=cell.name.lower().replace("_", "-"), text=text, count=lost))
    _tell_counted(bench, notes)
    return CourtResult(
        history=history.name,
        rulebooks=_distinct([one.name for one in bench.rulebooks]),
        digests=tuple(
            bench.dated[number].digest if number in bench.dated else one.digest
            for number, one in enumerate(bench.rulebooks)
        ),
        portfolios=tuple(one.name for one in bench.portfolios),
        kinds=tuple(one.kind for one in bench.portfolios),
        underlyings=tuple(one.underlying for one in bench.portfolios),
        contracts=bench.styles,
        time_ms=history.time_ms,
        until_ms=history.until_ms,
        mpor_ms=history.mpor_ms,
        index_names=history.coins,
        index=history.index,
        initial_micro=stacked("initial"),
        maintenance_micro=stacked("maintenance"),
        pnl_micro=stacked("pnl"),
        gross_micro=stacked("gross"),
        state=state,
        reasons=reasons,
        notes=tuple(notes),
    )


def _tell_counted(bench: Bench, notes: list[Note]) -> None:
    """In what losses of coin-margined books are held against each rulebook's requirement."""
    for number, row in enumerate(bench.styles):
        books = sum(style == "inverse" for style in row)
        if not books:
            continue
        rulebook = bench.rules(number, len(bench.history) - 1)
        how = "in the coin" if in_coin(rulebook) else "in dollars at the index of the period's end"
        text = f"{rulebook.name}: coin-margined books, whose losses are counted {how}"
        notes.append(Note(code="counted", text=text, count=books))


def _distinct(names: Sequence[str]) -> tuple[str, ...]:
    """Names, numbered where one is there twice."""
    return tuple(
        name if names.index(name) == at else f"{name} ({names[: at + 1].count(name)})"
        for at, name in enumerate(names)
    )
