"""Synthetic venues of any size for the watch, and what it does on them: ticks, floods, errors.

Positions are geometric with mean 10; an account trades one to three underlyings, the first of which
45 % touch; inside an underlying instruments are chosen by Zipf's law, or uniformly, and numbered by
how many hold them. The slack over maintenance margin is lognormal with median 1.5 and sigma 1.2 of
it: made up, and it sets how many accounts a band can skip. Clocks are the caller's.
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, Final

import numpy as np

from solvent.errors import check
from solvent.solvency.bounds import Allowance
from solvent.solvency.classes import Figures, Ratios, State
from solvent.solvency.holdings import Holdings, popular_first
from solvent.solvency.inbox import Inbox, Trades
from solvent.solvency.latency import Latencies
from solvent.solvency.rows import Market, Scenes, Terms, exact_rows
from solvent.solvency.watch import Mark, Tick, Watch
from solvent.units import Float64

Array = np.ndarray[Any, Any]
Clock = Callable[[], int]
"""Nanoseconds that never go back."""

LINEAR = 10
"""Futures of an underlying; the rest are options."""
MOVES, VOLS = 16, 4
WIDTHS = (0.0025, 0.01, 0.02, 0.05)
ALLOWED = Allowance(vol=0.002, time_ms=600_000, basis=2e-5)
START_MS, YEAR_MS = 1_760_000_000_000, 365 * 86_400_000
TOUCHING = 0.45
STRANGERS: Final = 0.2
"""Share of a flood's traders who did not hold what they trade."""


@dataclass(frozen=True)
class Venue:
    """Contracts, a market and a book."""

    terms: Terms
    market: Market
    scenes: Scenes
    ratios: Ratios
    first: Array
    instrument: Array
    lots: Array

    @classmethod
    def make(
        cls, *, accounts: int, underlyings: int = 10, instruments: int = 5_000,
        uniform: bool = False, most: int = 3, seed: int = 6,
    ) -> Venue:  # fmt: skip
        """A venue from a seed; an account trades `most` underlyings at most, of three."""
        check(underlyings >= 1 and instruments >= underlyings, "an instrument an underlying")
        rng = np.random.default_rng(seed)
        each = instruments // underlyings
        terms, market = _market(rng, underlyings, each)
        count = rng.geometric(0.1, accounts)
        first = np.concatenate([[0], np.cumsum(count)]).astype(np.int64)
        total = int(first[-1])
        owner = np.repeat(np.arange(accounts), count)
        node = _nodes(rng, accounts, underlyings, most)[owner, rng.integers(0, 3, total)]
        weight = np.ones(each) if uniform else 1.0 / np.arange(1, each + 1)
        rank = rng.choice(each, total, p=weight / weight.sum())
        place = np.array([rng.permutation(each) for _ in range(underlyings)])
        scenes = Scenes(
            move=np.repeat(np.linspace(-0.15, 0.15, MOVES), VOLS),
            vol_factor=np.tile([0.7, 0.9, 1.1, 1.4], MOVES), maintenance=MOVES * VOLS,
        )  # fmt: skip
        made = cls(
            terms=terms, market=market, scenes=scenes,
            ratios=Ratios(initial_ppm=1_250_000, maintenance_ppm=1_000_000),
            first=first, instrument=(node * each + place[node, rank]).astype(np.int32),
            lots=rng.integers(-100, 101, total).astype(np.float64),
        )  # fmt: skip
        return made.renumbered(popular_first(made.instrument, terms.node))

    def renumbered(self, order: Array) -> Venue:
        """The same with instruments in this order: [new number] → number until now."""
        number = np.empty(len(order), np.int32)
        number[order] = np.arange(len(order), dtype=np.int32)
        terms = Terms(**{one.name: getattr(self.terms, one.name)[order] for one in fields(Terms)})
        by_instrument = ("ratio", "vol", "usable")
        market = replace(
            self.market, **{name: getattr(self.market, name)[order] for name in by_instrument}
        )
        return replace(self, terms=terms, market=market, instrument=number[self.instrument])

    def holdings(self) -> Holdings:
        """The book, to be changed by whoever asks."""
        return Holdings.of(
            first=self.first, instrument=self.instrument, lots=self.lots, node_of=self.terms.node
        )

    def watch(
        self, *, bands: bool = True, keep: bool = False, threads: int = 1, age_ms: int = 60_000,
        allowance: Allowance = ALLOWED,
    ) -> Watch:  # fmt: skip
        """A watch whose accounts have the slack of the law."""
        held = self.holdings()
        accounts = held.accounts
        figures = Figures(accounts=accounts, nodes=held.nodes)
        every = np.arange(len(self.terms), dtype=np.int64)
        matrix, _ = exact_rows(self.terms, self.market, self.scenes, every)
        nothing, everyone = np.zeros(accounts, np.int64), np.arange(accounts, dtype=np.int32)
        figures.judge(
            held, matrix, self.scenes, self.ratios, nothing, everyone, at_ms=0, threads=threads
        )
        rng = np.random.default_rng(7)
        slack = rng.lognormal(np.log(1.5), 1.2, accounts) * figures.maintenance
        cash = -figures.equity + figures.maintenance + np.rint(slack).astype(np.int64)
        return Watch(
            held, self.terms, self.scenes, self.ratios, self.market, cash, age_ms=age_ms,
            guard=State.LIQUIDATE, bands=bands, keep=keep, widths=WIDTHS, threads=threads,
            allowance=allowance,
        )  # fmt: skip


def _market(rng: np.random.Generator, underlyings: int, each: int) -> tuple[Terms, Market]:
    n = underlyings * each
    node = np.repeat(np.arange(underlyings, dtype=np.int32), each)
    option = np.tile(np.arange(each) >= min(LINEAR, each), underlyings)
    price = np.asarray(60_000.0 * 0.9 ** np.arange(underlyings), dtype=np.float64)
    side = np.where(option & (rng.random(n) < 0.5), -1.0, 1.0)
    strike = np.where(option, price[node] * np.exp(rng.normal(0, 0.25, n)), 0.0)
    expiry = START_MS + (rng.uniform(0.02, 1.0, n) * YEAR_MS).astype(np.int64)
    terms = Terms(
        node=node, strike=strike, asset=side, cash=side * strike, side=side,
        inverse=np.zeros(n, dtype=bool), steady=np.zeros(n, dtype=bool),
        size=np.full(n, 1e3), expiry_ms=np.where(option, expiry, 0),
    )  # fmt: skip
    market = Market(
        as_of_ms=START_MS, price=price, ratio=np.ones(n),
        vol=np.where(option, rng.uniform(0.4, 0.9, n), 0.0), usable=np.ones(n, dtype=bool),
    )  # fmt: skip
    return terms, market


def _nodes(rng: np.random.Generator, accounts: int, underlyings: int, most: int) -> Array:
    """[account, 3] the underlyings that it trades, repeated where it trades fewer."""
    if underlyings == 1:
        return np.zeros((accounts, 3), np.int64)
    other = 1.0 / np.arange(1, underlyings)
    chosen = 1 + rng.choice(underlyings - 1, (accounts, 3), p=other / other.sum())
    chosen[rng.random(accounts) < TOUCHING, 0] = 0
    kinds = rng.integers(1, most + 1, accounts)
    chosen[:, 1] = np.where(kinds >= 2, chosen[:, 1], chosen[:, 0])
    chosen[:, 2] = np.where(kinds >= 3, chosen[:, 2], chosen[:, 0])
    return chosen


# ── ticks of one underlying ──────────────────────────────────────────────────────────────────


def full_pass(watch: Watch, clock: Clock, *, rounds: int = 3) -> float:
    """Nanoseconds to reprice the first underlying and recompute every account that touches it."""
    store = watch.held.store
    rows = np.flatnonzero(store.node[: watch.held.rows] == 0).astype(np.int32)
    who = np.sort(watch.owners(rows))
    times = []
    for _ in range(rounds):
        start = clock()
        made, _ = exact_rows(watch.terms, watch.market, watch.scenes, watch.of_node[0])
        watch.matrix[watch.of_node[0]] = made
        watch.recompute(who)
        times.append(clock() - start)
    return statistics.median(times)


def ticks_within(
    watch: Watch, clock: Clock, *, reach: float, ticks: int, seed: int = 3,
    each: Callable[[int, Tick], None] | None = None,
) -> dict[str, float]:  # fmt: skip
    """Ticks of the first underlying within ±reach of its price, one a millisecond.

    `upkeep_ms` is a tick's part of what keeps everybody within the age limit and of moving
    accounts to new epochs.
    """
    rng = np.random.default_rng(seed)
    at, base = watch.market.as_of_ms, float(watch.market.price[0])
    seen = Latencies()
    touching = skipped = upkeep_ns = total_ns = 0
    for number in range(ticks):
        at += 1
        price = base * (1.0 + reach * float(rng.uniform(-1.0, 1.0)))
        start = clock()
        tick = watch.tick(Mark(node=0, as_of_ms=at, price=price))
        done = clock()
        watch.upkeep(watch.owed(elapsed_ms=1))
        upkeep_ns += clock() - done
        total_ns += done - start
        seen.record(done - start)
        touching, skipped = touching + tick.touching, skipped + tick.skipped
        if each is not None:
            each(number, tick)
    return {
        "touching": touching / ticks,
        "touched": (touching - skipped) / ticks,
        "skipped_share": skipped / max(touching, 1),
        "mean_ms": total_ns / ticks / 1e6,
        "p50_ms": seen.percentile(50) / 1e6,
        "p99_ms": seen.percentile(99) / 1e6,
        "most_ms": seen.most / 1e6,
        "upkeep_ms": upkeep_ns / ticks / 1e6,
    }


def false_negatives(watch: Watch, who: Array | None = None) -> int:
    """Accounts whose breach the watch does not show, or shows without one: from nothing."""
    who = np.arange(watch.held.accounts, dtype=np.int32) if who is None else who
    figures = Figures(accounts=watch.held.accounts, nodes=watch.held.nodes)
    figures.judge(
        watch.held, watch.matrix, watch.scenes, watch.ratios, watch.cash, who.astype(np.int32),
        at_ms=0, largest=watch.largest,
    )  # fmt: skip
    true, mine = figures.state[who] >= watch.guard, watch.figures.state[who] >= watch.guard
    return int((true != mine).sum())


# ── a flood of marks and trades ──────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class Flood:
    """What arrives: trades and marks so many a second, the marks of all underlyings in turn, while
    every price falls by `fall`, a share, and recovers some of it."""

    trades_per_second: int
    marks_per_second: int
    seconds: float
    fall: float
    slice_ms: float = 5.0


def flood(watch: Watch, load: Flood, clock: Clock, *, seed: int = 9) -> dict[str, float]:
    """Feed what arrives as the clock says it does, and take it as fast as can be.

    It keeps up where the last trades were taken within one slice of their arrival, and no more
    than a mark an underlying ever waits.
    """
    inbox, waits = Inbox(), Latencies()
    # Kernels are loaded and what arrives is made before the clock starts.
    _warm(watch)
    arriving = deque(_arriving(watch, load, np.random.default_rng(seed)))
    start, longest, late_ns = clock(), 0, 0
    waiting: deque[tuple[int, int]] = deque()
    queued, kept_ns = 0, 0
    while arriving or len(inbox):
        now = clock() - start
        while arriving and arriving[0][0] <= now:
            arrived, what = arriving.popleft()
            if isinstance(what, Trades):
                inbox.trades(what)
                queued += len(what.lots)
                waiting.append((arrived, queued))
            else:
                inbox.mark(what, arrived_ns=start + arrived)
        longest = max(longest, len(inbox))
        busy = inbox.take(watch, clock)
        done = clock() - start
        while waiting and waiting[0][1] <= inbox.trades_taken:
            late_ns = done - waiting.popleft()[0]
            waits.record(late_ns)
        # Ages and bands are kept up however busy it is: without bands every mark costs more.
        due = watch.owed(elapsed_ms=(done - kept_ns) // 1_000_000)
        if not busy or due >= _UPKEEP // 4:
            watch.upkeep(due if busy else max(due, _UPKEEP))
            kept_ns = done
    elapsed = (clock() - start) / 1e9
    return {
        "seconds": elapsed, "trades": inbox.trades_taken, "marks": inbox.taken,
        "superseded": inbox.superseded, "queue_most": longest,
        "p50_ms": inbox.latency.percentile(50) / 1e6, "p99_ms": inbox.latency.percentile(99) / 1e6,
        "trades_p99_ms": waits.percentile(99) / 1e6, "trades_late_ms": late_ns / 1e6,
        "keeps_up": float(elapsed <= load.seconds * 1.02 + 0.05),
    }  # fmt: skip


_UPKEEP: Final = 2_000
"""Accounts that are made new at a time: two or three milliseconds."""


def _warm(watch: Watch) -> None:
    """Do once of each what a flood does many times: two trades that undo each other, a mark that
    says what is known, and upkeep."""
    both = np.zeros(2, np.int32)
    watch.trade(
        account=both, instrument=both, lots=np.array([1.0, -1.0]), cash=np.zeros(2, np.int64)
    )
    watch.tick(Mark(node=0, as_of_ms=watch.market.as_of_ms, price=float(watch.market.price[0])))
    watch.upkeep(1)


def _arriving(
    watch: Watch, load: Flood, rng: np.random.Generator
) -> Iterator[tuple[int, Trades | Mark]]:
    """(nanoseconds since the start, what arrives), in order."""
    base, at = watch.market.price.copy(), watch.market.as_of_ms
    held = _Holders.of(watch)
    slices = max(1, round(load.seconds * 1e3 / load.slice_ms))
    nodes, due = len(base), 0.0
    node = 0
    for number in range(slices):
        arrived = int((number + 1) * load.slice_ms * 1e6)
        part = (number + 1) / slices
        depth = load.fall * math.sin(math.pi * part) + 0.5 * load.fall * part
        yield (
            arrived,
            _trades(watch, held, round(load.trades_per_second * load.slice_ms / 1e3), rng),
        )
        due += load.marks_per_second * load.slice_ms / 1e3
        while due >= 1.0:
            due -= 1.0
            node = (node + 1) % nodes
            noise = 1.0 + 0.001 * float(rng.normal())
            price = float(base[node]) * (1.0 - 0.6 * depth) * noise
            yield arrived, Mark(node=node, as_of_ms=at + arrived // 1_000_000, price=price)


@dataclass(frozen=True, slots=True)
class _Holders:
    """Positions by instrument: `first[i]:first[i + 1]` of `account` hold instrument i."""

    first: Array
    account: Array

    @classmethod
    def of(cls, watch: Watch) -> _Holders:
        first, instrument, _ = watch.held.compressed()
        owner = np.repeat(np.arange(len(first) - 1, dtype=np.int32), np.diff(first))
        order = np.argsort(instrument, kind="stable")
        edges = np.searchsorted(instrument[order], np.arange(len(watch.terms) + 1))
        return cls(edges, owner[order])


def _trades(watch: Watch, held: _Holders, count: int, rng: np.random.Generator) -> Trades:
    """Trades between two accounts each, at the mark: cash moves against the position.

    What is held more is traded more, mostly by those who hold it.
    """
    pairs = max(1, count // 2)
    chosen = rng.integers(0, len(held.account), pairs)
    instrument = np.searchsorted(held.first, chosen, side="right") - 1
    span = held.first[instrument + 1] - held.first[instrument]
    other = held.first[instrument] + (rng.random(pairs) * span).astype(np.int64)
    account = held.account[np.concatenate([chosen, other])]
    strange = rng.random(2 * pairs) < STRANGERS
    account[strange] = rng.integers(0, watch.held.accounts, int(strange.sum()))
    lots: Float64 = rng.integers(1, 4, pairs).astype(np.float64)
    lots = np.concatenate([lots, -lots])
    both: Array = np.tile(instrument, 2).astype(np.int32)
    mark = watch.matrix[both, watch.scenes.width * 8]
    return Trades(account=account, instrument=both, lots=lots, cash=-(lots * mark).astype(np.int64))
