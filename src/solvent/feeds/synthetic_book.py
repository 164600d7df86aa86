"""Books of accounts from a seed: who holds what on a venue, with the popularity real books have.

Three kinds of account: *makers* hold many options on both sides and hedge their delta with a
future; *hedgers* write calls or buy puts against a coin; *punters* hold a future or two with
leverage and a few far options. Instruments are chosen by a Zipf law over a ranking that puts
perpetuals first, then options near the money and near in time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from solvent.errors import check
from solvent.instruments import Kind
from solvent.margining.equity import Collateral
from solvent.market import Snapshot
from solvent.pricing.greeks import greeks
from solvent.risk import Book, book
from solvent.units import Float64

Int32 = NDArray[np.int32]

ZIPF_EXPONENT = 1.0
_MAKER, _HEDGER, _PUNTER = 0, 1, 2
_SHARES = (0.02, 0.18, 0.80)
_MEAN_POSITIONS = (60.0, 8.0, 3.0)
_COLLATERAL_PER_RISK = (0.9, 0.8, 0.75)
"""Median collateral over a crude measure of risk, by kind of account."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Venue:
    """A generated book and its balances."""

    book: Book
    collateral: Collateral


def generate_book(snapshot: Snapshot, *, accounts: int, seed: int = 1) -> Venue:
    """Accounts with positions and collateral on a market.

    Collateral is lognormal round a crude measure of each account's risk, so that a few accounts are
    called and fewer fall below maintenance, as on a venue.
    """
    check(accounts >= 1, "a venue has an account", accounts)
    rng = np.random.Generator(np.random.PCG64(seed))
    kind = rng.choice(3, size=accounts, p=_SHARES).astype(np.int8)
    mean = np.array(_MEAN_POSITIONS)[kind]
    count = 1 + rng.poisson(mean - 1.0)
    owner = np.repeat(np.arange(accounts, dtype=np.int32), count)
    coin = _home_coin(snapshot, kind, rng)
    instrument = _choose(snapshot, owner, kind[owner], coin[owner], rng)
    lots = _sizes(snapshot, instrument, kind[owner], rng)
    hedge_owner, hedge_instrument, hedge_lots = _hedges(
        snapshot, owner, instrument, lots, kind, coin, accounts
    )
    held = book(
        accounts=[f"{'mhp'[k]}{a:07d}" for a, k in enumerate(kind)],
        account=np.concatenate([owner, hedge_owner]),
        instrument=np.concatenate([instrument, hedge_instrument]),
        lots=np.concatenate([lots, hedge_lots]),
        universe=snapshot.universe,
        entry_price=_entries(snapshot, np.concatenate([instrument, hedge_instrument]), rng),
    )
    return Venue(book=held, collateral=_balances(snapshot, held, kind, coin, rng))


def _home_coin(
    snapshot: Snapshot, kind: NDArray[np.int8], rng: np.random.Generator
) -> NDArray[np.int32]:
    """[account] the underlying that it trades; makers trade the first ones more evenly."""
    coins = len(snapshot.universe.underlyings)
    weight = 1.0 / np.arange(1, coins + 1)
    return rng.choice(coins, size=len(kind), p=weight / weight.sum()).astype(np.int32)


def _choose(
    snapshot: Snapshot,
    owner: Int32,
    kind: NDArray[np.int8],
    coin: Int32,
    rng: np.random.Generator,
) -> Int32:
    """[position] instrument, by popularity within the account's coin."""
    universe = snapshot.universe
    popularity = _popularity(snapshot)
    chosen = np.zeros(len(owner), dtype=np.int32)
    for code in range(len(universe.underlyings)):
        rows = np.flatnonzero((universe.underlying == code) & snapshot.usable)
        options = universe.is_option[rows]
        # Makers hold options; hedgers mostly; punters mostly futures.
        for who, future_weight in ((_MAKER, 0.05), (_HEDGER, 0.5), (_PUNTER, 6.0)):
            mine = np.flatnonzero((coin == code) & (kind == who))
            weight = popularity[rows] * np.where(options, 1.0, future_weight)
            picks = rng.choice(rows, size=len(mine), p=weight / weight.sum())
            chosen[mine] = picks.astype(np.int32)
    return chosen


def _popularity(snapshot: Snapshot) -> Float64:
    """Zipf weights over a ranking: perpetuals, then by distance from the money and from today."""
    universe = snapshot.universe
    forward = np.maximum(snapshot.forward, 1e-12)
    strike = np.where(universe.strike > 0, universe.strike, forward)
    distance = np.abs(np.log(strike / forward)) / np.sqrt(snapshot.years + 0.02)
    remote = distance + 1.5 * snapshot.years + np.where(universe.inverse, 0.0, 0.6)
    remote[universe.kind <= Kind.PERPETUAL] = -1.0
    rank = np.empty(len(universe))
    rank[np.argsort(remote, kind="stable")] = np.arange(1, len(universe) + 1)
    return rank**-ZIPF_EXPONENT


def _sizes(
    snapshot: Snapshot, instrument: Int32, kind: NDArray[np.int8], rng: np.random.Generator
) -> Float64:
    """Signed whole lots: dollars of notional from a heavy tail, over the lot's notional."""
    universe = snapshot.universe
    per_lot = _lot_notional(snapshot)[instrument]
    median = np.array([120_000.0, 40_000.0, 6_000.0])[kind]
    notional = median * np.exp(rng.normal(0.0, 1.2, size=len(instrument)))
    lots = np.maximum(1.0, np.rint(notional / per_lot))
    lots = np.minimum(lots, 1e8)
    is_call, option = universe.is_call[instrument], universe.is_option[instrument]
    long_odds = np.full(len(instrument), 0.5)
    long_odds[(kind == _HEDGER) & option & is_call] = 0.1
    long_odds[(kind == _HEDGER) & option & ~is_call] = 0.85
    long_odds[(kind == _PUNTER) & option] = 0.7
    long_odds[(kind == _PUNTER) & ~option] = 0.6
    return np.where(rng.random(len(instrument)) < long_odds, lots, -lots)


def _lot_notional(snapshot: Snapshot) -> Float64:
    universe = snapshot.universe
    dollars = universe.inverse & ~universe.is_option
    return universe.lot_size * np.where(dollars, 1.0, snapshot.index_by_instrument)


def _deltas(snapshot: Snapshot) -> Float64:
    """[instrument] coin delta per lot."""
    universe, terms = snapshot.universe, snapshot.universe.terms
    forward = np.maximum(snapshot.forward, 1e-12)
    g = greeks(
        forward=forward[terms.instrument],
        strike=terms.strike,
        years=snapshot.years[terms.instrument],
        vol=snapshot.vol[terms.instrument],
        side=terms.side,
        asset=terms.asset,
        cash=terms.cash,
    )
    inverse = universe.inverse[terms.instrument]
    delta = np.where(inverse, g.premium_adjusted_delta, g.delta)
    return np.add.reduceat(delta, terms.first[:-1]) * universe.lot_size


def _hedges(
    snapshot: Snapshot,
    owner: Int32,
    instrument: Int32,
    lots: Float64,
    kind: NDArray[np.int8],
    coin: Int32,
    accounts: int,
) -> tuple[Int32, Int32, Float64]:
    """Makers flatten their delta with the first perpetual of their coin."""
    delta = _deltas(snapshot)
    total = np.bincount(owner, weights=lots * delta[instrument], minlength=accounts)
    universe = snapshot.universe
    perpetual = np.array(
        [
            np.flatnonzero((universe.underlying == code) & (universe.kind == Kind.PERPETUAL))[0]
            for code in range(len(universe.underlyings))
        ],
        dtype=np.int32,
    )
    makers = np.flatnonzero(kind == _MAKER).astype(np.int32)
    hedge = perpetual[coin[makers]]
    hedge_lots = -np.rint(total[makers] / delta[hedge])
    held = np.abs(hedge_lots) > 0
    return makers[held], hedge[held], np.clip(hedge_lots[held], -1e9, 1e9)


def _entries(snapshot: Snapshot, instrument: Int32, rng: np.random.Generator) -> Float64:
    """Entry prices of futures within a few percent of the mark; none for options."""
    mark = snapshot.mark[instrument] * np.exp(rng.normal(0.0, 0.02, size=len(instrument)))
    tick = snapshot.universe.tick_size[instrument]
    return np.where(snapshot.universe.is_option[instrument], np.nan, np.rint(mark / tick) * tick)


def _balances(
    snapshot: Snapshot,
    held: Book,
    kind: NDArray[np.int8],
    coin: Int32,
    rng: np.random.Generator,
) -> Collateral:
    """One balance an account, in its coin or in USDC."""
    universe = snapshot.universe
    notional = _lot_notional(snapshot)[held.instrument] * np.abs(held.lots)
    option = universe.is_option[held.instrument]
    rate = np.where(option, np.where(held.lots < 0, 0.16, 0.0), 0.12)
    net = np.bincount(
        held.account,
        weights=held.lots * _deltas(snapshot)[held.instrument],
        minlength=len(held),
    )
    gross = np.bincount(held.account, weights=notional * rate, minlength=len(held))
    index = snapshot.index[coin]
    crude = np.where(kind == _MAKER, 0.25 * gross + 0.2 * np.abs(net) * index, gross)
    median = np.array(_COLLATERAL_PER_RISK)[kind]
    free = np.maximum(crude, 100.0) * median * np.exp(rng.normal(1.7, 0.7, size=len(held)))
    # What the account's options are worth counts as equity, so what it owes on them is added.
    wealth = np.maximum(free - np.minimum(_option_value(snapshot, held), 0.0), 50.0)
    in_coin = (rng.random(len(held)) < 0.5) & np.isin(
        np.array(universe.underlyings)[coin], ("BTC", "ETH")
    )
    amount = np.where(in_coin, wealth / index, wealth)
    names = np.array(universe.underlyings, dtype=object)[coin]
    asset = np.where(in_coin, names, "USDC")
    return Collateral(
        account=np.arange(len(held), dtype=np.int32),
        asset=asset.tolist(),
        amount=np.round(amount, 6),
    )


def _option_value(snapshot: Snapshot, held: Book) -> Float64:
    """[account] dollars that its options are worth at their marks."""
    universe = snapshot.universe
    dollars = np.where(universe.inverse, snapshot.index_by_instrument, 1.0)
    per_lot = np.where(universe.is_option, snapshot.mark * universe.lot_size * dollars, 0.0)
    value = held.lots * per_lot[held.instrument]
    return np.bincount(held.account, weights=value, minlength=len(held)).astype(np.float64)
