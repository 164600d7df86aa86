"""Books near their margins under any rulebook of the package, and markets that move under them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import numpy as np

from solvent import api
from solvent.errors import RulebookError
from solvent.feeds.library import rulebook_names
from solvent.feeds.synthetic_market import generate_market
from solvent.instruments import frozen
from solvent.margining.assess import Assessed, assess
from solvent.margining.compile import AnyPlan
from solvent.margining.levels.book import Balances, LevelsPlan
from solvent.margining.levels.held import accepted, priced
from solvent.market import Snapshot
from solvent.market.moved import moved
from solvent.risk import Book
from solvent.solvency.books import Books
from solvent.solvency.by_rulebook import states_of
from solvent.units import TimeMs
from tests.past import past

SIZES = (0.002, 0.01, 0.03, 0.1, 0.5)
"""How far prices go in a step, at most."""


@cache
def market() -> Snapshot:
    """Contracts of every kind, of several underlyings."""
    return generate_market(seed=3, expiries=2, strikes=3)


@cache
def plan(name: str) -> AnyPlan:
    return api.prepare(market(), name, history=past(market()))


def book_of(rows: list[dict[int, float]], *, entries: np.ndarray | None = None) -> Book:
    """A book of instrument → lots by account; entry values in quanta where they are known."""
    instrument = np.array([one for row in rows for one in sorted(row)], dtype=np.int32)
    lots = np.array([row[one] for row in rows for one in sorted(row)], dtype=np.float64)
    first = np.cumsum([0, *(len(row) for row in rows)]).astype(np.int64)
    known = np.zeros(len(lots), dtype=bool) if entries is None else np.isfinite(entries)
    value = np.zeros(len(lots)) if entries is None else np.where(known, entries, 0.0)
    return Book(
        accounts=[f"a{n}" for n in range(len(rows))], first=first, instrument=instrument,
        lots=lots, entry_lots=np.where(known, lots, 0.0), entry_value=np.rint(value * lots),
    )  # fmt: skip


def owned(of: AnyPlan, told: list[tuple[int, str, float]]) -> Balances:
    """Balances alone."""
    account, asset, amount = zip(*told, strict=True) if told else ((), (), ())
    return priced(
        of.arrays, account=np.array(account, np.int64), asset=asset,
        amount=np.array(amount, np.float64),
    )  # fmt: skip


@cache
def assets(name: str) -> tuple[str, ...]:
    """What counts as collateral, a dollar first."""
    asked = ("USDC", "USDT", "USD", "BTC", "ETH")
    of = plan(name)
    if isinstance(of, LevelsPlan):
        takes = accepted(of, asked)
        found = [one for one in asked if takes[one]]
    else:
        found = [one for one in asked if one in of.rulebook.collateral]
    return tuple(found)


@cache
def fitting(name: str) -> tuple[int, ...]:
    """Instruments that a rulebook has numbers for, held either way."""
    of, count = plan(name), len(market().universe)
    rows = [{n: side} for n in range(count) for side in (1.0, -1.0)]
    told = owned(of, [(n, assets(name)[0], 1e6) for n in range(len(rows))] if assets(name) else [])
    found = assess(of, book_of(rows), balances=told).known
    return tuple(n for n in range(count) if found[2 * n] and found[2 * n + 1])


def books(name: str, rng: np.random.Generator, accounts: int, *, slack: float = 0.4) -> Books:
    """Accounts with some positions of one underlying or of many, and a slack of about a share of
    what they need."""
    of, universe = plan(name), market().universe
    usable = np.array(fitting(name))
    if len(usable) == 0:
        return Books(book=book_of([{} for _ in range(accounts)]), balances=owned(of, []))
    rows = []
    for _ in range(accounts):
        mine = usable
        if rng.random() < 0.6:
            under = universe.underlying[rng.choice(usable)]
            mine = usable[universe.underlying[usable] == under]
        chosen = rng.choice(mine, size=min(len(mine), int(rng.integers(1, 6))), replace=False)
        scale = 10 ** rng.uniform(0.0, 2.5)
        rows.append({int(one): _lots(rng, scale) for one in chosen})
    held = book_of(rows)
    entries = np.where(
        rng.random(held.positions) < 0.8,
        of.arrays.columns["worth"][held.instrument] * rng.uniform(0.98, 1.02, held.positions),
        np.nan,
    )
    option = universe.is_option[held.instrument]
    held = book_of(rows, entries=np.where(option, np.nan, entries))
    return Books(book=held, balances=_enough(name, held, rng, slack))


def _lots(rng: np.random.Generator, scale: float) -> float:
    return float(rng.choice((-1.0, 1.0)) * max(1.0, round(scale * rng.uniform(0.2, 1.0))))


def _enough(name: str, held: Book, rng: np.random.Generator, share: float) -> Balances:
    """Money of an account: what it needs and a slack; in dollars, with some coins besides."""
    of, names = plan(name), assets(name)
    if not names:
        return owned(of, [])
    rich = owned(of, [(n, names[0], 1e7) for n in range(len(held))])
    found = assess(of, held, balances=rich)
    slack = rng.lognormal(np.log(share), 1.2, len(held)) * rng.choice(
        (1.0, 1.0, 1.0, -0.2), len(held)
    )
    needed = np.maximum(found.maintenance_micro, 1e6) / 1e6
    price = float(rich.price[0])
    dollars = needed * (1.0 + slack) - (found.equity_micro / 1e6 - 1e7 * price)
    told = []
    for n in range(len(held)):
        coins = [one for one in names[1:] if one in of.arrays.universe.underlyings]
        left = dollars[n]
        if coins and rng.random() < 0.4:
            coin = str(rng.choice(coins))
            index = of.arrays.index[of.arrays.universe.underlyings.index(coin)]
            part = 0.5 * abs(left)
            told.append((n, coin, float(part / index)))
            left -= part
        told.append((n, names[0], round(float(left / price), 6)))
    return owned(of, told)


def steps(
    name: str, rng: np.random.Generator, count: int, *, changes: float = 0.0
) -> Iterator[AnyPlan]:
    """Compiled markets one after the other: jumps, volatilities, forwards and time move.

    With a chance of `changes` another rulebook of the package is adopted, then the first again.
    """
    seen, rules = market(), name
    for _ in range(count):
        if rng.random() < changes:
            rules = str(rng.choice(rulebook_names())) if rules == name else name
        # Now and then back to where it began, so that bands are entered again.
        start = market() if rng.random() < 0.3 else seen
        size = float(rng.choice(SIZES))
        one = bool(rng.random() < 0.5)
        names = seen.universe.underlyings
        first = str(rng.choice(names))
        factor = {n: 1.0 + rng.uniform(-size, size) for n in names if not one or n == first}
        now = moved(start, factor)
        if rng.random() < 0.3:
            share = rng.uniform(-1.0, 1.0) * min(size * float(rng.choice((0.2, 2.0))), 0.6)
            now = replace(now, vol=frozen(now.vol * (1.0 + share)))
        if rng.random() < 0.3:
            basis = 1.0 + rng.uniform(-1.0, 1.0, len(now.forward)) * size * 0.04
            mark = np.where(now.universe.is_option, now.mark, now.mark * basis)
            now = replace(now, forward=frozen(now.forward * basis), mark=frozen(mark))
        late = int(rng.choice((0, 0, 1_000, 60_000, 3_600_000)))
        seen = replace(now, as_of_ms=TimeMs(max(now.as_of_ms, seen.as_of_ms) + late))
        try:
            yield api.prepare(seen, rules, history=past(market()))
        except RulebookError:
            seen = replace(market(), as_of_ms=seen.as_of_ms)


def recomputed(of: AnyPlan, told: Books) -> tuple[np.ndarray, np.ndarray, Assessed]:
    """State and closeness of everybody, from nothing."""
    told = told.at(of)
    found = assess(
        of, told.book, balances=told.balances, orders=told.orders, modes=told.modes,
        inputs=told.inputs,
    )  # fmt: skip
    state, close = states_of(found)
    return state, close, found
