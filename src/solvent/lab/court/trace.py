"""Why a target is missed: from the days that missed it, by computing them again.

- *Kupiec p, coverage*: each breach's loss by cause (`causes`), and the breaches that are left
  without one; how deep they are; whether the surface was the proxy's; the same days told to the
  rulebook as one scenario.
- *Peak to trough, rises*: the margin of each of the two days' books under the rules and scenarios
  of the other day.
- *Cost*: the mean margin without each tool of a history, and with each parameter at 0 (`parts`).

Nothing here is judged or chosen; the numbers are those of the run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from solvent.api import prepare
from solvent.errors import SolventError
from solvent.lab.court import statistics as exam
from solvent.lab.court.books import (
    STYLES,
    Key,
    Listing,
    Style,
    contracts_of,
    held,
    instrument,
    lots_of,
)
from solvent.lab.court.causes import CAUSES, gain_by_cause
from solvent.lab.court.judge import SETTLED_APART, Bench, asked_of, in_coin, staged
from solvent.lab.court.parts import costs
from solvent.lab.court.result import CourtResult, Track, Which
from solvent.lab.court.strip import Strip, atm_at
from solvent.lab.court.verdict import Missed, extremes
from solvent.scenarios.history.series import Series
from solvent.scenarios.history.surface import State, at_fixed_strike
from solvent.scenarios.joint import JointShocks
from solvent.units import DAY_MS, MICRO, Float64

BREACHES_MAX: Final = 60
"""So many breaches of a book are computed again at most, evenly through time."""
NEAR: Final = 0.1
"""A breach that is less of the margin deep, or a loss that came so near, stands at the edge."""


@dataclass(frozen=True, kw_only=True)
class Trace:
    """A run that can be computed again: `bench` with the contracts of `result`."""

    bench: Bench
    result: CourtResult
    which: Which = "initial"
    level: float = 0.99

    def breaches(self, rulebook: int, portfolio: int) -> dict[str, Any]:
        """The breaches of a rulebook and portfolio, taken apart; see `in_words`."""
        track = self.result.track(rulebook, portfolio, which=self.which)
        dates = self._dates(track)
        hit = np.flatnonzero(track.breach)
        looked = _spread(hit, BREACHES_MAX)
        size = track.gross_micro[looked] / MICRO
        margin, loss = track.margin_micro[looked] / MICRO, track.loss_micro[looked] / MICRO
        part = np.array(
            [self._loss_by_cause(rulebook, portfolio, int(dates[at])) for at in looked]
        ).reshape(-1, len(CAUSES))
        stated = np.array([self._stated(portfolio, int(date)) for date in dates], dtype=bool)
        ratio = track.loss_micro / np.maximum(track.margin_micro, 1)
        told = [self._told(rulebook, portfolio, int(dates[at])) for at in looked]
        known = [one for one in told if one is not None]
        least, most = exam.non_rejection(observations=len(track), p=1.0 - self.level)
        return {
            "days": len(track), "breaches": len(hit), "looked_at": len(looked),
            "allowed": [least, most],
            "parts": dict(zip(CAUSES, _mean(part / size[:, None]), strict=True)),
            "left_without": {
                cause: int((loss - part[:, row] > margin).sum())
                for row, cause in enumerate(CAUSES)
            },
            "at_the_edge": int((ratio[hit] <= 1.0 + NEAR).sum()),
            "nearly": int(((ratio > 1.0 - NEAR) & (ratio <= 1.0)).sum()),
            "on_proxy": [int((track.breach & stated).sum()), int(stated.sum())],
            "on_surfaces": [int((track.breach & ~stated).sum()), int((~stated).sum())],
            "as_scenarios": None if not known else int(
                sum(one > asked for one, asked in zip(told, margin, strict=True) if one is not None)
            ),
            "as_scenarios_of": len(known),
        }  # fmt: skip

    def moved(self, rulebook: int, portfolio: int, days: tuple[int, int]) -> dict[str, Any]:
        """A rise of the margin rate between two days (rows of the track), by book and by rules.

        The rate of each day's book under each day's rules and scenarios; of the two logarithms
        each gets the mean of its effect before and after the other.
        """
        track = self.result.track(rulebook, portfolio, which=self.which)
        low, high = (int(self._dates(track)[at]) for at in days)
        rate = np.array(
            [[self._rate(rulebook, portfolio, book, rules) for rules in (low, high)]
             for book in (low, high)]
        )  # fmt: skip
        if not bool((np.isfinite(rate) & (rate > 0.0)).all()):
            return {"why": "not known under the other day's rules"}
        logs = np.log(rate)
        book = 0.5 * float(logs[1, 0] - logs[0, 0] + logs[1, 1] - logs[0, 1])
        rules = 0.5 * float(logs[0, 1] - logs[0, 0] + logs[1, 1] - logs[1, 0])
        strips = [self._strip(portfolio, date) for date in (low, high)]
        return {
            "times": float(rate[1, 1] / rate[0, 0]),
            "by_book": float(np.exp(book)), "by_rules": float(np.exp(rules)),
            "vol": [atm_at(one, 30.0) if len(one.expiry_ms) else None for one in strips],
            "tenors": [self._tenors(rulebook, portfolio, date) for date in (low, high)],
            "scenarios": self._deviations(rulebook, portfolio, low, high),
        }  # fmt: skip

    # ── one day again ────────────────────────────────────────────────────────────────────────────

    def _dates(self, track: Track) -> Any:
        return np.searchsorted(self.result.time_ms, track.time_ms)

    def _coin(self, portfolio: int) -> int:
        return self.bench.history.coins.index(self.bench.portfolios[portfolio].underlying)

    def _strip(self, portfolio: int, date: int) -> Strip:
        history = self.bench.history
        found = history.strip(history.begin, date, self._coin(portfolio))
        assert found is not None, "a judged day has a market"
        return found

    def _stated(self, portfolio: int, date: int) -> bool:
        return self._strip(portfolio, date).stated

    def _holds(self, rulebook: int, portfolio: int, date: int) -> dict[Key, float]:
        inverse = self.result.contracts[rulebook][portfolio] == "inverse"
        listing = Listing(self._strip(portfolio, date))
        return held(self.bench.portfolios[portfolio], listing, inverse=inverse).coins

    def _tenors(self, rulebook: int, portfolio: int, date: int) -> list[int]:
        """Days to expiry of what the book holds, each once."""
        begin = int(self.bench.history.time_ms[date])
        expiries = {key[0] for key in self._holds(rulebook, portfolio, date) if key[0]}
        return [round((expiry - begin) / DAY_MS) for expiry in sorted(expiries)]

    def _loss_by_cause(self, rulebook: int, portfolio: int, date: int) -> Float64:
        """[cause] dollars lost, of the lots that were judged; they add up to the day's loss."""
        history, coin = self.bench.history, self._coin(portfolio)
        style = self.result.contracts[rulebook][portfolio]
        holds, strip = self._holds(rulebook, portfolio, date), self._strip(portfolio, date)
        keys = tuple(sorted(holds))
        base = history.strip(history.base, date, coin)
        end = history.strip(history.end, date, coin)
        assert base is not None, "a judged day has a beginning"
        assert end is not None, "a judged day has an end"
        rows = [instrument(strip.coin, style, key) for key in keys]
        inverse = style == "inverse"
        lot = np.array([float(one.specification.lot_size) for one in rows])
        lots = lots_of(
            lot, np.array([one.contract.kind for one in rows], dtype=np.int8),
            np.full(len(rows), inverse), coins=np.array([holds[key] for key in keys]),
            index=np.full(len(rows), strip.index),
        )  # fmt: skip
        gain = gain_by_cause(
            base, end, history.paths[coin], contracts_of(keys), inverse=inverse,
            apart_ms=history.mpor_ms + SETTLED_APART,
        )  # fmt: skip
        of_coins = in_coin(self.bench.rules(rulebook, date))
        dollars = 1.0 if not inverse else strip.index if of_coins else end.index
        return np.asarray(-(gain @ (lots * lot)) * dollars)

    def _rate(self, rulebook: int, portfolio: int, book: int, rules: int) -> float:
        """Margin over gross size of one date's book under the rules and scenarios of another."""
        joint = None
        if self.bench.past is not None and self.bench.past.needs(rulebook):
            coin = self.bench.portfolios[portfolio].underlying
            when = int(self.bench.history.time_ms[rules])
            joint = self.bench.past.shocks(rulebook, coin, when)
        return self._asked(rulebook, portfolio, book, rules=rules, joint=joint)

    def _asked(
        self, rulebook: int, portfolio: int, date: int, *, rules: int,
        joint: Mapping[str, JointShocks] | None,
    ) -> float:  # fmt: skip
        """Margin over gross size; NaN where it is refused."""
        style: Any = self.result.contracts[rulebook][portfolio]
        coin = self.bench.portfolios[portfolio].underlying
        stage = staged(self.bench, date, coin, style, [portfolio])
        if stage.market is None or stage.book is None:
            return float("nan")
        try:
            plan = prepare(stage.market, self.bench.rules(rulebook, rules), joint=joint)
            found = asked_of(stage.book, plan, which=self.which)
        except SolventError:
            return float("nan")
        return float(found[0]) / max(float(stage.gross[0]), 1.0)

    # ── what the scenarios say ───────────────────────────────────────────────────────────────────

    def _told(self, rulebook: int, portfolio: int, date: int) -> float | None:
        """Dollars that the rulebook would have asked, had its scenarios been what then came.

        None of a rulebook that does not learn, and where the day's moves are not known.
        """
        past = self.bench.past
        if past is None or not past.needs(rulebook):
            return None
        coin = self.bench.portfolios[portfolio].underlying
        begin = int(self.bench.history.time_ms[date])
        told = {}
        for name, spec in past.specs[rulebook].items():
            grid = past.panel(spec, coin).grid
            found = (grid.column(kind, coin) for kind in ("price", "level", "skew", "term"))
            columns = [one for one in found if one is not None]
            row = grid.index(begin)
            later = row + spec.span_steps
            if len(columns) < 4 or later >= len(grid.time_ms):
                return None
            if not bool(grid.known[np.ix_([row, later], columns)].all()):
                return None
            before, after = grid.value[row, columns], grid.value[later, columns]
            level, skew, term = (float(one) for one in before[1:])
            now = State(level=level, skew=skew, term=term, curve=float(grid.curve[row, 0]))
            told[name] = _one_scenario(name, coin, after - before, now)
        rate = self._asked(rulebook, portfolio, date, rules=date, joint=told)
        gross = self.result.gross_micro[rulebook, portfolio, date] / MICRO
        return None if np.isnan(rate) else rate * float(gross)

    def _deviations(
        self, rulebook: int, portfolio: int, low: int, high: int
    ) -> dict[str, float] | None:
        """Of a rulebook that learns: by how many times its scenarios of price and of level widened,
        of the set in which they widened most."""
        past = self.bench.past
        if past is None or not past.needs(rulebook):
            return None
        coin = self.bench.portfolios[portfolio].underlying
        before, after = (
            past.shocks(rulebook, coin, int(self.bench.history.time_ms[date]))
            for date in (low, high)
        )
        widest: dict[str, float] = {}
        for name in before:
            pairs = {"price": (before[name].move, after[name].move),
                     "volatility": (before[name].level, after[name].level)}  # fmt: skip
            for what, (one, other) in pairs.items():
                if one.std() > 0.0:
                    times = float(other.std() / one.std())
                    widest[what] = max(widest.get(what, 0.0), times)
        return widest


def _one_scenario(name: str, coin: str, moves: Float64, now: State) -> JointShocks:
    """What came, as a set of one scenario: moves of ln price, level, skew and term."""
    shift = at_fixed_strike(now, moves[None, 1:], moves[:1])[0]
    level, skew, term = (np.array([[one]]) for one in shift)
    return JointShocks(
        name=name, underlyings=(coin,), move=np.expm1(moves[:1])[:, None], level=level, skew=skew,
        term=term, basis=np.zeros((1, 1)), weight=np.ones(1),
        time_ms=np.zeros(1, dtype=np.int64),
    )  # fmt: skip


def _spread(rows: Any, most: int) -> Any:
    """At most so many of the rows, evenly."""
    if len(rows) <= most:
        return rows
    return rows[np.linspace(0, len(rows) - 1, most).round().astype(int)]


def _mean(columns: Float64) -> list[float]:
    return [float(one) for one in columns.mean(axis=0)] if len(columns) else [0.0] * len(CAUSES)


def traced(
    trace: Trace,
    misses: Sequence[Missed],
    *,
    benchmark: str | None = None,
    history: Series | None = None,
    contracts: Sequence[Style] = STYLES,
) -> list[Missed]:
    """The missed targets with their causes; one of which nothing can be computed has none."""
    result = trace.result
    bought = _bought(trace, misses, benchmark=benchmark, history=history, contracts=contracts)
    seen: dict[tuple[int, int], str] = {}
    found = []
    for miss in misses:
        place = result.rulebooks.index(miss.rulebook), result.portfolios.index(miss.portfolio)
        name, cause = miss.target.name, ""
        if name in ("Kupiec p", "coverage"):
            if place not in seen:
                seen[place] = breaches_in_words(trace.breaches(*place))
            cause = seen[place]
        elif name == "cost":
            cause = bought.get(place, "")
        else:
            days = extremes(result.track(*place, which=trace.which)).get(name)
            cause = "" if days is None else moved_in_words(trace.moved(*place, days))
        found.append(replace(miss, cause=cause))
    return found


def _bought(
    trace: Trace, misses: Sequence[Missed], *, benchmark: str | None, history: Series | None,
    contracts: Sequence[Style],
) -> dict[tuple[int, int], str]:  # fmt: skip
    """(rulebook, portfolio) → what its parts cost, of the books whose cost is missed."""
    wanted: dict[int, list[int]] = {}
    for miss in misses:
        number = trace.result.rulebooks.index(miss.rulebook)
        if miss.target.name == "cost" and number not in trace.bench.dated:
            wanted.setdefault(number, []).append(trace.result.portfolios.index(miss.portfolio))
    if benchmark is None:
        return {}
    base = trace.result.rulebooks.index(benchmark)
    said = {}
    for number, places in wanted.items():
        found = costs(
            trace.bench, number, base, places, history=history, contracts=contracts,
            which=trace.which,
        )  # fmt: skip
        for place, (days, shares) in found.items():
            said[number, place] = cost_in_words(shares, days)
    return said


# ── in words ─────────────────────────────────────────────────────────────────────────────────────


def breaches_in_words(found: Mapping[str, Any]) -> str:
    """What `Trace.breaches` found.

    >>> breaches_in_words({"breaches": 0, "days": 300, "allowed": [0, 6]})
    'too few: no loss in 300 days was above the margin'
    """
    few = found["breaches"] < found["allowed"][0]
    if not found["breaches"]:
        return f"too few: no loss in {found['days']:,} days was above the margin"
    said = [f"too {'few' if few else 'many'}"] if not _allowed(found) else []
    parts = [f"{cause} {100 * part:+.3f}" for cause, part in found["parts"].items()
             if abs(part) >= 5e-6]  # fmt: skip
    said.append(f"a breach lost, in % of size: {', '.join(parts)}")
    looked = found["looked_at"]
    left = [f"{count} without {cause}'s part" for cause, count in found["left_without"].items()
            if count < 0.9 * looked]  # fmt: skip
    if left:
        said.append(f"of {looked} looked at, {', '.join(left)} would be left")
    said.append(
        f"{found['at_the_edge']} of {found['breaches']} are less than a tenth of the margin deep, "
        f"and {found['nearly']} losses more came within a tenth of it"
    )
    if found["on_proxy"][1]:
        places = (("the proxy", *found["on_proxy"]), ("real surfaces", *found["on_surfaces"]))
        told = [f"{hits} on {days:,} days of {where} ({100 * hits / days:.1f} %)"
                for where, hits, days in places if days]  # fmt: skip
        said.append(" and ".join(told))
    if found["as_scenarios"] is not None:
        said.append(
            f"told to the rulebook as scenarios of price, level, skew and term, the same days make "
            f"{found['as_scenarios']} breaches of {found['as_scenarios_of']}"
        )
    return "; ".join(said)


def _allowed(found: Mapping[str, Any]) -> bool:
    least, most = found["allowed"]
    return bool(least <= found["breaches"] <= most)


def moved_in_words(found: Mapping[str, Any]) -> str:
    """What `Trace.moved` found."""
    if "times" not in found:
        return str(found["why"])
    vols = " to ".join("none" if one is None else f"{100 * one:.0f} %" for one in found["vol"])
    said = f"×{found['by_book']:.2f} by the book and its market (30-day volatility {vols}"
    tenors = [", ".join(map(str, one)) for one in found["tenors"]]
    if 0 < len(found["tenors"][0]) <= 3:
        said += f", days to expiry {' to '.join(tenors)}"
    said += f") and ×{found['by_rules']:.2f} by the rules"
    if found["scenarios"]:
        wider = ", ".join(f"{what} ×{times:.2f}" for what, times in found["scenarios"].items())
        said += f", whose scenarios widened: {wider}"
    return said


def cost_in_words(found: Mapping[str, float], days: int) -> str:
    """Relative margins of `parts.without_each`, the most expensive part first.

    >>> cost_in_words({"": 1.8, "floor": 1.5, "spread": 1.79}, 40)
    'on 40 days ×1.80; without floor ×1.50, without spread ×1.79'
    """
    whole = found[""]
    told = sorted((value, name) for name, value in found.items() if name and value < whole - 0.005)
    listed: Sequence[str] = [
        f"without {name.replace('_', ' ')} ×{value:.2f}" for value, name in told[:6]
    ]
    return f"on {days} days ×{whole:.2f}" + ("; " if listed else "") + ", ".join(listed)
