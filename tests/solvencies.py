"""Markets, contracts and books for tests of the watch, from a seed."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from solvent.solvency.classes import Ratios, State
from solvent.solvency.holdings import Holdings
from solvent.solvency.rows import MARK, Market, Scenes, Terms
from solvent.units import YEAR_MS, Float64
from solvent.verify import solvency as twin

START_MS = 1_760_000_000_000


@dataclass
class World:
    terms: Terms
    market: Market
    scenes: Scenes
    ratios: Ratios

    @property
    def everything(self) -> np.ndarray:
        return np.arange(len(self.terms), dtype=np.int64)


def world(
    seed: int,
    *,
    nodes: int = 3,
    each: int = 14,
    digitals: bool = False,
    scenarios: int | None = None,
) -> World:
    """Perpetuals, dated futures, vanillas, coin, and inverse ones of each, on some underlyings."""
    rng = np.random.default_rng(seed)
    n = nodes * each
    node = np.repeat(np.arange(nodes, dtype=np.int32), each)
    kind = np.tile(np.resize([0, 1, 2, 3, 3, 3, 3], each), nodes)
    price = np.exp(rng.uniform(0, 11, nodes))
    option, steady = kind == 3, kind == 2
    inverse = (rng.random(n) < 0.4) & ~steady
    side = np.where(option & (rng.random(n) < 0.5), -1.0, 1.0)
    strike = np.where(option, price[node] * np.exp(rng.normal(0, 0.3, n)), 0.0)
    asset, cash = side.copy(), side * strike
    inverse_future = inverse & ~option
    asset[inverse_future], cash[inverse_future] = 0.0, 1.0
    digital = option & (rng.random(n) < 0.2) & digitals
    asset[digital], cash[digital] = 0.0, -1.0
    expiry = START_MS + rng.uniform(0.0, 1.0, n) ** 3 * YEAR_MS + 3_600_000
    lot = np.where(inverse_future, 10.0, 0.1 * 10.0 ** np.floor(-np.log10(price[node]) + 3))
    terms = Terms(
        node=node, strike=strike, asset=asset, cash=cash, side=side, inverse=inverse,
        steady=steady, size=lot * 1e6,
        expiry_ms=np.where(option | (kind == 1), expiry, 0).astype(np.int64),
    )  # fmt: skip
    count = int(rng.integers(1, 65)) if scenarios is None else scenarios
    move = rng.uniform(-0.6, 1.2, count) if count % 2 else rng.uniform(-0.2, 0.2, count)
    scenes = Scenes(
        move=move, vol_factor=rng.choice([0.6, 1.0, 1.4], count),
        maintenance=8 if count >= 8 and rng.random() < 0.3 else count,
    )  # fmt: skip
    market = Market(
        as_of_ms=START_MS, price=price, ratio=np.where(steady, 1.0, np.exp(rng.normal(0, 0.01, n))),
        vol=np.where(option, rng.uniform(0.2, 1.5, n), 0.0), usable=np.ones(n, dtype=bool),
    )  # fmt: skip
    initial = int(rng.integers(200_000, 1_600_000))
    ratios = Ratios(initial_ppm=initial, maintenance_ppm=int(rng.integers(100_000, initial + 1)))
    return World(terms, market, scenes, ratios)


def moved(
    market: Market, rng: np.random.Generator, node: int, *, jump: float, vol: float = 0.0,
    time_ms: int = 0, basis: float = 0.0, terms: Terms | None = None,
) -> Market:  # fmt: skip
    """A market a tick later: one price by a jump, and what else may drift."""
    price = market.price.copy()
    price[node] *= 1.0 + jump
    n = len(market.vol)
    still = np.zeros(n, bool) if terms is None else terms.steady
    return replace(
        market, as_of_ms=market.as_of_ms + time_ms, price=price,
        vol=market.vol * (1.0 + vol * rng.uniform(-1, 1, n)),
        ratio=np.where(still, 1.0, market.ratio * (1.0 + basis * rng.uniform(-1, 1, n))),
    )  # fmt: skip


def random_book(
    seed: int, world: World, *, accounts: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`first`, `instrument`, `lots` of accounts, most on one underlying or two."""
    rng = np.random.default_rng(seed)
    count = rng.integers(0, 9, accounts)
    first = np.concatenate([[0], np.cumsum(count)]).astype(np.int64)
    instrument = rng.integers(0, len(world.terms), int(first[-1])).astype(np.int32)
    return first, instrument, np.rint(rng.normal(0, 40, int(first[-1])))


def told_by_twin(
    held: Holdings, world: World, matrix: Float64, cash: np.ndarray, unknown: set[int]
) -> list[tuple[int, int, int, int, int]]:
    """(equity, initial, maintenance, state, close) of every account, by the slow twin."""
    first, instrument, lots = held.compressed()
    rows = [[int(x) for x in row] for row in matrix]
    answers = []
    for a in range(held.accounts):
        if a in unknown:
            answers.append((0, 0, 0, int(State.UNKNOWN), 0))
            continue
        mine = slice(first[a], first[a + 1])
        found = twin.figures(
            dict(zip(instrument[mine].tolist(), map(int, lots[mine]), strict=True)),
            world.terms.node.tolist(), rows, cash=int(cash[a]), scenarios=len(world.scenes),
            maintenance=world.scenes.maintenance, mark=world.scenes.width * 8 + MARK,
            ratios_ppm=(world.ratios.initial_ppm, world.ratios.maintenance_ppm),
        )  # fmt: skip
        word, close = twin.state(*found)
        answers.append((*found, int(State[word.upper()]), close))
    return answers
