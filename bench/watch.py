"""The watch at full size: a million accounts × 10 positions × 64 scenarios, one underlying moves.

Positions are geometric with mean 10; an account trades one to three underlyings, the first of which
45 % touch; inside an underlying instruments are chosen by Zipf's law, or uniformly. The slack over
maintenance margin is lognormal with median 1.5 and sigma 1.2 of it: synthetic, and it sets how many
accounts a band can skip.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from solvent.solvency.bounds import Allowance
from solvent.solvency.classes import Figures, Ratios, State
from solvent.solvency.holdings import Holdings
from solvent.solvency.latency import Latencies
from solvent.solvency.rows import Market, Scenes, Terms, exact_rows
from solvent.solvency.watch import Mark, Watch

Array = np.ndarray[Any, Any]

UNDERLYINGS, LINEAR = 10, 10
MOVES, VOLS = 16, 4
WIDTHS = (0.0025, 0.01, 0.02, 0.05)
START_MS, YEAR_MS = 1_760_000_000_000, 365 * 86_400_000
TOUCHING = 0.45


@dataclass(frozen=True)
class Venue:
    """A synthetic venue: contracts, a market and a book."""

    terms: Terms
    market: Market
    scenes: Scenes
    ratios: Ratios
    first: Array
    instrument: Array
    lots: Array

    @classmethod
    def make(
        cls, *, accounts: int, instruments: int = 5_000, uniform: bool = False, seed: int = 6
    ) -> Venue:
        rng = np.random.default_rng(seed)
        each = instruments // UNDERLYINGS
        terms, market = _market(rng, each)
        count = rng.geometric(0.1, accounts)
        first = np.concatenate([[0], np.cumsum(count)]).astype(np.int64)
        total = int(first[-1])
        owner = np.repeat(np.arange(accounts), count)
        node = _nodes(rng, accounts)[owner, rng.integers(0, 3, total)]
        weight = np.ones(each) if uniform else 1.0 / np.arange(1, each + 1)
        rank = rng.choice(each, total, p=weight / weight.sum())
        place = np.array([rng.permutation(each) for _ in range(UNDERLYINGS)])
        kind = (node * each + place[node, rank]).astype(np.int32)
        move = np.repeat(np.linspace(-0.15, 0.15, MOVES), VOLS)
        scenes = Scenes(
            move=move, vol_factor=np.tile([0.7, 0.9, 1.1, 1.4], MOVES), maintenance=MOVES * VOLS
        )
        return cls(
            terms=terms, market=market, scenes=scenes,
            ratios=Ratios(initial_ppm=1_250_000, maintenance_ppm=1_000_000),
            first=first, instrument=kind, lots=rng.integers(-100, 101, total).astype(np.float64),
        )  # fmt: skip

    def holdings(self) -> Holdings:
        """A book of its own."""
        return Holdings.of(
            first=self.first, instrument=self.instrument, lots=self.lots, node_of=self.terms.node
        )

    def watch(self, *, bands: bool = True, keep: bool = False, threads: int = 1) -> Watch:
        """A watch whose accounts have the slack of the law."""
        held = self.holdings()
        accounts = held.accounts
        figures = Figures(accounts=accounts, nodes=held.nodes)
        matrix, _ = exact_rows(self.terms, self.market, self.scenes, self.everything)
        nothing, everyone = np.zeros(accounts, np.int64), np.arange(accounts, dtype=np.int32)
        figures.judge(
            held, matrix, self.scenes, self.ratios, nothing, everyone, at_ms=0, threads=threads
        )
        rng = np.random.default_rng(7)
        slack = rng.lognormal(np.log(1.5), 1.2, accounts) * figures.maintenance
        cash = -figures.equity + figures.maintenance + np.rint(slack).astype(np.int64)
        return Watch(
            held, self.terms, self.scenes, self.ratios, self.market, cash, age_ms=60_000,
            guard=State.LIQUIDATE, bands=bands, keep=keep, widths=WIDTHS, threads=threads,
            allowance=Allowance(vol=0.002, time_ms=600_000, basis=2e-5),
        )  # fmt: skip

    @property
    def everything(self) -> Array:
        """Every instrument."""
        return np.arange(len(self.terms), dtype=np.int64)


def _market(rng: np.random.Generator, each: int) -> tuple[Terms, Market]:
    n = UNDERLYINGS * each
    node = np.repeat(np.arange(UNDERLYINGS, dtype=np.int32), each)
    option = np.tile(np.arange(each) >= LINEAR, UNDERLYINGS)
    price = np.asarray(60_000.0 * 0.5 ** np.arange(UNDERLYINGS), dtype=np.float64)
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


def _nodes(rng: np.random.Generator, accounts: int) -> Array:
    """[account, 3] the underlyings that it trades, repeated where it trades fewer."""
    other = 1.0 / np.arange(1, UNDERLYINGS)
    chosen = 1 + rng.choice(UNDERLYINGS - 1, (accounts, 3), p=other / other.sum())
    chosen[rng.random(accounts) < TOUCHING, 0] = 0
    kinds = rng.integers(1, 4, accounts)
    chosen[:, 1] = np.where(kinds >= 2, chosen[:, 1], chosen[:, 0])
    chosen[:, 2] = np.where(kinds >= 3, chosen[:, 2], chosen[:, 0])
    return chosen


def ticks_within(watch: Watch, *, reach: float, ticks: int, seed: int = 3) -> dict[str, float]:
    """Ticks of the first underlying that stay within ±reach, one a millisecond: medians and sums.

    Refresh is amortised: what keeps every account within the age limit, and the epochs' moves.
    """
    rng = np.random.default_rng(seed)
    at, base = watch.market.as_of_ms, float(watch.market.price[0])
    seen = Latencies()
    touching = skipped = upkeep_ns = 0
    for _ in range(ticks):
        at += 1
        price = base * (1.0 + reach * float(rng.uniform(-1.0, 1.0)))
        start = time.perf_counter_ns()
        tick = watch.tick(Mark(node=0, as_of_ms=at, price=price))
        done = time.perf_counter_ns()
        watch.upkeep(watch.owed(elapsed_ms=1))
        upkeep_ns += time.perf_counter_ns() - done
        seen.record(done - start)
        touching, skipped = touching + tick.touching, skipped + tick.skipped
    return {
        "ticks": ticks, "touching": touching / ticks, "skipped_share": skipped / max(touching, 1),
        "p50_ms": seen.percentile(50) / 1e6, "p99_ms": seen.percentile(99) / 1e6,
        "most_ms": seen.most / 1e6, "upkeep_ms": upkeep_ns / ticks / 1e6,
    }  # fmt: skip


def false_negatives(watch: Watch) -> int:
    """Accounts whose breach the watch does not show: full recomputation of all, from nothing."""
    figures = Figures(accounts=watch.held.accounts, nodes=watch.held.nodes)
    figures.judge(
        watch.held, watch.matrix, watch.scenes, watch.ratios, watch.cash,
        np.arange(watch.held.accounts, dtype=np.int32), at_ms=0, largest=watch.largest,
    )  # fmt: skip
    true, mine = figures.state >= State.LIQUIDATE, watch.figures.state >= State.LIQUIDATE
    return int((true != mine).sum())
