"""The watch: every account classified after every change, touching as few as is proved enough.

Three ways, equal in every verdict of the guarded breach, and tested to be:

| way | a tick recomputes | it costs |
|---|---|---|
| bands | accounts that are not proved safe at the new price | `upkeep`, a slice at a time |
| vectors kept | holders of rows that changed, by adding what changed | memory for every vector |
| neither | every account that holds something at the underlying | nothing besides |

The guarded breach is `call` (the default) or `liquidate`. Whoever is in it, or has no band, is
recomputed at each tick of what it holds. For who is proved safe the figures, and with them the
states short of the guarded one, are those of `figures_ms`, no older than `age_ms` as long as
`upkeep` is called as it asks; `sweep` proves that nobody was left out.

Times are told by the caller.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from solvent.errors import check
from solvent.limits import EXACT_MAX, PRICE_MAX
from solvent.solvency.bands import Bands, Guard
from solvent.solvency.bounds import Allowance
from solvent.solvency.classes import Figures, Ratios, State
from solvent.solvency.holdings import Holdings, check_trades
from solvent.solvency.rows import Market, Scenes, Terms, changed_of, exact_rows
from solvent.solvency.vectors import Vectors
from solvent.units import Float64

Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
Column = TypeVar("Column", bound=NDArray[Any])

WIDTHS: Final = (0.0025, 0.01, 0.02, 0.05, 0.1)
RENEW_SHARE: Final = 0.5
"""An epoch is renewed when it has used up this share of what it allows."""

RENEWALS_AT_ONCE: Final = 4
"""Epochs that one call of `upkeep` renews at most, so that none takes long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """New numbers of one underlying; columns are by its instruments, None where they are as they
    were."""

    node: int
    as_of_ms: int
    price: float
    vol: Float64 | None = None
    ratio: Float64 | None = None
    usable: NDArray[np.bool_] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """What a mark did: accounts that hold something at the underlying, and how many of them were
    proved safe or recomputed; rows that changed.

    Of several marks at once `touching` and `skipped` count an account at each underlying,
    `recomputed` counts it once.
    """

    touching: int
    skipped: int
    recomputed: int
    rows_changed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """That nobody was left out: accounts by the counts of states, and the oldest figures."""

    accounts: int
    counted: int
    oldest_ms: int
    now_ms: int
    age_ms: int

    @property
    def complete(self) -> bool:
        """Every account has a state whose figures are no older than the limit."""
        return self.counted == self.accounts and self.now_ms - self.oldest_ms <= self.age_ms


class Watch:
    """A watch over some holdings, which are its own from here on: trades go through it.

    Args:
        cash: [account] quanta of the numeraire. guard: the state that bands rule out.
        bands: safe bands are kept. keep: vectors are kept.
        age_ms: how old figures may become. threads: for passes over many accounts.
    """

    def __init__(
        self, held: Holdings, terms: Terms, scenes: Scenes, ratios: Ratios, market: Market,
        cash: Int64, *, age_ms: int, guard: State = State.CALL, bands: bool = True,
        keep: bool = False, widths: Sequence[float] = WIDTHS, allowance: Allowance | None = None,
        rulebook: Int32 | None = None, threads: int = 1,
    ) -> None:  # fmt: skip
        check(not (bands and keep), "bands or kept vectors")
        check(len(cash) == held.accounts, "an amount of cash an account", len(cash))
        check(guard in (State.CALL, State.LIQUIDATE), "a breach to guard against", guard)
        self.held, self.terms, self.scenes, self.ratios = held, terms, scenes, ratios
        self.market, self.threads, self.age_ms = market, threads, age_ms
        self.cash = np.array(cash, np.int64)
        self.of_node = [np.flatnonzero(terms.node == node) for node in range(held.nodes)]
        self._ways = _Ways(bands, keep, guard, widths, allowance or Allowance())
        self._gross = float(held.store.gross[: held.rows].max(initial=0.0))
        self._longest = int(np.bincount(held.store.account[: held.rows]).max(initial=0))
        self.figures = Figures(accounts=held.accounts, nodes=held.nodes, rulebook=rulebook)
        self._marked = np.zeros(held.accounts, dtype=bool)
        self._everyone = np.arange(held.accounts, dtype=np.int32)
        self._begin()

    def _begin(self) -> None:
        """Everything from nothing: rows, vectors, bands and verdicts."""
        everything, ways = np.arange(len(self.terms), dtype=np.int64), self._ways
        self.matrix, self.largest = exact_rows(self.terms, self.market, self.scenes, everything)
        self.vectors = Vectors(self.held, self.matrix) if ways.keep else None
        self.bands = None
        if ways.bands:
            self.bands = Bands(
                self.held, self.terms, self.scenes, self.market, widths=ways.widths,
                allowance=ways.allowance, guard=_guard(ways.guard, self.ratios, self.scenes),
            )  # fmt: skip
        self._pending: dict[int, int] = {}
        self._ticked: set[int] = set()
        self._rows_ms = np.full(self.held.nodes, self.market.as_of_ms, np.int64)
        self.judge(self._everyone)
        self.figures.enter(self.held, self._everyone)
        self._prove(self._everyone)
        self._cursor, self._slices = 0, deque([(self.held.accounts, self.market.as_of_ms)])

    # ── what happens ─────────────────────────────────────────────────────────────────────────

    def tick(self, mark: Mark) -> Tick:
        """Take new numbers of an underlying, and bring every verdict up to them."""
        return self.ticks([mark])

    def ticks(self, marks: Sequence[Mark]) -> Tick:
        """The same for marks of different underlyings at once, which costs less than one by one."""
        nodes = [mark.node for mark in marks]
        check(len(set(nodes)) == len(nodes) > 0, "one mark an underlying", nodes)
        which = np.concatenate([self.of_node[node] for node in nodes])
        before, were = self.matrix[which], self.largest[which]
        market = self.market
        for mark in marks:
            market = _after(market, mark, self.of_node[mark.node])
        rows, largest = exact_rows(self.terms, market, self.scenes, which)
        # From here on nothing is refused.
        self.market = market
        self._rows_ms[nodes] = market.as_of_ms
        changed = changed_of(before, rows)
        self.matrix[which], self.largest[which] = rows, largest
        turned = which[np.isinf(were) != np.isinf(largest)]
        touching = sum(self.figures.touching(node) for node in nodes)
        if self.bands is not None:
            outside, count = self._recompute_outside(self.bands, nodes)
            skipped = touching - outside
        else:
            none = np.zeros(0, np.int32)
            if self.vectors is not None:
                moved = self.vectors.moved(self.held, which, before, rows, self._marked)
                who = self._and_holders(moved, turned)
            else:
                who = self._and_holders(none, which)
            self.recompute(who)
            count = len(who)
            skipped = max(touching - count, 0)
        return Tick(
            touching=touching, skipped=skipped, recomputed=count, rows_changed=int(changed.sum())
        )

    def trade(self, *, account: Int32, instrument: Int32, lots: Float64, cash: Int64) -> None:
        """Take trades, and what each moves in its account's cash; every one counts, in order."""
        from solvent.solvency import compiled

        check_trades(self.held, account, instrument, lots)
        check(len(cash) == len(lots), "an amount of cash a trade", len(cash))
        who = np.unique(account).astype(np.int32)
        self.figures.leave(self.held, who)
        self.held.trade(account=account, instrument=instrument, lots=lots)
        np.add.at(self.cash, account, cash)
        gross, longest = compiled.fullest(self.held.store, who)
        self._gross, self._longest = max(self._gross, gross), max(self._longest, longest)
        if self.vectors is not None:
            self.vectors.traded(
                self.held, self.matrix, account=account, instrument=instrument, lots=lots
            )
        self.judge(who)
        self.figures.enter(self.held, who)
        self._prove(who)

    def pay(self, *, account: Int32, cash: Int64) -> None:
        """Deposits, withdrawals, funding, fees: what moves cash and nothing else."""
        who = np.unique(account).astype(np.int32)
        np.add.at(self.cash, account, cash)
        self.recompute(who)
        self._prove(who)

    def fund(self, *, instrument: int, quanta_per_lot: int) -> None:
        """Funding: every long pays so much per lot, every short receives it (or less than nothing).

        Bands stay in force while what was paid is within their allowance; equity that funding
        changed is in the figures when an account is next recomputed.
        """
        from solvent.solvency import compiled

        compiled.pay(self.held.store, instrument, quanta_per_lot, self.cash)
        if self.bands is None:
            none = np.zeros(0, np.int32)
            who = self._and_holders(none, np.array([instrument], np.int64))
            self.recompute(who)
            return
        self.bands.pay(instrument, quanta_per_lot)
        node = int(self.terms.node[instrument])
        self._recompute_outside(self.bands, [node])

    def rule(
        self, *, terms: Terms | None = None, scenes: Scenes | None = None,
        ratios: Ratios | None = None,
    ) -> None:  # fmt: skip
        """Other contracts' terms, scenarios or ratios from now on: everything from nothing."""
        self.figures.leave(self.held, self._everyone)
        self.terms, self.scenes = terms or self.terms, scenes or self.scenes
        self.ratios = ratios or self.ratios
        same = np.array_equal(self.terms.node, self.held.store.node_of)
        check(same, "an instrument keeps its node")
        self._begin()

    # ── what is due ──────────────────────────────────────────────────────────────────────────

    def upkeep(self, accounts: int) -> int:
        """Make up to so many accounts' figures and bands new; how many were.

        First those whose underlying has a new epoch, then the oldest. `owed` says how many keep
        within `age_ms`.
        """
        left = accounts
        if self.bands is not None:
            self._renew_due(self.bands)
            for node in list(self._pending):
                if left <= 0:
                    break
                left -= self._move(self.bands, node, left)
        who = self._oldest(max(left, 0))
        if len(who):
            self.recompute(who)
            self._prove(who)
            self._slices.append((len(who), self.market.as_of_ms))
        return accounts - left + len(who)

    def owed(self, *, elapsed_ms: int) -> int:
        """Accounts to make new in so much time so that none is older than `age_ms`."""
        return -(-self.held.accounts * elapsed_ms // max(self.age_ms, 1))

    def sweep(self) -> Sweep:
        """The proof that every account has a state, and of what age."""
        return Sweep(
            accounts=self.held.accounts,
            counted=sum(self.figures.count(state) for state in State),
            oldest_ms=self._slices[0][1],
            now_ms=self.market.as_of_ms,
            age_ms=self.age_ms,
        )

    @property
    def guard(self) -> State:
        """The state that bands rule out."""
        return self._ways.guard

    @property
    def nbytes(self) -> int:
        """Memory of holdings, vectors and bands, without the market's rows."""
        parts = (self.held, self.vectors, self.bands, self.figures)
        return self.cash.nbytes + sum(part.nbytes for part in parts if part is not None)

    def _renew_due(self, bands: Bands) -> None:
        # An underlying that did not tick since has lost nothing that anybody was told of.
        left = RENEWALS_AT_ONCE
        for node in sorted(self._ticked):
            if left == 0:
                return
            self._ticked.discard(node)
            lost = bands.needed_now[node] == 255
            if node in self._pending and not lost:
                continue
            if lost or bands.due(node, self.market, share=RENEW_SHARE):
                # Lines are of the moment of the rows that they bound, which may be past.
                seen = replace(self.market, as_of_ms=int(self._rows_ms[node]))
                bands.renew(self.held, node, seen)
                self._pending[node] = 0
                left -= 1

    def _move(self, bands: Bands, node: int, limit: int) -> int:
        """Bring accounts of old epochs of an underlying into the new one."""
        rows, start = bands.stale(node, limit, self._pending[node])
        who = self.owners(rows)
        self.recompute(who)
        self._prove(who)
        if start < 0:
            del self._pending[node]
        else:
            self._pending[node] = start
        return len(who)

    def _oldest(self, count: int) -> Int32:
        """The next accounts in turn; what was made new longest ago comes first."""
        count = min(count, self.held.accounts)
        who = self._everyone[self._cursor : self._cursor + count]
        self._cursor = (self._cursor + len(who)) % max(self.held.accounts, 1)
        left = len(who)
        while left:
            size, at_ms = self._slices.popleft()
            if size > left:
                self._slices.appendleft((size - left, at_ms))
            left -= min(size, left)
        return who

    # ── how ──────────────────────────────────────────────────────────────────────────────────

    def owners(self, rows: Int32) -> Int32:
        """The accounts of some rows, each once."""
        from solvent.solvency import compiled

        touched = np.empty(len(rows), np.int32)
        found = compiled.owners(self.held.store, rows, self._marked, touched, 0)
        who = touched[:found]
        self._marked[who] = False
        return who

    def _and_holders(self, who: Int32, instruments: Int64) -> Int32:
        """`who`, which is marked, and the holders of some instruments, each once; marks cleared."""
        from solvent.solvency import compiled

        touched = np.empty(self.held.accounts, np.int32)
        touched[: len(who)] = who
        found = compiled.holders(self.held.store, instruments, self._marked, touched[len(who) :])
        both = touched[: len(who) + found]
        self._marked[both] = False
        return both

    def _recompute_outside(self, bands: Bands, nodes: Sequence[int]) -> tuple[int, int]:
        """Recompute who is not proved safe at some underlyings; they are void at every other too.

        How many rows were outside, and how many accounts that is.
        """
        rows = np.concatenate([bands.outside(self.held, node, self.market) for node in nodes])
        who = self.owners(rows)
        bands.void(self.held, who)
        self.recompute(who)
        self._ticked.update(nodes)
        return len(rows), len(who)

    def recompute(self, who: Int32) -> None:
        """Figures and states of some accounts from the rows of now."""
        self.figures.leave(self.held, who)
        self.judge(who)
        self.figures.enter(self.held, who)

    def judge(self, who: Int32) -> None:
        """The same without the counts, which are the caller's."""
        # An account's sums are inside when its longest chain of the fullest rows would be.
        crude = self._gross * self._longest * float(self.largest.max(initial=0.0))
        self.figures.judge(
            self.held, self.matrix, self.scenes, self.ratios, self.cash, who,
            at_ms=self.market.as_of_ms, threads=self.threads,
            kept=None if self.vectors is None else self.vectors.sums,
            largest=None if crude < 0.99 * EXACT_MAX else self.largest,
        )  # fmt: skip

    def _prove(self, who: Int32) -> None:
        if self.bands is not None:
            self.bands.follow(self.held)
            self.bands.refresh(self.held, self.cash, who, threads=self.threads)


@dataclass(frozen=True, slots=True)
class _Ways:
    bands: bool
    keep: bool
    guard: State
    widths: Sequence[float]
    allowance: Allowance


def _guard(state: State, ratios: Ratios, scenes: Scenes) -> Guard:
    if state is State.CALL:
        return Guard(ppm=ratios.initial_ppm, scenarios=len(scenes))
    return Guard(ppm=ratios.maintenance_ppm, scenarios=scenes.maintenance)


def _after(market: Market, mark: Mark, which: Int64) -> Market:
    check(mark.as_of_ms >= market.as_of_ms, "time goes forward", mark.as_of_ms)
    check(0.0 < mark.price < PRICE_MAX, "a price is a positive number", mark.price)
    price = market.price.copy()
    price[mark.node] = mark.price

    def put(column: Column, told: Column | None) -> Column:
        if told is None:
            return column
        column = column.copy()
        column[which] = told
        return column

    return replace(
        market, as_of_ms=mark.as_of_ms, price=price, vol=put(market.vol, mark.vol),
        ratio=put(market.ratio, mark.ratio), usable=put(market.usable, mark.usable),
    )  # fmt: skip
