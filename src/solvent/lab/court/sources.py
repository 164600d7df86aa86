"""Market histories from files and from a seed: what `sv.backtest` runs over.

| history | what it is made of |
|---|---|
| `chains` | whole option chains, a file a moment |
| `surfaces` | five points of each smile, a table of many moments |
| `prices` | a price path; options stand on the proxy of `proxy.py`, which the notes say |
| `generated` | a seeded path with jumps and moving volatility, and the proxy's smiles on it |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path as File
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from solvent.errors import BadInput, Problem, Reject
from solvent.feeds.market import read_market
from solvent.feeds.synthetic_market import listed_expiries
from solvent.feeds.table import read_table
from solvent.instruments import Kind
from solvent.lab.court.markets import MarketHistory, Path, history_of
from solvent.lab.court.proxy import PROXY, Proxy, proxy_strips, proxy_vol
from solvent.lab.court.result import Note
from solvent.lab.court.strip import D10, D25, Strip, atm_at
from solvent.market import Snapshot
from solvent.scenarios.history.series import Series, join
from solvent.units import DAY_MS, YEAR_MS, Float64, TimeMs

_COLUMNS: Final = ("snapshot", "currency", "expiry", "futures", "index", "put10d_iv", "put25d_iv",
                   "atm_iv", "call25d_iv", "call10d_iv")  # fmt: skip
_SMILE: Final = _COLUMNS[5:]
_VOL_MAX: Final = 5.0


# ── surfaces ─────────────────────────────────────────────────────────────────────────────────


def read_strips(path: str | File, *, notes: list[Note] | None = None) -> dict[str, list[Strip]]:
    """Strips from a table of surfaces: a row a moment, coin and expiry.

    Columns `snapshot` (20260131T093000Z), `currency`, `expiry` (a day), `futures`, `index` and
    five volatilities. A row with a number that cannot be is left out and counted in `notes`.

    Raises BadInput for a file that cannot be read, and for columns that are not there.
    """
    frame = read_table(path)
    missing = [name for name in _COLUMNS if name not in frame.columns]
    if missing:
        raise BadInput(
            Problem(
                code=Reject.FIELD_MISSING, source=str(path), field=missing[0],
                expected=f"columns {', '.join(_COLUMNS)}", found=", ".join(frame.columns),
            )
        )  # fmt: skip
    numbers = [
        pl.col(name).cast(pl.Float64, strict=False) for name in ("futures", "index", *_SMILE)
    ]
    read = frame.select(
        pl.col("snapshot").cast(pl.String).str.to_datetime("%Y%m%dT%H%M%SZ", strict=False)
        .dt.epoch("ms").alias("time_ms"),
        pl.col("currency").cast(pl.String).str.to_uppercase(),
        (pl.col("expiry").cast(pl.String).str.to_date("%Y-%m-%d", strict=False)
         .cast(pl.Datetime("ms")).dt.epoch("ms") + 8 * 3_600_000).alias("expiry_ms"),
        *numbers,
    )  # fmt: skip
    vols = [pl.col(name).is_between(0.01, _VOL_MAX) for name in _SMILE]
    fine = read.filter(
        pl.all_horizontal(
            pl.col("time_ms").is_not_null(), pl.col("expiry_ms") > pl.col("time_ms"),
            pl.col("futures") > 0, pl.col("index") > 0, *vols,
        )
    )  # fmt: skip
    if notes is not None and len(fine) < len(read):
        text = "rows of the surface table that cannot be (expired, no number, vol beyond 500 %)"
        notes.append(Note(code="row-left-out", text=text, count=len(read) - len(fine)))
    made: dict[str, list[Strip]] = {}
    ordered = fine.unique(["time_ms", "currency", "expiry_ms"], keep="last").sort(
        "currency", "time_ms", "expiry_ms"
    )
    for (coin, time_ms), rows in ordered.group_by(["currency", "time_ms"], maintain_order=True):
        made.setdefault(str(coin), []).append(_strip_of_rows(str(coin), _whole(time_ms), rows))
    return made


def _whole(value: Any) -> int:
    return int(value)


def _strip_of_rows(coin: str, time_ms: int, rows: pl.DataFrame) -> Strip:
    return Strip(
        coin=coin, as_of_ms=time_ms, index=float(np.median(rows["index"].to_numpy())),
        expiry_ms=rows["expiry_ms"].to_numpy().astype(np.int64),
        forward=rows["futures"].to_numpy().astype(np.float64),
        smile=np.ascontiguousarray(rows.select(_SMILE).to_numpy().astype(np.float64)),
    )  # fmt: skip


def surfaces(path: str | File, *, mpor_hours: float = 24.0, hour: float = 9.0) -> MarketHistory:
    """The market history of a table of surfaces."""
    notes: list[Note] = []
    strips = read_strips(path, notes=notes)
    return history_of(strips, name="surfaces", mpor_hours=mpor_hours, hour=hour, notes=notes)


# ── chains ───────────────────────────────────────────────────────────────────────────────────


def chains(
    paths: Sequence[str | File], *, surfaces: str | File | None = None, mpor_hours: float = 24.0
) -> MarketHistory:
    """Whole chains, each moment of which is judged; periods end in the next chain that fits.

    Where none does, both ends of the PnL are taken from a table of surfaces, if one is told.
    """
    strips: dict[str, list[Strip]] = {}
    notes: list[Note] = []
    for path in paths:
        read = read_market([path], skip_bad=True)
        if read.problems:
            text = f"{File(path).name}: rows left out as bad"
            notes.append(Note(code="row-left-out", text=text, count=len(read.problems)))
        for strip in strips_of(read.snapshot):
            strips.setdefault(strip.coin, []).append(strip)
    bases = read_strips(surfaces, notes=notes) if surfaces is not None else None
    return history_of(
        strips, name="chains", mpor_hours=mpor_hours, bases=bases, every_moment=True, notes=notes
    )


def strips_of(snapshot: Snapshot) -> list[Strip]:
    """A strip of each coin of a chain: its strikes and volatilities as told, and five points.

    A strike's volatility is the mean of its call's and its put's. An expiry of fewer than three
    strikes is left out.
    """
    universe, usable = snapshot.universe, snapshot.usable
    options = np.flatnonzero((universe.kind == Kind.OPTION) & usable)
    made = []
    for code, coin in enumerate(universe.underlyings):
        mine = options[universe.underlying[options] == code]
        expiries, forwards, told, smiles = [], [], [], []
        for expiry in np.unique(universe.expiry_ms[mine]):
            rows = mine[universe.expiry_ms[mine] == expiry]
            strikes, place = np.unique(universe.strike[rows], return_inverse=True)
            if len(strikes) < 3:
                continue
            vols = np.bincount(place, snapshot.vol[rows]) / np.bincount(place)
            forward = float(np.median(snapshot.forward[rows]))
            years = (int(expiry) - snapshot.as_of_ms) / YEAR_MS
            expiries.append(int(expiry))
            forwards.append(forward)
            told.append((strikes, vols))
            smiles.append(_five_points(strikes, vols, forward, years))
        if expiries:
            made.append(
                Strip(
                    coin=coin, as_of_ms=int(snapshot.as_of_ms), index=float(snapshot.index[code]),
                    expiry_ms=np.array(expiries, dtype=np.int64), forward=np.array(forwards),
                    smile=np.array(smiles), told=tuple(told),
                )
            )  # fmt: skip
    return made


def _five_points(strikes: Float64, vols: Float64, forward: float, years: float) -> Float64:
    """Volatilities at the five deltas: d₁ falls with the strike, and is interpolated in."""
    root = float(np.sqrt(max(years, 1.0 / (365 * 24))))
    d1 = (np.log(forward / strikes) + 0.5 * (vols * root) ** 2) / (vols * root)
    order = np.argsort(d1)
    wings = np.interp([D10, D25, -D25, -D10], d1[order], vols[order])
    atm = float(np.interp(np.log(forward), np.log(strikes), vols))
    return np.array([wings[0], wings[1], atm, wings[2], wings[3]])


# ── prices ───────────────────────────────────────────────────────────────────────────────────


def path_of(series: Series, coin: str) -> Path:
    """A coin's prices of a series, in order, each moment once, what is not told left out."""
    price = series.price[:, series.names.index(coin)]
    told = np.isfinite(price)
    time, first = np.unique(series.time_ms[told], return_index=True)
    return Path(time_ms=time, price=price[told][first])


def prices(
    series: Series,
    *,
    coins: Sequence[str] | None = None,
    mpor_hours: float = 24.0,
    hour: float = 9.0,
    numbers: Proxy = PROXY,
    real: Mapping[str, Sequence[Strip]] | None = None,
) -> MarketHistory:
    """A price history with the proxy's options on it; days with a real surface have that.

    Told in the notes: how many days stand on the proxy.
    """
    strips: dict[str, list[Strip]] = {}
    paths: dict[str, Path] = {}
    notes = []
    for coin in coins or series.names:
        paths[coin] = path_of(series, coin)
        made = proxy_strips(coin, paths[coin], hour=hour, numbers=numbers)
        told = list((real or {}).get(coin, ()))
        first = min((one.as_of_ms for one in told), default=2**62)
        kept = [one for one in made if one.as_of_ms < first]
        text = f"{coin}: days whose option market is the proxy's (stated, not fitted)"
        notes.append(Note(code="proxy-surface", text=text, count=len(kept)))
        strips[coin] = [*kept, *told]
    return history_of(
        strips, name="prices", mpor_hours=mpor_hours, hour=hour, paths=paths, notes=notes
    )


def proxy_error(
    real: Mapping[str, Sequence[Strip]], series: Series, *, hour: float, numbers: Proxy = PROXY
) -> list[dict[str, Any]]:
    """How far the proxy is from real surfaces: volatility at the money at 7, 30 and 90 days.

    A row a coin and tenor, over the days that both have (within three hours of each other): mean
    and mean absolute error in fractions; of the changes of ln σ from a day to the next, the
    correlation, the proxy's variance over the surfaces', and how each goes with its own change of
    the day before (autocorrelation). None where changes do not vary.
    """
    found: list[dict[str, Any]] = []
    for coin, strips in real.items():
        made = {one.as_of_ms // DAY_MS: one for one in _proxied(series, coin, hour, numbers)}
        days = {
            one.as_of_ms // DAY_MS: one for one in strips
            if abs(one.as_of_ms % DAY_MS - hour * 3_600_000) < 3 * 3_600_000
        }  # fmt: skip
        common = sorted(made.keys() & days.keys())
        if len(common) < 3:
            continue
        for tenor in (7, 30, 90):
            theirs = np.array([atm_at(days[d], tenor) for d in common])
            ours = np.array([atm_at(made[d], tenor) for d in common])
            told = {"coin": coin, "tenor_days": tenor, "days": len(common)}
            off = {
                "mean": float((ours - theirs).mean()),
                "abs": float(np.abs(ours - theirs).mean()),
            }
            found.append({**told, **off, **_changes(ours, theirs, np.diff(common) == 1)})
    return found


def _changes(ours: Float64, theirs: Float64, next_day: NDArray[np.bool_]) -> dict[str, Any]:
    """Daily changes of two volatilities compared; changes over a hole are left out."""
    one, other = np.diff(np.log(ours)), np.diff(np.log(theirs))
    paired = next_day[1:] & next_day[:-1]
    return {
        "changes": int(next_day.sum()),
        "correlation": _correlation(one[next_day], other[next_day]),
        "variance_ratio": _ratio(one[next_day], other[next_day]),
        "autocorrelation": _correlation(one[1:][paired], one[:-1][paired]),
        "autocorrelation_real": _correlation(other[1:][paired], other[:-1][paired]),
    }


def _correlation(one: Float64, other: Float64) -> float | None:
    if len(one) < 3 or one.std() == 0.0 or other.std() == 0.0:
        return None
    return float(np.corrcoef(one, other)[0, 1])


def _ratio(one: Float64, other: Float64) -> float | None:
    return float(one.var() / other.var()) if len(other) and other.var() > 0.0 else None


def _proxied(series: Series, coin: str, hour: float, numbers: Proxy) -> list[Strip]:
    return proxy_strips(coin, path_of(series, coin), hour=hour, numbers=numbers)


# ── generated ────────────────────────────────────────────────────────────────────────────────


def generated(
    *,
    days: int = 365,
    coins: Sequence[str] = ("BTC", "ETH"),
    seed: int = 1,
    mpor_hours: float = 24.0,
    hour: float = 9.0,
    start: datetime = datetime(2025, 1, 1, tzinfo=UTC),
) -> MarketHistory:
    """So many days of daily chains from a seed: returns with moving volatility and jumps.

    Daily log returns are σ·z plus, on one day in 40, a jump of −5 % ± 8 % that all coins share in
    part; ln σ² follows an AR(1) round 60 % a year. Smiles are the proxy's round the σ² of the day.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    first = round(start.timestamp() * 1_000) // DAY_MS * DAY_MS + round(hour * 3_600_000)
    common, jumps = rng.standard_normal(days), rng.random(days) < 1.0 / 40.0
    jump = np.where(jumps, rng.normal(-0.05, 0.08, days), 0.0)
    strips: dict[str, list[Strip]] = {}
    for number, coin in enumerate(coins):
        level, price, made = 0.0, 60_000.0 / 30.0**number, []
        own, noise = rng.standard_normal(days), rng.standard_normal(days)
        for day in range(days):
            vol = (0.6 + 0.15 * number) * float(np.exp(0.5 * level))
            made.append(_drawn(coin, first + day * DAY_MS, price, vol))
            shock = 0.85 * common[day] + float(np.sqrt(1 - 0.85**2)) * own[day]
            step = vol / float(np.sqrt(365.0)) * shock + jump[day]
            price *= float(np.exp(step))
            level = 0.97 * level + 0.12 * noise[day] + (1.0 if jumps[day] else 0.0) * 0.5
        strips[coin] = made
    notes = [Note(code="generated", text=f"a made-up history of seed {seed}", count=days)]
    return history_of(
        strips, name=f"generated {seed}", mpor_hours=mpor_hours, hour=hour, notes=notes
    )


def _drawn(coin: str, as_of_ms: int, price: float, vol: float) -> Strip:
    expiry = np.array(listed_expiries(TimeMs(as_of_ms), PROXY.expiries), dtype=np.int64)
    expiry = expiry[expiry > as_of_ms]
    years = (expiry - as_of_ms) / YEAR_MS
    atm = proxy_vol(years, fast=vol * vol, slow=0.36)
    return Strip(
        coin=coin, as_of_ms=as_of_ms, index=price, expiry_ms=expiry,
        forward=price * np.exp(PROXY.basis * years), smile=np.outer(atm, PROXY.smile),
    )  # fmt: skip


# ── what rulebooks learn from ────────────────────────────────────────────────────────────────


def series_of(history: MarketHistory, prices_told: Series | None = None) -> Series:
    """The history that a rulebook may learn from: prices, and the surface of every strip.

    Of a strip, ln σ = level + skew·x + curve·x² + term·ln(T/30 d) is fitted to the points of all
    expiries of two days and more by least squares. Where a strip is the proxy's, so is its surface.
    """
    parts = [] if prices_told is None else [prices_told]
    for coin, strips in zip(history.coins, history.strips, strict=True):
        time, first = np.unique([one.as_of_ms for one in strips], return_index=True)
        shape = np.array([_shape(strips[row]) for row in first])
        level, skew, term, curve = (shape[:, [place]] for place in range(4))
        index = np.array([strips[row].index for row in first])
        parts.append(
            Series(
                names=(coin,), time_ms=time.astype(np.int64), price=index[:, None],
                source=history.name, level=level, skew=skew, term=term, curve=curve,
            )
        )  # fmt: skip
    return join(*parts)


_MINUS_D1: Final = np.array([-D10, -D25, 0.0, D25, D10])


def _shape(strip: Strip) -> Float64:
    """Level, skew, term and curve of a strip; NaN without two expiries of two days and more."""
    kept = strip.years * 365.0 >= 2.0
    if kept.sum() < 2:
        return np.full(4, np.nan)
    vol, years = strip.smile[kept], strip.years[kept]
    x = 0.5 * vol * np.sqrt(years)[:, None] + _MINUS_D1
    x[:, 2] = 0.0
    term = np.broadcast_to(np.log(years * 365.0 / 30.0)[:, None], x.shape)
    design = np.stack([np.ones(x.size), x.ravel(), term.ravel(), (x * x).ravel()], axis=1)
    return np.asarray(np.linalg.lstsq(design, np.log(vol).ravel(), rcond=None)[0])
