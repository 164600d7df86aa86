"""A look at a market: what is in it, how old, how well its marks reprice, what could be arbitraged.

An *executable* arbitrage buys at asks and sells at bids; a *mark* one is between marks, and is
reported where it is larger than the instrument's tick. For inverse contracts the bounds are those
of payoffs in coin.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solvent.instruments import Kind
from solvent.instruments.contract import moment_of
from solvent.market import Flag, Snapshot
from solvent.pricing.black import black76
from solvent.units import YEAR_MS, Float64

_SHOWN = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class CurveRow:
    """One expiry of one book. Vols are fractions, `basis` is per year."""

    underlying: str
    settlement: str
    expiry: str
    days: float
    forward: float
    by_parity: bool
    basis: float
    atm_vol: float
    options: int
    reprice_median: float
    reprice_max: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """Prices that a trader could profit from without risk; `gain` in the quoting unit."""

    kind: str
    executable: bool
    instruments: tuple[str, ...]
    gain: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketReport:
    """What `inspect_market` found."""

    as_of: str
    index: dict[str, float]
    instruments: dict[str, int]
    usable: int
    flags: dict[str, int]
    flagged: dict[str, tuple[str, ...]]
    curves: tuple[CurveRow, ...]
    reprice_median: float
    reprice_p99: float
    reprice_max: float
    violations: tuple[Violation, ...]

    def to_dict(self) -> dict[str, Any]:
        """As `solvent market --json` prints it."""
        return asdict(self)


def inspect_market(snapshot: Snapshot) -> MarketReport:
    """Inspect a snapshot."""
    universe = snapshot.universe
    residual = reprice(snapshot)
    options = np.flatnonzero(universe.kind == Kind.OPTION)
    errors = residual[options][np.isfinite(residual[options])]
    flags = {
        flag.name or "": tuple(universe.symbols[r] for r in np.flatnonzero(snapshot.flags & flag))
        for flag in Flag
        if flag and bool((snapshot.flags & flag).any())
    }
    names = [Kind(kind).name.lower() for kind in universe.kind]
    return MarketReport(
        as_of=moment_of(snapshot.as_of_ms).isoformat(),
        index=dict(zip(universe.underlyings, snapshot.index.tolist(), strict=True)),
        instruments={name: names.count(name) for name in dict.fromkeys(names)},
        usable=int(snapshot.usable.sum()),
        flags={name: len(symbols) for name, symbols in flags.items()},
        flagged={name: symbols[:_SHOWN] for name, symbols in flags.items()},
        curves=tuple(_curve_rows(snapshot, residual)),
        reprice_median=float(np.median(errors)) if errors.size else 0.0,
        reprice_p99=float(np.quantile(errors, 0.99)) if errors.size else 0.0,
        reprice_max=float(errors.max(initial=0.0)),
        violations=tuple(_violations(snapshot)),
    )


def reprice(snapshot: Snapshot) -> Float64:
    """|model − mark| of each option from its own vol and forward, in its quoting unit; else NaN."""
    universe = snapshot.universe
    rows = np.flatnonzero(
        (universe.kind == Kind.OPTION)
        & snapshot.usable
        & ((snapshot.flags & Flag.MARK_DERIVED) == 0)
    )
    forward, years = snapshot.mark_forward[rows], snapshot.years[rows]
    price = black76(
        forward=forward,
        strike=universe.strike[rows],
        years=years,
        vol=snapshot.vol[rows],
        side=np.where(universe.is_call[rows], 1.0, -1.0),
        discount=np.exp(-snapshot.rate[rows] * years),
    )
    price = np.where(universe.inverse[rows], price / forward, price)
    residual = np.full(len(universe), np.nan)
    residual[rows] = np.abs(price - snapshot.mark[rows])
    return residual


def _curve_rows(snapshot: Snapshot, residual: Float64) -> Iterator[CurveRow]:
    universe, curves = snapshot.universe, snapshot.curves
    for code in range(len(curves)):
        rows = np.flatnonzero((snapshot.curve == code) & (universe.kind == Kind.OPTION))
        forward, index = float(curves.forward[code]), float(snapshot.index[curves.underlying[code]])
        years = max(0.0, (int(curves.expiry_ms[code]) - snapshot.as_of_ms) / YEAR_MS)
        errors = residual[rows][np.isfinite(residual[rows])]
        dated = years > 0 and forward > 0 and index > 0
        yield CurveRow(
            underlying=universe.underlyings[curves.underlying[code]],
            settlement=universe.settlements[curves.settlement[code]],
            expiry=f"{moment_of(int(curves.expiry_ms[code])):%Y-%m-%d}",
            days=years * 365.0,
            forward=forward,
            by_parity=bool(curves.by_parity[code]),
            basis=float(np.log(forward / index) / years) if dated else 0.0,
            atm_vol=_atm_vol(snapshot, rows, forward),
            options=len(rows),
            reprice_median=float(np.median(errors)) if errors.size else 0.0,
            reprice_max=float(errors.max(initial=0.0)),
        )


def _atm_vol(snapshot: Snapshot, rows: NDArray[np.int64], forward: float) -> float:
    live = rows[(snapshot.vol[rows] > 0)]
    if live.size == 0 or forward <= 0:
        return 0.0
    order = np.argsort(snapshot.universe.strike[live], kind="stable")
    strikes, vols = snapshot.universe.strike[live][order], snapshot.vol[live][order]
    return float(np.interp(forward, strikes, vols))


def _violations(snapshot: Snapshot) -> Iterator[Violation]:
    universe = snapshot.universe
    for code in range(len(snapshot.curves)):
        for calls in (True, False):
            rows = np.flatnonzero(
                (snapshot.curve == code)
                & (universe.kind == Kind.OPTION)
                & (universe.is_call == calls)
                & snapshot.usable
            )
            rows = rows[np.argsort(universe.strike[rows], kind="stable")]
            # A put's ladder read from the top behaves as a call's.
            ladder = rows if calls else rows[::-1]
            yield from _verticals(snapshot, ladder)
            yield from _butterflies(snapshot, ladder)
    yield from _calendars(snapshot)


def _verticals(snapshot: Snapshot, ladder: NDArray[np.int64]) -> Iterator[Violation]:
    """The option nearer the money is worth at least its neighbour, at most by the strikes' gap."""
    universe = snapshot.universe
    for rich, poor in pairwise(ladder):
        names = (universe.symbols[rich], universe.symbols[poor])
        ask, bid = snapshot.ask[rich], snapshot.bid[poor]
        if ask > 0 and bid > ask:
            yield Violation(kind="vertical", executable=True, instruments=names, gain=bid - ask)
        width = abs(universe.strike[rich] - universe.strike[poor])
        if universe.inverse[rich]:
            # In coin a call spread pays at most width/K_high; a put spread has no such bound.
            high = max(universe.strike[rich], universe.strike[poor])
            width = width / high if universe.is_call[rich] else np.inf
        ask, bid = snapshot.ask[poor], snapshot.bid[rich]
        if ask > 0 and bid - ask > width:
            yield Violation(
                kind="vertical", executable=True, instruments=names, gain=bid - ask - width
            )
        gain = float(snapshot.mark[poor] - snapshot.mark[rich])
        if gain > universe.tick_size[rich]:
            yield Violation(kind="vertical", executable=False, instruments=names, gain=gain)


def _butterflies(snapshot: Snapshot, ladder: NDArray[np.int64]) -> Iterator[Violation]:
    """Worth is convex in the strike: the wings, weighted, cost at least the body."""
    universe, strike = snapshot.universe, snapshot.universe.strike
    for low, body, high in zip(ladder[:-2], ladder[1:-1], ladder[2:], strict=True):
        names = tuple(universe.symbols[row] for row in (low, body, high))
        weight = (strike[high] - strike[body]) / (strike[high] - strike[low])
        ask_low, ask_high, bid = snapshot.ask[low], snapshot.ask[high], snapshot.bid[body]
        if ask_low > 0 and ask_high > 0 and bid > 0:
            gain = float(bid - weight * ask_low - (1.0 - weight) * ask_high)
            if gain > 0:
                yield Violation(kind="butterfly", executable=True, instruments=names, gain=gain)
        mark = snapshot.mark
        gain = float(mark[body] - weight * mark[low] - (1.0 - weight) * mark[high])
        if gain > universe.tick_size[body]:
            yield Violation(kind="butterfly", executable=False, instruments=names, gain=gain)


def _calendars(snapshot: Snapshot) -> Iterator[Violation]:
    """Total variance at one log-moneyness does not fall from one expiry to the next."""
    universe, curves = snapshot.universe, snapshot.curves
    books = sorted(set(zip(curves.underlying.tolist(), curves.settlement.tolist(), strict=True)))
    for book in books:
        mine = [
            code
            for code in np.argsort(curves.expiry_ms, kind="stable")
            if (int(curves.underlying[code]), int(curves.settlement[code])) == book
        ]
        smiles = [(code, *_total_variance(snapshot, int(code))) for code in mine]
        smiles = [smile for smile in smiles if smile[1].size >= 2]
        for (near, k, w), (far, k_far, w_far) in pairwise(smiles):
            inside = (k >= k_far[0]) & (k <= k_far[-1])
            if not inside.any():
                continue
            fall = w[inside] - np.interp(k[inside], k_far, w_far)
            worst = int(np.argmax(fall))
            vols = f"{moment_of(int(curves.expiry_ms[near])):%d%b%y}".upper()
            later = f"{moment_of(int(curves.expiry_ms[far])):%d%b%y}".upper()
            # A hundredth of a vol point is what a quoted volatility is rounded to.
            if fall[worst] > 1e-3 * w[inside][worst]:
                base = universe.underlyings[book[0]]
                names = (f"{base}-{vols}", f"{base}-{later}")
                yield Violation(
                    kind="calendar", executable=False, instruments=names, gain=float(fall[worst])
                )


def _total_variance(snapshot: Snapshot, code: int) -> tuple[Float64, Float64]:
    universe = snapshot.universe
    rows = np.flatnonzero(
        (snapshot.curve == code) & (universe.kind == Kind.OPTION) & snapshot.usable
        & universe.is_call
    )  # fmt: skip
    rows = rows[np.argsort(universe.strike[rows], kind="stable")]
    k = np.log(universe.strike[rows] / float(snapshot.curves.forward[code]))
    return k, snapshot.vol[rows] ** 2 * snapshot.years[rows]
