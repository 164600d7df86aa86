"""Market revaluation: 5,000 options × 64 scenarios (16 prices × 4 vols), Black-76, one core."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtr

from bench.harness import Candidate
from solvent.pricing import compiled, grid
from solvent.pricing.grid import Grid
from solvent.verify.pricing import black76_exact

INSTRUMENTS, MOVES, VOLS = 5_000, 16, 4
SCENARIOS = MOVES * VOLS
_QUANTLIB_ROWS = 25
_ACCURACY_SAMPLES = 2_000


@dataclass(frozen=True)
class Market:
    """One market in the shapes that the candidates want."""

    forward: np.ndarray[Any, Any]
    strike: np.ndarray[Any, Any]
    years: np.ndarray[Any, Any]
    vol: np.ndarray[Any, Any]
    side: np.ndarray[Any, Any]
    growth: np.ndarray[Any, Any]
    vol_factor: np.ndarray[Any, Any]
    vol_state: np.ndarray[Any, Any]
    cells: Grid

    @classmethod
    def make(cls) -> Market:
        rng = np.random.default_rng(1)
        n = INSTRUMENTS
        forward = rng.uniform(1_000, 90_000, n)
        strike = forward * np.exp(rng.normal(0, 0.3, n))
        years, vol = rng.uniform(0.005, 1.0, n), rng.uniform(0.3, 1.2, n)
        side = rng.choice([-1.0, 1.0], n)
        growth = np.repeat(1.0 + np.linspace(-0.5, 0.6, MOVES), VOLS)
        factor = np.array([0.75, 1.0, 1.3, 1.6])
        state = np.tile(np.arange(VOLS, dtype=np.int32), MOVES)
        cells = grid.grid(
            forward=forward,
            strike=strike,
            asset=side,
            cash=side * strike,
            side=side,
            scale=np.ones(n),
            inverse=np.zeros(n, dtype=bool),
            total_vol=(vol * np.sqrt(years))[:, None] * factor,
            curve=np.zeros(n, dtype=np.int32),
            growth=growth[None, :],
            vol_state=state,
        )
        return cls(forward, strike, years, vol, side, growth, factor, state, cells)

    def flat(self) -> dict[str, np.ndarray[Any, Any]]:
        """Every cell as a row, for peers that take vectors."""
        shape = (INSTRUMENTS, SCENARIOS)
        return {
            "forward": (self.forward[:, None] * self.growth).ravel(),
            "strike": np.broadcast_to(self.strike[:, None], shape).ravel().copy(),
            "years": np.broadcast_to(self.years[:, None], shape).ravel().copy(),
            "vol": (self.vol[:, None] * self.vol_factor[self.vol_state]).ravel(),
            "side": np.broadcast_to(self.side[:, None], shape).ravel().copy(),
        }


def numpy_ndtr(market: Market) -> np.ndarray[Any, Any]:
    """The same with numpy and scipy's normal law, σ√T and log(F/K) known before."""
    forward = market.forward[:, None] * market.growth
    total = (market.vol * np.sqrt(market.years))[:, None] * market.vol_factor[market.vol_state]
    middle = (np.log(market.forward / market.strike)[:, None] + np.log(market.growth)) / total
    side = market.side[:, None]
    d1 = middle + 0.5 * total
    price = forward * ndtr(side * d1) - market.strike[:, None] * ndtr(side * (d1 - total))
    return np.asarray(side * price)


def candidates(market: Market) -> dict[str, Candidate]:
    """Ours and every peer that is installed."""
    flat = market.flat()
    c = market.cells
    found = {
        "solvent compiled": Candidate(run=lambda: compiled.value_cells(c)),
        "solvent numpy twin": Candidate(run=lambda: grid.value_cells(c)),
        "numpy + scipy ndtr": Candidate(run=lambda: numpy_ndtr(market)),
    }
    return found | _fast_vollib(flat) | _polars_vol(flat) | _quantlib(market)


def _fast_vollib(flat: dict[str, np.ndarray[Any, Any]]) -> dict[str, Candidate]:
    try:
        from fast_vollib import fast_black
    except ImportError:
        return {}
    flag = np.where(flat["side"] > 0, "c", "p")

    def run() -> object:
        return fast_black(
            flag, flat["forward"], flat["strike"], flat["years"], 0.0, flat["vol"],
            return_as="numpy",
        )  # fmt: skip

    return {"fast-vollib 0.2.4": Candidate(run=run)}


def _polars_vol(flat: dict[str, np.ndarray[Any, Any]]) -> dict[str, Candidate]:
    try:
        import polars as pl
        import polars_vol
    except ImportError:
        return {}
    frame = pl.DataFrame({**flat, "call": flat["side"] > 0})
    price = polars_vol.black_scholes(
        pl.col("strike"), pl.col("forward"), pl.col("vol"), pl.col("years"), pl.lit(0.0),
        pl.col("call"),
    )  # fmt: skip
    return {"polars-vol 0.1.1": Candidate(run=lambda: frame.select(price))}


def _quantlib(market: Market) -> dict[str, Candidate]:
    try:
        import QuantLib
    except ImportError:
        return {}

    def run() -> None:
        for i in range(_QUANTLIB_ROWS):
            kind = QuantLib.Option.Call if market.side[i] > 0 else QuantLib.Option.Put
            strike, forward = float(market.strike[i]), float(market.forward[i])
            deviation = float(market.vol[i] * np.sqrt(market.years[i]))
            for s in range(SCENARIOS):
                QuantLib.blackFormula(
                    kind,
                    strike,
                    forward * float(market.growth[s]),
                    deviation * float(market.vol_factor[market.vol_state[s]]),
                )

    share = _QUANTLIB_ROWS / INSTRUMENTS
    return {"QuantLib blackFormula loop": Candidate(run=run, share=share)}


def largest_error(market: Market) -> float:
    """Largest |price − exact| / F over sampled cells, exact in 40 digits."""
    values = compiled.value_cells(market.cells)
    rng = np.random.default_rng(3)
    worst = 0.0
    for _ in range(_ACCURACY_SAMPLES):
        i, s = int(rng.integers(INSTRUMENTS)), int(rng.integers(SCENARIOS))
        forward = float(market.forward[i] * market.growth[s])
        vol = float(market.vol[i] * market.vol_factor[market.vol_state[s]])
        exact = black76_exact(
            forward=forward, strike=float(market.strike[i]), years=float(market.years[i]),
            vol=vol, side=int(market.side[i]),
        )  # fmt: skip
        worst = max(worst, abs(float(values[i, s]) - exact) / max(forward, market.forward[i]))
    return worst
