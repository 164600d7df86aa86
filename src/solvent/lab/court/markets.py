"""A market through time: strips of coins, days that are judged, and where each period ends.

The days are picked once: of each day the moment nearest an hour of the clock. A period ends at the
picked moment nearest its margin period later, else at any moment near enough; a day without an end
stays, unjudged, and is counted. Between picked moments a price path settles what expires.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from solvent.errors import BadInput, Problem, Reject, check
from solvent.lab.court.result import Note
from solvent.lab.court.strip import Strip, forward_at, vol_at
from solvent.pricing.black import black76
from solvent.units import DAY_MS, YEAR_MS, Float64

Int64 = NDArray[np.int64]
HOUR_MS: Final = 3_600_000
DATES_MIN: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    """Prices of one coin: what settles contracts that expire; times ascend."""

    time_ms: Int64
    price: Float64

    def at(self, moments: Int64, *, apart_ms: int) -> Float64:
        """Prices, log-linear between neighbours; NaN where these lie further apart than told.

        >>> path = Path(time_ms=np.array([0, 100]), price=np.array([1.0, 4.0]))
        >>> path.at(np.array([50, 500]), apart_ms=100).tolist()
        [2.0, nan]
        """
        if len(self.time_ms) == 0:
            return np.full(len(moments), np.nan)
        after = np.searchsorted(self.time_ms, moments)
        inside = (after < len(self.time_ms)) & (moments >= self.time_ms[0])
        right = np.minimum(after, len(self.time_ms) - 1)
        left = np.where(self.time_ms[right] == moments, right, np.maximum(right - 1, 0))
        near = self.time_ms[right] - self.time_ms[left] <= apart_ms
        found = np.exp(np.interp(moments, self.time_ms, np.log(self.price)))
        return np.where(inside & near, found, np.nan)


@dataclass(frozen=True, slots=True, kw_only=True)
class Contracts:
    """Contracts of one coin; axis: contract. A perpetual has expiry 0, a future strike 0."""

    expiry_ms: Int64
    strike: Float64
    is_call: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.expiry_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketHistory:
    """Strips of several coins, and the days on which books are judged.

    Attributes:
        strips: [coin] by time. begin, end: [date, coin] row into `strips`, −1 for none.
        base: the same as `begin`, but of the source that `end` is of: where PnL starts.
        time_ms, until_ms: [date]; until is 0 where no coin has an end.
    """

    name: str
    coins: tuple[str, ...]
    mpor_ms: int
    strips: tuple[tuple[Strip, ...], ...]
    time_ms: Int64
    until_ms: Int64
    begin: Int64
    base: Int64
    end: Int64
    paths: tuple[Path, ...]
    notes: tuple[Note, ...]

    def __len__(self) -> int:
        return len(self.time_ms)

    def strip(self, which: Int64, date: int, coin: int) -> Strip | None:
        """A coin's strip on a date; `which` is `begin`, `base` or `end`."""
        row = int(which[date, coin])
        return None if row < 0 else self.strips[coin][row]

    @property
    def index(self) -> Float64:
        """[coin, date] dollars per coin; 0 where the coin has no strip."""
        found = np.zeros((len(self.coins), len(self)))
        for coin in range(len(self.coins)):
            for date in range(len(self)):
                one = self.strip(self.begin, date, coin)
                found[coin, date] = one.index if one else 0.0
        return found

    @property
    def digest(self) -> str:
        """Of everything that a requirement or a PnL may depend on."""
        told = sha256(repr((self.name, self.coins, self.mpor_ms)).encode())
        for column in (self.time_ms, self.until_ms, self.begin, self.base, self.end):
            told.update(column.tobytes())
        for strips in self.strips:
            for one in strips:
                told.update(f"{one.as_of_ms} {one.index!r}".encode())
                for part in (one.expiry_ms, one.forward, one.smile, *sum(one.told, ())):
                    told.update(np.ascontiguousarray(part).tobytes())
        for path in self.paths:
            told.update(path.time_ms.tobytes() + path.price.tobytes())
        return told.hexdigest()

    def between(self, start_ms: int, end_ms: int) -> MarketHistory:
        """The days from `start_ms` to before `end_ms`."""
        first, last = np.searchsorted(self.time_ms, [start_ms, end_ms])
        return self._of_days(np.arange(first, last, dtype=np.int64))

    def of_coins(self, coins: Sequence[str]) -> MarketHistory:
        """Some coins alone; days on which none of them has a market are left out."""
        rows = [self.coins.index(coin) for coin in sorted(set(coins))]
        kept = np.flatnonzero((self.begin[:, rows] >= 0).any(axis=1))
        return replace(
            self._of_days(kept), coins=tuple(self.coins[row] for row in rows),
            strips=tuple(self.strips[row] for row in rows),
            paths=tuple(self.paths[row] for row in rows),
            begin=self.begin[kept][:, rows], base=self.base[kept][:, rows],
            end=self.end[kept][:, rows],
        )  # fmt: skip

    def every(self, days: int) -> MarketHistory:
        """Every so many-th day."""
        return self._of_days(np.arange(0, len(self), days, dtype=np.int64))

    def _of_days(self, kept: Int64) -> MarketHistory:
        return replace(
            self, time_ms=self.time_ms[kept], until_ms=self.until_ms[kept], begin=self.begin[kept],
            base=self.base[kept], end=self.end[kept],
        )  # fmt: skip


def history_of(
    strips: Mapping[str, Sequence[Strip]],
    *,
    name: str,
    mpor_hours: float = 24.0,
    hour: float = 9.0,
    tolerance_hours: float = 3.0,
    paths: Mapping[str, Path] | None = None,
    bases: Mapping[str, Sequence[Strip]] | None = None,
    every_moment: bool = False,
    notes: Sequence[Note] = (),
) -> MarketHistory:
    """Sort strips, pick the days, and find each period's end.

    `bases` are strips of another source, in which a period ends that the strips' own source does
    not know the end of; PnL is then between two of that source. `every_moment` judges every moment
    of the strips instead of one a day.

    Raises BadInput for a history of fewer than two moments.
    """
    said = list(notes)
    coins = tuple(sorted(strips))
    kept = {coin: _in_order(strips[coin], coin, said) for coin in coins}
    first = {coin: len(kept[coin]) for coin in coins}
    for coin in coins:
        kept[coin] += _in_order((bases or {}).get(coin, ()), coin, said)
    own = [{s.as_of_ms: n for n, s in enumerate(kept[c][: first[c]])} for c in coins]
    other = [{s.as_of_ms: first[c] + n for n, s in enumerate(kept[c][first[c] :])} for c in coins]
    moments = np.array(sorted(set().union(*own)), dtype=np.int64)
    if len(moments) < DATES_MIN:
        raise BadInput(
            Problem(
                code=Reject.SOURCE_EMPTY, source=f"history {name}", field="time",
                expected=f"{DATES_MIN} moments or more", found=f"{len(moments)}",
            )
        )  # fmt: skip
    tolerance_ms, mpor_ms = round(tolerance_hours * HOUR_MS), round(mpor_hours * HOUR_MS)
    check(0 < tolerance_ms < mpor_ms, "a tolerance below the period", tolerance_ms)
    picked = moments if every_moment else _picked(moments, round(hour * HOUR_MS), tolerance_ms)
    _note_gaps(picked, said)
    begin = np.array([[at.get(int(t), -1) for at in own] for t in picked]).reshape(-1, len(coins))
    until = _ends(picked, moments, mpor_ms, tolerance_ms)
    end = np.array([[at.get(int(t), -1) for at in own] for t in until]).reshape(-1, len(coins))
    base = begin.copy()
    if bases:
        _end_elsewhere(picked, until, begin, base, end, other, mpor_ms, tolerance_ms, said)
    end[begin < 0] = -1
    return MarketHistory(
        name=name, coins=coins, mpor_ms=mpor_ms, strips=tuple(tuple(kept[c]) for c in coins),
        time_ms=picked, until_ms=until, begin=begin, base=base, end=end,
        paths=tuple(_path(kept[c], (paths or {}).get(c)) for c in coins), notes=tuple(said),
    )  # fmt: skip


def _in_order(strips: Sequence[Strip], coin: str, said: list[Note]) -> list[Strip]:
    """By time, each time once (the last told)."""
    times = [one.as_of_ms for one in strips]
    if any(later < earlier for earlier, later in pairwise(times)):
        said.append(Note(code="unsorted", text=f"{coin}: moments were put in order"))
    by_time = {one.as_of_ms: one for one in strips}
    twice = len(times) - len(by_time)
    if twice:
        text = f"{coin}: moments told twice; the last of each was taken"
        said.append(Note(code="duplicated", text=text, count=twice))
    return [by_time[at] for at in sorted(by_time)]


def _picked(moments: Int64, hour_ms: int, tolerance_ms: int) -> Int64:
    """Of each day the moment nearest the hour, if it is near enough."""
    day = (moments - hour_ms + DAY_MS // 2) // DAY_MS
    off = np.abs(moments - (day * DAY_MS + hour_ms))
    order = np.lexsort((off, day))
    first = np.ones(len(order), dtype=bool)
    first[1:] = day[order][1:] != day[order][:-1]
    chosen = order[first]
    return np.sort(moments[chosen[off[chosen] <= tolerance_ms]])


def _ends(picked: Int64, moments: Int64, mpor_ms: int, tolerance_ms: int) -> Int64:
    """The end of each period, a picked moment if one is near enough; 0 for none."""
    wanted = picked + mpor_ms
    among_picked = _nearest(picked, wanted, tolerance_ms)
    return np.where(among_picked > 0, among_picked, _nearest(moments, wanted, tolerance_ms))


def _nearest(among: Int64, wanted: Int64, tolerance_ms: int) -> Int64:
    """The member nearest each wanted time, 0 where none is near enough."""
    if len(among) == 0:
        return np.zeros(len(wanted), dtype=np.int64)
    place = np.searchsorted(among, wanted)
    before, after = among[np.maximum(place - 1, 0)], among[np.minimum(place, len(among) - 1)]
    found = np.where(np.abs(before - wanted) <= np.abs(after - wanted), before, after)
    return np.where(np.abs(found - wanted) <= tolerance_ms, found, 0)


def _end_elsewhere(
    picked: Int64,
    until: Int64,
    begin: Int64,
    base: Int64,
    end: Int64,
    other: Sequence[Mapping[int, int]],
    mpor_ms: int,
    tolerance_ms: int,
    said: list[Note],
) -> None:
    """Where the own source has no end, both ends of the PnL from the other source; in place."""
    moments = np.array(sorted(set().union(*other)), dtype=np.int64)
    ends = _ends(picked, moments, mpor_ms, tolerance_ms)
    starts = _nearest(moments, picked, tolerance_ms)
    count = 0
    for date in np.flatnonzero((until == 0) & (ends > 0) & (starts > 0)):
        until[date] = ends[date]
        for coin, at in enumerate(other):
            if begin[date, coin] >= 0:
                base[date, coin] = at.get(int(starts[date]), -1)
                end[date, coin] = at.get(int(ends[date]), -1)
        count += 1
    if count:
        text = "days whose PnL is between two surfaces, since no chain ends their period"
        said.append(Note(code="end-by-surface", text=text, count=count))


def _note_gaps(picked: Int64, said: list[Note]) -> None:
    days = np.rint(np.diff(picked) / DAY_MS).astype(np.int64)
    missing = int(np.maximum(days - 1, 0).sum()) if len(picked) else 0
    if missing:
        longest = int(days.max())
        text = f"days without a market near the hour, the longest gap {longest} days"
        said.append(Note(code="gap", text=text, count=missing))


def _path(strips: Sequence[Strip], told: Path | None) -> Path:
    """The told prices and the strips' own indices, in order."""
    time = np.array([one.as_of_ms for one in strips], dtype=np.int64)
    price = np.array([one.index for one in strips])
    if told is not None:
        time, price = np.concatenate([time, told.time_ms]), np.concatenate([price, told.price])
    time, first = np.unique(time, return_index=True)
    return Path(time_ms=time, price=price[first])


def worth(strip: Strip, wanted: Contracts, *, inverse: bool) -> Float64:
    """Worth per coin of size (per dollar of an inverse future) at a strip; NaN where not known.

    Linear: dollars. Inverse: coins; a future −1/price. All of them live at the strip's moment.
    """
    option, perpetual = wanted.strike > 0.0, wanted.expiry_ms == 0
    forward = np.where(perpetual, strip.index, forward_at(strip, wanted.expiry_ms))
    years = np.maximum(wanted.expiry_ms - strip.as_of_ms, 0) / YEAR_MS
    value = forward.copy()
    if option.any():
        mine = np.flatnonzero(option)
        vol = vol_at(strip, wanted.expiry_ms[mine], wanted.strike[mine])
        value[mine] = black76(
            forward=forward[mine], strike=wanted.strike[mine], years=years[mine],
            vol=np.nan_to_num(vol), side=np.where(wanted.is_call[mine], 1.0, -1.0),
        )  # fmt: skip
        value[mine[np.isnan(vol)]] = np.nan
    if not inverse:
        return value
    return np.where(option, value / forward, -1.0 / forward)


def worth_at_end(
    strip: Strip, path: Path, wanted: Contracts, *, inverse: bool, apart_ms: int
) -> Float64:
    """The same at the end of a period, in which some may have expired and settled at the path."""
    gone = (wanted.expiry_ms > 0) & (wanted.expiry_ms <= strip.as_of_ms)
    value = np.full(len(wanted), np.nan)
    if not gone.all():
        value[~gone] = worth(strip, _some(wanted, ~gone), inverse=inverse)
    if gone.any():
        dead = _some(wanted, gone)
        price = path.at(dead.expiry_ms, apart_ms=apart_ms)
        side = np.where(dead.is_call, 1.0, -1.0)
        paid = np.where(dead.strike > 0.0, np.maximum(side * (price - dead.strike), 0.0), price)
        if inverse:
            paid = np.where(dead.strike > 0.0, paid / price, -1.0 / price)
        value[gone] = np.where(np.isnan(price), np.nan, paid)
    return value


def _some(wanted: Contracts, kept: NDArray[np.bool_]) -> Contracts:
    return Contracts(
        expiry_ms=wanted.expiry_ms[kept], strike=wanted.strike[kept], is_call=wanted.is_call[kept]
    )
