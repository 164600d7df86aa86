"""Everybody under one rulebook, laid out as arrays, so that who stands where can be worked out off
the engine's thread: at a new price, at a gapped one, under a scenario, under other rules.

`part_of` runs on the engine's thread and copies what some accounts hold; `joined` puts copies
together; everything else reads arrays that no longer change. Money is in millionths of a dollar.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import compress
from typing import Final

import numpy as np
from numpy.typing import NDArray

from solvent.account.ledger import FIRST_ACCOUNT, parts
from solvent.engine.margined import margined
from solvent.engine.standing import view
from solvent.engine.state import CLOSED, State
from solvent.errors import check
from solvent.margining.assess import Assessed, assess
from solvent.margining.compile import AnyPlan
from solvent.margining.levels.book import Balances, LevelsPlan, Orders
from solvent.margining.levels.modes import Modes
from solvent.messages import events as e
from solvent.risk import Book
from solvent.solvency.books import Books
from solvent.solvency.classes import State as Class
from solvent.units import Float64

Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]
WARNED_FROM: Final = 5
"""A warning is health below a fifth of equity, close is below a tenth: as of the watch."""
_ONE: Final = ("account", "buyer", "seller", "bidder", "member")
_ALL: Final = (e.Imported, e.Delisted, e.ExpirySettled)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What some accounts hold under a rulebook, copied from the engine.

    Attributes:
        numbers: [account] the engine's numbers, ascending. symbols: what rows of the book are.
        unlisted: [account] holds what the arrays do not know. ordered: [account] has orders that
            the figures leave out (a rulebook of scans counts them in initial margin alone).
    """

    rulebook: str
    symbols: tuple[str, ...]
    numbers: Int64
    told: Books
    unlisted: Bool
    ordered: Bool


def part_of(state: State, rulebook: str, numbers: Sequence[int]) -> Part | None:
    """Copy what accounts of one rulebook hold; None while it has no arrays. For the engine's
    thread: a thousand accounts take some ten milliseconds."""
    rules = state.rules[rulebook]
    plan = rules.plan
    if plan is None:
        return None
    chosen = sorted(numbers)
    views = [view(state, state.account(number)) for number in chosen]
    formulas = isinstance(plan, LevelsPlan)
    told = margined(state, rules, plan, views, with_orders=formulas)
    unlisted = np.zeros(len(chosen), dtype=bool)
    unlisted[told.unlisted] = True
    return Part(
        rulebook=rulebook,
        symbols=tuple(plan.arrays.universe.symbols),
        numbers=np.array(chosen, dtype=np.int64),
        told=Books(book=told.book, balances=told.balances, orders=told.orders, modes=told.modes),
        unlisted=unlisted,
        ordered=np.array([bool(one.sides) for one in views], dtype=bool),
    )


def touched(events: Iterable[e.Event]) -> set[int] | None:
    """Numbers of accounts that events may have changed; None for everybody.

    >>> touched([e.PositionChanged(17, 0, 1, 1, 1, 0), e.MarketPublished(1, 2)])
    {17}
    """
    found: set[int] = set()
    for event in events:
        if isinstance(event, e.Posted):
            found.update(parts(node)[0] for move in event.moves for node in move[:2])
        elif isinstance(event, e.Numbered):
            found.update([event.number] if event.kind == "account" else ())
        elif isinstance(event, _ALL):
            return None
        else:
            found.update(getattr(event, name, 0) for name in _ONE)
    return {number for number in found if number >= FIRST_ACCOUNT}


def owners(state: State, numbers: Iterable[int]) -> dict[str, list[int]]:
    """Rulebook → those of the accounts that are margined by it; closed ones are nobody's."""
    found: dict[str, list[int]] = {}
    for number in numbers:
        account = state.accounts[number] if number < len(state.accounts) else None
        if account is not None and account.status != CLOSED and account.rulebook in state.rules:
            found.setdefault(account.rulebook, []).append(number)
    return found


# ── putting copies together ──────────────────────────────────────────────────────────────────────


def joined(old: Part | None, new: Part | None, *, without: Iterable[int]) -> Part | None:
    """One part of two; accounts in `without` are taken from the new one alone. The old one is
    dropped whole where its rows are of other instruments."""
    if old is None or (new is not None and new.symbols != old.symbols):
        return new
    gone = np.isin(old.numbers, np.fromiter(without, dtype=np.int64))
    if new is None:
        return old if not gone.any() else _kept(old, ~gone)
    check(not np.isin(old.numbers[~gone], new.numbers).any(), "who is new is without what was")
    return _merged(_kept(old, ~gone) if gone.any() else old, new)


def _kept(part: Part, keep: Bool) -> Part:
    return replace(
        part, numbers=part.numbers[keep], told=part.told.of(np.flatnonzero(keep)),
        unlisted=part.unlisted[keep], ordered=part.ordered[keep],
    )  # fmt: skip


def _merged(one: Part, other: Part) -> Part:
    numbers = np.concatenate([one.numbers, other.numbers])
    order = np.argsort(numbers, kind="stable")
    seat = np.empty(len(order), dtype=np.int64)
    seat[order] = np.arange(len(order))
    mine, theirs = seat[: len(one.numbers)], seat[len(one.numbers) :]
    told = Books(
        book=_books(one.told.book, other.told.book, mine, theirs, order),
        balances=_balances(one.told.balances, other.told.balances, mine, theirs),
        orders=_orders(one.told.orders, other.told.orders, mine, theirs),
        modes=_modes(one.told.modes, other.told.modes),
    )
    return replace(
        one, numbers=numbers[order], told=told,
        unlisted=np.concatenate([one.unlisted, other.unlisted])[order],
        ordered=np.concatenate([one.ordered, other.ordered])[order],
    )  # fmt: skip


def _books(one: Book, other: Book, mine: Int64, theirs: Int64, order: Int64) -> Book:
    owner = np.concatenate([mine[one.account], theirs[other.account]])
    rows = np.argsort(owner, kind="stable")
    names = [*one.accounts, *other.accounts]
    columns = ("instrument", "lots", "entry_lots", "entry_value")
    return Book(
        accounts=[names[place] for place in order.tolist()],
        first=np.searchsorted(owner[rows], np.arange(len(order) + 1)).astype(np.int64),
        **{
            name: np.concatenate([getattr(one, name), getattr(other, name)])[rows]
            for name in columns
        },
    )


def _balances(one: Balances, other: Balances, mine: Int64, theirs: Int64) -> Balances:
    return Balances(
        account=np.concatenate([mine[one.account], theirs[other.account]]),
        asset=[*one.asset, *other.asset],
        amount=np.concatenate([one.amount, other.amount]),
        price=np.concatenate([one.price, other.price]),
    )


def _orders(one: Orders | None, other: Orders | None, mine: Int64, theirs: Int64) -> Orders | None:
    if one is None and other is None:
        return None
    left, right = one or Orders.none(), other or Orders.none()
    columns = ("instrument", "size", "price", "buy")
    return Orders(
        account=np.concatenate([mine[left.account], theirs[right.account]]),
        **{name: np.concatenate([getattr(left, name), getattr(right, name)]) for name in columns},
    )


def _modes(one: Modes | None, other: Modes | None) -> Modes | None:
    if one is None or other is None:
        return one or other
    names = {*one.values, *other.values}
    return Modes(
        isolated=one.isolated | other.isolated, hedged=one.hedged | other.hedged,
        values={
            name: {**one.values.get(name, {}), **other.values.get(name, {})} for name in names
        },
    )  # fmt: skip


# ── judging ──────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Judged:
    """Where a part's accounts stand on a plan.

    `state` is of `solvency.classes.State`; `close` says how near to ruin who is not there yet: 2
    with less than a tenth of equity above maintenance.
    """

    part: Part
    plan: AnyPlan
    found: Assessed

    @cached_property
    def close(self) -> NDArray[np.uint8]:
        """[account] 0, 1 or 2."""
        equity, known = self.found.equity_micro, self.found.known
        room = equity - self.found.maintenance_micro
        near = (room < -(-equity // 5)).astype(np.uint8) + (room < -(-equity // 10))
        ruined = np.where(self.found.liquidate | (room < 0), 2, near)
        return np.where(known, ruined, 0).astype(np.uint8)

    @cached_property
    def state(self) -> NDArray[np.uint8]:
        """[account] the class."""
        warned = np.where(self.close > 0, Class.WARNING, Class.HEALTHY)
        called = np.where(self.found.call, Class.CALL, warned)
        fallen = np.where(self.found.liquidate, Class.LIQUIDATE, called)
        return np.where(self.found.known, fallen, Class.UNKNOWN).astype(np.uint8)

    @property
    def names(self) -> Sequence[str]:
        """[account] its name."""
        return self.part.told.book.accounts

    @cached_property
    def notional(self) -> Float64:
        """[account] dollars at the index of all that it holds, without signs."""
        book = self.part.told.book
        per_lot = np.abs(self.plan.arrays.units["notional"])[book.instrument]
        worth = np.abs(book.lots) * np.nan_to_num(per_lot)
        return np.bincount(book.account, weights=worth, minlength=len(book)).astype(np.float64)

    def worst(self, most: int) -> Int64:
        """Places of the most urgent accounts that are not healthy, the nearest to ruin first."""
        places = np.flatnonzero((self.state != Class.HEALTHY) & self.found.known)
        equity = self.found.equity_micro[places]
        room = (equity - self.found.maintenance_micro[places]).astype(np.float64)
        share = np.where(equity > 0, room / np.maximum(equity, 1), room)
        rank = -self.state[places].astype(np.int64)
        return places[np.lexsort((places, share, equity > 0, rank))][:most]


def judged(part: Part, plan: AnyPlan, *, threads: int = 1) -> Judged:
    """Work out where everybody of a part stands on a plan: 100,000 accounts in a tenth of a
    second. The plan must be of the instruments that the part's rows are of."""
    check(tuple(plan.arrays.universe.symbols) == part.symbols, "a plan of the part's instruments")
    told = part.told.at(plan) if isinstance(plan, LevelsPlan) else part.told
    found = assess(
        plan, told.book, balances=told.balances, orders=told.orders, modes=told.modes,
        threads=threads,
    )  # fmt: skip
    if part.unlisted.any():
        known = found.known & ~part.unlisted
        found = replace(
            found, known=known, call=found.call & known, liquidate=found.liquidate & known
        )
    return Judged(part, plan, found)


def chosen(names: Sequence[str], keep: Bool) -> list[str]:
    """Names where a column is true."""
    return list(compress(names, keep.tolist()))
