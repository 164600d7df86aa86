"""The markets of a run: chains of a folder, steps between them by a surface's history, or made up.

A step that has no chain is restated from the chain before it: forwards of each expiry and its
at-the-money volatility as the history tells them, smiles and strikes as they were, marks by the
model.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np

from solvent.errors import BadInput, Problem, Reject, check
from solvent.feeds.market import read_market
from solvent.feeds.synthetic_market import generate_market
from solvent.instruments import frozen
from solvent.instruments.contract import moment_of
from solvent.market import Flag, Snapshot
from solvent.pricing.black import black76, inverse_black76
from solvent.units import MINUTE_MS, YEAR_MS, Float64, TimeMs

STEP_MS: Final = 360 * MINUTE_MS
BESIDE: Final = ("perpetual_futures_prices.csv.gz", "term_futures_marks.csv.gz")
HISTORY: Final = "deribit_vol_surface_history.csv.gz"
_PREFIX: Final = "deribit_options_snapshot_"
Pair = tuple[str, int]
"""Coin, and day of expiry as an ordinal."""
Told = tuple[float, float]
"""Forward, at-the-money volatility."""
Surface = Mapping[Pair, Told]


def crash_markets(folder: str | Path, *, first: str, last: str) -> list[Snapshot]:
    """Every market of a folder of chains between two stamps (`20260204T000000Z`), in order; steps
    that the surface history beside the folder has and the chains have not are put between.

    Raises BadInput where there is no chain in the range.
    """
    where = Path(folder)
    chains = {
        path.name.removeprefix(_PREFIX).split(".")[0]: path
        for path in sorted(where.glob(f"{_PREFIX}*.csv*"))
    }
    chains = {stamp: path for stamp, path in chains.items() if first <= stamp <= last}
    if not chains:
        raise BadInput(
            Problem(code=Reject.SOURCE_EMPTY, source=str(where),
                    expected=f"chains between {first} and {last}", found="none")
        )  # fmt: skip
    beside = [path for path in (where / name for name in BESIDE) if path.exists()]
    history = read_history(where.parent / HISTORY, first=min(chains), last=last)
    found: list[Snapshot] = []
    before = ""
    for stamp in sorted({*chains, *history}):
        if stamp in chains:
            read = read_market([chains[stamp], *beside], skip_bad=True)
            found.append(read.snapshot)
            before = stamp
        elif before in history:
            found.append(between(found[-1], history[before], history[stamp], _moment(stamp)))
    return found


def _moment(stamp: str) -> TimeMs:
    at = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    return TimeMs(round(at.timestamp() * 1_000))


def read_history(path: Path, *, first: str, last: str) -> dict[str, dict[Pair, Told]]:
    """Forwards and at-the-money volatilities by stamp; nothing where there is no such file.

    The row `("BTC", 0)` holds the index in place of a forward.
    """
    found: dict[str, dict[Pair, Told]] = {}
    if not path.exists():
        return found
    with gzip.open(path, "rt", encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            stamp = row["snapshot"]
            if not first <= stamp <= last:
                continue
            try:
                day = datetime.fromisoformat(row["expiry"]).toordinal()
                told = float(row["futures"]), float(row["atm_iv"])
                index = float(row["index"])
            except ValueError:
                continue  # a row without a volatility tells nothing of its expiry
            if min(*told, index) > 0.0:
                here = found.setdefault(stamp, {})
                here[row["currency"], day] = told
                here[row["currency"], 0] = index, 0.0
    return found


def between(chain: Snapshot, was: Surface, now: Surface, as_of_ms: TimeMs) -> Snapshot:
    """A chain restated at another moment, from what the history says of both."""
    universe = chain.universe
    index = chain.index.copy()
    for code, name in enumerate(universe.underlyings):
        if (name, 0) in was and (name, 0) in now:
            index[code] *= now[name, 0][0] / was[name, 0][0]
    spot = (index / np.where(chain.index > 0.0, chain.index, 1.0))[universe.underlying]
    growth, vol = spot.copy(), np.ones(len(universe))
    for row in np.flatnonzero(universe.expiry_ms > 0).tolist():
        key = (
            universe.underlyings[universe.underlying[row]],
            moment_of(TimeMs(int(universe.expiry_ms[row]))).toordinal(),
        )
        if key in was and key in now:
            growth[row] = now[key][0] / was[key][0]
            vol[row] = now[key][1] / was[key][1]
    return restated(chain, index=index, growth=growth, vol=vol, as_of_ms=as_of_ms)


def restated(
    chain: Snapshot, *, index: Float64, growth: Float64, vol: Float64, as_of_ms: TimeMs
) -> Snapshot:
    """A market with other prices: forwards and volatilities of each instrument times a factor,
    options at the model's value, everything else at its forward; quotes are gone.

    Args:
        index: [underlying]. growth, vol: [instrument] factors.
    """
    check(as_of_ms >= chain.as_of_ms, "time does not run backwards", as_of_ms)
    universe = chain.universe
    forward, shocked = chain.forward * growth, chain.vol * vol
    usable = chain.usable & ((universe.expiry_ms == 0) | (universe.expiry_ms > as_of_ms))
    years = np.maximum(universe.expiry_ms - as_of_ms, 0) / YEAR_MS
    told = {
        "forward": np.where(usable, forward, 1.0), "strike": universe.strike,
        "years": np.where(universe.expiry_ms > 0, years, 0.0),
        "vol": np.where(usable, shocked, 0.0), "side": np.where(universe.is_call, 1.0, -1.0),
    }  # fmt: skip
    model = np.where(universe.inverse, inverse_black76(**told), black76(**told))
    curves = chain.curves
    scale = np.ones(len(curves))
    scale[chain.curve[chain.curve >= 0]] = growth[chain.curve >= 0]
    flags = chain.flags.copy()
    flags[~usable & chain.usable] |= np.uint16(Flag.EXPIRED)
    nothing = frozen(np.zeros(len(universe)))
    return replace(
        chain,
        as_of_ms=as_of_ms,
        index=frozen(index.copy()),
        curves=replace(curves, forward=frozen(curves.forward * scale)),
        forward=frozen(forward),
        mark_forward=frozen(forward.copy()),
        mark=frozen(np.where(universe.is_option, model, chain.mark * growth)),
        vol=frozen(shocked),
        bid=nothing,
        ask=nothing,
        age_ms=frozen(np.zeros(len(universe), dtype=np.int64)),
        flags=frozen(flags),
    )


_FALL: Final = (1.0, 0.99, 0.97, 0.93, 0.90, 0.91, 0.84, 0.80, 0.83, 0.88, 0.90)
_FEAR: Final = (1.0, 1.05, 1.15, 1.3, 1.45, 1.4, 1.8, 2.2, 1.9, 1.6, 1.5)


def made_up_markets(seed: int = 1) -> list[Snapshot]:
    """A crash where no data is at hand: six-hour steps, a fall by a fifth and half of it back,
    volatilities that double; ether falls a quarter more than bitcoin."""
    opening = generate_market(seed=seed, expiries=6, strikes=14)
    names = opening.universe.underlyings
    found = [opening]
    for step, (price, fear) in enumerate(zip(_FALL[1:], _FEAR[1:], strict=True), 1):
        by_coin = np.array([price if name == "BTC" else 1.0 - 1.25 * (1.0 - price)
                            for name in names])  # fmt: skip
        growth = by_coin[opening.universe.underlying]
        found.append(
            restated(
                opening, index=opening.index * by_coin, growth=growth,
                vol=np.full(len(growth), fear), as_of_ms=TimeMs(opening.as_of_ms + step * STEP_MS),
            )
        )  # fmt: skip
    return found


def symbols_of(markets: Sequence[Snapshot]) -> list[str]:
    """Instruments that every market has usable numbers for, in the first one's order."""
    kept: set[str] | None = None
    for market in markets:
        usable = np.flatnonzero(market.usable).tolist()
        here = {market.universe.symbols[row] for row in usable}
        kept = here if kept is None else kept & here
    return [symbol for symbol in markets[0].universe.symbols if symbol in (kept or ())]
