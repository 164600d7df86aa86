"""Accounts: 10,000 × 20 positions × 33 scenarios from prices up, and a million at full size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sparse
from scipy.special import ndtr

from bench.harness import Candidate
from solvent.pricing import compiled as pricing
from solvent.pricing.grid import grid
from solvent.risk.product import NodeMap, padded, quantised, scan

Array = np.ndarray[Any, Any]

OPTIONS, ACCOUNTS, HELD = 2_000, 10_000, 20
MOVES, VOLS = 11, 3
SCENARIOS = MOVES * VOLS
_NUMPY_ACCOUNTS, _QUANTLIB_ACCOUNTS, _MARGINISM_ACCOUNTS = 200, 5, 150


@dataclass(frozen=True)
class Desk:
    """2,000 options and 10,000 accounts that hold 20 of them each."""

    forward: float
    strike: Array
    years: Array
    vol: Array
    side: Array
    growth: Array
    vol_factor: Array
    state: Array
    first: Array
    index: Array
    lots: Array

    @classmethod
    def make(cls) -> Desk:
        rng = np.random.default_rng(4)
        return cls(
            forward=60_000.0,
            strike=60_000.0 * np.exp(rng.normal(0, 0.25, OPTIONS)),
            years=rng.uniform(0.01, 1.0, OPTIONS),
            vol=rng.uniform(0.4, 0.9, OPTIONS),
            side=rng.choice([-1.0, 1.0], OPTIONS),
            growth=np.repeat(1.0 + np.linspace(-0.15, 0.15, MOVES), VOLS),
            vol_factor=np.array([0.8, 1.0, 1.24]),
            state=np.tile(np.arange(VOLS, dtype=np.int32), MOVES),
            first=np.arange(0, ACCOUNTS * HELD + 1, HELD, dtype=np.int64),
            index=rng.integers(0, OPTIONS, ACCOUNTS * HELD).astype(np.int32),
            lots=rng.integers(-50, 51, ACCOUNTS * HELD).astype(np.float64),
        )


def identity(columns: int) -> NodeMap:
    """A map that changes nothing, of one node."""
    ones = np.ones((1, columns))
    return NodeMap(
        plain=np.ones(1, dtype=bool), dead=0 * ones, loss=ones, gain=ones, cap=np.inf * ones
    )


def solvent_way(desk: Desk) -> Array:
    """Price the market once, quantise it, and scan every account."""
    n = OPTIONS
    cells = grid(
        forward=np.full(n, desk.forward),
        strike=desk.strike,
        asset=desk.side,
        cash=desk.side * desk.strike,
        side=desk.side,
        scale=np.ones(n),
        inverse=np.zeros(n, dtype=bool),
        total_vol=np.column_stack(
            [(desk.vol * np.sqrt(desk.years))[:, None] * desk.vol_factor,
             desk.vol * np.sqrt(desk.years)]
        ),
        curve=np.zeros(n, dtype=np.int32),
        growth=np.append(desk.growth, 1.0)[None, :],
        vol_state=np.append(desk.state, VOLS).astype(np.int32),
    )  # fmt: skip
    values = pricing.value_cells(cells)
    matrix = quantised(values[:, :-1] - values[:, -1:], quanta_per_unit=1e6)
    sets = np.arange(ACCOUNTS + 1, dtype=np.int64)
    least, _ = scan(
        matrix=matrix,
        columns=SCENARIOS,
        set_first=sets,
        row_first=desk.first,
        row_node=np.zeros(ACCOUNTS, dtype=np.int32),
        index=desk.index,
        lots=desk.lots,
        node_map=identity(matrix.shape[1]),
    )
    return -least / 1e6


def numpy_sparse_way(desk: Desk) -> Array:
    """The same algorithm with numpy, scipy's normal law and a sparse product."""
    matrix = _numpy_pnl(desk, np.arange(OPTIONS))
    book = sparse.csr_matrix((desk.lots, desk.index, desk.first), shape=(ACCOUNTS, OPTIONS))
    return np.asarray(-(book @ matrix).min(axis=1))


def numpy_per_account(desk: Desk) -> Array:
    """Each account reprices its own positions, vectorised."""
    worst = np.empty(_NUMPY_ACCOUNTS)
    for account in range(_NUMPY_ACCOUNTS):
        held = slice(account * HELD, (account + 1) * HELD)
        pnl = _numpy_pnl(desk, desk.index[held])
        worst[account] = -(desk.lots[held] @ pnl).min()
    return worst


def _numpy_pnl(desk: Desk, rows: Array) -> Array:
    side, strike = desk.side[rows, None], desk.strike[rows, None]
    deviation = (desk.vol[rows] * np.sqrt(desk.years[rows]))[:, None]
    log_moneyness = np.log(desk.forward / strike)

    def value(growth: Array, total: Array) -> Array:
        d1 = (log_moneyness + np.log(growth)) / total + 0.5 * total
        forward = desk.forward * growth
        price = forward * ndtr(side * d1) - strike * ndtr(side * (d1 - total))
        return np.asarray(side * price)

    shocked = value(desk.growth[None, :], deviation * desk.vol_factor[desk.state])
    return shocked - value(np.ones((1, 1)), deviation)


def candidates(desk: Desk) -> dict[str, Candidate]:
    """Ours and every peer that is installed."""
    return {
        "solvent, from prices up": Candidate(run=lambda: solvent_way(desk)),
        "same algorithm, numpy + scipy.sparse": Candidate(run=lambda: numpy_sparse_way(desk)),
        "numpy repricing per account": Candidate(
            run=lambda: numpy_per_account(desk), share=_NUMPY_ACCOUNTS / ACCOUNTS
        ),
        **_quantlib(desk),
        **_marginism(desk),
    }


def _quantlib(desk: Desk) -> dict[str, Candidate]:
    try:
        import QuantLib
    except ImportError:
        return {}

    def run() -> None:
        for account in range(_QUANTLIB_ACCOUNTS):
            totals = [0.0] * SCENARIOS
            for p in range(account * HELD, (account + 1) * HELD):
                row = int(desk.index[p])
                kind = QuantLib.Option.Call if desk.side[row] > 0 else QuantLib.Option.Put
                strike = float(desk.strike[row])
                deviation = float(desk.vol[row] * np.sqrt(desk.years[row]))
                base = QuantLib.blackFormula(kind, strike, desk.forward, deviation)
                for s in range(SCENARIOS):
                    shocked = QuantLib.blackFormula(
                        kind, strike, desk.forward * float(desk.growth[s]),
                        deviation * float(desk.vol_factor[desk.state[s]]),
                    )  # fmt: skip
                    totals[s] += float(desk.lots[p]) * (shocked - base)
            min(totals)

    return {
        "QuantLib repricing per account": Candidate(run=run, share=_QUANTLIB_ACCOUNTS / ACCOUNTS)
    }


def _marginism(desk: Desk) -> dict[str, Candidate]:
    """SPAN from risk arrays in memory: 16 scenarios, not 33, and nothing to price."""
    try:
        from marginism import (
            CombinedCommodity,
            OptionContract,
            Position,
            RiskArray,
            SpanCalculator,
            SpanFile,
        )
    except ImportError:
        return {}
    pnl = _numpy_pnl(desk, np.arange(OPTIONS))[:, :16]
    options = [
        OptionContract(
            cc="BTC", pf_id=1, pf_type="OOP", contract_id=row, expiry="20261225", price=100.0,
            delta=0.5, volatility=0.5, cvf=1.0, risk_array=RiskArray((-pnl[row]).tolist(), 0.5),
            option_type="C" if desk.side[row] > 0 else "P", strike=float(row),
        )
        for row in range(OPTIONS)
    ]  # fmt: skip
    commodity = CombinedCommodity(cc="BTC", underlying_price=desk.forward, options=options)
    calculator = SpanCalculator(SpanFile(business_date="20260630", commodities={"BTC": commodity}))
    books = [
        [
            Position(
                "BTC", "CE" if desk.side[row] > 0 else "PE", quantity=float(desk.lots[p]),
                expiry="20261225", strike=float(row),
            )
            for p in range(account * HELD, (account + 1) * HELD)
            for row in [int(desk.index[p])]
        ]
        for account in range(_MARGINISM_ACCOUNTS)
    ]  # fmt: skip

    def run() -> None:
        for book in books:
            calculator.calculate(book)

    return {"marginism 0.1.1": Candidate(run=run, share=_MARGINISM_ACCOUNTS / ACCOUNTS)}


# ── a million accounts ───────────────────────────────────────────────────────────────────────

MILLION, INSTRUMENTS, WIDE = 1_000_000, 5_000, 64


@dataclass(frozen=True)
class Venue:
    """1 M accounts, about 10 positions each, 5,000 instruments by Zipf's law, 64 scenarios."""

    matrix: Array
    first: Array
    index: Array
    lots: Array

    @classmethod
    def make(cls) -> Venue:
        rng = np.random.default_rng(6)
        count = rng.geometric(0.1, MILLION)
        first = np.concatenate([[0], np.cumsum(count)]).astype(np.int64)
        weight = 1.0 / np.arange(1, INSTRUMENTS + 1)
        rank = rng.choice(INSTRUMENTS, int(first[-1]), p=weight / weight.sum())
        index = rng.permutation(INSTRUMENTS).astype(np.int32)[rank]
        return cls(
            matrix=padded(np.rint(rng.normal(0, 1e6, (INSTRUMENTS, WIDE)))),
            first=first,
            index=index,
            lots=rng.integers(-100, 101, int(first[-1])).astype(np.float64),
        )


def exact_scan(venue: Venue, *, threads: int) -> Array:
    """Worst scenario of every account, in whole quanta."""
    least, _ = scan(
        matrix=venue.matrix,
        columns=WIDE,
        set_first=np.arange(MILLION + 1, dtype=np.int64),
        row_first=venue.first,
        row_node=np.zeros(MILLION, dtype=np.int32),
        index=venue.index,
        lots=venue.lots,
        node_map=identity(WIDE),
        threads=threads,
    )
    return least


def sparse_scan(venue: Venue, *, block: int) -> Array:
    """The same with scipy.sparse, in blocks of accounts, so that its result stays in the cache."""
    least = np.empty(MILLION)
    for start in range(0, MILLION, block):
        stop = min(start + block, MILLION)
        span = slice(int(venue.first[start]), int(venue.first[stop]))
        book = sparse.csr_matrix(
            (venue.lots[span], venue.index[span], venue.first[start : stop + 1] - span.start),
            shape=(stop - start, INSTRUMENTS),
        )
        least[start:stop] = (book @ venue.matrix).min(axis=1)
    return least


def million_candidates(venue: Venue) -> dict[str, Candidate]:
    """One core, two threads, and scipy.sparse in small and large blocks."""
    return {
        "solvent, exact, 1 thread": Candidate(run=lambda: exact_scan(venue, threads=1)),
        "scipy.sparse, blocks of 2,000": Candidate(run=lambda: sparse_scan(venue, block=2_000)),
        "scipy.sparse, blocks of 50,000": Candidate(run=lambda: sparse_scan(venue, block=50_000)),
    }
