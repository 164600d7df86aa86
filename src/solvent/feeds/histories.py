"""Histories from files: prices of bars or of moments, and surfaces, as a `Series`.

A bar's close is known at the bar's end: files tell when a bar began, so its length is added. What
is wrong with a row is a `Problem` with file, row and field.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from solvent.errors import BadInput, Problem, Reject
from solvent.feeds.columns import UNTOLD, moments, names, numbers, require
from solvent.feeds.table import Faults, check_file, check_header, kind_of, read_table, unreadable
from solvent.scenarios.history.series import Series, join
from solvent.scenarios.history.surface import Nodes
from solvent.scenarios.joint import TERM_DAYS
from solvent.units import DAY_MS, Float64

_TIMES: Final = ("time_ms", "timestamp", "datetime", "time", "unix", "Date", "date")
_CLOSES: Final = ("close", "Close")
_DAY_FIRST: Final = r"^\d{2}-\d{2}-\d{4} \d{2}:\d{2}$"
_SURFACE: Final = ("level", "skew", "term", "curve")
_DELTAS: Final = {
    "put10d_iv": -1.2815515655446004,
    "put25d_iv": -0.6744897501960817,
    "atm_iv": 0.0,
    "call25d_iv": 0.6744897501960817,
    "call10d_iv": 1.2815515655446004,
}
"""Column → −d₁ of its delta: x = ln(K/F)/(σ√T) = σ√T/2 − d₁, N(d₁) the forward delta of a call."""
NODE_DAYS: Final = (7.0, 14.0, 30.0, 60.0, 90.0, 180.0)
"""Constant maturities at which surfaces are told."""
_EXPIRY_HOUR_MS: Final = 8 * 3_600_000
_DAYS_MIN: Final = 2.0
"""Expiries that are nearer tell more of hours than of a surface."""


def read_history(paths: str | Path | Sequence[str | Path], *, name: str | None = None) -> Series:
    """One history of all files; where two tell a coin at the same time, the later file stands.

    The format is known by the header: rows `time,name,price` (and `level,skew,term,curve,basis`),
    bars with a `close`, or a chain's summary by expiry (`snapshot,currency,…,atm_iv,…`).

    Args:
        name: the coin of files of bars; else the file's own symbol, or its name's first letters.
    """
    paths = [paths] if isinstance(paths, str | Path) else list(paths)
    parts = [_read(Path(path), name) for path in paths]
    return parts[0] if len(parts) == 1 else join(*parts)


def _read(path: Path, name: str | None) -> Series:
    faults = Faults.of(path, skip=False)
    frame = bare_table(path, faults)
    if {"snapshot", "atm_iv"} <= set(frame.columns):
        return _surfaces(frame, faults)
    bars = any(one in frame.columns for one in _CLOSES)
    if bars and not {"name", "price"} <= set(frame.columns):
        return _bars(frame, faults, name or _coin_of(path, frame))
    require(frame, ("name", "price"), faults)
    return _long(frame, faults)


def bare_table(path: Path, faults: Faults) -> pl.DataFrame:
    """A table; a first line without a comma is a remark of its publisher's."""
    check_file(path)
    if kind_of(path) != ".csv":
        return read_table(path, faults)
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            remark = b"," not in file.readline(1 << 16) and bool(file.readline(1 << 16).strip())
    except (OSError, EOFError, zlib.error) as fault:
        raise BadInput(unreadable(path, fault)) from fault
    if not remark:
        return read_table(path, faults)
    faults.header_lines = 2
    try:
        frame = pl.read_csv(path, infer_schema=False, skip_rows=1, glob=False)
    except pl.exceptions.PolarsError as fault:
        raise BadInput(unreadable(path, fault)) from fault
    check_header(frame.columns, str(path))
    return frame


def _coin_of(path: Path, frame: pl.DataFrame) -> str:
    """`BTC` of BTC_USD_2h.csv.gz, btc-hourly-price.csv or a column of symbols BTC/USDT."""
    text = path.name
    for column in ("symbol", "Symbol"):
        if column in frame.columns and frame.height:
            text = str(frame[column][0])
    letters = re.match(r"[A-Za-z]+", text)
    coin = letters.group().upper() if letters else "COIN"
    for quote in ("USDT", "USDC", "USD"):
        coin = coin.removesuffix(quote) or coin
    return coin


def _bars(frame: pl.DataFrame, faults: Faults, coin: str) -> Series:
    """Closes at the ends of bars; a bar is as long as most are."""
    close = next(one for one in _CLOSES if one in frame.columns)
    began = times_of(frame, faults)
    price = _prices(frame, close, faults)
    gaps = np.abs(np.diff(began))
    if not (gaps > 0).any():
        faults.add(Reject.TIME_INVALID, 0, None, expected="bars at two times or more", found="one")
        faults.settle()
    bar_ms = int(np.median(gaps[gaps > 0]))
    return _newest_last(
        Series(names=(coin,), time_ms=began + bar_ms, price=price[:, None], source=faults.source)
    )


def times_of(frame: pl.DataFrame, faults: Faults) -> NDArray[np.int64]:
    """Moments of rows, from the first column that tells them in a form that is whole."""
    found = [name for name in _TIMES if name in frame.columns]
    if not found:
        require(frame, _TIMES[:1], faults)
    # A spreadsheet that mangled one column left the other alone.
    for name in found:
        column = frame[name].cast(pl.String)
        if column.str.contains(_DAY_FIRST).all():
            told = column.str.to_datetime("%d-%m-%Y %H:%M", strict=True, time_zone="UTC")
            return told.dt.epoch("ms").to_numpy().astype(np.int64)
    time_ms = moments(frame, found[0], faults)
    for row in np.flatnonzero(time_ms == UNTOLD).tolist():
        if row not in faults.rows:
            faults.add(Reject.FIELD_MISSING, row, found[0], expected="a time", found="nothing")
    faults.settle()
    return time_ms


def _prices(frame: pl.DataFrame, column: str, faults: Faults) -> Float64:
    """Prices; an empty cell is none, and one that is not above 0 is a fault."""
    price = numbers(frame, column, faults, required=False)
    for row in np.flatnonzero(price <= 0.0).tolist():
        faults.add(Reject.PRICE_NOT_POSITIVE, row, column, expected="a price above 0",
                   found=price[row])  # fmt: skip
    faults.settle()
    return price


def _newest_last(series: Series) -> Series:
    """Files that begin with the newest row are turned round: that is an order, not a fault."""
    if len(series) > 1 and bool((np.diff(series.time_ms) <= 0).all()):
        return series.rows(np.arange(len(series))[::-1])
    return series


def _long(frame: pl.DataFrame, faults: Faults) -> Series:
    """Rows `time,name,price`, and what more they tell, laid out by name."""
    time_ms, price = times_of(frame, faults), _prices(frame, "price", faults)
    told = names(frame, "name", faults).to_list()
    for row, one in enumerate(told):
        if not one:
            faults.add(Reject.FIELD_MISSING, row, "name", expected="a name", found="nothing")
    wide = [one for one in (*_SURFACE, "basis") if one in frame.columns]
    values = {one: numbers(frame, one, faults, required=False) for one in wide}
    faults.settle()
    if set(_SURFACE) & set(wide):
        require(frame, _SURFACE, faults)
    parts = []
    for coin in dict.fromkeys(told):
        mine = np.array([one == coin for one in told])
        more: dict[str, Any] = {one: value[mine][:, None] for one, value in values.items()}
        parts.append(
            Series(names=(coin,), time_ms=time_ms[mine], price=price[mine][:, None],
                   source=faults.source, **more)
        )  # fmt: skip
    return join(*map(_newest_last, parts))


def write_history(series: Series, path: str | Path) -> None:
    """A series as rows `time,name,price,…` that `read_history` reads back; CSV, or .csv.gz."""
    columns = {"time": np.repeat(series.time_ms, len(series.names)),
               "name": np.tile(series.names, len(series))}  # fmt: skip
    numbers_told: dict[str, Float64] = {}
    for name in ("price", *_SURFACE, "basis"):
        part = getattr(series, name)
        if part is not None:
            numbers_told[name] = part.ravel()
    told = ~np.all([np.isnan(one) for one in numbers_told.values()], axis=0)
    frame = pl.DataFrame({**columns, **numbers_told}).filter(pl.Series(told)).fill_nan(None)
    text = frame.write_csv().encode()
    path = Path(path)
    try:
        path.write_bytes(gzip.compress(text, mtime=0) if path.suffix == ".gz" else text)
    except OSError as fault:
        raise BadInput(
            Problem(code=Reject.TARGET_UNWRITABLE, source=str(path), expected="a file to write",
                    found=str(fault))
        ) from fault  # fmt: skip


# ── surfaces ─────────────────────────────────────────────────────────────────────────────────────


def read_surface_nodes(path: str | Path) -> tuple[Nodes, ...]:
    """Volatilities at constant maturities and deltas by coin, of a chain's summary by expiry.

    Total variance is linear in time between expiries, at each delta; x of a node is its mean over
    time. Moments whose expiries do not reach a node are left out.
    """
    faults = Faults.of(path, skip=False)
    frame = bare_table(Path(path), faults)
    found = []
    for coin, rows in _by_coin(frame, faults).items():
        time_ms, _, _, vol = rows
        whole = np.isfinite(vol).all(axis=(1, 2))
        x, days = _moneyness(vol[whole]).mean(axis=0), np.repeat(NODE_DAYS, len(_DELTAS))
        found.append(
            Nodes(name=coin, x=x.ravel(), days=days, time_ms=time_ms[whole],
                  log_vol=np.log(vol[whole]).reshape(int(whole.sum()), -1))
        )  # fmt: skip
    return tuple(found)


_Rows = tuple[NDArray[np.int64], Float64, Float64, Float64]
"""[moment] times, indices, bases; [moment, maturity, delta] vols."""


def _surfaces(frame: pl.DataFrame, faults: Faults) -> Series:
    """Index prices, surfaces and bases of a chain's summary by expiry."""
    parts = []
    for coin, (time_ms, index, basis, vol) in _by_coin(frame, faults).items():
        shape = _fit(vol)
        more: dict[str, Any] = {name: shape[:, [at]] for at, name in enumerate(_SURFACE)}
        parts.append(
            Series(names=(coin,), time_ms=time_ms, price=index[:, None], basis=basis[:, None],
                   source=faults.source, **more)
        )  # fmt: skip
    return join(*parts)


def _by_coin(frame: pl.DataFrame, faults: Faults) -> dict[str, _Rows]:
    require(frame, ("snapshot", "currency", "expiry", "futures", "index", *_DELTAS), faults)
    time_ms, expiry = moments(frame, "snapshot", faults), moments(frame, "expiry", faults)
    forward, index = _prices(frame, "futures", faults), _prices(frame, "index", faults)
    vol = np.stack([_prices(frame, one, faults) for one in _DELTAS], axis=1)
    for name, told in (("snapshot", time_ms), ("expiry", expiry)):
        for row in np.flatnonzero(told == UNTOLD).tolist():
            faults.add(Reject.FIELD_MISSING, row, name, expected="a time", found="nothing")
    coins = np.array(names(frame, "currency", faults).to_list())
    faults.settle()
    # Expiries are told as days; options expire at 08:00 UTC.
    days = (expiry + _EXPIRY_HOUR_MS - time_ms) / DAY_MS
    found: dict[str, _Rows] = {}
    for coin in sorted(set(coins.tolist())):
        mine = np.flatnonzero(coins == coin)
        mine = mine[np.argsort(time_ms[mine], kind="stable")]
        times, starts = np.unique(time_ms[mine], return_index=True)
        groups = np.split(mine, starts[1:])
        vols = np.stack([_at_nodes(days[one], vol[one]) for one in groups])
        bases = np.array([_basis(days[one], forward[one], index[one]) for one in groups])
        spot = np.array([float(np.median(index[one])) for one in groups])
        found[str(coin)] = (times, spot, bases, vols)
    return found


def _at_nodes(days: Float64, vol: Float64) -> Float64:
    """[maturity, delta] vols by total variance; NaN where the expiries do not reach."""
    result = np.full((len(NODE_DAYS), vol.shape[1]), np.nan)
    for place in range(vol.shape[1]):
        told = np.isfinite(vol[:, place]) & (days >= _DAYS_MIN)
        order = np.argsort(days[told])
        at = days[told][order]
        if len(at) < 2:
            continue
        total = vol[told, place][order] ** 2 * at
        variance = np.interp(NODE_DAYS, at, total, left=np.nan, right=np.nan) / NODE_DAYS
        result[:, place] = np.sqrt(variance)
    return result


def _basis(days: Float64, forward: Float64, index: Float64) -> float:
    """Annualised log basis b of ln(F/S) = b·T, least squares over expiries from a week on."""
    years = days / 365.0
    told = np.isfinite(forward * index) & (days >= NODE_DAYS[0])
    if not told.any():
        return float("nan")
    log = np.log(forward[told] / index[told])
    return float((years[told] * log).sum() / (years[told] ** 2).sum())


def _moneyness(vol: Float64) -> Float64:
    """[…, maturity, delta] x of each node: 0 at the money, σ√T/2 − d₁ elsewhere."""
    minus_d1 = np.array(list(_DELTAS.values()))
    half = 0.5 * vol * np.sqrt(np.array(NODE_DAYS) / 365.0)[:, None]
    return np.where(minus_d1 == 0.0, 0.0, half + minus_d1)


def _fit(vol: Float64) -> Float64:
    """[moment, 4] level, skew, term and curve by least squares over nodes; NaN without two
    maturities."""
    x = _moneyness(vol)
    term = np.broadcast_to(np.log(np.array(NODE_DAYS) / TERM_DAYS)[:, None], vol.shape[1:])
    result = np.full((len(vol), 4), np.nan)
    for moment in range(len(vol)):
        told = np.isfinite(vol[moment])
        if told.any(axis=1).sum() < 2 or told.sum() < 8:
            continue
        at = x[moment][told]
        design = np.stack([np.ones_like(at), at, term[told], at * at], axis=1)
        result[moment] = np.linalg.lstsq(design, np.log(vol[moment][told]), rcond=None)[0]
    return result
