"""Chains and quotes that tests of the surface share."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from solvent.feeds.market import read_market
from solvent.feeds.open_interest import read_open_interest
from solvent.market import Snapshot
from solvent.market.surface import Smiles
from solvent.pricing.option_quotes import OptionQuotes, quotes_of
from solvent.pricing.surface_fit import SurfaceFit, fit_surface
from solvent.units import YEAR_MS, TimeMs
from tests.conftest import SHARED

FOLDER = SHARED / "data" / "deribit_chains"
CHAINS = sorted(path.name for path in FOLDER.glob("deribit_options_snapshot_*"))
CRASH = "deribit_options_snapshot_20260205T212937Z.csv.gz"
NOW = TimeMs(1_770_000_000_000)
BTC = ("BTC", "BTC")


@lru_cache(maxsize=4)
def chain(name: str) -> tuple[Snapshot, OptionQuotes, SurfaceFit]:
    """A real chain, its quotes, and what was fitted to it."""
    path: Path = FOLDER / name
    snapshot = read_market([path], skip_bad=True).snapshot
    quotes = quotes_of(snapshot, read_open_interest([path]))
    return snapshot, quotes, fit_surface(quotes)


def quotes_from(
    smiles: Smiles,
    years: list[float],
    *,
    strikes: int = 15,
    width: float = 2.5,
    forward: float = 50_000.0,
    noise: float = 0.0,
    seed: int = 0,
) -> OptionQuotes:
    """Calls and puts on smiles, their strikes so many standard deviations either side."""
    random = np.random.default_rng(seed)
    columns: dict[str, list[Any]] = {name: [] for name in ("expiry", "strike", "call", "vol")}
    for one, time in enumerate(years):
        deviation = float(np.sqrt(smiles.w(np.zeros((1, 1)))[one, 0]))
        k = np.linspace(-width, width, strikes) * deviation
        vol = np.sqrt(smiles.at(np.array([one])).w(k[None, :])[0] / time)
        vol = vol * np.exp(noise * random.standard_normal(strikes))
        for call in (True, False):
            columns["expiry"] += [int(NOW + round(time * YEAR_MS))] * strikes
            columns["strike"] += (forward * np.exp(k)).tolist()
            columns["call"] += [call] * strikes
            columns["vol"] += vol.tolist()
    count = len(columns["vol"])
    blank = np.full(count, np.nan)
    return OptionQuotes(
        as_of_ms=NOW,
        books=(BTC,),
        symbols=tuple(f"option {row}" for row in range(count)),
        book=np.zeros(count, dtype=np.int32),
        expiry_ms=np.array(columns["expiry"], dtype=np.int64),
        strike=np.array(columns["strike"]),
        is_call=np.array(columns["call"]),
        inverse=np.ones(count, dtype=bool),
        forward=np.full(count, forward),
        rate=np.zeros(count),
        vol=np.array(columns["vol"]),
        mark=blank,
        bid=blank,
        ask=blank,
        open_interest=blank,
    )


def plain_smiles(years: list[float], *, vol: float = 0.6) -> Smiles:
    """Skewed smiles whose variance grows with time."""
    theta = vol * vol * np.array(years)
    rho = np.full(len(years), -0.3)
    phi = 0.8 / np.sqrt(theta)
    root = np.sqrt(1.0 - rho**2)
    return Smiles(0.5 * theta * root**2, 0.5 * theta * phi, rho, -rho / phi, root / phi)
