"""Who is stressed: accounts of a book or of a venue, with what is asked of them on any market.

A subject is laid out once; after that each market that it is put on is repriced under each rulebook
and everybody is margined anew (`margining.assess`): what a stress says of an account is what
margining says on the shocked market, to the unit. Money is in millionths of a dollar.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solvent import api
from solvent.account.ledger import FIRST_ACCOUNT, GENERAL, INSURANCE, node
from solvent.engine.margined import margined
from solvent.engine.standing import has_risk, view
from solvent.engine.state import CLOSED, State
from solvent.errors import BadInput, Problem, Reject, SolventError, check
from solvent.feeds.inputs import read_inputs
from solvent.journal import Journal
from solvent.lab.stress.shock import Shock, shocked, time_left
from solvent.margining.assess import Assessed, assess
from solvent.margining.compile import AnyPlan, AnyRulebook
from solvent.margining.levels.book import Balances, LevelsPlan
from solvent.margining.levels.held import priced
from solvent.market import Snapshot
from solvent.market.moved import restricted
from solvent.market.wire import decode_snapshot
from solvent.messages.codec import decode_command
from solvent.messages.commands import PublishMarket
from solvent.risk import Book
from solvent.scenarios import JointShocks
from solvent.solvency.books import Books
from solvent.units import DOLLARS, MICRO, Float64

Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]
_COLUMNS = (
    "equity_micro", "initial_micro", "maintenance_micro", "known", "call", "liquidate",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Stand:
    """Where accounts stand on one market; axis: account. Money in millionths of a dollar, 0 where
    an account is not `known`. `call` and `liquidate` are the rulebook's own conditions."""

    equity_micro: Int64
    initial_micro: Int64
    maintenance_micro: Int64
    known: Bool
    call: Bool
    liquidate: Bool

    def __len__(self) -> int:
        return len(self.known)

    @property
    def shortfall_micro(self) -> Int64:
        """[account] what equity is below nothing."""
        return np.maximum(-self.equity_micro, 0)

    @property
    def words(self) -> NDArray[np.object_]:
        """[account] healthy, call, liquidate or unknown."""
        found = np.full(len(self), "healthy", dtype=object)
        found[self.call] = "call"
        found[self.liquidate] = "liquidate"
        found[~self.known] = "unknown"
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Accounts of one rulebook.

    Attributes:
        books: what they hold, rows of the subject's market. unlisted: [account] holds what that
            market does not have, so that it is not known. joint: its joint scenarios, by set.
    """

    rulebook: AnyRulebook
    books: Books
    unlisted: Bool
    joint: Mapping[str, JointShocks] = field(default_factory=dict)

    def plan(self, market: Snapshot) -> AnyPlan:
        """Its rulebook on a market."""
        return api.prepare(market, self.rulebook, joint=self.joint or None)

    def at(self, market: Snapshot, worth: Mapping[str, float]) -> Assessed:
        """Where its accounts stand on a market on which assets count for less."""
        plan = self.plan(market)
        told = worn(self.books, worth)
        if isinstance(plan, LevelsPlan):
            told = told.at(plan)
        found = assess(
            plan, told.book, balances=told.balances, orders=told.orders, modes=told.modes,
            inputs=told.inputs,
        )  # fmt: skip
        if not self.unlisted.any():
            return found
        known = found.known & ~self.unlisted
        return replace(
            found, known=known, call=found.call & known, liquidate=found.liquidate & known
        )


def worn(books: Books, worth: Mapping[str, float]) -> Books:
    """Books whose balances count for less by relative changes of what assets are worth."""
    if not any(asset in worth for asset in books.balances.asset):
        return books
    told = books.balances
    left = np.array([1.0 + worth.get(asset, 0.0) for asset in told.asset])
    return replace(books, balances=replace(told, amount=told.amount * left))


@dataclass(frozen=True)
class Subject:
    """Accounts, the market they are on, and the fund behind them.

    Attributes:
        groups: accounts by rulebook, in the order of `names`.
        fund_micro: what covers shortfalls. notes: what had to be assumed.
        members: account → member that answers for it; itself where none is told.
        universe: underlyings of the whole market that it was laid out on, of which `market` may
            have but those that matter to it: a scenario is the same whoever is asked about.
    """

    market: Snapshot
    groups: tuple[Group, ...]
    fund_micro: int = 0
    notes: tuple[str, ...] = ()
    members: Mapping[str, str] = field(default_factory=dict)
    pause: Callable[[], object] | None = None
    universe: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.universe:
            object.__setattr__(self, "universe", tuple(self.market.universe.underlyings))
        check(set(self.underlyings) <= set(self.universe), "its market is of the whole",
              self.universe)  # fmt: skip

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Accounts."""
        return tuple(name for one in self.groups for name in one.books.book.accounts)

    @property
    def underlyings(self) -> tuple[str, ...]:
        """What can move of what is held or owned."""
        return tuple(self.market.universe.underlyings)

    @cached_property
    def held(self) -> Int64:
        """Rows of the market that anybody holds."""
        rows = [one.books.book.instrument for one in self.groups]
        return np.unique(np.concatenate(rows)) if rows else np.zeros(0, dtype=np.int64)

    @cached_property
    def now(self) -> Stand:
        """Where everybody stands without a shock."""
        return self.on(self.market)

    def hours(self, shock: Shock) -> float:
        """Time that passes under a shock: its own, or less where a held contract expires."""
        return time_left(self.market, self.held, shock.hours) if shock.hours else 0.0

    def shocked(self, shock: Shock) -> Snapshot:
        """Its market after a shock."""
        return shocked(self.market, shock, hours=self.hours(shock))

    def at(self, shock: Shock) -> Stand:
        """Where everybody stands after a shock: repriced, margined anew."""
        return self.on(self.shocked(shock), shock.worth)

    def on(self, market: Snapshot, worth: Mapping[str, float] | None = None) -> Stand:
        """Where everybody stands on another market of the same instruments."""
        found = []
        for one in self.groups:
            if self.pause is not None:
                self.pause()
            found.append(one.at(market, worth or {}))
        joined = {
            name: np.concatenate([getattr(one, name) for one in found]) if found else np.zeros(0)
            for name in _COLUMNS
        }
        known = joined["known"].astype(bool)
        money = {name: np.where(known, joined[name], 0) for name in _COLUMNS if "micro" in name}
        return Stand(
            **{name: one.astype(np.int64) for name, one in money.items()}, known=known,
            call=joined["call"].astype(bool), liquidate=joined["liquidate"].astype(bool),
        )  # fmt: skip

    def only(self, accounts: Sequence[str]) -> Subject:
        """Some accounts alone. Raises BadInput for a name that is not there."""
        wanted = set(accounts)
        if absent := sorted(wanted - set(self.names)):
            raise BadInput(_no_account(absent[0], self.names))
        groups = []
        for one in self.groups:
            mine = [k for k, name in enumerate(one.books.book.accounts) if name in wanted]
            if mine:
                who = np.array(mine, dtype=np.int64)
                groups.append(replace(one, books=one.books.of(who), unlisted=one.unlisted[who]))
        return replace(self, groups=tuple(groups)).lean()

    def lean(self) -> Subject:
        """The same on a market of what is held or ordered, and of coins that are owned, alone."""
        rows = set[int]().union(*(_needed(self.market, one.books) for one in self.groups))
        small = restricted(self.market, sorted(rows) or [0])
        place = _places(self.market, small)
        groups = []
        for one in self.groups:
            book, orders = one.books.book, one.books.orders
            books = replace(
                one.books,
                book=replace(book, instrument=place[book.instrument].astype(np.int32)),
                orders=None if orders is None
                else replace(orders, instrument=place[orders.instrument]),
            )  # fmt: skip
            groups.append(replace(one, books=books))
        return replace(self, market=small, groups=tuple(groups))


def _no_account(name: str, known: Sequence[str]) -> Problem:
    first = repr(known[0]) if known else "none"
    return Problem(
        code=Reject.ACCOUNT_EMPTY, source="accounts", found=repr(name),
        expected=f"one of {len(known)} accounts, such as {first}",
    )  # fmt: skip


# ── a book ───────────────────────────────────────────────────────────────────────────────────────


def book_subject(
    positions: Any, market: Snapshot, rulebook: api.RulebookLike = api.DEFAULT_RULEBOOK, *,
    collateral: Any = None, orders: Any = None, modes: Any = None, inputs: Any = None,
    joint: api.Joint = None, history: api.HistoryLike = None, fund_micro: int = 0,
    members: Mapping[str, str] | None = None, pause: Callable[[], object] | None = None,
) -> Subject:  # fmt: skip
    """Accounts of files or frames, as `sv.margin` takes them, under one rulebook.

    Only instruments that are held are repriced. A position whose entry price is not told is entered
    at the mark of now, and a note says so: it would else never lose. Raises BadInput for what
    `sv.margin` does not take.
    """
    check(fund_micro >= 0, "a fund holds something or nothing", fund_micro)
    base = api.prepare(market, rulebook, joint=joint, history=history)
    told = api.read_book(positions, collateral, orders, modes, base, skip_bad=False)
    _check(positions, base, collateral, orders, modes, inputs)
    entered, count = entered_at_mark(told.book, base)
    held = Books(
        book=entered, balances=_balances(told, base), orders=told.orders, modes=told.modes,
        inputs=_inputs(inputs),
    )  # fmt: skip
    group = Group(
        rulebook=base.rulebook, books=held, unlisted=np.zeros(len(entered), dtype=bool),
        joint=api.joint_shocks(base.rulebook, market, joint=joint, history=history),
    )  # fmt: skip
    notes = []
    if count:
        notes.append(f"{count} positions without an entry price are entered at the mark of now")
    if told.balances is None:
        notes.append("no collateral was told: equity is what positions gain and lose")
    if strangers := sorted(set(members or {}) - set(entered.accounts)):
        few = ", ".join(strangers[:3]) + (" …" if len(strangers) > 3 else "")
        notes.append(f"{len(strangers)} accounts have a member and no position: {few}")
    whole = Subject(
        market=market, groups=(group,), fund_micro=fund_micro, notes=tuple(notes),
        members=members or {}, pause=pause,
    )  # fmt: skip
    return whole.lean()


def _check(
    positions: Any, plan: AnyPlan, collateral: Any, orders: Any, modes: Any, inputs: Any
) -> None:
    """What margining would refuse is refused here too, in its words."""
    api.margin(
        positions, plan, collateral=collateral, orders=orders, modes=modes, inputs=inputs, threads=1
    )


def _inputs(inputs: Any) -> Mapping[str, Any] | None:
    return inputs if inputs is None or isinstance(inputs, Mapping) else read_inputs(inputs)


def _balances(told: api.ReadBook, plan: AnyPlan) -> Balances:
    if told.balances is None:
        return Balances.none()
    owned = told.balances
    return priced(plan.arrays, account=owned.account, asset=owned.asset, amount=owned.amount)


def _needed(market: Snapshot, held: Books) -> set[int]:
    """Rows of what is held or ordered, and one of each coin that is owned."""
    universe = market.universe
    wanted = set(held.book.instrument.tolist())
    if held.orders is not None:
        wanted |= set(held.orders.instrument.tolist())
    for asset in dict.fromkeys(held.balances.asset):
        if asset in universe.underlyings:
            code = universe.underlyings.index(asset)
            wanted.add(int(np.flatnonzero(universe.underlying == code)[0]))
    return wanted


def _places(whole: Snapshot, part: Snapshot) -> Int64:
    """Row of the whole market → row of a part of it, −1 for what is not in it."""
    found = np.full(len(whole.universe), -1, dtype=np.int64)
    for row, symbol in enumerate(part.universe.symbols):
        at = whole.universe.row(symbol)
        check(at is not None, "a part is of the whole", symbol)
        found[at] = row
    return found


def entered_at_mark(book: Book, plan: AnyPlan) -> tuple[Book, int]:
    """The book with positions whose entry is not told entered at the plan's marks; how many."""
    arrays = plan.arrays
    rest = book.lots - book.entry_lots
    lacking = (rest != 0.0) & arrays.usable[book.instrument]
    per_lot = arrays.units["worth"][book.instrument] * arrays.scale["value"][book.instrument]
    cost: Float64 = np.where(lacking, np.rint(rest * per_lot), 0.0)
    counted = lacking & ~arrays.universe.is_option[book.instrument]
    return replace(
        book, entry_lots=np.where(lacking, book.lots, book.entry_lots),
        entry_value=book.entry_value + cost,
    ), int(counted.sum())  # fmt: skip


# ── a venue ──────────────────────────────────────────────────────────────────────────────────────


def venue_subject(
    state: State, market: Snapshot, *, fund_micro: int | None = None,
    joint: Mapping[str, Mapping[str, JointShocks]] | None = None,
    pause: Callable[[], object] | None = None,
) -> Subject:  # fmt: skip
    """Every account with risk of an engine's state, each under its own rulebook.

    Accounts are laid out on `market`, which the venue published last (its snapshot's contracts are
    the engine's). The fund is the venue's insurance fund at this market unless told. `joint`:
    rulebook → its joint scenarios, for rulebooks that take some. A subaccount's member is its
    parent. Raises SolventError for a venue whose rulebook rules contracts by themselves.
    """
    if state.house.contract is not None:
        raise SolventError(
            "stress: expected rulebooks that margin accounts as a whole, found one that margins "
            "each contract by itself"
        )
    by_rulebook: dict[str, list[Any]] = {}
    for account in state.accounts[FIRST_ACCOUNT:]:
        if account is None or account.status == CLOSED or account.rulebook not in state.rules:
            continue
        seen = view(state, account)
        if has_risk(seen):
            by_rulebook.setdefault(account.rulebook, []).append(seen)
    groups = []
    for name, views in by_rulebook.items():
        shocks = (joint or {}).get(name, {})
        groups.append(_of_rulebook(state, name, views, market, shocks))
    total = fund_of(state, market) if fund_micro is None else fund_micro
    return Subject(
        market=market, groups=tuple(groups), fund_micro=total, members=_parents(state), pause=pause
    )


def _of_rulebook(
    state: State, name: str, views: Sequence[Any], market: Snapshot,
    joint: Mapping[str, JointShocks],
) -> Group:  # fmt: skip
    """Accounts of a rulebook, their rows those of a market's plan."""
    rules = state.rules[name]
    plan = api.prepare(market, rules.rulebook, joint=joint or None)
    at = {symbol: row for row, symbol in enumerate(market.universe.symbols)}
    rows = [at.get(one.listing.symbol, -1) for one in state.contracts]
    here = replace(rules, plan=plan, arrays=plan.arrays, row_of_contract=rows, found={})
    seen = copy.copy(state)
    seen.rules = {**state.rules, name: here}
    told = margined(seen, here, plan, views, with_orders=isinstance(plan, LevelsPlan))
    unlisted = np.zeros(len(views), dtype=bool)
    unlisted[told.unlisted] = True
    return Group(
        rulebook=rules.rulebook,
        books=Books(
            book=told.book, balances=told.balances, orders=told.orders, modes=told.modes,
            inputs=told.inputs,
        ),
        unlisted=unlisted, joint=joint,
    )  # fmt: skip


def fund_of(state: State, market: Snapshot) -> int:
    """The insurance fund in millionths of a dollar at a market's prices, rounded down; an asset
    without a price counts as nothing."""
    total = 0
    for number, (name, decimals) in enumerate(state.assets):
        amount = state.ledger.balance(node(INSURANCE, GENERAL, number))
        price = market.price_of(name)
        if price is None:
            price = 1.0 if name in DOLLARS else 0.0
        total += int(np.floor(amount / 10**decimals * price * MICRO))
    return max(total, 0)


def _parents(state: State) -> dict[str, str]:
    found = {}
    for account in state.accounts[FIRST_ACCOUNT:]:
        if account is not None and account.parent:
            found[account.name] = state.account(account.parent).name
    return found


def last_market(journal: Journal, state: State) -> Snapshot:
    """The snapshot that a journal's venue published last. Raises SolventError where none is."""
    known = {one.listing.symbol: one.instrument for one in state.contracts}
    until, step = journal.head.sequence, 1_000
    while until > 0:
        after, found = max(0, until - step), b""
        for row in journal.read(after=after, until=until, verify=False):
            if row.kind == "publish_market":
                command = decode_command(row.command)
                if isinstance(command, PublishMarket) and command.snapshot:
                    found = command.snapshot
        if found:
            return decode_snapshot(found, known)
        until, step = after, step * 4
    raise SolventError(f"{journal.name}: expected a published market with its snapshot, found none")
