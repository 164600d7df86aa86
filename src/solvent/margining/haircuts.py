"""Haircuts of collateral: what an asset may lose while it is sold, as `[[collateral]]` rows.

An amount is sold over max(base, amount / (participation · average volume)) days. The haircut of a
day is the `coverage` quantile of the asset's falls over so many days in the past `lookback`, each
scaled from its own volatility to the day's, carried through a chain of anti-procyclical tools and
held within floor and cap; half a spread, a peg's fall and a wrong-way add-on count besides. A row
is written when the haircut moves by a step. Nothing after a day enters the day's haircut.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binom

from solvent.errors import BadInput, Problem, Reject, check
from solvent.scenarios.anti_procyclical import Chain
from solvent.units import DAY_MS, Float64

WINDOWS_MIN: Final = 250
_STRESS_MIN: Final = 20
_WARM_DAYS: Final = 30


class HaircutNote(StrEnum):
    """What is to be known about a haircut."""

    SHORT = "less history than the lookback: all there is was used"
    PEG = "the price hardly moves: the haircut is the told fall of the peg, not history's"
    SLOW = "the amount takes more than 30 days to sell: its haircut is at that time's"
    STRESS_FEW = "fewer than 20 days of stress in common: the asset is taken to fall as the coin"
    GAPS = "days without a price are inside: the last price before them was kept"


@dataclass(frozen=True, slots=True, kw_only=True)
class HaircutRule:
    """How haircuts are set; shares are of 1.

    Attributes:
        coverage: share of falls that the haircut covers, such as 0.995.
        lookback_days, decay: history that counts; of the variance a day.
        base_days: the shortest time to sell. participation: of a day's volume that can be sold.
        floor, cap, step: of the haircut; a row is written when it moves by a step, rounded up.
        half_spread: cost of selling, added. depeg: fall of a peg, the least haircut.
        wrong_way: added for collateral that falls with what it secures.
        chain: tools over the daily haircut before rounding.
    """

    coverage: float = 0.995
    lookback_days: int = 1_095
    decay: float = 0.97
    base_days: float = 1.0
    participation: float = 0.1
    floor: float = 0.01
    cap: float = 0.95
    step: float = 0.01
    half_spread: float = 0.0
    depeg: float = 0.0
    wrong_way: float = 0.0
    chain: Chain | None = None

    def __post_init__(self) -> None:
        check(0.5 < self.coverage < 1.0 and 0.0 < self.decay < 1.0, "shares", self)
        check(0.0 <= self.floor <= self.cap <= 1.0 and 0.0 < self.step < 1.0, "bounds", self)
        check(self.lookback_days >= WINDOWS_MIN and self.base_days > 0.0, "times", self)
        check(0.0 < self.participation <= 1.0, "a part of a day's volume", self.participation)
        added = (self.half_spread, self.depeg, self.wrong_way)
        check(all(0.0 <= one < 1.0 for one in added), "what is added", added)


@dataclass(frozen=True, slots=True, kw_only=True)
class Haircuts:
    """Daily haircuts of one asset.

    Attributes:
        day: [day] since 1970. haircut: [day] as told, on steps. raw: [day] the quantile alone.
        fall: [day] what the price then fell in `liquidation_days`; NaN where not known yet.
        breaches: of days with a known fall, those on which it was more than the haircut.
    """

    asset: str
    rule: HaircutRule
    liquidation_days: float
    day: NDArray[np.int64]
    raw: Float64
    haircut: Float64
    fall: Float64
    notes: tuple[HaircutNote, ...]

    @property
    def judged(self) -> int:
        """Days whose fall is known."""
        return int(np.isfinite(self.fall).sum())

    @property
    def breaches(self) -> int:
        """Days on which the fall was more than the haircut."""
        known = np.isfinite(self.fall)
        return int((self.fall[known] > self.haircut[known]).sum())

    @property
    def coverage(self) -> float:
        """Share of days covered; 1 without days."""
        return 1.0 - self.breaches / self.judged if self.judged else 1.0

    @property
    def p_value(self) -> float:
        """Chance of so many breaches or more, were the coverage as stated and days apart."""
        days = max(1, int(self.judged / max(1.0, self.liquidation_days)))
        seen = math.ceil(self.breaches * days / max(1, self.judged))
        return float(binom.sf(seen - 1, days, 1.0 - self.rule.coverage))

    def disclosure(self) -> dict[str, float | int]:
        """The fields of the quantitative disclosure on haircuts (PQD 5.3)."""
        known = np.isfinite(self.fall)
        over = (self.fall - self.haircut)[known]
        return {
            "5.3.1_confidence_interval": self.rule.coverage,
            "5.3.2_holding_days": self.liquidation_days,
            "5.3.3_lookback_days": self.rule.lookback_days,
            "5.3.4_days_exceeded": self.breaches,
            "5.3.4_days_tested": self.judged,
            "worst_excess": float(over.max(initial=0.0)),
        }

    def rows(
        self, *, source: str, price: str = "index", of: str | None = None
    ) -> list[dict[str, Any]]:
        """`[[collateral]]` rows, one a change, as a rulebook of scans takes them."""
        changed = np.flatnonzero(np.diff(self.haircut, prepend=-1.0) != 0.0)
        told: list[dict[str, Any]] = []
        for place in changed.tolist():
            row: dict[str, Any] = {
                "asset": self.asset,
                "haircut": float(self.haircut[place]),
                "price": price,
                "effective": _date(int(self.day[place])),
                "source": source,
            }
            if of is not None:
                row["of"] = of
            told.append(row)
        return told


def days_to_sell(amount: float, *, volume: float, rule: HaircutRule) -> float:
    """Days in which an amount is sold without being more than its part of the volume.

    >>> days_to_sell(500.0, volume=1_000.0, rule=HaircutRule(participation=0.1))
    5.0
    """
    check(amount >= 0.0 and volume > 0.0, "an amount and a volume", amount, volume)
    return max(rule.base_days, amount / (rule.participation * volume))


def haircuts(
    asset: str,
    time_ms: ArrayLike,
    price: ArrayLike,
    rule: HaircutRule,
    *,
    amount: float = 0.0,
    volume: float = 1.0,
) -> Haircuts:
    """Haircuts of every day of a history, for an amount that is to be sold in a market's volume.

    Raises BadInput for prices that are none, for less than a year of days, and for a constant price
    without a told fall of the peg.
    """
    days, notes = days_to_sell(amount, volume=volume, rule=rule), []
    if days > 30.0:
        days = 30.0
        notes.append(HaircutNote.SLOW)
    day, log_price, gaps = _daily(asset, time_ms, price)
    if gaps:
        notes.append(HaircutNote.GAPS)
    span = math.ceil(days)
    if len(day) < WINDOWS_MIN + span + _WARM_DAYS:
        expected = f"at least {WINDOWS_MIN + span + _WARM_DAYS} days"
        raise BadInput(_problem(asset, expected, f"{len(day)}"))
    raw = _quantiles(log_price, rule, days, span)
    if float(np.nanmax(raw)) < 1e-9:
        if rule.depeg <= 0.0:
            raise BadInput(_problem(asset, "a price that moves, or a told fall of its peg", "none"))
        notes.append(HaircutNote.PEG)
    if len(day) < rule.lookback_days:
        notes.append(HaircutNote.SHORT)
    first = WINDOWS_MIN + span + _WARM_DAYS - 1
    told = np.maximum(raw[first:], 1e-6)
    if rule.chain is not None:
        told = np.asarray(rule.chain.follow(told.tolist()), dtype=np.float64)
    cut = -np.expm1(-told) + rule.half_spread + rule.wrong_way
    cut = np.clip(np.maximum(cut, rule.depeg), rule.floor, rule.cap)
    fall = np.full(len(day), np.nan)
    fall[:-span] = -np.expm1(log_price[span:] - log_price[:-span])
    return Haircuts(
        asset=asset, rule=rule, liquidation_days=days, day=day[first:],
        raw=-np.expm1(-raw[first:]), haircut=_stepped(cut, rule), fall=fall[first:],
        notes=tuple(notes),
    )  # fmt: skip


def by_amount(
    asset: str, time_ms: ArrayLike, price: ArrayLike, rule: HaircutRule, *,
    amounts: Sequence[float], volume: float,
) -> tuple[list[float], list[float]]:  # fmt: skip
    """Concentration: (amounts above which a tier begins, its rate) for the newest day.

    A tier is charged at the rate of an amount as large as its upper end, the last at twice its
    beginning: `marginal(haircut.rate, amount)` in a rulebook of formulas, with these as `above` and
    `rate`. Rates never fall.
    """
    check(list(amounts) == sorted(set(amounts)) and amounts[0] == 0.0, "tiers from 0 up", amounts)
    ends = [*amounts[1:], 2.0 * max(amounts[-1], rule.participation * volume)]
    rates: list[float] = []
    for end in ends:
        told = haircuts(asset, time_ms, price, rule, amount=end, volume=volume)
        rates.append(max([float(told.haircut[-1]), *rates]))
    return list(amounts), rates


def wrong_way_add_on(
    asset_returns: ArrayLike, coin_returns: ArrayLike, *, coverage: float, stress: float = 0.05
) -> tuple[float, HaircutNote | None]:
    """What a haircut must add where the asset secures longs of a coin: its `coverage` quantile of
    falls on the coin's worst days (a share `stress`), beyond that of all days.

    Log returns of the same days. With fewer than twenty days of stress the asset is taken to fall
    as the coin does on its worst of all days, with a note.

    >>> import numpy as np
    >>> coin = np.tile([-0.2, 0.01, 0.01, 0.01, 0.01], 100)
    >>> add, note = wrong_way_add_on(coin * 0.5, coin, coverage=0.8, stress=0.2)
    >>> round(add, 4), note
    (0.0952, None)
    """
    a, c = (np.asarray(one, dtype=np.float64) for one in (asset_returns, coin_returns))
    if a.shape != c.shape or not (np.isfinite(a).all() and np.isfinite(c).all()) or not len(a):
        raise BadInput(_problem("returns", "numbers of the same days", "others"))
    plain = max(0.0, float(np.quantile(-a, coverage, method="lower")))
    worst = c <= np.quantile(c, stress)
    if int(worst.sum()) < _STRESS_MIN:
        return max(0.0, -float(np.expm1(c.min())) + float(np.expm1(-plain))), (
            HaircutNote.STRESS_FEW
        )
    stressed = max(0.0, float(np.quantile(-a[worst], coverage, method="higher")))
    return max(0.0, -math.expm1(-stressed) + math.expm1(-plain)), None


def _daily(
    asset: str, time_ms: ArrayLike, price: ArrayLike
) -> tuple[NDArray[np.int64], Float64, bool]:
    """Day numbers without a gap, the last log price of each, and whether days were missing."""
    t, p = np.asarray(time_ms, dtype=np.int64), np.asarray(price, dtype=np.float64)
    if t.shape != p.shape or not len(t) or not (np.isfinite(p) & (p > 0.0)).all():
        raise BadInput(_problem(asset, "positive prices", "others, or none"))
    if not (np.diff(t) > 0).all():
        raise BadInput(_problem(asset, "times that rise", "times out of order or twice"))
    day = np.arange(int(t[0]) // DAY_MS, int(t[-1]) // DAY_MS + 1)
    last = np.searchsorted(t, (day + 1) * DAY_MS, side="left") - 1
    gaps = bool((t[last] // DAY_MS != day).any())
    return day, np.log(p[last]), gaps


def _quantiles(log_price: Float64, rule: HaircutRule, days: float, span: int) -> Float64:
    """[day] log fall over `days` at the coverage: windows ended by the day, scaled to its
    volatility; NaN before there are enough."""
    r = np.diff(log_price, prepend=log_price[0])
    variance = np.empty(len(r))
    now = float((r[1 : _WARM_DAYS + 1] ** 2).mean())
    for place, one in enumerate(r.tolist()):
        if place > _WARM_DAYS:
            now = rule.decay * now + (1.0 - rule.decay) * one * one
        variance[place] = now
    sd = np.sqrt(variance)
    fall = log_price[:-span] - log_price[span:]  # [window] begun on day s, ended on day s + span
    scaled = np.divide(fall, sd[:-span], out=np.zeros_like(fall), where=sd[:-span] > 0.0)
    found = np.full(len(r), np.nan)
    for today in range(WINDOWS_MIN + span + _WARM_DAYS - 1, len(r)):
        ended = today - span + 1
        past = scaled[max(_WARM_DAYS, ended - rule.lookback_days) : ended]
        found[today] = max(0.0, float(np.quantile(past, rule.coverage, method="higher")))
    return found * sd * math.sqrt(days / span)


def _stepped(cut: Float64, rule: HaircutRule) -> Float64:
    """On steps, rounded up; it stays until the next one is a whole step away downwards."""
    up = np.minimum(np.ceil(cut / rule.step - 1e-9) * rule.step, max(rule.cap, rule.depeg))
    told = np.empty(len(cut))
    held = float(up[0])
    for place, (one, exact) in enumerate(zip(up.tolist(), cut.tolist(), strict=True)):
        if one > held or exact <= held - 2.0 * rule.step + 1e-9:
            held = one
        told[place] = held
    return np.round(told, 9)


def _date(day: int) -> date:
    return datetime.fromtimestamp(day * DAY_MS / 1000, tz=UTC).date()


def _problem(source: str, expected: str, found: str) -> Problem:
    return Problem(code=Reject.INPUT_INVALID, source=source, expected=expected, found=found)
